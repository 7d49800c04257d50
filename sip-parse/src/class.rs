/// A set of bytes: some bits of [`CLASSES`].
#[derive(Clone, Copy)]
pub(crate) struct Class(u32);

/// `token`
pub(crate) const TOKEN: Class = Class(1);
/// `word`: what a `callid` is made of.
pub(crate) const WORD: Class = Class(1 << 1);
/// What an unquoted parameter value is made of for servers: wider than `token / host`.
pub(crate) const VALUE: Class = Class(1 << 2);
/// What a host that is no address is made of for servers: wider than `hostname`.
pub(crate) const HOST: Class = Class(1 << 3);
/// What stands between the brackets of an `IPv6reference`.
pub(crate) const IPV6: Class = Class(1 << 4);
/// `LWS`. A line end inside a header value is always a fold.
pub(crate) const LWS: Class = Class(1 << 5);
/// `DIGIT`
pub(crate) const DIGIT: Class = Class(1 << 6);
/// What may stand in a display name without quotes for servers: wider than tokens and white space.
pub(crate) const DISPLAY: Class = Class(1 << 7);
/// What may stand in a URI for servers.
pub(crate) const URI: Class = Class(1 << 8);
/// `unreserved / user-unreserved`
pub(crate) const USER: Class = Class(1 << 9);
/// `unreserved` and what else a `password` may hold
pub(crate) const PASSWORD: Class = Class(1 << 10);
/// `paramchar` without escapes: names and values of URI parameters
pub(crate) const PARAM: Class = Class(1 << 11);
/// `hnv-unreserved / unreserved`: names and values of URI headers
pub(crate) const HNV: Class = Class(1 << 12);
/// `uric` without escapes, and the brackets of RFC 3986
pub(crate) const URIC: Class = Class(1 << 13);
/// `qdtext`, which a quoted string is made of, folds and non-ASCII included
pub(crate) const QDTEXT: Class = Class(1 << 14);
/// `TEXT-UTF8char / UTF8-CONT / LWS`: any header value
pub(crate) const TEXT: Class = Class(1 << 15);
/// `ctext`, which a comment is made of
pub(crate) const CTEXT: Class = Class(1 << 16);
/// `Reason-Phrase` without escapes
pub(crate) const REASON: Class = Class(1 << 17);
/// [`VALUE`] where a comma parts nothing
pub(crate) const LONE_VALUE: Class = Class(1 << 18);
/// [`DISPLAY`] where a comma parts nothing
pub(crate) const LONE_DISPLAY: Class = Class(1 << 19);
/// What the name of a parameter is made of for servers: wider than `token`
pub(crate) const PARAM_NAME: Class = Class(1 << 20);

/// The classes each byte is in.
static CLASSES: [u32; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0u8;
    loop {
        let alphanum = byte.is_ascii_alphanumeric();
        let unreserved = alphanum || is_one_of(byte, b"-_.!~*'()");
        let lws = is_one_of(byte, b" \t\r\n");
        let control = byte < b' ' || byte == 0x7f;
        classes[byte as usize] = TOKEN.if_(alphanum || is_one_of(byte, b"-.!%*_+`'~"))
            | WORD.if_(alphanum || is_one_of(byte, b"-.!%*_+`'~()<>:\\\"/[]?{}"))
            | VALUE.if_(!control && !is_one_of(byte, b" ;,\""))
            | LONE_VALUE.if_(!control && !is_one_of(byte, b" ;\""))
            | PARAM_NAME.if_(!control && !is_one_of(byte, b" ;,=\"<>()"))
            | HOST.if_(!control && !is_one_of(byte, b" :;,?&=@<>()[]/\"\\"))
            | IPV6.if_(byte.is_ascii_hexdigit() || is_one_of(byte, b":."))
            | LWS.if_(lws)
            | DIGIT.if_(byte.is_ascii_digit())
            | DISPLAY.if_((!control || lws) && !is_one_of(byte, b"<>;,\"\\"))
            | LONE_DISPLAY.if_((!control || lws) && !is_one_of(byte, b"<>;\"\\"))
            | URI.if_(!control && !is_one_of(byte, b" <>\""))
            | USER.if_(unreserved || is_one_of(byte, b"&=+$,;?/"))
            | PASSWORD.if_(unreserved || is_one_of(byte, b"&=+$,"))
            | PARAM.if_(unreserved || is_one_of(byte, b"[]/:&+$"))
            | HNV.if_(unreserved || is_one_of(byte, b"[]/?:+$"))
            | URIC.if_(unreserved || is_one_of(byte, b";/?:@&=+$,[]"))
            | QDTEXT.if_((!control || lws) && !is_one_of(byte, b"\"\\"))
            | REASON.if_(unreserved || is_one_of(byte, b";/?:@&=+$, \t") || !byte.is_ascii())
            | CTEXT.if_((!control || lws) && !is_one_of(byte, b"()\\"))
            | TEXT.if_(!control || lws);
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
    const fn if_(self, member: bool) -> u32 {
        if member { self.0 } else { 0 }
    }

    pub(crate) fn has(self, byte: u8) -> bool {
        CLASSES[usize::from(byte)] & self.0 != 0
    }

    /// Whether every byte is of this class, and there is one.
    pub(crate) fn spans(self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.run(bytes) == bytes.len()
    }

    /// How many bytes at the front are of this class.
    #[inline]
    pub(crate) fn run(self, bytes: &[u8]) -> usize {
        self.run_from(0, bytes)
    }

    /// The same for what tends to be long, four bytes at a time.
    #[inline]
    pub(crate) fn long_run(self, bytes: &[u8]) -> usize {
        let (fours, _) = bytes.as_chunks::<4>();
        let all = |four: &[u8; 4]| four.iter().fold(self.0, |set, &byte| set & CLASSES[usize::from(byte)]) != 0;
        let length = fours.iter().take_while(|four| all(four)).count() * 4;
        self.run_from(length, bytes)
    }

    #[inline]
    fn run_from(self, start: usize, bytes: &[u8]) -> usize {
        let mut length = start;
        while let Some(&byte) = bytes.get(length)
            && self.has(byte)
        {
            length += 1;
        }
        length
    }

    /// How many bytes at the front are of this class or part of an escape, `%` and two hexadecimal
    /// digits (§25.1 `escaped`).
    #[inline]
    pub(crate) fn run_escaped(self, bytes: &[u8]) -> usize {
        let length = self.run(bytes);
        if bytes.get(length) == Some(&b'%') { self.run_on_escaped(length, bytes) } else { length }
    }

    fn run_on_escaped(self, start: usize, bytes: &[u8]) -> usize {
        let mut length = start;
        while let [b'%', high, low, ..] = bytes[length..]
            && high.is_ascii_hexdigit()
            && low.is_ascii_hexdigit()
        {
            length += 3;
            length += self.run(&bytes[length..]);
        }
        length
    }

    /// Whether all bytes are of this class or part of an escape. Nothing is all of it.
    pub(crate) fn spans_escaped(self, bytes: &[u8]) -> bool {
        self.run_escaped(bytes) == bytes.len()
    }
}
