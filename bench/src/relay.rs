//! `vos-bench relay`: how much each path carries, and what a request costs on it.

use vos_bench::markdown::aligned;
use vos_bench::{Result, Stop};

use crate::demo::engine::ProgramOptions;
use crate::report::grouped;
use crate::rtt::{Paths, measure, pin};
use crate::{cpu, say, to_json};

/// The measurement's options.
#[derive(clap::Args)]
pub(crate) struct RelayOptions {
    #[command(flatten)]
    programs: ProgramOptions,
    /// How long each load lasts
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    seconds: f64,
    /// Put sender, engine and server on this core [default: wherever they like]
    #[arg(long, value_name = "CORE")]
    core: Option<usize>,
    /// RX queues of the server's interface, each with a worker
    #[arg(long, value_name = "N", default_value_t = 1)]
    queues: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The share of requests that must be answered.
const ANSWERED: f64 = 0.999;
/// The rate that the search begins with, and the highest that is tried, requests a second.
const FIRST: u64 = 4_000;
const LAST: u64 = 512_000;
/// How close the search comes: by so much may the next rate be too much.
const CLOSE: f64 = 1.05;
/// Costs are taken at this share of the highest rate, where nothing waits for long.
const USUAL: f64 = 0.7;

/// What a path came to.
#[derive(Clone, Debug, serde::Serialize)]
struct Carried {
    path: &'static str,
    /// The highest rate, requests a second, of which 99.9 % were answered.
    rate: u64,
    /// CPU time of a request and its answer, ns: the engine's own, and all that this machine did for it.
    engine_ns: Option<f64>,
    machine_ns: f64,
}

/// Runs it and prints the table.
pub(crate) fn run(options: &RelayOptions, stop: &Stop) -> Result<()> {
    pin(options.core)?;
    let paths = Paths::open(options.programs.find()?, options.queues, options.core.is_some())?;
    let mut all = Vec::new();
    for path in paths.names() {
        eprintln!("{path}");
        let engine = paths.start(path, stop)?;
        let answered = |rate| -> Result<bool> {
            let report = measure(&paths.site, rate, options.seconds, stop)?;
            Ok(report.answered as f64 >= report.sent as f64 * ANSWERED
                && report.achieved_rate >= rate as f64 * ANSWERED)
        };
        let rate = highest(answered)?;
        let usual = ((rate as f64 * USUAL) as u64).max(1);
        let own = || engine.as_ref().map(|engine| cpu::of_group(engine.id())).transpose();
        let (busy, mine) = (cpu::of_machine()?, own()?);
        let report = measure(&paths.site, usual, options.seconds.max(2.0), stop)?;
        let requests = report.answered.max(1) as f64;
        let engine_ns = own()?.zip(mine).map(|(after, before)| (after - before) as f64 / requests);
        let machine_ns = (cpu::of_machine()? - busy).as_secs_f64() * 1e9 / requests;
        all.push(Carried { path, rate, engine_ns, machine_ns });
        if let Some(engine) = engine {
            engine.leave()?;
        }
    }
    say(&if options.json { to_json(&all) } else { aligned(&table(&all)) });
    Ok(())
}

/// The highest rate for which this holds: doubled until it does not, then by halves of what is left.
fn highest(holds: impl Fn(u64) -> Result<bool>) -> Result<u64> {
    let (mut good, mut bad) = (0, None);
    let mut rate = FIRST;
    loop {
        // Once more: a machine that stood still for a moment is no limit of the path.
        if holds(rate)? || holds(rate)? {
            good = rate;
        } else {
            bad = Some(rate);
        }
        rate = match bad {
            None if rate >= LAST => return Ok(good),
            None => rate * 2,
            Some(bad) if bad as f64 <= good as f64 * CLOSE || bad - good < 100 => return Ok(good),
            Some(bad) => good.midpoint(bad),
        };
    }
}

fn table(all: &[Carried]) -> Vec<Vec<String>> {
    let head = ["path", "99.9 % answered up to, /s", "× kernel", "engine, ns", "machine, ns"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    let first = all.first().map_or(f64::NAN, |kernel| kernel.rate as f64);
    for Carried { path, rate, engine_ns, machine_ns } in all {
        table.push(vec![
            (*path).to_owned(),
            grouped(*rate),
            format!("{:.2}", *rate as f64 / first),
            engine_ns.map(|ns| grouped(ns as u64)).unwrap_or_default(),
            grouped(*machine_ns as u64),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_limit() {
        for limit in [1, 3_999, 4_000, 12_345, 100_000, 511_999] {
            let found = highest(|rate| Ok(rate <= limit)).unwrap();
            assert!(found <= limit && limit - found <= 100.max(limit / 20), "{limit}: {found}");
        }
        assert_eq!(highest(|_| Ok(true)).unwrap(), LAST);
    }
}
