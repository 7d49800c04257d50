//! Bytes in, action out. No sockets, no clock, no memory but the view of fragments that it is given: what the fuzzer
//! drives and the worker calls for every packet.

use sip_parse::{Error, Index, Mode, StartLine, classify};
use vos_common::packet::{self, Flow, UDP, WHOLE};
use vos_common::reason::Reason;

use crate::reassembly::{Piece, Reassembly};

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// On to the softswitch.
    Relay(Checksum),
    /// Gone.
    Drop(Reason),
}

/// Where a packet's UDP checksum stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// As it should be, or the kernel will see to it.
    Whole,
    /// Only the pseudo-header's sum: a sender on this machine left the rest to offload. `start` is the offset of the
    /// UDP header in the frame.
    Partial {
        /// Offset of the UDP header from the destination MAC, bytes.
        start: u16,
    },
}

/// What a packet turned out to be, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// A SIP request.
    Request,
    /// A SIP response.
    Response,
    /// Line ends, NULs, `jaK`, nothing.
    KeepAlive,
    /// STUN.
    Stun,
    /// A fragment of something not yet whole.
    Fragment,
    /// On a SIP port, but the parser cannot read it. It is relayed: the softswitch may be more lenient.
    Unparsed,
}

impl Kind {
    /// All kinds; the position of each is its counter's.
    pub const ALL: [Self; 6] =
        [Self::Request, Self::Response, Self::KeepAlive, Self::Stun, Self::Fragment, Self::Unparsed];

    /// The word for it in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::KeepAlive => "keep_alive",
            Self::Stun => "stun",
            Self::Fragment => "fragment",
            Self::Unparsed => "unparsed",
        }
    }
}

/// Bytes of a UDP header (RFC 768).
const UDP_HEADER: usize = 8;

/// Decides on one frame. `now` is `CLOCK_MONOTONIC` in ns, asked only for fragments.
pub fn handle(
    frame: &mut [u8],
    index: &mut Index,
    fragments: &Reassembly,
    now: impl FnOnce() -> u64,
) -> (Action, Kind) {
    let frame = &*frame;
    let relay = |checksum, kind| (Action::Relay(checksum), kind);
    // XDP has walked these headers already; a frame that cannot be read here was changed on the way.
    let Some(flow) = packet::flow(&frame) else { return relay(Checksum::Whole, Kind::Unparsed) };
    let (l4, end) = (flow.l4 as usize, flow.end as usize);
    let Some(l4_bytes) = frame.get(l4..end.min(frame.len())) else {
        return relay(Checksum::Whole, Kind::Unparsed);
    };
    if flow.fragment == WHOLE {
        let payload = udp_payload(l4_bytes, flow.src.is_v4());
        return relay(checksum(frame, &flow), kind(payload, index));
    }
    let mut whole_kind = Kind::Fragment;
    let piece = Piece { key: flow.fragment_key(0), offset: flow.offset as usize, last: is_last(frame, &flow) };
    let fits = fragments.add(&piece, l4_bytes, now(), |datagram| {
        whole_kind = kind(udp_payload(datagram, flow.src.is_v4()), index);
    });
    if fits { relay(Checksum::Whole, whole_kind) } else { (Action::Drop(Reason::Overlap), Kind::Fragment) }
}

/// What stands behind the UDP header, as far as its length says; 0 over IPv6 means all (RFC 2675 §4).
fn udp_payload(datagram: &[u8], v4: bool) -> &[u8] {
    let Some(header) = datagram.first_chunk::<UDP_HEADER>() else { return &[] };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let length = if length == 0 && !v4 { datagram.len() } else { length };
    datagram.get(UDP_HEADER..length.min(datagram.len())).unwrap_or_default()
}

fn kind(payload: &[u8], index: &mut Index) -> Kind {
    match index.parse(payload, Mode::Lenient).map(|message| message.start_line()) {
        Ok(StartLine::Request { .. }) => Kind::Request,
        Ok(StartLine::Response { .. }) => Kind::Response,
        Err(Error::Empty) => Kind::KeepAlive,
        Err(_) => match classify(payload) {
            sip_parse::Kind::Nul | sip_parse::Kind::Jak => Kind::KeepAlive,
            sip_parse::Kind::Stun => Kind::Stun,
            _ => Kind::Unparsed,
        },
    }
}

/// Is no fragment to follow this one? IPv4: the MF bit (RFC 791 §3.1); IPv6: the M bit (RFC 8200 §4.5).
fn is_last(frame: &[u8], flow: &Flow) -> bool {
    if flow.src.is_v4() {
        frame.get(flow.l3 as usize + 6).is_some_and(|flags| flags & 0x20 == 0)
    } else {
        // The fragment header is the last before the payload.
        (flow.l4 as usize).checked_sub(5).and_then(|at| frame.get(at)).is_some_and(|flags| flags & 1 == 0)
    }
}

/// Is the UDP checksum only the sum over the pseudo-header (RFC 768, RFC 8200 §8.1), not complemented? That is what
/// Linux leaves for offload to complete (`Documentation/networking/checksum-offloads.rst`), and what a local veth or
/// VM hands over. A full checksum that happens to look so is completed again, to the same value.
fn checksum(frame: &[u8], flow: &Flow) -> Checksum {
    let l4 = flow.l4 as usize;
    let Some(header) = frame.get(l4..l4 + UDP_HEADER) else { return Checksum::Whole };
    let found = u16::from_be_bytes([header[6], header[7]]);
    if flow.proto != UDP || found == 0 || found != pseudo_header_sum(flow, u16::from_be_bytes([header[4], header[5]])) {
        return Checksum::Whole;
    }
    Checksum::Partial { start: flow.l4 as u16 }
}

/// One's complement sum over the pseudo-header, in host order, not complemented.
pub fn pseudo_header_sum(flow: &Flow, length: u16) -> u16 {
    let words = |addr: vos_common::rule::Addr| {
        let from = if addr.is_v4() { 12 } else { 0 };
        let bytes = addr.to_bytes();
        bytes[from..].chunks_exact(2).map(|w| u64::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u64>()
    };
    fold(words(flow.src) + words(flow.dst) + flow.proto + u64::from(length))
}

/// Folds a sum of 16-bit words with end-around carry (RFC 1071).
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// One's complement sum of bytes as 16-bit words in network order, folded, not complemented.
pub fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| u64::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)])));
    fold(words.sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vos_common::cases::{self, CALLER_V4, CALLER_V6, Packet};

    fn handled(frame: &[u8]) -> (Action, Kind) {
        handle(&mut frame.to_vec(), &mut Index::new(), &Reassembly::default(), || 1)
    }

    #[test]
    fn what_arrives_is_told_apart() {
        let caller = || Packet::v4(CALLER_V4);
        for (payload, kind) in [
            (&cases::request("INVITE")[..], Kind::Request),
            (&[b"\r\n", &cases::request("REGISTER")[..]].concat(), Kind::Request),
            (b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n\r\n", Kind::Response),
            (b"\r\n\r\n", Kind::KeepAlive),
            (b"\r\n\r\n\r\n", Kind::KeepAlive),
            (b"\0", Kind::KeepAlive),
            (b"jaK", Kind::KeepAlive),
            (b"", Kind::KeepAlive),
            (b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl", Kind::Stun),
            (b"INVITE sip:a@b SIP/2.0\r\nno colon here\r\n\r\n", Kind::Unparsed),
        ] {
            let expect = (Action::Relay(Checksum::Whole), kind);
            assert_eq!(handled(&caller().sip(payload).build()), expect, "{}", String::from_utf8_lossy(payload));
            assert_eq!(handled(&Packet::v6(CALLER_V6).sip(payload).build()), expect);
        }
    }

    #[test]
    fn a_request_in_two_fragments_is_known_once_it_is_whole() {
        let request = cases::request("INVITE");
        let whole = Packet::v4(CALLER_V4).sip(&request).build();
        let datagram = &whole[34..];
        let first = Packet::v4(CALLER_V4).raw(17, &datagram[..64]).udp_length(datagram.len() as u16);
        let first = first.fragment(0, true, 7).build();
        let rest = Packet::v4(CALLER_V4).raw(17, &datagram[64..]).fragment(64, false, 7).build();
        let (mut index, fragments) = (Index::new(), Reassembly::default());
        let relay = |kind| (Action::Relay(Checksum::Whole), kind);
        assert_eq!(handle(&mut first.clone(), &mut index, &fragments, || 1), relay(Kind::Fragment));
        assert_eq!(handle(&mut rest.clone(), &mut index, &fragments, || 1), relay(Kind::Request));
        // and a second datagram of which the rest comes first
        assert_eq!(handle(&mut rest.clone(), &mut index, &fragments, || 1), relay(Kind::Fragment));
        assert_eq!(handle(&mut first.clone(), &mut index, &fragments, || 1), relay(Kind::Request));
    }

    /// The sum over the pseudo-header, as Linux leaves it for offload: worked out by hand.
    #[test]
    fn a_checksum_of_the_pseudo_header_alone_is_partial() {
        let mut frame = Packet::v4([192, 0, 2, 10]).sip(b"\r\n").build();
        // c000 + 020a + c000 + 0201 + 0011 + 000a = 1_8426, folded 8427
        frame[40..42].copy_from_slice(&0x8426u16.to_be_bytes());
        assert_eq!(handled(&frame).0, Action::Relay(Checksum::Whole));
        frame[40..42].copy_from_slice(&0x8427u16.to_be_bytes());
        assert_eq!(handled(&frame).0, Action::Relay(Checksum::Partial { start: 34 }));
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            handled(&bytes);
        }

        #[test]
        fn no_mutation_makes_it_panic(case in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), to: u8) {
            let table = cases::all();
            let mut frame = case.get(&table).frame.clone();
            let at = at.index(frame.len());
            frame[at] = to;
            handled(&frame);
        }
    }
}
