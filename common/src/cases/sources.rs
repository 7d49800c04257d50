//! Source rules: blocked, allowed, trusted, until when; and who is verified.

use std::format;

use super::{
    BLOCKED_V4, BLOCKED_V6, EXPIRED_V4, Packet, SURVIVES, TRUSTED_IN_BLOCK, TRUSTED_V4, Table, VERIFIED_V4, dropped,
    known, message, passed, request, v6,
};
use crate::reason::Reason;

const BLOCKED: super::Verdict = dropped(Reason::Blocked);

pub(super) fn add(t: &mut Table) {
    prefixes(t);
    times(t);
    everything_of_a_blocked_source(t);
    known_sources(t);
}

fn prefixes(t: &mut Table) {
    let invite = request("INVITE");
    let v4 = |src| Packet::v4(src).sip(&invite);
    let v6 = |words| Packet::v6(v6(words)).sip(&invite);
    let why = "a rule covers its prefix and no address more";
    t.add("blocked /24", why, &v4(BLOCKED_V4), BLOCKED);
    t.add("first address of the /24", why, &v4([203, 0, 113, 0]), BLOCKED);
    t.add("last address of the /24", why, &v4([203, 0, 113, 255]), BLOCKED);
    t.add("below the /24", why, &v4([203, 0, 112, 255]), SURVIVES);
    t.add("above the /24", why, &v4([203, 0, 114, 0]), SURVIVES);
    t.add("first address of the /10", why, &v4([100, 64, 0, 0]), BLOCKED);
    t.add("last address of the /10", why, &v4([100, 127, 255, 255]), BLOCKED);
    t.add("below the /10", why, &v4([100, 63, 255, 255]), SURVIVES);
    t.add("above the /10", why, &v4([100, 128, 0, 0]), SURVIVES);
    t.add("blocked IPv6 /48", why, &Packet::v6(BLOCKED_V6).sip(&invite), BLOCKED);
    t.add("first address of the /48", why, &v6([0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0]), BLOCKED);
    t.add("below the /48", why, &v6([0x2001, 0xdb8, 0xbac, 0xffff, 0, 0, 0, 4]), SURVIVES);
    t.add("above the /48", why, &v6([0x2001, 0xdb8, 0xbae, 0, 0, 0, 0, 4]), SURVIVES);
    t.add("beside a blocked address", why, &v4([198, 51, 100, 12]), SURVIVES);
    let options = request("OPTIONS");
    let why = "a rule of one address holds for that address";
    t.add("beside an allowed address", why, &Packet::v4([198, 51, 100, 6]).sip(&options), dropped(Reason::Stealth));
    let beside = super::v6([0x2001, 0xdb8, 0xa11, 0, 0, 0, 0, 2]);
    t.add("beside an allowed IPv6 address", why, &Packet::v6(beside).sip(&options), dropped(Reason::Stealth));
}

fn times(t: &mut Table) {
    let v4 = |last, method| Packet::v4([198, 51, 100, last]).sip(&request(method));
    let inside = |last, method| Packet::v4([203, 0, 113, last]).sip(&request(method));
    let why = "DESIGN §2.2: a value holds until when";
    t.add("blocked until later", why, &v4(9, "INVITE"), BLOCKED);
    t.add("blocked for a nanosecond more", why, &v4(11, "INVITE"), BLOCKED);
    t.add("a block that ends now", why, &v4(10, "INVITE"), SURVIVES);
    t.add("a block that has ended", why, &v4(8, "INVITE"), SURVIVES);
    let why = "DESIGN §2.2: a value holds what applies afterwards, even if the engine is dead by then";
    t.add("allowed inside the block", why, &inside(7, "OPTIONS"), SURVIVES);
    t.add("allow has ended, the block applies again", why, &inside(8, "INVITE"), BLOCKED);
    t.add("allow and the block beneath have ended", why, &inside(9, "INVITE"), SURVIVES);
    t.add("and nothing is left of the allow", why, &inside(9, "OPTIONS"), dropped(Reason::Stealth));
    let why = "trust outranks block";
    t.add("trusted inside the block", why, &Packet::v4(TRUSTED_IN_BLOCK).sip(&request("OPTIONS")), SURVIVES);
}

fn everything_of_a_blocked_source(t: &mut Table) {
    let invite = request("INVITE");
    let bad = || Packet::v4(BLOCKED_V4);
    let why = "a blocked source has no way in on a SIP port";
    t.add("blocked, behind IPv4 options", why, &bad().options(&[1, 1, 1, 1]).sip(&invite), BLOCKED);
    t.add("blocked, behind a priority tag", why, &bad().vlan(0x8100, 0).sip(&invite), BLOCKED);
    t.add("blocked, behind two tags", why, &bad().vlan(0x88a8, 5).vlan(0x8100, 6).sip(&invite), BLOCKED);
    t.add("blocked, TCP", why, &bad().tcp(5060, 2, b""), BLOCKED);
    t.add("blocked, TCP of a connection that is there", why, &bad().tcp(5060, 0x10, b"x"), BLOCKED);
    t.add("blocked, TCP over IPv6", why, &Packet::v6(BLOCKED_V6).tcp(5060, 2, b""), BLOCKED);
    t.add("blocked, SCTP", why, &bad().sctp(5060), BLOCKED);
    t.add("blocked, in a broadcast frame", why, &bad().mac([0xff; 6]).sip(&invite), BLOCKED);
    t.add("blocked, to a protected host behind", why, &bad().to(&super::BEHIND_V4).sip(&invite), BLOCKED);
    t.add("blocked, the other SIP port", why, &bad().udp(5080, &invite), BLOCKED);
    t.add("blocked, keep-alive", why, &bad().sip(b"\r\n\r\n"), BLOCKED);
    t.add("blocked, STUN", why, &bad().sip(b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl"), BLOCKED);
    t.add("blocked, response", why, &bad().sip(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"), BLOCKED);
    t.add("blocked, garbage", why, &bad().sip(&[0x80; 40]), BLOCKED);
    t.add("blocked, a UDP length that lies", why, &bad().sip(&invite).udp_length(9_000), BLOCKED);
    let mut deep = Packet::v6(BLOCKED_V6);
    for _ in 0..7 {
        deep = deep.extension(60, &[0, 1, 4, 0, 0, 0, 0]);
    }
    t.add("blocked, behind 7 extension headers", why, &deep.sip(&invite), BLOCKED);
    let why = "rules are for SIP: nobody is locked out of the rest";
    t.add("blocked, another port", why, &bad().udp(4000, &invite), passed(Reason::NotOurs));
    t.add("blocked, TCP to 22", why, &bad().tcp(22, 2, b""), passed(Reason::NotOurs));
    t.add("blocked, ping", why, &bad().raw(1, &[8, 0, 0, 0, 0, 0, 0, 0]), passed(Reason::NotOurs));
}

fn known_sources(t: &mut Table) {
    let options = request("OPTIONS");
    for (who, packet) in known() {
        let why = "DESIGN §2.5, §2.6: stealth and signatures are for unknown sources";
        t.add(&format!("OPTIONS from {who}"), why, &packet.clone().sip(&options), SURVIVES);
        let scanner = message("INVITE", "User-Agent: friendly-scanner\r\n", "");
        t.add(&format!("a signature from {who}"), why, &packet.clone().sip(&scanner), SURVIVES);
        let why = "TCP passes unless the source is blocked";
        t.add(&format!("TCP from {who}"), why, &packet.tcp(5060, 2, b""), passed(Reason::OtherL4));
    }
    let why = "verified is a matter of time";
    let was = Packet::v4(EXPIRED_V4);
    t.add("OPTIONS from a source that was verified", why, &was.clone().sip(&options), dropped(Reason::Stealth));
    let scanner = message("INVITE", "User-Agent: friendly-scanner\r\n", "");
    t.add("a signature from a source that was verified", why, &was.sip(&scanner), dropped(Reason::Scanner));
    let [a, b, c, d] = VERIFIED_V4;
    let why = "IPv4: an address is verified, not its neighbours";
    t.add(
        "OPTIONS from beside a verified source",
        why,
        &Packet::v4([a, b, c, d + 2]).sip(&options),
        dropped(Reason::Stealth),
    );
    let why = "DESIGN §2.7: IPv6 counts per /64";
    let v6 = |words| Packet::v6(v6(words)).sip(&options);
    t.add("OPTIONS from the /64 of a verified source", why, &v6([0x2001, 0xdb8, 0xfeed, 7, 9, 9, 9, 9]), SURVIVES);
    t.add("OPTIONS from the /64 beside it", why, &v6([0x2001, 0xdb8, 0xfeed, 8, 0, 0, 0, 1]), dropped(Reason::Stealth));
    let why = "garbage is no SIP, whoever sends it";
    t.add(
        "garbage from an allowed source",
        why,
        &Packet::v4(super::ALLOWED_V4).sip(&[0x80; 40]),
        dropped(Reason::Malformed),
    );
    t.add("garbage from a verified source", why, &Packet::v4(VERIFIED_V4).sip(&[0x80; 40]), dropped(Reason::Malformed));
    t.add("garbage from a trusted source", why, &Packet::v4(TRUSTED_V4).sip(&[0x80; 40]), dropped(Reason::Malformed));
    t.add("a short one from a trusted source", why, &Packet::v4(TRUSTED_V4).sip(b"hello"), dropped(Reason::Short));
    let tiny = Packet::v4(TRUSTED_V4).sip(b"INVITE ").udp_length(900).fragment(0, true, 7);
    t.add("a tiny first fragment from a trusted source", why, &tiny, dropped(Reason::FragmentHead));
    let why = "a trunk may use what it likes";
    let new = Packet::v4(TRUSTED_V4).sip(&request("NEWMETHOD"));
    t.add("a method of its own from a trusted source", why, &new, SURVIVES);
}
