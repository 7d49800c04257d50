//! Who guesses passwords.
//!
//! A failure is a refusal of credentials that answered a nonce which went from our server to this address, and to no
//! other: whoever sent them has read it there. All else can be had in anybody's name, and counts for nothing (DESIGN
//! §5). A nonce that is only too old is no failure (RFC 2617 §3.2.1, `stale`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tracing::warn;
use vos_common::rule::Addr;
use vos_common::state::mix;

use super::identity::{Attempt, CREDENTIALS_MAX, Name, holder};
use super::suspensions::{Suspension, Suspensions};
use super::{Answer, Secret};
use crate::config::{Identity, Registration};
use crate::control::clock::Clock;
use crate::recent::Recent;

/// Nonces remembered, 6 MiB: those of five seconds at 50,000 challenges a second, of which a guesser answers at once.
const NONCES: usize = 1 << 18;
/// REGISTERs with credentials remembered, 6 MiB: 1,000 a second for as long as one is repeated (RFC 3261, timer F).
const ATTEMPTS: usize = 1 << 15;
/// Identities whose failures are counted, 1.3 MiB. Each has answered a nonce of its own: no flood displaces them.
const IDENTITIES: usize = 1 << 15;
/// Ways of a bucket; the oldest goes.
const WAYS: usize = 8;

/// Failures are counted in a row with no more than this between two, ns. Longer: somebody who mistypes twice a day is
/// suspended on the third. Shorter: a patient guesser has more than a hundred guesses a day.
const IN_A_ROW: u64 = Duration::from_secs(3_600).as_nanos() as u64;
/// A suspension within this time of the last one's end is a relapse, ns.
const RELAPSE: u64 = Duration::from_secs(86_400).as_nanos() as u64;

/// Refusals that did not count for shared nonces after which that is said, once: fewer happen to a server of any kind.
const SAY_SHARED: u32 = 100;

/// In the place of who has a nonce: several have.
const SHARED: u64 = 0;

/// A REGISTER with credentials, and how many answers to it are to come.
#[derive(Clone, Copy, Debug)]
struct Tried {
    attempt: Attempt,
    /// Guesses made in this transaction of which the answer has not been seen.
    open: u16,
}

/// What an identity has behind it.
#[derive(Clone, Copy, Debug, Default)]
struct Behind {
    failures: u32,
    /// The last of them, ns of `CLOCK_MONOTONIC`.
    failed: u64,
    suspensions: u32,
    /// The end of the last suspension, ns of `CLOCK_MONOTONIC`.
    ended: u64,
}

/// Registrations as the policy's thread sees them.
#[derive(Debug)]
pub struct Registrations {
    config: Registration,
    secret: Secret,
    /// Who has each nonce: [`owner`], or [`SHARED`].
    nonces: Recent<u64, u64, WAYS>,
    attempts: Recent<u64, Tried, WAYS>,
    behind: Recent<u64, Behind, WAYS>,
    suspensions: Arc<Suspensions>,
    /// Refusals that did not count because several have had the nonce.
    shared: u32,
    /// What the last answer has proven.
    proof: Option<Proof>,
}

/// What an answer proves of who gets it: it has read a nonce of its own, and was refused or accepted with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its password is wrong.
    Refused,
    /// Its password is right, for this account.
    Accepted(Name),
}

/// Names whoever has an address.
fn owner(holder: &Addr) -> u64 {
    mix(holder.hi, holder.lo) | 1
}

impl Registrations {
    /// Nobody has failed yet.
    pub fn new(config: Registration, secret: Secret, suspensions: Arc<Suspensions>) -> Self {
        let (nonces, attempts, behind) = (Recent::of(NONCES), Recent::of(ATTEMPTS), Recent::of(IDENTITIES));
        Self { config, secret, nonces, attempts, behind, suspensions, shared: 0, proof: None }
    }

    /// Who is suspended.
    pub fn suspensions(&self) -> Arc<Suspensions> {
        Arc::clone(&self.suspensions)
    }

    /// From now on these rules hold. Who is suspended stays so.
    pub fn set_config(&mut self, config: &Registration) {
        if self.config != *config {
            self.config = config.clone();
        }
    }

    /// What the answer that was seen last has proven.
    pub fn take_proof(&mut self) -> Option<Proof> {
        self.proof.take()
    }

    /// A REGISTER with credentials came in, seen before `now` (ns of `CLOCK_MONOTONIC`).
    pub fn attempted(&mut self, attempt: Attempt, now: u64) {
        let key = mix(attempt.transaction, u64::from(attempt.place));
        let open = match self.attempts.get(key, &key) {
            // Sent again: there is one answer to it, however often that is repeated.
            Some((tried, _)) if tried.attempt.guess == attempt.guess => return,
            Some((tried, _)) => tried.open.saturating_add(1),
            None => 1,
        };
        self.attempts.put(key, key, Tried { attempt, open }, now);
    }

    /// A response went out at `clock`. Gives whom it has suspended; `is_trusted` says of an address whether it never is.
    pub fn answered(
        &mut self,
        answer: &Answer,
        clock: Clock,
        is_trusted: impl Fn(&Addr) -> bool,
    ) -> Option<Suspension> {
        if !answer.register || answer.status < 200 || !self.config.suspend {
            return None;
        }
        let (source, now) = (holder(&answer.to), clock.mono_ns());
        let (mut names, mut is_proven): (Vec<Name>, bool) = (Vec::new(), false);
        let (mut user, mut was_tried, mut is_shared) = (None, false, false);
        for place in 0..CREDENTIALS_MAX as u64 {
            let key = mix(answer.transaction, place);
            let Some((tried, _)) = self.attempts.get(key, &key) else { continue };
            let Tried { attempt, open } = tried;
            if open == 0 || holder(&attempt.source) != source {
                continue;
            }
            self.attempts.put(key, key, Tried { open: open - 1, ..tried }, now);
            was_tried = true;
            let has = self.nonces.get(attempt.nonce, &attempt.nonce).map(|(has, _)| has);
            is_shared |= has == Some(SHARED);
            if has == Some(owner(&source)) {
                is_proven = true;
                user = Some((attempt.account, attempt.aor));
                for name in [attempt.account, attempt.aor] {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            } else if (200..=299).contains(&answer.status) {
                names.extend([attempt.account, attempt.aor]);
            }
        }
        for nonce in answer.nonces.into_iter().filter(|nonce| *nonce != 0) {
            let has = self.nonces.get(nonce, &nonce).map_or(owner(&source), |(has, _)| has);
            let has = if has == owner(&source) { has } else { SHARED };
            self.nonces.put(nonce, nonce, has, now);
        }
        match answer.status {
            200..=299 => {
                self.proof = user.map(|(account, _)| Proof::Accepted(account));
                self.accepted(&source, &names);
            }
            status if was_tried && !answer.stale && self.config.refusals.contains(&status) => {
                let count = &self.suspensions.count;
                if is_proven {
                    self.proof = Some(Proof::Refused);
                    count.failures.fetch_add(1, Relaxed);
                    return self.failed(source, &names, user, clock, is_trusted);
                }
                count.unproven.fetch_add(1, Relaxed);
                self.shared += u32::from(is_shared && self.shared < SAY_SHARED);
                if is_shared && self.shared == SAY_SHARED {
                    self.shared += 1;
                    warn!(
                        "registration: {SAY_SHARED} refused passwords did not count, because the softswitch had sent their nonce \
                         to several addresses: anybody may have sent them. Kamailio: modparam(\"auth\", \
                         \"auth_checks_register\", 9)"
                    );
                }
            }
            _ => {}
        }
        None
    }

    /// The keys under which failures of these names at this address count.
    fn keys(&self, source: &Addr, names: &[Name]) -> Vec<u64> {
        let key = |address: Option<&Addr>, name: Option<&Name>| self.secret.identity(address, name.map(Name::as_bytes));
        match self.config.identity {
            Identity::Ip => vec![key(Some(source), None)],
            Identity::IpUser => names.iter().map(|name| key(Some(source), Some(name))).collect(),
            Identity::User => names.iter().map(|name| key(None, Some(name))).collect(),
        }
    }

    fn accepted(&mut self, source: &Addr, names: &[Name]) {
        if names.is_empty() {
            return;
        }
        for key in self.keys(source, names) {
            let _what_was = self.behind.take(key, &key);
        }
    }

    fn failed(
        &mut self,
        source: Addr,
        names: &[Name],
        user: Option<(Name, Name)>,
        clock: Clock,
        is_trusted: impl Fn(&Addr) -> bool,
    ) -> Option<Suspension> {
        let (keys, now) = (self.keys(&source, names), clock.mono_ns());
        let (mut most, mut times) = (0, 0);
        for key in &keys {
            let mut behind = self.behind.get(*key, key).map(|(behind, _)| behind).unwrap_or_default();
            let in_a_row = now.saturating_sub(behind.failed) < IN_A_ROW;
            behind.failures = if in_a_row { behind.failures.saturating_add(1) } else { 1 };
            behind.failed = now;
            if now.saturating_sub(behind.ended) > RELAPSE {
                behind.suspensions = 0;
            }
            (most, times) = (most.max(behind.failures), times.max(behind.suspensions));
            self.behind.put(*key, *key, behind, now);
        }
        if most < self.config.retry || is_trusted(&source) {
            return None;
        }
        let Registration { suspend_time, suspend_time_max, identity, .. } = &self.config;
        let span = suspend_time.saturating_mul(1 << times.min(31)).min(*suspend_time_max).as_nanos() as u64;
        let behind = Behind { failures: 0, failed: now, suspensions: times + 1, ended: now.saturating_add(span) };
        keys.iter().for_each(|key| self.behind.put(*key, *key, behind, now));
        let (address, user) = match identity {
            Identity::Ip => (Some(source), None),
            Identity::IpUser => (Some(source), user),
            Identity::User => (None, user),
        };
        let until = now.saturating_add(span);
        let suspension = Suspension { address, user, since: clock.wall_s(), until, failures: most, times: times + 1 };
        self.suspensions.put(suspension.clone());
        self.suspensions.count.suspended.fetch_add(1, Relaxed);
        Some(suspension)
    }

    /// Gives those whose time is over; what operators have lifted begins anew.
    pub fn expire(&mut self, now: u64) -> Vec<Suspension> {
        for key in self.suspensions.take_lifted() {
            let _what_was = self.behind.take(key, &key);
        }
        self.suspensions.expire(now)
    }
}

#[cfg(test)]
mod tests;
