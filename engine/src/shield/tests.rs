use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;
use vos_common::state::mix;

use super::*;

const MS: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    Request(u8),
    Answer(u8),
    Forget(u8),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u8..12).prop_map(Step::Request),
        2 => (0u8..12).prop_map(Step::Answer),
        1 => (0u8..12).prop_map(Step::Forget),
        4 => prop_oneof![0u64..1_000, 3_990u64..4_010, Just(60_000)].prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..400)
}

/// What the page says, with all the memory in the world.
#[derive(Default)]
struct Naive(HashMap<u8, (u64, bool)>);

impl Naive {
    fn lets_pass(&mut self, name: u8, now: u64) -> bool {
        match self.0.get(&name) {
            Some((_, true)) => true,
            Some((passed, false)) if now - passed < T2 => false,
            _ => {
                self.0.insert(name, (now, false));
                true
            }
        }
    }
}

proptest! {
    #[test]
    fn with_room_enough_it_does_what_a_map_does(steps in steps(), seed: u64, start in 0u64..1 << 40) {
        // Whole milliseconds, which is what a slot tells.
        let (shield, mut naive, mut now) = (Shield::default(), Naive::default(), start * MS);
        for step in steps {
            match step {
                Step::Request(name) => {
                    prop_assert_eq!(shield.lets_pass(mix(seed, u64::from(name)), now), naive.lets_pass(name, now));
                }
                Step::Answer(name) => {
                    shield.answered(mix(seed, u64::from(name)));
                    naive.0.entry(name).and_modify(|(_, answered)| *answered = true);
                }
                Step::Forget(name) => {
                    shield.forget(mix(seed, u64::from(name)));
                    naive.0.remove(&name);
                }
                Step::Wait(ms) => now += ms * MS,
            }
        }
    }

    #[test]
    fn without_room_it_keeps_back_only_behind_one_that_passed(steps in steps(), seed: u64) {
        // Eight slots for twelve transactions.
        let (shield, mut passed, mut now) = (Shield::of(WAYS), HashMap::new(), 1_000 * MS);
        for step in steps {
            match step {
                Step::Request(name) if shield.lets_pass(mix(seed, u64::from(name)), now) => {
                    passed.insert(name, now);
                }
                Step::Request(name) => {
                    prop_assert!(passed.get(&name).is_some_and(|passed| now - passed < T2), "none has passed");
                }
                Step::Answer(name) => shield.answered(mix(seed, u64::from(name))),
                Step::Forget(name) => {
                    shield.forget(mix(seed, u64::from(name)));
                    passed.remove(&name);
                }
                Step::Wait(ms) => now += ms * MS,
            }
        }
    }
}

#[test]
fn of_a_phone_that_repeats_one_copy_in_t2_passes() {
    // RFC 3261 §17.1.2.2: a request other than INVITE goes out at these times, unanswered (ms)
    let copies = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    let shield = Shield::default();
    let passed: Vec<u64> = copies.into_iter().filter(|at| shield.lets_pass(7, (1 + at) * MS)).collect();
    assert_eq!(passed, [0, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    // §17.1.1.2: INVITE
    let copies = [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500];
    let passed: Vec<u64> = copies.into_iter().filter(|at| shield.lets_pass(8 << 26, (1 + at) * MS)).collect();
    assert_eq!(passed, [0, 7_500, 15_500, 31_500]);
}

#[test]
fn a_flood_pushes_out_what_is_answered_before_what_is_not() {
    let shield = Shield::of(WAYS);
    let name = |number: u64| (number + 1) << 26;
    (0..WAYS as u64).for_each(|number| assert!(shield.lets_pass(name(number), (number + 1) * MS)));
    shield.answered(name(5));
    assert!(shield.lets_pass(name(100), 20 * MS));
    let waiting = |number| !shield.lets_pass(name(number), 21 * MS);
    assert!([0, 1, 2, 3, 4, 6, 7, 100].into_iter().all(waiting), "only the answered one was forgotten");
    // then the oldest, which was first
    assert!(shield.lets_pass(name(101), 22 * MS));
    assert!([1, 2, 3, 4, 6, 7, 100, 101].into_iter().all(waiting));
}

#[test]
fn the_clock_comes_round_and_nobody_waits_for_it() {
    let shield = Shield::default();
    let end = (TIME + 1) * MS;
    assert!(shield.lets_pass(1 << 26, end - MS));
    assert!(!shield.lets_pass(1 << 26, end + MS), "two ms later");
    // a worker whose clock was read before the other wrote
    assert!(!shield.lets_pass(1 << 26, end - 2 * MS));
    assert!(shield.lets_pass(1 << 26, end - MS + T2));
}

#[test]
fn of_copies_that_workers_see_at_once_at_most_one_each_passes() {
    const COPIES: usize = 2_000;
    let (shield, passed) = (Shield::of(1 << 10), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for transaction in 0..COPIES as u64 {
                    let passes = shield.lets_pass(mix(1, transaction % 64), 5 * MS);
                    passed.fetch_add(usize::from(passes), Relaxed);
                }
            });
        }
    });
    let passed = passed.into_inner();
    assert!((64..=4 * 64).contains(&passed), "{passed} of {} passed", 4 * COPIES);
    assert!((0..64).all(|transaction| !shield.lets_pass(mix(1, transaction), 5 * MS)), "all are noted");
}
