//! What is sent in which order, and what is written down of it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use vos_bench::junk::Mix;
use vos_bench::{Error, Result, Stop};

use super::crowd::{Crowd, Good, Sent};
use super::outcome::{Flood, Outcome, Turn};
use crate::page::page;
use crate::{cpu, to_json};

/// How much of what is sent.
#[derive(clap::Args)]
pub(crate) struct TrafficOptions {
    /// Floods: MIX[:SOURCES]@RATE, where 0 sources are a new one for each packet, and a rate of `max` is as much as can be
    /// sent
    #[arg(long = "flood", value_name = "FLOOD", value_delimiter = ',', default_values = FLOODS)]
    floods: Vec<FloodWord>,
    /// How often each has its turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rounds: usize,
    /// How long each flood lasts
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    pub(crate) seconds: f64,
    /// REGISTERs a second, of 200 phones
    #[arg(long, value_name = "N", default_value_t = 400)]
    registers: u64,
    /// Calls a second
    #[arg(long, value_name = "N", default_value_t = 20)]
    calls: u64,
    /// Keep the flood's sender, and on a veth pair the interrupts of what it sends, on this core, and all else off it, as if
    /// it were another machine; a card's interrupts are where /proc/irq/N/smp_affinity says [default: wherever they like]
    #[arg(long, value_name = "CORE")]
    pub(crate) flood_core: Option<usize>,
    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots, in one file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What is sent unless something else is asked for.
const FLOODS: [&str; 7] = [
    "scanner@50000",
    "scanner@150000",
    "scanner@max",
    "register@50000",
    "register@150000",
    "register:0@50000",
    "register:0@150000",
];

impl TrafficOptions {
    /// No flood, and then each of them.
    pub(crate) fn floods(&self) -> Vec<Option<Flood>> {
        std::iter::once(None).chain(self.floods.iter().map(|flood| Some(flood.0))).collect()
    }

    /// Writes what was asked for.
    pub(crate) fn write(&self, outcome: &Outcome) -> Result<()> {
        for (file, text) in [(&self.json, to_json(outcome)), (&self.html, page(outcome, &[]))] {
            let Some(file) = file else { continue };
            std::fs::write(file, text).map_err(Error::io(format!("write {}", file.display())))?;
        }
        Ok(())
    }
}

/// Registrations and calls of a crowd, with a flood or with none, by this set-up in this round.
pub(crate) fn turn(
    crowd: &Crowd,
    options: &TrafficOptions,
    (setup, round, flood): (&str, usize, Option<Flood>),
    stop: &Stop,
) -> Result<Turn> {
    let TrafficOptions { registers, calls, seconds, .. } = *options;
    let (busy, began) = (cpu::of_machine()?, Instant::now());
    let Sent { registers, calls, junk } = crowd.turn(Good { registers, calls, seconds }, flood, stop)?;
    // What was interrupted is no figure.
    stop.check()?;
    Ok(Turn {
        setup: setup.to_owned(),
        round,
        flood,
        junk,
        registers,
        calls,
        overflowed: 0,
        survived: None,
        busy: (cpu::of_machine()? - busy).as_secs_f64(),
        lasted: began.elapsed().as_secs_f64(),
    })
}

/// What is left to do; nothing where nobody looks.
pub(crate) fn bar(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta:>5} left  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What a turn is.
pub(crate) fn under(round: usize, setup: &str, flood: Option<Flood>) -> String {
    let what = flood.map_or("nothing".to_owned(), |flood| FloodWord(flood).to_string());
    format!("round {round}: {setup} under {what}")
}

/// A flood as it is written on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FloodWord(Flood);

impl FromStr for FloodWord {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong =
            || format!("`{text}` is no flood: write MIX[:SOURCES]@RATE, such as register:200@150000 or scanner@max");
        let (what, rate) = text.split_once('@').ok_or_else(wrong)?;
        let (mix, sources) = what.split_once(':').unwrap_or((what, "200"));
        let mix = Mix::from_str(mix, false).map_err(|error| format!("{}: {error}", wrong()))?;
        let rate = if rate == "max" { Ok(0) } else { rate.parse() };
        match (sources.parse(), rate) {
            (Ok(sources), Ok(rate)) => Ok(Self(Flood { mix, sources, rate })),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for FloodWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Flood { mix, sources, rate } = self.0;
        let mix = mix.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let rate = if rate == 0 { "max".to_owned() } else { rate.to_string() };
        write!(f, "{mix}:{sources}@{rate}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_are_read_as_they_are_written() {
        for (text, mix, sources, rate) in [
            ("scanner:200@0", Mix::Scanner, 200, 0),
            ("register:0@150000", Mix::Register, 0, 150_000),
            ("all:1@7", Mix::All, 1, 7),
        ] {
            let flood: FloodWord = text.parse().unwrap();
            assert_eq!(flood.0, Flood { mix, sources, rate });
            assert_eq!(flood.to_string().parse(), Ok(flood));
        }
        assert_eq!("scanner@max".parse::<FloodWord>().unwrap().to_string(), "scanner:200@max");
        for wrong in ["", "scanner", "scanner@", "scanner@fast", "scan@1", "scanner:x@1", "scanner:-1@1"] {
            assert!(wrong.parse::<FloodWord>().is_err(), "{wrong}");
        }
    }
}
