use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use vos_common::packet;
use vos_engine::control::clock::Clock;
use vos_engine::transmit::{Beside, Kernel, LIFE, Learned, Own, REFRESH, Sent, Transmitter, neighbours};
use vos_engine::xsk::{Frames, Queue};

use crate::built::{end, filling};
use crate::wire::{HERE, HERE6, THERE, THERE6, Wire, next, wait_until};

/// Another address of this host's, in no prefix of the wire's.
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
/// Behind the caller's host.
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const SIP: u16 = 5_060;
const PHONE: u16 = 5_062;

/// A transmitter at one end of a wire, with all that it has in an engine.
struct Site {
    transmitter: Transmitter,
    wire: Wire,
    stop: Arc<AtomicBool>,
    neighbours: Option<JoinHandle<()>>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.neighbours.take() {
            let _it_says_why = thread.join();
        }
    }
}

impl Site {
    fn new() -> Self {
        let wire = Wire::new();
        wire.here.ip(&format!("addr add {OTHER}/32 dev {}", wire.link.name)).unwrap();
        wire.here.ip(&format!("route add {FAR}/32 via {THERE}")).unwrap();
        wire.there.ip(&format!("addr add {FAR}/32 dev lo")).unwrap();
        wire.there.ip(&format!("route add {OTHER}/32 via {HERE}")).unwrap();
        let made = wire.here.enter(|| (neighbours(&wire.link).unwrap(), Arc::new(Kernel::open().unwrap())));
        let ((known, thread), kernel) = made.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || thread.follow(&stopped));
        let own = Arc::new(Own::new(&[HERE, HERE6, OTHER]));
        let transmitter = Transmitter::new(wire.link.mtu, own, Some(Learned::new(1)), Some(Beside { known, kernel }));
        Self { transmitter, wire, stop, neighbours: Some(thread) }
    }

    /// Sends now, and flushes.
    fn send(&mut self, from: IpAddr, to: IpAddr, payload: &[u8]) -> Sent {
        self.send_at(from, to, payload, Clock::now().mono_ns())
    }

    fn send_at(&mut self, from: IpAddr, to: IpAddr, payload: &[u8], now: u64) -> Sent {
        let (from, to) = (end(SocketAddr::new(from, SIP)), end(SocketAddr::new(to, PHONE)));
        let frames: &mut Frames = &mut self.wire.queue;
        let sent = self.transmitter.send(frames, &from, &to, payload, now);
        self.wire.queue.flush();
        sent
    }

    /// Sends until it goes by the way that it should; each of them must arrive.
    #[track_caller]
    fn comes_to(&mut self, way: Sent, from: IpAddr, to: IpAddr) {
        let socket = self.wire.caller((to, PHONE));
        let mut count = 0u32;
        wait_until(&format!("{from} to {to} by {way:?}"), || {
            let payload = format!("{count}");
            let sent = self.send(from, to, payload.as_bytes());
            assert!(matches!(sent, Sent::Ring | Sent::Kernel), "{sent:?}");
            assert_eq!(next(&socket), (SocketAddr::new(from, SIP), payload.into_bytes()));
            count += 1;
            sent == way
        });
    }

    fn neighbour(&self, words: &str) {
        self.wire.here.ip(&format!("neigh {words} dev {}", self.wire.link.name)).unwrap();
    }
}

#[test]
fn who_was_heard_of_is_reached_by_the_ring_for_a_while() {
    let mut site = Site::new();
    let socket = site.wire.caller((THERE, PHONE));
    // What it sent, as it came in here: as if the queue had received it.
    let frame = vos_common::cases::Packet::v4([192, 0, 2, 10]).to(&[192, 0, 2, 1]).mac(site.wire.link.mac).sip(b"x");
    let mut frame = frame.build();
    frame[6..12].copy_from_slice(&site.wire.mac);
    let flow = packet::flow(&&frame[..]).unwrap();
    let now = Clock::now().mono_ns();
    site.transmitter.learn(&frame, &flow, now);
    assert_eq!(site.send_at(HERE, THERE, b"200", now + LIFE - 1), Sent::Ring);
    assert_eq!(next(&socket), (SocketAddr::new(HERE, SIP), b"200".to_vec()));
    // Longer ago than anybody waits for an answer, and so is what the kernel has said meanwhile.
    assert_eq!(site.send_at(HERE, THERE, b"2000", now + 2 * LIFE), Sent::Kernel);
    assert_eq!(next(&socket), (SocketAddr::new(HERE, SIP), b"2000".to_vec()));
}

#[test]
fn who_was_not_is_found_by_the_kernel_and_then_reached_by_the_ring() {
    let mut site = Site::new();
    let socket = site.wire.caller((THERE, PHONE));
    // Nobody waits for the answer: the first one goes by the kernel, which finds the neighbour.
    assert_eq!(site.send(HERE, THERE, b"first"), Sent::Kernel);
    assert_eq!(next(&socket), (SocketAddr::new(HERE, SIP), b"first".to_vec()));
    drop(socket);
    site.comes_to(Sent::Ring, HERE, THERE);
    site.comes_to(Sent::Ring, HERE6, THERE6);
    // Behind a gateway, and from another address than the route would choose.
    site.comes_to(Sent::Ring, OTHER, FAR);
    // A neighbour that nobody has made sure of for a long time is the kernel's to ask: it would not if all went by.
    site.neighbour(&format!("replace {THERE} lladdr {} nud stale", mac(site.wire.mac)));
    site.comes_to(Sent::Kernel, HERE, THERE);
    site.comes_to(Sent::Ring, HERE, THERE);
    // One that an operator has set.
    site.neighbour(&format!("replace {THERE} lladdr {} nud permanent", mac(site.wire.mac)));
    site.comes_to(Sent::Ring, HERE, THERE);
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

/// What was found is believed for as long as what was heard, but asked again with its first use after [`REFRESH`].
#[test]
fn what_is_found_is_asked_again() {
    let mut site = Site::new();
    site.comes_to(Sent::Ring, HERE, THERE);
    site.neighbour(&format!("del {THERE}"));
    let (socket, now) = (site.wire.caller((THERE, PHONE)), Clock::now().mono_ns());
    assert_eq!(site.send_at(HERE, THERE, b"a", now + REFRESH / 2), Sent::Ring);
    assert_eq!(next(&socket).1, b"a");
    assert_eq!(site.send_at(HERE, THERE, b"b", now + LIFE * 2), Sent::Kernel);
    assert_eq!(next(&socket).1, b"b");
}

#[test]
fn what_leaves_another_way_is_the_kernels() {
    let mut site = Site::new();
    site.wire.here.ip("route add blackhole 203.0.113.66/32").unwrap();
    let local = site.wire.here.enter(|| std::net::UdpSocket::bind((OTHER, PHONE))).unwrap().unwrap();
    local.set_read_timeout(Some(crate::wire::PATIENCE)).unwrap();
    for round in 0..20 {
        // To this host itself.
        assert_eq!(site.send(HERE, OTHER, b"to myself"), Sent::Kernel, "{round}");
        assert_eq!(next(&local), (SocketAddr::new(HERE, SIP), b"to myself".to_vec()));
        // Where nothing leads.
        assert_eq!(site.send(HERE, Ipv4Addr::new(203, 0, 113, 66).into(), b"lost"), Sent::Lost, "{round}");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_longer_than_a_frame_arrives_in_fragments() {
    let mut site = Site::new();
    for (from, to, length) in
        [(HERE, THERE, 3_000), (HERE6, THERE6, 3_000), (OTHER, FAR, 65_507), (HERE6, THERE6, 65_487)]
    {
        let socket = site.wire.caller((to, PHONE));
        assert_eq!(site.send(from, to, &filling(length)), Sent::Kernel);
        assert_eq!(next(&socket), (SocketAddr::new(from, SIP), filling(length)), "{length} bytes to {to}");
    }
    assert_eq!(site.send(HERE, THERE, &filling(65_508)), Sent::Lost);
    // Also if the neighbour is known: the ring takes what fits a frame, and no more.
    site.comes_to(Sent::Ring, HERE, THERE);
    let socket = site.wire.caller((THERE, PHONE));
    for (length, way) in [(1_472, Sent::Ring), (1_473, Sent::Kernel)] {
        assert_eq!(site.send(HERE, THERE, &filling(length)), way);
        assert_eq!(next(&socket), (SocketAddr::new(HERE, SIP), filling(length)));
    }
}

#[test]
fn nobody_sends_as_somebody_else() {
    let mut site = Site::new();
    site.comes_to(Sent::Ring, HERE, THERE);
    let socket = site.wire.caller((THERE, PHONE));
    let stranger = IpAddr::from([192, 0, 2, 77]);
    for from in [stranger, THERE, IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0]), THERE6] {
        assert_eq!(site.send(from, THERE, b"spoofed"), Sent::Foreign, "{from}");
    }
    assert_eq!(site.send(HERE6, THERE, b"two families"), Sent::Lost);
    assert_eq!(site.send(HERE, THERE, b"mine"), Sent::Ring);
    assert_eq!(next(&socket), (SocketAddr::new(HERE, SIP), b"mine".to_vec()), "nothing was sent before");
}

#[test]
fn a_full_ring_gives_way_to_the_kernel() {
    let mut site = Site::new();
    site.comes_to(Sent::Ring, HERE, THERE);
    let socket = site.wire.caller((THERE, PHONE));
    socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
    let slots = site.wire.queue.slots();
    let (from, to, now) = (end((HERE, SIP).into()), end((THERE, PHONE).into()), Clock::now().mono_ns());
    let frames: &mut Frames = &mut site.wire.queue;
    let count = slots + 20;
    let ways: Vec<Sent> =
        (0..count).map(|at| site.transmitter.send(frames, &from, &to, &(at as u32).to_be_bytes(), now)).collect();
    assert!(ways[..slots].iter().all(|way| *way == Sent::Ring) && ways[slots..].iter().all(|way| *way == Sent::Kernel));
    // What goes by the kernel is there at once; what was put into the ring waits for the flush.
    let mut at: Vec<u32> = (0..20).map(|_| u32::from_be_bytes(next(&socket).1.try_into().unwrap())).collect();
    assert_eq!(at, (slots as u32..count as u32).collect::<Vec<_>>());
    while at.len() < count {
        site.wire.queue.flush();
        at.push(u32::from_be_bytes(next(&socket).1.try_into().unwrap()));
    }
    at.sort_unstable();
    assert_eq!(at, (0..count as u32).collect::<Vec<_>>());
    all_back(&mut site.wire.queue);
}

#[track_caller]
fn all_back(queue: &mut Queue) {
    wait_until("all frames are back", || {
        queue.flush();
        queue.sending() == 0
    });
    assert_eq!((queue.held(), queue.bad_descriptors()), (0, 0));
}

/// A link that takes nothing keeps a quarter of the frames at most; the others receive.
#[test]
fn a_link_that_is_stuck_keeps_nobody_from_what_arrives() {
    let mut site = Site::new();
    site.comes_to(Sent::Ring, HERE, THERE);
    site.neighbour(&format!("replace {THERE} lladdr {} nud permanent", mac(site.wire.mac)));
    all_back(&mut site.wire.queue);
    let all = site.wire.queue.free() + site.wire.queue.receiving();
    let (name, lan) = (site.wire.link.name.clone(), site.wire.lan.clone());
    // Down: the driver takes nothing out of the ring.
    site.wire.here.ip(&format!("link set {name} down")).unwrap();
    let now = Clock::now().mono_ns();
    let mut by_ring = 0;
    for at in 0..site.wire.queue.slots() * 3 {
        by_ring += usize::from(site.send_at(HERE, THERE, b"stuck", now) == Sent::Ring);
        assert!(site.wire.queue.sending() <= site.wire.queue.slots(), "{at}");
        site.wire.queue.refill();
    }
    let queue = &mut site.wire.queue;
    assert_eq!((by_ring, queue.sending()), (queue.slots(), queue.slots()));
    assert_eq!(queue.unsent(), queue.slots());
    assert!(queue.receiving() + queue.free() >= all * 3 / 4, "{} of {all}", queue.receiving());
    // Up again, but nobody at the other end: what is sent is gone, and its frames are back.
    site.wire.there.ip(&format!("link set {lan} down")).unwrap();
    site.wire.here.ip(&format!("link set {name} up")).unwrap();
    all_back(&mut site.wire.queue);
    assert_eq!(site.wire.queue.free() + site.wire.queue.receiving(), all);
    site.wire.there.ip(&format!("link set {lan} up")).unwrap();
    wait_until("the wire is whole", || site.wire.here.ip(&format!("link show {name}")).unwrap().contains("LOWER_UP"));
    site.comes_to(Sent::Ring, HERE, THERE);
}

/// Raw sockets are given what arrives for others, unless they are told not to be.
#[test]
fn the_kernels_way_receives_nothing() {
    let site = Site::new();
    let wire = &site.wire;
    for (here, there) in [(HERE, THERE), (HERE6, THERE6)] {
        let server = wire.here.enter(|| std::net::UdpSocket::bind((here, SIP))).unwrap().unwrap();
        server.set_read_timeout(Some(crate::wire::PATIENCE)).unwrap();
        let caller = wire.caller((there, PHONE));
        for _ in 0..50 {
            caller.send_to(b"for the server", (here, SIP)).unwrap();
            next(&server);
        }
    }
    // And over lo, where they are connected to.
    for lo in ["127.0.0.1:0", "[::1]:0"] {
        let own = wire.here.enter(|| std::net::UdpSocket::bind(lo)).unwrap().unwrap();
        own.send_to(b"for myself", own.local_addr().unwrap()).unwrap();
        next(&own);
    }
    let raw = wire
        .here
        .enter(|| ["raw", "raw6"].map(|file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))));
    for table in raw.unwrap() {
        let table = table.unwrap();
        let sockets: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(sockets.len(), 1, "{table}");
        // tx_queue:rx_queue, in hex
        assert_eq!(sockets[0][4], "00000000:00000000", "{table}");
    }
}
