//! What the softswitch answers, as the egress program saw it leave: who sends OPTIONS that are answered, and who has
//! proven to be where it says it is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use crossbeam_channel::Receiver;
use sip_parse::{Index, Mode};
use vos_common::rule::Addr;
use vos_common::state::REPLY_HEAD;

use crate::control::clock::Clock;
use crate::live::Live;
use crate::policy::{Answer, OBSERVATIONS, Observation, Policy, Secret, VerifiedMap};
use crate::shield::Shield;
use crate::xdp::ip;

/// How often the ring is looked into. It holds 4 MiB; at 40,000 responses of 1 KB a second that is 100 ms.
const PERIOD: Duration = Duration::from_millis(20);
/// How often those who are verified no more are taken out. Until then they are still counted, and only that.
const EXPIRY: Duration = Duration::from_secs(10);
/// Addresses remembered. More, and the one that was seen longest ago is forgotten.
pub const CANDIDATES_MAX: usize = 4_096;

/// Who sends OPTIONS that the softswitch answers with 2xx.
#[derive(Debug, Default)]
pub struct Pings {
    seen: Mutex<HashMap<IpAddr, (u64, Instant)>>,
}

impl Pings {
    /// Each address with the number of its OPTIONS that were answered, and when the last was.
    pub fn list(&self) -> Vec<(IpAddr, u64, Duration)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = seen.iter().map(|(ip, (count, last))| (*ip, *count, last.elapsed())).collect();
        list.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        list
    }

    /// A response went out.
    pub fn observe(&self, answer: &Answer) {
        if !answer.options || !(200..=299).contains(&answer.status) {
            return;
        }
        let to = ip(answer.to);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= CANDIDATES_MAX && !seen.contains_key(&to) {
            let oldest = seen.iter().min_by_key(|(_, (_, last))| *last).map(|(ip, _)| *ip);
            oldest.map(|ip| seen.remove(&ip));
        }
        let entry = seen.entry(to).or_insert((0, Instant::now()));
        *entry = (entry.0 + 1, Instant::now());
    }
}

/// The policy's thread: reads the softswitch's answers and the workers' observations.
pub struct Observer<M> {
    /// Who sends OPTIONS.
    pub pings: Arc<Pings>,
    /// Who has proven what.
    pub policy: Policy<M>,
    /// What the workers saw.
    pub observations: Receiver<Observation>,
    /// What observations are hashed with.
    pub secret: Secret,
    /// Who is told what is answered.
    pub shield: Arc<Shield>,
    /// How long a proof is good for, and whatever else may change at any time.
    pub live: Arc<Live>,
}

impl<M: VerifiedMap> Observer<M> {
    /// Works until `stop`.
    pub fn follow(mut self, mut ring: RingBuf<MapData>, stop: &AtomicBool) {
        let mut index = Index::new();
        let mut seen = Vec::with_capacity(OBSERVATIONS);
        let mut last_expiry = Instant::now();
        // What left while no engine was there: nobody knows when, so it proves nothing.
        while ring.next().is_some() {}
        while !stop.load(Relaxed) {
            self.policy.set_span(self.live.in_force().config.rates.verified_for.as_secs());
            // What an ACK acknowledges left before it came: so look for ACKs, then for answers, then at the ACKs.
            seen.extend(self.observations.try_iter().take(OBSERVATIONS));
            while let Some(record) = ring.next() {
                self.read(&record, &mut index, Clock::now().mono_ns());
            }
            for observation in seen.drain(..) {
                self.observe(&observation, Clock::now().mono_ns());
            }
            if last_expiry.elapsed() > EXPIRY {
                self.policy.expire(Clock::now().mono_ns());
                last_expiry = Instant::now();
            }
            std::thread::sleep(PERIOD);
        }
    }

    /// Reads a record of the egress program's at `now` (ns of `CLOCK_MONOTONIC`).
    fn read(&mut self, record: &[u8], index: &mut Index, now: u64) {
        let Some((to, response)) = read(record) else { return };
        let Ok(message) = index.parse(response, Mode::Lenient) else { return };
        if let Some(answer) = Answer::of(&message, &to, &self.secret) {
            self.shield.answered(answer.transaction);
            self.observe(&Observation::Answer(answer), now);
        }
    }

    /// Something was seen by `now` (ns of `CLOCK_MONOTONIC`).
    pub fn observe(&mut self, observation: &Observation, now: u64) {
        match observation {
            Observation::Ack(ack) => self.policy.ack(ack, now),
            Observation::Answer(answer) => {
                self.pings.observe(answer);
                self.policy.answer(answer, now);
            }
        }
    }
}

/// A record of the ring: address, port, length, payload ([`vos_common::state::Reply`]).
fn read(record: &[u8]) -> Option<(Addr, &[u8])> {
    let to = Addr::from_bytes(*record.first_chunk()?);
    let length = u32::from_ne_bytes(*record.get(20..)?.first_chunk()?) as usize;
    Some((to, record.get(REPLY_HEAD..REPLY_HEAD + length)?))
}
