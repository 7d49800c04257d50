//! The SIP server at the other end: of a wire, or of a relay that says whose message it is with a PROXY header.
//!
//! One thread a socket, stateless: it answers each request by itself and repeats nothing (a real server repeats its
//! 200 to an INVITE until the ACK comes, RFC 3261 §13.3.1.4; on a wire that loses nothing that is never needed).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use sip_parse::{Error as SipError, Index, Kind, Mode, StartLine, classify};

use crate::reply::answer;
use crate::stop::LOOK;
use crate::{Result, Stop};
use door::{Door, Letter};

/// The sockets.
mod door;

/// Sources counted one by one; the rest only together, or a flood of invented sources would fill the memory.
const SOURCES: usize = 4096;
/// Methods counted one by one: SIP has 14.
const METHODS: usize = 32;

/// What the server has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerStats {
    /// Datagrams of any kind.
    pub received: u64,
    /// Requests by method, in capitals.
    pub methods: BTreeMap<String, u64>,
    /// Responses (nobody should send us any).
    pub responses: u64,
    /// Keep-alives.
    pub keepalives: u64,
    /// All that is not SIP, or lacks what a reply needs.
    pub garbage: u64,
    /// Replies sent.
    pub replies: u64,
    /// Replies that the system would not send.
    pub send_errors: u64,
    /// How many sources there were (the first 4,096 are told apart).
    pub distinct_sources: usize,
    /// Datagrams by source, the first 4,096.
    pub sources: BTreeMap<IpAddr, u64>,
    /// Datagrams of the sources beyond those.
    pub other_sources: u64,
}

impl ServerStats {
    /// How many requests of this method came.
    pub fn method(&self, name: &str) -> u64 {
        self.methods.get(name).copied().unwrap_or(0)
    }

    /// How many datagrams came from this address.
    pub fn from(&self, source: IpAddr) -> u64 {
        self.sources.get(&source).copied().unwrap_or(0)
    }

    fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.responses += other.responses;
        self.keepalives += other.keepalives;
        self.garbage += other.garbage;
        self.replies += other.replies;
        self.send_errors += other.send_errors;
        self.other_sources += other.other_sources;
        for (method, count) in &other.methods {
            *self.methods.entry(method.clone()).or_default() += count;
        }
        for (source, count) in &other.sources {
            *self.sources.entry(*source).or_default() += count;
        }
        self.distinct_sources = self.sources.len();
    }

    fn count_source(&mut self, source: IpAddr) {
        if let Some(count) = self.sources.get_mut(&source) {
            *count += 1;
        } else if self.sources.len() < SOURCES {
            self.sources.insert(source, 1);
        } else {
            self.other_sources += 1;
        }
    }

    fn count_method(&mut self, method: &[u8]) {
        let method = method.to_ascii_uppercase();
        // Invented methods count as one, for the same reason as invented sources.
        let name = std::str::from_utf8(&method).ok().filter(|name| name.len() <= 9).unwrap_or("OTHER");
        if let Some(count) = self.methods.get_mut(name) {
            *count += 1;
        } else {
            let name = if self.methods.len() < METHODS { name } else { "OTHER" };
            *self.methods.entry(name.to_owned()).or_default() += 1;
        }
    }
}

/// Where messages come from.
#[derive(Clone, Debug)]
pub enum Listen {
    /// UDP; port 0: any that is free.
    Udp(SocketAddr),
    /// UDP with a line of the PROXY protocol's version 1 in front of each message.
    ProxyLine(SocketAddr),
    /// `AF_UNIX` datagrams with a header of the PROXY protocol's version 2, in replies too.
    Unix(PathBuf),
}

/// A running responder; it ends when dropped.
#[derive(Debug)]
pub struct Responder {
    addresses: Vec<SocketAddr>,
    stats: Vec<Arc<Mutex<ServerStats>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Stop,
}

impl Responder {
    /// Listens on each address (port 0: any free one) and answers from there on. Inside a namespace:
    /// `ns.enter(|| Responder::start(&listen))`.
    pub fn start(listen: &[SocketAddr]) -> Result<Self> {
        Self::listen(&listen.iter().copied().map(Listen::Udp).collect::<Vec<_>>())
    }

    /// The same for messages that come in any way.
    pub fn listen(listen: &[Listen]) -> Result<Self> {
        let doors = listen.iter().map(Door::open).collect::<Result<Vec<_>>>()?;
        let mut started = Self { addresses: Vec::new(), stats: Vec::new(), threads: Vec::new(), stop: Stop::never() };
        for door in doors {
            let stats = Arc::new(Mutex::new(ServerStats::default()));
            let (counted, stop) = (stats.clone(), started.stop.clone());
            started.addresses.extend(door.address());
            started.stats.push(stats);
            started.threads.push(std::thread::spawn(move || serve(&door, &counted, &stop)));
        }
        Ok(started)
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it has seen so far.
    pub fn stats(&self) -> ServerStats {
        let mut all = ServerStats::default();
        self.stats.iter().for_each(|stats| all.add(&locked(stats)));
        all
    }

    /// Ends it and gives what it has seen.
    pub fn stop(mut self) -> ServerStats {
        self.join();
        self.stats()
    }

    fn join(&mut self) {
        self.stop.set();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.join();
    }
}

fn locked(stats: &Mutex<ServerStats>) -> MutexGuard<'_, ServerStats> {
    stats.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(door: &Door, stats: &Mutex<ServerStats>, stop: &Stop) {
    let (mut buffer, mut index) = (vec![0; 65_536], Index::new());
    while !stop.is_set() {
        match door.receive(&mut buffer) {
            Ok(Some(letter)) => take(&buffer, &letter, &mut index, door, stats),
            Ok(None) => locked(stats).garbage += 1,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                eprintln!("receive: {error}");
                std::thread::sleep(LOOK);
            }
        }
    }
}

fn take(buffer: &[u8], letter: &Letter, index: &mut Index, door: &Door, stats: &Mutex<ServerStats>) {
    // Counted before the reply leaves: who has the reply finds the request counted.
    let datagram = &buffer[letter.message.clone()];
    let mut counts = locked(stats);
    counts.received += 1;
    counts.count_source(letter.source.ip().to_canonical());
    let message = match index.parse(datagram, Mode::Lenient) {
        Ok(message) => message,
        Err(SipError::Empty) => return counts.keepalives += 1,
        Err(_) if matches!(classify(datagram), Kind::Nul | Kind::Jak) => return counts.keepalives += 1,
        Err(_) => return counts.garbage += 1,
    };
    let StartLine::Request { method, .. } = message.start_line() else { return counts.responses += 1 };
    let Some(answer) = answer(&message, letter.source, letter.local) else { return counts.garbage += 1 };
    counts.count_method(method.as_bytes());
    counts.replies += answer.datagrams.len() as u64;
    drop(counts);
    let header = &buffer[..letter.message.start];
    let sent = |reply: &&Vec<u8>| door.send(header, reply, &letter.back, answer.to).is_err();
    let failed = answer.datagrams.iter().filter(sent).count() as u64;
    if failed > 0 {
        let mut counts = locked(stats);
        counts.replies -= failed;
        counts.send_errors += failed;
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_comes_in_is_counted_by_kind_and_source() {
        let responder = Responder::start(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(responder.addresses()[0]).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        client.send(b"\r\n\r\n").unwrap();
        client.send(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        client.send(b"OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;rport\r\nFrom: a\r\nTo: b\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n").unwrap();
        let mut reply = [0; 2048];
        let length = client.recv(&mut reply).unwrap();
        assert!(reply[..length].starts_with(b"SIP/2.0 200 OK\r\n"));
        let stats = responder.stop();
        assert_eq!((stats.received, stats.keepalives, stats.garbage, stats.replies), (3, 1, 1, 1));
        assert_eq!((stats.method("OPTIONS"), stats.from("127.0.0.1".parse().unwrap())), (1, 3));
    }
}
