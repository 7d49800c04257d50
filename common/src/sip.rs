//! What must be seen of SIP before anything else is done. Names no header: `sip-parse` does.

use crate::packet::Frame;

/// What a datagram on a SIP port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Empty, CRLFs, NULs or `jaK` (RFC 5626 §3.5.1 and what phones really send).
    KeepAlive,
    /// A STUN message, with RFC 8489's cookie or in RFC 3489's form.
    Stun,
    /// A start line that begins with `SIP/2.0`.
    Response,
    /// Under [`DATAGRAM_MIN`] bytes, and no keep-alive.
    Short,
    /// The bytes end before the start line does.
    Unfinished,
    /// No line end within [`LINE_MAX`] bytes.
    LongLine,
    /// Anything else.
    Malformed,
    /// A start line that ends with `SIP/2.0`.
    Request(Class),
}

/// Methods that rules tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// REGISTER.
    Register,
    /// INVITE.
    Invite,
    /// OPTIONS.
    Options,
    /// ACK, to which nobody answers.
    Ack,
    /// BYE, CANCEL, PRACK, UPDATE: they belong to a call that is there.
    InCall,
    /// SUBSCRIBE, NOTIFY, MESSAGE, PUBLISH, REFER, INFO.
    Other,
    /// A method that IANA's registry of SIP methods does not name.
    Unknown,
}

impl Class {
    /// All classes; the position of each is its number.
    pub const ALL: [Self; 7] =
        [Self::Register, Self::Invite, Self::Options, Self::Ack, Self::InCall, Self::Other, Self::Unknown];

    /// This class' bit in [`Config::silent`](crate::state::Config::silent).
    #[inline(always)]
    pub const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// In the numbers of [`Payload::code`]: a request.
const REQUEST: u64 = 8;
/// Beside the numbers of [`Payload::code`]: a later fragment, of which nobody knows what it holds.
pub const LATER_FRAGMENT: u64 = 7;

impl Payload {
    const ALL: [Self; 16] = [
        Self::KeepAlive,
        Self::Stun,
        Self::Response,
        Self::Short,
        Self::Unfinished,
        Self::LongLine,
        Self::Malformed,
        Self::Malformed,
        Self::Request(Class::Register),
        Self::Request(Class::Invite),
        Self::Request(Class::Options),
        Self::Request(Class::Ack),
        Self::Request(Class::InCall),
        Self::Request(Class::Other),
        Self::Request(Class::Unknown),
        Self::Request(Class::Unknown),
    ];

    /// A number below 16 for it: what is handed across a point where the verifier must forget.
    #[inline(always)]
    pub const fn code(self) -> u64 {
        match self {
            Self::KeepAlive => 0,
            Self::Stun => 1,
            Self::Response => 2,
            Self::Short => 3,
            Self::Unfinished => 4,
            Self::LongLine => 5,
            Self::Malformed => 6,
            Self::Request(class) => REQUEST | class as u64,
        }
    }

    /// The payload of a [`code`](Self::code).
    #[inline(always)]
    pub const fn of(code: u64) -> Self {
        Self::ALL[(code & 15) as usize]
    }
}

/// Longest start line, line end included, bytes: no server here takes a Request-URI of 2 KB.
pub const LINE_MAX: usize = 2048;
/// CRs and LFs skipped in front of a message (RFC 3261 §7.5 asks for it, OpenSIPS and Kamailio do it).
pub const LEADING_MAX: usize = 16;
/// Spaces and tabs ignored between `SIP/2.0` and the line end.
pub const TRAILING_MAX: usize = 4;
/// OpenSIPS and Kamailio ignore shorter datagrams (MIN_UDP_PACKET), bytes.
pub const DATAGRAM_MIN: usize = 20;

pub(crate) const fn every(byte: u8) -> u64 {
    0x0101_0101_0101_0101 * byte as u64
}

/// High bit set in the lowest byte of `word` that equals `byte`; higher bits may be set in error.
#[inline(always)]
pub(crate) const fn find(word: u64, byte: u8) -> u64 {
    let x = word ^ every(byte);
    x.wrapping_sub(every(1)) & !x & every(0x80)
}

/// Bytes that [`line_feed`] looks at together.
const BLOCK: usize = 32;

/// The first LF in `at..end`, within [`LINE_MAX`] bytes. The last, partial word is read so that it ends at `end`:
/// the packet's headers are always in front of it.
#[inline(always)]
pub fn line_feed(f: &impl Frame, mut at: usize, end: usize) -> Option<usize> {
    for _ in 0..LINE_MAX / BLOCK {
        if at + BLOCK > end {
            break;
        }
        let [a, b, c, d] = f.words::<4>(at)?;
        let (ha, hb, hc, hd) = (find(a, b'\n'), find(b, b'\n'), find(c, b'\n'), find(d, b'\n'));
        if ha | hb | hc | hd != 0 {
            // Two steps, so that there are four paths of little length and not four of all that follows.
            let (before, x, y) = if ha | hb != 0 { (0, ha, hb) } else { (16, hc, hd) };
            let (before, hit) = if x != 0 { (before, x) } else { (before + 8, y) };
            return Some(f.settle(at + before + (hit.trailing_zeros() / 8) as usize));
        }
        at += BLOCK;
    }
    // Under a block is left. One path from here on.
    let mut at = f.settle(at);
    for _ in 0..BLOCK / 8 {
        if at + 8 > end {
            break;
        }
        let hit = find(f.le64(at)?, b'\n');
        if hit != 0 {
            return Some(at + (hit.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let left = end.wrapping_sub(at);
    if left == 0 || left >= 8 || end < 42 {
        return None;
    }
    let hit = find(f.le64(f.settle(end - 8))? >> (64 - left * 8), b'\n');
    if hit == 0 { None } else { Some(at + (hit.trailing_zeros() / 8) as usize) }
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
        return if left < LINE_MAX { Payload::Unfinished } else { Payload::LongLine };
    };
    // One path from here on, wherever the line ends.
    let feed = f.settle(feed);
    if feed - at >= LINE_MAX {
        return Payload::LongLine;
    }
    if head | LETTERS_3 == word(*b"sip/2.0 ") {
        return Payload::Response;
    }
    if !ends_with_version(f, at, feed) {
        return Payload::Malformed;
    }
    Payload::Request(class(f, at, head))
}

/// Case bits of the first three bytes.
const LETTERS_3: u64 = 0x20_2020;

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
    // Nearly all end with ` SIP/2.0` and CR LF.
    if let Some([blank, s, i, p, slash, two, dot, zero, cr]) = f.load::<9>(f.settle(feed.wrapping_sub(9)))
        && feed >= at + 12
        && blank == b' '
        && u64::from_le_bytes([s, i, p, slash, two, dot, zero, cr]) | LETTERS_3 == word(*b"sip/2.0\r")
    {
        return true;
    }
    ends_oddly_with_version(f, at, feed)
}

/// The same with another case of blanks.
#[inline(always)]
fn ends_oddly_with_version(f: &impl Frame, at: usize, feed: usize) -> bool {
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
fn class(f: &impl Frame, at: usize, head: u64) -> Class {
    // The token in front of the first blank, in lower case, NULs behind it.
    let blank = find(head, b' ') | find(head, b'\t');
    let below = (blank & blank.wrapping_neg()) >> 7;
    let token = (head | every(0x20)) & below.wrapping_sub(1);
    if below == 0 {
        // Eight letters, or more.
        let Some(next) = f.load::<1>(f.settle(at + 8)) else { return Class::Unknown };
        let blank = |c: u8| c == b' ' || c == b'\t';
        if token == word(*b"register") && blank(next[0]) {
            return Class::Register;
        }
        if token == word(*b"subscrib") && next[0] | 0x20 == b'e' {
            return if blank(f.u8(f.settle(at + 9)).unwrap_or(0)) { Class::Other } else { Class::Unknown };
        }
        return Class::Unknown;
    }
    match token {
        INVITE => Class::Invite,
        OPTIONS => Class::Options,
        ACK => Class::Ack,
        BYE | CANCEL | PRACK | UPDATE => Class::InCall,
        NOTIFY | MESSAGE | PUBLISH | REFER | INFO => Class::Other,
        _ => Class::Unknown,
    }
}

const INVITE: u64 = word(*b"invite\0\0");
const OPTIONS: u64 = word(*b"options\0");
const ACK: u64 = word(*b"ack\0\0\0\0\0");
const BYE: u64 = word(*b"bye\0\0\0\0\0");
const CANCEL: u64 = word(*b"cancel\0\0");
const PRACK: u64 = word(*b"prack\0\0\0");
const UPDATE: u64 = word(*b"update\0\0");
const NOTIFY: u64 = word(*b"notify\0\0");
const MESSAGE: u64 = word(*b"message\0");
const PUBLISH: u64 = word(*b"publish\0");
const REFER: u64 = word(*b"refer\0\0\0");
const INFO: u64 = word(*b"info\0\0\0\0");
