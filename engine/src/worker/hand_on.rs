use vos_common::packet::Flow;
use vos_common::reason::Reason;

use super::{Worker, rest};
use crate::live::InForce;
use crate::pipeline::{Brief, Checksum, Emergencies, worth};
use crate::policy::Sources;
use crate::relay::{SendError, Waiting};
use crate::samples::Door;
use crate::xsk::Frame;

/// A packet that waits until the relay has room, in the frame it came in.
#[derive(Debug)]
pub struct Held {
    pub(super) frame: Frame,
    pub(super) flow: Option<Flow>,
    pub(super) checksum: Checksum,
    pub(super) brief: Option<Brief>,
}

impl Worker {
    /// To the relay, or behind what waits for it.
    pub(super) fn hand_on(
        &mut self,
        mut held: Held,
        emergencies: &mut Emergencies,
        door: &mut Door,
        in_force: &InForce,
        now: u64,
    ) {
        if self.backlog.is_empty() {
            match self.send(&mut held, now) {
                Err(SendError::Busy) => {}
                sent => {
                    self.settle(sent, &mut held, door, in_force, now);
                    return self.queue.release(held.frame);
                }
            }
        }
        let priority = in_force.ruleset.priority;
        let is_known = || !priority || held.flow.is_some_and(|flow| self.sources.is_known(&flow.src));
        let class = worth(held.brief.as_ref(), is_known, emergencies, now);
        if let Some(gone) = self.backlog.push(Waiting { what: held, class, since: now }, priority) {
            self.give_up(gone, door, in_force, now);
        }
    }

    fn send(&mut self, held: &mut Held, now: u64) -> Result<(), SendError> {
        let Held { frame, flow, checksum, brief } = held;
        let sent = self.relay.send(self.queue.packet(frame), flow.as_ref(), *checksum, brief.as_ref(), now);
        self.learn(&sent, held, now);
        sent
    }

    /// How the sender of a frame is reached, unless that was refused: it may pretend to be anybody.
    pub(super) fn learn(&mut self, sent: &Result<(), SendError>, held: &mut Held, now: u64) {
        if let (Ok(()), Some(flow)) = (sent, &held.flow) {
            self.transmitter.learn(self.queue.packet(&mut held.frame), flow, now);
        }
    }

    /// Hands on what waits, as far as there is room now; returns how many packets went. What has waited too long is
    /// given up.
    pub(super) fn catch_up(&mut self, door: &mut Door, in_force: &InForce, now: u64) -> usize {
        let mut done = 0;
        while let Some(old) = self.backlog.pop_old(now) {
            self.give_up(old, door, in_force, now);
        }
        while let Some((rank, mut waiting)) = self.backlog.pop() {
            match self.send(&mut waiting.what, now) {
                Err(SendError::Busy) => {
                    self.backlog.put_back(rank, waiting);
                    break;
                }
                sent => {
                    self.settle(sent, &mut waiting.what, door, in_force, now);
                    self.queue.release(waiting.what.frame);
                    done += 1;
                }
            }
        }
        self.stats.waiting.set(self.backlog.len() as u64);
        done
    }

    pub(super) fn give_up(&mut self, waiting: Waiting<Held>, door: &mut Door, in_force: &InForce, now: u64) {
        let Waiting { what: mut held, class, .. } = waiting;
        if let Some(brief) = &mut held.brief {
            // By what it was worth it is counted.
            brief.class = class;
        }
        self.settle(Err(SendError::Busy), &mut held, door, in_force, now);
        self.queue.release(held.frame);
    }

    /// Keeps the books of what came of handing a packet on.
    pub(super) fn settle(
        &mut self,
        sent: Result<(), SendError>,
        held: &mut Held,
        door: &mut Door,
        in_force: &InForce,
        now: u64,
    ) {
        let Err(error) = sent else {
            self.stats.relayed.count();
            self.stats.partial_checksums.add(u64::from(held.checksum != Checksum::Whole));
            return;
        };
        if let Some(brief) = &held.brief {
            self.shield.forget(brief.transaction);
        }
        let reason = match error {
            SendError::Refused(reason) => reason,
            SendError::Busy => {
                self.stats.give_up(held.brief.as_ref());
                Reason::GivenUp
            }
            error => {
                self.stats.ended[Reason::RelayError as usize].count();
                if error.is_lasting() && self.stats.live() {
                    rest(&mut self.heart, self.number, &self.stats, "the relay takes no packets");
                }
                return;
            }
        };
        self.stats.ended[reason as usize].count();
        door.show(&in_force.kernel.sample, reason, self.queue.packet(&mut held.frame), now);
    }
}
