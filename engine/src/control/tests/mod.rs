//! The control plane against naive models, through a kernel that only looks up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ipnet::IpNet;
use tempfile::TempDir;

use crate::control::Control;
use crate::control::ask::{Ask, By, Done, End, Refusal};
use crate::control::clock::Clock;
use crate::control::decide::{Filter, Member};
use crate::control::decision::{Decision, Kind, Origin};
use crate::control::fake_kernel::FakeKernel;

/// What operators ask.
mod asks;
/// Nodes that read one log.
mod converge;
/// Who asks for many, and many who ask.
mod group;
/// Every guard rail.
mod guard;
/// Any sequence of commands.
mod model;
/// What is taken back.
mod undo;
/// What is compared.
mod verify;

const NS: u64 = 1_000_000_000;
/// What the wall clock shows when a test begins, unix seconds.
const START: u64 = 1_000_000;

/// A control plane whose clock the test turns.
struct Bench {
    directory: TempDir,
    kernel: FakeKernel,
    seconds: Arc<AtomicU64>,
    member: Option<Member>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, kernel: FakeKernel::default(), seconds: Arc::default(), member: None }
    }

    /// One of a cluster.
    fn node(name: &str) -> Self {
        Self { member: Some(Member { node: name.into(), log: "log".into() }), ..Self::new() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("eth0.redb")
    }

    fn open(&self) -> Control {
        let seconds = Arc::clone(&self.seconds);
        let clock = move || {
            let now = seconds.load(Relaxed) * NS;
            Clock::at(START * NS + now, NS + now)
        };
        Control::open(&self.path(), Box::new(self.kernel.clone()), self.member.clone(), clock).expect("a sound store")
    }

    /// So many seconds since the test began.
    fn set(&self, seconds: u64) {
        self.seconds.store(seconds, Relaxed);
    }

    fn wait(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Relaxed);
    }

    /// Unix seconds.
    fn now(&self) -> u64 {
        START + self.seconds.load(Relaxed)
    }

    /// What the kernel makes of a source now.
    fn kind(&self, source: &str) -> u32 {
        let now = NS + self.seconds.load(Relaxed) * NS;
        self.kernel.lookup(source.parse().expect(source), now)
    }
}

fn net(text: &str) -> IpNet {
    crate::control::address::parse(text).expect(text)
}

fn root() -> By {
    By { origin: Origin::Cli, who: "root".into(), force: false, operator: None }
}

fn insisting() -> By {
    By { force: true, ..root() }
}

fn put(text: &str, kind: Kind) -> Ask {
    Ask::Put { net: net(text), kind, end: End::Never, reason: "".into() }
}

fn block(text: &str) -> Ask {
    put(text, Kind::Block)
}

fn unblock(text: &str) -> Ask {
    Ask::Remove { net: net(text), kind: Kind::Block }
}

/// One command of an operator; the number by which it can be undone.
fn command(control: &Control, by: &By, asks: Vec<Ask>) -> (Option<u64>, Vec<Result<Done, Refusal>>) {
    let outcome = control.submit(by, asks, Some("command".to_owned()));
    (outcome.set, outcome.results)
}

/// A command of which everything must be done.
fn done(control: &Control, asks: Vec<Ask>) -> u64 {
    let (set, results) = command(control, &insisting(), asks);
    for result in results {
        result.expect("room");
    }
    set.expect("something has changed")
}

fn listed(control: &Control) -> Vec<Decision> {
    control.list(&Filter::default()).into_iter().map(|listed| listed.decision).collect()
}

fn nets(control: &Control) -> Vec<String> {
    listed(control).iter().map(|decision| crate::control::address::show(decision.net)).collect()
}
