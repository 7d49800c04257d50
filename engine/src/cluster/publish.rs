use std::convert::Infallible;
use std::sync::Arc;

use crate::cluster::message::{Body, Message};
use crate::cluster::stream::Writer;
use crate::cluster::{Cluster, LogError, blocking};
use crate::control::ask::Refusal;

/// Entries written at once. Fewer: a round trip to the broker for each few. More: memory, up to some megabytes each.
const AT_ONCE: usize = 64;

impl Cluster {
    /// Writes what this node decides, in order, until the broker is gone. What the broker did not confirm is written again
    /// the next time; whoever reads it twice passes over the second.
    pub(super) async fn publish(self: &Arc<Self>, writer: &Writer) -> Result<Infallible, LogError> {
        loop {
            let this = Arc::clone(self);
            let (sequences, messages) = blocking(move || this.outbox()).await??;
            if messages.is_empty() {
                self.control.posted().await;
                continue;
            }
            writer.write(messages).await?;
            let this = Arc::clone(self);
            blocking(move || this.control.sent(sequences)).await??;
        }
    }

    /// What is to be written next: sequences and messages.
    fn outbox(&self) -> Result<(Vec<u64>, Vec<Vec<u8>>), Refusal> {
        let message = |entry| Message::new(&self.member.node, self.run, Body::Entry(entry)).bytes();
        let entries = self.control.outbox(AT_ONCE)?;
        Ok(entries.into_iter().map(|entry| (entry.sequence, message(entry))).unzip())
    }
}
