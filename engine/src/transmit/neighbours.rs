//! By which Ethernet header callers are reached: route and neighbour as the kernel knows them.
//!
//! Workers read a snapshot and never wait: what is not in it they ask for, and send by the kernel meanwhile, which makes
//! the kernel look for the neighbour if it must. A thread asks the kernel over rtnetlink and publishes what it finds.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tracing::warn;
use vos_common::rule::Addr;

use super::{LIFE, Link};
use crate::control::clock::Clock;
use crate::netlink::{self, Netlink};
use crate::xdp::ip;

/// How old an answer may be before its next use asks again, ns. Shorter, and the kernel is asked more often; longer, and
/// a changed route or neighbour shows later.
pub const REFRESH: u64 = 1_000_000_000;
/// Answers that are remembered. More within [`LIFE`] go by the kernel.
pub const ANSWERS: usize = 4_096;
/// Questions that may wait. One that finds no room is asked with the next datagram.
const QUESTIONS: usize = 256;
/// How often the thread looks whether it is to stop.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the interface is asked for its own MAC address, at most.
const OWN_REFRESH: Duration = Duration::from_secs(1);

/// From whom to whom: routes may go by both.
type Pair = (Addr, Addr);

/// How somebody is reached, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Not by this interface, or not at all.
    Elsewhere,
    /// By this interface, through a neighbour of whose MAC address the kernel is sure.
    Surely(Link),
    /// By this interface, through a neighbour whose MAC address may have changed.
    Perhaps(Link),
    /// By this interface, through a neighbour whose MAC address the kernel has yet to ask for.
    Unasked,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    reached: Reached,
    /// ns of `CLOCK_MONOTONIC`.
    at: u64,
}

type Answers = HashMap<Pair, Answer>;

/// What is known, for a worker.
#[derive(Clone, Debug)]
pub struct Known {
    answers: Arc<ArcSwap<Answers>>,
    questions: Sender<Pair>,
}

impl Known {
    /// How `to` is reached from `from`; `None`: that is not known at `now` (ns of `CLOCK_MONOTONIC`). Asks if it is not, or
    /// has not been for a while.
    pub fn reached(&self, from: &Addr, to: &Addr, now: u64) -> Option<Reached> {
        let answer = self.answers.load().get(&(*from, *to)).copied();
        if answer.is_none_or(|answer| now.saturating_sub(answer.at) > REFRESH) {
            let _asked_again_with_the_next = self.questions.try_send((*from, *to));
        }
        answer.filter(|answer| now.saturating_sub(answer.at) < LIFE).map(|answer| answer.reached)
    }
}

/// What asks the kernel, on a thread of its own.
#[derive(Debug)]
pub struct Neighbours {
    netlink: Netlink,
    /// The interface whose ring it is about.
    own: netlink::Link,
    own_asked: Instant,
    answers: Answers,
    published: Arc<ArcSwap<Answers>>,
    questions: Receiver<Pair>,
}

/// What is reached by the ring of `link`.
pub fn neighbours(link: &netlink::Link) -> io::Result<(Known, Neighbours)> {
    let (asked, questions) = bounded(QUESTIONS);
    let published = Arc::new(ArcSwap::from_pointee(Answers::new()));
    let known = Known { answers: Arc::clone(&published), questions: asked };
    let (own, own_asked) = (link.clone(), Instant::now());
    Ok((known, Neighbours { netlink: Netlink::open()?, own, own_asked, answers: Answers::new(), published, questions }))
}

impl Neighbours {
    /// Answers until `stop`, or until nobody can ask any more.
    pub fn follow(mut self, stop: &AtomicBool) {
        while !stop.load(Relaxed) {
            match self.questions.recv_timeout(PAUSE) {
                Ok(first) => self.answer(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// One question and those that have come in meanwhile: the snapshot is copied once for all of them.
    fn answer(&mut self, first: Pair) {
        let now = Clock::now().mono_ns();
        self.follow_own();
        self.answers.retain(|_, answer| now.saturating_sub(answer.at) < LIFE);
        let waiting: Vec<Pair> = std::iter::once(first).chain(self.questions.try_iter().take(QUESTIONS)).collect();
        for pair in waiting {
            let (there, full) = (self.answers.get(&pair), self.answers.len() >= ANSWERS);
            if there.map_or(full, |answer| now.saturating_sub(answer.at) <= REFRESH) {
                continue;
            }
            let reached = self.ask(pair);
            self.answers.insert(pair, Answer { reached, at: now });
        }
        self.published.store(Arc::new(self.answers.clone()));
    }

    fn ask(&mut self, (from, to): Pair) -> Reached {
        // An error is the kernel's "no": unreachable, or no such neighbour.
        let hop = self.netlink.next_hop(ip(from), ip(to)).ok().flatten();
        let Some(hop) = hop.filter(|hop| hop.interface == self.own.index) else { return Reached::Elsewhere };
        let Some(neighbour) = self.netlink.neighbour(&hop).ok().flatten() else { return Reached::Unasked };
        let link = Link::plain(self.own.mac, neighbour.mac, to.is_v4());
        if neighbour.sure { Reached::Surely(link) } else { Reached::Perhaps(link) }
    }

    fn follow_own(&mut self) {
        if self.own_asked.elapsed() < OWN_REFRESH {
            return;
        }
        self.own_asked = Instant::now();
        match self.netlink.link(&self.own.name) {
            // Another MAC address: no frame with the old one is to leave any more.
            Ok(link) if link.mac != self.own.mac => {
                self.answers.clear();
                self.own = link;
            }
            Ok(_) => {}
            Err(error) => warn!("asking for {}: {error}", self.own.name),
        }
    }
}
