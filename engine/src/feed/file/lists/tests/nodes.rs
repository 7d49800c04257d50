use super::*;
use crate::control::merge::Read;

/// A node of this name, which has the time of another.
fn node(name: &'static str, seconds: &Arc<AtomicU64>) -> Bench {
    Bench { node: Some(name), seconds: Arc::clone(seconds), ..Bench::new() }
}

/// The other hears all that this one has decided.
fn tell(from: &Lists, to: &Lists) {
    let entries = from.control.outbox(usize::MAX).expect("readable");
    let sequences = entries.iter().map(|entry| entry.sequence).collect();
    let next = to.control.place().expect("of a cluster").next;
    let end = next + entries.len() as u64;
    let read = (next..).zip(entries).map(|(offset, entry)| Read::Entry(offset, entry)).collect();
    to.control.merge(read, end).expect("room");
    from.control.sent(sequences).expect("room");
}

#[test]
fn what_leaves_one_nodes_file_is_blocked_as_long_as_anothers_has_it() {
    let seconds = Arc::default();
    let benches = [node("a", &seconds), node("b", &seconds)];
    let [a, b] = [0, 1].map(|at: usize| benches[at].open());
    apply(&a, "/l", &["192.0.2.1", "192.0.2.2"]);
    tell(&a, &b);
    assert_eq!(told(&apply(&b, "/l", &["192.0.2.1"])), (0, 0, 1, 0));
    apply(&a, "/l", &[]);
    tell(&a, &b);
    assert!(blocked(&b).is_empty());
    benches[1].pass(&b, AGAIN);
    assert_eq!(told(&b.again(&"/l".into(), 1)), (1, 0, 0, 0));
    tell(&b, &a);
    assert_eq!(blocked(&a), ["192.0.2.1 /l"]);
    // and it is the last that has it
    apply(&b, "/l", &[]);
    tell(&b, &a);
    benches[0].pass(&a, 3 * AGAIN);
    assert_eq!(told(&a.again(&"/l".into(), 2)), (0, 0, 0, 0));
    assert!(blocked(&a).is_empty() && blocked(&b).is_empty());
}

#[test]
fn a_block_in_whose_place_another_nodes_file_put_a_longer_one_comes_back() {
    let seconds = Arc::default();
    let benches = [node("a", &seconds), node("b", &seconds)];
    let [a, b] = [0, 1].map(|at: usize| benches[at].open());
    let again = |seconds: u64| {
        benches[0].pass(&a, seconds);
        told(&a.again(&"/l".into(), 1))
    };
    apply(&a, "/l", &["192.0.2.1 1000"]);
    assert_eq!(again(0), (0, 0, 0, 0));
    tell(&a, &b);
    assert_eq!(told(&apply(&b, "/l", &["192.0.2.1 2000"])), (1, 0, 0, 0));
    tell(&b, &a);
    assert_eq!(again(AGAIN), (0, 0, 0, 0));
    apply(&b, "/l", &[]);
    tell(&b, &a);
    assert!(blocked(&a).is_empty());
    assert_eq!(again(AGAIN), (1, 0, 0, 0));
    assert_eq!(blocked(&a), ["192.0.2.1 /l 1000"]);
}

#[test]
fn a_node_of_another_name_knows_its_own_again_and_nobody_elses() {
    let seconds = Arc::default();
    let mut bench = node("a", &seconds);
    apply(&bench.open(), "/l", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    bench.node = Some("b");
    let lists = bench.open();
    assert_eq!(told(&apply(&lists, "/l", &["192.0.2.2", "192.0.2.3"])), (0, 1, 2, 0));
    assert_eq!(blocked(&lists), ["192.0.2.2 /l", "192.0.2.3 /l"]);

    // a machine that has the name now
    let other = node("a", &seconds);
    let others = other.open();
    bench.pass(&lists, 1);
    apply(&others, "/l", &["192.0.2.9"]);
    tell(&others, &lists);
    drop(lists);
    let lists = bench.open();
    assert_eq!(told(&apply(&lists, "/l", &["192.0.2.3"])), (0, 1, 1, 0));
    assert_eq!(blocked(&lists), ["192.0.2.3 /l", "192.0.2.9 /l"]);

    // and one that has left its cluster
    drop(lists);
    bench.node = None;
    let lists = bench.open();
    assert_eq!(told(&apply(&lists, "/l", &[])), (0, 1, 0, 0));
    assert_eq!(blocked(&lists), ["192.0.2.9 /l"]);
}
