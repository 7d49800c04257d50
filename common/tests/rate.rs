//! Limits against what they promise, told independently: a bucket of tokens, and windows counted by hand.

use proptest::prelude::*;
use vos_common::rate::{Limit, Tier, prefix_key, source_key};
use vos_common::rule::Addr;

const SECOND: u64 = 1_000_000_000;

/// A bucket of tokens (ITU-T I.371 annex A: the other form of the same algorithm), each token a nanosecond.
struct Bucket {
    size: u128,
    tokens: u128,
    at: u64,
}

impl Bucket {
    /// Starts full.
    fn new(limit: Limit, at: u64) -> Self {
        let size = u128::from(limit.ahead) + u128::from(limit.every);
        Self { size, tokens: size, at }
    }

    fn claim(&mut self, every: u64, now: u64) -> bool {
        self.tokens = (self.tokens + u128::from(now - self.at)).min(self.size);
        self.at = now;
        let conforms = self.tokens >= u128::from(every);
        if conforms {
            self.tokens -= u128::from(every);
        }
        conforms
    }
}

fn limits() -> impl Strategy<Value = (u32, u32, u64)> {
    let rate = prop_oneof![1u32..20, 20u32..2_000, Just(1_000_000)];
    let tick = prop_oneof![Just(0u64), Just(1_000_000), Just(4_000_000), Just(10_000_000)];
    (rate, 1u32..200, tick)
}

/// Gaps between packets: bursts, the limit's own rate, breaks.
fn gaps(every: u64) -> impl Strategy<Value = Vec<u64>> {
    let gap = prop_oneof![Just(0), 0..=every, Just(every), 0..=every * 4, 0..=every * 100];
    prop::collection::vec(gap, 1..200)
}

fn traffic() -> impl Strategy<Value = (u32, u32, u64, Vec<u64>)> {
    limits().prop_flat_map(|(rate, burst, tick)| (Just(rate), Just(burst), Just(tick), gaps(SECOND / u64::from(rate))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The clock decides as a bucket of tokens would, packet by packet, while the time stays below 2⁶⁴ ns.
    #[test]
    fn a_clock_is_a_bucket_of_tokens((rate, burst, tick, gaps) in traffic(), start in 1u64..1 << 62) {
        let limit = Limit::per_second(rate, burst, tick);
        let (mut bucket, mut clock, mut now) = (Bucket::new(limit, start), 0, start);
        for gap in gaps {
            now += gap;
            let next = limit.claim(clock, now);
            prop_assert_eq!(next.is_some(), bucket.claim(limit.every, now), "at {}", now - start);
            clock = next.unwrap_or(clock);
        }
    }

    /// In any window of t seconds no more than burst + rate · t pass, and what a tick of the kernel's clock may hide.
    #[test]
    fn no_window_holds_more_than_the_limit((rate, burst, tick, gaps) in traffic()) {
        let limit = Limit::per_second(rate, burst, tick);
        let (mut clock, mut time, mut passed) = (0, 10 * SECOND, Vec::new());
        for gap in gaps {
            time += gap;
            // The kernel's clock shows the tick below.
            let now = if tick == 0 { time } else { time - time % tick };
            if let Some(next) = limit.claim(clock, now) {
                clock = next;
                passed.push(time);
            }
        }
        for (i, from) in passed.iter().enumerate() {
            for (n, to) in passed[i..].iter().enumerate() {
                // A tick is in the limit, another in the clock.
                let most = u64::from(burst) + (to - from + 2 * tick) / limit.every;
                assert!((n as u64) < most, "{} in {} ns", n + 1, to - from);
            }
        }
    }

    /// A source that keeps to the rate, give or take its burst, is never refused, however the tick cuts time.
    #[test]
    fn who_keeps_to_the_rate_is_never_refused((rate, burst, tick) in limits(), late in prop::collection::vec(0u64..1_000, 1..400)) {
        let limit = Limit::per_second(rate, burst, tick);
        let every = SECOND.div_ceil(u64::from(rate));
        // Any packet may be late by as many as make a burst, so that they bunch up.
        let slack = every * u64::from(burst - 1);
        let due = late.iter().zip(0u64..).map(|(late, n)| 10 * SECOND + n * every + late * slack / 1_000);
        let mut times: Vec<_> = due.collect();
        times.sort_unstable();
        let mut clock = 0;
        for time in times {
            let now = if tick == 0 { time } else { time - time % tick };
            let next = limit.claim(clock, now);
            prop_assert!(next.is_some(), "refused at {}", now);
            clock = next.unwrap();
        }
    }

    /// A refused packet costs nothing: as if it had never been.
    #[test]
    fn what_is_refused_does_not_count((rate, burst, tick) in limits(), tries in 1usize..50) {
        let limit = Limit::per_second(rate, burst, tick);
        let now = 10 * SECOND;
        let mut clock = 0;
        while let Some(next) = limit.claim(clock, now) {
            clock = next;
        }
        for _ in 0..tries {
            prop_assert_eq!(limit.claim(clock, now), None);
        }
        prop_assert!(limit.claim(clock, now + limit.every).is_some());
    }
}

#[test]
fn a_burst_is_as_many_as_it_says() {
    for (rate, burst) in [(1, 1), (5, 10), (20, 50), (1_000, 1), (3, 7)] {
        let limit = Limit::per_second(rate, burst, 0);
        let mut clock = 0;
        for n in 0..burst {
            clock = limit.claim(clock, SECOND).unwrap_or_else(|| panic!("{n} of {burst}"));
        }
        assert_eq!(limit.claim(clock, SECOND), None);
        assert_eq!(limit.claim(clock, SECOND + limit.every - 1), None);
        assert!(limit.claim(clock, SECOND + limit.every).is_some());
    }
}

/// Nonsense is taken for the least that makes sense; a configuration's limits are checked where it is read.
#[test]
fn a_limit_of_nothing_is_one_of_one() {
    assert_eq!(Limit::per_second(0, 0, 0), Limit::per_second(1, 1, 0));
    // nothing overflows
    let largest = Limit::per_second(1, u32::MAX, u64::from(u32::MAX));
    assert!(largest.claim(0, u64::MAX / 4).is_some());
}

#[test]
fn no_limit_is_no_limit() {
    let mut clock = 0;
    for _ in 0..10_000 {
        clock = Limit::NONE.claim(clock, SECOND).unwrap();
    }
    // and its clock does not run ahead: a limit that is set later begins at once
    assert_eq!(clock, SECOND);
    assert!(Limit::per_second(1, 1, 0).claim(clock, SECOND).is_some());
}

fn v6(bytes: [u8; 16]) -> Addr {
    Addr::from_bytes(bytes)
}

proptest! {
    /// IPv4: each address apart, prefixes of 24 bits. Never 0, which is an empty slot.
    #[test]
    fn ipv4_sources_and_prefixes(a: [u8; 4], b: [u8; 4], seed: u64) {
        let (x, y) = (Addr::v4(a), Addr::v4(b));
        prop_assert_eq!(source_key(&x, seed) == source_key(&y, seed), a == b);
        prop_assert_eq!(prefix_key(&x, seed) == prefix_key(&y, seed), a[..3] == b[..3]);
        let beside = Addr::v4([a[0], a[1], a[2], b[3]]);
        prop_assert_eq!(prefix_key(&x, seed), prefix_key(&beside, seed));
        prop_assert!(source_key(&x, seed) != 0 && prefix_key(&x, seed) != 0);
    }

    /// IPv6: a /64 is a source, a /48 a prefix.
    #[test]
    fn ipv6_sources_and_prefixes(a: [u8; 16], at in 0usize..16, bit in 0u8..8, seed: u64) {
        let mut b = a;
        b[at] ^= 1 << bit;
        let (x, y) = (v6(a), v6(b));
        prop_assume!(!x.is_v4() && !y.is_v4());
        prop_assert_eq!(source_key(&x, seed) == source_key(&y, seed), at >= 8);
        prop_assert_eq!(prefix_key(&x, seed) == prefix_key(&y, seed), at >= 6);
    }

    /// The hashes are secret: another seed is another table.
    #[test]
    fn seeds_matter(a: [u8; 4], one: u64, other: u64) {
        prop_assume!(one != other);
        prop_assert_ne!(source_key(&Addr::v4(a), one), source_key(&Addr::v4(a), other));
    }
}

#[test]
fn tiers_are_numbered_as_the_maps_are() {
    for (number, tier) in Tier::ALL.into_iter().enumerate() {
        assert_eq!(tier as usize, number);
    }
    assert!(Tier::Unknown < Tier::Verified && Tier::Verified < Tier::Trusted);
}

/// An office of phones uses up what strangers may send, is verified by its first 2xx, and must be able to go on.
#[test]
fn a_clock_that_another_limit_set_holds_nobody_up() {
    const TICK: u64 = 4_000_000;
    let (stranger, verified) = (Limit::per_second(5, 100, TICK), Limit::per_second(200, 2_000, TICK));
    let now = 1_000 * 1_000_000_000;
    let mut clock = 0;
    while let Some(next) = stranger.claim(clock, now) {
        clock = next;
    }
    assert!(clock - now > 19 * 1_000_000_000);
    assert!(verified.claim(clock, now).is_some_and(|next| next < now + 1_000_000_000), "as if it had just come");
    // What its own limit set is kept, to the packet.
    let mut clock = now;
    let taken = std::iter::from_fn(|| verified.claim(clock, now).map(|next| clock = next)).count();
    assert!((2_000..=2_001).contains(&taken), "{taken}");
    assert_eq!(verified.claim(clock, now), None);
    // Another CPU may still be a tick behind.
    assert_eq!(verified.claim(clock, now - TICK), None);
}

#[test]
fn no_limit_heeds_no_clock() {
    for clock in [0, 1, NOW - 1, NOW, NOW + 1, NOW + 3_600_000_000_000] {
        assert!(Limit::NONE.claim(clock, NOW).is_some(), "{clock}");
    }
}

const NOW: u64 = 5_000_000_000_000;
