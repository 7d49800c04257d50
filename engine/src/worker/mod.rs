//! The pinned loop of one queue: takes frames from the ring, has them judged, hands them on, gives the frames back.
//!
//! What is decided is `pipeline`'s business. Per packet there is no allocation, no log line, no lock but that of
//! fragments, and no system call but the relay's and, where it matters who sends (a foreign domain, what is answered here, a
//! softswitch that is behind), the look-up of the source. The clock is read once a batch,
//! and for what is shown of stages once in many packets more.

/// To the relay, or behind what waits for it.
mod hand_on;
/// Where its time goes.
mod stages;
/// What it counts and shows.
mod stats;

pub use hand_on::Held;
pub use stats::Stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use aya::maps::{Array, MapData};
use crossbeam_channel::Sender;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use sip_parse::Mode;
use tracing::{info, warn};
use vos_common::packet;
use vos_common::reason::Reason;

use crate::config::{Config, RelayTo, Wait};
use crate::events::{PeerChange, What};
use crate::health::Health;
use crate::live::{InForce, Live};
use crate::pipeline::{self, Action, Answers, Checksum, Context, Outcome, Scratch};
use crate::policy::gateways::Gateways;
use crate::policy::{self, Granted, Observation, Said, Secret, Suspensions};
use crate::pressure::{Pressed, Pressure};
use crate::privileges;
use crate::reassembly::Reassembly;
use crate::records::{Ended, Invited, Records};
use crate::relay::{Backlog, Relay};
use crate::samples::Door;
use crate::shield::Shield;
use crate::sys;
use crate::transmit::{Outgoing, Sent, Transmitter};
use crate::xdp::KernelSources;
use crate::xsk::{Frame, Queue};
use stages::Stage;

/// How soon the kernel is asked again to send what it has left in the TX ring. Shorter: a link that takes nothing costs
/// more. Longer: answers are late when it does.
const UNSENT_PATIENCE: Duration = Duration::from_millis(1);
/// How long to wait where a socket says that it has room and has none.
const RETRY: Duration = Duration::from_millis(1);

/// One queue's worker, ready to run.
pub struct Worker {
    /// The RX queue it serves.
    pub number: u32,
    /// Its rings.
    pub queue: Queue,
    /// Its way to the softswitch.
    pub relay: Relay,
    /// What waits until that has room.
    pub backlog: Backlog<Held>,
    /// Its way back to the callers, past the kernel.
    pub transmitter: Transmitter,
    /// Where it says that it lives.
    pub heart: Array<MapData, u64>,
    /// What it counts.
    pub stats: Arc<Stats>,
    /// Datagrams in fragments, shared by all workers.
    pub fragments: Arc<Reassembly>,
    /// Of which requests a copy is with the softswitch, shared by all workers.
    pub shield: Arc<Shield>,
    /// How far behind the softswitch on this host is.
    pub pressure: Arc<Pressure>,
    /// What is in force and may change at any time.
    pub live: Arc<Live>,
    /// Who is known.
    pub sources: KernelSources,
    /// What observations are hashed with.
    pub secret: Secret,
    /// Whose REGISTERs are refused.
    pub suspensions: Arc<Suspensions>,
    /// Where observations go.
    pub observations: Sender<Observation>,
    /// Does the softswitch live?
    pub health: Arc<Health>,
    /// Where calls are told that may come to nothing.
    pub records: Records,
}

/// What a worker works with, made once.
struct Desk {
    batch: Vec<Frame>,
    scratch: Scratch,
    /// A datagram of the relay's peer.
    buffer: Vec<u8>,
    /// What is in force and what is behind, by references of its own: counting them anew for each batch would have all
    /// workers write to one cache line.
    live: Arc<Live>,
    pressure: Arc<Pressure>,
}

impl Desk {
    fn of(worker: &Worker, batch: usize) -> Self {
        let scratch = Scratch { answers: Answers::new(worker.transmitter.mtu()), ..Scratch::default() };
        let (live, pressure) = (Arc::clone(&worker.live), Arc::clone(&worker.pressure));
        // Room for the longest datagram and a PROXY header in front of it.
        Self { batch: Vec::with_capacity(batch), scratch, buffer: vec![0; 65_536 + 256], live, pressure }
    }
}

fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

impl Worker {
    /// Runs until `stop` without the privileges that it does not need, and shows at `door` what it drops. On the way out
    /// the heartbeat ends first, then what is in the ring is still relayed.
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
        privileges::keep(privileges::kept_by_worker(&config.relay.to));
        let beat = u64::from(config.relay.heartbeat_ms) * 1_000_000;
        let spin = u64::from(worker.spin_us) * 1_000;
        let mut desk = Desk::of(&self, config.xsk.batch as usize);
        let (mut next_beat, mut idle_since, mut has_room) = (0, 0, false);
        while !stop.load(Relaxed) {
            let now = now();
            if now >= next_beat {
                self.beat(now);
                self.tell_news(&config.relay.to, &door);
                next_beat = now + beat;
            }
            self.queue.refill();
            let done = self.turn(&mut desk, &mut door, now) + self.bring_back(&mut desk, now);
            self.queue.flush();
            if done > 0 {
                idle_since = 0;
                // A driver that sleeps until it is told of new frames in the fill ring is told.
                if self.queue.needs_wakeup() {
                    self.wait(Duration::ZERO);
                }
                continue;
            }
            if busy {
                self.wait(Duration::ZERO);
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
            let patience = Duration::from_nanos(next_beat.saturating_sub(now));
            has_room = match has_room && !self.backlog.is_empty() {
                // The peer's socket says that it has room, and has none.
                true => self.wait_for(PollFlags::POLLIN, patience.min(RETRY)),
                false => self.wait(patience),
            };
        }
        self.rest(0);
        // Packets that were on their way to the ring when the heartbeat ended.
        std::thread::sleep(Duration::from_millis(10));
        while self.turn(&mut desk, &mut door, now()) > 0 {
            self.queue.flush();
        }
        // And what has been answered meanwhile.
        self.bring_back(&mut desk, now());
        self.queue.flush();
        // What has found no room until now finds none.
        while let Some((_, waiting)) = self.backlog.pop() {
            self.give_up(waiting, &mut door, &desk.live.in_force(), now());
        }
    }

    /// One batch from the ring at `now`; returns how many packets there were.
    fn turn(&mut self, desk: &mut Desk, door: &mut Door, now: u64) -> usize {
        let mut watch = self.stats.stages.look();
        let got = self.queue.receive(&mut desk.batch);
        if got == 0 && self.backlog.is_empty() {
            return 0;
        }
        watch.lap(&self.stats.stages, Stage::Receive, got);
        self.stats.received.add(got as u64);
        // One configuration for the batch.
        let (in_force, pressed) = (desk.live.in_force(), desk.pressure.pressed());
        desk.scratch.answers.dead = self.softswitch_is_dead();
        let mut batch = std::mem::take(&mut desk.batch);
        for frame in batch.drain(..) {
            self.handle(frame, &mut desk.scratch, door, &in_force, &pressed, now);
        }
        desk.batch = batch;
        got + self.catch_up(door, &in_force, now)
    }

    /// Is nobody there, wherever packets would go?
    fn softswitch_is_dead(&self) -> bool {
        match self.relay.peer {
            None => self.health.all_dead(),
            Some(_) => self.relay.local.is_none() && (self.health.all_dead() || !self.relay.counts.present()),
        }
    }

    fn handle(
        &mut self,
        mut frame: Frame,
        scratch: &mut Scratch,
        door: &mut Door,
        in_force: &InForce,
        pressed: &Pressed,
        now: u64,
    ) {
        let (rules, sources, fragments, secret) = (&in_force.ruleset, &self.sources, &*self.fragments, &self.secret);
        let (relay, shield) = (self.relay.way(), rules.shield.then_some(&*self.shield));
        let suspensions = &*self.suspensions;
        let context = Context { rules, sources, fragments, secret, relay, shield, pressed, suspensions };
        let (length, mut watch) = (frame.len(), self.stats.stages.packet());
        scratch.answers.may_leave = self.queue.has_slot();
        let room = self.queue.room(&mut frame);
        let Outcome { action, kind, would, ack, brief, answered, heard, flow } =
            pipeline::handle(room, length, scratch, &context, || now);
        let packet = &mut room[..length];
        self.stats.kinds[kind as usize].count();
        if let Some(reason) = would {
            self.stats.would_drop[reason as usize].count();
        }
        if let Some(ack) = ack {
            tell(&self.observations, &self.stats, Observation::Ack(ack));
        }
        for attempt in scratch.attempts.drain() {
            tell(&self.observations, &self.stats, Observation::Attempt(attempt));
        }
        if let Some(registering) = scratch.attempts.take_registering() {
            tell(&self.observations, &self.stats, Observation::Registering(registering));
        }
        if let Some(invited) = scratch.invited.take() {
            tell_invited(&self.records, invited, action, answered.as_ref(), &rules.gateways);
        }
        watch.lap(&self.stats.stages, Stage::Judge, 1);
        match action {
            Action::Relay(checksum) => {
                let held = Held { frame, flow, checksum, brief };
                self.hand_on(held, &mut scratch.emergencies, door, in_force, now);
                return watch.lap(&self.stats.stages, Stage::HandOn, 1);
            }
            Action::RelayWhole => {
                // What is not in a frame cannot wait.
                let sent = self.relay.send(&mut scratch.whole, flow.as_ref(), Checksum::Whole, brief.as_ref(), now);
                let flow = packet::flow(&&*packet);
                let mut held = Held { frame, flow, checksum: Checksum::Whole, brief };
                self.learn(&sent, &mut held, now);
                self.settle(sent, &mut held, door, in_force, now);
                return self.queue.release(held.frame);
            }
            Action::Reply(length, reason) => {
                let sent = self.transmitter.reply(&mut self.queue, frame, length);
                watch.lap(&self.stats.stages, Stage::Reply, 1);
                self.stats.sent[sent as usize].count();
                let left = matches!(sent, Sent::Ring | Sent::Kernel);
                let reason = if left { reason } else { Reason::RelayError };
                self.stats.ended[reason as usize].count();
                // What leaves by the kernel, the egress program sees.
                if let (Sent::Ring, Some(answer)) = (sent, answered) {
                    tell(&self.observations, &self.stats, Observation::Answer(answer));
                }
                return;
            }
            Action::Swallow(reason) => {
                self.stats.ended[reason as usize].count();
                if let Some(heard) = heard {
                    tell(&self.observations, &self.stats, Observation::Heard(heard));
                }
            }
            Action::Drop(reason) => {
                self.stats.ended[reason as usize].count();
                if reason == Reason::GivenUp {
                    self.stats.give_up(brief.as_ref());
                }
                door.show(&in_force.kernel.sample, reason, packet, now);
            }
        }
        self.queue.release(frame);
    }

    /// What the relay's peer sends to callers, up to a batch of it.
    fn bring_back(&mut self, desk: &mut Desk, now: u64) -> usize {
        for done in 0..desk.batch.capacity() {
            let Some(outgoing) = self.relay.receive(&mut desk.buffer, now) else { return done };
            let Outgoing { from, to, payload, says } = outgoing;
            let payload = desk.buffer.get(payload).unwrap_or_default();
            let ends_call = matches!(&says, Some(Said::Answer(answer)) if answer.invite && answer.status >= 200);
            if ends_call && self.records.is_on() {
                let message = desk.scratch.index.parse(payload, Mode::Lenient).ok();
                let ended = message.and_then(|message| Ended::of(&message, &to.addr, to.port, &self.secret));
                ended.into_iter().for_each(|ended| self.records.ended(Box::new(ended)));
            }
            let grants = matches!(&says, Some(Said::Answer(answer)) if answer.grants())
                && desk.live.in_force().ruleset.registration.watch;
            let message = grants.then(|| desk.scratch.index.parse(payload, Mode::Lenient).ok()).flatten();
            let granted = message.and_then(|message| Granted::of(&message, &to, &self.secret));
            let sent = match self.live.serves(from.port) {
                true => self.transmitter.send(&mut self.queue, &from, &to, payload, now),
                false => Sent::Foreign,
            };
            self.stats.sent[sent as usize].count();
            if let Some(Said::Answer(answer)) = &says {
                // Even if it is lost: the softswitch has it for the next copy.
                self.shield.answered(answer.transaction);
            }
            // What leaves by the kernel, the egress program sees.
            if sent == Sent::Ring {
                let said = says.map(Observation::from).into_iter().chain(granted.map(Observation::Granted));
                said.for_each(|said| tell(&self.observations, &self.stats, said));
            }
        }
        desk.batch.capacity()
    }

    /// Says whether the relay's peer has come or gone, once.
    fn tell_news(&mut self, to: &RelayTo, door: &Door) {
        let Some(news) = self.relay.news() else { return };
        let queue = self.number;
        let instead = if self.relay.local.is_some() { "go to the softswitch on this host" } else { "are dropped" };
        match &news.why_absent {
            None => info!("queue {queue}: {to} is there"),
            Some(why) => warn!("queue {queue}: nobody is at {to} ({why}): packets {instead} until somebody is"),
        }
        door.tell(What::Peer(PeerChange { queue, to: to.to_string(), why_absent: news.why_absent }));
    }

    fn beat(&mut self, now: u64) {
        self.stats.turns.count();
        self.stats.note_socket(&self.queue.statistics());
        self.stats.held.set(self.queue.held() as u64);
        if !self.relay.probe(now) {
            if self.stats.live() {
                rest(&mut self.heart, self.number, &self.stats, "the probe does not cross the relay");
            }
            return;
        }
        let _a_missed_beat_shows_by_itself = self.heart.set(self.number, now, 0);
        if !self.stats.set_live(true) {
            info!("queue {}: live", self.number);
        }
    }

    /// Waits for packets of either side, and for room if some wait for that; wakes the driver where it wants to be woken.
    /// Is there room?
    fn wait(&mut self, patience: Duration) -> bool {
        let room = if self.backlog.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        self.wait_for(PollFlags::POLLIN | room, patience)
    }

    fn wait_for(&mut self, what: PollFlags, patience: Duration) -> bool {
        // What a full socket buffer has left in the TX ring, no event tells of.
        let patience = if self.queue.unsent() > 0 { patience.min(UNSENT_PATIENCE) } else { patience };
        let [first, second] = self.relay.sockets();
        let own = self.queue.fd();
        // A descriptor named twice costs nothing; an array of three needs no memory.
        let mut fds = [own, first.unwrap_or(own), second.unwrap_or(own)].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        fds[1].set_events(if first.is_some() { what } else { PollFlags::POLLIN });
        let count = if first.is_none() && second.is_none() { 1 } else { 3 };
        // Rounded up: waking a moment early would spin.
        let ms = patience.as_nanos().div_ceil(1_000_000);
        let _interrupted = poll(&mut fds[..count], PollTimeout::try_from(ms).unwrap_or(PollTimeout::ZERO));
        fds[1].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT))
    }

    fn rest(&mut self, beat: u64) {
        self.stats.set_live(false);
        let _stale_soon_anyway = self.heart.set(self.number, beat, 0);
    }
}

/// Tells the policy.
fn tell(policy: &Sender<Observation>, stats: &Stats, observation: Observation) {
    if policy.try_send(observation).is_err() {
        stats.unobserved.count();
    }
}

/// An INVITE goes on, or is answered here.
fn tell_invited(
    records: &Records,
    invited: Box<Invited>,
    action: Action,
    answered: Option<&policy::Answer>,
    gateways: &Gateways,
) {
    match (action, answered) {
        (Action::Relay(_) | Action::RelayWhole, _) => records.invited(invited),
        (Action::Reply(..), Some(answer)) => {
            let phrase = if answer.status == 503 { "Service Unavailable" } else { "" };
            let ended = Box::new(invited.refused(answer.status, phrase, gateways));
            records.invited(invited);
            records.ended(ended);
        }
        _ => {}
    }
}

/// Ends the heartbeat: packets take the kernel's path from now on.
fn rest(heart: &mut Array<MapData, u64>, number: u32, stats: &Stats, why: &str) {
    stats.set_live(false);
    let _stale_soon_anyway = heart.set(number, 0, 0);
    warn!("queue {number}: {why}: its packets take the kernel's path until it does again");
}
