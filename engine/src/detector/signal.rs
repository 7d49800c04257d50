use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::Attack;

/// Answers in a second below which their failures say nothing: of few, many may be refused by chance.
pub const ANSWERS_MIN: u64 = 100;

/// What an attack shows itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[repr(usize)]
pub enum Signal {
    /// Packets to the SIP ports that are not blocked, a second.
    Requests,
    /// Packets that rules dropped, a second.
    Drops,
    /// Sources that nothing was known of, a second.
    NewSources,
    /// REGISTERs that the softswitch answered, a second.
    Registrations,
    /// Its answers that refuse something, percent of all.
    Failures,
}

/// How many signals there are.
pub const SIGNALS: usize = 5;

impl Signal {
    /// All of them; the position of each is its number.
    pub const ALL: [Self; SIGNALS] =
        [Self::Requests, Self::Drops, Self::NewSources, Self::Registrations, Self::Failures];

    /// The word for it in JSON and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Drops => "drops",
            Self::NewSources => "new_sources",
            Self::Registrations => "registrations",
            Self::Failures => "failures",
        }
    }

    /// What its values count.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Failures => "%",
            _ => "/s",
        }
    }

    /// Below this it is no attack, whatever is usual; `None`: it is not looked at.
    pub fn floor(self, config: &Attack) -> Option<f64> {
        let floor = match self {
            Self::Requests => config.requests,
            Self::Drops => config.drops,
            Self::NewSources => config.new_sources,
            Self::Registrations => config.registrations,
            Self::Failures => config.failures,
        };
        (floor > 0).then(|| f64::from(floor))
    }
}

/// What was counted up to a moment, or in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets to the SIP ports that are not blocked.
    pub requests: u64,
    /// Packets that rules dropped.
    pub drops: u64,
    /// Sources that nothing was known of.
    pub new_sources: u64,
    /// REGISTERs that the softswitch answered.
    pub registrations: u64,
    /// Its answers.
    pub answers: u64,
    /// Those that refuse something.
    pub failures: u64,
}

/// The signals of one second, by their numbers.
pub type Values = [f64; SIGNALS];

impl Counted {
    /// What came since `before`, in `seconds`.
    pub fn since(&self, before: &Self, seconds: f64) -> Values {
        let rate = |get: fn(&Self) -> u64| get(self).saturating_sub(get(before)) as f64 / seconds.max(1e-3);
        let (answers, failures) = (rate(|it| it.answers), rate(|it| it.failures));
        let share = if answers < ANSWERS_MIN as f64 { 0.0 } else { failures / answers * 100.0 };
        [rate(|it| it.requests), rate(|it| it.drops), rate(|it| it.new_sources), rate(|it| it.registrations), share]
    }
}
