//! The lines of block lists: what honeypots export, what operators import and what `vosctl export` writes.
//!
//! ```text
//! # a comment; so is what stands behind a blank and a #
//! 203.0.113.7
//! 198.51.100.0/24 ttl=7d reason=scans every night   # the reason goes to the end of the line, or to the comment
//! 2001:db8::/48 until=2027-01-01T00:00:00Z reason="quoted as in JSON" kind=block
//! ```

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use thiserror::Error;

use crate::control::address::{self, show};
use crate::control::ask::{End, MAX_REASON, MAX_TTL};
use crate::control::decision::Kind;

/// The longest line that is no comment, bytes: an address, a time and a reason with every character escaped have room.
pub const LINE_MAX: usize = 2_048;
/// Most lines of a file that are not blank and no comment. As many as the kernel's maps hold in total.
pub const LINES_MAX: usize = 1_000_000;
/// The largest file, bytes: a million lines of 64. It is held in memory while it is read.
pub const FILE_MAX: u64 = 64 << 20;

/// What is between words.
const BLANKS: [char; 3] = [' ', '\t', '\r'];
/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// Which kinds of decisions a list may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Blocks alone: a feed.
    Blocks,
    /// Every kind: an operator's list.
    Every,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// Whom it is about; host bits are zero.
    pub net: IpNet,
    /// What is decided; a block where nothing is said.
    pub kind: Kind,
    /// `ttl=` or `until=`; `None`: it names neither.
    pub end: Option<End>,
    /// `reason=`, at most [`MAX_REASON`] bytes. Not to be trusted when it is shown.
    pub reason: Option<Arc<str>>,
}

/// A line that makes no sense.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {number}: {what}")]
pub struct BadLine {
    /// Counted from 1.
    pub number: usize,
    /// What is wrong, and the fix. Holds words of the line, which are not to be trusted when they are shown.
    pub what: String,
}

/// A file that is not read at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It has more than [`FILE_MAX`] bytes.
    #[error("it has more than {} MiB: split it", FILE_MAX >> 20)]
    TooLarge,
}

/// All bytes of a list, [`FILE_MAX`] of them at most.
pub fn bytes_of(source: impl Read) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    source.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_MAX { Err(Unreadable::TooLarge) } else { Ok(bytes) }
}

/// Reads the lines of a list, one by one; blank ones and comments are passed over. Bytes that are no UTF-8 are harmless
/// in a comment, and replaced in a reason.
pub fn read(bytes: &[u8], takes: Takes) -> Lines<'_> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    Lines { rest: Some(bytes), number: 0, taken: 0, takes, reason: Arc::default() }
}

/// See [`read`].
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    /// What is not read yet; `None`: no more lines.
    rest: Option<&'a [u8]>,
    number: usize,
    taken: usize,
    takes: Takes,
    /// The last reason: most lists have one for all of their lines.
    reason: Arc<str>,
}

impl Iterator for Lines<'_> {
    type Item = Result<Line, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest?;
            let end = rest.iter().position(|byte| *byte == b'\n');
            self.rest = end.map(|end| &rest[end + 1..]);
            self.number += 1;
            let line = rest[..end.unwrap_or(rest.len())].trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            self.taken += 1;
            let line = self.look(line).and_then(|()| self.line(&String::from_utf8_lossy(line)));
            return Some(line.map_err(|what| BadLine { number: self.number, what }));
        }
    }
}

impl Lines<'_> {
    /// Is it a line at all?
    fn look(&mut self, line: &[u8]) -> Result<(), String> {
        if self.number == 1 && (line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff")) {
            self.rest = None;
            return Err("the file is UTF-16: save it as UTF-8".to_owned());
        }
        if self.taken > LINES_MAX {
            self.rest = None;
            return Err(format!(
                "there are more than {LINES_MAX} lines, and nothing behind this is read: split the file"
            ));
        }
        if line.len() > LINE_MAX {
            return Err(format!("it has {} bytes, more than {LINE_MAX}: is the file a block list?", line.len()));
        }
        Ok(())
    }

    fn line(&mut self, text: &str) -> Result<Line, String> {
        let (address, mut rest) = word(text);
        let net = address_of(address)?;
        let (mut kind, mut end, mut reason) = (None, None, None);
        while !rest.is_empty() && !rest.starts_with('#') {
            if let Some(text) = rest.strip_prefix("reason=") {
                let (text, behind) = reason_of(text)?;
                once("reason=", &mut reason, self.shared(&text))?;
                rest = behind;
                continue;
            }
            let (field, behind) = word(rest);
            match field.split_once('=') {
                Some(("ttl", value)) => once("ttl= or until=", &mut end, ttl(value)?)?,
                Some(("until", value)) => once("ttl= or until=", &mut end, until(value)?)?,
                Some(("kind", value)) => once("kind=", &mut kind, self.kind(value)?)?,
                _ => return Err(unknown(field)),
            }
            rest = behind;
        }
        Ok(Line { number: self.number, net, kind: kind.unwrap_or(Kind::Block), end, reason })
    }

    fn kind(&self, word: &str) -> Result<Kind, String> {
        let kind: Kind =
            word.parse().map_err(|_| format!("kind=`{word}`: write kind=block, kind=allow or kind=trust"))?;
        if self.takes == Takes::Blocks && kind != Kind::Block {
            return Err(format!("a feed may only block, not {kind}: take `vosctl {kind}` or `vosctl import`"));
        }
        Ok(kind)
    }

    fn shared(&mut self, reason: &str) -> Arc<str> {
        if *self.reason != *reason {
            self.reason = reason.into();
        }
        Arc::clone(&self.reason)
    }
}

/// The first word, and what is behind it and its blanks.
fn word(text: &str) -> (&str, &str) {
    let (word, behind) = text.split_once(BLANKS).unwrap_or((text, ""));
    (word, behind.trim_start_matches(BLANKS))
}

fn once<T>(name: &str, field: &mut Option<T>, value: T) -> Result<(), String> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("there is more than one {name}: leave one")),
    }
}

fn address_of(word: &str) -> Result<IpNet, String> {
    address::parse(word).map_err(|error| match word {
        _ if word.contains('#') => format!("`{word}`: write a blank before the #"),
        _ if word.contains([',', ';', '|', '"', '\'', '=']) => {
            format!(
                "`{word}`: write one address or CIDR a line, with a blank behind it; no commas, semicolons or quotes"
            )
        }
        _ if word.contains('-') && word.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("`{word}` is a range: write it as CIDRs, such as 203.0.113.0/24")
        }
        _ => error.to_string(),
    })
}

fn ttl(text: &str) -> Result<End, String> {
    if text == "forever" {
        return Ok(End::Never);
    }
    let wrong = || format!("ttl=`{text}`: write 90s, 15m, 2h, 7d or forever, 1 s to 100 years, without a blank in it");
    let ttl = humantime::parse_duration(text).map_err(|_| wrong())?;
    let whole = ttl.subsec_nanos() == 0 && (1..=MAX_TTL).contains(&ttl.as_secs());
    if whole { Ok(End::After(ttl.as_secs())) } else { Err(wrong()) }
}

fn until(text: &str) -> Result<End, String> {
    let wrong = || format!("until=`{text}`: write UTC as in RFC 3339, such as 2027-01-01T00:00:00Z");
    let time = humantime::parse_rfc3339(text).map_err(|_| wrong())?;
    time.duration_since(UNIX_EPOCH).map(|since| End::At(since.as_secs())).map_err(|_| wrong())
}

/// What is behind `reason=`: in quotes as JSON has them, or to the comment or the end of the line.
fn reason_of(text: &str) -> Result<(String, &str), String> {
    let (reason, behind) = if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        let Some(Ok(reason)) = values.next() else {
            return Err("reason=\"...: the quoted text has no end, or a \\ in it that JSON does not know".to_owned());
        };
        let behind = text.get(values.byte_offset()..).unwrap_or_default();
        if !behind.is_empty() && !behind.starts_with(BLANKS) {
            return Err("reason=\"...\": write a blank behind the closing quote".to_owned());
        }
        (reason, behind)
    } else {
        let comment = text.match_indices('#').find(|(at, _)| text[..*at].ends_with(BLANKS));
        let (reason, behind) = text.split_at(comment.map_or(text.len(), |(at, _)| at));
        (reason.trim_end_matches(BLANKS).to_owned(), behind)
    };
    if reason.len() > MAX_REASON {
        return Err(format!("the reason has {} bytes, at most {MAX_REASON} are kept: shorten it", reason.len()));
    }
    Ok((reason, behind.trim_start_matches(BLANKS)))
}

fn unknown(field: &str) -> String {
    const FIELDS: [&str; 4] = ["ttl", "until", "kind", "reason"];
    let name = field.split_once(['=', ':']).map_or(field, |(name, _)| name).to_lowercase();
    // one letter in three may be wrong
    match FIELDS.into_iter().find(|known| strsim::osa_distance(known, &name) * 3 <= known.len()) {
        Some(known) => format!("`{field}`: did you mean {known}=...?"),
        None => format!("`{field}`: behind the address go ttl=, until=, kind= and reason=, and a comment behind #"),
    }
}

/// As it is written; what is written so is read as the same.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(self.net))?;
        if self.kind != Kind::Block {
            write!(f, " kind={}", self.kind)?;
        }
        match self.end {
            None => {}
            Some(End::Never) => f.write_str(" ttl=forever")?,
            Some(End::After(seconds)) => write!(f, " ttl={seconds}s")?,
            Some(End::At(second)) => write!(f, " until={}", humantime::format_rfc3339_seconds(time(second)))?,
        }
        match &self.reason {
            None => Ok(()),
            Some(reason) => write!(f, " reason={}", serde_json::to_string(reason).map_err(|_| fmt::Error)?),
        }
    }
}

fn time(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second.min(LAST_SECOND))
}

#[cfg(test)]
mod tests;
