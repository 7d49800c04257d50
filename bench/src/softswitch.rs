//! Softswitches to be measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vos_bench::process::output;
use vos_bench::{Error, Program, Result, Stop};

use crate::demo::site::{self, Site};

/// Where Debian keeps Kamailio's modules.
const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";
/// How long one may take until it listens.
const START: Duration = Duration::from_secs(20);

/// Where OpenSIPS is, which Debian does not have.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct OpenSips {
    /// OpenSIPS, 3.4 or later, for `--server opensips`
    #[arg(long = "opensips", value_name = "PATH", default_value = "opensips")]
    program: PathBuf,
    /// Where its modules are
    #[arg(long = "opensips-modules", value_name = "DIR", default_value = "/usr/lib/x86_64-linux-gnu/opensips/modules")]
    modules: PathBuf,
}

/// Kamailio of Debian with these modules and routes on the server's IPv4 address, logging nothing. It listens when this is
/// done.
pub(crate) fn kamailio(site: &Site, name: &str, script: &str, stop: &Stop) -> Result<Program> {
    let dir = site.dir(name)?;
    let config = format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\ndisable_tcp=yes\nauto_aliases=no\ndns=no\nrev_dns=no\n\
         listen=udp:{}\nmpath=\"{MODULES}/\"\n{script}",
        site::SERVER[0]
    );
    // Who is root by `su` may have no sbin in PATH.
    let program = Some("/usr/sbin/kamailio").filter(|file| Path::new(file).is_file()).unwrap_or("kamailio");
    let mut command = site.server.command(program);
    command.args(["-DD", "-E", "-m", "64", "-M", "4"]).arg("-Y").arg(&dir);
    start("kamailio", "apt install kamailio", &mut command, (&dir, &config), site, stop)
}

impl OpenSips {
    /// OpenSIPS (3.4 and later) likewise.
    pub(crate) fn start(&self, site: &Site, script: &str, stop: &Stop) -> Result<Program> {
        let dir = site.dir("opensips")?;
        let config = format!(
            "log_level=-1\nstderror_enabled=yes\nsyslog_enabled=no\nauto_aliases=no\nsocket=udp:{}\nmpath=\"{}/\"\n\
             loadmodule \"proto_udp.so\"\n{script}",
            site::SERVER[0],
            self.modules.display()
        );
        let mut command = site.server.command(&self.program);
        command.args(["-F", "-m", "64", "-M", "4"]);
        start("opensips", "give --opensips PATH --opensips-modules DIR", &mut command, (&dir, &config), site, stop)
    }
}

/// Starts it with this configuration in this directory.
fn start(
    name: &str,
    remedy: &str,
    command: &mut Command,
    (dir, config): (&Path, &str),
    site: &Site,
    stop: &Stop,
) -> Result<Program> {
    let file = dir.join(format!("{name}.cfg"));
    fs::write(&file, config).map_err(Error::io(format!("write {}", file.display())))?;
    command.arg("-f").arg(&file).arg("-P").arg(dir.join("pid"));
    let mut program = Program::start(name, command, Some(&site.log(name)))?;
    let listens = stop.wait_for(START, Duration::from_millis(20), || {
        let sockets = output(site.server.command("ss").args(["-Hlun", "sport = 5060"]))?;
        Ok((!sockets.trim().is_empty() || program.ended()?.is_some()).then_some(!sockets.trim().is_empty()))
    })?;
    match listens {
        Some(true) => Ok(program),
        _ => Err(Error::Other(format!("{name} ({remedy}) does not listen:\n{}", program.log_tail(10)))),
    }
}
