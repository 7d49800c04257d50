//! Many connected UDP sockets, so that traffic spreads over the receive queues.
//!
//! A NIC, and a veth pair, choose the queue by a hash over addresses and ports: one socket would always meet one queue.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use crate::{Error, Result};

/// Receive buffer of one socket: replies of 0.1 s at 40,000/s even if all went to one flow.
const BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Flows {
    sockets: Vec<UdpSocket>,
    epoll: Epoll,
    /// Answers of the network such as "port unreachable", which a connected socket hands on once.
    refused: u64,
}

impl Flows {
    /// Opens `count` sockets to `to`, bound to the sources in turn (to any if there are none).
    pub(crate) fn open(to: SocketAddr, from: &[IpAddr], count: usize) -> Result<Self> {
        if let Some(other) = from.iter().find(|source| source.is_ipv4() != to.is_ipv4()) {
            return Err(Error::Other(format!("--from {other} and --to {to} are of different families")));
        }
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(Error::io("make an epoll instance"))?;
        let mut sockets = Vec::with_capacity(count);
        for flow in 0..count.max(1) {
            let source = if from.is_empty() { any } else { from[flow % from.len()] };
            let socket = connect(source, to).map_err(Error::io(format!("connect {source} to {to}")))?;
            epoll
                .add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, flow as u64))
                .map_err(Error::io("watch a socket"))?;
            sockets.push(socket);
        }
        // Sleep to the microsecond: the usual slack of 50 µs would be most of a round trip.
        let _ = nix::sys::prctl::set_timerslack(1);
        Ok(Self { sockets, epoll, refused: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(crate) fn local(&self, flow: usize) -> Result<SocketAddr> {
        self.sockets[flow].local_addr().map_err(Error::io("ask for a socket's address"))
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Sends; `false` if the system had no room for it.
    pub(crate) fn send(&mut self, flow: usize, datagram: &[u8]) -> bool {
        // A pending ICMP error is reported instead of sending, and cleared by that.
        for _ in 0..2 {
            match self.sockets[flow].send(datagram) {
                Ok(_) => return true,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.refused += 1,
                Err(_) => return false,
            }
        }
        false
    }

    /// Sleeps until a datagram is there or the time is over. To the nanosecond, which epoll alone cannot.
    pub(crate) fn wait(&self, time: Duration) {
        let mut watched = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        // An error here is a signal: the caller looks at the clock and comes back.
        let _ = ppoll(&mut watched, Some(TimeSpec::from_duration(time)), None);
    }

    /// Hands every datagram that is there to `take`, with its flow.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(usize, &[u8])) {
        let mut events = [EpollEvent::empty(); 64];
        let mut buffer = [0; 4096];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..ready] {
            let flow = event.data() as usize;
            // A few from each in turn: none may keep the others waiting, nor the sender.
            for _ in 0..8 {
                match self.sockets[flow].recv(&mut buffer) {
                    Ok(length) => take(flow, &buffer[..length]),
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.refused += 1,
                    Err(_) => break,
                }
            }
        }
    }
}

fn connect(source: IpAddr, to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM.nonblocking(), None)?;
    if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
        socket.set_recv_buffer_size(BUFFER)?;
    }
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}
