//! What must be seen of SIP before anything else is done. Names no header: `sip-parse` does.

use crate::packet::Frame;

/// What a datagram on a SIP port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Empty, CRLFs, NULs or `jaK` (RFC 5626 §3.5.1 and what phones really send).
    KeepAlive,
    /// A STUN message, with RFC 8489's cookie or in RFC 3489's form.
    Stun,
    /// A start line that ends with `SIP/2.0`.
    Request(Class),
    /// A start line that begins with `SIP/2.0`.
    Response,
    /// Under [`DATAGRAM_MIN`] bytes, and no keep-alive.
    Short,
    /// The bytes end before the start line does.
    Unfinished,
    /// Anything else.
    Malformed,
}

/// Methods that rules tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Any method without a rule of its own.
    Other,
    /// OPTIONS.
    Options,
}

impl Payload {
    const ALL: [Self; 8] = [
        Self::KeepAlive,
        Self::Stun,
        Self::Request(Class::Other),
        Self::Request(Class::Options),
        Self::Response,
        Self::Short,
        Self::Unfinished,
        Self::Malformed,
    ];

    /// A number below 8 for it: what is handed across a point where the verifier must forget.
    #[inline(always)]
    pub const fn code(self) -> u64 {
        match self {
            Self::KeepAlive => 0,
            Self::Stun => 1,
            Self::Request(Class::Other) => 2,
            Self::Request(Class::Options) => 3,
            Self::Response => 4,
            Self::Short => 5,
            Self::Unfinished => 6,
            Self::Malformed => 7,
        }
    }

    /// The payload of a [`code`](Self::code).
    #[inline(always)]
    pub const fn of(code: u64) -> Self {
        Self::ALL[(code & 7) as usize]
    }
}

/// Longest start line, line end included, bytes. Longer ones are malformed: no server here takes a Request-URI of 2 KB.
pub const LINE_MAX: usize = 2048;
/// CRs and LFs skipped in front of a message (RFC 3261 §7.5 asks for it, OpenSIPS and Kamailio do it).
pub const LEADING_MAX: usize = 16;
/// Spaces and tabs ignored between `SIP/2.0` and the line end.
pub const TRAILING_MAX: usize = 4;
/// OpenSIPS and Kamailio ignore shorter datagrams (MIN_UDP_PACKET), bytes.
pub const DATAGRAM_MIN: usize = 20;

const fn every(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// High bit set in the lowest byte of `word` that equals `byte`; higher bits may be set in error.
#[inline(always)]
const fn find(word: u64, byte: u8) -> u64 {
    let x = word ^ every(byte);
    x.wrapping_sub(every(1)) & !x & every(0x80)
}

/// The first LF in `at..end`, within [`LINE_MAX`] bytes. The last, partial word is read so that it ends at `end`:
/// the packet's headers are always in front of it.
#[inline(always)]
pub fn line_feed(f: &impl Frame, mut at: usize, end: usize) -> Option<usize> {
    for _ in 0..LINE_MAX / 8 {
        if at + 8 > end {
            let left = end.wrapping_sub(at) & 7;
            if left == 0 || end < 42 {
                return None;
            }
            let word = f.le64(f.settle(end - 8))?;
            let hit = find(word >> (64 - left * 8), b'\n');
            return if hit == 0 { None } else { Some(at + (hit.trailing_zeros() / 8) as usize) };
        }
        let hit = find(f.le64(at)?, b'\n');
        if hit != 0 {
            return Some(at + (hit.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    None
}

/// What stands in `start..end`, the payload of a datagram. `line_feed` finds the end of a line; it is a parameter
/// because the kernel verifies it apart.
#[inline(always)]
pub fn classify(
    f: &impl Frame,
    start: usize,
    end: usize,
    line_feed: impl Fn(usize, usize) -> Option<usize>,
) -> Payload {
    let mut at = start;
    if at >= end {
        return Payload::KeepAlive;
    }
    let Some(mut first) = f.u8(at) else { return Payload::Malformed };
    if first == b'\r' || first == b'\n' {
        for _ in 0..LEADING_MAX {
            at = f.settle(at + 1);
            if at >= end {
                return Payload::KeepAlive;
            }
            let Some(c) = f.u8(at) else { return Payload::Malformed };
            first = c;
            if c != b'\r' && c != b'\n' {
                break;
            }
        }
        at = f.settle(at);
    }
    let left = end.wrapping_sub(at);
    if left <= 4 && (first == 0 || (left == 3 && f.load::<3>(at) == Some(*b"jaK"))) {
        return Payload::KeepAlive;
    }
    if left < DATAGRAM_MIN {
        return Payload::Short;
    }
    let Some(head) = f.le64(at) else { return Payload::Malformed };
    if is_stun(head, left) {
        return Payload::Stun;
    }
    if first <= b' ' || first >= 0x7f {
        return Payload::Malformed;
    }
    let at = f.settle(at);
    let Some(feed) = line_feed(f.settle(at + 8), end) else {
        return if left < LINE_MAX { Payload::Unfinished } else { Payload::Malformed };
    };
    if head | LETTERS_3 == word(*b"sip/2.0 ") {
        return Payload::Response;
    }
    if !ends_with_version(f, at, feed) {
        return Payload::Malformed;
    }
    Payload::Request(class(head))
}

/// Case bits of the first three bytes.
const LETTERS_3: u64 = 0x20_2020;
/// Case bits of the first seven bytes.
const LETTERS_7: u64 = 0x20_2020_2020_2020;

#[inline(always)]
const fn word(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

/// RFC 8489 §5: two zero bits, magic cookie. RFC 3489 §11.1: a Binding Request whose length fits.
#[inline(always)]
fn is_stun(head: u64, left: usize) -> bool {
    const COOKIE: u64 = 0x42a4_1221;
    let length = ((head >> 16 & 0xff) << 8 | head >> 24 & 0xff) as usize;
    (head & 0xc0 == 0 && head >> 32 == COOKIE) || (head & 0xffff == 0x0100 && length + 20 == left)
}

/// Does the line that ends with the LF at `feed` end with ` SIP/2.0`, in any case (RFC 3261 §7.1), after at least
/// a one-letter method and a one-letter URI?
#[inline(always)]
fn ends_with_version(f: &impl Frame, at: usize, feed: usize) -> bool {
    let mut last = feed;
    for _ in 0..=TRAILING_MAX {
        if last < at + 12 {
            return false;
        }
        let Some(c) = f.u8(f.settle(last - 1)) else { return false };
        if c != b'\r' && c != b' ' && c != b'\t' {
            break;
        }
        last = f.settle(last - 1);
    }
    if last < at + 11 {
        return false;
    }
    let Some(tail) = f.le64(f.settle(last - 8)) else { return false };
    // " SIP/2.0", or a tab in front
    let (tail, blank) = (tail | LETTERS_3 << 8, tail as u8);
    tail >> 8 == word(*b" sip/2.0") >> 8 && (blank == b' ' || blank == b'\t')
}

/// Methods compare without case: RFC 3261 §7.1 says otherwise, but OpenSIPS and Kamailio answer `options`.
#[inline(always)]
fn class(head: u64) -> Class {
    let blank = (head >> 56) as u8;
    let options = (head | LETTERS_7) << 8 == word(*b"options ") << 8;
    if options && (blank == b' ' || blank == b'\t') { Class::Options } else { Class::Other }
}
