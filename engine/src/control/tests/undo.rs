//! What was done is taken back, and nothing else.

use super::*;
use crate::control::history::{SETS_MAX, Undone};

fn undo(control: &Control, number: Option<u64>) -> Undone {
    control.undo(number, &root()).expect("there is something to undo")
}

fn left(undone: &Undone) -> Vec<String> {
    undone.left.iter().map(|(net, _, why)| format!("{net}: {why}")).collect()
}

#[test]
fn one_command_is_taken_back_and_what_it_took_the_place_of_is_there_again() {
    let bench = Bench::new();
    let control = bench.open();
    control.ask(&root(), Ask::block(net("10.0.0.1"), End::Never, "first")).expect("room");
    let before = listed(&control);
    let number = done(&control, vec![Ask::block(net("10.0.0.1"), End::After(60), "second"), block("10.0.0.2")]);
    let undone = undo(&control, None);
    assert_eq!((undone.set.number, undone.restored, undone.left.len()), (number, 2, 0));
    let after = listed(&control);
    let as_it_was = |decision: &Decision| (decision.key(), decision.until, decision.reason.clone(), decision.origin);
    assert_eq!(after.iter().map(as_it_was).collect::<Vec<_>>(), before.iter().map(as_it_was).collect::<Vec<_>>());
    assert_eq!((bench.kind("10.0.0.1"), bench.kind("10.0.0.2")), (1, 0));
    // and over a restart
    drop(control);
    assert_eq!(listed(&bench.open()).iter().map(as_it_was).collect::<Vec<_>>(), vec![as_it_was(&before[0])]);
}

#[test]
fn an_unblock_is_taken_back_and_what_has_ended_meanwhile_is_not_brought_back() {
    let bench = Bench::new();
    let control = bench.open();
    control.ask(&root(), Ask::block(net("10.0.0.1"), End::After(60), "")).expect("room");
    control.ask(&root(), Ask::block(net("10.0.0.2"), End::Never, "")).expect("room");
    done(&control, vec![unblock("10.0.0.1"), unblock("10.0.0.2")]);
    bench.wait(60);
    let undone = undo(&control, None);
    assert_eq!(nets(&control), ["10.0.0.2"]);
    assert_eq!(left(&undone), ["10.0.0.1/32: it has ended since"]);
}

#[test]
fn what_ended_by_itself_does_not_keep_what_lay_beneath_from_coming_back() {
    let bench = Bench::new();
    let control = bench.open();
    control.ask(&root(), Ask::block(net("10.0.0.1"), End::Never, "first")).expect("room");
    done(&control, vec![Ask::block(net("10.0.0.1"), End::After(10), "second")]);
    bench.wait(10);
    control.sweep().expect("nothing refuses");
    assert!(nets(&control).is_empty());
    assert_eq!(undo(&control, None).restored, 1);
    assert_eq!(&*listed(&control)[0].reason, "first");
}

#[test]
fn what_somebody_has_decided_anew_or_taken_back_since_stays() {
    let bench = Bench::new();
    let control = bench.open();
    control.ask(&root(), Ask::block(net("10.0.0.3"), End::Never, "before")).expect("room");
    done(&control, vec![block("10.0.0.1"), block("10.0.0.2"), Ask::block(net("10.0.0.3"), End::After(60), "set")]);
    let other = By { who: "mallory".into(), ..root() };
    control.ask(&other, Ask::block(net("10.0.0.1"), End::Never, "anew")).expect("room");
    control.ask(&other, unblock("10.0.0.3")).expect("there");
    let undone = undo(&control, None);
    assert_eq!(
        left(&undone),
        [
            "10.0.0.1/32: 10.0.0.1 has been blocked anew since, by mallory: that stays",
            "10.0.0.3/32: it was taken back since: that stays"
        ]
    );
    assert_eq!((nets(&control), undone.restored), (vec!["10.0.0.1".to_owned()], 1));
}

#[test]
fn a_set_in_which_a_key_comes_twice_goes_back_to_before_the_first() {
    let bench = Bench::new();
    let control = bench.open();
    let ask = |end, reason: &str| Ask::block(net("10.0.0.1"), end, reason);
    done(
        &control,
        vec![ask(End::After(60), "first"), ask(End::Never, "second"), unblock("10.0.0.1"), block("10.0.0.2")],
    );
    assert_eq!(nets(&control), ["10.0.0.2"]);
    undo(&control, None);
    assert!(nets(&control).is_empty(), "there was nothing before the set");
    control.ask(&root(), ask(End::Never, "before")).expect("room");
    done(&control, vec![ask(End::After(5), "first"), ask(End::After(60), "second")]);
    assert_eq!(undo(&control, None).restored, 1);
    assert_eq!((&*listed(&control)[0].reason, listed(&control)[0].until), ("before", None));
}

#[test]
fn a_refused_second_change_of_a_key_leaves_what_is_remembered_of_the_first() {
    let bench = Bench::new();
    let control = bench.open();
    control.ask(&root(), Ask::block(net("10.0.0.1"), End::Never, "before")).expect("room");
    bench.kernel.maps().capacity = Some(1);
    let (_, results) = command(&control, &root(), vec![unblock("10.0.0.1"), block("10.0.0.2"), block("10.0.0.1")]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    bench.kernel.maps().capacity = None;
    assert_eq!(undo(&control, None).restored, 2);
    assert_eq!(&*listed(&control)[0].reason, "before");
}

#[test]
fn an_undo_can_be_undone_and_the_last_undo_is_not_what_the_next_one_means() {
    let bench = Bench::new();
    let control = bench.open();
    let first = done(&control, vec![block("10.0.0.1")]);
    let second = done(&control, vec![block("10.0.0.2")]);
    let undone = undo(&control, None);
    assert_eq!((undone.set.number, nets(&control)), (second, vec!["10.0.0.1".to_owned()]));
    let again = control.undo(Some(second), &root()).expect_err("undone already");
    assert!(matches!(again, Refusal::Undone { number, by } if number == second && Some(by) == undone.by), "{again}");
    let back = undo(&control, undone.by);
    assert_eq!(nets(&control), ["10.0.0.1", "10.0.0.2"]);
    // it is as if it had never been undone
    assert_eq!(undo(&control, Some(second)).restored, 1);
    assert!(control.undo(back.by, &root()).is_ok_and(|undone| undone.restored == 0), "decided anew since");
    assert_eq!(undo(&control, None).set.number, first);
    assert!(nets(&control).is_empty());
    assert!(matches!(control.undo(None, &root()), Err(Refusal::NothingToUndo)));
    assert!(matches!(control.undo(Some(999), &root()), Err(Refusal::NoSuchSet { number: 999 })));
}

#[test]
fn the_guard_looks_at_what_comes_back() {
    let bench = Bench::new();
    let control = bench.open();
    done(&control, vec![block("10.0.0.1"), block("10.0.0.2")]);
    let number = done(&control, vec![unblock("10.0.0.1"), unblock("10.0.0.2")]);
    control.set_guarded(vec![(net("10.0.0.1"), "the default gateway".to_owned())]);
    let undone = control.undo(Some(number), &root()).expect("some of it");
    assert_eq!(nets(&control), ["10.0.0.2"]);
    assert!(left(&undone)[0].contains("would block 10.0.0.1, the default gateway"), "{:?}", undone.left);
    let number = done(&control, vec![block("10.0.0.1"), put("10.0.0.2", Kind::Allow)]);
    done(&control, vec![unblock("10.0.0.1")]);
    assert_eq!(control.undo(None, &insisting()).expect("insisted").restored, 1);
    assert!(control.undo(Some(number), &root()).expect("the allow").restored == 1);
}

#[test]
fn a_trust_goes_before_the_blocks_that_it_took_the_place_of_come_back() {
    let bench = Bench::new();
    let control = bench.open();
    done(&control, vec![block("10.0.0.1"), block("10.0.0.2")]);
    done(&control, vec![unblock("10.0.0.1"), unblock("10.0.0.2"), put("10.0.0.0/24", Kind::Trust)]);
    let undone = undo(&control, None);
    assert_eq!((undone.restored, left(&undone)), (3, Vec::<String>::new()));
    assert_eq!(nets(&control), ["10.0.0.1", "10.0.0.2"]);
}

#[test]
fn feeds_leave_nothing_to_undo_and_a_command_without_effect_neither() {
    let bench = Bench::new();
    let control = bench.open();
    control.submit(&By::feed(Origin::File, "list"), vec![block("10.0.0.1")], None);
    let (set, _) = command(&control, &root(), vec![block("10.0.0.1"), unblock("10.0.0.9")]);
    assert_eq!((set, control.history().len()), (None, 0));
}

#[test]
fn only_so_many_sets_are_kept_and_their_steps_go_with_them() {
    let bench = Bench::new();
    let control = bench.open();
    for n in 0..SETS_MAX + 3 {
        let ask = if n % 2 == 0 { block("10.0.0.1") } else { unblock("10.0.0.1") };
        done(&control, vec![ask]);
    }
    let history = control.history();
    assert_eq!((history.len(), history[0].number), (SETS_MAX, 4));
    control.sweep().expect("nothing refuses");
    let steps = |set| control.lock().store.steps(set, None, 10).expect("readable").len();
    assert_eq!((steps(3), steps(4)), (0, 1));
    drop(control);
    let control = bench.open();
    assert_eq!(control.history(), history);
    assert!(matches!(control.undo(Some(3), &root()), Err(Refusal::NoSuchSet { .. })));
}
