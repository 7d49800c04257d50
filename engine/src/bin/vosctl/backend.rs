//! The softswitches behind `relay.to = "proxy"`: who is there, and who gets no new calls.

use clap::Subcommand;
use vos_engine::control::client::Client;
use vos_engine::control::terminal::printable;
use vos_engine::events::SoftswitchState;
use vos_engine::live::wire::{Backend, Backends, Drain};

use crate::Cli;
use crate::answer::{Failure, tell};

#[derive(Subcommand, Debug)]
pub(super) enum BackendCommand {
    /// Show all of them, alive or dead, and how much went there and came from there.
    List,
    /// Give it no new calls; it keeps those it has. Until the next reload or restart.
    Drain {
        /// Its name.
        name: String,
    },
    /// Give it new calls again. Until the next reload or restart.
    Undrain {
        /// Its name.
        name: String,
    },
}

pub(super) async fn run(client: &Client, cli: &Cli, command: &BackendCommand) -> Result<u8, Failure> {
    let drain = match command {
        BackendCommand::List => None,
        BackendCommand::Drain { name } => Some(Drain { name: name.clone(), drain: true }),
        BackendCommand::Undrain { name } => Some(Drain { name: name.clone(), drain: false }),
    };
    let answer = match &drain {
        None => client.backends().await?,
        Some(drain) => client.drain(drain).await?,
    };
    tell(cli.json, &answer, text)
}

fn text(Backends { backends }: &Backends) -> String {
    if backends.is_empty() {
        return "there are none: relay.to is not proxy\n".to_owned();
    }
    let line = |Backend { name, address, state, drain, sent, received }: &Backend| {
        let state = match state {
            SoftswitchState::Alive => "alive",
            SoftswitchState::Dead => "dead",
        };
        let drain = if *drain { ", drained" } else { "" };
        format!(
            "{:20}  {address:24}  {:14}  {sent} sent  {received} received\n",
            printable(name),
            format!("{state}{drain}")
        )
    };
    backends.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_line() {
        let backend = |name: &str, state, drain| Backend {
            name: name.into(),
            address: "192.0.2.1:5060".parse().expect("an address"),
            state,
            drain,
            sent: 12,
            received: 11,
        };
        let backends = vec![backend("a", SoftswitchState::Dead, false), backend("b", SoftswitchState::Alive, true)];
        let lines = text(&Backends { backends });
        let words: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["a", "192.0.2.1:5060", "dead", "12", "sent", "11", "received"]);
        assert_eq!(words[1], ["b", "192.0.2.1:5060", "alive,", "drained", "12", "sent", "11", "received"]);
        assert!(text(&Backends { backends: Vec::new() }).contains("relay.to"));
    }
}
