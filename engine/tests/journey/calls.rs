//! Who may call can call.

use std::net::{IpAddr, SocketAddr};

use vos_bench::process::output;
use vos_bench::{CallOptions, Kind, LoadOptions, Stop};

use crate::site::{CALLER, CALLER6, OTHER, OTHER6, SERVER4, SERVER6, Site};

#[test]
fn a_phone_of_either_family_is_answered_and_known_by_its_true_address() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    for from in [CALLER.to_string(), CALLER6.to_string()] {
        site.told(&["allow", &from]);
    }
    let before = site.stats();
    for from in [IpAddr::V4(CALLER), IpAddr::V6(CALLER6)] {
        let phone = site.phone(from);
        for method in ["REGISTER", "INVITE", "BYE", "OPTIONS"] {
            let call = format!("one-{method}-{}", from.is_ipv6());
            assert_eq!(site.asks(&phone, method, &call), 200);
            let seen = site.seen().into_iter().find(|seen| seen.call == call).expect("in Kamailio's log");
            assert_eq!((seen.method.as_str(), seen.source), (method, phone.local_addr().unwrap()));
        }
    }
    site.counted(&before, "redirected", 8);
}

#[test]
fn all_calls_succeed_on_all_queues_and_each_packet_is_redirected_once() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    for from in [OTHER.to_string(), OTHER6.to_string()] {
        site.told(&["allow", &from]);
    }
    let (before, mut sent) = (site.stats(), 0);
    let families: [(IpAddr, IpAddr, IpAddr); 2] =
        [(SERVER4, CALLER.into(), OTHER.into()), (SERVER6, CALLER6.into(), OTHER6.into())];
    for (server, caller, pinger) in families {
        let to = SocketAddr::new(server, 5060);
        let mut calls = CallOptions::new(to);
        (calls.calls, calls.rate, calls.from) = (60, 60, vec![caller]);
        let report = site.caller.enter(|| vos_bench::call::run(&calls, &Stop::never())).unwrap().unwrap();
        assert_eq!((report.registered, report.succeeded, report.failed), (60, 60, 0), "{report:?}");
        sent += report.datagrams;
        let mut pings = LoadOptions::new(to);
        (pings.kind, pings.rate, pings.from) = (Kind::Options, 100, vec![pinger]);
        let report = site.caller.enter(|| vos_bench::load::run(&pings, &Stop::never())).unwrap().unwrap();
        assert_eq!((report.sent, report.answered), (100, 100), "{report:?}");
        sent += report.sent;
        let seen = site.seen();
        let from =
            |ip, method: &str| seen.iter().filter(|seen| seen.source.ip() == ip && seen.method == method).count();
        assert_eq!((from(caller, "REGISTER"), from(caller, "BYE"), from(pinger, "OPTIONS")), (60, 60, 100));
    }
    site.counted(&before, "redirected", sent);
    let stats = site.stats();
    for counter in ["received", "relayed"] {
        let by_queue = stats.workers(counter);
        assert_eq!((by_queue.len(), by_queue.iter().sum::<u64>()), (4, sent), "{counter}");
        assert!(by_queue.iter().filter(|count| **count > 0).count() > 1, "{counter} by one queue only: {by_queue:?}");
    }
}

#[test]
fn sipp_makes_its_calls_through_the_engine() {
    if !vos_bench::ready(&["kamailio", "sipp"]) {
        return;
    }
    const CALLS: u64 = 20;
    let site = Site::builder().start();
    let before = site.stats();
    for (from, server) in [(IpAddr::V4(CALLER), "192.0.2.1:5060"), (IpAddr::V6(CALLER6), "[2001:db8::1]:5060")] {
        let mut sipp = site.caller.command("sipp");
        sipp.args([
            "-sn",
            "uac",
            "-i",
            &from.to_string(),
            "-p",
            "5062",
            "-m",
            &CALLS.to_string(),
            "-r",
            "40",
            "-d",
            "1",
        ]);
        // exit code 0: all calls succeeded; -nr: nothing is sent twice
        sipp.args(["-nr", "-nostdin", "-timeout", "20s", "-timeout_error", server]).current_dir(site.path(""));
        output(&mut sipp).unwrap();
        let source = SocketAddr::new(from, 5062);
        for method in ["INVITE", "BYE"] {
            let seen = site.seen().iter().filter(|seen| seen.method == method && seen.source == source).count();
            assert_eq!(seen as u64, CALLS, "{method} from {source}");
        }
    }
    // INVITE, ACK, BYE
    site.counted(&before, "redirected", 2 * 3 * CALLS);
}
