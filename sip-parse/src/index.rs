use memchr::memchr;

use crate::reader::{LWS, TOKEN, decimal, trim_end};
use crate::{Error, Message, Name, Result, StartLine};

/// The longest datagram that is read: positions in it fit 16 bits. UDP carries no longer one.
pub const MAX_DATAGRAM: usize = u16::MAX as usize;

/// How many headers an [`Index`] holds unless told otherwise.
///
/// The longest message of the test corpus, a response that went round a loop of 70 hops, has 77.
/// Twice as much costs nothing but 1.3 KB a thread; a message with more is refused, not cut.
pub const MAX_HEADERS: usize = 128;

/// Where the headers of a datagram are.
///
/// Made once and used for packet after packet: [`parse`](Self::parse) forgets the one before. It
/// holds positions, not bytes, and `N` headers at most.
#[derive(Clone, Debug)]
pub struct Index<const N: usize = MAX_HEADERS> {
    fields: [Field; N],
    firsts: Firsts,
}

/// One header: its name, and where its name and value stand in the datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: Name,
    pub(crate) written: Span,
    pub(crate) value: Span,
}

/// A piece of a datagram no longer than [`MAX_DATAGRAM`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u16,
    end: u16,
}

/// The position among the headers of the first one of each name.
#[derive(Clone, Debug)]
pub(crate) struct Firsts([u16; Name::COUNT]);

impl<const N: usize> Index<N> {
    /// An index of nothing yet.
    pub const fn new() -> Self {
        let nowhere = Span { start: 0, end: 0 };
        let field = Field { name: Name::Other, written: nowhere, value: nowhere };
        Self { fields: [field; N], firsts: Firsts::NONE }
    }

    /// Finds the start line, every header and the body of the message in `datagram`.
    ///
    /// The start line, the form of the header lines and `Content-Length` are judged here; the
    /// other headers when [`Message`] is asked for them. Line ends before the message are skipped
    /// (RFC 3261 §7.5); a line ends in CRLF or LF; a header goes on in lines that begin with white
    /// space (§7.3.1).
    ///
    /// # Errors
    ///
    /// [`Error`] says which rule the message breaks.
    pub fn parse<'a>(&'a mut self, datagram: &'a [u8]) -> Result<Message<'a>> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(Error::TooLong);
        }
        self.firsts = Firsts::NONE;
        let start = datagram.iter().position(|byte| !b"\r\n".contains(byte)).ok_or(Error::Empty)?;
        let end = line_end(datagram, start).ok_or(Error::StartLine)?;
        let start_line = StartLine::parse(without_cr(&datagram[start..end]))?;

        let mut at = end + 1;
        let mut count = 0;
        let mut content_length = None;
        let body = loop {
            match datagram[at..] {
                [b'\n', ref body @ ..] | [b'\r', b'\n', ref body @ ..] => break body,
                [] => return Err(Error::NoEmptyLine),
                _ => {}
            }
            let (field, next) = Field::read(datagram, at)?;
            if field.name == Name::ContentLength {
                agree(&mut content_length, field.value.of(datagram))?;
            }
            *self.fields.get_mut(count).ok_or(Error::TooManyHeaders)? = field;
            self.firsts.note(field.name, count);
            count += 1;
            at = next;
        };
        Ok(Message {
            datagram,
            start_line,
            fields: &self.fields[..count],
            firsts: &self.firsts,
            body: cut(body, content_length)?,
        })
    }
}

impl<const N: usize> Default for Index<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl Field {
    /// The header whose first line begins at `start`, and where the next line begins.
    fn read(datagram: &[u8], start: usize) -> Result<(Self, usize)> {
        let line = &datagram[start..];
        let colon = find_colon(line)?;
        let written = without_blanks(&line[..colon]);
        let name = Name::of(written);
        if name == Name::Other && !TOKEN.spans(written) {
            return Err(Error::HeaderName);
        }
        let colon = start + colon;
        let mut end = line_end(datagram, colon).ok_or(Error::NoEmptyLine)?;
        while let Some(b' ' | b'\t') = datagram.get(end + 1) {
            end = line_end(datagram, end + 1).ok_or(Error::NoEmptyLine)?;
        }
        let value = Span::trimmed(datagram, colon + 1, end);
        let field = Self { name, written: Span::new(start, start + written.len()), value };
        Ok((field, end + 1))
    }
}

impl Span {
    /// Positions are within [`MAX_DATAGRAM`], so the casts lose nothing.
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u16, end: end as u16 }
    }

    /// The piece from `start` to `end` without the white space around it.
    fn trimmed(datagram: &[u8], start: usize, end: usize) -> Self {
        let start = start + LWS.run(&datagram[start..end]);
        Self::new(start, start + trim_end(&datagram[start..end]).len())
    }

    pub(crate) fn of(self, datagram: &[u8]) -> &[u8] {
        &datagram[usize::from(self.start)..usize::from(self.end)]
    }
}

impl Firsts {
    const NONE: Self = Self([u16::MAX; Name::COUNT]);

    /// A datagram has room for fewer than `u16::MAX` headers, so the cast loses nothing.
    fn note(&mut self, name: Name, at: usize) {
        let first = &mut self.0[name as usize];
        *first = (*first).min(at as u16);
    }

    /// Beyond every table if there is none.
    pub(crate) fn of(&self, name: Name) -> usize {
        usize::from(self.0[name as usize])
    }
}

/// Where the name of a header ends, eight bytes at a time: most names are no longer.
fn find_colon(bytes: &[u8]) -> Result<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    const COLONS: u64 = u64::from_ne_bytes([b':'; 8]);

    let (words, rest) = bytes.as_chunks();
    for (i, &word) in words.iter().enumerate() {
        // A colon becomes zero, and the lowest zero byte the lowest one with its high bit set.
        let apart = u64::from_le_bytes(word) ^ COLONS;
        let zeros = apart.wrapping_sub(ONES) & !apart & HIGHS;
        if zeros != 0 {
            return Ok(i * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    match rest.iter().position(|&byte| byte == b':') {
        Some(at) => Ok(bytes.len() - rest.len() + at),
        None if bytes.contains(&b'\n') => Err(Error::HeaderName),
        None => Err(Error::NoEmptyLine),
    }
}

/// A name without the blanks that may stand before its colon (§7.3.1).
fn without_blanks(name: &[u8]) -> &[u8] {
    let mut name = name;
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    name
}

/// Where the line that `start` is in ends: the position of its LF.
fn line_end(datagram: &[u8], start: usize) -> Option<usize> {
    Some(start + memchr(b'\n', &datagram[start..])?)
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Takes note of a `Content-Length`, unless it contradicts the one before: where the body ends must
/// not depend on which of them the reader believes (§20.14).
fn agree(content_length: &mut Option<usize>, value: &[u8]) -> Result<()> {
    let length = decimal(value).ok_or(Error::ContentLength)? as usize;
    match content_length.replace(length) {
        Some(before) if before != length => Err(Error::ContentLengthConflict),
        _ => Ok(()),
    }
}

/// What follows the body in a datagram is ignored; a body that is cut short is an error (§18.3).
fn cut(rest: &[u8], content_length: Option<usize>) -> Result<&[u8]> {
    content_length.map_or(Ok(rest), |length| rest.get(..length).ok_or(Error::BodyCut))
}
