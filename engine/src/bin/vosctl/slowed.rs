//! `vosctl slowed`: who may send but a little, because it asks for what is not there.

use clap::{Args, Subcommand};
use vos_engine::control::client::Client;
use vos_engine::control::wire::{Lift, SlowedList};
use vos_engine::policy::ShownSlowed;

use crate::Cli;
use crate::answer::{Answers, Failure, Table, short_span, tell};
use crate::list::now;

#[derive(Subcommand, Debug)]
pub(super) enum SlowedCommand {
    /// Show who is slowed, those that end first in front.
    List,
    /// Slow them no longer; what they ask for is counted anew.
    Lift(LiftArgs),
}

#[derive(Args, Debug)]
pub(super) struct LiftArgs {
    /// An address as the list shows it.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    address: Vec<String>,
    /// Everybody.
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(client: &Client, cli: &Cli, command: &SlowedCommand) -> Result<u8, Failure> {
    let args = match command {
        SlowedCommand::List => return tell(cli.json, &client.slowed().await?, |all| text(all, now())),
        SlowedCommand::Lift(args) => args,
    };
    let mut answers = Answers::new(cli.json);
    if args.all {
        answers.take(client.hurry(&Lift { whom: None, all: true }).await, lifted)?;
    }
    for address in &args.address {
        answers.take(client.hurry(&Lift { whom: Some(address.clone()), all: false }).await, lifted)?;
    }
    answers.finish()
}

fn lifted(SlowedList { slowed }: &SlowedList) -> String {
    match slowed.as_slice() {
        [] => "nobody was slowed".to_owned(),
        some => some.iter().map(|one| format!("slowed no more: {}", one.address)).collect::<Vec<_>>().join("\n"),
    }
}

fn text(SlowedList { slowed }: &SlowedList, now: u64) -> String {
    if slowed.is_empty() {
        return "nobody is slowed\n".to_owned();
    }
    let head = ["ADDRESS", "LEFT", "ANSWERS"].map(str::to_owned);
    let row =
        |one: &ShownSlowed| [one.address.clone(), short_span(one.until.saturating_sub(now)), one.answers.to_string()];
    let rows: Vec<_> = std::iter::once(head).chain(slowed.iter().map(row)).collect();
    Table::new().lines(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> ShownSlowed {
        ShownSlowed { address: address.to_owned(), since: 100, until: 280, answers: 20 }
    }

    #[test]
    fn each_has_a_line_and_who_is_lifted_is_told() {
        let some = SlowedList { slowed: vec![shown("192.0.2.7"), shown("2001:db8::/64")] };
        let lines = text(&some, 190);
        let words: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["ADDRESS", "LEFT", "ANSWERS"]);
        assert_eq!(words[2], ["2001:db8::/64", "1m", "30s", "20"]);
        assert_eq!(lifted(&some), "slowed no more: 192.0.2.7\nslowed no more: 2001:db8::/64");
        let none = SlowedList { slowed: Vec::new() };
        assert_eq!((text(&none, 0).as_str(), lifted(&none).as_str()), ("nobody is slowed\n", "nobody was slowed"));
    }
}
