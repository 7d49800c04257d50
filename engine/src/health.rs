//! Is the softswitch alive? The engine asks it with OPTIONS of its own, from sockets of its own.
//!
//! Any SIP answer is a sign of life, a 403 as well as a 200. "Port unreachable" is a death at once; silence is one of who
//! has answered before, since some softswitches answer no OPTIONS, and of a backend of which others answer.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sip_parse::{Index, Mode, StartLine};
use tracing::{info, warn};

use crate::config;
use crate::events::{Event, Events, SoftswitchChange, SoftswitchState, What};
use crate::relay::Line;

/// Most softswitches: a bit each.
pub const TARGETS_MAX: usize = 64;
/// How often the thread looks for other targets and the end. Longer: a stop waits for it.
const ROUND: Duration = Duration::from_millis(50);
/// Questions for which "host unreachable" is believed: the kernel does not say it of each. Fewer, and a host that is
/// gone seems merely silent in between.
const UNREACHABLE_FOR: u32 = 8;

/// Somebody who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is called in log and events. Targets of one name are one softswitch, which lives as long as one does.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Does it expect a PROXY protocol line in front of each datagram?
    pub proxy_line: bool,
}

/// What is known of the softswitches. Those who ask pay for an atomic load.
#[derive(Debug, Default)]
pub struct Health {
    /// A bit for each target.
    there: AtomicU64,
    /// A bit for each that is dead.
    dead: AtomicU64,
    asked: Mutex<Asked>,
}

#[derive(Clone, Debug, Default)]
struct Asked {
    targets: Vec<Option<Target>>,
    pace: config::Health,
    /// Counts changes.
    version: u64,
}

impl Asked {
    /// A bit for each target of this name.
    fn of_name(&self, name: &str) -> u64 {
        let named = self.targets.iter().enumerate();
        named.filter(|(_, target)| target.as_ref().is_some_and(|target| target.name == name)).map(|(i, _)| 1 << i).sum()
    }
}

impl Health {
    /// From now on these are asked, at this pace. The place in the list is the target's number, below
    /// [`TARGETS_MAX`]; what stays where it is keeps its state, what is new counts as alive.
    pub fn watch(&self, targets: &[Option<Target>], pace: &config::Health) {
        let mut asked = self.asked();
        let targets = targets[..targets.len().min(TARGETS_MAX)].to_vec();
        let is_new = |number: usize, target: &Option<Target>| asked.targets.get(number) != Some(target);
        let new: u64 = targets.iter().enumerate().filter(|(i, target)| is_new(*i, target)).map(|(i, _)| 1 << i).sum();
        let there: u64 = targets.iter().enumerate().filter(|(_, t)| t.is_some()).map(|(i, _)| 1 << i).sum();
        self.dead.fetch_and(there & !new, Relaxed);
        self.there.store(there, Relaxed);
        *asked = Asked { targets, pace: pace.clone(), version: asked.version + 1 };
    }

    /// Is this one known to be dead?
    pub fn is_dead(&self, number: usize) -> bool {
        number < TARGETS_MAX && self.dead.load(Relaxed) & 1 << number != 0
    }

    /// Is any of them alive, as far as is known?
    pub fn alive(&self) -> bool {
        self.there.load(Relaxed) & !self.dead.load(Relaxed) != 0
    }

    /// Are there some, and all known to be dead?
    pub fn all_dead(&self) -> bool {
        self.there.load(Relaxed) != 0 && !self.alive()
    }

    /// How they are, taken as one; `None`: nobody is asked.
    pub fn state(&self) -> Option<SoftswitchState> {
        match (self.there.load(Relaxed), self.alive()) {
            (0, _) => None,
            (_, true) => Some(SoftswitchState::Alive),
            (_, false) => Some(SoftswitchState::Dead),
        }
    }

    /// Asks until `stop`, and tells `events` what has changed.
    pub fn run(&self, events: &Events, stop: &AtomicBool) {
        let mut asked = Asked::default();
        let mut patients: Vec<Option<Patient>> = Vec::new();
        let (mut index, mut buffer) = (Index::new(), vec![0; 65_536]);
        while !stop.load(Relaxed) {
            let changed = Some(self.asked()).filter(|now| now.version != asked.version).map(|now| now.clone());
            if let Some(changed) = changed {
                patients = admitted(patients, &changed.targets);
                asked = changed;
            }
            let fleet_answers = patients.iter().flatten().any(|p| p.target.proxy_line && p.signs.answers);
            let now = Instant::now();
            for (number, patient) in patients.iter_mut().enumerate() {
                let Some(patient) = patient else { continue };
                if now >= patient.next {
                    patient.next = now + asked.pace.interval;
                    patient.ask();
                }
                patient.listen(&mut index, &mut buffer);
                let dead = patient.signs.is_dead(asked.pace.failures, Silence::of(&patient.target, fleet_answers));
                self.note(number, patient, dead, asked.version, events);
            }
            wait(&patients);
        }
    }

    /// Has this one died, or come back? Not if another has taken its place meanwhile.
    fn note(&self, number: usize, patient: &Patient, dead: bool, version: u64, events: &Events) {
        let bit = 1u64 << number;
        let asked = self.asked();
        if asked.version != version || (self.dead.load(Relaxed) & bit != 0) == dead {
            return;
        }
        let before = self.dead.fetch_xor(bit, Relaxed);
        let Target { name, address, .. } = &patient.target;
        let one = asked.of_name(name);
        drop(asked);
        let dies = |dead: u64| one & !dead == 0;
        if dies(before) == dies(before ^ bit) {
            return;
        }
        let state = match dead {
            true => SoftswitchState::Dead,
            false => SoftswitchState::Alive,
        };
        match dead {
            true => warn!("softswitch {name} at {address} is dead: {}", patient.signs.why()),
            false => info!("softswitch {name} at {address} is alive again"),
        }
        events.publish(Event::now(What::Softswitch(SoftswitchChange { name: name.clone(), state })));
    }

    /// Has it die, or come back.
    #[cfg(test)]
    pub(crate) fn declare(&self, number: usize, dead: bool) {
        let bit = 1 << number;
        if dead {
            self.dead.fetch_or(bit, Relaxed)
        } else {
            self.dead.fetch_and(!bit, Relaxed)
        };
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until somebody answers, or it is time to look again.
fn wait(patients: &[Option<Patient>]) {
    let sockets = patients.iter().flatten().filter_map(|patient| patient.socket.as_ref());
    let mut fds: Vec<PollFd<'_>> = sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    let now = Instant::now();
    let next = patients.iter().flatten().map(|patient| patient.next.saturating_duration_since(now)).min();
    let patience = next.unwrap_or(ROUND).min(ROUND).as_millis() + 1;
    let _interrupted = poll(&mut fds, PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO));
}

/// Those who stay, and those who come.
fn admitted(mut before: Vec<Option<Patient>>, targets: &[Option<Target>]) -> Vec<Option<Patient>> {
    before.resize_with(targets.len(), || None);
    let admit = |(before, target): (Option<Patient>, &Option<Target>)| {
        let target = target.as_ref()?;
        before.filter(|before| before.target == *target).or_else(|| Some(Patient::new(target.clone())))
    };
    before.into_iter().zip(targets).map(admit).collect()
}

/// One of them, and what is known.
#[derive(Debug)]
struct Patient {
    target: Target,
    /// Connected, so that ICMP errors are told; `None` until the kernel grants one.
    socket: Option<UdpSocket>,
    /// Tells its answers from what others send in its name.
    call_id: String,
    sent: u32,
    next: Instant,
    signs: Signs,
}

impl Patient {
    fn new(target: Target) -> Self {
        let call_id = format!("{:016x}", RandomState::new().build_hasher().finish());
        Self { target, socket: None, call_id, sent: 0, next: Instant::now(), signs: Signs::default() }
    }

    fn ask(&mut self) {
        if let Err(error) = self.try_ask() {
            self.signs.failed(&error);
        }
    }

    fn try_ask(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            let any: SocketAddr = match self.target.address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            // No route yet: told like any other error, and tried again.
            if let Err(error) = socket.connect(self.target.address) {
                self.signs.asked();
                return Err(error);
            }
            self.socket = Some(socket);
        }
        let Some(socket) = &self.socket else { return Ok(()) };
        self.sent += 1;
        let datagram = options(&self.target, socket.local_addr()?, &self.call_id, self.sent);
        self.signs.asked();
        socket.send(&datagram).map(drop)
    }

    /// Takes what has come.
    fn listen(&mut self, index: &mut Index, buffer: &mut [u8]) {
        while let Some(socket) = &self.socket {
            match socket.recv(buffer) {
                Ok(length) if answers(&buffer[..length], &self.call_id, index) => self.signs.answered(),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.signs.failed(&error),
            }
        }
    }
}

/// The question. Its Request-URI has no user: it is the server itself that is asked (RFC 3261 §11).
fn options(target: &Target, from: SocketAddr, call_id: &str, number: u32) -> Vec<u8> {
    let to = target.address;
    let line = target.proxy_line.then(|| Line::new(&from, &to));
    let text = format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call_id}{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{from}>;tag={call_id}\r\nTo: <sip:{to}>\r\nCall-ID: {call_id}\r\n\
         CSeq: {number} OPTIONS\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n"
    );
    [line.as_ref().map_or(&[][..], Line::as_bytes), text.as_bytes()].concat()
}

/// Is it a response to one of ours?
fn answers(datagram: &[u8], call_id: &str, index: &mut Index) -> bool {
    let message = datagram.get(crate::relay::line_of(datagram)..).map(|text| index.parse(text, Mode::Lenient));
    let Some(Ok(message)) = message else { return false };
    matches!(message.start_line(), StartLine::Response { .. }) && message.call_id() == Ok(call_id.as_bytes())
}

/// What the silence of one means that has never answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    /// This host's own kernel says each time that nobody listens: now somebody does.
    Life,
    /// No backend answers: it speaks neither for life nor for death.
    Nothing,
    /// Other backends answer.
    Death,
}

impl Silence {
    fn of(target: &Target, fleet_answers: bool) -> Self {
        match (target.proxy_line, fleet_answers) {
            (false, _) => Self::Life,
            (true, false) => Self::Nothing,
            (true, true) => Self::Death,
        }
    }
}

/// What speaks for life and what for death.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Signs {
    /// It has answered once: its silence means something.
    answers: bool,
    /// Questions in a row without an answer, the last one not among them before its time is over.
    silent: u32,
    waiting: bool,
    /// Nobody listens there, and nothing has been heard since.
    refused: bool,
    /// There is no way to it: questions for which this is still believed.
    unreachable: u32,
}

impl Signs {
    /// It is asked, again.
    fn asked(&mut self) {
        if self.waiting {
            self.silent = self.silent.saturating_add(1);
        }
        self.waiting = true;
        self.unreachable = self.unreachable.saturating_sub(1);
    }

    fn answered(&mut self) {
        *self = Self { answers: true, ..Self::default() };
    }

    fn failed(&mut self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                // What counts from here on is silence after this.
                (self.refused, self.silent, self.waiting) = (true, 0, false);
            }
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => self.unreachable = UNREACHABLE_FOR,
            // The engine's own trouble, such as a lack of memory, says nothing of others.
            _ => self.waiting = false,
        }
    }

    fn is_dead(&self, failures: u32, silence: Silence) -> bool {
        let silent = self.silent >= failures;
        match silence {
            _ if self.answers || self.unreachable > 0 => self.refused || silent,
            Silence::Death => self.refused || silent,
            Silence::Nothing => self.refused,
            // It was refused, and is silent again as it always was.
            Silence::Life => self.refused && !silent,
        }
    }

    fn why(&self) -> &'static str {
        match self {
            Self { refused: true, .. } => "nobody listens there (ICMP port unreachable)",
            Self { unreachable: 1.., .. } => "there is no way to it (ICMP unreachable)",
            Self { answers: true, .. } => "it answers no OPTIONS any more",
            _ => "it answers no OPTIONS, and others do",
        }
    }
}

#[cfg(test)]
mod tests;
