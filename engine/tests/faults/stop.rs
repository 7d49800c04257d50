use std::time::{Duration, Instant};

use vos_bench::Responder;
use vos_common::reason::Reason;

use super::site::{BAD, BAD_NET, Site, until, within};

#[test]
fn unload_says_what_it_removed_and_leaves_nothing() {
    let site = Site::new();
    let mut engine = site.start("");
    let refused = site.unload().unwrap_err().to_string();
    assert!(refused.contains("is running") && refused.contains("stop it first"), "{refused}");
    assert!(site.attached().is_some(), "a refused unload took the program off");
    engine.end().unwrap();
    assert!(site.attached().is_some());
    let said = site.unload().unwrap();
    for name in ["xdp_link", "xdp_program", "REASONS", "EXACT", "PREFIX", "egress"] {
        assert!(said.contains(name), "{name} is not named: {said}");
    }
    site.assert_clean();
    let again = site.unload().unwrap();
    assert!(again.contains("there was nothing to remove"), "{again}");
}

#[test]
fn a_normal_stop_leaves_the_filter_in_force_and_says_so() {
    let site = Site::new();
    let mut engine = site.start("");
    let responder = site.responder();
    site.tool(&format!("block {BAD_NET}"));
    assert!(engine.end().unwrap().is_some_and(|status| status.success()), "{}", engine.log());
    assert!(engine.log().contains("the filter stays in force"), "{}", engine.log());
    assert!(engine.log().contains("vos-engine unload"), "{}", engine.log());
    assert_eq!(std::fs::read_dir(site.path("run")).unwrap().count(), 0, "nobody is left to be asked there");
    assert!(!site.reaches(BAD, &responder), "the filter is not in force");
    assert!(!site.server.ip("link show").unwrap().contains(": vos"), "the TAP is left");
}

#[test]
fn unload_on_exit_takes_everything_away() {
    let site = Site::new();
    let mut engine = site.start("--unload-on-exit");
    assert!(site.attached().is_some());
    assert!(engine.end().unwrap().is_some_and(|status| status.success()), "{}", engine.log());
    assert!(engine.log().contains("unloaded (") && engine.log().contains("xdp_link"), "{}", engine.log());
    site.assert_clean();
}

#[test]
fn the_engine_ends_with_a_clear_error_when_its_interface_is_removed() {
    let site = Site::new();
    let mut engine = site.start("");
    site.server.ip(&format!("link del {}", site.iface)).unwrap();
    let status = within(Duration::from_secs(5), "the engine ends", || engine.ended().unwrap());
    assert_eq!(status.code(), Some(1), "{}", engine.log());
    assert!(engine.log().contains(&format!("interface {} is gone", site.iface)), "{}", engine.log());
}

#[test]
fn an_address_added_while_the_engine_runs_is_protected_within_three_seconds() {
    let site = Site::new();
    let _engine = site.start("");
    site.tool(&format!("block {BAD_NET}"));
    site.client.ip(&format!("route add 192.0.2.5/32 dev {} src {BAD}", site.lan)).unwrap();
    let socket = site.client.enter(|| std::net::UdpSocket::bind((BAD, 5061))).unwrap().unwrap();
    site.server.ip(&format!("addr add 192.0.2.5/24 dev {}", site.iface)).unwrap();
    let added = Instant::now();
    let before = site.reason(Reason::Blocked);
    within(Duration::from_secs(3), "packets to the new address are dropped", || {
        socket.send_to(b"REGISTER sip:x SIP/2.0\r\n\r\n", "192.0.2.5:5060").unwrap();
        (site.reason(Reason::Blocked) > before).then_some(())
    });
    eprintln!("protected after {:?}", added.elapsed());
    // and from then on none gets through
    let listen = ["192.0.2.5:5060".parse().unwrap()];
    let responder = site.server.enter(|| Responder::start(&listen)).unwrap().unwrap();
    let before = site.reason(Reason::Blocked);
    for _ in 0..100 {
        socket.send_to(b"REGISTER sip:x SIP/2.0\r\n\r\n", "192.0.2.5:5060").unwrap();
    }
    until("all are dropped", || site.reason(Reason::Blocked) == before + 100);
    assert_eq!(responder.stop().received, 0);
}
