use std::sync::Arc;

use thiserror::Error;

use crate::cluster::message::{Body, Message};
use crate::cluster::{Cluster, LogError};

/// A node is not forgotten. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ForgetError {
    /// The log has not told of it.
    #[error("the log has told of no node {0}: `vosctl cluster status` shows all")]
    NoSuchNode(String),
    /// It is there.
    #[error("the node {0} is there: stop its engine, or take it out of the cluster, then forget it")]
    IsThere(String),
    /// The log cannot be written.
    #[error("not in touch with the log: forget it when the broker is back")]
    NotConnected,
    /// The log cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Cluster {
    /// Has all nodes forget one that is no longer there, which else would be silent for ever. What it has decided stays;
    /// should it come back, it is known again.
    pub async fn forget(self: &Arc<Self>, node: &str) -> Result<(), ForgetError> {
        let status = self.status().await;
        let Some(known) = status.nodes.iter().find(|known| known.node == node) else {
            return Err(ForgetError::NoSuchNode(node.to_owned()));
        };
        if known.holds.is_some() {
            return Err(ForgetError::IsThere(node.to_owned()));
        }
        let writer = self.state().writer.clone().ok_or(ForgetError::NotConnected)?;
        let message = Message::new(&self.member.node, self.run, Body::Forget(node.into()));
        Ok(writer.write([message.bytes()]).await?)
    }
}
