use std::fmt;
use std::io;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError};
use vos_common::rate::{VERIFIED_BUCKETS, VerifiedBucket, bucket, source_key};
use vos_common::rule::{Addr, Rule, RuleKind};

use super::{Filter, LoadError};
use crate::control::clock::Clock;
use crate::policy::{Sources, VerifiedMap};

/// Bits of a whole address in the trie.
const ADDRESS_BITS: u32 = 128;

/// Who is known, asked of the kernel's maps: what XDP would find. Up to three system calls.
pub struct KernelSources {
    exact: HashMap<MapData, Addr, Rule>,
    prefix: LpmTrie<MapData, Addr, Rule>,
    verified: Array<MapData, VerifiedBucket>,
    seed: u64,
}

impl fmt::Debug for KernelSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSources").finish_non_exhaustive()
    }
}

impl KernelSources {
    /// The rule in force, as the kernel looks it up: the address itself, or else the longest prefix.
    fn rule(&self, src: &Addr) -> Rule {
        let exact = self.exact.get(src, 0).ok();
        exact.or_else(|| self.prefix.get(&Key::new(ADDRESS_BITS, *src), 0).ok()).unwrap_or_default()
    }

    /// Is a rule in force that blocks this source?
    pub fn blocks(&self, src: &Addr) -> bool {
        self.rule(src).at(Clock::now().mono_ns()) == RuleKind::Blocked as u32
    }

    fn is_verified(&self, src: &Addr, now: u64) -> bool {
        let key = source_key(src, self.seed);
        let Ok(bucket) = self.verified.get(&bucket(key, VERIFIED_BUCKETS), 0) else { return false };
        bucket.keys.iter().zip(bucket.until).any(|(held, until)| *held == key && now < until)
    }
}

impl Sources for KernelSources {
    fn is_known(&self, src: &Addr) -> bool {
        self.is_named(src) || self.is_verified(src, Clock::now().mono_ns())
    }

    fn is_named(&self, src: &Addr) -> bool {
        let rule = self.rule(src).at(Clock::now().mono_ns());
        rule == RuleKind::Allowed as u32 || rule == RuleKind::Trusted as u32
    }

    fn is_trusted(&self, src: &Addr) -> bool {
        self.rule(src).at(Clock::now().mono_ns()) == RuleKind::Trusted as u32
    }
}

/// The map VERIFIED, for its writer.
pub struct KernelVerified(Array<MapData, VerifiedBucket>);

impl fmt::Debug for KernelVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelVerified").finish_non_exhaustive()
    }
}

fn failed(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(call) => call.io_error,
        other => io::Error::other(other.to_string()),
    }
}

impl VerifiedMap for KernelVerified {
    fn read(&self, index: u32) -> io::Result<VerifiedBucket> {
        self.0.get(&index, 0).map_err(failed)
    }

    fn write(&mut self, index: u32, bucket: &VerifiedBucket) -> io::Result<()> {
        self.0.set(index, bucket, 0).map_err(failed)
    }
}

impl Filter {
    /// A handle of its own to a pinned map, for each who asks.
    pub(super) fn pinned<T: TryFrom<Map, Error = MapError>>(&self, name: &'static str) -> Result<T, LoadError> {
        let failed = |source| LoadError::Map { name, source: Box::new(source) };
        let data = MapData::from_pin(self.pins.path(name)).map_err(failed)?;
        Map::from_map_data(data).and_then(T::try_from).map_err(failed)
    }

    /// Who is known. Asked once the program is attached, and the configuration with its seed is in force.
    pub fn sources(&self) -> Result<KernelSources, LoadError> {
        let seed = self.seed();
        let (exact, prefix) = (self.pinned("EXACT")?, self.pinned("PREFIX")?);
        Ok(KernelSources { exact, prefix, verified: self.pinned("VERIFIED")?, seed })
    }

    /// The table of verified sources.
    pub fn verified(&self) -> Result<KernelVerified, LoadError> {
        self.pinned("VERIFIED").map(KernelVerified)
    }

    /// What the kernel's tables are keyed with.
    pub fn seed(&self) -> u64 {
        self.settings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).config().seed
    }
}
