//! A thousand calls at once, as callers, proxies and a lossy network make them, against a model that knows what each of them
//! is: how many there are is the same after every message, and none is left when all have ended.

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

use super::*;

/// Calls that the trunk may have at a time: some find no place.
const MAX_CALLS: u32 = 300;

/// What happens to a call, in this order.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The INVITE, or one that answers a challenge.
    Invite,
    /// A copy of the last one.
    Copy,
    /// A challenge of the last INVITE, or of the one before: the INVITE that answers it may be here before it is seen.
    Challenge(u16, bool),
    /// A provisional response of one who is called.
    Rings(u64),
    /// One who is called answers.
    Answers(u64),
    /// Somebody refuses, or a CANCEL has come in time.
    Fails(u16),
    /// The answer to a CANCEL, or to anything else that ends nothing.
    Other(u16),
    /// The caller's re-INVITE, answered with this.
    ReInvite(u64, u16),
    /// The caller's BYE, answered with this.
    Bye(u64, u16),
    /// The caller's BYE, whose answer nobody sees.
    ByeUnanswered(u64),
    /// The BYE of one who was called.
    ByeFrom(u64),
}

fn of_one(dialogs: u64) -> impl Strategy<Value = u64> {
    1..=dialogs
}

/// How a call begins: perhaps challenged, its INVITE and its answers perhaps repeated, and perhaps forked.
fn beginning(dialogs: u64) -> impl Strategy<Value = Vec<Step>> {
    let challenge = prop_oneof![Just(401), Just(407), Just(422)];
    let tried = prop::collection::vec(challenge, 0..=3).prop_flat_map(|challenges| {
        let late = prop::collection::vec(any::<bool>(), challenges.len());
        (Just(challenges), late).prop_map(|(challenges, late)| {
            let mut steps = vec![Step::Invite];
            for (status, late) in challenges.into_iter().zip(late) {
                // what the policy's thread hears of a challenge may be older than the INVITE that answers it
                steps.extend(match late {
                    true => [Step::Invite, Step::Challenge(status, true)],
                    false => [Step::Challenge(status, false), Step::Invite],
                });
            }
            steps
        })
    });
    let rings = prop_oneof![of_one(dialogs).prop_map(Step::Rings), Just(Step::Copy), Just(Step::Other(200))];
    (tried, prop::collection::vec(rings, 0..4)).prop_map(|(tried, rings)| [tried, rings].concat())
}

/// What happens while it is there.
fn middle(dialogs: u64) -> impl Strategy<Value = Vec<Step>> {
    let re_invite = (of_one(dialogs), prop_oneof![Just(200), Just(491), Just(488), Just(401), Just(500)]);
    let step = prop_oneof![
        re_invite.prop_map(|(other, status)| Step::ReInvite(other, status)),
        of_one(dialogs).prop_map(Step::Answers),
        of_one(dialogs).prop_map(|other| Step::Bye(other, 407)),
        Just(Step::Copy),
        Just(Step::Other(481)),
    ];
    prop::collection::vec(step, 0..4)
}

/// How each of its dialogs ends: by either side, by both at once, by a BYE that nobody answers, or not at all.
fn end(other: u64) -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![
        3 => prop_oneof![Just(200), Just(481), Just(408)].prop_map(move |status| vec![Step::Bye(other, status)]),
        3 => Just(vec![Step::ByeFrom(other)]),
        1 => Just(vec![Step::ByeFrom(other), Step::Bye(other, 481), Step::ByeFrom(other)]),
        1 => Just(vec![Step::ByeUnanswered(other)]),
        1 => Just(vec![]),
    ]
}

fn flow() -> impl Strategy<Value = Vec<Step>> {
    let refused = (beginning(2), prop_oneof![Just(486), Just(487), Just(503), Just(302), Just(603)], any::<bool>());
    let refused = refused.prop_map(|(mut steps, status, twice)| {
        steps.extend([Step::Fails(status), Step::Copy]);
        steps.extend(twice.then_some(Step::Fails(status)));
        steps
    });
    let answered = (1..=FORKS as u64).prop_flat_map(|dialogs| {
        let ends: Vec<_> = (1..=dialogs).map(|other| end(other).boxed()).collect();
        (beginning(dialogs), middle(dialogs), ends, Just(dialogs))
    });
    let answered = answered.prop_map(|(mut steps, middle, ends, dialogs)| {
        steps.extend((1..=dialogs).map(Step::Answers));
        steps.extend(middle);
        steps.extend(ends.into_iter().flatten());
        steps
    });
    // given up, or never answered
    prop_oneof![3 => refused, 6 => answered, 1 => beginning(3)]
}

/// A call as the model knows it.
#[derive(Debug, Default)]
struct Call {
    /// Of its last INVITE outside a dialog.
    cseq: u32,
    begun: bool,
    refused: bool,
    over: bool,
    /// Those who have answered and have not hung up.
    dialogs: Vec<u64>,
}

impl Call {
    const fn is_there(&self) -> bool {
        self.begun && !self.refused && !self.over
    }

    fn hang_up(&mut self, other: u64) {
        let had = self.dialogs.len();
        self.dialogs.retain(|dialog| *dialog != other);
        self.over |= had > 0 && self.dialogs.is_empty();
    }
}

struct Site {
    gateways: Arc<Gateways>,
    now: u64,
    calls: Vec<Call>,
}

impl Site {
    fn count(&self) -> u32 {
        self.calls.iter().filter(|call| call.is_there()).count() as u32
    }

    /// What happens, and what the model makes of it.
    fn step(&mut self, which: usize, step: Step) {
        self.now += SECOND / 1_000;
        let (now, room) = (self.now, self.count() < MAX_CALLS);
        let (caller, call) = (named(which as u64), &mut self.calls[which]);
        let end = |other: u64| named(1 << 32 | (which as u64) << 8 | other);
        let tell = |cseq, method, status, other: Option<u64>| {
            let answer = Answered { asker: caller, other: other.map(end), cseq, method, status };
            self.gateways.answered(&answer, now);
        };
        // the softswitch has seen nothing of it
        if call.refused && !matches!(step, Step::Copy) {
            return;
        }
        match step {
            Step::Invite | Step::Copy => {
                call.cseq += u32::from(matches!(step, Step::Invite));
                let expected = match (call.begun, room) {
                    (true, _) if call.refused => Decision::Again(Ruling::Refuse(Over::Calls)),
                    (true, _) => Decision::Again(Ruling::Pass),
                    (false, true) => PASSED,
                    (false, false) => FULL,
                };
                assert_eq!(invite(&self.gateways, caller, call.cseq, now), expected, "{call:?}");
                call.begun = true;
                call.refused |= expected == FULL;
            }
            Step::Challenge(status, late) => tell(call.cseq - u32::from(late), Asked::Invite, status, None),
            Step::Rings(other) => tell(call.cseq, Asked::Invite, 180, Some(other)),
            Step::Answers(other) => {
                tell(call.cseq, Asked::Invite, 200, Some(other));
                if !call.over && !call.dialogs.contains(&other) {
                    call.dialogs.push(other);
                }
            }
            Step::Fails(status) => {
                tell(call.cseq, Asked::Invite, status, Some(1));
                call.over = true;
            }
            Step::Other(status) => tell(call.cseq, Asked::Other, status, Some(1)),
            Step::ReInvite(other, status) => tell(call.cseq + 10, Asked::Invite, status, Some(other)),
            Step::Bye(other, status) => {
                self.gateways.bye_came(caller, end(other), now);
                tell(call.cseq + 20, Asked::Bye, status, Some(other));
                if status != 407 {
                    call.hang_up(other);
                }
            }
            Step::ByeUnanswered(other) => self.gateways.bye_came(caller, end(other), now),
            Step::ByeFrom(other) => {
                self.gateways.bye_left(end(other), caller, now);
                call.hang_up(other);
            }
        }
    }
}

fn run(flows: &[Vec<Step>], order: &[prop::sample::Index]) {
    let gateways = gateways(&format!("cps = 10000\nburst = 10000\nmax_calls = {MAX_CALLS}"));
    let calls = flows.iter().map(|_| Call::default()).collect();
    let mut site = Site { gateways, now: NOW, calls };
    let mut left: Vec<_> = flows.iter().map(|steps| steps.iter()).enumerate().collect();
    let mut order = order.iter().cycle();
    let mut most = 0;
    while let Some(next) = order.next().filter(|_| !left.is_empty()) {
        let at = next.index(left.len());
        let (which, steps) = &mut left[at];
        match steps.next() {
            Some(step) => site.step(*which, *step),
            None => drop(left.swap_remove(at)),
        }
        most = most.max(site.count());
        assert_eq!(calls_now(&site), site.count());
    }
    assert!(most <= MAX_CALLS);
    // Those whose end nobody has seen: nobody has answered, it rang, it was up.
    for seconds in [33, 301, 7_201] {
        sweep(&site.gateways, site.now + seconds * SECOND);
    }
    assert_eq!(calls_now(&site), 0);
    assert_eq!(site.gateways.calls.as_ref().map(|calls| calls.len()), Some(0));
    assert_eq!(site.gateways.evicted(), 0);
}

fn calls_now(site: &Site) -> u32 {
    calls(&site.gateways)
}

#[test]
fn a_thousand_random_calls_are_counted_as_the_model_counts_them() {
    let flows = prop::collection::vec(flow(), 1_000);
    let order = prop::collection::vec(any::<prop::sample::Index>(), 4_096);
    let mut runner =
        TestRunner::new(Runs { cases: 6, failure_persistence: None, max_shrink_iters: 200, ..Runs::default() });
    let outcome = runner.run(&(flows, order), |(flows, order)| {
        run(&flows, &order);
        Ok(())
    });
    outcome.expect("they are the same");
}
