use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, EbpfLoader};
use vos_bench::object;

use super::host::{Host, tool};

#[test]
fn a_wire_between_namespaces_has_native_xdp_and_no_zero_copy() {
    if !vos_bench::ready(&["ethtool"]) {
        return;
    }
    let host = Host::new();
    let said = host.said();
    for check in
        ["kernel", "bpf-programs", "af-xdp", "tun", "interface", "device", "native-xdp", "other-xdp", "mtu", "lro"]
    {
        assert_eq!(said.severity(check), "ok", "{:#}", said.of(check));
    }
    assert!(said.what("device").contains("veth") && said.what("interface").contains("driver veth"), "{:#}", said.json);
    assert_eq!(said.severity("zero-copy"), "note");
    let driver = tool(&host.ns, "ethtool", &format!("-i {}", host.iface));
    assert!(driver.contains("driver: veth"), "{driver}");
    // and the engine says the same of it
    assert_eq!(host.examine(&host.iface, "[xsk]\nbind = \"zerocopy\"").severity("zero-copy"), "error");
    host.refuses("--bind zerocopy");
    let engine = host.starts("--mode filter");
    assert!(engine.log().contains("native XDP"), "{}", engine.log());
}

#[test]
fn an_engines_own_program_is_no_rival_and_is_known_again() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    let _engine = host.starts("");
    let said = host.said();
    assert_eq!(said.severity("other-xdp"), "ok");
    assert!(said.what("other-xdp").contains("an engine's"), "{}", said.what("other-xdp"));
    assert!(said.findings().iter().all(|finding| finding["check"] != "other-af-xdp"), "{:#}", said.json);
}

fn pass() -> Ebpf {
    EbpfLoader::new().load(&object::returning("xdp", object::XDP_PASS)).unwrap()
}

#[test]
fn somebody_elses_program_is_named_and_the_fix_takes_it_away() {
    if !vos_bench::ready(&["bpftool"]) {
        return;
    }
    let host = Host::new();
    let object = host.path("other.o");
    std::fs::write(&object, object::returning("xdp", object::XDP_PASS)).unwrap();
    for mode in ["xdpdrv", "xdpgeneric"] {
        tool(&host.ns, "ip", &format!("link set dev {} {mode} obj {} sec xdp", host.iface, object.display()));
        let said = host.said();
        assert_eq!((said.severity("other-xdp"), said.code), ("error", 1));
        assert!(said.what("other-xdp").contains(object::NAME), "{}", said.what("other-xdp"));
        host.refuses("--mode filter");
        host.paste(said.fix("other-xdp"));
        assert_eq!(host.said().severity("other-xdp"), "ok", "{mode}");
    }
}

#[test]
fn a_program_on_a_link_is_its_owners_to_take_away() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    let mut ebpf = pass();
    let program: &mut Xdp = ebpf.program_mut(object::NAME).unwrap().try_into().unwrap();
    program.load().unwrap();
    let iface = host.iface.clone();
    host.ns.enter(|| program.attach(&iface, XdpMode::Driver).map(drop)).unwrap().unwrap();
    let said = host.said();
    assert!(said.severity("other-xdp") == "error" && said.fix("other-xdp").contains("bpftool link"), "{:#}", said.json);
    drop(ebpf);
    super::host::until("the link went with its owner", || host.said().severity("other-xdp") == "ok");
}

#[test]
fn sockets_of_others_on_its_queues_are_named() {
    if !vos_bench::ready(&["ss"]) {
        return;
    }
    use vos_engine::config::{Bind, Xsk};
    let host = Host::new();
    let config = Xsk { bind: Bind::Copy, ..Xsk::default() };
    let iface = host.iface.clone();
    let bound = host.ns.enter(|| vos_engine::xsk::Queue::bind(&iface, 0, 2_048, &config)).unwrap().unwrap();
    let said = host.said();
    assert_eq!(said.severity("other-af-xdp"), "error");
    assert!(said.what("other-af-xdp").contains("queue 0"), "{:#}", said.json);
    drop(bound);
    super::host::until("the socket is closed", || {
        host.said().findings().iter().all(|finding| finding["check"] != "other-af-xdp")
    });
}

#[test]
fn bridges_and_what_stands_on_a_card_are_told_where_the_engine_belongs() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    let iface = &host.iface;
    host.ns.ip("link add br0 type bridge").unwrap();
    host.ns.ip("link set br0 up").unwrap();
    host.ns.ip(&format!("link add link {iface} name mac0 type macvlan mode bridge")).unwrap();
    let upon = host.examine("mac0", "");
    assert_eq!((upon.severity("device"), upon.severity("native-xdp")), ("warning", "warning"));
    assert_eq!(upon.fix("device"), format!("vos-engine --iface {iface}"));
    host.ns.ip("link del mac0").unwrap();
    assert!(host.examine("br0", "").what("device").contains("no ports"));
    host.ns.ip(&format!("link set {iface} master br0")).unwrap();
    let bridge = host.examine("br0", "");
    assert_eq!((bridge.severity("device"), bridge.severity("native-xdp")), ("warning", "warning"));
    assert_eq!(bridge.fix("device"), format!("vos-engine --iface {iface}"));
    let port = host.said();
    assert_eq!(port.severity("port"), "note");
    assert!(port.what("firewall-bypass").contains("go around"), "re-entry does not work on a port: {:#}", port.json);
    assert_eq!(host.examine(iface, "[relay]\ninject = \"reentry\"").severity("port"), "error");
    // what the engine does there
    let engine = host.starts("");
    assert!(engine.log().contains("relay by raw socket"), "{}", engine.log());
}

#[test]
fn an_interface_without_ethernet_headers_is_no_place() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    host.ns.ip("tuntap add dev tun0 mode tun").unwrap();
    host.ns.ip("tuntap add dev tap0 mode tap").unwrap();
    assert_eq!(host.examine("tun0", "").severity("device"), "error");
    let tap = host.examine("tap0", "");
    assert_eq!((tap.severity("device"), tap.severity("interface")), ("ok", "warning"));
    host.paste(tap.fix("interface"));
    assert_eq!(host.examine("tap0", "").severity("interface"), "ok");
    assert_eq!(host.examine("lo", "").severity("device"), "warning");
}

#[test]
fn mtu_and_offloads_are_those_that_the_card_has() {
    if !vos_bench::ready(&["ethtool"]) {
        return;
    }
    let host = Host::new();
    let iface = &host.iface;
    // a veth takes what its other end may send
    host.ns.ip(&format!("link set {iface} mtu 9000")).unwrap();
    host.lan.ip(&format!("link set {} mtu 9000", host.peer)).unwrap();
    let jumbo = host.said();
    assert_eq!(jumbo.severity("mtu"), "warning");
    assert_eq!(host.examine(iface, "[xdp]\nattach = \"native\"").severity("mtu"), "error");
    host.refuses("--xdp native");
    host.paste(jumbo.fix("mtu"));
    host.lan.ip(&format!("link set {} mtu 1500", host.peer)).unwrap();
    assert_eq!(host.said().severity("mtu"), "ok");
    assert!(host.starts("--xdp native").log().contains("native XDP"));
    for (switch, expected) in [("off", "leaves VLAN tags"), ("on", "takes VLAN tags out")] {
        tool(&host.ns, "ethtool", &format!("-K {iface} rxvlan {switch}"));
        assert!(host.said().what("rx-vlan").contains(expected), "{switch}: {}", host.said().what("rx-vlan"));
    }
}

fn unit(verb: &str, host: &Host) -> String {
    format!("systemctl {verb} vos-engine@{}", host.iface)
}

#[test]
fn queues_are_those_that_the_driver_has() {
    if !vos_bench::ready(&["ethtool"]) {
        return;
    }
    let host = Host::new();
    assert!(host.said().what("queues").contains("has 2 RX queues"), "{}", host.said().what("queues"));
    let asked = host.examine(&host.iface, "queues = 1");
    assert_eq!((asked.severity("queues"), asked.code), ("error", 1));
    host.refuses("--queues 1");
    host.paste(asked.fix("queues"));
    assert_eq!(host.examine(&host.iface, "queues = 1").severity("queues"), "ok");
    let engine = host.starts("--queues 1");
    assert_eq!(host.examine(&host.iface, "queues = 1").severity("queues"), "ok");
    // queues that come under a running engine
    tool(&host.ns, "ethtool", &format!("-L {} rx 2 tx 2", host.iface));
    let more = host.said();
    assert_eq!(more.severity("queues"), "warning", "{:#}", more.of("queues"));
    assert!(more.what("queues").contains("has 2 RX queues, and the engine a socket on 0"), "{:#}", more.of("queues"));
    drop(engine);
    // queues with sockets cannot be taken away, nor any of a veth's beneath a program
    let mut engine = host.starts_as_a_unit("");
    let fewer = host.examine(&host.iface, "queues = 1");
    let (stop, rest) = fewer.fix("queues").split_once(" && ").unwrap();
    let (change, start) = rest.split_once("; ").unwrap();
    assert_eq!((stop, start), (&*unit("stop", &host), &*unit("start", &host)));
    let bare = change.rsplit(" && ").next().unwrap();
    for what in [bare, change] {
        host.try_to_paste(what).expect_err("the engine need not have been stopped");
    }
    engine.end().unwrap();
    host.try_to_paste(bare).expect_err("the program need not have been unloaded");
    host.paste(change);
    assert_eq!(host.examine(&host.iface, "queues = 1").severity("queues"), "ok");
    drop(host.starts("--queues 1"));
    let absent = host.examine(&host.iface, "queues = 1\n[worker]\ncores = \"8191\"");
    assert_eq!(absent.severity("cores"), "warning", "{:#}", absent.of("cores"));
}
