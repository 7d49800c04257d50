//! What is a datagram, and what is a part of one.

use vos_common::cases::{CALLER_V4, CALLER_V6, Packet};
use vos_common::packet::flow;

use super::*;

#[test]
fn a_fragment_is_no_datagram() {
    let bytes = [0x13, 0xc5, 0x13, 0xc4, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    for packet in [|| Packet::v4(CALLER_V4), || Packet::v6(CALLER_V6)] {
        let payload = |frame: &[u8]| {
            let flow = flow(&frame).expect("UDP");
            datagram(frame, &flow, None, 0).map(|datagram| datagram.payload.to_vec())
        };
        assert_eq!(payload(&packet().sip(&bytes[8..]).build()), Some(bytes[8..].to_vec()));
        for (offset, more) in [(0, true), (64, true), (64, false)] {
            let part = packet().raw(17, &bytes).udp_length(16).fragment(offset, more, 7).build();
            assert_eq!(payload(&part), None, "at {offset}");
        }
    }
}
