//! The retransmission shield: a copy of a request is kept back while the softswitch works on the first.
//!
//! An overloaded softswitch answers late, callers repeat what is not answered (RFC 3261 §17.1), and each copy is one
//! more thing to read: overload feeds itself. So of an unanswered request one copy in T2 passes, since the original
//! may be lost. Once any response to it was seen, all copies pass: the answer may have been lost, and the softswitch
//! repeats it out of its transaction.
//!
//! A table that all threads share, without a lock: workers note what they let pass, whoever sees answers marks them. What
//! is lost on the way there (a full egress ring) costs one copy in T2, and no more. That the ring is looked at every 20 ms
//! is soon enough: no copy comes before T1 (500 ms).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sip::T2;

/// Transactions that are remembered, 1 MiB for all workers together: more than 20,000 new ones a second for all of
/// [`T2`]. Beyond that what is answered is forgotten first, then the oldest, and a copy of what is forgotten passes.
pub const TRANSACTIONS: usize = 1 << 17;

/// Slots of a bucket: one cache line.
const WAYS: usize = 8;

/// A slot is one word, so that it changes as a whole: 38 bits of the transaction's name, 25 bits of time (ms, when one
/// passed last; it comes round after nine hours), and whether it is answered. 0: empty.
const NAME: u64 = u64::MAX << 26;
const TIME: u64 = (1 << 25) - 1;
const ANSWERED: u64 = 1;
/// Clocks of two workers may be read in another order than they write, ms.
const SKEW: u64 = 1_000;

#[repr(align(64))]
#[derive(Debug, Default)]
struct Bucket([AtomicU64; WAYS]);

/// What has been passed on and is not answered yet.
#[derive(Debug)]
pub struct Shield {
    buckets: Box<[Bucket]>,
}

impl Default for Shield {
    fn default() -> Self {
        Self::of(TRANSACTIONS)
    }
}

fn ms(now: u64) -> u64 {
    (now / 1_000_000) & TIME
}

/// How long ago one passed, ms.
fn age(word: u64, now: u64) -> u64 {
    let age = now.wrapping_sub(word >> 1) & TIME;
    if age > TIME - SKEW { 0 } else { age }
}

impl Shield {
    /// Room for so many transactions, a power of two from 8 to 2²⁶.
    fn of(transactions: usize) -> Self {
        Self { buckets: (0..transactions / WAYS).map(|_| Bucket::default()).collect() }
    }

    fn bucket(&self, transaction: u64) -> &[AtomicU64; WAYS] {
        // Of the bits that are no part of the name.
        &self.buckets[transaction as usize & (self.buckets.len() - 1)].0
    }

    /// May this request pass, at `now` (ns of `CLOCK_MONOTONIC`)? If so, that is noted.
    pub fn lets_pass(&self, transaction: u64, now: u64) -> bool {
        let (bucket, now) = (self.bucket(transaction), ms(now));
        let mut words = bucket.iter().map(|slot| (slot, slot.load(Relaxed)));
        let own = words.clone().find(|(_, word)| is_of(*word, transaction));
        let (slot, word) = match own {
            Some((_, word)) if word & ANSWERED != 0 => return true,
            Some((_, word)) if age(word, now) < T2 / 1_000_000 => return false,
            Some(own) => own,
            None => match words.by_ref().min_by_key(|(_, word)| worth(*word, now)) {
                Some(least) => least,
                None => return true,
            },
        };
        // If another worker was there first, nothing is noted: one more copy does no harm.
        let _noted = slot.compare_exchange(word, transaction & NAME | now << 1, Relaxed, Relaxed);
        true
    }

    /// A response to it was seen.
    pub fn answered(&self, transaction: u64) {
        self.change(transaction, |word| word | ANSWERED);
    }

    /// It did not get to the softswitch: the next copy is as good as the first.
    pub fn forget(&self, transaction: u64) {
        self.change(transaction, |_| 0);
    }

    fn change(&self, transaction: u64, change: impl Fn(u64) -> u64) {
        for slot in self.bucket(transaction) {
            let change = |word| is_of(word, transaction).then(|| change(word));
            let _not_there = slot.fetch_update(Relaxed, Relaxed, change);
        }
    }
}

fn is_of(word: u64, transaction: u64) -> bool {
    word != 0 && word & NAME == transaction & NAME
}

/// The least of a bucket makes room: an empty slot, then one that is answered, then the oldest.
fn worth(word: u64, now: u64) -> (u8, u64) {
    match word {
        0 => (0, 0),
        word if word & ANSWERED != 0 => (1, 0),
        word => (2, TIME - age(word, now)),
    }
}

#[cfg(test)]
mod tests;
