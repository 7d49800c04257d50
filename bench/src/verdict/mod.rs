//! What a verdict costs: every frame on our program, on an empty one, and on other people's, by BPF_PROG_TEST_RUN.
//!
//! The kernel runs a program on one frame again and again and says how long a run took on average, in whole ns. All
//! frames and programs take turns, round after round, so what the machine does meanwhile hits all of them alike; the
//! fastest round counts. Before anything is timed, each program of ours must give each frame the verdict that its row
//! says, counted under the reason that it says: a wrong verdict is an error, not a fast number.
//!
//! The same frame again and again finds its source's state in the first-level cache. What a flood from spoofed
//! addresses costs is measured by a program in front ([`crate::object::scatter`]) that writes a new random source
//! address into each packet and tail-calls the program under test: code and branch predictors are warm, as in a flood, and
//! what is kept by source is as cold as its table is large. The same program in front, writing the same address each time,
//! costs the same and is subtracted. Single runs over many frames would be no better: a system call between two packets
//! makes everything cold, and the clock is read for each.

/// The worlds that frames are met in.
pub mod place;
/// Programs in the kernel.
pub mod program;
/// What is measured.
pub mod rows;
/// What is to be reached, what was, and both as a table.
pub mod table;

use std::collections::HashMap;
use std::ops::Range;

use vos_common::reason::Reason;

use crate::object::TC_NEXT;
use crate::{Error, Result, Stop};
use place::Scatter;
use program::{Loaded, action};
use rows::{Expect, Place, Row, Senders};
use table::{Cell, Report};

/// Somebody else's object.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// What the table calls it.
    pub name: String,
    /// The ELF file.
    pub object: Vec<u8>,
    /// What is written into its maps first.
    pub fills: Vec<Fill>,
}

/// An entry of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The map's name.
    pub map: String,
    /// The key, as it lies in memory.
    pub key: Vec<u8>,
    /// The value, as it lies in memory.
    pub value: Vec<u8>,
}

/// Columns of the cells; the others follow.
const EMPTY: usize = 0;
const OURS: usize = 1;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Turns that each program takes on each frame.
    pub rounds: u32,
    /// Packets that each program gets of each frame, all turns together.
    pub packets: u32,
}

/// Packets between two looks at the ring to user space, which must not be full: records of 650 bytes in 4 MiB.
const RING_RUNS: u32 = 4_000;

/// How often everything is loaded: the same program at another address is up to a tenth faster or slower.
const LOADS: u32 = 3;

/// One program on one row: what is timed in each round.
struct Shot {
    row: usize,
    column: usize,
    /// In `Bench::loaded`: what has the maps.
    program: usize,
    /// In `Bench::loaded`: what is run, the same or one in front of it.
    runner: usize,
    part: Part,
    fastest: u64,
}

/// What a time is one of. Of a row that has many senders, all three are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The program as it is.
    Bare,
    /// Behind the one that writes an address: always the same.
    Fixed,
    /// A random one.
    Random,
}

#[derive(Default)]
struct Bench {
    loaded: Vec<Loaded>,
    shots: Vec<Shot>,
}

impl Effort {
    /// Packets of a turn.
    fn turn(self) -> u32 {
        (self.packets / self.rounds).max(1)
    }
}

/// Measures all `rows`.
pub fn measure(rows: &[Row], foreign: &[Foreign], effort: Effort, stop: &Stop) -> Result<Report> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let mut cells = vec![vec![Cell::None; 2 + foreign.len()]; rows.len()];
    let loads = LOADS.min(effort.rounds);
    let mut shots: Vec<Shot> = Vec::new();
    for load in 1..=loads {
        eprintln!("load {load} of {loads}");
        let mut bench = Bench::of(rows, foreign, &mut cells)?;
        bench.time(rows, effort.rounds.div_ceil(loads), effort.turn(), stop)?;
        // Each load has the same shots.
        for (at, shot) in bench.shots.into_iter().enumerate() {
            match shots.get_mut(at) {
                Some(before) => before.fastest = before.fastest.min(shot.fastest),
                None => shots.push(shot),
            }
        }
    }
    for shot in shots.iter().filter(|shot| shot.part == Part::Bare) {
        cells[shot.row][shot.column] = Cell::Ns(result(shot, &shots));
    }
    let others = foreign.iter().map(|foreign| foreign.name.clone()).collect();
    Ok(Report::new(rows, others, cells, effort))
}

/// What the packets of this shot's row cost its program.
fn result(bare: &Shot, shots: &[Shot]) -> u64 {
    let of_row = |shot: &&Shot| (shot.row, shot.column) == (bare.row, bare.column);
    let part = |part| shots.iter().filter(of_row).find(|shot| shot.part == part).map(|shot| shot.fastest);
    match (part(Part::Fixed), part(Part::Random)) {
        (Some(fixed), Some(random)) => (bare.fastest + random).saturating_sub(fixed),
        _ => bare.fastest,
    }
}

impl Bench {
    fn of(rows: &[Row], foreign: &[Foreign], cells: &mut [Vec<Cell>]) -> Result<Self> {
        let mut bench = Self::default();
        bench.add_empty(rows)?;
        bench.add_ours(rows)?;
        for (at, foreign) in foreign.iter().enumerate() {
            bench.add_foreign(rows, foreign, 2 + at, cells)?;
        }
        Ok(bench)
    }

    fn add_empty(&mut self, rows: &[Row]) -> Result<()> {
        let mut empty: HashMap<bool, usize> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            let egress = row.place == Place::Egress;
            let program = match empty.get(&egress) {
                Some(program) => *program,
                None => self.keep(Loaded::empty(row.place)?),
            };
            empty.insert(egress, program);
            self.shoot(at, row, EMPTY, program)?;
        }
        Ok(())
    }

    fn add_ours(&mut self, rows: &[Row]) -> Result<()> {
        let mut ours: HashMap<Place, usize> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            let place = row.place.shares();
            let program = match ours.get(&place) {
                Some(program) => *program,
                None => self.keep(Loaded::ours(place)?),
            };
            ours.insert(place, program);
            self.loaded[program].enter(row.place)?;
            for shot in self.shoot(at, row, OURS, program)? {
                self.judge(row, shot)?;
            }
        }
        Ok(())
    }

    /// Other programs run what needs no world of ours, and are timed where they do with the packet what is right.
    fn add_foreign(&mut self, rows: &[Row], foreign: &Foreign, column: usize, cells: &mut [Vec<Cell>]) -> Result<()> {
        let program = self.keep(Loaded::foreign(foreign)?);
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.place == Place::Usual) {
            let Expect::Verdict(expect) = row.expect else { continue };
            let shots = self.shoot(at, row, column, program)?;
            for shot in shots.clone() {
                let done = action(self.loaded[self.shots[shot].runner].run(&row.frame, 1)?.code);
                if done != Some(expect.action) {
                    self.shots.truncate(shots.start);
                    cells[at][column] = Cell::Wrong(done);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Is the verdict of ours right, and what it is counted as?
    fn judge(&mut self, row: &Row, shot: usize) -> Result<()> {
        const PACKETS: u32 = 1_000;
        let Shot { program, runner, .. } = self.shots[shot];
        let wrong = |what: String| Err(Error::Other(format!("{}: {what}; expected {:?}", row.name, row.expect)));
        match row.expect {
            Expect::Verdict(expect) => {
                let before = self.loaded[program].counted()?;
                let action = action(self.loaded[runner].run(&row.frame, PACKETS)?.code);
                let after = self.loaded[program].counted()?;
                let grown = |reason: &Reason| after[*reason as usize] - before[*reason as usize];
                let counts: Vec<_> = Reason::ALL.iter().map(|reason| (*reason, grown(reason))).collect();
                let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
                if action == Some(expect.action) && counts == [(expect.reason, u64::from(PACKETS))] {
                    return Ok(());
                }
                wrong(format!("{PACKETS} packets, the last one {action:?}, counted as {counts:?}"))
            }
            Expect::Egress { copied } => {
                self.loaded[program].drain();
                let code = self.loaded[runner].run(&row.frame, PACKETS)?.code;
                let records = self.loaded[program].drain();
                if code == TC_NEXT && records == if copied { PACKETS as usize } else { 0 } {
                    return Ok(());
                }
                wrong(format!("{PACKETS} packets, returned {code}, copied {records}"))
            }
        }
    }

    fn keep(&mut self, loaded: Loaded) -> usize {
        self.loaded.push(loaded);
        self.loaded.len() - 1
    }

    /// What is to be timed of a program on a row: the numbers of the shots.
    fn shoot(&mut self, row: usize, what: &Row, column: usize, program: usize) -> Result<Range<usize>> {
        let first = self.shots.len();
        let shot = |runner, part| Shot { row, column, program, runner, part, fastest: u64::MAX };
        self.shots.push(shot(program, Part::Bare));
        if let Senders::Many(Scatter { mask, base }) = what.senders {
            let source = what.frame[26..30].try_into().expect("four bytes");
            for (part, mask, base) in [(Part::Fixed, [0; 4], source), (Part::Random, mask, base)] {
                let made = self.loaded[program].behind_scatter(mask, base)?;
                let runner = self.keep(made);
                self.shots.push(shot(runner, part));
            }
        }
        Ok(first..self.shots.len())
    }

    fn time(&mut self, rows: &[Row], rounds: u32, turn: u32, stop: &Stop) -> Result<()> {
        let shots = self.shots.len();
        for shot in (0..rounds).flat_map(|_| 0..shots) {
            stop.check()?;
            let shot = &mut self.shots[shot];
            let row = &rows[shot.row];
            if shot.column == OURS {
                self.loaded[shot.program].enter(row.place)?;
            }
            let fills_ring = row.expect == Expect::Egress { copied: true };
            let turn = if fills_ring { turn.min(RING_RUNS) } else { turn };
            // What a flood has touched before stays in the larger caches; the turns of others have driven it out.
            for _ in 0..if shot.part == Part::Random { 3 } else { 1 } {
                shot.fastest = shot.fastest.min(self.loaded[shot.runner].run(&row.frame, turn)?.ns);
            }
            if fills_ring {
                self.loaded[shot.program].drain();
            }
        }
        Ok(())
    }
}
