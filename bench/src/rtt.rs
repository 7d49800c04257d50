//! Round trips by each path, side by side: the plain kernel, the filter alone, the relay in each of its modes.
//!
//! The paths take turns, round after round, in one run on one machine: what the machine does meanwhile hits all of
//! them alike. What is shown of each is the median over the rounds.

use std::path::PathBuf;

use vos_bench::{Error, Kind, Listen, LoadOptions, LoadReport, QUIET, Responder, Result, Stop, load};

use crate::cores;
use crate::demo::engine::{Engine, ProgramOptions, Programs};
use crate::demo::site::{self, Site};
use crate::report::grouped;

/// The comparison's options.
#[derive(clap::Args)]
pub(crate) struct RttOptions {
    #[command(flatten)]
    programs: ProgramOptions,
    /// How often each path takes its turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How long each load lasts
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// Put sender, engine and server on this core: the one that takes the interrupt [default: wherever they like]
    #[arg(long, value_name = "CORE")]
    core: Option<usize>,
    /// RX queues of the server's interface, each with a worker
    #[arg(long, value_name = "N", default_value_t = 1)]
    queues: u32,
    /// Also send 40,000 a second and count what is lost
    #[arg(long)]
    flood: bool,
}

const RATES: [u64; 2] = [1_000, 10_000];
const FLOOD: u64 = 40_000;

/// A path, and what the engine is told for it; `None`: there is no engine.
type Path = (&'static str, Option<(&'static str, &'static [&'static str])>);
/// `vos.toml` by which only what the engine has to decide about is redirected: requests of a peer that is allowed are not.
const NEEDED: &str = "[relay]\nredirect = \"needed\"\n";
/// `SOCKET` stands for the unix socket, `PROXY` for the address at which PROXY lines are read.
const PATHS: [Path; 8] = [
    ("kernel", None),
    ("filter", Some(("", &["--mode", "filter"]))),
    ("re-entry, if needed", Some((NEEDED, &["--wait", "sleep"]))),
    ("re-entry, sleeping", Some(("", &["--wait", "sleep"]))),
    ("re-entry, busy polling", Some(("", &["--wait", "busy"]))),
    ("raw, sleeping", Some(("", &["--inject", "raw", "--wait", "sleep"]))),
    ("unix, sleeping", Some(("", &["--relay", "unix:SOCKET", "--wait", "sleep"]))),
    ("proxy, sleeping", Some(("", &["--relay", "proxy:PROXY", "--wait", "sleep"]))),
];
/// Where PROXY lines are read.
const PROXY: &str = "127.0.0.1:15060";

/// Runs it and prints the table.
pub(crate) fn run(options: &RttOptions, stop: &Stop) -> Result<()> {
    cores::only(options.core)?;
    let paths = Paths::open(options.programs.find()?, options.queues, options.core.is_some())?;
    let names: Vec<_> = paths.names().collect();
    let rates: Vec<u64> = RATES.into_iter().chain(options.flood.then_some(FLOOD)).collect();
    let mut reports = vec![vec![Vec::new(); rates.len()]; names.len()];
    for round in 1..=options.rounds {
        eprintln!("round {round} of {}", options.rounds);
        for (name, row) in names.iter().zip(&mut reports) {
            let engine = paths.start(name, stop)?;
            for (rate, cell) in rates.iter().zip(row) {
                cell.push(measure(&paths.site, *rate, options.seconds, stop)?);
            }
            if let Some(engine) = engine {
                engine.leave()?;
            }
        }
    }
    show(&names, &rates, &reports, options);
    Ok(())
}

/// A site with a responder that each path reaches. What is dropped first stands first.
pub(crate) struct Paths {
    _responder: Responder,
    pub(crate) site: Site,
    programs: Programs,
    socket: PathBuf,
    /// Everything is on one core: a thread that is always busy there says nothing about busy polling.
    pinned: bool,
}

impl Paths {
    /// Lays it out, for the engine and the operator's tool that are given.
    pub(crate) fn open(programs: Programs, queues: u32, pinned: bool) -> Result<Self> {
        let site = Site::build(queues)?;
        let socket = site.dir("consumer")?.join("sip.sock");
        let mut listen = site::SERVER.map(|address| Listen::Udp(address.parse().expect("an address"))).to_vec();
        listen.extend([Listen::ProxyLine(PROXY.parse().expect("an address")), Listen::Unix(socket.clone())]);
        let responder = site.server.enter(|| Responder::listen(&listen))??;
        Ok(Self { _responder: responder, site, programs, socket, pinned })
    }

    /// The paths that can be compared.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        let pinned = self.pinned;
        PATHS.iter().map(|(name, _)| *name).filter(move |name| !pinned || !name.contains("busy"))
    }

    /// Starts what makes a path, if it needs anything.
    pub(crate) fn start(&self, name: &str, stop: &Stop) -> Result<Option<Engine>> {
        let told = PATHS.iter().find(|(path, _)| *path == name).and_then(|(_, told)| *told);
        let Some((toml, words)) = told else { return Ok(None) };
        let socket = self.socket.display().to_string();
        let words: Vec<String> =
            words.iter().map(|word| word.replace("SOCKET", &socket).replace("PROXY", PROXY)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let engine = self.programs.start(&self.site, &format!("{toml}{QUIET}"), &words, stop)?;
        engine.let_monitor_flood()?;
        Ok(Some(engine))
    }
}

/// How long is sent before anything is measured, seconds.
const WARMUP: f64 = 0.5;

/// OPTIONS of the monitor at this rate, for so long.
pub(crate) fn measure(site: &Site, rate: u64, seconds: f64, stop: &Stop) -> Result<LoadReport> {
    let to = site::SERVER[0].parse().map_err(|_| Error::Other("no address".to_owned()))?;
    let from = vec![site::MONITOR[0].parse().map_err(|_| Error::Other("no address".to_owned()))?];
    let options = LoadOptions {
        rate,
        seconds: WARMUP + seconds,
        warmup: WARMUP,
        kind: Kind::Options,
        from,
        ..LoadOptions::new(to)
    };
    site.client.enter(|| load::run(&options, stop))?
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn show(paths: &[&str], rates: &[u64], reports: &[Vec<Vec<LoadReport>>], options: &RttOptions) {
    let place = options.core.map_or("placed by the scheduler".to_owned(), |core| format!("all on core {core}"));
    println!("round trip of OPTIONS, µs, {} queue(s), {place}, median of {} rounds", options.queues, options.rounds);
    println!(
        "  {:<22} {:>8} {:>9} {:>9} {:>9} {:>10} {:>6}",
        "path", "rate/s", "p50", "p90", "p99", "× kernel", "lost"
    );
    for (at, rate) in rates.iter().enumerate() {
        let p50 = |row: &[Vec<LoadReport>]| median(row[at].iter().map(|report| report.rtt.p50));
        let kernel = reports.first().map_or(f64::NAN, |row| p50(row));
        for (path, row) in paths.iter().zip(reports) {
            let lost: u64 = row[at].iter().map(|report| report.lost).sum();
            println!(
                "  {path:<22} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>10.2} {:>6}",
                grouped(*rate),
                p50(row),
                median(row[at].iter().map(|report| report.rtt.p90)),
                median(row[at].iter().map(|report| report.rtt.p99)),
                p50(row) / kernel,
                grouped(lost)
            );
        }
    }
}
