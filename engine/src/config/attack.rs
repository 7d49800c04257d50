//! `[attack]`: from when on it is an attack, what is stricter then, and who is told.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::validate::check;
use super::{Config, ConfigError, Profile, Rates, Rules, Scanners, Stealth, span, within};

/// Largest floor of a signal, a second.
const RATE_MAX: u32 = 100_000_000;
/// Longest `attack.trip`: later is no defence.
const TRIP_MAX: Duration = Duration::from_secs(60);
/// Shortest and longest of the other times.
const TIME: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(86_400)];
/// Longest `attack.hook_timeout`: a hook that hangs longer tells nobody anything.
const HOOK_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Most words of `attack.hook`.
const HOOK_WORDS: usize = 16;

/// `[attack]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attack {
    /// Is looked for attacks?
    pub detect: bool,
    /// How many times the usual is an attack, 2 to 100.
    pub factor: u32,
    /// Requests a second below which there is none, whatever is usual; 0: they are not looked at.
    pub requests: u32,
    /// The same of packets that rules drop.
    pub drops: u32,
    /// The same of sources that nothing was known of.
    pub new_sources: u32,
    /// The same of REGISTERs that the softswitch answered.
    pub registrations: u32,
    /// The same of its answers that refuse something, percent.
    pub failures: u32,
    /// How long something must be beyond its limit, whole seconds.
    #[serde(with = "span")]
    pub trip: Duration,
    /// How long all must be below half of it.
    #[serde(with = "span")]
    pub calm: Duration,
    /// How long what is stricter stays so afterwards.
    #[serde(with = "span")]
    pub recover: Duration,
    /// `registration.retry` meanwhile, if that is more.
    pub retry: u32,
    /// `registration.suspend_time` meanwhile, if that is less.
    #[serde(with = "span")]
    pub suspend_time: Duration,
    /// What lies over everything else meanwhile.
    #[serde(with = "none_is_empty")]
    pub profile: Option<Profile>,
    /// The command that is told; none: no words.
    pub hook: Vec<String>,
    /// How long it may take.
    #[serde(with = "span")]
    pub hook_timeout: Duration,
    /// How long it is left alone after it was told something.
    #[serde(with = "span")]
    pub hook_every: Duration,
    /// What [`Self::profile`] makes of the file, once that was read.
    #[serde(skip)]
    pub(crate) stricter: Option<Box<Stricter>>,
}

/// What a profile may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stricter {
    pub(super) stealth: Stealth,
    pub(super) rules: Rules,
    pub(super) scanners: Scanners,
    pub(super) rates: Rates,
}

impl Default for Attack {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            detect: true,
            factor: 4,
            requests: 3_000,
            drops: 500,
            new_sources: 300,
            registrations: 200,
            failures: 80,
            trip: seconds(3),
            calm: seconds(60),
            recover: seconds(600),
            retry: 3,
            suspend_time: seconds(600),
            profile: None,
            hook: Vec::new(),
            hook_timeout: seconds(10),
            hook_every: seconds(60),
            stricter: None,
        }
    }
}

/// A profile, or `""`.
mod none_is_empty {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Profile;

    pub(super) fn serialize<S: Serializer>(profile: &Option<Profile>, serializer: S) -> Result<S::Ok, S::Error> {
        match profile {
            Some(profile) => serializer.collect_str(profile),
            None => serializer.serialize_str(""),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Profile>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = |text: String| Profile::deserialize(serde::de::value::StringDeserializer::new(text));
        (!text.is_empty()).then(|| read(text)).transpose()
    }
}

impl Config {
    /// The keys of `[attack]`.
    pub(super) fn validate_attack(&self) -> Result<(), ConfigError> {
        let attack = &self.attack;
        within("attack.factor", attack.factor, 2, 100)?;
        within("attack.requests", attack.requests, 0, RATE_MAX)?;
        within("attack.drops", attack.drops, 0, RATE_MAX)?;
        within("attack.new_sources", attack.new_sources, 0, RATE_MAX)?;
        within("attack.registrations", attack.registrations, 0, RATE_MAX)?;
        within("attack.failures", attack.failures, 0, 100)?;
        within("attack.retry", attack.retry, 1, 1_000)?;
        let [shortest, longest] = TIME;
        for (key, time, longest) in [
            ("attack.trip", attack.trip, TRIP_MAX),
            ("attack.calm", attack.calm, longest),
            ("attack.recover", attack.recover, longest),
            ("attack.suspend_time", attack.suspend_time, longest),
            ("attack.hook_timeout", attack.hook_timeout, HOOK_TIMEOUT_MAX),
            ("attack.hook_every", attack.hook_every, longest),
        ] {
            let sound = time.subsec_nanos() == 0 && (shortest..=longest).contains(&time);
            check(key, sound, || format!("{} is out of range", humantime::format_duration(time)))?;
        }
        check("attack.hook", attack.hook.len() <= HOOK_WORDS, || format!("there are {} words", attack.hook.len()))?;
        for word in &attack.hook {
            check("attack.hook", !word.contains('\0'), || "a word has a NUL in it".to_owned())?;
        }
        let program = attack.hook.first();
        check("attack.hook", program.is_none_or(|program| Path::new(program).is_absolute()), || {
            format!("{:?} is relative to wherever the engine is started", program.map_or("", String::as_str))
        })
    }

    /// As it is while there is an attack: what `[attack]` says is stricter, all else as it is.
    #[must_use]
    pub fn hardened(&self) -> Self {
        let mut config = self.clone();
        if let Some(Stricter { stealth, rules, scanners, rates }) = self.attack.stricter.as_deref().cloned() {
            config.xdp.stealth = stealth;
            (config.rules, config.scanners, config.rates) = (rules, scanners, rates);
        }
        let registration = &mut config.registration;
        registration.retry = registration.retry.min(self.attack.retry);
        registration.suspend_time = registration.suspend_time.max(self.attack.suspend_time);
        registration.suspend_time_max = registration.suspend_time_max.max(registration.suspend_time);
        config
    }
}

#[cfg(test)]
mod tests {
    use vos_common::reason::Reason;

    use super::*;
    use crate::config::RuleMode;

    fn refused(change: impl FnOnce(&mut Attack)) -> String {
        let mut config = Config { iface: "eth0".into(), ..Config::default() };
        config.validate().expect("the default is sound");
        change(&mut config.attack);
        config.validate().expect_err("refused").to_string()
    }

    #[test]
    fn each_key_has_its_range_and_the_error_names_it() {
        for (error, key) in [
            (refused(|it| it.factor = 1), "attack.factor"),
            (refused(|it| it.failures = 101), "attack.failures"),
            (refused(|it| it.requests = RATE_MAX + 1), "attack.requests"),
            (refused(|it| it.retry = 0), "attack.retry"),
            (refused(|it| it.trip = Duration::ZERO), "attack.trip"),
            (refused(|it| it.trip = Duration::from_secs(61)), "attack.trip"),
            (refused(|it| it.calm = Duration::from_millis(1_500)), "attack.calm"),
            (refused(|it| it.hook_timeout = Duration::from_secs(301)), "attack.hook_timeout"),
            (refused(|it| it.hook = vec!["hook.sh".into()]), "attack.hook"),
            (refused(|it| it.hook = vec!["/bin/true\0".into()]), "attack.hook"),
            (refused(|it| it.hook = vec!["/bin/true".into(); HOOK_WORDS + 1]), "attack.hook"),
        ] {
            assert!(error.starts_with(&format!("`{key}` takes")), "{error}");
        }
    }

    #[test]
    fn in_an_attack_only_what_is_stricter_changes() {
        let directory = tempfile::tempdir().expect("a directory");
        let profile = directory.path().join("attack.toml");
        std::fs::write(&profile, "[xdp]\nstealth = \"requests\"\n[rules]\nunknown_method = \"enforce\"\n")
            .expect("written");
        let text = format!(
            "[attack]\nprofile = \"{}\"\n[rules]\nscanner = \"monitor\"\n[registration]\nretry = 2\n",
            profile.display()
        );
        let config = Config::parse(&text, Path::new("vos.toml")).expect("sound");
        let hard = config.hardened();
        let changed = config.difference(&hard);
        assert_eq!(changed, ["registration.suspend_time", "rules.unknown_method", "xdp.stealth"]);
        assert_eq!((hard.registration.retry, hard.registration.suspend_time), (2, Duration::from_secs(600)));
        assert_eq!(hard.rules.mode(Reason::Scanner), RuleMode::Monitor);
        assert_eq!(hard.xdp.stealth, Stealth::Requests);
        let plain = Config::default();
        assert_eq!(plain.difference(&plain.hardened()), ["registration.retry", "registration.suspend_time"]);
    }

    #[test]
    fn a_profile_that_is_no_good_is_an_error_at_once() {
        let refused = |profile: &str| {
            let text = format!("[attack]\nprofile = \"{profile}\"\n");
            Config::parse(&text, Path::new("vos.toml")).expect_err("refused").to_string()
        };
        assert!(refused("sterner").contains("vos.toml:2: `attack.profile` takes"));
        assert!(refused("/nonexistent.toml").contains("/nonexistent.toml"));
        let directory = tempfile::tempdir().expect("a directory");
        let profile = directory.path().join("attack.toml");
        std::fs::write(&profile, "[registration]\nretry = 1\n").expect("written");
        assert!(refused(&profile.display().to_string()).contains("attack.toml:1"));
    }
}
