use sip_parse::{Message, Method, Name, StartLine};
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_common::state::mix;

use super::record::Cause;
use super::text::Texts;
use crate::policy::Secret;
use crate::policy::gateways::Gateways;

/// What the thread is told of calls.
#[derive(Debug)]
pub(super) enum Seen {
    Invited(Box<Invited>),
    Ended(Box<Ended>),
}

/// What an INVITE and its answers have in common, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The attempt: who calls, Call-ID and From-tag. The INVITE that answers a challenge has the same (RFC 3261 §22.2).
    pub(super) attempt: u64,
    /// The transaction (§17.2.3), of this caller: two that write the same are two.
    pub(super) transaction: u64,
}

impl Names {
    fn of(message: &Message<'_>, caller: &Addr, secret: &Secret) -> Option<Self> {
        let (via, cseq, call_id) = (message.top_via().ok()?, message.cseq().ok()?, message.call_id().ok()?);
        let from_tag = message.from().ok()?.tag.unwrap_or_default();
        let is_invite = cseq.method == Method::Invite;
        let attempt = secret.attempt(caller, call_id, from_tag);
        let transaction = mix(attempt, secret.transaction(&via, &cseq, call_id));
        is_invite.then_some(Self { attempt, transaction })
    }
}

/// An INVITE that goes to the softswitch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// Where it came from.
    pub src: Addr,
    /// UDP port that it came from.
    pub port: u16,
    pub(super) names: Names,
    /// Is it within a dialog (RFC 3261 §14)? Then it is no new call.
    pub(super) within: bool,
    /// Has it credentials?
    pub(super) credentials: bool,
    /// The limit of its gateway's that it is beyond, if it is refused for that.
    pub over: Option<Reason>,
    /// Those of [`TEXTS`](Self::TEXTS).
    texts: Option<Texts<5>>,
}

impl Invited {
    const FROM: usize = 0;
    const TO: usize = 1;
    const CALL_ID: usize = 2;
    const REQUEST_URI: usize = 3;
    const USER_AGENT: usize = 4;

    /// Of `message`, if it is an INVITE that has what its answers are known by. `port` is to be set by who knows it.
    pub fn of(message: &Message<'_>, src: &Addr, secret: &Secret) -> Option<Self> {
        let StartLine::Request { method: Method::Invite, uri } = message.start_line() else { return None };
        let names = Names::of(message, src, secret)?;
        let (from, to) = (message.from().ok()?, message.to().ok()?);
        let within = to.tag.is_some();
        let header = |name| message.header(name);
        let credentials = header(Name::Authorization).or_else(|| header(Name::ProxyAuthorization)).is_some();
        let texts = || {
            let (call_id, agent) = (message.call_id().unwrap_or_default(), message.user_agent().unwrap_or_default());
            Texts::of([from.addr_spec, to.addr_spec, call_id, uri, agent])
        };
        let texts = (!within).then(texts);
        Some(Self { src: *src, port: 0, names, within, credentials, over: None, texts })
    }

    /// The final response of the engine's own to it.
    pub fn refused(&self, status: u16, reason_phrase: &'static str, gateways: &Gateways) -> Ended {
        let texts = Some(Texts::of([b"", b"", b"", reason_phrase.as_bytes(), b""]));
        let limit = self.over.map(|over| if over == Reason::GatewayCps { "cps" } else { "max_calls" });
        let beyond = limit.and_then(|limit| Some((gateways.find(&self.src, self.port)?.name().into(), limit)));
        Ended { to: self.src, port: self.port, names: self.names, status, stale: false, beyond, texts }
    }

    pub(super) fn from(&self) -> String {
        self.text(Self::FROM)
    }

    pub(super) fn to(&self) -> String {
        self.text(Self::TO)
    }

    pub(super) fn call_id(&self) -> String {
        self.text(Self::CALL_ID)
    }

    pub(super) fn request_uri(&self) -> String {
        self.text(Self::REQUEST_URI)
    }

    pub(super) fn user_agent(&self) -> String {
        self.text(Self::USER_AGENT)
    }

    fn text(&self, n: usize) -> String {
        self.texts.as_ref().map_or_else(String::new, |texts| texts.get(n))
    }
}

/// A final response to an INVITE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Where it went.
    pub(super) to: Addr,
    /// UDP port that it went to.
    pub(super) port: u16,
    pub(super) names: Names,
    /// 200 to 699.
    pub(super) status: u16,
    /// Does it say that only the nonce was too old (RFC 7616 §3.3)?
    pub(super) stale: bool,
    /// The gateway that called, and which limit of its own it was beyond.
    pub(super) beyond: Option<(Box<str>, &'static str)>,
    /// None of a 2xx: it is only to be forgotten.
    texts: Option<Texts<5>>,
}

impl Ended {
    const FROM: usize = 0;
    const TO: usize = 1;
    const CALL_ID: usize = 2;
    const PHRASE: usize = 3;
    const REASON: usize = 4;

    /// Of a response that goes to `to`, if it ends an INVITE.
    pub fn of(message: &Message<'_>, to: &Addr, port: u16, secret: &Secret) -> Option<Self> {
        let StartLine::Response { code: status, reason: phrase } = message.start_line() else { return None };
        if !(200..=699).contains(&status) {
            return None;
        }
        let names = Names::of(message, to, secret)?;
        let stale = matches!(status, 401 | 407)
            && message.www_authenticates().chain(message.proxy_authenticates()).flatten().any(|auth| auth.is_stale());
        let texts = || {
            let from = message.from().map_or(&[][..], |from| from.addr_spec);
            let to = message.to().map_or(&[][..], |to| to.addr_spec);
            let reason = message.headers().find(|header| header.written.eq_ignore_ascii_case(b"Reason"));
            let reason = reason.map_or(&[][..], |header| header.value);
            Texts::of([from, to, message.call_id().unwrap_or_default(), phrase, reason])
        };
        let texts = (status >= 300).then(texts);
        Some(Self { to: *to, port, names, status, stale, beyond: None, texts })
    }

    pub(super) fn cause(&self) -> Cause {
        Cause { status: self.status, reason_phrase: self.text(Self::PHRASE), reason: self.text(Self::REASON) }
    }

    pub(super) fn from(&self) -> String {
        self.text(Self::FROM)
    }

    pub(super) fn to(&self) -> String {
        self.text(Self::TO)
    }

    pub(super) fn call_id(&self) -> String {
        self.text(Self::CALL_ID)
    }

    fn text(&self, n: usize) -> String {
        self.texts.as_ref().map_or_else(String::new, |texts| texts.get(n))
    }
}
