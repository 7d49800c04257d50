//! Good traffic under attack, by each way in, side by side.
//!
//! Phones that have shown their password register again and make calls, while a flood is sent past them. The set-ups take
//! turns, round after round, in one run on one machine: what the machine does meanwhile hits all of them alike.

/// A site with its server and its phones.
pub(crate) mod ground;
/// What came of it.
pub(crate) mod outcome;
/// Who answers.
pub(crate) mod server;
/// What stands in between.
mod setup;
/// Figures and goals.
pub(crate) mod table;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use vos_bench::junk::Mix;
use vos_bench::{CallReport, Error, JunkReport, LoadReport, QUIET, Result, Stop};

use crate::demo::engine::ProgramOptions;
use crate::machine::Machine;
use crate::page::page;
use crate::{cores, cpu, to_json};
use ground::{Ground, PHONES};
use outcome::{Cost, Flood, Outcome, Turn};
use server::ServerOptions;
use setup::{Held, Setup};

/// The comparison's options.
#[derive(clap::Args)]
pub(crate) struct ShieldOptions {
    #[command(flatten)]
    programs: ProgramOptions,
    /// The engine's profile
    #[arg(long, value_name = "NAME|FILE", default_value = "vos3000")]
    profile: String,
    /// What is compared: kernel, iptables, nftables, filter, relay; also relay-needed, relay-busy, relay-raw, and
    /// filter-attack and relay-attack, which are in attack mode
    #[arg(long = "setup", value_name = "NAME", value_delimiter = ',',
        default_values_t = ["kernel", "iptables", "nftables", "filter", "filter-attack", "relay", "relay-attack"].map(str::to_owned))]
    setups: Vec<String>,
    /// Another XDP program, with its maps empty; may be given several times
    #[arg(long = "xdp", value_name = "NAME=FILE", value_parser = crate::measure::object)]
    objects: Vec<(String, PathBuf)>,
    /// Floods: MIX[:SOURCES]@RATE, where 0 sources are a new one for each packet, and a rate of `max` is as much as can be
    /// sent
    #[arg(long = "flood", value_name = "FLOOD", value_delimiter = ',',
        default_values = FLOODS)]
    floods: Vec<FloodWord>,
    /// How often each set-up takes its turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How long each flood lasts
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// REGISTERs a second, of 200 phones
    #[arg(long, value_name = "N", default_value_t = 400)]
    registers: u64,
    /// Calls a second
    #[arg(long, value_name = "N", default_value_t = 20)]
    calls: u64,
    #[command(flatten)]
    server: ServerOptions,
    /// Keep the flood's sender, and the interrupts of what it sends, on this core, and all else off it, as if it were another
    /// machine [default: wherever they like]
    #[arg(long, value_name = "CORE")]
    flood_core: Option<usize>,
    /// RX queues of the server's interface, each with a worker
    #[arg(long, value_name = "N", default_value_t = 2)]
    queues: u32,
    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots, in one file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Renew the tables between the markers of this file
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
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
/// How long phones repeat a request before they give up, seconds: four sendings. RFC 3261 says 32 s.
const PATIENCE: f64 = 4.0;
/// No flood lasts longer, seconds: it ends with the good traffic.
const LONGEST: f64 = 1e5;
/// Good packets beside those that are counted: challenges of all phones with their retransmissions, ARP.
const SPARE: u64 = 10 * PHONES as u64;

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

/// Runs it and prints the tables.
pub(crate) fn run(options: &ShieldOptions, stop: &Stop) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    // What would fail at the end fails here.
    options.readme.as_deref().map(|readme| table::SECTION.find(readme)).transpose()?;
    let programs = options.programs.find()?;
    let toml = format!("profile = \"{}\"\n{QUIET}", options.profile);
    let mut setups: Vec<Setup> = options.setups.iter().map(|name| Setup::of(name)).collect::<Result<_>>()?;
    setups.extend(options.objects.iter().map(|(name, file)| Setup::object(name, file)));
    cores::all_but(options.flood_core)?;
    let ground = Ground::build(&options.server, options.queues, options.flood_core, stop)?;
    let bench = Bench { options, ground };
    let floods: Vec<Option<Flood>> =
        std::iter::once(None).chain(options.floods.iter().map(|flood| Some(flood.0))).collect();
    let costs = [vec![Setup::of("drop")?], setups.clone()].concat();
    let bar = bar(options.rounds * (setups.len() * floods.len() + costs.len()));
    let (mut turns, mut prices) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        for setup in setups.iter().filter(|setup| setup.passes()) {
            let held = setup.hold(&bench.ground.site, &programs, &toml, stop)?;
            for flood in &floods {
                let what = flood.map_or("nothing".to_owned(), |flood| FloodWord(flood).to_string());
                bar.set_message(format!("round {round}: {} under {what}", setup.name));
                turns.push(bench.turn(&setup.name, &held, round, *flood, stop)?);
                bar.inc(1);
            }
            held.leave()?;
        }
        for setup in &costs {
            bar.set_message(format!("round {round}: cost of a packet, {}", setup.name));
            let held = setup.hold(&bench.ground.site, &programs, &toml, stop)?;
            prices.push(bench.cost(&setup.name, round, stop)?);
            held.leave()?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let outcome = Outcome {
        machine: Machine::here(),
        server: format!("{:?}", options.server.kind),
        rounds: options.rounds,
        seconds: options.seconds,
        setups: costs.into_iter().map(|setup| (setup.name, setup.what)).collect(),
        turns,
        costs: prices,
    };
    for (file, text) in [(&options.json, to_json(&outcome)), (&options.html, page(&outcome, &[]))] {
        let Some(file) = file else { continue };
        std::fs::write(file, text).map_err(Error::io(format!("write {}", file.display())))?;
    }
    if let Some(readme) = &options.readme {
        table::SECTION.renew(readme, &table::readme(&outcome))?;
    }
    crate::say(&table::text(&outcome));
    Ok(())
}

/// What is left to do; nothing where nobody looks.
fn bar(steps: usize) -> ProgressBar {
    let bar = ProgressBar::new(steps as u64);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta:>5} left  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// What the turns are taken on.
struct Bench<'a> {
    options: &'a ShieldOptions,
    ground: Ground,
}

impl Bench<'_> {
    /// Registrations and calls, with this flood or with none.
    fn turn(&self, setup: &str, held: &Held<'_>, round: usize, flood: Option<Flood>, stop: &Stop) -> Result<Turn> {
        let before = held.survivors()?;
        let (busy, overflowed, began) = (cpu::of_machine()?, self.ground.site.overflowed()?, Instant::now());
        let (known, over) = (AtomicBool::new(false), Stop::never());
        let (registers, calls, junk) = std::thread::scope(|scope| {
            let calls = scope.spawn(|| self.calls(&known, stop));
            let junk = scope.spawn(|| flood.map(|flood| self.junk(flood, &known, &over)).transpose());
            let registers = self.registers(&known, stop);
            // Whoever waits for it must not wait for ever.
            known.store(true, Ordering::Relaxed);
            let calls = joined(calls);
            // The flood outlasts all that is sent again.
            over.set();
            (registers, calls, joined(junk))
        });
        let (registers, calls) = (registers?, calls?);
        let survived = held.survivors()?.zip(before).map(|(after, before)| after - before);
        // Of these nothing may come through; a filter that lets them is not measured.
        let nothing = flood.is_some_and(|flood| matches!(flood.mix, Mix::Scanner | Mix::Options | Mix::Malformed));
        let good = registers.sent + registers.retransmissions + calls.datagrams + SPARE;
        if let Some(survived) = survived.filter(|survived| nothing && *survived > good) {
            return Err(Error::Other(format!(
                "{setup} let {survived} packets through where {good} at most were good: a wrong verdict is not measured"
            )));
        }
        Ok(Turn {
            setup: setup.to_owned(),
            survived,
            round,
            flood,
            junk: junk?,
            registers,
            calls,
            overflowed: self.ground.site.overflowed()? - overflowed,
            busy: (cpu::of_machine()? - busy).as_secs_f64(),
            lasted: began.elapsed().as_secs_f64(),
        })
    }

    /// What all of them drop, as much of it as can be sent, and nothing else.
    fn cost(&self, setup: &str, round: usize, stop: &Stop) -> Result<Cost> {
        let busy = cpu::of_machine()?;
        let flood = Flood { mix: Mix::Scanner, sources: 200, rate: 0 };
        let junk = self.ground.junk(flood, self.options.seconds, stop)?;
        let busy = (cpu::of_machine()? - busy).as_secs_f64();
        Ok(Cost { setup: setup.to_owned(), round, junk, busy })
    }

    fn registers(&self, known: &AtomicBool, stop: &Stop) -> Result<LoadReport> {
        let (rate, seconds) = (self.options.registers, self.options.seconds);
        self.ground.registers(rate, seconds, PATIENCE, stop, || known.store(true, Ordering::Relaxed))
    }

    fn calls(&self, known: &AtomicBool, stop: &Stop) -> Result<CallReport> {
        wait_for(known, stop)?;
        self.ground.calls(self.options.calls, self.options.seconds, PATIENCE, stop)
    }

    /// Until `over`.
    fn junk(&self, flood: Flood, known: &AtomicBool, over: &Stop) -> Result<JunkReport> {
        wait_for(known, over)?;
        self.ground.junk(flood, LONGEST, over)
    }
}

fn wait_for(known: &AtomicBool, stop: &Stop) -> Result<()> {
    while !known.load(Ordering::Relaxed) {
        stop.check()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
