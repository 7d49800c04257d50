use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use etherparse::PacketHeaders;
use vos_bench::process::output;
use vos_bench::{NetNs, Program, VethPair};
use vos_engine::config::{Bind, Xsk};
use vos_engine::netlink::{self, Netlink};
use vos_engine::transmit::{Link, build};
use vos_engine::xsk::Queue;

use crate::built::{back, end, filling};
use crate::parsed::Parsed;

/// The engine's host.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The same over IPv6.
pub(crate) const HERE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// The caller's.
pub(crate) const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
/// The same over IPv6.
pub(crate) const THERE6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10));
/// How long anything may take that should happen at once: this machine may be very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// Ports that tcpdump takes for nothing in particular.
const OURS: u16 = 40_060;
const THEIRS: u16 = 40_000;

/// Waits until `done`; panics with `what` if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Two hosts and a wire. The queue goes first: it is bound to an interface of theirs.
pub(crate) struct Wire {
    /// The engine's.
    pub(crate) queue: Queue,
    /// Its interface.
    pub(crate) link: netlink::Link,
    _wire: VethPair,
    /// Where it is.
    pub(crate) here: NetNs,
    /// Where the caller is.
    pub(crate) there: NetNs,
    /// The caller's interface.
    pub(crate) lan: String,
    /// Its MAC address.
    pub(crate) mac: [u8; 6],
}

impl Wire {
    #[track_caller]
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (number, pid) = (NEXT.fetch_add(1, Ordering::Relaxed), std::process::id());
        let (iface, lan) = (format!("th{pid}x{number}"), format!("tc{pid}x{number}"));
        let (here, there) = (NetNs::new("txhere").unwrap(), NetNs::new("txthere").unwrap());
        let wire = VethPair::new(&here, &iface, &there, &lan, 1).unwrap();
        for (ns, dev, v4, v6) in [(&here, &iface, HERE, HERE6), (&there, &lan, THERE, THERE6)] {
            ns.ip(&format!("addr add {v4}/24 dev {dev}")).unwrap();
            ns.ip(&format!("addr add {v6}/64 dev {dev} nodad")).unwrap();
        }
        let ask = |ns: &NetNs, name: &str| ns.enter(|| Netlink::open()?.link(name)).unwrap().unwrap();
        let (link, mac) = (ask(&here, &iface), ask(&there, &lan).mac);
        let config = Xsk { bind: Bind::Copy, ..Xsk::default() };
        let (queue, _) = here.enter(|| Queue::bind(&iface, 0, 2_048, &config)).unwrap().unwrap();
        Self { queue, link, _wire: wire, here, there, lan, mac }
    }

    /// A socket of the caller's.
    #[track_caller]
    pub(crate) fn caller(&self, at: impl Into<SocketAddr>) -> UdpSocket {
        let (at, mut bound) = (at.into(), None);
        // A program that another test is just starting may still have the last one of this address.
        wait_until("the address is free", || {
            bound = self.there.enter(|| UdpSocket::bind(at)).unwrap().ok();
            bound.is_some()
        });
        let socket = bound.unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// The header to the caller.
    pub(crate) fn plain(&self, v4: bool) -> Link {
        Link::plain(self.link.mac, self.mac, v4)
    }

    /// Puts a frame into the ring; `spoil` may change what is in it.
    #[track_caller]
    fn put(&mut self, link: &Link, from: SocketAddr, to: SocketAddr, payload: &[u8], spoil: impl FnOnce(&mut [u8])) {
        let mut frame = self.queue.take().unwrap();
        let room = self.queue.room(&mut frame);
        let length = build(room, link, &end(from), &end(to), payload).unwrap();
        spoil(&mut room[..length]);
        self.queue.transmit(frame, length).unwrap();
    }

    /// One counter of UDP's where the caller is (`/proc/net/snmp`, `snmp6`).
    #[track_caller]
    fn wrong_checksums(&self) -> u64 {
        let read = || {
            // Of this thread: another one of this process is in another namespace.
            let v4 = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
            let v6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
            let mut lines = v4.lines().filter(|line| line.starts_with("Udp:")).map(str::split_whitespace);
            let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
            let v4 = names.zip(values).find(|(name, _)| *name == "InCsumErrors").unwrap().1.parse::<u64>().unwrap();
            let v6 = v6.lines().find_map(|line| line.strip_prefix("Udp6InCsumErrors")).unwrap().trim();
            v4 + v6.parse::<u64>().unwrap()
        };
        self.there.enter(read).unwrap()
    }
}

/// What comes next, and from whom.
#[track_caller]
pub(crate) fn next(socket: &UdpSocket) -> (SocketAddr, Vec<u8>) {
    let mut buffer = vec![0; 70_000];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram");
    buffer.truncate(length);
    (from, buffer)
}

#[test]
fn the_receiving_kernel_takes_frames_of_every_length() {
    let mut wire = Wire::new();
    for (here, there, longest) in [(HERE, THERE, 1_472), (HERE6, THERE6, 1_452)] {
        let (from, to) = (SocketAddr::new(here, OURS), SocketAddr::new(there, THEIRS));
        let (socket, link) = (wire.caller(to), wire.plain(here.is_ipv4()));
        let lengths: Vec<usize> = (0..=longest).collect();
        for some in lengths.chunks(32) {
            some.iter().for_each(|length| wire.put(&link, from, to, &filling(*length), |_| {}));
            wire.queue.flush();
            for length in some {
                assert_eq!(next(&socket), (from, filling(*length)), "{length} bytes");
            }
        }
        // It does look: of three, the one in the middle is dropped, and counted.
        let before = wire.wrong_checksums();
        for (payload, wrong) in [(b"one", 0x00), (b"two", 0x10), (b"six", 0x00)] {
            // the last byte of the payload: both frames are filled up to 60 bytes, or not at all
            let at = 14 + if here.is_ipv4() { 28 } else { 48 } + 2;
            wire.put(&link, from, to, payload, |frame| frame[at] ^= wrong);
        }
        wire.queue.flush();
        assert_eq!([next(&socket).1, next(&socket).1], [b"one", b"six"]);
        assert_eq!(wire.wrong_checksums() - before, 1);
    }
    wait_until("all frames are back", || {
        wire.queue.flush();
        wire.queue.sending() == 0
    });
    assert_eq!((wire.queue.held(), wire.queue.bad_descriptors()), (0, 0));
}

#[test]
fn tcpdump_finds_no_fault_with_tags_or_without() {
    let mut wire = Wire::new();
    let file = tempfile::Builder::new().prefix("vos-transmit-").suffix(".pcap").tempfile().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let mut command = wire.there.command("tcpdump");
    // Short snapshots: of longer ones its buffer holds 32.
    let words = ["-i", &wire.lan, "--immediate-mode", "-U", "-s2048", "-Z", "root", "-w", &path, "udp or vlan"];
    let log = file.path().with_extension("log");
    let mut tcpdump = Program::start("tcpdump", command.args(words), Some(&log)).unwrap();
    wait_until("tcpdump listens", || tcpdump.log().contains("listening on"));

    let mut sent = Vec::new();
    for (here, there, longest) in [(HERE, THERE, 1_472), (HERE6, THERE6, 1_452)] {
        for tags in [&[][..], &[100], &[7, 4_094]] {
            // An interface takes one tag beyond its MTU; who has two has a larger one.
            let longest = longest - 4 * tags.len().saturating_sub(1);
            for length in [1, 2, 17, 18, 19, 100, 101, 555, 1_400, longest - 1, longest] {
                let (from, to) = (SocketAddr::new(here, OURS), SocketAddr::new(there, THEIRS));
                let link = if tags.is_empty() { wire.plain(here.is_ipv4()) } else { back(here.is_ipv4(), tags) };
                wire.put(&link, from, to, &filling(length), |_| {});
                sent.push((tags.to_vec(), from, to, filling(length)));
            }
            wire.queue.flush();
        }
    }
    // One that is wrong, so that no silence is taken for a good word.
    let (from, to) = (SocketAddr::new(HERE, OURS), SocketAddr::new(THERE, THEIRS));
    let plain = wire.plain(true);
    wire.put(&plain, from, to, &[0; 64], |frame| frame[60] ^= 1);
    wire.queue.flush();

    let read = || output(Command::new("tcpdump").args(["-vv", "-nn", "-e", "-r", &path])).unwrap_or_default();
    wait_until("tcpdump has them all", || read().matches("udp sum ok").count() == sent.len());
    wait_until("and the wrong one", || read().contains("bad udp cksum"));
    tcpdump.end().unwrap();
    let said = read();
    assert_eq!(said.matches("bad udp cksum").count(), 1, "{said}");
    assert!(!said.contains("bad cksum"), "of an IPv4 header: {said}");

    let capture = std::fs::read(&path).unwrap();
    let frames = pcap_file::pcap::PcapReader::new(&capture[..]).unwrap();
    let frames: Vec<Vec<u8>> = frames_of(frames);
    let found: Vec<_> = frames[..sent.len()].iter().map(|frame| Parsed::of(frame).unwrap()).collect();
    let found: Vec<_> =
        found.into_iter().map(|Parsed { vlans, from, to, payload, .. }| (vlans, from, to, payload)).collect();
    assert_eq!(found, sent);
    // The outer tag of two is a service tag, as it came.
    let outer = frames.iter().filter(|frame| frame[12..14] == [0x88, 0xa8]).count();
    assert_eq!(outer, sent.len() / 3);
    assert!(PacketHeaders::from_ethernet_slice(&frames[sent.len()]).is_ok());
    assert!(Parsed::of(&frames[sent.len()]).is_err());
    std::fs::remove_file(log).unwrap();
}

#[test]
fn a_frame_that_the_driver_refuses_keeps_back_none_behind_it() {
    let mut wire = Wire::new();
    let (from, to) = (SocketAddr::new(HERE, OURS), SocketAddr::new(THERE, THEIRS));
    let (socket, plain, tagged) = (wire.caller(to), wire.plain(true), back(true, &[7, 8]));
    for number in 0..40u8 {
        // Longer than the interface may send.
        wire.put(&tagged, from, to, &[0; 1_472], |_| {});
        wire.put(&plain, from, to, &[number], |_| {});
    }
    wire.queue.flush();
    for number in 0..40u8 {
        assert_eq!(next(&socket).1, [number]);
    }
}

fn frames_of(mut reader: pcap_file::pcap::PcapReader<&[u8]>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        // What is not ours: a host says hello over IPv6.
        let ours = PacketHeaders::from_ethernet_slice(packet.data())
            .is_ok_and(|headers| headers.transport.is_some_and(|t| t.udp().is_some()));
        if ours {
            frames.push(packet.data().to_vec());
        }
    }
    frames
}
