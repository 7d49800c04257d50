//! Junk on a real wire: every frame is what the receiving kernel takes it for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vos_bench::junk::{Mix, run};
use vos_bench::{JunkOptions, NetNs, Responder, ServerStats, Stop, VethPair, ready};

/// A server that answers, and a wire to it.
struct Site {
    _wire: VethPair,
    server: NetNs,
    client: NetNs,
    mac: [u8; 6],
}

impl Site {
    fn new() -> Self {
        let (server, client) = (NetNs::new("jserver").unwrap(), NetNs::new("jclient").unwrap());
        let wire = VethPair::new(&server, "sip0", &client, "lan0", 1).unwrap();
        server.ip("link set sip0 address 02:00:00:00:00:01").unwrap();
        server.ip("addr add 192.0.2.1/24 dev sip0").unwrap();
        server.ip("addr add 2001:db8::1/64 dev sip0 nodad").unwrap();
        client.ip("addr add 192.0.2.10/24 dev lan0").unwrap();
        client.ip("addr add 2001:db8::10/64 dev lan0 nodad").unwrap();
        // Whoever sends: the kernel asks whether it could answer.
        server.ip("route add default via 192.0.2.10").unwrap();
        server.ip("-6 route add default via 2001:db8::10").unwrap();
        Self { _wire: wire, server, client, mac: [2, 0, 0, 0, 0, 1] }
    }

    /// What the server has seen of 200 packets of this mix from so many addresses.
    fn seen(&self, to: &str, mix: Mix, sources: u64, replay: Option<&std::path::Path>) -> ServerStats {
        let to: SocketAddr = to.parse().unwrap();
        let responder = self.server.enter(|| Responder::start(&[to])).unwrap().unwrap();
        let replay = replay.map(Into::into);
        let (rate, seconds) = (2_000, 0.1);
        let options = JunkOptions { mix, sources, rate, seconds, replay, ..JunkOptions::new("lan0", to, self.mac) };
        let report = self.client.enter(|| run(&options, &Stop::never())).unwrap().unwrap();
        assert_eq!((report.sent, report.send_errors), (200, 0), "{report:?}");
        let expected = if mix == Mix::Fragments { 100 } else { 200 };
        let end = Instant::now() + Duration::from_secs(20);
        while responder.stats().received < expected && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let stats = responder.stop();
        assert_eq!(stats.received, expected, "{mix:?} {stats:?}");
        stats
    }
}

#[test]
fn every_frame_reaches_the_socket_as_what_it_is() {
    if !ready(&[]) {
        return;
    }
    let site = Site::new();
    for to in ["192.0.2.1:5060", "[2001:db8::1]:5060"] {
        for (mix, method) in
            [(Mix::Scanner, "OPTIONS"), (Mix::Options, "OPTIONS"), (Mix::Register, "REGISTER"), (Mix::Invite, "INVITE")]
        {
            let stats = site.seen(to, mix, 50, None);
            assert_eq!((stats.method(method), stats.distinct_sources), (200, 50), "{to} {stats:?}");
        }
        assert_eq!(site.seen(to, Mix::Malformed, 50, None).garbage, 200);
        let invented = site.seen(to, Mix::Register, 0, None);
        assert!(invented.distinct_sources >= 199, "{to}: {}", invented.distinct_sources);
    }
    // Two frames a datagram, put together by the kernel.
    assert_eq!(site.seen("192.0.2.1:5060", Mix::Fragments, 50, None).method("INVITE"), 100);
}

#[test]
fn a_capture_is_sent_again() {
    if !ready(&[]) {
        return;
    }
    let site = Site::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = vos_engine::pcap::Writer::new(std::fs::File::create(file.path()).unwrap()).unwrap();
    // To another MAC address, as it was seen elsewhere.
    let frame = vos_common::cases::Packet::v4([198, 51, 100, 7]).sip(&vos_common::cases::request("MESSAGE")).build();
    writer.write(Duration::ZERO, &frame, frame.len() as u32).unwrap();
    drop(writer);
    let stats = site.seen("192.0.2.1:5060", Mix::Scanner, 1, Some(file.path()));
    assert_eq!((stats.method("MESSAGE"), stats.from("198.51.100.7".parse().unwrap())), (200, 200));

    let empty = tempfile::NamedTempFile::new().unwrap();
    let options = JunkOptions {
        replay: Some(empty.path().into()),
        ..JunkOptions::new("lan0", "192.0.2.1:5060".parse().unwrap(), site.mac)
    };
    assert!(site.client.enter(|| run(&options, &Stop::never())).unwrap().is_err());
}
