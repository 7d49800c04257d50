//! The kernel's way to callers, for what cannot leave by the ring: routes, neighbours and fragments are its business.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use socket2::{Domain, MsgHdr, Protocol, SockAddr, SockFilter, Socket, Type};

use super::{End, packet_length};
use crate::datagram::{UDP_HEADER, write_udp_header};
use crate::sys;
use crate::xdp::ip;

/// An address of `lo` that no service uses, and which nothing comes from.
const NOWHERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 255, 255, 254));
/// `lo` has only this one over IPv6.
const NOWHERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// `BPF_RET | BPF_K`: accepts as many bytes of a packet as it is told (`linux/filter.h`).
const RETURN: u16 = 0x06;

/// Raw UDP sockets (`raw(7)`): the source port may be one that a softswitch has bound. One of each family for all workers:
/// each costs every UDP datagram that reaches this host some 10 ns.
#[derive(Debug)]
pub struct Kernel {
    v4: Socket,
    v6: Option<Socket>,
}

/// A raw socket is given a copy of every UDP datagram that reaches this host. One that is connected is passed over before
/// the copy is made, unless the datagram comes from that very address; what is left, the filter refuses.
fn send_only(domain: Domain, nowhere: IpAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::UDP))?;
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
    socket.connect(&SockAddr::from(SocketAddr::new(nowhere, 0)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Kernel {
    /// Opens the sockets; without IPv6 there is none for it. Needs CAP_NET_RAW.
    pub fn open() -> io::Result<Self> {
        let v4 = send_only(Domain::IPV4, NOWHERE_V4)?;
        // Paths whose ICMP is filtered swallow what must not be cut; softswitches leave the bit clear, too.
        sys::may_be_cut(v4.as_fd())?;
        Ok(Self { v4, v6: send_only(Domain::IPV6, NOWHERE_V6).ok() })
    }

    /// Sends a datagram, in fragments where it must be. What the kernel has no room for now is an error like any other:
    /// nobody waits.
    pub fn send(&self, from: &End, to: &End, payload: &[u8]) -> io::Result<()> {
        let v4 = to.addr.is_v4();
        if from.addr.is_v4() != v4 || packet_length(v4, payload.len()) > usize::from(u16::MAX) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let socket = if v4 { Some(&self.v4) } else { self.v6.as_ref() };
        let socket = socket.ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
        let mut header = [0; UDP_HEADER];
        header[0..2].copy_from_slice(&from.port.to_be_bytes());
        header[2..4].copy_from_slice(&to.port.to_be_bytes());
        header[4..6].copy_from_slice(&((UDP_HEADER + payload.len()) as u16).to_be_bytes());
        write_udp_header(&mut header, payload, from.addr, to.addr);
        // Raw IPv6 wants no port.
        let address = SockAddr::from(SocketAddr::new(ip(to.addr), 0));
        let control = Control::source(ip(from.addr));
        let buffers = [IoSlice::new(&header), IoSlice::new(payload)];
        let message = MsgHdr::new().with_addr(&address).with_buffers(&buffers).with_control(control.as_bytes());
        socket.sendmsg(&message, libc::MSG_DONTWAIT).map(drop)
    }
}

/// A `struct cmsghdr` with `IP_PKTINFO` or `IPV6_PKTINFO` behind it (`ip(7)`, RFC 3542 §6.1).
struct Control {
    bytes: [u8; 40],
    length: usize,
}

impl Control {
    /// "This is the source"; the interface is the kernel's choice.
    fn source(from: IpAddr) -> Self {
        const HEADER: usize = size_of::<libc::cmsghdr>();
        const { assert!(HEADER == 16, "the size of cmsghdr's first field is that of usize") };
        let mut bytes = [0; 40];
        let (level, kind, used) = match from {
            IpAddr::V4(from) => {
                // ipi_ifindex, ipi_spec_dst, ipi_addr
                bytes[HEADER + 4..HEADER + 8].copy_from_slice(&from.octets());
                (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<libc::in_pktinfo>())
            }
            IpAddr::V6(from) => {
                // ipi6_addr, ipi6_ifindex
                bytes[HEADER..HEADER + 16].copy_from_slice(&from.octets());
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, size_of::<libc::in6_pktinfo>())
            }
        };
        bytes[0..8].copy_from_slice(&(HEADER + used).to_ne_bytes());
        bytes[8..12].copy_from_slice(&level.to_ne_bytes());
        bytes[12..16].copy_from_slice(&kind.to_ne_bytes());
        Self { bytes, length: (HEADER + used).next_multiple_of(size_of::<usize>()) }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
