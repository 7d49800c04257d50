//! Taking decisions and taking them back: checked, on disk, in the kernel, and only then acknowledged.
//!
//! Many may ask at once. Who comes while others are being written waits, and then all who wait are written together: one
//! commit costs a disk some hundred microseconds to some milliseconds, whether it holds one decision or a thousand.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;

use crate::control::ask::{Ask, By, Done, MAX_WHO, Outcome, Refusal};
use crate::control::clock::Clock;
use crate::control::decision::{Decision, Key, Kind, Made, Origin};
use crate::control::figures::{CountedMaps, Figures};
use crate::control::guard::{Guard, Widest};
use crate::control::history::{SETS_MAX, STEPS_MAX, Set, Step};
use crate::control::log::{ENTRY_MAX, Entry, Grave, Logged, Place};
use crate::control::maps::RuleMaps;
use crate::control::rules::{Change, RuleBook};
use crate::control::stamp::Stamp;
use crate::control::store::{Batch, Store};
use crate::events::{self, BEHIND_MAX, Change as What, Event, Events, RuleChange};

/// Prefixes swept under one lock. More: an operator's command waits longer (some 2 µs each). Fewer: a commit to disk
/// (some 300 µs) for each few.
const SWEEP_BATCH: usize = 4_096;
/// Changes in one transaction. More: whoever else asks waits longer (some 5 µs each). Fewer: an import is more commits.
const RUN_MAX: usize = 65_536;
/// How long it is remembered that a decision is gone, seconds: 30 days. A node that was cut off for longer than this may
/// bring back what was taken back meanwhile. Longer: memory, some 100 bytes each.
pub(crate) const GRAVES_KEPT: u64 = 30 * 86_400;

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
    waiting: Mutex<Vec<Job>>,
    inner: Mutex<Inner>,
    clock: Box<dyn Fn() -> Clock + Send + Sync>,
    /// Told when there is something for the log.
    posted: tokio::sync::Notify,
    /// Writes that the kernel refused.
    refused_writes: Arc<AtomicU64>,
}

/// What somebody asks, and where they find the answer.
struct Job {
    by: By,
    asks: Vec<Ask>,
    named: Option<Named>,
    answer: Arc<Mutex<Option<Outcome>>>,
}

/// How it is remembered in the history.
#[derive(Clone)]
pub(super) struct Named {
    /// What it is called.
    pub(super) what: String,
    /// The set that it goes on with, unless somebody has undone that.
    pub(super) set: Option<u64>,
}

pub(super) struct Inner {
    pub(super) book: RuleBook,
    pub(super) store: Store,
    pub(super) maps: Box<dyn RuleMaps + Send>,
    pub(super) guard: Guard,
    /// What others decided and this node's guard keeps from being in force here, and why.
    pub(super) held: BTreeMap<Key, (Decision, String)>,
    pub(super) graves: HashMap<Key, Grave>,
    pub(super) member: Option<Member>,
    pub(super) stamp: Stamp,
    pub(super) sequence: u64,
    pub(super) nodes: HashMap<Arc<str>, u64>,
    /// How far the log has been read.
    pub(super) place: Option<Place>,
    pub(super) outbox: u64,
    pub(super) sets: BTreeMap<u64, Set>,
    /// The minute at which graves were looked through.
    looked: u64,
    events: Option<Arc<Events>>,
}

/// One step on its way to disk and kernel.
pub(super) struct Planned {
    pub(super) change: Change,
    /// What there is at its key, in the book or held back.
    before: Option<Decision>,
    /// What there is at its key no more.
    grave: Option<Grave>,
    /// The set it belongs to.
    set: Option<u64>,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Decisions that ended.
    pub ended: Vec<Decision>,
    /// How long until there is something to sweep; `None` if nothing ends by itself.
    pub next: Option<Duration>,
}

/// Which decisions are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// That came through this door.
    pub origin: Option<Origin>,
    /// That apply to all of this.
    pub covering: Option<IpNet>,
    /// Made by the node of this name.
    pub node: Option<String>,
    /// Made by another node than the one of this name.
    pub elsewhere: Option<Arc<str>>,
    /// Made at this unix second or later.
    pub since: Option<u64>,
    /// Made before this unix second.
    pub before: Option<u64>,
}

impl Filter {
    /// Does it want this one?
    pub fn wants(&self, decision: &Decision) -> bool {
        let made = decision.made.stamp.seconds();
        self.kind.is_none_or(|kind| decision.kind == kind)
            && self.origin.is_none_or(|origin| decision.origin == origin)
            && self.covering.is_none_or(|net| decision.net.contains(&net))
            && self.node.as_ref().is_none_or(|node| *decision.made.node == **node)
            && self.elsewhere.as_ref().is_none_or(|own| !decision.made.node.is_empty() && decision.made.node != *own)
            && self.since.is_none_or(|since| made >= since)
            && self.before.is_none_or(|before| made < before)
    }
}

/// A decision, and what keeps it from being in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The decision.
    pub decision: Decision,
    /// Why this node holds it back; `None`: it is in force.
    pub held: Option<String>,
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
        maps: Box<dyn RuleMaps + Send>,
        member: Option<Member>,
        clock: impl Fn() -> Clock + Send + Sync + 'static,
    ) -> Result<Self, Refusal> {
        let refused_writes = Arc::default();
        let mut maps: Box<dyn RuleMaps + Send> = Box::new(CountedMaps { maps, refused: Arc::clone(&refused_writes) });
        let (mut store, mut loaded) = Store::open(path)?;
        let now = clock();
        let has_ended = |decision: &Decision| decision.until.is_some_and(|until| until <= now.wall_s());
        let (ended, live): (Vec<_>, Vec<_>) = mem::take(&mut loaded.decisions).into_iter().partition(has_ended);
        let purged = bury(&ended, member.is_some(), now);
        if !ended.is_empty() {
            store.commit(&purged)?;
        }
        loaded.graves.extend(purged.graves.into_iter().filter_map(|(key, grave)| Some((key, grave?))));
        let (held, live): (Vec<_>, Vec<_>) = live.into_iter().partition(|live| loaded.held.contains_key(&live.key()));
        let book = RuleBook::load(live, now, maps.as_mut())?;
        let why = |decision: Decision| {
            let why = loaded.held.get(&decision.key()).cloned().unwrap_or_default();
            (decision.key(), (decision, why))
        };
        let mut inner = Inner {
            book,
            store,
            maps,
            guard: Guard::default(),
            held: held.into_iter().map(why).collect(),
            graves: loaded.graves,
            // a file that is new counts on from now: entries of an earlier life were others
            sequence: if loaded.sequence == 0 { now.wall_ns() / 1_000_000 } else { loaded.sequence },
            stamp: loaded.stamp,
            nodes: loaded.nodes,
            place: member.as_ref().and_then(|member| loaded.places.get(&member.log).copied()),
            outbox: loaded.outbox,
            sets: loaded.sets,
            looked: 0,
            events: None,
            member,
        };
        inner.join()?;
        let (waiting, inner) = (Mutex::default(), Mutex::new(inner));
        Ok(Self { waiting, inner, clock: Box::new(clock), posted: tokio::sync::Notify::new(), refused_writes })
    }

    /// Whom no block may hit without `force`, and why: this host's addresses, its gateway, its resolvers. In place of
    /// the list before. What others decided and the list before kept from being in force is, if nothing keeps it now.
    pub fn set_guarded(&self, guarded: Vec<(IpNet, String)>) {
        let mut inner = self.lock();
        if inner.guard.listed != guarded {
            inner.guard.listed = guarded;
            inner.release((self.clock)());
        }
    }

    /// Which prefixes are too wide. In place of what was so before.
    pub fn set_widest(&self, widest: Widest) {
        self.lock().guard.widest = widest;
    }

    /// Takes decisions and takes them back, each for itself and in this order; when this returns, what is said to be
    /// done is on disk and in force. `what` names it in the history, from which it can be undone; feeds have none.
    pub fn submit(&self, by: &By, asks: Vec<Ask>, what: Option<String>) -> Outcome {
        self.submit_named(by, asks, what.map(|what| Named { what, set: None }))
    }

    pub(super) fn submit_named(&self, by: &By, asks: Vec<Ask>, named: Option<Named>) -> Outcome {
        let answer = Arc::default();
        let job = Job { by: by.clone(), asks, named, answer: Arc::clone(&answer) };
        unpoisoned(&self.waiting).push(job);
        let mut inner = self.lock();
        // Whoever had the lock before may have done it along with their own.
        if let Some(outcome) = unpoisoned(&answer).take() {
            return outcome;
        }
        let jobs = mem::take(&mut *unpoisoned(&self.waiting));
        let before = inner.outbox;
        inner.carry_out(jobs, &*self.clock);
        if inner.outbox > before {
            self.posted.notify_one();
        }
        let outcome = unpoisoned(&answer).take();
        drop(inner);
        outcome.unwrap_or_else(|| Outcome { results: Vec::new(), set: None })
    }

    /// Where decisions that come and go are told. Said once, before anybody asks.
    pub fn tell(&self, events: Arc<Events>) {
        self.lock().events = Some(events);
    }

    /// One of [`submit`](Self::submit).
    pub fn ask(&self, by: &By, ask: Ask) -> Result<Done, Refusal> {
        let (net, kind) = ask.key();
        // one answer for one question
        self.submit(by, vec![ask], None).results.pop().unwrap_or(Err(Refusal::NoSuchRule { net, kind }))
    }

    /// The decisions in force, and those that this node holds back, by address.
    pub fn list(&self, filter: &Filter) -> Vec<Listed> {
        let inner = self.lock();
        let clock = (self.clock)();
        let in_force = inner.book.iter(clock.mono_ns()).filter(|decision| filter.wants(decision));
        let mut listed: Vec<_> = in_force.map(|decision| Listed { decision: decision.clone(), held: None }).collect();
        let held = inner.held.values().filter(|(decision, _)| filter.wants(decision) && is_live(decision, clock));
        let before = listed.len();
        listed.extend(held.map(|(decision, why)| Listed { decision: decision.clone(), held: Some(why.clone()) }));
        if listed.len() > before {
            listed.sort_by_key(|listed| listed.decision.key());
        }
        listed
    }

    /// What there is and what was done, for metrics.
    pub fn figures(&self) -> Figures {
        let inner = self.lock();
        Figures {
            decisions: *inner.book.count(),
            held: inner.held.len(),
            graves: inner.graves.len(),
            outbox: inner.outbox,
            next: inner.place.map(|place| place.next),
            commits: inner.store.commits(),
            size: inner.store.size(),
            refused_writes: self.refused_writes.load(Relaxed),
        }
    }

    /// Removes what has ended from book, maps and disk. Call it every second or when [`Sweep::next`] has passed; a
    /// late sweep costs memory, not enforcement, because the kernel knows the ends.
    pub fn sweep(&self) -> Result<Sweep, Refusal> {
        let mut ended = Vec::new();
        loop {
            let mut guard = self.lock();
            let inner = &mut *guard;
            let clock = (self.clock)();
            let now = clock.mono_ns();
            let mut swept = inner.book.expire(now, SWEEP_BATCH, inner.maps.as_mut());
            swept.ended.extend(inner.expire_held(clock));
            let mut purged = bury(&swept.ended, inner.member.is_some(), clock);
            purged.graves.extend(inner.forgotten(clock));
            if !purged.changes.is_empty() || !purged.graves.is_empty() {
                // What stays on disk for a refusal is purged at the next start.
                inner.store.commit(&purged)?;
                inner.dig(&purged.graves);
            }
            inner.release(clock);
            inner.tell(swept.ended.iter().map(|ended| (What::Ended, ended)));
            ended.append(&mut swept.ended);
            if let Some(error) = swept.error {
                return Err(error.into());
            }
            if !swept.more {
                let next = inner.book.next_due().map(|at| Duration::from_nanos(at.saturating_sub(now)));
                return Ok(Sweep { ended, next });
            }
        }
    }

    /// This instant, as the decisions are measured.
    pub fn clock(&self) -> Clock {
        (self.clock)()
    }

    /// Waits until something is posted for the log.
    pub async fn posted(&self) {
        self.posted.notified().await;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // After a panic in between, the store is ahead of the book at worst; the next start brings both together.
        unpoisoned(&self.inner)
    }

    pub(super) fn notify_posted(&self) {
        self.posted.notify_one();
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn is_live(decision: &Decision, clock: Clock) -> bool {
    decision.until.is_none_or(|until| until > clock.wall_s())
}

/// The rows of what has ended go; in a cluster, it is remembered that they were there.
fn bury(ended: &[Decision], in_cluster: bool, clock: Clock) -> Batch {
    let changes = ended.iter().map(|ended| Change::Remove(ended.net, ended.kind)).collect();
    let held = ended.iter().map(|ended| (ended.key(), None)).collect();
    let grave = |ended: &Decision| {
        let grave = Grave { made: ended.made.clone(), keep: clock.wall_s() + GRAVES_KEPT };
        (ended.key(), Some(grave))
    };
    let graves = if in_cluster { ended.iter().map(grave).collect() } else { Vec::new() };
    Batch { changes, held, graves, ..Batch::default() }
}

impl Inner {
    /// Carries out all jobs, in their order; steps of the same sort go to disk together, whoever asked for them.
    fn carry_out(&mut self, jobs: Vec<Job>, clock: &dyn Fn() -> Clock) {
        let mut results: Vec<Vec<Option<Result<Done, Refusal>>>> =
            jobs.iter().map(|job| job.asks.iter().map(|_| None).collect()).collect();
        let mut sets: Vec<Option<Set>> = Vec::with_capacity(jobs.len());
        for job in &jobs {
            let before = sets.iter().flatten().count() as u64;
            sets.push(self.new_set(job, before, clock()));
        }
        let steps = jobs.iter().enumerate().flat_map(|(at, job)| (0..job.asks.len()).map(move |step| (at, step)));
        let mut steps = steps.peekable();
        while let Some(first) = steps.next() {
            let sort = |(at, step): (usize, usize)| mem::discriminant(&jobs[at].asks[step]);
            let key = |(at, step): (usize, usize)| jobs[at].asks[step].key();
            let (mut run, mut keys) = (vec![first], HashSet::from([key(first)]));
            // The guard asks what is trusted and allowed: a run changes one kind, so what it asks is as it was.
            while let Some(next) = steps.next_if(|next| {
                sort(*next) == sort(first)
                    && key(*next).1 == key(first).1
                    && run.len() < RUN_MAX
                    && keys.insert(key(*next))
            }) {
                run.push(next);
            }
            let asked: Vec<_> = run.iter().map(|(at, step)| (&jobs[*at].by, &jobs[*at].asks[*step], *at)).collect();
            let done = self.run(&asked, &mut sets, clock());
            for ((at, step), done) in run.into_iter().zip(done) {
                results[at][step] = Some(done);
            }
        }
        for ((job, results), set) in jobs.into_iter().zip(results).zip(sets) {
            let set = set.filter(|set| set.count > 0).map(|set| set.number);
            let results: Vec<_> = results.into_iter().flatten().collect();
            self.tell(results.iter().filter_map(|result| match result {
                Ok(Done::Made { decision, .. }) => Some((What::Made, decision)),
                Ok(Done::Removed { removed, .. }) => Some((What::TakenBack, removed)),
                Ok(Done::Already(_)) | Err(_) => None,
            }));
            *unpoisoned(&job.answer) = Some(Outcome { results, set });
        }
    }

    /// Tells whoever watches; not of more than they could follow.
    pub(super) fn tell<'a>(&self, changes: impl Iterator<Item = (What, &'a Decision)>) {
        let Some(events) = &self.events else { return };
        for (what, decision) in changes.take(BEHIND_MAX) {
            events.publish(Event::now(events::What::Rule(RuleChange::of(what, decision))));
        }
    }

    pub(super) fn tell_planned(&self, planned: &[Planned], results: &[Result<(), Refusal>]) {
        let done = planned.iter().zip(results).filter(|(_, result)| result.is_ok()).map(|(planned, _)| planned);
        self.tell(done.filter_map(|planned| match &planned.change {
            Change::Put(decision) => Some((What::Made, decision)),
            Change::Remove(..) => Some((What::TakenBack, planned.before.as_ref()?)),
        }));
    }

    /// What an operator does is remembered as a set.
    fn new_set(&self, job: &Job, others: u64, clock: Clock) -> Option<Set> {
        let Named { what, set } = job.named.clone()?;
        let open = |set: &&Set| set.undone_by.is_none();
        if let Some(set) = set.and_then(|set| self.sets.get(&set)).filter(open) {
            return Some(set.clone());
        }
        let number = self.sets.last_key_value().map_or(0, |(number, _)| *number) + 1 + others;
        let (origin, who) = (job.by.origin, cut(&job.by.who));
        Some(Set { number, time: clock.wall_s(), origin, who, what, count: 0, undone_by: None, undoes: None })
    }

    /// Steps of one sort about one kind, no key twice: checked, then all of them together.
    fn run(
        &mut self,
        asked: &[(&By, &Ask, usize)],
        sets: &mut [Option<Set>],
        clock: Clock,
    ) -> Vec<Result<Done, Refusal>> {
        let stamp = self.stamp.next(clock);
        let mut results: Vec<Option<Result<Done, Refusal>>> = Vec::with_capacity(asked.len());
        let (mut planned, mut places) = (Vec::new(), Vec::new());
        for (place, (by, ask, at)) in asked.iter().enumerate() {
            let change = self.change(by, ask, stamp, clock);
            results.push(match change {
                Ok(Err(done)) => Some(Ok(done)),
                Err(refusal) => Some(Err(refusal)),
                Ok(Ok(change)) => {
                    let set = sets[*at].as_ref().map(|set| set.number);
                    planned.push(self.plan(change, stamp, set, clock));
                    places.push((place, *at));
                    None
                }
            });
        }
        let done = self.make(&planned, stamp, sets, clock);
        for (((place, _), done), planned) in places.into_iter().zip(done).zip(&planned) {
            results[place] = Some(done.and_then(|()| self.done(planned, clock)));
        }
        results.into_iter().flatten().collect()
    }

    /// The change that is asked for; the inner error: there is nothing to change.
    pub(super) fn change(
        &self,
        by: &By,
        ask: &Ask,
        stamp: Stamp,
        clock: Clock,
    ) -> Result<Result<Change, Done>, Refusal> {
        let now = clock.mono_ns();
        self.guard.check(ask, by, &self.book, now)?;
        let (net, kind) = ask.key();
        let there = self.there(&(net, kind), clock);
        match ask {
            Ask::Put { end, reason, .. } => {
                let until = end.at(clock)?;
                let lasts = |there: &Decision| there.until.is_none_or(|t| until.is_some_and(|until| t >= until));
                let same = |there: &Decision| there.until == until && there.reason == *reason;
                let settled = there.filter(|there| match by.origin {
                    _ if by.origin.is_operator() || self.is_of_file(there, by) => same(there),
                    Origin::File => there.origin.is_operator() || lasts(there),
                    _ => lasts(there),
                });
                if let Some(there) = settled.filter(|there| !self.held.contains_key(&there.key())) {
                    return Ok(Err(Done::Already(there.clone())));
                }
                let made = Made { stamp, node: self.node(), offset: Made::UNLOGGED };
                let (reason, who) = (Arc::clone(reason), cut(&by.who));
                Ok(Ok(Change::Put(Decision { net, kind, until, reason, origin: by.origin, who, made })))
            }
            Ask::Remove { .. }
                if there.is_some_and(|there| by.origin != Origin::File || self.is_of_file(there, by)) =>
            {
                Ok(Ok(Change::Remove(net, kind)))
            }
            Ask::Remove { .. } => Err(match self.book.covering(&net, now) {
                Some(applies) if applies.kind == kind => Refusal::Covered { net, kind, by: applies.net },
                _ => Refusal::NoSuchRule { net, kind },
            }),
        }
    }

    /// Was it made here, by the very file that asks? Before this node joined a cluster it had no name.
    fn is_of_file(&self, there: &Decision, by: &By) -> bool {
        let here = there.made.node.is_empty() || there.made.node == self.node();
        here && (there.origin, by.origin) == (Origin::File, Origin::File) && there.who == cut(&by.who)
    }

    /// What this node is called; empty where there is no cluster.
    pub(super) fn node(&self) -> Arc<str> {
        self.member.as_ref().map(|member| Arc::clone(&member.node)).unwrap_or_default()
    }

    /// The live decision at this very key, in force or held back.
    pub(super) fn there(&self, key: &Key, clock: Clock) -> Option<&Decision> {
        let held = self.held.get(key).map(|(decision, _)| decision).filter(|decision| is_live(decision, clock));
        held.or_else(|| self.book.get(&key.0, key.1, clock.mono_ns()))
    }

    pub(super) fn plan(&self, change: Change, stamp: Stamp, set: Option<u64>, clock: Clock) -> Planned {
        let key = change.key();
        let grave = match (&change, &self.member) {
            (Change::Remove(..), Some(member)) => {
                let made = Made { stamp, node: Arc::clone(&member.node), offset: Made::UNLOGGED };
                Some(Grave { made, keep: clock.wall_s() + GRAVES_KEPT })
            }
            _ => None,
        };
        Planned { before: self.there(&key, clock).cloned(), change, grave, set }
    }

    fn done(&self, planned: &Planned, clock: Clock) -> Result<Done, Refusal> {
        match (&planned.change, planned.before.clone()) {
            (Change::Put(decision), replaced) => Ok(Done::Made { decision: decision.clone(), replaced }),
            (Change::Remove(net, _), Some(removed)) => {
                Ok(Done::Removed { removed, now: self.book.covering(net, clock.mono_ns()).cloned() })
            }
            (Change::Remove(net, kind), None) => Err(Refusal::NoSuchRule { net: *net, kind: *kind }),
        }
    }

    /// Disk, then kernel; if the kernel refuses, the disk is put back. What fails together is tried by halves, so that
    /// what there is room for is done.
    pub(super) fn make(
        &mut self,
        planned: &[Planned],
        stamp: Stamp,
        sets: &mut [Option<Set>],
        clock: Clock,
    ) -> Vec<Result<(), Refusal>> {
        if planned.is_empty() {
            return Vec::new();
        }
        match self.make_all(planned, stamp, sets, clock) {
            Ok(()) => planned.iter().map(|_| Ok(())).collect(),
            Err(Refusal::Maps(_)) if planned.len() > 1 => {
                let (first, second) = planned.split_at(planned.len() / 2);
                let mut results = self.make(first, stamp, sets, clock);
                results.extend(self.make(second, stamp, sets, clock));
                results
            }
            Err(refusal) => planned.iter().map(|_| Err(refusal.clone())).collect(),
        }
    }

    fn make_all(
        &mut self,
        planned: &[Planned],
        stamp: Stamp,
        sets: &mut [Option<Set>],
        clock: Clock,
    ) -> Result<(), Refusal> {
        let batch = self.batch(planned, stamp, sets);
        self.store.commit(&batch)?;
        let in_book = |planned: &&Planned| {
            matches!(planned.change, Change::Put(_)) || !self.held.contains_key(&planned.change.key())
        };
        let changes = planned.iter().filter(in_book).map(|planned| planned.change.clone()).collect();
        if let Err(maps) = self.book.apply(changes, clock, self.maps.as_mut()) {
            return Err(match self.store.commit(&self.back(&batch, planned)) {
                Ok(()) => maps.into(),
                Err(store) => Refusal::Torn { maps: Arc::new(maps), store: Arc::new(store) },
            });
        }
        self.dig(&batch.graves);
        for planned in planned {
            self.held.remove(&planned.change.key());
        }
        self.outbox += batch.posted.len() as u64;
        if let Some((stamp, sequence)) = batch.clock {
            (self.stamp, self.sequence) = (stamp, sequence);
        }
        for set in batch.sets {
            for own in sets.iter_mut().flatten().filter(|own| own.number == set.number) {
                own.count = set.count;
            }
            self.sets.insert(set.number, set);
        }
        if let Some(last) = batch.forget {
            self.sets.retain(|number, _| *number > last);
        }
        Ok(())
    }

    fn batch(&self, planned: &[Planned], stamp: Stamp, sets: &[Option<Set>]) -> Batch {
        let mut batch = Batch::default();
        for Planned { change, before, grave, set } in planned {
            let key = change.key();
            batch.changes.push(change.clone());
            if grave.is_some() || self.graves.contains_key(&key) {
                batch.graves.push((key, grave.clone()));
            }
            if self.held.contains_key(&key) {
                batch.held.push((key, None));
            }
            if let Some(set) = set {
                batch.steps.push((*set, Step { key, made: stamp, before: before.clone() }));
            }
        }
        let sequence = self.post(planned, stamp, &mut batch);
        batch.clock = Some((stamp, sequence));
        for set in sets.iter().flatten() {
            let count = batch.steps.iter().filter(|(number, _)| *number == set.number).count() as u64;
            if count > 0 {
                batch.sets.push(Set { count: set.count + count, ..set.clone() });
            }
        }
        batch.forget = self.too_many(&batch.sets);
        batch
    }

    /// What other nodes are told of it. Returns the last sequence.
    fn post(&self, planned: &[Planned], stamp: Stamp, batch: &mut Batch) -> u64 {
        let Some(member) = &self.member else { return self.sequence };
        let mut sequence = self.sequence;
        for planned in planned.chunks(ENTRY_MAX) {
            let changes = planned.iter().map(|planned| match &planned.change {
                Change::Put(decision) => Logged::put(decision),
                Change::Remove(net, kind) => Logged::removed((*net, *kind), stamp),
            });
            sequence += 1;
            batch.posted.push(Entry { node: Arc::clone(&member.node), sequence, changes: changes.collect() });
        }
        sequence
    }

    /// What undoes a batch that is on disk already.
    fn back(&self, batch: &Batch, planned: &[Planned]) -> Batch {
        let before = |planned: &Planned| match &planned.before {
            Some(before) => Change::Put(before.clone()),
            None => {
                let (net, kind) = planned.change.key();
                Change::Remove(net, kind)
            }
        };
        let grave = |(key, _): &(Key, _)| (*key, self.graves.get(key).cloned());
        let held = |(key, _): &(Key, _)| (*key, self.held.get(key).map(|(_, why)| why.clone()));
        let posted = batch.posted.iter().map(|entry| entry.sequence);
        Batch {
            changes: planned.iter().map(before).collect(),
            graves: batch.graves.iter().map(grave).collect(),
            held: batch.held.iter().map(held).collect(),
            sent: posted.collect(),
            clock: Some((self.stamp, self.sequence)),
            sets: batch.sets.iter().filter_map(|set| self.sets.get(&set.number).cloned()).collect(),
            lost_sets: batch.sets.iter().map(|set| set.number).filter(|n| !self.sets.contains_key(n)).collect(),
            lost_steps: batch.steps.iter().map(|(number, step)| (*number, step.key)).collect(),
            ..Batch::default()
        }
    }

    /// The last set that is forgotten for those that come.
    fn too_many(&self, new: &[Set]) -> Option<u64> {
        let all: BTreeMap<u64, u64> = self.sets.values().chain(new).map(|set| (set.number, set.count)).collect();
        let (mut sets, mut steps, mut last) = (all.len(), all.values().sum::<u64>(), None);
        for (number, count) in &all {
            if sets <= SETS_MAX && steps <= STEPS_MAX || new.iter().any(|set| set.number == *number) {
                break;
            }
            (sets, steps, last) = (sets - 1, steps - count, Some(*number));
        }
        last
    }

    /// Brings the memory of what is gone up to date.
    pub(super) fn dig(&mut self, graves: &[(Key, Option<Grave>)]) {
        for (key, grave) in graves {
            match grave {
                Some(grave) => drop(self.graves.insert(*key, grave.clone())),
                None => drop(self.graves.remove(key)),
            }
        }
    }

    fn expire_held(&mut self, clock: Clock) -> Vec<Decision> {
        let mut ended = Vec::new();
        self.held.retain(|_, (decision, _)| {
            let live = is_live(decision, clock);
            if !live {
                ended.push(decision.clone());
            }
            live
        });
        ended
    }

    /// Graves whose time is over, once a minute: a few at a time, since a month of them may end together.
    fn forgotten(&mut self, clock: Clock) -> Vec<(Key, Option<Grave>)> {
        let minute = clock.wall_s() / 60;
        if mem::replace(&mut self.looked, minute) == minute {
            return Vec::new();
        }
        let over = self.graves.iter().filter(|(_, grave)| grave.keep <= clock.wall_s());
        over.take(SWEEP_BATCH).map(|(key, _)| (*key, None)).collect()
    }

    /// What nothing keeps back any longer comes into force.
    pub(super) fn release(&mut self, clock: Clock) {
        let free = |(key, _): &(&Key, &(Decision, String))| self.guard.hits(key.0).is_none();
        let free: Vec<Decision> = self.held.iter().filter(free).map(|(_, (decision, _))| decision.clone()).collect();
        for decision in free {
            let key = decision.key();
            // the kernel may have no room still
            if self.book.apply(vec![Change::Put(decision)], clock, self.maps.as_mut()).is_err() {
                return;
            }
            self.held.remove(&key);
            // What stays on disk is released again at the next start.
            let _only_a_mark = self.store.commit(&Batch { held: vec![(key, None)], ..Batch::default() });
        }
    }
}

/// A name no longer than is kept, cut between characters.
fn cut(who: &Arc<str>) -> Arc<str> {
    if who.len() <= MAX_WHO {
        return Arc::clone(who);
    }
    let end = (0..=MAX_WHO).rev().find(|end| who.is_char_boundary(*end)).unwrap_or(0);
    who[..end].into()
}

#[cfg(test)]
mod tests;
