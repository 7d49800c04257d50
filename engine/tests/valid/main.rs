//! No false drop: whatever is valid SIP passes the default rules from a source that nobody knows, OPTIONS and
//! signatures aside; and no signature is found where no scanner wrote it.

#[path = "../../../sip-parse/tests/corpus/mod.rs"]
mod corpus;
/// A grammar of our own, which makes messages.
mod grammar;
/// What has memory, and messages that make no sense together.
mod policy;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use sip_parse::{Index, Mode};
use vos_common::cases::{self, NOW, Packet, World};
use vos_common::reason::Reason;
use vos_common::verdict::{Action, Tables, judge};
use vos_engine::config::Config;
use vos_engine::xdp::compile;

use grammar::message;

/// The table's host under the configuration that ships.
fn world() -> World {
    let config = Config::default();
    let mut world = World::at(NOW);
    world.config = compile(&config, 4_000_000, cases::config());
    assert!(config.scanners.patterns.len() > 5);
    world.signatures = config.scanners.compile().unwrap();
    world
}

/// What a message meets that comes over either family, from an address that has sent nothing before.
fn met(world: &World, message: &[u8]) -> [Option<Reason>; 2] {
    world.forget();
    let mut v6 = cases::CALLER_V6;
    v6[5] = 0x77;
    [Packet::v4([10, 3, 2, 1]), Packet::v6(v6)].map(|packet| {
        let verdict = judge(&packet.sip(message).build().as_slice(), world).verdict;
        (verdict.action == Action::Drop).then_some(verdict.reason)
    })
}

/// Is a signature found, wherever it stands by the grid of four bytes on which 4-grams are looked up?
fn signed(world: &World, message: &[u8]) -> bool {
    (0..4).any(|n| {
        let moved = [&b"\n\n\n\n"[..n], message].concat();
        world.scanner(&moved.as_slice(), 0, moved.len())
    })
}

fn is_options(message: &[u8]) -> bool {
    message.to_ascii_lowercase().trim_ascii_start().starts_with(b"options ")
}

/// Messages of the corpus that are valid, by their RFC or because real programs sent them.
fn valid() -> Vec<corpus::Sample> {
    let table = corpus::table("rfc4475/INDEX.tsv");
    let accepted = |name: &String| table.iter().any(|row| row[0] == *name && row[4] == "accept");
    let torture = corpus::samples("rfc4475", "dat").into_iter().filter(|sample| accepted(&sample.name));
    let v6 = ["rfc5118", "rfc5118/rfc-archive-lf"].into_iter().flat_map(|folder| corpus::samples(folder, "dat"));
    let real = ["real", "bench"].into_iter().flat_map(|folder| corpus::samples(folder, "sip"));
    torture.chain(v6.filter(|sample| sample.name != "ipv6-bad")).chain(real).collect()
}

#[test]
fn valid_messages_of_the_corpora_pass() {
    let world = world();
    let samples = valid();
    for sample in &samples {
        let is_scanner =
            sample.name.contains("friendly-scanner") || sample.bytes.windows(16).any(|w| w == b"friendly-scanner");
        let expected = match () {
            () if is_options(&sample.bytes) => Some(Reason::Stealth),
            () if is_scanner => Some(Reason::Scanner),
            () => None,
        };
        assert_eq!(met(&world, &sample.bytes), [expected; 2], "{}", sample.name);
        assert_eq!(signed(&world, &sample.bytes), is_scanner, "{}", sample.name);
    }
    assert!(samples.is_empty() || samples.len() > 75, "{}", samples.len());
    let pong = corpus::samples("real", "bin");
    for sample in &pong {
        assert_eq!(met(&world, &sample.bytes), [None; 2], "{}", sample.name);
    }
}

/// What RFC 4475 calls invalid is the server's to refuse, and no scanner's either.
#[test]
fn no_signature_is_found_in_torture_messages() {
    let world = world();
    for folder in ["rfc4475", "rfc4475-extra", "rfc5118", "rfc5118/rfc-archive-lf"] {
        for sample in corpus::samples(folder, "dat") {
            assert!(!signed(&world, &sample.bytes), "{}", sample.name);
        }
    }
}

/// A grammar of our own makes them; that they are valid, sip-parse says, which does not know it.
#[test]
fn random_valid_messages_pass() {
    const CASES: u32 = 13_000;
    let world = world();
    let (mut valid, mut options) = (0, 0);
    let mut runner = TestRunner::new_with_rng(
        Cases { cases: CASES, failure_persistence: None, ..Cases::default() },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let counted = std::cell::RefCell::new((&mut valid, &mut options));
    runner
        .run(&message(), |(method, text)| {
            let mut index: Index = Index::new();
            let strict = index.parse(text.as_bytes(), Mode::Strict).and_then(|message| message.validate().map(drop));
            if strict.is_err() {
                return Ok(());
            }
            let mut counted = counted.borrow_mut();
            *counted.0 += 1;
            let expected = (method == Some("OPTIONS")).then_some(Reason::Stealth);
            *counted.1 += u32::from(expected.is_some());
            prop_assert_eq!(met(&world, text.as_bytes()), [expected; 2], "{}", text);
            prop_assert!(!signed(&world, text.as_bytes()), "{}", text);
            Ok(())
        })
        .unwrap();
    println!("{valid} of {CASES} are valid, {options} of them OPTIONS");
    assert!(valid > 10_000, "{valid}");
    assert!(options > 300, "{options}");
}
