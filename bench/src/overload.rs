//! A softswitch that is too slow for what is asked of it, behind the engine with its shield and its priority on and off.
//!
//! Kamailio takes so long for every message that it can handle a part of the calls offered. What is shown is how many
//! come to their end all the same, and how the others fail: a call that is refused at its REGISTER costs nobody anything,
//! one whose BYE is lost goes on being charged.

use serde_json::Value;
use vos_bench::{CallOptions, CallReport, Error, QUIET, Result, Stop, call};

use crate::demo::engine::{ProgramOptions, Programs};
use crate::demo::site::{self, Site};
use crate::report::grouped;
use crate::softswitch::kamailio;

/// The comparison's options.
#[derive(clap::Args)]
pub(crate) struct OverloadOptions {
    #[command(flatten)]
    programs: ProgramOptions,
    /// How long Kamailio takes for each message
    #[arg(long, value_name = "µS", default_value_t = 2_000)]
    work: u32,
    /// Calls a second that are offered; each is four messages
    #[arg(long, value_name = "N", default_value_t = 250)]
    rate: u64,
    /// How long they are
    #[arg(long, value_name = "S", default_value_t = 20.0)]
    seconds: f64,
    /// How long a caller repeats a request before it gives up; RFC 3261 says 32
    #[arg(long, value_name = "S", default_value_t = 16.0)]
    patience: f64,
    /// From the ACK to the BYE
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    hold: f64,
}

/// What is on: shield, priority.
const CASES: [(&str, bool, bool); 4] = [
    ("neither", false, false),
    ("shield", true, false),
    ("priority", false, true),
    ("shield and priority", true, true),
];

/// Runs it and prints the table; `false` if with priority a call that was there came to harm.
pub(crate) fn run(options: &OverloadOptions, stop: &Stop) -> Result<bool> {
    let programs = options.programs.find()?;
    let site = Site::build(1)?;
    let capacity = 1e6 / f64::from(options.work.max(1)) / 4.0;
    println!(
        "{} calls/s for {} s, a softswitch that handles {capacity:.0} (one process, {} µs a message), callers that \
         repeat for {} s",
        options.rate, options.seconds, options.work, options.patience
    );
    println!(
        "  {:<20} {:>9} {:>7} {:>9} {:>9} {:>9} {:>10} {:>9} {:>9} {:>9}",
        "on", "succeeded", "%", "REGISTER", "INVITE", "BYE lost", "datagrams", "kept back", "given up", "setup p50"
    );
    let mut sound = true;
    for (name, shield, priority) in CASES {
        let (report, kept_back, given_up) = measure(options, &programs, &site, shield, priority, stop)?;
        let failed =
            |method: &str| report.failures.iter().filter(|(why, _)| why.starts_with(method)).map(|(_, n)| n).sum();
        println!(
            "  {name:<20} {:>9} {:>7.1} {:>9} {:>9} {:>9} {:>10} {:>9} {:>9} {:>8.1}s",
            grouped(report.succeeded),
            report.succeeded as f64 * 100.0 / report.calls.max(1) as f64,
            grouped(failed("REGISTER")),
            grouped(failed("INVITE")),
            grouped(failed("BYE")),
            grouped(report.datagrams),
            grouped(kept_back),
            grouped(given_up),
            report.setup.p50 / 1e6
        );
        sound &= !priority || failed("BYE") == 0;
    }
    println!("REGISTER, INVITE, BYE lost: calls that failed there; setup: from INVITE to 200");
    Ok(sound)
}

fn measure(
    options: &OverloadOptions,
    programs: &Programs,
    site: &Site,
    shield: bool,
    priority: bool,
    stop: &Stop,
) -> Result<(CallReport, u64, u64)> {
    let _kamailio = kamailio(site, "kamailio", &script(options.work), stop)?;
    let toml = format!("[relay]\nshield = {shield}\npriority = {priority}\n{QUIET}");
    let engine = programs.start(site, &toml, &[], stop)?;
    // What is measured is a softswitch that nobody else shields.
    for rule in ["rate_source", "rate_register", "rate_invite", "rate_prefix"] {
        engine.tool(&["rule", rule, "off"])?;
    }
    let to = site::SERVER[0].parse().map_err(|_| Error::Other("no address".to_owned()))?;
    let calls = CallOptions {
        calls: (options.rate as f64 * options.seconds) as u64,
        rate: options.rate,
        hold: options.hold,
        give_up: options.patience,
        from: site::PHONES.iter().filter_map(|phone| phone.parse().ok()).collect(),
        ..CallOptions::new(to)
    };
    let report = site.client.enter(|| call::run(&calls, stop))??;
    let stats: Value = serde_json::from_str(&engine.tool(&["stats", "--json"])?)
        .map_err(|error| Error::Other(format!("vosctl stats --json: {error}")))?;
    let workers = stats["workers"].as_array().map_or(&[][..], Vec::as_slice);
    let sum = |table: &str, name: &str| workers.iter().filter_map(|worker| worker[table][name].as_u64()).sum();
    let counted = (sum("taken", "retransmission"), sum("dropped", "given_up"));
    engine.leave()?;
    Ok((report, counted.0, counted.1))
}

/// One process that sleeps before it answers a request, and does so without remembering any: what an overloaded
/// softswitch does before it knows what it has before it.
fn script(work: u32) -> String {
    format!(
        "children=1\n{}\
         request_route {{\n  usleep(\"{work}\");\n  if (is_method(\"ACK\")) exit;\n  \
         append_to_reply(\"Contact: <sip:2@192.0.2.1>\\r\\n\");\n  sl_send_reply(\"200\", \"OK\");\n}}\n",
        ["pv", "sl", "textops", "cfgutils"].map(|module| format!("loadmodule \"{module}.so\"\n")).concat(),
    )
}
