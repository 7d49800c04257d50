//! All of it together, from start to stop.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use ipnet::IpNet;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::{Bind, Config, ConfigError, Inject, Mode};
use crate::control::clock::Clock;
use crate::control::decide::Refusal;
use crate::control::decision::Kind;
use crate::control::socket::SocketError;
use crate::control::{Control, Engine, api, socket};
use crate::egress::{Observer, Pings};
use crate::events::{Event, Events, RuleChange, What};
use crate::live::{Live, Reader};
use crate::netlink::{Link, Netlink};
use crate::policy::{self, Policy, Secret, Verified};
use crate::reassembly::Reassembly;
use crate::relay::{FirewallVerdict, Raw, Reentry, Relay, Tap, inspect_firewall};
use crate::samples::{Door, Samples};
use crate::worker::{Stats, Worker};
use crate::xdp::{AttachError, Attachment, Counters, Filter, KernelVerified, LoadError, Settings};
use crate::xsk::{BindError, Queue, chunk_for};
use crate::{sys, xdp};

/// How often own addresses, expired rules and threads are looked after.
const ROUND: Duration = Duration::from_secs(1);

/// The engine does not start, or does not go on. Every message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No such interface.
    #[error("there is no interface {0}: `ip -br link` lists those that there are")]
    NoInterface(String),
    /// Not as many queues as asked for.
    #[error(
        "{iface} has {has} RX queues; --queues {asked} would {effect}: run `ethtool -L {iface} combined {asked}`{or}, or start with --queues {has}",
        effect = if has > asked { format!("miss {} of them", has - asked) } else { "ask for more than there are".to_owned() },
        or = " (where RX and TX queues are apart: `rx` and `tx` in place of `combined`)"
    )]
    Queues {
        /// The interface.
        iface: String,
        /// RX queues it has.
        has: u32,
        /// RX queues that were asked for.
        asked: u32,
    },
    /// Raw injection beside firewall rules.
    #[error(
        "raw injection goes around the firewall, and {0}: use native XDP with re-entry, or set relay.accept_firewall_bypass = true if that is meant"
    )]
    Firewall(String),
    /// Re-entry under generic XDP.
    #[error(
        "re-entry would run generic XDP again on every packet, for ever: use --inject raw or auto with generic XDP"
    )]
    ReentryLoop,
    /// Asking the kernel.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Program or maps.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Attaching.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Sockets.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Decisions.
    #[error(transparent)]
    Decisions(#[from] Refusal),
    /// The API's socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A thread ended that should not.
    #[error("a worker or an observer ended unexpectedly; the filter stays in force, survivors take the kernel's path")]
    WorkerDied,
    /// The interface went away.
    #[error("interface {0} is gone; start again when it is back")]
    InterfaceGone(String),
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> StartError {
    move |source| StartError::Io { what, source }
}

/// What a start may change beside the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Take a foreign XDP program off the interface.
    pub replace: bool,
    /// Take everything off the interface at the end.
    pub unload_on_exit: bool,
}

/// Reads the configuration, starts, serves until SIGTERM or SIGINT, stops. `read` is asked again on SIGHUP and
/// `vosctl reload`.
pub fn run(
    read: impl Fn() -> Result<Config, ConfigError> + Send + 'static,
    options: Options,
) -> Result<(), StartError> {
    let config = &read()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io("starting the API's runtime"))?;
    let _in_runtime = runtime.enter();
    // Before anything is touched: is another engine there?
    let api_socket = socket::bind(&config.control.run_dir, &config.iface, &config.control.socket_group)?;
    // Before the start: an operator who loses patience during it is heard, too.
    let mut term = signal(SignalKind::terminate()).map_err(io("catching SIGTERM"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(io("catching SIGINT"))?;
    let mut hup = signal(SignalKind::hangup()).map_err(io("catching SIGHUP"))?;
    let mut engine = Running::start(config, options, Box::new(read))?;
    let (control, view) = (Arc::clone(&engine.control), Arc::new(engine.view()));
    let outcome = runtime.block_on(async {
        let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(api::serve(api_socket, control, view, async {
            let _dropped_is_stopped = stopped.await;
        }));
        info!("{}: ready", config.iface);
        let mut round = tokio::time::interval(ROUND);
        let outcome = loop {
            tokio::select! {
                _ = term.recv() => break Ok(()),
                _ = int.recv() => break Ok(()),
                _ = hup.recv() => {
                    let live = Arc::clone(&engine.live);
                    // It says in the log what came of it.
                    tokio::task::spawn_blocking(move || live.reload());
                }
                _ = round.tick() => if let Err(error) = engine.look_after() { break Err(error) },
            }
        };
        drop(stopping);
        match server.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("the API ended with {error}"),
            Err(error) => warn!("the API ended with {error}"),
        }
        outcome
    });
    engine.stop();
    if options.unload_on_exit {
        let removed = xdp::unload(&config.iface).map_err(AttachError::from)?;
        info!("{}: unloaded ({})", config.iface, removed.join(", "));
    } else {
        info!(
            "{iface}: stopped; the filter stays in force and survivors take the kernel's path. `vos-engine unload --iface {iface}` takes it away",
            iface = config.iface
        );
    }
    outcome
}

/// How the engine is connected, for the log and for `vosctl stats`.
#[derive(Clone, Debug)]
struct Shape {
    mode: Mode,
    queues: u32,
    native: bool,
    zero_copy: bool,
    inject: Option<Inject>,
}

/// Reads the configuration, at the start and for each reload.
type Read = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

struct Running {
    /// As the engine was started with; what is in force now is `live`'s to say.
    config: Config,
    link: Link,
    netlink: Netlink,
    filter: Filter,
    control: Arc<Control>,
    live: Arc<Live>,
    counters: Arc<Counters>,
    pings: Arc<Pings>,
    verified: Arc<policy::Count>,
    events: Arc<Events>,
    shape: Shape,
    stats: Vec<Arc<Stats>>,
    own: BTreeSet<IpAddr>,
    gateways: Vec<IpAddr>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    observers: Vec<JoinHandle<()>>,
    tap: Option<Tap>,
}

impl Running {
    /// A start that fails leaves the interface as it was.
    fn start(config: &Config, options: Options, read: Read) -> Result<Self, StartError> {
        let mut netlink = Netlink::open().map_err(io("opening rtnetlink"))?;
        let link = find(&mut netlink, &config.iface)?;
        check_queues(config, &link)?;
        let was_pinned = xdp::is_pinned(&config.iface);
        let started = Self::start_on(config, options, netlink, link, read);
        if started.is_err() && !was_pinned {
            let _what_there_was = xdp::unload(&config.iface);
        }
        started
    }

    fn start_on(
        config: &Config,
        options: Options,
        mut netlink: Netlink,
        link: Link,
        read: Read,
    ) -> Result<Self, StartError> {
        let mut filter = Filter::load(&link)?;
        let before = lock(&filter.settings()).snapshot();
        let connected = Connected::new(config, options, &mut netlink, &link, &mut filter, read);
        let Connected { own, control, live, parts } = connected.inspect_err(|_| {
            if let Err(error) = lock(&filter.settings()).restore(&before) {
                warn!("the configuration that was in force could not be put back: {error}");
            }
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let stats = parts.workers.iter().map(|worker| Arc::clone(&worker.stats)).collect();
        let events = Arc::new(Events::default());
        let samples = Samples::new(Arc::clone(&events));
        let doors = parts.workers.iter().map(|worker| samples.door(worker.number)).collect::<Vec<_>>();
        let workers = parts.workers.into_iter().zip(doors);
        let workers = workers.map(|(worker, door)| spawn(worker, door, config, &stop)).collect();
        let pings = Arc::new(Pings::default());
        let verified = parts.policy.verified();
        let observer = Observer {
            pings: Arc::clone(&pings),
            policy: parts.policy,
            observations: parts.observations,
            live: Arc::clone(&live),
        };
        let (observer_stop, replies) = (Arc::clone(&stop), parts.replies);
        let observer = std::thread::spawn(move || observer.follow(replies, &observer_stop));
        let (ring, sampler_stop) = (parts.samples, Arc::clone(&stop));
        let sampler = std::thread::spawn(move || samples.follow(ring, &sampler_stop));
        let mut running = Self {
            config: config.clone(),
            link,
            netlink,
            filter,
            control,
            live,
            counters: Arc::new(parts.counters),
            pings,
            verified,
            events,
            shape: parts.shape,
            stats,
            own,
            gateways: Vec::new(),
            stop,
            workers,
            observers: vec![observer, sampler],
            tap: parts.tap,
        };
        running.guard();
        running.wait_until_live();
        Ok(running)
    }

    /// "Ready" means that packets are taken: each worker's first probe has crossed its relay, or a moment has passed
    /// and the log has said why not.
    fn wait_until_live(&self) {
        let patience = Duration::from_millis(u64::from(self.config.relay.heartbeat_ms) * 5);
        let deadline = std::time::Instant::now() + patience;
        while !self.stats.iter().all(|stats| stats.live()) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let dead = self.stats.iter().filter(|stats| !stats.live()).count();
        if dead > 0 {
            warn!(
                "{dead} of {} queues: no probe crosses the relay; their packets take the kernel's path",
                self.stats.len()
            );
        }
    }

    fn view(&self) -> View {
        View {
            shape: self.shape.clone(),
            counters: Arc::clone(&self.counters),
            stats: self.stats.clone(),
            pings: Arc::clone(&self.pings),
            verified: Arc::clone(&self.verified),
            events: Arc::clone(&self.events),
            control: Arc::clone(&self.control),
            live: Arc::clone(&self.live),
        }
    }

    /// Addresses come and go, rules end, threads may die.
    fn look_after(&mut self) -> Result<(), StartError> {
        match self.netlink.link(&self.config.iface) {
            Ok(link) if link.index == self.link.index && link.mac != self.link.mac => self.follow_mac(link),
            Ok(link) if link.index == self.link.index => {}
            Ok(_) => return Err(StartError::InterfaceGone(self.config.iface.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StartError::InterfaceGone(self.config.iface.clone()));
            }
            Err(error) => warn!("asking for {}: {error}", self.config.iface),
        }
        match own_addresses(&mut self.netlink) {
            Ok(own) if own != self.own => {
                if let Err(error) = self.live.follow_own(own.iter().copied().collect()) {
                    error!("own addresses have changed, but: {error}");
                } else {
                    info!("own addresses have changed: {} now", own.len());
                    self.own = own;
                }
            }
            Ok(_) => {}
            Err(error) => warn!("asking for own addresses: {error}"),
        }
        self.guard();
        match self.control.sweep() {
            Ok(swept) => {
                for (net, kind) in swept.ended {
                    self.events.publish(Event::now(What::Rule(RuleChange::ended(net, kind))));
                }
            }
            Err(error) => warn!("sweeping ended rules: {error}"),
        }
        if self.workers.iter().chain(&self.observers).any(JoinHandle::is_finished) {
            return Err(StartError::WorkerDied);
        }
        Ok(())
    }

    /// A bond that fails over, or an operator, gives the interface another MAC address.
    fn follow_mac(&mut self, link: Link) {
        let followed = lock(&self.filter.settings()).mac(link.mac);
        if let Err(error) = followed {
            error!("{}: the MAC address has changed, but: {error}", link.name);
            return;
        }
        if let Some(tap) = &self.tap
            && let Err(error) = tap.follow(&link, &mut self.netlink)
        {
            error!("{}: the MAC address has changed, but the TAP's cannot be: {error}", link.name);
            return;
        }
        info!("{}: the MAC address has changed", link.name);
        self.link = link;
    }

    /// Whom no block may hit: ourselves, the gateways, the resolvers.
    fn guard(&mut self) {
        let mut guarded: Vec<(IpNet, String)> =
            self.own.iter().map(|ip| (IpNet::from(*ip), "an address of this host".to_owned())).collect();
        match self.netlink.gateways() {
            Ok(gateways) => self.gateways = gateways,
            Err(error) => warn!("asking for gateways: {error}"),
        }
        guarded.extend(self.gateways.iter().copied().map(|ip| (IpNet::from(ip), "the default gateway".to_owned())));
        let resolvers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let resolvers =
            resolvers.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
        guarded.extend(resolvers.map(|ip: IpAddr| (IpNet::from(ip), "a resolver of this host".to_owned())));
        self.control.set_guarded(guarded);
    }

    fn stop(self) {
        self.stop.store(true, Relaxed);
        for worker in self.workers.into_iter().chain(self.observers) {
            let _it_has_said_why = worker.join();
        }
    }
}

fn spawn(worker: Worker, door: Door, config: &Config, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let core = config.worker.cores.cores().get(worker.number as usize).copied();
    let (config, stop) = (config.clone(), Arc::clone(stop));
    std::thread::spawn(move || worker.run(&config, core, door, &stop))
}

fn lock(settings: &Mutex<Settings>) -> MutexGuard<'_, Settings> {
    settings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Filter in force, rules in it, sockets bound.
struct Connected {
    own: BTreeSet<IpAddr>,
    control: Arc<Control>,
    live: Arc<Live>,
    parts: Parts,
}

impl Connected {
    fn new(
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
        // Decisions are in force before the first packet meets the program.
        let state_dir = &config.control.state_dir;
        fs::create_dir_all(state_dir).map_err(io("making control.state_dir"))?;
        let store = state_dir.join(format!("{}.redb", config.iface));
        let control = Arc::new(Control::open(&store, Box::new(filter.rules()?), Clock::now)?);
        let attachment = filter.attach(config.xdp.attach, options.replace, netlink)?;
        let own_list = own.iter().copied().collect();
        let live = Arc::new(Live::new(config, own_list, Box::new(filter.settings()), reader(read, config), Clock::now));
        let parts = Parts::build(config, netlink, link, filter, &attachment, chunk, &live)?;
        say_shape(link, &attachment, &parts);
        if let Some(walked) = filter.verified_instructions() {
            info!("{}: the verifier walked {walked} instructions of 1000000", link.name);
        }
        Ok(Self { own, control, live, parts })
    }
}

/// What is made once the program is attached, and before threads run.
struct Parts {
    counters: Counters,
    replies: aya::maps::RingBuf<aya::maps::MapData>,
    policy: Policy<KernelVerified>,
    observations: Receiver<policy::Ack>,
    samples: aya::maps::RingBuf<aya::maps::MapData>,
    workers: Vec<Worker>,
    tap: Option<Tap>,
    shape: Shape,
    why_copy: Option<String>,
}

impl Parts {
    fn build(
        config: &Config,
        netlink: &mut Netlink,
        link: &Link,
        filter: &mut Filter,
        attachment: &Attachment,
        chunk: u32,
        live: &Arc<Live>,
    ) -> Result<Self, StartError> {
        // Attaching makes some drivers reset their queues.
        let queues = check_queues(config, link)?;
        let egress =
            if config.egress.ifaces.is_empty() { vec![config.iface.clone()] } else { config.egress.ifaces.clone() };
        filter.keep_egress(&egress);
        for iface in &egress {
            filter.attach_egress(iface)?;
        }
        let secret = Secret::default();
        let verified = Verified::open(filter.verified()?, config.rates.verified_for.as_secs())
            .map_err(io("reading map VERIFIED"))?;
        let (sender, observations) = crossbeam_channel::bounded(policy::OBSERVATIONS);
        let mut parts = Self {
            counters: filter.counters()?,
            replies: filter.replies()?,
            policy: Policy::new(verified, secret.clone(), filter.seed()),
            observations,
            samples: filter.samples()?,
            workers: Vec::new(),
            tap: None,
            shape: Shape { mode: config.mode, queues, native: attachment.native, zero_copy: false, inject: None },
            why_copy: None,
        };
        if config.mode != Mode::Relay {
            return Ok(parts);
        }
        if attachment.native && config.relay.inject != Inject::Raw {
            let tap = Tap::new(link, netlink)
                .map_err(io("making the TAP for re-entry (is /dev/net/tun there? modprobe tun)"))?;
            filter.attach_relay(tap.name())?;
            parts.tap = (config.relay.inject == Inject::Reentry || crosses(&tap, link)?).then_some(tap);
        } else if config.relay.inject == Inject::Reentry {
            return Err(StartError::ReentryLoop);
        }
        parts.shape.inject = match &parts.tap {
            Some(_) => Some(Inject::Reentry),
            None => choose_raw(config)?,
        };
        if parts.shape.inject.is_none() {
            parts.shape.mode = Mode::Filter;
            return Ok(parts);
        }
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
            let relay = match &parts.tap {
                Some(tap) => Relay::Reentry(Reentry::new(tap, link, cookie).map_err(io("opening a queue of the TAP"))?),
                None => Relay::Raw(Box::new(Raw::new(link, cookie).map_err(io("opening raw sockets (CAP_NET_RAW?)"))?)),
            };
            sockets
                .set(number, queue.fd(), 0)
                .map_err(|source| LoadError::Map { name: "XSKS", source: Box::new(source) })?;
            let (stats, fragments) = (Arc::default(), Arc::clone(&fragments));
            parts.workers.push(Worker {
                number,
                queue,
                relay,
                heart: filter.heart()?,
                stats,
                fragments,
                live: Arc::clone(live),
                sources: filter.sources()?,
                secret: secret.clone(),
                observations: sender.clone(),
            });
        }
        Ok(parts)
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

/// Reads the configuration for a reload. Raw injection must not go around the firewall by ports that come later.
fn reader(read: Read, started: &Config) -> Reader {
    let (relay, ports) = (started.relay.clone(), started.xdp.sip_ports.clone());
    Box::new(move || {
        let new = read().map_err(|error| error.to_string())?;
        let widened = new.xdp.sip_ports.iter().any(|port| !ports.contains(port));
        let at_risk = widened && relay.inject != Inject::Reentry && !relay.accept_firewall_bypass;
        match at_risk.then(|| obstacle(&new)).flatten() {
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

fn find(netlink: &mut Netlink, iface: &str) -> Result<Link, StartError> {
    netlink.link(iface).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => StartError::NoInterface(iface.to_owned()),
        _ => StartError::Io { what: "asking for the interface", source: error },
    })
}

/// RX queues that the interface has, compared with those asked for.
fn check_queues(config: &Config, link: &Link) -> Result<u32, StartError> {
    // A driver that cannot tell has as many as it was created with.
    let has = sys::rx_channels(&link.name).ok().filter(|has| *has > 0).unwrap_or(link.rx_queues.max(1));
    let asked = if config.queues == 0 { has } else { config.queues };
    if config.mode == Mode::Relay && has != asked {
        return Err(StartError::Queues { iface: link.name.clone(), has, asked });
    }
    Ok(asked)
}

fn own_addresses(netlink: &mut Netlink) -> Result<BTreeSet<IpAddr>, StartError> {
    let addresses = netlink.addresses().map_err(io("asking for own addresses"))?;
    Ok(addresses.into_iter().map(|net| net.addr()).filter(|ip| !ip.is_loopback()).collect())
}

fn say_homes(filter: &Filter, own: &BTreeSet<IpAddr>, config: &Config) -> Result<(), LoadError> {
    let own: Vec<IpAddr> = own.iter().copied().collect();
    lock(&filter.settings()).homes(&own, &config.xdp.protect)
}

/// One line: what was taken, and why.
fn say_shape(link: &Link, attachment: &Attachment, parts: &Parts) {
    let (shape, tap, why_copy) = (&parts.shape, &parts.tap, &parts.why_copy);
    let xdp = match (&attachment.why, attachment.native) {
        (_, true) => "native XDP".to_owned(),
        (Some(why), false) => format!("generic XDP (the driver refuses native: {why})"),
        (None, false) => "generic XDP".to_owned(),
    };
    let replaced = if attachment.replaced { ", program replaced on its link" } else { "" };
    let path = match (shape.inject, tap) {
        (Some(Inject::Reentry), Some(tap)) => format!("relay by re-entry through {}", tap.name()),
        (Some(_), _) => "relay by raw socket".to_owned(),
        (None, _) => "no relay: survivors take the kernel's path".to_owned(),
    };
    let copy = match (shape.inject, why_copy) {
        (None, _) => String::new(),
        (_, Some(why)) => format!("zerocopy={} ({why}), ", u8::from(shape.zero_copy)),
        (_, None) => format!("zerocopy={}, ", u8::from(shape.zero_copy)),
    };
    let word = shape.mode.word();
    info!("{}: mode {word}, {xdp}{replaced}, {} queues, {copy}{path}", link.name, shape.queues);
}

/// What the API shows.
struct View {
    shape: Shape,
    counters: Arc<Counters>,
    stats: Vec<Arc<Stats>>,
    pings: Arc<Pings>,
    verified: Arc<policy::Count>,
    events: Arc<Events>,
    control: Arc<Control>,
    live: Arc<Live>,
}

impl Engine for View {
    fn live(&self) -> &Live {
        &self.live
    }

    fn relaying(&self) -> bool {
        self.shape.inject.is_some()
    }

    fn stats(&self) -> Value {
        let inject = match self.shape.inject {
            Some(Inject::Raw) => "raw",
            Some(_) => "reentry",
            None => "none",
        };
        let bind = match (self.shape.inject, self.shape.zero_copy) {
            (None, _) => "none",
            (_, true) => "zerocopy",
            (_, false) => "copy",
        };
        let mut json = self.counters.to_json();
        json.insert("mode".into(), self.shape.mode.word().into());
        json.insert("queues".into(), self.shape.queues.into());
        json.insert("xdp".into(), if self.shape.native { "native" } else { "generic" }.into());
        json.insert("bind".into(), bind.into());
        json.insert("inject".into(), inject.into());
        json.insert("replies_lost".into(), self.counters.replies_lost().into());
        json.insert("verified".into(), self.verified.to_json());
        let workers: Vec<Value> = (0..).zip(&self.stats).map(|(queue, stats)| stats.to_json(queue)).collect();
        json.insert("workers".into(), workers.into());
        json.into()
    }

    fn suggest_allow(&self) -> Value {
        let rules = [Kind::Trust, Kind::Allow].into_iter().flat_map(|kind| self.control.list(Some(kind)));
        let allowed: Vec<IpNet> = rules.map(|rule| rule.net).collect();
        let candidates: Vec<Value> = self
            .pings
            .list()
            .into_iter()
            .filter(|(ip, _, _)| !allowed.iter().any(|net| net.contains(ip)))
            .map(|(ip, answered, ago)| json!({ "address": ip, "answered": answered, "last_seen_s": ago.as_secs() }))
            .collect();
        json!({ "candidates": candidates })
    }

    fn events(&self) -> &Events {
        &self.events
    }
}
