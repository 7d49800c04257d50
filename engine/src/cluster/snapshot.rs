use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use crate::cluster::message::{Body, Message, parts};
use crate::cluster::stream::Log;
use crate::cluster::{Cluster, LogError, blocking, chance};

/// Messages between snapshots; as many as there are decisions, where those are more. Fewer: the log is mostly snapshots. More:
/// a node that is new reads for longer, some 0.1 s for each 10,000.
pub const EVERY_MESSAGES: u64 = 10_000;
/// Bytes between snapshots: the log keeps some of them, however long its messages are.
pub const EVERY_BYTES: u64 = 128 << 20;
/// The longest time between snapshots, if anything was decided. A node that is new looks twice as far back.
pub const EVERY: Duration = Duration::from_secs(6 * 3_600);
/// How much longer each node waits than the one before it in the order of their names, so that they do not all write: an
/// eighth of the above, and this where a snapshot is wanted.
const STEP: Duration = Duration::from_secs(4);
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(1);

/// What has been read since a snapshot was begun.
#[derive(Debug)]
pub(super) struct Since {
    messages: u64,
    bytes: u64,
    /// Has anything been decided?
    pub(super) entries: bool,
    begun: Instant,
}

impl Default for Since {
    fn default() -> Self {
        Self { messages: 0, bytes: 0, entries: false, begun: Instant::now() }
    }
}

impl Since {
    /// So many messages on, the last of so many bytes.
    pub(super) fn read(&mut self, passed: u64, bytes: usize) {
        self.messages += passed;
        self.bytes += bytes as u64;
    }

    /// Is it this node's turn, the `rank`th of all by name, where there are so many decisions?
    fn is_due(&self, rank: u64, decisions: u64) -> bool {
        let beyond = |read: u64, every: u64| read >= every + rank * (every / 8);
        beyond(self.messages, EVERY_MESSAGES.max(decisions))
            || beyond(self.bytes, EVERY_BYTES)
            || (self.entries && beyond(self.begun.elapsed().as_secs(), EVERY.as_secs()))
    }
}

impl Cluster {
    /// Writes all that this node holds when it is its turn.
    pub(super) async fn keep_snapshots(self: &Arc<Self>, log: &Log) -> Result<Infallible, LogError> {
        let writer = log.writer().await?;
        loop {
            let this = Arc::clone(self);
            let Some(anew) = blocking(move || this.is_due()).await? else {
                // Nobody need hear of it at once but whoever has just come.
                let _either = tokio::time::timeout(LOOK, self.changed.notified()).await;
                continue;
            };
            let (this, id) = (Arc::clone(self), chance());
            let pieces = blocking(move || parts(this.control.snapshot(anew), id, anew)).await?;
            let rows: usize = pieces.iter().map(|piece| piece.rows.len()).sum();
            info!("cluster {}: writing a snapshot of {rows} decisions", log.name());
            for piece in pieces {
                let message = Message::new(&self.member.node, self.run, Body::Part(piece));
                writer.write([message.bytes()]).await?;
            }
            let mut state = self.state();
            // what this node has written it also reads, and counts from there
            (state.since, state.wanted) = (Since::default(), None);
            state.anew &= !anew;
        }
    }

    /// Is a snapshot due? Then: must everybody take it?
    fn is_due(&self) -> Option<bool> {
        let rank = self.rank();
        let figures = self.control.figures();
        let decisions = figures.decisions.iter().flatten().sum::<usize>() as u64;
        let state = self.state();
        let wanted = state.wanted.is_some_and(|wanted| wanted.elapsed() >= STEP * rank as u32);
        // What took the place of something and is not in the log yet leaves a hole; where there always is some, so be it.
        let is_due = |rank| state.since.is_due(rank, decisions);
        let is_time = wanted || (is_due(rank) && figures.outbox == 0) || is_due(rank + 8);
        (state.caught_up && (state.anew || is_time)).then_some(state.anew)
    }

    /// How many nodes come before this one by name.
    fn rank(&self) -> u64 {
        self.control.nodes().iter().filter(|(node, _)| **node < *self.member.node).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_waits_for_those_before_it_by_name() {
        let mut since = Since::default();
        let mut due = |messages: u64, rank, decisions| {
            since.messages = messages;
            since.is_due(rank, decisions)
        };
        assert!(!due(EVERY_MESSAGES - 1, 0, 5) && due(EVERY_MESSAGES, 0, 5));
        assert!(!due(EVERY_MESSAGES, 1, 5) && due(EVERY_MESSAGES + EVERY_MESSAGES / 8, 1, 5));
        assert!(!due(EVERY_MESSAGES, 0, 1_000_000) && due(1_000_000, 0, 1_000_000), "not all the time");
    }

    #[test]
    fn long_messages_and_long_times_count_as_well() {
        let mut since = Since::default();
        since.read(1, EVERY_BYTES as usize);
        assert!(since.is_due(0, 0) && !since.is_due(1, 0));
        let Some(begun) = Instant::now().checked_sub(EVERY) else { return };
        let mut since = Since { begun, ..Since::default() };
        assert!(!since.is_due(0, 0), "nothing was decided");
        since.entries = true;
        assert!(since.is_due(0, 0) && !since.is_due(1, 0));
    }
}
