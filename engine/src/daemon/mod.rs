//! All of it together, from start to stop.

/// Backends follow the configuration.
mod backends;
/// Why it does not start, or does not go on.
mod error;
/// Watched files follow the configuration.
mod files;
/// The threads that answer requests.
mod front;
/// Whom no block may hit.
mod guard;
/// What it shows on the page of metrics.
mod metrics;
/// What runs beside the packets and follows the configuration.
mod services;
/// Whom the engine asks whether the softswitch lives.
mod softswitch;
/// From a configuration to workers ready to run.
mod start;
/// What systemd is told.
mod supervisor;
/// What has ended goes.
mod sweep;
/// The addresses of trunks.
mod trunks;
/// Disk, decisions and kernel are compared.
mod verify;
/// What the API shows.
mod view;

pub use error::StartError;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, Builder, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::asker::Asker;
use crate::cluster::Cluster;
use crate::config::{Config, ConfigError, Mode, RelayTo};
use crate::control::clock::Clock;
use crate::control::socket::{self, Socket};
use crate::control::{Control, Engine, api};
use crate::detector;
use crate::egress::Pings;
use crate::events::Events;
use crate::feed::Tallies;
use crate::health::Health;
use crate::live::Live;
use crate::moves::Moves;
use crate::netlink::{Link, Netlink};
use crate::observer::Observer;
use crate::offenders::{self, Offenders};
use crate::policy::gateways::{Teller, Watch as TrunkWatch};
use crate::policy::{self, Bindings, Online, Registrar};
use crate::pressure::{Pressure, Watch};
use crate::privileges;
use crate::records::Records;
use crate::relay::{Switchboard, Tap};
use crate::samples::{Door, Samples};
use crate::warden::Warden;
use crate::worker::{Stats, Worker};
use crate::xdp;
use crate::xdp::{AttachError, Counters, Filter, Settings};
use error::io;
use front::Front;
use services::{Reach, Services};
use start::{Connected, check_queues, find, own_addresses};
use supervisor::{Supervisor, Watched};
use sweep::sweep;
use verify::verify;
use view::{Shape, View};

/// How often own addresses and threads are looked after.
const ROUND: Duration = Duration::from_secs(1);

/// How long the end waits for work that nobody waits for any more, such as a file on a network that is gone. Shorter: a
/// comparison of a million decisions is cut off. Longer: a service manager kills it.
const GRACE: Duration = Duration::from_secs(3);

/// What to do after a first start, which drops nothing.
const NEXT_STEPS: &str = "mode monitor drops nothing. Next: in an hour `vosctl stats` shows what it would have dropped and \
    `vosctl suggest-allow` whom to allow first; then write mode = \"relay\" (or \"filter\") into the configuration and start \
    the engine again";

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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // those that the start needs already
        .on_thread_start(|| privileges::keep(&privileges::KEPT_BY_CONTROL))
        .build()
        .map_err(io("starting the control plane's runtime"))?;
    let outcome = run_in(&runtime, config, options, Box::new(read));
    runtime.shutdown_timeout(GRACE);
    outcome
}

fn run_in(runtime: &Runtime, config: &Config, options: Options, read: Read) -> Result<(), StartError> {
    let _in_runtime = runtime.enter();
    // Before anything is touched: is another engine there?
    let Socket { listener, file } = socket::bind(&config.control.run_dir, &config.iface, &config.control.socket_group)?;
    // Before the start: an operator who loses patience during it is heard, too.
    let mut term = signal(SignalKind::terminate()).map_err(io("catching SIGTERM"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(io("catching SIGINT"))?;
    let mut hup = signal(SignalKind::hangup()).map_err(io("catching SIGHUP"))?;
    let mut engine = Running::start(config, options, read)?;
    privileges::keep(&privileges::KEPT_BY_CONTROL);
    let front = match Front::start(config.control.confine.then(|| start::store(config))) {
        Ok(front) => front,
        Err(error) => {
            engine.stop();
            return Err(io("starting the API's threads")(error));
        }
    };
    let (control, view) = (Arc::clone(&engine.control), Arc::new(engine.view()));
    let suspensions = Arc::clone(&engine.suspensions);
    engine.services.show(Arc::clone(&view) as Arc<dyn Engine>, front.runtime().clone());
    engine.services.follow(config);
    let live = Arc::clone(&engine.live);
    let (stop_looking, stopped_looking) = mpsc::channel::<()>();
    let (ending, ended) = oneshot::channel();
    let (stop_watching, stopped_watching) = mpsc::channel::<()>();
    let rounds = Arc::<AtomicU64>::default();
    let watched = Watched {
        mode: engine.shape.mode.word(),
        stats: engine.stats.clone(),
        runtimes: [front.runtime().clone(), runtime.handle().clone()],
        rounds: Arc::clone(&rounds),
    };
    let (looked_after, handle) = (&mut engine, runtime.handle());
    let outcome = thread::scope(|scope| {
        scope.spawn(move || {
            privileges::keep(&[]);
            Supervisor::new().watch(&watched, &stopped_watching);
        });
        // On a thread of its own: it may wait for the disk.
        scope.spawn(move || {
            let _in_runtime = handle.enter();
            let _nobody_may_wait_any_more = ending.send(looked_after.look_after_until(&stopped_looking, &rounds));
        });
        runtime.block_on(async {
            let (stopping, stopped) = oneshot::channel::<()>();
            let outside = Handle::current();
            let server = front.runtime().spawn(api::serve(listener, Arc::clone(&control), view, outside, async {
                let _dropped_is_stopped = stopped.await;
            }));
            let verifier = tokio::spawn(verify(Arc::clone(&control), Arc::clone(&live)));
            let sweeper = tokio::spawn(sweep(control, suspensions));
            info!("{}: ready", config.iface);
            if config.mode == Mode::Monitor {
                info!("{}: {NEXT_STEPS}", config.iface);
            }
            Supervisor::ready();
            let reloads = async {
                while hup.recv().await.is_some() {
                    let live = Arc::clone(&live);
                    // It says in the log what came of it.
                    tokio::task::spawn_blocking(move || live.reload());
                }
            };
            let outcome = tokio::select! {
                _ = term.recv() => Ok(()),
                _ = int.recv() => Ok(()),
                () = reloads => Ok(()),
                outcome = ended => outcome.unwrap_or(Err(StartError::WorkerDied)),
            };
            Supervisor::stopping();
            sweeper.abort();
            verifier.abort();
            // whoever starts next must find the name free
            drop((file, stop_looking, stop_watching, stopping));
            match server.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!("the API ended with {error}"),
                Err(error) => warn!("the API ended with {error}"),
            }
            outcome
        })
    });
    runtime.block_on(engine.services.stop());
    drop(front);
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

/// Reads the configuration, at the start and for each reload.
type Read = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// How it stands: attacked or not.
type Detector = parking_lot::Mutex<detector::View>;

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
    pressure: Arc<Pressure>,
    verified: Arc<policy::Count>,
    suspensions: Arc<policy::Suspensions>,
    offences: Arc<policy::BlacklistCount>,
    bindings: Arc<policy::Bindings>,
    online: Arc<policy::Online>,
    warden: Warden,
    events: Arc<Events>,
    shape: Shape,
    stats: Vec<Arc<Stats>>,
    own: BTreeSet<IpAddr>,
    gateways: Vec<IpAddr>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
    observers: Vec<JoinHandle<()>>,
    tap: Option<Tap>,
    board: Option<Arc<Switchboard>>,
    health: Arc<Health>,
    asked: softswitch::Round,
    detector: Arc<Detector>,
    records: Records,
    writer: JoinHandle<()>,
    services: Services,
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
        let stats: Vec<_> = parts.workers.iter().map(|worker| Arc::clone(&worker.stats)).collect();
        let events = Arc::new(Events::default());
        control.tell(Arc::clone(&events));
        let samples = Samples::new(Arc::clone(&events)).telling(parts.observed.clone());
        let doors = parts.workers.iter().map(|worker| samples.door(worker.number)).collect::<Vec<_>>();
        let workers = parts.workers.into_iter().zip(doors);
        let workers = workers.map(|(worker, door)| spawn(worker, door, config, &stop)).collect::<Result<_, _>>()?;
        let pings = Arc::new(Pings::default());
        let (verified, suspensions) = (parts.policy.verified(), parts.policy.registrations.suspensions());
        let warden = Warden {
            events: Arc::clone(&events),
            records: parts.records.clone(),
            control: Arc::clone(&control),
            runtime: Handle::current(),
        };
        let answers = Arc::<detector::Answers>::default();
        let reach =
            offenders::Reach { events: Arc::clone(&events), control: Arc::clone(&control), runtime: Handle::current() };
        let offenders = Offenders::new(config, &parts.secret, reach);
        let offences = offenders.count();
        let (bindings, online) = (Arc::<Bindings>::default(), Arc::new(Online::new(parts.secret.clone())));
        let asker = Asker {
            online: Arc::clone(&online),
            bindings: Arc::clone(&bindings),
            live: Arc::clone(&live),
            workers: stats.clone(),
            events: Arc::clone(&events),
            secret: parts.secret.clone(),
            policy: parts.observed,
        };
        let observer = Observer {
            pings: Arc::clone(&pings),
            policy: parts.policy,
            observations: parts.observations,
            registrar: Registrar::new(parts.secret.clone(), Arc::clone(&bindings)),
            online: Arc::clone(&online),
            moves: Moves::new(Arc::clone(&events)),
            secret: parts.secret,
            shield: parts.shield,
            trunks: TrunkWatch::default(),
            teller: Teller::new(Arc::clone(&events)),
            live: Arc::clone(&live),
            sources: filter.sources()?,
            answers: Arc::clone(&answers),
            warden: warden.clone(),
            offenders,
            records: parts.records.clone(),
        };
        let (observer_stop, replies) = (Arc::clone(&stop), parts.replies);
        let observer = thread("vos-observer", move || observer.follow(replies, &observer_stop))?;
        let (writer, in_force) = (parts.writer, Arc::clone(&live));
        let kept = &privileges::KEPT_BY_RECORDS;
        let writer = privileges::thread("vos-records", kept, move || writer.follow(&in_force));
        let writer = writer.map_err(io("starting a thread"))?;
        let (ring, sampler_stop) = (parts.samples, Arc::clone(&stop));
        let sampler = thread("vos-sampler", move || samples.follow(ring, &sampler_stop))?;
        let neighbours = parts.neighbours.map(|neighbours| {
            let stop = Arc::clone(&stop);
            thread("vos-neighbours", move || neighbours.follow(&stop))
        });
        let mut observers: Vec<_> = [observer, sampler].into_iter().chain(neighbours.transpose()?).collect();
        let (health, news, asker_stop) = (Arc::clone(&parts.health), Arc::clone(&events), Arc::clone(&stop));
        observers.push(thread("vos-health", move || health.run(&news, &asker_stop))?);
        let asker_stop = Arc::clone(&stop);
        let asker = privileges::thread("vos-asker", &privileges::KEPT_BY_ASKER, move || asker.follow(&asker_stop));
        observers.push(asker.map_err(io("starting a thread"))?);
        if config.relay.to == RelayTo::Local && !stats.is_empty() {
            let (pressure, stats) = (Arc::clone(&parts.pressure), stats.clone());
            let watch = Watch { pressure, live: Arc::clone(&live), events: Arc::clone(&events), stats };
            let stop = Arc::clone(&stop);
            observers.push(thread("vos-pressure", move || watch.follow(&stop))?);
        }
        let (counters, detector) = (Arc::new(parts.counters), Arc::<Detector>::default());
        let looker = detector::Watch {
            iface: config.iface.clone(),
            counters: Arc::clone(&counters),
            stats: stats.clone(),
            answers,
            live: Arc::clone(&live),
            events: Arc::clone(&events),
            records: parts.records.clone(),
            view: Arc::clone(&detector),
            file: config.control.state_dir.join(format!("{}.usual.json", config.iface)),
        };
        let looker_stop = Arc::clone(&stop);
        // It runs the operator's hook, which may need what it is given here.
        let looker = Builder::new().name("vos-detector".to_owned()).spawn(move || looker.follow(&looker_stop));
        observers.push(looker.map_err(io("starting a thread"))?);
        let tallies = Arc::<Tallies>::default();
        let cluster = start::member(config).map(|member| {
            let tally = tallies.of(&format!("cluster {}", member.log));
            Cluster::new(member, Arc::clone(&control), tally)
        });
        let reach = Reach {
            control: Arc::clone(&control),
            tallies,
            events: Arc::clone(&events),
            cluster,
            runtime: Handle::current(),
            records: parts.records.clone(),
        };
        let mut running = Self {
            config: config.clone(),
            link,
            netlink,
            filter,
            control,
            live,
            counters,
            pings,
            pressure: parts.pressure,
            verified,
            suspensions,
            offences,
            bindings,
            online,
            warden,
            events,
            shape: parts.shape,
            stats,
            own,
            gateways: Vec::new(),
            stop,
            workers,
            observers,
            tap: parts.tap,
            board: parts.board,
            health: parts.health,
            asked: softswitch::Round::default(),
            detector,
            records: parts.records,
            writer,
            services: Services::new(reach),
        };
        running.ask_softswitch();
        running.guard();
        running.services.follow(config);
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
            pressure: Arc::clone(&self.pressure),
            verified: Arc::clone(&self.verified),
            suspensions: Arc::clone(&self.suspensions),
            offences: Arc::clone(&self.offences),
            bindings: Arc::clone(&self.bindings),
            online: Arc::clone(&self.online),
            warden: self.warden.clone(),
            events: Arc::clone(&self.events),
            control: Arc::clone(&self.control),
            live: Arc::clone(&self.live),
            tallies: Arc::clone(&self.services.reach.tallies),
            cluster: self.services.reach.cluster.clone(),
            board: self.board.clone(),
            health: Arc::clone(&self.health),
            detector: Arc::clone(&self.detector),
            records: self.records.clone(),
            started: Clock::now().wall_ns() as f64 / 1e9,
        }
    }

    /// Looks after everything until nobody holds the other end of `stop` any more.
    fn look_after_until(&mut self, stop: &mpsc::Receiver<()>, rounds: &AtomicU64) -> Result<(), StartError> {
        loop {
            self.look_after()?;
            rounds.fetch_add(1, Relaxed);
            if stop.recv_timeout(ROUND) != Err(mpsc::RecvTimeoutError::Timeout) {
                return Ok(());
            }
        }
    }

    /// Addresses come and go, threads may die.
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
        self.ask_softswitch();
        self.services.follow(&self.live.in_force().config);
        if self.workers.iter().chain(&self.observers).chain([&self.writer]).any(JoinHandle::is_finished) {
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

    /// Configuration and addresses may have changed.
    fn ask_softswitch(&mut self) {
        match self.netlink.addresses_on(self.link.index) {
            Ok(addresses) => {
                self.asked.follow(&self.health, &self.live.in_force().config, &addresses, &self.own);
            }
            Err(error) => warn!("asking for the addresses of {}: {error}", self.link.name),
        }
    }

    fn guard(&mut self) {
        match self.netlink.gateways() {
            Ok(gateways) => self.gateways = gateways,
            Err(error) => warn!("asking for gateways: {error}"),
        }
        self.control.set_guarded(guard::guarded(&self.own, &self.gateways));
    }

    fn stop(self) {
        self.stop.store(true, Relaxed);
        for worker in self.workers.into_iter().chain(self.observers) {
            let _it_has_said_why = worker.join();
        }
        if let Err(error) = self.suspensions.save() {
            warn!("writing down who is suspended: {error}");
        }
        // Nobody tells it anything any more.
        self.records.close();
        let _it_has_said_why = self.writer.join();
    }
}

/// A thread that needs nothing but what is open.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    privileges::thread(name, &[], work).map_err(io("starting a thread"))
}

/// A worker gives up by itself what it does not need, once its socket is as it shall be.
fn spawn(worker: Worker, door: Door, config: &Config, stop: &Arc<AtomicBool>) -> Result<JoinHandle<()>, StartError> {
    let core = config.worker.cores.cores().get(worker.number as usize).copied();
    let (config, stop) = (config.clone(), Arc::clone(stop));
    let name = format!("vos-queue-{}", worker.number);
    let started = Builder::new().name(name).spawn(move || worker.run(&config, core, door, &stop));
    started.map_err(io("starting a thread"))
}

fn lock(settings: &Mutex<Settings>) -> MutexGuard<'_, Settings> {
    settings.lock().unwrap_or_else(PoisonError::into_inner)
}
