//! Answers go in, as text; out comes who is slowed.

use sip_parse::{Index, Mode};

use super::*;
use crate::policy::identity::holder;

const SECOND: u64 = 1_000_000_000;
const SCANNER: Addr = Addr::v4([203, 0, 113, 66]);
const PHONE: Addr = Addr::v4([198, 51, 100, 20]);

struct Site {
    enumeration: Enumeration,
    slowed: Slowed,
    secret: Secret,
    now: u64,
    transactions: u32,
}

impl Site {
    fn new() -> Self {
        let secret = Secret::default();
        let enumeration = Enumeration::new(Config::default(), secret.clone());
        Self { enumeration, slowed: Slowed::default(), secret, now: 1_000 * SECOND, transactions: 0 }
    }

    fn clock(&self) -> Clock {
        Clock::at(self.now + 1_000_000 * SECOND, self.now)
    }

    fn answers_as(&mut self, to: &Addr, method: &str, user: &str, status: u16, transaction: u32) -> Option<Asked> {
        let text = format!(
            "SIP/2.0 {status} x\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{transaction}\r\nFrom: <sip:1@x>;tag=1\r\n\
             To: <sip:{user}@e.com>;tag=2\r\nCall-ID: {transaction}\r\nCSeq: 1 {method}\r\n\r\n"
        );
        let mut index: Index = Index::new();
        let message = index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own message parses");
        let answer = Answer::of(&message, to, &self.secret).expect("a response");
        let clock = self.clock();
        self.enumeration.answered(&answer, &self.slowed, clock, |source| *source == PHONE)
    }

    fn answers(&mut self, to: &Addr, user: &str, status: u16) -> Option<Asked> {
        self.transactions += 1;
        self.answers_as(to, "REGISTER", user, status, self.transactions)
    }

    fn is_slowed(&self, source: &Addr) -> bool {
        self.slowed.holds(key_of(source, &self.secret))
    }
}

fn names(names: &[Name]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn the_twentieth_answer_slows_and_tells_what_was_learnt() {
    let mut site = Site::new();
    for n in 0..19 {
        assert_eq!(site.answers(&SCANNER, &format!("10{n}"), 404), Some(Asked::Missing));
        if n % 5 == 0 {
            // an account, and two who are called
            assert_eq!(site.answers(&SCANNER, &format!("20{n}"), 401), None);
            assert_eq!(site.answers(&SCANNER, &format!("20{n}"), 200), None);
            assert_eq!(site.answers(&SCANNER, "overloaded", 503), None);
        }
        site.now += SECOND;
    }
    assert!(!site.is_slowed(&SCANNER));
    let Some(Asked::TooOften(found)) = site.answers(&SCANNER, "119", 604) else { panic!("it is not slowed") };
    assert_eq!((found.source, found.answers, found.within), (SCANNER, 20, Duration::from_secs(19)));
    assert_eq!(names(&found.asked), ["1016@e.com", "1017@e.com", "1018@e.com", "119@e.com"]);
    assert_eq!(names(&found.found), ["200@e.com", "205@e.com", "2010@e.com", "2015@e.com"]);
    assert!(site.is_slowed(&SCANNER));
    // It is told once, and goes on as long as it does.
    for _ in 0..10 {
        site.now += 500 * SECOND;
        assert_eq!(site.answers(&SCANNER, "x", 404), Some(Asked::Missing));
        site.enumeration.expire(&site.slowed, site.now);
        assert!(site.is_slowed(&SCANNER));
    }
    site.now += 600 * SECOND;
    site.enumeration.expire(&site.slowed, site.now);
    assert!(!site.is_slowed(&SCANNER));
}

#[test]
fn a_repeated_answer_counts_once_and_so_does_one_within_a_dialog_not_at_all() {
    let mut site = Site::new();
    for _ in 0..1_000 {
        let _first = site.answers_as(&SCANNER, "INVITE", "1", 404, 7);
        assert_eq!(site.answers_as(&SCANNER, "BYE", "1", 404, 8), None);
        assert_eq!(site.answers(&SCANNER, "1", 183), None);
    }
    assert!(site.slowed.is_empty());
}

#[test]
fn who_is_known_dials_as_many_wrong_numbers_as_it_likes() {
    let mut site = Site::new();
    for n in 0..10_000 {
        assert_eq!(site.answers(&PHONE, &n.to_string(), 404), Some(Asked::Missing));
    }
    assert!(site.slowed.is_empty());
}

#[test]
fn nineteen_in_ten_minutes_are_no_scan() {
    let mut site = Site::new();
    for n in 0..1_000 {
        if n % 19 == 0 {
            site.now += 601 * SECOND;
        }
        assert_eq!(site.answers(&SCANNER, &n.to_string(), 404), Some(Asked::Missing));
    }
    assert!(site.slowed.is_empty());
}

#[test]
fn whom_an_operator_has_lifted_begins_anew() {
    let mut site = Site::new();
    let scan = |site: &mut Site| (0..20).filter_map(|n| site.answers(&SCANNER, &n.to_string(), 404)).last();
    assert!(matches!(scan(&mut site), Some(Asked::TooOften(_))));
    assert_eq!(site.slowed.lift(Some("203.0.113.66"), site.clock()).len(), 1);
    site.enumeration.expire(&site.slowed, site.now);
    assert_eq!((0..19).filter_map(|n| site.answers(&SCANNER, &n.to_string(), 404)).last(), Some(Asked::Missing));
    assert!(!site.is_slowed(&SCANNER));
    assert!(matches!(site.answers(&SCANNER, "x", 404), Some(Asked::TooOften(_))));
}

#[test]
fn a_flood_of_spoofed_sources_leaves_the_tables_as_large_as_they_are() {
    let mut site = Site::new();
    for n in 0..200_000u32 {
        site.answers(&Addr::v4(n.to_be_bytes()), "1", 404);
    }
    assert!(site.slowed.is_empty());
    let v6 = Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(holder(&v6).lo, 0);
    let last = (0..20).filter_map(|n| site.answers(&Addr { lo: n, ..v6 }, &n.to_string(), 404)).last();
    assert!(matches!(last, Some(Asked::TooOften(_))), "{last:?}");
}
