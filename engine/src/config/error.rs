//! Why a configuration is not taken.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Config;
use super::layer::Layer;

/// Why a configuration is not taken. Every message names the key and what it takes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}; write one (configs/vos.toml is a start) or leave out --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML.
    #[error("{path}:{line}: {what}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        what: String,
    },
    /// No such key.
    #[error("{path}:{line}: there is no key `{key}`{hint}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key with its table.
        key: String,
        /// The nearest key that there is.
        hint: String,
    },
    /// A key that a profile may not hold.
    #[error(
        "{path}:{line}: a profile holds xdp.stealth, [rules], [scanners] and [rates]; `{key}` belongs into vos.toml"
    )]
    NotForProfiles {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key with its table.
        key: String,
    },
    /// The profile cannot be read.
    #[error("the profile {path}: {source}; take \"default\", \"internet-edge\", \"vos3000\" or the path of a file")]
    UnreadableProfile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value of the wrong type, or a word that is none of the allowed.
    #[error("{path}:{line}: `{key}` takes {takes}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key with its table.
        key: String,
        /// What it takes.
        takes: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A value out of range, or two that do not fit each other.
    #[error("{place}`{key}` takes {takes}: {what}", place = At(place))]
    Range {
        /// Where it is written, if it is: file and line.
        place: Option<(PathBuf, usize)>,
        /// The key with its table.
        key: &'static str,
        /// What it takes.
        takes: &'static str,
        /// What is wrong.
        what: String,
    },
}

impl ConfigError {
    /// A range error with the place where its value is written.
    pub(super) fn placed_in(mut self, layer: &Layer<'_>) -> Self {
        if let Self::Range { place, key, .. } = &mut self {
            *place = layer.place(key);
        }
        self
    }

    /// A range error with its line in the file, unless a flag has changed the value since.
    pub(super) fn at_its_line(self, text: &str, path: &Path, written: &Config, flagged: &Config) -> Self {
        let Self::Range { key, .. } = &self else { return self };
        if written.difference(flagged).iter().any(|flag| flag == key) {
            return self;
        }
        match Layer::read(text, path) {
            Ok(layer) => self.placed_in(&layer),
            Err(_) => self,
        }
    }
}

/// `FILE:LINE: `, or nothing.
struct At<'a>(&'a Option<(PathBuf, usize)>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |(path, line)| write!(f, "{}:{line}: ", path.display()))
    }
}
