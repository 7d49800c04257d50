//! Calls that are there, from the INVITE that a trunk sends to the BYE of either side, and what was said to those that are
//! not.
//!
//! A call is named by its Call-ID and the caller's tag. It lies in one of many parts, each with a lock of its own that is
//! held for less than a microsecond.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use vos_common::rule::Addr;
use vos_common::state::mix;

use super::{Decision, Enforced, Ruling, State, Trunk};
use crate::recent::Recent;
use crate::sip;

/// How long what was said to a call holds for its copies, and for the INVITE that answers a challenge, ns: as long as SIP
/// itself tries again (RFC 3261 §17.1.1.2).
pub const DECISION: u64 = sip::TRANSACTION;
/// How long a call counts to whose INVITE nothing at all is answered, ns: by then its caller has given up (timer B, RFC
/// 3261 §17.1.1.2).
pub const SILENCE: u64 = sip::TRANSACTION;
/// How long a call counts that rings, ns, from its last provisional response: proxies give one up after more than three
/// minutes (timer C, RFC 3261 §16.6). Shorter: calls that ring for long count no more. Longer: a final response that was
/// not seen takes a place for longer.
pub const RINGING: u64 = 300_000_000_000;
/// Times that one call may try again with another CSeq: for a realm or two, a stale nonce, a session timer that is too
/// short (RFC 4028 §6). More are new calls.
pub const CHALLENGES_MAX: u8 = 3;
/// Dialogs of one call that are kept apart: several may answer an INVITE that was forked (RFC 3261 §13.2.2.4). Those beyond
/// end with the others.
pub const FORKS: usize = 4;
/// Bytes of a Call-ID that are kept to show: what software makes up is shorter.
pub const CALL_ID_KEPT: usize = 64;

/// Parts with a lock of their own, a power of two.
const PARTS: usize = 64;
/// Decisions that are remembered of calls that are not there, 2 MiB: 2,000 a second for all of [`DECISION`]. More, and a
/// copy of the oldest is a new call.
const DECISIONS: usize = 1 << 16;
/// Ways of a bucket of decisions.
const WAYS: usize = 8;
/// Calls of a part that are looked at for the one that makes room.
const LOOKED_AT: usize = 16;

/// An INVITE outside a dialog.
#[derive(Clone, Copy, Debug)]
pub struct NewCall<'a> {
    /// Its caller's end, as [`Secret::call`](crate::policy::Secret::call) names it.
    pub caller: u64,
    /// Its CSeq number.
    pub cseq: u32,
    /// Where it came from.
    pub src: Addr,
    /// Its Call-ID.
    pub call_id: &'a [u8],
    /// Does it call for help? Then no limit holds for it.
    pub urgent: bool,
}

/// What the softswitch has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The end of whoever asked, as [`Secret::call`](crate::policy::Secret::call) names it.
    pub asker: u64,
    /// The other's, if it has a tag.
    pub other: Option<u64>,
    /// The CSeq number.
    pub cseq: u32,
    /// What it answers.
    pub method: Asked,
    /// Its status, 100 to 699.
    pub status: u16,
}

/// What was asked for, as far as it makes a difference to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// INVITE.
    Invite,
    /// BYE.
    Bye,
    /// Anything else.
    Other,
}

/// Bytes of a Call-ID.
#[derive(Clone, Copy)]
pub(super) struct CallId {
    length: u8,
    bytes: [u8; CALL_ID_KEPT],
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing is answered yet.
    Silent,
    /// It was answered provisionally.
    Rings,
    /// It was asked for credentials, or for something else that it may try again with.
    Challenged,
    /// It was answered.
    Up,
    /// A BYE of the caller's is under way.
    Ends,
}

/// A call that is there: it has a place among its trunk's.
struct Call {
    trunk: Arc<State>,
    stage: Stage,
    /// When it is given up, ns of `CLOCK_MONOTONIC`.
    until: u64,
    /// The longest that it may last, ns.
    longest: u64,
    /// When it was answered, ns of `CLOCK_MONOTONIC`; 0: it was not.
    answered: u64,
    /// Of the last INVITE outside a dialog.
    cseq: u32,
    /// How often it was tried again.
    tries: u8,
    /// What was said to it.
    said: Ruling,
    /// The other ends of those who answered; 0 where there is none.
    dialogs: [u64; FORKS],
    src: Addr,
    call_id: CallId,
}

/// What was said to a call that is not there.
#[derive(Clone, Copy)]
struct Past {
    cseq: u32,
    said: Ruling,
}

/// A call that has lasted too long.
#[derive(Clone, Debug)]
pub(super) struct Long {
    /// Whose it is.
    pub(super) gateway: String,
    /// Where it came from.
    pub(super) src: Addr,
    /// Its Call-ID, cut.
    pub(super) call_id: CallId,
    /// How long it may last, ns.
    pub(super) longest: u64,
}

/// A name that is a hash already.
#[derive(Default)]
struct Named(u64);

impl Hasher for Named {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, name: u64) {
        self.0 = name;
    }
}

struct Part {
    calls: HashMap<u64, Call, BuildHasherDefault<Named>>,
    /// Calls that it holds at most.
    room: usize,
    past: Recent<u64, Past, WAYS>,
}

/// All calls of all trunks.
pub(super) struct Calls {
    parts: Vec<Mutex<Part>>,
    evicted: AtomicU64,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("evicted", &self.evicted).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes().escape_ascii().fmt(f)
    }
}

impl CallId {
    fn of(call_id: &[u8]) -> Self {
        let length = call_id.len().min(CALL_ID_KEPT);
        let mut bytes = [0; CALL_ID_KEPT];
        bytes[..length].copy_from_slice(&call_id[..length]);
        Self { length: length as u8, bytes }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// Calls that a part holds at most, of so many in all: half as many more than its share, since a hash does not share
/// evenly, and some for calls that no limit holds for.
const fn share(places: usize) -> usize {
    places / PARTS * 3 / 2 + 64
}

/// Places that a table has for so many calls: one that is half full clears away what has ended in place, and never grows.
const fn capacity(calls: usize) -> usize {
    2 * calls
}

/// The name of a call that has the name of one that is there, against RFC 3261 §8.1.1.4 and §19.3: with its CSeq. Its BYE
/// says nothing of that, so it counts for as long as it may last: nobody has more calls by giving them one name.
const fn another(caller: u64, cseq: u32) -> u64 {
    mix(caller, cseq as u64)
}

impl Calls {
    /// With room for so many.
    pub(super) fn of(places: usize) -> Self {
        let part = || Part {
            calls: HashMap::with_capacity_and_hasher(capacity(share(places)), BuildHasherDefault::default()),
            room: share(places),
            past: Recent::of(DECISIONS / PARTS),
        };
        Self { parts: (0..PARTS).map(|_| Mutex::new(part())).collect(), evicted: AtomicU64::new(0) }
    }

    /// Makes room for so many; what there is stays.
    pub(super) fn make_room(&self, places: usize) {
        for part in &self.parts {
            let mut part = part.lock();
            let more = capacity(share(places)).saturating_sub(part.calls.len());
            part.calls.reserve(more);
            part.room = share(places);
        }
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    fn part(&self, caller: u64) -> &Mutex<Part> {
        // the upper half names buckets of what is past, the rest places among calls
        &self.parts[(caller >> 26) as usize & (PARTS - 1)]
    }

    /// What is said to an INVITE outside a dialog.
    pub(super) fn invite(&self, trunk: &Trunk, new: &NewCall<'_>, enforced: Enforced, now: u64) -> Decision {
        let mut part = self.part(new.caller).lock();
        let mut name = new.caller;
        if let Some(call) = part.calls.get_mut(&name) {
            if let Some(said) = call.again(new.cseq, now) {
                return Decision::Again(said);
            }
            name = another(new.caller, new.cseq);
        }
        // A copy of one that has its name with the CSeq, though the other may have ended since.
        if let Some(call) = part.calls.get(&another(new.caller, new.cseq)) {
            return Decision::Again(call.said);
        }
        if let Some(past) = part.past(name, new.cseq, now) {
            return Decision::Again(past.said);
        }
        let said = trunk.decide(new.urgent, enforced, now);
        if let Ruling::Refuse(_) = said {
            part.past.put(name, name, Past { cseq: new.cseq, said }, now);
            return Decision::First(said);
        }
        if part.calls.len() >= part.room {
            part.evict(now);
            self.evicted.fetch_add(1, Relaxed);
        }
        part.calls.insert(name, Call::of(trunk, new, said, now));
        Decision::First(said)
    }

    pub(super) fn refused(&self, caller: u64, cseq: u32, now: u64) -> bool {
        let part = self.part(caller).lock();
        let past = part.past(caller, cseq, now).or_else(|| part.past(another(caller, cseq), cseq, now));
        past.is_some_and(|past| matches!(past.said, Ruling::Refuse(_)))
    }

    /// The caller has sent a BYE: without an answer, the call has ended when its caller gives up waiting for one (RFC 3261
    /// §15.1.1).
    pub(super) fn ending(&self, caller: u64, other: u64, now: u64) {
        let mut part = self.part(caller).lock();
        let Some(call) = part.calls.get_mut(&caller) else { return };
        // of several dialogs, the others go on
        if call.dialogs.iter().all(|dialog| *dialog == 0 || *dialog == other) {
            (call.stage, call.until) = (Stage::Ends, now.saturating_add(sip::TRANSACTION));
        }
    }

    /// The dialog of this caller's with this other is over.
    pub(super) fn ended(&self, caller: u64, other: u64, now: u64) {
        let mut part = self.part(caller).lock();
        let Some(call) = part.calls.get_mut(&caller) else { return };
        let Some(dialog) = call.dialogs.iter_mut().find(|dialog| **dialog == other) else {
            // A BYE before any answer was seen: the INVITE's own answer follows (RFC 3261 §15), or was lost.
            if call.answered == 0 {
                (call.stage, call.until) = (Stage::Ends, now.saturating_add(sip::TRANSACTION));
            }
            return;
        };
        *dialog = 0;
        if call.dialogs.iter().all(|dialog| *dialog == 0) {
            part.end(caller, now);
        }
    }

    pub(super) fn answered(&self, answer: &Answered, now: u64) {
        match (answer.method, answer.status) {
            (Asked::Invite, _) => self.invite_answered(answer, now),
            // RFC 3261 §15.1.1, §12.2.1.2
            (Asked::Bye, 200..=299 | 408 | 481) => {
                let Some(other) = answer.other else { return };
                self.ended(answer.asker, other, now);
            }
            (Asked::Bye, 401 | 407) => {
                if let Some(call) = self.part(answer.asker).lock().calls.get_mut(&answer.asker) {
                    call.go_on();
                }
            }
            _ => {}
        }
    }

    fn invite_answered(&self, answer: &Answered, now: u64) {
        let mut part = self.part(answer.asker).lock();
        // What answers a re-INVITE, or an INVITE that was tried again since, says nothing of the call.
        let is_it = part.calls.get(&answer.asker).is_some_and(|call| call.cseq == answer.cseq);
        let name = if is_it { answer.asker } else { another(answer.asker, answer.cseq) };
        let Some(call) = part.calls.get_mut(&name) else { return };
        match answer.status {
            100..=199 if matches!(call.stage, Stage::Silent | Stage::Rings) => {
                (call.stage, call.until) = (Stage::Rings, now.saturating_add(RINGING));
            }
            200..=299 => call.accepted(answer.other.unwrap_or_default(), now),
            300.. if call.answered != 0 => {}
            401 | 407 | 422 if call.tries < CHALLENGES_MAX => {
                (call.stage, call.until) = (Stage::Challenged, now.saturating_add(DECISION));
            }
            300.. => part.end(name, now),
            _ => {}
        }
    }

    /// How many parts there are to [`sweep`](Self::sweep).
    pub(super) const fn parts() -> usize {
        PARTS
    }

    /// Gives up the calls of a part whose time is over; those that lasted too long are told.
    pub(super) fn sweep(&self, part: usize, now: u64, mut tell: impl FnMut(Long)) {
        let Some(part) = self.parts.get(part) else { return };
        part.lock().calls.retain(|_, call| {
            let over = call.until <= now;
            if over && call.stage == Stage::Up {
                call.trunk.long.fetch_add(1, Relaxed);
                tell(call.to_long());
            }
            if over {
                call.trunk.end();
            }
            !over
        });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().calls.len()).sum()
    }
}

impl Part {
    fn past(&self, caller: u64, cseq: u32, now: u64) -> Option<Past> {
        let (past, at) = self.past.get(caller, &caller)?;
        (past.cseq == cseq && now.saturating_sub(at) < DECISION).then_some(past)
    }

    /// The call is there no more; its copies still pass.
    fn end(&mut self, caller: u64, now: u64) {
        let Some(call) = self.calls.remove(&caller) else { return };
        call.trunk.end();
        self.past.put(caller, caller, Past { cseq: call.cseq, said: call.said }, now);
    }

    /// One that ends soonest makes room, of some.
    fn evict(&mut self, now: u64) {
        let some = self.calls.iter().take(LOOKED_AT);
        if let Some(caller) = some.min_by_key(|(_, call)| call.until).map(|(caller, _)| *caller) {
            self.end(caller, now);
        }
    }
}

impl Call {
    fn of(trunk: &Trunk, new: &NewCall<'_>, said: Ruling, now: u64) -> Self {
        Self {
            trunk: Arc::clone(&trunk.state),
            stage: Stage::Silent,
            until: now.saturating_add(SILENCE),
            longest: trunk.limits.max_duration.as_nanos().try_into().unwrap_or(u64::MAX),
            answered: 0,
            cseq: new.cseq,
            tries: 0,
            said,
            dialogs: [0; FORKS],
            src: new.src,
            call_id: CallId::of(new.call_id),
        }
    }

    /// What is said to another INVITE of its name; `None`: it is another call.
    fn again(&mut self, cseq: u32, now: u64) -> Option<Ruling> {
        if cseq == self.cseq {
            if self.stage == Stage::Silent {
                self.until = now.saturating_add(SILENCE);
            }
            return Some(self.said);
        }
        // That it was challenged may not be known here yet.
        let waits = matches!(self.stage, Stage::Silent | Stage::Rings | Stage::Challenged);
        if cseq < self.cseq {
            return Some(self.said);
        }
        if !waits || self.tries >= CHALLENGES_MAX {
            return None;
        }
        (self.cseq, self.tries) = (cseq, self.tries + 1);
        (self.stage, self.until) = (Stage::Silent, now.saturating_add(SILENCE));
        Some(self.said)
    }

    /// Somebody has answered.
    fn accepted(&mut self, other: u64, now: u64) {
        if self.answered == 0 {
            self.answered = now.max(1);
            // a BYE that was sent before goes on ending it
            if self.stage != Stage::Ends {
                self.go_on();
            }
        }
        if !self.dialogs.contains(&other)
            && let Some(free) = self.dialogs.iter_mut().find(|dialog| **dialog == 0)
        {
            *free = other;
        }
    }

    /// The BYE was refused, or there was none.
    fn go_on(&mut self) {
        if self.answered != 0 {
            (self.stage, self.until) = (Stage::Up, self.answered.saturating_add(self.longest));
        }
    }

    fn to_long(&self) -> Long {
        Long { gateway: self.trunk.name.clone(), src: self.src, call_id: self.call_id, longest: self.longest }
    }
}
