use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Map, Value, json};
use vos_common::reason::Reason;

use super::stages::Stages;
use crate::counter::{Counter, Counters};
use crate::pipeline::{Brief, Class, Kind};
use crate::relay::{Counts, Relay};
use crate::transmit::Sent;
use crate::xsk::Statistics;

/// One for each reason.
type ByReason = Counters<{ Reason::ALL.len() }>;

/// What one worker has done. Written by it alone, read by whoever asks.
#[derive(Debug, Default)]
pub struct Stats {
    pub(super) received: Counter,
    pub(super) relayed: Counter,
    pub(super) partial_checksums: Counter,
    /// What was not relayed: dropped, answered or taken.
    pub(super) ended: ByReason,
    pub(super) would_drop: ByReason,
    /// What was given up, by [`Class`].
    given_up: Counters<{ Class::ALL.len() }>,
    /// What waits until the relay has room.
    pub(super) waiting: Counter,
    /// Observations that found no room on their way to the policy.
    pub(super) unobserved: Counter,
    /// Datagrams to callers, the relay's peer's and answers, by the way they took.
    pub(super) sent: Counters<{ Sent::ALL.len() }>,
    pub(super) kinds: Counters<{ Kind::ALL.len() }>,
    /// What is counted of the socket, by [`Statistics::LABELS`].
    socket: Counters<{ Statistics::LABELS.len() }>,
    pub(super) held: Counter,
    /// Beats: how often its loop has come round to look after itself, whatever came of it.
    pub(super) turns: Counter,
    pub(super) stages: Stages,
    live: AtomicBool,
    /// Of the relay's peer, if there is one.
    peer: Option<Arc<Counts>>,
}

impl Stats {
    /// Of a worker with this relay.
    pub fn of(relay: &Relay) -> Self {
        Self { peer: relay.peer.is_some().then(|| Arc::clone(&relay.counts)), ..Self::default() }
    }

    /// As JSON, for queue `queue`.
    pub fn to_json(&self, queue: u32) -> Value {
        json!({
            "queue": queue,
            "live": self.live(),
            "received": self.received.get(),
            "relayed": self.relayed.get(),
            "relay_errors": self.ended[Reason::RelayError as usize].get(),
            "answered": by_reason(&self.ended, Reason::is_answer),
            "taken": by_reason(&self.ended, Reason::is_taken),
            "dropped": by_reason(&self.ended, is_drop),
            "sent": by_label(&self.sent, Sent::ALL.map(Sent::label)),
            "peer": self.peer.as_ref().map(|peer| peer.to_json()),
            "would_drop": by_reason(&self.would_drop, is_drop),
            "given_up": by_label(&self.given_up, Class::ALL.map(Class::label)),
            "waiting": self.waiting.get(),
            "kinds": by_label(&self.kinds, Kind::ALL.map(Kind::label)),
            "partial_checksums": self.partial_checksums.get(),
            "unobserved": self.unobserved.get(),
            "socket_lost": self.socket().filter(|(label, _)| Statistics::is_loss(label)).map(|(_, n)| n).sum::<u64>(),
            "socket": by_label(&self.socket, Statistics::LABELS),
            "held": self.held.get(),
            "stages": self.stages.to_json(),
        })
    }

    /// Grows as long as the worker goes on: one a `relay.heartbeat_ms`.
    pub fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// What was given up, of all classes.
    pub fn given_up(&self) -> u64 {
        self.given_up.iter().sum()
    }

    /// Packets that it took from the ring.
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    /// Packets that it handed on. What it received it has relayed or [`ended`](Self::ended), or it
    /// [waits](Self::waiting).
    pub fn relayed(&self) -> u64 {
        self.relayed.get()
    }

    /// Packets that ended here for this reason.
    pub fn ended(&self, reason: Reason) -> u64 {
        self.ended[reason as usize].get()
    }

    /// Packets that a rule in monitor mode would have dropped here.
    pub fn would_drop(&self, reason: Reason) -> u64 {
        self.would_drop[reason as usize].get()
    }

    /// What was given up of this class.
    pub fn given_up_of(&self, class: Class) -> u64 {
        self.given_up[class as usize].get()
    }

    /// Packets that wait until the relay has room.
    pub fn waiting(&self) -> u64 {
        self.waiting.get()
    }

    /// Datagrams to callers that went this way.
    pub fn sent(&self, sent: Sent) -> u64 {
        self.sent[sent as usize].get()
    }

    /// What is counted of the socket: the word for it, and how many.
    pub fn socket(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Statistics::LABELS.into_iter().zip(self.socket.iter())
    }

    pub(super) fn note_socket(&self, statistics: &Statistics) {
        for (at, n) in statistics.0.into_iter().enumerate() {
            self.socket[at].set(n);
        }
    }

    /// What it and the relay's peer have been to each other; `None`: there is to be none.
    pub fn counts(&self) -> Option<&Counts> {
        self.peer.as_deref()
    }

    pub(super) fn give_up(&self, brief: Option<&Brief>) {
        let class = brief.map_or(Class::Other, |brief| brief.class);
        self.given_up[class as usize].count();
    }

    /// Does the worker turn, and its relay with it?
    pub fn live(&self) -> bool {
        self.live.load(Relaxed)
    }

    /// Says so; did it before?
    pub(super) fn set_live(&self, live: bool) -> bool {
        self.live.swap(live, Relaxed)
    }

    /// Is the relay's peer there, as this worker finds it? `None`: there is to be none.
    pub fn peer(&self) -> Option<bool> {
        self.peer.as_ref().map(|peer| peer.present())
    }
}

fn is_drop(reason: Reason) -> bool {
    !reason.is_answer() && !reason.is_taken()
}

fn by_label<const N: usize>(counters: &Counters<N>, labels: [&str; N]) -> Map<String, Value> {
    labels.into_iter().map(str::to_owned).zip(counters.iter().map(Value::from)).collect()
}

/// The engine's own reasons of a kind, and those of the kernel's that were met here: by datagrams that came in
/// fragments.
fn by_reason(counters: &ByReason, kind: impl Fn(Reason) -> bool) -> Map<String, Value> {
    let counted = Reason::ALL.iter().copied().zip(counters.iter());
    counted
        .filter(|(reason, n)| *reason != Reason::RelayError && kind(*reason) && (!reason.in_kernel() || *n > 0))
        .map(|(reason, n)| (reason.label().to_owned(), n.into()))
        .collect()
}
