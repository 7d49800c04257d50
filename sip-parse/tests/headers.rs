//! What the values of Via, From, To and CSeq mean.

use sip_parse::{CSeq, Error, Index, Method, Name, NameAddr, Rport, Transport, Via};

/// A request with one header.
fn request(header: &str) -> Vec<u8> {
    format!("INVITE sip:a@b SIP/2.0\r\n{header}\r\n\r\n").into_bytes()
}

#[track_caller]
fn via(value: &str, expected: Result<Via<'_>, Error>) {
    let mut index: Index = Index::new();
    let datagram = request(&format!("Via: {value}"));
    assert_eq!(index.parse(&datagram).unwrap().top_via(), expected, "{value:?}");
}

/// The same value must be read alike in `From` and in `To`.
#[track_caller]
fn address(value: &str, expected: Option<NameAddr<'_>>) {
    let mut index: Index = Index::new();
    let datagram = request(&format!("From: {value}\r\nt: {value}"));
    let message = index.parse(&datagram).unwrap();
    assert_eq!(message.from(), expected.ok_or(Error::Address(Name::From)), "{value:?}");
    assert_eq!(message.to(), expected.ok_or(Error::Address(Name::To)), "{value:?}");
}

fn cseq(value: &str) -> Result<(u32, String), Error> {
    let mut index: Index = Index::new();
    let datagram = request(&format!("CSeq: {value}"));
    let CSeq { number, method } = index.parse(&datagram).unwrap().cseq()?;
    Ok((number, method.to_string()))
}

mod vias {
    use super::*;

    const PLAIN: Via<'_> =
        Via { transport: Transport::Udp, host: b"h", port: None, branch: None, received: None, rport: Rport::Absent };

    #[test]
    fn a_host_is_enough() {
        via("SIP/2.0/UDP h", Ok(PLAIN));
    }

    #[test]
    fn its_parameters_come_in_any_order_and_case() {
        let expected = Via {
            transport: Transport::Tls,
            host: b"pc33.example.com",
            port: Some(5061),
            branch: Some(b"z9hG4bK776"),
            received: Some(b"192.0.2.1"),
            rport: Rport::Port(9988),
        };
        let parameters = "RPORT=9988;ttl=1;Branch=z9hG4bK776;alias;received=192.0.2.1";
        via(&format!("sip/2.0/tls pc33.example.com:5061;{parameters}"), Ok(expected));
    }

    #[test]
    fn white_space_and_folds_may_stand_between_all_parts() {
        let value = "SIP  /   2.0\r\n /UDP\r\n    h : 5070 ;\r\n  branch  =   z9\r\n ; rport ";
        let expected = Via { port: Some(5070), branch: Some(b"z9"), rport: Rport::Requested, ..PLAIN };
        via(value, Ok(expected));
    }

    #[test]
    fn an_ipv6_address_keeps_its_brackets() {
        via("SIP/2.0/UDP [2001:db8::9:1]", Ok(Via { host: b"[2001:db8::9:1]", ..PLAIN }));
        let expected =
            Via { host: b"[::ffff:192.0.2.10]", port: Some(19823), received: Some(b"2001:db8::9:255"), ..PLAIN };
        via("SIP/2.0/UDP [::ffff:192.0.2.10]:19823;received=2001:db8::9:255", Ok(expected));
    }

    #[test]
    fn only_the_first_of_several_in_one_header_is_read() {
        let value = "SIP/2.0/UDP h;branch=1 , SIP/2.0/TCP other;branch=2";
        via(value, Ok(Via { branch: Some(b"1"), ..PLAIN }));
    }

    #[test]
    fn of_two_branches_the_last_counts_as_for_the_servers() {
        via("SIP/2.0/UDP h;branch=1;branch=2", Ok(Via { branch: Some(b"2"), ..PLAIN }));
    }

    #[test]
    fn every_transport_is_known() {
        let transports = [
            ("UDP", Transport::Udp),
            ("tcp", Transport::Tcp),
            ("TLS", Transport::Tls),
            ("SCTP", Transport::Sctp),
            ("ws", Transport::Ws),
            ("WSS", Transport::Wss),
            ("TLS-SCTP", Transport::Other(b"TLS-SCTP")),
        ];
        for (written, transport) in transports {
            via(&format!("SIP/2.0/{written} h"), Ok(Via { transport, ..PLAIN }));
        }
    }

    #[test]
    fn a_quoted_parameter_hides_what_is_inside() {
        let value = r#"SIP/2.0/UDP h;x="a;branch=1,\"";branch=2"#;
        via(value, Ok(Via { branch: Some(b"2"), ..PLAIN }));
    }

    #[test]
    fn other_values_are_refused() {
        let refused = [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0 UDP h",
            "SIP/3.0/UDP h",
            "HTTP/2.0/UDP h",
            "SIP/2.0/ h",
            "SIP/2.0/UDP h:",
            "SIP/2.0/UDP h:65536",
            "SIP/2.0/UDP h:x",
            "SIP/2.0/UDP h i",
            "SIP/2.0/UDP h;",
            "SIP/2.0/UDP h;;branch=1",
            "SIP/2.0/UDP h;branch",
            "SIP/2.0/UDP h;branch=",
            "SIP/2.0/UDP h;branch=1 2",
            "SIP/2.0/UDP h;received",
            "SIP/2.0/UDP h;rport=x",
            "SIP/2.0/UDP h;rport=70000",
            "SIP/2.0/UDP h;x=\"open",
            "SIP/2.0/UDP [2001:db8::9:1",
            "SIP/2.0/UDP []",
            "SIP/2.0/UDP [host]",
            "SIP/2.0/UDP 2001:db8::9:1",
        ];
        for value in refused {
            via(value, Err(Error::Via));
        }
    }
}

mod addresses {
    use super::*;

    #[test]
    fn a_uri_may_stand_alone() {
        address("sip:b@c", Some(NameAddr { display: None, uri: b"sip:b@c", tag: None }));
        address("<sip:b@c>", Some(NameAddr { display: None, uri: b"sip:b@c", tag: None }));
    }

    #[test]
    fn a_display_name_may_be_tokens() {
        let expected = NameAddr { display: Some(b"Bob"), uri: b"sip:b@c", tag: Some(b"1") };
        address("Bob<sip:b@c>;tag=1", Some(expected));
        let expected = NameAddr { display: Some(b"Bob B. Example"), ..expected };
        address("Bob B. Example  <sip:b@c> ; tag = 1", Some(expected));
    }

    #[test]
    fn a_quoted_display_name_may_hold_anything() {
        let expected = NameAddr { display: Some(br#"a\\\" <sip:x@y>;tag=no, b"#), uri: b"sip:b@c", tag: None };
        address(r#""a\\\" <sip:x@y>;tag=no, b" <sip:b@c>"#, Some(expected));
        let empty = NameAddr { display: Some(b""), ..expected };
        address(r#"""<sip:b@c>"#, Some(empty));
    }

    #[test]
    fn in_brackets_parameters_are_the_uris() {
        let uri = b"sip:b@c;tag=uri?x=%3E";
        address("<sip:b@c;tag=uri?x=%3E>", Some(NameAddr { display: None, uri, tag: None }));
        let tag = Some(&b"header"[..]);
        address("<sip:b@c;tag=uri?x=%3E>;tag=header", Some(NameAddr { display: None, uri, tag }));
    }

    #[test]
    fn without_brackets_parameters_are_the_headers() {
        let expected = NameAddr { display: None, uri: b"sip:b@c", tag: Some(b"1") };
        address("sip:b@c;user=phone;tag=1", Some(expected));
    }

    #[test]
    fn a_tag_inside_quotes_is_no_tag() {
        let expected = NameAddr { display: Some(b";tag=1"), uri: b"sip:b@c", tag: Some(b"3") };
        address(r#"";tag=1" <sip:b@c>;x=";tag=2";TAG=3"#, Some(expected));
    }

    #[test]
    fn a_parameter_whose_name_only_ends_in_tag_is_no_tag() {
        address("<sip:b@c>;ftag=1", Some(NameAddr { display: None, uri: b"sip:b@c", tag: None }));
    }

    #[test]
    fn of_two_tags_the_last_counts_as_for_the_servers() {
        let expected = NameAddr { display: None, uri: b"sip:b@c", tag: Some(b"2") };
        address("<sip:b@c>;tag=1;tag=2", Some(expected));
    }

    #[test]
    fn it_may_be_folded_anywhere_between_its_parts() {
        let expected = NameAddr { display: Some(b"Bob"), uri: b"sip:b@c", tag: Some(b"1") };
        address("\"Bob\"\r\n <sip:b@c>\r\n\t;\r\n tag\r\n =\r\n 1", Some(expected));
    }

    #[test]
    fn other_values_are_refused() {
        let refused = [
            "",
            "<>",
            "\"Bob\"",
            "\"Bob\" sip:b@c",
            "\"Bob <sip:b@c>",
            "\"Bob\\",
            "Bob, B. <sip:b@c>",
            "Bob \"B\" <sip:b@c>",
            "<sip:b@c",
            "< sip:b@c >",
            "<sip:b @c>",
            "<sip:<b@c>",
            "sip:b@c>",
            "sip:b @c",
            "sip:b,c@d",
            "<sip:b@c> x",
            "<sip:b@c>, <sip:d@e>",
            "<sip:b@c>;",
            "<sip:b@c>;;tag=1",
            "<sip:b@c>;tag",
            "<sip:b@c>;tag=",
            "<sip:b@c>;tag=1 2",
            "<sip:b@c>;tag=\"1",
        ];
        for value in refused {
            address(value, None);
        }
    }
}

mod cseqs {
    use super::*;

    #[test]
    fn it_is_a_number_and_a_method() {
        assert_eq!(cseq("4711 INVITE"), Ok((4711, "INVITE".into())));
        assert_eq!(cseq("0009\r\n  invite"), Ok((9, "INVITE".into())));
        assert_eq!(cseq("4294967295 NewMethod"), Ok((u32::MAX, "NewMethod".into())));
    }

    #[test]
    fn its_method_compares_with_that_of_the_start_line() {
        let mut index: Index = Index::new();
        let datagram = request("CSeq: 1 invite");
        let method = index.parse(&datagram).unwrap().cseq().unwrap().method;
        assert_eq!(method, Method::Invite);
    }

    #[test]
    fn other_values_are_refused() {
        for value in ["", "1", "INVITE", "1INVITE", "-1 INVITE", "4294967296 INVITE", "1 INV;TE", "1 A B"] {
            assert_eq!(cseq(value), Err(Error::CSeq), "{value:?}");
        }
    }
}
