use serde_json::Value;
use vos_common::cases::{self, CALLER_V4, Case, NOW, Packet};
use vos_common::verdict::Verdict;

use vos_common::reason::Reason;

use super::*;
use crate::control::address;
use crate::control::decision::{Kind as Says, Made, Origin};

const SECOND: u64 = 1_000_000_000;

/// The table's rules as decisions, less those that have ended.
fn decisions(clock: Clock) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for (addr, bits, rule) in cases::rules(NOW) {
        let bits = if addr.is_v4() { bits - 96 } else { bits } as u8;
        let net = IpNet::new(ip(addr), bits).expect("a prefix");
        let until = (rule.until != 0).then(|| clock.wall_ns_of(rule.until) / SECOND);
        let kind = Says::ALL.into_iter().find(|kind| kind.rule() as u32 == rule.kind).expect("a kind");
        if until.is_none_or(|until| until > clock.wall_s()) {
            decisions.push(Decision {
                net,
                kind,
                until,
                reason: "why\u{1b}[2J".into(),
                origin: Origin::Api,
                who: "uid 0".into(),
                made: Made::at(1),
            });
        }
    }
    decisions
}

/// The table's rules as the kernel's maps hold them.
struct Held(cases::World);

impl Sources for Held {
    fn rule(&self, src: &Addr) -> Rule {
        Tables::rule(&self.0, src)
    }
    fn budget(&self, src: &Addr) -> Option<Limits> {
        Tables::budget(&self.0, src).copied()
    }
    fn verified(&self, key: u64, now: u64) -> bool {
        Tables::verified(&self.0, key, now)
    }
}

/// The table's world.
fn world(case: &Case) -> World {
    let (world, table) = both(case);
    world.with_sources(Box::new(Held(table)))
}

/// The same as an engine tells it: decisions, to the second, and nobody is verified.
fn told(case: &Case) -> World {
    both(case).0
}

fn both(case: &Case) -> (World, cases::World) {
    let mut table = cases::World::at(NOW);
    table.prepare(case);
    let mut ports: Ports = [0; 1024];
    for port in cases::PORTS {
        ports[usize::from(port >> 6)] |= 1 << (port & 63);
    }
    let homes =
        [(Addr::v4(cases::OWN_V4), true), (Addr::from_bytes(cases::OWN_V6), true), (Addr::v4(cases::BEHIND_V4), false)];
    let clock = Clock::at(1_700_000_000 * SECOND, NOW);
    let mut world = World::new(table.config, Box::new(ports), table.signatures.clone(), true)
        .with_decisions(decisions(clock), clock)
        .expect("no kernel refuses");
    world.homes = Some(Box::new(Homes::of(&homes).expect("few")));
    let net = |addr: Addr, bits: u32| {
        let bits = if addr.is_v4() { bits - vos_common::rule::MAPPED_BITS } else { bits };
        IpNet::new(ip(addr), bits as u8).expect("a prefix")
    };
    world.budgets = table.budgets.iter().map(|(addr, bits, limits)| (net(*addr, *bits), *limits)).collect();
    (world, table)
}

/// Is this the rule that drops for this reason, with all there is to say of it?
fn names_the_rule(reason: Reason, cause: &Cause) -> bool {
    match (reason, cause) {
        (Reason::Blocked, Cause::Source { net: Some(net), source, is, why, .. }) => {
            let net = address::parse(net).expect("a prefix");
            let source = source.parse::<std::net::IpAddr>().expect("an address");
            *is == "blocked" && net.contains(&source) && why == "why\\u{1b}[2J"
        }
        // decisions end by the second: this one is only in the kernel, for another nanosecond
        (Reason::Blocked, Cause::Source { net: None, source, is, until, .. }) => {
            (source.as_str(), *is, until.is_some()) == ("198.51.100.11", "blocked", true)
        }
        (Reason::Closed, Cause::Closed { .. })
        | (Reason::TooDeep, Cause::ExtensionHeaders)
        | (Reason::LongLine, Cause::LongLine { most: 2_048 })
        // parts of patterns in many places
        | (Reason::Scanner, Cause::Signature { pattern: None, line: None }) => true,
        (Reason::OwnSource, Cause::OwnSource { source }) => source == "2001:db8::1",
        (Reason::BadLength, Cause::Length { says, there, .. }) => says != there,
        (Reason::FragmentHead, Cause::FragmentHead { bytes }) => *bytes < 60,
        (Reason::Short, Cause::Short { bytes, least: 20 }) => *bytes < 20,
        (Reason::Malformed, Cause::StartLine { wrong, .. }) => !wrong.is_empty(),

        (Reason::UnknownMethod, Cause::Method { method }) | (Reason::Stealth, Cause::Silent { method }) => {
            !method.is_empty()
        }
        (Reason::Scanner, Cause::Signature { pattern: Some(pattern), line: Some(line) }) => {
            line.to_lowercase().contains(pattern)
        }
        (_, Cause::Limit { at_once, .. }) => reason.label().starts_with("rate_") && (1..100).contains(at_once),
        _ => false,
    }
}

#[test]
fn every_case_of_the_table_has_its_verdict_and_each_drop_names_its_rule() {
    let mut wrong = Vec::new();
    for case in cases::all() {
        let mut world = world(&case);
        for frame in &case.before {
            world.explain(frame, NOW);
        }
        let got = world.explain(&case.frame, NOW);
        if got.judged.verdict != case.expect {
            wrong.push(format!("{}: {} ({}), expected {:?}", case.name, got.verdict, got.because, case.expect));
        }
        let named = match case.expect.action {
            Action::Drop => names_the_rule(case.expect.reason, &got.rule),
            _ => matches!(&got.rule, Cause::Passed { what } if !what.is_empty()),
        };
        if !named {
            wrong.push(format!("{}: {} says {:?}", case.name, got.reason, got.rule));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_monitored_rule_is_named_as_it_would_be_if_it_were_enforced() {
    for case in cases::all() {
        let run = |monitor: bool| {
            let mut world = world(&case);
            for frame in &case.before {
                world.explain(frame, NOW);
            }
            if monitor {
                world.config.monitor |= std::mem::take(&mut world.config.enforce);
            }
            world.explain(&case.frame, NOW)
        };
        let (enforced, watched) = (run(false), run(true));
        assert_ne!(watched.verdict, "drop", "{}", case.name);
        if let Some(reason) = case.would {
            // the case itself watches a rule, and that comes first
            assert_eq!(enforced.would.map(|would| would.reason), Some(reason.label()), "{}", case.name);
            assert_eq!(watched.would.map(|would| would.reason), Some(reason.label()), "{}", case.name);
        } else if case.expect.action == Action::Drop {
            let would = watched.would.unwrap_or_else(|| panic!("{}: nothing would have dropped it", case.name));
            assert_eq!(
                (would.reason, would.rule, would.because),
                (enforced.reason, enforced.rule, enforced.because),
                "{}",
                case.name
            );
        }
    }
}

fn alone() -> Case {
    let expect = Verdict { action: Action::Pass, reason: Reason::Kernel };
    Case {
        name: String::new(),
        settings: |_, _| {},
        before: Vec::new(),
        frame: Vec::new(),
        why: "",
        would: None,
        expect,
    }
}

fn because(packet: &Packet) -> (String, &'static str) {
    let got = told(&alone()).explain(&packet.build(), NOW);
    (got.because, got.reason)
}

#[test]
fn what_people_read() {
    let caller = || Packet::v4(CALLER_V4);
    let invite = cases::request("INVITE");
    for (packet, reason, words) in [
        (
            Packet::v4([203, 0, 113, 66]).sip(&invite),
            "blocked",
            "203.0.113.0/24 is blocked for good, api uid 0, why\\u{1b}[2J",
        ),
        (
            Packet::v4([198, 51, 100, 9]).sip(&invite),
            "blocked",
            "198.51.100.9 is blocked until 2023-11-14T23:13:20Z, api uid 0, why\\u{1b}[2J",
        ),
        (
            caller().sip(b"GET /index.html HTTP/1.1\r\n\r\n"),
            "malformed",
            "byte 16 of the payload is `H`: a start line ends with a blank and SIP/2.0; the line is `GET /index.html HTTP/1.1`",
        ),
        (caller().sip(&cases::request("OPTIONS")), "stealth", "unknown sources get no answer to OPTIONS (xdp.stealth)"),
        (
            caller().sip(&invite).udp_length(900),
            "bad_length",
            &format!("the UDP length says 900 bytes, there are {}", invite.len() + 8),
        ),
        (caller().sip(b"hello"), "short", "5 bytes are no SIP message (at least 20) and no keep-alive"),
        (caller().udp(4000, &invite), "not_ours", "port 4000 is no SIP port (xdp.sip_ports)"),
        (
            caller().to(&[192, 0, 2, 77]).sip(&invite),
            "not_ours",
            "192.0.2.77 is neither this host's nor protected (xdp.protect)",
        ),
        (caller().sip(&invite), "redirected", "of an unknown source, survived every rule: to the engine"),
        (
            Packet::v4(cases::TRUSTED_V4).sip(&invite),
            "redirected",
            "of a trusted source, survived every rule: to the engine",
        ),
    ] {
        assert_eq!(because(&packet), (words.to_owned(), reason));
    }
}

#[test]
fn a_signature_is_named_with_the_line_it_stands_in() {
    let scan = |header: &str| {
        format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20;branch=z9hG4bK1\r\n{header}\r\nCall-ID: 1@x\r\n\r\n"
        )
    };
    for (header, pattern) in [
        ("User-Agent: Friendly-Scanner", "friendly-scanner"),
        ("From: \"sipvicious\"<sip:100@1.1.1.1>;tag=1", "sipvicious"),
        ("user-agent: SMAP 0.6.0", "user-agent: smap"),
    ] {
        let got = world(&alone()).explain(&Packet::v4(CALLER_V4).sip(scan(header).as_bytes()).build(), NOW);
        let expected = Cause::Signature { pattern: Some(pattern.into()), line: Some(header.into()) };
        assert_eq!((got.reason, got.rule), ("scanner", expected), "{header}");
    }
}

#[test]
fn packets_are_counted_by_the_times_they_are_given() {
    let mut world = world(&alone());
    let invite = Packet::v4(CALLER_V4).sip(&cases::request("INVITE")).build();
    let mut at = |seconds: u64| world.explain(&invite, NOW + seconds * SECOND);
    // the table's unknown tier: an INVITE a second, so many at once
    let passed = (0..20).take_while(|_| at(0).reason == "redirected").count() as u64;
    let refused = at(0);
    let Cause::Limit { who, tier, of, per_second, at_once } = &refused.rule else { panic!("{refused:?}") };
    assert_eq!((who.as_str(), *tier, *of, *at_once), ("198.51.100.20", "unknown", "INVITEs", passed));
    assert!((per_second - 1.0).abs() < 1e-9);
    assert_eq!(refused.because, format!("198.51.100.20 (unknown): more INVITEs than 1 a second, {passed} at once"));
    assert_eq!((at(1).reason, at(1).reason), ("redirected", "rate_invite"));
    world.begin(None);
    assert_eq!(world.explain(&invite, NOW).reason, "redirected", "another file begins anew");
}

#[test]
fn a_gateways_budget_is_told_from_what_all_trusted_sources_have() {
    let text = "iface = \"eth0\"\n[[gateway]]\nname = \"a\"\nfrom = [\"203.0.112.0/24\"]\ncps = 1\nmax_calls = 1\n";
    let config = Config::parse(text, std::path::Path::new("vos.toml")).expect("sound");
    let clock = Clock::at(1_700_000_000 * SECOND, NOW);
    let mut world =
        World::of_config(&config).expect("sound").with_decisions(decisions(clock), clock).expect("no kernel");
    let invite = |source| Packet::v4(source).sip(&cases::request("INVITE")).build();
    // 8 times one call a second, and one that is renewed
    let gateway = invite(cases::GATEWAY_V4);
    assert_eq!((0..9).find(|_| world.explain(&gateway, NOW).reason != "redirected"), None);
    let refused = world.explain(&gateway, NOW);
    assert_eq!(
        (refused.reason, &*refused.because),
        ("rate_invite", "203.0.112.10 (gateway): more INVITEs than 9 a second, 9 at once")
    );
    let trusted = invite(cases::TRUSTED_V4);
    assert_eq!((0..90).find(|_| world.explain(&trusted, NOW).reason != "redirected"), None);
}

#[test]
fn without_an_engine_every_destination_is_ours() {
    let mut world = World::of_config(&Config::default()).expect("sound defaults");
    for dst in [[192, 0, 2, 1], [10, 9, 8, 7]] {
        let options = Packet::v4(CALLER_V4).to(&dst).mac([2, 3, 4, 5, 6, 7]).sip(&cases::request("OPTIONS")).build();
        assert_eq!(world.explain(&options, NOW).reason, "stealth");
    }
    let config = Config { mode: Mode::Monitor, ..Config::default() };
    let got = World::of_config(&config)
        .expect("a sound configuration")
        .explain(&Packet::v4(CALLER_V4).sip(&cases::request("OPTIONS")).build(), NOW);
    let would = got.would.expect("a rule that is watched");
    assert_eq!((got.reason, would.reason), ("kernel", "stealth"));
    assert_eq!(would.because, "unknown sources get no answer to OPTIONS (xdp.stealth)");
}

#[test]
fn any_bytes_are_explained() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let table = cases::all();
    let mut world = world(&alone());
    for _ in 0..20_000 {
        let mut frame = table[random(table.len())].frame.clone();
        for _ in 0..=random(4) {
            let at = random(frame.len());
            frame[at] = random(256) as u8;
        }
        frame.truncate(random(frame.len() + 1));
        let got = world.explain(&frame, NOW);
        assert!(!got.because.is_empty());
        let json: Value = serde_json::to_value(&got).expect("JSON");
        assert!(json["rule"]["by"].is_string());
    }
}
