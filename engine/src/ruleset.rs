//! What of the configuration is in force for the workers: a snapshot that is replaced as a whole, so that a packet is
//! decided by one configuration and workers wait for nobody.

use std::sync::Arc;

use vos_common::rate::Limit;
use vos_common::reason::Reason;
use vos_common::signature::Signatures;
use vos_common::state::Config as KernelConfig;

use crate::config::{Answer, Config, Registration, Relay, RelayTo};
use crate::pipeline::Emergency;
use crate::policy::{Domains, Gateways, PARALLEL_MAX, Parallel, Slowed};

/// The snapshot.
#[derive(Clone, Debug)]
pub struct Ruleset {
    /// Rules that drop: [`Reason::bit`]s.
    pub enforce: u64,
    /// Rules that only count what they would drop: [`Reason::bit`]s.
    pub monitor: u64,
    /// Requests to which unknown sources get no answer: [`Class::bit`](vos_common::sip::Class::bit)s.
    pub silent: u64,
    /// The scanners' patterns, compiled.
    pub signatures: Box<Signatures>,
    /// Which domains are ours.
    pub domains: Domains,
    /// Does whoever relays want to know what a message belongs to? While the softswitch is behind it is asked anyway.
    pub briefs: bool,
    /// What is answered here.
    pub answer: Answer,
    /// Whose REGISTERs are looked at, and what the suspended hear.
    pub registration: Registration,
    /// Does what is worth more go first where not all can be handed on?
    pub priority: bool,
    /// Are copies of requests kept back?
    pub shield: bool,
    /// Whose calls go before all others.
    pub emergency: Emergency,
    /// Trunks, and their calls.
    pub gateways: Arc<Gateways>,
    /// Are calls that come to nothing written down?
    pub records: bool,
    /// How much of one source's is open, and how much may be.
    pub parallel: Arc<Parallel>,
    /// REGISTERs and INVITEs of one unknown source, at a time.
    pub parallel_max: usize,
    /// Who is slowed.
    pub slowed: Arc<Slowed>,
    /// What they may send.
    pub slow_to: Limit,
    /// Does the engine ask endpoints whether they are there?
    pub online: bool,
}

impl Default for Ruleset {
    /// No rule, and nothing is answered.
    fn default() -> Self {
        let (signatures, domains) = (Box::new(Signatures::EMPTY), Domains::default());
        let (emergency, gateways) = (Emergency::default(), Arc::default());
        let (briefs, priority, shield, records, online) = (false, false, false, false, false);
        let answer = Answer { keep_alives: false, options: false, options_pass_every: 0, refuse_calls: false };
        let registration = Registration { suspend: false, watch: false, ..Registration::default() };
        let (slowed, slow_to) = (Arc::default(), Limit::NONE);
        let (parallel, parallel_max) = (Arc::default(), PARALLEL_MAX);
        Self {
            enforce: 0,
            monitor: 0,
            silent: 0,
            signatures,
            domains,
            briefs,
            answer,
            registration,
            priority,
            shield,
            emergency,
            gateways,
            records,
            parallel,
            parallel_max,
            slowed,
            slow_to,
            online,
        }
    }
}

impl Ruleset {
    /// Of a configuration, and of what the kernel holds of it; the calls of `before` go on, and who is slowed stays so.
    pub fn of(config: &Config, kernel: &KernelConfig, before: &Self) -> Self {
        let KernelConfig { enforce, monitor, silent, .. } = *kernel;
        // The kernel's patterns were compiled from the same text: there is no error left to meet.
        let signatures = config.scanners.compile().unwrap_or_else(|_| Box::new(Signatures::EMPTY));
        let domains = config.xdp.domains.iter().collect();
        let Relay { to, priority, shield, emergency, .. } = &config.relay;
        let (priority, shield) = (*priority, *shield);
        let briefs = *to != RelayTo::Local || shield;
        let (answer, emergency) = (config.answer.clone(), Emergency::of(emergency));
        let registration = config.registration.clone();
        let gateways = Gateways::of(&config.gateway, &before.gateways);
        let (parallel, parallel_max) = (Arc::clone(&before.parallel), config.rates.parallel as usize);
        let (slowed, slow_to) = (Arc::clone(&before.slowed), config.enumeration.slow_to.limit(0));
        let (records, online) = (config.records.is_on(), config.online.is_on());
        Self {
            enforce,
            monitor,
            silent,
            signatures,
            domains,
            briefs,
            answer,
            registration,
            priority,
            shield,
            emergency,
            gateways,
            records,
            parallel,
            parallel_max,
            slowed,
            slow_to,
            online,
        }
    }

    /// Is this rule enforced or monitored?
    pub fn watches(&self, reason: Reason) -> bool {
        (self.enforce | self.monitor) & reason.bit() != 0
    }
}
