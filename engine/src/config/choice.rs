//! Keys that take one of several words.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::RuleMode;

/// What is done with packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Drop at the NIC, take the survivors through AF_XDP and the relay.
    #[default]
    Relay,
    /// Drop at the NIC, leave the survivors to the kernel.
    Filter,
    /// Count what would be dropped, drop nothing.
    Monitor,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// Native if the driver grants it, else generic.
    #[default]
    Auto,
    /// In the driver, or an error.
    Native,
    /// In the kernel's receive path, behind the driver.
    Generic,
}

/// How AF_XDP sockets are bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// Zero-copy if the driver grants it, else copy.
    #[default]
    Auto,
    /// Zero-copy, or an error.
    Zerocopy,
    /// Copy.
    Copy,
}

/// What a worker does when its rings are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Sleeps until the kernel wakes it.
    #[default]
    Sleep,
    /// Polls the driver itself and takes a core for it.
    Busy,
}

/// How survivors get to the softswitch in the local relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Inject {
    /// Re-entry where the probe crosses it, else raw where nothing forbids it.
    #[default]
    Auto,
    /// Through a TAP into the interface's own ingress: every check of the kernel and the site stays in force.
    Reentry,
    /// Through a raw socket and `lo`, with checks of the engine's own.
    Raw,
}

/// Whose packets are taken at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// Everybody's that break no rule.
    #[default]
    Open,
    /// Everybody's; those that `Closed` would drop are counted.
    Monitor,
    /// Those of trusted and allowed sources.
    Closed,
}

impl Mode {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Filter => "filter",
            Self::Monitor => "monitor",
        }
    }
}

impl Admission {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Monitor => "monitor",
            Self::Closed => "closed",
        }
    }

    /// What the rule `closed` does: this is its switch.
    pub const fn rule(self) -> RuleMode {
        match self {
            Self::Open => RuleMode::Off,
            Self::Monitor => RuleMode::Monitor,
            Self::Closed => RuleMode::Enforce,
        }
    }

    /// The admission in which the rule `closed` does that.
    pub const fn of(rule: RuleMode) -> Self {
        match rule {
            RuleMode::Off => Self::Open,
            RuleMode::Monitor => Self::Monitor,
            RuleMode::Enforce => Self::Closed,
        }
    }
}
