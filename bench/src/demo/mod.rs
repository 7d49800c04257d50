//! The whole path in two namespaces: what passes, what is dropped, counted on both sides.
//!
//! ```text
//!   namespace "client"                      namespace "server"
//!   phones, a monitoring peer,    veth      NIC ─ XDP ─ AF_XDP ─ engine ─┐
//!   a scanner, a blocked /24   ══════════▶   └◀──────── re-entry ◀───────┘
//!                              4 queues      └─▶ responder on UDP 5060
//! ```
//!
//! Each phase sends a known number of datagrams; afterwards the engine's counters must have grown by exactly that, and
//! the server must have seen exactly what it should.

/// The counters that the engine shows, and their differences.
mod counters;
/// The engine and its tool, as an operator uses them.
pub(crate) mod engine;
/// What must hold after each phase.
pub(crate) mod ledger;
/// What is seen while it runs, and at the end.
mod screen;
/// Namespaces, wire and addresses.
pub(crate) mod site;
/// Who sends what, and what is to become of it.
mod traffic;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vos_bench::stop::LOOK;
use vos_bench::{Error, NetNs, Program, Result, ServerStats, Stop};

use counters::Counters;
use engine::{Engine, ProgramOptions};
use ledger::{Expected, Ledger};
use site::Site;
use traffic::{Outcome, Phase, Sender};

/// How long counters may take to follow the traffic: the responder's file is renewed every 0.1 s.
const SETTLE: Duration = Duration::from_secs(3);
/// How long to watch that nothing more comes once the figures are right.
const QUIET: Duration = Duration::from_millis(250);

/// The demo's options.
#[derive(clap::Args)]
pub(crate) struct DemoOptions {
    #[command(flatten)]
    programs: ProgramOptions,
    /// How long each phase sends
    #[arg(long, value_name = "S", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Further options for the engine: `demo -- --inject raw`
    #[arg(last = true)]
    engine_args: Vec<String>,
}

/// Runs it. `false`: some figure was not what it must be.
pub(crate) fn run(options: &DemoOptions, stop: &Stop) -> Result<bool> {
    let programs = options.programs.find()?;
    for name in NetNs::sweep() {
        eprintln!("removed namespace {name}, left by a run that was killed");
    }
    let site = Site::build(site::QUEUES)?;
    let mut demo = Demo::new(site, stop)?;
    let seconds = options.seconds;

    screen::title("The plain kernel path, for comparison");
    for phase in traffic::monitoring("kernel", seconds) {
        demo.play(&phase)?;
    }

    screen::title("The engine takes the interface");
    demo.engine = Some(Engine::start(&programs, &demo.site, &options.engine_args, stop)?);
    demo.prepare()?;
    for phase in traffic::through_the_engine(seconds) {
        demo.play(&phase)?;
    }

    screen::title("The engine leaves");
    demo.leave()?;
    demo.play(&traffic::afterwards())?;
    demo.finish()
}

/// All that runs. Fields are dropped in this order: first who stands on the others.
struct Demo<'a> {
    engine: Option<Engine>,
    responder: Program,
    ledger: Ledger,
    /// What the server must have seen from the first phase to the last.
    expected_in_all: Expected,
    site: Site,
    stop: &'a Stop,
}

impl<'a> Demo<'a> {
    fn new(site: Site, stop: &'a Stop) -> Result<Self> {
        let mut command = own_command(&site.server)?;
        command.arg("responder").arg("--stats").arg(site.stats_file());
        for address in site::SERVER {
            command.args(["--listen", address]);
        }
        let mut responder = Program::start("responder", &mut command, Some(&site.log("responder")))?;
        let listening = stop.wait_for(Duration::from_secs(5), Duration::from_millis(10), || {
            Ok((site.stats_file().exists() || responder.ended()?.is_some()).then_some(()))
        })?;
        if listening.is_none() || responder.ended()?.is_some() {
            return Err(Error::Other(format!("the responder did not start:\n{}", responder.log_tail(20))));
        }
        Ok(Self {
            engine: None,
            responder,
            ledger: Ledger::default(),
            expected_in_all: Expected::default(),
            site,
            stop,
        })
    }

    /// The rules that the traffic will meet.
    fn prepare(&mut self) -> Result<()> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let counters = engine.counters()?;
        screen::line(&format!("{}: {}, {} queues", counters.mode, counters.attached, site::QUEUES));
        for words in [
            &["block", site::BLOCKED_NET, "--reason", "demo: known attackers"][..],
            &["allow", site::MONITOR_NET, "--reason", "demo: monitoring peer"],
            // It pings 10,000 times a second: limits are for what nobody has asked for.
            &["rule", "rate_options", "off"],
            &["rule", "rate_source", "off"],
        ] {
            engine.tool(words)?;
            screen::line(&format!("vosctl {} {}", words[0], words[1]));
        }
        Ok(())
    }

    /// Sends what the phase says, shows it, and compares.
    fn play(&mut self, phase: &Phase) -> Result<()> {
        screen::phase(phase);
        let (server, counters) = self.look()?;
        let mut senders = phase
            .runs
            .iter()
            .enumerate()
            .map(|(order, run)| Sender::start(order, run, &self.site))
            .collect::<Result<Vec<_>>>()?;
        let mut outcomes = Vec::new();
        let began = Instant::now();
        let mut tick = began + Duration::from_secs(1);
        while !senders.is_empty() {
            self.stop.check()?;
            std::thread::sleep(LOOK / 2);
            if Instant::now() >= tick {
                tick += Duration::from_secs(1);
                let (server_now, counters_now) = self.look()?;
                let grown = counters_now.zip(counters.as_ref()).map(|(now, before)| now.since(before));
                screen::tick(began.elapsed(), grown.as_ref(), server_now.received - server.received);
            }
            for at in (0..senders.len()).rev() {
                if let Some(outcome) = senders[at].outcome()? {
                    senders.remove(at);
                    outcomes.push(outcome);
                }
            }
        }
        outcomes.sort_by_key(|outcome| outcome.order);
        self.compare(phase, outcomes, &server, counters.as_ref())
    }

    /// Waits until all figures are what they must be, then a little longer, and writes them down as they are then.
    fn compare(
        &mut self,
        phase: &Phase,
        outcomes: Vec<Outcome>,
        server: &ServerStats,
        counters: Option<&Counters>,
    ) -> Result<()> {
        let expected = Expected::of(&outcomes);
        let end = Instant::now() + SETTLE;
        let check = |demo: &Self| -> Result<_> {
            let (server_now, counters_now) = demo.look()?;
            let grown = counters_now.zip(counters).map(|(now, before)| now.since(before));
            let checks = ledger::checks(&outcomes, &expected, &server_now, server, grown.as_ref());
            Ok((checks, server_now, grown))
        };
        while !check(self)?.0.iter().all(ledger::Check::holds) && Instant::now() < end {
            self.stop.check()?;
            std::thread::sleep(LOOK);
        }
        std::thread::sleep(QUIET);
        let (checks, server_now, grown) = check(self)?;
        screen::result(&outcomes, &checks);
        self.expected_in_all.add(&expected);
        self.ledger.close(phase, outcomes, checks, server_now.received - server.received, grown);
        Ok(())
    }

    /// What the server has seen, and what the engine has counted if there is one. An engine that has died is an error
    /// that shows its last words.
    fn look(&self) -> Result<(ServerStats, Option<Counters>)> {
        let server = read_stats(&self.site)?;
        let counters = self.engine.as_ref().map(Engine::counters).transpose()?;
        Ok((server, counters))
    }

    fn leave(&mut self) -> Result<()> {
        if let Some(engine) = self.engine.take() {
            let checks = engine.leave()?;
            screen::result(&[], &checks);
            self.ledger.note(checks);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<bool> {
        self.responder.end()?;
        let server = read_stats(&self.site)?;
        self.ledger.note(self.expected_in_all.server_checks(&server, &ServerStats::default(), "whole run"));
        screen::summary(&self.ledger);
        Ok(self.ledger.holds())
    }
}

fn read_stats(site: &Site) -> Result<ServerStats> {
    let file = site.stats_file();
    let text = std::fs::read(&file).map_err(Error::io(format!("read {}", file.display())))?;
    serde_json::from_slice(&text).map_err(|error| Error::Other(format!("{}: {error}", file.display())))
}

/// This program itself, inside a namespace.
fn own_command(place: &NetNs) -> Result<Command> {
    let program = std::env::current_exe().map_err(Error::io("find this program's file"))?;
    let mut command = place.command(program);
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(command)
}
