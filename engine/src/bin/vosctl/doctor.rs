//! `vosctl doctor`: what on this host keeps the engine from starting, protecting or being fast.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use toml::de::DeTable;
use vos_engine::config::{self, Config, INTERFACE_NAME_MAX};
use vos_engine::control::terminal::printable;
use vos_engine::doctor::{self, Complaint, Finding, Question, Severity};

use crate::Cli;
use crate::answer::{Failure, WARNED, print_json};

pub(crate) const HELP: &str = "\
It asks the kernel, files below /proc and /sys, nft, iptables-save and ss; it loads the engine's programs and takes them
away again, and changes nothing. Each finding is ok, a note, a warning or an error; the worst come last, each with the
command that mends it.

Exit codes:
  0  nothing is worse than a note
  1  an error: the engine would not start as it is configured, or not protect
  5  a warning, and no error";

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// The interface that SIP arrives on [default: --iface, then that of the configuration, then that of the default route].
    #[arg(value_name = "IFACE")]
    interface: Option<String>,
    /// The engine's configuration [default: /etc/vos/vos.toml if it is there, else the defaults].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    interface: String,
    /// The worst of the findings.
    worst: Severity,
    findings: Vec<Finding>,
}

pub(crate) fn doctor(cli: &Cli, args: &DoctorArgs) -> Result<u8, Failure> {
    let (question, chosen) = question(cli, args)?;
    let mut findings = doctor::examine(&question).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NoInterface(question.iface.clone()),
        _ => Failure::Io(error),
    })?;
    // stable: of the same severity, in the order of the path
    findings.sort_by_key(|finding| finding.severity);
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    if cli.json {
        print_json(&Report { interface: question.iface, worst, findings })?;
    } else {
        let mut out = io::stdout().lock();
        writeln!(out, "{}: {chosen}", printable(&question.iface))?;
        findings.iter().try_for_each(|finding| tell(&mut out, finding))?;
        writeln!(out, "\n{}", summary(&findings))?;
    }
    Ok(match worst {
        Severity::Ok | Severity::Note => 0,
        Severity::Warning => WARNED,
        Severity::Error => 1,
    })
}

/// What is examined, and why that.
fn question(cli: &Cli, args: &DoctorArgs) -> Result<(Question, &'static str), Failure> {
    // one that cannot be looked for may be there
    let usual = || Some(PathBuf::from(config::USUAL_FILE)).filter(|usual| usual.try_exists().unwrap_or(true));
    let file = args.config.clone().or_else(usual);
    let named = args.interface.as_ref().map(|iface| (iface.clone(), "as asked for"));
    let named = named.or_else(|| cli.iface.as_ref().map(|iface| (iface.clone(), "as asked for")));
    let (iface, chosen) = match named {
        Some(named) => named,
        None => match file.as_deref().and_then(written_interface) {
            Some(iface) => (iface, "the interface of the configuration"),
            None => (of_default_route()?, "the interface of the default route"),
        },
    };
    if iface.is_empty() || iface.len() > INTERFACE_NAME_MAX {
        return Err(Failure::NoInterface(iface));
    }
    let (config, complaint) = match Config::read_to_run(file.as_deref(), about(&iface)) {
        Ok(config) => (config, None),
        // secrets that it names are root's and the engine's to read
        Err(error) => match Config::read(file.as_deref(), about(&iface)) {
            Ok(config) if !nix::unistd::geteuid().is_root() => {
                (config, Some(Complaint::FilesUnread(error.to_string())))
            }
            _ => (Config { iface: iface.clone(), ..Config::default() }, Some(Complaint::of(&error))),
        },
    };
    let question = Question { iface, config, file, complaint };
    Ok((question, chosen))
}

/// The interface that a file names, sound or not.
fn written_interface(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let (table, _) = DeTable::parse_recoverable(&text);
    let iface = table.get_ref().get("iface")?.get_ref().as_str()?;
    Some(iface.to_owned()).filter(|iface| !iface.is_empty())
}

/// Has a configuration be about this interface.
fn about(iface: &str) -> impl FnOnce(&mut Config) {
    move |config| iface.clone_into(&mut config.iface)
}

fn of_default_route() -> Result<String, Failure> {
    doctor::default_interface()?.ok_or_else(|| {
        Failure::Usage(
            "there is no default route: name the interface that SIP arrives on (vosctl doctor IFACE)".to_owned(),
        )
    })
}

const fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "ok     ",
        Severity::Note => "note   ",
        Severity::Warning => "WARNING",
        Severity::Error => "ERROR  ",
    }
}

fn tell(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    let Finding { check, severity, what, why, fix } = finding;
    writeln!(out, "{}  {check}: {}", mark(*severity), printable(what))?;
    if !why.is_empty() {
        writeln!(out, "           why: {}", printable(why))?;
    }
    if !fix.is_empty() {
        writeln!(out, "           fix: {}", printable(fix))?;
    }
    Ok(())
}

/// `2 errors, 1 warning, 3 notes, 14 ok`
fn summary(findings: &[Finding]) -> String {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let words = [
        (count(Severity::Error), "error", "errors"),
        (count(Severity::Warning), "warning", "warnings"),
        (count(Severity::Note), "note", "notes"),
        (count(Severity::Ok), "ok", "ok"),
    ];
    let words = words.iter().filter(|(count, ..)| *count > 0);
    words
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, what: &str) -> Finding {
        Finding { check: "mtu", severity, what: what.to_owned(), why: String::new(), fix: String::new() }
    }

    #[test]
    fn a_finding_is_a_line_and_what_it_wants_beneath() {
        let text = |finding: &Finding| {
            let mut out = Vec::new();
            tell(&mut out, finding).expect("room");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(text(&finding(Severity::Ok, "fits")), "ok       mtu: fits\n");
        let full =
            Finding { why: "slow".to_owned(), fix: "ip link".to_owned(), ..finding(Severity::Warning, "a\u{1b}[2Jb") };
        assert_eq!(text(&full), "WARNING  mtu: a\\u{1b}[2Jb\n           why: slow\n           fix: ip link\n");
    }

    #[test]
    fn the_summary_counts_by_severity_the_worst_first() {
        let findings =
            [Severity::Ok, Severity::Ok, Severity::Error, Severity::Note].map(|severity| finding(severity, ""));
        assert_eq!(summary(&findings), "1 error, 1 note, 2 ok");
        assert_eq!(summary(&[]), "");
    }
}
