use std::num::NonZeroU64;

/// What was seen lately, by key: buckets of `WAYS` entries, of which the oldest makes room. It is allocated once.
///
/// The `hash` of a key, whose upper half names its bucket, has a secret in it: else strangers aim at one. Times are ns of
/// `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub(crate) struct Recent<K, V, const WAYS: usize> {
    buckets: Vec<[Option<Entry<K, V>>; WAYS]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry<K, V> {
    key: K,
    value: V,
    /// Not zero, so that an empty place costs nothing.
    at: NonZeroU64,
}

impl<K: Copy + Eq, V: Copy, const WAYS: usize> Recent<K, V, WAYS> {
    /// Room for `entries`, a power of two, as `WAYS` is, and at least that.
    pub(crate) fn of(entries: usize) -> Self {
        Self { buckets: vec![[None; WAYS]; entries / WAYS] }
    }

    fn at(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.buckets.len() - 1)
    }

    /// What was seen under `key` last, and when.
    pub(crate) fn get(&self, hash: u64, key: &K) -> Option<(V, u64)> {
        let own = self.buckets[self.at(hash)].iter().flatten().find(|entry| entry.key == *key)?;
        Some((own.value, own.at.get()))
    }

    /// It was seen at `now`.
    pub(crate) fn put(&mut self, hash: u64, key: K, value: V, now: u64) {
        let at = self.at(hash);
        let bucket = &mut self.buckets[at];
        let own = bucket.iter().position(|entry| entry.is_some_and(|entry| entry.key == key));
        let age = |entry: &Option<Entry<K, V>>| entry.map_or(0, |entry| entry.at.get());
        let oldest = || bucket.iter().enumerate().min_by_key(|(_, entry)| age(entry)).map(|(way, _)| way);
        if let Some(way) = own.or_else(oldest) {
            bucket[way] = Some(Entry { key, value, at: NonZeroU64::new(now).unwrap_or(NonZeroU64::MIN) });
        }
    }

    /// What was seen under `key` last, and when; it is forgotten with that.
    pub(crate) fn take(&mut self, hash: u64, key: &K) -> Option<(V, u64)> {
        let at = self.at(hash);
        let own = self.buckets[at].iter_mut().find(|entry| entry.is_some_and(|entry| entry.key == *key))?;
        own.take().map(|entry| (entry.value, entry.at.get()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_what_was_seen_last(steps in prop::collection::vec((0u32..9, any::<bool>()), 0..60)) {
            let mut recent = Recent::<u32, u64, 4>::of(4);
            // The same as a list, the last in front.
            let mut list: Vec<(u32, u64)> = Vec::new();
            for (now, (key, take)) in (1..).zip(steps) {
                let expected = list.iter().find(|(held, _)| *held == key).map(|(_, at)| (at * 2, *at));
                prop_assert_eq!(recent.get(0, &key), expected);
                list.retain(|(held, _)| *held != key);
                if take {
                    prop_assert_eq!(recent.take(0, &key), expected);
                } else {
                    list.insert(0, (key, now));
                    list.truncate(4);
                    recent.put(0, key, now * 2, now);
                }
            }
        }
    }

    #[test]
    fn buckets_are_named_by_the_upper_half_and_apart() {
        let mut recent = Recent::<u64, (), 2>::of(8);
        for key in 0..4 {
            for number in [0, 4, 8] {
                recent.put(key << 32 | number, key + number, (), 1 + number);
            }
        }
        for key in 0..4 {
            let held = [0, 4, 8].map(|number| recent.get(key << 32, &(key + number)).is_some());
            assert_eq!(held, [false, true, true], "{key}");
        }
    }

    #[test]
    fn an_empty_place_costs_nothing() {
        assert_eq!(size_of::<Option<Entry<u64, ()>>>(), 16);
    }
}
