//! From the ring to the softswitch.
//!
//! Whatever the way, a probe of the engine's own crosses it with every heartbeat. If it does not arrive, the worker
//! stops its heartbeat, and packets take the kernel's path.

/// What waits until a peer has room.
mod backlog;
/// What a worker and its peer have been to each other.
mod counts;
/// A datagram cut again.
mod cut;
/// Do firewall rules stand that the relay would go around?
mod firewall;
/// To the softswitch on this host, as frames.
mod local;
/// To somebody else, as datagrams.
mod peer;
/// To softswitches over UDP.
mod proxy;
/// The PROXY protocol, version 2.
pub mod proxy_v2;
/// Through a raw socket and `lo`, with checks of the engine's own; for generic XDP.
mod raw;
/// Through a TAP into the NIC's own ingress: every check of the kernel and the site stays in force.
mod reentry;
/// Would the kernel have taken this packet?
mod reverse_path;
/// The file of a worker's own socket.
mod socket_file;
/// To a program that listens at an AF_UNIX socket.
mod unix;

pub use backlog::{Backlog, SHARE, Waiting};
pub use counts::Counts;
pub use firewall::{Verdict as FirewallVerdict, inspect as inspect_firewall};
pub use local::Local;
pub use peer::Peer;
pub use proxy::{Line, Proxy, ResolveError, Switchboard, line_of, stable_hash};
pub use raw::Raw;
pub use reentry::{Reentry, Tap};
pub use reverse_path::{ReversePath, Tag};
pub use unix::Unix;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vos_common::packet::{Flow, WHOLE};
use vos_common::reason::Reason;

use crate::datagram::{End, Udp};
use crate::pipeline::{Brief, Checksum, Way};
use crate::transmit::Outgoing;

/// Why a packet did not get through the relay.
#[derive(Debug)]
pub enum SendError {
    /// The relay's own checks refuse it.
    Refused(Reason),
    /// There is no room: it may be sent later.
    Busy,
    /// Nobody is there to take it.
    Absent,
    /// The kernel did not take it.
    Io(io::Error),
}

impl SendError {
    /// Will the next packet fare no better? Then the worker stops its heartbeat at once.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Io(error) if local::is_lasting(error))
    }
}

/// A datagram for a [`Peer`].
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The caller.
    pub from: End,
    /// This host.
    pub to: End,
    /// What UDP carries.
    pub payload: &'a [u8],
    /// What it is, if it is SIP.
    pub brief: Option<&'a Brief>,
    /// `CLOCK_MONOTONIC`, ns.
    pub now: u64,
}

/// The peer has come, or has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerNews {
    /// Why it is not there; `None`: it is.
    pub why_absent: Option<String>,
}

/// One worker's way to the softswitch.
#[derive(Debug)]
pub struct Relay {
    /// To the softswitch on this host: the way, or where there is a peer what stands in for it.
    pub local: Option<Local>,
    /// To somebody else.
    pub peer: Option<Peer>,
    /// What the kernel would check on the way in, where there is a peer.
    pub reverse_path: Option<ReversePath>,
    /// What the peer has been to this worker.
    pub counts: Arc<Counts>,
    /// Was the peer there when it was told last?
    pub told: Option<bool>,
}

impl Relay {
    /// What is handed on.
    pub fn way(&self) -> Way {
        if self.peer.is_some() { Way::Datagrams } else { Way::Frames }
    }

    /// Hands a frame on, or the datagram in it; `flow` is where its headers are, if they can be read.
    pub fn send(
        &mut self,
        frame: &mut [u8],
        flow: Option<&Flow>,
        checksum: Checksum,
        brief: Option<&Brief>,
        now: u64,
    ) -> Result<(), SendError> {
        let refused = |reason| Err(SendError::Refused(reason));
        let Some(peer) = &mut self.peer else {
            return self.local.as_mut().map_or(refused(Reason::RelayAbsent), |local| local.send(frame, checksum, now));
        };
        let tag = Tag::of(frame);
        let datagram = flow.and_then(|flow| datagram(frame, flow, brief, now));
        let Some(datagram) = datagram else { return refused(Reason::BadLength) };
        admit(self.reverse_path.as_mut(), &datagram, tag)?;
        match (self.counts.of_sending(peer.send(&datagram)), &mut self.local) {
            (Err(SendError::Absent), Some(local)) => {
                local.send(frame, checksum, now)?;
                self.counts.fall_back();
                Ok(())
            }
            (Err(SendError::Absent), None) => refused(Reason::RelayAbsent),
            (sent, _) => sent,
        }
    }

    /// Sends a probe on the way; tells whether packets would get through.
    pub fn probe(&mut self, now: u64) -> bool {
        let peer = self.peer.as_mut().map(|peer| peer.look_after(now));
        let local = self.local.as_mut().map(Local::probe);
        match (peer, local) {
            // Where the operator wants packets dropped while nobody is there, they are.
            (Some(_), None) => true,
            (peer, local) => peer.unwrap_or(false) || local.unwrap_or(false),
        }
    }

    /// Has the peer come or gone since this was asked last? Asked behind [`probe`](Self::probe).
    pub fn news(&mut self) -> Option<PeerNews> {
        let here = self.peer.as_ref()?.here();
        let present = here.is_ok();
        self.counts.set_present(present);
        let news = self.told != Some(present);
        self.told = Some(present);
        news.then(|| PeerNews { why_absent: here.err() })
    }

    /// What the peer sends to a caller next.
    pub fn receive(&mut self, buffer: &mut [u8], now: u64) -> Option<Outgoing> {
        self.peer.as_mut()?.receive(buffer, now)
    }

    /// What to wait for.
    pub fn sockets(&self) -> [Option<BorrowedFd<'_>>; 2] {
        self.peer.as_ref().map_or([None, None], Peer::sockets)
    }
}

/// The kernel's check of a source, which a datagram for a peer goes past.
fn admit(
    reverse_path: Option<&mut ReversePath>,
    Datagram { from, to, now, .. }: &Datagram<'_>,
    tag: Tag,
) -> Result<(), SendError> {
    let Some(reverse_path) = reverse_path else { return Ok(()) };
    match reverse_path.accepts(&from.addr, &to.addr, tag, *now) {
        Ok(true) => Ok(()),
        Ok(false) => Err(SendError::Refused(Reason::ReversePath)),
        Err(error) => Err(SendError::Io(error)),
    }
}

/// The datagram in a frame; `None` in a part of one.
fn datagram<'a>(frame: &'a [u8], flow: &Flow, brief: Option<&'a Brief>, now: u64) -> Option<Datagram<'a>> {
    let udp = Udp::of(frame, flow).filter(|udp| udp.complete && flow.fragment == WHOLE)?;
    Some(Datagram { from: udp.from, to: udp.to, payload: udp.payload, brief, now })
}

#[cfg(test)]
mod tests;
