//! What has memory: who has proven an address to be theirs, and which domains are ours.
//!
//! Workers never wait for anyone. What they see goes to the policy's thread as small observations over a bounded
//! channel; what comes of it goes back through the kernel's maps.

/// Which domains are ours.
mod domains;
/// Round trips that cannot be spoofed.
mod round_trip;
/// The kernel's table of sources that have proven themselves, and its one writer.
mod verified;

pub use domains::Domains;
pub use round_trip::{ANSWERS, Ack, CHALLENGES, RoundTrips, Secret};
pub use verified::{Count, Verified, VerifiedMap};

use std::sync::Arc;

use sip_parse::{Message, Method, StartLine};
use vos_common::rate::source_key;
use vos_common::rule::Addr;

/// Observations that may be on their way to the policy's thread. It looks every 20 ms, so this is room for 200,000
/// ACKs a second; more are counted and lost, and their senders prove themselves another time.
pub const OBSERVATIONS: usize = 4_096;

/// Who is known to be where it says it is.
pub trait Sources {
    /// Is this source allowed or trusted by a rule, or verified?
    fn is_known(&self, src: &Addr) -> bool;
}

/// What is learnt from the softswitch's answers and from ACKs: who is verified (DESIGN §2.7).
#[derive(Debug)]
pub struct Policy<M> {
    trips: RoundTrips,
    verified: Verified<M>,
    secret: Secret,
    seed: u64,
}

impl<M: VerifiedMap> Policy<M> {
    /// A policy that writes `verified`. `seed` is the one that the kernel's tables are keyed with
    /// ([`vos_common::state::Config::seed`]), `secret` the one that workers hash with.
    pub fn new(verified: Verified<M>, secret: Secret, seed: u64) -> Self {
        Self { trips: RoundTrips::default(), verified, secret, seed }
    }

    /// How many are verified, live.
    pub fn verified(&self) -> Arc<Count> {
        self.verified.count()
    }

    /// A final response went to `to`, at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn response(&mut self, to: &Addr, response: &Message<'_>, now: u64) {
        let StartLine::Response { code, .. } = response.start_line() else { return };
        let (Ok(cseq), Ok(call_id)) = (response.cseq(), response.call_id()) else { return };
        let source = source_key(to, self.seed);
        let request = self.secret.request(call_id, cseq.method);
        match code {
            401 | 407 => self.trips.challenged(source, request, now),
            200..=299 => {
                if self.trips.accepted(source, request, now) {
                    self.verified.prove(source, now);
                } else {
                    self.verified.renew(source, now);
                }
                let tag = response.to().ok().and_then(|to| to.tag);
                if let (Method::Invite, Some(tag)) = (cseq.method, tag) {
                    self.trips.answered(source, self.secret.call(call_id, tag), now);
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
