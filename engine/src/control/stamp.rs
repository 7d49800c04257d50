//! When a decision was made, on a clock that all nodes of a cluster share without asking each other: a hybrid logical
//! clock (Kulkarni et al., "Logical Physical Clocks", 2014). It follows the wall clock, never goes back, and what a node
//! decides after it has read of another's decision is later than that, however wrong either wall clock is.

use serde::{Deserialize, Serialize};

use crate::control::clock::Clock;

/// Unix milliseconds in the upper 48 bits, a counter of what happened within one in the lower 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stamp(u64);

impl Stamp {
    /// The latest stamp that is believed, in the year 2200: one beyond it would leave no later one to be made.
    pub const MAX: Self = Self::of_millis(7_258_118_400_000);

    const fn of_millis(millis: u64) -> Self {
        Self(millis << 16)
    }

    /// The first stamp of a unix second.
    pub const fn of_seconds(seconds: u64) -> Self {
        let millis = seconds.saturating_mul(1_000);
        if millis > Self::MAX.millis() { Self::MAX } else { Self::of_millis(millis) }
    }

    /// The stamp after this one at `clock`: by the wall clock, or one more where that has not moved on.
    #[must_use]
    pub fn next(self, clock: Clock) -> Self {
        Self::of_millis(clock.wall_ns() / 1_000_000).max(Self(self.0.saturating_add(1)))
    }

    /// Unix milliseconds.
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// Unix seconds.
    pub const fn seconds(self) -> u64 {
        self.millis() / 1_000
    }

    /// As it was stored.
    pub const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// As it is stored and sent.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_stamp_is_later_whatever_the_wall_clock_does() {
        let at = |millis: u64| Clock::at(millis * 1_000_000, 1);
        let first = Stamp::default().next(at(1_000));
        assert_eq!((first.millis(), first.seconds()), (1_000, 1));
        let same = first.next(at(1_000));
        let back = same.next(at(500));
        assert!(first < same && same < back && back.millis() == 1_000);
        assert_eq!(back.next(at(1_001)), Stamp::of_millis(1_001));
    }
}
