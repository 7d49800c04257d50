//! `relay.to = "unix:PATH"` and `"unix-seqpacket:PATH"`.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::sys::signal::Signal;
use ppp::v2::Protocol;
use vos_bench::process::output;
use vos_bench::{CallOptions, CallReport, Stop};

use crate::consumer::{
    CALLERS, Consumer, PYTHON, Place, all_find_it, consumed, none_finds_it, of_peer, of_workers, registers, shell,
};
use crate::site::{
    CALLER, CALLER6, OTHER, OTHER6, PATIENCE, QUEUES, SERVER4, Site, dumped, request, request_of, server_of, wait_until,
};

fn calls(site: &Site, from: IpAddr, server: IpAddr, calls: u64) -> CallReport {
    let mut options = CallOptions::new(SocketAddr::new(server, 5060));
    (options.calls, options.rate, options.from) = (calls, 60, vec![from]);
    site.caller.enter(|| vos_bench::call::run(&options, &Stop::never())).unwrap().unwrap()
}

/// Where the workers' own sockets are.
fn own(site: &Site, place: &Place) -> Vec<PathBuf> {
    (0..QUEUES).map(|queue| format!("{}.{}.{queue}", place.path().display(), site.iface).into()).collect()
}

fn allow_all(site: &Site) {
    for from in [CALLER.to_string(), CALLER6.to_string(), OTHER.to_string(), OTHER6.to_string()] {
        site.told(&["allow", &from]);
    }
}

fn phones_register_and_call(place: &Place) {
    let site = place.site("drop").start();
    allow_all(&site);
    let _example = place.example(&site);
    let mut sent = 0;
    for (from, server) in CALLERS {
        let report = calls(&site, from, server, 60);
        assert_eq!((report.registered, report.succeeded, report.failed), (60, 60, 0), "{report:?}");
        sent += report.datagrams;
        for method in ["REGISTER", "INVITE", "BYE", "OPTIONS"] {
            assert_eq!(site.asks(&site.phone(from), method, &format!("one-{method}")), 200);
            sent += 1;
        }
    }
    // A veth leaves checksums to whoever comes behind it.
    let partial: u64 = site.stats().workers("partial_checksums").iter().sum();
    assert_eq!((of_peer(&site, "sent"), partial), (sent, sent));
    let answers = of_peer(&site, "received");
    assert!(answers > 0 && of_workers(&site, "sent", "ring") == answers, "{:?}", site.stats());
    assert_eq!((of_peer(&site, "fell_back"), of_peer(&site, "bad_replies"), site.seen().len()), (0, 0, 0));
    let status = site.vosctl(&["status"]).stdout;
    let status = String::from_utf8_lossy(&status);
    assert!(status.contains(&format!("relay        {}: somebody is there\n", place.to())), "{status}");
    let stats = site.vosctl(&["stats"]).stdout;
    let stats = String::from_utf8_lossy(&stats);
    assert!(stats.contains(&format!("relay {}", place.to())) && stats.contains("peer is there: "), "{stats}");
}

#[test]
fn phones_register_and_call_through_datagrams() {
    if vos_bench::ready(&["kamailio"]) {
        phones_register_and_call(&Place::datagrams());
    }
}

#[test]
fn phones_register_and_call_through_connections() {
    if vos_bench::ready(&["kamailio"]) {
        phones_register_and_call(&Place::connections());
    }
}

#[test]
fn sipp_calls_the_example_in_python_that_runs_as_nobody() {
    if !vos_bench::ready(&[&PYTHON[..], &["sipp"]].concat()) {
        return;
    }
    const NOBODY: u32 = 65_534;
    let place = Place::datagrams();
    fs::set_permissions(place.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(place.dir(), Some(NOBODY), Some(NOBODY)).unwrap();
    let site = place.site("drop").start();
    allow_all(&site);
    let _example = place.python(&site, NOBODY);
    for (from, server) in [(IpAddr::V4(CALLER), "192.0.2.1:5060"), (IpAddr::V6(CALLER6), "[2001:db8::1]:5060")] {
        let mut sipp = site.caller.command("sipp");
        sipp.args(["-sn", "uac", "-i", &from.to_string(), "-p", "5062", "-m", "20", "-r", "40", "-d", "1"]);
        // exit code 0: all calls succeeded; -nr: nothing is sent twice
        sipp.args(["-nr", "-nostdin", "-timeout", "20s", "-timeout_error", server]).current_dir(site.path(""));
        output(&mut sipp).unwrap();
        for method in ["REGISTER", "OPTIONS"] {
            assert_eq!(site.asks(&site.phone(from), method, &format!("py-{method}")), 200);
        }
    }
    // INVITE, ACK, BYE of each call, and the others
    assert_eq!(of_peer(&site, "sent"), 2 * (3 * 20 + 2));
}

#[test]
fn every_length_goes_both_ways_and_both_ends_are_named() {
    let Some((_place, site, consumer)) = consumed() else { return };
    for (from, server) in CALLERS {
        let phone = site.phone(from);
        let caller = phone.local_addr().unwrap();
        let least = request_of(300, "REGISTER", caller, "odd").len();
        // Up to what a frame of 1,500 bytes holds.
        for size in (least..least + 16).chain([1_400, 1_401, 1_451, 1_452]) {
            let text = request_of(size, "REGISTER", caller, "odd");
            phone.send_to(text.as_bytes(), server_of(&phone)).unwrap();
            let got = consumer.next();
            assert_eq!((got.source, got.destination), (caller, (server, 5060).into()));
            assert!(got.payload == text.as_bytes(), "{size} bytes came as {}", got.payload.len());
            consumer.say(&got.worker, caller, got.destination, &got.payload);
            let mut back = [0; 2_048];
            let (length, answerer) = phone.recv_from(&mut back).expect("the same again");
            assert_eq!(answerer, server_of(&phone));
            assert!(back[..length] == got.payload, "{size} bytes went back as {length}");
        }
    }
}

#[test]
fn a_caller_behind_a_vlan_tag_is_answered_behind_it() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    let place = Place::datagrams();
    let site = place.site("drop").start();
    let consumer = Consumer::listen(&site, &place);
    for (from, server) in CALLERS {
        let answers = site.tcpdump_outside(&format!("vlan 42 and src host {server} and dst host {from} and udp"));
        site.send(&[site.sip_frame(from, "REGISTER", "tagged").vlan(0x8100, 42).build()]);
        let got = consumer.next();
        assert_eq!((got.source, got.destination), ((from, 5061).into(), (server, 5060).into()));
        consumer.answer(&got, 200);
        wait_until("the answer is on the wire", PATIENCE, || dumped(&answers) == 1);
    }
}

#[test]
fn a_round_trip_through_the_consumer_makes_the_caller_verified() {
    let Some((_place, site, consumer)) = consumed() else { return };
    let phone = site.phone(CALLER);
    let text = request("REGISTER", phone.local_addr().unwrap(), "proves");
    let verified = || site.stats().0["verified"]["sources"].as_u64();
    for (number, code) in [(1, 401), (2, 200)] {
        assert_eq!(verified(), Some(0), "before {code}");
        phone.send_to(text.replace("CSeq: 1", &format!("CSeq: {number}")).as_bytes(), server_of(&phone)).unwrap();
        consumer.answer(&consumer.next(), code);
        let mut reply = [0; 2_048];
        phone.recv(&mut reply).expect("an answer");
    }
    wait_until("the caller is verified", PATIENCE, || verified() == Some(1));
}

#[test]
fn the_consumer_may_speak_first_but_not_in_anybody_elses_name() {
    let Some((_place, site, consumer)) = consumed() else { return };
    let (mut unreadable, mut foreign) = (0, 0);
    for (from, server) in CALLERS {
        let phone = site.phone(from);
        let callee = phone.local_addr().unwrap();
        phone.send_to(request("REGISTER", callee, "is-here").as_bytes(), server_of(&phone)).unwrap();
        let got = consumer.next();
        let (sip, worker) = (got.destination, &got.worker);
        let invite = |call: &str| request("INVITE", sip, call);
        // No header; nothing; TCP; another's address; another service's port; ends of two families.
        consumer.write(worker, b"INVITE sip:2@e.com SIP/2.0\r\n\r\n");
        consumer.write(worker, b"");
        consumer.say_as(worker, Protocol::Stream, callee, sip, invite("tcp").as_bytes());
        consumer.say(worker, callee, (from, 5060).into(), invite("foreign").as_bytes());
        consumer.say(worker, callee, (server, 53).into(), invite("port").as_bytes());
        consumer.say(worker, callee, ("::ffff:127.0.0.1".parse::<IpAddr>().unwrap(), 5060).into(), b"mapped");
        (unreadable, foreign) = (unreadable + 4, foreign + 2);
        // Nobody's: LOCAL, with something behind it.
        consumer.write(worker, b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00hello");
        consumer.say(worker, callee, sip, invite("right").as_bytes());
        // One socket, so in order: what comes first is the last.
        let mut came = [0; 2_048];
        let (length, caller) = phone.recv_from(&mut came).expect("the call");
        assert_eq!((caller, &came[..length]), (sip, invite("right").as_bytes()));
        assert_eq!((of_peer(&site, "bad_replies"), of_workers(&site, "sent", "foreign")), (unreadable, foreign));
        // Somebody who has never been heard of.
        let silent = site.phone(if from.is_ipv4() { IpAddr::from(OTHER) } else { OTHER6.into() });
        consumer.say(worker, silent.local_addr().unwrap(), sip, invite("silent").as_bytes());
        let (length, caller) = silent.recv_from(&mut came).expect("the call");
        assert_eq!((caller, &came[..length]), (sip, invite("silent").as_bytes()));
    }
    assert_eq!(of_workers(&site, "sent", "ring") + of_workers(&site, "sent", "kernel"), 4);
}

/// Batches of calls until told to stop, while `meanwhile` happens; none may fail.
fn under_load(site: &Site, meanwhile: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Relaxed) {
                let report = calls(site, CALLER.into(), SERVER4, 60);
                assert_eq!((report.succeeded, report.failed), (60, 0), "{report:?}");
            }
        });
        // Told to stop though what it waits for never comes.
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        stop.store(true, Relaxed);
        let load = load.join();
        end.and(load).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Killed in the middle of calls and started again: none of them fails, wherever they go meanwhile.
fn killed_and_restarted(place: &Place, fallback: &str) {
    let site = place.site(fallback).start();
    let mut example = place.example(&site);
    let grows = |what: &str, count: &dyn Fn() -> u64| {
        let before = count();
        wait_until(what, PATIENCE, || count() > before + 20);
    };
    under_load(&site, || {
        for _ in 0..2 {
            grows("the consumer answers", &|| of_peer(&site, "received"));
            example.signal(Signal::SIGKILL).unwrap();
            match fallback {
                "local" => grows("Kamailio stands in", &|| site.seen().len() as u64),
                _ => grows("packets are dropped", &|| of_workers(&site, "dropped", "relay_absent")),
            }
            none_finds_it(&site);
            drop(std::mem::replace(&mut example, place.example(&site)));
        }
        grows("the consumer answers again", &|| of_peer(&site, "received"));
    });
    let log = fs::read_to_string(site.path("engine.log")).unwrap();
    let (gone, come) = (log.matches("nobody is at").count(), log.matches("/consumer is there\n").count());
    // At the start, and twice: once for each worker.
    assert_eq!((gone, come), (3 * QUEUES as usize, 3 * QUEUES as usize), "{log}");
    let events = site.vosctl(&["events", "--json"]).stdout;
    let events = String::from_utf8_lossy(&events);
    assert_eq!(events.matches("\"kind\":\"peer\"").count(), 6 * QUEUES as usize, "{events}");
    match fallback {
        "local" => assert!(of_peer(&site, "fell_back") >= 40 && of_workers(&site, "dropped", "relay_absent") == 0),
        _ => assert!(of_peer(&site, "fell_back") == 0 && site.seen().is_empty()),
    }
}

#[test]
fn a_consumer_killed_under_load_is_stood_in_for_and_found_again() {
    if vos_bench::ready(&["kamailio"]) {
        killed_and_restarted(&Place::datagrams(), "local");
    }
}

#[test]
fn a_connected_consumer_killed_under_load_is_stood_in_for_and_found_again() {
    if vos_bench::ready(&["kamailio"]) {
        killed_and_restarted(&Place::connections(), "local");
    }
}

#[test]
fn a_consumer_killed_under_load_where_packets_are_dropped_costs_no_call() {
    if vos_bench::ready(&["kamailio"]) {
        killed_and_restarted(&Place::datagrams(), "drop");
    }
}

#[test]
fn a_consumer_that_stops_reading_is_busy_and_harms_nobody_else() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let place = Place::datagrams();
    let site = place.site("local").start();
    site.told(&["trust", &OTHER.to_string()]);
    let consumer = Consumer::listen(&site, &place);
    let phone = site.phone(OTHER);
    let from = phone.local_addr().unwrap();
    let mut sent: u64 = 0;
    wait_until("its queue is full", PATIENCE, || {
        for _ in 0..32 {
            phone.send_to(request_of(1_400, "REGISTER", from, "waits").as_bytes(), server_of(&phone)).unwrap();
        }
        sent += 32;
        of_peer(&site, "busy") > 0
    });
    let accounted = |waiting: bool| {
        let stats = site.stats();
        let waits = if waiting { stats.workers("waiting").iter().sum() } else { 0 };
        of_peer(&site, "sent") + waits + of_workers(&site, "dropped", "given_up") == sent
    };
    wait_until("each is with it, waits, or was given up", PATIENCE, || accounted(true));
    // Full is not gone: nobody stands in, and the workers live.
    assert_eq!((of_peer(&site, "fell_back"), site.seen().len()), (0, 0));
    all_find_it(&site);
    let mut read = 0;
    wait_until("what waited comes behind what is read", PATIENCE, || {
        while read < of_peer(&site, "sent") {
            assert_eq!(consumer.next().source, from);
            read += 1;
        }
        accounted(false)
    });
    let other = registers(&site, CALLER, "now");
    assert_eq!(consumer.next().source, other.local_addr().unwrap());
}

#[test]
fn a_connected_consumer_that_stands_still_is_busy_and_goes_on_where_it_was() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let place = Place::connections();
    let site = place.site("local").start();
    site.told(&["trust", &OTHER.to_string()]);
    let example = place.example(&site);
    let phone = site.phone(OTHER);
    let from = phone.local_addr().unwrap();
    example.signal(Signal::SIGSTOP).unwrap();
    wait_until("the connection is full", PATIENCE, || {
        for _ in 0..64 {
            phone.send_to(request_of(1_400, "REGISTER", from, "waits").as_bytes(), server_of(&phone)).unwrap();
        }
        of_peer(&site, "busy") > 0
    });
    assert_eq!((of_peer(&site, "fell_back"), site.seen().len()), (0, 0));
    all_find_it(&site);
    example.signal(Signal::SIGCONT).unwrap();
    let sent = of_peer(&site, "sent");
    wait_until("it has answered what waited", PATIENCE, || of_peer(&site, "received") >= sent);
    assert_eq!(site.asks(&site.phone(CALLER), "REGISTER", "goes-on"), 200);
}

#[test]
fn stale_sockets_make_way_and_the_workers_own_go_with_them() {
    if !vos_bench::ready(&PYTHON) {
        return;
    }
    let place = Place::datagrams();
    let left = format!(
        "for n in 0 1 9; do python3 -c 'import socket, sys; socket.socket(1, 2).bind(sys.argv[1])' {}.IFACE.$n; done; \
         echo mine > {}.IFACE.x",
        place.path().display(),
        place.path().display()
    );
    let mut site = place.site("drop").prepare(&left).start();
    let named = |name: &str| PathBuf::from(format!("{}.{}.{name}", place.path().display(), site.iface));
    assert!(!named("9").exists() && named("x").exists(), "only what an engine left goes");
    let consumer = Consumer::listen(&site, &place);
    let phone = registers(&site, CALLER, "hello");
    consumer.answer(&consumer.next(), 200);
    phone.recv(&mut [0; 2_048]).expect("an answer");
    let files = own(&site, &place);
    assert!(files.iter().all(|file| fs::symlink_metadata(file).unwrap().file_type().is_socket()));
    site.stop();
    assert!(files.iter().all(|file| fs::symlink_metadata(file).is_err()), "gone with the engine");
}

#[test]
fn the_workers_sockets_are_owned_and_permitted_as_the_consumers_is() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let place = Place::datagrams();
    let site = place.site("drop").start();
    for (user, group, mode) in [(1_234, 1_235, 0o600), (65_534, 0, 0o660)] {
        none_finds_it(&site);
        let path = place.path();
        // Under another name first: it is complete when it is found.
        let aside = Place::datagrams();
        let consumer = Consumer::deaf(&site, &aside);
        std::os::unix::fs::chown(aside.path(), Some(user), Some(group)).unwrap();
        fs::set_permissions(aside.path(), fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(aside.path(), &path).unwrap();
        all_find_it(&site);
        for file in own(&site, &place) {
            let file = fs::symlink_metadata(file).unwrap();
            assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (user, group, mode));
        }
        drop(consumer);
    }
    // Somebody who is put in the other's place is found, though the other still listens.
    none_finds_it(&site);
    let first = Consumer::listen(&site, &place);
    let aside = Place::datagrams();
    let second = Consumer::deaf(&site, &aside);
    fs::rename(aside.path(), place.path()).unwrap();
    wait_until("each worker has found the second", PATIENCE, || of_peer(&site, "came") == 4 * u64::from(QUEUES));
    let phone = registers(&site, CALLER, "second");
    assert_eq!(second.next().source, phone.local_addr().unwrap());
    drop(first);
}

#[test]
fn what_is_no_such_socket_is_said_and_not_touched() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let place = Place::datagrams();
    shell(&format!("echo precious > {}", place.path().display()));
    let site = place.site("local").start();
    none_finds_it(&site);
    // Whoever calls is heard by the softswitch on this host.
    assert_eq!(site.asks(&site.phone(CALLER), "REGISTER", "anyway"), 200);
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "precious\n");
    let log = fs::read_to_string(site.path("engine.log")).unwrap();
    assert!(log.contains("Connection refused"), "{log}");
}
