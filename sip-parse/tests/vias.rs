//! `Via`: the hop a message came from (RFC 3261 §20.42).

mod common;

use common::{BOTH, read, with, with_lines, without};
use sip_parse::{Error, Mode, Name, Rport, Transport, Via};

/// What a [`Via`] says, without how it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hop<'a> {
    transport: Transport<'a>,
    host: &'a str,
    port: Option<u16>,
    branch: Option<&'a str>,
    received: Option<&'a str>,
    rport: Rport,
}

const PLAIN: Hop<'_> =
    Hop { transport: Transport::Udp, host: "h", port: None, branch: None, received: None, rport: Rport::Absent };

const MALFORMED: Error = Error::Malformed(Name::Via);

fn hop(via: Via<'_>) -> Hop<'_> {
    let text = |bytes| str::from_utf8(bytes).unwrap();
    Hop {
        transport: via.transport,
        host: text(via.host.as_bytes()),
        port: via.port,
        branch: via.branch.map(text),
        received: via.received.map(text),
        rport: via.rport,
    }
}

#[track_caller]
fn via(value: &str, mode: Mode, expected: Result<Hop<'_>, Error>) {
    let datagram = with("Via", value);
    read(&datagram, mode, |message| {
        assert_eq!(message.top_via().map(hop), expected, "{mode:?}: {value:?}");
        assert_eq!(message.vias().next().unwrap().map(hop), expected, "{mode:?}: {value:?}");
        let verdict = message.validate().map(|core| hop(core.via));
        assert_eq!(verdict, expected, "{mode:?}: {value:?}");
    })
    .unwrap();
}

#[track_caller]
fn both(value: &str, expected: Hop<'_>) {
    BOTH.into_iter().for_each(|mode| via(value, mode, Ok(expected)));
}

#[track_caller]
fn lenient(value: &str, expected: Hop<'_>) {
    via(value, Mode::Strict, Err(MALFORMED));
    via(value, Mode::Lenient, Ok(expected));
}

#[test]
fn a_host_is_enough() {
    both("SIP/2.0/UDP h", PLAIN);
}

/// §20.42, the examples
#[test]
fn the_examples_are_read() {
    let branch = Some("z9hG4bK87asdks7");
    let host = "erlang.bell-telephone.com";
    both(
        "SIP/2.0/UDP erlang.bell-telephone.com:5060;branch=z9hG4bK87asdks7",
        Hop { host, port: Some(5060), branch, ..PLAIN },
    );
    let received = Some("192.0.2.207");
    let branch = Some("z9hG4bK77asjd");
    both(
        "SIP/2.0/UDP 192.0.2.1:5060 ;received=192.0.2.207\r\n     ;branch=z9hG4bK77asjd",
        Hop { host: "192.0.2.1", port: Some(5060), branch, received, ..PLAIN },
    );
    let branch = Some("z9hG4bKa7c6a8dlze.1");
    both(
        "SIP / 2.0 / UDP first.example.com: 4000;ttl=16\r\n  ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1",
        Hop { host: "first.example.com", port: Some(4000), branch, ..PLAIN },
    );
}

/// §7.3.1
#[test]
fn its_parameters_come_in_any_order_and_case() {
    let expected = Hop {
        transport: Transport::Tls,
        host: "pc33.example.com",
        port: Some(5061),
        branch: Some("z9hG4bK776"),
        received: Some("192.0.2.1"),
        rport: Rport::Port(9988),
    };
    let parameters = "RPORT=9988;ttl=1;Branch=z9hG4bK776;alias;Received=192.0.2.1";
    both(&format!("sip/2.0/tls pc33.example.com:5061;{parameters}"), expected);
}

/// §25.1 SLASH, COLON, SEMI, EQUAL
#[test]
fn white_space_and_folds_may_stand_between_all_parts() {
    let value = "SIP  /   2.0\r\n /UDP\r\n    h : 5070 ;\r\n  branch  =   z9\r\n\t; rport ";
    both(value, Hop { port: Some(5070), branch: Some("z9"), rport: Rport::Requested, ..PLAIN });
    for value in ["SIP/2.0/ UDP h", "SIP/2.0 /UDP h", "SIP/ 2.0/UDP h", "SIP /2.0/UDP h", "SIP/2.0/\r\n UDP\r\n\th"] {
        both(value, PLAIN);
    }
    for value in ["SIP/2.0/UDP h :5070", "SIP/2.0/UDP h: 5070", "SIP/2.0/UDP h:\r\n 5070 "] {
        both(value, Hop { port: Some(5070), ..PLAIN });
    }
    for value in
        ["SIP/2.0/UDP h ;branch=1", "SIP/2.0/UDP h; branch=1", "SIP/2.0/UDP h;branch =1", "SIP/2.0/UDP h;branch= 1"]
    {
        both(value, Hop { branch: Some("1"), ..PLAIN });
    }
}

/// RFC 5118 §4.1, §4.5
#[test]
fn an_ipv6_address_stands_in_brackets_but_for_received() {
    both("SIP/2.0/UDP [2001:db8::9:1]", Hop { host: "[2001:db8::9:1]", ..PLAIN });
    let expected = Hop { host: "[::ffff:192.0.2.10]", port: Some(19823), received: Some("2001:db8::9:255"), ..PLAIN };
    both("SIP/2.0/UDP [::ffff:192.0.2.10]:19823;received=2001:db8::9:255", expected);
    both("SIP/2.0/UDP h;received=[2001:db8::9:255]", Hop { received: Some("[2001:db8::9:255]"), ..PLAIN });
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
        ("UDPX", Transport::Other(b"UDPX")),
    ];
    for (written, transport) in transports {
        both(&format!("SIP/2.0/{written} h"), Hop { transport, ..PLAIN });
    }
}

/// RFC 3581 §3: `response-port = "rport" [EQUAL 1*DIGIT]`; to servers anything else is no port.
#[test]
fn rport_asks_for_a_port_or_is_one() {
    both("SIP/2.0/UDP h;rport", Hop { rport: Rport::Requested, ..PLAIN });
    both("SIP/2.0/UDP h;rport=0", Hop { rport: Rport::Port(0), ..PLAIN });
    both("SIP/2.0/UDP h;rport=65535", Hop { rport: Rport::Port(u16::MAX), ..PLAIN });
    for value in ["", "x", "65536", "-1"] {
        lenient(&format!("SIP/2.0/UDP h;rport={value}"), Hop { rport: Rport::Requested, ..PLAIN });
    }
}

/// §25.1 quoted-string
#[test]
fn a_quoted_parameter_hides_what_is_inside() {
    both(r#"SIP/2.0/UDP h;x="a;branch=1,\"";branch=2"#, Hop { branch: Some("2"), ..PLAIN });
    lenient("SIP/2.0/UDP h;branch=<z@{}/:?>", Hop { branch: Some("<z@{}/:?>"), ..PLAIN });
}

/// `via-branch = "branch" EQUAL token` and the like (§25.1): only an extension may be quoted.
#[test]
fn what_has_a_meaning_is_not_quoted() {
    lenient("SIP/2.0/UDP h;branch=\"1\"", Hop { branch: Some("1"), ..PLAIN });
    lenient("SIP/2.0/UDP h;received=\"192.0.2.1\"", Hop { received: Some("192.0.2.1"), ..PLAIN });
    lenient("SIP/2.0/UDP h;rport=\"5\"", Hop { rport: Rport::Port(5), ..PLAIN });
    lenient("SIP/2.0/UDP h;ttl=\"5\"", PLAIN);
    lenient("SIP/2.0/UDP h;maddr=\"h\"", PLAIN);
}

#[test]
fn of_two_branches_the_last_counts_as_for_the_servers() {
    via("SIP/2.0/UDP h;branch=1;branch=2", Mode::Lenient, Ok(Hop { branch: Some("2"), ..PLAIN }));
    let received = Some("192.0.2.2");
    via("SIP/2.0/UDP h;received=192.0.2.1;received=192.0.2.2", Mode::Lenient, Ok(Hop { received, ..PLAIN }));
}

/// What both servers read, or one of them.
#[test]
fn lenient_mode_reads_what_servers_read() {
    lenient("SIP/2.0/UDP h;received=", PLAIN);
    lenient("SIP/2.0/UDP h;received", PLAIN);
    lenient("SIP/2.0/UDP h;received=xyz", Hop { received: Some("xyz"), ..PLAIN });
    lenient("SIP/2.0/UDP h;ttl=256;maddr", PLAIN);
    lenient("SIP/2.0/UDP h;x=;y", PLAIN);
    lenient("SIP/2.0/UDP h_1", Hop { host: "h_1", ..PLAIN });
    lenient("SIP/2.0/UDP -h-", Hop { host: "-h-", ..PLAIN });
    via("SIP/2.0/UDP 999.1.1.1", Mode::Lenient, Ok(Hop { host: "999.1.1.1", ..PLAIN }));
    lenient("SIP/2.0/UDP h;branch=1 (comment (of RFC 2543))", Hop { branch: Some("1"), ..PLAIN });
    lenient("SIP/2.0/UDP h (comment)", PLAIN);
}

#[test]
fn other_values_are_refused() {
    let refused = [
        "",
        "SIP/2.0/UDP",
        "SIP/2.0 UDP h",
        "SIP/2.0 h",
        "SIP/3.0/UDP h",
        "SIP/2.00/UDP h",
        "HTTP/2.0/UDP h",
        "SIP/2.0/ h",
        "SIP/2.0/UDPh",
        "SIP/2.0/UDP[::1]",
        "SIP/2.0/UDP ;branch=1",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:65536",
        "SIP/2.0/UDP h:4294972366",
        "SIP/2.0/UDP h:x",
        "SIP/2.0/UDP h:50a",
        "SIP/2.0/UDP h i",
        "SIP/2.0/UDP h;",
        "SIP/2.0/UDP h;;branch=1",
        "SIP/2.0/UDP h; ;branch=1",
        "SIP/2.0/UDP h;=x",
        "SIP/2.0/UDP h;branch",
        "SIP/2.0/UDP h;branch=1 2",
        "SIP/2.0/UDP h;branch=z9\r\n hG",
        "SIP/2.0/UDP h;branch=1\x002",
        "SIP/2.0/UDP h\0",
        "SIP/2.0/UDP h;x=\"open",
        "SIP/2.0/UDP h;x=a\"b\"",
        "SIP/2.0/UDP h;x=\"a\" b",
        "SIP/2.0/UDP [2001:db8::9:1",
        "SIP/2.0/UDP []",
        "SIP/2.0/UDP [host]",
        "SIP/2.0/UDP 2001:db8::9:1",
        "SIP/2.0/UDP h (comment);branch=1",
        "SIP/2.0/UDP h (comment",
        "SIP/2.0/UDP h (comment))",
        ",SIP/2.0/UDP h",
    ];
    for value in refused {
        BOTH.into_iter().for_each(|mode| via(value, mode, Err(MALFORMED)));
    }
}

/// Several lines and several values in one are one list, the last hop first (§7.3.1, §20.42).
#[test]
fn all_hops_are_listed_in_their_order() {
    for mode in BOTH {
        let lines = "v: SIP/2.0/UDP b , SIP/2.0/TCP c\r\nX: y\r\nVIA: SIP/2.0/UDP d\r\n";
        let hosts =
            read(with("Via", "SIP/2.0/UDP a").replace("\r\n\r\n", &format!("\r\n{lines}\r\n")), mode, |message| {
                assert_eq!(message.top_via().unwrap().host.as_bytes(), b"a");
                message.vias().map(|via| via.unwrap().host.to_string()).collect::<Vec<_>>().join(" ")
            });
        assert_eq!(hosts.as_deref(), Ok("a b c d"));
    }
}

#[test]
fn the_first_of_several_in_one_line_is_the_last_hop() {
    let value = "SIP/2.0/UDP h;branch=1 , SIP/2.0/TCP other;branch=2";
    both(value, Hop { branch: Some("1"), ..PLAIN });
}

/// Servers pass over what is empty between two values.
#[test]
fn an_empty_value_is_none() {
    let vias = |mode| {
        read(with("Via", "SIP/2.0/UDP a (x) ,, ,SIP/2.0/UDP b"), mode, |message| {
            message.vias().map(|via| via.map(|via| via.host.to_string())).collect::<Vec<_>>()
        })
        .unwrap()
    };
    assert_eq!(vias(Mode::Strict), [Err(MALFORMED)]);
    assert_eq!(vias(Mode::Lenient), [Ok("a".into()), Ok("b".into())]);
    for mode in BOTH {
        let last = read(with("Via", "SIP/2.0/UDP a,"), mode, |message| message.vias().last().unwrap().err()).unwrap();
        assert_eq!(last, Some(MALFORMED));
    }
}

#[test]
fn its_parameters_are_listed() {
    for mode in BOTH {
        read(with("Via", "SIP/2.0/UDP h ; a;b = \"c;d\";A=2"), mode, |message| {
            let via = message.top_via().unwrap();
            let params: Vec<_> = via.params.map(|param| (param.name, param.value)).collect();
            assert_eq!(params, [(&b"a"[..], None), (b"b", Some(&b"c;d"[..])), (b"A", Some(b"2"))]);
            assert_eq!(via.params.get(b"B"), Some(Some(&b"c;d"[..])));
            assert_eq!(via.params.get(b"c"), None);
            assert_eq!(via.params.as_bytes(), b"; a;b = \"c;d\";A=2");
        })
        .unwrap();
    }
}

#[test]
fn without_one_there_is_no_message() {
    for mode in BOTH {
        let missing = Error::Missing(Name::Via);
        let top = read(without("Via"), mode, |message| {
            assert_eq!(message.vias().count(), 0);
            message.top_via().map(drop)
        });
        assert_eq!(top.and_then(|top| top), Err(missing), "{mode:?}");
        let second = with_lines("v: x\r\n");
        assert_eq!(common::verdict(second, mode).is_ok(), mode == Mode::Lenient);
    }
}
