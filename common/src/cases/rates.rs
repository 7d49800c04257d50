//! Rates by kind, tier and prefix; attack mode. The limits are small bursts and time stands still, so each case counts
//! exactly. DESIGN §2.7 is the source of all of it.

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::methods::silent;
use super::{
    ALLOWED_V4, BLOCKED_V4, CALLER_V4, HOUR, Packet, SURVIVES, TRUSTED_V4, Table, VERIFIED_V4, VERIFIED_V6, Verdict,
    caller, caller6, dropped, message, passed, request, v6,
};
use crate::reason::Reason;

pub(super) fn add(t: &mut Table) {
    bursts(t);
    shares(t);
    all_kinds(t);
    prefixes(t);
    ipv6(t);
    attack(t);
    switched_off(t);
}

/// So many of them.
pub(super) fn times(n: usize, packet: &Packet) -> Vec<Packet> {
    vec![packet.clone(); n]
}

pub(super) fn of(source: Packet, method: &str) -> Packet {
    source.sip(&request(method))
}

/// A number that fits the limit passes, one more does not.
pub(super) fn limit(
    t: &mut Table,
    what: &str,
    why: &'static str,
    n: usize,
    packet: &Packet,
    pass: Verdict,
    reason: Reason,
) {
    t.after(&format!("{what}: {n} pass"), why, &times(n - 1, packet), packet, pass);
    t.after(&format!("{what}: one more does not"), why, &times(n, packet), packet, dropped(reason));
    t.after(&format!("{what}: nor do many more"), why, &times(n + 30, packet), packet, dropped(reason));
}

/// What a source is, a packet of its, and what its tier's limits are.
pub(super) type Row = (&'static str, Packet, [(&'static str, usize, Reason); 4]);

fn bursts(t: &mut Table) {
    use Reason::{RateInvite, RateOptions, RateRegister, RateSource};
    let verified = [
        ("REGISTER", 5, RateRegister),
        ("INVITE", 6, RateInvite),
        ("OPTIONS", 4, RateOptions),
        ("BYE", 12, RateSource),
    ];
    let rows: [Row; 6] = [
        (
            "an unknown source",
            caller(),
            [
                ("REGISTER", 3, RateRegister),
                ("INVITE", 4, RateInvite),
                ("OPTIONS", 3, RateOptions),
                ("BYE", 8, RateSource),
            ],
        ),
        (
            "an unknown IPv6 source",
            caller6(),
            [
                ("REGISTER", 3, RateRegister),
                ("INVITE", 4, RateInvite),
                ("OPTIONS", 3, RateOptions),
                ("BYE", 8, RateSource),
            ],
        ),
        ("a verified source", Packet::v4(VERIFIED_V4), verified),
        ("a verified IPv6 source", Packet::v6(VERIFIED_V6), verified),
        ("an allowed source", Packet::v4(ALLOWED_V4), verified),
        // trusted sources have no limit of their own for INVITE here: that for all holds
        (
            "a trusted source",
            Packet::v4(TRUSTED_V4),
            [
                ("REGISTER", 20, RateRegister),
                ("INVITE", 40, RateSource),
                ("OPTIONS", 20, RateOptions),
                ("BYE", 40, RateSource),
            ],
        ),
    ];
    t.under(silent::<0>(), |t| {
        for (who, source, kinds) in rows {
            for (method, n, reason) in kinds {
                let why = "each tier has its limits, each kind its own; trusted ones are larger, not infinite";
                limit(t, &format!("{method}s of {who}"), why, n, &of(source.clone(), method), SURVIVES, reason);
            }
        }
    });
    let why = "methods compare without case";
    let before: Vec<_> = ["REGISTER", "register", "Register"].map(|method| of(caller(), method)).into();
    t.after("a fourth REGISTER in lower case", why, &before, &of(caller(), "register"), dropped(RateRegister));
}

fn shares(t: &mut Table) {
    let (register, invite, bye) = (of(caller(), "REGISTER"), of(caller(), "INVITE"), of(caller(), "BYE"));
    let join = |parts: &[(usize, &Packet)]| parts.iter().flat_map(|(n, packet)| times(*n, packet)).collect::<Vec<_>>();
    let why =
        "what one kind is refused for does not use up what the others share: 10 spoofed REGISTERs cost a phone no call";
    t.after("10 REGISTERs leave room for 4 INVITEs", why, &join(&[(10, &register), (3, &invite)]), &invite, SURVIVES);
    let all = join(&[(10, &register), (10, &invite)]);
    t.after("10 REGISTERs and 10 INVITEs leave room for a BYE", why, &all, &bye, SURVIVES);
    let why = "each packet counts against the limit for all, too";
    let full = join(&[(3, &register), (4, &invite), (1, &bye)]);
    t.after("3 REGISTERs, 4 INVITEs and a BYE are all there is", why, &full, &bye, dropped(Reason::RateSource));
    t.after("an INVITE where all is used up", why, &times(8, &bye), &invite, dropped(Reason::RateSource));
    let why = "what is dropped before costs nothing";
    let options = of(caller(), "OPTIONS");
    t.after("an INVITE after 20 spoofed OPTIONS", why, &times(20, &options), &invite, SURVIVES);
    let garbage = caller().sip(&[0x80; 40]);
    t.after("an INVITE after 20 spoofed pieces of garbage", why, &times(20, &garbage), &invite, SURVIVES);
    let scanner = caller().sip(&message("INVITE", "User-Agent: friendly-scanner\r\n", ""));
    t.after("an INVITE after 20 in a scanner's manner", why, &times(20, &scanner), &invite, SURVIVES);
    let why = "sources are counted apart";
    let [a, b, c, d] = CALLER_V4;
    let beside = Packet::v4([a, b, c, d + 1]);
    t.after(
        "an INVITE of the neighbour of one that is limited",
        why,
        &times(20, &invite),
        &of(beside, "INVITE"),
        SURVIVES,
    );
    t.after("an INVITE over IPv6 after 20 over IPv4", why, &times(20, &invite), &of(caller6(), "INVITE"), SURVIVES);
    let why = "another port is the same source";
    let other_port = caller().udp(5080, &request("INVITE"));
    t.after(
        "an INVITE to the other port of one that is limited",
        why,
        &times(4, &invite),
        &other_port,
        dropped(Reason::RateInvite),
    );
    let behind = caller().to(&super::BEHIND_V4).sip(&request("INVITE"));
    t.after(
        "an INVITE to the host behind of one that is limited",
        why,
        &times(4, &invite),
        &behind,
        dropped(Reason::RateInvite),
    );
}

fn all_kinds(t: &mut Table) {
    let why = "a flood is a flood, whatever it is made of";
    for (what, payload) in [
        ("CRLF keep-alives", &b"\r\n\r\n"[..]),
        ("empty datagrams", b""),
        ("NUL keep-alives", b"\0"),
        ("STUN requests", b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl"),
        ("responses", b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x\r\n\r\n"),
    ] {
        limit(t, what, why, 8, &caller().sip(payload), SURVIVES, Reason::RateSource);
        let verified = Packet::v4(VERIFIED_V4).sip(payload);
        limit(t, &format!("{what} of a verified source"), why, 12, &verified, SURVIVES, Reason::RateSource);
    }
    for method in ["ACK", "CANCEL", "SUBSCRIBE", "MESSAGE", "NEWMETHOD"] {
        limit(t, &format!("{method}s"), why, 8, &of(caller(), method), SURVIVES, Reason::RateSource);
    }
    let connects = passed(Reason::OtherL4);
    let syn = caller().tcp(5060, 2, b"");
    let why = "a connection that begins costs the server memory";
    limit(t, "TCP SYNs", why, 8, &syn, connects, Reason::RateSource);
    limit(t, "TCP SYNs over IPv6", why, 8, &caller6().tcp(5060, 2, b""), connects, Reason::RateSource);
    limit(t, "TCP SYNs with ECN", "RFC 3168 §6.1.1", 8, &caller().tcp(5060, 0xc2, b""), connects, Reason::RateSource);
    limit(t, "TCP SYNs with data", "RFC 7413", 8, &caller().tcp(5060, 2, b"x"), connects, Reason::RateSource);
    limit(
        t,
        "TCP SYNs of a trusted source",
        why,
        40,
        &Packet::v4(TRUSTED_V4).tcp(5060, 2, b""),
        connects,
        Reason::RateSource,
    );
    let why = "UDP and TCP share a source's limit";
    t.after("a keep-alive after 8 TCP SYNs", why, &times(8, &syn), &caller().sip(b"\r\n"), dropped(Reason::RateSource));
    let why = "connections that are there are the kernel's business";
    for (what, flags) in
        [("TCP data", 0x18), ("TCP ACKs", 0x10), ("TCP SYN-ACKs", 0x12), ("TCP FINs", 0x11), ("TCP RSTs", 4)]
    {
        let packet = caller().tcp(5060, flags, b"");
        t.after(&format!("{what} are not limited"), why, &times(50, &packet), &packet, connects);
    }
    t.after("TCP data of a source that is limited", why, &times(20, &syn), &caller().tcp(5060, 0x18, b"x"), connects);
    let why = "only SYNs are counted";
    t.after("SCTP is not limited", why, &times(50, &caller().sctp(5060)), &caller().sctp(5060), connects);
}

/// One packet each of so many sources of 198.51.100.0/24 that have no rule.
fn neighbours(n: u8, method: &str) -> Vec<Packet> {
    (0..n).map(|i| of(Packet::v4([198, 51, 100, 100 + i]), method)).collect()
}

fn prefixes(t: &mut Table) {
    let why = "a botnet in one /24, or one host that takes its addresses in turn";
    t.under(silent::<0>(), |t| {
        for (method, n) in [("REGISTER", 5), ("INVITE", 7), ("OPTIONS", 7), ("BYE", 14), ("MESSAGE", 14)] {
            let packet = of(caller(), method);
            t.after(&format!("{method}s of one /24: {n} pass"), why, &neighbours(n - 1, method), &packet, SURVIVES);
            let name = format!("{method}s of one /24: one more does not");
            t.after(&name, why, &neighbours(n, method), &packet, dropped(Reason::RatePrefix));
        }
    });
    let why = "each kind has its own";
    t.after(
        "an INVITE after 5 REGISTERs of its /24",
        why,
        &neighbours(5, "REGISTER"),
        &of(caller(), "INVITE"),
        SURVIVES,
    );
    let mut full = neighbours(30, "REGISTER");
    full.extend(neighbours(7, "INVITE"));
    t.after("a BYE after 30 REGISTERs and 7 INVITEs of its /24", why, &full, &of(caller(), "BYE"), SURVIVES);
    let why = "prefixes are counted apart";
    for source in [[198, 51, 99, 255], [198, 51, 101, 0], [198, 52, 100, 20], [199, 51, 100, 20]] {
        let [a, b, c, d] = source;
        let name = format!("an INVITE of {a}.{b}.{c}.{d} where 198.51.100.0/24 is used up");
        t.after(&name, why, &neighbours(14, "INVITE"), &of(Packet::v4(source), "INVITE"), SURVIVES);
    }
    let why = "whoever is known does not share with the unknown";
    for (who, source) in [("a verified", VERIFIED_V4), ("an allowed", ALLOWED_V4), ("a trusted", TRUSTED_V4)] {
        let packet = of(Packet::v4(source), "BYE");
        t.after(&format!("{who} source of a /24 that is used up"), why, &neighbours(20, "BYE"), &packet, SURVIVES);
        let name = format!("{who} source does not use up its /24");
        t.after(&name, why, &times(12, &packet), &of(caller(), "BYE"), SURVIVES);
        let mut before = times(12, &packet);
        before.extend(neighbours(13, "BYE"));
        let name = format!("{who} source's 12 and 14 others");
        t.after(&name, why, &before, &of(caller(), "BYE"), SURVIVES);
    }
    let why = "what its source's limit refuses does not count against the prefix";
    let mut before = times(30, &of(caller(), "BYE"));
    before.extend(neighbours(5, "BYE"));
    t.after(
        "one limited source leaves its /24 the rest",
        why,
        &before,
        &of(Packet::v4([198, 51, 100, 99]), "BYE"),
        SURVIVES,
    );
    before.push(of(Packet::v4([198, 51, 100, 98]), "BYE"));
    let other = of(Packet::v4([198, 51, 100, 99]), "BYE");
    t.after("and not more than the rest", why, &before, &other, dropped(Reason::RatePrefix));
    let why = "DESIGN §2.7: keep-alives count, too";
    let keep_alives: Vec<_> = (0..14).map(|i| Packet::v4([198, 51, 100, 100 + i]).sip(b"\r\n")).collect();
    t.after("a keep-alive after 14 of its /24", why, &keep_alives, &caller().sip(b"\r\n"), dropped(Reason::RatePrefix));
    let syns: Vec<_> = (0..14).map(|i| Packet::v4([198, 51, 100, 100 + i]).tcp(5060, 2, b"")).collect();
    t.after("a TCP SYN after 14 of its /24", why, &syns, &caller().tcp(5060, 2, b""), dropped(Reason::RatePrefix));
}

fn ipv6(t: &mut Table) {
    let source = |third: u16, fourth: u16, last: u16| Packet::v6(v6([0x2001, 0xdb8, third, fourth, 5, 6, 7, last]));
    let invite = |third, fourth, last| of(source(third, fourth, last), "INVITE");
    let why = "whoever has one address of a /64 has them all (RFC 6177)";
    let four: Vec<_> = (0..4).map(|i| invite(0xca11, 0, i)).collect();
    t.after(
        "a fifth INVITE of a /64, each of another address",
        why,
        &four,
        &invite(0xca11, 0, 99),
        dropped(Reason::RateInvite),
    );
    t.after("an INVITE of the /64 beside it", why, &four, &invite(0xca11, 1, 99), SURVIVES);
    t.after("an INVITE of a far /64", why, &four, &invite(0xca12, 0, 99), SURVIVES);
    let why = "a customer has a /48 at most (RFC 6177), and takes its /64s in turn";
    let seven: Vec<_> = (0..7).map(|i| invite(0xca11, i, 1)).collect();
    t.after(
        "an eighth INVITE of a /48, each of another /64",
        why,
        &seven,
        &invite(0xca11, 0xffff, 1),
        dropped(Reason::RatePrefix),
    );
    t.after("a seventh INVITE of a /48", why, &seven[..6], &invite(0xca11, 0xffff, 1), SURVIVES);
    for third in [0xca10, 0xca12] {
        t.after(&format!("an INVITE of the /48 {third:x} beside it"), why, &seven, &invite(third, 0, 1), SURVIVES);
    }
    let why = "the families do not share";
    let mapped = v6([0, 0, 0, 1, 0, 0xffff, 0xc633, 0x6414]);
    t.after(
        "an IPv6 address that ends like a mapped one",
        why,
        &times(4, &of(caller(), "INVITE")),
        &of(Packet::v6(mapped), "INVITE"),
        SURVIVES,
    );
}

/// INVITEs of so many sources, each of a prefix of its own.
fn from_everywhere(n: u8) -> Vec<Packet> {
    (0..n).map(|i| of(Packet::v4([10, 1, i, 1]), "INVITE")).collect()
}

fn attack(t: &mut Table) {
    let invite = of(caller(), "INVITE");
    t.under(
        |config, now| config.attack_until = now + HOUR,
        |t| {
            let why = "random sources: each is new, all share one budget";
            t.after("attack: a third INVITE from anywhere", why, &from_everywhere(2), &invite, SURVIVES);
            t.after(
                "attack: a fourth INVITE from anywhere",
                why,
                &from_everywhere(3),
                &invite,
                dropped(Reason::RateGlobal),
            );
            t.after(
                "attack: an INVITE over IPv6",
                why,
                &from_everywhere(3),
                &of(caller6(), "INVITE"),
                dropped(Reason::RateGlobal),
            );
            t.after(
                "attack: a REGISTER",
                why,
                &from_everywhere(3),
                &of(caller(), "REGISTER"),
                dropped(Reason::RateGlobal),
            );
            t.after(
                "attack: a keep-alive",
                why,
                &from_everywhere(3),
                &caller().sip(b"\r\n"),
                dropped(Reason::RateGlobal),
            );
            t.after(
                "attack: a TCP SYN",
                why,
                &from_everywhere(3),
                &caller().tcp(5060, 2, b""),
                dropped(Reason::RateGlobal),
            );
            t.after(
                "attack: TCP data",
                "only SYNs are counted",
                &from_everywhere(9),
                &caller().tcp(5060, 0x10, b""),
                passed(Reason::OtherL4),
            );
            let why = "established customers survive a spoofed flood";
            for (who, packet) in super::known() {
                t.after(&format!("attack: {who}"), why, &from_everywhere(20), &of(packet.clone(), "INVITE"), SURVIVES);
                let before = times(5, &of(packet, "BYE"));
                t.after(&format!("attack: {who} does not use up the budget"), why, &before, &invite, SURVIVES);
            }
            let why = "what another rule drops does not use up the budget";
            let blocked = of(Packet::v4(BLOCKED_V4), "INVITE");
            t.after("attack: 20 of a blocked source", why, &times(20, &blocked), &invite, SURVIVES);
            t.after("attack: 20 OPTIONS", why, &times(20, &of(caller(), "OPTIONS")), &invite, SURVIVES);
            t.after(
                "attack: the limits of a source still hold, 3 REGISTERs",
                why,
                &times(2, &of(caller(), "REGISTER")),
                &of(caller(), "REGISTER"),
                SURVIVES,
            );
            let before = times(3, &of(caller(), "REGISTER"));
            t.after(
                "attack: the limits of a source still hold, 4 REGISTERs",
                why,
                &before,
                &of(caller(), "REGISTER"),
                dropped(Reason::RateRegister),
            );
        },
    );
    let why = "DESIGN §2.2: attack mode ends by itself, even if the engine is dead";
    for (name, set) in [
        ("never attacked", (|config, _| config.attack_until = 0) as super::Settings),
        ("attack that ends now", |config, now| config.attack_until = now),
        ("attack that has ended", |config, now| config.attack_until = now / 2),
    ] {
        t.under(set, |t| {
            t.after(&format!("{name}: a tenth INVITE from anywhere"), why, &from_everywhere(9), &invite, SURVIVES);
        });
    }
    t.under(
        |config, now| config.attack_until = now + 1,
        |t| {
            t.after(
                "attack for a nanosecond more: a fourth INVITE",
                why,
                &from_everywhere(3),
                &invite,
                dropped(Reason::RateGlobal),
            );
        },
    );
}

fn switched_off(t: &mut Table) {
    let rules: [(Reason, super::Settings, String, Vec<Packet>, Packet); 4] = [
        (
            Reason::RateRegister,
            |c, _| c.enforce &= !Reason::RateRegister.bit(),
            "REGISTER".into(),
            times(5, &of(caller(), "REGISTER")),
            of(caller(), "REGISTER"),
        ),
        (
            Reason::RateInvite,
            |c, _| c.enforce &= !Reason::RateInvite.bit(),
            "INVITE".into(),
            times(6, &of(caller(), "INVITE")),
            of(caller(), "INVITE"),
        ),
        (
            Reason::RateSource,
            |c, _| c.enforce &= !Reason::RateSource.bit(),
            "BYE".into(),
            times(13, &of(caller(), "BYE")),
            of(caller(), "BYE"),
        ),
        (
            Reason::RatePrefix,
            |c, _| c.enforce &= !Reason::RatePrefix.bit(),
            "BYE of a /24".into(),
            neighbours(40, "BYE"),
            of(caller(), "BYE"),
        ),
    ];
    for (reason, settings, what, before, packet) in rules {
        let why = "issue 4: each rule can be switched off";
        t.under(settings, |t| {
            // 7 INVITEs and 5 REGISTERs are the prefix' limits: below them
            let before = if reason == Reason::RateRegister { &before[..4] } else { &before[..] };
            t.after(&format!("{} off: {what}", reason.label()), why, before, &packet, SURVIVES);
        });
    }
    t.under(
        |config, _| {
            for reason in Reason::ALL.iter().filter(|reason| reason.label().starts_with("rate_")) {
                config.enforce &= !reason.bit();
            }
        },
        |t| {
            let why = "issue 4: each rule can be switched off";
            for method in ["REGISTER", "INVITE", "BYE"] {
                let packet = of(caller(), method);
                t.after(&format!("no rates: {method}"), why, &times(60, &packet), &packet, SURVIVES);
            }
        },
    );
}
