//! URIs, as Kamailio takes them apart when it routes.

use sip_parse::Error;

use super::Outcome::{self, Both, Neither, Stricter, Wider};
use super::{Case, Row, bytes, table, with};
use crate::reading::escaped;

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let cases = table("Request-URI", ROWS, |uri| with("sip:u@h.com", uri));
    cases.into_iter().map(|case| Case { given: vec![("request-uri", escaped(&bytes(case.unusual)))], ..case })
}

const REFUSED: Outcome = Neither(Error::RequestUri);
const MALFORMED: Error = Error::RequestUri;

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("everything it may have", "19.1.1", "sip:u:p@h.com:9;x=y;lr?h=v&w=x", Both(&[])),
    ("a scheme in upper case", "19.1.4", "SIP:u@h.com", Both(&[])),
    ("sips", "19.1.1", "sips:u@h.com", Both(&[])),
    ("tel", "19.1.6", "tel:+1-2;phone-context=x", Both(&[("user", "+1-2"), ("host", "")])),
    ("letters for a number", "19.1.6", "tel:abc", Both(&[("user", "abc"), ("host", "")])),
    ("a service", "RFC 5031", "urn:service:sos", Both(&[("user", "service"), ("host", "sos")])),
    ("another scheme", "19.1.1", "http://h.com/", Wider(&[("user", ""), ("host", "")])),
    ("no scheme", "19.1.1", "u@h.com", REFUSED),
    ("nothing but a scheme", "19.1.1", "sip:", REFUSED),
    ("no number", "19.1.6", "tel:", REFUSED),
    ("no user", "19.1.1", "sip:h.com", Both(&[("user", "")])),
    ("an empty user", "25.1 userinfo", "sip:@h.com", REFUSED),
    ("an empty user and a password", "25.1 userinfo", "sip::p@h.com", REFUSED),
    ("an empty password", "25.1 userinfo", "sip:u:@h.com", Both(&[])),
    ("two passwords", "25.1 userinfo", "sip:u:p:q@h.com", Wider(&[])),
    ("two at signs", "25.1 userinfo", "sip:u@v@h.com", REFUSED),
    ("a semicolon in the user", "25.1 user-unreserved", "sip:u;x=y@h.com;z", Both(&[("user", "u;x=y")])),
    ("a question mark in the user", "25.1 user-unreserved", "sip:u?x@h.com", Both(&[("user", "u?x")])),
    ("a user of any characters", "25.1 user", "sip:\"{<u,\\>}\"\u{e9}@h.com", Stricter(MALFORMED, &[("user", "\\\"{<u,\\\\>}\\\"\\xe9")])),
    ("a user that is not UTF-8", "25.1 user", "sip:\u{e9}@h.com", Both(&[("user", "\\xe9")])),
    ("a user in quotes", "25.1 user", "sip:\"u\"@h.com", Stricter(MALFORMED, &[("user", "\\\"u\\\"")])),
    ("a comma in the user", "25.1 user-unreserved", "sip:u,v@h.com", Both(&[("user", "u,v")])),
    ("braces in the user", "25.1 user", "sip:{u}@h.com", Both(&[("user", "{u}")])),
    ("square brackets in the user", "25.1 user", "sip:[u]@h.com", Wider(&[("user", "[u]")])),
    ("an escape", "25.1 escaped", "sip:%41@h.com", Both(&[("user", "%41")])),
    ("half an escape", "25.1 escaped", "sip:%4@h.com", Both(&[("user", "%4")])),
    ("an escape of letters", "25.1 escaped", "sip:%zz@h.com", Both(&[("user", "%zz")])),
    ("an escaped NUL", "25.1 escaped", "sip:u%00@h.com", Both(&[("user", "u%00")])),
    ("a NUL in the user", "25.1 user", "sip:u\0@h.com", Stricter(MALFORMED, &[("user", "u\\x00")])),
    ("a host with an underscore", "25.1 hostname", "sip:u@h_1.com", Wider(&[("host", "h_1.com")])),
    ("a host with an escape", "25.1 hostname", "sip:u@h%41.com", Wider(&[("host", "h%41.com")])),
    ("a host with a slash", "25.1 hostname", "sip:u@h.com/x", REFUSED),
    ("a host that begins with a hyphen", "25.1 hostname", "sip:u@-h.com", Wider(&[("host", "-h.com")])),
    ("a host that ends in a hyphen", "25.1 hostname", "sip:u@h.com-", Both(&[("host", "h.com-")])),
    ("two dots in the host", "25.1 hostname", "sip:u@h..com", Both(&[("host", "h..com")])),
    ("an address beyond IPv4", "25.1 IPv4address", "sip:u@999.1.1.1", Both(&[("host", "999.1.1.1")])),
    ("an IPv6 address", "25.1 IPv6reference", "sip:u@[::1]:9", Both(&[("host", "[::1]")])),
    ("an IPv6 address without brackets", "25.1 IPv6reference", "sip:u@2001:db8::1", REFUSED),
    ("a bracket that does not end", "25.1 IPv6reference", "sip:u@[::1", REFUSED),
    ("port 0", "19.1.1", "sip:u@h.com:0", Both(&[])),
    ("port 65536", "19.1.1", "sip:u@h.com:65536", REFUSED),
    ("a port of letters", "25.1 port", "sip:u@h.com:5x", REFUSED),
    ("an empty port", "25.1 port", "sip:u@h.com:", Both(&[])),
    ("leading zeros in the port", "25.1 port", "sip:u@h.com:000005070", Wider(&[])),
    ("two ports", "25.1 hostport", "sip:u@h.com:1:2", REFUSED),
    ("no parameter", "25.1 uri-parameters", "sip:u@h.com;;lr;", Both(&[])),
    ("no name of a parameter", "25.1 uri-parameters", "sip:u@h.com;=x", Both(&[])),
    ("a parameter twice", "19.1.1", "sip:u@h.com;x=1;x=2", Both(&[])),
    ("a parameter with an at sign", "25.1 uri-parameters", "sip:u@h.com;x=a@b", REFUSED),
    ("a parameter with a colon", "25.1 uri-parameters", "sip:u@h.com;x:y", Both(&[])),
    ("empty headers", "25.1 headers", "sip:u@h.com?", Both(&[])),
    ("headers with an at sign", "25.1 headers", "sip:u@h.com?x=a@b", REFUSED),
    ("an ampersand behind the host", "25.1 hostname", "sip:u@h.com&x", REFUSED),
    ("a fragment", "19.1.1", "sip:u@h.com#x", Wider(&[("host", "h.com#x")])),
];
