//! Programs run to their end or until their guard is dropped.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::unmask::unmask;
use crate::{Error, Result};

/// How long a program may take to end after SIGTERM before SIGKILL follows: an engine detaches from its interface
/// and closes its sockets in well under a second.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a command to its end and gives what it wrote to stdout; anything but exit code 0 is an error that quotes
/// stderr. Ctrl-C in the terminal does not reach it.
pub fn output(command: &mut Command) -> Result<String> {
    let out =
        unmask(command).stdin(Stdio::null()).process_group(0).output().map_err(|error| cannot_start(command, error))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    let said = if said.is_empty() { out.status.to_string() } else { said };
    Err(Error::CommandFailed { command: line(command), said })
}

/// A running program: ended (SIGTERM, then SIGKILL) when dropped. It has a process group of its own, so that Ctrl-C
/// in the terminal reaches only who started it, who then ends it in good order.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: Option<PathBuf>,
}

impl Program {
    /// Starts `command`; what it writes goes to the file `log` if there is one.
    pub fn start(name: &str, command: &mut Command, log: Option<&Path>) -> Result<Self> {
        if let Some(log) = log {
            let file = File::create(log).map_err(Error::io(format!("create {}", log.display())))?;
            let copy = file.try_clone().map_err(Error::io("copy a descriptor"))?;
            command.stdout(file).stderr(copy);
        }
        let child = unmask(command).stdin(Stdio::null()).process_group(0).spawn();
        let child = child.map_err(|error| cannot_start(command, error))?;
        Ok(Self { name: name.to_owned(), child, log: log.map(Path::to_owned) })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Takes the end of its stdout pipe, if [`Stdio::piped`] was asked for.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(Error::io(format!("wait for {}", self.name)))
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        let read = self.log.as_ref().and_then(|log| std::fs::read(log).ok());
        String::from_utf8_lossy(&read.unwrap_or_default()).into_owned()
    }

    /// The last `lines` lines it has written, indented.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let skip = log.lines().count().saturating_sub(lines);
        log.lines().skip(skip).map(|line| format!("    {line}\n")).collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).map_err(Error::io(format!("signal {}", self.name)))
    }

    /// Ends it: SIGTERM, and SIGKILL if that was not enough. `None`: it had to be killed.
    pub fn end(&mut self) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.ended()? {
            return Ok(Some(status));
        }
        self.signal(Signal::SIGTERM)?;
        let patience = Instant::now() + GRACE;
        while Instant::now() < patience {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.kill().map_err(Error::io(format!("kill {}", self.name)))?;
        self.child.wait().map_err(Error::io(format!("wait for {}", self.name)))?;
        Ok(None)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn cannot_start(command: &Command, error: io::Error) -> Error {
    let program = command.get_program().to_string_lossy().into_owned();
    if error.kind() != io::ErrorKind::NotFound {
        return Error::Io { doing: format!("start `{program}`"), source: error };
    }
    let remedy = match program.as_str() {
        "ip" => "apt install iproute2",
        "nsenter" => "apt install util-linux",
        "ethtool" => "apt install ethtool",
        _ => "give its path",
    };
    Error::ProgramMissing { program, remedy: remedy.to_owned() }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_on_sigterm_though_its_parent_blocks_that() {
        let mut term = nix::sys::signal::SigSet::empty();
        term.add(Signal::SIGTERM);
        term.thread_block().unwrap();
        let mut program = Program::start("sleep", Command::new("sleep").arg("60"), None).unwrap();
        let status = program.end().unwrap();
        assert!(status.is_some_and(|status| !status.success()), "SIGTERM was not enough");
    }

    #[test]
    fn what_a_failed_command_said_is_in_the_error() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 2"])).unwrap_err();
        assert!(error.to_string().ends_with("failed: no such thing"), "{error}");
        let missing = output(&mut Command::new("no-such-program")).unwrap_err();
        assert!(missing.to_string().starts_with("`no-such-program` not found"), "{missing}");
    }

    #[test]
    fn what_a_program_writes_is_in_its_log() {
        let log = std::env::temp_dir().join(format!("vos-bench-test-{}.log", std::process::id()));
        let mut program =
            Program::start("sh", Command::new("sh").args(["-c", "seq 5; echo last >&2"]), Some(&log)).unwrap();
        while program.ended().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(program.log_tail(2), "    5\n    last\n");
        std::fs::remove_file(log).unwrap();
    }
}
