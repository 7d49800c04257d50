//! `vosctl import`, `vosctl export`: lists of decisions, a line each.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use vos_engine::control::ask::End;
use vos_engine::control::client::Client;
use vos_engine::control::decision::Kind;
use vos_engine::control::terminal::{printable, printable_json};
use vos_engine::control::wire::{Import, Imported, Listing, Rule, Untaken};
use vos_engine::feed::lines::{self, Line, Unreadable};

use crate::Cli;
use crate::answer::{Failure, print_json};
use crate::list::{self, Pages};
use crate::session::ssh_connection;
use crate::time::{self, Ttl};

pub(crate) const FORMAT: &str = "\
A line is an address or CIDR, then what is wanted of ttl=15m (or forever), until=2027-01-01T00:00:00Z, kind=block (allow,
trust) and reason=...; # begins a comment. At most 1,000,000 lines and 64 MiB. Lines that make no sense are told by their
number, and the others are taken; all of them are one change, which `vosctl undo` takes back.";

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The list; - is standard input.
    file: PathBuf,
    /// One line that is bad or refused, and nothing is changed.
    #[arg(long)]
    strict: bool,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    /// How long lines hold that name no time; for good if left out.
    #[arg(long, value_name = "TIME", value_parser = time::ttl)]
    ttl: Option<Ttl>,
    /// Why, for lines that name no reason.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Take lines that the guard refuses, as with `vosctl block --force`.
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Only these: trust, block or allow.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
}

/// 1 if a line was bad or refused.
pub(crate) async fn import(client: &Client, cli: &Cli, args: &ImportArgs) -> Result<u8, Failure> {
    let (name, list) = read(&args.file)?;
    let import = Import {
        name: Some(name.clone()),
        ttl_s: args.ttl.and_then(Ttl::seconds),
        reason: args.reason.clone(),
        strict: args.strict,
        dry_run: args.dry_run,
        force: args.force,
        ssh_connection: ssh_connection(cli, !args.dry_run),
    };
    let report = client.import(&import, list).await?;
    if cli.json {
        print_json(&report)?;
    } else {
        eprint!("{}", untaken_lines(&report));
        writeln!(io::stdout(), "{}", report_line(&name, args.dry_run, &report))?;
    }
    Ok(u8::from(report.bad + report.refused > 0))
}

fn read(file: &Path) -> Result<(String, Vec<u8>), Failure> {
    let is_stdin = file.as_os_str() == "-";
    let name = if is_stdin { "standard input".to_owned() } else { file.display().to_string() };
    let bytes = match is_stdin {
        true => lines::bytes_of(io::stdin().lock()),
        false => File::open(file).map_err(Unreadable::Io).and_then(lines::bytes_of),
    };
    let bytes = bytes.map_err(|error| io::Error::other(format!("{name}: {error}")))?;
    Ok((name, bytes))
}

fn report_line(name: &str, asked_dry: bool, report: &Imported) -> String {
    let Imported { made, replaced, already, ended, repeated, refused, bad, dry_run, set, .. } = report;
    let counts = [
        (replaced, "replaced"),
        (already, "in force already"),
        (ended, "ended already"),
        (repeated, "said twice"),
        (refused, "refused"),
        (bad, "bad"),
    ];
    let counts: String = counts.iter().filter(|(n, _)| **n > 0).map(|(n, what)| format!(", {n} {what}")).collect();
    let name = printable(name);
    match (dry_run, set) {
        (true, _) if asked_dry => format!("{name} would be: {made} new{counts}"),
        (true, _) => format!("{name}: nothing was changed, since it is strict; it would be {made} new{counts}"),
        (false, Some(set)) => format!("{name}: {made} new{counts}  (undo {set})"),
        (false, None) => format!("{name}: nothing was changed: {made} new{counts}"),
    }
}

fn untaken_lines(report: &Imported) -> String {
    let line = |Untaken { line, error, refused }: &Untaken| {
        let refused = if *refused { "refused: " } else { "" };
        format!("vosctl: line {line}: {refused}{}\n", printable(error))
    };
    let mut text: String = report.untaken.iter().map(line).collect();
    let more = (report.bad + report.refused).saturating_sub(report.untaken.len() as u64);
    if more > 0 {
        text += &format!("vosctl: and {more} more\n");
    }
    text
}

pub(crate) async fn export(client: &Client, cli: &Cli, args: &ExportArgs) -> Result<u8, Failure> {
    let mut pages = Pages::new(client, Listing { kind: args.kind, ..Listing::default() }, None);
    if cli.json {
        return list::json(pages).await;
    }
    let mut out = io::BufWriter::new(io::stdout());
    while let Some(page) = pages.next().await? {
        for rule in &page.rules {
            writeln!(out, "{}", line(rule)?)?;
        }
    }
    Ok(out.flush().map(|()| 0)?)
}

/// The line that import takes back.
fn line(rule: &Rule) -> Result<String, Failure> {
    let net = rule.net.parse().map_err(|_| Failure::Io(io::Error::other(format!("`{}` is no CIDR", rule.net))))?;
    let reason = (!rule.reason.is_empty()).then(|| rule.reason.as_str().into());
    let line = Line { number: 0, net, kind: rule.kind, end: rule.until.map(End::At), reason };
    // what a terminal would obey is in quotes, as JSON escapes it
    Ok(printable_json(&line.to_string()).into_owned())
}

#[cfg(test)]
mod tests {
    use vos_engine::control::decision::Origin;

    use super::*;

    #[test]
    fn what_is_exported_is_read_as_the_same() {
        let rule = Rule {
            net: "203.0.113.0/24".into(),
            kind: Kind::Trust,
            until: Some(1_800_000_000),
            left_s: Some(1),
            reason: "a \"b\" # c\u{1b}\u{9b}\u{202e}\n".into(),
            origin: Origin::File,
            who: "x".into(),
            node: String::new(),
            made: 0,
            held: None,
        };
        let plain = Rule {
            net: "2001:db8::7/128".into(),
            kind: Kind::Block,
            until: None,
            reason: String::new(),
            ..rule.clone()
        };
        let text = line(&rule).expect("a line") + "\n" + &line(&plain).expect("a line") + "\n";
        assert_eq!(printable(&text.replace('\n', "")), text.replace('\n', ""), "a terminal obeys nothing of it");
        assert!(text.ends_with("\n2001:db8::7\n"), "{text}");
        let read: Result<Vec<Line>, _> = lines::read(text.as_bytes(), lines::Takes::Every).collect();
        let read = read.expect("lines");
        assert_eq!(
            (read[0].net, read[0].kind, read[0].end),
            (rule.net.parse().expect("a net"), Kind::Trust, Some(End::At(1_800_000_000)))
        );
        assert_eq!(read[0].reason.as_deref(), Some(rule.reason.as_str()));
        assert_eq!((read[1].kind, read[1].end, read[1].reason.as_deref()), (Kind::Block, None, None));
    }

    #[test]
    fn a_report_counts_what_there_is_and_names_the_lines() {
        let untaken = vec![
            Untaken { line: 3, error: "`x\u{1b}[2J` is not an address".into(), refused: false },
            Untaken { line: 9, error: "203.0.113.7 is trusted".into(), refused: true },
        ];
        let report = Imported {
            lines: 9,
            made: 4,
            already: 2,
            refused: 1,
            bad: 2,
            untaken,
            set: Some(7),
            ..Imported::default()
        };
        assert_eq!(
            report_line("a.txt", false, &report),
            "a.txt: 4 new, 2 in force already, 1 refused, 2 bad  (undo 7)"
        );
        assert_eq!(
            untaken_lines(&report),
            "vosctl: line 3: `x\\u{1b}[2J` is not an address\nvosctl: line 9: refused: 203.0.113.7 is trusted\nvosctl: and 1 more\n"
        );
        let strict = Imported { dry_run: true, set: None, ..report };
        assert!(
            report_line("a.txt", false, &strict)
                .starts_with("a.txt: nothing was changed, since it is strict; it would be 4 new")
        );
        assert!(report_line("a.txt", true, &strict).starts_with("a.txt would be: 4 new"));
        assert_eq!(report_line("a.txt", false, &Imported::default()), "a.txt: nothing was changed: 0 new");
    }
}
