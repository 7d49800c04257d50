//! Input that nobody meant to be a message: it is refused, and nothing else happens.

mod corpus;

use std::hint::black_box;
use std::sync::LazyLock;

use corpus::Sample;
use proptest::prelude::*;
use proptest::sample::Index as Position;
use sip_parse::{Index, NameAddr, Via};

static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(corpus::all);

/// Asks every question; whatever is answered must lie within the datagram.
fn interrogate(datagram: &[u8]) {
    let mut index: Index = Index::new();
    let Ok(message) = index.parse(datagram) else {
        return;
    };
    let within = |piece: &[u8]| {
        let (whole, piece) = (datagram.as_ptr_range(), piece.as_ptr_range());
        assert!(whole.start <= piece.start && piece.end <= whole.end);
    };
    for header in message.headers() {
        within(header.written);
        within(header.value);
        let ends = [header.value.first(), header.value.last()].into_iter().flatten();
        assert!(ends.copied().all(|byte| !b" \t\r\n".contains(&byte)), "{header:?}");
    }
    within(message.body());
    if let Ok(Via { host, branch, received, .. }) = message.top_via() {
        [Some(host), branch, received].into_iter().flatten().for_each(within);
    }
    for NameAddr { display, uri, tag } in [message.from(), message.to()].into_iter().flatten() {
        [display, Some(uri), tag].into_iter().flatten().for_each(within);
    }
    black_box((message.start_line(), message.call_id().map(within), message.cseq())).1.ok();
}

#[test]
fn every_prefix_of_every_message_is_survived() {
    for sample in &*SAMPLES {
        for end in 0..=sample.bytes.len() {
            interrogate(&sample.bytes[..end]);
        }
    }
}

#[test]
fn every_single_byte_of_a_message_may_be_any_delimiter() {
    for mut sample in corpus::samples("bench", "sip") {
        for at in 0..sample.bytes.len() {
            let original = sample.bytes[at];
            for delimiter in *b"\r\n \t:;,<>\"\\=/[]\0\xff" {
                sample.bytes[at] = delimiter;
                interrogate(&sample.bytes);
            }
            sample.bytes[at] = original;
        }
    }
}

/// Lines that are nearly right, so that the readers of values are reached.
fn nearly_a_message() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec!["v", "f", "t", "i", "CSeq", "l", "Via", "From", "X"]);
    let value = "[ -~\t]{0,40}|SIP/2.0/UDP [a-z0-9.:\\[\\];=,\"\\\\ ]{0,30}|\"?[a\"\\\\<>;=, :]{0,20}";
    prop::collection::vec((name, value), 0..12).prop_map(|headers| {
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
        interrogate(&bytes);
    }

    #[test]
    fn nearly_right_messages_are_survived(bytes in nearly_a_message()) {
        interrogate(&bytes);
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
        interrogate(&bytes);
        let tail = bytes[doubled.index(bytes.len())..].to_vec();
        bytes.truncate(cut.index(bytes.len()));
        bytes.extend(tail);
        interrogate(&bytes);
    }
}
