//! The addresses of trunks, trusted or allowed as long as they stand in the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::{info, warn};

use crate::config::{Auth, Gateway};
use crate::control::Control;
use crate::control::ask::{Ask, By, Done, End, Refusal};
use crate::control::decide::Filter;
use crate::control::decision::{Decision, Key, Kind, Origin};

/// What was not done is asked again so often, seconds: a disk is emptied, and what another node or an operator has decided
/// may end.
const AGAIN: u64 = 60;
/// Why, in the decision.
const REASON: &str = "gateway";

/// What is to be in force of a trunk's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It was decided for this trunk. Who takes it back, as operators may, has the last word until the configuration changes.
    Ours,
    /// Somebody else has decided the same, or it was refused: it is asked again.
    Waits,
}

/// The addresses of all trunks.
pub(super) struct Trunks {
    control: Arc<Control>,
    /// Those of the configuration; `None`: it was not looked at yet.
    wanted: Option<Vec<Gateway>>,
    keys: BTreeMap<Key, (Arc<str>, Standing)>,
    /// When it is asked again, unix seconds.
    due: u64,
    /// Something could not be taken back, for want of a disk.
    stuck: bool,
}

/// What the configuration asks for: `password` asks for nothing, for its addresses say nothing; a trunk that shares its
/// address is not trusted with all that comes from there.
fn wishes(gateways: &[Gateway]) -> BTreeMap<Key, Arc<str>> {
    let of = |gateway: &Gateway| {
        let kind = match gateway.auth {
            Auth::Ip => Some(Kind::Trust),
            Auth::IpPort => Some(Kind::Allow),
            Auth::Password => None,
        };
        let who: Arc<str> = gateway.name.as_str().into();
        let keys: Vec<_> = gateway.from.iter().filter_map(|net| Some(((*net, kind?), Arc::clone(&who)))).collect();
        keys
    };
    gateways.iter().flat_map(of).collect()
}

impl Trunks {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self { control, wanted: None, keys: BTreeMap::new(), due: 0, stuck: false }
    }

    /// Decides what the configuration asks for, and takes back what it no longer does, even if that was decided before the
    /// engine was started. Blocks until it is done.
    pub(super) fn follow(&mut self, wanted: &[Gateway]) {
        let now = self.control.clock().wall_s();
        let is_due = now >= self.due || now.saturating_add(AGAIN) < self.due;
        if self.wanted.as_deref() != Some(wanted) || (self.stuck && is_due) {
            self.wanted = Some(wanted.to_vec());
            let wishes = wishes(wanted);
            self.take_back(&wishes);
            self.ask(wishes);
        } else if is_due && !self.keys.is_empty() {
            let (ours, others) = self.decided();
            let (ours, others) = (keys(&ours), keys(&others));
            // another node has put its own in the place of this node's, and takes it back without asking here
            let is_lost =
                |key: &Key, standing| standing == Standing::Waits || others.contains(key) && !ours.contains(key);
            let again = self.keys.iter().filter(|(key, (_, standing))| is_lost(key, *standing));
            let again: BTreeMap<_, _> = again.map(|(key, (who, _))| (*key, Arc::clone(who))).collect();
            self.ask(again);
        } else {
            return;
        }
        self.due = now.saturating_add(AGAIN);
    }

    fn ask(&mut self, wishes: BTreeMap<Key, Arc<str>>) {
        let mut by_trunk: BTreeMap<Arc<str>, Vec<Key>> = BTreeMap::new();
        for (key, who) in wishes {
            by_trunk.entry(who).or_default().push(key);
        }
        for (who, keys) in by_trunk {
            let put = |(net, kind): &Key| Ask::Put { net: *net, kind: *kind, end: End::Never, reason: REASON.into() };
            let asks = keys.iter().map(put).collect();
            let results = self.control.submit(&By::feed(Origin::Config, Arc::clone(&who)), asks, None).results;
            for (key, result) in keys.into_iter().zip(results) {
                let is_ours = |there: &Decision| there.origin == Origin::Config && self.control.is_own(&there.made);
                let standing = match result {
                    Ok(Done::Made { decision, .. }) => {
                        info!("gateway {who}: {} is {}", decision.net, decision.kind.participle());
                        Standing::Ours
                    }
                    Ok(Done::Already(there)) if is_ours(&there) => Standing::Ours,
                    Ok(_) => Standing::Waits,
                    Err(refusal) => {
                        if !matches!(self.keys.get(&key), Some((_, Standing::Waits))) {
                            warn!("gateway {who}: {}: {refusal}", key.0);
                        }
                        Standing::Waits
                    }
                };
                self.keys.insert(key, (Arc::clone(&who), standing));
            }
        }
    }

    /// What stands and is not wished for, or by another trunk.
    fn take_back(&mut self, wishes: &BTreeMap<Key, Arc<str>>) {
        self.keys.clear();
        self.stuck = false;
        let (ours, _) = self.decided();
        for Decision { net, kind, who, .. } in ours {
            if wishes.get(&(net, kind)) == Some(&who) {
                continue;
            }
            match self.control.ask(&By::feed(Origin::Config, Arc::clone(&who)), Ask::Remove { net, kind }) {
                Ok(_) => info!("gateway {who}: {net} is no longer {}", kind.participle()),
                // it has ended, or was taken back already
                Err(Refusal::NoSuchRule { .. } | Refusal::Covered { .. }) => {}
                Err(refusal) => {
                    warn!("gateway {who}: {net} stays {}: {refusal}", kind.participle());
                    self.stuck = true;
                }
            }
        }
    }

    /// What configurations have decided: this node's, whatever it was called then, and others'.
    fn decided(&self) -> (Vec<Decision>, Vec<Decision>) {
        let made = self.control.list(&Filter { origin: Some(Origin::Config), ..Filter::default() });
        made.into_iter().map(|listed| listed.decision).partition(|made| self.control.is_own(&made.made))
    }
}

fn keys(decisions: &[Decision]) -> BTreeSet<Key> {
    decisions.iter().map(Decision::key).collect()
}

#[cfg(test)]
mod tests;
