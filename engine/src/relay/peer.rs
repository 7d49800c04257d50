use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{Counts, Datagram, Proxy, SendError, Switchboard, Unix};
use crate::config::{Config, RelayTo};
use crate::policy::Secret;
use crate::transmit::Outgoing;

/// Whoever takes datagrams instead of the softswitch on this host.
#[derive(Debug)]
pub enum Peer {
    /// A program on this host.
    Unix(Box<Unix>),
    /// Softswitches, over UDP.
    Proxy(Box<Proxy>),
}

impl Peer {
    /// Worker `queue`'s way to whoever `config` names; `None` where that is the softswitch on this host. `board` is
    /// there where there are softswitches to choose from; `secret` is what observations are hashed with.
    pub fn open(
        config: &Config,
        queue: u32,
        counts: &Arc<Counts>,
        board: Option<&Arc<Switchboard>>,
        secret: &Secret,
    ) -> io::Result<Option<Self>> {
        match (&config.relay.to, board) {
            (RelayTo::Local, _) => Ok(None),
            (RelayTo::Unix { path, seqpacket }, _) => {
                let counts = Arc::clone(counts);
                let unix = Unix::new(path, *seqpacket, &config.iface, queue, counts, secret.clone());
                Ok(Some(Self::Unix(Box::new(unix))))
            }
            (RelayTo::Proxy(_), Some(board)) => {
                Ok(Some(Self::Proxy(Box::new(Proxy::open(config, queue, board, counts)?))))
            }
            (RelayTo::Proxy(_), None) => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }

    /// Hands a datagram on. [`SendError::Busy`]: not now; [`SendError::Absent`]: nobody is there.
    pub fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SendError> {
        match self {
            Self::Unix(unix) => unix.send(datagram),
            Self::Proxy(proxy) => proxy.send(datagram),
        }
    }

    /// What it sends to a caller next, if there is something: its payload is written into `buffer`.
    pub fn receive(&mut self, buffer: &mut [u8], now: u64) -> Option<Outgoing> {
        match self {
            Self::Unix(unix) => unix.receive(buffer),
            Self::Proxy(proxy) => proxy.receive(buffer, now),
        }
    }

    /// Called with every heartbeat, at `now` (ns of `CLOCK_MONOTONIC`): is anybody there?
    pub fn look_after(&mut self, now: u64) -> bool {
        match self {
            Self::Unix(unix) => unix.look_after(now),
            Self::Proxy(proxy) => proxy.look_after(),
        }
    }

    /// Was anybody there when it was looked for last? If not, why?
    pub fn here(&self) -> Result<(), String> {
        match self {
            Self::Unix(unix) => unix.here().map_err(ToString::to_string),
            Self::Proxy(proxy) if proxy.here() => Ok(()),
            Self::Proxy(_) => Err("every backend is dead".to_owned()),
        }
    }

    /// What to wait for: readable when there is something to [`receive`](Self::receive).
    pub fn sockets(&self) -> [Option<BorrowedFd<'_>>; 2] {
        match self {
            Self::Unix(unix) => [unix.socket(), None],
            Self::Proxy(proxy) => proxy.sockets(),
        }
    }
}
