use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use vos_common::cases::{CALLER_V4, CALLER_V6, OWN_V4, OWN_V6, Packet};
use vos_common::packet;
use vos_common::rule::Addr;
use vos_engine::transmit::{End, Link, build, packet_length};

use crate::parsed::Parsed;

/// The longest payload over IPv4: what a total length of 16 bits has room for (RFC 791 §3.1).
const LONGEST: usize = 65_535 - 20 - 8;

/// An end as the engine writes it.
pub(crate) fn end(at: SocketAddr) -> End {
    let addr = match at.ip() {
        IpAddr::V4(ip) => Addr::v4(ip.octets()),
        IpAddr::V6(ip) => Addr::from_bytes(ip.octets()),
    };
    End { addr, port: at.port() }
}

/// The header back to a caller whose frames have these tags.
pub(crate) fn back(v4: bool, tags: &[u16]) -> Link {
    let packet = if v4 { Packet::v4(CALLER_V4) } else { Packet::v6(CALLER_V6) };
    // The outer tag of two is a service tag (IEEE 802.1ad).
    let kind = |at: usize| if at + 1 < tags.len() { 0x88a8 } else { 0x8100 };
    let packet = tags.iter().enumerate().fold(packet, |packet, (at, tag)| packet.vlan(kind(at), *tag));
    let frame = packet.mac([2, 0, 0, 0, 0, 1]).sip(b"x").build();
    Link::back(&frame, &packet::flow(&&frame[..]).unwrap()).unwrap()
}

/// Bytes of which no two stretches are alike.
pub(crate) fn filling(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at as u32).wrapping_mul(2_654_435_761).rotate_right(11) ^ length as u32) as u8).collect()
}

fn own(v4: bool, port: u16) -> SocketAddr {
    if v4 { (OWN_V4, port).into() } else { (OWN_V6, port).into() }
}

fn caller(v4: bool, port: u16) -> SocketAddr {
    if v4 { (CALLER_V4, port).into() } else { (CALLER_V6, port).into() }
}

#[test]
fn frames_of_every_length_are_right() {
    for (v4, tags, longest) in [(true, &[][..], 1_472), (false, &[7][..], 1_452), (true, &[7, 4_094][..], 1_472)] {
        let (link, from, to) = (back(v4, tags), own(v4, 5_060), caller(v4, 40_000));
        // What stood in the frame before must not be seen.
        let mut room = vec![0xaa; 1_792];
        for length in 0..=longest {
            let payload = filling(length);
            let built = build(&mut room, &link, &end(from), &end(to), &payload).unwrap();
            let parsed = Parsed::of(&room[..built]).unwrap();
            assert_eq!(parsed.macs[0], [2, 0, 0, 0, 0, 1]);
            assert_eq!(parsed, Parsed { macs: parsed.macs, vlans: tags.to_vec(), from, to, payload });
            let headers = 14 + 4 * tags.len() + packet_length(v4, length);
            assert_eq!(built, headers.max(60), "the shortest frame that Ethernet has");
            assert!(room[headers..built].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn what_does_not_fit_is_not_built() {
    let (link, from, to) = (back(true, &[]), end(own(true, 5_060)), end(caller(true, 5_061)));
    let mut room = vec![0; 70_000];
    assert_eq!(build(&mut room[..141], &link, &from, &to, &[1; 100]), None);
    assert_eq!(build(&mut room[..142], &link, &from, &to, &[1; 100]), Some(142));
    assert_eq!(build(&mut room[..59], &link, &from, &to, &[]), None);
    assert_eq!(build(&mut room, &link, &from, &to, &[1; LONGEST + 1]), None);
    let longest = build(&mut room, &link, &from, &to, &[1; LONGEST]).unwrap();
    assert_eq!(Parsed::of(&room[..longest]).unwrap().payload, [1; LONGEST]);
    assert_eq!(build(&mut room, &link, &end(own(false, 1)), &to, b"two families"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_ends_and_any_payload(
        v4: bool, source: [u8; 16], destination: [u8; 16], ports: [u16; 2],
        tags in prop::collection::vec(0u16..4_096, 0..=2), payload in prop::collection::vec(any::<u8>(), 0..1_472),
    ) {
        let at = |bytes: [u8; 16], port: u16| match v4 {
            true => SocketAddr::from(([bytes[0], bytes[1], bytes[2], bytes[3]], port)),
            // ::ffff:0:0/96 is IPv4 to the engine, and on no wire (RFC 4291 §2.5.5.2)
            false => SocketAddr::from(([&[0x20], &bytes[1..]].concat().try_into().unwrap_or(bytes), port)),
        };
        let (from, to) = (at(source, ports[0]), at(destination, ports[1]));
        let mut room = [0x55; 1_792];
        let built = build(&mut room, &back(v4, &tags), &end(from), &end(to), &payload).unwrap();
        let parsed = Parsed::of(&room[..built]).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&parsed, &Parsed { macs: parsed.macs, vlans: tags, from, to, payload });
        // Whoever reads does look at the checksum.
        if let Some(last) = parsed.payload.len().checked_sub(1) {
            let at = 14 + 4 * parsed.vlans.len() + packet_length(v4, last);
            room[at] ^= 0x10;
            prop_assert!(Parsed::of(&room[..built]).is_err());
        }
    }
}
