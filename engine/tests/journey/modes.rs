//! Monitor mode drops nothing and says what it would drop; filter mode drops, and leaves the rest to the kernel.

use std::net::IpAddr;

use serde_json::Value;

use crate::site::{CALLER, CALLER6, FAR, OTHER, PATIENCE, Site, server_of, wait_until};

fn candidates(site: &Site) -> Vec<(String, u64)> {
    let answer = site.json(&["suggest-allow"]);
    let list = answer["candidates"].as_array().map_or(&[][..], Vec::as_slice);
    let read = |one: &Value| Some((one["address"].as_str()?.to_owned(), one["answered"].as_u64()?));
    list.iter().map(|one| read(one).unwrap_or_else(|| panic!("{answer}"))).collect()
}

#[test]
fn monitor_mode_drops_nothing_and_finds_whom_to_allow() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().mode("monitor").start();
    site.told(&["block", "198.51.100.0/24"]);
    let before = site.stats();
    let far = site.phone(FAR);
    for number in 0..3 {
        assert_eq!(site.asks(&far, "REGISTER", &format!("blocked-{number}")), 200);
    }
    let pingers = [(IpAddr::V4(CALLER), 4), (IpAddr::V6(CALLER6), 2)];
    for (from, count) in pingers {
        let phone = site.phone(from);
        for number in 0..count {
            assert_eq!(site.asks(&phone, "OPTIONS", &format!("ping-{number}")), 200);
        }
    }
    // Who does not ping is no candidate, and neither is who is not answered.
    let phone = site.phone(OTHER);
    assert_eq!(site.asks(&phone, "REGISTER", "quiet"), 200);
    phone.send_to(b"GET /not/sip/at/all HTTP/1.1\r\n\r\n", server_of(&phone)).unwrap();
    // the monitored ones and the quiet one
    site.counted(&before, "kernel", 3 + 6 + 1 + 1);
    let after = site.stats();
    let would = |reason| after.would_drop(reason) - before.would_drop(reason);
    assert_eq!((would("blocked"), would("stealth"), would("malformed")), (3, 6, 1), "{}", after.0);
    for reason in ["blocked", "stealth", "malformed", "redirected"] {
        assert_eq!(after.reason(reason), before.reason(reason), "{reason}");
    }
    assert_eq!(after.0["mode"], "monitor");

    let both = vec![(CALLER.to_string(), 4), (CALLER6.to_string(), 2)];
    let mut listed = Vec::new();
    wait_until("both peers are suggested", PATIENCE, || {
        listed = candidates(&site);
        listed.len() >= both.len() && listed.iter().map(|(_, answered)| answered).sum::<u64>() >= 6
    });
    assert_eq!(listed, both);
    site.told(&["allow", &CALLER.to_string()]);
    assert_eq!(candidates(&site), both[1..]);
    site.told(&["allow", "2001:db8::/64"]);
    assert_eq!(candidates(&site), []);
}

#[test]
fn filter_mode_drops_and_leaves_the_rest_to_the_kernel() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().mode("filter").start();
    site.told(&["block", "198.51.100.0/24"]);
    let before = site.stats();
    for from in [IpAddr::V4(CALLER), IpAddr::V6(CALLER6)] {
        let phone = site.phone(from);
        for number in 0..5 {
            let call = format!("open-{number}-{}", from.is_ipv6());
            assert_eq!(site.asks(&phone, "REGISTER", &call), 200);
        }
    }
    let dropped = [
        site.sip_frame(FAR, "REGISTER", "shut-blocked").build(),
        site.sip_frame(OTHER, "OPTIONS", "shut-stealth").build(),
        site.sip_frame(CALLER6, "OPTIONS", "shut-stealth").build(),
    ];
    site.send(&dropped);
    site.counted(&before, "blocked", 1);
    site.counted(&before, "stealth", 2);
    site.counted(&before, "kernel", 10);
    site.afterwards("shut");
    assert_eq!(site.seen_calls("shut"), 0);
    let after = site.stats();
    assert_eq!((after.reason("redirected"), after.0["mode"].as_str()), (0, Some("filter")));
    assert!(after.workers("received").is_empty(), "{}", after.0);
    // The control: neither blocked nor stealthy, the same frames arrive.
    site.told(&["unblock", "198.51.100.0/24"]);
    site.told(&["allow", &OTHER.to_string(), &CALLER6.to_string()]);
    site.send(&dropped);
    wait_until("all three reach Kamailio", PATIENCE, || site.seen_calls("shut") == 3);
}
