//! `[blacklist]`: who is blocked for what was offended, and for how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::validate::check;
use super::{Config, ConfigError, span, within};

/// Most points of a limit or an offence.
const POINTS_MAX: u32 = 1_000_000;
/// Shortest time that points last, or a block.
const TIME_MIN: Duration = Duration::from_secs(1);
/// Longest `blacklist.half_life`.
const HALF_LIFE_MAX: Duration = Duration::from_secs(86_400);
/// Longest block: addresses change hands.
const TTL_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Shortest `blacklist.forget`.
const FORGET_MIN: Duration = Duration::from_secs(60);
/// Longest `blacklist.forget`.
const FORGET_MAX: Duration = Duration::from_secs(365 * 86_400);

/// `[blacklist]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blacklist {
    /// Is anybody blocked?
    pub block: bool,
    /// Points for which an unknown source is blocked, 1 to 1,000,000.
    pub limit: u32,
    /// After this time half of the points are gone.
    #[serde(with = "span")]
    pub half_life: Duration,
    /// How long the first block lasts.
    #[serde(with = "span")]
    pub ttl: Duration,
    /// How long one lasts at most.
    #[serde(with = "span")]
    pub ttl_max: Duration,
    /// What begins within this time of the end of a block is a relapse.
    #[serde(with = "span")]
    pub forget: Duration,
    /// Points of each offence.
    pub weights: Weights,
}

/// `[blacklist.weights]`: points, 0 to 1,000,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Weights {
    /// Of a refused password whose nonce had gone to this address alone.
    pub refused_credentials: u32,
    /// Of a suspension.
    pub suspension: u32,
    /// Of a call that was refused with 403.
    pub forbidden_call: u32,
    /// Of an answer that something is not there (`enumeration.statuses`).
    pub not_found: u32,
    /// Of a request with a scanner's signature.
    pub scanner: u32,
    /// Of what is no SIP.
    pub malformed: u32,
    /// Of a request that unknown sources get no answer to.
    pub stealth: u32,
    /// Of an endpoint that has never answered (`online.interval`).
    pub never_answered: u32,
}

impl Default for Blacklist {
    /// Ten refused passwords at once.
    fn default() -> Self {
        Self {
            block: true,
            limit: 100,
            half_life: Duration::from_secs(600),
            ttl: Duration::from_secs(900),
            ttl_max: Duration::from_secs(7 * 86_400),
            forget: Duration::from_secs(7 * 86_400),
            weights: Weights::default(),
        }
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            refused_credentials: 10,
            suspension: 20,
            forbidden_call: 2,
            not_found: 1,
            scanner: 5,
            malformed: 1,
            stealth: 1,
            never_answered: 1,
        }
    }
}

impl Config {
    /// The keys of `[blacklist]`.
    pub(super) fn validate_blacklist(&self) -> Result<(), ConfigError> {
        let Blacklist { limit, half_life, ttl, ttl_max, forget, weights, .. } = &self.blacklist;
        within("blacklist.limit", *limit, 1, POINTS_MAX)?;
        let span = |key, time: &Duration, least, most| {
            let sound = time.subsec_nanos() == 0 && (least..=most).contains(time);
            check(key, sound, || format!("{} is out of range", humantime::format_duration(*time)))
        };
        span("blacklist.half_life", half_life, TIME_MIN, HALF_LIFE_MAX)?;
        span("blacklist.ttl", ttl, TIME_MIN, TTL_MAX)?;
        span("blacklist.ttl_max", ttl_max, TIME_MIN, TTL_MAX)?;
        check("blacklist.ttl_max", ttl_max >= ttl, || {
            format!("{} is less than blacklist.ttl", humantime::format_duration(*ttl_max))
        })?;
        span("blacklist.forget", forget, FORGET_MIN, FORGET_MAX)?;
        for (key, points) in [
            ("blacklist.weights.refused_credentials", weights.refused_credentials),
            ("blacklist.weights.suspension", weights.suspension),
            ("blacklist.weights.forbidden_call", weights.forbidden_call),
            ("blacklist.weights.not_found", weights.not_found),
            ("blacklist.weights.scanner", weights.scanner),
            ("blacklist.weights.malformed", weights.malformed),
            ("blacklist.weights.stealth", weights.stealth),
            ("blacklist.weights.never_answered", weights.never_answered),
        ] {
            within(key, points, 0, POINTS_MAX)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Blacklist)) -> String {
        let mut config = Config { iface: "eth0".into(), ..Config::default() };
        config.validate().expect("the default is sound");
        change(&mut config.blacklist);
        config.validate().expect_err("refused").to_string()
    }

    #[test]
    fn each_key_has_its_range_and_the_error_names_it() {
        for (error, begin) in [
            (refused(|it| it.limit = 0), "`blacklist.limit` takes 1 to 1000000"),
            (refused(|it| it.half_life = Duration::ZERO), "`blacklist.half_life` takes a time from 1s"),
            (refused(|it| it.ttl = Duration::from_millis(1_500)), "`blacklist.ttl` takes"),
            (refused(|it| it.ttl_max = Duration::from_secs(1)), "`blacklist.ttl_max` takes"),
            (refused(|it| it.ttl_max = TTL_MAX * 2), "`blacklist.ttl_max` takes"),
            (refused(|it| it.forget = Duration::from_secs(1)), "`blacklist.forget` takes"),
            (refused(|it| it.weights.refused_credentials = 1_000_001), "`blacklist.weights.refused_credentials` takes"),
            (refused(|it| it.weights.suspension = 1_000_001), "`blacklist.weights.suspension` takes"),
            (refused(|it| it.weights.forbidden_call = 1_000_001), "`blacklist.weights.forbidden_call` takes"),
            (refused(|it| it.weights.not_found = 1_000_001), "`blacklist.weights.not_found` takes"),
            (refused(|it| it.weights.scanner = 1_000_001), "`blacklist.weights.scanner` takes"),
            (refused(|it| it.weights.malformed = 1_000_001), "`blacklist.weights.malformed` takes"),
            (refused(|it| it.weights.stealth = 1_000_001), "`blacklist.weights.stealth` takes"),
        ] {
            assert!(error.starts_with(begin), "{error}");
        }
    }
}
