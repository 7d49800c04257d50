use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vos_bench::process::output;
use vos_bench::{NetNs, Program, VethPair};

/// How long something may take that happens in milliseconds on an idle machine. This one is shared.
const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A host with one interface, and somebody at the other end of the wire.
pub(crate) struct Host {
    _wire: VethPair,
    pub(crate) lan: NetNs,
    pub(crate) ns: NetNs,
    pub(crate) iface: String,
    /// The other end of its wire.
    pub(crate) peer: String,
    dir: TempDir,
}

/// What was said of a host.
pub(crate) struct Said {
    pub(crate) json: Value,
    pub(crate) code: i32,
}

impl Host {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (ns, lan) = (NetNs::new("doctor").unwrap(), NetNs::new("outside").unwrap());
        // pins go by the interface's name
        let number = format!("{:x}{:02x}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let iface = format!("doc{number}");
        let peer = format!("out{number}");
        let wire = VethPair::new(&ns, &iface, &lan, &peer, 2).unwrap();
        ns.ip(&format!("addr add 192.0.2.1/24 dev {iface}")).unwrap();
        let dir = tempfile::Builder::new().prefix("vos-doctor-").tempdir().unwrap();
        Self { _wire: wire, lan, ns, iface, peer, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `vosctl doctor` here.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        let mut command = self.ns.command(env!("CARGO_BIN_EXE_vosctl"));
        command.arg("doctor").args(words).output().unwrap()
    }

    /// The same of an interface, with a configuration of these lines, as JSON.
    #[track_caller]
    pub(crate) fn examine(&self, iface: &str, config: &str) -> Said {
        let file = self.path("doctor.toml");
        std::fs::write(&file, config).unwrap();
        Said::of_output(&self.run(&[iface, "--json", "--config", file.to_str().unwrap()]))
    }

    /// The same of its own interface by the defaults.
    #[track_caller]
    pub(crate) fn said(&self) -> Said {
        self.examine(&self.iface, "")
    }

    /// Carries out what a finding says mends it, as an operator would: pasted into a shell here.
    #[track_caller]
    pub(crate) fn paste(&self, fix: &str) {
        assert!(!fix.is_empty());
        self.try_to_paste(fix).unwrap();
    }

    pub(crate) fn try_to_paste(&self, fix: &str) -> vos_bench::Result<String> {
        let ours = Path::new(env!("CARGO_BIN_EXE_vos-engine")).parent().unwrap().display();
        output(self.ns.command("sh").args(["-ec", &format!("PATH={ours}:$PATH; {fix}")]))
    }

    fn engine(&self, words: &str) -> Program {
        let mut command = self.ns.command(env!("CARGO_BIN_EXE_vos-engine"));
        command.args(["--iface", &self.iface, "--state-dir"]).arg(self.path("state"));
        command.args(words.split_whitespace()).arg("--run-dir").arg(self.path("run"));
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let log = self.path(&format!("engine{}.log", NEXT.fetch_add(1, Relaxed)));
        Program::start("vos-engine", &mut command, Some(&log)).unwrap()
    }

    /// Starts the engine, which takes everything away when it is dropped; it is ready when this is done.
    #[track_caller]
    pub(crate) fn starts(&self, words: &str) -> Program {
        self.starts_as_a_unit(&format!("--unload-on-exit {words}"))
    }

    /// The same, and its program stays.
    #[track_caller]
    pub(crate) fn starts_as_a_unit(&self, words: &str) -> Program {
        let mut engine = self.engine(words);
        until("the engine is ready", || {
            assert!(engine.ended().unwrap().is_none(), "the engine ended: {}", engine.log());
            engine.log().contains(": ready")
        });
        engine
    }

    /// The engine must not start.
    #[track_caller]
    pub(crate) fn refuses(&self, words: &str) {
        let mut engine = self.engine(words);
        until("the engine refuses to start", || {
            assert!(!engine.log().contains(": ready"), "the engine did start: {}", engine.log());
            engine.ended().unwrap().is_some()
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let mut unload = self.ns.command(env!("CARGO_BIN_EXE_vos-engine"));
        let _nothing_was_left = output(unload.args(["unload", "--iface", &self.iface]));
        let _gone = std::fs::remove_dir(PathBuf::from("/sys/fs/bpf/vos").join(&self.iface));
    }
}

impl Said {
    #[track_caller]
    pub(crate) fn of_output(output: &Output) -> Self {
        let json = serde_json::from_slice(&output.stdout);
        let json = json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        Self { json, code: output.status.code().unwrap() }
    }

    pub(crate) fn findings(&self) -> &[Value] {
        self.json["findings"].as_array().unwrap()
    }

    /// What came of this check; there is one finding at most.
    #[track_caller]
    pub(crate) fn of(&self, check: &str) -> &Value {
        let found: Vec<_> = self.findings().iter().filter(|finding| finding["check"] == check).collect();
        let [one] = found[..] else { panic!("{check}: {:#}", self.json) };
        one
    }

    #[track_caller]
    pub(crate) fn severity(&self, check: &str) -> &str {
        self.of(check)["severity"].as_str().unwrap()
    }

    #[track_caller]
    pub(crate) fn what(&self, check: &str) -> &str {
        self.of(check)["what"].as_str().unwrap()
    }

    #[track_caller]
    pub(crate) fn fix(&self, check: &str) -> &str {
        self.of(check)["fix"].as_str().unwrap()
    }
}

/// What a program prints, with these words.
#[track_caller]
pub(crate) fn tool(ns: &NetNs, program: &str, words: &str) -> String {
    let mut command: Command = ns.command(program);
    output(command.args(words.split_whitespace())).unwrap()
}
