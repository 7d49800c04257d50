//! Re-entry by one system call a frame or by one a batch: what a packet costs the thread that hands it to the kernel.
//!
//! `cargo bench -p vos-engine --bench inject`, as root. Every way ends in the same place, the NIC's ingress and a UDP
//! socket behind it that nobody reads: full, it drops, and the kernel counts every packet that got there.

use std::cell::Cell;
use std::error::Error;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};
use nix::time::{ClockId, clock_gettime};
use vos_bench::{NetNs, VethPair};
use vos_engine::config::{Attach, Config};
use vos_engine::netlink::{Link, Netlink};
use vos_engine::pipeline::Checksum;
use vos_engine::relay::{Raw, Reentry, Tap};
use vos_engine::sys;
use vos_engine::xdp::{self, Filter};
use vos_engine::xsk::chunk_for;
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// `struct virtio_net_hdr` before each frame that goes to a TAP; zeros: nothing left to do for the kernel.
const VNET_HEADER: usize = 10;
const PAYLOAD: usize = 450;
const FRAME: usize = 14 + 20 + 8 + PAYLOAD;
const BATCHES: [usize; 3] = [1, 8, 32];
/// Frames in memory, written in turn; as many as the largest batch.
const SLOTS: usize = 32;
/// Packets of one way before it is the next one's turn; a multiple of every batch.
const SLICE: usize = 3_200;
/// Core of the injecting thread, and of the kernel's thread under SQPOLL.
const CORE: usize = 0;
const SQPOLL_CORE: u32 = 1;
const SQPOLL_IDLE_MS: u32 = 10;

/// One way into the NIC's ingress.
trait Way {
    fn name(&self) -> String;
    /// What is made anew for each round, outside of the time measured.
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Hands `packets`, a multiple of the batch, to the kernel; all are off the thread's hands on return.
    fn send(&mut self, packets: usize) -> io::Result<()>;
    fn end(&mut self) {}
}

/// (a) The engine's own.
struct Writev<'a> {
    reentry: Reentry,
    frames: &'a [Vec<u8>],
}

impl Way for Writev<'_> {
    fn name(&self) -> String {
        "(a) writev".to_owned()
    }

    fn send(&mut self, packets: usize) -> io::Result<()> {
        for number in 0..packets {
            self.reentry.send(&self.frames[number % SLOTS][VNET_HEADER..], Checksum::Whole)?;
        }
        Ok(())
    }
}

/// The engine's other one: a raw socket and `lo`, with the kernel's checks made here.
struct ByRawSocket {
    raw: Raw,
    frame: Vec<u8>,
    begin: Instant,
}

impl Way for ByRawSocket {
    fn name(&self) -> String {
        "raw socket".to_owned()
    }

    fn send(&mut self, packets: usize) -> io::Result<()> {
        for _ in 0..packets {
            let now = self.begin.elapsed().as_nanos() as u64;
            let sent = self.raw.send(&mut self.frame, Checksum::Whole, now);
            sent.map_err(|error| io::Error::other(format!("{error:?}")))?;
        }
        Ok(())
    }
}

/// [`Writev`] with the header in front of the frame, as a UMEM's headroom would allow.
struct Write<'a> {
    queue: OwnedFd,
    frames: &'a [Vec<u8>],
}

impl Way for Write<'_> {
    fn name(&self) -> String {
        "write, header in front".to_owned()
    }

    fn send(&mut self, packets: usize) -> io::Result<()> {
        for number in 0..packets {
            nix::unistd::write(&self.queue, &self.frames[number % SLOTS])?;
        }
        Ok(())
    }
}

/// (b) Many writes by one `io_uring_enter`.
struct Uring<'a> {
    queue: OwnedFd,
    frames: &'a [Vec<u8>],
    /// Header and frame of each slot, for [`opcode::Writev`]; none: [`opcode::Write`].
    vectors: Option<Vec<[libc::iovec; 2]>>,
    sqpoll: bool,
    batch: usize,
    ring: Option<IoUring>,
}

impl<'a> Uring<'a> {
    fn new(tap: &Tap, frames: &'a [Vec<u8>], vectored: bool, sqpoll: bool, batch: usize) -> io::Result<Self> {
        let piece = |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let split = |frame: &Vec<u8>| [piece(&frame[..VNET_HEADER]), piece(&frame[VNET_HEADER..])];
        let vectors = vectored.then(|| frames.iter().map(split).collect());
        let mut made = Self { queue: sys::tap_queue(tap.name())?, frames, vectors, sqpoll, batch, ring: None };
        made.begin()?;
        made.end();
        Ok(made)
    }

    fn entry(&self, slot: usize) -> squeue::Entry {
        let tap = types::Fixed(0);
        match &self.vectors {
            Some(vectors) => opcode::Writev::new(tap, vectors[slot].as_ptr(), 2).build(),
            None => opcode::Write::new(tap, self.frames[slot].as_ptr(), self.frames[slot].len() as u32).build(),
        }
    }
}

impl Way for Uring<'_> {
    fn name(&self) -> String {
        let operation = if self.vectors.is_some() { "Writev" } else { "Write" };
        format!("(b) io_uring {operation}{}", if self.sqpoll { " SQPOLL" } else { "" })
    }

    fn begin(&mut self) -> io::Result<()> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer();
        if self.sqpoll {
            builder.setup_sqpoll(SQPOLL_IDLE_MS).setup_sqpoll_cpu(SQPOLL_CORE);
        } else {
            builder.setup_defer_taskrun();
        }
        // Twice a batch: SQPOLL's thread gives the slots back a moment after the completions.
        let ring = builder.build(2 * SLOTS as u32)?;
        ring.submitter().register_files(&[self.queue.as_raw_fd()])?;
        self.ring = Some(ring);
        Ok(())
    }

    fn send(&mut self, packets: usize) -> io::Result<()> {
        let mut ring = self.ring.take().ok_or(io::ErrorKind::NotConnected)?;
        for turn in 0..packets / self.batch {
            for n in 0..self.batch {
                let entry = self.entry((turn * self.batch + n) % SLOTS);
                // SAFETY: frames and vectors are only read, each batch is waited for below, and after an error, which
                // ends the run, both live on in `compare` until the ring is gone.
                unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
            }
            let mut left = self.batch;
            while left > 0 {
                ring.submit_and_wait(left)?;
                for done in ring.completion() {
                    if done.result() < 0 {
                        return Err(io::Error::from_raw_os_error(-done.result()));
                    }
                    left -= 1;
                }
            }
        }
        self.ring = Some(ring);
        Ok(())
    }

    fn end(&mut self) {
        self.ring = None;
        if self.sqpoll {
            // its thread goes asynchronously
            std::thread::sleep(Duration::from_millis(2 * u64::from(SQPOLL_IDLE_MS)));
        }
    }
}

/// (c) An AF_XDP TX ring: into one end of a veth pair, out of the other, whose ingress has the same TCX program.
struct Xsk<'a> {
    frames: &'a [Vec<u8>],
    umem: Umem,
    tx: TxQueue,
    completion: CompQueue,
    _rx: RxQueue,
    _fill: FillQueue,
    free: Vec<FrameDesc>,
}

impl<'a> Xsk<'a> {
    fn new(iface: &str, frames: &'a [Vec<u8>]) -> Result<Self> {
        let ring = QueueSize::new(64)?;
        let umem = UmemConfig::builder()
            .frame_size(FrameSize::new(2_048)?)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()?;
        let (umem, mut free) = Umem::new(umem, (SLOTS as u32).try_into()?, false)?;
        let config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let interface: Interface = iface.parse()?;
        // SAFETY: the UMEM is this socket's alone, and loading a program is inhibited.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &interface, 0) }?;
        let (fill, completion) = rings.ok_or("the socket has no rings of its own")?;
        for (desc, frame) in free.iter_mut().zip(frames) {
            // SAFETY: the frame is free: of this UMEM, and in nobody else's hands.
            let mut data = unsafe { umem.data_mut(desc) };
            data.cursor().write_all(&frame[VNET_HEADER..])?;
        }
        Ok(Self { frames, umem, tx, completion, _rx: rx, _fill: fill, free })
    }
}

/// Batch sizes of one socket: a queue takes one socket only.
struct XskBatch<'s, 'a> {
    /// Lent to one round at a time.
    socket: &'s Cell<Option<Xsk<'a>>>,
    /// Is the frame copied into the UMEM? Not where it is shared with the NIC's socket.
    copies: bool,
    batch: usize,
}

impl Way for XskBatch<'_, '_> {
    fn name(&self) -> String {
        format!("(c) AF_XDP TX, {}", if self.copies { "copied in" } else { "no copy in" })
    }

    fn send(&mut self, packets: usize) -> io::Result<()> {
        let mut socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        let outcome = socket.send(packets, self.batch, self.copies);
        self.socket.set(Some(socket));
        outcome
    }
}

impl Xsk<'_> {
    fn send(&mut self, packets: usize, batch: usize, copies: bool) -> io::Result<()> {
        for turn in 0..packets / batch {
            for (n, desc) in self.free[..batch].iter_mut().enumerate() {
                let frame = &self.frames[(turn * batch + n) % SLOTS][VNET_HEADER..];
                // SAFETY: the frame is free: of this UMEM, and back from the completion ring.
                let mut data = unsafe { self.umem.data_mut(desc) };
                let mut cursor = data.cursor();
                if copies {
                    cursor.set_pos(0);
                    cursor.write_all(frame)?;
                } else {
                    cursor.set_pos(frame.len());
                }
            }
            // SAFETY: the frames are of this UMEM, and not touched before the completion ring gives them back.
            if unsafe { self.tx.produce(&self.free[..batch]) } < batch {
                return Err(io::Error::other("the TX ring is full"));
            }
            let mut done = 0;
            while done < batch {
                self.tx.wakeup()?;
                // SAFETY: the completion ring is this UMEM's.
                done += unsafe { self.completion.consume(&mut self.free[done..batch]) };
            }
        }
        Ok(())
    }
}

/// Of one round, ns a packet.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    /// CPU time of the injecting thread, with the softirqs that ran in it.
    own: f64,
    /// CPU time elsewhere: other threads of the process (SQPOLL, io-wq) and ksoftirqd.
    other: f64,
}

struct Row<'w> {
    way: Box<dyn Way + 'w>,
    batch: usize,
    /// Of the round that runs, slice by slice.
    slices: Vec<Cost>,
    /// Of each round, the mean of its slices.
    rounds: Vec<Cost>,
    /// The quickest slice of all, ns a packet: what there is when no other program runs.
    least: f64,
    lost: Option<String>,
}

fn clock(id: ClockId) -> io::Result<Duration> {
    Ok(clock_gettime(id)?.into())
}

/// CPU time of all ksoftirqd so far (`Documentation/scheduler/sched-stats.rst`); zero where the kernel keeps none.
fn ksoftirqd(pids: &[String]) -> Duration {
    let time = |pid: &String| -> Option<u64> {
        std::fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    Duration::from_nanos(pids.iter().filter_map(time).sum())
}

/// Entries of `dir`, named by number, whose `comm` begins so.
fn tasks(dir: &str, comm: &str) -> Vec<String> {
    let named =
        |id: &String| std::fs::read_to_string(format!("{dir}/{id}/comm")).is_ok_and(|name| name.starts_with(comm));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(named).collect()
}

/// Datagrams that have reached UDP in this thread's namespace, taken or dropped for want of room.
fn arrived() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().ok_or("no Udp in snmp")?, lines.next().ok_or("no Udp in snmp")?);
    let counted = ["InDatagrams", "RcvbufErrors", "MemErrors"];
    let pairs = names.split(' ').zip(values.split(' ')).filter(|(name, _)| counted.contains(name));
    pairs.map(|(_, value)| Ok(value.parse::<u64>()?)).sum()
}

impl Row<'_> {
    fn slice(&mut self, packets: usize, ksoftirqds: &[String]) -> Result<()> {
        self.way.begin()?;
        let (at_first, kernel) = (arrived()?, ksoftirqd(ksoftirqds));
        let (process, own) = (clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)?, clock(ClockId::CLOCK_THREAD_CPUTIME_ID)?);
        let start = Instant::now();
        self.way.send(packets)?;
        let wall = start.elapsed();
        let own = clock(ClockId::CLOCK_THREAD_CPUTIME_ID)? - own;
        let process = clock(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - process;
        // what is still in a backlog arrives now
        let deadline = Instant::now() + Duration::from_millis(200);
        while arrived()? < at_first + packets as u64 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        let other = process.saturating_sub(own) + ksoftirqd(ksoftirqds).saturating_sub(kernel);
        self.way.end();
        let got = arrived()? - at_first;
        if got != packets as u64 {
            self.lost = Some(format!("{got} of {packets} arrived"));
        }
        let per_packet = |time: Duration| time.as_nanos() as f64 / packets as f64;
        self.slices.push(Cost { wall: per_packet(wall), own: per_packet(own), other: per_packet(other) });
        self.least = self.least.min(per_packet(wall));
        Ok(())
    }

    fn end_round(&mut self, warm_up: bool) {
        let mean = |of: fn(&Cost) -> f64| self.slices.iter().map(of).sum::<f64>() / self.slices.len() as f64;
        let cost = Cost { wall: mean(|c| c.wall), own: mean(|c| c.own), other: mean(|c| c.other) };
        self.slices.clear();
        if warm_up {
            self.least = f64::INFINITY;
        } else {
            self.rounds.push(cost);
        }
    }

    fn median(&self, of: impl Fn(&Cost) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }

    /// To `base`, round by round: what else the machine did meanwhile hit both.
    fn ratio(&self, base: &Self, of: impl Fn(&Cost) -> f64) -> f64 {
        median(self.rounds.iter().zip(&base.rounds).map(|(cost, base)| of(cost) / of(base)))
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A request to the NIC's own address, behind an empty `virtio_net_hdr`. Without a UDP checksum: nobody has to add it up.
fn packet(mac: [u8; 6]) -> Vec<u8> {
    let mut packet = vec![0; VNET_HEADER];
    packet.extend(mac);
    packet.extend([2, 0, 0, 0, 0, 0x10, 8, 0]);
    let mut ip = [0; 20];
    ip[..4].copy_from_slice(&[0x45, 0, ((FRAME - 14) >> 8) as u8, (FRAME - 14) as u8]);
    (ip[8], ip[9]) = (64, 17);
    ip[12..].copy_from_slice(&[192, 0, 2, 10, 192, 0, 2, 1]);
    let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    ip[10..12].copy_from_slice(&(!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes());
    packet.extend(ip);
    for word in [5_060, 5_060, (8 + PAYLOAD) as u16, 0] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(b"OPTIONS sip:192.0.2.1 SIP/2.0\r\nSubject: ");
    packet.resize(VNET_HEADER + FRAME - 4, b'x');
    packet.extend(b"\r\n\r\n");
    packet
}

/// The engine's pins go, however the run ends.
struct Pins(String);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = xdp::unload(&self.0) {
            eprintln!("{}: not unloaded: {error}", self.0);
        }
    }
}

/// Runs in the namespace. Slices of each way in turn; so many make a round, and there is one more to warm up.
fn compare(nic: &str, slices: usize, rounds: usize) -> Result<()> {
    let mut netlink = Netlink::open()?;
    let link = netlink.link(nic)?;
    let _pins = Pins(nic.to_owned());
    let mut filter = Filter::load(&link)?;
    filter.configure(&Config::default(), chunk_for(link.mtu).1)?;
    filter.attach(Attach::Native, false, &mut netlink)?;
    let tap = Tap::new(&link, &mut netlink)?;
    filter.attach_relay(tap.name())?;
    let exit = netlink.link("exit0")?;
    // As the TAP has it: the kernel takes the frames for its own.
    netlink.set_up(exit.index, link.mac, link.mtu)?;
    filter.attach_relay(&exit.name)?;

    let sink = std::net::UdpSocket::bind("192.0.2.1:5060")?;
    socket2::SockRef::from(&sink).set_recv_buffer_size(4_096)?;
    if !core_affinity::set_for_current(core_affinity::CoreId { id: CORE }) {
        println!("not pinned to core {CORE}");
    }

    let frames: Vec<Vec<u8>> = vec![packet(link.mac); SLOTS];
    let socket = Cell::new(None);
    match Xsk::new("enter0", &frames) {
        Ok(xsk) => socket.set(Some(xsk)),
        Err(error) => println!("AF_XDP: refused: {error}"),
    }
    let mut rows = ways(&tap, &link, &frames, &socket)?;
    // The sink is full from here on.
    rows[0].way.send(SLOTS)?;
    let ksoftirqds = tasks("/proc", "ksoftirqd/");
    let mut io_wq = 0;
    for round in 0..=rounds {
        for turn in 0..slices {
            for n in 0..rows.len() {
                // another one begins each time
                let row = (n + round * slices + turn) % rows.len();
                rows[row].slice(SLICE, &ksoftirqds).map_err(|e| format!("{}: {e}", rows[row].way.name()))?;
            }
        }
        io_wq = io_wq.max(tasks("/proc/self/task", "iou-wrk").len());
        rows.iter_mut().for_each(|row| row.end_round(round == 0));
    }
    report(&rows, slices * SLICE, io_wq);
    if rows.iter().any(|row| row.lost.is_some()) { Err("not every packet arrived".into()) } else { Ok(()) }
}

fn ways<'w, 'a: 'w>(
    tap: &Tap,
    nic: &Link,
    frames: &'a [Vec<u8>],
    socket: &'w Cell<Option<Xsk<'a>>>,
) -> Result<Vec<Row<'w>>> {
    let mut rows: Vec<Row<'w>> = Vec::new();
    let mut add = |way: Box<dyn Way + 'w>, batch| {
        rows.push(Row { way, batch, slices: Vec::new(), rounds: Vec::new(), least: f64::INFINITY, lost: None });
    };
    add(Box::new(Writev { reentry: Reentry::new(tap, nic, 0)?, frames }), 1);
    let (raw, frame) = (Raw::new(nic, 0)?, frames[0][VNET_HEADER..].to_vec());
    add(Box::new(ByRawSocket { raw, frame, begin: Instant::now() }), 1);
    add(Box::new(Write { queue: sys::tap_queue(tap.name())?, frames }), 1);
    for (vectored, sqpoll) in [(true, false), (false, false), (false, true)] {
        for batch in BATCHES {
            match Uring::new(tap, frames, vectored, sqpoll, batch) {
                Ok(uring) => add(Box::new(uring), batch),
                Err(error) => println!("io_uring, batch {batch}, SQPOLL {sqpoll}: refused: {error}"),
            }
        }
    }
    let bound = socket.take();
    if bound.is_some() {
        socket.set(bound);
        for (copies, batch) in [true, false].into_iter().flat_map(|copies| BATCHES.map(|batch| (copies, batch))) {
            add(Box::new(XskBatch { socket, copies, batch }), batch);
        }
    }
    Ok(rows)
}

fn report(rows: &[Row<'_>], packets: usize, io_wq: usize) {
    let calls = 200_000;
    let start = Instant::now();
    for _ in 0..calls {
        std::hint::black_box(nix::unistd::getppid());
    }
    let empty = start.elapsed().as_nanos() as f64 / f64::from(calls);
    println!(
        "{FRAME}-byte frames, {} rounds of {packets} packets; ns a packet, medians; an empty system call: {empty:.0} ns",
        rows[0].rounds.len(),
    );
    println!("io-wq workers seen: {io_wq}");
    println!(
        "{:<28}{:>6}{:>9}{:>8}{:>8}{:>10}{:>10}{:>8}{:>9}  arrived",
        "way", "batch", "wall", "ratio", "least", "own CPU", "other CPU", "all CPU", "ratio"
    );
    let all = |cost: &Cost| cost.own + cost.other;
    for row in rows {
        println!(
            "{:<28}{:>6}{:>9.0}{:>8.2}{:>8.0}{:>10.0}{:>10.0}{:>8.0}{:>9.2}  {}",
            row.way.name(),
            row.batch,
            row.median(|cost| cost.wall),
            row.ratio(&rows[0], |cost| cost.wall),
            row.least,
            row.median(|cost| cost.own),
            row.median(|cost| cost.other),
            row.median(all),
            row.ratio(&rows[0], all),
            row.lost.as_deref().unwrap_or("all"),
        );
    }
}

fn main() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        println!("inject: skipped: needs root");
        return Ok(());
    }
    // `cargo bench` says --bench, `cargo test` does not: there one small round shows that every way works.
    let bench = std::env::args().any(|word| word == "--bench") && std::env::args().all(|word| word != "--test");
    let (slices, rounds) = if bench { (20, 9) } else { (1, 1) };
    let (host, lan) = (NetNs::new("inject")?, NetNs::new("lan")?);
    // Pins go by the interface's name, which another run must not have.
    let nic = format!("inj{}", std::process::id());
    let _wire = VethPair::new(&host, &nic, &lan, "lan0", 1)?;
    let _way_round = VethPair::new(&host, "enter0", &host, "exit0", 1)?;
    for iface in [nic.as_str(), "enter0", "exit0"] {
        let _where_there_is_no_ipv6 = host.sysctl(&format!("net.ipv6.conf.{iface}.disable_ipv6"), "1");
    }
    host.ip(&format!("addr add 192.0.2.1/24 dev {nic}"))?;
    host.enter(|| compare(&nic, slices, rounds))?
}
