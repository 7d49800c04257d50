use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer to `GET /v1/cluster`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Cluster)]
pub struct Status {
    /// The log.
    pub log: String,
    /// The node that was asked.
    pub node: String,
    /// Is it in touch with the log?
    pub connected: bool,
    /// Has it read all that was there when it came?
    pub caught_up: bool,
    /// The last thing that went wrong, if nothing has gone right since. Text of unknown origin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Have all nodes answered, each under a name of its own, and hold the same set?
    pub agree: bool,
    /// Every node that the log has told of, by name.
    pub nodes: Vec<Node>,
}

/// `DELETE /v1/cluster`: a node that is no longer there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OldNode {
    /// Its name.
    pub node: String,
}

/// Answer to it: all nodes forget that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forgotten {
    /// Its name.
    pub node: String,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClusterNode)]
pub struct Node {
    /// Its name.
    pub node: String,
    /// What it holds; null: it does not answer.
    pub holds: Option<Holds>,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ClusterHolds)]
pub struct Holds {
    /// How far it has read the log: the next offset.
    pub next: u64,
    /// How many messages it is behind whoever has read furthest.
    #[serde(default)]
    pub lag: u64,
    /// Entries that it has yet to write.
    pub pending: u64,
    /// Decisions of others that its guard keeps from being in force there.
    pub held: u64,
    /// Decisions in the set that all nodes share.
    pub count: u64,
    /// That set in one number, 32 hexadecimal digits.
    pub digest: String,
    /// How far its clock is ahead of the asked node's, milliseconds, to within the time that question and answer take.
    pub ahead_ms: i64,
}
