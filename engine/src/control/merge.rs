//! What the cluster's log says, brought into force here; and what this node has to tell it.
//!
//! Every node reads the same entries. Of two decisions about one key the later stamp wins, and of two with one stamp that
//! of the node whose name is the later word, so the order in which they are met does not matter, nor does meeting them
//! twice. What is gone leaves a grave, or an older decision that comes late would bring it back. The guard of this node is
//! no part of that: what it keeps from being in force here is held back, and is still in the set that all nodes share.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::control::ask::Refusal;
use crate::control::clock::Clock;
use crate::control::decide::{Control, Inner, RUN_MAX, is_live};
use crate::control::decision::{Decision, Key, Made};
use crate::control::hold::Held;
use crate::control::log::{ENTRY_MAX, Entry, Grave, Logged, Place};
use crate::control::rules::Change;
use crate::control::stamp::Stamp;
use crate::control::store::Batch;
use crate::control::sweep::GRAVES_KEPT;
use crate::events::Change as What;

/// Something read from the log.
#[derive(Clone, Debug)]
pub enum Read {
    /// An entry, and its place.
    Entry(u64, Entry),
    /// A node is to be forgotten: it is no longer there.
    Forget(Arc<str>),
    /// What a node held when it had read so far.
    Snapshot {
        /// The last sequence that it had read of each node.
        nodes: Vec<(Arc<str>, u64)>,
        /// What it held.
        rows: Vec<Logged>,
    },
}

/// What came of what was read.
#[derive(Debug, Default)]
pub struct Merged {
    /// Others' decisions that are in force now.
    pub made: Vec<Decision>,
    /// Decisions that others took back.
    pub removed: Vec<Decision>,
    /// Others' decisions that are held back here, and why.
    pub held: Vec<(Decision, String)>,
    /// Changes that something newer outranks, or that were met before.
    pub stale: u64,
    /// Entries that were met before.
    pub repeated: u64,
    /// Changes that no engine writes.
    pub unsound: u64,
}

impl Control {
    /// How far the log has been read. `None`: there is no cluster.
    pub fn place(&self) -> Option<Place> {
        self.lock().place
    }

    /// Every node that the log has told of, and the last sequence read of it.
    pub fn nodes(&self) -> Vec<(Arc<str>, u64)> {
        let inner = self.lock();
        inner.nodes.iter().map(|(node, sequence)| (Arc::clone(node), *sequence)).collect()
    }

    /// How many decisions of others this node holds back.
    pub fn held(&self) -> usize {
        self.lock().held.len()
    }

    /// The oldest entries that the log has not got, at most `limit`, in their order.
    pub fn outbox(&self, limit: usize) -> Result<Vec<Entry>, Refusal> {
        Ok(self.lock().store.outbox(limit)?)
    }

    /// Entries that the log has not got.
    pub fn outbox_len(&self) -> u64 {
        self.lock().outbox.len() as u64
    }

    /// The log has these entries of the outbox: their sequences.
    pub fn sent(&self, sequences: Vec<u64>) -> Result<(), Refusal> {
        self.lock().commit(Batch { sent: sequences, ..Batch::default() })
    }

    /// Brings what was read into force. `place` is the one after all of it. On an error read it again: what is in force
    /// already is met a second time, which changes nothing.
    pub fn merge(&self, read: Vec<Read>, place: impl Into<Place>) -> Result<Merged, Refusal> {
        let place = place.into();
        let mut reading = Reading { nodes: self.lock().nodes.clone(), ..Reading::default() };
        for read in read {
            reading.take(read);
        }
        let Reading { nodes, stamp, newest, mut merged } = reading;
        if newest.is_empty() && nodes == self.lock().nodes {
            // Nothing was decided there: it may be read again.
            self.lock().place = Some(place);
            return Ok(merged);
        }
        let mut newest = newest.into_iter().peekable();
        loop {
            let part: Vec<_> = newest.by_ref().take(RUN_MAX).collect();
            let is_last = newest.peek().is_none();
            let mut inner = self.lock();
            let mut batch = Batch { clock: Some((stamp.max(inner.stamp), inner.sequence)), ..Batch::default() };
            if is_last {
                // an own entry that this store has forgotten, because it was put back from a copy
                let read = nodes.get(&inner.node()).copied().unwrap_or_default();
                batch.clock = Some((stamp.max(inner.stamp), inner.sequence.max(read)));
                batch.place = inner.member.as_ref().map(|member| (member.log.clone(), place));
                batch.gone = inner.nodes.keys().filter(|node| !nodes.contains_key(*node)).cloned().collect();
                batch.nodes = nodes.iter().map(|(node, sequence)| (Arc::clone(node), *sequence)).collect();
            }
            inner.bring(part, batch, self.clock(), &mut merged)?;
            if is_last {
                return Ok(merged);
            }
        }
    }

    /// Reads the log from its beginning again: it is another than it was. It wants a snapshot of all that this node holds.
    pub fn read_again(&self) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let Some(member) = inner.member.clone() else { return Ok(()) };
        inner.commit(Batch { place: Some((member.log, Place::default())), ..Batch::default() })
    }
}

/// Does what was made so take the place of what is known? If it is the very same, its first place in the log does.
fn supersedes(made: &Made, known: &Made) -> bool {
    if made.is(known) { made.offset < known.offset } else { made.outranks(known) }
}

/// What was read: of each key the newest, and how far it goes.
#[derive(Default)]
struct Reading {
    nodes: HashMap<Arc<str>, u64>,
    stamp: Stamp,
    newest: BTreeMap<Key, (Made, Option<Decision>)>,
    merged: Merged,
}

impl Reading {
    fn take(&mut self, read: Read) {
        match read {
            Read::Entry(offset, Entry { node, sequence, changes }) => {
                let known = self.nodes.entry(Arc::clone(&node)).or_default();
                self.merged.repeated += u64::from(sequence <= *known);
                *known = sequence.max(*known);
                for logged in changes {
                    let node = logged.node.as_ref().unwrap_or(&node);
                    let made = Made { stamp: logged.made, node: Arc::clone(node), offset };
                    self.take_one(made, &logged);
                }
            }
            Read::Forget(node) => drop(self.nodes.remove(&node)),
            Read::Snapshot { nodes, rows } => {
                for (node, sequence) in nodes {
                    let known = self.nodes.entry(node).or_default();
                    *known = sequence.max(*known);
                }
                for logged in rows {
                    match (&logged.node, logged.offset) {
                        (Some(node), Some(offset)) => {
                            self.take_one(Made { stamp: logged.made, node: Arc::clone(node), offset }, &logged);
                        }
                        _ => self.merged.unsound += 1,
                    }
                }
            }
        }
    }

    fn take_one(&mut self, made: Made, logged: &Logged) {
        if !logged.is_sound() {
            self.merged.unsound += 1;
            return;
        }
        self.stamp = self.stamp.max(made.stamp);
        let key = logged.key();
        if self.newest.get(&key).is_some_and(|(known, _)| !supersedes(&made, known)) {
            self.merged.stale += 1;
            return;
        }
        let decision = logged.decision(made.clone());
        self.merged.stale += u64::from(self.newest.insert(key, (made, decision)).is_some());
    }
}

/// What there is to do of a part of what was read.
struct Bringing {
    batch: Batch,
    changes: Vec<Change>,
    merged: Merged,
}

impl Inner {
    /// All that the nodes share, decisions and what is gone.
    fn rows(&self) -> impl Iterator<Item = (&Made, Logged)> {
        let decisions = self.everything().map(|decision| (&decision.made, Logged::put(decision)));
        let gone = |(key, grave): (&Key, &Grave)| Logged::removed(*key, grave.made.stamp);
        let graves = self.graves.iter().map(move |grave| (&grave.1.made, gone(grave)));
        decisions.chain(graves)
    }

    /// Who joins a log tells it what they hold. What was decided before there was a cluster is this node's.
    pub(super) fn join(&mut self, clock: Clock) -> Result<(), Refusal> {
        let Some(member) = self.member.clone().filter(|_| self.place.is_none()) else { return Ok(()) };
        let nameless = self.everything().filter(|decision| decision.made.node.is_empty());
        let named = |decision: &Decision| {
            let made = Made { node: Arc::clone(&member.node), ..decision.made.clone() };
            Decision { made, ..decision.clone() }
        };
        let named: Vec<Decision> = nameless.map(named).collect();
        for part in named.chunks(RUN_MAX) {
            self.rename(part, clock)?;
        }
        let unlogged = |(made, logged): (&Made, Logged)| {
            let node = if made.node.is_empty() { &member.node } else { &made.node };
            logged.of(&Made { offset: Made::UNLOGGED, node: Arc::clone(node), ..made.clone() })
        };
        let rows: Vec<Logged> = self.rows().map(unlogged).collect();
        for rows in rows.chunks(RUN_MAX) {
            let entry = |(sequence, rows): (u64, &[Logged])| Entry {
                node: Arc::clone(&member.node),
                sequence,
                changes: rows.to_vec(),
            };
            let posted: Vec<Entry> = (self.sequence + 1..).zip(rows.chunks(ENTRY_MAX)).map(entry).collect();
            let clock = Some((self.stamp, self.sequence + posted.len() as u64));
            self.commit(Batch { posted, clock, ..Batch::default() })?;
        }
        self.commit(Batch { place: Some((member.log, Place::default())), ..Batch::default() })
    }

    /// The same decisions, of which only is said anew who made them.
    fn rename(&mut self, decisions: &[Decision], clock: Clock) -> Result<(), Refusal> {
        let changes: Vec<Change> = decisions.iter().cloned().map(Change::Put).collect();
        self.commit(Batch { changes: changes.clone(), ..Batch::default() })?;
        let (held, in_force): (Vec<_>, Vec<_>) = changes.into_iter().partition(|it| self.held.contains_key(&it.key()));
        for change in held {
            if let (key, Change::Put(decision)) = (change.key(), change)
                && let Some(held) = self.held.get_mut(&key)
            {
                held.decision = decision;
            }
        }
        // Nothing changes for the kernel.
        self.book.apply(&in_force, clock, self.maps.as_mut()).map(drop).map_err(Refusal::from)
    }

    /// What there is at this very key, in force or held back, live or not swept yet.
    fn any(&self, key: &Key) -> Option<&Decision> {
        self.held.get(key).map(|held| &held.decision).or_else(|| self.book.any(key))
    }

    /// Brings a part of what was read into force, and with it to the disk what `batch` says besides.
    fn bring(
        &mut self,
        part: Vec<(Key, (Made, Option<Decision>))>,
        batch: Batch,
        clock: Clock,
        merged: &mut Merged,
    ) -> Result<(), Refusal> {
        let mut bringing = Bringing { batch, changes: Vec::with_capacity(part.len()), merged: Merged::default() };
        for (key, (made, decision)) in part {
            self.plan(key, made, decision, clock, &mut bringing);
        }
        let Bringing { mut batch, changes, merged: mut done } = bringing;
        let mut undo = Vec::new();
        let results = self.project(&changes, clock, &mut undo);
        for (change, refusal) in changes.into_iter().zip(results).filter_map(|(it, result)| Some((it, result.err()?))) {
            let key = change.key();
            // What was there is outranked, whether or not there is room for what outranks it.
            undo.push(self.book.take_out(vec![key], clock, self.maps.as_mut()));
            if let Change::Put(decision) = change {
                let why = refusal.to_string();
                batch.held.push((key, Some(Held { decision: decision.clone(), why: why.clone() })));
                done.made.retain(|made| made.key() != key);
                done.held.push((decision, why));
            }
        }
        if let Err(refusal) = self.commit(batch) {
            self.revert(undo, clock);
            return Err(refusal);
        }
        let (made, removed) = (done.made.iter(), done.removed.iter());
        self.tell(made.map(|made| (What::Made, made)).chain(removed.map(|removed| (What::TakenBack, removed))));
        merged.made.append(&mut done.made);
        merged.removed.append(&mut done.removed);
        merged.held.append(&mut done.held);
        merged.stale += done.stale;
        Ok(())
    }

    /// One key: what disk and kernel are to hold of it.
    fn plan(&self, key: Key, made: Made, decision: Option<Decision>, clock: Clock, to_do: &mut Bringing) {
        let (before, grave) = (self.any(&key), self.graves.get(&key));
        let known = before.map(|before| &before.made).or_else(|| grave.map(|grave| &grave.made));
        if known.is_some_and(|known| !supersedes(&made, known)) {
            to_do.merged.stale += 1;
            return;
        }
        let is_held = self.held.contains_key(&key);
        let Some(decision) = decision.filter(|decision| is_live(decision, clock)) else {
            to_do.batch.changes.push(Change::Remove(key.0, key.1));
            to_do.changes.push(Change::Remove(key.0, key.1));
            to_do.batch.graves.push((key, Some(Grave { made, keep: clock.wall_s() + GRAVES_KEPT })));
            to_do.batch.held.extend(is_held.then_some((key, None)));
            to_do.merged.removed.extend(before.filter(|before| is_live(before, clock)).cloned());
            return;
        };
        to_do.batch.changes.push(Change::Put(decision.clone()));
        to_do.batch.graves.extend(grave.map(|_| (key, None)));
        let is_same = before.is_some_and(|before| before.made.is(&made));
        match self.keeps_back(&decision).filter(|_| is_held || !is_same) {
            Some(why) => {
                to_do.changes.push(Change::Remove(key.0, key.1));
                to_do.batch.held.push((key, Some(Held { decision: decision.clone(), why: why.clone() })));
                to_do.merged.held.push((decision, why));
            }
            None => {
                to_do.changes.push(Change::Put(decision.clone()));
                to_do.batch.held.extend(is_held.then_some((key, None)));
                to_do.merged.made.extend((!is_same || is_held).then_some(decision));
            }
        }
    }
}
