//! The counters that the engine shows, and their differences.

use std::collections::BTreeMap;

use serde_json::Value;
use vos_bench::{Error, Result};

/// What `vosctl stats --json` said, as far as the demo compares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// `relay`, `filter` or `monitor`; and how it is attached, for show.
    pub(crate) mode: String,
    pub(crate) attached: String,
    pub(crate) judged: u64,
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Sums over the workers.
    pub(crate) received: u64,
    pub(crate) relayed: u64,
    pub(crate) dropped: u64,
    /// Answered by the engine itself, or taken.
    pub(crate) ended: u64,
    pub(crate) relay_errors: u64,
    /// Frames of the rings that are neither free nor with the kernel nor on their way out, now.
    pub(crate) held: u64,
    /// What was timed of each stage of a worker: packets, and what they took together, ns.
    pub(crate) stages: BTreeMap<String, (u64, u64)>,
}

impl Counters {
    pub(crate) fn read(json: &str) -> Result<Self> {
        let all: Value = serde_json::from_str(json)
            .map_err(|error| Error::Other(format!("vosctl stats --json gave no JSON ({error}): {json}")))?;
        let text = |key: &str| all[key].as_str().unwrap_or("?").to_owned();
        let workers = all["workers"].as_array().map_or(&[][..], Vec::as_slice);
        let sum = |key: &str| workers.iter().map(|worker| total(&worker[key])).sum();
        let reasons = all["reasons"]
            .as_object()
            .ok_or_else(|| Error::Other(format!("vosctl stats --json has no object \"reasons\": {json}")))?;
        Ok(Self {
            mode: text("mode"),
            attached: format!("XDP {}, AF_XDP {}, back by {}", text("xdp"), text("bind"), text("inject")),
            judged: total(&all["judged"]),
            reasons: reasons.iter().map(|(reason, count)| (reason.clone(), total(count))).collect(),
            received: sum("received"),
            relayed: sum("relayed"),
            dropped: sum("dropped"),
            ended: sum("answered") + sum("taken"),
            relay_errors: sum("relay_errors"),
            held: sum("held"),
            stages: stages(workers),
        })
    }

    /// What was added since.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let reasons = self.reasons.iter();
        Self {
            mode: self.mode.clone(),
            attached: self.attached.clone(),
            judged: self.judged.wrapping_sub(before.judged),
            reasons: reasons.map(|(name, &count)| (name.clone(), count.wrapping_sub(before.reason(name)))).collect(),
            received: self.received.wrapping_sub(before.received),
            relayed: self.relayed.wrapping_sub(before.relayed),
            dropped: self.dropped.wrapping_sub(before.dropped),
            ended: self.ended.wrapping_sub(before.ended),
            relay_errors: self.relay_errors.wrapping_sub(before.relay_errors),
            held: self.held,
            stages: (self.stages.iter())
                .map(|(name, now)| {
                    let before = before.stages.get(name).copied().unwrap_or_default();
                    (name.clone(), (now.0.wrapping_sub(before.0), now.1.wrapping_sub(before.1)))
                })
                .collect(),
        }
    }

    /// What a packet took in this stage of a worker, ns; `None`: none was timed.
    pub(crate) fn stage(&self, name: &str) -> Option<f64> {
        let (packets, ns) = self.stages.get(name).copied().filter(|(packets, _)| *packets > 0)?;
        Some(ns as f64 / packets as f64)
    }

    pub(crate) fn reason(&self, name: &str) -> u64 {
        self.reasons.get(name).copied().unwrap_or(0)
    }
}

fn stages(workers: &[Value]) -> BTreeMap<String, (u64, u64)> {
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for (name, figures) in workers.iter().filter_map(|worker| worker["stages"].as_object()).flatten() {
        let sum = sums.entry(name.clone()).or_default();
        *sum = (sum.0 + total(&figures["packets"]), sum.1 + total(&figures["ns"]));
    }
    sums
}

/// A number, or the sum of an object's or array's numbers.
fn total(value: &Value) -> u64 {
    match value {
        Value::Object(parts) => parts.values().map(total).sum(),
        Value::Array(parts) => parts.iter().map(total).sum(),
        other => other.as_u64().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = r#"{"mode":"relay","queues":2,"xdp":"native","bind":"copy","inject":"reentry","judged":30,
        "reasons":{"redirected":20,"stealth":10},"would_drop":{"stealth":0},"new_field":[1],
        "workers":[{"queue":0,"received":12,"relayed":11,"dropped":{"parse":1},"relay_errors":0,"live":true,
                    "answered":{"answered":2,"unavailable":1},"taken":{"keep_alive":4},
                    "stages":{"judge":{"packets":2,"ns":2000}},"held":1},
                   {"queue":1,"received":8,"relayed":8,"dropped":{},"relay_errors":0,"live":true,"held":2,
                    "stages":{"judge":{"packets":2,"ns":4000},"reply":{"packets":0,"ns":0}}}]}"#;

    #[test]
    fn workers_are_summed_and_unknown_fields_do_not_matter() {
        let counters = Counters::read(STATS).unwrap();
        assert_eq!((counters.judged, counters.reason("stealth"), counters.reason("no such")), (30, 10, 0));
        assert_eq!((counters.received, counters.relayed, counters.dropped), (20, 19, 1));
        assert_eq!((counters.ended, counters.held), (7, 3));
        assert_eq!(
            (counters.stage("judge"), counters.stage("reply"), counters.stage("none")),
            (Some(1500.0), None, None)
        );
        assert_eq!(counters.attached, "XDP native, AF_XDP copy, back by reentry");
    }

    #[test]
    fn a_difference_is_taken_reason_by_reason() {
        let before = Counters::read(STATS).unwrap();
        let mut after = before.clone();
        after.judged += 5;
        after.reasons.insert("blocked".to_owned(), 5);
        let grown = after.since(&before);
        assert_eq!((grown.judged, grown.reason("blocked"), grown.reason("stealth")), (5, 5, 0));
    }

    #[test]
    fn what_is_not_stats_is_an_error_that_quotes_it() {
        for text in ["", "{}", "no engine"] {
            assert!(Counters::read(text).unwrap_err().to_string().contains(text));
        }
    }
}
