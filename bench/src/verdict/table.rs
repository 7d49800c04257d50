//! What is to be reached, what was, and both as a table.

use serde::Serialize;
use vos_common::verdict::Action;

use super::rows::{Expect, Row};
use super::{EMPTY, Effort, OURS};
use crate::markdown::{Section, aligned};

/// The tables' place in a README.
pub const SECTION: Section = Section("bench-verdict");

/// What came of a program on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It was not run.
    None,
    /// A packet takes so many ns.
    Ns(u64),
    /// It does with the packet what it should not; `None` if it failed. Not timed.
    Wrong(Option<Action>),
}

/// Everything that was measured, and what that means.
#[derive(Debug, Serialize)]
pub struct Report {
    rounds: u32,
    /// Of each round.
    packets: u32,
    /// The programs: the empty one, ours, others.
    programs: Vec<String>,
    rows: Vec<Line>,
    goals: Vec<Outcome>,
}

/// A row and what came of it.
#[derive(Debug, Serialize)]
pub struct Line {
    /// What it shows.
    pub frame: &'static str,
    /// What is to come of it.
    pub verdict: String,
    /// By program.
    pub cells: Vec<Cell>,
}

/// A goal and what came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    what: &'static str,
    gate: Option<f64>,
    stretch: Option<f64>,
    value: Option<f64>,
    reached: Option<Reached>,
    #[serde(skip)]
    goal: &'static Goal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reached {
    Stretch,
    Gate,
    Nothing,
    NotMeasured,
}

/// What is to be reached: at most so much.
#[derive(Debug)]
struct Goal {
    what: &'static str,
    gate: Option<f64>,
    stretch: Option<f64>,
    value: Value,
}

/// Of several rows, the worst counts.
#[derive(Debug)]
enum Value {
    /// Our time divided by that of the first other program.
    TimesOther(&'static [&'static str]),
    /// Our time on the first row divided by that on the second.
    Times(&'static str, &'static str),
    /// ns that the first of two rows takes longer than the second.
    More(&'static [[&'static str; 2]]),
    /// ns that our program takes longer than the empty one.
    MoreThanEmpty(&'static [&'static str]),
}

const fn goal(what: &'static str, gate: f64, stretch: f64, value: Value) -> Goal {
    Goal { what, gate: Some(gate), stretch: Some(stretch), value }
}

const fn gate(what: &'static str, gate: f64, value: Value) -> Goal {
    Goal { what, gate: Some(gate), stretch: None, value }
}

/// The names of rows are those in [`rows`](super::rows::rows).
static GOALS: [Goal; 15] = [
    goal("not SIP: × the other", 1.4, 1.1, Value::TimesOther(&["not SIP: RTP", "not SIP: HTTP over TCP"])),
    goal("blocked, exact address: × the other", 1.25, 1.0, Value::TimesOther(&["blocked, exact address"])),
    gate("blocked: 1 M entries, × 1 k", 1.3, Value::Times("blocked, 1 M entries", "blocked, exact address")),
    Goal {
        what: "the same, each time another address",
        gate: None,
        stretch: None,
        value: Value::Times("blocked, 1 M entries, each time another", "blocked, each time another"),
    },
    goal("OPTIONS dropped: × the other", 0.8, 0.65, Value::TimesOther(&["OPTIONS"])),
    goal(
        "garbage dropped: × the other",
        0.8,
        0.65,
        Value::TimesOther(&["garbage: a line of something else", "garbage: 400 bytes without a line end"]),
    ),
    goal("response: × the other", 1.1, 0.9, Value::TimesOther(&["response"])),
    goal(
        "verified or trusted source: × the other",
        1.5,
        1.2,
        Value::TimesOther(&["REGISTER, trusted", "INVITE, trusted", "REGISTER, verified", "INVITE, verified"]),
    ),
    goal("REGISTER, unknown source: × the other", 2.2, 1.6, Value::TimesOther(&["REGISTER, unknown"])),
    goal("INVITE, unknown source: × the other", 2.6, 2.0, Value::TimesOther(&["INVITE, unknown"])),
    goal(
        "each time another unknown source: ns more",
        180.0,
        120.0,
        Value::More(&[
            ["REGISTER, each time another unknown", "REGISTER, unknown"],
            ["INVITE, each time another unknown", "INVITE, unknown"],
        ]),
    ),
    gate("10 k prefixes: ns more", 30.0, Value::More(&[["INVITE, 10 k prefixes, one in its /24", "INVITE, unknown"]])),
    gate(
        "10 k prefixes, none in the /24: ns more",
        0.0,
        Value::More(&[["INVITE, 10 k prefixes, none in its /24", "INVITE, unknown"]]),
    ),
    gate("egress, not SIP: ns more than the empty program", 5.0, Value::MoreThanEmpty(&["egress: RTP"])),
    gate("worst packet: × an ordinary INVITE", 5.0, Value::Times("worst packet", "INVITE, unknown")),
];

/// What the tables do not say of themselves.
const EXPLANATION: &str = "\
Frames are IPv4 and whole messages; no rule lies in the source's /24 unless the name says so. Each time another: a
program in front writes a random source address into each packet; what that program costs is subtracted. A difference of
1 ns is none: the kernel tells whole ones.
";

impl Serialize for Cell {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_none(),
            Self::Ns(ns) => serializer.serialize_u64(*ns),
            Self::Wrong(done) => serializer.serialize_str(word(*done)),
        }
    }
}

fn word(done: Option<Action>) -> &'static str {
    match done {
        Some(Action::Pass) => "passes",
        Some(Action::Drop) => "drops",
        Some(Action::Redirect) => "redirects",
        None => "fails",
    }
}

fn verdict(expect: &Expect) -> String {
    match expect {
        Expect::Verdict(verdict) if verdict.action == Action::Drop => format!("drops: {}", verdict.reason.label()),
        Expect::Verdict(verdict) => word(Some(verdict.action)).to_owned(),
        Expect::Egress { copied: false } => "passes".to_owned(),
        Expect::Egress { copied: true } => "passes, copied".to_owned(),
    }
}

impl Report {
    pub(super) fn new(rows: &[Row], others: Vec<String>, cells: Vec<Vec<Cell>>, effort: Effort) -> Self {
        let programs = ["empty", "vos-fastpath"].map(str::to_owned).into_iter().chain(others).collect();
        let line = |(row, cells): (&Row, _)| Line { frame: row.name, verdict: verdict(&row.expect), cells };
        let rows = rows.iter().zip(cells).map(line).collect();
        let (rounds, packets) = (effort.rounds, effort.turn());
        let mut report = Self { rounds, packets, programs, rows, goals: Vec::new() };
        report.goals = GOALS.iter().map(|goal| report.outcome(goal)).collect();
        report
    }

    /// The rows.
    pub fn lines(&self) -> &[Line] {
        &self.rows
    }

    /// Goals and what was reached, then all times.
    pub fn markdown(&self) -> String {
        let ours = ["frame", "verdict", "empty, ns", "vos-fastpath, ns", "÷ empty"].map(str::to_owned);
        let others = self.programs[2..].iter().flat_map(|name| [format!("{name}, ns"), format!("÷ {name}")]);
        let heading = ours.into_iter().chain(others).collect();
        let line = |line: &Line| {
            let [empty, ours] = [EMPTY, OURS].map(|column| line.cells[column]);
            let own = [line.frame.to_owned(), line.verdict.clone(), empty.show(), ours.show(), quotient(ours, empty)];
            let others = line.cells[2..].iter().flat_map(|other| [other.show(), quotient(ours, *other)]);
            own.into_iter().chain(others).collect()
        };
        let table: Vec<_> = [heading].into_iter().chain(self.rows.iter().map(line)).collect();
        format!("{}\n{}\n{}", self.goals(true), aligned(&table), self.explanation())
    }

    /// What anybody can reproduce without another program: times as multiples of the empty one's.
    pub fn readme(&self) -> String {
        let heading = ["frame", "verdict", "× the empty program"].map(str::to_owned);
        let ratio = |line: &Line| quotient(line.cells[OURS], line.cells[EMPTY]);
        let line = |line: &Line| [line.frame.to_owned(), line.verdict.clone(), ratio(line)];
        let table: Vec<_> = [heading].into_iter().chain(self.rows.iter().map(line)).map(Vec::from).collect();
        format!("{}\n{}\n{}", aligned(&table), self.goals(false), self.explanation())
    }

    fn explanation(&self) -> String {
        let (rounds, packets) = (self.rounds, self.packets);
        format!("The fastest of {rounds} rounds of {packets} packets each, all in one run.\n{EXPLANATION}")
    }

    fn goals(&self, others: bool) -> String {
        let heading = ["", "gate", "stretch", "", "reached"].map(str::to_owned).to_vec();
        let shown = self.goals.iter().filter(|outcome| others || !matches!(outcome.goal.value, Value::TimesOther(_)));
        let lines = shown.map(|outcome| {
            let at_most = |number: Option<f64>| number.map_or_else(String::new, |number| format!("≤ {number}"));
            let value = outcome.value.map_or_else(|| "–".to_owned(), |value| outcome.goal.value.show(value));
            let reached = outcome.reached.map_or("", Reached::name).to_owned();
            vec![outcome.what.to_owned(), at_most(outcome.gate), at_most(outcome.stretch), value, reached]
        });
        aligned(&[heading].into_iter().chain(lines).collect::<Vec<_>>())
    }

    fn outcome(&self, goal: &'static Goal) -> Outcome {
        let value = self.value(&goal.value);
        let reached = goal.gate.map(|gate| match value {
            None => Reached::NotMeasured,
            Some(value) if goal.stretch.is_some_and(|stretch| goal.value.is_within(value, stretch)) => Reached::Stretch,
            Some(value) if goal.value.is_within(value, gate) => Reached::Gate,
            Some(_) => Reached::Nothing,
        });
        Outcome { what: goal.what, gate: goal.gate, stretch: goal.stretch, value, reached, goal }
    }

    fn ns(&self, frame: &str, column: usize) -> Option<f64> {
        match self.rows.iter().find(|line| line.frame == frame)?.cells.get(column)? {
            Cell::Ns(ns) => Some(*ns as f64),
            Cell::None | Cell::Wrong(_) => None,
        }
    }

    fn value(&self, value: &Value) -> Option<f64> {
        let ours = |frame| self.ns(frame, OURS);
        let values: Option<Vec<f64>> = match value {
            Value::TimesOther(frames) => {
                frames.iter().map(|frame| Some(ours(frame)? / self.ns(frame, OURS + 1)?)).collect()
            }
            Value::Times(above, below) => Some(vec![ours(above)? / ours(below)?]),
            Value::More(pairs) => pairs.iter().map(|[more, less]| Some(ours(more)? - ours(less)?)).collect(),
            Value::MoreThanEmpty(frames) => {
                frames.iter().map(|frame| Some(ours(frame)? - self.ns(frame, EMPTY)?)).collect()
            }
        };
        values?.into_iter().reduce(f64::max)
    }
}

impl Value {
    fn show(&self, value: f64) -> String {
        match self {
            Self::TimesOther(_) | Self::Times(..) => format!("{value:.2}"),
            Self::More(_) | Self::MoreThanEmpty(_) => format!("{value:.0}"),
        }
    }

    fn is_within(&self, value: f64, limit: f64) -> bool {
        match self {
            Self::TimesOther(_) | Self::Times(..) => value <= limit,
            // Two numbers without their fractions.
            Self::More(_) | Self::MoreThanEmpty(_) => value <= limit + 1.0,
        }
    }
}

impl Cell {
    fn show(self) -> String {
        match self {
            Self::None => "–".to_owned(),
            Self::Ns(ns) => ns.to_string(),
            Self::Wrong(done) => format!("*{}*", word(done)),
        }
    }
}

fn quotient(above: Cell, below: Cell) -> String {
    match (above, below) {
        (Cell::Ns(above), Cell::Ns(below)) if below > 0 => format!("{:.2}", above as f64 / below as f64),
        _ => "–".to_owned(),
    }
}

impl Reached {
    fn name(self) -> &'static str {
        match self {
            Self::Stretch => "stretch",
            Self::Gate => "gate",
            Self::Nothing => "**missed**",
            Self::NotMeasured => "not measured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::rows::rows;

    fn report(cell: impl Fn(&Row, usize) -> Cell) -> Report {
        let rows = rows();
        let cells = rows.iter().map(|row| (0..3).map(|column| cell(row, column)).collect()).collect();
        Report::new(&rows, vec!["other".to_owned()], cells, Effort { rounds: 1, packets: 1 })
    }

    #[test]
    fn every_goal_finds_its_rows() {
        let report = report(|_, _| Cell::Ns(30));
        for outcome in &report.goals {
            assert!(outcome.value.is_some(), "{}", outcome.what);
        }
    }

    #[test]
    fn the_worst_row_counts_and_a_wrong_verdict_reaches_nothing() {
        let times = |row: &Row, column| match (row.name, column) {
            ("not SIP: RTP", OURS) => Cell::Ns(45),
            ("OPTIONS", 2) => Cell::Wrong(Some(Action::Pass)),
            ("INVITE, 10 k prefixes, one in its /24", OURS) => Cell::Ns(61),
            ("INVITE, 10 k prefixes, none in its /24", OURS) => Cell::Ns(32),
            _ => Cell::Ns(30),
        };
        let report = report(times);
        let reached = |what: &str| {
            let outcome = report.goals.iter().find(|outcome| outcome.what.starts_with(what)).unwrap();
            (outcome.value, outcome.reached.unwrap())
        };
        assert_eq!(reached("not SIP"), (Some(1.5), Reached::Nothing));
        assert_eq!(reached("response"), (Some(1.0), Reached::Gate));
        assert_eq!(reached("verified or trusted"), (Some(1.0), Reached::Stretch));
        assert_eq!(reached("OPTIONS"), (None, Reached::NotMeasured));
        // one more is rounding, two are not
        assert_eq!(reached("10 k prefixes: ns"), (Some(31.0), Reached::Gate));
        assert_eq!(reached("10 k prefixes, none"), (Some(2.0), Reached::Nothing));
        let text = report.markdown();
        assert!(text.lines().any(|line| line.starts_with("| OPTIONS ") && line.contains("*passes*")), "{text}");
        assert!(!report.readme().contains("the other"), "{}", report.readme());
    }
}
