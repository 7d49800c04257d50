//! `vos-bench soak`: a site under load, junk, blocks, reloads and restarts for as long as one likes, and a reckoning at the end.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use vos_bench::junk::Mix;
use vos_bench::{CallReport, Error, LoadReport, Result, Stop};

use crate::demo::engine::{Engine, ProgramOptions};
use crate::demo::ledger::Check;
use crate::report::grouped;
use crate::say;
use crate::shield::ground::Ground;
use crate::shield::outcome::Flood;
use crate::shield::server::ServerOptions;

/// The options.
#[derive(clap::Args)]
pub(crate) struct SoakOptions {
    #[command(flatten)]
    programs: ProgramOptions,
    #[command(flatten)]
    server: ServerOptions,
    /// How long
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0)]
    minutes: f64,
}

/// What is sent one after the other, again and again, with a rest in between.
const FLOODS: [Flood; 6] = [
    Flood { mix: Mix::Scanner, sources: 200, rate: 20_000 },
    Flood { mix: Mix::Register, sources: 200, rate: 20_000 },
    Flood { mix: Mix::Malformed, sources: 200, rate: 20_000 },
    Flood { mix: Mix::Invite, sources: 200, rate: 5_000 },
    Flood { mix: Mix::Fragments, sources: 200, rate: 1_000 },
    Flood { mix: Mix::All, sources: 2_000, rate: 10_000 },
];
/// How long each lasts, and the rest after it, seconds.
const FLOOD: f64 = 4.0;
const REST: Duration = Duration::from_secs(1);
/// REGISTERs and calls a second.
const REGISTERS: u64 = 200;
const CALLS: u64 = 10;
/// How long a load lasts until its figures are taken, seconds.
const PART: f64 = 10.0;
/// How long phones repeat a request, seconds.
const PATIENCE: f64 = 16.0;
/// What the operator does between two looks.
const STEP: Duration = Duration::from_secs(2);
/// The engine is killed, and at other times ended in good order, so often in the first half; in the second it lives on, so
/// that its memory can be watched.
const RESTARTS: u32 = 4;
/// What memory may grow by in the second half: the allocator's own, and what is learnt of sources.
const GROWTH: f64 = 1.15;
/// RX queues, each with a worker.
const QUEUES: u32 = 2;

/// What good traffic came to.
#[derive(Default)]
struct Good {
    registers: u64,
    unanswered: u64,
    calls: u64,
    failed: u64,
    again: u64,
}

/// Runs it and prints the reckoning; `false` if something does not hold.
pub(crate) fn run(options: &SoakOptions, stop: &Stop) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let programs = options.programs.find()?;
    let ground = Ground::build(&options.server, QUEUES, None, stop)?;
    // Attack mode comes and goes by itself here.
    let start = || programs.start(&ground.site, "profile = \"vos3000\"\n", &[], stop);
    let (good, over, first) = (Mutex::new(Good::default()), Stop::never(), start()?);
    let time = Duration::from_secs_f64(options.minutes.max(0.1) * 60.0);
    let (checks, junk) = std::thread::scope(|scope| {
        let phones = scope.spawn(|| phones(&ground, &good, &over));
        let callers = scope.spawn(|| callers(&ground, &good, &over));
        let junk = scope.spawn(|| floods(&ground, &over));
        let operated = operate(first, &start, time, stop);
        over.set();
        let joined =
            [phones, callers].map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let junk = junk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let engine = operated?;
        joined.into_iter().collect::<Result<()>>()?;
        Ok::<_, Error>((reckon(engine)?, junk?))
    })?;
    let good = good.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    say(&format!(
        "{} REGISTERs and {} calls, {} sent again; {} junk; {RESTARTS} restarts",
        grouped(good.registers),
        grouped(good.calls),
        grouped(good.again),
        grouped(junk)
    ));
    let lost = [
        Check::new("REGISTERs without an answer", 0, good.unanswered),
        Check::new("calls that failed", 0, good.failed),
    ];
    let checks: Vec<Check> = lost.into_iter().chain(checks).collect();
    for Check { what, expected, seen } in &checks {
        let mark = if expected == seen { "ok" } else { "NOT" };
        say(&format!("  {mark:<4} {what}: {seen}, expected {expected}"));
    }
    Ok(checks.iter().all(Check::holds))
}

fn phones(ground: &Ground, good: &Mutex<Good>, over: &Stop) -> Result<()> {
    while !over.is_set() {
        let report: LoadReport = ground.registers(REGISTERS, PART, PATIENCE, &Stop::never(), || ())?;
        let mut good = good.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        good.registers += report.sent;
        good.unanswered += report.lost;
        good.again += report.retransmissions;
    }
    Ok(())
}

fn callers(ground: &Ground, good: &Mutex<Good>, over: &Stop) -> Result<()> {
    while !over.is_set() {
        let report: CallReport = ground.calls(CALLS, PART, PATIENCE, &Stop::never())?;
        let mut good = good.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        good.calls += report.calls;
        good.failed += report.failed;
        good.again += report.retransmissions;
    }
    Ok(())
}

/// How much was sent.
fn floods(ground: &Ground, over: &Stop) -> Result<u64> {
    let mut sent = 0;
    for flood in FLOODS.iter().cycle() {
        if over.is_set() {
            break;
        }
        sent += ground.junk(*flood, FLOOD, over)?.sent;
        std::thread::sleep(REST);
    }
    Ok(sent)
}

/// A running engine, and what memory it had when the second half began.
struct Operated {
    engine: Engine,
    /// Resident memory half-way through its last life, KiB.
    before: u64,
}

/// Blocks, takes back, reloads, kills and restarts until the time is over.
fn operate(mut engine: Engine, start: &impl Fn() -> Result<Engine>, time: Duration, stop: &Stop) -> Result<Operated> {
    let (began, mut step, mut restarts, mut before) = (Instant::now(), 0u32, 0, None);
    while began.elapsed() < time {
        stop.check()?;
        std::thread::sleep(STEP.min(time / 20));
        let source = format!("203.0.113.{}", step % 250);
        engine.tool(&["block", &source, "--ttl", "10s", "--reason", "soak"])?;
        match step % 4 {
            0 => engine.tool(&["unblock", &source])?,
            1 => engine.tool(&["reload"])?,
            2 => engine.tool(&["rule", "scanner", "monitor"])?,
            _ => engine.tool(&["rule", "scanner", "enforce"])?,
        };
        step += 1;
        if restarts < RESTARTS && began.elapsed() >= time / (2 * (RESTARTS + 1)) * (restarts + 1) {
            restarts += 1;
            if restarts % 2 == 1 {
                engine.kill()?;
            } else {
                engine.end()?;
            }
            engine = start()?;
        }
        if before.is_none() && began.elapsed() >= time.mul_f64(0.7) {
            before = Some(resident(engine.id())?);
        }
    }
    let before = before.map_or_else(|| resident(engine.id()), Ok)?;
    Ok(Operated { engine, before })
}

/// All that must hold once nothing moves any more.
fn reckon(Operated { engine, before }: Operated) -> Result<Vec<Check>> {
    let after = resident(engine.id())?;
    let counters = engine.counters()?;
    let counted: u64 = counters.reasons.values().sum();
    let handled = counters.relayed + counters.dropped + counters.ended + counters.relay_errors;
    let flat =
        if after as f64 <= before as f64 * GROWTH { "flat".to_owned() } else { format!("{before} to {after} KiB") };
    let mut checks = vec![
        Check::new("packets judged, each counted once", counters.judged, counted),
        Check::new("packets that workers received, each handed on, answered or dropped", counters.received, handled),
        Check::new("frames of the rings that are neither free nor with the kernel", 0, counters.held),
        Check::new("memory in the last third", "flat", flat),
    ];
    checks.extend(engine.leave()?);
    Ok(checks)
}

/// Resident memory of a process, KiB (proc_pid_status(5)).
fn resident(id: u32) -> Result<u64> {
    let file = format!("/proc/{id}/status");
    let text = std::fs::read_to_string(&file).map_err(Error::io(format!("read {file}")))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| Error::Other(format!("{file} has no VmRSS")))
}
