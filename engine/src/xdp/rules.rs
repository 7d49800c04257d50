//! The source rules in the kernel.

use std::collections::HashMap as Table;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, IterableMap, LpmTrie, Map, MapData, MapError as AyaError};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use vos_common::rule::{Addr, GateBlock, MAPPED_BITS, Rule};
use vos_common::state::V6_RULES;

use super::maps::{Settings, addr, ip};
use super::{LoadError, take};
use crate::control::maps::{InspectMaps, MapError, Reader, RuleMaps};

/// The source rules in the kernel: single addresses in a hash, prefixes in a trie, the IPv4 gate in front.
pub struct KernelRules {
    exact: HashMap<MapData, Addr, Rule>,
    prefix: LpmTrie<MapData, Addr, Rule>,
    gate: Array<MapData, GateBlock>,
    settings: Arc<Mutex<Settings>>,
}

const EXACT_CAPACITY: u32 = 1 << 20;
const PREFIX_CAPACITY: u32 = 1 << 17;

impl KernelRules {
    pub(super) fn open(ebpf: &mut Ebpf, settings: Arc<Mutex<Settings>>) -> Result<Self, LoadError> {
        Ok(Self { exact: take(ebpf, "EXACT")?, prefix: take(ebpf, "PREFIX")?, gate: take(ebpf, "GATE")?, settings })
    }
}

/// The entry of a prefix in a trie.
pub(super) fn key(net: IpNet) -> Key<Addr> {
    let bits = u32::from(net.prefix_len()) + if net.addr().is_ipv4() { MAPPED_BITS } else { 0 };
    Key::new(bits, addr(net.network()))
}

fn net(addr: Addr, bits: u32) -> Option<IpNet> {
    match ip(addr) {
        IpAddr::V4(ip) => Ipv4Net::new(ip, u8::try_from(bits.checked_sub(MAPPED_BITS)?).ok()?).ok().map(IpNet::V4),
        IpAddr::V6(ip) => Ipv6Net::new(ip, u8::try_from(bits).ok()?).ok().map(IpNet::V6),
    }
}

fn refused(map: &'static str, capacity: u32, fix: &'static str) -> impl FnOnce(AyaError) -> MapError {
    move |error| match error {
        AyaError::SyscallError(call)
            if matches!(call.io_error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM)) =>
        {
            MapError::Full { map, capacity, fix }
        }
        AyaError::SyscallError(call) => MapError::Os { map, source: call.io_error },
        other => MapError::Os { map, source: std::io::Error::other(other.to_string()) },
    }
}

/// Was there nothing to be taken away?
pub(super) fn absent(error: &AyaError) -> bool {
    match error {
        AyaError::KeyNotFound => true,
        AyaError::SyscallError(call) => call.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}

impl RuleMaps for KernelRules {
    fn put(&mut self, net: IpNet, rule: Rule) -> Result<(), MapError> {
        if net.prefix_len() == net.max_prefix_len() {
            let full = refused("EXACT", EXACT_CAPACITY, "block prefixes instead of single addresses");
            self.exact.insert(addr(net.addr()), rule, 0).map_err(full)
        } else {
            let full = refused("PREFIX", PREFIX_CAPACITY, "block shorter prefixes that cover several");
            self.prefix.insert(&key(net), rule, 0).map_err(full)
        }
    }

    fn delete(&mut self, net: IpNet) -> Result<(), MapError> {
        let (map, gone) = if net.prefix_len() == net.max_prefix_len() {
            ("EXACT", self.exact.remove(&addr(net.addr())))
        } else {
            ("PREFIX", self.prefix.remove(&key(net)))
        };
        match gone {
            Err(error) if !absent(&error) => Err(refused(map, 0, "")(error)),
            _ => Ok(()),
        }
    }

    fn gate(&mut self, block: u32, words: &GateBlock) -> Result<(), MapError> {
        self.gate.set(block, words, 0).map_err(refused("GATE", 0, ""))
    }

    fn v6_rules(&mut self, any: bool) -> Result<(), MapError> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.v6_rules(any).map_err(refused("CONFIG", 1, ""))
    }

    fn held(&mut self) -> Result<Vec<(IpNet, Rule)>, MapError> {
        let mut held = addresses(&self.exact)?;
        held.extend(prefixes(&self.prefix)?);
        Ok(held)
    }
}

impl InspectMaps for KernelRules {
    fn get(&mut self, nets: &[IpNet]) -> Result<Vec<Option<Rule>>, MapError> {
        let is_host = |net: &&IpNet| net.prefix_len() == net.max_prefix_len();
        let mut found: Table<IpNet, Rule> = Table::new();
        for net in nets.iter().filter(is_host) {
            match self.exact.get(&addr(net.addr()), 0) {
                Ok(rule) => drop(found.insert(*net, rule)),
                Err(error) if absent(&error) => {}
                Err(error) => return Err(refused("EXACT", 0, "")(error)),
            }
        }
        if nets.iter().any(|net| !is_host(&net)) {
            found.extend(prefixes(&self.prefix)?);
        }
        Ok(nets.iter().map(|net| found.get(net).copied()).collect())
    }

    fn gate_of(&mut self, block: u32) -> Result<GateBlock, MapError> {
        self.gate.get(&block, 0).map_err(refused("GATE", 0, ""))
    }

    fn has_v6_rules(&mut self) -> Result<bool, MapError> {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(settings.config().flags & V6_RULES != 0)
    }

    fn reader(&self) -> Result<Reader, MapError> {
        let exact: HashMap<MapData, Addr, Rule> = again("EXACT", self.exact.map())?;
        let prefix: LpmTrie<MapData, Addr, Rule> = again("PREFIX", self.prefix.map())?;
        Ok(Box::new(move || {
            let mut held = addresses(&exact)?;
            held.extend(prefixes(&prefix)?);
            Ok(held)
        }))
    }
}

/// Another handle on the same map.
fn again<T: TryFrom<Map, Error = AyaError>>(name: &'static str, map: &MapData) -> Result<T, MapError> {
    let os = |source| MapError::Os { map: name, source };
    let fd = map.fd().as_fd().try_clone_to_owned().map_err(os)?;
    let again = MapData::from_fd(fd).and_then(Map::from_map_data).and_then(T::try_from);
    again.map_err(refused(name, 0, ""))
}

fn addresses(exact: &HashMap<MapData, Addr, Rule>) -> Result<Vec<(IpNet, Rule)>, MapError> {
    collect("EXACT", EXACT_CAPACITY, exact.iter(), |addr| Some(IpNet::from(ip(addr))))
}

fn prefixes(prefix: &LpmTrie<MapData, Addr, Rule>) -> Result<Vec<(IpNet, Rule)>, MapError> {
    collect("PREFIX", PREFIX_CAPACITY, prefix.iter(), |key| net(key.data(), key.prefix_len()))
}

/// All entries. Where the one is deleted at which a reader stands, the kernel has it begin again.
fn collect<K>(
    map: &'static str,
    capacity: u32,
    entries: impl Iterator<Item = Result<(K, Rule), AyaError>>,
    net: impl Fn(K) -> Option<IpNet>,
) -> Result<Vec<(IpNet, Rule)>, MapError> {
    let mut held = Vec::new();
    for entry in entries {
        let (key, rule) = entry.map_err(refused(map, 0, ""))?;
        held.extend(net(key).map(|net| (net, rule)));
        if held.len() > 2 * capacity as usize {
            return Err(MapError::Restless { map });
        }
    }
    Ok(held)
}
