//! OPTIONS answered at the NIC beside OPTIONS answered by Kamailio: round trips, and the CPU time that a reply costs.
//!
//! The paths take turns, round after round, in one run on one machine, as in `rtt`. CPU time is what the scheduler has
//! counted for all threads of engine and Kamailio; what the kernel does in interrupts it counts for whoever runs then,
//! the sender as well.

use vos_bench::{Program, QUIET, Result, Stop};

use crate::demo::engine::{Engine, ProgramOptions, Programs};
use crate::demo::site::Site;
use crate::report::grouped;
use crate::rtt::{measure, median};
use crate::softswitch::kamailio;
use crate::{cores, cpu};

/// The comparison's options.
#[derive(clap::Args)]
pub(crate) struct AnswersOptions {
    #[command(flatten)]
    programs: ProgramOptions,
    /// How often each path takes its turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How long each load lasts
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Requests a second; may be given several times
    #[arg(long = "rate", value_name = "N", default_values_t = [1_000, 10_000, 40_000])]
    rates: Vec<u64>,
    /// Put sender, engine and Kamailio on this core: the one that takes the interrupt [default: wherever they like]
    #[arg(long, value_name = "CORE")]
    core: Option<usize>,
}

/// A path, and the engine's configuration; `None`: there is no engine.
const PATHS: [(&str, Option<&str>); 3] = [
    ("Kamailio", None),
    ("Kamailio, behind engine", Some("[answer]\noptions = false\n")),
    ("engine, at the NIC", Some("[answer]\noptions = true\n")),
];
/// What one load at one rate came to.
struct Turn {
    p50: f64,
    p99: f64,
    lost: u64,
    /// CPU time a reply, µs.
    engine: f64,
    kamailio: f64,
}

/// Runs it and prints the table.
pub(crate) fn run(options: &AnswersOptions, stop: &Stop) -> Result<()> {
    cores::only(options.core)?;
    let programs = options.programs.find()?;
    // One queue, one worker: what is compared is a core of it.
    let site = Site::build(1)?;
    let kamailio = kamailio(&site, "kamailio", SCRIPT, stop)?;
    let mut turns: Vec<Vec<Vec<Turn>>> =
        PATHS.iter().map(|_| options.rates.iter().map(|_| Vec::new()).collect()).collect();
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for ((_, config), row) in PATHS.iter().zip(&mut turns) {
            let engine = config.map(|config| start(&programs, &site, config, stop)).transpose()?;
            for (rate, cell) in options.rates.iter().zip(row) {
                cell.push(turn(&site, *rate, options.seconds, engine.as_ref(), &kamailio, stop)?);
            }
            if let Some(engine) = engine {
                engine.leave()?;
            }
        }
    }
    show(options, &turns);
    Ok(())
}

/// Kamailio with two processes that answer whatever they get.
const SCRIPT: &str = "children=2\nloadmodule \"sl.so\"\nrequest_route {\n  sl_send_reply(\"200\", \"OK\");\n}\n";

fn start(programs: &Programs, site: &Site, config: &str, stop: &Stop) -> Result<Engine> {
    let engine = programs.start(site, &format!("{config}{QUIET}"), &[], stop)?;
    engine.let_monitor_flood()?;
    Ok(engine)
}

fn turn(
    site: &Site,
    rate: u64,
    seconds: f64,
    engine: Option<&Engine>,
    kamailio: &Program,
    stop: &Stop,
) -> Result<Turn> {
    let used = || -> Result<[u64; 2]> {
        let engine = engine.map_or(Ok(0), |engine| cpu::of_group(engine.id()))?;
        Ok([engine, cpu::of_group(kamailio.id())?])
    };
    let before = used()?;
    let report = measure(site, rate, seconds, stop)?;
    let after = used()?;
    let [engine, kamailio] = [0, 1].map(|of| (after[of] - before[of]) as f64 / 1e3 / report.answered.max(1) as f64);
    Ok(Turn { p50: report.rtt.p50, p99: report.rtt.p99, lost: report.lost, engine, kamailio })
}

fn show(options: &AnswersOptions, turns: &[Vec<Vec<Turn>>]) {
    let place = options.core.map_or("placed by the scheduler".to_owned(), |core| format!("all on core {core}"));
    println!("replies to OPTIONS, one queue, {place}, median of {} rounds", options.rounds);
    println!(
        "  {:<24} {:>7} {:>9} {:>9} {:>10} {:>12} {:>12} {:>8} {:>6}",
        "answered by", "rate/s", "p50 µs", "p99 µs", "engine µs", "Kamailio µs", "a core, /s", "× first", "lost"
    );
    for (at, rate) in options.rates.iter().enumerate() {
        let of = |row: &[Vec<Turn>], what: fn(&Turn) -> f64| median(row[at].iter().map(what));
        let a_core = |row: &[Vec<Turn>]| 1e6 / of(row, |turn| turn.engine + turn.kamailio);
        for ((path, _), row) in PATHS.iter().zip(turns) {
            println!(
                "  {path:<24} {:>7} {:>9.1} {:>9.1} {:>10.2} {:>12.2} {:>12} {:>8.2} {:>6}",
                grouped(*rate),
                of(row, |turn| turn.p50),
                of(row, |turn| turn.p99),
                of(row, |turn| turn.engine),
                of(row, |turn| turn.kamailio),
                grouped(a_core(row) as u64),
                a_core(row) / turns.first().map_or(f64::NAN, |first| a_core(first)),
                grouped(row[at].iter().map(|turn| turn.lost).sum())
            );
        }
    }
}
