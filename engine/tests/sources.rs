//! Who is known, asked of the kernel's own maps: by rule, by prefix, by proof.
//!
//! Needs root and a BPF file system; makes pins of its own and removes them.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use vos_common::rate::source_key;
use vos_common::rule::{Addr, Rule, RuleKind};
use vos_engine::control::clock::Clock;
use vos_engine::control::maps::RuleMaps;
use vos_engine::netlink::Link;
use vos_engine::policy::{Sources, Verified};
use vos_engine::xdp::{Filter, unload};

/// Calls that the cost is the mean of.
const CALLS: u32 = 20_000;

/// Pins of an interface that does not exist.
struct Pins(String);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = unload(&self.0) {
            eprintln!("pins of {} are left: {error}", self.0);
        }
    }
}

fn addr(text: &str) -> Addr {
    match text.parse().expect("an address") {
        IpAddr::V4(ip) => Addr::v4(ip.octets()),
        IpAddr::V6(ip) => Addr::from_bytes(ip.octets()),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

#[test]
fn known_is_who_is_allowed_trusted_or_verified() {
    let pins = Pins(format!("vossrc{}", std::process::id() % 100_000));
    let link = Link { name: pins.0.clone(), ..Link::default() };
    let mut filter = Filter::load(&link).expect("the maps are made");
    let mut rules = filter.rules().expect("the maps of rules are there");
    let now = Clock::now().mono_ns();
    let rule = |kind: RuleKind, until| Rule { kind: kind as u32, until, ..Rule::default() };
    let blocked_below = |until| Rule { then: RuleKind::Blocked as u32, ..rule(RuleKind::Allowed, until) };
    for (at, value) in [
        ("192.0.2.1/32", rule(RuleKind::Allowed, 0)),
        ("192.0.2.2/32", rule(RuleKind::Trusted, now + 3_600_000_000_000)),
        ("192.0.2.3/32", blocked_below(now.saturating_sub(1).max(1))),
        ("198.51.100.0/24", rule(RuleKind::Trusted, 0)),
        ("198.51.100.66/32", rule(RuleKind::Blocked, 0)),
        ("2001:db8:1::/48", rule(RuleKind::Allowed, 0)),
        ("203.0.113.0/24", rule(RuleKind::Blocked, 0)),
    ] {
        rules.put(net(at), value).expect("there is room");
    }
    let sources = filter.sources().expect("the maps are pinned");
    let mut verified = Verified::open(filter.verified().expect("it is pinned"), 7_200).expect("it can be read");
    for proven in ["203.0.113.9", "2001:db8:9::1"] {
        verified.prove(source_key(&addr(proven), filter.seed()), now);
    }
    for (source, known) in [
        ("192.0.2.1", true),
        ("192.0.2.2", true),
        ("192.0.2.3", false),
        ("192.0.2.4", false),
        ("198.51.100.7", true),
        ("198.51.100.66", false),
        ("198.51.101.7", false),
        ("2001:db8:1:ffff::1", true),
        ("2001:db8:2::1", false),
        // verified, as a whole /64
        ("203.0.113.9", true),
        ("203.0.113.10", false),
        ("2001:db8:9::2", true),
        ("2001:db8:9:1::1", false),
    ] {
        assert_eq!(sources.is_known(&addr(source)), known, "{source}");
    }
    let again = Verified::open(filter.verified().expect("it is pinned"), 7_200).expect("it can be read");
    assert_eq!(again.count().sources(), 2, "taken over by whoever opens it next");

    let stranger = addr("192.0.2.4");
    let began = Instant::now();
    for _ in 0..CALLS {
        black_box(sources.is_known(black_box(&stranger)));
    }
    println!("a stranger is looked up in {} ns", began.elapsed().as_nanos() / u128::from(CALLS));
}
