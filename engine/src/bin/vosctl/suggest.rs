//! `vosctl suggest-allow`: who might have to be allowed, as commands.

use std::io::{self, Write};

use serde_json::Value;
use vos_engine::control::address;
use vos_engine::control::client::Client;

use crate::Cli;
use crate::answer::{Failure, print_json, span};

pub(crate) async fn run(client: &Client, cli: &Cli) -> Result<u8, Failure> {
    let answer = client.suggest_allow().await?;
    if cli.json {
        print_json(&answer)?;
    } else {
        print_candidates(&answer)?;
    }
    Ok(0)
}

fn print_candidates(answer: &Value) -> Result<(), Failure> {
    let candidates = answer.get("candidates").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut out = io::stdout().lock();
    if candidates.is_empty() {
        let hint =
            "nobody whom the server answers has sent OPTIONS; carriers ping every 30 to 300 seconds, so wait a while";
        return Ok(writeln!(out, "# {hint}")?);
    }
    for candidate in candidates {
        // Only what is an address becomes a command: the line is meant to be run.
        let address = candidate.get("address").and_then(Value::as_str).and_then(|text| address::parse(text).ok());
        let Some(net) = address else { continue };
        let number = |key: &str| candidate.get(key).and_then(Value::as_u64);
        let answered = number("answered").unwrap_or_default();
        let ago = number("last_seen_s").map(|seconds| format!(", the last {} ago", span(seconds))).unwrap_or_default();
        let comment = format!("# {answered} OPTIONS answered{ago}");
        writeln!(out, "vosctl allow {:40} {comment}", address::show(net))?;
    }
    Ok(())
}
