//! Where a worker's time goes. One packet in [`EVERY`] is timed, so that it costs next to nothing to know.

use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::counter::{Counter, Counters};

/// One packet in so many is timed, and one look into the ring. Fewer: the clock is read more often, some 25 ns each time.
/// More: it takes longer until the figures mean something.
const EVERY: u64 = 64;

/// A part of a packet's way through the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Out of the RX ring.
    Receive,
    /// Read and decided upon, and the policy told.
    Judge,
    /// To the relay, or behind what waits for it.
    HandOn,
    /// Answered here: into the TX ring or to the kernel.
    Reply,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Receive, Self::Judge, Self::HandOn, Self::Reply];

    /// The word for it in JSON.
    const fn label(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Judge => "judge",
            Self::HandOn => "hand_on",
            Self::Reply => "reply",
        }
    }
}

/// What was timed of each stage. Written by the worker alone.
#[derive(Debug, Default)]
pub(super) struct Stages {
    /// Packets seen, and looks into the ring.
    seen: Counter,
    looks: Counter,
    packets: Counters<{ Stage::ALL.len() }>,
    /// What these took together, ns.
    nanoseconds: Counters<{ Stage::ALL.len() }>,
}

/// Runs, if it is this packet's turn.
pub(super) struct Watch(Option<Instant>);

impl Stages {
    /// For one packet.
    pub(super) fn packet(&self) -> Watch {
        Watch::every(&self.seen)
    }

    /// For one look into the ring.
    pub(super) fn look(&self) -> Watch {
        Watch::every(&self.looks)
    }

    /// Of each stage: packets that were timed, and what they took together, ns.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let figures = self.packets.iter().zip(self.nanoseconds.iter());
        let figures = figures.map(|(packets, ns)| json!({ "packets": packets, "ns": ns }));
        Stage::ALL.into_iter().map(|stage| stage.label().to_owned()).zip(figures).collect()
    }
}

impl Watch {
    fn every(counter: &Counter) -> Self {
        let before = counter.get();
        counter.count();
        Self(before.is_multiple_of(EVERY).then(Instant::now))
    }

    /// So many packets are through this stage; the next one begins.
    pub(super) fn lap(&mut self, stages: &Stages, stage: Stage, packets: usize) {
        let (Some(began), 1..) = (&mut self.0, packets) else { return };
        let now = Instant::now();
        stages.packets[stage as usize].add(packets as u64);
        stages.nanoseconds[stage as usize].add((now - *began).as_nanos() as u64);
        *began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_timed_and_stages_follow_one_another() {
        let stages = Stages::default();
        let began = Instant::now();
        for _ in 0..2 * EVERY {
            let mut watch = stages.packet();
            watch.lap(&stages, Stage::Judge, 1);
            watch.lap(&stages, Stage::HandOn, 1);
        }
        stages.look().lap(&stages, Stage::Receive, 32);
        let all = began.elapsed().as_nanos() as u64;
        let json = stages.to_json();
        let packets = |stage: &str| json[stage]["packets"].as_u64().expect("a number");
        assert_eq!(["receive", "judge", "hand_on", "reply"].map(packets), [32, 2, 2, 0]);
        let took: u64 = json.values().map(|stage| stage["ns"].as_u64().expect("a number")).sum();
        assert!(took <= all, "{took} of {all}");
    }
}
