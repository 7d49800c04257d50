use super::*;

const NOW: u64 = 7_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// From a caller at this port.
fn path(port: u16) -> Path {
    let end = |last, port| End { addr: Addr::v4([203, 0, 113, last]), port };
    Path::new(end(7, port), end(1, 5060))
}

/// Both ends, without what a table says of its own.
fn ends(path: Option<Path>) -> Option<(End, End)> {
    path.map(|path| (path.caller, path.own))
}

#[test]
fn both_ends_of_either_family_come_back_as_they_were() {
    let v6 =
        End { addr: Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), port: 65_535 };
    for path in [path(1), Path { caller: v6, own: End { port: 1, ..v6 }, mark: u32::MAX }] {
        assert_eq!(Path::of(path.words()), path);
    }
}

#[test]
fn who_asks_first_gets_the_answer() {
    let paths = Paths::new();
    paths.asked(1, path(5060), NOW);
    paths.asked(1, path(6666), NOW + SECOND);
    assert_eq!(paths.answered(1, false, NOW + 2 * SECOND), Some(path(5060)));
    assert_eq!(paths.answered(2, false, NOW), None);
    // long after, the name is free
    let later = NOW + 2 * SECOND + TRANSACTION;
    paths.asked(1, path(6666), later);
    assert_eq!(paths.answered(1, false, later), Some(path(6666)));
}

#[test]
fn what_rings_is_remembered_longer_than_timer_c() {
    let paths = Paths::new();
    paths.asked(1, path(5060), NOW);
    let answers = |at| paths.answered(1, true, at).is_some();
    // a 100, a 180, and another with every minute (RFC 3261 §13.3.1.1); one is lost
    assert!(answers(NOW) && answers(NOW + 60 * SECOND) && answers(NOW + 180 * SECOND));
    let last = NOW + 180 * SECOND;
    // a retransmission of the request changes nothing of it
    paths.asked(1, path(5060), last + SECOND);
    assert!(paths.answered(1, false, last + 181 * SECOND).is_some());
    assert!(paths.answered(1, false, last + 181 * SECOND + TRANSACTION).is_none());
}

#[test]
fn callers_and_softswitch_may_use_one_name() {
    let paths = Paths::new();
    paths.asked(1, path(5060), NOW);
    paths.asked_by_backend(1, path(5070), 63, NOW);
    assert_eq!(paths.answered(1, false, NOW), Some(path(5060)));
    let (asked, slot) = paths.answered_to_backend(1, false, NOW).expect("asked");
    assert_eq!((ends(Some(asked)), slot), (ends(Some(path(5070))), 63));
}

#[test]
fn a_caller_that_moves_is_followed_in_its_dialog() {
    let paths = Paths::new();
    paths.takes_part(9, Some(8), path(5060), NOW);
    paths.takes_part(9, None, path(6000), NOW + SECOND);
    // an early answer does not cut its life short
    assert_eq!(ends(paths.participant(9, NOW + DIALOG - SECOND)), ends(Some(path(6000))));
    assert_eq!(paths.participant(9, NOW + DIALOG), None);
}

#[test]
fn a_dialog_that_has_ended_is_soon_forgotten() {
    let paths = Paths::new();
    let caller = path(5060).caller.addr;
    let there = |own, at| paths.participant(own, at).is_some();
    for (own, with) in [(1, 2), (2, 1), (3, 4), (5, 6), (6, 5), (7, 6)] {
        // it rings elsewhere first
        paths.takes_part(own, None, path(5060), NOW);
        paths.takes_part(own, Some(with), path(5060), NOW);
        paths.takes_part(own, Some(with), path(5060), NOW);
    }
    // One that was called twice by a fork.
    paths.takes_part(6, Some(7), path(5060), NOW);
    // The one hangs up, and the other says so.
    assert!(paths.ended(2, 1, &caller, NOW) && paths.ended(1, 2, &caller, NOW + SECOND));
    assert!(there(2, NOW + ENDED - 1) && !there(2, NOW + ENDED) && !there(1, NOW + SECOND + ENDED));
    // another's word, another's tag, nobody's
    let other = Addr::v4([203, 0, 113, 66]);
    assert!(!paths.ended(3, 4, &other, NOW) && !paths.ended(3, 5, &caller, NOW) && !paths.ended(9, 9, &caller, NOW));
    assert!(there(3, NOW + DIALOG - 1));
    // The fork's second answer is ended, its first goes on.
    assert!(!paths.ended(6, 7, &caller, NOW) && !paths.ended(7, 6, &caller, NOW));
    assert!(there(6, NOW + DIALOG - 1) && there(5, NOW + DIALOG - 1) && !there(7, NOW + ENDED));
}

#[test]
fn only_what_was_asked_for_is_registered() {
    let paths = Paths::new();
    paths.would_register(1, 100, path(5060), NOW);
    assert_eq!(paths.at_contact(100, Some(7), NOW), None);
    paths.registered(1, 100, 7, NOW);
    // another phone's binding, which the answer lists, too
    paths.registered(1, 101, 7, NOW);
    assert_eq!(ends(paths.at_contact(100, Some(7), NOW)), ends(Some(path(5060))));
    // whoever the request is for, there is but one at this contact
    assert_eq!(ends(paths.at_contact(100, Some(8), NOW)), ends(Some(path(5060))));
    assert_eq!(ends(paths.at_contact(100, None, NOW)), ends(Some(path(5060))));
    assert_eq!(paths.at_contact(101, Some(7), NOW), None);
    assert_eq!(paths.at_contact(100, Some(7), NOW + REGISTRATION), None);
}

#[test]
fn one_contact_of_several_is_nobodys_but_for_whom_it_is_meant() {
    let paths = Paths::new();
    for (transaction, aor, port) in [(1, 7, 5060), (2, 8, 6060)] {
        paths.would_register(transaction, 100, path(port), NOW);
        paths.registered(transaction, 100, aor, NOW);
    }
    // again and again
    paths.registered(2, 100, 8, NOW);
    assert_eq!(ends(paths.at_contact(100, Some(7), NOW)), ends(Some(path(5060))));
    assert_eq!(ends(paths.at_contact(100, Some(8), NOW)), ends(Some(path(6060))));
    assert_eq!((paths.at_contact(100, Some(9), NOW), paths.at_contact(100, None, NOW)), (None, None));
}

#[test]
fn a_contact_is_one_phones_again_when_the_other_renews_no_more() {
    let paths = Paths::new();
    let registers = |aor: u64, now| {
        // its port says who it is
        paths.would_register(aor, 100, path(aor as u16), now);
        paths.registered(aor, 100, aor, now);
    };
    let hour = 3_600 * SECOND;
    let at = |now| ends(paths.at_contact(100, None, now));
    registers(7, NOW);
    registers(8, NOW + SECOND);
    // both renew, for days
    (1..72).for_each(|hours| {
        registers(7 + hours % 2, NOW + hours * hour);
        assert_eq!(at(NOW + hours * hour), None);
    });
    // now only this one
    (72..120).for_each(|hours| registers(7, NOW + hours * hour));
    assert_eq!(at(NOW + 119 * hour), ends(Some(path(7))));
}

#[test]
fn a_phone_whose_nat_has_moved_is_found_where_it_is() {
    let paths = Paths::new();
    for (transaction, port) in [(1, 5060), (2, 6060)] {
        paths.would_register(transaction, 100, path(port), NOW);
        paths.registered(transaction, 100, 7, NOW);
    }
    assert_eq!(ends(paths.at_contact(100, Some(7), NOW)), ends(Some(path(6060))));
    assert_eq!(ends(paths.at_contact(100, None, NOW)), ends(Some(path(6060))));
}
