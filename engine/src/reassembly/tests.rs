//! Fragments go through XDP's verdict and the engine's, as they would; what the kernel could make of those that were
//! relayed is put together by other means, and judged.

use std::collections::HashMap;

use proptest::prelude::*;
use sip_parse::Mode;
use vos_common::cases::{CALLER_V4, CALLER_V6, NOW, Packet, VERIFIED_V4, World};
use vos_common::packet::flow;
use vos_common::rule::{Addr, RuleKind};
use vos_common::verdict::{self, Tables, judge};

use super::*;
use crate::pipeline::{self, Action, Context, Scratch, Way};
use crate::policy::{Secret, Sources, Suspensions};
use crate::pressure::Pressed;
use crate::ruleset::Ruleset;

/// Past the kernel.
mod datagrams;

const SECOND: u64 = 1_000_000_000;
/// `net.ipv4.ipfrag_time` and `net.ipv6.ip6frag_time`, ns.
const KEPT: [u64; 2] = [30 * SECOND, 60 * SECOND];

impl Sources for World {
    fn is_known(&self, src: &Addr) -> bool {
        let rule = self.rule(src).at(self.now);
        rule == RuleKind::Allowed as u32
            || rule == RuleKind::Trusted as u32
            || self.verified(source_key(src, self.config.seed), self.now)
    }

    fn is_named(&self, src: &Addr) -> bool {
        self.is_known(src)
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

/// A fragment as it is cut.
#[derive(Clone, Debug)]
struct Cut {
    src: Vec<u8>,
    id: u32,
    offset: usize,
    more: bool,
    /// Length in the UDP header.
    total: u16,
    bytes: Vec<u8>,
}

fn packet(src: &[u8]) -> Packet {
    match <[u8; 4]>::try_from(src) {
        Ok(v4) => Packet::v4(v4),
        Err(_) => Packet::v6(src.try_into().expect("an address has 4 or 16 bytes")),
    }
}

impl Cut {
    fn frame(&self) -> Vec<u8> {
        let packet = packet(&self.src).raw(17, &self.bytes).udp_length(self.total);
        packet.fragment(self.offset as u16, self.more, self.id).build()
    }
}

/// A SIP message as a UDP datagram, in pieces that end at `ends` (in units of eight bytes).
fn cut(src: &[u8], id: u32, payload: &[u8], ends: &[usize]) -> Vec<Cut> {
    let total = payload.len() + 8;
    let datagram = [&[0x13, 0xc5, 0x13, 0xc4, (total >> 8) as u8, total as u8, 0, 0], payload].concat();
    let mut ends: Vec<usize> = ends.iter().map(|end| end * 8).filter(|end| *end > 0 && *end < total).collect();
    ends.extend([0, total]);
    ends.sort_unstable();
    ends.dedup();
    let piece = |w: &[usize]| Cut {
        src: src.to_vec(),
        id,
        offset: w[0],
        more: w[1] != total,
        total: total as u16,
        bytes: datagram[w[0]..w[1]].to_vec(),
    };
    ends.windows(2).map(piece).collect()
}

/// What the kernel holds of one name.
type Held = Vec<(u64, Cut)>;

/// XDP, engine and kernel.
struct Site {
    world: World,
    rules: Ruleset,
    fragments: Reassembly,
    secret: Secret,
    scratch: Scratch,
    kernel: HashMap<(Vec<u8>, u32), Held>,
    /// Datagrams that the kernel could complete.
    delivered: Vec<Vec<u8>>,
}

impl Site {
    fn new() -> Self {
        let mut world = World::at(NOW);
        // Rates are XDP's alone.
        let rates = [
            Reason::RateRegister,
            Reason::RateInvite,
            Reason::RateOptions,
            Reason::RateSource,
            Reason::RatePrefix,
            Reason::RateGlobal,
        ];
        world.config.enforce |= Reason::UnknownMethod.bit();
        world.config.enforce &= !rates.iter().map(|reason| reason.bit()).sum::<u64>();
        let rules = Ruleset {
            enforce: world.config.enforce,
            monitor: 0,
            silent: world.config.silent,
            signatures: world.signatures.clone(),
            domains: ["example.com"].iter().collect(),
            ..Ruleset::default()
        };
        Self {
            world,
            rules,
            fragments: Reassembly::default(),
            secret: Secret::default(),
            scratch: Scratch::default(),
            kernel: HashMap::new(),
            delivered: Vec::new(),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.world.now += seconds * SECOND;
    }

    /// A fragment arrives: why it is dropped, if it is.
    fn arrives(&mut self, cut: &Cut) -> Option<Reason> {
        let mut frame = cut.frame();
        let verdict = judge(&frame.as_slice(), &self.world).verdict;
        match verdict.action {
            verdict::Action::Drop => return Some(verdict.reason),
            verdict::Action::Pass => panic!("XDP leaves a fragment to the kernel: {:?}", verdict.reason),
            verdict::Action::Redirect => {}
        }
        let context = Context {
            rules: &self.rules,
            sources: &self.world,
            fragments: &self.fragments,
            secret: &self.secret,
            relay: Way::Frames,
            shield: None,
            pressed: &Pressed::default(),
            suspensions: &Suspensions::new(Secret::default()),
        };
        let now = self.world.now;
        if let Action::Drop(reason) =
            pipeline::handle(&mut frame, usize::MAX, &mut self.scratch, &context, || now).action
        {
            return Some(reason);
        }
        let held = self.kernel.entry((cut.src.clone(), cut.id)).or_default();
        held.push((now, cut.clone()));
        let life = KEPT[usize::from(cut.src.len() == 16)];
        held.retain(|(at, _)| now - at < life);
        let mut wholes = Vec::new();
        complete(held, &[], 0, &mut wholes);
        self.delivered.extend(wholes.iter().cloned());
        for datagram in wholes {
            self.check(&cut.src, &datagram);
        }
        None
    }

    /// Would the whole have been dropped?
    fn check(&mut self, src: &[u8], datagram: &[u8]) {
        let length = u16::from_be_bytes([datagram[4], datagram[5]]);
        let frame = packet(src).raw(17, datagram).udp_length(length).build();
        let verdict = judge(&frame.as_slice(), &self.world).verdict;
        let text = String::from_utf8_lossy(datagram);
        assert_ne!(verdict.action, verdict::Action::Drop, "{:?}: {text}", verdict.reason);
        let source = flow(&frame.as_slice()).expect("a frame of our own").src;
        if let Ok(message) = self.scratch.index.parse(&datagram[8..], Mode::Lenient) {
            let foreign = self.rules.domains.refuse(&message) && !self.world.is_known(&source);
            assert!(!foreign, "foreign: {text}");
        }
    }

    fn all_arrive(&mut self, cuts: &[Cut]) -> Vec<Option<Reason>> {
        cuts.iter().map(|cut| self.arrives(cut)).collect()
    }

    /// Fragments of `n` datagrams that nobody completes, each of another source.
    fn flood(&mut self, n: u32, later: bool, salt: u32) {
        for i in 0..n {
            let [a, b, ..] = (i + salt).to_be_bytes().map(|byte| byte ^ 0x5a);
            let [.., c, d] = (i.wrapping_mul(7) + salt).to_be_bytes();
            let cuts = cut(&[20 + a % 80, b, c, d.max(1)], i + salt, &sip("INVITE", "", "example.com"), &[20]);
            self.arrives(&cuts[usize::from(later)]);
        }
    }
}

/// Every datagram that some of the fragments add up to: whichever of them the kernel kept.
fn complete(held: &Held, so_far: &[u8], depth: usize, wholes: &mut Vec<Vec<u8>>) {
    if depth > 12 {
        return;
    }
    let mut tried: Vec<&Cut> = Vec::new();
    for (_, cut) in held.iter().filter(|(_, cut)| cut.offset == so_far.len()) {
        if tried.iter().any(|other| other.bytes == cut.bytes && other.more == cut.more) {
            continue;
        }
        tried.push(cut);
        // all but the last end at a multiple of eight
        let length = if cut.more { cut.bytes.len() & !7 } else { cut.bytes.len() };
        let bytes = [so_far, &cut.bytes[..length]].concat();
        if cut.more && length > 0 {
            complete(held, &bytes, depth + 1, wholes);
        } else if !cut.more {
            wholes.push(bytes);
        }
    }
}

fn sip(method: &str, header: &str, domain: &str) -> Vec<u8> {
    format!(
        "{method} sip:200@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.20;branch=z9hG4bK1\r\n{header}\
         From: <sip:100@example.com>;tag=1\r\nTo: <sip:200@{domain}>\r\nCall-ID: 1@x\r\nCSeq: 1 {method}\r\n\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

const SCANNER: &str = "User-Agent: friendly-scanner\r\n";
/// As long as [`SCANNER`], so that fragments of both fit together.
const PHONE: &str = "User-Agent: ordinary-phone 1\r\n";

/// Two pieces whose cut parts the scanner's name.
fn scanner(src: &[u8], id: u32) -> Vec<Cut> {
    cut(src, id, &sip("INVITE", SCANNER, "example.com"), &[14])
}

#[test]
fn the_cut_parts_the_scanners_name() {
    assert_eq!(SCANNER.len(), PHONE.len());
    let cuts = scanner(&CALLER_V4, 7);
    let has = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(cuts.len() == 2 && cuts.iter().all(|cut| !has(&cut.bytes, b"friendly-scanner")));
    assert!(has(&cuts[0].bytes, b"friendly"));
}

#[test]
fn what_completes_a_scanners_request_is_kept_back_in_either_order() {
    for src in [&CALLER_V4[..], &CALLER_V6] {
        let (mut site, mut cuts) = (Site::new(), scanner(src, 7));
        assert_eq!(site.all_arrive(&cuts), [None, Some(Reason::Scanner)]);
        // and again, as often as it comes
        assert_eq!(site.all_arrive(&cuts), [Some(Reason::Scanner), Some(Reason::Scanner)]);
        cuts.reverse();
        let mut site = Site::new();
        assert_eq!(site.all_arrive(&cuts), [None, Some(Reason::Scanner)]);
        assert_eq!(site.arrives(&cuts[1]), Some(Reason::Scanner));
    }
}

#[test]
fn known_sources_are_not_scanners_and_monitored_rules_only_count() {
    let mut site = Site::new();
    assert_eq!(site.all_arrive(&scanner(&VERIFIED_V4, 7)), [None, None]);
    assert_eq!(site.delivered.len(), 1);

    let mut site = Site::new();
    site.rules.monitor = Reason::Scanner.bit();
    site.rules.enforce &= !Reason::Scanner.bit();
    (site.world.config.monitor, site.world.config.enforce) = (site.rules.monitor, site.rules.enforce);
    let cuts = scanner(&CALLER_V4, 7);
    assert_eq!(site.arrives(&cuts[0]), None);
    let context = Context {
        rules: &site.rules,
        sources: &site.world,
        fragments: &site.fragments,
        secret: &site.secret,
        relay: Way::Frames,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    let outcome = pipeline::handle(&mut cuts[1].frame(), usize::MAX, &mut site.scratch, &context, || NOW);
    assert!(matches!(outcome.action, Action::Relay(_)));
    assert_eq!(outcome.would, Some(Reason::Scanner));
}

#[test]
fn a_request_to_a_foreign_domain_in_pieces_is_one() {
    let mut site = Site::new();
    let cuts = cut(&CALLER_V4, 7, &sip("INVITE", "", "192.0.2.1"), &[18]);
    assert_eq!(site.all_arrive(&cuts), [None, Some(Reason::ForeignDomain)]);
}

#[test]
fn options_in_pieces_are_options() {
    let mut site = Site::new();
    let cuts = cut(&CALLER_V4, 7, &sip("OPTIONS", "", "example.com"), &[18, 25]);
    // the first by XDP, which sees the method; the others are nothing without it
    assert_eq!(site.all_arrive(&cuts), [Some(Reason::Stealth), None, None]);
    // where XDP does not insist on a whole start line, the engine sees what it was
    let mut site = Site::new();
    site.world.config.enforce &= !Reason::FragmentHead.bit() & !Reason::Malformed.bit();
    let cuts = cut(&CALLER_V4, 7, &sip("OPTIONS", "", "example.com"), &[5, 6, 18]);
    assert_eq!(site.all_arrive(&cuts), [None, None, None, Some(Reason::Stealth)]);
}

/// Extension headers behind the fragment header are part of what is cut.
#[test]
fn a_scanner_behind_destination_options_is_one() {
    let payload = sip("INVITE", SCANNER, "example.com");
    let total = payload.len() as u16 + 8;
    let udp = [&[0x13, 0xc5, 0x13, 0xc4], &total.to_be_bytes()[..], &[0, 0], &payload].concat();
    let datagram = [&[17, 0, 1, 4, 0, 0, 0, 0], &udp[..]].concat();
    let mut site = Site::new();
    let context = Context {
        rules: &site.rules,
        sources: &site.world,
        fragments: &site.fragments,
        secret: &site.secret,
        relay: Way::Frames,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    let mut actions = Vec::new();
    for (from, to, proto) in [(0, 120, 60), (120, datagram.len(), 17)] {
        let piece = Packet::v6(CALLER_V6).raw(proto, &datagram[from..to]);
        let mut frame = piece.fragment(from as u16, to != datagram.len(), 9).build();
        assert_eq!(judge(&frame.as_slice(), &site.world).verdict.action, verdict::Action::Redirect);
        actions.push(pipeline::handle(&mut frame, usize::MAX, &mut site.scratch, &context, || NOW).action);
    }
    assert!(matches!(actions[..], [Action::Relay(_), Action::Drop(Reason::Scanner)]), "{actions:?}");
}

/// The kernel waits longer than the view lasts.
#[test]
fn waiting_until_the_view_is_over_does_not_help() {
    for late in [6, 29] {
        let (mut site, cuts) = (Site::new(), scanner(&CALLER_V4, 7));
        assert_eq!(site.arrives(&cuts[0]), None);
        site.pass(late);
        assert_eq!(site.arrives(&cuts[1]), Some(Reason::FragmentOverflow), "after {late} s");
        let mut site = Site::new();
        assert_eq!(site.arrives(&cuts[1]), None);
        site.pass(late);
        assert_eq!(site.arrives(&cuts[0]), Some(Reason::FragmentOverflow), "after {late} s");
    }
    // but the name is free again once the kernel has forgotten
    let phone = cut(&CALLER_V4, 7, &sip("INVITE", PHONE, "example.com"), &[14]);
    let mut site = Site::new();
    assert_eq!(site.arrives(&phone[0]), None);
    site.pass(32);
    assert_eq!(site.all_arrive(&phone), [None, None]);
}

/// Halves of harmless datagrams do not add up to a scanner: if the kernel refused the first half of one (for its
/// checksum, its options, a rule of the site), it still holds the second.
#[test]
fn halves_of_two_datagrams_of_one_name_are_not_mixed() {
    let harmless = cut(&CALLER_V4, 7, &sip("INVITE", PHONE, "example.com"), &[14]);
    let mut site = Site::new();
    assert_eq!(site.all_arrive(&harmless), [None, None]);
    let evil = scanner(&CALLER_V4, 7);
    assert_eq!(site.all_arrive(&evil), [Some(Reason::Overlap), Some(Reason::Overlap)]);
    // a known source may use its identifications again at once
    let (mut site, cuts) = (Site::new(), cut(&VERIFIED_V4, 7, &sip("INVITE", PHONE, "example.com"), &[14]));
    assert_eq!(site.all_arrive(&cuts), [None, None]);
    assert_eq!(site.all_arrive(&cuts), [None, None]);
}

#[test]
fn a_flood_shuts_out_and_lets_nothing_in() {
    for later in [false, true] {
        let (mut site, cuts) = (Site::new(), scanner(&CALLER_V4, 7));
        site.flood(2_000, later, 0);
        let got = [site.arrives(&cuts[1]), site.arrives(&cuts[0])];
        assert!(got.iter().any(Option::is_some), "{later}: {got:?}");
        // also when the flood is over, and the second half of before is still there
        site.pass(10);
        assert!(site.arrives(&cuts[0]).is_some(), "{later}");
        // known sources need no view
        let known = cut(&VERIFIED_V4, 9, &sip("INVITE", PHONE, "example.com"), &[14]);
        assert_eq!(site.all_arrive(&known), [None, None], "{later}");
    }
    // first fragments that find no room
    let mut site = Site::new();
    site.flood(DATAGRAMS as u32, false, 0);
    let phone = cut(&CALLER_V4, 7, &sip("INVITE", PHONE, "example.com"), &[14]);
    assert_eq!(site.arrives(&phone[0]), Some(Reason::FragmentOverflow));
    assert_eq!(site.arrives(&phone[1]), None, "it may be anything");
    // later ones leave room for them
    let mut site = Site::new();
    site.flood(DATAGRAMS as u32, true, 0);
    assert_eq!(site.all_arrive(&phone), [None, None]);
    // and where no rule is enforced, nothing is dropped
    let mut site = Site::new();
    (site.rules.enforce, site.world.config.enforce) = (0, 0);
    site.flood(DATAGRAMS as u32, false, 0);
    assert_eq!(site.all_arrive(&phone), [None, None]);
}

#[test]
fn one_source_does_not_take_all_the_room() {
    let mut site = Site::new();
    for id in 0..2 * DATAGRAMS as u32 {
        let first = &cut(&[100, 1, 1, 1], id, &sip("INVITE", PHONE, "example.com"), &[14])[0];
        let expect = (id >= PER_SOURCE as u32).then_some(Reason::FragmentOverflow);
        assert_eq!(site.arrives(first), expect);
    }
    let phone = cut(&CALLER_V4, 7, &sip("INVITE", PHONE, "example.com"), &[14]);
    assert_eq!(site.all_arrive(&phone), [None, None]);
}

#[test]
fn what_cannot_be_followed_is_not_completed() {
    // too long
    let long = [&sip("INVITE", PHONE, "example.com")[..], &[b'x'; DATAGRAM_MAX]].concat();
    let ends: Vec<usize> = (1..13).map(|n| n * 175).collect();
    let mut site = Site::new();
    let got = site.all_arrive(&cut(&CALLER_V4, 7, &long, &ends));
    assert_eq!(got.last(), Some(&Some(Reason::FragmentOverflow)));
    assert!(site.delivered.is_empty());
    // what is no SIP passes whole, however long
    let mut site = Site::new();
    let others = &cut(&CALLER_V4, 7, &long, &ends)[1..];
    assert!(site.all_arrive(others).iter().all(Option::is_none));
    // too scattered: every other piece first
    let every: Vec<usize> = (15..60).collect();
    let cuts = cut(&CALLER_V4, 8, &sip("INVITE", &PHONE.repeat(8), "example.com"), &every);
    let scattered: Vec<Cut> = cuts.iter().step_by(2).chain(cuts.iter().skip(1).step_by(2)).cloned().collect();
    let mut site = Site::new();
    let got = site.all_arrive(&scattered);
    assert!(got[..16].iter().all(Option::is_none));
    assert!(got[16..].iter().all(|reason| *reason == Some(Reason::FragmentOverflow)), "{got:?}");
}

#[test]
fn an_overlap_is_refused_and_so_is_what_follows() {
    let mut site = Site::new();
    let phone = cut(&CALLER_V4, 7, &sip("INVITE", PHONE, "example.com"), &[15, 20]);
    let evil = cut(&CALLER_V4, 7, &sip("INVITE", SCANNER, "example.com"), &[14, 20]);
    assert_eq!(site.arrives(&phone[0]), None);
    assert_eq!(site.arrives(&evil[1]), Some(Reason::Overlap));
    assert_eq!(site.arrives(&phone[1]), Some(Reason::Overlap));
    // beyond the end that the last fragment told, or with another end
    let mut site = Site::new();
    assert_eq!(site.arrives(&phone[2]), None);
    let beyond = Cut { offset: 2_000, more: true, ..phone[1].clone() };
    assert_eq!(site.arrives(&beyond), Some(Reason::Overlap));
}

/// A first IPv6 fragment says what its bytes are; the same bytes with another word for it are another datagram.
#[test]
fn the_same_bytes_of_another_protocol_are_refused() {
    let mut site = Site::new();
    // read as destination options, the UDP header is an extension header of 16 bytes, with another UDP header behind it
    let total = 400u16.to_be_bytes();
    let inner = sip("INVITE", SCANNER, "example.com");
    let options = [&[17, 1, 0x13, 0xc4], &total[..], &[0, 0], &[1, 6, 0, 0, 0, 0, 0, 0], &[0x13, 0xc5, 0x13, 0xc4]];
    let bytes = [&options.concat()[..], &[1, 0, 0, 0], &inner[..104]].concat();
    let context = Context {
        rules: &site.rules,
        sources: &site.world,
        fragments: &site.fragments,
        secret: &site.secret,
        relay: Way::Frames,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    let mut action = |proto| {
        let mut frame = Packet::v6(CALLER_V6).raw(proto, &bytes).udp_length(400).fragment(0, true, 9).build();
        pipeline::handle(&mut frame, usize::MAX, &mut site.scratch, &context, || NOW).action
    };
    assert!(matches!(action(17), Action::Relay(_)));
    assert!(matches!(action(17), Action::Relay(_)), "the network may double it");
    assert_eq!(action(60), Action::Drop(Reason::Overlap));
}

/// What an attacker may do with one datagram.
fn datagram() -> impl Strategy<Value = Vec<Cut>> {
    let source = prop_oneof![Just(CALLER_V4.to_vec()), Just(CALLER_V6.to_vec()), Just(vec![100, 1, 1, 1])];
    let message = prop_oneof![
        Just(sip("INVITE", PHONE, "example.com")),
        Just(sip("INVITE", SCANNER, "example.com")),
        Just(sip("OPTIONS", PHONE, "example.com")),
        Just(sip("INVITE", PHONE, "foreign.org")),
        Just(sip("MESSAGE", SCANNER, "example.com")),
    ];
    // Cuts near each other, so that pieces of different datagrams fit together.
    let ends = proptest::collection::vec(prop_oneof![3 => 12usize..18, 1 => 1usize..30], 0..4);
    (source, 7u32..9, message, ends).prop_map(|(src, id, message, ends)| cut(&src, id, &message, &ends))
}

#[derive(Clone, Debug)]
enum Event {
    Arrives(prop::sample::Index, prop::sample::Index),
    All(prop::sample::Index),
    Reversed(prop::sample::Index),
    Flood(u32, bool, u32),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(d, f)| Event::Arrives(d, f)),
        4 => any::<prop::sample::Index>().prop_map(Event::All),
        4 => any::<prop::sample::Index>().prop_map(Event::Reversed),
        1 => (1u32..150, any::<bool>(), any::<u32>().prop_map(|n| n >> 8)).prop_map(|(n, l, s)| Event::Flood(n, l, s)),
        2 => (1u64..40).prop_map(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any fragments of any datagrams in any order, with floods and waits in between: whatever the kernel could put
    /// together is checked as it becomes possible.
    #[test]
    fn nothing_that_the_kernel_could_complete_would_have_been_dropped(
        datagrams in proptest::collection::vec(datagram(), 2..6),
        events in proptest::collection::vec(event(), 1..25),
    ) {
        let mut site = Site::new();
        for event in events {
            match event {
                Event::Arrives(datagram, fragment) => {
                    site.arrives(fragment.get::<Cut>(datagram.get::<Vec<Cut>>(&datagrams)));
                }
                Event::All(datagram) => {
                    site.all_arrive(datagram.get::<Vec<Cut>>(&datagrams));
                }
                Event::Reversed(datagram) => {
                    let cuts: Vec<Cut> = datagram.get::<Vec<Cut>>(&datagrams).iter().rev().cloned().collect();
                    site.all_arrive(&cuts);
                }
                Event::Flood(n, later, salt) => site.flood(n, later, salt),
                Event::Pass(seconds) => site.pass(seconds),
            }
        }
    }

    /// Cut anywhere, in any order, some pieces twice, others in between: without a flood a good datagram arrives.
    #[test]
    fn a_good_datagram_is_complete_and_seen_as_a_whole(
        ends in proptest::collection::vec(proptest::collection::vec(8usize..28, 1..8), 1..PER_SOURCE),
        order in any::<u64>(),
        v6: bool,
    ) {
        let mut site = Site::new();
        let src = if v6 { &CALLER_V6[..] } else { &CALLER_V4 };
        let message = sip("INVITE", PHONE, "example.com");
        let datagrams: Vec<Vec<Cut>> = (1u32..).zip(&ends).map(|(id, ends)| cut(src, id, &message, ends)).collect();
        // an order by hash; two pieces come twice, before what they belong to is complete
        let mut pieces: Vec<&Cut> = datagrams.iter().flatten().collect();
        pieces.sort_by_key(|cut| mix(order, mix(u64::from(cut.id), cut.offset as u64)));
        pieces.insert(0, pieces[0]);
        for cut in pieces {
            // A datagram's first fragment must hold the start line.
            prop_assert_eq!(site.arrives(cut), None);
        }
        prop_assert_eq!(site.delivered.len(), datagrams.len());
        let expect = &message[..];
        prop_assert!(site.delivered.iter().all(|datagram| &datagram[8..] == expect));
    }
}
