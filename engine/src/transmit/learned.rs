//! By which Ethernet header callers are reached: that of their own packets, turned around.
//!
//! Who is heard of is not moved by a packet that came another way, which somebody else may have sent. If the caller has
//! moved, its header is forgotten in its time, and the kernel's answer counts until then.

use vos_common::packet::Flow;
use vos_common::rule::Addr;
use vos_common::state::mix;

use super::Link;
use crate::recent::Recent;
use crate::sip;

/// How long a caller's header is believed, ns: as long as SIP waits for an answer (RFC 3261 §17.1.1.2). Longer,
/// and after a failover of the gateway answers go to a MAC address that nobody has any more.
pub const LIFE: u64 = sip::TRANSACTION;
/// Callers of a queue that are remembered, 1 MiB a worker.
const ENTRIES: usize = 1 << 14;
/// Ways of a bucket; the oldest goes.
const WAYS: usize = 4;

/// Callers and their headers.
#[derive(Debug)]
pub struct Learned {
    links: Recent<Addr, Link, WAYS>,
    seed: u64,
}

impl Learned {
    /// Nobody is known. `seed` keeps strangers from aiming at a bucket.
    pub fn new(seed: u64) -> Self {
        Self { links: Recent::of(ENTRIES), seed }
    }

    fn hash(&self, addr: &Addr) -> u64 {
        mix(addr.hi ^ self.seed, addr.lo)
    }

    /// `frame` came from `flow.src`, at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn learn(&mut self, frame: &[u8], flow: &Flow, now: u64) {
        let Some(link) = Link::back(frame, flow) else { return };
        if self.link(&flow.src, now).is_none_or(|last| last == link) {
            self.links.put(self.hash(&flow.src), flow.src, link, now);
        }
    }

    /// How `addr` is reached, if it was heard of within [`LIFE`].
    pub fn link(&self, addr: &Addr, now: u64) -> Option<Link> {
        let (link, at) = self.links.get(self.hash(addr), addr)?;
        (now.saturating_sub(at) < LIFE).then_some(link)
    }
}
