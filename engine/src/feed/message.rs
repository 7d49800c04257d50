//! What a message asks for, in any of the forms that feeds send. It is taken as a whole or not at all.
//!
//! | form | asks for |
//! |---|---|
//! | `203.0.113.7`, `2001:db8::/48`, several of them one a line | a block of each |
//! | `{"ip":"203.0.113.7"}` | a block |
//! | `{"action":"block","ip":…,"ttl":900,"reason":…}` | a block; `ttl` in seconds, or `"15m"`, or `"forever"` |
//! | `{"action":"unblock","ip":…}` | that it ends |
//! | `{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":…}}` | a block: OpenSIPS' event interface (evi/evi_transport.c); `params` may be an array |
//! | `E_PIKE_BLOCKED\nip::203.0.113.7\n` | a block: the same before OpenSIPS 3.0 |
//! | `E_VOS_BLOCK`, `E_VOS_UNBLOCK` in place of `E_PIKE_BLOCKED` | the same as the object, raised by a script |
//! | a JSON array of addresses and objects | all of it |

/// Its forms in JSON.
mod json;

use std::str::{self, FromStr};
use std::sync::Arc;

use ipnet::IpNet;
use thiserror::Error;

use crate::control::address::{self, AddressError};
use crate::control::ask::{Ask, End, MAX_TTL};
use crate::control::decision::Kind;

/// The longest message, bytes. More than any list of [`ENTRIES_MAX`] addresses needs.
pub const MESSAGE_MAX: usize = 1 << 20;
/// Most wishes in a message: what is on disk in one commit. More belong in a file.
pub const ENTRIES_MAX: usize = 10_000;
/// The longest text that is looked at as an address, bytes: an IPv6 CIDR has 43 at most.
const ADDRESS_MAX: usize = 64;
/// How much of a text that makes no sense is quoted, bytes.
const QUOTED_MAX: usize = 200;
/// The event of OpenSIPS' pike, and those that are ours.
const PIKE: &str = "E_PIKE_BLOCKED";
const OWN_BLOCK: &str = "E_VOS_BLOCK";
const OWN_UNBLOCK: &str = "E_VOS_UNBLOCK";

/// Why a message asks for nothing. It says what was expected.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// There is nothing in it.
    #[error("the message is empty: expected an address, or JSON such as {{\"ip\":\"203.0.113.7\"}}")]
    Empty,
    /// It is too long.
    #[error("the message has {0} bytes, at most {MESSAGE_MAX} are taken: send several, or feed a file")]
    TooLong(usize),
    /// It wants too much at once.
    #[error("the message has more than {ENTRIES_MAX} entries: send several, or feed a file")]
    TooMany,
    /// It is no text.
    #[error("the message is no text in UTF-8: expected addresses or JSON")]
    NotText,
    /// It begins as JSON and is not, or has the wrong keys.
    #[error("{0}")]
    Json(String),
    /// An address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Longer than any address.
    #[error("`{0}…` is longer than any address: expected one address or CIDR a line, or JSON")]
    LongAddress(String),
    /// An action that feeds have not.
    #[error("a feed may block and unblock, not `{0}`: use vosctl for that")]
    Action(String),
    /// The time makes no sense.
    #[error(
        "`{0}` is no time to live: expected seconds from 1 to {MAX_TTL}, or such as \"15m\", \"7d\" or \"forever\""
    )]
    Ttl(String),
    /// A time for what needs none.
    #[error("an unblock has no ttl: leave it out")]
    UnblockTtl,
    /// There is no address.
    #[error("there is no `ip`: expected such as {{\"ip\":\"203.0.113.7\"}}")]
    NoAddress,
    /// The object has keys of an event and of a plain wish.
    #[error("`{0}` belongs to an event's params, or to a message without `method`")]
    Mixed(&'static str),
    /// Another event than those that ask for something.
    #[error("the event `{0}` asks for nothing: expected E_PIKE_BLOCKED, E_VOS_BLOCK or E_VOS_UNBLOCK")]
    Event(String),
}

/// What the message asks for. Where it names no time, `end` is meant.
pub fn read(message: &[u8], end: End) -> Result<Vec<Ask>, MessageError> {
    if message.len() > MESSAGE_MAX {
        return Err(MessageError::TooLong(message.len()));
    }
    let text = str::from_utf8(message).map_err(|_| MessageError::NotText)?.trim();
    let entries = match text.as_bytes().first() {
        None => return Err(MessageError::Empty),
        Some(b'{' | b'[' | b'"') => {
            json::entries(text).map_err(|error| MessageError::Json(quoted(&error.to_string()).to_owned()))?
        }
        Some(_) if text.starts_with("E_") => vec![Entry::of_lines(text)],
        Some(_) => lines(text),
    };
    match entries.len() {
        0 => Err(MessageError::Empty),
        1..=ENTRIES_MAX => entries.into_iter().map(|entry| entry.ask(end)).collect(),
        _ => Err(MessageError::TooMany),
    }
}

/// One address a line, no more of them than tell that there are too many.
fn lines(text: &str) -> Vec<Entry> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.take(ENTRIES_MAX + 1).map(Entry::address).collect()
}

/// The beginning of a text that may be long.
fn quoted(text: &str) -> &str {
    let end = (0..=text.len().min(QUOTED_MAX)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// An object, with the keys of all forms. That those of two are not mixed is seen to later.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    ip: Option<String>,
    action: Option<String>,
    ttl: Option<Ttl>,
    reason: Option<String>,
    jsonrpc: Option<serde::de::IgnoredAny>,
    id: Option<serde::de::IgnoredAny>,
    method: Option<String>,
    params: Option<Params>,
}

impl Entry {
    fn address(text: &str) -> Self {
        // what is longer is refused, and need not be kept
        let end = text.len().min(ADDRESS_MAX + 4);
        let end = (0..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Self { ip: Some(text[..end].to_owned()), ..Self::default() }
    }

    /// The event's name, then `name::value` a line.
    fn of_lines(text: &str) -> Self {
        let mut lines = text.lines();
        let method = lines.next().map(|name| name.trim().to_owned());
        let mut params = Params::default();
        for (name, value) in lines.filter_map(|line| line.trim().split_once("::")) {
            params.set(name, value);
        }
        Self { method, params: Some(params), ..Self::default() }
    }

    fn ask(self, end: End) -> Result<Ask, MessageError> {
        let Self { ip, action, ttl, reason, jsonrpc, id, method, params } = self;
        let Some(method) = method else {
            if params.is_some() || jsonrpc.is_some() || id.is_some() {
                return Err(MessageError::Mixed("params"));
            }
            return wish(action.as_deref().unwrap_or("block"), ip, ttl, reason, end);
        };
        for (name, is_there) in
            [("ip", ip.is_some()), ("action", action.is_some()), ("ttl", ttl.is_some()), ("reason", reason.is_some())]
        {
            if is_there {
                return Err(MessageError::Mixed(name));
            }
        }
        let Params { ip, ttl, reason } = params.unwrap_or_default();
        match method.as_str() {
            // whatever else a later release of OpenSIPS may tell of it
            PIKE => wish("block", ip, None, Some("pike".to_owned()), end),
            OWN_BLOCK => wish("block", ip, ttl, reason, end),
            OWN_UNBLOCK => wish("unblock", ip, ttl, reason, end),
            other => Err(MessageError::Event(quoted(other).to_owned())),
        }
    }
}

fn wish(
    action: &str,
    ip: Option<String>,
    ttl: Option<Ttl>,
    reason: Option<String>,
    end: End,
) -> Result<Ask, MessageError> {
    let kind = Kind::Block;
    let is_block = match action {
        "block" => true,
        "unblock" => false,
        other => return Err(MessageError::Action(quoted(other).to_owned())),
    };
    let net = net(&ip.ok_or(MessageError::NoAddress)?)?;
    if !is_block {
        return if ttl.is_some() { Err(MessageError::UnblockTtl) } else { Ok(Ask::Remove { net, kind }) };
    }
    let end = ttl.map_or(Ok(end), Ttl::end)?;
    let reason = reason.map_or_else(Arc::default, Arc::from);
    Ok(Ask::Put { net, kind, end, reason })
}

fn net(text: &str) -> Result<IpNet, MessageError> {
    let text = text.trim();
    if text.len() > ADDRESS_MAX {
        return Err(MessageError::LongAddress(Entry::address(text).ip.unwrap_or_default()));
    }
    Ok(address::parse(text)?)
}

/// What an event tells: by name, or one after the other. Of those without names the first is the address.
#[derive(Debug, Default)]
struct Params {
    ip: Option<String>,
    ttl: Option<Ttl>,
    reason: Option<String>,
}

impl Params {
    fn set(&mut self, name: &str, value: &str) {
        match name {
            "ip" => self.ip = Some(value.to_owned()),
            "ttl" => self.ttl = Some(Ttl::Text(value.to_owned())),
            "reason" => self.reason = Some(value.to_owned()),
            _ => {}
        }
    }
}

/// A time as a message has it.
#[derive(Debug)]
enum Ttl {
    Seconds(u64),
    Text(String),
    Other(String),
}

impl Ttl {
    fn end(self) -> Result<End, MessageError> {
        let ttl = match &self {
            Self::Seconds(seconds) => Some(*seconds),
            Self::Text(text) if text == "forever" => return Ok(End::Never),
            Self::Text(text) => u64::from_str(text).ok().or_else(|| {
                let span = humantime::parse_duration(text).ok()?;
                (span.subsec_nanos() == 0).then_some(span.as_secs())
            }),
            Self::Other(_) => None,
        };
        let said = match &self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Text(text) | Self::Other(text) => quoted(text).to_owned(),
        };
        ttl.filter(|ttl| (1..=MAX_TTL).contains(ttl)).map(End::After).ok_or(MessageError::Ttl(said))
    }
}

#[cfg(test)]
mod tests;
