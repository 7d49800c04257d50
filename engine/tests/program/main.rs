//! The loaded program by BPF_PROG_TEST_RUN: the same table, the same verdicts, the same counters as over slices.
//!
//! Needs root and a BPF file system; makes a network namespace of its own.

mod egress;
mod frames;
mod kernel;

use std::collections::{BTreeMap, HashMap};

use frames::{Frames, Random};
use kernel::{Program, runs};
use vos_common::cases::{self, Packet};
use vos_common::rate::{SOURCE_BUCKETS, bucket, source_key};
use vos_common::reason::{Reason, WATCHED};
use vos_common::rule::Addr;
use vos_common::state::Homes;
use vos_common::verdict::{Action, Verdict, judge};

const SECOND: u64 = 1_000_000_000;

/// The table, compared case by case with `judge` over slices and with what the case expects.
fn table(program: &mut Program, monitor: bool) {
    let (live, mut ran) = (program.world.live, 0);
    for case in cases::all().into_iter().filter(|case| runs(&case.frame)) {
        program.prepare(&case);
        for frame in &case.before {
            program.agrees(frame);
        }
        if monitor {
            let config = &mut program.world.config;
            config.monitor |= std::mem::take(&mut config.enforce);
            program.configure();
        }
        let judged = judge(&case.frame.as_slice(), &program.world);
        // Over slices it is tests/verdict.rs that compares with what should be.
        assert_eq!(program.run(&case.frame), (judged.verdict, judged.would()), "{}", case.name);
        assert!(live || judged.verdict.action != Action::Redirect);
        ran += 1;
    }
    assert!(ran >= 200, "{ran}");
}

#[test]
fn table_with_a_live_socket() {
    Program::load().with_socket(|program| table(program, false));
}

#[test]
fn table_without_a_heartbeat() {
    Program::load().with_socket(|program| {
        program.live(false);
        table(program, false);
    });
}

#[test]
fn table_in_monitor_mode() {
    Program::load().with_socket(|program| table(program, true));
}

#[test]
fn a_heartbeat_without_a_socket_redirects_nothing() {
    let mut program = Program::load();
    let invite = Packet::v4(cases::CALLER_V4).sip(&cases::request("INVITE")).build();
    let kernel = Verdict { action: Action::Pass, reason: Reason::Kernel };
    assert_eq!(program.run(&invite), (kernel, None));
}

/// The rates make a verdict depend on those before: both see one sequence, in which time passes and settings change.
#[test]
fn random_frames_agree() {
    const ROUNDS: usize = 120_000;
    Program::load().with_socket(|program| {
        let (frames, mut random) = (Frames::new(), Random(0x2545_f491_4f6c_dd1d));
        let (mut reasons, mut watched) = (BTreeMap::<_, usize>::new(), 0);
        program.forget();
        for round in 0..ROUNDS {
            if round % 400 == 0 {
                program.nothing_else_was_counted();
                frames::settings(&mut program.world.config, program.world.now, &mut random);
                program.configure();
            }
            if round % 20 == 0 {
                // So little that limits are met; together less than the hour that heartbeat and rules last.
                program.world.now += random.next() % (SECOND / 10);
                program.configure();
            }
            let judged = program.agrees(&frames.frame(&mut random));
            *reasons.entry(judged.verdict.reason.label()).or_default() += 1;
            watched += usize::from(judged.would().is_some());
        }
        program.nothing_else_was_counted();
        println!("{ROUNDS} frames, {watched} noted by a monitored rule: {reasons:?}");
        // All that can happen did, and often enough to say something.
        for reason in Reason::ALL.iter().filter(|reason| reason.in_kernel()) {
            assert!(reasons.get(reason.label()).is_some_and(|seen| *seen >= 20), "{reason:?} {reasons:?}");
        }
        assert!(watched > ROUNDS / 20, "{watched}");
        let named = program.named();
        let (dropped, noted) = named.split_at(WATCHED as usize);
        assert!([dropped, noted].iter().all(|slots| slots.iter().sum::<u64>() >= 20), "{named:?}");
    });
}

/// So many IPv6 sources, each of a /48 of its own, whose clocks lie in one bucket.
fn of_one_bucket(seed: u64, n: usize) -> Vec<Packet> {
    let mut buckets: HashMap<u32, Vec<[u8; 16]>> = HashMap::new();
    for i in 0u32.. {
        let [a, b, c, d] = i.to_be_bytes();
        let address = [0x20, 1, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let there = buckets.entry(bucket(source_key(&Addr::from_bytes(address), seed), SOURCE_BUCKETS)).or_default();
        there.push(address);
        if there.len() == n {
            return there.iter().map(|address| Packet::v6(*address)).collect();
        }
    }
    unreachable!("there are 2^32 of them")
}

#[test]
fn in_a_full_bucket_a_new_source_takes_the_place_of_the_one_that_was_quiet_longest() {
    let mut program = Program::load();
    program.forget();
    let sources = of_one_bucket(program.world.config.seed, 4);
    let mut send = |source: usize, method: &str, n: usize| -> Vec<Reason> {
        let frame = sources[source].clone().sip(&cases::request(method)).build();
        (0..n).map(|_| program.run(&frame).0.reason).collect()
    };
    use Reason::{Kernel, RateRegister, RateSource};
    // Three ways: limited for 8 s, 3 s and 5 s.
    assert_eq!(send(0, "BYE", 9), [[Kernel; 8].as_slice(), &[RateSource]].concat());
    assert_eq!(send(1, "REGISTER", 4), [Kernel, Kernel, Kernel, RateRegister]);
    assert_eq!(send(2, "BYE", 5), [Kernel; 5]);
    // The fourth takes the second's place, and no other's.
    assert_eq!(send(3, "BYE", 1), [Kernel]);
    assert_eq!(send(0, "BYE", 1), [RateSource]);
    assert_eq!(send(2, "BYE", 4), [Kernel, Kernel, Kernel, RateSource]);
    assert_eq!(send(3, "BYE", 8), [[Kernel; 7].as_slice(), &[RateSource]].concat());
    // All are as busy now; one gives way, and the second begins anew.
    assert_eq!(send(1, "REGISTER", 4), [Kernel, Kernel, Kernel, RateRegister]);
}

#[test]
fn a_flood_of_new_sources_does_not_free_one_that_is_limited() {
    let mut program = Program::load();
    program.forget();
    let sources = of_one_bucket(program.world.config.seed, 40);
    let of = |packet: &Packet| packet.clone().sip(&cases::request("BYE")).build();
    let limited = of(&sources[0]);
    for _ in 0..8 {
        assert_eq!(program.run(&limited).0.reason, Reason::Kernel);
    }
    for source in &sources[1..] {
        assert_eq!(program.run(&of(source)).0.reason, Reason::Kernel);
        assert_eq!(program.run(&limited).0.reason, Reason::RateSource);
    }
}

#[test]
fn own_addresses_fit_up_to_the_limit() {
    let many: Vec<(Addr, bool)> = (0..=255u8).map(|n| (Addr::v4([10, 0, 7, n]), true)).collect();
    let homes = Homes::of(&many[..vos_common::state::MAX_HOMES]).unwrap();
    for (addr, _) in &many[..vos_common::state::MAX_HOMES] {
        assert!(homes.slots[Homes::bucket(homes.seed, addr)].contains(addr));
    }
    assert!(Homes::of(&many).is_none());
}
