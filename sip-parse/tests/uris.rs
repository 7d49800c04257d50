//! URIs: their parts, when two are the same, and whose they are (RFC 3261 §19.1).

mod common;
mod invariants;

use std::collections::HashSet;
use std::net::IpAddr;

use common::{BOTH, expect, text};
use proptest::prelude::*;
use proptest::sample::select;
use sip_parse::{Error, MAX_COMPARED, MAX_COMPARED_LENGTH, Mode, SipUri, Uri};

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

/// Both ways, in both modes.
#[track_caller]
fn are_equivalent(one: &str, another: &str, expected: bool) {
    for mode in BOTH {
        let (first, second) = (parse(one, mode), parse(another, mode));
        assert_eq!(first.is_equivalent(second), expected, "{mode:?}: {one} {another}");
        assert_eq!(second.is_equivalent(first), expected, "{mode:?}: {another} {one}");
        invariants::uris(one.as_bytes(), another.as_bytes());
    }
}

#[track_caller]
fn all_equivalent(uris: &[&str]) {
    uris.iter().for_each(|one| uris.iter().for_each(|another| are_equivalent(one, another, true)));
}

#[track_caller]
fn none_equivalent(uris: &[&str]) {
    for (i, one) in uris.iter().enumerate() {
        uris.iter().enumerate().for_each(|(j, another)| are_equivalent(one, another, i == j));
    }
}

/// §19.1.4, "The URIs within each of the following sets are equivalent"
#[test]
fn the_sets_that_the_rfc_calls_equivalent_are() {
    all_equivalent(&["sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"]);
    // Not all of these three are alike: equality is not transitive.
    are_equivalent("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true);
    are_equivalent("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true);
    are_equivalent("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", true);
    all_equivalent(&[
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ]);
    all_equivalent(&[
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ]);
}

/// §19.1.4, "The URIs within each of the following sets are not equivalent"
#[test]
fn the_sets_that_the_rfc_calls_different_are() {
    none_equivalent(&["SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"]);
    none_equivalent(&["sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"]);
    none_equivalent(&["sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"]);
    none_equivalent(&["sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"]);
    none_equivalent(&["sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"]);
    none_equivalent(&["sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"]);
}

/// §19.1.4, "Note that equality is not transitive"
#[test]
fn equality_is_not_transitive() {
    are_equivalent("sip:carol@chicago.com", "sip:carol@chicago.com;security=on", true);
    are_equivalent("sip:carol@chicago.com", "sip:carol@chicago.com;security=off", true);
    are_equivalent("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off", false);
}

/// §19.1.4, the rules one by one
#[test]
fn every_rule_of_comparing_holds() {
    are_equivalent("sip:a@h", "sips:a@h", false);
    are_equivalent("sip:a:p@h", "sip:a:P@h", false);
    are_equivalent("sip:a:p@h", "sip:a@h", false);
    are_equivalent("sip:a:@h", "sip:a@h", false);
    are_equivalent("sip:a@h", "sip:h", false);
    are_equivalent("sip:h:5060", "sip:h:05060", true);
    are_equivalent("sip:h:5060", "sip:h:5061", false);
    for must_match in ["user=ip", "ttl=1", "method=INVITE", "maddr=h", "transport=udp"] {
        are_equivalent("sip:h", &format!("sip:h;{must_match}"), false);
        are_equivalent("sip:h;lr", &format!("sip:h;{must_match};lr"), false);
        are_equivalent(&format!("sip:h;{must_match}"), &format!("sip:h;{};x", must_match.to_uppercase()), true);
    }
    are_equivalent("sip:h;a=1;b=2", "sip:h;B=2;A=1", true);
    are_equivalent("sip:h;a=1", "sip:h;a=2", false);
    are_equivalent("sip:h;a", "sip:h;a=2", false);
    are_equivalent("sip:h;lr", "sip:h", true);
    are_equivalent("sip:h?a=1", "sip:h?a=1&b=2", false);
    are_equivalent("sip:h?a=1&b=2", "sip:h?A=1&B=2", true);
    are_equivalent("sip:h?a=1&a=2", "sip:h?a=1&a=1", false);
    are_equivalent("sip:h?a=%31", "sip:h?a=1", true);
    are_equivalent("sip:H.Example", "sip:h.eXAMPLE", true);
    are_equivalent("sip:[2001:db8::1]", "sip:[2001:DB8:0:0::0001]", true);
    are_equivalent("sip:[::1]", "sip:[::2]", false);
    are_equivalent("sip:192.0.2.4", "sip:192.0.2.5", false);
}

/// §19.1.4: a character is like its escape, unless it is one of the "reserved".
#[test]
fn an_escape_is_not_like_a_reserved_character() {
    for byte in 0x21..=0x7e_u8 {
        let escaped = format!("sip:%{byte:02x}@h");
        let plain = format!("sip:{}@h", char::from(byte));
        are_equivalent(&escaped, &format!("sip:%{byte:02X}@h"), true);
        if Uri::parse(plain.as_bytes(), Mode::Strict)
            .is_ok_and(|uri| matches!(uri, Uri::Sip(uri) if uri.password.is_none()))
        {
            are_equivalent(&escaped, &plain, !b";/?:@&=+$,".contains(&byte));
        }
    }
}

/// Comparing in any order takes the square of their number.
#[test]
fn many_parameters_are_compared_as_they_are_written() {
    let params = |count: usize| (0..count).map(|i| format!(";p{i}")).collect::<String>();
    let headers = |count: usize| (0..count).map(|i| format!("&h{i}=")).collect::<String>();
    for (count, is_equal) in [(MAX_COMPARED, true), (MAX_COMPARED + 1, false)] {
        let (many, fewer) = (params(count), params(count - 1));
        are_equivalent(&format!("sip:h{many}"), &format!("sip:h{many}"), true);
        are_equivalent(&format!("sip:h{many}"), &format!("sip:h;p{}{fewer}", count - 1), is_equal);
        are_equivalent(&format!("tel:1{many}"), &format!("tel:1;p{}{fewer}", count - 1), is_equal);
        let fewer = headers(count - 1);
        are_equivalent(&format!("sip:h?x={fewer}"), &format!("sip:h?x={fewer}"), true);
        are_equivalent(&format!("sip:h?x={fewer}"), &format!("sip:h?{}&x=", &fewer[1..]), is_equal);
    }
}

/// So does comparing long ones.
#[test]
fn long_parameters_are_compared_as_they_are_written() {
    for (length, is_equal) in [(MAX_COMPARED_LENGTH, true), (MAX_COMPARED_LENGTH + 1, false)] {
        let long = "x".repeat(length - 2);
        for scheme in ["sip:h", "tel:1"] {
            let [params, others] = [format!("{scheme};a{long}"), format!("{scheme};A{long}")];
            are_equivalent(&params, &params, true);
            are_equivalent(&params, &others, is_equal);
        }
        let [headers, others] = [format!("sip:h?a{long}="), format!("sip:h?A{long}=")];
        are_equivalent(&headers, &headers, true);
        are_equivalent(&headers, &others, is_equal);
    }
}

/// RFC 3966 §4; RFC 3261 §19.1.6
#[test]
fn telephone_numbers_are_compared_without_separators() {
    all_equivalent(&["tel:+1-201-555-0123", "tel:+12015550123", "tel:+1(201)555.0123", "TEL:+1-2015550123"]);
    all_equivalent(&["tel:+358-555-1234567;postd=pp22", "tel:+358-555-1234567;POSTD=PP22"]);
    all_equivalent(&["tel:+358-555-1234567;postd=pp22;isub=1411", "tel:+358-555-1234567;isub=1411;postd=pp22"]);
    all_equivalent(&["tel:7042;phone-context=example.com", "tel:7042;phone-context=Example.COM"]);
    all_equivalent(&["tel:a1f*;phone-context=x.y", "tel:A1F*;phone-context=x.y"]);
    none_equivalent(&["tel:+12015550123", "tel:12015550123"]);
    none_equivalent(&["tel:+1", "tel:+1;ext=2", "tel:+1;ext=3"]);
    none_equivalent(&["tel:7042;phone-context=example.com", "tel:7042;phone-context=example.org"]);
    none_equivalent(&["tel:+358-555-1234567", "sip:+358-555-1234567@foo.com;user=phone"]);
}

/// RFC 3966 §4: a context of digits is compared like a number.
#[test]
fn a_context_of_digits_is_compared_without_separators() {
    all_equivalent(&["tel:863-1234;phone-context=+1-914-555", "tel:8631234;phone-context=+1914555"]);
}

/// RFC 3261 §19.1.6: inside a SIP URI they are users, and those have case and order.
#[test]
fn telephone_numbers_of_sip_uris_are_compared_as_users() {
    none_equivalent(&[
        "sip:+358-555-1234567;postd=pp22@foo.com;user=phone",
        "sip:+358-555-1234567;POSTD=PP22@foo.com;user=phone",
        "sip:+358-555-1234567;postd=pp22;isub=1411@foo.com;user=phone",
        "sip:+358-555-1234567;isub=1411;postd=pp22@foo.com;user=phone",
        "sip:+358-555-1234567@foo.com;postd=pp22;user=phone",
    ]);
}

/// RFC 8141 §3.2, the examples without components
#[test]
fn names_are_compared_byte_by_byte() {
    all_equivalent(&["urn:example:a123,z456", "URN:example:a123,z456", "urn:EXAMPLE:a123,z456"]);
    all_equivalent(&["urn:example:a123%2Cz456", "URN:EXAMPLE:a123%2cz456"]);
    none_equivalent(&[
        "urn:example:a123,z456",
        "urn:example:a123,z456/foo",
        "urn:example:a123,z456/bar",
        "urn:example:a123,z456/baz",
        "urn:example:a123%2Cz456",
        "urn:example:A123,z456",
        "urn:example:a123,Z456",
        "urn:example:%D0%B0123,z456",
    ]);
}

/// RFC 8141 §3.1: "Percent-encoded characters MUST NOT be decoded".
#[test]
fn an_escape_in_a_name_is_not_decoded() {
    none_equivalent(&["urn:example:a123", "urn:example:%61123"]);
}

/// RFC 5031 §3: "'service' identifiers are compared according to case-insensitive string equality".
#[test]
fn services_have_no_case() {
    all_equivalent(&["urn:service:sos", "urn:service:SOS", "URN:Service:Sos"]);
    none_equivalent(&["urn:service:sos", "urn:service:sos.fire"]);
}

#[test]
fn other_uris_are_compared_byte_by_byte() {
    all_equivalent(&["http://h/a", "HTTP://h/a"]);
    none_equivalent(&["http://h/a", "http://H/a", "http://h/%61", "https://h/a", "sip:h"]);
}

mod aors {
    use super::*;

    /// §10.3 step 5: parameters go, escapes become what they mean; as a URI again, some come back.
    #[test]
    fn an_aor_is_printed_in_canonical_form() {
        for (uri, expected) in [
            ("SIP:%61lice:secret@AtLanTa.CoM:5060;transport=tcp?x=y", "sip:alice@atlanta.com:5060"),
            ("sips:Alice@H", "sips:Alice@h"),
            ("sip:Example.ORG;lr", "sip:example.org"),
            ("sip:j%40s0n@h", "sip:j%40s0n@h"),
            ("sip:%3b%2C%7e@h", "sip:;,~@h"),
            ("sip:null-%00-null@h", "sip:null-%00-null@h"),
            ("sip:%c3%a9@h", "sip:%C3%A9@h"),
            ("sip:a@[2001:DB8:0:0::1]", "sip:a@[2001:db8::1]"),
            ("sip:a@010.0.2.4:05070", "sip:a@10.0.2.4:5070"),
            ("tel:+1-(201)-555.0123;ext=5", "tel:+12015550123"),
            ("tel:70-42;Phone-Context=Example.com;x", "tel:7042;phone-context=example.com"),
            ("URN:Service:sos", "urn:service:sos"),
            ("urn:example:a%2fb", "urn:example:a%2Fb"),
            ("HTTP://Example.com/A%2f", "http://Example.com/A%2f"),
        ] {
            for mode in BOTH {
                assert_eq!(parse(uri, mode).aor().to_string(), expected, "{uri}");
            }
        }
        assert_eq!(parse("sip:{\u{e9}}@H_1", Mode::Lenient).aor().to_string(), "sip:%7B%C3%A9%7D@h_1");
    }

    /// All of one line are one; no two lines are.
    const SETS: &[&[&str]] = &[
        &["sip:alice@h", "sip:%61lice@H;x=y", "SIP:alice:secret@h?a=b"],
        &["sip:Alice@h"],
        &["sips:alice@h"],
        &["sip:alice@h:5060", "sip:alice@h:05060;transport=udp"],
        &["sip:h", "sip:H;lr"],
        &["sip:a;b@h", "sip:a%3Bb@h"],
        &["sip:a%00@h"],
        &["sip:a%00%00@h"],
        &["sip:a@[::1]", "sip:a@[0:0::1]"],
        &["sip:a@192.0.2.1", "sip:a@192.0.2.01"],
        &["sip:a@192.0.2.1.example"],
        &["tel:+1-2", "tel:+12;ext=5", "tel:+(1)2"],
        &["tel:12"],
        &["tel:12;phone-context=a.b", "tel:1-2;phone-context=A.B"],
        &["tel:12;phone-context=+1-2", "tel:12;phone-context=+12"],
        &["urn:service:sos", "URN:SERVICE:sos", "urn:service:SOS"],
        &["urn:service:sos.fire"],
        &["urn:a:b/c"],
        &["urn:a:b%2Fc", "urn:a:b%2fc"],
        &["http://h/a", "Http://h/a"],
        &["http://h/A"],
    ];

    #[test]
    fn aors_are_equal_if_their_canonical_forms_are() {
        let all: Vec<_> =
            SETS.iter().enumerate().flat_map(|(set, uris)| uris.iter().map(move |uri| (set, *uri))).collect();
        for (set, one) in &all {
            for (other_set, another) in &all {
                let (first, second) = (parse(one, Mode::Strict).aor(), parse(another, Mode::Strict).aor());
                assert_eq!(first == second, set == other_set, "{one} {another}");
                assert_eq!(first.to_string() == second.to_string(), set == other_set, "{one} {another}");
            }
        }
    }

    #[test]
    fn aors_are_found_by_their_hash() {
        for uris in SETS {
            let set: HashSet<_> = uris.iter().map(|uri| parse(uri, Mode::Strict).aor()).collect();
            assert_eq!(set.len(), 1, "{uris:?}");
        }
        let all: HashSet<_> = SETS.iter().map(|uris| parse(uris[0], Mode::Strict).aor()).collect();
        assert_eq!(all.len(), SETS.len());
    }
}

/// Few choices, so that many URIs are alike.
fn uri() -> impl Strategy<Value = String> {
    let part = |choices: &'static [&'static str]| select(choices);
    let many =
        |choices: &'static [&'static str]| prop::collection::vec(select(choices), 0..4).prop_map(|all| all.concat());
    let users = part(&["", "a@", "A@", "%61@", "a:b@", "a:@", "%40@", "a;b@", "a%3Bb@", "a%3bb@", "{a}@"]);
    let hosts = part(&["h", "H", "h.", "h_", "192.0.2.1", "192.0.2.01", "[::1]", "[0::1]", "[::ffff:192.0.2.1]"]);
    let ports = part(&["", ":", ":5060", ":05060", ":0"]);
    let params =
        many(&[";a", ";A=1", ";a=1", ";%61=1", ";a=%3b", ";", ";lr", ";transport=tcp", ";TRANSPORT=TCP", ";user=ip"]);
    let headers = part(&["", "?", "?x=y", "?x=Y", "?%78=y", "?x=y&z=", "?z=&x=y", "?x=y&x=y"]);
    let sip = (part(&["sip:", "SIP:", "sips:"]), users, hosts, ports, params, headers)
        .prop_map(|(scheme, user, host, port, params, headers)| format!("{scheme}{user}{host}{port}{params}{headers}"));
    let numbers = part(&["+1", "1", "+1-2", "+12", "(1)2", "a", "A", "%61"]);
    let contexts = many(&[
        ";ext=1",
        ";EXT=1",
        ";phone-context=a.b",
        ";phone-context=A.b",
        ";phone-context=%61.b",
        ";phone-context=+1-2",
        ";phone-context=+12",
    ]);
    let tel = (numbers, contexts).prop_map(|(number, params)| format!("tel:{number}{params}"));
    let names = part(&["a:b", "A:b", "a:B", "a:%62", "a:b/c", "a:b%2Fc", "a:b%2fc", "service:sos", "service:SOS", "x"]);
    let urn = names.prop_map(|name| format!("urn:{name}"));
    prop_oneof![3 => sip, 1 => tel, 1 => urn, 1 => part(&["http://h/a", "HTTP://h/a", "http://h/%61"]).prop_map(str::to_owned)]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    /// Equality is reflexive and symmetric, equal URIs have equal AoRs, equal AoRs equal hashes and
    /// canonical forms, and what strict mode accepts lenient mode reads alike.
    #[test]
    fn what_holds_for_any_two_uris_holds(one in uri(), another in uri()) {
        invariants::uris(one.as_bytes(), another.as_bytes());
    }

    #[test]
    fn equality_is_reflexive_and_symmetric(one in uri(), another in uri()) {
        if let (Ok(one), Ok(another)) = (Uri::parse(one.as_bytes(), Mode::Lenient), Uri::parse(another.as_bytes(), Mode::Lenient)) {
            prop_assert!(one.is_equivalent(one));
            prop_assert_eq!(one.is_equivalent(another), another.is_equivalent(one));
            prop_assert!(!one.is_equivalent(another) || one.aor() == another.aor());
        }
    }

    #[test]
    fn any_bytes_are_a_uri_or_not(one in "[ -~\u{e9}\0]{0,40}", another in "(sip|tel|urn):[a%3B@:;=?&.\\[\\]0-9-]{0,20}") {
        invariants::uris(one.as_bytes(), another.as_bytes());
    }
}
