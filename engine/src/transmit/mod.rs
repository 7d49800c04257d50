//! From the relay to the caller: datagrams that leave by the queue's TX ring, past the kernel.
//!
//! Their Ethernet header is put together from the kernel's routes and neighbours ([`Neighbours`]), or is that of the
//! caller's own packets, turned around ([`Learned`]), where the kernel has not said otherwise: anybody on the link can
//! pretend to be the caller. What has neither, is longer than the MTU or finds the ring full goes by the kernel
//! ([`Kernel`]): that costs a system call, which an answer is worth.

/// Headers around a payload.
mod build;
/// The kernel's way.
mod kernel;
/// Who is reached by which Ethernet header.
mod learned;
/// What the kernel says to that.
mod neighbours;
/// Which addresses are this host's.
mod own;

pub use crate::datagram::End;
pub use build::{Link, build, packet_length};
pub use kernel::Kernel;
pub use learned::{LIFE, Learned};
pub use neighbours::{ANSWERS, Known, Neighbours, REFRESH, Reached, neighbours};
pub use own::Own;

use std::sync::Arc;

use vos_common::packet::{self, Flow};

use crate::datagram::Udp;
use crate::policy::Said;
use crate::xsk::{Frame, Frames};

/// A datagram on its way to a caller.
#[derive(Debug)]
pub struct Outgoing {
    /// This host's end.
    pub from: End,
    /// The caller's.
    pub to: End,
    /// Where its payload stands in the buffer that it was read into.
    pub payload: std::ops::Range<usize>,
    /// What the policy is told of it: if it is a response, or ends a call.
    pub says: Option<Said>,
}

/// Which way a datagram left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Sent {
    /// By the TX ring.
    Ring,
    /// By the kernel.
    Kernel,
    /// Not at all: its source is no SIP port at an address of this host's, and whoever may use the relay may not pretend to
    /// be others.
    Foreign,
    /// Not at all: there is no room in the TX ring, nor does the kernel take it.
    Lost,
}

impl Sent {
    /// All ways; the position of each is its counter's.
    pub const ALL: [Self; 4] = [Self::Ring, Self::Kernel, Self::Foreign, Self::Lost];

    /// The word for it in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Kernel => "kernel",
            Self::Foreign => "foreign",
            Self::Lost => "lost",
        }
    }
}

/// What there is beside the ring, where a peer sends to callers. All workers share it.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Who is reached how.
    pub known: Known,
    /// The kernel's way.
    pub kernel: Arc<Kernel>,
}

/// One worker's way to the callers.
#[derive(Debug)]
pub struct Transmitter {
    learned: Option<Learned>,
    mtu: usize,
    own: Arc<Own>,
    beside: Option<Beside>,
}

impl Transmitter {
    /// For an interface of this MTU, bytes. Without `learned` and `beside` it answers, and sends nothing else.
    pub fn new(mtu: u32, own: Arc<Own>, learned: Option<Learned>, beside: Option<Beside>) -> Self {
        Self { learned, mtu: mtu as usize, own, beside }
    }

    /// The interface's MTU, bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu as u32
    }

    /// A frame came in and was taken by the relay at `now` (ns of `CLOCK_MONOTONIC`). Not for what is dropped: that may
    /// pretend to be anybody.
    pub fn learn(&mut self, frame: &[u8], flow: &Flow, now: u64) {
        if let Some(learned) = &mut self.learned {
            learned.learn(frame, flow, now);
        }
    }

    /// Sends a datagram: by the ring, that is with the queue's next flush, or by the kernel.
    pub fn send(&mut self, frames: &mut Frames, from: &End, to: &End, payload: &[u8], now: u64) -> Sent {
        if !self.own.has(&from.addr) {
            return Sent::Foreign;
        }
        match self.by_ring(frames, from, to, payload, now) {
            Some(()) => Sent::Ring,
            None => self.by_kernel(from, to, payload),
        }
    }

    /// Sends what was built in the frame of what it answers, its first `length` bytes.
    pub fn reply(&self, frames: &mut Frames, frame: Frame, length: usize) -> Sent {
        let Err(mut frame) = frames.transmit(frame, length) else { return Sent::Ring };
        let packet: &[u8] = frames.room(&mut frame).get(..length).unwrap_or_default();
        let udp = packet::flow(&packet).and_then(|flow| Udp::of(packet, &flow));
        let sent = udp.map_or(Sent::Lost, |udp| self.by_kernel(&udp.from, &udp.to, udp.payload));
        frames.release(frame);
        sent
    }

    fn by_ring(&mut self, frames: &mut Frames, from: &End, to: &End, payload: &[u8], now: u64) -> Option<()> {
        if packet_length(to.addr.is_v4(), payload.len()) > self.mtu || !frames.has_slot() {
            return None;
        }
        let reached = self.beside.as_ref().and_then(|beside| beside.known.reached(&from.addr, &to.addr, now));
        let link = choose(reached, self.learned.as_ref().and_then(|learned| learned.link(&to.addr, now)))?;
        let mut frame = frames.take()?;
        let sent = match build(frames.room(&mut frame), &link, from, to, payload) {
            Some(length) => frames.transmit(frame, length),
            None => Err(frame),
        };
        sent.map_err(|frame| frames.release(frame)).ok()
    }

    fn by_kernel(&self, from: &End, to: &End, payload: &[u8]) -> Sent {
        match self.beside.as_ref().map(|beside| beside.kernel.send(from, to, payload)) {
            Some(Ok(())) => Sent::Kernel,
            Some(Err(_)) | None => Sent::Lost,
        }
    }
}

/// Which header goes to a caller; `None`: it is the kernel's to find one.
fn choose(reached: Option<Reached>, learned: Option<Link>) -> Option<Link> {
    match (reached, learned) {
        (None, learned) => learned,
        // A VLAN that has a device is an interface of its own to the kernel.
        (Some(Reached::Elsewhere), _) => None,
        // A VLAN without one the kernel does not know of.
        (_, Some(learned)) if learned.is_tagged() => Some(learned),
        (Some(Reached::Surely(link)), _) => Some(link),
        // The caller's packets are what makes sure.
        (Some(Reached::Perhaps(link)), learned) => learned.filter(|learned| *learned == link),
        (Some(Reached::Unasked), _) => None,
    }
}

#[cfg(test)]
mod tests;
