//! Why the store refuses.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::tables::SCHEMA;

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
    /// Something that was written cannot be read now.
    #[error("{path} cannot be read: {what}; mend the disk and try again, or restart vos-engine")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the store said.
        what: String,
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
