use std::io;
use std::os::fd::BorrowedFd;

use super::{Datagram, SendError};
use crate::config::{Config, RelayTo};
use crate::transmit::Outgoing;

/// Whoever takes datagrams instead of the softswitch on this host.
#[derive(Debug)]
pub enum Peer {}

impl Peer {
    /// Worker `queue`'s way to whoever `config` names; `None` where that is the softswitch on this host.
    pub fn open(config: &Config, _queue: u32) -> io::Result<Option<Self>> {
        match &config.relay.to {
            RelayTo::Local => Ok(None),
            RelayTo::Unix { .. } | RelayTo::Proxy(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }

    /// Hands a datagram on. [`SendError::Busy`]: not now; [`SendError::Absent`]: nobody is there.
    pub fn send(&mut self, _datagram: &Datagram<'_>) -> Result<(), SendError> {
        match *self {}
    }

    /// What it sends to a caller next, if there is something: its payload is written into `buffer`.
    pub fn receive(&mut self, _buffer: &mut [u8], _now: u64) -> Option<Outgoing> {
        match *self {}
    }

    /// Called with every heartbeat, at `now` (ns of `CLOCK_MONOTONIC`): is anybody there?
    pub fn look_after(&mut self, _now: u64) -> bool {
        match *self {}
    }

    /// What to wait for: readable when there is something to [`receive`](Self::receive).
    pub fn sockets(&self) -> [Option<BorrowedFd<'_>>; 2] {
        match *self {}
    }
}
