//! The watched files of the configuration: a task each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::services::{Reach, Service};
use crate::config::FileFeed;
use crate::feed::file::{self, Lists};
use crate::privileges;

pub(super) struct Files {
    lists: Arc<Lists>,
    running: BTreeMap<PathBuf, Service<FileFeed>>,
    /// Those of the configuration; `None`: it was not looked at yet.
    wanted: Option<Vec<FileFeed>>,
}

impl Files {
    pub(super) fn new(reach: &Reach) -> Self {
        Self { lists: Arc::new(Lists::new(Arc::clone(&reach.control))), running: BTreeMap::new(), wanted: None }
    }

    /// What a file has made that is no longer watched is taken back, even if that was so before the engine started.
    pub(super) fn follow(&mut self, wanted: &[FileFeed], reach: &Reach) {
        if self.wanted.as_deref() == Some(wanted) {
            return;
        }
        self.running.retain(|path, service| {
            let stays = wanted.iter().any(|feed| feed.path == *path);
            if !stays {
                service.follow(None, &reach.runtime, |_| async {});
                reach.tallies.forget(&file::name(path));
            }
            stays
        });
        let paths: BTreeSet<Arc<str>> = wanted.iter().map(|feed| feed.path.to_string_lossy().into()).collect();
        let (lists, turn) = (Arc::clone(&self.lists), self.lists.next_turn());
        privileges::on_pool(&reach.runtime, move || lists.keep_only(paths, turn));
        for feed in wanted {
            let service = self.running.entry(feed.path.clone()).or_default();
            service.follow(Some(feed.clone()), &reach.runtime, |feed| {
                let tally = reach.tallies.of(&file::name(&feed.path));
                file::follow(feed, Arc::clone(&self.lists), self.lists.next_turn(), tally)
            });
        }
        self.wanted = Some(wanted.to_vec());
    }
}
