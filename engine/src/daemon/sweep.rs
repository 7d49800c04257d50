use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::control::Control;
use crate::seldom::Seldom;

/// How often what has ended is looked for.
const EVERY: Duration = Duration::from_secs(1);
/// How often the same trouble is told: a disk may be full for hours.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Takes out what has ended, for ever; beside everything else, since a million that end together wait for the disk often.
pub(super) async fn sweep(control: Arc<Control>) {
    let mut trouble = Seldom::default();
    loop {
        let sweeper = Arc::clone(&control);
        let swept =
            tokio::task::spawn_blocking(move || sweeper.sweep().map(drop).map_err(|refusal| refusal.to_string()));
        let why = match swept.await {
            Ok(swept) => swept.err(),
            Err(bug) => Some(bug.to_string()),
        };
        if let Some(why) = why
            && trouble.more(1, COMPLAIN).is_some()
        {
            warn!("sweeping ended rules: {why}");
        }
        tokio::time::sleep(EVERY).await;
    }
}
