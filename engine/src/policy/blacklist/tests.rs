//! Offences go in, with a clock of their own; out comes who is to be blocked.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::control::decision::{Kind, Made, Origin};

const SECOND: u64 = 1_000_000_000;
const HERE: Addr = Addr::v4([198, 51, 100, 20]);

/// What is known of everybody.
struct World(Cell<Standing>, Cell<bool>);

impl Standings for World {
    fn standing(&self, _: &Addr) -> Standing {
        self.0.get()
    }

    fn is_blocked(&self, _: &Addr) -> bool {
        self.1.get()
    }
}

struct Site {
    blacklist: Blacklist,
    world: World,
    now: u64,
}

impl Site {
    fn new(config: Config) -> Self {
        let blacklist = Blacklist::new(config, Secret::default());
        Self { blacklist, world: World(Cell::new(Standing::Unknown), Cell::new(true)), now: 1_000_000 * SECOND }
    }

    fn of(standing: Standing) -> Self {
        let site = Self::new(Config::default());
        site.world.0.set(standing);
        site
    }

    fn clock(&self) -> Clock {
        Clock::at(self.now + 1_000_000 * SECOND, self.now)
    }

    fn offends(&mut self, evidence: Evidence) -> Option<Offender> {
        let clock = self.clock();
        self.blacklist.offended(evidence, &HERE, clock, &self.world)
    }

    /// So often at once; it is blocked with the last.
    #[track_caller]
    fn blocked_after(&mut self, evidence: Evidence, times: usize) -> Offender {
        for n in 1..times {
            assert_eq!(self.offends(evidence), None, "{n} of {times}");
        }
        self.offends(evidence).unwrap_or_else(|| panic!("not blocked after {times}"))
    }
}

#[test]
fn ten_refused_passwords_at_once_are_too_many_and_points_fade() {
    let mut site = Site::of(Standing::Unknown);
    let offender = site.blocked_after(Evidence::RefusedCredentials, 10);
    assert_eq!((offender.source, offender.limit, offender.ttl), (HERE, 100, Duration::from_secs(900)));
    assert_eq!(offender.points[0].round() as u32, 100);
    // one in four minutes never is: what is there is 10 / (1 - 2^-0.4) = 41 at most
    let mut site = Site::of(Standing::Unknown);
    for _ in 0..10_000 {
        assert_eq!(site.offends(Evidence::RefusedCredentials), None);
        site.now += 240 * SECOND;
    }
    let counted = site.blacklist.count().offences()[0];
    assert_eq!(counted, (Evidence::RefusedCredentials, 10_000));
}

#[test]
fn what_anybody_can_send_makes_up_a_quarter_at_most() {
    let mut site = Site::of(Standing::Unknown);
    for evidence in &Evidence::ALL[PROOFS..] {
        (0..10_000).for_each(|_| assert_eq!(site.offends(*evidence), None));
    }
    // 25 of 100 points are there
    let offender = site.blocked_after(Evidence::RefusedCredentials, 8);
    assert!(offender.points.iter().sum::<f64>() > 100.0);
}

#[test]
fn who_has_proven_its_address_may_fail_ten_times_as_often_and_hints_count_nothing() {
    let mut site = Site::of(Standing::Verified);
    for evidence in &Evidence::ALL[PROOFS..] {
        (0..10_000).for_each(|_| assert_eq!(site.offends(*evidence), None));
    }
    let offender = site.blocked_after(Evidence::RefusedCredentials, 10 * VERIFIED_TIMES as usize);
    assert_eq!(offender.limit, 1_000);
}

#[test]
fn an_office_of_five_hundred_phones_may_fail_as_often_as_it_has_phones() {
    let mut site = Site::of(Standing::Verified);
    for n in 0..500 {
        site.blacklist.registered(&HERE, format!("{n}@e.com").as_bytes(), site.now);
    }
    // One in ten has a wrong password, and tries until it is suspended, all of them at once; and again, and again.
    for _ in 0..3 {
        for _ in 0..50 {
            (0..6).for_each(|_| assert_eq!(site.offends(Evidence::RefusedCredentials), None));
            assert_eq!(site.offends(Evidence::Suspension), None);
        }
    }
    // Linear counting is right to some per cent: 500 accounts of which 128 bits are left with two or three.
    let counted =
        site.blacklist.homes.get(key_of(&HERE, &site.blacklist.secret), &key_of(&HERE, &site.blacklist.secret));
    let counted = counted.expect("it has accounts").0.count();
    assert!((300..=650).contains(&counted), "{counted}");
    // They count for a day at most.
    site.now += 2 * ACCOUNTS_KEPT;
    assert_eq!(site.blocked_after(Evidence::RefusedCredentials, 100).limit, 1_000);
}

#[test]
fn one_account_gives_no_more_room_than_ten_and_the_same_one_counts_once() {
    let mut site = Site::of(Standing::Verified);
    for _ in 0..1_000 {
        site.blacklist.registered(&HERE, b"mine@e.com", site.now);
    }
    assert_eq!(site.blocked_after(Evidence::RefusedCredentials, 100).limit, 1_000);
}

#[test]
fn who_is_named_is_never_blocked_and_nobody_where_it_is_off() {
    let mut named = Site::of(Standing::Named);
    (0..10_000).for_each(|_| assert_eq!(named.offends(Evidence::Suspension), None));
    let mut off = Site::new(Config { block: false, ..Config::default() });
    (0..10_000).for_each(|_| assert_eq!(off.offends(Evidence::Suspension), None));
    let weights = Weights { suspension: 0, ..Weights::default() };
    let mut weightless = Site::new(Config { weights, ..Config::default() });
    (0..10_000).for_each(|_| assert_eq!(weightless.offends(Evidence::Suspension), None));
}

#[test]
fn each_relapse_is_blocked_four_times_as_long_up_to_the_limit_and_is_forgotten() {
    let config =
        Config { ttl_max: Duration::from_secs(10_000), forget: Duration::from_secs(3_600), ..Config::default() };
    let mut site = Site::new(config);
    for seconds in [900, 3_600, 10_000, 10_000] {
        let offender = site.blocked_after(Evidence::Suspension, 5);
        assert_eq!(offender.ttl.as_secs(), seconds);
        // what was on its way, and what the rule lets through where it is only monitored
        (0..100).for_each(|_| assert_eq!(site.offends(Evidence::Suspension), None));
        site.now += 10 * SECOND;
        (0..100).for_each(|_| assert_eq!(site.offends(Evidence::Suspension), None));
        site.now += (seconds + 100) * SECOND;
    }
    site.now += 3_600 * SECOND;
    assert_eq!(site.blocked_after(Evidence::Suspension, 5).ttl.as_secs(), 900);
}

#[test]
fn who_was_unblocked_begins_anew() {
    let mut site = Site::of(Standing::Unknown);
    site.blocked_after(Evidence::Suspension, 5);
    site.now += 10 * SECOND;
    site.world.1.set(false);
    assert_eq!(site.blocked_after(Evidence::Suspension, 5).ttl.as_secs(), 900);
}

#[test]
fn a_block_from_before_the_start_is_remembered() {
    let mut site = Site::of(Standing::Unknown);
    let made = 1_000_000 + site.now / SECOND;
    let decision = Decision {
        net: "198.51.100.20/32".parse().expect("a prefix"),
        kind: Kind::Block,
        until: Some(made + 3_600),
        reason: "".into(),
        origin: Origin::Detector,
        who: "blacklist".into(),
        made: Made::at(made),
    };
    site.blacklist.remember(&decision, site.clock());
    site.now += 3_600 * SECOND;
    assert_eq!(site.blocked_after(Evidence::Suspension, 5).ttl.as_secs(), 4 * 3_600);
}

#[test]
fn an_ipv6_source_is_its_64() {
    let mut site = Site::of(Standing::Unknown);
    let mut blocked = None;
    for n in 0..10u8 {
        let mut bytes = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, n];
        bytes[9] = n;
        let (source, clock) = (Addr::from_bytes(bytes), site.clock());
        blocked = site.blacklist.offended(Evidence::RefusedCredentials, &source, clock, &site.world);
    }
    let net = crate::policy::net_of(&blocked.expect("the tenth").source);
    assert_eq!(net.to_string(), "2001:db8:1:2::/64");
}

/// Points as one would work them out on paper: of each offence what is left of it.
fn on_paper(offences: &[(u64, Evidence)], now: u64, weights: &Weights) -> (f64, f64) {
    let left = |(at, evidence): &(u64, Evidence)| {
        let half_lives = (now - at) as f64 / 600e9;
        f64::from(evidence.points(weights)) / 2f64.powf(half_lives)
    };
    let of = |is_proof: bool| {
        offences.iter().filter(|(_, evidence)| ((*evidence as usize) < PROOFS) == is_proof).map(left).sum::<f64>()
    };
    (of(true), of(false))
}

proptest! {
    #[test]
    fn blocked_is_who_would_be_on_paper(
        steps in prop::collection::vec((0..EVIDENCE, 0u64..200), 1..200),
        standing in prop_oneof![Just(Standing::Unknown), Just(Standing::Verified)],
    ) {
        let mut site = Site::of(standing);
        let (mut offences, weights) = (Vec::new(), Weights::default());
        for (kind, seconds) in steps {
            site.now += seconds * SECOND;
            offences.push((site.now, Evidence::ALL[kind]));
            let (proven, hints) = on_paper(&offences, site.now, &weights);
            let missing = match standing {
                Standing::Unknown => 100.0 - proven - hints.min(25.0),
                _ => 1_000.0 - proven,
            };
            // so near that the order of summing decides
            prop_assume!(missing.abs() > 1e-6);
            let blocked = site.offends(Evidence::ALL[kind]);
            prop_assert_eq!(blocked.is_some(), missing < 0.0, "{} points are missing", missing);
            if let Some(offender) = blocked {
                let counted = if standing == Standing::Unknown { proven + hints } else { proven };
                prop_assert!((offender.points.iter().sum::<f64>() - counted).abs() < 1e-6);
                break;
            }
        }
    }

    #[test]
    fn without_proof_nobody_is_ever_blocked(
        steps in prop::collection::vec((PROOFS..EVIDENCE, 0u64..100), 1..2_000),
        limit in 1u32..1_000,
        weight in 1u32..1_000_000,
    ) {
        let weights = Weights {
            forbidden_call: weight,
            not_found: weight,
            scanner: weight,
            malformed: weight,
            stealth: weight,
            never_answered: weight,
            ..Weights::default()
        };
        let mut site = Site::new(Config { limit, weights, ..Config::default() });
        for (kind, ms) in steps {
            site.now += ms * SECOND / 1_000;
            prop_assert_eq!(site.offends(Evidence::ALL[kind]), None);
        }
    }
}
