//! Rates: GCRA clocks (ITU-T I.371 annex A), in which the whole memory of a limit is one number, and where they lie.
//!
//! Clocks and verified sources are kept in hash tables inside array values: a look-up costs no helper call, and a flood
//! of new sources is nothing but overwritten slots (an insert into an LRU map costs twenty times as much). Keys are
//! hashed with a secret seed, so nobody outside can aim at a slot.

use crate::rule::Addr;
use crate::sip::{Class, Payload};
use crate::state::mix;

/// What a source has shown of itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tier {
    /// Nothing: the address may be anybody's.
    Unknown,
    /// A round trip that cannot be spoofed, or an operator's word (`allow`).
    Verified,
    /// An operator's word that outranks every block.
    Trusted,
}

impl Tier {
    /// All tiers; the position of each is its number.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Verified, Self::Trusted];

    /// The tier of a number.
    #[inline(always)]
    pub const fn of(number: usize) -> Self {
        match number {
            0 => Self::Unknown,
            1 => Self::Verified,
            _ => Self::Trusted,
        }
    }
}

/// What is counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Every packet, those of the other kinds too.
    All,
    /// REGISTER.
    Register,
    /// INVITE.
    Invite,
    /// OPTIONS.
    Options,
}

/// Kinds of [`Kind`].
pub const KINDS: usize = 4;

impl Kind {
    /// All kinds; the position of each is its number.
    pub const ALL: [Self; KINDS] = [Self::All, Self::Register, Self::Invite, Self::Options];

    /// What a payload counts as, beside [`Kind::All`].
    #[inline(always)]
    pub const fn of(payload: Payload) -> Self {
        match payload {
            Payload::Request(Class::Register) => Self::Register,
            Payload::Request(Class::Invite) => Self::Invite,
            Payload::Request(Class::Options) => Self::Options,
            _ => Self::All,
        }
    }
}

/// The longest tick of a kernel (CONFIG_HZ=100), ns: by so much two CPUs may differ in what time it is.
const TICK_MAX: u64 = 10_000_000;

/// A limit: packets at a rate, and some at once.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limit {
    /// Time between packets at the limit's rate, ns; 0: no limit.
    pub every: u64,
    /// How far the clock may be ahead of the time, ns: `every` times (burst - 1), and a tick of the kernel's.
    pub ahead: u64,
}

impl Limit {
    /// No limit. Clocks do not move under it; one that another limit moved ahead does not matter.
    pub const NONE: Self = Self { every: 0, ahead: u64::MAX / 2 };

    /// `rate` packets a second, `burst` at once (both at least 1); `tick` is the kernel's, ns.
    pub const fn per_second(rate: u32, burst: u32, tick: u64) -> Self {
        let every = 1_000_000_000 / if rate == 0 { 1 } else { rate as u64 };
        Self { every, ahead: every * (if burst == 0 { 1 } else { burst as u64 } - 1) + tick }
    }

    /// The clock after a packet at `now`, whose clock stood at `clock`; `None`: the packet does not conform, and the
    /// clock stays.
    #[inline(always)]
    pub const fn claim(&self, clock: u64, now: u64) -> Option<u64> {
        let ahead = clock.wrapping_sub(now) as i64;
        if ahead <= 0 {
            return Some(now + self.every);
        }
        let ahead = ahead as u64;
        if ahead <= self.ahead {
            Some(clock + self.every)
        } else if ahead > self.ahead + self.every + TICK_MAX {
            // This limit never sets a clock so far ahead: another did, before the source rose to another tier, or
            // before the operator raised the limit. It begins anew.
            Some(now + self.every)
        } else {
            None
        }
    }
}

/// Limits by [`Kind`].
pub type Limits = [Limit; KINDS];

/// Ways of a [`ClockBucket`].
pub const CLOCK_WAYS: usize = 3;
/// Buckets for sources: with [`CLOCK_WAYS`] 98,304 sources in 4 MB. A source beyond takes the place of the one that
/// was quiet longest, which then begins with a full burst. More, and a new source costs two TLB misses more.
pub const SOURCE_BUCKETS: u32 = 1 << 15;
/// Buckets for prefixes: 24,576 in 1 MB.
pub const PREFIX_BUCKETS: u32 = 1 << 13;

/// The clocks of one source or prefix: when its next packet would come if it kept to the limit, ns of
/// `CLOCK_MONOTONIC`; by [`Kind`].
pub type Clocks = [u64; KINDS];

/// A bucket of a clock table: two cache lines. Written by the XDP program.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockBucket {
    /// Hashed keys, 0 where empty.
    pub keys: [u64; CLOCK_WAYS],
    /// Fills the line.
    pub pad: u64,
    /// Of each key.
    pub clocks: [Clocks; CLOCK_WAYS],
}

/// Ways of a [`VerifiedBucket`].
pub const VERIFIED_WAYS: usize = 8;
/// Buckets for verified sources: 131,072 in 2 MB. Only user space writes them, so no flood displaces anybody.
pub const VERIFIED_BUCKETS: u32 = 1 << 14;

/// A bucket of the table of verified sources.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VerifiedBucket {
    /// [`source_key`]s, 0 where empty.
    pub keys: [u64; VERIFIED_WAYS],
    /// Until when each is verified, ns of `CLOCK_MONOTONIC`.
    pub until: [u64; VERIFIED_WAYS],
}

/// Names a source: an IPv4 address, or an IPv6 /64, since whoever has one of its addresses has them all. Never 0.
#[inline(always)]
pub const fn source_key(src: &Addr, seed: u64) -> u64 {
    let lo = if src.is_v4() { src.lo } else { 0 };
    mix(src.hi ^ seed, lo) | 1
}

/// Names a prefix: an IPv4 /24 or an IPv6 /48. Never 0.
#[inline(always)]
pub const fn prefix_key(src: &Addr, seed: u64) -> u64 {
    let (hi, lo) = if src.is_v4() { (0, src.lo & SLASH_24) } else { (src.hi & SLASH_48, 0) };
    mix(hi ^ seed, lo) | 1
}

const SLASH_24: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
const SLASH_48: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);

/// The bucket of a key in a table of `buckets`, a power of two.
#[inline(always)]
pub const fn bucket(key: u64, buckets: u32) -> u32 {
    (key >> 32) as u32 & (buckets - 1)
}

const _: () =
    assert!(size_of::<ClockBucket>() == 128 && size_of::<VerifiedBucket>() == 128 && size_of::<Limits>() == 64);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: repr(C) of u64s, no padding (size asserted above).
    unsafe impl aya::Pod for super::ClockBucket {}
    // SAFETY: repr(C) of u64s, no padding (size asserted above).
    unsafe impl aya::Pod for super::VerifiedBucket {}
    // SAFETY: repr(C) of u64s, no padding (size asserted above).
    unsafe impl aya::Pod for super::Limit {}
}
