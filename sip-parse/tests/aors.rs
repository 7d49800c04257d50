//! Addresses-of-record in canonical form (RFC 3261 §10.3).

mod common;

use std::collections::HashSet;

use common::BOTH;
use sip_parse::{Mode, Uri};

fn parse(uri: &str, mode: Mode) -> Uri<'_> {
    Uri::parse(uri.as_bytes(), mode).unwrap_or_else(|error| panic!("{mode:?}: {uri}: {error}"))
}

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
    let all: Vec<_> = SETS.iter().enumerate().flat_map(|(set, uris)| uris.iter().map(move |uri| (set, *uri))).collect();
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
