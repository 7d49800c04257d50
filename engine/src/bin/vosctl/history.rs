//! `vosctl history`, `vosctl undo`.

use std::io::{self, Write};

use clap::Args;
use vos_engine::control::client::Client;
use vos_engine::control::history::{SETS_MAX, Set};
use vos_engine::control::terminal::printable;
use vos_engine::control::wire::{History, Left, Remembered, Undo, Undone};

use crate::Cli;
use crate::answer::{Failure, Table, bare, date, print_json, tell};
use crate::session::ssh_connection;

#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// How many changes, the latest; up to 500 are kept.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=SETS_MAX as i64))]
    limit: u32,
}

#[derive(Args, Debug)]
pub(crate) struct UndoArgs {
    /// Which change, as `vosctl history` and the command that made it number it; the last that is not undone if left out.
    #[arg(value_name = "ID")]
    number: Option<u64>,
    /// Bring blocks back even if they hit this host, its gateway, its resolvers, your own session, or who is trusted or
    /// allowed since.
    #[arg(long)]
    force: bool,
}

pub(crate) async fn history(client: &Client, cli: &Cli, args: &HistoryArgs) -> Result<u8, Failure> {
    let history = client.history(&Remembered { limit: Some(args.limit) }).await?;
    tell(cli.json, &history, history_text)
}

/// 1 if something was left as it is.
pub(crate) async fn undo(client: &Client, cli: &Cli, args: &UndoArgs) -> Result<u8, Failure> {
    let undo = Undo { number: args.number, force: args.force, ssh_connection: ssh_connection(cli, true) };
    let undone = client.undo(&undo).await?;
    if cli.json {
        print_json(&undone)?;
    } else {
        writeln!(io::stdout(), "{}", undone_line(&undone))?;
        eprint!("{}", left_lines(&undone));
    }
    Ok(u8::from(undone.left_count > 0))
}

fn history_text(History { sets }: &History) -> String {
    if sets.is_empty() {
        return "nothing was changed yet\n".to_owned();
    }
    let head = ["ID", "WHEN", "ORIGIN", "WHO", "CHANGES", "WHAT"].map(str::to_owned);
    let row = |Set { number, time, origin, who, what, count, undone_by, .. }: &Set| {
        let undone = undone_by.map(|by| format!("  (undone by {by})")).unwrap_or_default();
        let [who, what] = [who, what.as_str()].map(|text| printable(text).into_owned());
        [number.to_string(), date(*time), origin.to_string(), who, count.to_string(), what + &undone]
    };
    Table::new().lines(&[head].into_iter().chain(sets.iter().map(row)).collect::<Vec<_>>())
}

fn undone_line(Undone { set, by, restored, .. }: &Undone) -> String {
    let what = printable(&set.what);
    match by {
        Some(by) => format!("undone {}, {what}: {restored} of {} changes  (undo {by})", set.number, set.count),
        None => format!("nothing of {}, {what}, is left to undo", set.number),
    }
}

fn left_lines(Undone { left, left_count, .. }: &Undone) -> String {
    let line =
        |Left { net, kind, why }: &Left| format!("vosctl: left as it is: {kind} {}: {}\n", bare(net), printable(why));
    let mut lines: String = left.iter().map(line).collect();
    let more = left_count.saturating_sub(left.len() as u64);
    if more > 0 {
        lines += &format!("vosctl: and {more} more\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use vos_engine::control::decision::{Kind, Origin};

    use super::*;

    fn set() -> Set {
        Set {
            number: 42,
            time: 1_700_000_000,
            origin: Origin::Cli,
            who: "root".into(),
            what: "import evil\u{1b}[2J".into(),
            count: 3,
            undone_by: None,
            undoes: None,
        }
    }

    #[test]
    fn each_change_is_a_row_with_its_number() {
        let sets = vec![set(), Set { number: 7, undone_by: Some(43), what: "block 203.0.113.7".into(), ..set() }];
        assert_eq!(
            history_text(&History { sets }),
            "ID  WHEN                  ORIGIN  WHO   CHANGES  WHAT\n\
             42  2023-11-14T22:13:20Z  cli     root  3        import evil\\u{1b}[2J\n\
             7   2023-11-14T22:13:20Z  cli     root  3        block 203.0.113.7  (undone by 43)\n"
        );
        assert!(history_text(&History { sets: Vec::new() }).contains("nothing"));
    }

    #[test]
    fn an_undo_tells_what_it_left_and_why() {
        let left = vec![Left { net: "203.0.113.7/32".into(), kind: Kind::Block, why: "it is gone already".into() }];
        let undone = Undone { set: set(), by: Some(44), restored: 1, left_count: 2, left };
        assert_eq!(undone_line(&undone), "undone 42, import evil\\u{1b}[2J: 1 of 3 changes  (undo 44)");
        assert_eq!(
            left_lines(&undone),
            "vosctl: left as it is: block 203.0.113.7: it is gone already\nvosctl: and 1 more\n"
        );
        let nothing = Undone { by: None, restored: 0, ..undone };
        assert!(undone_line(&nothing).starts_with("nothing of 42"));
    }
}
