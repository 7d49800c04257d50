//! What all nodes of a cluster share: whole, for one that is new, and in one number, to see whether they agree.

use std::hash::Hasher;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::control::decide::Control;
use crate::control::decision::{Decision, Made};
use crate::control::log::{Logged, Place};

/// Prefixes gone through under one lock. More: an operator's command waits longer, some 0.2 µs each. Fewer: the lock is
/// taken more often.
const PAGE: usize = 4_096;

/// All that a node holds of the log, for one that is new.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// How far it has read.
    pub place: Place,
    /// The last sequence read of each node.
    pub nodes: Vec<(Arc<str>, u64)>,
    /// Decisions and what is gone.
    pub rows: Vec<Logged>,
}

/// The set that all nodes share, in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Decisions in it.
    pub count: u64,
    /// The sum of their hashes: in whatever order they are met, it is the same.
    pub sum: u128,
}

impl Control {
    /// All that the log has told so far; with `all`, for another log than it was, also what that had not told yet. What
    /// this node has told and not read in the log yet is else not in it, nor is what that took the place of: take it when
    /// [`outbox_len`](Self::outbox_len) is 0 and all is read. Of what comes and goes meanwhile the log tells behind
    /// [`Snapshot::place`]; some of it may be there twice.
    pub fn snapshot(&self, all: bool) -> Snapshot {
        let is_in = |made: &Made| all || made.offset != Made::UNLOGGED;
        let put = |decision: &Decision| is_in(&decision.made).then(|| Logged::put(decision).of(&decision.made));
        let mut rows: Vec<Logged> = Vec::new();
        let inner = self.lock();
        let nodes = inner.nodes.iter().map(|(node, sequence)| (Arc::clone(node), *sequence)).collect();
        let place = inner.place.unwrap_or_default();
        rows.extend(inner.held_back().filter_map(put));
        drop(inner);
        self.pages(|page| rows.extend(page.iter().copied().filter_map(put)));
        // what was in force when the first were read may be held back by now
        rows.extend(self.lock().held_back().filter_map(put));
        let mut last = None;
        loop {
            let inner = self.lock();
            let behind = last.map_or(Bound::Unbounded, Bound::Excluded);
            let page = inner.graves.range((behind, Bound::Unbounded)).take(PAGE);
            let before = last;
            for (key, grave) in page {
                last = Some(*key);
                rows.extend(is_in(&grave.made).then(|| Logged::removed(*key, grave.made.stamp).of(&grave.made)));
            }
            if last == before {
                return Snapshot { place, nodes, rows };
            }
        }
    }

    /// The set that all nodes share, of what goes on beyond the unix second `beyond`. What comes and goes meanwhile may be
    /// in it or not.
    pub fn digest(&self, beyond: u64) -> Digest {
        let mut digest = Digest { count: 0, sum: 0 };
        let mut add = |decision: &Decision| {
            if decision.until.is_none_or(|until| until > beyond) {
                digest.count += 1;
                digest.sum = digest.sum.wrapping_add(hash(decision));
            }
        };
        self.pages(|page| page.iter().copied().for_each(&mut add));
        self.lock().held_back().for_each(add);
        digest
    }

    /// Goes through what is in force a part at a time, so that nobody who decides waits for all of it.
    fn pages(&self, mut take: impl FnMut(&[&Decision])) {
        let mut last = None;
        loop {
            let inner = self.lock();
            let (page, next) = inner.book.page(last, PAGE, 0);
            take(&page);
            if next.is_none() {
                return;
            }
            last = next;
        }
    }
}

/// The same on every node and in every release.
fn hash(decision: &Decision) -> u128 {
    let mut hasher = SipHasher13::new();
    let Decision { net, kind, until, made, .. } = decision;
    match net.addr() {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    hasher.write(&[net.prefix_len(), kind.rule() as u8, u8::from(until.is_some())]);
    hasher.write(&until.unwrap_or_default().to_be_bytes());
    hasher.write(&made.stamp.bits().to_be_bytes());
    hasher.write(made.node.as_bytes());
    hasher.finish128().as_u128()
}
