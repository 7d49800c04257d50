use std::path::{Path, PathBuf};

use serde::Serialize;
use vos_bench::markdown::{Section, aligned};

use super::SAMPLE;
use crate::report::grouped;

/// What a program was compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Build {
    /// Any x86-64: SSE2. Some libraries look for more when they run: httparse and memchr (rsip) do.
    Baseline,
    /// x86-64-v3: AVX2
    V3,
    /// As the distribution has built it.
    Foreign,
}

/// What was measured of one parser in one build.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) parser: String,
    pub(super) build: Build,
    #[serde(skip)]
    pub(super) program: PathBuf,
    /// The fastest call for each message; `None` if there is none for it, or it refuses it.
    pub(super) nanoseconds: Vec<Option<f64>>,
    /// Of a call for [`SAMPLE`].
    pub(super) instructions: Option<f64>,
    /// Of a call, on average over all messages.
    pub(super) allocations: Option<f64>,
}

/// Everything that was measured, and what that means.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    messages: Vec<String>,
    rounds: u32,
    turn_us: u32,
    builds: Vec<Build>,
    goals: Vec<Outcome>,
    figures: Vec<Figures>,
}

/// A row and what came of it.
#[derive(Debug, Serialize)]
struct Outcome {
    what: &'static str,
    goal: Option<Goal>,
    /// In the order of the builds.
    values: Vec<Option<f64>>,
    #[serde(skip)]
    shown: Vec<String>,
    /// By all builds.
    reached: Option<Reached>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reached {
    Stretch,
    Gate,
    Nothing,
    NotMeasured,
}

/// What is measured, and what is to be reached.
struct Row {
    what: &'static str,
    goal: Option<Goal>,
    value: Value,
}

enum Value {
    /// Of the times of two parsers.
    Ratio(&'static str, &'static str),
    Instructions(&'static str),
    /// The most that any of ours makes.
    Allocations,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Goal {
    /// The gate and the stretch.
    AtMost(f64, f64),
    AtLeast(f64, f64),
}

const ROWS: [Row; 13] = [
    Row {
        what: "index: time / httparse on the HTTP twin",
        goal: Some(Goal::AtMost(1.5, 1.1)),
        value: Value::Ratio("index", "httparse"),
    },
    Row {
        what: "core: time / httparse on the HTTP twin",
        goal: Some(Goal::AtMost(3.0, 2.0)),
        value: Value::Ratio("core-lenient", "httparse"),
    },
    Row {
        what: "core: times as fast as rsip, full",
        goal: Some(Goal::AtLeast(4.0, 6.0)),
        value: Value::Ratio("rsip-full", "core-lenient"),
    },
    Row {
        what: "core: times as fast as rsip, core",
        goal: Some(Goal::AtLeast(8.0, 12.0)),
        value: Value::Ratio("rsip-core", "core-lenient"),
    },
    Row {
        what: "core: times as fast as osip2",
        goal: Some(Goal::AtLeast(7.0, 11.0)),
        value: Value::Ratio("osip2", "core-lenient"),
    },
    Row {
        what: "core: times as fast as sofia-sip",
        goal: Some(Goal::AtLeast(4.5, 6.5)),
        value: Value::Ratio("sofia-sip", "core-lenient"),
    },
    Row {
        what: "core: instructions on bench/invite.sip",
        goal: Some(Goal::AtMost(9_000.0, 7_000.0)),
        value: Value::Instructions("core-lenient"),
    },
    Row {
        what: "strict: instructions on bench/invite.sip",
        goal: Some(Goal::AtMost(12_000.0, 9_000.0)),
        value: Value::Instructions("core-strict"),
    },
    Row { what: "allocations, any of these", goal: Some(Goal::AtMost(0.0, 0.0)), value: Value::Allocations },
    Row { what: "strict: time / core", goal: None, value: Value::Ratio("core-strict", "core-lenient") },
    Row { what: "lazy: time / core", goal: None, value: Value::Ratio("lazy", "core-lenient") },
    Row {
        what: "lazy: times as fast as Kamailio's parse_msg",
        goal: None,
        value: Value::Ratio("kamailio-lazy", "lazy"),
    },
    Row {
        what: "core: times as fast as Kamailio, the same decoded",
        goal: None,
        value: Value::Ratio("kamailio-core", "core-lenient"),
    },
];

/// How a table calls the parsers; ours come first.
const LABELS: [(&str, &str); OURS + 8] = [
    ("index", "sip-parse, index"),
    ("core-lenient", "sip-parse, core"),
    ("core-strict", "sip-parse, strict"),
    ("lazy", "sip-parse, lazy"),
    ("httparse", "httparse"),
    ("httparse-uninit", "httparse, array not initialised"),
    ("rsip-full", "rsip, full"),
    ("rsip-core", "rsip, core"),
    ("osip2", "osip2"),
    ("sofia-sip", "sofia-sip"),
    ("kamailio-lazy", "Kamailio, parse_msg"),
    ("kamailio-core", "Kamailio, core"),
];

const OURS: usize = 4;

/// What the tables do not say of themselves.
const EXPLANATION: &str = "\
Index: lines found; start line, names and Content-Length judged. Core: index, then Request-URI, top Via, From, To,
Call-ID and CSeq decoded; lenient unless it says strict. Strict: core, and every known header held against its grammar.
Lazy: index, start line, top Via, Call-ID and CSeq. rsip, core: its message, then the same headers typed. osip2 and
sofia-sip: the whole message, which they always decode, and its release. httparse: Request or Response with a new array
of 64 headers for each message, as its documentation has it; it finds AVX2 when it runs, in both columns. Ratios are
geometric means over the messages that both parsers take. Nanoseconds differ from machine to machine, and on a virtual
one from day to day; the same message comes again and again, so caches and branch prediction are warm for all.
";

/// The tables' place in a README.
pub(super) const SECTION: Section = Section("bench-parse");

impl Build {
    fn name(self) -> &'static str {
        match self {
            Self::Baseline => "x86-64 (SSE2)",
            Self::V3 => "x86-64-v3 (AVX2)",
            Self::Foreign => "Debian's",
        }
    }
}

impl Figures {
    pub(super) fn new(parser: &str, build: Build, program: &Path, messages: usize) -> Self {
        Self {
            parser: parser.to_owned(),
            build,
            program: program.to_owned(),
            nanoseconds: vec![None; messages],
            instructions: None,
            allocations: None,
        }
    }

    /// Keeps a time if it is the shortest so far.
    pub(super) fn note(&mut self, message: usize, nanoseconds: Option<f64>) {
        let fastest = &mut self.nanoseconds[message];
        *fastest = fastest.iter().copied().chain(nanoseconds).reduce(f64::min);
    }

    fn taken(&self) -> usize {
        self.nanoseconds.iter().flatten().count()
    }

    fn is_ours(&self) -> bool {
        LABELS[..OURS].iter().any(|(parser, _)| *parser == self.parser)
    }

    fn label(&self) -> &str {
        LABELS.iter().find(|(parser, _)| *parser == self.parser).map_or(&self.parser, |(_, label)| label)
    }
}

impl Report {
    pub(super) fn new(messages: Vec<String>, rounds: u32, turn_us: u32, figures: Vec<Figures>) -> Self {
        let mut builds = vec![Build::Baseline, Build::V3];
        builds.retain(|build| figures.iter().any(|figures| figures.build == *build));
        let mut report = Self { messages, rounds, turn_us, builds, goals: Vec::new(), figures };
        report.goals = ROWS.iter().map(|row| report.outcome(row)).collect();
        // Kamailio's parser is not in the tree: its rows appear where somebody has it.
        report.goals.retain(|outcome| outcome.goal.is_some() || outcome.values.iter().any(Option::is_some));
        report
    }

    /// Goals and what was reached, then the figures behind that.
    pub(super) fn markdown(&self) -> String {
        format!(
            "{}\n{}\nThe fastest call in {} turns of {} µs for each parser and message, all in one run.\n{EXPLANATION}",
            aligned(&self.goals()),
            aligned(&self.sample()),
            self.rounds,
            grouped(self.turn_us.into())
        )
    }

    fn goals(&self) -> Vec<Vec<String>> {
        let builds = self.builds.iter().map(|build| build.name());
        let heading = ["", "gate", "stretch"].into_iter().chain(builds).chain(["reached"]);
        let lines = self.goals.iter().map(|outcome| {
            let goal = outcome.goal.map_or_else(Default::default, Goal::words);
            let reached = outcome.reached.map_or("", Reached::name).to_owned();
            let line = [outcome.what.to_owned()].into_iter().chain(goal).chain(outcome.shown.iter().cloned());
            line.chain([reached]).collect()
        });
        [heading.map(str::to_owned).collect()].into_iter().chain(lines).collect()
    }

    /// One message: what a call takes.
    fn sample(&self) -> Vec<Vec<String>> {
        let sample = self.messages.iter().position(|message| message == SAMPLE);
        let column = |what: &'static str| self.builds.iter().map(move |build| format!("{what}, {}", build.name()));
        let heading = [format!("{SAMPLE}.sip")].into_iter().chain(column("ns")).chain(column("instructions"));
        let heading = heading.chain(["allocations, mean of all", "messages taken"].map(str::to_owned));
        let lines = self.figures.iter().filter(|figures| figures.build != Build::V3).map(|figures| {
            let builds = || self.builds.iter().filter_map(|build| self.find(&figures.parser, *build));
            [figures.label().to_owned()]
                .into_iter()
                .chain(builds().map(|figures| or_dash(sample.and_then(|at| figures.nanoseconds[at]))))
                .chain(builds().map(|figures| or_dash(figures.instructions)))
                .chain([or_dash(figures.allocations), figures.taken().to_string()])
                .collect()
        });
        [heading.collect()].into_iter().chain(lines).collect()
    }

    fn outcome(&self, row: &Row) -> Outcome {
        let values: Vec<_> = self.builds.iter().map(|build| self.value(&row.value, *build)).collect();
        let shown = values.iter().map(|value| value.map_or_else(|| "–".to_owned(), |value| row.value.show(value)));
        let shown = shown.collect();
        let reached = row.goal.map(|goal| goal.reached(&values));
        Outcome { what: row.what, goal: row.goal, values, shown, reached }
    }

    fn find(&self, parser: &str, build: Build) -> Option<&Figures> {
        let is = |figures: &&Figures| figures.parser == parser && [build, Build::Foreign].contains(&figures.build);
        self.figures.iter().find(is)
    }

    fn value(&self, value: &Value, build: Build) -> Option<f64> {
        match value {
            Value::Ratio(above, below) => ratio(self.find(above, build)?, self.find(below, build)?),
            Value::Instructions(parser) => self.find(parser, build)?.instructions,
            Value::Allocations => self
                .figures
                .iter()
                .filter(|figures| figures.is_ours())
                .filter_map(|figures| figures.allocations)
                .reduce(f64::max),
        }
    }
}

/// The geometric mean of the ratios of two parsers' times over the messages that both take.
fn ratio(above: &Figures, below: &Figures) -> Option<f64> {
    let pairs = above.nanoseconds.iter().zip(&below.nanoseconds);
    let logs: Vec<_> = pairs.filter_map(|(above, below)| Some(((*above)? / (*below)?).ln())).collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

impl Value {
    fn show(&self, value: f64) -> String {
        match self {
            Self::Ratio(..) => format!("{value:.2}"),
            // Up: a rounded zero would hide the one that is made every third call.
            Self::Instructions(_) | Self::Allocations => grouped(value.ceil() as u64),
        }
    }
}

impl Goal {
    fn words(self) -> [String; 2] {
        let show = |number: f64| if number < 100.0 { number.to_string() } else { grouped(number as u64) };
        match self {
            Self::AtMost(gate, stretch) => [gate, stretch].map(|number| format!("≤ {}", show(number))),
            Self::AtLeast(gate, stretch) => [gate, stretch].map(|number| format!("≥ {}", show(number))),
        }
    }

    fn reached(self, values: &[Option<f64>]) -> Reached {
        let Some(values) = values.iter().copied().collect::<Option<Vec<f64>>>() else { return Reached::NotMeasured };
        let (Self::AtMost(gate, stretch) | Self::AtLeast(gate, stretch)) = self;
        let all = |goal: f64| match self {
            Self::AtMost(..) => values.iter().all(|value| *value <= goal),
            Self::AtLeast(..) => values.iter().all(|value| *value >= goal),
        };
        match (all(gate), all(stretch)) {
            (true, true) => Reached::Stretch,
            (true, false) => Reached::Gate,
            (false, _) => Reached::Nothing,
        }
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

fn or_dash(number: Option<f64>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| grouped(number.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(parser: &str, build: Build, nanoseconds: &[Option<f64>]) -> Figures {
        Figures { nanoseconds: nanoseconds.to_vec(), ..Figures::new(parser, build, Path::new("vos-bench"), 0) }
    }

    #[test]
    fn the_shortest_time_is_kept() {
        let mut figures = figures("lazy", Build::Baseline, &[None, None]);
        [3.0, 2.0, 4.0].into_iter().for_each(|time| figures.note(1, Some(time)));
        figures.note(1, None);
        assert_eq!(figures.nanoseconds, [None, Some(2.0)]);
        assert_eq!(figures.taken(), 1);
    }

    #[test]
    fn a_ratio_is_over_what_both_take_and_no_message_outweighs_another() {
        let slow = figures("osip2", Build::Foreign, &[Some(200.0), Some(80_000.0), Some(1.0)]);
        let fast = figures("core-lenient", Build::Baseline, &[Some(100.0), Some(10_000.0), None]);
        assert!((ratio(&slow, &fast).unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(ratio(&slow, &figures("lazy", Build::Baseline, &[None, None, None])), None);
    }

    #[test]
    fn a_goal_is_reached_if_every_build_reaches_it() {
        let reached = |goal: Goal, values: &[f64]| goal.reached(&values.iter().copied().map(Some).collect::<Vec<_>>());
        let goal = Goal::AtMost(3.0, 2.0);
        assert_eq!(reached(goal, &[2.0, 1.0]), Reached::Stretch);
        assert_eq!(reached(goal, &[2.1, 1.0]), Reached::Gate);
        assert_eq!(reached(goal, &[1.0, 3.1]), Reached::Nothing);
        assert_eq!(reached(Goal::AtLeast(4.0, 6.0), &[5.0]), Reached::Gate);
        assert_eq!(goal.reached(&[Some(1.0), None]), Reached::NotMeasured);
    }

    #[test]
    fn each_cell_stands_under_its_heading() {
        let ours = figures("core-lenient", Build::Baseline, &[Some(300.0)]);
        let osip = figures("osip2", Build::Foreign, &[Some(3000.0)]);
        let text = Report::new(vec![SAMPLE.to_owned()], 1, 1000, vec![ours, osip]).markdown();
        let row = text.lines().find(|line| line.contains("osip2")).unwrap();
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        assert_eq!(cells, ["", "core: times as fast as osip2", "≥ 7", "≥ 11", "10.00", "gate", ""]);
        let widths: Vec<_> =
            text.lines().take_while(|line| !line.is_empty()).map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        assert!(!text.contains("Kamailio"), "{text}");
    }
}
