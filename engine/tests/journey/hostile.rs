//! The relay lets nothing in that the kernel or the site would have kept out.

use std::net::{IpAddr, Ipv4Addr};

use vos_bench::process::output;

use crate::site::{CALLER, CALLER6, OTHER, PATIENCE, SERVER4, SERVER6, Site, dumped, wait_until};

/// In the subnet of the server's second interface.
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 77);

#[test]
fn sources_that_no_packet_from_the_network_has_never_reach_the_server() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    let before = site.stats();
    let sources = ["127.0.0.1", "127.1.2.3", "0.0.0.0", "224.0.0.5", "255.255.255.255", "::1", "ff02::1"];
    let mut sources: Vec<IpAddr> = sources.iter().map(|source| source.parse().unwrap()).collect();
    sources.extend([SERVER4, SERVER6]);
    let frame =
        |(number, source): (usize, &IpAddr)| site.sip_frame(*source, "REGISTER", &format!("evil-{number}")).build();
    site.send(&sources.iter().enumerate().map(frame).collect::<Vec<_>>());
    site.counted(&before, "martian", sources.len() as u64 - 1);
    site.counted(&before, "own_source", 1);
    // To this host's address, but to another's MAC.
    let other_mac = site.sip_frame(CALLER, "REGISTER", "evil-mac").mac([2, 0, 0, 0, 0, 9]).build();
    let not_ours = site.stats().reason("not_ours");
    site.send(&[other_mac]);
    wait_until("the other MAC's is judged", PATIENCE, || site.stats().reason("not_ours") > not_ours);
    // The control: the same frame from somebody real.
    site.send(&[
        site.sip_frame(CALLER, "REGISTER", "control-4").build(),
        site.sip_frame(CALLER6, "REGISTER", "control-6").build(),
    ]);
    site.arrives("control-4");
    site.arrives("control-6");
    site.afterwards("evil");
    let evil: Vec<_> = site.seen().into_iter().filter(|seen| seen.call.starts_with("evil")).collect();
    assert!(evil.is_empty(), "{evil:?}");
    site.counted(&before, "redirected", 4);
}

#[test]
fn the_kernels_reverse_path_filter_keeps_its_say() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let second = "ip link add back0 type veth peer name back1 && ip addr add 10.99.0.1/24 dev back0 && \
                  ip link set back0 up && ip link set back1 up";
    let site = Site::builder().prepare(second).start();
    let strict = |value: &str| {
        site.server.sysctl("net.ipv4.conf.all.rp_filter", value).unwrap();
        site.server.sysctl(&format!("net.ipv4.conf.{}.rp_filter", site.iface), value).unwrap();
    };
    strict("1");
    let before = site.stats();
    site.send(&[site.sip_frame(BEHIND, "REGISTER", "wrong-way").build()]);
    site.counted(&before, "redirected", 1);
    wait_until("the relay has handed it on", PATIENCE, || {
        site.stats().workers("relayed").iter().sum::<u64>() > before.workers("relayed").iter().sum()
    });
    site.afterwards("strict");
    assert_eq!(site.seen_calls("wrong-way"), 0);
    // The control: with the filter off, the same packet arrives.
    strict("0");
    site.send(&[site.sip_frame(BEHIND, "REGISTER", "any-way").build()]);
    site.arrives("any-way");
}

#[test]
fn a_firewall_rule_for_the_interface_keeps_its_say() {
    if !vos_bench::ready(&["kamailio", "nft"]) {
        return;
    }
    let rules = format!(
        "nft 'table inet site {{ chain in {{ type filter hook input priority 0; \
         iifname \"IFACE\" udp dport 5060 ip saddr {CALLER} accept; iifname \"IFACE\" udp dport 5060 drop; }}; }}'"
    );
    let site = Site::builder().prepare(&rules).start();
    let before = site.stats();
    site.send(&[
        site.sip_frame(OTHER, "REGISTER", "refused-4").build(),
        site.sip_frame(BEHIND, "REGISTER", "refused-far").build(),
        site.sip_frame(CALLER6, "REGISTER", "refused-6").build(),
    ]);
    site.counted(&before, "redirected", 3);
    let phone = site.phone(CALLER);
    for number in 0..4 {
        assert_eq!(site.asks(&phone, "REGISTER", &format!("admitted-{number}")), 200);
    }
    assert_eq!(site.seen_calls("refused"), 0);
    // The control: without the rules, they arrive.
    output(site.server.command("nft").args(["delete", "table", "inet", "site"])).unwrap();
    site.send(&[
        site.sip_frame(OTHER, "REGISTER", "free-4").build(),
        site.sip_frame(CALLER6, "REGISTER", "free-6").build(),
    ]);
    site.arrives("free-4");
    site.arrives("free-6");
    assert_eq!(site.seen_calls("refused"), 0);
}

#[test]
fn tcpdump_on_the_interface_sees_each_relayed_packet_once() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    const EACH: usize = 25;
    let site = Site::builder().start();
    let before = site.stats();
    let tcpdump = site.tcpdump(&format!("udp dst port 5060 and (src host {CALLER} or src host {CALLER6})"));
    for from in [IpAddr::V4(CALLER), IpAddr::V6(CALLER6)] {
        let phone = site.phone(from);
        for number in 0..EACH {
            site.asks(&phone, "REGISTER", &format!("seen-{number}-{}", from.is_ipv6()));
        }
    }
    site.counted(&before, "redirected", 2 * EACH as u64);
    wait_until("tcpdump sees them", PATIENCE, || dumped(&tcpdump) >= 2 * EACH);
    site.afterwards("seen");
    assert_eq!(dumped(&tcpdump), 2 * EACH, "{}", tcpdump.log());
}
