//! What a service manager is told: readiness, state and a sign of life, by systemd's protocol (`sd_notify(3)`). Without
//! one, nothing happens here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio::runtime::Handle;
use tracing::{error, warn};

use crate::worker::Stats;

/// Gives a sign of life as long as all go on without whom the engine would only seem to be there: the thread that looks
/// after everything (it calls [`Supervisor::round`]), the API's runtime, every worker.
///
/// A worker that goes on although its probe does not cross the relay lives: what is wrong is elsewhere then, and a new
/// start would not mend it.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// How long systemd waits for a sign (`WatchdogSec=`); `None`: it does not.
    patience: Option<Duration>,
    /// Tasks that the API's runtime has run for this.
    answered: Arc<AtomicU64>,
    /// As far as they all were at the last sign.
    seen: Vec<u64>,
    last_sign: Instant,
    complained: bool,
    status: String,
}

impl Supervisor {
    /// With what systemd has said in the environment.
    pub(super) fn new() -> Self {
        Self::with(sd_notify::watchdog_enabled())
    }

    fn with(patience: Option<Duration>) -> Self {
        Self {
            patience,
            answered: Arc::default(),
            seen: Vec::new(),
            last_sign: Instant::now(),
            complained: false,
            status: String::new(),
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

    /// Once a second: the state in `systemctl status`, and a sign of life if there is one.
    pub(super) fn round(&mut self, mode: &str, stats: &[Arc<Stats>], runtime: &Handle) {
        let live = stats.iter().filter(|stats| stats.live()).count();
        let status = match stats.len() {
            0 => format!("mode {mode}"),
            all => format!("mode {mode}, {live} of {all} queues live"),
        };
        if self.status != status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
        let Some(patience) = self.patience else { return };
        let now = [self.answered.load(Relaxed)].into_iter().chain(stats.iter().map(|stats| stats.turns()));
        let answered = Arc::clone(&self.answered);
        runtime.spawn(async move { answered.fetch_add(1, Relaxed) });
        match self.look(now.collect()) {
            None => tell(&[NotifyState::Watchdog]),
            Some(dead) if !self.complained && self.last_sign.elapsed() > patience / 2 => {
                error!("{dead} stands still: the watchdog is not fed and will have the engine started again");
                self.complained = true;
            }
            Some(_) => {}
        }
    }

    /// Who has not gone on since the last sign; with nobody, this is one.
    fn look(&mut self, now: Vec<u64>) -> Option<String> {
        let still = self.seen.iter().zip(&now).position(|(before, now)| before == now);
        match still {
            Some(0) => Some("the API".to_owned()),
            Some(worker) => Some(format!("the worker of queue {}", worker - 1)),
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
        assert_eq!(supervisor.look(vec![0, 5, 5]), None, "nothing to compare with yet");
        assert_eq!(supervisor.look(vec![0, 6, 6]), Some("the API".to_owned()));
        assert_eq!(supervisor.look(vec![1, 9, 5]), Some("the worker of queue 1".to_owned()));
        assert_eq!(supervisor.look(vec![1, 9, 6]), None, "late, but all have gone on since the last sign");
        assert_eq!(supervisor.look(vec![2, 9, 7]), Some("the worker of queue 0".to_owned()));
    }
}
