//! What is counted, by each worker for itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::config::MAX_BACKENDS;

/// Why what came to the relay's socket is for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Stray {
    /// It is from none of the backends.
    Stranger,
    /// It is no SIP, or lacks what makes it SIP.
    Unreadable,
    /// A response to what nobody has asked, or too long ago.
    Unasked,
    /// A request to a contact that nobody has registered, and to no address.
    Nowhere,
}

impl Stray {
    /// All of them; the position of each is its counter's.
    pub(super) const ALL: [Self; 4] = [Self::Stranger, Self::Unreadable, Self::Unasked, Self::Nowhere];

    /// The word for it in JSON.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Unreadable => "unreadable",
            Self::Unasked => "unasked",
            Self::Nowhere => "nowhere",
        }
    }
}

/// One worker's counters; only it writes them.
#[derive(Debug)]
pub(super) struct Tally {
    strays: [AtomicU64; Stray::ALL.len()],
    sent: [AtomicU64; MAX_BACKENDS],
    received: [AtomicU64; MAX_BACKENDS],
}

impl Default for Tally {
    fn default() -> Self {
        let zero = |_| AtomicU64::new(0);
        let (sent, received) = (std::array::from_fn(zero), std::array::from_fn(zero));
        Self { strays: std::array::from_fn(zero), sent, received }
    }
}

fn count(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed) + 1, Relaxed);
}

impl Tally {
    pub(super) fn stray(&self, stray: Stray) {
        count(&self.strays[stray as usize]);
    }

    pub(super) fn sent(&self, slot: usize) {
        count(&self.sent[slot]);
    }

    pub(super) fn received(&self, slot: usize) {
        count(&self.received[slot]);
    }

    pub(super) fn strays(&self, stray: Stray) -> u64 {
        self.strays[stray as usize].load(Relaxed)
    }

    /// Datagrams to the backend in `slot`, and from it.
    pub(super) fn of(&self, slot: usize) -> (u64, u64) {
        (self.sent[slot].load(Relaxed), self.received[slot].load(Relaxed))
    }
}
