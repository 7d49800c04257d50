//! Round-trip times, kept in histograms.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Times from 1 ns to a minute, three digits of each kept.
#[derive(Debug)]
pub struct Latency(Histogram<u64>);

/// The longest time that is told from longer ones: more than any SIP transaction lasts (64 × T1 = 32 s).
const LONGEST_NS: u64 = 60_000_000_000;

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("1 < LONGEST_NS, and 3 digits are allowed"))
    }
}

impl Latency {
    /// Adds one.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS));
    }

    /// How many of all (0 to 1) were no longer than so many microseconds: points of the curve, closer where it is steep.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        // Two points to each halving of what is left.
        let points = self.0.iter_quantiles(2).map(|point| (point.quantile(), micros(point.value_iterated_to())));
        if self.0.is_empty() { Vec::new() } else { points.collect() }
    }

    /// The figures that a report shows.
    pub fn summary(&self) -> Quantiles {
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        Quantiles {
            count: self.0.len(),
            mean: micros(self.0.mean() as u64),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(self.0.max()),
        }
    }
}

/// The figures of a [`Latency`], in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quantiles {
    /// How many were measured; all else is 0 if none were.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// Half are no longer than this.
    pub p50: f64,
    /// 90 of 100 are no longer than this.
    pub p90: f64,
    /// 95 of 100 are no longer than this.
    pub p95: f64,
    /// 99 of 100 are no longer than this.
    pub p99: f64,
    /// 999 of 1,000 are no longer than this.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// Nanoseconds as microseconds with one decimal.
fn micros(nanos: u64) -> f64 {
    (nanos as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latency = Latency::default();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        let seen = latency.summary();
        assert_eq!(seen.count, 1000);
        for (quantile, truth) in
            [(seen.p50, 500.0), (seen.p90, 900.0), (seen.p99, 990.0), (seen.p999, 999.0), (seen.max, 1000.0)]
        {
            assert!((quantile - truth).abs() / truth < 0.002, "{quantile} is not {truth}");
        }
    }

    #[test]
    fn the_curve_rises_from_the_shortest_to_the_longest() {
        let mut latency = Latency::default();
        assert_eq!(latency.curve(), []);
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        let curve = latency.curve();
        assert!(curve.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{curve:?}");
        assert_eq!(curve.last().map(|(share, _)| *share), Some(1.0));
        for (share, micros) in curve {
            assert!((micros - share * 1000.0).abs() < 5.0, "{share}: {micros}");
        }
    }

    #[test]
    fn one_slow_answer_shows_in_the_maximum_only() {
        let mut latency = Latency::default();
        (0..999).for_each(|_| latency.record(Duration::from_micros(20)));
        latency.record(Duration::from_millis(30));
        let seen = latency.summary();
        assert!(seen.p99 < 21.0 && seen.max > 29_900.0, "{seen:?}");
    }

    #[test]
    fn nothing_recorded_is_all_zero_and_too_long_is_the_longest() {
        assert_eq!(Latency::default().summary(), Quantiles::default());
        let mut latency = Latency::default();
        latency.record(Duration::from_secs(3600));
        assert!(latency.summary().max >= 59_900_000.0);
    }
}
