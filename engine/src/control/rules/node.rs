//! One prefix of the book, and what applies to it.

use ipnet::IpNet;
use vos_common::rule::{Rule, RuleKind};

use crate::control::decision::{Decision, Kind};

/// A prefix with decisions of its own, or (briefly, when a map refused) with an entry that must still go.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// By [`Kind`]; boxed, because most prefixes have one of the three.
    pub(super) own: [Option<Box<Timed>>; Kind::ALL.len()],
    /// What the kernel holds; `None` if it holds nothing, or nobody knows.
    pub(super) rule: Option<Rule>,
    /// A write was refused: the entry is not what it should be.
    pub(super) is_stale: bool,
    /// The node's key in [`super::RuleBook::due`].
    pub(super) due: Option<u64>,
}

/// A decision, and when it ends by the kernel's clock.
#[derive(Debug)]
pub(super) struct Timed {
    pub(super) decision: Decision,
    /// ns of `CLOCK_MONOTONIC`, 0 for good.
    pub(super) ends: u64,
}

/// One map entry to become another.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) net: IpNet,
    pub(super) old: Option<Rule>,
    pub(super) new: Option<Rule>,
}

impl Node {
    pub(super) fn is_bare(&self) -> bool {
        self.own.iter().all(Option::is_none)
    }

    /// Has a decision for good that outranks a `kind` above it, so that one that comes or goes does not matter here.
    pub(super) fn is_settled(&self, kind: Kind) -> bool {
        let mut for_good = self.own.iter().flatten().filter(|held| held.ends == 0);
        for_good.any(|held| kind != Kind::Trust || held.decision.kind == Kind::Trust)
    }

    pub(super) fn next_due(&self) -> Option<u64> {
        if self.is_stale {
            return Some(0);
        }
        // A trust above can end before the node's own decisions; and one of these can end while a trust hides it.
        let ends = self.own.iter().flatten().map(|held| held.ends);
        ends.chain(self.rule.map(|rule| rule.until)).filter(|end| *end != 0).min()
    }
}

pub(super) const fn is_live(ends: u64, now: u64) -> bool {
    ends == 0 || now < ends
}

/// What applies from `now` on by the decisions of the nodes along one path of the trie.
pub(super) fn sequence(nodes: &[&Node], now: u64) -> Rule {
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
pub(super) fn ranked<'a>(nodes: &[&'a Node]) -> impl Iterator<Item = &'a Timed> {
    let (trust, others) = (Kind::Trust as usize, Kind::Trust as usize + 1..);
    let trusts = nodes.iter().rev().copied().filter_map(move |node| node.own[trust].as_ref());
    let others = nodes.iter().rev().copied().flat_map(move |node| node.own[others.clone()].iter().flatten());
    trusts.chain(others).map(Box::as_ref)
}
