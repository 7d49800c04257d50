//! What API and client say to each other, as JSON.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control::clock::Clock;
use crate::control::decide::Listed;
use crate::control::decision::{self, Decision, Kind, Origin};
use crate::control::history::Set;
use crate::events::Event;
use crate::policy;

pub use crate::control::verify::Verified;

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
    #[schema(minimum = 1)]
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

/// Answer to `GET` and `DELETE /v1/suspensions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suspensions {
    /// Who is suspended, or was.
    pub suspensions: Vec<policy::Shown>,
}

/// Answer to `GET` and `DELETE /v1/slowed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlowedList {
    /// Who is slowed, or was.
    pub slowed: Vec<policy::ShownSlowed>,
}

/// Query of `GET /v1/registrations`. Each that is given narrows the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Registered {
    /// Only this address-of-record, user or address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whom: Option<String>,
    /// Only those that do not answer the engine's OPTIONS.
    #[serde(default)]
    pub offline: bool,
    /// How many at most, 1 to 10,000; 1,000 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 10_000)]
    pub limit: Option<usize>,
    /// From which place on, 0 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<usize>,
}

/// Answer to `GET /v1/registrations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Registrations {
    /// A page of who is registered, as far as the engine has seen since its start.
    pub registrations: Vec<policy::BindingView>,
    /// How many are sought, those on other pages among them.
    pub total: usize,
}

/// Body of `DELETE /v1/suspensions` and `DELETE /v1/slowed`: one of the two.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lift {
    /// An address or, of who is suspended, an account, an address-of-record, or the user part of one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whom: Option<String>,
    /// Everybody.
    #[serde(default)]
    pub all: bool,
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

/// Query of `GET /v1/rules`. Each that is given narrows the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Only these: `trust`, `block` or `allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Only those that cover this address or CIDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covering: Option<String>,
    /// Through which door they came in; `cluster`: those that another node made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Made by the node of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Made at this unix second or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Made before this unix second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// How many at most, 1 to 10,000, which is what is given without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 10_000)]
    pub limit: Option<usize>,
    /// [`Rules::next`] of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Answer to `GET /v1/rules`: a page of the list.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rules {
    /// By address.
    pub rules: Vec<Rule>,
    /// There may be more: `after` of the next request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What applies to the address in `covering`; absent: nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applies: Option<Rule>,
    /// What this node is called in its cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub this_node: String,
}

/// Query of `GET /v1/history`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Remembered {
    /// Only so many, the latest; absent: all that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer to `GET /v1/history`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// Oldest first.
    pub sets: Vec<Set>,
}

/// Body of `POST /v1/undo`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// Which change; absent: the last that is not undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Do what the guard refuses.
    #[serde(default)]
    pub force: bool,
    /// The client's `SSH_CONNECTION`, so that operators do not block themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_connection: Option<String>,
}

/// Answer to `POST /v1/undo`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Undone {
    /// What was taken back.
    pub set: Set,
    /// The number by which this can be undone itself; absent: nothing was left to take back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<u64>,
    /// Changes that were taken back.
    pub restored: u64,
    /// How many were not.
    pub left_count: u64,
    /// The first [`TOLD_MAX`] of those.
    pub left: Vec<Left>,
}

/// A change that an undo left as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Left {
    /// A CIDR.
    pub net: String,
    /// `trust`, `block` or `allow`.
    pub kind: Kind,
    /// Why. Text of unknown origin.
    pub why: String,
}

/// Query of `POST /v1/import`, whose body is the list: see [`lines`](crate::feed::lines).
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Import {
    /// What the list is called in the history, such as the name of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long lines hold that name no time, seconds; absent: for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1)]
    pub ttl_s: Option<u64>,
    /// Why, for lines that name no reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One line that is bad or refused, and nothing is changed.
    #[serde(default)]
    pub strict: bool,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// Do what the guard refuses.
    #[serde(default)]
    pub force: bool,
    /// The client's `SSH_CONNECTION`, so that operators do not block themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_connection: Option<String>,
}

/// Answer to `POST /v1/import`. Each line is counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Lines that are not blank and no comment.
    pub lines: u64,
    /// Rules that were not there before.
    pub made: u64,
    /// Rules that take the place of one of their kind at their prefix.
    pub replaced: u64,
    /// What is in force already, just so.
    pub already: u64,
    /// Lines whose `until=` has passed.
    pub ended: u64,
    /// Lines about what a later line is about as well, which counts.
    pub repeated: u64,
    /// Lines that make sense and are not taken.
    pub refused: u64,
    /// Lines that make no sense.
    pub bad: u64,
    /// Nothing was changed: it was only asked what would be, or the import is strict and a line is bad or refused.
    pub dry_run: bool,
    /// The first [`TOLD_MAX`] lines that are bad or refused.
    pub untaken: Vec<Untaken>,
    /// The number by which all of it can be undone; absent: nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<u64>,
}

/// A line of a list that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Untaken {
    /// Counted from 1.
    pub line: u64,
    /// Why. Text of unknown origin.
    pub error: String,
    /// It makes sense, but is refused.
    pub refused: bool,
}

/// Lines told one by one of what an undo left or an import did not take. More: nobody reads them.
pub const TOLD_MAX: usize = 1_000;

/// Answer to `POST /v1/rules`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Made {
    /// What is decided now.
    pub rule: Rule,
    /// What it took the place of.
    pub replaced: Option<Rule>,
    /// What applies to all of its prefix now, where that is another rule, which outranks it; absent: this one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Rule>,
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

/// Body of `POST /v1/verify`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewVerify {
    /// Has the kernel's maps hold what they should.
    pub repair: bool,
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
