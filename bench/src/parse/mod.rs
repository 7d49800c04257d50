//! The SIP parser beside others: time, instructions and allocations for the same messages, in one run.
//!
//! Every parser lives in a server process: this program's own ones in two builds of it, for any x86-64 and for
//! x86-64-v3 (AVX2), the C ones in programs of theirs (`bench/peers`). The servers take turns, message after message
//! and round after round, so what the machine does meanwhile hits all of them alike; the fastest call of all rounds
//! counts. Instructions and allocations are counted by valgrind in two runs of different length: the difference is
//! free of what it costs to start.

/// This program's parsers: sip-parse as it is used, and those it is compared with.
mod contenders;
/// Instructions and allocations, by valgrind.
mod counts;
/// The messages and their HTTP twins.
mod messages;
/// Both ends of the lines that order a measurement and answer it.
mod server;
/// What is to be reached, what was, and both as a table.
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use vos_bench::{Error, Result, Stop};

use crate::{say, to_json};
use contenders::Contender;
use messages::Message;
use server::Server;
use table::{Figures, Report};

/// The comparison's options.
#[derive(clap::Args)]
pub(crate) struct ParseOptions {
    /// The folder of the messages [default: $VOS_CORPUS, or shared/corpus beside the workspace]
    #[arg(long, value_name = "DIR")]
    corpus: Option<PathBuf>,
    /// This program built for x86-64-v3: the second column
    #[arg(long, value_name = "PATH")]
    v3: Option<PathBuf>,
    /// A program that holds other parsers (bench/peers); may be given several times
    #[arg(long = "peer", value_name = "PATH")]
    peers: Vec<PathBuf>,
    /// How often each parser takes its turn
    #[arg(long, value_name = "N", default_value_t = 40)]
    rounds: u32,
    /// How long a turn is for one message, µs
    #[arg(long, value_name = "US", default_value_t = 1000)]
    turn: u32,
    /// Renew the tables between the markers of this file
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
    /// Print JSON: all figures, message by message
    #[arg(long)]
    json: bool,
    /// Parse each `--message` so often and end, without looking at the clock: for valgrind or perf
    #[arg(long, value_name = "N", requires = "only", requires = "message")]
    count: Option<u32>,
    /// The parsers that `--count` is for
    #[arg(long, value_name = "PARSER", requires = "count")]
    only: Vec<Contender>,
    /// The files that `--count` is for
    #[arg(long = "message", value_name = "FILE")]
    message: Vec<PathBuf>,
    /// Answer orders on stdin: how this program starts itself
    #[arg(long, hide = true, conflicts_with = "count")]
    serve: bool,
}

/// The message whose instructions are counted, and whose figures are shown one by one.
const SAMPLE: &str = "bench/invite";

/// Runs it and prints the table.
pub(crate) fn run(options: &ParseOptions, stop: &Stop) -> Result<()> {
    if options.serve {
        return server::serve(&options.message);
    }
    if let Some(calls) = options.count {
        return count(&options.only, &options.message, calls);
    }
    // What would fail at the end fails here.
    counts::ready()?;
    options.readme.as_deref().map(|readme| table::SECTION.find(readme)).transpose()?;
    let report = compare(options, stop)?;
    if let Some(readme) = &options.readme {
        table::SECTION.renew(readme, &report.markdown())?;
    }
    say(&if options.json { to_json(&report) } else { report.markdown() });
    Ok(())
}

fn count(contenders: &[Contender], files: &[PathBuf], calls: u32) -> Result<()> {
    let mut parsers = contenders::Parsers::default();
    for file in files {
        let bytes = messages::read(file)?;
        for &contender in contenders {
            if !parsers.repeat(contender, &bytes, calls) {
                return Err(Error::Other(format!("{} refuses {}", contender.name(), file.display())));
            }
        }
    }
    Ok(())
}

fn compare(options: &ParseOptions, stop: &Stop) -> Result<Report> {
    let messages = messages::all(options.corpus.as_deref())?;
    let this = std::env::current_exe().map_err(Error::io("find this program"))?;
    let mut servers = vec![Server::ours(&this, false, &messages)?];
    if let Some(v3) = &options.v3 {
        servers.push(Server::ours(v3, true, &messages)?);
    }
    for peer in &options.peers {
        servers.push(Server::peer(peer, &messages)?);
    }
    let mut figures = rounds(options, &messages, &mut servers, stop)?;
    drop(servers);
    eprintln!("counting instructions and allocations");
    counts::add(&mut figures, &messages, stop)?;
    let messages = messages.into_iter().map(|message| message.name).collect();
    Ok(Report::new(messages, options.rounds, options.turn, figures))
}

/// The fastest call of each parser for each message it takes.
fn rounds(options: &ParseOptions, messages: &[Message], servers: &mut [Server], stop: &Stop) -> Result<Vec<Figures>> {
    let mut figures: Vec<_> = servers.iter().flat_map(|server| server.figures(messages.len())).collect();
    let turn = Duration::from_micros(options.turn.into());
    for round in 1..=options.rounds {
        if round % 10 == 1 {
            eprintln!("round {round} of {}", options.rounds);
        }
        for (at, message) in messages.iter().enumerate() {
            stop.check()?;
            let mut figures = figures.iter_mut();
            for server in &mut *servers {
                for figures in figures.by_ref().take(server.parsers.len()) {
                    figures.note(at, server.time(&figures.parser, at, message, turn)?);
                }
            }
        }
    }
    Ok(figures)
}

fn is_http(parser: &str) -> bool {
    Contender::from_str(parser, false).is_ok_and(Contender::is_http)
}
