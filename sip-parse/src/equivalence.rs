//! Which URIs name the same thing (RFC 3261 §19.1.4, RFC 3966 §4, RFC 8141 §3). Escapes are undone here
//! and nowhere else.

use crate::reader::find;
use crate::uri::{is, split};
use crate::{SipUri, TelUri, Uri, UriParams};

/// URIs with more parameters or headers than this are equivalent only if these are written alike:
/// comparing them in any order takes time by their number and length. No real URI has more than ten.
pub const MAX_COMPARED: usize = 32;

/// The same for the length of all parameters or headers together, in bytes.
pub const MAX_COMPARED_LENGTH: usize = 1024;

impl Uri<'_> {
    /// Whether the two name the same thing: §19.1.4 for `sip` and `sips`, RFC 3966 §4 for `tel`,
    /// RFC 8141 §3 for `urn`; byte by byte for others.
    pub fn is_equivalent(self, other: Uri<'_>) -> bool {
        match (self, other) {
            (Self::Sip(one), Uri::Sip(another)) => one.is_equivalent(another),
            (Self::Tel(one), Uri::Tel(another)) => one.is_equivalent(another),
            (Self::Urn { nid, nss }, Uri::Urn { nid: other_nid, nss: other_nss }) => {
                is(nid, other_nid) && canonical_nss(nid, nss).eq(canonical_nss(other_nid, other_nss))
            }
            (Self::Other { scheme, rest }, Uri::Other { scheme: other_scheme, rest: other_rest }) => {
                is(scheme, other_scheme) && rest == other_rest
            }
            _ => false,
        }
    }
}

impl SipUri<'_> {
    /// §19.1.4
    fn is_equivalent(self, other: SipUri<'_>) -> bool {
        self.secure == other.secure
            && agree(self.user, other.user, is_equal)
            && agree(self.password, other.password, is_equal)
            && self.host == other.host
            && self.port == other.port
            && self.params.are_equivalent(other.params)
            && headers_are_equivalent(self.headers, other.headers)
    }
}

impl<'a> TelUri<'a> {
    /// Neither visual separators nor the order of parameters count (RFC 3966 §4).
    fn is_equivalent(self, other: TelUri<'_>) -> bool {
        let includes = |one: UriParams<'_>, another: UriParams<'_>| {
            one.into_iter().all(|(name, value)| match (value, another.get(name)) {
                (Some(value), Some(Some(found))) if is_number_param(name) => canonical(value).eq(canonical(found)),
                (value, Some(found)) => agree(value, found, is_equal_ignoring_case),
                (_, None) => false,
            })
        };
        digits(self.number).eq(digits(other.number))
            && (self.params == other.params
                || self.params.are_comparable(other.params)
                    && includes(self.params, other.params)
                    && includes(other.params, self.params))
    }

    /// Where a local number is one: in canonical form, empty if the number is global (RFC 3966
    /// §5.1.5).
    pub(crate) fn context(self) -> impl Iterator<Item = u8> + Clone + 'a {
        canonical(self.params.get(b"phone-context").flatten().unwrap_or_default())
    }
}

fn is_number_param(name: &[u8]) -> bool {
    is_equal_ignoring_case(name, b"phone-context") || is_equal_ignoring_case(name, b"ext")
}

/// A number or a domain without case and escapes, and a number without visual separators.
fn canonical(text: &[u8]) -> impl Iterator<Item = u8> + Clone + '_ {
    let is_number = unescaped(text).next().is_some_and(|(byte, _)| byte == b'+' || byte.is_ascii_digit());
    let is_separator = move |byte: &u8| is_number && b"-.()".contains(byte);
    unescaped(text).map(|(byte, _)| byte.to_ascii_lowercase()).filter(move |byte| !is_separator(byte))
}

/// The name of a URN as it compares: without the components behind it, with escapes in upper case,
/// and services in lower case (RFC 8141 §3, RFC 5031 §4.2).
pub(crate) fn canonical_nss(nid: &[u8], nss: &[u8]) -> impl Iterator<Item = u8> + Clone {
    let end = nss.windows(2).position(|pair| matches!(pair, b"?+" | b"?=")).unwrap_or(nss.len());
    let end = find(b'#', &nss[..end]).unwrap_or(end);
    let is_service = is(nid, b"service");
    let mut in_escape = 0u8;
    nss[..end].iter().map(move |&byte| {
        let is_hex_digit = in_escape > 0;
        in_escape = if byte == b'%' { 2 } else { in_escape.saturating_sub(1) };
        match byte {
            _ if is_hex_digit => byte.to_ascii_uppercase(),
            _ if is_service => byte.to_ascii_lowercase(),
            _ => byte,
        }
    })
}

/// A number without its visual separators.
pub(crate) fn digits(number: &[u8]) -> impl Iterator<Item = u8> + Clone {
    number.iter().filter(|byte| !b"-.()".contains(byte)).map(u8::to_ascii_lowercase)
}

impl UriParams<'_> {
    /// Whether there are few enough of them in both.
    fn are_comparable(self, other: UriParams<'_>) -> bool {
        self.as_bytes().len().max(other.as_bytes().len()) <= MAX_COMPARED_LENGTH
            && self.into_iter().count().max(other.into_iter().count()) <= MAX_COMPARED
    }

    /// Those in both are the same, and none of `user`, `ttl`, `method`, `maddr`, `transport` is in
    /// one alone (§19.1.4).
    fn are_equivalent(self, other: UriParams<'_>) -> bool {
        const MUST_MATCH: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];
        let includes = |one: UriParams<'_>, another: UriParams<'_>| {
            one.into_iter().all(|(name, value)| match another.get(name) {
                Some(found) => agree(value, found, is_equal_ignoring_case),
                None => !MUST_MATCH.iter().any(|must| is_equal_ignoring_case(name, must)),
            })
        };
        self == other || self.are_comparable(other) && includes(self, other) && includes(other, self)
    }
}

/// Any that is in one is in the other (§19.1.4).
fn headers_are_equivalent(one: Option<&[u8]>, another: Option<&[u8]>) -> bool {
    fn headers(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        text.split(|&byte| byte == b'&').map(|header| split(header, b'='))
    }
    let includes = |one: &[u8], another: &[u8]| {
        headers(one).all(|(name, value)| {
            headers(another)
                .any(|(found, found_value)| is_equal_ignoring_case(name, found) && agree(value, found_value, is_equal))
        })
    };
    match (one, another) {
        (Some(one), Some(another)) => {
            let (count, other_count) = (headers(one).count(), headers(another).count());
            let is_comparable =
                count == other_count && count <= MAX_COMPARED && one.len().max(another.len()) <= MAX_COMPARED_LENGTH;
            one == another || is_comparable && includes(one, another) && includes(another, one)
        }
        (None, None) => true,
        _ => false,
    }
}

/// The bytes that a text with escapes stands for (§19.1.2), and whether each was escaped. What is
/// not an escape stands for itself.
pub(crate) fn unescaped(text: &[u8]) -> impl Iterator<Item = (u8, bool)> + Clone + '_ {
    let mut rest = text;
    core::iter::from_fn(move || {
        let (byte, after) = match rest {
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                ((hex(*high) << 4 | hex(*low), true), after)
            }
            [byte, after @ ..] => ((*byte, false), after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

/// The same, for comparing: a reserved character is not the same as its escape (§19.1.4).
fn comparable(text: &[u8]) -> impl Iterator<Item = (u8, bool)> + Clone + '_ {
    unescaped(text).map(|(byte, escaped)| (byte, escaped && b";/?:@&=+$,".contains(&byte)))
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> u8 {
    if digit.is_ascii_digit() { digit - b'0' } else { (digit | 0x20) - b'a' + 10 }
}

fn is_equal(one: &[u8], another: &[u8]) -> bool {
    comparable(one).eq(comparable(another))
}

pub(crate) fn is_equal_ignoring_case(one: &[u8], another: &[u8]) -> bool {
    let lower = |(byte, reserved): (u8, bool)| (byte.to_ascii_lowercase(), reserved);
    comparable(one).map(lower).eq(comparable(another).map(lower))
}

/// Whether both are there and the same, or neither is there.
fn agree(one: Option<&[u8]>, another: Option<&[u8]>, is_same: fn(&[u8], &[u8]) -> bool) -> bool {
    match (one, another) {
        (Some(one), Some(another)) => is_same(one, another),
        (None, None) => true,
        _ => false,
    }
}
