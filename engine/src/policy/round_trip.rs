//! Round trips that cannot be spoofed: who answers what only went to this address is there.
//!
//! A challenge (401, 407) that went to an address, and then a 2xx to the same request from the same address: whoever
//! sent the credentials has read the nonce. A 2xx to an INVITE, and then an ACK with its To-tag: whoever sent the ACK
//! has read the tag. Nothing is learnt from one packet, and nothing from packets of different addresses.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};

use sip_parse::{Aor, CSeq, Message, Method, Via};
use vos_common::rule::Addr;
use vos_common::state::mix;

use crate::datagram::End;
use crate::recent::Recent;
use crate::sip;

/// How long a challenge or an answer is remembered, ns: as long as SIP itself tries again (RFC 3261 §17.1.1.2, §13.3.1.4).
pub(super) const LIFE: u64 = sip::TRANSACTION;

/// Ways of a bucket; the oldest goes.
const WAYS: usize = 8;
/// Challenges remembered, 8 MiB. Under a flood each new one takes the place of the oldest of its bucket, and buckets
/// are chosen by a secret hash over address, Call-ID and method. So what is asked in a phone's name does not pile up
/// where the phone's own challenge lies: 50,000 spoofed REGISTERs a second, all of them answered, leave a challenge
/// there for more than four seconds in 99 cases of 100, and a phone answers within one. Half as many, and a softswitch
/// that answers 50,000 a second makes phones prove themselves twice.
pub const CHALLENGES: usize = 1 << 19;
/// Answered INVITEs remembered, 1 MiB: 2,000 calls a second for all of [`LIFE`].
pub const ANSWERS: usize = 1 << 16;

/// Keys the hashes of what strangers write: nobody outside can aim at a slot.
#[derive(Clone, Debug, Default)]
pub struct Secret(RandomState);

impl Secret {
    /// Names a call as its ACK does: Call-ID and To-tag.
    pub fn call(&self, call_id: &[u8], to_tag: &[u8]) -> u64 {
        self.hash((0u8, call_id, to_tag))
    }

    /// Names a request as its answer does: Call-ID and method, without the CSeq number, which the second try counts up
    /// (RFC 3261 §22.2). With the method, for else an OPTIONS that anybody gets a 200 for would answer the challenge of
    /// a REGISTER.
    pub fn request(&self, call_id: &[u8], method: Method<'_>) -> u64 {
        self.hash((1u8, call_id, method.as_bytes()))
    }

    /// Names a transaction as requests and their responses do: sent-by and branch of the top Via, CSeq with its method,
    /// and the Call-ID for those whose branch is no better than RFC 2543's (RFC 3261 §17.2.3).
    pub fn transaction(&self, via: &Via<'_>, cseq: &CSeq<'_>, call_id: &[u8]) -> u64 {
        let branch = via.branch.unwrap_or_default();
        self.hash((3u8, via.host.as_bytes(), via.port, branch, cseq.number, cseq.method.as_bytes(), call_id))
    }

    /// The same of a whole message; `None`: it lacks one of them.
    pub fn transaction_of(&self, message: &Message<'_>) -> Option<u64> {
        let (via, cseq) = (message.top_via().ok()?, message.cseq().ok()?);
        Some(self.transaction(&via, &cseq, message.call_id().ok()?))
    }

    /// Names a URI: user, host and port of it.
    pub fn uri(&self, aor: &Aor<'_>) -> u64 {
        self.hash((4u8, aor))
    }

    /// Names a request as its answers' To-tag does: what the ACK of a failure has, too (RFC 3261 §17.1.1.3). Without the
    /// branch, which not everybody repeats there.
    pub fn answer(&self, call_id: &[u8], from_tag: Option<&[u8]>, cseq: u32) -> u64 {
        self.hash((5u8, call_id, from_tag, cseq))
    }

    /// Names an identity: an address, a user (an account or an address-of-record), or one at the other.
    pub fn identity(&self, address: Option<&Addr>, user: Option<&[u8]>) -> u64 {
        self.hash((6u8, address, user))
    }

    /// Names a nonce, or whatever else stands in credentials.
    pub fn nonce(&self, nonce: &[u8]) -> u64 {
        self.hash((7u8, nonce))
    }

    /// Names an attempt to call, as INVITEs and their answers do: the caller, Call-ID and From-tag. The INVITE that answers a
    /// challenge has the same (RFC 3261 §22.2).
    pub fn attempt(&self, caller: &Addr, call_id: &[u8], from_tag: &[u8]) -> u64 {
        self.hash((8u8, caller, call_id, from_tag))
    }

    /// Names an end.
    pub fn end(&self, end: &End) -> u64 {
        self.hash((9u8, end))
    }

    /// Proves a question of the engine's own: to whom it goes, by [`Secret::end`] and address, and its number.
    pub fn ask(&self, end: u64, number: u32, to: &Addr) -> u64 {
        self.hash((10u8, end, number, to))
    }

    fn hash(&self, what: impl Hash) -> u64 {
        self.0.hash_one(what)
    }
}

/// By names, which are hashes with a secret.
type Seen = Recent<u64, (), WAYS>;

/// Challenges and answers that wait for their other half.
#[derive(Debug)]
pub struct RoundTrips {
    challenges: Seen,
    answers: Seen,
}

impl Default for RoundTrips {
    fn default() -> Self {
        Self { challenges: Seen::of(CHALLENGES), answers: Seen::of(ANSWERS) }
    }
}

impl RoundTrips {
    /// `request` of `source` was challenged.
    pub fn challenged(&mut self, source: u64, request: u64, now: u64) {
        note(&mut self.challenges, mix(source, request), now);
    }

    /// `request` of `source` was accepted: after a challenge?
    pub fn accepted(&mut self, source: u64, request: u64, now: u64) -> bool {
        take(&mut self.challenges, mix(source, request), now)
    }

    /// An INVITE of `source` got a 2xx that belongs to `call`.
    pub fn answered(&mut self, source: u64, call: u64, now: u64) {
        note(&mut self.answers, mix(source, call), now);
    }

    /// `source` acknowledged `call`: was that answered, there?
    pub fn acknowledged(&mut self, source: u64, call: u64, now: u64) -> bool {
        take(&mut self.answers, mix(source, call), now)
    }
}

fn note(seen: &mut Seen, name: u64, now: u64) {
    seen.put(name, name, (), now);
}

/// Was it seen within [`LIFE`]? It is no more: one proof each.
fn take(seen: &mut Seen, name: u64, now: u64) -> bool {
    seen.take(name, &name).is_some_and(|((), at)| now.saturating_sub(at) < LIFE)
}
