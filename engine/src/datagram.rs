//! A UDP datagram in a frame (RFC 768): its ends and its payload; and the Internet checksum (RFC 1071) of it and of IPv4
//! headers: asked, completed, written.

use std::ops::Range;

use vos_common::packet::Flow;
use vos_common::rule::Addr;

/// Bytes of a UDP header (RFC 768).
pub const UDP_HEADER: usize = 8;

/// One end of a UDP datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct End {
    /// Address.
    pub addr: Addr,
    /// UDP port.
    pub port: u16,
}

/// A UDP datagram as it stands in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    /// Who sends it.
    pub from: End,
    /// Who is to get it.
    pub to: End,
    /// What it carries, as far as its length says and the frame reaches.
    pub payload: &'a [u8],
    /// Does the frame reach as far as its length says?
    pub complete: bool,
}

impl<'a> Udp<'a> {
    /// In a frame whose headers are there; `None` if its own is not, or not all of it.
    pub fn of(frame: &'a [u8], flow: &Flow) -> Option<Self> {
        let (there, length) = behind_ip(frame, flow)?;
        let (header, behind) = frame.get(there)?.split_first_chunk::<UDP_HEADER>()?;
        let [a, b, c, d, ..] = *header;
        let carried = length.checked_sub(UDP_HEADER);
        Some(Self {
            from: End { addr: flow.src, port: u16::from_be_bytes([a, b]) },
            to: End { addr: flow.dst, port: u16::from_be_bytes([c, d]) },
            payload: &behind[..carried.unwrap_or(0).min(behind.len())],
            complete: carried.is_some_and(|carried| carried <= behind.len()),
        })
    }
}

/// Where what IP carries stands in `frame`, and how long the UDP header says it is; 0 over IPv6 means all (RFC 2675 §4).
fn behind_ip(frame: &[u8], flow: &Flow) -> Option<(Range<usize>, usize)> {
    let there = flow.l4 as usize..(flow.end as usize).min(frame.len());
    let [.., high, low] = *frame.get(there.clone())?.first_chunk::<6>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let length = if length == 0 && !flow.src.is_v4() { there.len() } else { length };
    Some((there, length))
}

/// The UDP datagram in `frame`, header included, as long as its own length says; `None` if not all of it is there.
pub fn udp_of<'a>(frame: &'a [u8], flow: &Flow) -> Option<&'a [u8]> {
    let (there, length) = behind_ip(frame, flow)?;
    frame.get(there)?.get(..length).filter(|datagram| datagram.len() >= UDP_HEADER)
}

/// The same, to be written.
pub fn udp_of_mut<'a>(frame: &'a mut [u8], flow: &Flow) -> Option<&'a mut [u8]> {
    let (there, length) = behind_ip(frame, flow)?;
    frame.get_mut(there)?.get_mut(..length).filter(|datagram| datagram.len() >= UDP_HEADER)
}

/// Folds a sum of 16-bit words with end-around carry.
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// One's complement sum of bytes as 16-bit words in network order, folded, not complemented. An odd last byte counts as
/// if a zero followed it.
pub fn sum(bytes: &[u8]) -> u16 {
    // Words of four bytes have the same sum once they are folded, and so have words in host order once its bytes are
    // swapped (RFC 1071 §2): half as many, and nothing to swap in the loop.
    let (fours, rest) = bytes.as_chunks::<4>();
    let sum: u64 = fours.iter().map(|four| u64::from(u32::from_ne_bytes(*four))).sum();
    let rest = rest.chunks(2).map(|w| u64::from(u16::from_ne_bytes([w[0], w.get(1).copied().unwrap_or(0)])));
    u16::from_be(fold(sum + rest.sum::<u64>()))
}

/// One's complement sum over the pseudo-header (RFC 768, RFC 8200 §8.1) of a UDP datagram of `length` bytes, in host
/// order, not complemented.
pub fn pseudo_header(src: Addr, dst: Addr, length: u16) -> u16 {
    let words = |addr: Addr| {
        let from = if addr.is_v4() { 12 } else { 0 };
        u64::from(sum(&addr.to_bytes()[from..]))
    };
    fold(words(src) + words(dst) + vos_common::packet::UDP + u64::from(length))
}

/// Writes the checksum of a whole UDP datagram, header included; `datagram` is exactly that.
pub fn write_udp(datagram: &mut [u8], src: Addr, dst: Addr) {
    let Some((header, payload)) = datagram.split_first_chunk_mut::<UDP_HEADER>() else { return };
    write_udp_header(header, payload, src, dst);
}

/// Writes the checksum of a UDP datagram, whose payload stands elsewhere.
pub fn write_udp_header(header: &mut [u8; UDP_HEADER], payload: &[u8], src: Addr, dst: Addr) {
    header[6..].fill(0);
    let pseudo = pseudo_header(src, dst, (UDP_HEADER + payload.len()) as u16);
    let whole = !fold(u64::from(pseudo) + u64::from(sum(header)) + u64::from(sum(payload)));
    // RFC 768: a sum of zero is sent as all ones
    let whole = if whole == 0 { 0xffff } else { whole };
    header[6..].copy_from_slice(&whole.to_be_bytes());
}

/// Is the checksum of a UDP datagram right, header included? None at all is right over IPv4 (RFC 768), and wrong over
/// IPv6 (RFC 8200 §8.1).
pub fn udp_is_right(datagram: &[u8], src: Addr, dst: Addr) -> bool {
    match datagram.get(6..UDP_HEADER) {
        None => false,
        Some([0, 0]) => src.is_v4(),
        Some(_) => {
            let pseudo = pseudo_header(src, dst, datagram.len() as u16);
            fold(u64::from(pseudo) + u64::from(sum(datagram))) == 0xffff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vos_common::cases::{CALLER_V4, CALLER_V6, OWN_V4, OWN_V6, Packet};
    use vos_common::packet::flow;

    #[test]
    fn the_example_of_rfc_1071() {
        // §3: 00 01 f2 03 f4 f5 f6 f7 add up to ddf2
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&[0x12, 0x34, 0x56]), 0x1234 + 0x5600);
        assert_eq!(sum(&[0xff, 0xff, 0x00, 0x01]), 1);
        assert_eq!(sum(&[]), 0);
    }

    #[test]
    fn what_is_written_is_right_at_every_length() {
        for length in 0..200 {
            let payload = vec![0xa5; length];
            for mut frame in [Packet::v4(CALLER_V4).sip(&payload).build(), Packet::v6(CALLER_V6).sip(&payload).build()]
            {
                let flow = flow(&&frame[..]).unwrap();
                let datagram = udp_of_mut(&mut frame, &flow).unwrap();
                assert_eq!(datagram.len(), UDP_HEADER + length);
                write_udp(datagram, flow.src, flow.dst);
                assert!(udp_is_right(datagram, flow.src, flow.dst));
                // any other bit pattern in one byte is not
                datagram[0] ^= 0x10;
                assert!(!udp_is_right(datagram, flow.src, flow.dst));
            }
        }
    }

    #[test]
    fn a_datagram_has_its_ends_and_as_much_of_its_payload_as_is_there() {
        let end = |addr: Addr, port| End { addr, port };
        let [v4, own_v4] = [CALLER_V4, OWN_V4].map(Addr::v4);
        let [v6, own_v6] = [CALLER_V6, OWN_V6].map(Addr::from_bytes);
        for (frame, from, to) in [
            (Packet::v4(CALLER_V4).to(&OWN_V4).sip(b"0123456789").build(), v4, own_v4),
            (Packet::v6(CALLER_V6).to(&OWN_V6).sip(b"0123456789").build(), v6, own_v6),
        ] {
            let whole = flow(&&frame[..]).unwrap();
            let header = whole.l4 as usize + UDP_HEADER;
            for length in 0..=frame.len() {
                let cut = &frame[..length];
                let udp = Udp::of(cut, &whole);
                assert_eq!(udp.is_some(), length >= header);
                let Some(udp) = udp else { continue };
                assert_eq!((udp.from, udp.to), (end(from, 5061), end(to, 5060)));
                assert_eq!((udp.payload, udp.complete), (&b"0123456789"[..length - header], length == frame.len()));
                assert_eq!(udp_of(cut, &whole), udp.complete.then_some(&frame[header - UDP_HEADER..]));
            }
        }
    }
}
