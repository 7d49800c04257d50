//! `vos-bench relay`: how much each path carries, and what a request costs on it.

use vos_bench::markdown::aligned;
use vos_bench::{Error, Result, Stop};

use crate::demo::engine::{Engine, ProgramOptions};
use crate::report::grouped;
use crate::rtt::{Paths, measure};
use crate::{cores, cpu, say, to_json};

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
    /// RX queues of the server's interface, each with a worker; several, to see what more of them bring
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1])]
    queues: Vec<u32>,
    /// Only paths whose names contain this
    #[arg(long, value_name = "WORD", default_value = "")]
    path: String,
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

/// Stages of a worker, and how they are shown.
const STAGES: [(&str, &str); 3] =
    [("receive", "from the ring, ns"), ("judge", "judged, ns"), ("hand_on", "handed on, ns")];

/// What a path came to.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Carried {
    path: String,
    queues: u32,
    /// The highest rate, requests a second, of which 99.9 % were answered.
    rate: u64,
    /// CPU time of a request and its answer, ns: the engine's own, and all that this machine did for it.
    engine_ns: Option<f64>,
    machine_ns: f64,
    /// What a packet took in each of [`STAGES`], by the clock, ns.
    stages_ns: [Option<f64>; STAGES.len()],
}

/// Runs it and prints the table.
pub(crate) fn run(options: &RelayOptions, stop: &Stop) -> Result<()> {
    cores::only(options.core)?;
    let programs = options.programs.find()?;
    let mut all = Vec::new();
    for &queues in &options.queues {
        let paths = Paths::open(programs.clone(), queues, options.core.is_some())?;
        for path in paths.names().filter(|name| name.contains(&options.path)) {
            eprintln!("{path}, {queues} queue(s)");
            all.push(carried(&paths, path, queues, options.seconds, stop)?);
        }
    }
    if all.is_empty() {
        return Err(Error::Other(format!("no path has `{}` in its name; without --path all are shown", options.path)));
    }
    say(&if options.json { to_json(&all) } else { aligned(&table(&all)) });
    Ok(())
}

fn carried(paths: &Paths, path: &'static str, queues: u32, seconds: f64, stop: &Stop) -> Result<Carried> {
    let engine = paths.start(path, stop)?;
    let answered = |rate| -> Result<bool> {
        let report = measure(&paths.site, rate, seconds, stop)?;
        Ok(report.answered as f64 >= report.sent as f64 * ANSWERED && report.achieved_rate >= rate as f64 * ANSWERED)
    };
    let rate = highest(answered)?;
    let usual = ((rate as f64 * USUAL) as u64).max(1);
    let own = || engine.as_ref().map(|engine| cpu::of_group(engine.id())).transpose();
    let counters = || engine.as_ref().map(Engine::counters).transpose();
    let (busy, mine, before) = (cpu::of_machine()?, own()?, counters()?);
    let report = measure(&paths.site, usual, seconds.max(2.0), stop)?;
    let requests = report.answered.max(1) as f64;
    let engine_ns = own()?.zip(mine).map(|(after, before)| (after - before) as f64 / requests);
    let machine_ns = (cpu::of_machine()? - busy).as_secs_f64() * 1e9 / requests;
    let grown = counters()?.zip(before).map(|(after, before)| after.since(&before));
    let stages_ns = STAGES.map(|(stage, _)| grown.as_ref()?.stage(stage));
    if let Some(engine) = engine {
        engine.leave()?;
    }
    Ok(Carried { path: path.to_owned(), queues, rate, engine_ns, machine_ns, stages_ns })
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

/// As it is shown.
pub(crate) fn table(all: &[Carried]) -> Vec<Vec<String>> {
    let head = ["path", "queues", "99.9 % answered up to, /s", "× first", "engine, ns", "machine, ns"];
    let mut table: Vec<Vec<String>> =
        vec![head.into_iter().chain(STAGES.map(|(_, shown)| shown)).map(str::to_owned).collect()];
    let first = all.first().map_or(f64::NAN, |first| first.rate as f64);
    let ns = |ns: Option<f64>| ns.map(|ns| grouped(ns as u64)).unwrap_or_default();
    for Carried { path, queues, rate, engine_ns, machine_ns, stages_ns } in all {
        let mut row = vec![
            path.clone(),
            queues.to_string(),
            grouped(*rate),
            format!("{:.2}", *rate as f64 / first),
            ns(*engine_ns),
            ns(Some(*machine_ns)),
        ];
        row.extend(stages_ns.map(ns));
        table.push(row);
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
