//! The XDP program once more, beside the one that is attached: the same policy, and nobody notices.
//!
//! It reads the rules, budgets, addresses, ports, signatures and verified sources that are pinned; counters, clocks, samples and
//! sockets are its own, so asking leaves no trace in any counter and charges nobody's rate. The configuration is a copy
//! with a clock that stands where the asker puts it, and the workers' heartbeat a copy that does not age.

use std::fs;
use std::io;
use std::path::PathBuf;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, TestRun, TestRunOptions};
use socket2::{Domain, Socket, Type};
use thiserror::Error;
use vos_common::packet;
use vos_common::rate::{
    ClockBucket, Limit, Limits, PREFIX_BUCKETS, SOURCE_BUCKETS, VERIFIED_BUCKETS, VerifiedBucket, bucket, prefix_key,
    source_key,
};
use vos_common::reason::{REASON_SLOTS, Reason};
use vos_common::rule::{Addr, Rule};
use vos_common::signature::Signatures;
use vos_common::state::{Clock, Config, Homes, Ports, V6_RULES};
use vos_common::verdict::{Action, Judged, Verdict};

use super::{LoadError, OBJECT, pins, xdp};
use crate::explain::Sources;

/// Maps that are read where they are pinned.
const SHARED: [&str; 8] = ["HOMES", "PORTS", "EXACT", "PREFIX", "GATE", "BUDGETS", "VERIFIED", "SIGNATURES"];
/// Maps that are copied.
const COPIED: [&str; 2] = ["CONFIG", "HEART"];
/// The shortest frame that BPF_PROG_TEST_RUN takes, bytes.
pub const SHORTEST: usize = 14;
/// The longest frame that BPF_PROG_TEST_RUN takes, bytes: a page of 4,096 less 256 in front and 320 behind.
pub const LONGEST: usize = 4_096 - 256 - 320;

// include/uapi/linux/bpf.h, enum xdp_action
const XDP_DROP: u32 = 1;
const XDP_REDIRECT: u32 = 4;

/// The program cannot be asked. Every message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AsideError {
    /// Nothing is pinned for the interface.
    #[error("no filter is loaded on {iface}: start vos-engine on it, or leave out --kernel")]
    NotLoaded {
        /// The interface.
        iface: String,
    },
    /// The user may not look at the pins.
    #[error("{path}: permission denied: --kernel asks the kernel, run it as root")]
    Forbidden {
        /// The pins.
        path: PathBuf,
    },
    /// Another vos-engine's.
    #[error(
        "the filter on {iface} has maps of another layout: use the vosctl that belongs to its vos-engine, or restart that"
    )]
    OtherVersion {
        /// The interface.
        iface: String,
    },
    /// The system says no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The kernel does not take it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Not a frame that can be run.
    #[error("the kernel runs frames of {SHORTEST} to {LONGEST} bytes; this one has {0}")]
    Length(usize),
    /// The counters do not tell one reason.
    #[error("the program did not count the packet under one reason: it is not the one this vosctl was built with")]
    Uncounted,
}

/// The program, loaded and attached to nothing.
pub struct Aside {
    ebpf: Ebpf,
    source: PathBuf,
    config: Config,
    counted: [Vec<u64>; 2],
    counted_named: u64,
    touched: Vec<(u32, u32)>,
    _socket: Socket,
}

fn map<'a, T: TryFrom<&'a Map, Error = aya::maps::MapError>>(
    ebpf: &'a Ebpf,
    name: &'static str,
) -> Result<T, LoadError> {
    let map = ebpf.map(name).ok_or(LoadError::Missing(name))?;
    T::try_from(map).map_err(failed(name))
}

fn map_mut<'a, T: TryFrom<&'a mut Map, Error = aya::maps::MapError>>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<T, LoadError> {
    let map = ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
    T::try_from(map).map_err(failed(name))
}

fn failed(name: &'static str) -> impl FnOnce(aya::maps::MapError) -> LoadError {
    move |source| LoadError::Map { name, source: Box::new(source) }
}

impl Aside {
    /// Loads the program beside the filter of `iface`.
    pub fn open(iface: &str) -> Result<Self, AsideError> {
        let source = pins::Pins::directory(iface);
        let iface = || iface.to_owned();
        for name in COPIED.iter().chain(&SHARED) {
            let path = source.join(name);
            match fs::symlink_metadata(&path) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(AsideError::Forbidden { path });
                }
                Err(_) if *name == COPIED[0] => return Err(AsideError::NotLoaded { iface: iface() }),
                Err(_) => return Err(AsideError::OtherVersion { iface: iface() }),
            }
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(AsideError::Forbidden { path: source });
        }
        if !pins::same_layout(&source) {
            return Err(AsideError::OtherVersion { iface: iface() });
        }
        let mut loader = EbpfLoader::new();
        for name in SHARED {
            loader.map_pin_path(name, source.join(name));
        }
        let mut ebpf = loader.load(OBJECT).map_err(LoadError::from)?;
        xdp(&mut ebpf, "vos_xdp")?;
        // A socket that is bound to nothing: with it in the map the program says "redirect", and nothing is.
        let socket = Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None);
        let socket = socket.map_err(|source| AsideError::Io { what: "opening an AF_XDP socket", source })?;
        map_mut::<XskMap<_>>(&mut ebpf, "XSKS")?
            .set(0, std::os::fd::AsFd::as_fd(&socket), 0)
            .map_err(failed("XSKS"))?;
        let none = || vec![0; Reason::ALL.len()];
        let (config, counted) = (Config::default(), [none(), none()]);
        Ok(Self { ebpf, source, config, counted, counted_named: 0, touched: Vec::new(), _socket: socket })
    }

    /// Begins anew at `now` (ns of `CLOCK_MONOTONIC`): the configuration and heartbeat of this moment, and nobody has
    /// sent anything. Returns the configuration, and whether queue 0 has a live worker.
    pub fn begin(&mut self, now: u64) -> Result<(Config, bool), AsideError> {
        let config: Array<_, Config> = self.pinned("CONFIG")?;
        let config = config.get(&0, 0).map_err(failed("CONFIG"))?;
        let heart: Array<_, u64> = self.pinned("HEART")?;
        let beat = heart.get(&0, 0).map_err(failed("HEART"))?;
        let live = beat != 0 && now.saturating_sub(beat) < config.heartbeat_timeout;
        self.config = Config { sample: Limit::NONE, ..config };
        for (source, prefix) in std::mem::take(&mut self.touched) {
            let empty = ClockBucket::default();
            map_mut::<Array<_, ClockBucket>>(&mut self.ebpf, "SOURCES")?
                .set(source, empty, 0)
                .map_err(failed("SOURCES"))?;
            map_mut::<Array<_, ClockBucket>>(&mut self.ebpf, "PREFIXES")?
                .set(prefix, empty, 0)
                .map_err(failed("PREFIXES"))?;
        }
        map_mut::<Array<_, u64>>(&mut self.ebpf, "GLOBAL")?.set(0, 0, 0).map_err(failed("GLOBAL"))?;
        self.set_time(now, live)?;
        Ok((config, live))
    }

    fn pinned<T: TryFrom<Map, Error = aya::maps::MapError>>(&self, name: &'static str) -> Result<T, LoadError> {
        let data = MapData::from_pin(self.source.join(name)).map_err(failed(name))?;
        Map::from_map_data(data).and_then(T::try_from).map_err(failed(name))
    }

    fn set_time(&mut self, now: u64, live: bool) -> Result<(), LoadError> {
        let clock = Clock { jiffies: 0, monotonic: now, tick: 0 };
        let config = Config { clock, ..self.config };
        map_mut::<Array<_, Config>>(&mut self.ebpf, "CONFIG")?.set(0, config, 0).map_err(failed("CONFIG"))?;
        let beat = if live { now.max(1) } else { 0 };
        map_mut::<Array<_, u64>>(&mut self.ebpf, "HEART")?.set(0, beat, 0).map_err(failed("HEART"))
    }

    /// What the program does with a frame at `now`. Whether its source is trusted or allowed is told only where a rule applies.
    pub fn judge(&mut self, frame: &[u8], now: u64, live: bool) -> Result<Judged, AsideError> {
        if !(SHORTEST..=LONGEST).contains(&frame.len()) {
            return Err(AsideError::Length(frame.len()));
        }
        self.set_time(now, live)?;
        if let Some(flow) = packet::flow(&frame) {
            let seed = self.config.seed;
            let source = bucket(source_key(&flow.src, seed), SOURCE_BUCKETS);
            let prefix = bucket(prefix_key(&flow.src, seed), PREFIX_BUCKETS);
            if !self.touched.contains(&(source, prefix)) {
                self.touched.push((source, prefix));
            }
        }
        let refused = |source| LoadError::Program { name: "vos_xdp", source: Box::new(source) };
        let program: &Xdp =
            self.ebpf.program("vos_xdp").ok_or(LoadError::Missing("vos_xdp"))?.try_into().map_err(refused)?;
        let done = program.test_run(TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() });
        let action = match done.map_err(refused)?.return_value {
            XDP_DROP => Action::Drop,
            XDP_REDIRECT => Action::Redirect,
            _ => Action::Pass,
        };
        let reason = self.grown("REASONS", 0)?.ok_or(AsideError::Uncounted)?;
        let would = self.grown("WOULD_DROP", 1)?.map_or(0, |reason| reason as u64);
        Ok(Judged { verdict: Verdict { action, reason }, would, named: self.named()? })
    }

    /// Did the program count what befell the packet of a trusted or allowed source?
    fn named(&mut self) -> Result<u64, AsideError> {
        let counters: PerCpuArray<_, u64> = map(&self.ebpf, "NAMED")?;
        let mut now = 0;
        for slot in 0..REASON_SLOTS {
            now += counters.get(&slot, 0).map_err(failed("NAMED"))?.iter().sum::<u64>();
        }
        Ok(u64::from(std::mem::replace(&mut self.counted_named, now) != now))
    }

    /// The one counter that has grown by one.
    fn grown(&mut self, name: &'static str, which: usize) -> Result<Option<Reason>, AsideError> {
        let counters: PerCpuArray<_, u64> = map(&self.ebpf, name)?;
        let mut grown = Vec::new();
        for (reason, before) in Reason::ALL.iter().zip(&mut self.counted[which]) {
            let now: u64 = counters.get(&(*reason as u32), 0).map_err(failed(name))?.iter().sum();
            if std::mem::replace(before, now) != now {
                grown.push(*reason);
            }
        }
        match grown.as_slice() {
            [] => Ok(None),
            [reason] => Ok(Some(*reason)),
            _ => Err(AsideError::Uncounted),
        }
    }

    /// What the filter's maps hold, to be read in user space.
    pub fn policy(&self) -> Result<Policy, AsideError> {
        let config: Array<_, Config> = self.pinned("CONFIG")?;
        let config = config.get(&0, 0).map_err(failed("CONFIG"))?;
        let homes: Array<_, Homes> = self.pinned("HOMES")?;
        let ports: Array<_, Ports> = self.pinned("PORTS")?;
        let signatures: Array<_, Signatures> = self.pinned("SIGNATURES")?;
        let signatures = signatures.get(&(config.signatures as u32 & 1), 0).map_err(failed("SIGNATURES"))?;
        Ok(Policy {
            homes: Box::new(homes.get(&0, 0).map_err(failed("HOMES"))?),
            ports: Box::new(ports.get(&0, 0).map_err(failed("PORTS"))?),
            signatures: Box::new(signatures),
            exact: self.pinned("EXACT")?,
            prefix: self.pinned("PREFIX")?,
            budgets: self.pinned("BUDGETS")?,
            verified: self.pinned("VERIFIED")?,
            v6_rules: config.flags & V6_RULES != 0,
        })
    }
}

/// What a filter's maps hold.
pub struct Policy {
    /// Guarded addresses.
    pub homes: Box<Homes>,
    /// SIP ports.
    pub ports: Box<Ports>,
    /// Patterns in force.
    pub signatures: Box<Signatures>,
    exact: HashMap<MapData, Addr, Rule>,
    prefix: LpmTrie<MapData, Addr, Rule>,
    budgets: LpmTrie<MapData, Addr, Limits>,
    verified: Array<MapData, VerifiedBucket>,
    v6_rules: bool,
}

impl Sources for Policy {
    fn rule(&self, src: &Addr) -> Rule {
        if !src.is_v4() && !self.v6_rules {
            return Rule::default();
        }
        let exact = self.exact.get(src, 0).ok();
        exact.or_else(|| self.prefix.get(&Key::new(128, *src), 0).ok()).unwrap_or_default()
    }

    fn budget(&self, src: &Addr) -> Option<Limits> {
        self.budgets.get(&Key::new(128, *src), 0).ok()
    }

    fn verified(&self, key: u64, now: u64) -> bool {
        let Ok(bucket) = self.verified.get(&bucket(key, VERIFIED_BUCKETS), 0) else { return false };
        bucket.keys.iter().zip(&bucket.until).any(|(held, until)| *held == key && now < *until)
    }
}
