//! Kamailio of Debian, as a server to be measured.

use std::fs;
use std::time::Duration;

use vos_bench::process::output;
use vos_bench::{Error, Program, Result, Stop};

use crate::demo::site::{self, Site};

/// Where Debian keeps its modules.
const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";
/// How long it may take until it listens.
const START: Duration = Duration::from_secs(20);

/// Kamailio with these modules and routes on the server's IPv4 address, logging nothing. It listens when this is done.
pub(crate) fn kamailio(site: &Site, name: &str, script: &str, stop: &Stop) -> Result<Program> {
    let dir = site.dir(name)?;
    let config = format!(
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\ndisable_tcp=yes\nauto_aliases=no\ndns=no\nrev_dns=no\n\
         listen=udp:{}\nmpath=\"{MODULES}/\"\n{script}",
        site::SERVER[0]
    );
    let file = dir.join("kamailio.cfg");
    fs::write(&file, config).map_err(Error::io(format!("write {}", file.display())))?;
    let mut command = site.server.command("kamailio");
    command.args(["-DD", "-E", "-m", "64", "-M", "4", "-f"]).arg(&file).arg("-Y").arg(&dir).arg("-P");
    command.arg(dir.join("pid"));
    let mut program = Program::start("kamailio", &mut command, Some(&site.log("kamailio")))?;
    let listens = stop.wait_for(START, Duration::from_millis(20), || {
        let sockets = output(site.server.command("ss").args(["-Hlun", "sport = 5060"]))?;
        Ok((!sockets.trim().is_empty() || program.ended()?.is_some()).then_some(!sockets.trim().is_empty()))
    })?;
    match listens {
        Some(true) => Ok(program),
        _ => Err(Error::Other(format!("kamailio (apt install kamailio) does not listen:\n{}", program.log_tail(10)))),
    }
}
