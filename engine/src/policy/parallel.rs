//! How much of one source's the softswitch is working on: REGISTERs and INVITEs that have no final response yet. What
//! connlimit does for connections.
//!
//! Workers write down what goes on, the policy's thread takes away what is answered. Anybody can send in anybody's name: so
//! only unknown sources are held to it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use vos_common::rule::Addr;

use super::Secret;
use super::slowed::key_of;

/// Sources of which it is known, 1 MiB. Of more in one bucket of [`WAYS`] the one that was quiet longest begins anew.
const SOURCES_MAX: usize = 2_048;
/// The highest limit, and so what is remembered of a source.
pub const PARALLEL_MAX: usize = 64;
/// Places of a bucket.
const WAYS: usize = 8;
/// A transaction without a final response is over after 64 × T1 (RFC 3261 §17.1.1.2, timer B, and §17.1.2.2, timer F),
/// seconds.
const LASTS: u64 = 32;
/// Bits of a mark that say when it was made, in seconds; the others name the transaction.
const TIME: u32 = 16;

/// What a source has open. Two workers that begin one at once may count one transaction too few.
#[derive(Debug)]
struct Place {
    /// Names the source; 0: empty.
    key: AtomicU64,
    /// When it was used last, ns of `CLOCK_MONOTONIC`.
    last: AtomicU64,
    /// Marks of what is open; 0: none.
    open: [AtomicU64; PARALLEL_MAX],
}

impl Default for Place {
    fn default() -> Self {
        Self { key: AtomicU64::new(0), last: AtomicU64::new(0), open: [const { AtomicU64::new(0) }; PARALLEL_MAX] }
    }
}

/// The table.
#[derive(Debug)]
pub struct Parallel {
    /// How many sources have been noted; nothing is looked for while there is none.
    noted: AtomicUsize,
    places: Box<[Place]>,
}

impl Default for Parallel {
    fn default() -> Self {
        Self { noted: AtomicUsize::new(0), places: (0..SOURCES_MAX).map(|_| Place::default()).collect() }
    }
}

const fn mark(transaction: u64, now: u64) -> u64 {
    transaction >> TIME << TIME | (now / 1_000_000_000) & ((1 << TIME) - 1)
}

/// Is this a mark of something that is still open at `now`?
const fn is_open(mark: u64, now: u64) -> bool {
    let age = (now / 1_000_000_000).wrapping_sub(mark) & ((1 << TIME) - 1);
    mark != 0 && age < LASTS
}

impl Parallel {
    /// A request of `source` begins or repeats `transaction` at `now` (ns of `CLOCK_MONOTONIC`). `false`: that would be
    /// more than `most` at a time.
    pub fn begins(&self, source: &Addr, secret: &Secret, transaction: u64, most: usize, now: u64) -> bool {
        let key = key_of(source, secret);
        let bucket = self.bucket(key);
        let own = bucket.iter().find(|place| place.key.load(Relaxed) == key);
        let Some(place) = own.or_else(|| bucket.iter().min_by_key(|place| place.last.load(Relaxed))) else {
            return true;
        };
        if own.is_none() {
            place.open.iter().for_each(|open| open.store(0, Relaxed));
            place.key.store(key, Relaxed);
            self.noted.fetch_add(1, Relaxed);
        }
        place.last.store(now, Relaxed);
        let (mut open, mut free) = (0, None);
        for slot in &place.open {
            let held = slot.load(Relaxed);
            if !is_open(held, now) {
                free = free.or(Some(slot));
            } else if held >> TIME == transaction >> TIME {
                return true;
            } else {
                open += 1;
            }
        }
        if open >= most {
            return false;
        }
        free.inspect(|slot| slot.store(mark(transaction, now), Relaxed));
        true
    }

    /// `transaction` of `source` has got its final response.
    pub fn ends(&self, source: &Addr, secret: &Secret, transaction: u64) {
        if self.noted.load(Relaxed) == 0 {
            return;
        }
        let key = key_of(source, secret);
        let place = self.bucket(key).iter().find(|place| place.key.load(Relaxed) == key);
        for slot in place.iter().flat_map(|place| &place.open) {
            let held = slot.load(Relaxed);
            if held != 0 && held >> TIME == transaction >> TIME {
                slot.store(0, Relaxed);
            }
        }
    }

    fn bucket(&self, key: u64) -> &[Place] {
        let at = (key >> 32) as usize % (SOURCES_MAX / WAYS) * WAYS;
        &self.places[at..at + WAYS]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use vos_common::state::mix;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 100_000 * SECOND;

    fn source(n: u8) -> Addr {
        Addr::v4([203, 0, 113, n])
    }

    proptest! {
        /// Against a map of what is open and since when.
        #[test]
        fn it_is_what_a_map_says(steps in prop::collection::vec((0u8..3, 0u64..9, any::<bool>(), 0u64..20), 1..300)) {
            let (parallel, secret) = (Parallel::default(), Secret::default());
            let (mut open, mut now) = (BTreeMap::<(u8, u64), u64>::new(), NOW);
            for (who, number, begins, seconds) in steps {
                now += seconds * SECOND;
                open.retain(|_, since| now - *since < LASTS * SECOND);
                let transaction = mix(number + 1, 7);
                if begins {
                    let others = open.keys().filter(|(other, _)| *other == who).count();
                    let passes = open.contains_key(&(who, number)) || others < 4;
                    prop_assert_eq!(parallel.begins(&source(who), &secret, transaction, 4, now), passes);
                    if passes {
                        open.entry((who, number)).or_insert(now);
                    }
                } else {
                    parallel.ends(&source(who), &secret, transaction);
                    open.remove(&(who, number));
                }
            }
        }
    }

    #[test]
    fn a_flood_of_sources_makes_it_no_larger_and_lets_nobody_wait() {
        let (parallel, secret) = (Parallel::default(), Secret::default());
        for n in 0..20 * SOURCES_MAX as u32 {
            let source = Addr::v4(n.to_be_bytes());
            assert!(parallel.begins(&source, &secret, mix(u64::from(n), 1), 1, NOW + u64::from(n)));
        }
        assert_eq!(parallel.places.len(), SOURCES_MAX);
        // Who comes last is still known, and only an end makes room.
        let last = Addr::v4((20 * SOURCES_MAX as u32 - 1).to_be_bytes());
        assert!(!parallel.begins(&last, &secret, mix(5, 5), 1, NOW + SECOND));
        parallel.ends(&last, &secret, mix(u64::from(20 * SOURCES_MAX as u32 - 1), 1));
        assert!(parallel.begins(&last, &secret, mix(5, 5), 1, NOW + SECOND));
    }
}
