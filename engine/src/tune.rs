//! The machine around the engine, set up by a profile and put back as it was: queues and interrupts of the card, sysctls,
//! the CPU's governor.
//!
//! What was there is on disk before anything is changed ([`journal`]), so that a crash in the middle leaves nothing that
//! [`revert`] cannot undo.

/// Every key of a profile: unit, range, what it does.
pub mod keys;

/// A profile's text, read.
pub mod profile;

/// One thing that can be set, and its value.
pub mod setting;

/// This machine: where values are read and written.
pub mod host;

/// What differs from a profile.
pub mod plan;

/// What was there before.
pub mod journal;

/// Two knobs of which one is refused while the other is on.
mod coalescing;

/// A profile, put in force.
pub mod apply;

/// And back.
pub mod revert;

#[cfg(test)]
mod tests;

pub use apply::{Order, apply, drift};
pub use host::Host;
pub use journal::{Journal, Store};
pub use plan::{Line, State};
pub use profile::Profile;
pub use revert::revert;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why nothing was begun.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TuneError {
    /// A profile that is not taken.
    #[error("{0}")]
    Profile(#[from] profile::ProfileError),
    /// There is no such interface.
    #[error("there is no interface {iface} here: {source}; `ip link` lists those that there are")]
    NoInterface {
        /// Its name.
        iface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// What the kernel, or the machine's files, do not tell.
    #[error("{what}: {source}")]
    Unreadable {
        /// What was asked.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// Cores that the profile needs are not there.
    #[error(
        "the profile {profile} gives the engine the cores {cores}, and this machine has {online}: take another profile, \
         or a copy of it with another cores.engine"
    )]
    NoCores {
        /// Its name.
        profile: String,
        /// Those it names.
        cores: String,
        /// Those online.
        online: String,
    },
    /// Another one is at it.
    #[error("another `vosctl tune` is at work ({path} is locked): wait until it is done")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
    /// The journal cannot be read or written.
    #[error("{path}: {source}; nothing was changed since")]
    Journal {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A journal that this program does not understand.
    #[error(
        "{path} is no journal that this vosctl understands ({what}): run the vosctl that wrote it, or move the file away \
         if the machine is as it should be"
    )]
    UnknownJournal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A journal of an interface that is elsewhere.
    #[error("{path} is about {iface} in another network namespace: run vosctl there, or take another --state-dir here")]
    OtherNamespace {
        /// The file.
        path: PathBuf,
        /// The interface.
        iface: String,
    },
}
