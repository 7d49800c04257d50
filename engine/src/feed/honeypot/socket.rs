use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Domain, Socket, Type};

/// A port at one address, or at all of one family: addresses come and go, and each answers for itself. It is never shared:
/// whoever has it there already, or at all addresses, keeps it.
#[derive(Debug)]
pub(super) struct Port {
    socket: Socket,
}

/// A datagram that has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) length: usize,
    pub(super) from: SocketAddr,
    /// At which address of this host.
    pub(super) at: IpAddr,
}

impl Port {
    /// Listens.
    pub(super) fn open(place: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(place), Type::DGRAM.cloexec().nonblocking(), None)?;
        if place.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            socket.set_only_v6(true)?;
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        socket.bind(&place.into())?;
        Ok(Self { socket })
    }

    /// The next datagram; `Ok(None)`: one that cannot be answered. Fails with `WouldBlock` where there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Came>> {
        let mut room = nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo);
        let mut parts = [IoSliceMut::new(buffer)];
        let got = recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::empty())?;
        let from = got.address.as_ref().and_then(address);
        let at = got.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(IpAddr::from(info.ipi_addr.s_addr.to_ne_bytes())),
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::from(info.ipi6_addr.s6_addr)),
            _ => None,
        });
        Ok(from.zip(at).map(|(from, at)| Came { length: got.bytes, from, at }))
    }

    /// Answers from the address that was asked.
    pub(super) fn answer(&self, text: &[u8], came: &Came) -> io::Result<()> {
        let (parts, to) = ([IoSlice::new(text)], SockaddrStorage::from(came.from));
        let fd = self.socket.as_raw_fd();
        match came.at {
            IpAddr::V4(at) => {
                let s_addr = u32::from_ne_bytes(at.octets());
                let nobody = libc::in_addr { s_addr: 0 };
                let info =
                    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: libc::in_addr { s_addr }, ipi_addr: nobody };
                sendmsg(fd, &parts, &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::empty(), Some(&to))?;
            }
            IpAddr::V6(at) => {
                let ipi6_addr = libc::in6_addr { s6_addr: at.octets() };
                let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
                sendmsg(fd, &parts, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::empty(), Some(&to))?;
            }
        }
        Ok(())
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in().map(|v4| SocketAddr::new(v4.ip().into(), v4.port()));
    v4.or_else(|| from.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_answer_leaves_from_the_address_that_was_asked() {
        // a port that is free in both families
        let port = UdpSocket::bind("[::]:0").expect("a port").local_addr().expect("bound").port();
        for (at, own, asked) in
            [("0.0.0.0", "127.0.0.1", "127.0.0.9"), ("::", "::1", "::1"), ("127.0.0.8", "127.0.0.1", "127.0.0.8")]
        {
            let socket = Port::open(SocketAddr::new(at.parse().expect("an address"), port)).expect("free");
            let client = UdpSocket::bind((own, 0)).expect("loopback");
            let asked: IpAddr = asked.parse().expect("an address");
            client.send_to(b"ask", (asked, port)).expect("sent");
            let mut buffer = [0; 64];
            let came = socket.receive(&mut buffer).expect("there").expect("with addresses");
            assert_eq!((&buffer[..came.length], came.at), (&b"ask"[..], asked));
            assert_eq!(came.from, client.local_addr().expect("bound"));
            socket.answer(b"answer", &came).expect("sent");
            client.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
            let (length, from) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!((&buffer[..length], from), (&b"answer"[..], SocketAddr::new(asked, port)));
            let error = socket.receive(&mut buffer).expect_err("nothing more");
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
