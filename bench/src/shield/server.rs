//! Who answers behind the set-ups.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use vos_bench::process::output;
use vos_bench::{Error, Program, Responder, Result, Stop};

use crate::demo::site::{self, Site};

/// The password of all phones.
pub(super) const PASSWORD: &str = "secret";
/// Where Debian keeps Kamailio's modules.
pub(crate) const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";
/// How long Kamailio may take until it listens.
const START: Duration = Duration::from_secs(20);

/// A server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Kamailio of Debian, which asks REGISTERs and INVITEs for credentials
    #[default]
    Kamailio,
    /// The responder in this program, which asks for nothing: nobody is ever verified by a challenge
    Responder,
}

/// A running server; it ends when dropped.
pub(super) enum Server {
    Kamailio { _program: Program },
    Responder { _responder: Responder },
}

impl Server {
    pub(super) fn start(kind: Kind, site: &Site, children: u32, stop: &Stop) -> Result<Self> {
        match kind {
            Kind::Kamailio => Ok(Self::Kamailio { _program: kamailio(site, "shield", &shield(children), stop)? }),
            Kind::Responder => {
                let listen: Vec<SocketAddr> = site::SERVER.iter().filter_map(|address| address.parse().ok()).collect();
                Ok(Self::Responder { _responder: site.server.enter(|| Responder::start(&listen))?? })
            }
        }
    }
}

/// Challenges REGISTER and INVITE, answers all else; remembers nothing, so that what is measured is the way to it.
fn shield(children: u32) -> String {
    format!(
        "children={children}\n\
         loadmodule \"pv.so\"\nloadmodule \"sl.so\"\nloadmodule \"textops.so\"\nloadmodule \"auth.so\"\n\
         modparam(\"auth\", \"nonce_expire\", 3600)\n\
         request_route {{\n  \
         if (is_method(\"ACK\")) exit;\n  \
         if (is_method(\"REGISTER\") && !pv_www_authenticate(\"vos\", \"{PASSWORD}\", \"0\")) {{\n    \
         www_challenge(\"vos\", \"0\");\n    exit;\n  }}\n  \
         if (is_method(\"INVITE\") && !pv_proxy_authenticate(\"vos\", \"{PASSWORD}\", \"0\")) {{\n    \
         proxy_challenge(\"vos\", \"0\");\n    exit;\n  }}\n  \
         append_to_reply(\"Contact: <sip:service@{}>\\r\\n\");\n  \
         sl_send_reply(\"200\", \"OK\");\n}}\n",
        site::SERVER[0]
    )
}

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
