//! A million blocked addresses, from the disk to the kernel's own maps and back: what it takes. Timings are printed, and
//! decide nothing. `make bench-store` has a million, the tests fewer: `VOS_DECISIONS` says how many.
//!
//! Needs root and a BPF file system; makes pins of its own and removes them.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use vos_engine::control::Control;
use vos_engine::control::ask::{Ask, By, End};
use vos_engine::control::clock::Clock;
use vos_engine::control::decide::Filter as Wanted;
use vos_engine::control::decision::Origin;
use vos_engine::netlink::Link;
use vos_engine::xdp::{Filter, unload};

/// Where nobody says how many.
const FEW: u32 = 50_000;
/// Single blocks that are measured.
const SINGLE: u32 = 500;

/// The maps of an interface that does not exist: nothing is attached, and the pins go with it.
struct Pinned(String);

impl Drop for Pinned {
    fn drop(&mut self) {
        if let Err(error) = unload(&self.0) {
            eprintln!("pins of {} are left: {error}", self.0);
        }
    }
}

/// Spread over the space as attackers are, no two the same: the multiplier is odd.
fn address(n: u32) -> IpNet {
    let [_, b, c, d] = n.wrapping_mul(0x9e37_79b1).to_be_bytes();
    IpNet::from(IpAddr::from([11 + (n >> 24) as u8, b, c, d]))
}

fn block(net: IpNet) -> Ask {
    Ask::block(net, End::After(86_400), "seen by the honeypot")
}

/// Memory that is in use, and the most that was, in MB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    };
    (of("VmRSS:"), of("VmHWM:"))
}

/// Has the most that was in use counted from here.
fn forget_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

fn say(what: &str, from: Instant) {
    let (now, peak) = memory();
    println!("{:8.2} s  {what} ({now} MB now, {peak} MB at most)", from.elapsed().as_secs_f64());
    forget_peak();
}

/// Times each of these blocks.
fn single(what: &str, control: &Control, nets: impl Iterator<Item = IpNet>) {
    let by = By { origin: Origin::Cli, who: "root".into(), force: false, operator: None };
    let mut times: Vec<Duration> = nets
        .map(|net| {
            let from = Instant::now();
            control.ask(&by, block(net)).unwrap();
            from.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: {} blocks, p50 {:?}, p99 {:?}, longest {:?}", times.len(), at(50), at(99), at(100));
}

fn how_many() -> u32 {
    std::env::var("VOS_DECISIONS").map_or(FEW, |many| many.parse().expect("VOS_DECISIONS is a number up to 5000000"))
}

#[test]
fn a_million_addresses_are_imported_loaded_listed_compared_and_undone() {
    let count = how_many();
    let pinned = Pinned(format!("vosmio{}", std::process::id()));
    let link = Link { name: pinned.0.clone(), ..Link::default() };
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("eth0.redb");
    let open = || {
        let rules = Filter::load(&link).unwrap().rules().unwrap();
        Control::open(&store, Box::new(rules), None, Clock::now).unwrap()
    };
    let control = open();
    let by = By { origin: Origin::Cli, who: "root".into(), force: false, operator: None };
    single("none there", &control, (0..SINGLE).map(|n| address(count + n)));

    let asks: Vec<Ask> = (0..count).map(|n| block(address(n))).collect();
    let from = Instant::now();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let during = (SINGLE..).take_while(|_| !done.load(Relaxed)).map(|n| address(count + n));
            single("during the import", &control, during.take(40_000));
        });
        let outcome = control.submit(&by, asks, Some("import".to_owned()));
        done.store(true, Relaxed);
        assert!(outcome.results.iter().all(Result::is_ok));
    });
    say(&format!("import of {count}"), from);
    let there = control.count().iter().sum::<usize>();
    single("all there", &control, (0..SINGLE).map(|n| address(count * 2 + n)));
    let from = Instant::now();
    assert_eq!(control.list(&Wanted::default()).len(), there + SINGLE as usize);
    say("list", from);
    let from = Instant::now();
    let verified = control.verify(false).unwrap();
    assert_eq!((verified.in_kernel(), verified.on_disk()), (0, 0), "{verified:?}");
    say("verify", from);

    drop(control);
    println!("the store has {} MB", std::fs::metadata(&store).unwrap().len() >> 20);
    say("closed", Instant::now());
    let from = Instant::now();
    let control = open();
    say("open, over maps that hold it all", from);
    assert_eq!(control.count().iter().sum::<usize>(), there + SINGLE as usize);
    let from = Instant::now();
    let undone = control.undo(None, &by).unwrap();
    assert_eq!((undone.restored, undone.left.len()), (u64::from(count), 0));
    say("the import undone", from);
}
