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
fn a_directory_in_the_place_of_the_file_is_an_error_with_the_path() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = Store::open(directory.path()).expect_err("a directory");
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Bytes overwritten or the end cut off: the store opens with decisions or says what is wrong, and lives.
    #[test]
    fn damage_is_told_and_never_a_panic(at in 0.0_f64..1.0, length in 1_usize..4_096, byte: u8, cut: bool) {
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
