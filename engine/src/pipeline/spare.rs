use vos_common::packet::Flow;
use vos_common::reason::Reason;

use super::{Action, Context, Outcome};

/// Spares the softswitch what it has, and while it is behind what is new.
pub(super) fn spare<S>(
    outcome: Outcome,
    frame: &[u8],
    flow: &Flow,
    context: &Context<'_, S>,
    now: impl FnOnce() -> u64,
) -> Outcome {
    let (Action::Relay(_) | Action::RelayWhole, Some(brief)) = (outcome.action, outcome.brief) else { return outcome };
    let port =
        frame.get(flow.l4 as usize + 2..).and_then(<[u8]>::first_chunk).map_or(0, |port| u16::from_be_bytes(*port));
    let action = if brief.class.is_new() && context.pressed.holds(&flow.dst, port) {
        Action::Drop(Reason::GivenUp)
    } else if brief.shielded && context.shield.is_some_and(|shield| !shield.lets_pass(brief.transaction, now())) {
        Action::Swallow(Reason::Retransmission)
    } else {
        outcome.action
    };
    Outcome { action, ..outcome }
}

#[cfg(test)]
mod tests {
    use vos_common::cases::{CALLER_V4, OWN_V4, Packet};
    use vos_common::packet::{self, flow};

    use super::super::{Checksum, Scratch, Way, handle};
    use crate::checksum::{udp_of, write_udp};
    use crate::policy::{Secret, Sources};
    use crate::pressure::{Gauge, Pressed, UdpSocket};
    use crate::reassembly::Reassembly;
    use crate::ruleset::Ruleset;
    use crate::shield::{Shield, T2};

    use super::*;

    struct Strangers;

    impl Sources for Strangers {
        fn is_known(&self, _: &vos_common::rule::Addr) -> bool {
            false
        }

        fn is_named(&self, src: &vos_common::rule::Addr) -> bool {
            self.is_known(src)
        }
    }

    /// A message; `call` tells it from others.
    fn message(start: &str, method: &str, call: &str, to_tag: &str) -> Vec<u8> {
        format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK{call}\r\nFrom: <sip:1@e.com>;tag=1\r\n\
             To: <sip:2@e.com>{to_tag}\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\r\n"
        )
        .into_bytes()
    }

    fn request(method: &str, uri: &str, call: &str, to_tag: &str) -> Vec<u8> {
        message(&format!("{method} {uri} SIP/2.0"), method, call, to_tag)
    }

    fn decide(frame: &[u8], way: Way, rules: &Ruleset, shield: Option<&Shield>, pressed: &Pressed, now: u64) -> Action {
        let (fragments, secret) = (Reassembly::default(), Secret::default());
        let context =
            Context { rules, sources: &Strangers, fragments: &fragments, secret: &secret, relay: way, shield, pressed };
        handle(&mut frame.to_vec(), frame.len(), &mut Scratch::default(), &context, || now).action
    }

    fn pressed_at(local: &str) -> Pressed {
        let mut gauge = Gauge::default();
        let local = local.parse().expect("an address and a port");
        gauge.look(vec![UdpSocket { local, cookie: 1, queued: 9, buffer: 10, dropped: 0 }]);
        gauge.pressed()
    }

    #[test]
    fn while_it_is_behind_what_is_new_is_given_up_and_nothing_else() {
        let rules = Ruleset { emergency: crate::pipeline::Emergency::of(&["112".to_owned()]), ..Ruleset::default() };
        let decide = |payload: &[u8], pressed: &Pressed| {
            let frame = Packet::v4(CALLER_V4).to(&OWN_V4).sip(payload).build();
            decide(&frame, Way::Frames, &rules, None, pressed, 1)
        };
        let own = std::net::Ipv4Addr::from(OWN_V4);
        let (here, there) = (pressed_at(&format!("{own}:5060")), pressed_at(&format!("{own}:5070")));
        let uri = "sip:2@e.com";
        let new = [request("REGISTER", "sip:e.com", "1", ""), request("INVITE", uri, "1", "")];
        for payload in &new {
            assert_eq!(decide(payload, &here), Action::Drop(Reason::GivenUp));
            for pressed in [&there, &Pressed::default()] {
                assert!(matches!(decide(payload, pressed), Action::Relay(_)));
            }
        }
        let others = [
            request("INVITE", uri, "1", ";tag=2"),
            request("INVITE", "sip:+112@e.com", "1", ""),
            request("INVITE", "urn:service:sos.fire", "1", ""),
            request("BYE", uri, "1", ";tag=2"),
            request("ACK", uri, "1", ""),
            request("CANCEL", uri, "1", ""),
            request("OPTIONS", uri, "1", ""),
            message("SIP/2.0 200 OK", "INVITE", "1", ";tag=2"),
            b"\r\n\r\n".to_vec(),
        ];
        for payload in &others {
            assert!(matches!(decide(payload, &here), Action::Relay(_)), "{}", String::from_utf8_lossy(payload));
        }
        // A registration of that number is nobody's emergency.
        assert_eq!(decide(&request("REGISTER", "sip:112@e.com", "1", ""), &here), Action::Drop(Reason::GivenUp));
    }

    #[test]
    fn of_requests_that_are_answered_copies_are_kept_back() {
        let rules = Ruleset { briefs: true, ..Ruleset::default() };
        let (shield, secret, fragments) = (Shield::default(), Secret::default(), Reassembly::default());
        let pressed = Pressed::default();
        let emergency = crate::pipeline::Emergency::of(&["112".to_owned()]);
        let rules = Ruleset { emergency, ..rules };
        let (rules, sources) = (&rules, &Strangers);
        let (shield, secret, fragments, pressed) = (Some(&shield), &secret, &fragments, &pressed);
        let context = Context { rules, sources, fragments, secret, relay: Way::Frames, shield, pressed };
        let mut scratch = Scratch::default();
        let mut decide = |payload: &[u8], now: u64| {
            let mut frame = Packet::v4(CALLER_V4).sip(payload).build();
            let length = frame.len();
            handle(&mut frame, length, &mut scratch, &context, || now).action
        };
        let kept_back = Action::Swallow(Reason::Retransmission);
        for (method, to_tag) in [("REGISTER", ""), ("INVITE", ""), ("INVITE", ";tag=2"), ("BYE", ";tag=2")] {
            let copy = request(method, "sip:2@e.com", &format!("{method}{}", to_tag.len()), to_tag);
            assert!(matches!(decide(&copy, T2), Action::Relay(_)), "{method}");
            assert_eq!([decide(&copy, T2 + 1), decide(&copy, 2 * T2 - 1_000_000)], [kept_back; 2], "{method}");
            assert!(matches!(decide(&copy, 2 * T2), Action::Relay(_)), "{method}");
        }
        for copy in [
            request("ACK", "sip:2@e.com", "INVITE0", ""),
            request("CANCEL", "sip:2@e.com", "INVITE0", ""),
            request("CANCEL", "sip:2@e.com", "INVITE6", ";tag=2"),
            request("INVITE", "sip:112@e.com", "3", ""),
            message("SIP/2.0 200 OK", "INVITE", "3", ";tag=2"),
        ] {
            assert!((0..3).all(|_| matches!(decide(&copy, T2), Action::Relay(_))));
        }
        // What was dropped is with nobody.
        assert!(matches!(decide(&request("REGISTER", "sip:2@e.com", "4", ""), T2), Action::Relay(_)));
    }

    #[test]
    fn the_kernel_gets_all_fragments_of_a_copy_and_a_peer_none() {
        let rules = Ruleset { briefs: true, ..Ruleset::default() };
        let payload = request("INVITE", "sip:2@e.com", &"c".repeat(600), "");
        let mut whole = Packet::v4(CALLER_V4).sip(&payload).build();
        let of_whole = flow(&&whole[..]).expect("UDP");
        let datagram = udp_of(&mut whole, &of_whole).expect("UDP");
        write_udp(datagram, of_whole.src, of_whole.dst);
        let (shield, secret, pressed) = (Shield::default(), Secret::default(), Pressed::default());
        for (way, of_copy) in [
            (Way::Frames, [Action::Relay(Checksum::Whole); 2]),
            (Way::Datagrams, [Action::Swallow(Reason::InFragments), Action::Swallow(Reason::Retransmission)]),
        ] {
            let (fragments, mut scratch) = (Reassembly::default(), Scratch::default());
            let (rules, sources, fragments) = (&rules, &Strangers, &fragments);
            let (shield, secret, pressed) = (Some(&shield), &secret, &pressed);
            let context = Context { rules, sources, fragments, secret, relay: way, shield, pressed };
            let mut copies = (1..=2).map(|id| {
                let (first, rest) = datagram.split_at(512);
                let first = Packet::v4(CALLER_V4).raw(17, first).udp_length(datagram.len() as u16);
                let rest = Packet::v4(CALLER_V4).raw(17, rest).fragment(512, false, id);
                [first.fragment(0, true, id).build(), rest.build()].map(|mut frame| {
                    assert_ne!(packet::flow(&&frame[..]).expect("a fragment").fragment, packet::WHOLE);
                    let length = frame.len();
                    handle(&mut frame, length, &mut scratch, &context, || T2).action
                })
            });
            let _original = copies.next();
            assert_eq!(copies.next(), Some(of_copy), "{way:?}");
        }
    }
}
