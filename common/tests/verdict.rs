//! The verdict table over slices, and what must hold for any bytes.

use proptest::prelude::*;
use vos_common::cases::{self, NOW, World};
use vos_common::reason::Reason;
use vos_common::verdict::{Action, Verdict, judge};

#[test]
fn table() {
    let mut wrong = Vec::new();
    for case in cases::all() {
        let mut world = World::at(NOW);
        world.prepare(&case);
        for frame in &case.before {
            judge(&frame.as_slice(), &world);
        }
        let got = judge(&case.frame.as_slice(), &world).verdict;
        if got != case.expect {
            wrong.push(format!("{}: {got:?}, expected {:?}", case.name, case.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn without_a_worker_survivors_take_the_kernels_path_and_nothing_else_changes() {
    for case in cases::all() {
        let mut world = World::at(NOW);
        world.prepare(&case);
        world.live = false;
        for frame in &case.before {
            judge(&frame.as_slice(), &world);
        }
        let got = judge(&case.frame.as_slice(), &world).verdict;
        let kernel = Verdict { action: Action::Pass, reason: Reason::Kernel };
        let expect = if case.expect == cases::SURVIVES { kernel } else { case.expect };
        assert_eq!(got, expect, "{}", case.name);
    }
}

#[test]
fn monitored_rules_drop_nothing_and_say_what_they_would_have() {
    for case in cases::all() {
        let mut world = World::at(NOW);
        world.prepare(&case);
        for frame in &case.before {
            judge(&frame.as_slice(), &world);
        }
        world.config.monitor = std::mem::take(&mut world.config.enforce);
        let judged = judge(&case.frame.as_slice(), &world);
        assert_ne!(judged.verdict.action, Action::Drop, "{}", case.name);
        let would = (case.expect.action == Action::Drop).then_some(case.expect.reason);
        assert_eq!(judged.would(), would, "{}", case.name);
        if would.is_none() {
            assert_eq!(judged.verdict, case.expect, "{}", case.name);
        }
    }
}

#[test]
fn rules_that_are_off_do_nothing() {
    for case in cases::all() {
        let mut world = World::at(NOW);
        world.prepare(&case);
        world.config.enforce = 0;
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
        let mut packet = cases::Packet::v4([203, 0, 113, 66]).sip(&payload).udp_length(length);
        if tag { packet = packet.vlan(0x8100, 0) }
        prop_assert_eq!(judge(&packet.build().as_slice(), &World::at(NOW)).verdict.reason, Reason::Blocked);
    }
}
