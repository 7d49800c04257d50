use crate::Method;
use crate::class::TOKEN;
use crate::reader::Reader;

/// The value of `CSeq`: orders the requests of a dialog, and tells a response whose it is
/// (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number: below 2³¹ in strict mode (§8.1.1.5), servers take 32 bits.
    pub number: u32,
    /// The method of the request.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads the number and the method that come next.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let number = reader.take_decimal()?;
        let is_in_range = !reader.is_strict() || number < 1 << 31;
        let is_parted = reader.eat_lws();
        let method = Method::of(reader.take_some(TOKEN)?, reader.mode);
        (is_in_range && is_parted).then_some(Self { number, method })
    }
}
