//! What parsers get wrong: each test names one trap, and the section that says what is right.

mod common;

use common::{BOTH, indexed, read, text, verdict, with, with_body, with_lines, with_start_line, without};
use sip_parse::{Error, Index, MAX_DATAGRAM, Message, Mode, Name, SipUri, StartLine, Uri};

/// What a request answers in strict and in lenient mode.
#[track_caller]
fn asked<T: PartialEq + std::fmt::Debug>(
    request: impl AsRef<[u8]>,
    question: fn(Message<'_>) -> Result<T, Error>,
    strict: Result<T, Error>,
    lenient: Result<T, Error>,
) {
    for (mode, expected) in [(Mode::Strict, strict), (Mode::Lenient, lenient)] {
        let found = read(&request, mode, question).and_then(|answer| answer);
        assert_eq!(found, expected, "{mode:?}: {}", text(request.as_ref()));
    }
}

fn from_tag(message: Message<'_>) -> Result<Option<String>, Error> {
    Ok(message.from()?.tag.map(text))
}

fn to_tag(message: Message<'_>) -> Result<Option<String>, Error> {
    Ok(message.to()?.tag.map(text))
}

fn body(message: Message<'_>) -> Result<String, Error> {
    Ok(text(message.body()))
}

fn subject(message: Message<'_>) -> Result<Option<String>, Error> {
    Ok(message.header(Name::Subject).map(text))
}

fn some(text: &str) -> Result<Option<String>, Error> {
    Ok(Some(text.into()))
}

/// RFC 3261 §7.3.1: a line that begins with white space goes on with the one before, blank lines of
/// white space too.
#[test]
fn a_value_may_be_folded() {
    let folded = with_lines("Subject: I know you're there,\r\n         pick up the phone\r\n\tand talk to me!\r\n");
    let expected = "I know you\\'re there,\\r\\n         pick up the phone\\r\\n\\tand talk to me!";
    asked(folded, subject, some(expected), some(expected));
    asked(with_lines("Subject:\r\n \r\n\tlunch\r\n \r\n"), subject, some("lunch"), some("lunch"));
    asked(with("From", "\r\n <sip:a@b>\r\n ;tag=1"), from_tag, some("1"), some("1"));
    // What looks like a header behind white space is none.
    asked(with_lines("X: y\r\n To: <sip:x@y>;tag=evil\r\n"), to_tag, Ok(None), Ok(None));
}

/// RFC 3261 §7.3.1: the four ways to write `Subject: lunch`
#[test]
fn white_space_may_stand_before_the_colon() {
    for line in [
        "Subject:            lunch",
        "Subject      :      lunch",
        "Subject            :lunch",
        "Subject: lunch",
        "s\t:lunch",
    ] {
        asked(with_lines(&format!("{line}\r\n")), subject, some("lunch"), some("lunch"));
    }
}

/// RFC 3261 §20.1, §20.5, §20.36, §20.37, RFC 4475 §3.1.1.1: some values may be empty, those that say
/// who and where may not.
#[test]
fn a_value_may_be_empty() {
    for name in ["Subject", "Supported", "Accept", "Allow", "Organization", "X"] {
        for value in ["", "  ", "\r\n "] {
            assert_eq!(BOTH.map(|mode| verdict(with(name, value), mode)), [Ok(()); 2], "{name}");
        }
    }
    for name in [Name::Via, Name::From, Name::To, Name::CSeq, Name::ContentLength] {
        let malformed = Err(Error::Malformed(name));
        assert_eq!(BOTH.map(|mode| verdict(with(name.as_str(), ""), mode)), [malformed; 2], "{name}");
    }
    assert_eq!(verdict(with("Call-ID", ""), Mode::Strict), Err(Error::Malformed(Name::CallId)));
    assert_eq!(verdict(with("Call-ID", ""), Mode::Lenient), Ok(()));
}

/// RFC 3261 §7.3.1: a comma parts two values, or two parameters of one Authorization.
#[test]
fn a_comma_does_not_always_part_values() {
    let lines = "Route: <sip:a>, <sip:b>\r\nAuthorization: Digest username=\"a, b\", realm=\"c\"\r\ns: d, e\r\n";
    let counts = |message: Message<'_>| {
        let realm = message.authorizations().next().unwrap()?.realm().map(text);
        Ok((message.routes().count(), message.authorizations().count(), realm))
    };
    let expected = (2, 1, Some("c".to_owned()));
    asked(with_lines(lines), counts, Ok(expected.clone()), Ok(expected));
    asked(with_lines(lines), subject, some("d, e"), some("d, e"));
}

/// RFC 3261 §25.1 quoted-string: what is quoted parts nothing and ends nothing.
#[test]
fn quotes_hide_delimiters() {
    let display = "\"a,;<sip:x@y>;tag=no\\\"\\\\\" <sip:a@b>;x=\",;<>\\\"\";tag=1";
    asked(with("From", display), from_tag, some("1"), some("1"));
    let contacts = |message: Message<'_>| Ok(message.contacts().filter(Result::is_ok).count());
    asked(with("Contact", "\"a, b\" <sip:a@b>;x=\",\", <sip:c@d>"), contacts, Ok(2), Ok(2));
    let malformed = Err(Error::Malformed(Name::From));
    asked(with("From", "\"a <sip:a@b>;tag=1"), from_tag, malformed.clone(), malformed.clone());
    asked(with("From", "\"a\\\" <sip:a@b>;tag=1"), from_tag, malformed.clone(), malformed);
}

/// RFC 3261 §20.10: a parameter inside the brackets is the URI's, one behind them the header's.
#[test]
fn parameters_of_a_uri_are_not_those_of_the_header() {
    let both = |message: Message<'_>| {
        let to = message.to()?;
        let Uri::Sip(uri) = to.uri()? else { return Err(Error::Uri) };
        Ok((text(uri.params.as_bytes()), text(to.params.as_bytes())))
    };
    for (value, uri, header) in [
        ("<sip:a@b;tag=1>;tag=2", ";tag=1", ";tag=2"),
        ("<sip:a@b;lr>", ";lr", ""),
        ("sip:a@b;tag=2", "", ";tag=2"),
        ("<sip:a;x=y@b>;z", "", ";z"), // that one is the user's (§19.1.3)
    ] {
        let expected = Ok((uri.to_owned(), header.to_owned()));
        asked(with("To", value), both, expected.clone(), expected);
    }
}

/// RFC 3261 §18.3: bytes behind the body are discarded.
#[test]
fn a_content_length_may_be_smaller_than_what_follows() {
    asked(with_body("l: 4\r\n", "bodyINVITE sip:x SIP/2.0\r\n"), body, Ok("body".into()), Ok("body".into()));
    asked(with_body("l: 0\r\n", "body"), body, Ok(String::new()), Ok(String::new()));
}

/// RFC 3261 §18.3: a datagram that ends before its body is an error; servers take what there is.
#[test]
fn a_content_length_may_be_larger_than_what_follows() {
    asked(with_body("l: 5\r\n", "body"), body, Err(Error::BodyCut), Ok("body".into()));
    asked(with_body("l: 2147483609\r\n", "body"), body, Err(Error::BodyCut), Ok("body".into()));
}

/// RFC 3261 §18.3: without a length the body ends with the datagram.
#[test]
fn a_content_length_may_be_absent() {
    asked(with_body("", "body\r\n\r\n"), body, Ok("body\\r\\n\\r\\n".into()), Ok("body\\r\\n\\r\\n".into()));
}

/// RFC 3261 §20.14: 4294967328 is 2³² + 32, which 32 bits hold as 32.
#[test]
fn a_content_length_must_not_overflow() {
    let malformed = Err(Error::Malformed(Name::ContentLength));
    for value in ["4294967328", "18446744073709551648", "340282366920938463463374607431768211488"] {
        asked(with_body(&format!("l: {value}\r\n"), &"b".repeat(32)), body, malformed.clone(), malformed.clone());
    }
}

/// RFC 3261 §25.1: `1*DIGIT`
#[test]
fn a_content_length_has_no_sign() {
    let malformed = Err(Error::Malformed(Name::ContentLength));
    for value in ["-4", "+4", "4-", "0x4", "4.0", "4,4", "4;x", "4 4", "four"] {
        asked(with_body(&format!("l: {value}\r\n"), "body"), body, malformed.clone(), malformed.clone());
    }
}

/// RFC 3261 §7.3.1, RFC 4475 §3.3.9: with two lengths, two readers may find two bodies.
#[test]
fn a_content_length_must_not_be_repeated() {
    let repeated = || Err(Error::Repeated(Name::ContentLength));
    asked(with_body("l: 4\r\nContent-Length: 0\r\n", "body"), body, repeated(), Err(Error::ContentLengthConflict));
    asked(with_body("l: 4\r\nContent-Length: 4\r\n", "body"), body, repeated(), Ok("body".into()));
}

/// RFC 3261 §7: lines end in CRLF; to servers LF does.
#[test]
fn a_line_may_end_in_lf() {
    let datagram = with_body("l: 4\r\n", "bo\ny").replace("\r\n", "\n");
    asked(&datagram, body, Err(Error::LineEnd), Ok("bo\\ny".into()));
    asked(with_body("X: y\nl: 4\r\n", "body"), body, Err(Error::LineEnd), Ok("body".into()));
    asked(with_body("X: y\n z\r\n", "body"), body, Err(Error::LineEnd), Ok("body".into()));
    let mixed = with_body("l: 4\r\n", "\nody").replace("\r\n\r\n", "\r\n\n");
    asked(mixed, body, Err(Error::LineEnd), Ok("\\nody".into()));
}

/// RFC 3261 §7: to servers a CR ends `To` and `Via`, hides the rest of the start line, and ends the
/// headers where a line begins. Nobody sends one.
#[test]
fn a_cr_alone_is_never_a_line_end() {
    let line_end = || Err(Error::LineEnd);
    asked(with("To", "<sip:b@c>\rX: y"), body, line_end(), line_end());
    asked(with("Via", "SIP/2.0/UDP h\rX: y"), body, line_end(), line_end());
    asked(with("X", "y\rZ: z"), body, line_end(), line_end());
    asked(with("X", "y\r z"), body, line_end(), line_end());
    asked(with("X", "y\r"), body, line_end(), line_end());
    for request in [
        with_start_line("INVITE sip:b@c SIP/2.0\rX: y"),
        with_start_line("INVITE sip:b@c SIP/2.0\r"),
        with_lines("X: y\n\rZ: z\r\n"),
        with_lines("X: y\r\n\rZ: z\r\n"),
        with_lines("X: y\r\n\r\r\n"),
        with_lines("X\r: y\r\n"),
        with_lines("\rX: y\r\n"),
        with_lines("").replace("\r\n", "\r"),
    ] {
        for mode in BOTH {
            assert!(indexed(&request, mode).is_err(), "{mode:?}: {request:?}");
        }
    }
}

/// RFC 3261 §7 (UTF-8), §25.1: a display name in quotes, a Subject, a body may be in any script.
#[test]
fn text_is_not_always_ascii() {
    let request = with("From", "\"\u{41f}\u{44f}\u{442}\u{44c}\" <sip:a@b>;tag=1");
    asked(&request, from_tag, some("1"), some("1"));
    asked(with_lines("s: \u{e9}\r\n"), subject, some("\\xc3\\xa9"), some("\\xc3\\xa9"));
    asked(with_body("", "\u{e9}"), body, Ok("\\xc3\\xa9".into()), Ok("\\xc3\\xa9".into()));
    // Outside quotes a display name is tokens.
    asked(with("From", "\u{e9} <sip:a@b>;tag=1"), from_tag, Err(Error::Malformed(Name::From)), some("1"));
    let latin_1 = with("From", "\"#\" <sip:a@b>;tag=1").into_bytes();
    let latin_1: Vec<u8> = latin_1.into_iter().map(|byte| if byte == b'#' { 0xe9 } else { byte }).collect();
    asked(latin_1, from_tag, Err(Error::Malformed(Name::From)), some("1"));
}

/// RFC 3261 §25.1: no grammar has a NUL but that of a quoted-pair and that of a body. A reader in C
/// ends there.
#[test]
fn a_nul_ends_nothing() {
    asked(with_body("", "a\0b"), body, Ok("a\\x00b".into()), Ok("a\\x00b".into()));
    asked(with("From", "\"a\\\0b\" <sip:a@b>;tag=1"), from_tag, some("1"), some("1"));
    for (name, value) in [
        (Name::From, "<sip:a@b>;tag=1\x002"),
        (Name::From, "\"a\0b\" <sip:a@b>;tag=1"),
        (Name::To, "<sip:a\0@b>"),
        (Name::Via, "SIP/2.0/UDP h\0;branch=1"),
        (Name::Via, "SIP/2.0/UDP h;x=\"\0\";branch=1"),
        (Name::CSeq, "1\0 INVITE"),
        (Name::CSeq, "1 INVITE\0"),
        (Name::ContentLength, "0\0"),
    ] {
        let malformed = Err(Error::Malformed(name));
        assert_eq!(BOTH.map(|mode| verdict(with(name.as_str(), value), mode)), [malformed; 2], "{name}: {value:?}");
    }
    let names = [("X\0: y\r\n", Error::HeaderName), ("\0: y\r\n", Error::HeaderName)];
    for (line, error) in names {
        assert_eq!(BOTH.map(|mode| verdict(with_lines(line), mode)), [Err(error); 2], "{line:?}");
    }
    // In a value that nobody reads it is a byte like others.
    assert_eq!(verdict(with("X", "a\0b"), Mode::Strict), Err(Error::ControlCharacter));
    asked(with_lines("s: a\0b\r\n"), subject, some("a\\x00b"), some("a\\x00b"));
    assert_eq!(verdict(with("Subject", "a\0b"), Mode::Strict), Err(Error::Malformed(Name::Subject)));
}

/// RFC 4475 §3.1.1.3, §3.1.1.4, §3.1.1.5: an escape means something in a URI only, and not before
/// the URI has been taken apart.
#[test]
fn an_escape_is_unescaped_late_or_never() {
    let user = |message: Message<'_>| match message.request_uri()? {
        Uri::Sip(SipUri { user, host, .. }) => Ok((user.map(text), host.to_string())),
        _ => Err(Error::Uri),
    };
    let request = with_start_line("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0");
    let expected = Ok((Some("sips%3Auser%40example.com".to_owned()), "example.net".to_owned()));
    asked(request, user, expected.clone(), expected);
    let method = |message: Message<'_>| match message.start_line() {
        StartLine::Request { method, .. } => Ok(method.to_string()),
        StartLine::Response { .. } => Err(Error::NotARequest),
    };
    asked(with_start_line("RE%47IST%45R sip:h SIP/2.0"), method, Ok("RE%47IST%45R".into()), Ok("RE%47IST%45R".into()));
    for mode in BOTH {
        let nulls = ["sip:null-%00-null@h", "sip:%00@h", "sip:%00%00@h"]
            .map(|uri| Uri::parse(uri.as_bytes(), mode).unwrap().aor());
        assert!(nulls[0] != nulls[1] && nulls[1] != nulls[2]);
    }
    asked(with("From", "%Z%45 <sip:a@b>;tag=%31"), from_tag, some("%31"), some("%31"));
}

/// RFC 3261 §8.1.1
#[test]
fn a_mandatory_header_may_be_missing() {
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
        let request = without(name.as_str());
        assert_eq!(indexed(&request, Mode::Strict), Err(Error::Missing(name)));
        let core = read(&request, Mode::Lenient, |message| message.core().map(drop));
        assert_eq!(core, Ok(Err(Error::Missing(name))));
    }
    assert_eq!(BOTH.map(|mode| verdict(without("Max-Forwards"), mode)), [Ok(()); 2]); // RFC 2543, RFC 4475 §3.4.1
}

/// RFC 3261 §7.3.1, RFC 4475 §3.3.8: what is there once must not be there twice, in whatever form its
/// name is written; for servers the first counts.
#[test]
fn a_mandatory_header_may_be_doubled() {
    for (name, line) in [
        (Name::From, "f: <sip:x@y>;tag=x\r\n"),
        (Name::To, "T: <sip:x@y>;tag=x\r\n"),
        (Name::CallId, "i: x\r\n"),
        (Name::CSeq, "cseq: 9 INVITE\r\n"),
        (Name::MaxForwards, "Max-Forwards: 1\r\n"),
    ] {
        let request = with_lines(line);
        assert_eq!(indexed(&request, Mode::Strict), Err(Error::Repeated(name)));
        let core = |message: Message<'_>| {
            let core = message.core()?;
            let numbers = (core.cseq.number, message.max_forwards()?);
            Ok::<_, Error>((text(core.from.addr_spec), text(core.to.addr_spec), text(core.call_id), numbers))
        };
        assert_eq!(read(&request, Mode::Lenient, core), read(with_lines(""), Mode::Lenient, core), "{name}");
    }
}

/// RFC 3261 §7.3.1: two To headers, and what each reader makes of them
#[test]
fn of_two_to_headers_the_first_counts() {
    let request = with("To", "<sip:b@c>;tag=1\r\nt: <sip:x@y>;tag=2");
    asked(request, to_tag, Err(Error::Repeated(Name::To)), some("1"));
    let request = with("To", "<sip:b@c>\r\nt: <sip:x@y>;tag=2");
    asked(request, to_tag, Err(Error::Repeated(Name::To)), Ok(None));
}

/// RFC 3261 §19.3: the tag belongs to the header, has that name and no other, in any case.
#[test]
fn a_tag_is_no_part_of_anything_else() {
    for (value, expected) in [
        ("<sip:a@b>;tag=1", Some("1")),
        ("<sip:a@b>;TAG = 1", Some("1")),
        ("<sip:a@b;tag=1>", None),
        ("\";tag=1\" <sip:a@b>", None),
        ("<sip:a@b>;ftag=1", None),
        ("<sip:a@b>;tags=1", None),
        ("<sip:a@b>;x=\";tag=1\"", None),
        ("<sip:a;tag=1@b>", None),
        ("<sip:a@b?x=;tag=1>", None),
        ("sip:a@b;tag=1", Some("1")),
    ] {
        let expected = Ok(expected.map(str::to_owned));
        let strict = if value.contains("?x=;") { Err(Error::Malformed(Name::From)) } else { expected.clone() };
        asked(with("From", value), from_tag, strict, expected);
    }
    asked(with("From", "<sip:a@b>;tag=1;tag=2"), from_tag, some("2"), some("2"));
}

/// RFC 3966, RFC 5031: a Request-URI and an address need not be of the scheme sip.
#[test]
fn a_uri_may_have_another_scheme() {
    let scheme = |message: Message<'_>| {
        Ok([message.request_uri()?, message.to()?.uri()?].map(|uri| match uri {
            Uri::Tel(tel) => text(tel.number),
            Uri::Urn { nid, nss } => format!("{} {}", text(nid), text(nss)),
            other => panic!("{other:?}"),
        }))
    };
    for (uri, expected) in [
        ("tel:+1-201-555-0123", "+1-201-555-0123"),
        ("tel:7042;phone-context=example.com", "7042"),
        ("urn:service:sos", "service sos"),
        ("urn:service:sos.ambulance", "service sos.ambulance"),
    ] {
        let request = with("To", &format!("<{uri}>")).replace(common::START_LINE, &format!("INVITE {uri} SIP/2.0"));
        let expected = [expected.to_owned(), expected.to_owned()];
        asked(&request, scheme, Ok(expected.clone()), Ok(expected));
        assert_eq!(BOTH.map(|mode| verdict(&request, mode)), [Ok(()); 2]);
    }
}

/// RFC 3261 §20.42, §16.6 step 8: a response that went round a loop has a Via for each hop.
#[test]
fn a_message_may_have_71_vias() {
    let hops = |message: Message<'_>| {
        Ok(message.vias().map(|via| via.map(|via| text(via.branch.unwrap()))).collect::<Result<Vec<_>, _>>()?.join(" "))
    };
    let branches: Vec<_> = (0..71).map(|hop| format!("z9hG4bK{hop}")).collect();
    let vias: Vec<_> = branches.iter().map(|branch| format!("SIP/2.0/UDP h;branch={branch}")).collect();
    for separator in ["\r\nv: ", ",", " ,\r\n ", "\r\nX: y\r\nVIA:"] {
        let expected = || if separator.contains('X') { Err(Error::TooManyHeaders) } else { Ok(branches.join(" ")) };
        asked(with("Via", &vias.join(separator)), hops, expected(), expected());
    }
}

/// An index has room for so many headers, not for so many values: 4,000 lines are refused and not cut.
#[test]
fn a_message_may_have_4000_vias() {
    let count = |message: Message<'_>| message.vias().filter(Result::is_ok).count();
    // With CRLFs a datagram has no room for 4,000 lines.
    for (mode, line_end, lines) in [(Mode::Strict, "\r\nv:", 3800), (Mode::Lenient, "\nv:", 4000)] {
        let [list, lines] = [(",", 4000), (line_end, lines)]
            .map(|(separator, count)| with("Via", &vec!["SIP/2.0/UDP h"; count].join(separator)));
        assert!(lines.len() <= MAX_DATAGRAM);
        assert_eq!(read(&list, mode, count), Ok(4000));
        assert_eq!(read(&lines, mode, count), Err(Error::TooManyHeaders));
        let mut index: Index<4005> = Index::new();
        assert_eq!(index.parse(lines.as_bytes(), mode).map(count), Ok(lines.matches("UDP h").count()));
        let mut index: Index<3804> = Index::new();
        assert_eq!(index.parse(lines.as_bytes(), mode).map(count), Err(Error::TooManyHeaders));
    }
}

/// RFC 3261 §7.3.1: a fold may stand in the middle of a value that is compared byte by byte (§20.8).
#[test]
fn a_fold_is_part_of_a_call_id() {
    let call_id = |message: Message<'_>| message.call_id().map(text);
    asked(with("Call-ID", "\r\n a"), call_id, Ok("a".into()), Ok("a".into()));
    asked(with("Call-ID", "a\r\n b"), call_id, Err(Error::Malformed(Name::CallId)), Ok("a\\r\\n b".into()));
}
