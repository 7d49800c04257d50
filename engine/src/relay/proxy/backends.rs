//! The softswitches: who is there, who is alive, who gets which call, and who keeps it.
//!
//! A call belongs to the backend that [`choice`](super::choice) names, its home. What has begun elsewhere, because the
//! home was dead or drained or is new, is remembered and stays there.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use socket2::SockAddr;
use vos_common::state::mix;

use super::choice::{best, stable_hash};
use super::paths::{ENDED, RINGING};
use super::table::Table;
use crate::config::{Config, MAX_BACKENDS, RelayTo};
use crate::events::SoftswitchState;
use crate::health::{Health, Target};
use crate::live::wire;
use crate::sip::TRANSACTION;

/// Calls remembered, 2 MiB. Of those that are where they belong only the last 32 s, of the others all of their life.
const CALLS: usize = 1 << 16;
/// How long a call is remembered after its last 2xx, ns: 12 h, longer than calls and subscriptions go without any.
/// Shorter, and a silent call that began during a drain goes to the wrong backend.
const CALL: u64 = 12 * 3_600 * 1_000_000_000;

/// One of the softswitches.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    /// The same, for the kernel.
    pub(super) sockaddr: SockAddr,
    /// Its place in tables, below [`MAX_BACKENDS`]; it keeps it as long as it is there.
    pub(super) slot: usize,
    /// [`stable_hash`] of the name.
    key: u64,
    drain: bool,
    /// From when on calls that nothing is known of belong to it, ns of `CLOCK_MONOTONIC`: those that began before it
    /// came are over by then.
    settled: u64,
}

/// Those that are there.
#[derive(Debug, Default)]
pub(super) struct List(Vec<Backend>);

impl List {
    /// Who sends from there.
    pub(super) fn at(&self, address: &SocketAddr) -> Option<&Backend> {
        self.0.iter().find(|backend| backend.address.ip() == address.ip() && backend.address.port() == address.port())
    }

    pub(super) fn in_slot(&self, slot: usize) -> Option<&Backend> {
        self.0.iter().find(|backend| backend.slot == slot)
    }

    /// Is there one of IPv4, or of IPv6?
    pub(super) fn has_family(&self, v4: bool) -> bool {
        self.0.iter().any(|backend| backend.address.is_ipv4() == v4)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Backend> {
        self.0.iter()
    }
}

/// All of them, as workers share them.
#[derive(Debug)]
pub(super) struct Backends {
    list: ArcSwap<List>,
    health: Arc<Health>,
    /// By Call-ID: the key of the backend that has the call.
    calls: Table<1>,
    /// Names calls in that table. The choice needs a hash that is the same for ever; with it alone eight crafted Call-IDs
    /// would push out whom they like.
    seed: u64,
    /// Who has which slot, or had it last, and from when on it counts as settled.
    slots: Mutex<Vec<Option<(String, u64)>>>,
}

impl Backends {
    /// Nobody is there yet; `health` is told who is to be asked.
    pub(super) fn new(health: Arc<Health>) -> Self {
        let slots = Mutex::new(vec![None; MAX_BACKENDS]);
        let seed = RandomState::new().hash_one(0);
        Self { list: ArcSwap::default(), health, calls: Table::new(CALLS), seed, slots }
    }

    /// From now on these are there. `alone` is the address of `relay.to = "proxy:HOST:PORT"`.
    pub(super) fn follow(&self, config: &Config, alone: Option<SocketAddr>, now: u64) {
        let wanted: Vec<(&str, SocketAddr, bool)> = match (&config.relay.to, alone) {
            (RelayTo::Proxy(Some(host)), Some(address)) => vec![(host, address, false)],
            _ => config.backend.iter().map(|backend| (&*backend.name, backend.address, backend.drain)).collect(),
        };
        // A file for the next start, which names none any more.
        if wanted.is_empty() {
            return;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever is there at the start has all calls that are there.
        let settled = if slots.iter().all(Option::is_none) { 0 } else { now + CALL };
        let is_wanted = |slot: &Option<(String, u64)>| {
            slot.as_ref().is_some_and(|(name, _)| wanted.iter().any(|(wanted, ..)| wanted == name))
        };
        let mut list = Vec::with_capacity(wanted.len());
        for (name, address, drain) in &wanted {
            let own = slots.iter().position(|slot| slot.as_ref().is_some_and(|(holder, _)| holder == name));
            let free =
                || slots.iter().position(Option::is_none).or_else(|| slots.iter().position(|slot| !is_wanted(slot)));
            let Some(slot) = own.or_else(free) else { continue };
            let (_, settled) =
                slots[slot].take_if(|(holder, _)| holder == name).unwrap_or(((*name).to_owned(), settled));
            slots[slot] = Some(((*name).to_owned(), settled));
            let (name, key, address, drain) = ((*name).to_owned(), stable_hash(name.as_bytes()), *address, *drain);
            list.push(Backend { name, address, sockaddr: address.into(), slot, key, drain, settled });
        }
        let mut targets = vec![None; MAX_BACKENDS];
        for Backend { name, address, slot, .. } in &list {
            targets[*slot] = Some(Target { name: name.clone(), address: *address, proxy_line: true });
        }
        self.health.watch(&targets, &config.health);
        self.list.store(Arc::new(List(list)));
    }

    /// Who is there at this moment, without a lock.
    pub(super) fn list(&self) -> Guard<Arc<List>> {
        self.list.load()
    }

    /// Is anybody alive, as far as is known?
    pub(super) fn alive(&self) -> bool {
        self.health.alive()
    }

    fn is_alive(&self, backend: &Backend) -> bool {
        !self.health.is_dead(backend.slot)
    }

    /// Who gets a datagram that belongs to no call; `of` is the hash of whoever sends it.
    pub(super) fn for_stranger<'a>(&self, list: &'a List, of: u64) -> Option<&'a Backend> {
        let alive = || list.iter().filter(|backend| self.is_alive(backend));
        best(of, alive().filter(|backend| !backend.drain), |backend| backend.key)
            .or_else(|| best(of, alive(), |backend| backend.key))
    }

    /// Who gets a message of `call`, at `now` (ns of `CLOCK_MONOTONIC`). `begins`: it may begin the call.
    pub(super) fn choose<'a>(&self, list: &'a List, call: u64, begins: bool, now: u64) -> Option<&'a Backend> {
        let known = self.known(call, now).and_then(|(key, until)| Some((self.with_key(list, key)?, until)));
        if !begins {
            return known.map(|(backend, _)| backend).or_else(|| self.home(list, call, now, true));
        }
        let chosen = self.for_stranger(list, call)?;
        match known {
            // A retransmission, or the second try with credentials. It must not hold on to a drained one for ever.
            Some((backend, _)) if backend.key != chosen.key => Some(backend),
            known => {
                let until = known.map_or(0, |(_, until)| until).max(now + TRANSACTION);
                self.remember(call, chosen.key, until);
                Some(chosen)
            }
        }
    }

    /// The key of the backend that has `call`, and until when that is remembered.
    fn known(&self, call: u64, now: u64) -> Option<(u64, u64)> {
        self.calls.get(mix(call, self.seed), now).map(|([key], until)| (key, until))
    }

    fn remember(&self, call: u64, key: u64, until: u64) {
        self.calls.put(mix(call, self.seed), [key], until);
    }

    /// Whom `call` belongs to where nothing is known of it.
    fn home<'a>(&self, list: &'a List, call: u64, now: u64, alive: bool) -> Option<&'a Backend> {
        let there = || list.iter().filter(|backend| !alive || self.is_alive(backend));
        best(call, there().filter(|backend| backend.settled <= now), |backend| backend.key)
            .or_else(|| best(call, there(), |backend| backend.key))
    }

    fn with_key<'a>(&self, list: &'a List, key: u64) -> Option<&'a Backend> {
        list.iter().find(|backend| backend.key == key && self.is_alive(backend))
    }

    /// `backend` itself begins `call`.
    pub(super) fn began(&self, call: u64, backend: &Backend, now: u64) {
        if self.known(call, now).is_none() {
            self.remember(call, backend.key, now + TRANSACTION);
        }
    }

    /// `call` is being worked on at `backend`, or rings there: whatever becomes of it, it is there that it is known.
    pub(super) fn rings(&self, call: u64, backend: &Backend, now: u64) {
        let (key, until) = self.known(call, now).unwrap_or((backend.key, 0));
        self.remember(call, key, until.max(now + RINGING));
    }

    /// `call` has a dialog at `backend`, or has it still. That it is not at home must not be forgotten.
    pub(super) fn stays(&self, list: &List, call: u64, backend: &Backend, now: u64) {
        let key = self.known(call, now).map_or(backend.key, |(key, _)| key);
        if self.home(list, call, now, false).is_none_or(|home| home.key != key) {
            self.remember(call, key, now + CALL);
        }
    }

    /// `call` has ended.
    pub(super) fn ended(&self, call: u64, now: u64) {
        if let Some((key, until)) = self.known(call, now) {
            self.remember(call, key, until.min(now + ENDED));
        }
    }

    /// All of them as the API shows them; `counts` gives what went to a slot and what came from it.
    pub(super) fn view(&self, counts: impl Fn(usize) -> (u64, u64)) -> Vec<wire::Backend> {
        let view = |backend: &Backend| {
            let (sent, received) = counts(backend.slot);
            let state = if self.is_alive(backend) { SoftswitchState::Alive } else { SoftswitchState::Dead };
            let Backend { name, address, drain, .. } = backend;
            wire::Backend { name: name.clone(), address: *address, state, drain: *drain, sent, received }
        };
        self.list.load().iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests;
