//! Who sends what, and what is to become of it.

use std::collections::BTreeMap;
use std::io::Read;

use serde::de::DeserializeOwned;
use vos_bench::{CallReport, Error, LoadReport, Program, Result};

use super::own_command;
use crate::report::grouped;

use super::site::{BLOCKED, MONITOR, NOISE, PHONES, PHONES6, SCANNER, SCANNER6, SERVER, Site};

/// What must become of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It reaches the server, and the answer its sender.
    Served,
    /// It is dropped, and counted under this reason.
    Dropped(&'static str),
}

/// What one program sends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// `vos-bench load`: kind as on the command line, and as the server counts it.
    Load { kind: &'static str, rate: u64, seconds: u64 },
    /// `vos-bench call`.
    Calls { calls: u64, rate: u64 },
}

/// One program that sends, from these addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) who: &'static str,
    pub(crate) from: &'static [&'static str],
    pub(crate) what: What,
    pub(crate) fate: Fate,
}

/// What is sent at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) title: String,
    /// The path and rate under which its round-trip times appear in the comparison.
    pub(crate) compared: Option<(&'static str, u64)>,
    pub(crate) runs: Vec<Run>,
}

/// OPTIONS from the monitoring peer at the rates that are compared between kernel and engine.
pub(crate) fn monitoring(path: &'static str, seconds: u64) -> Vec<Phase> {
    let phase = |rate| Phase {
        title: format!("monitoring peer, {} OPTIONS/s, {path} path", grouped(rate)),
        compared: Some((path, rate)),
        runs: vec![Run {
            who: "monitoring peer",
            from: &MONITOR,
            what: What::Load { kind: "options", rate, seconds },
            fate: Fate::Served,
        }],
    };
    vec![phase(1000), phase(10_000)]
}

/// What the engine has to tell apart.
pub(crate) fn through_the_engine(seconds: u64) -> Vec<Phase> {
    let load = |who, from, kind, rate, reason| Run {
        who,
        from,
        what: What::Load { kind, rate, seconds },
        fate: Fate::Dropped(reason),
    };
    let calls =
        |who, from, rate| Run { who, from, what: What::Calls { calls: rate * seconds, rate }, fate: Fate::Served };
    let phase = |title: &str, runs| Phase { title: title.to_owned(), compared: None, runs };
    let mut phases = vec![phase(
        "phones register and call",
        vec![calls("phones", &PHONES, 100), calls("phones, IPv6", &PHONES6, 50)],
    )];
    phases.extend(monitoring("engine", seconds));
    phases.extend([
        phase(
            "a scan: OPTIONS from unknown sources",
            vec![
                load("scanner", &SCANNER, "options", 15_000, "stealth"),
                load("scanner, IPv6", &SCANNER6, "options", 5_000, "stealth"),
            ],
        ),
        phase("INVITEs from a blocked /24", vec![load("blocked /24", &BLOCKED, "invite", 10_000, "blocked")]),
        phase("garbage on port 5060", vec![load("garbage", &NOISE, "garbage", 5_000, "malformed")]),
        phase(
            "all at once: calls during scan, flood and garbage",
            vec![
                calls("phones", &PHONES, 100),
                calls("phones, IPv6", &PHONES6, 50),
                load("scanner", &SCANNER, "options", 8_000, "stealth"),
                load("blocked /24", &BLOCKED, "invite", 5_000, "blocked"),
                load("garbage", &NOISE, "garbage", 2_000, "malformed"),
            ],
        ),
    ]);
    phases
}

/// The kernel path again, once the engine is gone.
pub(crate) fn afterwards() -> Phase {
    Phase {
        title: "phones register and call, without the engine".to_owned(),
        compared: None,
        runs: vec![Run {
            who: "phones",
            from: &PHONES,
            what: What::Calls { calls: 50, rate: 100 },
            fate: Fate::Served,
        }],
    }
}

/// A program that is sending.
pub(crate) struct Sender {
    run: Run,
    order: usize,
    program: Program,
}

/// What a program has sent, and what came back.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) run: Run,
    /// Its place in the phase.
    pub(crate) order: usize,
    pub(crate) sent: u64,
    /// Requests by method; datagrams that are no requests are not in it.
    pub(crate) methods: BTreeMap<String, u64>,
    pub(crate) answer: Answer,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Load(LoadReport),
    Calls(CallReport),
}

impl Sender {
    /// Starts it in the client's namespace.
    pub(crate) fn start(order: usize, run: &Run, site: &Site) -> Result<Self> {
        let server = SERVER[usize::from(run.from[0].contains(':'))];
        let mut command = own_command(&site.client)?;
        match run.what {
            What::Load { kind, rate, seconds } => {
                let linger = if run.fate == Fate::Served { "1" } else { "0.3" };
                command.args(["load", "--kind", kind, "--linger", linger]);
                command.args(["--rate", &rate.to_string(), "--seconds", &seconds.to_string()]);
            }
            What::Calls { calls, rate } => {
                // Four sendings of a request are enough to tell a lost datagram from a path that is cut.
                command.args(["call", "--give-up", "5"]);
                command.args(["--calls", &calls.to_string(), "--rate", &rate.to_string()]);
            }
        }
        command.args(["--json", "--to", server, "--from"]).args(run.from);
        let program = Program::start(run.who, &mut command, None)?;
        Ok(Self { run: *run, order, program })
    }

    /// What it has to say, once it is done.
    pub(crate) fn outcome(&mut self) -> Result<Option<Outcome>> {
        if self.program.ended()?.is_none() {
            return Ok(None);
        }
        let mut text = String::new();
        if let Some(mut stdout) = self.program.stdout() {
            stdout.read_to_string(&mut text).map_err(Error::io("read a sender's report"))?;
        }
        let (sent, methods, answer) = match self.run.what {
            What::Load { kind, .. } => {
                let report: LoadReport = self.parse(&text)?;
                let method = (kind != "garbage").then(|| (kind.to_uppercase(), report.sent));
                (report.sent, method.into_iter().collect(), Answer::Load(report))
            }
            What::Calls { .. } => {
                let report: CallReport = self.parse(&text)?;
                (report.datagrams, report.sent.clone(), Answer::Calls(report))
            }
        };
        Ok(Some(Outcome { run: self.run, order: self.order, sent, methods, answer }))
    }

    fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|_| Error::Other(format!("{} gave no report: {text}", self.program.name())))
    }
}
