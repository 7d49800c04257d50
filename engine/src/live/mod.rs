//! What is in force, and the ways to change it while packets flow: the file again, one rule, attack mode.
//!
//! Changes come from the API and from signals, one at a time. Workers read a snapshot without a lock.

/// What API and client say to each other about it.
pub mod wire;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use thiserror::Error;
use tracing::{error, info, warn};
use vos_common::reason::Reason;
use vos_common::state::Config as KernelConfig;

use crate::config::{Config, Mode, RuleMode, Rules, redirect};
use crate::control::clock::Clock;
use crate::ruleset::Ruleset;
use crate::transmit::Own;
use crate::xdp::{LoadError, Settings};
use wire::{Reloaded, Status, Switched};

/// How long attack mode lasts where nobody says how long: an operator who forgets it harms newcomers no longer than
/// that, and an attack that lasts is seen again by then.
pub const ATTACK_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// The longest that attack mode may be switched on for.
pub const ATTACK_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Reads the configuration as at the start: the file as it is now, the same flags over it. The error is for people.
pub type Reader = Box<dyn Fn() -> Result<Config, String> + Send>;

/// The kernel's side: the maps, or in tests what stands for them.
pub trait Kernel: Send {
    /// Puts a configuration in force: all of it or, after an error, nothing. `own` are this host's addresses.
    fn reload(&mut self, config: &Config, own: &[IpAddr]) -> Result<KernelConfig, LoadError>;
    /// Says which addresses are guarded.
    fn homes(&mut self, own: &[IpAddr], protect: &[IpAddr]) -> Result<(), LoadError>;
    /// Attack mode until then, ns of `CLOCK_MONOTONIC`; 0 ends it.
    fn attack(&mut self, until: u64) -> Result<KernelConfig, LoadError>;
    /// What is in force.
    fn config(&self) -> KernelConfig;
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kernel for Arc<Mutex<Settings>> {
    fn reload(&mut self, config: &Config, own: &[IpAddr]) -> Result<KernelConfig, LoadError> {
        lock(self).reload(config, own)
    }

    fn homes(&mut self, own: &[IpAddr], protect: &[IpAddr]) -> Result<(), LoadError> {
        lock(self).homes(own, protect)
    }

    fn attack(&mut self, until: u64) -> Result<KernelConfig, LoadError> {
        lock(self).attack(until)
    }

    fn config(&self) -> KernelConfig {
        lock(self).config()
    }
}

/// A change that was not made. Nothing has changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The configuration that was read is no good.
    #[error("{0}; nothing has changed")]
    Config(String),
    /// The kernel does not take it.
    #[error("{0}; nothing has changed")]
    Kernel(#[from] LoadError),
    /// No such rule.
    #[error("there is no rule `{name}`; write all, or one of {all}", all = Rules::all().map(Reason::label).collect::<Vec<_>>().join(", "))]
    NoSuchRule {
        /// The name.
        name: String,
    },
    /// No such backend.
    #[error("there is no backend `{name}`: {all}")]
    NoSuchBackend {
        /// The name.
        name: String,
        /// Which there are.
        all: String,
    },
    /// A time that attack mode does not take.
    #[error("attack mode lasts 1 second to 24 hours at a time")]
    Ttl,
}

/// Says what does not hold where the engine does not see what it would have to.
fn warn_of_blindness(config: &Config) {
    if !config.gateway.is_empty() && !redirect::sees_trunks(config) {
        let why = match config.mode {
            Mode::Relay => "relay.redirect = \"none\": write \"needed\"".to_owned(),
            mode => format!("mode = \"{}\": write \"relay\"", mode.word()),
        };
        warn!("no call of a [[gateway]] is counted or refused, since none goes through the engine ({why})");
    }
    if config.online.is_on() && !redirect::sees_responses(config, config.mode == Mode::Relay) {
        warn!(
            "online: nobody is asked, since answers do not go through the engine: write mode = \"relay\", and relay.redirect \
             \"all\" or \"needed\""
        );
    }
}

/// A snapshot of what is in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The configuration, run-time switches applied. What only a start can change is as the engine was started with.
    pub config: Config,
    /// What every rule does.
    pub rules: Rules,
    /// What workers decide by.
    pub ruleset: Ruleset,
    /// The same as the kernel holds it; its `flags` and `mac` may have moved on since.
    pub kernel: KernelConfig,
}

impl InForce {
    /// In the place of what was in force until now, whose calls go on.
    fn of(config: Config, kernel: KernelConfig, before: &Ruleset) -> Arc<Self> {
        let (rules, ruleset) = (config.rules_in_force(), Ruleset::of(&config, &kernel, before));
        Arc::new(Self { rules, ruleset, config, kernel })
    }
}

/// What is in force, and the ways to change it.
pub struct Live {
    /// Taken before `state`.
    reader: Mutex<Reader>,
    state: Mutex<State>,
    in_force: ArcSwap<InForce>,
    own: Arc<Own>,
    clock: fn() -> Clock,
}

struct State {
    /// As it was read last, before run-time switches.
    read: Config,
    /// With them.
    switched: Config,
    /// Is what is stricter in an attack in force?
    is_hard: bool,
    own: Vec<IpAddr>,
    kernel: Box<dyn Kernel>,
}

impl Live {
    /// What a start has put in force: `config`, which `reader` reads again, for these own addresses.
    pub fn new(
        config: &Config,
        own: Vec<IpAddr>,
        kernel: Box<dyn Kernel>,
        reader: Reader,
        clock: fn() -> Clock,
    ) -> Self {
        warn_of_blindness(config);
        let in_force = ArcSwap::new(InForce::of(config.clone(), kernel.config(), &Ruleset::default()));
        let addresses = Arc::new(Own::new(&own));
        let (read, switched) = (config.clone(), config.clone());
        let state = Mutex::new(State { read, switched, is_hard: false, own, kernel });
        Self { reader: Mutex::new(reader), state, in_force, own: addresses, clock }
    }

    /// This host's addresses, as they are at any time.
    pub fn own(&self) -> Arc<Own> {
        Arc::clone(&self.own)
    }

    /// What is in force at this moment, without a lock. Load it once a batch: each load costs a few ns.
    pub fn in_force(&self) -> Guard<Arc<InForce>> {
        self.in_force.load()
    }

    /// Reads the file again. What needs a restart stays as it is and is named; run-time switches end, attack mode
    /// does not.
    pub fn reload(&self) -> Result<Reloaded, ChangeError> {
        let done = self.try_reload();
        match &done {
            Ok(Reloaded { changed, restart }) => {
                let what = if changed.is_empty() { "nothing has changed".to_owned() } else { changed.join(", ") };
                info!("configuration reloaded: {what}");
                warn_of_blindness(&self.in_force().config);
                if !restart.is_empty() {
                    warn!("these hold from the next start on: {}", restart.join(", "));
                }
            }
            Err(error) => error!("configuration not reloaded: {error}"),
        }
        done
    }

    fn try_reload(&self) -> Result<Reloaded, ChangeError> {
        // Reading may wait for a name to be looked up; only other reloads wait with it.
        let reader = lock(&self.reader);
        let new = reader().map_err(ChangeError::Config)?;
        let mut state = lock(&self.state);
        let config = state.read.reloaded(&new);
        let restart = config.difference(&new);
        // What is sound as a whole need not be so beside what only a start changes.
        config.validate().map_err(|error| {
            let waiting = restart.join(", ");
            ChangeError::Config(format!(
                "{error}: so it is as long as {waiting} wait for a restart; restart the engine"
            ))
        })?;
        let changed = state.switched.difference(&config);
        self.put(&mut state, config.clone())?;
        state.read = config;
        Ok(Reloaded { changed, restart })
    }

    fn put(&self, state: &mut State, switched: Config) -> Result<(), ChangeError> {
        let config = if state.is_hard { switched.hardened() } else { switched.clone() };
        let kernel = state.kernel.reload(&config, &state.own)?;
        state.switched = switched;
        self.follow(config, kernel);
        Ok(())
    }

    /// Puts what is stricter in an attack in force, or takes it back.
    pub fn harden(&self, is_hard: bool) -> Result<(), ChangeError> {
        let mut state = lock(&self.state);
        if state.is_hard == is_hard {
            return Ok(());
        }
        state.is_hard = is_hard;
        let switched = state.switched.clone();
        self.put(&mut state, switched).inspect_err(|_| state.is_hard = !is_hard)
    }

    /// Has workers go by it.
    fn follow(&self, config: Config, kernel: KernelConfig) {
        let new = InForce::of(config, kernel, &self.in_force().ruleset);
        self.in_force.store(new);
    }

    /// Has a rule, or `all` of them, do that until the next reload or restart.
    pub fn switch(&self, name: &str, mode: RuleMode) -> Result<Switched, ChangeError> {
        let rules: Vec<Reason> = match Rules::named(name) {
            Some(rule) => vec![rule],
            // closed is no rule that anybody means by all: it would shut everybody out
            None if name == "all" => Rules::keys().collect(),
            None => return Err(ChangeError::NoSuchRule { name: name.to_owned() }),
        };
        let mut state = lock(&self.state);
        let mut config = state.switched.clone();
        rules.iter().for_each(|rule| config.set_rule(*rule, mode));
        self.put(&mut state, config)?;
        let in_force = self.in_force();
        info!("rule {name}: {mode} until the next reload or restart");
        let in_force = |rule: &Reason| (rule.label().to_owned(), in_force.rules.mode(*rule));
        Ok(Switched { asked: mode, rules: rules.iter().map(in_force).collect() })
    }

    /// Gives a backend no new calls, or again some, until the next reload or restart.
    pub fn drain(&self, name: &str, drain: bool) -> Result<(), ChangeError> {
        let mut state = lock(&self.state);
        let mut config = state.switched.clone();
        let Some(backend) = config.backend.iter_mut().find(|backend| backend.name == name) else {
            let names: Vec<&str> = config.backend.iter().map(|backend| &*backend.name).collect();
            let all = match names.as_slice() {
                [] => "the configuration has no [[backend]]".to_owned(),
                names => format!("write one of {}", names.join(", ")),
            };
            return Err(ChangeError::NoSuchBackend { name: name.to_owned(), all });
        };
        backend.drain = drain;
        self.put(&mut state, config)?;
        info!("backend {name}: {} until the next reload or restart", if drain { "drained" } else { "not drained" });
        Ok(())
    }

    /// Switches attack mode on for so long, or off; gives the seconds left.
    pub fn attack(&self, ttl: Option<Duration>) -> Result<Option<u64>, ChangeError> {
        let sound = |ttl: Duration| (Duration::from_secs(1)..=ATTACK_MAX).contains(&ttl);
        if !ttl.is_none_or(sound) {
            return Err(ChangeError::Ttl);
        }
        let until = self.set_attack(ttl)?;
        match ttl {
            Some(ttl) => warn!("attack mode on for {}", humantime::format_duration(ttl)),
            None => info!("attack mode off"),
        }
        Ok(self.attack_left(until))
    }

    /// Keeps attack mode on for so long from now on, without a word; gives when it ends, ns of `CLOCK_MONOTONIC`.
    pub fn keep_attack(&self, ttl: Duration) -> Result<u64, ChangeError> {
        self.set_attack(Some(ttl))
    }

    fn set_attack(&self, ttl: Option<Duration>) -> Result<u64, ChangeError> {
        let mut state = lock(&self.state);
        let until = ttl.map_or(0, |ttl| (self.clock)().mono_ns().saturating_add(ttl.as_nanos() as u64));
        let kernel = state.kernel.attack(until)?;
        self.follow(self.in_force().config.clone(), kernel);
        Ok(kernel.attack_until)
    }

    /// This host's addresses have changed.
    pub fn follow_own(&self, own: Vec<IpAddr>) -> Result<(), LoadError> {
        let mut state = lock(&self.state);
        state.kernel.homes(&own, &self.in_force().config.xdp.protect)?;
        self.own.set(&own);
        state.own = own;
        Ok(())
    }

    /// Is it a SIP port? Without a lock.
    pub fn serves(&self, port: u16) -> bool {
        self.in_force().config.xdp.sip_ports.contains(&port)
    }

    fn attack_left(&self, until: u64) -> Option<u64> {
        let left = until.saturating_sub((self.clock)().mono_ns());
        (left > 0).then(|| left.div_ceil(1_000_000_000))
    }

    /// What `vosctl status` shows. `relaying`: do survivors go to the engine at all?
    pub fn status(&self, relaying: bool) -> Status {
        let state = lock(&self.state);
        let InForce { config, rules, .. } = &**self.in_force();
        let redirected = if relaying && config.mode == Mode::Relay { redirect::in_words(config) } else { Vec::new() };
        Status {
            mode: config.mode,
            profile: config.profile.clone(),
            admission: config.xdp.mode,
            stealth: config.xdp.stealth,
            domains: config.xdp.domains.clone(),
            rules: Rules::all().map(|rule| (rule.label().to_owned(), rules.mode(rule))).collect(),
            switched: state.switched.difference(&state.read),
            hardened: state.switched.difference(config),
            redirect: config.relay.redirect,
            redirected: redirected.into_iter().map(str::to_owned).collect(),
            relay: config.relay.to.to_string(),
            fallback: config.relay.fallback,
            peers: None,
            softswitch: None,
            attack_left_s: self.attack_left(state.kernel.config().attack_until),
            signatures: config.scanners.patterns.len(),
            rates: config.rates.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod fake;

#[cfg(test)]
mod tests;
