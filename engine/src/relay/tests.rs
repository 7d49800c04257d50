//! What is a datagram, what is a part of one, and what falls back.

use vos_bench::NetNs;
use vos_common::cases::{CALLER_V4, CALLER_V6, OWN_V4, Packet};
use vos_common::packet::flow;

use super::*;
use crate::netlink::Netlink;

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

#[test]
fn without_a_peer_nothing_counts_as_fallen_back() {
    let ns = NetNs::new("relay").expect("a namespace (as root)");
    for words in ["link set lo up", "addr add 192.0.2.1/32 dev lo"] {
        ns.ip(words).expect(words);
    }
    let sent = ns.enter(|| {
        let nic = Netlink::open()?.link("lo")?;
        let local = Some(Local::Raw(Box::new(Raw::new(&nic, 1)?)));
        let mut relay = Relay { local, peer: None, reverse_path: None, counts: Arc::default(), told: None };
        let mut frame = Packet::v4(CALLER_V4).to(&OWN_V4).sip(b"x").build();
        let flow = flow(&&frame[..]);
        let mut send = |relay: &mut Relay| relay.send(&mut frame, flow.as_ref(), Checksum::Whole, None, 1 << 40);
        assert!(matches!(send(&mut relay), Ok(())), "the softswitch on this host gets it");
        relay.local = None;
        assert!(matches!(send(&mut relay), Err(SendError::Refused(Reason::RelayAbsent))));
        io::Result::Ok(relay.counts.to_json())
    });
    let counts = sent.expect("the namespace").expect("raw sockets (as root)");
    assert_eq!((&counts["fell_back"], &counts["sent"]), (&0.into(), &0.into()));
}
