//! Whose word counts for where a caller is.

use vos_common::cases::Packet;
use vos_common::rule::Addr;

use super::*;

const CARRIER: [u8; 4] = [192, 0, 2, 10];
const OWN: [u8; 6] = [2, 0, 0, 0, 1, 0];
const START: u64 = 5_000_000_000;

/// The carrier's address, from whoever has this MAC address, in this VLAN.
fn heard(learned: &mut Learned, mac: u8, vlan: Option<u16>, now: u64) -> Link {
    let packet = Packet::v4(CARRIER).mac(OWN).sip(b"x");
    let mut frame = vlan.map_or(packet.clone(), |vlan| packet.vlan(0x8100, vlan)).build();
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, mac]);
    let flow = packet::flow(&&frame[..]).expect("a packet");
    learned.learn(&frame, &flow, now);
    Link::back(&frame, &flow).expect("Ethernet")
}

#[test]
fn a_caller_who_talks_is_not_moved_by_somebody_who_pretends_to_be_it() {
    let (mut learned, carrier) = (Learned::new(1), Addr::v4(CARRIER));
    let there = heard(&mut learned, 1, Some(10), START);
    for (at, mac, vlan) in [(1, 2, Some(20)), (2, 2, Some(10)), (LIFE - 1, 1, None)] {
        let pretended = heard(&mut learned, mac, vlan, START + at);
        assert_ne!(pretended, there);
        assert_eq!(learned.link(&carrier, START + at), Some(there), "{vlan:?}");
    }
    // Nor is its time drawn out by that; its own packets do.
    assert_eq!(learned.link(&carrier, START + LIFE), None);
    heard(&mut learned, 1, Some(10), START + LIFE / 2);
    assert_eq!(learned.link(&carrier, START + LIFE), Some(there));
    assert_eq!(learned.link(&carrier, START + LIFE / 2 + LIFE), None);
    // It has moved, and nobody has heard of it where it was.
    let moved = heard(&mut learned, 3, Some(10), START + 2 * LIFE);
    assert_eq!(learned.link(&carrier, START + 2 * LIFE), Some(moved));
}

#[test]
fn the_kernels_word_goes_before_what_was_heard() {
    let plain = Link::plain(OWN, [2, 0, 0, 0, 0, 1], true);
    let pretended = Link::plain(OWN, [2, 0, 0, 0, 0, 2], true);
    let tagged = heard(&mut Learned::new(1), 1, Some(10), START);
    assert!(tagged.is_tagged() && !plain.is_tagged());
    for (reached, learned, expected) in [
        (None, None, None),
        (None, Some(plain), Some(plain)),
        (Some(Reached::Elsewhere), Some(plain), None),
        (Some(Reached::Elsewhere), Some(tagged), None),
        (Some(Reached::Surely(plain)), None, Some(plain)),
        (Some(Reached::Surely(plain)), Some(pretended), Some(plain)),
        (Some(Reached::Surely(plain)), Some(tagged), Some(tagged)),
        (Some(Reached::Perhaps(plain)), None, None),
        (Some(Reached::Perhaps(plain)), Some(plain), Some(plain)),
        (Some(Reached::Perhaps(plain)), Some(pretended), None),
        (Some(Reached::Unasked), Some(plain), None),
        (Some(Reached::Unasked), Some(tagged), Some(tagged)),
    ] {
        assert_eq!(choose(reached, learned), expected, "{reached:?}, {learned:?}");
    }
}
