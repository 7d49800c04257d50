use std::sync::Arc;

use vos_common::cases::{CALLER_V4, OWN_V4, Packet};
use vos_common::rule::Addr;

use super::super::{Action, Checksum, Emergency, Outcome, Scratch, Way, handle};
use super::*;
use crate::config::Config;
use crate::policy::{Gateways, Secret, Suspensions};
use crate::pressure::Pressed;
use crate::reassembly::Reassembly;
use crate::ruleset::Ruleset;

/// Nobody is known: a trunk with a password need not be.
struct Strangers;

impl Sources for Strangers {
    fn is_known(&self, _: &Addr) -> bool {
        false
    }

    fn is_named(&self, _: &Addr) -> bool {
        false
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

/// A worker in front of which a trunk stands that may make one call.
struct Bench {
    rules: Ruleset,
    secret: Secret,
    scratch: Scratch,
    fragments: Reassembly,
    relay: Way,
}

/// The rules of gateways.
const BOTH: u64 = Reason::GatewayCps.bit() | Reason::GatewayCalls.bit();

impl Bench {
    fn new(rest: &str) -> Self {
        let text = format!(
            "[[gateway]]\nname = \"a\"\nfrom = [\"198.51.100.20\"]\ncps = 100\nmax_calls = 1\n{rest}\n\
             [[gateway]]\nname = \"b\"\nfrom = [\"203.0.113.0/24\"]\ntier = \"small\"\n"
        );
        let config = Config::parse(&text, std::path::Path::new("vos.toml")).expect("a configuration");
        let gateways = Gateways::of(&config.gateway, &Arc::default());
        let emergency = Emergency::of(&["112".to_owned()]);
        let rules = Ruleset { enforce: BOTH, gateways, emergency, ..Ruleset::default() };
        let (secret, scratch, fragments) = (Secret::default(), Scratch::default(), Reassembly::default());
        Self { rules, secret, scratch, fragments, relay: Way::Frames }
    }

    fn handles(&mut self, frame: &[u8]) -> (Outcome, Vec<u8>) {
        let mut room = [frame, &[0xee; 2_000]].concat();
        let (fragments, secret, relay) = (&self.fragments, &self.secret, self.relay);
        let (rules, sources, pressed) = (&self.rules, &Strangers, &Pressed::default());
        let suspensions = &Suspensions::new(Secret::default());
        let context = Context { rules, sources, fragments, secret, relay, shield: None, pressed, suspensions };
        let outcome = handle(&mut room, frame.len(), &mut self.scratch, &context, || 1);
        let length = if let Action::Reply(length, _) = outcome.action { length } else { frame.len() };
        room.truncate(length);
        (outcome, room)
    }

    fn outcome(&mut self, text: &str) -> Outcome {
        self.handles(&Packet::v4(CALLER_V4).to(&OWN_V4).sip(text.as_bytes()).build()).0
    }

    #[track_caller]
    fn passes(&mut self, text: &str) {
        assert_eq!(self.outcome(text).action, Action::Relay(Checksum::Whole), "{text}");
    }

    #[track_caller]
    fn answers(&mut self, text: &str) -> String {
        let (outcome, frame) = self.handles(&Packet::v4(CALLER_V4).to(&OWN_V4).sip(text.as_bytes()).build());
        assert!(matches!(outcome.action, Action::Reply(_, Reason::Refused)), "{text}: {outcome:?}");
        String::from_utf8(frame[42..].to_vec()).expect("text")
    }

    fn calls(&self) -> u32 {
        self.rules.gateways.views(1)[0].calls
    }
}

fn request(method: &str, uri: &str, call: &str, to_tag: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20:5062;branch=z9hG4bK{call};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:trunk@198.51.100.20>;tag=f{call}\r\nTo: <sip:2@192.0.2.1>{to_tag}\r\n\
         Call-ID: {call}\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn invite(call: &str) -> String {
    request("INVITE", "sip:2@192.0.2.1", call, "")
}

fn to_tag(reply: &str) -> String {
    let to = reply.lines().find(|line| line.starts_with("To: ")).expect("To");
    format!(";tag={}", to.split_once(";tag=").expect("a tag").1)
}

#[test]
fn a_call_beyond_the_limit_is_refused_word_for_word() {
    let mut bench = Bench::new("");
    bench.passes(&invite("1"));
    let reply = bench.answers(&invite("2"));
    assert_eq!(
        reply,
        format!(
            "SIP/2.0 503 Service Unavailable\r\n\
             Via: SIP/2.0/UDP 198.51.100.20:5062;branch=z9hG4bK2;received=198.51.100.20;rport=5061\r\n\
             From: <sip:trunk@198.51.100.20>;tag=f2\r\nTo: <sip:2@192.0.2.1>{}\r\nCall-ID: 2\r\nCSeq: 7 INVITE\r\n\
             Content-Length: 0\r\n\r\n",
            to_tag(&reply)
        )
    );
    // its copies are answered the same, those of the call that passed pass
    assert_eq!(bench.answers(&invite("2")), reply);
    bench.passes(&invite("1"));
    let view = &bench.rules.gateways.views(1)[0];
    assert_eq!((view.calls, view.passed, view.over_calls), (1, 1, 1));
}

#[test]
fn the_ack_of_a_refusal_is_taken_and_its_cancel_answered() {
    let mut bench = Bench::new("");
    bench.passes(&invite("1"));
    let tag = to_tag(&bench.answers(&invite("2")));
    let taken = Action::Swallow(Reason::Acknowledged);
    assert_eq!(bench.outcome(&request("ACK", "sip:2@192.0.2.1", "2", &tag)).action, taken);
    // RFC 3261 §9.2: 200, with the tag of the answer to the INVITE
    let reply = bench.answers(&request("CANCEL", "sip:2@192.0.2.1", "2", ""));
    assert!(reply.starts_with("SIP/2.0 200 OK\r\n") && reply.contains("CSeq: 7 CANCEL\r\n"), "{reply}");
    assert_eq!(to_tag(&reply), tag);
    // those of a call that passed are the softswitch's
    bench.passes(&request("ACK", "sip:2@192.0.2.1", "1", ";tag=x"));
    bench.passes(&request("CANCEL", "sip:2@192.0.2.1", "1", ""));
    bench.passes(&request("CANCEL", "sip:2@192.0.2.1", "3", ""));
}

#[test]
fn what_is_within_a_call_passes_and_so_does_a_call_for_help() {
    let mut bench = Bench::new("burst = 1");
    bench.passes(&invite("1"));
    for method in ["INVITE", "BYE", "UPDATE", "INFO", "PRACK", "ACK", "REFER"] {
        bench.passes(&request(method, "sip:2@192.0.2.1", "9", ";tag=t"));
    }
    for uri in ["sip:112@192.0.2.1", "urn:service:sos.fire", "tel:112"] {
        bench.passes(&request("INVITE", uri, &format!("help-{}", uri.len()), ""));
    }
    bench.answers(&invite("2"));
    // and what is no call
    for method in ["OPTIONS", "REGISTER", "MESSAGE"] {
        bench.passes(&request(method, "sip:2@192.0.2.1", "3", ""));
    }
    assert_eq!(bench.calls(), 4);
}

#[test]
fn rules_can_be_monitored_and_switched_off() {
    let mut bench = Bench::new("");
    (bench.rules.enforce, bench.rules.monitor) = (0, BOTH);
    bench.passes(&invite("1"));
    let outcome = bench.outcome(&invite("2"));
    assert_eq!((outcome.action, outcome.would), (Action::Relay(Checksum::Whole), Some(Reason::GatewayCalls)));
    assert_eq!(bench.outcome(&invite("2")).would, None, "a call, not a packet");
    bench.rules.monitor = 0;
    assert_eq!((bench.outcome(&invite("3")).would, bench.calls()), (None, 3));
}

#[test]
fn where_nothing_can_be_answered_the_call_is_dropped() {
    let mut bench = Bench::new("");
    bench.passes(&invite("1"));
    bench.scratch.answers.may_leave = false;
    assert_eq!(bench.outcome(&invite("2")).action, Action::Drop(Reason::GatewayCalls));
    bench.scratch.answers.may_leave = true;
    // an answer by TCP is the softswitch's to give, if it gave one (RFC 3261 §18.2.2)
    let by_tcp = invite("3").replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    assert_eq!(bench.outcome(&by_tcp).action, Action::Drop(Reason::GatewayCalls));
}

#[test]
fn only_trunks_are_limited_each_by_its_port_if_it_has_one() {
    let mut bench = Bench::new("auth = \"ip+port\"\nport = 5062");
    for call in ["1", "2"] {
        bench.passes(&invite(call));
    }
    assert_eq!(bench.calls(), 0, "that is from 5061, and another's");
    let mut bench = Bench::new("auth = \"ip+port\"\nport = 5061");
    bench.passes(&invite("1"));
    bench.answers(&invite("2"));
    let frame = Packet::v4([198, 51, 100, 21]).to(&OWN_V4).sip(invite("4").as_bytes()).build();
    assert_eq!(bench.handles(&frame).0.action, Action::Relay(Checksum::Whole));
}

#[test]
fn a_trunk_that_answers_the_softswitchs_bye_has_one_call_less() {
    let mut bench = Bench::new("");
    bench.passes(&invite("1"));
    let secret = bench.secret.clone();
    let (caller, callee) = (secret.call(b"1", b"f1"), secret.call(b"1", b"t1"));
    let answered = crate::policy::gateways::Answered {
        asker: caller,
        other: Some(callee),
        cseq: 7,
        method: crate::policy::gateways::Asked::Invite,
        status: 200,
    };
    bench.rules.gateways.answered(&answered, 1);
    let bye = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb\r\nFrom: <sip:2@192.0.2.1>;tag=t1\r\n\
               To: <sip:trunk@198.51.100.20>;tag=f1\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n";
    bench.passes(bye);
    assert_eq!(bench.calls(), 0);
    bench.passes(&invite("2"));
}

/// An INVITE in two fragments.
fn fragments(text: &str, id: u32) -> [Vec<u8>; 2] {
    let total = text.len() + 8;
    let datagram = [&[0x13, 0xc5, 0x13, 0xc4, (total >> 8) as u8, total as u8, 0, 0], text.as_bytes()].concat();
    let piece = |range: std::ops::Range<usize>| {
        let packet = Packet::v4(CALLER_V4).to(&OWN_V4).raw(17, &datagram[range.clone()]).udp_length(total as u16);
        packet.fragment(range.start as u16, range.end < total, id).build()
    };
    [piece(0..160), piece(160..total)]
}

#[test]
fn a_call_in_fragments_is_refused_as_well() {
    for relay in [Way::Frames, Way::Datagrams] {
        let mut bench = Bench { relay, ..Bench::new("") };
        let mut both = |call: &str, id: u32| fragments(&invite(call), id).map(|frame| bench.handles(&frame));
        let [(_, _), (last, _)] = both("1", 1);
        assert!(matches!(last.action, Action::Relay(_) | Action::RelayWhole), "{relay:?}: {last:?}");
        let [(_, _), (last, frame)] = both("2", 2);
        assert!(matches!(last.action, Action::Reply(_, Reason::Refused)), "{relay:?}: {last:?}");
        let text = String::from_utf8(frame[42..].to_vec()).expect("text");
        assert!(text.starts_with("SIP/2.0 503 ") && text.contains("Call-ID: 2\r\n"), "{text}");
        assert_eq!(bench.calls(), 1, "{relay:?}");
    }
}
