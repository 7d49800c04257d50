//! Whom the engine asks whether the softswitch on this host lives.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::config::{self, Config, Mode, RelayTo};
use crate::health::{Health, Target};

/// What it is called in log and events: it is one, however many addresses it listens at.
const NAME: &str = "local";

/// Who is asked at present, and at what pace.
#[derive(Debug, Default)]
pub(super) struct Round {
    targets: Vec<Option<Target>>,
    pace: Option<config::Health>,
}

impl Round {
    /// Has `health` ask whom `config` says, where `addresses` are the interface's, and `own` all of this host's: they are
    /// asked where the interface has none that can be asked, because a VLAN device or a bridge on it has them.
    pub(super) fn follow(&mut self, health: &Health, config: &Config, addresses: &[IpAddr], own: &BTreeSet<IpAddr>) {
        if config.relay.to != RelayTo::Local {
            // The switchboard says whom.
            return;
        }
        // A link-local address says nothing without its interface, and no peer calls there.
        let reachable = |ip: &&IpAddr| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut found: Vec<IpAddr> = addresses.iter().filter(reachable).copied().collect();
        if found.is_empty() {
            found.extend(own.iter().filter(reachable));
        }
        let targets = targets(config, &found);
        if targets == self.targets && self.pace.as_ref() == Some(&config.health) {
            return;
        }
        health.watch(&targets, &config.health);
        *self = Self { targets, pace: Some(config.health.clone()) };
    }
}

/// Each address and port at which callers may find it.
fn targets(config: &Config, addresses: &[IpAddr]) -> Vec<Option<Target>> {
    if config.mode != Mode::Relay || !config.answer.options {
        return Vec::new();
    }
    let found = addresses.iter().flat_map(|ip| config.xdp.sip_ports.iter().map(|port| SocketAddr::new(*ip, *port)));
    // a decoy answers, too
    let found = found.filter(|place| !config.honeypot.listen.contains(place));
    let asked: Vec<SocketAddr> = config.health.target.map_or_else(|| found.collect(), |target| vec![target]);
    asked.into_iter().map(|address| Some(Target { name: NAME.to_owned(), address, proxy_line: false })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interfaces_own_addresses_come_first_and_link_local_ones_never() {
        let [v4, link, far] =
            ["192.0.2.1", "fe80::1", "203.0.113.1"].map(|ip| ip.parse::<IpAddr>().expect("an address"));
        let (own, health) = (BTreeSet::from([v4, link, far]), Health::default());
        let mut config = Config::default();
        config.answer.options = true;
        let asked = |config: &Config, addresses: &[IpAddr]| -> Vec<IpAddr> {
            let mut round = Round::default();
            round.follow(&health, config, addresses, &own);
            round.targets.into_iter().flatten().map(|target| target.address.ip()).collect()
        };
        assert_eq!(asked(&config, &[v4, link]), [v4]);
        assert_eq!(asked(&config, &[link]), [v4, far]);
        config.relay.to = RelayTo::Proxy(None);
        assert!(asked(&config, &[v4]).is_empty(), "backends are the switchboard's to watch");
    }

    #[test]
    fn each_port_at_each_address_is_asked_or_the_one_that_is_named() {
        let addresses = ["192.0.2.1".parse().expect("v4"), "2001:db8::1".parse().expect("v6")];
        let mut config = Config::default();
        let asked = |config: &Config| -> Vec<String> {
            targets(config, &addresses).into_iter().flatten().map(|target| target.address.to_string()).collect()
        };
        assert!(asked(&config).is_empty(), "nothing is answered");
        config.answer.options = true;
        assert_eq!(asked(&config), ["192.0.2.1:5060", "[2001:db8::1]:5060"]);
        config.xdp.sip_ports = vec![5060, 5080];
        assert_eq!(asked(&config).len(), 4);
        config.health.target = Some("203.0.113.9:5070".parse().expect("an address"));
        assert_eq!(asked(&config), ["203.0.113.9:5070"]);
        config.mode = Mode::Filter;
        assert!(asked(&config).is_empty(), "nothing reaches the engine");
    }
}
