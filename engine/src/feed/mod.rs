//! Where decisions come from without an operator: watched files, datagrams, a message queue, decoys. What a feed may do
//! is block and unblock, within the limits of the guard; what it may not is counted, logged, and never applied.

/// The queue of blocks and unblocks at the broker.
pub mod amqp;

/// Events that come as datagrams.
pub mod datagram;

/// Watched files.
pub mod file;

/// Decoys.
pub mod honeypot;

/// The lines of block lists.
pub mod lines;
/// What a message asks for.
pub mod message;
/// What becomes of what messages ask for.
mod settle;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What came of a feed's wishes. Each thing wished for is counted once, in one of the last four.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages, lines or datagrams read.
    pub read: AtomicU64,
    /// Decisions made or taken back.
    pub applied: AtomicU64,
    /// Wishes that were in force already.
    pub already: AtomicU64,
    /// Wishes that the guard refused.
    pub refused: AtomicU64,
    /// Messages or lines that make no sense.
    pub bad: AtomicU64,
    state: Mutex<(State, String)>,
}

/// How a feed is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FeedState)]
pub enum State {
    /// It has not begun.
    #[default]
    Starting,
    /// It is there and is read.
    Up,
    /// It is not there; it is tried again.
    Down,
}

/// A feed as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Feed)]
pub struct View {
    /// What it is called, such as `file /etc/vos/honeypot.list`.
    pub name: String,
    /// How it is.
    pub state: State,
    /// The last thing that went wrong, if nothing has gone right since. Text of unknown origin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Messages, lines or datagrams read.
    pub read: u64,
    /// Decisions made or taken back.
    pub applied: u64,
    /// Wishes that were in force already.
    pub already: u64,
    /// Wishes that the guard refused.
    pub refused: u64,
    /// Messages or lines that make no sense.
    pub bad: u64,
}

impl Tally {
    /// It is there.
    pub fn up(&self) {
        *self.state() = (State::Up, String::new());
    }

    /// It is not there, and why.
    pub fn down(&self, why: impl Into<String>) {
        *self.state() = (State::Down, why.into());
    }

    /// It is there, but something is wrong with it.
    pub fn complain(&self, what: impl Into<String>) {
        self.state().1 = what.into();
    }

    fn state(&self) -> MutexGuard<'_, (State, String)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self, name: &str) -> View {
        let (state, error) = self.state().clone();
        View {
            name: name.to_owned(),
            state,
            error,
            read: self.read.load(Relaxed),
            applied: self.applied.load(Relaxed),
            already: self.already.load(Relaxed),
            refused: self.refused.load(Relaxed),
            bad: self.bad.load(Relaxed),
        }
    }
}

/// Every feed's tally. One that ends and begins again counts on.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<BTreeMap<String, Arc<Tally>>>);

impl Tallies {
    /// The tally of the feed of this name.
    pub fn of(&self, name: &str) -> Arc<Tally> {
        Arc::clone(self.lock().entry(name.to_owned()).or_default())
    }

    /// The feed is there no longer.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// All of them, by name.
    pub fn views(&self) -> Vec<View> {
        self.lock().iter().map(|(name, tally)| tally.view(name)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Tally>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
