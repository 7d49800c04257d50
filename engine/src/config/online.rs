//! `[online]`: whether those who are registered, and trunks, still answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rate::Rate;
use super::validate::check;
use super::{Config, ConfigError, span, within};

/// Shortest `online.interval` but for none at all: more often, and phones are kept awake for nothing.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest `online.interval`.
const INTERVAL_MAX: Duration = Duration::from_secs(3_600);

/// `[online]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Online {
    /// How often each is asked; zero: nobody is.
    #[serde(with = "span")]
    pub interval: Duration,
    /// Questions in a row without an answer after which somebody is offline, 1 to 100.
    pub misses: u32,
    /// How often all of them together are asked.
    pub rate: Rate,
}

impl Default for Online {
    fn default() -> Self {
        Self { interval: Duration::ZERO, misses: 3, rate: Rate::per_second(100, 100) }
    }
}

impl Online {
    /// Is anybody asked?
    pub const fn is_on(&self) -> bool {
        !self.interval.is_zero()
    }
}

impl Config {
    /// The keys of `[online]`.
    pub(super) fn validate_online(&self) -> Result<(), ConfigError> {
        let Online { interval, misses, .. } = &self.online;
        let sound = interval.is_zero() || (INTERVAL_MIN..=INTERVAL_MAX).contains(interval);
        check("online.interval", sound, || format!("{} is out of range", humantime::format_duration(*interval)))?;
        within("online.misses", *misses, 1, 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_range_and_the_error_names_it() {
        let refused = |change: fn(&mut Online)| {
            let mut config = Config { iface: "eth0".into(), ..Config::default() };
            change(&mut config.online);
            config.validate().expect_err("refused").to_string()
        };
        for (error, begin) in [
            (
                refused(|it| it.interval = Duration::from_millis(999)),
                "`online.interval` takes \"0s\" (nobody is asked) or",
            ),
            (refused(|it| it.interval = INTERVAL_MAX * 2), "`online.interval` takes"),
            (refused(|it| it.misses = 0), "`online.misses` takes 1 to 100"),
        ] {
            assert!(error.starts_with(begin), "{error}");
        }
    }
}
