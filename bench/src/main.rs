//! `vos-bench`: SIP load, a SIP responder, and the demo of vos-fastpath.

#![forbid(unsafe_code)]

/// A reply at the NIC beside a reply of Kamailio's.
mod answers;
/// Two runs, side by side.
mod compare;
/// Which cores threads may run on.
mod cores;
/// CPU time of processes and of the machine.
mod cpu;
/// The whole path in two namespaces: what passes, what is dropped, counted on both sides.
mod demo;
/// Where a measurement was made.
mod machine;
/// What a verdict costs, on the command line.
mod measure;
/// A softswitch that is too slow, with shield and priority on and off.
mod overload;
/// Plots and tables for a browser.
mod page;
/// The SIP parser beside others, on the same messages.
#[cfg(feature = "parsers")]
mod parse;
/// How much each path carries.
mod relay;
/// Good traffic under floods at a server elsewhere.
mod remote;
/// Figures for people: numbers in groups, tables of times.
mod report;
/// Round trips by each path, side by side.
mod rtt;
/// What grows with lists and sources.
mod scale;
/// Good traffic under attack, by each way in, side by side.
mod shield;
/// Everything at once, for long.
mod soak;
/// Softswitches to be measured.
mod softswitch;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use page::parts::Part;
use vos_bench::stop::LOOK;
use vos_bench::{CallOptions, Error, JunkOptions, LoadOptions, Responder, Result, ServerStats, Stop, call, junk, load};

/// SIP load, a SIP responder, and the demo of vos-fastpath.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer SIP over UDP until SIGTERM or SIGINT, then print what was seen as JSON
    Responder(ResponderOptions),
    /// Send requests at a steady rate and time the replies
    Load {
        #[command(flatten)]
        options: LoadOptions,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Register and call: REGISTER, INVITE, ACK, BYE, repeated as RFC 3261 says
    Call {
        #[command(flatten)]
        options: CallOptions,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send junk from any number of addresses, past this host's IP stack: scans, floods, what is no SIP, a capture
    Junk {
        #[command(flatten)]
        options: JunkOptions,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the engine at work in two network namespaces, and check every figure
    Demo(demo::DemoOptions),
    /// Compare round trips: plain kernel, filter alone, relay sleeping and busy-polling
    Rtt(rtt::RttOptions),
    /// Compare good traffic under floods by each way in: kernel, iptables, nftables, other XDP programs, filter, relay
    Shield(shield::ShieldOptions),
    /// Good traffic under floods at a server on another machine, whatever protects it there
    Remote(remote::RemoteOptions),
    /// Print the page of an earlier run of `shield`, with what else was measured
    Page {
        /// What `vos-bench shield --json` or `vos-bench remote --json` wrote
        #[arg(value_name = "SHIELD.json")]
        file: PathBuf,
        /// The same of other set-ups, and what `vos-bench verdict`, `scale` or `relay` printed with --json
        #[arg(value_name = "FILE.json")]
        parts: Vec<PathBuf>,
    },
    /// Hold two runs of `shield` or `remote` side by side
    Compare(compare::CompareOptions),
    /// The highest rate that each path carries, and the CPU time of a request on it
    Relay(relay::RelayOptions),
    /// Compare what comes through a softswitch that is too slow, with shield and priority on and off
    Overload(overload::OverloadOptions),
    /// Compare replies to OPTIONS: by Kamailio alone, by Kamailio behind the engine, by the engine at the NIC
    Answers(answers::AnswersOptions),
    /// Compare what verdicts cost, frame by frame: this program, an empty one, and others
    Verdict(measure::VerdictOptions),
    /// Load, junk, blocks, reloads and restarts for as long as one likes, and a reckoning
    Soak(soak::SoakOptions),
    /// What a verdict costs while blocklist and sources grow
    Scale(scale::ScaleOptions),
    /// Compare the SIP parser with others: time, instructions, allocations (`make bench-parse` builds what it needs)
    #[cfg(feature = "parsers")]
    Parse(parse::ParseOptions),
}

#[derive(clap::Args)]
struct ResponderOptions {
    /// Where to listen; may be given several times. Replies leave from the same address
    #[arg(long, value_name = "ADDR:PORT", required = true)]
    listen: Vec<SocketAddr>,
    /// Keep what was seen in this file too, renewed ten times a second
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match Stop::on_signals().and_then(|stop| run(cli.command, &stop)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Error::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("vos-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// `false`: it ran, and the outcome is bad.
fn run(command: Command, stop: &Stop) -> Result<bool> {
    match command {
        Command::Responder(options) => respond(&options, stop),
        Command::Load { options, json } => {
            let report = load::run(&options, stop)?;
            say(&if json { to_json(&report) } else { report::load(&report) });
            Ok(true)
        }
        Command::Call { options, json } => {
            let report = call::run(&options, stop)?;
            say(&if json { to_json(&report) } else { report::call(&report) });
            Ok(report.failed == 0)
        }
        Command::Junk { options, json } => {
            let report = junk::run(&options, stop)?;
            say(&if json { to_json(&report) } else { report::junk(&report) });
            Ok(true)
        }
        Command::Demo(options) => demo::run(&options, stop),
        Command::Rtt(options) => rtt::run(&options, stop).map(|()| true),
        Command::Shield(options) => shield::run(&options, stop).map(|()| true),
        Command::Remote(options) => remote::run(&options, stop).map(|()| true),
        Command::Page { file, parts } => {
            let (mut outcome, mut others) = (shield::outcome::Outcome::read(&file)?, Vec::new());
            for file in &parts {
                match Part::read(file)? {
                    Part::Shield(more) => outcome.add(*more)?,
                    other => others.push(other),
                }
            }
            say(&page::page(&outcome, &others));
            Ok(true)
        }
        Command::Compare(options) => compare::run(&options).map(|()| true),
        Command::Relay(options) => relay::run(&options, stop).map(|()| true),
        Command::Overload(options) => overload::run(&options, stop),
        Command::Answers(options) => answers::run(&options, stop).map(|()| true),
        Command::Verdict(options) => measure::run(&options, stop).map(|()| true),
        Command::Soak(options) => soak::run(&options, stop),
        Command::Scale(options) => scale::run(&options, stop).map(|()| true),
        #[cfg(feature = "parsers")]
        Command::Parse(options) => parse::run(&options, stop).map(|()| true),
    }
}

fn respond(options: &ResponderOptions, stop: &Stop) -> Result<bool> {
    let responder = Responder::start(&options.listen)?;
    for address in responder.addresses() {
        eprintln!("listening on {address}/udp");
    }
    let mut written = None;
    while !stop.is_set() {
        keep(options.stats.as_deref(), responder.stats(), &mut written)?;
        std::thread::sleep(LOOK);
    }
    let stats = responder.stop();
    say(&to_json(&stats));
    keep(options.stats.as_deref(), stats, &mut written)?;
    Ok(true)
}

/// Writes the figures if they have changed. By rename: a reader finds the old ones or the new ones, whole.
fn keep(file: Option<&Path>, stats: ServerStats, written: &mut Option<ServerStats>) -> Result<()> {
    let Some(file) = file.filter(|_| written.as_ref() != Some(&stats)) else { return Ok(()) };
    let new = file.with_extension("new");
    std::fs::write(&new, to_json(&stats))
        .and_then(|()| std::fs::rename(&new, file))
        .map_err(Error::io(format!("write {}", file.display())))?;
    *written = Some(stats);
    Ok(())
}

fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain structures with string keys")
}

/// Prints a line. That nobody reads any more (`| head`) is no reason to end in disorder.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
