//! What is in the book.

use std::iter;

use ipnet::IpNet;

use super::node::{Node, is_live, ranked};
use super::{Count, RuleBook};
use crate::control::decision::{Decision, Key, Kind};

impl RuleBook {
    /// The live decision of this kind at this very prefix.
    pub fn get(&self, net: &IpNet, kind: Kind, now: u64) -> Option<&Decision> {
        let timed = self.nodes.get(net)?.own[kind as usize].as_ref()?;
        is_live(timed.ends, now).then_some(&timed.decision)
    }

    /// The live decision that applies to all of `net`, its own or one that covers it.
    pub fn covering(&self, net: &IpNet, now: u64) -> Option<&Decision> {
        let nodes: Vec<&Node> = self.nodes.cover(net).map(|(_, node)| &**node).collect();
        ranked(&nodes).find(|timed| is_live(timed.ends, now)).map(|timed| &timed.decision)
    }

    /// Every live decision, by address.
    pub fn iter(&self, now: u64) -> impl Iterator<Item = &Decision> {
        let timed = self.nodes.values().flat_map(|node| node.own.iter().flatten());
        timed.filter(move |timed| is_live(timed.ends, now)).map(|timed| &timed.decision)
    }

    /// Every decision, live or not swept yet, by address.
    pub fn all(&self) -> impl Iterator<Item = &Decision> {
        self.nodes.values().flat_map(|node| node.own.iter().flatten()).map(|timed| &timed.decision)
    }

    /// The decision at this very key, live or not swept yet.
    pub fn any(&self, (net, kind): &Key) -> Option<&Decision> {
        Some(&self.nodes.get(net)?.own[*kind as usize].as_ref()?.decision)
    }

    /// The decisions of at most `limit` prefixes behind `last` that are live at `now` (0: those that are not swept yet as
    /// well), by address, and the last of these prefixes; `None`: there are no more. To go through the book a part at a
    /// time: what comes and goes meanwhile may be met or not, all else is met once.
    pub fn page(&self, last: Option<IpNet>, limit: usize, now: u64) -> (Vec<&Decision>, Option<IpNet>) {
        let (mut page, mut looked) = (Vec::new(), None);
        for (net, node) in self.nodes_after(last).take(limit) {
            looked = Some(net);
            page.extend(
                node.own.iter().flatten().filter(|timed| is_live(timed.ends, now)).map(|timed| &timed.decision),
            );
        }
        (page, looked)
    }

    /// Every live decision behind `after`, by address. Whoever stops early has paid only for what was seen.
    pub fn iter_after(&self, after: Option<Key>, now: u64) -> impl Iterator<Item = &Decision> {
        let here = after.and_then(|(net, kind)| Some(&self.nodes.get(&net)?.own[kind as usize + 1..]));
        let behind = self.nodes_after(after.map(|(net, _)| net)).flat_map(|(_, node)| &node.own);
        let timed = here.into_iter().flatten().chain(behind).flatten();
        timed.filter(move |timed| is_live(timed.ends, now)).map(|timed| &timed.decision)
    }

    pub(super) fn nodes_after(&self, last: Option<IpNet>) -> impl Iterator<Item = (IpNet, &Node)> {
        let roots = || [IpNet::V4(Default::default()), IpNet::V6(Default::default())];
        let start: Vec<IpNet> = match last {
            None => roots().into(),
            Some(last) => {
                let beside = iter::successors(Some(last), IpNet::supernet).filter_map(|net| right_of(&net));
                let other = roots().into_iter().filter(|root| root.addr().is_ipv6() && last.addr().is_ipv4());
                [last].into_iter().chain(beside).chain(other).collect()
            }
        };
        let nodes = start.into_iter().flat_map(|net| self.nodes.children(&net));
        nodes.filter(move |(net, _)| Some(*net) != last).map(|(net, node)| (net, &**node))
    }

    /// The live decisions whose prefixes cover `net`, widest first.
    pub fn around(&self, net: &IpNet, now: u64) -> impl Iterator<Item = &Decision> {
        let timed = self.nodes.cover(net).flat_map(|(_, node)| node.own.iter().flatten());
        timed.filter(move |timed| is_live(timed.ends, now)).map(|timed| &timed.decision)
    }

    /// The decisions whose prefixes have an address in common with `net`, live or not swept yet.
    pub fn touching(&self, net: &IpNet) -> impl Iterator<Item = &Decision> {
        let around = self.nodes.cover(net).filter(move |(wider, _)| wider != net);
        let nodes = around.chain(self.nodes.children(net));
        nodes.flat_map(|(_, node)| node.own.iter().flatten()).map(|timed| &timed.decision)
    }

    /// How many decisions there are, live or not swept yet.
    pub const fn count(&self) -> &Count {
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
}

/// The prefix of the same length on the right of this one, if this is the left half of a wider one.
fn right_of(net: &IpNet) -> Option<IpNet> {
    let mut halves = net.supernet()?.subnets(net.prefix_len()).ok()?;
    halves.next().filter(|left| left == net).and(halves.next())
}
