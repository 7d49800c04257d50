//! `[rules]`: what each rule of the verdict does. The keys are the labels of [`Reason`], so that none can be forgotten.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use vos_common::reason::Reason;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleMode {
    /// Drops.
    #[default]
    Enforce,
    /// Counts what it would drop, drops nothing.
    Monitor,
    /// Nothing.
    Off,
}

impl RuleMode {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for RuleMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The mode of every rule, as two sets of [`Reason::bit`]s; a rule in neither is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Rules that drop.
    pub enforce: u64,
    /// Rules that only count.
    pub monitor: u64,
}

impl Rules {
    /// Every rule, in the order of a packet's journey.
    pub fn all() -> impl Iterator<Item = Reason> {
        Reason::ALL.iter().copied().filter(|reason| reason.is_rule())
    }

    /// Every rule that has a key in `[rules]`: all but `closed`, which `xdp.mode` switches.
    pub fn keys() -> impl Iterator<Item = Reason> {
        Self::all().filter(|reason| *reason != Reason::Closed)
    }

    /// The rule with this label.
    pub fn named(label: &str) -> Option<Reason> {
        Reason::of_label(label).filter(|reason| reason.is_rule())
    }

    /// What this rule does.
    pub const fn mode(self, rule: Reason) -> RuleMode {
        if self.enforce & rule.bit() != 0 {
            RuleMode::Enforce
        } else if self.monitor & rule.bit() != 0 {
            RuleMode::Monitor
        } else {
            RuleMode::Off
        }
    }

    /// Has this rule do that.
    pub const fn set(&mut self, rule: Reason, mode: RuleMode) {
        self.enforce &= !rule.bit();
        self.monitor &= !rule.bit();
        match mode {
            RuleMode::Enforce => self.enforce |= rule.bit(),
            RuleMode::Monitor => self.monitor |= rule.bit(),
            RuleMode::Off => {}
        }
    }

    /// The same, dropping nothing: what would drop only counts.
    #[must_use]
    pub const fn only_watching(self) -> Self {
        Self { enforce: 0, monitor: self.enforce | self.monitor }
    }
}

impl Serialize for Rules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for rule in Self::keys() {
            map.serialize_entry(rule.label(), &self.mode(rule))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Rules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of rules")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rules, A::Error> {
        let (mut rules, mut seen) = (Rules::default(), 0);
        while let Some((label, mode)) = map.next_entry::<String, RuleMode>()? {
            let rule = Rules::keys().find(|rule| rule.label() == label);
            let rule = rule.ok_or_else(|| A::Error::custom(format!("there is no rule `{label}`")))?;
            rules.set(rule, mode);
            seen |= rule.bit();
        }
        // The default profile names them all, and whatever lies over it.
        match Rules::keys().find(|rule| seen & rule.bit() == 0) {
            Some(missing) => Err(A::Error::custom(format!("the rule `{}` is missing", missing.label()))),
            None => Ok(rules),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_one_mode_and_they_do_not_disturb_each_other() {
        let mut rules = Rules::default();
        for rule in Rules::all() {
            rules.set(rule, RuleMode::Enforce);
        }
        rules.set(Reason::Scanner, RuleMode::Monitor);
        rules.set(Reason::UnknownMethod, RuleMode::Off);
        for rule in Rules::all() {
            let expected = match rule {
                Reason::Scanner => RuleMode::Monitor,
                Reason::UnknownMethod => RuleMode::Off,
                _ => RuleMode::Enforce,
            };
            assert_eq!(rules.mode(rule), expected);
        }
        let watching = rules.only_watching();
        assert_eq!(
            (watching.mode(Reason::Blocked), watching.mode(Reason::Scanner)),
            (RuleMode::Monitor, RuleMode::Monitor)
        );
        assert_eq!((watching.enforce, watching.mode(Reason::UnknownMethod)), (0, RuleMode::Off));
        rules.set(Reason::Scanner, RuleMode::Enforce);
        assert_eq!(rules.monitor, 0);
    }

    #[test]
    fn only_rules_have_names() {
        assert_eq!(Rules::named("blocked"), Some(Reason::Blocked));
        assert_eq!(Rules::named("closed"), Some(Reason::Closed));
        assert_eq!(Rules::named("foreign_domain"), Some(Reason::ForeignDomain));
        assert_eq!((Rules::named("kernel"), Rules::named("Blocked"), Rules::named("")), (None, None, None));
    }
}
