//! `vosctl`: the operator's side of a running `vos-engine`.

/// `vosctl backend`.
mod backend;
/// `vosctl events`, `vosctl capture`.
mod events;
/// `vosctl explain`.
mod explain;
/// Status, reload, run-time switches.
mod live;
/// A softswitch that is behind, in `vosctl stats`.
mod overload;
/// `vosctl verify`.
mod verify;

use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value, json};
use vos_engine::control::address;
use vos_engine::control::client::{Client, ClientError};
use vos_engine::control::decision::Kind;
use vos_engine::control::session::ssh_connection;
use vos_engine::control::socket;
use vos_engine::control::terminal::{printable, printable_json};
use vos_engine::control::wire::{Made, NewRule, OldRule, Removed, Rule};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed; the message says what to do
  2  wrong usage, a bad address included; nothing was sent
  3  the engine cannot be reached; the filter that is loaded stays in force meanwhile
  4  not found: there is no such rule, or no such backend
events -f and capture end with 3 when the engine stops before they are done.
With several addresses the highest code counts.";

/// Blocks, allows and trusts sources, and shows what vos-engine does.
#[derive(Parser, Debug)]
#[command(version, after_help = EXIT_CODES, propagate_version = true)]
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
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Drop every SIP packet of these sources.
    Block(NewRules),
    /// Take blocks back.
    Unblock(OldRules),
    /// Let these sources pass what is meant for strangers (stealth).
    Allow(NewRules),
    /// Take allows back.
    Unallow(OldRules),
    /// Let these sources pass what is meant for strangers, and let no block touch them, however specific it is.
    Trust(NewRules),
    /// Take trusts back; what they covered applies again.
    Untrust(OldRules),
    /// Show the rules in force.
    List {
        /// Only these: trust, block or allow.
        kind: Option<Kind>,
    },
    /// Compare disk, rules and the kernel's maps; exit code 1 if something differs.
    Verify(verify::VerifyArgs),
    /// Show what happened to packets, by reason.
    Stats {
        /// Show it again every so many seconds, 1 if none are given, until interrupted.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1",
              value_parser = clap::value_parser!(u64).range(1..=3_600))]
        watch: Option<u64>,
    },
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
    /// List the softswitches behind relay.to = "proxy", give one no new calls, or again some.
    Backend {
        #[command(subcommand)]
        command: backend::BackendCommand,
    },
    /// Show what happened: samples of dropped packets, rules that came and went. The last 64 of each reason.
    Events(events::EventsArgs),
    /// Write samples of dropped packets to a pcap file, until interrupted; opens in tcpdump and Wireshark.
    Capture(events::CaptureArgs),
    /// Say of packets in files whether they would be dropped, why, and by which rule.
    #[command(after_help = explain::HELP)]
    Explain(explain::ExplainArgs),
}

#[derive(Args, Debug)]
struct NewRules {
    /// Addresses or CIDRs of either family.
    #[arg(required = true, value_name = "ADDRESS", value_parser = address::parse)]
    nets: Vec<IpNet>,
    /// How long: 90s, 1h, 2days; for good if left out.
    #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
    ttl: Option<Duration>,
    /// Why, for whoever reads the list later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Even if it blocks this host, its gateway, its resolvers or your own session, or has to wait for a trust to go.
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
struct OldRules {
    /// Addresses or CIDRs, as `vosctl list` shows them.
    #[arg(required = true, value_name = "ADDRESS", value_parser = address::parse)]
    nets: Vec<IpNet>,
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| format!("{error}; write 90s, 30m, 1h or 2days"))?;
    match ttl.subsec_nanos() == 0 && !ttl.is_zero() {
        true => Ok(ttl),
        false => Err("write whole seconds, at least one".to_owned()),
    }
}

/// What went wrong, with the exit code for it.
#[derive(Debug)]
enum Failure {
    Client(ClientError),
    NoEngine { run_dir: PathBuf },
    SeveralEngines { ifaces: Vec<String> },
    Io(io::Error),
    Unjudged(explain::Unjudged),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Unreachable { .. }) | Self::NoEngine { .. } => 3,
            Self::Client(ClientError::Refused { status: 404, .. }) => 4,
            Self::SeveralEngines { .. } => 2,
            Self::Client(_) | Self::Io(_) | Self::Unjudged(_) => 1,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Client(error) => error.to_string(),
            Self::NoEngine { run_dir } => format!(
                "no engine has a socket in {}; is vos-engine running? the filter that is loaded stays in force meanwhile",
                run_dir.display()
            ),
            Self::SeveralEngines { ifaces } => {
                format!("several engines run: choose one with --iface ({})", ifaces.join(", "))
            }
            Self::Io(error) => error.to_string(),
            Self::Unjudged(why) => why.to_string(),
        }
    }

    /// As `--json` prints it.
    fn json(&self) -> Value {
        let code = match self {
            Self::Client(ClientError::Refused { failure, .. }) => failure.code.as_str(),
            Self::Client(ClientError::Unreachable { .. }) | Self::NoEngine { .. } => "unreachable",
            Self::SeveralEngines { .. } => "several_engines",
            Self::Client(_) | Self::Io(_) | Self::Unjudged(_) => "failed",
        };
        json!({ "error": self.message(), "code": code })
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli).await {
        Ok(code) => ExitCode::from(code),
        // `vosctl list | head` is no failure
        Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure, cli.json);
            ExitCode::from(failure.code())
        }
    }
}

fn complain(failure: &Failure, as_json: bool) {
    if as_json {
        eprintln!("{}", printable_json(&failure.json().to_string()));
    } else {
        eprintln!("vosctl: {}", printable(&failure.message()));
    }
}

/// Carries out one command; the result is the exit code.
async fn run(cli: &Cli) -> Result<u8, Failure> {
    // explain can do without an engine, and looks for one by itself
    let socket = if matches!(cli.command, Command::Explain(_)) { PathBuf::new() } else { find_socket(cli)? };
    let client = Client::new(socket);
    match &cli.command {
        Command::Block(rules) => make(&client, cli, Kind::Block, rules).await,
        Command::Allow(rules) => make(&client, cli, Kind::Allow, rules).await,
        Command::Trust(rules) => make(&client, cli, Kind::Trust, rules).await,
        Command::Unblock(rules) => take_back(&client, cli, Kind::Block, &rules.nets).await,
        Command::Unallow(rules) => take_back(&client, cli, Kind::Allow, &rules.nets).await,
        Command::Untrust(rules) => take_back(&client, cli, Kind::Trust, &rules.nets).await,
        Command::List { kind } => {
            let rules = client.list(*kind).await?;
            if cli.json {
                print_json(&rules)?;
            } else {
                print_rules(&rules.rules)?;
            }
            Ok(0)
        }
        Command::Verify(args) => verify::verify(&client, cli, args).await,
        Command::Status => live::status(&client, cli).await,
        Command::Reload => live::reload(&client, cli).await,
        Command::Rule(switch) => live::switch(&client, cli, switch).await,
        Command::Attack { switch } => live::attack(&client, cli, switch).await,
        Command::Backend { command } => backend::run(&client, cli, command).await,
        Command::Stats { watch } => stats(&client, cli, *watch).await,
        Command::Events(args) => events::events(&client, cli, args).await,
        Command::Capture(args) => events::capture(&client, args).await,
        Command::Explain(args) => explain::explain(cli, args).await,
        Command::SuggestAllow => {
            let answer = client.suggest_allow().await?;
            if cli.json {
                print_json(&answer)?;
            } else {
                print_candidates(&answer)?;
            }
            Ok(0)
        }
    }
}

/// The socket of the engine meant.
fn find_socket(cli: &Cli) -> Result<PathBuf, Failure> {
    if let Some(iface) = &cli.iface {
        return Ok(socket::path(&cli.run_dir, iface));
    }
    let mut ifaces = sockets_in(&cli.run_dir)?;
    ifaces.sort_unstable();
    match ifaces.as_slice() {
        [] => Err(Failure::NoEngine { run_dir: cli.run_dir.clone() }),
        [iface] => Ok(socket::path(&cli.run_dir, iface)),
        _ => Err(Failure::SeveralEngines { ifaces }),
    }
}

fn sockets_in(run_dir: &Path) -> Result<Vec<String>, Failure> {
    let entries = match std::fs::read_dir(run_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ifaces = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(iface) = name.strip_suffix(".sock")
            && entry.file_type()?.is_socket()
        {
            ifaces.push(iface.to_owned());
        }
    }
    Ok(ifaces)
}

async fn make(client: &Client, cli: &Cli, kind: Kind, rules: &NewRules) -> Result<u8, Failure> {
    let ssh_connection = ssh_connection();
    let mut answers = Answers::new(cli.json);
    for net in &rules.nets {
        let rule = NewRule {
            net: net.to_string(),
            kind,
            ttl_s: rules.ttl.map(|ttl| ttl.as_secs()),
            until: None,
            reason: rules.reason.clone(),
            force: rules.force,
            ssh_connection: ssh_connection.clone(),
        };
        answers.take(client.decide(&rule).await, made_line)?;
    }
    answers.finish()
}

async fn take_back(client: &Client, cli: &Cli, kind: Kind, nets: &[IpNet]) -> Result<u8, Failure> {
    let mut answers = Answers::new(cli.json);
    for net in nets {
        answers.take(client.remove(&OldRule { net: net.to_string(), kind }).await, removed_line)?;
    }
    answers.finish()
}

/// What came of each address of one command.
struct Answers {
    as_json: bool,
    done: Vec<Value>,
    code: u8,
}

impl Answers {
    fn new(as_json: bool) -> Self {
        Self { as_json, done: Vec::new(), code: 0 }
    }

    /// Tells one answer; a refusal of one address does not keep the next from being asked, a missing engine does.
    fn take<T: Serialize>(&mut self, answer: Result<T, ClientError>, line: fn(&T) -> String) -> Result<(), Failure> {
        match answer {
            Ok(answer) if self.as_json => self.done.extend(serde_json::to_value(answer)),
            Ok(answer) => writeln!(io::stdout(), "{}", line(&answer))?,
            Err(refused @ ClientError::Refused { .. }) => {
                let failure = Failure::Client(refused);
                self.code = self.code.max(failure.code());
                complain(&failure, self.as_json);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn finish(self) -> Result<u8, Failure> {
        if self.as_json {
            print_json(&json!({ "done": self.done }))?;
        }
        Ok(self.code)
    }
}

fn made_line(made: &Made) -> String {
    let Rule { net, kind, left_s, .. } = &made.rule;
    let term = left_s.map_or_else(|| "for good".to_owned(), |left| format!("for {}", span(left)));
    let instead = match &made.replaced {
        Some(old) => old.left_s.map_or_else(
            || ", in place of the rule for good".to_owned(),
            |left| format!(", in place of the rule with {} left", span(left)),
        ),
        None => String::new(),
    };
    format!("{} {} {term}{instead}", kind.participle(), bare(net))
}

fn removed_line(removed: &Removed) -> String {
    let Rule { net, kind, .. } = &removed.removed;
    let then = match &removed.now {
        Some(now) => format!("; it is {} by {} now", now.kind.participle(), bare(&now.net)),
        None => String::new(),
    };
    format!("no longer {}: {}{then}", kind.participle(), bare(net))
}

/// A CIDR of one address as the address.
fn bare(net: &str) -> String {
    net.parse().map_or_else(|_| printable(net).into_owned(), address::show)
}

fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    Ok(writeln!(io::stdout(), "{}", printable_json(&text))?)
}

fn print_rules(rules: &[Rule]) -> Result<(), Failure> {
    if rules.is_empty() {
        return Ok(writeln!(io::stdout(), "no rules")?);
    }
    let mut rows = vec![["ADDRESS", "RULE", "LEFT", "ORIGIN", "REASON"].map(str::to_owned)];
    rows.extend(rules.iter().map(|rule| {
        let left = rule.left_s.map_or_else(|| "for good".to_owned(), span);
        let [who, reason] = [&rule.who, &rule.reason].map(|text| printable(text).into_owned());
        let origin = format!("{} {who}", rule.origin).trim_end().to_owned();
        [bare(&rule.net), rule.kind.word().to_owned(), left, origin, reason]
    }));
    print_table(&rows)
}

/// Columns as wide as their widest cell.
fn print_table<const N: usize>(rows: &[[String; N]]) -> Result<(), Failure> {
    let widths: [usize; N] =
        std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or_default());
    let mut out = io::BufWriter::new(io::stdout().lock());
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(out.flush()?)
}

async fn stats(client: &Client, cli: &Cli, watch: Option<u64>) -> Result<u8, Failure> {
    loop {
        let answer = client.stats().await?;
        let mut out = io::stdout().lock();
        if watch.is_some() && io::stdout().is_terminal() && !cli.json {
            // cursor home, the rest of the screen cleared
            write!(out, "\u{1b}[H\u{1b}[J")?;
        }
        drop(out);
        match (cli.json, watch) {
            (true, None) => print_json(&answer)?,
            // one object a line, for programs that follow
            (true, Some(_)) => writeln!(io::stdout(), "{}", printable_json(&answer.to_string()))?,
            (false, _) => write!(io::stdout(), "{}", stats_text(&answer))?,
        }
        let Some(seconds) = watch else { return Ok(0) };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// The counters for people. Whatever is missing is left out: an older or newer engine may say less or more.
fn stats_text(stats: &Value) -> String {
    let mut lines = Vec::new();
    let words = ["mode", "queues", "xdp", "bind", "relay", "inject"];
    let head = words.iter().filter_map(|key| Some(format!("{key} {}", word(stats.get(key)?))));
    lines.push(head.collect::<Vec<_>>().join(", "));
    let none = Map::new();
    let table = |key: &str| stats.get(key).and_then(Value::as_object).unwrap_or(&none);
    let judged = stats.get("judged").and_then(Value::as_u64).unwrap_or_default();
    lines.push(String::new());
    lines.push(format!("{judged:>15}  packets judged"));
    lines.extend(counters(table("reasons"), judged));
    if table("would_drop").values().any(|count| count.as_u64().unwrap_or_default() > 0) {
        lines.push(String::new());
        lines.push("would have been dropped, if this were enforced:".to_owned());
        lines.extend(counters(table("would_drop"), judged));
    }
    if let Some(sources) = stats.pointer("/verified/sources").and_then(Value::as_u64) {
        lines.push(String::new());
        lines.push(format!("{sources:>15}  sources verified"));
    }
    lines.extend(overload::pressure_lines(stats));
    for worker in stats.get("workers").and_then(Value::as_array).into_iter().flatten() {
        lines.push(String::new());
        lines.push(worker_line(worker));
        lines.extend(overload::given_up_line(worker));
        lines.extend(worker.get("peer").filter(|peer| peer.is_object()).map(peer_line));
        let received = worker.get("received").and_then(Value::as_u64).unwrap_or_default();
        for ended in ["answered", "taken", "dropped"].iter().filter_map(|key| worker.get(key)?.as_object()) {
            lines.extend(counters(ended, received));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn worker_line(worker: &Value) -> String {
    let number = |key: &str| worker.get(key).and_then(Value::as_u64).unwrap_or_default();
    let live = match worker.get("live").and_then(Value::as_bool) {
        Some(true) => "live",
        Some(false) => "not live: its queue takes the kernel's path",
        None => "",
    };
    let (queue, received, relayed, errors) =
        (number("queue"), number("received"), number("relayed"), number("relay_errors"));
    format!("queue {queue}: {received} received, {relayed} relayed, {errors} relay errors, {live}")
}

fn peer_line(peer: &Value) -> String {
    let number = |key: &str| peer.get(key).and_then(Value::as_u64).unwrap_or_default();
    let there = if peer.get("present").and_then(Value::as_bool) == Some(true) { "is there" } else { "is not there" };
    let (sent, busy, fell_back) = (number("sent"), number("busy"), number("fell_back"));
    let (received, bad) = (number("received"), number("bad_replies"));
    format!(
        "         peer {there}: {sent} sent to it, {busy} refused by it as busy, {fell_back} sent to this host \
         instead; {received} received of it, {bad} unfit"
    )
}

/// Counters that are not zero, the largest first, with their share of `whole`.
fn counters(table: &Map<String, Value>, whole: u64) -> Vec<String> {
    let counts = table.iter().filter_map(|(label, count)| Some((label, count.as_u64()?)));
    let mut counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(label, count)| (std::cmp::Reverse(*count), label.as_str()));
    let share = |count: u64| if whole == 0 { 0.0 } else { count as f64 * 100.0 / whole as f64 };
    counts.iter().map(|(label, count)| format!("{count:>15}  {} ({:.1} %)", printable(label), share(*count))).collect()
}

fn word(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    printable(&text).into_owned()
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
            assert!(cli.json && matches!(cli.command, Command::List { kind: Some(Kind::Block) }));
        }
    }

    #[test]
    fn every_kind_has_its_verb_its_way_back_and_its_list() {
        for kind in Kind::ALL {
            let taken = |words: &[&str]| Cli::try_parse_from(["vosctl"].iter().chain(words).copied()).expect("taken");
            taken(&[kind.word(), "10.0.0.0/8", "2001:db8::/32", "--ttl", "1h", "--reason", "why"]);
            taken(&[kind.undo(), "10.0.0.0/8"]);
            assert!(
                matches!(taken(&["list", kind.word()]).command, Command::List { kind: Some(only) } if only == kind)
            );
        }
    }

    #[test]
    fn one_engine_is_found_several_are_listed_none_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let cli = |words: &[&str]| {
            let run_dir = format!("--run-dir={}", directory.path().display());
            Cli::try_parse_from(["vosctl", &run_dir].iter().chain(words).copied()).expect("taken")
        };
        assert_eq!(find_socket(&cli(&["list"])).expect_err("none").code(), 3);
        let _one = std::os::unix::net::UnixListener::bind(directory.path().join("eth1.sock")).expect("bound");
        std::fs::write(directory.path().join("eth2.sock"), "").expect("written");
        assert_eq!(find_socket(&cli(&["list"])).expect("one"), directory.path().join("eth1.sock"));
        let _two = std::os::unix::net::UnixListener::bind(directory.path().join("eth0.sock")).expect("bound");
        let failure = find_socket(&cli(&["list"])).expect_err("two");
        assert_eq!((failure.code(), failure.message().contains("--iface (eth0, eth1)")), (2, true));
        assert_eq!(find_socket(&cli(&["--iface", "x", "list"])).expect("named"), directory.path().join("x.sock"));
    }

    #[test]
    fn stats_are_told_with_shares_and_without_zeros() {
        let text = stats_text(&json!({
            "mode": "relay", "queues": 4, "xdp": "native", "judged": 200,
            "reasons": { "redirect": 150, "stealth": 50, "blocked": 0 },
            "would_drop": { "stealth": 0 },
            "workers": [{ "queue": 0, "received": 150, "relayed": 149, "relay_errors": 1, "live": true,
                          "peer": { "present": true, "sent": 140, "busy": 2, "fell_back": 7, "received": 130, "bad_replies": 0 },
                          "answered": { "answered": 30, "unavailable": 0 }, "taken": { "keep_alive": 15 },
                          "dropped": { "evil\u{1b}[2J": 1 } }],
        }));
        assert_eq!(
            text,
            "mode relay, queues 4, xdp native\n\
             \n            200  packets judged\n            150  redirect (75.0 %)\n             50  stealth (25.0 %)\n\
             \nqueue 0: 150 received, 149 relayed, 1 relay errors, live\n         \
             peer is there: 140 sent to it, 2 refused by it as busy, 7 sent to this host instead; 130 received of it, 0 unfit\n             \
             30  answered (20.0 %)\n             15  keep_alive (10.0 %)\n              1  evil\\u{1b}[2J (0.7 %)\n"
        );
        assert!(stats_text(&json!({ "would_drop": { "stealth": 3 } })).contains("if this were enforced"));
        assert_eq!(stats_text(&json!([])), "\n\n              0  packets judged\n");
    }
}
