//! What an operator decides about a source: the unit of the store, the API and the rule book.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use vos_common::rule::RuleKind;

/// What is decided. The order is the rank at one and the same prefix, highest first; a trust outranks what lies beneath
/// its prefix as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The source passes what is meant for unknown sources, and no block of it or of a prefix in or around applies.
    Trust,
    /// Every SIP packet of the source is dropped.
    Block,
    /// The source passes what is meant for unknown sources (stealth).
    Allow,
}

impl Kind {
    /// Every kind, highest rank first.
    pub const ALL: [Self; 3] = [Self::Trust, Self::Block, Self::Allow];

    /// The word in JSON, in the store and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Block => "block",
            Self::Allow => "allow",
        }
    }

    /// As in "10.0.0.0/8 is blocked".
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Trust => "trusted",
            Self::Block => "blocked",
            Self::Allow => "allowed",
        }
    }

    /// The command that takes a decision of this kind back.
    pub const fn undo(self) -> &'static str {
        match self {
            Self::Trust => "untrust",
            Self::Block => "unblock",
            Self::Allow => "unallow",
        }
    }

    /// What the kernel holds for it.
    pub const fn rule(self) -> RuleKind {
        match self {
            Self::Trust => RuleKind::Trusted,
            Self::Block => RuleKind::Blocked,
            Self::Allow => RuleKind::Allowed,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that is no kind.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not a kind of rule: write trust, block or allow")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| UnknownKind(word.to_owned()))
    }
}

/// One decision about one prefix. A prefix can have one of each [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whom it is about; host bits are zero.
    pub net: IpNet,
    /// What is decided.
    pub kind: Kind,
    /// When it ends, unix seconds; `None` for good.
    pub until: Option<u64>,
    /// Why, in the words of whoever decided. Not to be trusted when it is shown. Shared, because a list of a million
    /// addresses has one reason.
    pub reason: Arc<str>,
    /// Through which door it came in (`api uid 0`, a feed's name).
    pub origin: Arc<str>,
    /// When it was made, unix seconds.
    pub made: u64,
}
