use crate::class::{REASON, TOKEN, URI};
use crate::reader::{find, is_utf8};
use crate::{Error, Method, Mode, Result};

const VERSION: &[u8] = b"SIP/2.0";

/// The first line of a message (RFC 3261 §7.1, §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// `METHOD SP Request-URI SP SIP/2.0` (§7.1)
    Request {
        /// What is asked for.
        method: Method<'a>,
        /// Who is asked, as it was written: [`Message::request_uri`](crate::Message::request_uri)
        /// decodes it.
        uri: &'a [u8],
    },
    /// `SIP/2.0 SP 3DIGIT SP reason` (§7.2)
    Response {
        /// Three digits: §21 knows 100 to 699.
        code: u16,
        /// For people; may be empty, and is UTF-8 for sure in [`Mode::Strict`] only.
        reason: &'a [u8],
    },
}

impl<'a> StartLine<'a> {
    /// Reads a line without its line end.
    pub(crate) fn parse(line: &'a [u8], mode: Mode) -> Result<Self> {
        // No method begins like this: `/` is not in a token.
        if starts_with_sip(line) { response(line, mode) } else { request(line, mode) }
    }
}

fn request(line: &[u8], mode: Mode) -> Result<StartLine<'_>> {
    let (method, rest) = split_at_space(line)?;
    let method = Method::of(method, mode);
    if let Method::Other(token) = method
        && !TOKEN.spans(token)
    {
        return Err(Error::Method);
    }
    let (uri, rest) = rest.split_at(URI.long_run(rest));
    let is_uri = uri.first().is_some_and(u8::is_ascii_alphabetic);
    let ([b' ' | b'\t', version @ ..], true) = (rest, is_uri) else {
        return Err(if rest.is_empty() { Error::StartLine } else { Error::RequestUri });
    };
    // Servers pass over blanks before and behind the version.
    let version = if mode.is_strict() { version } else { trim_blanks(version) };
    match version == VERSION || version.eq_ignore_ascii_case(VERSION) {
        true if mode.is_strict() && rest[0] != b' ' => Err(Error::StartLine),
        true => Ok(StartLine::Request { method, uri }),
        false if starts_with_sip(version) && !trim_blanks(version).eq_ignore_ascii_case(VERSION) => Err(Error::Version),
        false => Err(Error::StartLine),
    }
}

fn response(line: &[u8], mode: Mode) -> Result<StartLine<'_>> {
    let (version, rest) = split_at_space(line)?;
    if !version.eq_ignore_ascii_case(VERSION) {
        return Err(Error::Version);
    }
    let [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ' | b'\t', reason @ ..] = rest else {
        return Err(Error::StatusLine);
    };
    let code = [a, b, c].into_iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let reason = match mode {
        Mode::Strict if rest[3] == b' ' && is_status(code, reason) => reason,
        Mode::Strict => return Err(Error::StatusLine),
        Mode::Lenient => trim_start(reason),
    };
    Ok(StartLine::Response { code, reason })
}

/// `1xx` to `6xx` and a `Reason-Phrase` (§7.2, §25.1)
fn is_status(code: u16, reason: &[u8]) -> bool {
    (100..700).contains(&code) && REASON.spans_escaped(reason) && is_utf8(reason)
}

fn starts_with_sip(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|start: &[u8; 4]| start.eq_ignore_ascii_case(b"SIP/"))
}

/// What stands before and after the first space.
fn split_at_space(line: &[u8]) -> Result<(&[u8], &[u8])> {
    let (before, after) = line.split_at(find(b' ', line).ok_or(Error::StartLine)?);
    Ok((before, &after[1..]))
}

/// The text without the spaces and tabs around it.
fn trim_blanks(text: &[u8]) -> &[u8] {
    let mut text = trim_start(text);
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn trim_start(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}
