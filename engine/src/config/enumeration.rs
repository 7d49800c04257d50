//! `[enumeration]`: what becomes of whoever asks for what is not there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::validate::check;
use super::{Config, ConfigError, Rate, span, within};

/// Shortest time of [`Enumeration::within`] and [`Enumeration::slow_for`].
const TIME_MIN: Duration = Duration::from_secs(1);
/// Longest time of both: addresses change hands.
const TIME_MAX: Duration = Duration::from_secs(86_400);
/// Most statuses in `enumeration.statuses`.
const MAX_STATUSES: usize = 16;

/// `[enumeration]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Enumeration {
    /// Answers that something is not there after which an unknown source is slowed, 2 to 100,000.
    pub not_found: u32,
    /// Within this time of the first.
    #[serde(with = "span")]
    pub within: Duration,
    /// Statuses that say so, 400 to 699, up to 16.
    pub statuses: Vec<u16>,
    /// For how long it is slowed, from the last of them on.
    #[serde(with = "span")]
    pub slow_for: Duration,
    /// What it may send meanwhile.
    pub slow_to: Rate,
}

impl Default for Enumeration {
    /// Twenty wrong numbers are more than a person dials in ten minutes, and less than a scanner asks for in one second.
    fn default() -> Self {
        Self {
            not_found: 20,
            within: Duration::from_secs(600),
            statuses: vec![404, 604],
            slow_for: Duration::from_secs(600),
            slow_to: Rate::per_second(1, 5),
        }
    }
}

impl Config {
    /// The keys of `[enumeration]`.
    pub(super) fn validate_enumeration(&self) -> Result<(), ConfigError> {
        let Enumeration { not_found, within: time, statuses, slow_for, slow_to } = &self.enumeration;
        within("enumeration.not_found", *not_found, 2, 100_000)?;
        for (key, time) in [("enumeration.within", time), ("enumeration.slow_for", slow_for)] {
            let sound = time.subsec_nanos() == 0 && (TIME_MIN..=TIME_MAX).contains(time);
            check(key, sound, || format!("{} is out of range", humantime::format_duration(*time)))?;
        }
        let some = (1..=MAX_STATUSES).contains(&statuses.len());
        check("enumeration.statuses", some, || format!("there are {}", statuses.len()))?;
        for (at, status) in statuses.iter().enumerate() {
            check("enumeration.statuses", (400..=699).contains(status), || format!("{status} refuses nothing"))?;
            check("enumeration.statuses", !statuses[..at].contains(status), || format!("{status} is there twice"))?;
        }
        check("enumeration.slow_to", *slow_to != Rate::None, || {
            "\"none\" slows nobody: switch rules.slowed off instead".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Enumeration)) -> String {
        let mut config = Config { iface: "eth0".into(), ..Config::default() };
        config.validate().expect("the default is sound");
        change(&mut config.enumeration);
        config.validate().expect_err("refused").to_string()
    }

    #[test]
    fn each_key_has_its_range_and_the_error_names_it() {
        for (error, begin) in [
            (refused(|it| it.not_found = 1), "`enumeration.not_found` takes 2 to 100000"),
            (refused(|it| it.not_found = 100_001), "`enumeration.not_found` takes 2 to 100000"),
            (refused(|it| it.within = Duration::ZERO), "`enumeration.within` takes a time from 1s"),
            (refused(|it| it.within = TIME_MAX * 2), "`enumeration.within` takes"),
            (refused(|it| it.slow_for = Duration::from_millis(1_500)), "`enumeration.slow_for` takes"),
            (refused(|it| it.statuses = Vec::new()), "`enumeration.statuses` takes"),
            (refused(|it| it.statuses = vec![200]), "`enumeration.statuses` takes"),
            (refused(|it| it.statuses = vec![404, 404]), "`enumeration.statuses` takes"),
            (refused(|it| it.slow_to = Rate::None), "`enumeration.slow_to` takes a limit"),
        ] {
            assert!(error.starts_with(begin), "{error}");
        }
    }
}
