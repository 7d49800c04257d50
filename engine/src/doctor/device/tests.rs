use super::super::Severity;
use super::super::tests::of;
use super::*;
use crate::netlink::{Bond, Link};

/// What a good driver tells: native XDP, redirects, zero-copy.
const GOOD: u64 = 0x6f;

fn named(index: u32, name: &str) -> Device {
    let link = Link { index, name: name.to_owned(), mtu: 1_500, rx_queues: 8, up: true, ..Link::default() };
    Device { link, ethernet: true, ..Device::default() }
}

fn made(index: u32, name: &str, kind: &str) -> Device {
    Device { kind: Some(kind.to_owned()), ..named(index, name) }
}

fn of_device(device: Device, features: u64, others: Vec<Device>) -> Facts {
    Facts {
        all: [vec![device.clone()], others].concat(),
        device,
        features: Ok(Some(XdpFeatures::of(features, 1))),
        driver: "ixgbe".to_owned(),
        lro: false,
        gro_hw: false,
        rx_vlan: false,
        channels: None,
        xdp: Presence::Free,
        rivals: Vec::new(),
        root: true,
    }
}

/// A card that has everything, eth0, eight queues.
pub(in crate::doctor) fn card() -> Facts {
    of_device(named(2, "eth0"), GOOD, vec![])
}

/// The same as a port of br0.
pub(in crate::doctor) fn bridged() -> Facts {
    let port = Device { port_of: Some(9), ..named(2, "eth0") };
    of_device(port, GOOD, vec![made(9, "br0", "bridge")])
}

/// One without XDP, whose VLAN's tags are taken away.
pub(in crate::doctor) fn generic_with_vlan() -> Facts {
    let vlan = Device { on: Some(2), ..made(7, "eth0.100", "vlan") };
    Facts { rx_vlan: true, ..of_device(named(2, "eth0"), 0, vec![vlan]) }
}

fn judged(facts: &Facts) -> Vec<Finding> {
    judge(facts, &Config::default())
}

#[test]
fn a_card_that_has_everything_is_well() {
    let findings = judged(&card());
    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    for check in ["interface", "device", "native-xdp", "zero-copy", "other-xdp", "mtu", "lro", "gro-hw", "rx-vlan"] {
        of(&findings, check);
    }
}

#[test]
fn an_interface_that_is_down_is_named_with_the_command() {
    let mut facts = card();
    facts.device.link.up = false;
    let findings = judged(&facts);
    let finding = of(&findings, "interface");
    assert_eq!((finding.severity, finding.fix.as_str()), (Warning, "ip link set dev eth0 up"));
}

#[test]
fn what_stands_on_a_card_is_told_to_go_there() {
    let on = |kind: &str| Device { on: Some(2), tag: (kind == "vlan").then_some(100), ..made(7, "eth0.100", kind) };
    for kind in ["vlan", "macvlan", "ipvlan"] {
        let findings = judged(&of_device(on(kind), 0, vec![named(2, "eth0")]));
        let finding = of(&findings, "device");
        assert_eq!((finding.severity, finding.fix.as_str()), (Warning, "vos-engine --iface eth0"), "{kind}");
        assert!(finding.what.contains("on eth0"), "{finding:?}");
    }
    // in a container the card is in another namespace, and its number may be another device's here
    let away = Device { elsewhere: true, ..on("macvlan") };
    let findings = judged(&of_device(away, 0, vec![named(2, "eth9")]));
    let finding = of(&findings, "device");
    assert!(finding.fix.is_empty() && !finding.what.contains("eth9"), "{finding:?}");
}

#[test]
fn a_bridge_is_told_its_ports() {
    let port = Device { port_of: Some(9), ..named(2, "eth0") };
    let findings = judged(&of_device(made(9, "br0", "bridge"), 0, vec![port]));
    let finding = of(&findings, "device");
    assert_eq!((finding.severity, finding.fix.as_str()), (Warning, "vos-engine --iface eth0"));
    let findings = judged(&of_device(made(9, "br0", "bridge"), 0, vec![]));
    assert!(of(&findings, "device").what.contains("no ports"));
}

#[test]
fn a_port_of_a_bridge_cannot_re_enter() {
    let findings = judged(&bridged());
    assert_eq!(of(&findings, "port").severity, Note);
    let mut config = Config::default();
    config.relay.inject = Inject::Reentry;
    let findings = judge(&bridged(), &config);
    assert_eq!(of(&findings, "port").severity, Error);
    assert_eq!(of(&findings, "port").fix, "vos-engine --iface eth0 --inject raw");
    config.relay.to = RelayTo::Proxy(None);
    assert_eq!(of(&judge(&bridged(), &config), "port").severity, Severity::Ok, "a backend's packets are sent to it");
    (config.mode, config.relay.to) = (Mode::Filter, RelayTo::Local);
    assert_eq!(of(&judge(&bridged(), &config), "port").severity, Severity::Ok, "nothing is relayed");
}

#[test]
fn a_bond_is_served_by_its_ports() {
    let ports = ["eth0", "eth1"].map(|name| Device { port_of: Some(4), ..named(2, name) });
    let bond = |mode: &str, native| {
        let bond = Some(Bond { mode: mode.to_owned(), native });
        let features = if native { 0x27 } else { 0 };
        of_device(Device { bond, ..made(4, "bond0", "bond") }, features, ports.to_vec())
    };
    let findings = judged(&bond("802.3ad", true));
    let finding = of(&findings, "device");
    assert_eq!(finding.severity, Error, "survivors would be lost");
    assert!(finding.what.contains("802.3ad") && finding.what.contains("eth0 and eth1"), "{finding:?}");
    assert_eq!(finding.fix, "vos-engine --iface eth0 & vos-engine --iface eth1 &");
    let filter = Config { mode: Mode::Filter, ..Config::default() };
    assert_eq!(of(&judge(&bond("802.3ad", true), &filter), "device").severity, Severity::Ok);
    assert_eq!(of(&judged(&bond("balance-alb", false)), "device").severity, Warning);
    let port = of_device(ports[0].clone(), GOOD, vec![ports[1].clone(), made(4, "bond0", "bond")]);
    let findings = judged(&port);
    let finding = of(&findings, "port");
    assert_eq!((finding.severity, finding.fix.as_str()), (Note, "vos-engine --iface eth1 &"));
}

#[test]
fn what_has_no_ethernet_header_is_no_place_for_the_engine() {
    for kind in ["wireguard", "ppp", "tun"] {
        let tunnel = Device { ethernet: false, ..made(5, "wg0", kind) };
        assert_eq!(of(&judged(&of_device(tunnel, 0, vec![])), "device").severity, Error, "{kind}");
    }
    let lo = Device { ethernet: false, ..named(1, "lo") };
    assert_eq!(of(&judged(&of_device(lo, 0, vec![])), "device").severity, Warning);
    assert_eq!(of(&judged(&of_device(made(5, "vx0", "vxlan"), 0, vec![])), "device").severity, Note);
}

#[test]
fn a_driver_without_native_xdp_is_a_warning_or_an_error_where_it_is_asked_for() {
    let without = of_device(named(2, "eth0"), 0, vec![]);
    assert!(!without.native());
    let findings = judged(&without);
    assert!(
        of(&findings, "native-xdp").severity == Warning && of(&findings, "native-xdp").what.contains("has no native")
    );
    let mut config = Config::default();
    config.xdp.attach = Attach::Native;
    let findings = judge(&without, &config);
    assert_eq!(of(&findings, "native-xdp").severity, Error);
    assert_eq!(of(&findings, "native-xdp").fix, "vos-engine --iface eth0 --xdp auto");
    config.xdp.attach = Attach::Generic;
    assert_eq!(of(&judge(&card(), &config), "native-xdp").severity, Note);
    // drops, passes, sends back, and no more
    let half = of_device(named(2, "eth0"), 1, vec![]);
    assert!(of(&judged(&half), "native-xdp").what.contains("cannot redirect"));
}

#[test]
fn zero_copy_is_missed_only_by_who_asks_for_it() {
    // virtio_net, ena, veth
    let copying = of_device(named(2, "eth0"), 0x27, vec![]);
    assert_eq!(of(&judged(&copying), "zero-copy").severity, Note);
    let mut config = Config::default();
    config.xsk.bind = Bind::Zerocopy;
    let findings = judge(&copying, &config);
    assert_eq!(of(&findings, "zero-copy").severity, Error);
    assert_eq!(of(&findings, "zero-copy").fix, "vos-engine --iface eth0 --bind auto");
    config.xsk.bind = Bind::Copy;
    assert_eq!(of(&judge(&copying, &config), "zero-copy").severity, Severity::Ok);
    config.mode = Mode::Filter;
    assert!(judge(&copying, &config).iter().all(|finding| finding.check != "zero-copy"), "there are no sockets");
}

#[test]
fn a_kernel_that_does_not_tell_is_not_taken_for_a_driver_that_cannot() {
    let mut old = card();
    old.features = Ok(None);
    let findings = judged(&old);
    for check in ["native-xdp", "zero-copy"] {
        let finding = of(&findings, check);
        assert!(finding.severity == Note && finding.what.starts_with("not told by this kernel"), "{finding:?}");
    }
    assert!(old.native(), "most cards have it");
    let mut old_vlan = of_device(made(7, "eth0.100", "vlan"), 0, vec![]);
    old_vlan.features = Ok(None);
    assert!(!old_vlan.native(), "a VLAN never has");
    old.features = Err("broken".to_owned());
    assert!(of(&judged(&old), "native-xdp").what.contains("broken"));
}

#[test]
fn amazons_card_keeps_half_of_its_queues_for_sending() {
    let with = |combined| {
        let channels = Some(Channels { combined, max_combined: 8, ..Channels::default() });
        Facts { driver: "ena".to_owned(), channels, ..card() }
    };
    let findings = judged(&with(8));
    assert_eq!(of(&findings, "native-xdp").fix, "ethtool -L eth0 combined 4");
    assert_eq!(of(&findings, "native-xdp").severity, Note, "it may be a driver that takes it");
    for features in [Ok(None), Ok(Some(XdpFeatures::of(0, 0)))] {
        let refused = Facts { features, ..with(8) };
        assert_eq!(of(&judged(&refused), "native-xdp").severity, Warning);
    }
    assert_eq!(of(&judged(&with(4)), "native-xdp").severity, Severity::Ok);
    let ixgbe = Facts { driver: "ixgbe".to_owned(), ..with(8) };
    assert_eq!(of(&judged(&ixgbe), "native-xdp").severity, Severity::Ok);
}

#[test]
fn a_program_behind_a_driver_that_would_take_it_is_not_moved_by_a_start() {
    let generic = Facts { xdp: Presence::Ours(Attached { id: 42, native: false }), ..card() };
    let fix = |command: &str| {
        let steps = ["systemctl stop vos-engine@eth0", "vos-engine unload --iface eth0", command];
        let steps: Vec<&str> = steps.into_iter().filter(|step| !step.is_empty()).collect();
        format!("{}; systemctl start vos-engine@eth0", steps.join(" && "))
    };
    let findings = judged(&generic);
    let finding = of(&findings, "native-xdp");
    assert_eq!((finding.severity, finding.fix.as_str()), (Note, fix("").as_str()), "it may be one that refuses");
    let mut jumbo = generic.clone();
    jumbo.device.link.mtu = 9_000;
    assert_eq!(of(&judged(&jumbo), "mtu").fix, fix("ip link set dev eth0 mtu 1500"));
    assert_eq!(of(&judged(&jumbo), "native-xdp").severity, Severity::Ok, "its MTU is what keeps it there");
    let channels = Some(Channels { combined: 8, max_combined: 8, ..Channels::default() });
    let amazon = Facts { driver: "ena".to_owned(), channels, ..generic.clone() };
    assert_eq!(of(&judged(&amazon), "native-xdp").fix, fix("ethtool -L eth0 combined 4"));
    // neither is told to move where it cannot, or is not to be
    let without = Facts { features: Ok(Some(XdpFeatures::of(0, 0))), ..generic.clone() };
    assert!(!of(&judged(&without), "native-xdp").fix.contains("unload"));
    let mut config = Config::default();
    for (attach, severity) in [(Attach::Native, Severity::Ok), (Attach::Generic, Note)] {
        config.xdp.attach = attach;
        assert_eq!(of(&judge(&generic, &config), "native-xdp").severity, severity, "a start moves it, or leaves it");
    }
}

#[test]
fn native_alone_is_native_or_no_start() {
    let mut config = Config::default();
    config.xdp.attach = Attach::Native;
    let mut facts = card();
    facts.device.link.mtu = 9_000;
    let old = Facts { features: Ok(None), ..card() };
    for facts in [facts, old] {
        assert_eq!(facts.runs_natively(config.xdp.attach), Some(true));
    }
}

#[test]
fn somebody_elses_program_keeps_the_engine_out() {
    let attached = Attached { id: 42, native: true };
    let program = || "xdp_dispatcher".to_owned();
    let foreign = Facts { xdp: Presence::Foreign { attached, program: program(), link: false }, ..card() };
    let findings = judged(&foreign);
    let finding = of(&findings, "other-xdp");
    assert!(finding.severity == Error && finding.what.contains("xdp_dispatcher (native, id 42)"), "{finding:?}");
    assert_eq!(finding.fix, "ip link set dev eth0 xdpdrv off");
    let held = Facts { xdp: Presence::Foreign { attached, program: program(), link: true }, ..card() };
    assert!(of(&judged(&held), "other-xdp").fix.starts_with("bpftool link show"));
    let unseen = Facts { root: false, ..held };
    assert_eq!(of(&judged(&unseen), "other-xdp").severity, Note, "it may be an engine's");
    let ours = Facts { xdp: Presence::Ours(attached), ..card() };
    assert_eq!(of(&judged(&ours), "other-xdp").severity, Severity::Ok);
    let elsewhere = Facts { xdp: Presence::Elsewhere("/sys/fs/bpf/vos/eth0".to_owned()), ..card() };
    assert_eq!(of(&judged(&elsewhere), "other-xdp").severity, Error);
}

#[test]
fn other_peoples_af_xdp_sockets_are_found_in_what_ss_prints() {
    let line = "UNCONN 0      0               eth0:q3         *        users:((\"suricata\",pid=812,fd=9))";
    assert_eq!(rival(line, "eth0").as_deref(), Some("queue 3 ((\"suricata\",pid=812,fd=9))"));
    assert_eq!(rival(line, "eth"), None);
    assert_eq!(rival("UNCONN 0 0 eth0:q0 *", "eth0").as_deref(), Some("queue 0 of an unknown process"));
    let facts = Facts { rivals: vec!["queue 3 suricata".to_owned()], ..card() };
    assert_eq!(of(&judged(&facts), "other-af-xdp").severity, Error);
    let filter = Config { mode: Mode::Filter, ..Config::default() };
    assert!(judge(&facts, &filter).iter().all(|finding| finding.check != "other-af-xdp"));
    // another user is not told that the program, and so the sockets, are an engine's
    let attached = Attached { id: 42, native: true };
    let unseen = Presence::Foreign { attached, program: "vos_filter".to_owned(), link: true };
    let of_user = Facts { root: false, xdp: unseen, ..facts.clone() };
    let findings = judged(&of_user);
    let finding = of(&findings, "other-af-xdp");
    assert_eq!((finding.severity, finding.fix.as_str()), (Note, "sudo vosctl doctor eth0"));
    let alone = Facts { root: false, ..facts };
    assert_eq!(of(&judged(&alone), "other-af-xdp").severity, Error, "no program is there: no engine");
}

#[test]
fn an_mtu_has_to_fit_a_page() {
    let with = |mtu, attach| {
        let mut facts = card();
        facts.device.link.mtu = mtu;
        let mut config = Config::default();
        config.xdp.attach = attach;
        of(&judge(&facts, &config), "mtu").severity
    };
    assert_eq!(
        [1_500, 1_770, 1_771, 3_498, 3_499, 9_000].map(|mtu| with(mtu, Attach::Auto)),
        [Severity::Ok, Severity::Ok, Note, Note, Warning, Warning]
    );
    assert_eq!(with(9_000, Attach::Native), Error);
}

#[test]
fn offloads_that_join_segments_are_named_with_their_switch() {
    let facts = Facts { lro: true, gro_hw: true, ..card() };
    let findings = judged(&facts);
    assert_eq!(
        (of(&findings, "lro").severity, of(&findings, "lro").fix.as_str()),
        (Warning, "ethtool -K eth0 lro off")
    );
    assert_eq!(of(&findings, "gro-hw").fix, "ethtool -K eth0 rx-gro-hw off");
}

#[test]
fn tags_that_the_card_takes_away_matter_where_there_are_vlans() {
    let facts = Facts { rx_vlan: true, ..card() };
    assert_eq!(of(&judged(&facts), "rx-vlan").severity, Severity::Ok);
    let vlan = |elsewhere| Device { on: Some(2), elsewhere, ..made(7, "eth0.100", "vlan") };
    let with = Facts { all: vec![vlan(false)], ..facts.clone() };
    let findings = judged(&with);
    let finding = of(&findings, "rx-vlan");
    assert!(finding.severity == Error && finding.what.contains("eth0.100 is on eth0"), "{finding:?}");
    assert_eq!(finding.fix, "ethtool -K eth0 rxvlan off");
    let filter = Config { mode: Mode::Filter, ..Config::default() };
    assert_eq!(of(&judge(&with, &filter), "rx-vlan").severity, Warning);
    let off = Facts { rx_vlan: false, ..with };
    assert_eq!(of(&judged(&off), "rx-vlan").severity, Severity::Ok);
    // a device of another namespace's eth-something with the same number
    let away = Facts { all: vec![vlan(true)], ..facts };
    assert_eq!(of(&judged(&away), "rx-vlan").severity, Severity::Ok);
}

#[test]
fn queues_are_those_in_use_or_those_made() {
    let mut facts = card();
    assert_eq!(facts.rx_queues(), 8);
    facts.channels = Some(Channels { rx: 1, combined: 3, ..Channels::default() });
    assert_eq!(facts.rx_queues(), 4);
    facts.channels = Some(Channels { rx: u32::MAX, combined: 3, ..Channels::default() });
    assert_eq!(facts.rx_queues(), u32::MAX, "whatever a driver says");
    let mut config = Config::default();
    config.relay.to = RelayTo::Proxy(None);
    let _no_panic = judge(&facts, &config);
}
