//! A datagram that was put together from fragments, cut again for a device that takes no more than its MTU: to be handed
//! to the kernel as it would have come.

use std::io;

use vos_common::packet::{self, Flow};

use crate::datagram::sum;
use crate::pipeline::fragment_headers;

/// IPv4: more fragments follow (RFC 791 §3.1).
const MORE_V4: u16 = 0x2000;
/// The same in an IPv6 fragment header (RFC 8200 §4.5).
const MORE_V6: u16 = 1;
/// Bytes of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// Cuts `whole`, a frame with an IPv4 header or an IPv6 fragment header, and calls `send` with each piece, which is built
/// in `room`. What cannot be cut is an error.
pub(super) fn cut(
    whole: &[u8],
    mtu: usize,
    room: &mut Vec<u8>,
    mut send: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let flow = packet::flow(&whole).ok_or_else(odd)?;
    let l3 = flow.l3 as usize;
    let front = unfragmentable(whole, &flow).ok_or_else(odd)?;
    let (head, mut rest) =
        whole.get(..flow.end as usize).and_then(|all| all.split_at_checked(front)).ok_or_else(odd)?;
    // Offsets count in units of eight bytes.
    let piece = mtu.saturating_sub(front - l3) / 8 * 8;
    if piece == 0 {
        return Err(odd());
    }
    let mut offset = 0;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece.min(rest.len()));
        room.clear();
        room.extend_from_slice(head);
        room.extend_from_slice(now);
        mark(room, &flow, front, offset, !later.is_empty());
        send(room)?;
        offset += now.len();
        rest = later;
    }
    Ok(())
}

/// Where that begins which is cut.
fn unfragmentable(frame: &[u8], flow: &Flow) -> Option<usize> {
    if flow.src.is_v4() {
        let l3 = flow.l3 as usize;
        return Some(l3 + usize::from(frame.get(l3)? & 15) * 4);
    }
    fragment_headers(frame, flow).next().map(|(end, _)| end)
}

/// Writes length, offset and what else says that `frame` is a fragment.
fn mark(frame: &mut [u8], flow: &Flow, front: usize, offset: usize, more: bool) {
    let (l3, length) = (flow.l3 as usize, frame.len());
    if flow.src.is_v4() {
        let field = (offset / 8) as u16 | if more { MORE_V4 } else { 0 };
        frame[l3 + 2..l3 + 4].copy_from_slice(&((length - l3) as u16).to_be_bytes());
        frame[l3 + 6..l3 + 8].copy_from_slice(&field.to_be_bytes());
        frame[l3 + 10..l3 + 12].fill(0);
        let checksum = !sum(&frame[l3..front]);
        frame[l3 + 10..l3 + 12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        let field = offset as u16 | if more { MORE_V6 } else { 0 };
        frame[l3 + 4..l3 + 6].copy_from_slice(&((length - l3 - IPV6_HEADER) as u16).to_be_bytes());
        frame[front - 6..front - 4].copy_from_slice(&field.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use vos_common::cases::{CALLER_V4, CALLER_V6, Packet};
    use vos_common::packet::WHOLE;
    use vos_common::rule::Addr;

    use super::*;
    use crate::pipeline::{self, Action, Context, Scratch, Way};
    use crate::policy::{Secret, Sources, Suspensions};
    use crate::pressure::Pressed;
    use crate::reassembly::Reassembly;
    use crate::ruleset::Ruleset;

    struct Strangers;

    impl Sources for Strangers {
        fn is_known(&self, _: &Addr) -> bool {
            false
        }

        fn is_named(&self, _: &Addr) -> bool {
            false
        }

        fn is_trusted(&self, _: &Addr) -> bool {
            false
        }
    }

    /// Puts frames together as a worker does; gives the whole.
    fn whole(frames: &[Vec<u8>]) -> Vec<u8> {
        let (rules, fragments, secret) = (Ruleset::default(), Reassembly::default(), Secret::default());
        let context = Context {
            rules: &rules,
            sources: &Strangers,
            fragments: &fragments,
            secret: &secret,
            relay: Way::Datagrams,
            shield: None,
            pressed: &Pressed::default(),
            suspensions: &Suspensions::new(Secret::default()),
        };
        let mut scratch = Scratch::default();
        let (last, first) = frames.split_last().unwrap();
        for frame in first {
            let outcome = pipeline::handle(&mut frame.clone(), frame.len(), &mut scratch, &context, || 1);
            assert!(matches!(outcome.action, Action::Swallow(_)), "{outcome:?}");
        }
        let outcome = pipeline::handle(&mut last.clone(), last.len(), &mut scratch, &context, || 1);
        assert_eq!(outcome.action, Action::RelayWhole);
        scratch.whole
    }

    fn pieces(whole: &[u8], mtu: usize) -> Vec<Vec<u8>> {
        let (mut all, mut room) = (Vec::new(), Vec::new());
        cut(whole, mtu, &mut room, |piece| {
            all.push(piece.to_vec());
            Ok(())
        })
        .unwrap();
        all
    }

    #[test]
    fn what_is_cut_is_put_together_again() {
        for (v4, size) in [(true, 3_000), (false, 3_000), (true, 3_001), (false, 8_191)] {
            let payload = [b"INVITE sip:2@e.com SIP/2.0\r\nX-Fill: ", &vec![b'f'; size][..], b"\r\n\r\n"].concat();
            let packet = || if v4 { Packet::v4(CALLER_V4) } else { Packet::v6(CALLER_V6) };
            let frame = packet().sip(&payload).build();
            let flow = packet::flow(&&frame[..]).unwrap();
            let mut datagram = frame[flow.l4 as usize..].to_vec();
            crate::datagram::write_udp(&mut datagram, flow.src, flow.dst);
            let (first, last) = datagram.split_at(2_048);
            let length = datagram.len() as u16;
            let frames = [
                packet().raw(17, first).udp_length(length).fragment(0, true, 9).build(),
                packet().raw(17, last).fragment(2_048, false, 9).build(),
            ];
            let before = whole(&frames);
            let pieces = pieces(&before, 1_500);
            assert_eq!(pieces.len(), before.len().div_ceil(1_480));
            for piece in &pieces {
                let flow = packet::flow(&&piece[..]).unwrap();
                assert!(flow.fragment != WHOLE && piece.len() - flow.l3 as usize <= 1_500);
            }
            assert_eq!(whole(&pieces), before, "v4 {v4}, {size}");
        }
    }

    #[test]
    fn what_has_no_fragment_header_is_an_error_not_a_panic() {
        let plain = Packet::v6(CALLER_V6).sip(b"OPTIONS sip:e.com SIP/2.0\r\n\r\n").build();
        for length in 0..plain.len() {
            assert!(cut(&plain[..length], 1_280, &mut Vec::new(), |_| Ok(())).is_err(), "{length}");
        }
        let v4 = Packet::v4(CALLER_V4).sip(b"OPTIONS sip:e.com SIP/2.0\r\n\r\n").build();
        assert!(cut(&v4, 20, &mut Vec::new(), |_| Ok(())).is_err(), "no room behind the header");
    }
}
