use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use nix::sys::signal::Signal;
use serde_json::Value;
use vos_bench::Program;

use super::site::{self, CALLERS, Site, is, server_of, shown, wait_until};
use super::softswitch::{Softswitch, header};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn address(name: &str) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 15_000 + u16::from(name.as_bytes()[0]))
}

fn config(backends: &[(&str, bool)]) -> String {
    let table = |(name, drain): &(&str, bool)| {
        format!("[[backend]]\nname = \"{name}\"\naddress = \"{}\"\ndrain = {drain}\n", address(name))
    };
    let backends: String = backends.iter().map(table).collect();
    format!("[relay]\nto = \"proxy\"\nfallback = \"drop\"\n[health]\ninterval = \"100ms\"\n{backends}")
}

/// Three softswitches behind the engine.
#[track_caller]
fn site() -> (Site, BTreeMap<&'static str, Softswitch>) {
    let site = site::start(&config(&NAMES.map(|name| (name, false))));
    let softswitches = NAMES.map(|name| (name, Softswitch::start(&site.server, name, address(name))));
    softswitches.iter().for_each(|(name, softswitch)| softswitch.is_known(&site, name));
    (site, softswitches.into())
}

/// The backend that answers this request of a call; it must know the dialog.
#[track_caller]
fn answered(phone: &UdpSocket, method: &str, call: &str, tag: Option<&str>) -> Result<String, String> {
    let from = phone.local_addr().unwrap();
    let tag = tag.map_or_else(String::new, |tag| format!(";tag={tag}"));
    let text = format!(
        "{method} sip:2@example.com SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{call}{method}{}\r\n\
         From: <sip:1@example.com>;tag=f\r\nTo: <sip:2@example.com>{tag}\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:1@{from}>\r\nContent-Length: 0\r\n\r\n",
        // no two requests are one transaction
        NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
    );
    phone.send_to(text.as_bytes(), server_of(phone)).unwrap();
    let mut buffer = [0; 2_048];
    let (length, _) = phone.recv_from(&mut buffer).expect("an answer");
    let reply = std::str::from_utf8(&buffer[..length]).expect("UTF-8");
    assert_eq!(header(reply, "Call-ID"), call);
    let name = header(reply, "X-Backend").to_owned();
    if reply.starts_with("SIP/2.0 200 ") { Ok(name) } else { Err(name) }
}

static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Begins so many calls; gives each with the backend that it is on.
#[track_caller]
fn begin(phone: &UdpSocket, name: &str, count: usize) -> Vec<(String, String)> {
    let calls = (0..count).map(|number| format!("{name}-{number}"));
    calls
        .map(|call| (answered(phone, "INVITE", &call, None).expect("200"), call))
        .map(|(at, call)| (call, at))
        .collect()
}

/// All of them go on where they began.
#[track_caller]
fn go_on(phone: &UdpSocket, calls: &[(String, String)]) {
    for (call, at) in calls {
        assert_eq!(answered(phone, "INFO", call, Some(at)).as_ref(), Ok(at), "{call}");
    }
}

fn on<'a>(calls: &'a [(String, String)], name: &'a str) -> impl Iterator<Item = &'a (String, String)> {
    calls.iter().filter(move |(_, at)| at == name)
}

#[test]
fn one_is_killed_and_returns_and_no_call_of_the_others_moves() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, mut softswitches) = site();
    let phone = site.phone(CALLERS[0]);
    let calls = begin(&phone, "call", 1_000);
    for name in NAMES {
        let share = on(&calls, name).count();
        // a third each; six standard deviations are 90
        assert!(share.abs_diff(333) < 90, "{share} of 1000 for {name}");
    }
    drop(softswitches.remove("b"));
    is(&site, "b", "dead");
    for (call, at) in &calls {
        let now = answered(&phone, "INFO", call, Some(at));
        match at.as_str() {
            // by somebody else, who does not know it
            "b" => assert!(matches!(&now, Err(other) if other != "b"), "{call}: {now:?}"),
            _ => assert_eq!(now.as_ref(), Ok(at), "{call}"),
        }
    }
    let meanwhile = begin(&phone, "meanwhile", 100);
    let back = Softswitch::start(&site.server, "b", address("b"));
    back.is_known(&site, "b");
    go_on(&phone, &calls);
    go_on(&phone, &meanwhile);
    assert!(on(&begin(&phone, "after", 100), "b").count() > 0);
    let events = String::from_utf8(site.vosctl(&["events", "--json"]).stdout).expect("UTF-8");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let states: Vec<&str> = events
        .iter()
        .filter(|event| event["kind"] == "softswitch" && event["name"] == "b")
        .filter_map(|event| event["state"].as_str())
        .collect();
    // before it was there, and when it was killed
    assert!(states.ends_with(&["dead", "alive"]) && states.len().is_multiple_of(2), "{states:?}");
}

#[test]
fn nobody_is_alive_and_what_comes_is_dropped_by_name() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, softswitches) = site();
    let phone = site.phone(CALLERS[0]);
    begin(&phone, "before", 1);
    drop(softswitches);
    NAMES.iter().for_each(|name| is(&site, name, "dead"));
    phone.send_to(b"OPTIONS sip:example.com SIP/2.0\r\n\r\n", server_of(&phone)).unwrap();
    let dropped = || {
        let stats = site.json(&["stats"]);
        let workers = stats["workers"].as_array().expect("workers").clone();
        workers.iter().filter_map(|worker| worker["dropped"]["relay_absent"].as_u64()).sum::<u64>()
    };
    wait_until("it is counted", || dropped() == 1);
    let back = Softswitch::start(&site.server, "c", address("c"));
    back.is_known(&site, "c");
    assert!(begin(&phone, "after", 10).iter().all(|(_, at)| at == "c"));
}

#[test]
fn a_drain_loses_no_call_and_gets_none() {
    if !vos_bench::ready(&["sipp"]) {
        return;
    }
    let (site, softswitches) = site();
    let phone = site.phone(CALLERS[0]);
    let calls = begin(&phone, "call", 100);
    let mut sipp = site.caller.command("sipp");
    sipp.args(["-sn", "uac", "-i", &CALLERS[1].to_string(), "-p", "5062", "-r", "100", "-d", "700", "-nostdin"]);
    let sipp = sipp.args(["-trace_err", "192.0.2.1:5060"]).current_dir(site.path(""));
    let mut sipp = Program::start("sipp", sipp, Some(&site.path("sipp.log"))).unwrap();
    let invites = |name: &str| {
        let received = softswitches[name].received();
        received.iter().filter(|message| message.text.starts_with("INVITE ")).count()
    };
    let byes = |name: &str| softswitches[name].received().iter().filter(|m| m.text.starts_with("BYE ")).count();
    let all_are_called = |names: &[&'static str]| {
        for name in names {
            let before = invites(name);
            wait_until(&format!("{name} gets calls"), || invites(name) >= before + 20);
        }
    };
    all_are_called(&NAMES);
    site.told(&["backend", "drain", "b"]);
    assert_eq!(shown(&site, "b", "drain"), true);
    let (drained, ended) = (invites("b"), byes("b"));
    let others = begin(&phone, "drained", 100);
    assert_eq!(on(&others, "b").count(), 0);
    all_are_called(&["a", "c"]);
    // Its last calls come to their end; what was on the way when it was drained may have begun after.
    wait_until("what it has ends", || byes("b") > ended && byes("b") == invites("b") - on(&calls, "b").count());
    assert!(invites("b") <= drained + 5, "{drained} calls when it was drained, {} now", invites("b"));
    site.told(&["backend", "undrain", "b"]);
    all_are_called(&["b"]);
    // the same by the file
    site.reconfigure(&config(&[("a", true), ("b", false), ("c", false)]));
    let drained = invites("a");
    all_are_called(&["b", "c"]);
    assert!(invites("a") <= drained + 5);
    site.reconfigure(&config(&NAMES.map(|name| (name, false))));
    all_are_called(&["a"]);
    go_on(&phone, &calls);
    go_on(&phone, &others);
    sipp.signal(Signal::SIGUSR1).unwrap();
    let mut ended = None;
    wait_until("the last call ends", || {
        ended = sipp.ended().unwrap();
        ended.is_some()
    });
    // 0: all calls succeeded
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", sipp.log_tail(60));
}

#[test]
fn backends_come_and_go_at_run_time_and_calls_stay() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let (site, _softswitches) = site();
    let phone = site.phone(CALLERS[0]);
    let calls = begin(&phone, "call", 300);
    let new = Softswitch::start(&site.server, "d", address("d"));
    site.reconfigure(&config(&["a", "b", "c", "d"].map(|name| (name, false))));
    new.is_known(&site, "d");
    go_on(&phone, &calls);
    let with_d = begin(&phone, "with-d", 300);
    assert!(on(&with_d, "d").count() > 20);
    site.reconfigure(&config(&["d", "c", "a"].map(|name| (name, false))));
    assert_eq!(shown(&site, "b", "state"), Value::Null);
    for calls in [&calls, &with_d] {
        go_on(&phone, &calls.iter().filter(|(_, at)| at != "b").cloned().collect::<Vec<_>>());
    }
    assert_eq!(on(&begin(&phone, "without-b", 100), "b").count(), 0);
    let refused = site.vosctl(&["backend", "drain", "b"]);
    assert_eq!(refused.status.code(), Some(4));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("no backend `b`") && said.contains("d, c, a"), "{said}");
}

#[test]
fn an_address_of_the_other_family_is_asked_too() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let v6 = SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 15_060);
    let six = format!("[[backend]]\nname = \"six\"\naddress = \"{v6}\"\n");
    let site = site::start(&(config(&[("a", false)]) + &six));
    let both = [("a", address("a")), ("six", v6)];
    let both = both.map(|(name, address)| (name, Softswitch::start(&site.server, name, address)));
    both.iter().for_each(|(name, softswitch)| softswitch.is_known(&site, name));
    let phone = site.phone(CALLERS[0]);
    let calls = begin(&phone, "call", 100);
    assert!(on(&calls, "six").count() > 20 && on(&calls, "a").count() > 20);
    go_on(&phone, &calls);
}
