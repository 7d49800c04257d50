//! One file of several that lie over each other: the default profile, the chosen one, `vos.toml`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{is_table, nearest, takes};
use super::{Config, ConfigError, profile};

/// A file, read as far as it can be read without its neighbours.
#[derive(Debug)]
pub(super) struct Layer<'a> {
    text: &'a str,
    path: PathBuf,
    table: DeTable<'a>,
    /// Every key with its table, and the place of its value.
    values: Vec<(String, Range<usize>)>,
}

impl<'a> Layer<'a> {
    /// Reads TOML in which every key is known.
    pub(super) fn read(text: &'a str, path: &Path) -> Result<Self, ConfigError> {
        Self::read_without(text, path, &[])
    }

    /// The same without these keys and tables, as if the file did not hold them.
    pub(super) fn read_without(text: &'a str, path: &Path, without: &[String]) -> Result<Self, ConfigError> {
        let mut layer = Self { text, path: path.into(), table: DeTable::new(), values: Vec::new() };
        layer.table = DeTable::parse(text).map_err(|error| layer.syntax(&error))?.into_inner();
        without.iter().for_each(|name| remove(&mut layer.table, name));
        collect(&layer.table, "", &mut layer.values);
        let unknown = layer.values.iter().find(|(key, _)| !is_table(key) && takes(key).is_none());
        match unknown {
            None => Ok(layer),
            Some((key, span)) => Err(ConfigError::UnknownKey {
                path: path.into(),
                line: layer.line_of(span.start),
                key: key.clone(),
                hint: nearest(key),
            }),
        }
    }

    /// Holds it only what a profile may hold?
    pub(super) fn check_profile(&self) -> Result<(), ConfigError> {
        match self.values.iter().find(|(key, _)| !profile::may_hold(key)) {
            None => Ok(()),
            Some((key, span)) => Err(ConfigError::NotForProfiles {
                path: self.path.clone(),
                line: self.line_of(span.start),
                key: key.clone(),
            }),
        }
    }

    /// What this file says over what those below say, which are sound: an error is one of this file.
    pub(super) fn over(&self, base: &DeTable<'a>) -> Result<Config, ConfigError> {
        let mut whole = base.clone();
        self.lie_over(&mut whole);
        let whole = toml::de::Deserializer::from(Spanned::new(0..self.text.len(), whole));
        Config::deserialize(whole).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let hit = self.values.iter().filter(|(_, span)| span.contains(&at));
            match hit.filter_map(|(key, _)| Some((key, takes(key)?))).next() {
                Some((key, takes)) => ConfigError::Value {
                    path: self.path.clone(),
                    line: self.line_of(at),
                    key: key.clone(),
                    takes,
                    what: error.message().to_owned(),
                },
                None => self.syntax(&error),
            }
        })
    }

    /// Puts this file's values over those of `base`.
    pub(super) fn lie_over(&self, base: &mut DeTable<'a>) {
        lay_over(base, &self.table);
    }

    /// Where this file writes a key: file and line.
    pub(super) fn place(&self, key: &str) -> Option<(PathBuf, usize)> {
        let (_, span) = self.values.iter().find(|(known, _)| known == key)?;
        Some((self.path.clone(), self.line_of(span.start)))
    }

    fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let line = self.line_of(error.span().map_or(0, |span| span.start));
        ConfigError::Syntax { path: self.path.clone(), line, what: error.message().to_owned() }
    }

    fn line_of(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
}

fn lay_over<'a>(base: &mut DeTable<'a>, over: &DeTable<'a>) {
    for (key, value) in over {
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(below) = base.get_mut(key)
            && let DeValue::Table(below) = below.get_mut()
        {
            lay_over(below, inner);
        } else {
            base.insert(key.clone(), value.clone());
        }
    }
}

fn remove(table: &mut DeTable<'_>, name: &str) {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    match rest {
        None => drop(table.remove(first)),
        Some(rest) => {
            if let Some(DeValue::Table(inner)) = table.get_mut(first).map(Spanned::get_mut) {
                remove(inner, rest);
            }
        }
    }
}

/// Every key with its table, and the place of its value (of an unknown one: of the key).
fn collect(table: &DeTable<'_>, prefix: &str, found: &mut Vec<(String, Range<usize>)>) {
    for (key, value) in table {
        let name = format!("{prefix}{}", key.get_ref());
        let place = if takes(&name).is_some() { value.span() } else { key.span() };
        found.push((name.clone(), place));
        if let Some(inner) = value.get_ref().as_table() {
            collect(inner, &format!("{name}."), found);
        }
    }
}
