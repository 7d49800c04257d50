use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use vos_common::reason::Reason;

use crate::frames::request;
use crate::registers::at_most;
use crate::site::{PHONE6, PHONES, Site, wait_until};

const FLOOD: u64 = 3_000;
const SOURCE: (u64, u64) = (20, 10);
const PREFIX: (u64, u64) = (60, 20);

/// Floods with these sources; what gets through is within `limit`, and all that does not falls to `reason`.
#[track_caller]
fn bounded(site: &Site, name: &str, source: impl Fn(u64) -> IpAddr, limit: (u64, u64), reason: Reason) {
    let frame = |n: u64| site.frame(source(n), &request("REGISTER", source(n), &format!("{name}{n}")));
    let frames: Vec<Vec<u8>> = (0..FLOOD).map(frame).collect();
    let before = site.maps().reason(reason);
    let begin = Instant::now();
    site.send(&frames);
    let took = begin.elapsed();
    let through = FLOOD - (site.maps().reason(reason) - before);
    let bound = at_most(limit, took);
    eprintln!("{name}: {through} of {FLOOD} got through in {took:?} (at most {bound})");
    assert!((limit.0..=bound).contains(&through), "{name}: {through} got through, {bound} may in {took:?}");
    wait_until("what survived has arrived", || site.seen_calls(name) == through);
}

#[test]
fn new_addresses_of_one_prefix_share_its_budget_and_leave_others_theirs() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site =
        Site::start("[rates.unknown]\nregister = \"10/s burst 20\"\n[rates.prefix]\nregister = \"20/s burst 60\"\n");
    // 250 addresses, twelve packets each: none of them exceeds what one source may.
    let in_24 = |n: u64| Ipv4Addr::new(100, 64, 7, (n % 250) as u8 + 1).into();
    bounded(&site, "slash24", in_24, PREFIX, Reason::RatePrefix);
    // Whoever has an address of a /64 has them all: one source.
    let in_64 = |n: u64| Ipv6Addr::from(0x2001_0db8_0bad_0007_0000_0000_0000_0000 | u128::from(n + 1) << 20).into();
    bounded(&site, "slash64-", in_64, SOURCE, Reason::RateRegister);
    let in_48 = |n: u64| Ipv6Addr::from(0x2001_0db8_0666_0000_0000_0000_0000_0001 | u128::from(n) << 64).into();
    bounded(&site, "slash48-", in_48, PREFIX, Reason::RatePrefix);
    // Strangers of other prefixes.
    site.phone("a", PHONES[0]).registers();
    site.phone("b", PHONE6).registers();
    wait_until("both are verified", || site.verified() == 2);
    site.balances();
}
