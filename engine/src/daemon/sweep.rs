use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::control::Control;

/// How often what has ended is looked for.
const EVERY: Duration = Duration::from_secs(1);
/// How often the same trouble is told: a disk may be full for hours.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Takes out what has ended, for ever; beside everything else, since a million that end together wait for the disk often.
pub(super) async fn sweep(control: Arc<Control>) {
    let mut told: Option<(String, Instant)> = None;
    loop {
        let sweeper = Arc::clone(&control);
        let swept = tokio::task::spawn_blocking(move || sweeper.sweep().map(drop)).await;
        let error = match swept {
            Ok(Ok(())) => None,
            Ok(Err(refusal)) => Some(refusal.to_string()),
            Err(bug) => Some(bug.to_string()),
        };
        told =
            error.map(|error| match told.take().filter(|(before, at)| *before == error && at.elapsed() < COMPLAIN) {
                Some(told) => told,
                None => {
                    warn!("sweeping ended rules: {error}");
                    (error, Instant::now())
                }
            });
        tokio::time::sleep(EVERY).await;
    }
}
