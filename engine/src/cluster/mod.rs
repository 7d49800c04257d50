//! The nodes of a cluster agree: every node writes what it decides into one log, and reads all of it.
//!
//! The log is a stream at the message broker; there is no protocol between nodes beside it. While the broker is away, each
//! node goes on with what it has, and writes afterwards what it has decided meanwhile, in order. Of two decisions about
//! one thing the later wins, wherever in the log it stands ([`merge`](crate::control::merge)), so a node that comes back
//! undoes nothing.

/// Where to begin to read.
mod begin;
/// Reading on.
mod follow;
/// Nodes that are no longer there.
mod forget;
/// What is written.
mod message;
/// Writing what this node decides.
mod publish;
/// All that a node holds, for whoever is new.
mod snapshot;
/// Who holds what.
mod status;
/// The log at the broker.
mod stream;
/// What API and client say to each other about it.
pub mod wire;

pub use forget::ForgetError;
pub use message::{BadMessage, MESSAGE_MAX, Message};
pub use snapshot::{EVERY, EVERY_BYTES, EVERY_MESSAGES};
pub use stream::LogError;

use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{info, warn};

use crate::amqp::{Backoff, Broker};
use crate::control::Control;
use crate::control::decide::Member;
use crate::control::log::Place;
use crate::feed::Tally;
use crate::seldom::Seldom;
use stream::{Log, Writer};

/// This node as a member of its cluster. Shared by the task that keeps the connection and by whoever asks how it is.
pub struct Cluster {
    member: Member,
    /// By which this life of the node is told from others under its name.
    run: u64,
    control: Arc<Control>,
    tally: Arc<Tally>,
    state: Mutex<State>,
    /// Told when something in `state` may want a snapshot.
    changed: Notify,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("member", &self.member).finish_non_exhaustive()
    }
}

/// Where a question about all nodes goes, and where the answers come out.
type Asks = mpsc::Sender<oneshot::Sender<Vec<wire::Node>>>;

/// How it stands.
#[derive(Default)]
struct State {
    /// What went wrong last, if nothing has gone right since.
    error: String,
    /// The offset of this node's last hello: what is before it was written before this node came.
    head: Option<u64>,
    /// The newest offset of which this node has heard on this connection.
    newest: Option<u64>,
    /// All that was written before this node came is in force.
    caught_up: bool,
    /// The log is another than it was: what was in that must be written again.
    anew: bool,
    /// What has been read since a snapshot was begun.
    since: snapshot::Since,
    /// A node wants a snapshot since then.
    wanted: Option<Instant>,
    /// Another life that writes under this node's name, and the complaints about it.
    twin: Option<u64>,
    complained: Seldom,
    /// What was skipped.
    skipped: Seldom,
    /// Writes while there is a connection.
    writer: Option<Writer>,
    /// Takes questions while there is a connection.
    asks: Option<Asks>,
}

/// How far a node has come with reading the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// It is connected, and all that was written before it came is in force.
    pub caught_up: bool,
    /// Messages up to the newest of which it has heard that are not read yet; `None`: it has heard of none since it was
    /// started.
    pub behind: Option<u64>,
}

/// A number by chance; nobody's secret.
fn chance() -> u64 {
    RandomState::new().hash_one(())
}

/// Runs what may wait for the disk where it holds up nothing else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| LogError::Inside(error.to_string()))
}

impl Cluster {
    /// A member of which nobody has heard yet. `tally` shows how it is beside the feeds.
    pub fn new(member: Member, control: Arc<Control>, tally: Arc<Tally>) -> Arc<Self> {
        let (state, changed) = Default::default();
        Arc::new(Self { member, run: chance(), control, tally, state, changed })
    }

    /// Keeps in touch with the log, for ever: tries again whenever the broker is back.
    pub async fn run(self: Arc<Self>, broker: Broker) {
        let mut backoff = Backoff::default();
        loop {
            let began = Instant::now();
            let Err(error) = self.session(&broker).await;
            backoff.held(began.elapsed());
            self.lost(&error);
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    fn lost(&self, error: &LogError) {
        let why = error.to_string();
        let mut state = self.state();
        (state.caught_up, state.asks, state.writer) = (false, None, None);
        if state.error != why {
            warn!("cluster {}: {why}; what is decided here is written when it is back", self.member.log);
        }
        state.error.clone_from(&why);
        self.tally.down(why);
    }

    async fn session(self: &Arc<Self>, broker: &Broker) -> Result<Infallible, LogError> {
        let user = broker.user()?;
        let log = Log::open(broker.connect().await?, &self.member.log, &user).await?;
        let writer = log.writer().await?;
        let head = self.greet(&log, &writer).await?;
        {
            let mut state = self.state();
            (state.head, state.newest, state.writer) = (Some(head), Some(head), Some(writer.clone()));
        }
        let reader = self.begin(&log, &writer, head).await?;
        self.tally.up();
        self.state().error.clear();
        info!("cluster {}: connected as node {}", self.member.log, self.member.node);
        // Each ends only with an error, and can be left wherever it waits: what was not done is done again.
        tokio::select! {
            ended = self.follow(reader, &writer) => ended,
            ended = self.publish(&writer) => ended,
            ended = self.keep_snapshots(&log) => ended,
            never = self.answer(&log) => match never {},
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the log has been read.
    async fn place(self: &Arc<Self>) -> Result<Place, LogError> {
        let control = Arc::clone(&self.control);
        Ok(blocking(move || control.place()).await?.unwrap_or_default())
    }

    /// How far it has come, by what it knows itself.
    pub fn progress(&self) -> Progress {
        let next = self.control.place().unwrap_or_default().next;
        let state = self.state();
        let behind = state.newest.map(|newest| newest.saturating_add(1).saturating_sub(next));
        Progress { caught_up: state.caught_up, behind }
    }

    /// The name of the log.
    pub fn log(&self) -> &str {
        &self.member.log
    }

    /// What this node is called.
    pub fn node(&self) -> &str {
        &self.member.node
    }
}
