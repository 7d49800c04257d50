//! `vosctl cluster push`: a list for many hosts, by ssh. Each of them runs `vosctl import`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use vos_engine::control::ask::End;
use vos_engine::control::terminal::printable;
use vos_engine::feed::lines::{self, Takes, Unreadable};

use crate::Cli;
use crate::answer::{Failure, print_json};
use crate::time::{self, Ttl};

pub(crate) const HELP: &str = "\
FILE is a list as `vosctl import` reads it. A ttl= counts from when the file was written, so the same file means the same
however often it is pushed. Each host runs `vosctl import`: what is refused there is told by its line, and
`vosctl undo` takes it back there. Keys and known hosts are ssh's business, which asks nothing. A connection that fails is
tried again after 1 s, 2 s, 4 s and so on. The exit code is 1 if a line or a host failed; the others are done.";

/// ssh's own exit code: no connection, or one that broke.
const NO_CONNECTION: i32 = 255;
/// A shell's exit code for a command that there is not.
const NO_COMMAND: i32 = 127;
/// Nothing is asked. A host that does not answer for so long is not there, one that falls silent neither.
const OPTIONS: [&str; 10] = [
    "-T",
    "-x",
    "-o",
    "BatchMode=yes",
    "-o",
    "ConnectTimeout=10",
    "-o",
    "ServerAliveInterval=5",
    "-o",
    "ServerAliveCountMax=3",
];
/// The longest wait for the next try.
const LONGEST: Duration = Duration::from_secs(30);
/// Lines told of each host that were not taken. More: the other hosts scroll away.
const TOLD: usize = 10;

#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// The list; - is standard input.
    file: PathBuf,
    /// Hosts, as ssh takes them: HOST, USER@HOST, ssh://USER@HOST:PORT.
    #[arg(required = true, value_name = "HOST", value_parser = host)]
    hosts: Vec<String>,
    /// How long lines hold that name no time; for good if left out.
    #[arg(long, value_name = "TIME", value_parser = time::ttl)]
    ttl: Option<Ttl>,
    /// Why, for lines that name no reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// One line that is bad, and nothing is sent; one that a host refuses, and nothing is changed there.
    #[arg(long)]
    strict: bool,
    /// Take lines that the guard refuses, as with `vosctl block --force`.
    #[arg(long)]
    force: bool,
    /// The ssh to run, with flags of its own, such as "ssh -p 2222 -i key".
    #[arg(long, value_name = "COMMAND", default_value = "ssh", value_parser = words)]
    ssh: Words,
    /// What to run there, as its shell reads it, such as "sudo vosctl".
    #[arg(long, value_name = "COMMAND", default_value = "vosctl")]
    remote: String,
    /// Hosts at once.
    #[arg(long, value_name = "NUMBER", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// How often a connection that fails is tried again.
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = clap::value_parser!(u8).range(0..=10))]
    retries: u8,
}

/// A command line in its words.
#[derive(Clone, Debug)]
struct Words(Vec<String>);

fn words(text: &str) -> Result<Words, String> {
    match shlex::split(text) {
        Some(words) if !words.is_empty() => Ok(Words(words)),
        _ => Err("it is no command: write it as in a shell, with every quote closed".to_owned()),
    }
}

fn host(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty: write a host".to_owned()),
        _ if text.starts_with('-') => Err("a host does not begin with -: ssh would take it for a flag".to_owned()),
        _ if text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err("there is a blank in it: write each host as a word of its own".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// What came of one host.
#[derive(Debug, Serialize)]
struct Pushed {
    host: String,
    /// Did it take every line?
    ok: bool,
    /// How often it was tried.
    tries: u32,
    /// What `vosctl import` reported there.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Value>,
    /// Why there is no report. Text of unknown origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A list as it is sent.
struct Sent {
    bytes: Vec<u8>,
    bad: usize,
}

/// 1 if a line was bad, or a host failed.
pub(crate) fn run(cli: &Cli, args: &PushArgs) -> Result<u8, Failure> {
    let (bytes, written) = read(&args.file)?;
    let sent = rewritten(&bytes, args, written);
    if args.strict && sent.bad > 0 {
        return Err(Failure::Io(io::Error::other(format!(
            "{} bad lines, and it is strict: nothing was sent",
            sent.bad
        ))));
    }
    let mut seen = BTreeSet::new();
    let hosts: Vec<&String> = args.hosts.iter().filter(|host| seen.insert(*host)).collect();
    let pushed = push_all(cli, args, &hosts, &sent.bytes);
    let failed = pushed.iter().filter(|pushed| !pushed.ok).count();
    if cli.json {
        print_json(&serde_json::json!({ "bad": sent.bad, "failed": failed, "hosts": pushed }))?;
    }
    Ok(u8::from(failed + sent.bad > 0))
}

/// The list, and when it was written, unix seconds.
fn read(file: &Path) -> Result<(Vec<u8>, u64), Failure> {
    let is_stdin = file.as_os_str() == "-";
    let read = || -> Result<_, Unreadable> {
        if is_stdin {
            return Ok((lines::bytes_of(io::stdin().lock())?, SystemTime::now()));
        }
        let file = File::open(file)?;
        Ok((lines::bytes_of(&file)?, file.metadata()?.modified()?))
    };
    let (bytes, written) = read().map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    Ok((bytes, written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()))
}

/// The list with the same numbers of lines, each with its end in place of its time to live; what makes no sense is told.
fn rewritten(bytes: &[u8], args: &PushArgs, written: u64) -> Sent {
    let (mut text, mut at, mut bad) = (String::new(), 1, 0);
    for line in lines::read(bytes, Takes::Every) {
        let mut line = match line {
            Ok(line) => line,
            Err(line) => {
                bad += 1;
                eprintln!("vosctl: {}", printable(&line.to_string()));
                continue;
            }
        };
        let default = args.ttl.and_then(Ttl::seconds).map(End::After);
        line.end = match line.end.or(default) {
            Some(End::After(ttl)) => Some(End::At(written.saturating_add(ttl))),
            end => end,
        };
        line.reason = line.reason.or_else(|| args.reason.as_deref().map(Into::into));
        while at < line.number {
            text.push('\n');
            at += 1;
        }
        text += &line.to_string();
    }
    text.push('\n');
    Sent { bytes: text.into_bytes(), bad }
}

/// All hosts, some at a time; each is told as soon as it is done.
fn push_all(cli: &Cli, args: &PushArgs, hosts: &[&String], list: &[u8]) -> Vec<Pushed> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((at, host)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, hosts.get(at)?)))
        {
            let pushed = push(cli, args, host, list);
            // nobody panics with the lock
            let Ok(mut done) = done.lock() else { return };
            if !cli.json {
                untaken(&pushed).iter().for_each(|line| eprintln!("vosctl: {}", printable(line)));
                println!("{}", printable(&line(&pushed)));
            }
            done.push((at, pushed));
        }
    };
    thread::scope(|scope| {
        for _ in 0..hosts.len().min(args.jobs.into()) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, pushed)| pushed).collect()
}

/// One host, until there is an answer or no more tries.
fn push(cli: &Cli, args: &PushArgs, host: &str, list: &[u8]) -> Pushed {
    let mut wait = Duration::from_secs(1);
    let mut tries = 1;
    loop {
        let output = import(cli, args, host, list);
        let is_cut = output.as_ref().is_ok_and(|output| output.status.code() == Some(NO_CONNECTION));
        if !is_cut || tries > u32::from(args.retries) {
            return judged(host, tries, output);
        }
        thread::sleep(wait);
        (wait, tries) = ((wait * 2).min(LONGEST), tries + 1);
    }
}

fn import(cli: &Cli, args: &PushArgs, host: &str, list: &[u8]) -> io::Result<Output> {
    let Words(ssh) = &args.ssh;
    let (program, flags) = ssh.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let remote = remote(cli, args).ok_or_else(|| io::Error::other("a NUL cannot be sent"))?;
    let mut child = Command::new(program)
        .args(flags)
        .args(OPTIONS)
        .args(["--", host, &remote])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
    let input = child.stdin.take();
    thread::scope(|scope| {
        scope.spawn(|| {
            // What ssh does not take, its exit code explains.
            let _told_by_ssh = input.map(|mut input| input.write_all(list));
        });
        Child::wait_with_output(child)
    })
}

/// What the other host's shell is to run.
fn remote(cli: &Cli, args: &PushArgs) -> Option<String> {
    let mut command = args.remote.clone();
    if let Some(iface) = &cli.iface {
        command += &format!(" --iface {}", shlex::try_quote(iface).ok()?);
    }
    command += " --json import";
    for (flag, wanted) in [(" --strict", args.strict), (" --force", args.force)] {
        command += if wanted { flag } else { "" };
    }
    Some(command + " -")
}

fn judged(host: &str, tries: u32, output: io::Result<Output>) -> Pushed {
    let mut pushed = Pushed { host: host.to_owned(), ok: false, tries, report: None, error: None };
    let output = match output {
        Ok(output) => output,
        Err(error) => return Pushed { error: Some(error.to_string()), ..pushed },
    };
    pushed.ok = output.status.success();
    pushed.report = serde_json::from_slice(&output.stdout).ok().filter(Value::is_object);
    if pushed.report.is_none() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let failure: Option<Value> = serde_json::from_str(last).ok();
        let error = failure.as_ref().and_then(|failure| failure.get("error")?.as_str()).unwrap_or(last);
        let error = match (output.status.code(), error) {
            (Some(NO_COMMAND), error) => format!("{error}; where vosctl is, or how it is run, says --remote"),
            (Some(0), _) => "what answered is no `vosctl import`".to_owned(),
            (_, "") => format!("ended with {}", output.status),
            (_, error) => error.to_owned(),
        };
        (pushed.ok, pushed.error) = (false, Some(error));
    }
    pushed
}

/// `edge1: 3 new, 120 in force already  (undo 7)`
fn line(pushed: &Pushed) -> String {
    const COUNTS: [(&str, &str); 7] = [
        ("made", "new"),
        ("replaced", "replaced"),
        ("already", "in force already"),
        ("ended", "ended already"),
        ("repeated", "said twice"),
        ("refused", "refused"),
        ("bad", "bad"),
    ];
    let host = &pushed.host;
    let tries = if pushed.tries > 1 { format!("  ({} tries)", pushed.tries) } else { String::new() };
    let Some(report) = &pushed.report else {
        return format!("{host}: failed: {}{tries}", pushed.error.as_deref().unwrap_or("no answer"));
    };
    let number = |key: &str| report.get(key).and_then(Value::as_u64).unwrap_or_default();
    let counts = COUNTS.iter().filter(|(key, _)| number(key) > 0 || *key == "made");
    let counts: Vec<String> = counts.map(|(key, what)| format!("{} {what}", number(key))).collect();
    let undo = report.get("set").and_then(Value::as_u64).map(|set| format!("  (undo {set})")).unwrap_or_default();
    let nothing = if report.get("dry_run") == Some(&Value::Bool(true)) { "nothing was changed: " } else { "" };
    format!("{host}: {nothing}{}{undo}{tries}", counts.join(", "))
}

/// The first lines that a host did not take, and why.
fn untaken(pushed: &Pushed) -> Vec<String> {
    let untaken = pushed.report.as_ref().and_then(|report| report.get("untaken")?.as_array());
    let told = |untaken: &Value| {
        let error = untaken.get("error").and_then(Value::as_str).unwrap_or("not taken");
        format!("{}: line {}: {error}", pushed.host, untaken.get("line").and_then(Value::as_u64).unwrap_or_default())
    };
    untaken.map(|untaken| untaken.iter().take(TOLD).map(told).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
