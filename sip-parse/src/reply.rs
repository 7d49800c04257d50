use core::fmt;
use core::net::SocketAddr;

use crate::class::TOKEN;
use crate::reader::trim_end;
use crate::{Error, Message, Method, Name, Params, Rport, StartLine};

/// A response to a request, built by copying what RFC 3261 §8.2.6 wants copied.
///
/// It has no body, and no `Record-Route`: it is for refusals and for answers outside a dialog.
///
/// ```
/// use sip_parse::{Index, Mode, Reply};
///
/// let request = b"INVITE sip:bob@example.com SIP/2.0\r\n\
///     Via: SIP/2.0/UDP pc33.example.org;rport;branch=z9hG4bK776asdhds\r\n\
///     Max-Forwards: 70\r\n\
///     From: Alice <sip:alice@example.org>;tag=1928301774\r\n\
///     To: Bob <sip:bob@example.com>\r\n\
///     Call-ID: a84b4c76e66710\r\n\
///     CSeq: 314159 INVITE\r\n\
///     Content-Length: 0\r\n\
///     \r\n";
///
/// let mut index: Index = Index::new();
/// let message = index.parse(request, Mode::Lenient)?;
/// let mut buffer = [0; 1500];
/// let length = Reply::new(503, "Service Unavailable")
///     .to_tag(b"7a11")
///     .source("192.0.2.1:5062".parse()?)
///     .write(&message, &mut buffer)?;
///
/// assert_eq!(
///     core::str::from_utf8(&buffer[..length])?,
///     "SIP/2.0 503 Service Unavailable\r\n\
///      Via: SIP/2.0/UDP pc33.example.org;branch=z9hG4bK776asdhds;received=192.0.2.1;rport=5062\r\n\
///      From: Alice <sip:alice@example.org>;tag=1928301774\r\n\
///      To: Bob <sip:bob@example.com>;tag=7a11\r\n\
///      Call-ID: a84b4c76e66710\r\n\
///      CSeq: 314159 INVITE\r\n\
///      Content-Length: 0\r\n\
///      \r\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Reply<'a> {
    code: u16,
    reason: &'a str,
    to_tag: &'a [u8],
    source: Option<SocketAddr>,
    headers: &'a [(&'a str, &'a str)],
}

/// Why a response was not built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplyError {
    /// Nothing is sent in response to a response, nor to an ACK (RFC 3261 §17.1.1.3).
    NotAnswered,
    /// The request has no tag in `To` and none was given (§8.2.6.2).
    NoTag,
    /// The buffer is too small.
    NoRoom,
    /// What was given is not 100 to 699, a tag that is a token, or text without line ends, or a header
    /// that the response has anyway.
    Given,
    /// The request lacks what a response copies, or it is malformed.
    Request(Error),
}

impl<'a> Reply<'a> {
    /// A response of this status: 100 to 699 (§21) and a phrase for people.
    pub const fn new(code: u16, reason: &'a str) -> Self {
        Self { code, reason, to_tag: b"", source: None, headers: &[] }
    }

    /// The tag that `To` gets if it has none (§8.2.6.2); 100 does without.
    pub const fn to_tag(self, to_tag: &'a [u8]) -> Self {
        Self { to_tag, ..self }
    }

    /// Where the request came from: what the topmost `Via` gets as `received` and `rport`
    /// (§18.2.1, RFC 3581 §4).
    pub const fn source(self, source: SocketAddr) -> Self {
        Self { source: Some(source), ..self }
    }

    /// More headers, behind those that are copied.
    pub const fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    /// Writes the response to `request` into `buffer` and returns its length.
    ///
    /// # Errors
    ///
    /// [`ReplyError`]; what `buffer` holds then has no meaning.
    pub fn write(&self, request: &Message<'_>, buffer: &mut [u8]) -> Result<usize, ReplyError> {
        match request.start_line() {
            StartLine::Request { method, .. } if method != Method::Ack => {}
            _ => return Err(ReplyError::NotAnswered),
        }
        self.check()?;
        let to = request.to()?;
        let needs_tag = to.tag.is_none() && self.code != 100;
        if needs_tag && self.to_tag.is_empty() {
            return Err(ReplyError::NoTag);
        }

        let mut out = Writer { buffer, length: 0 };
        let digits = [self.code / 100, self.code / 10 % 10, self.code % 10].map(|digit| b'0' + digit as u8);
        out.put(&[b"SIP/2.0 ", &digits, b" ", self.reason.as_bytes(), b"\r\n"])?;
        self.top_via(request, &mut out)?;
        for line in request.lines(Name::Via).skip(1) {
            out.header(Name::Via, line)?;
        }
        out.header(Name::From, request.header(Name::From).ok_or(Error::Missing(Name::From))?)?;
        let written = request.header(Name::To).unwrap_or_default();
        if needs_tag {
            // A tag without a value makes way.
            out.line_begin(Name::To, trim_end(&written[..written.len() - to.params.as_bytes().len()]))?;
            out.params(to.params, |name| !name.eq_ignore_ascii_case(b"tag"))?;
            out.put(&[b";tag=", self.to_tag, b"\r\n"])?;
        } else {
            out.header(Name::To, written)?;
        }
        out.header(Name::CallId, request.call_id()?)?;
        request.cseq()?;
        out.header(Name::CSeq, request.header(Name::CSeq).unwrap_or_default())?;
        if self.code == 100
            && let Some(timestamp) = request.header(Name::Timestamp)
        {
            out.header(Name::Timestamp, timestamp)?; // §8.2.6.1
        }
        for (name, value) in self.headers {
            out.put(&[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"])?;
        }
        out.put(&[b"Content-Length: 0\r\n\r\n"])?;
        Ok(out.length)
    }

    fn check(&self) -> Result<(), ReplyError> {
        // Not those that are written anyway.
        const OWN: [Name; 6] = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq, Name::ContentLength];
        let may_be_given = |name: &str| TOKEN.spans(name.as_bytes()) && !OWN.contains(&Name::of(name.as_bytes()));
        let is_text = |text: &str| !text.bytes().any(|byte| byte.is_ascii_control());
        let is_right = (100..700).contains(&self.code)
            && is_text(self.reason)
            && (self.to_tag.is_empty() || TOKEN.spans(self.to_tag))
            && self.headers.iter().all(|(name, value)| may_be_given(name) && is_text(value));
        if is_right { Ok(()) } else { Err(ReplyError::Given) }
    }

    /// The topmost `Via` with the `received` and `rport` of where the request came from in place of
    /// its own, and the other values of its line.
    fn top_via(&self, request: &Message<'_>, out: &mut Writer<'_>) -> Result<(), ReplyError> {
        let via = request.top_via()?;
        let line = request.header(Name::Via).unwrap_or_default();
        let Some(source) = self.source else {
            return out.header(Name::Via, line);
        };
        let source_ip = source.ip().to_canonical();
        out.line_begin(Name::Via, trim_end(via.sent))?;
        let is_replaced = |name: &[u8]| name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport");
        out.params(via.params, |name| !is_replaced(name))?;
        let wants_rport = via.rport != Rport::Absent;
        if wants_rport || via.host.ip() != Some(source_ip) {
            out.put_fmt(format_args!(";received={source_ip}"))?;
        }
        if wants_rport {
            out.put_fmt(format_args!(";rport={}", source.port()))?;
        }
        out.put_unfolded(&line[via.written.len()..])?;
        out.put(&[b"\r\n"])
    }
}

/// Fills a buffer from its front.
struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn put(&mut self, parts: &[&[u8]]) -> Result<(), ReplyError> {
        for part in parts {
            let end = self.length + part.len();
            self.buffer.get_mut(self.length..end).ok_or(ReplyError::NoRoom)?.copy_from_slice(part);
            self.length = end;
        }
        Ok(())
    }

    /// A header value on one line: the line ends of its folds become blanks (§7.3.1).
    fn put_unfolded(&mut self, value: &[u8]) -> Result<(), ReplyError> {
        let from = self.length;
        self.put(&[value])?;
        for byte in &mut self.buffer[from..self.length] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        Ok(())
    }

    /// The parameters whose names are `wanted`.
    fn params(&mut self, params: Params<'_>, wanted: impl Fn(&[u8]) -> bool) -> Result<(), ReplyError> {
        params.written().filter(|(name, _)| wanted(name)).try_for_each(|(_, text)| self.put_unfolded(trim_end(text)))
    }

    fn line_begin(&mut self, name: Name, value: &[u8]) -> Result<(), ReplyError> {
        self.put(&[name.as_str().as_bytes(), b": "])?;
        self.put_unfolded(value)
    }

    fn header(&mut self, name: Name, value: &[u8]) -> Result<(), ReplyError> {
        self.line_begin(name, value)?;
        self.put(&[b"\r\n"])
    }

    fn put_fmt(&mut self, text: fmt::Arguments<'_>) -> Result<(), ReplyError> {
        fmt::write(self, text).map_err(|_| ReplyError::NoRoom)
    }
}

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.put(&[text.as_bytes()]).map_err(|_| fmt::Error)
    }
}

impl From<Error> for ReplyError {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnswered => f.write_str("a response or an ACK is not answered"),
            Self::NoTag => f.write_str("To has no tag and none was given"),
            Self::NoRoom => f.write_str("the buffer is too small for the response"),
            Self::Given => f.write_str("status, tag or headers given cannot stand in a response"),
            Self::Request(error) => write!(f, "the request cannot be answered: {error}"),
        }
    }
}

impl core::error::Error for ReplyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Request(error) => Some(error),
            _ => None,
        }
    }
}
