//! The budgets of gateways in the kernel: what each of their hosts may send, in place of the trusted tier's limits.

use aya::Ebpf;
use aya::maps::lpm_trie::Key;
use aya::maps::{LpmTrie, MapData, MapError};
use ipnet::IpNet;
use vos_common::rate::Limits;
use vos_common::rule::Addr;
use vos_common::state::MAX_BUDGETS;

use super::rules::{absent, key};
use super::{LoadError, take};
use crate::config::{Auth, Config, MAX_GATEWAY_NETS, MAX_GATEWAYS};

// While one configuration takes the place of another, the map holds both.
const _: () = assert!(2 * MAX_GATEWAYS * MAX_GATEWAY_NETS <= MAX_BUDGETS as usize);

/// The budgets that follow from a configuration: those of gateways that are known by their address alone, which is
/// trusted. Of the others no address is, and their hosts have the limits that all have. `tick`: the kernel's, ns.
pub fn budgets(config: &Config, tick: u64) -> Vec<(IpNet, Limits)> {
    let known = config.gateway.iter().filter(|gateway| gateway.auth == Auth::Ip);
    let budgets = known.flat_map(|gateway| {
        let limits = gateway.budget(&config.rates.trusted).compile(tick);
        gateway.from.iter().map(move |net| (*net, limits))
    });
    budgets.collect()
}

/// The map BUDGETS, for its writer.
pub(super) struct Budgets(LpmTrie<MapData, Addr, Limits>);

/// An entry as the map holds it.
pub(super) type Entry = (Key<Addr>, Limits);

impl Budgets {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self(take(ebpf, "BUDGETS")?))
    }

    /// All that it holds.
    pub(super) fn held(&self) -> Result<Vec<Entry>, MapError> {
        self.0.iter().collect()
    }

    /// Writes these, each in one piece for whoever reads it; the others stay.
    pub(super) fn put(&mut self, entries: &[Entry]) -> Result<(), MapError> {
        entries.iter().try_for_each(|(key, limits)| self.0.insert(key, limits, 0))
    }

    /// Takes away all but these.
    pub(super) fn keep(&mut self, entries: &[Entry]) -> Result<(), MapError> {
        let same = |a: &Key<Addr>, b: &Key<Addr>| a.prefix_len() == b.prefix_len() && a.data() == b.data();
        let held = self.held()?;
        let mut gone = held.iter().filter(|(held, _)| !entries.iter().any(|(key, _)| same(key, held)));
        gone.try_for_each(|(key, _)| match self.0.remove(key) {
            Err(error) if !absent(&error) => Err(error),
            _ => Ok(()),
        })
    }
}

/// The entries of these budgets.
pub(super) fn entries(budgets: &[(IpNet, Limits)]) -> Vec<Entry> {
    budgets.iter().map(|(net, limits)| (key(*net), *limits)).collect()
}
