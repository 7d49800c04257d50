//! From the ring to the softswitch.
//!
//! Whatever the way, a probe of the engine's own crosses it with every heartbeat. If it does not arrive, the worker
//! stops its heartbeat, and packets take the kernel's path.

/// Do firewall rules stand that raw injection would go around?
mod firewall;
/// Through a raw socket and `lo`, with checks of the engine's own; for generic XDP.
mod raw;
/// Through a TAP into the NIC's own ingress: every check of the kernel and the site stays in force.
mod reentry;

pub use firewall::{Verdict as FirewallVerdict, inspect as inspect_firewall};
pub use raw::Raw;
pub use reentry::{Reentry, Tap};

use std::io;

use vos_common::reason::Reason;

use crate::pipeline::Checksum;

/// Why a packet did not get through the relay.
#[derive(Debug)]
pub enum SendError {
    /// The relay's own checks refuse it.
    Refused(Reason),
    /// The kernel did not take it.
    Io(io::Error),
}

impl SendError {
    /// Will the next packet fare no better? Then the worker stops its heartbeat at once.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Refused(_) => false,
            // EIO: the TAP is down; EBADFD: its device is gone
            Self::Io(error) => matches!(
                error.raw_os_error(),
                Some(libc::EIO | libc::EBADFD | libc::EBADF | libc::ENODEV | libc::ENETDOWN | libc::EPERM)
            ),
        }
    }
}

/// One worker's way to the softswitch.
#[derive(Debug)]
pub enum Relay {
    /// Re-entry.
    Reentry(Reentry),
    /// Raw socket.
    Raw(Box<Raw>),
}

impl Relay {
    /// Hands a frame on.
    pub fn send(&mut self, frame: &mut [u8], checksum: Checksum) -> Result<(), SendError> {
        match self {
            Self::Reentry(relay) => relay.send(frame, checksum).map_err(SendError::Io),
            Self::Raw(relay) => relay.send(frame, checksum),
        }
    }

    /// Sends a probe on the way; tells whether the last ones arrived. A lasting error is no arrival.
    pub fn probe(&mut self) -> bool {
        match self {
            Self::Reentry(relay) => relay.probe(),
            Self::Raw(relay) => relay.probe(),
        }
    }
}
