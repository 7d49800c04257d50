//! Everything that can happen, as watchers see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::control::decision::{Decision, Kind};
use crate::detector::Transition;
use crate::policy;

/// What happened: `kind` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A packet was dropped. A sample: so many a second for each reason, not all.
    Drop(Box<Dropped>),
    /// A decision was taken, taken back, or has ended.
    Rule(RuleChange),
    /// The softswitch is behind, or has caught up.
    Pressure(Pressure),
    /// A softswitch has died, or come back.
    Softswitch(SoftswitchChange),
    /// The relay's peer has come, or has gone, as a worker finds it.
    Peer(PeerChange),
    /// Somebody has spoken SIP to a decoy.
    Decoy(Decoy),
    /// Somebody is suspended, or is so no more.
    Suspension(Suspended),
    /// A trunk calls more than it may, or no longer does; or one of its calls lasts too long.
    Gateway(GatewayChange),
    /// An attack begins, recovers or is over.
    Attack(Transition),
    /// Somebody asks over and over for what is not there.
    Enumeration(Enumeration),
    /// Somebody has offended too often, and is blocked.
    Offender(Offender),
    /// An address-of-record is registered from elsewhere.
    Registration(RegistrationChange),
    /// An endpoint does not answer any more, or does again.
    Endpoint(EndpointChange),
    /// The watcher was too slow.
    Lost {
        /// Events that it did not get, of all kinds.
        events: u64,
    },
}

/// A dropped packet. Its texts are the sender's words, with whatever a terminal would obey made visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dropped {
    /// The label of the [`Reason`](vos_common::reason::Reason).
    pub reason: String,
    /// RX queue.
    pub queue: u32,
    /// Where it says it comes from.
    pub source: String,
    /// UDP, TCP or SCTP port; none in a later fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Where it went.
    pub destination: String,
    /// UDP, TCP or SCTP port; none in a later fragment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Bytes of the frame.
    pub length: u32,
    /// The first line of the payload, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_line: Option<String>,
    /// User-Agent, if it is SIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The frame from the destination MAC on, cut at [`SAMPLE_MAX`](vos_common::state::SAMPLE_MAX); base64 in JSON, and
    /// only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub frame: Option<Frame>,
}

/// Bytes that are base64 in JSON. Copies share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(pub Arc<[u8]>);

impl Serialize for Frame {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Frame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(|bytes| Self(bytes.into())).map_err(serde::de::Error::custom)
    }
}

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A decision was taken.
    Made,
    /// A decision was taken back.
    TakenBack,
    /// Its time was over.
    Ended,
}

/// A rule that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleChange {
    /// What became of it.
    pub change: Change,
    /// A CIDR.
    pub net: String,
    /// What it says.
    pub rule: Kind,
    /// When it ends, unix seconds; none: for good, or it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Why. Text of unknown origin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Through which door it came in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Who came. Text of unknown origin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub who: String,
}

/// The softswitch is behind, or has caught up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pressure {
    /// Does it begin? Else it ends.
    pub begins: bool,
    /// The socket that is full, where it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// How long it lasted, seconds, where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// INVITEs and REGISTERs that were given up meanwhile, where it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<u64>,
}

/// How a softswitch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SoftswitchState {
    /// It answers, or has never answered.
    Alive,
    /// It does not answer any more, or nobody listens there.
    Dead,
}

/// A softswitch that has died or come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SoftswitchChange {
    /// What it is called.
    pub name: String,
    /// How it is now.
    pub state: SoftswitchState,
}

/// A request to a decoy: so many of each source, not all. Its texts are the sender's words, with whatever a terminal would
/// obey made visible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decoy {
    /// Where it says it comes from.
    pub source: String,
    /// UDP port.
    pub source_port: u16,
    /// Where it went.
    pub destination: String,
    /// UDP port: one of `honeypot.ports` or `honeypot.listen`.
    pub destination_port: u16,
    /// The method.
    pub method: String,
    /// The first line.
    pub start_line: String,
    /// User-Agent, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Has the source answered the challenge? Then it is blocked, unless the guard refuses.
    pub caught: bool,
}

/// What became of a suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuspensionChange {
    /// It begins.
    Begun,
    /// Its time is over.
    Ended,
    /// An operator has lifted it.
    Lifted,
}

/// Somebody is suspended, or is so no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Suspended {
    /// What became of it.
    pub change: SuspensionChange,
    /// Who, and for how long.
    #[serde(flatten)]
    pub suspension: policy::Shown,
}

/// Somebody who asks over and over for what is not there, as svwar does. Names are the sender's words, with whatever a
/// terminal would obey made visible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Enumeration {
    /// Where it says it comes from.
    pub source: String,
    /// Answers that something is not there.
    pub answers: u32,
    /// In this time, seconds.
    pub seconds: f64,
    /// The last users that it has asked for and that are not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<String>,
    /// The first users that it was answered otherwise for: as far as it can tell, they are there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<String>,
    /// Is it slowed? Not where the rule is not enforced, or requests do not go through the engine.
    pub slowed: bool,
}

/// Somebody who has offended too often, and is blocked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Offender {
    /// Where: an address, or an IPv6 /64.
    pub source: String,
    /// Its points by kind, as `[blacklist.weights]` calls them.
    pub points: BTreeMap<String, u64>,
    /// The limit that they have reached.
    pub limit: u64,
    /// For how long it is blocked.
    pub seconds: u64,
}

/// What has become of a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatewayState {
    /// Calls beyond a limit come: they are refused, unless the rule is only monitored.
    Beyond,
    /// None has come for a while.
    Calm,
    /// A call has lasted longer than it may; it goes on, and is no longer counted.
    LongCall,
}

/// A trunk that calls more than it may, or no longer does, or one of its calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayChange {
    /// What it is called in the configuration.
    pub gateway: String,
    /// What has become of it.
    pub change: GatewayState,
    /// The rule of the limit, where calls are beyond one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Calls that were beyond a limit, where that is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// How long that lasted, or how long a call may last, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Where a call that lasts too long came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its Call-ID, cut: the caller's words, with whatever a terminal would obey made visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
}

impl GatewayChange {
    /// This, and nothing else.
    pub(crate) const fn of(gateway: String, change: GatewayState) -> Self {
        Self { gateway, change, limit: None, calls: None, seconds: None, source: None, call_id: None }
    }
}

/// What has become of an address-of-record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationMove {
    /// It is registered at another address, and no longer where it was.
    Moved,
    /// It is registered at another address as well.
    Added,
    /// One of these, and `registration.moves_max` of them within an hour.
    Contended,
}

/// An address-of-record that is registered from another address while it still was from one: a phone that has moved, or
/// somebody who has its password. Up to 20 such events a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrationChange {
    /// What has become of it.
    pub change: RegistrationMove,
    /// Which: `user@domain`. Text of unknown origin.
    pub aor: String,
    /// The address that it was registered from.
    pub from: String,
    /// The address that it is registered from.
    pub to: String,
    /// How often its address has changed within an hour, this time included.
    pub moves: u32,
}

/// An endpoint that does not answer any more, or does again. Up to 20 such events a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointChange {
    /// Where it is.
    pub address: String,
    /// UDP port.
    pub port: u16,
    /// How it is.
    pub state: policy::EndpointState,
    /// How many endpoints at its address (IPv6: its /64) have never answered.
    pub silent_here: u32,
}

/// The relay's peer has come, or has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerChange {
    /// RX queue of the worker.
    pub queue: u32,
    /// `relay.to`.
    pub to: String,
    /// Why nobody is there; none: somebody is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_absent: Option<String>,
}

impl RuleChange {
    /// What became of `decision`.
    pub fn of(change: Change, decision: &Decision) -> Self {
        Self {
            change,
            net: decision.net.to_string(),
            rule: decision.kind,
            until: decision.until,
            reason: decision.reason.to_string(),
            origin: decision.origin.to_string(),
            who: decision.who.to_string(),
        }
    }
}
