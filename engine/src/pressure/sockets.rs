use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netlink_sys::{Socket, SocketAddr as Peer, protocols::NETLINK_SOCK_DIAG};

// linux/sock_diag.h, linux/inet_diag.h
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_SKMEMINFO: u16 = 7;
/// `SK_MEMINFO_RCVBUF` and `SK_MEMINFO_DROPS`: which words of it.
const RCVBUF: usize = 1;
const DROPS: usize = 8;
/// `TCP_CLOSE`: what a UDP socket is that is not connected.
const UNCONNECTED: u32 = 1 << 7;
// netlink(7)
const NLMSG_HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
/// `struct inet_diag_req_v2` and `struct inet_diag_msg`, bytes.
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
/// Room for a part of an answer: the kernel sends no more than 32 KiB at once.
const BUFFER: usize = 32 * 1024;

/// How many looks go by until a family is asked again in which no socket was found: each question has the kernel walk
/// its whole table. A softswitch that is started is seen after a second.
const LOOKS: u32 = 50;

/// A UDP socket of this host, as the kernel tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSocket {
    /// What it is bound to.
    pub local: SocketAddr,
    /// The kernel's number for it, never used again.
    pub cookie: u64,
    /// What waits to be read, bytes of kernel memory (more than the datagrams have).
    pub queued: u32,
    /// How many bytes may wait (`SO_RCVBUF`, as the kernel counts it).
    pub buffer: u32,
    /// Datagrams that it had no room for, ever; comes round.
    pub dropped: u32,
}

/// Asks the kernel for UDP sockets (`sock_diag(7)`), those of this thread's network namespace.
///
/// `/proc/net/udp` tells what waits, but not how much may.
#[derive(Debug)]
pub struct Sockets {
    netlink: Socket,
    buffer: Vec<u8>,
    sequence: u32,
    /// How many looks still go by without IPv4, without IPv6.
    skip: [u32; 2],
}

impl Sockets {
    /// Opens a connection.
    pub fn open() -> io::Result<Self> {
        let mut netlink = Socket::new(NETLINK_SOCK_DIAG)?;
        netlink.bind_auto()?;
        netlink.connect(&Peer::new(0, 0))?;
        Ok(Self { netlink, buffer: Vec::with_capacity(BUFFER), sequence: 0, skip: [0; 2] })
    }

    /// The sockets bound to one of these ports, over both families; a family that has none is asked now and then.
    pub fn list(&mut self, ports: &[u16]) -> io::Result<Vec<UdpSocket>> {
        let mut found = Vec::new();
        for (at, family) in [libc::AF_INET, libc::AF_INET6].into_iter().enumerate() {
            if self.skip[at] > 0 {
                self.skip[at] -= 1;
                continue;
            }
            let before = found.len();
            for port in ports {
                self.dump(family as u8, *port, &mut found)?;
            }
            if found.len() == before {
                self.skip[at] = LOOKS;
            }
        }
        Ok(found)
    }

    fn dump(&mut self, family: u8, port: u16, found: &mut Vec<UdpSocket>) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.netlink.send(&request(self.sequence, family, port), 0)?;
        loop {
            self.buffer.clear();
            self.netlink.recv(&mut self.buffer, 0)?;
            let mut rest = self.buffer.as_slice();
            while let Some((kind, sequence, body, next)) = message(rest) {
                rest = next;
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                        return Err(io::Error::from_raw_os_error(-code));
                    }
                    // The kernel filters by port as well; it is the one that filters by nothing we could miss.
                    SOCK_DIAG_BY_FAMILY => found.extend(read(body).filter(|socket| socket.local.port() == port)),
                    _ => {}
                }
            }
        }
    }
}

/// A netlink message with a `struct inet_diag_req_v2`.
fn request(sequence: u32, family: u8, port: u16) -> [u8; NLMSG_HEADER + REQUEST] {
    let mut bytes = [0; NLMSG_HEADER + REQUEST];
    bytes[0..4].copy_from_slice(&((NLMSG_HEADER + REQUEST) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    // family, protocol, which extensions, padding, which states, then source port and all that may be anything
    bytes[16] = family;
    bytes[17] = libc::IPPROTO_UDP as u8;
    bytes[18] = 1 << (INET_DIAG_SKMEMINFO - 1);
    bytes[20..24].copy_from_slice(&UNCONNECTED.to_ne_bytes());
    bytes[24..26].copy_from_slice(&port.to_be_bytes());
    bytes
}

/// The first message of an answer: type, sequence, what is in it; and what follows.
fn message(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let header = bytes.first_chunk::<NLMSG_HEADER>()?;
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let body = bytes.get(NLMSG_HEADER..length)?;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    Some((kind, sequence, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Reads a `struct inet_diag_msg` with its attributes.
fn read(body: &[u8]) -> Option<UdpSocket> {
    let (head, mut rest) = body.split_at_checked(MESSAGE)?;
    let port = u16::from_be_bytes(*head[4..].first_chunk()?);
    let ip = match i32::from(head[0]) {
        libc::AF_INET => IpAddr::from(Ipv4Addr::from(*head[8..].first_chunk::<4>()?)),
        _ => IpAddr::from(Ipv6Addr::from(*head[8..].first_chunk::<16>()?)),
    };
    let cookie = u64::from_ne_bytes(*head[44..].first_chunk()?);
    let queued = u32::from_ne_bytes(*head[56..].first_chunk()?);
    // struct nlattr: length with this header, type
    while let Some(length) = rest.first_chunk::<2>().map(|length| usize::from(u16::from_ne_bytes(*length))) {
        let attribute = rest.get(..length).filter(|attribute| attribute.len() >= 4)?;
        if u16::from_ne_bytes([attribute[2], attribute[3]]) == INET_DIAG_SKMEMINFO {
            let word = |at: usize| Some(u32::from_ne_bytes(*attribute.get(4 + at * 4..)?.first_chunk()?));
            let (buffer, dropped) = (word(RCVBUF)?, word(DROPS)?);
            return Some(UdpSocket { local: SocketAddr::new(ip, port), cookie, queued, buffer, dropped });
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket as Socket2, Type};

    use super::*;

    #[test]
    fn what_waits_and_what_was_lost_is_what_was_sent() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let local: SocketAddr = local.parse().expect("an address");
            let socket = Socket2::new(Domain::for_address(local), Type::DGRAM, None).expect("a socket");
            socket.set_recv_buffer_size(8_192).expect("a small buffer");
            socket.bind(&local.into()).expect("bound");
            let socket = std::net::UdpSocket::from(socket);
            let (local, sender) = (socket.local_addr().expect("bound"), std::net::UdpSocket::bind((local.ip(), 0)));
            let sender = sender.expect("a sender");
            let mut sockets = Sockets::open().expect("sock_diag");
            let mut look = || sockets.list(&[local.port()]).expect("an answer");
            let [empty] = &look()[..] else { panic!("one socket at {local}") };
            assert_eq!((empty.local, empty.queued, empty.dropped, empty.buffer), (local, 0, 0, 2 * 8_192));
            for _ in 0..100 {
                sender.send_to(&[0; 500], local).expect("sent");
            }
            let [full] = &look()[..] else { panic!("one socket at {local}") };
            assert_eq!((full.cookie, full.local), (empty.cookie, local));
            let mut read = 0;
            socket.set_nonblocking(true).expect("set");
            while socket.recv(&mut [0; 600]).is_ok() {
                read += 1;
            }
            assert!(read > 0 && u64::from(full.queued) >= 500 * read, "{full:?}, {read} read");
            assert_eq!(u64::from(full.dropped), 100 - read, "{full:?}");
            let [again] = &look()[..] else { panic!("one socket at {local}") };
            assert_eq!((again.queued, again.dropped), (0, full.dropped));
        }
    }

    #[test]
    fn a_family_without_sockets_is_asked_now_and_then() {
        let v4 = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let port = v4.local_addr().expect("bound").port();
        let mut sockets = Sockets::open().expect("sock_diag");
        let mut look = || sockets.list(&[port]).expect("an answer").len();
        assert_eq!(look(), 1);
        let _v6 = std::net::UdpSocket::bind(("::1", port)).expect("a socket");
        assert!((0..LOOKS).all(|_| look() == 1), "IPv6 is not asked");
        assert!((0..=LOOKS).all(|_| look() == 2), "and then is");
    }

    #[test]
    fn what_is_cut_off_is_not_read() {
        let mut body = vec![0; MESSAGE];
        body[0] = libc::AF_INET as u8;
        body.extend([40u16.to_ne_bytes(), INET_DIAG_SKMEMINFO.to_ne_bytes()].concat());
        body.extend([1; 36]);
        assert!(read(&body).is_some());
        for length in 0..body.len() {
            assert_eq!(read(&body[..length]), None, "{length}");
        }
        assert!((0..NLMSG_HEADER).all(|length| message(&[0; NLMSG_HEADER][..length]).is_none()));
        assert!(message(&[0; NLMSG_HEADER]).is_none(), "a length of nothing");
    }
}
