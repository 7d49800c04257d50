//! The verdict table over slices, and what must hold for any bytes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use vos_common::cases::{self, Case, NOW, Packet, World};
use vos_common::reason::Reason;
use vos_common::verdict::{Action, Judged, Verdict, judge};

/// The world of a case after the frames that came before its own.
fn enter(world: &mut World, case: &Case) {
    world.live = true;
    world.prepare(case);
    for frame in &case.before {
        judge(&frame.as_slice(), world);
    }
}

fn judged(world: &mut World, case: &Case) -> Judged {
    enter(world, case);
    judge(&case.frame.as_slice(), world)
}

#[test]
fn table() {
    let (mut world, cases) = (World::at(NOW), cases::all());
    let wrong = cases.iter().filter_map(|case| {
        let judged = judged(&mut world, case);
        let (got, expected) = ((judged.verdict, judged.would()), (case.expect, case.would));
        (got != expected).then(|| format!("{} ({}): {got:?}, expected {expected:?}", case.name, case.why))
    });
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn each_case_has_a_name_of_its_own_and_a_reason_to_exist() {
    let cases = cases::all();
    let mut names = BTreeSet::new();
    for case in &cases {
        assert!(names.insert(&case.name), "{:?} is there twice", case.name);
        assert!(case.why.len() > 3, "{:?} says not why", case.name);
    }
    assert!(cases.len() >= 200, "{}", cases.len());
}

#[test]
fn each_reason_of_the_kernel_is_expected_at_least_twice() {
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    for case in cases::all() {
        *seen.entry(case.expect.reason.label()).or_default() += 1;
        // A verdict is dropped by a rule, or it is none.
        assert_eq!(case.expect.action == Action::Drop, case.expect.reason.is_rule(), "{}", case.name);
    }
    for reason in Reason::ALL.iter().filter(|reason| reason.in_kernel()) {
        let seen = seen.get(reason.label()).copied().unwrap_or(0);
        assert!(seen >= 2, "{}: {seen} cases", reason.label());
    }
}

#[test]
fn each_rule_is_noted_where_it_is_monitored() {
    let noted: BTreeSet<_> = cases::all().iter().filter_map(|case| case.would.map(Reason::label)).collect();
    // RateInvite, RateOptions and RateGlobal are noted where all rules are, below.
    for reason in
        [Reason::Blocked, Reason::Closed, Reason::OwnSource, Reason::BadLength, Reason::TooDeep, Reason::Short]
    {
        assert!(noted.contains(reason.label()), "{}", reason.label());
    }
}

#[test]
fn without_a_worker_survivors_take_the_kernels_path_and_nothing_else_changes() {
    let mut world = World::at(NOW);
    for case in cases::all() {
        enter(&mut world, &case);
        world.live = false;
        let got = judge(&case.frame.as_slice(), &world).verdict;
        let kernel = Verdict { action: Action::Pass, reason: Reason::Kernel };
        let expect = if case.expect == cases::SURVIVES { kernel } else { case.expect };
        assert_eq!(got, expect, "{}", case.name);
    }
}

#[test]
fn monitored_rules_drop_nothing_and_say_what_they_would_have() {
    let mut world = World::at(NOW);
    for case in cases::all() {
        enter(&mut world, &case);
        world.config.monitor |= std::mem::take(&mut world.config.enforce);
        let judged = judge(&case.frame.as_slice(), &world);
        assert_ne!(judged.verdict.action, Action::Drop, "{}", case.name);
        let would = case.would.or((case.expect.action == Action::Drop).then_some(case.expect.reason));
        assert_eq!(judged.would(), would, "{}", case.name);
        if would.is_none() {
            assert_eq!(judged.verdict, case.expect, "{}", case.name);
        }
    }
}

#[test]
fn who_is_trusted_or_allowed_is_told_from_all_others() {
    let mut world = World::at(NOW);
    world.live = true;
    for (source, named) in
        [(cases::TRUSTED_V4, 1), (cases::ALLOWED_V4, 1), (cases::VERIFIED_V4, 0), (cases::CALLER_V4, 0)]
    {
        let survives = Packet::v4(source).sip(&cases::request("INVITE")).build();
        let dropped = Packet::v4(source).sip(b"GET / HTTP/1.1 and more than twenty bytes\r\n\r\n").build();
        let judged = [survives, dropped].map(|frame| judge(&frame.as_slice(), &world));
        assert_eq!(judged.map(|judged| judged.named), [named; 2], "{source:?}");
        assert_eq!(judged.map(|judged| judged.verdict.action), [Action::Redirect, Action::Drop], "{source:?}");
    }
}

#[test]
fn rules_that_are_off_do_nothing() {
    let mut world = World::at(NOW);
    for case in cases::all() {
        enter(&mut world, &case);
        (world.config.enforce, world.config.monitor) = (0, 0);
        let judged = judge(&case.frame.as_slice(), &world);
        assert_ne!(judged.verdict.action, Action::Drop, "{}", case.name);
        assert_eq!(judged.would(), None, "{}", case.name);
    }
}

#[test]
fn every_reason_has_a_label_of_its_own() {
    let mut labels: Vec<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Reason::ALL.len());
}

proptest! {
    #[test]
    fn any_bytes_get_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        judge(&bytes.as_slice(), &World::at(NOW));
    }

    /// Of a blocked source nothing on a SIP port survives, whatever is done to the rest of its frame.
    #[test]
    fn a_blocked_source_stays_blocked(payload in proptest::collection::vec(any::<u8>(), 0..1_400), length: u16, tag: bool) {
        let mut packet = cases::Packet::v4(cases::BLOCKED_V4).sip(&payload).udp_length(length);
        if tag { packet = packet.vlan(0x8100, 0) }
        prop_assert_eq!(judge(&packet.build().as_slice(), &World::at(NOW)).verdict.reason, Reason::Blocked);
    }
}
