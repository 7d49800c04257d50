//! `[registration]`: what becomes of whoever guesses passwords, and what is watched of who registers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::validate::check;
use super::{Config, ConfigError, span, within};

/// Shortest `registration.suspend_time`: less would end before a phone has tried again.
const TIME_MIN: Duration = Duration::from_secs(1);
/// Longest `registration.suspend_time_max`.
const TIME_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Most statuses in `registration.refusals`.
const MAX_REFUSALS: usize = 16;

/// `[registration]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Registration {
    /// Is anybody suspended?
    pub suspend: bool,
    /// Refusals in a row after which an identity is suspended, 1 to 1,000.
    pub retry: u32,
    /// How long the first suspension lasts; each that follows within a day twice as long as the one before.
    #[serde(with = "span")]
    pub suspend_time: Duration,
    /// How long one lasts at most.
    #[serde(with = "span")]
    pub suspend_time_max: Duration,
    /// Who is suspended.
    pub identity: Identity,
    /// Statuses by which the softswitch refuses credentials, 400 to 699, up to 16.
    pub refusals: Vec<u16>,
    /// What the suspended hear.
    pub answer: SuspendedAnswer,
    /// Is it watched who is registered, and from where?
    pub watch: bool,
    /// Changes of address of one address-of-record within an hour from which on two are taken to contend for it, up to
    /// 1,000; 0: that is never said.
    pub moves_max: u32,
    /// `Contact` values of one REGISTER, 1 to 1,000.
    pub contacts_max: u32,
    /// Bytes of the `Contact` lines of one REGISTER, 200 to 65,535.
    pub contact_bytes_max: u32,
}

/// Who is counted, and suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Identity {
    /// A user at an address.
    #[default]
    #[serde(rename = "ip+user")]
    IpUser,
    /// An address, with all that it sends.
    #[serde(rename = "ip")]
    Ip,
    /// A user, wherever it registers from.
    #[serde(rename = "user")]
    User,
}

/// What the suspended hear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuspendedAnswer {
    /// Nothing.
    #[default]
    None,
    /// `403 Forbidden`.
    #[serde(rename = "403")]
    Forbidden,
}

impl Default for Registration {
    /// As VOS3000: six times, 180 seconds.
    fn default() -> Self {
        Self {
            suspend: true,
            retry: 6,
            suspend_time: Duration::from_secs(180),
            suspend_time_max: Duration::from_secs(3_600),
            identity: Identity::IpUser,
            refusals: vec![401, 403, 407],
            answer: SuspendedAnswer::None,
            watch: true,
            moves_max: 0,
            contacts_max: 16,
            contact_bytes_max: 2_048,
        }
    }
}

impl Config {
    /// The keys of `[registration]`.
    pub(super) fn validate_registration(&self) -> Result<(), ConfigError> {
        let Registration { retry, suspend_time, suspend_time_max, refusals, .. } = &self.registration;
        within("registration.retry", *retry, 1, 1_000)?;
        let told = |time: &Duration| format!("{} is out of range", humantime::format_duration(*time));
        let sound = |time: &Duration| time.subsec_nanos() == 0 && (TIME_MIN..=TIME_MAX).contains(time);
        check("registration.suspend_time", sound(suspend_time), || told(suspend_time))?;
        check("registration.suspend_time_max", sound(suspend_time_max), || told(suspend_time_max))?;
        check("registration.suspend_time_max", suspend_time_max >= suspend_time, || {
            format!("{} is less than registration.suspend_time", humantime::format_duration(*suspend_time_max))
        })?;
        let some = (1..=MAX_REFUSALS).contains(&refusals.len());
        check("registration.refusals", some, || format!("there are {}", refusals.len()))?;
        for (at, status) in refusals.iter().enumerate() {
            check("registration.refusals", (400..=699).contains(status), || format!("{status} refuses nothing"))?;
            check("registration.refusals", !refusals[..at].contains(status), || format!("{status} is there twice"))?;
        }
        let Registration { moves_max, contacts_max, contact_bytes_max, .. } = &self.registration;
        within("registration.moves_max", *moves_max, 0, 1_000)?;
        within("registration.contacts_max", *contacts_max, 1, 1_000)?;
        within("registration.contact_bytes_max", *contact_bytes_max, 200, 65_535)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Registration)) -> String {
        let mut config = Config { iface: "eth0".into(), ..Config::default() };
        config.validate().expect("the default is sound");
        change(&mut config.registration);
        config.validate().expect_err("refused").to_string()
    }

    #[test]
    fn each_key_has_its_range_and_the_error_names_it() {
        for (error, begin) in [
            (refused(|it| it.retry = 0), "`registration.retry` takes 1 to 1000"),
            (refused(|it| it.retry = 1_001), "`registration.retry` takes 1 to 1000"),
            (refused(|it| it.suspend_time = Duration::ZERO), "`registration.suspend_time` takes a time from 1s"),
            (refused(|it| it.suspend_time = Duration::from_millis(1_500)), "`registration.suspend_time` takes"),
            (refused(|it| it.suspend_time_max = Duration::from_secs(179)), "`registration.suspend_time_max` takes"),
            (refused(|it| it.suspend_time_max = TIME_MAX * 2), "`registration.suspend_time_max` takes"),
            (refused(|it| it.refusals = Vec::new()), "`registration.refusals` takes"),
            (refused(|it| it.refusals = vec![200]), "`registration.refusals` takes"),
            (refused(|it| it.refusals = vec![403, 403]), "`registration.refusals` takes"),
            (refused(|it| it.moves_max = 1_001), "`registration.moves_max` takes 0 (never) to 1000"),
            (refused(|it| it.contacts_max = 0), "`registration.contacts_max` takes 1 to 1000"),
            (refused(|it| it.contact_bytes_max = 199), "`registration.contact_bytes_max` takes 200 to 65535"),
        ] {
            assert!(error.starts_with(begin), "{error}");
        }
    }

    #[test]
    fn words_are_as_they_are_documented() {
        let text = "[registration]\nidentity = \"ip\"\nanswer = \"403\"\n";
        let config = Config::parse(text, std::path::Path::new("vos.toml")).expect("sound");
        let Registration { identity, answer, .. } = config.registration;
        assert_eq!((identity, answer), (Identity::Ip, SuspendedAnswer::Forbidden));
        let error = Config::parse("[registration]\nidentity = \"aor\"\n", std::path::Path::new("vos.toml"));
        assert!(error.expect_err("refused").to_string().contains("\"ip+user\", \"ip\" or \"user\""));
    }
}
