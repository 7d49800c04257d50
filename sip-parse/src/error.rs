use core::fmt;

use crate::Name;

/// The result of reading a message or a part of it.
pub type Result<T> = core::result::Result<T, Error>;

/// Why a message, or a part of it, was refused. [`section`](Self::section) names the rule's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// The datagram holds nothing but line ends, or nothing at all: a keep-alive, not a message.
    Empty,
    /// The datagram is longer than [`MAX_DATAGRAM`](crate::MAX_DATAGRAM), which UDP cannot carry.
    TooLong,
    /// The first line is not `METHOD SP Request-URI SP SIP/2.0` with single spaces, or has no end.
    StartLine,
    /// The version is not SIP/2.0; a server answers 505.
    Version,
    /// The method is not a token.
    Method,
    /// The Request-URI is not a URI, or one that may not stand there.
    RequestUri,
    /// The status line is not `SIP/2.0 SP 3DIGIT SP reason`.
    StatusLine,
    /// A line is not `name: value`.
    HeaderName,
    /// A line does not end in CRLF, or a CR stands alone.
    LineEnd,
    /// There are more headers than the [`Index`](crate::Index) has room for.
    TooManyHeaders,
    /// The datagram ends before the empty line that ends the headers.
    NoEmptyLine,
    /// Two `Content-Length` headers disagree about where the body ends.
    ContentLengthConflict,
    /// `Content-Length` promises more than the datagram holds.
    BodyCut,
    /// A header that every message has is missing.
    Missing(Name),
    /// A header that a message has once is there again.
    Repeated(Name),
    /// The value of a header does not follow its grammar, or is beyond its range.
    Malformed(Name),
    /// The value of a header that has no [`Name`] holds a control character.
    ControlCharacter,
    /// The method in `CSeq` is not that of the request.
    MethodMismatch,
    /// A URI does not follow its grammar.
    Uri,
    /// A response has no Request-URI.
    NotARequest,
    /// What follows the headers is not a session description as far as it is read.
    Sdp,
}

impl Error {
    /// The RFC and the section of the rule that was broken.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Empty => "RFC 5626 §3.5.1",
            Self::TooLong => "RFC 3261 §18.1.1",
            Self::StartLine | Self::Version | Self::Method | Self::NotARequest => "RFC 3261 §7.1",
            Self::RequestUri => "RFC 3261 §7.1, §19.1.1",
            Self::StatusLine => "RFC 3261 §7.2",
            Self::HeaderName | Self::TooManyHeaders | Self::Repeated(_) => "RFC 3261 §7.3.1",
            Self::LineEnd | Self::NoEmptyLine => "RFC 3261 §7",
            Self::ContentLengthConflict => "RFC 3261 §20.14",
            Self::BodyCut => "RFC 3261 §18.3",
            Self::Missing(_) => "RFC 3261 §8.1.1",
            Self::Malformed(name) => name.section(),
            Self::ControlCharacter => "RFC 3261 §25.1",
            Self::MethodMismatch => "RFC 3261 §8.1.1.5",
            Self::Uri => "RFC 3261 §19.1.1",
            Self::Sdp => "RFC 8866 §5",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Empty => "nothing but line ends",
            Self::TooLong => "longer than a UDP datagram can be",
            Self::StartLine => "start line is not METHOD SP URI SP SIP/2.0",
            Self::Version => "version is not SIP/2.0",
            Self::Method => "method is not a token",
            Self::RequestUri => "Request-URI is malformed",
            Self::StatusLine => "status line is not SIP/2.0 SP 3DIGIT SP reason",
            Self::HeaderName => "a header line is not name: value",
            Self::LineEnd => "a line does not end in CRLF",
            Self::TooManyHeaders => "more headers than the index holds",
            Self::NoEmptyLine => "no empty line after the headers",
            Self::ContentLengthConflict => "two values of Content-Length",
            Self::BodyCut => "Content-Length is larger than the datagram",
            Self::Missing(name) => return write!(f, "no {name}"),
            Self::Repeated(name) => return write!(f, "{name} twice"),
            Self::Malformed(name) => return write!(f, "{name} is malformed"),
            Self::ControlCharacter => "a header holds a control character",
            Self::MethodMismatch => "CSeq names another method",
            Self::Uri => "not a URI",
            Self::NotARequest => "a response has no Request-URI",
            Self::Sdp => "not a session description",
        };
        f.write_str(what)
    }
}

impl core::error::Error for Error {}
