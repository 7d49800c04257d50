use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use vos_bench::{Program, Responder};

use super::site::{PHONE, Site, until};

/// Requests of a measurement.
const N: u64 = 2_000;
/// Queues, and so workers.
const WORKERS: u64 = 4;
/// Heartbeats a second of each worker.
const BEATS: u64 = 10;
/// Looks at the softswitch's sockets a second (`relay.priority`).
const LOOKS: u64 = 50;

/// System calls by name while N requests come at `rate` a second; and how many whole seconds that took, rounded up.
fn traced(site: &Site, engine: &Program, responder: &Responder, rate: u64) -> (BTreeMap<String, u64>, u64) {
    let (summary, log) = (site.path("strace"), site.path("strace.log"));
    // The engine's own process, not nsenter: that one has become it by exec.
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(&summary).args(["-p", &engine.id().to_string()]);
    let mut strace = Program::start("strace", &mut command, Some(&log)).unwrap();
    let threads = std::fs::read_dir(format!("/proc/{}/task", engine.id())).unwrap().count();
    let began = Instant::now();
    until("strace holds all threads", || {
        let log = strace.log();
        log.contains(&format!("attached with {threads} threads")) || log.matches("attached").count() >= threads
    });
    let before = responder.stats().received;
    let load = site.load(PHONE, |load| {
        (load.rate, load.seconds, load.linger) = (rate, N as f64 / rate as f64, 1.0);
    });
    assert_eq!(load.end().sent, N);
    until("all have arrived", || responder.stats().received == before + N);
    strace.signal(Signal::SIGINT).unwrap();
    until("strace is done", || strace.ended().unwrap().is_some());
    let seconds = began.elapsed().max(Duration::from_secs(1)).as_secs() + 1;
    let text = std::fs::read_to_string(summary).unwrap();
    let calls = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (count, name) = (words.next()?.parse().ok()?, words.next()?);
        (name != "total").then(|| (name.to_owned(), count))
    });
    (calls.collect(), seconds)
}

#[test]
fn a_packet_costs_one_write_and_at_a_low_rate_one_wake_and_nothing_else() {
    if !vos_bench::ready(&["strace"]) {
        return;
    }
    let site = Site::new();
    let engine = site.start("");
    // Limits are for floods, and this is one.
    site.tool("rule rate_register off");
    site.tool("rule rate_source off");
    site.tool("rule rate_prefix off");
    let responder = site.responder();
    for (rate, wakes) in [(400, N), (50_000, N / 4)] {
        let (calls, seconds) = traced(&site, &engine, &responder, rate);
        eprintln!("{rate}/s, {seconds} s: {calls:?}");
        let beats = WORKERS * BEATS * seconds;
        let writes = calls.get("writev").copied().unwrap_or(0);
        // Each heartbeat writes a probe.
        assert!(
            (N..=N + beats).contains(&writes),
            "{writes} writes for {N} packets and at most {beats} probes: {calls:?}"
        );
        let others: u64 = calls.values().sum::<u64>() - writes;
        // A heartbeat: statistics, probe read twice, beat set, poll. Beside the workers, in a second: the sleeps of those who
        // take what was seen, sampled and recorded (50 each), what the detector reads of the kernel's counters, the round
        // over links, addresses, routes; and the looks at the softswitch's sockets: a sleep, a question, two answers.
        let housekeeping = beats * 6 + seconds * (240 + LOOKS * 4);
        assert!(others <= wakes + wakes / 10 + housekeeping, "{others} others, {wakes} + {housekeeping}: {calls:?}");
    }
}
