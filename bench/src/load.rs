//! Open-loop load: what was sent, answered, lost, and how long it took.
//!
//! Two times are kept of each answer. `rtt` runs from the moment of sending: what the path costs. `latency` runs from
//! the moment when the message was *due* (no coordinated omission): what a caller waits, a late sender included.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sip_parse::{Index, Mode};

use crate::dialog::{T1, T2};
use crate::flows::Flows;
use crate::latency::{Latency, Quantiles};
use crate::request::{Template, reply_to, run_word};
use crate::schedule::Schedule;
use crate::stop::{LOOK, Stop};
use crate::{Error, Result};

/// Messages sent in one go before replies are looked at: a sender that is behind must not let its own receive buffers
/// overflow, and one that is not never has more than a few due.
const BURST: u64 = 32;
/// How much of a wait is spent spinning with `--spin`: about what a wake from sleep costs.
const SPIN: Duration = Duration::from_micros(60);

/// How long it may take until all flows have had a 2xx to their credentials.
const CHALLENGES: Duration = Duration::from_secs(20);
/// What is sent before the schedule begins is numbered from here on: no schedule gets so far.
const FIRST: u64 = 9_000_000_000;

/// What to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// OPTIONS, as monitoring does, and scanners.
    #[default]
    Options,
    /// REGISTER without credentials.
    Register,
    /// INVITE; answered means a final reply. No ACK follows: `call` makes whole calls.
    Invite,
    /// Datagrams that are not SIP; no answer is due.
    Garbage,
}

/// What to send, where to, how fast.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// The server: 192.0.2.1:5060 or [2001:db8::1]:5060
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: SocketAddr,
    /// Messages a second, at a steady pace
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub rate: u64,
    /// How long to send
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub seconds: f64,
    /// The first seconds whose times are not recorded (they are sent and counted all the same)
    #[arg(long, value_name = "S", default_value_t = 0.5)]
    pub warmup: f64,
    /// How long to wait for replies after the last message
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub linger: f64,
    /// What to send
    #[arg(long, value_enum, default_value_t = Kind::Options)]
    pub kind: Kind,
    /// Sockets, each with a source port of its own, so that traffic spreads over the receive queues
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub flows: usize,
    /// Source addresses, taken in turn by the flows
    #[arg(long, value_name = "IP", num_args = 1..)]
    pub from: Vec<IpAddr>,
    /// Answer a challenge with this password first, and send its credentials with each request: all are accepted at once, as
    /// when phones register again
    #[arg(long, value_name = "WORD")]
    pub password: Option<String>,
    /// Send again what is not answered, after 0.5 s, 1.5 s, 3.5 s, as RFC 3261 §17.1.2.1 has phones do
    #[arg(long)]
    pub repeat: bool,
    /// Spin before each message is due instead of sleeping: exact to the microsecond, and costs a core
    #[arg(long)]
    pub spin: bool,
}

impl LoadOptions {
    /// 1,000 OPTIONS a second for one second; change what differs.
    pub fn new(to: SocketAddr) -> Self {
        Self {
            to,
            rate: 1000,
            seconds: 1.0,
            warmup: 0.0,
            linger: 1.0,
            kind: Kind::Options,
            flows: 64,
            from: Vec::new(),
            password: None,
            repeat: false,
            spin: false,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LoadReport {
    /// What was sent.
    pub kind: Kind,
    /// What was asked for, messages a second.
    pub rate: u64,
    /// Messages that left, warm-up included.
    pub sent: u64,
    /// How many a second did leave.
    pub achieved_rate: f64,
    /// Those with a final reply.
    pub answered: u64,
    /// Those without: `sent` less `answered`.
    pub lost: u64,
    /// Messages that were sent again, with `--repeat`; they are not in `sent`.
    pub retransmissions: u64,
    /// Provisional replies (1xx).
    pub provisional: u64,
    /// Final replies to what had been answered already.
    pub duplicates: u64,
    /// Replies that are not to this run's requests, or came after more than four seconds.
    pub stray: u64,
    /// "Port unreachable" and the like.
    pub refused: u64,
    /// Messages that the system would not take.
    pub send_errors: u64,
    /// Final replies by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// From sending to the final reply, µs.
    pub rtt: Quantiles,
    /// From when it was due to the final reply, µs.
    pub latency: Quantiles,
    /// The same as a curve: shares of all answers and µs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
    /// The sender's own delay, from when a message was due to when it was sent, µs.
    pub behind: Quantiles,
}

/// Sends by the schedule and gives what came of it; `stop` ends it early, with a report of what was done by then.
pub fn run(options: &LoadOptions, stop: &Stop) -> Result<LoadReport> {
    run_once_known(options, stop, || ())
}

/// The same; `known` is called when all challenges are answered, before the first message of the schedule.
pub fn run_once_known(options: &LoadOptions, stop: &Stop, known: impl FnOnce()) -> Result<LoadReport> {
    let mut load = Load::new(options)?;
    if let Some(password) = &options.password {
        load.meet_challenges(password, stop)?;
    }
    known();
    let start = Instant::now();
    while load.next < load.schedule.total() && !stop.is_set() {
        load.send_due(start);
        load.repeat_due(start);
        load.receive(start);
        load.wait(start);
    }
    let sending_took = start.elapsed();
    let end = Instant::now() + Duration::from_secs_f64(options.linger);
    while load.open > 0 && Instant::now() < end && !stop.is_set() {
        load.flows.wait(end.saturating_duration_since(Instant::now()).min(LOOK));
        load.repeat_due(start);
        load.receive(start);
    }
    Ok(load.report(sending_took))
}

/// Who registers from this flow.
fn user(flow: usize) -> String {
    format!("phone{flow}")
}

struct Load<'a> {
    options: &'a LoadOptions,
    schedule: Schedule,
    warm: Duration,
    run: String,
    flows: Flows,
    index: Index,
    templates: Vec<Template>,
    /// The message that is due next.
    next: u64,
    sent: InFlight,
    /// When what is to be sent again if it is not answered by then, and how long was waited.
    timers: BinaryHeap<Reverse<(Duration, u64, Duration)>>,
    /// Messages without a final reply so far.
    open: u64,
    report: LoadReport,
    rtt: Latency,
    latency: Latency,
    behind: Latency,
}

impl<'a> Load<'a> {
    fn new(options: &'a LoadOptions) -> Result<Self> {
        if options.rate == 0 || !(0.0..=1e6).contains(&options.seconds) || !(0.0..=1e6).contains(&options.linger) {
            return Err(Error::Other("--rate must be 1 or more; --seconds and --linger 0 to 1,000,000".to_owned()));
        }
        let schedule = Schedule::lasting(options.rate, options.seconds);
        let flows = Flows::open(options.to, &options.from, options.flows)?;
        let run = run_word();
        let template = |flow| -> Result<Template> {
            let local = flows.local(flow)?;
            let request = |method| Template::request(method, &run, &user(flow), local, options.to);
            Ok(match options.kind {
                Kind::Options => request("OPTIONS"),
                Kind::Register => request("REGISTER"),
                Kind::Invite => request("INVITE"),
                Kind::Garbage => Template::garbage(flow),
            })
        };
        let templates = (0..flows.len()).map(template).collect::<Result<_>>()?;
        Ok(Self {
            options,
            schedule,
            warm: Duration::from_secs_f64(options.warmup.max(0.0)),
            templates,
            sent: InFlight::new(options.rate),
            timers: BinaryHeap::new(),
            run,
            flows,
            index: Index::new(),
            next: 0,
            open: 0,
            report: LoadReport { kind: options.kind, rate: options.rate, ..LoadReport::default() },
            rtt: Latency::default(),
            latency: Latency::default(),
            behind: Latency::default(),
        })
    }

    /// Has each flow challenged, and answers that, until it has had a 2xx.
    fn meet_challenges(&mut self, password: &str, stop: &Stop) -> Result<()> {
        let Self { flows, index, run, templates, .. } = self;
        let (mut met, mut accepted) = (vec![false; flows.len()], vec![false; flows.len()]);
        let (end, mut again, mut branch) = (Instant::now() + CHALLENGES, Instant::now(), FIRST);
        while !accepted.iter().all(|accepted| *accepted) {
            stop.check()?;
            let now = Instant::now();
            if now >= end {
                let missing = accepted.iter().filter(|accepted| !**accepted).count();
                return Err(Error::Other(format!(
                    "{missing} of {} flows had no 2xx within {CHALLENGES:?}: does the server ask for this --password?",
                    accepted.len()
                )));
            }
            let mut due: Vec<usize> = Vec::new();
            if now >= again {
                again = now + T1;
                due.extend((0..accepted.len()).filter(|flow| !accepted[*flow]));
            }
            flows.wait(LOOK.min(again.saturating_duration_since(now)));
            flows.receive(|flow, datagram| {
                let Ok(reply) = index.parse(datagram, Mode::Lenient) else { return };
                match reply_to(&reply, run) {
                    Some((200..300, _)) => accepted[flow] = true,
                    Some((401 | 407, _)) if !met[flow] => {
                        met[flow] = templates[flow].meet(&reply, &user(flow), password);
                        due.push(flow);
                    }
                    _ => {}
                }
            });
            for flow in due {
                // With credentials it is the same Call-ID in another transaction (§22.2).
                flows.send(flow, templates[flow].numbered_apart(FIRST + flow as u64, branch));
                branch += 1;
            }
        }
        Ok(())
    }

    fn send_due(&mut self, start: Instant) {
        let due = self.schedule.due_by(start.elapsed()).min(self.next + BURST);
        while self.next < due {
            let number = self.next;
            self.next += 1;
            let flow = (number % self.flows.len() as u64) as usize;
            let now = start.elapsed();
            if !self.flows.send(flow, self.templates[flow].numbered(number)) {
                self.report.send_errors += 1;
                continue;
            }
            self.report.sent += 1;
            let due_at = self.schedule.due_at(number);
            if due_at >= self.warm {
                self.behind.record(now.saturating_sub(due_at));
            }
            if self.options.kind != Kind::Garbage {
                self.open += 1;
                self.sent.insert(number, now);
                if self.options.repeat {
                    self.timers.push(Reverse((now + T1, number, T1)));
                }
            }
        }
    }

    /// Sends again what is not answered in time (timer E, §17.1.2.1).
    fn repeat_due(&mut self, start: Instant) {
        let now = start.elapsed();
        while let Some(&Reverse((at, number, interval))) = self.timers.peek() {
            if at > now {
                return;
            }
            self.timers.pop();
            if !self.sent.is_open(number) {
                continue;
            }
            let flow = (number % self.flows.len() as u64) as usize;
            if self.flows.send(flow, self.templates[flow].numbered(number)) {
                self.report.retransmissions += 1;
            }
            let interval = (interval * 2).min(T2);
            self.timers.push(Reverse((now + interval, number, interval)));
        }
    }

    fn receive(&mut self, start: Instant) {
        let Self { flows, index, run, sent, report, schedule, .. } = self;
        flows.receive(|_, datagram| {
            let now = start.elapsed();
            let reply = index.parse(datagram, Mode::Lenient);
            let ours = reply.ok().and_then(|reply| reply_to(&reply, run));
            let Some((status, Ok(number))) = ours.map(|(status, number)| (status, number.parse())) else {
                report.stray += 1;
                return;
            };
            if status < 200 {
                report.provisional += 1;
                return;
            }
            match sent.answer(number) {
                Found::Open(at) => {
                    report.answered += 1;
                    self.open -= 1;
                    *report.statuses.entry(status).or_default() += 1;
                    let due = schedule.due_at(number);
                    if due >= self.warm {
                        self.rtt.record(now.saturating_sub(at));
                        self.latency.record(now.saturating_sub(due));
                    }
                }
                Found::Answered => report.duplicates += 1,
                Found::Unknown => report.stray += 1,
            }
        });
    }

    /// Until the next message is due, or a reply is there.
    fn wait(&mut self, start: Instant) {
        if self.next >= self.schedule.total() {
            return;
        }
        let left = self.schedule.due_at(self.next).saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        let sleep = if self.options.spin { left.saturating_sub(SPIN) } else { left };
        if sleep.is_zero() {
            std::hint::spin_loop();
        } else {
            self.flows.wait(sleep.min(LOOK));
        }
    }

    fn report(mut self, sending_took: Duration) -> LoadReport {
        self.report.lost = self.report.sent - self.report.answered;
        self.report.refused = self.flows.refused();
        self.report.achieved_rate = (self.report.sent as f64 / sending_took.as_secs_f64().max(1e-9)).round();
        self.report.rtt = self.rtt.summary();
        self.report.latency = self.latency.summary();
        self.report.curve = self.latency.curve();
        self.report.behind = self.behind.summary();
        self.report
    }
}

/// When each of the latest messages was sent, and whether it has been answered. Of fixed size, so that a run of days
/// needs no more memory than one of seconds.
struct InFlight(Vec<Slot>);

#[derive(Clone, Copy)]
struct Slot {
    number: u64,
    sent: Duration,
    answered: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Sent then, not answered until now.
    Open(Duration),
    Answered,
    /// Never sent, or so long ago that it counts as lost.
    Unknown,
}

impl InFlight {
    /// Remembers four seconds: one reply more than a second late is already a failure to its caller.
    fn new(rate: u64) -> Self {
        let free = Slot { number: u64::MAX, sent: Duration::ZERO, answered: true };
        Self(vec![free; (rate * 4).next_power_of_two() as usize])
    }

    fn slot(&mut self, number: u64) -> &mut Slot {
        let mask = self.0.len() as u64 - 1;
        &mut self.0[(number & mask) as usize]
    }

    fn is_open(&mut self, number: u64) -> bool {
        let slot = self.slot(number);
        slot.number == number && !slot.answered
    }

    fn insert(&mut self, number: u64, sent: Duration) {
        *self.slot(number) = Slot { number, sent, answered: false };
    }

    fn answer(&mut self, number: u64) -> Found {
        let slot = self.slot(number);
        if slot.number != number {
            return Found::Unknown;
        }
        if std::mem::replace(&mut slot.answered, true) { Found::Answered } else { Found::Open(slot.sent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Responder;

    #[test]
    fn an_answer_counts_once_and_only_while_remembered() {
        let mut sent = InFlight::new(1);
        sent.insert(0, Duration::from_micros(5));
        assert_eq!(sent.answer(0), Found::Open(Duration::from_micros(5)));
        assert_eq!(sent.answer(0), Found::Answered);
        assert_eq!(sent.answer(1), Found::Unknown);
        sent.insert(4, Duration::ZERO);
        assert_eq!(sent.answer(0), Found::Unknown);
    }

    #[test]
    fn all_is_answered_and_the_pace_is_kept() {
        let responder = Responder::start(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        for kind in [Kind::Options, Kind::Register, Kind::Invite] {
            let mut options = LoadOptions::new(responder.addresses()[0]);
            (options.kind, options.rate, options.seconds, options.flows) = (kind, 2000, 0.25, 8);
            let report = run(&options, &Stop::never()).unwrap();
            assert_eq!((report.sent, report.answered, report.lost), (500, 500, 0), "{report:?}");
            assert_eq!(report.statuses, BTreeMap::from([(200, 500)]));
            assert_eq!(report.provisional, if kind == Kind::Invite { 500 } else { 0 });
            assert!(report.achieved_rate < 2100.0, "{report:?}");
            assert!(report.latency.max >= report.rtt.p50 && report.rtt.p50 > 0.0);
        }
        let stats = responder.stop();
        assert_eq!([stats.method("OPTIONS"), stats.method("REGISTER"), stats.method("INVITE")], [500; 3]);
    }

    #[test]
    fn what_is_not_answered_is_sent_again_the_same() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut options = LoadOptions::new(socket.local_addr().unwrap());
        (options.rate, options.seconds, options.linger, options.repeat) = (10, 0.2, 1.7, true);
        let report = run(&options, &Stop::never()).unwrap();
        assert_eq!((report.sent, report.lost, report.retransmissions), (2, 2, 4), "{report:?}");
        socket.set_nonblocking(true).unwrap();
        let mut seen = BTreeMap::new();
        let mut buffer = [0; 2048];
        while let Ok(length) = socket.recv(&mut buffer) {
            *seen.entry(buffer[..length].to_vec()).or_insert(0) += 1;
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn garbage_is_sent_and_no_answer_awaited() {
        let responder = Responder::start(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let mut options = LoadOptions::new(responder.addresses()[0]);
        (options.kind, options.seconds) = (Kind::Garbage, 0.1);
        let report = run(&options, &Stop::never()).unwrap();
        assert_eq!((report.sent, report.answered), (100, 0));
        std::thread::sleep(LOOK);
        assert_eq!(responder.stop().garbage, 100);
    }

    #[test]
    fn where_nobody_listens_all_is_lost_and_said_to_be_refused() {
        let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut options = LoadOptions::new(closed);
        (options.rate, options.seconds, options.linger) = (100, 0.1, 0.1);
        let report = run(&options, &Stop::never()).unwrap();
        assert_eq!((report.sent, report.lost), (10, 10));
        assert!(report.refused > 0);
    }

    #[test]
    fn families_are_not_mixed() {
        let mut options = LoadOptions::new("127.0.0.1:5060".parse().unwrap());
        options.from = vec!["::1".parse().unwrap()];
        assert!(run(&options, &Stop::never()).unwrap_err().to_string().contains("families"));
    }

    /// A registrar that challenges who shows no credentials; what it was sent.
    fn registrar(socket: &std::net::UdpSocket, until: usize) -> Vec<String> {
        let mut seen = Vec::new();
        let mut buffer = [0; 2048];
        while seen.len() < until {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let request = String::from_utf8(buffer[..length].to_vec()).unwrap();
            let copied = request
                .lines()
                .filter(|line| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)));
            let copied: String = copied.map(|line| format!("{line}\r\n")).collect();
            let first = if request.contains("\r\nAuthorization: Digest username=\"phone") {
                "200 OK"
            } else {
                "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"e.com\", nonce=\"1\""
            };
            socket.send_to(format!("SIP/2.0 {first}\r\n{copied}Content-Length: 0\r\n\r\n").as_bytes(), from).unwrap();
            seen.push(request);
        }
        seen
    }

    #[test]
    fn with_a_password_every_flow_is_known_before_the_first_message() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut options = LoadOptions::new(socket.local_addr().unwrap());
        (options.kind, options.rate, options.seconds, options.flows) = (Kind::Register, 100, 0.1, 2);
        options.password = Some("secret".to_owned());
        let server = std::thread::spawn(move || registrar(&socket, 14));
        let mut known = 0;
        let report = run_once_known(&options, &Stop::never(), || known += 1).unwrap();
        assert_eq!((known, report.sent, report.answered), (1, 10, 10), "{report:?}");
        assert_eq!(report.statuses, BTreeMap::from([(200, 10)]));
        let seen = server.join().unwrap();
        let field = |text: &str, name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        // Of each flow: one that is challenged, and its like with credentials.
        for flow in ["phone0@", "phone1@"] {
            let mut of_flow = seen.iter().filter(|text| field(text, "From:").contains(flow));
            let [first, second] = [of_flow.next().unwrap(), of_flow.next().unwrap()];
            assert_eq!(field(first, "Call-ID:"), field(second, "Call-ID:"));
            assert_ne!(field(first, "Via:"), field(second, "Via:"));
            assert_eq!([field(first, "CSeq:"), field(second, "CSeq:")], ["CSeq: 1 REGISTER", "CSeq: 2 REGISTER"]);
            assert!(!first.contains("Authorization:") && second.contains("Authorization:"));
            assert_eq!(of_flow.count(), 5);
        }
    }
}
