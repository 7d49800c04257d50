//! Answers and ACKs go in, and what the kernel would read comes out.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use sip_parse::{Index, Mode};
use vos_common::rate::{VERIFIED_BUCKETS, VERIFIED_WAYS, VerifiedBucket, bucket};
use vos_common::state::mix;

use super::*;

const SEED: u64 = 0x5eed;
const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_000 * SECOND;
const SPAN: u64 = 7_200;
const PHONE: Addr = Addr::v4([198, 51, 100, 20]);
const OTHER: Addr = Addr::v4([198, 51, 100, 21]);

/// The map as the kernel has it; it outlives the engine.
#[derive(Clone, Debug)]
struct Pinned(Rc<RefCell<Vec<VerifiedBucket>>>, Rc<RefCell<u64>>);

impl Pinned {
    fn new() -> Self {
        Self(Rc::new(RefCell::new(vec![VerifiedBucket::default(); VERIFIED_BUCKETS as usize])), Rc::default())
    }

    /// As `Tables::verified` asks.
    fn holds(&self, key: u64, now: u64) -> bool {
        let bucket = self.0.borrow()[bucket(key, VERIFIED_BUCKETS) as usize];
        (0..VERIFIED_WAYS).any(|way| bucket.keys[way] == key && now < bucket.until[way])
    }

    fn knows(&self, src: &Addr, now: u64) -> bool {
        self.holds(source_key(src, SEED), now)
    }

    fn writes(&self) -> u64 {
        *self.1.borrow()
    }
}

impl VerifiedMap for Pinned {
    fn read(&self, index: u32) -> io::Result<VerifiedBucket> {
        Ok(self.0.borrow()[index as usize])
    }

    fn write(&mut self, index: u32, bucket: &VerifiedBucket) -> io::Result<()> {
        self.0.borrow_mut()[index as usize] = *bucket;
        *self.1.borrow_mut() += 1;
        Ok(())
    }
}

struct Site {
    map: Pinned,
    policy: Policy<Pinned>,
    secret: Secret,
    index: Index,
}

impl Site {
    fn new() -> Self {
        Self::on(Pinned::new())
    }

    fn on(map: Pinned) -> Self {
        let secret = Secret::default();
        let verified = Verified::open(map.clone(), SPAN).expect("the fake map can be read");
        let suspensions = Arc::new(Suspensions::new(secret.clone()));
        let registrations = Registrations::new(crate::config::Registration::default(), secret.clone(), suspensions);
        Self { map, policy: Policy::new(verified, registrations, SEED), secret, index: Index::new() }
    }

    fn answers(&mut self, to: &Addr, code: u16, method: &str, call_id: &str, now: u64) {
        let text = format!(
            "SIP/2.0 {code} x\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1@x>;tag=1\r\n\
             To: <sip:1@x>;tag=secret\r\nCall-ID: {call_id}\r\nCSeq: 2 {method}\r\n\r\n"
        );
        let message = self.index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own answer parses");
        let answer = Answer::of(&message, to, &self.secret).expect("a response");
        self.policy.answer(&answer, now);
    }

    fn acknowledges(&mut self, src: &Addr, call_id: &str, tag: &str, now: u64) {
        let text = format!(
            "ACK sip:1@x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1@x>;tag=1\r\n\
             To: <sip:1@x>{tag}\r\nCall-ID: {call_id}\r\nCSeq: 2 ACK\r\n\r\n"
        );
        let message = self.index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own ACK parses");
        if let Some(ack) = Ack::of(&message, src, &self.secret) {
            self.policy.ack(&ack, now);
        }
    }
}

#[test]
fn an_answered_challenge_verifies_and_nothing_less_does() {
    for code in [401, 407] {
        let mut site = Site::new();
        site.answers(&PHONE, code, "REGISTER", "a", NOW);
        assert!(!site.map.knows(&PHONE, NOW), "a challenge alone");
        site.answers(&PHONE, 200, "REGISTER", "a", NOW + SECOND);
        assert!(site.map.knows(&PHONE, NOW + SECOND));
        assert!(site.map.knows(&PHONE, NOW + SPAN * SECOND));
        assert!(!site.map.knows(&PHONE, NOW + (SPAN + 1) * SECOND), "not for good");
        assert!(!site.map.knows(&OTHER, NOW + SECOND));
    }
}

#[test]
fn halves_that_do_not_belong_together_verify_nobody() {
    let mut site = Site::new();
    // to another address, in another call, of another method, refused, too late
    site.answers(&PHONE, 401, "REGISTER", "a", NOW);
    site.answers(&OTHER, 200, "REGISTER", "a", NOW);
    site.answers(&PHONE, 200, "REGISTER", "b", NOW);
    site.answers(&PHONE, 200, "OPTIONS", "a", NOW);
    site.answers(&PHONE, 403, "REGISTER", "a", NOW);
    site.answers(&PHONE, 200, "REGISTER", "a", NOW + 33 * SECOND);
    // and no half of an ACK: without the tag, with another, from another, in another call, of no INVITE
    site.answers(&PHONE, 200, "INVITE", "c", NOW);
    site.acknowledges(&PHONE, "c", "", NOW);
    site.acknowledges(&PHONE, "c", ";tag=guess", NOW);
    site.acknowledges(&OTHER, "c", ";tag=secret", NOW);
    site.acknowledges(&PHONE, "d", ";tag=secret", NOW);
    site.answers(&PHONE, 200, "MESSAGE", "e", NOW);
    site.acknowledges(&PHONE, "e", ";tag=secret", NOW);
    site.answers(&PHONE, 486, "INVITE", "f", NOW);
    site.acknowledges(&PHONE, "f", ";tag=secret", NOW);
    assert_eq!(site.map.writes(), 0, "nobody was written");
    // the halves that do
    site.acknowledges(&PHONE, "c", ";tag=secret", NOW);
    assert!(site.map.knows(&PHONE, NOW) && !site.map.knows(&OTHER, NOW));
}

#[test]
fn one_proof_counts_once() {
    let mut site = Site::new();
    site.answers(&PHONE, 401, "REGISTER", "a", NOW);
    site.answers(&PHONE, 200, "REGISTER", "a", NOW);
    let later = NOW + (SPAN + 1) * SECOND;
    site.answers(&PHONE, 200, "REGISTER", "a", later);
    site.acknowledges(&PHONE, "a", ";tag=secret", later);
    assert!(!site.map.knows(&PHONE, later));
}

#[test]
fn a_bare_success_renews_and_never_begins() {
    let mut site = Site::new();
    site.answers(&PHONE, 200, "REGISTER", "a", NOW);
    assert!(!site.map.knows(&PHONE, NOW));
    site.answers(&PHONE, 401, "REGISTER", "a", NOW);
    site.answers(&PHONE, 200, "REGISTER", "a", NOW);
    let half = NOW + SPAN / 2 * SECOND;
    site.answers(&PHONE, 200, "REGISTER", "b", half);
    assert!(site.map.knows(&PHONE, half + (SPAN - 1) * SECOND));
    // too late to renew
    let over = half + (SPAN + 1) * SECOND;
    site.answers(&PHONE, 200, "REGISTER", "b", over);
    assert!(!site.map.knows(&PHONE, over));
}

#[test]
fn renewing_every_minute_costs_few_writes_and_never_lapses() {
    let mut site = Site::new();
    site.answers(&PHONE, 401, "REGISTER", "a", NOW);
    site.answers(&PHONE, 200, "REGISTER", "a", NOW);
    for minute in 0..24 * 60 {
        let now = NOW + minute * 60 * SECOND;
        site.answers(&PHONE, 200, "REGISTER", "a", now);
        assert!(site.map.knows(&PHONE, now + SPAN * SECOND * 15 / 16));
    }
    assert!(site.map.writes() < 24 * 60 / 6, "{} writes", site.map.writes());
}

#[test]
fn whoever_has_one_address_of_a_slash64_has_them_all() {
    let addr = |last: u8, net: u8| Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, net, 0, 0, 0, 0, 0, 0, 0, last]);
    let mut site = Site::new();
    site.answers(&addr(1, 7), 401, "REGISTER", "a", NOW);
    site.answers(&addr(2, 7), 200, "REGISTER", "a", NOW);
    assert!(site.map.knows(&addr(3, 7), NOW) && !site.map.knows(&addr(1, 8), NOW));
}

/// 50,000 spoofed REGISTERs a second, from random sources or all in the phones' names, and each is challenged: phones
/// that answer within two seconds prove themselves.
#[test]
fn a_flood_of_spoofed_registers_does_not_wash_challenges_away() {
    for in_their_name in [false, true] {
        let mut trips = RoundTrips::default();
        let phone = |n: u64| (mix(1, n), mix(2, n));
        for n in 0..1_000 {
            let (source, request) = phone(n);
            trips.challenged(source, request, NOW);
        }
        for n in 0..100_000 {
            let source = if in_their_name { phone(n % 1_000).0 } else { mix(3, n) };
            trips.challenged(source, mix(4, n), NOW + n * 20_000);
        }
        let proven = (0..1_000).filter(|n| trips.accepted(phone(*n).0, phone(*n).1, NOW + 2 * SECOND)).count();
        assert!(proven >= 998, "{proven} of 1000, in their name: {in_their_name}");
    }
}

#[test]
fn a_restart_takes_over_what_is_pinned() {
    let mut site = Site::new();
    site.answers(&PHONE, 401, "REGISTER", "a", NOW);
    site.answers(&PHONE, 200, "REGISTER", "a", NOW);
    let map = site.map.clone();
    drop(site);
    let mut site = Site::on(map);
    assert_eq!(site.policy.verified().sources(), 1);
    // and it renews, which it would not for a stranger
    let later = NOW + SPAN / 2 * SECOND;
    site.answers(&PHONE, 200, "REGISTER", "z", later);
    assert!(site.map.knows(&PHONE, later + (SPAN - 1) * SECOND));
}

#[test]
fn in_a_full_bucket_the_one_that_ends_first_makes_room_and_is_counted() {
    let map = Pinned::new();
    let mut verified = Verified::open(map.clone(), SPAN).expect("the fake map can be read");
    let count = verified.count();
    // keys of one bucket
    let key = |n: u64| 5 << 32 | n << 1 | 1;
    for n in 0..VERIFIED_WAYS as u64 {
        // the third ends first
        verified.prove(key(n), NOW + (n + 6) % 8 * SECOND);
    }
    assert_eq!((count.sources(), count.displaced()), (8, 0));
    verified.prove(key(100), NOW + 9 * SECOND);
    let held: Vec<bool> = (0..8).map(|n| map.holds(key(n), NOW + 9 * SECOND)).collect();
    assert_eq!(held, [true, true, false, true, true, true, true, true]);
    assert!(map.holds(key(100), NOW + 9 * SECOND));
    assert_eq!((count.sources(), count.displaced()), (8, 1));
    // those whose time is over make room without being missed
    let over = NOW + (SPAN + 20) * SECOND;
    verified.prove(key(101), over);
    assert_eq!(count.displaced(), 1);
    verified.expire(over);
    assert_eq!(count.sources(), 1);
    assert!(map.holds(key(101), over));
    let keys: Vec<u64> = map.0.borrow()[5].keys.iter().copied().filter(|key| *key != 0).collect();
    assert_eq!(keys, [key(101)], "taken out of the kernel's map, too");
}

#[test]
fn what_the_kernel_refuses_is_not_believed() {
    #[derive(Debug)]
    struct Broken;
    impl VerifiedMap for Broken {
        fn read(&self, _: u32) -> io::Result<VerifiedBucket> {
            Ok(VerifiedBucket::default())
        }
        fn write(&mut self, _: u32, _: &VerifiedBucket) -> io::Result<()> {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        }
    }
    let mut verified = Verified::open(Broken, SPAN).expect("it can be read");
    verified.prove(5, NOW);
    assert!(!verified.renew(5, NOW));
    assert_eq!(verified.count().sources(), 0);
    assert_eq!(verified.count().to_json()["failed"], 1);
}
