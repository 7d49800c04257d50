use vos_common::packet::Flow;
use vos_common::rate::Limit;
use vos_common::reason::Reason;

use super::answer::Ends;
use super::{Action, Brief, Class, Context, Outcome};
use crate::policy::Sources;

/// What unknown sources may send of calls to emergency numbers while the softswitch is behind, all of them together, by
/// one queue: five calls a second with all that belongs to them. More: a flood that dials such a number fills the
/// socket. Less: callers in need who have not registered wait behind it.
const UNKNOWN_EMERGENCIES: Limit = Limit::per_second(20, 40, 0);

/// How much of [`UNKNOWN_EMERGENCIES`] is taken: its clock, ns of `CLOCK_MONOTONIC`.
#[derive(Debug, Default)]
pub struct Emergencies(u64);

impl Emergencies {
    fn take(&mut self, now: u64) -> bool {
        let next = UNKNOWN_EMERGENCIES.claim(self.0, now);
        self.0 = next.unwrap_or(self.0);
        next.is_some()
    }
}

/// What a packet is worth at `now`. Of an unknown source's, what it says of itself counts for nothing, unless it calls an
/// emergency number and there is room in their share: whoever forges a source writes a BYE as easily as a REGISTER.
pub fn worth(brief: Option<&Brief>, is_known: impl FnOnce() -> bool, emergencies: &mut Emergencies, now: u64) -> Class {
    let says = brief.map_or(Class::Other, |brief| brief.class);
    if is_known() || says == Class::Emergency && emergencies.take(now) { says } else { Class::Unknown }
}

/// Spares the softswitch what it has, and while it is behind what is new or anybody's.
pub(super) fn spare<S: Sources>(
    outcome: Outcome,
    ends: Option<&Ends>,
    context: &Context<'_, S>,
    emergencies: &mut Emergencies,
    now: impl Fn() -> u64,
) -> Outcome {
    let (Action::Relay(_) | Action::RelayWhole, brief) = (outcome.action, outcome.brief) else { return outcome };
    if let Some(Ends { caller, here }) = ends.filter(|_| !context.pressed.is_empty())
        && context.pressed.holds(&here.addr, here.port)
    {
        let is_known = || context.sources.is_known(&caller.addr);
        let class = match brief {
            // Whoever sends it.
            Some(brief) if brief.class.gives_way() => brief.class,
            _ => worth(brief.as_ref(), is_known, emergencies, now()),
        };
        if class.gives_way() {
            let brief = brief.map(|brief| Brief { class, ..brief });
            return Outcome { action: Action::Drop(Reason::GivenUp), brief, ..outcome };
        }
    }
    let kept_back = brief.is_some_and(|brief| {
        brief.shielded && context.shield.is_some_and(|shield| !shield.lets_pass(brief.transaction, now()))
    });
    let action = if kept_back { Action::Swallow(Reason::Retransmission) } else { outcome.action };
    Outcome { action, ..outcome }
}

/// Is a fragment given up? All of an unknown source's are alike while the softswitch is behind, so that the kernel keeps
/// none of them; a later one has no port.
pub(super) fn gives_way<S: Sources>(flow: &Flow, context: &Context<'_, S>) -> bool {
    context.pressed.may_hold(&flow.dst) && !context.sources.is_known(&flow.src)
}

#[cfg(test)]
mod tests {
    use vos_common::cases::{CALLER_V4, OWN_V4, Packet};
    use vos_common::packet::{self, flow};

    use super::super::{Checksum, Scratch, Way, handle};
    use crate::datagram::{udp_of_mut, write_udp};
    use crate::policy::{Secret, Sources, Suspensions};
    use crate::pressure::{Gauge, Pressed, UdpSocket};
    use crate::reassembly::Reassembly;
    use crate::ruleset::Ruleset;
    use crate::shield::Shield;
    use crate::sip::T2;

    use super::*;

    /// Is anybody known?
    struct Callers(bool);

    const STRANGERS: Callers = Callers(false);

    impl Sources for Callers {
        fn is_known(&self, _: &vos_common::rule::Addr) -> bool {
            self.0
        }

        fn is_named(&self, src: &vos_common::rule::Addr) -> bool {
            self.is_known(src)
        }

        fn is_trusted(&self, _: &vos_common::rule::Addr) -> bool {
            false
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

    fn pressed_at(local: &str) -> Pressed {
        let mut gauge = Gauge::default();
        let local = local.parse().expect("an address and a port");
        gauge.look(vec![UdpSocket { local, cookie: 1, inode: 0, queued: 9, buffer: 10, dropped: 0 }]);
        gauge.pressed()
    }

    /// Who sends what to whom, while a socket is behind.
    fn under(pressed: &Pressed, sources: &Callers, scratch: &mut Scratch, frame: &[u8], now: u64) -> Outcome {
        let rules = Ruleset { emergency: crate::pipeline::Emergency::of(&["112".to_owned()]), ..Ruleset::default() };
        let (rules, fragments, secret) = (&rules, &Reassembly::default(), &Secret::default());
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
        handle(&mut frame.to_vec(), frame.len(), scratch, &context, || now)
    }

    fn sip(payload: &[u8]) -> Vec<u8> {
        Packet::v4(CALLER_V4).to(&OWN_V4).sip(payload).build()
    }

    fn own(port: u16) -> Pressed {
        pressed_at(&format!("{}:{port}", std::net::Ipv4Addr::from(OWN_V4)))
    }

    /// What belongs to calls that are there, or says so.
    fn claims() -> Vec<Vec<u8>> {
        let uri = "sip:2@e.com";
        vec![
            request("INVITE", uri, "1", ";tag=2"),
            request("BYE", uri, "1", ";tag=2"),
            request("ACK", uri, "1", ""),
            request("CANCEL", uri, "1", ""),
            request("OPTIONS", uri, "1", ""),
            request("OPTIONS", "sip:112@e.com", "1", ""),
            message("SIP/2.0 200 OK", "INVITE", "1", ";tag=2"),
            b"\r\n\r\n".to_vec(),
            b"INVITE sip:a@b SIP/2.0\r\nno colon here\r\n\r\n".to_vec(),
        ]
    }

    #[test]
    fn while_it_is_behind_what_is_new_is_given_up_and_nothing_else_of_known_callers() {
        let known = Callers(true);
        let decide = |payload: &[u8], pressed: &Pressed| {
            under(pressed, &known, &mut Scratch::default(), &sip(payload), 1).action
        };
        let (here, there) = (own(5060), own(5070));
        let new = [("REGISTER", ""), ("REGISTER", ";tag=2"), ("INVITE", "")]
            .map(|(method, to_tag)| request(method, "sip:e.com", "1", to_tag));
        for payload in &new {
            assert_eq!(decide(payload, &here), Action::Drop(Reason::GivenUp));
            for pressed in [&there, &Pressed::default()] {
                assert!(matches!(decide(payload, pressed), Action::Relay(_)));
            }
        }
        let urgent = ["sip:+112@e.com", "urn:service:sos.fire"].map(|uri| request("INVITE", uri, "1", ""));
        for payload in claims().iter().chain(&urgent) {
            assert!(matches!(decide(payload, &here), Action::Relay(_)), "{}", String::from_utf8_lossy(payload));
        }
        // A registration of that number is nobody's emergency.
        assert_eq!(decide(&request("REGISTER", "sip:112@e.com", "1", ""), &here), Action::Drop(Reason::GivenUp));
    }

    #[test]
    fn what_unknown_sources_say_of_themselves_counts_for_nothing_while_it_is_behind() {
        let (here, there, mut scratch) = (own(5060), own(5070), Scratch::default());
        for payload in &claims() {
            let told = String::from_utf8_lossy(payload);
            let Outcome { action, brief, .. } = under(&here, &STRANGERS, &mut scratch, &sip(payload), 1);
            assert_eq!(action, Action::Drop(Reason::GivenUp), "{told}");
            assert!(brief.is_none_or(|brief| brief.class == Class::Unknown), "{told}");
            for pressed in [&there, &Pressed::default()] {
                let Outcome { action, .. } = under(pressed, &STRANGERS, &mut scratch, &sip(payload), 1);
                assert!(matches!(action, Action::Relay(_)), "{told}");
            }
        }
        let whole = sip(&claims()[0]);
        let first = Packet::v4(CALLER_V4).to(&OWN_V4).raw(17, &whole[34..90]).udp_length(whole.len() as u16 - 34);
        let rest = Packet::v4(CALLER_V4).to(&OWN_V4).raw(17, &whole[90..]).fragment(56, false, 1);
        for frame in [first.fragment(0, true, 1).build(), rest.build()] {
            let mut decide =
                |pressed: &Pressed, sources: &Callers| under(pressed, sources, &mut scratch, &frame, 1).action;
            assert_eq!(decide(&here, &STRANGERS), Action::Drop(Reason::GivenUp));
            assert!(matches!(decide(&here, &Callers(true)), Action::Relay(_)));
            assert!(matches!(decide(&Pressed::default(), &STRANGERS), Action::Relay(_)));
        }
    }

    #[test]
    fn unknown_sources_have_a_share_for_emergencies_and_no_more() {
        const SECOND: u64 = 1_000_000_000;
        let (here, mut scratch) = (own(5060), Scratch::default());
        let urgent = [
            request("INVITE", "sip:112@e.com", "1", ""),
            request("ACK", "sip:112@e.com", "1", ";tag=2"),
            request("BYE", "sip:desk@192.0.2.9", "1", ";tag=2"),
            message("SIP/2.0 200 OK", "INVITE", "1", ";tag=2"),
        ]
        .map(|text| String::from_utf8(text).expect("text").replace("To: <sip:2@", "To: <sip:112@").into_bytes());
        for payload in &urgent {
            assert!(matches!(under(&here, &STRANGERS, &mut scratch, &sip(payload), SECOND).action, Action::Relay(_)));
        }
        let mut passed = |sources: &Callers, now: u64| {
            let frame = sip(&urgent[0]);
            let passes = |_: &u32| matches!(under(&here, sources, &mut scratch, &frame, now).action, Action::Relay(_));
            (0..1_000).filter(passes).count()
        };
        assert_eq!(passed(&STRANGERS, SECOND), 40 - urgent.len());
        assert_eq!(passed(&Callers(true), SECOND), 1_000, "known callers have no share of it");
        assert_eq!(passed(&STRANGERS, 2 * SECOND), 20);
        assert_eq!(passed(&STRANGERS, 9 * SECOND), 40);
    }

    #[test]
    fn of_requests_that_are_answered_copies_are_kept_back() {
        let rules = Ruleset { briefs: true, ..Ruleset::default() };
        let (shield, secret, fragments) = (Shield::default(), Secret::default(), Reassembly::default());
        let pressed = Pressed::default();
        let emergency = crate::pipeline::Emergency::of(&["112".to_owned()]);
        let rules = Ruleset { emergency, ..rules };
        let (rules, sources) = (&rules, &STRANGERS);
        let (shield, secret, fragments, pressed) = (Some(&shield), &secret, &fragments, &pressed);
        let context = Context {
            rules,
            sources,
            fragments,
            secret,
            relay: Way::Frames,
            shield,
            pressed,
            suspensions: &Suspensions::new(Secret::default()),
        };
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
        let datagram = udp_of_mut(&mut whole, &of_whole).expect("UDP");
        write_udp(datagram, of_whole.src, of_whole.dst);
        let (shield, secret, pressed) = (Shield::default(), Secret::default(), Pressed::default());
        for (way, of_copy) in [
            (Way::Frames, [Action::Relay(Checksum::Whole); 2]),
            (Way::Datagrams, [Action::Swallow(Reason::InFragments), Action::Swallow(Reason::Retransmission)]),
        ] {
            let (fragments, mut scratch) = (Reassembly::default(), Scratch::default());
            let (rules, sources, fragments) = (&rules, &STRANGERS, &fragments);
            let (shield, secret, pressed) = (Some(&shield), &secret, &pressed);
            let context = Context {
                rules,
                sources,
                fragments,
                secret,
                relay: way,
                shield,
                pressed,
                suspensions: &Suspensions::new(Secret::default()),
            };
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
