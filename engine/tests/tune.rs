//! `vosctl tune` on a wire of its own: what it sets and puts back, as `ethtool` and `cat` show it.
//!
//! Needs root. Each test makes a namespace of its own and removes it. Sysctls that are the machine's are those of a tree of
//! files, which `--root` names.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};

use vos_bench::{NetNs, VethPair};
use vos_engine::ethtool::{Ethtool, RX_VLAN};
use vos_engine::tune::Store;

/// What a profile of a site says; all of it is the namespace's own.
const SITE: &str = "
[interface]
channels = 3
rx_vlan = false
napi_defer_hard_irqs = 2
gro_flush_timeout = 200000
rx_ring = 512
[steering]
sip = \"own-queue\"
[sysctl]
net.netfilter.nf_conntrack_udp_timeout = { at_least = 77 }
net.netfilter.nf_conntrack_udp_timeout_stream = { at_most = 66 }
";

fn ready() -> bool {
    let conntrack = || Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists();
    vos_bench::ready(&["ip", "ethtool"])
        && (conntrack() || vos_bench::ready::skipped("conntrack: modprobe nf_conntrack"))
}

struct Site {
    dut: NetNs,
    _peer: NetNs,
    _wires: [VethPair; 2],
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let (dut, peer) = (NetNs::new("tune").expect("made"), NetNs::new("tunepeer").expect("made"));
        let wires =
            ["0", "1"].map(|n| VethPair::new(&dut, &format!("dut{n}"), &peer, &format!("peer{n}"), 8).expect("a wire"));
        Self { dut, _peer: peer, _wires: wires, dir: tempfile::tempdir().expect("a directory") }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn put(&self, name: &str, text: &str) -> String {
        let file = self.dir.path().join(name);
        fs::create_dir_all(file.parent().expect("a directory")).expect("made");
        fs::write(&file, text).expect("written");
        file.display().to_string()
    }

    /// By `ip netns exec`, which shows the namespace's own `/sys`.
    fn run(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.dut.name(), program]).args(words);
        command.output().expect("runs")
    }

    fn tune(&self, iface: &str, words: &[&str]) -> (i32, String) {
        let words = self.words(iface, words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.ended(self.run(env!("CARGO_BIN_EXE_vosctl"), &words))
    }

    fn words(&self, iface: &str, words: &[&str]) -> Vec<String> {
        let config = self.put("vos.toml", "iface = \"unused0\"\n[xdp]\nsip_ports = [5060, 5080]\n");
        let (run, state) = (self.path("run"), self.path("state"));
        let fixed = ["--iface", iface, "--run-dir", &run, "tune", "--config", &config, "--state-dir", &state];
        fixed.iter().chain(words).map(|&word| word.to_owned()).collect()
    }

    fn ended(&self, output: Output) -> (i32, String) {
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().expect("no signal"), String::from_utf8(text).expect("text"))
    }

    fn shown(&self, program: &str, words: &[&str]) -> String {
        self.ended(self.run(program, words)).1
    }

    /// Everything of the interface and the namespace that a profile may touch, in the words of others.
    fn seen(&self, iface: &str) -> String {
        let mut seen: String =
            ["-k", "-l", "-g", "-c", "-x", "-n"].map(|letter| self.shown("ethtool", &[letter, iface])).concat();
        for file in ["napi_defer_hard_irqs", "gro_flush_timeout"] {
            seen += &self.shown("cat", &[&format!("/sys/class/net/{iface}/{file}")]);
        }
        for key in ["max", "udp_timeout", "udp_timeout_stream"] {
            seen += &self.conntrack(key);
        }
        seen
    }

    fn conntrack(&self, key: &str) -> String {
        self.shown("cat", &[&format!("/proc/sys/net/netfilter/nf_conntrack_{key}")])
    }

    fn device(&self, iface: &str, file: &str) -> String {
        self.shown("cat", &[&format!("/sys/class/net/{iface}/{file}")]).trim().to_owned()
    }

    fn channels(&self, iface: &str) -> Vec<String> {
        let shown = self.shown("ethtool", &["-l", iface]);
        let now = shown.split("Current").nth(1).expect("what is now").lines().filter(|line| line.contains("X:"));
        now.map(|line| line.split_whitespace().collect()).collect()
    }
}

#[test]
fn a_profile_is_set_seen_and_put_back() {
    if !ready() {
        return;
    }
    let site = Site::new();
    let profile = site.put("site.toml", SITE);
    let before = site.seen("dut0");

    let (code, script) = site.tune("dut0", &[&profile, "--dry-run"]);
    assert_eq!(code, 0, "{script}");
    assert_eq!(site.seen("dut0"), before, "a dry run is none");
    assert!(!Path::new(&site.path("state")).exists(), "not even a journal");

    let (code, text) = site.tune("dut0", &[&profile]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("skipped   rings: the driver of dut0 has no rings"), "{text}");
    assert!(text.contains("skipped   rule for udp4 port 5080: the driver of dut0 has no rules"), "{text}");
    assert_eq!(site.channels("dut0"), ["RX:3", "TX:3"]);
    assert!(site.shown("ethtool", &["-k", "dut0"]).contains("rx-vlan-offload: off"));
    assert_eq!(
        (site.device("dut0", "napi_defer_hard_irqs"), site.device("dut0", "gro_flush_timeout")),
        ("2".into(), "200000".into())
    );
    assert_eq!((site.conntrack("udp_timeout"), site.conntrack("udp_timeout_stream")), ("77\n".into(), "66\n".into()));
    let tuned = site.seen("dut0");
    assert_eq!(site.tune("dut0", &[]).0, 0, "no drift");
    assert_eq!(site.tune("dut0", &[&profile]).0, 0);
    assert_eq!(site.seen("dut0"), tuned);

    // somebody changes something
    site.run("ethtool", &["-K", "dut0", "rxvlan", "on"]);
    let (code, text) = site.tune("dut0", &[]);
    assert_eq!((code, text.matches("FAILED").count()), (1, 1), "{text}");
    assert!(text.contains("offload rx-vlan-hw-parse: is on; should be off"), "{text}");
    assert_eq!(site.tune("dut0", &[&profile]).0, 0);
    assert_eq!(site.seen("dut0"), tuned);

    let (code, text) = site.tune("dut0", &["--revert"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(site.seen("dut0"), before);
    assert!(!Path::new(&site.path("state/tune/dut0.json")).exists());
    assert_eq!(site.tune("dut0", &["--revert"]).0, 0, "nothing to do is no failure");

    // what was printed first does the same
    let pasted = site.put("script.sh", &script);
    let (code, text) = site.ended(site.run("sh", &["-e", &pasted]));
    assert_eq!((code, site.seen("dut0")), (0, tuned), "{text}\n{script}");
    let (code, text) = site.tune("dut0", &[&profile]);
    assert!(code == 0 && !text.contains("  done"), "{text}");
}

#[test]
fn what_the_kernel_refuses_is_named_and_all_else_is_done_and_undone() {
    if !ready() {
        return;
    }
    let site = Site::new();
    // of the machine: only shown in a namespace
    let profile = site.put("site.toml", &format!("{SITE}net.netfilter.nf_conntrack_max = 4242424\n"));
    let before = site.seen("dut0");
    // as containers have it
    let file = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";
    let script = format!("mount --bind {file} {file} && mount -o remount,ro,bind {file} && exec \"$@\"");
    let words = site.words("dut0", &[&profile]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = [&["-c", &script, "sh", env!("CARGO_BIN_EXE_vosctl")], &words[..]].concat();
    let (code, text) = site.ended(site.run("sh", &words));
    assert_eq!((code, text.matches("FAILED").count()), (1, 1), "{text}");
    assert!(text.contains("sysctl -w net.netfilter.nf_conntrack_udp_timeout=77: Read-only file system"), "{text}");
    assert!(text.contains("skipped   net.netfilter.nf_conntrack_max: only the host's own"), "{text}");
    assert_eq!(site.channels("dut0"), ["RX:3", "TX:3"]);
    assert_eq!(site.conntrack("udp_timeout_stream"), "66\n");
    let (code, text) = site.tune("dut0", &["--revert"]);
    assert_eq!((code, site.seen("dut0")), (0, before), "{text}");

    // a profile of which this card has nothing
    let nothing = site.put("none.toml", "[interface]\nrx_ring = 512\nrx_usecs = 5\n");
    let (code, text) = site.tune("dut0", &[&nothing]);
    assert_eq!((code, text.matches("skipped").count()), (1, 2), "{text}");
    let (code, text) = site.tune("nosuch0", &[&profile]);
    assert!(code == 4 && text.contains("no interface nosuch0"), "{text}");
    let (code, text) = site.tune("dut0", &["lowlatency"]);
    assert!(code == 2 && text.contains("low-latency"), "{text}");

    // what keeps it from beginning is told from what it could not do
    let bad = site.put("bad.toml", "[interface]\nrx_rings = 5\n");
    let cores = site.put("cores.toml", "[cores]\nengine = \"1000-1003\"\n[interface]\nchannels = \"engine\"\n");
    let (unsound, file) = (site.put("unsound.toml", "mode = \"fast\"\n"), site.put("file", ""));
    for (words, expected, why) in [
        (&[bad.as_str()][..], 2, "rx_rings"),
        (&[&cores], 2, "1000-1003"),
        (&[&site.path("none.such.toml")], 2, "No such file"),
        (&[&profile, "--state-dir", &format!("{file}/state")], 6, "Not a directory"),
        (&[&profile, "--config", &unsound], 6, "mode"),
    ] {
        let words = [&["--iface", "dut0", "tune"], words].concat();
        let (code, text) = site.ended(site.run(env!("CARGO_BIN_EXE_vosctl"), &words));
        assert!(code == expected && text.contains(why), "{words:?}: {code}, {text}");
    }
    let _other = Store::lock(Path::new(&site.path("state")), "dut1").expect("nobody else");
    let (code, text) = site.tune("dut0", &[&profile]);
    assert!(code == 6 && text.contains("another `vosctl tune` is at work"), "{text}");
}

#[test]
fn queues_stay_while_an_engine_is_at_work() {
    if !ready() {
        return;
    }
    let site = Site::new();
    let profile = site.put("site.toml", SITE);
    fs::create_dir_all(site.path("run")).expect("made");
    let _engine = UnixListener::bind(site.path("run/dut0.sock")).expect("bound");
    let before = site.seen("dut0");
    let (code, text) = site.tune("dut0", &[&profile]);
    assert_eq!((code, text.matches("  held").count()), (1, 2), "{text}");
    assert!(text.contains("stop vos-engine first, or insist with --force"), "{text}");
    assert_eq!(site.channels("dut0"), ["RX:8", "TX:8"]);
    assert_eq!(site.device("dut0", "napi_defer_hard_irqs"), "2", "what resets nothing is set");
    let (code, text) = site.tune("dut0", &[&profile, "--force"]);
    assert_eq!((code, site.channels("dut0")), (0, vec!["RX:3".to_owned(), "TX:3".to_owned()]), "{text}");
    let (code, text) = site.tune("dut0", &["--revert"]);
    assert_eq!((code, site.seen("dut0")), (0, before), "{text}");
    assert!(text.contains("note: the card was reset beside the engine: restart vos-engine"), "{text}");
}

#[test]
fn files_of_another_namespace_are_told_and_not_written() {
    if !ready() {
        return;
    }
    let site = Site::new();
    let profile = site.put("site.toml", SITE);
    // nsenter leaves /sys as it is
    let mut command = site.dut.command(env!("CARGO_BIN_EXE_vosctl"));
    let (code, text) = site.ended(command.args(site.words("dut0", &[&profile])).output().expect("runs"));
    assert!(code == 1 && text.contains("run this by `ip netns exec`"), "{text}");
    assert_eq!(site.device("dut0", "napi_defer_hard_irqs"), "0");
    assert_eq!(site.channels("dut0"), ["RX:3", "TX:3"], "what needs no file is set");
    assert_eq!(site.tune("dut0", &["--revert"]).0, 0);
}

#[test]
fn of_two_interfaces_the_last_one_puts_back_what_is_the_machines() {
    if !ready() {
        return;
    }
    let site = Site::new();
    let root = site.path("root");
    site.put("root/sys/devices/system/cpu/online", "0-3\n");
    site.put("root/proc/sys/kernel/random/boot_id", "1\n");
    let sysctl = |name: &str| fs::read_to_string(site.path(&format!("root/proc/sys/net/core/{name}"))).expect("there");
    for (name, value) in [("rmem_max", "212992\n"), ("busy_poll", "0\n"), ("busy_read", "0\n")] {
        site.put(&format!("root/proc/sys/net/core/{name}"), value);
    }
    let high = site.put("high.toml", "[sysctl]\nnet.core.rmem_max = { at_least = 9000000 }\nnet.core.busy_poll = 50\n");
    let low = site.put(
        "low.toml",
        "[sysctl]\nnet.core.rmem_max = { at_least = 4000000 }\nnet.core.busy_poll = 20\nnet.core.busy_read = 7\n",
    );
    for reverted in [["dut0", "dut1"], ["dut1", "dut0"]] {
        assert_eq!(site.tune("dut0", &[&high, "--root", &root]).0, 0);
        assert_eq!(site.tune("dut1", &[&low, "--root", &root]).0, 0);
        assert_eq!((sysctl("rmem_max"), sysctl("busy_poll")), ("9000000\n".into(), "20\n".into()));
        assert_eq!(site.tune("dut0", &["--root", &root]).0, 1, "the other one has changed busy_poll");
        let (code, text) = site.tune(reverted[0], &["--revert", "--root", &root]);
        assert_eq!(code, 0, "{text}");
        let left = if reverted[1] == "dut0" { "50\n" } else { "20\n" };
        assert_eq!((sysctl("rmem_max"), sysctl("busy_poll")), ("9000000\n".into(), left.into()), "{text}");
        assert_eq!(site.tune(reverted[1], &["--root", &root]).0, 0, "as its profile wants it");
        let (code, text) = site.tune(reverted[1], &["--revert", "--root", &root]);
        assert_eq!(code, 0, "{text}");
        let all = (sysctl("rmem_max"), sysctl("busy_poll"), sysctl("busy_read"));
        assert_eq!(all, ("212992\n".into(), "0\n".into(), "0\n".into()), "{text}");
    }
}

#[test]
fn an_interface_that_is_no_more_keeps_nothing_from_going_back() {
    if !ready() {
        return;
    }
    // one of two interfaces goes; then the one that stays is put back first, or the other, or it is tuned only then
    for order in [["dut0", "dut1"], ["dut1", "dut0"]] {
        for late in [false, true] {
            let site = Site::new();
            let root = site.path("root");
            site.put("root/sys/devices/system/cpu/online", "0-3\n");
            site.put("root/proc/sys/kernel/random/boot_id", "1\n");
            let sysctl =
                |name: &str| fs::read_to_string(site.path(&format!("root/proc/sys/net/core/{name}"))).expect("there");
            for (name, value) in [("rmem_max", "212992\n"), ("busy_poll", "0\n")] {
                site.put(&format!("root/proc/sys/net/core/{name}"), value);
            }
            let stays = site.put("stays.toml", "[sysctl]\nnet.core.rmem_max = { at_least = 4000000 }\n");
            let goes = site.put(
                "goes.toml",
                "[interface]\nrx_vlan = false\n[sysctl]\nnet.core.rmem_max = { at_least = 9000000 }\nnet.core.busy_poll = 50\n",
            );
            let tune = |iface: &str, words: &[&str]| site.tune(iface, &[words, &["--root", &root]].concat());
            if !late {
                assert_eq!(tune("dut0", &[&stays]).0, 0);
            }
            // the tree has no files of its own, so that it has the link's offloads alone
            let (code, text) = tune("dut1", &[&goes]);
            assert_eq!(code, 0, "{text}");
            site.dut.ip("link del dut1").expect("deleted");
            if late {
                assert_eq!(tune("dut0", &[&stays]).0, 0);
            }
            for iface in order {
                let (code, text) = tune(iface, &["--revert"]);
                assert_eq!(code, 0, "{text}");
                assert!(!Path::new(&site.path(&format!("state/tune/{iface}.json"))).exists(), "{text}");
                let gone = text.contains("there is no dut1 any more: what was its own went with it");
                assert_eq!(gone, iface == "dut1", "{text}");
                if iface == "dut0" {
                    assert_eq!(sysctl("rmem_max"), "212992\n", "{order:?}, {late}: {text}");
                }
            }
            assert_eq!((sysctl("rmem_max"), sysctl("busy_poll")), ("212992\n".into(), "0\n".into()));
            let (code, text) = tune("dut1", &["--revert"]);
            assert!(code == 4 && text.contains("no interface dut1"), "{text}");
        }
    }
}

#[test]
fn the_card_is_read_as_ethtool_reads_it() {
    if !ready() {
        return;
    }
    let site = Site::new();
    let read = || {
        site.dut
            .enter(|| Ethtool::open("dut0").and_then(|tool| Ok((tool.features()?, tool.channels()?, tool.driver()?))))
    };
    let (features, channels, driver) = read().expect("entered").expect("read");
    assert_eq!((driver.as_str(), channels.rx, channels.max_tx, channels.combined), ("veth", 8, 8, 0));
    // lines such as `rx-vlan-offload: on [fixed]`; the program has names of its own for the older ones
    let shown = site.shown("ethtool", &["-k", "dut0"]);
    let mut compared = 0;
    for line in shown.lines().skip(1) {
        let (name, value) = line.trim().split_once(": ").expect("name and value");
        let Some(feature) = features.iter().find(|feature| feature.name == name) else { continue };
        compared += 1;
        assert_eq!((feature.on, feature.fixed), (value.starts_with("on"), value.contains("[fixed]")), "{line}");
    }
    assert!(compared > 30, "{compared} of {} features", features.len());
    let vlan = features.iter().find(|feature| feature.name == RX_VLAN).expect("known");
    assert!(vlan.on && !vlan.fixed && shown.contains("rx-vlan-offload: on\n"));
}
