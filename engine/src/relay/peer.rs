use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::{Counts, Datagram, SendError, Unix};
use crate::config::{Config, RelayTo};
use crate::transmit::Outgoing;

/// Whoever takes datagrams instead of the softswitch on this host.
#[derive(Debug)]
pub enum Peer {
    /// A program on this host.
    Unix(Unix),
}

impl Peer {
    /// Worker `queue`'s way to whoever `config` names; `None` where that is the softswitch on this host.
    pub fn open(config: &Config, queue: u32, counts: &Arc<Counts>) -> io::Result<Option<Self>> {
        match &config.relay.to {
            RelayTo::Local => Ok(None),
            RelayTo::Unix { path, seqpacket } => {
                Ok(Some(Self::Unix(Unix::new(path, *seqpacket, &config.iface, queue, Arc::clone(counts)))))
            }
            RelayTo::Proxy(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }

    /// Hands a datagram on. [`SendError::Busy`]: not now; [`SendError::Absent`]: nobody is there.
    pub fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SendError> {
        match self {
            Self::Unix(unix) => unix.send(datagram),
        }
    }

    /// What it sends to a caller next, if there is something: its payload is written into `buffer`.
    pub fn receive(&mut self, buffer: &mut [u8], _now: u64) -> Option<Outgoing> {
        match self {
            Self::Unix(unix) => unix.receive(buffer),
        }
    }

    /// Called with every heartbeat, at `now` (ns of `CLOCK_MONOTONIC`): is anybody there?
    pub fn look_after(&mut self, now: u64) -> bool {
        match self {
            Self::Unix(unix) => unix.look_after(now),
        }
    }

    /// Was anybody there when it was looked for last? If not, why?
    pub fn here(&self) -> Result<(), &io::Error> {
        match self {
            Self::Unix(unix) => unix.here(),
        }
    }

    /// What to wait for: readable when there is something to [`receive`](Self::receive).
    pub fn sockets(&self) -> [Option<BorrowedFd<'_>>; 2] {
        match self {
            Self::Unix(unix) => [unix.socket(), None],
        }
    }
}
