//! What this node is called, and was before: what it decided under another name is its own all the same.

use std::sync::Arc;

use crate::control::decide::{Control, Inner};
use crate::control::decision::Made;
use crate::control::stamp::Stamp;
use crate::control::store::Batch;

/// Until when a name is this node's that it has now.
const STILL: Stamp = Stamp::of_bits(u64::MAX);

impl Control {
    /// Was it decided on this node, whatever that was called then?
    pub fn is_own(&self, made: &Made) -> bool {
        self.lock().is_own(made)
    }
}

impl Inner {
    /// Remembers what this node is called, and until when it was called otherwise: another may have that name from now on.
    pub(super) fn take_name(&mut self) {
        let node = self.node();
        let is_former = |name: &Arc<str>, until: Stamp| *name != node && until == STILL;
        let former = self.names.iter().filter(|(name, until)| is_former(name, **until));
        let mut names: Vec<_> = former.map(|(name, _)| (Arc::clone(name), self.stamp)).collect();
        if !node.is_empty() && self.names.get(&node) != Some(&STILL) {
            names.push((node, STILL));
        }
        // On a disk that is full the engine starts all the same, and the next start writes it.
        if !names.is_empty() && self.commit(Batch { names: names.clone(), ..Batch::default() }).is_err() {
            self.names.extend(names);
        }
    }

    /// Was it decided on this node? Before it joined a cluster it had no name.
    pub(super) fn is_own(&self, made: &Made) -> bool {
        let until = self.names.get(&made.node);
        made.node.is_empty() || until.is_some_and(|until| made.stamp <= *until)
    }
}
