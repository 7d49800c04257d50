//! The nodes of a cluster: who is there, and whether all hold the same.

use clap::Subcommand;
use vos_engine::cluster::wire::{Holds, Node, OldNode, Status};
use vos_engine::control::client::Client;
use vos_engine::control::terminal::printable;

use crate::answer::{Failure, tell};
use crate::{Cli, push};

/// How far a node's clock may be off before it is said, milliseconds. Less: what question and answer took looks like it.
const AHEAD_MAX: i64 = 1_000;

#[derive(Subcommand, Debug)]
pub(super) enum ClusterCommand {
    /// Show every node, how far it has read the log, and whether all hold the same decisions; if not, the exit code is 1.
    Status,
    /// Have all nodes forget one that is no longer there; what it has decided stays.
    Forget {
        /// Its name, as `vosctl cluster status` shows it.
        node: String,
    },
    /// Have hosts import a list, by ssh, several at once; the same list twice changes nothing.
    #[command(after_help = push::HELP)]
    Push(push::PushArgs),
}

pub(super) async fn run(client: &Client, cli: &Cli, command: &ClusterCommand) -> Result<u8, Failure> {
    match command {
        ClusterCommand::Status => {
            let status = client.cluster().await?;
            let code = tell(cli.json, &status, text)?;
            Ok(if status.agree { code } else { 1 })
        }
        ClusterCommand::Forget { node } => {
            let forgotten = client.forget_node(&OldNode { node: node.clone() }).await?;
            Ok(tell(cli.json, &forgotten, |it| format!("{} is forgotten on all nodes\n", printable(&it.node)))?)
        }
        ClusterCommand::Push(args) => push::run(cli, args),
    }
}

fn text(status: &Status) -> String {
    let Status { log, node, connected, caught_up, error, agree, nodes } = status;
    let mut lines = vec![format!("log {}, asked {}", printable(log), printable(node))];
    if !connected {
        let why = if error.is_empty() { "not yet".to_owned() } else { printable(error).into_owned() };
        lines.push(format!("not in touch with the log: {why}"));
    } else if !caught_up {
        lines.push("still reading what was there before".to_owned());
    }
    let width = nodes.iter().map(|node| node.node.chars().count()).max().unwrap_or_default();
    lines.extend(nodes.iter().map(|node| format!("{:width$}  {}", printable(&node.node), state(node))));
    lines.push(verdict(*connected, *agree, nodes).to_owned());
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn state(node: &Node) -> String {
    let Some(Holds { next, lag, pending, held, count, digest, ahead_ms }) = &node.holds else {
        return "silent: down, or cut off from the broker; if it is gone for good: vosctl cluster forget".to_owned();
    };
    let short = digest.get(..12).unwrap_or(digest);
    let mut words = vec![format!("{count} decisions, digest {}, read up to {next}", printable(short))];
    for (number, what) in [(lag, "messages behind"), (pending, "entries to write"), (held, "held back by its guard")] {
        if *number > 0 {
            words.push(format!("{number} {what}"));
        }
    }
    if ahead_ms.abs() > AHEAD_MAX {
        let way = if *ahead_ms > 0 { "ahead" } else { "behind" };
        words.push(format!("its clock is {} s {way}", ahead_ms.abs() / 1_000));
    }
    words.join(", ")
}

fn verdict(connected: bool, agree: bool, nodes: &[Node]) -> &'static str {
    if agree {
        "all hold the same"
    } else if !connected {
        "other nodes cannot be asked"
    } else if nodes.windows(2).any(|pair| pair[0].node == pair[1].node) {
        "two nodes have one name: give one of them another cluster.node"
    } else if nodes.iter().any(|node| node.holds.is_none()) {
        "not all have answered"
    } else {
        "they do not hold the same; if that does not pass in a moment, see the log of whichever node differs"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_line_and_the_last_says_whether_they_agree() {
        let digest = "00112233445566778899aabbccddeeff".to_owned();
        let holds = Holds { next: 9, lag: 0, pending: 0, held: 0, count: 3, digest, ahead_ms: 12 };
        let node = |name: &str, holds: Option<Holds>| Node { node: name.to_owned(), holds };
        let mut status = Status {
            log: "vos.decisions".to_owned(),
            node: "a".to_owned(),
            connected: true,
            caught_up: true,
            error: String::new(),
            agree: true,
            nodes: vec![node("a", Some(holds.clone())), node("edge-2", Some(holds.clone()))],
        };
        let line = "3 decisions, digest 001122334455, read up to 9";
        assert_eq!(
            text(&status),
            format!("log vos.decisions, asked a\na       {line}\nedge-2  {line}\nall hold the same\n")
        );
        status.nodes[0].holds = Some(Holds { lag: 2, pending: 1, held: 4, ahead_ms: -61_000, ..holds });
        status.nodes[1].holds = None;
        status.agree = false;
        let told = text(&status);
        let behind = "2 messages behind, 1 entries to write, 4 held back by its guard, its clock is 61 s behind";
        assert!(told.contains(behind) && told.contains("edge-2  silent") && told.ends_with("not all have answered\n"));
        (status.connected, status.error) = (false, "evil\u{1b}[2J".to_owned());
        assert!(text(&status).contains("not in touch with the log: evil\\u{1b}[2J\n"));
    }
}
