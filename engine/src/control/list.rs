//! Which decisions there are.

use std::sync::Arc;

use ipnet::IpNet;

use crate::control::decide::Control;
use crate::control::decision::{Decision, Kind, Origin};

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

impl Control {
    /// The decisions in force, and those that this node holds back, by address. Where there are many, what comes or goes
    /// meanwhile may be among them or not.
    pub fn list(&self, filter: &Filter) -> Vec<Listed> {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = self.page(filter, after, usize::MAX);
            listed.extend(page.listed);
            after = page.next;
            if after.is_none() {
                return listed;
            }
        }
    }

    /// How many decisions of each kind there are, those that are held back among them, those that have ended and are
    /// not swept yet as well.
    pub fn count(&self) -> [usize; Kind::ALL.len()] {
        let inner = self.lock();
        let mut count = inner.book.count().map(|origins| origins.iter().sum());
        for (_, kind) in inner.held.keys() {
            count[*kind as usize] += 1;
        }
        count
    }
}
