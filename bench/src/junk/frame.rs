//! Frames whose sender and number change from packet to packet; the checksums follow, as RFC 1071 lets them.

use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;
use vos_engine::datagram::{UDP_HEADER, fold, sum};

use crate::request::{DIGITS, HOLE, digits};
use crate::{Error, Result};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Hops that a packet may still make.
const TTL: u8 = 64;

/// The ends of the wire, and who is sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) from_mac: [u8; 6],
    pub(super) to_mac: [u8; 6],
    pub(super) to: SocketAddr,
}

/// A UDP datagram in its frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    /// Where the source address stands, and its length.
    source: usize,
    address: usize,
    /// Where the UDP header stands.
    udp: usize,
    /// Where the numbers stand.
    holes: Vec<usize>,
    /// The sums of what does not change: of the IPv4 header, and of pseudo header and datagram.
    ip_sum: u64,
    udp_sum: u64,
    /// Numbers that begin at an even and at an odd place behind the UDP header's start.
    even: u64,
    odd: u64,
}

impl Frame {
    /// This text for the server; what stands for a number in it is left to [`set`](Self::set), and so is the sender.
    pub(super) fn new(ends: &Ends, text: &[u8]) -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| Error::Other(format!("a frame cannot be built: {error}"));
        let ethernet = PacketBuilder::ethernet2(ends.from_mac, ends.to_mac);
        let (mut bytes, header) = (
            Vec::new(),
            match ends.to.ip() {
                IpAddr::V4(_) => 20,
                IpAddr::V6(_) => 40,
            },
        );
        let built = match ends.to.ip() {
            IpAddr::V4(to) => ethernet.ipv4([0; 4], to.octets(), TTL).udp(0, ends.to.port()).write(&mut bytes, text),
            IpAddr::V6(to) => ethernet.ipv6([0; 16], to.octets(), TTL).udp(0, ends.to.port()).write(&mut bytes, text),
        };
        built.map_err(|error| wrong(&error))?;
        let (udp, address) = (ETHERNET + header, if ends.to.is_ipv4() { 4 } else { 16 });
        let source = udp - 2 * address;
        let payload = udp + UDP_HEADER;
        let is_hole = |at: &usize| bytes[*at..].starts_with(HOLE.as_bytes());
        let holes: Vec<usize> = (payload..bytes.len()).filter(is_hole).collect();
        for &hole in &holes {
            bytes[hole..hole + DIGITS].fill(0);
        }
        if address == 4 {
            bytes[ETHERNET + 10..ETHERNET + 12].fill(0);
        }
        bytes[udp + 6..udp + 8].fill(0);
        let length = (bytes.len() - udp) as u64;
        let odd = holes.iter().filter(|hole| !(*hole - udp).is_multiple_of(2)).count() as u64;
        Ok(Self {
            source,
            address,
            udp,
            ip_sum: u64::from(sum(&bytes[ETHERNET..ETHERNET + 20])),
            // Of the pseudo header (RFC 768, RFC 8200 §8.1) the receiver, the length and the protocol stay.
            udp_sum: u64::from(sum(&bytes[source + address..])) + length + 17,
            even: holes.len() as u64 - odd,
            odd,
            holes,
            bytes,
        })
    }

    /// Makes it a packet of this sender, with this number in it. The sender is of the receiver's family.
    pub(super) fn set(&mut self, from: SocketAddr, number: u64) {
        let digits = digits(number);
        for &hole in &self.holes {
            self.bytes[hole..hole + DIGITS].copy_from_slice(&digits);
        }
        match from.ip() {
            IpAddr::V4(ip) => self.put(self.source, &ip.octets()),
            IpAddr::V6(ip) => self.put(self.source, &ip.octets()),
        }
        self.put(self.udp, &from.port().to_be_bytes());
        let sender = u64::from(sum(&self.bytes[self.source..self.source + self.address]));
        let number = sum(&digits);
        let (even, odd) = (u64::from(number) * self.even, u64::from(number.swap_bytes()) * self.odd);
        let udp = !fold(self.udp_sum + sender + u64::from(from.port()) + even + odd);
        // 0 would mean: none.
        self.put(self.udp + 6, &(if udp == 0 { u16::MAX } else { udp }).to_be_bytes());
        if self.address == 4 {
            let ip = !fold(self.ip_sum + sender);
            self.put(ETHERNET + 10, &ip.to_be_bytes());
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The IP packet's payload in two frames: the first of `first` bytes, a multiple of eight. IPv4 only.
    pub(super) fn in_two(&self, first: usize, id: u16) -> [Vec<u8>; 2] {
        let part = |from: usize, to: usize, offset: u16| {
            let mut frame = [&self.bytes[..self.udp], &self.bytes[self.udp + from..self.udp + to]].concat();
            let length = (20 + to - from) as u16;
            frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&length.to_be_bytes());
            frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&id.to_be_bytes());
            frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&offset.to_be_bytes());
            frame[ETHERNET + 10..ETHERNET + 12].fill(0);
            let checksum = !sum(&frame[ETHERNET..ETHERNET + 20]);
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
            frame
        };
        /// More fragments (RFC 791 §3.1).
        const MORE: u16 = 1 << 13;
        [part(0, first, MORE), part(first, self.bytes.len() - self.udp, (first / 8) as u16)]
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(to: &str) -> Ends {
        Ends { from_mac: [2, 0, 0, 0, 0, 1], to_mac: [2, 0, 0, 0, 0, 2], to: to.parse().unwrap() }
    }

    /// What etherparse makes of the whole thing.
    fn whole(ends: &Ends, from: SocketAddr, text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ethernet2(ends.from_mac, ends.to_mac);
        match (from.ip(), ends.to.ip()) {
            (IpAddr::V4(from_ip), IpAddr::V4(to)) => builder
                .ipv4(from_ip.octets(), to.octets(), TTL)
                .udp(from.port(), ends.to.port())
                .write(&mut bytes, text.as_bytes()),
            (IpAddr::V6(from_ip), IpAddr::V6(to)) => builder
                .ipv6(from_ip.octets(), to.octets(), TTL)
                .udp(from.port(), ends.to.port())
                .write(&mut bytes, text.as_bytes()),
            _ => unreachable!("families are not mixed"),
        }
        .unwrap();
        bytes
    }

    #[test]
    fn a_changed_frame_is_the_one_that_would_have_been_built() {
        for (to, senders) in [
            ("192.0.2.1:5060", ["198.18.0.1:5060", "1.2.3.255:65535", "223.255.255.254:1"]),
            ("[2001:db8::1]:5060", ["[2001:db8:ffff::1]:5060", "[fd00::ff]:1", "[2001:db8::]:40000"]),
        ] {
            let ends = ends(to);
            // Numbers at even and at odd places, and a text of even and of odd length.
            for text in [format!("{HOLE} and {HOLE}"), format!("x{HOLE}, {HOLE}!"), HOLE.to_owned(), "x".to_owned()] {
                let mut frame = Frame::new(&ends, text.as_bytes()).unwrap();
                for (from, number) in senders.iter().zip([0, 7_777, 9_999_999_999]) {
                    let from = from.parse().unwrap();
                    frame.set(from, number);
                    let text = text.replace(HOLE, &format!("{number:010}"));
                    assert_eq!(frame.bytes(), whole(&ends, from, &text), "{from} {text}");
                }
            }
        }
    }

    #[test]
    fn two_fragments_are_the_datagram_again() {
        let text = "z".repeat(100);
        let mut frame = Frame::new(&ends("192.0.2.1:5060"), text.as_bytes()).unwrap();
        frame.set("198.18.0.1:5060".parse().unwrap(), 0);
        let [first, last] = frame.in_two(64, 7);
        let parts = [&first, &last].map(|part| etherparse::SlicedPacket::from_ethernet(part).unwrap());
        let mut payload: Vec<u8> = Vec::new();
        for (part, (offset, more)) in parts.iter().zip([(0, true), (8, false)]) {
            let Some(etherparse::NetSlice::Ipv4(ip)) = &part.net else { panic!("no IPv4") };
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            assert_eq!((header.fragments_offset().value(), header.more_fragments()), (offset, more));
            assert_eq!(header.identification(), 7);
            payload.extend(ip.payload().payload);
        }
        assert_eq!(payload, frame.bytes()[ETHERNET + 20..]);
    }
}
