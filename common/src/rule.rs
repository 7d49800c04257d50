//! Source rules as the kernel holds them: who, what applies, until when, and what applies afterwards.
//!
//! User space resolves every overlap before it writes, so a lookup here needs no arithmetic on policy.

/// An IPv4 or IPv6 address as two words that hold the bytes in the order they have on the wire.
///
/// IPv4 is kept as the mapped address `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2), so one map serves both families.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Addr {
    /// Bytes 0 to 7.
    pub hi: u64,
    /// Bytes 8 to 15.
    pub lo: u64,
}

/// `lo` of every IPv4-mapped address, less the IPv4 address itself: bytes `00 00 ff ff`.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Addr {
    /// The IPv4 address `a` (network byte order).
    #[inline(always)]
    pub const fn v4(a: [u8; 4]) -> Self {
        Self::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3]])
    }

    /// The IPv6 address `b` (network byte order).
    #[inline(always)]
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self {
            hi: u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            lo: u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        }
    }

    /// The bytes in network order.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; 16] {
        let (h, l) = (self.hi.to_ne_bytes(), self.lo.to_ne_bytes());
        [h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7]]
    }

    /// Is this an IPv4 address?
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.hi == 0 && self.lo as u32 == MAPPED
    }

    /// The number of the IPv4 /24 in which the address lies, 0 to 2²⁴ - 1 (`203.0.113.7` gives `0xcb0071`).
    #[inline(always)]
    pub const fn v4_slash24(self) -> u32 {
        u32::from_be((self.lo >> 32) as u32) >> 8
    }
}

/// Bits that an IPv4 prefix length grows by when it is written as a mapped IPv6 prefix.
pub const MAPPED_BITS: u32 = 96;

/// What a rule says of a source. The numbers are those in the map.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RuleKind {
    /// No rule: an unknown source.
    #[default]
    None = 0,
    /// Every SIP packet is dropped.
    Blocked = 1,
    /// Passes the rules meant for unknown sources (stealth).
    Allowed = 2,
    /// Passes what is meant for unknown sources, and no block applies, however specific it is.
    Trusted = 3,
}

/// A map value: `kind` applies until `until`, then `then` until `then_until`, then nothing.
///
/// Times are nanoseconds of `CLOCK_MONOTONIC`; 0 means for good. The second pair is what lies beneath a rule
/// that ends: a /32 allowed for an hour inside a blocked /24 is blocked again even if the engine is dead by then.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// A [`RuleKind`] as a number.
    pub kind: u32,
    /// A [`RuleKind`] as a number.
    pub then: u32,
    /// End of `kind`, ns of `CLOCK_MONOTONIC`; 0 for good.
    pub until: u64,
    /// End of `then`, ns of `CLOCK_MONOTONIC`; 0 for good.
    pub then_until: u64,
}

const _: () = assert!(size_of::<Addr>() == 16 && size_of::<Rule>() == 24);

impl Rule {
    /// What applies at `now` (ns of `CLOCK_MONOTONIC`), as the number of a [`RuleKind`].
    #[inline(always)]
    pub const fn at(&self, now: u64) -> u32 {
        if self.until == 0 || now < self.until {
            self.kind
        } else if self.then_until == 0 || now < self.then_until {
            self.then
        } else {
            RuleKind::None as u32
        }
    }
}

/// Words of the IPv4 gate in one map entry, each bit a /24: 64 words are a /12.
pub const GATE_WORDS: usize = 64;
/// Map entries of the IPv4 gate: 4,096 times a /12 is the whole space.
pub const GATE_BLOCKS: u32 = 1 << 12;

/// One bit per IPv4 /24: does any rule lie in it or cover it? In front of the two lookups, so that ordinary
/// callers pay for neither.
///
/// Bit `n & 63` of word `n >> 6 & 63` of entry `n >> 12`, where `n` is [`Addr::v4_slash24`].
pub type GateBlock = [u64; GATE_WORDS];

#[cfg(feature = "user")]
mod pod {
    // SAFETY: repr(C), no padding (sizes asserted above), every bit pattern is a value.
    unsafe impl aya::Pod for super::Addr {}
    // SAFETY: as above; `kind` and `then` are plain numbers, not the enum.
    unsafe impl aya::Pod for super::Rule {}
}
