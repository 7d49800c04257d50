//! README.md and the pages of docs/, as somebody would follow them: every block of commands is run, here or by the test that
//! its fence names; every link leads somewhere; every `vosctl` in the text is a command that there is.

/// Blocks of commands, links, commands in the text.
mod read;

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::read::{Block, Page, pages};
use crate::broker::Broker;
use crate::push::Fleet;
use crate::site::{Hub, Node, wait_until};

/// Who runs a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    /// This test, line by line, on a host whose engine runs; each line must succeed.
    Host,
    /// Likewise, but exit code 4 is as good: what it names is there only after traffic that tests of `floods` send.
    Found,
    /// Likewise, but exit code 5, warnings alone, is as good: a test's interface is no card.
    Examined,
    /// Likewise, until interrupted: a line that has not failed by then is good.
    Follows,
    /// This test, as one script on a host where no engine runs yet.
    Script,
    /// This test, on a host whose engine has two backends.
    Backends,
    /// This test, on hosts with a broker and sshd.
    Cluster,
    /// `make` takes the targets. What they do is what CI does, and benches.
    Make,
    /// Another test, in this file, which names this word's page.
    Elsewhere(&'static str),
}

/// The words behind `sh` on fences.
const RUNNERS: [(&str, Runner); 12] = [
    ("", Runner::Host),
    ("found", Runner::Found),
    ("doctor", Runner::Examined),
    ("follows", Runner::Follows),
    ("script", Runner::Script),
    ("backends", Runner::Backends),
    ("cluster", Runner::Cluster),
    ("make", Runner::Make),
    ("machines", Runner::Elsewhere("bench/tests/shield.rs")),
    ("fresh", Runner::Elsewhere("deploy/fresh/journey.sh")),
    ("tune", Runner::Elsewhere("deploy/fresh/journey.sh")),
    ("rollout", Runner::Elsewhere("deploy/fresh/rollout-check.sh")),
];

/// Pages of which another test runs all.
const OTHERS: [(&str, &str); 2] =
    [("docs/watching.md", "engine/tests/control/watching.rs"), ("docs/page.md", "engine/tests/control/browser.rs")];

/// How long a command that never ends by itself is watched, as `timeout` takes it.
const WATCHED: &str = "2";

/// The blocks of all pages with this runner, in order.
fn run_by(runner: Runner) -> Vec<(Page, Vec<Block>)> {
    let of = |page: Page| {
        let blocks = page.commands().into_iter().filter(|block| who(&page, block) == runner).collect();
        (page, blocks)
    };
    pages().into_iter().map(of).filter(|(_, blocks): &(_, Vec<_>)| !blocks.is_empty()).collect()
}

fn who(page: &Page, block: &Block) -> Runner {
    if let Some((_, test)) = OTHERS.iter().find(|(name, _)| *name == page.name) {
        return Runner::Elsewhere(test);
    }
    let known = RUNNERS.iter().find(|(word, _)| *word == block.word);
    known.unwrap_or_else(|| panic!("{}:{}: nobody runs `sh {}`", page.name, block.line, block.word)).1
}

/// A host as the pages take it for granted.
struct Host {
    node: Node,
}

impl Host {
    /// No engine runs there yet. Programs are in the path, the files that the pages name in the working directory.
    fn new() -> Self {
        let host = Self { node: Node::alone() };
        let (run, state) = (host.node.path("run"), host.node.path("state"));
        let (run, state, toml) = (run.display(), state.display(), host.node.path("vos.toml").display().to_string());
        let (engine, vosctl, iface) =
            (env!("CARGO_BIN_EXE_vos-engine"), env!("CARGO_BIN_EXE_vosctl"), &host.node.iface);
        // whoever types the next line has seen that the engine is ready
        host.program(
            "vosctl",
            &format!(
                "for _ in $(seq 600); do [ -S {run}/{iface}.sock ] && break; sleep 0.05; done\n\
                 exec {vosctl} --run-dir {run} \"$@\""
            ),
        );
        host.program(
            "vos-engine",
            &format!(
                "case $1 in unload | check) exec {engine} \"$@\" ;; esac\n\
                 exec {engine} --config {toml} --run-dir {run} --state-dir {state} \"$@\""
            ),
        );
        // it needs a screen; this one reads the same
        host.program("wireshark", "exec tcpdump -n -r -");
        fs::create_dir_all(host.folder()).expect("room");
        let new = format!("iface = \"{iface}\"\n[rates.unknown]\nregister = \"20/min burst 20\"\n");
        for (name, content) in [
            ("partner.txt", &b"198.51.100.77 ttl=1h\n198.51.100.128/25  # a net\n"[..]),
            ("new.toml", new.as_bytes()),
            ("calls.pcapng", &PCAPNG),
        ] {
            fs::write(host.folder().join(name), content).expect("room");
        }
        fs::write(toml, "").expect("room");
        host
    }

    fn folder(&self) -> PathBuf {
        self.node.path("home")
    }

    /// A program in the path.
    fn program(&self, name: &str, script: &str) {
        let file = self.node.path("bin").join(name);
        fs::create_dir_all(self.node.path("bin")).expect("room");
        fs::write(&file, format!("#!/bin/bash\n{script}\n")).expect("room");
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("ours");
    }

    /// The script with this host's names.
    fn named(&self, script: &str) -> String {
        script.replace("/run/vos/", &format!("{}/", self.node.path("run").display())).replace("eth0", &self.node.iface)
    }

    /// Bash with this script on this host, not yet started.
    fn bash(&self, script: &str) -> Command {
        let mut command = self.node.server.command("bash");
        let path = format!("{}:{}", self.node.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        command.args(["-o", "pipefail", "-ec", &self.named(script)]).current_dir(self.folder());
        // whoever tests may have come by ssh, and must not count as the peer that a block would lock out
        command.env("PATH", path).env_remove("SSH_CONNECTION");
        command
    }

    /// Runs it; it must end with one of these exit codes.
    #[track_caller]
    fn runs(&self, place: &str, script: &str, good: &[i32]) {
        let done = self.bash(script).output().expect("bash");
        let said = [done.stdout, done.stderr].concat();
        let is_good = done.status.code().is_some_and(|code| good.contains(&code));
        assert!(is_good, "{place}: {script}: {}\n{}", done.status, String::from_utf8_lossy(&said));
    }
}

/// A file of pcapng without a packet: the header of a section and one interface, Ethernet.
const PCAPNG: [u8; 48] = {
    let mut file = [0; 48];
    let blocks: [(usize, &[u8]); 8] = [
        (0, &[0x0a, 0x0d, 0x0d, 0x0a]),
        (4, &[28]),
        (8, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0]),
        (16, &[0xff; 8]),
        (24, &[28]),
        (28, &[1, 0, 0, 0, 20, 0, 0, 0, 1]),
        (40, &[0, 0, 4, 0]),
        (44, &[20]),
    ];
    let mut block = 0;
    while block < blocks.len() {
        let (at, bytes) = blocks[block];
        let mut byte = 0;
        while byte < bytes.len() {
            file[at + byte] = bytes[byte];
            byte += 1;
        }
        block += 1;
    }
    file
};

/// What a scanner asks.
fn options() -> Vec<u8> {
    "OPTIONS sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5061;branch=z9hG4bKpage\r\nFrom: <sip:1@e.com>;tag=1\r\n\
     To: <sip:1@e.com>\r\nCall-ID: page\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        .into()
}

#[test]
fn every_command_of_the_pages_works() {
    if !vos_bench::ready(&["curl", "tcpdump", "timeout"]) {
        return;
    }
    let mut lines = 0;
    for page in pages() {
        let on_a_host = |block: &Block| {
            matches!(who(&page, block), Runner::Host | Runner::Found | Runner::Examined | Runner::Follows)
        };
        let blocks: Vec<Block> = page.commands().into_iter().filter(on_a_host).collect();
        if blocks.is_empty() {
            continue;
        }
        let mut host = Host::new();
        host.node.start("");
        for block in &blocks {
            let runner = who(&page, block);
            for (line, command) in &block.commands {
                let place = format!("{}:{line}", page.name);
                match runner {
                    Runner::Follows => follow(&host, &place, command),
                    Runner::Found => host.runs(&place, command, &[0, 4]),
                    Runner::Examined => host.runs(&place, command, &[0, 5]),
                    _ => host.runs(&place, command, &[0]),
                }
                lines += 1;
            }
        }
        host.node.stop();
    }
    assert!(lines >= 50, "only {lines} commands are found");
}

/// A command that goes on until it is interrupted, while something happens.
#[track_caller]
fn follow(host: &Host, place: &str, command: &str) {
    let mut watched = host.node.server.command("timeout");
    let bash = host.bash(command);
    watched.args(["--signal=INT", WATCHED]).args(bash.get_args().skip_while(|word| *word != "bash"));
    watched.current_dir(host.folder()).env_remove("SSH_CONNECTION");
    for (name, value) in bash.get_envs() {
        if let Some(value) = value {
            watched.env(name, value);
        }
    }
    let run = std::thread::scope(|scope| {
        let run = scope.spawn(|| watched.output().expect("timeout"));
        while !run.is_finished() {
            host.node.send(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66)), &options());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        run.join().expect("it is watched")
    });
    let said = [run.stdout, run.stderr].concat();
    // 124: it had to be interrupted
    assert!(
        matches!(run.status.code(), Some(0 | 124)),
        "{place}: {command}: {}\n{}",
        run.status,
        String::from_utf8_lossy(&said)
    );
}

/// Each block from its first line to its last, as it stands.
#[test]
fn every_script_of_the_pages_works() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let scripts = run_by(Runner::Script);
    assert!(!scripts.is_empty());
    for (page, blocks) in scripts {
        for block in blocks {
            let host = Host::new();
            let lines: Vec<&str> = block.commands.iter().map(|(_, line)| line.as_str()).collect();
            let script = format!("{}\nkill $(jobs -p) 2>/dev/null || true\nwait", lines.join("\n"));
            host.runs(&format!("{}:{}", page.name, block.line), &script, &[0]);
        }
    }
}

#[test]
fn every_command_about_backends_works() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let pages = run_by(Runner::Backends);
    assert!(!pages.is_empty());
    for (page, blocks) in pages {
        let host = Host::new();
        let config = "[relay]\nto = \"proxy\"\nfallback = \"drop\"\n[[backend]]\nname = \"a\"\naddress = \"127.0.0.1:15097\"\n\
                      [[backend]]\nname = \"b\"\naddress = \"127.0.0.1:15098\"\n";
        fs::write(host.node.path("vos.toml"), config).expect("room");
        let lines: Vec<&str> = blocks.iter().flat_map(|block| &block.commands).map(|(_, line)| line.as_str()).collect();
        let script = format!("vos-engine --iface eth0 &\n{}\nkill %1\nwait", lines.join("\n"));
        host.runs(&page.name, &script, &[0]);
    }
}

/// `sip-a` and `sip-d` have a log in common, `sip-b` and `sip-c` are reached by ssh.
#[test]
fn every_command_about_clusters_works() {
    if !vos_bench::ready(&["rabbitmq-server", "ssh", "sshd", "ssh-keygen"]) {
        return;
    }
    let mut fleet = Fleet::new(2);
    (0..2).for_each(|number| fleet.serve(number));
    let list = fleet.path("partner.txt");
    fs::write(&list, "203.0.113.7 ttl=7d reason=scans\n").expect("room");
    let ssh = fleet.configure(&["sip-b", "sip-c"]);

    let hub = Hub::new();
    let broker = Broker::start(&hub.ns, Hub::ADDRESS);
    let config = |name: &str| {
        format!("[amqp]\nurl = \"{}\"\n[cluster]\nnode = \"{name}\"\nlog = \"vos.decisions\"\n", broker.url())
    };
    let [mut here, mut gone] = [(); 2].map(|()| Node::on(&hub));
    here.start(&config("sip-a"));
    gone.start(&config("sip-d"));
    wait_until("both agree", || {
        let status = here.json(&["cluster", "status"]);
        status["agree"] == true && status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)
    });
    let (mut gone, mut told) = (Some(gone), Vec::new());
    for (page, blocks) in run_by(Runner::Cluster) {
        for (line, command) in blocks.iter().flat_map(|block| &block.commands) {
            let words = shlex::split(command).expect("words");
            let words: Vec<&str> =
                words.iter().map(String::as_str).take_while(|word| !word.starts_with('#')).skip(1).collect();
            let done = match words[..] {
                ["cluster", "push", ..] => fleet.by_names(&ssh, &words[2..]).output(),
                ["cluster", "forget", _] => {
                    if let Some(mut node) = gone.take() {
                        node.stop();
                    }
                    here.command(&words).output()
                }
                _ => here.command(&words).output(),
            };
            let done = done.expect("vosctl");
            let said = [done.stdout, done.stderr].concat();
            assert!(done.status.success(), "{}:{line}: {command}: {}", page.name, String::from_utf8_lossy(&said));
            told.push(words[1].to_owned());
        }
    }
    assert!(["status", "forget", "push"].iter().all(|word| told.iter().any(|said| said == word)), "{told:?}");
}

/// What `make` is asked for is there.
#[test]
fn every_target_of_make_is_there() {
    for (page, blocks) in run_by(Runner::Make) {
        for (line, command) in blocks.iter().flat_map(|block| &block.commands) {
            let place = format!("{}:{line}: {command}", page.name);
            let mut words = command.split_whitespace().take_while(|word| !word.starts_with('#'));
            assert_eq!(words.next(), Some("make"), "{place}");
            let mut make = Command::new("make");
            // nothing is run but what finds Rust
            let done = make.arg("--dry-run").args(words).current_dir(read::root()).output().expect("make");
            assert!(done.status.success(), "{place}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

/// Whoever else is said to run a block says so, too.
#[test]
fn what_others_run_is_run_by_them() {
    let of_words = RUNNERS.into_iter().filter_map(|(word, runner)| match runner {
        Runner::Elsewhere(test) => Some((word, test)),
        _ => None,
    });
    for (word, test) in of_words.chain(OTHERS) {
        let text = fs::read_to_string(read::root().join(test)).unwrap_or_else(|error| panic!("{test}: {error}"));
        let pages = run_by(Runner::Elsewhere(test));
        assert!(!pages.is_empty(), "no page has blocks of {word}");
        for (page, _) in pages {
            assert!(text.contains(&page.name), "{test} does not run {}", page.name);
        }
    }
}

/// What the pages configure is a configuration.
#[test]
fn every_configuration_of_the_pages_is_valid() {
    let folder = tempfile::tempdir().expect("a folder");
    // a start refuses those that are missing, or open to everybody
    for (name, secret) in [("token", "0123456789abcdef"), ("amqp.password", "secret")] {
        let file = folder.path().join(name);
        fs::write(&file, secret).expect("room");
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).expect("ours");
    }
    let here = format!("{}/", folder.path().display());
    let mut seen = 0;
    for page in pages() {
        for block in page.blocks().into_iter().filter(|block| block.language == "toml") {
            let file = folder.path().join("vos.toml");
            fs::write(&file, block.text().replace("/etc/vos/", &here)).expect("room");
            let mut check = Command::new(env!("CARGO_BIN_EXE_vos-engine"));
            let done = check.args(["check", "--iface", "lo", "--config"]).arg(&file).output().expect("vos-engine");
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{}:{}: {said}", page.name, block.line);
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} are found");
}

/// A page that is moved or a heading that is renamed leaves nobody behind.
#[test]
fn every_link_of_the_pages_leads_somewhere() {
    let pages = pages();
    let mut seen = 0;
    for page in &pages {
        let folder = page.path.parent().unwrap_or(Path::new("/"));
        for link in page.links() {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = if file.is_empty() { page.path.clone() } else { folder.join(file) };
            let to = to.canonicalize().unwrap_or_else(|error| panic!("{}: {link}: {error}", page.name));
            let other = pages.iter().find(|other| other.path == to);
            let is_there =
                anchor.is_empty() || other.is_some_and(|other| other.anchors().iter().any(|is| is == anchor));
            assert!(is_there, "{}: there is no heading for {link}", page.name);
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} are found");
}

/// Each alert leads to its heading. (`configs/prometheus` has `runbook: docs/troubleshooting.md#vos-attack`.)
#[test]
fn every_alert_has_its_heading() {
    let pages = pages();
    let page = pages.iter().find(|page| page.name == "docs/troubleshooting.md").expect("the page");
    let anchors = page.anchors();
    let rules = read::root().join("configs/prometheus/vos.rules.yml");
    let rules = fs::read_to_string(&rules).unwrap_or_else(|error| panic!("{}: {error}", rules.display()));
    let named: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert!(named.len() >= 10, "{named:?}");
    for runbook in named {
        let anchor = runbook.strip_prefix("docs/troubleshooting.md#").unwrap_or_else(|| panic!("{runbook}"));
        assert!(anchors.iter().any(|is| is == anchor), "docs/troubleshooting.md has no heading for {anchor}");
    }
}

/// What the text calls a command is one.
#[test]
fn every_vosctl_of_the_text_is_a_command() {
    let mut seen = BTreeSet::new();
    let mut unknown = Vec::new();
    for page in pages() {
        for words in page.spoken("vosctl ") {
            if !seen.insert(words.clone()) {
                continue;
            }
            let mut help = Command::new(env!("CARGO_BIN_EXE_vosctl"));
            if !help.arg("help").args(&words).output().expect("vosctl").status.success() {
                unknown.push(format!("{}: vosctl {}", page.name, words.join(" ")));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(seen.len() >= 20, "{seen:?}");
}
