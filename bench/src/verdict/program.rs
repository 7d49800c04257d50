//! Programs in the kernel, and one BPF_PROG_TEST_RUN of them.

use std::any::Any;

use aya::maps::{Array, HashMap, Map, PerCpuArray, ProgramArray, RingBuf, XskMap};
use aya::programs::xdp::XdpMode;
use aya::programs::{ProgramError, ProgramFd, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader, Pod, TestRun, TestRunOptions};
use aya_obj::ProgramSection;
use vos_common::cases::Entry;
use vos_common::reason::Reason;
use vos_common::verdict::Action;
use vos_engine::config::Xsk;
use vos_engine::xdp::OBJECT;
use vos_engine::xsk::Queue;

use super::rows::Place;
use super::{Fill, Foreign};
use crate::object::{NAME, SUCCESSOR, TC_NEXT, XDP_DROP, XDP_PASS, XDP_REDIRECT};
use crate::{Error, NetNs, Result, VethPair, maps, object};

/// A loaded program with its maps.
pub struct Loaded {
    ebpf: Ebpf,
    program: String,
    /// Whose it is, for messages.
    owner: String,
    /// The rules in its maps, if it is ours.
    rules: Vec<Entry>,
    place: Place,
    /// What must live as long: the socket that packets are redirected to.
    socket: Option<Box<dyn Any + Send>>,
}

/// What a run returned, and what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The program's return value.
    pub code: u32,
    /// A packet on average, whole ns: the kernel divides.
    pub ns: u64,
}

impl Loaded {
    fn load(owner: &str, object: &[u8], program: &str, place: Place) -> Result<Self> {
        let failed = |error: EbpfError| Error::Other(format!("{owner}: {}", with_sources(&error)));
        let mut ebpf = EbpfLoader::new().load(object).map_err(failed)?;
        let missing = || Error::Other(format!("{owner}: the object has no program {program} for XDP or TC"));
        let found = ebpf.program_mut(program).ok_or_else(missing)?;
        let loaded = if let Ok(xdp) = <&mut Xdp>::try_from(&mut *found) {
            xdp.load()
        } else {
            <&mut SchedClassifier>::try_from(found).map_err(|_| missing())?.load()
        };
        loaded.map_err(|error| refused(owner, &error))?;
        let (program, owner) = (program.to_owned(), owner.to_owned());
        Ok(Self { ebpf, program, owner, rules: Vec::new(), place, socket: None })
    }

    /// Does nothing but return: what any program costs.
    pub fn empty(place: Place) -> Result<Self> {
        let (section, code) = if place == Place::Egress { ("classifier", TC_NEXT) } else { ("xdp", XDP_PASS) };
        Self::load("empty", &object::returning(section, code), NAME, place)
    }

    /// Ours, in the world of `place`.
    pub fn ours(place: Place) -> Result<Self> {
        let program = if place == Place::Egress { "vos_egress" } else { "vos_xdp" };
        let mut made = Self::load("vos-fastpath", OBJECT, program, place)?;
        let world = place.world();
        maps::fill(&mut made.ebpf, &world)?;
        made.rules = world.rules;
        Ok(made)
    }

    /// Puts ours into another world. Where the program lies in memory is worth some ns, so worlds that are compared
    /// share it.
    pub fn enter(&mut self, place: Place) -> Result<()> {
        if place == self.place {
            return Ok(());
        }
        if place == Place::Live && self.socket.is_none() {
            self.open_socket()?;
        }
        let world = place.world();
        maps::change(&mut self.ebpf, &self.rules, &world)?;
        (self.rules, self.place) = (world.rules, place);
        Ok(())
    }

    /// Drops everything: the least that a packet can cost.
    pub fn dropping() -> Result<Self> {
        Self::load("drop", &object::returning("xdp", XDP_DROP), NAME, Place::Usual)
    }

    /// The first XDP program of somebody else's object, with what is to be in its maps.
    pub fn foreign(foreign: &Foreign) -> Result<Self> {
        let mut made = Self::foreign_object(&foreign.name, &foreign.object)?;
        foreign.fills.iter().try_for_each(|fill| made.fill(fill))?;
        Ok(made)
    }

    /// The same with its maps as they are.
    pub fn foreign_object(owner: &str, object: &[u8]) -> Result<Self> {
        let parsed = aya_obj::Object::parse(object)
            .map_err(|error| Error::Other(format!("{owner}: {}", with_sources(&error))))?;
        let xdp = parsed.programs.iter().filter(|(_, program)| matches!(program.section, ProgramSection::Xdp { .. }));
        let (name, _) = xdp
            .min_by_key(|(_, program)| (program.section_index, program.address))
            .ok_or_else(|| Error::Other(format!("{owner}: no XDP program in it")))?;
        Self::load(owner, object, name, Place::Usual)
    }

    /// Attaches it to an interface of this namespace, in native mode; it leaves when this is dropped.
    pub fn attach(&mut self, iface: &str) -> Result<()> {
        let (owner, missing) = (self.owner.clone(), Error::Other(format!("{}: it is no XDP program", self.owner)));
        let program = self.ebpf.program_mut(&self.program).and_then(|program| <&mut Xdp>::try_from(program).ok());
        let attached = program.ok_or(missing)?.attach(iface, XdpMode::Driver);
        attached.map(drop).map_err(|error| refused(&owner, &error))
    }

    /// This program behind [`object::scatter`]: packets come from addresses that are random in the bits of `mask`.
    pub fn behind_scatter(&self, mask: [u8; 4], base: [u8; 4]) -> Result<Self> {
        let mut made = Self::load(&self.owner, &object::scatter(mask, base), NAME, self.place)?;
        let mut successor: ProgramArray<_> = maps::map(&mut made.ebpf, SUCCESSOR)?;
        successor.set(0, self.fd()?, 0).map_err(maps::refused(SUCCESSOR))?;
        Ok(made)
    }

    /// Runs it `repeat` times on `frame`.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<Ran> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let ran = match self.ebpf.program(&self.program) {
            Some(aya::programs::Program::Xdp(program)) => program.test_run(options),
            Some(aya::programs::Program::SchedClassifier(program)) => program.test_run(options),
            _ => unreachable!("only these are loaded"),
        };
        let ran = ran.map_err(|error| refused(&self.owner, &error))?;
        Ok(Ran { code: ran.return_value, ns: ran.duration.as_nanos() as u64 })
    }

    /// Empties the ring to user space, where there is one; how much was in it.
    pub fn drain(&mut self) -> usize {
        let Some(mut ring) = self.ebpf.map_mut("REPLIES").and_then(|map| RingBuf::try_from(map).ok()) else { return 0 };
        let mut records = 0;
        while ring.next().is_some() {
            records += 1;
        }
        records
    }

    /// Packets that one of ours has counted so far, by reason.
    pub fn counted(&mut self) -> Result<Vec<u64>> {
        let reasons: PerCpuArray<_, u64> = maps::map(&mut self.ebpf, "REASONS")?;
        let slots = 0..Reason::ALL.len() as u32;
        let sums = slots.map(|slot| reasons.get(&slot, 0).map(|cpus| cpus.iter().sum()));
        sums.collect::<std::result::Result<_, _>>().map_err(maps::refused("REASONS"))
    }

    fn fd(&self) -> Result<&ProgramFd> {
        match self.ebpf.program(&self.program) {
            Some(aya::programs::Program::Xdp(program)) => program.fd(),
            _ => Err(ProgramError::UnexpectedProgramType),
        }
        .map_err(|error| refused(&self.owner, &error))
    }

    /// A live AF_XDP socket for queue 0: without one, nothing is redirected.
    fn open_socket(&mut self) -> Result<()> {
        let (here, there) = (NetNs::new("verdict")?, NetNs::new("peer")?);
        let wire = VethPair::new(&here, "xsk0", &there, "peer0", 1)?;
        let bound = here.enter(|| Queue::bind("xsk0", 0, 2_048, &Xsk::default()))?;
        let (queue, _) = bound.map_err(|error| Error::Other(error.to_string()))?;
        let mut sockets: XskMap<_> = maps::map(&mut self.ebpf, "XSKS")?;
        sockets.set(0, queue.fd(), 0).map_err(maps::refused("XSKS"))?;
        self.socket = Some(Box::new((queue, wire, here, there)));
        Ok(())
    }

    fn fill(&mut self, fill: &Fill) -> Result<()> {
        let (owner, name) = (&self.owner, &fill.map);
        let missing = || Error::Other(format!("{owner}: no map {name} in it"));
        let map = self.ebpf.map_mut(name).ok_or_else(missing)?;
        // aya wants to know the sizes when it is compiled.
        match (fill.key.len(), fill.value.len()) {
            (4, 1) => put::<4, 1>(map, fill),
            (4, 4) => put::<4, 4>(map, fill),
            (4, 8) => put::<4, 8>(map, fill),
            (4, 16) => put::<4, 16>(map, fill),
            (4, 24) => put::<4, 24>(map, fill),
            (8, 1) => put::<8, 1>(map, fill),
            (8, 4) => put::<8, 4>(map, fill),
            (8, 8) => put::<8, 8>(map, fill),
            (16, 1) => put::<16, 1>(map, fill),
            (16, 4) => put::<16, 4>(map, fill),
            (16, 8) => put::<16, 8>(map, fill),
            (16, 24) => put::<16, 24>(map, fill),
            (key, value) => Err(Error::Other(format!(
                "{owner}: --fill knows keys of 4, 8, 16 bytes and values of 1, 4, 8, 16, 24, not {key} and {value}"
            ))),
        }
    }
}

fn put<const K: usize, const V: usize>(map: &mut Map, fill: &Fill) -> Result<()>
where
    [u8; K]: Pod,
    [u8; V]: Pod,
{
    let (key, value): ([u8; K], [u8; V]) = match (fill.key.as_slice().try_into(), fill.value.as_slice().try_into()) {
        (Ok(key), Ok(value)) => (key, value),
        _ => unreachable!("the sizes were just looked at"),
    };
    let written = match map {
        Map::Array(_) if K == 4 => Array::<_, [u8; V]>::try_from(map)
            .and_then(|mut array| array.set(u32::from_ne_bytes(std::array::from_fn(|at| key[at])), value, 0)),
        map => HashMap::<_, [u8; K], [u8; V]>::try_from(map).and_then(|mut hash| hash.insert(key, value, 0)),
    };
    written.map_err(maps::refused(&fill.map))
}

/// What an XDP program wants done with the packet; `None` if it failed.
pub fn action(code: u32) -> Option<Action> {
    match code {
        XDP_DROP => Some(Action::Drop),
        XDP_PASS => Some(Action::Pass),
        XDP_REDIRECT => Some(Action::Redirect),
        _ => None,
    }
}

fn refused(owner: &str, error: &ProgramError) -> Error {
    Error::Other(format!("{owner}: {}", with_sources(error)))
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text += &format!(": {inner}");
        source = inner.source();
    }
    text
}
