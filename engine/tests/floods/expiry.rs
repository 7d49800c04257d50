use vos_common::reason::Reason;

use crate::frames::request;
use crate::site::{PHONES, Site, wait_until};

#[test]
fn what_is_allowed_for_a_while_inside_a_block_is_blocked_again_with_the_engine_dead() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let mut site = Site::start("");
    let phone = PHONES[0];
    site.tell(&["block", "198.51.100.0/24", "--ttl", "1h"]);
    let blocked = |site: &Site| site.maps().reason(Reason::Blocked);
    let register = site.frame(phone, &request("REGISTER", phone.into(), "try"));
    site.send(std::slice::from_ref(&register));
    assert_eq!(blocked(&site), 1);
    site.tell(&["allow", &phone.to_string(), "--ttl", "5s"]);
    site.kill_engine();
    site.send(std::slice::from_ref(&register));
    assert_eq!(blocked(&site), 1, "allowed, and blocked all the same");
    let mut sent = 0;
    wait_until("it is blocked again", || {
        site.send(std::slice::from_ref(&register));
        sent += 1;
        blocked(&site) > 1
    });
    // for good, and its neighbour was so all the time
    let neighbour = std::net::Ipv4Addr::new(198, 51, 100, 21);
    let others = site.frame(neighbour, &request("REGISTER", neighbour.into(), "other"));
    site.send(&[register, others]);
    assert_eq!(blocked(&site), 4);
    site.start_engine();
    assert_eq!(site.json(&["list"])["rules"].as_array().unwrap().len(), 1, "the ended rule is still listed");
    wait_until("what was allowed has arrived", || site.seen_calls("try") == sent);
}

#[test]
fn attack_mode_ends_by_itself_with_the_engine_dead() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let mut site = Site::start("[rates]\nglobal = \"1/h burst 1\"\n");
    site.tell(&["attack", "on", "--ttl", "5s"]);
    let frame = site.frame(PHONES[0], &request("REGISTER", PHONES[0].into(), "try"));
    let refused = |site: &Site| site.maps().reason(Reason::RateGlobal);
    site.kill_engine();
    site.send(&[frame.clone(), frame.clone(), frame.clone()]);
    assert_eq!(refused(&site), 2);
    wait_until("attack mode has ended", || {
        let before = refused(&site);
        site.send(std::slice::from_ref(&frame));
        refused(&site) == before
    });
    let before = refused(&site);
    site.send(&vec![frame; 10]);
    assert_eq!(refused(&site), before);
}
