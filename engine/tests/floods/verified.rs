use std::time::Duration;

use vos_common::reason::Reason;
use vos_engine::control::clock::Clock;

use crate::frames::request;
use crate::site::{PHONE6, PHONES, Site, wait_until};

/// A phone that registers: whatever was answered before it has been seen by the policy, too.
#[track_caller]
fn fence(site: &Site, address: impl Into<std::net::IpAddr> + Copy) {
    site.phone("fence", address).registers();
    wait_until("the fence is verified", || site.maps().verified_until(address).is_some());
}

#[test]
fn who_answers_a_challenge_is_verified_and_stays_so_over_a_restart_until_its_time_ends() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let mut site = Site::start("");
    for (n, address) in [(1, PHONES[0].into()), (2, std::net::IpAddr::V6(PHONE6))] {
        let mut phone = site.phone("a", address);
        let before = site.maps().reason(Reason::Stealth);
        let options = phone.request("OPTIONS", "sip:e.com", "a");
        phone.send(&options);
        wait_until("a stranger's OPTIONS is counted", || site.maps().reason(Reason::Stealth) == before + 1);
        phone.registers();
        wait_until("the phone is verified", || site.verified() == n);
        assert!(site.maps().verified_until(address).is_some());
        let (status, reply) = phone.asks(&options, None);
        assert_eq!(status, 200, "{reply}");
    }
    site.balances();
    site.stop_engine();
    site.start_engine();
    assert_eq!(site.verified(), 2);
    let mut phone = site.phone("a", PHONES[0]);
    let options = phone.request("OPTIONS", "sip:e.com", "a");
    assert_eq!(phone.asks(&options, None).0, 200);
    // Its time ends while no engine is there.
    site.kill_engine();
    let soon = Clock::now().mono_ns() + Duration::from_secs(1).as_nanos() as u64;
    site.maps().set_verified_until(PHONES[0], soon);
    let before = site.maps().reason(Reason::Stealth);
    wait_until("OPTIONS is dropped again", || {
        phone.send(&options);
        site.maps().reason(Reason::Stealth) > before
    });
    assert!(Clock::now().mono_ns() + 20_000_000 >= soon, "before its time");
    // Another engine finds it ended, and the other phone as it was.
    site.start_engine();
    let mut other = site.phone("a", PHONE6);
    let options = other.request("OPTIONS", "sip:e.com", "a");
    assert_eq!(other.asks(&options, None).0, 200);
}

#[test]
fn nothing_that_can_be_forged_verifies_anybody() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("");
    // In the name of another, whose answers the attacker does not see: a challenge, and a guess at it.
    let victim = PHONES[1];
    let forged = request("REGISTER", victim.into(), "forged");
    let guess = "Authorization: Digest username=\"100\", realm=\"e.com\", nonce=\"guess\", uri=\"sip:e.com\", \
                 response=\"00000000000000000000000000000000\"\r\nContact";
    site.send(&[site.frame(victim, &forged), site.frame(victim, &forged.replacen("Contact", guess, 1))]);
    // An answered call, and ACKs that do not know its tag.
    let mut caller = site.phone("caller", PHONES[2]);
    let ack = caller.reaches_echo();
    let tag = ack.lines().find(|line| line.starts_with("To:")).unwrap().rsplit("tag=").next().unwrap().to_owned();
    caller.send(&ack.replace(&tag, "guess"));
    caller.send(&ack.replace(&format!(";tag={tag}"), ""));
    site.send(&[site.frame(victim, &ack)]);
    // A success that nobody was challenged for.
    let message = caller.request("MESSAGE", "sip:e.com", "x");
    assert_eq!(caller.asks(&message, None).0, 200);
    site.arrives("forged");
    fence(&site, PHONES[0]);
    assert_eq!(site.verified(), 1, "somebody but the fence is verified");
    assert_eq!((site.maps().verified_until(victim), site.maps().verified_until(PHONES[2])), (None, None));
    // The control: the ACK of who has read the tag.
    caller.send(&ack);
    wait_until("the caller is verified", || site.maps().verified_until(PHONES[2]).is_some());
    assert_eq!(site.verified(), 2);
    let options = caller.request("OPTIONS", "sip:e.com", "x");
    assert_eq!(caller.asks(&options, None).0, 200);
    site.balances();
}
