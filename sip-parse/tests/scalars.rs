//! Headers that hold one value: numbers, identifiers, a type, an event.

mod common;

use common::{BOTH, read, text, with, without};
use sip_parse::{Error, Message, Method, Mode, Name};

/// A value, and what it is in strict and in lenient mode; `None` is malformed.
type Row = (&'static str, Option<&'static str>, Option<&'static str>);

#[track_caller]
fn check(name: Name, answer: fn(Message<'_>) -> Result<String, Error>, rows: &[Row]) {
    for &(value, strict, lenient) in rows {
        for (mode, expected) in [(Mode::Strict, strict), (Mode::Lenient, lenient)] {
            let found = read(with(name.as_str(), value), mode, answer).unwrap();
            let expected = expected.map(str::to_owned).ok_or(Error::Malformed(name));
            assert_eq!(found, expected, "{mode:?}: {name}: {value:?}");
        }
    }
}

/// `CSeq = "CSeq" HCOLON 1*DIGIT LWS Method` (§25.1), below 2³¹ (§8.1.1.5); servers take 32 bits.
#[test]
fn cseq_is_a_number_and_a_method() {
    let answer = |message: Message<'_>| message.cseq().map(|cseq| format!("{} {}", cseq.number, cseq.method));
    let rows: &[Row] = &[
        ("4711 INVITE", Some("4711 INVITE"), Some("4711 INVITE")),
        ("0009\r\n  INVITE", Some("9 INVITE"), Some("9 INVITE")),
        ("0 \t NewMethod", Some("0 NewMethod"), Some("0 NewMethod")),
        ("1 invite", Some("1 invite"), Some("1 INVITE")),
        ("2147483647 BYE", Some("2147483647 BYE"), Some("2147483647 BYE")),
        ("2147483648 BYE", None, Some("2147483648 BYE")),
        ("4294967295 BYE", None, Some("4294967295 BYE")),
        ("4294967296 BYE", None, None),
        ("18446744073709551617 BYE", None, None),
        ("", None, None),
        ("1", None, None),
        ("INVITE", None, None),
        ("1INVITE", None, None),
        ("-1 INVITE", None, None),
        ("+1 INVITE", None, None),
        ("x7 INVITE", None, None),
        ("1 INV;TE", None, None),
        ("1 INV\0TE", None, None),
        ("1 A B", None, None),
        ("1, INVITE", None, None),
    ];
    check(Name::CSeq, answer, rows);
}

/// §8.1.1.5: the method of `CSeq` is that of the request; servers do not compare them.
#[test]
fn cseq_names_the_method_of_the_request() {
    for (value, strict) in
        [("1 INVITE", Ok(())), ("1 BYE", Err(Error::MethodMismatch)), ("1 invite", Err(Error::MethodMismatch))]
    {
        for (mode, expected) in [(Mode::Strict, strict), (Mode::Lenient, Ok(()))] {
            read(with("CSeq", value), mode, |message| {
                assert_eq!(message.core().map(drop), expected, "{mode:?}: {value}");
                assert_eq!(message.validate().map(drop), expected, "{mode:?}: {value}");
            })
            .unwrap();
        }
    }
    let response = with("CSeq", "1 BYE").replace(common::START_LINE, "SIP/2.0 200 OK");
    assert_eq!(common::verdict(response, Mode::Strict), Ok(()));
}

/// `callid = word [ "@" word ]` (§25.1); to servers it is any bytes.
#[test]
fn call_id_is_compared_byte_by_byte() {
    let answer = |message: Message<'_>| message.call_id().map(text);
    let rows: &[Row] = &[
        ("f81d4fae-7dec@biloxi.com", Some("f81d4fae-7dec@biloxi.com"), Some("f81d4fae-7dec@biloxi.com")),
        ("()<>:\\/[]?{}%", Some("()<>:\\\\/[]?{}%"), Some("()<>:\\\\/[]?{}%")),
        ("a@b@c", None, Some("a@b@c")),
        ("a@", None, Some("a@")),
        ("@a", None, Some("@a")),
        ("a b", None, Some("a b")),
        ("a\r\n b", None, Some("a\\r\\n b")),
        ("a,;=|^", None, Some("a,;=|^")),
        ("a\0b", None, Some("a\\x00b")),
        ("a\0", None, None), // one server cuts it off, the other does not
        ("", None, Some("")),
    ];
    check(Name::CallId, answer, rows);
}

/// §20.22: 0 to 255
#[test]
fn max_forwards_is_a_number() {
    let answer = |message: Message<'_>| message.max_forwards().map(|hops| format!("{hops:?}"));
    let rows: &[Row] = &[
        ("70", Some("Some(70)"), Some("Some(70)")),
        ("000", Some("Some(0)"), Some("Some(0)")),
        ("255", Some("Some(255)"), Some("Some(255)")),
        ("256", None, Some("Some(256)")),
        ("4294967366", None, None),
        ("", None, None),
        ("-1", None, None),
        ("7 0", None, None),
        ("70;x", None, None),
    ];
    check(Name::MaxForwards, answer, rows);
    for mode in BOTH {
        assert_eq!(read(without("Max-Forwards"), mode, |message| message.max_forwards()), Ok(Ok(None)));
    }
}

/// §20.19, §20.33: seconds below 2³²; a comment and parameters may follow `Retry-After`.
#[test]
fn times_are_seconds() {
    let expires = |message: Message<'_>| message.expires().map(|seconds| format!("{seconds:?}"));
    let rows: &[Row] = &[
        ("3600", Some("Some(3600)"), Some("Some(3600)")),
        ("4294967295", Some("Some(4294967295)"), Some("Some(4294967295)")),
        ("4294967296", None, None),
        ("Thu, 01 Dec 1994 16:00:00 GMT", None, None),
        ("1.5", None, None),
        ("", None, None),
    ];
    check(Name::Expires, expires, rows);
    let retry_after = |message: Message<'_>| message.retry_after().map(|seconds| format!("{seconds:?}"));
    let rows: &[Row] = &[
        ("18000;duration=3600", Some("Some(18000)"), Some("Some(18000)")),
        ("120 (I'm in a meeting)", Some("Some(120)"), Some("Some(120)")),
        ("x", None, None),
        ("", None, None),
        ("4294967296", None, None),
    ];
    check(Name::RetryAfter, retry_after, rows);
    for mode in BOTH {
        let none = read(without("Expires"), mode, |message| (message.expires(), message.retry_after()));
        assert_eq!(none, Ok((Ok(None), Ok(None))));
    }
}

/// `media-type = m-type SLASH m-subtype *(SEMI m-parameter)` (§25.1)
#[test]
fn content_type_has_two_parts_and_parameters() {
    let answer = |message: Message<'_>| {
        let media = message.content_type()?.unwrap();
        let charset = media.params.get(b"CHARSET").flatten().map(text);
        Ok(format!("{} {} {charset:?}", text(media.kind), text(media.subtype)))
    };
    let rows: &[Row] = &[
        ("application/sdp", Some("application sdp None"), Some("application sdp None")),
        ("text / html ; charset=\"a;b\"", Some("text html Some(\"a;b\")"), Some("text html Some(\"a;b\")")),
        ("text", None, None),
        ("text/", None, None),
        ("/html", None, None),
        ("text/html x", None, None),
        ("", None, None),
    ];
    check(Name::ContentType, answer, rows);
}

/// RFC 6665 §8.2.1, §8.4
#[test]
fn event_is_a_package_and_parameters() {
    let answer = |message: Message<'_>| {
        let event = message.event()?.unwrap();
        Ok(format!("{} {:?}", text(event.package), event.params.get(b"id").flatten().map(text)))
    };
    let rows: &[Row] = &[
        ("presence.winfo", Some("presence.winfo None"), Some("presence.winfo None")),
        ("refer ; id = 93809824", Some("refer Some(\"93809824\")"), Some("refer Some(\"93809824\")")),
        ("presence,dialog", None, None),
        ("", None, None),
    ];
    check(Name::Event, answer, rows);
}

#[test]
fn what_is_not_there_is_none() {
    for mode in BOTH {
        read(with("X", "y"), mode, |message| {
            assert!(message.event().unwrap().is_none() && message.content_type().unwrap().is_none());
            assert_eq!(message.user_agent(), None);
        })
        .unwrap();
        let agent = read(with("User-Agent", "a/1\r\n (b)"), mode, |message| message.user_agent().map(text));
        assert_eq!(agent, Ok(Some("a/1\\r\\n (b)".into())));
    }
}

/// §8.1.1: all but `Max-Forwards`, which RFC 2543 did not know
#[test]
fn what_every_message_has_is_decoded_together() {
    for mode in BOTH {
        read(with("CSeq", "7 INVITE"), mode, |message| {
            let core = message.validate().unwrap();
            assert!(core.request_uri.unwrap().is_equivalent(message.request_uri().unwrap()));
            assert_eq!(core.via.branch, Some(&b"z9hG4bK1"[..]));
            assert_eq!((core.from.tag, core.to.tag), (Some(&b"1"[..]), None));
            assert_eq!(
                (core.from.addr_spec, core.to.addr_spec),
                (&b"sip:alice@example.org"[..], &b"sip:bob@example.com"[..])
            );
            assert_eq!(core.call_id, b"1@client.example.org");
            assert_eq!((core.cseq.number, core.cseq.method), (7, Method::Invite));
        })
        .unwrap();
        let response = with("CSeq", "7 INVITE").replace(common::START_LINE, "SIP/2.0 200 OK");
        read(response, mode, |message| {
            assert!(message.validate().unwrap().request_uri.is_none());
            assert_eq!(message.request_uri().err(), Some(Error::NotARequest));
        })
        .unwrap();
    }
}
