//! What an operator did, so that it can be taken back: each command, each import is a set of changes with a number.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::ask::{Ask, By, End, Outcome, Refusal};
use crate::control::carry::{Draft, Wish};
use crate::control::clock::Clock;
use crate::control::decide::{Control, Inner, RUN_MAX, is_live};
use crate::control::decision::{Decision, Key, Kind, Made, Origin};
use crate::control::rules::Change;
use crate::control::stamp::Stamp;
use crate::control::store::Batch;

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
    /// When what it put there ends, unix seconds, `Some(None)` for good; `None`: it took something away.
    pub until: Option<Option<u64>>,
    /// What was there before the set.
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

    /// Takes back a set, or the last that is not undone. What somebody has decided anew since stays, and so does what the
    /// guard would not let pass now, unless `by` insists.
    pub fn undo(&self, number: Option<u64>, by: &By) -> Result<Undone, Refusal> {
        let set = self.lock().to_undo(number)?;
        let mut undone = Undone { set, by: None, restored: 0, left: Vec::new() };
        // The guard asks what is trusted and allowed: first that is as it was, and then blocks are looked at.
        for blocks in [false, true] {
            self.undo_kinds(blocks, &mut undone, by)?;
        }
        if let Some(own) = undone.by {
            // Without this mark it can be undone twice, which changes nothing the second time.
            self.lock().mark_undone(undone.set.number, own)?;
            undone.set.undone_by = Some(own);
        }
        Ok(undone)
    }

    /// Takes back the blocks of a set, or the rest of it, a part at a time.
    fn undo_kinds(&self, blocks: bool, undone: &mut Undone, by: &By) -> Result<(), Refusal> {
        let set = undone.set.number;
        let mut last = None;
        loop {
            let steps = self.lock().store.steps(set, last, RUN_MAX)?;
            let Some(step) = steps.last() else { return Ok(()) };
            last = Some(step.key);
            let steps: Vec<Step> = steps.into_iter().filter(|step| (step.key.1 == Kind::Block) == blocks).collect();
            let keys: Vec<Key> = steps.iter().map(|step| step.key).collect();
            let what = format!("undo {set} ({})", undone.set.what);
            let draft = Draft { number: undone.by, what, undoes: Some(set) };
            let Outcome { results, set: own } =
                self.carry(by, steps.into_iter().map(Wish::Restore).collect(), Some(draft));
            undone.by = own.or(undone.by);
            for ((net, kind), result) in keys.into_iter().zip(results) {
                match result {
                    Ok(_) => undone.restored += 1,
                    Err(refusal) => undone.left.push((net, kind, refusal.to_string())),
                }
            }
        }
    }
}

impl Inner {
    fn to_undo(&self, number: Option<u64>) -> Result<Set, Refusal> {
        let is_open = |set: &&Set| set.undone_by.is_none() && set.undoes.is_none();
        let set = match number {
            Some(number) => self.sets.get(&number).ok_or(Refusal::NoSuchSet { number })?,
            None => self.sets.values().rev().find(is_open).ok_or(Refusal::NothingToUndo)?,
        };
        match set.undone_by {
            Some(by) => Err(Refusal::Undone { number: set.number, by }),
            None => Ok(set.clone()),
        }
    }

    /// The set was undone; if it was an undo itself, what that had undone is as it was.
    fn mark_undone(&mut self, number: u64, own: u64) -> Result<(), Refusal> {
        let set = self.sets.get(&number);
        let first = set.and_then(|set| self.sets.get(&set.undoes?));
        let undone = set.map(|set| Set { undone_by: Some(own), ..set.clone() });
        let reopened = first.map(|first| Set { undone_by: None, ..first.clone() });
        self.commit(Batch { sets: undone.into_iter().chain(reopened).collect(), ..Batch::default() })
    }

    /// The change that takes a step back.
    pub(super) fn restore(&self, step: &Step, by: &By, stamp: Stamp, clock: Clock) -> Result<Change, Refusal> {
        let (net, kind) = step.key;
        let before = step.before.as_ref().filter(|before| is_live(before, clock));
        match (self.there(&step.key, clock), step.until) {
            (Some(there), _) if there.made.stamp != step.made => {
                return Err(Refusal::Anew { net, kind, who: Arc::clone(&there.who) });
            }
            // It would be there still.
            (None, Some(until)) if until.is_none_or(|until| until > clock.wall_s()) => return Err(Refusal::TakenBack),
            (None, _) if before.is_none() => return Err(Refusal::Gone),
            _ => {}
        }
        let Some(before) = before else { return Ok(Change::Remove(net, kind)) };
        let end = before.until.map_or(End::Never, End::At);
        let ask = Ask::Put { net, kind, end, reason: Arc::clone(&before.reason) };
        self.guard.check(&ask, by, &self.book, clock.mono_ns())?;
        let made = Made { stamp, offset: Made::UNLOGGED, node: self.node() };
        Ok(Change::Put(Decision { made, ..before.clone() }))
    }
}
