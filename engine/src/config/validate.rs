//! Ranges, and values that must fit each other.

use std::collections::HashSet;
use std::time::Duration;

use super::keys::takes;
use super::{Config, ConfigError, INTERFACE_NAME_MAX, MAX_DOMAINS, MAX_PROTECTED, MAX_SIP_PORTS, Xdp, Xsk, domains};
use crate::policy::PARALLEL_MAX;

/// Shortest `rates.verified_for`: no registrar lets phones register more often.
const VERIFIED_MIN: Duration = Duration::from_secs(60);
/// Longest `rates.verified_for`: addresses change hands.
const VERIFIED_MAX: Duration = Duration::from_secs(30 * 86_400);

impl Config {
    /// What a profile may set.
    pub(super) fn validate_profile(&self) -> Result<(), ConfigError> {
        let compiled = self.scanners.compile();
        check("scanners.patterns", compiled.is_ok(), || compiled.err().unwrap_or_default())?;
        within("rates.parallel", self.rates.parallel, 1, PARALLEL_MAX as u32)?;
        let span = self.rates.verified_for;
        let whole = span.subsec_nanos() == 0 && (VERIFIED_MIN..=VERIFIED_MAX).contains(&span);
        check("rates.verified_for", whole, || format!("{} is out of range", humantime::format_duration(span)))
    }
}

impl Xdp {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let ports = &self.sip_ports;
        check("xdp.sip_ports", (1..=MAX_SIP_PORTS).contains(&ports.len()), || format!("there are {}", ports.len()))?;
        for (index, port) in ports.iter().enumerate() {
            check("xdp.sip_ports", *port != 0, || "0 is no port".to_owned())?;
            check("xdp.sip_ports", !ports[..index].contains(port), || format!("{port} is there twice"))?;
        }
        check("xdp.protect", self.protect.len() <= MAX_PROTECTED, || format!("there are {}", self.protect.len()))?;
        for address in &self.protect {
            let usual = !address.is_unspecified() && !address.is_multicast() && address.to_canonical() == *address;
            check("xdp.protect", usual, || format!("{address} is no unicast address in its own family's form"))?;
        }
        check("xdp.domains", self.domains.len() <= MAX_DOMAINS, || format!("there are {}", self.domains.len()))?;
        let mut seen = HashSet::new();
        for domain in &self.domains {
            let is_host = domains::is_host(domain) && domains::canonical(domain) == *domain;
            check("xdp.domains", is_host, || format!("{domain:?} is no host name and no address"))?;
            check("xdp.domains", seen.insert(domain), || format!("{domain} is there twice"))?;
        }
        Ok(())
    }
}

impl Xsk {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let Self { frames, ring, batch, .. } = *self;
        within("xsk.frames", frames, 256, 65_536)?;
        within("xsk.ring", ring, 64, 32_768)?;
        within("xsk.batch", batch, 1, 512)?;
        check("xsk.frames", frames.is_power_of_two(), || format!("{frames} is not a power of two"))?;
        check("xsk.ring", ring.is_power_of_two(), || format!("{ring} is not a power of two"))?;
        check("xsk.frames", frames >= 2 * ring, || {
            format!("{frames} is less than 2 × {ring}: with the RX ring full, none would be left for the fill ring")
        })?;
        check("xsk.batch", batch <= ring, || format!("{batch} is more than the {ring} slots of a ring"))
    }
}

pub(super) fn is_interface_name(name: &str) -> bool {
    let usual = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
    (1..=INTERFACE_NAME_MAX).contains(&name.len()) && name.chars().all(usual) && name != "." && name != ".."
}

pub(super) fn check(key: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds {
        return Ok(());
    }
    Err(ConfigError::Range { place: None, key, takes: takes(key).unwrap_or_default(), what: what() })
}

pub(super) fn within(key: &'static str, value: u32, low: u32, high: u32) -> Result<(), ConfigError> {
    check(key, (low..=high).contains(&value), || format!("{value} is out of range"))
}
