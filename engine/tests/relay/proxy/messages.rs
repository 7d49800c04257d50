use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::site::{self, CALLERS, Site, before, server_of, strays, wait_until};
use super::softswitch::{Received, Softswitch, header, respond};

const BACKEND4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_060);
const BACKEND6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 15_060);

/// One softswitch behind the engine.
#[track_caller]
fn site(backend: SocketAddr) -> (Site, Softswitch) {
    site_of(backend, &before(backend), |_| true)
}

/// The same, with another configuration, and answers only to some.
#[track_caller]
fn site_of(
    backend: SocketAddr,
    toml: &str,
    answers: impl Fn(&Received) -> bool + Send + 'static,
) -> (Site, Softswitch) {
    let site = site::start(toml);
    let softswitch = Softswitch::answering(&site.server, "a", backend, answers);
    let list = site.json(&["backend", "list"]);
    softswitch.is_known(&site, list["backends"][0]["name"].as_str().expect("a name"));
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
    if vos_bench::ready(&[]) {
        callers_are_known_and_answered(BACKEND4);
    }
}

#[test]
fn a_backend_of_the_other_family_makes_no_difference() {
    if vos_bench::ready(&[]) {
        callers_are_known_and_answered(BACKEND6);
    }
}

/// What a phone says to a request that it has heard.
fn ok(request: &str, tag: &str) -> String {
    let copied: String =
        ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", header(request, name))).concat();
    let to = header(request, "To");
    let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={tag}") };
    format!("SIP/2.0 200 OK\r\n{copied}To: {to}{tag}\r\nContent-Length: 0\r\n\r\n")
}

/// A request of the softswitch's own.
fn own(method: &str, uri: &str, to: &str, call: &str, more: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {BACKEND4};branch=z9hG4bKs{call}{method}\r\n{more}\
         From: <sip:9@example.com>;tag=s\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: 7 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// A REGISTER for a user of example.com, at this contact.
fn register(from: SocketAddr, user: &str, contact: &str, call: &str) -> String {
    request("REGISTER", from, call, 0)
        .replace("To: <sip:1@example.com>", &format!("To: <sip:{user}@example.com>"))
        .replace(&format!("Contact: <sip:1@{from}>"), &format!("Contact: <{contact}>"))
}

#[test]
fn the_softswitch_calls_registered_phones_wherever_they_are() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitch) = site(BACKEND4);
    for (number, caller) in CALLERS.into_iter().cycle().take(12).enumerate() {
        let (phone, other) = (site.phone(caller), site.phone(caller));
        let from = phone.local_addr().unwrap();
        // an address that means nothing here, as behind a NAT
        let contact = format!("sip:{number}@10.9.9.9:5062;line={number}");
        let call = format!("register-{number}");
        says(&phone, &register(from, &number.to_string(), &contact, &call));
        assert!(hears(&phone).starts_with("SIP/2.0 200 "));
        // The relay's socket that is written to is any worker's.
        says(&other, &request("OPTIONS", other.local_addr().unwrap(), &format!("other-{number}"), 0));
        hears(&other);
        let relay = softswitch.gets(&format!("Call-ID: other-{number}\r\n")).relay;
        let (to, call) = (format!("<sip:{number}@example.com>"), format!("out-{number}"));
        let invite = own("INVITE", &contact, &to, &call, "");
        softswitch.sends(relay, &invite);
        assert_eq!(hears(&phone), invite, "unchanged");
        let answer = ok(&invite, "phone");
        says(&phone, &answer);
        let received = softswitch.gets(&answer);
        assert_eq!((received.caller(), received.text), (from, answer));
        // The dialog is known by the phone's tag: the Request-URI leads nowhere.
        let to = format!("{to};tag=phone");
        for method in ["ACK", "INFO", "BYE"] {
            let in_dialog = own(method, "sip:nobody.invalid", &to, &call, "");
            softswitch.sends(relay, &in_dialog);
            assert_eq!(hears(&phone), in_dialog);
        }
    }
}

#[test]
fn a_registration_that_is_refused_takes_nobodys_calls() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitch) = site_of(BACKEND4, &before(BACKEND4), |message| !message.text.contains("thief"));
    let (phone, thief) = (site.phone(CALLERS[0]), site.phone(CALLERS[1]));
    let contact = "sip:1@10.9.9.9";
    says(&phone, &register(phone.local_addr().unwrap(), "1", contact, "honest"));
    assert!(hears(&phone).starts_with("SIP/2.0 200 "));
    says(&thief, &register(thief.local_addr().unwrap(), "1", contact, "thief"));
    let refused = softswitch.gets("Call-ID: thief\r\n");
    softswitch.sends(refused.relay, respond(&refused, "a", "403 Forbidden", ""));
    assert!(hears(&thief).starts_with("SIP/2.0 403 "));
    let invite = own("INVITE", contact, "<sip:1@example.com>", "in", "");
    softswitch.sends(refused.relay, &invite);
    assert_eq!(hears(&phone), invite);
}

#[test]
fn two_phones_with_one_private_address_are_told_apart_by_whom_they_are() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitch) = site(BACKEND4);
    let phones = [site.phone(CALLERS[0]), site.phone(CALLERS[1])];
    let contact = "sip:100@192.168.1.10:5060";
    for (phone, office) in phones.iter().zip(["1", "2"]) {
        says(phone, &register(phone.local_addr().unwrap(), office, contact, office));
        assert!(hears(phone).starts_with("SIP/2.0 200 "));
    }
    let relay = softswitch.gets("Call-ID: 1\r\n").relay;
    for (phone, office) in phones.iter().zip(["1", "2"]) {
        let invite = own("INVITE", contact, &format!("<sip:{office}@example.com>"), &format!("in-{office}"), "");
        softswitch.sends(relay, &invite);
        assert_eq!(hears(phone), invite);
    }
    // For whom is this? Not for the wrong one.
    softswitch.sends(relay, own("INVITE", "sip:100@192.168.1.10:5060", "<sip:3@example.com>", "in-3", ""));
    let last = own("INVITE", contact, "<sip:1@example.com>", "in-4", "");
    softswitch.sends(relay, &last);
    assert_eq!(hears(&phones[0]), last);
}

#[test]
fn in_a_call_the_softswitch_reaches_the_caller_even_while_it_rings() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitch) = site_of(BACKEND4, &before(BACKEND4), |_| false);
    for (number, caller) in CALLERS.into_iter().enumerate() {
        let phone = site.phone(caller);
        let call = format!("call-{number}");
        says(&phone, &request("INVITE", phone.local_addr().unwrap(), &call, 1_400));
        let invite = softswitch.gets(&format!("Call-ID: {call}\r\n"));
        let to = format!("<sip:1@example.com>;tag=f{call}");
        for status in ["100 Trying", "180 Ringing", "200 OK"] {
            softswitch.sends(invite.relay, respond(&invite, "a", status, ""));
            assert!(hears(&phone).starts_with(&format!("SIP/2.0 {status}\r\n")));
            if status != "100 Trying" {
                let update = own("UPDATE", "sip:nobody.invalid", &to, &call, "");
                softswitch.sends(invite.relay, &update);
                assert_eq!(hears(&phone), update);
                let answer = ok(&update, "");
                says(&phone, &answer);
                assert_eq!(softswitch.gets(&answer).caller(), phone.local_addr().unwrap());
            }
        }
    }
}

#[test]
fn a_request_to_an_address_goes_there() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitch) = site(BACKEND4);
    let before = site.phone(CALLERS[0]);
    says(&before, &request("OPTIONS", before.local_addr().unwrap(), "before", 0));
    hears(&before);
    let relay = softswitch.gets("Call-ID: before\r\n").relay;
    for (number, caller) in CALLERS.into_iter().enumerate() {
        let trunk = site.phone(caller);
        let address = trunk.local_addr().unwrap();
        let call = format!("trunk-{number}");
        let options = own("OPTIONS", &format!("sip:{address}"), "<sip:trunk.example.com>", &call, "");
        softswitch.sends(relay, &options);
        assert_eq!(hears(&trunk), options);
        let answer = ok(&options, "t");
        says(&trunk, &answer);
        assert_eq!(softswitch.gets(&answer).caller(), address);
        // behind an outbound proxy; a Route to this host is none
        let routes = format!("Route: <sip:192.0.2.1;lr>, <sip:{address};lr>\r\n");
        let call = format!("route-{number}");
        let options = own("OPTIONS", "sip:198.51.100.7", "<sip:trunk.example.com>", &call, &routes);
        softswitch.sends(relay, &options);
        assert_eq!(hears(&trunk), options);
    }
}

#[test]
fn a_line_in_front_of_what_the_softswitch_sends_is_taken_off() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitch) = site(BACKEND4);
    let phone = site.phone(CALLERS[0]);
    says(&phone, &request("OPTIONS", phone.local_addr().unwrap(), "one", 0));
    hears(&phone);
    let relay = softswitch.gets("Call-ID: one\r\n").relay;
    let options = own("OPTIONS", &format!("sip:{}", phone.local_addr().unwrap()), "<sip:1@example.com>", "two", "");
    softswitch.sends(relay, format!("PROXY TCP4 203.0.113.7 192.0.2.1 5060 5060\r\n{options}"));
    assert_eq!(hears(&phone), options);
}

#[test]
fn what_is_for_nobody_is_counted_by_name() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitch) = site(BACKEND4);
    let phone = site.phone(CALLERS[0]);
    let from = phone.local_addr().unwrap();
    says(&phone, &request("OPTIONS", from, "before", 0));
    hears(&phone);
    let relay = softswitch.gets("Call-ID: before\r\n").relay;
    let stranger = site.server.enter(|| UdpSocket::bind("127.0.0.1:0")).unwrap().unwrap();
    let to_phone = own("OPTIONS", &format!("sip:{from}"), "<sip:1@example.com>", "stray", "");
    stranger.send_to(to_phone.as_bytes(), relay).unwrap();
    softswitch.sends(relay, [0; 4]);
    softswitch.sends(relay, "PROXY UNKNOWN\r\n");
    softswitch.sends(relay, to_phone.replace("Call-ID", "X-Call-ID"));
    softswitch.sends(relay, ok(&to_phone, "nobody-has-asked"));
    let nowhere = ["sip:1@nobody.invalid", "sip:1@192.0.2.1", "sip:1@127.0.0.1:9", "tel:+1-555-0100", "sip:1@0.0.0.0"];
    for (number, uri) in nowhere.iter().enumerate() {
        softswitch.sends(relay, own("INVITE", uri, "<sip:1@example.com>", &format!("nowhere-{number}"), ""));
    }
    let expected = [("stranger", 1), ("unreadable", 3), ("unasked", 1), ("nowhere", nowhere.len() as u64)];
    for (word, count) in expected {
        wait_until(word, || strays(&site, word) == count);
    }
    // and the phone has heard of none of it
    says(&phone, &request("OPTIONS", from, "after", 0));
    assert_eq!(header(&hears(&phone), "Call-ID"), "after");
}

#[test]
fn the_relay_is_reached_from_the_backends_side_alone() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let backend = SocketAddr::from(([10, 9, 9, 9], 15_060));
    let site = site::start_where(INSIDE, &before(backend));
    let softswitch = Softswitch::start(&site.server, "a", backend);
    softswitch.is_known(&site, &backend.to_string());
    let phone = site.phone(CALLERS[0]);
    says(&phone, &request("OPTIONS", phone.local_addr().unwrap(), "one", 0));
    hears(&phone);
    let relay = softswitch.gets("Call-ID: one\r\n").relay;
    assert_eq!(relay.ip(), backend.ip());
    // At the address that callers know, nobody listens at this port.
    let stranger = site.caller.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    stranger.set_read_timeout(Some(crate::site::PATIENCE)).unwrap();
    stranger.connect(("192.0.2.1", relay.port())).unwrap();
    stranger.send(b"SIP/2.0 200 OK\r\n\r\n").unwrap();
    let refused = stranger.recv(&mut [0; 64]).expect_err("nobody");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    softswitch.sends(relay, "no SIP");
    let counted = |name: &str| {
        let stats = site.stats().0;
        let workers = stats["workers"].as_array().expect("workers").iter();
        workers.map(|worker| worker["peer"][name].as_u64().unwrap_or_else(|| panic!("no {name}"))).sum::<u64>()
    };
    wait_until("it is counted", || ["received", "bad_replies"].map(&counted) == [1, 1] && counted("came") > 0);
    assert_eq!(strays(&site, "stranger"), 0);
}

/// A host's other address, lower than that of the card.
const INSIDE: &str = "ip link add inside type veth peer name far && ip link set far up && \
                      ip addr add 10.9.9.9/24 dev inside && ip link set inside up";

#[test]
fn an_operators_word_does_not_change_where_requests_leave_from() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let site = site::start_where(INSIDE, &before(BACKEND4));
    let softswitch = Softswitch::start(&site.server, "a", BACKEND4);
    softswitch.is_known(&site, &BACKEND4.to_string());
    let phone = site.phone(CALLERS[0]);
    says(&phone, &request("OPTIONS", phone.local_addr().unwrap(), "one", 0));
    hears(&phone);
    let relay = softswitch.gets("Call-ID: one\r\n").relay;
    let words: [&[&str]; 3] = [&["status"], &["rule", "stealth", "monitor"], &["rule", "stealth", "enforce"]];
    for (number, words) in words.into_iter().enumerate() {
        site.told(words);
        let trunk = site.phone(CALLERS[1]);
        let uri = format!("sip:{}", trunk.local_addr().unwrap());
        let options = own("OPTIONS", &uri, "<sip:trunk.example.com>", &format!("after-{number}"), "");
        softswitch.sends(relay, &options);
        assert_eq!(hears(&trunk), options, "after {words:?}");
    }
}

#[test]
fn each_of_ten_thousand_at_once_gets_its_own_answer() {
    const PHONES: usize = 100;
    const EACH: usize = 100;
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitch) = site_of(BACKEND4, &before(BACKEND4), |_| false);
    let phones: Vec<UdpSocket> = CALLERS.into_iter().cycle().take(PHONES).map(|from| site.phone(from)).collect();
    for number in 0..EACH {
        for phone in &phones {
            // Each phone has the same Call-IDs and numbers its branches alike.
            let call = format!("call-{number}");
            says(phone, &request("INVITE", phone.local_addr().unwrap(), &call, 0));
        }
        wait_until("all of them reach the softswitch", || softswitch.count() == (number + 1) * PHONES);
    }
    let mut received = softswitch.received();
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); PHONES];
    // Answered in another order, by bursts that no buffer is too small for.
    received.sort_by_key(|message| (header(&message.text, "Call-ID").to_owned(), message.caller().port()));
    for burst in received.chunks(PHONES) {
        for message in burst {
            softswitch.sends(message.relay, respond(message, "a", "200 OK", ""));
        }
        for (phone, expected) in phones.iter().zip(&mut expected) {
            let reply = hears(phone);
            assert_eq!(header(&reply, "X-Caller"), phone.local_addr().unwrap().to_string());
            expected.push(header(&reply, "Call-ID").to_owned());
        }
    }
    for mut calls in expected {
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), EACH);
    }
    assert_eq!(strays(&site, "unasked"), 0);
}

#[test]
fn workers_have_the_ports_that_are_configured() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let toml =
        before(BACKEND4).replace("127.0.0.1", "localhost").replace("[health]", "bind = \"127.0.0.1:25060\"\n[health]");
    let (site, softswitch) = site_of(BACKEND4, &toml, |_| true);
    for number in 0..32 {
        let phone = site.phone(CALLERS[number % 4]);
        says(&phone, &request("OPTIONS", phone.local_addr().unwrap(), &format!("{number}"), 0));
        hears(&phone);
    }
    let relays: std::collections::BTreeSet<SocketAddr> = softswitch.received().iter().map(|m| m.relay).collect();
    assert!(relays.len() > 1, "{relays:?}");
    assert!(relays.iter().all(|relay| relay.ip().is_loopback() && (25_060..25_064).contains(&relay.port())));
}
