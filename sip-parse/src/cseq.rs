use crate::Method;
use crate::reader::{DIGIT, LWS, Reader, TOKEN, decimal};

/// The value of `CSeq`: orders the requests of a dialog, and tells a response whose it is
/// (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number; §8.1.1.5 keeps it under 2³¹, servers take 32 bits.
    pub number: u32,
    /// The method of the request.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads a whole header value; `None` if it is malformed.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let number = decimal(reader.take(DIGIT))?;
        reader.take_some(LWS)?;
        let method = Method::of(reader.take_some(TOKEN)?);
        reader.peek().is_none().then_some(Self { number, method })
    }
}
