//! Frames in, outcomes out.

use super::*;
use crate::config::Registration;
use crate::datagram::End;
use crate::policy::{Ask, Suspensions};
use proptest::prelude::*;
use vos_common::cases::{self, CALLER_V4, CALLER_V6, Packet};

/// Only these are known.
struct Known(&'static [[u8; 4]]);

impl Sources for Known {
    fn is_known(&self, src: &Addr) -> bool {
        self.0.iter().any(|known| Addr::v4(*known) == *src)
    }

    fn is_named(&self, src: &Addr) -> bool {
        self.is_known(src)
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

fn outcome(frame: &[u8], rules: &Ruleset, known: &Known) -> Outcome {
    through(frame, rules, known, Way::Frames)
}

fn through(frame: &[u8], rules: &Ruleset, known: &Known, relay: Way) -> Outcome {
    let (fragments, secret) = (Reassembly::default(), Secret::default());
    let context = Context {
        rules,
        sources: known,
        fragments: &fragments,
        secret: &secret,
        relay,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    handle(&mut frame.to_vec(), frame.len(), &mut Scratch::default(), &context, || 1)
}

fn handled(frame: &[u8]) -> (Action, Kind) {
    let Outcome { action, kind, .. } = outcome(frame, &Ruleset::default(), &Known(&[]));
    (action, kind)
}

#[test]
fn what_arrives_is_told_apart() {
    let caller = || Packet::v4(CALLER_V4);
    for (payload, kind) in [
        (&cases::request("INVITE")[..], Kind::Request),
        (&[b"\r\n", &cases::request("REGISTER")[..]].concat(), Kind::Request),
        (b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\n\r\n", Kind::Response),
        (b"\r\n\r\n", Kind::KeepAlive),
        (b"\r\n\r\n\r\n", Kind::KeepAlive),
        (b"\0", Kind::KeepAlive),
        (b"jaK", Kind::KeepAlive),
        (b"", Kind::KeepAlive),
        (b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl", Kind::Stun),
        (b"INVITE sip:a@b SIP/2.0\r\nno colon here\r\n\r\n", Kind::Unparsed),
    ] {
        let expect = (Action::Relay(Checksum::Whole), kind);
        assert_eq!(handled(&caller().sip(payload).build()), expect, "{}", String::from_utf8_lossy(payload));
        assert_eq!(handled(&Packet::v6(CALLER_V6).sip(payload).build()), expect);
    }
}

#[test]
fn a_request_in_two_fragments_is_known_once_it_is_whole() {
    let request = cases::request("INVITE");
    let whole = Packet::v4(CALLER_V4).sip(&request).build();
    let datagram = &whole[34..];
    let first = Packet::v4(CALLER_V4).raw(17, &datagram[..64]).udp_length(datagram.len() as u16);
    let first = first.fragment(0, true, 7).build();
    let rest = Packet::v4(CALLER_V4).raw(17, &datagram[64..]).fragment(64, false, 7).build();
    let (mut scratch, fragments, secret) = (Scratch::default(), Reassembly::default(), Secret::default());
    let context = Context {
        rules: &Ruleset::default(),
        sources: &Known(&[]),
        fragments: &fragments,
        secret: &secret,
        relay: Way::Frames,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    let mut handled = |frame: &[u8]| {
        let Outcome { action, kind, .. } = handle(&mut frame.to_vec(), frame.len(), &mut scratch, &context, || 1);
        assert_eq!(action, Action::Relay(Checksum::Whole));
        kind
    };
    assert_eq!((handled(&first), handled(&rest)), (Kind::Fragment, Kind::Request));
    // and a second datagram of which the rest comes first
    assert_eq!((handled(&rest), handled(&first)), (Kind::Fragment, Kind::Request));
}

#[test]
fn strangers_who_ask_for_another_domain_hear_nothing() {
    let bit = Reason::ForeignDomain.bit();
    let domains = || ["other.example"].iter().collect();
    let enforced = Ruleset { enforce: bit, domains: domains(), ..Ruleset::default() };
    let monitored = Ruleset { monitor: bit, domains: domains(), ..Ruleset::default() };
    let off = Ruleset { domains: domains(), ..Ruleset::default() };
    let (nobody, caller) = (&Known(&[]), &Known(&[CALLER_V4]));
    let invite = Packet::v4(CALLER_V4).sip(&cases::request("INVITE")).build();
    let says = |rules, known| {
        let Outcome { action, would, .. } = outcome(&invite, rules, known);
        (action, would)
    };
    let relayed = Action::Relay(Checksum::Whole);
    assert_eq!(says(&enforced, nobody), (Action::Drop(Reason::ForeignDomain), None));
    assert_eq!(says(&enforced, caller), (relayed, None));
    assert_eq!(says(&monitored, nobody), (relayed, Some(Reason::ForeignDomain)));
    assert_eq!(says(&monitored, caller), (relayed, None));
    assert_eq!(says(&off, nobody), (relayed, None));
    // responses, keep-alives and what cannot be read ask for nothing
    for payload in [
        &b"SIP/2.0 200 OK\r\nTo: <sip:1@192.0.2.1>\r\n\r\n"[..],
        b"\r\n\r\n",
        b"INVITE sip:a@b SIP/2.0\r\nno colon here\r\nTo: <sip:1@192.0.2.1>\r\n\r\n",
    ] {
        let frame = Packet::v4(CALLER_V4).sip(payload).build();
        assert_eq!(outcome(&frame, &enforced, nobody).action, relayed);
    }
}

#[test]
fn an_ack_is_observed_by_its_tag_and_call() {
    let frame = |text: &str| Packet::v4(CALLER_V4).sip(text.as_bytes()).build();
    let ack = |method: &str, call: &str, tag: &str| {
        frame(&format!(
            "{method} sip:1@x SIP/2.0\r\nFrom: <sip:1@x>;tag=1\r\nTo: <sip:2@x>{tag}\r\nCall-ID: {call}\r\n\
             CSeq: 1 {method}\r\n\r\n"
        ))
    };
    let (fragments, secret, rules) = (Reassembly::default(), Secret::default(), Ruleset::default());
    let context = Context {
        rules: &rules,
        sources: &Known(&[]),
        fragments: &fragments,
        secret: &secret,
        relay: Way::Frames,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    let observed = |frame: &[u8]| handle(&mut frame.to_vec(), frame.len(), &mut Scratch::default(), &context, || 1).ack;
    let seen = observed(&ack("ACK", "a", ";tag=t"));
    assert_eq!(seen, Some(Ack { src: Addr::v4(CALLER_V4), call: secret.call(b"a", b"t") }));
    assert_ne!(seen, observed(&ack("ACK", "b", ";tag=t")));
    assert_ne!(seen, observed(&ack("ACK", "a", ";tag=u")));
    assert_eq!(observed(&ack("ACK", "a", "")), None);
    assert_eq!(observed(&ack("BYE", "a", ";tag=t")), None);
}

/// The sum over the pseudo-header, as Linux leaves it for offload: worked out by hand.
#[test]
fn a_checksum_of_the_pseudo_header_alone_is_partial() {
    let mut frame = Packet::v4([192, 0, 2, 10]).sip(b"\r\n").build();
    // c000 + 020a + c000 + 0201 + 0011 + 000a = 1_8426, folded 8427
    frame[40..42].copy_from_slice(&0x8426u16.to_be_bytes());
    assert_eq!(handled(&frame).0, Action::Relay(Checksum::Whole));
    frame[40..42].copy_from_slice(&0x8427u16.to_be_bytes());
    assert_eq!(handled(&frame).0, Action::Relay(Checksum::Partial { start: 34 }));
}

/// The kernel refuses a packet whose length says more than there is; a peer behind no kernel gets none of it.
#[test]
fn what_is_cut_short_goes_to_the_kernel_or_nowhere() {
    let bytes = [&[0x13, 0xc5, 0x13, 0xc4, 0, 108, 0, 0][..], &[b'x'; 100]].concat();
    for packet in [|| Packet::v4(CALLER_V4), || Packet::v6(CALLER_V6)] {
        let part = |offset, more| packet().raw(17, &bytes).udp_length(108).fragment(offset, more, 7).build();
        for whole in [packet().sip(&bytes[8..]).build(), part(0, true), part(64, true), part(64, false)] {
            for length in 0..whole.len() {
                let relayed = |relay| match through(&whole[..length], &Ruleset::default(), &Known(&[]), relay).action {
                    Action::Relay(_) | Action::RelayWhole => true,
                    Action::Drop(_) => false,
                    action => panic!("{action:?} of {length} bytes"),
                };
                assert_eq!(
                    (relayed(Way::Frames), relayed(Way::Datagrams)),
                    (true, false),
                    "{length} of {}",
                    whole.len()
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn no_frame_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        handled(&bytes);
    }

    #[test]
    fn no_mutation_makes_it_panic(case in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), to: u8) {
        let table = cases::all();
        let mut frame = case.get(&table).frame.clone();
        let at = at.index(frame.len());
        frame[at] = to;
        handled(&frame);
    }
}

/// Such a request with credentials and so many Contacts.
fn with_contacts(method: &str, contacts: usize) -> Vec<u8> {
    let values: Vec<_> = (0..contacts).map(|n| format!("<sip:{n}@e.com>")).collect();
    let digest = "Digest username=\"1\",realm=\"r\",nonce=\"n\",response=\"r\"";
    cases::message(method, &format!("Authorization: {digest}\r\nContact: {}\r\n", values.join(",")), "")
}

fn register(contacts: usize) -> Vec<u8> {
    with_contacts("REGISTER", contacts)
}

#[test]
fn a_register_with_more_contacts_than_it_may_have_is_dropped() {
    let bit = Reason::Contacts.bit();
    let of = |enforce, monitor| Ruleset { enforce, monitor, ..Ruleset::default() };
    let says = |payload: &[u8], rules: &Ruleset| {
        let Outcome { action, would, .. } =
            outcome(&Packet::v4(CALLER_V4).sip(payload).build(), rules, &Known(&[CALLER_V4]));
        (action, would)
    };
    let (passes, drop) = (Action::Relay(Checksum::Whole), Action::Drop(Reason::Contacts));
    assert_eq!([10, 16].map(|n| says(&register(n), &of(bit, 0))), [(passes, None); 2]);
    assert_eq!(says(&register(17), &of(bit, 0)), (drop, None));
    assert_eq!(says(&register(17), &of(0, bit)), (passes, Some(Reason::Contacts)));
    assert_eq!(says(&register(17), &of(0, 0)), (passes, None));
    // Of other methods nobody asks.
    assert_eq!(says(&with_contacts("INVITE", 17), &of(bit, 0)), (passes, None));
}

#[test]
fn what_a_register_asks_for_is_told_with_its_ends() {
    let watching = Registration { suspend: false, ..Registration::default() };
    for (registration, frame, told) in [
        (watching.clone(), Packet::v4(CALLER_V4).sip(&register(1)).build(), true),
        (watching.clone(), Packet::v4(CALLER_V4).sip(&cases::request("REGISTER")).build(), false),
        (Registration { watch: false, ..watching }, Packet::v4(CALLER_V4).sip(&register(1)).build(), false),
    ] {
        let rules = Ruleset { registration, ..Ruleset::default() };
        let (mut scratch, secret) = (Scratch::default(), Secret::default());
        let context = Context {
            rules: &rules,
            sources: &Known(&[]),
            fragments: &Reassembly::default(),
            secret: &secret,
            relay: Way::Frames,
            shield: None,
            pressed: &Pressed::default(),
            suspensions: &Suspensions::new(Secret::default()),
        };
        handle(&mut frame.clone(), frame.len(), &mut scratch, &context, || 1);
        let ends = scratch.attempts.take_registering().map(|it| (it.source.addr, it.source.port, it.here.port));
        assert_eq!(ends, told.then_some((Addr::v4(CALLER_V4), 5061, 5060)));
        assert_eq!(scratch.attempts.drain().count(), 0, "nobody is suspended");
    }
}

#[test]
fn an_answer_to_the_engines_own_question_is_taken_and_no_other() {
    let secret = Secret::default();
    let (caller, server) = (Addr::v4(CALLER_V4), End { addr: Addr::v4([192, 0, 2, 1]), port: 5_060 });
    let to = End { addr: caller, port: 5_061 };
    let ask = Ask { key: secret.end(&to), number: 7, to, from: None };
    let question = String::from_utf8(ask.text(&server, &secret)).expect("text");
    let lines: Vec<_> = question.lines().filter(|line| !line.starts_with("OPTIONS ")).collect();
    let answer = format!("SIP/2.0 404 Not Found\r\n{}\r\n\r\n", lines.join("\r\n").trim_end());
    let says = |from: [u8; 4], answer: &str, online: bool, secret: &Secret| {
        let rules = Ruleset { online, ..Ruleset::default() };
        let context = Context {
            rules: &rules,
            sources: &Known(&[]),
            fragments: &Reassembly::default(),
            secret,
            relay: Way::Frames,
            shield: None,
            pressed: &Pressed::default(),
            suspensions: &Suspensions::new(Secret::default()),
        };
        let mut frame = Packet::v4(from).sip(answer.as_bytes()).build();
        let length = frame.len();
        let Outcome { action, heard, .. } = handle(&mut frame, length, &mut Scratch::default(), &context, || 1);
        (action, heard.map(|heard| heard.key))
    };
    let passes = (Action::Relay(Checksum::Whole), None);
    assert_eq!(says(CALLER_V4, &answer, true, &secret), (Action::Swallow(Reason::OnlineReply), Some(ask.key)));
    // Nobody asks any more; from elsewhere; of another engine; without the proof.
    assert_eq!(says(CALLER_V4, &answer, false, &secret), passes);
    assert_eq!(says([198, 51, 100, 77], &answer, true, &secret), passes);
    assert_eq!(says(CALLER_V4, &answer, true, &Secret::default()), passes);
    assert_eq!(says(CALLER_V4, &answer.replace("z9hG4bKvosfp", "z9hG4bKvosfq"), true, &secret), passes);
}
