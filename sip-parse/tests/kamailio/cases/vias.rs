//! `Via`.

use sip_parse::{Error, Name};

use super::Outcome::{self, Apart, Both, Neither, Stricter, Wider};
use super::{Case, Row, table, with_more, with_value};

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let top = table("Via", TOP, |value| with_value("Via", value));
    top.into_iter().chain(table("second Via", SECOND, with_more))
}

const REFUSED: Outcome = Neither(MALFORMED);
const MALFORMED: Error = Error::Malformed(Name::Via);

#[rustfmt::skip]
const TOP: &[Row] = &[
    ("white space everywhere", "25.1", "SIP / 2.0\t/ UDP  v.com : 5070 ; branch = z9hG4bK1 ", Both(&[])),
    ("folded everywhere", "7.3.1", "SIP/2.0/UDP\r\n v.com:5070\r\n ;branch=z9hG4bK1", Both(&[])),
    ("folded in the branch", "7.3.1", "SIP/2.0/UDP v.com:5070;branch=z9hG4\r\n bK1", REFUSED),
    ("lower case", "20.42", "sip/2.0/udp v.com:5070;BRANCH=z9hG4bK1", Both(&[])),
    ("another version", "20.42", "SIP/3.0/UDP v.com", REFUSED),
    ("a longer version", "20.42", "SIP/2.00/UDP v.com", REFUSED),
    ("another protocol", "20.42", "HTTP/1.1/TCP v.com", REFUSED),
    ("an unknown transport", "20.42", "SIP/2.0/UDPX v.com:5070;branch=z9hG4bK1", Both(&[("transport", "UDPX")])),
    ("a transport of a letter that Kamailio does not know", "20.42", "SIP/2.0/DCCP v.com:5070;branch=z9hG4bK1", Wider(&[("transport", "DCCP")])),
    ("WebSocket", "RFC 7118", "SIP/2.0/WSS v.com:5070;branch=z9hG4bK1", Both(&[("transport", "WSS")])),
    ("no transport", "20.42", "SIP/2.0 v.com", REFUSED),
    ("an empty transport", "20.42", "SIP/2.0/ v.com", REFUSED),
    ("no white space before the host", "25.1", "SIP/2.0/UDPv.com", REFUSED),
    ("no host", "25.1", "SIP/2.0/UDP ;branch=z9hG4bK1", REFUSED),
    ("two hosts", "25.1", "SIP/2.0/UDP v.com x;branch=z9hG4bK1", REFUSED),
    ("empty", "25.1", "", REFUSED),
    ("an IPv6 address", "RFC 5118 4.1", "SIP/2.0/UDP [2001:db8::1]:5070;branch=z9hG4bK1", Both(&[("host", "[2001:db8::1]")])),
    ("an IPv6 address without brackets", "25.1 IPv6reference", "SIP/2.0/UDP 2001:db8::1;branch=z9hG4bK1", REFUSED),
    ("a bracket that does not end", "25.1 IPv6reference", "SIP/2.0/UDP [::1;branch=z9hG4bK1", REFUSED),
    ("letters in brackets", "25.1 IPv6reference", "SIP/2.0/UDP [xyz]:5070;branch=z9hG4bK1", Stricter(MALFORMED, &[("host", "[xyz]")])),
    ("a host with an underscore", "25.1 hostname", "SIP/2.0/UDP v_1.com:5070;branch=z9hG4bK1", Both(&[("host", "v_1.com")])),
    ("a host with an at sign", "25.1 hostname", "SIP/2.0/UDP v@x.com:5070;branch=z9hG4bK1", Stricter(MALFORMED, &[("host", "v@x.com")])),
    ("a host in brackets", "25.1 hostname", "SIP/2.0/UDP <v.com>:5070;branch=z9hG4bK1", Stricter(MALFORMED, &[("host", "<v.com>")])),
    ("a host that ends in a hyphen", "25.1 hostname", "SIP/2.0/UDP v-:5070;branch=z9hG4bK1", Both(&[("host", "v-")])),
    ("an address beyond IPv4", "25.1 IPv4address", "SIP/2.0/UDP 999.1.1.1:5070;branch=z9hG4bK1", Both(&[("host", "999.1.1.1")])),
    ("a NUL in the host", "25.1 hostname", "SIP/2.0/UDP v\0.com:5070;branch=z9hG4bK1", REFUSED),
    ("port 0", "19.1.1", "SIP/2.0/UDP v.com:0;branch=z9hG4bK1", Both(&[("port", "0")])),
    ("port 65536", "19.1.1", "SIP/2.0/UDP v.com:65536;branch=z9hG4bK1", Stricter(MALFORMED, &[("port", "65536")])),
    ("a port of ten digits", "19.1.1", "SIP/2.0/UDP v.com:4294972366;branch=z9hG4bK1", REFUSED),
    ("a port of letters", "25.1 port", "SIP/2.0/UDP v.com:50a;branch=z9hG4bK1", REFUSED),
    ("an empty port", "25.1 port", "SIP/2.0/UDP v.com:;branch=z9hG4bK1", REFUSED),
    ("no branch", "8.1.1.7", "SIP/2.0/UDP v.com:5070", Both(&[("branch", "")])),
    ("an empty branch", "25.1 via-branch", "SIP/2.0/UDP v.com:5070;branch=;x", Both(&[("branch", "")])),
    ("an empty branch at the end", "25.1 via-branch", "SIP/2.0/UDP v.com:5070;branch=", Wider(&[("branch", "")])),
    ("a branch without a value", "25.1 via-branch", "SIP/2.0/UDP v.com:5070;branch;x", REFUSED),
    ("a branch in quotes", "25.1 via-branch", "SIP/2.0/UDP v.com:5070;branch=\"z9hG4bK1\"", Both(&[])),
    ("a branch of any characters", "25.1 token", "SIP/2.0/UDP v.com:5070;branch=<z@{}/:?\u{e9}>", Both(&[("branch", "<z@{}/:?\\xe9>")])),
    ("an equals sign in the branch", "25.1 token", "SIP/2.0/UDP v.com:5070;branch=z=1", Wider(&[("branch", "z=1")])),
    ("a space in the branch", "25.1 token", "SIP/2.0/UDP v.com:5070;branch=z 1", REFUSED),
    ("a NUL in the branch", "25.1 token", "SIP/2.0/UDP v.com:5070;branch=z\x001", REFUSED),
    ("two branches", "7.3.1", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK0;branch=z9hG4bK1", Both(&[])),
    ("two sources", "7.3.1", "SIP/2.0/UDP v.com:5070;received=192.0.2.1;received=192.0.2.2;branch=z9hG4bK1", Both(&[("received", "192.0.2.2")])),
    ("an IPv6 source without brackets", "RFC 5118 4.5", "SIP/2.0/UDP v.com:5070;received=::1;branch=z9hG4bK1", Both(&[("received", "::1")])),
    ("an IPv6 source in brackets", "25.1 via-received", "SIP/2.0/UDP v.com:5070;received=[::1];branch=z9hG4bK1", Both(&[("received", "[::1]")])),
    ("a word for a source", "25.1 via-received", "SIP/2.0/UDP v.com:5070;received=xyz;branch=z9hG4bK1", Both(&[("received", "xyz")])),
    ("an empty source", "25.1 via-received", "SIP/2.0/UDP v.com:5070;received=;branch=z9hG4bK1", Both(&[])),
    ("a port asked for", "RFC 3581 3", "SIP/2.0/UDP v.com:5070;rport;branch=z9hG4bK1", Both(&[])),
    ("an empty source port", "RFC 3581 3", "SIP/2.0/UDP v.com:5070;rport=;branch=z9hG4bK1", Both(&[])),
    ("a source port", "RFC 3581 4", "SIP/2.0/UDP v.com:5070;rport=9;branch=z9hG4bK1", Both(&[("rport", "9")])),
    ("a source port beyond 16 bits", "RFC 3581 4", "SIP/2.0/UDP v.com:5070;rport=70000;branch=z9hG4bK1", Apart(&[], &[("rport", "70000")])),
    ("a word for a source port", "RFC 3581 4", "SIP/2.0/UDP v.com:5070;rport=x;branch=z9hG4bK1", Apart(&[], &[("rport", "x")])),
    ("a parameter that the servers take for the branch", "25.1 generic-param", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK1;ali=z", Apart(&[], &[("branch", "z")])),
    ("a flag with a value", "25.1 generic-param", "SIP/2.0/UDP v.com:5070;alias=x;branch=z9hG4bK1", Wider(&[])),
    ("parameters without values", "25.1", "SIP/2.0/UDP v.com:5070;x;y=;branch=z9hG4bK1", Both(&[])),
    ("no parameter", "25.1", "SIP/2.0/UDP v.com:5070;;branch=z9hG4bK1", REFUSED),
    ("no last parameter", "25.1", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK1;", REFUSED),
    ("no name of a parameter", "25.1", "SIP/2.0/UDP v.com:5070;=x;branch=z9hG4bK1", REFUSED),
    ("a semicolon in quotes", "25.1 quoted-string", "SIP/2.0/UDP v.com:5070;x=\";branch=z\";branch=z9hG4bK1", Both(&[])),
    ("a comma in quotes", "25.1 quoted-string", "SIP/2.0/UDP v.com:5070;x=\"a,b\";branch=z9hG4bK1", Wider(&[])),
    ("an escaped quote", "25.1 quoted-pair", "SIP/2.0/UDP v.com:5070;x=\"a\\\"b\";branch=z9hG4bK1", Wider(&[])),
    ("a quote that does not end", "25.1 quoted-string", "SIP/2.0/UDP v.com:5070;x=\"a;branch=z9hG4bK1", Stricter(MALFORMED, &[("branch", "")])),
    ("a comment at the end", "25.1", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK1 (x (y))", Both(&[])),
    ("a comment before the parameters", "25.1", "SIP/2.0/UDP v.com:5070 (x);branch=z9hG4bK1", REFUSED),
    ("CR alone ends the header", "7", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK1\rX-A: z", Stricter(Error::LineEnd, &[("X-A", "z")])),
    ("CR and a space are a fold", "7.3.1", "SIP/2.0/UDP v.com:5070\r ;branch=z9hG4bK1", Stricter(Error::LineEnd, &[])),
    ("two CRs end the headers", "7", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK1\r", Neither(Error::LineEnd)),
    ("a list", "7.3.1", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK1, SIP/2.0/UDP x.com", Both(&[])),
    ("nothing in the middle of a list", "25.1", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK1,,SIP/2.0/UDP x.com", Both(&[])),
    ("nothing at the start of a list", "25.1", ",SIP/2.0/UDP v.com:5070;branch=z9hG4bK1", REFUSED),
    ("nothing at the end of a list", "25.1", "SIP/2.0/UDP v.com:5070;branch=z9hG4bK1,", Wider(&[])),
];

const SECOND: &[Row] =
    &[("another", "20.42", "v: SIP/2.0/UDP x.com\r\n", Both(&[])), ("malformed", "20.42", "v: x\r\n", Wider(&[]))];
