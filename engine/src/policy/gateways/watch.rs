use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use super::calls::{Calls, Long};
use super::{Gateways, Over, Trunk};

/// How long no call must have been beyond a limit until that is over, ns. Shorter: a trunk at its limit fills the log. Longer: it
/// is told late that calls get through again.
pub const CALM: u64 = 30_000_000_000;
/// What the rates are of, ns.
const SECOND: u64 = 1_000_000_000;

/// Something that people are told of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Calls beyond a limit come from now on; they are refused, unless the rule is only monitored.
    Beyond {
        /// The trunk.
        gateway: String,
        /// The limit.
        over: Over,
    },
    /// For a while none came.
    Calm {
        /// The trunk.
        gateway: String,
        /// Calls beyond a limit, meanwhile.
        beyond: u64,
        /// From the first to the last of them, ns.
        lasted: u64,
    },
    /// A call has lasted longer than it may, and is no longer counted.
    LongCall {
        /// The trunk.
        gateway: String,
        /// Where it came from.
        src: vos_common::rule::Addr,
        /// Its Call-ID, cut: the caller's words.
        call_id: Vec<u8>,
        /// How long it may last, ns.
        longest: u64,
    },
}

/// Looks at trunks and calls again and again: for the policy's thread.
#[derive(Debug, Default)]
pub struct Watch {
    /// The part of the calls that is swept next.
    next: usize,
    /// When the rates were taken last, ns of `CLOCK_MONOTONIC`.
    taken: u64,
    trunks: HashMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Calls until then, and those of them beyond each limit.
    calls: u64,
    over: [u64; 2],
    beyond: Option<Beyond>,
}

#[derive(Debug)]
struct Beyond {
    since: u64,
    last: u64,
    calls: u64,
}

impl Watch {
    /// One look at `now` (ns of `CLOCK_MONOTONIC`): a part of the calls, so that all have their turn within a second or
    /// two; once a second the trunks.
    pub fn look(&mut self, gateways: &Gateways, now: u64, mut tell: impl FnMut(News)) {
        if let Some(calls) = &gateways.calls {
            self.next = (self.next + 1) % Calls::parts();
            calls.sweep(self.next, now, |Long { gateway, src, call_id, longest }| {
                tell(News::LongCall { gateway, src, call_id: call_id.bytes().to_vec(), longest });
            });
        }
        let passed = now.saturating_sub(self.taken);
        if passed < SECOND {
            return;
        }
        self.taken = now;
        self.trunks.retain(|name, _| gateways.trunks.iter().any(|trunk| trunk.name() == name));
        for trunk in &gateways.trunks {
            let seen = self.trunks.entry(trunk.name().to_owned()).or_default();
            seen.look(trunk, passed, now, &mut tell);
        }
    }
}

impl Seen {
    fn look(&mut self, trunk: &Trunk, passed: u64, now: u64, tell: &mut impl FnMut(News)) {
        let state = &trunk.state;
        let over = Over::ALL.map(|over| state.over[over as usize].load(Relaxed));
        let calls = state.asked.load(Relaxed);
        let new = calls.saturating_sub(self.calls);
        let rate = new.saturating_mul(SECOND).div_ceil(passed.max(1));
        state.rate.store(rate.try_into().unwrap_or(u32::MAX), Relaxed);
        let new_over = Over::ALL.map(|one| over[one as usize].saturating_sub(self.over[one as usize]));
        (self.calls, self.over) = (calls, over);
        let gateway = || trunk.name().to_owned();
        let sum = new_over.iter().sum::<u64>();
        match &mut self.beyond {
            Some(beyond) if sum > 0 => {
                beyond.last = now;
                beyond.calls += sum;
            }
            Some(beyond) if now.saturating_sub(beyond.last) >= CALM => {
                let Beyond { since, last, calls } = *beyond;
                tell(News::Calm { gateway: gateway(), beyond: calls, lasted: last.saturating_sub(since) });
                self.beyond = None;
            }
            None if sum > 0 => {
                let [cps, calls] = new_over;
                let over = if calls > cps { Over::Calls } else { Over::Cps };
                tell(News::Beyond { gateway: gateway(), over });
                self.beyond = Some(Beyond { since: now, last: now, calls: sum });
            }
            _ => {}
        }
    }
}
