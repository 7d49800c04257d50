//! What has memory: who has proven an address to be theirs, who guesses passwords, who is registered and whether they answer,
//! the calls of trunks, and which domains are ours.
//!
//! Workers never wait for anyone. What they see goes to the policy's thread as small observations over a bounded
//! channel; what comes of it goes back through the kernel's maps.

/// Who is registered, and from where.
mod bindings;
/// Who keeps offending.
mod blacklist;
/// Which domains are ours.
mod domains;
/// Who asks for what is not there.
mod enumeration;
/// Trunks: their calls, and how many they may make.
pub mod gateways;
/// Whom a REGISTER is about.
mod identity;
/// What the policy is told.
mod observation;
/// Are they there?
mod online;
/// How much of one source's is open.
mod parallel;
/// Who guesses passwords.
mod registrations;
/// Round trips that cannot be spoofed.
mod round_trip;
/// Who is slowed.
mod slowed;
/// Who is suspended.
mod suspensions;
/// The kernel's table of sources that have proven themselves, and its one writer.
mod verified;

pub(crate) use bindings::is_absurd;
pub use bindings::{
    ACCOUNTS_MAX, BindingCount, BindingView, Bindings, Granted, Move, Moved, Page, Registering, Registrar, Sought,
};
pub use blacklist::{
    Blacklist, BlacklistCount, EVIDENCE, Evidence, HINTS_PART, Offender, Standing, Standings, VERIFIED_TIMES,
};
pub use domains::Domains;
pub(crate) use enumeration::begins;
pub use enumeration::{Asked, Enumeration, Enumerator};
pub use gateways::Gateways;
pub use identity::{Attempt, CREDENTIALS_MAX, NAME_MAX, Name};
pub(crate) use identity::{hides, net_of, shows};
pub use observation::{Ack, Answer, Bye, NONCES_MAX, Observation, Said};
pub use online::{Ask, EndpointState, Heard, News, Online, Pace};
pub use parallel::{PARALLEL_MAX, Parallel};
pub use registrations::{Proof, Registrations};
pub use round_trip::{ANSWERS, CHALLENGES, RoundTrips, Secret};
pub use slowed::{SLOWED_MAX, ShownSlowed, Slowed};
pub use suspensions::{RegistrationCount, SUSPENSIONS_MAX, Shown, Suspension, Suspensions};
pub use verified::{Count, Verified, VerifiedMap};

use std::sync::Arc;

use vos_common::rate::source_key;
use vos_common::rule::Addr;

/// Observations that may be on their way to the policy's thread. It looks every 20 ms, so this is room for 200,000
/// observations a second; more are counted and lost, and their senders prove themselves another time.
pub const OBSERVATIONS: usize = 4_096;

/// Who is known to be where it says it is.
pub trait Sources {
    /// Is this source allowed or trusted by a rule, or verified?
    fn is_known(&self, src: &Addr) -> bool;
    /// Is this source allowed or trusted by a rule?
    fn is_named(&self, src: &Addr) -> bool;
    /// Is this source trusted by a rule?
    fn is_trusted(&self, src: &Addr) -> bool;
}

/// What is learnt from the softswitch's answers and from ACKs: who is verified (DESIGN §2.7).
#[derive(Debug)]
pub struct Policy<M> {
    trips: RoundTrips,
    verified: Verified<M>,
    /// Who guesses passwords.
    pub registrations: Registrations,
    seed: u64,
}

impl<M: VerifiedMap> Policy<M> {
    /// A policy that writes `verified`. `seed` is the one that the kernel's tables are keyed with
    /// ([`vos_common::state::Config::seed`]).
    pub fn new(verified: Verified<M>, registrations: Registrations, seed: u64) -> Self {
        Self { trips: RoundTrips::default(), verified, registrations, seed }
    }

    /// How many are verified, live.
    pub fn verified(&self) -> Arc<Count> {
        self.verified.count()
    }

    /// A response went out, at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn answer(&mut self, answer: &Answer, now: u64) {
        let source = source_key(&answer.to, self.seed);
        match answer.status {
            401 | 407 => self.trips.challenged(source, answer.request, now),
            200..=299 => {
                if self.trips.accepted(source, answer.request, now) {
                    self.verified.prove(source, now);
                } else {
                    self.verified.renew(source, now);
                }
                if let (true, Some(call)) = (answer.invite, answer.call) {
                    self.trips.answered(source, call, now);
                }
            }
            _ => {}
        }
    }

    /// An ACK came in, seen before `now`.
    pub fn ack(&mut self, ack: &Ack, now: u64) {
        let source = source_key(&ack.src, self.seed);
        if self.trips.acknowledged(source, ack.call, now) {
            self.verified.prove(source, now);
        }
    }

    /// From now on a proof is good for `verified_for` seconds.
    pub fn set_span(&mut self, verified_for: u64) {
        self.verified.set_span(verified_for);
    }

    /// Forgets who is verified no more.
    pub fn expire(&mut self, now: u64) {
        self.verified.expire(now);
    }
}

#[cfg(test)]
mod tests;
