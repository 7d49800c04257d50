//! `vosctl registrations`: who is registered, from where, and whether they answer.

use clap::Args;
use vos_engine::control::client::Client;
use vos_engine::control::terminal::printable;
use vos_engine::control::wire::{Registered, Registrations};
use vos_engine::policy::BindingView;

use crate::Cli;
use crate::answer::{Failure, Table, short_span, tell};

#[derive(Args, Debug)]
pub(crate) struct RegistrationsArgs {
    /// Only this address-of-record, user or address.
    whom: Option<String>,
    /// Only those that do not answer the engine's OPTIONS ([online] in vos.toml).
    #[arg(long)]
    offline: bool,
    /// Only so many, the first.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    limit: u64,
}

pub(super) async fn run(client: &Client, cli: &Cli, args: &RegistrationsArgs) -> Result<u8, Failure> {
    let RegistrationsArgs { whom, offline, limit } = args;
    let wanted = Registered { whom: whom.clone(), offline: *offline, limit: Some(*limit as usize), skip: None };
    tell(cli.json, &client.registrations(&wanted).await?, text)
}

fn text(Registrations { registrations, total }: &Registrations) -> String {
    if registrations.is_empty() {
        return "nobody is registered, as far as the engine has seen since its start\n".to_owned();
    }
    let head = ["ADDRESS-OF-RECORD", "ADDRESS", "PORT", "EXPIRES", "MOVES", "STATE"].map(str::to_owned);
    let row = |one: &BindingView| {
        [
            printable(&one.aor).into_owned(),
            one.address.clone(),
            one.port.to_string(),
            short_span(one.expires_s),
            one.moves.to_string(),
            one.state.label().to_owned(),
        ]
    };
    let rows: Vec<_> = std::iter::once(head).chain(registrations.iter().map(row)).collect();
    let more = match total.saturating_sub(registrations.len()) {
        0 => String::new(),
        more => format!("{more} more: --limit\n"),
    };
    Table::new().lines(&rows) + &more
}

#[cfg(test)]
mod tests {
    use vos_engine::policy::EndpointState;

    use super::*;

    #[test]
    fn each_has_a_line_that_no_terminal_obeys() {
        let one = BindingView {
            aor: "100\u{1b}@e.com".into(),
            address: "192.0.2.7".into(),
            port: 5061,
            expires_s: 90,
            moves: 2,
            state: EndpointState::Offline,
        };
        let lines = text(&Registrations { registrations: vec![one], total: 3 });
        let words: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[1], ["100\\u{1b}@e.com", "192.0.2.7", "5061", "1m", "30s", "2", "offline"]);
        assert!(lines.ends_with("\n2 more: --limit\n"), "{lines}");
        assert!(text(&Registrations { registrations: Vec::new(), total: 0 }).starts_with("nobody"));
    }
}
