//! Fragments: a first one is judged as far as it goes, a later one is never read as if it held a UDP header.

use core::slice::from_ref;
use std::{format, vec};

use super::{
    ALLOWED_V4, BLOCKED_V4, BLOCKED_V6, Packet, SURVIVES, TRUSTED_V4, Table, VERIFIED_V4, caller, caller6, dropped,
    message, passed, request,
};
use crate::reason::Reason;

pub(super) fn add(t: &mut Table) {
    first(t);
    heads(t);
    later(t);
    blocked(t);
    ipv6(t);
    other_protocols(t);
}

/// The first fragment of a datagram that begins so and goes on for 600 bytes.
fn cut(source: Packet, payload: &[u8]) -> Packet {
    source.sip(payload).udp_length(payload.len() as u16 + 8 + 600).fragment(0, true, 7)
}

fn first(t: &mut Table) {
    let scanner = message("INVITE", "User-Agent: friendly-scanner\r\n", "");
    let why = "DESIGN §2.1: a first fragment runs all steps";
    t.add("first fragment of an INVITE", why, &cut(caller(), &request("INVITE")), SURVIVES);
    t.add("first fragment of a response", why, &cut(caller(), b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n"), SURVIVES);
    t.add("OPTIONS in two", why, &cut(caller(), &request("OPTIONS")), dropped(Reason::Stealth));
    t.add("a scanner's INVITE in two", why, &cut(caller(), &scanner), dropped(Reason::Scanner));
    t.add("garbage in two", why, &cut(caller(), &[0x80; 400]), dropped(Reason::Malformed));
    t.add("HTTP in two", why, &cut(caller(), b"GET / HTTP/1.1\r\nHost: example.com\r\n"), dropped(Reason::Malformed));
    for (who, source) in [("verified", VERIFIED_V4), ("allowed", ALLOWED_V4), ("trusted", TRUSTED_V4)] {
        let packet = cut(Packet::v4(source), &request("OPTIONS"));
        t.add(&format!("OPTIONS in two of a {who} source"), why, &packet, SURVIVES);
    }
    let why = "first fragments count against the rates";
    let four = vec![cut(caller(), &request("INVITE")); 4];
    t.after("a fifth INVITE in two", why, &four, &four[0], dropped(Reason::RateInvite));
    let why = "a first fragment to another port is nobody's business";
    let elsewhere = caller().udp(4000, &request("OPTIONS")).udp_length(900).fragment(0, true, 7);
    t.add("first fragment to another port", why, &elsewhere, passed(Reason::NotOurs));
    let why = "the datagram has more bytes than the fragment: the length is the datagram's";
    let long = caller().sip(&request("OPTIONS")).udp_length(60_000).fragment(0, true, 7);
    t.add("OPTIONS of 60,000 bytes", why, &long, dropped(Reason::Stealth));
    let why = "RFC 768: a length under its header's";
    t.add(
        "first fragment with UDP length 7",
        why,
        &cut(caller(), &request("INVITE")).udp_length(7),
        dropped(Reason::BadLength),
    );
    let lies = cut(caller(), &request("INVITE")).cut(40);
    t.add("first fragment cut on the way", "the kernel drops it", &lies, dropped(Reason::BadLength));
}

fn heads(t: &mut Table) {
    let head = dropped(Reason::FragmentHead);
    let why = "RFC 1858 §3: a tiny fragment hides what it begins; nobody cuts a start line for good reasons";
    for bytes in [0, 1, 7, 8, 16, 20, 31, 38] {
        let line = &b"OPTIONS sip:200@example.com SIP/2.0\r\nVia"[..if bytes > 36 { 36 } else { bytes }];
        t.add(&format!("first fragment with {bytes} bytes of OPTIONS"), why, &cut(caller(), line), head);
    }
    let ends = cut(caller(), b"OPTIONS sip:200@example.com SIP/2.0\r\n");
    t.add("first fragment that ends with the start line", why, &ends, dropped(Reason::Stealth));
    t.add("first fragment that begins with CRLFs only", why, &cut(caller(), b"\r\n\r\n"), head);
    t.add("first fragment that begins with NULs only", why, &cut(caller(), &[0; 4]), head);
    let stun = cut(caller(), b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl");
    t.add("STUN in two", "STUN fits any datagram: RFC 8489 §6.1", &stun, head);
    for (who, source) in [("a verified", VERIFIED_V4), ("an allowed", ALLOWED_V4)] {
        let packet = cut(Packet::v4(source), b"INVITE sip:200@exa");
        t.add(&format!("the head of INVITE, of {who} source"), why, &packet, head);
    }
}

fn later(t: &mut Table) {
    let rest = caller().raw(17, &[b'x'; 600]).fragment(1_000, false, 7);
    let first = cut(caller(), &request("INVITE"));
    let why = "DESIGN §2.1: the engine puts a view of them together";
    t.after("a later fragment follows the first", why, from_ref(&first), &rest, SURVIVES);
    t.after("a middle fragment follows the first", why, &[first], &rest.clone().fragment(1_000, true, 7), SURVIVES);
    t.add("a later fragment that comes first", why, &rest, SURVIVES);
    let why = "alone it is nothing: the kernel waits for the first in vain";
    t.after("the rest of OPTIONS in two", why, &[cut(caller(), &request("OPTIONS"))], &rest, SURVIVES);
    let why = "what stands there is payload, no UDP header";
    let like_udp = [&[0x13, 0xc5, 0x13, 0xc4, 0, 0, 0, 0][..], &request("OPTIONS")].concat();
    let offset = |n| caller().raw(17, &like_udp).fragment(n, false, 11);
    t.add("a later fragment that looks like OPTIONS to 5060", why, &offset(8), SURVIVES);
    t.add("the last fragment there can be", "RFC 791 §3.1: an offset of 13 bits", &offset(65_528), SURVIVES);
    let tiny = caller().raw(17, b"x").fragment(1_480, false, 12);
    t.add("a later fragment of one byte", why, &tiny, SURVIVES);
    t.add("a later fragment of one byte, padded frame", why, &tiny.padding(26), SURVIVES);
    let why = "whose datagram it is nobody can tell, so it costs no rate";
    t.after("a hundredth later fragment", why, &vec![rest.clone(); 99], &rest, SURVIVES);
    let why = "not to this host";
    t.add("a later fragment to somebody else", why, &rest.clone().to(&[192, 0, 2, 77]), passed(Reason::NotOurs));
    let behind = rest.to(&super::BEHIND_V4);
    t.add("a later fragment to a protected host behind", why, &behind, passed(Reason::Kernel));
}

fn blocked(t: &mut Table) {
    let why = "DESIGN §2.1: the source rules hold for every fragment";
    let blocked = dropped(Reason::Blocked);
    let rest = |source: Packet| source.raw(17, &[b'x'; 600]).fragment(800, false, 7);
    t.add("first fragment of a blocked source", why, &cut(Packet::v4(BLOCKED_V4), &request("INVITE")), blocked);
    t.add("a later fragment of a blocked source", why, &rest(Packet::v4(BLOCKED_V4)), blocked);
    t.add("a later IPv6 fragment of a blocked source", why, &rest(Packet::v6(BLOCKED_V6)), blocked);
    let tcp = Packet::v4(BLOCKED_V4).raw(6, &[b'x'; 600]).fragment(800, false, 7);
    t.add("a later fragment of a blocked source's TCP", why, &tcp, blocked);
    t.add("a tiny first fragment of a blocked source", why, &cut(Packet::v4(BLOCKED_V4), b""), blocked);
}

fn ipv6(t: &mut Table) {
    let id = 0xabcd_ef01;
    let first = caller6().sip(&request("INVITE")).udp_length(900).fragment(0, true, id);
    let why = "RFC 8200 §4.5";
    t.add("first IPv6 fragment", why, &first, SURVIVES);
    let rest = caller6().raw(17, &[b'x'; 200]).fragment(696, false, id);
    t.after("a later IPv6 fragment", why, &[first], &rest, SURVIVES);
    let options = caller6().sip(&request("OPTIONS")).udp_length(900).fragment(0, true, id);
    t.add("OPTIONS in two over IPv6", why, &options, dropped(Reason::Stealth));
    let tiny = caller6().sip(b"OPTIONS ").udp_length(900).fragment(0, true, id);
    t.add("a tiny first IPv6 fragment", "RFC 7112 §5", &tiny, dropped(Reason::FragmentHead));
    let why = "RFC 6946: an atomic fragment is the whole";
    t.add("an INVITE in an atomic fragment", why, &caller6().sip(&request("INVITE")).fragment(0, false, 3), SURVIVES);
    let atomic = caller6().sip(&request("OPTIONS")).fragment(0, false, 3);
    t.add("OPTIONS in an atomic fragment", why, &atomic, dropped(Reason::Stealth));
    t.add("a keep-alive in an atomic fragment", why, &caller6().sip(b"\r\n").fragment(0, false, 3), SURVIVES);
    let behind = caller6().extension(60, &[0, 1, 4, 0, 0, 0, 0]).sip(&request("OPTIONS")).udp_length(900);
    let why = "RFC 8200 §4.1: headers in front of a fragment header";
    t.add("OPTIONS in two behind an extension header", why, &behind.fragment(0, true, 3), dropped(Reason::Stealth));
}

fn other_protocols(t: &mut Table) {
    let why = "TCP is the kernel's business";
    let rest = caller().raw(6, &[b'x'; 600]).fragment(1_000, false, 8);
    t.add("a later fragment of TCP", why, &rest, passed(Reason::Fragment));
    let of_first = "RFC 8200 §4.5: only the first fragment's next header counts, a later one may say what it likes";
    let rest = caller6().raw(6, &[b'x'; 600]).fragment(1_000, false, 8);
    t.add("a later IPv6 fragment that says TCP", of_first, &rest, SURVIVES);
    t.add(
        "a later fragment of SCTP",
        why,
        &caller().raw(132, &[b'x'; 60]).fragment(80, false, 8),
        passed(Reason::Fragment),
    );
    t.add(
        "a first fragment of TCP",
        why,
        &caller().tcp(5060, 0x10, &[b'x'; 60]).fragment(0, true, 7),
        passed(Reason::OtherL4),
    );
    t.add(
        "a later fragment of a ping",
        "no SIP",
        &caller().raw(1, &[b'x'; 60]).fragment(80, false, 8),
        passed(Reason::NotOurs),
    );
    t.add(
        "a first fragment of a ping",
        "no SIP",
        &caller().raw(1, &[8; 60]).fragment(0, true, 8),
        passed(Reason::NotOurs),
    );
}
