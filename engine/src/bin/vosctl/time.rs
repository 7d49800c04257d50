//! Times as an operator types them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vos_engine::control::ask::MAX_TTL;

/// How long a decision is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    /// For good.
    Forever,
    /// So many seconds, 1 to [`MAX_TTL`].
    Seconds(u64),
}

impl Ttl {
    /// As the API wants it; absent is for good.
    pub(crate) const fn seconds(self) -> Option<u64> {
        match self {
            Self::Forever => None,
            Self::Seconds(seconds) => Some(seconds),
        }
    }
}

/// `--ttl` of a decision.
pub(crate) fn ttl(text: &str) -> Result<Ttl, String> {
    if text == "forever" {
        return Ok(Ttl::Forever);
    }
    let form = "write 90s, 15m, 2h, 7d or forever";
    let seconds = whole_seconds(text, form)?;
    match seconds <= MAX_TTL {
        true => Ok(Ttl::Seconds(seconds)),
        false => Err("that is more than 100 years: write forever".to_owned()),
    }
}

/// A time that has an end: `--ttl` of attack mode, `--newer`, `--older`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    whole_seconds(text, "write 90s, 15m, 2h or 7d").map(Duration::from_secs)
}

/// `--until`: a unix second that is yet to come.
pub(crate) fn until(text: &str) -> Result<u64, String> {
    let form = "in UTC, such as 2027-01-01T00:00:00Z";
    let time = humantime::parse_rfc3339(text).map_err(|_| format!("it is no time: write it {form}"))?;
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    match (since.subsec_nanos(), time > SystemTime::now()) {
        (0, true) => Ok(since.as_secs()),
        (_, true) => Err(format!("write whole seconds {form}")),
        (_, false) => Err(format!("it has passed already: write a time to come {form}")),
    }
}

fn whole_seconds(text: &str, form: &str) -> Result<u64, String> {
    let span = humantime::parse_duration(text).map_err(|_| format!("it is no time: {form}"))?;
    match span.subsec_nanos() == 0 && !span.is_zero() {
        true => Ok(span.as_secs()),
        false => Err(format!("it is not one whole second or more: {form}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_what_the_manual_says() {
        for (text, seconds) in [
            ("90s", 90),
            ("15m", 900),
            ("2h", 7_200),
            ("7d", 604_800),
            ("1h 30m", 5_400),
            ("1.5h", 5_400),
            ("2days", 172_800),
        ] {
            assert_eq!(
                (ttl(text), span(text)),
                (Ok(Ttl::Seconds(seconds)), Ok(Duration::from_secs(seconds))),
                "{text}"
            );
        }
        assert_eq!(ttl("forever"), Ok(Ttl::Forever));
        for text in ["", "soon", "90", "-1h", "0s", "1500ms", "1.5s", "Forever", "18446744073709551615y"] {
            assert!(ttl(text).expect_err(text).contains("write 90s, 15m, 2h, 7d or forever"), "{text}");
            assert!(span(text).expect_err(text).contains("write 90s, 15m, 2h or 7d"), "{text}");
        }
        assert!(ttl("101years").expect_err("long").contains("write forever"));
        assert!(ttl("100years").is_ok());
    }

    #[test]
    fn an_end_is_a_time_to_come_in_utc() {
        assert_eq!(until("2127-01-01T00:00:00Z"), Ok(4_954_435_200));
        for (text, fix) in [
            ("tomorrow", "2027-01-01T00:00:00Z"),
            ("2127-01-01", "2027-01-01T00:00:00Z"),
            ("2127-01-01 00:00:00", "2027-01-01T00:00:00Z"),
            ("2127-01-01T00:00:00+02:00", "in UTC"),
            ("2127-02-30T00:00:00Z", "it is no time"),
            ("2127-01-01T00:00:00.5Z", "whole seconds"),
            ("2020-01-01T00:00:00Z", "a time to come"),
        ] {
            let error = until(text).expect_err(text);
            assert!(error.contains(fix), "{text}: {error}");
        }
    }
}
