//! What broke the C implementation of this idea (voiceofficesolutions-com/vos-fastpath): each was tried with a real
//! packet, and each is a case here.

use std::format;
use std::vec;
use std::vec::Vec;

use super::{
    ALLOWED_V4, BLOCKED_V4, BLOCKED_V6, Packet, SURVIVES, Table, caller, caller6, dropped, message, passed, request,
};
use crate::reason::Reason;

pub(super) fn add(t: &mut Table) {
    lengths(t);
    protocols(t);
    start_lines(t);
    fragments(t);
    families_and_tags(t);
    scans(t);
    lists_and_floods(t);
}

fn lengths(t: &mut Table) {
    let why = "the original compares the UDP length in the wrong byte order: these switch it off";
    // 256·n: small in the other order
    for length in [256, 257, 260, 263, 512, 515, 519, 768, 1_024, 1_280] {
        let sized = |method| {
            let mut long = request(method);
            long.resize(length - 8, b'x');
            long
        };
        let bad = Packet::v4(BLOCKED_V4).sip(&sized("INVITE"));
        t.add(&format!("original: a blocked source, UDP length {length}"), why, &bad, dropped(Reason::Blocked));
        let options = caller().sip(&sized("OPTIONS"));
        t.add(&format!("original: OPTIONS, UDP length {length}"), why, &options, dropped(Reason::Stealth));
        t.add(&format!("original: INVITE, UDP length {length}"), why, &caller().sip(&sized("INVITE")), SURVIVES);
    }
}

fn protocols(t: &mut Table) {
    let why = "the original never reads the IP protocol: TCP, SCTP and some pings are dropped";
    t.add("original: a TCP SYN to 5060", why, &caller().tcp(5060, 2, b""), passed(Reason::OtherL4));
    t.add("original: an SCTP INIT to 5060", why, &caller().sctp(5060), passed(Reason::OtherL4));
    let ping = [0x13, 0xc4, 0x13, 0xc4, 0, 30, 0, 0, b'g', b'a', b'r', b'b', b'a', b'g', b'e'];
    t.add("original: a ping that looks like port 5060", why, &caller().raw(1, &ping), passed(Reason::NotOurs));
    t.add("original: ESP that looks like port 5060", why, &caller().raw(50, &ping), passed(Reason::NotOurs));
}

fn start_lines(t: &mut Table) {
    let why = "the original drops a Request-URI over 48 bytes: ordinary carrier INVITEs";
    for length in [48, 49, 64, 120, 400, 1_200] {
        let uri = "a".repeat(length - "sip:@example.com".len());
        let invite = format!("INVITE sip:{uri}@example.com SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n\r\n");
        t.add(&format!("original: a Request-URI of {length} bytes"), why, &caller().sip(invite.as_bytes()), SURVIVES);
    }
    let carrier = "INVITE sip:+4930123456789;npdi;rn=+493012345;phone-context=+49@sbc01.voice.carrier.example:5060;\
        transport=udp;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20\r\n\r\n";
    t.add("original: a carrier's INVITE", why, &caller().sip(carrier.as_bytes()), SURVIVES);
    let why = "the original lets it through, and OpenSIPS answers";
    let front = [b"\r\n", &request("OPTIONS")[..]].concat();
    t.add("original: options in lower case", why, &caller().sip(&request("options")), dropped(Reason::Stealth));
    t.add("original: OPTIONS behind CRLF", why, &caller().sip(&front), dropped(Reason::Stealth));
}

fn fragments(t: &mut Table) {
    let why = "the original parses fragments as UDP";
    let payload = [&[0x13, 0xc5, 0x13, 0xc4, 0, 40, 0, 0][..], &[b'x'; 40]].concat();
    let later = caller().raw(17, &payload).fragment(1_480, false, 7);
    t.add("original: a later fragment that looks like port 5060", why, &later, SURVIVES);
    let why = "the original passes OPTIONS whose first fragment is tiny";
    for bytes in [0, 8, 16, 24] {
        let options = &request("OPTIONS")[..bytes];
        let tiny = caller().sip(options).udp_length(400).fragment(0, true, 7);
        let name = format!("original: OPTIONS with a first fragment of {bytes} bytes");
        t.add(&name, why, &tiny, dropped(Reason::FragmentHead));
    }
}

fn families_and_tags(t: &mut Table) {
    let why = "the original knows no IPv6";
    t.add("original: OPTIONS over IPv6", why, &caller6().sip(&request("OPTIONS")), dropped(Reason::Stealth));
    let blocked = Packet::v6(BLOCKED_V6).sip(&request("INVITE"));
    t.add("original: a blocked source over IPv6", why, &blocked, dropped(Reason::Blocked));
    let why = "the original knows no VLAN, not even priority tags";
    for (name, tci) in [("VLAN", 0x0064), ("a priority tag", 0xa000)] {
        let options = caller().vlan(0x8100, tci).sip(&request("OPTIONS"));
        t.add(&format!("original: OPTIONS behind {name}"), why, &options, dropped(Reason::Stealth));
        let blocked = Packet::v4(BLOCKED_V4).vlan(0x8100, tci).sip(&request("INVITE"));
        t.add(&format!("original: a blocked source behind {name}"), why, &blocked, dropped(Reason::Blocked));
    }
}

fn scans(t: &mut Table) {
    let why = "the original lets scans by INVITE and REGISTER get answers";
    for method in ["INVITE", "REGISTER"] {
        let scan = message(method, "User-Agent: friendly-scanner\r\n", "");
        t.add(&format!("original: a scan by {method}"), why, &caller().sip(&scan), dropped(Reason::Scanner));
    }
}

fn lists_and_floods(t: &mut Table) {
    let why = "the original blocks 1,024 addresses, no prefix, and forgets nothing but all of it";
    for last in [0, 1, 128, 255] {
        let packet = Packet::v4([203, 0, 113, last]).sip(&request("INVITE"));
        t.add(&format!("original: 203.0.113.{last} of a blocked /24"), why, &packet, dropped(Reason::Blocked));
    }
    let ended = Packet::v4([198, 51, 100, 8]).sip(&request("INVITE"));
    t.add("original: a block that has ended", why, &ended, SURVIVES);
    t.add(
        "original: a carrier's OPTIONS",
        "the original allows nobody",
        &Packet::v4(ALLOWED_V4).sip(&request("OPTIONS")),
        SURVIVES,
    );
    let why = "the original is no better than no filter under a REGISTER flood";
    let register = caller().sip(&request("REGISTER"));
    t.after("original: a REGISTER flood", why, &vec![register.clone(); 50], &register, dropped(Reason::RateRegister));
    let flood: Vec<_> = (0..50).map(|i| Packet::v4([10, 9, 8, i]).sip(&request("REGISTER"))).collect();
    let one = Packet::v4([10, 9, 8, 200]).sip(&request("REGISTER"));
    t.after("original: a REGISTER flood of one /24", why, &flood, &one, dropped(Reason::RatePrefix));
    let other = Packet::v4([10, 9, 7, 200]).sip(&request("REGISTER"));
    t.after("original: a phone beside that flood", why, &flood, &other, SURVIVES);
}
