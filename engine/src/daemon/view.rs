//! What the API shows of the engine.

use std::io;
use std::sync::Arc;

use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::config::{Inject, Mode};
use crate::control::clock::Clock;
use crate::control::decide::Filter;
use crate::control::decision::Kind;
use crate::control::{Control, Engine};
use crate::detector;
use crate::egress::Pings;
use crate::events::{Events, SoftswitchState};
use crate::feed::{self, Tallies};
use crate::health::Health;
use crate::live::Live;
use crate::live::wire::Backend;
use crate::policy;
use crate::pressure::Pressure;
use crate::records::Records;
use crate::relay::Switchboard;
use crate::warden::Warden;
use crate::worker::Stats;
use crate::xdp::Counters;

/// How the engine is connected, for the log and for `vosctl stats`.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) mode: Mode,
    pub(super) queues: u32,
    pub(super) native: bool,
    pub(super) zero_copy: bool,
    pub(super) inject: Option<Inject>,
}

/// What the API shows.
pub(super) struct View {
    pub(super) shape: Shape,
    pub(super) counters: Arc<Counters>,
    pub(super) stats: Vec<Arc<Stats>>,
    pub(super) pings: Arc<Pings>,
    pub(super) pressure: Arc<Pressure>,
    pub(super) verified: Arc<policy::Count>,
    pub(super) suspensions: Arc<policy::Suspensions>,
    pub(super) offences: Arc<policy::BlacklistCount>,
    pub(super) bindings: Arc<policy::Bindings>,
    pub(super) online: Arc<policy::Online>,
    pub(super) warden: Warden,
    pub(super) events: Arc<Events>,
    pub(super) control: Arc<Control>,
    pub(super) live: Arc<Live>,
    pub(super) tallies: Arc<Tallies>,
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) board: Option<Arc<Switchboard>>,
    pub(super) health: Arc<Health>,
    pub(super) records: Records,
    pub(super) detector: Arc<Mutex<detector::View>>,
    /// When the engine was started, unix seconds.
    pub(super) started: f64,
}

impl View {
    pub(super) fn xdp(&self) -> &'static str {
        if self.shape.native { "native" } else { "generic" }
    }

    pub(super) fn inject(&self) -> &'static str {
        match self.shape.inject {
            Some(Inject::Raw) => "raw",
            Some(_) => "reentry",
            None => "none",
        }
    }

    pub(super) fn bind(&self) -> &'static str {
        match (self.relaying(), self.shape.zero_copy) {
            (false, _) => "none",
            (true, true) => "zerocopy",
            (true, false) => "copy",
        }
    }
}

impl Engine for View {
    fn live(&self) -> &Live {
        &self.live
    }

    fn relaying(&self) -> bool {
        !self.stats.is_empty()
    }

    fn peers(&self) -> Option<(usize, usize)> {
        let peers: Vec<bool> = self.stats.iter().filter_map(|stats| stats.peer()).collect();
        let present = peers.iter().filter(|present| **present).count();
        (!peers.is_empty()).then_some((present, peers.len()))
    }

    fn softswitch(&self) -> Option<SoftswitchState> {
        self.health.state()
    }

    fn stats(&self) -> Value {
        let mut json = self.counters.to_json();
        json.insert("mode".into(), self.shape.mode.word().into());
        json.insert("queues".into(), self.shape.queues.into());
        json.insert("xdp".into(), self.xdp().into());
        json.insert("bind".into(), self.bind().into());
        json.insert("relay".into(), self.live.in_force().config.relay.to.to_string().into());
        json.insert("inject".into(), self.inject().into());
        json.insert("softswitch".into(), json!(self.health.state()));
        json.insert("replies_lost".into(), self.counters.replies_lost().into());
        let decisions = self.control.figures().decisions;
        let decisions =
            Kind::ALL.map(|kind| (kind.word().to_owned(), decisions[kind as usize].iter().sum::<usize>().into()));
        json.insert("decisions".into(), Map::from_iter(decisions).into());
        json.insert("verified".into(), self.verified.to_json());
        json.insert("suspensions".into(), self.suspensions.to_json());
        json.insert("slowed".into(), self.live.in_force().ruleset.slowed.to_json());
        json.insert("blacklist".into(), self.offences.to_json());
        json.insert("registrations".into(), self.bindings.to_json());
        json.insert("pressure".into(), self.pressure.to_json());
        json.insert("records".into(), self.records.to_json());
        let workers: Vec<Value> = (0..).zip(&self.stats).map(|(queue, stats)| stats.to_json(queue)).collect();
        json.insert("workers".into(), workers.into());
        if let Some(board) = &self.board {
            json.insert("proxy".into(), board.to_json());
        }
        json.into()
    }

    fn backends(&self) -> Vec<Backend> {
        self.board.as_ref().map_or_else(Vec::new, |board| board.backends())
    }

    fn suggest_allow(&self) -> Value {
        let list = |kind| self.control.list(&Filter { kind: Some(kind), ..Filter::default() });
        let rules = [Kind::Trust, Kind::Allow].into_iter().flat_map(list);
        let allowed: Vec<IpNet> = rules.map(|rule| rule.decision.net).collect();
        let candidates: Vec<Value> = self
            .pings
            .list()
            .into_iter()
            .filter(|(ip, _, _)| !allowed.iter().any(|net| net.contains(ip)))
            .map(|(ip, answered, ago)| json!({ "address": ip, "answered": answered, "last_seen_s": ago.as_secs() }))
            .collect();
        json!({ "candidates": candidates })
    }

    fn suspensions(&self) -> Vec<policy::Shown> {
        let clock = Clock::now();
        self.suspensions.list().iter().map(|held| held.shown(clock)).collect()
    }

    fn registrations(&self, sought: &policy::Sought, skip: usize, limit: usize) -> policy::Page {
        self.bindings.page(sought, skip, limit, Clock::now().mono_ns(), |end| self.online.state(end))
    }

    fn online(&self) -> Option<&policy::Online> {
        Some(&self.online)
    }

    fn lift(&self, whom: Option<&str>) -> io::Result<Vec<policy::Shown>> {
        let lifted = self.suspensions.lift(whom);
        lifted.iter().for_each(|lifted| self.warden.lifted(lifted));
        self.suspensions.save()?;
        Ok(lifted.iter().map(|lifted| lifted.shown(Clock::now())).collect())
    }

    fn attack(&self) -> detector::View {
        self.detector.lock().clone()
    }

    fn slowed(&self) -> Vec<policy::ShownSlowed> {
        self.live.in_force().ruleset.slowed.list(Clock::now())
    }

    fn hurry(&self, whom: Option<&str>) -> Vec<policy::ShownSlowed> {
        self.live.in_force().ruleset.slowed.lift(whom, Clock::now())
    }

    fn events(&self) -> &Events {
        &self.events
    }

    fn feeds(&self) -> Vec<feed::View> {
        self.tallies.views()
    }

    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.clone()
    }
}
