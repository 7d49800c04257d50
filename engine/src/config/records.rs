//! `[records]`: what is written down, where, and how much of it is kept.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::feeds::is_name;
use super::validate::{check, within};
use super::{Config, ConfigError};

/// The longest that the file may grow, MiB: 100 GiB.
pub const MAX_MIB: u32 = 102_400;
/// Most files that are kept beside it.
pub const KEEP_MAX: u32 = 100;
/// Most statuses in `records.illegal_calls`.
pub const MAX_ILLEGAL: usize = 16;

/// `[records]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Records {
    /// The file, an absolute path; empty: nothing is written down.
    pub file: PathBuf,
    /// How long it may grow, MiB, 1 to [`MAX_MIB`].
    pub max_mib: u32,
    /// How many files that were put aside are kept, up to [`KEEP_MAX`].
    pub keep: u32,
    /// Whether attempts of zero duration are written down.
    pub zero_duration: ZeroDuration,
    /// By which statuses a stranger's call is illegal, 300 to 699, up to [`MAX_ILLEGAL`] of them.
    pub illegal_calls: Vec<u16>,
    /// The exchange at the broker; empty: none.
    pub exchange: String,
}

/// Whether attempts of zero duration are written down one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ZeroDuration {
    /// Yes; in attack mode a summary for each source takes their place.
    #[default]
    Auto,
    /// Yes, in attack mode as well.
    On,
    /// No.
    Off,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            max_mib: 64,
            keep: 8,
            zero_duration: ZeroDuration::Auto,
            illegal_calls: vec![401, 403, 407],
            exchange: String::new(),
        }
    }
}

impl Records {
    /// Is anything written down?
    pub fn is_on(&self) -> bool {
        !self.file.as_os_str().is_empty()
    }

    /// How long the file may grow, bytes.
    pub const fn max(&self) -> u64 {
        (self.max_mib as u64) << 20
    }
}

impl Config {
    /// The keys of `[records]`.
    pub(super) fn validate_records(&self) -> Result<(), ConfigError> {
        let Records { file, max_mib, keep, illegal_calls, exchange, .. } = &self.records;
        let names_a_file = file.is_absolute() && !file.as_os_str().as_bytes().ends_with(b"/");
        check("records.file", !self.records.is_on() || names_a_file, || {
            format!("{file:?} is relative to wherever the engine is started, or names a folder")
        })?;
        within("records.max_mib", *max_mib, 1, MAX_MIB)?;
        within("records.keep", *keep, 0, KEEP_MAX)?;
        check("records.illegal_calls", illegal_calls.len() <= MAX_ILLEGAL, || {
            format!("there are {}", illegal_calls.len())
        })?;
        for (at, status) in illegal_calls.iter().enumerate() {
            let refuses = (300..=699).contains(status);
            check("records.illegal_calls", refuses, || format!("{status} refuses nothing"))?;
            let twice = illegal_calls[..at].contains(status);
            check("records.illegal_calls", !twice, || format!("{status} is there twice"))?;
        }
        check("records.exchange", exchange.is_empty() || is_name(exchange), || format!("{exchange:?} is no name"))?;
        check("records.exchange", exchange.is_empty() || self.records.is_on(), || {
            "the file is the truth, and there is none: write records.file".to_owned()
        })?;
        check("records.exchange", exchange.is_empty() || !self.amqp.url.is_empty(), || {
            "an exchange needs a broker: write amqp.url".to_owned()
        })
    }
}
