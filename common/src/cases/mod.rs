//! The verdict table that every suite runs (slices, BPF_PROG_TEST_RUN, bench), hand-made packets, and tables in plain
//! memory. A case says what should happen and why by the RFCs and DESIGN, not by what the code does.

/// Budgets of gateways.
mod budgets;
/// Where rules meet.
mod corners;
/// Fragments, first and later.
mod fragments;
/// What does not fit: lengths that lie, frames that are too long.
mod lengths;
/// Methods: each by its name in every form.
mod methods;
/// Closed mode, monitored rules, what goes to the engine.
mod modes;
/// What broke the C implementation of this idea.
mod original;
/// Is it ours?
mod ours;
/// Frames made by hand.
mod packet;
/// What a datagram is: keep-alives, start lines, garbage.
mod payloads;
/// Rates by kind, tier, prefix; attack mode.
mod rates;
/// Scanners' signatures.
mod scanners;
/// Source rules, and who is verified.
mod sources;
/// Requests that unknown sources get no answer to.
mod stealth;
/// Addresses, rules, limits, and tables in plain memory.
mod world;

pub use packet::Packet;
pub use world::{
    ALLOWED_V4, ALLOWED_V6, BEHIND_V4, BLOCKED_V4, BLOCKED_V6, Budget, CALLER_V4, CALLER_V6, CHUNK, EXPIRED_V4, Entry,
    GATEWAY_LARGE_V4, GATEWAY_LARGE_V6, GATEWAY_V4, GATEWAY_V6, HOUR, MAC, NOW, OWN_V4, OWN_V6, PATTERNS, PORTS,
    TRUSTED_IN_BLOCK, TRUSTED_V4, VERIFIED_V4, VERIFIED_V6, World, budgets, config, rules, verified,
};

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::reason::Reason;
use crate::state::Config;
use crate::verdict::{Action, Verdict};

use world::v6;

/// What is configured otherwise; the second value is "now".
pub type Settings = fn(&mut Config, u64);

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// Why it should happen: the RFC, the attack, the server's way, the hole of the C original.
    pub why: &'static str,
    /// What is configured otherwise.
    pub settings: Settings,
    /// Frames that came before, in order.
    pub before: Vec<Vec<u8>>,
    /// The frame.
    pub frame: Vec<u8>,
    /// What should happen.
    pub expect: Verdict,
    /// The monitored rule that should be noted.
    pub would: Option<Reason>,
}

const fn dropped(reason: Reason) -> Verdict {
    Verdict { action: Action::Drop, reason }
}

const fn passed(reason: Reason) -> Verdict {
    Verdict { action: Action::Pass, reason }
}

/// To the engine: what survives where the queue has a live worker.
pub const SURVIVES: Verdict = Verdict { action: Action::Redirect, reason: Reason::Redirected };

/// A request of any method.
pub fn request(method: &str) -> Vec<u8> {
    message(method, "", "")
}

/// The same with header lines (each with its CRLF) and a body.
pub fn message(method: &str, lines: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} sip:200@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20;branch=z9hG4bK1\r\n\
         From: <sip:100@example.com>;tag=1\r\nTo: <sip:200@example.com>\r\nCall-ID: 1@x\r\nCSeq: 1 {method}\r\n\
         {lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The whole table.
pub fn all() -> Vec<Case> {
    let mut table = Table::new();
    ours::add(&mut table);
    sources::add(&mut table);
    payloads::add(&mut table);
    methods::add(&mut table);
    stealth::add(&mut table);
    scanners::add(&mut table);
    rates::add(&mut table);
    budgets::add(&mut table);
    fragments::add(&mut table);
    lengths::add(&mut table);
    modes::add(&mut table);
    corners::add(&mut table);
    original::add(&mut table);
    table.cases
}

/// Cases under construction.
struct Table {
    cases: Vec<Case>,
    /// Of the cases that follow.
    settings: Settings,
}

const fn as_ever(_: &mut Config, _: u64) {}

impl Table {
    fn new() -> Self {
        Self { cases: Vec::new(), settings: as_ever }
    }

    /// The cases that are added in `cases` run under these settings.
    fn under(&mut self, settings: Settings, cases: impl FnOnce(&mut Self)) {
        let before = core::mem::replace(&mut self.settings, settings);
        cases(self);
        self.settings = before;
    }

    fn add(&mut self, name: &str, why: &'static str, packet: &Packet, expect: Verdict) {
        self.after(name, why, &[], packet, expect);
    }

    fn after(&mut self, name: &str, why: &'static str, before: &[Packet], packet: &Packet, expect: Verdict) {
        let before = before.iter().map(Packet::build).collect();
        let case = Case {
            name: name.into(),
            why,
            settings: self.settings,
            before,
            frame: packet.build(),
            expect,
            would: None,
        };
        self.cases.push(case);
    }

    /// A monitored rule is noted, and this happens in spite of it.
    fn noted(&mut self, name: &str, why: &'static str, packet: &Packet, would: Reason, expect: Verdict) {
        self.add(name, why, packet, expect);
        if let Some(case) = self.cases.last_mut() {
            case.would = Some(would);
        }
    }
}

fn caller() -> Packet {
    Packet::v4(CALLER_V4)
}

fn caller6() -> Packet {
    Packet::v6(CALLER_V6)
}

/// Sources of each tier that is not unknown; what they are, and a packet of theirs.
fn known() -> [(&'static str, Packet); 7] {
    [
        ("a verified source", Packet::v4(VERIFIED_V4)),
        ("a verified IPv6 source", Packet::v6(VERIFIED_V6)),
        ("an allowed source", Packet::v4(ALLOWED_V4)),
        ("an allowed IPv6 source", Packet::v6(ALLOWED_V6)),
        ("one allowed inside a block", Packet::v4([203, 0, 113, 7])),
        ("a trusted source", Packet::v4(TRUSTED_V4)),
        ("one trusted inside a block", Packet::v4(TRUSTED_IN_BLOCK)),
    ]
}
