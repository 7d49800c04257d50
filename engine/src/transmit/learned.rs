//! By which Ethernet header callers are reached: that of their own packets, turned around.
//!
//! Who is heard of is not moved by a packet that came another way, which somebody else may have sent. If the caller has
//! moved, its header is forgotten in its time, and the kernel's answer counts until then.

use vos_common::packet::Flow;
use vos_common::rule::Addr;
use vos_common::state::mix;

use super::Link;
use crate::sip;

/// How long a caller's header is believed, ns: as long as SIP waits for an answer (RFC 3261 §17.1.1.2). Longer,
/// and after a failover of the gateway answers go to a MAC address that nobody has any more.
pub const LIFE: u64 = sip::TRANSACTION;
/// Callers of a queue that are remembered, 1 MiB a worker.
const ENTRIES: usize = 1 << 14;
/// Ways of a bucket; the oldest goes.
const WAYS: usize = 4;

#[derive(Clone, Copy, Debug)]
struct Entry {
    addr: Addr,
    link: Option<Link>,
    at: u64,
}

/// Callers and their headers.
#[derive(Debug)]
pub struct Learned {
    buckets: Vec<[Entry; WAYS]>,
    seed: u64,
}

impl Learned {
    /// Nobody is known. `seed` keeps strangers from aiming at a bucket.
    pub fn new(seed: u64) -> Self {
        let empty = Entry { addr: Addr::default(), link: None, at: 0 };
        Self { buckets: vec![[empty; WAYS]; ENTRIES / WAYS], seed }
    }

    fn bucket(&mut self, addr: &Addr) -> &mut [Entry; WAYS] {
        let at = mix(addr.hi ^ self.seed, addr.lo) >> 32;
        let mask = self.buckets.len() - 1;
        &mut self.buckets[at as usize & mask]
    }

    /// `frame` came from `flow.src`, at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn learn(&mut self, frame: &[u8], flow: &Flow, now: u64) {
        let Some(link) = Link::back(frame, flow) else { return };
        let bucket = self.bucket(&flow.src);
        let own = bucket.iter().position(|entry| entry.addr == flow.src);
        let oldest = || bucket.iter().enumerate().min_by_key(|(_, entry)| entry.at).map(|(way, _)| way);
        if let Some(way) = own.or_else(oldest) {
            let Entry { link: last, at, .. } = bucket[way];
            if own.is_some() && last != Some(link) && now.saturating_sub(at) < LIFE {
                return;
            }
            bucket[way] = Entry { addr: flow.src, link: Some(link), at: now };
        }
    }

    /// How `addr` is reached, if it was heard of within [`LIFE`].
    pub fn link(&mut self, addr: &Addr, now: u64) -> Option<Link> {
        let entry = self.bucket(addr).iter().find(|entry| entry.addr == *addr)?;
        entry.link.filter(|_| now.saturating_sub(entry.at) < LIFE)
    }
}
