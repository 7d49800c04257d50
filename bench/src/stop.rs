//! SIGINT, SIGTERM and SIGHUP as a flag that every loop looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};

use crate::{Error, Result};

/// How long a loop may wait before it looks at the flag again: short enough that Ctrl-C feels immediate.
pub const LOOK: Duration = Duration::from_millis(100);

/// "Please end": set once, seen by all clones.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that nobody sets but [`Stop::set`].
    pub fn never() -> Self {
        Self::default()
    }

    /// A flag that the first SIGINT, SIGTERM or SIGHUP sets. Call it before any thread is started: the signals are
    /// blocked in this thread and all that come after it, and one thread waits for them. Children started by
    /// [`process`](crate::process) have them unblocked again.
    pub fn on_signals() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block().map_err(Error::io("block signals"))?;
        let stop = Self::default();
        let flag = stop.clone();
        std::thread::spawn(move || {
            while signals.wait().is_err() {}
            flag.set();
        });
        Ok(stop)
    }

    /// Asks for the end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Has the end been asked for?
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// `Err(Interrupted)` once the end has been asked for.
    pub fn check(&self) -> Result<()> {
        if self.is_set() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Waits until `ready` gives something, at most `limit`; looks every `every`. `None` is "not in time".
    pub fn wait_for<T>(
        &self,
        limit: Duration,
        every: Duration,
        mut ready: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let end = Instant::now() + limit;
        loop {
            self.check()?;
            if let Some(found) = ready()? {
                return Ok(Some(found));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            std::thread::sleep(every.min(left).min(LOOK));
        }
    }
}
