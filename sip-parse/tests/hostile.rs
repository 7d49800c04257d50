//! Input that nobody meant to be a message: it is refused or read, and what holds for every message
//! holds for it (`invariants`).

mod corpus;
mod invariants;

use std::sync::LazyLock;
use std::{panic, thread};

use corpus::Sample;
use proptest::prelude::*;
use proptest::sample::Index as Position;

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(corpus::all);

/// Does `task` with each of them, on all cores.
fn each(samples: &[Sample], task: impl Fn(&Sample) + Sync) {
    let threads = thread::available_parallelism().map_or(1, Into::into);
    thread::scope(|scope| {
        for first in 0..threads {
            let task = &task;
            scope.spawn(move || samples.iter().skip(first).step_by(threads).for_each(task));
        }
    });
}

/// What holds for every datagram holds for this one.
fn survived(datagram: &[u8]) {
    panic::catch_unwind(|| invariants::message(datagram)).unwrap_or_else(|_| panic!("{}", datagram.escape_ascii()));
}

#[test]
fn every_prefix_of_every_message_is_survived() {
    each(&SAMPLES, |sample| (0..=sample.bytes.len()).for_each(|end| survived(&sample.bytes[..end])));
}

/// A request and a response of phones, and of each trait of the torture messages one.
const CHANGED: [&str; 10] = [
    "29-OPTIONS-sipsak-0-9-8-1-1via",
    "33-REGISTER-sipsak-0-9-8-1-1via-auth",
    "07-180-INVITE-none-1via",
    "51-SUBSCRIBE-none-2via",
    "lwsdisp",
    "escnull",
    "transports",
    "noreason",
    "regescrt",
    "ipv6-good",
];

#[test]
fn every_byte_of_ten_messages_may_be_any_other() {
    let changed: Vec<_> = SAMPLES.iter().filter(|sample| CHANGED.contains(&sample.name.as_str())).collect();
    let samples: Vec<_> =
        changed.iter().map(|sample| Sample { name: sample.name.clone(), bytes: sample.bytes.clone() }).collect();
    each(&samples, |sample| {
        let mut bytes = sample.bytes.clone();
        for at in 0..bytes.len() {
            for byte in 0..=u8::MAX {
                bytes[at] = byte;
                survived(&bytes);
            }
            bytes[at] = sample.bytes[at];
        }
    });
    assert!(SAMPLES.is_empty() || samples.len() >= CHANGED.len());
}

/// Lines that are nearly right, so that the readers of values are reached.
fn nearly_a_message() -> impl Strategy<Value = Vec<u8>> {
    let names =
        vec!["v", "f", "t", "i", "CSeq", "l", "m", "Via", "From", "Route", "Authorization", "Contact", "k", "X"];
    let value = "[ -~\t]{0,40}|SIP/2.0/UDP [a-z0-9.:\\[\\];=,\"\\\\ ]{0,30}|\"?[a\"\\\\<>;=, :]{0,20}|<sip:[a@:;?%]{0,9}>|Digest [a=\",\\\\]{0,12}";
    prop::collection::vec((prop::sample::select(names), value), 0..12).prop_map(|headers| {
        let mut text = String::from("INVITE sip:a@b SIP/2.0\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        (text + "\r\n").into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        invariants::message(&bytes);
    }

    #[test]
    fn nearly_right_messages_are_survived(bytes in nearly_a_message()) {
        invariants::message(&bytes);
    }

    #[test]
    fn mutated_messages_are_survived(
        sample in any::<Position>(),
        changes in prop::collection::vec((any::<Position>(), any::<u8>()), 1..20),
        cut in any::<Position>(),
        doubled in any::<Position>(),
    ) {
        prop_assume!(!SAMPLES.is_empty());
        let mut bytes = sample.get(&SAMPLES).bytes.clone();
        for (position, byte) in changes {
            let at = position.index(bytes.len());
            bytes[at] = byte;
        }
        invariants::message(&bytes);
        let tail = bytes[doubled.index(bytes.len())..].to_vec();
        bytes.truncate(cut.index(bytes.len()));
        bytes.extend(tail);
        invariants::message(&bytes);
    }
}
