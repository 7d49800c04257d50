//! Limits as people write them: `"5/s burst 10"`, `"20/min burst 20"`, `"100/60s burst 100"`, `"none"`.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vos_common::rate::Limit;

/// Most packets in a rate: more than any link carries in a second at SIP's sizes.
pub const RATE_MAX: u32 = 10_000_000;
/// Most packets in a burst: with the slowest rate the kernel's clocks still stay far from their end.
pub const BURST_MAX: u32 = 1_000_000;
/// The longest time a rate is counted over, s.
pub const PERIOD_MAX: u32 = 3_600;

/// So many packets in so long a time, and so many of them at once; or no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Rate {
    /// No limit.
    #[default]
    None,
    /// A limit.
    Limited {
        /// Packets in a period, up to [`RATE_MAX`].
        packets: NonZeroU32,
        /// The period, s, up to [`PERIOD_MAX`].
        period: NonZeroU32,
        /// Packets that may come at once, up to [`BURST_MAX`].
        burst: NonZeroU32,
    },
}

impl Rate {
    /// So many packets a second, and so many at once; at least one of each, at most [`RATE_MAX`] and [`BURST_MAX`].
    pub fn per_second(packets: u32, burst: u32) -> Self {
        let within = |number: u32, most| NonZeroU32::new(number.min(most)).unwrap_or(NonZeroU32::MIN);
        Self::Limited { packets: within(packets, RATE_MAX), period: NonZeroU32::MIN, burst: within(burst, BURST_MAX) }
    }

    /// What neither of two limits refuses: the faster rate, the larger burst.
    pub fn or(self, other: Self) -> Self {
        let (
            Self::Limited { packets, period, burst },
            Self::Limited { packets: its_packets, period: its_period, burst: its_burst },
        ) = (self, other)
        else {
            return Self::None;
        };
        let product = |packets: NonZeroU32, period: NonZeroU32| u64::from(packets.get()) * u64::from(period.get());
        let slower = product(packets, its_period) < product(its_packets, period);
        let (packets, period) = if slower { (its_packets, its_period) } else { (packets, period) };
        Self::Limited { packets, period, burst: burst.max(its_burst) }
    }

    /// As the kernel counts it: ITU-T I.371's increment and limit, ns. `tick`: the kernel's, ns, by which its clock may
    /// be late.
    pub fn limit(self, tick: u64) -> Limit {
        let Self::Limited { packets, period, burst } = self else { return Limit::NONE };
        // Not 0, which would mean no limit: RATE_MAX a second are 100 ns.
        let every = u64::from(period.get()) * 1_000_000_000 / u64::from(packets.get());
        Limit { every, ahead: every * (u64::from(burst.get()) - 1) + tick }
    }
}

/// A text that is no limit.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` is no limit ({what}): write \"5/s burst 10\", \"20/min burst 20\", \"100/60s burst 100\" or \"none\""
)]
pub struct RateError {
    text: String,
    what: String,
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let error = |what: String| RateError { text: text.to_owned(), what };
        let number = |word: &str, name: &str, most: u32| {
            let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            let value = word.parse::<NonZeroU32>().ok().filter(|value| plain && value.get() <= most);
            value.ok_or_else(|| error(format!("{name} `{word}` is not 1 to {most}")))
        };
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (rate, burst) = match words[..] {
            ["none"] => return Ok(Self::None),
            [rate, "burst", burst] => (rate, burst),
            [_] => return Err(error("how many at once is missing".to_owned())),
            _ => return Err(error("three words are expected".to_owned())),
        };
        let (packets, unit) = rate.split_once('/').ok_or_else(|| error(format!("`{rate}` has no /s or /min")))?;
        let digits = unit.len() - unit.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (times, unit) = unit.split_at(digits);
        let seconds = match unit {
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            _ => return Err(error(format!("`{unit}` is not s, min or h"))),
        };
        let times = if times.is_empty() { NonZeroU32::MIN } else { number(times, "time", PERIOD_MAX)? };
        let period = times.get() * seconds;
        let period = NonZeroU32::new(period).filter(|period| period.get() <= PERIOD_MAX);
        Ok(Self::Limited {
            packets: number(packets, "rate", RATE_MAX)?,
            period: period.ok_or_else(|| error(format!("more than {PERIOD_MAX} s")))?,
            burst: number(burst, "burst", BURST_MAX)?,
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Limited { packets, period, burst } = self else { return f.write_str("none") };
        match period.get() {
            1 => write!(f, "{packets}/s burst {burst}"),
            60 => write!(f, "{packets}/min burst {burst}"),
            3_600 => write!(f, "{packets}/h burst {burst}"),
            seconds => write!(f, "{packets}/{seconds}s burst {burst}"),
        }
    }
}

impl Serialize for Rate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().expect(text)
    }

    #[test]
    fn of_two_limits_the_wider_is_taken_in_rate_and_burst() {
        for (one, other, wider) in [
            ("5/s burst 10", "6/s burst 9", "6/s burst 10"),
            ("5/s burst 10", "301/min burst 1", "301/min burst 10"),
            ("5/s burst 10", "299/min burst 11", "5/s burst 11"),
            ("5/s burst 10", "none", "none"),
            ("10000000/s burst 1", "1/h burst 1000000", "10000000/s burst 1000000"),
        ] {
            assert_eq!(rate(one).or(rate(other)), rate(wider));
            assert_eq!(rate(other).or(rate(one)), rate(wider));
        }
        assert_eq!(Rate::per_second(5, 10), rate("5/s burst 10"));
        assert_eq!(Rate::per_second(0, 0), rate("1/s burst 1"));
        assert_eq!(Rate::per_second(u32::MAX, u32::MAX), rate("10000000/s burst 1000000"));
    }

    #[test]
    fn what_is_written_is_read_and_shown_in_its_shortest_form() {
        for (text, shortest) in [
            ("none", "none"),
            ("5/s burst 10", "5/s burst 10"),
            ("5/1s burst 10", "5/s burst 10"),
            (" 20/60s  burst 20 ", "20/min burst 20"),
            ("20/min burst 20", "20/min burst 20"),
            ("3/2min burst 1", "3/120s burst 1"),
            ("1/h burst 1", "1/h burst 1"),
            ("10000000/s burst 1000000", "10000000/s burst 1000000"),
        ] {
            assert_eq!(rate(text).to_string(), shortest, "{text}");
            assert_eq!(rate(shortest), rate(text));
        }
    }

    #[test]
    fn what_is_no_limit_is_answered_with_what_is_wrong() {
        for (text, what) in [
            ("", "three words"),
            ("5", "at once is missing"),
            ("5/s", "at once is missing"),
            ("5 burst 10", "no /s or /min"),
            ("5/s burst", "three words"),
            ("5/s burst 10 or so", "three words"),
            ("5/s bursts 10", "three words"),
            ("0/s burst 10", "rate `0` is not 1 to 10000000"),
            ("5/s burst 0", "burst `0` is not 1 to 1000000"),
            ("+5/s burst 10", "rate `+5`"),
            ("-5/s burst 10", "rate `-5`"),
            ("0.5/s burst 10", "rate `0.5`"),
            ("5/S burst 10", "`S` is not s, min or h"),
            ("5/ms burst 10", "`ms` is not s, min or h"),
            ("5/ burst 10", "`` is not s, min or h"),
            ("5/0s burst 10", "time `0`"),
            ("5/2h burst 10", "more than 3600 s"),
            ("5/4000000s burst 10", "time `4000000`"),
            ("99999999999/s burst 10", "rate `99999999999`"),
            ("5/s burst 1000001", "burst `1000001`"),
            ("None", "at once is missing"),
        ] {
            let error = text.parse::<Rate>().expect_err(text).to_string();
            assert!(error.contains(what) && error.contains("5/s burst 10"), "{error}");
        }
    }

    /// A sender that never stops, one packet every ms: how many pass in the first seconds.
    #[test]
    fn a_limit_lets_pass_what_it_says() {
        let passed = |text: &str, seconds: u64| {
            let limit = rate(text).limit(0);
            let mut clock = 0;
            let start = 1_000_000_000_000;
            (0..seconds * 1_000)
                .filter(|ms| limit.claim(clock, start + ms * 1_000_000).map(|next| clock = next).is_some())
                .count()
        };
        // the burst at once, then a packet whenever one is due: the last second's is due when it is over
        assert_eq!(passed("5/s burst 10", 1), 10 + 4);
        assert_eq!(passed("5/s burst 10", 10), 10 + 49);
        assert_eq!(passed("20/min burst 20", 60), 20 + 19);
        assert_eq!(passed("20/60s burst 20", 6), 20 + 1);
        assert_eq!(passed("1/h burst 1", 30), 1);
        // the kernel's clock may be a tick late: as much more at once
        assert_eq!(rate("100/s burst 1").limit(4_000_000).ahead, 4_000_000);
        assert_eq!(rate("none").limit(4_000_000), Limit::NONE);
        // the same as the kernel's crate works out, where both can say it
        assert_eq!(rate("7/s burst 3").limit(4_000_000), Limit::per_second(7, 3, 4_000_000));
        assert!(rate("10000000/s burst 1000000").limit(4_000_000).every > 0);
        let slowest = rate("1/h burst 1000000").limit(4_000_000);
        assert!(slowest.ahead < u64::MAX / 4, "a clock that far ahead can still be moved on");
    }
}
