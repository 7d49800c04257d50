//! The alphabet of RFC 3261 §25.1 and a reader that moves through it.

/// A set of bytes: one bit of [`CLASSES`].
#[derive(Clone, Copy)]
pub(crate) struct Class(u8);

/// What `token` is made of.
pub(crate) const TOKEN: Class = Class(1);
/// What an unquoted parameter value is made of: wider than `token / host` because servers are.
pub(crate) const VALUE: Class = Class(1 << 1);
/// What may stand in a URI. Escapes and UTF-8 are not looked into.
pub(crate) const URI: Class = Class(1 << 2);
/// Letters, digits, `-`, `.` and the `_` that host names have in practice.
pub(crate) const HOST: Class = Class(1 << 3);
/// What stands between the brackets of an `IPv6reference`.
pub(crate) const IPV6: Class = Class(1 << 4);
/// Linear white space. A line end inside a header value is always a fold.
pub(crate) const LWS: Class = Class(1 << 5);
/// Decimal digits.
pub(crate) const DIGIT: Class = Class(1 << 6);
/// What may stand in a display name without quotes: wider than tokens and white space because
/// servers are.
pub(crate) const DISPLAY: Class = Class(1 << 7);

/// The classes each byte is in.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    loop {
        let mut set = 0;
        if byte.is_ascii_alphanumeric() || is_one_of(byte, b"-.!%*_+`'~") {
            set |= TOKEN.0;
        }
        if !is_one_of(byte, b";,\" \t\r\n") {
            set |= VALUE.0;
        }
        if byte > b' ' && byte != 0x7f && !is_one_of(byte, b"<>\"") {
            set |= URI.0;
        }
        if byte.is_ascii_alphanumeric() || is_one_of(byte, b"-._") {
            set |= HOST.0;
        }
        if byte.is_ascii_hexdigit() || is_one_of(byte, b":.") {
            set |= IPV6.0;
        }
        if is_one_of(byte, b" \t\r\n") {
            set |= LWS.0;
        }
        if byte.is_ascii_digit() {
            set |= DIGIT.0;
        }
        if !is_one_of(byte, b"<>;,\"\\") {
            set |= DISPLAY.0;
        }
        classes[byte as usize] = set;
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

const fn is_one_of(byte: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == byte {
            return true;
        }
        i += 1;
    }
    false
}

impl Class {
    pub(crate) fn has(self, byte: u8) -> bool {
        CLASSES[usize::from(byte)] & self.0 != 0
    }

    /// Whether every byte is of this class, and there is one.
    pub(crate) fn spans(self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && bytes.iter().all(|&byte| self.has(byte))
    }

    /// How many bytes at the front are of this class.
    pub(crate) fn run(self, bytes: &[u8]) -> usize {
        bytes.iter().position(|&byte| !self.has(byte)).unwrap_or(bytes.len())
    }
}

/// A URI as far as a first look can tell: it begins with a letter of its scheme and contains
/// nothing that would end it (§19.1.1, §25.1).
pub(crate) fn is_uri(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic) && URI.spans(bytes)
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

/// `1*DIGIT` that fits 32 bits; leading zeros do not count.
pub(crate) fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then_some(())?;
        number.checked_mul(10)?.checked_add(u32::from(digit))
    })
}

/// What is left to read of a header value.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The run of `class` that comes next, perhaps empty.
    pub(crate) fn take(&mut self, class: Class) -> &'a [u8] {
        let (run, rest) = self.rest.split_at(class.run(self.rest));
        self.rest = rest;
        run
    }

    /// The run of `class` that comes next, if there is one.
    pub(crate) fn take_some(&mut self, class: Class) -> Option<&'a [u8]> {
        let run = self.take(class);
        (!run.is_empty()).then_some(run)
    }

    /// A run of `class` between square brackets, and the brackets.
    pub(crate) fn take_bracketed(&mut self, class: Class) -> Option<&'a [u8]> {
        let inside = self.rest.strip_prefix(b"[")?;
        let run = class.run(inside);
        if run == 0 || inside.get(run) != Some(&b']') {
            return None;
        }
        let (bracketed, rest) = self.rest.split_at(run + 2);
        self.rest = rest;
        Some(bracketed)
    }

    pub(crate) fn skip_lws(&mut self) {
        while self.peek().is_some_and(|byte| LWS.has(byte)) {
            self.rest = &self.rest[1..];
        }
    }

    /// Steps over `byte` if it comes next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let Some((&first, rest)) = self.rest.split_first() else {
            return false;
        };
        if first == byte {
            self.rest = rest;
        }
        first == byte
    }

    /// Steps over a separator and the white space that may surround it (`SEMI`, `SLASH`, §25.1).
    pub(crate) fn eat_separator(&mut self, byte: u8) -> bool {
        self.skip_lws();
        let found = self.eat(byte);
        if found {
            self.skip_lws();
        }
        found
    }

    /// What comes before `byte`, and steps over both.
    pub(crate) fn take_until(&mut self, byte: u8) -> Option<&'a [u8]> {
        let at = memchr::memchr(byte, self.rest)?;
        let (before, found) = self.rest.split_at(at);
        self.rest = &found[1..];
        Some(before)
    }

    /// The inside of the quoted string whose opening quote was just read, escapes as they are.
    pub(crate) fn take_quoted(&mut self) -> Option<&'a [u8]> {
        let text = self.rest;
        let mut at = 0;
        loop {
            at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
            if text[at] == b'"' {
                self.rest = &text[at + 1..];
                return Some(&text[..at]);
            }
            at += 2; // the backslash and what it escapes
        }
    }
}
