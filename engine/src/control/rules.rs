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

use std::collections::{BTreeMap, BTreeSet};

use ipnet::{IpNet, Ipv4Net};
use prefix_trie::joint::map::JointPrefixMap;
use vos_common::rule::{GATE_BLOCKS, GateBlock, Rule, RuleKind};

use crate::control::clock::Clock;
use crate::control::decision::{Decision, Key, Kind, Origin};
use crate::control::gate::Gate;
use crate::control::maps::{MapError, RuleMaps};
use crate::control::order::behind;

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

/// Every decision in force, and its projection into the kernel's maps.
#[derive(Debug)]
pub struct RuleBook {
    nodes: JointPrefixMap<IpNet, Node>,
    gate: Gate,
    /// The kernel looks at IPv6 rules at all.
    v6: bool,
    /// When which entry must be looked at again, ns of `CLOCK_MONOTONIC`.
    due: BTreeSet<(u64, IpNet)>,
    count: Count,
}

/// Decisions by [`Kind`] and [`Origin`], live or not swept yet.
pub type Count = [[usize; Origin::ALL.len()]; Kind::ALL.len()];

/// A prefix with decisions of its own, or (briefly, when a map refused) with an entry that must still go.
#[derive(Debug, Default)]
struct Node {
    /// By [`Kind`].
    own: [Option<Box<Held>>; Kind::ALL.len()],
    /// What the kernel holds; `None` if it holds nothing, or nobody knows.
    rule: Option<Rule>,
    /// A write was refused: the entry is not what it should be.
    is_stale: bool,
    /// The node's key in [`RuleBook::due`].
    due: Option<u64>,
}

#[derive(Debug)]
struct Held {
    decision: Decision,
    /// ns of `CLOCK_MONOTONIC`, 0 for good.
    ends: u64,
}

/// One map entry to become another.
#[derive(Debug)]
struct Write {
    net: IpNet,
    old: Option<Rule>,
    new: Option<Rule>,
}

impl Node {
    fn is_bare(&self) -> bool {
        self.own.iter().all(Option::is_none)
    }

    /// Has a decision for good that outranks a `kind` above it, so that one that comes or goes does not matter here.
    fn is_settled(&self, kind: Kind) -> bool {
        let mut for_good = self.own.iter().flatten().filter(|held| held.ends == 0);
        for_good.any(|held| kind != Kind::Trust || held.decision.kind == Kind::Trust)
    }

    fn next_due(&self) -> Option<u64> {
        if self.is_stale {
            return Some(0);
        }
        // A trust above can end before the node's own decisions; and one of these can end while a trust hides it.
        let ends = self.own.iter().flatten().map(|held| held.ends);
        ends.chain(self.rule.map(|rule| rule.until)).filter(|end| *end != 0).min()
    }
}

const fn is_live(ends: u64, now: u64) -> bool {
    ends == 0 || now < ends
}

impl Default for RuleBook {
    fn default() -> Self {
        Self::new()
    }
}

impl RuleBook {
    /// An empty book, for maps that are empty.
    pub fn new() -> Self {
        Self {
            nodes: JointPrefixMap::new(),
            gate: Gate::default(),
            v6: false,
            due: BTreeSet::new(),
            count: Count::default(),
        }
    }

    /// A book of these decisions, written into maps that may hold anything (pins of an earlier run). They are changed
    /// by difference: a source blocked before and after is blocked in between.
    pub fn load(decisions: Vec<Decision>, clock: Clock, maps: &mut dyn RuleMaps) -> Result<Self, MapError> {
        let mut book = Self::new();
        for decision in decisions {
            let ends = decision.until.map_or(0, |until| clock.mono_of(until));
            let (net, kind) = (decision.net, decision.kind);
            book.replace(net, kind, Some(Box::new(Held { decision, ends })));
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

    /// Carries out a batch: all of it, or on an error nothing. Returns for each step the decision that it replaced or
    /// removed. `clock` is the instant of the change.
    pub fn apply(
        &mut self,
        changes: Vec<Change>,
        clock: Clock,
        maps: &mut dyn RuleMaps,
    ) -> Result<Vec<Option<Decision>>, MapError> {
        let mut undo = Vec::with_capacity(changes.len());
        for change in changes {
            let (net, kind, held) = match change {
                Change::Put(decision) => {
                    let ends = decision.until.map_or(0, |until| clock.mono_of(until));
                    (decision.net, decision.kind, Some(Box::new(Held { decision, ends })))
                }
                Change::Remove(net, kind) => (net, kind, None),
            };
            undo.push((net, kind, self.replace(net, kind, held)));
        }
        let mut touched: Vec<(IpNet, Kind)> = undo.iter().map(|(net, kind, _)| (*net, *kind)).collect();
        touched.sort_unstable();
        touched.dedup();
        let writes = self.plan(&touched, clock.mono_ns());
        let written = self.write(&writes, maps);
        if written.is_err() {
            for (net, kind, held) in undo.drain(..).rev() {
                self.replace(net, kind, held);
            }
        }
        // Ends may have changed without a word to the kernel: one decision beneath another.
        for (net, _) in touched {
            self.tidy(&net);
        }
        written.map(|()| undo.into_iter().map(|(.., held)| held.map(|held| held.decision)).collect())
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
            for held in &mut node.own {
                if let Some(ended) = held.take_if(|held| !is_live(held.ends, now)) {
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

    /// The live decision of this kind at this very prefix.
    pub fn get(&self, net: &IpNet, kind: Kind, now: u64) -> Option<&Decision> {
        let held = self.nodes.get(net)?.own[kind as usize].as_ref()?;
        is_live(held.ends, now).then_some(&held.decision)
    }

    /// The live decision that applies to all of `net`, its own or one that covers it.
    pub fn covering(&self, net: &IpNet, now: u64) -> Option<&Decision> {
        let nodes: Vec<&Node> = self.nodes.cover(net).map(|(_, node)| node).collect();
        ranked(&nodes).find(|held| is_live(held.ends, now)).map(|held| &held.decision)
    }

    /// Every live decision, by address.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = &Decision> {
        let held = self.nodes.values().flat_map(|node| node.own.iter().flatten());
        held.filter(move |held| is_live(held.ends, now)).map(|held| &held.decision)
    }

    /// Every live decision behind `after`, by address. Whoever stops early has paid only for what was seen.
    pub fn iter_after(&self, after: Option<Key>, now: u64) -> impl Iterator<Item = &Decision> {
        let all = after.is_none().then(|| self.nodes.values()).into_iter().flatten();
        let here = after.and_then(|(net, kind)| Some(&self.nodes.get(&net)?.own[kind as usize + 1..]));
        let behind = after.into_iter().flat_map(|(net, _)| behind(net));
        let behind = behind.flat_map(|net| self.nodes.children(&net)).map(|(_, node)| node);
        let held = here.into_iter().flatten().chain(all.chain(behind).flat_map(|node| &node.own)).flatten();
        held.filter(move |held| is_live(held.ends, now)).map(|held| &held.decision)
    }

    /// Every live decision at a prefix that covers `net`, itself included, widest first.
    pub fn around<'a>(&'a self, net: &'a IpNet, now: u64) -> impl Iterator<Item = &'a Decision> {
        let held = self.nodes.cover(net).flat_map(|(_, node)| node.own.iter().flatten());
        held.filter(move |held| is_live(held.ends, now)).map(|held| &held.decision)
    }

    /// Every decision, live or not swept yet, by address.
    pub fn all(&self) -> impl Iterator<Item = &Decision> {
        self.nodes.values().flat_map(|node| node.own.iter().flatten()).map(|held| &held.decision)
    }

    /// The decision at this very key, live or not swept yet.
    pub fn any(&self, (net, kind): &Key) -> Option<&Decision> {
        Some(&self.nodes.get(net)?.own[*kind as usize].as_ref()?.decision)
    }

    /// How many decisions there are, live or not swept yet.
    pub fn count(&self) -> &Count {
        &self.count
    }

    /// Prefixes that have decisions.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Is there no decision?
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What the kernel must hold for `net` at `now`.
    fn project(&self, net: &IpNet, now: u64) -> Rule {
        let nodes: Vec<&Node> = self.nodes.cover(net).map(|(_, node)| node).collect();
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
            nodes.push(node);
            (net, sequence(&nodes, now))
        });
        projected.collect()
    }

    /// Puts a decision into the book, or takes one out; the kernel does not know yet.
    fn replace(&mut self, net: IpNet, kind: Kind, held: Option<Box<Held>>) -> Option<Box<Held>> {
        if held.is_none() && !self.nodes.contains_key(&net) {
            return None;
        }
        let origin = |held: &Box<Held>| held.decision.origin as usize;
        let new = held.as_ref().map(origin);
        let old = std::mem::replace(&mut self.nodes.entry(net).or_default().own[kind as usize], held);
        let count = &mut self.count[kind as usize];
        new.into_iter().for_each(|origin| count[origin] += 1);
        old.iter().map(origin).for_each(|origin| count[origin] -= 1);
        old
    }

    /// The writes that bring the kernel up to date, after the decisions `touched` (sorted) have changed.
    fn plan(&self, touched: &[(IpNet, Kind)], now: u64) -> Vec<Write> {
        let mut affected: Vec<IpNet> = touched.iter().map(|(net, _)| *net).collect();
        for kind in Kind::ALL {
            let mut expanded: Option<IpNet> = None;
            for (net, _) in touched.iter().filter(|(_, changed)| *changed == kind) {
                let is_host = net.prefix_len() == net.max_prefix_len();
                // sorted: what covers comes before what it covers
                if is_host || expanded.is_some_and(|wider| wider.contains(net)) {
                    continue;
                }
                let beneath = self.nodes.children(net).filter(|(_, node)| !node.is_settled(kind));
                affected.extend(beneath.map(|(net, _)| net));
                expanded = Some(*net);
            }
        }
        affected.sort_unstable();
        affected.dedup();
        affected.into_iter().filter_map(|net| self.plan_one(net, now)).collect()
    }

    fn plan_one(&self, net: IpNet, now: u64) -> Option<Write> {
        let node = self.nodes.get(&net)?;
        let new = (!node.is_bare()).then(|| self.project(&net, now));
        (new != node.rule).then_some(Write { net, old: node.rule, new })
    }

    /// Opens the gate, puts, deletes, closes the gate. On an error everything is as it was. `writes` are sorted: what
    /// lies beneath is put first and deleted last, so that whoever has the same rule before and after has it throughout.
    fn write(&mut self, writes: &[Write], maps: &mut dyn RuleMaps) -> Result<(), MapError> {
        let opened = self.open_gate(writes, maps)?;
        let puts = writes.iter().rev().filter(|write| write.new.is_some());
        let deletes = writes.iter().filter(|write| write.new.is_none());
        let mut done: Vec<&Write> = Vec::with_capacity(writes.len());
        for write in puts.chain(deletes) {
            if let Err(error) = set(maps, write.net, write.new) {
                self.take_back(&done, opened, maps);
                return Err(error);
            }
            done.push(write);
        }
        for write in writes {
            self.note(&write.net, write.new);
        }
        for write in writes.iter().filter(|write| write.new.is_none()) {
            self.tidy(&write.net);
        }
        self.close_gate(writes, maps);
        Ok(())
    }

    /// Leads the kernel to entries that are about to be put. Returns the blocks that changed, as they were.
    fn open_gate(&mut self, writes: &[Write], maps: &mut dyn RuleMaps) -> Result<BTreeMap<u32, GateBlock>, MapError> {
        let mut before = BTreeMap::new();
        let mut v6 = false;
        for write in writes.iter().filter(|write| write.old.is_none()) {
            match write.net {
                IpNet::V4(net) => self.gate.set(net, true, |index, words| {
                    before.entry(index).or_insert(*words);
                }),
                IpNet::V6(_) => v6 = true,
            }
        }
        let indices: Vec<u32> = before.keys().copied().collect();
        let mut opened = indices.iter().try_for_each(|index| maps.gate(*index, self.gate.block(*index)));
        if opened.is_ok() && v6 && !self.v6 {
            opened = maps.v6_rules(true);
            self.v6 = opened.is_ok();
        }
        match opened {
            Ok(()) => Ok(before),
            Err(error) => {
                self.restore_gate(before, maps);
                Err(error)
            }
        }
    }

    /// Undoes writes after a refusal. An entry that cannot be undone either is left to the sweeper.
    fn take_back(&mut self, done: &[&Write], opened: BTreeMap<u32, GateBlock>, maps: &mut dyn RuleMaps) {
        let mut clean = true;
        for write in done.iter().rev() {
            if set(maps, write.net, write.old).is_err() {
                clean = false;
                self.note(&write.net, write.new);
                self.mark_stale(&write.net);
            }
        }
        // A bit too many costs the kernel a look-up; a bit too few would be a hole.
        if clean {
            self.restore_gate(opened, maps);
            self.forget_v6(maps);
        }
    }

    /// Puts the gate back. A refusal leaves a bit too many in the kernel, and the next rule there writes it again.
    fn restore_gate(&mut self, before: BTreeMap<u32, GateBlock>, maps: &mut dyn RuleMaps) {
        for (index, words) in before {
            self.gate.restore(index, words);
            let _costs_only_speed = maps.gate(index, &words);
        }
    }

    /// Spares the kernel look-ups where no rule is left. A refusal here costs only speed, so it is no error.
    fn close_gate(&mut self, writes: &[Write], maps: &mut dyn RuleMaps) {
        let mut before: BTreeMap<u32, GateBlock> = BTreeMap::new();
        for write in writes.iter().filter(|write| write.new.is_none()) {
            let IpNet::V4(net) = write.net else { continue };
            let area = if net.prefix_len() > 24 { slash24_of(net) } else { net };
            if self.nodes.cover(&IpNet::V4(area)).next().is_some() {
                continue;
            }
            let mut keep = |index: u32, words: &GateBlock| {
                before.entry(index).or_insert(*words);
            };
            self.gate.set(area, false, &mut keep);
            for (child, _) in self.nodes.children(&IpNet::V4(area)) {
                if let IpNet::V4(child) = child {
                    self.gate.set(child, true, &mut keep);
                }
            }
        }
        for (index, words) in before {
            let now = *self.gate.block(index);
            if now != words {
                let _costs_only_speed = maps.gate(index, &now);
            }
        }
        self.forget_v6(maps);
    }

    fn forget_v6(&mut self, maps: &mut dyn RuleMaps) {
        let any = self.nodes.t2.values().any(|node| node.rule.is_some());
        if self.v6 && !any && maps.v6_rules(false).is_ok() {
            self.v6 = false;
        }
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
            if let Some(old) = std::mem::replace(&mut node.due, due) {
                self.due.remove(&(old, *net));
            }
            self.due.extend(due.map(|at| (at, *net)));
        }
    }
}

/// What applies from `now` on by the decisions of the nodes along one path of the trie.
fn sequence(nodes: &[&Node], now: u64) -> Rule {
    let mut segments = [(RuleKind::None, 0); 2];
    let mut begun = 0;
    let mut known = now;
    for held in ranked(nodes) {
        if !is_live(held.ends, known) {
            continue;
        }
        let kind = held.decision.kind.rule();
        if begun == 0 || segments[begun - 1].0 != kind {
            if begun == segments.len() {
                break;
            }
            begun += 1;
        }
        segments[begun - 1] = (kind, held.ends);
        if held.ends == 0 {
            break;
        }
        known = held.ends;
    }
    let [(kind, until), (then, then_until)] = segments;
    Rule { kind: kind as u32, then: then as u32, until, then_until }
}

/// The decisions of the nodes along one path of the trie (widest first, as the trie gives them) in the order of their
/// rank: every trust, then the others, each with the most specific prefix first, at one prefix by kind.
fn ranked<'a>(nodes: &[&'a Node]) -> impl Iterator<Item = &'a Held> {
    let (trust, others) = (Kind::Trust as usize, Kind::Trust as usize + 1..);
    let trusts = nodes.iter().rev().copied().filter_map(move |node| node.own[trust].as_ref());
    let others = nodes.iter().rev().copied().flat_map(move |node| node.own[others.clone()].iter().flatten());
    trusts.chain(others).map(Box::as_ref)
}

fn set(maps: &mut dyn RuleMaps, net: IpNet, rule: Option<Rule>) -> Result<(), MapError> {
    match rule {
        Some(rule) => maps.put(net, rule),
        None => maps.delete(net),
    }
}

fn slash24_of(net: Ipv4Net) -> Ipv4Net {
    Ipv4Net::new_assert(net.addr(), 24).trunc()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
