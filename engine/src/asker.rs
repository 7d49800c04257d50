//! Asks endpoints whether they are there, from a thread of its own: OPTIONS leave by the kernel's routes, with the address and
//! port that the endpoint registered with as their source.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crossbeam_channel::Sender;
use ipnet::IpNet;
use tracing::{info, warn};
use vos_common::rule::Addr;

use crate::config::{Config, Gateway, Online as Settings, redirect};
use crate::control::clock::Clock;
use crate::datagram::End;
use crate::events::{EndpointChange, Event, Events, What};
use crate::live::Live;
use crate::policy::{Ask, Bindings, EndpointState, Evidence, News, Observation, Online, Pace, Secret};
use crate::seldom::Seldom;
use crate::sip;
use crate::told::Told;
use crate::transmit::Kernel;
use crate::worker::Stats;
use crate::xdp::{addr, ip};

/// How often is looked who is to be asked. Longer: questions leave in bursts.
const ROUND: Duration = Duration::from_millis(20);
/// The same while nobody is to be asked.
const IDLE: Duration = Duration::from_millis(200);
/// How often is looked who is registered, ns.
const FOLLOW: u64 = 2_000_000_000;
/// The hosts of a gateway's prefix that are asked, at most: those of a /28 or a /124.
const HOSTS_MAX: u32 = 4;
/// How often the log says that questions cannot leave, or who is offline.
const SELDOM: Duration = Duration::from_secs(60);

/// What the thread works with.
pub struct Asker {
    /// Who is asked, and how they are.
    pub online: Arc<Online>,
    /// Who is registered.
    pub bindings: Arc<Bindings>,
    /// What is in force.
    pub live: Arc<Live>,
    /// The workers, which hear the answers.
    pub workers: Vec<Arc<Stats>>,
    /// Who is told.
    pub events: Arc<Events>,
    /// What questions are proven with.
    pub secret: Secret,
    /// Who hears of endpoints that have never answered.
    pub policy: Sender<Observation>,
}

/// What goes on while somebody is asked.
struct Asking {
    settings: Settings,
    gateways: Vec<Gateway>,
    port: u16,
    kernel: Kernel,
    /// When it was looked who is registered, ns of `CLOCK_MONOTONIC`.
    followed: Option<u64>,
    unsent: Seldom,
}

impl Asker {
    /// Asks until `stop`.
    pub fn follow(self, stop: &AtomicBool) {
        let (mut asking, mut told, mut absent, mut unopened) =
            (None, Told::default(), Seldom::default(), Seldom::default());
        while !stop.load(Relaxed) {
            self.begin_or_end(&mut asking, &mut unopened);
            if let Some(asking) = &mut asking {
                self.ask(asking);
            }
            for news in self.online.take_news() {
                self.tell(news, &mut told, &mut absent);
            }
            std::thread::sleep(if asking.is_some() { ROUND } else { IDLE });
        }
    }

    /// The configuration may have changed.
    fn begin_or_end(&self, asking: &mut Option<Asking>, unopened: &mut Seldom) {
        let in_force = self.live.in_force();
        let config = &in_force.config;
        let is_same = |asking: &Asking| {
            asking.settings == config.online
                && asking.gateways == config.gateway
                && config.xdp.sip_ports.first() == Some(&asking.port)
        };
        if !config.online.is_on() || !redirect::sees_responses(config, !self.workers.is_empty()) {
            if asking.take().is_some() {
                info!("online: nobody is asked any more");
                self.online.follow([], 1, Clock::now().mono_ns());
            }
            return;
        }
        if asking.as_ref().is_some_and(is_same) {
            return;
        }
        match Asking::begin(config) {
            Ok(begun) => *asking = Some(begun),
            Err(error) => {
                if unopened.more(1, SELDOM).is_some() {
                    warn!("online: nobody is asked, since raw sockets cannot be opened ({error}; CAP_NET_RAW?)");
                }
            }
        }
    }

    fn ask(&self, asking: &mut Asking) {
        // While a worker rests its packets take the kernel's path, answers among them.
        if !self.workers.iter().all(|worker| worker.live()) {
            return self.online.excuse();
        }
        let now = Clock::now().mono_ns();
        let interval = asking.settings.interval.as_nanos() as u64;
        if asking.followed.is_none_or(|followed| now.saturating_sub(followed) >= FOLLOW) {
            let trunks = asking.gateways.iter().flat_map(|gateway| ends_of(gateway).into_iter().map(|end| (end, None)));
            self.online.follow(self.bindings.ends(now).into_iter().chain(trunks), interval, now);
            asking.followed = Some(now);
        }
        let pace = Pace { interval, misses: asking.settings.misses, rate: asking.settings.rate.limit(0) };
        for ask in self.online.due(&pace, now) {
            if let Err(error) = asking.send(&ask, &self.secret) {
                // "No way to it" is an answer of a kind; all else is this host's own trouble.
                let kinds = [io::ErrorKind::HostUnreachable, io::ErrorKind::NetworkUnreachable];
                if !kinds.contains(&error.kind()) {
                    self.online.unasked(&ask);
                }
                if let Some(count) = asking.unsent.more(1, SELDOM) {
                    warn!(
                        "online: {count} questions could not leave, the last of them to {}: {error}",
                        ip(ask.to.addr)
                    );
                }
            }
        }
    }

    fn tell(&self, news: News, told: &mut Told, absent: &mut Seldom) {
        let News { end, state, silent_here } = news;
        let (address, port) = (ip(end.addr).to_string(), end.port);
        if state == EndpointState::Silent {
            let _one_hint_less = self.policy.try_send(Observation::Offence(Evidence::NeverAnswered, end.addr));
        }
        if state != EndpointState::Online
            && let Some(count) = absent.more(1, SELDOM)
        {
            info!("online: {count} endpoints do not answer, the last of them {address}:{port}");
        }
        if told.may(Clock::now().mono_ns()) {
            let change = EndpointChange { address, port, state, silent_here };
            self.events.publish(Event::now(What::Endpoint(change)));
        }
    }
}

impl Asking {
    fn begin(config: &Config) -> io::Result<Self> {
        let wide = |gateway: &&Gateway| gateway.from.iter().any(|net| !is_narrow(net));
        for gateway in config.gateway.iter().filter(wide) {
            info!("online: of gateway {} only single addresses are asked, up to a /28 or /124", gateway.name);
        }
        info!("online: each endpoint is asked every {}", humantime::format_duration(config.online.interval));
        Ok(Self {
            settings: config.online.clone(),
            gateways: config.gateway.clone(),
            port: config.xdp.sip_ports.first().copied().unwrap_or(sip::PORT),
            kernel: Kernel::open()?,
            followed: None,
            unsent: Seldom::default(),
        })
    }

    fn send(&self, ask: &Ask, secret: &Secret) -> io::Result<()> {
        let from = match ask.from {
            Some(from) => from,
            None => End { addr: way_to(&ask.to)?, port: self.port },
        };
        self.kernel.send(&from, &ask.to, &ask.text(&from, secret))
    }
}

fn is_narrow(net: &IpNet) -> bool {
    u32::from(net.max_prefix_len() - net.prefix_len()) <= HOSTS_MAX
}

/// The ends of a trunk that are asked.
fn ends_of(gateway: &Gateway) -> Vec<End> {
    let port = gateway.port.unwrap_or(sip::PORT);
    let hosts = gateway.from.iter().filter(|net| is_narrow(net)).flat_map(IpNet::hosts);
    hosts.map(|host| End { addr: addr(host), port }).collect()
}

/// The address of this host's that the way to an end begins at.
fn way_to(end: &End) -> io::Result<Addr> {
    let any: SocketAddr = match end.addr.is_v4() {
        true => (Ipv4Addr::UNSPECIFIED, 0).into(),
        false => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect((ip(end.addr), end.port))?;
    Ok(addr(socket.local_addr()?.ip()))
}

/// The ends of this trunk that are asked, and how many of them answer.
pub(crate) fn answering(gateway: &[IpNet], port: Option<u16>, online: &Online) -> (u32, u32) {
    let gateway = Gateway { from: gateway.to_vec(), port, ..Gateway::default() };
    let states = ends_of(&gateway).into_iter().map(|end| online.state(&end));
    states
        .filter(|state| *state != EndpointState::Unknown)
        .fold((0, 0), |(asked, online), state| (asked + 1, online + u32::from(state == EndpointState::Online)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_addresses_of_trunks_are_asked_and_no_wide_prefix() {
        let gateway = |from: &[&str], port| Gateway {
            from: from.iter().map(|net| net.parse().expect("a net")).collect(),
            port,
            ..Gateway::default()
        };
        let asked = |from: &[&str], port| -> Vec<String> {
            ends_of(&gateway(from, port)).iter().map(|end| format!("{} {}", ip(end.addr), end.port)).collect()
        };
        assert_eq!(asked(&["192.0.2.7/32", "198.51.100.0/24"], None), ["192.0.2.7 5060"]);
        assert_eq!(asked(&["192.0.2.8/31"], Some(5080)), ["192.0.2.8 5080", "192.0.2.9 5080"]);
        // without the addresses of the net itself and of all its hosts
        assert_eq!(asked(&["198.51.100.16/28"], None).len(), 14);
        assert_eq!(asked(&["2001:db8::/124"], None).len(), 16);
        assert!(asked(&["198.51.100.0/27", "2001:db8::/64"], None).is_empty());
    }

    #[test]
    fn the_way_to_this_host_begins_at_it() {
        let end = End { addr: Addr::v4([127, 0, 0, 1]), port: 5060 };
        assert_eq!(way_to(&end).expect("a way"), end.addr);
    }
}
