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
    paths.takes_part(9, path(5060), false, NOW);
    paths.takes_part(9, path(6000), true, NOW + SECOND);
    // an early answer does not cut its life short
    assert_eq!(paths.participant(9, NOW + DIALOG - SECOND), Some(path(6000)));
    assert_eq!(paths.participant(9, NOW + DIALOG), None);
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
fn a_phone_whose_nat_has_moved_is_found_where_it_is() {
    let paths = Paths::new();
    for (transaction, port) in [(1, 5060), (2, 6060)] {
        paths.would_register(transaction, 100, path(port), NOW);
        paths.registered(transaction, 100, 7, NOW);
    }
    assert_eq!(ends(paths.at_contact(100, Some(7), NOW)), ends(Some(path(6060))));
    assert_eq!(ends(paths.at_contact(100, None, NOW)), ends(Some(path(6060))));
}
