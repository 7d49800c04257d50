use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::{Map, Value, json};
use vos_common::reason::Reason;

use crate::pipeline::{Brief, Class, Kind};
use crate::relay::{Counts, Relay};
use crate::transmit::Sent;
use crate::xsk::Statistics;

/// What one worker has done. Written by it alone, read by whoever asks.
#[derive(Debug, Default)]
pub struct Stats {
    pub(super) received: AtomicU64,
    pub(super) relayed: AtomicU64,
    pub(super) partial_checksums: AtomicU64,
    /// What was not relayed: dropped, answered or taken.
    pub(super) ended: ByReason,
    pub(super) would_drop: ByReason,
    /// What was given up, by [`Class`].
    given_up: [AtomicU64; Class::ALL.len()],
    /// What waits until the relay has room.
    pub(super) waiting: AtomicU64,
    /// Observations that found no room on their way to the policy.
    pub(super) unobserved: AtomicU64,
    /// Datagrams to callers, the relay's peer's and answers, by the way they took.
    pub(super) sent: [AtomicU64; Sent::ALL.len()],
    pub(super) kinds: [AtomicU64; Kind::ALL.len()],
    /// What the kernel counts of the socket, and frames that it lost, by [`Statistics::LABELS`].
    socket: [AtomicU64; Statistics::LABELS.len()],
    pub(super) held: AtomicU64,
    pub(super) live: AtomicBool,
    /// Of the relay's peer, if there is one.
    peer: Option<Arc<Counts>>,
}

/// A counter for each reason.
#[derive(Debug)]
pub(super) struct ByReason([AtomicU64; Reason::ALL.len()]);

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl ByReason {
    pub(super) fn add(&self, reason: Reason) {
        add(&self.0[reason as usize], 1);
    }

    fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }

    /// The engine's own reasons of a kind, and those of the kernel's that were met here: by datagrams that came in
    /// fragments.
    fn to_json(&self, kind: impl Fn(Reason) -> bool) -> Map<String, Value> {
        let counted = Reason::ALL.iter().zip(&self.0).map(|(reason, counter)| (reason, counter.load(Relaxed)));
        counted
            .filter(|(reason, n)| **reason != Reason::RelayError && kind(**reason) && (!reason.in_kernel() || *n > 0))
            .map(|(reason, n)| (reason.label().to_owned(), n.into()))
            .collect()
    }
}

/// Only this thread writes it: no atomic read-modify-write is needed.
pub(super) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}

impl Stats {
    /// Of a worker with this relay.
    pub fn of(relay: &Relay) -> Self {
        Self { peer: relay.peer.is_some().then(|| Arc::clone(&relay.counts)), ..Self::default() }
    }

    /// As JSON, for queue `queue`.
    pub fn to_json(&self, queue: u32) -> Value {
        let kinds: Map<String, Value> = Kind::ALL
            .iter()
            .map(|kind| (kind.label().to_owned(), self.kinds[*kind as usize].load(Relaxed).into()))
            .collect();
        let given_up: Map<String, Value> = Class::ALL
            .iter()
            .map(|class| (class.label().to_owned(), self.given_up[*class as usize].load(Relaxed).into()))
            .collect();
        let sent: Map<String, Value> = Sent::ALL
            .iter()
            .map(|sent| (sent.label().to_owned(), self.sent[*sent as usize].load(Relaxed).into()))
            .collect();
        json!({
            "queue": queue,
            "live": self.live.load(Relaxed),
            "received": self.received.load(Relaxed),
            "relayed": self.relayed.load(Relaxed),
            "relay_errors": self.ended.of(Reason::RelayError),
            "answered": self.ended.to_json(Reason::is_answer),
            "taken": self.ended.to_json(Reason::is_taken),
            "dropped": self.ended.to_json(is_drop),
            "sent": sent,
            "peer": self.peer.as_ref().map(|peer| peer.to_json()),
            "would_drop": self.would_drop.to_json(is_drop),
            "given_up": given_up,
            "waiting": self.waiting.load(Relaxed),
            "kinds": kinds,
            "partial_checksums": self.partial_checksums.load(Relaxed),
            "unobserved": self.unobserved.load(Relaxed),
            "socket_lost": self.socket_lost(),
            "socket": self.socket().map(|(label, n)| (label.to_owned(), n.into())).collect::<Map<_, _>>(),
            "held": self.held.load(Relaxed),
        })
    }

    /// What was given up, of all classes.
    pub fn given_up(&self) -> u64 {
        self.given_up.iter().map(|counter| counter.load(Relaxed)).sum()
    }

    /// Packets that it took from the ring.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Packets that it handed on. What it received it has relayed or [`ended`](Self::ended), or it
    /// [waits](Self::waiting).
    pub fn relayed(&self) -> u64 {
        self.relayed.load(Relaxed)
    }

    /// Packets that ended here for this reason.
    pub fn ended(&self, reason: Reason) -> u64 {
        self.ended.of(reason)
    }

    /// Packets that a rule in monitor mode would have dropped here.
    pub fn would_drop(&self, reason: Reason) -> u64 {
        self.would_drop.of(reason)
    }

    /// What was given up of this class.
    pub fn given_up_of(&self, class: Class) -> u64 {
        self.given_up[class as usize].load(Relaxed)
    }

    /// Packets that wait until the relay has room.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Datagrams to callers that went this way.
    pub fn sent(&self, sent: Sent) -> u64 {
        self.sent[sent as usize].load(Relaxed)
    }

    /// What the kernel counts of the socket: the word for it, and how many.
    pub fn socket(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Statistics::LABELS.into_iter().zip(&self.socket).map(|(label, counter)| (label, counter.load(Relaxed)))
    }

    /// Packets that the kernel could not put into the ring.
    fn socket_lost(&self) -> u64 {
        self.socket().filter(|(label, _)| Statistics::is_loss(label)).map(|(_, n)| n).sum()
    }

    /// What the kernel counts now.
    pub(super) fn note_socket(&self, statistics: &Statistics) {
        for (counter, n) in self.socket.iter().zip(statistics.0) {
            counter.store(n, Relaxed);
        }
    }

    /// What it and the relay's peer have been to each other; `None`: there is to be none.
    pub fn counts(&self) -> Option<&Counts> {
        self.peer.as_deref()
    }

    pub(super) fn give_up(&self, brief: Option<&Brief>) {
        let class = brief.map_or(Class::Other, |brief| brief.class);
        add(&self.given_up[class as usize], 1);
    }

    /// Does the worker turn, and its relay with it?
    pub fn live(&self) -> bool {
        self.live.load(Relaxed)
    }

    /// Is the relay's peer there, as this worker finds it? `None`: there is to be none.
    pub fn peer(&self) -> Option<bool> {
        self.peer.as_ref().map(|peer| peer.present())
    }
}

fn is_drop(reason: Reason) -> bool {
    !reason.is_answer() && !reason.is_taken()
}

