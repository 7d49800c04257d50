use vos_common::packet::Flow;
use vos_common::reason::Reason;

/// How long the kernel keeps fragments, ns: `net.ipv4.ipfrag_time`, 30 s unless an operator raised it, and a second for
/// what is on its way.
const KERNEL_LIFE_V4: u64 = 31_000_000_000;
/// The same for IPv6: `net.ipv6.ip6frag_time`, 60 s (RFC 8200 §4.5).
const KERNEL_LIFE_V6: u64 = 61_000_000_000;

/// Names that a bucket holds.
const WAYS: usize = 4;
/// 32,768 names in 1.3 MB: 500 datagrams in fragments a second of unknown sources, for as long as the kernel keeps
/// them. Fewer, and a flood of later fragments shuts out more first ones.
const BUCKETS: usize = 1 << 13;

/// Names of datagrams of which something was relayed and which are no longer in view. What is forgotten for want of
/// room still counts against its whole bucket, so a flood can shut out fragments, and never let one in.
#[derive(Debug)]
pub(super) struct Spent {
    buckets: Vec<Bucket>,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    ways: [Name; WAYS],
    /// Of the names that were forgotten.
    forgotten: Until,
}

#[derive(Clone, Copy, Debug)]
struct Name {
    name: u64,
    until: Until,
    /// Why nothing may follow.
    reason: Reason,
}

impl Default for Name {
    fn default() -> Self {
        Self { name: 0, until: Until::default(), reason: Reason::FragmentOverflow }
    }
}

/// Until when the kernel may hold fragments, ns of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default)]
struct Until {
    /// Any.
    any: u64,
    /// The first.
    first: u64,
}

impl Until {
    fn extend(&mut self, other: Self) {
        (self.any, self.first) = (self.any.max(other.any), self.first.max(other.first));
    }

    /// Could a fragment complete what is there? A first one with any; a later one if the first is there.
    fn refuses(&self, first: bool, now: u64) -> bool {
        now < if first { self.any } else { self.first }
    }
}

impl Default for Spent {
    fn default() -> Self {
        Self { buckets: vec![Bucket::default(); BUCKETS] }
    }
}

impl Spent {
    /// Why a fragment must not follow, if so.
    pub(super) fn refusal(&self, name: u64, first: bool, now: u64) -> Option<Reason> {
        let bucket = &self.buckets[index(name)];
        let own = bucket.ways.iter().find(|way| way.name == name && way.until.refuses(first, now));
        own.map(|own| own.reason).or(bucket.forgotten.refuses(first, now).then_some(Reason::FragmentOverflow))
    }

    /// A fragment was relayed out of view.
    pub(super) fn relayed(&mut self, name: u64, first: bool, flow: &Flow, now: u64) {
        self.gone(name, first, flow, now, Reason::FragmentOverflow);
    }

    /// A datagram of which something was relayed, last at `at`, is out of view; `first`: its first fragment too.
    pub(super) fn gone(&mut self, name: u64, first: bool, flow: &Flow, at: u64, reason: Reason) {
        let until = at.saturating_add(if flow.src.is_v4() { KERNEL_LIFE_V4 } else { KERNEL_LIFE_V6 });
        let until = Until { any: until, first: if first { until } else { 0 } };
        let bucket = &mut self.buckets[index(name)];
        if let Some(own) = bucket.ways.iter_mut().find(|way| way.name == name && way.until.any != 0) {
            own.until.extend(until);
            own.reason = reason;
            return;
        }
        let oldest = (0..WAYS).min_by_key(|way| bucket.ways[*way].until.any).unwrap_or(0);
        let way = &mut bucket.ways[oldest];
        bucket.forgotten.extend(way.until);
        *way = Name { name, until, reason };
    }
}

fn index(name: u64) -> usize {
    (name >> 32) as usize & (BUCKETS - 1)
}
