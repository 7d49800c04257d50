//! Decisions on disk: what is acknowledged is here first, and is here again after the power fails.
//!
//! One redb file per interface. A decision is a row: the key is family, address, prefix length and kind, the value a
//! JSON object, so that a later version can add a field. Beside the decisions lie what a cluster needs (what is still to
//! be told, what was read, what is gone) and what was there before each command, so that it can be taken back. All of a
//! [`Batch`] is on the disk when [`Store::commit`] returns, or nothing of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError};

/// Why it refuses.
mod error;
/// From the disk.
mod read;
/// What a row looks like.
mod row;
/// What lies in the file.
mod tables;
/// Onto the disk.
mod write;

use crate::control::decision::{Decision, Key};
use crate::control::history::{Set, Step};
use crate::control::hold::Held;
use crate::control::log::{Entry, Grave, Place};
use crate::control::rules::Change;
use crate::control::stamp::Stamp;
use tables::{KNOWN, schema};

pub use error::StoreError;
pub use read::Rows;

/// Pages kept in memory, bytes. Less: a decision among a million reads more from the disk. More: only memory.
const CACHE: usize = 64 << 20;

/// What becomes durable together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Decisions that come and go.
    pub changes: Vec<Change>,
    /// Graves that come and go.
    pub graves: Vec<(Key, Option<Grave>)>,
    /// What is held back here, and why; or no longer.
    pub(crate) held: Vec<(Key, Option<Held>)>,
    /// What the log is to get.
    pub posted: Vec<Entry>,
    /// What the log has got: sequences.
    pub sent: Vec<u64>,
    /// Sequences read, by node.
    pub nodes: Vec<(Arc<str>, u64)>,
    /// Nodes that are forgotten.
    pub gone: Vec<Arc<str>>,
    /// How far a log was read: its name and the place.
    pub place: Option<(String, Place)>,
    /// Logs that this node is not in any more: how far they were read no longer counts.
    pub left: Vec<String>,
    /// The clock, and the sequence of the last entry.
    pub clock: Option<(Stamp, u64)>,
    /// What this node is and was called, and until when.
    pub names: Vec<(Arc<str>, Stamp)>,
    /// Sets that begin, go on, or were undone.
    pub sets: Vec<Set>,
    /// What was there before each of their changes.
    pub steps: Vec<(u64, Step)>,
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
    pub graves: BTreeMap<Key, Grave>,
    /// The last sequence read, by node.
    pub nodes: HashMap<Arc<str>, u64>,
    /// How far each log was read, by its name.
    pub places: HashMap<String, Place>,
    /// What this node is and was called, and until when.
    pub names: HashMap<Arc<str>, Stamp>,
    /// The last stamp.
    pub stamp: Stamp,
    /// The last sequence.
    pub sequence: u64,
    /// Sets, by number.
    pub sets: BTreeMap<u64, Set>,
    /// The sequences of the entries that the log has not got yet.
    pub outbox: BTreeSet<u64>,
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
        unbroken(path, || {
            let opened = |source| StoreError::Open { path: path.into(), source };
            let directory = path.parent().unwrap_or(Path::new("."));
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(opened)?;
            let database = open_database(path)?;
            // The name must survive as well as the contents.
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(opened)?;
            let loaded = load(path, &database)?;
            Ok((Self { path: path.into(), database: Some(database), commits: (0, 0) }, loaded))
        })
    }

    /// Makes all of it durable, or nothing.
    pub fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let path = self.path.clone();
        let done = self.with(|database| write::commit(database, batch), |what| StoreError::Write { path, what });
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

    /// Takes at most `limit` steps of sets before `first` away; may there be more?
    pub fn tidy(&mut self, first: u64, limit: usize) -> Result<bool, StoreError> {
        if self.look(|database| read::is_tidy(database, first))? {
            return Ok(false);
        }
        let path = self.path.clone();
        self.with(|database| write::tidy(database, first, limit), |what| StoreError::Write { path, what })?;
        Ok(true)
    }

    /// The oldest entries that the log has not got, at most `limit`.
    pub fn outbox(&mut self, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.look(|database| read::outbox(database, limit))
    }

    /// What was there before each change of a set, at most `limit` behind `last`, by address.
    pub fn steps(&mut self, set: u64, last: Option<Key>, limit: usize) -> Result<Vec<Step>, StoreError> {
        self.look(|database| read::steps(database, set, last, limit))
    }

    /// The decision at this very key.
    pub fn decision(&mut self, key: Key) -> Result<Option<Decision>, StoreError> {
        self.look(|database| read::decision_at(database, key))
    }

    /// Every decision as it is at this moment.
    pub fn rows(&mut self) -> Result<Rows, StoreError> {
        let path = self.path.clone();
        self.look(|database| Ok(Rows { transaction: database.begin_read()?, path }))
    }

    fn look<T>(&mut self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let path = self.path.clone();
        self.with(work, |what| StoreError::Read { path, what })
    }

    /// Does it with the file open. After an error redb wants it opened anew.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
        failed: impl FnOnce(String) -> StoreError,
    ) -> Result<T, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(&self.path)?,
        };
        let done = unbroken(&self.path, || Ok(work(&database)));
        if let Ok(Ok(done)) = done {
            self.database = Some(database);
            return Ok(done);
        }
        unbroken(&self.path, || {
            drop(database);
            Ok(())
        })?;
        done?.map_err(|error| failed(error.to_string()))
    }
}

impl Drop for Store {
    /// To close is to write, by pages that may be damaged, too.
    fn drop(&mut self) {
        let database = self.database.take();
        let _it_is_told_when_it_is_opened_again = unbroken(&self.path, || {
            drop(database);
            Ok(())
        });
    }
}

/// redb trusts the pages it reads; a damaged file must be told, not crash the engine.
fn unbroken<T>(path: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(StoreError::Corrupted { path: path.into(), what: "its pages contradict each other".into() })
    })
}

fn load(path: &Path, database: &Database) -> Result<Loaded, StoreError> {
    let failed = |error| match error {
        redb::Error::Io(source) => StoreError::Open { path: path.into(), source },
        other => StoreError::Corrupted { path: path.into(), what: other.to_string() },
    };
    let found = schema(database).map_err(failed)?;
    if !KNOWN.contains(&found) {
        return Err(StoreError::Newer { path: path.into(), found });
    }
    read::load(database).map_err(failed)
}

/// Touches nothing but the file: after a failed write whoever wants to write opens it anew, and threads of the API reach no
/// other ([`crate::confinement`]).
fn open_database(path: &Path) -> Result<Database, StoreError> {
    let opened = |source| StoreError::Open { path: path.into(), source };
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(opened)?;
    Builder::new().set_cache_size(CACHE).create_file(file).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path: path.into() },
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            opened(source)
        }
        other => StoreError::Corrupted { path: path.into(), what: other.to_string() },
    })
}

#[cfg(test)]
mod tests;
