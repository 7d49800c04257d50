//! Checksums, where the kernel does not look at them.

use vos_common::packet::{Flow, UDP};
use vos_common::reason::Reason;

use super::Checksum;
use crate::datagram::{UDP_HEADER, pseudo_header, sum, udp_is_right, udp_of};

/// What the kernel would refuse of a packet that goes past it: a wrong checksum (RFC 1122 §3.2.1.2, §4.1.3.4).
pub(super) fn unsound(frame: &[u8], flow: &Flow, checksum: Checksum) -> Option<Reason> {
    if !header_is_right(frame, flow) {
        return Some(Reason::HeaderChecksum);
    }
    // What a sender on this machine left to offload has not been on a wire.
    let complete = checksum != Checksum::Whole;
    let right = complete || udp_of(frame, flow).is_some_and(|datagram| udp_is_right(datagram, flow.src, flow.dst));
    (!right).then_some(Reason::UdpChecksum)
}

pub(super) fn header_is_right(frame: &[u8], flow: &Flow) -> bool {
    let v4_header = || frame.get(flow.l3 as usize..)?.get(..usize::from(frame[flow.l3 as usize] & 15) * 4);
    !flow.src.is_v4() || v4_header().is_some_and(|header| sum(header) == 0xffff)
}

/// What [`unsound`] says of a datagram put together from fragments, whose own headers were right: its header is completed.
pub(super) fn sound_whole(whole: &mut [u8], flow: Option<&Flow>) -> Option<Reason> {
    let Some(flow) = flow else { return Some(Reason::BadLength) };
    if flow.src.is_v4()
        && let Some(header) = whole.get_mut(flow.l3 as usize..flow.l4 as usize)
    {
        header[10..12].fill(0);
        let complete = !sum(header);
        header[10..12].copy_from_slice(&complete.to_be_bytes());
    }
    unsound(whole, flow, Checksum::Whole)
}

/// Is the UDP checksum only the sum over the pseudo-header (RFC 768, RFC 8200 §8.1), not complemented? That is what
/// Linux leaves for offload to complete (`Documentation/networking/checksum-offloads.rst`), and what a local veth or
/// VM hands over. A full checksum that happens to look so is completed again, to the same value.
pub(super) fn offloaded(frame: &[u8], flow: &Flow) -> Checksum {
    let l4 = flow.l4 as usize;
    let Some(header) = frame.get(l4..l4 + UDP_HEADER) else { return Checksum::Whole };
    let found = u16::from_be_bytes([header[6], header[7]]);
    if flow.proto != UDP
        || found == 0
        || found != pseudo_header(flow.src, flow.dst, u16::from_be_bytes([header[4], header[5]]))
    {
        return Checksum::Whole;
    }
    Checksum::Partial { start: flow.l4 as u16 }
}
