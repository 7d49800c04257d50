//! From the relay to the caller: datagrams that leave by the queue's TX ring, past the kernel.

/// Headers around a payload.
mod build;
/// Who is reached by which Ethernet header.
mod learned;

pub use build::{End, Link, PAYLOAD_MAX, build, packet_length};
pub use learned::{LIFE, Learned};

use vos_common::packet::Flow;

use crate::xsk::Queue;

/// A datagram on its way to a caller.
#[derive(Debug)]
pub struct Outgoing {
    /// This host's end.
    pub from: End,
    /// The caller's.
    pub to: End,
    /// Where its payload stands in the buffer that it was read into.
    pub payload: std::ops::Range<usize>,
}

/// Which way a datagram left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Sent {
    /// By the TX ring.
    Ring,
    /// By the kernel.
    Kernel,
    /// Not at all: no room in the TX ring, or the kernel refuses it.
    Lost,
}

impl Sent {
    /// All ways; the position of each is its counter's.
    pub const ALL: [Self; 3] = [Self::Ring, Self::Kernel, Self::Lost];

    /// The word for it in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Kernel => "kernel",
            Self::Lost => "lost",
        }
    }
}

/// One worker's way to the callers.
#[derive(Debug)]
pub struct Transmitter {
    learned: Learned,
    mtu: usize,
}

impl Transmitter {
    /// For an interface of this MTU, bytes.
    pub fn new(mtu: u32, seed: u64) -> Self {
        Self { learned: Learned::new(seed), mtu: mtu as usize }
    }

    /// The interface's MTU, bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu as u32
    }

    /// A frame came in at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn learn(&mut self, frame: &[u8], flow: &Flow, now: u64) {
        self.learned.learn(frame, flow, now);
    }

    /// Sends a datagram with the queue's next flush.
    pub fn send(&mut self, queue: &mut Queue, from: &End, to: &End, payload: &[u8], now: u64) -> Sent {
        let Some(link) = self.learned.link(&to.addr, now) else { return Sent::Lost };
        if packet_length(to.addr.is_v4(), payload.len()) > self.mtu {
            return Sent::Lost;
        }
        let Some(mut frame) = queue.take() else { return Sent::Lost };
        match build(queue.room(&mut frame), &link, from, to, payload) {
            Some(length) => match queue.transmit(frame, length) {
                Ok(()) => Sent::Ring,
                Err(frame) => {
                    queue.release(frame);
                    Sent::Lost
                }
            },
            None => {
                queue.release(frame);
                Sent::Lost
            }
        }
    }
}
