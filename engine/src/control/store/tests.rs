//! What was committed is there; what is damaged is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use redb::ReadableTable;

use super::tables::{DECISIONS, META, SCHEMA};
use super::*;
use crate::control::decision::Kind;
use crate::control::decision::{Made, Origin};

fn decision(net: &str, kind: Kind, until: Option<u64>) -> Decision {
    let net = net.parse().expect(net);
    Decision {
        net,
        kind,
        until,
        reason: "why \u{1b}[31m".into(),
        origin: Origin::File,
        who: "test".into(),
        made: Made::at(7),
    }
}

fn sample() -> Vec<Decision> {
    vec![
        decision("10.0.0.0/8", Kind::Allow, None),
        decision("10.0.0.0/8", Kind::Block, Some(9)),
        decision("10.0.0.0/8", Kind::Trust, Some(9)),
        decision("203.0.113.7/32", Kind::Block, Some(u64::MAX)),
        decision("2001:db8::/48", Kind::Block, None),
    ]
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch { changes, ..Batch::default() }
}

fn filled(path: &Path) {
    let (mut store, none) = Store::open(path).expect("a new file");
    assert!(none.decisions.is_empty());
    let changes: Vec<Change> = sample().into_iter().map(Change::Put).collect();
    store.commit(&batch(changes)).expect("room");
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state/eth0.redb");
    filled(&path);
    let (mut store, Loaded { decisions, .. }) = Store::open(&path).expect("it is whole");
    assert_eq!(decisions, sample());
    let net = "10.0.0.0/8".parse().expect("a net");
    let changes = vec![Change::Remove(net, Kind::Allow), Change::Put(decision("10.0.0.0/8", Kind::Block, None))];
    store.commit(&batch(changes)).expect("room");
    drop(store);
    let (_, Loaded { decisions, .. }) = Store::open(&path).expect("it is whole");
    assert_eq!(decisions.len(), 4);
    assert_eq!(decisions[0], decision("10.0.0.0/8", Kind::Block, None));
}

#[test]
fn nobody_else_reads_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("state/eth0.redb");
    filled(&path);
    let mode = |path: &Path| fs::metadata(path).expect("made").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&directory.path().join("state"))), (0o600, 0o700));
}

#[test]
fn a_second_engine_is_told_that_the_first_has_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("eth0.redb");
    let _first = Store::open(&path).expect("a new file");
    let error = Store::open(&path).expect_err("in use");
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("eth0.redb is in use by another vos-engine"), "{error}");
}

#[test]
fn what_is_no_store_is_named_with_the_way_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("eth0.redb");
    fs::write(&path, "this is not a store".repeat(1_000)).expect("written");
    let error = Store::open(&path).expect_err("not a store");
    assert!(matches!(error, StoreError::Corrupted { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("eth0.redb") && message.contains("mv ") && message.contains("start empty"), "{message}");
    assert_eq!(fs::read_to_string(&path).expect("left alone").len(), 19_000);
}

#[test]
fn a_newer_layout_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("eth0.redb");
    filled(&path);
    let database = Database::open(&path).expect("closed");
    let transaction = database.begin_write().expect("alone");
    transaction.open_table(META).expect("there").insert("schema", SCHEMA + 1).expect("room");
    transaction.commit().expect("room");
    drop(database);
    assert!(matches!(Store::open(&path), Err(StoreError::Newer { found: 3, .. })));
}

#[test]
fn a_file_of_before_there_was_trust_is_read_and_stays_readable_until_there_is_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("eth0.redb");
    let database = Database::create(&path).expect("a new file");
    let transaction = database.begin_write().expect("alone");
    transaction.open_table(META).expect("new").insert("schema", 1).expect("room");
    for (kind, row) in [(b'a', r#"{"until":9,"origin":"test","made":7}"#), (b'b', r#"{"origin":"test","made":7}"#)] {
        let key: row::RawKey = [4, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, kind];
        let mut table = transaction.open_table(DECISIONS).expect("new");
        table.insert(key.as_slice(), row.as_bytes()).expect("room");
    }
    transaction.commit().expect("room");
    drop(database);
    let layout = |store: &Store| {
        let transaction = store.database.as_ref().expect("open").begin_write().expect("alone");
        let meta = transaction.open_table(META).expect("there");
        meta.get("schema").expect("readable").expect("there").value()
    };
    let (mut store, read) = Store::open(&path).expect("it is whole");
    let kinds = |decisions: &[Decision]| decisions.iter().map(|d| (d.kind, d.until)).collect::<Vec<_>>();
    assert_eq!(kinds(&read.decisions), [(Kind::Allow, Some(9)), (Kind::Block, None)]);
    store.commit(&batch(vec![Change::Put(decision("10.0.0.0/8", Kind::Allow, None))])).expect("room");
    assert_eq!(layout(&store), 1);
    store.commit(&batch(vec![Change::Put(decision("10.0.0.0/8", Kind::Trust, Some(5)))])).expect("room");
    assert_eq!(layout(&store), 2);
    drop(store);
    let (_, read) = Store::open(&path).expect("it is whole");
    assert_eq!(kinds(&read.decisions), [(Kind::Allow, None), (Kind::Block, None), (Kind::Trust, Some(5))]);
}

#[test]
fn rows_of_earlier_engines_say_who_decided_and_when() {
    for layout in [1, 2] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("eth0.redb");
        let database = Database::create(&path).expect("a new file");
        let transaction = database.begin_write().expect("alone");
        transaction.open_table(META).expect("new").insert("schema", layout).expect("room");
        let row = r#"{"until":9000000000,"reason":"scan","origin":"api uid 0","made":1700000000}"#;
        let key: row::RawKey = [6, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, b'b'];
        let mut table = transaction.open_table(DECISIONS).expect("new");
        table.insert(key.as_slice(), row.as_bytes()).expect("room");
        drop(table);
        transaction.commit().expect("room");
        drop(database);
        let (_, read) = Store::open(&path).expect("it is whole");
        let expected = Decision {
            net: "2001:db8::/32".parse().expect("a net"),
            kind: Kind::Block,
            until: Some(9_000_000_000),
            reason: "scan".into(),
            origin: Origin::Api,
            who: "uid 0".into(),
            made: Made::at(1_700_000_000),
        };
        assert_eq!(read.decisions, [expected]);
        assert!(read.sets.is_empty() && read.outbox.is_empty() && read.graves.is_empty() && read.places.is_empty());
    }
}

#[test]
fn everything_else_that_is_stored_is_read_as_it_was() {
    use crate::control::log::Logged;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("eth0.redb");
    let (mut store, _) = Store::open(&path).expect("a new file");
    let made = Made { stamp: Stamp::of_bits(77), node: "a".into(), offset: 5 };
    let before = Decision { made: made.clone(), ..decision("10.0.0.1/32", Kind::Block, Some(99)) };
    let set = |number| Set {
        number,
        time: 5,
        origin: Origin::Cli,
        who: "root".into(),
        what: "import \u{1b}".into(),
        count: 3,
        undone_by: None,
        undoes: Some(1),
    };
    let step = |net: &str, until, before| Step {
        key: (net.parse().expect("a net"), Kind::Block),
        made: Stamp::of_bits(78),
        until,
        before,
    };
    let steps = [
        step("10.0.0.1/32", Some(None), Some(before.clone())),
        step("10.0.0.2/32", Some(Some(9)), None),
        step("10.0.0.3/32", None, Some(Decision { net: "10.0.0.3/32".parse().expect("a net"), ..before.clone() })),
    ];
    let entry = Entry { node: "a".into(), sequence: 9, changes: vec![Logged::put(&before)] };
    let grave = Grave { made: made.clone(), keep: 1_000 };
    let held = Held { decision: before.clone(), why: "it would block".into() };
    let all = Batch {
        changes: vec![Change::Put(before.clone())],
        graves: vec![(steps[1].key, Some(grave.clone()))],
        held: vec![(before.key(), Some(held))],
        posted: vec![entry.clone(), Entry { sequence: 10, ..entry.clone() }],
        nodes: vec![("b".into(), 4)],
        place: Some(("log".into(), 6.into())),
        clock: Some((Stamp::of_bits(79), 10)),
        sets: vec![set(2), set(3)],
        steps: steps.iter().flat_map(|step| [(2, step.clone()), (3, step.clone())]).collect(),
        ..Batch::default()
    };
    store.commit(&all).expect("room");
    store.commit(&Batch { sent: vec![9], forget: Some(2), ..Batch::default() }).expect("room");
    drop(store);
    let (mut store, read) = Store::open(&path).expect("whole");
    assert_eq!(read.decisions, std::slice::from_ref(&before));
    assert_eq!(read.graves, BTreeMap::from([(steps[1].key, grave)]));
    assert_eq!(read.held, HashMap::from([(before.key(), "it would block".to_owned())]));
    assert_eq!(
        (read.nodes, read.places),
        (HashMap::from([("b".into(), 4)]), HashMap::from([("log".into(), 6.into())]))
    );
    assert_eq!((read.stamp, read.sequence, read.outbox), (Stamp::of_bits(79), 10, BTreeSet::from([10])));
    assert_eq!(read.sets, BTreeMap::from([(3, set(3))]));
    assert_eq!(store.outbox(5).expect("readable"), [Entry { sequence: 10, ..entry }]);
    assert_eq!(store.steps(3, None, 9).expect("readable"), steps);
    assert_eq!(store.steps(3, Some(steps[0].key), 1).expect("readable"), steps[1..2]);
    // the steps of a set that is forgotten go by and by
    assert!(store.tidy(3, 2).expect("room") && store.tidy(3, 2).expect("room") && !store.tidy(3, 2).expect("room"));
    assert_eq!(
        (store.steps(2, None, 9).expect("readable").len(), store.steps(3, None, 9).expect("readable").len()),
        (0, 3)
    );
}

#[test]
fn a_directory_in_the_place_of_the_file_is_an_error_with_the_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = Store::open(directory.path()).expect_err("a directory");
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}

/// Spoils a store here and there, and opens and closes it.
fn damage(at: f64, length: usize, byte: u8, cut: bool) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("eth0.redb");
    filled(&path);
    let mut bytes = fs::read(&path).expect("written");
    // the beginning is where the trees are
    let at = ((bytes.len().min(64 * 1024) - 1) as f64 * at) as usize;
    if cut {
        bytes.truncate(at);
    } else {
        let end = (at + length).min(bytes.len());
        bytes[at..end].fill(byte);
    }
    fs::write(&path, &bytes).expect("written");
    match Store::open(&path) {
        Ok((_, loaded)) => prop_assert!(loaded.decisions.iter().all(|d| d.net.trunc() == d.net)),
        Err(error) => prop_assert!(error.to_string().contains("eth0.redb")),
    }
    Ok(())
}

#[test]
fn damage_that_shows_when_the_store_is_closed_is_no_panic() {
    damage(0.147_2, 5, 65, false).expect("told");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Bytes overwritten or the end cut off: the store opens with decisions or says what is wrong, and lives.
    #[test]
    fn damage_is_told_and_never_a_panic(at in 0.0_f64..1.0, length in 1_usize..4_096, byte: u8, cut: bool) {
        damage(at, length, byte, cut)?;
    }
}

#[test]
fn each_log_has_its_place_and_what_tells_it_from_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("eth0.redb");
    let (mut store, _) = Store::open(&path).expect("a new file");
    let places = [("vos.decisions", Place { next: 7, mark: u64::MAX }), ("other", Place::default())];
    for (log, place) in places {
        store.commit(&Batch { place: Some((log.to_owned(), place)), ..Batch::default() }).expect("room");
    }
    drop(store);
    let (_, loaded) = Store::open(&path).expect("it is whole");
    assert_eq!(loaded.places, places.map(|(log, place)| (log.to_owned(), place)).into());
}
