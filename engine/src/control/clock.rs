//! Two clocks at one instant: the operator's (wall) and the kernel's (monotonic).
//!
//! A decision ends at a wall time, which is what survives a reboot. A map entry ends at a time of
//! `CLOCK_MONOTONIC`, which is what nobody can set. The conversion is made once, when the decision is taken or
//! loaded, so a step of the wall clock (NTP, an operator) moves no end of any rule that is in force: an hour stays
//! an hour. It shows only in what `list` prints, and in what a restart makes of the stored wall time.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

const NS: u64 = 1_000_000_000;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds since 1970.
    wall: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    mono: u64,
}

impl Clock {
    /// An instant at which the wall clock showed `wall` and the monotonic clock `mono`, both in nanoseconds.
    pub const fn at(wall: u64, mono: u64) -> Self {
        Self { wall, mono }
    }

    /// This instant.
    pub fn now() -> Self {
        let read = |id| clock_gettime(id).map_or(0, ns);
        Self { wall: read(ClockId::CLOCK_REALTIME), mono: read(ClockId::CLOCK_MONOTONIC) }
    }

    /// Unix seconds.
    pub const fn wall_s(self) -> u64 {
        self.wall / NS
    }

    /// Unix nanoseconds.
    pub const fn wall_ns(self) -> u64 {
        self.wall
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub const fn mono_ns(self) -> u64 {
        self.mono
    }

    /// What the wall clock showed, in unix nanoseconds, when `CLOCK_MONOTONIC` stood at `mono_ns`.
    pub const fn wall_ns_of(self, mono_ns: u64) -> u64 {
        // both directions wrap, and their sum is right
        self.wall.wrapping_add(mono_ns.wrapping_sub(self.mono))
    }

    /// The unix second by which `ttl` seconds have passed in full; `None` if no clock reaches it.
    pub fn wall_after(self, ttl: u64) -> Option<u64> {
        self.wall.div_ceil(NS).checked_add(ttl).filter(|end| end.checked_mul(NS).is_some())
    }

    /// Whole seconds left until the unix second `wall_s`, 0 if it has come.
    pub const fn seconds_until(self, wall_s: u64) -> u64 {
        wall_s.saturating_sub(self.wall.div_ceil(NS))
    }

    /// When, in nanoseconds of `CLOCK_MONOTONIC`, the unix second `wall_s` comes or came. Never 0, which would mean
    /// "for good".
    pub fn mono_of(self, wall_s: u64) -> u64 {
        let ahead = i128::from(wall_s) * i128::from(NS) - i128::from(self.wall);
        (i128::from(self.mono) + ahead).clamp(1, i128::from(u64::MAX)) as u64
    }
}

fn ns(time: TimeSpec) -> u64 {
    u64::try_from(time.tv_sec()).unwrap_or(0) * NS + u64::try_from(time.tv_nsec()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_from_now_is_an_hour_on_both_clocks() {
        let clock = Clock::at(1_000_000 * NS, 77);
        assert_eq!(clock.wall_after(3_600), Some(1_003_600));
        assert_eq!(clock.mono_of(1_003_600), 77 + 3_600 * NS);
    }

    #[test]
    fn a_second_begun_does_not_shorten_the_ttl() {
        let clock = Clock::at(1_000_000 * NS + 1, 0);
        assert_eq!(clock.wall_after(1), Some(1_000_002));
        assert_eq!((clock.seconds_until(1_000_002), clock.seconds_until(7)), (1, 0));
    }

    #[test]
    fn what_ended_before_boot_is_never_for_good() {
        assert_eq!(Clock::at(1_000_000 * NS, 5).mono_of(1), 1);
        assert_eq!(Clock::at(5 * NS, 5 * NS).mono_of(0), 1);
    }

    #[test]
    fn a_ttl_beyond_every_clock_is_none() {
        assert_eq!(Clock::at(NS, 0).wall_after(u64::MAX), None);
        assert_eq!(Clock::at(NS, 0).wall_after(u64::MAX / NS), None);
    }

    #[test]
    fn an_instant_before_or_after_has_its_wall_time() {
        let clock = Clock::at(1_000_000 * NS, 50 * NS);
        assert_eq!(clock.wall_ns_of(49 * NS), 999_999 * NS);
        assert_eq!(clock.wall_ns_of(51 * NS), 1_000_001 * NS);
    }

    #[test]
    fn both_clocks_are_read() {
        let (a, b) = (Clock::now(), Clock::now());
        assert!(a.wall_s() > 1_700_000_000 && a.mono_ns() > 0 && b.mono_ns() >= a.mono_ns());
    }
}
