//! `vos.toml`: every key with its default and its range, and errors that name the key, the line and the fix.
//!
//! The file may leave out any key. Command-line flags are written over the struct by the caller, then
//! [`Config::validate`] looks at the whole.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::de::DeTable;

/// Most SIP ports, beyond any site seen; the kernel holds a bit a port and would take them all.
pub const MAX_SIP_PORTS: usize = 16;
/// Most addresses in `xdp.protect`. The kernel's table holds 128, this host's own among them.
pub const MAX_PROTECTED: usize = 128;
/// The longest name of an interface, bytes: the kernel's IFNAMSIZ less its NUL.
pub const INTERFACE_NAME_MAX: usize = 15;

/// What is done with packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Drop at the NIC, take the survivors through AF_XDP and the relay.
    #[default]
    Relay,
    /// Drop at the NIC, leave the survivors to the kernel.
    Filter,
    /// Count what would be dropped, drop nothing.
    Monitor,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// Native if the driver grants it, else generic.
    #[default]
    Auto,
    /// In the driver, or an error.
    Native,
    /// In the kernel's receive path, behind the driver.
    Generic,
}

/// How AF_XDP sockets are bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// Zero-copy if the driver grants it, else copy.
    #[default]
    Auto,
    /// Zero-copy, or an error.
    Zerocopy,
    /// Copy.
    Copy,
}

/// What a worker does when its rings are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Sleeps until the kernel wakes it.
    #[default]
    Sleep,
    /// Polls the driver itself and takes a core for it.
    Busy,
}

/// How survivors get to the softswitch in the local relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Inject {
    /// Re-entry where the probe crosses it, else raw where nothing forbids it.
    #[default]
    Auto,
    /// Through a TAP into the interface's own ingress: every check of the kernel and the site stays in force.
    Reentry,
    /// Through a raw socket and `lo`, with checks of the engine's own.
    Raw,
}

/// CPU cores as in `4-7,9`; empty: wherever the scheduler likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreList(Vec<usize>);

/// The highest core number taken: the kernel's own limit on x86-64 (`CONFIG_NR_CPUS`) is 8,192.
const MAX_CORE: usize = 8_191;

impl CoreList {
    /// The cores in the order written, the first for queue 0.
    pub fn cores(&self) -> &[usize] {
        &self.0
    }

    /// Is no core named?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A text that is no list of cores.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` is not a list of cores ({what}): write cores and ranges such as 4-7 or 4,6, each once, 0 to {MAX_CORE}"
)]
pub struct CoreListError {
    text: String,
    what: String,
}

impl FromStr for CoreList {
    type Err = CoreListError;

    fn from_str(text: &str) -> Result<Self, CoreListError> {
        let error = |what: String| CoreListError { text: text.to_owned(), what };
        let number = |word: &str| {
            let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
            let core = word.parse::<usize>().ok().filter(|core| plain && *core <= MAX_CORE);
            core.ok_or_else(|| error(format!("`{word}` is no core")))
        };
        let mut cores = Vec::new();
        for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            if first > last {
                return Err(error(format!("`{part}` runs backwards")));
            }
            for core in first..=last {
                if cores.contains(&core) {
                    return Err(error(format!("core {core} is named twice")));
                }
                cores.push(core);
            }
        }
        Ok(Self(cores))
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut separator) = (self.0.as_slice(), "");
        while let [first, ..] = rest {
            let run = rest.iter().zip(*first..).take_while(|(core, expected)| *core == expected).count();
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", first + run - 1)?,
            }
            (rest, separator) = (&rest[run..], ",");
        }
        Ok(())
    }
}

impl Serialize for CoreList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CoreList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The whole configuration. `configs/vos.toml` says of each key why it has its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The interface, such as `eth0`. No default.
    pub iface: String,
    /// RX queues to serve, 0 for all the interface has, up to 256.
    pub queues: u32,
    /// What is done with packets.
    pub mode: Mode,
    /// The XDP program.
    pub xdp: Xdp,
    /// The AF_XDP sockets.
    pub xsk: Xsk,
    /// The threads, one a queue.
    pub worker: Worker,
    /// How survivors get to the softswitch.
    pub relay: Relay,
    /// Where the softswitch's replies leave.
    pub egress: Egress,
    /// Store, socket and those who may use it.
    pub control: ControlPlane,
}

/// `[xdp]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Xdp {
    /// How the program is attached.
    pub attach: Attach,
    /// UDP, TCP and SCTP ports on which SIP is spoken, 1 to [`MAX_SIP_PORTS`] of them.
    pub sip_ports: Vec<u16>,
    /// Destinations to judge beside this host's own addresses.
    pub protect: Vec<IpAddr>,
    /// Drop OPTIONS of sources that are not allowed.
    pub stealth: bool,
}

/// `[xsk]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Xsk {
    /// How sockets are bound.
    pub bind: Bind,
    /// UMEM frames of a queue, a power of two, 256 to 65,536 and at least two rings.
    pub frames: u32,
    /// Slots of the fill and the RX ring, a power of two, 64 to 32,768.
    pub ring: u32,
    /// Frames taken from the RX ring at once, 1 to 512 and at most a ring.
    pub batch: u32,
}

/// `[worker]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Worker {
    /// Cores to pin workers to, the first for queue 0.
    pub cores: CoreList,
    /// What a worker does when its rings are empty.
    pub wait: Wait,
    /// `SO_BUSY_POLL`, µs, 1 to 1,000; for `wait = "busy"`.
    pub busy_poll_us: u32,
    /// `SO_BUSY_POLL_BUDGET`, packets, 1 to 512; for `wait = "busy"`.
    pub busy_poll_budget: u32,
    /// How long to look at empty rings before sleeping, µs, 0 to 1,000; for `wait = "sleep"`.
    pub spin_us: u32,
}

/// `[relay]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Relay {
    /// How survivors get to the softswitch.
    pub inject: Inject,
    /// Raw injection although firewall rules mention the SIP ports or `lo`.
    pub accept_firewall_bypass: bool,
    /// Time between heartbeats of a worker, ms, 10 to 1,000.
    pub heartbeat_ms: u32,
    /// Age at which a heartbeat counts as missed and packets take the kernel's path, ms, 30 to 10,000 and at least
    /// three heartbeats.
    pub heartbeat_timeout_ms: u32,
}

/// `[egress]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Egress {
    /// Interfaces by which replies leave; empty: the interface itself.
    pub ifaces: Vec<String>,
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlPlane {
    /// Directory of the API's socket, `IFACE.sock`.
    pub run_dir: PathBuf,
    /// Directory of the store, `IFACE.redb`.
    pub state_dir: PathBuf,
    /// Group that may use the socket; empty: the engine's own.
    pub socket_group: String,
}

impl Default for Xdp {
    fn default() -> Self {
        Self { attach: Attach::Auto, sip_ports: vec![5060], protect: Vec::new(), stealth: true }
    }
}

impl Default for Xsk {
    fn default() -> Self {
        Self { bind: Bind::Auto, frames: 4_096, ring: 2_048, batch: 64 }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self { cores: CoreList::default(), wait: Wait::Sleep, busy_poll_us: 20, busy_poll_budget: 64, spin_us: 0 }
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self { inject: Inject::Auto, accept_firewall_bypass: false, heartbeat_ms: 100, heartbeat_timeout_ms: 500 }
    }
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self { run_dir: "/run/vos".into(), state_dir: "/var/lib/vos".into(), socket_group: String::new() }
    }
}

/// What each key takes: one text for errors of type and of range. [`Config`]'s keys are exactly these, by a test.
const TAKES: [(&str, &str); 24] = [
    ("iface", "the name of a network interface, such as \"eth0\""),
    ("queues", "0 (all the interface has) to 256"),
    ("mode", "\"relay\", \"filter\" or \"monitor\""),
    ("xdp.attach", "\"auto\", \"native\" or \"generic\""),
    ("xdp.sip_ports", "1 to 16 different ports from 1 to 65535, such as [5060]"),
    ("xdp.protect", "up to 128 addresses without prefix length, such as [\"203.0.113.7\", \"2001:db8::1\"]"),
    ("xdp.stealth", "true or false"),
    ("xsk.bind", "\"auto\", \"zerocopy\" or \"copy\""),
    ("xsk.frames", "a power of two from 256 to 65536, at least twice xsk.ring"),
    ("xsk.ring", "a power of two from 64 to 32768"),
    ("xsk.batch", "1 to 512, at most xsk.ring"),
    ("worker.cores", "cores and ranges, each once, such as \"4-7\" or \"4,6\", or \"\" for none"),
    ("worker.wait", "\"sleep\" or \"busy\""),
    ("worker.busy_poll_us", "1 to 1000 (microseconds)"),
    ("worker.busy_poll_budget", "1 to 512 (packets)"),
    ("worker.spin_us", "0 to 1000 (microseconds)"),
    ("relay.inject", "\"auto\", \"reentry\" or \"raw\""),
    ("relay.accept_firewall_bypass", "true or false"),
    ("relay.heartbeat_ms", "10 to 1000 (milliseconds)"),
    ("relay.heartbeat_timeout_ms", "30 to 10000 (milliseconds), at least three times relay.heartbeat_ms"),
    ("egress.ifaces", "up to 16 names of network interfaces, such as [\"eth0\", \"eth1\"], or [] for the one of iface"),
    ("control.run_dir", "an absolute path"),
    ("control.state_dir", "an absolute path"),
    ("control.socket_group", "the name of a group, or \"\" for the engine's own"),
];

/// Why a configuration is not taken. Every message names the key and what it takes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}; write one (configs/vos.toml is a start) or leave out --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{path}:{line}: {what}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        what: String,
    },
    /// No such key.
    #[error("{path}:{line}: there is no key `{key}`{hint}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key with its table.
        key: String,
        /// The nearest key that there is.
        hint: String,
    },
    /// A value of the wrong type, or a word that is none of the allowed.
    #[error("{path}:{line}: `{key}` takes {takes}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key with its table.
        key: String,
        /// What it takes.
        takes: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A value out of range, or two that do not fit each other.
    #[error("`{key}` takes {takes}: {what}")]
    Range {
        /// The key with its table.
        key: &'static str,
        /// What it takes.
        takes: &'static str,
        /// What is wrong.
        what: String,
    },
}

impl Config {
    /// Reads a file; `None` gives the defaults. Ranges are [`Config::validate`]'s business, because flags may follow.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file; `path` is for the messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |error: &toml::de::Error| ConfigError::Syntax {
            path: path.into(),
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            what: error.message().to_owned(),
        };
        let tree = DeTable::parse(text).map_err(|error| syntax(&error))?;
        let mut values = Vec::new();
        collect(tree.get_ref(), "", &mut values);
        for (key, span) in &values {
            let is_table = TAKES.iter().any(|(known, _)| known.split_once('.').is_some_and(|(table, _)| table == key));
            if !is_table && takes(key).is_none() {
                let line = line_of(text, span.start);
                return Err(ConfigError::UnknownKey { path: path.into(), line, key: key.clone(), hint: nearest(key) });
            }
        }
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let hit = values.iter().filter(|(_, span)| span.contains(&at));
            match hit.filter_map(|(key, _)| Some((key, takes(key)?))).next() {
                Some((key, takes)) => ConfigError::Value {
                    path: path.into(),
                    line: line_of(text, at),
                    key: key.clone(),
                    takes,
                    what: error.message().to_owned(),
                },
                None => syntax(&error),
            }
        })
    }

    /// Checks ranges and what must fit together; call it after flags have been applied.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check("iface", is_interface_name(&self.iface), || match self.iface.as_str() {
            "" => "none is given; write iface in the file or --iface on the command line".to_owned(),
            name => format!("{name:?} cannot be one: 1 to {INTERFACE_NAME_MAX} bytes without blank and slash"),
        })?;
        within("queues", self.queues, 0, 256)?;
        self.xdp.validate()?;
        self.xsk.validate()?;
        within("worker.busy_poll_us", self.worker.busy_poll_us, 1, 1_000)?;
        within("worker.busy_poll_budget", self.worker.busy_poll_budget, 1, 512)?;
        within("worker.spin_us", self.worker.spin_us, 0, 1_000)?;
        let cores = self.worker.cores.cores().len();
        let enough = cores == 0 || self.queues == 0 || cores >= self.queues as usize;
        check("worker.cores", enough, || {
            format!("{cores} for {} queues would put two workers on one core: name one a queue, or none", self.queues)
        })?;
        let Relay { heartbeat_ms, heartbeat_timeout_ms, .. } = self.relay;
        within("relay.heartbeat_ms", heartbeat_ms, 10, 1_000)?;
        within("relay.heartbeat_timeout_ms", heartbeat_timeout_ms, 30, 10_000)?;
        check("relay.heartbeat_timeout_ms", heartbeat_timeout_ms >= 3 * heartbeat_ms, || {
            format!(
                "{heartbeat_timeout_ms} is less than 3 × {heartbeat_ms}: one late beat would look like a dead engine"
            )
        })?;
        check("egress.ifaces", self.egress.ifaces.len() <= 16, || format!("there are {}", self.egress.ifaces.len()))?;
        for name in &self.egress.ifaces {
            check("egress.ifaces", is_interface_name(name), || format!("{name:?} cannot be one"))?;
        }
        for (key, path) in [("control.run_dir", &self.control.run_dir), ("control.state_dir", &self.control.state_dir)]
        {
            check(key, path.is_absolute(), || format!("{path:?} is relative to wherever the engine is started"))?;
        }
        Ok(())
    }
}

impl Xdp {
    fn validate(&self) -> Result<(), ConfigError> {
        let ports = &self.sip_ports;
        check("xdp.sip_ports", (1..=MAX_SIP_PORTS).contains(&ports.len()), || format!("there are {}", ports.len()))?;
        for (index, port) in ports.iter().enumerate() {
            check("xdp.sip_ports", *port != 0, || "0 is no port".to_owned())?;
            check("xdp.sip_ports", !ports[..index].contains(port), || format!("{port} is there twice"))?;
        }
        check("xdp.protect", self.protect.len() <= MAX_PROTECTED, || format!("there are {}", self.protect.len()))?;
        for address in &self.protect {
            let usual = !address.is_unspecified() && !address.is_multicast() && address.to_canonical() == *address;
            check("xdp.protect", usual, || format!("{address} is no unicast address in its own family's form"))?;
        }
        Ok(())
    }
}

impl Xsk {
    fn validate(&self) -> Result<(), ConfigError> {
        let Self { frames, ring, batch, .. } = *self;
        within("xsk.frames", frames, 256, 65_536)?;
        within("xsk.ring", ring, 64, 32_768)?;
        within("xsk.batch", batch, 1, 512)?;
        check("xsk.frames", frames.is_power_of_two(), || format!("{frames} is not a power of two"))?;
        check("xsk.ring", ring.is_power_of_two(), || format!("{ring} is not a power of two"))?;
        check("xsk.frames", frames >= 2 * ring, || {
            format!("{frames} is less than 2 × {ring}: with the RX ring full, none would be left for the fill ring")
        })?;
        check("xsk.batch", batch <= ring, || format!("{batch} is more than the {ring} slots of a ring"))
    }
}

fn is_interface_name(name: &str) -> bool {
    let usual = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    (1..=INTERFACE_NAME_MAX).contains(&name.len()) && name.chars().all(usual) && name != "." && name != ".."
}

fn check(key: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Range { key, takes: takes(key).unwrap_or_default(), what: what() })
}

fn within(key: &'static str, value: u32, low: u32, high: u32) -> Result<(), ConfigError> {
    check(key, (low..=high).contains(&value), || format!("{value} is out of range"))
}

fn takes(key: &str) -> Option<&'static str> {
    TAKES.iter().find(|(known, _)| *known == key).map(|(_, takes)| *takes)
}

/// Every key with its table, and the place of its value (of an unknown one: of the key).
fn collect(table: &DeTable<'_>, prefix: &str, found: &mut Vec<(String, Range<usize>)>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let place = if takes(&name).is_some() { value.span() } else { key.span() };
        found.push((name.clone(), place));
        if let Some(inner) = value.get_ref().as_table() {
            collect(inner, &format!("{name}."), found);
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The key meant most probably: the same word in another table, or the least misspelt.
fn nearest(key: &str) -> String {
    let last = key.rsplit('.').next().unwrap_or(key);
    let tables = TAKES.iter().filter_map(|(known, _)| known.split_once('.')).map(|(table, _)| table);
    let tables = tables.filter(|_| !key.contains('.'));
    let keys = TAKES.iter().map(|(known, _)| *known);
    // A key of the same table wins over its namesake in another.
    let score = |known: &str| {
        let (table, end) = known.rsplit_once('.').unwrap_or(("", known));
        let elsewhere = key.rsplit_once('.').map_or("", |(table, _)| table) != table;
        strsim::jaro_winkler(end, last) - if elsewhere { 0.05 } else { 0.0 }
    };
    let best = keys.chain(tables).map(|known| (score(known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((score, known)) if score > 0.75 => match known.split_once('.') {
            Some((table, name)) => format!(": did you mean `{name}` in [{table}]?"),
            None if takes(known).is_some() => format!(": did you mean `{known}`, at the top of the file?"),
            None => format!(": did you mean [{known}]?"),
        },
        _ => "; configs/vos.toml lists them all".to_owned(),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
