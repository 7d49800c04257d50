//! `vosctl explain`: why packets go where they go.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use vos_common::packet::{self, Frame as _, LATER, SCTP, TCP, UDP};
use vos_engine::config::{Config, ConfigError};
use vos_engine::control::client::{Client, ClientError};
use vos_engine::control::clock::Clock;
use vos_engine::control::decision::Decision;
use vos_engine::control::socket;
use vos_engine::control::terminal::{printable, printable_json};
use vos_engine::control::wire::{Listing, Rule};
use vos_engine::explain::{Explanation, World, word};
use vos_engine::pcap::{self, Packet};
use vos_engine::xdp::aside::{Aside, AsideError};

use crate::Cli;
use crate::answer::Failure;
use crate::list::Pages;
use crate::reach::find_socket;

pub(crate) const HELP: &str = "\
Packets are judged as if the first of a file arrived now, and the others as long after it as they did: rates are
counted by the times in the capture, and every file begins anew. Rules are those of the engine that runs, if one does.
With --json the world comes first, then an object for each packet, one a line.

Exit codes:
  0  every packet was judged, whatever the verdicts
  1  a file could not be read (to its end), or the kernel did not take a packet or says otherwise
  2  wrong usage";

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// Captures (pcap, pcapng), or single Ethernet frames.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Judge by this configuration; the defaults if left out.
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    config: Option<PathBuf>,
    /// Judge by the filter that is loaded on this interface: its program, its rules, its own addresses. Needs root, and
    /// leaves no trace in its counters.
    #[arg(long, value_name = "IFACE")]
    kernel: Option<String>,
}

/// What cannot be done, before any packet is judged.
#[derive(Debug)]
pub(crate) enum Unjudged {
    Config(ConfigError),
    Kernel(AsideError),
}

impl fmt::Display for Unjudged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Kernel(error) => error.fmt(f),
        }
    }
}

impl From<AsideError> for Failure {
    fn from(error: AsideError) -> Self {
        Self::Unjudged(Unjudged::Kernel(error))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Unjudged(Unjudged::Config(error))
    }
}

/// Which world verdicts are made in, for whoever reads them.
#[derive(Debug, Serialize)]
struct Told {
    /// The configuration: a file, `defaults`, or the interface whose filter it is.
    config: String,
    /// Decisions known, of the engine that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<usize>,
    /// Said in words.
    notes: Vec<String>,
}

pub(crate) async fn explain(cli: &Cli, args: &ExplainArgs) -> Result<u8, Failure> {
    let mut judge = Judge::new(cli, args).await?;
    judge.tell(cli.json)?;
    let mut code = 0;
    for file in &args.files {
        let (packets, error) = pcap::read(file);
        code = code.max(judge.file(&file.display().to_string(), &packets, cli.json)?);
        if let Some(error) = error {
            eprintln!("vosctl: {}", printable(&error.to_string()));
            code = code.max(1);
        }
    }
    Ok(code)
}

struct Judge {
    world: World,
    aside: Option<Aside>,
    live: bool,
    told: Told,
}

/// A packet as `--json` shows it, one a line.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    /// Counted from 1.
    packet: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    length: usize,
    captured: usize,
    #[serde(flatten)]
    explanation: &'a Explanation,
    /// With --kernel: what the program said.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<Kernel>,
}

/// What the program in the kernel said.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Kernel {
    Said { verdict: &'static str, reason: &'static str, agrees: bool },
    Refused { error: String },
}

impl Judge {
    async fn new(cli: &Cli, args: &ExplainArgs) -> Result<Self, Failure> {
        let decisions = decisions(cli, args).await?;
        let clock = Clock::now();
        let mut notes = Vec::new();
        let (mut world, aside, live, config) = match &args.kernel {
            Some(iface) => {
                let mut aside = Aside::open(iface)?;
                let (config, live) = aside.begin(clock.mono_ns())?;
                let world = World::of_filter(config, aside.policy()?, live);
                notes.push(format!("judged by the filter on {iface}, its rules and its addresses"));
                if !live {
                    notes.push("no worker is live: survivors take the kernel's path".to_owned());
                }
                (world, Some(aside), live, iface.clone())
            }
            None => {
                let config = Config::read(args.config.as_deref(), |config| {
                    if config.iface.is_empty() {
                        // no interface is touched, and none need be named
                        config.iface = "explain".to_owned();
                    }
                })?;
                let from =
                    args.config.as_ref().map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
                notes.push(format!("judged in user space, configuration: {from}"));
                notes.push("every destination is taken as this host's, no source as verified".to_owned());
                (World::of_config(&config).map_err(AsideError::from)?, None, false, from)
            }
        };
        let rules = decisions.as_ref().map(Vec::len);
        notes.push(match rules {
            Some(rules) => format!("{rules} source rules, of the engine that runs, as they are now"),
            None if aside.is_some() => "no engine answers: the filter's rules have no names".to_owned(),
            None => "no engine answers: no source rules".to_owned(),
        });
        if let Some(decisions) = decisions {
            // a book without a kernel refuses nothing
            world = world.with_decisions(decisions, clock).map_err(io::Error::other)?;
        }
        Ok(Self { world, aside, live, told: Told { config, rules, notes } })
    }

    fn tell(&self, as_json: bool) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if as_json {
            let world = serde_json::json!({ "world": self.told });
            return writeln!(out, "{}", printable_json(&world.to_string()));
        }
        self.told.notes.iter().try_for_each(|note| writeln!(out, "# {}", printable(note)))
    }

    /// Judges the packets of one file, as if the first arrived now and the others as long after it as they did.
    fn file(&mut self, file: &str, packets: &[Packet], as_json: bool) -> Result<u8, Failure> {
        let begin = Clock::now().mono_ns();
        let config = self.aside.as_mut().map(|aside| aside.begin(begin)).transpose()?;
        self.live = config.is_some_and(|(_, live)| live);
        self.world.begin(config);
        let first = packets.iter().find_map(|packet| packet.at).unwrap_or_default();
        let mut code = 0;
        for (number, packet) in (1..).zip(packets) {
            let after = packet.at.unwrap_or(first).saturating_sub(first);
            let now = begin.saturating_add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
            let explanation = self.world.explain(&packet.frame, now);
            let kernel = self.aside.as_mut().map(|aside| ask(aside, packet, now, self.live, &explanation));
            if !matches!(kernel, None | Some(Kernel::Said { agrees: true, .. })) {
                code = 1;
            }
            let (source, destination) = ends(&packet.frame).unzip();
            let (length, captured) = (packet.frame.len(), packet.captured);
            let time = packet.at.map(|at| at.as_secs_f64());
            let line = Line {
                file,
                packet: number,
                time,
                source,
                destination,
                length,
                captured,
                explanation: &explanation,
                kernel,
            };
            print(&line, packet.at, as_json)?;
        }
        Ok(code)
    }
}

fn ask(aside: &mut Aside, packet: &Packet, now: u64, live: bool, explanation: &Explanation) -> Kernel {
    match aside.judge(&packet.frame, now, live) {
        Ok(judged) => Kernel::Said {
            verdict: word(judged.verdict.action),
            reason: judged.verdict.reason.label(),
            // Who is trusted or allowed the program tells only where a rule applies.
            agrees: (judged.verdict, judged.would) == (explanation.judged.verdict, explanation.judged.would),
        },
        Err(error) => Kernel::Refused { error: error.to_string() },
    }
}

/// The rules of the engine that runs; `None` where none does.
async fn decisions(cli: &Cli, args: &ExplainArgs) -> Result<Option<Vec<Decision>>, Failure> {
    let path = match (&cli.iface, &args.kernel) {
        (None, Some(iface)) => socket::path(&cli.run_dir, iface),
        _ => match find_socket(cli) {
            Ok(path) => path,
            Err(Failure::NoEngine { .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        },
    };
    let client = Client::new(path);
    let (mut pages, mut decisions) = (Pages::new(&client, Listing::default(), None), Vec::new());
    loop {
        match pages.next().await {
            Ok(Some(page)) => {
                let in_force = page.rules.iter().filter(|rule| rule.held.is_none());
                decisions.extend(in_force.filter_map(Rule::decision));
            }
            Ok(None) => return Ok(Some(decisions)),
            Err(Failure::Client(ClientError::Unreachable { .. })) if cli.iface.is_none() => return Ok(None),
            Err(failure) => return Err(failure),
        }
    }
}

/// Source and destination, with ports where there are any.
fn ends(frame: &[u8]) -> Option<(String, String)> {
    let flow = packet::flow(&frame)?;
    let has_ports = flow.fragment != LATER && matches!(flow.proto, UDP | TCP | SCTP);
    let end = |addr: vos_common::rule::Addr, at: usize| {
        let bytes = addr.to_bytes();
        let ip = IpAddr::from(bytes).to_canonical();
        match frame.be16(at).filter(|_| has_ports) {
            Some(port) => std::net::SocketAddr::new(ip, port).to_string(),
            None => ip.to_string(),
        }
    };
    Some((end(flow.src, flow.l4 as usize), end(flow.dst, flow.l4 as usize + 2)))
}

fn print(line: &Line<'_>, at: Option<Duration>, as_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if as_json {
        let json = serde_json::to_string(line).map_err(io::Error::from)?;
        return writeln!(out, "{}", printable_json(&json));
    }
    let time = at.and_then(|at| UNIX_EPOCH.checked_add(at));
    let time = time.map(|time| format!("  {}", humantime::format_rfc3339_millis(time))).unwrap_or_default();
    let ends = match (&line.source, &line.destination) {
        (Some(source), Some(destination)) => format!("  {source} > {destination}"),
        _ => String::new(),
    };
    let cut =
        if line.captured < line.length { format!(" ({} of them captured)", line.captured) } else { String::new() };
    writeln!(out, "{} #{}{time}{ends}  {} bytes{cut}", printable(line.file), line.packet, line.length)?;
    let Explanation { verdict, reason, because, would, .. } = line.explanation;
    writeln!(out, "  {verdict}  {reason}: {}", printable(because))?;
    if let Some(would) = would {
        writeln!(out, "  would be dropped, if this were enforced  {}: {}", would.reason, printable(&would.because))?;
    }
    match &line.kernel {
        None | Some(Kernel::Said { agrees: true, .. }) => Ok(()),
        Some(Kernel::Said { verdict, reason, .. }) => writeln!(
            out,
            "  but the kernel says  {verdict}  {reason}: the configuration changed in between, or the program is another version's"
        ),
        Some(Kernel::Refused { error }) => writeln!(out, "  not run by the kernel: {}", printable(error)),
    }
}
