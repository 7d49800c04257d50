use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::site::{self, CALLERS, Site, server_of, wait_until};
use super::softswitch::{Received, Softswitch, header, respond};

const BACKEND4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_060);
const BACKEND6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 15_060);

/// One softswitch behind the engine.
fn site(backend: SocketAddr) -> (Site, Softswitch) {
    let mut site = Site::new();
    site.server.ip("link set lo up").unwrap();
    let softswitch = Softswitch::start(&site.server, "a", backend);
    site.start(&format!("[relay]\nto = \"proxy:{backend}\"\nfallback = \"drop\"\n"));
    (site, softswitch)
}

/// A request, filled up to `size` bytes where that is more than it has.
fn request(method: &str, from: SocketAddr, call: &str, size: usize) -> String {
    let text = |fill: &str| {
        format!(
            "{method} sip:2@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call}{method}\r\n\
             From: <sip:1@example.com>;tag=f{call}\r\nTo: <sip:1@example.com>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:1@{from}>\r\n{fill}Content-Length: 0\r\n\r\n"
        )
    };
    let missing = size.checked_sub(text("X-Fill: \r\n").len());
    missing.map_or_else(|| text(""), |missing| text(&format!("X-Fill: {}\r\n", "f".repeat(missing))))
}

/// What comes to a phone next; it must be from where it has sent to.
#[track_caller]
fn hears(phone: &UdpSocket) -> String {
    let mut buffer = [0; 65_536];
    let (length, from) = phone.recv_from(&mut buffer).expect("something to hear");
    assert_eq!(from, server_of(phone));
    String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
}

#[track_caller]
fn says(phone: &UdpSocket, text: &str) {
    phone.send_to(text.as_bytes(), server_of(phone)).unwrap();
}

#[track_caller]
fn callers_are_known_and_answered(backend: SocketAddr) {
    let (site, softswitch) = site(backend);
    for caller in CALLERS {
        let phone = site.phone(caller);
        let from = phone.local_addr().unwrap();
        for (number, size) in [0, 333, 1_001, 1_400, 1_401].into_iter().enumerate() {
            let call = format!("call-{number}");
            let sent = request("REGISTER", from, &call, size);
            assert!(sent.len() >= size);
            says(&phone, &sent);
            let reply = hears(&phone);
            assert!(reply.starts_with("SIP/2.0 200 "), "{reply}");
            assert_eq!((header(&reply, "X-Caller"), header(&reply, "Call-ID")), (&*from.to_string(), &*call));
            let received = softswitch.received().pop().unwrap();
            assert_eq!((received.text, received.line[4].as_str()), (sent, "5060"), "unchanged");
        }
    }
    assert!(softswitch.received().iter().all(|received| received.called().port() == 5060));
}

#[test]
fn callers_of_both_families_are_known_and_answered() {
    if site::ready(&[]) {
        callers_are_known_and_answered(BACKEND4);
    }
}

#[test]
fn a_backend_of_the_other_family_makes_no_difference() {
    if site::ready(&[]) {
        callers_are_known_and_answered(BACKEND6);
    }
}
