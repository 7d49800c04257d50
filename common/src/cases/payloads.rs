//! What a datagram is: keep-alives, STUN, start lines, garbage.

use std::format;
use std::string::String;

use super::{ALLOWED_V4, CHUNK, Packet, SURVIVES, Table, caller, caller6, dropped, passed};
use crate::reason::Reason;

pub(super) fn add(t: &mut Table) {
    messages(t);
    garbage(t);
    short(t);
    line_ends(t);
    long_lines(t);
}

fn messages(t: &mut Table) {
    for (name, why, payload) in [
        ("CRLF", "RFC 5626 §3.5.1: a pong", &b"\r\n"[..]),
        ("CRLFCRLF", "RFC 5626 §3.5.1: a ping", b"\r\n\r\n"),
        ("LF", "phones keep NAT open with it", b"\n"),
        ("sixteen CRs and LFs", "phones keep NAT open with it", b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"),
        ("one NUL", "phones keep NAT open with it", b"\0"),
        ("four NULs", "phones keep NAT open with it: usrloc's and nathelper's way", b"\0\0\0\0"),
        ("jaK", "Asterisk's and X-Lite's keep-alive", b"jaK"),
        ("nothing", "RFC 768: a datagram may be empty", b""),
        ("STUN binding request", "RFC 8489 §5", b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl"),
        ("STUN binding response", "RFC 8489 §5", b"\x01\x01\0\0\x21\x12\xa4\x42abcdefghijkl"),
        ("STUN of RFC 3489", "RFC 3489 §11.1: no cookie", b"\0\x01\0\x04abcdefghijklmnopwxyz"),
        ("a response", "RFC 3261 §7.2", b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("a response in lower case", "RFC 3261 §7.1: in any case", b"sip/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("a response without a reason", "RFC 4475 §3.1.1.13", b"SIP/2.0 100 \r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("a reason that ends like a request", "RFC 3261 §7.2", b"SIP/2.0 200 sip:a@b SIP/2.0\r\nVia: x\r\n\r\n"),
        (
            "a method of odd characters",
            "RFC 4475 §3.1.1.2",
            b"!interesting-Method0123456789_*+`.%indeed'~ sip:a@b SIP/2.0\r\n\r\n",
        ),
        ("an unknown method", "RFC 3261 §8.2.1: answered by 405", b"NEWMETHOD sip:user@example.com SIP/2.0\r\n\r\n"),
        ("version in lower case", "RFC 3261 §7.1: in any case", b"INVITE sip:user@example.com sip/2.0\r\n\r\n"),
        ("version in mixed case", "RFC 3261 §7.1: in any case", b"INVITE sip:user@example.com SiP/2.0\r\n\r\n"),
        ("lines that end with LF", "OpenSIPS takes them", b"INVITE sip:user@example.com SIP/2.0\nVia: x\n\n"),
        (
            "two blanks behind the version",
            "RFC 4475 §3.1.2.10: servers are lenient",
            b"INVITE sip:u@example.com SIP/2.0  \r\n\r\n",
        ),
        (
            "four blanks behind the version",
            "as many as are passed over",
            b"INVITE sip:u@example.com SIP/2.0    \r\n\r\n",
        ),
        ("a tab before the version", "OpenSIPS takes it for a blank", b"INVITE sip:user@example.com\tSIP/2.0\r\n\r\n"),
        (
            "two blanks before the URI",
            "RFC 4475 §3.1.2.9: 400 is the server's to say",
            b"INVITE  sip:user@example.com SIP/2.0\r\n\r\n",
        ),
        (
            "a Request-URI in brackets",
            "RFC 4475 §3.1.2.7: 400 is the server's to say",
            b"INVITE <sip:user@example.com> SIP/2.0\r\n\r\n",
        ),
        (
            "a Request-URI with a blank",
            "RFC 4475 §3.1.2.8: 400 is the server's to say",
            b"INVITE sip:u@example.com; lr SIP/2.0\r\n\r\n",
        ),
        (
            "no Request-URI",
            "DESIGN §2.4: the last token counts; the rest is the server's to say",
            b"INVITE SIP/2.0\r\nVia: x\r\n\r\n",
        ),
        ("a tel URI", "RFC 3966", b"INVITE tel:+15551234567 SIP/2.0\r\n\r\n"),
        ("a sips URI", "RFC 3261 §19.1", b"INVITE sips:user@example.com SIP/2.0\r\n\r\n"),
        ("an IPv6 reference", "RFC 5118 §4.1", b"INVITE sip:user@[2001:db8::10] SIP/2.0\r\n\r\n"),
        (
            "an unknown scheme",
            "RFC 4475 §3.3.2: 416 is the server's to say",
            b"INVITE nobodyKnowsThisScheme:totallyopaque SIP/2.0\r\n\r\n",
        ),
        ("CRLFs in front", "RFC 3261 §7.5", b"\r\n\r\n\r\nINVITE sip:user@example.com SIP/2.0\r\n\r\n"),
        (
            "sixteen CRs and LFs in front",
            "RFC 3261 §7.5",
            b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nINVITE sip:u@example.com SIP/2.0\r\n\r\n",
        ),
        ("a response behind CRLF", "RFC 3261 §7.5", b"\r\nSIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        (
            "bytes outside ASCII in the URI",
            "RFC 3261 §25.1 forbids them, the server says so",
            b"INVITE sip:\xc3\xa9@example.com SIP/2.0\r\n\r\n",
        ),
    ] {
        t.add(name, why, &caller().sip(payload), SURVIVES);
        t.add(&format!("{name}, IPv6"), why, &caller6().sip(payload), SURVIVES);
        let why = "IEEE 802.3: short frames are padded, and padding is no payload";
        t.add(&format!("{name}, padded frame"), why, &caller().sip(payload).padding(9), SURVIVES);
    }
}

fn garbage(t: &mut Table) {
    for (name, why, payload) in [
        ("HTTP", "no SIP", &b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"[..]),
        ("no version", "RFC 3261 §7.1", b"INVITE sip:user@example.com\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("SIP/3.0", "RFC 3261 §7.1", b"INVITE sip:user@example.com SIP/3.0\r\n\r\n"),
        ("SIP/2.1", "RFC 3261 §7.1", b"INVITE sip:user@example.com SIP/2.1\r\n\r\n"),
        ("SIP/7.0", "RFC 4475 §3.1.2.16", b"OPTIONS sip:t.watson@example.org SIP/7.0\r\n\r\n"),
        ("SIP/7.0 response", "RFC 3261 §7.2", b"SIP/7.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("SIP/2.00", "RFC 3261 §7.1", b"INVITE sip:user@example.com SIP/2.00\r\n\r\n"),
        ("XSIP/2.0", "RFC 3261 §7.1", b"INVITE sip:user@example.com XSIP/2.0\r\n\r\n"),
        ("no blank before the version", "RFC 3261 §7.1", b"INVITE sip:user@example.comSIP/2.0\r\n\r\n"),
        ("version alone", "RFC 3261 §7.2", b"SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
        ("no line end", "RFC 3261 §7", b"INVITE sip:user@example.com SIP/2.0"),
        ("a line that ends with CR", "RFC 3261 §7: CRLF", b"INVITE sip:user@example.com SIP/2.0\rVia: x\r\r"),
        (
            "five blanks behind the version",
            "more than are passed over",
            b"INVITE sip:u@example.com SIP/2.0     \r\n\r\n",
        ),
        ("version on the second line", "RFC 3261 §7.1: one line", b"INVITE sip:user@example.com\r\n SIP/2.0\r\n\r\n"),
        (
            "binary",
            "no SIP",
            b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95",
        ),
        (
            "RTP",
            "RFC 3550 §5.1: media that lost its way",
            b"\x80\x00\x12\x34\0\0\0\x01\0\0\0\x02abcdefghijklmnop\nxyz SIP/2.0\n",
        ),
        ("TLS", "RFC 8446 §5.1", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03abcdefghijklmnop\n"),
        ("DNS", "RFC 1035 §4.1.1", b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01"),
        ("twenty-five NULs", "longer than any keep-alive", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("STUN of RFC 3489 with a wrong length", "RFC 3489 §11.1", b"\0\x01\0\x05abcdefghijklmnopwxyz"),
        (
            "STUN's cookie behind one bits",
            "RFC 8489 §5: the first two bits are 0",
            b"\x80\x01\0\0\x21\x12\xa4\x42abcdefghijkl",
        ),
        ("a blank in front", "RFC 3261 §7.1", b" INVITE sip:user@example.com SIP/2.0\r\n\r\n"),
        (
            "a byte-order mark in front",
            "RFC 3261 §7.1: a method is a token",
            b"\xef\xbb\xbfINVITE sip:user@example.com SIP/2.0\r\n\r\n",
        ),
        ("version with a control character in it", "RFC 3261 §7.1", b"INVITE sip:user@example.com SIP/2\x0e0\r\n\r\n"),
        ("version behind a NUL", "RFC 3261 §7.1", b"INVITE sip:user@example.com\0SIP/2.0\r\n\r\n"),
        (
            "seventeen CRs and LFs in front",
            "as many as are skipped; no client sends so many",
            b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\rINVITE sip:u@example.com SIP/2.0\r\n\r\n",
        ),
    ] {
        t.add(name, why, &caller().sip(payload), dropped(Reason::Malformed));
        t.add(&format!("{name}, IPv6"), why, &caller6().sip(payload), dropped(Reason::Malformed));
        t.add(&format!("{name}, allowed"), why, &Packet::v4(ALLOWED_V4).sip(payload), dropped(Reason::Malformed));
    }
}

fn short(t: &mut Table) {
    let why = "OpenSIPS and Kamailio ignore datagrams under 20 bytes (MIN_UDP_PACKET)";
    for (name, payload) in [
        ("16 bytes", &b"INVITE sip:a SIP"[..]),
        ("19 bytes", b"INVITE s:a SIP/2.0\n"),
        ("one letter", b"x"),
        ("five NULs", b"\0\0\0\0\0"),
        ("NUL and more", b"\0hello"),
        ("jaK and more", b"jaKjaK"),
        ("CRLF and a little", b"\r\nhello"),
        ("STUN of 19 bytes", b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijk"),
    ] {
        t.add(name, why, &caller().sip(payload), dropped(Reason::Short));
        t.add(&format!("{name}, padded frame"), why, &caller().sip(payload).padding(26), dropped(Reason::Short));
    }
    t.add("20 bytes", why, &caller().sip(b"BYE sip:ab SIP/2.0\r\n"), SURVIVES);
}

fn line_ends(t: &mut Table) {
    for length in 20..60 {
        let line = format!("INVITE sip:{} SIP/2.0\r\n", "a".repeat(length));
        let why = "the line end at every position within a word of eight, and at the packet's end";
        t.add(
            &format!("a start line of {} bytes and nothing else", line.len()),
            why,
            &caller().sip(line.as_bytes()),
            SURVIVES,
        );
    }
}

fn long_lines(t: &mut Table) {
    let line = |bytes: usize| format!("INVITE sip:{} SIP/2.0\r\n", "a".repeat(bytes - 21));
    let fits = |payload: &str| if payload.len() + 42 <= CHUNK as usize { SURVIVES } else { passed(Reason::Kernel) };
    for length in [64, 65, 128, 500, 1_000, 1_400, 1_900, 2_047, 2_048] {
        let message = line(length) + "Via: SIP/2.0/UDP x\r\n\r\n";
        let why = "a start line ends anywhere within 2,048 bytes";
        t.add(&format!("a start line of {length} bytes"), why, &caller().sip(message.as_bytes()), fits(&message));
    }
    let why = "no server takes a Request-URI of 2 KB";
    for length in [2_100, 3_000] {
        let message = line(length) + "\r\n";
        t.add(
            &format!("a start line of {length} bytes"),
            why,
            &caller().sip(message.as_bytes()),
            dropped(Reason::LongLine),
        );
    }
    for length in [2_048, 2_049, 2_500] {
        let endless: String = line(length + 1)[..length].into();
        let name = format!("{length} bytes without a line end");
        t.add(&name, why, &caller().sip(endless.as_bytes()), dropped(Reason::LongLine));
        t.add(&format!("{name}, IPv6"), why, &caller6().sip(endless.as_bytes()), dropped(Reason::LongLine));
        let name = format!("{name}, allowed");
        t.add(&name, why, &Packet::v4(ALLOWED_V4).sip(endless.as_bytes()), dropped(Reason::LongLine));
    }
    let why = "the bytes end first";
    let unfinished = &line(2_048)[..2_047];
    t.add("2,047 bytes without a line end", why, &caller().sip(unfinished.as_bytes()), dropped(Reason::Malformed));
    t.add(
        "1,000 bytes without a line end",
        why,
        &caller().sip(&unfinished.as_bytes()[..1_000]),
        dropped(Reason::Malformed),
    );
}
