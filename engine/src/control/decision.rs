//! What an operator decides about a source: the unit of the store, the API and the rule book.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;
use vos_common::rule::RuleKind;

use crate::control::stamp::Stamp;

/// What is decided. The order is the rank at one and the same prefix, highest first; a trust outranks what lies beneath
/// its prefix as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
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

/// Through which door a decision came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `vosctl` on the node itself.
    Cli,
    /// A program that speaks to the API.
    Api,
    /// A watched file.
    File,
    /// A message queue.
    Amqp,
    /// OpenSIPS' `event_datagram`, or whoever else sends datagrams.
    Datagram,
    /// The engine itself: who offends, who speaks to a decoy.
    Detector,
    /// The configuration: where trunks call from.
    Config,
}

impl Origin {
    /// Every door.
    pub const ALL: [Self; 7] =
        [Self::Cli, Self::Api, Self::File, Self::Amqp, Self::Datagram, Self::Detector, Self::Config];

    /// The word in JSON, in the store and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Api => "api",
            Self::File => "file",
            Self::Amqp => "amqp",
            Self::Datagram => "datagram",
            Self::Detector => "detector",
            Self::Config => "config",
        }
    }

    /// Does a person (or their program) stand behind it, who can be asked to insist?
    pub const fn is_operator(self) -> bool {
        matches!(self, Self::Cli | Self::Api)
    }

    /// May it trust and allow as well? Who writes the configuration is an operator, but is not there to insist.
    pub const fn may_admit(self) -> bool {
        self.is_operator() || matches!(self, Self::Config)
    }

    /// Does it say all that it wishes for at any time, and change and take back only what it made itself?
    pub const fn is_list(self) -> bool {
        matches!(self, Self::File | Self::Config)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that is no origin.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not an origin: write cli, api, file, amqp, datagram, detector or config")]
pub struct UnknownOrigin(String);

impl FromStr for Origin {
    type Err = UnknownOrigin;

    fn from_str(word: &str) -> Result<Self, UnknownOrigin> {
        Self::ALL.into_iter().find(|origin| origin.word() == word).ok_or_else(|| UnknownOrigin(word.to_owned()))
    }
}

/// What orders two decisions about one thing, on every node alike: the later [`Stamp`] wins, and of two with the same
/// stamp that of the node whose name is the later word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// When.
    pub stamp: Stamp,
    /// The node that made it; empty where there is no cluster.
    pub node: Arc<str>,
    /// Its place in the cluster's log; [`Made::UNLOGGED`] until it is there.
    pub offset: u64,
}

impl Made {
    /// Not in the log yet, as far as this node has read.
    pub const UNLOGGED: u64 = u64::MAX;

    /// Made at a unix second, by a node without a cluster.
    pub fn at(seconds: u64) -> Self {
        Self { stamp: Stamp::of_seconds(seconds), node: Arc::default(), offset: Self::UNLOGGED }
    }

    /// Does this take the place of `other`?
    pub fn outranks(&self, other: &Self) -> bool {
        (self.stamp, &self.node) > (other.stamp, &other.node)
    }

    /// Is this the very same, met again?
    pub fn is(&self, other: &Self) -> bool {
        self.stamp == other.stamp && self.node == other.node
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
    /// Through which door it came in, on the node that made it.
    pub origin: Origin,
    /// Who it was: a user, a file, a queue. Not to be trusted when it is shown.
    pub who: Arc<str>,
    /// When it was made, and where.
    pub made: Made,
}

impl Decision {
    /// What there is one of.
    pub fn key(&self) -> Key {
        (self.net, self.kind)
    }
}

/// What there is one decision of.
pub type Key = (IpNet, Kind);
