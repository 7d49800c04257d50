//! From the relay to the caller: frames as they are built, on a wire, and every way that a datagram can take.
//!
//! What is built is read by etherparse, checked by the receiving kernel, and by tcpdump. Needs root; each test makes
//! namespaces of its own and removes them.

/// What is built, read by somebody else.
mod built;
/// Frames through pipeline and TX builder: the model that the fuzzer drives, too.
mod model;
/// A datagram in a frame, taken apart by etherparse.
mod parsed;
/// By the ring, by the kernel, or not at all.
mod ways;
/// Two hosts, a wire, and a queue.
mod wire;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use vos_common::cases;

/// Steps as [`model::Model::run`] reads them: more of those that lead far than bytes alone would have.
fn steps() -> impl Strategy<Value = Vec<u8>> {
    // What a peer asks the server itself.
    let server =
        String::from_utf8(cases::request("OPTIONS")).unwrap().replacen("sip:200@example.com", "sip:example.com", 1);
    let sip = prop_oneof![
        1 => Just(cases::request("INVITE")),
        1 => Just(cases::request("ACK")),
        1 => Just(cases::request("OPTIONS")),
        3 => Just(server.into_bytes()),
        1 => Just(b"\r\n\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..1_472),
    ];
    let sized = |op: u8, head: Vec<u8>, bytes: Vec<u8>| {
        let length = (bytes.len() as u16).to_be_bytes();
        [&[op][..], &head, &length, &bytes].concat()
    };
    let raw = prop::collection::vec(any::<u8>(), 0..200).prop_map(move |bytes| sized(0, vec![], bytes));
    let whole = (any::<[u8; 3]>(), sip.clone()).prop_map(move |(head, bytes)| sized(2, head.to_vec(), bytes));
    let cut = (any::<[u8; 3]>(), sip.clone()).prop_map(move |(head, bytes)| sized(4, head.to_vec(), bytes));
    let send = (any::<[u8; 2]>(), sip).prop_map(move |(head, bytes)| sized(5, head.to_vec(), bytes));
    let few = (5u8..8, 0u8..20).prop_map(|(op, count)| vec![op + 1, count]);
    let step = prop_oneof![1 => raw, 4 => whole, 3 => cut, 4 => send, 2 => few];
    prop::collection::vec(step, 0..60).prop_map(|steps| steps.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_is_accounted_for(steps in steps()) {
        let mut model = model::Model::new();
        model.run(&steps);
    }
}

/// The same with steps that are known to go everywhere, so that the one above says something.
#[test]
fn the_model_meets_what_there_is() {
    let mut model = model::Model::new();
    let mut random = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..256 {
        let steps = steps().new_tree(&mut random).unwrap().current();
        model.run(&steps);
    }
    let model::Tally { arrived, relayed, whole, replied, late, swallowed, dropped, ring, foreign, lost, .. } =
        model.tally;
    println!("{:?}", model.tally);
    let fates =
        [("relayed", relayed), ("whole", whole), ("replied", replied), ("swallowed", swallowed), ("dropped", dropped)];
    for (what, count) in fates {
        assert!(count >= 20, "{count} {what} of {arrived}");
    }
    for (what, count) in [("ring", ring), ("foreign", foreign), ("lost", lost), ("late", late)] {
        assert!(count >= 20, "{count} sent: {what}");
    }
}
