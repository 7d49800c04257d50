//! Two hosts, a wire of four queues, the engine, and a SIP server that knows nothing of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};
use nix::unistd::Pid;
use serde_json::Value;
use sip_parse::{Index, Mode, StartLine};
use tempfile::TempDir;
use vos_bench::process::output;
use vos_bench::{NetNs, Program, VethPair};
use vos_common::cases::{OWN_V4, OWN_V6, Packet};
use vos_common::reason::Reason;

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

/// The engine's configuration, where a test has one.
const CONFIG: &str = "vos.toml";
/// tcpdump's own buffer, for those that say much of each packet.
const BUFFER_KB: &str = "32768";
const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

/// Waits until `done`; panics with `what` if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
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

/// A request as a phone writes it. `call` tells it from all others in Kamailio's log; `from` goes into the Via.
pub(crate) fn request(method: &str, from: SocketAddr, call: &str) -> String {
    format!(
        "{method} sip:2@e.com SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call}\r\nFrom: <sip:1@e.com>;tag=1\r\n\
         To: <sip:2@e.com>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The same, filled up with a header so that it has this many bytes.
pub(crate) fn request_of(size: usize, method: &str, from: SocketAddr, call: &str) -> String {
    let request = request(method, from, call);
    let missing = size.checked_sub(request.len() + "X-Fill: \r\n".len()).expect("room for the filling");
    request.replacen("From:", &format!("X-Fill: {}\r\nFrom:", "f".repeat(missing)), 1)
}

/// A UDP datagram over IPv6 with its checksum (RFC 8200 §8.1): the header from port 5061 to `port`, and the payload.
pub(crate) fn udp6(src: Ipv6Addr, dst: Ipv6Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let ports = [5061u16.to_be_bytes(), port.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    let mut datagram = [&ports[..], payload].concat();
    let pseudo = [&src.octets()[..], &dst.octets(), &u32::from(length).to_be_bytes(), &[0, 0, 0, 17]].concat();
    let words = |bytes: &[u8]| -> u64 {
        let words = bytes.chunks(2).map(|w| u64::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])));
        words.sum()
    };
    let mut sum = words(&pseudo) + words(&datagram);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = if sum == 0xffff { 0xffff } else { !(sum as u16) };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// What `vosctl stats --json` said.
#[derive(Clone, Debug)]
pub(crate) struct Stats(pub(crate) Value);

impl Stats {
    /// A counter of XDP's.
    #[track_caller]
    pub(crate) fn reason(&self, name: &str) -> u64 {
        self.0["reasons"][name].as_u64().unwrap_or_else(|| panic!("no reason {name} in {}", self.0))
    }

    /// What monitor mode would have dropped for this reason.
    #[track_caller]
    pub(crate) fn would_drop(&self, name: &str) -> u64 {
        self.0["would_drop"][name].as_u64().unwrap_or_else(|| panic!("no would_drop {name} in {}", self.0))
    }

    /// All that was dropped, by the rules of XDP and of the engine: what is not zero.
    pub(crate) fn dropped(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        let workers = self.0["workers"].as_array().map_or(&[][..], Vec::as_slice);
        let tables = workers.iter().map(|worker| &worker["dropped"]).chain([&self.0["reasons"]]);
        for (reason, count) in tables.filter_map(Value::as_object).flatten() {
            let rule = Reason::of_label(reason).is_none_or(Reason::is_rule);
            let count = count.as_u64().unwrap_or_else(|| panic!("{reason}: {count} in {}", self.0));
            if rule && count > 0 {
                *all.entry(reason.clone()).or_default() += count;
            }
        }
        all
    }

    /// What the workers together have ended so: `answered`, `taken` or `dropped`, and why.
    #[track_caller]
    pub(crate) fn ended(&self, how: &str, why: &str) -> u64 {
        let workers = self.0["workers"].as_array().map_or(&[][..], Vec::as_slice);
        let count = |worker: &Value| worker[how][why].as_u64().unwrap_or_else(|| panic!("no {how} {why} in {worker}"));
        workers.iter().map(count).sum()
    }

    /// One counter of each worker.
    pub(crate) fn workers(&self, name: &str) -> Vec<u64> {
        let workers = self.0["workers"].as_array().map_or(&[][..], Vec::as_slice);
        workers.iter().filter_map(|worker| worker[name].as_u64()).collect()
    }
}

/// One request as Kamailio logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its method, as it was written.
    pub(crate) method: String,
    /// Where it came from.
    pub(crate) source: SocketAddr,
    /// Its Call-ID.
    pub(crate) call: String,
}

/// What Kamailio does with requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// The modules it needs, in the order in which they are loaded.
    pub(crate) modules: &'static [&'static str],
    /// Its routes, behind the line that logs each request.
    pub(crate) routes: &'static str,
}

/// Answers each request by itself.
const ANSWERS: Script = Script {
    modules: &["pv", "xlog", "sl", "textops"],
    routes: "if (is_method(\"ACK\")) exit;\n  append_to_reply(\"Contact: <sip:2@e.com>\\r\\n\");\n  \
             sl_send_reply(\"200\", \"OK\");\n",
};

/// What differs from a relay on four queues before Kamailio.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    args: Vec<String>,
    prepare: Vec<String>,
    config: Option<String>,
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
        self.config = Some(toml.to_owned());
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
        if let Some(toml) = &self.config {
            let file = dir.path().join(CONFIG);
            std::fs::write(&file, toml).unwrap();
            self.args.extend(["--config".to_owned(), file.display().to_string()]);
        }
        let script = self.server.unwrap_or(ANSWERS);
        let kamailio = kamailio(&server, dir.path(), script);
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
        std::fs::write(self.path(CONFIG), toml).unwrap();
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

    /// Kamailio and all its processes get this signal.
    #[track_caller]
    pub(crate) fn signal_server(&self, signal: Signal) {
        killpg(Pid::from_raw(self.kamailio.id() as i32), signal).unwrap();
    }

    /// Kamailio dies, all of it at once.
    #[track_caller]
    pub(crate) fn kill_server(&mut self) {
        self.signal_server(Signal::SIGKILL);
        wait_until("Kamailio has ended", PATIENCE, || {
            let sockets = output(self.server.command("ss").args(["-Hlun", "sport = 5060"])).unwrap();
            self.kamailio.ended().unwrap().is_some() && sockets.trim().is_empty()
        });
    }

    /// Kamailio again, with a new log.
    #[track_caller]
    pub(crate) fn start_server(&mut self) {
        self.kamailio = kamailio(&self.server, self.dir.path(), self.script);
    }

    /// All that Kamailio has logged so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let log = self.kamailio.log();
        let lines = log.lines().filter_map(|line| Some(line.split_once("SEEN ")?.1));
        let read = |line: &str| {
            let mut words = line.split(' ');
            let (method, ip, port, call) = (words.next()?, words.next()?, words.next()?, words.next()?);
            // Kamailio writes IPv6 addresses in full, some versions in brackets.
            let ip = ip.trim_matches(['[', ']']).parse().ok()?;
            let source = SocketAddr::new(ip, port.parse().ok()?);
            Some(Seen { method: method.to_owned(), source, call: call.to_owned() })
        };
        lines.filter_map(read).collect()
    }

    /// How many requests with a Call-ID that begins so Kamailio has logged.
    pub(crate) fn seen_calls(&self, call: &str) -> usize {
        self.seen().iter().filter(|seen| seen.call.starts_with(call)).count()
    }

    /// Has Kamailio stand still, and go on.
    #[track_caller]
    pub(crate) fn freeze(&self, still: bool) {
        let group = Pid::from_raw(self.kamailio.id().cast_signed());
        killpg(group, if still { Signal::SIGSTOP } else { Signal::SIGCONT }).unwrap();
    }

    /// Waits until Kamailio has logged a request with this Call-ID.
    #[track_caller]
    pub(crate) fn arrives(&self, call: &str) {
        wait_until(&format!("{call} reaches Kamailio"), PATIENCE, || self.seen_calls(call) > 0);
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

    /// A frame to the server from this address, to be completed.
    pub(crate) fn frame(&self, from: impl Into<IpAddr>) -> Packet {
        match from.into() {
            IpAddr::V4(from) => Packet::v4(from.octets()).to(&OWN_V4).mac(self.mac),
            IpAddr::V6(from) => Packet::v6(from.octets()).to(&OWN_V6).mac(self.mac),
        }
    }

    /// A frame with a request of `method` from this address, port 5061.
    pub(crate) fn sip_frame(&self, from: impl Into<IpAddr>, method: &str, call: &str) -> Packet {
        let from = from.into();
        self.sip_frame_of(from, request(method, SocketAddr::new(from, 5061), call).as_bytes())
    }

    /// A frame with this payload from this address, port 5061, to port 5060.
    pub(crate) fn sip_frame_of(&self, from: IpAddr, payload: &[u8]) -> Packet {
        match from {
            IpAddr::V4(_) => self.frame(from).sip(payload),
            IpAddr::V6(v6) => {
                let datagram = udp6(v6, OWN_V6.into(), 5060, payload);
                self.frame(from).raw(17, &datagram).udp_length(datagram.len() as u16)
            }
        }
    }

    /// A request in two fragments, the first with `first` bytes above IP (a multiple of eight).
    pub(crate) fn fragments(&self, from: impl Into<IpAddr>, payload: &[u8], first: usize, id: u32) -> [Vec<u8>; 2] {
        let from = from.into();
        let datagram = match from {
            IpAddr::V6(v6) => udp6(v6, OWN_V6.into(), 5060, payload),
            // a checksum of zero is none
            IpAddr::V4(_) => {
                let length = (8 + payload.len()) as u16;
                [&[0x13, 0xc5, 0x13, 0xc4][..], &length.to_be_bytes(), &[0, 0], payload].concat()
            }
        };
        let (head, rest) = datagram.split_at(first);
        let head = self.frame(from).raw(17, head).udp_length(datagram.len() as u16).fragment(0, true, id);
        [head.build(), self.frame(from).raw(17, rest).fragment(first as u16, false, id).build()]
    }

    /// Sends frames as they are from the caller's end of the wire.
    #[track_caller]
    pub(crate) fn send(&self, frames: &[Vec<u8>]) {
        let send = || -> nix::Result<()> {
            let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            let address = nix::ifaddrs::getifaddrs()?
                .filter(|entry| entry.interface_name == self.lan)
                .filter_map(|entry| entry.address)
                .find(|address| address.family() == Some(AddressFamily::Packet))
                .ok_or(nix::Error::ENODEV)?;
            let link = *address.as_link_addr().ok_or(nix::Error::ENODEV)?;
            for frame in frames {
                sendto(raw.as_raw_fd(), frame, &link, MsgFlags::empty())?;
            }
            Ok(())
        };
        self.caller.enter(send).unwrap().unwrap();
    }

    /// Follows what the server's kernel sees on the interface, behind XDP.
    #[track_caller]
    pub(crate) fn tcpdump(&self, filter: &str) -> Program {
        self.watch(self.server.command("tcpdump"), &["-i", &self.iface, "-l", "-nn", "-Q", "in", filter])
    }

    /// Follows what leaves the callers' end of the wire and what comes to it: what was sent is seen here even if the
    /// server never sees it.
    #[track_caller]
    pub(crate) fn tcpdump_outside(&self, filter: &str) -> Program {
        self.watch(self.caller.command("tcpdump"), &["-i", &self.lan, "-l", "-nn", filter])
    }

    /// Writes what callers and server send each other into a file, whole when this has ended.
    #[track_caller]
    pub(crate) fn record(&self, file: &Path) -> Program {
        let file = file.to_str().expect("UTF-8");
        self.watch(self.caller.command("tcpdump"), &["-i", &self.lan, "-U", "-s0", "-w", file, "-Z", "root", "udp"])
    }

    /// The same with link headers, and with checksums looked at.
    #[track_caller]
    pub(crate) fn tcpdump_in_full(&self, filter: &str) -> Program {
        self.watch(
            self.caller.command("tcpdump"),
            &["-i", &self.lan, "-l", "-nn", "-e", "-vv", "-B", BUFFER_KB, filter],
        )
    }

    #[track_caller]
    fn watch(&self, mut command: Command, words: &[&str]) -> Program {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let log = self.path(&format!("tcpdump{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        command.arg("--immediate-mode").args(words);
        let program = Program::start("tcpdump", &mut command, Some(&log)).unwrap();
        wait_until("tcpdump listens", PATIENCE, || program.log().contains("listening on"));
        program
    }
}

/// How many packets tcpdump has shown so far.
pub(crate) fn dumped(tcpdump: &Program) -> usize {
    tcpdump.log().lines().filter(|line| line.contains(" IP ") || line.contains(" IP6 ")).count()
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

/// Kamailio as Debian ships it: does what the script says, and logs whom each request came from. One process for each
/// address: it logs in the order of arrival, so what is not in the log before a later request has not arrived.
fn kamailio(server: &NetNs, dir: &Path, script: Script) -> Program {
    let run = dir.join("kamailio");
    std::fs::create_dir_all(&run).unwrap();
    let mut config = "#!KAMAILIO\ndebug=1\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\ndns=no\n\
                      rev_dns=no\n"
        .to_owned();
    writeln!(config, "listen=udp:{SERVER4}:5060\nlisten=udp:[{SERVER6}]:5060\nmpath=\"{MODULES}/\"").unwrap();
    for module in script.modules {
        writeln!(config, "loadmodule \"{module}.so\"").unwrap();
    }
    let routes = script.routes;
    writeln!(config, "request_route {{\n  xlog(\"L_NOTICE\", \"SEEN $rm $si $sp $ci \\n\");\n{routes}}}").unwrap();
    let file = dir.join("kamailio.cfg");
    std::fs::write(&file, config).unwrap();
    let mut command = server.command("kamailio");
    command.args(["-DD", "-E", "-m", "32", "-M", "4", "-f"]).arg(&file).arg("-Y").arg(&run);
    command.arg("-P").arg(run.join("pid"));
    let mut program = Program::start("kamailio", &mut command, Some(&dir.join("kamailio.log"))).unwrap();
    wait_until("Kamailio listens", PATIENCE, || {
        assert!(program.ended().unwrap().is_none(), "Kamailio ended:\n{}", program.log_tail(20));
        let sockets = output(server.command("ss").args(["-Hlun", "sport = 5060"])).unwrap();
        sockets.lines().count() >= 2
    });
    program
}
