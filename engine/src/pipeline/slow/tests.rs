//! Requests of a slowed source: what passes, what does not, and what never is held back.

use std::sync::Arc;

use vos_common::cases::{CALLER_V4, Packet};
use vos_common::rate::Limit;
use vos_common::rule::Addr;

use super::*;
use crate::control::clock::Clock;
use crate::pipeline::{Action, Emergency, Outcome, Scratch, Way, handle};
use crate::policy::{Secret, Slowed, Suspensions};
use crate::pressure::Pressed;
use crate::reassembly::Reassembly;
use crate::ruleset::Ruleset;

const NOW: u64 = 1_000_000_000_000;

/// Is the caller known?
pub(in crate::pipeline) struct Caller(pub(in crate::pipeline) bool);

impl Sources for Caller {
    fn is_known(&self, _: &Addr) -> bool {
        self.0
    }

    fn is_named(&self, _: &Addr) -> bool {
        self.0
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        self.0
    }
}

pub(in crate::pipeline) struct Bench {
    pub(in crate::pipeline) rules: Ruleset,
    pub(in crate::pipeline) secret: Secret,
    pub(in crate::pipeline) caller: Caller,
}

impl Bench {
    /// The caller is slowed to one at once.
    pub(in crate::pipeline) fn new() -> Self {
        let (secret, slowed) = (Secret::default(), Arc::new(Slowed::default()));
        slowed.put(&Addr::v4(CALLER_V4), &secret, NOW * 2, 20, Clock::at(NOW, NOW));
        let emergency = Emergency::of(&["112".to_owned()]);
        let (enforce, slow_to) = (Reason::Slowed.bit(), Limit::per_second(1, 1, 0));
        let rules = Ruleset { enforce, slowed, slow_to, emergency, ..Ruleset::default() };
        Self { rules, secret, caller: Caller(false) }
    }

    fn outcome_at(&self, request: &str, now: u64) -> Outcome {
        let frame = Packet::v4(CALLER_V4).sip(request.as_bytes()).build();
        let context = Context {
            rules: &self.rules,
            sources: &self.caller,
            fragments: &Reassembly::default(),
            secret: &self.secret,
            relay: Way::Frames,
            shield: None,
            pressed: &Pressed::default(),
            suspensions: &Suspensions::new(Secret::default()),
        };
        handle(&mut frame.clone(), frame.len(), &mut Scratch::default(), &context, || now)
    }

    pub(in crate::pipeline) fn outcome(&self, request: &str) -> Outcome {
        self.outcome_at(request, NOW)
    }
}

fn request(method: &str, user: &str, to_tag: &str) -> String {
    format!(
        "{method} sip:{user}@e.com SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1@x>;tag=1\r\n\
         To: <sip:{user}@e.com>{to_tag}\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn what_begins_something_is_held_back_beyond_the_limit_and_nothing_else() {
    let bench = Bench::new();
    let relayed = |request: &str| matches!(bench.outcome(request).action, Action::Relay(_));
    assert!(relayed(&request("REGISTER", "1", "")), "the first");
    for method in ["REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE", "MESSAGE", "invite", "FROBNICATE"] {
        assert_eq!(bench.outcome(&request(method, "1", "")).action, Action::Drop(Reason::Slowed), "{method}");
        assert!(relayed(&request(method, "1", ";tag=2")), "{method} within a dialog");
    }
    for method in ["ACK", "BYE", "CANCEL", "PRACK", "UPDATE"] {
        assert!(relayed(&request(method, "1", "")), "{method}");
    }
    assert!(relayed(&request("INVITE", "112", "")), "an emergency call");
    assert!(relayed("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nCall-ID: 1\r\n\r\n"));
    // a second later there is one more
    let later = |request: &str| bench.outcome_at(request, NOW + 1_000_000_000).action;
    assert!(matches!(later(&request("INVITE", "1", "")), Action::Relay(_)));
    assert_eq!(later(&request("INVITE", "1", "")), Action::Drop(Reason::Slowed));
}

#[test]
fn who_is_known_meanwhile_is_not_held_back_and_monitored_it_is_only_counted() {
    let mut bench = Bench::new();
    bench.outcome(&request("INVITE", "1", ""));
    bench.caller = Caller(true);
    assert!(matches!(bench.outcome(&request("INVITE", "1", "")).action, Action::Relay(_)));
    bench.caller = Caller(false);
    (bench.rules.enforce, bench.rules.monitor) = (0, Reason::Slowed.bit());
    let outcome = bench.outcome(&request("INVITE", "1", ""));
    assert!(matches!(outcome.action, Action::Relay(_)) && outcome.would == Some(Reason::Slowed));
    bench.rules.monitor = 0;
    assert_eq!(bench.outcome(&request("INVITE", "1", "")).would, None);
}
