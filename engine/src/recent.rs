use vos_common::state::mix;

/// What was seen lately, by key: buckets of `WAYS` entries, of which the oldest makes room. It is allocated once.
///
/// Times are ns of `CLOCK_MONOTONIC`.
#[derive(Debug)]
pub(crate) struct Recent<K, V, const WAYS: usize> {
    buckets: Vec<[Entry<K, V>; WAYS]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry<K, V> {
    key: K,
    value: V,
    /// 0: empty.
    at: u64,
}

/// Gives the hash by which a key finds its bucket: with a secret in it, or strangers aim at one.
pub(crate) trait Name: Copy + Eq + Default {
    fn name(&self) -> u64;
}

/// A name that is hashed already.
impl Name for u64 {
    fn name(&self) -> u64 {
        *self
    }
}

impl<K: Name, V: Copy + Default, const WAYS: usize> Recent<K, V, WAYS> {
    /// Room for `entries`, a power of two, at least `WAYS`.
    pub(crate) fn of(entries: usize) -> Self {
        Self { buckets: vec![[Entry::default(); WAYS]; entries / WAYS] }
    }

    fn bucket(&mut self, key: &K) -> &mut [Entry<K, V>; WAYS] {
        let mask = self.buckets.len() - 1;
        &mut self.buckets[(key.name() >> 32) as usize & mask]
    }

    /// What was seen under `key` last, and when.
    pub(crate) fn get(&mut self, key: &K) -> Option<(V, u64)> {
        let own = self.bucket(key).iter().find(|entry| entry.key == *key && entry.at != 0)?;
        Some((own.value, own.at))
    }

    /// It was seen at `now`.
    pub(crate) fn put(&mut self, key: K, value: V, now: u64) {
        let bucket = self.bucket(&key);
        let own = bucket.iter().position(|entry| entry.key == key);
        let oldest = || bucket.iter().enumerate().min_by_key(|(_, entry)| entry.at).map(|(way, _)| way);
        if let Some(way) = own.or_else(oldest) {
            bucket[way] = Entry { key, value, at: now.max(1) };
        }
    }

    /// The same as [`get`](Self::get); it is forgotten with that.
    pub(crate) fn take(&mut self, key: &K) -> Option<(V, u64)> {
        let own = self.bucket(key).iter_mut().find(|entry| entry.key == *key && entry.at != 0)?;
        let Entry { value, at, .. } = std::mem::take(own);
        Some((value, at))
    }
}
