use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::{
    bindings::xdp_md,
    helpers::bpf_jiffies64,
    maps::{Array, lpm_trie::Key},
};
use vos_common::{
    packet::{self, DEEPEST, Flow, Frame},
    rule::{Addr, GATE_WORDS, Rule},
    sip::{self, Payload},
    state::{Config, FRAGMENT_SLOTS, FragmentSlot, HOME_BUCKETS, HOME_WAYS, Home, Homes, V6_RULES},
    verdict::Tables,
};

use crate::{
    frame::{and, zero},
    maps::{CONFIG, EXACT, FRAGMENTS, GATE, HEART, HOMES, PORTS, PREFIX, SCRATCH},
};

/// What `judge` asks, answered from the maps.
pub struct Maps {
    config: &'static Config,
    queue: u32,
    flow: *mut Flow,
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
        Some(Self { config: value(&CONFIG)?, queue, flow: SCRATCH.get_ptr_mut(0)? })
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
    let key = PrefixKey { pad: 0, bits: 128, addr: *src };
    // SAFETY: `bits` and `addr` lie as the fields of a packed `Key` do.
    let key = unsafe { &*(&raw const key.bits).cast::<Key<Addr>>() };
    PREFIX.get(key).copied()
}

#[inline(always)]
fn fragment(key: u64) -> Option<*mut FragmentSlot> {
    let table = FRAGMENTS.get_ptr_mut(0)?;
    // SAFETY: the index is masked to the array's size.
    Some(unsafe {
        (&raw mut (*table).slots).cast::<FragmentSlot>().add(and::<{ FRAGMENT_SLOTS as u64 - 1 }>(key >> 32))
    })
}

impl Tables for Maps {
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
    fn follow(&self, key: u64, now: u64) {
        if let Some(slot) = fragment(key) {
            // SAFETY: a slot of the map. Two CPUs may write it at once; then one datagram is forgotten.
            unsafe { *slot = FragmentSlot { key, at: now } };
        }
    }

    #[inline(always)]
    fn followed(&self, key: u64) -> u64 {
        match fragment(key) {
            // SAFETY: a slot of the map.
            Some(slot) if unsafe { (*slot).key } == key => unsafe { (*slot).at },
            _ => 0,
        }
    }

    /// Merged by a write to memory and a read back.
    #[inline(always)]
    fn flow(&self, f: &impl Frame) -> Option<Flow> {
        let flow = packet::flow(f)?;
        // SAFETY: this CPU's own value; an XDP program is not interrupted by another on its CPU.
        let mut flow = unsafe {
            write_volatile(self.flow, flow);
            read_volatile(self.flow)
        };
        flow.l4 = and::<{ DEEPEST as u64 }>(flow.l4) as u64;
        flow.end = and::<END_MAX>(flow.end) as u64;
        Some(flow)
    }

    /// Merged by a number of three bits.
    #[inline(always)]
    fn classify(&self, f: &impl Frame, start: usize, end: usize) -> Payload {
        let payload = sip::classify(f, f.settle(start), end, |at, end| sip::line_feed(f, at, end));
        Payload::of(and::<7>(payload.code() | zero()) as u64)
    }
}
