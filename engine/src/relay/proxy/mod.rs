//! To softswitches over UDP, with a PROXY protocol line in front of each datagram, and from them back to the callers.
//!
//! Messages are never changed. Which backend a call is on and which caller a message is for, all workers know together
//! ([`Switchboard`]); each has sockets of its own ([`Proxy`]).

/// Which softswitch a call is on.
mod backends;
/// Which one it belongs to.
mod choice;
/// What callers send.
mod inward;
/// What stands in front.
mod line;
/// What softswitches send.
mod outward;
/// Which caller is meant.
mod paths;
/// The sockets.
mod socket;
/// What is remembered, without a lock.
mod table;
/// What is counted.
mod tally;

pub use choice::stable_hash;
pub use line::{Line, line_of};
pub use socket::Proxy;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;
use serde_json::{Map, Value, json};
use sip_parse::Via;
use tracing::warn;

use crate::config::{Config, RelayTo};
use crate::control::clock::Clock;
use crate::health::Health;
use crate::live::wire;
use crate::policy::Secret;
use crate::sip;
use crate::transmit::End;
use crate::xdp::{addr, ip};
use backends::Backends;
use paths::Paths;
use tally::{Stray, Tally};

/// Who is connected with whom. All workers share it; on a packet's way there is no lock in it.
#[derive(Debug)]
pub struct Switchboard {
    secret: Secret,
    health: Arc<Health>,
    backends: Backends,
    paths: Paths,
    homes: ArcSwap<Homes>,
    tallies: Mutex<Vec<Arc<Tally>>>,
    /// HOST of `relay.to = "proxy:HOST:PORT"`, and its address.
    resolved: Mutex<Option<(String, SocketAddr)>>,
}

/// HOST has no address. The message names the fix.
#[derive(Debug, thiserror::Error)]
#[error(
    "relay.to: {host} has no address ({source}): write one that `getent hosts` knows, or an address, which needs no DNS"
)]
pub struct ResolveError {
    /// HOST:PORT.
    host: String,
    /// What the resolver said.
    source: io::Error,
}

/// This host, as callers know it.
#[derive(Clone, Debug, Default)]
struct Homes {
    own: Vec<IpAddr>,
    sip_ports: Vec<u16>,
    /// The ends for IPv4 and IPv6 that a request of the softswitch's own leaves from where it names none.
    ends: [Option<End>; 2],
}

impl Homes {
    /// `first`: the interface's addresses, in the kernel's order. Where it has none, a VLAN device on it may.
    fn of(own: &[IpAddr], first: &[IpAddr], sip_ports: &[u16]) -> Self {
        let port = sip_ports.first().copied().unwrap_or_default();
        let end = |v4| {
            let mut found = first.iter().filter(|ip| own.contains(ip)).chain(own);
            let ip = found.find(|ip| ip.is_ipv4() == v4 && !is_near(ip));
            ip.map(|ip| End { addr: addr(*ip), port })
        };
        Self { own: own.to_vec(), sip_ports: sip_ports.to_vec(), ends: [end(true), end(false)] }
    }

    fn is(&self, ip: &IpAddr) -> bool {
        self.own.contains(ip)
    }

    /// Where a request of the softswitch's own leaves from: the address that it names itself, for there the answer must
    /// come, and the trunk expects it. Nothing that callers say has a part in it.
    fn end(&self, v4: bool, via: &Via<'_>) -> Option<End> {
        let own = self.ends[usize::from(!v4)];
        let named = via.host.ip().filter(|ip| ip.is_ipv4() == v4 && self.is(ip) && !is_near(ip));
        let port = via.port.unwrap_or(sip::PORT);
        let port = if self.sip_ports.contains(&port) { Some(port) } else { own.map(|own| own.port) };
        named.zip(port).map(|(ip, port)| End { addr: addr(ip), port }).or(own)
    }
}

fn is_near(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// The addresses of an interface, in the kernel's order.
fn addresses_on(iface: &str) -> nix::Result<Vec<IpAddr>> {
    let all = getifaddrs()?.filter(|on| on.interface_name == iface);
    let ip = |address: SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
    };
    Ok(all.filter_map(|on| on.address.and_then(ip)).collect())
}

impl Switchboard {
    /// For a configuration whose `relay.to` is `proxy`; else there is none.
    ///
    /// # Errors
    ///
    /// HOST has no address.
    pub fn open(config: &Config, own: &[IpAddr], secret: Secret) -> Result<Option<Arc<Self>>, ResolveError> {
        let resolved = match &config.relay.to {
            RelayTo::Proxy(Some(host)) => Some((host.clone(), resolve(host)?[0])),
            RelayTo::Proxy(None) => None,
            RelayTo::Local | RelayTo::Unix { .. } => return Ok(None),
        };
        let health = Arc::new(Health::default());
        let board = Self {
            secret,
            backends: Backends::new(Arc::clone(&health)),
            health,
            paths: Paths::new(),
            homes: ArcSwap::default(),
            tallies: Mutex::default(),
            resolved: Mutex::new(resolved),
        };
        board.follow(config);
        board.follow_own(own, config);
        Ok(Some(Arc::new(board)))
    }

    /// Looks up HOST again, before a configuration is put in force. It keeps its address as long as that is one of those
    /// found.
    ///
    /// # Errors
    ///
    /// HOST has no address.
    pub fn resolve_again(&self) -> Result<(), ResolveError> {
        // Not under the lock: a resolver may take its time.
        let Some((host, address)) = self.resolved().clone() else { return Ok(()) };
        let found = resolve(&host)?;
        if !found.contains(&address) {
            *self.resolved() = Some((host, found[0]));
        }
        Ok(())
    }

    /// From now on the backends are those of this configuration.
    pub fn follow(&self, config: &Config) {
        let alone = self.resolved().as_ref().map(|(_, address)| *address);
        self.backends.follow(config, alone, Clock::now().mono_ns());
    }

    /// From now on these are this host's addresses.
    pub fn follow_own(&self, own: &[IpAddr], config: &Config) {
        let first = addresses_on(&config.iface).unwrap_or_else(|error| {
            let iface = &config.iface;
            warn!(
                "cannot ask for the addresses of {iface}: {error}; the softswitch's own requests may leave from another"
            );
            Vec::new()
        });
        let homes = Homes::of(own, &first, &config.xdp.sip_ports);
        self.homes.store(Arc::new(homes));
    }

    /// Who asks the backends whether they are alive.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// The backends, as the API shows them.
    pub fn backends(&self) -> Vec<wire::Backend> {
        let tallies = self.tallies();
        self.backends.view(|slot| {
            let each = tallies.iter().map(|tally| tally.of(slot));
            each.fold((0, 0), |(sent, received), (s, r)| (sent + s, received + r))
        })
    }

    /// What came to the relay's sockets and is for nobody, by why.
    pub fn strays(&self) -> [(&'static str, u64); Stray::ALL.len()] {
        let tallies = self.tallies();
        let count = |stray: Stray| tallies.iter().map(|tally| tally.strays(stray)).sum();
        Stray::ALL.map(|stray| (stray.label(), count(stray)))
    }

    /// What was counted: `{"strays":{word:n},"backends":[...]}`.
    pub fn to_json(&self) -> Value {
        let strays: Map<String, Value> =
            self.strays().into_iter().map(|(label, count)| (label.to_owned(), count.into())).collect();
        json!({ "strays": strays, "backends": self.backends() })
    }

    /// The backends, and this host.
    fn at_present(&self) -> (Arc<backends::List>, Arc<Homes>) {
        (Arc::clone(&self.backends.list()), self.homes.load_full())
    }

    fn note_call(&self, list: &backends::List, backend: &backends::Backend, call: u64, early: bool, now: u64) {
        if early {
            self.backends.rings(call, backend, now);
        } else {
            self.backends.stays(list, call, backend, now);
        }
    }

    fn tallies(&self) -> MutexGuard<'_, Vec<Arc<Tally>>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolved(&self) -> MutexGuard<'_, Option<(String, SocketAddr)>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The addresses of HOST:PORT, at least one.
fn resolve(host: &str) -> Result<Vec<SocketAddr>, ResolveError> {
    let found = host.to_socket_addrs().map(Iterator::collect).and_then(|found: Vec<_>| match found.is_empty() {
        true => Err(io::ErrorKind::NotFound.into()),
        false => Ok(found),
    });
    found.map_err(|source| ResolveError { host: host.to_owned(), source })
}

/// An end as the kernel writes it.
fn socket_address(end: &End) -> SocketAddr {
    SocketAddr::new(ip(end.addr), end.port)
}

#[cfg(test)]
mod tests;
