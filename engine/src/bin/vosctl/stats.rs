//! `vosctl stats`: what happened to packets, by reason.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde_json::{Map, Value};
use vos_engine::control::client::Client;
use vos_engine::control::terminal::{printable, printable_json};

use crate::answer::{Failure, print_json};
use crate::{Cli, overload};

pub(crate) async fn run(client: &Client, cli: &Cli, watch: Option<u64>) -> Result<u8, Failure> {
    loop {
        let answer = client.stats().await?;
        let mut out = io::stdout().lock();
        if watch.is_some() && io::stdout().is_terminal() && !cli.json {
            // cursor home, the rest of the screen cleared
            write!(out, "\u{1b}[H\u{1b}[J")?;
        }
        drop(out);
        match (cli.json, watch) {
            (true, None) => print_json(&answer)?,
            // one object a line, for programs that follow
            (true, Some(_)) => writeln!(io::stdout(), "{}", printable_json(&answer.to_string()))?,
            (false, _) => write!(io::stdout(), "{}", stats_text(&answer))?,
        }
        let Some(seconds) = watch else { return Ok(0) };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

/// The counters for people. Whatever is missing is left out: an older or newer engine may say less or more.
fn stats_text(stats: &Value) -> String {
    let mut lines = Vec::new();
    let words = ["mode", "queues", "xdp", "bind", "relay", "inject"];
    let head = words.iter().filter_map(|key| Some(format!("{key} {}", word(stats.get(key)?))));
    lines.push(head.collect::<Vec<_>>().join(", "));
    let none = Map::new();
    let table = |key: &str| stats.get(key).and_then(Value::as_object).unwrap_or(&none);
    let judged = stats.get("judged").and_then(Value::as_u64).unwrap_or_default();
    lines.push(String::new());
    lines.push(format!("{judged:>15}  packets judged"));
    lines.extend(counters(table("reasons"), judged));
    let would_drop = would_drop(stats);
    if !would_drop.is_empty() {
        lines.push(String::new());
        lines.push("would have been dropped, if this were enforced:".to_owned());
        lines.extend(counters(&would_drop, judged));
    }
    for (key, what) in [("allowed_dropped", "were dropped"), ("allowed_would_drop", "would have been dropped")] {
        if table(key).values().any(|count| count.as_u64().unwrap_or_default() > 0) {
            lines.push(String::new());
            lines.push(format!("of sources that are trusted or allowed {what}:"));
            lines.extend(counters(table(key), judged));
        }
    }
    if let Some(sources) = stats.pointer("/verified/sources").and_then(Value::as_u64) {
        lines.push(String::new());
        lines.push(format!("{sources:>15}  sources verified"));
    }
    if let Some(suspended) = stats.pointer("/suspensions/now").and_then(Value::as_u64).filter(|now| *now > 0) {
        lines.push(format!("{suspended:>15}  suspended: vosctl suspensions list"));
    }
    if let Some(slowed) = stats.pointer("/slowed/now").and_then(Value::as_u64).filter(|now| *now > 0) {
        lines.push(format!("{slowed:>15}  slowed: vosctl slowed list"));
    }
    lines.extend(stats.get("records").and_then(records_line));
    lines.extend(overload::pressure_lines(stats));
    for worker in stats.get("workers").and_then(Value::as_array).into_iter().flatten() {
        lines.push(String::new());
        lines.push(worker_line(worker));
        lines.extend(overload::given_up_line(worker));
        lines.extend(worker.get("peer").filter(|peer| peer.is_object()).map(peer_line));
        let received = worker.get("received").and_then(Value::as_u64).unwrap_or_default();
        for ended in ["answered", "taken", "dropped"].iter().filter_map(|key| worker.get(key)?.as_object()) {
            lines.extend(counters(ended, received));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What monitored rules would have dropped: those of the kernel, and those of the workers.
fn would_drop(stats: &Value) -> Map<String, Value> {
    let workers = stats.get("workers").and_then(Value::as_array).into_iter().flatten();
    let tables = std::iter::once(stats).chain(workers).filter_map(|counted| counted.get("would_drop")?.as_object());
    let mut sums = BTreeMap::<&str, u64>::new();
    for (label, count) in tables.flatten() {
        *sums.entry(label).or_default() += count.as_u64().unwrap_or_default();
    }
    sums.into_iter().filter(|(_, count)| *count > 0).map(|(label, count)| (label.to_owned(), count.into())).collect()
}

fn worker_line(worker: &Value) -> String {
    let number = |key: &str| worker.get(key).and_then(Value::as_u64).unwrap_or_default();
    let live = match worker.get("live").and_then(Value::as_bool) {
        Some(true) => "live",
        Some(false) => "not live: its queue takes the kernel's path",
        None => "",
    };
    let (queue, received, relayed, errors) =
        (number("queue"), number("received"), number("relayed"), number("relay_errors"));
    let lost = Some(number("socket_lost")).filter(|lost| *lost > 0);
    let lost = lost.map_or_else(String::new, |lost| format!("{lost} lost by its rings, "));
    format!("queue {queue}: {received} received, {relayed} relayed, {errors} relay errors, {lost}{live}")
}

/// What is written down, once anything is, or should have been.
fn records_line(records: &Value) -> Option<String> {
    let sum = |key: &str| -> u64 {
        let counts = records.get(key).and_then(Value::as_object);
        counts.into_iter().flat_map(Map::values).filter_map(Value::as_u64).sum()
    };
    let (written, lost) = (sum("written"), sum("lost"));
    (written + lost > 0).then(|| format!("{written:>15}  records written, {lost} lost or incomplete"))
}

fn peer_line(peer: &Value) -> String {
    let number = |key: &str| peer.get(key).and_then(Value::as_u64).unwrap_or_default();
    let there = if peer.get("present").and_then(Value::as_bool) == Some(true) { "is there" } else { "is not there" };
    let (sent, busy, fell_back) = (number("sent"), number("busy"), number("fell_back"));
    let (received, bad) = (number("received"), number("bad_replies"));
    format!(
        "         peer {there}: {sent} sent to it, {busy} refused by it as busy, {fell_back} sent to this host \
         instead; {received} received of it, {bad} unfit"
    )
}

/// Counters that are not zero, the largest first, with their share of `whole`.
fn counters(table: &Map<String, Value>, whole: u64) -> Vec<String> {
    let counts = table.iter().filter_map(|(label, count)| Some((label, count.as_u64()?)));
    let mut counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
    counts.sort_by_key(|(label, count)| (std::cmp::Reverse(*count), label.as_str()));
    let share = |count: u64| if whole == 0 { 0.0 } else { count as f64 * 100.0 / whole as f64 };
    counts.iter().map(|(label, count)| format!("{count:>15}  {} ({:.1} %)", printable(label), share(*count))).collect()
}

fn word(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    printable(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stats_are_told_with_shares_and_without_zeros() {
        let text = stats_text(&json!({
            "mode": "relay", "queues": 4, "xdp": "native", "judged": 200,
            "reasons": { "redirect": 150, "stealth": 50, "blocked": 0 },
            "would_drop": { "stealth": 0 },
            "workers": [{ "queue": 0, "received": 150, "relayed": 149, "relay_errors": 1, "live": true,
                          "peer": { "present": true, "sent": 140, "busy": 2, "fell_back": 7, "received": 130, "bad_replies": 0 },
                          "answered": { "answered": 30, "unavailable": 0 }, "taken": { "keep_alive": 15 },
                          "dropped": { "evil\u{1b}[2J": 1 } }],
        }));
        assert_eq!(
            text,
            "mode relay, queues 4, xdp native\n\
             \n            200  packets judged\n            150  redirect (75.0 %)\n             50  stealth (25.0 %)\n\
             \nqueue 0: 150 received, 149 relayed, 1 relay errors, live\n         \
             peer is there: 140 sent to it, 2 refused by it as busy, 7 sent to this host instead; 130 received of it, 0 unfit\n             \
             30  answered (20.0 %)\n             15  keep_alive (10.0 %)\n              1  evil\\u{1b}[2J (0.7 %)\n"
        );
        let slowed = stats_text(&json!({ "slowed": { "now": 3 } }));
        assert!(slowed.contains("  3  slowed: vosctl slowed list\n"), "{slowed}");
        let suspended = stats_text(&json!({ "suspensions": { "now": 2 } }));
        assert!(suspended.contains("  2  suspended: vosctl suspensions list\n"), "{suspended}");
        let records = |count: u64| json!({ "on": true, "written": { "summary": 2, "zero_duration": count }, "lost": { "busy": 1 } });
        assert_eq!(
            records_line(&records(5)).as_deref(),
            Some("              7  records written, 1 lost or incomplete")
        );
        assert_eq!(records_line(&json!({ "on": true, "written": { "summary": 0 }, "lost": {} })), None);
        let monitored = stats_text(&json!({
            "judged": 100, "would_drop": { "stealth": 3 },
            "workers": [{ "would_drop": { "suspended": 2, "slowed": 0 } }, { "would_drop": { "suspended": 5 }, "socket_lost": 4 }],
        }));
        let told =
            "if this were enforced:\n              7  suspended (7.0 %)\n              3  stealth (3.0 %)\n\nqueue";
        assert!(monitored.contains(told), "{monitored}");
        assert!(monitored.ends_with("0 relay errors, 4 lost by its rings, \n"), "{monitored}");
        let allowed = stats_text(&json!({ "allowed_would_drop": { "short": 2 }, "allowed_dropped": { "short": 0 } }));
        assert!(allowed.contains("allowed would have been dropped:\n              2  short"), "{allowed}");
        assert!(!allowed.contains("were dropped"), "{allowed}");
        assert_eq!(stats_text(&json!([])), "\n\n              0  packets judged\n");
    }
}
