//! A response to a request: what is copied, what is added (RFC 3261 §8.2.6, §18.2.1; RFC 3581 §4).

mod common;
mod corpus;

use std::error::Error as _;
use std::net::SocketAddr;

use common::{BOTH, read, verdict, with, with_lines, with_start_line, without};
use sip_parse::{Error, Index, Method, Mode, Name, Reply, ReplyError, StartLine};

/// The response that `reply` makes of a request.
fn answer(request: impl AsRef<[u8]>, mode: Mode, reply: Reply<'_>) -> Result<String, ReplyError> {
    let mut buffer = [0xff; 2000];
    let length = read(request, mode, |message| reply.write(&message, &mut buffer)).unwrap()?;
    Ok(String::from_utf8(buffer[..length].to_vec()).unwrap())
}

fn from(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

const FORBIDDEN: Reply<'_> = Reply::new(403, "Forbidden").to_tag(b"t1");

const REQUEST: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP p2.example.org;branch=z9hG4bK2\r\n\
    Max-Forwards: 69\r\n\
    v: SIP/2.0/TCP p1.example.org:5070 ;branch=z9hG4bK1 , SIP/2.0/UDP ua.example.org\r\n\
    Record-Route: <sip:p2.example.org;lr>\r\n\
    f: \"Alice\" <sip:alice@example.org>;tag=a1\r\n\
    Subject: What is copied?\r\n\
    VIA:SIP/2.0/UDP 192.0.2.9\r\n\
    t: Bob <sip:bob@example.com>\r\n\
    i: 1@ua.example.org\r\n\
    CSEQ: 0007   INVITE\r\n\
    Timestamp: 54.5\r\n\
    Contact: <sip:alice@192.0.2.9>\r\n\
    Content-Length: 4\r\n\
    \r\n\
    body";

const COPIED: &str = "Via: SIP/2.0/UDP p2.example.org;branch=z9hG4bK2\r\n\
    Via: SIP/2.0/TCP p1.example.org:5070 ;branch=z9hG4bK1 , SIP/2.0/UDP ua.example.org\r\n\
    Via: SIP/2.0/UDP 192.0.2.9\r\n\
    From: \"Alice\" <sip:alice@example.org>;tag=a1\r\n\
    To: Bob <sip:bob@example.com>";

const ENDS: &str = "Call-ID: 1@ua.example.org\r\nCSeq: 0007   INVITE\r\n";

/// §8.2.6.2: From, Call-ID, CSeq, Via in their order, To and a tag. §8.2.6.1: a 100 has the Timestamp,
/// and does without a tag.
#[test]
fn a_response_copies_what_it_must() {
    for (code, reason, tag, timestamp) in [
        (200, "OK", ";tag=t1", ""),
        (403, "Forbidden", ";tag=t1", ""),
        (503, "Service Unavailable", ";tag=t1", ""),
        (100, "Trying", "", "Timestamp: 54.5\r\n"),
        (699, "", ";tag=t1", ""),
    ] {
        let expected =
            format!("SIP/2.0 {code} {reason}\r\n{COPIED}{tag}\r\n{ENDS}{timestamp}Content-Length: 0\r\n\r\n");
        for mode in BOTH {
            let reply = Reply::new(code, reason).to_tag(b"t1");
            assert_eq!(answer(REQUEST, mode, reply).as_deref(), Ok(expected.as_str()), "{mode:?}");
            assert_eq!(verdict(&expected, Mode::Strict), Ok(()));
        }
    }
}

/// §8.2.6.2: a request inside a dialog has a tag in To, and keeps it.
#[test]
fn a_tag_that_is_there_stays() {
    let request = with("To", "<sip:bob@example.com>;tag=t0;x=y");
    for reply in [FORBIDDEN, Reply::new(403, "Forbidden")] {
        let response = answer(&request, Mode::Strict, reply).unwrap();
        assert!(response.contains("\r\nTo: <sip:bob@example.com>;tag=t0;x=y\r\n"), "{response}");
    }
    // A tag of the URI is none of the header (§20.10).
    let response = answer(with("To", "<sip:bob@example.com;tag=t0>"), Mode::Strict, FORBIDDEN).unwrap();
    assert!(response.contains("\r\nTo: <sip:bob@example.com;tag=t0>;tag=t1\r\n"), "{response}");
    let response = answer(with("To", "sip:bob@example.com"), Mode::Strict, FORBIDDEN).unwrap();
    assert!(response.contains("\r\nTo: sip:bob@example.com;tag=t1\r\n"), "{response}");
}

/// §25.1 `tag-param = "tag" EQUAL token`: one without a value makes way, so that there are not two.
#[test]
fn a_tag_without_a_value_is_replaced() {
    for value in
        ["<sip:bob@example.com>;tag;x=y", "<sip:bob@example.com>;x=y;tag=", "<sip:bob@example.com>;TAG=\"\";x=y"]
    {
        let response = answer(with("To", value), Mode::Lenient, FORBIDDEN).unwrap();
        assert!(response.contains("\r\nTo: <sip:bob@example.com>;x=y;tag=t1\r\n"), "{response}");
    }
}

#[test]
fn without_a_tag_only_100_is_sent() {
    for mode in BOTH {
        let request = with("To", "<sip:bob@example.com>");
        assert_eq!(answer(&request, mode, Reply::new(180, "Ringing")), Err(ReplyError::NoTag));
        assert!(answer(&request, mode, Reply::new(100, "Trying")).is_ok());
    }
}

/// The topmost Via of the response to a request with this one that came from there.
#[track_caller]
fn top_via(value: &str, source: &str, expected: &str) {
    for mode in BOTH {
        let response = answer(with("Via", value), mode, FORBIDDEN.source(from(source))).unwrap();
        let line = response.lines().nth(1).unwrap();
        assert_eq!(line, format!("Via: {expected}"), "{mode:?}: {value:?}");
        assert_eq!(verdict(&response, Mode::Strict), Ok(()), "{response}");
    }
}

/// §18.2.1: only if the host is a name, or another address
#[test]
fn received_is_added_where_the_host_says_another_thing() {
    top_via("SIP/2.0/UDP h:5060", "192.0.2.4:9", "SIP/2.0/UDP h:5060;received=192.0.2.4");
    top_via("SIP/2.0/UDP 192.0.2.4:5060", "192.0.2.4:9", "SIP/2.0/UDP 192.0.2.4:5060");
    top_via("SIP/2.0/UDP 192.0.2.5;branch=z", "192.0.2.4:9", "SIP/2.0/UDP 192.0.2.5;branch=z;received=192.0.2.4");
    top_via("SIP/2.0/UDP [2001:DB8::0:1]", "[2001:db8::1]:9", "SIP/2.0/UDP [2001:DB8::0:1]");
    // `via-received = "received" EQUAL (IPv4address / IPv6address)`: no brackets (§25.1)
    top_via("SIP/2.0/UDP [2001:db8::2]", "[2001:db8::1]:9", "SIP/2.0/UDP [2001:db8::2];received=2001:db8::1");
    top_via("SIP/2.0/UDP h", "[2001:db8::1]:9", "SIP/2.0/UDP h;received=2001:db8::1");
}

/// An IPv4 address may come in the guise of an IPv6 one: from a socket that is open to both.
#[test]
fn a_mapped_address_is_the_one_that_is_meant() {
    top_via("SIP/2.0/UDP 192.0.2.4", "[::ffff:192.0.2.4]:9", "SIP/2.0/UDP 192.0.2.4");
    top_via("SIP/2.0/UDP h", "[::ffff:192.0.2.4]:9", "SIP/2.0/UDP h;received=192.0.2.4");
}

/// RFC 3581 §4: the port, and the address even if it is the same
#[test]
fn rport_is_filled_in_where_it_is_asked_for() {
    let expected = "SIP/2.0/UDP 192.0.2.4;branch=z;received=192.0.2.4;rport=9";
    top_via("SIP/2.0/UDP 192.0.2.4;rport;branch=z", "192.0.2.4:9", expected);
    top_via("SIP/2.0/UDP 192.0.2.4;branch=z; RPORT ", "192.0.2.4:9", expected);
    top_via("SIP/2.0/UDP h:5;rport", "[::1]:65535", "SIP/2.0/UDP h:5;received=::1;rport=65535");
}

/// A sender that fills in its own would have the response sent to somebody else.
#[test]
fn what_the_sender_filled_in_is_replaced() {
    let expected = "SIP/2.0/UDP h;branch=z;x=\"a;b\";received=192.0.2.4;rport=9";
    let forged = "SIP/2.0/UDP h;received=198.51.100.1;branch=z;rport=1;x=\"a;b\"";
    top_via(forged, "192.0.2.4:9", expected);
    top_via("SIP/2.0/UDP 192.0.2.4;received=198.51.100.1", "192.0.2.4:9", "SIP/2.0/UDP 192.0.2.4");
    top_via("SIP/2.0/UDP h;Received=::1", "192.0.2.4:9", "SIP/2.0/UDP h;received=192.0.2.4");
    let twice = with("Via", "SIP/2.0/UDP h;rport=1;received=::1;rport;received=::2");
    let response = answer(twice, Mode::Lenient, FORBIDDEN.source(from("192.0.2.4:9"))).unwrap();
    assert!(response.contains("\r\nVia: SIP/2.0/UDP h;received=192.0.2.4;rport=9\r\n"), "{response}");
}

/// Only the hop that sent it is known to be elsewhere; the others are copied as they are (§8.2.6.2).
#[test]
fn the_other_hops_are_copied() {
    top_via(
        "SIP/2.0/UDP h;rport, SIP/2.0/TCP i;rport;received=198.51.100.1,SIP/2.0/UDP j",
        "192.0.2.4:9",
        "SIP/2.0/UDP h;received=192.0.2.4;rport=9, SIP/2.0/TCP i;rport;received=198.51.100.1,SIP/2.0/UDP j",
    );
    let response = answer(REQUEST, Mode::Strict, FORBIDDEN.source(from("192.0.2.4:9"))).unwrap();
    let received = COPIED.replacen("branch=z9hG4bK2", "branch=z9hG4bK2;received=192.0.2.4", 1);
    assert!(response.contains(&received), "{response}");
}

/// A comment of RFC 2543 is no parameter.
#[test]
fn a_comment_in_via_goes() {
    let request = with("Via", "SIP/2.0/UDP h;branch=z (x);rport, SIP/2.0/UDP i").replace(";rport", "");
    let response = answer(request, Mode::Lenient, FORBIDDEN.source(from("192.0.2.4:9"))).unwrap();
    assert!(response.contains("\r\nVia: SIP/2.0/UDP h;branch=z;received=192.0.2.4, SIP/2.0/UDP i\r\n"), "{response}");
}

/// §7.3.1: a fold is white space. What is sent has one line a header, whatever its line ends were.
#[test]
fn folds_are_unfolded() {
    for (line_end, mode) in [("\r\n", Mode::Strict), ("\r\n", Mode::Lenient), ("\n", Mode::Lenient)] {
        let folded = "INVITE sip:b@c SIP/2.0\r\n\
            Via: SIP/2.0/UDP h\r\n ;branch\r\n =\r\n\tz\r\n ;rport,\r\n SIP/2.0/UDP i\r\n ;x\r\n\
            v: SIP/2.0/UDP\r\n j\r\n\
            f: \"A\"\r\n <sip:a@b>\r\n ;tag=1\r\n\
            To: \r\n <sip:b@c>\r\n ;x=y\r\n\
            Call-ID:\r\n 1\r\n\
            CSeq: 1\r\n INVITE\r\n\
            \r\n";
        for source in [None, Some(from("192.0.2.4:9"))] {
            let reply = source.map_or(FORBIDDEN, |source| FORBIDDEN.source(source));
            let response = answer(folded.replace("\r\n", line_end), mode, reply).unwrap();
            let lines: Vec<_> = response.split("\r\n").collect();
            assert!(lines.iter().all(|line| !line.contains(['\r', '\n']) && !line.starts_with(' ')), "{response}");
            assert_eq!(lines.len(), 10, "{response}");
            let words = |line: &str| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ").replace(" ;", ";");
            let expected = match source {
                None => "Via: SIP/2.0/UDP h;branch = z;rport, SIP/2.0/UDP i;x",
                Some(_) => "Via: SIP/2.0/UDP h;branch = z;received=192.0.2.4;rport=9, SIP/2.0/UDP i;x",
            };
            assert_eq!(words(lines[1]), expected);
            assert_eq!(words(lines[2]), "Via: SIP/2.0/UDP j");
            assert_eq!(words(lines[3]), "From: \"A\" <sip:a@b>;tag=1");
            assert_eq!(words(lines[4]), "To: <sip:b@c>;x=y;tag=t1");
            assert_eq!(words(lines[6]), "CSeq: 1 INVITE");
            assert_eq!(verdict(&response, Mode::Strict), Ok(()));
        }
    }
}

/// §17.1.1.3 (an ACK has no response), §8.2.6 (nor has a response)
#[test]
fn ack_and_responses_are_not_answered() {
    for line in ["ACK sip:b@c SIP/2.0", "SIP/2.0 200 OK", "SIP/2.0 403 Forbidden"] {
        for mode in BOTH {
            assert_eq!(answer(with_start_line(line), mode, FORBIDDEN), Err(ReplyError::NotAnswered), "{line}");
        }
    }
    // For servers it is one in any case; for the standard another method.
    let lower = with_start_line("ack sip:b@c SIP/2.0");
    assert_eq!(answer(&lower, Mode::Lenient, FORBIDDEN), Err(ReplyError::NotAnswered));
    assert!(answer(&lower, Mode::Strict, FORBIDDEN).is_ok());
}

#[test]
fn it_fits_or_it_is_refused() {
    let reply = FORBIDDEN.source(from("192.0.2.4:9")).headers(&[("Retry-After", "5")]);
    let whole = answer(REQUEST, Mode::Lenient, reply).unwrap().len();
    let mut index: Index = Index::new();
    let message = index.parse(REQUEST.as_bytes(), Mode::Lenient).unwrap();
    assert_eq!(reply.write(&message, &mut vec![0; whole]), Ok(whole));
    for length in 0..whole {
        assert_eq!(reply.write(&message, &mut vec![0; length]), Err(ReplyError::NoRoom), "{length}");
    }
}

#[test]
fn more_headers_may_be_given() {
    let headers = [("Retry-After", "120"), ("Server", "x/1 (y)"), ("X-Empty", "")];
    for mode in BOTH {
        let response = answer(REQUEST, mode, FORBIDDEN.headers(&headers)).unwrap();
        let expected = "\r\nRetry-After: 120\r\nServer: x/1 (y)\r\nX-Empty: \r\nContent-Length: 0\r\n\r\n";
        assert!(response.ends_with(expected), "{response}");
    }
}

/// §7.3.1: what is copied is there once.
#[test]
fn what_is_copied_may_not_be_given_again() {
    for name in ["Via", "v", "From", "TO", "Call-Id", "i", "CSeq", "Content-Length", "l"] {
        let given = [("X", "y"), (name, "1")];
        assert_eq!(answer(REQUEST, Mode::Strict, FORBIDDEN.headers(&given)), Err(ReplyError::Given), "{name}");
    }
}

/// What is given must not become a line of its own.
#[test]
fn what_is_given_cannot_begin_a_line() {
    for evil in ["OK\r\nX: y", "OK\nX: y", "OK\r", "O\0K", "O\x7fK"] {
        assert_eq!(answer(REQUEST, Mode::Strict, Reply::new(200, evil).to_tag(b"1")), Err(ReplyError::Given));
        let given = [("X", evil)];
        assert_eq!(answer(REQUEST, Mode::Strict, FORBIDDEN.headers(&given)), Err(ReplyError::Given));
    }
    for evil in ["", "X Y", "X:", "X\r\nY", "\u{e9}", "X\0"] {
        let given = [("Y", "z"), (evil, "y")];
        assert_eq!(answer(REQUEST, Mode::Strict, FORBIDDEN.headers(&given)), Err(ReplyError::Given), "{evil:?}");
    }
    for evil in [&b"1\r\nX: y"[..], b"1;x", b"1 ", b"\"1\"", b"\xe9", b"1\0"] {
        assert_eq!(answer(REQUEST, Mode::Strict, FORBIDDEN.to_tag(evil)), Err(ReplyError::Given));
    }
    for code in [0, 99, 700, 1000, u16::MAX] {
        assert_eq!(answer(REQUEST, Mode::Strict, Reply::new(code, "x").to_tag(b"1")), Err(ReplyError::Given), "{code}");
    }
}

/// Without what a response copies there is none.
#[test]
fn a_request_that_lacks_what_is_copied_is_not_answered() {
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
        let expected = Err(ReplyError::Request(Error::Missing(name)));
        assert_eq!(answer(without(name.as_str()), Mode::Lenient, FORBIDDEN), expected);
    }
    for name in [Name::Via, Name::To, Name::CSeq] {
        let expected = Err(ReplyError::Request(Error::Malformed(name)));
        assert_eq!(answer(with(name.as_str(), ";"), Mode::Lenient, FORBIDDEN), expected);
    }
}

#[test]
fn every_refusal_is_explained() {
    for (error, what) in [
        (ReplyError::NotAnswered, "a response or an ACK is not answered"),
        (ReplyError::NoTag, "To has no tag and none was given"),
        (ReplyError::NoRoom, "the buffer is too small for the response"),
        (ReplyError::Given, "status, tag or headers given cannot stand in a response"),
        (ReplyError::Request(Error::Missing(Name::CSeq)), "the request cannot be answered: no CSeq"),
    ] {
        assert_eq!(error.to_string(), what);
        assert_eq!(error.source().is_some(), matches!(error, ReplyError::Request(_)));
    }
}

/// §18.2.2: a response goes where its topmost Via says, and matches by what is copied.
#[test]
fn a_response_is_right_if_its_request_was() {
    let made = [REQUEST.into(), with_lines("X: y\r\n"), with_start_line("NEW tel:+1 SIP/2.0")];
    let made = made.into_iter().map(|request| ("made by hand".to_owned(), request.into_bytes()));
    let corpus = corpus::all().into_iter().map(|sample| (sample.name, sample.bytes));
    let (mut answered, mut is_corpus) = (0, false);
    for (name, request) in made.chain(corpus) {
        is_corpus |= name != "made by hand";
        let mut index: Index = Index::new();
        let Ok(message) = index.parse(&request, Mode::Strict) else { continue };
        let (Ok(core), StartLine::Request { method, .. }) = (message.validate(), message.start_line()) else {
            continue;
        };
        if method == Method::Ack {
            continue;
        }
        for source in ["192.0.2.4:5060", "[2001:db8::1]:9"] {
            let mut buffer = [0; 8000];
            let length = FORBIDDEN.source(from(source)).write(&message, &mut buffer).unwrap();
            let mut index: Index = Index::new();
            let response =
                index.parse(&buffer[..length], Mode::Strict).unwrap_or_else(|error| panic!("{name}: {error}"));
            let copied = response.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((copied.call_id, copied.cseq), (core.call_id, core.cseq), "{name}");
            assert_eq!(copied.via.branch, core.via.branch, "{name}");
            assert_eq!(copied.from.tag, core.from.tag, "{name}");
            assert_eq!(copied.to.tag, core.to.tag.or(Some(b"t1")), "{name}");
            assert_eq!(response.vias().count(), message.vias().count(), "{name}");
            assert_eq!(response.body(), b"", "{name}");
            answered += 1;
        }
    }
    assert_eq!(answered, if is_corpus { REQUESTS_OF_THE_CORPUS + 6 } else { 6 });
}

/// Those that strict mode accepts and that are not an ACK, from two sources.
const REQUESTS_OF_THE_CORPUS: usize = 2 * 60;
