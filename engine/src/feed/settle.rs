//! What messages ask for goes to the control plane together; what the disk refuses is asked again until it is taken.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tracing::warn;

use crate::amqp::Backoff;
use crate::control::Control;
use crate::control::ask::{Ask, By, Done, Refusal};
use crate::feed::Tally;
use crate::feed::message::MessageError;
use crate::seldom::Seldom;

/// A message as it was read.
pub(super) type Read = Result<Vec<Ask>, MessageError>;

/// What became of a message: all of it is in force, or why something of it never will be.
pub(super) type Settled = Result<(), String>;

/// The same, once it is known.
type Fate = Option<Settled>;

/// A message that is not settled: its place among all, and what it asks for.
type Open = (usize, Vec<Ask>);

/// Log lines of one feed about bad messages: at most one in this time. More: whoever sends nonsense fills the log.
pub(super) const SAID_EVERY: Duration = Duration::from_secs(1);

/// Where messages of one feed are settled.
pub(super) struct Settler {
    control: Arc<Control>,
    by: By,
    tally: Arc<Tally>,
    name: String,
    bad: Seldom,
}

impl Settler {
    pub(super) fn new(control: Arc<Control>, by: By, tally: Arc<Tally>, name: String) -> Self {
        Self { control, by, tally, name, bad: Seldom::default() }
    }

    /// Gives what became of each message, in their order; what is in force is on disk. As long as the disk refuses, this
    /// does not come back.
    pub(super) async fn settle(&mut self, messages: Vec<Read>) -> Vec<Settled> {
        self.tally.read.fetch_add(messages.len() as u64, Relaxed);
        let mut settled: Vec<Fate> = Vec::with_capacity(messages.len());
        let mut open: Vec<Open> = Vec::new();
        for message in messages {
            settled.push(match message {
                Ok(asks) => {
                    open.push((settled.len(), asks));
                    None
                }
                Err(error) => {
                    self.tally.bad.fetch_add(1, Relaxed);
                    Some(Err(error.to_string()))
                }
            });
        }
        let mut backoff = Backoff::default();
        while !open.is_empty() {
            let results = self.submit(open.iter().flat_map(|(_, asks)| asks.iter().cloned()).collect()).await;
            let Some(why) = self.take(&mut open, results, &mut settled) else { break };
            warn!("{}: {} messages wait, and are tried again: {why}", self.name, open.len());
            self.tally.complain(why);
            tokio::time::sleep(backoff.wait()).await;
        }
        let settled: Vec<_> = settled.into_iter().flatten().collect();
        self.say(&settled);
        settled
    }

    async fn submit(&self, asks: Vec<Ask>) -> Vec<Result<Done, Refusal>> {
        let (control, by) = (Arc::clone(&self.control), self.by.clone());
        let submitted = tokio::task::spawn_blocking(move || control.submit(&by, asks, None)).await;
        submitted.map(|outcome| outcome.results).unwrap_or_default()
    }

    /// Settles open messages by these results, up to the first that must be asked again; gives why it must. All behind it
    /// stay open with it, even those that are done: asked again, an unblock comes behind its block once more.
    fn take(&self, open: &mut Vec<Open>, results: Vec<Result<Done, Refusal>>, settled: &mut [Fate]) -> Option<String> {
        let mut results = results.into_iter();
        for (at, (place, asks)) in open.iter().enumerate() {
            match self.weigh(asks.len(), results.by_ref().take(asks.len()).collect()) {
                Ok(fate) => settled[*place] = Some(fate),
                Err(why) => {
                    open.drain(..at);
                    return Some(why);
                }
            }
        }
        None
    }

    /// What became of a message with so many wishes and these results; the outer error: nothing yet, ask again.
    fn weigh(&self, asked: usize, results: Vec<Result<Done, Refusal>>) -> Result<Settled, String> {
        if results.len() < asked {
            return Err("the control plane gave no answer".to_owned());
        }
        let (mut applied, mut already, mut refused) = (0, 0, Vec::new());
        for result in results {
            match result {
                Ok(Done::Made { .. } | Done::Removed { .. }) => applied += 1,
                // It is as it was asked for: a message that came twice.
                Ok(Done::Already(_)) | Err(Refusal::NoSuchRule { .. }) => already += 1,
                Err(refusal @ Refusal::Store(_)) => return Err(refusal.to_string()),
                Err(refusal) => refused.push(refusal.to_string()),
            }
        }
        for (count, more) in [
            (&self.tally.applied, applied),
            (&self.tally.already, already),
            (&self.tally.refused, refused.len() as u64),
        ] {
            count.fetch_add(more, Relaxed);
        }
        let others = refused.len().saturating_sub(1);
        Ok(match refused.into_iter().next() {
            None => Ok(()),
            Some(first) if others == 0 => Err(first),
            Some(first) => Err(format!("{first} (and {others} more of its entries are refused)")),
        })
    }

    /// The last bad one is shown, until one is good; some are logged.
    fn say(&mut self, settled: &[Settled]) {
        let mut bad = settled.iter().filter_map(|settled| settled.as_ref().err());
        let count = bad.clone().count() as u64;
        match bad.next_back() {
            None if !settled.is_empty() => self.tally.up(),
            None => {}
            Some(why) => {
                self.tally.complain(why.as_str());
                if let Some(count) = self.bad.more(count, SAID_EVERY) {
                    warn!("{}: {count} bad messages, the last of them: {}", self.name, why.escape_debug());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
