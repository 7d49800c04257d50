use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use vos_bench::process::output;
use vos_bench::{NetNs, Program, VethPair, patient};

use crate::ledger::{Ledger, Maps};
use crate::phone::Phone;

/// The server's addresses, the same as the verdict table's.
pub(crate) const SERVER4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The same over IPv6.
pub(crate) const SERVER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// Phones, each in a /24 of its own.
pub(crate) const PHONES: [Ipv4Addr; 4] = [
    Ipv4Addr::new(198, 51, 100, 20),
    Ipv4Addr::new(198, 18, 1, 20),
    Ipv4Addr::new(198, 18, 2, 20),
    Ipv4Addr::new(198, 18, 3, 20),
];
/// A phone over IPv6, alone in its /48.
pub(crate) const PHONE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xca11, 0, 0, 0, 0, 1);
/// The domain that phones register with.
pub(crate) const DOMAIN: &str = "e.com";
/// RX queues, each with a worker.
pub(crate) const QUEUES: u32 = 4;
/// How long anything may take that should happen at once: this machine may be very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

/// Waits until `done`; panics with `what` if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One request as Kamailio logged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its method, as it was written.
    pub(crate) method: String,
    /// Where it came from.
    pub(crate) source: IpAddr,
    /// Its Call-ID.
    pub(crate) call: String,
}

/// The lot. What is dropped first stands first: the engine is ended and unloaded while its namespace is there.
pub(crate) struct Site {
    engine: Option<Program>,
    unload: Unload,
    ledger: Ledger,
    kamailio: Program,
    _wire: VethPair,
    /// Where phones and attackers are.
    pub(crate) outside: NetNs,
    /// Where the server and the engine are.
    pub(crate) server: NetNs,
    /// The server's interface.
    pub(crate) iface: String,
    /// The other end of the wire.
    pub(crate) lan: String,
    /// The MAC address of the server's interface.
    pub(crate) mac: [u8; 6],
    dir: TempDir,
}

impl Site {
    /// A registrar behind an engine with this `vos.toml`, all workers live.
    #[track_caller]
    pub(crate) fn start(config: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (number, pid) = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let (iface, lan) = (format!("fs{pid}x{number}"), format!("fo{pid}x{number}"));
        let (server, outside) = (NetNs::new("fserver").unwrap(), NetNs::new("foutside").unwrap());
        let wire = VethPair::new(&server, &iface, &outside, &lan, QUEUES).unwrap();
        server.ip(&format!("addr add {SERVER4}/24 dev {iface}")).unwrap();
        server.ip(&format!("addr add {SERVER6}/64 dev {iface} nodad")).unwrap();
        outside.ip(&format!("addr add 192.0.2.10/24 dev {lan}")).unwrap();
        outside.ip(&format!("addr add 2001:db8::10/64 dev {lan} nodad")).unwrap();
        for phone in PHONES {
            outside.ip(&format!("addr add {phone}/32 dev {lan}")).unwrap();
        }
        outside.ip(&format!("addr add {PHONE6}/128 dev {lan} nodad")).unwrap();
        // Whoever asks is answered by way of the one host, which forwards nothing: what is spoofed goes nowhere.
        server.ip("route add default via 192.0.2.10").unwrap();
        server.ip("-6 route add default via 2001:db8::10").unwrap();
        let mac = mac_of(&server, &iface);
        let dir = tempfile::Builder::new().prefix("vos-floods-").tempdir().unwrap();
        std::fs::write(dir.path().join("vos.toml"), patient(config)).unwrap();
        let kamailio = kamailio(&server, dir.path());
        let mut unload = server.command(env!("CARGO_BIN_EXE_vos-engine"));
        unload.args(["unload", "--iface", &iface]);
        let (engine, unload, ledger) = (None, Unload(unload), Ledger::default());
        let mut site = Self { engine, unload, ledger, kamailio, _wire: wire, outside, server, iface, lan, mac, dir };
        site.start_engine();
        site
    }

    /// Starts the engine, which must not be there.
    #[track_caller]
    pub(crate) fn start_engine(&mut self) {
        let mut command = self.server.command(env!("CARGO_BIN_EXE_vos-engine"));
        command.args(["--iface", &self.iface, "--queues", &QUEUES.to_string()]);
        for (flag, name) in [("--config", "vos.toml"), ("--run-dir", "run"), ("--state-dir", "state")] {
            command.arg(flag).arg(self.path(name));
        }
        let program = Program::start("vos-engine", &mut command, Some(&self.path("engine.log"))).unwrap();
        let engine = self.engine.insert(program);
        wait_until("vos-engine is ready", || {
            assert!(engine.ended().unwrap().is_none(), "vos-engine ended:\n{}", engine.log());
            engine.log().contains(": ready")
        });
        wait_until("all workers are live", || {
            let stats = self.stats();
            stats["workers"].as_array().unwrap().iter().filter(|worker| worker["live"] == true).count()
                == QUEUES as usize
        });
        self.ledger = Ledger::open(self);
    }

    /// Ends the engine in good order; what it pinned stays.
    pub(crate) fn stop_engine(&mut self) {
        let mut engine = self.engine.take().expect("a running engine");
        assert!(engine.end().unwrap().is_some_and(|status| status.success()), "{}", engine.log());
    }

    /// Ends the engine by SIGKILL.
    pub(crate) fn kill_engine(&mut self) {
        let mut engine = self.engine.take().expect("a running engine");
        engine.signal(Signal::SIGKILL).unwrap();
        wait_until("the engine is dead", || engine.ended().unwrap().is_some());
    }

    /// A file of this test's.
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

    /// Runs `vosctl` with these words; it must succeed.
    #[track_caller]
    pub(crate) fn tell(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "vosctl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Has the engine read this `vos.toml`.
    #[track_caller]
    pub(crate) fn reload(&self, config: &str) {
        std::fs::write(self.path("vos.toml"), patient(config)).unwrap();
        self.tell(&["reload"]);
    }

    /// The key that has records written to a file of this test's.
    pub(crate) fn records_key(&self) -> String {
        format!("[records]\nfile = \"{}\"\n", self.path("records.jsonl").display())
    }

    /// What is written down so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path("records.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What `vosctl --json` with these words printed.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        serde_json::from_slice(&self.tell(&[words, &["--json"]].concat()).stdout).unwrap()
    }

    /// The counters, as the engine tells them.
    #[track_caller]
    pub(crate) fn stats(&self) -> Value {
        self.json(&["stats"])
    }

    /// How many sources the engine holds for verified.
    #[track_caller]
    pub(crate) fn verified(&self) -> u64 {
        self.stats()["verified"]["sources"].as_u64().expect("verified.sources")
    }

    /// What all workers together have dropped for this reason.
    #[track_caller]
    pub(crate) fn dropped_by_workers(&self, reason: &str) -> u64 {
        let stats = self.stats();
        let workers = stats["workers"].as_array().unwrap();
        workers.iter().map(|worker| worker["dropped"][reason].as_u64().unwrap_or(0)).sum()
    }

    /// The kernel's maps.
    pub(crate) fn maps(&self) -> Maps {
        Maps::of(&self.iface)
    }

    /// Both ledgers balance.
    #[track_caller]
    pub(crate) fn balances(&self) {
        self.ledger.balances(self);
    }

    /// All that Kamailio has logged so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let log = self.kamailio.log();
        let read = |line: &str| {
            let mut words = line.split_once("SEEN ")?.1.split(' ');
            let (method, source, call) = (words.next()?, words.next()?, words.next()?);
            // Kamailio writes IPv6 addresses in full, some versions in brackets.
            let source = source.trim_matches(['[', ']']).parse().ok()?;
            Some(Seen { method: method.to_owned(), source, call: call.trim().to_owned() })
        };
        log.lines().filter_map(read).collect()
    }

    /// How many requests with a Call-ID that begins so Kamailio has logged.
    pub(crate) fn seen_calls(&self, call: &str) -> u64 {
        self.seen().iter().filter(|seen| seen.call.starts_with(call)).count() as u64
    }

    /// The Call-IDs of the responses that Kamailio has logged.
    pub(crate) fn heard(&self) -> Vec<String> {
        let log = self.kamailio.log();
        let read = |line: &str| line.split_once("HEARD ")?.1.split(' ').nth(2).map(|call| call.trim().to_owned());
        log.lines().filter_map(read).collect()
    }

    /// Waits until Kamailio has logged a request with this Call-ID.
    #[track_caller]
    pub(crate) fn arrives(&self, call: &str) {
        wait_until(&format!("{call} reaches Kamailio"), || self.seen().iter().any(|seen| seen.call == call));
    }

    /// A phone of `user` with this address, not yet registered.
    pub(crate) fn phone(&self, user: &str, address: impl Into<IpAddr>) -> Phone {
        Phone::open(self, user, address.into())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(engine) = &self.engine
        {
            eprintln!("the engine's log:\n{}Kamailio's:\n{}", engine.log_tail(30), self.kamailio.log_tail(10));
            eprintln!("counted: {}", self.maps().told());
            if let Ok(stats) = self.command(&["stats", "--json"]).output() {
                eprintln!("counted: {}", String::from_utf8_lossy(&stats.stdout));
            }
        }
        if let Some(mut engine) = self.engine.take() {
            let _ended = engine.end();
        }
        if let Err(error) = output(&mut self.unload.0) {
            eprintln!("vos-engine unload: {error}");
        }
    }
}

/// Frees the interface of all that is pinned.
struct Unload(Command);

/// Where who has this address finds the server.
pub(crate) fn server_of(address: IpAddr) -> SocketAddr {
    SocketAddr::new(if address.is_ipv4() { SERVER4 } else { SERVER6 }, 5060)
}

fn mac_of(ns: &NetNs, iface: &str) -> [u8; 6] {
    let link: Value = serde_json::from_str(&ns.ip(&format!("-j link show {iface}")).unwrap()).unwrap();
    let text = link[0]["address"].as_str().expect("a MAC address").to_owned();
    let bytes: Vec<u8> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// Kamailio as Debian ships it, a registrar and proxy with digest authentication. OPTIONS, MESSAGE and calls to `echo`
/// it answers by itself, unasked for a password; calls to `forbidden` it refuses. Numbers of five digits and more
/// are not there, but for 70005. One process for each address: it logs in the order of arrival.
fn kamailio(server: &NetNs, dir: &Path) -> Program {
    let run = dir.join("kamailio");
    std::fs::create_dir_all(&run).unwrap();
    let mut config = "#!KAMAILIO\ndebug=1\nlog_stderror=yes\nchildren=1\ndisable_tcp=yes\nauto_aliases=no\ndns=no\n\
                      rev_dns=no\n"
        .to_owned();
    writeln!(config, "listen=udp:{SERVER4}:5060\nlisten=udp:[{SERVER6}]:5060\nmpath=\"{MODULES}/\"").unwrap();
    for module in ["pv", "xlog", "sl", "tm", "rr", "textops", "siputils", "usrloc", "registrar", "auth"] {
        writeln!(config, "loadmodule \"{module}.so\"").unwrap();
    }
    config.push_str(&ROUTE.replace("DOMAIN", DOMAIN));
    let file = dir.join("kamailio.cfg");
    std::fs::write(&file, config).unwrap();
    let mut command = server.command("kamailio");
    command.args(["-DD", "-E", "-m", "64", "-M", "8", "-f"]).arg(&file).arg("-Y").arg(&run);
    command.arg("-P").arg(run.join("pid"));
    let mut program = Program::start("kamailio", &mut command, Some(&dir.join("kamailio.log"))).unwrap();
    wait_until("Kamailio listens", || {
        assert!(program.ended().unwrap().is_none(), "Kamailio ended:\n{}", program.log_tail(20));
        let sockets = output(server.command("ss").args(["-Hlun", "sport = 5060"])).unwrap();
        sockets.lines().count() >= 2
    });
    program
}

/// What Kamailio does with a request. The password of everybody is `secret`.
const ROUTE: &str = r#"
modparam("usrloc", "db_mode", 0)
request_route {
  xlog("L_NOTICE", "SEEN $rm $si $ci\n");
  if (has_totag()) {
    if (loose_route()) t_relay();
    exit;
  }
  if (is_method("ACK|CANCEL")) exit;
  if ($tU =~ "^[0-9]{5,}$" && $tU != "70005") {
    sl_send_reply("404", "Not Found");
    exit;
  }
  if (is_method("REGISTER")) {
    if (!pv_www_authenticate("DOMAIN", "secret", "0")) {
      www_challenge("DOMAIN", "0");
      exit;
    }
    save("location");
    exit;
  }
  if (!is_method("INVITE") || $rU == "echo") {
    append_to_reply("Contact: <sip:echo@$Ri>\r\n");
    sl_send_reply("200", "OK");
    exit;
  }
  if ($rU == "forbidden") {
    append_to_reply("Reason: Q.850;cause=21;text=\"not for you\"\r\n");
    sl_send_reply("403", "Not for you");
    exit;
  }
  if (!pv_proxy_authenticate("DOMAIN", "secret", "0")) {
    proxy_challenge("DOMAIN", "0");
    exit;
  }
  consume_credentials();
  record_route();
  if (!lookup("location")) {
    sl_send_reply("404", "Not Found");
    exit;
  }
  t_relay();
}
reply_route {
  xlog("L_NOTICE", "HEARD $rs $si $ci\n");
}
"#;
