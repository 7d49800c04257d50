//! Where rules meet: what was decided otherwise once.

use std::string::String;
use std::{format, vec};

use super::{Packet, SURVIVES, Table, caller, caller6, dropped, message};
use crate::reason::Reason;

pub(super) fn add(t: &mut Table) {
    long_lines(t);
    fragments(t);
    signatures(t);
}

fn long_lines(t: &mut Table) {
    let why = "sip::LINE_MAX: the longest start line has 2,048 bytes, line end included";
    for length in [2_049, 2_056, 2_089] {
        let line = format!("INVITE sip:{} SIP/2.0\r\n\r\n", "a".repeat(length - 21));
        t.add(
            &format!("a start line of {length} bytes"),
            why,
            &caller().sip(line.as_bytes()),
            dropped(Reason::LongLine),
        );
    }
}

fn fragments(t: &mut Table) {
    let why = "a rule that is off drops nothing; the datagram is neither short nor malformed, it goes on";
    t.under(
        |config, _| config.enforce &= !Reason::FragmentHead.bit(),
        |t| {
            for (name, head) in [
                ("OPTIONS sip:200", &b"OPTIONS sip:200"[..]),
                ("INVITE sip:200@example.com", b"INVITE sip:200@example.com"),
            ] {
                let packet = caller().sip(head).udp_length(900).fragment(0, true, 7);
                t.add(&format!("fragment heads off: {name}"), why, &packet, SURVIVES);
            }
        },
    );
    let why = "RFC 8200 §4.5: the fragmentable part may begin with an extension header; what follows may be UDP";
    let later = caller6().raw(60, &[b'x'; 200]).fragment(696, false, 7);
    t.add("a later fragment behind whose header stands another", why, &later, SURVIVES);
    let blocked = Packet::v6(super::BLOCKED_V6).raw(60, &[b'x'; 200]).fragment(696, false, 7);
    t.add("the same of a blocked source", why, &blocked, dropped(Reason::Blocked));
    let why = "RFC 1858 §3: a SYN whose flags are cut off is a SYN, and a flood of them costs what SYNs cost";
    let tiny = caller().tcp(5060, 2, b"");
    let tiny = Packet::v4(super::CALLER_V4).raw(6, &tiny.build()[34..42]).fragment(0, true, 7);
    t.after("a ninth TCP SYN in a tiny fragment", why, &vec![tiny.clone(); 8], &tiny, dropped(Reason::RateSource));
}

fn signatures(t: &mut Table) {
    let why = "a provider whose domain shares letters with a pattern: REGISTERs of its phones are no scans";
    for domain in ["friendly-telecom.example", "sipclient.example.com", "sipvic.example"] {
        let lines = format!(
            "Contact: <sip:100@phone.{domain}>\r\nRoute: <sip:edge.{domain};lr>\r\nP-Preferred-Identity: <sip:100@{domain}>\r\n\
             Authorization: Digest username=\"100\",realm=\"{domain}\",nonce=\"1\",uri=\"sip:{domain}\",response=\"2\"\r\n"
        );
        let text = message("REGISTER", &lines, "");
        let text = String::from_utf8_lossy(&text).replace("example.com>", &format!("{domain}>"));
        let text = text.replace("Call-ID: 1@x", &format!("Call-ID: 1@phone.{domain}"));
        t.add(&format!("REGISTER at {domain}"), why, &caller().sip(text.as_bytes()), SURVIVES);
    }
}
