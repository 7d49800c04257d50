//! What a row looks like.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::control::decision::{Decision, Key, Kind, Made, Origin};
use crate::control::history::Step;
use crate::control::log::Grave;
use crate::control::stamp::Stamp;

/// A [`Key`] as bytes: 4 or 6, the address (IPv4 in the first four bytes), the prefix length, the kind's code.
pub(super) type RawKey = [u8; 19];

/// The value of a grave's row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GraveRow<'a> {
    keep: u64,
    stamp: Stamp,
    #[serde(borrow, skip_serializing_if = "str::is_empty", default)]
    node: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    offset: Option<u64>,
}

impl GraveRow<'_> {
    pub(super) fn bytes(Grave { made, keep }: &Grave) -> Vec<u8> {
        let row = GraveRow { keep: *keep, stamp: made.stamp, node: Cow::Borrowed(&made.node), offset: logged(made) };
        // numbers and strings always have a JSON form
        serde_json::to_vec(&row).unwrap_or_default()
    }

    pub(super) fn grave(&self, texts: &mut Texts) -> Grave {
        let offset = self.offset.unwrap_or(Made::UNLOGGED);
        Grave { made: Made { stamp: self.stamp, node: texts.share(&self.node), offset }, keep: self.keep }
    }
}

/// The value of a step's row: the stamp that it made, when what it made ends, and the row that was there before the set,
/// if one was. Where the set has changed the same before (`there`: that row), what was there before that.
pub(super) fn step_bytes(step: &Step, there: Option<&[u8]>) -> Vec<u8> {
    let until = match step.until {
        None => TOOK_AWAY,
        Some(until) => until.unwrap_or(FOR_GOOD),
    };
    let first = there.and_then(|there| there.get(16..)).map(<[u8]>::to_vec);
    let before = first.unwrap_or_else(|| step.before.as_ref().map(Row::bytes).unwrap_or_default());
    [&step.made.bits().to_be_bytes()[..], &until.to_be_bytes(), &before].concat()
}

pub(super) fn read_step(key: &[u8], value: &[u8], texts: &mut Texts) -> Result<Step, String> {
    let key = read_key(key)?;
    let short = || format!("the step of {} is too short", key.0);
    let (made, value) = value.split_first_chunk().ok_or_else(short)?;
    let (until, value) = value.split_first_chunk().ok_or_else(short)?;
    let until = match u64::from_be_bytes(*until) {
        TOOK_AWAY => None,
        FOR_GOOD => Some(None),
        until => Some(Some(until)),
    };
    let row = (!value.is_empty()).then(|| serde_json::from_slice::<Row<'_>>(value)).transpose();
    let row = row.map_err(|error| format!("the step of {}: {error}", key.0))?;
    let made = Stamp::of_bits(u64::from_be_bytes(*made));
    Ok(Step { key, made, until, before: row.map(|row| row.decision(key, texts)) })
}

/// In the place of the end of what a step put there.
const TOOK_AWAY: u64 = 0;
/// As well.
const FOR_GOOD: u64 = u64::MAX;

/// The value of a decision's row. No struct within it: `flatten` would make it four times as slow to read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    until: Option<u64>,
    #[serde(borrow, skip_serializing_if = "str::is_empty", default)]
    reason: Cow<'a, str>,
    /// An [`Origin`]; of before there were these: any text, such as "api uid 0".
    #[serde(borrow)]
    origin: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "str::is_empty", default)]
    who: Cow<'a, str>,
    /// Unix seconds.
    made: u64,
    /// [`Stamp::bits`]; rows of before there was a cluster have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    stamp: Option<Stamp>,
    #[serde(borrow, skip_serializing_if = "str::is_empty", default)]
    node: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    offset: Option<u64>,
}

impl Row<'_> {
    pub(super) fn bytes(decision: &Decision) -> Vec<u8> {
        let Decision { until, reason, origin, who, made, .. } = decision;
        let row = Row {
            until: *until,
            reason: Cow::Borrowed(reason),
            origin: Cow::Borrowed(origin.word()),
            who: Cow::Borrowed(who),
            made: made.stamp.seconds(),
            stamp: Some(made.stamp),
            node: Cow::Borrowed(&made.node),
            offset: logged(made),
        };
        // numbers and strings always have a JSON form
        serde_json::to_vec(&row).unwrap_or_default()
    }

    pub(super) fn decision(&self, (net, kind): Key, texts: &mut Texts) -> Decision {
        let (origin, who) = match self.origin.parse::<Origin>() {
            Ok(origin) => (origin, &*self.who),
            Err(_) => (Origin::Api, self.origin.strip_prefix("api ").unwrap_or(&self.origin)),
        };
        let stamp = self.stamp.unwrap_or(Stamp::of_seconds(self.made));
        let made = Made { stamp, node: texts.share(&self.node), offset: self.offset.unwrap_or(Made::UNLOGGED) };
        let (reason, who) = (texts.share(&self.reason), texts.share(who));
        Decision { net, kind, until: self.until, reason, origin, who, made }
    }
}

/// Its place in the log, if it has one.
fn logged(made: &Made) -> Option<u64> {
    (made.offset != Made::UNLOGGED).then_some(made.offset)
}

/// One copy of each text: a list of a million addresses has one reason.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashSet<Arc<str>>);

impl Texts {
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.0.insert(Arc::clone(&shared));
        shared
    }
}

const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Trust => b't',
        Kind::Block => b'b',
        Kind::Allow => b'a',
    }
}

pub(super) fn raw_key((net, kind): Key) -> RawKey {
    let mut key = [0; 19];
    match net {
        IpNet::V4(v4) => {
            key[0] = 4;
            key[1..5].copy_from_slice(&v4.addr().octets());
        }
        IpNet::V6(v6) => {
            key[0] = 6;
            key[1..17].copy_from_slice(&v6.addr().octets());
        }
    }
    key[17] = net.prefix_len();
    key[18] = code(kind);
    key
}

pub(super) fn read_key(key: &[u8]) -> Result<Key, String> {
    let wrong = || "a row has an impossible key".to_owned();
    let key: &RawKey = key.try_into().map_err(|_| wrong())?;
    let [family, address @ .., length, kind] = key;
    let address = match (family, address) {
        (4, [a, b, c, d, rest @ ..]) if rest.iter().all(|byte| *byte == 0) => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)),
        (6, address) => IpAddr::V6(Ipv6Addr::from(*address)),
        _ => return Err(wrong()),
    };
    let net = IpNet::new(address, *length).map_err(|_| wrong())?;
    if net.trunc() != net {
        return Err(wrong());
    }
    let kind = Kind::ALL.into_iter().find(|k| code(*k) == *kind).ok_or_else(wrong)?;
    Ok((net, kind))
}
