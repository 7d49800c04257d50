//! What is remembered by name for a time, shared by all workers without a lock: a set-associative table of atomics, in
//! which what would end first makes room.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

/// Ways of a bucket.
const WAYS: usize = 8;
/// How often a reader looks again, and a writer waits, while somebody else writes the same entry. That takes a few ns; a
/// thread that is taken off its core meanwhile is not waited for, and what was to be remembered is not.
const TRIES: usize = 64;

/// `N` words for each name. Names are hashes with a secret: nobody outside can aim at a bucket.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    buckets: Box<[[Entry<N>; WAYS]]>,
}

/// A sequence lock: readers look at `version` before and after, and writers make it odd meanwhile.
#[derive(Debug)]
struct Entry<const N: usize> {
    version: AtomicU64,
    name: AtomicU64,
    /// End of its life, ns of `CLOCK_MONOTONIC`; 0: empty.
    until: AtomicU64,
    value: [AtomicU64; N],
}

impl<const N: usize> Entry<N> {
    fn empty() -> Self {
        let zero = || AtomicU64::new(0);
        Self { version: zero(), name: zero(), until: zero(), value: std::array::from_fn(|_| zero()) }
    }

    /// Name, end and value, all of one writing.
    fn read(&self) -> Option<(u64, u64, [u64; N])> {
        for _ in 0..TRIES {
            let before = self.version.load(Acquire);
            let seen = (
                self.name.load(Relaxed),
                self.until.load(Relaxed),
                std::array::from_fn(|word| self.value[word].load(Relaxed)),
            );
            // The loads above are done before the version is looked at again.
            fence(Acquire);
            if before & 1 == 0 && self.version.load(Relaxed) == before {
                return Some(seen);
            }
            std::hint::spin_loop();
        }
        None
    }

    fn write(&self, name: u64, until: u64, value: [u64; N]) {
        for _ in 0..TRIES {
            let version = self.version.load(Relaxed);
            if version & 1 == 0 && self.version.compare_exchange_weak(version, version + 1, Acquire, Relaxed).is_ok() {
                // Nobody sees the stores below without the odd version.
                fence(Release);
                self.name.store(name, Relaxed);
                self.until.store(until, Relaxed);
                self.value.iter().zip(value).for_each(|(word, value)| word.store(value, Relaxed));
                self.version.store(version + 2, Release);
                return;
            }
            std::hint::spin_loop();
        }
    }
}

impl<const N: usize> Table<N> {
    /// Room for `entries`, a power of two, at least [`WAYS`].
    pub(super) fn new(entries: usize) -> Self {
        let bucket = || std::array::from_fn(|_| Entry::empty());
        Self { buckets: (0..entries / WAYS).map(|_| bucket()).collect() }
    }

    fn bucket(&self, name: u64) -> &[Entry<N>; WAYS] {
        &self.buckets[(name >> 32) as usize & (self.buckets.len() - 1)]
    }

    /// What is remembered at `now` (ns of `CLOCK_MONOTONIC`), and until when.
    pub(super) fn get(&self, name: u64, now: u64) -> Option<([u64; N], u64)> {
        let own = self.bucket(name).iter().filter(|entry| entry.name.load(Relaxed) == name);
        let live = own.filter_map(Entry::read).find(|(found, until, _)| *found == name && *until > now);
        live.map(|(_, until, value)| (value, until))
    }

    /// Remembers it until then. What would end first in a full bucket is forgotten.
    pub(super) fn put(&self, name: u64, value: [u64; N], until: u64) {
        let bucket = self.bucket(name);
        let own = bucket.iter().find(|entry| entry.name.load(Relaxed) == name);
        let first_to_end = || bucket.iter().min_by_key(|entry| entry.until.load(Relaxed));
        if let Some(entry) = own.or_else(first_to_end) {
            entry.write(name, until, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn it_holds_until_its_end() {
        let table = Table::<2>::new(64);
        table.put(7 << 32, [1, 2], 100);
        assert_eq!(table.get(7 << 32, 99), Some(([1, 2], 100)));
        assert_eq!(table.get(7 << 32, 100), None);
        assert_eq!(table.get(8 << 32, 99), None);
        table.put(7 << 32, [3, 4], 200);
        assert_eq!(table.get(7 << 32, 100), Some(([3, 4], 200)));
    }

    #[test]
    fn what_ends_first_makes_room() {
        let table = Table::<1>::new(8);
        // one bucket: name 1 ends last
        (1..=8).for_each(|name| table.put(name, [name], 1_000 - name));
        table.put(9, [9], 500);
        assert_eq!(table.get(8, 0), None);
        table.put(10, [10], 600);
        assert_eq!((table.get(9, 0), table.get(10, 0)), (None, Some(([10], 600))));
        assert!((1..=7).all(|name| table.get(name, 0) == Some(([name], 1_000 - name))));
    }

    #[test]
    fn nobody_sees_half_of_a_writing() {
        let (table, stop) = (Table::<5>::new(8), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for writer in 1..=2u64 {
                let (table, stop) = (&table, &stop);
                scope.spawn(move || {
                    let mut round = writer;
                    while !stop.load(Relaxed) {
                        // The ways are fewer than the names: entries change hands all the time.
                        let name = round % 12;
                        table.put(name, [round * 16 + name; 5], u64::MAX);
                        round += 2;
                    }
                });
            }
            let mut found = 0;
            while found < 200_000 {
                for name in 0..12 {
                    if let Some((value, _)) = table.get(name, 0) {
                        assert!(value.iter().all(|word| *word == value[0]), "{value:?}");
                        assert_eq!(value[0] % 16, name);
                        found += 1;
                    }
                }
            }
            stop.store(true, Relaxed);
        });
    }
}
