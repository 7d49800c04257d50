use std::io;
use std::net::SocketAddr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::netlink::Connection;

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
    /// What `/proc/PID/fd` calls it.
    pub inode: u32,
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
    netlink: Connection,
    /// How many looks still go by without IPv4, without IPv6.
    skip: [u32; 2],
}

impl Sockets {
    /// Opens a connection.
    pub fn open() -> io::Result<Self> {
        Ok(Self { netlink: Connection::open(NETLINK_SOCK_DIAG)?, skip: [0; 2] })
    }

    /// The sockets bound to one of these ports, over both families; a family that has none is asked now and then.
    pub fn list(&mut self, ports: &[u16]) -> io::Result<Vec<UdpSocket>> {
        let mut found = Vec::new();
        for (at, family) in [AF_INET, AF_INET6].into_iter().enumerate() {
            if self.skip[at] > 0 {
                self.skip[at] -= 1;
                continue;
            }
            let before = found.len();
            for port in ports {
                found.extend(self.at_port(family, *port)?);
            }
            if found.len() == before {
                self.skip[at] = LOOKS;
            }
        }
        Ok(found)
    }

    fn at_port(&mut self, family: u8, port: u16) -> io::Result<impl Iterator<Item = UdpSocket>> {
        let any = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
        let ask = InetRequest {
            family,
            protocol: IPPROTO_UDP,
            extensions: ExtensionFlags::SKMEMINFO,
            // What a UDP socket is that is not connected.
            states: StateFlags::CLOSE,
            socket_id: SocketId { source_port: port, ..any },
        };
        let answer = self.netlink.ask(SockDiagMessage::InetRequest(ask), NLM_F_DUMP)?;
        let sockets = answer.into_iter().filter_map(|message| match message {
            SockDiagMessage::InetResponse(response) => read(&response),
            _ => None,
        });
        // The kernel filters by port as well; it is the one that filters by nothing we could miss.
        Ok(sockets.filter(move |socket| socket.local.port() == port))
    }
}

fn read(response: &InetResponse) -> Option<UdpSocket> {
    let SocketId { source_address, source_port, cookie, .. } = &response.header.socket_id;
    let memory = response.nlas.iter().find_map(|nla| if let Nla::MemInfo(info) = nla { Some(info) } else { None })?;
    Some(UdpSocket {
        local: SocketAddr::new(*source_address, *source_port),
        cookie: u64::from_ne_bytes(*cookie),
        inode: response.header.inode,
        queued: response.header.recv_queue,
        buffer: memory.receive_queue_max,
        dropped: memory.drops,
    })
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
}
