//! Who answers behind the set-ups.

use std::net::SocketAddr;

use vos_bench::{Program, Responder, Result, Stop};

use crate::demo::site::{self, Site};
use crate::kamailio::kamailio;

/// The password of all phones.
pub(super) const PASSWORD: &str = "secret";

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
