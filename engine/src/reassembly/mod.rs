//! A view of datagrams that arrive in fragments, so that the whole of them is judged.
//!
//! The fragments themselves are relayed as they come: nothing is delayed. Only the one that completes a datagram waits
//! for the verdict; if that is a drop it is kept back, and without it the kernel never delivers. Any fragment may be
//! the last to come, so any may be the one.
//!
//! What must hold: whatever the kernel may put together from fragments that were relayed under one name, it was judged
//! as a whole. The kernel keeps them for longer than the view lasts ([`Spent`] says how long), may have refused some
//! for reasons of its own, and takes of two that claim the same place the first. So within a view no two relayed
//! fragments differ in any byte, and after it the name is spent: nothing that could complete what was relayed under it
//! follows. A datagram whose source is known (allowed, trusted, verified) has nothing to fear of the rules about
//! wholes, and none of this applies to it. Where no engine lives, a datagram is judged by its first fragment alone.
//!
//! Past the kernel (`Way::Datagrams`) none goes on as it comes: the view is where the datagram is put together, and all of
//! the above is of no account. Nothing can follow what was relayed, so no name is spent; nobody is exempt, since there is no
//! other way, but a known source goes before unknown ones when room is short.
//!
//! The table is shared, because a NIC may spread the fragments of one datagram over queues; its lock is taken for
//! fragments only.

/// One datagram in view.
mod datagram;
/// What was relayed of datagrams that are no longer in view.
mod spent;

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use vos_common::packet::{FIRST, Flow};
use vos_common::rate::source_key;
use vos_common::reason::Reason;
use vos_common::state::mix;

use crate::pipeline::Way;
use datagram::{Datagram, Fit};
use spent::Spent;

/// Datagrams in view at a time: what 64 senders cut at once. More, and first fragments of unknown sources are refused.
pub const DATAGRAMS: usize = 64;
/// Of these, datagrams whose first fragment has not come yet: it comes first but for rare disorder, and later
/// fragments cost a flooder least.
pub const HEADLESS: usize = 32;
/// Of these, datagrams of one source (IPv6: of one /64), so that none of them takes the others' room.
pub const PER_SOURCE: usize = 16;
/// Longest datagram in view, bytes, UDP header included. SIP over UDP beyond this does not occur.
pub const DATAGRAM_MAX: usize = 16 * 1024;
/// Longest headers in front of a datagram, Ethernet to IPv6 fragment header, bytes: XDP walks no further.
pub const HEAD_MAX: usize = 1_024;

/// A fragment, its frame taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Who sends it to whom.
    pub flow: &'a Flow,
    /// What stands in front, from the destination MAC to the end of the IPv4 header or the IPv6 fragment header.
    pub head: &'a [u8],
    /// What was cut out of the datagram; behind an IPv6 fragment header that includes extension headers.
    pub bytes: &'a [u8],
    /// Is it the end of the datagram?
    pub last: bool,
}

impl Fragment<'_> {
    fn is_first(&self) -> bool {
        self.flow.fragment == FIRST
    }
}

/// The datagrams in view.
#[derive(Debug)]
pub struct Reassembly {
    /// Nobody outside can make two names meet.
    seed: u64,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    views: Vec<Datagram>,
    spent: Spent,
}

impl Default for Reassembly {
    fn default() -> Self {
        let views = (0..DATAGRAMS).map(|_| Datagram::default()).collect();
        Self { seed: RandomState::new().hash_one(0), table: Mutex::new(Table { views, spent: Spent::default() }) }
    }
}

impl Reassembly {
    /// Takes a fragment into view at `now` (ns of `CLOCK_MONOTONIC`). `judge` is called with the whole frame if that
    /// completes a datagram; `exempt` tells whether the source is one that need not be watched, or by `Way::Datagrams`
    /// whether it is known.
    ///
    /// # Errors
    ///
    /// The reason for which the fragment must not be relayed, or is of no use: `judge`'s, [`Reason::Overlap`] (the kernel would discard
    /// the datagram), or [`Reason::FragmentOverflow`] (it cannot be followed, so it cannot be judged).
    pub fn add(
        &self,
        fragment: &Fragment<'_>,
        way: Way,
        now: u64,
        exempt: impl Fn() -> bool,
        judge: impl FnOnce(&[u8]) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        let name = self.name(fragment.flow);
        let source = source_key(&fragment.flow.src, self.seed);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Table { views, spent } = &mut *table;
        let mut spent = (way == Way::Frames).then_some(spent);
        for view in views.iter_mut().filter(|view| view.is_over(now)) {
            view.spend(spent.as_deref_mut(), Reason::FragmentOverflow);
        }
        let at = match views.iter().position(|view| view.is(name)) {
            Some(at) => at,
            None => {
                if let Some(spent) = &mut spent
                    && let Some(reason) = spent.refusal(name, true, now)
                    && !exempt()
                {
                    // Not in view again: the first fragment, which must not follow, would be taken to what is there.
                    let completes = fragment.is_first() || spent.refusal(name, false, now).is_some();
                    return if completes { Err(reason) } else { overflow(Some(spent), name, fragment, now, exempt) };
                }
                let guest = Guest { source, known: spent.is_none() && exempt(), first: fragment.is_first() };
                let Some(at) = room(views, spent.as_deref_mut(), &guest) else {
                    return overflow(spent, name, fragment, now, exempt);
                };
                views[at].begin(name, &guest, fragment.flow, now);
                at
            }
        };
        follow(&mut views[at], spent, fragment, now, exempt, judge)
    }

    /// What the kernel tells datagrams apart by: addresses, identification, and for IPv4 the protocol (RFC 791 §3.2). In
    /// IPv6 the first fragment alone says what the protocol is (RFC 8200 §4.5).
    fn name(&self, flow: &Flow) -> u64 {
        let ends = mix(mix(flow.src.hi, flow.src.lo) ^ self.seed, mix(flow.dst.hi, flow.dst.lo));
        let proto = if flow.src.is_v4() { flow.proto } else { 0 };
        mix(ends, flow.ident << 8 | proto)
    }
}

/// A datagram that wants to be in view.
struct Guest {
    /// Of the address, or the prefix.
    source: u64,
    /// Does it go before unknown ones?
    known: bool,
    /// Is it the first fragment that has come?
    first: bool,
}

/// A slot for a new datagram, if it may have one.
fn room(views: &mut [Datagram], spent: Option<&mut Spent>, guest: &Guest) -> Option<usize> {
    let taken = |view: &&Datagram| view.is_taken();
    let of_source = views.iter().filter(taken).filter(|view| view.source() == guest.source).count();
    let headless = views.iter().filter(taken).filter(|view| !view.has_first()).count();
    if of_source >= PER_SOURCE {
        // What is oldest has lost a fragment on the way.
        let own = guest.known.then(|| oldest(views, |view| view.source() == guest.source)).flatten()?;
        views[own].spend(spent, Reason::FragmentOverflow);
        return Some(own);
    }
    if !guest.known && !guest.first && headless >= HEADLESS {
        return None;
    }
    if let Some(free) = views.iter().position(|view| !view.is_taken()) {
        return Some(free);
    }
    let stranger = guest.known.then(|| oldest(views, |view| !view.is_known())).flatten();
    let out = stranger.or_else(|| oldest(views, |view| guest.first && !view.has_first()))?;
    views[out].spend(spent, Reason::FragmentOverflow);
    Some(out)
}

fn oldest(views: &[Datagram], which: impl Fn(&Datagram) -> bool) -> Option<usize> {
    let taken = views.iter().enumerate().filter(|(_, view)| view.is_taken() && which(view));
    taken.min_by_key(|(_, view)| view.since()).map(|(at, _)| at)
}

/// There is no room. A later fragment passes, since without its first it is nothing; but then that must not follow.
/// Where fragments are not relayed, it is lost.
fn overflow(
    spent: Option<&mut Spent>,
    name: u64,
    fragment: &Fragment<'_>,
    now: u64,
    exempt: impl Fn() -> bool,
) -> Result<(), Reason> {
    let Some(spent) = spent else { return Err(Reason::FragmentOverflow) };
    if !fragment.is_first() {
        spent.relayed(name, false, fragment.flow, now);
        return Ok(());
    }
    if exempt() { Ok(()) } else { Err(Reason::FragmentOverflow) }
}

fn follow(
    view: &mut Datagram,
    mut spent: Option<&mut Spent>,
    fragment: &Fragment<'_>,
    now: u64,
    exempt: impl Fn() -> bool,
    judge: impl FnOnce(&[u8]) -> Result<(), Reason>,
) -> Result<(), Reason> {
    match view.put(fragment, now) {
        Fit::Fits => {}
        Fit::Twice => return Ok(()),
        Fit::Refused(reason) => return Err(reason),
        // Its first fragment, if there is one, has not come and shall not.
        Fit::Unfollowed if !view.has_first() && !fragment.is_first() => {
            view.spend(spent.as_deref_mut(), Reason::FragmentOverflow);
            return overflow(spent, view.name(), fragment, now, exempt);
        }
        Fit::Unfollowed if spent.is_some() && exempt() => {
            view.free();
            return Ok(());
        }
        Fit::Unfollowed => return Err(view.refuse(Reason::FragmentOverflow)),
    }
    let Some(frame) = view.whole() else { return Ok(()) };
    let verdict = judge(frame);
    match verdict {
        Ok(()) if spent.is_none() || exempt() => view.free(),
        // The kernel may have refused a part of it, and still hold the rest.
        Ok(()) => view.spend(spent, Reason::Overlap),
        Err(reason) => view.spend(spent, reason),
    }
    verdict
}

#[cfg(test)]
mod tests;
