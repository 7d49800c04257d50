//! Methods: each of IANA's registry by its name in every form, and what only looks like one.

use std::format;
use std::string::String;
use std::vec::Vec;

use super::{Packet, SURVIVES, Settings, TRUSTED_V4, Table, VERIFIED_V4, caller, caller6, dropped, known, request};
use crate::reason::Reason;
use crate::sip::Class;
use crate::state::Config;

/// Unknown sources get no answer to these classes, and no others.
pub(super) const fn silent<const MASK: u64>() -> Settings {
    fn set<const MASK: u64>(config: &mut Config, _: u64) {
        config.silent = MASK;
    }
    set::<MASK>
}

/// The registry (RFC 3261, 3262, 3311, 3428, 3515, 3903, 6086, 6665), by what rules make of it.
const METHODS: [(&str, Settings); 14] = [
    ("REGISTER", silent::<{ Class::Register.bit() }>()),
    ("INVITE", silent::<{ Class::Invite.bit() }>()),
    ("OPTIONS", silent::<{ Class::Options.bit() }>()),
    ("ACK", silent::<{ Class::Ack.bit() }>()),
    ("BYE", silent::<{ Class::InCall.bit() }>()),
    ("CANCEL", silent::<{ Class::InCall.bit() }>()),
    ("PRACK", silent::<{ Class::InCall.bit() }>()),
    ("UPDATE", silent::<{ Class::InCall.bit() }>()),
    ("SUBSCRIBE", silent::<{ Class::Other.bit() }>()),
    ("NOTIFY", silent::<{ Class::Other.bit() }>()),
    ("MESSAGE", silent::<{ Class::Other.bit() }>()),
    ("PUBLISH", silent::<{ Class::Other.bit() }>()),
    ("REFER", silent::<{ Class::Other.bit() }>()),
    ("INFO", silent::<{ Class::Other.bit() }>()),
];

fn mixed(method: &str) -> String {
    method.chars().enumerate().map(|(i, c)| if i % 2 == 0 { c.to_ascii_lowercase() } else { c }).collect()
}

pub(super) fn add(t: &mut Table) {
    by_name(t);
    unknown(t);
}

fn by_name(t: &mut Table) {
    for (method, of_its_class) in METHODS {
        let stealthy = dropped(Reason::Stealth);
        t.under(of_its_class, |t| {
            let why = "OpenSIPS and Kamailio answer `options`: methods compare without case";
            for form in [String::from(method), method.to_lowercase(), mixed(method)] {
                t.add(&format!("{form} is of its class"), why, &caller().sip(&request(&form)), stealthy);
            }
            let why = "a tab ends a method, too";
            let tab = format!("{method}\tsip:200@example.com SIP/2.0\r\nVia: x\r\n\r\n");
            t.add(&format!("{method} and a tab is of its class"), why, &caller().sip(tab.as_bytes()), stealthy);
            let why = "RFC 3261 §7.1: a method is its whole token";
            let longer = request(&format!("{method}X"));
            t.add(&format!("{method}X is not of its class"), why, &caller().sip(&longer), SURVIVES);
            let shorter = request(&method[..method.len() - 1]);
            t.add(&format!("{method} without its last letter is not"), why, &caller().sip(&shorter), SURVIVES);
        });
    }
}

fn unknown(t: &mut Table) {
    let unknown: [(&str, Vec<u8>); 8] = [
        ("NEWMETHOD", request("NEWMETHOD")),
        ("a method of one letter", request("X")),
        ("a method of odd characters", request("!interesting-Method0123456789_*+`.%indeed'~")),
        ("REGISTER with an escape", request("RE%47IST%45R")),
        ("OPTIONSX", request("OPTIONSX")),
        ("OPTION", request("OPTION")),
        ("REGISTERS", request("REGISTERS")),
        ("a method of 300 letters", request(&"M".repeat(300))),
    ];
    t.under(
        |config, _| config.enforce |= Reason::UnknownMethod.bit(),
        |t| {
            let why = "a fuzzer's method is asked to find out what answers 405; RFC 4475 §3.1.1.2, §3.1.1.5";
            for (name, payload) in &unknown {
                t.add(&format!("{name}, forbidden"), why, &caller().sip(payload), dropped(Reason::UnknownMethod));
            }
            let name = "NEWMETHOD, forbidden, IPv6";
            t.add(name, why, &caller6().sip(&unknown[0].1), dropped(Reason::UnknownMethod));
            for (who, packet) in known() {
                let why = "the rule is for unknown sources: RFC 3261 §8.2.1 lets everybody else extend SIP";
                t.add(&format!("NEWMETHOD from {who}"), why, &packet.sip(&unknown[0].1), SURVIVES);
            }
            for (method, _) in METHODS {
                for form in [String::from(method), method.to_lowercase(), mixed(method)] {
                    let why = "IANA's registry names it";
                    // not OPTIONS: stealth comes first
                    let who = if method == "OPTIONS" { Packet::v4(VERIFIED_V4) } else { caller() };
                    t.add(&format!("{form} is a method"), why, &who.sip(&request(&form)), SURVIVES);
                }
            }
            let why = "a response has no method";
            t.add("a response, methods forbidden", why, &caller().sip(b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n"), SURVIVES);
        },
    );
    t.under(silent::<{ Class::Unknown.bit() }>(), |t| {
        let why = "stealth comes before the rule for unknown methods";
        t.add("NEWMETHOD, silent", why, &caller().sip(&unknown[0].1), dropped(Reason::Stealth));
        t.add("NEWMETHOD, silent, trusted", why, &Packet::v4(TRUSTED_V4).sip(&unknown[0].1), SURVIVES);
    });
    let why = "the rule is off by default: RFC 3261 §8.2.1";
    for (name, payload) in &unknown {
        t.add(&format!("{name}, by default"), why, &caller().sip(payload), SURVIVES);
    }
}
