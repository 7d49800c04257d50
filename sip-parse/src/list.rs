use core::iter::FusedIterator;

use crate::index::Field;
use crate::reader::Reader;
use crate::{Error, Message, Name, Result};

/// The values of all headers of one name: those of one line are parted by commas, and several
/// lines are one list (RFC 3261 §7.3.1).
///
/// A value that is malformed is an error; what else its line holds is passed over, since where the
/// next value begins is not known.
#[derive(Clone, Debug)]
#[must_use]
pub struct Values<'a, T> {
    message: Message<'a>,
    name: Name,
    fields: core::slice::Iter<'a, Field>,
    line: Reader<'a>,
    is_line_open: bool,
    read: fn(&mut Reader<'a>) -> Option<T>,
}

impl<'a, T> Values<'a, T> {
    pub(crate) fn new(message: &Message<'a>, name: Name, read: fn(&mut Reader<'a>) -> Option<T>) -> Self {
        Self {
            message: *message,
            name,
            fields: message.fields_from(name).iter(),
            line: Reader::new(&[], message.mode()),
            is_line_open: false,
            read,
        }
    }

    fn open_next_line(&mut self) -> Option<()> {
        let name = self.name;
        let field = self.fields.find(|field| field.name == name && !(field.value.is_empty() && name.may_be_empty()))?;
        self.line = Reader::new(field.value.of(self.message.text), self.message.mode());
        self.is_line_open = true;
        Some(())
    }
}

impl<T> Iterator for Values<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let is_first = !self.is_line_open;
        if is_first {
            self.open_next_line()?;
        }
        // Servers pass over what is empty between commas, and before them in all but Via.
        let is_skipped = !is_first || self.name != Name::Via;
        if is_skipped && !self.line.is_strict() {
            while self.line.eat_separator(b',') {}
        }
        let value = (self.read)(&mut self.line);
        self.line.skip_lws();
        self.is_line_open = self.line.eat(b',');
        self.line.skip_lws();
        let is_whole = self.is_line_open || self.line.is_at_end();
        self.is_line_open &= value.is_some();
        Some(value.filter(|_| is_whole).ok_or(Error::Malformed(self.name)))
    }
}

impl<T> FusedIterator for Values<'_, T> {}
