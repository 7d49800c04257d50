use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::control::decision::{Kind, Made};
use crate::control::stamp::Stamp;

fn row(at: u32, reason: &str) -> Logged {
    let net: ipnet::Ipv4Net = ipnet::Ipv4Net::new(at.into(), 32).expect("a host");
    let made = Made { stamp: Stamp::of_seconds(7), node: "a".into(), offset: u64::from(at) };
    Logged { reason: reason.into(), ..Logged::removed((net.into(), Kind::Block), made.stamp).of(&made) }
}

fn message(body: Body) -> Message {
    Message::new(&"a".into(), 9, body)
}

#[test]
fn what_is_written_is_read() {
    let entry = Entry { node: "a".into(), sequence: 3, changes: vec![row(1, "why")] };
    let part = parts(Snapshot { place: 5.into(), nodes: vec![("a".into(), 3)], rows: vec![row(1, "")] }, 4, true);
    let bodies = [
        Body::Entry(entry),
        Body::Hello(Hello { id: 1, wants_snapshot: true }),
        Body::Part(part.into_iter().next().expect("a piece")),
        Body::Forget("gone".into()),
    ];
    for body in bodies {
        let bytes = message(body.clone()).bytes();
        assert_eq!(Message::read(&bytes), Ok(("a".into(), 9, body)));
    }
}

#[test]
fn an_entry_looks_so() {
    // other versions read it: a change here is a new version
    let entry = Entry { node: "a".into(), sequence: 3, changes: vec![row(1, "")] };
    let text = String::from_utf8(message(Body::Entry(entry)).bytes()).expect("text");
    let change = r#"{"net":"0.0.0.1/32","kind":"block","removed":true,"made":458752000,"node":"a","offset":1}"#;
    assert_eq!(
        text,
        format!(r#"{{"v":1,"node":"a","run":9,"entry":{{"node":"a","sequence":3,"changes":[{change}]}}}}"#)
    );
}

#[test]
fn what_is_no_message_is_told_from_what_is_newer() {
    let junk = |text: &str| matches!(Message::read(text.as_bytes()), Err(BadMessage::Junk(_)));
    for text in ["", "nonsense", "{}", "[]", "null", r#"{"v":"1"}"#, r#"{"v":1,"node":"a","run":1}"#, "\u{0}"] {
        assert!(junk(text), "{text}");
    }
    let two = r#"{"v":1,"node":"a","run":1,"hello":{"id":1},"entry":{"node":"a","sequence":1,"changes":[]}}"#;
    let for_another = r#"{"v":1,"node":"a","run":1,"entry":{"node":"b","sequence":1,"changes":[]}}"#;
    assert!(junk(two) && junk(for_another));
    assert_eq!(Message::read(br#"{"v":2,"anything":"else"}"#), Err(BadMessage::Version(2)));
    let long = vec![b' '; MESSAGE_MAX + 1];
    assert_eq!(Message::read(&long), Err(BadMessage::Long(MESSAGE_MAX + 1)));
}

#[test]
fn pieces_are_small_and_together_all_of_it() {
    let nasty = "\u{1}".repeat(256);
    let rows: Vec<Logged> = (0..3_000).map(|at| row(at, &nasty)).collect();
    let nodes = vec![("a".into(), 3)];
    let pieces =
        parts(Snapshot { place: Place { next: 5, mark: 6 }, nodes: nodes.clone(), rows: rows.clone() }, 4, false);
    assert!(pieces.len() > 2);
    let mut seen = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let bytes = message(Body::Part(piece.clone())).bytes();
        assert!(bytes.len() < 1_000_000, "{}", bytes.len());
        let head = PartHead { id: 4, part: at as u32, of: pieces.len() as u32, next: 5, mark: 6 };
        assert_eq!(glance(&bytes), Some(head));
        let is_last = at + 1 == pieces.len();
        assert_eq!(piece.nodes, if is_last { nodes.clone() } else { Vec::new() });
        seen.extend(piece.rows.clone());
    }
    assert_eq!(seen, rows);
    let nothing = parts(Snapshot { place: 5.into(), nodes: Vec::new(), rows: Vec::new() }, 4, false);
    assert_eq!(nothing.len(), 1, "also of nothing there is a piece, which says how far it goes");
}

#[test]
fn only_a_piece_is_taken_for_one() {
    assert_eq!(glance(&message(Body::Hello(Hello { id: 1, wants_snapshot: false })).bytes()), None);
    assert_eq!(glance(b"junk"), None);
    let beyond = r#"{"v":1,"node":"a","run":1,"part":{"head":{"id":1,"part":2,"of":2,"next":1,"mark":1},"rows":[]}}"#;
    assert_eq!(glance(beyond.as_bytes()), None);
}

#[test]
fn another_message_has_another_mark() {
    assert!(mark(b"a") != mark(b"b") && mark(b"") != 0);
    assert_eq!(mark(b"a"), mark(b"a"));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in vec(any::<u8>(), 0..300)) {
        let read = Message::read(&bytes);
        prop_assert!(matches!(read, Err(BadMessage::Junk(_) | BadMessage::Version(_))), "{read:?}");
        prop_assert_eq!(glance(&bytes), None);
    }

    /// What a broken disk or another program makes of a message: it is read as something, or refused.
    #[test]
    fn nor_is_a_message_with_a_byte_changed(at in 0usize..400, byte in any::<u8>()) {
        let rows = vec![row(1, "why")];
        let part = parts(Snapshot { place: 5.into(), nodes: vec![("a".into(), 3)], rows: rows.clone() }, 4, true);
        let entry = Body::Entry(Entry { node: "a".into(), sequence: 3, changes: rows });
        for body in part.into_iter().map(Body::Part).chain([entry]) {
            let mut bytes = message(body).bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _either = (Message::read(&bytes), glance(&bytes));
        }
    }
}
