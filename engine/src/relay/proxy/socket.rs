//! One worker's sockets towards the softswitches.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use sip_parse::{Index, Mode};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tracing::warn;

use super::backends::List;
use super::paths::Path;
use super::tally::{Stray, Tally};
use super::{Homes, Line, Switchboard, line_of, socket_address};
use crate::config::Config;
use crate::policy::Said;
use crate::relay::{Counts, Datagram, SendError};
use crate::transmit::Outgoing;

/// What the sockets hold of answers while the worker is busy, bytes: 100 ms at 40,000 answers of 1 KB a second.
const BUFFER: usize = 4 << 20;
/// Strays that are passed over at once: a stranger who sends more keeps the worker from nothing else.
const STRAYS_AT_ONCE: usize = 64;

/// One worker's way to the softswitches, and back.
#[derive(Debug)]
pub struct Proxy {
    board: Arc<Switchboard>,
    /// `relay.bind`.
    bind: Option<SocketAddr>,
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    /// Whom the sockets were bound for, and where.
    bound_for: (Arc<List>, Arc<Homes>),
    tally: Arc<Tally>,
    counts: Arc<Counts>,
    index: Index,
    /// Which family's socket was read last.
    v6_last: bool,
}

impl Proxy {
    /// Worker `queue`'s.
    ///
    /// # Errors
    ///
    /// The port of `relay.bind` is taken, or its address is none of this host's.
    pub fn open(config: &Config, queue: u32, board: &Arc<Switchboard>, counts: &Arc<Counts>) -> io::Result<Self> {
        let bind = config.relay.bind;
        let port = bind.map_or(Some(0), |bind| bind.port().checked_add(queue.try_into().ok()?));
        let port =
            port.ok_or_else(|| io::Error::other("relay.bind: no port is left for every queue: take a lower one"))?;
        let bound_for = board.at_present();
        let socket = |v4: bool| match open(SocketAddr::new(bound_to(bind, &bound_for.0, v4), port)) {
            // No backend of this family yet, and perhaps no such family at all.
            Err(_) if !bound_for.0.has_family(v4) => Ok(None),
            opened => opened.map(Some),
        };
        let (v4, v6) = (socket(true)?, socket(false)?);
        let (tally, counts, index) = (Arc::new(Tally::default()), Arc::clone(counts), Index::new());
        board.tallies().push(Arc::clone(&tally));
        Ok(Self { board: Arc::clone(board), bind, v4, v6, bound_for, tally, counts, index, v6_last: false })
    }

    /// Hands a datagram on. [`SendError::Absent`]: all backends are dead, or there is no way to this one.
    pub fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SendError> {
        let list = self.board.backends.list();
        let backend = self.board.inward(&list, datagram, &mut self.index).ok_or(SendError::Absent)?;
        let socket = if backend.address.is_ipv4() { &self.v4 } else { &self.v6 };
        let socket = SockRef::from(socket.as_ref().ok_or(SendError::Absent)?);
        let line = Line::new(&socket_address(&datagram.from), &socket_address(&datagram.to));
        let parts = [IoSlice::new(line.as_bytes()), IoSlice::new(datagram.payload)];
        socket.send_to_vectored(&parts, &backend.sockaddr).map_err(refused)?;
        self.tally.sent(backend.slot);
        Ok(())
    }

    /// What a softswitch sends to a caller next, written into `buffer`.
    pub fn receive(&mut self, buffer: &mut [u8], now: u64) -> Option<Outgoing> {
        for _ in 0..STRAYS_AT_ONCE {
            let (length, from) = self.next(buffer)?;
            let datagram = buffer.get(..length).unwrap_or_default();
            let start = line_of(datagram);
            match self.meant(&datagram[start..], &from, now) {
                Ok((Path { own: from, caller: to, .. }, says)) => {
                    self.counts.received.count();
                    return Some(Outgoing { from, to, payload: start..length, says });
                }
                Err(stray) => {
                    self.counts.bad.count();
                    self.tally.stray(stray);
                }
            }
        }
        None
    }

    /// Our end and the caller's, and what the policy is told of it.
    fn meant(&mut self, text: &[u8], from: &SocketAddr, now: u64) -> Result<(Path, Option<Said>), Stray> {
        let list = self.board.backends.list();
        let backend = list.at(from).ok_or(Stray::Stranger)?;
        self.tally.received(backend.slot);
        let message = self.index.parse(text, Mode::Lenient).map_err(|_| Stray::Unreadable)?;
        let path = self.board.outward(&list, backend, &message, &self.board.homes.load(), now)?;
        Ok((path, Said::of(&message, &path.caller.addr, &self.board.secret)))
    }

    /// The next datagram, of both families by turns.
    fn next(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let list = self.board.backends.list();
        for _ in 0..2 {
            self.v6_last = !self.v6_last;
            let socket = if self.v6_last { &self.v6 } else { &self.v4 };
            if list.has_family(!self.v6_last)
                && let Some(got) = socket.as_ref().and_then(|socket| socket.recv_from(buffer).ok())
            {
                return Some(got);
            }
        }
        None
    }

    /// Called with every heartbeat: is any backend alive?
    pub fn look_after(&mut self) -> bool {
        let present = self.board.at_present();
        if !(Arc::ptr_eq(&present.0, &self.bound_for.0) && Arc::ptr_eq(&present.1, &self.bound_for.1)) {
            self.bound_for = present;
            self.bind_again();
        }
        let alive = self.here();
        if alive && !self.counts.present() {
            self.counts.came.count();
        }
        alive
    }

    /// Is any backend alive?
    pub fn here(&self) -> bool {
        self.board.backends.alive()
    }

    /// Other backends, or other addresses of this host: the way may be another. The port stays.
    fn bind_again(&mut self) {
        for (socket, v4) in [(&mut self.v4, true), (&mut self.v6, false)] {
            let Some(Ok(bound)) = socket.as_ref().map(UdpSocket::local_addr) else { continue };
            let wanted = bound_to(self.bind, &self.bound_for.0, v4);
            if bound.ip() == wanted {
                continue;
            }
            // Two cannot share a port if one of them has any address.
            *socket = None;
            let open = |ip| open(SocketAddr::new(ip, bound.port()));
            match open(wanted).or_else(|_| open(any(v4))) {
                Ok(opened) => *socket = Some(opened),
                Err(error) => warn!("{error}: backends of this family are out of reach until a restart"),
            }
        }
    }

    /// What to wait for. Not for what is not read: strangers could keep the worker awake with it.
    pub fn sockets(&self) -> [Option<BorrowedFd<'_>>; 2] {
        let list = self.board.backends.list();
        [(&self.v4, true), (&self.v6, false)]
            .map(|(socket, v4)| socket.as_ref().filter(|_| list.has_family(v4)).map(AsFd::as_fd))
    }
}

fn any(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// The address of a family's socket: that of `relay.bind`, else the one that backends of this family see anyway. With any
/// address it would believe whoever sends to another of this host's in a backend's name. Loopback needs no binding: the
/// kernel takes no such source from outside; and bound to it, no backend elsewhere could follow.
fn bound_to(bind: Option<SocketAddr>, list: &List, v4: bool) -> IpAddr {
    if let Some(bind) = bind.filter(|bind| bind.is_ipv4() == v4) {
        return bind.ip();
    }
    let is_near = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let mut seen = list.iter().filter(|backend| backend.address.is_ipv4() == v4).map(|one| way_to(one.address));
    let first = seen.next().and_then(Result::ok).filter(|ip| !ip.is_loopback() && !is_near(ip));
    first.filter(|first| seen.all(|ip| ip.is_ok_and(|ip| ip == *first))).unwrap_or(any(v4))
}

/// This host's address on the way there. Nothing is sent.
fn way_to(backend: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(any(backend.is_ipv4()), 0))?;
    socket.connect(backend)?;
    Ok(socket.local_addr()?.ip())
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As much as is granted: more than net.core.rmem_max only to whoever may administer the network.
    if setsockopt(&socket, RcvBufForce, &BUFFER).is_err() || setsockopt(&socket, SndBufForce, &BUFFER).is_err() {
        let _as_much_as_there_is = socket.set_recv_buffer_size(BUFFER);
        let _as_much_as_there_is = socket.set_send_buffer_size(BUFFER);
    }
    let named = |error: io::Error| {
        let why = format!("relay.bind {address}: {error}; another program's, or no address of this host's?");
        io::Error::new(error.kind(), why)
    };
    socket.bind(&address.into()).map_err(named)?;
    Ok(socket.into())
}

/// What the kernel's refusal means.
fn refused(error: io::Error) -> SendError {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS) => SendError::Busy,
        // No way to it, or a firewall of this host's own.
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EPERM | libc::EACCES) => SendError::Absent,
        _ => SendError::Io(error),
    }
}
