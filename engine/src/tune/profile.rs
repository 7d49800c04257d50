//! A profile: what a kind of machine is set to. Text in, settings out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Kind};
use crate::config::CoreList;

/// A number that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// This one.
    Exactly(u64),
    /// This one, or what is there if that is more.
    AtLeast(u64),
    /// This one, or what is there if that is less.
    AtMost(u64),
}

impl Goal {
    /// What becomes of a value.
    pub fn of(self, now: u64) -> u64 {
        match self {
            Self::Exactly(number) => number,
            Self::AtLeast(number) => now.max(number),
            Self::AtMost(number) => now.min(number),
        }
    }
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Word(String),
    Cores(CoreList),
    Switch(bool),
    Number(Goal),
}

/// A profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// A built-in one's name, or a path.
    pub name: String,
    said: BTreeMap<&'static str, Said>,
}

/// Why a profile is not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// There is none of this name.
    #[error(
        "there is no profile `{name}`: there are {known}; a file of your own is named by its path, such as ./site.toml"
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of it is wrong.
    #[error("{name}:{line}: {what}")]
    Line {
        /// The profile.
        name: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
}

/// Those that are compiled in: name and text.
const BUILT_IN: [(&str, &str); 5] = [
    ("ryzen-4-7", include_str!("../../../configs/profiles/tuning/ryzen-4-7.toml")),
    ("low-latency", include_str!("../../../configs/profiles/tuning/low-latency.toml")),
    ("throughput", include_str!("../../../configs/profiles/tuning/throughput.toml")),
    ("vm", include_str!("../../../configs/profiles/tuning/vm.toml")),
    ("laptop", include_str!("../../../configs/profiles/tuning/laptop.toml")),
];

impl Profile {
    /// Those that are compiled in, each with its text, which explains every value.
    pub fn built_in() -> impl Iterator<Item = (&'static str, &'static str)> {
        BUILT_IN.into_iter()
    }

    /// The built-in one of this name, or what the file of this path holds (a path has a `/` or ends in `.toml`).
    pub fn find(name: &str) -> Result<Self, ProfileError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        if !name.contains('/') && !name.ends_with(".toml") {
            let known = BUILT_IN.map(|(name, _)| name).join(", ");
            return Err(ProfileError::Unknown { name: name.to_owned(), known });
        }
        let path = Path::new(name);
        let text =
            std::fs::read_to_string(path).map_err(|source| ProfileError::Unreadable { path: path.into(), source })?;
        Self::parse(name, &text)
    }

    /// Reads a profile's text; `name` is for the messages.
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let line = |at: usize, what: String| {
            let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
            ProfileError::Line { name: name.to_owned(), line, what }
        };
        let syntax =
            |error: toml::de::Error| line(error.span().map_or(0, |span| span.start), error.message().to_owned());
        let table = DeTable::parse(text).map_err(syntax)?;
        let mut said = BTreeMap::new();
        collect(table.get_ref(), "", &mut said).map_err(|(at, what)| line(at, what))?;
        let profile = Self { name: name.to_owned(), said };
        profile.check().map_err(|what| line(text.len().saturating_sub(1), what))?;
        Ok(profile)
    }

    /// What does not fit together.
    fn check(&self) -> Result<(), String> {
        if self.said.keys().all(|key| *key == "summary") {
            return Err("it sets nothing; `vosctl tune --help` lists the keys".into());
        }
        if self.word("interface.channels") == Some("engine") && self.engine_cores().is_empty() {
            return Err("interface.channels = \"engine\" needs cores.engine".into());
        }
        let defers =
            matches!(self.number("interface.napi_defer_hard_irqs"), Some(Goal::Exactly(1..) | Goal::AtLeast(1..)));
        if defers && self.number("interface.gro_flush_timeout").is_none_or(|goal| goal.of(0) == 0) {
            return Err(
                "interface.napi_defer_hard_irqs needs interface.gro_flush_timeout: without, interrupts stay off until \
                 somebody polls"
                    .into(),
            );
        }
        Ok(())
    }

    /// One line about it.
    pub fn summary(&self) -> &str {
        self.word("summary").unwrap_or_default()
    }

    /// The engine's cores; empty: wherever they are.
    pub fn engine_cores(&self) -> &[usize] {
        match self.said.get("cores.engine") {
            Some(Said::Cores(cores)) => cores.cores(),
            _ => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Said> {
        self.said.get(key)
    }

    pub(super) fn word(&self, key: &str) -> Option<&str> {
        match self.said.get(key) {
            Some(Said::Word(word)) => Some(word),
            _ => None,
        }
    }

    pub(super) fn switch(&self, key: &str) -> Option<bool> {
        match self.said.get(key) {
            Some(Said::Switch(on)) => Some(*on),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: &str) -> Option<Goal> {
        match self.said.get(key) {
            Some(Said::Number(goal)) => Some(*goal),
            _ => None,
        }
    }

    /// The sysctls that it sets, without `sysctl.`
    pub(super) fn sysctls(&self) -> impl Iterator<Item = (&'static str, Goal)> {
        let sysctl = |(key, said): (&&'static str, &Said)| match said {
            Said::Number(goal) => Some((key.strip_prefix("sysctl.")?, *goal)),
            _ => None,
        };
        self.said.iter().filter_map(sysctl)
    }
}

/// Every key with its value; on error the place in the text, and what is wrong there.
fn collect(table: &DeTable<'_>, prefix: &str, said: &mut BTreeMap<&'static str, Said>) -> Result<(), (usize, String)> {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        match (keys::find(&name), value.get_ref()) {
            (Some(known), value_of) => {
                let read = read(known.kind, value_of);
                let wrong = |what| (value.span().start, format!("`{name}` takes {}: {what}", known.takes));
                said.insert(known.name, read.map_err(wrong)?);
            }
            (None, DeValue::Table(inner)) if keys::is_section(&name) => collect(inner, &format!("{name}."), said)?,
            (None, _) => {
                let what = format!("there is no key `{name}`{}", keys::nearest(&name));
                return Err((key.span().start, what));
            }
        }
    }
    Ok(())
}

/// A value; else what it is instead.
fn read(kind: Kind, value: &DeValue<'_>) -> Result<Said, String> {
    let text = value.as_str();
    match (kind, text) {
        (Kind::Text, Some(text)) if !text.trim().is_empty() && !text.contains(char::is_control) => {
            Ok(Said::Word(text.to_owned()))
        }
        (Kind::Word(words) | Kind::NumberOr(_, _, words) | Kind::CoresOr(words), Some(text))
            if words.contains(&text) =>
        {
            Ok(Said::Word(text.to_owned()))
        }
        (Kind::Cores | Kind::CoresOr(_), Some(text)) => match text.parse::<CoreList>() {
            Ok(cores) if !cores.is_empty() => Ok(Said::Cores(cores)),
            Ok(_) => Err("it names no core".into()),
            Err(error) => Err(error.to_string()),
        },
        (Kind::Number(low, high) | Kind::NumberOr(low, high, _), None) => goal(value, low..=high).map(Said::Number),
        (Kind::Switch, None) => value.as_bool().map(Said::Switch).ok_or_else(|| found(value)),
        _ => Err(found(value)),
    }
}

fn goal(value: &DeValue<'_>, range: std::ops::RangeInclusive<u64>) -> Result<Goal, String> {
    let number = |value: &DeValue<'_>| {
        let number = value.as_integer().ok_or_else(|| found(value))?;
        let number = u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| range.contains(number));
        number.ok_or_else(|| "it is out of range".to_owned())
    };
    let Some(table) = value.as_table() else {
        return number(value).map(Goal::Exactly);
    };
    let mut entries = table.iter();
    match (entries.next(), entries.next()) {
        (Some((word, inner)), None) if word.get_ref() == "at_least" => number(inner.get_ref()).map(Goal::AtLeast),
        (Some((word, inner)), None) if word.get_ref() == "at_most" => number(inner.get_ref()).map(Goal::AtMost),
        _ => Err("a table is { at_least = N } or { at_most = N }".into()),
    }
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("it is \"{text}\""),
        DeValue::Table(_) => "it is a table".into(),
        DeValue::Array(_) => "it is an array".into(),
        DeValue::Integer(number) => format!("it is {number}"),
        DeValue::Float(number) => format!("it is {number}"),
        DeValue::Boolean(on) => format!("it is {on}"),
        DeValue::Datetime(time) => format!("it is {time}"),
    }
}
