use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, PerCpuArray};
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use vos_bench::process::output;
use vos_bench::{NetNs, Program, VethPair};
use vos_common::reason::Reason;

/// Each node's address on the wire on which SIP arrives.
pub(crate) const SERVER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The same over IPv6.
pub(crate) const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// How long anything may take that should happen at once: this machine may be very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const QUEUES: u32 = 1;

/// Waits until `done`; panics with `what` if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number that no other site of this process has.
fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A host that all nodes reach, beside the wire on which SIP arrives: where a broker runs.
pub(crate) struct Hub {
    /// Its namespace.
    pub(crate) ns: NetNs,
}

impl Hub {
    /// Its address, as all nodes reach it.
    pub(crate) const ADDRESS: &'static str = "198.18.0.1";

    /// A host with a switch, on which nothing runs yet.
    pub(crate) fn new() -> Self {
        let ns = NetNs::new("hub").unwrap();
        for words in ["link add br0 type bridge", "link set br0 up"] {
            ns.ip(words).unwrap();
        }
        ns.ip(&format!("addr add {}/24 dev br0", Self::ADDRESS)).unwrap();
        Self { ns }
    }

    /// Pulls the node's plug: it reaches nobody here any more, and is reached by nobody.
    pub(crate) fn cut(&self, node: &Node) {
        self.ns.ip(&format!("link set {} down", node.port())).unwrap();
    }

    /// Puts it in again.
    pub(crate) fn join(&self, node: &Node) {
        self.ns.ip(&format!("link set {} up", node.port())).unwrap();
    }
}

/// A host with a wire to whoever sends SIP, its engine, in filter mode unless told otherwise, and a socket in the softswitch's
/// place. What is dropped first stands first: the engine is ended and unloaded while its namespace is there.
pub(crate) struct Node {
    engine: Option<Program>,
    _unload: Unload,
    softswitch: UdpSocket,
    _wire: VethPair,
    _plug: Option<VethPair>,
    /// Where the engine is.
    pub(crate) server: NetNs,
    /// Whoever sends: 192.0.2.10 and 2001:db8::10, and all others whose names they use.
    pub(crate) sender: NetNs,
    /// The interface on which SIP arrives.
    pub(crate) iface: String,
    /// What the engine does with packets from its next start on.
    pub(crate) mode: &'static str,
    number: u32,
    /// Requests sent so far: each has a Call-ID of its own.
    sent: Cell<u32>,
    dir: TempDir,
}

/// Takes the filter away at the end, after whatever end of the engine.
struct Unload(Command);

impl Drop for Unload {
    fn drop(&mut self) {
        if let Err(error) = output(&mut self.0) {
            eprintln!("{error}");
        }
    }
}

impl Node {
    /// A host that reaches nobody but senders. Its engine is started by [`Node::start`].
    pub(crate) fn alone() -> Self {
        Self::new(None)
    }

    /// A host that reaches `hub` as well, from 198.18.0.0/24.
    pub(crate) fn on(hub: &Hub) -> Self {
        Self::new(Some(hub))
    }

    fn new(hub: Option<&Hub>) -> Self {
        let (number, pid) = (next(), std::process::id());
        let (iface, lan) = (format!("kn{pid}x{number}"), "lan");
        let (server, sender) = (NetNs::new("knode").unwrap(), NetNs::new("ksender").unwrap());
        let wire = VethPair::new(&server, &iface, &sender, lan, QUEUES).unwrap();
        server.ip(&format!("addr add {SERVER4}/24 dev {iface}")).unwrap();
        server.ip(&format!("addr add {SERVER6}/64 dev {iface} nodad")).unwrap();
        sender.ip(&format!("addr add 192.0.2.10/24 dev {lan}")).unwrap();
        sender.ip(&format!("addr add 2001:db8::10/64 dev {lan} nodad")).unwrap();
        // whoever sends sends in anybody's name, and is heard
        sender.sysctl("net.ipv6.ip_nonlocal_bind", "1").unwrap();
        server.sysctl("net.ipv4.conf.all.rp_filter", "0").unwrap();
        server.sysctl(&format!("net.ipv4.conf.{iface}.rp_filter"), "0").unwrap();
        let plug = hub.map(|hub| {
            let plug = VethPair::new(&server, "hub", &hub.ns, &format!("n{number}"), 1).unwrap();
            hub.ns.ip(&format!("link set n{number} master br0")).unwrap();
            // .1 is the hub's
            server.ip(&format!("addr add 198.18.0.{}/24 dev hub", number % 250 + 2)).unwrap();
            plug
        });
        let softswitch = server.enter(|| UdpSocket::bind("[::]:5060")).unwrap().unwrap();
        softswitch.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let mut unload = server.command(env!("CARGO_BIN_EXE_vos-engine"));
        unload.args(["unload", "--iface", &iface]);
        let dir = tempfile::Builder::new().prefix("vos-control-").tempdir().unwrap();
        let (engine, _unload, sent) = (None, Unload(unload), Cell::new(0));
        Self {
            engine,
            _unload,
            softswitch,
            _wire: wire,
            _plug: plug,
            server,
            sender,
            iface,
            mode: "filter",
            number,
            sent,
            dir,
        }
    }

    /// The hub's end of this node's cable.
    fn port(&self) -> String {
        format!("n{}", self.number)
    }

    /// Starts the engine with this `vos.toml`; gives control back when it is ready.
    #[track_caller]
    pub(crate) fn start(&mut self, config: &str) {
        std::fs::write(self.path("vos.toml"), config).unwrap();
        self.restart();
    }

    /// Starts the engine, which must not be there, with the `vos.toml` that it has.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        assert!(self.engine.is_none(), "the engine runs");
        let mut command = self.server.command(env!("CARGO_BIN_EXE_vos-engine"));
        command.args(["--iface", &self.iface, "--mode", self.mode]);
        for (flag, name) in [("--config", "vos.toml"), ("--run-dir", "run"), ("--state-dir", "state")] {
            command.arg(flag).arg(self.path(name));
        }
        let engine = Program::start("vos-engine", &mut command, Some(&self.path("engine.log"))).unwrap();
        let engine = self.engine.insert(engine);
        wait_until("vos-engine is ready", || {
            assert!(engine.ended().unwrap().is_none(), "vos-engine ended:\n{}", engine.log());
            engine.log().contains(": ready")
        });
    }

    /// Gives the running engine another `vos.toml`.
    #[track_caller]
    pub(crate) fn reconfigure(&self, config: &str) {
        std::fs::write(self.path("vos.toml"), config).unwrap();
        self.told(&["reload"]);
    }

    /// Ends the engine in good order; the filter stays.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        let mut engine = self.engine.take().expect("a running engine");
        assert!(engine.end().unwrap().is_some_and(|status| status.success()), "{}", engine.log());
    }

    /// Ends the engine by SIGKILL; the filter stays.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        let mut engine = self.engine.take().expect("a running engine");
        engine.signal(Signal::SIGKILL).unwrap();
        wait_until("the engine is dead", || engine.ended().unwrap().is_some());
    }

    /// What the engine has written since it was started.
    pub(crate) fn log(&self) -> String {
        self.engine.as_ref().map(Program::log).unwrap_or_default()
    }

    /// A file of this node's; `vos.toml`, `state` and `run` are the engine's, `run/IFACE.sock` its API.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A `vosctl` with these words, not yet started.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vosctl"));
        // An operator's own session must not count as the peer that a block would lock out.
        command.env_remove("SSH_CONNECTION").args(["--iface", &self.iface, "--run-dir"]).arg(self.path("run"));
        command.args(words);
        command
    }

    /// Runs `vosctl` with these words, however it ends.
    pub(crate) fn vosctl(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs `vosctl` with these words; it must succeed. Gives what it printed.
    #[track_caller]
    pub(crate) fn told(&self, words: &[&str]) -> String {
        let output = self.vosctl(words);
        assert!(output.status.success(), "vosctl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `vosctl --json` with these words printed, however it ended.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let output = self.vosctl(&[words, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            let said = [output.stdout, output.stderr].concat();
            panic!("vosctl {}: {error}: {}", words.join(" "), String::from_utf8_lossy(&said))
        })
    }

    /// The first feed whose name begins so, as `vosctl feeds` shows it; null: there is none.
    #[track_caller]
    pub(crate) fn feed(&self, name: &str) -> Value {
        let feeds = self.json(&["feeds"]);
        let feeds = feeds.as_array().unwrap_or_else(|| panic!("{feeds}"));
        let is_named = |feed: &&Value| feed["name"].as_str().is_some_and(|of| of.starts_with(name));
        feeds.iter().find(is_named).cloned().unwrap_or_default()
    }

    /// Is a request from this address dropped at the NIC, because the source is blocked? If not, it must arrive at the
    /// softswitch: anything else is a failure. The engine need not run.
    #[track_caller]
    pub(crate) fn is_dropped(&self, source: &str) -> bool {
        let source: IpAddr = source.parse().unwrap();
        self.sent.set(self.sent.get() + 1);
        let call = format!("probe-{}-end", self.sent.get());
        let before = self.counted(Reason::Blocked);
        self.send(source, &request(source, &call));
        let (mut datagram, mut dropped) = ([0; 2048], None);
        wait_until(&format!("the request of {source} arrives or is dropped as blocked"), || {
            if self.counted(Reason::Blocked) > before {
                dropped = Some(true);
            } else if let Ok(length) = self.softswitch.recv(&mut datagram) {
                // what an earlier test of another kind has left is passed over
                let text = String::from_utf8_lossy(&datagram[..length]);
                dropped = text.contains(&call).then_some(false);
            }
            dropped.is_some()
        });
        dropped.unwrap_or_default()
    }

    /// Sends one datagram to port 5060 of this node in the name of `source`.
    #[track_caller]
    pub(crate) fn send(&self, source: IpAddr, datagram: &[u8]) {
        let to = if source.is_ipv4() { IpAddr::V4(SERVER4) } else { IpAddr::V6(SERVER6) };
        let (from, to) = (SocketAddr::new(source, 5061), SocketAddr::new(to, 5060));
        let send = || -> std::io::Result<usize> {
            let socket = Socket::new(Domain::for_address(from), Type::DGRAM, None)?;
            // the last one's may be held for a moment by a program that another test is starting
            socket.set_reuse_address(true)?;
            if source.is_ipv4() {
                socket.set_ip_transparent_v4(true)?;
            }
            socket.bind(&from.into())?;
            socket.send_to(datagram, &to.into())
        };
        let sent = self.sender.enter(send).unwrap();
        assert_eq!(sent.unwrap_or_else(|error| panic!("as {source}: {error}")), datagram.len());
    }

    /// Nobody listens in the softswitch's place any more.
    pub(crate) fn hang_up(&mut self) {
        self.softswitch = self.server.enter(|| UdpSocket::bind("127.0.0.1:0")).unwrap().unwrap();
    }

    /// Stops the engine where it stands, or has it go on.
    pub(crate) fn halt(&self, halt: bool) {
        let engine = self.engine.as_ref().expect("a running engine");
        engine.signal(if halt { Signal::SIGSTOP } else { Signal::SIGCONT }).unwrap();
    }

    /// Sends one datagram from the softswitch to port 5061 of 192.0.2.10.
    #[track_caller]
    pub(crate) fn answer(&self, datagram: &[u8]) {
        let to = SocketAddr::new(IpAddr::V6(Ipv4Addr::new(192, 0, 2, 10).to_ipv6_mapped()), 5061);
        assert_eq!(self.softswitch.send_to(datagram, to).unwrap(), datagram.len());
    }

    /// What the program has counted, from its pinned map.
    #[track_caller]
    pub(crate) fn counted(&self, reason: Reason) -> u64 {
        let pin = Path::new("/sys/fs/bpf/vos").join(&self.iface).join("REASONS");
        let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
        let map = PerCpuArray::<_, u64>::try_from(map).unwrap();
        map.get(&(reason as u32), 0).unwrap().iter().sum()
    }
}

/// The end of a call: no rule and no limit but a block drops it.
fn request(source: IpAddr, call: &str) -> Vec<u8> {
    let via = SocketAddr::new(source, 5061);
    let request = format!(
        "BYE sip:2@e.com SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{call}\r\nFrom: <sip:1@e.com>;tag=1\r\n\
         To: <sip:2@e.com>;tag=2\r\nCall-ID: {call}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    );
    request.into_bytes()
}
