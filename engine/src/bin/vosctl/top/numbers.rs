//! Counters out of what `stats` says, and what became of them in between.

use std::collections::BTreeMap;

use serde_json::Value;
use vos_common::reason::Reason;

/// What has been counted so far. Whatever is missing is 0: an older or newer engine may say less or more.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Numbers {
    pub(super) judged: u64,
    /// Survivors that went to the engine, and those that took the kernel's path.
    pub(super) redirected: u64,
    pub(super) kernel: u64,
    /// What was dropped, by reason, in the kernel and by the engine.
    pub(super) dropped: BTreeMap<String, u64>,
    /// What would have been, if it were enforced.
    pub(super) would_drop: BTreeMap<String, u64>,
    pub(super) queues: Vec<Queue>,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Queue {
    pub(super) queue: u64,
    pub(super) live: bool,
    pub(super) received: u64,
    pub(super) relayed: u64,
    pub(super) answered: u64,
    pub(super) dropped: u64,
    pub(super) waiting: u64,
}

impl Numbers {
    pub(super) fn of(stats: &Value) -> Self {
        let count = |pointer: &str| stats.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        let mut numbers = Self {
            judged: count("/judged"),
            redirected: count("/reasons/redirected"),
            kernel: count("/reasons/kernel"),
            ..Self::default()
        };
        let is_drop = |label: &str| Reason::of_label(label).is_some_and(Reason::is_rule);
        add(&mut numbers.dropped, stats.get("reasons"), is_drop);
        add(&mut numbers.would_drop, stats.get("would_drop"), |_| true);
        for worker in stats.get("workers").and_then(Value::as_array).into_iter().flatten() {
            add(&mut numbers.dropped, worker.get("dropped"), |_| true);
            add(&mut numbers.would_drop, worker.get("would_drop"), |_| true);
            numbers.queues.push(Queue::of(worker));
        }
        numbers
    }

    /// All that was dropped.
    pub(super) fn all_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// What was counted since `base`. A counter that is smaller than it was began anew.
    pub(super) fn since(&self, base: &Self) -> Self {
        let less = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        let tables = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let then = |label: &String| then.get(label).copied().unwrap_or_default();
            now.iter().map(|(label, now)| (label.clone(), less(*now, then(label)))).collect()
        };
        let none = Queue::default();
        let queue = |now: &Queue| {
            let then = base.queues.iter().find(|then| then.queue == now.queue).unwrap_or(&none);
            Queue {
                received: less(now.received, then.received),
                relayed: less(now.relayed, then.relayed),
                answered: less(now.answered, then.answered),
                dropped: less(now.dropped, then.dropped),
                ..now.clone()
            }
        };
        Self {
            judged: less(self.judged, base.judged),
            redirected: less(self.redirected, base.redirected),
            kernel: less(self.kernel, base.kernel),
            dropped: tables(&self.dropped, &base.dropped),
            would_drop: tables(&self.would_drop, &base.would_drop),
            queues: self.queues.iter().map(queue).collect(),
        }
    }
}

impl Queue {
    fn of(worker: &Value) -> Self {
        let count = |key: &str| worker.get(key).and_then(Value::as_u64).unwrap_or_default();
        let sum = |key: &str| -> u64 {
            let table = worker.get(key).and_then(Value::as_object);
            table.into_iter().flat_map(|table| table.values()).filter_map(Value::as_u64).sum()
        };
        Self {
            queue: count("queue"),
            live: worker.get("live").and_then(Value::as_bool).unwrap_or_default(),
            received: count("received"),
            relayed: count("relayed"),
            answered: sum("answered"),
            dropped: sum("dropped"),
            waiting: count("waiting"),
        }
    }
}

fn add(to: &mut BTreeMap<String, u64>, table: Option<&Value>, wanted: impl Fn(&str) -> bool) {
    for (label, count) in table.and_then(Value::as_object).into_iter().flatten() {
        if let Some(count) = count.as_u64().filter(|_| wanted(label)) {
            *to.entry(label.clone()).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drops_of_kernel_and_workers_are_added_and_what_passed_is_none() {
        let stats = json!({
            "judged": 100,
            "reasons": { "stealth": 10, "blocked": 5, "redirected": 60, "kernel": 20, "martian": 5 },
            "would_drop": { "scanner": 3 },
            "workers": [
                { "queue": 0, "live": true, "received": 40, "relayed": 30, "answered": { "answered": 4 },
                  "dropped": { "foreign_domain": 2, "stealth": 1 }, "would_drop": { "scanner": 1 }, "waiting": 7 },
                { "queue": 1 },
            ],
        });
        let numbers = Numbers::of(&stats);
        let table = |pairs: &[(&str, u64)]| pairs.iter().map(|(label, n)| ((*label).to_owned(), *n)).collect();
        assert_eq!(numbers.dropped, table(&[("blocked", 5), ("foreign_domain", 2), ("stealth", 11)]));
        assert_eq!((numbers.would_drop.clone(), numbers.all_dropped()), (table(&[("scanner", 4)]), 18));
        let first = Queue { queue: 0, live: true, received: 40, relayed: 30, answered: 4, dropped: 3, waiting: 7 };
        assert_eq!(numbers.queues, [first, Queue { queue: 1, ..Queue::default() }]);
        assert_eq!(Numbers::of(&json!([])), Numbers::default());
    }

    #[test]
    fn what_began_anew_counts_from_nothing() {
        let at = |judged, stealth: u64| Numbers {
            judged,
            dropped: [("stealth".to_owned(), stealth)].into(),
            ..Numbers::default()
        };
        assert_eq!(at(150, 7).since(&at(100, 5)), at(50, 2));
        assert_eq!(at(150, 7).since(&at(100, 9)), at(50, 7), "the engine was restarted");
        assert_eq!(at(150, 7).since(&Numbers::default()), at(150, 7));
    }
}
