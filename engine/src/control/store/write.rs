//! Onto the disk.

use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::Batch;
use super::row::{GraveRow, Row, raw_key, step_bytes};
use super::tables::{DECISIONS, GRAVES, HELD, MARK, META, NAME, NODES, OUTBOX, PLACES, SCHEMA, SETS, STEPS};
use crate::control::decision::{Key, Kind};
use crate::control::log::Place;
use crate::control::rules::Change;

/// All of it, or nothing.
pub(super) fn commit(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    put_decisions(&transaction, batch)?;
    put_log(&transaction, batch)?;
    put_sets(&transaction, batch)?;
    if let Some((stamp, sequence)) = batch.clock {
        let mut meta = transaction.open_table(META)?;
        meta.insert("stamp", stamp.bits())?;
        meta.insert("sequence", sequence)?;
    }
    for (name, until) in &batch.names {
        transaction.open_table(META)?.insert(format!("{NAME}{name}").as_str(), until.bits())?;
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
                put(&mut table, *key, &GraveRow::bytes(grave))?;
            }
            None => drop(table.remove(raw_key(*key).as_slice())?),
        }
    }
    let mut table = transaction.open_table(HELD)?;
    for (key, held) in &batch.held {
        match held {
            Some(held) => drop(table.insert(raw_key(*key).as_slice(), held.why.as_str())?),
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
    for node in &batch.gone {
        nodes.remove(&**node)?;
    }
    if let Some((log, Place { next, mark })) = &batch.place {
        let mut places = transaction.open_table(PLACES)?;
        places.insert(log.as_str(), next)?;
        places.insert(format!("{log}{MARK}").as_str(), mark)?;
    }
    if !batch.left.is_empty() {
        let mut places = transaction.open_table(PLACES)?;
        for log in &batch.left {
            places.remove(log.as_str())?;
            places.remove(format!("{log}{MARK}").as_str())?;
        }
    }
    Ok(())
}

fn put_sets(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut sets = transaction.open_table(SETS)?;
    for set in &batch.sets {
        sets.insert(set.number, serde_json::to_vec(set).unwrap_or_default().as_slice())?;
    }
    let mut steps = transaction.open_table(STEPS)?;
    for (number, step) in &batch.steps {
        let key = raw_key(step.key);
        let there = steps.get((*number, key.as_slice()))?.map(|value| value.value().to_vec());
        steps.insert((*number, key.as_slice()), step_bytes(step, there.as_deref()).as_slice())?;
    }
    if let Some(last) = batch.forget {
        // their steps go by and by
        sets.retain_in(..=last, |_, _| false)?;
    }
    Ok(())
}

/// Takes at most `limit` steps of sets before `first` away.
pub(super) fn tidy(database: &Database, first: u64, limit: usize) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut steps = transaction.open_table(STEPS)?;
        let mut old = steps.extract_from_if(..(first, &[][..]), |_, _| true)?;
        for step in old.by_ref().take(limit) {
            step?;
        }
    }
    Ok(transaction.commit()?)
}
