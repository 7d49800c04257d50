//! The verdict table's world in the maps of the loaded programs: what BPF_PROG_TEST_RUN runs in.

use std::collections::HashSet;

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map};
use vos_common::cases::{self, Budget, Entry, World};
use vos_common::rate::{Limits, VERIFIED_BUCKETS, VerifiedBucket, bucket, source_key};
use vos_common::rule::{Addr, GATE_BLOCKS, GATE_WORDS, GateBlock, Rule};
use vos_common::state::{Clock, Homes, Ports, V6_RULES};

use crate::{Error, Result};

/// The table's world as of now. The kernel's clock is stopped in it: a tick takes no time.
pub fn world() -> World {
    let now = vos_engine::control::clock::Clock::now().mono_ns();
    let mut world = World::at(now);
    world.config.clock = Clock { jiffies: 0, monotonic: now, tick: 0 };
    world.config.flags |= V6_RULES;
    world
}

/// Writes `world` into maps that are still empty.
pub fn fill(ebpf: &mut Ebpf, world: &World) -> Result<()> {
    let homes =
        [(Addr::v4(cases::OWN_V4), true), (Addr::from_bytes(cases::OWN_V6), true), (Addr::v4(cases::BEHIND_V4), false)];
    let mut ports: Ports = [0; 1024];
    for port in cases::PORTS {
        ports[usize::from(port / 64)] |= 1 << (port % 64);
    }
    one(ebpf, "SIGNATURES", *world.signatures)?;
    verified(ebpf, world)?;
    one(ebpf, "HOMES", Homes::of(&homes).expect("three fit"))?;
    one(ebpf, "PORTS", ports)?;
    let mut budgets: LpmTrie<_, Addr, Limits> = map(ebpf, "BUDGETS")?;
    let add = |(addr, bits, limits): &Budget| budgets.insert(&Key::new(*bits, *addr), limits, 0);
    world.budgets.iter().try_for_each(add).map_err(refused("BUDGETS"))?;
    change(ebpf, &[], world)
}

/// Writes `world` into maps that hold another world, with the rules `before`.
pub fn change(ebpf: &mut Ebpf, before: &[Entry], world: &World) -> Result<()> {
    one(ebpf, "CONFIG", world.config)?;
    one(ebpf, "HEART", if world.live { world.now } else { 0 })?;
    rules(ebpf, before, &world.rules)?;
    gate(ebpf, before, &world.rules)
}

/// Writes who is verified; the key of each depends on the world's seed.
pub fn verified(ebpf: &mut Ebpf, world: &World) -> Result<()> {
    let mut table: Array<_, VerifiedBucket> = map(ebpf, "VERIFIED")?;
    for (addr, until) in &world.verified {
        let key = source_key(addr, world.config.seed);
        let at = bucket(key, VERIFIED_BUCKETS);
        let mut bucket = table.get(&at, 0).map_err(refused("VERIFIED"))?;
        let way = bucket.keys.iter().position(|held| *held == 0 || *held == key).unwrap_or(0);
        (bucket.keys[way], bucket.until[way]) = (key, *until);
        table.set(at, bucket, 0).map_err(refused("VERIFIED"))?;
    }
    Ok(())
}

/// A map of a loaded object by its name.
pub fn map<'a, T: TryFrom<&'a mut Map>>(ebpf: &'a mut Ebpf, name: &str) -> Result<T> {
    let missing = || Error::Other(format!("the BPF object has no map {name} of the form that is written here"));
    T::try_from(ebpf.map_mut(name).ok_or_else(missing)?).map_err(|_| missing())
}

fn one<V: aya::Pod>(ebpf: &mut Ebpf, name: &str, value: V) -> Result<()> {
    map::<Array<_, V>>(ebpf, name)?.set(0, value, 0).map_err(refused(name))
}

fn rules(ebpf: &mut Ebpf, before: &[Entry], now: &[Entry]) -> Result<()> {
    let known: HashSet<(Addr, u32)> = now.iter().map(|(addr, bits, _)| (*addr, *bits)).collect();
    let gone = before.iter().filter(|(addr, bits, _)| !known.contains(&(*addr, *bits)));
    let (gone, gone_prefixes): (Vec<&Entry>, Vec<&Entry>) = gone.partition(|(_, bits, _)| *bits == 128);
    let (addresses, prefixes): (Vec<&Entry>, Vec<&Entry>) = now.iter().partition(|(_, bits, _)| *bits == 128);

    let mut exact: HashMap<_, Addr, Rule> = map(ebpf, "EXACT")?;
    let removed = gone.iter().try_for_each(|(addr, ..)| exact.remove(addr));
    let added = removed.and_then(|()| addresses.iter().try_for_each(|(addr, _, rule)| exact.insert(addr, rule, 0)));
    added.map_err(refused("EXACT"))?;

    let mut prefix: LpmTrie<_, Addr, Rule> = map(ebpf, "PREFIX")?;
    let key = |addr: &Addr, bits: &u32| Key::new(*bits, *addr);
    let removed = gone_prefixes.iter().try_for_each(|(addr, bits, _)| prefix.remove(&key(addr, bits)));
    let mut add = |(addr, bits, rule): &Entry| prefix.insert(&key(addr, bits), rule, 0);
    removed.and_then(|()| prefixes.iter().try_for_each(|entry| add(entry))).map_err(refused("PREFIX"))
}

fn gate(ebpf: &mut Ebpf, before: &[Entry], now: &[Entry]) -> Result<()> {
    let mut map: Array<_, GateBlock> = map(ebpf, "GATE")?;
    for (index, (old, new)) in (0..).zip(bits(before).iter().zip(bits(now))) {
        if *old != new {
            map.set(index, new, 0).map_err(refused("GATE"))?;
        }
    }
    Ok(())
}

fn bits(rules: &[Entry]) -> Vec<GateBlock> {
    let mut gate: Vec<GateBlock> = vec![[0; GATE_WORDS]; GATE_BLOCKS as usize];
    for (addr, bits, _) in rules.iter().filter(|(addr, ..)| addr.is_v4()) {
        let first = addr.v4_slash24();
        for n in first..first + (1 << 120u32.saturating_sub(*bits)) {
            gate[(n >> 12) as usize][(n >> 6 & 63) as usize] |= 1 << (n & 63);
        }
    }
    gate
}

/// An error of a map, with its name.
pub fn refused(name: &str) -> impl FnOnce(aya::maps::MapError) -> Error {
    let name = name.to_owned();
    move |error| Error::Other(format!("BPF map {name}: {error}"))
}
