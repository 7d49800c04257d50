//! What does not fit: lengths that lie, and frames that are too long for a chunk.

use std::format;

use super::{
    ALLOWED_V4, CHUNK, Packet, SURVIVES, TRUSTED_V4, Table, VERIFIED_V4, caller, caller6, dropped, message, passed,
    request,
};
use crate::reason::Reason;

pub(super) fn add(t: &mut Table) {
    let invite = request("INVITE");
    let whole = invite.len() as u16 + 8;
    let bad = dropped(Reason::BadLength);
    let why = "the kernel drops it (__udp4_lib_rcv): it must not be read either";
    for (name, length) in [("one more than the packet has", whole + 1), ("65,535", 65_535), ("7", 7), ("1", 1)] {
        t.add(&format!("UDP length {name}"), why, &caller().sip(&invite).udp_length(length), bad);
        t.add(
            &format!("UDP length {name}, padded frame"),
            why,
            &caller().sip(&invite).udp_length(length).padding(40),
            bad,
        );
        t.add(&format!("UDP length {name}, IPv6"), why, &caller6().sip(&invite).udp_length(length), bad);
    }
    t.add("UDP length 0 over IPv4", "RFC 768: the header counts", &caller().sip(&invite).udp_length(0), bad);
    t.add(
        "UDP length 0 over IPv6",
        "RFC 2675 §4: what the IP header says",
        &caller6().sip(&invite).udp_length(0),
        SURVIVES,
    );
    t.add("cut on the way", why, &caller().sip(&invite).cut(5), bad);
    t.add("cut on the way, IPv6", why, &caller6().sip(&invite).cut(5), bad);
    t.add("cut by one byte", why, &caller().sip(&invite).cut(1), bad);
    t.add("cut within the UDP header", why, &caller().sip(b"").cut(3), bad);
    for (who, source) in [("an allowed", ALLOWED_V4), ("a verified", VERIFIED_V4), ("a trusted", TRUSTED_V4)] {
        let packet = Packet::v4(source).sip(&invite).udp_length(whole + 1);
        t.add(&format!("a UDP length that lies, of {who} source"), why, &packet, bad);
    }
    shorter(t);
    chunks(t);
}

fn shorter(t: &mut Table) {
    let (invite, options) = (request("INVITE"), request("OPTIONS"));
    let why = "the kernel hands over as many bytes as UDP says, and no more are read";
    let with = |payload: &[u8], n: usize| caller().sip(payload).udp_length(n as u16 + 8);
    t.add("UDP length under the packet's", why, &with(&[&invite[..], b"trailer"].concat(), invite.len()), SURVIVES);
    t.add("a keep-alive with OPTIONS behind it", why, &with(&[b"\r\n", &options[..]].concat(), 2), SURVIVES);
    t.add("nothing, with OPTIONS behind it", why, &with(&options, 0), SURVIVES);
    t.add(
        "a start line whose end is behind the payload",
        why,
        &with(b"INVITE sip:a@example.com SIP/2.0\r\n", 33),
        dropped(Reason::Malformed),
    );
    let scanner = message("INVITE", "", "User-Agent: friendly-scanner\r\n");
    t.add("a signature behind the payload", why, &with(&scanner, scanner.len() - 20), SURVIVES);
    let sneaky = with(&[&options[..], b"INVITE sip:a@example.com SIP/2.0\r\n"].concat(), options.len());
    t.add("OPTIONS with an INVITE behind it", why, &sneaky, dropped(Reason::Stealth));
    let invites = [&invite[..], &options].concat();
    t.add(
        "an INVITE with OPTIONS behind it",
        "RFC 4475 §3.1.1.8: only the first message counts",
        &caller().sip(&invites),
        SURVIVES,
    );
}

fn chunks(t: &mut Table) {
    let fill = |frame: usize| {
        let mut long = request("INVITE");
        long.resize(frame - 42, b' ');
        caller().sip(&long)
    };
    let why = "a UMEM chunk has room for so many bytes; the kernel takes what does not fit";
    t.add("a frame as long as a chunk", why, &fill(CHUNK as usize), SURVIVES);
    t.add("a frame one byte longer than a chunk", why, &fill(CHUNK as usize + 1), passed(Reason::Kernel));
    t.add("a frame of 3,000 bytes", why, &fill(3_000), passed(Reason::Kernel));
    let mut options = request("OPTIONS");
    options.resize(3_000, b' ');
    t.add(
        "OPTIONS in a frame of 3,000 bytes",
        "it is judged as any other",
        &caller().sip(&options),
        dropped(Reason::Stealth),
    );
}
