//! What operators ask, one thing at a time, through a kernel that only looks up.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use vos_common::rule::RuleKind;

use super::{Bench, net};
use crate::control::Control;
use crate::control::ask::{Ask, By, Done, End, MAX_REASON, MAX_TTL, Refusal};
use crate::control::decide::Filter;
use crate::control::decision::{Decision, Kind, Origin};
use crate::control::maps::MapError;
use crate::control::store::Store;

/// One thing asked for by an operator.
#[derive(Clone)]
struct Want {
    net: IpNet,
    kind: Kind,
    ttl_s: Option<u64>,
    reason: String,
    force: bool,
    operator: Option<IpAddr>,
}

fn ask(text: &str, kind: Kind) -> Want {
    Want { net: net(text), kind, ttl_s: None, reason: String::new(), force: false, operator: None }
}

/// What operators do, one thing at a time.
trait Operator {
    fn decide(&self, want: Want) -> Result<Done, Refusal>;
    fn remove(&self, net: IpNet, kind: Kind) -> Result<Option<Decision>, Refusal>;
    fn listed(&self) -> Vec<Decision>;
}

impl Operator for Control {
    fn decide(&self, want: Want) -> Result<Done, Refusal> {
        let Want { net, kind, ttl_s, reason, force, operator } = want;
        let by = By { origin: Origin::Cli, who: "root".into(), force, operator };
        self.ask(&by, Ask::Put { net, kind, end: ttl_s.map_or(End::Never, End::After), reason: reason.into() })
    }

    fn remove(&self, net: IpNet, kind: Kind) -> Result<Option<Decision>, Refusal> {
        let by = By { origin: Origin::Cli, who: "root".into(), force: false, operator: None };
        match self.ask(&by, Ask::Remove { net, kind })? {
            Done::Removed { now, .. } => Ok(now),
            other => panic!("{other:?}"),
        }
    }

    fn listed(&self) -> Vec<Decision> {
        self.list(&Filter::default()).into_iter().map(|listed| listed.decision).collect()
    }
}

#[test]
fn what_is_acknowledged_is_in_force_and_survives_a_restart() {
    let bench = Bench::new();
    let control = bench.open();
    control.decide(ask("10.0.0.0/8", Kind::Block)).expect("room");
    control.decide(Want { ttl_s: Some(60), ..ask("10.0.0.1", Kind::Allow) }).expect("room");
    assert_eq!(bench.kind("10.0.0.1"), RuleKind::Allowed as u32);
    drop(control);
    // a reboot: the maps are empty, the minute goes on
    *bench.kernel.maps() = Default::default();
    bench.set(59);
    let control = bench.open();
    assert_eq!(bench.kind("10.0.0.1"), RuleKind::Allowed as u32);
    assert_eq!(bench.kind("10.0.0.2"), RuleKind::Blocked as u32);
    drop(control);
    bench.set(60);
    assert_eq!(bench.kind("10.0.0.1"), RuleKind::Blocked as u32);
    assert_eq!(bench.open().listed().len(), 1);
}

#[test]
fn the_sweeper_forgets_on_disk_as_well() {
    let bench = Bench::new();
    let control = bench.open();
    for i in 0..10 {
        control.decide(Want { ttl_s: Some(5), ..ask(&format!("10.0.0.{i}"), Kind::Block) }).expect("room");
    }
    let sweep = control.sweep().expect("nothing refuses");
    assert_eq!((sweep.ended.len(), sweep.next), (0, Some(Duration::from_secs(5))));
    bench.set(5);
    assert!(control.listed().is_empty(), "what has ended is not listed, swept or not");
    let sweep = control.sweep().expect("nothing refuses");
    assert_eq!((sweep.ended.len(), sweep.next), (10, None));
    drop(control);
    let (_, loaded) = Store::open(&bench.path()).expect("sound");
    assert!(loaded.decisions.is_empty() && bench.kernel.maps().entries.is_empty());
}

#[test]
fn a_refusing_kernel_leaves_disk_and_book_as_they_were() {
    let bench = Bench::new();
    let control = bench.open();
    control.decide(Want { reason: "first".into(), ..ask("10.0.0.1", Kind::Block) }).expect("room");
    bench.kernel.maps().capacity = Some(1);
    let refusal = control.decide(ask("10.0.0.2", Kind::Block)).expect_err("full");
    assert!(matches!(refusal, Refusal::Maps(ref error) if matches!(**error, MapError::Full { .. })), "{refusal}");
    bench.kernel.maps().writes_left = Some(0);
    control.remove(net("10.0.0.1"), Kind::Block).expect_err("no write succeeds");
    bench.kernel.maps().writes_left = None;
    assert_eq!(control.listed().len(), 1);
    drop(control);
    let listed = bench.open().listed();
    assert_eq!(listed.iter().map(|d| (d.net, &*d.reason)).collect::<Vec<_>>(), [(net("10.0.0.1"), "first")]);
}

#[test]
fn unblocking_what_a_wider_rule_blocks_says_so() {
    let bench = Bench::new();
    let control = bench.open();
    control.decide(ask("10.1.0.0/16", Kind::Block)).expect("room");
    let refusal = control.remove(net("10.1.2.3"), Kind::Block).expect_err("no such rule");
    assert_eq!(refusal.to_string(), "10.1.2.3 is blocked by 10.1.0.0/16: unblock that, or allow 10.1.2.3");
    let refusal = control.remove(net("10.2.0.0/16"), Kind::Block).expect_err("no such rule");
    assert!(matches!(refusal, Refusal::NoSuchRule { .. }), "{refusal}");
    control.decide(ask("10.1.2.3", Kind::Block)).expect("room");
    let back = control.remove(net("10.1.2.3"), Kind::Block).expect("it is there");
    assert_eq!(back.map(|d| d.net), Some(net("10.1.0.0/16")));
}

#[test]
fn nobody_blocks_the_host_its_gateway_or_the_own_session_by_mistake() {
    let bench = Bench::new();
    let control = bench.open();
    control.set_guarded(vec![(net("192.0.2.1"), "the default gateway".into())]);
    let refusal = control.decide(ask("192.0.2.0/24", Kind::Block)).expect_err("guarded");
    assert_eq!(
        refusal.to_string(),
        "blocking 192.0.2.0/24 would block 192.0.2.1, the default gateway: name a smaller prefix, or insist with --force"
    );
    let operator = Some("203.0.113.9".parse().expect("an address"));
    let own = Want { operator, ..ask("203.0.113.9", Kind::Block) };
    assert!(matches!(control.decide(own.clone()), Err(Refusal::Guarded { .. })));
    control.decide(Want { force: true, ..own }).expect("insisted");
    control.decide(ask("192.0.2.2", Kind::Block)).expect("a neighbour");
    control.decide(ask("192.0.2.0/24", Kind::Allow)).expect("only blocks are guarded");
}

#[test]
fn a_block_in_what_is_trusted_is_refused_and_insisted_on_it_waits() {
    let bench = Bench::new();
    let control = bench.open();
    control.set_guarded(vec![(net("203.0.113.1"), "this host".into())]);
    control.decide(Want { ttl_s: Some(60), ..ask("203.0.113.0/24", Kind::Trust) }).expect("only blocks are guarded");
    let refusal = control.decide(ask("203.0.113.7", Kind::Block)).expect_err("without effect");
    assert_eq!(
        refusal.to_string(),
        "203.0.113.7 is trusted by 203.0.113.0/24, and a trust outranks every block: `vosctl untrust 203.0.113.0/24` first, or insist with --force on a block that waits until the trust is gone"
    );
    control.decide(ask("203.0.113.8", Kind::Allow)).expect("an allow contradicts nothing");
    control.decide(Want { force: true, ..ask("203.0.113.7", Kind::Block) }).expect("insisted");
    control.decide(Want { force: true, ..ask("203.0.112.0/23", Kind::Block) }).expect("around it");
    let kinds = |sources: [&str; 3]| sources.map(|source| bench.kind(source));
    let sources = ["203.0.113.7", "203.0.113.9", "203.0.112.9"];
    let (trusted, blocked) = (RuleKind::Trusted as u32, RuleKind::Blocked as u32);
    assert_eq!(kinds(sources), [trusted, trusted, blocked]);
    bench.set(60);
    assert_eq!(kinds(sources), [blocked; 3]);
    control.decide(ask("203.0.113.9", Kind::Block)).expect("the trust has ended");
}

#[test]
fn a_trust_survives_a_restart_and_taking_it_back_says_what_applies_then() {
    let bench = Bench::new();
    let control = bench.open();
    control.decide(ask("10.0.0.0/8", Kind::Block)).expect("room");
    control.decide(ask("10.0.0.0/24", Kind::Trust)).expect("room");
    drop(control);
    *bench.kernel.maps() = Default::default();
    let control = bench.open();
    assert_eq!(bench.kind("10.0.0.1"), RuleKind::Trusted as u32);
    let refusal = control.remove(net("10.0.0.1"), Kind::Trust).expect_err("no such rule");
    assert_eq!(
        refusal.to_string(),
        "10.0.0.1 is trusted by 10.0.0.0/24: untrust that, and trust the rest of it in smaller prefixes"
    );
    let refusal = control.decide(ask("10.0.0.0/24", Kind::Block)).expect_err("without effect");
    assert!(refusal.to_string().starts_with("10.0.0.0/24 is trusted, and"), "{refusal}");
    let back = control.remove(net("10.0.0.0/24"), Kind::Trust).expect("it is there");
    assert_eq!(back.map(|now| (now.net, now.kind)), Some((net("10.0.0.0/8"), Kind::Block)));
    assert_eq!(bench.kind("10.0.0.1"), RuleKind::Blocked as u32);
}

#[test]
fn ends_and_reasons_out_of_range_are_refused() {
    let bench = Bench::new();
    let control = bench.open();
    for ttl_s in [0, MAX_TTL + 1, u64::MAX] {
        let asked = Want { ttl_s: Some(ttl_s), ..ask("10.0.0.1", Kind::Block) };
        assert!(matches!(control.decide(asked), Err(Refusal::Ttl { .. })), "{ttl_s}");
    }
    let asked = Want { reason: "x".repeat(MAX_REASON + 1), ..ask("10.0.0.1", Kind::Block) };
    assert!(matches!(control.decide(asked), Err(Refusal::Reason { length: 257 })));
    assert!(control.listed().is_empty());
}
