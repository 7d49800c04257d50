//! The pinned loop of one queue: takes frames from the ring, has them judged, hands them on, gives the frames back.
//!
//! What is decided is `pipeline`'s business. Per packet there is no allocation, no lock (but for fragments), no log
//! line, and no system call but the relay's.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aya::maps::{Array, MapData};
use crossbeam_channel::Sender;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};
use sip_parse::Index;
use tracing::{info, warn};
use vos_common::reason::Reason;

use crate::config::{Config, Wait};
use crate::live::Live;
use crate::pipeline::{self, Action, Context, Kind, Outcome};
use crate::policy::{Ack, Secret};
use crate::reassembly::Reassembly;
use crate::relay::{Relay, SendError};
use crate::samples::Door;
use crate::sys;
use crate::xdp::KernelSources;
use crate::xsk::{Frame, Queue};

/// What one worker has done. Written by it alone, read by whoever asks.
#[derive(Debug, Default)]
pub struct Stats {
    received: AtomicU64,
    relayed: AtomicU64,
    partial_checksums: AtomicU64,
    dropped: [AtomicU64; Reason::ALL.len()],
    would_drop: [AtomicU64; Reason::ALL.len()],
    /// Observations that found no room on their way to the policy.
    unobserved: AtomicU64,
    kinds: [AtomicU64; Kind::ALL.len()],
    lost: AtomicU64,
    held: AtomicU64,
    live: AtomicBool,
}

/// Only this thread writes it: no atomic read-modify-write is needed.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}

impl Stats {
    /// As JSON, for queue `queue`.
    pub fn to_json(&self, queue: u32) -> Value {
        let kinds: Map<String, Value> = Kind::ALL
            .iter()
            .map(|kind| (kind.label().to_owned(), self.kinds[*kind as usize].load(Relaxed).into()))
            .collect();
        json!({
            "queue": queue,
            "live": self.live.load(Relaxed),
            "received": self.received.load(Relaxed),
            "relayed": self.relayed.load(Relaxed),
            "relay_errors": self.dropped[Reason::RelayError as usize].load(Relaxed),
            "dropped": by_reason(&self.dropped),
            "would_drop": by_reason(&self.would_drop),
            "kinds": kinds,
            "partial_checksums": self.partial_checksums.load(Relaxed),
            "unobserved": self.unobserved.load(Relaxed),
            "socket_lost": self.lost.load(Relaxed),
            "held": self.held.load(Relaxed),
        })
    }

    /// Does the worker turn, and its relay with it?
    pub fn live(&self) -> bool {
        self.live.load(Relaxed)
    }
}

/// The engine's own reasons, and those of the kernel's that were met here: by datagrams that came in fragments.
fn by_reason(counters: &[AtomicU64; Reason::ALL.len()]) -> Map<String, Value> {
    let counted = Reason::ALL.iter().zip(counters).map(|(reason, counter)| (reason, counter.load(Relaxed)));
    counted
        .filter(|(reason, n)| **reason != Reason::RelayError && (!reason.in_kernel() || *n > 0))
        .map(|(reason, n)| (reason.label().to_owned(), n.into()))
        .collect()
}

/// One queue's worker, ready to run.
pub struct Worker {
    /// The RX queue it serves.
    pub number: u32,
    /// Its rings.
    pub queue: Queue,
    /// Its way to the softswitch.
    pub relay: Relay,
    /// Where it says that it lives.
    pub heart: Array<MapData, u64>,
    /// What it counts.
    pub stats: Arc<Stats>,
    /// Datagrams in fragments, shared by all workers.
    pub fragments: Arc<Reassembly>,
    /// What is in force and may change at any time.
    pub live: Arc<Live>,
    /// Who is known.
    pub sources: KernelSources,
    /// What observations are hashed with.
    pub secret: Secret,
    /// Where they go.
    pub observations: Sender<Ack>,
}

fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

impl Worker {
    /// Runs until `stop`, and shows at `door` what it drops. On the way out the heartbeat ends first, then what is in the ring is still relayed.
    pub fn run(mut self, config: &Config, core: Option<usize>, mut door: Door, stop: &AtomicBool) {
        if let Some(id) = core
            && !core_affinity::set_for_current(core_affinity::CoreId { id })
        {
            warn!("queue {}: cannot be pinned to core {id}: is there one, and may this process use it?", self.number);
        }
        let worker = &config.worker;
        let busy = worker.wait == Wait::Busy;
        if busy && let Err(error) = sys::busy_poll(self.queue.fd(), worker.busy_poll_us, worker.busy_poll_budget) {
            warn!("queue {}: the kernel refuses busy polling ({error}); polling without it", self.number);
        }
        let beat = u64::from(config.relay.heartbeat_ms) * 1_000_000;
        let spin = u64::from(worker.spin_us) * 1_000;
        let mut batch = Vec::with_capacity(config.xsk.batch as usize);
        let mut index = Index::new();
        let (mut next_beat, mut idle_since) = (0, 0);
        while !stop.load(Relaxed) {
            let now = now();
            if now >= next_beat {
                self.beat(now);
                next_beat = now + beat;
            }
            self.queue.refill();
            if self.turn(&mut batch, &mut index, &mut door) > 0 {
                idle_since = 0;
                // A driver that sleeps until it is told of new frames in the fill ring is told.
                if self.queue.needs_wakeup() {
                    wait(self.queue.fd(), Duration::ZERO);
                }
                continue;
            }
            if busy {
                wait(self.queue.fd(), Duration::ZERO);
                continue;
            }
            if spin > 0 {
                if idle_since == 0 {
                    idle_since = now;
                }
                if now - idle_since < spin {
                    std::hint::spin_loop();
                    continue;
                }
            }
            idle_since = 0;
            wait(self.queue.fd(), Duration::from_nanos(next_beat.saturating_sub(now)));
        }
        self.rest(0);
        // Packets that were on their way to the ring when the heartbeat ended.
        std::thread::sleep(Duration::from_millis(10));
        while self.turn(&mut batch, &mut index, &mut door) > 0 {}
    }

    /// One batch; returns how many packets there were.
    fn turn(&mut self, batch: &mut Vec<Frame>, index: &mut Index, door: &mut Door) -> usize {
        let got = self.queue.receive(batch);
        if got == 0 {
            return 0;
        }
        add(&self.stats.received, got as u64);
        // One configuration for the batch.
        let in_force = self.live.in_force();
        let (sources, fragments, secret) = (&self.sources, &*self.fragments, &self.secret);
        let context = Context { rules: &in_force.ruleset, sources, fragments, secret };
        for mut frame in batch.drain(..) {
            let packet = self.queue.packet(&mut frame);
            let Outcome { action, kind, would, ack } = pipeline::handle(packet, index, &context, now);
            add(&self.stats.kinds[kind as usize], 1);
            if let Some(reason) = would {
                add(&self.stats.would_drop[reason as usize], 1);
            }
            if let Some(ack) = ack
                && self.observations.try_send(ack).is_err()
            {
                add(&self.stats.unobserved, 1);
            }
            match action {
                Action::Relay(checksum) => match self.relay.send(packet, checksum) {
                    Ok(()) => {
                        add(&self.stats.relayed, 1);
                        add(&self.stats.partial_checksums, u64::from(checksum != pipeline::Checksum::Whole));
                    }
                    Err(SendError::Refused(reason)) => {
                        add(&self.stats.dropped[reason as usize], 1);
                        door.show(&in_force.kernel.sample, reason, packet, now());
                    }
                    Err(error) => {
                        add(&self.stats.dropped[Reason::RelayError as usize], 1);
                        if error.is_lasting() && self.stats.live() {
                            rest(&mut self.heart, self.number, &self.stats, "the relay takes no packets");
                        }
                    }
                },
                Action::Drop(reason) => {
                    add(&self.stats.dropped[reason as usize], 1);
                    door.show(&in_force.kernel.sample, reason, packet, now());
                }
            }
            self.queue.release(frame);
        }
        got
    }

    fn beat(&mut self, now: u64) {
        self.stats.lost.store(self.queue.lost() + self.queue.bad_descriptors(), Relaxed);
        self.stats.held.store(self.queue.held() as u64, Relaxed);
        if !self.relay.probe() {
            if self.stats.live() {
                rest(&mut self.heart, self.number, &self.stats, "the probe does not cross the relay");
            }
            return;
        }
        let _a_missed_beat_shows_by_itself = self.heart.set(self.number, now, 0);
        if !self.stats.live.swap(true, Relaxed) {
            info!("queue {}: live", self.number);
        }
    }

    fn rest(&mut self, beat: u64) {
        self.stats.live.store(false, Relaxed);
        let _stale_soon_anyway = self.heart.set(self.number, beat, 0);
    }
}

/// Ends the heartbeat: packets take the kernel's path from now on.
fn rest(heart: &mut Array<MapData, u64>, number: u32, stats: &Stats, why: &str) {
    stats.live.store(false, Relaxed);
    let _stale_soon_anyway = heart.set(number, 0, 0);
    warn!("queue {number}: {why}: its packets take the kernel's path until it does again");
}

/// Waits for packets, and wakes the driver where it wants to be woken.
fn wait(socket: BorrowedFd<'_>, patience: Duration) {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    // Rounded up: waking a moment early would spin.
    let ms = patience.as_nanos().div_ceil(1_000_000);
    let _interrupted = poll(&mut fds, PollTimeout::try_from(ms).unwrap_or(PollTimeout::ZERO));
}
