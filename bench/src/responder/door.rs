//! Sockets that messages come in by, and the PROXY headers in front of them
//! (`https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Socket, Type};

use super::Listen;
use crate::stop::LOOK;
use crate::{Error, Result};

/// Receive buffer: at 40,000 requests/s of 500 bytes (1,280 with the kernel's bookkeeping) it holds 0.3 s, more than a
/// busy machine ever keeps a thread waiting. 212,992, the usual default, holds 4 ms and loses.
const BUFFER: usize = 16 << 20;
/// What every header of version 2 begins with (§2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of such a header in front of the addresses.
const FIXED: usize = 16;

/// A socket.
#[derive(Debug)]
pub(super) enum Door {
    Udp(UdpSocket, SocketAddr),
    ProxyLine(UdpSocket),
    Unix(UnixDatagram),
}

/// A message that has come in.
#[derive(Debug)]
pub(super) struct Letter {
    /// Where it stands in the buffer; what is in front of it is the header.
    pub(super) message: Range<usize>,
    /// Whose it is.
    pub(super) source: SocketAddr,
    /// Where it was sent to.
    pub(super) local: SocketAddr,
    /// Who brought it.
    pub(super) back: Back,
}

/// Who brings replies back.
#[derive(Debug)]
pub(super) enum Back {
    /// Nobody: they go where they belong.
    Direct,
    Udp(SocketAddr),
    Unix(UnixAddr),
}

impl Door {
    pub(super) fn open(listen: &Listen) -> Result<Self> {
        match listen {
            Listen::Udp(address) => {
                let socket = udp(*address)?;
                let local = socket.local_addr().map_err(Error::io("ask for a socket's address"))?;
                Ok(Self::Udp(socket, local))
            }
            Listen::ProxyLine(address) => udp(*address).map(Self::ProxyLine),
            Listen::Unix(path) => {
                let open = || {
                    let socket = UnixDatagram::bind(path)?;
                    socket.set_read_timeout(Some(LOOK)).map(|()| socket)
                };
                open().map(Self::Unix).map_err(Error::io(format!("listen at {}", path.display())))
            }
        }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(_, local) => Some(*local),
            Self::ProxyLine(socket) => socket.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The next message; `None`: something without the header that belongs there.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Letter>> {
        match self {
            Self::Udp(socket, local) => {
                let (length, source) = socket.recv_from(buffer)?;
                Ok(Some(Letter { message: 0..length, source, local: *local, back: Back::Direct }))
            }
            Self::ProxyLine(socket) => {
                let (length, from) = socket.recv_from(buffer)?;
                let letter =
                    |(header, source, local)| Letter { message: header..length, source, local, back: Back::Udp(from) };
                Ok(line(&buffer[..length]).map(letter))
            }
            Self::Unix(socket) => {
                let (length, from) = socket.recv_from(buffer)?;
                let back = Back::Unix(from);
                Ok(header(&buffer[..length]).map(|(header, source, local)| Letter {
                    message: header..length,
                    source,
                    local,
                    back,
                }))
            }
        }
    }

    /// Sends a reply to `to`, or to whoever brings it there, with the request's header where that is wanted.
    pub(super) fn send(&self, header: &[u8], reply: &[u8], back: &Back, to: SocketAddr) -> io::Result<()> {
        match (self, back) {
            (Self::Udp(socket, _), _) => socket.send_to(reply, to).map(drop),
            (Self::ProxyLine(socket), Back::Udp(relay)) => socket.send_to(reply, relay).map(drop),
            (Self::Unix(socket), Back::Unix(relay)) => socket.send_to_addr(&[header, reply].concat(), relay).map(drop),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// `PROXY TCP4 192.0.2.10 192.0.2.1 5061 5060` and its line end (§2.1): how long that is, and both ends.
fn line(datagram: &[u8]) -> Option<(usize, SocketAddr, SocketAddr)> {
    let end = datagram.windows(2).take(107).position(|pair| pair == b"\r\n")?;
    let mut words = std::str::from_utf8(&datagram[..end]).ok()?.strip_prefix("PROXY TCP")?.split(' ').skip(1);
    let (source, local): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((end + 2, SocketAddr::new(source, from), SocketAddr::new(local, to)))
}

/// Signature, version and command, family, length, addresses, ports (§2.2): how long that is, and both ends.
fn header(datagram: &[u8]) -> Option<(usize, SocketAddr, SocketAddr)> {
    let fixed = datagram.first_chunk::<FIXED>().filter(|fixed| fixed[..13] == [&SIGNATURE[..], &[0x21]].concat())?;
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let body = datagram.get(FIXED..length)?;
    let port = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
    match fixed[13] {
        0x12 => {
            let address = |at: usize| Some(IpAddr::from(Ipv4Addr::from(*body.get(at..)?.first_chunk::<4>()?)));
            Some((length, SocketAddr::new(address(0)?, port(8)?), SocketAddr::new(address(4)?, port(10)?)))
        }
        0x22 => {
            let address = |at: usize| Some(IpAddr::from(Ipv6Addr::from(*body.get(at..)?.first_chunk::<16>()?)));
            Some((length, SocketAddr::new(address(0)?, port(32)?), SocketAddr::new(address(16)?, port(34)?)))
        }
        _ => None,
    }
}

fn udp(address: SocketAddr) -> Result<UdpSocket> {
    let open = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?; // `[::]` must leave `0.0.0.0` free for its neighbour
        }
        // More than net.core.rmem_max needs CAP_NET_ADMIN; without it take what is given.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER)?;
        }
        socket.set_read_timeout(Some(LOOK))?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    open().map(Into::into).map_err(Error::io(format!("listen on {address}/udp")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read() {
        let ends = |from: &str, to: &str| (from.parse().unwrap(), to.parse().unwrap());
        let (from, to) = ends("192.0.2.10:5061", "192.0.2.1:5060");
        assert_eq!(line(b"PROXY TCP4 192.0.2.10 192.0.2.1 5061 5060\r\nOPTIONS"), Some((43, from, to)));
        let (from, to) = ends("[2001:db8::10]:5061", "[2001:db8::1]:5060");
        assert_eq!(line(b"PROXY TCP6 2001:db8::10 2001:db8::1 5061 5060\r\n"), Some((47, from, to)));
        assert_eq!(line(b"OPTIONS sip:x SIP/2.0\r\n"), None);
        let v4 = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\0\x02\x0a\xc0\0\x02\x01\x13\xc5\x13\xc4OPTIONS";
        let (from, to) = ends("192.0.2.10:5061", "192.0.2.1:5060");
        assert_eq!(header(v4), Some((28, from, to)));
        assert_eq!(header(&v4[..27]), None);
        assert_eq!(header(b"OPTIONS"), None);
    }
}
