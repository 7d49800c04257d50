use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::baseline::Baseline;
use super::signal::{SIGNALS, Signal, Values};
use crate::config::Attack;

/// After an operator has ended attack mode, none is found for so long, seconds: as long as attack mode lasts that nobody
/// says a time for.
pub const OVERRULED: u64 = crate::live::ATTACK_DEFAULT.as_secs();
/// Below this part of its limit a rate is calm.
const CALM_RATE: f64 = 0.5;
/// The same of a share.
const CALM_SHARE: f64 = 0.9;
/// By so many percent of all answers the failures must exceed what is usual.
const FAILURES_MORE: f64 = 10.0;

/// How it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is out of order.
    #[default]
    Normal,
    /// Something is far beyond what is usual.
    Attack,
    /// Nothing is any more; what is stricter stays so for a while.
    Recovering,
}

impl State {
    /// The word for it in JSON, and for hooks.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Attack => "attack",
            Self::Recovering => "recovering",
        }
    }
}

/// One signal at a moment, beside what it is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reading {
    /// Which.
    pub signal: Signal,
    /// What it was: a second, or percent.
    pub value: f64,
    /// What is usual at this time.
    pub usual: f64,
    /// From when on it is an attack; absent: it is not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

impl Reading {
    /// For people, such as `new_sources 12000/s (usual 3/s, limit 300/s)`.
    pub fn in_words(&self) -> String {
        let Self { signal, value, usual, limit } = self;
        let unit = signal.unit();
        let limit = limit.map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit:.0}{unit}"));
        format!("{} {value:.0}{unit} (usual {usual:.0}{unit}, {limit})", signal.label())
    }

    fn is_beyond(&self) -> bool {
        self.limit.is_some_and(|limit| self.value > limit)
    }

    /// Is it beyond this part of its limit?
    fn is_over(&self, part: f64) -> bool {
        self.limit.is_some_and(|limit| self.value > limit * part)
    }

    fn is_calm(&self) -> bool {
        !self.is_over(if self.signal == Signal::Failures { CALM_SHARE } else { CALM_RATE })
    }
}

/// A change of state, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// How it stands now.
    pub state: State,
    /// How it stood until now.
    pub before: State,
    /// For how long it did, seconds.
    pub seconds: u64,
    /// Did an operator end it?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overruled: bool,
    /// What led to an attack, each the highest of the time in which it was looked; else all signals, each the highest since
    /// the last that was beyond its limit.
    pub evidence: Vec<Reading>,
}

impl Transition {
    /// Its evidence for people, in one line.
    pub fn in_words(&self) -> String {
        if self.overruled {
            return "an operator has ended attack mode".to_owned();
        }
        self.evidence.iter().map(Reading::in_words).collect::<Vec<_>>().join(", ")
    }
}

/// What decides: pure, its time is told.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    /// What is usual.
    pub baseline: Baseline,
    state: State,
    /// Since when, unix seconds.
    since: u64,
    /// Seconds in a row in which something was beyond its limit.
    beyond: u64,
    /// Seconds in a row in which all was calm.
    calm: u64,
    /// The highest since then.
    highest: Values,
    /// Until then none is found, unix seconds.
    overruled: u64,
    /// The last second.
    last: Values,
}

impl Detector {
    /// As it stood before a restart.
    pub fn resume(baseline: Baseline, state: State, since: u64) -> Self {
        Self { baseline, state, since, ..Self::default() }
    }

    /// How it stands, and since when, unix seconds.
    pub const fn state(&self) -> (State, u64) {
        (self.state, self.since)
    }

    /// All signals of the last second.
    pub fn readings(&self, config: &Attack, wall_s: u64) -> Vec<Reading> {
        self.read(config, &self.last, wall_s)
    }

    fn read(&self, config: &Attack, values: &Values, wall_s: u64) -> Vec<Reading> {
        let usual = self.baseline.usual(wall_s);
        let read = |signal: Signal| {
            let (value, usual) = (values[signal as usize], usual[signal as usize]);
            let limit = signal.floor(config).map(|floor| match signal {
                Signal::Failures => floor.max(usual + FAILURES_MORE),
                _ => floor.max(usual * f64::from(config.factor)),
            });
            Reading { signal, value, usual, limit }
        };
        Signal::ALL.map(read).into()
    }

    /// The next second. `overruled`: meanwhile an operator has ended attack mode.
    pub fn tick(&mut self, config: &Attack, values: &Values, wall_s: u64, overruled: bool) -> Option<Transition> {
        self.last = *values;
        let readings = self.read(config, values, wall_s);
        // A server that refuses everybody may have lost its database.
        let comes_more = readings.iter().any(|it| {
            matches!(it.signal, Signal::Requests | Signal::NewSources | Signal::Registrations) && it.is_over(CALM_RATE)
        });
        let counts = |it: &&Reading| it.is_beyond() && (it.signal != Signal::Failures || comes_more);
        let is_beyond = readings.iter().any(|it| counts(&it));
        let is_calm = readings.iter().all(|it| it.is_calm() || it.signal == Signal::Failures && !comes_more);
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        // In peace the highest of what is beyond its limit, else of what came since.
        let begins = if self.state == State::Normal { self.beyond == 0 } else { is_beyond };
        if begins {
            self.highest = [0.0; SIGNALS];
        }
        self.beyond = if is_beyond { self.beyond + 1 } else { 0 };
        if self.state == State::Normal || !is_beyond {
            self.highest = higher(&self.highest, values);
        }
        let mutes = wall_s < self.overruled;
        let next = match self.state {
            State::Attack if overruled => {
                self.overruled = wall_s.saturating_add(OVERRULED);
                Some(State::Recovering)
            }
            State::Normal if !mutes && self.beyond >= config.trip.as_secs() => Some(State::Attack),
            State::Recovering if !mutes && self.beyond > 0 => Some(State::Attack),
            State::Attack if self.calm >= config.calm.as_secs() => Some(State::Recovering),
            State::Recovering if wall_s.saturating_sub(self.since) >= config.recover.as_secs() => Some(State::Normal),
            _ => None,
        };
        // A server that refuses everybody is no attack, but no measure either.
        if self.state == State::Normal && !readings.iter().any(Reading::is_beyond) {
            self.baseline.learn(values, wall_s);
        } else {
            self.baseline.forget_minute();
        }
        let state = next?;
        let evidence = match state {
            State::Attack => {
                let highest = self.read(config, &higher(&self.highest, values), wall_s);
                highest.into_iter().filter(Reading::is_beyond).collect()
            }
            _ => self.read(config, &self.highest, wall_s),
        };
        let seconds = wall_s.saturating_sub(self.since);
        let before = std::mem::replace(&mut self.state, state);
        (self.since, self.calm, self.highest) = (wall_s, 0, [0.0; SIGNALS]);
        Some(Transition { state, before, seconds, overruled: overruled && before == State::Attack, evidence })
    }
}

/// Of each the higher.
fn higher(a: &Values, b: &Values) -> Values {
    std::array::from_fn(|signal| a[signal].max(b[signal]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of a site: its detector, its time, and what it has said.
    struct Site {
        detector: Detector,
        config: Attack,
        now: u64,
        said: Vec<(u64, Transition)>,
    }

    const START: u64 = 20_000 * 86_400 + 36_000;

    impl Site {
        fn new() -> Self {
            let detector = Detector::resume(Baseline::default(), State::Normal, START);
            Self { detector, config: Attack::default(), now: START, said: Vec::new() }
        }

        /// So many seconds of it.
        fn live(&mut self, seconds: u64, values: Values) -> State {
            for _ in 0..seconds {
                self.now += 1;
                if let Some(transition) = self.detector.tick(&self.config, &values, self.now, false) {
                    self.said.push((self.now - START, transition));
                }
            }
            self.detector.state().0
        }

        fn states(&self) -> Vec<(u64, State)> {
            self.said.iter().map(|(at, said)| (*at, said.state)).collect()
        }
    }

    /// 200 phones and 20 calls.
    const PEACE: Values = [80.0, 1.0, 0.1, 3.0, 0.0];
    const FLOOD: Values = [90_000.0, 80_000.0, 60_000.0, 400.0, 99.0];

    #[test]
    fn an_attack_is_found_after_three_seconds_and_is_over_in_the_configured_time() {
        let mut site = Site::new();
        assert_eq!(site.live(600, PEACE), State::Normal);
        site.live(30, FLOOD);
        site.live(1_200, PEACE);
        let expected = [(603, State::Attack), (690, State::Recovering), (1_290, State::Normal)];
        assert_eq!(site.states(), expected);
        let evidence: Vec<Signal> = site.said[0].1.evidence.iter().map(|it| it.signal).collect();
        assert_eq!(evidence, Signal::ALL);
        assert_eq!(site.said[0].1.evidence[2].value, 60_000.0);
        assert_eq!((site.said[1].1.seconds, site.said[1].1.evidence[0].value), (87, 80.0));
        // What was usual before the attack still is.
        assert!(site.detector.baseline.usual(site.now)[0] < 81.0);
    }

    #[test]
    fn two_seconds_are_none_but_in_recovery_one_is() {
        let mut site = Site::new();
        for _ in 0..20 {
            site.live(2, FLOOD);
            assert_eq!(site.live(10, PEACE), State::Normal);
        }
        site.live(3, FLOOD);
        assert_eq!(site.live(60, PEACE), State::Recovering);
        assert_eq!(site.live(1, FLOOD), State::Attack);
        assert_eq!(site.said.last().expect("news").1.evidence.len(), 5);
    }

    #[test]
    fn between_half_and_all_of_a_limit_nothing_changes() {
        let mut site = Site::new();
        let half = [0.0, 400.0, 0.0, 0.0, 0.0];
        assert_eq!(site.live(3_600, half), State::Normal);
        let mut site = Site::new();
        site.live(3, FLOOD);
        assert_eq!(site.live(3_600, half), State::Attack);
        assert_eq!(site.live(60, PEACE), State::Recovering);
        assert_eq!(site.live(600, half), State::Normal);
    }

    #[test]
    fn what_is_usual_here_is_no_attack_and_four_times_as_much_is() {
        let mut site = Site::new();
        // A large carrier's evening grows slowly.
        for rate in (1_000..12_000).step_by(100) {
            assert_eq!(site.live(120, [f64::from(rate), 10.0, 20.0, 50.0, 40.0]), State::Normal, "{rate}");
        }
        assert_eq!(site.live(60, [30_000.0, 10.0, 20.0, 50.0, 40.0]), State::Normal);
        let usual = site.detector.baseline.usual(site.now)[0];
        assert_eq!(site.live(3, [usual * 4.0 + 1.0, 10.0, 20.0, 50.0, 40.0]), State::Attack);
    }

    #[test]
    fn a_server_that_refuses_everybody_is_no_attack_by_itself() {
        let mut site = Site::new();
        assert_eq!(site.live(600, [300.0, 1.0, 1.0, 90.0, 100.0]), State::Normal);
        assert_eq!(site.live(3, [300.0, 1.0, 1.0, 110.0, 100.0]), State::Attack);
        // and keeps none going that is over
        assert_eq!(site.live(60, [300.0, 1.0, 1.0, 90.0, 100.0]), State::Recovering);
    }

    #[test]
    fn what_is_not_looked_at_says_nothing() {
        let mut site = Site::new();
        site.config = Attack { requests: 0, drops: 0, new_sources: 0, registrations: 0, failures: 0, ..site.config };
        assert_eq!(site.live(60, FLOOD), State::Normal);
    }

    #[test]
    fn an_operator_outranks_it_for_a_quarter_of_an_hour() {
        let mut site = Site::new();
        site.live(3, FLOOD);
        let said = site.detector.tick(&site.config, &FLOOD, site.now + 1, true).expect("it is over");
        assert!(said.overruled && said.state == State::Recovering);
        assert_eq!(site.live(OVERRULED - 1, FLOOD), State::Normal);
        assert_eq!(site.live(3, FLOOD), State::Attack);
    }

    proptest::proptest! {
        /// Beside the states themselves: what each must have seen before.
        #[test]
        fn no_change_without_its_cause(seconds in proptest::collection::vec((0u8..4, 1u64..90), 1..60)) {
            let mut site = Site::new();
            let (mut beyond, mut calm) = (0u64, 0u64);
            for (what, for_so_long) in seconds {
                let values = |what: u8| [PEACE, FLOOD, [0.0, 400.0, 0.0, 0.0, 0.0], PEACE][usize::from(what)];
                for _ in 0..for_so_long {
                    let before = site.detector.state();
                    // In peace it would be learnt, and be usual.
                    let what = if what == 2 && before.0 == State::Normal { 0 } else { what };
                    let values = values(what);
                    beyond = if what == 1 { beyond + 1 } else { 0 };
                    calm = if what == 1 || what == 2 { 0 } else { calm + 1 };
                    site.live(1, values);
                    let after = site.detector.state();
                    let cause = match (before.0, after.0) {
                        (State::Normal, State::Attack) => beyond >= 3,
                        (State::Recovering, State::Attack) => beyond >= 1,
                        (State::Attack, State::Recovering) => calm >= 60,
                        (State::Recovering, State::Normal) => beyond == 0 && site.now - before.1 >= 600,
                        (a, b) => a == b && !(a == State::Normal && beyond >= 3),
                    };
                    proptest::prop_assert!(cause, "{before:?} {after:?} {beyond} {calm}");
                    if before.0 != after.0 {
                        calm = 0;
                    }
                }
            }
        }
    }
}
