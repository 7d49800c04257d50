//! The engine and its tool, as an operator uses them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use vos_bench::process::output;
use vos_bench::{Error, Program, QUIET, Result, Stop};

use super::counters::Counters;
use super::ledger::Check;
use super::site::{self, Site};

/// How long the engine may take until it has the interface: loading and verifying the program takes most of it.
const START: Duration = Duration::from_secs(20);
/// Lines of its log that are shown when it fails.
const TAIL: usize = 25;

/// Which ones are measured.
#[derive(clap::Args)]
pub(crate) struct ProgramOptions {
    /// The engine [default: vos-engine beside this program]
    #[arg(long, value_name = "PATH")]
    engine: Option<PathBuf>,
    /// The operator's tool [default: vosctl beside this program]
    #[arg(long, value_name = "PATH")]
    vosctl: Option<PathBuf>,
}

impl ProgramOptions {
    /// Where they are; an error if one is not there.
    pub(crate) fn find(&self) -> Result<Programs> {
        Ok(Programs {
            engine: find(self.engine.as_deref(), "vos-engine")?,
            vosctl: find(self.vosctl.as_deref(), "vosctl")?,
        })
    }
}

/// The engine's program and the operator's.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    engine: PathBuf,
    vosctl: PathBuf,
}

impl Programs {
    /// An engine with this `vos.toml` and these words.
    pub(crate) fn start(&self, site: &Site, toml: &str, words: &[&str], stop: &Stop) -> Result<Engine> {
        let config = site.dir("config")?.join("vos.toml");
        fs::write(&config, toml).map_err(Error::io(format!("write {}", config.display())))?;
        let config = config.display().to_string();
        let words = [words, &["--config", &config]].concat();
        Engine::start(self, site, &words.into_iter().map(str::to_owned).collect::<Vec<_>>(), stop)
    }
}

/// The program of this name: where the option says, or beside this one.
fn find(given: Option<&Path>, name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(Error::io("find this program's file"))?;
    let path = given.map_or_else(|| own.with_file_name(name), Path::to_owned);
    // Made absolute: it is run by way of nsenter, which looks up names without a slash in PATH.
    std::fs::canonicalize(&path).map_err(|_| Error::ProgramMissing {
        program: path.display().to_string(),
        remedy: format!(
            "build it with `cargo build -p vos-engine --bins`, or give --{} PATH",
            name.trim_start_matches("vos-")
        ),
    })
}

/// A running engine. Dropped, it is ended and what it pinned is removed.
pub(crate) struct Engine {
    program: Program,
    /// `vosctl` and `vos-engine unload`, ready but for their words.
    vosctl: Vec<String>,
    unload: Vec<String>,
    left: bool,
}

impl Engine {
    /// Starts it and waits until it says that it is ready. No flood is an attack to it, unless a configuration is given.
    pub(crate) fn start(programs: &Programs, site: &Site, more: &[String], stop: &Stop) -> Result<Self> {
        let inside = |program: &Path| words(&site.server.command(program));
        let (state, run) = (site.dir("state")?, site.dir("run")?);
        let mut command = site.server.command(&programs.engine);
        command.args(["--iface", &site.iface, "--queues", &site.queues.to_string()]);
        command.arg("--state-dir").arg(&state).arg("--run-dir").arg(&run).args(more);
        if !more.iter().any(|word| word == "--config") {
            let config = site.dir("quiet")?.join("vos.toml");
            fs::write(&config, QUIET).map_err(Error::io(format!("write {}", config.display())))?;
            command.arg("--config").arg(&config);
        }
        let mut vosctl = inside(&programs.vosctl);
        vosctl.extend(["--iface", &site.iface, "--run-dir", &run.display().to_string()].map(str::to_owned));
        let mut unload = inside(&programs.engine);
        unload.extend(["unload", "--iface", &site.iface].map(str::to_owned));
        let program = Program::start("vos-engine", &mut command, Some(&site.log("engine")))?;
        let mut engine = Self { program, vosctl, unload, left: false };
        let ready = stop.wait_for(START, Duration::from_millis(20), || {
            let ready = engine.program.log().lines().any(|line| line.contains("ready"));
            Ok((ready || engine.program.ended()?.is_some()).then_some(ready))
        })?;
        match ready {
            Some(true) => Ok(engine),
            Some(false) => Err(engine.failure("ended before it was ready")),
            None => Err(engine.failure(&format!("was not ready after {} s", START.as_secs()))),
        }
    }

    /// Runs `vosctl` with these words.
    pub(crate) fn tool(&self, more: &[&str]) -> Result<String> {
        output(command(&self.vosctl).args(more)).map_err(|error| self.failure(&format!("did not do as told: {error}")))
    }

    /// The monitor may send as much as it likes: what is measured is a flood.
    pub(crate) fn let_monitor_flood(&self) -> Result<()> {
        let told: [&[&str]; 3] =
            [&["allow", site::MONITOR_NET], &["rule", "rate_options", "off"], &["rule", "rate_source", "off"]];
        told.into_iter().try_for_each(|words| self.tool(words).map(drop))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.program.id()
    }

    /// What it has counted.
    pub(crate) fn counters(&self) -> Result<Counters> {
        Counters::read(&self.tool(&["stats", "--json"])?)
    }

    /// Ends it by SIGKILL; what it pinned stays.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.left = true;
        self.program.signal(Signal::SIGKILL)?;
        self.program.end().map(drop)
    }

    /// Ends it in good order; what it pinned stays.
    pub(crate) fn end(mut self) -> Result<()> {
        self.left = true;
        self.program.end().map(drop)
    }

    /// Ends it in good order, takes away what it pinned, and checks that all that was done.
    pub(crate) fn leave(mut self) -> Result<Vec<Check>> {
        let status = self.program.end()?;
        let ended = status.map_or("killed after SIGTERM had no effect".to_owned(), |status| status.to_string());
        let unloaded = output(&mut command(&self.unload));
        self.left = unloaded.is_ok();
        let unloaded = unloaded.err().map_or("done".to_owned(), |error| error.to_string());
        Ok(vec![
            Check::new("engine ends on SIGTERM", "exit status: 0", ended),
            Check::new("vos-engine unload", "done", unloaded),
        ])
    }

    fn failure(&self, what: &str) -> Error {
        let tail = self.program.log_tail(TAIL);
        let tail = if tail.is_empty() { "    (nothing)\n".to_owned() } else { tail };
        Error::Other(format!("the engine {what}; the end of its log:\n{}", tail.trim_end()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let _ = self.program.end();
        // Where it failed before it had pinned anything there is nothing to unload, and an error says no more.
        let _ = output(&mut command(&self.unload));
    }
}

fn words(command: &Command) -> Vec<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}
