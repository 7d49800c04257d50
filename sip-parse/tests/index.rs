//! Where the headers of a datagram are, what they are called, and where its body ends.

mod common;

use common::{BOTH, START_LINE, indexed, read, text, verdict, with_body, with_lines};
use sip_parse::{Error, Index, MAX_DATAGRAM, MAX_HEADERS, Mode, Name, StartLine};

/// Each header of a request with these lines, behind those that every request has.
fn headers(lines: &str, mode: Mode) -> Result<Vec<String>, Error> {
    read(with_lines(lines), mode, |message| {
        let lines = message.headers().skip(6);
        lines.map(|header| format!("{} {}={}", header.name, text(header.written), text(header.value))).collect()
    })
}

#[track_caller]
fn check(lines: &str, expected: &[&str]) {
    for mode in BOTH {
        assert_eq!(
            headers(lines, mode).as_deref(),
            Ok(&expected.iter().map(|&line| line.into()).collect::<Vec<_>>()[..])
        );
    }
}

#[track_caller]
fn refused(lines: &str, expected: Error) {
    for mode in BOTH {
        assert_eq!(headers(lines, mode), Err(expected), "{mode:?}: {lines:?}");
    }
}

/// What has no other name of its own.
const LONG_NAMES: [&str; 40] = [
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Alert-Info",
    "Allow",
    "Authentication-Info",
    "Authorization",
    "Call-Info",
    "Contact",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "Date",
    "Error-Info",
    "Event",
    "Expires",
    "In-Reply-To",
    "MIME-Version",
    "Min-Expires",
    "Organization",
    "Priority",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Require",
    "Record-Route",
    "Refer-To",
    "Reply-To",
    "Require",
    "Retry-After",
    "Route",
    "Server",
    "Subject",
    "Supported",
    "Timestamp",
    "Unsupported",
    "User-Agent",
    "Via",
    "WWW-Authenticate",
    "Warning",
];

/// The registry's, as far as §20, RFC 3515 and RFC 6665 filled it.
const COMPACT_NAMES: [(&str, &str); 9] = [
    ("c", "Content-Type"),
    ("e", "Content-Encoding"),
    ("k", "Supported"),
    ("m", "Contact"),
    ("o", "Event"),
    ("r", "Refer-To"),
    ("s", "Subject"),
    ("v", "Via"),
    ("x", "Other"),
];

/// §7.3.1: names compare without case.
#[test]
fn names_are_known_in_any_case() {
    for name in LONG_NAMES {
        for written in [name.to_owned(), name.to_ascii_lowercase(), name.to_ascii_uppercase()] {
            check(&format!("{written}: 1\r\n"), &[&format!("{name} {written}=1")]);
            assert_eq!(Name::of(written.as_bytes()).as_str(), name);
        }
    }
    for name in ["From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length"] {
        assert_eq!(Name::of(name.to_ascii_uppercase().as_bytes()).as_str(), name);
    }
}

/// §7.3.3: a name is the same in its compact form.
#[test]
fn compact_names_are_those_of_the_registry() {
    for (letter, name) in COMPACT_NAMES {
        let upper = letter.to_ascii_uppercase();
        check(&format!("{letter}: 1\r\n"), &[&format!("{name} {letter}=1")]);
        check(&format!("{upper} : 1\r\n"), &[&format!("{name} {upper}=1")]);
    }
    let of_mandatory = [("f", Name::From), ("i", Name::CallId), ("l", Name::ContentLength), ("t", Name::To)];
    for (letter, name) in of_mandatory {
        assert_eq!(Name::of(letter.as_bytes()), name);
    }
    let compact: Vec<_> = COMPACT_NAMES[..8].iter().map(|(letter, _)| *letter).chain(["f", "i", "l", "t"]).collect();
    for letter in 'a'..='z' {
        let is_known = Name::of(&[letter as u8]) != Name::Other;
        assert_eq!(is_known, compact.contains(&letter.to_string().as_str()), "{letter}");
    }
}

/// `extension-header = header-name HCOLON header-value` (§25.1)
#[test]
fn a_name_that_only_resembles_another_is_other() {
    let names = [
        "Vib",
        "Viaa",
        "Vi",
        "Froma",
        "Call.ID",
        "Call-IE",
        "CallID",
        "Max-Forwardz",
        "Proxy-Au__nticate",
        "Proxy-Auxxenticate",
        "Proxy-AuthorizatioM",
        "Proxy-Authorizationn",
        "X",
        "!%*_+`~-.",
    ];
    for name in names {
        check(&format!("{name}: 1\r\n"), &[&format!("Other {name}=1")]);
    }
}

/// `header-name = token` (§25.1)
#[test]
fn a_line_is_a_name_a_colon_and_a_value() {
    let lines = ["no colon", ": no name", "two words: 1", "a\0b: 1", "\u{e9}: 1", "X(A): 1", "X\u{7f}: 1", "<X>: 1"];
    for line in lines {
        refused(&format!("{line}\r\nY: z\r\n"), Error::HeaderName);
    }
    refused("X\r\n : 1\r\n", Error::HeaderName);
    for mode in BOTH {
        // The first line goes on with nothing.
        for fold in [" Y: z", "\tY: z", " "] {
            let datagram = format!("{START_LINE}\r\n{fold}\r\n\r\n");
            assert_eq!(verdict(&datagram, mode), Err(Error::HeaderName), "{mode:?}: {fold:?}");
        }
    }
}

#[test]
fn a_value_may_be_empty_or_begin_with_a_colon() {
    check("Supported:\r\nSubject:  \r\nX::z\r\n", &["Supported Supported=", "Subject Subject=", "Other X=:z"]);
}

/// The order of lines is kept, and lines of one name are found among others (§7.3.1).
#[test]
fn headers_are_found_by_name() {
    for mode in BOTH {
        read(with_lines("k: a\r\nX: 1\r\nSUPPORTED: b\r\nX: 2\r\nk:\r\n"), mode, |message| {
            assert_eq!(message.headers().len(), 11);
            assert_eq!(message.header(Name::Supported), Some(&b"a"[..]));
            assert_eq!(message.lines(Name::Supported).collect::<Vec<_>>(), [&b"a"[..], b"b", b""]);
            assert_eq!(message.lines(Name::Other).collect::<Vec<_>>(), [b"1", b"2"]);
            assert_eq!(message.header(Name::Contact), None);
            assert_eq!(message.lines(Name::Contact).count(), 0);
            assert_eq!(message.mode(), mode);
        })
        .unwrap();
    }
}

/// §7.5: line ends before the start line are ignored; for servers these may be any CR and LF.
#[test]
fn line_ends_may_stand_before_the_start_line() {
    for (before, strict) in
        [("\r\n", Ok(())), ("\r\n\r\n\r\n", Ok(())), ("\n", Err(Error::LineEnd)), ("\r\r\n", Err(Error::LineEnd))]
    {
        let datagram = format!("{before}{}", with_body("l: 4\r\n", "body"));
        assert_eq!(verdict(&datagram, Mode::Strict), strict, "{before:?}");
        assert_eq!(verdict(&datagram, Mode::Lenient), Ok(()), "{before:?}");
        let parts = |message: sip_parse::Message<'_>| {
            assert!(matches!(message.start_line(), StartLine::Request { uri: b"sip:bob@example.com", .. }));
            assert_eq!((message.body(), message.datagram()), (&b"body"[..], datagram.as_bytes()));
            assert_eq!(message.call_id(), Ok(&b"1@client.example.org"[..]));
        };
        read(&datagram, Mode::Lenient, parts).unwrap();
    }
}

/// RFC 5626 §3.5.1
#[test]
fn a_keep_alive_is_empty() {
    for mode in BOTH {
        for keep_alive in ["", "\r\n", "\r\n\r\n"] {
            assert_eq!(verdict(keep_alive, mode), Err(Error::Empty));
        }
    }
}

/// `*( message-header ) CRLF` (§25.1 Request); servers do without the empty line, never without the
/// end of a header.
#[test]
fn headers_end_with_an_empty_line() {
    let whole = "INVITE sip:a@b SIP/2.0\r\nTo: sip:b@c\r\nX: y\r\n\r\n";
    for end in 0..whole.len() {
        let cut = &whole[..end];
        let expected = match end {
            0 => Some(Error::Empty),
            1..24 => Some(Error::StartLine),
            24 | 37 | 43 => None,
            44 => Some(Error::HeaderName), // a CR, which begins no name
            _ if !cut[24..].contains(':') => Some(Error::HeaderName),
            38 => Some(Error::HeaderName),
            _ => Some(Error::NoEmptyLine),
        };
        assert_eq!(indexed(cut, Mode::Lenient).err(), expected, "{cut:?}");
        let strict = indexed(cut, Mode::Strict).err();
        assert_eq!(strict, expected.or(Some(Error::NoEmptyLine)), "{cut:?}");
    }
    assert_eq!(read(whole, Mode::Lenient, |message| message.body().len()), Ok(0));
}

/// A line of blanks goes on with the header before it (§7.3.1): it is not the empty line.
#[test]
fn a_line_of_blanks_does_not_end_the_headers() {
    check("X: y\r\n \r\nZ: z\r\n", &["Other X=y", "Other Z=z"]);
    check("X: y\r\n \r\n\t\r\n z\r\n", &["Other X=y\\r\\n \\r\\n\\t\\r\\n z"]);
}

mod limits {
    use super::*;

    #[test]
    fn a_full_table_is_an_error() {
        let with = |count| format!("BYE sip:a@b SIP/2.0\r\n{}\r\n", "X: y\r\n".repeat(count));
        let mut index = Index::<3>::default();
        assert_eq!(index.parse(with(3).as_bytes(), Mode::Lenient).unwrap().headers().len(), 3);
        assert_eq!(index.parse(with(4).as_bytes(), Mode::Lenient).err(), Some(Error::TooManyHeaders));
        assert_eq!(index.parse(with(2).as_bytes(), Mode::Lenient).unwrap().headers().len(), 2);
        assert_eq!(read(with(MAX_HEADERS), Mode::Lenient, |message| message.headers().len()), Ok(MAX_HEADERS));
        assert_eq!(indexed(with(MAX_HEADERS + 1), Mode::Lenient), Err(Error::TooManyHeaders));
    }

    #[test]
    fn nothing_of_the_packet_before_is_left() {
        let mut index: Index = Index::new();
        let before = index.parse(b"BYE sip:a@b SIP/2.0\r\nTo: sip:b@c\r\nl: 0\r\n\r\n", Mode::Lenient).unwrap();
        assert!(before.to().is_ok());
        let after = index.parse(b"BYE sip:a@b SIP/2.0\r\ni: 1\r\n\r\nbody", Mode::Lenient).unwrap();
        assert_eq!(after.to().err(), Some(Error::Missing(Name::To)));
        assert_eq!(after.body(), b"body");
        assert_eq!(index.parse(b"BYE sip:a@b SIP/2.0\r\n\r\n", Mode::Strict).err(), Some(Error::Missing(Name::Via)));
    }

    /// §18.1.1: a datagram has 65,535 bytes at most.
    #[test]
    fn the_longest_datagram_is_read_to_its_end() {
        let mut datagram = b"BYE sip:a@b SIP/2.0\r\nX: ".to_vec();
        datagram.resize(MAX_DATAGRAM - 8, b'x');
        datagram.extend(b"\r\ni:z\n\r\n");
        assert_eq!(datagram.len(), MAX_DATAGRAM);
        let call_id = read(&datagram, Mode::Lenient, |message| message.call_id().map(<[u8]>::to_vec));
        assert_eq!(call_id, Ok(Ok(b"z".to_vec())));
        datagram.push(b'!');
        assert_eq!(verdict(&datagram, Mode::Lenient), Err(Error::TooLong));
        assert_eq!(verdict(&datagram, Mode::Strict), Err(Error::TooLong));
    }

    /// The scanner looks at 64 bytes at a time: wherever a line end falls, it is found.
    #[test]
    fn a_line_may_end_anywhere() {
        for length in 0..200 {
            let subject = "x".repeat(length);
            let datagram = with_body(&format!("s: {subject}\r\nl: 4\r\n"), "body");
            for mode in BOTH {
                let found = read(&datagram, mode, |message| {
                    (message.header(Name::Subject).unwrap().len(), message.body().to_vec())
                });
                assert_eq!(found, Ok((length, b"body".to_vec())));
            }
            for (line_end, strict, lenient) in
                [("\n", Err(Error::LineEnd), Ok(())), ("\r\r\n", Err(Error::LineEnd), Err(Error::LineEnd))]
            {
                let datagram = with_lines(&format!("s: {subject}{line_end}X: y\r\n"));
                assert_eq!(verdict(&datagram, Mode::Strict), strict, "{length}");
                assert_eq!(verdict(&datagram, Mode::Lenient), lenient, "{length}");
            }
        }
    }
}

mod bodies {
    use super::*;

    /// The body of a message with these lines and `rest` behind its empty line.
    #[track_caller]
    fn body(lines: &str, rest: &str, strict: Result<&str, Error>, lenient: Result<&str, Error>) {
        for (mode, expected) in [(Mode::Strict, strict), (Mode::Lenient, lenient)] {
            let found = read(with_body(lines, rest), mode, |message| text(message.body()));
            assert_eq!(found.as_deref(), expected.as_ref().map(|text| *text), "{mode:?}: {lines:?}");
        }
    }

    /// §18.3
    #[test]
    fn a_body_is_as_long_as_its_length_says() {
        for (lines, expected) in [
            ("", "v=0\\r\\n\\r\\n"),
            ("Content-Length: 7\r\n", "v=0\\r\\n\\r\\n"),
            ("Content-Length: 5\r\n", "v=0\\r\\n"),
            ("l:0\r\n", ""),
            ("l: 00005 \t\r\n", "v=0\\r\\n"),
            ("l :\r\n 5\r\n", "v=0\\r\\n"),
        ] {
            body(lines, "v=0\r\n\r\n", Ok(expected), Ok(expected));
        }
        body("", "", Ok(""), Ok(""));
    }

    /// What a body is made of is nobody's business here (§7.4).
    #[test]
    fn a_body_holds_any_bytes() {
        body("", "a\rb\nc\0", Ok("a\\rb\\nc\\x00"), Ok("a\\rb\\nc\\x00"));
        body("l: 6\r\n", "\r\r\n\n\r\0", Ok("\\r\\r\\n\\n\\r\\x00"), Ok("\\r\\r\\n\\n\\r\\x00"));
    }

    /// §18.3: it ends before the end of its body; servers take what there is.
    #[test]
    fn a_body_may_be_cut() {
        body("l: 5\r\n", "body", Err(Error::BodyCut), Ok("body"));
        body("l: 2147483609\r\n", "body", Err(Error::BodyCut), Ok("body"));
        body("l: 2147483639\r\n", "body", Err(Error::BodyCut), Ok("body"));
    }

    /// §20.14, and the largest number that servers read
    #[test]
    fn its_length_is_a_number() {
        let malformed = Err(Error::Malformed(Name::ContentLength));
        for value in
            ["", "-1", "+4", "4 4", "4;x", "4,4", "0x4", "x", "4294967296", "4294967300", "99999999999999999999"]
        {
            body(&format!("Content-Length: {value}\r\n"), "body", malformed, malformed);
        }
        for value in ["2147483640", "4294967295"] {
            body(&format!("Content-Length: {value}\r\n"), "body", Err(Error::BodyCut), malformed);
        }
    }

    /// §7.3.1: it is there once. To servers the second means nothing, so it must not say another thing.
    #[test]
    fn two_lengths_must_agree() {
        let repeated = Err(Error::Repeated(Name::ContentLength));
        body("l: 4\r\nContent-Length: 04\r\n", "body", repeated, Ok("body"));
        body("l: 4\r\nContent-Length: 3\r\n", "body", repeated, Err(Error::ContentLengthConflict));
        body("l: 3\r\nContent-Length: 4\r\n", "body", repeated, Err(Error::ContentLengthConflict));
        body("l: 4\r\nl: x\r\n", "body", repeated, Err(Error::Malformed(Name::ContentLength)));
    }
}
