//! Is this an attack? Once a second what comes in is held against what is usual; in an attack unknown sources share one
//! budget, rules are stricter, and whoever wants to know is told why.
//!
//! Nothing of it can be aimed at anybody: the worst that a forged flood does by it is what it has come for, that newcomers
//! wait. Verified, allowed and trusted sources keep their limits.

/// What is usual.
mod baseline;
/// The command that is told.
mod hook;
/// From what is seen to what is.
mod machine;
/// What an attack shows itself by.
mod signal;

pub use baseline::{Baseline, SLOTS};
pub use machine::{Detector, OVERRULED, Reading, State, Transition};
pub use signal::{ANSWERS_MIN, Counted, SIGNALS, Signal, Values};

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use utoipa::ToSchema;
use vos_common::reason::Reason;

use crate::control::clock::Clock;
use crate::counter::Counter;
use crate::events::{Event, Events, What};
use crate::kept;
use crate::live::Live;
use crate::policy::Answer;
use crate::records::{self, Record, Records};
use crate::seldom::Seldom;
use crate::worker::Stats;
use crate::xdp::Counters;
use hook::{Hook, News};

/// A second, in which signals are counted.
const PERIOD: Duration = Duration::from_secs(1);
/// How often is looked whether the engine stops.
const LOOK: Duration = Duration::from_millis(200);
/// How long attack mode is switched on at a time: if the engine dies, unknown sources have limits of their own again after
/// that.
const AHEAD: Duration = Duration::from_secs(60);
/// How often what is usual is written down. A crash loses as much of what was learnt.
const SAVE: Duration = Duration::from_secs(15 * 60);
/// How often the same trouble is told.
const COMPLAIN: Duration = Duration::from_secs(60);

/// What the softswitch answers, counted by the policy's thread.
#[derive(Debug, Default)]
pub struct Answers {
    registrations: Counter,
    answers: Counter,
    failures: Counter,
}

impl Answers {
    /// A final response went out. No failure is a challenge, nor the end of a call that was cancelled: whoever cancels gets
    /// it (RFC 3261 §9.2).
    pub fn count(&self, answer: &Answer) {
        if answer.status < 200 {
            return;
        }
        self.answers.count();
        if answer.register {
            self.registrations.count();
        }
        if answer.status >= 400 && answer.status != 487 {
            self.failures.count();
        }
    }
}

/// How it stands, for whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct View {
    /// Is it looked at all?
    pub detect: bool,
    /// How it stands.
    pub state: State,
    /// Since when, unix seconds.
    pub since: u64,
    /// How often an attack has begun since the start.
    pub attacks: u64,
    /// The last second, by signal.
    pub readings: Vec<Reading>,
}

/// What outlives the engine.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    state: State,
    since: u64,
    /// What the hook was told last.
    told: State,
    baseline: Baseline,
}

/// The thread that looks.
pub struct Watch {
    /// The interface.
    pub iface: String,
    /// What the XDP program counted.
    pub counters: Arc<Counters>,
    /// What the workers counted.
    pub stats: Vec<Arc<Stats>>,
    /// What the softswitch answered.
    pub answers: Arc<Answers>,
    /// What is in force.
    pub live: Arc<Live>,
    /// Who is told.
    pub events: Arc<Events>,
    /// Where it is written down.
    pub records: Records,
    /// How it stands.
    pub view: Arc<Mutex<View>>,
    /// Where what is usual is kept.
    pub file: PathBuf,
}

/// What the thread has of its own.
struct Held {
    detector: Detector,
    hook: Hook,
    attacks: u64,
    why: Option<Transition>,
    /// Until when attack mode was switched on here, ns of `CLOCK_MONOTONIC`; 0: it is not.
    ours: u64,
    /// Until when it was on a second ago, by whomever.
    until: u64,
    saved: Instant,
    trouble: Seldom,
}

impl Watch {
    /// Looks until `stop`.
    pub fn follow(self, stop: &AtomicBool) {
        let lost = "what is usual is learnt anew";
        let kept = kept::read::<Kept>(&self.file, |kept| kept.baseline.is_sound(), lost);
        let is_first = kept.is_none();
        let Kept { state, mut since, told, baseline } = kept.unwrap_or_default();
        if is_first {
            since = Clock::now().wall_s();
        }
        let mut held = Held {
            detector: Detector::resume(baseline, state, since),
            hook: Hook::new(told),
            attacks: 0,
            why: None,
            ours: 0,
            until: self.live.in_force().kernel.attack_until,
            saved: Instant::now(),
            trouble: Seldom::default(),
        };
        let (mut before, mut then) = (self.counted(), Instant::now());
        self.show(&held);
        while !stop.load(Relaxed) {
            std::thread::sleep(LOOK);
            let now = Instant::now();
            if now.duration_since(then) < PERIOD {
                continue;
            }
            let counted = self.counted();
            let values = counted.since(&before, now.duration_since(then).as_secs_f64());
            (before, then) = (counted, now);
            self.second(&mut held, &values, now);
        }
        self.save(&mut held);
    }

    fn second(&self, held: &mut Held, values: &Values, now: Instant) {
        let (clock, in_force) = (Clock::now(), self.live.in_force());
        let config = &in_force.config.attack;
        let until = in_force.kernel.attack_until;
        let is_on = until > clock.mono_ns();
        if config.detect {
            let overruled = until == 0 && held.until > clock.mono_ns();
            if let Some(transition) = held.detector.tick(config, values, clock.wall_s(), overruled) {
                held.attacks += u64::from(transition.state == State::Attack);
                self.tell(&transition);
                held.why = Some(transition);
                self.save(held);
            }
        } else if held.detector.state().0 != State::Normal {
            info!("attack.detect = false: attacks are the operator's to see");
            let (baseline, now) = (held.detector.baseline.clone(), clock.wall_s());
            (held.detector, held.why) = (Detector::resume(baseline, State::Normal, now), None);
        }
        let (state, since) = held.detector.state();
        let wanted = state == State::Attack;
        let outcome = if wanted && until < clock.mono_ns() + AHEAD.as_nanos() as u64 / 2 {
            self.live.keep_attack(AHEAD).map(|until| held.ours = until)
        } else if !wanted && held.ours != 0 {
            let ends = if until == held.ours { self.live.attack(None).map(drop) } else { Ok(()) };
            held.ours = 0;
            ends
        } else {
            Ok(())
        };
        held.until = if held.ours != 0 { held.ours } else { until };
        let outcome = outcome.and_then(|()| self.live.harden(state != State::Normal || is_on));
        if let Err(error) = outcome
            && held.trouble.more(1, COMPLAIN).is_some()
        {
            warn!("attack: {error}");
        }
        let news = News { iface: &self.iface, state, since, why: held.why.as_ref() };
        let told = held.hook.told();
        held.hook.turn(config, &news, now);
        if held.hook.told() != told || now.duration_since(held.saved) > SAVE {
            self.save(held);
        }
        self.show(held);
    }

    fn tell(&self, transition: &Transition) {
        let Transition { state, before, .. } = transition;
        let why = transition.in_words();
        match state {
            State::Attack => warn!("attack: {why}"),
            _ => info!("{} after {}: {why}", state.word(), before.word()),
        }
        self.events.publish(Event::now(What::Attack(transition.clone())));
        self.records.tell(Record::at(Clock::now().wall_ns(), records::What::Attack(Box::new(transition.clone()))));
    }

    fn show(&self, held: &Held) {
        let config = &self.live.in_force().config.attack;
        let (state, since) = held.detector.state();
        let readings = held.detector.readings(config, Clock::now().wall_s());
        *self.view.lock() = View { detect: config.detect, state, since, attacks: held.attacks, readings };
    }

    fn save(&self, held: &mut Held) {
        held.saved = Instant::now();
        let (state, since) = held.detector.state();
        let baseline = held.detector.baseline.clone();
        let kept = Kept { state, since, told: held.hook.told(), baseline };
        let written = serde_json::to_vec(&kept).map_err(Into::into).and_then(|bytes| kept::write(&self.file, &bytes));
        if let Err(error) = written
            && held.trouble.more(1, COMPLAIN).is_some()
        {
            warn!("{}: {error}: what is usual here is forgotten in a restart", self.file.display());
        }
    }

    fn counted(&self) -> Counted {
        let mut counted = Counted { new_sources: self.counters.new_sources(), ..Counted::default() };
        for reason in Reason::ALL.iter().copied().filter(|reason| reason.in_kernel()) {
            let is_sip = !matches!(reason, Reason::NotOurs | Reason::Martian | Reason::OtherL4 | Reason::Fragment);
            // Who is shut out already is no news, however much it sends.
            if is_sip && !matches!(reason, Reason::Blocked | Reason::Closed) {
                let count = self.counters.reason(reason);
                counted.requests += count;
                counted.drops += if reason.is_rule() { count } else { 0 };
            }
        }
        let of_workers = |reason: Reason| self.stats.iter().map(|stats| stats.ended(reason)).sum::<u64>();
        counted.drops += Reason::ALL.iter().copied().filter(|reason| reason.is_rule()).map(of_workers).sum::<u64>();
        let Answers { registrations, answers, failures } = &*self.answers;
        (counted.registrations, counted.answers, counted.failures) =
            (registrations.get(), answers.get(), failures.get());
        counted
    }
}
