//! REGISTERs and their 2xx go in, as text; out comes who is registered, and who has moved.

use sip_parse::{Index, Mode};
use vos_common::rule::Addr;

use super::*;
use crate::config::Registration;

const HERE: End = End { addr: Addr::v4([198, 51, 100, 20]), port: 5062 };
const THERE: End = End { addr: Addr::v4([198, 18, 1, 20]), port: 5063 };
const SERVER: End = End { addr: Addr::v4([192, 0, 2, 1]), port: 5060 };

/// A registrar with a clock of its own, and what it knows.
struct Site {
    registrar: Registrar,
    bindings: Arc<Bindings>,
    secret: Secret,
    now: u64,
    transactions: u32,
    moves_max: u32,
}

fn read<T>(text: &str, ask: impl FnOnce(&sip_parse::Message<'_>) -> T) -> T {
    let mut index: Index = Index::new();
    ask(&index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own message parses"))
}

fn text(start: &str, transaction: u32, aor: &str, headers: &str) -> String {
    format!(
        "{start}\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{transaction}\r\nFrom: <sip:{aor}@e.com>;tag=1\r\n\
         To: <sip:{aor}@e.com>\r\nCall-ID: c\r\nCSeq: {transaction} REGISTER\r\n{headers}\r\n"
    )
}

impl Site {
    fn new() -> Self {
        let (secret, bindings) = (Secret::default(), Arc::<Bindings>::default());
        let registrar = Registrar::new(secret.clone(), Arc::clone(&bindings));
        Self { registrar, bindings, secret, now: 1_000 * SECOND, transactions: 0, moves_max: 0 }
    }

    /// A REGISTER with these headers comes from `source`, and this is granted.
    fn registers(&mut self, source: End, aor: &str, asked: &str, granted: &str) -> Option<Moved> {
        self.transactions += 1;
        let credentials = "Authorization: Digest username=\"1\", realm=\"r\", nonce=\"n\", response=\"r\"\r\n";
        let asked = text("REGISTER sip:e.com SIP/2.0", self.transactions, aor, &format!("{credentials}{asked}"));
        let registering = read(&asked, |message| {
            Registering::of(message, &source.addr, &self.secret, self.secret.transaction_of(message)?)
        });
        let registering = registering.expect("it shows credentials");
        self.registrar.asked(Registering { source, here: SERVER, ..registering }, self.now);
        self.grants(source, aor, granted)
    }

    /// A 2xx goes to `to`, for the REGISTER before it or, if there was none, for one that nobody saw.
    fn grants(&mut self, to: End, aor: &str, granted: &str) -> Option<Moved> {
        let granted = text("SIP/2.0 200 OK", self.transactions, aor, granted);
        let granted = read(&granted, |message| Granted::of(message, &to, &self.secret)).expect("a response");
        self.registrar.granted(&granted, self.moves_max, self.now)
    }

    fn passes(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
        self.registrar.expire(self.now);
    }

    /// Each address-of-record with where it is and for how long.
    fn shown(&self) -> Vec<(String, String, u64)> {
        let page = self.bindings.page(&Sought::default(), 0, usize::MAX, self.now, |_| EndpointState::Unknown);
        assert_eq!((page.total, page.bindings.len()), (self.bindings.live(), self.bindings.live()));
        let shown = |one: BindingView| (one.aor, format!("{}:{}", one.address, one.port), one.expires_s);
        page.bindings.into_iter().map(shown).collect()
    }
}

fn contact(uri: &str, expires: u32) -> String {
    format!("Contact: <sip:{uri}>;expires={expires}\r\n")
}

fn one(aor: &str, end: &str, expires: u64) -> (String, String, u64) {
    (format!("{aor}@e.com"), end.to_owned(), expires)
}

#[test]
fn a_binding_lasts_as_long_as_the_registrar_says() {
    let mut site = Site::new();
    // The registrar's word counts, not what was asked for (RFC 3261 §10.3, step 8).
    let asked = "Contact: <sip:100@10.0.0.5>\r\nExpires: 3600\r\n";
    assert_eq!(site.registers(HERE, "100", asked, &contact("100@10.0.0.5", 60)), None);
    assert_eq!(site.shown(), [one("100", "198.51.100.20:5062", 60)]);
    assert_eq!(site.bindings.ends(site.now), [(HERE, Some(SERVER))]);
    site.passes(59);
    // A refresh, whose 2xx says it for all Contacts.
    site.registers(HERE, "100", asked, "Contact: <sip:100@10.0.0.5>\r\nExpires: 90\r\n");
    site.passes(89);
    assert_eq!(site.shown(), [one("100", "198.51.100.20:5062", 1)]);
    site.passes(1);
    assert!(site.shown().is_empty() && site.bindings.accounts.read().is_empty());
    // Nobody says it: an hour; and no longer than a week.
    site.registers(HERE, "100", asked, "Contact: <sip:100@10.0.0.5>\r\n");
    site.registers(HERE, "200", asked, &contact("100@10.0.0.5", u32::MAX));
    let expected = [one("100", "198.51.100.20:5062", 3_600), one("200", "198.51.100.20:5062", 7 * 86_400)];
    assert_eq!(site.shown(), expected);
}

#[test]
fn who_removes_a_binding_or_asks_for_it_is_not_registered_by_that() {
    let mut site = Site::new();
    let (mine, other) = (contact("100@10.0.0.5", 600), contact("100@10.0.0.6", 600));
    site.registers(HERE, "100", "Contact: <sip:100@10.0.0.5>\r\n", &mine);
    // Another phone asks what there is (§10.2.3).
    assert_eq!(site.registers(THERE, "100", "", &mine), None);
    assert_eq!(site.shown(), [one("100", "198.51.100.20:5062", 600)]);
    let moved = site.registers(THERE, "100", "Contact: <sip:100@10.0.0.6>\r\n", &format!("{mine}{other}"));
    assert_eq!(moved.map(|moved| (moved.change, moved.from, moved.to)), Some((Move::Added, HERE, THERE)));
    assert_eq!(site.bindings.live(), 2);
    // The first is removed by its phone (§10.2.2), in either way that there is.
    assert_eq!(site.registers(HERE, "100", "Contact: <sip:100@10.0.0.5>;expires=0\r\n", &other), None);
    assert_eq!(site.shown(), [one("100", "198.18.1.20:5063", 600)]);
    assert_eq!(site.registers(THERE, "100", "Contact: *\r\nExpires: 0\r\n", ""), None);
    assert!(site.shown().is_empty());
}

#[test]
fn who_takes_anothers_place_has_moved_and_who_comes_beside_it_is_added() {
    let mut site = Site::new();
    let told = |moved: Option<Moved>| moved.map(|moved| (moved.change, moved.from.addr, moved.to.addr, moved.moves));
    // A registrar that keeps one binding.
    let asked = |uri: &str| format!("Contact: <sip:{uri}>\r\n");
    site.registers(HERE, "100", &asked("100@10.0.0.5"), &contact("100@10.0.0.5", 600));
    let moved = site.registers(THERE, "100", &asked("100@10.0.0.6"), &contact("100@10.0.0.6", 600));
    assert_eq!(told(moved), Some((Move::Moved, HERE.addr, THERE.addr, 1)));
    // A refresh is none, nor is another port of the same address.
    assert_eq!(site.registers(THERE, "100", &asked("100@10.0.0.6"), &contact("100@10.0.0.6", 600)), None);
    let port = End { port: 40_000, ..THERE };
    assert_eq!(site.registers(port, "100", &asked("100@10.0.0.6"), &contact("100@10.0.0.6", 600)), None);
    assert_eq!(site.shown(), [one("100", "198.18.1.20:40000", 600)]);
    // The same Contact from another address: behind a NAT all are 192.168.0.2.
    let moved = site.registers(HERE, "100", &asked("100@10.0.0.6"), &contact("100@10.0.0.6", 600));
    assert_eq!(told(moved), Some((Move::Moved, THERE.addr, HERE.addr, 2)));
    // Once it has ended, nobody has lost anything.
    site.passes(601);
    assert_eq!(site.registers(THERE, "100", &asked("100@10.0.0.6"), &contact("100@10.0.0.6", 600)), None);
    // Two phones of one user, each with its refreshes: told once.
    let both = contact("200@10.0.0.5", 600) + &contact("200@10.0.0.6", 600);
    site.registers(HERE, "200", &asked("200@10.0.0.5"), &contact("200@10.0.0.5", 600));
    let moved = site.registers(THERE, "200", &asked("200@10.0.0.6"), &both);
    assert_eq!(told(moved), Some((Move::Added, HERE.addr, THERE.addr, 1)));
    for _ in 0..3 {
        assert_eq!(site.registers(HERE, "200", &asked("200@10.0.0.5"), &both), None);
        assert_eq!(site.registers(THERE, "200", &asked("200@10.0.0.6"), &both), None);
    }
    // IPv6: one /64 is one holder, and a phone changes its address there by itself (RFC 8981).
    let v6 =
        |last| End { addr: Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, last]), port: 5060 };
    site.registers(v6(1), "300", &asked("300@a"), &contact("300@a", 600));
    assert_eq!(site.registers(v6(2), "300", &asked("300@b"), &contact("300@b", 600)), None);
}

#[test]
fn two_who_fight_over_an_address_of_record_contend_for_it() {
    let mut site = Site { moves_max: 3, ..Site::new() };
    let ends = [HERE, THERE];
    let turn = |site: &mut Site, n: usize| {
        let moved = site.registers(ends[n % 2], "100", "Contact: <sip:100@a>\r\n", &contact("100@a", 7_200));
        moved.map(|moved| (moved.moves, moved.contended))
    };
    let told: Vec<_> = (0..5).map(|n| turn(&mut site, n)).collect();
    assert_eq!(told, [None, Some((1, false)), Some((2, false)), Some((3, true)), Some((4, true))]);
    // An hour later it is counted anew.
    site.passes(3_600);
    assert_eq!(turn(&mut site, 1), Some((1, false)));
    site.moves_max = 0;
    assert_eq!((0..9).filter_map(|n| turn(&mut site, n)).filter(|(_, contended)| *contended).count(), 0);
}

#[test]
fn what_was_asked_without_credentials_is_known_by_its_answer_alone() {
    let mut site = Site::new();
    site.transactions = 1;
    site.grants(HERE, "100", &contact("100@10.0.0.5", 60));
    assert_eq!(site.bindings.ends(site.now), [(HERE, None)]);
    // Of several nobody knows which is whose.
    site.grants(THERE, "200", &(contact("200@a", 60) + &contact("200@b", 60)));
    assert_eq!(site.bindings.live(), 1);
    // An answer that goes elsewhere than its REGISTER came from is taken for what it says itself.
    site.registers(HERE, "300", "Contact: <sip:300@a>\r\n", "");
    site.grants(THERE, "300", &contact("300@a", 60));
    assert_eq!(site.shown()[1], one("300", "198.18.1.20:5063", 60));
}

#[test]
fn a_registrar_that_writes_contacts_of_its_own_is_understood_while_there_is_one() {
    let mut site = Site::new();
    site.registers(HERE, "100", "Contact: <sip:100@10.0.0.5>\r\n", &contact("100@sbc.example", 60));
    assert_eq!(site.shown(), [one("100", "198.51.100.20:5062", 60)]);
}

#[test]
fn of_an_address_of_record_with_many_bindings_none_is_taken_for_lost() {
    let mut site = Site::new();
    let many: String = (0..KEPT_MAX + 1).map(|n| contact(&format!("100@{n}.example"), 600)).collect();
    site.registers(HERE, "100", "Contact: <sip:100@0.example>\r\n", &contact("100@0.example", 600));
    let moved = site.registers(THERE, "100", "Contact: <sip:100@1.example>\r\n", &many);
    assert_eq!(moved.map(|moved| moved.change), Some(Move::Added));
    // Nor of one that cannot be read.
    let odd = format!("{}Contact: <sip:\r\n", contact("100@2.example", 600));
    assert!(site.registers(THERE, "100", "Contact: <sip:100@2.example>\r\n", &odd).is_none());
    assert_eq!(site.bindings.live(), 3);
    for n in 0..4 * KEPT_MAX {
        let contact = contact(&format!("100@{n}.example"), 600 + n as u32);
        site.registers(THERE, "100", &contact, &(contact.clone() + &many));
    }
    assert_eq!(site.bindings.live(), KEPT_MAX);
}

#[test]
fn the_table_has_an_end_and_says_so() {
    let mut site = Site::new();
    let full = |site: &Site| {
        let mut accounts = site.bindings.accounts.write();
        for key in 0..ACCOUNTS_MAX as u64 {
            let binding = Binding { contact: 1, source: HERE, here: None, until: site.now + 10 * SECOND };
            let name = Name::of_bytes(&key.to_be_bytes());
            accounts.insert(key, Account { name, bindings: vec![binding], moves: 0, since: 0 });
        }
    };
    full(&site);
    assert_eq!(site.registers(HERE, "100", "Contact: <sip:100@a>\r\n", &contact("100@a", 60)), None);
    assert_eq!(site.bindings.count.unwatched.load(Relaxed), 1);
    site.passes(10);
    site.registers(HERE, "100", "Contact: <sip:100@a>\r\n", &contact("100@a", 60));
    assert_eq!(site.shown(), [one("100", "198.51.100.20:5062", 60)]);
}

#[test]
fn a_page_holds_what_is_sought() {
    let mut site = Site::new();
    for (n, end) in [(100, HERE), (101, THERE), (1_000, HERE)] {
        site.registers(end, &n.to_string(), "Contact: <sip:a@a>\r\n", &contact("a@a", 60));
    }
    let page = |whom: Option<&str>, offline, skip, limit| {
        let sought = Sought { whom: whom.map(str::to_owned), offline };
        let state = |end: &End| if *end == THERE { EndpointState::Silent } else { EndpointState::Online };
        let page = site.bindings.page(&sought, skip, limit, site.now, state);
        (page.bindings.into_iter().map(|one| one.aor).collect::<Vec<_>>().join(" "), page.total)
    };
    assert_eq!(page(None, false, 0, 9), ("1000@e.com 100@e.com 101@e.com".to_owned(), 3));
    assert_eq!(page(None, false, 1, 1), ("100@e.com".to_owned(), 3));
    assert_eq!(page(Some("100"), false, 0, 9), ("100@e.com".to_owned(), 1));
    assert_eq!(page(Some("101@e.com"), false, 0, 9).1, 1);
    assert_eq!(page(Some("198.51.100.20"), false, 0, 9).1, 2);
    assert_eq!(page(None, true, 0, 9), ("101@e.com".to_owned(), 1));
}

#[test]
fn a_register_is_absurd_beyond_its_limits() {
    let absurd = |headers: &str, limits: &Registration| {
        let register = text("REGISTER sip:e.com SIP/2.0", 1, "100", headers);
        read(&register, |message| is_absurd(message, limits))
    };
    let limits = Registration::default();
    let values = |n: usize| (0..n).map(|n| format!("<sip:{n}@e.com>")).collect::<Vec<_>>();
    let (one_line, lines) = (
        |n: usize| format!("Contact: {}\r\n", values(n).join(",")),
        |n: usize| values(n).iter().map(|value| format!("m: {value}\r\n")).collect::<String>(),
    );
    for write in [&one_line as &dyn Fn(usize) -> String, &lines] {
        let is = [0, 1, 10, 16, 17, 40].map(|n| absurd(&write(n), &limits));
        assert_eq!(is, [n_is(0), n_is(1), n_is(10), n_is(16), n_is(17), n_is(40)]);
    }
    // What a phone says of itself has commas of its own (RFC 3840 §9).
    let able = format!("Contact: <sip:1@e.com>;methods=\"{}\";audio\r\n", vec!["INVITE"; 40].join(","));
    assert!(!absurd(&able, &limits));
    let sized = |bytes: usize| format!("Contact: <sip:{}@e.com>\r\n", "x".repeat(bytes - "<sip:@e.com>".len()));
    assert_eq!([2_048, 2_049].map(|bytes| absurd(&sized(bytes), &limits)), [false, true]);
    let narrow = Registration { contacts_max: 1, ..limits };
    assert_eq!([1, 2].map(|n| absurd(&one_line(n), &narrow)), [false, true]);
}

fn n_is(values: usize) -> bool {
    values > 16
}
