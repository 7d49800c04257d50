//! `vosctl`: the operator's side of a running `vos-engine`.

/// What comes of a command: text, JSON, exit codes.
mod answer;
/// Which engine is meant.
mod reach;
/// Times as they are typed.
mod time;

/// `vosctl feeds`.
mod feeds;
/// `vosctl history`, `vosctl undo`.
mod history;
/// `vosctl import`, `vosctl export`.
mod import;
/// `vosctl list`.
mod list;
/// `vosctl block`, `allow`, `trust` and their ways back.
mod rules;
/// Where the operator sits.
mod session;

/// `vosctl doctor`.
mod doctor;
/// `vosctl events`, `vosctl capture`.
mod events;
/// `vosctl explain`.
mod explain;
/// A softswitch that is behind, in `vosctl stats`.
mod overload;
/// `vosctl stats`.
mod stats;
/// `vosctl suggest-allow`.
mod suggest;
/// `vosctl top`.
mod top;
/// `vosctl verify`.
mod verify;

/// `vosctl cluster`.
mod cluster;
/// `vosctl cluster push`.
mod push;

/// `vosctl backend`.
mod backend;
/// `vosctl gateways`.
mod gateways;
/// `vosctl status`, `reload`, `rule`, `attack`.
mod live;
/// `vosctl completions`, `vosctl man`.
mod man;
/// `vosctl registrations`.
mod registrations;
/// `vosctl slowed`.
mod slowed;
/// `vosctl suspensions`.
mod suspensions;
/// `vosctl tune`.
mod tune;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vos_engine::control::client::Client;
use vos_engine::control::decision::Kind;

use crate::answer::Failure;

/// Blocks, allows and trusts sources, and shows what vos-engine does.
#[derive(Parser, Debug)]
#[command(name = "vosctl", version, after_help = answer::exit_help(), propagate_version = true)]
struct Cli {
    /// Interface of the engine; may be left out where one engine runs.
    #[arg(long, global = true, value_name = "IFACE")]
    iface: Option<String>,
    /// Directory of the engine's socket.
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/vos")]
    run_dir: PathBuf,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    #[command(flatten)]
    Asking(Command),
    #[command(flatten)]
    Alone(Alone),
}

/// What an engine is asked for.
#[derive(Subcommand, Debug)]
enum Command {
    /// Drop every SIP packet of these sources.
    Block(rules::NewRules),
    /// Take blocks back.
    Unblock(rules::OldRules),
    /// Let these sources pass what is meant for strangers (stealth).
    Allow(rules::NewRules),
    /// Take allows back.
    Unallow(rules::OldRules),
    /// Let these sources pass what is meant for strangers, and let no block touch them, however specific it is.
    Trust(rules::NewRules),
    /// Take trusts back; what they covered applies again.
    Untrust(rules::OldRules),
    /// Show the rules in force, and what this node holds back.
    List(list::ListArgs),
    /// Show what was changed, by whom, and by which number it is undone.
    History(history::HistoryArgs),
    /// Take a change back, or the last; what somebody has decided anew since stays.
    Undo(history::UndoArgs),
    /// Take a list of addresses, a line each: blocks, unless a line says otherwise.
    #[command(after_help = import::FORMAT)]
    Import(import::ImportArgs),
    /// Write all rules as a list that import takes back.
    Export(import::ExportArgs),
    /// Compare disk, rules and the kernel's maps; exit code 1 if something differs.
    Verify(verify::VerifyArgs),
    /// Show who decides without an operator: files, queues, datagrams, decoys.
    Feeds,
    /// Show what happened to packets, by reason.
    Stats {
        /// Show it again every so many seconds, 1 if none are given, until interrupted.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
              value_parser = clap::value_parser!(u64).range(1..=3_600))]
        watch: Option<u64>,
    },
    /// Show what happens, while it happens: rates by reason, queues, sources, decisions, feeds.
    Top(top::TopArgs),
    /// List who sends OPTIONS that the server answers, as commands to allow them.
    SuggestAllow,
    /// Show what is in force: mode, rules, limits, attack mode, what goes to the engine.
    Status,
    /// Read the configuration file again; one with an error changes nothing.
    Reload,
    /// Have a rule enforce, monitor or nothing, until the next reload or restart.
    Rule(live::RuleSwitch),
    /// Switch attack mode on or off.
    Attack {
        #[command(subcommand)]
        switch: live::AttackSwitch,
    },
    /// List whose REGISTERs are refused because of guessed passwords, and end that.
    Suspensions {
        #[command(subcommand)]
        command: suspensions::SuspensionsCommand,
    },
    /// List who is slowed for asking for what is not there, and end that.
    Slowed {
        #[command(subcommand)]
        command: slowed::SlowedCommand,
    },
    /// List who is registered, from where, and whether they answer.
    Registrations(registrations::RegistrationsArgs),
    /// List the softswitches behind relay.to = "proxy", give one no new calls, or again some.
    Backend {
        #[command(subcommand)]
        command: backend::BackendCommand,
    },
    /// List the trunks of [[gateway]]: calls at a time and a second, what they may, what was beyond it.
    Gateways,
    /// The nodes of a cluster, or hosts that are reached by ssh.
    Cluster {
        #[command(subcommand)]
        command: cluster::ClusterCommand,
    },
    /// Show what happened: samples of dropped packets, rules that came and went. The last 64 of each reason.
    Events(events::EventsArgs),
    /// Write samples of dropped packets to a pcap file, until interrupted; opens in tcpdump and Wireshark.
    Capture(events::CaptureArgs),
}

/// What needs no engine.
#[derive(Subcommand, Debug)]
enum Alone {
    /// Look for what on this host keeps the engine from starting, protecting or being fast, and say what mends it.
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::DoctorArgs),
    /// Say of packets in files whether they would be dropped, why, and by which rule.
    #[command(after_help = explain::HELP)]
    Explain(explain::ExplainArgs),
    /// Set up this machine by a profile: the card's queues and interrupts, sysctls, clocks. And back as it was.
    #[command(after_help = tune::help())]
    Tune(tune::TuneArgs),
    /// Print what makes this shell complete vosctl's words.
    Completions {
        /// Which shell.
        shell: man::Shell,
    },
    /// Print vosctl's manual page, or write those of all commands.
    Man(man::ManArgs),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    match run(&cli).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => failure.end(cli.json),
    }
}

/// Help and version are no errors; of the others, programs that ask for JSON get JSON.
fn misused(error: &clap::Error) -> ExitCode {
    let as_json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if as_json && error.use_stderr() {
        return Failure::Usage(error.to_string()).end(true);
    }
    let _nobody_may_read_it = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// Carries out one command; the result is the exit code.
async fn run(cli: &Cli) -> Result<u8, Failure> {
    match &cli.verb {
        // it asks engines on other hosts
        Verb::Asking(Command::Cluster { command: cluster::ClusterCommand::Push(args) }) => push::run(cli, args),
        Verb::Asking(command) => ask(&Client::new(reach::find_socket(cli)?), cli, command).await,
        Verb::Alone(Alone::Doctor(args)) => doctor::doctor(cli, args),
        Verb::Alone(Alone::Explain(args)) => explain::explain(cli, args).await,
        Verb::Alone(Alone::Tune(args)) => tune::tune(cli, args),
        Verb::Alone(Alone::Completions { shell }) => man::completions(*shell),
        Verb::Alone(Alone::Man(args)) => man::man(args),
    }
}

async fn ask(client: &Client, cli: &Cli, command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Block(new) => rules::make(client, cli, Kind::Block, new).await,
        Command::Allow(new) => rules::make(client, cli, Kind::Allow, new).await,
        Command::Trust(new) => rules::make(client, cli, Kind::Trust, new).await,
        Command::Unblock(old) => rules::take_back(client, cli, Kind::Block, old).await,
        Command::Unallow(old) => rules::take_back(client, cli, Kind::Allow, old).await,
        Command::Untrust(old) => rules::take_back(client, cli, Kind::Trust, old).await,
        Command::List(args) => list::run(client, cli, args).await,
        Command::History(args) => history::history(client, cli, args).await,
        Command::Undo(args) => history::undo(client, cli, args).await,
        Command::Import(args) => import::import(client, cli, args).await,
        Command::Export(args) => import::export(client, cli, args).await,
        Command::Verify(args) => verify::verify(client, cli, args).await,
        Command::Feeds => feeds::run(client, cli).await,
        Command::Status => live::status(client, cli).await,
        Command::Reload => live::reload(client, cli).await,
        Command::Rule(switch) => live::switch(client, cli, switch).await,
        Command::Attack { switch } => live::attack(client, cli, switch).await,
        Command::Slowed { command } => slowed::run(client, cli, command).await,
        Command::Suspensions { command } => suspensions::run(client, cli, command).await,
        Command::Registrations(args) => registrations::run(client, cli, args).await,
        Command::Backend { command } => backend::run(client, cli, command).await,
        Command::Gateways => gateways::run(client, cli).await,
        Command::Cluster { command } => cluster::run(client, cli, command).await,
        Command::Stats { watch } => stats::run(client, cli, *watch).await,
        Command::Top(args) => top::run(client, cli, args).await,
        Command::SuggestAllow => suggest::run(client, cli).await,
        Command::Events(args) => events::events(client, cli, args).await,
        Command::Capture(args) => events::capture(client, args).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        assert!(Cli::command().render_help().to_string().contains("3  the engine cannot be reached"));
    }

    #[test]
    fn bad_addresses_and_times_are_usage_errors_with_the_reason() {
        let error = |words: &[&str]| Cli::try_parse_from(words).expect_err("refused");
        let text = error(&["vosctl", "block", "010.1.1.1"]).to_string();
        assert!(text.contains("octal"), "{text}");
        for ttl in ["0s", "1500ms", "soon", "-1h"] {
            let ttl = format!("--ttl={ttl}");
            assert_eq!(error(&["vosctl", "block", "10.0.0.1", &ttl]).exit_code(), 2);
        }
        assert_eq!(error(&["vosctl", "unblock"]).exit_code(), 2);
    }

    #[test]
    fn flags_stand_before_or_behind_the_command() {
        for words in [["vosctl", "--json", "list", "block"], ["vosctl", "list", "block", "--json"]] {
            let cli = Cli::try_parse_from(words).expect("taken");
            assert!(
                cli.json && matches!(cli.verb, Verb::Asking(Command::List(list)) if list.kind() == Some(Kind::Block))
            );
        }
    }

    #[test]
    fn every_kind_has_its_verb_its_way_back_and_its_list() {
        for kind in Kind::ALL {
            let taken = |words: &[&str]| Cli::try_parse_from(["vosctl"].iter().chain(words).copied()).expect("taken");
            taken(&[kind.word(), "10.0.0.0/8", "2001:db8::/32", "--ttl", "1h", "--reason", "why"]);
            taken(&[kind.undo(), "10.0.0.0/8"]);
            assert!(
                matches!(taken(&["list", kind.word()]).verb, Verb::Asking(Command::List(list)) if list.kind() == Some(kind))
            );
        }
    }
}
