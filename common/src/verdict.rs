//! The whole decision, in the order of a packet's journey. Pure: bytes and tables in, verdict out.

use crate::{
    packet::{self, FIRST, Flow, Frame, LATER, SCTP, TCP, TOO_DEEP, UDP},
    rate::{Kind, Limit, Limits, Tier, prefix_key, source_key},
    reason::Reason,
    rule::{Addr, Rule, RuleKind},
    sip::{self, Class, LATER_FRAGMENT, Payload},
    state::{BUDGETS, Config, Home, KNOWN_SHIFT},
};

/// What happens to the packet.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// On to the kernel.
    Pass,
    /// Gone.
    Drop,
    /// Into the AF_XDP socket of its queue.
    Redirect,
}

/// What happens, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What happens to the packet.
    pub action: Action,
    /// The one reason it is counted under.
    pub reason: Reason,
}

/// A verdict, and what was only watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    /// What is done.
    pub verdict: Verdict,
    /// Slot of the first monitored rule that would have dropped the packet; 0 (no rule's slot) if none would.
    pub would: u64,
    /// 1: the source is trusted or allowed; 0: it is not, or nobody has looked.
    pub named: u64,
}

impl Judged {
    /// The first monitored rule that would have dropped the packet.
    pub fn would(&self) -> Option<Reason> {
        Reason::ALL.get(self.would as usize).copied().filter(|reason| reason.is_rule())
    }
}

/// Whose clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One source's.
    Source,
    /// One prefix'.
    Prefix,
}

/// What a verdict is made from besides the packet: maps in the kernel, plain memory in user space.
pub trait Tables {
    /// Where the clocks of a source or prefix are.
    type Clocks: Copy;

    /// The configuration.
    fn config(&self) -> &Config;
    /// `CLOCK_MONOTONIC`, ns, to the tick.
    fn now(&self) -> u64;
    /// Is this a SIP port?
    fn sip_port(&self, port: u16) -> bool;
    /// What this address is to the host.
    fn home(&self, addr: &Addr) -> Home;
    /// May this be one of the host's own addresses? Most are not, and are told apart by this.
    #[inline(always)]
    fn may_be_own(&self, addr: &Addr) -> bool {
        let _ = addr;
        true
    }
    /// The rule for this source.
    fn rule(&self, src: &Addr) -> Rule;
    /// Is the source of this [`source_key`] verified?
    fn verified(&self, key: u64, now: u64) -> bool;
    /// The clocks of a [`source_key`] or [`prefix_key`]: its own, or new ones in the place of the oldest.
    fn clocks(&self, scope: Scope, key: u64) -> Self::Clocks;
    /// Moves the clock of a kind on if the packet conforms to the kind's limit; `false` if it does not.
    fn claim(&self, clocks: Self::Clocks, kind: Kind, limits: &Limits, now: u64) -> bool;
    /// The same with the one clock that all unknown sources share.
    fn claim_global(&self, limit: &Limit, now: u64) -> bool;
    /// Is there a scanner's signature in `start..end`?
    fn scanner(&self, f: &impl Frame, start: usize, end: usize) -> bool;
    /// Has the packet's queue a live worker?
    fn live(&self, now: u64) -> bool;

    /// The limits of a tier.
    #[inline(always)]
    fn limits(&self, tier: Tier) -> &Limits {
        &self.config().limits[tier as usize]
    }

    /// The limits that a trusted source has instead of its tier's, if it has any: those of the longest prefix. Asked
    /// only where [`BUDGETS`] says that there are some.
    fn budget(&self, src: &Addr) -> Option<&Limits>;

    /// Where the headers are. In the kernel the paths through it are merged behind it.
    #[inline(always)]
    fn flow(&self, f: &impl Frame) -> Option<Flow> {
        packet::flow(f)
    }

    /// What the payload is. In the kernel the paths through it are merged behind it.
    #[inline(always)]
    fn classify(&self, f: &impl Frame, start: usize, end: usize) -> Payload {
        sip::classify(f, start, end, |at, end| sip::line_feed(f, at, end))
    }
}

#[inline(always)]
const fn pass(reason: Reason) -> Verdict {
    Verdict { action: Action::Pass, reason }
}

/// One packet's way through the rules.
struct Trial<'a, F, T> {
    f: &'a F,
    t: &'a T,
    would: usize,
    named: usize,
}

impl<F: Frame, T: Tables> Trial<'_, F, T> {
    /// A rule applies: is the packet dropped? Where the rule is monitored, it is only noted; where it is off, nothing.
    #[inline(always)]
    fn drops(&mut self, reason: Reason) -> bool {
        let config = self.t.config();
        if config.enforce & reason.bit() != 0 {
            return true;
        }
        if config.monitor & reason.bit() != 0 && self.would == 0 {
            self.would = self.f.settle(reason as usize);
        }
        false
    }

    #[inline(always)]
    fn end(&self, verdict: Verdict) -> Judged {
        Judged { verdict, would: self.would as u64, named: self.named as u64 }
    }

    #[inline(always)]
    fn pass(&self, reason: Reason) -> Judged {
        self.end(pass(reason))
    }

    #[inline(always)]
    fn drop(&self, reason: Reason) -> Judged {
        self.end(Verdict { action: Action::Drop, reason })
    }

    /// Dropped, or where the rule does not hold left to the kernel, which cannot be spared the packet.
    #[inline(always)]
    fn drop_or_leave(&mut self, reason: Reason) -> Judged {
        if self.drops(reason) { self.drop(reason) } else { self.pass(Reason::Kernel) }
    }

    /// It survived: to the engine, if that wants it and lives.
    #[inline(always)]
    fn survive(&self, own: bool, code: u64, known: bool, now: u64) -> Judged {
        let bit = code + if known { KNOWN_SHIFT } else { 0 };
        let config = self.t.config();
        if own && config.redirect >> bit & 1 != 0 && self.f.len() as u64 <= config.chunk && self.t.live(now) {
            return self.end(Verdict { action: Action::Redirect, reason: Reason::Redirected });
        }
        self.pass(Reason::Kernel)
    }

    /// 7. Rates. The reason of the limit that was exceeded and is enforced, or `None`.
    #[inline(always)]
    fn rates(&mut self, src: &Addr, key: u64, tier: Tier, kind: Kind, now: u64) -> Option<Reason> {
        let (t, config) = (self.t, self.t.config());
        if (config.enforce | config.monitor) & RATES == 0 {
            return None;
        }
        let budget = if tier == Tier::Trusted && config.flags & BUDGETS != 0 { t.budget(src) } else { None };
        let limits = budget.unwrap_or_else(|| t.limits(tier));
        let clocks = t.clocks(Scope::Source, key);
        // The kind first: what one kind is refused for does not use up what the others share.
        let reason = match kind {
            Kind::Register => Reason::RateRegister,
            Kind::Invite => Reason::RateInvite,
            Kind::Options => Reason::RateOptions,
            Kind::All => Reason::RateSource,
        };
        if kind != Kind::All && !t.claim(clocks, kind, limits, now) && self.drops(reason) {
            return Some(reason);
        }
        if !t.claim(clocks, Kind::All, limits, now) && self.drops(Reason::RateSource) {
            return Some(Reason::RateSource);
        }
        if tier != Tier::Unknown {
            return None;
        }
        let clocks = t.clocks(Scope::Prefix, prefix_key(src, config.seed));
        let conforms = (kind == Kind::All || t.claim(clocks, kind, &config.prefix, now))
            && t.claim(clocks, Kind::All, &config.prefix, now);
        if !conforms && self.drops(Reason::RatePrefix) {
            return Some(Reason::RatePrefix);
        }
        if now < config.attack_until && !t.claim_global(&config.global, now) && self.drops(Reason::RateGlobal) {
            return Some(Reason::RateGlobal);
        }
        None
    }
}

const RATES: u64 = Reason::RateRegister.bit()
    | Reason::RateInvite.bit()
    | Reason::RateOptions.bit()
    | Reason::RateSource.bit()
    | Reason::RatePrefix.bit()
    | Reason::RateGlobal.bit();

/// The verdict on one frame.
#[inline(always)]
pub fn judge<F: Frame, T: Tables>(f: &F, t: &T) -> Judged {
    let mut trial = Trial { f, t, would: f.settle(0), named: f.settle(0) };
    // 1. Is it ours? The cheapest question first: most packets are no SIP.
    let plain = packet::plain_ports(f);
    if plain.is_some_and(|[_, port]| !t.sip_port(port)) {
        return trial.pass(Reason::NotOurs);
    }
    let Some(flow) = t.flow(f) else { return trial.pass(Reason::NotOurs) };
    let l4 = flow.l4 as usize;
    let known_proto = matches!(flow.proto, UDP | TCP | SCTP);
    if flow.proto != TOO_DEEP && !known_proto {
        return trial.pass(Reason::NotOurs);
    }
    if plain.is_none() && known_proto && flow.fragment != LATER {
        let Some(port) = f.be16(l4 + 2) else { return trial.pass(Reason::NotOurs) };
        if !t.sip_port(port) {
            return trial.pass(Reason::NotOurs);
        }
    }
    let home = t.home(&flow.dst);
    // Linux delivers a unicast packet in a broadcast frame, so it is judged; re-entry is for our own MAC only.
    let (own_mac, group_mac) = (flow.mac == t.config().mac, flow.mac & 1 != 0);
    if home == Home::Foreign || !(own_mac | group_mac) {
        return trial.pass(Reason::NotOurs);
    }
    // One path from here on.
    let own = f.settle(usize::from(own_mac & (home == Home::Own))) != 0;
    if packet::martian(&flow.src) {
        return trial.pass(Reason::Martian);
    }
    if t.may_be_own(&flow.src) && t.home(&flow.src) == Home::Own {
        return if flow.src.is_v4() { trial.pass(Reason::Martian) } else { trial.drop_or_leave(Reason::OwnSource) };
    }

    // 2. Who sends it?
    let now = t.now();
    let rule = t.rule(&flow.src).at(now);
    if rule == RuleKind::Blocked as u32 && trial.drops(Reason::Blocked) {
        return trial.drop(Reason::Blocked);
    }
    let named = rule == RuleKind::Allowed as u32 || rule == RuleKind::Trusted as u32;
    trial.named = f.settle(usize::from(named));
    if flow.proto == TOO_DEEP {
        return trial.drop_or_leave(Reason::TooDeep);
    }
    if flow.fragment == LATER {
        // Nobody can tell what it follows before its first fragment comes: the engine sees all that UDP may be. Of IPv6
        // fragments only the first says what the datagram is (RFC 8200 §4.5).
        return if flow.proto == UDP || !flow.src.is_v4() {
            trial.survive(own, LATER_FRAGMENT, false, now)
        } else {
            trial.pass(Reason::Fragment)
        };
    }
    if !named && trial.drops(Reason::Closed) {
        return trial.drop(Reason::Closed);
    }
    let key = source_key(&flow.src, t.config().seed);
    let tier = if rule == RuleKind::Trusted as u32 {
        Tier::Trusted
    } else if named || t.verified(key, now) {
        Tier::Verified
    } else {
        Tier::Unknown
    };
    // One path from here on.
    let tier = Tier::of(f.settle(tier as usize));
    let known = tier != Tier::Unknown;
    if flow.proto != UDP {
        // A connection that begins costs the server memory; those that are there are the kernel's business. Whose
        // flags are cut off (RFC 1858 §3) may begin, too.
        const FLAGS: usize = 13;
        const SYN_ACK: u8 = 0x12;
        let hidden = flow.end <= (l4 + FLAGS) as u64;
        let begins = flow.proto == TCP && (hidden || f.u8(l4 + FLAGS).unwrap_or(0) & SYN_ACK == 0x02);
        if begins && let Some(reason) = trial.rates(&flow.src, key, tier, Kind::All, now) {
            return trial.drop(reason);
        }
        return trial.pass(Reason::OtherL4);
    }

    // 4. What is it?
    let Some(end) = payload_end(f, &flow) else { return trial.drop_or_leave(Reason::BadLength) };
    let payload = t.classify(f, l4 + 8, end);
    // Who cuts a datagram before its start line ends has something to hide.
    let headless = flow.fragment == FIRST
        && matches!(payload, Payload::KeepAlive | Payload::Stun | Payload::Short | Payload::Unfinished);
    if headless && trial.drops(Reason::FragmentHead) {
        return trial.drop(Reason::FragmentHead);
    }
    match payload {
        _ if headless => {}
        Payload::Short if trial.drops(Reason::Short) => return trial.drop(Reason::Short),
        Payload::LongLine if trial.drops(Reason::LongLine) => return trial.drop(Reason::LongLine),
        Payload::Unfinished | Payload::Malformed if trial.drops(Reason::Malformed) => {
            return trial.drop(Reason::Malformed);
        }
        Payload::Request(class) if tier == Tier::Unknown => {
            // 5. Stealth: who asks without being expected learns nothing.
            if t.config().silent & class.bit() != 0 && trial.drops(Reason::Stealth) {
                return trial.drop(Reason::Stealth);
            }
            if class == Class::Unknown && trial.drops(Reason::UnknownMethod) {
                return trial.drop(Reason::UnknownMethod);
            }
            // 6. Scanners.
            let watched = (t.config().enforce | t.config().monitor) & Reason::Scanner.bit() != 0;
            if watched && t.scanner(f, l4 + 8, end) && trial.drops(Reason::Scanner) {
                return trial.drop(Reason::Scanner);
            }
        }
        _ => {}
    }
    // 7. How much of it?
    if let Some(reason) = trial.rates(&flow.src, key, tier, Kind::of(payload), now) {
        return trial.drop(reason);
    }

    // 8. It survived.
    if flow.fragment == FIRST {
        // As those that follow, of which nobody looks whether their source is verified.
        return trial.survive(own, LATER_FRAGMENT, false, now);
    }
    trial.survive(own, payload.code(), known, now)
}
/// The end of the UDP payload, as the kernel would take it; `None` where the kernel would drop the packet.
#[inline(always)]
fn payload_end(f: &impl Frame, flow: &Flow) -> Option<usize> {
    const HEADER: usize = 8;
    let (l4, end) = (flow.l4 as usize, flow.end as usize);
    let length = f.be16(l4 + 4)? as usize;
    if end > f.len() || end < l4 + HEADER {
        return None;
    }
    if flow.fragment == FIRST {
        return if length < HEADER { None } else { Some(end) };
    }
    // RFC 2675 §4: length 0 over IPv6 means "what the IP header says", and Linux takes it so.
    if length == 0 && !flow.src.is_v4() {
        return Some(end);
    }
    if length < HEADER || l4 + length > end { None } else { Some(l4 + length) }
}
