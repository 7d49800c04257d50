//! The table's world: addresses, rules, limits, and the tables that `judge` asks, in plain memory.

use core::cell::{Cell, RefCell};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::Case;
use crate::packet::Frame;
use crate::rate::{Clocks, KINDS, Kind, Limit, Limits, source_key};
use crate::reason::Reason;
use crate::rule::{Addr, MAPPED_BITS, Rule, RuleKind};
use crate::signature::{self, Signatures};
use crate::sip::Class;
use crate::state::{Config, Home};
use crate::verdict::{Scope, Tables};

/// The guarded host's MAC address.
pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The guarded host.
pub const OWN_V4: [u8; 4] = [192, 0, 2, 1];
/// The guarded host.
pub const OWN_V6: [u8; 16] = v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
/// Protected, on another host.
pub const BEHIND_V4: [u8; 4] = [192, 0, 2, 9];
/// SIP ports.
pub const PORTS: [u16; 2] = [5060, 5080];
/// Longest frame that is redirected, bytes.
pub const CHUNK: u64 = 1792;
/// An ordinary caller.
pub const CALLER_V4: [u8; 4] = [198, 51, 100, 20];
/// An ordinary caller.
pub const CALLER_V6: [u8; 16] = v6([0x2001, 0xdb8, 0xca11, 0, 0, 0, 0, 1]);
/// A verified caller.
pub const VERIFIED_V4: [u8; 4] = [198, 51, 100, 30];
/// A verified caller; so is the rest of its /64.
pub const VERIFIED_V6: [u8; 16] = v6([0x2001, 0xdb8, 0xfeed, 7, 0, 0, 0, 1]);
/// Was verified, half of "now" ago.
pub const EXPIRED_V4: [u8; 4] = [198, 51, 100, 31];
/// A trusted source.
pub const TRUSTED_V4: [u8; 4] = [198, 51, 100, 40];
/// Trusted, inside the blocked /24.
pub const TRUSTED_IN_BLOCK: [u8; 4] = [203, 0, 113, 40];
/// An allowed source.
pub const ALLOWED_V4: [u8; 4] = [198, 51, 100, 7];
/// An allowed source.
pub const ALLOWED_V6: [u8; 16] = v6([0x2001, 0xdb8, 0xa11, 0, 0, 0, 0, 1]);
/// Of the blocked /24.
pub const BLOCKED_V4: [u8; 4] = [203, 0, 113, 66];
/// Of the blocked /48.
pub const BLOCKED_V6: [u8; 16] = v6([0x2001, 0xdb8, 0xbad, 0xffff, 1, 2, 3, 4]);
/// A gateway's address; so is the rest of its /24. It has a budget of its own.
pub const GATEWAY_V4: [u8; 4] = [203, 0, 112, 10];
/// Another address of the gateway's, in a /26 with a larger budget.
pub const GATEWAY_LARGE_V4: [u8; 4] = [203, 0, 112, 70];
/// A gateway's address; so is the rest of its /48. It has a budget of its own.
pub const GATEWAY_V6: [u8; 16] = v6([0x2001, 0xdb8, 0x6a7e, 0, 0, 0, 0, 1]);
/// Another address of the gateway's, in a /64 with a larger budget.
pub const GATEWAY_LARGE_V6: [u8; 16] = v6([0x2001, 0xdb8, 0x6a7e, 7, 0, 0, 0, 1]);
/// The scanners' patterns.
pub const PATTERNS: [&str; 5] = ["friendly-scanner", "sipvicious", "VaxSIPUserAgent", "sipcli/", "User-Agent: smap"];

/// "Now" in the table, ns of `CLOCK_MONOTONIC`; a suite that cannot set the kernel's clock shifts the ends of the rules.
pub const NOW: u64 = 1_000_000_000_000;
/// ns.
pub const HOUR: u64 = 3_600_000_000_000;
const SECOND: u64 = 1_000_000_000;

pub(super) const fn v6(words: [u16; 8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 8 {
        bytes[2 * i] = (words[i] >> 8) as u8;
        bytes[2 * i + 1] = words[i] as u8;
        i += 1;
    }
    bytes
}

/// Who is verified; ends are relative to `now`.
pub fn verified(now: u64) -> Vec<(Addr, u64)> {
    vec![
        (Addr::v4(VERIFIED_V4), now + HOUR),
        (Addr::from_bytes(VERIFIED_V6), now + HOUR),
        (Addr::v4(EXPIRED_V4), now / 2),
    ]
}

/// A rule of the table's world: address, prefix length as for IPv6, rule. Overlaps are resolved as user space would.
pub type Entry = (Addr, u32, Rule);

/// The rules; ends are relative to `now`.
pub fn rules(now: u64) -> Vec<Entry> {
    let v4 = |a: [u8; 4], bits| (Addr::v4(a), MAPPED_BITS + bits);
    let v6 = |a: [u8; 16], bits| (Addr::from_bytes(a), bits);
    let blocked = Rule { kind: RuleKind::Blocked as u32, ..Rule::default() };
    let allowed = Rule { kind: RuleKind::Allowed as u32, ..Rule::default() };
    let trusted = Rule { kind: RuleKind::Trusted as u32, ..Rule::default() };
    let (soon, past) = (now + HOUR, now / 2);
    [
        (v4([203, 0, 113, 0], 24), blocked),
        // allowed for an hour inside the block
        (v4([203, 0, 113, 7], 32), Rule { until: soon, then: blocked.kind, ..allowed }),
        // was allowed; the block has it again
        (v4([203, 0, 113, 8], 32), Rule { until: past, then: blocked.kind, ..allowed }),
        // was allowed; then blocked, until a moment ago
        (v4([203, 0, 113, 9], 32), Rule { until: past, then: blocked.kind, then_until: past + 1, ..allowed }),
        (v4(TRUSTED_IN_BLOCK, 32), trusted),
        // a block that has ended, one that ends just now, one that does a nanosecond later
        (v4([198, 51, 100, 8], 32), Rule { until: past, ..blocked }),
        (v4([198, 51, 100, 10], 32), Rule { until: now, ..blocked }),
        (v4([198, 51, 100, 11], 32), Rule { until: now + 1, ..blocked }),
        (v4([198, 51, 100, 9], 32), Rule { until: soon, ..blocked }),
        (v4(ALLOWED_V4, 32), allowed),
        (v4(TRUSTED_V4, 32), trusted),
        (v4([100, 64, 0, 0], 10), blocked),
        (v4([203, 0, 112, 0], 24), trusted),
        (v6(self::v6([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0]), 48), blocked),
        (v6(self::v6([0x2001, 0xdb8, 0x6a7e, 0, 0, 0, 0, 0]), 48), trusted),
        (v6(ALLOWED_V6, 128), allowed),
    ]
    .map(|((addr, bits), rule)| (addr, bits, rule))
    .into()
}

/// The limit of so many at once. One is due a second, so that a case counts in bursts.
const fn limit(burst: u64) -> Limit {
    Limit { every: SECOND, ahead: SECOND * (burst - 1) }
}

/// A budget of the table's world: address, prefix length as for IPv6, limits.
pub type Budget = (Addr, u32, Limits);

/// The budgets; they hold where [`BUDGETS`](crate::state::BUDGETS) is set.
pub fn budgets() -> Vec<Budget> {
    let v4 = |a: [u8; 4], bits| (Addr::v4(a), MAPPED_BITS + bits);
    let v6 = |words, bits| (Addr::from_bytes(self::v6(words)), bits);
    [
        (v4([203, 0, 112, 0], 24), [limit(9), limit(2), limit(4), limit(3)]),
        (v4([203, 0, 112, 64], 26), [limit(50), Limit::NONE, limit(30), limit(25)]),
        (v6([0x2001, 0xdb8, 0x6a7e, 0, 0, 0, 0, 0], 48), [limit(7), limit(3), limit(5), limit(2)]),
        (v6([0x2001, 0xdb8, 0x6a7e, 7, 0, 0, 0, 0], 64), [limit(60), limit(45), limit(35), Limit::NONE]),
        // nobody in it is trusted
        (v4([198, 51, 100, 0], 27), [limit(1); KINDS]),
    ]
    .map(|((addr, bits), limits)| (addr, bits, limits))
    .into()
}

/// The table's configuration; clock and interface are the suite's business.
pub fn config() -> Config {
    let mac = u64::from_le_bytes([MAC[0], MAC[1], MAC[2], MAC[3], MAC[4], MAC[5], 0, 0]);
    let rules = Reason::ALL.iter().filter(|reason| reason.is_rule());
    let off = Reason::Closed.bit() | Reason::UnknownMethod.bit();
    Config {
        heartbeat_timeout: HOUR,
        mac,
        chunk: CHUNK,
        seed: 0x5eed,
        enforce: rules.map(|reason| reason.bit()).sum::<u64>() & !off,
        silent: Class::Options.bit(),
        redirect: u64::MAX,
        limits: [
            [limit(8), limit(3), limit(4), limit(3)],
            [limit(12), limit(5), limit(6), limit(4)],
            [limit(40), limit(20), Limit::NONE, limit(20)],
        ],
        prefix: [limit(14), limit(5), limit(7), limit(7)],
        global: limit(3),
        sample: Limit { every: SECOND / 10, ahead: SECOND },
        ..Config::default()
    }
}

/// The table's world in plain memory.
#[derive(Debug)]
pub struct World {
    /// The configuration.
    pub config: Config,
    /// ns of `CLOCK_MONOTONIC`.
    pub now: u64,
    /// The rules.
    pub rules: Vec<Entry>,
    /// The budgets.
    pub budgets: Vec<Budget>,
    /// Who is verified, and until when.
    pub verified: Vec<(Addr, u64)>,
    /// The patterns, compiled.
    pub signatures: Box<Signatures>,
    /// Has the queue a live worker?
    pub live: bool,
    /// Clocks never run out of room here.
    clocks: RefCell<BTreeMap<(bool, u64), Clocks>>,
    global: Cell<u64>,
}

impl World {
    /// As the table expects it, at `now`.
    pub fn at(now: u64) -> Self {
        let mut signatures = Box::new(Signatures::EMPTY);
        signatures.compile(&PATTERNS).expect("the table's patterns compile");
        Self {
            config: config(),
            now,
            rules: rules(now),
            budgets: budgets(),
            verified: verified(now),
            signatures,
            live: true,
            clocks: RefCell::default(),
            global: Cell::new(0),
        }
    }

    /// The same for a case: nobody has sent anything, and the case's own settings are in force.
    pub fn prepare(&mut self, case: &Case) {
        self.forget();
        let clock = self.config.clock;
        self.config = Config { clock, ..config() };
        (case.settings)(&mut self.config, self.now);
    }

    /// Nobody has sent anything.
    pub fn forget(&self) {
        self.clocks.borrow_mut().clear();
        self.global.set(0);
    }
}

/// What the longest of these prefixes that covers `src` says.
fn longest<'a, T>(prefixes: &'a [(Addr, u32, T)], src: &Addr) -> Option<&'a T> {
    let covers = |net: &Addr, bits: u32| {
        let (a, b) = (u128::from_be_bytes(net.to_bytes()), u128::from_be_bytes(src.to_bytes()));
        bits == 0 || (a ^ b) >> (128 - bits) == 0
    };
    let hits = prefixes.iter().filter(|(net, bits, _)| covers(net, *bits));
    hits.max_by_key(|(_, bits, _)| *bits).map(|(_, _, held)| held)
}

impl Tables for World {
    type Clocks = (bool, u64);

    fn config(&self) -> &Config {
        &self.config
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn sip_port(&self, port: u16) -> bool {
        PORTS.contains(&port)
    }

    fn home(&self, addr: &Addr) -> Home {
        if *addr == Addr::v4(OWN_V4) || *addr == Addr::from_bytes(OWN_V6) {
            Home::Own
        } else if *addr == Addr::v4(BEHIND_V4) {
            Home::Protected
        } else {
            Home::Foreign
        }
    }

    fn rule(&self, src: &Addr) -> Rule {
        longest(&self.rules, src).copied().unwrap_or_default()
    }

    fn budget(&self, src: &Addr) -> Option<&Limits> {
        longest(&self.budgets, src)
    }

    fn verified(&self, key: u64, now: u64) -> bool {
        self.verified.iter().any(|(addr, until)| source_key(addr, self.config.seed) == key && now < *until)
    }

    fn clocks(&self, scope: Scope, key: u64) -> (bool, u64) {
        (scope == Scope::Prefix, key)
    }

    fn claim(&self, clocks: (bool, u64), kind: Kind, limits: &Limits, now: u64) -> bool {
        let mut table = self.clocks.borrow_mut();
        let clock = &mut table.entry(clocks).or_default()[kind as usize];
        let next = limits[kind as usize].claim(*clock, now);
        *clock = next.unwrap_or(*clock);
        next.is_some()
    }

    fn claim_global(&self, limit: &Limit, now: u64) -> bool {
        let next = limit.claim(self.global.get(), now);
        self.global.set(next.unwrap_or(self.global.get()));
        next.is_some()
    }

    fn scanner(&self, f: &impl Frame, start: usize, end: usize) -> bool {
        let patterns = &*self.signatures;
        let next = |at| signature::suspect(f, &patterns, at, end);
        signature::scan(start, next, |at| signature::confirm(f, &patterns, start, end, at) != 0)
    }

    fn live(&self, _: u64) -> bool {
        self.live
    }
}
