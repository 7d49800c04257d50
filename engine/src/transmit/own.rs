use std::collections::HashSet;
use std::net::IpAddr;

use arc_swap::ArcSwap;
use vos_common::rule::Addr;

use crate::xdp::addr;

/// This host's addresses as they are now: what datagrams may come from. Read without a lock.
#[derive(Debug, Default)]
pub struct Own(ArcSwap<HashSet<Addr>>);

impl Own {
    /// These.
    pub fn new(addresses: &[IpAddr]) -> Self {
        let own = Self::default();
        own.set(addresses);
        own
    }

    /// These from now on.
    pub fn set(&self, addresses: &[IpAddr]) {
        self.0.store(addresses.iter().map(|ip| addr(*ip)).collect::<HashSet<_>>().into());
    }

    /// Is this one of them?
    pub fn has(&self, addr: &Addr) -> bool {
        self.0.load().contains(addr)
    }
}
