use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use vos_common::packet;
use vos_common::reason::Reason;

use super::{ReversePath, SendError, Tag};
use crate::datagram::{sum, udp_of_mut, write_udp};
use crate::netlink::Link;
use crate::pipeline::Checksum;
use crate::xdp::ip;

/// Packets go out through a raw socket to the host's own address, and so by `lo` to the softswitch. `lo` checks
/// nothing of what an interface does, so this relay does: IPv4 header checksum and reverse path here, martians and
/// destination MAC in XDP.
#[derive(Debug)]
pub struct Raw {
    v4: Socket,
    v6: Option<Socket>,
    reverse_path: ReversePath,
    probes: UdpSocket,
    cookie: u64,
    sent: u64,
    arrived: u64,
}

fn raw(domain: Domain) -> io::Result<Socket> {
    // IPPROTO_RAW: the caller brings the IP header (raw(7), ipv6(7))
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl Raw {
    /// Sockets for frames of `nic`. `cookie` tells this worker's probes from everybody else's.
    pub fn new(nic: &Link, cookie: u64) -> io::Result<Self> {
        let probes = UdpSocket::bind("127.0.0.1:0")?;
        probes.set_nonblocking(true)?;
        Ok(Self {
            v4: raw(Domain::IPV4)?,
            v6: raw(Domain::IPV6).ok(),
            reverse_path: ReversePath::new(nic, cookie)?,
            probes,
            cookie,
            sent: 0,
            arrived: 0,
        })
    }

    /// Checks a frame and injects its IP packet, at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn send(&mut self, frame: &mut [u8], checksum: Checksum, now: u64) -> Result<(), SendError> {
        let Some(flow) = packet::flow(&&*frame) else { return Err(SendError::Refused(Reason::HeaderChecksum)) };
        let l3 = flow.l3 as usize;
        let end = (flow.end as usize).min(frame.len());
        if checksum != Checksum::Whole
            && let Some(datagram) = udp_of_mut(frame, &flow)
        {
            write_udp(datagram, flow.src, flow.dst);
        }
        let tag = Tag::of(frame);
        let Some(packet) = frame.get(l3..end) else { return Err(SendError::Refused(Reason::HeaderChecksum)) };
        if flow.src.is_v4() {
            let header = packet.get(..flow.l4 as usize - l3).unwrap_or_default();
            if sum(header) != 0xffff {
                return Err(SendError::Refused(Reason::HeaderChecksum));
            }
        }
        if !self.reverse_path.accepts(&flow.src, &flow.dst, tag, now).map_err(SendError::Io)? {
            return Err(SendError::Refused(Reason::ReversePath));
        }
        let socket = if flow.src.is_v4() { Some(&self.v4) } else { self.v6.as_ref() };
        let Some(socket) = socket else {
            return Err(SendError::Io(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)));
        };
        // The kernel wants port 0 for raw IPv6.
        socket.send_to(packet, &SockAddr::from(SocketAddr::new(ip(flow.dst), 0))).map(drop).map_err(SendError::Io)
    }

    /// Sends a probe by the same raw socket; `true` if it, or the one before it, arrived.
    pub fn probe(&mut self) -> bool {
        self.sent += 1;
        let Ok(SocketAddr::V4(to)) = self.probes.local_addr() else { return false };
        let mut packet = [0; 44];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&44u16.to_be_bytes());
        packet[8] = 64;
        packet[9] = packet::UDP as u8;
        packet[12..16].copy_from_slice(&to.ip().octets());
        packet[16..20].copy_from_slice(&to.ip().octets());
        packet[20..22].copy_from_slice(&to.port().to_be_bytes());
        packet[22..24].copy_from_slice(&to.port().to_be_bytes());
        packet[24..26].copy_from_slice(&24u16.to_be_bytes());
        packet[28..36].copy_from_slice(&self.cookie.to_le_bytes());
        packet[36..44].copy_from_slice(&self.sent.to_le_bytes());
        if self.v4.send_to(&packet, &SockAddr::from(SocketAddr::V4(to))).is_err() {
            return false;
        }
        let mut got = [0; 32];
        while let Ok(length) = self.probes.recv(&mut got) {
            let mine = length == 16 && got[..8] == self.cookie.to_le_bytes();
            if let (true, Ok(number)) = (mine, got[8..16].try_into()) {
                self.arrived = self.arrived.max(u64::from_le_bytes(number));
            }
        }
        self.arrived + 1 >= self.sent && self.arrived > 0
    }
}
