//! A process that decides, says so, and is killed at any moment: what it said is there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use super::*;

/// How often it is killed.
const ROUNDS: u32 = 50;
/// Who decide at once in it.
const THREADS: u32 = 4;
/// What all of them do at least, over all rounds.
const WRITES: usize = 10_000;
/// Addresses that an import blocks at once.
const IMPORT: u32 = 50;

/// In the environment of the process that is killed: the store, and the round.
const STORE: &str = "VOS_TEST_STORE";
const ROUND: &str = "VOS_TEST_ROUND";

/// A small generator of our own, so that parent and child draw the same.
struct Random(u64);

impl Random {
    /// What a thread draws in a round.
    fn of(round: u32, thread: u32) -> Self {
        Self((u64::from(round) << 32 | u64::from(thread) << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as u32 % limit
    }
}

/// What a thread does next.
#[derive(Clone, Copy, Debug)]
enum Write {
    Block(u32),
    Unblock(u32),
    /// Many at once, behind the addresses of single blocks.
    Import,
    /// The command before is taken back.
    Undo,
}

/// What a thread does in a round, for ever: the child does it, the parent follows.
struct Script {
    random: Random,
    before: Option<Write>,
    has: BTreeSet<u32>,
    /// What was there before the last command.
    had: BTreeSet<u32>,
}

impl Script {
    fn of(round: u32, thread: u32) -> Self {
        Self { random: Random::of(round, thread), before: None, has: BTreeSet::new(), had: BTreeSet::new() }
    }

    /// Draws the next write and does it.
    fn next(&mut self) -> Write {
        let host = self.random.below(100);
        let write = match self.random.below(10) {
            0 if !self.has.contains(&200) => Write::Import,
            1 | 2 if self.before.is_some_and(|before| !matches!(before, Write::Undo)) => Write::Undo,
            _ if self.has.contains(&host) => Write::Unblock(host),
            _ => Write::Block(host),
        };
        let before = self.has.clone();
        match write {
            Write::Block(host) => drop(self.has.insert(host)),
            Write::Unblock(host) => drop(self.has.remove(&host)),
            Write::Import => self.has.extend(200..200 + IMPORT),
            Write::Undo => self.has = self.had.clone(),
        }
        (self.had, self.before) = (before, Some(write));
        write
    }
}

/// Each thread of each round has addresses of its own.
fn address(round: u32, thread: u32, host: u32) -> IpNet {
    let [.., round] = round.to_be_bytes();
    IpNet::from(std::net::IpAddr::from([10, round, thread as u8, host as u8]))
}

/// Not a test: what is started by the one below, and killed.
#[test]
fn process() {
    let (Ok(path), Ok(round)) = (std::env::var(STORE), std::env::var(ROUND)) else { return };
    let round: u32 = round.parse().unwrap();
    let control = open(Path::new(&path), &Table::default()).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let control = &control;
            scope.spawn(move || act(control, round, thread));
        }
    });
}

fn act(control: &Control, round: u32, thread: u32) {
    let mut script = Script::of(round, thread);
    let mut set = None;
    loop {
        let address = |host| address(round, thread, host);
        let asks = match script.next() {
            Write::Block(host) => vec![block(address(host))],
            Write::Unblock(host) => vec![unblock(address(host))],
            Write::Import => (200..200 + IMPORT).map(|host| block(address(host))).collect(),
            Write::Undo => {
                assert!(control.undo(set, &root()).unwrap().left.is_empty());
                Vec::new()
            }
        };
        if !asks.is_empty() {
            let outcome = control.submit(&root(), asks, Some("command".to_owned()));
            assert!(outcome.results.iter().all(Result::is_ok), "{outcome:?}");
            set = outcome.set;
        }
        // one write of a line, so that no other thread's comes between
        std::io::stdout().write_all(format!("done {thread}\n").as_bytes()).unwrap();
    }
}

fn start(path: &Path, round: u32) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::process", "--nocapture", "--test-threads=1"]);
    command.env(STORE, path).env(ROUND, round.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// Lets it run until it has said so much, and kills it in the middle of whatever it is doing. How much each thread did.
fn run(path: &Path, round: u32, acknowledged: usize) -> [usize; THREADS as usize] {
    let mut child = start(path, round);
    let mut done = [0; THREADS as usize];
    let mut read = |line: std::io::Result<String>| {
        // what the test harness says is no concern
        let line = line.unwrap_or_default();
        if let Some(thread) = line.rsplit_once("done ").and_then(|(_, thread)| thread.parse::<usize>().ok()) {
            done[thread] += 1;
        }
        done.iter().sum::<usize>()
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while read(lines.next().expect("it goes on until it is killed")) < acknowledged {}
    child.kill().unwrap();
    // what it said before it died
    for line in lines {
        read(line);
    }
    child.wait().unwrap();
    done
}

#[test]
fn what_was_acknowledged_is_there_after_each_of_fifty_kills() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("eth0.redb");
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut writes, mut there) = (0, BTreeSet::<IpNet>::new());
    for round in 0..ROUNDS {
        // of the last rounds as many as are missing
        let missing = WRITES.saturating_sub(writes) / (ROUNDS - round) as usize;
        let done = run(&path, round, missing + random.below(40) as usize);
        writes += done.iter().sum::<usize>();
        let kernel = Table::default();
        let control = open(&path, &kernel).unwrap();
        let found: BTreeSet<IpNet> = listed(&control).into_iter().collect();
        assert_eq!(found.iter().copied().collect::<Vec<_>>(), kernel.nets());
        for (thread, done) in (0..).zip(done) {
            let mut script = Script::of(round, thread);
            for _ in 0..done {
                script.next();
            }
            let nets = |has: &BTreeSet<u32>| has.iter().map(|host| address(round, thread, *host)).collect::<Vec<_>>();
            let acknowledged = nets(&script.has);
            // the one that it was at when it died may be there, too: all of it
            script.next();
            let begun = nets(&script.has);
            let [.., own] = round.to_be_bytes();
            let is_own = |net: &IpNet| matches!(net, IpNet::V4(v4) if v4.addr().octets()[1..3] == [own, thread as u8]);
            let own: Vec<IpNet> = found.iter().copied().filter(is_own).collect();
            assert!(own == acknowledged || own == begun, "round {round}, thread {thread}, {done} writes: {own:?}");
            there.extend(own);
        }
        assert_eq!(found, there, "round {round}: what was there before it");
    }
    println!("{writes} writes were acknowledged in {ROUNDS} lives");
    assert!(writes >= WRITES);
}
