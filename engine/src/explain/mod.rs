//! Why a packet goes where it goes, in words: `judge()` in user space, over tables that remember what was asked.
//!
//! A [`World`] is what a verdict is made from: a configuration, and as far as they are known the rules, addresses and
//! verified sources of a running engine or of a filter in the kernel. Packets are judged one after the other, and their
//! rates are counted by the times they are given.

/// What decided, and how to say it.
mod cause;
/// From a start line to what is wrong with it.
mod line;

pub use cause::Cause;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use ipnet::IpNet;
use serde::Serialize;
use vos_common::packet::{self, Frame};
use vos_common::rate::{Clocks, Kind, Limit, Limits, Tier};
use vos_common::rule::{Addr, Rule, RuleKind};
use vos_common::signature::{self, Signatures};
use vos_common::state::{Config as KernelConfig, Home, Homes, Ports};
use vos_common::verdict::{Action, Judged, Scope, Tables, judge};

use crate::config::{Config, Mode};
use crate::control::clock::Clock;
use crate::control::decision::Decision;
use crate::control::maps::{MapError, RuleMaps};
use crate::control::rules::RuleBook;
use crate::xdp::aside::Policy;
use crate::xdp::{LoadError, budgets, compile, ip};
use crate::xsk::chunk_for;

/// The MTU that is assumed where no interface is asked, bytes.
const MTU: u32 = 1_500;

/// A verdict with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What happens: `pass`, `drop`, or `engine`.
    pub verdict: &'static str,
    /// The label of the [`Reason`](vos_common::reason::Reason) it is counted under.
    pub reason: &'static str,
    /// What decided, in words.
    pub because: String,
    /// What decided, for programs.
    pub rule: Cause,
    /// The first monitored rule that would have dropped the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Would>,
    /// The verdict itself.
    #[serde(skip)]
    pub judged: Judged,
}

/// What a monitored rule would have done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Would {
    /// The label of the [`Reason`](vos_common::reason::Reason) it would have been dropped for.
    pub reason: &'static str,
    /// What would have decided, in words.
    pub because: String,
    /// What would have decided, for programs.
    pub rule: Cause,
}

/// The word for what happens.
pub const fn word(action: Action) -> &'static str {
    match action {
        Action::Pass => "pass",
        Action::Drop => "drop",
        Action::Redirect => "engine",
    }
}

/// What was asked on the way to one verdict.
#[derive(Debug, Default)]
struct Trace {
    /// The rule that applies to the source.
    rule: u32,
    until: u64,
    decision: Option<Decision>,
    verified: bool,
    /// Has the source a budget that holds?
    budget: bool,
    /// Limits that the packet did not conform to: of whom, of what.
    refused: Vec<(Whose, Kind, Limit)>,
    /// Where a signature was found: its number, and the block.
    signature: Option<(usize, usize)>,
}

/// Whose limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Source,
    Prefix,
    Everybody,
}

impl Trace {
    fn tier(&self) -> Tier {
        if self.rule == RuleKind::Trusted as u32 {
            Tier::Trusted
        } else if self.rule == RuleKind::Allowed as u32 || self.verified {
            Tier::Verified
        } else {
            Tier::Unknown
        }
    }
}

/// What a filter holds of sources.
pub trait Sources {
    /// The rule for a source.
    fn rule(&self, src: &Addr) -> Rule;
    /// The limits that a source has instead of the trusted tier's.
    fn budget(&self, src: &Addr) -> Option<Limits>;
    /// Is the source of this [`source_key`](vos_common::rate::source_key) verified at `now` (ns of `CLOCK_MONOTONIC`)?
    fn verified(&self, key: u64, now: u64) -> bool;
}

/// What verdicts are made from.
pub struct World {
    config: KernelConfig,
    ports: Box<Ports>,
    /// `None`: whatever the packet is sent to is ours.
    homes: Option<Box<Homes>>,
    signatures: Box<Signatures>,
    book: Option<RuleBook>,
    /// The gateways' of the configuration.
    budgets: Vec<(IpNet, Limits)>,
    sources: Option<Box<dyn Sources>>,
    live: bool,
    now: u64,
    /// The destination of the packet that is judged.
    here: Addr,
    /// The budget of its source.
    budget: Option<Limits>,
    clocks: RefCell<HashMap<(bool, u64), Clocks>>,
    global: Cell<u64>,
    trace: RefCell<Trace>,
}

/// A rule book without a kernel.
struct Nowhere;

impl RuleMaps for Nowhere {
    fn put(&mut self, _: IpNet, _: Rule) -> Result<(), MapError> {
        Ok(())
    }
    fn delete(&mut self, _: IpNet) -> Result<(), MapError> {
        Ok(())
    }
    fn gate(&mut self, _: u32, _: &vos_common::rule::GateBlock) -> Result<(), MapError> {
        Ok(())
    }
    fn v6_rules(&mut self, _: bool) -> Result<(), MapError> {
        Ok(())
    }
}

impl World {
    /// A world of this configuration alone: no rules, nobody verified, every destination ours.
    ///
    /// # Errors
    /// Its patterns of scanners cannot be compiled; the message names the one.
    pub fn of_config(config: &Config) -> Result<Self, LoadError> {
        let chunk = u64::from(chunk_for(MTU).1);
        // packets come when the file says, not at ticks of a kernel
        let compiled = compile(config, 0, KernelConfig { chunk, ..KernelConfig::default() });
        let mut ports: Ports = [0; 1024];
        for port in &config.xdp.sip_ports {
            ports[usize::from(port >> 6)] |= 1 << (port & 63);
        }
        let signatures = config.scanners.compile().map_err(LoadError::Scanners)?;
        let world = Self::new(compiled, Box::new(ports), signatures, config.mode == Mode::Relay);
        Ok(Self { budgets: budgets(config, 0), ..world })
    }

    /// The world of a filter in the kernel.
    pub fn of_filter(config: KernelConfig, mut policy: Policy, live: bool) -> Self {
        let (ports, signatures) = (policy.ports.clone(), policy.signatures.clone());
        let homes = std::mem::replace(&mut policy.homes, Box::new(Homes::EMPTY));
        Self { homes: Some(homes), ..Self::new(config, ports, signatures, live) }.with_sources(Box::new(policy))
    }

    /// With what a filter holds of sources: decisions then only give its rules their names.
    pub fn with_sources(mut self, sources: Box<dyn Sources>) -> Self {
        self.sources = Some(sources);
        self
    }

    fn new(config: KernelConfig, ports: Box<Ports>, signatures: Box<Signatures>, live: bool) -> Self {
        Self {
            config,
            ports,
            homes: None,
            signatures,
            book: None,
            budgets: Vec::new(),
            sources: None,
            live,
            now: 0,
            here: Addr::default(),
            budget: None,
            clocks: RefCell::default(),
            global: Cell::new(0),
            trace: RefCell::default(),
        }
    }

    /// With these decisions.
    pub fn with_decisions(mut self, decisions: Vec<Decision>, clock: Clock) -> Result<Self, MapError> {
        self.book = Some(RuleBook::load(decisions, clock, &mut Nowhere)?);
        Ok(self)
    }

    /// Begins anew: nobody has sent anything. In the world of a filter with its configuration of this moment.
    pub fn begin(&mut self, now: Option<(KernelConfig, bool)>) {
        if let Some((config, live)) = now {
            (self.config, self.live) = (config, live);
        }
        self.clocks.borrow_mut().clear();
        self.global.set(0);
    }

    /// The verdict on a frame that arrives at `now`, ns of `CLOCK_MONOTONIC`.
    pub fn explain(&mut self, frame: &[u8], now: u64) -> Explanation {
        self.now = now;
        self.trace.take();
        if let Some(flow) = packet::flow(&frame) {
            self.budget = self.budget_of(&flow.src);
            if self.homes.is_none() {
                self.here = flow.dst;
                self.config.mac = flow.mac;
            }
        }
        let judged = judge(&frame, &*self);
        let trace = self.trace.take();
        let cause = |reason| Cause::of(reason, self, &trace, frame);
        let rule = cause(judged.verdict.reason);
        let would = judged.would().map(|reason| {
            let rule = cause(reason);
            Would { reason: reason.label(), because: rule.to_string(), rule }
        });
        Explanation {
            verdict: word(judged.verdict.action),
            reason: judged.verdict.reason.label(),
            because: rule.to_string(),
            rule,
            would,
            judged,
        }
    }
}

impl World {
    /// The budget of a source, as the kernel looks it up: that of the longest prefix.
    fn budget_of(&self, src: &Addr) -> Option<Limits> {
        if let Some(sources) = &self.sources {
            return sources.budget(src);
        }
        let src = ip(*src);
        let covering = self.budgets.iter().filter(|(net, _)| net.contains(&src));
        covering.max_by_key(|(net, _)| net.prefix_len()).map(|(_, limits)| *limits)
    }
}

impl Tables for World {
    type Clocks = (bool, u64);

    fn config(&self) -> &KernelConfig {
        &self.config
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn sip_port(&self, port: u16) -> bool {
        self.ports[usize::from(port >> 6)] >> (port & 63) & 1 != 0
    }

    fn home(&self, addr: &Addr) -> Home {
        let Some(homes) = &self.homes else {
            return if *addr == self.here { Home::Own } else { Home::Foreign };
        };
        let bucket = Homes::bucket(homes.seed, addr);
        match homes.slots[bucket].iter().position(|slot| slot == addr) {
            Some(way) if homes.own[bucket] >> way & 1 != 0 => Home::Own,
            Some(_) => Home::Protected,
            None => Home::Foreign,
        }
    }

    fn rule(&self, src: &Addr) -> Rule {
        let decision = self.book.as_ref().and_then(|book| book.covering(&IpNet::from(ip(*src)), self.now).cloned());
        let rule = match (&self.sources, &decision) {
            (Some(sources), _) => sources.rule(src),
            (None, Some(decision)) => Rule { kind: decision.kind.rule() as u32, ..Rule::default() },
            (None, None) => Rule::default(),
        };
        let mut trace = self.trace.borrow_mut();
        trace.rule = rule.at(self.now);
        trace.until = if rule.until == 0 || self.now < rule.until { rule.until } else { rule.then_until };
        trace.decision = decision.filter(|decision| decision.kind.rule() as u32 == trace.rule);
        rule
    }

    fn verified(&self, key: u64, now: u64) -> bool {
        let verified = self.sources.as_ref().is_some_and(|sources| sources.verified(key, now));
        self.trace.borrow_mut().verified = verified;
        verified
    }

    fn budget(&self, _: &Addr) -> Option<&Limits> {
        self.trace.borrow_mut().budget = self.budget.is_some();
        self.budget.as_ref()
    }

    fn clocks(&self, scope: Scope, key: u64) -> (bool, u64) {
        (scope == Scope::Prefix, key)
    }

    fn claim(&self, clocks: (bool, u64), kind: Kind, limits: &Limits, now: u64) -> bool {
        let mut table = self.clocks.borrow_mut();
        let clock = &mut table.entry(clocks).or_default()[kind as usize];
        let limit = limits[kind as usize];
        let next = limit.claim(*clock, now);
        *clock = next.unwrap_or(*clock);
        if next.is_none() {
            let whose = if clocks.0 { Whose::Prefix } else { Whose::Source };
            self.trace.borrow_mut().refused.push((whose, kind, limit));
        }
        next.is_some()
    }

    fn claim_global(&self, limit: &Limit, now: u64) -> bool {
        let next = limit.claim(self.global.get(), now);
        self.global.set(next.unwrap_or(self.global.get()));
        if next.is_none() {
            self.trace.borrow_mut().refused.push((Whose::Everybody, Kind::All, *limit));
        }
        next.is_some()
    }

    fn scanner(&self, f: &impl Frame, start: usize, end: usize) -> bool {
        let patterns = &*self.signatures;
        let next = |at| signature::suspect(f, &patterns, at, end);
        signature::scan(start, next, |at| {
            let number = signature::confirm(f, &patterns, start, end, at);
            if number != 0 {
                self.trace.borrow_mut().signature = Some((number - 1, at));
            }
            number != 0
        })
    }

    fn live(&self, _: u64) -> bool {
        self.live
    }
}

#[cfg(test)]
mod tests;
