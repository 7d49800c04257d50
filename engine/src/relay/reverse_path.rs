//! Would the kernel have taken this packet on this interface? What goes past its ingress is checked here: rp_filter,
//! martians, policy rules, as the kernel's own input routing answers for them.

use std::io;

use vos_common::rule::Addr;
use vos_common::state::mix;

use crate::netlink::{Link, Netlink};
use crate::xdp::ip;

/// How long the kernel's answer about a source is believed, ns. Longer, and a changed route or rp_filter shows late;
/// shorter, and those who talk all the time are asked for again and again.
const LIFE: u64 = 1_000_000_000;
/// Sources of a queue that are remembered, 768 KiB a worker.
const ENTRIES: usize = 1 << 14;
/// Ways of a bucket; the oldest goes.
const WAYS: usize = 4;

/// The kernel's answers, remembered.
#[derive(Debug)]
pub struct ReversePath {
    netlink: Netlink,
    nic: u32,
    memory: Memory,
}

impl ReversePath {
    /// For packets that arrive on `nic`. `seed` keeps strangers from aiming at a bucket.
    pub fn new(nic: &Link, seed: u64) -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open()?, nic: nic.index, memory: Memory::new(seed) })
    }

    /// Would the kernel take a packet from `src` to `dst` at `now` (ns of `CLOCK_MONOTONIC`)?
    pub fn accepts(&mut self, src: &Addr, dst: &Addr, now: u64) -> io::Result<bool> {
        let Self { netlink, nic, memory } = self;
        memory.recall(src, dst, now, || netlink.would_accept(ip(*src), ip(*dst), *nic))
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    src: Addr,
    dst: Addr,
    accepted: bool,
    /// 0: nobody's.
    asked: u64,
}

/// As many as there is room for; who was asked for longest ago makes way.
#[derive(Debug)]
struct Memory {
    buckets: Vec<[Entry; WAYS]>,
    seed: u64,
}

impl Memory {
    fn new(seed: u64) -> Self {
        let empty = Entry { src: Addr::default(), dst: Addr::default(), accepted: false, asked: 0 };
        Self { buckets: vec![[empty; WAYS]; ENTRIES / WAYS], seed }
    }

    fn recall(&mut self, src: &Addr, dst: &Addr, now: u64, ask: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
        let at = mix(mix(src.hi ^ self.seed, src.lo), dst.lo ^ dst.hi) >> 32;
        let mask = self.buckets.len() - 1;
        let bucket = &mut self.buckets[at as usize & mask];
        let own = bucket.iter().position(|entry| entry.src == *src && entry.dst == *dst && entry.asked > 0);
        if let Some(Entry { accepted, asked, .. }) = own.map(|way| bucket[way])
            && now.saturating_sub(asked) < LIFE
        {
            return Ok(accepted);
        }
        let accepted = ask()?;
        let oldest = || bucket.iter().enumerate().min_by_key(|(_, entry)| entry.asked).map(|(way, _)| way);
        if let Some(way) = own.or_else(oldest) {
            bucket[way] = Entry { src: *src, dst: *dst, accepted, asked: now };
        }
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Addr = Addr::v4([192, 0, 2, 1]);
    const START: u64 = 5_000_000_000;

    fn caller(n: u32) -> Addr {
        Addr::v4((0xcb00_0000 + n).to_be_bytes())
    }

    #[test]
    fn the_kernel_is_asked_once_in_a_while_and_its_answer_kept() {
        let mut memory = Memory::new(7);
        let mut asked = 0;
        for n in 0..1_000 {
            for (source, expected) in [(caller(1), true), (caller(2), false)] {
                let answer = memory.recall(&source, &HOME, START + n * 1_000_000, || {
                    asked += 1;
                    Ok(expected)
                });
                assert_eq!(answer.unwrap(), expected);
            }
        }
        assert_eq!(asked, 2, "once for each");
        assert!(!memory.recall(&caller(1), &HOME, START + LIFE, || Ok(false)).unwrap(), "an answer has its time");
        assert!(memory.recall(&caller(1), &Addr::v4([192, 0, 2, 2]), START, || Ok(true)).unwrap(), "another home");
    }

    #[test]
    fn an_error_is_no_answer() {
        let mut memory = Memory::new(7);
        assert!(memory.recall(&caller(1), &HOME, START, || Err(io::Error::other("no"))).is_err());
        assert!(memory.recall(&caller(1), &HOME, START, || Ok(true)).unwrap());
    }

    #[test]
    fn a_flood_of_sources_takes_no_more_room_and_leaves_who_was_asked_for_last() {
        let mut memory = Memory::new(7);
        for n in 0..100_000 {
            memory.recall(&caller(n), &HOME, START + u64::from(n), || Ok(true)).unwrap();
        }
        let known = |n| memory.buckets.iter().flatten().any(|entry| entry.src == caller(n));
        assert_eq!(memory.buckets.len() * WAYS, ENTRIES);
        assert!((99_990..100_000).all(known) && !known(0));
    }
}
