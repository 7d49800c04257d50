use core::fmt;

use crate::Name;

/// The result of reading a message or a header.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a message, or a header of it, was refused. Sections are those of RFC 3261.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// The datagram holds nothing but line ends, or nothing at all: a keep-alive
    /// (RFC 5626 §3.5.1), not a message.
    Empty,
    /// The datagram is longer than [`MAX_DATAGRAM`](crate::MAX_DATAGRAM), which UDP cannot carry
    /// (§18.1.1).
    TooLong,
    /// The first line is not `METHOD SP URI SP VERSION` with single spaces (§7.1), or has no end.
    StartLine,
    /// The version is not SIP/2.0 (§7.1); a server answers 505 (§21.5.6).
    Version,
    /// The method is not a token (§7.1, §25.1).
    Method,
    /// The Request-URI does not begin with a scheme, or contains white space, a control character,
    /// a quote or angle brackets (§7.1).
    RequestUri,
    /// The status line is not `SIP/2.0 SP 3DIGIT SP reason` (§7.2).
    StatusLine,
    /// A line is not `token: value` (§7.3.1).
    HeaderName,
    /// There are more headers than the [`Index`](crate::Index) has room for.
    TooManyHeaders,
    /// The datagram ends before the empty line that ends the headers (§7).
    NoEmptyLine,
    /// `Content-Length` is not a number of 32 bits (§20.14).
    ContentLength,
    /// Two `Content-Length` headers disagree about where the body ends (§7.3.1, §20.14).
    ContentLengthConflict,
    /// `Content-Length` promises more than the datagram holds (§18.3).
    BodyCut,
    /// A header that every message has is missing (§8.1.1).
    Missing(Name),
    /// The topmost `Via` does not follow §20.42.
    Via,
    /// `From` or `To` is not a name-addr or addr-spec with parameters (§20.20, §20.39).
    Address(Name),
    /// `Call-ID` is empty (§20.8).
    CallId,
    /// `CSeq` is not a number of 32 bits and a method (§20.16).
    CSeq,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Empty => "nothing but line ends",
            Self::TooLong => "longer than a UDP datagram can be",
            Self::StartLine => "start line is not METHOD SP URI SP SIP/2.0",
            Self::Version => "version is not SIP/2.0",
            Self::Method => "method is not a token",
            Self::RequestUri => "Request-URI is not a URI",
            Self::StatusLine => "status line is not SIP/2.0 SP 3DIGIT SP reason",
            Self::HeaderName => "a header line is not name: value",
            Self::TooManyHeaders => "more headers than the index holds",
            Self::NoEmptyLine => "no empty line after the headers",
            Self::ContentLength => "Content-Length is not a number",
            Self::ContentLengthConflict => "two values of Content-Length",
            Self::BodyCut => "Content-Length is larger than the datagram",
            Self::Missing(name) => return write!(f, "no {name}"),
            Self::Via => "topmost Via is malformed",
            Self::Address(name) => return write!(f, "{name} is malformed"),
            Self::CallId => "Call-ID is empty",
            Self::CSeq => "CSeq is not a number and a method",
        };
        f.write_str(what)
    }
}

impl core::error::Error for Error {}
