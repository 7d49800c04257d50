use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};
use vos_common::cases::{OWN_V4, OWN_V6, Packet};
use vos_common::reason::Reason;

use crate::ledger::Maps;
use crate::site::{DOMAIN, Site, wait_until};

/// Frames sent before the filter is waited for. A queue of veth holds 256, and all may go to one queue.
const BATCH: usize = 128;

/// A request as an attacker writes it.
pub(crate) fn request(method: &str, from: IpAddr, call: &str) -> String {
    let host = if from.is_ipv6() { format!("[{from}]") } else { from.to_string() };
    format!(
        "{method} sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:5061;branch=z9hG4bK{call}\r\n\
         From: <sip:100@{DOMAIN}>;tag=1\r\nTo: <sip:100@{DOMAIN}>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:100@{host}:5061>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A UDP datagram from port 5061 to 5060, with a checksum where there must be one.
fn datagram(from: IpAddr, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = [&[0x13, 0xc5, 0x13, 0xc4][..], &length.to_be_bytes(), &[0, 0], payload].concat();
    if let IpAddr::V6(from) = from {
        let to = Ipv6Addr::from(OWN_V6);
        let pseudo = [&from.octets()[..], &to.octets(), &u32::from(length).to_be_bytes(), &[0, 0, 0, 17]].concat();
        let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        let mut sum: u64 = pseudo.chunks(2).chain(datagram.chunks(2)).map(word).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = if sum == 0xffff { 0xffff } else { !(sum as u16) };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    }
    datagram
}

impl Site {
    fn frame_from(&self, from: IpAddr) -> Packet {
        match from {
            IpAddr::V4(from) => Packet::v4(from.octets()).to(&OWN_V4).mac(self.mac),
            IpAddr::V6(from) => Packet::v6(from.octets()).to(&OWN_V6).mac(self.mac),
        }
    }

    /// A whole datagram in one frame.
    pub(crate) fn frame(&self, from: impl Into<IpAddr>, payload: &str) -> Vec<u8> {
        let from = from.into();
        let datagram = datagram(from, payload.as_bytes());
        self.frame_from(from).raw(17, &datagram).udp_length(datagram.len() as u16).build()
    }

    /// A datagram in fragments, cut at these places (multiples of eight, counted from the UDP header on).
    pub(crate) fn fragments(&self, from: impl Into<IpAddr>, payload: &str, cuts: &[usize], id: u32) -> Vec<Vec<u8>> {
        let from = from.into();
        let datagram = datagram(from, payload.as_bytes());
        let starts = [&[0], cuts].concat();
        let ends = [cuts, &[datagram.len()]].concat();
        let fragment = |(start, end): (&usize, &usize)| {
            let packet = self.frame_from(from).raw(17, &datagram[*start..*end]).udp_length(datagram.len() as u16);
            packet.fragment(*start as u16, *end < datagram.len(), id).build()
        };
        starts.iter().zip(&ends).map(fragment).collect()
    }

    /// Sends frames as they are from the outside end of the wire. When it returns, all of them were judged.
    #[track_caller]
    pub(crate) fn send(&self, frames: &[Vec<u8>]) {
        let (wire, maps) = (Wire::open(self), self.maps());
        for batch in frames.chunks(BATCH) {
            let goal = judged(&maps) + batch.len() as u64;
            for frame in batch {
                wire.send(frame);
            }
            wait_until("what was sent is judged", || judged(&maps) >= goal);
        }
    }
}

/// Packets judged, but for those that the hosts send each other by themselves: ARP, neighbour discovery.
fn judged(maps: &Maps) -> u64 {
    maps.judged() - maps.reason(Reason::NotOurs)
}

/// The outside end of the wire.
struct Wire {
    socket: OwnedFd,
    link: LinkAddr,
}

impl Wire {
    fn open(site: &Site) -> Self {
        let open = || -> nix::Result<Self> {
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            let address = nix::ifaddrs::getifaddrs()?
                .filter(|entry| entry.interface_name == site.lan)
                .filter_map(|entry| entry.address)
                .find(|address| address.family() == Some(AddressFamily::Packet))
                .ok_or(nix::Error::ENODEV)?;
            Ok(Self { socket, link: *address.as_link_addr().ok_or(nix::Error::ENODEV)? })
        };
        site.outside.enter(open).unwrap().unwrap()
    }

    fn send(&self, frame: &[u8]) {
        sendto(self.socket.as_raw_fd(), frame, &self.link, MsgFlags::empty()).unwrap();
    }
}
