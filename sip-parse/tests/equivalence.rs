//! When two URIs are the same (RFC 3261 §19.1.4, RFC 3966 §4, RFC 8141 §3).

mod common;
mod invariants;

use common::BOTH;
use proptest::prelude::*;
use proptest::sample::select;
use sip_parse::{MAX_COMPARED, MAX_COMPARED_LENGTH, Mode, Uri};

fn parse(uri: &str, mode: Mode) -> Uri<'_> {
    Uri::parse(uri.as_bytes(), mode).unwrap_or_else(|error| panic!("{mode:?}: {uri}: {error}"))
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
