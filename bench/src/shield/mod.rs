//! Good traffic under attack, by each way in, side by side.
//!
//! Phones that have shown their password register again and make calls, while a flood is sent past them. The set-ups take
//! turns, round after round, in one run on one machine: what the machine does meanwhile hits all of them alike.

/// Who sends.
pub(crate) mod crowd;
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
/// What is sent, and what is written down of it.
pub(crate) mod traffic;

use std::path::PathBuf;

use vos_bench::junk::Mix;
use vos_bench::{Error, QUIET, Result, Stop};

use crate::demo::engine::ProgramOptions;
use crate::machine::Machine;
use crate::{cores, cpu};
use crowd::PHONES;
use ground::Ground;
use outcome::{Cost, Flood, Outcome, Turn};
use server::ServerOptions;
use setup::{Held, Setup};
use traffic::TrafficOptions;

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
    #[command(flatten)]
    traffic: TrafficOptions,
    #[command(flatten)]
    server: ServerOptions,
    /// RX queues of the server's interface, each with a worker
    #[arg(long, value_name = "N", default_value_t = 2)]
    queues: u32,
    /// Renew the tables between the markers of this file
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

/// In how many parts the cost of a packet is taken.
const BURSTS: u32 = 3;
/// Good packets beside those that are counted: challenges of all phones with their retransmissions, ARP.
const SPARE: u64 = 10 * PHONES as u64;

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
    let TrafficOptions { rounds, seconds, flood_core, .. } = options.traffic;
    let machine = Machine::here();
    cores::all_but(flood_core)?;
    let ground = Ground::build(&options.server, options.queues, flood_core, stop)?;
    let bench = Bench { options, ground };
    let floods = options.traffic.floods();
    let costs = [vec![Setup::of("drop")?], setups.clone()].concat();
    let bar = traffic::bar(rounds * (setups.len() * floods.len() + costs.len()));
    let (mut turns, mut prices) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        for setup in setups.iter().filter(|setup| setup.passes()) {
            let held = setup.hold(&bench.ground.site, &programs, &toml, stop)?;
            for flood in &floods {
                bar.set_message(traffic::under(round, &setup.name, *flood));
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
        machine,
        server: format!("{:?}", options.server.kind),
        is_remote: false,
        rounds,
        seconds,
        setups: costs.into_iter().map(|setup| (setup.name, setup.what)).collect(),
        turns,
        costs: prices,
    };
    options.traffic.write(&outcome)?;
    if let Some(readme) = &options.readme {
        table::SECTION.renew(readme, &table::readme(&outcome))?;
    }
    crate::say(&table::text(&outcome));
    Ok(())
}

/// What the turns are taken on.
struct Bench<'a> {
    options: &'a ShieldOptions,
    ground: Ground,
}

impl Bench<'_> {
    /// Registrations and calls, with this flood or with none.
    fn turn(&self, setup: &str, held: &Held<'_>, round: usize, flood: Option<Flood>, stop: &Stop) -> Result<Turn> {
        let (before, overflowed) = (held.survivors()?, self.ground.site.overflowed()?);
        let mut turn = traffic::turn(&self.ground, &self.options.traffic, (setup, round, flood), stop)?;
        turn.overflowed = self.ground.site.overflowed()? - overflowed;
        turn.survived = held.survivors()?.zip(before).map(|(after, before)| after - before);
        // Of these nothing may come through; a filter that lets them is not measured.
        let nothing = flood.is_some_and(|flood| matches!(flood.mix, Mix::Scanner | Mix::Options | Mix::Malformed));
        let good = turn.registers.sent + turn.registers.retransmissions + turn.calls.datagrams + SPARE;
        match turn.survived.filter(|survived| nothing && *survived > good) {
            None => Ok(turn),
            Some(survived) => Err(Error::Other(format!(
                "{setup} let {survived} packets through where {good} at most were good: a wrong verdict is not measured"
            ))),
        }
    }

    /// What all of them drop, as much of it as can be sent, and nothing else.
    fn cost(&self, setup: &str, round: usize, stop: &Stop) -> Result<Cost> {
        let flood = Flood { mix: Mix::Scanner, sources: 200, rate: 0 };
        let burst = || -> Result<Cost> {
            let busy = cpu::of_machine()?;
            let junk = self.ground.junk(flood, self.options.traffic.seconds / f64::from(BURSTS), stop)?;
            stop.check()?;
            let busy = (cpu::of_machine()? - busy).as_secs_f64();
            Ok(Cost { setup: setup.to_owned(), round, junk, busy })
        };
        // Whatever else the host did made it slower, never quicker.
        let mut least = burst()?;
        for _ in 1..BURSTS {
            let again = burst()?;
            if again.ns() < least.ns() {
                least = again;
            }
        }
        Ok(least)
    }
}
