//! Bytes in, action out. No sockets, no clock, no memory but the view of fragments that it is given, and of sources the
//! turns of their OPTIONS: what the fuzzer drives and the worker calls for every packet.

/// What is answered without the softswitch.
mod answer;
/// A caller in front of all of it.
#[cfg(test)]
mod bench;
/// What a relay goes by.
mod brief;
/// What the kernel would say to checksums.
mod checksums;
/// Calls that go before all others.
mod emergency;
/// A fragment, taken apart.
mod fragments;
/// How much one source may have open.
mod parallel;
/// What slowed sources may send.
mod slow;
/// What a softswitch that is behind is spared.
mod spare;
/// How many calls a trunk may make.
mod trunk;

pub use answer::Answers;
pub use brief::{Brief, Class};
pub use emergency::Emergency;
pub(crate) use fragments::fragment_headers;
pub use spare::{Emergencies, worth};

use std::cell::LazyCell;

use sip_parse::{Error, Index, Message, Method, Mode, StartLine, classify};
use vos_common::packet::{self, Flow, WHOLE};
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_common::verdict;

use crate::config::SuspendedAnswer;
use crate::datagram::Udp;
use crate::policy::{self, Ack, Attempt, CREDENTIALS_MAX, Heard, Registering, Secret, Sources, Suspensions};
use crate::pressure::Pressed;
use crate::reassembly::Reassembly;
use crate::records::Invited;
use crate::ruleset::Ruleset;
use crate::shield::Shield;
use crate::whole::judge_whole;
use answer::{Ending, Ends};
use checksums::{header_is_right, offloaded, sound_whole, unsound};
use fragments::fragment;
use spare::spare;
use trunk::Becomes;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// On to the softswitch.
    Relay(Checksum),
    /// On to the softswitch as one datagram: [`Scratch::whole`], of which this was the last fragment to come.
    RelayWhole,
    /// Answered: the frame holds so many bytes that go back to where it came from.
    Reply(usize, Reason),
    /// Taken: the softswitch needs to know nothing of it.
    Swallow(Reason),
    /// Gone.
    Drop(Reason),
}

/// Where a packet's UDP checksum stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// As it should be, or the kernel will see to it.
    Whole,
    /// Only the pseudo-header's sum: a sender on this machine left the rest to offload. `start` is the offset of the
    /// UDP header in the frame.
    Partial {
        /// Offset of the UDP header from the destination MAC, bytes.
        start: u16,
    },
}

/// What a packet turned out to be, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    /// A SIP request.
    Request,
    /// A SIP response.
    Response,
    /// Line ends, NULs, `jaK`, nothing.
    KeepAlive,
    /// STUN.
    Stun,
    /// A fragment of something not yet whole.
    Fragment,
    /// On a SIP port, but the parser cannot read it. It is relayed: the softswitch may be more lenient.
    Unparsed,
}

impl Kind {
    /// All kinds; the position of each is its counter's.
    pub const ALL: [Self; 6] =
        [Self::Request, Self::Response, Self::KeepAlive, Self::Stun, Self::Fragment, Self::Unparsed];

    /// The word for it in JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Response => "response",
            Self::KeepAlive => "keep_alive",
            Self::Stun => "stun",
            Self::Fragment => "fragment",
            Self::Unparsed => "unparsed",
        }
    }
}

/// What a worker decides by, beside the packet.
#[derive(Debug)]
pub struct Context<'a, S> {
    /// The rules in force.
    pub rules: &'a Ruleset,
    /// Who is known.
    pub sources: &'a S,
    /// Datagrams in fragments.
    pub fragments: &'a Reassembly,
    /// What observations are hashed with.
    pub secret: &'a Secret,
    /// Where what survives goes.
    pub relay: Way,
    /// Of which requests a copy is with the softswitch; none where copies are not kept back.
    pub shield: Option<&'a Shield>,
    /// The softswitch's sockets, while one of them is behind.
    pub pressed: &'a Pressed,
    /// Whose REGISTERs are refused.
    pub suspensions: &'a Suspensions,
}

/// What is done with a packet, and what is to be noted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is done.
    pub action: Action,
    /// What it is.
    pub kind: Kind,
    /// The monitored rule that would have dropped it.
    pub would: Option<Reason>,
    /// What it acknowledges.
    pub ack: Option<Ack>,
    /// What a relay goes by; none if the message lacks what makes it SIP.
    pub brief: Option<Brief>,
    /// What it was answered.
    pub answered: Option<policy::Answer>,
    /// Whose answer to the engine's own OPTIONS it is, if it is taken for that.
    pub heard: Option<Heard>,
    /// Where the headers are of what goes on: of the frame, or of [`Scratch::whole`]; none if they cannot be read.
    pub flow: Option<Flow>,
}

/// Where what survives goes, as far as it makes a difference to what is done here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// As it came, to the kernel: that checks what a kernel checks, and puts fragments together.
    #[default]
    Frames,
    /// As datagrams, past the kernel: checksums are checked here, and datagrams in fragments go as one.
    Datagrams,
}

/// What is used again from packet to packet, so that none makes the pipeline allocate.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Of the message.
    pub index: Index,
    /// The datagram of which the last fragment has come, from the destination MAC on.
    pub whole: Vec<u8>,
    /// What is answered here.
    pub answers: Answers,
    /// What unknown sources have sent of emergencies.
    pub emergencies: Emergencies,
    /// What the packet before asked for, if that was a REGISTER with credentials.
    pub attempts: Attempts,
    /// The INVITE that was handled last, if calls are written down: whoever hands it on takes it from here.
    pub invited: Option<Box<Invited>>,
}

/// Room for what one REGISTER shows.
#[derive(Debug)]
pub struct Attempts {
    shown: Vec<Attempt>,
    registering: Option<Registering>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { shown: Vec::with_capacity(CREDENTIALS_MAX), registering: None }
    }
}

impl Attempts {
    /// Takes its credentials.
    pub fn drain(&mut self) -> impl Iterator<Item = Attempt> + '_ {
        self.shown.drain(..)
    }

    /// Takes what it asks for.
    pub fn take_registering(&mut self) -> Option<Registering> {
        self.registering.take()
    }

    fn clear(&mut self) {
        self.shown.clear();
        self.registering = None;
    }

    /// It came from one end to the other.
    fn came(&mut self, ends: Option<&Ends>) {
        if let (Some(registering), Some(ends)) = (&mut self.registering, ends) {
            (registering.source, registering.here) = (ends.caller, ends.here);
        }
    }
}

/// Decides on the frame that is the first `length` bytes of `room`. `now` is `CLOCK_MONOTONIC` in ns, asked only where
/// time matters.
pub fn handle<S: Sources>(
    room: &mut [u8],
    length: usize,
    scratch: &mut Scratch,
    context: &Context<'_, S>,
    now: impl Fn() -> u64,
) -> Outcome {
    let length = length.min(room.len());
    scratch.attempts.clear();
    scratch.invited = None;
    // XDP has walked these headers already; a frame that cannot be read here was changed on the way.
    let Some(flow) = packet::flow(&&room[..length]) else { return unreadable(Kind::Unparsed, context.relay) };
    let outcome = match flow.fragment {
        WHOLE => handle_datagram(room, length, &flow, scratch, context, now),
        _ => handle_fragment(room, length, &flow, scratch, context, now),
    };
    Outcome { flow: outcome.flow.or(Some(flow)), ..outcome }
}

fn handle_datagram<S: Sources>(
    room: &mut [u8],
    length: usize,
    flow: &Flow,
    scratch: &mut Scratch,
    context: &Context<'_, S>,
    now: impl Fn() -> u64,
) -> Outcome {
    let frame = &room[..length];
    if flow.l4 > flow.end.min(length as u64) {
        return unreadable(Kind::Unparsed, context.relay);
    }
    let udp = Udp::of(frame, flow);
    let ends = udp.map(Ends::from);
    let Scratch { index, answers, attempts, .. } = scratch;
    let end = |message: &Message<'_>, is_suspended: bool| {
        let Some(ends) = &ends else { return Becomes::default() };
        let ending = match is_suspended {
            true => answers.forbid(message, ends, context.secret),
            false => answers.end(message, ends, context),
        };
        match ending {
            None if !is_suspended => trunk::judge(message, ends, answers, context, &now),
            ending => Becomes { ending, ..Becomes::default() },
        }
    };
    let mut reading = read(payload_of(udp), &flow.src, index, attempts, context, &now, end);
    scratch.attempts.came(ends.as_ref());
    scratch.invited = reading.invited_by(ends.as_ref());
    let checksum = offloaded(frame, flow);
    let past_kernel = context.relay == Way::Datagrams;
    let is_checked = past_kernel || matches!(reading.ending, Some(Ending::Answered(_)));
    let unsound = is_checked.then(|| unsound(frame, flow, checksum)).flatten();
    if reading.refused == Some(Reason::Suspended) {
        if let (None, Some(Ending::Answered(answered))) = (unsound, reading.ending.take())
            && let Some(length) = answers.place(&answered, room, flow)
        {
            return reading.ended(Action::Reply(length, answered.reason), Some(answered.seen));
        }
    } else if reading.refused.is_none() {
        match (unsound, reading.ending.take()) {
            // What the kernel would not take is left to it, where it gets it.
            (Some(_), _) => reading.refused = unsound.filter(|_| past_kernel),
            (None, Some(Ending::Taken(reason))) => return reading.ended(Action::Swallow(reason), None),
            (None, Some(Ending::Answered(answered))) => {
                if let Some(length) = answers.place(&answered, room, flow) {
                    return reading.ended(Action::Reply(length, answered.reason), Some(answered.seen));
                }
                reading.refused = reading.denied;
            }
            (None, None) => reading.refused = reading.denied,
        }
    }
    spare(reading.outcome(checksum), ends.as_ref(), context, &mut scratch.emergencies, now)
}

fn handle_fragment<S: Sources>(
    room: &mut [u8],
    length: usize,
    flow: &Flow,
    scratch: &mut Scratch,
    context: &Context<'_, S>,
    now: impl Fn() -> u64,
) -> Outcome {
    let mut reading = Reading::of(Kind::Fragment);
    let frame = &room[..length];
    let Some(fragment) = fragment(frame, flow) else { return unreadable(Kind::Fragment, context.relay) };
    let datagrams = context.relay == Way::Datagrams;
    if !datagrams && spare::gives_way(flow, context) {
        reading.refused = Some(Reason::GivenUp);
        return reading.outcome(Checksum::Whole);
    }
    if datagrams && !header_is_right(frame, flow) {
        reading.refused = Some(Reason::HeaderChecksum);
        return reading.outcome(Checksum::Whole);
    }
    let exempt = || (!datagrams && context.rules.enforce == 0) || context.sources.is_known(&flow.src);
    let Scratch { index, whole, emergencies, answers, attempts, invited, .. } = scratch;
    let (mut complete, mut of_whole) = (false, None);
    let now = now();
    let verdict = context.fragments.add(&fragment, context.relay, now, exempt, |datagram| {
        of_whole = packet::flow(&datagram);
        reading = read_whole(datagram, flow, of_whole.as_ref(), index, attempts, answers, context, now);
        let ends = of_whole.as_ref().and_then(|flow| Udp::of(datagram, flow)).map(Ends::from);
        attempts.came(ends.as_ref());
        *invited = reading.invited_by(ends.as_ref());
        if datagrams {
            whole.clear();
            whole.extend_from_slice(datagram);
            complete = true;
        }
        reading.refused.or(reading.denied).map_or(Ok(()), Err)
    });
    reading.refused = verdict.err();
    if let (Some(Ending::Answered(answered)), true) = (reading.ending.take(), reading.denied.is_some())
        && reading.refused == reading.denied
        && let Some(length) = answers.place(&answered, room, flow)
    {
        return reading.ended(Action::Reply(length, answered.reason), Some(answered.seen));
    }
    if datagrams && complete && reading.refused.is_none() {
        reading.refused = sound_whole(whole, of_whole.as_ref());
    }
    let outcome = reading.outcome(Checksum::Whole);
    match (outcome.action, &of_whole) {
        (Action::Relay(_), Some(flow)) if datagrams && complete => {
            let outcome = Outcome { action: Action::RelayWhole, flow: of_whole, ..outcome };
            let ends = Udp::of(whole, flow).map(Ends::from);
            spare(outcome, ends.as_ref(), context, emergencies, || now)
        }
        (Action::Relay(_), _) if datagrams => Outcome { action: Action::Swallow(Reason::InFragments), ..outcome },
        // The kernel has the others already, and would keep them for half a minute if this one did not come.
        _ => Outcome { brief: None, ..outcome },
    }
}

/// What claims to be longer than it is, or says nothing that can be read: the kernel refuses it. Where that is gone past,
/// nothing of it is relayed.
fn unreadable(kind: Kind, relay: Way) -> Outcome {
    let refused = (relay == Way::Datagrams).then_some(Reason::BadLength);
    Reading { refused, ..Reading::of(kind) }.outcome(Checksum::Whole)
}

/// What a datagram says, and what the rules say to it.
struct Reading {
    kind: Kind,
    refused: Option<Reason>,
    would: Option<Reason>,
    ack: Option<Ack>,
    brief: Option<Brief>,
    heard: Option<Heard>,
    invited: Option<Box<Invited>>,
    /// What becomes of it without the softswitch, if nothing speaks against it.
    ending: Option<Ending>,
    /// It does not go on, whether or not it can be answered.
    denied: Option<Reason>,
}

impl Reading {
    const fn of(kind: Kind) -> Self {
        Self {
            kind,
            refused: None,
            would: None,
            ack: None,
            brief: None,
            heard: None,
            invited: None,
            ending: None,
            denied: None,
        }
    }

    /// The INVITE that it is, of who stands at this end.
    fn invited_by(&mut self, ends: Option<&Ends>) -> Option<Box<Invited>> {
        let mut invited = self.invited.take()?;
        invited.port = ends.map_or(0, |ends| ends.caller.port);
        invited.over = self.denied;
        Some(invited)
    }

    /// It breaks a rule that is enforced or monitored.
    fn broke(&mut self, rule: Reason, rules: &Ruleset) {
        if rules.enforce & rule.bit() != 0 {
            self.refused = Some(rule);
        } else {
            self.would = self.would.or(Some(rule));
        }
    }

    fn outcome(self, checksum: Checksum) -> Outcome {
        let action = self.refused.map_or(Action::Relay(checksum), Action::Drop);
        self.ended(action, None)
    }

    fn ended(self, action: Action, answered: Option<policy::Answer>) -> Outcome {
        let Self { kind, would, ack, brief, heard, .. } = self;
        Outcome { action, kind, would, ack, brief, answered, heard, flow: None }
    }
}

/// A datagram that came in fragments: first what XDP would say to the whole, which it has not seen.
#[expect(clippy::too_many_arguments, reason = "what a worker has of its own is borrowed apart")]
fn read_whole<S: Sources>(
    frame: &[u8],
    flow: &Flow,
    of_whole: Option<&Flow>,
    index: &mut Index,
    attempts: &mut Attempts,
    answers: &mut Answers,
    context: &Context<'_, S>,
    now: u64,
) -> Reading {
    let judged = judge_whole(frame, flow, context.rules, context.sources);
    let udp = of_whole.and_then(|flow| Udp::of(frame, flow));
    let survives = judged.verdict.action != verdict::Action::Drop;
    let end = |message: &Message<'_>, is_suspended: bool| match udp.map(Ends::from) {
        Some(ends) if survives && !is_suspended => trunk::judge(message, &ends, answers, context, || now),
        _ => Becomes::default(),
    };
    let mut reading = read(payload_of(udp), &flow.src, index, attempts, context, || now, end);
    if reading.denied.is_none() {
        // Its other fragments may be with the kernel already, which waits for the last.
        reading.ending = None;
    }
    if judged.verdict.action == verdict::Action::Drop {
        reading.refused = Some(judged.verdict.reason);
    }
    reading.would = judged.would().or(reading.would);
    reading
}

/// What a datagram carries; nothing if it has no header.
fn payload_of(udp: Option<Udp<'_>>) -> &[u8] {
    udp.map_or(&[], |udp| udp.payload)
}

fn read<S: Sources>(
    payload: &[u8],
    src: &Addr,
    index: &mut Index,
    attempts: &mut Attempts,
    context: &Context<'_, S>,
    now: impl Fn() -> u64,
    end: impl FnOnce(&Message<'_>, bool) -> Becomes,
) -> Reading {
    let keep_alive = || {
        let ending = context.rules.answer.keep_alives.then_some(Ending::Taken(Reason::KeepAlive));
        Reading { ending, ..Reading::of(Kind::KeepAlive) }
    };
    let message = match index.parse(payload, Mode::Lenient) {
        Ok(message) => message,
        Err(Error::Empty) => return keep_alive(),
        Err(_) => {
            return match classify(payload) {
                sip_parse::Kind::Nul | sip_parse::Kind::Jak => keep_alive(),
                sip_parse::Kind::Stun => Reading::of(Kind::Stun),
                _ => Reading::of(Kind::Unparsed),
            };
        }
    };
    let wanted = context.rules.briefs || !context.pressed.is_empty();
    let brief = || Brief::of(&message, context.secret, |message| context.rules.emergency.is_called(message));
    let brief = wanted.then(brief).flatten();
    let StartLine::Request { method, .. } = message.start_line() else {
        end(&message, false);
        let heard = context.rules.online.then(|| Heard::of(&message, src, context.secret)).flatten();
        let ending = heard.map(|_| Ending::Taken(Reason::OnlineReply));
        return Reading { brief, heard, ending, ..Reading::of(Kind::Response) };
    };
    let mut reading = Reading { brief, ..Reading::of(Kind::Request) };
    if method == Method::Ack {
        reading.ack = Ack::of(&message, src, context.secret);
    }
    let rules = context.rules;
    // More than one of those that follow may want it.
    let transaction = LazyCell::new(|| context.secret.transaction_of(&message));
    if rules.records && method == Method::Invite {
        reading.invited = Invited::of(&message, src, context.secret).map(Box::new);
    }
    // What is cheap first: the source is asked for only if the domain is foreign.
    if rules.watches(Reason::ForeignDomain) && rules.domains.refuse(&message) && !context.sources.is_known(src) {
        reading.broke(Reason::ForeignDomain, rules);
    }
    if reading.refused.is_none() && slow::is_beyond(&message, method, src, context, &now) {
        reading.broke(Reason::Slowed, rules);
    }
    if method == Method::Register
        && reading.refused.is_none()
        && rules.watches(Reason::Contacts)
        && policy::is_absurd(&message, &rules.registration)
        && !context.sources.is_trusted(src)
    {
        reading.broke(Reason::Contacts, rules);
    }
    if reading.refused.is_none() && parallel::is_beyond(&message, method, src, context, || *transaction, &now) {
        reading.broke(Reason::Parallel, rules);
    }
    let mut is_forbidden = false;
    if method == Method::Register
        && rules.registration.suspend
        && reading.refused.is_none()
        && rules.watches(Reason::Suspended)
        && (policy::hides(&message) || context.suspensions.hold(&message, src))
        && !context.sources.is_trusted(src)
    {
        reading.broke(Reason::Suspended, rules);
        is_forbidden = reading.refused.is_some() && rules.registration.answer == SuspendedAnswer::Forbidden;
    }
    let is_told = rules.registration.suspend || rules.registration.watch;
    let shows = is_told && method == Method::Register && reading.refused.is_none() && policy::shows(&message);
    if let Some(transaction) = shows.then(|| *transaction).flatten() {
        if rules.registration.suspend {
            attempts.shown.extend(Attempt::all_of(&message, src, context.secret, transaction));
        }
        if rules.registration.watch {
            attempts.registering = Registering::of(&message, src, context.secret, transaction);
        }
    }
    if is_forbidden || reading.refused.is_none() {
        let Becomes { ending, denied, would } = end(&message, is_forbidden);
        (reading.ending, reading.denied, reading.would) = (ending, denied, would.or(reading.would));
    }
    reading
}

#[cfg(test)]
mod tests;
