//! Who answers behind the set-ups.

use std::net::SocketAddr;

use vos_bench::{Program, Responder, Result, Stop};

use crate::demo::site::{self, Site};
use crate::softswitch::{OpenSips, kamailio};

/// The password of all phones.
pub(super) const PASSWORD: &str = "secret";

/// A server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Kamailio of Debian, which asks REGISTERs and INVITEs for credentials
    #[default]
    Kamailio,
    /// OpenSIPS, which asks for the same
    #[value(name = "opensips")]
    OpenSips,
    /// The responder in this program, which asks for nothing: nobody is ever verified by a challenge
    Responder,
}

/// The server that is wanted.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ServerOptions {
    /// Who answers
    #[arg(long = "server", value_enum, default_value_t)]
    pub(super) kind: Kind,
    #[command(flatten)]
    opensips: OpenSips,
    /// Processes of Kamailio or OpenSIPS
    #[arg(long, value_name = "N", default_value_t = 2)]
    children: u32,
}

/// A running server; it ends when dropped.
pub(super) enum Server {
    Program { _program: Program },
    Responder { _responder: Responder },
}

impl Server {
    pub(super) fn start(options: &ServerOptions, site: &Site, stop: &Stop) -> Result<Self> {
        let program = match options.kind {
            Kind::Kamailio => kamailio(site, "shield", &of_kamailio(options.children), stop)?,
            Kind::OpenSips => options.opensips.start(site, &of_opensips(options.children), stop)?,
            Kind::Responder => {
                let listen: Vec<SocketAddr> = site::SERVER.iter().filter_map(|address| address.parse().ok()).collect();
                return Ok(Self::Responder { _responder: site.server.enter(|| Responder::start(&listen))?? });
            }
        };
        Ok(Self::Program { _program: program })
    }
}

/// Challenges REGISTER and INVITE, answers all else; remembers nothing, so that what is measured is the way to it.
fn of_kamailio(children: u32) -> String {
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

/// The same in the words of OpenSIPS.
fn of_opensips(children: u32) -> String {
    format!(
        "udp_workers={children}\n\
         loadmodule \"signaling.so\"\nloadmodule \"sl.so\"\nloadmodule \"sipmsgops.so\"\nloadmodule \"auth.so\"\n\
         modparam(\"auth\", \"nonce_expire\", 3600)\nmodparam(\"auth\", \"disable_nonce_check\", 1)\n\
         modparam(\"auth\", \"username_spec\", \"$var(user)\")\n\
         modparam(\"auth\", \"password_spec\", \"$var(password)\")\nmodparam(\"auth\", \"calculate_ha1\", 1)\n\
         route {{\n  \
         if (is_method(\"ACK\")) exit;\n  \
         $var(user) = $au;\n  $var(password) = \"{PASSWORD}\";\n  \
         if (is_method(\"REGISTER\") && !pv_www_authorize(\"vos\")) {{\n    \
         www_challenge(\"vos\");\n    exit;\n  }}\n  \
         if (is_method(\"INVITE\") && !pv_proxy_authorize(\"vos\")) {{\n    \
         proxy_challenge(\"vos\");\n    exit;\n  }}\n  \
         append_to_reply(\"Contact: <sip:service@{}>\\r\\n\");\n  \
         sl_send_reply(200, \"OK\");\n}}\n",
        site::SERVER[0]
    )
}
