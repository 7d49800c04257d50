use std::collections::BTreeMap;
use std::fs;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, PerCpuArray};
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use tempfile::TempDir;
use vos_bench::process::output;
use vos_bench::{CallOptions, CallReport, Kind, LoadOptions, LoadReport, NetNs, Program, Responder, Stop, VethPair};
use vos_common::reason::Reason;

/// The server, over IPv4.
pub(crate) const SERVER: &str = "192.0.2.1:5060";
/// The server, over IPv6.
pub(crate) const SERVER6: &str = "[2001:db8::1]:5060";
/// A phone without a rule.
pub(crate) const PHONE: &str = "192.0.2.10";
/// A phone without a rule, over IPv6.
pub(crate) const PHONE6: &str = "2001:db8::10";
/// To be blocked.
pub(crate) const BAD: &str = "198.51.100.7";
/// What blocks it.
pub(crate) const BAD_NET: &str = "198.51.100.0/24";
/// How long something may take that happens in milliseconds on an idle machine. This one is shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done` gives something; panics with `what` if it does not within `limit`.
#[track_caller]
pub(crate) fn within<T>(limit: Duration, what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// As [`within`], for what is true or not, with patience.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    within(PATIENCE, what, || done().then_some(()));
}

/// Two namespaces and a wire. Dropped, all that an engine has pinned goes with it.
pub(crate) struct Site {
    _wire: VethPair,
    pub(crate) client: NetNs,
    pub(crate) server: NetNs,
    pub(crate) iface: String,
    pub(crate) lan: String,
    dir: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (server, client) = (NetNs::new("server").unwrap(), NetNs::new("client").unwrap());
        let number = format!("{:x}{:02x}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let (iface, lan) = (format!("flt{number}"), format!("lan{number}"));
        let wire = VethPair::new(&server, &iface, &client, &lan, 4).unwrap();
        server.ip(&format!("addr add 192.0.2.1/24 dev {iface}")).unwrap();
        server.ip(&format!("addr add 2001:db8::1/64 dev {iface} nodad")).unwrap();
        server.ip(&format!("route add {BAD_NET} dev {iface}")).unwrap();
        client.ip(&format!("addr add {PHONE}/24 dev {lan}")).unwrap();
        client.ip(&format!("addr add {PHONE6}/64 dev {lan} nodad")).unwrap();
        client.ip(&format!("addr add {BAD}/32 dev {lan}")).unwrap();
        let dir = tempfile::Builder::new().prefix("vos-faults-").tempdir().unwrap();
        Self { _wire: wire, client, server, iface, lan, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the engine pins.
    pub(crate) fn pins(&self) -> PathBuf {
        Path::new("/sys/fs/bpf/vos").join(&self.iface)
    }

    /// The engine's command line, `words` last.
    pub(crate) fn engine(&self, words: &str) -> Command {
        let mut command = self.server.command(Self::binary());
        command.args(["--iface", &self.iface, "--state-dir"]).arg(self.path("state"));
        command.args(words.split_whitespace()).arg("--run-dir").arg(self.path("run"));
        command
    }

    /// The engine under test; another build of it, to see a test fail.
    fn binary() -> PathBuf {
        std::env::var_os("VOS_ENGINE").map_or_else(|| env!("CARGO_BIN_EXE_vos-engine").into(), PathBuf::from)
    }

    /// Starts the engine and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self, words: &str) -> Program {
        let mut program = self.begin(words);
        until("the engine is ready", || {
            let ended = program.ended().unwrap();
            assert!(ended.is_none(), "the engine ended: {ended:?}\n{}", program.log());
            program.log().contains(": ready")
        });
        program
    }

    /// Starts the engine.
    pub(crate) fn begin(&self, words: &str) -> Program {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let log = self.path(&format!("engine{}.log", NEXT.fetch_add(1, Relaxed)));
        Program::start("vos-engine", &mut self.engine(words), Some(&log)).unwrap()
    }

    /// Starts an engine that must not start, and need not be tried again until somebody has seen to it (`EX_CONFIG` of
    /// sysexits.h); gives what it said.
    #[track_caller]
    pub(crate) fn refused(&self, words: &str) -> String {
        self.refused_with(78, words)
    }

    /// The same of one that may start another time.
    #[track_caller]
    pub(crate) fn refused_now(&self, words: &str) -> String {
        self.refused_with(1, words)
    }

    #[track_caller]
    fn refused_with(&self, code: i32, words: &str) -> String {
        let mut program = self.begin(words);
        let status = within(PATIENCE, "the engine refuses to start", || {
            assert!(!program.log().contains(": ready"), "the engine did start:\n{}", program.log());
            program.ended().unwrap()
        });
        assert_eq!(status.code(), Some(code), "{}", program.log());
        program.log()
    }

    /// `vos-engine unload`.
    pub(crate) fn unload(&self) -> vos_bench::Result<String> {
        let mut command = self.server.command(Self::binary());
        output(command.args(["unload", "--iface", &self.iface]))
    }

    /// `vosctl` with these words.
    #[track_caller]
    pub(crate) fn tool(&self, words: &str) -> String {
        self.ask(words).unwrap()
    }

    /// The same where it may be refused.
    pub(crate) fn ask(&self, words: &str) -> vos_bench::Result<String> {
        let mut command = self.server.command(env!("CARGO_BIN_EXE_vosctl"));
        command.args(["--iface", &self.iface, "--run-dir"]).arg(self.path("run")).args(words.split_whitespace());
        output(&mut command)
    }

    pub(crate) fn stats(&self) -> Value {
        serde_json::from_str(&self.tool("stats --json")).unwrap()
    }

    /// One figure of all workers, summed.
    pub(crate) fn workers(&self, pointer: &str) -> u64 {
        let stats = self.stats();
        let workers = stats["workers"].as_array().unwrap();
        workers.iter().map(|worker| worker.pointer(pointer).and_then(Value::as_u64).unwrap()).sum()
    }

    /// Workers that say that they live.
    pub(crate) fn live(&self) -> usize {
        let stats = self.stats();
        stats["workers"].as_array().unwrap().iter().filter(|worker| worker["live"] == true).count()
    }

    /// What the program has counted, from its pinned map: the engine need not run.
    #[track_caller]
    pub(crate) fn reason(&self, reason: Reason) -> u64 {
        let data = MapData::from_pin(self.pins().join("REASONS")).unwrap();
        let map = PerCpuArray::<_, u64>::try_from(Map::from_map_data(data).unwrap()).unwrap();
        map.get(&(reason as u32), 0).unwrap().iter().sum()
    }

    /// How an XDP program is attached to the interface: `xdp`, `xdpgeneric`, or not at all.
    pub(crate) fn attached(&self) -> Option<String> {
        let links: Value =
            serde_json::from_str(&self.server.ip(&format!("-j link show dev {}", self.iface)).unwrap()).unwrap();
        let mode = links[0]["xdp"]["mode"].as_u64()?;
        Some(if mode == 2 { "xdpgeneric" } else { "xdp" }.to_owned())
    }

    /// Its name in the error if something of ours is left on the interface.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.attached(), None, "an XDP program is left");
        assert!(!self.pins().exists(), "{} is left", self.pins().display());
        let tc =
            output(Command::new("tc").args(["-n", self.server.name(), "filter", "show", "dev", &self.iface, "egress"]));
        assert_eq!(tc.unwrap_or_default().trim(), "", "a tc filter is left");
        if vos_bench::ready(&["bpftool"]) {
            let net = output(self.server.command("bpftool").args(["net", "show", "dev", &self.iface])).unwrap();
            assert!(!net.contains("vos_"), "a BPF program is left: {net}");
        }
    }

    pub(crate) fn index(&self) -> u32 {
        let line = self.server.ip(&format!("-o link show dev {}", self.iface)).unwrap();
        line.split(':').next().unwrap().parse().unwrap()
    }

    pub(crate) fn responder(&self) -> Responder {
        let listen: Vec<SocketAddr> = [SERVER, SERVER6].iter().map(|address| address.parse().unwrap()).collect();
        self.server.enter(|| Responder::start(&listen)).unwrap().unwrap()
    }

    /// Load in the background.
    pub(crate) fn load(&self, from: &str, change: impl FnOnce(&mut LoadOptions)) -> Load {
        let to = if from.contains(':') { SERVER6 } else { SERVER };
        let mut options = LoadOptions::new(to.parse().unwrap());
        options.kind = Kind::Register;
        options.from = vec![from.parse().unwrap()];
        change(&mut options);
        self.spawn(move |stop| vos_bench::load::run(&options, stop).unwrap())
    }

    /// Calls in the background.
    pub(crate) fn calls(&self, from: &str, calls: u64, rate: u64) -> Background<CallReport> {
        let to = if from.contains(':') { SERVER6 } else { SERVER };
        let mut options = CallOptions::new(to.parse().unwrap());
        (options.calls, options.rate, options.from) = (calls, rate, vec![from.parse().unwrap()]);
        self.spawn(move |stop| vos_bench::call::run(&options, stop).unwrap())
    }

    fn spawn<T: Send + 'static>(&self, work: impl FnOnce(&Stop) -> T + Send + 'static) -> Background<T> {
        let (stop, path) = (Stop::never(), self.client.path());
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            nix::sched::setns(fs::File::open(path).unwrap(), nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            work(&flag)
        });
        Background { stop, thread: Some(thread) }
    }

    /// Does a source get through? One short load tells.
    pub(crate) fn reaches(&self, from: &str, responder: &Responder) -> bool {
        let ip: IpAddr = from.parse().unwrap();
        let before = responder.stats().from(ip);
        let report = self.load(from, |load| (load.rate, load.seconds, load.linger) = (200, 0.3, 0.3)).end();
        assert!(report.sent > 20 && report.send_errors == 0, "{report:?}");
        responder.stats().from(ip) > before
    }

    /// Puts frames onto the wire at the client's end, with the server's MAC address as their destination.
    pub(crate) fn inject(&self, frames: &[Vec<u8>]) {
        let mac = |ns: &NetNs, dev: &str| -> Vec<u8> {
            let links: Value = serde_json::from_str(&ns.ip(&format!("-j link show dev {dev}")).unwrap()).unwrap();
            let text = links[0]["address"].as_str().unwrap();
            text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
        };
        let mac = mac(&self.server, &self.iface);
        let line = self.client.ip(&format!("-o link show dev {}", self.lan)).unwrap();
        let index: i32 = line.split(':').next().unwrap().parse().unwrap();
        let all = i32::from((libc::ETH_P_ALL as u16).to_be());
        let socket = self.client.enter(|| Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(all))));
        let socket = socket.unwrap().unwrap();
        for frame in frames {
            let frame = [&mac[..], &frame[6..]].concat();
            assert_eq!(socket.send_to(&frame, &link_address(index)).unwrap(), frame.len());
        }
    }
}

fn link_address(index: i32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is plain data and no longer than the storage.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index;
    // SAFETY: the storage holds a sockaddr_ll.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test that failed may have left an engine: the guard of its Program has ended it by now.
        if let Err(error) = self.unload() {
            eprintln!("{}: {error}", self.iface);
        }
    }
}

/// Work on a thread of its own; asked to end when dropped.
pub(crate) struct Background<T> {
    stop: Stop,
    thread: Option<JoinHandle<T>>,
}

/// Load that is running.
pub(crate) type Load = Background<LoadReport>;

impl<T> Background<T> {
    /// Has it done all that it should?
    pub(crate) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it has done all that it should.
    pub(crate) fn end(mut self) -> T {
        self.thread.take().unwrap().join().unwrap()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(self) -> T {
        self.stop.set();
        self.end()
    }
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.stop.set();
        if let Some(thread) = self.thread.take() {
            let _it_has_said_why = thread.join();
        }
    }
}

/// Kills a program without a word, and waits until it is gone.
pub(crate) fn kill(program: &mut Program) {
    program.signal(Signal::SIGKILL).unwrap();
    until("the killed program is gone", || program.ended().unwrap().is_some());
}

/// All calls came to their end.
#[track_caller]
pub(crate) fn assert_all_succeeded(report: &CallReport) {
    assert!(report.calls > 0);
    let failed = (report.failed, report.calls - report.succeeded, report.failures.clone());
    assert_eq!(failed, (0, 0, BTreeMap::new()), "{report:?}");
}
