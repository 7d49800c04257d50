//! The forms of a feed's messages: whatever bytes come, what is read of them is sound, and what is not says why in a few
//! words.

#![no_main]

use std::net::IpAddr;

use vos_engine::control::ask::{Ask, End, MAX_TTL};
use vos_engine::control::decision::Kind;
use vos_engine::feed::message::{ENTRIES_MAX, read};

const HOUR: End = End::After(3_600);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let alone = std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse::<IpAddr>().ok());
    match read(bytes, HOUR) {
        Ok(asks) => {
            assert!((1..=ENTRIES_MAX).contains(&asks.len()));
            for ask in &asks {
                let (net, kind) = ask.key();
                assert_eq!((net, kind), (net.trunc(), Kind::Block));
                let Ask::Put { end, .. } = ask else { continue };
                assert!(matches!(end, End::Never | End::After(1..=MAX_TTL)));
            }
            if let Some(address) = alone {
                assert!(matches!(&asks[..], [Ask::Put { net, end: HOUR, .. }] if *net == address.into()));
            }
        }
        Err(error) => {
            // the standard library takes IPv4 in IPv6's clothes as well
            assert!(alone.is_none_or(|address| address.to_canonical() != address), "{error}");
            assert!(error.to_string().len() < 1_000);
        }
    }
});
