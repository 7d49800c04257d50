//! `vos.toml`: every key with its default and its range, and errors that name the key, the line and the fix.
//!
//! The file may leave out any key; its profile's value holds then, or that of the default profile. Command-line flags
//! are written over what was read, then [`Config::validate`] looks at the whole.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// From when on it is an attack.
mod attack;
/// Who is blocked for what was offended.
mod blacklist;
/// Everything that is wrong with a file.
mod check;
/// Keys that take one of several words.
mod choice;
/// CPU cores as people write them.
mod cores;
/// Names and addresses of this server.
mod domains;
/// Who asks for what is not there.
mod enumeration;
/// Why a configuration is not taken.
mod error;
/// Who else may decide, and who is told.
mod feeds;
/// Trunks, and how much each may call.
mod gateway;
/// Every key, and what it takes.
mod keys;
/// One file of several that lie over each other.
mod layer;
/// Whether endpoints still answer.
mod online;
/// The page for who would rather look.
mod page;
/// Files of defaults.
mod profile;
/// A limit as people write it.
mod rate;
/// How much a source may send.
mod rates;
/// What is written down.
mod records;
/// Which survivors go to the engine.
pub mod redirect;
/// What becomes of whoever guesses passwords.
mod registration;
/// Where survivors go.
mod relay;
/// What each rule does.
mod rules;
/// What scanners write.
mod scanners;
/// Files that hold secrets.
mod secrets;
/// A time as people write it.
mod span;
/// Which requests get no answer.
mod stealth;
/// Ranges, and values that must fit each other.
mod validate;

use attack::Stricter;
use layer::Layer;
use profile::{DEFAULTS, Defaults};
use validate::{check, is_interface_name, within};

pub use attack::Attack;
pub use blacklist::{Blacklist, Weights};
pub use choice::{Admission, Attach, Bind, Inject, Mode, Wait};
pub use cores::{CoreList, CoreListError};
pub use domains::MAX_DOMAINS;
pub use enumeration::Enumeration;
pub use error::ConfigError;
pub use feeds::{
    Amqp, Api, Cluster, DatagramFeed, FileFeed, Honeypot, Listen, MAX_API_ALLOW, MAX_DECOYS, MAX_FILE_FEEDS, NAME_MAX,
};
pub use gateway::{
    ALL_CALLS_MAX, Auth, CALLS_MAX, CPS_MAX, CallLimits, GATEWAY_NAME_MAX, Gateway, MAX_GATEWAY_NETS, MAX_GATEWAYS,
    Size,
};
pub use online::Online;
pub use page::Page;
pub use profile::Profile;
pub use rate::{BURST_MAX, PERIOD_MAX, RATE_MAX, Rate, RateError};
pub use rates::{Limits, Rates};
pub use records::{KEEP_MAX, MAX_ILLEGAL, MAX_MIB, Records, ZeroDuration};
pub use redirect::Redirect;
pub use registration::{Identity, Registration, SuspendedAnswer};
pub use relay::{
    Answer, BACKEND_NAME_MAX, Backend, Fallback, Health, MAX_BACKENDS, MAX_EMERGENCY, Relay, RelayTo, RelayToError,
    UNIX_PATH_MAX,
};
pub use rules::{RuleMode, Rules};
pub use scanners::Scanners;
pub use stealth::Stealth;

use serde::{Deserialize, Serialize};
use toml::de::DeTable;
use vos_common::reason::Reason;

use crate::control::guard::Widest;

/// The configuration file of whoever names none.
pub const USUAL_FILE: &str = "/etc/vos/vos.toml";
/// Most SIP ports, beyond any site seen; the kernel holds a bit a port and would take them all.
pub const MAX_SIP_PORTS: usize = 16;
/// Most addresses in `xdp.protect`. The kernel's table holds 128, this host's own among them.
pub const MAX_PROTECTED: usize = 128;
/// The longest name of an interface, bytes: the kernel's IFNAMSIZ less its NUL.
pub const INTERFACE_NAME_MAX: usize = 15;

/// The whole configuration. `configs/vos.toml` says of each key why it has its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The interface, such as `eth0`. No default.
    pub iface: String,
    /// RX queues to serve, 0 for all the interface has, up to 256.
    pub queues: u32,
    /// What is done with packets.
    pub mode: Mode,
    /// Where the defaults of stealth, rules, scanners and rates are from.
    pub profile: Profile,
    /// The XDP program.
    pub xdp: Xdp,
    /// What each rule of the verdict does.
    pub rules: Rules,
    /// What scanners write into their requests.
    pub scanners: Scanners,
    /// How much a source may send.
    pub rates: Rates,
    /// The AF_XDP sockets.
    pub xsk: Xsk,
    /// The threads, one a queue.
    pub worker: Worker,
    /// How survivors get to the softswitch.
    pub relay: Relay,
    /// The softswitches, for `relay.to = "proxy"`, up to [`MAX_BACKENDS`].
    pub backend: Vec<Backend>,
    /// Trunks, and how much each may call, up to [`MAX_GATEWAYS`].
    pub gateway: Vec<Gateway>,
    /// What is answered at the NIC.
    pub answer: Answer,
    /// What becomes of whoever guesses passwords.
    pub registration: Registration,
    /// From when on it is an attack, and what is stricter then.
    pub attack: Attack,
    /// Who is slowed for asking for what is not there.
    pub enumeration: Enumeration,
    /// Who is blocked for what was offended.
    pub blacklist: Blacklist,
    /// Whether endpoints still answer.
    pub online: Online,
    /// How the softswitch is found dead.
    pub health: Health,
    /// Where the softswitch's replies leave.
    pub egress: Egress,
    /// Store, socket and those who may use it.
    pub control: ControlPlane,
    /// Watched files of blocks, up to [`MAX_FILE_FEEDS`].
    pub file_feed: Vec<FileFeed>,
    /// Events as datagrams.
    pub datagram_feed: DatagramFeed,
    /// The message broker, and the queue of blocks.
    pub amqp: Amqp,
    /// Nodes that decide together.
    pub cluster: Cluster,
    /// The API over TCP.
    pub api: Api,
    /// The page for who would rather look.
    pub page: Page,
    /// Decoys.
    pub honeypot: Honeypot,
    /// What is written down.
    pub records: Records,
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
    /// Whose packets are taken at all.
    pub mode: Admission,
    /// Which requests of unknown sources get no answer.
    pub stealth: Stealth,
    /// Names and addresses for which unknown sources may ask, lower case, addresses without brackets; up to
    /// [`MAX_DOMAINS`]. Empty: any.
    #[serde(deserialize_with = "domains::read")]
    pub domains: Vec<String>,
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
    /// Group that may use the socket; empty: `vos` where there is one, else the engine's own.
    pub socket_group: String,
    /// The shortest IPv4 prefix that is decided about without insisting, 0 to 32.
    pub widest_v4: u8,
    /// The same for IPv6, 0 to 128, for feeds as well.
    pub widest_v6: u8,
    /// The shortest IPv4 prefix that a feed may block, 0 to 32; feeds cannot insist.
    pub widest_feed_v4: u8,
    /// How often disk, decisions and the kernel's maps are compared; zero: only when somebody asks.
    #[serde(with = "span")]
    pub verify_every: Duration,
    /// Are the API's threads kept from files, new sockets and other programs?
    pub confine: bool,
}

/// Shortest `control.verify_every` but for none at all: a million decisions take some seconds.
const VERIFY_MIN: Duration = Duration::from_secs(1);
/// Longest `control.verify_every`.
const VERIFY_MAX: Duration = Duration::from_secs(86_400);

impl Default for Config {
    fn default() -> Self {
        let Defaults { rules, scanners, rates, .. } = &*DEFAULTS;
        Self {
            iface: String::new(),
            queues: 0,
            mode: Mode::default(),
            profile: Profile::Default,
            xdp: Xdp::default(),
            rules: *rules,
            scanners: scanners.clone(),
            rates: rates.clone(),
            xsk: Xsk::default(),
            worker: Worker::default(),
            relay: Relay::default(),
            backend: Vec::new(),
            gateway: Vec::new(),
            answer: Answer::default(),
            registration: Registration::default(),
            attack: Attack::default(),
            enumeration: Enumeration::default(),
            blacklist: Blacklist::default(),
            online: Online::default(),
            health: Health::default(),
            egress: Egress::default(),
            control: ControlPlane::default(),
            file_feed: Vec::new(),
            datagram_feed: DatagramFeed::default(),
            amqp: Amqp::default(),
            cluster: Cluster::default(),
            api: Api::default(),
            page: Page::default(),
            honeypot: Honeypot::default(),
            records: Records::default(),
        }
    }
}

impl Default for Xdp {
    fn default() -> Self {
        Self {
            attach: Attach::Auto,
            sip_ports: vec![5060],
            protect: Vec::new(),
            mode: Admission::Open,
            stealth: DEFAULTS.xdp.stealth,
            domains: Vec::new(),
        }
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

impl Default for ControlPlane {
    fn default() -> Self {
        let widest = Widest::default();
        Self {
            run_dir: "/run/vos".into(),
            state_dir: "/var/lib/vos".into(),
            socket_group: String::new(),
            widest_v4: widest.v4,
            widest_v6: widest.v6,
            widest_feed_v4: widest.feed_v4,
            verify_every: Duration::from_secs(900),
            confine: true,
        }
    }
}

impl Config {
    /// Reads a file, or takes the defaults; applies flags over it and checks the whole, but not the files that it names.
    pub fn read(path: Option<&Path>, flags: impl FnOnce(&mut Self)) -> Result<Self, ConfigError> {
        Self::read_without(path, &[], flags, Self::validate)
    }

    /// The same for a start or a reload: the files that it names must be sound as well.
    pub fn read_to_run(path: Option<&Path>, flags: impl FnOnce(&mut Self)) -> Result<Self, ConfigError> {
        Self::read_without(path, &[], flags, Self::validate_to_run)
    }

    fn read_without(
        path: Option<&Path>,
        without: &[String],
        flags: impl FnOnce(&mut Self),
        validate: fn(&Self) -> Result<(), ConfigError>,
    ) -> Result<Self, ConfigError> {
        let text = match path {
            None => String::new(),
            Some(path) => {
                std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })?
            }
        };
        let path = path.unwrap_or(Path::new("vos.toml"));
        let mut config = Self::parse_without(&text, path, without)?;
        let written = config.clone();
        flags(&mut config);
        validate(&config).map_err(|error| error.at_its_line(&text, path, &written, &config))?;
        Ok(config)
    }

    /// Reads the text of a file over its profile; `path` is for the messages. Ranges are [`Config::validate`]'s
    /// business, because flags may follow.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_without(text, path, &[])
    }

    fn parse_without(text: &str, path: &Path, without: &[String]) -> Result<Self, ConfigError> {
        let own = Layer::read_without(text, path, without)?;
        let mut base = DeTable::new();
        Layer::read(profile::DEFAULT, Path::new("configs/profiles/default.toml"))?.lie_over(&mut base);
        let profile = own.over(&base)?.profile;
        let (text, path) = profile.text().map_err(|(path, source)| ConfigError::UnreadableProfile { path, source })?;
        let chosen = Layer::read(&text, &path)?;
        chosen.check_profile()?;
        chosen.over(&base)?.validate_profile().map_err(|error| error.placed_in(&chosen))?;
        let mut below = base;
        chosen.lie_over(&mut below);
        let mut config = own.over(&below)?;
        if let Some(profile) = &config.attack.profile {
            let (text, path) =
                profile.text().map_err(|(path, source)| ConfigError::UnreadableProfile { path, source })?;
            let over = Layer::read(&text, &path)?;
            over.check_profile()?;
            own.lie_over(&mut below);
            let hard = over.over(&below)?;
            hard.validate_profile().map_err(|error| error.placed_in(&over))?;
            let Self { xdp: Xdp { stealth, .. }, rules, scanners, rates, .. } = hard;
            config.attack.stricter = Some(Box::new(Stricter { stealth, rules, scanners, rates }));
        }
        Ok(config)
    }

    /// What every rule does, `closed` among them; nothing is enforced in `mode = "monitor"`.
    pub fn rules_in_force(&self) -> Rules {
        let mut rules = self.rules;
        rules.set(Reason::Closed, self.xdp.mode.rule());
        if self.mode == Mode::Monitor { rules.only_watching() } else { rules }
    }

    /// Has a rule do that, `closed` by its own switch.
    pub const fn set_rule(&mut self, rule: Reason, mode: RuleMode) {
        match rule {
            Reason::Closed => self.xdp.mode = Admission::of(mode),
            rule => self.rules.set(rule, mode),
        }
    }

    /// The keys in which `other` differs, each with its table.
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.leaves(), other.leaves());
        ours.into_iter().filter(|(key, value)| theirs.get(key) != Some(value)).map(|(key, _)| key).collect()
    }

    /// Every key with its value.
    fn leaves(&self) -> BTreeMap<String, toml::Value> {
        fn walk(table: toml::Table, prefix: &str, leaves: &mut BTreeMap<String, toml::Value>) {
            for (key, value) in table {
                match value {
                    toml::Value::Table(inner) => walk(inner, &format!("{prefix}{key}."), leaves),
                    value => drop(leaves.insert(format!("{prefix}{key}"), value)),
                }
            }
        }
        let mut leaves = BTreeMap::new();
        // Every key has a form in TOML: the tests see to it.
        walk(toml::Table::try_from(self).unwrap_or_default(), "", &mut leaves);
        leaves
    }

    /// What holds of a running engine whose configuration is `self`, once `new` is read: what only a start can change
    /// stays as it is.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> Self {
        let Self { profile, xdp, rules, scanners, rates, relay, backend, answer, registration, .. } = new.clone();
        let Self { attack, enumeration, blacklist, online, health, control, .. } = new.clone();
        let ControlPlane { widest_v4, widest_v6, widest_feed_v4, verify_every, .. } = control;
        let Self { gateway, file_feed, datagram_feed, amqp, api, page, honeypot, records, .. } = new.clone();
        let Relay { redirect, priority, shield, emergency, .. } = relay;
        Self {
            profile,
            xdp: Xdp { attach: self.xdp.attach, ..xdp },
            rules,
            scanners,
            rates,
            relay: Relay { redirect, priority, shield, emergency, ..self.relay.clone() },
            backend,
            gateway,
            answer,
            registration,
            attack,
            enumeration,
            blacklist,
            online,
            health,
            control: ControlPlane { widest_v4, widest_v6, widest_feed_v4, verify_every, ..self.control.clone() },
            file_feed,
            datagram_feed,
            amqp,
            api,
            page,
            honeypot,
            records,
            ..self.clone()
        }
    }

    /// Checks ranges and what must fit together; call it after flags have been applied.
    pub fn validate(&self) -> Result<(), ConfigError> {
        check("iface", is_interface_name(&self.iface), || match self.iface.as_str() {
            "" => "none is given; write iface in the file or --iface on the command line".to_owned(),
            name => format!("{name:?} cannot be one: 1 to {INTERFACE_NAME_MAX} bytes without blank and slash"),
        })?;
        within("queues", self.queues, 0, 256)?;
        self.xdp.validate()?;
        self.validate_profile()?;
        self.xsk.validate()?;
        within("worker.busy_poll_us", self.worker.busy_poll_us, 1, 1_000)?;
        within("worker.busy_poll_budget", self.worker.busy_poll_budget, 1, 512)?;
        within("worker.spin_us", self.worker.spin_us, 0, 1_000)?;
        let cores = self.worker.cores.cores().len();
        let enough = cores == 0 || self.queues == 0 || cores >= self.queues as usize;
        check("worker.cores", enough, || {
            format!("{cores} for {} queues would put two workers on one core: name one a queue, or none", self.queues)
        })?;
        self.validate_relay()?;
        self.validate_registration()?;
        self.validate_attack()?;
        self.validate_enumeration()?;
        self.validate_blacklist()?;
        self.validate_online()?;
        check("egress.ifaces", self.egress.ifaces.len() <= 16, || format!("there are {}", self.egress.ifaces.len()))?;
        for name in &self.egress.ifaces {
            check("egress.ifaces", is_interface_name(name), || format!("{name:?} cannot be one"))?;
        }
        for (key, path) in [("control.run_dir", &self.control.run_dir), ("control.state_dir", &self.control.state_dir)]
        {
            check(key, path.is_absolute(), || format!("{path:?} is relative to wherever the engine is started"))?;
        }
        within("control.widest_v4", self.control.widest_v4.into(), 0, 32)?;
        within("control.widest_v6", self.control.widest_v6.into(), 0, 128)?;
        within("control.widest_feed_v4", self.control.widest_feed_v4.into(), 0, 32)?;
        let every = self.control.verify_every;
        let sound = every.is_zero() || (VERIFY_MIN..=VERIFY_MAX).contains(&every);
        check("control.verify_every", sound, || format!("{} is out of range", humantime::format_duration(every)))?;
        self.validate_gateways()?;
        self.validate_records()?;
        self.validate_feeds()?;
        self.validate_page()
    }
}

#[cfg(test)]
mod tests;
