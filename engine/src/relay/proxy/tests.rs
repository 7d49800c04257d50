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
    from_backend(board, backend, &text[line_of(text)..], NOW)
}

/// `backend` says this; where it goes.
fn from_backend(board: &Switchboard, backend: &backends::Backend, text: &[u8], now: u64) -> Result<paths::Path, Stray> {
    let mut index: Index = Index::new();
    let message = index.parse(text, Mode::Lenient).map_err(|_| Stray::Unreadable)?;
    board.outward(&board.backends.list(), backend, &message, &board.homes.load(), now)
}

#[test]
fn a_home_is_no_link_local_address() {
    let board = board();
    let ends = board.homes.load().ends.map(|end| end.map(|end| socket_address(&end).to_string()));
    assert_eq!(ends, [Some("192.0.2.1:5060".to_owned()), Some("[2001:db8::1]:5060".to_owned())]);
}

#[test]
fn the_softswitchs_own_calls_leave_from_the_address_that_it_names() {
    let own: [IpAddr; 4] =
        ["192.0.2.1", "192.0.2.9", "2001:db8::1", "fe80::1"].map(|ip| ip.parse().expect("an address"));
    let (board, mut index) = (board(), Index::new());
    // 192.0.2.7 is no longer its own, 192.0.2.9 is what the interface has.
    let homes = |first: &[&str]| {
        let first: Vec<IpAddr> = first.iter().map(|ip| ip.parse().expect("an address")).collect();
        Homes::of(&own, &first, &[5060, 5070])
    };
    board.homes.store(Arc::new(homes(&["192.0.2.7", "192.0.2.9"])));
    let mut leaves_from = |via: &str, to: &str| {
        // A stranger writes to another address of this host's just before.
        let stranger = passes(&board, MESSAGES[0].as_bytes(), &mut index);
        assert_eq!(stranger, Err(Stray::Nowhere));
        let list = board.backends.list();
        let text = MESSAGES[2]
            .replace("192.0.2.7:5060", via)
            .replace("1@10.0.0.1:5062", to)
            .replace("Route: <sip:192.0.2.1;lr>, <sip:[2001:db8::7];lr>\r\n", "");
        let text = text.replace("To: <sip:1@example.com>;tag=f", "To: <sip:1@example.com>");
        let backend = list.iter().next().expect("there");
        let path = from_backend(&board, backend, text.as_bytes(), NOW);
        socket_address(&path.expect("an address").own).to_string()
    };
    for (via, to, from) in [
        ("192.0.2.1:5070", "198.51.100.7", "192.0.2.1:5070"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1:5060"),
        // it listens there itself, which callers know nothing of
        ("192.0.2.1:15060", "198.51.100.7", "192.0.2.1:5060"),
        ("10.0.0.7:5060", "198.51.100.7", "192.0.2.9:5060"),
        ("sip.example.com", "198.51.100.7", "192.0.2.9:5060"),
        ("192.0.2.1", "[2001:db8:1::7]", "[2001:db8::1]:5060"),
        ("[fe80::1]", "[2001:db8:1::7]", "[2001:db8::1]:5060"),
    ] {
        assert_eq!(leaves_from(via, to), from, "{via} to {to}");
    }
    assert_eq!(homes(&[]).ends[0].map(|end| socket_address(&end).to_string()).as_deref(), Some("192.0.2.1:5060"));
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

/// A request of one call, or what is said to it; it is in the same transaction as others of this method.
fn of_call(call: &str, method: &str, start: &str, to_tag: &str) -> String {
    format!(
        "{start}\r\nVia: SIP/2.0/UDP 203.0.113.7:5060;branch=z9hG4bK{call}{method}\r\nFrom: <sip:1@example.com>;tag=f\r\n\
         To: <sip:2@example.com>{to_tag}\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\r\n"
    )
}

const CALLER: End = End { addr: vos_common::rule::Addr::v4([203, 0, 113, 7]), port: 5060 };

/// The caller says this; the name of whoever gets it.
fn caller_says(board: &Switchboard, text: &str, now: u64) -> String {
    let (mut own, mut index) = (Index::<64>::new(), Index::new());
    let message = own.parse(text.as_bytes(), Mode::Lenient).expect("SIP");
    let brief = Brief::of(&message, &board.secret, |_| false);
    let to = End { addr: addr([192, 0, 2, 1].into()), port: 5060 };
    let datagram = Datagram { from: CALLER, to, payload: text.as_bytes(), brief: brief.as_ref(), now };
    board.inward(&board.backends.list(), &datagram, &mut index).expect("it is alive").name.clone()
}

/// Backend `a` says this; who hears it.
fn a_says(board: &Switchboard, text: &str, now: u64) -> Result<End, Stray> {
    let list = board.backends.list();
    let a = list.iter().find(|backend| backend.name == "a").expect("there");
    from_backend(board, a, text.as_bytes(), now).map(|path| path.caller)
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_call_that_is_answered_late_stays_where_it_was_while_that_is_drained() {
    let backends = |drain| {
        let backend = |(name, last, drain): (&str, u8, bool)| Backend {
            name: name.into(),
            address: SocketAddr::from(([192, 0, 2, last], 5060)),
            drain,
        };
        let relay = crate::config::Relay { to: RelayTo::Proxy(None), ..crate::config::Relay::default() };
        let backend = [("a", 7, false), ("b", 8, drain)].map(backend).into();
        Config { relay, backend, ..Config::default() }
    };
    let board = Switchboard::open(&backends(true), &[], Secret::default()).expect("addresses").expect("proxy");
    // About half of them would be b's.
    let calls: Vec<String> = (0..50).map(|number| format!("call-{number}")).collect();
    let says = |status: &str, tag: &str, after: u64| {
        for call in &calls {
            let text = of_call(call, "INVITE", &format!("SIP/2.0 {status}"), tag);
            assert_eq!(a_says(&board, &text, NOW + after * SECOND), Ok(CALLER));
        }
    };
    for call in &calls {
        assert_eq!(caller_says(&board, &of_call(call, "INVITE", "INVITE sip:2@example.com SIP/2.0", ""), NOW), "a");
    }
    says("100 Trying", "", 1);
    board.follow(&backends(false));
    says("183 Session Progress", ";tag=t", 41);
    says("200 OK", ";tag=t", 150);
    for (method, after) in [("ACK", 151), ("BYE", 3_600)] {
        for call in &calls {
            let text = of_call(call, method, &format!("{method} sip:2@example.com SIP/2.0"), ";tag=t");
            assert_eq!(caller_says(&board, &text, NOW + after * SECOND), "a", "{method} of {call}");
        }
    }
}

#[test]
fn whoever_hangs_up_the_dialog_is_soon_forgotten() {
    let later = NOW + 3_600 * SECOND;
    let bye = |tags: [&str; 2], start: &str| {
        let text = of_call("c", "BYE", start, &format!(";tag={}", tags[1]));
        text.replace("1@example.com>;tag=f", &format!("1@example.com>;tag={}", tags[0]))
    };
    // The caller hangs up; the softswitch does; it has forgotten the call; it does not accept.
    for (by_caller, answer, ends) in
        [(true, "200 OK", true), (false, "200 OK", true), (true, "481 No Such Call", true), (true, "401 No", false)]
    {
        let board = board();
        caller_says(&board, &of_call("c", "INVITE", "INVITE sip:2@example.com SIP/2.0", ""), NOW);
        assert_eq!(a_says(&board, &of_call("c", "INVITE", "SIP/2.0 200 OK", ";tag=t"), NOW), Ok(CALLER));
        let (request, answer) = ("BYE sip:nobody.invalid SIP/2.0", format!("SIP/2.0 {answer}"));
        if by_caller {
            caller_says(&board, &bye(["f", "t"], request), later);
            assert_eq!(a_says(&board, &bye(["f", "t"], &answer), later), Ok(CALLER));
        } else {
            assert_eq!(a_says(&board, &bye(["t", "f"], request), later), Ok(CALLER));
            caller_says(&board, &bye(["t", "f"], &answer), later);
        }
        let notify = bye(["t", "f"], "NOTIFY sip:nobody.invalid SIP/2.0").replace(" BYE", " NOTIFY");
        assert_eq!(a_says(&board, &notify, later + paths::ENDED - 1), Ok(CALLER));
        let after = a_says(&board, &notify, later + paths::ENDED);
        assert_eq!(after, if ends { Err(Stray::Nowhere) } else { Ok(CALLER) }, "{by_caller} {answer}");
    }
}
