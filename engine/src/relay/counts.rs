use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

use super::SendError;
use crate::counter::Counter;

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
            Ok(()) => self.sent.count(),
            Err(SendError::Busy) => self.busy.count(),
            Err(_) => {}
        }
        sent
    }

    /// The softswitch on this host got it instead.
    pub(super) fn fall_back(&self) {
        self.fell_back.count();
    }

    /// The word for each counter, and what it is at: times that the peer came; datagrams that went to it, that found no
    /// room, that the softswitch on this host got instead, that came from it, and of these those that made no sense.
    pub fn all(&self) -> [(&'static str, u64); 6] {
        [
            ("came", self.came.get()),
            ("sent", self.sent.get()),
            ("busy", self.busy.get()),
            ("fell_back", self.fell_back.get()),
            ("received", self.received.get()),
            ("bad_replies", self.bad.get()),
        ]
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
