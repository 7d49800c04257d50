use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

use super::SendError;

/// What one worker and its peer have been to each other. Written by the worker alone, read by whoever asks.
#[derive(Debug, Default)]
pub struct Counts {
    present: AtomicBool,
    /// Times that it has come.
    pub(super) came: Counter,
    sent: Counter,
    busy: Counter,
    fell_back: Counter,
    pub(super) received: Counter,
    pub(super) bad: Counter,
}

/// A counter of one writer's: no atomic read-modify-write is needed.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }
}

impl Counts {
    /// Is somebody there?
    pub fn present(&self) -> bool {
        self.present.load(Relaxed)
    }

    pub(super) fn set_present(&self, present: bool) {
        self.present.store(present, Relaxed);
    }

    /// Something was handed to the peer, or not.
    pub(super) fn of_sending(&self, sent: Result<(), SendError>) -> Result<(), SendError> {
        match &sent {
            Ok(()) => self.sent.add(),
            Err(SendError::Busy) => self.busy.add(),
            Err(_) => {}
        }
        sent
    }

    /// The softswitch on this host got it instead.
    pub(super) fn fall_back(&self) {
        self.fell_back.add();
    }

    /// The word for each counter, and what it is at: times that the peer came; datagrams that went to it, that found no
    /// room, that the softswitch on this host got instead, that came from it, and of these those that made no sense.
    pub fn all(&self) -> [(&'static str, u64); 6] {
        let counters = [
            ("came", &self.came),
            ("sent", &self.sent),
            ("busy", &self.busy),
            ("fell_back", &self.fell_back),
            ("received", &self.received),
            ("bad_replies", &self.bad),
        ];
        counters.map(|(word, counter)| (word, counter.0.load(Relaxed)))
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let mut json = json!({ "present": self.present() });
        for (word, count) in self.all() {
            json[word] = count.into();
        }
        json
    }
}
