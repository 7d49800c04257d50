//! What is answered without the softswitch: OPTIONS that ask the server itself and, while the softswitch is dead, what
//! its peers must hear to call elsewhere.
//!
//! Nothing is kept of what was answered (RFC 3261 §8.2.7): the To-tag is a hash of the request, so the same request
//! gets the same answer, and the ACK of a refusal is known by its tag.

use std::net::SocketAddr;

use sip_parse::{Message, Method, Name, Reply, Rport, StartLine, Transport, Uri};
use vos_common::packet::Flow;
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_common::state::mix;

use super::Context;
use crate::datagram::{End, Udp};
use crate::policy::{self, Domains, NONCES_MAX, Secret, Sources};
use crate::sip;
use crate::transmit::{Link, build, packet_length};
use crate::xdp::ip;

/// What softswitches can, who differ in nothing that a peer asks for by OPTIONS (RFC 3261 §11.2). Headers that are not
/// there say no: no extension is supported, no encoding but identity.
const CAPABILITIES: [(&str, &str); 2] = [
    (
        "Allow",
        "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE, INFO, REFER",
    ),
    ("Accept", "application/sdp"),
];
/// Sources of a queue whose OPTIONS are counted, 96 KiB a worker. Of more, those that ask least often begin anew: more
/// of their OPTIONS go on to the softswitch than `answer.options_pass_every` says, never fewer.
const SOURCES: usize = 1 << 12;
/// Ways of a bucket; who has asked least recently goes.
const WAYS: usize = 4;
/// MTU of Ethernet, bytes.
const ETHERNET: u32 = 1_500;

/// Both ends of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) caller: End,
    pub(super) here: End,
}

impl From<Udp<'_>> for Ends {
    fn from(udp: Udp<'_>) -> Self {
        Self { caller: udp.from, here: udp.to }
    }
}

/// What becomes of a datagram that does not go on to the softswitch.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is made and taken apart in place: a box would allocate for a packet")]
pub(super) enum Ending {
    /// It is taken.
    Taken(Reason),
    /// It is answered, by what stands in [`Answers::text`].
    Answered(Answered),
}

/// An answer, written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    length: usize,
    from: End,
    to: End,
    pub(super) reason: Reason,
    /// What the policy is told of it.
    pub(super) seen: policy::Answer,
}

/// One worker's answers.
#[derive(Debug)]
pub struct Answers {
    /// The softswitch is dead.
    pub dead: bool,
    /// There is room to send an answer. While there is none, what would be answered goes on to the softswitch.
    pub may_leave: bool,
    mtu: usize,
    text: Vec<u8>,
    turns: Turns,
}

impl Default for Answers {
    fn default() -> Self {
        Self::new(ETHERNET)
    }
}

impl Answers {
    /// For an interface of this MTU, bytes.
    pub fn new(mtu: u32) -> Self {
        Self { dead: false, may_leave: true, mtu: mtu as usize, text: vec![0; mtu as usize], turns: Turns::default() }
    }

    /// What becomes of `message`, if it is for the engine to end it.
    pub(super) fn end<S: Sources>(
        &mut self,
        message: &Message<'_>,
        ends: &Ends,
        context: &Context<'_, S>,
    ) -> Option<Ending> {
        let StartLine::Request { method, .. } = message.start_line() else { return None };
        let (rules, here) = (context.rules, &ends.here);
        if !rules.answer.options {
            return None;
        }
        if method == Method::Ack {
            let ours = rules.answer.refuse_calls && acknowledges(message, context.secret);
            return ours.then_some(Ending::Taken(Reason::Acknowledged));
        }
        let refused = self.dead
            && match method {
                Method::Options => true,
                Method::Invite => rules.answer.refuse_calls && !rules.emergency.is_called(message),
                _ => false,
            };
        let greeted = !self.dead && method == Method::Options && asks_the_server(message, here, &rules.domains);
        let outside_dialog = || message.to().is_ok_and(|to| to.tag.is_none());
        if !(refused || greeted) || !self.may_leave || !outside_dialog() || !context.sources.is_named(&ends.caller.addr)
        {
            return None;
        }
        if refused {
            // No Retry-After, which would tell a trunk to send nothing at all (RFC 3261 §21.5.4).
            let reply = Reply::new(503, "Service Unavailable");
            return self.write(&reply, 503, Reason::Unavailable, message, ends, context.secret);
        }
        if self.turns.is_next(&ends.caller.addr, rules.answer.options_pass_every) {
            return None;
        }
        let reply = Reply::new(200, "OK").headers(&CAPABILITIES);
        self.write(&reply, 200, Reason::Answered, message, ends, context.secret)
    }

    /// What becomes of a REGISTER whose sender is suspended: it is told so, where there is room to.
    pub(super) fn forbid(&mut self, message: &Message<'_>, ends: &Ends, secret: &Secret) -> Option<Ending> {
        self.refuse(&Reply::new(403, "Forbidden"), 403, message, ends, secret)
    }

    /// What is answered to somebody who is refused; `None`: there is no answer that would get there.
    pub(super) fn refuse(
        &mut self,
        reply: &Reply<'_>,
        status: u16,
        message: &Message<'_>,
        ends: &Ends,
        secret: &Secret,
    ) -> Option<Ending> {
        if !self.may_leave {
            return None;
        }
        self.write(reply, status, Reason::Refused, message, ends, secret)
    }

    fn write(
        &mut self,
        reply: &Reply<'_>,
        status: u16,
        reason: Reason,
        message: &Message<'_>,
        ends: &Ends,
        secret: &Secret,
    ) -> Option<Ending> {
        let (tag, call_id, cseq, via) =
            (tag_of(message, secret)?, message.call_id().ok()?, message.cseq().ok()?, message.top_via().ok()?);
        // By another transport or to another host (§18.2.2) it is the softswitch that can answer.
        if via.transport != Transport::Udp || via.params.get(b"maddr").is_some() {
            return None;
        }
        let Ends { caller, here } = *ends;
        let port = if via.rport == Rport::Absent { via.port.unwrap_or(sip::PORT) } else { caller.port };
        if port == 0 {
            return None;
        }
        let source = SocketAddr::new(ip(caller.addr), caller.port);
        let length = reply.to_tag(&tag).source(source).write(message, &mut self.text).ok()?;
        let seen = policy::Answer {
            to: caller.addr,
            status,
            invite: cseq.method == Method::Invite,
            options: cseq.method == Method::Options,
            register: cseq.method == Method::Register,
            nonces: [0; NONCES_MAX],
            stale: false,
            request: secret.request(call_id, cseq.method),
            transaction: secret.transaction(&via, &cseq, call_id),
            call: Some(secret.call(call_id, &tag)),
            asker: secret.call(call_id, message.from().ok()?.tag.unwrap_or_default()),
            cseq: cseq.number,
            bye: cseq.method == Method::Bye,
            asked: None,
        };
        Some(Ending::Answered(Answered { length, from: here, to: End { port, ..caller }, reason, seen }))
    }

    /// Turns the frame around, which is the beginning of `room`, and puts the answer into it. The frame's length, or `None`
    /// if the answer is too long; then the frame is as it was.
    pub(super) fn place(&self, answered: &Answered, room: &mut [u8], flow: &Flow) -> Option<usize> {
        let payload = self.text.get(..answered.length)?;
        if packet_length(answered.to.addr.is_v4(), payload.len()) > self.mtu {
            return None;
        }
        let link = Link::back(room, flow)?;
        build(room, &link, &answered.from, &answered.to, payload)
    }
}

/// Does an OPTIONS ask the server itself, and nothing that only the softswitch knows: an extension, a way on?
fn asks_the_server(message: &Message<'_>, here: &End, domains: &Domains) -> bool {
    const BEYOND_US: [Name; 3] = [Name::Require, Name::ProxyRequire, Name::Route];
    let Ok(Uri::Sip(uri)) = message.request_uri() else { return false };
    let ours = match uri.host.ip() {
        Some(address) => address == ip(here.addr) || domains.hold(uri.host),
        None => domains.is_empty() || domains.hold(uri.host),
    };
    ours && uri.user.is_none()
        && !uri.secure
        && uri.port.is_none_or(|port| port == here.port)
        && uri.params.get(b"maddr").is_none()
        && message.max_forwards().is_ok()
        && BEYOND_US.iter().all(|name| message.header(*name).is_none())
}

/// The To-tag of what the engine answers: the same for the same request (RFC 3261 §8.2.6.2), and the ACK of it has all that
/// it is made of (§17.1.1.3).
fn tag_of(message: &Message<'_>, secret: &Secret) -> Option<[u8; 16]> {
    let (from, cseq) = (message.from().ok()?, message.cseq().ok()?);
    let hash = secret.answer(message.call_id().ok()?, from.tag, cseq.number);
    Some(std::array::from_fn(|digit| b"0123456789abcdef"[(hash >> (60 - 4 * digit)) as usize & 15]))
}

/// Is this the ACK of an answer of ours?
pub(super) fn acknowledges(message: &Message<'_>, secret: &Secret) -> bool {
    let tag = message.to().ok().and_then(|to| to.tag);
    tag.is_some() && tag == tag_of(message, secret).as_ref().map(|tag| &tag[..])
}

/// Whose OPTIONS is the next to go on.
#[derive(Debug)]
struct Turns {
    /// Each source with the OPTIONS since the last that went on, who has asked last in front.
    buckets: Vec<[(Addr, u32); WAYS]>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { buckets: vec![[(Addr::default(), 0); WAYS]; SOURCES / WAYS] }
    }
}

impl Turns {
    /// Does this one go on, of which one in `every` does? A source's first does, so that the softswitch sees a new peer at
    /// once.
    fn is_next(&mut self, src: &Addr, every: u32) -> bool {
        if every == 0 {
            return false;
        }
        let at = mix(src.hi, src.lo) >> 32;
        let mask = self.buckets.len() - 1;
        let bucket = &mut self.buckets[at as usize & mask];
        let way = bucket.iter().position(|(addr, _)| addr == src).unwrap_or_else(|| {
            bucket[WAYS - 1] = (*src, 0);
            WAYS - 1
        });
        bucket[..=way].rotate_right(1);
        let turn = &mut bucket[0].1;
        let is_next = *turn == 0;
        *turn = (*turn + 1) % every;
        is_next
    }
}

#[cfg(test)]
mod tests;
