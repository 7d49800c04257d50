use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Map, Value, json};

use super::Kind;

/// Why something was not written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Loss {
    /// There was more to tell than the thread could take.
    Busy,
    /// The file took no more: a full disk, a permission, a folder that is not there.
    File,
    /// The broker was away or too slow: it is in the file alone.
    Broker,
    /// An INVITE that waited for its answer had to make room for another.
    Displaced,
}

impl Loss {
    /// All of them; the position of each is its counter's.
    pub const ALL: [Self; 4] = [Self::Busy, Self::File, Self::Broker, Self::Displaced];

    /// The word for it in JSON and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::File => "file",
            Self::Broker => "broker",
            Self::Displaced => "displaced",
        }
    }
}

/// How much was written, and lost.
#[derive(Debug, Default)]
pub struct Counts {
    written: [AtomicU64; Kind::ALL.len()],
    lost: [AtomicU64; Loss::ALL.len()],
    summarised: AtomicU64,
}

impl Counts {
    pub(super) fn write(&self, kind: Kind) {
        self.written[kind as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn lose(&self, why: Loss, n: u64) {
        self.lost[why as usize].fetch_add(n, Relaxed);
    }

    pub(super) fn summarise(&self) {
        self.summarised.fetch_add(1, Relaxed);
    }

    /// Lines of this kind in the file.
    pub fn written(&self, kind: Kind) -> u64 {
        self.written[kind as usize].load(Relaxed)
    }

    /// What was lost for this reason.
    pub fn lost(&self, why: Loss) -> u64 {
        self.lost[why as usize].load(Relaxed)
    }

    /// What is, or will be, in a summary and in no line of its own.
    pub fn summarised(&self) -> u64 {
        self.summarised.load(Relaxed)
    }

    /// As JSON: `written` by kind, `summarised`, `lost` by why.
    pub fn to_json(&self) -> Value {
        let written: Map<_, _> =
            Kind::ALL.into_iter().map(|kind| (kind.label().to_owned(), self.written(kind).into())).collect();
        let lost: Map<_, _> =
            Loss::ALL.into_iter().map(|why| (why.label().to_owned(), self.lost(why).into())).collect();
        json!({ "written": written, "summarised": self.summarised(), "lost": lost })
    }
}
