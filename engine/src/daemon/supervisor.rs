//! What a service manager is told: readiness, state and a sign of life, by systemd's protocol (`sd_notify(3)`). Without
//! one, nothing happens here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tracing::{error, info, warn};

use crate::worker::Stats;

/// How often it is looked.
const ROUND: Duration = Duration::from_secs(1);
/// How long the thread that looks after everything may wait, for a disk above all, before the log says so. Packets, blocks in
/// force and their ends do not need it. Shorter: slow commits are news.
const LATE: Duration = Duration::from_secs(10);
/// How long it may wait before a new start is the better choice. Shorter: a disk that is frozen for a snapshot or fails over
/// ends an engine whose packets flow, and the next one needs that disk to start.
const LATEST: Duration = Duration::from_secs(300);

/// Gives a sign of life as long as all go on without whom the engine would only seem to be there: the runtimes of the API and
/// of the control plane, every worker, and with more patience the thread that looks after everything.
///
/// A worker that goes on although its probe does not cross the relay lives: what is wrong is elsewhere then, and a new
/// start would not mend it.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// How long systemd waits for a sign (`WatchdogSec=`); `None`: it does not.
    patience: Option<Duration>,
    /// As far as they all were at the last sign.
    seen: Vec<u64>,
    last_sign: Instant,
    complained: bool,
    status: String,
    /// As far as the thread that looks after everything was, and since when.
    looked: (u64, Instant),
    late: bool,
}

/// Whom it watches.
pub(super) struct Watched {
    /// What the engine does, in one word.
    pub(super) mode: &'static str,
    /// Of each worker.
    pub(super) stats: Vec<Arc<Stats>>,
    /// The API's, and the control plane's.
    pub(super) runtimes: [Handle; 2],
    /// Rounds of the thread that looks after everything.
    pub(super) rounds: Arc<AtomicU64>,
}

impl Supervisor {
    /// With what systemd has said in the environment.
    pub(super) fn new() -> Self {
        Self::with(sd_notify::watchdog_enabled())
    }

    fn with(patience: Option<Duration>) -> Self {
        Self {
            patience,
            seen: Vec::new(),
            last_sign: Instant::now(),
            complained: false,
            status: String::new(),
            looked: (0, Instant::now()),
            late: false,
        }
    }

    /// Packets are taken, commands answered.
    pub(super) fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// The end has begun.
    pub(super) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    /// Watches until nobody holds the other end of `stop` any more. On a thread of its own, which waits for nothing else.
    pub(super) fn watch(mut self, watched: &Watched, stop: &mpsc::Receiver<()>) {
        let answered = watched.runtimes.each_ref().map(|_| Arc::<AtomicU64>::default());
        while stop.recv_timeout(ROUND) == Err(mpsc::RecvTimeoutError::Timeout) {
            let turns = watched.stats.iter().map(|stats| stats.turns());
            let now = answered.iter().map(|answered| answered.load(Relaxed)).chain(turns).collect();
            for (runtime, answered) in watched.runtimes.iter().zip(&answered) {
                let answered = Arc::clone(answered);
                runtime.spawn(async move { answered.fetch_add(1, Relaxed) });
            }
            self.round(watched, now);
        }
    }

    /// The state in `systemctl status`, and a sign of life if there is one.
    fn round(&mut self, Watched { mode, stats, rounds, .. }: &Watched, now: Vec<u64>) {
        let live = stats.iter().filter(|stats| stats.live()).count();
        let status = match stats.len() {
            0 => format!("mode {mode}"),
            all => format!("mode {mode}, {live} of {all} queues live"),
        };
        if self.status != status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
        let is_looked_after = self.look_at_rounds(rounds.load(Relaxed), Instant::now());
        let Some(patience) = self.patience else { return };
        let still = if is_looked_after { self.look(now) } else { Some("what looks after everything".to_owned()) };
        match still {
            None => tell(&[NotifyState::Watchdog]),
            Some(dead) if !self.complained && self.last_sign.elapsed() > patience / 2 => {
                error!("{dead} stands still: the watchdog is not fed and will have the engine started again");
                self.complained = true;
            }
            Some(_) => {}
        }
    }

    /// Does the thread that looks after everything go on, or may it wait still?
    fn look_at_rounds(&mut self, rounds: u64, now: Instant) -> bool {
        if self.looked.0 != rounds {
            if self.late {
                info!("own addresses and the configuration are looked after again");
            }
            (self.looked, self.late) = ((rounds, now), false);
        }
        let waits = now.duration_since(self.looked.1);
        if waits > LATE && !self.late {
            error!(
                "nobody has looked after own addresses and the configuration for {} s: is the disk of control.state_dir \
                 frozen or slow? Packets flow, and what is decided stays in force",
                waits.as_secs()
            );
            self.late = true;
        }
        waits <= LATEST
    }

    /// Who has not gone on since the last sign; with nobody, this is one.
    fn look(&mut self, now: Vec<u64>) -> Option<String> {
        let still = self.seen.iter().zip(&now).position(|(before, now)| before == now);
        match still {
            Some(0) => Some("the API".to_owned()),
            Some(1) => Some("the control plane".to_owned()),
            Some(worker) => Some(format!("the worker of queue {}", worker - 2)),
            None => {
                (self.seen, self.last_sign, self.complained) = (now, Instant::now(), false);
                None
            }
        }
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        warn!("the service manager cannot be told ({error}); it may think that the engine hangs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_needs_all_of_them_and_names_who_is_missing() {
        let mut supervisor = Supervisor::with(Some(Duration::from_secs(10)));
        assert_eq!(supervisor.look(vec![0, 0, 5, 5]), None, "nothing to compare with yet");
        assert_eq!(supervisor.look(vec![0, 1, 6, 6]), Some("the API".to_owned()));
        assert_eq!(supervisor.look(vec![1, 0, 6, 6]), Some("the control plane".to_owned()));
        assert_eq!(supervisor.look(vec![1, 1, 9, 5]), Some("the worker of queue 1".to_owned()));
        assert_eq!(supervisor.look(vec![1, 1, 9, 6]), None, "late, but all have gone on since the last sign");
        assert_eq!(supervisor.look(vec![2, 2, 9, 7]), Some("the worker of queue 0".to_owned()));
    }

    #[test]
    fn who_looks_after_everything_may_wait_for_a_disk_but_not_for_ever() {
        let mut supervisor = Supervisor::with(None);
        let begin = Instant::now();
        for (seconds, rounds, goes_on) in [(1, 1, true), (30, 1, true), (301, 1, true), (302, 1, false), (303, 2, true)]
        {
            assert_eq!(supervisor.look_at_rounds(rounds, begin + Duration::from_secs(seconds)), goes_on, "{seconds}");
            assert_eq!(supervisor.late, rounds == 1 && seconds > 11, "{seconds}");
        }
    }
}
