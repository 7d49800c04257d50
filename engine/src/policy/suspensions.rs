//! Who is suspended: one writer, the policy's thread, and workers that ask for every REGISTER.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use ipnet::IpNet;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sip_parse::Message;
use utoipa::ToSchema;
use vos_common::rule::Addr;

use super::Secret;
use super::identity::{Name, credentials, holder, holder_of, net_of};
use crate::control::address::show;
use crate::control::clock::Clock;
use crate::kept;

/// Most that are suspended at a time; of more, those go first that would end first. Each has six times guessed at a nonce
/// that nobody else has: more at once are no guessers but an outage of the user table, and it is better to let them try.
pub const SUSPENSIONS_MAX: usize = 10_000;

/// Somebody who is suspended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// Where; `None`: wherever it comes from.
    pub address: Option<Addr>,
    /// The account, and the address-of-record that it was to register; `None`: all of the address.
    pub user: Option<(Name, Name)>,
    /// Since when, unix seconds.
    pub since: u64,
    /// When it ends, ns of `CLOCK_MONOTONIC`.
    pub until: u64,
    /// Refusals in a row that led to it.
    pub failures: u32,
    /// How often it has been suspended, this time included, within a day of one's end.
    pub times: u32,
}

/// The same for API and disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Suspension)]
pub struct Shown {
    /// Where: an address, or an IPv6 /64; absent: wherever it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The account, `user@realm`; absent: all of the address. Text of unknown origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The address-of-record. Text of unknown origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aor: Option<String>,
    /// Since when, unix seconds.
    pub since: u64,
    /// When it ends, unix seconds.
    pub until: u64,
    /// Refusals in a row that led to it.
    pub failures: u32,
    /// How often it has been suspended, this time included.
    pub times: u32,
}

impl Suspension {
    /// For API and disk.
    pub fn shown(&self, clock: Clock) -> Shown {
        let address = self.net().map(show);
        let names = self.user.map(|(account, aor)| (account.to_string(), aor.to_string()));
        let (user, aor) = names.unzip();
        let until = clock.wall_ns_of(self.until).div_ceil(1_000_000_000);
        Shown { address, user, aor, since: self.since, until, failures: self.failures, times: self.times }
    }

    /// Its address as a prefix.
    pub fn net(&self) -> Option<IpNet> {
        self.address.as_ref().map(net_of)
    }

    /// What was written down; `None`: it makes no sense.
    fn of(shown: &Shown, clock: Clock) -> Option<Self> {
        let net = |text: &str| {
            text.parse::<IpNet>().ok().or_else(|| text.parse().ok().map(|ip: std::net::IpAddr| IpNet::from(ip)))
        };
        let address = match &shown.address {
            Some(text) => Some(holder_of(&net(text)?)),
            None => None,
        };
        let name = |text: &String| Name::of_bytes(text.as_bytes());
        let user = shown.user.as_ref().map(|user| (name(user), name(shown.aor.as_ref().unwrap_or(user))));
        if address.is_none() && user.is_none() {
            return None;
        }
        let Shown { since, until, failures, times, .. } = *shown;
        Some(Self { address, user, since, until: clock.mono_of(until), failures, times })
    }

    /// Under which keys it is found.
    fn keys(&self, secret: &Secret) -> Vec<u64> {
        let Some((account, aor)) = &self.user else { return vec![secret.identity(self.address.as_ref(), None)] };
        let mut keys: Vec<u64> =
            [account, aor].map(|name| secret.identity(self.address.as_ref(), Some(name.as_bytes()))).into();
        keys.dedup();
        keys
    }

    /// What an operator calls it: address, account, address-of-record, or the user part of one of them.
    fn is_called(&self, whom: &str) -> bool {
        let names = self.user.iter().flat_map(|(account, aor)| [account.to_string(), aor.to_string()]);
        let is_user = |name: &str| name.split_once('@').is_some_and(|(user, _)| user == whom);
        self.net().map(show).as_deref() == Some(whom) || names.into_iter().any(|name| name == whom || is_user(&name))
    }
}

/// What is counted of registrations, for whoever asks.
#[derive(Debug, Default)]
pub struct RegistrationCount {
    /// Refusals of credentials that answered a nonce of the sender's own.
    pub failures: AtomicU64,
    /// Refusals of credentials that prove nothing: their nonce had not gone there, or to others as well.
    pub unproven: AtomicU64,
    /// Suspensions begun.
    pub suspended: AtomicU64,
}

/// All of them by their first key, and the first key of each by all of its keys.
#[derive(Debug, Default)]
struct Held {
    all: HashMap<u64, Suspension>,
    first: HashMap<u64, u64>,
}

impl Held {
    fn put(&mut self, keys: &[u64], suspension: Suspension) {
        let Some(first) = keys.first() else { return };
        self.all.insert(*first, suspension);
        self.first.extend(keys.iter().map(|key| (*key, *first)));
    }

    fn remove(&mut self, is_over: impl Fn(&Suspension) -> bool) -> Vec<Suspension> {
        let over: Vec<Suspension> = self.all.extract_if(|_, held| is_over(held)).map(|(_, over)| over).collect();
        self.first.retain(|_, first| self.all.contains_key(first));
        over
    }
}

/// Who is suspended.
#[derive(Debug)]
pub struct Suspensions {
    secret: Secret,
    /// How many of those that workers look for are bound to an address, and how many to a user alone.
    bound: [AtomicUsize; 2],
    held: RwLock<Held>,
    /// Lifted since the policy's thread looked last.
    lifted: Mutex<Vec<u64>>,
    changed: AtomicBool,
    /// Where they are written down; one writer at a time.
    file: Mutex<Option<PathBuf>>,
    /// What is counted.
    pub count: RegistrationCount,
}

impl Suspensions {
    /// Nobody; kept nowhere.
    pub fn new(secret: Secret) -> Self {
        Self {
            secret,
            bound: Default::default(),
            held: RwLock::default(),
            lifted: Mutex::default(),
            changed: AtomicBool::new(false),
            file: Mutex::default(),
            count: RegistrationCount::default(),
        }
    }

    /// Those that `file` tells of, if it is there and their time is not over; changes go there from now on. A file that
    /// cannot be read is put aside, and that is said: nobody is kept from starting by it.
    pub fn open(secret: Secret, file: PathBuf, clock: Clock) -> Self {
        let all = Self::new(secret);
        let read: Vec<Shown> = kept::read(&file, |_| true, "nobody is suspended any more").unwrap_or_default();
        for held in
            read.iter().filter_map(|shown| Suspension::of(shown, clock)).filter(|held| held.until > clock.mono_ns())
        {
            all.put(held);
        }
        all.changed.store(false, Relaxed);
        *all.file.lock() = Some(file);
        all
    }

    /// Is the sender of this REGISTER suspended? Costs nothing while nobody is.
    pub fn hold(&self, message: &Message<'_>, source: &Addr) -> bool {
        let [here, anywhere] = [&self.bound[0], &self.bound[1]].map(|bound| bound.load(Relaxed) > 0);
        if !here && !anywhere {
            return false;
        }
        let accounts = credentials(message).filter_map(|shown| Name::of_account(&shown));
        let names = Name::of_aor(message).into_iter().chain(accounts.take(super::identity::CREDENTIALS_MAX));
        let source = holder(source);
        let held = self.held.read();
        names.into_iter().any(|name| {
            let is_held = |address| held.first.contains_key(&self.secret.identity(address, Some(name.as_bytes())));
            here && is_held(Some(&source)) || anywhere && is_held(None)
        })
    }

    /// Suspends.
    pub(super) fn put(&self, suspension: Suspension) {
        let mut held = self.held.write();
        if held.all.len() >= SUSPENSIONS_MAX
            && let Some(first) = held.all.values().map(|held| held.until).min()
        {
            held.remove(|held| held.until == first);
        }
        held.put(&suspension.keys(&self.secret), suspension);
        self.note(&held);
    }

    fn note(&self, held: &Held) {
        let workers = || held.all.values().filter(|held| held.user.is_some());
        let here = workers().filter(|held| held.address.is_some()).count();
        self.bound[0].store(here, Relaxed);
        self.bound[1].store(workers().count() - here, Relaxed);
        self.changed.store(true, Relaxed);
    }

    fn remove(&self, is_over: impl Fn(&Suspension) -> bool) -> Vec<Suspension> {
        if !self.held.read().all.values().any(&is_over) {
            return Vec::new();
        }
        let mut held = self.held.write();
        let over = held.remove(is_over);
        self.note(&held);
        over
    }

    /// Those whose time is over at `now` (ns of `CLOCK_MONOTONIC`) are suspended no more.
    pub fn expire(&self, now: u64) -> Vec<Suspension> {
        self.remove(|held| held.until <= now)
    }

    /// Ends what is called so, or all, and forgets their failures.
    pub fn lift(&self, whom: Option<&str>) -> Vec<Suspension> {
        let lifted = self.remove(|held| whom.is_none_or(|whom| held.is_called(whom)));
        self.lifted.lock().extend(lifted.iter().flat_map(|lifted| lifted.keys(&self.secret)));
        lifted
    }

    /// The keys of those that were lifted since this was asked last.
    pub(super) fn take_lifted(&self) -> Vec<u64> {
        std::mem::take(&mut self.lifted.lock())
    }

    /// All of them, those that end first in front.
    pub fn list(&self) -> Vec<Suspension> {
        let mut all: Vec<_> = self.held.read().all.values().cloned().collect();
        all.sort_by_key(|held| (held.until, held.since));
        all
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.read().all.len()
    }

    /// Is nobody suspended?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes them down, if they have changed. May wait for the disk.
    ///
    /// # Errors
    ///
    /// They are not on disk, and are tried again by the next call.
    pub fn save(&self) -> io::Result<()> {
        let file = self.file.lock();
        let Some(file) = &*file else { return Ok(()) };
        if !self.changed.swap(false, Relaxed) {
            return Ok(());
        }
        let all: Vec<Shown> = self.list().iter().map(|held| held.shown(Clock::now())).collect();
        let written = kept::write(file, &serde_json::to_vec(&all)?);
        if written.is_err() {
            self.changed.store(true, Relaxed);
        }
        written
    }

    /// As JSON, for `vosctl stats`.
    pub fn to_json(&self) -> Value {
        let RegistrationCount { failures, unproven, suspended } = &self.count;
        let [failures, unproven, suspended] = [failures, unproven, suspended].map(|n| n.load(Relaxed));
        json!({ "now": self.len(), "begun": suspended, "failures": failures, "unproven": unproven })
    }
}
