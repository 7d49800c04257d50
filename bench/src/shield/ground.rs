//! A server with 200 phones, and whoever floods it: two namespaces and a wire.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::sync::Arc;

use vos_bench::{Error, Result, Stop};

use super::crowd::{Crowd, PHONES};
use super::server::{PASSWORD, Server, ServerOptions};
use crate::demo::site::{self, Site};

/// Networks that phones are in.
const NETS: usize = 10;

/// The lot. What is dropped first stands first: the server ends while its namespace is there.
pub(crate) struct Ground {
    _server: Server,
    crowd: Crowd,
    pub(crate) site: Site,
}

impl Ground {
    /// Lays it out: this server behind an interface with so many queues; floods are sent from this core.
    pub(crate) fn build(server: &ServerOptions, queues: u32, flood_core: Option<usize>, stop: &Stop) -> Result<Self> {
        let site = Site::build(queues)?;
        // Spread over ten networks, as customers are.
        let phones: Vec<IpAddr> = (0..PHONES).map(phone).collect();
        // All in one namespace, which forwards nothing: answers to invented addresses go nowhere.
        site.server.ip(&format!("route add default via {}", site::PHONES[0]))?;
        for phone in &phones {
            site.client.ip(&format!("addr add {phone}/32 dev {}", site.lan()))?;
        }
        let server = Server::start(server, &site, stop)?;
        let crowd = Crowd {
            place: Some(Arc::clone(&site.client)),
            iface: site.lan(),
            mac: site.mac()?,
            to: site::SERVER[0].parse().map_err(|_| Error::Other("no address".to_owned()))?,
            phones,
            password: PASSWORD.to_owned(),
            flood_core,
        };
        Ok(Self { _server: server, crowd, site })
    }
}

impl Deref for Ground {
    type Target = Crowd;

    fn deref(&self) -> &Crowd {
        &self.crowd
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
