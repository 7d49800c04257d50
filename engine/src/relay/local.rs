use std::io;

use super::{Raw, Reentry, SendError};
use crate::pipeline::Checksum;

/// To the softswitch on this host, as frames.
#[derive(Debug)]
pub enum Local {
    /// Re-entry.
    Reentry(Reentry),
    /// Raw socket.
    Raw(Box<Raw>),
}

impl Local {
    /// Hands a frame on, at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn send(&mut self, frame: &mut [u8], checksum: Checksum, now: u64) -> Result<(), SendError> {
        match self {
            Self::Reentry(relay) => relay.send(frame, checksum).map_err(SendError::Io),
            Self::Raw(relay) => relay.send(frame, checksum, now),
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

/// Will the next packet fare no better?
pub(super) fn is_lasting(error: &io::Error) -> bool {
    // EIO: the TAP is down; EBADFD: its device is gone
    matches!(
        error.raw_os_error(),
        Some(libc::EIO | libc::EBADFD | libc::EBADF | libc::ENODEV | libc::ENETDOWN | libc::EPERM)
    )
}
