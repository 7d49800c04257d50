//! Of a blocked source no byte reaches the server, however its packets are made.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::site::{FAR, FAR6, PATIENCE, Site, dumped, request, request_of, server_of, wait_until};

/// In 203.0.113.0/24; no such host is there, only frames in its name.
const IN_NET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

/// Every shape of packet that could slip past a lookup: the frames, and how many requests they hold.
fn shapes(site: &Site, from: IpAddr, call: &str) -> (Vec<Vec<u8>>, usize) {
    let source = SocketAddr::new(from, 5061);
    let mut frames = Vec::new();
    for udp_length in (256..=263).chain(512..=519) {
        let request = request_of(udp_length - 8, "REGISTER", source, &format!("{call}-{udp_length}"));
        frames.push(site.sip_frame_of(from, request.as_bytes()).build());
    }
    let one = |what: &str| site.sip_frame(from, "REGISTER", &format!("{call}-{what}"));
    frames.push(one("tag").vlan(0x8100, 0xe000).build());
    frames.push(match from {
        // three times "no operation", and the end of the options
        IpAddr::V4(_) => one("opt").options(&[1, 1, 1, 0]).build(),
        // destination options: padding
        IpAddr::V6(_) => one("opt").extension(60, &[0, 1, 4, 0, 0, 0, 0]).build(),
    });
    let whole = request_of(600, "REGISTER", source, &format!("{call}-cut"));
    frames.extend(site.fragments(from, whole.as_bytes(), 400, 0x4711));
    let requests = frames.len() - 1;
    // a later fragment of something never begun
    frames.push(site.fragments(from, whole.as_bytes(), 400, 0x4712)[1].clone());
    (frames, requests)
}

/// Is a REGISTER from this phone answered within a moment?
fn answered(phone: &UdpSocket, call: &str) -> bool {
    let request = request("REGISTER", phone.local_addr().unwrap(), call);
    phone.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    phone.send_to(request.as_bytes(), server_of(phone)).unwrap();
    phone.recv(&mut [0; 2048]).is_ok()
}

#[test]
fn no_byte_of_a_blocked_source_reaches_the_server() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    let site = Site::builder().start();
    let cases: [(&str, IpAddr, &str); 3] = [
        ("one", FAR.into(), "198.51.100.20/32"),
        ("net", IN_NET.into(), "203.0.113.0/24"),
        ("six", FAR6.into(), "2001:db8:bad::/48"),
    ];
    for (call, from, net) in cases {
        let tcpdump = site.tcpdump(&format!("src net {net} and not arp and not icmp and not icmp6"));
        // First the control: unblocked, all of it arrives.
        let open = format!("{call}-o");
        let (frames, requests) = shapes(&site, from, &open);
        site.send(&frames);
        wait_until(&format!("{requests} requests of {open} reach Kamailio"), PATIENCE, || {
            site.seen_calls(&open) == requests
        });
        wait_until("tcpdump sees the frames", PATIENCE, || dumped(&tcpdump) >= frames.len());
        assert_eq!(dumped(&tcpdump), frames.len(), "{}", tcpdump.log());
        let arrived = dumped(&tcpdump);

        site.told(&["block", net]);
        let before = site.stats();
        let shut = format!("{call}-b");
        let (frames, _) = shapes(&site, from, &shut);
        site.send(&frames);
        site.counted(&before, "blocked", frames.len() as u64);
        site.afterwards(call);
        assert_eq!(site.seen_calls(&shut), 0, "{net}: reached Kamailio");
        assert_eq!(dumped(&tcpdump), arrived, "{net}: passed XDP:\n{}", tcpdump.log());
    }
}

#[test]
fn a_block_ends_with_its_term_and_when_it_is_taken_back() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    for from in [IpAddr::V4(FAR), IpAddr::V6(FAR6)] {
        let phone = site.phone(from);
        let family = from.is_ipv6();
        wait_until("answered before", PATIENCE, || answered(&phone, &format!("free-{family}")));

        site.told(&["block", &from.to_string(), "--ttl", "2s"]);
        let before = site.stats();
        assert!(!answered(&phone, &format!("term-{family}")));
        site.counted(&before, "blocked", 1);
        let after = Duration::from_secs(5);
        wait_until("its term over, it is answered", after, || answered(&phone, &format!("over-{family}")));
        assert_eq!(site.seen_calls(&format!("term-{family}")), 0);

        site.told(&["block", &from.to_string()]);
        let before = site.stats();
        assert!(!answered(&phone, &format!("good-{family}")));
        site.counted(&before, "blocked", 1);
        site.told(&["unblock", &from.to_string()]);
        wait_until("unblocked, it is answered", PATIENCE, || answered(&phone, &format!("free2-{family}")));
        assert_eq!(site.seen_calls(&format!("good-{family}")), 0);
    }
}
