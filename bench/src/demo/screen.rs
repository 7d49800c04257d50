//! What is seen while it runs, and at the end.

use std::time::Duration;

use super::counters::Counters;
use super::ledger::{Check, Entry, Ledger};
use super::traffic::{Answer, Fate, Outcome, Phase};
use crate::report::{grouped, times};
use crate::say;

/// The head of a part.
pub(crate) fn title(text: &str) {
    say(&format!("\n== {text}"));
}

/// A line under it.
pub(crate) fn line(text: &str) {
    say(&format!("   {text}"));
}

/// What is about to be sent.
pub(crate) fn phase(phase: &Phase) {
    say(&format!("\n-- {}", phase.title));
}

/// What has been added since the phase began: a line a second, so that a log of the run reads the same.
pub(crate) fn tick(elapsed: Duration, grown: Option<&Counters>, reached: u64) {
    let mut text = format!("{:>5.0} s", elapsed.as_secs_f64());
    if let Some(grown) = grown {
        text += &format!("  judged {}", grouped(grown.judged));
        for (reason, count) in grown.reasons.iter().filter(|(_, count)| **count > 0) {
            text += &format!("  {reason} {}", grouped(*count));
        }
    }
    line(&format!("{text}  | server {}", grouped(reached)));
}

/// What came of it.
pub(crate) fn result(outcomes: &[Outcome], checks: &[Check]) {
    for outcome in outcomes {
        line(&said(outcome));
    }
    let failed: Vec<_> = checks.iter().filter(|check| !check.holds()).collect();
    if failed.is_empty() {
        line(&format!("{} figures compared: all exact", checks.len()));
    }
    for check in failed {
        line(&failure(check));
    }
}

/// All phases, all times, and whether all figures were right.
pub(crate) fn summary(ledger: &Ledger) {
    title("Summary");
    table(ledger);
    round_trips(ledger);
    let failed: Vec<_> = ledger.checks.iter().filter(|(_, check)| !check.holds()).collect();
    say("");
    if failed.is_empty() {
        say(&format!("{} figures compared, every one exact.", ledger.checks.len()));
        return;
    }
    say(&format!("{} of {} figures are not what they must be:", failed.len(), ledger.checks.len()));
    for (phase, check) in failed {
        line(&format!("{phase}: {}", failure(check)));
    }
}

fn table(ledger: &Ledger) {
    say(&format!("   {:<50} {:>9} {:>9}  dropped", "phase", "sent", "reached"));
    for Entry { phase, outcomes, reached, grown } in &ledger.entries {
        let sent = outcomes.iter().map(|outcome| outcome.sent).sum();
        let dropped = grown.as_ref().map(drops).unwrap_or_default();
        say(&format!("   {:<50} {:>9} {:>9}  {dropped}", phase.title, grouped(sent), grouped(*reached)));
    }
}

/// The same load on both paths, one under the other.
fn round_trips(ledger: &Ledger) {
    let path = ledger.entries.iter().find_map(|entry| entry.grown.as_ref());
    let path = path.map_or(String::new(), |grown| format!(" ({}, {})", grown.mode, grown.attached));
    say(&format!("\n   round trip, µs{path}"));
    say("     path, OPTIONS/s        p50       p90       p99     p99.9       max");
    let mut rows: Vec<_> = ledger.entries.iter().filter_map(|entry| entry.phase.compared.zip(Some(entry))).collect();
    rows.sort_by_key(|((path, rate), _)| (*rate, *path != "kernel"));
    for ((path, rate), entry) in rows {
        for outcome in &entry.outcomes {
            if let Answer::Load(report) = &outcome.answer {
                say(&format!("   {}", times(&format!("{path:<7} {:>7}", grouped(rate)), &report.rtt).trim_end()));
            }
        }
    }
    for entry in &ledger.entries {
        for outcome in &entry.outcomes {
            if let Answer::Calls(report) = &outcome.answer {
                let setup = times("INVITE to 200", &report.setup);
                say(&format!("   {}  {}, {}", setup.trim_end(), outcome.run.who, entry.phase.title));
            }
        }
    }
}

/// The reasons for which packets were dropped, and how many.
fn drops(grown: &Counters) -> String {
    const PASSED: [&str; 6] = ["redirected", "kernel", "not_ours", "martian", "other_l4", "fragment"];
    let dropped = grown.reasons.iter().filter(|(reason, count)| **count > 0 && !PASSED.contains(&reason.as_str()));
    dropped.map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect::<Vec<_>>().join(", ")
}

fn said(outcome: &Outcome) -> String {
    let who = outcome.run.who;
    let sent = grouped(outcome.sent);
    match (&outcome.answer, outcome.run.fate) {
        (Answer::Calls(report), _) => format!(
            "{who}: {sent} sent, {} of {} calls succeeded, {} retransmissions, INVITE to 200 in {:.0} µs (p50)",
            grouped(report.succeeded),
            grouped(report.calls),
            report.retransmissions,
            report.setup.p50
        ),
        (Answer::Load(report), Fate::Served) => format!(
            "{who}: {sent} sent, {} answered, round trip {:.0} µs (p50), {:.0} µs (p99)",
            grouped(report.answered),
            report.rtt.p50,
            report.rtt.p99
        ),
        (Answer::Load(report), Fate::Dropped(_)) => {
            format!("{who}: {sent} sent, {} answered", grouped(report.answered))
        }
    }
}

fn failure(check: &Check) -> String {
    format!("NOT EXACT  {}: expected {}, seen {}", check.what, check.expected, check.seen)
}
