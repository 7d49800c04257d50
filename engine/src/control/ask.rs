//! What is asked of the control plane, by whom, and what comes of it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use thiserror::Error;

use crate::control::address::show;
use crate::control::clock::Clock;
use crate::control::decision::{Decision, Key, Kind, Origin};
use crate::control::maps::MapError;
use crate::control::store::StoreError;

/// The longest time a decision may be given, seconds: a hundred years. Whoever means longer means for good.
pub const MAX_TTL: u64 = 100 * 366 * 24 * 3_600;
/// The longest reason, bytes. A line in a list, not an essay; a million of them are held in memory.
pub const MAX_REASON: usize = 256;
/// The longest name of whoever asks, bytes: a path, or a user and where they come from.
pub const MAX_WHO: usize = 512;

/// Who asks.
#[derive(Clone, Debug)]
pub struct By {
    /// Through which door.
    pub origin: Origin,
    /// Who it is, at most [`MAX_WHO`] bytes; what is longer is cut.
    pub who: Arc<str>,
    /// Do what the guard refuses. For operators; feeds cannot insist.
    pub force: bool,
    /// Where the operator's own session comes from; never blocked without `force`.
    pub operator: Option<IpAddr>,
}

impl By {
    /// A feed: it may block and unblock, and does not shorten what others have decided for longer. A file
    /// ([`Origin::File`]) can change what it made itself, and neither changes nor takes back what operators decided; nor does
    /// the configuration, which may trust and allow.
    pub fn feed(origin: Origin, who: impl Into<Arc<str>>) -> Self {
        Self { origin, who: who.into(), force: false, operator: None }
    }

    /// Is what the guard refuses to be done all the same?
    pub(crate) const fn insists(&self) -> bool {
        self.force && self.origin.is_operator()
    }
}

/// When a decision ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Never.
    Never,
    /// So many seconds from now, 1 to [`MAX_TTL`].
    After(u64),
    /// At this unix second.
    At(u64),
}

impl End {
    /// The unix second; `Ok(None)`: never.
    pub(crate) fn at(self, clock: Clock) -> Result<Option<u64>, Refusal> {
        let range = |ttl_s: u64| (1..=MAX_TTL).contains(&ttl_s);
        match self {
            Self::Never => Ok(None),
            Self::After(ttl_s) => {
                let until = range(ttl_s).then(|| clock.wall_after(ttl_s)).flatten();
                until.map(Some).ok_or(Refusal::Ttl { ttl_s })
            }
            Self::At(until) if range(clock.seconds_until(until)) => Ok(Some(until)),
            Self::At(until) if until <= clock.wall_s() => Err(Refusal::Past { until }),
            Self::At(until) => Err(Refusal::Ttl { ttl_s: clock.seconds_until(until) }),
        }
    }
}

/// One thing asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Decide this, in place of what there is of the kind at this very prefix.
    Put {
        /// Whom it is about; host bits are zero.
        net: IpNet,
        /// What is decided.
        kind: Kind,
        /// When it ends.
        end: End,
        /// Why, at most [`MAX_REASON`] bytes.
        reason: Arc<str>,
    },
    /// Take back the decision of this kind at this very prefix.
    Remove {
        /// Whom it is about.
        net: IpNet,
        /// Of which kind.
        kind: Kind,
    },
}

impl Ask {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            Self::Put { net, kind, .. } | Self::Remove { net, kind } => (*net, *kind),
        }
    }

    /// A block, of which there are most.
    pub fn block(net: IpNet, end: End, reason: impl Into<Arc<str>>) -> Self {
        Self::Put { net, kind: Kind::Block, end, reason: reason.into() }
    }
}

/// What came of one thing.
#[derive(Clone, Debug)]
pub enum Done {
    /// It is on disk and in force.
    Made {
        /// As it is.
        decision: Decision,
        /// What it took the place of.
        replaced: Option<Decision>,
    },
    /// There was nothing to do: this is in force already, as asked for, or (for a feed) for longer.
    Already(Decision),
    /// It is no longer in force.
    Removed {
        /// What was.
        removed: Decision,
        /// What applies to the prefix now.
        now: Option<Decision>,
    },
}

/// What came of all that was asked at once.
#[derive(Debug)]
pub struct Outcome {
    /// One for each, in the same order.
    pub results: Vec<Result<Done, Refusal>>,
    /// The number by which it can be undone; `None`: nothing changed, or a feed asked.
    pub set: Option<u64>,
}

/// Why something is not done. The message names the fix.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The block would hit somebody who must never be blocked by mistake.
    #[error("blocking {net} would block {guarded}, {why}: name a smaller prefix, or insist with --force", net = show(*net), guarded = show(*guarded))]
    Guarded {
        /// The block asked for.
        net: IpNet,
        /// The guarded address in it.
        guarded: IpNet,
        /// What that address is.
        why: String,
    },
    /// The block would change nothing, because a trust outranks it.
    #[error(
        "{net} is trusted{by}, and a trust outranks every block: `vosctl untrust {trust}` first, or insist with --force on a block that waits until the trust is gone",
        net = show(*net), by = elsewhere(*net, *by), trust = show(*by)
    )]
    Trusted {
        /// The block asked for.
        net: IpNet,
        /// The prefix that is trusted.
        by: IpNet,
    },
    /// The block would hit what somebody allowed on purpose.
    #[error(
        "{net} is allowed{by}: `vosctl unallow {allow}` first, or insist with --force on a block that outranks it",
        net = show(*net), by = elsewhere(*net, *by), allow = show(*by)
    )]
    Allowed {
        /// The block asked for.
        net: IpNet,
        /// The prefix that is allowed.
        by: IpNet,
    },
    /// The prefix holds more addresses than anybody means.
    #[error(
        "{net} is wider than /{widest}: name smaller prefixes, or insist with --force ({key} in vos.toml is the limit)",
        net = show(*net)
    )]
    TooWide {
        /// The prefix asked for.
        net: IpNet,
        /// The shortest prefix length that is taken.
        widest: u8,
        /// The key of the configuration.
        key: &'static str,
    },
    /// A feed asks for what feeds may not.
    #[error("a feed may block and unblock, not {kind}: use vosctl for {net}", net = show(*net))]
    NotForFeeds {
        /// Whom it is about.
        net: IpNet,
        /// What was asked for.
        kind: Kind,
    },
    /// There is no such decision.
    #[error("there is no rule to {kind} {net}: `vosctl list` shows what there is", net = show(*net))]
    NoSuchRule {
        /// The prefix asked for.
        net: IpNet,
        /// The kind asked for.
        kind: Kind,
    },
    /// There is no such decision, but a wider one that has the effect.
    #[error("{net} is {is} by {by}: {undo} that, {exception}", net = show(*net), is = kind.participle(), by = show(*by), undo = kind.undo(), exception = exception(*net, *kind))]
    Covered {
        /// The prefix asked for.
        net: IpNet,
        /// The kind asked for.
        kind: Kind,
        /// The prefix whose decision applies.
        by: IpNet,
    },
    /// The time is out of range.
    #[error("a time to live of {ttl_s} s is out of range: give 1 s to 100 years, or none for a rule that stays")]
    Ttl {
        /// What was asked for.
        ttl_s: u64,
    },
    /// The end has come already.
    #[error("it would have ended at {end}: give an end that is to come", end = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs((*until).min(253_402_300_799))))]
    Past {
        /// What was asked for, unix seconds.
        until: u64,
    },
    /// The reason is too long.
    #[error("the reason has {length} bytes, at most {MAX_REASON} are kept: shorten it")]
    Reason {
        /// Its length.
        length: usize,
    },
    /// There is nothing to undo.
    #[error("there is nothing to undo: `vosctl history` shows what was done")]
    NothingToUndo,
    /// There is no such set.
    #[error("there is no change {number} to undo: `vosctl history` shows those that are remembered")]
    NoSuchSet {
        /// What was asked for.
        number: u64,
    },
    /// It was undone already.
    #[error("change {number} was undone by change {by}: undo that to have it back")]
    Undone {
        /// What was asked for.
        number: u64,
        /// The set that undid it.
        by: u64,
    },
    /// It is to be undone, but somebody has decided anew since.
    #[error("{net} has been {is} anew since, by {who}: that stays", net = show(*net), is = kind.participle())]
    Anew {
        /// The prefix.
        net: IpNet,
        /// The kind.
        kind: Kind,
        /// Who.
        who: Arc<str>,
    },
    /// It is to be undone, but was taken back already.
    #[error("it was taken back since: that stays")]
    TakenBack,
    /// It is to be undone, but nothing is left of it.
    #[error("it has ended since")]
    Gone,
    /// The disk refused; nothing was changed.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The kernel refused; nothing was changed.
    #[error(transparent)]
    Maps(Arc<MapError>),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<MapError> for Refusal {
    fn from(error: MapError) -> Self {
        Self::Maps(Arc::new(error))
    }
}

/// How to except `net` from what applies to a prefix around it.
fn exception(net: IpNet, kind: Kind) -> String {
    match kind {
        Kind::Trust => "and trust the rest of it in smaller prefixes".to_owned(),
        Kind::Block => format!("or allow {}", show(net)),
        Kind::Allow => format!("or block {} with --force", show(net)),
    }
}

/// Names the prefix `by` where it is not `net` itself.
fn elsewhere(net: IpNet, by: IpNet) -> String {
    if net == by { String::new() } else { format!(" by {}", show(by)) }
}
