//! Decoys: UDP ports, or addresses, at which nobody has a reason to speak SIP. Who does is told as an event, and challenged
//! like at any server; who answers the challenge has read it, so the source is not spoofed, and is blocked.
//!
//! A decoy port is no SIP port: what comes there takes the kernel's path to a socket of the engine's. What is blocked is
//! dropped at the NIC on the SIP ports; what it still sends to a decoy is read here, and passed over in silence.
//!
//! An address that the softswitch does not use can be a decoy at a SIP port, too. What comes there is judged like all that
//! comes to the port, and what survives takes the softswitch's way: to the kernel, through the engine or not, and there to
//! the socket that is bound to its destination, which is this one.

/// Challenges that need no memory.
mod nonce;
/// The sockets.
mod socket;
/// What is decided about whom.
mod trap;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{info, warn};

use crate::config::Honeypot;
use crate::control::Control;
use crate::control::ask::{Ask, By, Done, End, Outcome};
use crate::control::decision::{Kind, Origin};
use crate::events::{Event, Events, What};
use crate::feed::{Tallies, Tally};
use socket::{Came, Port};
use trap::Trap;

/// Datagrams taken from a port at once.
const BATCH: usize = 64;
/// How long to rest after a full batch: 6,400 datagrams a second and port are read, a tenth of a core at most. Of a flood
/// the kernel drops the rest, and it is a decoy that loses it.
const REST: Duration = Duration::from_millis(10);
/// How long to wait for a datagram. Longer: a stop waits for it.
const PATIENCE: u16 = 100;
/// How often it is tried to listen at a port that somebody has.
const RETRY: Duration = Duration::from_secs(1);
/// The longest datagram that is read whole.
const DATAGRAM_MAX: usize = 65_536;

/// What decoys speak to.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) control: Arc<Control>,
    pub(crate) events: Arc<Events>,
    pub(crate) tallies: Arc<Tallies>,
}

/// What a decoy is called among feeds, and as whoever decides.
pub fn name(place: SocketAddr) -> String {
    if place.ip().is_unspecified() { format!("decoy :{}", place.port()) } else { format!("decoy {place}") }
}

/// Where to listen.
fn places(config: &Honeypot) -> Vec<SocketAddr> {
    let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()];
    let everywhere = config.ports.iter().flat_map(|port| any.map(|any| SocketAddr::new(any, *port)));
    everywhere.chain(config.listen.iter().copied()).collect()
}

/// Keeps decoys until it is dropped.
pub(crate) async fn keep(config: Honeypot, reach: Reach) {
    let (stop, names) = (Arc::new(AtomicBool::new(false)), places(&config).into_iter().map(name).collect());
    let _at_the_end = Stop { stop: Arc::clone(&stop), tallies: Arc::clone(&reach.tallies), names };
    let kept = tokio::task::spawn_blocking(move || match Trap::new() {
        Ok(trap) => Decoys::new(config, reach, trap).follow(&stop),
        Err(error) => warn!("there are no decoys: no random key can be had: {error}"),
    });
    let _it_ends_when_it_is_told = kept.await;
}

/// Tells the thread when its task is dropped.
struct Stop {
    stop: Arc<AtomicBool>,
    tallies: Arc<Tallies>,
    names: Vec<String>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.names.iter().for_each(|name| self.tallies.forget(name));
    }
}

/// One port, at one address or at all of one family.
struct Decoy {
    place: SocketAddr,
    socket: Option<Port>,
    tally: Arc<Tally>,
    by: By,
    told: bool,
}

struct Decoys {
    config: Honeypot,
    reach: Reach,
    trap: Trap,
    decoys: Vec<Decoy>,
    tried: Option<Instant>,
}

impl Decoys {
    fn new(config: Honeypot, reach: Reach, trap: Trap) -> Self {
        let decoy = |place| {
            let (name, socket) = (name(place), None);
            let tally = reach.tallies.of(&name);
            Decoy { place, socket, tally, by: By::feed(Origin::Detector, name), told: false }
        };
        let decoys = places(&config).into_iter().map(decoy).collect();
        Self { config, reach, trap, decoys, tried: None }
    }

    fn follow(mut self, stop: &AtomicBool) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        while !stop.load(Relaxed) {
            if self.tried.is_none_or(|tried| tried.elapsed() >= RETRY) {
                self.listen();
                self.tried = Some(Instant::now());
            }
            let mut is_flooded = false;
            for at in self.readable() {
                is_flooded |= self.read(at, &mut buffer);
            }
            if is_flooded {
                std::thread::sleep(REST);
            }
        }
    }

    /// Opens what is not open yet.
    fn listen(&mut self) {
        for decoy in self.decoys.iter_mut().filter(|decoy| decoy.socket.is_none()) {
            let (place, everywhere) = (decoy.place, decoy.place.ip().is_unspecified());
            match Port::open(place) {
                Ok(socket) => {
                    info!("{}: listens at {place}", decoy.by.who);
                    decoy.tally.up();
                    (decoy.socket, decoy.told) = (Some(socket), false);
                }
                // a host without IPv6
                Err(error) if everywhere && error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) => {}
                Err(error) => {
                    let fix = match everywhere {
                        true => "name another in honeypot.ports, or stop who has it",
                        false => {
                            "name another in honeypot.listen, give this host the address, or have who has the port at all addresses name theirs"
                        }
                    };
                    let said = format!("UDP {place} cannot be had: {error}; {fix}");
                    if !std::mem::replace(&mut decoy.told, true) {
                        warn!("decoy: {said}");
                    }
                    decoy.tally.down(said);
                }
            }
        }
    }

    /// The decoys at which something has come.
    fn readable(&self) -> Vec<usize> {
        let open = || self.decoys.iter().enumerate().filter_map(|(at, decoy)| Some((at, decoy.socket.as_ref()?)));
        let mut fds: Vec<_> = open().map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        let _interrupted = poll(&mut fds, PollTimeout::from(PATIENCE));
        let came = |fd: &PollFd<'_>| fd.revents().is_some_and(|revents| !revents.is_empty());
        open().zip(&fds).filter(|(_, fd)| came(fd)).map(|((at, _), _)| at).collect()
    }

    /// Reads a batch; is there more than that?
    fn read(&mut self, at: usize, buffer: &mut [u8]) -> bool {
        let mut caught = Vec::new();
        for _ in 0..BATCH {
            let Some(socket) = &self.decoys[at].socket else { break };
            match socket.receive(buffer) {
                Ok(Some(came)) => {
                    let length = came.length.min(buffer.len());
                    caught.extend(self.look(at, &buffer[..length], &came));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.block(at, caught);
                    return false;
                }
                // or what ICMP has said of an answer; nothing is lost with it
                Ok(None) | Err(_) => {}
            }
        }
        self.block(at, caught);
        true
    }

    /// Whom to block, if it is somebody.
    fn look(&mut self, at: usize, datagram: &[u8], came: &Came) -> Option<IpAddr> {
        let (decoy, source) = (&self.decoys[at], came.from.ip().to_canonical());
        if !self.is_decoy(decoy, came.at) || !is_somebody(&came.from) {
            return None;
        }
        decoy.tally.read.fetch_add(1, Relaxed);
        let applies = self.reach.control.applies(&IpNet::from(source));
        if applies.is_some_and(|applies| applies.kind == Kind::Block) {
            return None;
        }
        let now = self.reach.control.clock().mono_ns();
        let outcome = self.trap.look(datagram, came.from, came.at, decoy.place.port(), now);
        if !outcome.is_sip {
            decoy.tally.bad.fetch_add(1, Relaxed);
        }
        if let (Some(length), Some(socket)) = (outcome.answer, &decoy.socket) {
            let _it_asks_again = socket.answer(&self.trap.answer[..length], came);
        }
        if let Some(report) = outcome.report {
            self.reach.events.publish(Event::now(What::Decoy(report)));
        }
        outcome.caught.then_some(source)
    }

    fn is_decoy(&self, decoy: &Decoy, at: IpAddr) -> bool {
        let named = &self.config.addresses;
        let is_named = decoy.place.ip() == at || named.is_empty() || named.contains(&at);
        !at.is_loopback() && !at.is_multicast() && is_named
    }

    /// Blocks those who fell for it.
    fn block(&self, at: usize, mut caught: Vec<IpAddr>) {
        caught.sort_unstable();
        caught.dedup();
        if caught.is_empty() {
            return;
        }
        let Decoy { tally, by, .. } = &self.decoys[at];
        let name = &by.who;
        let reason: Arc<str> = format!("answered the challenge of {name}").into();
        let end = End::After(self.config.ttl.as_secs());
        let ask = |ip: &IpAddr| Ask::Put { net: (*ip).into(), kind: Kind::Block, end, reason: Arc::clone(&reason) };
        let Outcome { results, .. } = self.reach.control.submit(by, caught.iter().map(ask).collect(), None);
        for (source, result) in caught.iter().zip(results) {
            let counter = match &result {
                Ok(Done::Already(_)) => &tally.already,
                Ok(_) => &tally.applied,
                Err(_) => &tally.refused,
            };
            counter.fetch_add(1, Relaxed);
            match result {
                Ok(_) => info!("{name}: {source} answered the challenge and is blocked"),
                Err(error) => {
                    warn!("{name}: {source} answered the challenge and is not blocked: {error}");
                    tally.complain(error.to_string());
                }
            }
        }
    }
}

/// Can it be answered, and blocked?
fn is_somebody(from: &SocketAddr) -> bool {
    let is_near = matches!(from.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local());
    let ip = from.ip().to_canonical();
    from.port() != 0 && !is_near && !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests;
