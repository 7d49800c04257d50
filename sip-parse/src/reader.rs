//! A reader that moves through a header value, and what numbers and text look like in it.

use crate::Mode;
use crate::class::{CTEXT, Class, LWS, QDTEXT};

/// What is left to read of a header value, and whose reading it is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    pub(crate) mode: Mode,
    context: Context,
}

/// Where the value that is read stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Context {
    /// Among others, where a comma ends it.
    List,
    /// Alone in its header. Servers read a comma in it as text.
    Lone,
    /// In a `Via`, where `received` may hold an IPv6 address without brackets (RFC 5118 §4.5).
    Via,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(value: &'a [u8], mode: Mode) -> Self {
        Self { rest: value, mode, context: Context::List }
    }

    /// For a header that holds one value.
    pub(crate) fn lone(value: &'a [u8], mode: Mode) -> Self {
        Self { rest: value, mode, context: Context::Lone }
    }

    /// `in_list` in strict mode and in lists, else `alone`.
    pub(crate) fn class(&self, in_list: Class, alone: Class) -> Class {
        if self.context == Context::Lone && !self.is_strict() { alone } else { in_list }
    }

    pub(crate) fn enter_via(&mut self) {
        self.context = Context::Via;
    }

    pub(crate) fn is_in_via(&self) -> bool {
        self.context == Context::Via
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.mode.is_strict()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next byte, whatever it is.
    pub(crate) fn take_byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has been read since `before`.
    pub(crate) fn since(&self, before: &Self) -> &'a [u8] {
        before.rest.get(..before.rest.len().saturating_sub(self.rest.len())).unwrap_or_default()
    }

    /// A reader of what lies between this one and a later one.
    pub(crate) fn up_to(self, later: &Self) -> Self {
        Self { rest: later.since(&self), ..self }
    }

    /// The run of `class` that comes next, perhaps empty.
    #[inline]
    pub(crate) fn take(&mut self, class: Class) -> &'a [u8] {
        self.take_bytes(class.run(self.rest))
    }

    /// The run of `class` that comes next, if there is one.
    #[inline]
    pub(crate) fn take_some(&mut self, class: Class) -> Option<&'a [u8]> {
        let run = self.take(class);
        (!run.is_empty()).then_some(run)
    }

    /// The run of `class` that comes next, perhaps empty: one that tends to be long.
    #[inline]
    pub(crate) fn take_long(&mut self, class: Class) -> &'a [u8] {
        self.take_bytes(class.long_run(self.rest))
    }

    /// A run of `class` between `open` and `close`, and these two.
    pub(crate) fn take_enclosed(&mut self, open: u8, class: Class, close: u8) -> Option<&'a [u8]> {
        let inside = self.rest.strip_prefix(&[open])?;
        let run = class.run(inside);
        (run > 0 && inside.get(run) == Some(&close)).then(|| self.take_bytes(run + 2))
    }

    #[inline]
    pub(crate) fn take_bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    #[inline]
    pub(crate) fn skip_lws(&mut self) {
        while let [first, rest @ ..] = self.rest
            && LWS.has(*first)
        {
            self.rest = rest;
        }
    }

    /// `1*DIGIT` that fits 32 bits; leading zeros do not count.
    #[inline]
    pub(crate) fn take_decimal(&mut self) -> Option<u32> {
        let mut number = 0u32;
        let mut length = 0;
        while let Some(digit) = self.rest.get(length).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            number = number.checked_mul(10)?.checked_add(u32::from(digit))?;
            length += 1;
        }
        self.take_bytes(length);
        (length > 0).then_some(number)
    }

    /// Steps over white space, of which there has to be some.
    pub(crate) fn eat_lws(&mut self) -> bool {
        !self.take(LWS).is_empty()
    }

    /// Steps over `byte` if it comes next.
    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Steps over `text` if it comes next.
    #[inline]
    pub(crate) fn eat_exactly<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        match self.rest.split_first_chunk() {
            Some((first, rest)) if first == text => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Steps over a separator and the white space that may surround it (`SEMI`, `SLASH`, §25.1).
    #[inline]
    pub(crate) fn eat_separator(&mut self, byte: u8) -> bool {
        match self.rest {
            [] => false,
            // As most write it: without white space.
            [first, second, ..] if *first == byte && !LWS.has(*second) => self.eat(byte),
            [first, ..] if *first != byte && !LWS.has(*first) => false,
            _ => self.eat_separator_among_lws(byte),
        }
    }

    fn eat_separator_among_lws(&mut self, byte: u8) -> bool {
        self.skip_lws();
        let found = self.eat(byte);
        if found {
            self.skip_lws();
        }
        found
    }

    /// What comes before `byte`, and steps over both.
    pub(crate) fn take_until(&mut self, byte: u8) -> Option<&'a [u8]> {
        let before = self.take_bytes(find(byte, self.rest)?);
        self.eat(byte);
        Some(before)
    }

    /// The inside of a quoted string, escapes as they are; `None` if none comes next or it has no
    /// end. Strict: of `qdtext` and `quoted-pair` (§25.1), in UTF-8. Lenient: anything but a NUL
    /// that is not escaped.
    pub(crate) fn take_quoted(&mut self) -> Option<&'a [u8]> {
        let inside = self.rest.strip_prefix(b"\"")?;
        let mut end = 0;
        loop {
            let from = inside.get(end..)?;
            end += if self.is_strict() { QDTEXT.run(from) } else { find_end_of_qdtext(from)? };
            match inside.get(end..)? {
                [b'"', rest @ ..] => {
                    let text = &inside[..end];
                    self.rest = rest;
                    return (!self.is_strict() || is_utf8(text)).then_some(text);
                }
                [b'\\', escaped, ..] if !self.is_strict() || is_escapable(*escaped) => end += 2,
                _ => return None,
            }
        }
    }

    /// What comes behind the white space that comes next.
    pub(crate) fn after_lws(&self) -> Option<u8> {
        self.rest.get(LWS.run(self.rest)).copied()
    }

    /// `comment = LPAREN *( ctext / quoted-pair / comment ) RPAREN`
    pub(crate) fn take_comment(&mut self) -> Option<()> {
        let mut depth = 0u32;
        loop {
            match self.take_byte()? {
                b'(' => depth += 1,
                b')' => depth = depth.checked_sub(1)?,
                b'\\' => {
                    self.take_byte().filter(|&escaped| is_escapable(escaped))?;
                }
                _ => return None,
            }
            if depth == 0 {
                return Some(());
            }
            self.take(CTEXT);
        }
    }
}

/// `quoted-pair = "\" (%x00-09 / %x0B-0C / %x0E-7F)` (§25.1)
fn is_escapable(byte: u8) -> bool {
    byte.is_ascii() && !b"\r\n".contains(&byte)
}

pub(crate) fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || core::str::from_utf8(text).is_ok()
}

/// The text without the white space behind it.
pub(crate) fn trim_end(text: &[u8]) -> &[u8] {
    let mut text = text;
    while let [rest @ .., last] = text
        && LWS.has(*last)
    {
        text = rest;
    }
    text
}

/// `1*DIGIT` that fits 32 bits and is all of `digits`.
pub(crate) fn decimal(digits: &[u8]) -> Option<u32> {
    let mut reader = Reader::new(digits, Mode::Strict);
    reader.take_decimal().filter(|_| reader.is_at_end())
}

pub(crate) fn port_number(digits: &[u8]) -> Option<u16> {
    decimal(digits)?.try_into().ok()
}

/// The position of the first `byte`, eight bytes at a time.
///
/// Names, values and URIs are a few words long: this is inlined where a library would be called.
#[inline]
pub(crate) fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

    let wanted = ONES * u64::from(byte);
    let find_in = |word: [u8; 8]| {
        // What is wanted becomes zero, and the lowest zero byte the lowest one with its high bit set.
        let apart = u64::from_le_bytes(word) ^ wanted;
        let zeros = apart.wrapping_sub(ONES) & !apart & HIGHS;
        (zeros != 0).then_some(zeros.trailing_zeros() as usize / 8)
    };
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().position(|&found| found == byte);
    };
    let (words, _) = bytes.as_chunks();
    for (i, &word) in words.iter().enumerate() {
        if let Some(at) = find_in(word) {
            return Some(i * 8 + at);
        }
    }
    // Some of these have been looked at already.
    Some(bytes.len() - 8 + find_in(*last)?)
}

fn find_end_of_qdtext(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0))
}
