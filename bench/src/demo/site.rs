//! Namespaces, wire and addresses.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;
use vos_bench::{Error, NetNs, Result, VethPair};

/// Where the server listens. The addresses are those kept for documentation (RFC 5737, RFC 3849).
pub(crate) const SERVER: [&str; 2] = ["192.0.2.1:5060", "[2001:db8::1]:5060"];
/// Customers, about whom there is no rule.
pub(crate) const PHONES: [&str; 4] = ["192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13"];
/// The same over IPv6.
pub(crate) const PHONES6: [&str; 2] = ["2001:db8::10", "2001:db8::11"];
/// A peer that may send OPTIONS.
pub(crate) const MONITOR: [&str; 1] = ["192.0.2.20"];
/// The rule for it.
pub(crate) const MONITOR_NET: &str = "192.0.2.20/32";
/// Who looks for SIP servers.
pub(crate) const SCANNER: [&str; 1] = ["192.0.2.66"];
/// The same over IPv6, in a /64 of its own: one /64 counts as one source, and a neighbour of verified phones is verified.
pub(crate) const SCANNER6: [&str; 1] = ["2001:db8:0:66::66"];
/// The way back to it.
const SCANNER6_NET: &str = "2001:db8:0:66::/64";
/// Who sends what is not SIP.
pub(crate) const NOISE: [&str; 1] = ["192.0.2.77"];
/// Hosts of the blocked network.
pub(crate) const BLOCKED: [&str; 3] = ["198.51.100.7", "198.51.100.8", "198.51.100.201"];
/// The rule for them.
pub(crate) const BLOCKED_NET: &str = "198.51.100.0/24";
/// RX queues of the server's interface in the demo, each with a worker.
pub(crate) const QUEUES: u32 = 4;

/// Two hosts and a wire. Fields are dropped in this order.
pub(crate) struct Site {
    _wire: VethPair,
    pub(crate) client: Arc<NetNs>,
    pub(crate) server: NetNs,
    /// The server's interface. It has a name of its own, because what the engine pins under /sys/fs/bpf is named
    /// after it, and that is not separate by namespace.
    pub(crate) iface: String,
    /// Its RX queues.
    pub(crate) queues: u32,
    dir: TempDir,
}

impl Site {
    pub(crate) fn build(queues: u32) -> Result<Self> {
        let (server, client) = (NetNs::new("server")?, Arc::new(NetNs::new("client")?));
        let pid = std::process::id();
        let (iface, lan) = (format!("sip{pid}"), format!("lan{pid}"));
        let wire = VethPair::new(&server, &iface, &client, &lan, queues)?;
        server.ip(&format!("addr add 192.0.2.1/24 dev {iface}"))?;
        server.ip(&format!("addr add 2001:db8::1/64 dev {iface} nodad"))?;
        for net in [BLOCKED_NET, SCANNER6_NET] {
            server.ip(&format!("route add {net} dev {iface}"))?;
        }
        for address in PHONES.iter().chain(&MONITOR).chain(&SCANNER).chain(&NOISE) {
            client.ip(&format!("addr add {address}/24 dev {lan}"))?;
        }
        for address in PHONES6.iter().chain(&SCANNER6) {
            client.ip(&format!("addr add {address}/64 dev {lan} nodad"))?;
        }
        for address in BLOCKED {
            client.ip(&format!("addr add {address}/32 dev {lan}"))?;
        }
        let dir = tempfile::Builder::new().prefix("vos-demo-").tempdir();
        let dir = dir.map_err(Error::io("make a temporary directory"))?;
        Ok(Self { _wire: wire, client, server, iface, queues, dir })
    }

    /// The client's interface.
    pub(crate) fn lan(&self) -> String {
        format!("lan{}", std::process::id())
    }

    /// The MAC address of the server's interface.
    pub(crate) fn mac(&self) -> Result<[u8; 6]> {
        let link = link(&self.server, &self.iface)?;
        let bytes = link["address"].as_str().map(|text| text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()));
        let bytes: Option<Vec<u8>> = bytes.and_then(Iterator::collect);
        let mac = bytes.and_then(|bytes| bytes.try_into().ok());
        mac.ok_or_else(|| Error::Other(format!("{} has no MAC address", self.iface)))
    }

    /// Frames from the client that the wire had no room for, so far.
    pub(crate) fn overflowed(&self) -> Result<u64> {
        let link = link(&self.client, &self.lan())?;
        let dropped = link["stats64"]["tx"]["dropped"].as_u64();
        dropped.ok_or_else(|| Error::Other(format!("ip says nothing of what {} has dropped", self.lan())))
    }

    /// A directory of this name, for the engine.
    pub(crate) fn dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).map_err(Error::io(format!("make {}", path.display())))?;
        Ok(path)
    }

    /// Where this program's output goes.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.dir.path().join(format!("{program}.log"))
    }

    /// Where the responder keeps what it has seen.
    pub(crate) fn stats_file(&self) -> PathBuf {
        self.dir.path().join("responder.json")
    }
}

/// What `ip` says of an interface.
fn link(ns: &NetNs, iface: &str) -> Result<Value> {
    let text = ns.ip(&format!("-s -j link show dev {iface}"))?;
    let mut links: Vec<Value> =
        serde_json::from_str(&text).map_err(|error| Error::Other(format!("ip -j link: {error}")))?;
    links.pop().ok_or_else(|| Error::Other(format!("ip knows no {iface}")))
}
