//! Decisions on disk: what is acknowledged is here first, and is here again after the power fails.
//!
//! One redb file per interface. A decision is a row: the key is family, address, prefix length and kind, the value a
//! JSON object, so that a later version can add a field. Every commit is flushed to the disk before it returns.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use redb::{Builder, Database, DatabaseError, ReadableTable, StorageError, TableDefinition};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::control::decision::{Decision, Kind};
use crate::control::rules::Change;

/// Key of a row: 4 or 6, the address (IPv4 in the first four bytes), the prefix length, the kind's code.
type Key = [u8; 19];

const DECISIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("decisions");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The layout of the rows. Raise it when an older engine would misread them.
const SCHEMA: u64 = 2;
/// The layout without trust. A file stays at it until the first trust, so that whoever has none can go back to an
/// older engine; one that knows no trust would take the file for damaged.
const WITHOUT_TRUST: u64 = 1;
/// The layouts that are read.
const KNOWN: RangeInclusive<u64> = WITHOUT_TRUST..=SCHEMA;

/// The store refused. The message names the file and the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the file open.
    #[error("{path} is in use by another vos-engine: stop that one, or give this one another state_dir")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is no store, or a damaged one.
    #[error(
        "{path} cannot be read as a store of rules ({what}): move it away (mv {path} {path}.broken) and start again; the rules then start empty, so put them back from your own list"
    )]
    Corrupted {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// Written by a newer version.
    #[error(
        "{path} has layout {found}, this version reads up to {SCHEMA}: start the newer vos-engine again, or move the file away; the rules then start empty"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout found.
        found: u64,
    },
    /// The directory or file cannot be made or opened.
    #[error("{path} cannot be opened: {source}; the directory must exist and be writable for vos-engine (state_dir)")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A write did not reach the disk; nothing of it counts.
    #[error(
        "{path} cannot be written, so the change was not made: {what}; free some space or mend the disk and try again"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the store said.
        what: String,
    },
}

/// The value of a row.
#[derive(Serialize, Deserialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    until: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    reason: String,
    origin: String,
    made: u64,
}

/// The open store of one interface.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// `None` after a failed write: redb wants the file opened anew then, and what was committed is intact.
    database: Option<Database>,
}

impl Store {
    /// Opens or makes the file (mode 0600, its directory 0700) and reads every decision in it.
    pub fn open(path: &Path) -> Result<(Self, Vec<Decision>), StoreError> {
        let what_panicked =
            |_| StoreError::Corrupted { path: path.into(), what: "its pages contradict each other".into() };
        // redb trusts the pages it reads; a damaged file must be told, not crash the engine.
        catch_unwind(AssertUnwindSafe(|| {
            let store = Self { path: path.into(), database: Some(open_database(path)?) };
            let decisions = store.load()?;
            Ok((store, decisions))
        }))
        .unwrap_or_else(|panic| Err(what_panicked(panic)))
    }

    /// Makes all these changes durable, or none.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(&self.path)?,
        };
        match commit(&database, changes) {
            Ok(()) => {
                self.database = Some(database);
                Ok(())
            }
            Err(error) => Err(StoreError::Write { path: self.path.clone(), what: error.to_string() }),
        }
    }

    fn load(&self) -> Result<Vec<Decision>, StoreError> {
        let Some(database) = &self.database else {
            return Ok(Vec::new());
        };
        let corrupted = |what: String| StoreError::Corrupted { path: self.path.clone(), what };
        let read = || -> Result<_, redb::Error> {
            let transaction = database.begin_write()?;
            let schema = {
                let mut meta = transaction.open_table(META)?;
                let schema = meta.get("schema")?.map(|value| value.value());
                if schema.is_none() {
                    meta.insert("schema", WITHOUT_TRUST)?;
                }
                schema.unwrap_or(WITHOUT_TRUST)
            };
            let mut rows = Vec::new();
            if KNOWN.contains(&schema) {
                for row in transaction.open_table(DECISIONS)?.iter()? {
                    let (key, value) = row?;
                    rows.push(decode(key.value(), value.value()));
                }
            }
            transaction.commit()?;
            Ok((schema, rows))
        };
        let (schema, rows) = read().map_err(|error| corrupted(error.to_string()))?;
        if !KNOWN.contains(&schema) {
            return Err(StoreError::Newer { path: self.path.clone(), found: schema });
        }
        let mut shared = Shared::default();
        let rows = rows.into_iter().map(|row| row.map(|(net, kind, row)| shared.decision(net, kind, row)));
        rows.collect::<Result<_, _>>().map_err(corrupted)
    }
}

/// One copy of each text: a list of a million addresses has one reason.
#[derive(Default)]
struct Shared(HashMap<String, Arc<str>>);

impl Shared {
    fn text(&mut self, text: String) -> Arc<str> {
        let shared: Arc<str> = text.as_str().into();
        self.0.entry(text).or_insert(shared).clone()
    }

    fn decision(&mut self, net: IpNet, kind: Kind, row: Row) -> Decision {
        let (reason, origin) = (self.text(row.reason), self.text(row.origin));
        Decision { net, kind, until: row.until, reason, origin, made: row.made }
    }
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    let opened = |source| StoreError::Open { path: path.into(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(opened)?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(opened)?;
    // The name must survive as well as the contents.
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(opened)?;
    Builder::new().create_file(file).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: path.into() },
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            opened(source)
        }
        other => StoreError::Corrupted { path: path.into(), what: other.to_string() },
    })
}

fn commit(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    if changes.iter().any(|change| matches!(change, Change::Put(decision) if decision.kind == Kind::Trust)) {
        transaction.open_table(META)?.insert("schema", SCHEMA)?;
    }
    {
        let mut table = transaction.open_table(DECISIONS)?;
        for change in changes {
            match change {
                Change::Put(decision) => {
                    let (key, row) = encode(decision);
                    table.insert(key.as_slice(), row.as_slice())?;
                }
                Change::Remove(net, kind) => {
                    table.remove(key(*net, *kind).as_slice())?;
                }
            }
        }
    }
    Ok(transaction.commit()?)
}

const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Trust => b't',
        Kind::Block => b'b',
        Kind::Allow => b'a',
    }
}

fn key(net: IpNet, kind: Kind) -> Key {
    let mut key = [0; 19];
    match net {
        IpNet::V4(v4) => {
            key[0] = 4;
            key[1..5].copy_from_slice(&v4.addr().octets());
        }
        IpNet::V6(v6) => {
            key[0] = 6;
            key[1..17].copy_from_slice(&v6.addr().octets());
        }
    }
    key[17] = net.prefix_len();
    key[18] = code(kind);
    key
}

fn encode(decision: &Decision) -> (Key, Vec<u8>) {
    let row = Row {
        until: decision.until,
        reason: decision.reason.to_string(),
        origin: decision.origin.to_string(),
        made: decision.made,
    };
    // numbers and strings always have a JSON form
    (key(decision.net, decision.kind), serde_json::to_vec(&row).unwrap_or_default())
}

fn decode(key: &[u8], value: &[u8]) -> Result<(IpNet, Kind, Row), String> {
    let wrong = || "a row has an impossible key".to_owned();
    let key: &Key = key.try_into().map_err(|_| wrong())?;
    let [family, address @ .., length, kind] = key;
    let address = match (family, address) {
        (4, [a, b, c, d, ..]) => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)),
        (6, address) => IpAddr::V6(Ipv6Addr::from(*address)),
        _ => return Err(wrong()),
    };
    let net = IpNet::new(address, *length).map_err(|_| wrong())?;
    if net.trunc() != net {
        return Err(wrong());
    }
    let kind = Kind::ALL.into_iter().find(|k| code(*k) == *kind).ok_or_else(wrong)?;
    let row = serde_json::from_slice(value).map_err(|error| format!("the row of {net}: {error}"))?;
    Ok((net, kind, row))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn decision(net: &str, kind: Kind, until: Option<u64>) -> Decision {
        let net = net.parse().expect(net);
        Decision { net, kind, until, reason: "why \u{1b}[31m".into(), origin: "test".into(), made: 7 }
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

    fn filled(path: &Path) {
        let (mut store, none) = Store::open(path).expect("a new file");
        assert!(none.is_empty());
        let changes: Vec<Change> = sample().into_iter().map(Change::Put).collect();
        store.commit(&changes).expect("room");
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("state/eth0.redb");
        filled(&path);
        let (mut store, decisions) = Store::open(&path).expect("it is whole");
        assert_eq!(decisions, sample());
        let net = "10.0.0.0/8".parse().expect("a net");
        let changes = [Change::Remove(net, Kind::Allow), Change::Put(decision("10.0.0.0/8", Kind::Block, None))];
        store.commit(&changes).expect("room");
        drop(store);
        let (_, decisions) = Store::open(&path).expect("it is whole");
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
        assert!(
            message.contains("eth0.redb") && message.contains("mv ") && message.contains("start empty"),
            "{message}"
        );
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
        for (kind, row) in [(b'a', r#"{"until":9,"origin":"test","made":7}"#), (b'b', r#"{"origin":"test","made":7}"#)]
        {
            let key: Key = [4, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, kind];
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
        assert_eq!(kinds(&read), [(Kind::Allow, Some(9)), (Kind::Block, None)]);
        store.commit(&[Change::Put(decision("10.0.0.0/8", Kind::Allow, None))]).expect("room");
        assert_eq!(layout(&store), 1);
        store.commit(&[Change::Put(decision("10.0.0.0/8", Kind::Trust, Some(5)))]).expect("room");
        assert_eq!(layout(&store), 2);
        drop(store);
        let (_, read) = Store::open(&path).expect("it is whole");
        assert_eq!(kinds(&read), [(Kind::Allow, None), (Kind::Block, None), (Kind::Trust, Some(5))]);
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
                Ok((_, decisions)) => prop_assert!(decisions.iter().all(|d| d.net.trunc() == d.net)),
                Err(error) => prop_assert!(error.to_string().contains("eth0.redb")),
            }
        }
    }
}
