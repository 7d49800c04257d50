//! A page for people who would rather look: one file, with its plots in it, that needs nothing else.

/// What other commands have measured.
pub(crate) mod parts;
/// Plots.
mod plot;

use std::fmt::Write;

use vos_bench::junk::Mix;

use crate::machine::Machine;
use crate::report::grouped;
use crate::shield::outcome::{Flood, Outcome, Turn};
use crate::shield::table::{self, GOALS, figure, title};
use parts::Part;
use plot::{Axis, Line, Scale, plot};

const STYLE: &str = include_str!("style.css");

/// The page: good traffic under attack, then what others have measured.
pub(crate) fn page(outcome: &Outcome, parts: &[Part]) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>vos-fastpath: good traffic under attack</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Good traffic under attack</h1>\n"
    );
    text += &head(&outcome.machine, outcome);
    text += &verdict(outcome);
    if !outcome.is_remote {
        text += &goals(outcome);
    }
    let _ = write!(text, "<h2>Without a flood</h2>\n{}", html(&table::turns(outcome, None)));
    for kind in kinds(outcome) {
        text += &section(outcome, &kind);
    }
    if !outcome.is_remote {
        text += &costs(outcome);
    }
    text.extend(parts.iter().map(Part::section));
    text += &method(outcome);
    text + "</body>\n</html>\n"
}

/// Text in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn head(machine: &Machine, outcome: &Outcome) -> String {
    let Machine { kernel, cpu, cores, is_virtual, memory, version, date, command } = machine;
    let kind = if *is_virtual { "a virtual machine" } else { "a machine of its own" };
    format!(
        "<p class=\"soft\">vos-fastpath {version}, {date}: {cores} cores of {} ({kind}), {} MiB, kernel {}; behind it \
         {}. Median of {} rounds of {} s.<br><code>{}</code></p>\n",
        escape(cpu),
        grouped(*memory),
        escape(kernel),
        escape(&outcome.server),
        outcome.rounds,
        outcome.seconds,
        escape(command)
    )
}

/// What a manager wants to know: under the worst flood of each kind, how much of the good traffic came through by each way.
fn verdict(outcome: &Outcome) -> String {
    let mut text = String::new();
    for flood in kinds(outcome).iter().filter_map(|kind| kind.last()) {
        let _ = writeln!(
            text,
            "<h3>{}: good traffic answered</h3>\n<div class=\"bars\">",
            sentence(&escape(&title(Some(*flood))))
        );
        for (setup, _) in &outcome.setups {
            let worst = outcome.of(setup, Some(*flood)).map(Turn::success).min_by(f64::total_cmp);
            let Some(share) = worst.map(|share| share * 100.0) else { continue };
            let (name, said) = (escape(setup), table::percent(share));
            let _ = writeln!(
                text,
                "<div><span>{name}</span><i><b style=\"width:{share:.1}%\"></b></i><em>{said} %</em></div>"
            );
        }
        text += "</div>\n";
    }
    text
}

/// With a capital.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn goals(outcome: &Outcome) -> String {
    let mut text =
        "<h2>Goals</h2>\n<div class=\"table\"><table>\n<tr><th>goal<th>bound<th>measured<th>reached</tr>\n".to_owned();
    for goal in &GOALS {
        let Some(value) = goal.value(outcome) else { continue };
        let bound = goal.bound();
        let reached = if goal.is_reached(value) { "yes" } else { "no" };
        let _ = writeln!(
            text,
            "<tr><td>{}<td>{bound}<td>{value:.2}<td class=\"{reached}\">{reached}</tr>",
            escape(goal.what)
        );
    }
    text + "</table></div>\n"
}

/// Floods of one kind each, by rate.
fn kinds(outcome: &Outcome) -> Vec<Vec<Flood>> {
    let key = |flood: &Flood| (flood.mix, flood.sources);
    outcome.floods().chunk_by(|a, b| key(a) == key(b)).map(<[Flood]>::to_vec).collect()
}

fn section(outcome: &Outcome, floods: &[Flood]) -> String {
    let Some(fastest) = floods.last() else { return String::new() };
    let rate = |turn: &Turn| turn.junk.as_ref().map_or(0.0, |junk| junk.achieved_rate);
    let steps: Vec<Option<Flood>> = std::iter::once(None).chain(floods.iter().copied().map(Some)).collect();
    let line = |of: &dyn Fn(&Turn) -> f64| -> Vec<Line> {
        let points = |setup: &str| {
            let points = steps
                .iter()
                .filter_map(|flood| Some((figure(outcome, setup, *flood, rate)?, figure(outcome, setup, *flood, of)?)));
            points.collect::<Vec<_>>()
        };
        lines(outcome, points)
    };
    let most = floods.iter().flat_map(|flood| outcome.turns.iter().filter(move |turn| turn.flood == Some(*flood)));
    let across =
        Axis { title: "junk, packets a second", scale: Scale::Linear(most.map(rate).fold(1.0, f64::max) * 1.05) };
    let share = Axis { title: "good traffic answered, %", scale: Scale::Linear(102.0) };
    let tail = Axis { title: "p99 of a registration, µs", scale: Scale::Log };
    let curves = lines(outcome, |setup| {
        let turn = outcome.of(setup, Some(*fastest)).last();
        turn.map(|turn| turn.registers.curve.iter().map(|(share, micros)| (*micros, share * 100.0)).collect())
            .unwrap_or_default()
    });
    let time = Axis { title: "from when a registration was due to its answer, µs", scale: Scale::Log };
    let within = Axis { title: "answered within, % of those answered", scale: Scale::Linear(102.0) };
    let mut text = format!("<h2>{}</h2>\n", sentence(&escape(&fastest.kind())));
    for (svg, caption) in [
        (
            plot(&line(&|turn| turn.success() * 100.0), across, share),
            "Registrations and calls that were answered, while junk comes ever faster.",
        ),
        (
            plot(&line(&|turn| turn.registers.latency.p99), across, tail),
            "How long the slowest hundredth of the registrations waited.",
        ),
        (
            plot(&curves, time, within),
            "All of them, at the highest rate: the further left and the steeper, the better.",
        ),
    ] {
        let _ = writeln!(text, "<figure>{svg}<figcaption>{caption}</figcaption></figure>");
    }
    for flood in steps {
        let _ =
            writeln!(text, "<h3>{}</h3>\n{}", sentence(&escape(&title(flood))), html(&table::turns(outcome, flood)));
    }
    text
}

/// A line for each set-up that has points.
fn lines(outcome: &Outcome, points: impl Fn(&str) -> Vec<(f64, f64)>) -> Vec<Line> {
    let all = outcome.setups.iter().enumerate().map(|(colour, (name, _))| Line {
        name: name.clone(),
        points: points(name),
        colour,
    });
    all.filter(|line| !line.points.is_empty()).collect()
}

fn costs(outcome: &Outcome) -> String {
    let what = Flood { mix: Mix::Scanner, sources: 200, rate: 0 };
    format!(
        "<h2>What a dropped packet costs</h2>\n<p>CPU time of the whole machine for each packet of {}, which has it for \
         itself, the least of all rounds. The sender's share is in it and is the same for all: <i>drop</i> is a program that drops everything, the \
         least that is possible. <i>kernel</i> drops nothing: the server answers what it can.</p>\n{}",
        title(Some(what)),
        html(&table::costs(outcome))
    )
}

fn method(outcome: &Outcome) -> String {
    let mut text =
        "<h2>How this was measured</h2>\n<p>200 phones have registered with a password before the flood begins; then they register again at a steady \
         pace, whatever comes back (open loop), and others make calls. What is not answered is sent again after 0.5, 1.5 \
         and 3.5 s, as RFC 3261 says, and given up after 4 s. Times run from when a registration was due \
         (no coordinated omission). Shares are those of the worst round. \
         "
            .to_owned();
    text += if outcome.is_remote {
        "Each way in was a run of its own. Phones and flood share a machine, the server has another, and busy cores are the \
         senders'.</p>\n<ul>\n"
    } else {
        "The ways in took turns, round after round. Two network namespaces are joined by a veth pair: sender, phones, filter \
         and server share the cores.</p>\n<ul>\n"
    };
    for (name, what) in &outcome.setups {
        let _ = writeln!(text, "<li><b>{}</b>: {}</li>", escape(name), escape(what));
    }
    text + "</ul>\n"
}

/// A table whose first line is the heading.
fn html(table: &[Vec<String>]) -> String {
    let mut text = "<div class=\"table\"><table>\n".to_owned();
    for (at, line) in table.iter().enumerate() {
        let tag = if at == 0 { "th" } else { "td" };
        let cells: String = line.iter().map(|cell| format!("<{tag}>{}", escape(cell))).collect();
        let _ = writeln!(text, "<tr>{cells}</tr>");
    }
    text + "</table></div>\n"
}
