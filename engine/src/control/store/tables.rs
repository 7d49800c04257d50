//! What lies in the file.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

/// Decisions in force and to come, by raw key.
pub(super) const DECISIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("decisions");
/// What was decided and is gone, by raw key.
pub(super) const GRAVES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("graves");
/// Why a decision of another node's is not in force here, by raw key.
pub(super) const HELD: TableDefinition<'_, &[u8], &str> = TableDefinition::new("held");
/// What the log has not got yet, by sequence.
pub(super) const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
/// The last sequence read of each node.
pub(super) const NODES: TableDefinition<'_, &str, u64> = TableDefinition::new("nodes");
/// How far each log has been read: the next offset, and by the log's name and [`MARK`] what tells it from another.
pub(super) const PLACES: TableDefinition<'_, &str, u64> = TableDefinition::new("places");
/// No log's name holds it.
pub(super) const MARK: char = '#';
/// What was changed together, by number.
pub(super) const SETS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("sets");
/// What was there before, by number of the set and raw key.
pub(super) const STEPS: TableDefinition<'_, (u64, &[u8]), &[u8]> = TableDefinition::new("steps");
/// Layout, clock, sequence; and behind [`NAME`] each name that this node has or had, with the stamp until which it did.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Begins the key of a name.
pub(super) const NAME: &str = "name ";
/// The layout of the rows. Raise it when an older engine would misread them.
pub(super) const SCHEMA: u64 = 2;
/// The layout without trust. A file stays at it until the first trust, so that whoever has none can go back to an
/// older engine; one that knows no trust would take the file for damaged.
pub(super) const WITHOUT_TRUST: u64 = 1;
/// The layouts that are read.
pub(super) const KNOWN: RangeInclusive<u64> = WITHOUT_TRUST..=SCHEMA;

/// The layout of the file. Of a new one it is written, as are tables that it has not got.
pub(super) fn schema(database: &Database) -> Result<u64, redb::Error> {
    if let Some(schema) = complete(database)? {
        return Ok(schema);
    }
    let transaction = database.begin_write()?;
    let schema = {
        let mut meta = transaction.open_table(META)?;
        let schema = meta.get("schema")?.map(|value| value.value());
        if schema.is_none() {
            meta.insert("schema", WITHOUT_TRUST)?;
        }
        schema.unwrap_or(WITHOUT_TRUST)
    };
    if !KNOWN.contains(&schema) {
        return Ok(schema);
    }
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
    transaction.commit()?;
    Ok(schema)
}

/// The layout, where every table is there: then nothing is written, which a full disk would refuse.
fn complete(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    let there: HashSet<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    let names = ["decisions", "graves", "held", "outbox", "nodes", "places", "sets", "steps", "meta"];
    if !names.iter().all(|name| there.contains(*name)) {
        return Ok(None);
    }
    Ok(transaction.open_table(META)?.get("schema")?.map(|schema| schema.value()))
}
