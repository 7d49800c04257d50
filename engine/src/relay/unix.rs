//! To a program that listens at an AF_UNIX socket (unix(7)), each datagram with a PROXY protocol v2 header in front, and
//! back from it in the same form.
//!
//! `SOCK_DGRAM`: each worker has a socket of its own, bound beside the consumer's, which is where answers go; the file
//! is there as long as the consumer is. `SOCK_SEQPACKET`: each worker has a connection.

use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use sip_parse::{Index, Mode};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::warn;

use super::proxy_v2::{self, HEADER_MAX, Message};
use super::socket_file::{self, SocketFile};
use super::{Counts, Datagram, SendError};
use crate::policy::{Said, Secret};
use crate::transmit::Outgoing;

/// What may wait for the consumer, bytes, as the kernel counts them: some 900 messages of 1 KB, 20 ms at 40,000 a second.
/// Smaller: bursts are refused. Larger: what the consumer reads is older than the retransmission that follows it.
const SEND_BUFFER: usize = 1 << 20;
/// Time between looks for a consumer that is gone while packets come, ns; each costs 2 µs. Longer, and a restart costs
/// more packets.
const LOOK_AGAIN: u64 = 2_000_000;
/// Unreadable messages in a row that are looked at before packets have their turn again.
const PATIENCE: usize = 64;
/// `net.unix.max_dgram_qlen` below which a burst is lost though the consumer is not behind: a batch of every worker's.
const QUEUE_MIN: usize = 256;

/// One worker's way to the consumer.
#[derive(Debug)]
pub struct Unix {
    path: PathBuf,
    /// Where the worker's own socket is bound; `None`: `SOCK_SEQPACKET`.
    own: Option<PathBuf>,
    connection: Option<Connection>,
    /// When it was looked for last, ns of `CLOCK_MONOTONIC`.
    looked: u64,
    /// Why nobody is there.
    why: Option<io::Error>,
    counts: Arc<Counts>,
    secret: Secret,
    index: Index,
}

#[derive(Debug)]
struct Connection {
    socket: Socket,
    /// Goes with it.
    _file: Option<SocketFile>,
    /// The consumer's file, as it was when this was connected to it.
    peer: Identity,
}

impl Unix {
    /// Worker `queue` of `iface`, to whoever listens at `path`, now or later. What an earlier engine left there is
    /// removed by the first. `secret` is what observations are hashed with.
    pub fn new(path: &Path, seqpacket: bool, iface: &str, queue: u32, counts: Arc<Counts>, secret: Secret) -> Self {
        let own = (!seqpacket).then(|| socket_file::beside(path, iface, queue));
        if own.is_some() && queue == 0 {
            socket_file::sweep(path, iface);
            advise();
        }
        Self { path: path.to_owned(), own, connection: None, looked: 0, why: None, counts, secret, index: Index::new() }
    }

    /// Hands a datagram on.
    pub fn send(&mut self, datagram: &Datagram<'_>) -> Result<(), SendError> {
        let mut header = [0; HEADER_MAX];
        let length = proxy_v2::write(&mut header, &datagram.from, &datagram.to);
        let message = [IoSlice::new(&header[..length]), IoSlice::new(datagram.payload)];
        // A consumer that has just been restarted gets it at the second attempt.
        for _ in 0..2 {
            let Some(Connection { socket, .. }) = self.connection(datagram.now) else { return Err(SendError::Absent) };
            match socket.send_vectored_with_flags(&message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(error) if is_full(&error) => return Err(SendError::Busy),
                Err(error) if is_gone(&error) => self.lose(error),
                Err(error) => return Err(SendError::Io(error)),
            }
        }
        // Found twice, and gone each time: not again with the very next packet.
        self.looked = datagram.now;
        Err(SendError::Absent)
    }

    /// What the consumer sends to a caller next.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<Outgoing> {
        for _ in 0..PATIENCE {
            let fd = self.connection.as_ref()?.socket.as_raw_fd();
            let length = match recv(fd, buffer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC) {
                // A connection's end; an empty datagram is only unreadable.
                Ok(0) if self.own.is_none() => {
                    self.lose(io::Error::from_raw_os_error(libc::EPIPE));
                    return None;
                }
                Ok(length) => length,
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => return None,
                Err(errno) => {
                    self.lose(errno.into());
                    return None;
                }
            };
            self.counts.received.count();
            // Longer than the buffer: MSG_TRUNC tells the true length.
            match buffer.get(..length).and_then(proxy_v2::read) {
                Some(Message::Datagram { source, destination, payload }) => {
                    let message = self.index.parse(&buffer[payload.clone()], Mode::Lenient).ok();
                    let says = message.and_then(|message| Said::of(&message, &source.addr, &self.secret));
                    return Some(Outgoing { from: destination, to: source, payload, says });
                }
                Some(Message::Local) => {}
                None => self.counts.bad.count(),
            }
        }
        None
    }

    /// Looks whether the consumer is there.
    pub fn look_after(&mut self, now: u64) -> bool {
        if self.connection.as_ref().is_none_or(|connection| !connection.holds(self.own.is_some(), &self.path)) {
            self.look(now);
        }
        self.connection.is_some()
    }

    /// Was it there when it was looked for last? If not, why?
    pub fn here(&self) -> Result<(), &io::Error> {
        self.why.as_ref().map_or(Ok(()), Err)
    }

    /// What is readable when there is something to [`receive`](Self::receive).
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(|connection| connection.socket.as_fd())
    }

    fn connection(&mut self, now: u64) -> Option<&Connection> {
        if self.connection.is_none() && now.saturating_sub(self.looked) >= LOOK_AGAIN {
            self.look(now);
        }
        self.connection.as_ref()
    }

    /// It is gone; whoever comes next may look for it at once.
    fn lose(&mut self, why: io::Error) {
        self.connection = None;
        self.looked = 0;
        self.why = Some(why);
    }

    fn look(&mut self, now: u64) {
        self.looked = now;
        // Its file would be in the way of the next one's.
        self.connection = None;
        match Connection::new(&self.path, self.own.as_deref()) {
            Ok(connection) => {
                self.connection = Some(connection);
                self.why = None;
                self.counts.came.count();
            }
            Err(error) => self.why = Some(error),
        }
    }
}

impl Connection {
    fn new(path: &Path, own: Option<&Path>) -> io::Result<Self> {
        let kind = if own.is_some() { Type::DGRAM } else { Type::SEQPACKET };
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.set_nonblocking(true)?;
        let consumer = fs::metadata(path)?;
        // First, so that who is not there costs no file.
        socket.connect(&SockAddr::unix(path)?)?;
        // Beyond net.core.wmem_max only with CAP_NET_ADMIN.
        if setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
            socket.set_send_buffer_size(SEND_BUFFER)?;
        }
        let file = own.map(|own| SocketFile::bind(&socket, own, &consumer)).transpose()?;
        Ok(Self { socket, _file: file, peer: identity(&consumer) })
    }

    /// Is it still the one at `path`? A connection tells by itself when it is not; datagrams are told by connecting again,
    /// which changes nothing where it succeeds.
    fn holds(&self, datagrams: bool, path: &Path) -> bool {
        let same = || fs::metadata(path).is_ok_and(|consumer| identity(&consumer) == self.peer);
        let reached = || SockAddr::unix(path).is_ok_and(|address| self.socket.connect(&address).is_ok());
        !datagrams || (same() && reached())
    }
}

/// Device, inode, and the time of its last change: inodes are used again, and owner and mode may come later.
type Identity = (u64, u64, i64, i64);

fn identity(file: &fs::Metadata) -> Identity {
    (file.dev(), file.ino(), file.ctime(), file.ctime_nsec())
}

/// The consumer's queue is full, or the kernel's memory for it.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR))
}

/// Nobody is at the other end of this socket any more, or nobody who takes anything from it.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::ENOTCONN
                | libc::EPIPE
                | libc::ENOENT
                | libc::EPERM
                | libc::EDESTADDRREQ
        )
    )
}

/// The kernel's default holds ten datagrams, whoever sends them.
fn advise() {
    let length = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").ok().and_then(|text| text.trim().parse().ok());
    if let Some(length) = length.filter(|length: &usize| *length < QUEUE_MIN) {
        warn!(
            "net.unix.max_dgram_qlen is {length}: the consumer's socket takes no longer burst. \
             sysctl -w net.unix.max_dgram_qlen={QUEUE_MIN} before it starts, or relay.to = \"unix-seqpacket:…\""
        );
    }
}

#[cfg(test)]
mod tests;
