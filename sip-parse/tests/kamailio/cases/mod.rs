//! Messages that RFC 3261 forbids, or that servers read in a way of their own.

mod addresses;
mod framing;
mod rest;
mod uris;
mod vias;

use std::collections::BTreeMap;

use sip_parse::Error;

use crate::reading::{FIELDS, Reading};

/// What differs from [`PLAIN`] in a reading: a field or a header, and what is in it, escaped.
pub(crate) type Changes = &'static [(&'static str, &'static str)];

/// What becomes of a message here and in Kamailio.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// Both read this.
    Both(Changes),
    /// Kamailio does not read it either.
    Neither(Error),
    /// We refuse what Kamailio reads like this.
    Stricter(Error, Changes),
    /// We read this, which Kamailio refuses.
    Wider(Changes),
    /// We read one thing, Kamailio another.
    Apart(Changes, Changes),
}

/// A message, and what becomes of it.
pub(crate) struct Case {
    /// What part of the message is unusual; fields of that part go by their last name.
    pub(crate) part: &'static str,
    pub(crate) name: &'static str,
    /// The rule of RFC 3261 it is about, or of the RFC that is named.
    pub(crate) section: &'static str,
    unusual: &'static str,
    pub(crate) message: Vec<u8>,
    pub(crate) outcome: Outcome,
    /// What differs from [`PLAIN`] in all cases like this one.
    given: Vec<(&'static str, String)>,
}

impl Outcome {
    /// What we read, or why not.
    pub(crate) fn ours(self) -> Result<Changes, Error> {
        match self {
            Self::Both(changes) | Self::Wider(changes) | Self::Apart(changes, _) => Ok(changes),
            Self::Neither(error) | Self::Stricter(error, _) => Err(error),
        }
    }

    /// What Kamailio reads, if it does.
    pub(crate) fn theirs(self) -> Option<Changes> {
        match self {
            Self::Both(changes) | Self::Stricter(_, changes) | Self::Apart(_, changes) => Some(changes),
            Self::Neither(_) | Self::Wider(_) => None,
        }
    }
}

impl Case {
    /// What `changes` make of the fields of a plain message, and the headers they name.
    pub(crate) fn expected(&self, plain: &Reading, changes: Changes) -> BTreeMap<String, String> {
        let plain = plain.fields.iter().map(|(&name, value)| (name.to_owned(), value.clone()));
        let given = self.given.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let changes = changes.iter().map(|&(name, value)| (self.full_name(name), value.to_owned()));
        plain.chain(given).chain(changes).collect()
    }

    fn full_name(&self, name: &str) -> String {
        let full = format!("{}.{name}", self.part.to_lowercase());
        if FIELDS.iter().any(|field| field.name == full) { full } else { name.to_owned() }
    }
}

/// Name, section, the part of the message that is unusual, outcome.
type Row = (&'static str, &'static str, &'static str, Outcome);

pub(crate) const PLAIN: &str = "INVITE sip:u@h.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP v.com:5070;branch=z9hG4bK1\r\n\
    From: \"A\" <sip:a@b.com>;tag=f\r\n\
    To: \"A\" <sip:a@b.com>;tag=f\r\n\
    Call-ID: i\r\n\
    CSeq: 7 INVITE\r\n\
    Max-Forwards: 70\r\n\
    \r\n";

pub(crate) fn all() -> impl Iterator<Item = Case> {
    framing::cases().chain(addresses::cases()).chain(vias::cases()).chain(uris::cases()).chain(rest::cases())
}

/// The cases of a table; `part` says where in a message the unusual stands.
fn table(part: &'static str, rows: &'static [Row], message: impl Fn(&str) -> String) -> Vec<Case> {
    let case = |&(name, section, unusual, outcome): &Row| Case {
        part,
        name,
        section,
        unusual,
        message: bytes(&message(unusual)),
        outcome,
        given: Vec::new(),
    };
    rows.iter().map(case).collect()
}

/// Each character is a byte: what is not ASCII is not UTF-8 either.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(char).unwrap()).collect()
}

/// [`PLAIN`] with other text for a piece of it.
fn with(piece: &str, other: &str) -> String {
    assert_eq!(PLAIN.matches(piece).count(), 1, "{piece}");
    PLAIN.replace(piece, other)
}

/// [`PLAIN`] with another value in a header.
fn with_value(header: &str, value: &str) -> String {
    let start = PLAIN.find(&format!("\r\n{header}: ")).unwrap() + 2;
    let end = start + PLAIN[start..].find("\r\n").unwrap();
    format!("{}{header}: {value}{}", &PLAIN[..start], &PLAIN[end..])
}

/// [`PLAIN`] with more before its empty line.
fn with_more(lines: &str) -> String {
    format!("{}{lines}\r\n", PLAIN.strip_suffix("\r\n").unwrap())
}
