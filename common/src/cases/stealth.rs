//! Requests that unknown sources get no answer to.

use std::format;

use super::methods::silent;
use super::{SURVIVES, Table, caller, caller6, dropped, known, request};
use crate::reason::Reason;
use crate::sip::Class;

pub(super) fn add(t: &mut Table) {
    let stealthy = dropped(Reason::Stealth);
    let options = request("OPTIONS");
    let why = "svmap and its like find servers by OPTIONS";
    t.add("OPTIONS", why, &caller().sip(&options), stealthy);
    t.add("OPTIONS, IPv6", why, &caller6().sip(&options), stealthy);
    t.add("OPTIONS, padded frame", why, &caller().sip(&options).padding(9), stealthy);
    let why = "OpenSIPS answers it, however it is written";
    for form in ["options", "oPtIoNs", "OPTIONs"] {
        t.add(&format!("{form} instead of OPTIONS"), why, &caller().sip(&request(form)), stealthy);
    }
    for (name, line) in [
        ("OPTIONS and a tab", "OPTIONS\tsip:a@example.com SIP/2.0\r\n\r\n"),
        ("OPTIONS and two blanks", "OPTIONS  sip:a@example.com SIP/2.0\r\n\r\n"),
        ("OPTIONS of version sip/2.0", "OPTIONS sip:a@example.com sip/2.0\r\n\r\n"),
        ("OPTIONS, blanks at the line end", "OPTIONS sip:a@example.com SIP/2.0  \r\n\r\n"),
        ("OPTIONS, a line that ends with LF", "OPTIONS sip:a@example.com SIP/2.0\n\n"),
        ("OPTIONS of a tel URI", "OPTIONS tel:+15551234567 SIP/2.0\r\n\r\n"),
        ("OPTIONS *", "OPTIONS * SIP/2.0\r\nVia: x\r\n\r\n"),
    ] {
        t.add(name, why, &caller().sip(line.as_bytes()), stealthy);
    }
    let why = "OpenSIPS skips CRLFs in front: RFC 3261 §7.5";
    for (name, front) in [("CRLF", &b"\r\n"[..]), ("LF LF CR", b"\n\n\r"), ("sixteen CRs", &[b'\r'; 16])] {
        t.add(&format!("OPTIONS behind {name}"), why, &caller().sip(&[front, &options].concat()), stealthy);
    }
    let why = "an attempt to hide the start line";
    t.add("OPTIONS behind a VLAN tag", why, &caller().vlan(0x8100, 7).sip(&options), stealthy);
    t.add("OPTIONS behind two VLAN tags", why, &caller().vlan(0x88a8, 7).vlan(0x8100, 8).sip(&options), stealthy);
    t.add("OPTIONS behind IPv4 options", why, &caller().options(&[1, 1, 1, 1]).sip(&options), stealthy);
    let extension = caller6().extension(60, &[0, 1, 4, 0, 0, 0, 0]);
    t.add("OPTIONS behind an extension header", why, &extension.sip(&options), stealthy);
    let long = format!("OPTIONS sip:{} SIP/2.0\r\n\r\n", "b".repeat(600));
    t.add("OPTIONS, a long URI", why, &caller().sip(long.as_bytes()), stealthy);
    let why = "RFC 2675 §4: Linux takes the length from the IP header";
    t.add("OPTIONS, UDP length 0 over IPv6", why, &caller6().sip(&options).udp_length(0), stealthy);
    t.under(silent::<0>(), |t| {
        let why = "xdp.stealth is off";
        t.add("OPTIONS, no stealth", why, &caller().sip(&options), SURVIVES);
    });
    requests(t);
}

/// `stealth = "requests"`: a scanner that asks without being known gets no answer to anything but REGISTER; what belongs
/// to a call that is there passes.
fn requests(t: &mut Table) {
    const REQUESTS: u64 = Class::Options.bit() | Class::Invite.bit() | Class::Other.bit();
    t.under(silent::<REQUESTS>(), |t| {
        for (method, is_silent) in [
            ("OPTIONS", true),
            ("INVITE", true),
            ("SUBSCRIBE", true),
            ("MESSAGE", true),
            ("NOTIFY", true),
            ("PUBLISH", true),
            ("REFER", true),
            ("INFO", true),
            ("REGISTER", false),
            ("ACK", false),
            ("BYE", false),
            ("CANCEL", false),
            ("PRACK", false),
            ("UPDATE", false),
            ("NEWMETHOD", false),
        ] {
            let why = "issue 4: `stealth = \"requests\"` silences INVITE, SUBSCRIBE, MESSAGE … of unknown sources";
            let expect = if is_silent { dropped(Reason::Stealth) } else { SURVIVES };
            let packet = request(method);
            t.add(&format!("{method}, stealth \"requests\""), why, &caller().sip(&packet), expect);
            t.add(&format!("{method}, stealth \"requests\", IPv6"), why, &caller6().sip(&packet), expect);
            for (who, source) in known() {
                let why = "stealth is for unknown sources";
                t.add(&format!("{method}, stealth \"requests\", from {who}"), why, &source.sip(&packet), SURVIVES);
            }
        }
        let why = "stealth is about requests";
        let response = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n";
        t.add("a response, stealth \"requests\"", why, &caller().sip(response), SURVIVES);
        t.add("a keep-alive, stealth \"requests\"", why, &caller().sip(b"\r\n\r\n"), SURVIVES);
    });
}
