//! What differs between disk, book and kernel is found, named and put right.

use proptest::prelude::*;
use vos_common::rule::{GATE_WORDS, Rule};

use super::*;
use crate::control::maps::RuleMaps;
use crate::control::rules::Change;
use crate::control::store::Batch;
use crate::control::verify::Verified;

fn filled(bench: &Bench) -> Control {
    let control = bench.open();
    let asks = ["10.0.0.0/8", "10.0.0.1", "192.0.2.0/24", "203.0.113.7", "2001:db8::/48", "2001:db8::1"];
    done(&control, asks.map(block).into());
    done(&control, vec![put("10.1.0.0/16", Kind::Allow), put("203.0.113.0/24", Kind::Trust)]);
    control
}

fn counts(verified: &Verified) -> [u64; 8] {
    let Verified { missing, wrong, extra, gates_shut, gates_open, rows_missing, rows_wrong, rows_extra, .. } = verified;
    [*missing, *wrong, *extra, *gates_shut, *gates_open, *rows_missing, *rows_wrong, *rows_extra]
}

#[test]
fn nothing_differs_where_nobody_meddles() {
    let bench = Bench::new();
    let control = filled(&bench);
    for repair in [false, true] {
        let verified = control.verify(repair).expect("readable");
        assert_eq!((verified.decisions, counts(&verified)), (8, [0; 8]), "{verified:?}");
    }
}

#[test]
fn each_difference_in_the_kernel_is_counted_named_and_put_right() {
    let stray = Rule { kind: 1, ..Rule::default() };
    type Meddle = fn(&FakeKernel, Rule);
    let missing: Meddle = |kernel, _| {
        kernel.maps().entries.remove(&net("10.0.0.1"));
    };
    let wrong: Meddle = |kernel, stray| {
        kernel.maps().entries.insert(net("203.0.113.0/24"), stray);
    };
    let extra: Meddle = |kernel, stray| {
        kernel.maps().entries.insert(net("10.9.9.9"), stray);
    };
    let shut: Meddle = |kernel, _| kernel.clone().gate(192 << 4, &[0; GATE_WORDS]).expect("a fake");
    let open: Meddle = |kernel, _| {
        let mut words = [0; GATE_WORDS];
        words[0] = 0b11;
        kernel.clone().gate(198 << 4, &words).expect("a fake");
    };
    let v6: Meddle = |kernel, _| kernel.clone().v6_rules(false).expect("a fake");
    let cases = [
        (missing, [1, 0, 0, 0, 0], "10.0.0.1 has no entry in the kernel"),
        (wrong, [0, 1, 0, 0, 0], "203.0.113.0/24 has an entry in the kernel that says something else"),
        (extra, [0, 0, 1, 0, 0], "10.9.9.9 has an entry in the kernel, and no decision"),
        (shut, [0, 0, 0, 1, 0], ""),
        (open, [0, 0, 0, 0, 2], ""),
        (v6, [0, 0, 0, 1, 0], ""),
    ];
    for (meddle, expected, example) in cases {
        let bench = Bench::new();
        let control = filled(&bench);
        let before = bench.kernel.maps().entries.clone();
        meddle(&bench.kernel, stray);
        for repair in [false, false, true] {
            let verified = control.verify(repair).expect("readable");
            assert_eq!(counts(&verified)[..5], expected, "{example}");
            assert_eq!(verified.examples.first().map_or("", String::as_str), example);
            assert_eq!((verified.repaired, verified.on_disk()), (repair, 0));
            let left = if repair { 0 } else { expected.iter().sum() };
            assert_eq!(control.figures().compared.map(|it| (it.in_kernel, it.on_disk)), Some((left, 0)));
        }
        assert_eq!(counts(&control.verify(false).expect("readable")), [0; 8], "{example}");
        assert_eq!(bench.kernel.maps().entries, before);
    }
}

#[test]
fn each_difference_on_the_disk_is_counted_and_left_to_the_operator() {
    let bench = Bench::new();
    let control = filled(&bench);
    let other = Decision { net: net("198.51.100.1"), ..listed(&control)[0].clone() };
    let wrong = Decision { until: Some(9_999_999), ..listed(&control)[1].clone() };
    let changes = vec![Change::Put(other), Change::Put(wrong), Change::Remove(net("192.0.2.0/24"), Kind::Block)];
    control.lock().store.commit(&Batch { changes, ..Batch::default() }).expect("room");
    assert_eq!(control.figures().compared, None, "nobody has looked");
    let verified = control.verify(true).expect("readable");
    assert_eq!(counts(&verified), [0, 0, 0, 0, 0, 1, 1, 1], "{verified:?}");
    assert_eq!(control.figures().compared.map(|it| (it.in_kernel, it.on_disk)), Some((0, 3)));
    assert!(verified.examples.iter().any(|it| it == "the rule to block 192.0.2.0/24 is not on the disk"));
}

#[test]
fn what_somebody_blocked_is_never_open_while_it_is_put_right() {
    let bench = Bench::new();
    let control = filled(&bench);
    bench.kernel.maps().entries.insert(net("10.0.0.2"), Rule { kind: 1, ..Rule::default() });
    bench.kernel.maps().entries.remove(&net("10.0.0.1"));
    for source in ["10.0.0.1", "10.0.0.2", "2001:db8::1"] {
        bench.kernel.maps().throughout =
            source.parse().ok().map(|source| (source, vos_common::rule::RuleKind::Blocked));
        assert!(control.verify(true).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Entries deleted, changed and added at random: as many are found, and all is as it was.
    #[test]
    fn whatever_is_meddled_with_is_put_right(meddled in prop::collection::vec((0_u8..3, 0_usize..8), 0..6)) {
        let bench = Bench::new();
        let control = filled(&bench);
        let before = bench.kernel.maps().entries.clone();
        let mut nets: Vec<IpNet> = before.keys().copied().collect();
        nets.sort_unstable();
        for (how, which) in meddled {
            let odd = Rule { kind: 2, until: 7, ..Rule::default() };
            let mut maps = bench.kernel.maps();
            let _before = match how {
                0 => maps.entries.remove(&nets[which]),
                1 => maps.entries.insert(nets[which], odd),
                _ => maps.entries.insert(net(&format!("10.200.{which}.0/24")), odd),
            };
        }
        let now = bench.kernel.maps().entries.clone();
        let all: std::collections::HashSet<&IpNet> = before.keys().chain(now.keys()).collect();
        let differ = all.iter().filter(|net| before.get(**net) != now.get(**net)).count() as u64;
        prop_assert_eq!(control.verify(true).expect("readable").in_kernel(), differ);
        prop_assert_eq!(&bench.kernel.maps().entries, &before);
        prop_assert_eq!(control.verify(false).expect("readable").in_kernel(), 0);
        bench.kernel.assert_gate_is_tight();
    }
}
