//! Figures and goals, for the terminal and for a README.

use std::fmt::Write;

use vos_bench::junk::Mix;
use vos_bench::markdown::{Section, aligned};

use super::outcome::{Flood, Outcome, Turn};
use crate::report::grouped;
use crate::rtt::median;

/// The tables' place in a README.
pub(super) const SECTION: Section = Section("bench-shield");

/// A goal: what is measured of an outcome, and how large it may be.
pub(crate) struct Goal {
    /// What it says.
    pub(crate) what: &'static str,
    /// What is to be reached.
    bound: Bound,
    of: fn(&Outcome) -> Option<f64>,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// As many scanner's OPTIONS as can be sent.
const SCANNER: Flood = Flood { mix: Mix::Scanner, sources: 200, rate: 0 };
/// REGISTERs of many sources.
const REGISTERS: Flood = Flood { mix: Mix::Register, sources: 200, rate: 150_000 };
/// REGISTERs of invented sources.
const INVENTED: Flood = Flood { mix: Mix::Register, sources: 0, rate: 150_000 };

/// What is to be reached.
pub(crate) const GOALS: [Goal; 9] = [
    Goal {
        what: "scanner at the sender's maximum, filter: good traffic answered, %",
        bound: Bound::AtLeast(100.0),
        of: |outcome| success(outcome, "filter", SCANNER),
    },
    Goal {
        what: "the same: p99 × p99 without a flood",
        bound: Bound::AtMost(2.0),
        of: |outcome| Some(figure(outcome, "filter", Some(SCANNER), p99)? / figure(outcome, "filter", None, p99)?),
    },
    Goal {
        what: "150,000 REGISTERs/s of 200 sources, filter: good traffic answered, %",
        bound: Bound::AtLeast(100.0),
        of: |outcome| success(outcome, "filter", REGISTERS),
    },
    Goal {
        what: "the same: p95 × p95 of iptables",
        bound: Bound::AtMost(1.0),
        of: |outcome| {
            let p95 = |turn: &Turn| turn.registers.latency.p95;
            Some(figure(outcome, "filter", Some(REGISTERS), p95)? / figure(outcome, "iptables", Some(REGISTERS), p95)?)
        },
    },
    Goal {
        what: "150,000 REGISTERs/s of invented sources, filter in attack mode: verified phones answered, %",
        bound: Bound::AtLeast(99.9),
        of: |outcome| success(outcome, "filter-attack", INVENTED),
    },
    Goal {
        what: "the same, relay in attack mode",
        bound: Bound::AtLeast(99.9),
        of: |outcome| success(outcome, "relay-attack", INVENTED),
    },
    Goal {
        what: "CPU of a dropped packet, filter × dropping everything",
        bound: Bound::AtMost(1.1),
        of: |outcome| Some(cost(outcome, "filter")? / cost(outcome, "drop")?),
    },
    Goal {
        what: "CPU of a dropped packet, filter × iptables",
        bound: Bound::AtMost(0.5),
        of: |outcome| Some(cost(outcome, "filter")? / cost(outcome, "iptables")?),
    },
    Goal {
        what: "scanner at the sender's maximum: p50 of the relay × p50 of the kernel",
        bound: Bound::AtMost(0.75),
        of: |outcome| {
            let p50 = |turn: &Turn| turn.registers.latency.p50;
            Some(figure(outcome, "relay", Some(SCANNER), p50)? / figure(outcome, "kernel", Some(SCANNER), p50)?)
        },
    },
];

impl Goal {
    /// What came of it; `None`: what it wants was not measured.
    pub(crate) fn value(&self, outcome: &Outcome) -> Option<f64> {
        (self.of)(outcome).filter(|value| value.is_finite())
    }

    /// The same of each round: the least and the most.
    pub(crate) fn spread(&self, outcome: &Outcome) -> Option<(f64, f64)> {
        let values = || (1..=outcome.rounds).filter_map(|round| self.value(&outcome.round(round)));
        values().min_by(f64::total_cmp).zip(values().max_by(f64::total_cmp))
    }

    /// What is to be reached, as one writes it.
    pub(crate) fn bound(&self) -> String {
        match self.bound {
            Bound::AtLeast(bound) => format!("≥ {bound}"),
            Bound::AtMost(bound) => format!("≤ {bound}"),
        }
    }

    /// Was it reached?
    pub(crate) fn is_reached(&self, value: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }
}

fn p99(turn: &Turn) -> f64 {
    turn.registers.latency.p99
}

/// The median over the rounds.
pub(crate) fn figure(outcome: &Outcome, setup: &str, flood: Option<Flood>, of: impl Fn(&Turn) -> f64) -> Option<f64> {
    Some(median(outcome.of(setup, flood).map(of))).filter(|figure| figure.is_finite())
}

/// Of the worst round, %.
fn success(outcome: &Outcome, setup: &str, flood: Flood) -> Option<f64> {
    outcome.of(setup, Some(flood)).map(|turn| turn.success() * 100.0).min_by(f64::total_cmp)
}

/// The least of the rounds, ns: a host that is busy makes it more, nothing makes it less.
pub(crate) fn cost(outcome: &Outcome, setup: &str) -> Option<f64> {
    let costs = outcome.costs.iter().filter(|cost| cost.setup == setup).map(super::outcome::Cost::ns);
    costs.min_by(f64::total_cmp).filter(|cost| cost.is_finite())
}

/// Everything as Markdown tables.
pub(crate) fn text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for flood in std::iter::once(None).chain(outcome.floods().into_iter().map(Some)) {
        let _ = writeln!(text, "**{}**\n\n{}", title(flood), aligned(&turns(outcome, flood)));
    }
    if !outcome.is_remote {
        let _ = writeln!(
            text,
            "**CPU of a packet that is dropped, the sender's share included**\n\n{}",
            aligned(&costs(outcome))
        );
        text += &aligned(&goals(outcome));
    }
    text
}

/// What a flood is called.
pub(crate) fn title(flood: Option<Flood>) -> String {
    match flood {
        None => "no flood".to_owned(),
        Some(flood) if flood.rate == 0 => format!("{}, as many as can be sent", flood.kind()),
        Some(flood) => format!("{}, {}/s", flood.kind(), grouped(flood.rate)),
    }
}

/// A flood, by set-up.
pub(crate) fn turns(outcome: &Outcome, flood: Option<Flood>) -> Vec<Vec<String>> {
    let head = [
        "way in",
        "flood/s",
        "REGISTERs answered, %",
        "calls made, %",
        "sent again, %",
        "p50, µs",
        "p99, µs",
        "cores busy",
    ];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (setup, _) in &outcome.setups {
        let of = |of: fn(&Turn) -> f64| figure(outcome, setup, flood, of);
        let Some(p50) = of(|turn| turn.registers.latency.p50) else { continue };
        let share = |part: u64, all: u64| part as f64 * 100.0 / all.max(1) as f64;
        let worst = |of: &dyn Fn(&Turn) -> f64| outcome.of(setup, flood).map(of).fold(f64::INFINITY, f64::min);
        let sent = of(|turn| turn.junk.as_ref().map_or(0.0, |junk| junk.achieved_rate)).unwrap_or(0.0);
        table.push(vec![
            setup.clone(),
            grouped(sent as u64),
            percent(worst(&|turn| share(turn.registers.answered, turn.registers.sent))),
            percent(worst(&|turn| share(turn.calls.succeeded, turn.calls.calls))),
            format!("{:.1}", of(again).unwrap_or(f64::NAN)),
            format!("{p50:.0}"),
            format!("{:.0}", of(p99).unwrap_or(f64::NAN)),
            format!("{:.2}", of(|turn| turn.busy / turn.lasted).unwrap_or(f64::NAN)),
        ]);
    }
    table
}

/// Messages that had to be sent again, of all that good traffic sent at first, %.
fn again(turn: &Turn) -> f64 {
    let again = turn.registers.retransmissions + turn.calls.retransmissions;
    let first = turn.registers.sent + turn.calls.datagrams - turn.calls.retransmissions;
    again as f64 * 100.0 / first.max(1) as f64
}

/// A share, %: 99.96 is not 100.
pub(crate) fn percent(share: f64) -> String {
    if share >= 100.0 { "100".to_owned() } else { format!("{:.1}", (share * 10.0).floor() / 10.0) }
}

/// What a dropped packet costs, by set-up.
pub(crate) fn costs(outcome: &Outcome) -> Vec<Vec<String>> {
    let mut table = vec![["way in", "packets/s", "ns", "× dropping everything"].map(str::to_owned).to_vec()];
    let least = cost(outcome, "drop");
    for (setup, _) in &outcome.setups {
        let Some(ns) = cost(outcome, setup) else { continue };
        let rate = median(outcome.costs.iter().filter(|cost| cost.setup == *setup).map(|cost| cost.junk.achieved_rate));
        let ratio = least.map(|least| format!("{:.2}", ns / least)).unwrap_or_default();
        table.push(vec![setup.clone(), grouped(rate as u64), format!("{ns:.0}"), ratio]);
    }
    table
}

fn goals(outcome: &Outcome) -> Vec<Vec<String>> {
    let mut table = vec![["goal", "bound", "measured", "rounds", "reached"].map(str::to_owned).to_vec()];
    for goal in &GOALS {
        let Some((value, (least, most))) = goal.value(outcome).zip(goal.spread(outcome)) else { continue };
        let reached = if goal.is_reached(value) { "yes" } else { "**no**" };
        let cells = [goal.what, &goal.bound(), &format!("{value:.2}"), &format!("{least:.2} to {most:.2}"), reached];
        table.push(cells.map(str::to_owned).to_vec());
    }
    table
}

/// What a README shows: each way in under each flood, what a dropped packet costs, the goals.
pub(crate) fn readme(outcome: &Outcome) -> String {
    let floods: Vec<_> = std::iter::once(None).chain(outcome.floods().into_iter().map(Some)).collect();
    let mut table = vec![vec!["good traffic answered, %; p50, p99 in ms".to_owned()]];
    table[0].extend(floods.iter().map(|flood| title(*flood)));
    for (setup, _) in &outcome.setups {
        let cell = |flood: &Option<Flood>| {
            let of = |of: fn(&Turn) -> f64| figure(outcome, setup, *flood, of);
            let answered = outcome.of(setup, *flood).map(|turn| turn.success() * 100.0).min_by(f64::total_cmp)?;
            let (p50, p99) = (of(|turn| turn.registers.latency.p50)?, of(p99)?);
            Some(format!("{}; {:.1}, {:.1}", percent(answered), p50 / 1e3, p99 / 1e3))
        };
        let Some(cells) = floods.iter().map(cell).collect::<Option<Vec<_>>>() else { continue };
        table.push([vec![setup.clone()], cells].concat());
    }
    [table, costs(outcome), goals(outcome)].map(|table| aligned(&table)).join("\n")
}
