//! `vos-engine`: the daemon.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;
use vos_engine::config::{Attach, Bind, Config, ConfigError, CoreList, Inject, Mode, RelayTo, USUAL_FILE, Wait};
use vos_engine::daemon::{self, Options};
use vos_engine::xdp;

/// SIP fast path and shield: drops at the NIC what should never have arrived, and hands the rest to the softswitch.
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Take programs, links and maps off an interface; SIP then takes the kernel's path, unfiltered.
    Unload {
        /// The interface.
        #[arg(long)]
        iface: String,
    },
    /// Check the configuration as a start would, and print every error or what is not as by default; nothing is changed.
    Check(Box<Run>),
}

/// Flags override the configuration file.
#[derive(Args, Debug)]
struct Run {
    /// Configuration file (see configs/vos.toml) [default: /etc/vos/vos.toml if it is there, else none].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The interface that SIP arrives on.
    #[arg(long)]
    iface: Option<String>,
    /// RX queues to serve; 0: all that the interface has.
    #[arg(long)]
    queues: Option<u32>,
    /// What is done with packets.
    #[arg(long)]
    mode: Option<Mode>,
    /// How the XDP program is attached.
    #[arg(long)]
    xdp: Option<Attach>,
    /// How AF_XDP sockets are bound.
    #[arg(long)]
    bind: Option<Bind>,
    /// Where survivors go: local, unix:/PATH, unix-seqpacket:/PATH, proxy:HOST:PORT or proxy.
    #[arg(long, value_name = "WHERE")]
    relay: Option<RelayTo>,
    /// How survivors get to the softswitch on this host.
    #[arg(long)]
    inject: Option<Inject>,
    /// What a worker does when there is nothing to do.
    #[arg(long)]
    wait: Option<Wait>,
    /// Cores to pin workers to, the first for queue 0, such as 4-7.
    #[arg(long)]
    cores: Option<CoreList>,
    /// Directory of the API's socket.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Take a foreign XDP program off the interface.
    #[arg(long)]
    replace: bool,
    /// Take the filter off at the end; otherwise it stays in force.
    #[arg(long)]
    unload_on_exit: bool,
}

impl Run {
    /// With the usual file, if none is named and it is there: decided once, so that a reload finds it missing and does not
    /// take up the defaults.
    fn with_file(mut self) -> Self {
        self.config = self.config.or_else(|| Some(PathBuf::from(USUAL_FILE)).filter(|usual| usual.exists()));
        self
    }

    /// What it is called.
    fn file(&self) -> String {
        self.config.as_ref().map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string())
    }

    fn options(&self) -> Options {
        Options { replace: self.replace, unload_on_exit: self.unload_on_exit }
    }

    /// The file as it is now, and these flags over it.
    fn config(&self) -> Result<Config, ConfigError> {
        Config::read_to_run(self.config.as_deref(), |config| self.apply(config))
    }

    fn apply(&self, config: &mut Config) {
        set(&mut config.iface, &self.iface);
        set(&mut config.queues, &self.queues);
        set(&mut config.mode, &self.mode);
        set(&mut config.xdp.attach, &self.xdp);
        set(&mut config.xsk.bind, &self.bind);
        set(&mut config.relay.to, &self.relay);
        set(&mut config.relay.inject, &self.inject);
        set(&mut config.worker.wait, &self.wait);
        set(&mut config.worker.cores, &self.cores);
        set(&mut config.control.run_dir, &self.run_dir);
        set(&mut config.control.state_dir, &self.state_dir);
    }

    /// Prints what is wrong, or what is not as by default.
    fn check(&self) -> ExitCode {
        let file = self.file();
        match Config::check(self.config.as_deref(), |config| self.apply(config)) {
            Ok(config) => {
                println!("{file}: valid");
                config.told().iter().for_each(|(key, value)| println!("{key} = {value}"));
                ExitCode::SUCCESS
            }
            Err(errors) => {
                errors.iter().for_each(|error| eprintln!("{error}"));
                eprintln!("{file}: {} errors", errors.len());
                ExitCode::FAILURE
            }
        }
    }
}

fn set<T: Clone>(key: &mut T, flag: &Option<T>) {
    if let Some(value) = flag {
        *key = value.clone();
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A newer kernel tells more about a link than the netlink crate knows; that is no news to an operator. What lapin
    // calls errors is said by whoever uses it, in words that name the fix, and not with each try.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,netlink_packet_route=error,lapin=off"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // The journal has its own times.
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.init();
    }
    let outcome = match cli.command {
        Some(Command::Unload { iface }) => unload(&iface).map_err(|message| (message, 1)),
        Some(Command::Check(run)) => return run.with_file().check(),
        None => {
            let run = cli.run.with_file();
            info!("configuration: {}", run.file());
            let options = run.options();
            daemon::run(move || run.config(), options).map_err(|error| (error.to_string(), error.exit_status()))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((message, status)) => {
            error!("{message}");
            ExitCode::from(status)
        }
    }
}

fn unload(iface: &str) -> Result<(), String> {
    let removed = xdp::unload(iface).map_err(|error| error.to_string())?;
    if removed.is_empty() {
        println!("{iface}: there was nothing to remove");
    } else {
        println!("{iface}: removed {}", removed.join(", "));
    }
    Ok(())
}
