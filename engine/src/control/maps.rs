//! The kernel's side of the rules, as far as the rule book must know it.

use std::io;

use ipnet::IpNet;
use thiserror::Error;
use vos_common::rule::{GateBlock, Rule};

/// The maps that the XDP program reads. Addresses of full length go to a hash, shorter prefixes to a trie; both
/// families share them, IPv4 as mapped addresses.
///
/// The caller keeps the order that never opens a hole: gate bits before the rule they lead to, what lies beneath before
/// a covering rule changes, a covering rule before what lies beneath is taken away.
pub trait RuleMaps {
    /// Writes the entry of `net`, new or in place of the old one, atomically for whoever reads it.
    fn put(&mut self, net: IpNet, rule: Rule) -> Result<(), MapError>;

    /// Takes the entry of `net` away. That there is none is no error.
    fn delete(&mut self, net: IpNet) -> Result<(), MapError>;

    /// Writes entry `block` of the IPv4 gate, 0 to [`vos_common::rule::GATE_BLOCKS`] - 1.
    fn gate(&mut self, block: u32, words: &GateBlock) -> Result<(), MapError>;

    /// Says whether there is any IPv6 rule: the gate of the other family.
    fn v6_rules(&mut self, any: bool) -> Result<(), MapError>;

    /// Every entry the maps hold. Asked once, at start, because pinned maps outlive the engine: what they hold and
    /// the store does not know is taken away, what is right already is not written again.
    fn held(&mut self) -> Result<Vec<(IpNet, Rule)>, MapError> {
        Ok(Vec::new())
    }
}

/// The same maps, to be compared with what they should hold.
pub trait InspectMaps: RuleMaps {
    /// The entry of each of these prefixes. For one that is no single address all prefixes are gone through, some
    /// microseconds each: the kernel tells of a prefix only what covers it.
    fn get(&mut self, nets: &[IpNet]) -> Result<Vec<Option<Rule>>, MapError>;

    /// Entry `block` of the IPv4 gate.
    fn gate_of(&mut self, block: u32) -> Result<GateBlock, MapError>;

    /// Does the kernel look for IPv6 rules at all?
    fn has_v6_rules(&mut self) -> Result<bool, MapError>;

    /// A way to read all entries while others change them: a million take a second or two.
    fn reader(&self) -> Result<Reader, MapError>;
}

/// Reads all entries; what comes, goes or changes meanwhile may be among them, or not.
pub type Reader = Box<dyn FnOnce() -> Result<Vec<(IpNet, Rule)>, MapError> + Send>;

/// A kernel map refused. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// No room for another entry.
    #[error("the kernel map {map} is full ({capacity} entries): {fix}")]
    Full {
        /// The map's name.
        map: &'static str,
        /// Entries it can hold.
        capacity: u32,
        /// What to do, such as "block prefixes instead of single addresses".
        fix: &'static str,
    },
    /// The map changes faster than it can be read.
    #[error("the kernel map {map} changes faster than it can be read: try again when fewer rules come and go")]
    Restless {
        /// The map's name.
        map: &'static str,
    },
    /// Anything else the kernel said.
    #[error(
        "the kernel refused to write map {map}: {source}; if it goes on, restart vos-engine, which writes the maps anew from the store"
    )]
    Os {
        /// The map's name.
        map: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
