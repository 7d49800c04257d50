//! A server with 200 phones, and whoever floods it: two namespaces and a wire.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use vos_bench::{
    CallOptions, CallReport, Error, JunkOptions, JunkReport, Kind, LoadOptions, LoadReport, Result, Stop, call, junk,
    load,
};

use super::outcome::Flood;
use super::server::{PASSWORD, Server, ServerOptions};
use crate::cores;
use crate::demo::site::{self, Site};

/// Phones, each with an address of its own, spread over ten networks as customers are.
pub(crate) const PHONES: usize = 200;
/// Networks that they are in.
const NETS: usize = 10;
/// From the ACK to the BYE, seconds.
const HOLD: f64 = 0.5;

/// The lot. What is dropped first stands first: the server ends while its namespace is there.
pub(crate) struct Ground {
    _server: Server,
    pub(crate) site: Site,
    to: SocketAddr,
    mac: [u8; 6],
    phones: Vec<IpAddr>,
    flood_core: Option<usize>,
}

impl Ground {
    /// Lays it out: this server behind an interface with so many queues; floods are sent from this core.
    pub(crate) fn build(server: &ServerOptions, queues: u32, flood_core: Option<usize>, stop: &Stop) -> Result<Self> {
        let site = Site::build(queues)?;
        let phones: Vec<IpAddr> = (0..PHONES).map(phone).collect();
        // All in one namespace, which forwards nothing: answers to invented addresses go nowhere.
        site.server.ip(&format!("route add default via {}", site::PHONES[0]))?;
        for phone in &phones {
            site.client.ip(&format!("addr add {phone}/32 dev {}", site.lan()))?;
        }
        let server = Server::start(server, &site, stop)?;
        let to = site::SERVER[0].parse().map_err(|_| Error::Other("no address".to_owned()))?;
        let mac = site.mac()?;
        Ok(Self { _server: server, site, to, mac, phones, flood_core })
    }

    /// All phones show their password; then, once `known` was called, they register again, so many a second in all.
    pub(crate) fn registers(
        &self,
        rate: u64,
        seconds: f64,
        patience: f64,
        stop: &Stop,
        known: impl FnOnce() + Send,
    ) -> Result<LoadReport> {
        let options = LoadOptions {
            rate,
            seconds,
            kind: Kind::Register,
            flows: PHONES,
            from: self.phones.clone(),
            password: Some(PASSWORD.to_owned()),
            repeat: true,
            linger: patience,
            ..LoadOptions::new(self.to)
        };
        self.site.client.enter(|| load::run_once_known(&options, stop, known))?
    }

    /// So many calls a second.
    pub(crate) fn calls(&self, rate: u64, seconds: f64, patience: f64, stop: &Stop) -> Result<CallReport> {
        let options = CallOptions {
            calls: (rate as f64 * seconds) as u64,
            rate,
            hold: HOLD,
            give_up: patience,
            flows: PHONES,
            from: self.phones.clone(),
            password: Some(PASSWORD.to_owned()),
            ..CallOptions::new(self.to)
        };
        self.site.client.enter(|| call::run(&options, stop))?
    }

    /// A flood.
    pub(crate) fn junk(&self, flood: Flood, seconds: f64, stop: &Stop) -> Result<JunkReport> {
        let Flood { mix, sources, rate } = flood;
        let options =
            JunkOptions { mix, sources, rate, seconds, ..JunkOptions::new(&self.site.lan(), self.to, self.mac) };
        self.site.client.enter(|| {
            cores::only(self.flood_core)?;
            junk::run(&options, stop)
        })?
    }
}

/// Phone number `n`, of its network one of the first hosts.
fn phone(n: usize) -> IpAddr {
    Ipv4Addr::new(10, (n % NETS) as u8, 0, (10 + n / NETS) as u8).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phone_has_an_address_of_its_own() {
        let phones: std::collections::HashSet<_> = (0..PHONES).map(phone).collect();
        assert_eq!(phones.len(), PHONES);
    }
}
