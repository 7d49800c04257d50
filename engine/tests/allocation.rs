//! The loop allocates nothing, counted by the allocator: `pipeline::handle` over the verdict table and over SIP, answers
//! among it, the calls of a trunk, a source that is slowed, and a unix socket's datagrams both ways.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use sip_parse::{Index, Mode};
use vos_common::cases::{self, Packet};
use vos_common::rate::Limit;
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_engine::config::{Answer, Gateway};
use vos_engine::control::clock::Clock;
use vos_engine::pipeline::{self, Action, Context, Emergency, Kind, Outcome, Scratch, Way};
use vos_engine::policy::gateways::{Answered, Asked};
use vos_engine::policy::{self, Enumeration, Gateways, Secret, Sources, Suspensions};
use vos_engine::pressure::{Gauge, Pressed, UdpSocket};
use vos_engine::reassembly::Reassembly;
use vos_engine::relay::{Datagram, Unix};
use vos_engine::ruleset::Ruleset;
use vos_engine::shield::Shield;
use vos_engine::transmit::End;

struct Counting;

thread_local! {
    /// Allocations of this thread: the test harness has threads of its own.
    static MADE: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    MADE.with(|made| made.set(made.get() + 1));
}

// SAFETY: everything is handed on to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The verdict table's frames, SIP of all common methods over both families, and a request in two fragments.
fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<_> =
        cases::all().into_iter().flat_map(|case| [case.before, vec![case.frame]].concat()).collect();
    for method in ["REGISTER", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "SUBSCRIBE", "MESSAGE"] {
        let request = cases::request(method);
        frames.push(Packet::v4(cases::CALLER_V4).sip(&request).build());
        frames.push(Packet::v6(cases::CALLER_V6).sip(&request).build());
        let headers = "X-Many: 1\r\n".repeat(200) + "\r\n";
        frames.push(
            Packet::v4(cases::CALLER_V4).sip(&[&request[..request.len() - 2], headers.as_bytes()].concat()).build(),
        );
    }
    let long = [&cases::request("INVITE")[..], &[b'x'; 2_000]].concat();
    let whole = Packet::v4(cases::CALLER_V4).sip(&long).build();
    let l4 = whole[34..].to_vec();
    frames.push(
        Packet::v4(cases::CALLER_V4).raw(17, &l4[..1_400]).udp_length(l4.len() as u16).fragment(0, true, 7).build(),
    );
    frames.push(Packet::v4(cases::CALLER_V4).raw(17, &l4[1_400..]).fragment(1_400, false, 7).build());
    frames
}

/// Nobody is known, but one is named.
struct Strangers;

/// Allowed.
const PEER: [u8; 4] = [198, 51, 100, 77];

impl Sources for Strangers {
    fn is_known(&self, _: &Addr) -> bool {
        false
    }

    fn is_named(&self, src: &Addr) -> bool {
        *src == Addr::v4(PEER)
    }

    fn is_trusted(&self, _: &Addr) -> bool {
        false
    }
}

/// Requests of [`PEER`], keep-alives among them.
fn asked() -> Vec<Vec<u8>> {
    let request = |method: &str, uri: &str| {
        let text = String::from_utf8(cases::request(method)).expect("text");
        Packet::v4(PEER).sip(text.replacen("sip:200@example.com", uri, 1).as_bytes()).build()
    };
    let [options, invite] = [request("OPTIONS", "sip:example.com"), request("INVITE", "sip:200@example.com")];
    vec![options, invite, Packet::v4(PEER).sip(b"\r\n\r\n").build()]
}

#[test]
fn no_packet_makes_the_pipeline_allocate() {
    let (mut scratch, fragments, secret) = (Scratch::default(), Reassembly::default(), Secret::default());
    // With rules that ask for the domain and the source, and judge what came in fragments.
    let domains = ["example.com"].iter().collect();
    let emergency = Emergency::of(&["112".to_owned()]);
    let briefs = true;
    let rules = Ruleset { enforce: Reason::ForeignDomain.bit(), domains, briefs, emergency, ..Ruleset::default() };
    // Calls are written down: of an INVITE there is a copy, and of nothing else.
    let rules = Ruleset { records: true, ..rules };
    // A softswitch that is behind, and has copies already.
    let (shield, mut gauge) = (Shield::default(), Gauge::default());
    let local = (std::net::Ipv4Addr::UNSPECIFIED, 5060).into();
    gauge.look(vec![UdpSocket { local, cookie: 1, inode: 0, queued: 9, buffer: 10, dropped: 0 }]);
    let pressed = gauge.pressed();
    let context = Context {
        rules: &rules,
        sources: &Strangers,
        fragments: &fragments,
        secret: &secret,
        relay: Way::Frames,
        shield: Some(&shield),
        pressed: &pressed,
        suspensions: &Suspensions::new(Secret::default()),
    };
    let mut frames = frames();
    let (mut kinds, mut relayed, mut spared) = ([0u64; Kind::ALL.len()], 0u64, [0u64; 2]);
    let probe = MADE.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(MADE.get(), probe + 1, "the allocator counts");
    let (mut made, mut copies, mut of_copies) = (0, 0u64, 0);
    for round in 0..20u64 {
        let before = MADE.get();
        for frame in &mut frames {
            // a minute a round: what lay in view of the last one is over
            let now = || (round + 1) * 60_000_000_000;
            let so_far = MADE.get();
            let Outcome { action, kind, .. } = pipeline::handle(frame, usize::MAX, &mut scratch, &context, now);
            if scratch.invited.take().is_some() {
                copies += u64::from(round > 0);
                of_copies += if round == 0 { 0 } else { MADE.get() - so_far };
            }
            kinds[kind as usize] += 1;
            relayed += u64::from(matches!(action, Action::Relay(_)));
            spared[0] += u64::from(action == Action::Drop(Reason::GivenUp));
            spared[1] += u64::from(action == Action::Swallow(Reason::Retransmission));
        }
        // The first round warms up.
        made += if round == 0 { 0 } else { MADE.get() - before };
    }
    assert_eq!(made, of_copies, "allocations for {} packets", frames.len() * 19);
    assert!(copies > 100 && of_copies <= 2 * copies, "{of_copies} allocations for {copies} INVITEs");
    // It was not for nothing.
    assert!(relayed > 1_000 && kinds[Kind::Request as usize] > 500, "{relayed} relayed, {kinds:?}");
    assert!(kinds[Kind::Fragment as usize] > 0 && spared.iter().all(|spared| *spared > 50), "{spared:?}");
}

#[test]
fn no_datagram_to_or_from_a_unix_socket_allocates() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("consumer");
    let consumer = UnixDatagram::bind(&path).unwrap();
    let mut unix = Unix::new(&path, false, "eth0", 0, Arc::default(), Secret::default());
    let end = |last, port| End { addr: Addr::v4([192, 0, 2, last]), port };
    let payload = cases::request("INVITE");
    let mut buffer = vec![0; 66_000];
    let mut made = 0;
    for round in 0..100u64 {
        let datagram = Datagram { from: end(10, 5062), to: end(1, 5060), payload: &payload, brief: None, now: 1 << 40 };
        let before = MADE.get();
        unix.send(&datagram).unwrap();
        let sent = MADE.get() - before;
        let length = consumer.recv(&mut buffer).unwrap();
        consumer.send_to(&buffer[..length], dir.path().join("consumer.eth0.0")).unwrap();
        let before = MADE.get();
        let outgoing = unix.receive(&mut buffer).unwrap();
        assert_eq!(outgoing.payload.len(), payload.len());
        // The first connects.
        made += if round == 0 { 0 } else { sent + MADE.get() - before };
    }
    assert_eq!(made, 0);
}

#[test]
fn no_answer_makes_the_pipeline_allocate() {
    let (mut scratch, fragments, secret) = (Scratch::default(), Reassembly::default(), Secret::default());
    let answer = Answer { keep_alives: true, options: true, options_pass_every: 10, refuse_calls: true };
    let emergency = Emergency::of(&["112".to_owned()]);
    let rules = Ruleset { answer, emergency, ..Ruleset::default() };
    let context = Context {
        rules: &rules,
        sources: &Strangers,
        fragments: &fragments,
        secret: &secret,
        relay: Way::Frames,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    let mut room = vec![0; 2_048];
    let mut reasons = [0u64; Reason::ALL.len()];
    let (mut made, mut relayed) = (0, 0);
    for round in 0..100u64 {
        // alive, then dead
        scratch.answers.dead = round >= 50;
        for frame in asked() {
            room[..frame.len()].copy_from_slice(&frame);
            let before = MADE.get();
            let Outcome { action, .. } = pipeline::handle(&mut room, frame.len(), &mut scratch, &context, || 1);
            // The first round warms up.
            made += if round == 0 { 0 } else { MADE.get() - before };
            match action {
                Action::Reply(_, reason) | Action::Swallow(reason) => reasons[reason as usize] += 1,
                _ => relayed += 1,
            }
        }
    }
    assert_eq!(made, 0);
    // One OPTIONS in ten, and the INVITEs of whom the softswitch is there for.
    let counted = |reason: Reason| reasons[reason as usize];
    assert_eq!((counted(Reason::Answered), counted(Reason::Unavailable), relayed), (45, 100, 55));
    assert_eq!(counted(Reason::KeepAlive), 100);
}

/// A trunk that begins calls, far more than it may: some pass and end, the others are refused.
#[test]
fn no_call_of_a_trunk_makes_the_pipeline_allocate() {
    const CALLS: u64 = 50_000;
    let (mut scratch, fragments, secret) = (Scratch::default(), Reassembly::default(), Secret::default());
    let from = vec!["198.51.100.77/32".parse().expect("a net")];
    let (cps, max_calls) = (Some(10_000), Some(50));
    let gateway = Gateway { name: "a".into(), from, cps, max_calls, ..Gateway::default() };
    let gateways = Gateways::of(&[gateway], &Arc::default());
    let enforce = Reason::GatewayCps.bit() | Reason::GatewayCalls.bit();
    let rules = Ruleset { enforce, gateways: Arc::clone(&gateways), ..Ruleset::default() };
    let context = Context {
        rules: &rules,
        sources: &Strangers,
        fragments: &fragments,
        secret: &secret,
        relay: Way::Frames,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    let (mut room, mut made) = (vec![0; 2_048], 0);
    for n in 0..CALLS {
        let call = format!("call-{n:08}");
        let text = format!(
            "INVITE sip:2@e.com SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.77;branch=z9hG4bK{n}\r\nFrom: <sip:1@e.com>;tag=f\r\n\
             To: <sip:2@e.com>\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let frame = Packet::v4(PEER).sip(text.as_bytes()).build();
        room[..frame.len()].copy_from_slice(&frame);
        let before = MADE.get();
        let Outcome { action, .. } = pipeline::handle(&mut room, frame.len(), &mut scratch, &context, || n * 1_000_000);
        if matches!(action, Action::Relay(_)) && n % 500 != 0 {
            let asker = secret.call(call.as_bytes(), b"f");
            gateways.answered(&Answered { asker, other: None, cseq: 1, method: Asked::Invite, status: 486 }, n);
        }
        // The first warms up.
        made += if n == 0 { 0 } else { MADE.get() - before };
    }
    assert_eq!(made, 0);
    let view = &gateways.views(0)[0];
    assert_eq!((view.calls, view.passed + view.over_calls + view.over_cps), (50, CALLS));
    assert!(view.passed > 24_000 && view.over_calls > 20_000, "{view:?}");
}

/// A source that is slowed sends on: what passes and what does not.
#[test]
fn no_request_of_a_slowed_source_makes_the_pipeline_allocate() {
    const REQUESTS: u64 = 10_000;
    const SECOND: u64 = 1_000_000_000;
    let (mut scratch, fragments, secret) = (Scratch::default(), Reassembly::default(), Secret::default());
    let (enforce, slow_to) = (Reason::Slowed.bit(), Limit::per_second(1, 5, 0));
    let rules = Ruleset { enforce, slow_to, ..Ruleset::default() };
    let config = vos_engine::config::Enumeration { not_found: 2, ..Default::default() };
    let mut enumeration = Enumeration::new(config, secret.clone());
    for n in 0..2 {
        let text = format!(
            "SIP/2.0 404 x\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK{n}\r\nFrom: <sip:1@x>;tag=1\r\nTo: <sip:{n}@e.com>;tag=2\r\n\
             Call-ID: {n}\r\nCSeq: 1 INVITE\r\n\r\n"
        );
        let mut index: Index = Index::new();
        let message = index.parse(text.as_bytes(), Mode::Lenient).expect("a response");
        let answer = policy::Answer::of(&message, &Addr::v4(PEER), &secret).expect("an answer");
        enumeration.answered(&answer, &rules.slowed, Clock::at(0, 0), |_| false).expect("it is counted");
    }
    let context = Context {
        rules: &rules,
        sources: &Strangers,
        fragments: &fragments,
        secret: &secret,
        relay: Way::Frames,
        shield: None,
        pressed: &Pressed::default(),
        suspensions: &Suspensions::new(Secret::default()),
    };
    let (mut room, mut made, mut relayed) = (vec![0; 2_048], 0, 0);
    for n in 0..REQUESTS {
        let frame = Packet::v4(PEER).sip(&cases::request("INVITE")).build();
        room[..frame.len()].copy_from_slice(&frame);
        let before = MADE.get();
        // one each millisecond
        let Outcome { action, .. } =
            pipeline::handle(&mut room, frame.len(), &mut scratch, &context, || SECOND + n * 1_000_000);
        // The first warms up.
        made += if n == 0 { 0 } else { MADE.get() - before };
        relayed += u64::from(matches!(action, Action::Relay(_)));
    }
    // five at once, and one a second
    assert_eq!((made, relayed), (0, 5 + 9));
}
