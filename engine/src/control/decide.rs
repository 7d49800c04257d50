//! Taking decisions and taking them back: checked, on disk, in the kernel, and only then acknowledged.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;

use crate::control::address::show;
use crate::control::clock::Clock;
use crate::control::decision::{Decision, Kind};
use crate::control::maps::{MapError, RuleMaps};
use crate::control::rules::{Change, RuleBook};
use crate::control::store::{Store, StoreError};

/// The longest time a decision may be given, seconds: a hundred years. Whoever means longer means for good.
pub const MAX_TTL: u64 = 100 * 366 * 24 * 3_600;
/// The longest reason, bytes. A line in a list, not an essay; a million of them are held in memory.
pub const MAX_REASON: usize = 256;
/// Prefixes swept under one lock. More: an operator's command waits longer (some 2 µs each). Fewer: a commit to disk
/// (some 300 µs) for each few.
const SWEEP_BATCH: usize = 4_096;

/// A decision asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whom it is about; host bits are zero.
    pub net: IpNet,
    /// What is decided.
    pub kind: Kind,
    /// How long it holds, seconds, 1 to [`MAX_TTL`]; `None` for good.
    pub ttl_s: Option<u64>,
    /// Why, at most [`MAX_REASON`] bytes.
    pub reason: String,
    /// Through which door it came in.
    pub origin: String,
    /// Block even what is guarded, or trusted.
    pub force: bool,
    /// Where the operator's own session comes from; never blocked without `force`.
    pub operator: Option<IpAddr>,
}

/// A decision taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// As it is on disk and in force.
    pub decision: Decision,
    /// What it took the place of.
    pub replaced: Option<Decision>,
}

/// A decision taken back.
#[derive(Clone, Debug)]
pub struct TakenBack {
    /// What is no longer in force.
    pub removed: Decision,
    /// What applies to the prefix now.
    pub now: Option<Decision>,
}

/// Why something is not done. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The block would hit somebody who must never be blocked by mistake.
    #[error("blocking {net} would block {guarded}, {why}: name a smaller prefix, or insist with --force", net = show(*net), guarded = show(*guarded))]
    Guarded {
        /// The block asked for.
        net: IpNet,
        /// The guarded address in it.
        guarded: IpNet,
        /// What that address is.
        why: String,
    },
    /// The block would change nothing, because a trust outranks it.
    #[error(
        "{net} is trusted{by}, and a trust outranks every block: `vosctl untrust {trust}` first, or insist with --force on a block that waits until the trust is gone",
        net = show(*net), by = elsewhere(*net, *by), trust = show(*by)
    )]
    Trusted {
        /// The block asked for.
        net: IpNet,
        /// The prefix that is trusted.
        by: IpNet,
    },
    /// There is no such decision.
    #[error("there is no rule to {kind} {net}: `vosctl list` shows what there is", net = show(*net))]
    NoSuchRule {
        /// The prefix asked for.
        net: IpNet,
        /// The kind asked for.
        kind: Kind,
    },
    /// There is no such decision, but a wider one that has the effect.
    #[error("{net} is {is} by {by}: {undo} that, {exception}", net = show(*net), is = kind.participle(), by = show(*by), undo = kind.undo(), exception = exception(*net, *kind))]
    Covered {
        /// The prefix asked for.
        net: IpNet,
        /// The kind asked for.
        kind: Kind,
        /// The prefix whose decision applies.
        by: IpNet,
    },
    /// The time is out of range.
    #[error("a time to live of {ttl_s} s is out of range: give 1 s to 100 years, or none for a rule that stays")]
    Ttl {
        /// What was asked for.
        ttl_s: u64,
    },
    /// The reason is too long.
    #[error("the reason has {length} bytes, at most {MAX_REASON} are kept: shorten it")]
    Reason {
        /// Its length.
        length: usize,
    },
    /// The disk refused; nothing was changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel refused; nothing was changed.
    #[error(transparent)]
    Maps(#[from] MapError),
    /// The kernel refused, and then the disk refused to forget the decision.
    #[error("{maps}; and the store still has the change, which the next start will try again: {store}")]
    Torn {
        /// What the kernel said.
        maps: MapError,
        /// What the store said.
        store: StoreError,
    },
}

/// How to except `net` from what applies to a prefix around it.
fn exception(net: IpNet, kind: Kind) -> String {
    match kind {
        Kind::Trust => "and trust the rest of it in smaller prefixes".to_owned(),
        Kind::Block => format!("or allow {}", show(net)),
        Kind::Allow => format!("or block {}", show(net)),
    }
}

/// Names the prefix `by` where it is not `net` itself.
fn elsewhere(net: IpNet, by: IpNet) -> String {
    if net == by { String::new() } else { format!(" by {}", show(by)) }
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Decisions that ended.
    pub ended: Vec<(IpNet, Kind)>,
    /// How long until there is something to sweep; `None` if nothing ends by itself.
    pub next: Option<Duration>,
}

/// The one place where decisions are made. Shared by the API, the feeds and the sweeper; each call is short but for
/// the disk, so call it from threads that may block.
pub struct Control {
    inner: Mutex<Inner>,
    clock: Box<dyn Fn() -> Clock + Send + Sync>,
}

struct Inner {
    book: RuleBook,
    store: Store,
    maps: Box<dyn RuleMaps + Send>,
    guarded: Vec<(IpNet, String)>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

impl Control {
    /// Opens the store at `path` (`STATE_DIR/IFACE.redb`), forgets what has ended, and brings `maps` up to date by
    /// difference. `clock` is [`Clock::now`] but for tests.
    pub fn open(
        path: &Path,
        mut maps: Box<dyn RuleMaps + Send>,
        clock: impl Fn() -> Clock + Send + Sync + 'static,
    ) -> Result<Self, Refusal> {
        let (mut store, decisions) = Store::open(path)?;
        let now = clock();
        let has_ended = |decision: &Decision| decision.until.is_some_and(|until| until <= now.wall_s());
        let (ended, live): (Vec<_>, Vec<_>) = decisions.into_iter().partition(has_ended);
        if !ended.is_empty() {
            let purge: Vec<Change> = ended.iter().map(|ended| Change::Remove(ended.net, ended.kind)).collect();
            store.commit(&purge)?;
        }
        let book = RuleBook::load(live, now, maps.as_mut())?;
        let inner = Mutex::new(Inner { book, store, maps, guarded: Vec::new() });
        Ok(Self { inner, clock: Box::new(clock) })
    }

    /// Whom no block may hit without `force`, and why: this host's addresses, its gateway, its resolvers. In place of
    /// the list before.
    pub fn set_guarded(&self, guarded: Vec<(IpNet, String)>) {
        self.lock().guarded = guarded;
    }

    /// Takes a decision; when this returns it is on disk and in force.
    pub fn decide(&self, ask: Ask) -> Result<Taken, Refusal> {
        if ask.reason.len() > MAX_REASON {
            return Err(Refusal::Reason { length: ask.reason.len() });
        }
        let mut inner = self.lock();
        let clock = (self.clock)();
        let until = ask.ttl_s.map(|ttl_s| until(ttl_s, clock)).transpose()?;
        if ask.kind == Kind::Block && !ask.force {
            inner.check_guard(ask.net, ask.operator)?;
            inner.check_trust(ask.net, clock.mono_ns())?;
        }
        let decision = Decision {
            net: ask.net,
            kind: ask.kind,
            until,
            reason: ask.reason.into(),
            origin: ask.origin.into(),
            made: clock.wall_s(),
        };
        let replaced = inner.carry_out(Change::Put(decision.clone()), clock)?;
        Ok(Taken { decision, replaced })
    }

    /// Takes back the decision of this kind at this very prefix; what it covered applies again.
    pub fn remove(&self, net: IpNet, kind: Kind) -> Result<TakenBack, Refusal> {
        let mut inner = self.lock();
        let clock = (self.clock)();
        let now = clock.mono_ns();
        if inner.book.get(&net, kind, now).is_none() {
            return Err(match inner.book.covering(&net, now) {
                Some(applies) if applies.kind == kind => Refusal::Covered { net, kind, by: applies.net },
                _ => Refusal::NoSuchRule { net, kind },
            });
        }
        let removed = inner.carry_out(Change::Remove(net, kind), clock)?;
        let removed = removed.ok_or(Refusal::NoSuchRule { net, kind })?;
        Ok(TakenBack { removed, now: inner.book.covering(&net, now).cloned() })
    }

    /// Every decision in force, or those of one kind, by address.
    pub fn list(&self, kind: Option<Kind>) -> Vec<Decision> {
        let inner = self.lock();
        let now = (self.clock)().mono_ns();
        inner.book.iter(now).filter(|decision| kind.is_none_or(|kind| decision.kind == kind)).cloned().collect()
    }

    /// Removes what has ended from book, maps and disk. Call it every second or when [`Sweep::next`] has passed; a
    /// late sweep costs memory, not enforcement, because the kernel knows the ends.
    pub fn sweep(&self) -> Result<Sweep, Refusal> {
        let mut ended = Vec::new();
        loop {
            let mut guard = self.lock();
            let inner = &mut *guard;
            let now = (self.clock)().mono_ns();
            let swept = inner.book.expire(now, SWEEP_BATCH, inner.maps.as_mut());
            let purge: Vec<Change> = swept.ended.iter().map(|(net, kind)| Change::Remove(*net, *kind)).collect();
            if !purge.is_empty() {
                // What stays on disk for a refusal is purged at the next start.
                inner.store.commit(&purge)?;
            }
            ended.extend(swept.ended);
            if let Some(error) = swept.error {
                return Err(error.into());
            }
            if !swept.more {
                let next = inner.book.next_due().map(|at| Duration::from_nanos(at.saturating_sub(now)));
                return Ok(Sweep { ended, next });
            }
        }
    }

    /// This instant, as the decisions are measured.
    pub fn clock(&self) -> Clock {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // After a panic in between, the store is ahead of the book at worst; the next start brings both together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn check_guard(&self, net: IpNet, operator: Option<IpAddr>) -> Result<(), Refusal> {
        let operator = operator.map(|address| (IpNet::from(address), "where your own session comes from"));
        let listed = self.guarded.iter().map(|(guarded, why)| (*guarded, why.as_str()));
        let mut hit = operator.into_iter().chain(listed);
        match hit.find(|(guarded, _)| net.contains(guarded) || guarded.contains(&net)) {
            Some((guarded, why)) => Err(Refusal::Guarded { net, guarded, why: why.to_owned() }),
            None => Ok(()),
        }
    }

    /// A block in what is trusted looks like a success and does nothing. One around it does something beside it.
    fn check_trust(&self, net: IpNet, now: u64) -> Result<(), Refusal> {
        match self.book.covering(&net, now).filter(|applies| applies.kind == Kind::Trust) {
            Some(trust) => Err(Refusal::Trusted { net, by: trust.net }),
            None => Ok(()),
        }
    }

    /// Disk, then kernel; if the kernel refuses, the disk is put back.
    fn carry_out(&mut self, change: Change, clock: Clock) -> Result<Option<Decision>, Refusal> {
        let (net, kind) = match &change {
            Change::Put(decision) => (decision.net, decision.kind),
            Change::Remove(net, kind) => (*net, *kind),
        };
        let back = match self.book.get(&net, kind, clock.mono_ns()) {
            Some(before) => Change::Put(before.clone()),
            None => Change::Remove(net, kind),
        };
        self.store.commit(std::slice::from_ref(&change))?;
        match self.book.apply(vec![change], clock, self.maps.as_mut()) {
            Ok(mut replaced) => Ok(replaced.pop().flatten()),
            Err(maps) => match self.store.commit(&[back]) {
                Ok(()) => Err(maps.into()),
                Err(store) => Err(Refusal::Torn { maps, store }),
            },
        }
    }
}

fn until(ttl_s: u64, clock: Clock) -> Result<u64, Refusal> {
    let range = (1..=MAX_TTL).contains(&ttl_s);
    range.then(|| clock.wall_after(ttl_s)).flatten().ok_or(Refusal::Ttl { ttl_s })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tempfile::TempDir;
    use vos_common::rule::RuleKind;

    use super::*;
    use crate::control::fake_kernel::FakeKernel;

    const NS: u64 = 1_000_000_000;

    /// A control plane whose clock the test turns.
    struct Bench {
        directory: TempDir,
        kernel: FakeKernel,
        seconds: Arc<AtomicU64>,
    }

    impl Bench {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            Self { directory, kernel: FakeKernel::default(), seconds: Arc::default() }
        }

        fn open(&self) -> Control {
            let (path, seconds) = (self.directory.path().join("eth0.redb"), Arc::clone(&self.seconds));
            let clock = move || {
                let now = seconds.load(Ordering::Relaxed) * NS;
                Clock::at(1_000_000 * NS + now, NS + now)
            };
            Control::open(&path, Box::new(self.kernel.clone()), clock).expect("a sound store")
        }

        fn kind(&self, source: &str) -> u32 {
            let now = NS + self.seconds.load(Ordering::Relaxed) * NS;
            self.kernel.lookup(source.parse().expect(source), now)
        }
    }

    fn net(text: &str) -> IpNet {
        crate::control::address::parse(text).expect(text)
    }

    fn ask(text: &str, kind: Kind) -> Ask {
        Ask {
            net: net(text),
            kind,
            ttl_s: None,
            reason: String::new(),
            origin: "test".into(),
            force: false,
            operator: None,
        }
    }

    #[test]
    fn what_is_acknowledged_is_in_force_and_survives_a_restart() {
        let bench = Bench::new();
        let control = bench.open();
        control.decide(ask("10.0.0.0/8", Kind::Block)).expect("room");
        control.decide(Ask { ttl_s: Some(60), ..ask("10.0.0.1", Kind::Allow) }).expect("room");
        assert_eq!(bench.kind("10.0.0.1"), RuleKind::Allowed as u32);
        drop(control);
        // a reboot: the maps are empty, the minute goes on
        *bench.kernel.maps() = Default::default();
        bench.seconds.store(59, Ordering::Relaxed);
        let control = bench.open();
        assert_eq!(bench.kind("10.0.0.1"), RuleKind::Allowed as u32);
        assert_eq!(bench.kind("10.0.0.2"), RuleKind::Blocked as u32);
        drop(control);
        bench.seconds.store(60, Ordering::Relaxed);
        assert_eq!(bench.kind("10.0.0.1"), RuleKind::Blocked as u32);
        assert_eq!(bench.open().list(None).len(), 1);
    }

    #[test]
    fn the_sweeper_forgets_on_disk_as_well() {
        let bench = Bench::new();
        let control = bench.open();
        for i in 0..10 {
            control.decide(Ask { ttl_s: Some(5), ..ask(&format!("10.0.0.{i}"), Kind::Block) }).expect("room");
        }
        let sweep = control.sweep().expect("nothing refuses");
        assert_eq!((sweep.ended.len(), sweep.next), (0, Some(Duration::from_secs(5))));
        bench.seconds.store(5, Ordering::Relaxed);
        assert!(control.list(None).is_empty(), "what has ended is not listed, swept or not");
        let sweep = control.sweep().expect("nothing refuses");
        assert_eq!((sweep.ended.len(), sweep.next), (10, None));
        drop(control);
        let (_, decisions) = Store::open(&bench.directory.path().join("eth0.redb")).expect("sound");
        assert!(decisions.is_empty() && bench.kernel.maps().entries.is_empty());
    }

    #[test]
    fn a_refusing_kernel_leaves_disk_and_book_as_they_were() {
        let bench = Bench::new();
        let control = bench.open();
        control.decide(Ask { reason: "first".into(), ..ask("10.0.0.1", Kind::Block) }).expect("room");
        bench.kernel.maps().capacity = Some(1);
        let refusal = control.decide(ask("10.0.0.2", Kind::Block)).expect_err("full");
        assert!(matches!(refusal, Refusal::Maps(MapError::Full { .. })), "{refusal}");
        bench.kernel.maps().writes_left = Some(0);
        control.remove(net("10.0.0.1"), Kind::Block).expect_err("no write succeeds");
        bench.kernel.maps().writes_left = None;
        assert_eq!(control.list(None).len(), 1);
        drop(control);
        let listed = bench.open().list(None);
        assert_eq!(listed.iter().map(|d| (d.net, &*d.reason)).collect::<Vec<_>>(), [(net("10.0.0.1"), "first")]);
    }

    #[test]
    fn unblocking_what_a_wider_rule_blocks_says_so() {
        let bench = Bench::new();
        let control = bench.open();
        control.decide(ask("10.1.0.0/16", Kind::Block)).expect("room");
        let refusal = control.remove(net("10.1.2.3"), Kind::Block).expect_err("no such rule");
        assert_eq!(refusal.to_string(), "10.1.2.3 is blocked by 10.1.0.0/16: unblock that, or allow 10.1.2.3");
        let refusal = control.remove(net("10.2.0.0/16"), Kind::Block).expect_err("no such rule");
        assert!(matches!(refusal, Refusal::NoSuchRule { .. }), "{refusal}");
        control.decide(ask("10.1.2.3", Kind::Block)).expect("room");
        let back = control.remove(net("10.1.2.3"), Kind::Block).expect("it is there");
        assert_eq!(back.now.map(|d| d.net), Some(net("10.1.0.0/16")));
    }

    #[test]
    fn nobody_blocks_the_host_its_gateway_or_the_own_session_by_mistake() {
        let bench = Bench::new();
        let control = bench.open();
        control.set_guarded(vec![(net("192.0.2.1"), "the default gateway".into())]);
        let refusal = control.decide(ask("192.0.2.0/24", Kind::Block)).expect_err("guarded");
        assert_eq!(
            refusal.to_string(),
            "blocking 192.0.2.0/24 would block 192.0.2.1, the default gateway: name a smaller prefix, or insist with --force"
        );
        let operator = Some("203.0.113.9".parse().expect("an address"));
        let own = Ask { operator, ..ask("203.0.113.9", Kind::Block) };
        assert!(matches!(control.decide(own.clone()), Err(Refusal::Guarded { .. })));
        control.decide(Ask { force: true, ..own }).expect("insisted");
        control.decide(ask("192.0.2.0/24", Kind::Allow)).expect("only blocks are guarded");
        control.decide(ask("192.0.2.2", Kind::Block)).expect("a neighbour");
    }

    #[test]
    fn a_block_in_what_is_trusted_is_refused_and_insisted_on_it_waits() {
        let bench = Bench::new();
        let control = bench.open();
        control.set_guarded(vec![(net("203.0.113.1"), "this host".into())]);
        control.decide(Ask { ttl_s: Some(60), ..ask("203.0.113.0/24", Kind::Trust) }).expect("only blocks are guarded");
        let refusal = control.decide(ask("203.0.113.7", Kind::Block)).expect_err("without effect");
        assert_eq!(
            refusal.to_string(),
            "203.0.113.7 is trusted by 203.0.113.0/24, and a trust outranks every block: `vosctl untrust 203.0.113.0/24` first, or insist with --force on a block that waits until the trust is gone"
        );
        control.decide(ask("203.0.113.8", Kind::Allow)).expect("an allow contradicts nothing");
        control.decide(Ask { force: true, ..ask("203.0.113.7", Kind::Block) }).expect("insisted");
        control.decide(Ask { force: true, ..ask("203.0.112.0/23", Kind::Block) }).expect("around it");
        let kinds = |sources: [&str; 3]| sources.map(|source| bench.kind(source));
        let sources = ["203.0.113.7", "203.0.113.9", "203.0.112.9"];
        let (trusted, blocked) = (RuleKind::Trusted as u32, RuleKind::Blocked as u32);
        assert_eq!(kinds(sources), [trusted, trusted, blocked]);
        bench.seconds.store(60, Ordering::Relaxed);
        assert_eq!(kinds(sources), [blocked; 3]);
        control.decide(ask("203.0.113.9", Kind::Block)).expect("the trust has ended");
    }

    #[test]
    fn a_trust_survives_a_restart_and_taking_it_back_says_what_applies_then() {
        let bench = Bench::new();
        let control = bench.open();
        control.decide(ask("10.0.0.0/8", Kind::Block)).expect("room");
        control.decide(ask("10.0.0.0/24", Kind::Trust)).expect("room");
        drop(control);
        *bench.kernel.maps() = Default::default();
        let control = bench.open();
        assert_eq!(bench.kind("10.0.0.1"), RuleKind::Trusted as u32);
        let refusal = control.remove(net("10.0.0.1"), Kind::Trust).expect_err("no such rule");
        assert_eq!(
            refusal.to_string(),
            "10.0.0.1 is trusted by 10.0.0.0/24: untrust that, and trust the rest of it in smaller prefixes"
        );
        let refusal = control.decide(ask("10.0.0.0/24", Kind::Block)).expect_err("without effect");
        assert!(refusal.to_string().starts_with("10.0.0.0/24 is trusted, and"), "{refusal}");
        let back = control.remove(net("10.0.0.0/24"), Kind::Trust).expect("it is there");
        assert_eq!(back.now.map(|now| (now.net, now.kind)), Some((net("10.0.0.0/8"), Kind::Block)));
        assert_eq!(bench.kind("10.0.0.1"), RuleKind::Blocked as u32);
    }

    #[test]
    fn ends_and_reasons_out_of_range_are_refused() {
        let bench = Bench::new();
        let control = bench.open();
        for ttl_s in [0, MAX_TTL + 1, u64::MAX] {
            let asked = Ask { ttl_s: Some(ttl_s), ..ask("10.0.0.1", Kind::Block) };
            assert!(matches!(control.decide(asked), Err(Refusal::Ttl { .. })), "{ttl_s}");
        }
        let asked = Ask { reason: "x".repeat(MAX_REASON + 1), ..ask("10.0.0.1", Kind::Block) };
        assert!(matches!(control.decide(asked), Err(Refusal::Reason { length: 257 })));
        assert!(control.list(None).is_empty());
    }
}
