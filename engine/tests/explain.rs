//! `explain` by a filter in the kernel: the verdict table again, run beside pinned maps as an engine leaves them, and
//! what `vosctl` says of files.
//!
//! Needs root and a BPF file system; the pins have a name of their own and go with the test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, MapData, PerCpuArray};
use aya::{Ebpf, EbpfLoader};
use serde_json::Value;
use vos_common::cases::{self, Case, Packet, World as Table};
use vos_common::rate::{ClockBucket, Limits, SOURCE_BUCKETS, VERIFIED_BUCKETS, VerifiedBucket, bucket, source_key};
use vos_common::reason::Reason;
use vos_common::rule::{Addr, GateBlock, Rule};
use vos_common::signature::Signatures;
use vos_common::state::{Config, Homes, Ports, V6_RULES};
use vos_common::verdict::{Action, Judged, Verdict};
use vos_engine::control::clock::Clock;
use vos_engine::explain::World;
use vos_engine::pcap::Writer;
use vos_engine::xdp::OBJECT;
use vos_engine::xdp::aside::{Aside, AsideError, LONGEST, SHORTEST};

const PINNED: [&str; 15] = [
    "CONFIG",
    "HOMES",
    "PORTS",
    "EXACT",
    "PREFIX",
    "GATE",
    "BUDGETS",
    "HEART",
    "XSKS",
    "REASONS",
    "WOULD_DROP",
    "VERIFIED",
    "SIGNATURES",
    "SOURCES",
    "PREFIXES",
];

/// The table's world in pinned maps. What is attached to nothing needs no interface.
struct Filter {
    iface: String,
    dir: PathBuf,
    ebpf: Ebpf,
    now: u64,
    table: Table,
}

impl Drop for Filter {
    fn drop(&mut self) {
        let _not_there_any_more = std::fs::remove_dir_all(&self.dir);
    }
}

fn map<'a, T: TryFrom<&'a mut aya::maps::Map>>(ebpf: &'a mut Ebpf, name: &str) -> T {
    T::try_from(ebpf.map_mut(name).unwrap()).ok().unwrap()
}

impl Filter {
    fn pin() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let iface = format!("vx{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = Path::new("/sys/fs/bpf/vos").join(&iface);
        std::fs::create_dir_all(&dir).unwrap();
        let mut loader = EbpfLoader::new();
        for name in PINNED {
            loader.map_pin_path(name, dir.join(name));
        }
        let now = Clock::now().mono_ns();
        let mut filter = Self { iface, dir, ebpf: loader.load(OBJECT).unwrap(), now, table: Table::at(now) };
        filter.fill();
        filter
    }

    fn fill(&mut self) {
        let (ebpf, table) = (&mut self.ebpf, &self.table);
        map::<Array<_, Signatures>>(ebpf, "SIGNATURES").set(0, *table.signatures, 0).unwrap();
        let homes = [
            (Addr::v4(cases::OWN_V4), true),
            (Addr::from_bytes(cases::OWN_V6), true),
            (Addr::v4(cases::BEHIND_V4), false),
        ];
        map::<Array<_, Homes>>(ebpf, "HOMES").set(0, Homes::of(&homes).unwrap(), 0).unwrap();
        let mut ports: Ports = [0; 1024];
        for port in cases::PORTS {
            ports[usize::from(port / 64)] |= 1 << (port % 64);
        }
        map::<Array<_, Ports>>(ebpf, "PORTS").set(0, ports, 0).unwrap();
        for (addr, bits, rule) in &table.rules {
            if *bits == 128 {
                map::<HashMap<_, Addr, Rule>>(ebpf, "EXACT").insert(addr, rule, 0).unwrap();
            } else {
                map::<LpmTrie<_, Addr, Rule>>(ebpf, "PREFIX").insert(&Key::new(*bits, *addr), rule, 0).unwrap();
            }
        }
        for (addr, bits, limits) in &table.budgets {
            map::<LpmTrie<_, Addr, Limits>>(ebpf, "BUDGETS").insert(&Key::new(*bits, *addr), limits, 0).unwrap();
        }
        let mut gate = map::<Array<_, GateBlock>>(ebpf, "GATE");
        for block in 0..vos_common::rule::GATE_BLOCKS {
            gate.set(block, [u64::MAX; 64], 0).unwrap();
        }
        map::<Array<_, u64>>(ebpf, "HEART").set(0, self.now, 0).unwrap();
        let mut verified: Array<_, VerifiedBucket> = map(ebpf, "VERIFIED");
        for (addr, until) in &table.verified {
            let key = source_key(addr, table.config.seed);
            let at = bucket(key, VERIFIED_BUCKETS);
            let mut bucket = verified.get(&at, 0).unwrap();
            let way = bucket.keys.iter().position(|held| *held == 0).unwrap();
            (bucket.keys[way], bucket.until[way]) = (key, *until);
            verified.set(at, bucket, 0).unwrap();
        }
    }

    /// Puts a case's settings in force.
    fn configure(&mut self, case: &Case, monitor: bool) {
        self.table.prepare(case);
        let mut config = self.table.config;
        config.flags |= V6_RULES;
        if monitor {
            config.monitor |= std::mem::take(&mut config.enforce);
        }
        map::<Array<_, Config>>(&mut self.ebpf, "CONFIG").set(0, config, 0).unwrap();
    }

    /// Whatever the pinned maps count: packets, and sources whose clocks run.
    fn traces(&mut self) -> u64 {
        let count = |map: PerCpuArray<&mut MapData, u64>| -> u64 {
            (0..Reason::ALL.len() as u32).map(|slot| map.get(&slot, 0).unwrap().iter().sum::<u64>()).sum()
        };
        let counted = count(map(&mut self.ebpf, "REASONS")) + count(map(&mut self.ebpf, "WOULD_DROP"));
        let clocks: Array<_, ClockBucket> = map(&mut self.ebpf, "SOURCES");
        let running = (0..SOURCE_BUCKETS).filter(|at| clocks.get(at, 0).unwrap() != ClockBucket::default());
        counted + running.count() as u64
    }
}

/// What the program's counters can tell: whether somebody is trusted or allowed, only where a rule applies.
fn told(judged: Judged) -> (Verdict, Option<Reason>, u64) {
    let applies = judged.verdict.action == Action::Drop || judged.would().is_some();
    (judged.verdict, judged.would(), judged.named * u64::from(applies))
}

fn plain() -> Case {
    let expect = Verdict { action: Action::Redirect, reason: Reason::Redirected };
    Case {
        name: String::new(),
        settings: |_, _| {},
        before: Vec::new(),
        frame: Vec::new(),
        why: "",
        would: None,
        expect,
    }
}

fn table(monitor: bool) {
    let mut filter = Filter::pin();
    filter.configure(&plain(), monitor);
    let mut aside = Aside::open(&filter.iface).unwrap();
    let mut world: Option<World> = None;
    let mut judged = 0;
    for case in cases::all().into_iter().filter(|case| (SHORTEST..=LONGEST).contains(&case.frame.len())) {
        filter.configure(&case, monitor);
        let (config, live) = aside.begin(filter.now).unwrap();
        assert!(live, "the heart has just beaten");
        let world = world.get_or_insert_with(|| World::of_filter(config, aside.policy().unwrap(), live));
        world.begin(Some((config, live)));
        for frame in &case.before {
            let expected = world.explain(frame, filter.now).judged;
            assert_eq!(told(aside.judge(frame, filter.now, live).unwrap()), told(expected), "{}: before", case.name);
        }
        let explained = world.explain(&case.frame, filter.now);
        assert_eq!(told(aside.judge(&case.frame, filter.now, live).unwrap()), told(explained.judged), "{}", case.name);
        if !monitor {
            assert_eq!(explained.judged.verdict, case.expect, "{}", case.name);
        }
        judged += 1;
    }
    assert!(judged > 150, "{judged}");
    assert_eq!(filter.traces(), 0, "asking has left a trace");
}

#[test]
fn the_kernel_agrees_over_the_table_and_notices_nothing() {
    table(false);
}

#[test]
fn the_kernel_agrees_on_what_monitored_rules_would_do() {
    table(true);
}

#[test]
fn packets_are_counted_by_their_times_in_the_kernel_too() {
    let mut filter = Filter::pin();
    filter.configure(&plain(), false);
    let mut aside = Aside::open(&filter.iface).unwrap();
    let invite = Packet::v4(cases::CALLER_V4).sip(&cases::request("INVITE")).build();
    for _ in 0..2 {
        let (_, live) = aside.begin(filter.now).unwrap();
        let mut at = |s: u64| aside.judge(&invite, filter.now + s * 1_000_000_000, live).unwrap().verdict.reason;
        let burst = (0..50).take_while(|_| at(0) == Reason::Redirected).count();
        assert!((1..50).contains(&burst), "{burst}");
        // one a second
        assert_eq!([at(0), at(1), at(1)], [Reason::RateInvite, Reason::Redirected, Reason::RateInvite]);
    }
}

#[test]
fn what_the_kernel_cannot_run_and_what_is_not_loaded_is_said() {
    let mut filter = Filter::pin();
    filter.configure(&plain(), false);
    let mut aside = Aside::open(&filter.iface).unwrap();
    aside.begin(filter.now).unwrap();
    for length in [0, SHORTEST - 1, LONGEST + 1, 65_000] {
        assert!(matches!(aside.judge(&vec![0; length], filter.now, true), Err(AsideError::Length(n)) if n == length));
    }
    for length in [SHORTEST, LONGEST] {
        aside.judge(&vec![0; length], filter.now, true).unwrap();
    }
    let error = Aside::open("nosuch0").err().expect("nothing is loaded");
    assert!(error.to_string().contains("no filter is loaded on nosuch0"), "{error}");
    // as an engine leaves it that knows no budgets
    std::fs::remove_file(filter.dir.join("BUDGETS")).unwrap();
    let error = Aside::open(&filter.iface).err().expect("one map is not there");
    assert!(matches!(error, AsideError::OtherVersion { .. }), "{error}");
}

fn vosctl(run_dir: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vosctl"));
    command.arg("--run-dir").arg(run_dir).arg("explain").args(words).output().unwrap()
}

fn text(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned())
}

fn capture(path: &Path, frames: &[Vec<u8>]) {
    let mut writer = Writer::new(std::fs::File::create(path).unwrap()).unwrap();
    for (n, frame) in (0..).zip(frames) {
        let at = std::time::Duration::from_secs(1_700_000_000 + n);
        writer.write(at, frame, frame.len() as u32).unwrap();
    }
}

#[test]
fn vosctl_explains_files_by_the_defaults_and_by_the_kernel() {
    let mut filter = Filter::pin();
    filter.configure(&plain(), false);
    let dir = tempfile::tempdir().unwrap();
    let (pcap, bin) = (dir.path().join("a.pcap"), dir.path().join("b.bin"));
    let options = Packet::v4(cases::CALLER_V4).sip(&cases::request("OPTIONS")).build();
    let blocked = Packet::v4([203, 0, 113, 66]).sip(&cases::request("INVITE")).build();
    capture(&pcap, &[options, blocked.clone()]);
    std::fs::write(&bin, &blocked).unwrap();
    let (pcap, bin) = (pcap.to_str().unwrap(), bin.to_str().unwrap());

    let (code, said) = text(&vosctl(dir.path(), &[pcap, bin]));
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "# no engine answers: no source rules",
        "# every destination is taken as this host's",
        "a.pcap #1  2023-11-14T22:13:20.000Z  198.51.100.20:",
        "drop  stealth: unknown sources get no answer to OPTIONS",
        "engine  redirected: of an unknown source, survived every rule",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }

    let done = vosctl(dir.path(), &["--json", "--kernel", &filter.iface, pcap, bin]);
    let (code, said) = text(&done);
    assert_eq!(code, Some(0), "{said}");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["world"]["config"], filter.iface.as_str());
    let told: Vec<_> =
        lines[1..].iter().map(|line| (line["reason"].as_str(), line["kernel"]["reason"].as_str())).collect();
    let blocked = (Some("blocked"), Some("blocked"));
    assert_eq!(told, [(Some("stealth"), Some("stealth")), blocked, blocked]);
    assert!(lines[1..].iter().all(|line| line["kernel"]["agrees"] == true), "{said}");
    assert_eq!(
        (&lines[2]["packet"], &lines[3]["packet"], &lines[3]["rule"]["is"]),
        (&2.into(), &1.into(), &"blocked".into())
    );
    assert_eq!(filter.traces(), 0);
}

#[test]
fn files_and_interfaces_that_are_not_there_end_with_a_code_and_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (code, said) = text(&vosctl(dir.path(), &["/nonexistent.pcap"]));
    assert!(code == Some(1) && said.contains("/nonexistent.pcap: No such file"), "{said}");
    let bin = dir.path().join("b.bin");
    std::fs::write(&bin, [0; 60]).unwrap();
    let bin = bin.to_str().unwrap();
    let (code, said) = text(&vosctl(dir.path(), &["--kernel", "nosuch0", bin]));
    assert!(code == Some(1) && said.contains("no filter is loaded on nosuch0"), "{said}");
    let (code, said) = text(&vosctl(dir.path(), &["--config", "/nonexistent.toml", bin]));
    assert!(code == Some(1) && said.contains("/nonexistent.toml"), "{said}");
    assert_eq!(vosctl(dir.path(), &[]).status.code(), Some(2));
}

#[test]
fn who_may_not_ask_the_kernel_is_told_so() {
    let filter = Filter::pin();
    // where everybody may run it
    let dir = tempfile::tempdir().unwrap();
    let vosctl = dir.path().join("vosctl");
    std::fs::copy(env!("CARGO_BIN_EXE_vosctl"), &vosctl).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&vosctl);
    let done = nobody.args(["--run-dir", "/nonexistent", "explain", "--kernel", &filter.iface, "/dev/null"]).output();
    let (code, said) = text(&done.unwrap());
    assert!(code == Some(1) && said.contains("run it as root"), "{said}");
}
