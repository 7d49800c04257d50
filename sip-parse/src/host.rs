use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::class::{HOST, IPV6};
use crate::reader::Reader;

/// A host as it was written: a name, an IPv4 address, or an IPv6 address in brackets
/// (RFC 3261 §25.1 `host`).
#[derive(Clone, Copy, Debug, Eq)]
pub struct Host<'a>(&'a [u8]);

impl<'a> Host<'a> {
    /// As it was written; an IPv6 address keeps its brackets.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The address, unless it is a name.
    ///
    /// Of IPv6 both grammars are read, that of RFC 3261 with three colons before an IPv4 tail and
    /// the one that was meant (RFC 5118 §4.10, RFC 5954).
    pub fn ip(self) -> Option<IpAddr> {
        match self.0 {
            [b'[', inside @ .., b']'] => ipv6(inside).map(IpAddr::V6),
            [first, ..] if first.is_ascii_digit() => ipv4(self.0).map(IpAddr::V4),
            _ => None,
        }
    }

    /// Reads the host that comes next.
    #[inline]
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        match reader.peek()? {
            b'[' => {
                let host = Self(reader.take_enclosed(b'[', IPV6, b']')?);
                (!reader.is_strict() || host.ip().is_some()).then_some(host)
            }
            _ if !reader.is_strict() => reader.take_some(HOST).map(Self),
            first => {
                let text = reader.rest();
                let length = if first.is_ascii_digit() {
                    ipv4_run(text).or_else(|| hostname_run(text))
                } else {
                    hostname_run(text)
                };
                Some(Self(reader.take_bytes(length?)))
            }
        }
    }

    /// Reads a host and the port behind it. White space may surround the colon in a `Via`
    /// (`COLON`), not in a URI.
    #[inline(always)]
    pub(crate) fn read_with_port(reader: &mut Reader<'a>, spaced: bool) -> Option<(Self, Option<u16>)> {
        let host = Self::read(reader)?;
        let has_port = if spaced { reader.eat_separator(b':') } else { reader.eat(b':') };
        if !has_port {
            return Some((host, None));
        }
        // In a URI, servers read a colon without a port as no port.
        let may_be_absent = !spaced && !reader.is_strict();
        if may_be_absent && !reader.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Some((host, None));
        }
        let port = reader.take_decimal()?.try_into().ok()?;
        Some((host, Some(port)))
    }
}

/// Addresses compare by value, names without case (§19.1.4).
impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.ip(), other.ip()) {
            (None, None) => self.0.eq_ignore_ascii_case(other.0),
            (one, another) => one == another,
        }
    }
}

impl Hash for Host<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.ip() {
            Some(ip) => ip.hash(state),
            None => self.0.iter().for_each(|byte| state.write_u8(byte.to_ascii_lowercase())),
        }
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// The length of the `hostname = *( domainlabel "." ) toplabel [ "." ]` at the front: labels of
/// letters, digits and hyphens begin and end in a letter or a digit, the last begins with a letter.
fn hostname_run(text: &[u8]) -> Option<usize> {
    let mut length = 0;
    let mut label = 0;
    let mut top_label = 0;
    while let Some(&byte) = text.get(length) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => top_label = label,
            b'-' if length > label => {}
            b'.' if length > label && text[length - 1] != b'-' => label = length + 1,
            b'-' | b'.' => return None,
            _ => break,
        }
        length += 1;
    }
    let ends_well = length > 0 && text[length - 1] != b'-';
    (ends_well && text[top_label].is_ascii_alphabetic()).then_some(length)
}

/// The length of the IPv4 address at the front, if no more of a name follows.
fn ipv4_run(text: &[u8]) -> Option<usize> {
    let (_, length) = ipv4_at_front(text)?;
    let goes_on = text.get(length).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte));
    (!goes_on).then_some(length)
}

/// An IPv4 address that is all of `text`.
pub(crate) fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (address, length) = ipv4_at_front(text)?;
    (length == text.len()).then_some(address)
}

/// Four decimal numbers up to 255, and their length. A zero in front means nothing here
/// (`1*3DIGIT`).
#[inline]
fn ipv4_at_front(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let mut octets = [0; 4];
    let mut at = 0;
    for (i, octet) in octets.iter_mut().enumerate() {
        if i > 0 {
            (text.get(at) == Some(&b'.')).then_some(())?;
            at += 1;
        }
        let digit = |at: usize| text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10);
        let mut number = u16::from(digit(at)?);
        at += 1;
        for _ in 0..2 {
            let Some(next) = digit(at) else { break };
            number = number * 10 + u16::from(next);
            at += 1;
        }
        *octet = number.try_into().ok()?;
    }
    Some((octets.into(), at))
}

/// An IPv6 address without brackets. Three colons before an IPv4 tail are what the grammar of RFC 3261
/// says, two what it meant (RFC 5118 §4.10).
pub(crate) fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    let parsed = |text: &[u8]| core::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok();
    let colon = text.iter().rposition(|&byte| byte == b':')?;
    let (head, tail) = text.split_at(colon + 1);
    if !tail.contains(&b'.') {
        return parsed(text);
    }
    // The tail is read like any other IPv4 address, and left out of what the library reads.
    const NO_TAIL: &[u8] = b"0.0.0.0";
    let head = if head.ends_with(b":::") { &head[..colon] } else { head };
    let mut buffer = [0; 48];
    buffer.get_mut(..head.len())?.copy_from_slice(head);
    buffer.get_mut(head.len()..head.len() + NO_TAIL.len())?.copy_from_slice(NO_TAIL);
    let address = parsed(&buffer[..head.len() + NO_TAIL.len()])?;
    Some(Ipv6Addr::from_bits(address.to_bits() | u128::from(ipv4(tail)?.to_bits())))
}
