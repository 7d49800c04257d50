use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{Array, MapData, MapError as AyaError, PerCpuArray};
use serde_json::{Map, Value};
use tracing::error;
use vos_common::reason::{Reason, WATCHED};
use vos_common::rule::Addr;
use vos_common::signature::Signatures;
use vos_common::state::{Config as KernelConfig, Homes, Ports, V6_RULES};

use super::budgets::{Budgets, Entry, budgets, entries};
use super::{LoadError, compile, take};
use crate::config::Config;

fn failed(name: &'static str) -> impl FnOnce(AyaError) -> LoadError {
    move |source| LoadError::Map { name, source: Box::new(source) }
}

/// A MAC address as the configuration holds it: first byte lowest.
pub(super) fn mac_word(mac: [u8; 6]) -> u64 {
    mac.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The address as the maps hold it.
pub(crate) fn addr(ip: IpAddr) -> Addr {
    match ip {
        IpAddr::V4(ip) => Addr::v4(ip.octets()),
        IpAddr::V6(ip) => Addr::from_bytes(ip.octets()),
    }
}

/// The address that the maps hold.
pub(crate) fn ip(addr: Addr) -> IpAddr {
    let b = addr.to_bytes();
    if addr.is_v4() { IpAddr::from([b[12], b[13], b[14], b[15]]) } else { IpAddr::from(b) }
}

/// What user space tells the program: configuration, own addresses, ports, budgets.
pub struct Settings {
    config: Array<MapData, KernelConfig>,
    homes: Array<MapData, Homes>,
    ports: Array<MapData, Ports>,
    signatures: Array<MapData, Signatures>,
    budgets: Budgets,
}

/// What was in force before a start, for one that fails.
pub struct Snapshot(KernelConfig, Option<Homes>, Option<Ports>, Option<Vec<Entry>>);

impl Settings {
    /// What is in force.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.config(), self.homes.get(&0, 0).ok(), self.ports.get(&0, 0).ok(), self.budgets.held().ok())
    }

    /// Puts back in force what was. Maps that were new held nothing: what has been written to them stays, since an
    /// empty configuration would let everything pass.
    pub fn restore(&mut self, Snapshot(config, homes, ports, budgets): &Snapshot) -> Result<(), LoadError> {
        if config.seed == 0 {
            return Ok(());
        }
        match budgets {
            Some(budgets) => self.budgeted(budgets, *config)?,
            None => self.write(*config)?,
        }
        homes.map_or(Ok(()), |homes| self.homes.set(0, homes, 0)).map_err(failed("HOMES"))?;
        ports.map_or(Ok(()), |ports| self.ports.set(0, ports, 0)).map_err(failed("PORTS"))
    }

    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            config: take(ebpf, "CONFIG")?,
            homes: take(ebpf, "HOMES")?,
            ports: take(ebpf, "PORTS")?,
            signatures: take(ebpf, "SIGNATURES")?,
            budgets: Budgets::open(ebpf)?,
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> KernelConfig {
        self.config.get(&0, 0).unwrap_or_default()
    }

    /// Puts a configuration in force.
    pub fn write(&mut self, config: KernelConfig) -> Result<(), LoadError> {
        self.config.set(0, config, 0).map_err(failed("CONFIG"))
    }

    /// Puts a configuration in force together with its budgets: those that come before it, so that what it says is there
    /// is found, those that go after it.
    fn budgeted(&mut self, budgets: &[Entry], config: KernelConfig) -> Result<(), LoadError> {
        self.budgets.put(budgets).map_err(failed("BUDGETS"))?;
        self.write(config)?;
        self.budgets.keep(budgets).map_err(failed("BUDGETS"))
    }

    /// Says whether there are IPv6 rules to be looked for.
    pub(super) fn v6_rules(&mut self, any: bool) -> Result<(), AyaError> {
        let config = self.config();
        let flags = config.flags & !V6_RULES | if any { V6_RULES } else { 0 };
        self.config.set(0, KernelConfig { flags, ..config }, 0)
    }

    /// Says which MAC address the interface has.
    pub fn mac(&mut self, mac: [u8; 6]) -> Result<(), LoadError> {
        self.write(KernelConfig { mac: mac_word(mac), ..self.config() })
    }

    /// Compiles a configuration and puts it in force; `before` is what it does not say. The signatures in force stay
    /// where they are until the new ones stand beside them, so no packet meets half of either.
    pub(super) fn put(&mut self, config: &Config, before: KernelConfig) -> Result<KernelConfig, LoadError> {
        let spare = !before.signatures & 1;
        let signatures = config.scanners.compile().map_err(LoadError::Scanners)?;
        self.signatures.set(spare as u32, *signatures, 0).map_err(failed("SIGNATURES"))?;
        self.ports(&config.xdp.sip_ports)?;
        let tick = before.clock.tick;
        let compiled = compile(config, tick, KernelConfig { signatures: spare, ..before });
        self.budgeted(&entries(&budgets(config, tick)), compiled)?;
        Ok(compiled)
    }

    /// Puts another configuration in force while packets flow: all of it, or, after an error, nothing. `own` are this
    /// host's addresses.
    pub fn reload(&mut self, config: &Config, own: &[IpAddr]) -> Result<KernelConfig, LoadError> {
        let before = self.snapshot();
        let done = self.homes(own, &config.xdp.protect).and_then(|()| self.put(config, before.0));
        done.inspect_err(|_| {
            if let Err(error) = self.restore(&before) {
                error!("the configuration that was in force could not be put back: {error}");
            }
        })
    }

    /// Attack mode until then, ns of `CLOCK_MONOTONIC`; 0 ends it.
    pub fn attack(&mut self, until: u64) -> Result<KernelConfig, LoadError> {
        let config = KernelConfig { attack_until: until, ..self.config() };
        self.write(config)?;
        Ok(config)
    }

    fn ports(&mut self, sip_ports: &[u16]) -> Result<(), LoadError> {
        let mut ports: Ports = [0; 1024];
        for port in sip_ports {
            ports[usize::from(port >> 6)] |= 1 << (port & 63);
        }
        self.ports.set(0, ports, 0).map_err(failed("PORTS"))
    }

    /// Says which addresses are guarded: the host's own, and others to protect.
    pub fn homes(&mut self, own: &[IpAddr], protect: &[IpAddr]) -> Result<(), LoadError> {
        let mut all: Vec<(Addr, bool)> = own.iter().map(|ip| (addr(*ip), true)).collect();
        all.extend(protect.iter().filter(|ip| !own.contains(ip)).map(|ip| (addr(*ip), false)));
        all.sort_by_key(|(addr, _)| addr.to_bytes());
        all.dedup_by_key(|(addr, _)| *addr);
        let homes = Homes::of(&all).ok_or(LoadError::TooManyAddresses(all.len()))?;
        self.homes.set(0, homes, 0).map_err(failed("HOMES"))
    }
}

/// What the program counted, since the maps were made.
pub struct Counters {
    reasons: PerCpuArray<MapData, u64>,
    would_drop: PerCpuArray<MapData, u64>,
    named: PerCpuArray<MapData, u64>,
    replies_lost: PerCpuArray<MapData, u64>,
    new_sources: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            reasons: take(ebpf, "REASONS")?,
            would_drop: take(ebpf, "WOULD_DROP")?,
            named: take(ebpf, "NAMED")?,
            replies_lost: take(ebpf, "REPLIES_LOST")?,
            new_sources: take(ebpf, "NEW_SOURCES")?,
        })
    }

    /// Packets judged, by reason.
    pub fn reason(&self, reason: Reason) -> u64 {
        total(&self.reasons, reason as u32)
    }

    /// What monitor mode would have dropped, by reason.
    pub fn would_drop(&self, reason: Reason) -> u64 {
        total(&self.would_drop, reason as u32)
    }

    /// Packets of trusted and allowed sources that this rule of the program's dropped, since the engine was started.
    pub fn named_dropped(&self, rule: Reason) -> u64 {
        total(&self.named, rule as u32)
    }

    /// The same, of packets that it would have dropped if it were not in monitor mode.
    pub fn named_would_drop(&self, rule: Reason) -> u64 {
        total(&self.named, WATCHED + rule as u32)
    }

    /// Responses that found no room on their way to user space.
    pub fn replies_lost(&self) -> u64 {
        total(&self.replies_lost, 0)
    }

    /// Sources that nothing was known of, or no more: each time one was given clocks for its rates.
    pub fn new_sources(&self) -> u64 {
        total(&self.new_sources, 0)
    }

    /// The arrays as JSON: `judged`, `reasons`, `would_drop`; of sources that are trusted or allowed `allowed_dropped` and
    /// `allowed_would_drop`.
    pub fn to_json(&self) -> Map<String, Value> {
        let kernel = || Reason::ALL.iter().filter(|reason| reason.in_kernel());
        let table = |count: &dyn Fn(Reason) -> u64| -> Map<String, Value> {
            kernel().map(|reason| (reason.label().to_owned(), count(*reason).into())).collect()
        };
        let reasons = table(&|reason| self.reason(reason));
        let judged: u64 = reasons.values().filter_map(Value::as_u64).sum();
        let would_drop = table(&|reason| self.would_drop(reason));
        let mut json = Map::new();
        json.insert("judged".into(), judged.into());
        json.insert("reasons".into(), reasons.into());
        json.insert("would_drop".into(), would_drop.into());
        let rules = |count: &dyn Fn(Reason) -> u64| -> Map<String, Value> {
            let rules = kernel().filter(|reason| reason.is_rule());
            rules.map(|rule| (rule.label().to_owned(), count(*rule).into())).collect()
        };
        json.insert("allowed_dropped".into(), rules(&|rule| self.named_dropped(rule)).into());
        json.insert("allowed_would_drop".into(), rules(&|rule| self.named_would_drop(rule)).into());
        json
    }
}

fn total(map: &PerCpuArray<MapData, u64>, slot: u32) -> u64 {
    map.get(&slot, 0).map_or(0, |cpus| cpus.iter().sum())
}
