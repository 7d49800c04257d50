//! Two hosts, a wire of four queues, the engine, and a SIP server that knows nothing of it.

/// What passes on the wire.
mod dump;
/// The SIP server.
pub(crate) mod server;
/// What the engine has counted.
mod stats;
/// What callers put on the wire.
mod wire;

pub(crate) use dump::dumped;
pub(crate) use server::Script;
pub(crate) use stats::Stats;
pub(crate) use wire::{request, request_of};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sip_parse::{Index, Mode, StartLine};
use tempfile::TempDir;
use vos_bench::process::output;
use vos_bench::{NetNs, Program, VethPair, patient};

use server::{ANSWERS, Kamailio};

/// The server's addresses, the same as the verdict table's.
pub(crate) const SERVER4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The same over IPv6.
pub(crate) const SERVER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// The caller's host: what it takes by itself.
pub(crate) const CALLER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// Another one beside it.
pub(crate) const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
/// The same over IPv6.
pub(crate) const CALLER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
/// Another one beside it.
pub(crate) const OTHER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11);
/// In 198.51.100.0/24.
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// In `2001:db8:bad::/48`.
pub(crate) const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 7, 0, 0, 0, 1);
/// RX queues, each with a worker.
pub(crate) const QUEUES: u32 = 4;
/// How long anything may take that should happen at once: this machine may be very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// The engine's configuration.
const CONFIG: &str = "vos.toml";

/// Waits until `done`; panics with `what` if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What differs from a relay on four queues before Kamailio.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    args: Vec<String>,
    prepare: Vec<String>,
    config: String,
    server: Option<Script>,
}

impl Builder {
    /// `relay`, `filter` or `monitor`.
    pub(crate) fn mode(self, mode: &str) -> Self {
        self.args(&["--mode", mode])
    }

    /// More words for `vos-engine`.
    pub(crate) fn args(mut self, more: &[&str]) -> Self {
        self.args.extend(more.iter().map(|word| (*word).to_owned()));
        self
    }

    /// The engine's configuration file.
    pub(crate) fn config(mut self, toml: &str) -> Self {
        self.config = toml.to_owned();
        self
    }

    /// Kamailio does this.
    pub(crate) fn server(mut self, script: Script) -> Self {
        self.server = Some(script);
        self
    }

    /// A shell command inside the server's namespace before the engine starts; `IFACE` stands for its interface.
    pub(crate) fn prepare(mut self, line: &str) -> Self {
        self.prepare.push(line.to_owned());
        self
    }

    /// Builds it all; gives it when the engine says that it is ready and the server listens.
    #[track_caller]
    pub(crate) fn start(mut self) -> Site {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (number, pid) = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let (iface, lan) = (format!("js{pid}x{number}"), format!("jc{pid}x{number}"));
        let (server, caller) = (NetNs::new("jserver").unwrap(), NetNs::new("jcaller").unwrap());
        let wire = VethPair::new(&server, &iface, &caller, &lan, QUEUES).unwrap();
        let far = ["198.51.100.0/24", "203.0.113.0/24", "2001:db8:bad::/48"];
        server.ip(&format!("addr add {SERVER4}/24 dev {iface}")).unwrap();
        server.ip(&format!("addr add {SERVER6}/64 dev {iface} nodad")).unwrap();
        for net in far {
            server.ip(&format!("route add {net} dev {iface}")).unwrap();
        }
        for address in [format!("{CALLER}/24"), format!("{OTHER}/24"), format!("{FAR}/32")] {
            caller.ip(&format!("addr add {address} dev {lan}")).unwrap();
        }
        // Who does not choose is CALLER: of IPv4 addresses the first is taken, of IPv6 the one that is not deprecated.
        caller.ip(&format!("addr add {CALLER6}/64 dev {lan} nodad")).unwrap();
        for address in [format!("{OTHER6}/64"), format!("{FAR6}/128")] {
            caller.ip(&format!("addr add {address} dev {lan} nodad preferred_lft 0")).unwrap();
        }
        let mac = mac_of(&server, &iface);
        let dir = tempfile::Builder::new().prefix("vos-journey-").tempdir().unwrap();
        for line in &self.prepare {
            let line = line.replace("IFACE", &iface);
            output(server.command("sh").args(["-c", &line])).unwrap();
        }
        let file = dir.path().join(CONFIG);
        std::fs::write(&file, patient(&self.config)).unwrap();
        self.args.extend(["--config".to_owned(), file.display().to_string()]);
        let script = self.server.unwrap_or(ANSWERS);
        let kamailio = Kamailio::usual(script).start(&server, dir.path());
        let mut site = Site { engine: None, kamailio, script, _wire: wire, caller, server, iface, lan, mac, dir };
        site.start_engine(&self.args);
        site
    }
}

/// The lot. What is dropped first stands first: the engine is ended and unloaded while its namespace is there.
pub(crate) struct Site {
    engine: Option<Engine>,
    kamailio: Program,
    script: Script,
    _wire: VethPair,
    /// Where callers are.
    pub(crate) caller: NetNs,
    /// Where the server and the engine are.
    pub(crate) server: NetNs,
    /// The server's interface.
    pub(crate) iface: String,
    /// The caller's.
    pub(crate) lan: String,
    /// The MAC address of the server's interface.
    mac: [u8; 6],
    dir: TempDir,
}

impl Site {
    /// A relay on four queues before Kamailio, unless told otherwise.
    pub(crate) fn builder() -> Builder {
        Builder::default()
    }

    #[track_caller]
    fn start_engine(&mut self, more: &[String]) {
        let binary = Path::new(env!("CARGO_BIN_EXE_vos-engine"));
        let mut command = self.server.command(binary);
        let (run, state) = (self.dir("run"), self.dir("state"));
        command.args(["--iface", &self.iface, "--queues", &QUEUES.to_string()]);
        command.arg("--run-dir").arg(&run).arg("--state-dir").arg(&state).args(more);
        let program = Program::start("vos-engine", &mut command, Some(&self.path("engine.log"))).unwrap();
        let mut unload = self.server.command(binary);
        unload.args(["unload", "--iface", &self.iface]);
        let engine = self.engine.insert(Engine { program, unload });
        wait_until("vos-engine is ready", Duration::from_secs(60), || {
            let log = engine.program.log();
            assert!(engine.program.ended().unwrap().is_none(), "vos-engine ended:\n{log}");
            log.contains(": ready")
        });
    }

    /// Gives the running engine another configuration.
    #[track_caller]
    pub(crate) fn reconfigure(&self, toml: &str) {
        std::fs::write(self.path(CONFIG), patient(toml)).unwrap();
        self.told(&["reload"]);
    }

    /// Ends the engine and frees the interface.
    pub(crate) fn stop(&mut self) {
        self.engine = None;
    }

    /// A file of this test's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Runs `vosctl` with these words, however it ends.
    pub(crate) fn vosctl(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vosctl"));
        // An operator's own session must not count as the peer that a block would lock out.
        command.env_remove("SSH_CONNECTION").args(["--iface", &self.iface, "--run-dir"]).arg(self.path("run"));
        command.args(words).output().unwrap()
    }

    /// The same; it must succeed.
    #[track_caller]
    pub(crate) fn told(&self, words: &[&str]) {
        let output = self.vosctl(words);
        assert!(output.status.success(), "vosctl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    }

    /// What `vosctl --json` with these words printed.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let output = self.vosctl(&[words, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("vosctl {}: {error}: {text}{}", words.join(" "), String::from_utf8_lossy(&output.stderr))
        })
    }

    /// The counters.
    #[track_caller]
    pub(crate) fn stats(&self) -> Stats {
        Stats(self.json(&["stats"]))
    }

    /// Waits until this reason's counter is `more` above what it was in `before`; it must not be more either.
    #[track_caller]
    pub(crate) fn counted(&self, before: &Stats, reason: &str, more: u64) {
        let expect = before.reason(reason) + more;
        let mut now = 0;
        let end = Instant::now() + PATIENCE;
        while now < expect && Instant::now() < end {
            now = self.stats().reason(reason);
        }
        assert_eq!(now, expect, "{reason}: {} before, {more} sent, now {}", before.reason(reason), self.stats().0);
    }

    /// A UDP socket on the caller's host.
    #[track_caller]
    pub(crate) fn phone(&self, from: impl Into<IpAddr>) -> UdpSocket {
        let from = SocketAddr::new(from.into(), 0);
        let socket = self.caller.enter(|| UdpSocket::bind(from)).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// Sends this method from `phone`; its reply must come. Gives the status of it.
    #[track_caller]
    pub(crate) fn asks(&self, phone: &UdpSocket, method: &str, call: &str) -> u16 {
        let from = phone.local_addr().unwrap();
        self.exchange(phone, request(method, from, call).as_bytes())
    }

    /// Sends a datagram to port 5060 of the server; its reply must come. Gives the status of it.
    #[track_caller]
    pub(crate) fn exchange(&self, phone: &UdpSocket, datagram: &[u8]) -> u16 {
        phone.send_to(datagram, server_of(phone)).unwrap();
        let mut reply = [0; 65_536];
        let (length, from) = phone.recv_from(&mut reply).expect("a reply");
        assert_eq!(from, server_of(phone));
        let mut index: Index = Index::new();
        match index.parse(&reply[..length], Mode::Lenient).expect("SIP in reply").start_line() {
            StartLine::Response { code, .. } => code,
            StartLine::Request { .. } => panic!("a request in reply"),
        }
    }

    /// A request from an unsuspicious phone, answered: what was sent before is through. `name` makes its Call-ID.
    #[track_caller]
    pub(crate) fn afterwards(&self, name: &str) {
        for from in [IpAddr::V4(OTHER), IpAddr::V6(OTHER6)] {
            let call = format!("after-{name}-{}", from.is_ipv6());
            assert_eq!(self.asks(&self.phone(from), "REGISTER", &call), 200);
        }
    }
}

/// A running engine. Dropped, it is ended, and the interface is freed of all it pinned.
struct Engine {
    program: Program,
    unload: Command,
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the engine's log:\n{}", self.program.log_tail(40));
        }
        let _ended = self.program.end();
        if let Err(error) = output(&mut self.unload) {
            eprintln!("vos-engine unload: {error}");
        }
    }
}

/// Where this socket finds the server.
pub(crate) fn server_of(phone: &UdpSocket) -> SocketAddr {
    let v4 = phone.local_addr().is_ok_and(|local| local.is_ipv4());
    SocketAddr::new(if v4 { SERVER4 } else { SERVER6 }, 5060)
}

fn mac_of(ns: &NetNs, iface: &str) -> [u8; 6] {
    let link: Value = serde_json::from_str(&ns.ip(&format!("-j link show {iface}")).unwrap()).unwrap();
    let text = link[0]["address"].as_str().expect("a MAC address").to_owned();
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}
