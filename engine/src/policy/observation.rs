//! What workers and the egress program's reader tell the policy: small, of fixed size, by hashed names.

use sip_parse::{Auth, Message, Method, StartLine};
use vos_common::rule::Addr;

use super::Secret;
use super::identity::Attempt;

/// One thing that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// An ACK came in.
    Ack(Ack),
    /// A REGISTER with credentials came in.
    Attempt(Attempt),
    /// A response went out.
    Answer(Answer),
}

/// An ACK as a worker saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Where it came from.
    pub src: Addr,
    /// [`Secret::call`] of it.
    pub call: u64,
}

impl Ack {
    /// What `message` acknowledges, if it is an ACK with a To-tag.
    pub fn of(message: &Message<'_>, src: &Addr, secret: &Secret) -> Option<Self> {
        let (call_id, tag) = (message.call_id().ok()?, message.to().ok()?.tag?);
        Some(Self { src: *src, call: secret.call(call_id, tag) })
    }
}

/// Challenges of one response that are looked at.
pub const NONCES_MAX: usize = 3;

/// A response on its way to a caller, whichever way it took: the kernel's, where the egress program saw it, or a relay's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where it goes.
    pub to: Addr,
    /// Its status, 100 to 699.
    pub status: u16,
    /// Does it answer an INVITE?
    pub invite: bool,
    /// Does it answer an OPTIONS?
    pub options: bool,
    /// Does it answer a REGISTER?
    pub register: bool,
    /// [`Secret::nonce`] of the challenges in it; 0: there are fewer. A server that takes several algorithms sends one for
    /// each (RFC 8760 §2.3).
    pub nonces: [u64; NONCES_MAX],
    /// Does a challenge say that only the nonce was too old (RFC 2617 §3.2.1)?
    pub stale: bool,
    /// [`Secret::request`] of it: what a second try has, too.
    pub request: u64,
    /// [`Secret::transaction`] of it; 0 if its top Via is unreadable.
    pub transaction: u64,
    /// [`Secret::call`] of it, if To has a tag.
    pub call: Option<u64>,
}

impl Answer {
    /// Of a response to `to`; `None` if it is none, or lacks what makes it SIP.
    pub fn of(message: &Message<'_>, to: &Addr, secret: &Secret) -> Option<Self> {
        let StartLine::Response { code: status, .. } = message.start_line() else { return None };
        let (cseq, call_id) = (message.cseq().ok()?, message.call_id().ok()?);
        let tag = message.to().ok().and_then(|to| to.tag);
        let register = cseq.method == Method::Register;
        let (mut nonces, mut stale) = ([0; NONCES_MAX], false);
        if register && matches!(status, 401 | 407) {
            let all = message.www_authenticates().chain(message.proxy_authenticates());
            let challenges = all.filter_map(Result::ok).filter(Auth::is_digest);
            for (place, challenge) in nonces.iter_mut().zip(challenges) {
                *place = challenge.nonce().map_or(0, |nonce| secret.nonce(nonce));
                stale |= challenge.is_stale();
            }
        }
        Some(Self {
            to: *to,
            register,
            nonces,
            stale,
            status,
            invite: cseq.method == Method::Invite,
            options: cseq.method == Method::Options,
            request: secret.request(call_id, cseq.method),
            transaction: message.top_via().map_or(0, |via| secret.transaction(&via, &cseq, call_id)),
            call: tag.map(|tag| secret.call(call_id, tag)),
        })
    }
}
