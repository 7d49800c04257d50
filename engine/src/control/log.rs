//! What nodes of a cluster tell each other: entries of a log that every node reads from its beginning to its end.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::control::address;
use crate::control::ask::{MAX_REASON, MAX_TTL, MAX_WHO};
use crate::control::decision::{Decision, Key, Kind, Made, Origin};
use crate::control::stamp::Stamp;

/// Most changes in one entry: an entry is one message, and some 200 bytes a change stay far under the megabyte that
/// brokers like. Fewer: an import is more messages. More: whoever reads waits longer for each.
pub const ENTRY_MAX: usize = 1_000;

/// What one node did at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Who made it.
    pub node: Arc<str>,
    /// One more with each entry of this node; an entry that is met again has the same.
    pub sequence: u64,
    /// What changed, each key once.
    pub changes: Vec<Logged>,
}

/// One decision, or that there is none any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Logged {
    /// A CIDR.
    pub net: IpNet,
    /// What is decided.
    pub kind: Kind,
    /// Is it taken back? Then until, reason, origin and who say nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub removed: bool,
    /// When it ends, unix seconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<u64>,
    /// Why.
    #[serde(skip_serializing_if = "str::is_empty", default)]
    pub reason: Arc<str>,
    /// Through which door.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Origin>,
    /// By whom.
    #[serde(skip_serializing_if = "str::is_empty", default)]
    pub who: Arc<str>,
    /// When it was made.
    pub made: Stamp,
    /// In a snapshot, which holds what many nodes made: which one. Else the entry says it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<Arc<str>>,
    /// In a snapshot: its place in the log, if it had one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offset: Option<u64>,
}

impl Logged {
    /// A decision, for an entry of the node that made it.
    pub fn put(decision: &Decision) -> Self {
        Self {
            net: decision.net,
            kind: decision.kind,
            removed: false,
            until: decision.until,
            reason: Arc::clone(&decision.reason),
            origin: Some(decision.origin),
            who: Arc::clone(&decision.who),
            made: decision.made.stamp,
            node: None,
            offset: None,
        }
    }

    /// That a decision is gone.
    pub fn removed((net, kind): Key, made: Stamp) -> Self {
        let (reason, who) = Default::default();
        Self { net, kind, removed: true, until: None, reason, origin: None, who, made, node: None, offset: None }
    }

    /// The same for a snapshot.
    #[must_use]
    pub fn of(self, made: &Made) -> Self {
        let offset = (made.offset != Made::UNLOGGED).then_some(made.offset);
        Self { made: made.stamp, node: Some(Arc::clone(&made.node)), offset, ..self }
    }

    /// What it is about.
    pub fn key(&self) -> Key {
        (self.net, self.kind)
    }

    /// The decision; `None`: it is taken back.
    pub fn decision(&self, made: Made) -> Option<Decision> {
        (!self.removed).then(|| Decision {
            net: self.net,
            kind: self.kind,
            until: self.until,
            reason: Arc::clone(&self.reason),
            origin: self.origin.unwrap_or(Origin::Api),
            who: Arc::clone(&self.who),
            made,
        })
    }

    /// Is it such as an engine writes? Every node must say the same of the same entry, whatever its clock shows.
    pub fn is_sound(&self) -> bool {
        let length = self.reason.len() <= MAX_REASON && self.who.len() <= MAX_WHO;
        // a stamp is not behind the clock by which the end was measured, but for a second that was begun
        let latest = self.made.seconds() + MAX_TTL + 1;
        let term = self.until.is_none_or(|until| (1..=latest).contains(&until));
        address::is_sound(self.net) && self.made <= Stamp::MAX && length && term
    }
}

/// How far a log has been read, and what tells that log from another of the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The next offset; 0 if nothing was read.
    pub next: u64,
    /// A hash of the message before it; 0 if that is not known.
    pub mark: u64,
}

impl From<u64> for Place {
    fn from(next: u64) -> Self {
        Self { next, mark: 0 }
    }
}

/// A decision that is no more, remembered so that an older one which comes late does not bring it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Grave {
    /// When it was taken back; of one that has ended: when it was made.
    pub made: Made,
    /// When it is forgotten, unix seconds.
    pub keep: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::clock::Clock;

    /// What stands in an entry, as another node may have written it.
    fn is_sound(net: &str, until: Option<u64>, change: impl FnOnce(&mut Logged)) -> bool {
        let made = Stamp::of_seconds(1_800_000_000);
        let mut logged = Logged { until, ..Logged::removed((net.parse().expect(net), Kind::Block), made) };
        (logged.removed, logged.origin) = (false, Some(Origin::Cli));
        change(&mut logged);
        logged.is_sound()
    }

    #[test]
    fn what_no_engine_writes_is_not_sound() {
        for (net, sound) in [
            ("203.0.113.7/32", true),
            ("0.0.0.0/0", true),
            ("2001:db8::/32", true),
            ("2000::/3", true),
            ("64:ff9b::cb00:7107/128", true),
            ("203.0.113.7/24", false),
            ("2001:db8::1/32", false),
            ("::ffff:203.0.113.7/128", false),
            ("::ffff:203.0.113.0/120", false),
            ("::ffff:0:0/96", false),
            ("::/0", false),
            ("::/64", false),
        ] {
            assert_eq!(is_sound(net, None, |_| {}), sound, "{net}");
            assert_eq!(address::parse(net).is_ok(), sound, "{net}: as whoever asks is told");
        }
        let century = 1_800_000_000 + MAX_TTL;
        for (until, sound) in [
            (1, true),
            (1_799_999_999, true),
            (century, true),
            (century + 1, true),
            (0, false),
            (century + 2, false),
            (u64::MAX, false),
        ] {
            assert_eq!(is_sound("203.0.113.7/32", Some(until), |_| {}), sound, "{until}");
        }
        let changed = |change: fn(&mut Logged)| is_sound("203.0.113.7/32", None, change);
        assert!(changed(|logged| logged.reason = "x".repeat(MAX_REASON).into()));
        assert!(!changed(|logged| logged.reason = "x".repeat(MAX_REASON + 1).into()));
        assert!(changed(|logged| logged.who = "x".repeat(MAX_WHO).into()));
        assert!(!changed(|logged| logged.who = "x".repeat(MAX_WHO + 1).into()));
        assert!(changed(|logged| logged.made = Stamp::MAX));
        assert!(!changed(|logged| logged.made = Stamp::of_bits(u64::MAX)));
    }

    #[test]
    fn the_longest_time_that_may_be_asked_for_is_sound() {
        for wall in [1_800_000_000_000_000_001, 1_800_000_000_999_999_999, 7_000_000_000_000_000_000] {
            let clock = Clock::at(wall, 5);
            let until = clock.wall_after(MAX_TTL);
            let made = Stamp::default().next(clock);
            assert!(is_sound("203.0.113.7/32", until, |logged| logged.made = made), "{wall}");
        }
    }
}
