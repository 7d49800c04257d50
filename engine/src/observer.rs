//! The policy's thread: hears what the workers saw and what the softswitch answers, and says what comes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use aya::maps::{MapData, RingBuf};
use crossbeam_channel::Receiver;
use sip_parse::{Index, Mode};
use vos_common::rule::Addr;

use crate::control::clock::Clock;
use crate::datagram::End;
use crate::detector;
use crate::egress::{self, Pings};
use crate::live::Live;
use crate::moves::Moves;
use crate::offenders::Offenders;
use crate::policy::gateways::{Teller, Watch};
use crate::policy::{
    Ack, Answer, Granted, OBSERVATIONS, Observation, Online, Policy, Registrar, Said, Secret, Sources as _, VerifiedMap,
};
use crate::records::{Ended, Records};
use crate::shield::Shield;
use crate::warden::Warden;
use crate::xdp::KernelSources;

/// How often the ring is looked into. It holds 4 MiB; at 40,000 responses of 1 KB a second that is 100 ms.
const PERIOD: Duration = Duration::from_millis(20);
/// How often those who are verified no more are taken out. Until then they are still counted, and only that.
const EXPIRY: Duration = Duration::from_secs(10);
/// How often is looked for suspensions whose time is over.
const LOOK: Duration = Duration::from_millis(200);
/// What the thread works with.
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
    /// Looks after the calls of trunks.
    pub trunks: Watch,
    /// Tells people of them.
    pub teller: Teller,
    /// How long a proof is good for, and whatever else may change at any time.
    pub live: Arc<Live>,
    /// Who is trusted.
    pub sources: KernelSources,
    /// Counted for whoever looks for attacks.
    pub answers: Arc<detector::Answers>,
    /// Who is told whom the policy has suspended.
    pub warden: Warden,
    /// Who hears of offences.
    pub offenders: Offenders,
    /// Where calls that come to nothing are told.
    pub records: Records,
    /// Who is registered.
    pub registrar: Registrar,
    /// Who answers.
    pub online: Arc<Online>,
    /// Tells people who has moved.
    pub moves: Moves,
}

/// What was seen, until it is its turn.
#[derive(Default)]
struct Seen {
    said: Vec<Said>,
    acks: Vec<Ack>,
    granted: Vec<Granted>,
}

impl<M: VerifiedMap> Observer<M> {
    /// Works until `stop`.
    pub fn follow(mut self, mut ring: RingBuf<MapData>, stop: &AtomicBool) {
        let mut index = Index::new();
        let (mut seen, mut last_expiry, mut last_look) = (Seen::default(), Instant::now(), Instant::now());
        // What left while no engine was there: nobody knows when, so it proves nothing.
        while ring.next().is_some() {}
        while !stop.load(Relaxed) {
            let in_force = self.live.in_force();
            self.policy.set_span(in_force.config.rates.verified_for.as_secs());
            self.policy.registrations.set_config(&in_force.config.registration);
            drop(in_force);
            // What an ACK acknowledges left before it came: so the ACKs of now are looked at once the answers are, and those
            // that come meanwhile another time. What is answered came before its answer left: so that is looked at first.
            let early = self.take(&mut seen);
            while let Some(record) = ring.next() {
                let said = self.read(&record, &mut index, &mut seen.granted);
                seen.said.extend(said);
            }
            let late = self.take(&mut seen);
            seen.acks.extend(early);
            for said in seen.said.drain(..) {
                match said {
                    Said::Answer(answer) => self.answered(&answer, Clock::now()),
                    Said::Bye(bye) => {
                        let gateways = &self.live.in_force().ruleset.gateways;
                        gateways.bye_left(bye.from, bye.to, Clock::now().mono_ns());
                    }
                }
            }
            let moves_max = self.live.in_force().config.registration.moves_max;
            for granted in seen.granted.drain(..) {
                let now = Clock::now().mono_ns();
                let moved = self.registrar.granted(&granted, moves_max, now);
                moved.into_iter().for_each(|moved| self.moves.tell(&moved, now));
            }
            for ack in seen.acks.drain(..) {
                self.policy.ack(&ack, Clock::now().mono_ns());
            }
            seen.acks.extend(late);
            if last_look.elapsed() > LOOK {
                let over = self.policy.registrations.expire(Clock::now().mono_ns());
                over.iter().for_each(|over| self.warden.ended(over));
                self.offenders.follow(&self.live.in_force(), Clock::now());
                last_look = Instant::now();
            }
            let gateways = Arc::clone(&self.live.in_force().ruleset.gateways);
            self.trunks.look(&gateways, Clock::now().mono_ns(), |news| {
                self.records.long_call(&news);
                self.teller.tell(news);
            });
            if last_expiry.elapsed() > EXPIRY {
                self.policy.expire(Clock::now().mono_ns());
                self.registrar.expire(Clock::now().mono_ns());
                last_expiry = Instant::now();
            }
            std::thread::sleep(PERIOD);
        }
    }

    /// What the workers have told: attempts are noted at once, ACKs are given back.
    fn take(&mut self, seen: &mut Seen) -> Vec<Ack> {
        let (mut acks, now) = (Vec::new(), Clock::now().mono_ns());
        for observation in self.observations.try_iter().take(OBSERVATIONS) {
            match observation {
                Observation::Ack(ack) => acks.push(ack),
                Observation::Attempt(attempt) => self.policy.registrations.attempted(attempt, now),
                Observation::Answer(answer) => seen.said.push(Said::Answer(answer)),
                Observation::Bye(bye) => seen.said.push(Said::Bye(bye)),
                Observation::Registering(registering) => self.registrar.asked(registering, now),
                Observation::Granted(granted) => seen.granted.push(granted),
                Observation::Heard(heard) => self.online.heard(heard),
                Observation::Offence(evidence, source) => {
                    self.offenders.offended(evidence, &source, &self.sources, Clock::now());
                }
            }
        }
        acks
    }

    /// Reads a record of the egress program's.
    fn read(&self, record: &[u8], index: &mut Index, granted: &mut Vec<Granted>) -> Option<Said> {
        let (to, port, said) = egress::read(record)?;
        let message = index.parse(said, Mode::Lenient).ok()?;
        let said = Said::of(&message, &to, &self.secret)?;
        if let Said::Answer(answer) = &said {
            self.shield.answered(answer.transaction);
            if answer.grants() && self.live.in_force().config.registration.watch {
                granted.extend(Granted::of(&message, &End { addr: to, port }, &self.secret));
            }
            if answer.invite && answer.status >= 200 && self.records.is_on() {
                let ended = Ended::of(&message, &to, port, &self.secret);
                ended.into_iter().for_each(|ended| self.records.ended(Box::new(ended)));
            }
        }
        Some(said)
    }

    fn answered(&mut self, answer: &Answer, clock: Clock) {
        self.pings.observe(answer);
        self.answers.count(answer);
        let in_force = self.live.in_force();
        if answer.status >= 200 && (answer.register || answer.invite) {
            in_force.ruleset.parallel.ends(&answer.to, &self.secret, answer.transaction);
        }
        self.policy.answer(answer, clock.mono_ns());
        in_force.ruleset.gateways.answered(&answer.of_call(), clock.mono_ns());
        let is_trusted = |address: &Addr| self.sources.is_trusted(address);
        let suspension = self.policy.registrations.answered(answer, clock, is_trusted);
        if let Some(suspension) = &suspension {
            self.warden.begun(suspension, clock);
        }
        let proven = (self.policy.registrations.take_proof(), suspension.is_some());
        self.offenders.answered(answer, proven, &in_force, &self.sources, clock);
    }
}
