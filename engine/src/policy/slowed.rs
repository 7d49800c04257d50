//! Who is slowed: written by the policy's thread, asked by workers for each request that begins something.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use vos_common::rate::Limit;
use vos_common::rule::Addr;

use super::Secret;
use super::identity::{holder, net_of};
use crate::control::address::show;
use crate::control::clock::Clock;

/// Most that are slowed at a time. Of more in one bucket of [`WAYS`] the one goes that would end first; it comes back with
/// the next that it asks for. 96 KiB.
pub const SLOWED_MAX: usize = 4_096;
/// Places of a bucket.
const WAYS: usize = 8;

/// A place of the table. Whoever reads while it is given to another source may decide one packet by the wrong clock.
#[derive(Debug, Default)]
struct Place {
    /// Names the source; 0: empty.
    key: AtomicU64,
    /// Until when, ns of `CLOCK_MONOTONIC`.
    until: AtomicU64,
    /// What it has sent, as [`Limit::claim`] keeps it.
    clock: AtomicU64,
}

/// Somebody who is slowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    address: Addr,
    /// Since when, unix seconds.
    since: u64,
    /// Until when, ns of `CLOCK_MONOTONIC`.
    until: u64,
    /// Answers that something is not there, as far as they led to it.
    answers: u32,
}

/// The same for the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Slowed)]
pub struct ShownSlowed {
    /// An address, or an IPv6 /64.
    pub address: String,
    /// Since when, unix seconds.
    pub since: u64,
    /// When it ends, unix seconds, unless it goes on asking.
    pub until: u64,
    /// Answers that something is not there.
    pub answers: u32,
}

/// Who is slowed.
#[derive(Debug)]
pub struct Slowed {
    /// How many; workers look no further while there is none.
    some: AtomicUsize,
    places: Box<[Place]>,
    /// The same with their addresses. Whoever writes `places` has this.
    held: Mutex<HashMap<u64, Held>>,
    /// Lifted since the policy's thread looked last.
    lifted: Mutex<Vec<u64>>,
    /// How often somebody has been slowed.
    begun: AtomicU64,
}

impl Default for Slowed {
    /// Nobody.
    fn default() -> Self {
        Self {
            some: AtomicUsize::new(0),
            places: (0..SLOWED_MAX).map(|_| Place::default()).collect(),
            held: Mutex::default(),
            lifted: Mutex::default(),
            begun: AtomicU64::new(0),
        }
    }
}

/// Names the holder of an address; never 0.
pub(super) fn key_of(source: &Addr, secret: &Secret) -> u64 {
    secret.identity(Some(&holder(source)), None) | 1
}

impl Slowed {
    /// Is nobody slowed? One relaxed load.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.some.load(Relaxed) == 0
    }

    /// How many are slowed.
    pub fn len(&self) -> usize {
        self.some.load(Relaxed)
    }

    /// How often somebody has been slowed.
    pub fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Is `source` slowed, and has it sent more than `limit` at `now` (ns of `CLOCK_MONOTONIC`)? Counts what it has not.
    pub fn is_beyond(&self, source: &Addr, secret: &Secret, limit: &Limit, now: u64) -> bool {
        let key = key_of(source, secret);
        let own = |place: &&Place| place.key.load(Relaxed) == key && place.until.load(Relaxed) > now;
        let Some(place) = self.bucket(key).iter().find(own) else { return false };
        place.clock.fetch_update(Relaxed, Relaxed, |clock| limit.claim(clock, now)).is_err()
    }

    fn bucket(&self, key: u64) -> &[Place] {
        let at = (key >> 32) as usize % (SLOWED_MAX / WAYS) * WAYS;
        &self.places[at..at + WAYS]
    }

    /// Is it slowed?
    pub(super) fn holds(&self, key: u64) -> bool {
        self.held.lock().contains_key(&key)
    }

    /// Slows `source` until then. `true`: it was not.
    pub(crate) fn put(&self, source: &Addr, secret: &Secret, until: u64, answers: u32, clock: Clock) -> bool {
        let key = key_of(source, secret);
        let mut held = self.held.lock();
        let bucket = self.bucket(key);
        if let Some(own) = held.get_mut(&key) {
            (own.until, own.answers) = (until, answers);
            bucket
                .iter()
                .filter(|place| place.key.load(Relaxed) == key)
                .for_each(|own| own.until.store(until, Relaxed));
            return false;
        }
        let Some(place) = bucket.iter().min_by_key(|place| place.until.load(Relaxed)) else { return false };
        held.remove(&place.key.load(Relaxed));
        for (word, value) in [(&place.until, 0), (&place.clock, 0), (&place.key, key), (&place.until, until)] {
            word.store(value, Relaxed);
        }
        held.insert(key, Held { address: holder(source), since: clock.wall_s(), until, answers });
        self.begun.fetch_add(1, Relaxed);
        self.some.store(held.len(), Relaxed);
        true
    }

    fn remove(&self, is_over: impl Fn(&Held) -> bool) -> Vec<(u64, Held)> {
        let mut held = self.held.lock();
        let over: Vec<_> = held.extract_if(|_, held| is_over(held)).collect();
        for (key, _) in &over {
            for place in self.bucket(*key).iter().filter(|place| place.key.load(Relaxed) == *key) {
                place.until.store(0, Relaxed);
                place.key.store(0, Relaxed);
            }
        }
        self.some.store(held.len(), Relaxed);
        over
    }

    /// Those whose time is over at `now` (ns of `CLOCK_MONOTONIC`) are slowed no more.
    pub(super) fn expire(&self, now: u64) {
        if !self.is_empty() {
            self.remove(|held| held.until <= now);
        }
    }

    /// Ends it for this address, or for all, and forgets what they have asked for.
    pub fn lift(&self, whom: Option<&str>, clock: Clock) -> Vec<ShownSlowed> {
        let lifted = self.remove(|held| whom.is_none_or(|whom| show(net_of(&held.address)) == whom));
        self.lifted.lock().extend(lifted.iter().map(|(key, _)| *key));
        lifted.iter().map(|(_, held)| held.shown(clock)).collect()
    }

    /// The keys of those that were lifted since this was asked last.
    pub(super) fn take_lifted(&self) -> Vec<u64> {
        std::mem::take(&mut self.lifted.lock())
    }

    /// All of them, those that end first in front.
    pub fn list(&self, clock: Clock) -> Vec<ShownSlowed> {
        let mut all: Vec<_> = self.held.lock().values().copied().collect();
        all.sort_by_key(|held| (held.until, held.since));
        all.iter().map(|held| held.shown(clock)).collect()
    }

    /// As JSON, for `vosctl stats`.
    pub fn to_json(&self) -> Value {
        json!({ "now": self.len(), "begun": self.begun() })
    }
}

impl Held {
    fn shown(&self, clock: Clock) -> ShownSlowed {
        let until = clock.wall_ns_of(self.until).div_ceil(1_000_000_000);
        ShownSlowed { address: show(net_of(&self.address)), since: self.since, until, answers: self.answers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_000 * SECOND;

    fn clock() -> Clock {
        Clock::at(2_000 * SECOND, NOW)
    }

    fn source(n: u32) -> Addr {
        Addr::v4(n.to_be_bytes())
    }

    fn put(slowed: &Slowed, secret: &Secret, n: u32, until: u64) -> bool {
        slowed.put(&source(n), secret, until, 20, clock())
    }

    #[test]
    fn a_slowed_source_gets_what_the_limit_grants_and_nobody_else_notices() {
        let (slowed, secret, limit) = (Slowed::default(), Secret::default(), Limit::per_second(1, 5, 0));
        let beyond = |n: u32, now: u64| slowed.is_beyond(&source(n), &secret, &limit, now);
        assert!(slowed.is_empty() && !beyond(1, NOW));
        assert!(put(&slowed, &secret, 1, NOW + 600 * SECOND) && !put(&slowed, &secret, 1, NOW + 700 * SECOND));
        // a packet each millisecond for ten seconds: five at once, then one a second
        let passed = (0..10_000).filter(|ms| !beyond(1, NOW + ms * SECOND / 1_000)).count();
        assert_eq!(passed, 5 + 9);
        assert!((0..100).all(|_| !beyond(2, NOW)));
        assert_eq!((slowed.len(), slowed.begun()), (1, 1));
        // until its time is over, swept or not
        assert!(!beyond(1, NOW + 700 * SECOND));
        slowed.expire(NOW + 699 * SECOND);
        assert_eq!(slowed.len(), 1);
        slowed.expire(NOW + 700 * SECOND);
        assert!(slowed.is_empty());
    }

    #[test]
    fn an_ipv6_source_is_its_64() {
        let (slowed, secret) = (Slowed::default(), Secret::default());
        let address = |text: &str| Addr::from_bytes(text.parse::<std::net::Ipv6Addr>().expect(text).octets());
        let here = address("2001:db8:1:2::7");
        slowed.put(&here, &secret, NOW + SECOND, 20, clock());
        let none = Limit { every: u64::MAX / 4, ahead: 0 };
        let beyond = |text: &str| slowed.is_beyond(&address(text), &secret, &none, NOW);
        assert!(!beyond("2001:db8:1:2::8") && beyond("2001:db8:1:2::9") && !beyond("2001:db8:1:3::7"));
        assert_eq!(slowed.list(clock())[0].address, "2001:db8:1:2::/64");
    }

    #[test]
    fn an_operator_ends_it_by_address_or_for_all() {
        let (slowed, secret) = (Slowed::default(), Secret::default());
        (1..=3).for_each(|n| assert!(put(&slowed, &secret, n, NOW + u64::from(n) * SECOND)));
        let told: Vec<_> = slowed.list(clock()).into_iter().map(|it| (it.address, it.until, it.answers)).collect();
        assert_eq!(told[0], ("0.0.0.1".to_owned(), 2_001, 20));
        assert_eq!(slowed.lift(Some("0.0.0.2"), clock()).len(), 1);
        assert!(slowed.lift(Some("0.0.0.2"), clock()).is_empty());
        assert_eq!(slowed.lift(None, clock()).len(), 2);
        assert!(slowed.is_empty() && slowed.list(clock()).is_empty());
        assert_eq!(slowed.take_lifted().len(), 3);
    }

    #[test]
    fn more_than_there_is_room_for_displace_each_other_and_nothing_grows() {
        let (slowed, secret) = (Slowed::default(), Secret::default());
        for n in 0..3 * SLOWED_MAX as u32 {
            put(&slowed, &secret, n, NOW + u64::from(n) + 1);
        }
        assert!(slowed.len() <= SLOWED_MAX && slowed.held.lock().len() == slowed.len());
        let full = |place: &&Place| place.key.load(Relaxed) != 0;
        assert_eq!(slowed.places.iter().filter(full).count(), slowed.len());
        slowed.expire(u64::MAX);
        assert_eq!(slowed.places.iter().filter(full).count(), 0);
    }
}
