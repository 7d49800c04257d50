//! The rule book: which decisions there are, and what the kernel must hold so that it need not think.
//!
//! A live trust at any covering prefix wins, however specific the others are: nothing may ban a trusted address. Where
//! there is none, the most specific prefix that has a live decision wins; at one prefix a block outranks an allow. As
//! decisions only end by themselves and never begin, what applies to a prefix is a sequence of segments, each of one
//! kind, and then nothing; a trust can only be the first. A map entry holds the first two ([`Rule`]), so the kernel goes
//! on rightly past the end of the first even if nobody sweeps. [`RuleBook::expire`] writes the next two when a segment has ended; if three
//! differing segments follow one another and the engine is gone for all of the second, the third is not enforced.
//!
//! The kernel looks up one entry, the most specific. So a prefix has an entry if and only if it has a decision of its
//! own, and that entry accounts for everything that covers it. A change therefore rewrites the entry of its own
//! prefix and those beneath whose sequence it enters, and no others: a block or allow enters none that has a decision
//! for good, a trust all but those that are trusted for good themselves.

use std::collections::BTreeSet;
use std::mem;

use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;
use vos_common::rule::{GATE_BLOCKS, Rule};

/// What is in it.
mod look;
/// One prefix, and what applies to it.
mod node;
/// Is the kernel's side as it should be?
mod verify;
/// From the book into the maps, without a hole in between.
mod write;

use crate::control::clock::Clock;
use crate::control::decision::{Decision, Key, Kind, Origin};
use crate::control::gate::Gate;
use crate::control::maps::{MapError, RuleMaps};
use node::{Node, Timed, is_live, sequence};

pub(super) use verify::{Amiss, Gates, Mend};

/// A step of a batch.
#[derive(Clone, Debug)]
pub enum Change {
    /// Take this decision, in place of one of the same kind at the same prefix.
    Put(Decision),
    /// Take the decision of this kind at this very prefix back, if there is one.
    Remove(IpNet, Kind),
}

impl Change {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Put(decision) => decision.key(),
            Self::Remove(net, kind) => (*net, *kind),
        }
    }
}

/// What was in the book before a batch, so that it can be had back.
#[derive(Debug)]
#[must_use = "it is what takes the batch back"]
pub struct Undo(Vec<(IpNet, Kind, Option<Box<Timed>>)>);

impl Undo {
    /// What the batch was about, in order.
    fn touched(&self) -> Vec<Key> {
        let mut touched: Vec<Key> = self.0.iter().map(|(net, kind, _)| (*net, *kind)).collect();
        touched.sort_unstable();
        touched.dedup();
        touched
    }
}

/// What a sweep found.
#[derive(Debug, Default)]
pub struct Swept {
    /// Decisions that have ended and are gone from the book.
    pub ended: Vec<Decision>,
    /// More is due than the sweep was allowed to do.
    pub more: bool,
    /// A map refused; what is left is tried again by the next sweep.
    pub error: Option<MapError>,
}

/// Decisions by [`Kind`] and [`Origin`], live or not swept yet.
pub type Count = [[usize; Origin::ALL.len()]; Kind::ALL.len()];

/// Every decision in force, and its projection into the kernel's maps.
#[derive(Debug)]
pub struct RuleBook {
    /// Boxed: the trie has as many inner nodes as there are prefixes, each with room for one.
    nodes: JointPrefixMap<IpNet, Box<Node>>,
    /// Decisions, by [`Kind`].
    count: Count,
    gate: Gate,
    /// The kernel looks at IPv6 rules at all.
    v6: bool,
    /// When which entry must be looked at again, ns of `CLOCK_MONOTONIC`.
    due: BTreeSet<(u64, IpNet)>,
}

impl Default for RuleBook {
    fn default() -> Self {
        Self::new()
    }
}

impl RuleBook {
    /// An empty book, for maps that are empty.
    pub fn new() -> Self {
        let nodes = JointPrefixMap::new();
        Self { nodes, count: Count::default(), gate: Gate::default(), v6: false, due: BTreeSet::new() }
    }

    /// A book of these decisions, written into maps that may hold anything (pins of an earlier run). They are changed
    /// by difference: a source blocked before and after is blocked in between.
    pub fn load(decisions: Vec<Decision>, clock: Clock, maps: &mut dyn RuleMaps) -> Result<Self, MapError> {
        let mut book = Self::new();
        for decision in decisions {
            let (net, kind) = decision.key();
            let timed = book.timed(decision, clock);
            book.replace(net, kind, Some(Box::new(timed)));
        }
        let rules = book.project_all(clock.mono_ns());
        book.note_all(&rules);
        book.v6 = !book.nodes.t2.is_empty();
        let mut held = maps.held()?;
        held.sort_unstable_by_key(|(net, _)| *net);
        let held_of = |net: &IpNet| held.binary_search_by_key(net, |(net, _)| *net).ok().map(|at| held[at].1);
        for block in 0..GATE_BLOCKS {
            maps.gate(block, book.gate.block(block))?;
        }
        if book.v6 {
            maps.v6_rules(true)?;
        }
        let mut postponed = Vec::new();
        // in the order of `write`, for the same reason
        for (net, rule) in rules.iter().rev().filter(|(net, rule)| held_of(net) != Some(*rule)) {
            match maps.put(*net, *rule) {
                // there may be room once the leftovers are gone
                Err(MapError::Full { .. }) => postponed.push((*net, *rule)),
                other => other?,
            }
        }
        for (net, _) in held.iter().filter(|(net, _)| !book.nodes.contains_key(net)) {
            maps.delete(*net)?;
        }
        for (net, rule) in postponed {
            maps.put(net, rule)?;
        }
        if !book.v6 {
            maps.v6_rules(false)?;
        }
        Ok(book)
    }

    /// Carries out a batch: all of it, or on an error nothing. `clock` is the instant of the change.
    pub fn apply(&mut self, changes: &[Change], clock: Clock, maps: &mut dyn RuleMaps) -> Result<Undo, MapError> {
        let mut undo = self.enter(changes, clock);
        let touched = undo.touched();
        let writes = self.plan(&touched, clock.mono_ns());
        let written = self.write(&writes, maps);
        if written.is_err() {
            self.leave(Undo(undo.0.split_off(0)));
        }
        // Ends may have changed without a word to the kernel: one decision beneath another.
        for (net, _) in touched {
            self.tidy(&net);
        }
        written.map(|()| undo)
    }

    /// Takes a batch back, which nothing must have followed. What the kernel refuses is left to the sweeper.
    pub fn revert(&mut self, undo: Undo, clock: Clock, maps: &mut dyn RuleMaps) {
        let touched = undo.touched();
        self.leave(undo);
        self.catch_up(&touched, clock, maps);
    }

    /// Takes decisions out, whatever the kernel says. What it refuses is left to the sweeper.
    pub fn take_out(&mut self, keys: Vec<Key>, clock: Clock, maps: &mut dyn RuleMaps) -> Undo {
        let removals: Vec<Change> = keys.into_iter().map(|(net, kind)| Change::Remove(net, kind)).collect();
        let undo = self.enter(&removals, clock);
        self.catch_up(&undo.touched(), clock, maps);
        undo
    }

    /// The book is right already: the kernel follows, at once or when it is swept.
    fn catch_up(&mut self, touched: &[Key], clock: Clock, maps: &mut dyn RuleMaps) {
        let writes = self.plan(touched, clock.mono_ns());
        let behind = self.write(&writes, maps).is_err();
        for (net, _) in touched {
            self.tidy(net);
        }
        for write in writes.iter().filter(|_| behind) {
            self.mark_stale(&write.net);
        }
    }

    /// Changes the book alone.
    fn enter(&mut self, changes: &[Change], clock: Clock) -> Undo {
        let enter = |change: &Change| {
            let (net, kind) = change.key();
            let timed = match change {
                Change::Put(decision) => Some(Box::new(self.timed(decision.clone(), clock))),
                Change::Remove(..) => None,
            };
            (net, kind, self.replace(net, kind, timed))
        };
        Undo(changes.iter().map(enter).collect())
    }

    fn leave(&mut self, undo: Undo) {
        for (net, kind, timed) in undo.0.into_iter().rev() {
            self.replace(net, kind, timed);
        }
    }

    /// Of the very decision that is in the book, met again, no end moves: the wall clock may have been set since.
    fn timed(&self, decision: Decision, clock: Clock) -> Timed {
        let there = self.nodes.get(&decision.net).and_then(|node| node.own[decision.kind as usize].as_deref());
        let same =
            there.filter(|there| there.decision.made.is(&decision.made) && there.decision.until == decision.until);
        let ends = || decision.until.map_or(0, |until| clock.mono_of(until));
        Timed { ends: same.map_or_else(ends, |same| same.ends), decision }
    }

    /// Removes what has ended by `now` (ns of `CLOCK_MONOTONIC`) and writes the next segments of what goes on: at most
    /// `limit` prefixes, so that a million rules that end together hold nobody up.
    pub fn expire(&mut self, now: u64, limit: usize, maps: &mut dyn RuleMaps) -> Swept {
        let mut swept = Swept::default();
        for _ in 0..limit {
            let Some((_, net)) = self.due.first().copied().filter(|(at, _)| *at <= now) else {
                return swept;
            };
            let Some(node) = self.nodes.get_mut(&net) else {
                self.due.pop_first();
                continue;
            };
            node.is_stale = false;
            for timed in &mut node.own {
                if let Some(ended) = timed.take_if(|timed| !is_live(timed.ends, now)) {
                    self.count[ended.decision.kind as usize][ended.decision.origin as usize] -= 1;
                    swept.ended.push(ended.decision);
                }
            }
            // What lies beneath knows already: this decision's end was part of its sequence.
            let write = self.plan_one(net, now);
            if let Err(error) = self.write(write.as_slice(), maps) {
                self.mark_stale(&net);
                swept.error = Some(error);
                swept.more = true;
                return swept;
            }
            self.tidy(&net);
        }
        swept.more = self.next_due().is_some_and(|at| at <= now);
        swept
    }

    /// When [`RuleBook::expire`] has something to do next, ns of `CLOCK_MONOTONIC`.
    pub fn next_due(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What the kernel must hold for `net` at `now`.
    fn project(&self, net: &IpNet, now: u64) -> Rule {
        let nodes: Vec<&Node> = self.nodes.cover(net).map(|(_, node)| &**node).collect();
        sequence(&nodes, now)
    }

    /// What the kernel must hold for every prefix, in order. Asked one by one, a million cost a million descents.
    fn project_all(&self, now: u64) -> Vec<(IpNet, Rule)> {
        let (mut nets, mut nodes): (Vec<IpNet>, Vec<&Node>) = (Vec::new(), Vec::new());
        let projected = self.nodes.iter().map(|(net, node)| {
            // in order: what covers this prefix is what is left of those before
            while nets.pop_if(|wider| !wider.contains(&net)).is_some() {
                nodes.pop();
            }
            nets.push(net);
            nodes.push(&**node);
            (net, sequence(&nodes, now))
        });
        projected.collect()
    }

    /// Puts a decision into the book, or takes one out; the kernel does not know yet.
    fn replace(&mut self, net: IpNet, kind: Kind, timed: Option<Box<Timed>>) -> Option<Box<Timed>> {
        if timed.is_none() && !self.nodes.contains_key(&net) {
            return None;
        }
        let origin = |timed: &Timed| timed.decision.origin as usize;
        let new = timed.as_deref().map(origin);
        let before = mem::replace(&mut self.nodes.entry(net).or_default().own[kind as usize], timed);
        let count = &mut self.count[kind as usize];
        new.into_iter().for_each(|origin| count[origin] += 1);
        before.as_deref().map(origin).into_iter().for_each(|origin| count[origin] -= 1);
        before
    }

    /// Remembers what the kernel holds for `net`.
    fn note(&mut self, net: &IpNet, rule: Option<Rule>) {
        if let Some(node) = self.nodes.get_mut(net) {
            node.rule = rule;
            node.is_stale = false;
            let due = node.next_due();
            self.schedule(net, due);
        }
    }

    /// Remembers that the kernel is about to hold these, which are all there are, in order.
    fn note_all(&mut self, rules: &[(IpNet, Rule)]) {
        for ((_, node), (net, rule)) in self.nodes.iter_mut().zip(rules) {
            node.rule = Some(*rule);
            node.due = node.next_due();
            if let IpNet::V4(v4) = net {
                self.gate.set(*v4, true, |_, _| {});
            }
        }
        self.due = self.nodes.iter().filter_map(|(net, node)| Some((node.due?, net))).collect();
    }

    /// Drops a node that nothing is left of, and brings the time to look at the others up to date.
    fn tidy(&mut self, net: &IpNet) {
        let Some(node) = self.nodes.get(net) else { return };
        if !node.is_bare() {
            let due = node.next_due();
            self.schedule(net, due);
        } else if node.rule.is_none() {
            self.schedule(net, None);
            self.nodes.remove(net);
        }
    }

    /// The kernel does not hold what the book says: the next sweep sees to it.
    fn mark_stale(&mut self, net: &IpNet) {
        if let Some(node) = self.nodes.get_mut(net) {
            node.is_stale = true;
            self.schedule(net, Some(0));
        }
    }

    fn schedule(&mut self, net: &IpNet, due: Option<u64>) {
        let Some(node) = self.nodes.get_mut(net) else { return };
        if node.due != due {
            if let Some(old) = mem::replace(&mut node.due, due) {
                self.due.remove(&(old, *net));
            }
            self.due.extend(due.map(|at| (at, *net)));
        }
    }
}

#[cfg(test)]
mod tests;
