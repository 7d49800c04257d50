use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::config;

const START: u64 = 1_000_000_000;

fn config(names: &[(&str, bool)]) -> Config {
    let backend = |(at, (name, drain)): (usize, &(&str, bool))| config::Backend {
        name: (*name).to_owned(),
        address: SocketAddr::new([192, 0, 2, 100 + at as u8].into(), 5060),
        drain: *drain,
    };
    let backend = names.iter().enumerate().map(backend).collect();
    let relay = config::Relay { to: RelayTo::Proxy(None), ..config::Relay::default() };
    Config { backend, relay, ..Config::default() }
}

/// Backends of these names, at the start.
fn started(names: &[&str]) -> (Backends, Arc<Health>) {
    let health = Arc::new(Health::default());
    let backends = Backends::new(Arc::clone(&health));
    let names: Vec<(&str, bool)> = names.iter().map(|name| (*name, false)).collect();
    backends.follow(&config(&names), None, START);
    (backends, health)
}

fn declare(backends: &Backends, health: &Health, name: &str, dead: bool) {
    let list = backends.list();
    health.declare(list.iter().find(|backend| backend.name == name).expect("there").slot, dead);
}

/// Who gets a message of this call.
fn gets(backends: &Backends, call: u64, begins: bool, now: u64) -> Option<String> {
    backends.choose(&backends.list(), call, begins, now).map(|backend| backend.name.clone())
}

/// A 2xx of this call comes from there.
fn stays(backends: &Backends, call: u64, name: &str, now: u64) {
    let list = backends.list();
    backends.stays(&list, call, list.iter().find(|backend| backend.name == name).expect("there"), now);
}

/// Begins a call, which is answered at once.
fn answered(backends: &Backends, call: u64, now: u64) -> String {
    let name = gets(backends, call, true, now).expect("somebody");
    stays(backends, call, &name, now);
    name
}

fn calls() -> Vec<u64> {
    (0..1_000).map(|call| stable_hash(format!("{call}").as_bytes())).collect()
}

#[test]
fn one_dies_and_returns_and_only_its_own_calls_move() {
    let (backends, health) = started(&["a", "b", "c"]);
    let before: HashMap<u64, String> =
        calls().into_iter().map(|call| (call, answered(&backends, call, START))).collect();
    // long after: nothing is remembered of those that are at home
    let later = START + 3_600_000_000_000;
    declare(&backends, &health, "b", true);
    for (call, home) in &before {
        let now = gets(&backends, *call, false, later);
        assert_eq!(now.as_ref() == Some(home), home != "b", "{now:?}");
    }
    declare(&backends, &health, "b", false);
    assert!(before.iter().all(|(call, home)| gets(&backends, *call, false, later).as_ref() == Some(home)));
}

#[test]
fn what_begins_while_its_home_is_dead_stays_where_it_begins() {
    let (backends, health) = started(&["a", "b", "c"]);
    declare(&backends, &health, "b", true);
    let begun: Vec<(u64, String)> = calls().into_iter().map(|call| (call, answered(&backends, call, START))).collect();
    declare(&backends, &health, "b", false);
    let later = START + CALL - 1;
    assert!(begun.iter().all(|(call, at)| gets(&backends, *call, false, later).as_ref() == Some(at)));
}

#[test]
fn a_drained_one_keeps_its_calls_and_gets_none() {
    let (backends, _) = started(&["a", "b", "c"]);
    let before: HashMap<u64, String> =
        calls().into_iter().map(|call| (call, answered(&backends, call, START))).collect();
    let drained = |drain| backends.follow(&config(&[("a", false), ("b", drain), ("c", false)]), None, START);
    drained(true);
    let later = START + 3_600_000_000_000;
    for (call, home) in &before {
        assert_eq!(gets(&backends, *call, false, later).as_ref(), Some(home));
        // the second try with credentials is no new call
        assert_eq!(gets(&backends, *call, true, START + 1).as_ref(), Some(home));
    }
    let new: Vec<(u64, String)> = calls().into_iter().map(|call| (!call, answered(&backends, !call, later))).collect();
    assert!(new.iter().all(|(_, at)| at != "b"));
    drained(false);
    let later = later + TRANSACTION;
    assert!(
        before
            .iter()
            .chain(new.iter().map(|(call, at)| (call, at)))
            .all(|(call, at)| { gets(&backends, *call, false, later).as_ref() == Some(at) })
    );
}

#[test]
fn a_registration_does_not_hold_on_to_a_drained_one() {
    let (backends, _) = started(&["a", "b"]);
    let call = calls().into_iter().find(|call| gets(&backends, *call, true, START).as_deref() == Some("b"));
    let call = call.expect("one of a thousand");
    backends.follow(&config(&[("a", false), ("b", true)]), None, START);
    // registers again every 20 s
    let again: Vec<Option<String>> = (1..4).map(|n| gets(&backends, call, true, START + n * 20_000_000_000)).collect();
    assert_eq!(again.last().and_then(Option::as_deref), Some("a"));
}

#[test]
fn who_comes_takes_no_call_from_others_and_who_goes_only_its_own_along() {
    let (backends, _) = started(&["a", "b"]);
    let before: HashMap<u64, String> =
        calls().into_iter().map(|call| (call, answered(&backends, call, START))).collect();
    let with_c = config(&[("a", false), ("b", false), ("c", false)]);
    backends.follow(&with_c, None, START);
    let later = START + CALL - 1;
    assert!(before.iter().all(|(call, at)| gets(&backends, *call, false, later).as_ref() == Some(at)));
    let new: Vec<(u64, String)> = calls().into_iter().map(|call| (!call, answered(&backends, !call, later))).collect();
    let share = new.iter().filter(|(_, at)| at == "c").count();
    assert!(share.abs_diff(333) < 90, "{share} of 1000 for the third");
    // settled, it is like the others; and gone for a moment it is no stranger
    backends.follow(&config(&[("b", false), ("a", false)]), None, later);
    assert!(before.iter().all(|(call, at)| gets(&backends, *call, false, later).as_ref() == Some(at)));
    backends.follow(&with_c, None, later);
    let much_later = later + CALL - 1;
    assert!(new.iter().all(|(call, at)| gets(&backends, *call, false, much_later).as_ref() == Some(at)));
}

#[test]
fn all_dead_is_nobody() {
    let (backends, health) = started(&["a", "b"]);
    ["a", "b"].iter().for_each(|name| declare(&backends, &health, name, true));
    assert_eq!((gets(&backends, 7, true, START), gets(&backends, 7, false, START)), (None, None));
    assert!(!backends.alive() && backends.for_stranger(&backends.list(), 7).is_none());
    declare(&backends, &health, "b", false);
    assert_eq!(gets(&backends, 7, true, START).as_deref(), Some("b"));
}

#[test]
fn all_drained_is_none_drained() {
    let (backends, _) = started(&["a", "b"]);
    backends.follow(&config(&[("a", true), ("b", true)]), None, START);
    assert!(calls().into_iter().all(|call| gets(&backends, call, true, START).is_some()));
}

#[test]
fn a_call_that_a_backend_begins_is_its_own() {
    let (backends, _) = started(&["a", "b", "c"]);
    let list = backends.list();
    let begins = list.iter().find(|backend| backend.name == "c").expect("there");
    for call in calls() {
        backends.began(call, begins, START);
        backends.rings(call, begins, START);
        assert_eq!(gets(&backends, call, false, START + RINGING - 1).as_deref(), Some("c"));
        backends.stays(&list, call, begins, START);
        assert_eq!(gets(&backends, call, false, START + CALL - 1).as_deref(), Some("c"));
    }
}

#[test]
fn what_was_forgotten_is_known_again_by_who_answers() {
    let (backends, _) = started(&["a", "b", "c"]);
    let list = backends.list();
    let c = list.iter().find(|backend| backend.name == "c").expect("there");
    for call in calls() {
        backends.rings(call, c, START);
        assert_eq!(gets(&backends, call, false, START + RINGING - 1).as_deref(), Some("c"));
        backends.stays(&list, !call, c, START);
        assert_eq!(gets(&backends, !call, false, START + CALL - 1).as_deref(), Some("c"));
    }
}

#[test]
fn a_call_that_has_ended_is_soon_forgotten() {
    let (backends, health) = started(&["a", "b"]);
    declare(&backends, &health, "b", true);
    let begun: Vec<u64> = calls().into_iter().inspect(|call| drop(answered(&backends, *call, START))).collect();
    declare(&backends, &health, "b", false);
    let at_b = |now| begun.iter().filter(|call| gets(&backends, **call, false, now).as_deref() == Some("b")).count();
    assert_eq!(at_b(START + ENDED), 0);
    begun.iter().for_each(|call| backends.ended(*call, START));
    assert_eq!(at_b(START + ENDED - 1), 0);
    assert!(at_b(START + ENDED) > 400);
    // an answer that was late on the way makes nothing longer
    begun.iter().for_each(|call| backends.ended(*call, START + ENDED));
    assert!(at_b(START + ENDED) > 400);
}

#[test]
fn crafted_calls_push_out_nobody() {
    let (backends, health) = started(&["a", "b"]);
    declare(&backends, &health, "b", true);
    let call = calls()[0];
    assert_eq!(answered(&backends, call, START), "a");
    // In a table by the Call-ID's hash all of these are in its bucket, and live longer.
    (1..=64).for_each(|low| drop(answered(&backends, call ^ low, START + low)));
    assert!(backends.known(call, START + 100).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Dies(usize, bool),
    Drains(usize, bool),
    Begins(u64),
    GoesOn(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4usize, any::<bool>()).prop_map(|(who, dead)| Step::Dies(who, dead)),
        (0..4usize, any::<bool>()).prop_map(|(who, drain)| Step::Drains(who, drain)),
        any::<u64>().prop_map(Step::Begins),
        any::<u64>().prop_map(Step::Begins),
        (0..64usize).prop_map(Step::GoesOn),
        (0..64usize).prop_map(Step::GoesOn),
    ]
}

proptest! {
    /// Whatever happens: who is alive keeps the calls that began there, and the drained get none while others live.
    #[test]
    fn a_call_stays_where_it_has_begun(steps in prop::collection::vec(step(), 1..200)) {
        const NAMES: [&str; 4] = ["a", "b", "c", "d"];
        let (backends, health) = started(&NAMES);
        let (mut dead, mut drained) = ([false; 4], [false; 4]);
        let mut begun: Vec<(u64, usize)> = Vec::new();
        let place = |name: String| NAMES.iter().position(|known| *known == name).expect("one of them");
        for (time, step) in (0u64..).zip(steps) {
            // a minute each: what is not remembered for long is forgotten
            let now = START + time * 60_000_000_000;
            match step {
                Step::Dies(who, is) => {
                    dead[who] = is;
                    declare(&backends, &health, NAMES[who], is);
                }
                Step::Drains(who, is) => {
                    drained[who] = is;
                    let names: Vec<(&str, bool)> = NAMES.into_iter().zip(drained).collect();
                    backends.follow(&config(&names), None, START);
                }
                Step::Begins(call) => {
                    let Some(name) = gets(&backends, call, true, now) else {
                        prop_assert_eq!(dead, [true; 4]);
                        continue;
                    };
                    let at = place(name);
                    prop_assert!(!dead[at]);
                    prop_assert!(!drained[at] || (0..4).all(|other| dead[other] || drained[other]));
                    stays(&backends, call, NAMES[at], now);
                    begun.push((call, at));
                }
                Step::GoesOn(which) => {
                    let Some((call, at)) = begun.get(which) else { continue };
                    if !dead[*at] {
                        prop_assert_eq!(gets(&backends, *call, false, now).map(place), Some(*at));
                    }
                }
            }
        }
    }
}
