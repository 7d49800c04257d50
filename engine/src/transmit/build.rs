//! Headers around a UDP payload: the frame that goes out.

use vos_common::packet::{Flow, UDP};

use crate::datagram::{End, UDP_HEADER, sum, write_udp};

/// Ethernet header with two VLAN tags, bytes.
const LINK_MAX: usize = 22;
/// IPv4 header without options, bytes.
const IPV4_HEADER: usize = 20;
/// IPv6 header, bytes.
const IPV6_HEADER: usize = 40;
/// TTL and hop limit (RFC 1700, RFC 4861 §10).
const HOPS: u8 = 64;
/// Shortest Ethernet frame without its checksum (IEEE 802.3 §3.2.8): not every driver fills up what is shorter.
const FRAME_MIN: usize = 60;

/// An Ethernet header with its VLAN tags, as frames to somebody bear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    bytes: [u8; LINK_MAX],
    length: u8,
}

impl Link {
    /// Back to whoever sent `frame`: MAC addresses changed over, tags as they are.
    pub fn back(frame: &[u8], flow: &Flow) -> Option<Self> {
        let length = flow.l3 as usize;
        let header = frame.get(..length).filter(|_| (14..=LINK_MAX).contains(&length))?;
        let mut bytes = [0; LINK_MAX];
        bytes[..length].copy_from_slice(header);
        bytes[..6].copy_from_slice(&header[6..12]);
        bytes[6..12].copy_from_slice(&header[..6]);
        Some(Self { bytes, length: length as u8 })
    }

    /// Without tags, from one MAC address to another.
    pub fn plain(from: [u8; 6], to: [u8; 6], v4: bool) -> Self {
        let mut bytes = [0; LINK_MAX];
        bytes[..6].copy_from_slice(&to);
        bytes[6..12].copy_from_slice(&from);
        bytes[12..14].copy_from_slice(if v4 { &[0x08, 0x00] } else { &[0x86, 0xdd] });
        Self { bytes, length: 14 }
    }

    /// Does it bear a VLAN tag?
    pub fn is_tagged(&self) -> bool {
        self.length > 14
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Bytes of the IP packet around a payload.
pub fn packet_length(v4: bool, payload: usize) -> usize {
    payload + UDP_HEADER + if v4 { IPV4_HEADER } else { IPV6_HEADER }
}

/// Writes the frame that carries `payload`, checksums included; its length, or `None` if `room` is too small or the ends
/// are of two families.
///
/// Routers may cut it where it is IPv4, as what softswitches send themselves: nobody here would hear of a path with a
/// smaller MTU.
pub fn build(room: &mut [u8], link: &Link, from: &End, to: &End, payload: &[u8]) -> Option<usize> {
    let v4 = to.addr.is_v4();
    let ip = packet_length(v4, payload.len());
    let frame = room.get_mut(..(usize::from(link.length) + ip).max(FRAME_MIN))?;
    if from.addr.is_v4() != v4 || ip > 65_535 {
        return None;
    }
    let length = frame.len();
    let (head, packet) = frame.split_at_mut(usize::from(link.length));
    let (packet, padding) = packet.split_at_mut(ip);
    padding.fill(0);
    head.copy_from_slice(link.as_bytes());
    let headers = if v4 { IPV4_HEADER } else { IPV6_HEADER };
    let (header, datagram) = packet.split_at_mut(headers);
    write_datagram(datagram, from, to, payload);
    header.fill(0);
    match v4 {
        true => write_ipv4(header, datagram, from, to),
        false => write_ipv6(header, datagram, from, to),
    }
    Some(length)
}

fn write_datagram(datagram: &mut [u8], from: &End, to: &End, payload: &[u8]) {
    let length = datagram.len() as u16;
    datagram[0..2].copy_from_slice(&from.port.to_be_bytes());
    datagram[2..4].copy_from_slice(&to.port.to_be_bytes());
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    datagram[UDP_HEADER..].copy_from_slice(payload);
    write_udp(datagram, from.addr, to.addr);
}

/// RFC 791 §3.1.
fn write_ipv4(header: &mut [u8], datagram: &[u8], from: &End, to: &End) {
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((IPV4_HEADER + datagram.len()) as u16).to_be_bytes());
    // Tells fragments of different datagrams apart. The datagram's checksum does that without a counter: two that have
    // the same within the time that fragments live are mostly copies of one.
    header[4..6].copy_from_slice(&datagram[6..8]);
    header[8] = HOPS;
    header[9] = UDP as u8;
    header[12..16].copy_from_slice(&from.addr.to_bytes()[12..]);
    header[16..20].copy_from_slice(&to.addr.to_bytes()[12..]);
    let checksum = !sum(header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// RFC 8200 §3.
fn write_ipv6(header: &mut [u8], datagram: &[u8], from: &End, to: &End) {
    header[0] = 0x60;
    header[4..6].copy_from_slice(&(datagram.len() as u16).to_be_bytes());
    header[6] = UDP as u8;
    header[7] = HOPS;
    header[8..24].copy_from_slice(&from.addr.to_bytes());
    header[24..40].copy_from_slice(&to.addr.to_bytes());
}
