//! Trunks: how many calls a second each may make, and how many at a time.
//!
//! What is counted are calls, not packets: a retransmission, and the INVITE that answers a challenge, follow what was said
//! to the first. Workers ask for a new call and say what they see of one; the policy's thread says what the softswitch
//! answers. All share the same calls, and a reload takes them along.

/// Calls that are there.
mod calls;
/// What people are told of them.
mod told;
/// What each has done, for people.
mod view;
/// What is done once a second.
mod watch;

pub use calls::{Answered, Asked, CALL_ID_KEPT, CHALLENGES_MAX, DECISION, FORKS, NewCall, RINGING, SILENCE};
pub use told::Teller;
pub use view::GatewayView;
pub use watch::{CALM, News, Watch};

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use ipnet::IpNet;
use vos_common::rate::Limit;
use vos_common::reason::Reason;
use vos_common::rule::Addr;

use crate::config::{CallLimits, Gateway};
use crate::ruleset::Ruleset;
use calls::Calls;

/// All trunks, as they are configured, and their calls.
#[derive(Debug, Default)]
pub struct Gateways {
    configured: Vec<Gateway>,
    trunks: Vec<Trunk>,
    /// By port and first address; none of one port overlap.
    ranges: Vec<Range>,
    /// None where there never was a gateway: then it costs no memory.
    calls: Option<Arc<Calls>>,
}

/// One trunk.
#[derive(Clone, Debug)]
pub struct Trunk {
    limits: CallLimits,
    rate: Limit,
    state: Arc<State>,
}

/// What outlives a reload.
#[derive(Debug, Default)]
struct State {
    name: String,
    /// Calls that are there.
    calls: AtomicU32,
    /// Its clock ([`Limit::claim`]), ns of `CLOCK_MONOTONIC`.
    clock: AtomicU64,
    /// New calls.
    asked: AtomicU64,
    /// Those that were let pass.
    passed: AtomicU64,
    /// Calls that were refused, or would have been: more a second, and more at a time than it may.
    over: [AtomicU64; 2],
    /// When it called last, ns of `CLOCK_MONOTONIC`; 0: never.
    seen: AtomicU64,
    /// Calls in the last second, those that were refused among them.
    rate: AtomicU32,
    /// Calls that lasted longer than they may.
    long: AtomicU64,
}

/// Which of a gateway's limits a call is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Over {
    /// More calls a second.
    Cps,
    /// More calls at a time.
    Calls,
}

/// Which limits are looked at, and which of them refuse.
#[derive(Clone, Copy, Debug)]
pub struct Enforced {
    /// Rules that refuse: [`Reason::bit`]s.
    pub enforce: u64,
    /// Rules that only count.
    pub monitor: u64,
}

/// What is said to an INVITE of a gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The call is new: this was decided.
    First(Ruling),
    /// The same as to the first INVITE of this call.
    Again(Ruling),
}

/// What was decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It passes.
    Pass,
    /// It passes, though it is beyond a limit that is only monitored.
    Would(Over),
    /// It is refused.
    Refuse(Over),
}

/// Addresses that a trunk calls from.
#[derive(Clone, Copy, Debug)]
struct Range {
    /// 0: any.
    port: u16,
    first: u128,
    last: u128,
    trunk: usize,
}

impl Over {
    /// Both; the position of each is its number.
    pub const ALL: [Self; 2] = [Self::Cps, Self::Calls];

    /// The rule that refuses for it.
    pub const fn rule(self) -> Reason {
        match self {
            Self::Cps => Reason::GatewayCps,
            Self::Calls => Reason::GatewayCalls,
        }
    }
}

impl Enforced {
    const fn watches(self, over: Over) -> bool {
        (self.enforce | self.monitor) & over.rule().bit() != 0
    }

    const fn refuses(self, over: Over) -> bool {
        self.enforce & over.rule().bit() != 0
    }
}

impl Decision {
    /// What it says.
    pub const fn said(self) -> Ruling {
        match self {
            Self::First(said) | Self::Again(said) => said,
        }
    }
}

impl State {
    /// Takes a place among the calls at a time; without `most` there always is one.
    fn begin(&self, most: Option<u32>) -> bool {
        let next = |calls: u32| (most.is_none_or(|most| calls < most)).then(|| calls.saturating_add(1));
        self.calls.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Gives it back.
    fn end(&self) {
        let _there_is_one_for_each = self.calls.fetch_update(Relaxed, Relaxed, |calls| calls.checked_sub(1));
    }

    /// Takes a place among the calls a second.
    fn claim(&self, rate: &Limit, now: u64) -> bool {
        self.clock.fetch_update(Relaxed, Relaxed, |clock| rate.claim(clock, now)).is_ok()
    }
}

impl From<&Ruleset> for Enforced {
    fn from(rules: &Ruleset) -> Self {
        Self { enforce: rules.enforce, monitor: rules.monitor }
    }
}

impl Trunk {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// What is said to a new call at `now` (ns of `CLOCK_MONOTONIC`). One that passes has a place among the calls.
    fn decide(&self, urgent: bool, enforced: Enforced, now: u64) -> Ruling {
        let state = &*self.state;
        let most = |over| (!urgent && enforced.watches(over)).then_some(self.limits.max_calls);
        let mut over = None;
        if !state.begin(most(Over::Calls)) {
            over = Some(Over::Calls);
            if enforced.refuses(Over::Calls) {
                return self.count(Ruling::Refuse(Over::Calls));
            }
            state.begin(None);
        }
        if !urgent && enforced.watches(Over::Cps) && !state.claim(&self.rate, now) {
            over = Some(Over::Cps);
            if enforced.refuses(Over::Cps) {
                state.end();
                return self.count(Ruling::Refuse(Over::Cps));
            }
        }
        self.count(over.map_or(Ruling::Pass, Ruling::Would))
    }

    fn count(&self, said: Ruling) -> Ruling {
        self.state.asked.fetch_add(1, Relaxed);
        if let Ruling::Would(over) | Ruling::Refuse(over) = said {
            self.state.over[over as usize].fetch_add(1, Relaxed);
        }
        if !matches!(said, Ruling::Refuse(_)) {
            self.state.passed.fetch_add(1, Relaxed);
        }
        said
    }
}

impl Gateways {
    /// As they are configured; what goes on of those before goes on. A gateway is the same as long as it has its name.
    pub fn of(configured: &[Gateway], before: &Arc<Self>) -> Arc<Self> {
        if before.configured == configured {
            return Arc::clone(before);
        }
        let trunks: Vec<Trunk> = configured.iter().map(|gateway| Trunk::of(gateway, before)).collect();
        let mut ranges: Vec<Range> = configured
            .iter()
            .enumerate()
            .flat_map(|(trunk, gateway)| {
                let port = gateway.port.unwrap_or(0);
                gateway.from.iter().map(move |net| Range::of(net, port, trunk))
            })
            .collect();
        ranges.sort_unstable_by_key(|range| (range.port, range.first));
        let places: usize = trunks.iter().map(|trunk| trunk.limits.max_calls as usize).sum();
        let calls = match &before.calls {
            Some(calls) => {
                calls.make_room(places);
                Some(Arc::clone(calls))
            }
            None => (!configured.is_empty()).then(|| Arc::new(Calls::of(places))),
        };
        Arc::new(Self { configured: configured.to_vec(), trunks, ranges, calls })
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.trunks.is_empty()
    }

    /// The trunk that calls from here.
    pub fn find(&self, src: &Addr, port: u16) -> Option<&Trunk> {
        if self.ranges.is_empty() {
            return None;
        }
        let src = u128::from_be_bytes(src.to_bytes());
        let of_port = |port: u16| {
            let behind = self.ranges.partition_point(|range| (range.port, range.first) <= (port, src));
            let range = self.ranges.get(behind.checked_sub(1)?)?;
            (range.port == port && src <= range.last).then(|| self.trunks.get(range.trunk)).flatten()
        };
        of_port(0).or_else(|| of_port(port))
    }

    /// What is said to an INVITE outside a dialog that `trunk` sends, seen at `now` (ns of `CLOCK_MONOTONIC`).
    pub fn invite(&self, trunk: &Trunk, call: &NewCall<'_>, enforced: Enforced, now: u64) -> Decision {
        trunk.state.seen.fetch_max(now, Relaxed);
        let Some(calls) = &self.calls else { return Decision::First(Ruling::Pass) };
        calls.invite(trunk, call, enforced, now)
    }

    /// What was said to the INVITE that a CANCEL is for, if that was refused: its caller's end and CSeq number.
    pub fn refused(&self, caller: u64, cseq: u32, now: u64) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.refused(caller, cseq, now))
    }

    /// A BYE came in, from a trunk: who sends it and who is to get it, as [`Secret::call`](super::Secret::call) names
    /// ends.
    pub fn bye_came(&self, from: u64, to: u64, now: u64) {
        if let Some(calls) = &self.calls {
            calls.ending(from, to, now);
        }
    }

    /// Whoever sends a BYE has ended the call (RFC 3261 §15.1.1): the softswitch has sent one, or a trunk has answered
    /// one.
    pub fn bye_left(&self, from: u64, to: u64, now: u64) {
        if let Some(calls) = &self.calls {
            calls.ended(from, to, now);
            calls.ended(to, from, now);
        }
    }

    /// The softswitch has answered.
    pub fn answered(&self, answer: &Answered, now: u64) {
        if let Some(calls) = &self.calls {
            calls.answered(answer, now);
        }
    }

    /// Calls that were forgotten before they ended, for want of room.
    pub fn evicted(&self) -> u64 {
        self.calls.as_ref().map_or(0, |calls| calls.evicted())
    }

    /// What each is and does at `now` (ns of `CLOCK_MONOTONIC`), in the order of the configuration.
    pub fn views(&self, now: u64) -> Vec<GatewayView> {
        self.trunks.iter().zip(&self.configured).map(|(trunk, gateway)| GatewayView::of(trunk, gateway, now)).collect()
    }
}

impl Trunk {
    fn of(gateway: &Gateway, before: &Gateways) -> Self {
        let limits = gateway.limits();
        let known = before.trunks.iter().find(|trunk| trunk.name() == gateway.name);
        let fresh = || Arc::new(State { name: gateway.name.clone(), ..State::default() });
        Self {
            limits,
            rate: Limit::per_second(limits.cps, limits.burst, 0),
            state: known.map_or_else(fresh, |known| Arc::clone(&known.state)),
        }
    }
}

impl Range {
    fn of(net: &IpNet, port: u16, trunk: usize) -> Self {
        let number = |ip| match ip {
            std::net::IpAddr::V4(v4) => u128::from_be_bytes(Addr::v4(v4.octets()).to_bytes()),
            std::net::IpAddr::V6(v6) => u128::from(v6),
        };
        Self { port, first: number(net.network()), last: number(net.broadcast()), trunk }
    }
}

#[cfg(test)]
mod tests;
