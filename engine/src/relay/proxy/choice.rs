//! Which backend a call belongs to: rendezvous (highest random weight) hashing, Thaler and Ravishankar, "Using
//! Name-Based Mappings to Increase Hit Rates", 1998. Who goes takes only its own calls along, and who comes back gets
//! only its own.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use vos_common::state::mix;

/// Hashes a Call-ID or a backend's name. Without a secret and by a fixed function: after a restart, and on another
/// engine before the same backends, every call finds the backend that it is on.
pub fn stable_hash(text: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(text);
    hasher.finish()
}

/// Whose weight for `call` is the highest; `key` gives the [`stable_hash`] of a name. No two have the same weight but
/// those of the same name.
pub(super) fn best<T>(call: u64, backends: impl Iterator<Item = T>, key: impl Fn(&T) -> u64) -> Option<T> {
    backends.max_by_key(|backend| {
        let key = key(backend);
        (mix(call, key), key)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The published function, written from its description: for each call an order of all backends.
    fn order(call: u64, keys: &[u64]) -> Vec<u64> {
        let mut weighed: Vec<(u64, u64)> = keys.iter().map(|key| (mix(call, *key), *key)).collect();
        weighed.sort_unstable();
        weighed.into_iter().rev().map(|(_, key)| key).collect()
    }

    fn chosen(call: u64, keys: &[u64]) -> Option<u64> {
        best(call, keys.iter().copied(), |key| *key)
    }

    proptest! {
        #[test]
        fn it_is_the_first_of_the_order_whoever_is_missing(
            call: u64,
            keys in prop::collection::hash_set(any::<u64>(), 1..64),
            gone: u64,
        ) {
            let keys: Vec<u64> = keys.into_iter().collect();
            let left: Vec<u64> =
                keys.iter().enumerate().filter(|(at, _)| gone >> at & 1 == 0).map(|(_, key)| *key).collect();
            let expected = order(call, &keys).into_iter().find(|key| left.contains(key));
            prop_assert_eq!(chosen(call, &left), expected);
            // nor does it matter in which order they are written
            let reversed: Vec<u64> = left.iter().rev().copied().collect();
            prop_assert_eq!(chosen(call, &reversed), expected);
        }
    }

    #[test]
    fn everybody_gets_a_fair_share_and_who_goes_leaves_it_to_all() {
        let names = ["a", "b", "c", "d", "e"];
        let keys = names.map(|name| stable_hash(name.as_bytes()));
        let calls: Vec<u64> = (0..50_000).map(|call| stable_hash(format!("{call}@example.com").as_bytes())).collect();
        let share = |key: u64, keys: &[u64]| calls.iter().filter(|call| chosen(**call, keys) == Some(key)).count();
        // 10,000 each; six standard deviations are 537
        assert!(keys.iter().all(|key| share(*key, &keys).abs_diff(10_000) < 537));
        assert!(keys[..4].iter().all(|key| share(*key, &keys[..4]).abs_diff(12_500) < 600));
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        // PYTHONHASHSEED=0 python3.11 -c "print(hex(hash(b'a84b4c76e66710@pc33.atlanta.com') & 2**64 - 1))"
        assert_eq!(stable_hash(b"a84b4c76e66710@pc33.atlanta.com"), 0x2b5e_d550_6aa9_4fed);
    }
}
