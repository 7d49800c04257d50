use std::convert::Infallible;
use std::sync::Arc;

use crate::cluster::message::{Body, Message};
use crate::cluster::stream::Writer;
use crate::cluster::{Cluster, LogError, blocking};

/// Entries written at once. Fewer: a round trip to the broker for each few. More: memory, up to some megabytes each.
const AT_ONCE: usize = 64;

impl Cluster {
    /// Writes what this node decides, in order, until the broker is gone. What the broker did not confirm is written again
    /// the next time; whoever reads it twice passes over the second.
    pub(super) async fn publish(self: &Arc<Self>, writer: &Writer) -> Result<Infallible, LogError> {
        loop {
            let this = Arc::clone(self);
            let entries = blocking(move || this.control.outbox(AT_ONCE)).await??;
            if entries.is_empty() {
                self.control.posted().await;
                continue;
            }
            let sequences = entries.iter().map(|entry| entry.sequence).collect();
            let message = |entry| Message::new(&self.member.node, self.run, Body::Entry(entry)).bytes();
            writer.write(entries.into_iter().map(message)).await?;
            let this = Arc::clone(self);
            blocking(move || this.control.sent(sequences)).await??;
        }
    }
}
