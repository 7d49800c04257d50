//! Requests made by hand, one piece of them given by the test, and what is said of them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fmt::Debug;

use sip_parse::{Error, Index, Message, Mode};

pub(crate) const BOTH: [Mode; 2] = [Mode::Strict, Mode::Lenient];

pub(crate) const START_LINE: &str = "INVITE sip:bob@example.com SIP/2.0";

/// What every request has.
const HEADERS: [(&str, &str); 6] = [
    ("Via", "SIP/2.0/UDP client.example.org;branch=z9hG4bK1"),
    ("Max-Forwards", "70"),
    ("From", "<sip:alice@example.org>;tag=1"),
    ("To", "<sip:bob@example.com>"),
    ("Call-ID", "1@client.example.org"),
    ("CSeq", "1 INVITE"),
];

/// A request with this first line; `CSeq` names its method.
pub(crate) fn with_start_line(line: &str) -> String {
    let method = line.split(' ').next().unwrap();
    let cseq = if method.contains('/') { "1 INVITE".to_owned() } else { format!("1 {method}") };
    message(line, "CSeq", &format!("CSeq: {cseq}\r\n"))
}

/// A request with this value in this header, whether requests have it or not.
pub(crate) fn with(name: &str, value: &str) -> String {
    message(START_LINE, name, &format!("{name}: {value}\r\n"))
}

/// A request with these lines, and what follows them, behind its own headers.
pub(crate) fn with_lines(lines: &str) -> String {
    message(START_LINE, "", lines)
}

/// A request without this header.
pub(crate) fn without(name: &str) -> String {
    message(START_LINE, name, "")
}

/// A request with this body, and these lines.
pub(crate) fn with_body(lines: &str, body: &str) -> String {
    with_lines(lines) + body
}

fn message(start_line: &str, replaced: &str, lines: &str) -> String {
    let mut text = format!("{start_line}\r\n");
    for (name, value) in HEADERS {
        if !name.eq_ignore_ascii_case(replaced) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text + lines + "\r\n"
}

/// What `question` is answered by the message in `datagram`.
pub(crate) fn read<T>(
    datagram: impl AsRef<[u8]>,
    mode: Mode,
    question: impl FnOnce(Message<'_>) -> T,
) -> Result<T, Error> {
    let mut index: Index = Index::new();
    index.parse(datagram.as_ref(), mode).map(question)
}

/// Whether the headers and the body of the message are found.
pub(crate) fn indexed(datagram: impl AsRef<[u8]>, mode: Mode) -> Result<(), Error> {
    read(datagram, mode, |_| ())
}

/// Whether all of the message is right.
pub(crate) fn verdict(datagram: impl AsRef<[u8]>, mode: Mode) -> Result<(), Error> {
    read(datagram, mode, |message| message.validate().map(drop))?
}

/// Fails with all rows of a table that are not what was expected: what it is, what was found, what
/// was expected.
#[track_caller]
pub(crate) fn expect<T: PartialEq + Debug>(rows: impl IntoIterator<Item = (String, T, T)>) {
    let wrong = rows.into_iter().filter(|(_, found, expected)| found != expected);
    let wrong: Vec<_> = wrong.map(|(what, found, expected)| format!("{what}: {found:?}, not {expected:?}")).collect();
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Bytes as a test can show and compare them.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
