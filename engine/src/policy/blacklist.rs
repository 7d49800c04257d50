//! Who keeps offending: each offence gives points, points fade, and who has too many is blocked.
//!
//! What anybody can do in anybody's name (DESIGN §5) makes up a quarter of the limit at most, so that it never blocks alone,
//! and counts nothing against who has proven its address. Of those there may be many behind one address: for each that has
//! registered the limit is higher.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Map, Value, json};
use vos_common::reason::Reason;
use vos_common::rule::Addr;

use super::Secret;
use super::identity::{holder, holder_of};
use super::slowed::key_of;
use crate::config::{Blacklist as Config, Weights};
use crate::control::clock::Clock;
use crate::control::decision::Decision;
use crate::recent::Recent;

/// Sources with proven offences, 0.5 MiB: each has answered a nonce of its own, no flood displaces them.
const PROVEN: usize = 1 << 14;
/// Sources of which others say that they offend, 1.8 MiB. Floods displace them: they are worth little.
const HINTS: usize = 1 << 15;
/// Sources from which somebody has registered, 2 MiB; the others have no accounts.
const HOMES: usize = 1 << 15;
/// Sources that were blocked, 0.6 MiB.
const BLOCKED: usize = 1 << 14;
/// Ways of a bucket; the oldest goes.
const WAYS: usize = 8;

/// Offences that can be spoofed make up one part in so many of the limit, at most.
pub const HINTS_PART: u32 = 4;
/// The limit of a source that has proven its address is so many times as high. Lower: an office with a few phones whose
/// passwords were changed is blocked. Higher: who has one account tries more passwords of others from there.
pub const VERIFIED_TIMES: u32 = 10;
/// Each block is so many times as long as the one before.
const GROWTH: u32 = 4;
/// An account counts for one to two such times, ns: phones register every hour, or every day.
const ACCOUNTS_KEPT: u64 = Duration::from_secs(12 * 3_600).as_nanos() as u64;
/// What is seen of a source in this time after it was blocked was on its way, ns. Where the disk takes longer, it is asked
/// for once more, which changes nothing.
const SETTLE: u64 = Duration::from_secs(2).as_nanos() as u64;

/// What a source did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Evidence {
    /// A password was refused whose nonce had gone there alone.
    RefusedCredentials,
    /// It was suspended for such.
    Suspension,
    /// A call was refused with 403. The To-tag that its ACK shows proves nothing: stateless servers make it of the request and
    /// of what they tell everybody.
    ForbiddenCall,
    /// Something was asked for that is not there.
    NotFound,
    /// A request had a scanner's signature.
    Scanner,
    /// It was no SIP.
    Malformed,
    /// Unknown sources get no answer to it.
    Stealth,
    /// Somebody registered there and was asked, and has never answered: floods register what is not there.
    NeverAnswered,
}

/// Kinds of [`Evidence`].
pub const EVIDENCE: usize = 8;
/// The first of them are proven: they cannot be had in somebody's name.
const PROOFS: usize = 2;

impl Evidence {
    /// All of them; the position of each is its number.
    pub const ALL: [Self; EVIDENCE] = [
        Self::RefusedCredentials,
        Self::Suspension,
        Self::ForbiddenCall,
        Self::NotFound,
        Self::Scanner,
        Self::Malformed,
        Self::Stealth,
        Self::NeverAnswered,
    ];

    /// The word for it in JSON, metrics and `[blacklist.weights]`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RefusedCredentials => "refused_credentials",
            Self::Suspension => "suspension",
            Self::ForbiddenCall => "forbidden_call",
            Self::NotFound => "not_found",
            Self::Scanner => "scanner",
            Self::Malformed => "malformed",
            Self::Stealth => "stealth",
            Self::NeverAnswered => "never_answered",
        }
    }

    /// What a packet says of its source that was dropped for this reason.
    pub const fn of_drop(reason: Reason) -> Option<Self> {
        match reason {
            Reason::Scanner => Some(Self::Scanner),
            Reason::Malformed => Some(Self::Malformed),
            Reason::Stealth => Some(Self::Stealth),
            _ => None,
        }
    }

    const fn points(self, weights: &Weights) -> u32 {
        match self {
            Self::RefusedCredentials => weights.refused_credentials,
            Self::Suspension => weights.suspension,
            Self::ForbiddenCall => weights.forbidden_call,
            Self::NotFound => weights.not_found,
            Self::Scanner => weights.scanner,
            Self::Malformed => weights.malformed,
            Self::Stealth => weights.stealth,
            Self::NeverAnswered => weights.never_answered,
        }
    }
}

/// How much a source is believed to be where it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing speaks for it.
    Unknown,
    /// It has proven its address.
    Verified,
    /// An operator has allowed or trusted it: it is never blocked.
    Named,
}

/// What there is to know of sources, asked only of those that may be blocked.
pub trait Standings {
    /// How much is it believed?
    fn standing(&self, source: &Addr) -> Standing;
    /// Is a rule in force that blocks it?
    fn is_blocked(&self, source: &Addr) -> bool;
}

/// Points by kind.
type Points<const N: usize> = Recent<u64, [f64; N], WAYS>;

/// Accounts that have registered, as bits: linear counting (Whang et al., 1990), good for some 500.
#[derive(Clone, Copy, Debug, Default)]
struct Accounts {
    now: u128,
    before: u128,
    /// Since when `now` is gathered, ns of `CLOCK_MONOTONIC`.
    since: u64,
}

impl Accounts {
    fn at(mut self, now: u64) -> Self {
        let age = now.saturating_sub(self.since);
        if age >= ACCOUNTS_KEPT {
            let before = if age < 2 * ACCOUNTS_KEPT { self.now } else { 0 };
            self = Self { now: 0, before, since: now };
        }
        self
    }

    fn count(&self) -> u32 {
        let (bits, empty) = (f64::from(u128::BITS), (self.now | self.before).count_zeros());
        (bits * (bits / f64::from(empty.max(1))).ln()).round() as u32
    }
}

/// A block that was asked for.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    ttl: Duration,
    /// When it ends, ns of `CLOCK_MONOTONIC`.
    until: u64,
}

/// Somebody who is to be blocked.
#[derive(Clone, Debug, PartialEq)]
pub struct Offender {
    /// Where: an address, or an IPv6 /64.
    pub source: Addr,
    /// Its points, by [`Evidence`].
    pub points: [f64; EVIDENCE],
    /// The limit that it has reached.
    pub limit: u64,
    /// For how long.
    pub ttl: Duration,
}

/// What is counted, for whoever asks.
#[derive(Debug, Default)]
pub struct BlacklistCount {
    /// Offences, by [`Evidence`].
    pub offences: [AtomicU64; EVIDENCE],
    /// Blocks that were asked for.
    pub blocks: AtomicU64,
}

impl BlacklistCount {
    /// Each kind of offence, and how often it was seen.
    pub fn offences(&self) -> [(Evidence, u64); EVIDENCE] {
        Evidence::ALL.map(|evidence| (evidence, self.offences[evidence as usize].load(Relaxed)))
    }

    /// As JSON, for `vosctl stats`.
    pub fn to_json(&self) -> Value {
        let offences: Map<String, Value> =
            self.offences().into_iter().map(|(evidence, n)| (evidence.label().to_owned(), n.into())).collect();
        json!({ "offences": offences, "blocks": self.blocks.load(Relaxed) })
    }
}

/// Offences as the policy's thread sees them.
#[derive(Debug)]
pub struct Blacklist {
    config: Config,
    secret: Secret,
    proven: Points<PROOFS>,
    hints: Points<{ EVIDENCE - PROOFS }>,
    homes: Recent<u64, Accounts, WAYS>,
    blocked: Recent<u64, Blocked, WAYS>,
    count: Arc<BlacklistCount>,
}

impl Blacklist {
    /// Nobody has offended yet.
    pub fn new(config: Config, secret: Secret) -> Self {
        let (proven, hints, homes, blocked) =
            (Recent::of(PROVEN), Recent::of(HINTS), Recent::of(HOMES), Recent::of(BLOCKED));
        Self { config, secret, proven, hints, homes, blocked, count: Arc::default() }
    }

    /// What is counted.
    pub fn count(&self) -> Arc<BlacklistCount> {
        Arc::clone(&self.count)
    }

    /// From now on these rules hold. Points and blocks stay.
    pub fn set_config(&mut self, config: &Config) {
        if self.config != *config {
            self.config = config.clone();
        }
    }

    /// A block of its own from before the start: what comes after it is a relapse.
    pub fn remember(&mut self, decision: &Decision, clock: Clock) {
        let Some(until) = decision.until else { return };
        let ttl = Duration::from_secs(until.saturating_sub(decision.made.stamp.seconds()));
        let key = key_of(&holder_of(&decision.net), &self.secret);
        self.blocked.put(key, key, Blocked { ttl, until: clock.mono_of(until) }, 1);
    }

    /// `account` has proven its password from this address, at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn registered(&mut self, source: &Addr, account: &[u8], now: u64) {
        let key = key_of(source, &self.secret);
        let mut accounts =
            self.homes.get(key, &key).map_or(Accounts { since: now, ..Accounts::default() }, |(had, _)| had);
        accounts = accounts.at(now);
        accounts.now |= 1 << (self.secret.identity(None, Some(account)) % u64::from(u128::BITS));
        self.homes.put(key, key, accounts, now);
    }

    /// `source` has offended at `clock`. Gives it if it is to be blocked.
    pub fn offended(
        &mut self,
        evidence: Evidence,
        source: &Addr,
        clock: Clock,
        standings: &impl Standings,
    ) -> Option<Offender> {
        let points = evidence.points(&self.config.weights);
        if !self.config.block || points == 0 {
            return None;
        }
        self.count.offences[evidence as usize].fetch_add(1, Relaxed);
        let (key, now) = (key_of(source, &self.secret), clock.mono_ns());
        let before = self.blocked.get(key, &key);
        if before.is_some_and(|(_, asked)| now.saturating_sub(asked) < SETTLE) {
            return None;
        }
        let half_life = self.config.half_life.as_nanos() as f64;
        let (mut proven, mut hints) =
            (faded(&self.proven, key, now, half_life), faded(&self.hints, key, now, half_life));
        match (evidence as usize).checked_sub(PROOFS) {
            None => {
                proven[evidence as usize] += f64::from(points);
                self.proven.put(key, key, proven, now);
            }
            Some(hint) => {
                hints[hint] += f64::from(points);
                self.hints.put(key, key, hints, now);
            }
        }
        let limit = self.reached(key, source, &proven, &hints, now, standings)?;
        let _it_begins_anew = (self.proven.take(key, &key), self.hints.take(key, &key));
        let ttl = self.ttl(before.map(|(blocked, _)| blocked), source, now, standings)?;
        let until = now.saturating_add(ttl.as_nanos() as u64);
        self.blocked.put(key, key, Blocked { ttl, until }, now);
        self.count.blocks.fetch_add(1, Relaxed);
        let mut points = [0.0; EVIDENCE];
        points[..PROOFS].copy_from_slice(&proven);
        // Of who has proven its address they did not count.
        if limit == u64::from(self.config.limit) {
            points[PROOFS..].copy_from_slice(&hints);
        }
        Some(Offender { source: holder(source), points, limit, ttl })
    }

    /// The limit, if it is reached.
    fn reached(
        &self,
        key: u64,
        source: &Addr,
        proven: &[f64],
        hints: &[f64],
        now: u64,
        standings: &impl Standings,
    ) -> Option<u64> {
        let limit = f64::from(self.config.limit);
        let proven: f64 = proven.iter().sum();
        let hints = hints.iter().sum::<f64>().min(limit / f64::from(HINTS_PART));
        if proven + hints < limit {
            return None;
        }
        match standings.standing(source) {
            Standing::Unknown => Some(u64::from(self.config.limit)),
            Standing::Verified => {
                let accounts = self.homes.get(key, &key).map_or(0, |(accounts, _)| accounts.at(now).count());
                let limit = u64::from(self.config.limit) * u64::from(accounts.max(VERIFIED_TIMES));
                (proven >= limit as f64).then_some(limit)
            }
            Standing::Named => None,
        }
    }

    /// For how long; `None`: it is blocked still, and what it sends is only counted.
    fn ttl(&self, before: Option<Blocked>, source: &Addr, now: u64, standings: &impl Standings) -> Option<Duration> {
        let Config { ttl: first, ttl_max, forget, .. } = &self.config;
        let Some(Blocked { ttl, until }) = before else { return Some(*first) };
        if now < until {
            // Somebody has ended it, and has the last word: it begins anew.
            return (!standings.is_blocked(source)).then_some(*first);
        }
        let is_relapse = now - until < forget.as_nanos() as u64;
        Some(if is_relapse { ttl.saturating_mul(GROWTH).clamp(*first, *ttl_max) } else { *first })
    }
}

/// What is left of the points of `key` at `now`.
fn faded<const N: usize>(points: &Points<N>, key: u64, now: u64, half_life: f64) -> [f64; N] {
    let Some((points, at)) = points.get(key, &key) else { return [0.0; N] };
    let left = (-(now.saturating_sub(at) as f64) / half_life).exp2();
    points.map(|points| points * left)
}

#[cfg(test)]
mod tests;
