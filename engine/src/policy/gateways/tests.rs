//! Trunks against a model that keeps every call, and against the clock.

use std::sync::Arc;

use super::*;
use crate::config::Config;

/// One second, ns.
const SECOND: u64 = 1_000_000_000;
/// When the tests begin, ns.
const NOW: u64 = 1_000 * SECOND;
/// The rules of both.
const BOTH: u64 = Over::Cps.rule().bit() | Over::Calls.rule().bit();
/// Both rules refuse.
const ENFORCED: Enforced = Enforced { enforce: BOTH, monitor: 0 };
/// Both only count.
const MONITORED: Enforced = Enforced { enforce: 0, monitor: BOTH };
const OFF: Enforced = Enforced { enforce: 0, monitor: 0 };

fn configured(text: &str) -> Vec<Gateway> {
    Config::parse(text, std::path::Path::new("vos.toml")).expect("a configuration").gateway
}

fn one(rest: &str) -> Vec<Gateway> {
    configured(&format!("[[gateway]]\nname = \"a\"\nfrom = [\"198.51.100.0/28\"]\n{rest}\n"))
}

fn gateways(rest: &str) -> Arc<Gateways> {
    Gateways::of(&one(rest), &Arc::default())
}

const SRC: Addr = Addr::v4([198, 51, 100, 7]);

fn trunk(gateways: &Gateways) -> &Trunk {
    gateways.find(&SRC, 5060).expect("a trunk")
}

fn call(caller: u64, cseq: u32) -> NewCall<'static> {
    NewCall { caller, cseq, src: SRC, call_id: b"call", urgent: false }
}

fn invite(gateways: &Gateways, caller: u64, cseq: u32, now: u64) -> Decision {
    gateways.invite(trunk(gateways), &call(caller, cseq), ENFORCED, now)
}

/// A name as a hash has it: all bits of it differ.
fn named(number: u64) -> u64 {
    vos_common::state::mix(number, 0x5eed)
}

fn answered(asker: u64, cseq: u32, method: Asked, status: u16, other: u64) -> Answered {
    Answered { asker, other: (other != 0).then_some(other), cseq, method, status }
}

fn calls(gateways: &Gateways) -> u32 {
    gateways.views(NOW)[0].calls
}

const PASSED: Decision = Decision::First(Ruling::Pass);
const FULL: Decision = Decision::First(Ruling::Refuse(Over::Calls));
const FAST: Decision = Decision::First(Ruling::Refuse(Over::Cps));

#[test]
fn a_trunk_is_found_by_where_it_calls_from() {
    let gateways = Gateways::of(
        &configured(
            "[[gateway]]\nname = \"a\"\nfrom = [\"198.51.100.0/28\", \"2001:db8::/48\"]\ntier = \"small\"\n\
             [[gateway]]\nname = \"b\"\nfrom = [\"192.0.2.1\"]\nauth = \"ip+port\"\nport = 5070\ntier = \"small\"\n\
             [[gateway]]\nname = \"c\"\nfrom = [\"192.0.2.0/24\"]\nauth = \"ip+port\"\nport = 5080\ntier = \"small\"\n",
        ),
        &Arc::default(),
    );
    let found = |address: &str, port: u16| {
        let address = crate::xdp::addr(address.parse().expect(address));
        gateways.find(&address, port).map(|trunk| trunk.name().to_owned())
    };
    for (address, port, name) in [
        ("198.51.100.0", 5060, Some("a")),
        ("198.51.100.15", 1, Some("a")),
        ("198.51.100.16", 5060, None),
        ("198.51.99.255", 5060, None),
        ("2001:db8:0:ffff::1", 9, Some("a")),
        ("2001:db8:1::1", 9, None),
        ("192.0.2.1", 5070, Some("b")),
        ("192.0.2.1", 5080, Some("c")),
        ("192.0.2.255", 5080, Some("c")),
        ("192.0.2.2", 5070, None),
        ("192.0.2.1", 5060, None),
        ("0.0.0.0", 0, None),
        ("::", 0, None),
        ("ffff::", 65535, None),
    ] {
        assert_eq!(found(address, port).as_deref(), name, "{address} {port}");
    }
    assert!(Gateways::default().find(&SRC, 5060).is_none());
}

/// Three times as many calls as it may make: over 30 seconds exactly as many pass as it may, and its burst.
#[test]
fn over_thirty_seconds_the_rate_is_exact() {
    for (cps, burst) in [(1, 1), (7, 1), (20, 5), (100, 100), (333, 10)] {
        let gateways = gateways(&format!("cps = {cps}\nburst = {burst}\nmax_calls = 100000"));
        let offered = 3 * cps * 30;
        let mut passed = 0_u64;
        for n in 0..offered {
            let now = NOW + n * 30 * SECOND / offered;
            passed += u64::from(invite(&gateways, named(n), 1, now) == PASSED);
        }
        let expected = cps * 30 + burst - 1;
        assert!(passed.abs_diff(expected) <= 1, "{cps}/s: {passed} of {offered}, not {expected}");
        let steady = (passed + 1 - burst) as f64 / (cps * 30) as f64;
        assert!((0.98..=1.02).contains(&steady), "{cps}/s burst {burst}: {steady}");
        let view = &gateways.views(NOW)[0];
        assert_eq!((view.passed, view.over_cps, view.over_calls), (passed, offered - passed, 0));
    }
}

#[test]
fn copies_and_what_answers_a_challenge_follow_the_first() {
    let gateways = gateways("cps = 1\nburst = 1\nmax_calls = 10");
    let (first, second) = (named(1), named(2));
    assert_eq!(invite(&gateways, first, 1, NOW), PASSED);
    assert_eq!(invite(&gateways, second, 1, NOW), FAST);
    // Copies: RFC 3261 §17.1.1.2 sends them until 32 s are over.
    for ms in [500, 1_500, 3_500, 7_500, 15_500, 31_500] {
        let now = NOW + ms * 1_000_000;
        assert_eq!(invite(&gateways, first, 1, now), Decision::Again(Ruling::Pass), "{ms}");
        assert_eq!(invite(&gateways, second, 1, now), Decision::Again(Ruling::Refuse(Over::Cps)), "{ms}");
    }
    // The INVITE with credentials has another CSeq (§22.2), and may be here before it is known that there was a challenge.
    gateways.answered(&answered(first, 1, Asked::Invite, 407, 9), NOW);
    assert_eq!(invite(&gateways, first, 2, NOW), Decision::Again(Ruling::Pass));
    gateways.answered(&answered(first, 1, Asked::Invite, 407, 9), NOW);
    assert_eq!((calls(&gateways), invite(&gateways, first, 3, NOW)), (1, Decision::Again(Ruling::Pass)));
    // The last copies of what was tried before say the same.
    assert_eq!(invite(&gateways, first, 1, NOW), Decision::Again(Ruling::Pass));
    // It does not try for ever.
    assert_eq!(invite(&gateways, first, 4, NOW), Decision::Again(Ruling::Pass));
    assert_eq!(invite(&gateways, first, 5, NOW), FAST);
    assert_eq!(calls(&gateways), 1);
    // A new call of a name that was refused is a new call, and so is one long after.
    assert_eq!(invite(&gateways, second, 2, NOW + 2 * SECOND), PASSED);
    assert_eq!(invite(&gateways, named(3), 1, NOW + 2 * SECOND), FAST);
    assert_eq!(invite(&gateways, named(3), 1, NOW + 35 * SECOND), PASSED);
}

#[test]
fn places_are_given_back_and_copies_of_what_ended_begin_nothing() {
    let gateways = gateways("cps = 1000\nmax_calls = 2");
    let [a, b, c] = [1, 2, 3].map(named);
    assert_eq!([a, b, c].map(|call| invite(&gateways, call, 1, NOW)), [PASSED, PASSED, FULL]);
    // busy: the copy of its INVITE passes to the softswitch, and is no call
    gateways.answered(&answered(a, 1, Asked::Invite, 486, 9), NOW);
    assert_eq!((calls(&gateways), invite(&gateways, a, 1, NOW)), (1, Decision::Again(Ruling::Pass)));
    assert_eq!((calls(&gateways), gateways.refused(c, 1, NOW), gateways.refused(a, 1, NOW)), (1, true, false));
    // a CANCEL ends a call by the 487 of its INVITE, not by its own 200
    gateways.answered(&answered(b, 1, Asked::Other, 200, 9), NOW);
    assert_eq!(calls(&gateways), 1);
    gateways.answered(&answered(b, 1, Asked::Invite, 487, 9), NOW);
    assert_eq!(calls(&gateways), 0);
    // what comes again ends nothing again
    gateways.answered(&answered(b, 1, Asked::Invite, 487, 9), NOW);
    gateways.bye_left(b, 9, NOW);
    assert_eq!(calls(&gateways), 0);
    assert_eq!(invite(&gateways, named(4), 1, NOW), PASSED);
}

/// A call that is up, of two who answered.
fn forked(gateways: &Gateways, caller: u64) {
    assert_eq!(invite(gateways, caller, 1, NOW), PASSED);
    for other in [11, 12] {
        gateways.answered(&answered(caller, 1, Asked::Invite, 180, other), NOW);
        gateways.answered(&answered(caller, 1, Asked::Invite, 200, other), NOW);
    }
}

#[test]
fn a_call_ends_with_its_last_dialog() {
    let gateways = gateways("cps = 1000\nmax_calls = 10");
    let caller = named(1);
    forked(&gateways, caller);
    gateways.bye_came(caller, 12, NOW);
    gateways.answered(&answered(caller, 2, Asked::Bye, 200, 12), NOW);
    assert_eq!(calls(&gateways), 1, "the other dialog goes on");
    // glare (RFC 3261 §14.1) and whatever else answers a re-INVITE
    for status in [491, 500, 200, 408, 481] {
        gateways.answered(&answered(caller, 3, Asked::Invite, status, 11), NOW);
    }
    assert_eq!(calls(&gateways), 1);
    // a BYE that was challenged is none
    gateways.bye_came(caller, 11, NOW);
    gateways.answered(&answered(caller, 4, Asked::Bye, 407, 11), NOW);
    sweep(&gateways, NOW + 40 * SECOND);
    assert_eq!(calls(&gateways), 1);
    // the softswitch's BYE: From is the other's end
    gateways.bye_left(11, caller, NOW);
    assert_eq!(calls(&gateways), 0);
    // the answer to a BYE that found nothing any more (§12.2.1.2)
    forked(&gateways, named(2));
    for other in [11, 12] {
        gateways.answered(&answered(named(2), 2, Asked::Bye, 481, other), NOW);
    }
    assert_eq!(calls(&gateways), 0);
}

fn sweep(gateways: &Gateways, now: u64) -> Vec<News> {
    let (mut watch, mut news) = (Watch::default(), Vec::new());
    (0..Calls::parts()).for_each(|_| watch.look(gateways, now, |one| news.push(one)));
    news.into_iter().filter(|one| matches!(one, News::LongCall { .. })).collect()
}

#[test]
fn calls_that_have_one_name_are_counted_each() {
    let gateways = gateways("cps = 1000\nmax_calls = 3");
    let caller = named(1);
    forked(&gateways, caller);
    assert_eq!([7, 8].map(|cseq| invite(&gateways, caller, cseq, NOW)), [PASSED, PASSED]);
    assert_eq!([8, 7].map(|cseq| invite(&gateways, caller, cseq, NOW)), [Decision::Again(Ruling::Pass); 2]);
    assert_eq!((calls(&gateways), invite(&gateways, caller, 9, NOW)), (3, FULL));
    assert_eq!(invite(&gateways, caller, 9, NOW), Decision::Again(Ruling::Refuse(Over::Calls)));
    assert!(gateways.refused(caller, 9, NOW) && !gateways.refused(caller, 8, NOW));
    // one is refused by the softswitch, the first ends as calls do
    gateways.answered(&answered(caller, 7, Asked::Invite, 486, 13), NOW);
    assert_eq!(calls(&gateways), 2);
    for other in [11, 12] {
        gateways.bye_left(other, caller, NOW);
    }
    assert_eq!((calls(&gateways), invite(&gateways, caller, 8, NOW)), (1, Decision::Again(Ruling::Pass)));
}

#[test]
fn what_nobody_ends_ends_by_time() {
    let gateways = gateways("cps = 1000\nmax_calls = 10\nmax_duration = \"1h\"");
    let at = |seconds: u64| NOW + seconds * SECOND;
    let counted = |seconds: u64| {
        let news = sweep(&gateways, at(seconds));
        (calls(&gateways), news.len())
    };
    // nobody answers anything: the softswitch is dead
    invite(&gateways, named(1), 1, NOW);
    invite(&gateways, named(1), 1, at(16));
    assert_eq!([counted(47), counted(48)], [(1, 0), (0, 0)]);
    // it rings, and its end is not seen
    invite(&gateways, named(2), 1, NOW);
    gateways.answered(&answered(named(2), 1, Asked::Invite, 180, 9), at(20));
    assert_eq!([counted(319), counted(320)], [(1, 0), (0, 0)]);
    // it was challenged, and not tried again
    invite(&gateways, named(3), 1, NOW);
    gateways.answered(&answered(named(3), 1, Asked::Invite, 401, 9), at(1));
    assert_eq!([counted(32), counted(33)], [(1, 0), (0, 0)]);
    // a BYE whose answer is not seen
    forked(&gateways, named(4));
    gateways.bye_left(12, named(4), at(5));
    gateways.bye_came(named(4), 11, at(10));
    assert_eq!([counted(41), counted(42)], [(1, 0), (0, 0)]);
    // a BYE that is lost: told, since it lasts too long
    forked(&gateways, named(5));
    assert_eq!([counted(3_599), counted(3_600), counted(3_601)], [(1, 0), (0, 1), (0, 0)]);
    let calls = gateways.calls.as_ref().expect("calls");
    assert_eq!((calls.len(), gateways.views(NOW)[0].long_calls), (0, 1));
}

#[test]
fn who_calls_for_help_is_let_pass_and_counted() {
    let gateways = gateways("cps = 1\nburst = 1\nmax_calls = 1");
    assert_eq!([1, 2].map(|n| invite(&gateways, named(n), 1, NOW)), [PASSED, FULL]);
    let urgent = NewCall { urgent: true, ..call(named(3), 1) };
    assert_eq!(gateways.invite(trunk(&gateways), &urgent, ENFORCED, NOW), PASSED);
    assert_eq!(calls(&gateways), 2);
    gateways.answered(&answered(named(3), 1, Asked::Invite, 603, 0), NOW);
    gateways.answered(&answered(named(1), 1, Asked::Invite, 603, 0), NOW);
    assert_eq!(calls(&gateways), 0);
}

#[test]
fn a_rule_that_is_monitored_counts_and_one_that_is_off_does_not_look() {
    let gateways = gateways("cps = 1\nburst = 1\nmax_calls = 2");
    let ask = |n: u64, enforced| gateways.invite(trunk(&gateways), &call(named(n), 1), enforced, NOW);
    assert_eq!(ask(1, MONITORED), PASSED);
    assert_eq!(ask(2, MONITORED), Decision::First(Ruling::Would(Over::Cps)));
    assert_eq!(ask(2, MONITORED), Decision::Again(Ruling::Would(Over::Cps)));
    assert!(matches!(ask(3, MONITORED), Decision::First(Ruling::Would(_))));
    assert_eq!(ask(4, OFF), PASSED);
    let cps = Enforced { enforce: Over::Cps.rule().bit(), monitor: 0 };
    assert_eq!(ask(5, cps), FAST);
    assert_eq!(calls(&gateways), 4, "what passes is counted, whatever it is beyond");
}

#[test]
fn a_reload_takes_the_calls_along() {
    let before = gateways("cps = 1\nburst = 1\nmax_calls = 1");
    assert_eq!(invite(&before, named(1), 1, NOW), PASSED);
    let same = Gateways::of(&one("cps = 1\nburst = 1\nmax_calls = 1"), &before);
    assert!(Arc::ptr_eq(&same, &before));
    let after = Gateways::of(&one("cps = 5\nburst = 5\nmax_calls = 2"), &before);
    assert_eq!((calls(&after), after.views(NOW)[0].passed), (1, 1));
    assert_eq!(invite(&after, named(1), 1, NOW), Decision::Again(Ruling::Pass));
    assert_eq!([2, 3].map(|n| invite(&after, named(n), 1, NOW + SECOND)), [PASSED, FULL]);
    // a worker that has not seen the reload yet ends a call for all
    before.bye_left(9, named(1), NOW);
    before.answered(&answered(named(1), 1, Asked::Invite, 486, 9), NOW);
    assert_eq!(calls(&after), 1);
    // one that leaves: its calls end, and one that comes back begins anew
    let none = Gateways::of(&[], &after);
    assert!(none.is_empty() && none.find(&SRC, 5060).is_none());
    none.answered(&answered(named(2), 1, Asked::Invite, 486, 9), NOW);
    let back = Gateways::of(&one("cps = 5\nmax_calls = 2"), &none);
    assert_eq!(calls(&back), 0);
}

#[test]
fn calls_that_no_limit_holds_for_are_bounded_all_the_same() {
    let gateways = gateways("cps = 10000\nmax_calls = 1");
    for n in 0..50_000 {
        gateways.invite(trunk(&gateways), &call(named(n), 1), OFF, NOW + n);
    }
    let held = gateways.calls.as_ref().expect("calls").len();
    assert_eq!(u64::from(calls(&gateways)), held as u64);
    assert!(held <= 64 * 65 && gateways.evicted() == 50_000 - held as u64, "{held}, {}", gateways.evicted());
    sweep(&gateways, NOW + 40 * SECOND);
    assert_eq!(calls(&gateways), 0);
}

#[test]
fn people_are_told_when_it_begins_and_when_it_is_over() {
    let gateways = gateways("cps = 10\nburst = 1\nmax_calls = 1000");
    let (mut watch, mut news) = (Watch::default(), Vec::new());
    let mut look = |now: u64, news: &mut Vec<News>| watch.look(&gateways, now, |one| news.push(one));
    look(NOW, &mut news);
    for n in 0..200 {
        invite(&gateways, named(n), 1, NOW + n * SECOND / 40);
        look(NOW + n * SECOND / 40, &mut news);
    }
    assert_eq!(news, [News::Beyond { gateway: "a".into(), over: Over::Cps }]);
    assert_eq!(gateways.views(NOW)[0].rate, 40);
    for second in 5..60 {
        look(NOW + second * SECOND, &mut news);
    }
    let Some(News::Calm { gateway, beyond, lasted }) = news.pop() else { panic!("{news:?}") };
    assert_eq!((gateway.as_str(), beyond, news.len()), ("a", gateways.views(NOW)[0].over_cps, 1));
    assert!((3 * SECOND..6 * SECOND).contains(&lasted), "{lasted}");
    assert_eq!(gateways.views(NOW)[0].rate, 0);
}

mod model;
