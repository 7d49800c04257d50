//! Closed mode, monitored rules, and which survivors go to the engine.

use std::{format, vec};

use super::{
    ALLOWED_V4, ALLOWED_V6, BLOCKED_V4, EXPIRED_V4, Packet, SURVIVES, Settings, TRUSTED_IN_BLOCK, TRUSTED_V4, Table,
    VERIFIED_V4, VERIFIED_V6, caller, caller6, dropped, known, message, passed, request,
};
use crate::reason::Reason;
use crate::sip::{Class, LATER_FRAGMENT, Payload};
use crate::state::KNOWN_SHIFT;

pub(super) fn add(t: &mut Table) {
    closed(t);
    monitored(t);
    off(t);
    redirected(t);
}

fn closed(t: &mut Table) {
    let closed = dropped(Reason::Closed);
    let invite = request("INVITE");
    t.under(
        |config, _| config.enforce |= Reason::Closed.bit(),
        |t| {
            let why = "issue 4: in `mode = \"closed\"` only trusted and allowed sources exist";
            for (who, source) in [
                ("an unknown source", caller()),
                ("an unknown IPv6 source", caller6()),
                ("a verified source", Packet::v4(VERIFIED_V4)),
                ("a verified IPv6 source", Packet::v6(VERIFIED_V6)),
                ("one that was verified", Packet::v4(EXPIRED_V4)),
                ("one whose block has ended", Packet::v4([198, 51, 100, 8])),
                ("one whose allow has ended", Packet::v4([203, 0, 113, 9])),
            ] {
                for (what, packet) in [
                    ("REGISTER", source.clone().sip(&request("REGISTER"))),
                    ("a response", source.clone().sip(b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n")),
                    ("a keep-alive", source.clone().sip(b"\r\n\r\n")),
                    ("TCP", source.clone().tcp(5060, 2, b"")),
                    ("TCP data", source.clone().tcp(5060, 0x18, b"x")),
                    ("SCTP", source.clone().sctp(5060)),
                    ("a first fragment", source.clone().sip(&invite).udp_length(900).fragment(0, true, 7)),
                ] {
                    t.add(&format!("closed: {what} of {who}"), why, &packet, closed);
                }
            }
            for (who, source) in [
                ("an allowed source", Packet::v4(ALLOWED_V4)),
                ("an allowed IPv6 source", Packet::v6(ALLOWED_V6)),
                ("one allowed inside a block", Packet::v4([203, 0, 113, 7])),
                ("a trusted source", Packet::v4(TRUSTED_V4)),
                ("one trusted inside a block", Packet::v4(TRUSTED_IN_BLOCK)),
            ] {
                t.add(&format!("closed: INVITE of {who}"), why, &source.clone().sip(&invite), SURVIVES);
                t.add(&format!("closed: OPTIONS of {who}"), why, &source.clone().sip(&request("OPTIONS")), SURVIVES);
                t.add(
                    &format!("closed: TCP of {who}"),
                    why,
                    &source.clone().tcp(5060, 2, b""),
                    passed(Reason::OtherL4),
                );
                let first = source.sip(&invite).udp_length(900).fragment(0, true, 7);
                t.add(&format!("closed: a first fragment of {who}"), why, &first, SURVIVES);
            }
            let why = "a block says more than closed";
            t.add("closed: a blocked source", why, &Packet::v4(BLOCKED_V4).sip(&invite), dropped(Reason::Blocked));
            let why = "closed is about SIP: DNS and ssh go on";
            t.add("closed: another port", why, &caller().udp(53, &invite), passed(Reason::NotOurs));
            t.add("closed: TCP to 22", why, &caller().tcp(22, 2, b""), passed(Reason::NotOurs));
            t.add("closed: ping", why, &caller().raw(1, &[8, 0, 0, 0, 0, 0, 0, 0]), passed(Reason::NotOurs));
            let why = "it may be of DNS: nobody can tell, and without its first fragment it is nothing";
            let later = caller().raw(17, &[b'x'; 600]).fragment(800, false, 7);
            t.add("closed: a later fragment", why, &later, SURVIVES);
            let later = caller().raw(6, &[b'x'; 600]).fragment(800, false, 7);
            t.add("closed: a later fragment of TCP", why, &later, passed(Reason::Fragment));
        },
    );
}

/// Rules that are watched instead of enforced.
const fn watching<const RULES: u64>() -> Settings {
    fn set<const RULES: u64>(config: &mut crate::state::Config, _: u64) {
        config.enforce &= !RULES;
        config.monitor |= RULES;
    }
    set::<RULES>
}

fn monitored(t: &mut Table) {
    let why = "issue 4: a monitored rule counts what it would have dropped; those behind it still hold";
    let signed = |method| message(method, "User-Agent: friendly-scanner\r\n", "");
    t.under(watching::<{ Reason::Stealth.bit() }>(), |t| {
        t.noted("stealth monitored: OPTIONS", why, &caller().sip(&request("OPTIONS")), Reason::Stealth, SURVIVES);
        let scanner = caller().sip(&signed("OPTIONS"));
        t.noted("stealth monitored: a scanner's OPTIONS", why, &scanner, Reason::Stealth, dropped(Reason::Scanner));
        t.add("stealth monitored: INVITE", why, &caller().sip(&request("INVITE")), SURVIVES);
        t.add(
            "stealth monitored: OPTIONS of a known source",
            why,
            &Packet::v4(ALLOWED_V4).sip(&request("OPTIONS")),
            SURVIVES,
        );
        let garbage = caller().sip(&[0x80; 40]);
        t.add("stealth monitored: garbage", why, &garbage, dropped(Reason::Malformed));
    });
    t.under(watching::<{ Reason::Scanner.bit() }>(), |t| {
        t.noted("scanner monitored: a signature", why, &caller().sip(&signed("INVITE")), Reason::Scanner, SURVIVES);
    });
    t.under(watching::<{ Reason::Blocked.bit() }>(), |t| {
        let bad = || Packet::v4(BLOCKED_V4);
        t.noted("blocked monitored: INVITE", why, &bad().sip(&request("INVITE")), Reason::Blocked, SURVIVES);
        let stealthy = dropped(Reason::Stealth);
        t.noted("blocked monitored: OPTIONS", why, &bad().sip(&request("OPTIONS")), Reason::Blocked, stealthy);
        t.noted("blocked monitored: TCP", why, &bad().tcp(5060, 2, b""), Reason::Blocked, passed(Reason::OtherL4));
        let later = bad().raw(17, &[b'x'; 60]).fragment(800, false, 7);
        t.noted("blocked monitored: a later fragment", why, &later, Reason::Blocked, SURVIVES);
        let lies = bad().sip(b"").udp_length(99);
        t.noted("blocked monitored: a length that lies", why, &lies, Reason::Blocked, dropped(Reason::BadLength));
    });
    t.under(watching::<{ Reason::Closed.bit() }>(), |t| {
        t.noted("closed monitored: INVITE", why, &caller().sip(&request("INVITE")), Reason::Closed, SURVIVES);
        let options = caller().sip(&request("OPTIONS"));
        t.noted("closed monitored: OPTIONS", why, &options, Reason::Closed, dropped(Reason::Stealth));
        t.add("closed monitored: an allowed source", why, &Packet::v4(ALLOWED_V4).sip(&request("OPTIONS")), SURVIVES);
    });
    t.under(watching::<{ Reason::OwnSource.bit() | Reason::BadLength.bit() | Reason::TooDeep.bit() }>(), |t| {
        let why = "what cannot be judged further is left to the kernel";
        let kernel = passed(Reason::Kernel);
        let own = Packet::v6(super::OWN_V6).sip(&request("INVITE"));
        t.noted("own source monitored", why, &own, Reason::OwnSource, kernel);
        t.noted("bad length monitored", why, &caller().sip(b"").udp_length(99), Reason::BadLength, kernel);
        let mut deep = caller6();
        for _ in 0..7 {
            deep = deep.extension(60, &[0, 1, 4, 0, 0, 0, 0]);
        }
        t.noted("too deep monitored", why, &deep.sip(&request("INVITE")), Reason::TooDeep, kernel);
    });
    t.under(watching::<{ Reason::Malformed.bit() | Reason::Short.bit() | Reason::LongLine.bit() }>(), |t| {
        t.noted("malformed monitored", why, &caller().sip(&[0x80; 40]), Reason::Malformed, SURVIVES);
        t.noted("short monitored", why, &caller().sip(b"x"), Reason::Short, SURVIVES);
        let endless = caller().sip(&[b'x'; 2_500]);
        t.noted("long line monitored", why, &endless, Reason::LongLine, passed(Reason::Kernel));
        let eight = vec![caller().sip(b"x"); 8];
        let why = "what passes counts against the rates";
        t.after("a ninth short one, short monitored", why, &eight, &eight[0], dropped(Reason::RateSource));
        if let Some(case) = t.cases.last_mut() {
            case.would = Some(Reason::Short);
        }
    });
    t.under(watching::<{ Reason::UnknownMethod.bit() }>(), |t| {
        let packet = caller().sip(&request("NEWMETHOD"));
        t.noted("unknown method monitored", why, &packet, Reason::UnknownMethod, SURVIVES);
    });
    monitored_rates(t);
    t.under(watching::<{ u64::MAX }>(), |t| {
        let why = "the first rule is noted";
        let scanner = Packet::v4(BLOCKED_V4).sip(&signed("OPTIONS"));
        t.noted("all monitored: a blocked scanner's OPTIONS", why, &scanner, Reason::Blocked, SURVIVES);
        let scanner = caller().sip(&signed("OPTIONS"));
        t.noted("all monitored: a scanner's OPTIONS", why, &scanner, Reason::Closed, SURVIVES);
        t.add(
            "all monitored: INVITE of an allowed source",
            why,
            &Packet::v4(ALLOWED_V4).sip(&request("INVITE")),
            SURVIVES,
        );
    });
}

fn monitored_rates(t: &mut Table) {
    let why = "issue 4: a monitored rule counts what it would have dropped; those behind it still hold";
    let mut after = |n: usize, name: &str, settings: Settings, method: &str, would: Reason, expect| {
        t.under(settings, |t| {
            let packet = caller().sip(&request(method));
            t.after(name, why, &vec![packet.clone(); n], &packet, expect);
            t.cases.last_mut().expect("was just added").would = Some(would);
        });
    };
    let register = watching::<{ Reason::RateRegister.bit() }>();
    after(3, "rate of REGISTER monitored: a fourth", register, "REGISTER", Reason::RateRegister, SURVIVES);
    let prefix = dropped(Reason::RatePrefix);
    after(5, "rate of REGISTER monitored: a sixth", register, "REGISTER", Reason::RateRegister, prefix);
    let both = watching::<{ Reason::RateRegister.bit() | Reason::RatePrefix.bit() }>();
    let source = dropped(Reason::RateSource);
    after(8, "rates of REGISTER and prefix monitored: a ninth", both, "REGISTER", Reason::RateRegister, source);
    let of_all = watching::<{ Reason::RateSource.bit() }>();
    after(8, "rate of all monitored: a ninth BYE", of_all, "BYE", Reason::RateSource, SURVIVES);
    after(14, "rate of all monitored: a fifteenth BYE", of_all, "BYE", Reason::RateSource, prefix);
}

fn off(t: &mut Table) {
    let why = "issue 4: each rule can be switched off";
    let rows: [(&str, Settings, Packet, super::Verdict); 8] = [
        (
            "blocked",
            |c, _| c.enforce &= !Reason::Blocked.bit(),
            Packet::v4(BLOCKED_V4).sip(&request("INVITE")),
            SURVIVES,
        ),
        (
            "own source",
            |c, _| c.enforce &= !Reason::OwnSource.bit(),
            Packet::v6(super::OWN_V6).sip(&request("INVITE")),
            passed(Reason::Kernel),
        ),
        (
            "bad length",
            |c, _| c.enforce &= !Reason::BadLength.bit(),
            caller().sip(b"").udp_length(99),
            passed(Reason::Kernel),
        ),
        ("short", |c, _| c.enforce &= !Reason::Short.bit(), caller().sip(b"x"), SURVIVES),
        ("malformed", |c, _| c.enforce &= !Reason::Malformed.bit(), caller().sip(&[0x80; 40]), SURVIVES),
        (
            "long line",
            |c, _| c.enforce &= !Reason::LongLine.bit(),
            caller().sip(&[b'x'; 2_500]),
            passed(Reason::Kernel),
        ),
        ("stealth", |c, _| c.enforce &= !Reason::Stealth.bit(), caller().sip(&request("OPTIONS")), SURVIVES),
        (
            "scanner",
            |c, _| c.enforce &= !Reason::Scanner.bit(),
            caller().sip(&message("INVITE", "User-Agent: friendly-scanner\r\n", "")),
            SURVIVES,
        ),
    ];
    for (name, settings, packet, expect) in rows {
        t.under(settings, |t| t.add(&format!("the rule {name} is off"), why, &packet, expect));
    }
}

/// The payloads of these numbers of unknown sources, and of those of known ones, go to the engine.
const fn engine<const UNKNOWN: u64, const KNOWN: u64>() -> Settings {
    fn set<const UNKNOWN: u64, const KNOWN: u64>(config: &mut crate::state::Config, _: u64) {
        config.redirect = UNKNOWN | KNOWN << KNOWN_SHIFT;
    }
    set::<UNKNOWN, KNOWN>
}

const fn number(payload: Payload) -> u64 {
    1 << payload.code()
}

fn redirected(t: &mut Table) {
    let kernel = passed(Reason::Kernel);
    let later = |source: Packet| source.raw(17, &[b'x'; 60]).fragment(800, false, 7);
    let kinds = |source: &Packet| {
        [
            ("a keep-alive", source.clone().sip(b"\r\n\r\n")),
            ("STUN", source.clone().sip(b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl")),
            ("a response", source.clone().sip(b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n")),
            ("REGISTER", source.clone().sip(&request("REGISTER"))),
            ("INVITE", source.clone().sip(&request("INVITE"))),
            ("ACK", source.clone().sip(&request("ACK"))),
            ("BYE", source.clone().sip(&request("BYE"))),
            ("MESSAGE", source.clone().sip(&request("MESSAGE"))),
            ("NEWMETHOD", source.clone().sip(&request("NEWMETHOD"))),
            ("a first fragment", source.clone().sip(&request("INVITE")).udp_length(900).fragment(0, true, 7)),
            ("a later fragment", later(source.clone())),
        ]
    };
    t.under(engine::<0, 0>(), |t| {
        let why = "DESIGN §2.8: `redirect = \"none\"` filters only";
        for (what, packet) in kinds(&caller()) {
            t.add(&format!("redirect none: {what}"), why, &packet, kernel);
        }
        let options = caller().sip(&request("OPTIONS"));
        t.add("redirect none: OPTIONS", why, &options, dropped(Reason::Stealth));
    });
    // What issue 4 calls "needed": unknown sources' requests, REGISTER, dialog-forming requests, fragments.
    const REGISTER: u64 = number(Payload::Request(Class::Register));
    const INVITE: u64 = number(Payload::Request(Class::Invite));
    const FRAGMENTS: u64 = 1 << LATER_FRAGMENT;
    t.under(engine::<{ 0xff << 8 | FRAGMENTS }, { REGISTER | INVITE | FRAGMENTS }>(), |t| {
        let why = "DESIGN §2.8: `redirect = \"needed\"`, as an example of what may follow from a configuration";
        for (what, packet) in kinds(&caller()) {
            let needed = !matches!(what, "a keep-alive" | "STUN" | "a response");
            t.add(&format!("redirect needed: {what}"), why, &packet, if needed { SURVIVES } else { kernel });
        }
        for (who, source) in known() {
            for (what, packet) in kinds(&source) {
                let needed = matches!(what, "REGISTER" | "INVITE" | "a first fragment" | "a later fragment");
                let expect = if needed { SURVIVES } else { kernel };
                t.add(&format!("redirect needed: {what} of {who}"), why, &packet, expect);
            }
        }
    });
}
