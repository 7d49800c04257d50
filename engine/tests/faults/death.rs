use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use vos_common::reason::Reason;

use super::site::{BAD, BAD_NET, PHONE, Site, assert_all_succeeded, kill, until, within};

#[test]
fn no_call_fails_when_the_engine_is_killed_and_the_filter_stays_in_force() {
    let site = Site::new();
    let mut engine = site.start("");
    let responder = site.responder();
    assert!(site.reaches(BAD, &responder), "without a rule the source gets through");
    site.tool(&format!("block {BAD_NET}"));
    // A call is four requests: 500 a second.
    let calls = site.calls(PHONE, 750, 125);
    until("a third of the calls is done", || responder.stats().method("BYE") > 250);
    let redirected = site.reason(Reason::Redirected);
    assert!(redirected > 1_000, "calls go by the engine: {redirected}");
    kill(&mut engine);
    let report = calls.end();
    assert_all_succeeded(&report);
    assert!(site.reason(Reason::Kernel) > 1_000, "the rest goes by the kernel");
    let before = site.reason(Reason::Blocked);
    assert!(!site.reaches(BAD, &responder), "a blocked source gets through while no engine runs");
    assert!(site.reason(Reason::Blocked) > before + 20);
}

#[test]
fn traffic_flows_by_the_kernel_within_a_second_of_sigstop_and_is_redirected_again_after_sigcont() {
    let site = Site::new();
    let engine = site.start("");
    let responder = site.responder();
    let load = site.load(PHONE, |load| (load.rate, load.seconds, load.linger) = (500, 60.0, 3.0));
    until("packets are redirected", || site.reason(Reason::Redirected) > 500);
    let (kernel, received) = (site.reason(Reason::Kernel), responder.stats().received);
    let stopped = Instant::now();
    engine.signal(Signal::SIGSTOP).unwrap();
    // 50 more than were on their way can only have come by the kernel.
    within(Duration::from_secs(1), "the server gets packets by the kernel", || {
        (site.reason(Reason::Kernel) > kernel + 50 && responder.stats().received > received + 50).then_some(())
    });
    eprintln!("by the kernel after {:?}", stopped.elapsed());
    engine.signal(Signal::SIGCONT).unwrap();
    let redirected = site.reason(Reason::Redirected);
    until("packets are redirected again", || site.reason(Reason::Redirected) > redirected + 500);
    let report = load.stop();
    // What lay in the ring while the engine stood still is late, not lost.
    until("all that was sent has arrived", || responder.stats().received == report.sent);
}

#[test]
fn a_blocked_source_that_sends_throughout_never_gets_through_while_the_engine_restarts() {
    let site = Site::new();
    let mut engine = site.start("");
    let responder = site.responder();
    assert!(site.reaches(BAD, &responder), "without a rule the source gets through");
    site.tool(&format!("block {BAD_NET}"));
    let reached = responder.stats().from(BAD.parse().unwrap());
    let before = site.reason(Reason::Blocked);
    let load = site.load(BAD, |load| (load.rate, load.seconds, load.linger) = (2_000, 120.0, 0.2));
    until("the source sends", || site.reason(Reason::Blocked) > before + 1_000);
    for kill_it in [false, true, false] {
        if kill_it {
            kill(&mut engine);
        } else {
            assert!(engine.end().unwrap().is_some_and(|status| status.success()), "{}", engine.log());
        }
        let dropped = site.reason(Reason::Blocked);
        until("the source is dropped while no engine runs", || site.reason(Reason::Blocked) > dropped + 200);
        engine = site.start("");
        assert!(engine.log().contains("program replaced on its link"), "{}", engine.log());
        assert!(site.tool("list").contains(BAD_NET), "{}", site.tool("list"));
    }
    let report = load.stop();
    assert_eq!(responder.stats().from(BAD.parse().unwrap()), reached, "of {} some got through", report.sent);
    // Every single one was seen and dropped: there was no moment without a program.
    until("all are counted", || site.reason(Reason::Blocked) == before + report.sent);
}

#[test]
fn blocks_survive_the_removal_of_all_pins() {
    let site = Site::new();
    let mut engine = site.start("");
    let responder = site.responder();
    site.tool(&format!("block {BAD_NET}"));
    assert!(!site.reaches(BAD, &responder));
    engine.end().unwrap();
    site.unload().unwrap();
    assert!(site.reaches(BAD, &responder), "without pins nothing is dropped");
    let _engine = site.start("");
    assert!(!site.reaches(BAD, &responder), "the store did not refill the maps");
    assert!(site.tool("list").contains(BAD_NET));
}

#[test]
fn calls_succeed_while_the_relay_is_cut_off_and_it_is_taken_again_when_it_is_back() {
    let site = Site::new();
    let engine = site.start("");
    let responder = site.responder();
    let tap = format!("vos{}", site.index());
    let calls = site.calls(PHONE, 1_000, 100);
    until("calls go by the engine", || site.reason(Reason::Redirected) > 400);
    let kernel = site.reason(Reason::Kernel);
    site.server.ip(&format!("link set {tap} down")).unwrap();
    until("no worker is live", || site.live() == 0);
    until("packets go by the kernel", || site.reason(Reason::Kernel) > kernel + 400);
    site.server.ip(&format!("link set {tap} up")).unwrap();
    until("all workers are live", || site.live() == 4);
    let redirected = site.reason(Reason::Redirected);
    until("packets go by the engine again", || site.reason(Reason::Redirected) > redirected + 100);
    assert_all_succeeded(&calls.end());
    assert!(engine.log().contains("its packets take the kernel's path until it does again"), "{}", engine.log());
    drop(responder);
}
