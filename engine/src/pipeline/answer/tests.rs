use vos_common::cases::{CALLER_V4, CALLER_V6, MAC, OWN_V4, OWN_V6, Packet};

use super::super::{Action, Checksum, Emergency, Outcome, Scratch, Way, handle};
use super::*;
use crate::config;
use crate::datagram::{pseudo_header, udp_of_mut, write_udp};
use crate::policy::Suspensions;
use crate::pressure::Pressed;
use crate::reassembly::Reassembly;
use crate::ruleset::Ruleset;

/// Everybody is allowed, or nobody.
struct Named(bool);

impl Sources for Named {
    fn is_known(&self, _: &Addr) -> bool {
        true
    }

    fn is_named(&self, _: &Addr) -> bool {
        self.0
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

/// A worker, and what it is told.
struct Bench {
    rules: Ruleset,
    named: Named,
    secret: Secret,
    scratch: Scratch,
    fragments: Reassembly,
}

impl Bench {
    fn new() -> Self {
        let answer = config::Answer { keep_alives: true, options: true, options_pass_every: 0, refuse_calls: true };
        let emergency = Emergency::of(&["112".to_owned()]);
        let rules = Ruleset { answer, emergency, ..Ruleset::default() };
        let (secret, scratch, fragments) = (Secret::default(), Scratch::default(), Reassembly::default());
        Self { rules, named: Named(true), secret, scratch, fragments }
    }

    /// What becomes of a frame, and the frame afterwards.
    fn handles(&mut self, frame: &[u8]) -> (Outcome, Vec<u8>) {
        let mut room = [frame, &[0xee; 2_000]].concat();
        let (fragments, secret) = (&self.fragments, &self.secret);
        let (rules, sources, pressed) = (&self.rules, &self.named, &Pressed::default());
        let context = Context {
            rules,
            sources,
            fragments,
            secret,
            relay: Way::Frames,
            shield: None,
            pressed,
            suspensions: &Suspensions::new(Secret::default()),
        };
        let outcome = handle(&mut room, frame.len(), &mut self.scratch, &context, || 1);
        let length = if let Action::Reply(length, _) = outcome.action { length } else { frame.len() };
        room.truncate(length);
        (outcome, room)
    }

    fn action(&mut self, text: &str) -> Action {
        self.handles(&Packet::v4(CALLER_V4).sip(text.as_bytes()).build()).0.action
    }

    /// The text of the answer to a request over IPv4.
    #[track_caller]
    fn reply(&mut self, text: &str) -> String {
        let (outcome, frame) = self.handles(&Packet::v4(CALLER_V4).sip(text.as_bytes()).build());
        assert!(matches!(outcome.action, Action::Reply(..)), "{text}: {outcome:?}");
        String::from_utf8(frame[42..].to_vec()).expect("text")
    }

    #[track_caller]
    fn relays(&mut self, text: &str) {
        assert_eq!(self.action(text), Action::Relay(Checksum::Whole), "{text}");
    }
}

fn request(method: &str, uri: &str, to: &str, lines: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20:5062;branch=z9hG4bK7;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:ping@198.51.100.20>;tag=f1\r\nTo: {to}\r\nCall-ID: c7@198.51.100.20\r\nCSeq: 42 {method}\r\n\
         {lines}Content-Length: 0\r\n\r\n"
    )
}

const SERVER: &str = "sip:192.0.2.1";
const TO: &str = "<sip:192.0.2.1>";

fn options() -> String {
    request("OPTIONS", SERVER, TO, "")
}

/// The tag of To in an answer of ours.
fn tag_in(reply: &str) -> &str {
    let to = reply.lines().find(|line| line.starts_with("To: ")).expect("To");
    to.split_once(";tag=").expect("a tag").1
}

#[test]
fn an_answer_word_for_word() {
    let reply = Bench::new().reply(&options());
    let tag = tag_in(&reply);
    assert!(tag.len() == 16 && tag.bytes().all(|digit| digit.is_ascii_hexdigit()), "{tag}");
    assert_eq!(
        reply,
        format!(
            "SIP/2.0 200 OK\r\n\
             Via: SIP/2.0/UDP 198.51.100.20:5062;branch=z9hG4bK7;received=198.51.100.20;rport=5061\r\n\
             From: <sip:ping@198.51.100.20>;tag=f1\r\n\
             To: <sip:192.0.2.1>;tag={tag}\r\n\
             Call-ID: c7@198.51.100.20\r\n\
             CSeq: 42 OPTIONS\r\n\
             Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE, \
             INFO, REFER\r\n\
             Accept: application/sdp\r\n\
             Content-Length: 0\r\n\r\n"
        )
    );
}

#[test]
fn the_same_request_has_the_same_tag_and_another_has_another() {
    let mut bench = Bench::new();
    let reply = bench.reply(&options());
    assert_eq!(reply, bench.reply(&options()));
    for other in [
        options().replace("c7@", "c8@"),
        options().replace("CSeq: 42", "CSeq: 43"),
        options().replace("tag=f1", "tag=f2"),
    ] {
        assert_ne!(tag_in(&reply), tag_in(&bench.reply(&other)), "{other}");
    }
    // Nobody else can make it.
    assert_ne!(tag_in(&reply), tag_in(&Bench::new().reply(&options())));
}

#[test]
fn only_who_asks_the_server_itself_is_answered() {
    let mut bench = Bench::new();
    for uri in [SERVER, "sip:192.0.2.1:5060", "sip:192.0.2.1;transport=udp", "sip:example.com", "SIP:192.0.2.1"] {
        assert!(bench.reply(&request("OPTIONS", uri, TO, "")).starts_with("SIP/2.0 200 OK\r\n"), "{uri}");
    }
    for uri in [
        "sip:100@192.0.2.1",
        "sip:192.0.2.2",
        "sip:192.0.2.1:5080",
        "sip:192.0.2.1;maddr=192.0.2.9",
        "sips:192.0.2.1",
        "tel:112",
        "sip:[2001:db8::1]",
    ] {
        bench.relays(&request("OPTIONS", uri, TO, ""));
    }
    for lines in ["Require: 100rel\r\n", "Proxy-Require: x\r\n", "Route: <sip:192.0.2.9;lr>\r\n"] {
        bench.relays(&request("OPTIONS", SERVER, TO, lines));
    }
    bench.relays(&options().replace("Max-Forwards: 70", "Max-Forwards: many"));
    bench.relays(&request("OPTIONS", SERVER, "<sip:192.0.2.1>;tag=x", ""));
    bench.relays(&options().replace("/UDP", "/TCP"));
    bench.relays(&options().replace(";rport", ";rport;maddr=192.0.2.9"));
    for method in ["INVITE", "REGISTER", "MESSAGE", "BYE", "ACK", "FOO"] {
        bench.relays(&request(method, SERVER, TO, ""));
    }
    // The last hop: a proxy would refuse it, whom it is for does not (RFC 3261 §8.1.1.6).
    bench.reply(&options().replace("Max-Forwards: 70", "Max-Forwards: 0"));
    bench.named.0 = false;
    bench.relays(&options());
    (bench.named.0, bench.rules.answer.options) = (true, false);
    bench.relays(&options());
}

#[test]
fn where_domains_are_named_others_are_not_ours() {
    let mut bench = Bench::new();
    bench.rules.domains = ["example.com", "203.0.113.99"].iter().collect();
    for uri in ["sip:Example.COM", "sip:203.0.113.99", SERVER] {
        bench.reply(&request("OPTIONS", uri, TO, ""));
    }
    bench.relays(&request("OPTIONS", "sip:other.example", TO, ""));
}

#[test]
fn the_frame_is_turned_around_with_its_tags() {
    let mut bench = Bench::new();
    let ask = Packet::v4(CALLER_V4).vlan(0x88a8, 7).vlan(0x8100, 0x6005).sip(options().as_bytes()).build();
    let (outcome, frame) = bench.handles(&ask);
    assert!(matches!(outcome.action, Action::Reply(_, Reason::Answered)), "{outcome:?}");
    assert_eq!((&frame[..6], &frame[6..12]), (&[2, 0, 0, 0, 0, 2][..], &MAC[..]));
    assert_eq!(frame[12..22], ask[12..22]);
    assert_eq!((&frame[34..38], &frame[38..42]), (&OWN_V4[..], &CALLER_V4[..]));
    assert_eq!(frame[42..46], [0x13, 0xc4, 0x13, 0xc5], "from 5060 to 5061");
    let seen = outcome.answered.expect("told");
    assert_eq!((seen.to, seen.status, seen.options, seen.invite), (Addr::v4(CALLER_V4), 200, true, false));
}

/// RFC 3261 §18.2.2: who does not ask for the port it sent from (RFC 3581) is answered at the port of its Via.
#[test]
fn without_rport_the_answer_goes_to_the_port_of_via() {
    let mut bench = Bench::new();
    for (via, port) in [("198.51.100.20:5070", 5070), ("198.51.100.20", 5060)] {
        let ask = options().replace("198.51.100.20:5062;branch=z9hG4bK7;rport", &format!("{via};branch=z9hG4bK7"));
        let (_, frame) = bench.handles(&Packet::v4(CALLER_V4).sip(ask.as_bytes()).build());
        assert_eq!(u16::from_be_bytes([frame[36], frame[37]]), port, "{via}");
    }
    bench.relays(&options().replace("198.51.100.20:5062;branch=z9hG4bK7;rport", "198.51.100.20:0;branch=z9hG4bK7"));
}

/// Over IPv6, with its UDP checksum.
fn v6(text: &str) -> Vec<u8> {
    let mut frame = Packet::v6(CALLER_V6).sip(text.as_bytes()).build();
    let flow = vos_common::packet::flow(&&frame[..]).expect("UDP");
    write_udp(udp_of_mut(&mut frame, &flow).expect("UDP"), flow.src, flow.dst);
    frame
}

#[test]
fn what_has_a_wrong_checksum_is_left_to_the_kernel() {
    let mut bench = Bench::new();
    let relayed = |outcome: (Outcome, Vec<u8>), frame: &[u8]| {
        assert_eq!((outcome.0.action, outcome.0.answered), (Action::Relay(Checksum::Whole), None));
        assert_eq!(outcome.1, frame, "untouched");
    };
    let text = request("OPTIONS", "sip:[2001:db8::1]", TO, "");
    assert_eq!(OWN_V6[..4], [0x20, 0x01, 0x0d, 0xb8]);
    let mut frame = v6(&text);
    assert!(matches!(bench.handles(&frame).0.action, Action::Reply(..)));
    frame[60] ^= 1;
    relayed(bench.handles(&frame), &frame);
    // IPv4's header
    let mut frame = Packet::v4(CALLER_V4).sip(options().as_bytes()).build();
    frame[24] ^= 1;
    relayed(bench.handles(&frame), &frame);
    // IPv4's UDP: a sum that is neither none nor right
    let mut frame = Packet::v4(CALLER_V4).sip(options().as_bytes()).build();
    frame[40..42].copy_from_slice(&[0xab, 0xcd]);
    relayed(bench.handles(&frame), &frame);
    // The pseudo-header's alone is what offload leaves.
    let flow = vos_common::packet::flow(&&frame[..]).expect("UDP");
    let partial = pseudo_header(flow.src, flow.dst, frame.len() as u16 - 34);
    frame[40..42].copy_from_slice(&partial.to_be_bytes());
    assert!(matches!(bench.handles(&frame).0.action, Action::Reply(..)));
}

#[test]
fn an_answer_that_does_not_fit_the_link_is_left_to_the_softswitch() {
    let mut bench = Bench::new();
    let via = |fill: usize| {
        let filled = options().replace(";rport", &format!(";rport;x={}", "y".repeat(fill)));
        let (outcome, frame) = bench.handles(&Packet::v4(CALLER_V4).sip(filled.as_bytes()).build());
        (outcome.action, frame.len())
    };
    let lengths: Vec<_> = (800..1_100).map(via).collect();
    let longest = lengths.iter().filter(|(action, _)| matches!(action, Action::Reply(..))).map(|(_, length)| *length);
    assert_eq!(longest.max(), Some(14 + 1_500));
    assert_eq!(lengths.last().map(|(action, _)| *action), Some(Action::Relay(Checksum::Whole)));
}

#[test]
fn one_in_so_many_goes_on_of_each_source() {
    let mut bench = Bench::new();
    bench.rules.answer.options_pass_every = 3;
    let ask = |last: u8| Packet::v4([203, 0, 113, last]).sip(options().as_bytes()).build();
    for (last, first) in [(10, 0), (11, 0), (10, 1)] {
        let passed = (first..7).filter(|_| matches!(bench.handles(&ask(last)).0.action, Action::Relay(_))).count();
        // of the first the third after seven: one more, then two are answered
        assert_eq!(passed, if first == 0 { 3 } else { 2 }, "{last}");
    }
    // More sources than are remembered: each first one passes.
    let mut turns = Turns::default();
    for n in 0..2 * SOURCES as u32 {
        assert!(turns.is_next(&Addr::v4(n.to_be_bytes()), 1_000_000), "{n}");
    }
    assert!((0..100).all(|_| Turns::default().is_next(&Addr::v4(CALLER_V4), 1)));
}

#[test]
fn while_the_softswitch_is_dead_peers_are_sent_elsewhere() {
    let mut bench = Bench::new();
    bench.scratch.answers.dead = true;
    bench.rules.answer.options_pass_every = 1;
    let invite = request("INVITE", "sip:200@192.0.2.1", "<sip:200@192.0.2.1>", "");
    for ask in [options(), request("OPTIONS", "sip:100@192.0.2.1", TO, "Require: x\r\n"), invite.clone()] {
        let reply = bench.reply(&ask);
        assert!(reply.starts_with("SIP/2.0 503 Service Unavailable\r\n"), "{reply}");
        assert!(!reply.contains("Retry-After"), "{reply}");
    }
    // calls that are there, other requests, emergency calls
    bench.relays(&request("OPTIONS", SERVER, "<sip:192.0.2.1>;tag=x", ""));
    bench.relays(&request("INVITE", "sip:200@192.0.2.1", "<sip:200@192.0.2.1>;tag=x", ""));
    bench.relays(&request("REGISTER", SERVER, TO, ""));
    bench.relays(&request("INVITE", "sip:112@192.0.2.1", TO, ""));
    bench.relays(&request("INVITE", "urn:service:sos.fire", TO, ""));
    bench.rules.answer.refuse_calls = false;
    bench.relays(&invite);
    (bench.rules.answer.refuse_calls, bench.named.0) = (true, false);
    bench.relays(&invite);
    bench.relays(&options());
}

#[test]
fn the_ack_of_a_refusal_is_known_by_its_tag() {
    let mut bench = Bench::new();
    bench.scratch.answers.dead = true;
    let invite = request("INVITE", "sip:200@192.0.2.1", "<sip:200@192.0.2.1>", "");
    let reply = bench.reply(&invite);
    let to = format!("<sip:200@192.0.2.1>;tag={}", tag_in(&reply));
    let ack = request("ACK", "sip:200@192.0.2.1", &to, "");
    let taken = Action::Swallow(Reason::Acknowledged);
    assert_eq!(bench.action(&ack), taken);
    // As late as it comes.
    bench.scratch.answers.dead = false;
    assert_eq!(bench.action(&ack), taken);
    // RFC 3261 §17.1.1.3 wants the INVITE's branch in it; sipp does not.
    assert_eq!(bench.action(&ack.replace("z9hG4bK7", "z9hG4bK8")), taken);
    for other in [ack.replace("c7@", "c8@"), ack.replace("CSeq: 42", "CSeq: 43"), ack.replace(&to, TO)] {
        bench.relays(&other);
    }
    bench.relays(&request("ACK", "sip:200@192.0.2.1", "<sip:200@192.0.2.1>;tag=0123456789abcdef", ""));
}

#[test]
fn keep_alives_are_taken_and_stun_is_not() {
    let mut bench = Bench::new();
    let taken = Action::Swallow(Reason::KeepAlive);
    for keep_alive in ["\r\n", "\r\n\r\n", "\r\n\r\n\r\n", "\0", "jaK", ""] {
        assert_eq!(bench.action(keep_alive), taken, "{keep_alive:?}");
    }
    // of anybody
    bench.named.0 = false;
    assert_eq!(bench.action("\r\n\r\n"), taken);
    let stun = Packet::v4(CALLER_V4).sip(b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl").build();
    assert_eq!(bench.handles(&stun).0.action, Action::Relay(Checksum::Whole));
    bench.rules.answer.keep_alives = false;
    bench.relays("\r\n\r\n");
}

#[test]
fn what_comes_in_fragments_goes_on_whatever_it_is() {
    let mut bench = Bench::new();
    let whole = Packet::v4(CALLER_V4).sip(options().as_bytes()).build();
    let datagram = &whole[34..];
    let first = Packet::v4(CALLER_V4).raw(17, &datagram[..64]).udp_length(datagram.len() as u16);
    let rest = Packet::v4(CALLER_V4).raw(17, &datagram[64..]).fragment(64, false, 7);
    for frame in [first.fragment(0, true, 7).build(), rest.build()] {
        assert_eq!(bench.handles(&frame).0.action, Action::Relay(Checksum::Whole));
    }
}

#[test]
fn what_has_no_room_to_leave_is_not_answered_but_goes_on() {
    let mut bench = Bench::new();
    bench.scratch.answers.may_leave = false;
    bench.relays(&options());
    bench.scratch.answers.dead = true;
    bench.relays(&request("INVITE", SERVER, TO, ""));
    bench.scratch.answers.may_leave = true;
    assert!(matches!(bench.action(&options()), Action::Reply(..)));
}
