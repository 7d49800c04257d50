//! Namespaces, wire, responder, load and calls together, on the plain kernel path.

use std::net::SocketAddr;

use vos_bench::{CallOptions, LoadOptions, NetNs, Responder, Stop, VethPair, call, load, ready};

#[test]
fn nothing_is_lost_between_two_namespaces_and_nothing_is_left() {
    if !ready(&[]) {
        return;
    }
    let (server, client) = (NetNs::new("server").unwrap(), NetNs::new("client").unwrap());
    let names = [server.path(), client.path()];
    {
        let _wire = VethPair::new(&server, "sip0", &client, "lan0", 4).unwrap();
        server.ip("addr add 192.0.2.1/24 dev sip0").unwrap();
        server.ip("addr add 2001:db8::1/64 dev sip0 nodad").unwrap();
        client.ip("addr add 192.0.2.10/24 dev lan0").unwrap();
        client.ip("addr add 2001:db8::10/64 dev lan0 nodad").unwrap();
        server.sysctl("net.ipv4.conf.all.rp_filter", "1").unwrap();

        let listen: Vec<SocketAddr> = ["192.0.2.1:5060", "[2001:db8::1]:5060"].map(|a| a.parse().unwrap()).into();
        let responder = server.enter(|| Responder::start(&listen)).unwrap().unwrap();
        for &to in &listen {
            let options = LoadOptions { rate: 2000, seconds: 0.5, ..LoadOptions::new(to) };
            let report = client.enter(|| load::run(&options, &Stop::never())).unwrap().unwrap();
            assert_eq!((report.sent, report.answered), (1000, 1000), "{report:?}");
            let options = CallOptions { calls: 20, rate: 200, ..CallOptions::new(to) };
            let report = client.enter(|| call::run(&options, &Stop::never())).unwrap().unwrap();
            assert_eq!(report.succeeded, 20, "{report:?}");
        }
        let stats = responder.stop();
        for source in ["192.0.2.10", "2001:db8::10"] {
            assert_eq!(stats.from(source.parse().unwrap()), 1000 + 4 * 20, "{source}");
        }
    }
    let links = |ns: &NetNs| ns.ip("-o link show").unwrap().lines().count();
    assert_eq!((links(&server), links(&client)), (1, 1), "the wire is gone, lo is left");
    drop((server, client));
    assert!(names.iter().all(|name| !name.exists()));
}

#[test]
fn who_is_still_inside_is_ended_with_the_namespace() {
    if !ready(&[]) {
        return;
    }
    let ns = NetNs::new("inside").unwrap();
    let mut sleeper = ns.command("sleep").arg("60").spawn().unwrap();
    let seen = || vos_bench::process::output(std::process::Command::new("ip").args(["netns", "pids", ns.name()]));
    while !seen().unwrap().lines().any(|pid| pid == sleeper.id().to_string()) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(ns);
    assert!(!sleeper.wait().unwrap().success());
}
