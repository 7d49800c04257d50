//! Profiles against a tree of files that stands for `/proc` and `/sys`, in which everything can be seen byte for byte.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A card that is none.
mod card;

use card::{Fake, Parts};

use super::host::{Machine, Unread, Unset};
use super::journal::Found;
use super::plan::{Plan, Site};
use super::setting::{Knob, Value};
use super::*;
use crate::ethtool::{Channels, Coalescing, Rings, even_table};

/// An eight-core Ryzen with a card of six queues, as `lo`, which every namespace has. What is no file is asked of a card
/// that is none, so nothing real is changed.
struct Ryzen(tempfile::TempDir, Fake);

const QUEUES: u32 = 6;
const FIRST_IRQ: u32 = 40;

impl Ryzen {
    /// Its card has interrupts, and nothing to set.
    fn new() -> Self {
        Self::with(Parts::default())
    }

    fn with(parts: Parts) -> Self {
        let tree = Self(tempfile::tempdir().expect("a directory"), Fake::new(parts));
        let core = ["busy_poll 0", "busy_read 0", "rmem_max 212992", "rmem_default 212992", "netdev_max_backlog 50000"];
        for line in core {
            let (name, value) = line.split_once(' ').expect("two");
            tree.put(&format!("proc/sys/net/core/{name}"), value);
        }
        tree.put("proc/sys/net/netfilter/nf_conntrack_max", "262144");
        tree.put("proc/sys/net/netfilter/nf_conntrack_udp_timeout", "60");
        tree.put("proc/sys/kernel/random/boot_id", "11111111-2222-3333-4444-555555555555");
        tree.put("sys/devices/system/cpu/online", "0-15");
        for cpu in 0..16 {
            let cpu_dir = format!("sys/devices/system/cpu/cpu{cpu}");
            tree.put(&format!("{cpu_dir}/topology/thread_siblings_list"), &format!("{},{}", cpu % 8, cpu % 8 + 8));
            tree.put(&format!("{cpu_dir}/cpufreq/scaling_governor"), ["powersave", "schedutil"][cpu % 2]);
            tree.put(&format!("{cpu_dir}/cpufreq/scaling_available_governors"), "performance powersave schedutil");
        }
        tree.put("sys/class/net/lo/ifindex", "1");
        tree.put("sys/class/net/lo/flags", "0x1003");
        tree.put("sys/class/net/lo/napi_defer_hard_irqs", "0");
        tree.put("sys/class/net/lo/gro_flush_timeout", "0");
        let mut table = "            CPU0       CPU1\n".to_owned();
        for queue in 0..QUEUES {
            let irq = FIRST_IRQ + queue;
            tree.put(&format!("sys/devices/pci0/msi_irqs/{irq}"), "msix");
            tree.put(&format!("proc/irq/{irq}/smp_affinity_list"), "0-15");
            table += &format!(" {irq}:  1  0  PCI-MSIX-0000:01:00.0  {queue}-edge  lo-TxRx-{queue}\n");
        }
        table += " 46:  1  0  PCI-MSIX-0000:01:00.0  6-edge  lo\nNMI: 0 0 Non-maskable interrupts\n";
        tree.put("sys/devices/pci0/msi_irqs/46", "msix");
        tree.put("proc/irq/46/smp_affinity_list", "0-15");
        tree.put("proc/interrupts", table.trim_end());
        symlink("../../../devices/pci0", tree.path().join("sys/class/net/lo/device")).expect("a link");
        tree
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, file: &str, text: &str) {
        let file = self.path().join(file);
        fs::create_dir_all(file.parent().expect("a directory")).expect("made");
        fs::write(file, format!("{text}\n")).expect("written");
    }

    fn get(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).expect("there").trim().to_owned()
    }

    /// Every file with its bytes, but for what vosctl keeps.
    fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        fn walk(directory: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
            for entry in fs::read_dir(directory).expect("readable").flatten() {
                let path = entry.path();
                let kind = entry.file_type().expect("known");
                if kind.is_dir() && entry.file_name() != "state" {
                    walk(&path, found);
                } else if kind.is_file() {
                    found.insert(path.display().to_string(), fs::read(&path).expect("readable"));
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(self.path(), &mut found);
        found
    }

    fn host(&self) -> Host {
        Host::with_card("lo", self.path(), Box::new(self.1.clone())).expect("lo is everywhere")
    }

    fn state(&self) -> std::path::PathBuf {
        self.path().join("state")
    }

    fn store(&self) -> Store {
        Store::lock(&self.state(), "lo").expect("nobody else")
    }

    fn apply_by(&self, profile: &Profile, writes: u32) -> Result<Plan, TuneError> {
        let host = self.host();
        let machine = Dying { host: &host, writes: Cell::new(writes) };
        let (site, store) = (site(), self.store());
        apply(&Order { host: &host, machine: &machine, profile, site: &site, store: &store, force: false })
    }

    fn apply(&self, profile: &Profile) -> Plan {
        self.apply_by(profile, u32::MAX).expect("applied")
    }

    fn revert_by(&self, writes: u32, force: bool) -> Vec<Line> {
        let (host, store) = (self.host(), self.store());
        let machine = Dying { host: &host, writes: Cell::new(writes) };
        match store.read(&host).expect("readable") {
            Found::Current(journal) => revert(&host, &machine, &store, journal, force, false).expect("reverted"),
            Found::None => Vec::new(),
            Found::BeforeReboot(_) => panic!("nobody has rebooted"),
        }
    }

    fn revert(&self) -> Vec<Line> {
        self.revert_by(u32::MAX, false)
    }

    fn journal(&self) -> Option<Journal> {
        match Store::look(&self.state(), "lo").read(&self.host()).expect("readable") {
            Found::Current(journal) => Some(journal),
            _ => None,
        }
    }
}

fn site() -> Site {
    Site { sip_ports: vec![5060], worker_cores: vec![4, 5, 6, 7], engine_runs: false }
}

/// The host, until it has written so often: then the process is dead.
struct Dying<'a> {
    host: &'a Host,
    writes: Cell<u32>,
}

/// What stands for `kill -9`.
struct Killed;

impl Machine for Dying<'_> {
    fn read(&self, knob: &Knob) -> Result<Value, Unread> {
        self.host.read(knob)
    }

    fn write(&self, knob: &Knob, value: &Value) -> Result<(), Unset> {
        match self.writes.get().checked_sub(1) {
            Some(left) => self.writes.set(left),
            // No message of a panic: this is no failure.
            None => std::panic::resume_unwind(Box::new(Killed)),
        }
        self.host.write(knob, value)
    }
}

/// Did it come to its end?
fn survives<T>(work: impl FnOnce() -> T) -> bool {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(_) => true,
        Err(why) if why.is::<Killed>() => false,
        Err(why) => std::panic::resume_unwind(why),
    }
}

/// What is files of a profile; queues, rings, offloads and RSS are the integration tests'.
fn files_of(profile: &str) -> Profile {
    let (name, text) = Profile::built_in().find(|(name, _)| *name == profile).expect("there is one");
    let files = |line: &&str| {
        let ethtool = ["channels", "rx_ring", "tx_ring", "lro", "gro_hw", "rx_vlan", "adaptive_rx", "rx_usecs"];
        let key = line.split([' ', '=']).next().unwrap_or_default();
        !ethtool.contains(&key) && !["sip", "udp_hash"].contains(&key)
    };
    let text: Vec<&str> = text.lines().filter(files).collect();
    Profile::parse(name, &text.join("\n")).expect("sound")
}

fn own(text: &str) -> Profile {
    Profile::parse("site.toml", text).expect("sound")
}

fn irq_file(queue: u32) -> String {
    format!("proc/irq/{}/smp_affinity_list", FIRST_IRQ + queue)
}

fn irq(tree: &Ryzen, queue: u32) -> String {
    tree.get(&irq_file(queue))
}

fn state<'a>(lines: &'a [Line], label: &str) -> &'a State {
    let found = lines.iter().find(|line| line.label.contains(label));
    &found.unwrap_or_else(|| panic!("{label} in {lines:#?}")).state
}

#[test]
fn the_built_in_profiles_are_sound_and_give_a_reason_for_each_value() {
    let mut used = std::collections::BTreeSet::new();
    for (name, text) in Profile::built_in() {
        let profile = Profile::find(name).unwrap_or_else(|error| panic!("{error}"));
        assert!((20..=100).contains(&profile.summary().len()), "{name}: {}", profile.summary());
        let mut before = "";
        for line in text.lines() {
            assert!(line.chars().count() <= 120, "{name}: {line}");
            if line.contains(" = ") && !line.starts_with(['#', '[']) && !line.starts_with("summary") {
                // two that belong together may have one reason
                assert!(before.starts_with('#') || before.contains(" = "), "{name}: no reason for `{line}`");
            }
            before = line;
        }
        used.extend(keys::KEYS.iter().map(|key| key.name).filter(|key| profile.get(key).is_some()));
    }
    let unused: Vec<_> = keys::KEYS.iter().map(|key| key.name).filter(|key| !used.contains(key)).collect();
    assert!(unused.is_empty(), "nobody uses {unused:?}");
    let help = keys::help();
    for key in keys::KEYS {
        assert!(help.contains(key.name) && help.contains(key.takes) && help.contains(key.what), "{}", key.name);
    }
}

#[test]
fn a_wrong_profile_is_told_by_line_and_what_would_be_right() {
    let cases = [
        (
            "[interface]\nrx_rings = 5\n",
            "site.toml:2: there is no key `interface.rx_rings`: did you mean `interface.rx_ring`?",
        ),
        ("[sysctl]\nnet.core.bussy_poll = 5\n", "did you mean `sysctl.net.core.busy_poll`?"),
        ("[sysctl]\nvm.swappiness = 5\n", "there is no key `sysctl.vm`"),
        ("[sysctl]\nnet.core.busy_poll = 1001\n", "takes 0 to 1000 microseconds: it is out of range"),
        ("[sysctl]\nnet.core.busy_poll = -1\n", "out of range"),
        ("[sysctl]\nnet.core.busy_poll = { at_lest = 1 }\n", "{ at_least = N } or { at_most = N }"),
        (
            "[sysctl]\nnet.core.busy_poll = \"50\"\n",
            "site.toml:2: `sysctl.net.core.busy_poll` takes 0 to 1000 microseconds: it is \"50\"",
        ),
        ("[interface]\nlro = 0\n", "takes true or false: it is 0"),
        ("[interface]\nchannels = \"engine\"\n", "needs cores.engine"),
        ("[interface]\nchannels = \"many\"\n", "1 to 1024 queues"),
        ("[interface]\nnapi_defer_hard_irqs = 2\n", "needs interface.gro_flush_timeout"),
        ("[irq]\ncores = \"7-4\"\n", "runs backwards"),
        ("[steering]\nsip = \"5060\"\n", "takes spread or own-queue"),
        ("summary = \"nothing\"\n", "it sets nothing"),
        ("[interface\n", "site.toml:1: "),
    ];
    for (text, expected) in cases {
        let error = Profile::parse("site.toml", text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let error = Profile::find("fast").expect_err("none").to_string();
    assert!(error.contains("ryzen-4-7, low-latency, throughput, vm, laptop"), "{error}");
    assert!(Profile::find("./there/is/none.toml").expect_err("none").to_string().contains("none.toml"));
}

#[test]
fn ryzen_leaves_the_engine_its_cores_and_their_siblings() {
    let tree = Ryzen::new();
    let plan = tree.apply(&files_of("ryzen-4-7"));
    // 0-3 and 8-11: 12-15 share the engine's cores
    let expected = ["0", "1", "2", "3", "8", "9"];
    assert_eq!((0..QUEUES).map(|queue| irq(&tree, queue)).collect::<Vec<_>>(), expected);
    assert_eq!(tree.get("proc/irq/46/smp_affinity_list"), "0-15", "that of no queue");
    assert_eq!(tree.get("sys/devices/system/cpu/cpu15/cpufreq/scaling_governor"), "performance");
    assert_eq!(tree.get("sys/class/net/lo/napi_defer_hard_irqs"), "2");
    assert_eq!(tree.get("proc/sys/net/core/rmem_max"), "16777216");
    assert_eq!(tree.get("proc/sys/net/core/netdev_max_backlog"), "50000", "an operator's larger value");
    assert_eq!(tree.get("proc/sys/net/netfilter/nf_conntrack_udp_timeout"), "30", "at most");
    assert!(plan.notes.iter().any(|note| note.contains("CPUAffinity=0-3,8-11")), "{:?}", plan.notes);
    // another core list in vos.toml is said
    assert!(!plan.notes.iter().any(|note| note.contains("worker.cores")), "{:?}", plan.notes);
}

#[test]
fn two_queues_share_a_core_only_when_each_core_has_one() {
    let tree = Ryzen::new();
    // as clouds count: 0 and 1 are one core
    for cpu in 0..16 {
        let list = format!("{}-{}", cpu / 2 * 2, cpu / 2 * 2 + 1);
        tree.put(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), &list);
    }
    let irqs = || (0..QUEUES).map(|queue| irq(&tree, queue)).collect::<Vec<_>>();
    tree.apply(&own("[irq]\ncores = \"all\"\n"));
    assert_eq!(irqs(), ["0", "2", "4", "6", "8", "10"]);
    // 4-7 are the workers'
    tree.apply(&own("[irq]\ncores = \"others\"\n"));
    assert_eq!(irqs(), ["0", "2", "8", "10", "12", "14"]);
    tree.put("sys/devices/system/cpu/online", "0-3");
    tree.apply(&own("[irq]\ncores = \"all\"\n"));
    assert_eq!(irqs(), ["0", "2", "1", "3", "0", "2"]);
}

#[test]
fn what_runs_beside_it_is_told_and_left_alone() {
    let tree = Ryzen::new();
    tree.put("proc/812/comm", "irqbalance");
    tree.put("usr/lib/systemd/system/opensips.service", "[Unit]");
    let before = tree.bytes();
    let (host, store) = (tree.host(), tree.store());
    let profile = files_of("ryzen-4-7");
    let site = Site { worker_cores: vec![0, 1], ..site() };
    let order = Order { host: &host, machine: &host, profile: &profile, site: &site, store: &store, force: false };
    let notes = order.plan().expect("a plan").notes.join("\n");
    for expected in
        ["systemctl disable --now irqbalance", "/etc/systemd/system/opensips.service.d", "worker.cores = \"4-7\""]
    {
        assert!(notes.contains(expected), "{expected} in {notes}");
    }
    assert_eq!(tree.bytes(), before, "a plan changes nothing");
}

#[test]
fn a_machine_without_the_cores_is_told_so_before_anything_is_changed() {
    let tree = Ryzen::new();
    tree.put("sys/devices/system/cpu/online", "0-3");
    let before = tree.bytes();
    let error = tree.apply_by(&files_of("ryzen-4-7"), 0).expect_err("four cores").to_string();
    assert!(error.contains("4-7") && error.contains("0-3"), "{error}");
    assert_eq!(tree.bytes(), before);
    assert!(tree.journal().is_none());
}

#[test]
fn a_second_time_nothing_is_done() {
    let tree = Ryzen::new();
    tree.apply(&files_of("throughput"));
    let (files, journal) = (tree.bytes(), tree.journal());
    let again = tree.apply_by(&files_of("throughput"), 0).expect("without a write");
    assert!(again.lines.iter().all(|line| !matches!(line.state, State::Done(_) | State::Change(_))));
    assert_eq!((tree.bytes(), tree.journal()), (files, journal));
    assert!(drift(&tree.host(), &tree.journal().expect("one")).iter().all(|line| line.state == State::InPlace));
}

#[test]
fn whenever_it_is_killed_revert_puts_everything_back() {
    let (first, second) = (files_of("ryzen-4-7"), files_of("throughput"));
    let mut ended = false;
    for writes in 0_u32.. {
        let tree = Ryzen::new();
        let before = tree.bytes();
        // one profile, another over it, killed in the first or the second
        let mut left = writes;
        ended = survives(|| {
            let plan = tree.apply_by(&first, left).expect("applied");
            left -= plan.lines.iter().filter(|line| matches!(line.state, State::Done(_))).count() as u32;
            tree.apply_by(&second, left)
        });
        let middle = tree.bytes();
        // and the way back is killed, too, at each step
        for back in 0_u32.. {
            let reverted = survives(|| tree.revert_by(back, false));
            assert!(reverted || tree.journal().is_some(), "the journal goes last: {writes} writes, {back} back");
            if reverted {
                break;
            }
            assert!(back < 200, "{writes} writes: no end");
        }
        assert_eq!(tree.bytes(), before, "after {writes} writes");
        assert!(tree.journal().is_none());
        assert!(writes == 0 || middle != before, "it does something");
        if ended {
            assert!(writes > 30, "{writes} writes are too few for both");
            break;
        }
    }
    assert!(ended);
}

#[test]
fn killed_and_run_again_is_the_same_as_never_killed() {
    let whole = Ryzen::new();
    let profile = files_of("ryzen-4-7");
    whole.apply(&profile);
    let stripped = |tree: &Ryzen| {
        let root = tree.path().display().to_string();
        tree.bytes().into_iter().map(|(file, bytes)| (file.replace(&root, ""), bytes)).collect::<BTreeMap<_, _>>()
    };
    for writes in [0, 1, 5, 12, 20] {
        let tree = Ryzen::new();
        let before = tree.bytes();
        assert!(!survives(|| tree.apply_by(&profile, writes)), "{writes} are too many");
        assert!(!tree.journal().expect("before the first write").complete);
        tree.apply(&profile);
        assert_eq!(stripped(&tree), stripped(&whole), "after {writes} writes");
        assert!(tree.journal().expect("one").complete);
        tree.revert();
        assert_eq!(tree.bytes(), before);
    }
}

#[test]
fn another_profile_over_one_is_as_if_it_were_alone() {
    let (tree, alone) = (Ryzen::new(), Ryzen::new());
    let before = tree.bytes();
    tree.apply(&files_of("throughput"));
    let plan = tree.apply(&files_of("laptop"));
    alone.apply(&files_of("laptop"));
    for file in ["rmem_max", "rmem_default", "netdev_max_backlog", "busy_poll"] {
        let file = format!("proc/sys/net/core/{file}");
        assert_eq!(tree.get(&file), alone.get(&file), "{file}");
    }
    assert_eq!((irq(&tree, 3), tree.get("sys/class/net/lo/gro_flush_timeout")), ("0-15".into(), "0".into()));
    assert!(matches!(state(&plan.lines, "rmem_default"), State::Done(Value::Text(text)) if text == "212992"));
    assert_eq!(tree.journal().expect("one").profile, "laptop");
    tree.revert();
    assert_eq!(tree.bytes(), before);
}

#[test]
fn what_somebody_else_has_set_since_stays_unless_one_insists() {
    let tree = Ryzen::new();
    let before = tree.bytes();
    tree.apply(&files_of("ryzen-4-7"));
    tree.put("proc/sys/net/core/rmem_max", "99999999");
    let drifted = drift(&tree.host(), &tree.journal().expect("one"));
    assert!(matches!(state(&drifted, "rmem_max"), State::Failed(why) if why.contains("16777216")));
    assert_eq!(drifted.iter().filter(|line| line.state != State::InPlace).count(), 1);
    let lines = tree.revert();
    assert!(
        matches!(state(&lines, "rmem_max"), State::Held(why) if why.contains("--force") && why.contains("lo.json"))
    );
    assert_eq!(tree.get("proc/sys/net/core/rmem_max"), "99999999");
    let mut expected = before.clone();
    expected.insert(tree.path().join("proc/sys/net/core/rmem_max").display().to_string(), b"99999999\n".into());
    assert_eq!(tree.bytes(), expected, "all else is back");
    assert_eq!(tree.journal().expect("what is left").entries.len(), 1);
    tree.revert_by(u32::MAX, true);
    assert_eq!(tree.bytes(), before);
    assert!(tree.journal().is_none());
}

#[test]
fn what_the_kernel_refuses_is_named_and_the_rest_goes_on() {
    let tree = Ryzen::new();
    let file = tree.path().join("proc/sys/net/core/busy_read");
    let before = tree.bytes();
    let refusing = Refusing(&tree.host());
    let (host, store, site) = (tree.host(), tree.store(), site());
    let profile = own("[sysctl]\nnet.core.busy_poll = 50\nnet.core.busy_read = 50\nnet.core.rmem_max = 300000\n");
    let order = Order { host: &host, machine: &refusing, profile: &profile, site: &site, store: &store, force: false };
    let plan = apply(&order).expect("begun");
    assert!(matches!(state(&plan.lines, "busy_read"), State::Failed(why) if why.contains("Invalid argument")));
    assert!(matches!(state(&plan.lines, "rmem_max"), State::Done(_)));
    assert_eq!(fs::read_to_string(file).expect("there"), "0\n");
    drop(store);
    tree.revert();
    assert_eq!(tree.bytes(), before);
}

/// A kernel that does not take one of them.
struct Refusing<'a>(&'a Host);

impl Machine for Refusing<'_> {
    fn read(&self, knob: &Knob) -> Result<Value, Unread> {
        self.0.read(knob)
    }

    fn write(&self, knob: &Knob, value: &Value) -> Result<(), Unset> {
        match knob {
            Knob::Sysctl(key) if key.ends_with("busy_read") => {
                Err(Unset::Refused("sysctl -w net.core.busy_read=50: Invalid argument".into()))
            }
            _ => self.0.write(knob, value),
        }
    }
}

/// A kernel that rounds up to a power of two.
struct Rounding<'a>(&'a Host);

impl Machine for Rounding<'_> {
    fn read(&self, knob: &Knob) -> Result<Value, Unread> {
        self.0.read(knob)
    }

    fn write(&self, knob: &Knob, value: &Value) -> Result<(), Unset> {
        let Value::Text(text) = value else { return self.0.write(knob, value) };
        let number: u64 = text.parse().expect("a number");
        // what was there was right
        let taken = if number == 212_992 { number } else { number.next_power_of_two() };
        self.0.write(knob, &Value::Text(taken.to_string()))
    }
}

#[test]
fn what_the_kernel_rounds_is_in_place_and_ours() {
    let tree = Ryzen::new();
    let before = tree.bytes();
    let profile = own("[sysctl]\nnet.core.rmem_max = 300000\n");
    let run = || {
        let (host, store, site) = (tree.host(), tree.store(), site());
        let machine = Rounding(&host);
        let order =
            Order { host: &host, machine: &machine, profile: &profile, site: &site, store: &store, force: false };
        apply(&order).expect("applied")
    };
    assert_eq!(*state(&run().lines, "rmem_max"), State::Done(Value::Text("524288".into())));
    assert_eq!(*state(&run().lines, "rmem_max"), State::InPlace);
    assert!(drift(&tree.host(), &tree.journal().expect("one")).iter().all(|line| line.state == State::InPlace));
    tree.revert();
    assert_eq!(tree.bytes(), before);
}

#[test]
fn a_reboot_ends_what_was_in_force() {
    let tree = Ryzen::new();
    tree.apply(&files_of("throughput"));
    // the machine comes up with other values
    let tree = {
        let fresh = Ryzen::new();
        fs::create_dir_all(fresh.state().join("tune")).expect("made");
        fs::copy(tree.state().join("tune/lo.json"), fresh.state().join("tune/lo.json")).expect("copied");
        fresh
    };
    tree.put("proc/sys/kernel/random/boot_id", "99999999-2222-3333-4444-555555555555");
    tree.put("proc/sys/net/core/rmem_max", "400000");
    let before = tree.bytes();
    assert!(matches!(tree.store().read(&tree.host()), Ok(Found::BeforeReboot(_))));
    let plan = tree.apply(&files_of("laptop"));
    assert!(plan.notes[0].contains("throughput was in force before the machine was rebooted"), "{:?}", plan.notes);
    tree.revert();
    assert_eq!(tree.bytes(), before);
}

#[test]
fn an_interrupt_that_has_gone_is_not_taken_for_another() {
    let tree = Ryzen::new();
    tree.apply(&own("[irq]\ncores = \"2\"\n"));
    let table = tree.get("proc/interrupts").replace("lo-TxRx-3", "nvme0q3");
    tree.put("proc/interrupts", &table);
    let lines = tree.revert();
    assert!(matches!(state(&lines, "lo-TxRx-3"), State::Skipped(why) if why.contains("no longer")));
    assert_eq!((irq(&tree, 2), irq(&tree, 3)), ("0-15".into(), "2".into()));
    assert!(tree.journal().is_none());
}

#[test]
fn an_interrupt_that_was_placed_where_it_had_been_is_known() {
    let tree = Ryzen::new();
    let profile = own("[irq]\ncores = \"2\"\n");
    let file = irq_file(3);
    tree.put(&file, "2");
    let before = tree.bytes();
    tree.apply(&profile);
    // irqbalance
    tree.put(&file, "5");
    tree.apply(&profile);
    assert_eq!(irq(&tree, 3), "2");
    let lines = drift(&tree.host(), &tree.journal().expect("one"));
    assert!(lines.iter().all(|line| line.state == State::InPlace), "{lines:?}");
    tree.revert();
    assert_eq!(tree.bytes(), before);
    assert!(tree.journal().is_none());
}

#[test]
fn interrupts_that_come_with_the_link_are_missed_until_they_are_placed() {
    let tree = Ryzen::new();
    let table = tree.get("proc/interrupts");
    // igb: the numbers are the card's, and nobody has asked for those of its queues
    let without: Vec<&str> = table.lines().filter(|line| !line.contains("lo-TxRx")).collect();
    tree.put("proc/interrupts", &without.join("\n"));
    tree.put("sys/class/net/lo/flags", "0x1002");
    let before = tree.bytes();
    let profile = own("[irq]\ncores = \"2\"\n");
    let plan = tree.apply(&profile);
    let is_told =
        |lines: &[Line]| matches!(state(lines, "IRQs"), State::Failed(why) if why.contains("ip link set lo up"));
    assert!(is_told(&plan.lines), "{plan:?}");
    assert!(is_told(&drift(&tree.host(), &tree.journal().expect("one"))));
    assert_eq!(tree.bytes(), before);

    tree.put("sys/class/net/lo/flags", "0x1003");
    tree.put("proc/interrupts", &table);
    let missed = drift(&tree.host(), &tree.journal().expect("one"));
    let told =
        |line: &&Line| matches!(&line.state, State::Failed(why) if why.contains("vosctl tune site.toml --iface lo"));
    assert_eq!(missed.iter().filter(told).count() as u32, QUEUES, "{missed:?}");
    tree.apply(&profile);
    assert!(drift(&tree.host(), &tree.journal().expect("one")).iter().all(|line| line.state == State::InPlace));
    assert_eq!(irq(&tree, 3), "2");
    tree.revert();
    assert_eq!(irq(&tree, 3), "0-15");

    // a profile that has nothing to do with interrupts misses none
    tree.apply(&own("[sysctl]\nnet.core.busy_poll = 50\n"));
    assert!(drift(&tree.host(), &tree.journal().expect("one")).iter().all(|line| line.state == State::InPlace));
}

#[test]
fn a_sysctl_of_the_whole_machine_is_left_to_it_in_a_namespace() {
    let tree = Ryzen::new();
    let shown = tree.path().join("proc/sys/net/core/rmem_max");
    fs::set_permissions(&shown, fs::Permissions::from_mode(0o444)).expect("ours");
    let plan = tree.apply(&own("[sysctl]\nnet.core.rmem_max = { at_least = 8388608 }\n"));
    assert!(matches!(state(&plan.lines, "rmem_max"), State::Skipped(why) if why.contains("host's own")));
    assert_eq!(tree.get("proc/sys/net/core/rmem_max"), "212992");
}

#[test]
fn cores_and_governors_that_are_not_there_are_told() {
    let tree = Ryzen::new();
    let plan = tree.apply(&own("[irq]\ncores = \"30\"\n[cpu]\ngovernor = \"ondemand\"\n"));
    assert!(matches!(state(&plan.lines, "IRQs"), State::Failed(why) if why.contains("no CPU 30: 0-15")));
    let offered = "performance powersave schedutil";
    assert!(
        matches!(state(&plan.lines, "governor of CPU 0"), State::Skipped(why) if why.contains(&offered.replace(' ', ", ")))
    );
}

#[test]
fn files_of_another_namespace_are_not_written() {
    let tree = Ryzen::new();
    tree.put("sys/class/net/lo/ifindex", "7");
    let plan = tree.apply(&own("[interface]\nnapi_defer_hard_irqs = 2\ngro_flush_timeout = 200000\n"));
    for knob in ["napi_defer_hard_irqs", "gro_flush_timeout"] {
        assert!(matches!(state(&plan.lines, knob), State::Failed(why) if why.contains("ip netns exec")), "{knob}");
    }
    assert_eq!(tree.get("sys/class/net/lo/napi_defer_hard_irqs"), "0");
}

/// So many queues, and RSS over as many.
fn combined(driver: &'static str, combined: u32, max_combined: u32) -> Parts {
    let channels = Some(Channels { combined, max_combined, ..Channels::default() });
    Parts { driver, channels, rss_queues: Some(combined), ..Parts::default() }
}

#[test]
fn rss_takes_every_queue_that_it_can_and_no_number_is_guessed() {
    let spread = own("[steering]\nsip = \"spread\"\n");
    let own_queue = own("[steering]\nsip = \"own-queue\"\n");
    let table = even_table(64, 0, 8);
    // atlantic: its queues are told by RSS alone
    let tree = Ryzen::with(Parts { rss_queues: Some(8), table: table.clone(), ..Parts::default() });
    for profile in [&spread, &own_queue] {
        assert_eq!(*state(&tree.apply(profile).lines, "RSS table"), State::InPlace);
        assert_eq!(tree.1.parts.borrow().table, table);
    }
    // or not at all
    let tree = Ryzen::with(Parts { table: table.clone(), ..Parts::default() });
    for profile in [&spread, &own_queue] {
        let plan = tree.apply(profile);
        assert!(matches!(state(&plan.lines, "RSS table"), State::Skipped(why) if why.contains("how many queues")));
        assert_eq!(tree.1.parts.borrow().table, table);
    }
    // ixgbe: RSS over 16 of 63
    let parts = Parts { rss_queues: Some(16), table: vec![3; 128], ..combined("ixgbe", 63, 63) };
    let tree = Ryzen::with(parts);
    let plan = tree.apply(&spread);
    assert!(matches!(state(&plan.lines, "RSS table"), State::Done(_)), "{:?}", plan.lines);
    assert_eq!(tree.1.parts.borrow().table, even_table(128, 0, 16));
    tree.revert();
    assert_eq!(tree.1.parts.borrow().table, [3; 128]);
}

#[test]
fn queues_asked_for_in_words_leave_native_xdp_those_it_needs() {
    let channels = |tree: &Ryzen| tree.1.parts.borrow().channels.expect("some").combined;
    // eight cores; Amazon's card of eight queues takes native XDP with four
    for (driver, profile, expected) in [("ena", "cores", 4), ("ena", "max", 4), ("igb", "cores", 8), ("igb", "max", 8)]
    {
        let tree = Ryzen::with(combined(driver, 2, 8));
        let plan = tree.apply(&own(&format!("[interface]\nchannels = \"{profile}\"\n")));
        assert_eq!(channels(&tree), expected, "{driver}, {profile}");
        let said =
            plan.notes.iter().any(|note| note == "ena takes native XDP with 4 of 8 queues at most: no more are used");
        assert_eq!(said, driver == "ena", "{:?}", plan.notes);
        tree.revert();
        assert_eq!(channels(&tree), 2);
    }
    // who says a number knows why
    let tree = Ryzen::with(combined("ena", 2, 8));
    tree.apply(&own("[interface]\nchannels = 8\n"));
    assert_eq!(channels(&tree), 8);
}

#[test]
fn the_longest_rings_are_powers_of_two() {
    let rings = |max| Rings { rx: 512, tx: 512, max_rx: max, max_tx: max };
    let longest = own("[interface]\nrx_ring = \"max\"\ntx_ring = \"max\"\n");
    // bnxt's have one descriptor less
    for (max, expected) in [(8_160, 4_096), (4_096, 4_096), (8_192, 8_192), (2_047, 2_047), (1, 1)] {
        let tree = Ryzen::with(Parts { rings: Some(rings(max)), ..Parts::default() });
        tree.apply(&longest);
        assert_eq!(tree.1.parts.borrow().rings, Some(Rings { rx: expected, tx: expected, ..rings(max) }));
    }
    // what is longer already
    let long = Rings { rx: 8_160, ..rings(8_160) };
    let tree = Ryzen::with(Parts { rings: Some(long), ..Parts::default() });
    tree.apply(&longest);
    assert_eq!(tree.1.parts.borrow().rings, Some(Rings { tx: 4_096, ..long }));
    // who says a number knows why
    let tree = Ryzen::with(Parts { rings: Some(rings(8_160)), ..Parts::default() });
    tree.apply(&own("[interface]\nrx_ring = 9000\n"));
    assert_eq!(tree.1.parts.borrow().rings, Some(Rings { rx: 8_160, ..rings(8_160) }));
}

/// A card whose driver refuses rx-usecs while adaptive-rx is on.
fn adaptive(adaptive_rx: bool, rx_usecs: u32) -> Parts {
    Parts { coalescing: Some(Coalescing { adaptive_rx, rx_usecs }), ..Parts::default() }
}

/// What `[interface]` says of coalescing.
fn coalescing(lines: &str) -> Profile {
    own(&format!("[interface]\n{lines}\n"))
}

#[test]
fn the_pause_before_an_interrupt_is_set_while_the_driver_does_not_choose_it() {
    let (on, off, usecs) = ("adaptive-rx on", "adaptive-rx off", "rx-usecs");
    let cases: [(bool, &str, &[&str], &[&str]); 6] = [
        // low-latency, and back
        (true, "adaptive_rx = false\nrx_usecs = 0", &[off, usecs], &[usecs, on]),
        (false, "adaptive_rx = true\nrx_usecs = 8", &[usecs, on], &[off, usecs]),
        (true, "adaptive_rx = true\nrx_usecs = 8", &[off, usecs, on], &[off, usecs, on]),
        (true, "rx_usecs = 8", &[off, usecs, on], &[off, usecs, on]),
        (false, "rx_usecs = 8", &[usecs], &[usecs]),
        (false, "adaptive_rx = false\nrx_usecs = 8", &[usecs], &[usecs]),
    ];
    for (begins, profile, there, back) in cases {
        let (parts, profile) = (adaptive(begins, 50), coalescing(profile));
        let tree = Ryzen::with(parts.clone());
        let done = |expected: &[&str]| {
            let commands = tree.1.commands();
            assert_eq!(commands.len(), expected.len(), "{begins}: {commands:?}");
            assert!(commands.iter().zip(expected).all(|(it, word)| it.contains(word)), "{begins}: {commands:?}");
            commands
        };
        let (host, store, site) = (tree.host(), tree.store(), site());
        let order = Order { host: &host, machine: &host, profile: &profile, site: &site, store: &store, force: false };
        let planned = order.plan().expect("a plan");
        drop(store);
        let plan = tree.apply(&profile);
        assert!(plan.lines.iter().all(|line| matches!(line.state, State::Done(_) | State::InPlace)), "{plan:?}");
        // what a dry run prints is what is done
        let printed: Vec<&str> = planned.lines.iter().filter_map(|line| line.command.as_deref()).collect();
        assert_eq!(printed.join(" && "), done(there).join(" && "));
        assert!(drift(&tree.host(), &tree.journal().expect("one")).iter().all(|line| line.state == State::InPlace));
        let lines = tree.revert();
        assert!(lines.iter().all(|line| matches!(line.state, State::Done(_) | State::InPlace)), "{lines:?}");
        done(back);
        assert_eq!(tree.1.parts.borrow().coalescing, parts.coalescing);
        assert!(tree.journal().is_none());
    }
}

#[test]
fn what_the_driver_chooses_is_chosen_by_it_again_whenever_vosctl_is_killed() {
    let parts = adaptive(true, 50);
    for (writes, profile) in (0..3)
        .flat_map(|writes| ["rx_usecs = 8", "adaptive_rx = true\nrx_usecs = 8"].map(|it| (writes, coalescing(it))))
    {
        let tree = Ryzen::with(parts.clone());
        assert!(!survives(|| tree.apply_by(&profile, writes)), "{writes} are too many");
        while !survives(|| tree.revert_by(1, false)) {}
        assert_eq!(tree.1.parts.borrow().coalescing, parts.coalescing, "after {writes} writes");
        assert!(tree.journal().is_none());
        assert!(!survives(|| tree.apply_by(&profile, writes)), "{writes} are too many");
        tree.apply(&profile);
        let expected = Coalescing { adaptive_rx: true, rx_usecs: 8 };
        assert_eq!(tree.1.parts.borrow().coalescing, Some(expected), "after {writes} writes");
        // and on the way back
        while !survives(|| tree.revert_by(1, false)) {}
        assert_eq!(tree.1.parts.borrow().coalescing, parts.coalescing, "after {writes} writes");
    }
}

#[test]
fn two_at_a_time_and_strange_journals_are_refused() {
    let tree = Ryzen::new();
    let first = tree.store();
    let error = Store::lock(&tree.state(), "eth1").expect_err("one at a time").to_string();
    assert!(error.contains("another `vosctl tune` is at work"), "{error}");
    drop(first);
    for (text, expected) in [("{\"version\": 2}", "version 2"), ("{}", "no version"), ("[", "no journal")] {
        fs::write(tree.state().join("tune/lo.json"), text).expect("written");
        let error = tree.apply_by(&files_of("vm"), 0).expect_err(text).to_string();
        assert!(error.contains(expected) && error.contains("lo.json"), "{error}");
    }
}
