use std::net::IpAddr;

use axum::extract::connect_info::Connected;
use axum::http::{HeaderMap, header};
use axum::serve::IncomingStream;
use nix::unistd::User;
use tokio::net::UnixListener;
use tokio::runtime::Handle;

use super::{Problem, outside};
use crate::control::ask::By;
use crate::control::client::AGENT;
use crate::control::decision::Origin;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// A process on this host, of this user.
    Unix(Option<u32>),
    /// Whoever knows the token, from this address.
    Tcp(IpAddr),
    /// Whoever knows the token, by the page, of which only this host's end is known.
    Page,
}

impl Peer {
    /// Who asks: vosctl or another program.
    pub(super) async fn by(self, headers: &HeaderMap, runtime: &Handle) -> Result<By, Problem> {
        let (origin, who, operator) = match self {
            Self::Unix(Some(uid)) => (door(headers), outside(runtime, move || user(uid)).await?, None),
            Self::Unix(None) => (door(headers), String::new(), None),
            Self::Tcp(ip) => (Origin::Api, format!("TCP {ip}"), Some(ip)),
            Self::Page => (Origin::Api, "page".to_owned(), None),
        };
        Ok(By { origin, who: who.into(), force: false, operator })
    }
}

fn door(headers: &HeaderMap) -> Origin {
    let tool = AGENT.split('/').next().unwrap_or_default();
    let is_tool = headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(tool.as_bytes()));
    if is_tool { Origin::Cli } else { Origin::Api }
}

/// By whatever the host has (`nsswitch.conf(5)`), which may ask the network.
fn user(uid: u32) -> String {
    let name = User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
    name.unwrap_or_else(|| format!("uid {uid}"))
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::Unix(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}
