//! What the cluster's log says, brought into force here; and what this node has to tell it.
//!
//! Every node reads the same entries. Of two decisions about one key the later stamp wins, then the later place in the
//! log, so the order in which they are met does not matter, nor does meeting them twice. What is gone leaves a grave, or
//! an older decision that comes late would bring it back. The guard of this node is no part of that: what it keeps from
//! being in force here is held back, and is still in the set that all nodes share.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::control::ask::Refusal;
use crate::control::clock::Clock;
use crate::control::decide::{Control, GRAVES_KEPT, Inner, is_live};
use crate::control::decision::{Decision, Key, Kind, Made};
use crate::control::log::{ENTRY_MAX, Entry, Grave, Logged, Place};
use crate::control::rules::Change;
use crate::control::stamp::Stamp;
use crate::control::store::Batch;
use crate::events::Change as What;

/// Something read from the log.
#[derive(Clone, Debug)]
pub enum Read {
    /// An entry, and its place.
    Entry(u64, Entry),
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
    /// Changes that something newer outranks.
    pub stale: u64,
    /// Entries that were met before.
    pub repeated: u64,
    /// Changes that no engine writes.
    pub unsound: u64,
}

/// All that a node holds of the log, for one that is new.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How far it has read.
    pub place: Place,
    /// The last sequence read of each node.
    pub nodes: Vec<(Arc<str>, u64)>,
    /// Decisions and what is gone.
    pub rows: Vec<Logged>,
}

/// The set that all nodes share, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Decisions in it.
    pub count: u64,
    /// The sum of their hashes: in whatever order they are met, it is the same.
    pub sum: u128,
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
        self.lock().outbox
    }

    /// The log has these entries of the outbox: their sequences.
    pub fn sent(&self, sequences: Vec<u64>) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let count = sequences.len() as u64;
        inner.store.commit(&Batch { sent: sequences, ..Batch::default() })?;
        inner.outbox = inner.outbox.saturating_sub(count);
        Ok(())
    }

    /// Brings what was read into force. `place` is the one after all of it. On an error nothing of it counts; read it
    /// again.
    pub fn merge(&self, read: Vec<Read>, place: impl Into<Place>) -> Result<Merged, Refusal> {
        self.lock().merge(read, place.into(), self.clock())
    }

    /// Reads the log from its beginning again: it is another than it was.
    pub fn read_again(&self) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let Some(member) = &inner.member else { return Ok(()) };
        let place = Some((member.log.clone(), Place::default()));
        inner.store.commit(&Batch { place, ..Batch::default() })?;
        inner.place = Some(Place::default());
        Ok(())
    }

    /// All that the log has told so far; with `all`, for another log than it was, also what that had not told yet.
    pub fn snapshot(&self, all: bool) -> Snapshot {
        let inner = self.lock();
        let is_logged = |made: &Made| all || made.offset != Made::UNLOGGED;
        let decisions = inner.everything().filter(|decision| is_logged(&decision.made));
        let decisions = decisions.map(|decision| Logged::put(decision).of(&decision.made));
        let graves = inner.graves.iter().filter(|(_, grave)| is_logged(&grave.made));
        let graves = graves.map(|(key, grave)| Logged::removed(*key, grave.made.stamp).of(&grave.made));
        let rows = decisions.chain(graves).collect();
        let nodes = inner.nodes.iter().map(|(node, sequence)| (Arc::clone(node), *sequence)).collect();
        Snapshot { place: inner.place.unwrap_or_default(), nodes, rows }
    }

    /// The set that all nodes share, of what goes on beyond the unix second `beyond`.
    pub fn digest(&self, beyond: u64) -> Digest {
        let inner = self.lock();
        let mut digest = Digest { count: 0, sum: 0 };
        for decision in inner.everything().filter(|decision| decision.until.is_none_or(|until| until > beyond)) {
            digest.count += 1;
            digest.sum = digest.sum.wrapping_add(hash(decision));
        }
        digest
    }
}

/// The same on every node and in every release.
fn hash(decision: &Decision) -> u128 {
    let mut hasher = SipHasher13::new();
    let Decision { net, kind, until, made, .. } = decision;
    hasher.write(format!("{net} {kind} {until:?} {} {}", made.stamp.bits(), made.node).as_bytes());
    hasher.finish128().as_u128()
}

/// What there is to do at each key.
type Staged = BTreeMap<Key, (Made, Option<Decision>)>;

impl Inner {
    fn everything(&self) -> impl Iterator<Item = &Decision> {
        self.book.all().chain(self.held.values().map(|(decision, _)| decision))
    }

    /// Who joins a log tells it what they hold.
    pub(super) fn join(&mut self) -> Result<(), Refusal> {
        let Some(member) = self.member.as_ref().filter(|_| self.place.is_none()) else { return Ok(()) };
        let rows: Vec<Logged> = self
            .everything()
            .map(|decision| {
                let made = Made { offset: Made::UNLOGGED, ..decision.made.clone() };
                Logged::put(decision).of(&made)
            })
            .collect();
        let mut batch = Batch { place: Some((member.log.clone(), Place::default())), ..Batch::default() };
        let mut sequence = self.sequence;
        for rows in rows.chunks(ENTRY_MAX) {
            sequence += 1;
            batch.posted.push(Entry { node: Arc::clone(&member.node), sequence, changes: rows.to_vec() });
        }
        batch.clock = Some((self.stamp, sequence));
        self.store.commit(&batch)?;
        self.outbox += batch.posted.len() as u64;
        (self.sequence, self.place) = (sequence, Some(Place::default()));
        Ok(())
    }

    fn merge(&mut self, read: Vec<Read>, place: Place, clock: Clock) -> Result<Merged, Refusal> {
        let (mut merged, mut staged) = (Merged::default(), Staged::new());
        let (mut nodes, mut stamp) = (HashMap::<Arc<str>, u64>::new(), self.stamp);
        for read in read {
            let changes: Vec<(Made, Logged)> = match read {
                Read::Entry(offset, entry) => {
                    let known = nodes.get(&entry.node).or_else(|| self.nodes.get(&entry.node));
                    if known.is_some_and(|known| entry.sequence <= *known) {
                        merged.repeated += 1;
                        continue;
                    }
                    nodes.insert(Arc::clone(&entry.node), entry.sequence);
                    let made = |logged: &Logged| Made {
                        stamp: logged.made,
                        node: Arc::clone(logged.node.as_ref().unwrap_or(&entry.node)),
                        offset: logged.offset.unwrap_or(offset),
                    };
                    entry.changes.iter().map(|logged| (made(logged), logged.clone())).collect()
                }
                Read::Snapshot { nodes: theirs, rows } => {
                    for (node, sequence) in theirs {
                        let known = nodes.get(&node).or_else(|| self.nodes.get(&node)).copied().unwrap_or_default();
                        nodes.insert(node, sequence.max(known));
                    }
                    let made = |logged: &Logged| Made {
                        stamp: logged.made,
                        node: logged.node.clone().unwrap_or_default(),
                        offset: logged.offset.unwrap_or(place.next),
                    };
                    rows.into_iter().map(|logged| (made(&logged), logged)).collect()
                }
            };
            for (made, logged) in changes {
                if !logged.is_sound() {
                    merged.unsound += 1;
                    continue;
                }
                stamp = stamp.max(made.stamp);
                self.stage(&mut staged, made, &logged, &mut merged);
            }
        }
        self.bring(staged, nodes, stamp, place, clock, &mut merged)?;
        Ok(merged)
    }

    /// When what there is at this key was decided, or taken back.
    fn made(&self, key: &Key) -> Option<&Made> {
        let held = self.held.get(key).map(|(decision, _)| &decision.made);
        let there = held.or_else(|| self.book.any(key).map(|decision| &decision.made));
        there.or_else(|| self.graves.get(key).map(|grave| &grave.made))
    }

    fn stage(&self, staged: &mut Staged, made: Made, logged: &Logged, merged: &mut Merged) {
        let key = logged.key();
        let known = staged.get(&key).map(|(made, _)| made).or_else(|| self.made(&key));
        let newer = match known {
            None => true,
            // its place in the log is known now, or an earlier one is
            Some(known) if known.is(&made) => made.offset < known.offset,
            Some(known) => made.outranks(known),
        };
        if newer {
            let decision = logged.decision(made.clone());
            staged.insert(key, (made, decision));
        } else {
            merged.stale += 1;
        }
    }

    fn bring(
        &mut self,
        staged: Staged,
        nodes: HashMap<Arc<str>, u64>,
        stamp: Stamp,
        place: Place,
        clock: Clock,
        merged: &mut Merged,
    ) -> Result<(), Refusal> {
        let log = self.member.as_ref().map(|member| member.log.clone());
        // an own entry that this store has forgotten, because it was put back from a copy
        let sequence = nodes.get(&self.node()).map_or(self.sequence, |read| self.sequence.max(*read));
        let mut batch = Batch {
            nodes: nodes.into_iter().collect(),
            place: log.map(|log| (log, place)),
            clock: Some((stamp, sequence)),
            ..Batch::default()
        };
        let mut kernel = Vec::new();
        for (key, (made, decision)) in staged {
            self.bring_one(key, made, decision, clock, &mut batch, &mut kernel, merged);
        }
        self.store.commit(&batch)?;
        (self.stamp, self.sequence, self.place) = (stamp, sequence, Some(place));
        self.nodes.extend(batch.nodes.drain(..));
        self.dig(&batch.graves);
        for (key, why) in std::mem::take(&mut batch.held) {
            if why.is_none() {
                self.held.remove(&key);
            }
        }
        for (decision, why) in &merged.held {
            self.held.insert(decision.key(), (decision.clone(), why.clone()));
        }
        self.project(kernel, clock, merged);
        let (made, removed) = (merged.made.iter(), merged.removed.iter());
        self.tell(made.map(|made| (What::Made, made)).chain(removed.map(|removed| (What::TakenBack, removed))));
        Ok(())
    }

    /// One key: what disk and kernel are to hold of it.
    #[allow(clippy::too_many_arguments, reason = "what is collected is collected in one pass")]
    fn bring_one(
        &self,
        key: Key,
        made: Made,
        decision: Option<Decision>,
        clock: Clock,
        batch: &mut Batch,
        kernel: &mut Vec<Change>,
        merged: &mut Merged,
    ) {
        let there = self.there(&key, clock).cloned();
        let (net, kind) = key;
        let same = there.as_ref().is_some_and(|there| there.made.is(&made));
        match decision.filter(|decision| is_live(decision, clock)) {
            Some(decision) => {
                let own = made.node == self.node();
                let why = if own || kind != Kind::Block { None } else { self.guard.hits(net) };
                let why = why.map(|(guarded, why)| format!("it would block {guarded}, {why}"));
                batch.changes.push(Change::Put(decision.clone()));
                if self.graves.contains_key(&key) {
                    batch.graves.push((key, None));
                }
                match why {
                    Some(why) => {
                        batch.held.push((key, Some(why.clone())));
                        kernel.push(Change::Remove(net, kind));
                        merged.held.push((decision, why));
                    }
                    None => {
                        if self.held.contains_key(&key) {
                            batch.held.push((key, None));
                        }
                        kernel.push(Change::Put(decision.clone()));
                        if !same {
                            merged.made.push(decision);
                        }
                    }
                }
            }
            None => {
                batch.changes.push(Change::Remove(net, kind));
                batch.held.push((key, None));
                let keep = clock.wall_s() + GRAVES_KEPT;
                batch.graves.push((key, Some(Grave { made, keep })));
                kernel.push(Change::Remove(net, kind));
                merged.removed.extend(there);
            }
        }
    }

    /// What the kernel has no room for is held back until it has.
    fn project(&mut self, kernel: Vec<Change>, clock: Clock, merged: &mut Merged) {
        let Err(error) = self.book.apply(kernel.clone(), clock, self.maps.as_mut()) else { return };
        if kernel.len() > 1 {
            let (first, second) = kernel.split_at(kernel.len() / 2);
            self.project(first.to_vec(), clock, merged);
            self.project(second.to_vec(), clock, merged);
        } else if let Some(Change::Put(decision)) = kernel.into_iter().next() {
            let (key, why) = (decision.key(), error.to_string());
            // Without this mark it is tried again at the next start, which says so if it fails.
            let mark = Batch { held: vec![(key, Some(why.clone()))], ..Batch::default() };
            let _only_a_mark = self.store.commit(&mark);
            merged.made.retain(|made| made.key() != key);
            merged.held.push((decision.clone(), why.clone()));
            self.held.insert(key, (decision, why));
        }
    }
}
