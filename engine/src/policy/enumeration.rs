//! Who asks over and over for what is not there (svwar): told by the softswitch's answers.
//!
//! Anybody can ask in anybody's name, and the answer goes there: so this evidence slows unknown sources for a while, and no
//! more (DESIGN §5).

use std::time::Duration;

use sip_parse::Method;
use vos_common::rule::Addr;
use vos_common::state::mix;

use super::identity::Name;
use super::slowed::{Slowed, key_of};
use super::{Answer, Secret};
use crate::config::Enumeration as Config;
use crate::control::clock::Clock;
use crate::recent::Recent;

/// Answers remembered so that none counts twice, 1 MiB: 1,000 a second for longer than one is repeated (RFC 3261,
/// timers G and H).
const ANSWERED: usize = 1 << 16;
/// Sources whose answers are counted, 2 MiB. A flood of spoofed ones displaces others, which are then counted anew.
const TALLIES: usize = 1 << 16;
/// Sources of which is remembered what they have asked for, 1.6 MiB; of others only how much.
const LEARNT: usize = 1 << 11;
/// Ways of a bucket; the oldest goes.
const WAYS: usize = 8;
/// Names kept of those that were not there: the last, to show what kind of list it is.
const ASKED_MAX: usize = 4;
/// Names kept of those that were: the first. They are what a scanner goes on with.
const FOUND_MAX: usize = 8;

/// What a source has asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Answers that something is not there.
    answers: u32,
    /// The first of them, ns of `CLOCK_MONOTONIC`.
    first: u64,
}

/// Names that it has asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Learnt {
    asked: [Option<Name>; ASKED_MAX],
    found: [Option<Name>; FOUND_MAX],
}

impl Learnt {
    /// This is not there.
    fn missing(&mut self, name: Name) {
        if self.asked.contains(&Some(name)) {
            return;
        }
        self.asked.rotate_left(1);
        self.asked[ASKED_MAX - 1] = Some(name);
        // A call is challenged first, whoever is called.
        self.found.iter_mut().filter(|found| **found == Some(name)).for_each(|found| *found = None);
    }

    /// This is, as far as one can tell.
    fn there(&mut self, name: Name) {
        if self.found.contains(&Some(name)) || self.asked.contains(&Some(name)) {
            return;
        }
        if let Some(place) = self.found.iter_mut().find(|found| found.is_none()) {
            *place = Some(name);
        }
    }
}

/// Somebody who is slowed from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enumerator {
    /// Where it says it is.
    pub source: Addr,
    /// Answers that something is not there.
    pub answers: u32,
    /// In this time.
    pub within: Duration,
    /// The last of what it has asked for. Text of unknown origin.
    pub asked: Vec<Name>,
    /// Whom it has found, as far as it can tell. Text of unknown origin.
    pub found: Vec<Name>,
}

/// What an answer says of who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Something was asked for that is not there.
    Missing,
    /// Once too often: it is slowed from now on.
    TooOften(Box<Enumerator>),
}

/// Enumerations as the policy's thread sees them.
#[derive(Debug)]
pub struct Enumeration {
    config: Config,
    secret: Secret,
    answered: Recent<u64, (), WAYS>,
    tallies: Recent<u64, Tally, WAYS>,
    learnt: Recent<u64, Learnt, WAYS>,
}

/// Says that somebody is there: accepted, challenged, not allowed, or not at home.
const fn says_there(status: u16) -> bool {
    matches!(status, 200..=299 | 401 | 403 | 407 | 480 | 486 | 600 | 603)
}

/// May a request with this method begin something? Those that never do stand within what is there.
pub(crate) const fn begins(method: Method<'_>) -> bool {
    !matches!(method, Method::Ack | Method::Bye | Method::Cancel | Method::Prack | Method::Update)
}

impl Enumeration {
    /// Nobody has asked yet.
    pub fn new(config: Config, secret: Secret) -> Self {
        let (answered, tallies, learnt) = (Recent::of(ANSWERED), Recent::of(TALLIES), Recent::of(LEARNT));
        Self { config, secret, answered, tallies, learnt }
    }

    /// From now on these rules hold. Who is slowed stays so.
    pub fn set_config(&mut self, config: &Config) {
        if self.config != *config {
            self.config = config.clone();
        }
    }

    /// A response went out at `clock`. `is_known` says of an address whether it is never slowed.
    pub fn answered(
        &mut self,
        answer: &Answer,
        slowed: &Slowed,
        clock: Clock,
        is_known: impl Fn(&Addr) -> bool,
    ) -> Option<Asked> {
        let name = answer.asked?;
        let (key, now) = (key_of(&answer.to, &self.secret), clock.mono_ns());
        let within = self.config.within.as_nanos() as u64;
        let tally = self.tallies.get(key, &key).map(|(tally, _)| tally);
        let tally = tally.filter(|tally| now.saturating_sub(tally.first) < within);
        if !self.config.statuses.contains(&answer.status) {
            if tally.is_some() && says_there(answer.status) {
                self.learn(key, now, |learnt| learnt.there(name));
            }
            return None;
        }
        if !self.is_new(answer, now) {
            return None;
        }
        if tally.is_none() {
            let _of_long_ago = self.learnt.take(key, &key);
        }
        let mut tally = tally.unwrap_or(Tally { answers: 0, first: now });
        tally.answers = tally.answers.saturating_add(1);
        self.tallies.put(key, key, tally, now);
        self.learn(key, now, |learnt| learnt.missing(name));
        let goes_on = !slowed.is_empty() && slowed.holds(key);
        if tally.answers < self.config.not_found && !goes_on || is_known(&answer.to) {
            return Some(Asked::Missing);
        }
        let until = now.saturating_add(self.config.slow_for.as_nanos() as u64);
        if !slowed.put(&answer.to, &self.secret, until, tally.answers, clock) {
            return Some(Asked::Missing);
        }
        let Learnt { asked, found } = self.learnt.get(key, &key).map(|(learnt, _)| learnt).unwrap_or_default();
        Some(Asked::TooOften(Box::new(Enumerator {
            source: answer.to,
            answers: tally.answers,
            within: Duration::from_nanos(now.saturating_sub(tally.first)),
            asked: asked.into_iter().flatten().collect(),
            found: found.into_iter().flatten().collect(),
        })))
    }

    /// Is this the first answer to a request, at `now` (ns of `CLOCK_MONOTONIC`)? To be asked once of each.
    pub fn is_new(&mut self, answer: &Answer, now: u64) -> bool {
        let transaction = mix(key_of(&answer.to, &self.secret), answer.transaction);
        let is_new = answer.transaction != 0 && self.answered.get(transaction, &transaction).is_none();
        if is_new {
            self.answered.put(transaction, transaction, (), now);
        }
        is_new
    }

    fn learn(&mut self, key: u64, now: u64, learn: impl FnOnce(&mut Learnt)) {
        let mut learnt = self.learnt.get(key, &key).map(|(learnt, _)| learnt).unwrap_or_default();
        learn(&mut learnt);
        self.learnt.put(key, key, learnt, now);
    }

    /// Who is slowed no longer at `now`, is not; who was lifted begins anew.
    pub fn expire(&mut self, slowed: &Slowed, now: u64) {
        slowed.expire(now);
        for key in slowed.take_lifted() {
            let _what_was = self.tallies.take(key, &key);
        }
    }
}

#[cfg(test)]
mod tests;
