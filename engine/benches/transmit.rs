//! A datagram to a caller: what building its frame costs, and what the ring and the kernel cost that send it.
//!
//! `cargo bench -p vos-engine --bench transmit`, as root. All ways in turn, round by round, so that what else the machine
//! does meanwhile hits all of them; medians of the rounds.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use vos_bench::{NetNs, VethPair};
use vos_common::rule::Addr;
use vos_engine::config::{Bind, Xsk};
use vos_engine::netlink::Netlink;
use vos_engine::transmit::{Beside, End, Kernel, Learned, Link, Own, Sent, Transmitter, build, neighbours};
use vos_engine::xsk::Queue;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const HERE: [u8; 4] = [192, 0, 2, 1];
const THERE: [u8; 4] = [192, 0, 2, 10];
/// Bytes of an ordinary answer.
const PAYLOAD: usize = 450;
/// Datagrams of one way before it is the next one's turn; a multiple of the batch.
const SLICE: usize = 3_200;
const BATCH: usize = 32;
/// Raw sockets beside those that datagrams are for: the engine has one of each family.
const RAW: usize = 16;

/// One way, and the ns a datagram of each round.
struct Row<'a> {
    name: &'static str,
    slice: Box<dyn FnMut() -> Result<()> + 'a>,
    rounds: Vec<f64>,
}

fn ends(v4: bool) -> (End, End) {
    let v6 = |[a, b, c, d]: [u8; 4]| Addr::from_bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]);
    let addr = |at| if v4 { Addr::v4(at) } else { v6(at) };
    (End { addr: addr(HERE), port: 5_060 }, End { addr: addr(THERE), port: 5_062 })
}

fn building<'a>(name: &'static str, v4: bool, payload: usize) -> Row<'a> {
    let (mut room, payload, (from, to)) = (vec![0; 2_048], vec![b'x'; payload], ends(v4));
    let link = Link::plain([2; 6], [4; 6], v4);
    let slice = move || {
        for _ in 0..SLICE {
            let payload = std::hint::black_box(&payload);
            std::hint::black_box(build(&mut room, &link, &from, &to, payload)).ok_or("no room")?;
        }
        Ok(())
    };
    Row { name, slice: Box::new(slice), rounds: Vec::new() }
}

/// Sends by the transmitter; `way` is how it must go.
fn sending<'a>(
    name: &'static str,
    site: &'a RefCell<(Transmitter, Queue)>,
    size: usize,
    batch: usize,
    way: Sent,
) -> Row<'a> {
    let payload = vec![b'x'; size];
    let (from, to) = ends(true);
    let slice = move || {
        let (transmitter, queue) = &mut *site.borrow_mut();
        for _ in 0..SLICE / batch {
            let now = if way == Sent::Ring { 1 } else { u64::MAX };
            for _ in 0..batch {
                let sent = transmitter.send(queue, &from, &to, &payload, now);
                if sent != way {
                    return Err(format!("{sent:?}").into());
                }
            }
            queue.flush();
        }
        while queue.sending() > 0 {
            queue.flush();
        }
        Ok(())
    };
    Row { name, slice: Box::new(slice), rounds: Vec::new() }
}

/// Datagrams from one socket to another over lo: what raw sockets that want none of them cost the kernel.
fn passing_by<'a>(name: &'static str, raw: usize) -> Result<Row<'a>> {
    let (server, client) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let (at, mut buffer, mut sockets) = (server.local_addr()?, [0; 512], Vec::new());
    let slice = move || {
        sockets.clear();
        for _ in 0..raw {
            sockets.push(Kernel::open()?);
        }
        for _ in 0..SLICE {
            client.send_to(&[b'x'; PAYLOAD], at)?;
            server.recv(&mut buffer)?;
        }
        sockets.clear();
        Ok(())
    };
    Ok(Row { name, slice: Box::new(slice), rounds: Vec::new() })
}

fn compare(iface: &str, mac: [u8; 6], rounds: usize) -> Result<()> {
    let link = Netlink::open()?.link(iface)?;
    let (queue, _) = Queue::bind(iface, 0, 2_048, &Xsk { bind: Bind::Copy, ..Xsk::default() })?;
    let (known, _nobody_answers) = neighbours(&link)?;
    let own = Arc::new(Own::new(&[IpAddr::from(HERE)]));
    let mut transmitter = Transmitter::new(
        link.mtu,
        own,
        Some(Learned::new(1)),
        Some(Beside { known, kernel: Arc::new(Kernel::open()?) }),
    );
    // As if the caller had sent something.
    let frame = vos_common::cases::Packet::v4(THERE).to(&HERE).mac(link.mac).sip(b"x");
    let mut frame = frame.build();
    frame[6..12].copy_from_slice(&mac);
    let flow = vos_common::packet::flow(&&frame[..]).ok_or("no flow")?;
    transmitter.learn(&frame, &flow, 1);
    let site = RefCell::new((transmitter, queue));
    let plain = UdpSocket::bind(SocketAddr::from((HERE, 0)))?;
    let mut rows = vec![
        building("build, IPv4, 450 bytes", true, PAYLOAD),
        building("build, IPv6, 450 bytes", false, PAYLOAD),
        building("build, IPv4, 1400 bytes", true, 1_400),
        sending("ring, 1 a kick", &site, PAYLOAD, 1, Sent::Ring),
        sending("ring, 32 a kick", &site, PAYLOAD, BATCH, Sent::Ring),
        sending("kernel, raw socket", &site, PAYLOAD, BATCH, Sent::Kernel),
        sending("kernel, 3000 bytes", &site, 3_000, BATCH, Sent::Kernel),
        Row {
            name: "UDP socket, for comparison",
            slice: Box::new(move || {
                (0..SLICE)
                    .try_for_each(|_| Ok(plain.send_to(&[b'x'; PAYLOAD], (IpAddr::from(THERE), 5_062)).map(drop)?))
            }),
            rounds: Vec::new(),
        },
        passing_by("UDP over lo, no raw socket", 0)?,
        passing_by("UDP over lo, 16 raw sockets beside it", RAW)?,
    ];
    for round in 0..=rounds {
        for row in &mut rows {
            let start = Instant::now();
            (row.slice)().map_err(|error| format!("{}: {error}", row.name))?;
            // The first one warms up.
            if round > 0 {
                row.rounds.push(start.elapsed().as_nanos() as f64 / SLICE as f64);
            }
        }
    }
    println!(
        "ns a datagram of {PAYLOAD} bytes unless it says another size, {rounds} rounds of {SLICE}\n{:<36}{:>8}{:>8}",
        "", "median", "least"
    );
    for Row { name, rounds, .. } in &mut rows {
        rounds.sort_by(f64::total_cmp);
        println!("{name:<36}{:>8.0}{:>8.0}", rounds[rounds.len() / 2], rounds[0]);
    }
    Ok(())
}

fn main() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        println!("transmit: skipped: needs root");
        return Ok(());
    }
    // `cargo bench` says --bench, `cargo test` does not: there one round shows that every way works.
    let bench = std::env::args().any(|word| word == "--bench") && std::env::args().all(|word| word != "--test");
    let (here, there) = (NetNs::new("txbench")?, NetNs::new("txsink")?);
    let _wire = VethPair::new(&here, "here0", &there, "there0", 1)?;
    here.ip("addr add 192.0.2.1/24 dev here0")?;
    there.ip("addr add 192.0.2.10/24 dev there0")?;
    let mac = there.enter(|| Netlink::open()?.link("there0"))??.mac;
    // Nobody reads: full, it drops, which costs the same for all.
    let _sink = there.enter(|| UdpSocket::bind("192.0.2.10:5062"))??;
    here.enter(|| compare("here0", mac, if bench { 60 } else { 1 }))?
}
