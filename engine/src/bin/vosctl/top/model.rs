//! What `vosctl top` knows: two looks at the counters, the last events, and what is in force.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use vos_engine::events::{Event, RuleChange, What};
use vos_engine::feed;
use vos_engine::live::wire::Status;

use super::Look;
use super::numbers::{Numbers, Queue};

/// Sources whose samples are counted. More: memory, and a flood of made-up sources is a longer list. Fewer: who sends now
/// and then falls out.
const SOURCES_MAX: usize = 1_024;
/// Decisions kept, the latest: more than any terminal shows.
const DECISIONS_MAX: usize = 128;

/// All that is shown.
#[derive(Clone)]
pub(super) struct Model {
    /// Which engine.
    pub(super) iface: String,
    /// What `stats` said last; null before the first look.
    pub(super) stats: Value,
    pub(super) status: Option<Status>,
    pub(super) feeds: Vec<feed::View>,
    /// Is this a picture that stands still?
    pub(super) is_paused: bool,
    /// Events that this reader was too slow for.
    pub(super) lost: u64,
    /// Unix seconds of the last look.
    pub(super) time: u64,
    now: Numbers,
    before: Numbers,
    /// Where totals begin.
    base: Numbers,
    /// Between the last two looks, seconds; `None` before the second.
    seconds: Option<f64>,
    looked: Option<Instant>,
    /// Samples by source.
    sources: HashMap<String, u64>,
    decisions: VecDeque<(f64, RuleChange)>,
}

impl Model {
    pub(super) fn new(socket: &Path) -> Self {
        Self {
            iface: socket.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            stats: Value::Null,
            status: None,
            feeds: Vec::new(),
            is_paused: false,
            lost: 0,
            time: 0,
            now: Numbers::default(),
            before: Numbers::default(),
            base: Numbers::default(),
            seconds: None,
            looked: None,
            sources: HashMap::new(),
            decisions: VecDeque::new(),
        }
    }

    pub(super) fn look(&mut self, Look { at, stats, status, feeds }: Look) {
        let now = Numbers::of(&stats);
        match self.looked.replace(at) {
            None => self.base = now.clone(),
            Some(before) => self.seconds = Some(at.duration_since(before).as_secs_f64()),
        }
        self.before = std::mem::replace(&mut self.now, now);
        (self.stats, self.status, self.feeds) = (stats, Some(status), feeds);
        self.time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    }

    /// An event as the API tells it; of kinds that a newer engine knows nothing is shown.
    pub(super) fn told(&mut self, event: Value) {
        if let Ok(event) = serde_json::from_value(event) {
            self.happened(event);
        }
    }

    pub(super) fn happened(&mut self, Event { time, what }: Event) {
        match what {
            What::Drop(dropped) => self.count(dropped.source),
            What::Rule(change) => {
                self.decisions.push_front((time, change));
                self.decisions.truncate(DECISIONS_MAX);
            }
            What::Lost { events } => self.lost += events,
            _ => {}
        }
    }

    /// One more sample of this source. Where there are too many, it takes the place of the least, and its count (Metwally
    /// et al., "Space-Saving", 2005): who is frequent is never missed, and nobody is counted too low.
    fn count(&mut self, source: String) {
        if let Some(count) = self.sources.get_mut(&source) {
            *count += 1;
            return;
        }
        let mut least = 0;
        if self.sources.len() >= SOURCES_MAX
            && let Some(source) = self.sources.iter().min_by_key(|(_, count)| **count).map(|(source, _)| source.clone())
        {
            least = self.sources.remove(&source).unwrap_or_default();
        }
        self.sources.insert(source, least + 1);
    }

    /// Totals and sources begin anew.
    pub(super) fn reset(&mut self) {
        self.base = self.now.clone();
        self.sources.clear();
        self.lost = 0;
    }

    /// A picture that stands still.
    pub(super) fn paused(&self) -> Self {
        Self { is_paused: true, ..self.clone() }
    }

    /// What was counted between the last two looks, each second.
    pub(super) fn rate(&self, count: impl Fn(&Numbers) -> u64) -> f64 {
        match self.seconds {
            Some(seconds) if seconds > 0.0 => count(&self.now.since(&self.before)) as f64 / seconds,
            _ => 0.0,
        }
    }

    /// What was counted since the first look, or since totals began anew.
    pub(super) fn total(&self) -> Numbers {
        self.now.since(&self.base)
    }

    /// What was dropped, and what would have been: label, rate, total; what comes fastest first.
    pub(super) fn reasons(&self) -> Vec<(String, f64, u64)> {
        let total = self.total();
        let of = |label: &str, table: fn(&Numbers) -> &BTreeMap<String, u64>| {
            self.rate(|numbers| table(numbers).get(label).copied().unwrap_or_default())
        };
        let dropped = total.dropped.iter().map(|(label, n)| (label.clone(), of(label, |numbers| &numbers.dropped), *n));
        let monitored = total.would_drop.iter();
        let monitored =
            monitored.map(|(label, n)| (format!("({label})"), of(label, |numbers| &numbers.would_drop), *n));
        let mut reasons: Vec<_> = dropped.chain(monitored).filter(|(_, _, total)| *total > 0).collect();
        reasons.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.2.cmp(&a.2)).then_with(|| a.0.cmp(&b.0)));
        reasons
    }

    /// Samples by source, the most first.
    pub(super) fn sources(&self) -> Vec<(&str, u64)> {
        let mut sources: Vec<_> = self.sources.iter().map(|(source, count)| (source.as_str(), *count)).collect();
        sources.sort_by_key(|(source, count)| (std::cmp::Reverse(*count), *source));
        sources
    }

    /// Rules that came and went, the latest first, each with its unix second.
    pub(super) fn decisions(&self) -> impl Iterator<Item = &(f64, RuleChange)> {
        self.decisions.iter()
    }

    /// The rate of each queue.
    pub(super) fn queues(&self) -> Vec<(Queue, [f64; 4])> {
        let queues = self.now.queues.iter().enumerate();
        let rates = queues.map(|(at, queue)| {
            let rate = |count: fn(&Queue) -> u64| self.rate(|numbers| numbers.queues.get(at).map_or(0, count));
            let rates = [rate(|q| q.received), rate(|q| q.relayed), rate(|q| q.answered), rate(|q| q.dropped)];
            (queue.clone(), rates)
        });
        rates.collect()
    }
}
