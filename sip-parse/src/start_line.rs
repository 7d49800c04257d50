use memchr::{memchr, memrchr};

use crate::reader::{self, TOKEN};
use crate::{Error, Method, Result};

const VERSION: &[u8] = b"SIP/2.0";

/// The first line of a message (RFC 3261 §7.1, §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// `METHOD SP Request-URI SP SIP/2.0` (§7.1)
    Request {
        /// What is asked for.
        method: Method<'a>,
        /// Who is asked. Nothing in it is decoded.
        uri: &'a [u8],
    },
    /// `SIP/2.0 SP 3DIGIT SP reason` (§7.2)
    Response {
        /// Three digits: §21 knows 100 to 699.
        code: u16,
        /// For people; may be empty and is UTF-8 by intent only.
        reason: &'a [u8],
    },
}

impl<'a> StartLine<'a> {
    /// Reads a line without its line end.
    pub(crate) fn parse(line: &'a [u8]) -> Result<Self> {
        // No method begins like this: `/` is not in a token.
        if starts_with_sip(line) { response(line) } else { request(line) }
    }
}

fn request(line: &[u8]) -> Result<StartLine<'_>> {
    let (method, rest) = split_at_byte(line, memchr(b' ', line))?;
    let (uri, version) = split_at_byte(rest, memrchr(b' ', rest))?;
    if !version.eq_ignore_ascii_case(VERSION) {
        return Err(if starts_with_sip(version) { Error::Version } else { Error::StartLine });
    }
    let method = Method::of(method);
    if let Method::Other(token) = method
        && !TOKEN.spans(token)
    {
        return Err(Error::Method);
    }
    if !reader::is_uri(uri) {
        return Err(Error::RequestUri);
    }
    Ok(StartLine::Request { method, uri })
}

fn response(line: &[u8]) -> Result<StartLine<'_>> {
    let (version, rest) = split_at_byte(line, memchr(b' ', line))?;
    if !version.eq_ignore_ascii_case(VERSION) {
        return Err(Error::Version);
    }
    match *rest {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ', ref reason @ ..] => {
            let [a, b, c] = [a, b, c].map(|digit| u16::from(digit - b'0'));
            Ok(StartLine::Response { code: a * 100 + b * 10 + c, reason })
        }
        _ => Err(Error::StatusLine),
    }
}

fn starts_with_sip(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|start: &[u8; 4]| start.eq_ignore_ascii_case(b"SIP/"))
}

/// What stands before and after the byte that was found.
fn split_at_byte(line: &[u8], found: Option<usize>) -> Result<(&[u8], &[u8])> {
    let (before, after) = line.split_at(found.ok_or(Error::StartLine)?);
    Ok((before, &after[1..]))
}
