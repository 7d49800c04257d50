//! What workers and the egress program's reader tell the policy: small, of fixed size, by hashed names.

use sip_parse::{Auth, Message, Method, StartLine};
use vos_common::rule::Addr;

use super::Secret;
use super::bindings::{Granted, Registering};
use super::blacklist::Evidence;
use super::enumeration::begins;
use super::gateways::{Answered, Asked};
use super::identity::{Attempt, Name};
use super::online::Heard;

/// One thing that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// An ACK came in.
    Ack(Ack),
    /// A REGISTER with credentials came in.
    Attempt(Attempt),
    /// A response went out.
    Answer(Answer),
    /// A BYE of the softswitch's went out.
    Bye(Bye),
    /// Something speaks against a source: a packet that was dropped and says it came from there, or that who registered there
    /// never answers.
    Offence(Evidence, Addr),
    /// A REGISTER with credentials came in: what it asks for.
    Registering(Registering),
    /// A 2xx to a REGISTER went out.
    Granted(Granted),
    /// Somebody answered the engine's own OPTIONS.
    Heard(Heard),
}

/// What the softswitch has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// A response.
    Answer(Answer),
    /// A BYE.
    Bye(Bye),
}

impl Said {
    /// By a message on its way to `to`; `None`: it is nothing that says something.
    pub fn of(message: &Message<'_>, to: &Addr, secret: &Secret) -> Option<Self> {
        match message.start_line() {
            StartLine::Response { .. } => Answer::of(message, to, secret).map(Self::Answer),
            StartLine::Request { .. } => Bye::of(message, secret).map(Self::Bye),
        }
    }
}

impl From<Said> for Observation {
    fn from(said: Said) -> Self {
        match said {
            Said::Answer(answer) => Self::Answer(answer),
            Said::Bye(bye) => Self::Bye(bye),
        }
    }
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
    /// [`Secret::call`] of it with From's tag: the end of whoever asked.
    pub asker: u64,
    /// Its CSeq number.
    pub cseq: u32,
    /// Does it answer a BYE?
    pub bye: bool,
    /// Whom the request named that it answers at last (the address-of-record in To), if that may have begun something.
    pub asked: Option<Name>,
}

/// A BYE on its way out: who sends it and who is to get it, as [`Secret::call`] names ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye {
    /// From's end.
    pub from: u64,
    /// To's.
    pub to: u64,
}

impl Bye {
    /// What `message` ends: a BYE, or the answer to one.
    pub fn of(message: &Message<'_>, secret: &Secret) -> Option<Self> {
        let method = match message.start_line() {
            StartLine::Request { method, .. } => method,
            StartLine::Response { .. } => message.cseq().ok()?.method,
        };
        if method != Method::Bye {
            return None;
        }
        let (call_id, from, to) = (message.call_id().ok()?, message.from().ok()?, message.to().ok()?);
        Some(Self { from: secret.call(call_id, from.tag.unwrap_or_default()), to: secret.call(call_id, to.tag?) })
    }
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
        let asker = message.from().ok().and_then(|from| from.tag).unwrap_or_default();
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
            asker: secret.call(call_id, asker),
            cseq: cseq.number,
            bye: cseq.method == Method::Bye,
            asked: (status >= 200 && begins(cseq.method)).then(|| Name::of_aor(message)).flatten(),
        })
    }

    /// Does it say who is registered?
    pub const fn grants(&self) -> bool {
        self.register && self.status >= 200 && self.status < 300
    }

    /// What it says of a gateway's call.
    pub const fn of_call(&self) -> Answered {
        let method = match (self.invite, self.bye) {
            (true, _) => Asked::Invite,
            (_, true) => Asked::Bye,
            _ => Asked::Other,
        };
        Answered { asker: self.asker, other: self.call, cseq: self.cseq, method, status: self.status }
    }
}
