use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::detector::Transition;

/// One line: when, and what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Unix seconds, to the millisecond.
    pub time: f64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What is written down: `kind` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// Somebody called who has no right to.
    IllegalCall(Box<IllegalCall>),
    /// A call of which nothing came.
    ZeroDuration(Box<Call>),
    /// Who guesses passwords is heard no more for a while.
    Suspension(Suspension),
    /// A gateway was refused a call.
    GatewayRefusal(Box<GatewayRefusal>),
    /// A call was longer than its gateway's may be.
    LongCall(Box<LongCall>),
    /// What one source, or many, did within a minute of an attack.
    Summary(Box<Summary>),
    /// An attack begins, recovers or is over.
    Attack(Box<Transition>),
}

/// What kinds there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(usize)]
pub enum Kind {
    /// [`What::IllegalCall`]
    IllegalCall,
    /// [`What::ZeroDuration`]
    ZeroDuration,
    /// [`What::Suspension`]
    Suspension,
    /// [`What::GatewayRefusal`]
    GatewayRefusal,
    /// [`What::LongCall`]
    LongCall,
    /// [`What::Summary`]
    Summary,
    /// [`What::Attack`]
    Attack,
}

impl Kind {
    /// All kinds; the position of each is its counter's.
    pub const ALL: [Self; 7] = [
        Self::IllegalCall,
        Self::ZeroDuration,
        Self::Suspension,
        Self::GatewayRefusal,
        Self::LongCall,
        Self::Summary,
        Self::Attack,
    ];

    /// The word for it in JSON, metrics and routing keys.
    pub const fn label(self) -> &'static str {
        match self {
            Self::IllegalCall => "illegal_call",
            Self::ZeroDuration => "zero_duration",
            Self::Suspension => "suspension",
            Self::GatewayRefusal => "gateway_refusal",
            Self::LongCall => "long_call",
            Self::Summary => "summary",
            Self::Attack => "attack",
        }
    }
}

/// A call that came to nothing. Texts are the caller's words, each cut at [`TEXT_MAX`](super::TEXT_MAX) bytes; a field
/// that nobody has said anything in is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Where the INVITE came from; where its answer went, if nobody saw it come.
    pub source: IpAddr,
    /// UDP port.
    pub source_port: u16,
    /// Is the source allowed or trusted by a rule, or verified?
    pub known: bool,
    /// The URI in From.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The URI in To.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// The Request-URI; only if the INVITE was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_uri: String,
    /// Call-ID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub call_id: String,
    /// User-Agent; only if the INVITE was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// Seconds from the INVITE to its end; only if the INVITE was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The disconnect cause.
    #[serde(flatten)]
    pub cause: Cause,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The status of the final response (RFC 3261 §7.2), 300 to 699.
    pub status: u16,
    /// Its Reason-Phrase.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason_phrase: String,
    /// Its Reason header (RFC 3326), such as `Q.850;cause=16;text="Terminated"`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A call of somebody who has no right to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IllegalCall {
    /// What makes it illegal.
    pub why: Why,
    /// The call.
    #[serde(flatten)]
    pub call: Call,
}

/// What makes a call illegal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A source that is not known got one of `records.illegal_calls`. Anybody can do this in another's name.
    Status,
    /// The softswitch's challenge was answered, and the credentials were refused.
    RefusedCredentials,
    /// The softswitch's challenge was not answered, by a source that is not known. Anybody can do this in another's name.
    UnansweredChallenge,
}

/// An identity that is heard no more for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// Where the refused REGISTERs came from; none, where the user alone is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The account, `user@realm`; empty, where the address alone is suspended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// How many credentials were refused.
    pub refusals: u32,
    /// For how long, seconds; 0: it was lifted.
    pub seconds: u64,
}

/// A call that a gateway was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayRefusal {
    /// The gateway's name.
    pub gateway: String,
    /// Which of its limits was reached, such as `cps` or `max_calls`.
    pub limit: String,
    /// The call.
    #[serde(flatten)]
    pub call: Call,
}

/// A call that lasted longer than its gateway's may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LongCall {
    /// The gateway's name.
    pub gateway: String,
    /// Where its INVITE came from.
    pub source: IpAddr,
    /// Call-ID.
    pub call_id: String,
    /// How long it may last, seconds.
    pub max_seconds: u64,
}

/// What one source did in an attack, or all those for which there was no room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The source; none: all those for which there was no room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// When the first was, unix seconds.
    pub first: f64,
    /// When the last was, unix seconds.
    pub last: f64,
    /// How many, of all kinds.
    pub count: u64,
    /// How many of each kind with each status; `other` beyond [`STATUSES_MAX`](super::STATUSES_MAX) of them.
    pub counts: BTreeMap<Kind, BTreeMap<String, u64>>,
    /// Some of those who were called, each once, cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub called: Vec<String>,
}

impl Record {
    /// This happened at `wall_ns`, unix nanoseconds.
    pub fn at(wall_ns: u64, what: What) -> Self {
        Self { time: seconds(wall_ns), what }
    }

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match self.what {
            What::IllegalCall(_) => Kind::IllegalCall,
            What::ZeroDuration(_) => Kind::ZeroDuration,
            What::Suspension(_) => Kind::Suspension,
            What::GatewayRefusal(_) => Kind::GatewayRefusal,
            What::LongCall(_) => Kind::LongCall,
            What::Summary(_) => Kind::Summary,
            What::Attack(_) => Kind::Attack,
        }
    }

    /// The call that it is about, if it is one of those that an attack makes many of.
    pub(super) fn call(&self) -> Option<&Call> {
        match &self.what {
            What::IllegalCall(illegal) => Some(&illegal.call),
            What::ZeroDuration(call) => Some(call),
            What::GatewayRefusal(refusal) => Some(&refusal.call),
            What::Suspension(_) | What::LongCall(_) | What::Summary(_) | What::Attack(_) => None,
        }
    }
}

/// Seconds of nanoseconds, to the millisecond.
pub(super) fn seconds(ns: u64) -> f64 {
    (ns / 1_000_000) as f64 / 1e3
}
