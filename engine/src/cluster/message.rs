//! A message of the log: JSON with a version, who wrote it, and one of entry, hello, part of a snapshot and a node to
//! forget.

use std::hash::Hasher;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use thiserror::Error;

use crate::control::log::{Entry, Logged, Place};
use crate::control::share::Snapshot;

/// The version that is written. Raise it when an older engine would misread a message; that engine then skips it, counts
/// it and says so.
const VERSION: u32 = 1;
/// The longest message that is read, bytes. An entry of a thousand changes with the longest texts, each character escaped,
/// has some 5 MB.
pub const MESSAGE_MAX: usize = 8 << 20;
/// The longest part of a snapshot, bytes: brokers like messages of less than a megabyte.
const PART_MAX: usize = 1_000_000;
/// A row of a snapshot without its texts, bytes, at most.
const ROW_MAX: usize = 320;
/// What a character of a text can grow to in JSON (`\u0001`).
const ESCAPE: usize = 6;

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    v: u32,
    /// The node that wrote it.
    pub node: Arc<str>,
    /// A number that the node took by chance when it was started: two that write under one name have two.
    pub run: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    entry: Option<Entry>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hello: Option<Hello>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    part: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    forget: Option<Arc<str>>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// What a node did.
    Entry(Entry),
    /// A node has come.
    Hello(Hello),
    /// A piece of all that a node held.
    Part(Part),
    /// This node is no longer there.
    Forget(Arc<str>),
}

/// A node has come, and wants to know where the log ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// By which it knows its own.
    pub id: u64,
    /// Is there no snapshot for it to begin with?
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub wants_snapshot: bool,
}

/// A piece of all that a node held. The pieces of one stand in their order, others' messages between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// What it is a piece of, and which.
    pub head: PartHead,
    /// What the log had not told before: everybody takes it. Others are for whoever is new.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub anew: bool,
    /// The last sequence read of each node; in the last piece.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub nodes: Vec<(Arc<str>, u64)>,
    /// Decisions, and what is gone.
    pub rows: Vec<Logged>,
}

/// What a piece is of, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartHead {
    /// The snapshot.
    pub id: u64,
    /// Which piece, from 0.
    pub part: u32,
    /// How many there are.
    pub of: u32,
    /// All of the log before this offset is in it.
    pub next: u64,
    /// [`Place::mark`] there.
    pub mark: u64,
}

impl PartHead {
    /// From where one who has taken all pieces reads on.
    pub fn place(&self) -> Place {
        Place { next: self.next, mark: self.mark }
    }
}

/// What of a message tells whether it is a piece of a snapshot, and of which: the rows are passed over.
#[derive(Deserialize)]
struct Glance {
    v: u32,
    #[serde(default)]
    part: Option<PartGlance>,
}

#[derive(Deserialize)]
struct PartGlance {
    head: PartHead,
}

/// A message that is skipped.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BadMessage {
    /// It is too long.
    #[error("it has {0} bytes, which no engine writes")]
    Long(usize),
    /// It is of another version.
    #[error("it is of version {0}, this engine reads {VERSION}: update this engine")]
    Version(u32),
    /// It is no message.
    #[error("it is no message of an engine: {0}")]
    Junk(String),
    /// Someone else wrote it.
    #[error(
        "the broker does not vouch that the nodes' own user wrote it: take the right to write to the log from everybody else, or let this node log in as the others do"
    )]
    Stranger,
}

impl Message {
    /// A message of `node`, in its life `run`.
    pub fn new(node: &Arc<str>, run: u64, body: Body) -> Self {
        let (entry, hello, part, forget) = Default::default();
        let mut message = Self { v: VERSION, node: Arc::clone(node), run, entry, hello, part, forget };
        match body {
            Body::Entry(entry) => message.entry = Some(entry),
            Body::Hello(hello) => message.hello = Some(hello),
            Body::Part(part) => message.part = Some(part),
            Body::Forget(node) => message.forget = Some(node),
        }
        message
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        // numbers and strings always have a JSON form
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads one, with what it says.
    pub fn read(bytes: &[u8]) -> Result<(Arc<str>, u64, Body), BadMessage> {
        check(bytes)?;
        let junk = |error: serde_json::Error| BadMessage::Junk(error.to_string());
        let message: Self = serde_json::from_slice(bytes).map_err(junk)?;
        let body = match (message.entry, message.hello, message.part, message.forget) {
            (Some(entry), None, None, None) if entry.node == message.node => Body::Entry(entry),
            (None, Some(hello), None, None) => Body::Hello(hello),
            (None, None, Some(part), None) => Body::Part(part),
            (None, None, None, Some(node)) => Body::Forget(node),
            _ => return Err(BadMessage::Junk("it says nothing, or several things, or speaks for another".to_owned())),
        };
        Ok((message.node, message.run, body))
    }
}

/// Is it of this version and no longer than any?
fn check(bytes: &[u8]) -> Result<Glance, BadMessage> {
    if bytes.len() > MESSAGE_MAX {
        return Err(BadMessage::Long(bytes.len()));
    }
    let glance: Glance = serde_json::from_slice(bytes).map_err(|error| BadMessage::Junk(error.to_string()))?;
    if glance.v == VERSION { Ok(glance) } else { Err(BadMessage::Version(glance.v)) }
}

/// Which piece of which snapshot this is, if it is one.
pub(super) fn glance(bytes: &[u8]) -> Option<PartHead> {
    let head = check(bytes).ok()?.part?.head;
    (head.part < head.of).then_some(head)
}

/// What tells a message from another at the same offset of another log. Never 0.
pub(super) fn mark(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish().max(1)
}

/// The pieces of a snapshot.
pub(super) fn parts(snapshot: Snapshot, id: u64, anew: bool) -> Vec<Part> {
    let Snapshot { place, nodes, rows } = snapshot;
    let mut pieces: Vec<Vec<Logged>> = vec![Vec::new()];
    let mut size = 0;
    for row in rows {
        let node = row.node.as_ref().map_or(0, |node| node.len());
        let most = ROW_MAX + ESCAPE * (row.reason.len() + row.who.len() + node);
        if size + most > PART_MAX {
            pieces.push(Vec::new());
            size = 0;
        }
        size += most;
        if let Some(piece) = pieces.last_mut() {
            piece.push(row);
        }
    }
    let of = pieces.len() as u32;
    let head = |part: usize| PartHead { id, part: part as u32, of, next: place.next, mark: place.mark };
    let mut nodes = Some(nodes);
    let last = pieces.len() - 1;
    let piece = |(part, rows)| {
        let nodes = if part == last { nodes.take().unwrap_or_default() } else { Vec::new() };
        Part { head: head(part), anew, nodes, rows }
    };
    pieces.into_iter().enumerate().map(piece).collect()
}

#[cfg(test)]
mod tests;
