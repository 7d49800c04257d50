use core::{
    arch::asm,
    ptr::{read_volatile, write_volatile},
};

use aya_ebpf::{
    bindings::xdp_md,
    helpers::bpf_jiffies64,
    maps::{
        Array,
        lpm_trie::{Key, LpmTrie},
    },
};
use vos_common::{
    packet::{self, DEEPEST, Flow, Frame},
    rate::{
        self, CLOCK_WAYS, ClockBucket, Clocks, KINDS, Kind, Limit, Limits, PREFIX_BUCKETS, SOURCE_BUCKETS, Tier,
        VERIFIED_BUCKETS, VERIFIED_WAYS,
    },
    rule::{Addr, GATE_WORDS, Rule},
    signature::{self, GRAM_SLOTS, PATTERN_MAX, PATTERNS_MAX, Patterns, Signatures},
    sip::{self, Payload},
    state::{Config, HOME_BUCKETS, HOME_WAYS, Home, Homes, V6_RULES},
    verdict::{Scope, Tables},
};

use crate::{
    frame::{Packet, and, zero},
    maps::{
        BUDGETS, CONFIG, EXACT, GATE, GLOBAL, HEART, HOMES, NEW_SOURCES, PORTS, PREFIX, PREFIXES, SCRATCH, SIGNATURES,
        SOURCES, VERIFIED,
    },
};

/// What `judge` asks, answered from the maps.
pub struct Maps {
    config: &'static Config,
    ctx: *mut xdp_md,
    queue: u32,
}

/// An LPM key with the address on an 8-byte boundary: 6.1's verifier refuses misaligned stack access.
#[repr(C)]
struct PrefixKey {
    pad: u32,
    bits: u32,
    addr: Addr,
}

/// Offsets behind an IP packet that a frame can have.
const END_MAX: u64 = 0x1ffff;

impl Maps {
    /// `None` before user space has filled the maps; the maps always exist.
    #[inline(always)]
    pub fn of(ctx: *mut xdp_md) -> Option<Self> {
        // SAFETY: the context that the kernel gave the program.
        let queue = unsafe { (*ctx).rx_queue_index };
        Some(Self { config: value(&CONFIG)?, ctx, queue })
    }

    #[inline(always)]
    pub fn queue(&self) -> u32 {
        self.queue
    }
}

/// The one value of an array map.
#[inline(always)]
fn value<T>(map: &'static Array<T>) -> Option<&'static T> {
    map.get(0)
}

/// Is this port marked in PORTS?
#[inline(always)]
pub fn sip_port(port: u16) -> bool {
    let Some(ports) = value(&PORTS) else { return false };
    // SAFETY: the index is masked to the array's size.
    let word = unsafe { *ports.as_ptr().add(and::<1023>(u64::from(port) >> 6)) };
    word >> (port & 63) & 1 != 0
}

#[inline(always)]
fn lookup(config: &Config, src: &Addr) -> Option<Rule> {
    if src.is_v4() {
        let n = src.v4_slash24();
        let block = GATE.get(n >> 12)?;
        // SAFETY: the index is masked to the array's size.
        let word = unsafe { *block.as_ptr().add(and::<{ GATE_WORDS as u64 - 1 }>(u64::from(n) >> 6)) };
        if word >> (n & 63) & 1 == 0 {
            return None;
        }
    } else if config.flags & V6_RULES == 0 {
        return None;
    }
    if let Some(rule) = EXACT.get_ptr(src) {
        // SAFETY: a value of the map; it may change while it is copied, each word is whole.
        return Some(unsafe { *rule });
    }
    longest(&PREFIX, src).copied()
}

/// The value of the longest prefix that covers `src`.
#[inline(always)]
fn longest<V>(map: &'static LpmTrie<Addr, V>, src: &Addr) -> Option<&'static V> {
    let key = PrefixKey { pad: 0, bits: 128, addr: *src };
    // SAFETY: `bits` and `addr` lie as the fields of a packed `Key` do.
    let key = unsafe { &*(&raw const key.bits).cast::<Key<Addr>>() };
    map.get(key)
}

/// The clocks of `key` in its bucket, or in the place of those that were quiet longest; of sources that is counted.
#[inline(always)]
fn clocks(bucket: *mut ClockBucket, key: u64, scope: Scope) -> *mut Clocks {
    // SAFETY: a value of the map, indices are constants. Two CPUs may take one slot at once; then one source begins
    // anew.
    unsafe {
        let (keys, clocks) = ((&raw mut (*bucket).keys).cast::<u64>(), (&raw mut (*bucket).clocks).cast::<Clocks>());
        let mut oldest = 0;
        let mut when = u64::MAX;
        for way in 0..CLOCK_WAYS {
            if *keys.add(way) == key {
                return clocks.add(way);
            }
        }
        for way in 0..CLOCK_WAYS {
            let clock = (*clocks.add(way))[Kind::All as usize];
            if clock < when {
                (oldest, when) = (way, clock);
            }
        }
        // One path from here on.
        let oldest = and::<3>(oldest as u64 | zero()).min(CLOCK_WAYS - 1);
        *keys.add(oldest) = key;
        if matches!(scope, Scope::Source)
            && let Some(count) = NEW_SOURCES.get_ptr_mut(0)
        {
            *count += 1;
        }
        let clocks = clocks.add(oldest);
        *clocks = [0; KINDS];
        clocks
    }
}

/// `*clock = new` if it still is `old`; what it was.
#[inline(always)]
fn compare_exchange(clock: *mut u64, old: u64, new: u64) -> u64 {
    let mut found = old;
    // SAFETY: a clock of a map.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({clock} + 0, r0, {new})",
            clock = in(reg) clock, new = in(reg) new, inout("r0") found, options(nostack),
        );
    }
    found
}

/// The patterns in force.
#[derive(Clone, Copy)]
struct Compiled(*const Signatures);

impl Compiled {
    #[inline(always)]
    fn of(config: &Config) -> Option<Self> {
        SIGNATURES.get_ptr(and::<1>(config.signatures) as u32).map(Self)
    }
}

// SAFETY, for all of these: a value of the map, each index masked to its array's size.
impl Patterns for Compiled {
    #[inline(always)]
    fn multiplier(&self) -> u64 {
        unsafe { (*self.0).multiplier }
    }

    #[inline(always)]
    fn gram(&self, slot: usize) -> u32 {
        unsafe { *(&raw const (*self.0).grams).cast::<u32>().add(and::<{ GRAM_SLOTS as u64 - 1 }>(slot as u64)) }
    }

    #[inline(always)]
    fn candidates(&self, slot: usize) -> u64 {
        unsafe { *(&raw const (*self.0).candidates).cast::<u64>().add(and::<{ GRAM_SLOTS as u64 - 1 }>(slot as u64)) }
    }

    #[inline(always)]
    fn length(&self, pattern: usize) -> usize {
        let lengths = unsafe { (&raw const (*self.0).lengths).cast::<u64>() };
        unsafe { *lengths.add(and::<{ PATTERNS_MAX as u64 }>(pattern as u64)) as usize & (2 * PATTERN_MAX - 1) }
    }

    #[inline(always)]
    fn text(&self, pattern: usize, at: usize) -> u8 {
        let texts = unsafe { (&raw const (*self.0).texts).cast::<[u8; PATTERN_MAX]>() };
        let text = unsafe { texts.add(and::<{ PATTERNS_MAX as u64 }>(pattern as u64)) };
        unsafe { *text.cast::<u8>().add(and::<{ PATTERN_MAX as u64 - 1 }>(at as u64)) }
    }
}

/// Verified once, for all the paths that lead to it: what the payload is, as [`Payload::code`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn vos_classify(ctx: *mut xdp_md, start: u64, end: u64) -> u32 {
    let f = Packet::of_xdp(ctx);
    let (start, end) = (and::<{ DEEPEST as u64 }>(start), and::<END_MAX>(end));
    sip::classify(&f, start, end, |at, end| sip::line_feed(&f, at, end)).code() as u32
}

/// Verified once, for all the paths that lead to it: where the next 4-gram of a pattern stands, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn vos_suspect(ctx: *mut xdp_md, at: u64, end: u64) -> u32 {
    let Some(config) = value(&CONFIG) else { return 0 };
    let Some(patterns) = Compiled::of(config) else { return 0 };
    let (at, end) = (and::<{ DEEPEST as u64 }>(at), and::<END_MAX>(end));
    signature::suspect(&Packet::of_xdp(ctx), &patterns, at, end).unwrap_or(0) as u32
}

/// Verified once, wherever it is called from: looks closer at a place where a 4-gram was found.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn vos_confirm(ctx: *mut xdp_md, start: u64, end: u64, at: u64) -> u32 {
    let Some(config) = value(&CONFIG) else { return 0 };
    let Some(patterns) = Compiled::of(config) else { return 0 };
    let f = Packet::of_xdp(ctx);
    let (start, at) = (and::<{ DEEPEST as u64 }>(start), and::<{ DEEPEST as u64 }>(at));
    signature::confirm(&f, &patterns, start, and::<END_MAX>(end), at) as u32
}

/// Moves the clock of a source on. Its packets mostly come by one queue; where two CPUs meet, one packet is not counted.
/// A locked instruction would cost every packet more than that is worth: the prefix' clock is exact.
#[inline(always)]
fn claim_alone(clock: *mut u64, limit: &Limit, now: u64) -> bool {
    // SAFETY: a clock of a map, a word.
    let found = unsafe { read_volatile(clock) };
    let Some(next) = limit.claim(found, now) else { return forget(0) != 0 };
    // SAFETY: as above.
    unsafe { write_volatile(clock, next) };
    true
}

/// Moves a clock on; races with other CPUs are won or tried again, and whoever loses thrice passes free.
#[inline(always)]
fn claim(clock: *mut u64, limit: &Limit, now: u64) -> bool {
    for _ in 0..3 {
        // SAFETY: a clock of a map, a word.
        let found = unsafe { read_volatile(clock) };
        let Some(next) = limit.claim(found, now) else { return forget(0) != 0 };
        if compare_exchange(clock, found, next) == found {
            break;
        }
    }
    true
}

/// The same number, which nobody knows any more.
#[inline(always)]
fn forget(number: u64) -> u64 {
    number | zero()
}

impl Tables for Maps {
    type Clocks = (Option<*mut Clocks>, Scope);

    #[inline(always)]
    fn config(&self) -> &Config {
        self.config
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        self.config.clock.at(unsafe { bpf_jiffies64() })
    }

    #[inline(always)]
    fn sip_port(&self, port: u16) -> bool {
        sip_port(port)
    }

    #[inline(always)]
    fn home(&self, addr: &Addr) -> Home {
        let Some(homes) = value(&HOMES) else { return Home::Foreign };
        let bucket = Homes::bucket(homes.seed, addr) as u64;
        // SAFETY: the index is masked to the array's size.
        let (slots, own) = unsafe {
            (
                &*homes.slots.as_ptr().add(and::<{ HOME_BUCKETS as u64 - 1 }>(bucket)),
                *homes.own.as_ptr().add(and::<{ HOME_BUCKETS as u64 - 1 }>(bucket)),
            )
        };
        // Four exits: `hit |= equal` would be 2^4 paths.
        for way in 0..HOME_WAYS {
            if (slots[way].hi ^ addr.hi) | (slots[way].lo ^ addr.lo) == 0 {
                return if (own >> way | zero()) & 1 != 0 { Home::Own } else { Home::Protected };
            }
        }
        Home::Foreign
    }

    #[inline(always)]
    fn may_be_own(&self, addr: &Addr) -> bool {
        let Some(homes) = value(&HOMES) else { return false };
        let mark = Homes::mark(addr) as u64;
        // SAFETY: the index is masked to the array's size.
        let word = unsafe { *homes.marks.as_ptr().add(and::<15>(mark >> 6)) };
        word >> (mark & 63) & 1 != 0
    }

    #[inline(always)]
    fn rule(&self, src: &Addr) -> Rule {
        let mut rule = lookup(self.config, src).unwrap_or_default();
        // One path from here on.
        rule.until |= zero();
        rule.then_until |= zero();
        rule
    }

    #[inline(always)]
    fn live(&self, now: u64) -> bool {
        // A beat written since the last tick is newer than `now`: the difference is negative, not large.
        HEART
            .get(self.queue)
            .is_some_and(|beat| *beat != 0 && (now.wrapping_sub(*beat) as i64) < self.config.heartbeat_timeout as i64)
    }

    #[inline(always)]
    fn verified(&self, key: u64, now: u64) -> bool {
        let Some(bucket) = VERIFIED.get(rate::bucket(key, VERIFIED_BUCKETS)) else { return false };
        for way in 0..VERIFIED_WAYS {
            if bucket.keys[way] == key {
                return forget(u64::from(now < bucket.until[way])) != 0;
            }
        }
        false
    }

    #[inline(always)]
    fn clocks(&self, scope: Scope, key: u64) -> (Option<*mut Clocks>, Scope) {
        let bucket = match scope {
            Scope::Source => SOURCES.get_ptr_mut(rate::bucket(key, SOURCE_BUCKETS)),
            Scope::Prefix => PREFIXES.get_ptr_mut(rate::bucket(key, PREFIX_BUCKETS)),
        };
        (bucket.map(|bucket| clocks(bucket, key, scope)), scope)
    }

    #[inline(always)]
    fn claim(&self, clocks: (Option<*mut Clocks>, Scope), kind: Kind, limits: &Limits, now: u64) -> bool {
        const LAST: u64 = KINDS as u64 - 1;
        let (Some(clocks), scope) = clocks else { return true };
        // SAFETY: indices below KINDS; masked twice, because the verifier forgets between two uses.
        let (clock, limit) = unsafe {
            let limit = &*limits.as_ptr().add(and::<LAST>(kind as u64 | zero()));
            (clocks.cast::<u64>().add(and::<LAST>(kind as u64 | zero())), limit)
        };
        match scope {
            Scope::Source => claim_alone(clock, limit, now),
            Scope::Prefix => claim(clock, limit, now),
        }
    }

    #[inline(always)]
    fn claim_global(&self, limit: &Limit, now: u64) -> bool {
        GLOBAL.get_ptr_mut(0).is_none_or(|clock| claim(clock, limit, now))
    }

    #[inline(always)]
    fn budget(&self, src: &Addr) -> Option<&Limits> {
        longest(&BUDGETS, src)
    }

    #[inline(always)]
    fn limits(&self, tier: Tier) -> &Limits {
        let limits = (&raw const self.config.limits).cast::<Limits>();
        // SAFETY: an index of 0 to 2.
        unsafe { &*limits.add(and::<3>(tier as u64 | zero()).min(2)) }
    }

    #[inline(always)]
    fn scanner(&self, _: &impl Frame, start: usize, end: usize) -> bool {
        let next = |at: usize| match vos_suspect(self.ctx, at as u64, end as u64) {
            0 => None,
            at => Some(at as usize),
        };
        signature::scan(start, next, |at| vos_confirm(self.ctx, start as u64, end as u64, at as u64) != 0)
    }

    /// Merged by a write to memory and a read back.
    #[inline(always)]
    fn flow(&self, f: &impl Frame) -> Option<Flow> {
        let flow = packet::flow(f)?;
        let scratch = SCRATCH.get_ptr_mut(0)?;
        // SAFETY: this CPU's own value; an XDP program is not interrupted by another on its CPU. Word by word: a
        // copy of the whole goes by the stack.
        let mut flow = unsafe {
            let (from, to) = ((&raw const flow).cast::<u64>(), scratch.cast::<u64>());
            for word in 0..size_of::<Flow>() / 8 {
                write_volatile(to.add(word), *from.add(word));
            }
            read_volatile(scratch)
        };
        flow.l4 = and::<{ DEEPEST as u64 }>(flow.l4) as u64;
        flow.end = and::<END_MAX>(flow.end) as u64;
        Some(flow)
    }

    #[inline(always)]
    fn classify(&self, _: &impl Frame, start: usize, end: usize) -> Payload {
        Payload::of(and::<15>(u64::from(vos_classify(self.ctx, start as u64, end as u64))) as u64)
    }
}
