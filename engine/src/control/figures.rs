//! What the control plane counts of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ipnet::IpNet;
use vos_common::rule::{GateBlock, Rule};

use crate::control::maps::{InspectMaps, MapError, Reader, RuleMaps};
use crate::control::rules::Count;

/// What there is and what was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Decisions in force, and those that have ended and are not swept yet.
    pub decisions: Count,
    /// Decisions of others that this node holds back.
    pub held: usize,
    /// Decisions that are gone and remembered, for a cluster.
    pub graves: usize,
    /// Entries that the cluster's log has not got.
    pub outbox: u64,
    /// The offset after all that was read of the cluster's log; `None`: nothing, or there is none.
    pub next: Option<u64>,
    /// Transactions that reached the disk, and those that did not.
    pub commits: (u64, u64),
    /// The file of the store, bytes.
    pub size: u64,
    /// Writes to its maps that the kernel refused.
    pub refused_writes: u64,
    /// What the last comparison of disk, decisions and kernel found; `None`: there was none since the start.
    pub compared: Option<Compared>,
}

/// What is left of the differences that a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// When it ended, unix nanoseconds.
    pub wall_ns: u64,
    /// On the kernel's side; 0 if they were repaired.
    pub in_kernel: u64,
    /// On the disk.
    pub on_disk: u64,
}

/// The kernel's maps, with a count of what they refuse.
pub(super) struct CountedMaps {
    pub(super) maps: Box<dyn InspectMaps + Send>,
    pub(super) refused: Arc<AtomicU64>,
}

impl CountedMaps {
    fn note<T>(&self, done: Result<T, MapError>) -> Result<T, MapError> {
        if done.is_err() {
            self.refused.fetch_add(1, Relaxed);
        }
        done
    }
}

impl RuleMaps for CountedMaps {
    fn put(&mut self, net: IpNet, rule: Rule) -> Result<(), MapError> {
        let done = self.maps.put(net, rule);
        self.note(done)
    }

    fn delete(&mut self, net: IpNet) -> Result<(), MapError> {
        let done = self.maps.delete(net);
        self.note(done)
    }

    fn gate(&mut self, block: u32, words: &GateBlock) -> Result<(), MapError> {
        let done = self.maps.gate(block, words);
        self.note(done)
    }

    fn v6_rules(&mut self, any: bool) -> Result<(), MapError> {
        let done = self.maps.v6_rules(any);
        self.note(done)
    }

    fn held(&mut self) -> Result<Vec<(IpNet, Rule)>, MapError> {
        self.maps.held()
    }
}

impl InspectMaps for CountedMaps {
    fn get(&mut self, nets: &[IpNet]) -> Result<Vec<Option<Rule>>, MapError> {
        self.maps.get(nets)
    }

    fn gate_of(&mut self, block: u32) -> Result<GateBlock, MapError> {
        self.maps.gate_of(block)
    }

    fn has_v6_rules(&mut self) -> Result<bool, MapError> {
        self.maps.has_v6_rules()
    }

    fn reader(&self) -> Result<Reader, MapError> {
        self.maps.reader()
    }
}
