use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};

use sip_parse::{Index, Message, Method, Mode, Reply, StartLine};
use vos_common::rate::Limit;

use super::nonce::{LENGTH, Nonces};
use crate::events::Decoy;
use crate::recent::Recent;
use crate::samples::text;

/// Answers a second to one source, and at once. Fewer: a scanner that is quick is answered too rarely to be caught at once.
const ANSWERS: (u32, u32) = (5, 20);
/// Answers a second to all sources together, and at once: what a spoofed flood can make the decoys send to others.
const ANSWERS_ALL: (u32, u32) = (200, 400);
/// Reports of one source, and attempts to block it: one in ten seconds. `vosctl events` is for people, and whom the guard
/// protects must not fill the log.
const REPORTS: Limit = Limit { every: 10_000_000_000, ahead: 0 };
/// Reports a second of all sources together, and at once.
const REPORTS_ALL: (u32, u32) = (20, 40);
/// Bytes by which an answer may be longer than what it answers: the challenge, a tag, `received` and `rport`. With this
/// bound, decoys make the least sensible amplifier: twice the bytes of the shortest request, [`ANSWERS_ALL`] times a second.
pub(super) const LONGER_MAX: usize = 256;
/// Sources whose limits are remembered, 512 KiB. Of more, those that were quiet longest begin anew.
const SOURCES: usize = 1 << 13;
/// Room for an answer: the longest request that is answered fits a frame of Ethernet.
const ANSWER_MAX: usize = 1_500;

/// What becomes of a datagram.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Is it SIP, and a request?
    pub(super) is_sip: bool,
    /// Bytes of the answer in [`Trap::answer`].
    pub(super) answer: Option<usize>,
    /// Has the source shown a nonce that only it can have read?
    pub(super) caught: bool,
    /// What there is to tell.
    pub(super) report: Option<Decoy>,
}

/// What there are limits of.
#[derive(Clone, Copy, Debug)]
enum Claim {
    Answer,
    Report,
    Catch,
}

/// What is decided about whom, without sockets.
#[derive(Debug)]
pub(super) struct Trap {
    nonces: Nonces,
    secret: RandomState,
    /// The clocks of each, by [`Claim`].
    sources: Recent<IpAddr, [u64; 3], 4>,
    all: [u64; 3],
    index: Index,
    pub(super) answer: Vec<u8>,
}

impl Trap {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            nonces: Nonces::new()?,
            secret: RandomState::new(),
            sources: Recent::of(SOURCES),
            all: [0; 3],
            index: Index::new(),
            answer: vec![0; ANSWER_MAX],
        })
    }

    /// What becomes of `datagram`, which came `from` there to port `port` at `at` at `now`, ns of `CLOCK_MONOTONIC`.
    pub(super) fn look(&mut self, datagram: &[u8], from: SocketAddr, at: IpAddr, port: u16, now: u64) -> Outcome {
        // moved out, so that the message does not hold the rest
        let mut index = std::mem::take(&mut self.index);
        let outcome = match index.parse(datagram, Mode::Lenient) {
            Ok(message) => self.look_at(&message, from, (at, port), now),
            Err(_) => Outcome::default(),
        };
        self.index = index;
        outcome
    }

    fn look_at(&mut self, message: &Message<'_>, from: SocketAddr, to: (IpAddr, u16), now: u64) -> Outcome {
        let StartLine::Request { method, .. } = message.start_line() else { return Outcome::default() };
        let source = from.ip().to_canonical();
        let second = (now / 1_000_000_000) as u32;
        let credentials = message.authorizations().chain(message.proxy_authorizations());
        let mut nonces = credentials.flatten().filter_map(|shown| shown.nonce());
        if nonces.any(|nonce| self.nonces.is_good(nonce, source, second)) {
            let caught = self.claim(Claim::Catch, source, now);
            let report = caught.then(|| seen(message, method, from, to, true));
            return Outcome { is_sip: true, caught, report, answer: None };
        }
        let report = self.claim(Claim::Report, source, now).then(|| seen(message, method, from, to, false));
        let answer = (method != Method::Ack && self.claim(Claim::Answer, source, now))
            .then(|| self.challenge(message, method, from, second));
        Outcome { is_sip: true, caught: false, report, answer: answer.flatten() }
    }

    /// May this be done once more for `source`?
    fn claim(&mut self, what: Claim, source: IpAddr, now: u64) -> bool {
        let of = |(rate, burst): (u32, u32)| Limit::per_second(rate, burst, 0);
        let (own, all) = match what {
            Claim::Answer => (of(ANSWERS), of(ANSWERS_ALL)),
            Claim::Report => (REPORTS, of(REPORTS_ALL)),
            Claim::Catch => (REPORTS, of(ANSWERS_ALL)),
        };
        let (what, hash) = (what as usize, self.secret.hash_one(source));
        let mut clocks = self.sources.get(hash, &source).map_or([0; 3], |(clocks, _)| clocks);
        let Some(clock) = own.claim(clocks[what], now) else { return false };
        let Some(shared) = all.claim(self.all[what], now) else { return false };
        clocks[what] = clock;
        self.all[what] = shared;
        self.sources.put(hash, source, clocks, now);
        true
    }

    /// Writes the answer; `None`: it would be too long, or the request is not fit to be answered.
    fn challenge(&mut self, message: &Message<'_>, method: Method<'_>, from: SocketAddr, second: u32) -> Option<usize> {
        let nonce = self.nonces.make(from.ip().to_canonical(), second);
        let challenge = format!("Digest realm=\"sip\",nonce=\"{nonce}\"");
        debug_assert_eq!(nonce.len(), LENGTH);
        let headers =
            [(if method == Method::Register { "WWW-Authenticate" } else { "Proxy-Authenticate" }, &*challenge)];
        let reply = match method {
            Method::Cancel => Reply::new(200, "OK"),
            Method::Register => Reply::new(401, "Unauthorized").headers(&headers),
            _ => Reply::new(407, "Proxy Authentication Required").headers(&headers),
        };
        let tag = self.nonces.tag(message.call_id().ok()?);
        let length = reply.to_tag(tag.as_bytes()).source(from).write(message, &mut self.answer).ok()?;
        (length <= message.datagram().len() + LONGER_MAX).then_some(length)
    }
}

/// What there is to tell of a request.
fn seen(message: &Message<'_>, method: Method<'_>, from: SocketAddr, to: (IpAddr, u16), caught: bool) -> Decoy {
    Decoy {
        source: from.ip().to_canonical().to_string(),
        source_port: from.port(),
        destination: to.0.to_string(),
        destination_port: to.1,
        method: text(method.as_bytes()),
        start_line: text(first_line(message.datagram())),
        user_agent: message.user_agent().map(text),
        caught,
    }
}

fn first_line(datagram: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = datagram.iter().position(|byte| !is_end(byte)).unwrap_or(0);
    datagram[start..].split(is_end).next().unwrap_or_default()
}
