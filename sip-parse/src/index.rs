use wide::u8x16;

use crate::class::{LWS, TOKEN};
use crate::lines::Lines;
use crate::reader::{decimal, find};
use crate::{Error, Message, Mode, Name, Result, StartLine};

/// The longest datagram that is read: positions in it fit 16 bits. UDP carries no longer one.
pub const MAX_DATAGRAM: usize = u16::MAX as usize;

/// How many headers an [`Index`] holds unless told otherwise.
///
/// The longest message of the test corpus, a response that went round a loop of 70 hops, has 77.
/// This many cost 1.3 KB a thread; a message with more is refused, not cut.
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
    /// The start line, the form of the header lines, which headers there are, and `Content-Length`
    /// are judged here; the values of other headers when [`Message`] is asked for them.
    ///
    /// # Errors
    ///
    /// [`Error`] says which rule of `mode` the message breaks.
    pub fn parse<'a>(&'a mut self, datagram: &'a [u8], mode: Mode) -> Result<Message<'a>> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(Error::TooLong);
        }
        self.firsts = Firsts::NONE;
        let text = without_line_ends(datagram, mode)?;
        let mut lines = Lines::new(text);
        let end = lines.next_end().ok_or(Error::StartLine)?;
        let start_line = StartLine::parse(without_cr(&text[..end]), mode)?;

        let mut at = end + 1;
        let mut count = 0;
        let mut content_length = None;
        let head_end = loop {
            match text.get(at) {
                Some(b'\n') => break at + 1,
                Some(b'\r') if text.get(at + 1) == Some(&b'\n') => break at + 2,
                Some(_) => {}
                None if mode.is_strict() => return Err(Error::NoEmptyLine),
                None => break at, // servers do without it where the datagram ends
            }
            let (field, next) = Field::read(text, at, &mut lines)?;
            *self.fields.get_mut(count).ok_or(Error::TooManyHeaders)? = field;
            let is_again = self.firsts.note(field.name, count);
            if is_again && mode.is_strict() && !field.name.may_repeat() {
                return Err(Error::Repeated(field.name));
            }
            if field.name == Name::ContentLength {
                agree(&mut content_length, field.value.of(text), mode)?;
            }
            count += 1;
            at = next;
        };
        let _empty_line = lines.next_end();
        let bare = lines.bare_before(head_end);
        if bare.cr || bare.lf && mode.is_strict() {
            return Err(Error::LineEnd);
        }
        if mode.is_strict() {
            self.firsts.has_mandatory()?;
        }
        let body = cut(&text[head_end..], content_length, mode)?;
        Ok(Message { datagram, text, start_line, fields: &self.fields[..count], firsts: &self.firsts, body, mode })
    }
}

impl<const N: usize> Default for Index<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl Field {
    /// The header whose first line begins at `start`, and where the next one begins: lines that begin
    /// with white space go on with it (§7.3.1).
    #[inline]
    fn read(text: &[u8], start: usize, lines: &mut Lines<'_>) -> Result<(Self, usize)> {
        let line = &text[start..];
        let (name, written, colon) = match known_name(line) {
            Some((name, length)) => (name, length, length),
            None => any_name(line)?,
        };
        let mut end = lines.next_end().ok_or(Error::NoEmptyLine)?;
        while let Some(b' ' | b'\t') = text.get(end + 1) {
            end = lines.next_end().ok_or(Error::NoEmptyLine)?;
        }
        let value = Span::trimmed(text, start + colon + 1, end);
        Ok((Self { name, written: Span::new(start, start + written), value }, end + 1))
    }
}

/// The name that a line begins with and its length, if it is a known one of the usual length and has
/// its colon right behind it.
#[inline]
fn known_name(line: &[u8]) -> Option<(Name, usize)> {
    let head = line.first_chunk()?;
    let colons = u8x16::new(*head).simd_eq(u8x16::splat(b':')).to_bitmask();
    let length = colons.trailing_zeros() as usize;
    Some((Name::of_head(head, length)?, length))
}

/// The name that a line begins with, its length, and where its colon is: blanks may stand between
/// them (§7.3.1).
fn any_name(line: &[u8]) -> Result<(Name, usize, usize)> {
    let colon = find(b':', line).ok_or(Error::HeaderName)?;
    let written = without_blanks(&line[..colon]);
    match Name::of(written) {
        Name::Other if !TOKEN.spans(written) => Err(Error::HeaderName),
        name => Ok((name, written.len(), colon)),
    }
}

impl Span {
    /// Positions are within [`MAX_DATAGRAM`], so the casts lose nothing.
    fn new(start: usize, end: usize) -> Self {
        Self { start: start as u16, end: end as u16 }
    }

    /// The piece from `start` to `end` without the white space around it.
    #[inline]
    fn trimmed(text: &[u8], mut start: usize, mut end: usize) -> Self {
        while start < end && LWS.has(text[start]) {
            start += 1;
        }
        while start < end && LWS.has(text[end - 1]) {
            end -= 1;
        }
        Self::new(start, end)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(crate) fn of(self, datagram: &[u8]) -> &[u8] {
        &datagram[usize::from(self.start)..usize::from(self.end)]
    }
}

impl Firsts {
    const NONE: Self = Self([u16::MAX; Name::COUNT]);

    /// Whether one of this name was there before. A datagram has room for fewer than `u16::MAX`
    /// headers, so the cast loses nothing.
    fn note(&mut self, name: Name, at: usize) -> bool {
        let first = &mut self.0[name as usize];
        let is_again = *first != u16::MAX;
        *first = (*first).min(at as u16);
        is_again
    }

    /// Beyond every table if there is none.
    pub(crate) fn of(&self, name: Name) -> usize {
        usize::from(self.0[name as usize])
    }

    /// `Max-Forwards` is not demanded: RFC 2543 did not know it, and §16.6 says what to do without.
    fn has_mandatory(&self) -> Result<()> {
        [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq]
            .into_iter()
            .find(|&name| self.of(name) == usize::from(u16::MAX))
            .map_or(Ok(()), |name| Err(Error::Missing(name)))
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

/// What begins with the start line: line ends before it are skipped (§7.5), which for servers may be
/// any CR and LF.
fn without_line_ends(datagram: &[u8], mode: Mode) -> Result<&[u8]> {
    let start = datagram.iter().position(|byte| !b"\r\n".contains(byte)).ok_or(Error::Empty)?;
    let (before, text) = datagram.split_at(start);
    let has_only_crlf = before.chunks(2).all(|pair| pair == b"\r\n");
    if has_only_crlf || !mode.is_strict() { Ok(text) } else { Err(Error::LineEnd) }
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Takes note of a `Content-Length`, unless it contradicts the one before: where the body ends must
/// not depend on which of them the reader believes (§20.14).
fn agree(content_length: &mut Option<usize>, value: &[u8], mode: Mode) -> Result<()> {
    /// The longest that servers read: they refuse a number that may not fit 31 bits.
    const LENIENT_MAX: u32 = 2_147_483_639;
    let length = decimal(value).filter(|&length| mode.is_strict() || length <= LENIENT_MAX);
    let length = length.ok_or(Error::Malformed(Name::ContentLength))? as usize;
    match content_length.replace(length) {
        Some(before) if before != length => Err(Error::ContentLengthConflict),
        _ => Ok(()),
    }
}

/// What follows the body in a datagram is ignored; a body that is cut short is an error (§18.3), but
/// for servers what there is of it.
fn cut(rest: &[u8], content_length: Option<usize>, mode: Mode) -> Result<&[u8]> {
    match content_length {
        None => Ok(rest),
        Some(length) if length > rest.len() && mode.is_strict() => Err(Error::BodyCut),
        Some(length) => Ok(&rest[..length.min(rest.len())]),
    }
}
