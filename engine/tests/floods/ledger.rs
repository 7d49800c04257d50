use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Instant;

use aya::maps::{Array, Map, MapData, PerCpuArray};
use serde_json::Value;
use vos_common::rate::{VERIFIED_BUCKETS, VerifiedBucket, bucket, source_key};
use vos_common::reason::Reason;
use vos_common::rule::Addr;
use vos_common::state::Config;

use crate::site::{PATIENCE, Site, wait_until};

/// The kernel's maps by their pins: what is in force, whatever the engine says.
pub(crate) struct Maps {
    dir: PathBuf,
    reasons: PerCpuArray<MapData, u64>,
}

impl Maps {
    pub(crate) fn of(iface: &str) -> Self {
        let dir = PathBuf::from("/sys/fs/bpf/vos").join(iface);
        let reasons = MapData::from_pin(dir.join("REASONS")).unwrap();
        Self { reasons: Map::from_map_data(reasons).unwrap().try_into().unwrap(), dir }
    }

    fn array<V: aya::Pod>(&self, name: &str) -> Array<MapData, V> {
        Map::from_map_data(MapData::from_pin(self.dir.join(name)).unwrap()).unwrap().try_into().unwrap()
    }

    /// Packets counted under this reason, since the maps were made.
    pub(crate) fn reason(&self, reason: Reason) -> u64 {
        self.reasons.get(&(reason as u32), 0).unwrap().iter().sum()
    }

    /// All counts that are not 0, for messages.
    pub(crate) fn told(&self) -> String {
        let counts = Reason::ALL.iter().filter(|reason| reason.in_kernel()).map(|it| (it.label(), self.reason(*it)));
        counts.filter(|(_, count)| *count > 0).map(|(label, count)| format!("{label} {count} ")).collect()
    }

    /// Packets counted under any reason.
    pub(crate) fn judged(&self) -> u64 {
        Reason::ALL.iter().filter(|reason| reason.in_kernel()).map(|reason| self.reason(*reason)).sum()
    }

    /// Until when this address is verified, ns of `CLOCK_MONOTONIC`.
    pub(crate) fn verified_until(&self, address: impl Into<IpAddr>) -> Option<u64> {
        let (key, held) = self.verified_bucket(address.into());
        held.keys.iter().position(|held| *held == key).map(|way| held.until[way])
    }

    /// Sets until when this address, which is verified, is so.
    pub(crate) fn set_verified_until(&self, address: impl Into<IpAddr>, until: u64) {
        let (key, mut held) = self.verified_bucket(address.into());
        let way = held.keys.iter().position(|held| *held == key).expect("a verified address");
        held.until[way] = until;
        self.array("VERIFIED").set(bucket(key, VERIFIED_BUCKETS), held, 0).unwrap();
    }

    fn verified_bucket(&self, address: IpAddr) -> (u64, VerifiedBucket) {
        let address = match address {
            IpAddr::V4(v4) => Addr::v4(v4.octets()),
            IpAddr::V6(v6) => Addr::from_bytes(v6.octets()),
        };
        let config: Config = self.array("CONFIG").get(&0, 0).unwrap();
        let key = source_key(&address, config.seed);
        (key, self.array("VERIFIED").get(&bucket(key, VERIFIED_BUCKETS), 0).unwrap())
    }
}

/// Where the books stood when the engine started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ledger {
    arrived: u64,
    judged: u64,
    redirected: u64,
}

impl Ledger {
    /// Begins at a moment when nothing is on its way.
    pub(crate) fn open(site: &Site) -> Self {
        let maps = site.maps();
        let mut open = Self::default();
        wait_until("a quiet moment", || {
            let before = Self::read(site, &maps);
            open = Self::read(site, &maps);
            before.arrived == open.arrived && before.judged == open.judged
        });
        open
    }

    fn read(site: &Site, maps: &Maps) -> Self {
        Self { arrived: arrived(site), judged: maps.judged(), redirected: maps.reason(Reason::Redirected) }
    }

    /// Once nothing is on its way any more: every packet that came by the wire was counted under one reason, and what
    /// was redirected is what the workers took and the sockets lost; all of that was relayed, answered, taken or dropped
    /// for a reason.
    #[track_caller]
    pub(crate) fn balances(&self, site: &Site) {
        let maps = site.maps();
        // What the books say, and whether they balance.
        let read = || {
            let now = Self::read(site, &maps);
            let stats = site.stats();
            let workers = stats["workers"].as_array().unwrap();
            let sum = |name: &str| -> u64 { workers.iter().map(|worker| worker[name].as_u64().unwrap()).sum() };
            let dropped: u64 = workers.iter().map(|worker| total(&worker["dropped"])).sum();
            let (arrived, judged) = (now.arrived - self.arrived, now.judged - self.judged);
            let (redirected, received) = (now.redirected - self.redirected, sum("received"));
            let ended = |key: &str| workers.iter().map(|worker| total(&worker[key])).sum::<u64>();
            let (answered, taken) = (ended("answered"), ended("taken"));
            let done = sum("relayed") + sum("relay_errors") + dropped + answered + taken;
            let told = format!(
                "arrived {arrived}, judged {judged}; redirected {redirected}, received {received} and lost {}; done \
                 with {done} (relayed {}, errors {}, dropped {dropped})",
                sum("socket_lost"),
                sum("relayed"),
                sum("relay_errors")
            );
            // A held frame is one whose packet is received and not yet done with.
            let xdp = arrived == judged && total(&stats["reasons"]) == now.judged;
            let engine = redirected == received + sum("socket_lost") && received == done;
            (xdp && engine, told)
        };
        let end = Instant::now() + PATIENCE;
        loop {
            let (balanced, told) = read();
            if balanced {
                break;
            }
            assert!(Instant::now() < end, "the books do not balance: {told}");
        }
    }
}

fn total(counters: &Value) -> u64 {
    counters.as_object().expect("counters").values().filter_map(Value::as_u64).sum()
}

/// Packets that the server's interface received, by its own count: veth counts what its NAPI takes before XDP runs, and
/// does not count what comes back through the relay.
fn arrived(site: &Site) -> u64 {
    let link = site.server.ip(&format!("-s -j link show {}", site.iface)).unwrap();
    let link: Value = serde_json::from_str(&link).unwrap();
    link[0]["stats64"]["rx"]["packets"].as_u64().expect("rx.packets")
}
