//! From the disk.

use std::ops::Bound;
use std::path::PathBuf;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use serde::Deserialize;

use super::row::{GraveRow, Row, Texts, raw_key, read_key, read_step};
use super::tables::{DECISIONS, GRAVES, HELD, MARK, META, NAME, NODES, OUTBOX, PLACES, SETS, STEPS};
use super::{Loaded, StoreError, unbroken};
use crate::control::decision::{Decision, Key};
use crate::control::history::Step;
use crate::control::log::Entry;
use crate::control::stamp::Stamp;

/// A row that makes no sense.
fn damaged(what: String) -> redb::Error {
    redb::Error::Corrupted(what)
}

fn json<'a, T: Deserialize<'a>>(what: impl FnOnce() -> String, value: &'a [u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(value).map_err(|error| damaged(format!("{}: {error}", what())))
}

fn decision(raw: &[u8], value: &[u8], texts: &mut Texts) -> Result<Decision, redb::Error> {
    let key = read_key(raw).map_err(damaged)?;
    let row: Row<'_> = json(|| format!("the row of {}", key.0), value)?;
    Ok(row.decision(key, texts))
}

/// Everything.
pub(super) fn load(database: &Database) -> Result<Loaded, redb::Error> {
    let transaction = database.begin_read()?;
    let (mut loaded, mut texts) = (Loaded::default(), Texts::default());
    let decisions = transaction.open_table(DECISIONS)?;
    loaded.decisions.reserve_exact(usize::try_from(decisions.len()?).unwrap_or_default());
    for row in decisions.iter()? {
        let (key, value) = row?;
        loaded.decisions.push(decision(key.value(), value.value(), &mut texts)?);
    }
    for row in transaction.open_table(GRAVES)?.iter()? {
        let (key, value) = row?;
        let key = read_key(key.value()).map_err(damaged)?;
        let row: GraveRow<'_> = json(|| format!("the grave of {}", key.0), value.value())?;
        loaded.graves.insert(key, row.grave(&mut texts));
    }
    for row in transaction.open_table(HELD)?.iter()? {
        let (key, why) = row?;
        loaded.held.insert(read_key(key.value()).map_err(damaged)?, why.value().to_owned());
    }
    for row in transaction.open_table(SETS)?.iter()? {
        let (number, set) = row?;
        let set = json(|| format!("set {}", number.value()), set.value())?;
        loaded.sets.insert(number.value(), set);
    }
    load_log(&transaction, &mut loaded, &mut texts)?;
    Ok(loaded)
}

/// What a cluster needs.
fn load_log(transaction: &ReadTransaction, loaded: &mut Loaded, texts: &mut Texts) -> Result<(), redb::Error> {
    for row in transaction.open_table(NODES)?.iter()? {
        let (node, sequence) = row?;
        loaded.nodes.insert(texts.share(node.value()), sequence.value());
    }
    for row in transaction.open_table(PLACES)?.iter()? {
        let (name, number) = row?;
        match name.value().strip_suffix(MARK) {
            Some(log) => loaded.places.entry(log.to_owned()).or_default().mark = number.value(),
            None => loaded.places.entry(name.value().to_owned()).or_default().next = number.value(),
        }
    }
    for row in transaction.open_table(OUTBOX)?.iter()? {
        loaded.outbox.insert(row?.0.value());
    }
    let meta = transaction.open_table(META)?;
    let number = |name: &str| -> Result<u64, redb::Error> { Ok(meta.get(name)?.map_or(0, |value| value.value())) };
    (loaded.stamp, loaded.sequence) = (Stamp::of_bits(number("stamp")?), number("sequence")?);
    for row in meta.iter()? {
        let (key, until) = row?;
        if let Some(name) = key.value().strip_prefix(NAME) {
            loaded.names.insert(texts.share(name), Stamp::of_bits(until.value()));
        }
    }
    Ok(())
}

/// The oldest entries that the log has not got, at most `limit`.
pub(super) fn outbox(database: &Database, limit: usize) -> Result<Vec<Entry>, redb::Error> {
    let table = database.begin_read()?.open_table(OUTBOX)?;
    let entry = |row: Result<(redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>), redb::StorageError>| {
        let (sequence, entry) = row?;
        json(|| format!("entry {}", sequence.value()), entry.value())
    };
    table.iter()?.take(limit).map(entry).collect()
}

/// What was there before each change of a set, at most `limit` behind `last`.
pub(super) fn steps(database: &Database, set: u64, last: Option<Key>, limit: usize) -> Result<Vec<Step>, redb::Error> {
    let table = database.begin_read()?.open_table(STEPS)?;
    let last = last.map(raw_key);
    let from = last.as_ref().map_or(Bound::Included((set, &[][..])), |last| Bound::Excluded((set, last.as_slice())));
    let mut texts = Texts::default();
    let mut steps = Vec::new();
    for row in table.range((from, Bound::Excluded((set.saturating_add(1), &[][..]))))?.take(limit) {
        let (key, value) = row?;
        let step = read_step(key.value().1, value.value(), &mut texts);
        steps.push(step.map_err(|what| damaged(format!("set {set}: {what}")))?);
    }
    Ok(steps)
}

/// Are there steps of sets before this one?
pub(super) fn is_tidy(database: &Database, first: u64) -> Result<bool, redb::Error> {
    let table = database.begin_read()?.open_table(STEPS)?;
    Ok(table.range(..(first, &[][..]))?.next().is_none())
}

/// The decision at this very key.
pub(super) fn decision_at(database: &Database, key: Key) -> Result<Option<Decision>, redb::Error> {
    let table = database.begin_read()?.open_table(DECISIONS)?;
    let raw = raw_key(key);
    let row = table.get(raw.as_slice())?;
    row.map(|row| decision(&raw, row.value(), &mut Texts::default())).transpose()
}

/// Every decision as it is at this moment, read while others write.
pub struct Rows {
    pub(super) transaction: ReadTransaction,
    pub(super) path: PathBuf,
}

impl Rows {
    /// Goes through all of them.
    pub fn each(&self, with: impl FnMut(Decision)) -> Result<(), StoreError> {
        let failed = |error: redb::Error| StoreError::Read { path: self.path.clone(), what: error.to_string() };
        unbroken(&self.path, || self.go_through(with).map_err(failed))
    }

    fn go_through(&self, mut with: impl FnMut(Decision)) -> Result<(), redb::Error> {
        let mut texts = Texts::default();
        for row in self.transaction.open_table(DECISIONS)?.iter()? {
            let (key, value) = row?;
            with(decision(key.value(), value.value(), &mut texts)?);
        }
        Ok(())
    }
}
