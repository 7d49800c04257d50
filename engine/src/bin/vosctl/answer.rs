//! What comes of a command: text or JSON on standard output, errors on standard error, and the exit code.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Value, json};
use vos_engine::config::ConfigError;
use vos_engine::control::address;
use vos_engine::control::client::ClientError;
use vos_engine::control::terminal::{printable, printable_json};
use vos_engine::tune::TuneError;

use crate::explain::Unjudged;

/// What [`Failure::code`] and the commands return, for `--help` and the manual pages.
pub(crate) const EXIT_CODES: [(u8, &str); 7] = [
    (0, "done"),
    (1, "refused or failed, in part at least; the message says what to do"),
    (2, "wrong usage, a bad address or profile included; nothing was sent, nothing was changed"),
    (3, "the engine cannot be reached; the filter that is loaded stays in force meanwhile"),
    (4, "not found: there is no such rule, change, backend or interface"),
    (WARNED, "doctor has warnings, and no errors"),
    (UNTUNED, "tune has changed nothing, or nothing more since its journal could not be written; the message says why"),
];

/// `doctor` has found nothing that keeps the engine from protecting, and something that it would be better without.
pub(crate) const WARNED: u8 = 5;

/// `tune` was kept from its work as a whole, by what may be otherwise when it is tried again.
pub(crate) const UNTUNED: u8 = 6;

/// What they do not say by themselves.
pub(crate) const EXIT_NOTES: &str = "\
events -f, top and capture end with 3 when the engine stops before they are done.
With several addresses the highest code counts.";

/// The end of `--help`.
pub(crate) fn exit_help() -> String {
    let codes = EXIT_CODES.map(|(code, what)| format!("  {code}  {what}\n")).concat();
    format!("Exit codes:\n{codes}{EXIT_NOTES}")
}

/// What went wrong, with the exit code for it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No answer, or one that says no.
    Client(ClientError),
    /// No engine runs.
    NoEngine { run_dir: PathBuf },
    /// More than one runs.
    SeveralEngines { ifaces: Vec<String> },
    /// There is no such interface.
    NoInterface(String),
    /// A file, a pipe, the terminal.
    Io(io::Error),
    /// `explain` cannot begin.
    Unjudged(Unjudged),
    /// `tune` has not begun, or cannot go on.
    Untuned(TuneError),
    /// `tune` cannot read the engine's configuration.
    Unconfigured(ConfigError),
    /// What clap cannot know.
    Usage(String),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Unreachable { .. }) | Self::NoEngine { .. } => 3,
            Self::Client(ClientError::Refused { status: 404, .. })
            | Self::NoInterface(_)
            | Self::Untuned(TuneError::NoInterface { .. }) => 4,
            Self::SeveralEngines { .. }
            | Self::Usage(_)
            | Self::Untuned(TuneError::Profile(_) | TuneError::NoCores { .. }) => 2,
            Self::Untuned(_) | Self::Unconfigured(_) => UNTUNED,
            Self::Client(_) | Self::Io(_) | Self::Unjudged(_) => 1,
        }
    }

    /// As `--json` prints it.
    fn json(&self) -> Value {
        let code = match self {
            Self::Client(ClientError::Refused { failure, .. }) => failure.code.as_str(),
            Self::Client(ClientError::Unreachable { .. }) | Self::NoEngine { .. } => "unreachable",
            Self::SeveralEngines { .. } => "several_engines",
            Self::NoInterface(_) | Self::Untuned(TuneError::NoInterface { .. }) => "no_such_interface",
            Self::Untuned(TuneError::Profile(_) | TuneError::NoCores { .. }) => "bad_profile",
            Self::Untuned(_) | Self::Unconfigured(_) => "not_tuned",
            Self::Usage(_) => "usage",
            Self::Client(_) | Self::Io(_) | Self::Unjudged(_) => "failed",
        };
        json!({ "error": self.to_string(), "code": code })
    }

    /// Tells it, unless nobody wants to hear more.
    pub(crate) fn end(&self, as_json: bool) -> ExitCode {
        match self {
            // `vosctl list | head` is no failure
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            failure => {
                complain(failure, as_json);
                ExitCode::from(failure.code())
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::NoEngine { run_dir } => write!(
                f,
                "no engine listens in {}; is vos-engine running? the filter that is loaded stays in force meanwhile",
                run_dir.display()
            ),
            Self::SeveralEngines { ifaces } => {
                write!(f, "several engines run: choose one with --iface ({})", ifaces.join(", "))
            }
            Self::NoInterface(iface) => {
                write!(f, "there is no interface {iface}: `ip -br link` lists those that there are")
            }
            Self::Io(error) => error.fmt(f),
            Self::Unjudged(why) => why.fmt(f),
            Self::Untuned(why) => why.fmt(f),
            Self::Unconfigured(why) => why.fmt(f),
            Self::Usage(what) => f.write_str(what),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<TuneError> for Failure {
    fn from(error: TuneError) -> Self {
        Self::Untuned(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One error on standard error.
pub(crate) fn complain(failure: &Failure, as_json: bool) {
    if as_json {
        eprintln!("{}", printable_json(&failure.json().to_string()));
    } else {
        eprintln!("vosctl: {}", printable(&failure.to_string()));
    }
}

/// One answer, as JSON or in words.
pub(crate) fn tell<T: Serialize>(as_json: bool, answer: &T, text: impl Fn(&T) -> String) -> Result<u8, Failure> {
    if as_json {
        print_json(answer)?;
    } else {
        write!(io::stdout(), "{}", text(answer))?;
    }
    Ok(0)
}

/// What came of each address of one command.
pub(crate) struct Answers {
    as_json: bool,
    done: Vec<Value>,
    code: u8,
}

impl Answers {
    pub(crate) fn new(as_json: bool) -> Self {
        Self { as_json, done: Vec::new(), code: 0 }
    }

    /// Tells one answer; a refusal of one address does not keep the next from being asked, a missing engine does.
    pub(crate) fn take<T: Serialize>(
        &mut self,
        answer: Result<T, ClientError>,
        line: fn(&T) -> String,
    ) -> Result<(), Failure> {
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

    pub(crate) fn finish(self) -> Result<u8, Failure> {
        if self.as_json {
            print_json(&json!({ "done": self.done }))?;
        }
        Ok(self.code)
    }
}

pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    Ok(writeln!(io::stdout(), "{}", printable_json(&text))?)
}

/// Rows as lines, in columns as wide as their widest cell so far: what comes in parts keeps its columns.
pub(crate) struct Table<const N: usize> {
    widths: [usize; N],
}

impl<const N: usize> Table<N> {
    pub(crate) const fn new() -> Self {
        Self { widths: [0; N] }
    }

    /// The lines of these rows.
    pub(crate) fn lines(&mut self, rows: &[[String; N]]) -> String {
        for (row, column) in rows.iter().flat_map(|row| row.iter().zip(0..)) {
            self.widths[column] = self.widths[column].max(row.chars().count());
        }
        let line = |row: &[String; N]| {
            let cells: Vec<String> =
                row.iter().zip(self.widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }
}

/// A CIDR of one address as the address.
pub(crate) fn bare(net: &str) -> String {
    net.parse().map_or_else(|_| printable(net).into_owned(), address::show)
}

/// `1h 15m`
pub(crate) fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// The same for a column: only the two largest units.
pub(crate) fn short_span(seconds: u64) -> String {
    span(seconds).split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `2027-01-01T00:00:00Z`, of what any unix second may be.
pub(crate) fn date(seconds: u64) -> String {
    // the last second of the year 9999, beyond which there is no such form
    let seconds = seconds.min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

#[cfg(test)]
mod tests {
    use vos_engine::control::wire;
    use vos_engine::tune::Profile;

    use super::*;

    #[test]
    fn every_failure_has_its_exit_code_and_its_word() {
        let refused = |status, code: &str| {
            let failure = wire::Failure { error: "because".into(), code: code.into() };
            Failure::Client(ClientError::Refused { status, failure })
        };
        let io = |kind| io::Error::new(kind, "x");
        let (untuned, gone) = (Failure::Untuned, || io(io::ErrorKind::NotFound));
        let unreachable = ClientError::Unreachable { path: "/x".into(), source: io(io::ErrorKind::NotFound) };
        for (failure, code, word) in [
            (refused(400, "bad_address"), 1, "bad_address"),
            (refused(404, "no_such_rule"), 4, "no_such_rule"),
            (refused(404, "no_such_change"), 4, "no_such_change"),
            (refused(409, "guarded"), 1, "guarded"),
            (refused(507, "map_full"), 1, "map_full"),
            (Failure::Client(unreachable), 3, "unreachable"),
            (Failure::Client(ClientError::Forbidden { path: "/x".into() }), 1, "failed"),
            (Failure::Client(ClientError::Broken { path: "/x".into(), what: "y".into() }), 1, "failed"),
            (Failure::NoEngine { run_dir: "/run/vos".into() }, 3, "unreachable"),
            (Failure::SeveralEngines { ifaces: vec!["a".into(), "b".into()] }, 2, "several_engines"),
            (Failure::NoInterface("eth9".into()), 4, "no_such_interface"),
            (Failure::Io(io(io::ErrorKind::PermissionDenied)), 1, "failed"),
            (Failure::Usage("so".into()), 2, "usage"),
            (untuned(Profile::find("fast").expect_err("none").into()), 2, "bad_profile"),
            (untuned(Profile::parse("x", "[interface\n").expect_err("bad").into()), 2, "bad_profile"),
            (untuned(TuneError::NoInterface { iface: "eth9".into(), source: gone() }), 4, "no_such_interface"),
            (untuned(TuneError::Busy { path: "/x".into() }), UNTUNED, "not_tuned"),
            (untuned(TuneError::Journal { path: "/x".into(), source: gone() }), UNTUNED, "not_tuned"),
        ] {
            assert_eq!((failure.code(), failure.json()["code"].as_str()), (code, Some(word)), "{failure:?}");
            assert!(EXIT_CODES.iter().any(|(known, _)| *known == code));
            assert!(!failure.to_string().is_empty());
        }
    }

    #[test]
    fn a_table_in_parts_keeps_its_columns() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned);
        let mut table = Table::new();
        assert_eq!(table.lines(&[row(["ADDRESS", "X"]), row(["a", "b"])]), "ADDRESS  X\na        b\n");
        assert_eq!(table.lines(&[row(["203.0.113.7", ""]), row(["ж", "b"])]), "203.0.113.7\nж            b\n");
        assert_eq!(table.lines(&[row(["a", "b"])]), "a            b\n");
    }

    #[test]
    fn times_are_short_enough_for_a_column() {
        assert_eq!((short_span(59), short_span(90_061)), ("59s".to_owned(), "1day 1h".to_owned()));
        assert_eq!((date(0).as_str(), date(u64::MAX).as_str()), ("1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"));
    }
}
