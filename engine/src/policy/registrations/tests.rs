//! REGISTERs and their answers go in, as text; out comes who is suspended.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sip_parse::{Index, Mode};

use super::*;
use crate::policy::SUSPENSIONS_MAX;

const SECOND: u64 = 1_000_000_000;
const HERE: Addr = Addr::v4([198, 51, 100, 20]);
const THERE: Addr = Addr::v4([198, 51, 100, 21]);
const TRUSTED: Addr = Addr::v4([198, 51, 100, 99]);

/// A registrar and those who register, with a clock of their own.
struct Site {
    registrations: Registrations,
    secret: Secret,
    now: u64,
    transactions: u32,
}

impl Site {
    fn new(config: Registration) -> Self {
        let secret = Secret::default();
        let suspensions = Arc::new(Suspensions::new(secret.clone()));
        let registrations = Registrations::new(config, secret.clone(), suspensions);
        Self { registrations, secret, now: 1_000 * SECOND, transactions: 0 }
    }

    fn of(identity: Identity) -> Self {
        Self::new(Registration { identity, ..Registration::default() })
    }

    fn clock(&self) -> Clock {
        Clock::at(self.now + 1_000_000 * SECOND, self.now)
    }

    fn text(&self, start: &str, transaction: u32, to: &str, headers: &str) -> String {
        format!(
            "{start}\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{transaction}\r\nFrom: <sip:{to}@e.com>;tag=1\r\n\
             To: <sip:{to}@e.com>\r\nCall-ID: c\r\nCSeq: {transaction} REGISTER\r\n{headers}\r\n"
        )
    }

    /// A REGISTER comes in.
    fn asks(&mut self, source: &Addr, transaction: u32, to: &str, headers: &str) {
        let text = self.text("REGISTER sip:e.com SIP/2.0", transaction, to, headers);
        let mut index: Index = Index::new();
        let message = index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own message parses");
        let transaction = self.secret.transaction_of(&message).expect("it has all that names it");
        for attempt in Attempt::all_of(&message, source, &self.secret, transaction) {
            self.registrations.attempted(attempt, self.now);
        }
    }

    /// Is that somebody's REGISTER refused?
    fn holds(&self, source: &Addr, to: &str, account: Option<&str>) -> bool {
        let headers = account.map(|account| credentials(account, "n", "r")).unwrap_or_default();
        let text = self.text("REGISTER sip:e.com SIP/2.0", 1, to, &headers);
        let mut index: Index = Index::new();
        let message = index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own message parses");
        self.registrations.suspensions.hold(&message, source)
    }

    /// The answer goes out.
    fn answers(&mut self, to: &Addr, transaction: u32, status: u16, headers: &str) -> Option<Suspension> {
        let text = self.text(&format!("SIP/2.0 {status} x"), transaction, "100", headers);
        let mut index: Index = Index::new();
        let message = index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own message parses");
        let answer = Answer::of(&message, to, &self.secret).expect("a response");
        self.registrations.answered(&answer, self.clock(), |address| *address == TRUSTED)
    }

    /// Somebody is challenged with this nonce.
    fn challenges(&mut self, source: &Addr, nonce: &str) {
        self.transactions += 1;
        assert_eq!(self.answers(source, self.transactions, 401, &challenge(nonce, false)), None);
    }

    /// Credentials are shown, and answered with this status.
    fn tries(&mut self, source: &Addr, to: &str, account: &str, nonce: &str, status: u16) -> Option<Suspension> {
        self.transactions += 1;
        let transaction = self.transactions;
        self.asks(source, transaction, to, &credentials(account, nonce, &transaction.to_string()));
        self.answers(source, transaction, status, "")
    }

    /// The same as svcrack does it: challenged, then refused.
    fn guesses(&mut self, source: &Addr, user: &str) -> Option<Suspension> {
        let nonce = format!("n{}", self.transactions);
        self.challenges(source, &nonce);
        self.tries(source, user, user, &nonce, 401)
    }
}

fn challenge(nonce: &str, stale: bool) -> String {
    let stale = if stale { ", stale=true" } else { "" };
    format!("WWW-Authenticate: Digest realm=\"e.com\", nonce=\"{nonce}\"{stale}\r\n")
}

fn credentials(account: &str, nonce: &str, response: &str) -> String {
    format!(
        "Authorization: Digest username=\"{account}\", realm=\"e.com\", nonce=\"{nonce}\", response=\"{response}\"\r\n"
    )
}

#[test]
fn six_refusals_in_a_row_suspend_a_user_at_an_address_and_nobody_else() {
    let mut site = Site::of(Identity::IpUser);
    for _ in 0..5 {
        assert_eq!(site.guesses(&HERE, "100"), None);
    }
    let suspended = site.guesses(&HERE, "100").expect("the sixth");
    assert_eq!((suspended.failures, suspended.times, suspended.address), (6, 1, Some(HERE)));
    assert_eq!(suspended.until - site.now, 180 * SECOND);
    assert!(site.holds(&HERE, "100", None) && site.holds(&HERE, "100", Some("100")));
    // A guesser who names another account to register, or registers another by this account.
    assert!(site.holds(&HERE, "100", Some("other")) && site.holds(&HERE, "other", Some("100")));
    assert!(!site.holds(&HERE, "101", Some("101")) && !site.holds(&THERE, "100", Some("100")));
    // It ends.
    site.now += 180 * SECOND - 1;
    assert!(site.registrations.expire(site.now).is_empty() && site.holds(&HERE, "100", None));
    site.now += 1;
    assert_eq!(site.registrations.expire(site.now), [suspended]);
    assert!(!site.holds(&HERE, "100", None));
}

#[test]
fn a_relapse_within_a_day_doubles_the_time_up_to_the_limit() {
    let mut site = Site::of(Identity::IpUser);
    let mut spans = Vec::new();
    for _ in 0..7 {
        let suspended = (0..6).find_map(|_| site.guesses(&HERE, "100")).expect("suspended");
        spans.push((suspended.until - site.now) / SECOND);
        site.now = suspended.until;
        site.registrations.expire(site.now);
    }
    assert_eq!(spans, [180, 360, 720, 1_440, 2_880, 3_600, 3_600]);
    // A day without one, and it begins anew; so it does after a success.
    site.now += RELAPSE + 1;
    let suspended = (0..6).find_map(|_| site.guesses(&HERE, "100")).expect("suspended");
    assert_eq!((suspended.until - site.now, suspended.times), (180 * SECOND, 1));
    site.now = suspended.until;
    site.registrations.expire(site.now);
    site.challenges(&HERE, "good");
    assert_eq!(site.tries(&HERE, "100", "100", "good", 200), None);
    let suspended = (0..6).find_map(|_| site.guesses(&HERE, "100")).expect("suspended");
    assert_eq!(suspended.until - site.now, 180 * SECOND);
}

#[test]
fn a_success_and_an_hour_begin_the_count_anew() {
    let mut site = Site::of(Identity::IpUser);
    for _ in 0..3 {
        for _ in 0..5 {
            assert_eq!(site.guesses(&HERE, "100"), None);
        }
        site.challenges(&HERE, "good");
        assert_eq!(site.tries(&HERE, "100", "100", "good", 200), None);
    }
    for _ in 0..2 {
        for _ in 0..5 {
            assert_eq!(site.guesses(&HERE, "101"), None);
        }
        site.now += IN_A_ROW;
    }
}

#[test]
fn what_can_be_had_in_anybodys_name_counts_for_nothing() {
    let mut site = Site::new(Registration { retry: 1, ..Registration::default() });
    // Challenges never answered; credentials for a nonce that never went there, or went to somebody else, or to both.
    for n in 0..100 {
        site.challenges(&HERE, &format!("unanswered{n}"));
        assert_eq!(site.tries(&HERE, "100", "100", &format!("made up {n}"), 401), None);
        site.challenges(&THERE, &format!("theirs{n}"));
        assert_eq!(site.tries(&HERE, "100", "100", &format!("theirs{n}"), 401), None);
        site.challenges(&THERE, &format!("shared{n}"));
        site.challenges(&HERE, &format!("shared{n}"));
        site.challenges(&HERE, &format!("shared{n}"));
        assert_eq!(site.tries(&HERE, "100", "100", &format!("shared{n}"), 401), None);
    }
    assert!(site.registrations.suspensions.is_empty());
    assert_eq!(site.registrations.suspensions.count.unproven.load(Relaxed), 300);
    // An answer that goes to another than has asked.
    site.challenges(&HERE, "own");
    site.asks(&HERE, 9_000, "100", &credentials("100", "own", "x"));
    assert_eq!(site.answers(&THERE, 9_000, 401, ""), None);
    // The control.
    assert!(site.answers(&HERE, 9_000, 401, "").is_some());
}

#[test]
fn a_stale_nonce_and_another_status_are_no_failures() {
    let mut site = Site::new(Registration { retry: 1, refusals: vec![403], ..Registration::default() });
    for (transaction, status, headers) in [
        (900, 403, challenge("new", true)),
        (901, 401, challenge("newer", false)),
        (902, 503, String::new()),
        (903, 100, String::new()),
    ] {
        let nonce = format!("n{transaction}");
        site.challenges(&HERE, &nonce);
        site.asks(&HERE, transaction, "100", &credentials("100", &nonce, "x"));
        let answered = site.answers(&HERE, transaction, status, &headers);
        // `stale` stands in challenges, and 403 has none.
        assert_eq!(answered.is_some(), status == 403, "{status}");
    }
    let mut site = Site::new(Registration { retry: 1, ..Registration::default() });
    site.challenges(&HERE, "old");
    site.asks(&HERE, 900, "100", &credentials("100", "old", "x"));
    assert_eq!(site.answers(&HERE, 900, 401, &challenge("new", true)), None);
    // And with the new nonce it is refused.
    assert!(site.tries(&HERE, "100", "100", "new", 401).is_some());
}

#[test]
fn a_guess_counts_once_however_often_it_is_sent_and_each_of_a_transaction_counts() {
    let mut site = Site::of(Identity::IpUser);
    site.challenges(&HERE, "n");
    for _ in 0..20 {
        site.asks(&HERE, 500, "100", &credentials("100", "n", "same"));
        assert_eq!(site.answers(&HERE, 500, 401, ""), None);
    }
    let mut site = Site::of(Identity::IpUser);
    site.challenges(&HERE, "n");
    for guess in 0..6 {
        site.asks(&HERE, 500, "100", &credentials("100", "n", &guess.to_string()));
    }
    let answered: Vec<_> = (0..6).map(|_| site.answers(&HERE, 500, 401, "").is_some()).collect();
    assert_eq!(answered, [false, false, false, false, false, true]);
}

#[test]
fn credentials_behind_others_are_found() {
    let mut site = Site::of(Identity::IpUser);
    for n in 0..6 {
        let nonce = format!("n{n}");
        site.challenges(&HERE, &nonce);
        // Whether or not those in front of them say all that credentials say.
        let decoy = credentials("decoy", "made up", "x");
        let decoy = if n % 2 == 0 { decoy } else { decoy.replace(", nonce=\"made up\"", "") };
        let shown = decoy + &credentials("100", &nonce, &n.to_string());
        site.asks(&HERE, 700 + n, "100", &shown);
        assert_eq!(site.answers(&HERE, 700 + n, 401, "").is_some(), n == 5);
    }
    assert!(site.holds(&HERE, "x", Some("100")) && !site.holds(&HERE, "x", Some("decoy")));
}

#[test]
fn identities_are_what_they_are_called() {
    let mut site = Site::of(Identity::Ip);
    let mut last = None;
    for n in 0..6 {
        last = site.guesses(&HERE, &n.to_string());
    }
    let suspended = last.take().expect("the address");
    assert_eq!((suspended.address, suspended.user), (Some(HERE), None));
    // XDP drops it: workers are asked for nothing.
    assert!(!site.holds(&HERE, "100", None));
    let mut site = Site::of(Identity::User);
    for n in 0..6u8 {
        last = site.guesses(&Addr::v4([203, 0, 113, n]), "100");
    }
    let suspended = last.take().expect("the user");
    assert_eq!((suspended.address, suspended.user.expect("a user").0.to_string()), (None, "100@e.com".to_owned()));
    assert!(site.holds(&HERE, "100", None) && site.holds(&THERE, "100", None) && !site.holds(&HERE, "101", None));
    let mut site = Site::of(Identity::IpUser);
    for n in 0..6u8 {
        let within = Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, n]);
        last = site.guesses(&within, "100");
    }
    assert_eq!(last.expect("the /64").shown(site.clock()).address.as_deref(), Some("2001:db8:0:1::/64"));
}

#[test]
fn nobody_who_is_trusted_is_suspended_and_nobody_where_it_is_off() {
    let mut site = Site::of(Identity::IpUser);
    for _ in 0..50 {
        assert_eq!(site.guesses(&TRUSTED, "100"), None);
    }
    let mut site = Site::new(Registration { suspend: false, ..Registration::default() });
    for _ in 0..50 {
        assert_eq!(site.guesses(&HERE, "100"), None);
    }
}

#[test]
fn who_is_lifted_begins_anew() {
    let mut site = Site::of(Identity::IpUser);
    let suspend = |site: &mut Site, user: &str| (0..6).find_map(|_| site.guesses(&HERE, user)).expect("suspended");
    let [first, second] = ["100", "101"].map(|user| suspend(&mut site, user));
    let suspensions = site.registrations.suspensions();
    assert_eq!((suspensions.len(), suspensions.lift(Some("102"))), (2, Vec::new()));
    assert_eq!(suspensions.lift(Some("100@e.com")), [first]);
    assert!(!site.holds(&HERE, "100", None) && site.holds(&HERE, "101", None));
    site.registrations.expire(site.now);
    for _ in 0..5 {
        assert_eq!(site.guesses(&HERE, "100"), None);
    }
    let again = site.guesses(&HERE, "100").expect("the sixth");
    assert_eq!(again.times, 1, "its suspensions are forgotten, too");
    let mut all = suspensions.lift(None);
    all.sort_by_key(|one| one.user.map(|(account, _)| account.to_string()));
    assert_eq!(all, [again, second]);
    // By address, whoever is there.
    suspend(&mut site, "103");
    assert_eq!(suspensions.lift(Some("198.51.100.20")).len(), 1);
}

#[test]
fn they_outlive_a_restart_and_a_spoilt_file_keeps_nobody_from_starting() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("x.suspensions.json");
    let mut site = Site::of(Identity::IpUser);
    let before = Arc::new(Suspensions::open(site.secret.clone(), file.clone(), Clock::now()));
    site.registrations.suspensions = Arc::clone(&before);
    site.now = Clock::now().mono_ns();
    let suspended = (0..6).find_map(|_| site.guesses(&HERE, "100")).expect("suspended");
    before.save().expect("written");
    // Another engine has another secret, and another user is not held by it.
    let secret = Secret::default();
    site.registrations.suspensions = Arc::new(Suspensions::open(secret, file.clone(), Clock::now()));
    assert!(site.holds(&HERE, "100", None) && site.holds(&HERE, "1", Some("100")) && !site.holds(&HERE, "101", None));
    let held = site.registrations.suspensions.list();
    assert_eq!((held[0].user, held[0].address, held[0].times), (suspended.user, suspended.address, 1));
    // What is over by then is gone.
    let later = Clock::at(Clock::now().wall_ns() + 200 * SECOND, Clock::now().mono_ns());
    assert!(Suspensions::open(Secret::default(), file.clone(), later).is_empty());
    std::fs::write(&file, "[{\"until\":").expect("spoilt");
    let spoilt = Suspensions::open(Secret::default(), file.clone(), Clock::now());
    assert!(spoilt.is_empty() && !file.exists() && directory.path().join("x.suspensions.unreadable").exists());
    spoilt.put(suspended);
    spoilt.save().expect("written");
    assert_eq!(Suspensions::open(Secret::default(), file, Clock::now()).len(), 1);
}

#[test]
fn of_too_many_those_go_that_end_first() {
    let mut site = Site::new(Registration { retry: 1, ..Registration::default() });
    let first = site.guesses(&HERE, "first").expect("suspended");
    site.now += SECOND;
    for n in 0..SUSPENSIONS_MAX as u32 {
        let [_, b, c, d] = n.to_be_bytes();
        let name = n.to_string();
        site.registrations.suspensions.put(Suspension {
            address: Some(Addr::v4([10, b, c, d])),
            user: Some((Name::of_bytes(name.as_bytes()), Name::of_bytes(name.as_bytes()))),
            until: site.now + SECOND * 1_000,
            ..first.clone()
        });
    }
    assert_eq!(site.registrations.suspensions.len(), SUSPENSIONS_MAX);
    assert!(!site.holds(&HERE, "first", None));
}

proptest! {
    /// Whatever is tried, a model that knows who has which nonce says who is suspended.
    #[test]
    fn a_model_agrees(steps in prop::collection::vec((0u8..4, 0u8..2, 0u8..2, 0u8..4), 0..200)) {
        let mut site = Site::new(Registration { retry: 3, ..Registration::default() });
        let sources = [HERE, THERE];
        let mut nonces: Vec<BTreeSet<u8>> = vec![BTreeSet::new(); 4];
        let (mut failures, mut suspended) = ([[0u32; 2]; 2], BTreeSet::new());
        for (step, source, user, nonce) in steps {
            let (from, name, n) = (sources[usize::from(source)], format!("10{user}"), format!("nonce{nonce}"));
            if step == 0 {
                site.challenges(&from, &n);
                nonces[usize::from(nonce)].insert(source);
                continue;
            }
            let status = if step == 1 { 200 } else { 401 };
            let outcome = site.tries(&from, &name, &name, &n, status);
            let is_own = nonces[usize::from(nonce)] == BTreeSet::from([source]);
            let count = &mut failures[usize::from(source)][usize::from(user)];
            match status {
                200 => *count = 0,
                _ if is_own => *count += 1,
                _ => {}
            }
            let is_due = status == 401 && is_own && *count == 3;
            prop_assert_eq!(outcome.is_some(), is_due);
            if is_due {
                *count = 0;
                suspended.insert((source, user));
            }
        }
        for (source, from) in sources.iter().enumerate() {
            for user in 0..2 {
                let is_held = site.holds(from, &format!("10{user}"), None);
                prop_assert_eq!(is_held, suspended.contains(&(source as u8, user)));
            }
        }
    }
}
