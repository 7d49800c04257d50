//! Figures for people: numbers in groups, tables of times.

use std::fmt::Write;

use vos_bench::latency::Quantiles;
use vos_bench::{CallReport, JunkReport, LoadReport};

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a load run has to say.
pub(crate) fn load(report: &LoadReport) -> String {
    let mut text = format!(
        "sent {} at {}/s, answered {}, lost {}\n",
        grouped(report.sent),
        grouped(report.achieved_rate as u64),
        grouped(report.answered),
        grouped(report.lost)
    );
    for (status, count) in &report.statuses {
        let _ = writeln!(text, "  {status}: {}", grouped(*count));
    }
    text += &others(&[
        ("sent again", report.retransmissions),
        ("provisional", report.provisional),
        ("duplicates", report.duplicates),
        ("stray", report.stray),
        ("refused by the network", report.refused),
        ("not sent", report.send_errors),
    ]);
    text += "µs                      p50       p90       p99     p99.9       max\n";
    text += &times("round trip", &report.rtt);
    text += &times("from when due", &report.latency);
    text += &times("sent late by", &report.behind);
    text.trim_end().to_owned()
}

/// What a call run has to say.
pub(crate) fn call(report: &CallReport) -> String {
    let mut text = format!(
        "{} calls: {} succeeded, {} failed, {} retransmissions\n",
        grouped(report.calls),
        grouped(report.succeeded),
        grouped(report.failed),
        grouped(report.retransmissions)
    );
    for (why, count) in &report.failures {
        let _ = writeln!(text, "  {why}: {}", grouped(*count));
    }
    text += &others(&[
        ("stray", report.stray),
        ("refused by the network", report.refused),
        ("not sent", report.send_errors),
    ]);
    text += "µs                      p50       p90       p99     p99.9       max\n";
    text += &times("INVITE to 200", &report.setup);
    text.trim_end().to_owned()
}

/// What a junk run has to say.
pub(crate) fn junk(report: &JunkReport) -> String {
    let mut text = format!("sent {} at {}/s\n", grouped(report.sent), grouped(report.achieved_rate as u64));
    text += &others(&[("not sent", report.send_errors)]);
    text.trim_end().to_owned()
}

/// One line of a table of times, µs.
pub(crate) fn times(name: &str, times: &Quantiles) -> String {
    let Quantiles { p50, p90, p99, p999, max, .. } = times;
    format!("  {name:<16} {p50:>9.1} {p90:>9.1} {p99:>9.1} {p999:>9.1} {max:>9.1}\n")
}

/// Those that are not zero.
fn others(counts: &[(&str, u64)]) -> String {
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| format!("  {name}: {}\n", grouped(*count))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_groups_of_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
