//! Nodes that read one log, each in its own time, hold the same in the end.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::control::decision::Key;
use crate::control::log::{Entry, Logged};
use crate::control::merge::Read;

const NODES: [&str; 3] = ["a", "b", "c"];
const NETS: [&str; 6] =
    ["10.0.0.0/8", "10.0.0.0/24", "10.0.0.1/32", "203.0.113.7/32", "2001:db8::/32", "2001:db8::1/128"];

/// Nodes, and the log as the broker keeps it: with holes between the offsets.
struct Cluster {
    nodes: Vec<(Bench, Option<Control>)>,
    log: Vec<(u64, Entry)>,
}

impl Cluster {
    fn new() -> Self {
        let nodes = NODES.map(|name| {
            let bench = Bench::node(name);
            let control = Some(bench.open());
            (bench, control)
        });
        Self { nodes: nodes.into(), log: Vec::new() }
    }

    fn control(&self, node: usize) -> &Control {
        self.nodes[node].1.as_ref().expect("open")
    }

    /// Appends at most `most` entries of a node's outbox. Where the confirmation is lost, the node will send them again.
    fn publish(&mut self, node: usize, most: usize, is_confirmed: bool) {
        let entries = self.control(node).outbox(most).expect("readable");
        let sequences = entries.iter().map(|entry| entry.sequence).collect();
        for entry in entries {
            // as it goes over the wire
            let entry = serde_json::from_slice(&serde_json::to_vec(&entry).expect("JSON")).expect("the same");
            let offset = self.log.last().map_or(0, |(offset, _)| offset + 1 + offset % 3);
            self.log.push((offset, entry));
        }
        if is_confirmed {
            self.control(node).sent(sequences).expect("room");
        }
    }

    /// Has a node read at most `most` entries on, after it has read `again` of those before once more.
    fn read(&self, node: usize, most: usize, again: usize) {
        let next = self.control(node).place().expect("of a cluster").next;
        let at = self.log.partition_point(|(offset, _)| *offset < next);
        let part = &self.log[at.saturating_sub(again)..self.log.len().min(at.saturating_add(most))];
        let Some((last, _)) = part.last() else { return };
        let read = part.iter().map(|(offset, entry)| Read::Entry(*offset, entry.clone())).collect();
        self.control(node).merge(read, next.max(last + 1)).expect("room");
    }

    fn restart(&mut self, node: usize) {
        let (bench, control) = &mut self.nodes[node];
        *control = None;
        *control = Some(bench.open());
    }

    /// Has a node that lags behind another begin with a snapshot of that one.
    fn snapshot(&self, from: usize, to: usize) {
        let snapshot = self.control(from).snapshot(false);
        if self.control(to).place().is_some_and(|place| place.next < snapshot.place.next) {
            let read = Read::Snapshot { nodes: snapshot.nodes, rows: snapshot.rows };
            self.control(to).merge(vec![read], snapshot.place).expect("room");
        }
    }

    /// Everything is told and read.
    fn settle(&mut self) {
        for node in 0..self.nodes.len() {
            self.publish(node, usize::MAX, true);
        }
        for node in 0..self.nodes.len() {
            self.read(node, usize::MAX, 0);
            let seconds = self.nodes.iter().map(|(bench, _)| bench.now() - START).max();
            self.nodes[node].0.set(seconds.unwrap_or_default());
        }
    }

    /// Of each key the last that anybody wrote, by stamp and name.
    fn last_written(&self, now: u64) -> Vec<(Key, Option<u64>, String)> {
        let mut last: BTreeMap<Key, (u64, String, Logged)> = BTreeMap::new();
        for (_, entry) in &self.log {
            for logged in &entry.changes {
                let node = logged.node.as_ref().unwrap_or(&entry.node).to_string();
                let stamp = (logged.made.bits(), node);
                if last.get(&logged.key()).is_none_or(|(bits, name, _)| (*bits, name) < (stamp.0, &stamp.1)) {
                    last.insert(logged.key(), (stamp.0, stamp.1, logged.clone()));
                }
            }
        }
        let live = last.into_iter().filter(|(.., (_, _, it))| !it.removed && it.until.is_none_or(|until| until > now));
        live.map(|(key, (_, node, logged))| (key, logged.until, node)).collect()
    }

    fn check(&self) {
        let now = self.nodes[0].0.now();
        let expected = self.last_written(now);
        let digest = self.control(0).digest(now);
        assert_eq!(digest.count as usize, expected.len());
        for (bench, control) in &self.nodes {
            let control = control.as_ref().expect("open");
            let found = listed(control).into_iter().map(|it| (it.key(), it.until, it.made.node.to_string()));
            assert_eq!(found.collect::<Vec<_>>(), expected);
            assert_eq!(control.digest(now), digest);
            assert_eq!(control.outbox_len(), 0);
            let verified = control.verify(false).expect("readable");
            assert_eq!((verified.in_kernel(), verified.on_disk()), (0, 0), "{verified:?}");
            bench.kernel.assert_gate_is_tight();
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Decide {
        node: usize,
        net: &'static str,
        kind: Kind,
        ttl: Option<u64>,
    },
    TakeBack {
        node: usize,
        net: &'static str,
        kind: Kind,
    },
    Undo {
        node: usize,
    },
    Publish {
        node: usize,
        most: usize,
        is_confirmed: bool,
    },
    Read {
        node: usize,
        most: usize,
        again: usize,
    },
    Restart {
        node: usize,
    },
    Snapshot {
        from: usize,
        to: usize,
    },
    Guard {
        node: usize,
        on: bool,
    },
    /// Of one node alone: clocks differ.
    Wait {
        node: usize,
        seconds: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES.len();
    let (net, kind) = (|| select(&NETS[..]), || select(&Kind::ALL[..]));
    prop_oneof![
        6 => (node(), net(), kind(), prop::option::weighted(0.4, 1_u64..30))
            .prop_map(|(node, net, kind, ttl)| Event::Decide { node, net, kind, ttl }),
        3 => (node(), net(), kind()).prop_map(|(node, net, kind)| Event::TakeBack { node, net, kind }),
        1 => node().prop_map(|node| Event::Undo { node }),
        4 => (node(), 1_usize..5, prop::bool::weighted(0.8))
            .prop_map(|(node, most, is_confirmed)| Event::Publish { node, most, is_confirmed }),
        5 => (node(), 1_usize..6, 0_usize..3).prop_map(|(node, most, again)| Event::Read { node, most, again }),
        1 => node().prop_map(|node| Event::Restart { node }),
        1 => (node(), node()).prop_map(|(from, to)| Event::Snapshot { from, to }),
        1 => (node(), any::<bool>()).prop_map(|(node, on)| Event::Guard { node, on }),
        2 => (node(), 1_u64..9).prop_map(|(node, seconds)| Event::Wait { node, seconds }),
    ]
}

impl Cluster {
    fn meet(&mut self, event: &Event) {
        match *event {
            Event::Decide { node, net, kind, ttl } => {
                let end = ttl.map_or(End::Never, End::After);
                let ask = Ask::Put { net: net.parse().expect("a net"), kind, end, reason: "".into() };
                command(self.control(node), &insisting(), vec![ask]);
            }
            Event::TakeBack { node, net, kind } => {
                let ask = Ask::Remove { net: net.parse().expect("a net"), kind };
                command(self.control(node), &root(), vec![ask]);
            }
            Event::Undo { node } => drop(self.control(node).undo(None, &insisting())),
            Event::Publish { node, most, is_confirmed } => self.publish(node, most, is_confirmed),
            Event::Read { node, most, again } => self.read(node, most, again),
            Event::Restart { node } => self.restart(node),
            Event::Snapshot { from, to } => self.snapshot(from, to),
            Event::Guard { node, on } => {
                let guarded = (net("10.0.0.1"), "the default gateway".to_owned());
                self.control(node).set_guarded(if on { vec![guarded] } else { Vec::new() });
            }
            Event::Wait { node, seconds } => {
                self.nodes[node].0.wait(seconds);
                self.control(node).sweep().expect("nothing refuses");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn all_hold_what_was_written_last_whatever_order_and_however_often_they_read(
        events in prop::collection::vec(event(), 1..60),
    ) {
        let mut cluster = Cluster::new();
        for event in &events {
            cluster.meet(event);
        }
        cluster.settle();
        cluster.check();
        // one that is new begins with a snapshot of any
        for from in 0..NODES.len() {
            let bench = Bench::node("d");
            bench.set(cluster.nodes[0].0.now() - START);
            let control = Some(bench.open());
            cluster.nodes.push((bench, control));
            cluster.snapshot(from, NODES.len());
            cluster.check();
            cluster.nodes.pop();
        }
        for node in 0..NODES.len() {
            cluster.restart(node);
        }
        cluster.check();
    }
}

#[test]
fn a_node_back_from_isolation_undoes_nothing_that_came_after() {
    let mut cluster = Cluster::new();
    done(cluster.control(0), vec![block("10.0.0.1"), block("10.0.0.2")]);
    cluster.settle();
    cluster.check();
    // a is cut off, takes one back and blocks another; meanwhile b decides on both, later
    cluster.nodes[0].0.set(10);
    done(cluster.control(0), vec![unblock("10.0.0.1"), block("203.0.113.7")]);
    cluster.nodes[1].0.set(20);
    done(cluster.control(1), vec![Ask::block(net("10.0.0.1"), End::Never, "anew"), block("203.0.113.7")]);
    done(cluster.control(1), vec![unblock("203.0.113.7"), unblock("10.0.0.2")]);
    cluster.publish(1, usize::MAX, true);
    cluster.read(2, usize::MAX, 0);
    // and is back: what it did comes last in the log
    cluster.settle();
    cluster.check();
    assert_eq!(nets(cluster.control(0)), ["10.0.0.1"]);
    assert_eq!(&*listed(cluster.control(2))[0].reason, "anew");
}

#[test]
fn what_another_decides_after_it_has_read_is_later_however_wrong_its_clock_is() {
    let mut cluster = Cluster::new();
    cluster.nodes[0].0.set(100_000);
    done(cluster.control(0), vec![block("10.0.0.1")]);
    cluster.publish(0, usize::MAX, true);
    cluster.read(1, usize::MAX, 0);
    done(cluster.control(1), vec![unblock("10.0.0.1")]);
    cluster.settle();
    cluster.check();
    assert!(nets(cluster.control(0)).is_empty());
}

#[test]
fn what_the_guard_of_one_node_keeps_back_is_in_force_on_the_others_and_there_when_nothing_keeps_it() {
    let mut cluster = Cluster::new();
    cluster.control(1).set_guarded(vec![(net("10.0.0.1"), "the default gateway".to_owned())]);
    done(cluster.control(0), vec![block("10.0.0.0/24"), block("10.0.0.1")]);
    cluster.settle();
    cluster.check();
    let kinds = |cluster: &Cluster| [0, 1].map(|node| cluster.nodes[node].0.kind("10.0.0.1"));
    assert_eq!(kinds(&cluster), [1, 0]);
    let held = cluster.control(1).list(&Filter::default());
    let held: Vec<_> = held.iter().filter_map(|it| it.held.as_deref()).collect();
    assert_eq!(held, ["it would block 10.0.0.1, the default gateway"; 2]);
    cluster.restart(1);
    assert_eq!(kinds(&cluster), [1, 0], "held back over a restart, before anybody has said whom to guard");
    cluster.control(1).set_guarded(vec![(net("10.0.0.1"), "the default gateway".to_owned())]);
    cluster.control(1).set_guarded(Vec::new());
    assert_eq!(kinds(&cluster), [1, 1]);
    // and what comes to be guarded later is held back from then on, but not where it was decided
    cluster.control(1).set_guarded(vec![(net("10.0.0.1"), "a resolver".to_owned())]);
    cluster.control(0).set_guarded(vec![(net("10.0.0.1"), "a resolver".to_owned())]);
    assert_eq!(kinds(&cluster), [1, 0]);
    cluster.check();
}

#[test]
fn what_the_kernel_has_no_room_for_waits_and_the_set_is_the_same() {
    let mut cluster = Cluster::new();
    cluster.nodes[1].0.kernel.maps().capacity = Some(1);
    done(cluster.control(0), vec![block("10.0.0.1"), block("10.0.0.2"), block("10.0.0.3")]);
    cluster.settle();
    cluster.check();
    let held =
        |cluster: &Cluster| cluster.control(1).list(&Filter::default()).iter().filter(|it| it.held.is_some()).count();
    assert_eq!(held(&cluster), 2);
    cluster.nodes[1].0.kernel.maps().capacity = Some(2);
    cluster.control(1).sweep().expect("nothing refuses");
    assert_eq!(held(&cluster), 1);
    cluster.restart(1);
    cluster.nodes[1].0.kernel.maps().capacity = None;
    cluster.control(1).sweep().expect("nothing refuses");
    assert_eq!(held(&cluster), 0);
    cluster.check();
}

#[test]
fn who_joins_tells_what_they_hold_as_their_own() {
    let mut bench = Bench::new();
    let control = bench.open();
    done(&control, vec![block("10.0.0.1"), Ask::block(net("10.0.0.2"), End::After(60), "")]);
    drop(control);
    let mut cluster = Cluster::new();
    bench.member = Some(Member { node: "d".into(), log: "log".into() });
    let control = Some(bench.open());
    cluster.nodes.push((bench, control));
    cluster.settle();
    cluster.check();
    assert_eq!((nets(cluster.control(0)).len(), &*listed(cluster.control(0))[0].made.node), (2, "d"));
    // once only
    cluster.restart(3);
    assert_eq!(cluster.control(3).outbox_len(), 0);
}

#[test]
fn what_is_decided_while_a_node_is_out_of_its_cluster_is_told_when_it_is_back() {
    let mut cluster = Cluster::new();
    done(cluster.control(1), vec![block("10.0.0.1"), block("10.0.0.2")]);
    cluster.settle();
    for log in [None, Some("another")] {
        let member = cluster.nodes[0].0.member.take();
        cluster.nodes[0].0.member =
            member.as_ref().zip(log).map(|(member, log)| Member { log: log.into(), ..member.clone() });
        cluster.restart(0);
        let host = if log.is_some() { "10.0.0.4" } else { "10.0.0.3" };
        done(cluster.control(0), vec![block(host)]);
        let gone = if log.is_some() { "10.0.0.2" } else { "10.0.0.1" };
        done(cluster.control(0), vec![unblock(gone)]);
        cluster.nodes[0].0.member = member;
        cluster.restart(0);
        cluster.settle();
        cluster.check();
        for node in 0..3 {
            let there = nets(cluster.control(node));
            assert!(there.contains(&host.to_owned()) && !there.contains(&gone.to_owned()), "{node}: {there:?}");
        }
    }
}

#[test]
fn a_log_that_was_lost_is_told_everything_again() {
    let mut cluster = Cluster::new();
    done(cluster.control(0), vec![block("10.0.0.1"), block("10.0.0.2")]);
    done(cluster.control(1), vec![put("10.0.0.3", Kind::Allow)]);
    cluster.settle();
    done(cluster.control(0), vec![unblock("10.0.0.2")]);
    cluster.publish(0, usize::MAX, true);
    // the broker begins anew before b and c have read that
    cluster.log.clear();
    for node in 0..NODES.len() {
        cluster.control(node).read_again().expect("room");
    }
    // each writes there what it holds
    let held: Vec<_> = (0..NODES.len()).map(|node| cluster.control(node).snapshot(true)).collect();
    for node in 0..NODES.len() {
        for (place, snapshot) in held.iter().enumerate() {
            let rows = snapshot.rows.iter().map(|row| Logged { offset: Some(place as u64), ..row.clone() }).collect();
            let read = Read::Snapshot { nodes: snapshot.nodes.clone(), rows };
            cluster.control(node).merge(vec![read], place as u64 + 1).expect("room");
        }
        assert_eq!(nets(cluster.control(node)), ["10.0.0.1", "10.0.0.3"]);
        assert_eq!(cluster.control(node).digest(0), cluster.control(0).digest(0));
    }
}

#[test]
fn what_no_engine_writes_is_counted_and_left_out() {
    let cluster = Cluster::new();
    let row = |net: &str, reason: &str| {
        let mut logged =
            Logged::removed((net.parse().expect("a net"), Kind::Block), crate::control::stamp::Stamp::of_bits(1));
        (logged.removed, logged.reason) = (false, reason.into());
        logged
    };
    let late = Logged { made: crate::control::stamp::Stamp::of_bits(u64::MAX), ..row("10.0.0.1/32", "") };
    let changes = vec![row("10.0.0.1/8", ""), row("10.0.0.1/32", &"x".repeat(300)), late, row("10.0.0.2/32", "")];
    let entry = Entry { node: "z".into(), sequence: 1, changes };
    let merged = cluster.control(0).merge(vec![Read::Entry(0, entry)], 1).expect("room");
    assert_eq!((merged.unsound, merged.made.len()), (3, 1));
    assert_eq!(nets(cluster.control(0)), ["10.0.0.2"]);
}
