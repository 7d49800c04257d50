use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};

use super::host::{Host, Said, tool, until};

const RAW: &str = "[relay]\ninject = \"raw\"";

fn nft(host: &Host, rules: &str) {
    vos_bench::process::output(host.ns.command("nft").arg(rules)).unwrap();
}

#[test]
fn rules_that_drop_sip_are_shown_and_keep_raw_injection_from_starting() {
    if !vos_bench::ready(&["nft", "iptables"]) {
        return;
    }
    let host = Host::new();
    let clear = host.said();
    assert_eq!((clear.severity("firewall"), clear.severity("firewall-bypass")), ("ok", "ok"));
    drop(host.starts("--inject raw"));
    nft(
        &host,
        "table inet t { set sip { type inet_service; flags interval; elements = { 5060-5065 }; };
           chain in { type filter hook input priority 0; udp dport @sip limit rate over 20/second drop; }; }",
    );
    let said = host.said();
    assert_eq!(
        (said.severity("firewall"), said.severity("firewall-bypass")),
        ("note", "ok"),
        "re-entry: {:#}",
        said.json
    );
    assert!(
        said.what("firewall").contains("`udp dport @sip limit rate over 20/second drop` in inet t in"),
        "{:#}",
        said.json
    );
    assert_eq!(host.examine(&host.iface, RAW).severity("firewall"), "warning");
    nft(&host, "flush ruleset");
    nft(&host, "table inet t { chain in { type filter hook input priority 0; udp dport 5060 drop; }; }");
    let raw = host.examine(&host.iface, RAW);
    assert_eq!((raw.severity("firewall-bypass"), raw.code), ("error", 1));
    host.refuses("--inject raw");
    let meant = host.examine(&host.iface, "[relay]\ninject = \"raw\"\naccept_firewall_bypass = true");
    assert_eq!(meant.severity("firewall-bypass"), "note");
    // generic XDP cannot re-enter, and falls back
    assert_eq!(host.examine(&host.iface, "[xdp]\nattach = \"generic\"").severity("firewall-bypass"), "warning");
    assert!(host.starts("--xdp generic").log().contains("not relaying"));
    nft(&host, "flush ruleset");
    assert_eq!(host.examine(&host.iface, RAW).severity("firewall-bypass"), "ok");
    tool(
        &host.ns,
        "iptables",
        "-A INPUT -p udp --dport 5060 -m hashlimit --hashlimit-above 20/sec --hashlimit-name x -j DROP",
    );
    let said = host.examine(&host.iface, RAW);
    assert_eq!(said.severity("firewall"), "warning", "{:#}", said.of("firewall"));
    assert!(said.what("firewall").starts_with("a firewall rule drops") && said.what("firewall").contains("hashlimit"));
}

#[test]
fn what_nft_has_made_in_a_table_of_iptables_is_seen_whatever_the_path_is() {
    if !vos_bench::ready(&["nft", "iptables"]) {
        return;
    }
    let host = Host::new();
    nft(
        &host,
        "table ip filter { chain input { type filter hook input priority 0; policy drop; udp dport 5060 drop; }; }",
    );
    let vosctl = env!("CARGO_BIN_EXE_vosctl");
    // programs of root are not in everybody's path
    let output = host.ns.command(vosctl).args(["doctor", &host.iface, "--json"]).env("PATH", "/usr/bin:/bin").output();
    let said = Said::of_output(&output.unwrap());
    assert_eq!(said.severity("firewall"), "note", "{:#}", said.of("firewall"));
    assert!(said.what("firewall").contains("`udp dport 5060 drop` in ip filter input"), "{:#}", said.of("firewall"));
    assert_eq!(said.severity("firewall-policy"), "note", "{:#}", said.of("firewall-policy"));
    host.paste(said.fix("firewall-policy"));
    assert_eq!(host.said().severity("firewall-policy"), "ok");
}

#[test]
fn a_chain_that_drops_by_default_wants_sip_accepted() {
    if !vos_bench::ready(&["nft", "ip6tables"]) {
        return;
    }
    let host = Host::new();
    nft(
        &host,
        "table inet filter { chain input { type filter hook input priority 0; policy drop; iifname lo accept; }; }",
    );
    let said = host.said();
    assert_eq!(said.severity("firewall-policy"), "note");
    host.paste(said.fix("firewall-policy"));
    assert_eq!(host.said().severity("firewall-policy"), "ok");
    // the others of its ports, and the chain of another family
    tool(&host.ns, "ip6tables", "-P INPUT DROP");
    let ports = "[xdp]\nsip_ports = [5060, 5080, 5090]";
    let more = host.examine(&host.iface, ports);
    assert!(
        more.what("firewall-policy").contains("accepts UDP 5060, 5080 and 5090"),
        "{:#}",
        more.of("firewall-policy")
    );
    host.paste(more.fix("firewall-policy"));
    assert_eq!(host.examine(&host.iface, ports).severity("firewall-policy"), "ok");
}

/// Sends a datagram to the SIP port of each of so many addresses of this host, from one of its own.
fn send(host: &Host, count: u32) {
    let sent = host.ns.enter(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let first = u32::from(Ipv4Addr::new(127, 1, 0, 0));
        // an answer that nobody listens there is an error of the next datagram
        (0..count).filter(|at| socket.send_to(b"x", (Ipv4Addr::from(first + at), 5060)).is_ok()).count()
    });
    assert!(sent.unwrap() > 0);
}

/// Has so many callers, each with a port of its own, send to `listener` from outside; all of it has arrived when this is done.
fn call(host: &Host, listener: &UdpSocket, callers: usize) {
    let callers: Vec<UdpSocket> =
        host.lan.enter(|| (0..callers).map(|_| UdpSocket::bind("192.0.2.2:0").unwrap()).collect()).unwrap();
    let mut seen = BTreeSet::new();
    until("every caller is heard", || {
        for caller in &callers {
            let silent = !seen.contains(&caller.local_addr().unwrap());
            // what waits for a neighbour's address may be lost
            if silent {
                caller.send_to(b"x", "192.0.2.1:5060").unwrap();
            }
        }
        seen.extend(std::iter::from_fn(|| listener.recv_from(&mut [0; 8]).ok()).map(|(_, from)| from));
        seen.len() >= callers.len()
    });
}

#[test]
fn tracked_sip_is_seen_and_the_fix_spares_it() {
    if !vos_bench::ready(&["nft"]) {
        return;
    }
    let host = Host::new();
    host.lan.ip(&format!("addr add 192.0.2.2/24 dev {}", host.peer)).unwrap();
    let listener = host.ns.enter(|| UdpSocket::bind("192.0.2.1:5060").unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let count = || {
        let text = host.ns.enter(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count"));
        text.unwrap().unwrap().trim().parse::<u64>().unwrap()
    };
    assert_eq!(host.said().severity("conntrack"), "ok", "nothing wants it");
    nft(&host, "table inet t { chain in { type filter hook input priority 0; ct state established accept; }; }");
    let said = host.said();
    assert_eq!(said.severity("conntrack"), "note");
    call(&host, &listener, 100);
    let tracked = count();
    assert!(tracked >= 100, "{tracked} are tracked");
    host.paste(said.fix("conntrack"));
    assert_eq!(host.said().severity("conntrack"), "ok", "{:#}", host.said().of("conntrack"));
    call(&host, &listener, 200);
    // those of before go on, or end; some of IPv6's own may come
    assert!(count() <= tracked + 10, "more are tracked: {}", count());
}

#[test]
fn a_table_of_connections_that_fills_up_is_a_warning() {
    // The table may grow to some 80 MB for a second.
    const MOST: u64 = 300_000;
    if !vos_bench::ready(&["nft"]) {
        return;
    }
    let max = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap_or_default();
    let max: u64 = max.trim().parse().unwrap_or(0);
    if max == 0 || max > MOST {
        eprintln!("nf_conntrack_max is {max}: what would fill it takes too much memory here");
        return;
    }
    let host = Host::new();
    // No answer that nobody listens: each would be an error of the next datagram.
    nft(
        &host,
        "table inet t { chain in { type filter hook input priority 0; ct state new accept; };
                        chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }; }",
    );
    send(&host, u32::try_from(max * 72 / 100).unwrap());
    let said = host.said();
    assert_eq!(said.severity("conntrack"), "warning", "{:#}", said.of("conntrack"));
    assert!(said.what("conntrack").contains(&format!("of {max} connections")), "{}", said.what("conntrack"));
}
