//! The maps beside the rules: configuration, own addresses, SIP ports, heartbeats, egress records, samples.
//!
//! User space writes them, the kernel reads them.

use crate::rate::{Limit, Limits};
use crate::rule::Addr;

/// RX queues that one interface may have under the engine: entries of the XSK map and of the heartbeats.
pub const MAX_QUEUES: u32 = 256;

/// [`Config::flags`]: at least one IPv6 rule exists (IPv6 has no gate of its own).
pub const V6_RULES: u64 = 1;
/// [`Config::flags`]: provisional responses are copied to user space as well.
pub const PROVISIONAL: u64 = 2;
/// [`Config::flags`]: the map BUDGETS is asked for the limits of trusted sources.
pub const BUDGETS: u64 = 4;
/// [`Config::flags`]: BYE requests that leave are copied to user space, as final responses are.
pub const BYES: u64 = 8;

/// Entries of the map BUDGETS, which takes memory only for those that are there: twice as many as a configuration has,
/// because both are in it while one takes the place of another.
pub const MAX_BUDGETS: u32 = 1 << 15;

/// [`Config::redirect`]: bits above this belong to known sources (allowed, verified, trusted).
pub const KNOWN_SHIFT: u64 = 16;

/// The one value of the CONFIG map.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// How the kernel's tick counter becomes `CLOCK_MONOTONIC`.
    pub clock: Clock,
    /// A heartbeat older than this is a dead worker, ns.
    pub heartbeat_timeout: u64,
    /// The interface's MAC address, first byte lowest; the upper 16 bits are 0.
    pub mac: u64,
    /// Longest frame that fits a UMEM chunk, bytes from the destination MAC on.
    pub chunk: u64,
    /// The interface that re-entry redirects into.
    pub ifindex: u64,
    /// Keys the hashes of sources and prefixes, so that nobody outside can aim at a slot.
    pub seed: u64,
    /// [`V6_RULES`], [`PROVISIONAL`], [`BUDGETS`], [`BYES`].
    pub flags: u64,
    /// Rules that drop: [`Reason::bit`](crate::reason::Reason::bit)s.
    pub enforce: u64,
    /// Rules that only count what they would drop: [`Reason::bit`](crate::reason::Reason::bit)s.
    pub monitor: u64,
    /// Requests to which unknown sources get no answer: [`Class::bit`](crate::sip::Class::bit)s.
    pub silent: u64,
    /// Survivors that go to the engine: bit [`Payload::code`](crate::sip::Payload::code) for unknown sources, the same
    /// and [`KNOWN_SHIFT`] for known ones; later fragments have a code of their own.
    pub redirect: u64,
    /// Attack mode until then, ns of `CLOCK_MONOTONIC`; 0: never.
    pub attack_until: u64,
    /// Which of the two values of the SIGNATURES map is in force, 0 or 1.
    pub signatures: u64,
    /// A source's limits, by [`Tier`](crate::rate::Tier) and [`Kind`](crate::rate::Kind).
    pub limits: [Limits; 3],
    /// What the unknown sources of one prefix share, by [`Kind`](crate::rate::Kind).
    pub prefix: Limits,
    /// What all unknown sources share in attack mode.
    pub global: Limit,
    /// Samples of dropped packets, for each reason and CPU.
    pub sample: Limit,
}

/// `bpf_jiffies64` costs nothing, `bpf_ktime_get_ns` 32 ns: time in the kernel is the tick count, scaled.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    /// Tick count at the moment of measurement.
    pub jiffies: u64,
    /// `CLOCK_MONOTONIC` at that moment, ns.
    pub monotonic: u64,
    /// Length of a tick, ns (10⁹ / HZ).
    pub tick: u64,
}

impl Clock {
    /// `CLOCK_MONOTONIC` in ns at tick `jiffies`, to the tick below.
    #[inline(always)]
    pub const fn at(&self, jiffies: u64) -> u64 {
        self.monotonic.wrapping_add(jiffies.wrapping_sub(self.jiffies).wrapping_mul(self.tick))
    }
}

/// What an address is to this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// Neither ours nor protected.
    Foreign,
    /// Protected by configuration, but on another host: filtered, never redirected.
    Protected,
    /// Configured on an interface of this host.
    Own,
}

/// Buckets of [`Homes`].
pub const HOME_BUCKETS: usize = 64;
/// Addresses a bucket holds.
pub const HOME_WAYS: usize = 4;
/// Protected and own addresses together, at most: beyond this no seed may fill [`Homes`] without an overflow.
pub const MAX_HOMES: usize = 128;

/// The destination addresses that are guarded: a hash table inside one array value, so that a look-up is four
/// comparisons and no helper call.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Homes {
    /// Chosen by whoever fills it, so that no bucket overflows.
    pub seed: u64,
    /// A bit for each of the host's own addresses, by [`Homes::mark`]: nearly every source has none, and is done.
    pub marks: [u64; 16],
    /// For each bucket, bit w: way w holds one of the host's own addresses.
    pub own: [u64; HOME_BUCKETS],
    /// [`Addr::default`] where empty.
    pub slots: [[Addr; HOME_WAYS]; HOME_BUCKETS],
}

impl Homes {
    /// Nobody is at home.
    pub const EMPTY: Self = Self {
        seed: 0,
        marks: [0; 16],
        own: [0; HOME_BUCKETS],
        slots: [[Addr { hi: 0, lo: 0 }; HOME_WAYS]; HOME_BUCKETS],
    };

    /// The bucket of `addr` under `seed`, below [`HOME_BUCKETS`].
    #[inline(always)]
    pub const fn bucket(seed: u64, addr: &Addr) -> usize {
        ((addr.hi ^ addr.lo.rotate_left(29) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize
    }

    /// The bit of `addr` in [`Homes::marks`], below 1,024.
    #[inline(always)]
    pub const fn mark(addr: &Addr) -> usize {
        let folded = addr.hi ^ addr.lo;
        (folded >> 54 ^ folded >> 44 ^ folded >> 34 ^ folded) as usize & 1023
    }

    /// A table of `addrs` (each with: is it the host's own?), or `None` when there are more than [`MAX_HOMES`].
    ///
    /// Equal sets give equal tables, and an address keeps its place unless the seed has to change, so rewriting
    /// the map under traffic disturbs nobody.
    pub fn of(addrs: &[(Addr, bool)]) -> Option<Self> {
        if addrs.len() > MAX_HOMES {
            return None;
        }
        'seeds: for seed in 0..100_000 {
            let mut table = Self { seed, ..Self::EMPTY };
            for (addr, own) in addrs {
                let b = Self::bucket(seed, addr);
                let Some(way) = table.slots[b].iter().position(|s| *s == Addr::default() || s == addr) else {
                    continue 'seeds;
                };
                table.slots[b][way] = *addr;
                table.own[b] |= u64::from(*own) << way;
                let mark = Self::mark(addr);
                table.marks[mark >> 6] |= u64::from(*own) << (mark & 63);
            }
            return Some(table);
        }
        None
    }
}

/// Bits of the port map: one per UDP, TCP and SCTP port.
pub type Ports = [u64; 1024];

/// How long the engine keeps fragments in view, ns.
pub const FRAGMENT_LIFE: u64 = 5_000_000_000;

/// Mixes two words into one whose upper bits depend on all of them (the finalizer of SplitMix64).
#[inline(always)]
pub const fn mix(a: u64, b: u64) -> u64 {
    let h = (b ^ 0x51ed_270b_9f3c_a1d7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let h = (h ^ h >> 32 ^ a).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let h = (h ^ h >> 29).wrapping_mul(0x94d0_49bb_1331_11eb);
    h ^ h >> 32
}

/// Bytes of a message that the egress program hands to user space, at most.
pub const REPLY_MAX: usize = 2048;

/// One of the softswitch's responses, or with [`BYES`] a BYE of its, as the egress program saw it leave.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Reply {
    /// Where it went.
    pub to: Addr,
    /// UDP port it went to.
    pub port: u32,
    /// Bytes that follow, of the UDP payload.
    pub len: u32,
    /// The payload, cut at [`REPLY_MAX`].
    pub data: [u8; REPLY_MAX],
}

/// Bytes of a dropped frame that a sample holds, at most: all of it on an ordinary link.
pub const SAMPLE_MAX: usize = 2048;

/// A dropped packet, as it arrived.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sample {
    /// When, ns of `CLOCK_MONOTONIC`, to the tick.
    pub at: u64,
    /// The [`Reason`](crate::reason::Reason)'s slot.
    pub reason: u32,
    /// RX queue.
    pub queue: u32,
    /// Bytes of the frame.
    pub len: u32,
    /// Bytes that follow.
    pub captured: u32,
    /// The frame, cut at [`SAMPLE_MAX`].
    pub data: [u8; SAMPLE_MAX],
}

/// Bytes of a [`Sample`] in front of its data.
pub const SAMPLE_HEAD: usize = size_of::<Sample>() - SAMPLE_MAX;

/// Bytes of a [`Reply`] in front of its data.
pub const REPLY_HEAD: usize = size_of::<Reply>() - REPLY_MAX;

const _: () = assert!(
    size_of::<Config>() == 15 * 8 + 18 * 16
        && size_of::<Homes>() == 8 + 128 + 512 + 4096
        && REPLY_HEAD == 24
        && SAMPLE_HEAD == 24
);

#[cfg(feature = "user")]
mod pod {
    // SAFETY: repr(C) of u64s, no padding (size asserted above).
    unsafe impl aya::Pod for super::Config {}
    // SAFETY: repr(C) of u64s, no padding.
    unsafe impl aya::Pod for super::Clock {}
    // SAFETY: repr(C) of u64s, no padding (size asserted above).
    unsafe impl aya::Pod for super::Homes {}
}
