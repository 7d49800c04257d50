//! What must hold after each phase.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vos_bench::ServerStats;

use super::counters::Counters;
use super::traffic::{Answer, Fate, Outcome, Phase};

/// Reasons that neighbour discovery and the like may add to at any time.
const NOT_OURS: [&str; 3] = ["not_ours", "other_l4", "martian"];

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) seen: String,
}

impl Check {
    #[expect(clippy::needless_pass_by_value, reason = "numbers and words alike read better by value")]
    pub(crate) fn new(what: impl Into<String>, expected: impl ToString, seen: impl ToString) -> Self {
        Self { what: what.into(), expected: expected.to_string(), seen: seen.to_string() }
    }

    pub(crate) fn holds(&self) -> bool {
        self.expected == self.seen
    }
}

/// What the counters must show after some traffic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// Datagrams that reach the server.
    served: u64,
    methods: BTreeMap<String, u64>,
    /// By the addresses that one program sends from, together: calls take them in turn, retransmissions do not.
    sources: BTreeMap<&'static [&'static str], u64>,
    dropped: BTreeMap<&'static str, u64>,
}

impl Expected {
    pub(crate) fn of(outcomes: &[Outcome]) -> Self {
        let mut expected = Self::default();
        for outcome in outcomes {
            match outcome.run.fate {
                Fate::Dropped(reason) => {
                    *expected.dropped.entry(reason).or_default() += outcome.sent;
                    expected.sources.entry(outcome.run.from).or_default();
                }
                Fate::Served => {
                    expected.served += outcome.sent;
                    *expected.sources.entry(outcome.run.from).or_default() += outcome.sent;
                    for (method, count) in &outcome.methods {
                        *expected.methods.entry(method.clone()).or_default() += count;
                    }
                }
            }
        }
        expected
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.served += other.served;
        other.methods.iter().for_each(|(method, count)| *self.methods.entry(method.clone()).or_default() += count);
        other.sources.iter().for_each(|(source, count)| *self.sources.entry(source).or_default() += count);
        other.dropped.iter().for_each(|(reason, count)| *self.dropped.entry(reason).or_default() += count);
    }

    /// What the server must have seen since `before`: so much, of these methods, from these addresses.
    pub(crate) fn server_checks(&self, now: &ServerStats, before: &ServerStats, of: &str) -> Vec<Check> {
        let name = |what: &str| if of.is_empty() { format!("server: {what}") } else { format!("server, {of}: {what}") };
        let mut checks = vec![
            Check::new(name("datagrams"), self.served, now.received - before.received),
            Check::new(name("garbage"), 0, now.garbage - before.garbage),
            Check::new(name("replies not sent"), 0, now.send_errors - before.send_errors),
        ];
        for method in now.methods.keys().chain(self.methods.keys()).collect::<std::collections::BTreeSet<_>>() {
            let expected = self.methods.get(method).copied().unwrap_or(0);
            checks.push(Check::new(name(method), expected, now.method(method) - before.method(method)));
        }
        for (addresses, expected) in &self.sources {
            let from = |stats: &ServerStats| -> u64 {
                addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()).map(|source| stats.from(source)).sum()
            };
            checks.push(Check::new(
                name(&format!("from {}", addresses.join(", "))),
                expected,
                from(now) - from(before),
            ));
        }
        checks
    }

    /// What the engine must have counted: each reason exactly, and its own books in order.
    fn engine_checks(&self, grown: &Counters) -> Vec<Check> {
        let relay = grown.mode == "relay";
        let mut expected = self.dropped.clone();
        if self.served > 0 {
            expected.insert(if relay { "redirected" } else { "kernel" }, self.served);
        }
        let mut checks = vec![Check::new("engine: sum of reasons", grown.judged, grown.reasons.values().sum::<u64>())];
        let reasons = grown.reasons.keys().map(String::as_str).chain(expected.keys().copied());
        for reason in reasons.filter(|reason| !NOT_OURS.contains(reason)).collect::<std::collections::BTreeSet<_>>() {
            let expected = expected.get(reason).copied().unwrap_or(0);
            checks.push(Check::new(format!("engine: {reason}"), expected, grown.reason(reason)));
        }
        if relay {
            checks.push(Check::new("engine: workers received", self.served, grown.received));
            checks.push(Check::new("engine: workers relayed", self.served, grown.relayed));
            checks.push(Check::new("engine: workers dropped", 0, grown.dropped));
            // The demo sends no keep-alives, which would be taken.
            checks.push(Check::new("engine: workers answered or took", 0, grown.ended));
            checks.push(Check::new("engine: relay errors", 0, grown.relay_errors));
        }
        checks
    }
}

/// All that must hold after a phase.
pub(crate) fn checks(
    outcomes: &[Outcome],
    expected: &Expected,
    server: &ServerStats,
    server_before: &ServerStats,
    grown: Option<&Counters>,
) -> Vec<Check> {
    let mut checks: Vec<Check> = outcomes.iter().flat_map(sender_checks).collect();
    checks.extend(expected.server_checks(server, server_before, ""));
    checks.extend(grown.into_iter().flat_map(|grown| expected.engine_checks(grown)));
    checks
}

/// What the sender must have seen.
fn sender_checks(outcome: &Outcome) -> Vec<Check> {
    let who = outcome.run.who;
    let served = outcome.run.fate == Fate::Served;
    let mut checks = match &outcome.answer {
        Answer::Load(report) => {
            let super::traffic::What::Load { rate, seconds, .. } = outcome.run.what else { return Vec::new() };
            vec![
                Check::new(format!("{who}: sent"), rate * seconds, report.sent),
                Check::new(format!("{who}: answered"), if served { report.sent } else { 0 }, report.answered),
            ]
        }
        Answer::Calls(report) => vec![
            Check::new(format!("{who}: registered"), report.calls, report.registered),
            Check::new(format!("{who}: calls succeeded"), report.calls, report.succeeded),
        ],
    };
    let (refused, errors, stray) = match &outcome.answer {
        Answer::Load(report) => (report.refused, report.send_errors, report.stray + report.duplicates),
        Answer::Calls(report) => (report.refused, report.send_errors, report.stray),
    };
    checks.push(Check::new(
        format!("{who}: refused, unsent or stray"),
        "0, 0, 0",
        format!("{refused}, {errors}, {stray}"),
    ));
    checks
}

/// One phase and what came of it.
pub(crate) struct Entry {
    pub(crate) phase: Phase,
    pub(crate) outcomes: Vec<Outcome>,
    /// Datagrams that reached the server.
    pub(crate) reached: u64,
    pub(crate) grown: Option<Counters>,
}

/// All phases and all comparisons.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<Entry>,
    pub(crate) checks: Vec<(String, Check)>,
}

impl Ledger {
    pub(crate) fn close(
        &mut self,
        phase: &Phase,
        outcomes: Vec<Outcome>,
        checks: Vec<Check>,
        reached: u64,
        grown: Option<Counters>,
    ) {
        self.checks.extend(checks.into_iter().map(|check| (phase.title.clone(), check)));
        self.entries.push(Entry { phase: phase.clone(), outcomes, reached, grown });
    }

    /// Comparisons that belong to no phase.
    pub(crate) fn note(&mut self, checks: Vec<Check>) {
        self.checks.extend(checks.into_iter().map(|check| ("at the end".to_owned(), check)));
    }

    pub(crate) fn holds(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|(_, check)| check.holds())
    }
}

#[cfg(test)]
mod tests {
    use super::super::traffic::{Run, What};
    use super::*;
    use vos_bench::{CallReport, LoadReport};

    fn calls(sent: u64) -> Outcome {
        let report = CallReport { calls: 1, registered: 1, succeeded: 1, datagrams: sent, ..CallReport::default() };
        Outcome {
            run: Run {
                who: "phones",
                from: &["192.0.2.10"],
                what: What::Calls { calls: 1, rate: 1 },
                fate: Fate::Served,
            },
            order: 0,
            sent,
            methods: BTreeMap::from([("REGISTER".to_owned(), sent)]),
            answer: Answer::Calls(report),
        }
    }

    fn scan(sent: u64, answered: u64) -> Outcome {
        let what = What::Load { kind: "options", rate: sent, seconds: 1 };
        Outcome {
            run: Run { who: "scanner", from: &["192.0.2.66"], what, fate: Fate::Dropped("stealth") },
            order: 1,
            sent,
            methods: BTreeMap::from([("OPTIONS".to_owned(), sent)]),
            answer: Answer::Load(LoadReport { sent, answered, ..LoadReport::default() }),
        }
    }

    fn grown(redirected: u64, stealth: u64) -> Counters {
        let reasons = [("redirected", redirected), ("stealth", stealth), ("not_ours", 2), ("kernel", 0)];
        Counters {
            mode: "relay".to_owned(),
            judged: redirected + stealth + 2,
            reasons: reasons.map(|(name, count)| (name.to_owned(), count)).into(),
            received: redirected,
            relayed: redirected,
            ..Counters::default()
        }
    }

    fn server(registers: u64) -> ServerStats {
        ServerStats {
            received: registers,
            methods: BTreeMap::from([("REGISTER".to_owned(), registers)]),
            sources: BTreeMap::from([("192.0.2.10".parse().unwrap(), registers)]),
            ..ServerStats::default()
        }
    }

    fn failing(outcomes: &[Outcome], server: &ServerStats, grown: &Counters) -> Vec<String> {
        let checks = checks(outcomes, &Expected::of(outcomes), server, &ServerStats::default(), Some(grown));
        checks.into_iter().filter(|check| !check.holds()).map(|check| check.what).collect()
    }

    #[test]
    fn exact_figures_hold() {
        assert_eq!(failing(&[calls(4), scan(100, 0)], &server(4), &grown(4, 100)), [""; 0]);
    }

    #[test]
    fn one_packet_too_few_or_too_many_fails_by_name() {
        let sent = [calls(4), scan(100, 0)];
        assert_eq!(failing(&sent, &server(4), &grown(4, 99)), ["engine: stealth"]);
        assert_eq!(
            failing(&sent, &server(4), &grown(5, 100)),
            ["engine: redirected", "engine: workers received", "engine: workers relayed"]
        );
        assert_eq!(failing(&[calls(4), scan(100, 1)], &server(4), &grown(4, 100)), ["scanner: answered"]);
        let mut leak = server(4);
        (leak.received, leak.sources) =
            (5, BTreeMap::from([("192.0.2.10".parse().unwrap(), 4), ("192.0.2.66".parse().unwrap(), 1)]));
        assert_eq!(failing(&sent, &leak, &grown(4, 100)), ["server: datagrams", "server: from 192.0.2.66"]);
    }

    #[test]
    fn a_packet_counted_twice_or_never_breaks_the_sum() {
        let mut counters = grown(4, 0);
        counters.judged += 1;
        assert_eq!(failing(&[calls(4)], &server(4), &counters), ["engine: sum of reasons"]);
    }

    #[test]
    fn without_a_relay_the_kernel_carries_what_is_served() {
        let mut counters = grown(0, 0);
        counters.mode = "filter".to_owned();
        counters.judged = 6;
        counters.reasons.insert("kernel".to_owned(), 4);
        assert_eq!(failing(&[calls(4)], &server(4), &counters), [""; 0]);
    }
}
