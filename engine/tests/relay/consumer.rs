//! Programs that take datagrams: the examples as processes, and one that does what a test wants.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::net::{self, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Command;

use ppp::v2::{Addresses, Builder, Command as Proxied, Header, Protocol, Version};
use serde_json::Value;
use sip_parse::{Index, Mode, Reply};
use tempfile::TempDir;
use vos_bench::Program;

use crate::site::{
    Builder as SiteBuilder, CALLER, CALLER6, PATIENCE, QUEUES, SERVER4, SERVER6, Site, request, server_of, wait_until,
};
use crate::unix_consumer;

/// Where the example finds what it is to serve.
const TO: &str = "VOS_TEST_CONSUMER";

/// Callers of both families, and where they find the server.
pub(crate) const CALLERS: [(IpAddr, IpAddr); 2] = [(IpAddr::V4(CALLER), SERVER4), (IpAddr::V6(CALLER6), SERVER6)];

/// A site that drops what nobody takes, and a consumer of datagrams that takes it; `None` where the test cannot run.
#[track_caller]
pub(crate) fn consumed() -> Option<(Place, Site, Consumer)> {
    if !vos_bench::ready(&["kamailio"]) {
        return None;
    }
    let place = Place::datagrams();
    let site = place.site("drop").start();
    let consumer = Consumer::listen(&site, &place);
    Some((place, site, consumer))
}

/// A phone there, which has sent a REGISTER.
#[track_caller]
pub(crate) fn registers(site: &Site, from: impl Into<IpAddr>, call: &str) -> UdpSocket {
    let phone = site.phone(from);
    phone.send_to(request("REGISTER", phone.local_addr().unwrap(), call).as_bytes(), server_of(&phone)).unwrap();
    phone
}

/// Where a consumer listens.
pub(crate) struct Place {
    dir: TempDir,
    kind: &'static str,
}

impl Place {
    pub(crate) fn datagrams() -> Self {
        Self::of("unix")
    }

    pub(crate) fn connections() -> Self {
        Self::of("unix-seqpacket")
    }

    fn of(kind: &'static str) -> Self {
        Self { dir: tempfile::Builder::new().prefix("vos-relay-").tempdir().unwrap(), kind }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("consumer")
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// As `relay.to` has it.
    pub(crate) fn to(&self) -> String {
        format!("{}:{}", self.kind, self.path().display())
    }

    /// A site that relays here, and while nobody is here to `fallback`.
    pub(crate) fn site(&self, fallback: &str) -> SiteBuilder {
        let config = format!("[relay]\nto = \"{}\"\nfallback = \"{fallback}\"\n", self.to());
        // Bursts of four workers at once; consumers take it over when they make their sockets.
        Site::builder().config(&config).prepare("echo 512 > /proc/sys/net/unix/max_dgram_qlen")
    }

    /// The example in Rust, as a process of its own, when all workers have found it.
    #[track_caller]
    pub(crate) fn example(&self, site: &Site) -> Program {
        let mut command = site.server.command(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "consumer::the_example"]).env(TO, self.to());
        let program = Program::start("the example", &mut command, Some(&site.path("consumer.log"))).unwrap();
        all_find_it(site);
        program
    }

    /// The example in Python, as this user.
    #[track_caller]
    pub(crate) fn python(&self, site: &Site, user: u32) -> Program {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/unix_consumer.py");
        // It must be readable for everybody, which a checkout need not be.
        let copy = self.dir().join("unix_consumer.py");
        std::fs::copy(example, &copy).unwrap();
        let mut command = site.server.command("setpriv");
        command.args(["--reuid", &user.to_string(), "--regid", &user.to_string(), "--clear-groups", PYTHON3]);
        command.arg(copy).arg(self.path());
        let program = Program::start("the example", &mut command, Some(&site.path("consumer.log"))).unwrap();
        all_find_it(site);
        program
    }
}

/// Not a test: the example as a process, which can be killed.
#[test]
#[ignore = "other tests run it as a program"]
fn the_example() {
    if let Ok(to) = std::env::var(TO) {
        unix_consumer::run(&to).unwrap();
    }
}

/// Waits until every worker has found the consumer.
#[track_caller]
pub(crate) fn all_find_it(site: &Site) {
    let all = serde_json::json!([QUEUES, QUEUES]);
    wait_until("all workers find the consumer", PATIENCE, || site.json(&["status"])["peers"] == all);
}

/// Waits until no worker finds it.
#[track_caller]
pub(crate) fn none_finds_it(site: &Site) {
    let none = serde_json::json!([0, QUEUES]);
    wait_until("no worker finds the consumer", PATIENCE, || site.json(&["status"])["peers"] == none);
}

/// A counter of the peer, of all workers.
#[track_caller]
pub(crate) fn of_peer(site: &Site, name: &str) -> u64 {
    let stats = site.stats();
    let workers = stats.0["workers"].as_array().expect("workers").iter();
    workers.map(|worker| worker["peer"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {worker}"))).sum()
}

/// One counter of a table of all workers: `dropped`, `taken`, `sent`.
#[track_caller]
pub(crate) fn of_workers(site: &Site, table: &str, name: &str) -> u64 {
    let stats = site.stats();
    let workers = stats.0["workers"].as_array().map_or(&[][..], Vec::as_slice);
    workers.iter().filter_map(|worker: &Value| worker[table][name].as_u64()).sum()
}

/// A consumer that does what it is told, at a `SOCK_DGRAM`.
pub(crate) struct Consumer {
    socket: UnixDatagram,
}

/// A datagram as it came.
pub(crate) struct Got {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) payload: Vec<u8>,
    /// The worker that it came from.
    pub(crate) worker: net::SocketAddr,
}

impl Consumer {
    /// Listens, when all workers have found it.
    #[track_caller]
    pub(crate) fn listen(site: &Site, place: &Place) -> Self {
        let consumer = Self::deaf(site, place);
        all_find_it(site);
        consumer
    }

    /// The same, found or not.
    pub(crate) fn deaf(site: &Site, place: &Place) -> Self {
        let _the_last_one = std::fs::remove_file(place.path());
        let socket = site.server.enter(|| UnixDatagram::bind(place.path())).unwrap().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    #[track_caller]
    pub(crate) fn next(&self) -> Got {
        let mut message = vec![0; 66_000];
        let (length, worker) = self.socket.recv_from(&mut message).expect("a datagram");
        message.truncate(length);
        let header = Header::try_from(&message[..]).expect("a PROXY header");
        assert_eq!((header.version, header.command), (Version::Two, Proxied::Proxy));
        assert_eq!(header.protocol, Protocol::Datagram);
        let (source, destination) = match header.addresses {
            Addresses::IPv4(a) => {
                ((a.source_address, a.source_port).into(), (a.destination_address, a.destination_port).into())
            }
            Addresses::IPv6(a) => {
                ((a.source_address, a.source_port).into(), (a.destination_address, a.destination_port).into())
            }
            other => panic!("{other:?}"),
        };
        let payload = message[header.len()..].to_vec();
        Got { source, destination, payload, worker }
    }

    /// Hands a payload to a worker, to leave for `source` from `destination`.
    #[track_caller]
    pub(crate) fn say(&self, worker: &net::SocketAddr, source: SocketAddr, destination: SocketAddr, payload: &[u8]) {
        self.say_as(worker, Protocol::Datagram, source, destination, payload);
    }

    #[track_caller]
    pub(crate) fn say_as(
        &self,
        worker: &net::SocketAddr,
        protocol: Protocol,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
    ) {
        let header = Builder::with_addresses(Version::Two | Proxied::Proxy, protocol, (source, destination));
        self.write(worker, &[&header.build().unwrap(), payload].concat());
    }

    /// Hands these bytes to a worker.
    #[track_caller]
    pub(crate) fn write(&self, worker: &net::SocketAddr, bytes: &[u8]) {
        self.socket.send_to_addr(bytes, worker).unwrap();
    }

    /// Answers a request.
    #[track_caller]
    pub(crate) fn answer(&self, got: &Got, code: u16) {
        let mut index: Index = Index::new();
        let request = index.parse(&got.payload, Mode::Lenient).expect("SIP");
        let mut reply = [0; 2_048];
        let length = Reply::new(code, "So").to_tag(b"t").source(got.source).write(&request, &mut reply).unwrap();
        self.say(&got.worker, got.source, got.destination, &reply[..length]);
    }
}

/// Debian's: what else is called so need not be there for everybody.
const PYTHON3: &str = "/usr/bin/python3";
/// What the example in Python needs, and to run as somebody else.
pub(crate) const PYTHON: [&str; 3] = ["kamailio", "python3", "setpriv"];

/// Runs a shell command as the engine's host would.
pub(crate) fn shell(line: &str) {
    vos_bench::process::output(Command::new("sh").args(["-c", line])).unwrap();
}
