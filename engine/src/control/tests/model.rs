//! Any sequence of commands against a model that keeps a plain list and reads all of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::control::decision::Key;
use crate::control::log::{Entry, Logged};
use crate::control::merge::Read;
use crate::control::stamp::Stamp;

/// Nested, disjoint, neighbours in one /24.
const NETS: [&str; 9] = [
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.0/31",
    "10.0.0.1/32",
    "10.0.0.200/32",
    "2001:db8::/32",
    "2001:db8::/64",
    "2001:db8::1/128",
    "2001:db8:1::1/128",
];
const SOURCES: [&str; 8] =
    ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.200", "10.0.1.1", "192.0.2.1", "2001:db8::1", "2001:db8:1::2"];
/// Whom the guard keeps from being blocked, while it does.
const GUARDED: &str = "10.0.0.1/32";

#[derive(Clone, Copy, Debug)]
enum Change {
    Put(&'static str, Kind, Option<u64>, &'static str),
    Remove(&'static str, Kind),
}

#[derive(Clone, Debug)]
enum Command {
    /// An operator's command, or an import.
    Asks {
        force: bool,
        asks: Vec<Change>,
    },
    /// The set so many before the last.
    Undo(usize),
    /// What another node did, later or earlier than all that was done here.
    Foreign {
        later: bool,
        changes: Vec<Change>,
    },
    Guard(bool),
    Wait(u64),
    Restart {
        maps_are_lost: bool,
    },
}

fn change() -> impl Strategy<Value = Change> {
    let (net, kind) = (|| select(&NETS[..]), || select(&Kind::ALL[..]));
    let ttl = prop::option::weighted(0.6, 1_u64..12);
    prop_oneof![
        3 => (net(), kind(), ttl, select(&["", "why"][..])).prop_map(|(n, k, t, r)| Change::Put(n, k, t, r)),
        2 => (net(), kind()).prop_map(|(n, k)| Change::Remove(n, k)),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let changes = || prop::collection::vec(change(), 1..6);
    prop_oneof![
        8 => (any::<bool>(), changes()).prop_map(|(force, asks)| Command::Asks { force, asks }),
        3 => (0_usize..4).prop_map(Command::Undo),
        3 => (any::<bool>(), changes()).prop_map(|(later, changes)| Command::Foreign { later, changes }),
        1 => any::<bool>().prop_map(Command::Guard),
        3 => (1_u64..6).prop_map(Command::Wait),
        1 => any::<bool>().prop_map(|maps_are_lost| Command::Restart { maps_are_lost }),
    ]
}

/// A decision as the model knows it.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    until: Option<u64>,
    reason: &'static str,
    is_foreign: bool,
}

/// What was last said about a key.
#[derive(Clone, Debug, Default)]
struct Said {
    /// Orders what others said; what was said here is later than all before.
    stamp: u64,
    /// One more with each thing said.
    version: u64,
    known: Option<Known>,
}

/// What a set left at a key, and what was there before it.
#[derive(Clone, Debug)]
struct Left {
    version: u64,
    known: Option<Known>,
    before: Option<Known>,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    is_guarding: bool,
    version: u64,
    said: BTreeMap<Key, Said>,
    sets: BTreeMap<u64, BTreeMap<Key, Left>>,
    /// By which set a set was undone, and the other way round.
    undone: BTreeMap<u64, u64>,
}

impl Model {
    fn live(&self, key: &Key) -> Option<&Known> {
        self.said.get(key)?.known.as_ref().filter(|known| known.until.is_none_or(|until| until > self.now))
    }

    fn hits_guarded(&self, net: &IpNet) -> bool {
        let guarded: IpNet = GUARDED.parse().expect("a net");
        self.is_guarding && (net.contains(&guarded) || guarded.contains(net))
    }

    fn is_held(&self, (net, kind): &Key) -> bool {
        let foreign = self.live(&(*net, *kind)).is_some_and(|known| known.is_foreign);
        *kind == Kind::Block && foreign && self.hits_guarded(net)
    }

    /// What applies to all of `net`: any trust, else the most specific, block over allow.
    fn applies(&self, net: &IpNet) -> Option<Kind> {
        let covering =
            self.said.keys().filter(|key| key.0.contains(net) && self.live(key).is_some() && !self.is_held(key));
        covering
            .max_by_key(|(net, kind)| (*kind == Kind::Trust, net.prefix_len(), *kind == Kind::Block))
            .map(|key| key.1)
    }

    fn say(&mut self, key: Key, known: Option<Known>, stamp: u64) -> u64 {
        self.version += 1;
        self.said.insert(key, Said { stamp, version: self.version, known });
        self.version
    }

    /// What an operator's wish comes to; `true`: something has changed.
    fn ask(&mut self, force: bool, ask: Change, set: &mut BTreeMap<Key, Left>) -> Result<bool, ()> {
        let (key, wanted) = match ask {
            Change::Put(net, kind, ttl, reason) => {
                let key: Key = (net.parse().expect("a net"), kind);
                let refused = match self.applies(&key.0) {
                    _ if kind != Kind::Block || force => false,
                    Some(Kind::Trust | Kind::Allow) => true,
                    _ => self.hits_guarded(&key.0),
                };
                let until = ttl.map(|ttl| self.now + ttl);
                let known = Known { until, reason, is_foreign: false };
                let same = |there: &&Known| there.until == until && there.reason == reason;
                if refused {
                    return Err(());
                }
                if !self.is_held(&key) && self.live(&key).filter(same).is_some() {
                    return Ok(false);
                }
                (key, Some(known))
            }
            Change::Remove(net, kind) => {
                let key = (net.parse().expect("a net"), kind);
                self.live(&key).ok_or(())?;
                (key, None)
            }
        };
        let before = self.live(&key).cloned();
        let version = self.say(key, wanted.clone(), 0);
        let left = set.entry(key).or_insert(Left { version, known: None, before });
        (left.version, left.known) = (version, wanted);
        Ok(true)
    }

    fn foreign(&mut self, change: Change, stamp: u64) {
        let (net, kind, known) = match change {
            Change::Put(net, kind, ttl, reason) => {
                let until = ttl.map(|ttl| self.now + ttl);
                (net, kind, Some(Known { until, reason, is_foreign: true }))
            }
            Change::Remove(net, kind) => (net, kind, None),
        };
        let key = (net.parse().expect("a net"), kind);
        if self.said.get(&key).is_none_or(|said| said.stamp < stamp) {
            self.say(key, known, stamp);
        }
    }

    /// How many changes are taken back; with it the set that this is.
    fn undo(&mut self, number: u64) -> (u64, BTreeMap<Key, Left>) {
        let mut own = BTreeMap::new();
        for (key, left) in self.sets[&number].clone() {
            let there = self.live(&key).cloned();
            let version = self.said.get(&key).map_or(0, |said| said.version);
            let is_live = |known: &Known| known.until.is_none_or(|until| until > self.now);
            let before = left.before.filter(is_live);
            let stays = match (&there, &left.known) {
                (Some(_), _) => version != left.version,
                (None, Some(put)) if is_live(put) => true,
                (None, _) => before.is_none(),
            };
            if !stays {
                let known = before.map(|before| Known { is_foreign: false, ..before });
                let version = self.say(key, known.clone(), 0);
                own.insert(key, Left { version, known, before: there });
            }
        }
        (own.len() as u64, own)
    }
}

/// The control plane and its model, side by side.
struct World {
    bench: Bench,
    control: Option<Control>,
    model: Model,
    sequence: u64,
}

impl World {
    fn new() -> Self {
        let bench = Bench::node("a");
        let control = Some(bench.open());
        let model = Model { now: START, ..Model::default() };
        Self { bench, control, model, sequence: 0 }
    }

    fn control(&self) -> &Control {
        self.control.as_ref().expect("open")
    }

    /// Everything said here so far is older than what others say from now on.
    fn settle(&mut self) -> Stamp {
        let stamp = self.control().lock().stamp;
        for said in self.model.said.values_mut().filter(|said| said.stamp == 0) {
            said.stamp = stamp.bits();
        }
        stamp
    }

    fn take(&mut self, command: &Command) {
        match command {
            Command::Asks { force, asks } => self.asks(*force, asks),
            Command::Undo(back) => self.undo(*back),
            Command::Foreign { later, changes } => self.foreign(*later, changes),
            Command::Guard(on) => {
                self.model.is_guarding = *on;
                self.guard();
            }
            Command::Wait(seconds) => {
                for _ in 0..*seconds {
                    self.bench.wait(1);
                    self.model.now += 1;
                    self.check_kernel();
                    self.control().sweep().expect("nothing refuses");
                    self.check_kernel();
                }
            }
            Command::Restart { maps_are_lost } => {
                self.control = None;
                if *maps_are_lost {
                    *self.bench.kernel.maps() = Default::default();
                }
                self.control = Some(self.bench.open());
                self.guard();
            }
        }
    }

    fn guard(&self) {
        let guarded = (GUARDED.parse().expect("a net"), "the default gateway".to_owned());
        self.control().set_guarded(if self.model.is_guarding { vec![guarded] } else { Vec::new() });
    }

    fn asks(&mut self, force: bool, asks: &[Change]) {
        let by = By { force, ..root() };
        let ask = |ask: &Change| match *ask {
            Change::Put(net, kind, ttl, reason) => {
                let end = ttl.map_or(End::Never, End::After);
                Ask::Put { net: net.parse().expect("a net"), kind, end, reason: reason.into() }
            }
            Change::Remove(net, kind) => Ask::Remove { net: net.parse().expect("a net"), kind },
        };
        let (number, results) = super::command(self.control(), &by, asks.iter().map(ask).collect());
        let mut set = BTreeMap::new();
        let expected: Vec<Result<bool, ()>> = asks.iter().map(|ask| self.model.ask(force, *ask, &mut set)).collect();
        let found = results.iter().map(|result| match result {
            Ok(done) => Ok(!matches!(done, Done::Already(_))),
            Err(_) => Err(()),
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{asks:?}: {results:?}");
        assert_eq!(number.is_some(), !set.is_empty());
        self.model.sets.extend(number.map(|number| (number, set)));
        self.settle();
    }

    fn undo(&mut self, back: usize) {
        let Some(number) = self.model.sets.keys().rev().nth(back).copied() else { return };
        let result = self.control().undo(Some(number), &insisting());
        if let Some(by) = self.model.undone.get(&number) {
            assert!(matches!(result, Err(Refusal::Undone { by: found, .. }) if found == *by), "{result:?}");
            return;
        }
        let undone = result.expect("there");
        let (restored, own) = self.model.undo(number);
        assert_eq!((undone.restored, undone.by.is_some()), (restored, restored > 0), "{undone:?}");
        if let Some(by) = undone.by {
            // what this set had undone itself is there again, and can be undone again
            let first = self.model.undone.iter().find(|(_, by)| **by == number).map(|(first, _)| *first);
            if let Some(first) = first {
                self.model.undone.remove(&first);
                for (key, Left { version, known, .. }) in &own {
                    let left = self.model.sets.get_mut(&first).and_then(|set| set.get_mut(key)).expect("it was undone");
                    (left.version, left.known) = (*version, known.clone());
                }
            }
            self.model.undone.insert(number, by);
            self.model.sets.insert(by, own);
        }
        self.settle();
    }

    fn foreign(&mut self, later: bool, changes: &[Change]) {
        let newest = self.settle();
        self.sequence += 1;
        let of_long_ago = Stamp::of_seconds(START - 100_000).bits();
        let base = if later { newest.bits() + 100 } else { of_long_ago };
        let mut seen = BTreeMap::new();
        for (n, change) in changes.iter().enumerate() {
            let stamp = base + self.sequence * 100 + n as u64;
            let (net, kind, row) = match *change {
                Change::Put(net, kind, ttl, reason) => (net, kind, Some((ttl.map(|ttl| self.model.now + ttl), reason))),
                Change::Remove(net, kind) => (net, kind, None),
            };
            let key: Key = (net.parse().expect("a net"), kind);
            let mut logged = Logged::removed(key, Stamp::of_bits(stamp));
            if let Some((until, reason)) = row {
                (logged.removed, logged.until, logged.reason) = (false, until, reason.into());
            }
            seen.insert(key, logged);
            self.model.foreign(*change, stamp);
        }
        let entry = Entry { node: "b".into(), sequence: self.sequence, changes: seen.into_values().collect() };
        let merged = self.control().merge(vec![Read::Entry(self.sequence, entry)], self.sequence + 1);
        assert_eq!(merged.expect("room").unsound, 0);
    }

    fn check_kernel(&self) {
        for source in SOURCES {
            let address: IpAddr = source.parse().expect("an address");
            let expected = self.model.applies(&address.into()).map_or(0, |kind| kind.rule() as u32);
            assert_eq!(self.bench.kind(source), expected, "{source} at {}: {:#?}", self.model.now, self.model.said);
        }
    }

    fn check(&self) {
        self.check_kernel();
        let found = self.control().list(&Filter::default());
        let found =
            found.iter().map(|it| (it.decision.key(), it.decision.until, &*it.decision.reason, it.held.is_some()));
        let said = self.model.said.keys().filter_map(|key| Some((key, self.model.live(key)?)));
        let said = said.map(|(key, known)| (*key, known.until, known.reason, self.model.is_held(key)));
        assert_eq!(found.collect::<Vec<_>>(), said.collect::<Vec<_>>());
        let verified = self.control().verify(false).expect("readable");
        assert_eq!((verified.in_kernel(), verified.on_disk()), (0, 0), "{verified:?}");
        self.bench.kernel.assert_gate_is_tight();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn disk_book_and_kernel_are_what_a_naive_reading_of_all_commands_says(
        commands in prop::collection::vec(command(), 1..24),
    ) {
        let mut world = World::new();
        for command in &commands {
            world.take(command);
            world.check();
        }
        world.take(&Command::Restart { maps_are_lost: true });
        world.check();
        world.take(&Command::Wait(20));
        world.check();
    }
}
