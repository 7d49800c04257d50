use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vos_bench::process::output;
use vos_bench::{NetNs, Program, VethPair};

pub(crate) const SERVER4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const SERVER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// The callers' host.
pub(crate) const CALLERS: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 11)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x11)),
];
const QUEUES: u32 = 4;
/// How long anything may take that should happen at once: this machine may be very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `done`; panics with `what` if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Can the test run? Where `VOS_REQUIRE_ALL=1`, what is missing is a failure; else it is said, and the test skipped.
pub(crate) fn ready(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let mut missing: Vec<&str> = programs.iter().copied().filter(|program| !there(program)).collect();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root");
    }
    if missing.is_empty() {
        return true;
    }
    let said = format!("this test needs {}", missing.join(", "));
    assert!(std::env::var_os("VOS_REQUIRE_ALL").is_none_or(|set| set != "1"), "{said}");
    eprintln!("SKIPPED: {said}");
    false
}

/// The lot. What is dropped first stands first: the engine is ended and unloaded while its namespace is there.
pub(crate) struct Site {
    engine: Option<Engine>,
    _wire: VethPair,
    pub(crate) caller: NetNs,
    pub(crate) server: NetNs,
    iface: String,
    dir: TempDir,
}

impl Site {
    /// Both hosts, and no engine yet.
    #[track_caller]
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (number, pid) = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let (iface, lan) = (format!("ps{pid}x{number}"), format!("pc{pid}x{number}"));
        let (server, caller) = (NetNs::new("pserver").unwrap(), NetNs::new("pcaller").unwrap());
        let wire = VethPair::new(&server, &iface, &caller, &lan, QUEUES).unwrap();
        let prefix = |ip: &IpAddr| if ip.is_ipv4() { "/24" } else { "/64 nodad" };
        let add = |ip: &IpAddr, iface: &str| {
            let (length, nodad) = prefix(ip).split_at(3);
            format!("addr add {ip}{length} dev {iface}{nodad}")
        };
        [SERVER4, SERVER6].iter().for_each(|ip| drop(server.ip(&add(ip, &iface)).unwrap()));
        CALLERS.iter().for_each(|ip| drop(caller.ip(&add(ip, &lan)).unwrap()));
        let dir = tempfile::Builder::new().prefix("vos-proxy-").tempdir().unwrap();
        Self { engine: None, _wire: wire, caller, server, iface, dir }
    }

    fn command(&self, toml: &str) -> Command {
        std::fs::write(self.path("vos.toml"), toml).unwrap();
        let mut command = self.server.command(Path::new(env!("CARGO_BIN_EXE_vos-engine")));
        command.args(["--iface", &self.iface, "--queues", &QUEUES.to_string()]);
        command.arg("--run-dir").arg(self.path("run")).arg("--state-dir").arg(self.path("state"));
        command.arg("--config").arg(self.path("vos.toml"));
        command
    }

    /// What the engine says when it does not start with this configuration.
    #[track_caller]
    pub(crate) fn refused(&mut self, toml: &str) -> String {
        let output = self.command(toml).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Starts the engine; waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn start(&mut self, toml: &str) {
        let mut command = self.command(toml);
        let program = Program::start("vos-engine", &mut command, Some(&self.path("engine.log"))).unwrap();
        let mut unload = self.server.command(Path::new(env!("CARGO_BIN_EXE_vos-engine")));
        unload.args(["unload", "--iface", &self.iface]);
        let engine = self.engine.insert(Engine { program, unload });
        wait_until("vos-engine is ready", || {
            let log = engine.program.log();
            assert!(engine.program.ended().unwrap().is_none(), "vos-engine ended:\n{log}");
            log.contains(": ready")
        });
        for caller in CALLERS {
            self.told(&["trust", &caller.to_string()]);
        }
    }

    /// Gives the running engine another configuration.
    #[track_caller]
    pub(crate) fn reconfigure(&self, toml: &str) {
        std::fs::write(self.path("vos.toml"), toml).unwrap();
        self.told(&["reload"]);
    }

    /// A file of this test's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `vosctl` with these words, however it ends.
    pub(crate) fn vosctl(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vosctl"));
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

    /// The same of what prints a line of JSON for each thing.
    #[track_caller]
    pub(crate) fn json_lines(&self, words: &[&str]) -> Vec<Value> {
        let output = self.vosctl(&[words, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What was for nobody, by its word.
    #[track_caller]
    pub(crate) fn strays(&self, word: &str) -> u64 {
        let stats = self.json(&["stats"]);
        stats["proxy"]["strays"][word].as_u64().unwrap_or_else(|| panic!("no {word} in {stats}"))
    }

    /// A UDP socket on the callers' host.
    #[track_caller]
    pub(crate) fn phone(&self, from: IpAddr) -> UdpSocket {
        let socket = self.caller.enter(|| UdpSocket::bind(SocketAddr::new(from, 0))).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }
}

/// Where this socket finds the server.
pub(crate) fn server_of(phone: &UdpSocket) -> SocketAddr {
    let v4 = phone.local_addr().unwrap().is_ipv4();
    SocketAddr::new(if v4 { SERVER4 } else { SERVER6 }, 5060)
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
