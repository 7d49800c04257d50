use serde::{Deserialize, Serialize};

use super::signal::{SIGNALS, Values};

/// Parts of a day that are remembered apart: a quarter of an hour each.
pub const SLOTS: usize = 96;
const SLOT_SECONDS: u64 = 86_400 / SLOTS as u64;
/// How much of what was usual lately a minute is: after ten minutes two thirds of it are new.
const OF_LATELY: f64 = 0.1;
/// How much of what is usual at this time of the day a minute is: after a quarter of an hour three tenths of it are today's,
/// so that one odd day is not the rule, and a week forgets the one before.
const OF_DAY: f64 = 0.025;

/// What is usual: the highest second of each minute, lately and at this time of the day (UTC).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    lately: Values,
    /// By quarters of an hour; `None`: it was not seen yet.
    day: Vec<Option<Values>>,
    /// The highest of this minute so far.
    #[serde(skip)]
    highest: Values,
    /// Minutes since 1970.
    #[serde(skip)]
    minute: u64,
}

impl Default for Baseline {
    fn default() -> Self {
        let zero = [0.0; SIGNALS];
        Self { lately: zero, day: vec![None; SLOTS], highest: zero, minute: 0 }
    }
}

fn slot(wall_s: u64) -> usize {
    (wall_s / SLOT_SECONDS) as usize % SLOTS
}

fn blend(known: &mut Values, new: &Values, part: f64) {
    for (known, new) in known.iter_mut().zip(new) {
        *known += (new - *known) * part;
    }
}

impl Baseline {
    /// Does it make sense, wherever it was read?
    pub fn is_sound(&self) -> bool {
        let all = self.day.iter().flatten().chain([&self.lately]);
        self.day.len() == SLOTS && all.flatten().all(|value| value.is_finite() && *value >= 0.0)
    }

    /// What is usual at `wall_s` (unix seconds), by the signals' numbers: lately, or at this time of the day or a quarter of
    /// an hour later, whichever is most.
    pub fn usual(&self, wall_s: u64) -> Values {
        let mut usual = self.lately;
        for at in [wall_s, wall_s + SLOT_SECONDS] {
            let known = self.day.get(slot(at)).and_then(Option::as_ref);
            for (usual, known) in usual.iter_mut().zip(known.into_iter().flatten()) {
                *usual = usual.max(*known);
            }
        }
        usual
    }

    /// A second in which nothing was out of order.
    pub fn learn(&mut self, values: &Values, wall_s: u64) {
        let minute = wall_s / 60;
        if minute != self.minute {
            if self.minute != 0 {
                self.remember(self.minute * 60);
            }
            (self.minute, self.highest) = (minute, [0.0; SIGNALS]);
        }
        for (highest, value) in self.highest.iter_mut().zip(values) {
            *highest = highest.max(*value);
        }
    }

    /// What was seen of this minute is no measure of it.
    pub fn forget_minute(&mut self) {
        self.minute = 0;
    }

    fn remember(&mut self, wall_s: u64) {
        let highest = self.highest;
        blend(&mut self.lately, &highest, OF_LATELY);
        if let Some(known) = self.day.get_mut(slot(wall_s)) {
            blend(known.get_or_insert(highest), &highest, OF_DAY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const NOON: u64 = 20_000 * DAY + DAY / 2;

    /// Seconds of a site that does `rate(second of the day)`.
    fn live(baseline: &mut Baseline, from: u64, to: u64, rate: impl Fn(u64) -> f64) {
        for second in from..to {
            baseline.learn(&[rate(second % DAY), 0.0, 0.0, 0.0, 0.0], second);
        }
    }

    #[test]
    fn the_highest_second_of_a_minute_counts() {
        let mut baseline = Baseline::default();
        live(&mut baseline, NOON, NOON + 3_600, |second| if second % 60 == 17 { 500.0 } else { 3.0 });
        let [usual, ..] = baseline.usual(NOON + 3_600);
        assert!((495.0..=500.0).contains(&usual), "{usual}");
    }

    #[test]
    fn it_remembers_the_time_of_the_day() {
        let mut baseline = Baseline::default();
        // The office opens at eight: a hundred times as much as in the night.
        let rate = |second: u64| if (8 * 3_600..18 * 3_600).contains(&second) { 1_000.0 } else { 10.0 };
        live(&mut baseline, 20_000 * DAY, 20_001 * DAY + 7 * 3_600, rate);
        let at = |hour: u64| baseline.usual(20_001 * DAY + hour * 3_600)[0];
        assert!(at(5) < 11.0, "{}", at(5));
        assert!(at(8) > 990.0 && at(12) > 990.0, "{} {}", at(8), at(12));
        // And a quarter of an hour before.
        assert!(baseline.usual(20_001 * DAY + 8 * 3_600 - 600)[0] > 990.0);
    }

    #[test]
    fn one_odd_day_is_not_the_rule() {
        let mut baseline = Baseline::default();
        live(&mut baseline, NOON, NOON + 5 * DAY, |_| 10.0);
        live(&mut baseline, NOON + 5 * DAY, NOON + 5 * DAY + 3_600, |_| 1_000.0);
        live(&mut baseline, NOON + 5 * DAY + 3_600, NOON + 6 * DAY, |_| 10.0);
        let usual = baseline.usual(NOON + 6 * DAY + 1_000)[0];
        assert!((100.0..400.0).contains(&usual), "{usual}");
    }

    #[test]
    fn it_is_the_same_after_a_restart_and_nonsense_is_known() {
        let mut baseline = Baseline::default();
        live(&mut baseline, NOON, NOON + 7_200, |second| second as f64);
        let text = serde_json::to_string(&baseline).expect("JSON");
        let again: Baseline = serde_json::from_str(&text).expect("as it was written");
        assert!(again.is_sound());
        assert_eq!(again.usual(NOON + 7_200), baseline.usual(NOON + 7_200));
        assert!(!Baseline { day: Vec::new(), ..Baseline::default() }.is_sound());
        assert!(!Baseline { lately: [f64::NAN; SIGNALS], ..Baseline::default() }.is_sound());
    }
}
