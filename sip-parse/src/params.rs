//! `*( SEMI name [ EQUAL value ] )` (RFC 3261 §25.1): the parameters of a header, not of a URI.

use crate::reader::{Reader, TOKEN, VALUE};

pub(crate) struct Param<'a> {
    pub(crate) name: &'a [u8],
    /// Without its quotes, if it had any.
    pub(crate) value: Option<&'a [u8]>,
}

impl<'a> Reader<'a> {
    /// Hands every parameter to `each` and stops at the first byte that begins none.
    /// `None` if a parameter is malformed or `each` refuses it.
    pub(crate) fn params(&mut self, mut each: impl FnMut(Param<'a>) -> Option<()>) -> Option<()> {
        while self.eat_separator(b';') {
            each(self.param()?)?;
        }
        Some(())
    }

    fn param(&mut self) -> Option<Param<'a>> {
        let name = self.take_some(TOKEN)?;
        if !self.eat_separator(b'=') {
            return Some(Param { name, value: None });
        }
        let value = if self.eat(b'"') { self.take_quoted()? } else { self.take_some(VALUE)? };
        Some(Param { name, value: Some(value) })
    }
}
