use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use thiserror::Error;
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

use super::{Frame, Frames};
use crate::config::{Bind, Xsk};
use crate::sys;

/// `XDP_PACKET_HEADROOM`: bytes at the front of a chunk that the kernel keeps for XDP programs.
const HEADROOM: u32 = 256;
/// How long a bind that finds the queue busy is tried again: an AF_XDP socket is closed asynchronously, after an RCU
/// grace period. Shorter, and a restart fails; longer, and a real rival is named late.
const BUSY_PATIENCE: Duration = Duration::from_secs(3);

/// The socket cannot be had. The message names the fix.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BindError {
    /// Somebody has the queue.
    #[error("queue {queue} of {iface} is held by another AF_XDP socket{rival}: stop that program, then start again")]
    Busy {
        /// The interface.
        iface: String,
        /// The queue.
        queue: u32,
        /// Who it is, as far as `ss` knows.
        rival: String,
    },
    /// Zero-copy was asked for, and the driver has none.
    #[error("the driver of {iface} refuses zero-copy on queue {queue} ({source}): use --bind copy, or auto")]
    NoZeroCopy {
        /// The interface.
        iface: String,
        /// The queue.
        queue: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("AF_XDP socket on queue {queue} of {iface}: {what}: {source}")]
    Refused {
        /// The interface.
        iface: String,
        /// The queue.
        queue: u32,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Bytes of a chunk for an interface of this MTU, and the longest frame that fits it: Ethernet header and two VLAN
/// tags on top of the MTU. The kernel takes 2,048 and 4,096; what does not fit goes the kernel's path.
pub fn chunk_for(mtu: u32) -> (u32, u32) {
    let chunk = if mtu + 14 + 8 <= 2_048 - HEADROOM { 2_048 } else { 4_096 };
    (chunk, chunk - HEADROOM)
}

/// UMEM, socket and rings of one RX queue. Not shared: each worker has one. What its [`Frames`] can do, it can.
#[derive(Debug)]
pub struct Queue {
    frames: Frames,
    rx: RxQueue,
    fill: FillQueue,
    tx: TxQueue,
    completion: CompQueue,
    /// Descriptors on their way between ring and frames; kept, so that nothing is allocated.
    descs: Vec<FrameDesc>,
}

impl Deref for Queue {
    type Target = Frames;

    fn deref(&self) -> &Frames {
        &self.frames
    }
}

impl DerefMut for Queue {
    fn deref_mut(&mut self) -> &mut Frames {
        &mut self.frames
    }
}

impl Queue {
    /// Makes a UMEM and binds a socket to `queue` of `iface`. Says why it is not zero-copy, where that was open.
    pub fn bind(iface: &str, queue: u32, chunk: u32, config: &Xsk) -> Result<(Self, Option<String>), BindError> {
        let bind = |flags| Self::bind_patiently(iface, queue, chunk, config, flags);
        match config.bind {
            Bind::Copy => bind(BindFlags::XDP_COPY).map(|queue| (queue, None)),
            Bind::Zerocopy => match bind(BindFlags::XDP_ZEROCOPY) {
                Err(BindError::Refused { source, .. }) if no_zero_copy(&source) => {
                    Err(BindError::NoZeroCopy { iface: iface.to_owned(), queue, source })
                }
                other => other.map(|queue| (queue, None)),
            },
            Bind::Auto => match bind(BindFlags::XDP_ZEROCOPY) {
                Err(BindError::Refused { source, .. }) if no_zero_copy(&source) => {
                    bind(BindFlags::XDP_COPY).map(|queue| (queue, Some(source.to_string())))
                }
                other => other.map(|queue| (queue, None)),
            },
        }
    }

    fn bind_patiently(iface: &str, queue: u32, chunk: u32, config: &Xsk, flags: BindFlags) -> Result<Self, BindError> {
        let deadline = Instant::now() + BUSY_PATIENCE;
        loop {
            match Self::bind_once(iface, queue, chunk, config, flags) {
                Err(BindError::Refused { source, .. }) if source.raw_os_error() == Some(libc::EBUSY) => {
                    if Instant::now() > deadline {
                        return Err(BindError::Busy { iface: iface.to_owned(), queue, rival: rival(iface, queue) });
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                other => return other,
            }
        }
    }

    fn bind_once(iface: &str, queue: u32, chunk: u32, config: &Xsk, flags: BindFlags) -> Result<Self, BindError> {
        let refused = |what, source| BindError::Refused { iface: iface.to_owned(), queue, what, source };
        let invalid = |what| refused(what, io::Error::from(io::ErrorKind::InvalidInput));
        let ring = QueueSize::new(config.ring).map_err(|_| invalid("ring size"))?;
        let tx_slots = tx_slots(config);
        let tx_ring = QueueSize::new(tx_slots).map_err(|_| invalid("ring size"))?;
        let size = FrameSize::new(chunk).map_err(|_| invalid("chunk size"))?;
        let count = config.frames.try_into().map_err(|_| invalid("number of frames"))?;
        let umem = UmemConfig::builder()
            .frame_size(size)
            .fill_queue_size(ring)
            .comp_queue_size(tx_ring)
            .build()
            .map_err(|_| invalid("UMEM layout"))?;
        let (umem, free) = Umem::new(umem, count, false)
            .map_err(|error| refused("UMEM (is CAP_IPC_LOCK missing, or too little memory?)", os_error(&error)))?;
        let socket = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(tx_ring)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(flags | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let interface: Interface = iface.parse().map_err(|_| invalid("interface name"))?;
        // SAFETY: the UMEM is this socket's alone, and loading a program is inhibited.
        let (tx, rx, rings) = unsafe { Socket::new(socket, &umem, &interface, queue) }
            .map_err(|error| refused("bind", os_error(&error)))?;
        let (fill, completion) = rings.ok_or_else(|| invalid("rings"))?;
        let frames = Frames::new(umem, free, chunk as usize, tx_slots as usize);
        let descs = vec![FrameDesc::default(); config.batch.max(64) as usize];
        let mut queue = Self { frames, rx, fill, tx, completion, descs };
        // libxdp leaves it open to programs that are started later, and the queue would stay busy as long as they run.
        fcntl(queue.fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .map_err(|error| refused("close-on-exec", error.into()))?;
        queue.refill();
        Ok(queue)
    }

    /// The socket, for the XSK map and for poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as `rx` is, and the borrow is of self.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }

    /// Did the driver grant zero-copy?
    pub fn zero_copy(&self) -> io::Result<bool> {
        sys::xsk_zero_copy(self.fd())
    }

    /// Gives the kernel as many free frames as its ring takes.
    pub fn refill(&mut self) {
        let Self { frames, fill, .. } = self;
        let room = fill.nb_free_exact() as usize;
        // SAFETY: the frames are free: they are of this UMEM and in nobody else's hands.
        frames.give(room, |descs| unsafe { fill.produce(descs) });
    }

    /// Does the driver wait to be woken before it takes from the fill ring?
    pub fn needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    /// Takes up to a batch of packets from the RX ring.
    pub fn receive(&mut self, batch: &mut Vec<Frame>) -> usize {
        let Self { frames, rx, descs, .. } = self;
        let room = (batch.capacity() - batch.len()).min(descs.len());
        // SAFETY: the frames come from this socket, whose UMEM this is.
        let got = unsafe { rx.consume(&mut descs[..room]) };
        // SAFETY: as above; the kernel has no more to do with them.
        unsafe { frames.receive(&descs[..got], batch) };
        got
    }

    /// Hands the kernel what is to be sent, wakes the driver where it wants to be woken, and takes back what has been
    /// sent. Never waits.
    pub fn flush(&mut self) {
        let Self { frames, tx, .. } = self;
        // SAFETY: the frames are of this UMEM and in nobody else's hands.
        frames.send(|descs| unsafe { tx.produce(descs) });
        self.reap();
        if self.sending() == 0 || !self.tx.needs_wakeup() {
            return;
        }
        // Some drivers look for what they have sent only when they are called.
        if self.unsent() == 0 && self.sending() <= self.slots() / 2 {
            return;
        }
        // In copy mode one call sends up to 32 packets (TX_BATCH_SIZE), and ends at one that the driver refuses; a driver
        // that polls wants one call. One that brings nothing is the last: what arrives must not wait for a link that is
        // stuck.
        let mut left = usize::MAX;
        while self.sending() + self.unsent() < left {
            left = self.sending() + self.unsent();
            let _it_is_called_again_with_the_next_flush = self.tx.wakeup();
            self.reap();
            if self.unsent() == 0 {
                break;
            }
        }
    }

    /// Frames in the TX ring that the kernel has not taken yet: it wants to be called again.
    pub fn unsent(&mut self) -> usize {
        self.slots() - self.tx.nb_free_exact() as usize
    }

    /// Takes back the frames that have been sent.
    fn reap(&mut self) {
        let Self { frames, completion, descs, .. } = self;
        loop {
            // SAFETY: the frames come from this socket, whose UMEM this is.
            let got = unsafe { completion.consume(descs) };
            if got == 0 {
                return;
            }
            // SAFETY: as above; the kernel has no more to do with them.
            unsafe { frames.complete(&descs[..got]) };
        }
    }

    /// What was counted of this queue so far.
    pub fn statistics(&self) -> Statistics {
        let kernel = self.rx.fd().xdp_statistics().unwrap_or_default();
        Statistics([
            kernel.rx_dropped(),
            kernel.rx_ring_full(),
            kernel.rx_invalid_descs(),
            kernel.rx_fill_ring_empty_descs(),
            kernel.tx_invalid_descs(),
            kernel.tx_ring_empty_descs(),
            self.bad_descriptors(),
        ])
    }
}

/// What the kernel counts of a socket (`XDP_STATISTICS`), and the engine of its frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics(pub [u64; Self::LABELS.len()]);

impl Statistics {
    /// The words for them in JSON and metrics, in their order: packets that did not fit a frame or the socket's memory;
    /// that found the RX ring full; frames that were offered in the fill ring and are none; times that the fill ring was
    /// empty; frames to send that are none; times that the TX ring was empty; frames from the kernel that are none.
    pub const LABELS: [&'static str; 7] = [
        "rx_dropped",
        "rx_ring_full",
        "rx_invalid_descriptors",
        "fill_ring_empty",
        "tx_invalid_descriptors",
        "tx_ring_empty",
        "bad_descriptors",
    ];

    /// Is each of what the word counts a packet or a frame that is lost?
    pub fn is_loss(label: &str) -> bool {
        matches!(label, "rx_dropped" | "rx_ring_full" | "rx_invalid_descriptors" | "bad_descriptors")
    }
}

/// Slots of the TX ring and the completion ring: a quarter of the frames, so that a link that takes nothing leaves enough
/// to receive into.
fn tx_slots(config: &Xsk) -> u32 {
    config.ring.min(config.frames / 4)
}

/// How the kernel says "not with this driver": `EOPNOTSUPP`, and from some `EINVAL` or `ENOTSUP`.
fn no_zero_copy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL | libc::EPROTONOSUPPORT | libc::ENXIO))
}

fn os_error(error: &(dyn std::error::Error + 'static)) -> io::Error {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source
        .and_then(io::Error::raw_os_error)
        .map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

/// Who holds the queue, as `ss` of iproute2 tells it.
fn rival(iface: &str, queue: u32) -> String {
    let Ok(output) = std::process::Command::new("ss").args(["--xdp", "-a", "-p", "-n"]).output() else {
        return String::new();
    };
    let place = format!("{iface}:q{queue}");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.split_whitespace().any(|word| word == place));
    let users = line.and_then(|line| line.split("users:").nth(1));
    users.map_or_else(String::new, |users| format!(" {}", users.trim()))
}
