//! What an operator did, so that it can be taken back: each command, each import is a set of changes with a number.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::ask::{Ask, By, End, Refusal};
use crate::control::clock::Clock;
use crate::control::decide::{Control, Inner, is_live};
use crate::control::decision::{Decision, Key, Kind, Made, Origin};
use crate::control::rules::Change;
use crate::control::stamp::Stamp;

/// Sets kept. Fewer: an import of last week cannot be undone. More: only disk, some 200 bytes a change.
pub const SETS_MAX: usize = 500;
/// Changes kept in all of them. An import of a million is undone in one command; two of them are not kept.
pub const STEPS_MAX: u64 = 2_000_000;

/// What was changed together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Set {
    /// How it is called: one more for each.
    pub number: u64,
    /// When it began, unix seconds.
    pub time: u64,
    /// Through which door.
    pub origin: Origin,
    /// By whom. Not to be trusted when it is shown.
    pub who: Arc<str>,
    /// What it was, such as "block 203.0.113.7" or "import honeypot.txt". Not to be trusted when it is shown.
    pub what: String,
    /// How many changes.
    pub count: u64,
    /// The set that took it back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undone_by: Option<u64>,
    /// The set that it takes back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undoes: Option<u64>,
}

/// One change of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it was about.
    pub key: Key,
    /// The stamp that it left: is it still there, nobody has decided anew since.
    pub made: Stamp,
    /// What was in force before.
    pub before: Option<Decision>,
}

/// What an undo did.
#[derive(Clone, Debug)]
pub struct Undone {
    /// What was taken back.
    pub set: Set,
    /// The number of the undo, by which it can be undone itself; `None`: nothing of the set was left to take back.
    pub by: Option<u64>,
    /// Changes that were taken back.
    pub restored: u64,
    /// Those that were not, and why.
    pub left: Vec<(IpNet, Kind, String)>,
}

impl Control {
    /// What was done, oldest first.
    pub fn history(&self) -> Vec<Set> {
        self.lock().sets.values().cloned().collect()
    }

    /// Takes back a set, or the last that is not undone. What somebody has decided anew since stays.
    pub fn undo(&self, number: Option<u64>, by: &By) -> Result<Undone, Refusal> {
        let mut inner = self.lock();
        let before = inner.outbox;
        let undone = inner.undo(number, by, self.clock());
        if inner.outbox > before {
            self.notify_posted();
        }
        undone
    }
}

impl Inner {
    fn undo(&mut self, number: Option<u64>, by: &By, clock: Clock) -> Result<Undone, Refusal> {
        let is_open = |set: &&Set| set.undone_by.is_none() && set.undoes.is_none();
        let set = match number {
            Some(number) => self.sets.get(&number).ok_or(Refusal::NoSuchSet { number })?,
            None => self.sets.values().rev().find(is_open).ok_or(Refusal::NothingToUndo)?,
        };
        if let Some(by) = set.undone_by {
            return Err(Refusal::Undone { number: set.number, by });
        }
        let mut set = set.clone();
        let stamp = self.stamp.next(clock);
        let own = self.sets.last_key_value().map_or(1, |(number, _)| number + 1);
        let (mut planned, mut left) = (Vec::new(), Vec::new());
        for step in self.store.steps(set.number)? {
            match self.restore(&step, by, stamp, clock) {
                Ok(change) => planned.push(self.plan(change, stamp, Some(own), clock)),
                Err(why) => left.push((step.key.0, step.key.1, why)),
            }
        }
        let what = format!("undo {} ({})", set.number, set.what);
        let undo =
            Set { number: own, time: clock.wall_s(), origin: by.origin, who: Arc::clone(&by.who), what, ..set.clone() };
        let mut sets = [Some(Set { count: 0, undone_by: None, undoes: Some(set.number), ..undo })];
        let results = self.make(&planned, stamp, &mut sets, clock);
        let restored = results.iter().filter(|result| result.is_ok()).count() as u64;
        self.tell_planned(&planned, &results);
        for (planned, refusal) in planned.iter().zip(results).filter_map(|(p, result)| Some((p, result.err()?))) {
            let (net, kind) = planned.change.key();
            left.push((net, kind, refusal.to_string()));
        }
        let done = restored > 0;
        if done {
            set.undone_by = Some(own);
            // Without this mark it can be undone twice, which changes nothing the second time.
            let undoes = sets.iter().flatten().filter_map(|own| own.undoes).next();
            let again =
                undoes.and_then(|undone| self.sets.get(&undone)?.undoes).and_then(|first| self.sets.get(&first));
            let reopened = again.map(|first| Set { undone_by: None, ..first.clone() });
            let marks: Vec<Set> = [set.clone()].into_iter().chain(reopened).collect();
            self.mark(marks)?;
        }
        Ok(Undone { set, by: done.then_some(own), restored, left })
    }

    fn mark(&mut self, sets: Vec<Set>) -> Result<(), Refusal> {
        let batch = crate::control::store::Batch { sets, ..Default::default() };
        self.store.commit(&batch)?;
        self.sets.extend(batch.sets.into_iter().map(|set| (set.number, set)));
        Ok(())
    }

    /// The change that takes a step back; the error: why it stays.
    fn restore(&self, step: &Step, by: &By, stamp: Stamp, clock: Clock) -> Result<Change, String> {
        let (net, kind) = step.key;
        let there = self.there(&step.key, clock);
        let before = step.before.as_ref().filter(|before| is_live(before, clock));
        match there {
            Some(there) if there.made.stamp != step.made => {
                return Err(format!("decided anew by {} since", there.who));
            }
            None if before.is_none() => return Err("it is gone already".to_owned()),
            _ => {}
        }
        let Some(before) = before else { return Ok(Change::Remove(net, kind)) };
        let end = before.until.map_or(End::Never, End::At);
        let ask = Ask::Put { net, kind, end, reason: Arc::clone(&before.reason) };
        self.guard.check(&ask, by, &self.book, clock.mono_ns()).map_err(|refusal| refusal.to_string())?;
        let made = Made { stamp, offset: Made::UNLOGGED, node: self.node() };
        Ok(Change::Put(Decision { made, ..before.clone() }))
    }
}
