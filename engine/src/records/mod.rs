//! What is written down: calls that come to nothing, calls of strangers, and who was refused. Lines of JSON in a file
//! that is put aside when it is long enough, and to an exchange at the broker for who wants them there.
//!
//! Whoever has something to tell never waits: there are two bounded queues to one thread, which joins INVITEs with their
//! answers, makes summaries in an attack, and writes. The queue of INVITEs is not the policy's, so that a flood of them keeps
//! nobody from proving an address; and it is not that of the other records, so that it pushes out none of them.
//!
//! `docs/records.md` says what is in the lines.

/// To the broker.
mod broker;
/// INVITEs that wait for their answers.
mod calls;
/// How much was written, and lost.
mod counts;
/// The file, and those that were put aside.
mod file;
/// What is written down, as it is written.
mod record;
/// INVITEs and answers as they were seen.
mod seen;
/// Summaries in an attack.
mod summary;
/// Text from packets, cut.
mod text;
/// The thread.
mod writer;

pub use broker::Publisher;
pub use calls::{ANSWERED, ATTEMPTS, SETTLED};
pub use counts::{Counts, Loss};
pub use record::{Call, Cause, GatewayRefusal, IllegalCall, Kind, LongCall, Record, Summary, Suspension, What, Why};
pub use seen::{Ended, Invited};
pub use summary::{INTERVAL, LINE_MAX as SUMMARY_MAX, SAMPLES, SOURCES_MAX, STATUSES_MAX};
pub use text::{TEXT_MAX, text};
pub use writer::Writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::control::clock::Clock;
use crate::policy::gateways::News;
use crate::xdp::ip;
use seen::Seen;

/// INVITEs and answers that may be on their way to the thread, up to 1.5 KB each. It looks every 20 ms, so this is room for
/// 400,000 a second; more are counted and lost, and the calls that they belong to with them.
pub const CALLS: usize = 8_192;
/// Records that may be on their way there: those of gateways and suspensions, which are few.
pub const TOLD: usize = 1_024;
/// Lines that wait for the broker, up to some KB each. More are counted, and in the file alone.
pub const UNSENT: usize = 1_024;

/// Where what is to be written down is told; a copy leads to the same place.
#[derive(Clone, Debug)]
pub struct Records {
    calls: Sender<Seen>,
    told: Sender<Record>,
    shared: Arc<Shared>,
}

/// What the thread and those who tell it something share.
#[derive(Debug)]
struct Shared {
    counts: Counts,
    /// Is anything written down?
    on: AtomicBool,
    closed: AtomicBool,
    /// What the broker is to have; whoever publishes holds it for as long.
    unsent: tokio::sync::Mutex<mpsc::Receiver<Line>>,
}

/// A line as it stands in the file, without its end.
#[derive(Clone, Debug)]
struct Line {
    kind: Kind,
    text: Arc<str>,
}

/// The thread's ends of the queues.
#[derive(Debug)]
struct Inbox {
    calls: Receiver<Seen>,
    told: Receiver<Record>,
    unsent: mpsc::Sender<Line>,
    shared: Arc<Shared>,
}

/// Both ends.
fn open() -> (Records, Inbox) {
    let ((calls, from_calls), (told, from_told)) = (bounded(CALLS), bounded(TOLD));
    let (unsent, to_broker) = mpsc::channel(UNSENT);
    let shared = Arc::new(Shared {
        counts: Counts::default(),
        on: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        unsent: tokio::sync::Mutex::new(to_broker),
    });
    let inbox = Inbox { calls: from_calls, told: from_told, unsent, shared: Arc::clone(&shared) };
    (Records { calls, told, shared }, inbox)
}

impl Records {
    /// Is anything written down? What costs something to put together need not be, if not.
    pub fn is_on(&self) -> bool {
        self.shared.on.load(Relaxed)
    }

    /// This is to be written down, if anything is. Never waits.
    pub fn tell(&self, record: Record) {
        if self.is_on() && self.told.try_send(record).is_err() {
            self.shared.counts.lose(Loss::Busy, 1);
        }
    }

    /// If a call has lasted longer than its gateway's may, that is to be written down.
    pub fn long_call(&self, news: &News) {
        let News::LongCall { gateway, src, call_id, longest } = news else { return };
        let (gateway, source, call_id) = (gateway.clone(), ip(*src), text(call_id));
        let call = LongCall { gateway, source, call_id, max_seconds: longest / 1_000_000_000 };
        self.tell(Record::at(Clock::now().wall_ns(), What::LongCall(Box::new(call))));
    }

    /// An INVITE goes to the softswitch. Told before it does, since its answer must not be told first. Never waits.
    pub fn invited(&self, invited: Box<Invited>) {
        self.see(Seen::Invited(invited));
    }

    /// An INVITE has got its final response. Never waits.
    pub fn ended(&self, ended: Box<Ended>) {
        self.see(Seen::Ended(ended));
    }

    fn see(&self, seen: Seen) {
        if self.is_on() && self.calls.try_send(seen).is_err() {
            self.shared.counts.lose(Loss::Busy, 1);
        }
    }

    /// How much was written, and lost.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// As JSON: `on`, `written` by kind, `summarised`, `lost` by why.
    pub fn to_json(&self) -> Value {
        let mut json = self.counts().to_json();
        json["on"] = self.is_on().into();
        json
    }

    /// Nobody tells anything any more: the thread writes what it has and ends.
    pub fn close(&self) {
        self.shared.closed.store(true, Relaxed);
    }
}
