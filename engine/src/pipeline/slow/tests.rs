//! Requests of a slowed source: what passes, what does not, and what never is held back.

use std::sync::Arc;

use vos_common::cases::CALLER_V4;
use vos_common::rate::Limit;
use vos_common::reason::Reason;
use vos_common::rule::Addr;

use crate::control::clock::Clock;
use crate::pipeline::Action;
use crate::pipeline::bench::{Bench, Caller, NOW};
use crate::policy::Slowed;

/// The caller is slowed to one at once.
fn bench() -> Bench {
    let mut bench = Bench::of(Reason::Slowed);
    let slowed = Slowed::default();
    slowed.put(&Addr::v4(CALLER_V4), &bench.secret, NOW * 2, 20, Clock::at(NOW, NOW));
    (bench.rules.slowed, bench.rules.slow_to) = (Arc::new(slowed), Limit::per_second(1, 1, 0));
    bench
}

fn request(method: &str, user: &str, to_tag: &str) -> String {
    format!(
        "{method} sip:{user}@e.com SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1@x>;tag=1\r\n\
         To: <sip:{user}@e.com>{to_tag}\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn what_begins_something_is_held_back_beyond_the_limit_and_nothing_else() {
    let bench = bench();
    let relayed = |request: &str| matches!(bench.outcome(request).action, Action::Relay(_));
    assert!(relayed(&request("REGISTER", "1", "")), "the first");
    for method in ["REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE", "MESSAGE", "invite", "FROBNICATE"] {
        assert_eq!(bench.outcome(&request(method, "1", "")).action, Action::Drop(Reason::Slowed), "{method}");
        // RFC 3261 §10.2: a REGISTER begins no dialog and is sent within none.
        assert_eq!(relayed(&request(method, "1", ";tag=2")), method != "REGISTER", "{method} within a dialog");
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
    let mut bench = bench();
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
