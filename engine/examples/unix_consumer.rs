//! A consumer of `relay.to = "unix:PATH"` (or `"unix-seqpacket:PATH"`): answers every SIP request with 200 OK.
//!
//! ```text
//! cargo run --example unix_consumer -- unix:/run/consumer.sock
//! vos-engine --iface eth0 --config vos.toml       # with relay.to = "unix:/run/consumer.sock"
//! ```
//!
//! Each message is a PROXY protocol v2 header, which names both ends as the wire has them (source: the caller,
//! destination: this host), and what UDP carried. An answer is written behind the same header and goes back to the
//! socket that the request came from; so does a request of the consumer's own, with the callee as the source. The engine
//! makes a packet of it, from the header's destination to its source.
//!
//! Two things to know. `SOCK_DGRAM` holds `net.unix.max_dgram_qlen` messages (10 by default, taken when the socket is
//! made), whoever sends them; `SOCK_SEQPACKET` has no such limit. And the engine believes in the file at PATH: a consumer
//! that is restarted removes the old one and binds anew.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;

use ppp::v2::{Addresses, Header};
use sip_parse::{Index, Mode, Reply};
use socket2::{Domain, SockAddr, Socket, Type};

/// The longest UDP payload, and a header with some type-length-values.
const MESSAGE_MAX: usize = 65_536 + 256;

fn main() -> io::Result<()> {
    run(&std::env::args().nth(1).unwrap_or_default())
}

/// Serves the socket that `to` names until it cannot.
pub(crate) fn run(to: &str) -> io::Result<()> {
    match to.split_once(':') {
        Some(("unix", path)) => datagrams(path),
        Some(("unix-seqpacket", path)) => connections(path),
        _ => Err(io::Error::other("say where: unix:/PATH or unix-seqpacket:/PATH, as in relay.to")),
    }
}

/// One socket for all workers; each has its own address.
fn datagrams(path: &str) -> io::Result<()> {
    let _left_by_the_last_one = std::fs::remove_file(path);
    let socket = UnixDatagram::bind(path)?;
    let mut message = vec![0; MESSAGE_MAX];
    loop {
        let (length, worker) = socket.recv_from(&mut message)?;
        if let Some(answer) = answer(&message[..length]) {
            // A worker that has gone or has no room: the caller will ask again.
            let _lost = socket.send_to_addr(&answer, &worker);
        }
    }
}

/// A connection for each worker.
fn connections(path: &str) -> io::Result<()> {
    let _left_by_the_last_one = std::fs::remove_file(path);
    let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    listener.bind(&SockAddr::unix(path)?)?;
    listener.listen(128)?;
    loop {
        let (mut worker, _) = listener.accept()?;
        std::thread::spawn(move || {
            let mut message = vec![0; MESSAGE_MAX];
            while let Ok(length @ 1..) = worker.read(&mut message) {
                if let Some(answer) = answer(&message[..length]) {
                    let _lost = worker.write(&answer);
                }
            }
        });
    }
}

/// The answer to a request, behind the request's own header; nothing to anything else.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let header = Header::try_from(message).ok()?;
    let (caller, server): (SocketAddr, SocketAddr) = match header.addresses {
        Addresses::IPv4(ends) => {
            ((ends.source_address, ends.source_port).into(), (ends.destination_address, ends.destination_port).into())
        }
        Addresses::IPv6(ends) => {
            ((ends.source_address, ends.source_port).into(), (ends.destination_address, ends.destination_port).into())
        }
        _ => return None,
    };
    let (header, request) = message.split_at(header.len());
    let mut index: Index = Index::new();
    let request = index.parse(request, Mode::Lenient).ok()?;
    let contact = format!("<sip:consumer@{server}>");
    let mut reply = vec![0; MESSAGE_MAX];
    let length = Reply::new(200, "OK")
        .to_tag(b"consumer")
        .source(caller)
        .headers(&[("Contact", &contact), ("Allow", "REGISTER, INVITE, ACK, BYE, OPTIONS")])
        .write(&request, &mut reply)
        .ok()?;
    Some([header, &reply[..length]].concat())
}
