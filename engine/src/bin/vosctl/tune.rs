//! `vosctl tune`: the machine set up by a profile, and back as it was.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use vos_engine::config::Config;
use vos_engine::control::socket;
use vos_engine::control::terminal::printable;
use vos_engine::tune::journal::Found;
use vos_engine::tune::plan::{Plan, Site};
use vos_engine::tune::{Host, Journal, Line, Order, Profile, State, Store, TuneError, apply, drift, keys, revert};

use crate::Cli;
use crate::answer::{Failure, print_json};

#[derive(Args, Debug)]
pub(crate) struct TuneArgs {
    /// A built-in profile, or the path of one's own such as ./site.toml; left out: what is in force, and what differs from
    /// it.
    #[arg(conflicts_with_all = ["revert", "list"])]
    profile: Option<String>,
    /// Print the commands that would be run, and run none.
    #[arg(long, conflicts_with = "list")]
    dry_run: bool,
    /// Put back what was there before.
    #[arg(long, conflicts_with = "list")]
    revert: bool,
    /// Show the built-in profiles.
    #[arg(long)]
    list: bool,
    /// Reset the card beside an engine that is at work; with --revert: overwrite what somebody else has set since.
    #[arg(long)]
    force: bool,
    /// The engine's configuration, for SIP's ports, the workers' cores and the interface [default: /etc/vos/vos.toml, if
    /// there is one].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What was there before is kept in DIR/tune [default: control.state_dir].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Read and write the files of /proc and /sys there, for tests.
    #[arg(long, value_name = "DIR", hide = true, default_value = "/")]
    root: PathBuf,
}

/// The end of `vosctl tune --help`.
pub(crate) fn help() -> String {
    let exit = "\
Exit codes:
  0  all is in place, or skipped because this machine has no such thing
  1  set as far as it goes: something was refused, is held back, or differs; or nothing of it applies here
With all others nothing was begun:
  2  wrong usage, a profile that is not sound, or one that names cores which are not there
  4  there is no such interface
  6  another vosctl tune is at work, the journal cannot be read or written, vos.toml is not sound, or the machine does not tell \
what it has; the message says which. A journal that cannot be written any more ends it in the middle as well: --revert puts \
back what was done

Nothing outlives a reboot: run it again at boot. What is in force is changed back by another profile as far as that one does \
not name it.\n\n";
    format!("{exit}{}", keys::help())
}

/// Where a profile is from when nobody says otherwise.
const CONFIG: &str = "/etc/vos/vos.toml";

pub(crate) fn tune(cli: &Cli, args: &TuneArgs) -> Result<u8, Failure> {
    if args.list {
        return list(cli);
    }
    let profile = args.profile.as_deref().map(Profile::find).transpose().map_err(TuneError::from)?;
    let config = config(cli, args)?;
    if config.iface == NO_IFACE {
        return Err(Failure::Usage("which interface? --iface names it, or iface in vos.toml".into()));
    }
    let state_dir = args.state_dir.as_ref().unwrap_or(&config.control.state_dir);
    let host = match Host::open(&config.iface, &args.root) {
        // it may have left something that is the machine's
        Err(TuneError::NoInterface { .. }) if args.revert => Host::without(&config.iface, &args.root)?,
        host => host?,
    };
    let site = Site {
        sip_ports: config.xdp.sip_ports.clone(),
        worker_cores: config.worker.cores.cores().to_vec(),
        engine_runs: UnixStream::connect(socket::path(&cli.run_dir, &config.iface)).is_ok(),
    };
    let looks = args.dry_run || (profile.is_none() && !args.revert);
    let store = if looks { Store::look(state_dir, host.iface()) } else { Store::lock(state_dir, host.iface())? };
    store.share_lock()?;
    match profile {
        Some(profile) => {
            let (host, machine, profile, site, store) = (&host, &host, &profile, &site, &store);
            let order = Order { host, machine, profile, site, store, force: args.force };
            let plan = if args.dry_run { order.plan()? } else { apply(&order)? };
            tell(cli, args, &profile.name, host, plan)
        }
        None if args.revert => back(cli, args, &host, &site, &store),
        None => status(cli, args, &host, &store),
    }
}

/// Stands in for an interface that nobody has named: the configuration must have one.
const NO_IFACE: &str = "-";

fn config(cli: &Cli, args: &TuneArgs) -> Result<Config, Failure> {
    let path = args.config.as_deref().or_else(|| Some(Path::new(CONFIG)).filter(|path| path.exists()));
    let read = Config::read(path, |config| {
        if let Some(iface) = &cli.iface {
            config.iface.clone_from(iface);
        }
        if config.iface.is_empty() {
            config.iface = NO_IFACE.to_owned();
        }
    });
    read.map_err(Failure::Unconfigured)
}

fn list(cli: &Cli) -> Result<u8, Failure> {
    #[derive(Serialize)]
    struct Known {
        name: &'static str,
        summary: String,
    }
    let known = Profile::built_in().map(|(name, text)| {
        let profile = Profile::parse(name, text).map_err(TuneError::from)?;
        Ok(Known { name, summary: profile.summary().to_owned() })
    });
    let known: Vec<Known> = known.collect::<Result<_, Failure>>()?;
    crate::answer::tell(cli.json, &known, |known| {
        known.iter().map(|Known { name, summary }| format!("{name:12}  {summary}\n")).collect()
    })
}

fn back(cli: &Cli, args: &TuneArgs, host: &Host, site: &Site, store: &Store) -> Result<u8, Failure> {
    let nothing = |note: String| tell(cli, args, "", host, Plan { notes: vec![note], ..Plan::default() });
    let journal = match store.read(host)? {
        Found::None if host.index == 0 => return Err(Failure::NoInterface(host.iface().to_owned())),
        Found::None => return nothing("nothing is in force: nothing to put back".into()),
        Found::BeforeReboot(journal) => {
            if !args.dry_run {
                store.remove()?;
            }
            let note = format!("{} ended with the reboot since: nothing to put back", journal.profile);
            return nothing(note);
        }
        Found::Current(journal) => journal,
    };
    let name = journal.profile.clone();
    let lines = revert(host, host, store, journal, args.force, args.dry_run)?;
    let resets = |line: &Line| {
        line.knob.as_ref().is_some_and(|knob| knob.phase() == vos_engine::tune::setting::Phase::Reset)
            && matches!(line.state, State::Done(_))
    };
    let mut notes = Vec::new();
    if host.index == 0 {
        notes.push(format!("there is no {} any more: what was its own went with it", host.iface()));
    }
    if site.engine_runs && lines.iter().any(resets) {
        notes.push(
            "the card was reset beside the engine: restart vos-engine, it holds sockets of queues that were".into(),
        );
    }
    let amiss = lines.iter().any(|line| matches!(line.state, State::Failed(_) | State::Held(_)));
    tell(cli, args, &format!("back from {name}"), host, Plan { lines, notes, ..Plan::default() })?;
    // nothing but skipped lines is nothing amiss here
    Ok(u8::from(amiss))
}

fn status(cli: &Cli, args: &TuneArgs, host: &Host, store: &Store) -> Result<u8, Failure> {
    let (journal, note): (Option<Journal>, Option<String>) = match store.read(host)? {
        Found::None => (None, Some("nothing is in force; vosctl tune --list shows the profiles".into())),
        Found::BeforeReboot(old) => {
            let (profile, iface) = (old.profile, host.iface());
            let note = format!("{profile} ended with a reboot: vosctl tune {profile} --iface {iface}");
            tell(cli, args, "", host, Plan { notes: vec![note], ..Plan::default() })?;
            return Ok(1);
        }
        Found::Current(journal) => (Some(journal), None),
    };
    let mut plan = Plan { notes: note.into_iter().collect(), ..Plan::default() };
    let Some(journal) = journal else { return tell(cli, args, "", host, plan) };
    plan.lines = drift(host, &journal);
    if !journal.complete {
        plan.notes.push(format!(
            "not all of it was done (killed, or held back beside an engine): vosctl tune {0} --iface {1} goes on, vosctl tune --revert --iface {1} puts back",
            journal.profile,
            host.iface()
        ));
    }
    let code = tell(cli, args, &journal.profile, host, plan)?;
    Ok(code.max(u8::from(!journal.complete)))
}

/// One knob for a program.
#[derive(Serialize)]
struct Told {
    knob: String,
    state: &'static str,
    now: Option<String>,
    wanted: Option<String>,
    why: Option<String>,
    command: Option<String>,
}

impl Told {
    fn of(line: Line) -> Self {
        let text = |value: &vos_engine::tune::setting::Value| Some(value.to_string());
        let (state, wanted, why) = match &line.state {
            State::InPlace => ("in_place", None, None),
            State::Change(value) => ("to_do", text(value), None),
            State::Done(value) => ("done", text(value), None),
            State::Skipped(why) => ("skipped", None, Some(why.clone())),
            State::Held(why) => ("held", None, Some(why.clone())),
            State::Failed(why) => ("failed", None, Some(why.clone())),
        };
        let now = line.now.as_ref().and_then(text);
        Self { knob: line.label, state, now, wanted, why, command: line.command }
    }
}

#[derive(Serialize)]
struct Report {
    iface: String,
    profile: String,
    lines: Vec<Told>,
    notes: Vec<String>,
}

/// Says what is with each knob; the result is the exit code.
fn tell(cli: &Cli, args: &TuneArgs, profile: &str, host: &Host, plan: Plan) -> Result<u8, Failure> {
    let code = u8::from(is_amiss(&plan));
    let lines: Vec<Told> = plan.lines.into_iter().map(Told::of).collect();
    let report = Report { iface: host.iface().to_owned(), profile: profile.to_owned(), lines, notes: plan.notes };
    if cli.json {
        print_json(&report)?;
    } else {
        let text = if args.dry_run { script(&report) } else { text(&report) };
        write!(io::stdout(), "{text}")?;
    }
    Ok(code)
}

/// Is something not as it should be, or did nothing of it apply?
fn is_amiss(plan: &Plan) -> bool {
    let bad = |line: &Line| matches!(line.state, State::Failed(_) | State::Held(_));
    let skipped = |line: &Line| matches!(line.state, State::Skipped(_));
    plan.lines.iter().any(bad) || (!plan.lines.is_empty() && plan.lines.iter().all(skipped))
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    if !report.profile.is_empty() {
        text += &format!("{} on {}\n", printable(&report.profile), printable(&report.iface));
    }
    for line in &report.lines {
        let Told { knob, state, now, wanted, why, command } = line;
        let state = if *state == "failed" { "FAILED".to_owned() } else { state.replace('_', " ") };
        let now = now.as_deref().unwrap_or("-");
        let values = wanted.as_ref().map_or_else(|| now.to_owned(), |wanted| format!("{now} -> {wanted}"));
        let what = match why {
            Some(why) if state == "skipped" => why.clone(),
            Some(why) => format!("is {now}; {why}"),
            None => values,
        };
        text += &format!("  {state:8}  {}: {}\n", printable(knob), printable(&what));
        if let Some(command) = command.as_ref().filter(|command| !what.contains(command.as_str())) {
            text += &format!("{:12}{}\n", "", printable(command));
        }
    }
    report.notes.iter().for_each(|note| text += &format!("note: {}\n", printable(note)));
    text
}

/// What would be done, as a script that can be pasted.
fn script(report: &Report) -> String {
    let mut text = format!("# {} on {}\n", printable(&report.profile), printable(&report.iface));
    for Told { knob, state, now, why, command, .. } in &report.lines {
        let now = now.as_deref().unwrap_or("-");
        text += &match (command, why) {
            (Some(command), _) => format!("{}    # {knob}: is {now}\n", printable(command)),
            (None, Some(why)) => format!("# {state}: {knob}: {}\n", printable(why)),
            (None, None) => format!("# in place: {knob}: {now}\n"),
        };
    }
    report.notes.iter().for_each(|note| text += &format!("# note: {}\n", printable(note)));
    text
}
