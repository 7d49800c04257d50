//! The kernel's table of verified sources. Only user space writes it, and only here, so no flood displaces anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};
use tracing::warn;
use vos_common::rate::{VERIFIED_BUCKETS, VERIFIED_WAYS, VerifiedBucket, bucket};

/// A renewal is written once this part of the time has passed: a phone that registers every minute costs no system
/// call each time, and is verified for at least 15 of 16 parts after its last proof.
const RENEW_PART: u64 = 16;

/// The map VERIFIED, [`VERIFIED_BUCKETS`] values.
pub trait VerifiedMap {
    /// The value at `index`.
    fn read(&self, index: u32) -> std::io::Result<VerifiedBucket>;
    /// Writes the value at `index`.
    fn write(&mut self, index: u32, bucket: &VerifiedBucket) -> std::io::Result<()>;
}

/// How many there are, for whoever asks.
#[derive(Debug, Default)]
pub struct Count {
    sources: AtomicU64,
    proven: AtomicU64,
    displaced: AtomicU64,
    failed: AtomicU64,
}

impl Count {
    /// Sources that are verified; those that ended within the last seconds are still counted.
    pub fn sources(&self) -> u64 {
        self.sources.load(Relaxed)
    }

    /// Verified sources that others took the place of, before their time was over.
    pub fn displaced(&self) -> u64 {
        self.displaced.load(Relaxed)
    }

    /// Round trips seen.
    pub fn proven(&self) -> u64 {
        self.proven.load(Relaxed)
    }

    /// Writes that the kernel refused.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// As JSON: `sources`, `proven` (round trips seen), `displaced`, `failed` (writes that the kernel refused).
    pub fn to_json(&self) -> Value {
        json!({
            "sources": self.sources(),
            "proven": self.proven(),
            "displaced": self.displaced(),
            "failed": self.failed(),
        })
    }
}

/// The writer of the table, with a copy of it in plain memory: 4 MiB.
#[derive(Debug)]
pub struct Verified<M> {
    map: M,
    buckets: Vec<VerifiedBucket>,
    /// How long a proof is good for, ns.
    span: u64,
    count: Arc<Count>,
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

impl<M: VerifiedMap> Verified<M> {
    /// Takes over what the map holds: whoever was verified before a restart still is. A proof is good for
    /// `verified_for` seconds.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn open(map: M, verified_for: u64) -> std::io::Result<Self> {
        let buckets: Vec<_> = (0..VERIFIED_BUCKETS).map(|index| map.read(index)).collect::<Result<_, _>>()?;
        let count = Arc::<Count>::default();
        let held = buckets.iter().flat_map(|bucket| bucket.keys).filter(|key| *key != 0).count();
        add(&count.sources, held as u64);
        Ok(Self { map, buckets, span: verified_for.saturating_mul(1_000_000_000), count })
    }

    /// The numbers, live.
    pub fn count(&self) -> Arc<Count> {
        Arc::clone(&self.count)
    }

    /// From now on a proof is good for `verified_for` seconds.
    pub fn set_span(&mut self, verified_for: u64) {
        self.span = verified_for.saturating_mul(1_000_000_000);
    }

    /// `source` has proven itself. In a full bucket the one whose time ends first makes room.
    pub fn prove(&mut self, source: u64, now: u64) {
        add(&self.count.proven, 1);
        if self.renew(source, now) {
            return;
        }
        let index = bucket(source, VERIFIED_BUCKETS);
        let mut changed = self.buckets[index as usize];
        let ends = |way: &usize| if changed.keys[*way] == 0 { 0 } else { changed.until[*way] };
        let own = changed.keys.iter().position(|key| *key == source);
        let Some(way) = own.or_else(|| (0..VERIFIED_WAYS).min_by_key(ends)) else { return };
        let (was, until) = (changed.keys[way], changed.until[way]);
        changed.keys[way] = source;
        changed.until[way] = now.saturating_add(self.span);
        if self.write(index, changed) {
            add(&self.count.sources, u64::from(was == 0));
            add(&self.count.displaced, u64::from(was != 0 && was != source && until > now));
        }
    }

    /// A source that is verified is so for the whole time again. `false`: it is not.
    pub fn renew(&mut self, source: u64, now: u64) -> bool {
        let index = bucket(source, VERIFIED_BUCKETS);
        let mut changed = self.buckets[index as usize];
        let way = (0..VERIFIED_WAYS).find(|way| changed.keys[*way] == source && changed.until[*way] > now);
        let Some(way) = way else { return false };
        let until = now.saturating_add(self.span);
        if until.saturating_sub(changed.until[way]) > self.span / RENEW_PART {
            changed.until[way] = until;
            self.write(index, changed);
        }
        true
    }

    /// Takes out whose time is over. The kernel has not heeded them since; this makes room, and the count right.
    pub fn expire(&mut self, now: u64) {
        for index in 0..VERIFIED_BUCKETS {
            let mut changed = self.buckets[index as usize];
            let mut gone = 0;
            for way in 0..VERIFIED_WAYS {
                if changed.keys[way] != 0 && changed.until[way] <= now {
                    (changed.keys[way], changed.until[way]) = (0, 0);
                    gone += 1;
                }
            }
            if gone > 0 && self.write(index, changed) {
                self.count.sources.fetch_sub(gone, Relaxed);
            }
        }
    }

    /// Kernel first: what it refused is not believed here either.
    fn write(&mut self, index: u32, bucket: VerifiedBucket) -> bool {
        if let Err(error) = self.map.write(index, &bucket) {
            // Once: it would be said for every caller.
            if self.count.failed.fetch_add(1, Relaxed) == 0 {
                warn!("the kernel refuses to write map VERIFIED: {error}; callers stay as they are");
            }
            return false;
        }
        self.buckets[index as usize] = bucket;
        true
    }
}
