use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::cluster::begin::snapshot;
use crate::cluster::message::{BadMessage, Body, Hello, Message, mark};
use crate::cluster::snapshot::Since;
use crate::cluster::stream::{Item, Reader, Writer};
use crate::cluster::{Cluster, LogError, blocking, chance};
use crate::control::log::{Entry, Place};
use crate::control::merge::{Merged, Read};

/// How often the same trouble is told.
const COMPLAIN: Duration = Duration::from_secs(60);
/// How many of a lot's decisions that are held back are named in the log.
const HELD_TOLD: usize = 10;

/// What there is to know of a lot beside its decisions.
#[derive(Default)]
struct Noted {
    /// The one behind all of it.
    place: Place,
    bad: Vec<(u64, BadMessage)>,
    /// Another life that writes under this node's name.
    twin: Option<u64>,
}

impl Cluster {
    /// Brings what others write into force, until the broker is gone.
    pub(super) async fn follow(
        self: &Arc<Self>,
        (mut reader, mut items): (Reader, Vec<Item>),
        writer: &Writer,
    ) -> Result<Infallible, LogError> {
        let mut place = self.place().await?;
        loop {
            if !items.is_empty() {
                self.note_newest(&items);
                let this = Arc::clone(self);
                let noted = blocking(move || this.take_in(&items)).await??;
                place = noted.place;
                if let Some(run) = noted.twin {
                    self.complain_of(run, writer).await?;
                }
                self.tell_bad(&noted.bad);
            }
            self.look_whether_caught_up(place);
            items = reader.next().await?;
        }
    }

    fn note_newest(&self, items: &[Item]) {
        let mut state = self.state();
        state.newest = state.newest.max(items.last().map(|last| last.offset));
    }

    /// One lot, all of it or nothing.
    fn take_in(&self, items: &[Item]) -> Result<Noted, LogError> {
        let Some(last) = items.last() else { return Ok(Noted::default()) };
        let place = Place { next: last.offset + 1, mark: mark(&last.bytes) };
        let (mut noted, mut reads) = (Noted { place, ..Noted::default() }, Vec::with_capacity(items.len()));
        let mut next = self.control.place().unwrap_or_default().next;
        for item in items {
            self.tally.read.fetch_add(1, Relaxed);
            // what the broker has thrown away unread is behind us as well
            let passed = if next == 0 { 1 } else { item.offset.saturating_sub(next) + 1 };
            next = item.offset + 1;
            self.state().since.read(passed, item.bytes.len());
            let read = if item.vouched { Message::read(&item.bytes) } else { Err(BadMessage::Stranger) };
            match read {
                Ok((node, run, body)) => {
                    if node == self.member.node && run != self.run && self.is_since_hello(item.offset) {
                        noted.twin = Some(run);
                    }
                    reads.extend(self.understand(item, node, body));
                }
                Err(why) => {
                    self.tally.bad.fetch_add(1, Relaxed);
                    noted.bad.push((item.offset, why));
                }
            }
        }
        let merged = self.control.merge(reads, place)?;
        self.count(&merged);
        for (decision, why) in merged.held.iter().take(HELD_TOLD) {
            warn!("cluster {}: {} {} is not in force here: {why}", self.member.log, decision.kind, decision.net);
        }
        if let Some(more @ 1..) = merged.held.len().checked_sub(HELD_TOLD) {
            warn!("cluster {}: {more} more are not in force here; `vosctl list` says which and why", self.member.log);
        }
        Ok(noted)
    }

    /// What a message means for the decisions here.
    fn understand(&self, item: &Item, node: Arc<str>, body: Body) -> Option<Read> {
        let mut state = self.state();
        match body {
            Body::Entry(entry) => {
                state.since.entries = true;
                Some(Read::Entry(item.offset, entry))
            }
            Body::Hello(hello) => {
                if hello.wants_snapshot && node != self.member.node {
                    state.wanted = Some(Instant::now());
                    self.changed.notify_one();
                }
                // Known from now on, though it has decided nothing.
                Some(Read::Entry(item.offset, Entry { node, sequence: 0, changes: Vec::new() }))
            }
            Body::Forget(node) => {
                info!("cluster {}: {node} is forgotten", self.member.log);
                Some(Read::Forget(node))
            }
            Body::Part(part) => {
                // Whether or not it comes to its end: the next is due when as much has been read again.
                (state.since, state.wanted) = (Since::default(), None);
                part.anew.then(|| snapshot(part.nodes, part.rows, item.offset))
            }
        }
    }

    pub(super) fn count(&self, merged: &Merged) {
        let Merged { made, removed, held, stale, unsound, .. } = merged;
        self.tally.applied.fetch_add((made.len() + removed.len()) as u64, Relaxed);
        self.tally.refused.fetch_add(held.len() as u64, Relaxed);
        self.tally.already.fetch_add(*stale, Relaxed);
        self.tally.bad.fetch_add(*unsound, Relaxed);
    }

    /// Was this written after this node had come?
    fn is_since_hello(&self, offset: u64) -> bool {
        self.state().head.is_some_and(|head| offset > head)
    }

    fn look_whether_caught_up(&self, place: Place) {
        let mut state = self.state();
        if !state.caught_up && state.head.is_some_and(|head| place.next > head) {
            state.caught_up = true;
            info!("cluster {}: all that was written before is read", self.member.log);
            self.changed.notify_one();
        }
    }

    /// Says now and then that something was skipped, and why; the tally counts all of it.
    fn tell_bad(&self, bad: &[(u64, BadMessage)]) {
        let Some((offset, why)) = bad.first() else { return };
        if let Some(count) = self.state().skipped.more(bad.len() as u64, COMPLAIN) {
            let more = count - 1;
            warn!(
                "cluster {}: message {offset} is skipped: {why} ({more} more since it was last said)",
                self.member.log
            );
        }
        self.tally.complain(format!("message {offset} was skipped: {why}"));
    }

    /// Another engine has this node's name: what both decide the others take for one node's, and pass over half of it.
    async fn complain_of(&self, run: u64, writer: &Writer) -> Result<(), LogError> {
        let (known, again) = {
            let mut state = self.state();
            (state.twin.replace(run) == Some(run), state.complained.more(1, COMPLAIN).is_some())
        };
        if again {
            let node = &self.member.node;
            error!(
                "cluster {}: another engine calls itself {node} as well, and others pass over what one of the two decides: give one of them another cluster.node",
                self.member.log
            );
            self.tally.complain(format!("another engine calls itself {node} as well: change cluster.node of one"));
        }
        if !known {
            // so that it complains, too
            self.hello(writer, Hello { id: chance(), wants_snapshot: false }).await?;
        }
        Ok(())
    }
}
