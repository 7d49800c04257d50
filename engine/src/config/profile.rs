//! Profiles: files of defaults for a kind of site. What `vos.toml` says itself wins over them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Rates, Rules, Scanners, Stealth};

/// A file of defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// `configs/profiles/default.toml`: hurts no ordinary site.
    #[default]
    Default,
    /// `configs/profiles/internet-edge.toml`: for servers that are scanned day and night.
    InternetEdge,
    /// `configs/profiles/vos3000.toml`: what the guides for VOS3000 do with iptables.
    Vos3000,
    /// One of the site's own, by its absolute path.
    File(PathBuf),
}

/// The keys that a profile may hold; the default one holds them all.
#[derive(Debug, Deserialize)]
pub(super) struct Defaults {
    pub(super) xdp: XdpDefaults,
    pub(super) rules: Rules,
    pub(super) scanners: Scanners,
    pub(super) rates: Rates,
}

#[derive(Debug, Deserialize)]
pub(super) struct XdpDefaults {
    pub(super) stealth: Stealth,
}

/// The tables and keys that a profile may hold.
pub(super) fn may_hold(key: &str) -> bool {
    let table = key.split_once('.').map_or(key, |(table, _)| table);
    matches!(table, "rules" | "scanners" | "rates") || key == "xdp" || key == "xdp.stealth"
}

/// The default profile's text: what all others lie over.
pub(super) const DEFAULT: &str = include_str!("../../../configs/profiles/default.toml");

/// The default profile, read.
///
/// # Panics
/// If the text compiled in is no profile, which a test would have shown.
pub(super) static DEFAULTS: LazyLock<Defaults> =
    LazyLock::new(|| toml::from_str(DEFAULT).expect("configs/profiles/default.toml is sound"));

impl Profile {
    /// Those that are compiled in.
    pub const BUILT_IN: [Self; 3] = [Self::Default, Self::InternetEdge, Self::Vos3000];

    fn word(&self) -> Option<&'static str> {
        match self {
            Self::Default => Some("default"),
            Self::InternetEdge => Some("internet-edge"),
            Self::Vos3000 => Some("vos3000"),
            Self::File(_) => None,
        }
    }

    /// Its text, and where it is from.
    pub(super) fn text(&self) -> Result<(String, PathBuf), (PathBuf, std::io::Error)> {
        let built_in = match self {
            Self::Default => DEFAULT,
            Self::InternetEdge => include_str!("../../../configs/profiles/internet-edge.toml"),
            Self::Vos3000 => include_str!("../../../configs/profiles/vos3000.toml"),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| (path.clone(), error))?;
                return Ok((text, path.clone()));
            }
        };
        Ok((built_in.to_owned(), Path::new("configs/profiles").join(format!("{self}.toml"))))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            built_in => f.write_str(built_in.word().unwrap_or_default()),
        }
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Self::BUILT_IN.into_iter().find(|profile| profile.word() == Some(&text));
        let path = Path::new(&text);
        known.or_else(|| path.is_absolute().then(|| Self::File(path.into()))).ok_or_else(|| {
            serde::de::Error::custom(format!("there is no profile `{text}`, and it is no absolute path"))
        })
    }
}
