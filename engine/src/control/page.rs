//! A list of a million decisions, a page at a time: nobody who decides waits for whoever reads.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use ipnet::IpNet;

use crate::control::decide::{Control, Filter, Listed, is_live};
use crate::control::decision::{Decision, Key};

/// Decisions looked at under one lock. More: whoever decides waits longer, some 0.1 µs each. Fewer: a lock for nothing.
const LOOK_MAX: usize = 4_096;

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// By address.
    pub listed: Vec<Listed>,
    /// Behind which key the next page begins; `None`: this was the last.
    pub next: Option<Key>,
}

impl Control {
    /// The first `limit` decisions behind `after` that the filter wants, those that are held back among them. What
    /// comes and goes while pages are read may be on none.
    pub fn page(&self, filter: &Filter, after: Option<Key>, limit: usize) -> Page {
        if filter.covering.is_some() {
            let behind = |listed: &Listed| after.is_none_or(|after| listed.decision.key() > after);
            let mut listed: Vec<_> = self.around(filter).into_iter().filter(behind).collect();
            let more = listed.len() > limit;
            listed.truncate(limit);
            let next = listed.last().map(|last| last.decision.key()).filter(|_| more);
            return Page { listed, next };
        }
        let (mut listed, mut after) = (Vec::new(), after);
        loop {
            let (seen, end) = self.look(after);
            for seen in seen.into_iter().filter(|seen| filter.wants(&seen.decision)) {
                let key = seen.decision.key();
                listed.push(seen);
                if listed.len() >= limit {
                    return Page { listed, next: Some(key) };
                }
            }
            after = end;
            if after.is_none() {
                return Page { listed, next: None };
            }
        }
    }

    /// What applies to all of `net`.
    pub fn applies(&self, net: &IpNet) -> Option<Decision> {
        let inner = self.lock();
        inner.book.covering(net, (self.clock()).mono_ns()).cloned()
    }

    /// What this node is called in its cluster; empty where there is none.
    pub fn node(&self) -> Arc<str> {
        self.lock().node()
    }

    /// The next decisions behind `after`, and the last key looked at; `None`: there are no more.
    fn look(&self, after: Option<Key>) -> (Vec<Listed>, Option<Key>) {
        let inner = self.lock();
        let clock = self.clock();
        let in_force = inner.book.iter_after(after, clock.mono_ns()).take(LOOK_MAX);
        let mut seen: Vec<_> = in_force.map(|decision| Listed { decision: decision.clone(), held: None }).collect();
        let end = seen.last().map(|last| last.decision.key()).filter(|_| seen.len() == LOOK_MAX);
        let to = (after.map_or(Unbounded, Excluded), end.map_or(Unbounded, Included));
        let held = inner.held.range(to).map(|(_, held)| held).filter(|held| is_live(&held.decision, clock));
        let before = seen.len();
        seen.extend(held.map(|held| Listed { decision: held.decision.clone(), held: Some(held.why.clone()) }));
        if seen.len() > before {
            seen.sort_by_key(|seen| seen.decision.key());
        }
        (seen, end)
    }

    /// What covers the address of the filter: a few at most.
    fn around(&self, filter: &Filter) -> Vec<Listed> {
        let Some(net) = &filter.covering else { return Vec::new() };
        let inner = self.lock();
        let clock = self.clock();
        let in_force =
            inner.book.around(net, clock.mono_ns()).map(|decision| Listed { decision: decision.clone(), held: None });
        let held = inner.held.values().filter(|held| is_live(&held.decision, clock));
        let held = held.map(|held| Listed { decision: held.decision.clone(), held: Some(held.why.clone()) });
        let mut listed: Vec<_> = in_force.chain(held).filter(|listed| filter.wants(&listed.decision)).collect();
        listed.sort_by_key(|listed| listed.decision.key());
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ask::{Ask, By, End};
    use crate::control::clock::Clock;
    use crate::control::decide::Member;
    use crate::control::decision::{Kind, Origin};
    use crate::control::fake_kernel::FakeKernel;
    use crate::control::log::{Entry, Logged};
    use crate::control::merge::Read;
    use crate::control::stamp::Stamp;

    const CLOCK: Clock = Clock::at(5_000_000_000_000, 1_000);

    fn net(text: &str) -> IpNet {
        crate::control::address::parse(text).expect(text)
    }

    fn open(directory: &tempfile::TempDir) -> Control {
        let member = Member { node: "a".into(), log: "log".into() };
        let path = directory.path().join("eth0.redb");
        Control::open(&path, Box::new(FakeKernel::default()), Some(member), || CLOCK).expect("a sound store")
    }

    /// More than are looked at under one lock, of every kind and both families, and some that are held back.
    fn fill(control: &Control) {
        let by = By { origin: Origin::Cli, who: "root".into(), force: true, operator: None };
        let put = |net: IpNet, kind| Ask::Put { net, kind, end: End::Never, reason: "".into() };
        let v4 = (0..2 * LOOK_MAX as u32).map(|n| {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + n * 256).into();
            put(IpNet::new(address, if n % 3 == 0 { 24 } else { 32 }).expect("a length"), Kind::Block)
        });
        let v6 = (0..100).map(|n| put(net(&format!("2001:db8:{n:x}::/48")), Kind::ALL[n % 3]));
        let kinds = Kind::ALL.map(|kind| put(net("10.0.0.0/8"), kind));
        let results = control.submit(&by, v4.chain(v6).chain(kinds).collect(), None).results;
        assert!(results.iter().all(Result::is_ok));
        control.set_guarded(
            ["9.0.0.0/8", "10.0.1.0/24", "2001:db8:ffff::/48"].map(|text| (net(text), "ours".into())).into(),
        );
        let changes = ["9.9.9.9", "10.0.1.7", "2001:db8:ffff::1"].map(|text| Logged {
            made: Stamp::of_seconds(4_000),
            ..Logged::removed((net(text), Kind::Block), Stamp::of_seconds(4_000))
        });
        let changes = changes.map(|logged| Logged { removed: false, origin: Some(Origin::Amqp), ..logged }).into();
        control.merge(vec![Read::Entry(0, Entry { node: "b".into(), sequence: 1, changes })], 1).expect("room");
    }

    #[test]
    fn pages_together_are_the_list() {
        let directory = tempfile::tempdir().expect("a directory");
        let control = open(&directory);
        fill(&control);
        let filters = [
            Filter::default(),
            Filter { kind: Some(Kind::Trust), ..Filter::default() },
            Filter { covering: Some(net("10.0.1.7")), ..Filter::default() },
            Filter { elsewhere: Some(control.node()), ..Filter::default() },
            Filter { since: Some(5_000), origin: Some(Origin::Cli), ..Filter::default() },
            Filter { before: Some(1), ..Filter::default() },
        ];
        let mut lengths = Vec::new();
        for filter in &filters {
            let whole = control.list(filter);
            for limit in [2, 7, 1_000, LOOK_MAX, 3 * LOOK_MAX] {
                let (mut paged, mut after) = (Vec::new(), None);
                loop {
                    let page = control.page(filter, after, limit);
                    assert!(page.listed.len() <= limit);
                    paged.extend(page.listed);
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert!(paged == whole, "{filter:?} by {limit}: {} of {}", paged.len(), whole.len());
            }
            lengths.push((whole.len(), whole.iter().filter(|listed| listed.held.is_some()).count()));
        }
        let all = 2 * LOOK_MAX + 103;
        assert_eq!(lengths, [(all + 3, 3), (35, 0), (4, 1), (3, 3), (all, 0), (0, 0)]);
    }

    #[test]
    fn what_applies_is_what_outranks() {
        let directory = tempfile::tempdir().expect("a directory");
        let control = open(&directory);
        fill(&control);
        let applies = |text: &str| control.applies(&net(text)).map(|decision| (decision.net, decision.kind));
        assert_eq!(applies("10.0.0.1"), Some((net("10.0.0.0/8"), Kind::Trust)));
        assert_eq!(applies("192.0.2.1"), None);
    }
}
