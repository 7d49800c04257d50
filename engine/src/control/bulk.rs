//! Many things asked for at once, such as an import: in runs, so that nobody else waits for all of them, and still one set
//! of the history.

use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;

use crate::control::ask::{Ask, By, Done, Refusal};
use crate::control::carry::{Draft, Wanted, Wish};
use crate::control::clock::Clock;
use crate::control::decide::{Control, Inner, RUN_MAX};
use crate::control::decision::Kind;
use crate::control::rules::Change;

/// What comes of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There was nothing of the kind at the prefix.
    Made,
    /// It takes the place of what there was.
    Replaced,
    /// It is in force already, as asked for.
    Already,
    /// It is taken back.
    Removed,
}

impl From<Done> for Fate {
    fn from(done: Done) -> Self {
        match done {
            Done::Made { replaced: None, .. } => Self::Made,
            Done::Made { replaced: Some(_), .. } => Self::Replaced,
            Done::Already(_) => Self::Already,
            Done::Removed { .. } => Self::Removed,
        }
    }
}

impl Control {
    /// As [`submit`](Self::submit), run by run. `told` hears what came of each, by its place in `asks`. Returns the number
    /// by which all of it can be undone.
    pub fn submit_in_runs(
        &self,
        by: &By,
        asks: Vec<Ask>,
        what: &str,
        mut told: impl FnMut(usize, Result<Fate, Refusal>),
    ) -> Option<u64> {
        let (mut set, mut place, mut asks) = (None, 0, asks.into_iter());
        loop {
            let run: Vec<Wish> = asks.by_ref().take(RUN_MAX).map(Wish::Ask).collect();
            if run.is_empty() {
                return set;
            }
            let outcome = self.carry(by, run, Some(Draft { number: set, what: what.to_owned(), undoes: None }));
            set = outcome.set.or(set);
            for result in outcome.results {
                told(place, result.map(Fate::from));
                place += 1;
            }
        }
    }

    /// What would come of it, if nobody else decided anything meanwhile. No key may be in `asks` twice, and what they trust
    /// and allow must come before what they block.
    pub fn foresee(&self, by: &By, asks: &[Ask], mut told: impl FnMut(usize, Result<Fate, Refusal>)) {
        let mut exceptions = Exceptions::default();
        for (run, asks) in asks.chunks(RUN_MAX).enumerate() {
            let inner = self.lock();
            for (place, ask) in asks.iter().enumerate() {
                let fate = inner.foresee(by, ask, self.clock()).and_then(|fate| match ask {
                    Ask::Put { net, kind: Kind::Block, .. } if !by.force => {
                        exceptions.check(*net, &inner, self.clock().mono_ns()).map(|()| fate)
                    }
                    Ask::Put { net, kind, .. } => {
                        exceptions.add(*net, *kind);
                        Ok(fate)
                    }
                    Ask::Remove { .. } => Ok(fate),
                });
                told(run * RUN_MAX + place, fate);
            }
        }
    }
}

impl Inner {
    fn foresee(&self, by: &By, ask: &Ask, clock: Clock) -> Result<Fate, Refusal> {
        Ok(match self.wanted(ask, by, self.stamp.next(clock), clock)? {
            Wanted::Nothing(done) => done.into(),
            Wanted::Change(Change::Remove(..)) => Fate::Removed,
            Wanted::Change(Change::Put(decision)) if self.there(&decision.key(), clock).is_some() => Fate::Replaced,
            Wanted::Change(Change::Put(_)) => Fate::Made,
        })
    }
}

/// What would be trusted and allowed by then.
#[derive(Default)]
struct Exceptions(JointPrefixMap<IpNet, Kind>);

impl Exceptions {
    fn add(&mut self, net: IpNet, kind: Kind) {
        if kind != Kind::Block {
            let there = self.0.entry(net).or_insert(kind);
            *there = kind.min(*there);
        }
    }

    /// Would the guard refuse this block because of them? Of what is in force already it has said so.
    fn check(&self, net: IpNet, inner: &Inner, now: u64) -> Result<(), Refusal> {
        let mut allowed = None;
        for (by, kind) in self.0.cover(&net) {
            match kind {
                Kind::Trust => return Err(Refusal::Trusted { net, by }),
                _ => allowed = Some(by),
            }
        }
        let blocked = inner.book.covering(&net, now).filter(|applies| applies.kind == Kind::Block);
        match allowed {
            Some(by) if blocked.is_none_or(|block| block.net.prefix_len() < by.prefix_len()) => {
                Err(Refusal::Allowed { net, by })
            }
            _ => Ok(()),
        }
    }
}
