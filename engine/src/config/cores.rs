//! CPU cores as people write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// CPU cores as in `4-7,9`; empty: wherever the scheduler likes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreList(Vec<usize>);

/// The highest core number taken: the kernel's own limit on x86-64 (`CONFIG_NR_CPUS`) is 8,192.
const MAX_CORE: usize = 8_191;

impl CoreList {
    /// The cores in the order written, the first for queue 0.
    pub fn cores(&self) -> &[usize] {
        &self.0
    }

    /// Is no core named?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A text that is no list of cores.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` is not a list of cores ({what}): write cores and ranges such as 4-7 or 4,6, each once, 0 to {MAX_CORE}"
)]
pub struct CoreListError {
    text: String,
    what: String,
}

impl FromStr for CoreList {
    type Err = CoreListError;

    fn from_str(text: &str) -> Result<Self, CoreListError> {
        let error = |what: String| CoreListError { text: text.to_owned(), what };
        let number = |word: &str| {
            let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
            let core = word.parse::<usize>().ok().filter(|core| plain && *core <= MAX_CORE);
            core.ok_or_else(|| error(format!("`{word}` is no core")))
        };
        let mut cores = Vec::new();
        for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            if first > last {
                return Err(error(format!("`{part}` runs backwards")));
            }
            for core in first..=last {
                if cores.contains(&core) {
                    return Err(error(format!("core {core} is named twice")));
                }
                cores.push(core);
            }
        }
        Ok(Self(cores))
    }
}

impl fmt::Display for CoreList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut rest, mut separator) = (self.0.as_slice(), "");
        while let [first, ..] = rest {
            let run = rest.iter().zip(*first..).take_while(|(core, expected)| *core == expected).count();
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", first + run - 1)?,
            }
            (rest, separator) = (&rest[run..], ",");
        }
        Ok(())
    }
}

impl Serialize for CoreList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CoreList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
