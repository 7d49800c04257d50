//! `[[file_feed]]`, `[datagram_feed]`, `[amqp]`, `[cluster]`, `[api]` and `[honeypot]`: who else may decide, and who is
//! told.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::relay::{UNIX_PATH_MAX, maybe};
use super::validate::check;
use super::{Config, ConfigError, Mode, RelayTo, span};
use crate::amqp;
use crate::control::ask::{MAX_REASON, MAX_TTL, MAX_WHO};

/// Most watched files.
pub const MAX_FILE_FEEDS: usize = 64;
/// Longest name of a node, a queue or a log, bytes. The broker takes 255 for queues.
pub const NAME_MAX: usize = 64;
/// Most ports and most addresses of decoys.
pub const MAX_DECOYS: usize = 64;
/// Most entries of `api.allow`.
pub const MAX_API_ALLOW: usize = 64;

/// One of `[[file_feed]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFeed {
    /// The file: an absolute path.
    pub path: PathBuf,
    /// How long a line that names no time blocks, from when it is first seen; `None`: as long as it is in the file.
    #[serde(default, with = "maybe_span")]
    pub ttl: Option<Duration>,
    /// Why, for lines without `reason=`.
    #[serde(default)]
    pub reason: String,
    /// Does one bad line keep the whole file from being taken?
    #[serde(default)]
    pub strict: bool,
}

/// `[datagram_feed]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatagramFeed {
    /// Where events are taken; `None`: nowhere.
    #[serde(with = "maybe")]
    pub listen: Option<Listen>,
    /// How long an event without a time blocks.
    #[serde(with = "span")]
    pub ttl: Duration,
}

/// Where datagrams are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At a unix socket, which the engine makes with mode 0660.
    Unix(PathBuf),
    /// At a UDP port.
    Udp(SocketAddr),
}

/// `[amqp]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amqp {
    /// The broker, `amqp://USER@HOST:PORT/VHOST` or `amqps://…`; empty: none.
    pub url: String,
    /// A file whose first line is the password; empty: that of the URL.
    pub password_file: PathBuf,
    /// PEM certificates of those who may sign the broker's; empty: those of the system.
    pub ca_file: PathBuf,
    /// The work queue of blocks and unblocks; empty: none is read.
    pub queue: String,
    /// Where messages go that make no sense or ask for what a feed may not.
    pub dead_letter: String,
    /// How long a message without a time blocks.
    #[serde(with = "span")]
    pub ttl: Duration,
}

/// `[cluster]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// What this node is called; empty: the host's name.
    pub node: String,
    /// The stream that is the log of decisions; empty: there is no cluster.
    pub log: String,
}

/// `[api]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Api {
    /// Where the API and `/metrics` are served over TCP beside the unix socket; `None`: nowhere.
    #[serde(with = "maybe")]
    pub listen: Option<SocketAddr>,
    /// A file whose first line is the bearer token.
    pub token_file: PathBuf,
    /// Who may ask at all.
    pub allow: Vec<IpNet>,
}

/// `[honeypot]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Honeypot {
    /// UDP ports on which nobody has a reason to speak SIP; empty: there is no decoy.
    pub ports: Vec<u16>,
    /// The addresses at which they are decoys; empty: all of this host's.
    pub addresses: Vec<IpAddr>,
    /// Addresses of this host's that nobody uses, each with a port that is a decoy there alone; it may be a SIP port.
    pub listen: Vec<SocketAddr>,
    /// How long is blocked who fell for it.
    #[serde(with = "span")]
    pub ttl: Duration,
}

impl Cluster {
    /// What this node is called.
    pub fn node_name(&self) -> String {
        let host = || nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
        if self.node.is_empty() { host() } else { self.node.clone() }
    }
}

impl Default for Amqp {
    fn default() -> Self {
        Self {
            url: String::new(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            queue: "vos.block".to_owned(),
            dead_letter: "vos.block.dead".to_owned(),
            ttl: Duration::from_secs(3_600),
        }
    }
}

impl Default for DatagramFeed {
    fn default() -> Self {
        Self { listen: None, ttl: Duration::from_secs(3_600) }
    }
}

impl Default for Honeypot {
    fn default() -> Self {
        Self { ports: Vec::new(), addresses: Vec::new(), listen: Vec::new(), ttl: Duration::from_secs(86_400) }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Udp(address) => write!(f, "{address}"),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Udp).map_err(|_| format!("`{text}` is neither unix:/PATH nor ADDRESS:PORT")),
        }
    }
}

/// A time, or none in an empty text.
pub(super) mod maybe_span {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(in crate::config) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => serializer.collect_str(&humantime::format_duration(*span)),
            None => serializer.serialize_str(""),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        let span = humantime::parse_duration(&text);
        span.map(Some).map_err(|error| serde::de::Error::custom(format!("`{text}` is no time: {error}")))
    }
}

impl Config {
    /// The keys of feeds, cluster, API and decoys.
    pub(super) fn validate_feeds(&self) -> Result<(), ConfigError> {
        self.validate_files()?;
        let DatagramFeed { listen, ttl } = &self.datagram_feed;
        if let Some(Listen::Unix(path)) = listen {
            let fits = path.is_absolute() && path.as_os_str().len() <= UNIX_PATH_MAX;
            check("datagram_feed.listen", fits, || {
                format!("{path:?} is relative, or longer than {UNIX_PATH_MAX} bytes")
            })?;
        }
        let has_port = !matches!(listen, Some(Listen::Udp(address)) if address.port() == 0);
        check("datagram_feed.listen", has_port, || "0 is no port".to_owned())?;
        span_within("datagram_feed.ttl", *ttl)?;
        self.amqp.validate()?;
        let Cluster { node, log } = &self.cluster;
        check("cluster.node", node.is_empty() || is_name(node), || format!("{node:?} is no name"))?;
        check("cluster.log", log.is_empty() || is_name(log), || format!("{log:?} is no name"))?;
        check("cluster.log", log.is_empty() || !self.amqp.url.is_empty(), || {
            "a cluster needs a broker: write amqp.url".to_owned()
        })?;
        check("cluster.log", log.is_empty() || ![&self.amqp.queue, &self.amqp.dead_letter].contains(&log), || {
            format!("{log} is a queue of [amqp]: the log is one of its own")
        })?;
        let Api { listen, token_file, allow } = &self.api;
        check("api.listen", listen.is_none_or(|listen| listen.port() != 0), || "0 is no port".to_owned())?;
        check("api.token_file", listen.is_none() || token_file.is_absolute(), || {
            "whoever speaks to the API over TCP shows a token: write the absolute path of a file that holds it"
                .to_owned()
        })?;
        check("api.allow", listen.is_none() || !allow.is_empty(), || "nobody could ask: name addresses".to_owned())?;
        check("api.allow", allow.len() <= MAX_API_ALLOW, || format!("there are {}", allow.len()))?;
        self.validate_honeypot()
    }

    fn validate_files(&self) -> Result<(), ConfigError> {
        let feeds = &self.file_feed;
        check("file_feed", feeds.len() <= MAX_FILE_FEEDS, || format!("there are {}", feeds.len()))?;
        for (at, FileFeed { path, ttl, reason, .. }) in feeds.iter().enumerate() {
            check("file_feed", path.is_absolute(), || {
                format!("{path:?} is relative to wherever the engine is started")
            })?;
            check("file_feed", path.as_os_str().len() <= MAX_WHO, || {
                format!("{path:?} has more than {MAX_WHO} bytes")
            })?;
            let twice = feeds[..at].iter().any(|other| other.path == *path);
            check("file_feed", !twice, || format!("{path:?} is there twice"))?;
            check("file_feed", reason.len() <= MAX_REASON, || {
                format!("the reason of {path:?} has {} bytes", reason.len())
            })?;
            if let Some(ttl) = ttl {
                span_within("file_feed", *ttl)?;
            }
        }
        Ok(())
    }

    fn validate_honeypot(&self) -> Result<(), ConfigError> {
        let Honeypot { ports, addresses, listen, ttl } = &self.honeypot;
        check("honeypot.ports", ports.len() <= MAX_DECOYS, || format!("there are {}", ports.len()))?;
        for (at, port) in ports.iter().enumerate() {
            check("honeypot.ports", *port != 0, || "0 is no port".to_owned())?;
            check("honeypot.ports", !ports[..at].contains(port), || format!("{port} is there twice"))?;
            check("honeypot.ports", !self.xdp.sip_ports.contains(port), || {
                format!("{port} is one of xdp.sip_ports, where people are expected to speak SIP")
            })?;
        }
        check("honeypot.addresses", addresses.len() <= MAX_DECOYS, || format!("there are {}", addresses.len()))?;
        let mut seen = HashSet::new();
        for address in addresses {
            check("honeypot.addresses", is_unicast(address), || {
                format!("{address} is no unicast address in its own family's form")
            })?;
            check("honeypot.addresses", seen.insert(address), || format!("{address} is there twice"))?;
        }
        check("honeypot.listen", listen.len() <= MAX_DECOYS, || format!("there are {}", listen.len()))?;
        let to_softswitch = self.mode != Mode::Relay || self.relay.to == RelayTo::Local;
        let mut seen = HashSet::new();
        for place in listen {
            let (address, port) = (place.ip(), place.port());
            check("honeypot.listen", is_unicast(&address) && !address.is_loopback() && port != 0, || {
                format!("{place} is no unicast address in its own family's form with a port")
            })?;
            check("honeypot.listen", seen.insert(place), || format!("{place} is there twice"))?;
            check("honeypot.listen", !ports.contains(&port), || {
                format!("{port} is one of honeypot.ports, a decoy at every address")
            })?;
            check("honeypot.listen", to_softswitch || !self.xdp.sip_ports.contains(&port), || {
                format!("{port} is a SIP port, and what comes there goes to {}, not to this host", self.relay.to)
            })?;
        }
        span_within("honeypot.ttl", *ttl)
    }
}

impl Amqp {
    fn validate(&self) -> Result<(), ConfigError> {
        let Self { url, queue, dead_letter, ttl, password_file, ca_file } = self;
        let scheme = ["amqp://", "amqps://"].iter().any(|scheme| url.len() > scheme.len() && url.starts_with(scheme));
        check("amqp.url", url.is_empty() || scheme, || "it begins with neither amqp:// nor amqps://".to_owned())?;
        if let (false, Err(why)) = (url.is_empty(), amqp::parse(url)) {
            check("amqp.url", false, || format!("it cannot be read: {why}"))?;
        }
        for (key, name) in [("amqp.queue", queue), ("amqp.dead_letter", dead_letter)] {
            check(key, name.is_empty() || is_name(name), || format!("{name:?} is no name"))?;
        }
        check("amqp.dead_letter", queue.is_empty() || (!dead_letter.is_empty() && dead_letter != queue), || {
            "bad messages need a queue of their own".to_owned()
        })?;
        for (key, path) in [("amqp.password_file", password_file), ("amqp.ca_file", ca_file)] {
            let sound = path.as_os_str().is_empty() || path.is_absolute();
            check(key, sound, || format!("{path:?} is relative to wherever the engine is started"))?;
        }
        span_within("amqp.ttl", *ttl)
    }
}

fn is_unicast(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address.to_canonical() == *address
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn span_within(key: &'static str, span: Duration) -> Result<(), ConfigError> {
    let whole = span.subsec_nanos() == 0 && (1..=MAX_TTL).contains(&span.as_secs());
    check(key, whole, || format!("{} is out of range", humantime::format_duration(span)))
}
