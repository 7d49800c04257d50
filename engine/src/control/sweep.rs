//! What has ended goes from book, kernel and disk.

use std::mem;
use std::time::Duration;

use crate::control::ask::Refusal;
use crate::control::clock::Clock;
use crate::control::decide::{Control, Inner, is_live};
use crate::control::decision::{Decision, Key};
use crate::control::hold::Held;
use crate::control::log::Grave;
use crate::control::rules::Change;
use crate::control::store::Batch;
use crate::events::Change as What;

/// Prefixes swept under one lock. More: an operator's command waits longer (some 2 µs each). Fewer: a commit to disk
/// (some 300 µs) for each few.
const SWEEP_BATCH: usize = 4_096;
/// How long it is remembered that a decision is gone, seconds: 30 days. A node that was cut off for longer than this may
/// bring back what was taken back meanwhile. Longer: memory, some 100 bytes each.
pub(crate) const GRAVES_KEPT: u64 = 30 * 86_400;
/// How many of those are remembered; the oldest go first. Fewer: where thousands of blocks end a minute, a node that was
/// cut off for hours may bring old ones back. More: memory, some 150 bytes each.
const GRAVES_MAX: usize = 1_000_000;

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Decisions that ended.
    pub ended: Vec<Decision>,
    /// How long until there is something to sweep; `None` if nothing ends by itself.
    pub next: Option<Duration>,
}

impl Control {
    /// Removes what has ended from book, maps and disk. Call it every second or when [`Sweep::next`] has passed; a
    /// late sweep costs memory, not enforcement, because the kernel knows the ends.
    pub fn sweep(&self) -> Result<Sweep, Refusal> {
        let mut ended = Vec::new();
        loop {
            let mut inner = self.lock();
            let clock = self.clock();
            let more = inner.sweep(clock, &mut ended)?;
            if !more {
                let next = inner.book.next_due().map(|at| Duration::from_nanos(at.saturating_sub(clock.mono_ns())));
                return Ok(Sweep { ended, next });
            }
        }
    }
}

/// The rows of what has ended go; where that `is_remembered`, graves say that they were there.
pub(super) fn bury(ended: &[Decision], is_remembered: bool, clock: Clock) -> Batch {
    let changes = ended.iter().map(|ended| Change::Remove(ended.net, ended.kind)).collect();
    let held = ended.iter().map(|ended| (ended.key(), None)).collect();
    let grave = |ended: &Decision| {
        let grave = Grave { made: ended.made.clone(), keep: clock.wall_s() + GRAVES_KEPT };
        (ended.key(), Some(grave))
    };
    let graves = if is_remembered { ended.iter().map(grave).collect() } else { Vec::new() };
    Batch { changes, held, graves, ..Batch::default() }
}

impl Inner {
    /// One part of it; is there more?
    fn sweep(&mut self, clock: Clock, ended: &mut Vec<Decision>) -> Result<bool, Refusal> {
        let swept = self.book.expire(clock.mono_ns(), SWEEP_BATCH, self.maps.as_mut());
        let held = self.held.values().map(|Held { decision, .. }| decision).filter(|held| !is_live(held, clock));
        let over: Vec<Decision> = swept.ended.into_iter().chain(held.cloned()).collect();
        self.tell(over.iter().map(|ended| (What::Ended, ended)));
        ended.extend(over.iter().cloned());
        for decision in &over {
            self.held.remove(&decision.key());
        }
        // What the disk refuses is buried by the next sweep.
        self.unburied.extend(over);
        let mut unburied = mem::take(&mut self.unburied);
        // what was decided anew since has taken its place on the disk
        unburied.retain(|ended| self.there(&ended.key(), clock).is_none());
        let mut batch = bury(&unburied, self.is_remembering(), clock);
        batch.graves.extend(self.forgotten(clock));
        if !batch.changes.is_empty() || !batch.graves.is_empty() {
            self.commit(batch).inspect_err(|_| self.unburied = unburied)?;
        }
        if self.has_litter {
            let first = self.sets.first_key_value().map_or(u64::MAX, |(number, _)| *number);
            self.has_litter = self.store.tidy(first, SWEEP_BATCH)?;
        }
        self.release(clock);
        match swept.error {
            Some(error) => Err(error.into()),
            None => Ok(swept.more),
        }
    }

    /// Graves whose time is over, once a minute: a few at a time, since a month of them may end together.
    fn forgotten(&mut self, clock: Clock) -> Vec<(Key, Option<Grave>)> {
        let minute = clock.wall_s() / 60;
        if self.looked == minute {
            return Vec::new();
        }
        let mut over = clock.wall_s();
        let too_many = self.graves.len().saturating_sub(GRAVES_MAX);
        if too_many > 0 {
            let mut keep: Vec<u64> = self.graves.values().map(|grave| grave.keep).collect();
            over = over.max(*keep.select_nth_unstable(too_many - 1).1);
        }
        let over = self.graves.iter().filter(|(_, grave)| grave.keep <= over);
        let over: Vec<_> = over.take(SWEEP_BATCH).map(|(key, _)| (*key, None)).collect();
        if over.len() < SWEEP_BATCH {
            self.looked = minute;
        }
        over
    }
}
