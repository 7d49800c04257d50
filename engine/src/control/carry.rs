//! How what many ask at once becomes steps, batches, kernel and disk, and what comes of it the answers.

use std::collections::{BTreeMap, HashSet};
use std::iter::Peekable;
use std::mem::Discriminant;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::control::ask::{Ask, By, Done, MAX_WHO, Outcome, Refusal};
use crate::control::clock::Clock;
use crate::control::decide::Inner;
use crate::control::decision::{Decision, Key, Kind, Made};
use crate::control::history::{SETS_MAX, STEPS_MAX, Set, Step};
use crate::control::log::{ENTRY_MAX, Entry, Grave, Logged};
use crate::control::rules::Change;
use crate::control::stamp::Stamp;
use crate::control::store::Batch;
use crate::control::sweep::GRAVES_KEPT;
use crate::events::{self, BEHIND_MAX, Change as What, Event, RuleChange};

/// One thing to be carried out.
#[derive(Debug)]
pub(super) enum Wish {
    /// Somebody asks for it.
    Ask(Ask),
    /// What a step of the history changed is to be as it was.
    Restore(Step),
}

impl Wish {
    fn key(&self) -> Key {
        match self {
            Self::Ask(ask) => ask.key(),
            Self::Restore(step) => step.key,
        }
    }
}

/// How something is called in the history.
#[derive(Debug)]
pub(super) struct Draft {
    /// The set that it goes on with; `None`: a new one.
    pub(super) number: Option<u64>,
    /// What it is.
    pub(super) what: String,
    /// The set that it takes back.
    pub(super) undoes: Option<u64>,
}

/// What somebody wishes, and where they find the answer.
pub(super) struct Job {
    by: By,
    pub(super) wishes: Vec<Wish>,
    draft: Option<Draft>,
    pub(super) answer: Arc<Mutex<Option<Outcome>>>,
}

impl Job {
    pub(super) fn new(mut by: By, wishes: Vec<Wish>, draft: Option<Draft>) -> Self {
        by.who = cut(by.who, MAX_WHO);
        Self { by, wishes, draft, answer: Arc::default() }
    }
}

/// A text no longer than is kept, cut between characters.
fn cut(text: Arc<str>, most: usize) -> Arc<str> {
    if text.len() <= most { text } else { text[..text.floor_char_boundary(most)].into() }
}

/// A wish among those of others.
struct Asked<'a> {
    by: &'a By,
    wish: &'a Wish,
    /// The number of its job.
    job: usize,
}

impl Asked<'_> {
    /// What steps must have in common to be checked together: the guard looks at trusts and allows, and at blocks where
    /// somebody has insisted on one, so that nothing it looks at changes within a run.
    fn sort(&self) -> (Discriminant<Wish>, Option<Discriminant<Ask>>, Kind, bool) {
        let ask = match self.wish {
            Wish::Ask(ask) => Some(std::mem::discriminant(ask)),
            Wish::Restore(_) => None,
        };
        (std::mem::discriminant(self.wish), ask, self.wish.key().1, self.by.insists())
    }
}

/// The steps from `first` on that can be taken together: of one sort, no key twice.
fn run_from<'a>(first: Asked<'a>, rest: &mut Peekable<impl Iterator<Item = Asked<'a>>>) -> Vec<Asked<'a>> {
    let (sort, mut keys) = (first.sort(), HashSet::from([first.wish.key()]));
    let mut run = vec![first];
    while let Some(next) = rest.next_if(|next| next.sort() == sort && keys.insert(next.wish.key())) {
        run.push(next);
    }
    run
}

/// A step that is allowed, on its way to kernel and disk.
struct Planned {
    change: Change,
    /// What there is at its key.
    before: Option<Decision>,
    /// The number of its job.
    job: usize,
}

impl Inner {
    /// Carries out all jobs, in their order; steps of the same sort go to disk together, whoever asked for them.
    pub(super) fn carry_out(&mut self, jobs: Vec<Job>, clock: &dyn Fn() -> Clock) {
        let mut sets = self.begin_sets(&jobs, clock());
        let mut results = Vec::new();
        let asked = jobs.iter().enumerate().flat_map(|(job, Job { by, wishes, .. })| {
            let asked = move |wish| Asked { by, wish, job };
            wishes.iter().map(asked)
        });
        let mut asked = asked.peekable();
        while let Some(first) = asked.next() {
            let run = run_from(first, &mut asked);
            results.extend(self.run(&run, &mut sets, clock()));
        }
        let mut results = results.into_iter();
        for (Job { wishes, answer, .. }, set) in jobs.into_iter().zip(sets) {
            let results: Vec<_> = results.by_ref().take(wishes.len()).collect();
            self.tell(results.iter().filter_map(|result| match result {
                Ok(Done::Made { decision, .. }) => Some((What::Made, decision)),
                Ok(Done::Removed { removed, .. }) => Some((What::TakenBack, removed)),
                Ok(Done::Already(_)) | Err(_) => None,
            }));
            let set = set.filter(|set| self.sets.contains_key(&set.number)).map(|set| set.number);
            *answer.lock() = Some(Outcome { results, set });
        }
    }

    /// What an operator does is remembered as a set, which is there as soon as it has changed something.
    fn begin_sets(&self, jobs: &[Job], clock: Clock) -> Vec<Option<Set>> {
        let mut last = self.sets.last_key_value().map_or(0, |(number, _)| *number);
        let begin = |Job { by, draft, .. }: &Job| {
            let Draft { number, what, undoes } = draft.as_ref()?;
            if let Some(number) = number {
                return self.sets.get(number).cloned();
            }
            last += 1;
            let what = cut(what.as_str().into(), MAX_WHO).as_ref().to_owned();
            let (origin, who, undoes) = (by.origin, Arc::clone(&by.who), *undoes);
            Some(Set { number: last, time: clock.wall_s(), origin, who, what, count: 0, undone_by: None, undoes })
        };
        jobs.iter().map(begin).collect()
    }

    /// Steps that can be taken together: each is checked, then all that are allowed are taken.
    fn run(&mut self, run: &[Asked<'_>], sets: &mut [Option<Set>], clock: Clock) -> Vec<Result<Done, Refusal>> {
        let stamp = self.stamp.next(clock);
        let mut planned = Vec::with_capacity(run.len());
        let checked: Vec<Result<Option<Done>, Refusal>> = run
            .iter()
            .map(|asked| match self.change(asked, stamp, clock)? {
                Wanted::Nothing(done) => Ok(Some(done)),
                Wanted::Change(change) => {
                    let before = self.there(&change.key(), clock).cloned();
                    planned.push(Planned { change, before, job: asked.job });
                    Ok(None)
                }
            })
            .collect();
        let mut made = self.make(planned, stamp, sets, clock).into_iter();
        let result = |checked: Result<Option<Done>, Refusal>| match checked? {
            Some(done) => Ok(done),
            // one for each that was planned
            None => made.next().unwrap_or(Err(Refusal::Gone)),
        };
        checked.into_iter().map(result).collect()
    }

    /// The change that is wanted, if it is allowed.
    fn change(&self, asked: &Asked<'_>, stamp: Stamp, clock: Clock) -> Result<Wanted, Refusal> {
        let by = asked.by;
        let ask = match asked.wish {
            Wish::Ask(ask) => ask,
            Wish::Restore(step) => return self.restore(step, by, stamp, clock).map(Wanted::Change),
        };
        self.wanted(ask, by, stamp, clock)
    }

    /// What an ask comes to.
    pub(super) fn wanted(&self, ask: &Ask, by: &By, stamp: Stamp, clock: Clock) -> Result<Wanted, Refusal> {
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
                    _ if by.origin.is_operator() || self.is_of_list(there, by) => same(there),
                    list if list.is_list() => there.origin.is_operator() || lasts(there),
                    _ => lasts(there),
                });
                if let Some(there) = settled.filter(|there| !self.held.contains_key(&there.key())) {
                    return Ok(Wanted::Nothing(Done::Already(there.clone())));
                }
                let made = Made { stamp, node: self.node(), offset: Made::UNLOGGED };
                let (reason, who) = (Arc::clone(reason), Arc::clone(&by.who));
                let decision = Decision { net, kind, until, reason, origin: by.origin, who, made };
                Ok(Wanted::Change(Change::Put(decision)))
            }
            Ask::Remove { .. } if there.is_some_and(|there| !by.origin.is_list() || self.is_of_list(there, by)) => {
                Ok(Wanted::Change(Change::Remove(net, kind)))
            }
            Ask::Remove { .. } => Err(match self.book.covering(&net, now) {
                Some(applies) if applies.kind == kind => Refusal::Covered { net, kind, by: applies.net },
                _ => Refusal::NoSuchRule { net, kind },
            }),
        }
    }

    /// Kernel, then disk, so that what the kernel has no room for never reaches the disk. If the disk refuses, the kernel
    /// is put back: what nobody was told of was in force for as long as the disk took to refuse.
    fn make(
        &mut self,
        mut planned: Vec<Planned>,
        stamp: Stamp,
        sets: &mut [Option<Set>],
        clock: Clock,
    ) -> Vec<Result<Done, Refusal>> {
        let changes: Vec<Change> = planned.iter().map(|planned| planned.change.clone()).collect();
        let mut undo = Vec::new();
        let mut results = self.project(&changes, clock, &mut undo);
        let mut taken = results.iter();
        planned.retain(|_| taken.next().is_some_and(Result::is_ok));
        if !planned.is_empty()
            && let Err(refusal) = self.commit(self.batch(&planned, stamp, sets, clock))
        {
            self.revert(undo, clock);
            planned.clear();
            for taken in results.iter_mut().filter(|result| result.is_ok()) {
                *taken = Err(refusal.clone());
            }
        }
        for set in sets.iter_mut().flatten() {
            set.count = self.sets.get(&set.number).map_or(set.count, |stored| stored.count);
        }
        let mut done = planned.into_iter().map(|planned| self.done(planned, clock));
        // one for each that was taken
        results.into_iter().map(|taken| taken.and_then(|()| done.next().unwrap_or(Err(Refusal::Gone)))).collect()
    }

    fn done(&self, Planned { change, before, .. }: Planned, clock: Clock) -> Result<Done, Refusal> {
        match (change, before) {
            (Change::Put(decision), replaced) => Ok(Done::Made { decision, replaced }),
            (Change::Remove(net, _), Some(removed)) => {
                Ok(Done::Removed { removed, now: self.book.covering(&net, clock.mono_ns()).cloned() })
            }
            (Change::Remove(net, kind), None) => Err(Refusal::NoSuchRule { net, kind }),
        }
    }

    /// What the disk is to hold of it.
    fn batch(&self, planned: &[Planned], stamp: Stamp, sets: &[Option<Set>], clock: Clock) -> Batch {
        let mut batch = Batch::default();
        let mut grown: BTreeMap<usize, u64> = BTreeMap::new();
        for Planned { change, before, job } in planned {
            let key = change.key();
            batch.changes.push(change.clone());
            match change {
                Change::Remove(..) if self.is_remembering() => {
                    let made = Made { stamp, node: self.node(), offset: Made::UNLOGGED };
                    batch.graves.push((key, Some(Grave { made, keep: clock.wall_s() + GRAVES_KEPT })));
                }
                _ if self.graves.contains_key(&key) => batch.graves.push((key, None)),
                _ => {}
            }
            if self.held.contains_key(&key) {
                batch.held.push((key, None));
            }
            if let Some(set) = &sets[*job] {
                let until = match change {
                    Change::Put(decision) => Some(decision.until),
                    Change::Remove(..) => None,
                };
                let step = Step { key, made: stamp, until, before: before.clone() };
                // an undo is undone: what had been undone left this, and can be undone again
                batch.steps.extend(self.reopened(set).map(|first| (first, step.clone())));
                batch.steps.push((set.number, step));
                *grown.entry(*job).or_default() += 1;
            }
        }
        let sequence = self.post(planned, stamp, &mut batch);
        batch.clock = Some((stamp, sequence));
        let grow = |(job, by): (usize, u64)| sets[job].as_ref().map(|set| Set { count: set.count + by, ..set.clone() });
        batch.sets = grown.into_iter().filter_map(grow).collect();
        batch.forget = self.too_many(&batch.sets);
        batch
    }

    /// Was it made here, by the very list that asks?
    fn is_of_list(&self, there: &Decision, by: &By) -> bool {
        self.is_own(&there.made) && by.origin.is_list() && there.origin == by.origin && there.who == by.who
    }

    /// The set that an undo undid which this one undoes.
    fn reopened(&self, set: &Set) -> Option<u64> {
        let first = self.sets.get(&set.undoes?)?.undoes?;
        self.sets.contains_key(&first).then_some(first)
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

    /// The last set that is forgotten for those that come or grow.
    fn too_many(&self, new: &[Set]) -> Option<u64> {
        let before = |set: &Set| self.sets.get(&set.number).map(|set| set.count);
        let mut sets = self.sets.len() + new.iter().filter(|set| before(set).is_none()).count();
        let grown: u64 = new.iter().map(|set| set.count - before(set).unwrap_or_default()).sum();
        let mut steps = self.sets.values().map(|set| set.count).sum::<u64>() + grown;
        let mut last = None;
        for Set { number, count, .. } in self.sets.values() {
            if sets <= SETS_MAX && steps <= STEPS_MAX || new.iter().any(|set| set.number == *number) {
                break;
            }
            (sets, steps, last) = (sets - 1, steps - count, Some(*number));
        }
        last
    }

    /// Tells whoever watches; not of more than they could follow.
    pub(super) fn tell<'a>(&self, changes: impl Iterator<Item = (What, &'a Decision)>) {
        let Some(events) = &self.events else { return };
        for (what, decision) in changes.take(BEHIND_MAX) {
            events.publish(Event::now(events::What::Rule(RuleChange::of(what, decision))));
        }
    }
}

/// What there is to do.
pub(super) enum Wanted {
    Change(Change),
    /// It is so already.
    Nothing(Done),
}
