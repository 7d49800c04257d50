//! A schedule that never waits for anyone: message n is due at n / rate.

use std::time::Duration;

/// When each of `total` messages is due, counted from the start. A sender that is late catches up; the times stay, so
/// latency counted from them includes what a late sender or a slow server made later messages wait (no coordinated
/// omission).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    rate: u64,
    total: u64,
}

impl Schedule {
    /// `rate` messages a second (at least 1), `total` in all.
    pub fn new(rate: u64, total: u64) -> Self {
        Self { rate: rate.max(1), total }
    }

    /// `rate` messages a second for `seconds` seconds.
    pub fn lasting(rate: u64, seconds: f64) -> Self {
        Self::new(rate, (rate as f64 * seconds).round() as u64)
    }

    /// How many messages there are.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// When message `n` (from 0) is due.
    pub fn due_at(&self, n: u64) -> Duration {
        let nanos = u128::from(n % self.rate) * 1_000_000_000 / u128::from(self.rate);
        Duration::new(n / self.rate, nanos as u32)
    }

    /// How many messages are due at `elapsed`.
    pub fn due_by(&self, elapsed: Duration) -> u64 {
        // The smallest n with due_at(n) > elapsed: due_at rounds down, so the boundary is one nanosecond further.
        let nanos = elapsed.as_nanos() + 1;
        let due = (nanos * u128::from(self.rate)).div_ceil(1_000_000_000);
        due.min(u128::from(self.total)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_due_at_once_and_the_others_evenly() {
        let schedule = Schedule::lasting(40_000, 2.0);
        assert_eq!(schedule.total(), 80_000);
        assert_eq!(schedule.due_at(0), Duration::ZERO);
        assert_eq!(schedule.due_at(1), Duration::from_micros(25));
        assert_eq!(schedule.due_at(80_000), Duration::from_secs(2));
    }

    #[test]
    fn what_is_due_and_when_agree_at_awkward_rates() {
        for rate in [1, 3, 7, 999, 30_001, 1_000_000] {
            let schedule = Schedule::new(rate, 3 * rate);
            for n in 0..schedule.total().min(5_000) {
                let due = schedule.due_at(n);
                assert_eq!(schedule.due_by(due), n + 1, "rate {rate}, message {n}");
                if let Some(before) = due.checked_sub(Duration::from_nanos(1)) {
                    assert_eq!(schedule.due_by(before), n, "rate {rate}, just before message {n}");
                }
            }
        }
    }

    #[test]
    fn no_more_than_all_are_ever_due() {
        assert_eq!(Schedule::new(10, 25).due_by(Duration::from_secs(3600)), 25);
    }
}
