use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use vos_bench::Kind;
use vos_bench::process::output;
use vos_common::cases::{Packet, request};
use vos_common::reason::Reason;
use vos_engine::datagram::sum;

use super::site::{BAD, BAD_NET, PHONE, PHONE6, SERVER, Site, assert_all_succeeded, until};

const RULE: &str = "add table inet t; add chain inet t c { type filter hook input priority 0; }; \
                    add rule inet t c udp dport 5060 accept";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// REGISTER from an IPv6 source, with a right checksum: the kernel would not take one without.
fn register6(src: Ipv6Addr) -> Vec<u8> {
    let mut frame = Packet::v6(src.octets()).sip(&request("REGISTER")).build();
    let udp = frame[54..].to_vec();
    let pseudo = [&frame[22..54], &(udp.len() as u32).to_be_bytes()[..], &[0, 0, 0, 17]].concat();
    frame[60..62].copy_from_slice(&(!sum(&[pseudo, udp].concat())).to_be_bytes());
    frame
}

#[test]
fn in_generic_mode_calls_succeed_with_their_true_source_and_policy_holds() {
    if !vos_bench::ready(&["nft"]) {
        return;
    }
    let site = Site::new();
    let engine = site.start("--xdp generic");
    assert!(engine.log().contains("generic XDP") && engine.log().contains("relay by raw socket"), "{}", engine.log());
    assert_eq!((site.attached().as_deref(), site.stats()["inject"].as_str()), (Some("xdpgeneric"), Some("raw")));
    until("all workers are live", || site.live() == 4);
    let responder = site.responder();
    // Before its calls make its address a verified one, which gets an answer.
    let (stealth, options) = (site.reason(Reason::Stealth), responder.stats().method("OPTIONS"));
    let report =
        site.load(PHONE, |load| (load.kind, load.rate, load.seconds, load.linger) = (Kind::Options, 200, 0.3, 0.3));
    let sent = report.end().sent;
    assert_eq!((site.reason(Reason::Stealth) - stealth, responder.stats().method("OPTIONS")), (sent, options));

    let before = site.reason(Reason::Redirected);
    for phone in [PHONE, PHONE6] {
        let report = site.calls(phone, 40, 50).end();
        assert_all_succeeded(&report);
        assert_eq!(responder.stats().from(ip(phone)), report.datagrams, "{:?}", responder.stats().sources);
    }
    let (received, redirected) = (responder.stats().received, site.reason(Reason::Redirected) - before);
    assert_eq!((redirected, site.workers("/relayed")), (received, received));

    assert!(site.reaches(BAD, &responder), "without a rule the source gets through");
    site.tool(&format!("block {BAD_NET}"));
    assert!(!site.reaches(BAD, &responder));
}

#[test]
fn in_generic_mode_spoofed_sources_and_broken_headers_never_reach_the_server() {
    if !vos_bench::ready(&["nft"]) {
        return;
    }
    let site = Site::new();
    // Another interface of the server's, with a network of its own behind it.
    let other = format!("o{}", &site.iface[3..]);
    let add = format!("link add name {other} type veth peer name {other}p");
    site.server.ip(&add).unwrap();
    site.server.ip(&format!("addr add 203.0.113.1/24 dev {other}")).unwrap();
    site.server.ip(&format!("link set {other} up")).unwrap();
    site.server.ip(&format!("link set {other}p up")).unwrap();
    site.server.sysctl("net.ipv4.conf.all.rp_filter", "1").unwrap();
    let _engine = site.start("--xdp generic");
    let responder = site.responder();
    let register = request("REGISTER");

    // The same way, and nothing wrong with them: these arrive.
    site.inject(&[Packet::v4([192, 0, 2, 10]).sip(&register).build(), register6(PHONE6.parse().unwrap())]);
    until("good packets arrive", || responder.stats().received == 2);

    let mut broken = Packet::v4([192, 0, 2, 10]).sip(&register).build();
    broken[24] ^= 0x55;
    let behind = Packet::v4([203, 0, 113, 5]).sip(&register).build();
    site.inject(&[broken, behind]);
    until("the broken header is refused", || site.workers("/dropped/header_checksum") == 1);
    until("the reverse path is refused", || site.workers("/dropped/reverse_path") == 1);

    let (own6, martian) = (site.reason(Reason::OwnSource), site.reason(Reason::Martian));
    site.inject(&[
        Packet::v4([127, 0, 0, 1]).sip(&register).build(),
        Packet::v4([192, 0, 2, 1]).sip(&register).build(),
        Packet::v4([224, 0, 0, 1]).sip(&register).build(),
        register6(Ipv6Addr::LOCALHOST),
        register6("2001:db8::1".parse().unwrap()),
    ]);
    until("martians are left to the kernel, which refuses them", || site.reason(Reason::Martian) >= martian + 4);
    until("the own IPv6 address is refused", || site.reason(Reason::OwnSource) > own6);
    // One more good one behind them: what came before it has been dealt with, on this queue at least.
    site.inject(&[Packet::v4([192, 0, 2, 10]).sip(&register).build()]);
    until("a good packet arrives behind them", || responder.stats().from(ip(PHONE)) >= 2);
    let stats = responder.stop();
    assert_eq!(stats.received, 3, "{:?}", stats.sources);
}

#[test]
fn in_generic_mode_a_request_in_two_fragments_arrives_whole() {
    if !vos_bench::ready(&["nft"]) {
        return;
    }
    let site = Site::new();
    let _engine = site.start("--xdp generic");
    let responder = site.responder();
    let long = String::from_utf8(request("INVITE")).unwrap();
    let long = long.replace("Content-Length", &format!("X-Long: {}\r\nContent-Length", "x".repeat(2_000)));
    let before = site.reason(Reason::Redirected);
    let socket = site.client.enter(|| UdpSocket::bind((PHONE, 5061))).unwrap().unwrap();
    socket.send_to(long.as_bytes(), SERVER).unwrap();
    until("the request arrives", || responder.stats().method("INVITE") == 1);
    assert_eq!(site.reason(Reason::Redirected), before + 2, "it came by the engine, in two fragments");
}

#[test]
fn beside_a_firewall_rule_raw_injection_is_refused_and_auto_leaves_survivors_to_the_kernel() {
    if !vos_bench::ready(&["nft"]) {
        return;
    }
    let site = Site::new();
    output(site.server.command("nft").arg(RULE)).unwrap();
    let said = site.refused("--xdp generic --inject raw");
    assert!(said.contains("udp dport 5060 accept") && said.contains("accept_firewall_bypass"), "{said}");
    site.assert_clean();

    let responder = site.responder();
    let mut engine = site.start("--xdp generic");
    let log = engine.log();
    assert!(log.contains("udp dport 5060 accept") && log.contains("not relaying"), "{log}");
    assert!(log.contains("survivors take the kernel's path"), "{log}");
    let before = site.reason(Reason::Kernel);
    let report = site.calls(PHONE, 20, 50).end();
    assert_all_succeeded(&report);
    assert_eq!(site.reason(Reason::Kernel) - before, report.datagrams);
    engine.end().unwrap();

    let config = site.path("vos.toml");
    std::fs::write(&config, "[relay]\naccept_firewall_bypass = true\n").unwrap();
    let _engine = site.start(&format!("--xdp generic --inject raw --config {}", config.display()));
    assert_eq!(site.stats()["inject"], "raw");
    assert_all_succeeded(&site.calls(PHONE, 20, 50).end());
    drop(responder);
}
