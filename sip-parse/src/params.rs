//! `*( SEMI generic-param )` (RFC 3261 §25.1): the parameters of a header, not of a URI.

use crate::Mode;
use crate::class::{IPV6, LONE_VALUE, PARAM_NAME, TOKEN, VALUE};
use crate::host::{self, Host};
use crate::reader::Reader;

/// One `;name=value` of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'a> {
    /// Compares without case (RFC 3261 §7.3.1).
    pub name: &'a [u8],
    /// Without its quotes, if it had any, and escapes as they are.
    pub value: Option<&'a [u8]>,
    pub(crate) is_quoted: bool,
}

impl Param<'_> {
    /// Whether the value is a token, where a host would be allowed as well.
    pub(crate) fn is_token(&self) -> bool {
        self.value.is_some_and(|value| !value.starts_with(b"["))
    }
}

/// The parameters of a header value, in the order they were written. They are known to be well
/// formed.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Params<'a> {
    reader: Reader<'a>,
}

impl<'a> Params<'a> {
    /// The value of the parameter called `name`: of several the last, as the servers read it.
    /// `Some(None)` if it is there without a value.
    pub fn get(self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.filter(|param| param.name.eq_ignore_ascii_case(name)).last().map(|param| param.value)
    }

    /// As they were written, from the first semicolon on.
    pub fn as_bytes(self) -> &'a [u8] {
        self.reader.rest()
    }

    /// Whose reading these are.
    pub(crate) fn mode(self) -> Mode {
        self.reader.mode
    }

    /// The name of each, and how all of it was written from its semicolon on.
    pub(crate) fn written(mut self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        core::iter::from_fn(move || {
            let before = self.reader;
            let param = self.next()?;
            Some((param.name, self.reader.since(&before)))
        })
    }

    /// Reads the parameters that come next; `None` if one is malformed or `each` refuses it.
    #[inline(always)]
    pub(crate) fn read(reader: &mut Reader<'a>, mut each: impl FnMut(Param<'a>) -> Option<()>) -> Option<Self> {
        let mut before = *reader;
        while reader.eat_separator(b';') {
            each(reader.param()?)?;
        }
        before.skip_lws();
        Some(Self { reader: before.up_to(reader) })
    }

    /// Parameters of any meaning.
    pub(crate) fn skip(reader: &mut Reader<'a>) -> Option<Self> {
        Self::read(reader, |_| Some(()))
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        if self.reader.eat_separator(b';') { self.reader.param() } else { None }
    }
}

/// Params are equal if they are written alike.
impl PartialEq for Params<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Params<'_> {}

impl<'a> Reader<'a> {
    /// `token [ EQUAL gen-value ]`, `gen-value = token / host / quoted-string`. Lenient: a value may
    /// be empty.
    #[inline]
    pub(crate) fn param(&mut self) -> Option<Param<'a>> {
        let name = self.take_some(if self.is_strict() { TOKEN } else { PARAM_NAME })?;
        if !self.eat_separator(b'=') {
            return Some(Param { name, value: None, is_quoted: false });
        }
        let value = match self.peek() {
            Some(b'"') => return Some(Param { name, value: Some(self.take_quoted()?), is_quoted: true }),
            _ if !self.is_strict() => self.take_long(self.class(VALUE, LONE_VALUE)),
            Some(b'[') => Host::read(self)?.as_bytes(),
            _ if self.is_in_via() && name.eq_ignore_ascii_case(b"received") => self.take_address()?,
            _ => Some(self.take_long(TOKEN)).filter(|value| !value.is_empty())?,
        };
        Some(Param { name, value: Some(value), is_quoted: false })
    }

    fn take_address(&mut self) -> Option<&'a [u8]> {
        self.take_some(IPV6).filter(|text| host::ipv4(text).is_some() || host::ipv6(text).is_some())
    }
}
