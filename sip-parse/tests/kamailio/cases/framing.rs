//! Where a message begins, where its lines and its headers end, how long its body is.

use sip_parse::{Error, Name};

use super::Outcome::{Apart, Both, Neither, Stricter, Wider};
use super::{Case, Changes, PLAIN, Row, table, with, with_more};

const START: &str = "INVITE sip:u@h.com SIP/2.0\r\n";

pub(super) fn cases() -> impl Iterator<Item = Case> {
    [
        table("everywhere", EVERYWHERE, |line_end| PLAIN.replace("\r\n", line_end)),
        table("long and compact", WHOLE, str::to_owned),
        table("before the start line", BEFORE, |before| format!("{before}{PLAIN}")),
        table("request line", REQUEST_LINES, |line| with(START, line)),
        responses(table("status line", STATUS_LINES, |line| with(START, line))),
        table("header line", HEADER_LINES, with_more),
        table("first header", FIRST_HEADERS, |line| with(START, &format!("{START}{line}"))),
        table("end of the headers", ENDS, |end| with("Max-Forwards: 70\r\n\r\n", &format!("Max-Forwards: 70{end}"))),
        table("Content-Length", LENGTHS, |lines| format!("{}BODY1234", with_more(lines))),
        table("again", AGAIN, with_more),
        table("again, in front", AGAIN_IN_FRONT, |line| with(START, &format!("{START}{line}"))),
        responses(table("again, in a response", AGAIN_IN_A_RESPONSE, |line| {
            with(START, &format!("SIP/2.0 200 OK\r\n{line}"))
        })),
    ]
    .into_iter()
    .flatten()
}

/// None has a Request-URI.
fn responses(cases: Vec<Case>) -> Vec<Case> {
    let given = || ["request-uri", "request-uri.user", "request-uri.host"].map(|name| (name, String::new())).into();
    cases.into_iter().map(|case| Case { given: given(), ..case }).collect()
}

const OK: Changes = &[("status", "200"), ("reason", "OK")];

const EVERYWHERE: &[Row] = &[("LF alone", "7", "\n", Both(&[])), ("CR alone", "7", "\r", Neither(Error::StartLine))];

const WHOLE: &[Row] = &[
    (
        "compact names",
        "7.3.3",
        "INVITE sip:u@h.com SIP/2.0\r\nV:SIP/2.0/UDP v.com:5070;branch=z9hG4bK1\r\nF:\"A\"<sip:a@b.com>;tag=f\r\n\
         T:\"A\"<sip:a@b.com>;tag=f\r\nI:i\r\nCSeq:7 INVITE\r\nM:<sip:x@y.com>\r\nL:4\r\n\r\nBODY",
        Both(&[("contact", "sip:x@y.com"), ("body", "BODY")]),
    ),
    (
        "nothing but a request line",
        "7",
        "INVITE sip:u@h.com;a-long-parameter SIP/2.0\r\n\r\n",
        Neither(Error::Missing(Name::CSeq)),
    ),
    ("nothing but line ends", "7.5", "\r\n\r\n", Neither(Error::Empty)),
];

#[rustfmt::skip]
const BEFORE: &[Row] = &[
    ("line ends", "7.5", "\r\n\r\n", Both(&[])),
    ("line ends without CR", "7.5", "\n\n", Both(&[])),
    ("a space", "25.1 Request", " ", Stricter(Error::Method, &[])),
    ("a tab", "25.1 Request", "\t", Stricter(Error::Method, &[])),
    ("a NUL", "25.1 Request", "\0", Stricter(Error::Method, &[])),
    ("line ends and a space", "25.1 Request", "\r\n ", Stricter(Error::Method, &[])),
    ("a byte order mark", "25.1 Request", "\u{ef}\u{bb}\u{bf}", Stricter(Error::Method, &[("method", "\\xef\\xbb\\xbfINVITE")])),
];

#[rustfmt::skip]
const REQUEST_LINES: &[Row] = &[
    ("two spaces after the method", "7.1", "INVITE  sip:u@h.com SIP/2.0\r\n", Neither(Error::RequestUri)),
    ("two spaces after the URI", "7.1", "INVITE sip:u@h.com  SIP/2.0\r\n", Both(&[])),
    ("a tab after the method", "7.1", "INVITE\tsip:u@h.com SIP/2.0\r\n", Neither(Error::Method)),
    ("a tab after the URI", "7.1", "INVITE sip:u@h.com\tSIP/2.0\r\n", Both(&[])),
    ("white space after the version", "7.1", "INVITE sip:u@h.com SIP/2.0 \t\r\n", Both(&[])),
    ("a word after the version", "7.1", "INVITE sip:u@h.com SIP/2.0 x\r\n", Neither(Error::Version)),
    ("a method in lower case", "7.1", "invite sip:u@h.com SIP/2.0\r\n", Both(&[])),
    ("a method that is no token", "7.1", "IN@VITE sip:u@h.com SIP/2.0\r\n", Stricter(Error::Method, &[("method", "IN@VITE")])),
    ("a NUL in the method", "7.1", "IN\0VITE sip:u@h.com SIP/2.0\r\n", Stricter(Error::Method, &[("method", "IN\\x00VITE")])),
    ("a version in lower case", "7.1", "INVITE sip:u@h.com sip/2.0\r\n", Both(&[])),
    ("another version", "7.1", "INVITE sip:u@h.com SIP/7.0\r\n", Neither(Error::Version)),
    ("a version with a zero before it", "7.1", "INVITE sip:u@h.com SIP/02.0\r\n", Neither(Error::Version)),
    ("a version with a zero behind it", "7.1", "INVITE sip:u@h.com SIP/2.00\r\n", Stricter(Error::Version, &[])),
    ("a version and letters", "7.1", "INVITE sip:u@h.com SIP/2.0x\r\n", Stricter(Error::Version, &[])),
    ("HTTP", "7.1", "INVITE sip:u@h.com HTTP/1.1\r\n", Neither(Error::StartLine)),
    ("no version", "7.1", "INVITE sip:u@h.com\r\n", Neither(Error::StartLine)),
    ("LF alone", "7", "INVITE sip:u@h.com SIP/2.0\n", Both(&[])),
    ("CR alone hides what follows it", "7", "INVITE sip:u@h.com SIP/2.0\rX-A: z\r\n", Stricter(Error::Version, &[])),
    ("two CRs", "7", "INVITE sip:u@h.com SIP/2.0\r\r\n", Stricter(Error::Version, &[])),
    ("CR behind the LF", "7", "INVITE sip:u@h.com SIP/2.0\r\n\r", Stricter(Error::HeaderName, &[])),
    ("an empty line behind it", "7", "INVITE sip:u@h.com SIP/2.0\r\n\r\n", Neither(Error::Missing(Name::CSeq))),
    ("folded", "7.1", "INVITE sip:u@h.com\r\n SIP/2.0\r\n", Neither(Error::StartLine)),
    ("a URI in brackets", "19.1.1", "INVITE <sip:u@h.com> SIP/2.0\r\n", Neither(Error::RequestUri)),
    ("a space in the URI", "7.1", "INVITE sip:u@h.com; lr SIP/2.0\r\n", Neither(Error::StartLine)),
    ("no URI", "7.1", "INVITE  SIP/2.0\r\n", Neither(Error::RequestUri)),
    ("an asterisk for a URI", "7.1", "INVITE * SIP/2.0\r\n", Neither(Error::RequestUri)),
];

#[rustfmt::skip]
const STATUS_LINES: &[Row] = &[
    ("plain", "7.2", "SIP/2.0 200 OK\r\n", Both(OK)),
    ("a version in lower case", "7.1", "sip/2.0 200 OK\r\n", Both(OK)),
    ("another version", "7.1", "SIP/7.0 200 OK\r\n", Neither(Error::Version)),
    ("two digits", "7.2", "SIP/2.0 20 OK\r\n", Neither(Error::StatusLine)),
    ("ten digits", "7.2", "SIP/2.0 4294967496 OK\r\n", Neither(Error::StatusLine)),
    ("letters", "7.2", "SIP/2.0 2x0 OK\r\n", Neither(Error::StatusLine)),
    ("below 100", "7.2", "SIP/2.0 099 OK\r\n", Both(&[("status", "099"), ("reason", "OK")])),
    ("above 699", "7.2", "SIP/2.0 999 OK\r\n", Both(&[("status", "999"), ("reason", "OK")])),
    ("no reason", "7.2", "SIP/2.0 200 \r\n", Both(&[("status", "200")])),
    ("no reason, no space", "7.2", "SIP/2.0 200\r\n", Neither(Error::StatusLine)),
    ("two spaces before the code", "7.2", "SIP/2.0  200 OK\r\n", Neither(Error::StatusLine)),
    ("two spaces after the code", "7.2", "SIP/2.0 200  OK\r\n", Both(OK)),
    ("a tab after the code", "7.2", "SIP/2.0 200\tOK\r\n", Both(OK)),
    ("a tab after the version", "7.2", "SIP/2.0\t200 OK\r\n", Neither(Error::Version)),
    ("CR in the reason hides the rest", "7.2", "SIP/2.0 200 OK\rX-A: z\r\n", Stricter(Error::LineEnd, OK)),
    ("a reason that is not UTF-8", "7.2", "SIP/2.0 200 \u{e9}\r\n", Both(&[("status", "200"), ("reason", "\\xe9")])),
];

#[rustfmt::skip]
const HEADER_LINES: &[Row] = &[
    ("white space before the colon", "7.3.1", "X-A \t: z\r\n", Both(&[("X-A", "z")])),
    ("a fold before the colon", "7.3.1", "X-A\r\n : z\r\n", Neither(Error::HeaderName)),
    ("no colon", "7.3.1", "garbage\r\nX-B: q\r\n", Neither(Error::HeaderName)),
    ("a space and no colon", "7.3.1", "X-A z\r\nX-B: q\r\n", Neither(Error::HeaderName)),
    ("no name", "7.3.1", ": z\r\n", Neither(Error::HeaderName)),
    ("a bracket in the name", "25.1 token", "X(A): z\r\n", Neither(Error::HeaderName)),
    ("a name that is not ASCII", "25.1 token", "X\u{e9}: z\r\n", Neither(Error::HeaderName)),
    ("a NUL in the name", "25.1 token", "X\0: z\r\n", Neither(Error::HeaderName)),
    ("a name of the token's rarer characters", "25.1 token", "X!%*`'-: z\r\n", Wider(&[("X!%*`\\'-", "z")])),
    ("folded", "7.3.1", "X-A: z\r\n y\r\n", Both(&[("X-A", "z\\r\\n y")])),
    ("folded after LF alone", "7.3.1", "X-A: z\n\ty\r\n", Both(&[("X-A", "z\\n\\ty")])),
    ("folded before the value", "7.3.1", "X-A:\r\n z\r\n", Both(&[("X-A", "z")])),
    ("a line of blanks continues", "7.3.1", "X-A: z\r\n \r\nX-B: q\r\n", Both(&[("X-A", "z"), ("X-B", "q")])),
    ("a line of blanks in the middle", "7.3.1", "X-A: z\r\n \r\n y\r\n", Both(&[("X-A", "z\\r\\n \\r\\n y")])),
    ("CR and a space", "7.3.1", "X-A: z\r y\r\n", Stricter(Error::LineEnd, &[("X-A", "z\\r y")])),
    ("CR alone in a value", "25.1 TEXT-UTF8-TRIM", "X-A: z\rX-B: q\r\n", Stricter(Error::LineEnd, &[("X-A", "z\\rX-B: q")])),
    ("two CRs", "7", "X-A: z\r\r\n", Stricter(Error::LineEnd, &[("X-A", "z")])),
    ("LF and CR", "7", "X-A: z\n\rX-B: q\r\n", Stricter(Error::HeaderName, &[("X-A", "z"), ("body", "X-B: q\\r\\n\\r\\n")])),
    ("LF alone", "7", "X-A: z\nX-B: q\n", Both(&[("X-A", "z"), ("X-B", "q")])),
    ("an empty value", "25.1", "X-A:\r\nX-B: q\r\n", Both(&[("X-A", ""), ("X-B", "q")])),
    ("a colon at the front of the value", "7.3.1", "X-A::z\r\n", Both(&[("X-A", ":z")])),
    ("a NUL in a value", "25.1 TEXT-UTF8-TRIM", "X-A: z\0y\r\n", Both(&[("X-A", "z\\x00y")])),
    ("a value that is not UTF-8", "25.1 TEXT-UTF8-TRIM", "X-A: \u{e9}\r\n", Both(&[("X-A", "\\xe9")])),
    ("control characters in a value", "25.1 TEXT-UTF8-TRIM", "X-A: z\x01\x7f\r\n", Both(&[("X-A", "z\\x01\\x7f")])),
    ("a compact name and white space", "7.3.3", "S : z\r\n", Both(&[("S", "z")])),
];

const FIRST_HEADERS: &[Row] = &[
    ("begins with a space", "7.3.1", " X-A: z\r\n", Neither(Error::HeaderName)),
    ("is nothing but a space", "7.3.1", " \r\n", Neither(Error::HeaderName)),
];

const ENDS: &[Row] = &[
    ("CRLF", "7", "\r\n\r\nBODY", Both(&[("body", "BODY")])),
    ("LF", "7", "\n\nBODY", Both(&[("body", "BODY")])),
    ("LF, then CRLF", "7", "\r\n\n\r\nBODY", Both(&[("body", "\\r\\nBODY")])),
    ("CR", "7", "\r\n\rBODY", Stricter(Error::HeaderName, &[("body", "BODY")])),
    ("two CRs", "7", "\r\n\r\rBODY", Stricter(Error::HeaderName, &[("body", "\\rBODY")])),
    ("no empty line", "7", "\r\n", Both(&[])),
    ("a CR and nothing else", "7", "\r\n\r", Stricter(Error::HeaderName, &[])),
    ("in the middle of a line", "7", "", Neither(Error::NoEmptyLine)),
    ("in the middle of a line end", "7", "\r", Neither(Error::NoEmptyLine)),
    ("a line of blanks is none", "7", "\r\n \r\nX-A: z\r\n\r\n", Both(&[("X-A", "z")])),
];

const ALL: Changes = &[("body", "BODY1234")];

#[rustfmt::skip]
const LENGTHS: &[Row] = &[
    ("none", "18.3", "", Both(ALL)),
    ("that of the body", "18.3", "Content-Length: 8\r\n", Both(ALL)),
    ("more than there is", "18.3", "Content-Length: 80\r\n", Both(ALL)),
    ("less than there is", "18.3", "Content-Length: 4\r\n", Apart(&[("body", "BODY")], ALL)),
    ("zero", "18.3", "l: 0\r\n", Apart(&[], ALL)),
    ("leading zeros", "20.14", "Content-Length: 00008\r\n", Both(ALL)),
    ("white space behind it", "20.14", "Content-Length: 8 \t\r\n", Both(ALL)),
    ("folded", "7.3.1", "Content-Length:\r\n 8\r\n", Both(ALL)),
    ("a sign", "20.14", "Content-Length: +8\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("negative", "20.14", "Content-Length: -1\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("a parameter", "20.14", "Content-Length: 8;x\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("two numbers", "20.14", "Content-Length: 8 8\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("a list", "20.14", "Content-Length: 8, 8\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("hexadecimal", "20.14", "Content-Length: 0x8\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("empty", "20.14", "Content-Length:\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("beyond 31 bits", "20.14", "Content-Length: 2147483648\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("just below 31 bits", "20.14", "Content-Length: 2147483639\r\n", Both(ALL)),
    ("beyond 32 bits", "20.14", "Content-Length: 4294967304\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("CR alone behind it", "7", "Content-Length: 8\rX-A: z\r\n", Neither(Error::Malformed(Name::ContentLength))),
    ("twice, alike", "7.3.1", "Content-Length: 8\r\nl: 8\r\n", Wider(ALL)),
    ("twice, unlike", "7.3.1", "Content-Length: 8\r\nl: 4\r\n", Neither(Error::ContentLengthConflict)),
];

/// The first counts.
const AGAIN: &[Row] = &[
    ("From", "7.3.1", "f: <sip:x@y.com>;tag=x\r\n", Wider(&[])),
    ("To", "7.3.1", "t: <sip:x@y.com>;tag=x\r\n", Wider(&[])),
    ("Call-ID", "7.3.1", "i: x\r\n", Wider(&[])),
    ("Call-ID, alike", "7.3.1", "i: i\r\n", Wider(&[])),
    ("CSeq", "7.3.1", "CSeq: 8 INVITE\r\n", Wider(&[])),
    ("Max-Forwards", "7.3.1", "Max-Forwards: 7\r\n", Wider(&[])),
    ("Subject", "7.3.1", "Subject: x\r\nSubject: y\r\n", Both(&[])),
];

#[rustfmt::skip]
const AGAIN_IN_FRONT: &[Row] = &[
    ("From", "7.3.1", "f: <sip:x@y.com>;tag=x\r\n", Wider(&[("from.display", ""), ("from.uri", "sip:x@y.com"), ("from.user", "x"), ("from.host", "y.com"), ("from.tag", "x")])),
    ("To", "7.3.1", "t: <sip:x@y.com>;tag=x\r\n", Wider(&[("to.display", ""), ("to.uri", "sip:x@y.com"), ("to.user", "x"), ("to.host", "y.com"), ("to.tag", "x")])),
    ("Call-ID", "7.3.1", "i: x\r\n", Wider(&[("call-id", "x")])),
    ("CSeq", "7.3.1", "CSeq: 8 INVITE\r\n", Wider(&[("cseq.number", "8")])),
    ("Max-Forwards", "7.3.1", "Max-Forwards: 7\r\n", Wider(&[("Max-Forwards", "7")])),
];

const AGAIN_IN_A_RESPONSE: &[Row] =
    &[("Call-ID", "7.3.1", "i: x\r\n", Both(&[("status", "200"), ("reason", "OK"), ("call-id", "x")]))];
