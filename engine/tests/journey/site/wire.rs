use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket};
use vos_common::cases::{OWN_V4, OWN_V6, Packet};

use super::Site;

/// A request as a phone writes it. `call` tells it from all others in Kamailio's log; `from` goes into the Via.
pub(crate) fn request(method: &str, from: SocketAddr, call: &str) -> String {
    format!(
        "{method} sip:2@e.com SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call}\r\nFrom: <sip:1@e.com>;tag=1\r\n\
         To: <sip:2@e.com>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The same, filled up with a header so that it has this many bytes.
pub(crate) fn request_of(size: usize, method: &str, from: SocketAddr, call: &str) -> String {
    let request = request(method, from, call);
    let missing = size.checked_sub(request.len() + "X-Fill: \r\n".len()).expect("room for the filling");
    request.replacen("From:", &format!("X-Fill: {}\r\nFrom:", "f".repeat(missing)), 1)
}

/// A UDP datagram over IPv6 with its checksum (RFC 8200 §8.1): the header from port 5061 to `port`, and the payload.
fn udp6(src: Ipv6Addr, dst: Ipv6Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let ports = [5061u16.to_be_bytes(), port.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    let mut datagram = [&ports[..], payload].concat();
    let pseudo = [&src.octets()[..], &dst.octets(), &u32::from(length).to_be_bytes(), &[0, 0, 0, 17]].concat();
    let words = |bytes: &[u8]| -> u64 {
        let words = bytes.chunks(2).map(|w| u64::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])));
        words.sum()
    };
    let mut sum = words(&pseudo) + words(&datagram);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = if sum == 0xffff { 0xffff } else { !(sum as u16) };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

impl Site {
    /// A frame to the server from this address, to be completed.
    pub(crate) fn frame(&self, from: impl Into<IpAddr>) -> Packet {
        match from.into() {
            IpAddr::V4(from) => Packet::v4(from.octets()).to(&OWN_V4).mac(self.mac),
            IpAddr::V6(from) => Packet::v6(from.octets()).to(&OWN_V6).mac(self.mac),
        }
    }

    /// A frame with a request of `method` from this address, port 5061.
    pub(crate) fn sip_frame(&self, from: impl Into<IpAddr>, method: &str, call: &str) -> Packet {
        let from = from.into();
        self.sip_frame_of(from, request(method, SocketAddr::new(from, 5061), call).as_bytes())
    }

    /// A frame with this payload from this address, port 5061, to port 5060.
    pub(crate) fn sip_frame_of(&self, from: IpAddr, payload: &[u8]) -> Packet {
        match from {
            IpAddr::V4(_) => self.frame(from).sip(payload),
            IpAddr::V6(v6) => {
                let datagram = udp6(v6, OWN_V6.into(), 5060, payload);
                self.frame(from).raw(17, &datagram).udp_length(datagram.len() as u16)
            }
        }
    }

    /// A request in two fragments, the first with `first` bytes above IP (a multiple of eight).
    pub(crate) fn fragments(&self, from: impl Into<IpAddr>, payload: &[u8], first: usize, id: u32) -> [Vec<u8>; 2] {
        let from = from.into();
        let datagram = match from {
            IpAddr::V6(v6) => udp6(v6, OWN_V6.into(), 5060, payload),
            // a checksum of zero is none
            IpAddr::V4(_) => {
                let length = (8 + payload.len()) as u16;
                [&[0x13, 0xc5, 0x13, 0xc4][..], &length.to_be_bytes(), &[0, 0], payload].concat()
            }
        };
        let (head, rest) = datagram.split_at(first);
        let head = self.frame(from).raw(17, head).udp_length(datagram.len() as u16).fragment(0, true, id);
        [head.build(), self.frame(from).raw(17, rest).fragment(first as u16, false, id).build()]
    }

    /// Sends frames as they are from the caller's end of the wire.
    #[track_caller]
    pub(crate) fn send(&self, frames: &[Vec<u8>]) {
        let send = || -> nix::Result<()> {
            let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
            let address = nix::ifaddrs::getifaddrs()?
                .filter(|entry| entry.interface_name == self.lan)
                .filter_map(|entry| entry.address)
                .find(|address| address.family() == Some(AddressFamily::Packet))
                .ok_or(nix::Error::ENODEV)?;
            let link = *address.as_link_addr().ok_or(nix::Error::ENODEV)?;
            for frame in frames {
                sendto(raw.as_raw_fd(), frame, &link, MsgFlags::empty())?;
            }
            Ok(())
        };
        self.caller.enter(send).unwrap().unwrap();
    }
}
