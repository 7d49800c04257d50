use vos_common::rule::Addr;

use super::record::{Call, Cause, GatewayRefusal, IllegalCall, Record, What, Why, seconds};
use super::seen::{Ended, Invited, Names};
use crate::config;
use crate::control::clock::Clock;
use crate::policy::Sources;
use crate::recent::Recent;
use crate::sip;
use crate::xdp::ip;

/// INVITEs that wait for their final response, each up to 1.5 KB: 24 MiB if all are as long as they can be. So many ring at
/// the same time where 500 calls begin in a second and each is answered after 30. More, and the oldest of a bucket makes
/// room; of its call, the response alone is written down.
pub const ATTEMPTS: usize = 1 << 14;
/// Transactions that are done with, 1.5 MiB: their responses come again until they are acknowledged.
pub const SETTLED: usize = 1 << 16;
/// Calls that were answered, 1.5 MiB: an INVITE within one is no new call. It matters where INVITEs are not seen.
pub const ANSWERED: usize = 1 << 16;

/// Ways of a bucket.
const WAYS: usize = 8;
/// How long a challenge may wait for its answer, ns: as long as a transaction lasts (RFC 3261 §17.1.1.2).
const PATIENCE: u64 = sip::TRANSACTION;
/// How long a response may come again, ns (RFC 3261 §17.2.1, timer H).
const AGAIN: u64 = sip::TRANSACTION;
/// How long an INVITE within a dialog may wait for its answer, ns: longer than timer C's three minutes (RFC 3261 §16.6).
const WITHIN: u64 = 300 * SECOND;
/// How long an INVITE may ring, ns. What rings longer ends without its INVITE's words. Longer: what a dead softswitch left
/// behind takes up room.
const RINGING: u64 = 600 * SECOND;
/// How long an answered call is known to be one, ns. Longer calls that change their session later than that, where INVITEs
/// are not seen, look like a new one that came to nothing if the change is refused.
const CALL: u64 = 4 * 3_600 * SECOND;
const SECOND: u64 = 1_000_000_000;

/// An INVITE that waits for its final response.
#[derive(Debug)]
struct Attempt {
    name: u64,
    transaction: u64,
    /// When it was seen, ns of `CLOCK_MONOTONIC`.
    at: u64,
    /// When the challenge left that it has not answered yet, and its status; 0: there is none.
    challenged: (u64, u16),
    /// Has it credentials?
    credentials: bool,
    /// Does it come after a challenge to an INVITE of this call?
    again: bool,
    /// Is its call written down as illegal already?
    told: bool,
    call: Box<Call>,
}

/// Joins INVITEs with their final responses. Times are ns of `CLOCK_MONOTONIC`.
pub(super) struct Calls {
    attempts: Vec<[Option<Attempt>; WAYS]>,
    settled: Recent<u64, u64, WAYS>,
    answered: Recent<u64, u64, WAYS>,
    sources: Box<dyn Sources + Send>,
    /// Attempts that had to make room.
    pub(super) displaced: u64,
}

impl Calls {
    pub(super) fn new(sources: Box<dyn Sources + Send>) -> Self {
        Self {
            attempts: (0..ATTEMPTS / WAYS).map(|_| Default::default()).collect(),
            settled: Recent::of(SETTLED),
            answered: Recent::of(ANSWERED),
            sources,
            displaced: 0,
        }
    }

    /// Nobody waits for anything any more.
    pub(super) fn forget(&mut self) {
        self.attempts.iter_mut().flatten().for_each(|place| *place = None);
    }

    /// An INVITE goes to the softswitch.
    pub(super) fn invited(&mut self, invited: &Invited, clock: Clock) {
        let (now, Names { attempt: name, transaction }) = (clock.mono_ns(), invited.names);
        if invited.within {
            return self.settle(transaction, now + WITHIN, now);
        }
        // It comes again, and is done with.
        if self.is_settled(transaction, now) {
            return;
        }
        let own = self.place(name);
        let before = own.as_ref().filter(|own| own.name == name);
        if before.is_some_and(|before| before.transaction == transaction) {
            return;
        }
        let was_challenged = before.is_some_and(|before| before.challenged.0 != 0 || before.again);
        let told = before.is_some_and(|before| before.told);
        let displaced = own.as_ref().is_some_and(|own| own.name != name);
        let call = Call {
            source: ip(invited.src),
            source_port: invited.port,
            known: false,
            from: invited.from(),
            to: invited.to(),
            request_uri: invited.request_uri(),
            call_id: invited.call_id(),
            user_agent: invited.user_agent(),
            seconds: None,
            cause: Cause { status: 0, reason_phrase: String::new(), reason: String::new() },
        };
        let (challenged, call) = ((0, 0), Box::new(call));
        let Invited { credentials, .. } = *invited;
        *own = Some(Attempt { name, transaction, at: now, challenged, credentials, again: was_challenged, told, call });
        self.displaced += u64::from(displaced);
    }

    /// A final response to an INVITE went out. What comes of it goes to `tell`.
    pub(super) fn ended(
        &mut self,
        ended: &Ended,
        config: &config::Records,
        clock: Clock,
        tell: &mut dyn FnMut(Record),
    ) {
        let (now, Names { attempt: name, transaction }) = (clock.mono_ns(), ended.names);
        if self.is_settled(transaction, now) {
            return;
        }
        self.settle(transaction, now + AGAIN, now);
        let is_its = |attempt: &Attempt| attempt.name == name && attempt.transaction == transaction;
        let attempt = self.place(name).take_if(|attempt| is_its(attempt));
        match ended.status {
            200..=299 => self.answered.put(name, name, now + CALL, now),
            401 | 407 => self.challenged(attempt, ended, config, clock, tell),
            _ => self.failed(attempt, ended, config, clock, tell),
        }
    }

    /// The softswitch wants credentials: the first time, or again.
    fn challenged(
        &mut self,
        attempt: Option<Attempt>,
        ended: &Ended,
        config: &config::Records,
        clock: Clock,
        tell: &mut dyn FnMut(Record),
    ) {
        let (now, name) = (clock.mono_ns(), ended.names.attempt);
        let mut attempt = match attempt {
            Some(attempt) => attempt,
            None => {
                // Callers are quick: the next INVITE is seen before the answer to this one is.
                if let Some(next) = self.place(name).as_mut().filter(|next| next.name == name) {
                    next.again = true;
                    return;
                }
                // That of an INVITE within a call, and not of a new one.
                if self.is_answered(name, now) {
                    return;
                }
                let Names { transaction, .. } = ended.names;
                let (credentials, again, told, call) = (false, false, false, Box::new(bare(ended)));
                Attempt { name, transaction, at: 0, challenged: (0, 0), credentials, again, told, call }
            }
        };
        attempt.challenged = (now, ended.status);
        attempt.call.cause = ended.cause();
        let answered = attempt.credentials && attempt.again;
        let refused = answered && !ended.stale && config.illegal_calls.contains(&ended.status);
        if refused {
            attempt.told = true;
            let mut call = attempt.call.clone();
            call.known = self.sources.is_known(&ended.to);
            call.seconds = since(attempt.at, now);
            tell(illegal(Why::RefusedCredentials, call, clock));
        }
        let displaced = self.place(name).replace(attempt).is_some();
        self.displaced += u64::from(displaced);
    }

    /// A call has come to nothing.
    fn failed(
        &mut self,
        attempt: Option<Attempt>,
        ended: &Ended,
        config: &config::Records,
        clock: Clock,
        tell: &mut dyn FnMut(Record),
    ) {
        let now = clock.mono_ns();
        if attempt.is_none() && self.is_answered(ended.names.attempt, now) {
            return;
        }
        let (mut call, told) = match attempt {
            Some(Attempt { call, at, told, .. }) => (Box::new(Call { seconds: since(at, now), ..*call }), told),
            None => (Box::new(bare(ended)), false),
        };
        call.cause = ended.cause();
        call.known = self.sources.is_known(&ended.to);
        if let Some((gateway, limit)) = &ended.beyond {
            let (gateway, limit) = (gateway.to_string(), (*limit).to_owned());
            let refusal = GatewayRefusal { gateway, limit, call: *call };
            return tell(Record::at(clock.wall_ns(), What::GatewayRefusal(Box::new(refusal))));
        }
        if !call.known && !told && config.illegal_calls.contains(&ended.status) {
            tell(illegal(Why::Status, call.clone(), clock));
        }
        if config.zero_duration != config::ZeroDuration::Off {
            tell(Record::at(clock.wall_ns(), What::ZeroDuration(call)));
        }
    }

    /// Looks for challenges that nobody has answered, and for what waits in vain. Every second is often enough.
    pub(super) fn sweep(&mut self, config: &config::Records, clock: Clock, tell: &mut dyn FnMut(Record)) {
        let (now, sources) = (clock.mono_ns(), &self.sources);
        for place in self.attempts.iter_mut().flatten() {
            let is_over = |attempt: &mut Attempt| match attempt.challenged.0 {
                0 => now.saturating_sub(attempt.at) >= RINGING,
                at => now.saturating_sub(at) >= PATIENCE,
            };
            let Some(Attempt { challenged: (at, status), told, call, .. }) = place.take_if(is_over) else { continue };
            let wanted = at != 0 && !told && config.illegal_calls.contains(&status);
            if wanted && !sources.is_known(&addr(&call)) {
                tell(illegal(Why::UnansweredChallenge, call, clock));
            }
        }
    }

    /// Where the attempt of this name is or, if there is none, may be.
    fn place(&mut self, name: u64) -> &mut Option<Attempt> {
        let bucket = (name >> 32) as usize & (self.attempts.len() - 1);
        let bucket = &mut self.attempts[bucket];
        let own = bucket.iter().position(|place| place.as_ref().is_some_and(|attempt| attempt.name == name));
        let age = |place: &Option<Attempt>| place.as_ref().map_or(0, |attempt| attempt.at.max(attempt.challenged.0));
        let oldest = || bucket.iter().enumerate().min_by_key(|(_, place)| age(place)).map_or(0, |(way, _)| way);
        let way = own.unwrap_or_else(oldest);
        &mut bucket[way]
    }

    fn settle(&mut self, transaction: u64, until: u64, now: u64) {
        self.settled.put(transaction, transaction, until, now);
    }

    fn is_settled(&self, transaction: u64, now: u64) -> bool {
        self.settled.get(transaction, &transaction).is_some_and(|(until, _)| now < until)
    }

    fn is_answered(&self, name: u64, now: u64) -> bool {
        self.answered.get(name, &name).is_some_and(|(until, _)| now < until)
    }
}

/// What a response says of a call whose INVITE nobody saw.
fn bare(ended: &Ended) -> Call {
    Call {
        source: ip(ended.to),
        source_port: ended.port,
        known: false,
        from: ended.from(),
        to: ended.to(),
        request_uri: String::new(),
        call_id: ended.call_id(),
        user_agent: String::new(),
        seconds: None,
        cause: ended.cause(),
    }
}

fn illegal(why: Why, call: Box<Call>, clock: Clock) -> Record {
    Record::at(clock.wall_ns(), What::IllegalCall(Box::new(IllegalCall { why, call: *call })))
}

/// Seconds since then; none: nobody knows when that was.
fn since(at: u64, now: u64) -> Option<f64> {
    (at != 0).then(|| seconds(now.saturating_sub(at)))
}

fn addr(call: &Call) -> Addr {
    crate::xdp::addr(call.source)
}

#[cfg(test)]
mod tests;
