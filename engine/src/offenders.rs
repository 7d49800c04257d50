//! Who asks for what is not there, and who keeps offending: the one is slowed here, the other blocked in the kernel, on all
//! nodes of a cluster; both are told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::runtime::Handle;
use tracing::{info, warn};
use vos_common::rate::Limit;
use vos_common::reason::Reason;
use vos_common::rule::Addr;

use crate::config::{Config, Mode, Redirect};
use crate::control::Control;
use crate::control::address::show;
use crate::control::ask::{Ask, By, Done, End};
use crate::control::clock::Clock;
use crate::control::decide::Filter;
use crate::control::decision::{Kind, Origin};
use crate::events::{self, Event, Events, What};
use crate::live::InForce;
use crate::policy::{
    Answer, Asked, Blacklist, BlacklistCount, Enumeration, Enumerator, Evidence, Name, Offender, Proof, Secret,
    Sources as _, Standing, Standings, net_of,
};
use crate::privileges;
use crate::samples::text;
use crate::seldom::Seldom;
use crate::xdp::{KernelSources, ip};

/// Who is named as having blocked an offender.
const WHO: &str = "blacklist";
/// Says to an INVITE that its sender may not call (RFC 3261 §21.4.4).
const FORBIDDEN: u16 = 403;
/// Sources that are told of in events: ten a second, and as many at once as are kept of a kind. Who spoofs chooses
/// how many there are.
const TOLD: Limit = Limit::per_second(10, events::RECENT_MAX as u32, 0);
/// How often the log tells of sources that are slowed: who spoofs chooses how many there are.
const SELDOM: Duration = Duration::from_secs(60);

/// Hears of offences, and has something done about them.
pub struct Offenders {
    enumeration: Enumeration,
    blacklist: Blacklist,
    reach: Reach,
    slowed: Seldom,
    /// How far [`TOLD`] is used up.
    told: u64,
}

/// Whom it speaks to.
#[derive(Clone)]
pub struct Reach {
    /// Who is told.
    pub events: Arc<Events>,
    /// Who blocks.
    pub control: Arc<Control>,
    /// Where that may wait for the disk.
    pub runtime: Handle,
}

impl Standings for KernelSources {
    fn standing(&self, source: &Addr) -> Standing {
        match (self.is_named(source), self.is_known(source)) {
            (true, _) => Standing::Named,
            (_, true) => Standing::Verified,
            _ => Standing::Unknown,
        }
    }

    fn is_blocked(&self, source: &Addr) -> bool {
        self.blocks(source)
    }
}

impl Offenders {
    /// By this configuration. What it has blocked before the start and what is blocked still, it knows.
    pub fn new(config: &Config, secret: &Secret, reach: Reach) -> Self {
        let enumeration = Enumeration::new(config.enumeration.clone(), secret.clone());
        let mut blacklist = Blacklist::new(config.blacklist.clone(), secret.clone());
        let blocks = Filter { kind: Some(Kind::Block), origin: Some(Origin::Detector), ..Filter::default() };
        let blocks = reach.control.list(&blocks).into_iter().map(|listed| listed.decision);
        blocks.filter(|block| &*block.who == WHO).for_each(|block| blacklist.remember(&block, Clock::now()));
        Self { enumeration, blacklist, reach, slowed: Seldom::default(), told: 0 }
    }

    /// What is counted of offences.
    pub fn count(&self) -> Arc<BlacklistCount> {
        self.blacklist.count()
    }

    /// What is in force may have changed, and time passes.
    pub fn follow(&mut self, in_force: &InForce, clock: Clock) {
        self.enumeration.set_config(&in_force.config.enumeration);
        self.blacklist.set_config(&in_force.config.blacklist);
        self.enumeration.expire(&in_force.ruleset.slowed, clock.mono_ns());
    }

    /// A response went out, which has proven this and has led to a suspension or not.
    pub fn answered(
        &mut self,
        answer: &Answer,
        (proof, is_suspended): (Option<Proof>, bool),
        in_force: &InForce,
        sources: &KernelSources,
        clock: Clock,
    ) {
        match proof {
            Some(Proof::Accepted(account)) => {
                self.blacklist.registered(&answer.to, account.as_bytes(), clock.mono_ns());
            }
            Some(Proof::Refused) => self.offended(Evidence::RefusedCredentials, &answer.to, sources, clock),
            None => {}
        }
        if is_suspended {
            self.offended(Evidence::Suspension, &answer.to, sources, clock);
        }
        let is_known = |source: &Addr| sources.is_known(source);
        let asked = self.enumeration.answered(answer, &in_force.ruleset.slowed, clock, is_known);
        if let Some(Asked::TooOften(enumerator)) = &asked {
            self.slows(enumerator, in_force, clock);
        }
        if asked.is_some() {
            self.offended(Evidence::NotFound, &answer.to, sources, clock);
        } else if answer.invite && answer.status == FORBIDDEN && self.enumeration.is_new(answer, clock.mono_ns()) {
            self.offended(Evidence::ForbiddenCall, &answer.to, sources, clock);
        }
    }

    /// Something was seen of `source` that offends.
    pub fn offended(&mut self, evidence: Evidence, source: &Addr, sources: &KernelSources, clock: Clock) {
        if let Some(offender) = self.blacklist.offended(evidence, source, clock, sources) {
            self.blocks(&offender);
        }
    }

    fn slows(&mut self, enumerator: &Enumerator, InForce { config, ruleset, .. }: &InForce, clock: Clock) {
        let Enumerator { source, answers, within, asked, found } = enumerator;
        let names = |names: &[Name]| names.iter().map(|name| text(name.as_bytes())).collect::<Vec<_>>();
        let goes_through = config.mode == Mode::Relay && config.relay.redirect != Redirect::None;
        let slowed = goes_through && ruleset.enforce & Reason::Slowed.bit() != 0;
        let (source, seconds) = (ip(*source), within.as_secs_f64());
        if let Some(sources) = self.slowed.more(1, SELDOM) {
            let others = if sources > 1 { format!(", and {} others", sources - 1) } else { String::new() };
            let is = if slowed { "is slowed" } else { "would be slowed" };
            info!(
                "enumeration: {source}{others} {is}: it asked {answers} times in {seconds:.0} s for what is not there"
            );
        }
        let Some(told) = TOLD.claim(self.told, clock.mono_ns()) else { return };
        self.told = told;
        let told = events::Enumeration {
            source: source.to_string(),
            answers: *answers,
            seconds,
            asked: names(asked),
            found: names(found),
            slowed,
        };
        self.reach.events.publish(Event::now(What::Enumeration(told)));
    }

    fn blocks(&self, offender: &Offender) {
        let (net, seconds) = (net_of(&offender.source), offender.ttl.as_secs().max(1));
        let points: BTreeMap<String, u64> = Evidence::ALL
            .into_iter()
            .zip(offender.points)
            .map(|(evidence, points)| (evidence.label().to_owned(), points.round() as u64))
            .filter(|(_, points)| *points > 0)
            .collect();
        let words: Vec<String> = points.iter().map(|(label, points)| format!("{label} {points}")).collect();
        let reason = format!("points: {}", words.join(", "));
        let told = events::Offender { source: show(net), points, limit: offender.limit, seconds };
        let ask = Ask::Put { net, kind: Kind::Block, end: End::After(seconds), reason: reason.as_str().into() };
        let Reach { events, control, .. } = self.reach.clone();
        privileges::on_pool(&self.reach.runtime, move || match control.ask(&By::feed(Origin::Detector, WHO), ask) {
            Ok(done) => tell(&events, net, &reason, told, &done),
            Err(refusal) => warn!("blacklist: {net} is not blocked ({reason}): {refusal}"),
        });
    }
}

/// It is blocked, or was already.
fn tell(events: &Events, net: IpNet, reason: &str, told: events::Offender, done: &Done) {
    if matches!(done, Done::Made { .. }) {
        info!("blacklist: {net} is blocked for {} s ({reason})", told.seconds);
        events.publish(Event::now(What::Offender(told)));
    }
}
