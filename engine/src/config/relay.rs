//! `[relay]`, `[[backend]]`, `[answer]` and `[health]`: where survivors go, and what is answered on the way.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::validate::check;
use super::{Config, ConfigError, Inject, Redirect, span, within};

/// Most backends: the hash of every Call-ID is asked of each.
pub const MAX_BACKENDS: usize = 64;
/// Longest name of a backend, bytes.
pub const BACKEND_NAME_MAX: usize = 32;
/// Most emergency numbers.
pub const MAX_EMERGENCY: usize = 64;
/// Longest path of a unix socket, bytes: the kernel's `sun_path` less its NUL, less what a worker's own name adds.
pub const UNIX_PATH_MAX: usize = 80;

/// `[relay]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Relay {
    /// Which survivors go to the engine.
    pub redirect: Redirect,
    /// Where they go from there.
    pub to: RelayTo,
    /// Where they go while nobody is there.
    pub fallback: Fallback,
    /// For `to = "proxy…"`: address and port that backends see, queue n with a port n higher; `None`: the kernel
    /// chooses.
    #[serde(with = "maybe")]
    pub bind: Option<SocketAddr>,
    /// How they get to the softswitch on this host.
    pub inject: Inject,
    /// Past the kernel's ingress although firewall rules mention the SIP ports or `lo`.
    pub accept_firewall_bypass: bool,
    /// Do calls that are there go before new ones when the softswitch is behind?
    pub priority: bool,
    /// Are retransmissions kept back while the softswitch works on the original?
    pub shield: bool,
    /// Numbers whose calls go before all others, up to [`MAX_EMERGENCY`]; `urn:service:sos` (RFC 5031) always is one.
    pub emergency: Vec<String>,
    /// Time between heartbeats of a worker, ms, 10 to 1,000.
    pub heartbeat_ms: u32,
    /// Age at which a heartbeat counts as missed and packets take the kernel's path, ms, 30 to 10,000 and at least
    /// three heartbeats.
    pub heartbeat_timeout_ms: u32,
}

/// Where survivors go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RelayTo {
    /// To the softswitch on this host, as if the engine were not there.
    #[default]
    Local,
    /// To whoever listens at a unix socket, with a PROXY protocol v2 header in front.
    Unix {
        /// Where.
        path: PathBuf,
        /// `SOCK_SEQPACKET`; else `SOCK_DGRAM`.
        seqpacket: bool,
    },
    /// To the backends over UDP, with a PROXY protocol v1 line in front. `Some`: to this one alone, host and port.
    Proxy(Option<String>),
}

/// Where survivors go while nobody is there to take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// To the softswitch on this host.
    #[default]
    Local,
    /// Nowhere.
    Drop,
}

/// One of `[[backend]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// What it is called, up to [`BACKEND_NAME_MAX`] letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Where it listens: an address and a port.
    pub address: SocketAddr,
    /// Does it get no new calls?
    #[serde(default)]
    pub drain: bool,
}

/// `[answer]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// Are keep-alives taken, which over UDP want no answer?
    pub keep_alives: bool,
    /// Are OPTIONS of allowed and trusted sources answered here?
    pub options: bool,
    /// Every so manieth OPTIONS of a source goes on to the softswitch all the same; 0: none, up to 1,000,000.
    pub options_pass_every: u32,
    /// Do INVITEs of allowed and trusted sources get 503 while the softswitch is dead, as their OPTIONS do?
    pub refuse_calls: bool,
}

/// `[health]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Time between the engine's own OPTIONS, 100 ms to 1 min.
    #[serde(with = "span")]
    pub interval: Duration,
    /// OPTIONS without an answer after which a softswitch counts as dead, 1 to 100.
    pub failures: u32,
    /// Who is asked in the local relay; `None`: the SIP port at the interface's addresses.
    #[serde(with = "maybe")]
    pub target: Option<SocketAddr>,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            redirect: Redirect::All,
            to: RelayTo::Local,
            fallback: Fallback::Local,
            bind: None,
            inject: Inject::Auto,
            accept_firewall_bypass: false,
            priority: true,
            shield: false,
            emergency: vec!["112".to_owned(), "911".to_owned()],
            heartbeat_ms: 100,
            heartbeat_timeout_ms: 500,
        }
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self { keep_alives: true, options: false, options_pass_every: 0, refuse_calls: false }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), failures: 3, target: None }
    }
}

/// The text is none of the forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of local, unix:/PATH, unix-seqpacket:/PATH, proxy:HOST:PORT and proxy")]
pub struct RelayToError(String);

impl FromStr for RelayTo {
    type Err = RelayToError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || RelayToError(text.to_owned());
        match text.split_once(':') {
            None if text == "local" => Ok(Self::Local),
            None if text == "proxy" => Ok(Self::Proxy(None)),
            Some((kind @ ("unix" | "unix-seqpacket"), path)) => {
                Ok(Self::Unix { path: path.into(), seqpacket: kind == "unix-seqpacket" })
            }
            Some(("proxy", host)) => {
                let (name, port) = host.rsplit_once(':').ok_or_else(wrong)?;
                let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
                (is_port && !name.is_empty()).then(|| Self::Proxy(Some(host.to_owned()))).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for RelayTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Unix { path, seqpacket: false } => write!(f, "unix:{}", path.display()),
            Self::Unix { path, seqpacket: true } => write!(f, "unix-seqpacket:{}", path.display()),
            Self::Proxy(None) => f.write_str("proxy"),
            Self::Proxy(Some(host)) => write!(f, "proxy:{host}"),
        }
    }
}

impl Serialize for RelayTo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RelayTo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An address and a port, or "" for none.
pub(super) mod maybe {
    use std::fmt::Display;

    use super::{Deserialize, Deserializer, FromStr, Serializer};

    pub(in crate::config) fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }

    pub(in crate::config) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}")))
    }
}

impl Config {
    /// The keys of relay, backends, answers and health.
    pub(super) fn validate_relay(&self) -> Result<(), ConfigError> {
        let Relay { to, redirect, bind, emergency, heartbeat_ms, heartbeat_timeout_ms, .. } = &self.relay;
        within("relay.heartbeat_ms", *heartbeat_ms, 10, 1_000)?;
        within("relay.heartbeat_timeout_ms", *heartbeat_timeout_ms, 30, 10_000)?;
        check("relay.heartbeat_timeout_ms", *heartbeat_timeout_ms >= 3 * heartbeat_ms, || {
            format!(
                "{heartbeat_timeout_ms} is less than 3 × {heartbeat_ms}: one late beat would look like a dead engine"
            )
        })?;
        check("relay.redirect", *to == RelayTo::Local || *redirect == Redirect::All, || {
            format!("{} leaves packets to the kernel's path, which does not lead to {to}", redirect.word())
        })?;
        if let RelayTo::Unix { path, .. } = to {
            let fits = path.is_absolute() && path.as_os_str().len() <= UNIX_PATH_MAX;
            check("relay.to", fits, || format!("{path:?} is relative, or longer than {UNIX_PATH_MAX} bytes"))?;
        }
        let needs = *to == RelayTo::Proxy(None);
        check("backend", needs != self.backend.is_empty(), || match needs {
            true => "relay.to = \"proxy\" wants at least one".to_owned(),
            false => format!("relay.to = \"{to}\" asks none of them; write relay.to = \"proxy\""),
        })?;
        let bound = bind.is_none_or(|bind| bind.port() > 0 && u32::from(bind.port()) + self.queues <= 65_536);
        check("relay.bind", bound, || "one port a queue is taken, from this one up".to_owned())?;
        check("relay.emergency", emergency.len() <= MAX_EMERGENCY, || format!("there are {}", emergency.len()))?;
        for number in emergency {
            let dialled = |byte: u8| byte.is_ascii_digit() || b"+*#".contains(&byte);
            let usual = (1..=16).contains(&number.len()) && number.bytes().all(dialled);
            check("relay.emergency", usual, || format!("{number:?} is no number"))?;
        }
        self.validate_backends()?;
        within("answer.options_pass_every", self.answer.options_pass_every, 0, 1_000_000)?;
        let interval = self.health.interval;
        let sound = (Duration::from_millis(100)..=Duration::from_secs(60)).contains(&interval);
        check("health.interval", sound, || format!("{} is out of range", humantime::format_duration(interval)))?;
        within("health.failures", self.health.failures, 1, 100)
    }

    fn validate_backends(&self) -> Result<(), ConfigError> {
        let backends = &self.backend;
        check("backend", backends.len() <= MAX_BACKENDS, || format!("there are {}", backends.len()))?;
        for (at, Backend { name, address, .. }) in backends.iter().enumerate() {
            let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            let named = (1..=BACKEND_NAME_MAX).contains(&name.len()) && name.bytes().all(usual);
            check("backend", named, || format!("{name:?} is no name"))?;
            check("backend", address.port() > 0 && !address.ip().is_unspecified(), || format!("{address} is nowhere"))?;
            let twice = backends[..at].iter().any(|other| other.name == *name || other.address == *address);
            check("backend", !twice, || format!("{name} at {address} is there twice"))?;
        }
        Ok(())
    }
}
