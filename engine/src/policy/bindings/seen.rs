use sip_parse::{Contact, Message, Name as HeaderName};
use vos_common::rule::Addr;

use super::super::Secret;
use super::super::identity::{Name, credentials};
use crate::config::Registration;
use crate::datagram::End;

/// Bindings of one 2xx that are read; of an address-of-record with more, nobody is taken to have lost its own.
pub(super) const KEPT_MAX: usize = 8;

/// How long a binding holds of which nobody says how long, seconds (RFC 3261 §10.2.1.1 leaves it to the registrar; most grant
/// this).
const EXPIRES: u32 = 3_600;
/// The longest that a binding is held for, seconds: the registrar's word counts up to this.
const EXPIRES_MAX: u32 = 7 * 86_400;

/// A REGISTER with credentials, as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registering {
    /// Where it came from.
    pub source: End,
    /// Where it came to.
    pub here: End,
    /// [`Secret::transaction`] of it.
    pub transaction: u64,
    /// [`Secret::uri`] of its first Contact; `None`: it removes bindings, or only asks for them (RFC 3261 §10.2.2, §10.2.3).
    pub contact: Option<u64>,
}

impl Registering {
    /// Of the REGISTER `message`, whose [`Secret::transaction`] is this; the ports are for whoever knows them. `None`: it shows
    /// no credentials.
    pub fn of(message: &Message<'_>, source: &Addr, secret: &Secret, transaction: u64) -> Option<Self> {
        credentials(message).next()?;
        let expires = message.expires().ok().flatten();
        let bound = match message.contacts().next() {
            Some(Ok(contact)) => kept(&contact, expires, secret),
            _ => None,
        };
        Some(Self {
            source: End { addr: *source, port: 0 },
            here: End::default(),
            transaction,
            contact: bound.map(|(contact, _)| contact),
        })
    }
}

/// A 2xx to a REGISTER, on its way to who is registered: all bindings of the address-of-record (RFC 3261 §10.3, step 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Where it goes.
    pub to: End,
    /// [`Secret::transaction`] of it.
    pub transaction: u64,
    /// Whose bindings.
    pub aor: Name,
    /// [`Secret::uri`] of each Contact, and for how long it holds, seconds.
    kept: [(u64, u32); KEPT_MAX],
    /// How many there are, those beyond [`KEPT_MAX`] among them.
    count: usize,
}

impl Granted {
    /// Of `message`, a 2xx to a REGISTER.
    pub fn of(message: &Message<'_>, to: &End, secret: &Secret) -> Option<Self> {
        let transaction = secret.transaction_of(message)?;
        let mut granted =
            Self { to: *to, transaction, aor: Name::of_aor(message)?, kept: [(0, 0); KEPT_MAX], count: 0 };
        let expires = message.expires().ok().flatten();
        for contact in message.contacts() {
            // What cannot be read may be any of those that are known.
            let bound = contact.map_or(Some((0, 0)), |contact| kept(&contact, expires, secret));
            let Some(bound) = bound else { continue };
            if let Some(place) = granted.kept.get_mut(granted.count) {
                *place = bound;
            }
            granted.count += if bound.1 == 0 { KEPT_MAX + 1 } else { 1 };
        }
        Some(granted)
    }

    /// Its bindings, as far as they are read.
    pub(super) fn kept(&self) -> &[(u64, u32)] {
        &self.kept[..self.count.min(KEPT_MAX)]
    }

    /// Are these all?
    pub(super) fn is_whole(&self) -> bool {
        self.count <= KEPT_MAX
    }

    /// The binding that `contact` asked for: the one that reads so or, where the registrar writes Contacts of its own, the only
    /// one.
    pub(super) fn find(&self, contact: u64) -> Option<(u64, u32)> {
        self.kept().iter().find(|(kept, _)| *kept == contact).copied().or_else(|| self.sole())
    }

    /// The only binding.
    pub(super) fn sole(&self) -> Option<(u64, u32)> {
        if let [(contact, expires @ 1..)] = *self.kept() { Some((contact, expires)) } else { None }
    }
}

/// A Contact's name and for how long it is bound, seconds; `None`: not at all.
fn kept(contact: &Contact<'_>, expires: Option<u32>, secret: &Secret) -> Option<(u64, u32)> {
    let Contact::Address { address, expires: own } = contact else { return None };
    let expires = own.or(expires).unwrap_or(EXPIRES).min(EXPIRES_MAX);
    (expires > 0).then_some((secret.uri(&address.uri().ok()?.aor()), expires))
}

/// Has a REGISTER more Contacts, or longer ones, than it may have?
pub(crate) fn is_absurd(message: &Message<'_>, limits: &Registration) -> bool {
    let lines = || message.lines(HeaderName::Contact);
    if lines().map(<[u8]>::len).sum::<usize>() > limits.contact_bytes_max as usize {
        return true;
    }
    let most = limits.contacts_max as usize;
    // Commas are more than there are values, and cheaper to count.
    let commas = lines().flatten().filter(|byte| **byte == b',').count();
    lines().count() + commas > most && message.contacts().take(most + 1).count() > most
}
