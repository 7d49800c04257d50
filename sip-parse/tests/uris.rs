//! URIs: their parts (RFC 3261 §19.1).

mod common;

use std::net::IpAddr;

use common::{BOTH, expect, text};
use sip_parse::{Error, Mode, SipUri, Uri};

fn parse(uri: &str, mode: Mode) -> Uri<'_> {
    Uri::parse(uri.as_bytes(), mode).unwrap_or_else(|error| panic!("{mode:?}: {uri}: {error}"))
}

/// Every part that is there, as it was written.
fn parts(uri: &str, mode: Mode) -> Result<String, Error> {
    let uri = Uri::parse(uri.as_bytes(), mode)?;
    let named = |name: &str, part: Option<&[u8]>| part.map_or(String::new(), |part| format!(" {name}={}", text(part)));
    Ok(match uri {
        Uri::Sip(SipUri { secure, user, password, host, port, params, headers }) => {
            let scheme = if secure { "sips" } else { "sip" };
            let (user, password, headers) =
                (named("user", user), named("password", password), named("headers", headers));
            let port = port.map_or(String::new(), |port| format!(" port={port}"));
            let params = named("params", Some(params.as_bytes()).filter(|params| !params.is_empty()));
            format!("{scheme}{user}{password} host={host}{port}{params}{headers}")
        }
        Uri::Tel(tel) => format!("tel number={} params={}", text(tel.number), text(tel.params.as_bytes())),
        Uri::Urn { nid, nss } => format!("urn nid={} nss={}", text(nid), text(nss)),
        Uri::Other { scheme, rest } => format!("{} rest={}", text(scheme), text(rest)),
    })
}

/// A URI, and its parts in both modes.
#[track_caller]
fn both(rows: &[(&str, &str)]) {
    expect(rows.iter().flat_map(|&(uri, expected)| {
        BOTH.map(|mode| (format!("{mode:?}: {uri:?}"), parts(uri, mode), Ok(expected.to_owned())))
    }));
}

/// A URI, and its parts in lenient mode: strict mode refuses it.
#[track_caller]
fn lenient(rows: &[(&str, &str)]) {
    expect(rows.iter().flat_map(|&(uri, expected)| {
        let expected = [(Mode::Strict, Err(Error::Uri)), (Mode::Lenient, Ok(expected.to_owned()))];
        expected.map(|(mode, expected)| (format!("{mode:?}: {uri:?}"), parts(uri, mode), expected))
    }));
}

/// §19.1.3
#[test]
fn the_examples_are_taken_apart() {
    both(&[
        ("sip:alice@atlanta.com", "sip user=alice host=atlanta.com"),
        (
            "sip:alice:secretword@atlanta.com;transport=tcp",
            "sip user=alice password=secretword host=atlanta.com params=;transport=tcp",
        ),
        (
            "sips:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sips user=alice host=atlanta.com headers=subject=project%20x&priority=urgent",
        ),
        (
            "sip:+1-212-555-1212:1234@gateway.com;user=phone",
            "sip user=+1-212-555-1212 password=1234 host=gateway.com params=;user=phone",
        ),
        ("sips:1212@gateway.com", "sips user=1212 host=gateway.com"),
        ("sip:alice@192.0.2.4", "sip user=alice host=192.0.2.4"),
        (
            "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com",
            "sip host=atlanta.com params=;method=REGISTER headers=to=alice%40atlanta.com",
        ),
        ("sip:alice;day=tuesday@atlanta.com", "sip user=alice;day=tuesday host=atlanta.com"),
    ]);
}

/// §25.1 SIP-URI, userinfo, hostport, uri-parameters, headers
#[test]
fn each_part_has_its_characters() {
    both(&[
        ("SIP:h", "sip host=h"),
        ("sIpS:h", "sips host=h"),
        ("sip:-_.!~*'()&=+$,;?/%00@h", "sip user=-_.!~*\\'()&=+$,;?/%00 host=h"),
        ("sip:a:-_.!~*'()&=+$,%20@h", "sip user=a password=-_.!~*\\'()&=+$,%20 host=h"),
        ("sip:a:@h", "sip user=a password= host=h"),
        ("sip:h-1.2x.example.", "sip host=h-1.2x.example."),
        ("sip:a@[2001:db8::1]:5070", "sip user=a host=[2001:db8::1] port=5070"),
        ("sip:h:0", "sip host=h port=0"),
        ("sip:h:65535", "sip host=h port=65535"),
        ("sip:h:000005060", "sip host=h port=5060"),
        ("sip:h;-_.!~*'()[]/:&+$%41=[]/:&+$%41;lr", "sip host=h params=;-_.!~*\\'()[]/:&+$%41=[]/:&+$%41;lr"),
        ("sip:h?[]/?:+$%41=[]/?:+$%41&x=", "sip host=h headers=[]/?:+$%41=[]/?:+$%41&x="),
    ]);
}

/// Nothing is unescaped (§19.1.2): that is for comparing.
#[test]
fn escapes_stay_as_they_are() {
    both(&[
        ("sip:%61lice@h;%78=%79?%7A=%20", "sip user=%61lice host=h params=;%78=%79 headers=%7A=%20"),
        ("sip:sips%3Auser%40example.com@example.net", "sip user=sips%3Auser%40example.com host=example.net"),
        ("sip:user;par=u%40example.net@example.com", "sip user=user;par=u%40example.net host=example.com"),
    ]);
}

/// RFC 3966 §6, RFC 5031, §25.1 absoluteURI
#[test]
fn other_schemes_have_parts_of_their_own() {
    both(&[
        ("tel:+1-201-555-0123", "tel number=+1-201-555-0123 params="),
        ("tel:7042;phone-context=example.com", "tel number=7042 params=;phone-context=example.com"),
        ("TEL:863-1234;phone-context=+1-914-555", "tel number=863-1234 params=;phone-context=+1-914-555"),
        ("urn:service:sos", "urn nid=service nss=sos"),
        ("URN:service:sos.fire", "urn nid=service nss=sos.fire"),
        ("urn:isbn:0451450523", "urn nid=isbn nss=0451450523"),
        ("http://example.com:80/a;b?c=d", "http rest=//example.com:80/a;b?c=d"),
        ("soap.beep://192.0.2.103:3002", "soap.beep rest=//192.0.2.103:3002"),
        ("isbn:2983792873", "isbn rest=2983792873"),
        ("mailto:watson@bell-telephone.com", "mailto rest=watson@bell-telephone.com"),
        ("h323+x-1:y", "h323+x-1 rest=y"),
    ]);
}

/// What both servers read, or one of them
#[test]
fn lenient_mode_reads_what_servers_read() {
    lenient(&[
        ("sip:{u}@h", "sip user={u} host=h"),
        ("sip:\u{e9}@h", "sip user=\\xc3\\xa9 host=h"),
        ("sip:u\\v@h", "sip user=u\\\\v host=h"),
        ("sip:%4@h", "sip user=%4 host=h"),
        ("sip:%zz@h", "sip user=%zz host=h"),
        ("sip:u:p;q@h", "sip user=u password=p;q host=h"),
        ("sip:u@h_1.com", "sip user=u host=h_1.com"),
        ("sip:u@h%41.com", "sip user=u host=h%41.com"),
        ("sip:u@-h", "sip user=u host=-h"),
        ("sip:u@h-", "sip user=u host=h-"),
        ("sip:u@h-.com", "sip user=u host=h-.com"),
        ("sip:u@h.-com", "sip user=u host=h.-com"),
        ("sip:u@h..com", "sip user=u host=h..com"),
        ("sip:u@1.2.3", "sip user=u host=1.2.3"),
        ("sip:u@h:", "sip user=u host=h"),
        ("sip:u@h;;lr;", "sip user=u host=h params=;;lr;"),
        ("sip:u@h;=x", "sip user=u host=h params=;=x"),
        ("sip:u@h;x=", "sip user=u host=h params=;x="),
        ("sip:u@h;x={}", "sip user=u host=h params=;x={}"),
        ("sip:u@h?", "sip user=u host=h headers="),
        ("sip:u@h?x", "sip user=u host=h headers=x"),
        ("sip:u@h?x=y&", "sip user=u host=h headers=x=y&"),
        ("sip:u@h?x=;", "sip user=u host=h headers=x=;"),
    ]);
}

#[test]
fn what_is_no_uri_is_refused() {
    let refused = [
        "",
        "sip",
        "sip:",
        "sips:",
        "tel:",
        "urn:",
        "http:",
        ":x",
        "1a:x",
        "a_b:x",
        "a b:x",
        "alice",
        "alice@example.com",
        "*",
        "sip:@h",
        "sip::p@h",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@;x",
        "sip:a@?x=y",
        "sip:a@h:65536",
        "sip:a@h:4294972356",
        "sip:a@h:5x",
        "sip:a@h:x",
        "sip:a@h:-1",
        "sip:a@h:1:2",
        "sip:a@[::1",
        "sip:a@[::1]x",
        "sip:a@[]",
        "sip:a@::1",
        "sip:a@2001:db8::10",
        "sip:a@h;x=b@c",
        "sip:a@h?x=b@c",
        "sip:a@h/x",
        "sip:a@h&x",
        "sip:a b@h",
        "sip:a@h x",
        "sip:a@h;x y",
        "sip:a@h?x=y z",
        "sip:a\0@h",
        "sip:a@h\0",
        "sip:a@h\r\n",
        "sip:a\t@h",
        "sip:a\x7f@h",
        "<sip:a@h>",
        "tel:+1 2",
        "tel:;phone-context=x",
        "http://h/a b",
        "urn:service:so s",
    ];
    expect(
        refused
            .iter()
            .flat_map(|uri| BOTH.map(|mode| (format!("{mode:?}: {uri:?}"), parts(uri, mode), Err(Error::Uri)))),
    );
}

/// §25.1 IPv4address, IPv6reference; RFC 5118 §4.10 has one colon too many on purpose.
#[test]
fn a_host_may_be_an_address() {
    let ip = |host: &str, mode| match parse(&format!("sip:{host}"), mode) {
        Uri::Sip(uri) => uri.host.ip(),
        _ => unreachable!(),
    };
    for (host, expected) in [
        ("192.0.2.4", Some("192.0.2.4")),
        ("010.0.2.004", Some("10.0.2.4")),
        ("255.255.255.255", Some("255.255.255.255")),
        ("[::]", Some("::")),
        ("[2001:DB8::9:1]", Some("2001:db8::9:1")),
        ("[::ffff:192.0.2.10]", Some("::ffff:192.0.2.10")),
        ("[2001:db8::192.0.2.1]", Some("2001:db8::192.0.2.1")),
        ("[2001:db8:::192.0.2.1]", Some("2001:db8::192.0.2.1")),
        ("[2001:db8::192.000.2.010]", Some("2001:db8::192.0.2.10")),
        ("[1:2:3:4:5:6:255.255.255.255]", Some("1:2:3:4:5:6:255.255.255.255")),
        ("example.com", None),
        ("1.example", None),
        ("a1.2.3.x4", None),
    ] {
        let expected = expected.map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(BOTH.map(|mode| ip(host, mode)), [expected; 2], "{host}");
    }
    for host in ["999.1.1.1", "256.0.0.1", "1.2.3", "1.2.3.4.5", "1..2.3", "[1::2::3]", "[12345::]", "[:]", "[1.2.3.4]"]
    {
        assert_eq!(ip(host, Mode::Lenient), None, "{host}");
    }
    for host in [
        "[1::2::3]",
        "[12345::]",
        "[:]",
        "[1.2.3.4]",
        "[::1.2.3]",
        "[::1.2.3.256]",
        "[1:2:3:4:5:6:7:1.2.3.4]",
        "[2001:db8:::1]",
        "1.2.3",
        "1.2.3.4.5",
    ] {
        assert_eq!(parts(&format!("sip:{host}"), Mode::Strict), Err(Error::Uri), "{host}");
    }
}

#[test]
fn parameters_are_found_by_name() {
    for mode in BOTH {
        let Uri::Sip(uri) = parse("sip:h;lr;Transport=TCP;%6dAddr=x;a=1;A=2", mode) else { unreachable!() };
        assert_eq!(uri.params.get(b"LR"), Some(None));
        assert_eq!(uri.params.get(b"transport"), Some(Some(&b"TCP"[..])));
        assert_eq!(uri.params.get(b"maddr"), Some(Some(&b"x"[..])));
        assert_eq!(uri.params.get(b"a"), Some(Some(&b"2"[..]))); // the last, as servers read it
        assert_eq!(uri.params.get(b"ttl"), None);
        assert_eq!(uri.params.into_iter().count(), 5);
        assert_eq!(uri.params.into_iter().nth(1), Some((&b"Transport"[..], Some(&b"TCP"[..]))));
    }
}
