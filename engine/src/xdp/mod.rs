//! The XDP program and its maps: loaded, pinned under `/sys/fs/bpf/vos/IFACE/`, attached, counted.
//!
//! Pins outlive the engine: a block stays in force while nobody is there, and the next engine replaces the program
//! on its link without a gap.

/// Beside the program that is attached, for questions.
pub mod aside;
/// Onto the interface and off it.
mod attach;
/// The budgets of gateways in the maps.
mod budgets;
/// How long a tick of the kernel is.
mod clock;
/// The configuration as the kernel holds it.
mod compile;
/// Own addresses and counters in the maps.
mod maps;
/// Where programs, links and maps are pinned.
mod pins;
/// The source rules in the maps.
mod rules;
/// Who is known, asked of the maps.
mod sources;
/// Does this kernel take the programs?
pub mod trial;

pub use attach::{AttachError, Attachment, Presence, is_pinned, presence, unload};
pub use budgets::budgets;
pub use compile::compile;
pub use maps::{Counters, Settings, Snapshot};
pub(crate) use maps::{addr, ip};
pub use pins::PinError;
pub use rules::KernelRules;
pub use sources::{KernelSources, KernelVerified};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aya::maps::{Array, MapData, RingBuf, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use thiserror::Error;
use vos_common::state::{Clock, Config as KernelConfig, V6_RULES};

use crate::config::Config;
use crate::netlink::Link;

/// The BPF programs, built by `make bpf`.
pub static OBJECT: &[u8] = include_bytes_aligned!("../../../ebpf/vos.bpf.o");

/// The kernel does not take the programs or their maps.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The object itself.
    #[error(
        "the BPF object cannot be loaded: {0}; needs kernel 6.1 or later, CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (run as root)"
    )]
    Object(#[from] EbpfError),
    /// A program, mostly the verifier's word.
    #[error("the kernel refuses BPF program {name}: {source}")]
    Program {
        /// Which one.
        name: &'static str,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// A map.
    #[error("BPF map {name}: {source}")]
    Map {
        /// Which one.
        name: &'static str,
        /// What the kernel said.
        source: Box<aya::maps::MapError>,
    },
    /// A map that the object should hold, and does not.
    #[error("the BPF object has no {0}: it is not the one this engine was built with")]
    Missing(&'static str),
    /// Pins.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// Own and protected addresses do not fit.
    #[error("{0} own and protected addresses, {max} at most: take some out of xdp.protect", max = vos_common::state::MAX_HOMES)]
    TooManyAddresses(usize),
    /// Signatures that cannot be compiled.
    #[error("scanners.patterns: {0}")]
    Scanners(String),
}

/// Programs and maps, loaded and not yet attached.
pub struct Filter {
    ebpf: Ebpf,
    link: Link,
    pins: pins::Pins,
    settings: Arc<Mutex<Settings>>,
    /// Links that live as long as the engine.
    relay_links: Vec<FdLink>,
}

impl Filter {
    /// Loads the programs for `link`, taking over maps that an engine before left pinned. Writes nothing yet.
    pub fn load(link: &Link) -> Result<Self, AttachError> {
        attach::check_owner(link)?;
        let pins = pins::Pins::open(&link.name).map_err(LoadError::from)?;
        Ok(Self::load_into(link, pins)?)
    }

    fn load_into(link: &Link, pins: pins::Pins) -> Result<Self, LoadError> {
        let mut loader = EbpfLoader::new();
        for name in pins::MAPS {
            loader.map_pin_path(name, pins.loading().join(name));
        }
        let mut ebpf = loader.load(OBJECT)?;
        let settings = Arc::new(Mutex::new(Settings::open(&mut ebpf)?));
        Ok(Self { ebpf, link: link.clone(), pins, settings, relay_links: Vec::new() })
    }

    /// Puts a configuration in force. `chunk` is the longest frame that is redirected, bytes.
    pub fn configure(&mut self, config: &Config, chunk: u32) -> Result<(), LoadError> {
        let clock = clock::measure(&mut self.ebpf, Duration::from_millis(80))?;
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let before = settings.config();
        let before = KernelConfig {
            clock: keep(before.clock, clock),
            mac: maps::mac_word(self.link.mac),
            chunk: u64::from(chunk),
            ifindex: u64::from(self.link.index),
            seed: if before.seed == 0 { seed() } else { before.seed },
            flags: before.flags & V6_RULES,
            ..before
        };
        settings.put(config, before).map(drop)
    }

    /// The maps that user space writes.
    pub fn settings(&self) -> Arc<Mutex<Settings>> {
        Arc::clone(&self.settings)
    }

    /// The source rules.
    pub fn rules(&mut self) -> Result<KernelRules, LoadError> {
        KernelRules::open(&mut self.ebpf, Arc::clone(&self.settings))
    }

    /// The counters.
    pub fn counters(&mut self) -> Result<Counters, LoadError> {
        Counters::open(&mut self.ebpf)
    }

    /// The sockets that redirected packets go to, by queue.
    pub fn sockets(&mut self) -> Result<XskMap<MapData>, LoadError> {
        take(&mut self.ebpf, "XSKS")
    }

    /// Heartbeats by queue: ns of `CLOCK_MONOTONIC`. A handle of its own for each who asks.
    pub fn heart(&self) -> Result<Array<MapData, u64>, LoadError> {
        self.pinned("HEART")
    }

    /// The softswitch's final responses, and with them what else the configuration asks the egress program for.
    pub fn replies(&mut self) -> Result<RingBuf<MapData>, LoadError> {
        take(&mut self.ebpf, "REPLIES")
    }

    /// Samples of dropped packets.
    pub fn samples(&mut self) -> Result<RingBuf<MapData>, LoadError> {
        take(&mut self.ebpf, "SAMPLES")
    }

    /// How many instructions this kernel's verifier walked to accept the program; `None` if it does not say (it does
    /// since 5.16). A million is where it gives up.
    pub fn verified_instructions(&mut self) -> Option<u32> {
        self.program().ok()?.info().ok()?.verified_instruction_count()
    }

    /// The program itself, for BPF_PROG_TEST_RUN.
    pub fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        xdp(&mut self.ebpf, "vos_xdp")
    }
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// The clock in force stays unless it is off: its three words are not written as one, and a reader in between must
/// not mix two measurements.
fn keep(before: Clock, now: Clock) -> Clock {
    let off = before.at(now.jiffies).abs_diff(now.monotonic);
    if before.tick == now.tick && off <= 2 * now.tick { before } else { now }
}

fn take<T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    T::try_from(map).map_err(|source| LoadError::Map { name, source: Box::new(source) })
}

/// An XDP program of the object, loaded.
fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, LoadError> {
    let refused = |source| LoadError::Program { name, source: Box::new(source) };
    let program: &mut Xdp = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(refused)?;
    load(|| program.load()).map_err(refused)?;
    Ok(program)
}

/// How often a program is given to the verifier, which gives up with `EAGAIN` when a signal comes (kernel,
/// `do_check()`): a stop and continue by a debugger or a freezer is no reason not to start.
const LOAD_ATTEMPTS: u32 = 20;

/// Loads a program that may be loaded already.
fn load(mut program: impl FnMut() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    let interrupted = |error: &ProgramError| match error {
        ProgramError::LoadError { io_error, .. } => io_error.kind() == std::io::ErrorKind::WouldBlock,
        _ => false,
    };
    let mut attempts = 1;
    loop {
        match program() {
            Err(error) if interrupted(&error) && attempts < LOAD_ATTEMPTS => attempts += 1,
            Err(ProgramError::AlreadyLoaded) => return Ok(()),
            answer => return answer,
        }
    }
}
