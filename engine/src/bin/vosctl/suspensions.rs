//! `vosctl suspensions`: whose REGISTERs are refused, and until when.

use clap::{Args, Subcommand};
use vos_engine::control::client::Client;
use vos_engine::control::terminal::printable;
use vos_engine::control::wire::{Lift, Suspensions};
use vos_engine::policy::Shown;

use crate::Cli;
use crate::answer::{Answers, Failure, Table, short_span, tell};
use crate::list::now;

#[derive(Subcommand, Debug)]
pub(super) enum SuspensionsCommand {
    /// Show who is suspended, those that end first in front.
    List,
    /// End suspensions before their time; failures are counted anew.
    Lift(LiftArgs),
}

#[derive(Args, Debug)]
pub(super) struct LiftArgs {
    /// An address, or a user as the list shows it, with or without its domain.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    whom: Vec<String>,
    /// Everybody.
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(client: &Client, cli: &Cli, command: &SuspensionsCommand) -> Result<u8, Failure> {
    let args = match command {
        SuspensionsCommand::List => return tell(cli.json, &client.suspensions().await?, |all| text(all, now())),
        SuspensionsCommand::Lift(args) => args,
    };
    let mut answers = Answers::new(cli.json);
    if args.all {
        answers.take(client.lift(&Lift { whom: None, all: true }).await, lifted)?;
    }
    for whom in &args.whom {
        answers.take(client.lift(&Lift { whom: Some(whom.clone()), all: false }).await, lifted)?;
    }
    answers.finish()
}

fn lifted(Suspensions { suspensions }: &Suspensions) -> String {
    match suspensions.as_slice() {
        [] => "nobody was suspended".to_owned(),
        some => some.iter().map(|one| format!("suspended no more: {}", whom(one))).collect::<Vec<_>>().join("\n"),
    }
}

/// `100@example.com at 192.0.2.7`
pub(crate) fn whom(Shown { address, user, .. }: &Shown) -> String {
    let address = address.as_ref().map(|address| match user {
        Some(_) => format!("at {address}"),
        None => address.clone(),
    });
    let words: Vec<&str> = [user, &address].into_iter().flatten().map(String::as_str).collect();
    printable(&words.join(" ")).into_owned()
}

fn text(Suspensions { suspensions }: &Suspensions, now: u64) -> String {
    if suspensions.is_empty() {
        return "nobody is suspended\n".to_owned();
    }
    let head = ["USER", "ADDRESS", "LEFT", "REFUSED", "TIMES"].map(str::to_owned);
    let row = |one: &Shown| {
        let or_any =
            |text: &Option<String>, any: &str| text.as_deref().map_or(any.to_owned(), |it| printable(it).into());
        [
            or_any(&one.user, "all"),
            or_any(&one.address, "any"),
            short_span(one.until.saturating_sub(now)),
            one.failures.to_string(),
            one.times.to_string(),
        ]
    };
    let rows: Vec<_> = std::iter::once(head).chain(suspensions.iter().map(row)).collect();
    Table::new().lines(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: Option<&str>, user: Option<&str>) -> Shown {
        let own = |text: &str| text.to_owned();
        let (address, user) = (address.map(own), user.map(own));
        Shown { address, aor: user.clone(), user, since: 100, until: 280, failures: 6, times: 1 }
    }

    #[test]
    fn each_has_a_line_that_no_terminal_obeys() {
        let suspensions = vec![
            shown(Some("192.0.2.7"), Some("100\u{1b}@e.com")),
            shown(None, Some("100@e.com")),
            shown(Some("2001:db8::/64"), None),
        ];
        let lines = text(&Suspensions { suspensions }, 190);
        let words: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[0], ["USER", "ADDRESS", "LEFT", "REFUSED", "TIMES"]);
        assert_eq!(words[1], ["100\\u{1b}@e.com", "192.0.2.7", "1m", "30s", "6", "1"]);
        assert_eq!(words[2], ["100@e.com", "any", "1m", "30s", "6", "1"]);
        assert_eq!(words[3], ["all", "2001:db8::/64", "1m", "30s", "6", "1"]);
        assert_eq!(text(&Suspensions { suspensions: Vec::new() }, 0), "nobody is suspended\n");
    }

    #[test]
    fn who_is_lifted_is_told() {
        let suspensions = vec![shown(Some("192.0.2.7"), Some("100@e.com")), shown(Some("192.0.2.8"), None)];
        let told = "suspended no more: 100@e.com at 192.0.2.7\nsuspended no more: 192.0.2.8";
        assert_eq!(lifted(&Suspensions { suspensions }), told);
        assert_eq!(lifted(&Suspensions { suspensions: Vec::new() }), "nobody was suspended");
    }
}
