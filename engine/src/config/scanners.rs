//! `[scanners]`: texts that scanning tools write into User-Agent, From, To and SDP's `s=`.

use serde::{Deserialize, Serialize};
use vos_common::signature::{PatternError, Signatures};

/// `[scanners]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanners {
    /// The texts, compared without case; up to 63 of 7 to 32 printable ASCII characters.
    pub patterns: Vec<String>,
}

impl Scanners {
    /// The patterns as the kernel looks for them.
    ///
    /// # Errors
    /// Names the pattern that cannot be taken, and what may be written instead.
    pub fn compile(&self) -> Result<Box<Signatures>, String> {
        let patterns: Vec<&str> = self.patterns.iter().map(String::as_str).collect();
        let mut table = Box::new(Signatures::EMPTY);
        table.compile(&patterns).map(|()| table).map_err(|error| match position(error) {
            Some(at) => format!("{:?}: {error}", patterns.get(at).copied().unwrap_or_default()),
            None => error.to_string(),
        })
    }
}

const fn position(error: PatternError) -> Option<usize> {
    match error {
        PatternError::Length(at) | PatternError::Text(at) | PatternError::Twice(at) | PatternError::Alike(at) => {
            Some(at)
        }
        PatternError::TooMany | PatternError::Crowded => None,
    }
}
