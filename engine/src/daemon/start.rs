//! From a configuration to a filter in force, sockets bound and workers ready to run.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use tracing::{info, warn};

use super::backends::{Followers, resolving};
use super::error::io;
use super::view::Shape;
use super::{Options, Read, StartError, lock};
use crate::config::{self, Bind, Cluster, Config, ControlPlane, Fallback, Inject, Mode, RelayTo, redirect};
use crate::control::Control;
use crate::control::clock::Clock;
use crate::control::decide::Member;
use crate::control::guard::Widest;
use crate::health::Health;
use crate::live::{Live, Reader};
use crate::netlink::{Link, Netlink};
use crate::policy::{self, Policy, Registrations, Secret, Suspensions, Verified};
use crate::pressure::Pressure;
use crate::reassembly::Reassembly;
use crate::records::{Records, Writer};
use crate::relay::{
    self, Backlog, FirewallVerdict, Local, Peer, Raw, Reentry, Relay, ReversePath, Switchboard, Tap, inspect_firewall,
};
use crate::shield::Shield;
use crate::sys;
use crate::transmit::{Beside, Kernel, Learned, Neighbours, Transmitter, neighbours};
use crate::worker::{Stats, Worker};
use crate::xdp::{Attachment, Counters, Filter, KernelVerified, LoadError};
use crate::xsk::{Queue, chunk_for};

/// Filter in force, rules in it, sockets bound.
pub(super) struct Connected {
    pub(super) own: BTreeSet<IpAddr>,
    pub(super) control: Arc<Control>,
    pub(super) live: Arc<Live>,
    pub(super) parts: Parts,
}

impl Connected {
    pub(super) fn new(
        config: &Config,
        options: Options,
        netlink: &mut Netlink,
        link: &Link,
        filter: &mut Filter,
        read: Read,
    ) -> Result<Self, StartError> {
        let (chunk, frame_max) = chunk_for(link.mtu);
        filter.configure(config, frame_max)?;
        let own = own_addresses(netlink)?;
        say_homes(filter, &own, config)?;
        let own_list: Vec<IpAddr> = own.iter().copied().collect();
        let secret = Secret::default();
        let board = Switchboard::open(config, &own_list, secret.clone())?;
        // Decisions are in force before the first packet meets the program.
        fs::create_dir_all(&config.control.state_dir).map_err(io("making control.state_dir"))?;
        let control = Arc::new(Control::open(&store(config), Box::new(filter.rules()?), member(config), Clock::now)?);
        control.set_widest(widest(config));
        let attachment = filter.attach(config.xdp.attach, options.replace, netlink)?;
        let followers = Followers { settings: filter.settings(), board: board.clone(), config: config.clone() };
        let reader = resolving(reader(read, config), board.clone());
        let live = Arc::new(Live::new(config, own_list, Box::new(followers), reader, Clock::now));
        let parts = Parts::build(config, netlink, link, filter, &attachment, chunk, &live, &secret, board)?;
        say_shape(config, link, &attachment, &parts);
        if let Some(walked) = filter.verified_instructions() {
            info!("{}: the verifier walked {walked} instructions of 1000000", link.name);
        }
        Ok(Self { own, control, live, parts })
    }
}

/// Where decisions are on disk.
pub(super) fn store(config: &Config) -> PathBuf {
    config.control.state_dir.join(format!("{}.redb", config.iface))
}

/// Who this node is, if it is one of a cluster.
pub(super) fn member(config: &Config) -> Option<Member> {
    let Cluster { log, .. } = &config.cluster;
    (!log.is_empty()).then(|| Member { node: config.cluster.node_name().into(), log: log.clone() })
}

/// Which prefixes are too wide.
pub(super) fn widest(config: &Config) -> Widest {
    let ControlPlane { widest_v4: v4, widest_v6: v6, widest_feed_v4: feed_v4, .. } = config.control;
    Widest { v4, v6, feed_v4 }
}

/// What is made once the program is attached, and before threads run.
pub(super) struct Parts {
    pub(super) counters: Counters,
    pub(super) replies: aya::maps::RingBuf<aya::maps::MapData>,
    pub(super) policy: Policy<KernelVerified>,
    pub(super) observations: Receiver<policy::Observation>,
    /// The other end.
    pub(super) observed: Sender<policy::Observation>,
    pub(super) secret: Secret,
    pub(super) shield: Arc<Shield>,
    pub(super) pressure: Arc<Pressure>,
    pub(super) samples: aya::maps::RingBuf<aya::maps::MapData>,
    pub(super) workers: Vec<Worker>,
    pub(super) neighbours: Option<Neighbours>,
    pub(super) tap: Option<Tap>,
    pub(super) health: Arc<Health>,
    pub(super) shape: Shape,
    pub(super) why_copy: Option<String>,
    /// The softswitches, where there are some to choose from.
    pub(super) board: Option<Arc<Switchboard>>,
    pub(super) records: Records,
    pub(super) writer: Writer,
}

impl Parts {
    #[expect(clippy::too_many_arguments, reason = "all that a start has made so far")]
    fn build(
        config: &Config,
        netlink: &mut Netlink,
        link: &Link,
        filter: &mut Filter,
        attachment: &Attachment,
        chunk: u32,
        live: &Arc<Live>,
        secret: &Secret,
        board: Option<Arc<Switchboard>>,
    ) -> Result<Self, StartError> {
        // Attaching makes some drivers reset their queues.
        let queues = check_queues(config, link)?;
        let egress =
            if config.egress.ifaces.is_empty() { vec![config.iface.clone()] } else { config.egress.ifaces.clone() };
        filter.keep_egress(&egress);
        for iface in &egress {
            filter.attach_egress(iface)?;
        }
        let verified = Verified::open(filter.verified()?, config.rates.verified_for.as_secs())
            .map_err(io("reading map VERIFIED"))?;
        let (sender, observations) = crossbeam_channel::bounded(policy::OBSERVATIONS);
        let file = config.control.state_dir.join(format!("{}.suspensions.json", config.iface));
        let suspensions = Arc::new(Suspensions::open(secret.clone(), file, Clock::now()));
        let registrations = Registrations::new(config.registration.clone(), secret.clone(), Arc::clone(&suspensions));
        let (records, writer) = Writer::new(Box::new(filter.sources()?), &config.records);
        let mut parts = Self {
            counters: filter.counters()?,
            replies: filter.replies()?,
            policy: Policy::new(verified, registrations, filter.seed()),
            observations,
            observed: sender.clone(),
            secret: secret.clone(),
            shield: Arc::default(),
            pressure: Arc::default(),
            samples: filter.samples()?,
            workers: Vec::new(),
            neighbours: None,
            tap: None,
            health: board.as_ref().map_or_else(Arc::default, |board| board.health()),
            shape: Shape { mode: config.mode, queues, native: attachment.native, zero_copy: false, inject: None },
            why_copy: None,
            board,
            records,
            writer,
        };
        if config.mode != Mode::Relay {
            return Ok(parts);
        }
        parts.shape.inject = parts.local(config, netlink, link, filter, attachment)?;
        let to_peer = config.relay.to != RelayTo::Local;
        if to_peer && let Some(obstacle) = obstacle(config) {
            return Err(StartError::Firewall(obstacle));
        }
        if parts.shape.inject.is_none() && !to_peer {
            parts.shape.mode = Mode::Filter;
            return Ok(parts);
        }
        let beside = match to_peer {
            true => {
                let (known, neighbours) = neighbours(link).map_err(io("opening rtnetlink"))?;
                let kernel = Kernel::open().map_err(io("opening raw sockets for answers (CAP_NET_RAW?)"))?;
                parts.neighbours = Some(neighbours);
                Some(Beside { known, kernel: Arc::new(kernel) })
            }
            false => None,
        };
        let fragments = Arc::new(Reassembly::default());
        let mut sockets = filter.sockets()?;
        let mut xsk = config.xsk.clone();
        if !attachment.native && xsk.bind == Bind::Auto {
            xsk.bind = Bind::Copy;
            parts.why_copy = Some("generic XDP has no zero-copy".to_owned());
        }
        for number in 0..queues {
            let (queue, why) = Queue::bind(&config.iface, number, chunk, &xsk)?;
            parts.shape.zero_copy = queue.zero_copy().map_err(io("asking for zero-copy"))?;
            parts.why_copy = why.or(parts.why_copy);
            let cookie = std::process::id().into();
            let cookie = vos_common::state::mix(cookie, Clock::now().mono_ns() ^ u64::from(number) << 56);
            let local = match (parts.shape.inject, &parts.tap) {
                (None, _) => None,
                (_, Some(tap)) => {
                    Some(Local::Reentry(Reentry::new(tap, link, cookie).map_err(io("opening a queue of the TAP"))?))
                }
                (_, None) => {
                    let raw = Raw::new(link, cookie).map_err(io("opening raw sockets (CAP_NET_RAW?)"))?;
                    Some(Local::Raw(Box::new(raw)))
                }
            };
            let counts = Arc::default();
            let peer =
                Peer::open(config, number, &counts, parts.board.as_ref(), secret).map_err(io("opening the relay"))?;
            let reverse_path = peer.is_some().then(|| ReversePath::new(link, filter.seed())).transpose();
            let reverse_path = reverse_path.map_err(io("opening rtnetlink"))?;
            let relay = Relay { local, peer, reverse_path, counts, told: None };
            sockets
                .set(number, queue.fd(), 0)
                .map_err(|source| LoadError::Map { name: "XSKS", source: Box::new(source) })?;
            let (stats, fragments) = (Arc::new(Stats::of(&relay)), Arc::clone(&fragments));
            // The kernel's socket is never full.
            let backlog = Backlog::new(if to_peer { config.xsk.frames as usize / relay::SHARE } else { 0 });
            parts.workers.push(Worker {
                number,
                queue,
                relay,
                backlog,
                transmitter: Transmitter::new(
                    link.mtu,
                    live.own(),
                    to_peer.then(|| Learned::new(filter.seed())),
                    beside.clone(),
                ),
                heart: filter.heart()?,
                stats,
                fragments,
                shield: Arc::clone(&parts.shield),
                pressure: Arc::clone(&parts.pressure),
                live: Arc::clone(live),
                sources: filter.sources()?,
                secret: secret.clone(),
                suspensions: Arc::clone(&suspensions),
                observations: sender.clone(),
                health: Arc::clone(&parts.health),
                records: parts.records.clone(),
            });
        }
        Ok(parts)
    }
}

impl Parts {
    /// The way to the softswitch on this host, where there is one and it is wanted.
    fn local(
        &mut self,
        config: &Config,
        netlink: &mut Netlink,
        link: &Link,
        filter: &mut Filter,
        attachment: &Attachment,
    ) -> Result<Option<Inject>, StartError> {
        if config.relay.to != RelayTo::Local && config.relay.fallback == Fallback::Drop {
            return Ok(None);
        }
        if attachment.native && config.relay.inject != Inject::Raw {
            let tap = Tap::new(link, netlink)
                .map_err(io("making the TAP for re-entry (is /dev/net/tun there? modprobe tun)"))?;
            filter.attach_relay(tap.name())?;
            self.tap = (config.relay.inject == Inject::Reentry || crosses(&tap, link)?).then_some(tap);
        } else if config.relay.inject == Inject::Reentry {
            return Err(StartError::ReentryLoop);
        }
        match &self.tap {
            Some(_) => Ok(Some(Inject::Reentry)),
            None => choose_raw(config),
        }
    }
}

/// How long `inject = "auto"` waits for a probe to come back by the interface.
const PROBE_PATIENCE: Duration = Duration::from_millis(200);

/// Does a probe re-enter by the interface? Not where that is a port of a bridge, which takes frames away first.
fn crosses(tap: &Tap, link: &Link) -> Result<bool, StartError> {
    let mut relay = Reentry::new(tap, link, Clock::now().mono_ns()).map_err(io("opening a queue of the TAP"))?;
    let deadline = std::time::Instant::now() + PROBE_PATIENCE;
    while !relay.probe() {
        if std::time::Instant::now() > deadline {
            warn!("{}: no probe re-enters by it (a port of a bridge?); looking at raw injection", link.name);
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

/// What speaks against raw injection, unless it is accepted.
fn obstacle(config: &Config) -> Option<String> {
    if config.relay.accept_firewall_bypass {
        return None;
    }
    match inspect_firewall(&config.xdp.sip_ports) {
        FirewallVerdict::Clear => None,
        FirewallVerdict::Rule(rule) => Some(format!("this rule mentions the SIP ports or lo: {rule}")),
        FirewallVerdict::Unknown(why) => Some(format!("its rules cannot be read ({why}; apt install nftables)")),
    }
}

/// May packets go around the firewall? Not where all of them re-enter by the interface; with "auto" that is not said.
fn goes_around(relay: &config::Relay) -> bool {
    !relay.accept_firewall_bypass && (relay.to != RelayTo::Local || relay.inject != Inject::Reentry)
}

/// Reads the configuration for a reload. No relay must go around the firewall by ports that come later.
fn reader(read: Read, started: &Config) -> Reader {
    let (relay, ports) = (started.relay.clone(), started.xdp.sip_ports.clone());
    Box::new(move || {
        let new = read().map_err(|error| error.to_string())?;
        let widened = new.xdp.sip_ports.iter().any(|port| !ports.contains(port));
        match (widened && goes_around(&relay)).then(|| obstacle(&new)).flatten() {
            Some(obstacle) => Err(StartError::Firewall(obstacle).to_string()),
            None => Ok(new),
        }
    })
}

/// Raw injection, where nothing forbids it. `None`: survivors go by the kernel.
fn choose_raw(config: &Config) -> Result<Option<Inject>, StartError> {
    match obstacle(config) {
        None => Ok(Some(Inject::Raw)),
        Some(obstacle) if config.relay.inject == Inject::Raw => Err(StartError::Firewall(obstacle)),
        Some(obstacle) => {
            warn!(
                "no re-entry here, and {obstacle}: not relaying; survivors take the kernel's path (as --mode filter)"
            );
            Ok(None)
        }
    }
}

pub(super) fn find(netlink: &mut Netlink, iface: &str) -> Result<Link, StartError> {
    netlink.link(iface).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StartError::NoInterface(iface.to_owned()),
        _ => StartError::Io { what: "asking for the interface", source: error },
    })
}

/// RX queues that the interface has, compared with those asked for.
pub(super) fn check_queues(config: &Config, link: &Link) -> Result<u32, StartError> {
    // A driver that cannot tell has as many as it was created with.
    let has = sys::rx_channels(&link.name).ok().filter(|has| *has > 0).unwrap_or(link.rx_queues.max(1));
    let asked = if config.queues == 0 { has } else { config.queues };
    if config.mode == Mode::Relay && has != asked {
        return Err(StartError::Queues { iface: link.name.clone(), has, asked });
    }
    Ok(asked)
}

pub(super) fn own_addresses(netlink: &mut Netlink) -> Result<BTreeSet<IpAddr>, StartError> {
    let addresses = netlink.addresses().map_err(io("asking for own addresses"))?;
    Ok(addresses.into_iter().map(|net| net.addr()).filter(|ip| !ip.is_loopback()).collect())
}

fn say_homes(filter: &Filter, own: &BTreeSet<IpAddr>, config: &Config) -> Result<(), LoadError> {
    let own: Vec<IpAddr> = own.iter().copied().collect();
    lock(&filter.settings()).homes(&own, &config.xdp.protect)
}

/// One line: what was taken, and why.
fn say_shape(config: &Config, link: &Link, attachment: &Attachment, parts: &Parts) {
    let (shape, tap, why_copy) = (&parts.shape, &parts.tap, &parts.why_copy);
    let xdp = match (&attachment.why, attachment.native) {
        (_, true) => "native XDP".to_owned(),
        (Some(why), false) => format!("generic XDP (the driver refuses native: {why})"),
        (None, false) => "generic XDP".to_owned(),
    };
    let replaced = if attachment.replaced { ", program replaced on its link" } else { "" };
    let local = match (shape.inject, tap) {
        (Some(Inject::Reentry), Some(tap)) => Some(format!("by re-entry through {}", tap.name())),
        (Some(_), _) => Some("by raw socket".to_owned()),
        (None, _) => None,
    };
    let path = match (parts.workers.is_empty(), &config.relay.to, local) {
        (true, ..) => "no relay: survivors take the kernel's path".to_owned(),
        (_, RelayTo::Local, local) => format!("relay {}", local.unwrap_or_default()),
        (_, to, Some(local)) => format!("relay to {to}; while nobody is there, {local}"),
        (_, to, None) => format!("relay to {to}; while nobody is there, packets are dropped"),
    };
    let copy = match (parts.workers.is_empty(), why_copy) {
        (true, _) => String::new(),
        (_, Some(why)) => format!("zerocopy={} ({why}), ", u8::from(shape.zero_copy)),
        (_, None) => format!("zerocopy={}, ", u8::from(shape.zero_copy)),
    };
    let word = shape.mode.word();
    if config.registration.suspend && !redirect::sees_registers(config, !parts.workers.is_empty()) {
        info!("{}: the engine sees no REGISTERs here: nobody who guesses passwords is suspended", link.name);
    }
    info!("{}: mode {word}, {xdp}{replaced}, {} queues, {copy}{path}", link.name, shape.queues);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_re_enters_stays_behind_the_firewall() {
        let local = config::Relay { inject: Inject::Reentry, ..config::Relay::default() };
        assert!(!goes_around(&local));
        for inject in [Inject::Auto, Inject::Raw] {
            assert!(goes_around(&config::Relay { inject, ..local.clone() }));
        }
        for to in ["unix:/run/sip", "proxy", "proxy:192.0.2.1:5060"] {
            let relay = config::Relay { to: to.parse().expect("a way"), ..local.clone() };
            assert!(goes_around(&relay), "{to}");
            assert!(!goes_around(&config::Relay { accept_firewall_bypass: true, ..relay }));
        }
    }
}
