//! `vosctl feeds`: who decides without an operator, and how that goes.

use vos_engine::control::client::Client;
use vos_engine::control::terminal::printable;
use vos_engine::feed::{State, View};

use crate::Cli;
use crate::answer::{Failure, Table, tell};

pub(crate) async fn run(client: &Client, cli: &Cli) -> Result<u8, Failure> {
    tell(cli.json, &client.feeds().await?, text)
}

/// The word of a state.
pub(crate) const fn word(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Up => "up",
        State::Down => "down",
    }
}

/// One feed in a line of `vosctl status`.
pub(crate) fn line(View { name, state, error, applied, refused, bad, .. }: &View) -> String {
    let mut line = format!("{name}: {}, {applied} applied", word(*state));
    for (count, what) in [(refused, "refused"), (bad, "bad")] {
        if *count > 0 {
            line += &format!(", {count} {what}");
        }
    }
    if error.is_empty() { line } else { format!("{line}; {error}") }
}

#[expect(clippy::ptr_arg, reason = "it is a text of what the API answers")]
fn text(feeds: &Vec<View>) -> String {
    if feeds.is_empty() {
        return "there are none: file_feed, datagram_feed, amqp and honeypot in vos.toml make some\n".to_owned();
    }
    let head = ["FEED", "STATE", "READ", "APPLIED", "ALREADY", "REFUSED", "BAD", "ERROR"].map(str::to_owned);
    let row = |View { name, state, error, read, applied, already, refused, bad }: &View| {
        let [read, applied, already, refused, bad] = [read, applied, already, refused, bad].map(u64::to_string);
        let [name, error] = [name, error].map(|text| printable(text).into_owned());
        [name, word(*state).to_owned(), read, applied, already, refused, bad, error]
    };
    Table::new().lines(&[head].into_iter().chain(feeds.iter().map(row)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feed_has_a_row_and_a_line() {
        let feed = View {
            name: "file /etc/vos/honeypot.list".into(),
            state: State::Down,
            error: "gone\u{1b}[2J".into(),
            read: 12,
            applied: 9,
            already: 1,
            refused: 2,
            bad: 0,
        };
        assert_eq!(
            text(&vec![feed.clone()]),
            "FEED                         STATE  READ  APPLIED  ALREADY  REFUSED  BAD  ERROR\n\
             file /etc/vos/honeypot.list  down   12    9        1        2        0    gone\\u{1b}[2J\n"
        );
        assert_eq!(line(&feed), "file /etc/vos/honeypot.list: down, 9 applied, 2 refused; gone\u{1b}[2J");
        assert!(text(&Vec::new()).contains("vos.toml"));
    }
}
