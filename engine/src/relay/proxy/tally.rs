//! What is counted, by each worker for itself.

use crate::config::MAX_BACKENDS;
use crate::counter::Counters;

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
#[derive(Debug, Default)]
pub(super) struct Tally {
    strays: Counters<{ Stray::ALL.len() }>,
    sent: Counters<MAX_BACKENDS>,
    received: Counters<MAX_BACKENDS>,
}

impl Tally {
    pub(super) fn stray(&self, stray: Stray) {
        self.strays[stray as usize].count();
    }

    pub(super) fn sent(&self, slot: usize) {
        self.sent[slot].count();
    }

    pub(super) fn received(&self, slot: usize) {
        self.received[slot].count();
    }

    pub(super) fn strays(&self, stray: Stray) -> u64 {
        self.strays[stray as usize].get()
    }

    /// Datagrams to the backend in `slot`, and from it.
    pub(super) fn of(&self, slot: usize) -> (u64, u64) {
        (self.sent[slot].get(), self.received[slot].get())
    }
}
