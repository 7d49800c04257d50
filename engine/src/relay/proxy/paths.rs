//! The way back to callers. The softswitch answers the relay and says nowhere whom the answer is for, so the relay
//! remembers: by transaction who has asked, by dialog who takes part, by contact who has registered.

use vos_common::rule::Addr;
use vos_common::state::mix;

use super::table::Table;
use crate::sip::TRANSACTION;
use crate::transmit::End;

/// How long one that rings is remembered after its last provisional response, ns: longer than Timer C (RFC 3261 §16.6),
/// which ends it if none comes for three minutes.
pub(super) const RINGING: u64 = 200_000_000_000;
/// How long a dialog is remembered after its last 2xx, ns: 12 h, longer than calls and subscriptions go without any.
const DIALOG: u64 = 12 * 3_600 * 1_000_000_000;
/// How long a dialog is remembered after its BYE's answer, ns: a transfer's last NOTIFY comes after that (RFC 5589 §6), when
/// the call to its target is answered or given up. 12 h, and 60 calls a second push out those that are still there.
pub(super) const ENDED: u64 = RINGING;
/// How long a registration is remembered after its last 2xx, ns: one day, longer than phones register for.
const REGISTRATION: u64 = 24 * 3_600 * 1_000_000_000;

/// Transactions remembered, 16 MiB: 8,000 requests a second, each for [`TRANSACTION`] after its last message, or the last
/// retransmission of an answer is lost. Half as many, and a flood of
/// 30,000 a second pushes out what an honest phone has asked within two seconds.
const TRANSACTIONS: usize = 1 << 18;
/// Dialogs remembered, 8 MiB.
const DIALOGS: usize = 1 << 17;
/// Contacts remembered, two entries each, 16 MiB.
const CONTACTS: usize = 1 << 18;

/// From a softswitch to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The caller's end.
    pub(super) caller: End,
    /// This host's.
    pub(super) own: End,
    /// What else there is to say; each table has its own use for it.
    mark: u32,
}

impl Path {
    pub(super) fn new(caller: End, own: End) -> Self {
        Self { caller, own, mark: 0 }
    }

    fn words(self) -> [u64; 5] {
        let Self { caller, own, mark } = self;
        let last = u64::from(caller.port) | u64::from(own.port) << 16 | u64::from(mark) << 32;
        [caller.addr.hi, caller.addr.lo, own.addr.hi, own.addr.lo, last]
    }

    fn of([caller_hi, caller_lo, own_hi, own_lo, last]: [u64; 5]) -> Self {
        let caller = End { addr: Addr { hi: caller_hi, lo: caller_lo }, port: last as u16 };
        let own = End { addr: Addr { hi: own_hi, lo: own_lo }, port: (last >> 16) as u16 };
        Self { caller, own, mark: (last >> 32) as u32 }
    }
}

/// Tells what a softswitch has asked from what callers have.
const OUTWARD: u64 = 0x6f75_7477_6172_6421;
/// Set in the mark of a contact that stands for several callers, or of a dialog's tag that stands for several dialogs.
const AMBIGUOUS: u32 = 1 << 31;

/// Of a name, what fits into a mark; never 0, which says nothing.
fn mark_of(name: u64) -> u32 {
    (name as u32 & !AMBIGUOUS).max(1)
}

/// All of them, as workers share them.
#[derive(Debug)]
pub(super) struct Paths {
    transactions: Table<5>,
    dialogs: Table<5>,
    contacts: Table<5>,
}

impl Paths {
    pub(super) fn new() -> Self {
        let (transactions, dialogs) = (Table::new(TRANSACTIONS), Table::new(DIALOGS));
        Self { transactions, dialogs, contacts: Table::new(CONTACTS) }
    }

    /// A caller has asked. Another who asks under the same name later does not get its answers.
    pub(super) fn asked(&self, transaction: u64, path: Path, now: u64) {
        match self.transactions.get(transaction, now) {
            Some((words, _)) if Path::of(words).caller != path.caller => {}
            // What rings, rings on.
            known => {
                let until = known.map_or(0, |(_, until)| until).max(now + TRANSACTION);
                self.transactions.put(transaction, path.words(), until);
            }
        }
    }

    /// Who has asked: it is answered. `rings`: by an INVITE's provisional response.
    pub(super) fn answered(&self, transaction: u64, rings: bool, now: u64) -> Option<Path> {
        let (words, _) = self.transactions.get(transaction, now)?;
        self.transactions.put(transaction, words, now + if rings { RINGING } else { TRANSACTION });
        Some(Path::of(words))
    }

    /// The backend in `slot` has asked somebody.
    pub(super) fn asked_by_backend(&self, transaction: u64, path: Path, slot: usize, now: u64) {
        let path = Path { mark: slot as u32, ..path };
        self.transactions.put(mix(transaction, OUTWARD), path.words(), now + TRANSACTION);
    }

    /// Whom it has asked, and the slot of who has.
    pub(super) fn answered_to_backend(&self, transaction: u64, rings: bool, now: u64) -> Option<(Path, usize)> {
        let path = self.answered(mix(transaction, OUTWARD), rings, now)?;
        Some((path, path.mark as usize))
    }

    /// A caller's tag in a call stands for this caller. `with`: the other's tag in it, once it is more than early.
    pub(super) fn takes_part(&self, call_and_tag: u64, with: Option<u64>, path: Path, now: u64) {
        let (mark, until) = self.dialog(call_and_tag, now).map_or((0, 0), |(path, until)| (path.mark, until));
        let (mark, life) = match with.map(mark_of) {
            None => (mark, RINGING),
            Some(with) if mark == 0 || mark == with => (with, DIALOG),
            // Of a call that was forked, two have answered (RFC 3261 §13.2.2.4): the end of one says nothing of the other.
            Some(_) => (AMBIGUOUS, DIALOG),
        };
        self.dialogs.put(call_and_tag, Path { mark, ..path }.words(), until.max(now + life));
    }

    /// A BYE of this dialog is answered, by or for the caller at `caller`. Has the call ended with it?
    pub(super) fn ended(&self, call_and_tag: u64, with: u64, caller: &Addr, now: u64) -> bool {
        let Some((path, until)) = self.dialog(call_and_tag, now) else { return false };
        if path.mark != mark_of(with) || path.caller.addr != *caller {
            return false;
        }
        self.dialogs.put(call_and_tag, path.words(), until.min(now + ENDED));
        // The other may be a caller, too, who has more than one dialog.
        self.dialog(with, now).is_none_or(|(path, _)| path.mark != AMBIGUOUS)
    }

    fn dialog(&self, call_and_tag: u64, now: u64) -> Option<(Path, u64)> {
        self.dialogs.get(call_and_tag, now).map(|(words, until)| (Path::of(words), until))
    }

    /// Who has this tag in this call.
    pub(super) fn participant(&self, call_and_tag: u64, now: u64) -> Option<Path> {
        self.dialog(call_and_tag, now).map(|(path, _)| path)
    }

    /// A REGISTER names this contact; nothing is believed before it is accepted.
    pub(super) fn would_register(&self, transaction: u64, contact: u64, path: Path, now: u64) {
        self.asked(mix(transaction, contact), path, now);
    }

    /// The REGISTER was accepted, and `contact` is registered for `aor`: by the one who has asked for it there?
    pub(super) fn registered(&self, transaction: u64, contact: u64, aor: u64, now: u64) {
        let Some((words, _)) = self.transactions.get(mix(transaction, contact), now) else { return };
        let (path, until) = (Path::of(words), now + REGISTRATION);
        self.contacts.put(mix(contact, aor), path.words(), until);
        // Phones behind different NATs have the same private address: for whom a request is then only its To can tell.
        let mark = mark_of(aor);
        let known = self.contacts.get(contact, now).map(|(words, until)| (Path::of(words), until));
        let (mark, until) = match known {
            Some((known, _)) if known.mark & !AMBIGUOUS != mark && known.caller != path.caller => {
                (mark | AMBIGUOUS, until)
            }
            // As long as none but this one renews, nothing is added to the time for which it stands for several.
            Some((known, until)) if known.mark & AMBIGUOUS != 0 => (mark | AMBIGUOUS, until),
            _ => (mark, until),
        };
        self.contacts.put(contact, Path { mark, ..path }.words(), until);
    }

    /// Who has registered `contact`, if possible for `aor`.
    pub(super) fn at_contact(&self, contact: u64, aor: Option<u64>, now: u64) -> Option<Path> {
        let get = |name| self.contacts.get(name, now).map(|(words, _)| Path::of(words));
        aor.and_then(|aor| get(mix(contact, aor))).or_else(|| get(contact).filter(|path| path.mark & AMBIGUOUS == 0))
    }
}

#[cfg(test)]
mod tests;
