//! The kernel's maps as plain collections that read as the XDP program reads them, and complain about a wrong order
//! of writes. For tests.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::{IpNet, Ipv4Net};
use vos_common::rule::{Addr, GATE_WORDS, GateBlock, Rule, RuleKind};

use crate::control::gate::slash24s;
use crate::control::maps::{InspectMaps, MapError, Reader, RuleMaps};

/// A handle on one set of maps; clones see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeKernel(Arc<Mutex<Maps>>);

#[derive(Debug, Default)]
pub(crate) struct Maps {
    pub(crate) entries: HashMap<IpNet, Rule>,
    gate: BTreeMap<u32, GateBlock>,
    v6: bool,
    /// Entries it can hold, if that is bounded.
    pub(crate) capacity: Option<usize>,
    /// Every write fails after this many more.
    pub(crate) writes_left: Option<usize>,
    /// Somebody of whom this must apply after each single write.
    pub(crate) throughout: Option<(IpAddr, RuleKind)>,
    puts: usize,
    deletes: usize,
}

impl FakeKernel {
    pub(crate) fn maps(&self) -> MutexGuard<'_, Maps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries were put and deleted so far.
    pub(crate) fn written(&self) -> (usize, usize) {
        let maps = self.maps();
        (maps.puts, maps.deletes)
    }

    /// What the program would find for `source` at `now`.
    pub(crate) fn lookup(&self, source: IpAddr, now: u64) -> u32 {
        self.maps().lookup(source, now)
    }

    /// No bit but those of entries: the gate does not wear out.
    pub(crate) fn assert_gate_is_tight(&self) {
        let maps = self.maps();
        assert_eq!(maps.v6, maps.entries.keys().any(|net| matches!(net, IpNet::V6(_))), "v6 gate");
        for (block, words) in &maps.gate {
            for bit in (0..1 << 12).filter(|bit| words[(bit >> 6) as usize] >> (bit & 63) & 1 == 1) {
                let slash24 = Ipv4Net::new_assert((((block << 12) | bit) << 8).into(), 24);
                assert!(maps.entries.keys().any(|net| touches(net, slash24)), "stale bit of {slash24}");
                if maps.entries.keys().any(|net| net.prefix_len() < 12) {
                    break; // whole blocks are full of bits: the first of each will do
                }
            }
        }
    }
}

fn touches(net: &IpNet, slash24: Ipv4Net) -> bool {
    matches!(net, IpNet::V4(v4) if v4.contains(&slash24) || slash24.contains(v4))
}

impl Maps {
    fn lookup(&self, source: IpAddr, now: u64) -> u32 {
        let open = match source {
            IpAddr::V4(v4) => self.bit(Addr::v4(v4.octets()).v4_slash24()),
            IpAddr::V6(_) => self.v6,
        };
        let covering = self.entries.iter().filter(|(net, _)| open && net.contains(&source));
        let longest = covering.max_by_key(|(net, _)| net.prefix_len());
        longest.map_or(RuleKind::None as u32, |(_, rule)| rule.at(now))
    }

    fn check_watched(&self) {
        if let Some((source, kind)) = self.throughout {
            assert_eq!(self.lookup(source, 0), kind as u32, "not {kind:?} for a moment: {source}");
        }
    }

    fn bit(&self, n: u32) -> bool {
        self.gate.get(&(n >> 12)).is_some_and(|words| words[(n >> 6 & 63) as usize] >> (n & 63) & 1 == 1)
    }

    fn spend(&mut self) -> Result<(), MapError> {
        match &mut self.writes_left {
            Some(0) => Err(MapError::Os { map: "RULES", source: io::ErrorKind::OutOfMemory.into() }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl RuleMaps for FakeKernel {
    fn put(&mut self, net: IpNet, rule: Rule) -> Result<(), MapError> {
        let mut maps = self.maps();
        maps.spend()?;
        match net {
            IpNet::V4(v4) => {
                let ends = [*slash24s(v4).start(), *slash24s(v4).end()];
                assert!(ends.iter().all(|n| maps.bit(*n)), "{net} put behind a closed gate");
            }
            IpNet::V6(_) => assert!(maps.v6, "{net} put behind a closed gate"),
        }
        let full = maps.capacity.is_some_and(|capacity| maps.entries.len() >= capacity);
        if full && !maps.entries.contains_key(&net) {
            return Err(MapError::Full { map: "RULES", capacity: 0, fix: "block prefixes instead of addresses" });
        }
        maps.entries.insert(net, rule);
        maps.puts += 1;
        maps.check_watched();
        Ok(())
    }

    fn delete(&mut self, net: IpNet) -> Result<(), MapError> {
        let mut maps = self.maps();
        maps.spend()?;
        maps.entries.remove(&net);
        maps.deletes += 1;
        maps.check_watched();
        Ok(())
    }

    fn gate(&mut self, block: u32, words: &GateBlock) -> Result<(), MapError> {
        let mut maps = self.maps();
        maps.spend()?;
        if *words == [0; GATE_WORDS] {
            maps.gate.remove(&block);
        } else {
            maps.gate.insert(block, *words);
        }
        maps.check_watched();
        Ok(())
    }

    fn v6_rules(&mut self, any: bool) -> Result<(), MapError> {
        let mut maps = self.maps();
        maps.spend()?;
        maps.v6 = any;
        maps.check_watched();
        Ok(())
    }

    fn held(&mut self) -> Result<Vec<(IpNet, Rule)>, MapError> {
        Ok(self.maps().entries.iter().map(|(net, rule)| (*net, *rule)).collect())
    }
}

impl InspectMaps for FakeKernel {
    fn get(&mut self, nets: &[IpNet]) -> Result<Vec<Option<Rule>>, MapError> {
        let maps = self.maps();
        Ok(nets.iter().map(|net| maps.entries.get(net).copied()).collect())
    }

    fn gate_of(&mut self, block: u32) -> Result<GateBlock, MapError> {
        Ok(self.maps().gate.get(&block).copied().unwrap_or([0; GATE_WORDS]))
    }

    fn has_v6_rules(&mut self) -> Result<bool, MapError> {
        Ok(self.maps().v6)
    }

    fn reader(&self) -> Result<Reader, MapError> {
        let kernel = self.clone();
        Ok(Box::new(move || Ok(kernel.maps().entries.iter().map(|(net, rule)| (*net, *rule)).collect())))
    }
}
