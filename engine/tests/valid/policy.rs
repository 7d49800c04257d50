use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};
use sip_parse::{Index, Mode};
use vos_common::cases::{Packet, config};
use vos_common::rate::VerifiedBucket;
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_engine::config::{Config, Gateway, Size};
use vos_engine::control::clock::Clock;
use vos_engine::datagram::End;
use vos_engine::pipeline::{self, Context, Scratch, Way};
use vos_engine::policy::gateways::Watch;
use vos_engine::policy::{
    Asked, Bindings, Blacklist, EVIDENCE, Enumeration, Evidence, Granted, Policy, Proof, Registrar, Registrations,
    SLOWED_MAX, SUSPENSIONS_MAX, Said, Secret, Sources, Standing, Standings, Suspensions, Verified, VerifiedMap,
};
use vos_engine::pressure::Pressed;
use vos_engine::reassembly::Reassembly;
use vos_engine::ruleset::Ruleset;

use crate::grammar::message;

const SECOND: u64 = 1_000_000_000;
/// Messages that go in, in each direction.
const CASES: u32 = 4_000;
/// Sources that they come from: few, so that what they do belongs together more often than it makes sense.
const SOURCES: u8 = 4;
/// Calls that several messages speak of; as many registrations.
const SHARED: u8 = 3;
/// Most calls of the trunk at a time.
const CALLS: u32 = 20;

/// The kernel's map of verified sources.
#[derive(Default)]
struct Map(HashMap<u32, VerifiedBucket>);

impl VerifiedMap for Map {
    fn read(&self, index: u32) -> io::Result<VerifiedBucket> {
        Ok(self.0.get(&index).copied().unwrap_or_default())
    }

    fn write(&mut self, index: u32, bucket: &VerifiedBucket) -> io::Result<()> {
        self.0.insert(index, *bucket);
        Ok(())
    }
}

struct Nobody;

impl Sources for Nobody {
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

impl Standings for Nobody {
    fn standing(&self, _: &Addr) -> Standing {
        Standing::Unknown
    }

    fn is_blocked(&self, _: &Addr) -> bool {
        false
    }
}

/// What a message is made into before it is sent.
#[derive(Clone, Copy, Debug)]
enum Spoilt {
    /// Nothing.
    Not,
    /// A byte of it is another.
    At(prop::sample::Index, u8),
    /// It ends early.
    Cut(prop::sample::Index),
    /// It speaks of the calls, requests and nonces that others speak of.
    Shared(u8),
}

fn spoilt() -> impl Strategy<Value = Spoilt> {
    prop_oneof![
        2 => Just(Spoilt::Not),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Spoilt::At(at, byte)),
        1 => any::<prop::sample::Index>().prop_map(Spoilt::Cut),
        4 => (0..2 * SHARED).prop_map(Spoilt::Shared),
    ]
}

/// Challenge and credentials, which make no sense in one message.
fn digest(n: u8, source: u8) -> String {
    let nonce = format!("Digest realm=\"e.example\",nonce=\"n{n}of{source}\"");
    format!("WWW-Authenticate: {nonce}\r\nAuthorization: {nonce},username=\"10{n}\",uri=\"sip:e\",response=\"{n}\"")
}

impl Spoilt {
    fn of(self, text: &str, source: u8) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        match self {
            Self::Not => {}
            Self::At(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Shared(n) => {
                let first = text.trim_start();
                let registers = n >= SHARED;
                let shared = |(at, line): (usize, &str)| {
                    let name = line.split(':').next().unwrap_or_default().trim().to_lowercase();
                    match name.as_str() {
                        _ if at == 0 && registers && line.starts_with("SIP/2.0 ") => "SIP/2.0 401 x".to_owned(),
                        _ if at == 0 && registers => "REGISTER sip:e.example SIP/2.0".to_owned(),
                        "cseq" if registers => format!("CSeq: {n} REGISTER"),
                        "call-id" | "i" => format!("Call-ID: shared{n}"),
                        "from" | "f" => format!("From: <sip:100@e.example>;tag=from{n}"),
                        "to" | "t" if n > 0 => format!("To: <sip:200@e.example>;tag=to{n}"),
                        "via" | "v" => {
                            format!("Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{n};rport\r\n{}", digest(n, source))
                        }
                        _ => line.to_owned(),
                    }
                };
                bytes = first.split("\r\n").enumerate().map(shared).collect::<Vec<_>>().join("\r\n").into_bytes();
            }
        }
        bytes
    }
}

/// Whatever comes and goes, in whatever order, nothing panics, and nothing grows beyond its limit.
#[test]
fn random_messages_through_the_policy_neither_panic_nor_pile_up() {
    let trunk = Gateway {
        name: "trunk".into(),
        from: vec!["198.51.100.0/31".parse().unwrap()],
        tier: Some(Size::Small),
        max_calls: Some(CALLS),
        ..Gateway::default()
    };
    let mut told = Config { gateway: vec![trunk], ..Config::default() };
    (told.registration.retry, told.records.file) = (1, "/nowhere".into());
    (told.enumeration.not_found, told.enumeration.statuses) = (2, (200..=699).collect());
    let (secret, fragments, pressed) = (Secret::default(), Reassembly::default(), Pressed::default());
    let rules = Ruleset::of(&told, &vos_engine::xdp::compile(&told, 4_000_000, config()), &Ruleset::default());
    let suspensions = Arc::new(Suspensions::new(secret.clone()));
    let registrations = Registrations::new(told.registration.clone(), secret.clone(), Arc::clone(&suspensions));
    let bindings = Arc::<Bindings>::default();
    let registrar = Registrar::new(secret.clone(), Arc::clone(&bindings));
    let policy = Policy::new(Verified::open(Map::default(), 60).unwrap(), registrations, 7);
    let context = Context {
        rules: &rules,
        sources: &Nobody,
        fragments: &fragments,
        secret: &secret,
        relay: Way::Frames,
        shield: None,
        pressed: &pressed,
        suspensions: &suspensions,
    };
    let enumeration = Enumeration::new(told.enumeration.clone(), secret.clone());
    let blacklist = Blacklist::new(told.blacklist.clone(), secret.clone());
    let offences = (enumeration, blacklist, registrar);
    let state =
        std::cell::RefCell::new((policy, offences, Scratch::default(), Watch::default(), 1_000 * SECOND, [0u64; 6]));
    let mut runner = TestRunner::new_with_rng(
        Cases { cases: CASES, failure_persistence: None, ..Cases::default() },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let steps = (message(), spoilt(), 0..SOURCES, message(), spoilt(), 0u64..SECOND / 2);
    let run = |((_, comes), spoils, source, (_, goes), spoils_too, later): (
        (_, String),
        Spoilt,
        u8,
        (_, String),
        Spoilt,
        u64,
    )| {
        let (policy, (enumeration, blacklist, registrar), scratch, watch, now, counted) = &mut *state.borrow_mut();
        *now += later;
        let clock = Clock::at(*now + 1_000_000 * SECOND, *now);
        let address = [198, 51, 100, source];
        let frame = Packet::v4(address).sip(&spoils.of(&comes, source)).build();
        let mut room = frame.clone();
        room.resize(frame.len() + 2_048, 0);
        let outcome = pipeline::handle(&mut room, frame.len(), scratch, &context, || *now);
        if let Some(ack) = outcome.ack {
            policy.ack(&ack, *now);
            counted[0] += 1;
        }
        for attempt in scratch.attempts.drain() {
            policy.registrations.attempted(attempt, *now);
            counted[1] += 1;
        }
        if let Some(registering) = scratch.attempts.take_registering() {
            registrar.asked(registering, *now);
        }
        let mut index: Index = Index::new();
        let goes = spoils_too.of(&goes, source);
        let said = index.parse(&goes, Mode::Lenient).ok();
        let to = End { addr: Addr::v4(address), port: 5061 };
        match said.as_ref().and_then(|message| Said::of(message, &to.addr, &secret)) {
            Some(Said::Answer(answer)) => {
                if let Some(granted) =
                    said.filter(|_| answer.grants()).and_then(|said| Granted::of(&said, &to, &secret))
                {
                    registrar.granted(&granted, 1, *now);
                }
                policy.answer(&answer, *now);
                rules.gateways.answered(&answer.of_call(), *now);
                counted[2] += u64::from(policy.registrations.answered(&answer, clock, |_| false).is_some());
                if let Some(Proof::Accepted(account)) = policy.registrations.take_proof() {
                    blacklist.registered(&answer.to, account.as_bytes(), *now);
                }
                let asked = enumeration.answered(&answer, &rules.slowed, clock, |_| false);
                counted[4] += u64::from(matches!(asked, Some(Asked::TooOften(_))));
                // whatever it is, it comes from nowhere
                let evidence = Evidence::ALL[usize::from(source) % EVIDENCE];
                counted[5] += u64::from(blacklist.offended(evidence, &answer.to, clock, &Nobody).is_some());
            }
            Some(Said::Bye(bye)) => rules.gateways.bye_left(bye.from, bye.to, *now),
            None => {}
        }
        policy.expire(*now);
        policy.registrations.expire(*now);
        enumeration.expire(&rules.slowed, *now);
        registrar.expire(*now);
        watch.look(&rules.gateways, *now, |_| {});
        counted[3] += u64::from(outcome.action == pipeline::Action::Drop(Reason::Suspended));
        let calls = rules.gateways.views(*now)[0].calls;
        prop_assert!(calls <= u64::from(CALLS).try_into().unwrap(), "{calls} calls");
        prop_assert!(suspensions.len() <= SUSPENSIONS_MAX && rules.slowed.len() <= SLOWED_MAX);
        Ok(())
    };
    runner.run(&steps, run).unwrap();
    let (_, (_, _, registrar), _, _, now, [acks, attempts, suspended, refused, slowed, blocked]) = state.into_inner();
    println!(
        "{acks} ACKs, {attempts} credentials, {suspended} suspensions, {refused} refused, {slowed} slowed, {blocked} blocked"
    );
    assert!(acks > 10 && attempts > 100 && suspended > 0 && slowed > 0 && blocked > 0, "the messages do not get there");
    // What nobody ends, time ends.
    let (mut watch, later) = (Watch::default(), now + 3 * 3_600 * SECOND);
    for n in 0..10_000 {
        watch.look(&rules.gateways, later + n * SECOND, |_| {});
    }
    assert_eq!(rules.gateways.views(later)[0].calls, 0);
    registrar.expire(now + 8 * 86_400 * SECOND);
    assert_eq!(bindings.live(), 0);
}
