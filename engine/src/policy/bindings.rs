//! Who is registered, and from where: what REGISTERs ask for and what the softswitch's 2xx says of it (RFC 3261 §10).
//!
//! Nobody is refused by it. A phone that goes from Wi-Fi to mobile, and a user's second phone, look like somebody who has
//! learnt the password: people are told.

/// What REGISTERs and their answers say.
mod seen;

use seen::KEPT_MAX;
pub(crate) use seen::is_absurd;
pub use seen::{Granted, Registering};

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Secret;
use super::identity::{Name, holder};
use super::online::EndpointState;
use crate::datagram::End;
use crate::recent::Recent;
use crate::xdp::ip;

/// REGISTERs with credentials remembered until they are answered, 3 MiB: 1,000 a second for as long as one is repeated
/// (RFC 3261, timer F).
const ASKED: usize = 1 << 15;
/// Ways of a bucket; the oldest goes.
const WAYS: usize = 8;
/// Most addresses-of-record that are watched, some 40 MB. Of more, those that are there already stay: who comes with new ones
/// displaces none.
pub const ACCOUNTS_MAX: usize = 1 << 17;
/// Bindings of one address-of-record that are watched; of more, the one that ends first goes.
const BINDINGS_MAX: usize = KEPT_MAX;
/// Changes of address are counted for so long, ns.
const HOUR: u64 = Duration::from_secs(3_600).as_nanos() as u64;
/// One second, ns.
const SECOND: u64 = 1_000_000_000;

/// Where an address-of-record is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Binding {
    /// [`Secret::uri`] of its Contact.
    contact: u64,
    source: End,
    /// Where it registered; `None`: the REGISTER was not seen.
    here: Option<End>,
    /// When it ends, ns of `CLOCK_MONOTONIC`.
    until: u64,
}

/// An address-of-record that is registered.
#[derive(Debug)]
struct Account {
    name: Name,
    bindings: Vec<Binding>,
    /// Changes of address since then, ns of `CLOCK_MONOTONIC`.
    moves: u32,
    since: u64,
}

/// What has become of an address-of-record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It is registered at another address, and no longer where it was.
    Moved,
    /// It is registered at another address as well.
    Added,
}

/// An address-of-record is registered from elsewhere, while it still is from where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Which.
    pub aor: Name,
    /// What has become of it.
    pub change: Move,
    /// Where it was.
    pub from: End,
    /// Where it is.
    pub to: End,
    /// Changes of its address within an hour, this one included.
    pub moves: u32,
    /// Are these as many as `registration.moves_max`?
    pub contended: bool,
}

/// What is counted of bindings, for whoever asks.
#[derive(Debug, Default)]
pub struct BindingCount {
    live: AtomicUsize,
    /// Registrations from another address than before: [`Move::Moved`], [`Move::Added`].
    pub moves: [AtomicU64; 2],
    /// Addresses-of-record that there was no room for.
    pub unwatched: AtomicU64,
}

/// A binding, for API and people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BindingView {
    /// The address-of-record, `user@domain`. Text of unknown origin.
    pub aor: String,
    /// Where it registers from.
    pub address: String,
    /// UDP port.
    pub port: u16,
    /// When it ends unless it is renewed, seconds from now.
    pub expires_s: u64,
    /// Changes of address within an hour.
    pub moves: u32,
    /// Does it answer?
    pub state: EndpointState,
}

/// Whom somebody wants to see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sought {
    /// Only what is called so: an address-of-record, its user, or an address.
    pub whom: Option<String>,
    /// Only those that do not answer.
    pub offline: bool,
}

/// A page of them, by address-of-record and address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those on it.
    pub bindings: Vec<BindingView>,
    /// How many are sought, those on other pages among them.
    pub total: usize,
}

/// Who is registered: one writer, the policy's thread.
#[derive(Debug, Default)]
pub struct Bindings {
    accounts: RwLock<HashMap<u64, Account>>,
    /// What is counted.
    pub count: BindingCount,
}

impl Bindings {
    /// How many bindings there are; those that have ended within the last seconds may be among them.
    pub fn live(&self) -> usize {
        self.count.live.load(Relaxed)
    }

    /// As JSON, for `vosctl stats`.
    pub fn to_json(&self) -> Value {
        let BindingCount { moves: [moved, added], unwatched, .. } = &self.count;
        let [moved, added, unwatched] = [moved, added, unwatched].map(|n| n.load(Relaxed));
        json!({ "bindings": self.live(), "moved": moved, "added": added, "unwatched": unwatched })
    }

    /// Everybody's end, and where it registered, at `now` (ns of `CLOCK_MONOTONIC`); some of them several times.
    pub fn ends(&self, now: u64) -> Vec<(End, Option<End>)> {
        let accounts = self.accounts.read();
        let all = accounts.values().flat_map(|account| &account.bindings).filter(|binding| binding.until > now);
        all.map(|binding| (binding.source, binding.here)).collect()
    }

    /// So many of those that are sought, from place `skip` on; `state` says of an end whether it answers.
    pub fn page(
        &self,
        sought: &Sought,
        skip: usize,
        limit: usize,
        now: u64,
        state: impl Fn(&End) -> EndpointState,
    ) -> Page {
        let accounts = self.accounts.read();
        let all = accounts.values().flat_map(|account| account.bindings.iter().map(move |binding| (account, binding)));
        let mut found: Vec<_> = all
            .filter(|(account, binding)| binding.until > now && sought.takes(account, binding))
            .filter(|(_, binding)| !sought.offline || state(&binding.source).is_absent())
            .collect();
        found.sort_by_key(|(account, binding)| {
            (account.name.as_bytes(), binding.source.addr.to_bytes(), binding.contact)
        });
        let view = |(account, binding): &(&Account, &Binding)| BindingView {
            aor: account.name.to_string(),
            address: ip(binding.source.addr).to_string(),
            port: binding.source.port,
            expires_s: binding.until.saturating_sub(now).div_ceil(SECOND),
            moves: account.moves_at(now),
            state: state(&binding.source),
        };
        Page { bindings: found.iter().skip(skip).take(limit).map(view).collect(), total: found.len() }
    }

    /// Those whose time is over at `now` go.
    fn expire(&self, now: u64) {
        let mut accounts = self.accounts.write();
        accounts.retain(|_, account| {
            account.bindings.retain(|binding| binding.until > now);
            !account.bindings.is_empty()
        });
        self.count.live.store(accounts.values().map(|account| account.bindings.len()).sum(), Relaxed);
    }
}

impl Sought {
    fn takes(&self, account: &Account, binding: &Binding) -> bool {
        self.whom.as_ref().is_none_or(|whom| {
            let (name, whom) = (account.name.as_bytes(), whom.as_bytes());
            let is_user = name.strip_prefix(whom).is_some_and(|rest| rest.starts_with(b"@"));
            name == whom || is_user || ip(binding.source.addr).to_string().as_bytes() == whom
        })
    }
}

impl Account {
    fn moves_at(&self, now: u64) -> u32 {
        if now.saturating_sub(self.since) < HOUR { self.moves } else { 0 }
    }

    /// What a 2xx to somebody at `source` says: `own` is what was bound there. Gives where the address-of-record was until now, if
    /// that is elsewhere.
    fn follow(&mut self, granted: &Granted, source: &End, own: Option<Binding>, now: u64) -> Option<(Move, End)> {
        let is_here = |binding: &Binding| holder(&binding.source.addr) == holder(&source.addr);
        self.bindings.retain(|binding| binding.until > now);
        let was_here = self.bindings.iter().any(is_here);
        let is_own = |binding: &Binding| own.is_some_and(|own| own.contact == binding.contact);
        let is_kept = |binding: &Binding| granted.kept().iter().any(|(contact, _)| *contact == binding.contact);
        let goes = |binding: &mut Binding| is_own(binding) || granted.is_whole() && !is_kept(binding);
        let gone: Vec<Binding> = self.bindings.extract_if(.., goes).collect();
        let own = own?;
        let lost = gone.iter().find(|binding| !is_here(binding)).map(|binding| (Move::Moved, binding.source));
        let stays = || self.bindings.iter().max_by_key(|binding| binding.until);
        let from = lost.or_else(|| stays().filter(|_| !was_here).map(|binding| (Move::Added, binding.source)));
        if self.bindings.len() >= BINDINGS_MAX {
            let first = self.bindings.iter().enumerate().min_by_key(|(_, binding)| binding.until).map(|(at, _)| at);
            first.map(|at| self.bindings.swap_remove(at));
        }
        self.bindings.push(own);
        from
    }

    /// One change of address more.
    fn count(&mut self, now: u64) -> u32 {
        if self.moves_at(now) == 0 {
            (self.since, self.moves) = (now, 0);
        }
        self.moves = self.moves.saturating_add(1);
        self.moves
    }
}

/// Learns who is registered: the policy's thread's.
#[derive(Debug)]
pub struct Registrar {
    secret: Secret,
    asked: Recent<u64, Registering, WAYS>,
    bindings: Arc<Bindings>,
}

impl Registrar {
    /// Nobody is registered yet, as far as is known.
    pub fn new(secret: Secret, bindings: Arc<Bindings>) -> Self {
        Self { secret, asked: Recent::of(ASKED), bindings }
    }

    /// A REGISTER with credentials came in, seen before `now` (ns of `CLOCK_MONOTONIC`).
    pub fn asked(&mut self, registering: Registering, now: u64) {
        self.asked.put(registering.transaction, registering.transaction, registering, now);
    }

    /// A 2xx to a REGISTER went out at `now`. Gives what it says of an address-of-record that was elsewhere; `moves_max`: from how
    /// many such changes an hour on it is contended for, 0: never.
    pub fn granted(&mut self, granted: &Granted, moves_max: u32, now: u64) -> Option<Moved> {
        let asked = self.asked.get(granted.transaction, &granted.transaction).map(|(asked, _)| asked);
        let asked = asked.filter(|asked| asked.source.addr == granted.to.addr);
        // Who asked without credentials has bound what is bound there, if that is one.
        let (source, here, bound) = match asked {
            Some(asked) => (asked.source, Some(asked.here), asked.contact.and_then(|contact| granted.find(contact))),
            None => (granted.to, None, granted.sole()),
        };
        let own = bound.map(|(contact, expires)| Binding {
            contact,
            source,
            here,
            until: now.saturating_add(u64::from(expires) * SECOND),
        });
        let (key, count) = (self.secret.identity(None, Some(granted.aor.as_bytes())), &self.bindings.count);
        let mut accounts = self.bindings.accounts.write();
        if !accounts.contains_key(&key) {
            own?;
            if accounts.len() >= ACCOUNTS_MAX {
                count.unwatched.fetch_add(1, Relaxed);
                return None;
            }
            let account = Account { name: granted.aor, bindings: Vec::new(), moves: 0, since: 0 };
            accounts.insert(key, account);
        }
        let account = accounts.get_mut(&key)?;
        let before = account.bindings.len();
        let from = account.follow(granted, &source, own, now);
        let live = count.live.load(Relaxed).saturating_sub(before) + account.bindings.len();
        count.live.store(live, Relaxed);
        if account.bindings.is_empty() {
            accounts.remove(&key);
            return None;
        }
        let (change, from) = from?;
        let moves = account.count(now);
        count.moves[change as usize].fetch_add(1, Relaxed);
        let contended = moves_max > 0 && moves >= moves_max;
        Some(Moved { aor: granted.aor, change, from, to: source, moves, contended })
    }

    /// Those whose time is over at `now` are forgotten.
    pub fn expire(&self, now: u64) {
        self.bindings.expire(now);
    }
}

#[cfg(test)]
mod tests;
