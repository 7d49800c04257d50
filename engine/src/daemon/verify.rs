use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::control::Control;
use crate::control::verify::Verified;
use crate::live::Live;

/// How often is looked whether it is time: the configuration may change.
const ROUND: Duration = Duration::from_secs(1);

/// Compares disk, decisions and kernel as often as the configuration says, for ever, and says what has changed. Nothing is
/// repaired: an operator should know that somebody meddles.
pub(super) async fn verify(control: Arc<Control>, live: Arc<Live>) {
    let (mut last, mut said) = (Instant::now(), None);
    loop {
        tokio::time::sleep(ROUND).await;
        let every = live.in_force().config.control.verify_every;
        if every.is_zero() || last.elapsed() < every {
            continue;
        }
        let comparer = Arc::clone(&control);
        let found = tokio::task::spawn_blocking(move || comparer.verify(false)).await;
        let found = match found {
            Ok(Ok(verified)) => differs(&verified),
            Ok(Err(refusal)) => Some(format!("disk, decisions and kernel could not be compared: {refusal}")),
            Err(bug) => Some(bug.to_string()),
        };
        // as long as the same is wrong, once
        if found != said {
            match &found {
                Some(why) => warn!("{why}"),
                None => info!("disk, decisions and kernel agree again"),
            }
            said = found;
        }
        last = Instant::now();
    }
}

/// What is wrong, and what helps.
fn differs(verified: &Verified) -> Option<String> {
    let (kernel, disk) = (verified.in_kernel(), verified.on_disk());
    let example = verified.examples.first().map_or("a gate of the kernel's", String::as_str);
    (kernel + disk > 0).then(|| {
        format!(
            "kernel and decisions differ in {kernel}, disk and decisions in {disk} ({example}): somebody else writes \
             there, or this is a bug; `vosctl verify` names them, `vosctl verify --repair` mends the kernel"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_with_an_example_and_what_helps() {
        assert_eq!(differs(&Verified::default()), None);
        let examples = vec!["10.0.0.1 has no entry in the kernel".to_owned()];
        let said =
            differs(&Verified { missing: 2, rows_wrong: 1, examples, ..Verified::default() }).expect("it differs");
        assert!(said.starts_with("kernel and decisions differ in 2, disk and decisions in 1 (10.0.0.1 has"), "{said}");
        assert!(said.contains("`vosctl verify --repair`"), "{said}");
        assert!(differs(&Verified { gates_open: 1, ..Verified::default() }).is_some());
    }
}
