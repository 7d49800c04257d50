//! What API and client say to each other about what is in force, as JSON.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::{Admission, Fallback, Mode, Profile, Rates, Redirect, RuleMode, Stealth};
use crate::events::SoftswitchState;
use crate::policy::gateways::GatewayView;

/// Answer to `POST /v1/reload`. Keys are named with their tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// Keys that have another value now, run-time switches that ended among them.
    pub changed: Vec<String>,
    /// Keys whose new value holds from the next start on.
    pub restart: Vec<String>,
}

/// Body of `PUT /v1/rule-modes`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// The rule's label, or `all`.
    pub rule: String,
    /// What it is to do.
    pub mode: RuleMode,
}

/// Answer to `PUT /v1/rule-modes`: in force until the next reload or restart.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Switched {
    /// What was asked for.
    pub asked: RuleMode,
    /// What the rules do now; in `mode = "monitor"` none enforces.
    pub rules: BTreeMap<String, RuleMode>,
}

/// Answer to `GET /v1/gateways`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gateways {
    /// In the order of the configuration.
    pub gateways: Vec<GatewayView>,
    /// Calls that were forgotten before they ended, for want of room, since the start.
    pub evicted: u64,
}

/// Answer to `GET` and `PUT /v1/backends`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backends {
    /// In the order of the configuration.
    pub backends: Vec<Backend>,
}

/// A softswitch behind `relay.to = "proxy…"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// What it is called.
    pub name: String,
    /// Where it listens.
    #[schema(value_type = String)]
    pub address: SocketAddr,
    /// How it is.
    pub state: SoftswitchState,
    /// Does it get no new calls?
    pub drain: bool,
    /// Datagrams that went there.
    pub sent: u64,
    /// Datagrams that came from there.
    pub received: u64,
}

/// Body of `PUT /v1/backends`: in force until the next reload or restart.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Which one.
    pub name: String,
    /// Shall it get no new calls?
    pub drain: bool,
}

/// Body of `PUT /v1/attack`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAttack {
    /// Seconds; absent: 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400)]
    pub ttl_s: Option<u64>,
}

/// Answer to `PUT` and `DELETE /v1/attack`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Attack {
    /// Seconds left; null: attack mode is off.
    pub left_s: Option<u64>,
}

/// Answer to `GET /v1/status`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// What is done with packets.
    pub mode: Mode,
    /// Where the defaults are from.
    #[schema(value_type = String)]
    pub profile: Profile,
    /// Whose packets are taken at all.
    pub admission: Admission,
    /// Which requests of unknown sources get no answer.
    #[schema(value_type = String)]
    pub stealth: Stealth,
    /// For which names and addresses unknown sources may ask; empty: any.
    pub domains: Vec<String>,
    /// What each rule does.
    pub rules: BTreeMap<String, RuleMode>,
    /// Keys that were changed at run time, until the next reload or restart.
    pub switched: Vec<String>,
    /// Keys that are stricter while there is an attack, and for a while afterwards.
    #[serde(default)]
    pub hardened: Vec<String>,
    /// Which survivors go to the engine.
    #[schema(value_type = String)]
    pub redirect: Redirect,
    /// The same in words; empty: none.
    pub redirected: Vec<String>,
    /// Where they go from there: `relay.to`.
    pub relay: String,
    /// Where they go while nobody is there.
    #[schema(value_type = String)]
    pub fallback: Fallback,
    /// How many workers find somebody there, and how many there are; null: the softswitch on this host is meant.
    pub peers: Option<(usize, usize)>,
    /// How the softswitch is, by the engine's own OPTIONS; null: it is not asked.
    pub softswitch: Option<SoftswitchState>,
    /// Seconds that attack mode lasts; null: it is off.
    pub attack_left_s: Option<u64>,
    /// How many signatures are looked for.
    pub signatures: usize,
    /// The limits.
    #[schema(value_type = Object)]
    pub rates: Rates,
}
