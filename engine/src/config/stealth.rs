//! `xdp.stealth`: which requests of unknown sources get no answer.

use std::fmt;

use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vos_common::sip::Class;

/// Which requests of sources that are neither trusted, allowed nor verified are dropped without an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stealth {
    /// None.
    Off,
    /// OPTIONS.
    #[default]
    Options,
    /// OPTIONS, INVITE, SUBSCRIBE, MESSAGE and all others that begin something, methods that nobody knows included.
    /// Not REGISTER, with which a phone makes itself known, and not what belongs to a call that is there.
    Requests,
}

impl Stealth {
    const ALL: [Self; 3] = [Self::Off, Self::Options, Self::Requests];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Options => "options",
            Self::Requests => "requests",
        }
    }

    /// The classes of requests that it silences: [`Class::bit`]s.
    pub const fn silent(self) -> u64 {
        match self {
            Self::Off => 0,
            Self::Options => Class::Options.bit(),
            Self::Requests => Class::Options.bit() | Class::Invite.bit() | Class::Other.bit() | Class::Unknown.bit(),
        }
    }
}

impl Serialize for Stealth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Stealth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Word)
    }
}

struct Word;

impl Visitor<'_> for Word {
    type Value = Stealth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"off\", \"options\" or \"requests\"")
    }

    /// As it was written when there was nothing but OPTIONS to be silent about.
    fn visit_bool<E: serde::de::Error>(self, silent: bool) -> Result<Stealth, E> {
        Ok(if silent { Stealth::Options } else { Stealth::Off })
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Stealth, E> {
        let known = Stealth::ALL.into_iter().find(|stealth| stealth.word() == word);
        known.ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_call_and_what_makes_a_phone_known_is_never_silenced() {
        for stealth in Stealth::ALL {
            for class in [Class::Register, Class::Ack, Class::InCall] {
                assert_eq!(stealth.silent() & class.bit(), 0, "{stealth:?} {class:?}");
            }
        }
        let silenced = |stealth: Stealth| Class::ALL.iter().filter(|class| stealth.silent() & class.bit() != 0).count();
        assert_eq!(Stealth::ALL.map(silenced), [0, 1, 4]);
    }
}
