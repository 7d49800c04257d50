//! What is decided for all nodes, and kept from being in force on this one: what its guard refuses, and what its kernel
//! has no room for. It stays in the set that the nodes share, and comes into force when nothing keeps it back.

use ipnet::IpNet;

use crate::control::address::show;
use crate::control::clock::Clock;
use crate::control::decide::Inner;
use crate::control::decision::{Decision, Key, Kind};
use crate::control::rules::Change;
use crate::control::store::Batch;
use crate::events::Change as What;

/// Decisions that are tried again under one lock. More: while the kernel has no room, everybody else waits longer each
/// second. Fewer: once it has, they take longer to come into force.
const RELEASE_BATCH: usize = 1_024;

/// A decision, and why it is not in force here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) decision: Decision,
    pub(crate) why: String,
}

impl Inner {
    /// Why the guard keeps this decision from being in force here. Those of this node it has let pass before.
    pub(super) fn keeps_back(&self, decision: &Decision) -> Option<String> {
        let guarded = decision.kind == Kind::Block && decision.made.node != self.node();
        let (guarded, why) = guarded.then(|| self.guard.hits(decision.net)).flatten()?;
        Some(format!("it would block {}, {why}", show(guarded)))
    }

    /// Takes out of force what the guard keeps back, now that it guards others.
    pub(super) fn hold_back(&mut self, clock: Clock) {
        let guarded: Vec<IpNet> = self.guard.listed.iter().map(|(net, _)| *net).collect();
        let hits = guarded.iter().flat_map(|net| self.book.touching(net));
        let held =
            hits.filter_map(|decision| Some(Held { why: self.keeps_back(decision)?, decision: decision.clone() }));
        let held: Vec<(Key, Option<Held>)> = held.map(|held| (held.decision.key(), Some(held))).collect();
        if held.is_empty() {
            return;
        }
        // Nothing takes it back: that it is held is more than a mark on the disk.
        let _for_good = self.book.take_out(held.iter().map(|(key, _)| *key).collect(), clock, self.maps.as_mut());
        self.tell(held.iter().filter_map(|(_, held)| Some((What::TakenBack, &held.as_ref()?.decision))));
        self.mark(held);
    }

    /// What nothing keeps back any longer comes into force.
    pub(super) fn release(&mut self, clock: Clock) {
        let free = self.held.values().map(|held| &held.decision).filter(|held| self.keeps_back(held).is_none());
        let free: Vec<Change> = free.take(RELEASE_BATCH).cloned().map(Change::Put).collect();
        let results = self.project(&free, clock, &mut Vec::new());
        let free = free.iter().zip(results).filter(|(_, result)| result.is_ok());
        let free: Vec<Key> = free.map(|(change, _)| change.key()).collect();
        if !free.is_empty() {
            let released = free.iter().filter_map(|key| Some((What::Made, &self.held.get(key)?.decision)));
            self.tell(released);
            self.mark(free.into_iter().map(|key| (key, None)).collect());
        }
    }

    /// The mark on the disk is for the next start, which looks again at what is marked wrongly.
    fn mark(&mut self, held: Vec<(Key, Option<Held>)>) {
        let batch = Batch { held, ..Batch::default() };
        let _only_a_mark = self.store.commit(&batch);
        self.remember_held(batch.held);
    }

    pub(super) fn remember_held(&mut self, held: Vec<(Key, Option<Held>)>) {
        for (key, held) in held {
            match held {
                Some(held) => drop(self.held.insert(key, held)),
                None => drop(self.held.remove(&key)),
            }
        }
    }
}
