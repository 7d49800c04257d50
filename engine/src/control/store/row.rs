//! What a row looks like.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::control::decision::{Decision, Key, Kind, Made, Origin};
use crate::control::stamp::Stamp;

/// A [`Key`] as bytes: 4 or 6, the address (IPv4 in the first four bytes), the prefix length, the kind's code.
pub(super) type RawKey = [u8; 19];

/// When, where, and its place in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RawMade {
    /// [`Stamp::bits`]; rows of before there was a cluster have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    stamp: Option<Stamp>,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    node: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    offset: Option<u64>,
}

impl RawMade {
    pub(super) fn of(made: &Made) -> Self {
        let offset = (made.offset != Made::UNLOGGED).then_some(made.offset);
        Self { stamp: Some(made.stamp), node: made.node.to_string(), offset }
    }

    pub(super) fn made(self, seconds: u64, texts: &mut Texts) -> Made {
        let stamp = self.stamp.unwrap_or(Stamp::of_seconds(seconds));
        Made { stamp, node: texts.share(self.node), offset: self.offset.unwrap_or(Made::UNLOGGED) }
    }
}

/// The value of a decision's row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    until: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    reason: String,
    /// An [`Origin`]; of before there were these: any text, such as "api uid 0".
    origin: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    who: String,
    /// Unix seconds.
    made: u64,
    #[serde(flatten)]
    at: RawMade,
}

impl Row {
    pub(super) fn bytes(decision: &Decision) -> Vec<u8> {
        let row = Self {
            until: decision.until,
            reason: decision.reason.to_string(),
            origin: decision.origin.word().to_owned(),
            who: decision.who.to_string(),
            made: decision.made.stamp.seconds(),
            at: RawMade::of(&decision.made),
        };
        // numbers and strings always have a JSON form
        serde_json::to_vec(&row).unwrap_or_default()
    }

    pub(super) fn decision(self, (net, kind): Key, texts: &mut Texts) -> Decision {
        let (origin, who) = match self.origin.parse::<Origin>() {
            Ok(origin) => (origin, self.who),
            Err(_) => (Origin::Api, self.origin.strip_prefix("api ").unwrap_or(&self.origin).to_owned()),
        };
        let (reason, who) = (texts.share(self.reason), texts.share(who));
        Decision { net, kind, until: self.until, reason, origin, who, made: self.at.made(self.made, texts) }
    }
}

/// One copy of each text: a list of a million addresses has one reason.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashMap<String, Arc<str>>);

impl Texts {
    pub(crate) fn share(&mut self, text: String) -> Arc<str> {
        if let Some(shared) = self.0.get(&text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.as_str().into();
        self.0.insert(text, Arc::clone(&shared));
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
        (4, [a, b, c, d, ..]) => IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d)),
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
