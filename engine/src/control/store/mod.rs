//! Decisions on disk: what is acknowledged is here first, and is here again after the power fails.
//!
//! One redb file per interface. A decision is a row: the key is family, address, prefix length and kind, the value a
//! JSON object, so that a later version can add a field. Beside the decisions lie what a cluster needs (what is still to
//! be told, what was read, what is gone) and what was there before each command, so that it can be taken back. All of a
//! [`Batch`] is on the disk when [`Store::commit`] returns, or nothing of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a row looks like.
mod row;

use crate::control::decision::{Decision, Key, Kind};
use crate::control::history::{Set, Step};
use crate::control::log::{Entry, Grave, Place};
use crate::control::rules::Change;
use crate::control::stamp::Stamp;
use row::{RawMade, Row, raw_key, read_key};

pub(crate) use row::Texts;

/// Decisions in force and to come, by raw key.
const DECISIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("decisions");
/// What was decided and is gone, by raw key.
const GRAVES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("graves");
/// Why a decision of another node's is not in force here, by raw key.
const HELD: TableDefinition<'_, &[u8], &str> = TableDefinition::new("held");
/// What the log has not got yet, by sequence.
const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
/// The last sequence read of each node.
const NODES: TableDefinition<'_, &str, u64> = TableDefinition::new("nodes");
/// How far each log has been read: the next offset, and by the log's name and [`MARK`] what tells it from another.
const PLACES: TableDefinition<'_, &str, u64> = TableDefinition::new("places");
/// No log's name holds it.
const MARK: char = '#';
/// What was changed together, by number.
const SETS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sets");
/// What was there before, by number of the set and raw key.
const STEPS: TableDefinition<'_, (u64, &[u8]), &[u8]> = TableDefinition::new("steps");
/// Layout, clock, sequence.
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

/// What becomes durable together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Decisions that come and go.
    pub changes: Vec<Change>,
    /// Graves that come and go.
    pub graves: Vec<(Key, Option<Grave>)>,
    /// What is held back here, and why; or no longer.
    pub held: Vec<(Key, Option<String>)>,
    /// What the log is to get.
    pub posted: Vec<Entry>,
    /// What the log has got, or is not to get after all: sequences.
    pub sent: Vec<u64>,
    /// Sequences read, by node.
    pub nodes: Vec<(Arc<str>, u64)>,
    /// How far a log was read: its name and the place.
    pub place: Option<(String, Place)>,
    /// The clock, and the sequence of the last entry.
    pub clock: Option<(Stamp, u64)>,
    /// Sets that begin, go on, or were undone.
    pub sets: Vec<Set>,
    /// What was there before each of their changes.
    pub steps: Vec<(u64, Step)>,
    /// Sets that never were.
    pub lost_sets: Vec<u64>,
    /// Changes that never were.
    pub lost_steps: Vec<(u64, Key)>,
    /// Sets that are forgotten: all up to this.
    pub forget: Option<u64>,
}

/// All that was stored.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Decisions, those that have ended among them.
    pub decisions: Vec<Decision>,
    /// Why some are not in force here.
    pub held: HashMap<Key, String>,
    /// What is gone.
    pub graves: HashMap<Key, Grave>,
    /// The last sequence read, by node.
    pub nodes: HashMap<Arc<str>, u64>,
    /// How far each log was read, by its name.
    pub places: HashMap<String, Place>,
    /// The last stamp.
    pub stamp: Stamp,
    /// The last sequence.
    pub sequence: u64,
    /// Sets, by number.
    pub sets: BTreeMap<u64, Set>,
    /// How many entries the log has not got yet.
    pub outbox: u64,
}

/// The value of a grave's row.
#[derive(Serialize, Deserialize)]
struct GraveRow {
    keep: u64,
    #[serde(flatten)]
    made: RawMade,
}

/// The open store of one interface.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// `None` after a failed write: redb wants the file opened anew then, and what was committed is intact.
    database: Option<Database>,
    /// Transactions that reached the disk, and those that did not.
    commits: (u64, u64),
}

impl Store {
    /// Opens or makes the file (mode 0600, its directory 0700) and reads all of it.
    pub fn open(path: &Path) -> Result<(Self, Loaded), StoreError> {
        let what_panicked =
            |_| StoreError::Corrupted { path: path.into(), what: "its pages contradict each other".into() };
        // redb trusts the pages it reads; a damaged file must be told, not crash the engine.
        catch_unwind(AssertUnwindSafe(|| {
            let store = Self { path: path.into(), database: Some(open_database(path)?), commits: (0, 0) };
            let loaded = store.load()?;
            Ok((store, loaded))
        }))
        .unwrap_or_else(|panic| Err(what_panicked(panic)))
    }

    /// Makes all of it durable, or nothing.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let done = self.opened().and_then(|database| {
            let written = commit(&database, batch);
            self.keep(database, written)
        });
        let (reached, failed) = &mut self.commits;
        *(if done.is_ok() { reached } else { failed }) += 1;
        done
    }

    /// Transactions that reached the disk since it was opened, and those that did not.
    pub fn commits(&self) -> (u64, u64) {
        self.commits
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// The oldest entries that the log has not got, at most `limit`.
    pub fn outbox(&mut self, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let database = self.opened()?;
        let read = || -> Result<Vec<Entry>, redb::Error> {
            let table = database.begin_read()?.open_table(OUTBOX)?;
            let rows = table.iter()?.take(limit);
            let rows = rows.map(|row| Ok(serde_json::from_slice(row?.1.value()).ok()));
            Ok(rows.collect::<Result<Vec<Option<_>>, redb::Error>>()?.into_iter().flatten().collect())
        };
        let read = read();
        self.keep(database, read)
    }

    /// What was there before each change of a set.
    pub fn steps(&mut self, set: u64) -> Result<Vec<Step>, StoreError> {
        let database = self.opened()?;
        let read = || -> Result<Vec<Step>, redb::Error> {
            let table = database.begin_read()?.open_table(STEPS)?;
            let (mut texts, mut steps) = (Texts::default(), Vec::new());
            for row in table.range((set, &[][..])..(set + 1, &[][..]))? {
                let (key, value) = row?;
                steps.extend(read_step(key.value().1, value.value(), &mut texts));
            }
            Ok(steps)
        };
        let read = read();
        self.keep(database, read)
    }

    fn opened(&mut self) -> Result<Database, StoreError> {
        match self.database.take() {
            Some(database) => Ok(database),
            None => open_database(&self.path),
        }
    }

    /// After an error the file is opened anew.
    fn keep<T>(&mut self, database: Database, done: Result<T, redb::Error>) -> Result<T, StoreError> {
        match done {
            Ok(done) => {
                self.database = Some(database);
                Ok(done)
            }
            Err(error) => Err(StoreError::Write { path: self.path.clone(), what: error.to_string() }),
        }
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let Some(database) = &self.database else {
            return Ok(Loaded::default());
        };
        let corrupted = |what: String| StoreError::Corrupted { path: self.path.clone(), what };
        let schema = schema(database).map_err(|error| corrupted(error.to_string()))?;
        if !KNOWN.contains(&schema) {
            return Err(StoreError::Newer { path: self.path.clone(), found: schema });
        }
        load(database).map_err(|error| corrupted(error.to_string()))?.map_err(corrupted)
    }
}

/// The layout of the file; of a new one, written.
fn schema(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let schema = {
        let mut meta = transaction.open_table(META)?;
        let schema = meta.get("schema")?.map(|value| value.value());
        if schema.is_none() {
            meta.insert("schema", WITHOUT_TRUST)?;
        }
        schema.unwrap_or(WITHOUT_TRUST)
    };
    if KNOWN.contains(&schema) {
        // made here, so that whoever reads finds them
        for table in [DECISIONS, GRAVES] {
            transaction.open_table(table)?;
        }
        for table in [NODES, PLACES] {
            transaction.open_table(table)?;
        }
        for table in [OUTBOX, SETS] {
            transaction.open_table(table)?;
        }
        transaction.open_table(HELD)?;
        transaction.open_table(STEPS)?;
    }
    transaction.commit()?;
    Ok(schema)
}

/// Reads everything; the inner error says which row makes no sense.
fn load(database: &Database) -> Result<Result<Loaded, String>, redb::Error> {
    let transaction = database.begin_read()?;
    let (mut loaded, mut texts) = (Loaded::default(), Texts::default());
    for row in transaction.open_table(DECISIONS)?.iter()? {
        let (key, value) = row?;
        match read_row::<Row>(key.value(), value.value()) {
            Ok((key, row)) => loaded.decisions.push(row.decision(key, &mut texts)),
            Err(what) => return Ok(Err(what)),
        }
    }
    for row in transaction.open_table(GRAVES)?.iter()? {
        let (key, value) = row?;
        match read_row::<GraveRow>(key.value(), value.value()) {
            Ok((key, row)) => {
                let made = row.made.made(0, &mut texts);
                loaded.graves.insert(key, Grave { made, keep: row.keep });
            }
            Err(what) => return Ok(Err(what)),
        }
    }
    for row in transaction.open_table(HELD)?.iter()? {
        let (key, why) = row?;
        match read_key(key.value()) {
            Ok(key) => drop(loaded.held.insert(key, why.value().to_owned())),
            Err(what) => return Ok(Err(what)),
        }
    }
    for row in transaction.open_table(NODES)?.iter()? {
        let (node, sequence) = row?;
        loaded.nodes.insert(texts.share(node.value().to_owned()), sequence.value());
    }
    for row in transaction.open_table(PLACES)?.iter()? {
        let (name, number) = row?;
        match name.value().strip_suffix(MARK) {
            Some(log) => loaded.places.entry(log.to_owned()).or_default().mark = number.value(),
            None => loaded.places.entry(name.value().to_owned()).or_default().next = number.value(),
        }
    }
    for row in transaction.open_table(SETS)?.iter()? {
        let (number, set) = row?;
        match serde_json::from_slice(set.value()) {
            Ok(set) => drop(loaded.sets.insert(number.value(), set)),
            Err(error) => return Ok(Err(format!("set {}: {error}", number.value()))),
        }
    }
    loaded.outbox = redb::ReadableTableMetadata::len(&transaction.open_table(OUTBOX)?)?;
    let meta = transaction.open_table(META)?;
    let number = |name: &str| -> Result<u64, redb::Error> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
    (loaded.stamp, loaded.sequence) = (Stamp::of_bits(number("stamp")?), number("sequence")?);
    Ok(Ok(loaded))
}

fn read_row<T: for<'de> Deserialize<'de>>(key: &[u8], value: &[u8]) -> Result<(Key, T), String> {
    let key = read_key(key)?;
    let row = serde_json::from_slice(value).map_err(|error| format!("the row of {}: {error}", key.0))?;
    Ok((key, row))
}

/// A step's value: the stamp that it made, then the row that was there before, if one was.
fn read_step(key: &[u8], value: &[u8], texts: &mut Texts) -> Option<Step> {
    let key = read_key(key).ok()?;
    let (stamp, before) = value.split_first_chunk::<8>()?;
    let before = match before {
        [] => None,
        bytes => Some(serde_json::from_slice::<Row>(bytes).ok()?.decision(key, texts)),
    };
    Some(Step { key, made: Stamp::of_bits(u64::from_be_bytes(*stamp)), before })
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

fn commit(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    put_decisions(&transaction, batch)?;
    put_log(&transaction, batch)?;
    put_sets(&transaction, batch)?;
    if let Some((stamp, sequence)) = batch.clock {
        let mut meta = transaction.open_table(META)?;
        meta.insert("stamp", stamp.bits())?;
        meta.insert("sequence", sequence)?;
    }
    Ok(transaction.commit()?)
}

fn put_decisions(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let trusts = |change: &Change| matches!(change, Change::Put(decision) if decision.kind == Kind::Trust);
    if batch.changes.iter().any(trusts) {
        transaction.open_table(META)?.insert("schema", SCHEMA)?;
    }
    let mut table = transaction.open_table(DECISIONS)?;
    for change in &batch.changes {
        match change {
            Change::Put(decision) => put(&mut table, decision.key(), &Row::bytes(decision))?,
            Change::Remove(net, kind) => drop(table.remove(raw_key((*net, *kind)).as_slice())?),
        }
    }
    let mut table = transaction.open_table(GRAVES)?;
    for (key, grave) in &batch.graves {
        match grave {
            Some(grave) => {
                let row = GraveRow { keep: grave.keep, made: RawMade::of(&grave.made) };
                // numbers and strings always have a JSON form
                put(&mut table, *key, &serde_json::to_vec(&row).unwrap_or_default())?;
            }
            None => drop(table.remove(raw_key(*key).as_slice())?),
        }
    }
    let mut table = transaction.open_table(HELD)?;
    for (key, why) in &batch.held {
        match why {
            Some(why) => drop(table.insert(raw_key(*key).as_slice(), why.as_str())?),
            None => drop(table.remove(raw_key(*key).as_slice())?),
        }
    }
    Ok(())
}

fn put(table: &mut Table<'_, &[u8], &[u8]>, key: Key, value: &[u8]) -> Result<(), redb::Error> {
    table.insert(raw_key(key).as_slice(), value)?;
    Ok(())
}

fn put_log(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut outbox = transaction.open_table(OUTBOX)?;
    for entry in &batch.posted {
        outbox.insert(entry.sequence, serde_json::to_vec(entry).unwrap_or_default().as_slice())?;
    }
    for sequence in &batch.sent {
        outbox.remove(sequence)?;
    }
    let mut nodes = transaction.open_table(NODES)?;
    for (node, sequence) in &batch.nodes {
        nodes.insert(&**node, sequence)?;
    }
    if let Some((log, Place { next, mark })) = &batch.place {
        let mut places = transaction.open_table(PLACES)?;
        places.insert(log.as_str(), next)?;
        places.insert(format!("{log}{MARK}").as_str(), mark)?;
    }
    Ok(())
}

fn put_sets(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut sets = transaction.open_table(SETS)?;
    for set in &batch.sets {
        sets.insert(set.number, serde_json::to_vec(set).unwrap_or_default().as_slice())?;
    }
    for number in &batch.lost_sets {
        sets.remove(number)?;
    }
    let mut steps = transaction.open_table(STEPS)?;
    for (number, step) in &batch.steps {
        let key = raw_key(step.key);
        // changed twice in one set: what was there before is what was there before the first
        let first = steps.get((*number, key.as_slice()))?.and_then(|value| Some(value.value().get(8..)?.to_vec()));
        let before = first.unwrap_or_else(|| step.before.as_ref().map(Row::bytes).unwrap_or_default());
        let value = [&step.made.bits().to_be_bytes()[..], &before].concat();
        steps.insert((*number, key.as_slice()), value.as_slice())?;
    }
    for (number, key) in &batch.lost_steps {
        steps.remove((*number, raw_key(*key).as_slice()))?;
    }
    if let Some(last) = batch.forget {
        sets.retain_in(..=last, |_, _| false)?;
        steps.retain_in(..(last + 1, &[][..]), |_, _| false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
