//! `[rates]`: how much a source may send, by what it has shown of itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use vos_common::rate::{KINDS, Kind, Limit, Tier};

use super::{Rate, span};

/// `[rates]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// What all unknown sources share in attack mode.
    pub global: Rate,
    /// Samples of dropped packets, for each reason and CPU.
    pub samples: Rate,
    /// How long a source stays verified after it has proven itself, whole seconds, one minute to 30 days.
    #[serde(with = "span")]
    pub verified_for: Duration,
    /// REGISTERs and INVITEs of one unknown source that have no final response yet, 1 to 64.
    pub parallel: u32,
    /// `[rates.unknown]`: a source that has shown nothing.
    pub unknown: Limits,
    /// `[rates.verified]`: one that has proven its address, or is allowed.
    pub verified: Limits,
    /// `[rates.trusted]`: one that is trusted.
    pub trusted: Limits,
    /// `[rates.prefix]`: the unknown sources of one IPv4 /24 or IPv6 /48 together.
    pub prefix: Limits,
}

/// Limits by what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Every packet, those of the other kinds too.
    pub all: Rate,
    /// REGISTER.
    pub register: Rate,
    /// INVITE.
    pub invite: Rate,
    /// OPTIONS.
    pub options: Rate,
}

impl Rates {
    /// The limits of a tier.
    pub const fn tier(&self, tier: Tier) -> &Limits {
        match tier {
            Tier::Unknown => &self.unknown,
            Tier::Verified => &self.verified,
            Tier::Trusted => &self.trusted,
        }
    }
}

impl Limits {
    /// The limit of a kind.
    pub const fn of(&self, kind: Kind) -> Rate {
        match kind {
            Kind::All => self.all,
            Kind::Register => self.register,
            Kind::Invite => self.invite,
            Kind::Options => self.options,
        }
    }

    /// As the kernel counts them; `tick`: its own, ns.
    pub fn compile(&self, tick: u64) -> [Limit; KINDS] {
        Kind::ALL.map(|kind| self.of(kind).limit(tick))
    }
}
