//! The verdict table that every suite runs (slices, BPF_PROG_TEST_RUN, bench), hand-made packets, and tables in plain
//! memory. A case says what should happen and why by the RFCs and DESIGN, not by what the code does.

extern crate std;

/// Frames made by hand.
mod packet;

pub use packet::Packet;

use core::cell::{Cell, RefCell};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use crate::packet::Frame;
use crate::rate::{Clocks, KINDS, Kind, Limit, source_key};
use crate::reason::Reason;
use crate::rule::{Addr, MAPPED_BITS, Rule, RuleKind};
use crate::signature::{self, Signatures};
use crate::sip::Class;
use crate::state::{Config, Home};
use crate::verdict::{Action, Scope, Tables, Verdict};

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
/// "Now" in the table, ns of `CLOCK_MONOTONIC`; a suite that cannot set the kernel's clock shifts the ends of the rules.
pub const NOW: u64 = 1_000_000_000_000;

const HOUR: u64 = 3_600_000_000_000;

const fn v6(words: [u16; 8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 8 {
        bytes[2 * i] = (words[i] >> 8) as u8;
        bytes[2 * i + 1] = words[i] as u8;
        i += 1;
    }
    bytes
}

/// A verified caller.
pub const VERIFIED_V4: [u8; 4] = [198, 51, 100, 30];
/// A verified caller; so is the rest of its /64.
pub const VERIFIED_V6: [u8; 16] = v6([0x2001, 0xdb8, 0xfeed, 7, 0, 0, 0, 1]);
/// A trusted source.
pub const TRUSTED_V4: [u8; 4] = [198, 51, 100, 40];
/// The scanners' patterns.
pub const PATTERNS: [&str; 5] = ["friendly-scanner", "sipvicious", "VaxSIPUserAgent", "sipcli/", "User-Agent: smap"];

/// Who is verified; ends are relative to `now`.
pub fn verified(now: u64) -> Vec<(Addr, u64)> {
    vec![
        (Addr::v4(VERIFIED_V4), now + HOUR),
        (Addr::from_bytes(VERIFIED_V6), now + HOUR),
        // was, an hour ago
        (Addr::v4([198, 51, 100, 31]), now / 2),
    ]
}

/// A rule of the table's world: address, prefix length as for IPv6, rule. Overlaps are resolved as user space would.
pub type Entry = (Addr, u32, Rule);

/// The rules; ends are relative to `now`.
pub fn rules(now: u64) -> Vec<Entry> {
    let blocked = Rule { kind: RuleKind::Blocked as u32, ..Rule::default() };
    let allowed = Rule { kind: RuleKind::Allowed as u32, ..Rule::default() };
    let v4 = |a, bits| (Addr::v4(a), MAPPED_BITS + bits);
    let at = |(addr, bits): (Addr, u32), rule| (addr, bits, rule);
    vec![
        at(v4([203, 0, 113, 0], 24), blocked),
        // allowed for an hour inside the block
        at(v4([203, 0, 113, 7], 32), Rule { kind: 2, until: now + HOUR, then: 1, then_until: 0 }),
        // was allowed; the block has it again
        at(v4([203, 0, 113, 8], 32), Rule { kind: 2, until: now / 2, then: 1, then_until: 0 }),
        // a block that has ended
        at(v4([198, 51, 100, 8], 32), Rule { kind: 1, until: now / 2, then: 0, then_until: 0 }),
        at(v4([198, 51, 100, 9], 32), Rule { kind: 1, until: now + HOUR, then: 0, then_until: 0 }),
        at(v4([198, 51, 100, 7], 32), allowed),
        at(v4(TRUSTED_V4, 32), Rule { kind: RuleKind::Trusted as u32, ..Rule::default() }),
        at(v4([100, 64, 0, 0], 10), blocked),
        (Addr::from_bytes(v6([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0])), 48, blocked),
        (Addr::from_bytes(v6([0x2001, 0xdb8, 0xa11, 0, 0, 0, 0, 1])), 128, allowed),
    ]
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// What is configured otherwise; the second value is "now".
    pub settings: fn(&mut Config, u64),
    /// Frames that came before, in order.
    pub before: Vec<Vec<u8>>,
    /// The frame.
    pub frame: Vec<u8>,
    /// What should happen.
    pub expect: Verdict,
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
    format!(
        "{method} sip:200@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20;branch=z9hG4bK1\r\n\
         From: <sip:100@example.com>;tag=1\r\nTo: <sip:200@example.com>\r\nCall-ID: 1@x\r\nCSeq: 1 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The whole table.
pub fn all() -> Vec<Case> {
    let mut table = Table(Vec::new());
    ours(&mut table);
    sources(&mut table);
    payloads(&mut table);
    stealth(&mut table);
    fragments(&mut table);
    lengths(&mut table);
    table.0
}

struct Table(Vec<Case>);

impl Table {
    fn add(&mut self, name: &str, packet: &Packet, expect: Verdict) {
        self.after(name, &[], packet, expect);
    }

    fn after(&mut self, name: &str, before: &[&Packet], packet: &Packet, expect: Verdict) {
        let before = before.iter().map(|packet| packet.build()).collect();
        self.0.push(Case { name: name.into(), settings: |_, _| {}, before, frame: packet.build(), expect });
    }
}

fn caller() -> Packet {
    Packet::v4(CALLER_V4)
}

fn ours(t: &mut Table) {
    let invite = request("INVITE");
    let not_ours = passed(Reason::NotOurs);
    t.add("INVITE over IPv4", &caller().sip(&invite), SURVIVES);
    t.add("INVITE over IPv6", &Packet::v6(CALLER_V6).sip(&invite), SURVIVES);
    t.add("the other SIP port", &caller().udp(5080, &invite), SURVIVES);
    t.add("another port", &caller().udp(5061, &invite), not_ours);
    t.add("another port, over IPv6", &Packet::v6(CALLER_V6).udp(4000, &invite), not_ours);
    t.add("to somebody else", &caller().to(&[192, 0, 2, 77]).sip(&invite), not_ours);
    t.add("to a protected host behind", &caller().to(&BEHIND_V4).sip(&invite), passed(Reason::Kernel));
    t.add(
        "OPTIONS to a protected host behind",
        &caller().to(&BEHIND_V4).sip(&request("OPTIONS")),
        dropped(Reason::Stealth),
    );
    t.add("broadcast", &caller().to(&[192, 0, 2, 255]).sip(&invite), not_ours);
    t.add("another MAC address", &caller().mac([2, 0, 0, 0, 0, 9]).sip(&invite), not_ours);
    t.add("ICMP", &caller().raw(1, &[8, 0, 0, 0, 0, 0, 0x13, 0xc4]), not_ours);
    t.add("ICMP whose bytes look like port 5060", &caller().raw(1, &[0x13, 0xc4, 0x13, 0xc4, 0, 0, 0, 0]), not_ours);
    t.add(
        "TCP to 5060",
        &caller().raw(6, &[0x30, 0x39, 0x13, 0xc4, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]),
        passed(Reason::OtherL4),
    );
    t.add(
        "TCP to 80",
        &caller().raw(6, &[0x30, 0x39, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]),
        not_ours,
    );
    t.add(
        "SCTP to 5060",
        &caller().raw(132, &[0x30, 0x39, 0x13, 0xc4, 0, 0, 0, 0, 0, 0, 0, 0]),
        passed(Reason::OtherL4),
    );
    t.add("one VLAN tag", &caller().vlan(0x8100, 0x2064).sip(&invite), SURVIVES);
    t.add("a priority tag", &caller().vlan(0x8100, 0xe000).sip(&invite), SURVIVES);
    t.add("two VLAN tags", &caller().vlan(0x88a8, 5).vlan(0x8100, 6).sip(&invite), SURVIVES);
    t.add("three VLAN tags", &caller().vlan(0x88a8, 5).vlan(0x8100, 6).vlan(0x8100, 7).sip(&invite), not_ours);
    t.add("IPv4 options", &caller().options(&[0x94, 4, 0, 0]).sip(&invite), SURVIVES);
    t.add("40 bytes of IPv4 options", &caller().options(&[1; 40]).sip(&invite), SURVIVES);
    let destination =
        |n: u8| (60, [n; 7].iter().enumerate().map(|(i, _)| if i == 0 { 0 } else { 1 }).collect::<Vec<u8>>());
    let mut chain = Packet::v6(CALLER_V6);
    for n in 1..=7u8 {
        let (number, rest) = destination(n);
        chain = chain.extension(number, &rest);
        let expect = if n <= 5 { SURVIVES } else { dropped(Reason::TooDeep) };
        t.add(
            &format!("{n} IPv6 extension headers"),
            &chain.clone().sip(&invite),
            if n == 6 { SURVIVES } else { expect },
        );
    }
    t.add(
        "hop-by-hop header of 16 bytes",
        &Packet::v6(CALLER_V6).extension(0, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).sip(&invite),
        SURVIVES,
    );
    t.add(
        "authentication header",
        &Packet::v6(CALLER_V6)
            .extension(51, &[4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .sip(&invite),
        SURVIVES,
    );
    for (name, src) in [
        ("source 127.0.0.1", [127, 0, 0, 1]),
        ("source 0.0.0.0", [0, 0, 0, 0]),
        ("multicast source", [224, 0, 0, 1]),
        ("broadcast source", [255, 255, 255, 255]),
        ("own IPv4 source", OWN_V4),
    ] {
        t.add(name, &Packet::v4(src).sip(&invite), passed(Reason::Martian));
    }
    for (name, src) in [
        ("source ::1", v6([0, 0, 0, 0, 0, 0, 0, 1])),
        ("multicast IPv6 source", v6([0xff02, 0, 0, 0, 0, 0, 0, 1])),
        ("link-local source", v6([0xfe80, 0, 0, 0, 0, 0, 0, 5])),
    ] {
        t.add(name, &Packet::v6(src).sip(&invite), passed(Reason::Martian));
    }
    // the kernel takes these: they are judged
    t.add("source 240.1.2.3", &Packet::v4([240, 1, 2, 3]).sip(&invite), SURVIVES);
    t.add("OPTIONS from 240.1.2.3", &Packet::v4([240, 1, 2, 3]).sip(&request("OPTIONS")), dropped(Reason::Stealth));
    t.add(
        "OPTIONS from ::2",
        &Packet::v6(v6([0, 0, 0, 0, 0, 0, 0, 2])).sip(&request("OPTIONS")),
        dropped(Reason::Stealth),
    );
    t.add("OPTIONS from ::", &Packet::v6([0; 16]).sip(&request("OPTIONS")), dropped(Reason::Stealth));
    let broadcast = caller().mac([0xff; 6]);
    t.add("OPTIONS in a broadcast frame", &broadcast.clone().sip(&request("OPTIONS")), dropped(Reason::Stealth));
    t.add("INVITE in a broadcast frame", &broadcast.sip(&invite), passed(Reason::Kernel));
    // the kernel refuses it; taken for IPv4 it could borrow an allowed address
    let mapped = v6([0, 0, 0, 0, 0, 0xffff, 0xcb00, 0x7101]);
    t.add("mapped IPv4 in IPv6", &Packet::v6(mapped).sip(&invite), not_ours);
    t.add("own IPv6 source", &Packet::v6(OWN_V6).sip(&invite), dropped(Reason::OwnSource));
    t.0.push(Case {
        name: "ARP".into(),
        settings: |_, _| {},
        before: vec![],
        frame: [&MAC[..], &[2, 0, 0, 0, 0, 2, 8, 6], &[0; 46]].concat(),
        expect: not_ours,
    });
    t.0.push(Case {
        name: "a frame of 14 bytes".into(),
        settings: |_, _| {},
        before: vec![],
        frame: [&MAC[..], &[2, 0, 0, 0, 0, 2, 8, 0]].concat(),
        expect: not_ours,
    });
}

fn sources(t: &mut Table) {
    let invite = request("INVITE");
    let blocked = dropped(Reason::Blocked);
    let bad = Packet::v4([203, 0, 113, 66]);
    t.add("blocked /24", &bad.clone().sip(&invite), blocked);
    t.add("first address of the /24", &Packet::v4([203, 0, 113, 0]).sip(&invite), blocked);
    t.add("last address of the /24", &Packet::v4([203, 0, 113, 255]).sip(&invite), blocked);
    t.add("beside the /24", &Packet::v4([203, 0, 114, 0]).sip(&invite), SURVIVES);
    t.add("blocked /10", &Packet::v4([100, 127, 255, 255]).sip(&invite), blocked);
    t.add("beside the /10", &Packet::v4([100, 128, 0, 0]).sip(&invite), SURVIVES);
    t.add("blocked until later", &Packet::v4([198, 51, 100, 9]).sip(&invite), blocked);
    t.add("block has ended", &Packet::v4([198, 51, 100, 8]).sip(&invite), SURVIVES);
    t.add("allowed inside the block", &Packet::v4([203, 0, 113, 7]).sip(&invite), SURVIVES);
    t.add("allow has ended, the block applies again", &Packet::v4([203, 0, 113, 8]).sip(&invite), blocked);
    t.add("blocked IPv6 /48", &Packet::v6(v6([0x2001, 0xdb8, 0xbad, 0xffff, 1, 2, 3, 4])).sip(&invite), blocked);
    t.add("beside the IPv6 /48", &Packet::v6(v6([0x2001, 0xdb8, 0xbae, 0, 0, 0, 0, 4])).sip(&invite), SURVIVES);
    t.add("blocked, behind IPv4 options", &bad.clone().options(&[1, 1, 1, 1]).sip(&invite), blocked);
    t.add("blocked, behind a priority tag", &bad.clone().vlan(0x8100, 0).sip(&invite), blocked);
    t.add(
        "blocked, TCP",
        &bad.clone().raw(6, &[0x30, 0x39, 0x13, 0xc4, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]),
        blocked,
    );
    t.add("blocked, SCTP", &bad.clone().raw(132, &[0x30, 0x39, 0x13, 0xc4, 0, 0, 0, 0, 0, 0, 0, 0]), blocked);
    t.add("blocked, another port", &bad.clone().udp(4000, &invite), passed(Reason::NotOurs));
    t.add("blocked, ping", &bad.clone().raw(1, &[8, 0, 0, 0, 0, 0, 0, 0]), passed(Reason::NotOurs));
    t.add("blocked, keep-alive", &bad.clone().sip(b"\r\n\r\n"), blocked);
    t.add("blocked, response", &bad.clone().sip(b"SIP/2.0 200 OK\r\n\r\n and some more"), blocked);
    // the C implementation compared the length in the wrong byte order: these switched it off
    for length in [256usize, 257, 260, 263, 512, 515, 519] {
        let mut long = invite.clone();
        long.resize(length - 8, b'x');
        t.add(&format!("blocked, UDP length {length}"), &bad.clone().sip(&long), blocked);
    }
}

fn payloads(t: &mut Table) {
    let malformed = dropped(Reason::Malformed);
    for (name, payload) in [
        ("CRLF", &b"\r\n"[..]),
        ("CRLFCRLF", b"\r\n\r\n"),
        ("LF", b"\n"),
        ("one NUL", b"\0"),
        ("four NULs", b"\0\0\0\0"),
        ("jaK", b"jaK"),
        ("nothing", b""),
        ("STUN binding request", b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl"),
        ("STUN of RFC 3489", b"\0\x01\0\x04abcdefghijklmnopwxyz"),
        ("a response", b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("a response in lower case", b"sip/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("a response without a reason", b"SIP/2.0 100 \r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("a method of odd characters", b"!interesting-Method0123456789_*+`.%indeed'~ sip:a@b SIP/2.0\r\n\r\n"),
        ("an unknown method", b"NEWMETHOD sip:user@example.com SIP/2.0\r\n\r\n"),
        ("version in lower case", b"INVITE sip:user@example.com sip/2.0\r\n\r\n"),
        ("lines that end with LF", b"INVITE sip:user@example.com SIP/2.0\nVia: x\n\n"),
        ("a blank behind the version", b"INVITE sip:user@example.com SIP/2.0 \r\n\r\n"),
        ("a tel URI", b"INVITE tel:+15551234567 SIP/2.0\r\n\r\n"),
        ("CRLFs in front", b"\r\n\r\n\r\nINVITE sip:user@example.com SIP/2.0\r\n\r\n"),
        ("sixteen CRs and LFs in front", b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nINVITE sip:u@example.com SIP/2.0\r\n\r\n"),
    ] {
        t.add(name, &caller().sip(payload), SURVIVES);
        t.add(&format!("{name}, padded frame"), &caller().sip(payload).padding(9), SURVIVES);
        t.add(&format!("{name}, IPv6"), &Packet::v6(CALLER_V6).sip(payload), SURVIVES);
    }
    for (name, payload) in [
        ("HTTP", &b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"[..]),
        ("no version", b"INVITE sip:user@example.com\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("SIP/3.0", b"INVITE sip:user@example.com SIP/3.0\r\n\r\n"),
        ("SIP/7.0 response", b"SIP/7.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("no blank before the version", b"INVITE sip:user@example.comSIP/2.0\r\n\r\n"),
        ("version alone", b"SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("no line end", b"INVITE sip:user@example.com SIP/2.0"),
        ("binary", b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95"),
        ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03abcdefghijklmnop\n"),
        ("NULs", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("a blank in front", b" INVITE sip:user@example.com SIP/2.0\r\n\r\n"),
        ("version with a NUL in it", b"INVITE sip:user@example.com SIP/2\x0e0\r\n\r\n"),
        ("version behind a NUL", b"INVITE sip:user@example.com\0SIP/2.0\r\n\r\n"),
    ] {
        t.add(name, &caller().sip(payload), malformed);
        t.add(&format!("{name}, allowed"), &Packet::v4([198, 51, 100, 7]).sip(payload), malformed);
    }
    t.add("under 20 bytes", &caller().sip(b"INVITE sip:a SIP"), dropped(Reason::Short));
    t.add("NUL and more", &caller().sip(b"\0hello"), dropped(Reason::Short));
    for length in [48, 200, 1_000, 2_000] {
        let uri = "a".repeat(length);
        let invite = format!("INVITE sip:{uri}@example.com SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n\r\n");
        // 2,000: longer than a chunk, so not for the engine
        let expect = if length < 1_500 { SURVIVES } else { passed(Reason::Kernel) };
        t.add(&format!("a Request-URI of {length} bytes"), &caller().sip(invite.as_bytes()), expect);
    }
    let endless = format!("INVITE sip:{}@example.com SIP/2.0\r\n\r\n", "a".repeat(2_100));
    t.add("a start line over 2,048 bytes", &caller().sip(endless.as_bytes()), dropped(Reason::LongLine));
    for at in 20..60 {
        // the line end at every position within a word of eight
        let line = format!("INVITE sip:{} SIP/2.0\r\n", "a".repeat(at));
        t.add(
            &format!("a start line of {} bytes and nothing else", line.len()),
            &caller().sip(line.as_bytes()),
            SURVIVES,
        );
    }
}

fn stealth(t: &mut Table) {
    let stealthy = dropped(Reason::Stealth);
    let options = request("OPTIONS");
    t.add("OPTIONS", &caller().sip(&options), stealthy);
    t.add("OPTIONS, IPv6", &Packet::v6(CALLER_V6).sip(&options), stealthy);
    t.add("options", &caller().sip(&request("options")), stealthy);
    t.add("oPtIoNs", &caller().sip(&request("oPtIoNs")), stealthy);
    t.add("OPTIONS and a tab", &caller().sip(b"OPTIONS\tsip:a@example.com SIP/2.0\r\n\r\n"), stealthy);
    t.add("OPTIONS behind CRLF", &caller().sip(&[b"\r\n", &options[..]].concat()), stealthy);
    t.add("OPTIONS behind LF LF CR", &caller().sip(&[b"\n\n\r", &options[..]].concat()), stealthy);
    t.add("OPTIONS behind a VLAN tag", &caller().vlan(0x8100, 7).sip(&options), stealthy);
    t.add("OPTIONS behind IPv4 options", &caller().options(&[1, 1, 1, 1]).sip(&options), stealthy);
    t.add(
        "OPTIONS behind an extension header",
        &Packet::v6(CALLER_V6).extension(60, &[0, 1, 4, 0, 0, 0, 0]).sip(&options),
        stealthy,
    );
    t.add("OPTIONS, UDP length 0 over IPv6", &Packet::v6(CALLER_V6).sip(&options).udp_length(0), stealthy);
    t.add(
        "OPTIONS, a long URI",
        &caller().sip(format!("OPTIONS sip:{} SIP/2.0\r\n\r\n", "b".repeat(600)).as_bytes()),
        stealthy,
    );
    t.add("OPTIONS from an allowed source", &Packet::v4([198, 51, 100, 7]).sip(&options), SURVIVES);
    t.add(
        "OPTIONS from an allowed IPv6 source",
        &Packet::v6(v6([0x2001, 0xdb8, 0xa11, 0, 0, 0, 0, 1])).sip(&options),
        SURVIVES,
    );
    t.add("OPTIONS from beside the allowed source", &Packet::v4([198, 51, 100, 6]).sip(&options), stealthy);
    t.add("OPTIONSX", &caller().sip(b"OPTIONSX sip:a@example.com SIP/2.0\r\n\r\n"), SURVIVES);
    t.add("OPTION", &caller().sip(b"OPTION sip:a@example.com SIP/2.0\r\n\r\n"), SURVIVES);
    t.add("REGISTER", &caller().sip(&request("REGISTER")), SURVIVES);
}

fn fragments(t: &mut Table) {
    let (invite, options) = (request("INVITE"), request("OPTIONS"));
    let datagram = |payload: &[u8]| caller().sip(payload).udp_length(payload.len() as u16 + 8 + 600);
    let first = datagram(&invite).fragment(0, true, 7);
    let later = caller().raw(17, &[b'x'; 600]).fragment(1_000, false, 7);
    t.add("first fragment", &first, SURVIVES);
    t.after("a later fragment follows the first", &[&first], &later, SURVIVES);
    t.after("a middle fragment follows the first", &[&first], &later.clone().fragment(1_000, true, 7), SURVIVES);
    t.add("a later fragment of something unknown", &later.clone().fragment(1_000, false, 8), SURVIVES);
    t.add(
        "a later fragment of TCP",
        &caller().raw(6, &[b'x'; 600]).fragment(1_000, false, 8),
        passed(Reason::Fragment),
    );
    let blocked = Packet::v4([203, 0, 113, 66]);
    t.add(
        "a later fragment of a blocked source",
        &blocked.clone().raw(17, &[b'x'; 600]).fragment(800, false, 7),
        dropped(Reason::Blocked),
    );
    t.add("first fragment of a blocked source", &blocked.sip(&invite).fragment(0, true, 7), dropped(Reason::Blocked));
    t.add("OPTIONS in two", &datagram(&options).fragment(0, true, 9), dropped(Reason::Stealth));
    t.after(
        "the rest of OPTIONS in two",
        &[&datagram(&options).fragment(0, true, 9)],
        &later.clone().fragment(1_000, false, 9),
        // alone it is nothing: the kernel waits for the first in vain
        SURVIVES,
    );
    t.add(
        "first fragment of 8 bytes",
        &caller().sip(b"").udp_length(608).fragment(0, true, 10),
        dropped(Reason::FragmentHead),
    );
    t.add(
        "first fragment of 16 bytes",
        &caller().sip(b"OPTIONS ").udp_length(608).fragment(0, true, 10),
        dropped(Reason::FragmentHead),
    );
    t.add(
        "first fragment that ends within the start line",
        &caller().sip(b"OPTIONS sip:200@example.com SIP/").udp_length(608).fragment(0, true, 10),
        dropped(Reason::FragmentHead),
    );
    t.add(
        "a later fragment that looks like UDP to 5060",
        &caller().raw(17, &[0x13, 0xc5, 0x13, 0xc4, 0, 40, 0, 0, b'O', b'P']).fragment(8, false, 11),
        SURVIVES,
    );
    let first6 = Packet::v6(CALLER_V6).sip(&invite).udp_length(900).fragment(0, true, 0xabcd_ef01);
    t.add("first IPv6 fragment", &first6, SURVIVES);
    t.after(
        "a later IPv6 fragment",
        &[&first6],
        &Packet::v6(CALLER_V6).raw(17, &[b'x'; 200]).fragment(696, false, 0xabcd_ef01),
        SURVIVES,
    );
    t.add("an IPv6 fragment that is the whole", &Packet::v6(CALLER_V6).sip(&invite).fragment(0, false, 3), SURVIVES);
    t.add(
        "OPTIONS in an IPv6 fragment that is the whole",
        &Packet::v6(CALLER_V6).sip(&options).fragment(0, false, 3),
        dropped(Reason::Stealth),
    );
    t.add(
        "first fragment to another port",
        &caller().udp(4000, &invite).udp_length(900).fragment(0, true, 7),
        passed(Reason::NotOurs),
    );
    t.add(
        "TCP first fragment to 5060",
        &caller().raw(6, &[0x30, 0x39, 0x13, 0xc4, 0, 0, 0, 0]).fragment(0, true, 7),
        passed(Reason::OtherL4),
    );
}

fn lengths(t: &mut Table) {
    let invite = request("INVITE");
    let bad = dropped(Reason::BadLength);
    t.add("UDP length over the packet's", &caller().sip(&invite).udp_length(invite.len() as u16 + 9), bad);
    t.add("UDP length 7", &caller().sip(&invite).udp_length(7), bad);
    t.add("UDP length 0 over IPv4", &caller().sip(&invite).udp_length(0), bad);
    t.add(
        "UDP length under the packet's",
        &caller().sip(&[&invite[..], b"trailer"].concat()).udp_length(invite.len() as u16 + 8),
        SURVIVES,
    );
    t.add("cut on the way", &caller().sip(&invite).cut(5), bad);
    t.add("cut within the UDP header", &caller().sip(b"").cut(3), bad);
    let mut long = invite.clone();
    long.resize(1_700, b' ');
    t.add("a frame that fits a chunk", &caller().sip(&long), SURVIVES);
    long.resize(1_800, b' ');
    t.add("a frame that does not fit a chunk", &caller().sip(&long), passed(Reason::Kernel));
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
            verified: verified(now),
            signatures,
            live: true,
            clocks: RefCell::default(),
            global: Cell::new(0),
        }
    }

    /// The same for a case: nobody has sent anything, and the case's own settings are in force.
    pub fn prepare(&mut self, case: &Case) {
        self.clocks.borrow_mut().clear();
        self.global.set(0);
        let clock = self.config.clock;
        self.config = Config { clock, ..config() };
        (case.settings)(&mut self.config, self.now);
    }
}

/// The table's configuration; clock and interface are the suite's business.
pub fn config() -> Config {
    const SECOND: u64 = 1_000_000_000;
    let mac = u64::from_le_bytes([MAC[0], MAC[1], MAC[2], MAC[3], MAC[4], MAC[5], 0, 0]);
    let rules = Reason::ALL.iter().filter(|reason| reason.is_rule());
    let off = Reason::Closed.bit() | Reason::UnknownMethod.bit();
    // `every` of a second, so that a case counts in bursts
    let limit = |burst: u64| Limit { every: SECOND, ahead: SECOND * (burst - 1) };
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
        let covers = |net: &Addr, bits: u32| {
            let (a, b) = (u128::from_be_bytes(net.to_bytes()), u128::from_be_bytes(src.to_bytes()));
            bits == 0 || (a ^ b) >> (128 - bits) == 0
        };
        let hits = self.rules.iter().filter(|(net, bits, _)| covers(net, *bits));
        hits.max_by_key(|(_, bits, _)| *bits).map_or_else(Rule::default, |(_, _, rule)| *rule)
    }

    fn verified(&self, key: u64, now: u64) -> bool {
        self.verified.iter().any(|(addr, until)| source_key(addr, self.config.seed) == key && now < *until)
    }

    fn clocks(&self, scope: Scope, key: u64) -> (bool, u64) {
        (scope == Scope::Prefix, key)
    }

    fn claim(&self, clocks: (bool, u64), kind: Kind, limits: &[Limit; KINDS], now: u64) -> bool {
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
