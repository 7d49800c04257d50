//! Many calls at a steady rate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sip_parse::{Index, Mode};

use crate::dialog::{Call, Send, Step, T1, Timing};
use crate::flows::Flows;
use crate::latency::{Latency, Quantiles};
use crate::request::{reply_to, run_word};
use crate::schedule::Schedule;
use crate::stop::{LOOK, Stop};
use crate::{Error, Result};

/// How many calls, where to, how fast.
#[derive(Clone, Debug, clap::Args)]
pub struct CallOptions {
    /// The server: 192.0.2.1:5060 or [2001:db8::1]:5060
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: SocketAddr,
    /// How many calls, each with a REGISTER in front
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub calls: u64,
    /// Calls begun a second
    #[arg(long, value_name = "R", default_value_t = 50)]
    pub rate: u64,
    /// Seconds between ACK and BYE
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    pub hold: f64,
    /// Seconds until a request without a final reply fails (RFC 3261: 64 × T1)
    #[arg(long, value_name = "S", default_value_t = 64.0 * T1.as_secs_f64())]
    pub give_up: f64,
    /// Phones: sockets, each with a source port of its own
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub flows: usize,
    /// Source addresses, taken in turn by the phones
    #[arg(long, value_name = "IP", num_args = 1..)]
    pub from: Vec<IpAddr>,
    /// Answer challenges with this password, whoever the phone is [default: a challenged call fails]
    #[arg(long, value_name = "WORD")]
    pub password: Option<String>,
}

impl CallOptions {
    /// 100 calls, 50 a second; change what differs.
    pub fn new(to: SocketAddr) -> Self {
        let give_up = 64.0 * T1.as_secs_f64();
        Self { to, calls: 100, rate: 50, hold: 0.0, give_up, flows: 64, from: Vec::new(), password: None }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CallReport {
    /// Calls begun.
    pub calls: u64,
    /// REGISTERs with a 2xx.
    pub registered: u64,
    /// Calls that came to their BYE's 2xx.
    pub succeeded: u64,
    /// All others.
    pub failed: u64,
    /// Why those failed, and how many for that.
    pub failures: BTreeMap<String, u64>,
    /// Datagrams that had been sent before, ACKs of a repeated 200 included.
    pub retransmissions: u64,
    /// Datagrams sent, by method, retransmissions included.
    pub sent: BTreeMap<String, u64>,
    /// Their sum.
    pub datagrams: u64,
    /// Datagrams received that belong to no call.
    pub stray: u64,
    /// "Port unreachable" and the like.
    pub refused: u64,
    /// Datagrams that the system would not take.
    pub send_errors: u64,
    /// From INVITE to 200, µs.
    pub setup: Quantiles,
}

/// Makes the calls and gives what came of them; calls that `stop` cuts short count as failed.
pub fn run(options: &CallOptions, stop: &Stop) -> Result<CallReport> {
    let mut exchange = Exchange::new(options)?;
    let start = Instant::now();
    while exchange.running() && !stop.is_set() {
        exchange.begin_due(start.elapsed());
        exchange.fire_timers(start.elapsed());
        let wait = exchange.next_event().saturating_sub(start.elapsed()).min(LOOK);
        exchange.flows.wait(wait);
        exchange.receive(start);
    }
    Ok(exchange.report())
}

struct Exchange {
    to: SocketAddr,
    timing: Timing,
    password: Option<String>,
    run: String,
    schedule: Schedule,
    flows: Flows,
    index: Index,
    calls: Vec<Call>,
    over: u64,
    /// Timers by time; one that was moved meanwhile is found out when it comes up.
    timers: BinaryHeap<Reverse<(Duration, usize)>>,
    report: CallReport,
    setup: Latency,
}

/// Digits of a call's number in its word.
const DIGITS: usize = 8;

impl Exchange {
    fn new(options: &CallOptions) -> Result<Self> {
        if options.rate == 0 || !(0.0..=1e6).contains(&options.hold) || !(0.0..=1e6).contains(&options.give_up) {
            return Err(Error::Other("--rate must be 1 or more; --hold and --give-up 0 to 1,000,000".to_owned()));
        }
        let seconds = Duration::from_secs_f64;
        Ok(Self {
            to: options.to,
            timing: Timing { hold: seconds(options.hold), give_up: seconds(options.give_up) },
            password: options.password.clone(),
            run: run_word(),
            schedule: Schedule::new(options.rate, options.calls),
            flows: Flows::open(options.to, &options.from, options.flows)?,
            index: Index::new(),
            calls: Vec::new(),
            over: 0,
            timers: BinaryHeap::new(),
            report: CallReport::default(),
            setup: Latency::default(),
        })
    }

    fn running(&self) -> bool {
        self.over < self.schedule.total()
    }

    fn begin_due(&mut self, now: Duration) {
        while (self.calls.len() as u64) < self.schedule.due_by(now) {
            let number = self.calls.len();
            let flow = number % self.flows.len();
            // A socket's address does not change; that it could be asked for was seen when it was opened.
            let Ok(local) = self.flows.local(flow) else { return };
            let word = format!("{}{number:0DIGITS$}", self.run);
            let (user, ends) = (format!("phone{flow}"), (local, self.to));
            self.calls.push(Call::new(word, user, self.password.clone(), ends, self.timing));
            let register = self.calls[number].begin(now);
            self.carry_out(number, Some(register));
        }
    }

    fn fire_timers(&mut self, now: Duration) {
        while let Some(&Reverse((at, number))) = self.timers.peek() {
            if at > now {
                return;
            }
            self.timers.pop();
            if self.calls[number].timer() == Some(at) {
                let send = self.calls[number].on_timer(now);
                self.carry_out(number, send);
            }
        }
    }

    fn next_event(&self) -> Duration {
        let timer = self.timers.peek().map_or(Duration::MAX, |Reverse((at, _))| *at);
        let begun = self.calls.len() as u64;
        if begun < self.schedule.total() { timer.min(self.schedule.due_at(begun)) } else { timer }
    }

    fn receive(&mut self, start: Instant) {
        // Kept until all are read: acting on one sends, and sending wants the same sockets.
        let mut datagrams = Vec::new();
        self.flows.receive(|_, datagram| datagrams.push(datagram.to_vec()));
        for datagram in &datagrams {
            let reply = self.index.parse(datagram, Mode::Lenient).ok();
            let ours = reply.and_then(|reply| {
                let (status, rest) = reply_to(&reply, &self.run)?;
                Some((reply, status, rest.get(..DIGITS)?.parse::<usize>().ok()?))
            });
            let Some((reply, status, number)) = ours.filter(|&(_, _, number)| number < self.calls.len()) else {
                self.report.stray += 1;
                continue;
            };
            // A call that is over still acknowledges a 200 that comes again.
            let sends = self.calls[number].on_reply(status, &reply, start.elapsed());
            self.carry_out(number, sends);
        }
    }

    /// Sends what the call wants sent, sets its timer, and closes the books on it if it is over.
    fn carry_out(&mut self, number: usize, sends: impl IntoIterator<Item = Send>) {
        let call = &mut self.calls[number];
        if let Some(timer) = call.timer() {
            self.timers.push(Reverse((timer, number)));
        }
        if let Some(setup) = call.setup.take() {
            self.setup.record(setup);
        }
        self.report.registered += u64::from(std::mem::take(&mut call.registered));
        let step = call.step();
        for send in sends {
            self.send(number % self.flows.len(), &send);
        }
        if matches!(step, Step::Succeeded | Step::Failed) {
            self.close(number, step);
        }
    }

    fn close(&mut self, number: usize, step: Step) {
        if std::mem::replace(&mut self.calls[number].closed, true) {
            return;
        }
        self.over += 1;
        if step == Step::Succeeded {
            self.report.succeeded += 1;
        } else {
            *self.report.failures.entry(self.calls[number].failure.clone()).or_default() += 1;
        }
    }

    fn send(&mut self, flow: usize, send: &Send) {
        if !self.flows.send(flow, send.text.as_bytes()) {
            self.report.send_errors += 1;
            return;
        }
        *self.report.sent.entry(send.method.to_owned()).or_default() += 1;
        self.report.datagrams += 1;
        self.report.retransmissions += u64::from(send.again);
    }

    fn report(mut self) -> CallReport {
        let cut_short = self.calls.iter().filter(|call| !call.is_over()).count() as u64;
        if cut_short > 0 {
            self.report.failures.insert("interrupted".to_owned(), cut_short);
        }
        self.report.calls = self.calls.len() as u64;
        self.report.failed = self.report.calls - self.report.succeeded;
        self.report.refused = self.flows.refused();
        self.report.setup = self.setup.summary();
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Responder;

    #[test]
    fn every_call_succeeds_with_one_datagram_of_each_kind() {
        let responder = Responder::start(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let mut options = CallOptions::new(responder.addresses()[0]);
        (options.calls, options.rate, options.hold) = (50, 200, 0.05);
        let report = run(&options, &Stop::never()).unwrap();
        assert_eq!((report.registered, report.succeeded, report.failed), (50, 50, 0), "{report:?}");
        assert_eq!((report.retransmissions, report.datagrams, report.stray), (0, 200, 0), "{report:?}");
        assert_eq!(report.setup.count, 50);
        let stats = responder.stop();
        for method in ["REGISTER", "INVITE", "ACK", "BYE"] {
            assert_eq!((stats.method(method), report.sent[method]), (50, 50), "{method}");
        }
    }

    #[test]
    fn without_a_server_every_call_fails_after_retransmissions() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut options = CallOptions::new(silent.local_addr().unwrap());
        (options.calls, options.rate, options.give_up) = (3, 100, 0.7);
        let report = run(&options, &Stop::never()).unwrap();
        assert_eq!((report.succeeded, report.failed, report.retransmissions), (0, 3, 3), "{report:?}");
        assert_eq!(report.failures, BTreeMap::from([("REGISTER timed out".to_owned(), 3)]));
    }
}
