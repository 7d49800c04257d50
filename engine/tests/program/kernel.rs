//! The table's world in the maps of the loaded program, and what the program says of a frame.

use aya::maps::{Array, Map, MapData, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, TestRun, TestRunOptions};
use vos_bench::{NetNs, VethPair, maps};
use vos_common::cases::{Case, World};
use vos_common::reason::{REASON_SLOTS, Reason, WATCHED};
use vos_common::state::{Clock, Config, V6_RULES};
use vos_common::verdict::{Action, Judged, Verdict, judge};
use vos_engine::config::Xsk;
use vos_engine::xdp::OBJECT;
use vos_engine::xsk::Queue;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// BPF_PROG_TEST_RUN takes no frame under 14 bytes and no more than a page less headroom and tailroom.
pub(crate) fn runs(frame: &[u8]) -> bool {
    (14..=3_400).contains(&frame.len())
}

/// A per-CPU array of counters, and how they stood when they were last looked at.
struct Counters {
    map: PerCpuArray<MapData, u64>,
    seen: Vec<u64>,
}

impl Counters {
    fn of(map: Map) -> Self {
        let map = PerCpuArray::try_from(map).unwrap();
        let mut counters = Self { map, seen: Vec::new() };
        counters.seen = Reason::ALL.iter().map(|reason| counters.now(*reason)).collect();
        counters
    }

    fn now(&self, reason: Reason) -> u64 {
        self.map.get(&(reason as u32), 0).unwrap().iter().sum()
    }

    /// By how much this counter has grown since it was last looked at.
    fn grown(&mut self, reason: Reason) -> u64 {
        let now = self.now(reason);
        now - std::mem::replace(&mut self.seen[reason as usize], now)
    }

    /// Those that have grown since they were last looked at, and by how much.
    fn all_grown(&mut self) -> Vec<(Reason, u64)> {
        let grown = Reason::ALL.iter().map(|reason| (*reason, self.grown(*reason)));
        grown.filter(|(_, by)| *by > 0).collect()
    }
}

pub(crate) struct Program {
    ebpf: Ebpf,
    reasons: Counters,
    would: Counters,
    named: PerCpuArray<MapData, u64>,
    /// The slots of `named`, as they should be.
    wanted: Vec<u64>,
    /// The same in plain memory.
    pub(crate) world: World,
    round: u64,
}

fn map<'a, T: TryFrom<&'a mut Map>>(ebpf: &'a mut Ebpf, name: &str) -> T {
    maps::map(ebpf, name).unwrap()
}

impl Program {
    /// The table's world in the program's maps. The kernel's clock is stopped: a tick takes no time.
    pub(crate) fn load() -> Self {
        let mut ebpf = EbpfLoader::new().load(OBJECT).unwrap();
        let world = maps::world();
        maps::fill(&mut ebpf, &world).unwrap();
        let program: &mut Xdp = ebpf.program_mut("vos_xdp").unwrap().try_into().unwrap();
        program.load().unwrap();
        let counters = ["REASONS", "WOULD_DROP"].map(|name| Counters::of(ebpf.take_map(name).unwrap()));
        let [reasons, would] = counters;
        let named = PerCpuArray::try_from(ebpf.take_map("NAMED").unwrap()).unwrap();
        let wanted = vec![0; REASON_SLOTS as usize];
        let mut program = Self { ebpf, reasons, would, named, wanted, world, round: 0 };
        program.configure();
        program.live(true);
        program
    }

    /// Has the queue a live worker?
    pub(crate) fn live(&mut self, live: bool) {
        let beat = if live { self.world.now } else { 0 };
        map::<Array<_, u64>>(&mut self.ebpf, "HEART").set(0, beat, 0).unwrap();
        self.world.live = live;
    }

    /// The world's configuration and time, into the maps.
    pub(crate) fn configure(&mut self) {
        let config = &mut self.world.config;
        config.clock = Clock { jiffies: 0, monotonic: self.world.now, tick: 0 };
        config.flags |= V6_RULES;
        map::<Array<_, Config>>(&mut self.ebpf, "CONFIG").set(0, *config, 0).unwrap();
    }

    /// Nobody has sent anything: other hashes, so that nobody is found. Who is verified stays so.
    pub(crate) fn forget(&mut self) {
        self.world.forget();
        self.round += 1;
        self.world.config.seed = self.round;
        self.configure();
        map::<Array<_, u64>>(&mut self.ebpf, "GLOBAL").set(0, 0, 0).unwrap();
        maps::verified(&mut self.ebpf, &self.world).unwrap();
    }

    /// The world of a case.
    pub(crate) fn prepare(&mut self, case: &Case) {
        self.world.prepare(case);
        self.forget();
    }

    fn act(&self, frame: &[u8]) -> Action {
        let program: &Xdp = self.ebpf.program("vos_xdp").unwrap().try_into().unwrap();
        let done = program.test_run(TestRunOptions { data_in: Some(frame), ..Default::default() }).unwrap();
        match done.return_value {
            XDP_DROP => Action::Drop,
            XDP_PASS => Action::Pass,
            XDP_REDIRECT => Action::Redirect,
            other => panic!("action {other}"),
        }
    }

    /// Runs the program; the verdict as its action and its counters tell it.
    pub(crate) fn run(&mut self, frame: &[u8]) -> (Verdict, Option<Reason>) {
        let action = self.act(frame);
        let grown = self.reasons.all_grown();
        let [(reason, 1)] = grown[..] else { panic!("each packet is counted once: {grown:?}") };
        let would = self.would.all_grown();
        assert!(would.iter().map(|(_, by)| by).sum::<u64>() <= 1, "{would:?}");
        (Verdict { action, reason }, would.first().map(|(reason, _)| *reason))
    }

    /// Does the program decide as `judge` does over slices? Looks only at the counters that should have grown: that no
    /// other has, [`nothing_else_was_counted`](Self::nothing_else_was_counted) tells of many frames at once.
    #[track_caller]
    pub(crate) fn agrees(&mut self, frame: &[u8]) -> Judged {
        let judged = judge(&frame, &self.world);
        let Verdict { action, reason } = judged.verdict;
        assert_eq!(self.act(frame), action, "{reason:?} {}", Hex(frame));
        assert_eq!(self.reasons.grown(reason), 1, "not counted as {reason:?}: {}", Hex(frame));
        if let Some(would) = judged.would() {
            assert_eq!(self.would.grown(would), 1, "not noted as {would:?}: {}", Hex(frame));
        }
        if judged.named == 1 {
            let would = judged.would().map(|would| WATCHED + would as u32);
            let dropped = (action == Action::Drop).then_some(reason as u32);
            would.into_iter().chain(dropped).for_each(|slot| self.wanted[slot as usize] += 1);
        }
        judged
    }

    #[track_caller]
    pub(crate) fn nothing_else_was_counted(&mut self) {
        assert_eq!((self.reasons.all_grown(), self.would.all_grown()), (vec![], vec![]));
        assert_eq!(self.named(), self.wanted, "of trusted and allowed sources");
    }

    /// What the program has counted of trusted and allowed sources, by slot.
    pub(crate) fn named(&self) -> Vec<u64> {
        (0..REASON_SLOTS).map(|slot| self.named.get(&slot, 0).unwrap().iter().sum()).collect()
    }

    /// A live AF_XDP socket for queue 0 in the program's map, in a namespace of its own: without one, nothing is
    /// redirected.
    pub(crate) fn with_socket(mut self, test: impl FnOnce(&mut Self) + Send) {
        let ns = NetNs::new("prog").unwrap();
        let peer = NetNs::new("peer").unwrap();
        let _pair = VethPair::new(&ns, "xsk0", &peer, "peer0", 1).unwrap();
        ns.enter(|| {
            let (queue, _) = Queue::bind("xsk0", 0, 2_048, &Xsk::default()).unwrap();
            map::<XskMap<_>>(&mut self.ebpf, "XSKS").set(0, queue.fd(), 0).unwrap();
            test(&mut self);
        })
        .unwrap();
    }
}

/// A frame as `vosctl explain` and `text2pcap` read it.
struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
