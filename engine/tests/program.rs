//! The loaded program by BPF_PROG_TEST_RUN: the same table, the same verdicts, the same counters as over slices.
//!
//! Needs root and a BPF file system; makes a network namespace of its own.

use std::net::IpAddr;

use aya::maps::{Array, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, TestRun, TestRunOptions};
use vos_bench::{NetNs, VethPair, maps};
use vos_common::cases::{self, World};
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_common::state::{Config, Homes, V6_RULES};
use vos_common::verdict::{Action, Verdict, judge};
use vos_engine::config::Xsk;
use vos_engine::xdp::OBJECT;
use vos_engine::xsk::Queue;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

struct Program {
    ebpf: Ebpf,
    counted: Vec<u64>,
    world: World,
    monitor: bool,
    round: u64,
}

fn map<'a, T: TryFrom<&'a mut aya::maps::Map>>(ebpf: &'a mut Ebpf, name: &str) -> T {
    maps::map(ebpf, name).unwrap()
}

impl Program {
    /// The table's world in the program's maps. The kernel's clock is stopped: a tick takes no time.
    fn load(monitor: bool) -> Self {
        let mut ebpf = EbpfLoader::new().load(OBJECT).unwrap();
        let mut world = maps::world();
        if monitor {
            world.config.monitor = std::mem::take(&mut world.config.enforce);
        }
        maps::fill(&mut ebpf, &world).unwrap();
        let program: &mut Xdp = ebpf.program_mut("vos_xdp").unwrap().try_into().unwrap();
        program.load().unwrap();
        Self { ebpf, counted: vec![0; Reason::ALL.len()], world, monitor, round: 0 }
    }

    fn live(&mut self, live: bool) {
        let beat = if live { self.world.now } else { 0 };
        map::<Array<_, u64>>(&mut self.ebpf, "HEART").set(0, beat, 0).unwrap();
        self.world.live = live;
    }

    /// Runs the program; the verdict as its action and its counters tell it.
    fn run(&mut self, frame: &[u8]) -> (Verdict, Option<Reason>) {
        let before = self.counters("WOULD_DROP");
        let program: &Xdp = self.ebpf.program("vos_xdp").unwrap().try_into().unwrap();
        let done = program.test_run(TestRunOptions { data_in: Some(frame), ..Default::default() }).unwrap();
        let action = match done.return_value {
            XDP_DROP => Action::Drop,
            XDP_PASS => Action::Pass,
            XDP_REDIRECT => Action::Redirect,
            other => panic!("action {other}"),
        };
        let after = self.counters("REASONS");
        let grown: Vec<Reason> = Reason::ALL
            .iter()
            .copied()
            .filter(|reason| after[*reason as usize] != self.counted[*reason as usize])
            .collect();
        let by: u64 = after.iter().sum::<u64>() - self.counted.iter().sum::<u64>();
        assert_eq!((grown.len(), by), (1, 1), "each packet is counted once: {grown:?}");
        self.counted = after;
        let would = self.counters("WOULD_DROP");
        let would = Reason::ALL.iter().copied().find(|reason| would[*reason as usize] != before[*reason as usize]);
        (Verdict { action, reason: grown[0] }, would)
    }

    fn counters(&mut self, name: &str) -> Vec<u64> {
        let map: PerCpuArray<_, u64> = map(&mut self.ebpf, name);
        (0..Reason::ALL.len() as u32).map(|slot| map.get(&slot, 0).unwrap().iter().sum()).collect()
    }

    /// The world of a case: its settings, and a seed under which nobody has sent anything yet.
    fn prepare(&mut self, case: &cases::Case) {
        self.world.prepare(case);
        self.round += 1;
        let config = &mut self.world.config;
        config.seed = self.round;
        config.flags |= V6_RULES;
        if self.monitor {
            config.monitor |= std::mem::take(&mut config.enforce);
        }
        map::<Array<_, Config>>(&mut self.ebpf, "CONFIG").set(0, *config, 0).unwrap();
        map::<Array<_, u64>>(&mut self.ebpf, "GLOBAL").set(0, 0, 0).unwrap();
        maps::verified(&mut self.ebpf, &self.world).unwrap();
    }

    /// The table, compared case by case with `judge` over slices and with what the case expects.
    fn table(&mut self) {
        // BPF_PROG_TEST_RUN takes no frame under 14 bytes and no more than a page less headroom and tailroom.
        for case in cases::all().into_iter().filter(|case| (14..=3_400).contains(&case.frame.len())) {
            self.prepare(&case);
            for frame in &case.before {
                judge(&frame.as_slice(), &self.world);
                self.run(frame);
            }
            let judged = judge(&case.frame.as_slice(), &self.world);
            if self.world.live && !self.monitor {
                assert_eq!(judged.verdict, case.expect, "{}: slices", case.name);
            }
            assert_eq!(self.run(&case.frame), (judged.verdict, judged.would()), "{}", case.name);
        }
    }
}

/// A namespace with a live AF_XDP socket for queue 0 in the program's map: without one, nothing is redirected.
fn with_socket(program: &mut Program, test: impl FnOnce(&mut Program) + Send) {
    let ns = NetNs::new("prog").unwrap();
    let peer = NetNs::new("peer").unwrap();
    let _pair = VethPair::new(&ns, "xsk0", &peer, "peer0", 1).unwrap();
    ns.enter(|| {
        let (queue, _) = Queue::bind("xsk0", 0, 2_048, &Xsk::default()).unwrap();
        map::<XskMap<_>>(&mut program.ebpf, "XSKS").set(0, queue.fd(), 0).unwrap();
        test(program);
    })
    .unwrap();
}

#[test]
fn table_with_a_live_socket() {
    let mut program = Program::load(false);
    program.live(true);
    with_socket(&mut program, Program::table);
}

#[test]
fn table_without_a_heartbeat() {
    let mut program = Program::load(false);
    program.live(false);
    with_socket(&mut program, Program::table);
}

#[test]
fn table_in_monitor_mode() {
    let mut program = Program::load(true);
    program.live(true);
    with_socket(&mut program, Program::table);
}

#[test]
fn a_heartbeat_without_a_socket_redirects_nothing() {
    let mut program = Program::load(false);
    program.live(true);
    let invite = cases::Packet::v4(cases::CALLER_V4).sip(&cases::request("INVITE")).build();
    let kernel = Verdict { action: Action::Pass, reason: Reason::Kernel };
    assert_eq!(program.run(&invite), (kernel, None));
}

#[test]
fn mutated_frames_agree() {
    let mut program = Program::load(false);
    program.live(true);
    with_socket(&mut program, |program| {
        let table: Vec<_> = cases::all().into_iter().filter(|case| (60..1_500).contains(&case.frame.len())).collect();
        // a small generator of our own, so that a failure repeats
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        for round in 0..30_000 {
            let mut frame = table[random(table.len())].frame.clone();
            for _ in 0..=random(3) {
                // headers twice as often as payload
                let at = if random(3) > 0 { random(60) } else { random(frame.len()) };
                frame[at] = if random(2) == 0 { random(256) as u8 } else { frame[at] ^ 1 << random(8) };
            }
            if random(8) == 0 {
                frame.truncate(14 + random(frame.len() - 14));
            }
            let judged = judge(&frame.as_slice(), &program.world);
            assert_eq!(program.run(&frame), (judged.verdict, judged.would()), "round {round}: {frame:02x?}");
        }
    });
}

#[test]
fn own_addresses_fit_up_to_the_limit() {
    let many: Vec<(Addr, bool)> = (0..=255u8).map(|n| (Addr::v4([10, 0, 7, n]), true)).collect();
    let homes = Homes::of(&many[..vos_common::state::MAX_HOMES]).unwrap();
    for (addr, _) in &many[..vos_common::state::MAX_HOMES] {
        assert!(homes.slots[Homes::bucket(homes.seed, addr)].contains(addr));
    }
    assert!(Homes::of(&many).is_none());
    let _: IpAddr = [10, 0, 7, 1].into();
}
