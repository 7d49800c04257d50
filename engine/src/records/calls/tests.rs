//! INVITEs and responses go in as text, and what is written down comes out.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use sip_parse::{Index, Mode};

use super::*;
use crate::policy::Secret;
use crate::policy::gateways::Gateways;

const CALLER: Addr = Addr::v4([198, 51, 100, 20]);
const PORT: u16 = 5_066;

/// Who is known.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<Vec<Addr>>>);

impl Sources for Known {
    fn is_known(&self, src: &Addr) -> bool {
        self.0.lock().expect("not poisoned").contains(src)
    }

    fn is_named(&self, _: &Addr) -> bool {
        false
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

struct Site {
    calls: Calls,
    known: Known,
    secret: Secret,
    index: Index,
    config: config::Records,
    /// ms.
    now: u64,
    made: Vec<Record>,
}

impl Site {
    fn new() -> Self {
        let (known, config) = (Known::default(), config::Records { file: "/r".into(), ..config::Records::default() });
        let (calls, secret, index) = (Calls::new(Box::new(known.clone())), Secret::default(), Index::new());
        Self { calls, known, secret, index, config, now: 1_000, made: Vec::new() }
    }

    fn clock(&self) -> Clock {
        Clock::at(1_700_000_000 * SECOND + self.now * 1_000_000, self.now * 1_000_000)
    }

    fn invite(&mut self, cseq: u32, more: &str) {
        self.invite_of(CALLER, "call-1", cseq, more);
    }

    fn invite_of(&mut self, src: Addr, call_id: &str, cseq: u32, more: &str) {
        let tag = if more.contains("within") { ";tag=theirs" } else { "" };
        let text = format!(
            "INVITE sip:0900@e.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20:5066;branch=z9hG4bK{cseq};rport\r\n\
             From: \"A\" <sip:100@e.com>;tag=own\r\nTo: <sip:0900@e.com>{tag}\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} INVITE\r\nUser-Agent: Phone/1\r\n{more}\r\n"
        );
        let message = self.index.parse(text.as_bytes(), Mode::Lenient).expect("an INVITE");
        let mut invited = Invited::of(&message, &src, &self.secret).expect("all that it needs");
        invited.port = PORT;
        let clock = self.clock();
        self.calls.invited(&invited, clock);
    }

    fn answer(&mut self, cseq: u32, status: &str, more: &str) {
        self.answer_to(CALLER, "call-1", cseq, status, more);
    }

    fn answer_to(&mut self, to: Addr, call_id: &str, cseq: u32, status: &str, more: &str) {
        let text = format!(
            "SIP/2.0 {status}\r\n\
             Via: SIP/2.0/UDP 198.51.100.20:5066;branch=z9hG4bK{cseq};received=198.51.100.20;rport=5066\r\n\
             From: \"A\" <sip:100@e.com>;tag=own\r\nTo: <sip:0900@e.com>;tag=theirs\r\nCall-ID: {call_id}\r\n\
             CSeq: {cseq} INVITE\r\n{more}\r\n"
        );
        let message = self.index.parse(text.as_bytes(), Mode::Lenient).expect("a response");
        let ended = Ended::of(&message, &to, PORT, &self.secret).expect("all that it needs");
        let clock = self.clock();
        let Self { calls, config, made, .. } = self;
        calls.ended(&ended, config, clock, &mut |record| made.push(record));
    }

    fn sweep(&mut self) {
        let clock = self.clock();
        let Self { calls, config, made, .. } = self;
        calls.sweep(config, clock, &mut |record| made.push(record));
    }

    /// What was made since, in JSON.
    fn told(&mut self) -> Vec<serde_json::Value> {
        self.made.drain(..).map(|record| serde_json::to_value(record).expect("JSON")).collect()
    }

    /// The same: kind, why and status.
    fn kinds(&mut self) -> Vec<(String, String, u64)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let told = self.told();
        told.iter().map(|it| (text(&it["kind"]), text(&it["why"]), it["status"].as_u64().expect("a status"))).collect()
    }
}

fn zero(status: u64) -> (String, String, u64) {
    ("zero_duration".into(), String::new(), status)
}

fn bad(why: &str, status: u64) -> (String, String, u64) {
    ("illegal_call".into(), why.into(), status)
}

const CREDENTIALS: &str =
    "Proxy-Authorization: Digest username=\"100\", realm=\"e.com\", nonce=\"n\", response=\"0\"\r\n";
const CHALLENGE: &str = "Proxy-Authenticate: Digest realm=\"e.com\", nonce=\"n\"\r\n";
const STALE: &str = "Proxy-Authenticate: Digest realm=\"e.com\", nonce=\"m\", stale=TRUE\r\n";
const WANTED: &str = "407 Proxy Authentication Required";

#[test]
fn a_refused_call_of_a_stranger_is_written_down_with_who_where_and_why() {
    let mut site = Site::new();
    site.invite(1, "");
    site.now += 2_500;
    site.answer(1, "403 Not here", "Reason: Q.850;cause=21;text=\"rejected\"\r\n");
    let call = serde_json::json!({
        "source": "198.51.100.20", "source_port": 5066, "known": false, "from": "sip:100@e.com",
        "to": "sip:0900@e.com", "request_uri": "sip:0900@e.com", "call_id": "call-1", "user_agent": "Phone/1",
        "seconds": 2.5, "status": 403, "reason_phrase": "Not here", "reason": "Q.850;cause=21;text=\"rejected\"",
        "time": 1_700_000_003.5, "kind": "zero_duration",
    });
    let mut illegal = call.clone();
    (illegal["kind"], illegal["why"]) = ("illegal_call".into(), "status".into());
    assert_eq!(site.told(), [illegal, call]);
    // The response comes again until it is acknowledged (timer G), and so does the INVITE.
    for _ in 0..10 {
        site.now += 3_000;
        site.invite(1, "");
        site.answer(1, "403 Not here", "");
    }
    assert_eq!(site.told(), [] as [serde_json::Value; 0]);
}

#[test]
fn of_who_is_known_and_of_other_statuses_it_is_an_attempt_and_no_more() {
    let mut site = Site::new();
    for (n, status) in (1..).zip([404, 408, 480, 486, 487, 503, 603]) {
        site.invite_of(CALLER, &format!("a{n}"), 1, "");
        site.answer_to(CALLER, &format!("a{n}"), 1, &format!("{status} No"), "");
        assert_eq!(site.kinds(), [zero(status)]);
    }
    site.known.0.lock().expect("ours").push(CALLER);
    site.invite(1, "");
    site.answer(1, "403 No", "");
    let told = site.told();
    assert_eq!((told.len(), &told[0]["known"]), (1, &true.into()));
    site.config.zero_duration = config::ZeroDuration::Off;
    site.invite_of(CALLER, "b", 1, "");
    site.answer_to(CALLER, "b", 1, "403 No", "");
    assert!(site.told().is_empty());
}

#[test]
fn an_answered_call_is_not_written_down_nor_what_happens_within_it() {
    for seen in [true, false] {
        let mut site = Site::new();
        if seen {
            site.invite(1, "");
        }
        site.answer(1, "200 OK", "");
        site.now += 600_000;
        // Glare, and a challenge (RFC 3261 §14.1, §22.2).
        for (cseq, status) in [(2, "491 Request Pending"), (3, WANTED), (4, "488 Not Acceptable Here")] {
            if seen {
                site.invite(cseq, "X-Is: within\r\n");
            }
            site.now += 50_000;
            site.answer(cseq, status, "");
            site.now += 50_000;
            site.sweep();
        }
        assert!(site.told().is_empty(), "INVITE seen: {seen}");
    }
}

#[test]
fn a_challenge_that_is_met_is_nothing_and_what_follows_is_judged_for_itself() {
    // Callers are quick: the second INVITE may be seen before the first answer is.
    for quick in [false, true] {
        for (status, expected) in [
            ("200 OK", vec![]),
            ("486 Busy Here", vec![zero(486)]),
            ("403 Forbidden", vec![bad("status", 403), zero(403)]),
            (WANTED, vec![bad("refused_credentials", 407)]),
        ] {
            let mut site = Site::new();
            site.invite(1, "");
            if quick {
                site.invite(2, CREDENTIALS);
            }
            site.answer(1, WANTED, CHALLENGE);
            if !quick {
                site.invite(2, CREDENTIALS);
            }
            site.now += 1_000;
            site.answer(2, status, CHALLENGE);
            assert_eq!(site.kinds(), expected, "{status}, quick: {quick}");
            // Told once: that nobody tries a third time is nothing new.
            site.now += 60_000;
            site.sweep();
            assert!(site.told().is_empty());
        }
    }
}

#[test]
fn only_credentials_that_answer_a_challenge_of_this_call_can_be_refused() {
    let mut site = Site::new();
    // Those of the call before, whose nonce is too old by now, whether the softswitch says so or not.
    site.invite(1, CREDENTIALS);
    site.answer(1, WANTED, CHALLENGE);
    site.invite(2, CREDENTIALS);
    site.answer(2, WANTED, STALE);
    assert!(site.told().is_empty());
    site.invite(3, CREDENTIALS);
    site.answer(3, WANTED, CHALLENGE);
    assert_eq!(site.kinds(), [bad("refused_credentials", 407)]);
    // Known or not: it is a wrong password.
    site.known.0.lock().expect("ours").push(CALLER);
    site.invite(4, CREDENTIALS);
    site.answer(4, WANTED, CHALLENGE);
    let told = site.told();
    assert_eq!((told.len(), &told[0]["known"], &told[0]["why"]), (1, &true.into(), &"refused_credentials".into()));
}

#[test]
fn a_challenge_that_nobody_meets_makes_a_call_illegal_after_32_seconds() {
    let mut site = Site::new();
    let of = |n: u8| Addr::v4([198, 51, 100, n]);
    site.known.0.lock().expect("ours").push(of(2));
    for n in 1..=4 {
        site.invite_of(of(n), "c", 1, "");
        site.answer_to(of(n), "c", 1, WANTED, CHALLENGE);
    }
    // One answers, and its phone rings; of one nobody has seen the INVITE.
    site.invite_of(of(3), "c", 2, CREDENTIALS);
    site.answer_to(of(5), "c", 1, WANTED, CHALLENGE);
    site.now += 31_999;
    site.sweep();
    assert!(site.told().is_empty());
    site.now += 1;
    site.sweep();
    let mut told = site.told();
    told.sort_by_key(|record| record["source"].to_string());
    let sources: Vec<_> = told.iter().map(|record| record["source"].as_str().expect("a source")).collect();
    assert_eq!(sources, ["198.51.100.1", "198.51.100.4", "198.51.100.5"]);
    assert!(told.iter().all(|record| record["why"] == "unanswered_challenge" && record["status"] == 407));
    assert_eq!((&told[0]["user_agent"], told[2].get("user_agent")), (&"Phone/1".into(), None));
    site.now += 60_000;
    site.sweep();
    assert!(site.told().is_empty());
    // It is by choice.
    site.config.illegal_calls = vec![403];
    site.invite_of(of(1), "d", 1, "");
    site.answer_to(of(1), "d", 1, WANTED, CHALLENGE);
    site.now += 33_000;
    site.sweep();
    assert!(site.told().is_empty());
}

#[test]
fn of_an_invite_that_was_not_seen_the_response_tells() {
    let mut site = Site::new();
    site.answer(1, "404 Not Found", "");
    let call = serde_json::json!({
        "source": "198.51.100.20", "source_port": 5066, "known": false, "from": "sip:100@e.com",
        "to": "sip:0900@e.com", "call_id": "call-1", "status": 404, "reason_phrase": "Not Found",
        "time": 1_700_000_001.0, "kind": "zero_duration",
    });
    assert_eq!(site.told(), [call]);
    // The same name from elsewhere is another call.
    site.answer_to(Addr::v4([203, 0, 113, 1]), "call-2", 1, "404 Not Found", "");
    assert_eq!(site.told().len(), 1);
}

#[test]
fn what_the_engine_refuses_itself_is_one_attempt_whoever_sees_it_leave() {
    let mut site = Site::new();
    let text = "INVITE sip:1@e.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20:5066;branch=z9hG4bK1;rport\r\n\
                From: \"A\" <sip:100@e.com>;tag=own\r\nTo: <sip:1@e.com>\r\nCall-ID: call-1\r\nCSeq: 1 INVITE\r\n\r\n";
    let message = site.index.parse(text.as_bytes(), Mode::Lenient).expect("an INVITE");
    let invited = Invited::of(&message, &CALLER, &site.secret).expect("all that it needs");
    let (clock, ended) = (site.clock(), invited.refused(503, "Service Unavailable", &Gateways::default()));
    site.calls.invited(&invited, clock);
    let Site { calls, config, made, .. } = &mut site;
    calls.ended(&ended, config, clock, &mut |record| made.push(record));
    site.answer(1, "503 Service Unavailable", "");
    let told = site.told();
    assert_eq!((told.len(), &told[0]["reason_phrase"]), (1, &"Service Unavailable".into()));
    assert_eq!(told[0]["request_uri"], "sip:1@e.com");
}

#[test]
fn what_is_beyond_a_gateways_limit_is_a_refusal_of_it_and_nothing_else() {
    let mut site = Site::new();
    let gateway = config::Gateway {
        name: "carrier-a".into(),
        from: vec!["198.51.100.0/24".parse().expect("a CIDR")],
        tier: Some(config::Size::Small),
        ..config::Gateway::default()
    };
    let gateways = Gateways::of(&[gateway], &Arc::default());
    let text = "INVITE sip:1@e.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20:5066;branch=z9hG4bK1;rport\r\n\
                From: \"A\" <sip:100@e.com>;tag=own\r\nTo: <sip:1@e.com>\r\nCall-ID: call-1\r\nCSeq: 1 INVITE\r\n\r\n";
    let message = site.index.parse(text.as_bytes(), Mode::Lenient).expect("an INVITE");
    let mut invited = Invited::of(&message, &CALLER, &site.secret).expect("all that it needs");
    invited.over = Some(vos_common::reason::Reason::GatewayCalls);
    let (clock, ended) = (site.clock(), invited.refused(503, "Service Unavailable", &gateways));
    let Site { calls, config, made, .. } = &mut site;
    // It comes again, and is refused again.
    for _ in 0..3 {
        calls.invited(&invited, clock);
        calls.ended(&ended, config, clock, &mut |record| made.push(record));
    }
    let told = site.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["kind"], &told[0]["gateway"]), (&"gateway_refusal".into(), &"carrier-a".into()));
    assert_eq!((&told[0]["limit"], &told[0]["request_uri"]), (&"max_calls".into(), &"sip:1@e.com".into()));
}

#[test]
fn a_million_callers_take_up_no_more_room_than_there_is() {
    let mut site = Site::new();
    for n in 0..1_000_000u32 {
        let [a, b, c, d] = n.to_be_bytes();
        site.now += u64::from(n % 100 == 0);
        site.invite_of(Addr::v4([10 + a, b, c, d]), "flood", 1, "");
    }
    let held = site.calls.attempts.iter().flatten().flatten().count();
    assert!(held <= ATTEMPTS && held > ATTEMPTS * 9 / 10, "{held}");
    assert_eq!(site.calls.displaced, 1_000_000 - held as u64);
    // Who was displaced is written down all the same, by what the response says.
    site.answer_to(Addr::v4([10, 0, 0, 1]), "flood", 1, "486 Busy Here", "");
    assert_eq!(site.kinds(), [zero(486)]);
    site.now += 700_000;
    site.sweep();
    assert_eq!(site.calls.attempts.iter().flatten().flatten().count(), 0);
}

proptest! {
    /// Each final refusal of a call is written down once, in whatever order things are seen and however often.
    #[test]
    fn no_call_is_written_down_twice(steps in prop::collection::vec((0u32..4, 1u32..4, 0usize..6), 0..80)) {
        let mut site = Site::new();
        let mut ended = std::collections::BTreeSet::new();
        for (call, cseq, what) in steps {
            let id = format!("c{call}");
            let mut answer = |site: &mut Site, status: &str| {
                site.answer_to(CALLER, &id, cseq, status, CHALLENGE);
                ended.insert((call, cseq));
            };
            match what {
                0 => site.invite_of(CALLER, &id, cseq, ""),
                1 => site.invite_of(CALLER, &id, cseq, CREDENTIALS),
                2 => answer(&mut site, "486 Busy Here"),
                3 => answer(&mut site, WANTED),
                4 => answer(&mut site, "404 Not Found"),
                _ => site.sweep(),
            }
            site.now += 10;
        }
        let kinds = site.kinds();
        let of_kind = |kind: &str| kinds.iter().filter(|(of, ..)| of == kind).count();
        prop_assert!(of_kind("zero_duration") <= ended.len());
        prop_assert!(of_kind("zero_duration") + of_kind("illegal_call") <= ended.len());
    }
}
