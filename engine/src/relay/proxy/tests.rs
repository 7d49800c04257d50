use proptest::prelude::*;
use sip_parse::{Index, Mode};

use super::*;
use crate::config::Backend;
use crate::pipeline::Brief;
use crate::relay::Datagram;

const NOW: u64 = 1_000_000_000;

/// What callers and softswitches say.
const MESSAGES: [&str; 4] = [
    "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bKa\r\nFrom: <sip:1@example.com>;tag=f\r\n\
     To: <sip:1@example.com>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nContact: <sip:1@10.0.0.1:5062>\r\n\r\n",
    "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bKa\r\nFrom: <sip:1@example.com>;tag=f\r\n\
     To: <sip:1@example.com>;tag=t\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nContact: <sip:1@10.0.0.1:5062>\r\n\r\n",
    "INVITE sip:1@10.0.0.1:5062 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKb\r\nRoute: <sip:192.0.2.1;lr>, <sip:[2001:db8::7];lr>\r\n\
     From: <sip:2@example.com>;tag=f\r\nTo: <sip:1@example.com>;tag=f\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
    "SIP/2.0 183 Session Progress\r\nVia: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKb\r\nFrom: <sip:2@example.com>;tag=f\r\n\
     To: <sip:1@example.com>;tag=t\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\r\n",
];

fn board() -> Arc<Switchboard> {
    let relay = crate::config::Relay { to: RelayTo::Proxy(None), ..crate::config::Relay::default() };
    let backend = Backend { name: "a".into(), address: SocketAddr::from(([192, 0, 2, 7], 5060)), drain: false };
    let config = Config { relay, backend: vec![backend], ..Config::default() };
    let own =
        [[192, 0, 2, 1].into(), "fe80::1".parse().expect("an address"), "2001:db8::1".parse().expect("an address")];
    Switchboard::open(&config, &own, Secret::default()).expect("no name to look up").expect("proxy")
}

/// `text` from a caller, and then the same from the softswitch.
fn passes(board: &Switchboard, text: &[u8], index: &mut Index) -> Result<paths::Path, Stray> {
    let end = |last, port| End { addr: vos_common::rule::Addr::v4([203, 0, 113, last]), port };
    let list = board.backends.list();
    let brief = index.parse(text, Mode::Lenient).ok().and_then(|message| Brief::of(&message, &board.secret, |_| false));
    let datagram = Datagram { from: end(7, 5061), to: end(1, 5060), payload: text, brief: brief.as_ref(), now: NOW };
    let backend = board.inward(&list, &datagram, index).expect("it is alive");
    let here = Here { homes: &board.homes.load(), last: [None; 2] };
    board.outward(&list, backend, &text[line_of(text)..], &here, index, NOW)
}

#[test]
fn a_home_is_no_link_local_address() {
    let board = board();
    let ends = board.homes.load().ends.map(|end| end.map(|end| socket_address(&end).to_string()));
    assert_eq!(ends, [Some("192.0.2.1:5060".to_owned()), Some("[2001:db8::1]:5060".to_owned())]);
}

#[test]
fn a_host_without_an_address_is_told_with_the_fix() {
    let relay =
        crate::config::Relay { to: RelayTo::Proxy(Some("[::g]:5060".into())), ..crate::config::Relay::default() };
    let said = Switchboard::open(&Config { relay, ..Config::default() }, &[], Secret::default()).map(drop);
    let said = said.expect_err("no address").to_string();
    assert!(said.starts_with("relay.to: [::g]:5060 has no address") && said.contains("getent hosts"), "{said}");
}

#[test]
fn no_message_makes_it_panic() {
    let (board, mut index) = (board(), Index::new());
    // As they are they do all there is to do: what is registered is found.
    let ways: Vec<_> = MESSAGES.iter().map(|text| passes(&board, text.as_bytes(), &mut index)).collect();
    assert!(ways[0] == Err(Stray::Nowhere) && ways[1].is_ok() && ways[2].is_ok() && ways[3].is_ok(), "{ways:?}");
    let mutation = (0..MESSAGES.len(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6));
    proptest!(|((which, changes) in mutation, cut in any::<prop::sample::Index>())| {
        let mut text = MESSAGES[which].as_bytes().to_vec();
        for (at, byte) in changes {
            *at.get_mut(&mut text) = byte;
        }
        text.truncate(cut.index(text.len() * 2).max(1));
        let _whatever_comes_of_it = passes(&board, &text, &mut Index::new());
    });
}
