use super::Severity::{Note, Warning};
use super::{Finding, Told};
use crate::config::Config;
use crate::sys::{self, TimeState};

/// A clock that may be off by more than this is not relied on in a cluster, µs. NTP over the Internet keeps it under
/// 0.1 s.
const OFF_MAX_US: i64 = 1_000_000;

/// What the kernel says of its clock.
pub(super) struct Facts {
    pub(super) state: Told<TimeState>,
}

pub(super) fn gather() -> Facts {
    Facts { state: sys::time_state().map_err(|error| error.to_string()) }
}

pub(super) fn judge(facts: &Facts, config: &Config) -> Vec<Finding> {
    const CHECK: &str = "time-sync";
    const FIX: &str = "apt install -y chrony && chronyc tracking";
    let cluster = !config.cluster.log.is_empty();
    let why = match cluster {
        true => "of two decisions of a cluster about one address the newer wins, and blocks end by the wall clock",
        false => "blocks end by the wall clock, and the times in records and events are its",
    };
    let finding = match &facts.state {
        Err(error) => Finding::unknown(CHECK, "the clock's state", error, &config.iface),
        Ok(TimeState { synchronised: false, .. }) => {
            Finding::new(CHECK, Warning, "nothing keeps this host's clock right", why, FIX)
        }
        Ok(TimeState { max_error_us, .. }) if *max_error_us > OFF_MAX_US => {
            let what = format!("the clock may be off by {:.1} s", *max_error_us as f64 / 1e6);
            Finding::new(CHECK, if cluster { Warning } else { Note }, what, why, FIX)
        }
        Ok(TimeState { max_error_us, .. }) => {
            Finding::ok(CHECK, format!("the clock is kept right, to {:.0} ms at worst", *max_error_us as f64 / 1e3))
        }
    };
    vec![finding]
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::tests::of;
    use super::*;

    fn severity(synchronised: bool, max_error_us: i64, cluster: bool) -> Severity {
        let mut config = Config::default();
        config.cluster.log = if cluster { "vos.decisions".to_owned() } else { String::new() };
        let facts = Facts { state: Ok(TimeState { synchronised, max_error_us }) };
        of(&judge(&facts, &config), "time-sync").severity
    }

    #[test]
    fn a_clock_that_nobody_keeps_is_a_warning() {
        assert_eq!(severity(true, 50_000, false), Severity::Ok);
        // the kernel's own figures where nothing has set the clock
        assert_eq!(severity(false, 16_000_000, false), Warning);
        assert_eq!(severity(true, 1_500_000, false), Note);
        assert_eq!(severity(true, 1_500_000, true), Warning);
    }

    #[test]
    fn the_kernel_answers() {
        let state = gather().state.expect("adjtimex needs no right to read");
        assert!(state.max_error_us >= 0, "{state:?}");
    }
}
