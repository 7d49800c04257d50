//! What API and client say to each other, as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::clock::Clock;
use crate::control::decide::Listed;
use crate::control::decision::{self, Decision, Kind, Origin};
use crate::events::Event;

/// Body of `POST /v1/rules`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRule {
    /// An address or CIDR.
    pub net: String,
    /// `trust`, `block` or `allow`.
    pub kind: Kind,
    /// How long, seconds; absent: for good, or until `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
    /// When it ends, unix seconds; not beside `ttl_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Do what the guard refuses.
    #[serde(default)]
    pub force: bool,
    /// The client's `SSH_CONNECTION`, so that operators do not block themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_connection: Option<String>,
}

/// Body or query of `DELETE /v1/rules`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OldRule {
    /// An address or CIDR.
    pub net: String,
    /// `trust`, `block` or `allow`.
    pub kind: Kind,
}

/// A decision as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// A CIDR, /32 and /128 included.
    pub net: String,
    /// `trust`, `block` or `allow`.
    pub kind: Kind,
    /// When it ends, unix seconds; null for good.
    pub until: Option<u64>,
    /// How many whole seconds are left; null for good.
    pub left_s: Option<u64>,
    /// Why. Text of unknown origin.
    pub reason: String,
    /// Through which door it came in.
    pub origin: Origin,
    /// Who came: a user, a file, a queue. Text of unknown origin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub who: String,
    /// The node of the cluster that made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// When it was made, unix seconds.
    pub made: u64,
    /// Why this node holds back what another has decided; absent: it is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

impl Rule {
    /// The view of `decision` at `clock`.
    pub fn view(decision: &Decision, clock: Clock) -> Self {
        Self {
            net: decision.net.to_string(),
            kind: decision.kind,
            until: decision.until,
            left_s: decision.until.map(|until| clock.seconds_until(until)),
            reason: decision.reason.to_string(),
            origin: decision.origin,
            who: decision.who.to_string(),
            node: decision.made.node.to_string(),
            made: decision.made.stamp.seconds(),
            held: None,
        }
    }

    /// The view of what is listed.
    pub fn listed(listed: &Listed, clock: Clock) -> Self {
        Self { held: listed.held.clone(), ..Self::view(&listed.decision, clock) }
    }

    /// The decision that this is a view of; `None`: `net` is no CIDR.
    pub fn decision(&self) -> Option<Decision> {
        Some(Decision {
            net: self.net.parse().ok()?,
            kind: self.kind,
            until: self.until,
            reason: self.reason.as_str().into(),
            origin: self.origin,
            who: self.who.as_str().into(),
            made: decision::Made { node: self.node.as_str().into(), ..decision::Made::at(self.made) },
        })
    }
}

/// Answer to `GET /v1/rules`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rules {
    /// By address.
    pub rules: Vec<Rule>,
}

/// Answer to `POST /v1/rules`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Made {
    /// What is in force now.
    pub rule: Rule,
    /// What it took the place of.
    pub replaced: Option<Rule>,
    /// The number by which it can be undone; absent: it was in force already, just so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<u64>,
}

/// Answer to `DELETE /v1/rules`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// What is no longer in force.
    pub removed: Rule,
    /// What applies to the prefix now.
    pub now: Option<Rule>,
    /// The number by which it can be undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<u64>,
}

/// Answer to `GET /v1/events/recent`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecentEvents {
    /// Oldest first.
    pub events: Vec<Event>,
}

/// Every answer that is not 200.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// For people; names the fix.
    pub error: String,
    /// For programs; stable.
    pub code: String,
}
