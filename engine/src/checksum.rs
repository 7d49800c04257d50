//! The Internet checksum (RFC 1071) of IPv4 headers and UDP datagrams: asked, completed, written.

use vos_common::packet::Flow;
use vos_common::rule::Addr;

/// Bytes of a UDP header (RFC 768).
pub const UDP_HEADER: usize = 8;

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

/// The UDP datagram in `frame`, header included, as long as its own length says; 0 over IPv6 means all (RFC 2675 §4).
pub fn udp_of<'a>(frame: &'a mut [u8], flow: &Flow) -> Option<&'a mut [u8]> {
    let end = (flow.end as usize).min(frame.len());
    let datagram = frame.get_mut(flow.l4 as usize..end)?;
    let length = usize::from(u16::from_be_bytes([*datagram.get(4)?, *datagram.get(5)?]));
    let length = if length == 0 && !flow.src.is_v4() { datagram.len() } else { length };
    datagram.get_mut(..length).filter(|datagram| datagram.len() >= UDP_HEADER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vos_common::cases::{CALLER_V4, CALLER_V6, Packet};

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
                let flow = vos_common::packet::flow(&&frame[..]).unwrap();
                let datagram = udp_of(&mut frame, &flow).unwrap();
                assert_eq!(datagram.len(), UDP_HEADER + length);
                write_udp(datagram, flow.src, flow.dst);
                assert!(udp_is_right(datagram, flow.src, flow.dst));
                // any other bit pattern in one byte is not
                datagram[0] ^= 0x10;
                assert!(!udp_is_right(datagram, flow.src, flow.dst));
            }
        }
    }
}
