use std::collections::BTreeMap;

use serde_json::Value;
use vos_common::reason::Reason;

/// What `vosctl stats --json` said.
#[derive(Clone, Debug)]
pub(crate) struct Stats(pub(crate) Value);

impl Stats {
    /// A counter of XDP's.
    #[track_caller]
    pub(crate) fn reason(&self, name: &str) -> u64 {
        self.0["reasons"][name].as_u64().unwrap_or_else(|| panic!("no reason {name} in {}", self.0))
    }

    /// What monitor mode would have dropped for this reason.
    #[track_caller]
    pub(crate) fn would_drop(&self, name: &str) -> u64 {
        self.0["would_drop"][name].as_u64().unwrap_or_else(|| panic!("no would_drop {name} in {}", self.0))
    }

    /// All that was dropped, by the rules of XDP and of the engine: what is not zero.
    pub(crate) fn dropped(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        let workers = self.0["workers"].as_array().map_or(&[][..], Vec::as_slice);
        let tables = workers.iter().map(|worker| &worker["dropped"]).chain([&self.0["reasons"]]);
        for (reason, count) in tables.filter_map(Value::as_object).flatten() {
            let rule = Reason::of_label(reason).is_none_or(Reason::is_rule);
            let count = count.as_u64().unwrap_or_else(|| panic!("{reason}: {count} in {}", self.0));
            if rule && count > 0 {
                *all.entry(reason.clone()).or_default() += count;
            }
        }
        all
    }

    /// What the workers together have ended so: `answered`, `taken` or `dropped`, and why.
    #[track_caller]
    pub(crate) fn ended(&self, how: &str, why: &str) -> u64 {
        let workers = self.0["workers"].as_array().map_or(&[][..], Vec::as_slice);
        let count = |worker: &Value| worker[how][why].as_u64().unwrap_or_else(|| panic!("no {how} {why} in {worker}"));
        workers.iter().map(count).sum()
    }

    /// One counter of each worker.
    pub(crate) fn workers(&self, name: &str) -> Vec<u64> {
        let workers = self.0["workers"].as_array().map_or(&[][..], Vec::as_slice);
        workers.iter().filter_map(|worker| worker[name].as_u64()).collect()
    }
}
