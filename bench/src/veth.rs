//! Two interfaces with a wire between them, several queues each.

use std::process::Command;

use crate::process::output;
use crate::{NetNs, Result};

/// A veth pair between two namespaces, both ends up. Dropping it removes both ends.
#[derive(Debug)]
pub struct VethPair {
    /// Namespace and interface of the first end, by which both go.
    first: (String, String),
}

impl VethPair {
    /// Joins interface `here_name` in `here` to `there_name` in `there`, with `queues` RX and TX queues on each end.
    /// The names may have 15 characters at most.
    pub fn new(here: &NetNs, here_name: &str, there: &NetNs, there_name: &str, queues: u32) -> Result<Self> {
        let queues = queues.to_string();
        let with_queues = ["numrxqueues", &queues, "numtxqueues", &queues];
        let mut add = Command::new("ip");
        add.args(["link", "add", "name", here_name, "netns", here.name()]).args(with_queues);
        add.args(["type", "veth", "peer", "name", there_name, "netns", there.name()]).args(with_queues);
        output(&mut add)?;
        let made = Self { first: (here.name().to_owned(), here_name.to_owned()) };
        here.ip(&format!("link set {here_name} up"))?;
        there.ip(&format!("link set {there_name} up"))?;
        Ok(made)
    }
}

impl Drop for VethPair {
    fn drop(&mut self) {
        // Already gone where its namespace was removed first: nothing to say about that.
        let _ = output(Command::new("ip").args(["-n", &self.first.0, "link", "del", &self.first.1]));
    }
}
