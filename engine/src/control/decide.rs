//! Taking decisions and taking them back: checked, in the kernel, on disk, and only then acknowledged.
//!
//! Many may ask at once. Who comes while others are being written waits, and then all who wait are written together: one
//! commit costs a disk some hundred microseconds to some milliseconds, whether it holds one decision or a thousand. Who
//! asks for many is served a part at a time, and others in between.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ipnet::IpNet;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::control::ask::{Ask, By, Done, Outcome, Refusal};
use crate::control::carry::{Draft, Job, Wish};
use crate::control::clock::Clock;
use crate::control::decision::{Decision, Key};
use crate::control::figures::{Compared, CountedMaps, Figures};
use crate::control::guard::{Guard, Widest};
use crate::control::history::Set;
use crate::control::hold::Held;
use crate::control::log::{Grave, Place};
use crate::control::maps::InspectMaps;
use crate::control::rules::{Change, RuleBook, Undo};
use crate::control::stamp::Stamp;
use crate::control::store::{Batch, Store};
use crate::control::sweep::bury;
use crate::events::Events;

pub use crate::control::list::{Filter, Listed};
pub use crate::control::sweep::Sweep;

/// Steps that are carried out under one lock, and in one transaction. More: whoever else asks waits longer. Fewer: an
/// import takes longer, for each transaction costs a wait for the disk.
pub(super) const RUN_MAX: usize = 4_096;

/// Who this node is in a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is called; no other node is.
    pub node: Arc<str>,
    /// What the log is called; another name is another log.
    pub log: String,
}

/// The one place where decisions are made. Shared by the API, the feeds and the sweeper; each call is short but for
/// the disk, so call it from threads that may block.
pub struct Control {
    pub(super) waiting: Mutex<VecDeque<Job>>,
    /// Fair: who waits gets it before who had it last, or an import would keep everybody out.
    inner: Mutex<Inner>,
    clock: Box<dyn Fn() -> Clock + Send + Sync>,
    /// Told when there is something for the log.
    posted: Notify,
    /// Writes that the kernel refused.
    refused_writes: Arc<AtomicU64>,
    /// What the last comparison found.
    pub(super) compared: Mutex<Option<Compared>>,
}

pub(super) struct Inner {
    pub(super) book: RuleBook,
    pub(super) store: Store,
    pub(super) maps: Box<dyn InspectMaps + Send>,
    pub(super) guard: Guard,
    /// What is decided and kept from being in force here; nothing of it is in the book.
    pub(super) held: BTreeMap<Key, Held>,
    pub(super) graves: BTreeMap<Key, Grave>,
    pub(super) member: Option<Member>,
    /// What this node is and was called, and until when.
    pub(super) names: HashMap<Arc<str>, Stamp>,
    pub(super) stamp: Stamp,
    pub(super) sequence: u64,
    /// Logs that this node is not in any more, until the disk knows.
    pub(super) left: Vec<String>,
    /// The last sequence read of each node.
    pub(super) nodes: HashMap<Arc<str>, u64>,
    /// How far the log has been read.
    pub(super) place: Option<Place>,
    /// The sequences of what the log has not got.
    pub(super) outbox: BTreeSet<u64>,
    pub(super) sets: BTreeMap<u64, Set>,
    /// What has ended and may still be on the disk.
    pub(super) unburied: Vec<Decision>,
    /// Steps of sets that are forgotten may still be on the disk.
    pub(super) has_litter: bool,
    /// The minute at which graves were looked through.
    pub(super) looked: u64,
    pub(super) events: Option<Arc<Events>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    /// Opens the store at `path` (`STATE_DIR/IFACE.redb`), forgets what has ended, and brings `maps` up to date by
    /// difference. `clock` is [`Clock::now`] but for tests.
    pub fn open(
        path: &Path,
        maps: Box<dyn InspectMaps + Send>,
        member: Option<Member>,
        clock: impl Fn() -> Clock + Send + Sync + 'static,
    ) -> Result<Self, Refusal> {
        let refused_writes = Arc::default();
        let mut maps: Box<dyn InspectMaps + Send> =
            Box::new(CountedMaps { maps, refused: Arc::clone(&refused_writes) });
        let (store, mut loaded) = Store::open(path)?;
        let now = clock();
        let (ended, live): (Vec<_>, Vec<_>) =
            mem::take(&mut loaded.decisions).into_iter().partition(|decision| !is_live(decision, now));
        let (held, live): (Vec<_>, Vec<_>) = live.into_iter().partition(|live| loaded.held.contains_key(&live.key()));
        let book = RuleBook::load(live, now, maps.as_mut())?;
        let held = held.into_iter().map(|decision| {
            let why = loaded.held.remove(&decision.key()).unwrap_or_default();
            (decision.key(), Held { decision, why })
        });
        let mut inner = Inner {
            book,
            store,
            maps,
            guard: Guard::default(),
            held: held.collect(),
            graves: loaded.graves,
            // a file that is new counts on from now: entries of an earlier life were others
            sequence: if loaded.sequence == 0 { now.wall_ns() / 1_000_000 } else { loaded.sequence },
            names: loaded.names,
            stamp: loaded.stamp,
            nodes: loaded.nodes,
            place: member.as_ref().and_then(|member| loaded.places.get(&member.log).copied()),
            outbox: loaded.outbox,
            left: Vec::new(),
            sets: loaded.sets,
            unburied: Vec::new(),
            has_litter: true,
            looked: 0,
            events: None,
            member,
        };
        // What is decided from now on they do not hear of: should this node come back to one, it tells everything.
        let log = inner.member.as_ref().map(|member| &member.log);
        inner.left = loaded.places.into_keys().filter(|place| Some(place) != log).collect();
        // On a disk that is full the engine starts all the same, and the sweeper tries again.
        if !ended.is_empty() && inner.commit(bury(&ended, inner.is_remembering(), now)).is_err() {
            inner.unburied = ended;
        }
        inner.take_name();
        inner.join(now)?;
        let (waiting, inner) = (Mutex::default(), Mutex::new(inner));
        Ok(Self {
            waiting,
            inner,
            clock: Box::new(clock),
            posted: Notify::new(),
            refused_writes,
            compared: Mutex::default(),
        })
    }

    /// Whom no block may hit without `force`, and why: this host's addresses, its gateway, its resolvers. In place of
    /// the list before. Others' blocks that hit them are held back, those that hit none of them any more come into
    /// force; what was decided on this node stays as it is.
    pub fn set_guarded(&self, guarded: Vec<(IpNet, String)>) {
        let mut inner = self.lock();
        if inner.guard.listed != guarded {
            inner.guard.listed = guarded;
            let clock = self.clock();
            inner.hold_back(clock);
            inner.release(clock);
        }
    }

    /// Which prefixes are too wide. In place of what was so before.
    pub fn set_widest(&self, widest: Widest) {
        self.lock().guard.widest = widest;
    }

    /// Takes decisions and takes them back, each for itself and in this order; when this returns, what is said to be
    /// done is on disk and in force. `what` names it in the history, from which it can be undone; feeds have none.
    #[expect(clippy::needless_pass_by_value, reason = "a name is given away once, and each part of it has a copy")]
    pub fn submit(&self, by: &By, asks: Vec<Ask>, what: Option<String>) -> Outcome {
        let mut outcome = Outcome { results: Vec::with_capacity(asks.len()), set: None };
        let mut wishes = asks.into_iter().map(Wish::Ask);
        loop {
            let part: Vec<Wish> = wishes.by_ref().take(RUN_MAX).collect();
            if part.is_empty() {
                return outcome;
            }
            let draft = what.as_ref().map(|what| Draft { number: outcome.set, what: what.clone(), undoes: None });
            let Outcome { results, set } = self.carry(by, part, draft);
            outcome.results.extend(results);
            outcome.set = set.or(outcome.set);
        }
    }

    /// One of [`submit`](Self::submit).
    pub fn ask(&self, by: &By, ask: Ask) -> Result<Done, Refusal> {
        let (net, kind) = ask.key();
        // one answer for one question
        self.submit(by, vec![ask], None).results.pop().unwrap_or(Err(Refusal::NoSuchRule { net, kind }))
    }

    /// Has at most [`RUN_MAX`] wishes carried out, along with those of others.
    pub(super) fn carry(&self, by: &By, wishes: Vec<Wish>, draft: Option<Draft>) -> Outcome {
        let job = Job::new(by.clone(), wishes, draft);
        let answer = Arc::clone(&job.answer);
        self.waiting.lock().push_back(job);
        let mut inner = self.lock();
        loop {
            // Whoever had the lock before may have done it along with their own.
            if let Some(outcome) = answer.lock().take() {
                return outcome;
            }
            let group = self.group();
            if group.is_empty() {
                return Outcome { results: Vec::new(), set: None };
            }
            let before = inner.sequence;
            inner.carry_out(group, &*self.clock);
            if inner.sequence > before {
                self.notify_posted();
            }
        }
    }

    /// Those who have waited longest.
    fn group(&self) -> Vec<Job> {
        let mut waiting = self.waiting.lock();
        let mut steps = 0;
        let together = waiting.iter().take_while(|job| {
            steps += job.wishes.len();
            steps <= RUN_MAX
        });
        let together = together.count().max(1).min(waiting.len());
        waiting.drain(..together).collect()
    }

    /// Where decisions that come and go are told. Said once, before anybody asks.
    pub fn tell(&self, events: Arc<Events>) {
        self.lock().events = Some(events);
    }

    /// This instant, as the decisions are measured.
    pub fn clock(&self) -> Clock {
        (self.clock)()
    }

    /// What there is and what was done, for metrics.
    pub fn figures(&self) -> Figures {
        let inner = self.lock();
        Figures {
            decisions: *inner.book.count(),
            held: inner.held.len(),
            graves: inner.graves.len(),
            outbox: inner.outbox.len() as u64,
            next: inner.place.map(|place| place.next),
            commits: inner.store.commits(),
            size: inner.store.size(),
            refused_writes: self.refused_writes.load(Relaxed),
            compared: *self.compared.lock(),
        }
    }

    /// Waits until something is posted for the log.
    pub async fn posted(&self) {
        self.posted.notified().await;
    }

    pub(super) fn notify_posted(&self) {
        self.posted.notify_one();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

pub(super) fn is_live(decision: &Decision, clock: Clock) -> bool {
    decision.until.is_none_or(|until| until > clock.wall_s())
}

impl Inner {
    /// What this node is called; empty where there is no cluster.
    pub(super) fn node(&self) -> Arc<str> {
        self.member.as_ref().map(|member| Arc::clone(&member.node)).unwrap_or_default()
    }

    /// Is what is gone remembered? A node that was in a cluster may be in one again.
    pub(super) fn is_remembering(&self) -> bool {
        self.member.is_some() || !self.nodes.is_empty()
    }

    /// The live decision at this very key, in force or held back.
    pub(super) fn there(&self, key: &Key, clock: Clock) -> Option<&Decision> {
        let held = self.held.get(key).map(|held| &held.decision).filter(|decision| is_live(decision, clock));
        held.or_else(|| self.book.get(&key.0, key.1, clock.mono_ns()))
    }

    /// Every decision, in force or held back, live or not swept yet.
    pub(super) fn everything(&self) -> impl Iterator<Item = &Decision> {
        self.book.all().chain(self.held_back())
    }

    /// Every decision that is held back.
    pub(super) fn held_back(&self) -> impl Iterator<Item = &Decision> {
        self.held.values().map(|held| &held.decision)
    }

    /// Brings it to the disk, and then all that is remembered beside the book up to date. On an error nothing of it is.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), Refusal> {
        let batch = Batch { left: self.left.clone(), ..batch };
        self.store.commit(&batch)?;
        self.left.clear();
        if let Some((stamp, sequence)) = batch.clock {
            (self.stamp, self.sequence) = (stamp, sequence);
        }
        self.place = batch.place.map(|(_, place)| place).or(self.place);
        self.nodes.extend(batch.nodes);
        self.names.extend(batch.names);
        for node in &batch.gone {
            self.nodes.remove(node);
        }
        for (key, grave) in batch.graves {
            match grave {
                Some(grave) => drop(self.graves.insert(key, grave)),
                None => drop(self.graves.remove(&key)),
            }
        }
        self.remember_held(batch.held);
        self.outbox.extend(batch.posted.iter().map(|entry| entry.sequence));
        for sequence in &batch.sent {
            self.outbox.remove(sequence);
        }
        self.sets.extend(batch.sets.into_iter().map(|set| (set.number, set)));
        if let Some(last) = batch.forget {
            self.sets.retain(|number, _| *number > last);
            self.has_litter = true;
        }
        Ok(())
    }

    /// Has book and kernel follow, as far as the kernel has room; what is refused changes nothing. The results are those
    /// of the changes, in order; `undo` gets what takes the others back. What fails together is tried by halves.
    pub(super) fn project(
        &mut self,
        changes: &[Change],
        clock: Clock,
        undo: &mut Vec<Undo>,
    ) -> Vec<Result<(), Refusal>> {
        if changes.is_empty() {
            return Vec::new();
        }
        match self.book.apply(changes, clock, self.maps.as_mut()) {
            Ok(applied) => {
                undo.push(applied);
                changes.iter().map(|_| Ok(())).collect()
            }
            Err(_) if changes.len() > 1 => {
                let (first, second) = changes.split_at(changes.len() / 2);
                let mut results = self.project(first, clock, undo);
                results.extend(self.project(second, clock, undo));
                results
            }
            Err(error) => vec![Err(error.into())],
        }
    }

    /// Takes back what was projected, the last first.
    pub(super) fn revert(&mut self, undo: Vec<Undo>, clock: Clock) {
        for undo in undo.into_iter().rev() {
            self.book.revert(undo, clock, self.maps.as_mut());
        }
    }
}
