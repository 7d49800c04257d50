use std::sync::atomic::Ordering::Relaxed;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Over, Trunk};
use crate::config::{Auth, Gateway, Size};

/// What a trunk is and does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayView {
    /// What it is called.
    pub name: String,
    /// Where it calls from.
    #[schema(value_type = Vec<String>)]
    pub from: Vec<IpNet>,
    /// How it is known to be itself.
    #[schema(value_type = String)]
    pub auth: Auth,
    /// The UDP port that it calls from, if only that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Its tier, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tier: Option<Size>,
    /// Calls a second that it may make.
    pub cps: u32,
    /// Calls that it may make at once after a silence.
    pub burst: u32,
    /// Calls that it may have at a time.
    pub max_calls: u32,
    /// How long one may last, seconds.
    pub max_duration_s: u64,
    /// Calls that are there, those that ring among them.
    pub calls: u32,
    /// Calls of the last second, those that were refused among them.
    pub rate: u32,
    /// Calls that were let pass, since the start.
    pub passed: u64,
    /// Calls beyond `cps`, since the start: refused, or counted only where the rule is monitored.
    pub over_cps: u64,
    /// Calls beyond `max_calls`, since the start: the same.
    pub over_calls: u64,
    /// Calls that lasted longer than `max_duration_s`, since the start.
    pub long_calls: u64,
    /// How long ago it called last, seconds; none: not since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_s: Option<u64>,
    /// Its addresses that are asked whether they are there (`[online]`), often enough to know.
    #[serde(default)]
    pub asked: u32,
    /// Those of them that answer.
    #[serde(default)]
    pub online: u32,
}

impl GatewayView {
    /// Of a trunk at `now`, ns of `CLOCK_MONOTONIC`.
    pub(super) fn of(trunk: &Trunk, gateway: &Gateway, now: u64) -> Self {
        let Trunk { limits, state, .. } = trunk;
        let seen = Some(state.seen.load(Relaxed)).filter(|seen| *seen > 0);
        Self {
            name: gateway.name.clone(),
            from: gateway.from.clone(),
            auth: gateway.auth,
            port: gateway.port,
            tier: gateway.tier,
            cps: limits.cps,
            burst: limits.burst,
            max_calls: limits.max_calls,
            max_duration_s: limits.max_duration.as_secs(),
            calls: state.calls.load(Relaxed),
            rate: state.rate.load(Relaxed),
            passed: state.passed.load(Relaxed),
            over_cps: state.over[Over::Cps as usize].load(Relaxed),
            over_calls: state.over[Over::Calls as usize].load(Relaxed),
            long_calls: state.long.load(Relaxed),
            seen_s: seen.map(|seen| now.saturating_sub(seen) / 1_000_000_000),
            asked: 0,
            online: 0,
        }
    }
}
