//! What a datagram on a SIP port is, by its first bytes.

mod common;
mod corpus;

use common::{BOTH, verdict};
use sip_parse::{Kind, classify};

const COOKIE: &[u8] = b"\x21\x12\xa4\x42";
const TRANSACTION: &[u8] = b"twelve bytes";

/// RFC 8489 §5: type, length, cookie, transaction, attributes
fn stun(kind: [u8; 2], attributes: &[u8]) -> Vec<u8> {
    [&kind, &(attributes.len() as u16).to_be_bytes()[..], COOKIE, TRANSACTION, attributes].concat()
}

#[track_caller]
fn check(datagram: impl AsRef<[u8]>, expected: Kind) {
    let datagram = datagram.as_ref();
    assert_eq!(classify(datagram), expected, "{}", common::text(datagram));
}

#[test]
fn a_message_is_known_by_its_first_line() {
    check("INVITE sip:b@c SIP/2.0\r\n", Kind::Request);
    check("options sip:b@c sip/2.0\n", Kind::Request);
    check("NEW tel:+1 SIP/2.0\r\nnonsense", Kind::Request);
    check("\r\n\r\nBYE sip:b@c SIP/2.0\r\n\r\n", Kind::Request);
    check("SIP/2.0 200 OK\r\n", Kind::Response);
    check("sip/2.0 999 \n\0", Kind::Response);
    check("\r\nSIP/2.0 100 \r\n", Kind::Response);
}

/// RFC 5626 §3.5.1, and what phones do instead
#[test]
fn keep_alives_are_known() {
    check("", Kind::Empty);
    check("\r\n", Kind::Pong);
    check("\r\n\r\n", Kind::Ping);
    check("\r\n\r\n\r\n", Kind::Ping);
    check("\n", Kind::Ping);
    check("\0", Kind::Nul);
    check("\0\0\0\0", Kind::Nul);
    check([0; 1500], Kind::Nul);
    check("jaK", Kind::Jak);
    for sample in corpus::samples("real", "bin") {
        check(&sample.bytes, Kind::Pong);
    }
}

/// RFC 8489 §5: two zero bits, a length in words that fits, the cookie
#[test]
fn stun_is_known_by_its_cookie() {
    check(stun([0, 1], b""), Kind::Stun);
    check(stun([1, 1], b"\x80\x22\0\x04abcd"), Kind::Stun);
    check(stun([3, 0xff], b""), Kind::Stun);
    check(stun([0, 0], b""), Kind::Stun);
    check(stun([0x40, 1], b""), Kind::Garbage);
    check(stun([0, 1], b"abc"), Kind::Garbage);
    check(&stun([0, 1], b"")[..19], Kind::Garbage);
    check([&stun([0, 1], b"")[..], b"x"].concat(), Kind::Garbage);
    let mut classic = stun([0, 1], b"");
    classic[4] = 0x20;
    check(classic, Kind::Garbage);
}

/// RFC 8446 §5.1 and §4: handshake, version 3.x, ClientHello; RFC 9147 §4: the same with a longer front
#[test]
fn a_tls_hello_is_known() {
    check(b"\x16\x03\x01\0\xc8\x01\0\0\xc4", Kind::TlsHello);
    check(b"\x16\x03\x03\0\xc8\x01", Kind::TlsHello);
    check(b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x50\x01\0", Kind::TlsHello);
    check(b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x50\x01", Kind::TlsHello);
    check(b"\x16\x03\x01\0\xc8\x02\0", Kind::Garbage);
    check(b"\x16\x02\x01\0\xc8\x01\0", Kind::Garbage);
    check(b"\x17\x03\x01\0\xc8\x01\0", Kind::Garbage);
    check(b"\x16\x03\x01\0\xc8", Kind::Garbage);
    check(b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x50", Kind::Garbage);
    check(b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x50\x02", Kind::Garbage);
}

/// RFC 6455 §4.1
#[test]
fn an_opening_handshake_is_known() {
    check("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", Kind::WebSocket);
    check("GET /sip?x=y HTTP/1.1\r\n", Kind::WebSocket);
    check("GET / HTTP/1.0\r\n", Kind::Garbage);
    check("POST / HTTP/1.1\r\n", Kind::Garbage);
    check("GET / HTTP/1.1", Kind::Garbage);
}

#[test]
fn anything_else_is_garbage() {
    for garbage in [
        "x",
        "INVITE",
        "INVITE sip:b@c SIP/2.0",
        "INVITE sip:b@c SIP/3.0\r\n",
        "SIP/2.0 20 OK\r\n",
        "SIP/2.0\r\n",
        " INVITE sip:b@c SIP/2.0\r\n",
        "\tSIP/2.0 200 OK\r\n",
    ] {
        check(garbage, Kind::Garbage);
    }
    for garbage in [&b"\0x"[..], b"jaK\0", b"jak", b"\xff\xff\xff\xff"] {
        check(garbage, Kind::Garbage);
    }
}

/// What is read is a request or a response, never anything else.
#[test]
fn what_is_read_is_a_message() {
    let mut messages = 0;
    for sample in corpus::all() {
        for mode in BOTH {
            if verdict(&sample.bytes, mode).is_ok() {
                let expected =
                    if sample.bytes.trim_ascii_start().starts_with(b"SIP/") { Kind::Response } else { Kind::Request };
                check(&sample.bytes, expected);
                messages += 1;
            }
        }
    }
    assert!(messages == 0 || messages > 150, "{messages}");
}
