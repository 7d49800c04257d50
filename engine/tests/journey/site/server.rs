use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use vos_bench::process::output;
use vos_bench::{NetNs, Program};

use super::{PATIENCE, SERVER4, SERVER6, Site, wait_until};

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

/// What Kamailio does with requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Script {
    /// The modules it needs, in the order in which they are loaded.
    pub(crate) modules: &'static [&'static str],
    /// Its routes, piece by piece, behind the line that logs each request.
    pub(crate) routes: &'static [&'static str],
}

impl Script {
    /// A whole file as somebody has written it for IPv4, to which only the line that logs each request is added.
    pub(crate) const fn whole(file: &'static [&'static str; 1]) -> Self {
        Self { modules: &[], routes: file }
    }

    /// The file, if it is one.
    fn file(&self) -> Option<&'static str> {
        self.routes.first().copied().filter(|text| text.starts_with("#!KAMAILIO"))
    }
}

/// What logs a request.
const SEEN: &str = "  xlog(\"L_NOTICE\", \"SEEN $rm $si $sp $ci \\n\");\n";

/// Answers each request by itself.
pub(super) const ANSWERS: Script = Script {
    modules: &["pv", "xlog", "sl", "textops"],
    routes: &["if (is_method(\"ACK\")) exit;\n  append_to_reply(\"Contact: <sip:2@e.com>\\r\\n\");\n  \
             sl_send_reply(\"200\", \"OK\");\n"],
};

/// Kamailio as Debian ships it: does what the script says, and logs whom each request came from.
#[derive(Clone, Debug)]
pub(crate) struct Kamailio {
    /// Tells its files from another one's.
    pub(crate) name: &'static str,
    /// Where it listens, all of it on one port.
    pub(crate) listen: Vec<SocketAddr>,
    /// Processes for each address. One logs in the order of arrival: what is not in the log before a later request has
    /// not arrived.
    pub(crate) children: u32,
    /// What it does.
    pub(crate) script: Script,
}

impl Kamailio {
    /// That of the server's addresses.
    pub(super) fn usual(script: Script) -> Self {
        let families = if script.file().is_some() { &[SERVER4][..] } else { &[SERVER4, SERVER6] };
        let listen = families.iter().map(|ip| SocketAddr::new(*ip, 5060)).collect();
        Self { name: "kamailio", listen, children: 1, script }
    }

    /// Starts it; it listens when this is done. Its files are in `dir`.
    #[track_caller]
    pub(crate) fn start(&self, server: &NetNs, dir: &Path) -> Program {
        let Self { name, listen, script, .. } = self;
        let (file, run) = (dir.join(format!("{name}.cfg")), dir.join(name));
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(&file, script.file().map_or_else(|| self.config(), logging)).unwrap();
        let mut command = server.command("kamailio");
        command.args(["-DD", "-E", "-m", "32", "-M", "4", "-f"]).arg(&file).arg("-Y").arg(&run);
        command.arg("-P").arg(run.join("pid"));
        let log = dir.join(format!("{name}.log"));
        let mut program = Program::start("kamailio", &mut command, Some(&log)).unwrap();
        let port = format!("sport = {}", listen[0].port());
        wait_until("Kamailio listens", PATIENCE, || {
            assert!(program.ended().unwrap().is_none(), "Kamailio ended:\n{}", program.log_tail(20));
            let sockets = output(server.command("ss").args(["-Hlun", &port])).unwrap();
            sockets.lines().count() >= listen.len()
        });
        program
    }

    /// Its file, made of what it is told.
    fn config(&self) -> String {
        let Self { listen, children, script, .. } = self;
        let mut config = format!(
            "#!KAMAILIO\ndebug=1\nlog_stderror=yes\nchildren={children}\ndisable_tcp=yes\nauto_aliases=no\ndns=no\n\
             rev_dns=no\nmpath=\"{MODULES}/\"\n"
        );
        listen.iter().for_each(|address| writeln!(config, "listen=udp:{address}").unwrap());
        script.modules.iter().for_each(|module| writeln!(config, "loadmodule \"{module}.so\"").unwrap());
        writeln!(config, "request_route {{\n{SEEN}{}}}", script.routes.concat()).unwrap();
        config
    }
}

/// The file with what the others have.
fn logging(file: &str) -> String {
    let begin = "request_route {\n";
    assert!(file.contains(begin), "a file with a route");
    file.replace(begin, &format!("loadmodule \"xlog.so\"\n{begin}{SEEN}"))
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

impl Site {
    /// Kamailio and all its processes get this signal.
    #[track_caller]
    pub(crate) fn signal_server(&self, signal: Signal) {
        killpg(Pid::from_raw(self.kamailio.id().cast_signed()), signal).unwrap();
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
        self.kamailio = Kamailio::usual(self.script).start(&self.server, self.dir.path());
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
        self.signal_server(if still { Signal::SIGSTOP } else { Signal::SIGCONT });
    }

    /// Waits until Kamailio has logged a request with this Call-ID.
    #[track_caller]
    pub(crate) fn arrives(&self, call: &str) {
        wait_until(&format!("{call} reaches Kamailio"), PATIENCE, || self.seen_calls(call) > 0);
    }
}
