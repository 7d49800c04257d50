//! From the book into the kernel's maps, without a hole in between.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net};
use vos_common::rule::{GateBlock, Rule};

use super::RuleBook;
use super::node::Write;
use crate::control::decision::{Key, Kind};
use crate::control::maps::{MapError, RuleMaps};

impl RuleBook {
    /// The writes that bring the kernel up to date, after the decisions `touched` (sorted) have changed.
    pub(super) fn plan(&self, touched: &[Key], now: u64) -> Vec<Write> {
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

    pub(super) fn plan_one(&self, net: IpNet, now: u64) -> Option<Write> {
        let node = self.nodes.get(&net)?;
        let new = (!node.is_bare()).then(|| self.project(&net, now));
        (new != node.rule).then_some(Write { net, old: node.rule, new })
    }

    /// Opens the gate, puts, deletes, closes the gate. On an error everything is as it was. `writes` are sorted: what
    /// lies beneath is put first and deleted last, so that whoever has the same rule before and after has it throughout.
    pub(super) fn write(&mut self, writes: &[Write], maps: &mut dyn RuleMaps) -> Result<(), MapError> {
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
