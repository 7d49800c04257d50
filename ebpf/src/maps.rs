use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, XskMap},
};
use vos_common::{
    packet::Flow,
    rate::{ClockBucket, Limits, PREFIX_BUCKETS, SOURCE_BUCKETS, VERIFIED_BUCKETS, VerifiedBucket},
    reason::REASON_SLOTS,
    rule::{Addr, GATE_BLOCKS, GateBlock, Rule},
    signature::Signatures,
    state::{Clock, Config, Homes, MAX_BUDGETS, MAX_QUEUES, Ports, Reply, Sample},
};

const NO_PREALLOC: u32 = 1;

// Written by user space.
#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
#[map]
pub static HOMES: Array<Homes> = Array::with_max_entries(1, 0);
#[map]
pub static PORTS: Array<Ports> = Array::with_max_entries(1, 0);
/// Rules for single addresses.
#[map]
pub static EXACT: HashMap<Addr, Rule> = HashMap::with_max_entries(1 << 20, NO_PREALLOC);
/// Rules for prefixes.
#[map]
pub static PREFIX: LpmTrie<Addr, Rule> = LpmTrie::with_max_entries(1 << 17, NO_PREALLOC);
#[map]
pub static GATE: Array<GateBlock> = Array::with_max_entries(GATE_BLOCKS, 0);
/// Limits of trusted prefixes that have their own.
#[map]
pub static BUDGETS: LpmTrie<Addr, Limits> = LpmTrie::with_max_entries(MAX_BUDGETS, NO_PREALLOC);
/// Sources that have proven themselves.
#[map]
pub static VERIFIED: Array<VerifiedBucket> = Array::with_max_entries(VERIFIED_BUCKETS, 0);
/// Two values, of which [`Config::signatures`] says which is in force: new patterns are written beside the old.
#[map]
pub static SIGNATURES: Array<Signatures> = Array::with_max_entries(2, 0);
/// When each queue's worker last said that it lives, ns of `CLOCK_MONOTONIC`.
#[map]
pub static HEART: Array<u64> = Array::with_max_entries(MAX_QUEUES, 0);
#[map]
pub static XSKS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);

// Written by the kernel.
/// Packets judged, by reason.
#[map]
pub static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASON_SLOTS, 0);
/// What monitor mode would have dropped, by reason.
#[map]
pub static WOULD_DROP: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASON_SLOTS, 0);
/// Packets of trusted and allowed sources that a rule dropped, by reason; from [`WATCHED`](vos_common::reason::WATCHED) on
/// those that one would have dropped. They are in the two above as well.
#[map]
pub static NAMED: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASON_SLOTS, 0);
#[map]
pub static SOURCES: Array<ClockBucket> = Array::with_max_entries(SOURCE_BUCKETS, 0);
/// Sources that were given clocks: they are new, or were forgotten.
#[map]
pub static NEW_SOURCES: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static PREFIXES: Array<ClockBucket> = Array::with_max_entries(PREFIX_BUCKETS, 0);
/// The clock that all unknown sources share in attack mode.
#[map]
pub static GLOBAL: Array<u64> = Array::with_max_entries(1, 0);
/// When the next sample of each reason may be taken.
#[map]
pub static SAMPLED: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASON_SLOTS, 0);
/// Where a sample is put together: it is larger than the BPF stack.
#[map]
pub static SAMPLE: PerCpuArray<Sample> = PerCpuArray::with_max_entries(1, 0);
/// Dropped packets. 1 MiB hold five seconds of ten a second for each of ten reasons.
#[map]
pub static SAMPLES: RingBuf = RingBuf::with_byte_size(1 << 20, 0);
/// Where `flow` puts its result, so that the verifier forgets the paths that led to it.
#[map]
pub static SCRATCH: PerCpuArray<Flow> = PerCpuArray::with_max_entries(1, 0);
/// Where a copied message is put together: it is larger than the BPF stack.
#[map]
pub static REPLY: PerCpuArray<Reply> = PerCpuArray::with_max_entries(1, 0);
/// The softswitch's responses, and its BYEs where they are asked for. 4 MiB hold what leaves in 100 ms at 40,000 responses of 1 KB a second.
#[map]
pub static REPLIES: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
/// Messages that found no room in the ring.
#[map]
pub static REPLIES_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static TICK: Array<Clock> = Array::with_max_entries(1, 0);
