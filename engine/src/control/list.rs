//! Which decisions there are.

use ipnet::IpNet;

use crate::control::decide::{Control, is_live};
use crate::control::decision::{Decision, Kind, Origin};

/// Prefixes gone through under one lock. More: an operator's command waits longer (some 0.2 µs each). Fewer: the list
/// takes longer.
const LIST_BATCH: usize = 16_384;

/// Which decisions are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<Kind>,
    /// That came through this door.
    pub origin: Option<Origin>,
    /// That apply to all of this.
    pub covering: Option<IpNet>,
    /// Made by this node.
    pub node: Option<String>,
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

impl Control {
    /// The decisions in force, and those that this node holds back, by address. Where there are many, what comes or goes
    /// meanwhile may be among them or not.
    pub fn list(&self, filter: &Filter) -> Vec<Listed> {
        let mut listed = match &filter.covering {
            Some(net) => self.around(net, filter),
            None => self.in_force(filter),
        };
        let held = self.held(filter);
        if !held.is_empty() {
            listed.extend(held);
            listed.sort_by_key(|listed| listed.decision.key());
            // one that came to be held back, or in force, meanwhile
            listed.dedup_by_key(|listed| listed.decision.key());
        }
        listed
    }

    fn in_force(&self, filter: &Filter) -> Vec<Listed> {
        let (mut listed, mut last) = (Vec::new(), None);
        loop {
            let inner = self.lock();
            let (page, looked) = inner.book.page(last, LIST_BATCH, self.clock().mono_ns());
            let wanted = page.into_iter().filter(|decision| filter.wants(decision));
            listed.extend(wanted.map(|decision| Listed { decision: decision.clone(), held: None }));
            if looked.is_none() {
                return listed;
            }
            last = looked;
        }
    }

    fn around(&self, net: &IpNet, filter: &Filter) -> Vec<Listed> {
        let inner = self.lock();
        let around = inner.book.around(net, self.clock().mono_ns()).filter(|decision| filter.wants(decision));
        around.map(|decision| Listed { decision: decision.clone(), held: None }).collect()
    }

    fn held(&self, filter: &Filter) -> Vec<Listed> {
        let inner = self.lock();
        let clock = self.clock();
        let wanted = inner.held.values().filter(|held| filter.wants(&held.decision) && is_live(&held.decision, clock));
        wanted.map(|held| Listed { decision: held.decision.clone(), held: Some(held.why.clone()) }).collect()
    }

    /// How many decisions of each kind there are, those that are held back among them, those that have ended and are
    /// not swept yet as well.
    pub fn count(&self) -> [usize; Kind::ALL.len()] {
        let inner = self.lock();
        let mut count = inner.book.count();
        for (_, kind) in inner.held.keys() {
            count[*kind as usize] += 1;
        }
        count
    }
}
