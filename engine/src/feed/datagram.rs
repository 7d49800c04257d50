//! Events that come as datagrams, such as OpenSIPS' event_datagram sends them, in the forms of [`message`]. Nobody is
//! answered, so what comes faster than the disk takes it waits in the socket, and beyond that is not taken: OpenSIPS says so
//! in its log where the socket is a file, and nobody does where it is a UDP port.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram as Probe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use thiserror::Error;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tracing::{info, warn};

use crate::amqp::Backoff;
use crate::config::{Config, Listen};
use crate::control::Control;
use crate::control::ask::{By, End};
use crate::control::decision::Origin;
use crate::control::socket::{self, SocketError, SocketFile};
use crate::feed::Tally;
use crate::feed::message;
use crate::feed::settle::{Read, Settler};

/// The longest datagram: UDP has no longer ones, and event_datagram sends none over 65,457 bytes.
const DATAGRAM_MAX: usize = 65_535;
/// Datagrams that are on disk in one commit. Fewer: a burst is taken more slowly. More: the first of them waits longer.
const BATCH_MAX: usize = 256;
/// Bytes of datagrams that wait for the disk, each counted as [`LEAST`] at least; ten thousand events or more. Fewer: a burst
/// is lost, since the kernel holds as few as ten (net.unix.max_dgram_qlen), and OpenSIPS tries each once. More: more memory,
/// some eight times as much where they are lists of addresses.
const WAITING_MAX: usize = 1 << 20;
/// What the shortest datagram costs, bytes: its place in the queue, and one wish.
const LEAST: usize = 96;
// one that is longer would wait for ever
const _: () = assert!(DATAGRAM_MAX <= WAITING_MAX);
/// What the kernel is asked to hold of what is not yet read, bytes. It gives what net.core.rmem_max allows.
const BUFFER: usize = 1 << 20;

/// Where datagrams are taken. Two that are equal are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagrams {
    listen: Listen,
    group: String,
    ttl: Duration,
}

/// A bound socket; the name of one that is a file goes with it.
enum Socket {
    Unix(UnixDatagram, SocketFile),
    Udp(UdpSocket),
}

impl Socket {
    async fn recv(&self, datagram: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket, _file) => socket.recv(datagram).await,
            Self::Udp(socket) => socket.recv(datagram).await,
        }
    }
}

impl Datagrams {
    /// The place that this configuration names, if it does.
    pub fn of(config: &Config) -> Option<Self> {
        let listen = config.datagram_feed.listen.clone()?;
        Some(Self { listen, group: config.control.socket_group.clone(), ttl: config.datagram_feed.ttl })
    }

    /// What its tally is called.
    pub fn tally_name(&self) -> String {
        format!("datagram {}", self.listen)
    }

    /// Takes datagrams, for ever. A socket that cannot be had is tried again.
    pub async fn follow(self, control: Arc<Control>, tally: Arc<Tally>) {
        let (name, mut backoff, mut said) = (self.tally_name(), Backoff::default(), String::new());
        let by = By::feed(Origin::Datagram, self.listen.to_string());
        let mut settler = Settler::new(control, by, Arc::clone(&tally), name.clone());
        loop {
            let error = match self.bind().await {
                Ok(socket) => {
                    tally.up();
                    info!("{name}: read");
                    let Err(error) = self.take(&socket, &mut settler).await;
                    error.to_string()
                }
                Err(error) => error.to_string(),
            };
            if error != said {
                warn!("{name}: {error}; it is tried again");
            }
            tally.down(error.as_str());
            said = error;
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Reads while what was read before is brought into force.
    async fn take(&self, socket: &Socket, settler: &mut Settler) -> io::Result<Infallible> {
        let end = End::After(self.ttl.as_secs());
        let room = Semaphore::new(WAITING_MAX);
        let (sender, mut waiting) = mpsc::unbounded_channel::<(Read, SemaphorePermit<'_>)>();
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        let read = async {
            let mut datagram = vec![0; DATAGRAM_MAX];
            loop {
                let length = socket.recv(&mut datagram).await?;
                let cost = u32::try_from(length.max(LEAST)).unwrap_or(u32::MAX);
                let place = room.acquire_many(cost).await.map_err(|_| closed())?;
                sender.send((message::read(&datagram[..length], end), place)).map_err(|_| closed())?;
            }
        };
        let settle = async {
            let mut batch = Vec::new();
            while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
                settler.settle(batch.drain(..).map(|(read, _place)| read).collect()).await;
            }
            Err(closed())
        };
        tokio::select! {
            read = read => read,
            settled = settle => settled,
        }
    }

    async fn bind(&self) -> Result<Socket, BindError> {
        let (socket, buffer) = match &self.listen {
            Listen::Udp(address) => {
                let socket =
                    UdpSocket::bind(address).await.map_err(|source| BindError::Udp { address: *address, source })?;
                let buffer = SockRef::from(&socket).set_recv_buffer_size(BUFFER);
                (Socket::Udp(socket), buffer)
            }
            Listen::Unix(path) => {
                refuse_if_alive(path)?;
                let gid = socket::gid(&self.group, path)?;
                let placed = socket::place(path, gid, UnixDatagram::bind);
                let (socket, file) = placed.map_err(|source| BindError::Unix { path: path.clone(), source })?;
                let buffer = SockRef::from(&socket).set_recv_buffer_size(BUFFER);
                (Socket::Unix(socket, file), buffer)
            }
        };
        if let Err(error) = buffer {
            warn!("{}: a larger buffer is refused: {error}", self.tally_name());
        }
        Ok(socket)
    }
}

/// A stale file is replaced; a living reader's is not, nor what is no socket.
fn refuse_if_alive(path: &Path) -> Result<(), BindError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket { path: path.into() }.into());
    }
    match Probe::unbound().and_then(|probe| probe.connect(path)) {
        Ok(()) => Err(BindError::InUse { path: path.into() }),
        Err(_nobody_reads) => Ok(()),
    }
}

/// The socket cannot be had. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Its file or its group.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Somebody reads there.
    #[error("somebody reads {path} already: stop them, or write another path in datagram_feed.listen")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("the socket {path} cannot be made: {source}; its folder must be there, and writable for vos-engine")]
    Unix {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The port cannot be had.
    #[error("{address} cannot be had: {source}; write another address or port in datagram_feed.listen")]
    Udp {
        /// The address and port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests;
