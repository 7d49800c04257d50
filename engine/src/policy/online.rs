//! Are they there? Who is registered, and trunks, are asked by OPTIONS of the engine's own, each once an interval.
//!
//! Silence says nothing of who sent a REGISTER: that it is silence is all that is known, and nobody is refused for it.

/// The question, and its answer.
mod ask;

pub use ask::{Ask, Heard};

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use vos_common::rate::Limit;
use vos_common::rule::Addr;

use super::Secret;
use super::identity::holder;
use crate::datagram::End;

/// How an endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It was not asked, or not often enough.
    #[default]
    Unknown,
    /// It answers.
    Online,
    /// It has answered, and does so no more.
    Offline,
    /// It has never answered.
    Silent,
}

impl EndpointState {
    /// All of them; the position of each is its number.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Online, Self::Offline, Self::Silent];

    /// The word for it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Silent => "silent",
        }
    }

    /// Was it asked often enough, and does not answer?
    pub const fn is_absent(self) -> bool {
        matches!(self, Self::Offline | Self::Silent)
    }
}

/// How often is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Each endpoint, ns.
    pub interval: u64,
    /// Questions in a row without an answer after which it is absent.
    pub misses: u32,
    /// All of them together.
    pub rate: Limit,
}

/// Something that people are told of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Which.
    pub end: End,
    /// How it is now.
    pub state: EndpointState,
    /// How many at its address have never answered.
    pub silent_here: u32,
}

/// Somebody who is asked.
#[derive(Debug)]
struct Endpoint {
    to: End,
    /// From where; `None`: whatever address of this host's the way there begins at.
    from: Option<End>,
    /// When it is asked next, ns of `CLOCK_MONOTONIC`.
    next: u64,
    /// Questions so far.
    number: u32,
    /// Is the last one still without an answer?
    waits: bool,
    /// Questions in a row that had none.
    missed: u32,
    has_answered: bool,
    state: EndpointState,
    /// The last round in which it was wanted.
    round: u64,
}

/// Who is asked, and how they are.
#[derive(Debug)]
pub struct Online {
    secret: Secret,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    endpoints: HashMap<u64, Endpoint>,
    /// When each is asked next.
    due: BTreeSet<(u64, u64)>,
    /// How many have never answered, by address.
    silent: HashMap<Addr, u32>,
    news: Vec<News>,
    /// The clock of all questions together (GCRA), ns of `CLOCK_MONOTONIC`.
    clock: u64,
    round: u64,
}

impl Online {
    /// Nobody is asked yet.
    pub fn new(secret: Secret) -> Self {
        Self { secret, held: Mutex::default() }
    }

    /// From now on these are asked, and nobody else; several of one end are one. Whoever is new is asked for the first time
    /// within an interval, at a time of its own: all together would be a burst in each.
    pub fn follow(&self, wanted: impl IntoIterator<Item = (End, Option<End>)>, interval: u64, now: u64) {
        let mut held = self.held.lock();
        let held = &mut *held;
        held.round += 1;
        for (to, from) in wanted {
            let key = self.secret.end(&to);
            let endpoint = held.endpoints.entry(key).or_insert_with(|| {
                let next = now.saturating_add(key % interval.max(1));
                held.due.insert((next, key));
                let state = EndpointState::Unknown;
                Endpoint { to, from, next, number: 0, waits: false, missed: 0, has_answered: false, state, round: 0 }
            });
            endpoint.round = held.round;
            endpoint.from = from.or(endpoint.from);
            if endpoint.next > now.saturating_add(interval) {
                held.due.remove(&(endpoint.next, key));
                endpoint.next = now.saturating_add(key % interval.max(1));
                held.due.insert((endpoint.next, key));
            }
        }
        let round = held.round;
        for (key, gone) in held.endpoints.extract_if(|_, endpoint| endpoint.round != round) {
            held.due.remove(&(gone.next, key));
            if gone.state == EndpointState::Silent {
                heard_of(&mut held.silent, &gone.to.addr);
            }
        }
    }

    /// Who is to be asked at `now` (ns of `CLOCK_MONOTONIC`), as far as the rate allows.
    pub fn due(&self, pace: &Pace, now: u64) -> Vec<Ask> {
        let (mut held, mut asks) = (self.held.lock(), Vec::new());
        let held = &mut *held;
        while let Some((next, key)) = held.due.first().copied().filter(|(next, _)| *next <= now) {
            let Some(clock) = pace.rate.claim(held.clock, now) else { break };
            held.clock = clock;
            held.due.pop_first();
            let Some(endpoint) = held.endpoints.get_mut(&key) else { continue };
            if endpoint.waits {
                endpoint.missed = endpoint.missed.saturating_add(1);
            }
            if endpoint.missed >= pace.misses && !endpoint.state.is_absent() {
                let state = if endpoint.has_answered { EndpointState::Offline } else { EndpointState::Silent };
                endpoint.state = state;
                let address = holder(&endpoint.to.addr);
                if state == EndpointState::Silent {
                    *held.silent.entry(address).or_default() += 1;
                }
                let silent_here = held.silent.get(&address).copied().unwrap_or(0);
                held.news.push(News { end: endpoint.to, state, silent_here });
            }
            endpoint.waits = true;
            endpoint.number = endpoint.number.wrapping_add(1);
            // Who had to wait for the rate is not asked twice for it.
            endpoint.next = next.saturating_add(pace.interval.max(1));
            if endpoint.next <= now {
                endpoint.next = now.saturating_add(pace.interval.max(1));
            }
            held.due.insert((endpoint.next, key));
            let Endpoint { to, from, number, .. } = *endpoint;
            asks.push(Ask { key, number, to, from });
        }
        asks
    }

    /// This question did not leave: its silence is nobody's.
    pub fn unasked(&self, ask: &Ask) {
        if let Some(endpoint) = self.held.lock().endpoints.get_mut(&ask.key) {
            endpoint.waits = false;
        }
    }

    /// Answers may have been missed: the silence until now is nobody's.
    pub fn excuse(&self) {
        self.held.lock().endpoints.values_mut().for_each(|endpoint| endpoint.waits = false);
    }

    /// One has answered.
    pub fn heard(&self, heard: Heard) {
        let mut held = self.held.lock();
        let held = &mut *held;
        let Some(endpoint) = held.endpoints.get_mut(&heard.key) else { return };
        let before = std::mem::replace(&mut endpoint.state, EndpointState::Online);
        (endpoint.waits, endpoint.missed, endpoint.has_answered) = (false, 0, true);
        if before == EndpointState::Silent {
            heard_of(&mut held.silent, &endpoint.to.addr);
        }
        if before.is_absent() {
            let silent_here = held.silent.get(&holder(&endpoint.to.addr)).copied().unwrap_or(0);
            held.news.push(News { end: endpoint.to, state: EndpointState::Online, silent_here });
        }
    }

    /// What is new since this was asked last.
    pub fn take_news(&self) -> Vec<News> {
        std::mem::take(&mut self.held.lock().news)
    }

    /// How somebody is.
    pub fn state(&self, end: &End) -> EndpointState {
        self.held.lock().endpoints.get(&self.secret.end(end)).map_or(EndpointState::Unknown, |endpoint| endpoint.state)
    }

    /// How many there are of each state, in the order of [`EndpointState::ALL`].
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        self.held.lock().endpoints.values().for_each(|endpoint| counts[endpoint.state as usize] += 1);
        counts
    }

    /// How many who register from this address (IPv6: its /64) were asked often enough and have never answered.
    #[cfg(test)]
    fn never_answered(&self, source: &Addr) -> u32 {
        self.held.lock().silent.get(&holder(source)).copied().unwrap_or(0)
    }
}

/// One less at this address has never answered.
fn heard_of(silent: &mut HashMap<Addr, u32>, address: &Addr) {
    let address = holder(address);
    if let Some(count) = silent.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            silent.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests;
