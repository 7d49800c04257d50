use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::control::Control;
use crate::policy::Suspensions;
use crate::seldom::Seldom;

/// How often what has ended is looked for.
const EVERY: Duration = Duration::from_secs(1);
/// How often the same trouble is told: a disk may be full for hours.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Takes out what has ended and writes down who is suspended, for ever; beside everything else, since a million that end
/// together wait for the disk often.
pub(super) async fn sweep(control: Arc<Control>, suspensions: Arc<Suspensions>) {
    let mut trouble = Seldom::default();
    loop {
        let (sweeper, suspensions) = (Arc::clone(&control), Arc::clone(&suspensions));
        let swept = tokio::task::spawn_blocking(move || {
            let saved = suspensions.save().map_err(|error| format!("writing down who is suspended: {error}"));
            let swept = sweeper.sweep().map(drop).map_err(|refusal| format!("sweeping ended rules: {refusal}"));
            saved.and(swept)
        });
        let why = match swept.await {
            Ok(swept) => swept.err(),
            Err(bug) => Some(bug.to_string()),
        };
        if let Some(why) = why
            && trouble.more(1, COMPLAIN).is_some()
        {
            warn!("{why}");
        }
        tokio::time::sleep(EVERY).await;
    }
}
