use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use vos_common::reason::Reason;

use crate::frames::request;
use crate::phone::Phone;
use crate::site::{PHONES, Site, wait_until};

/// A burst and a rate a second of all unknown sources together in attack mode.
const GLOBAL: (u64, u64) = (100, 50);
/// Packets of a flood; it is sent again until the phones have done what they want to do.
const FLOOD: u64 = 20_000;
/// How often, at most: where calls fail, the flood ends all the same.
const TIMES: u64 = 200;
/// Rounds of registrations and calls during a flood.
const ROUNDS: u32 = 5;

const LIMITS: &str = "[rates]\nglobal = \"50/s burst 100\"\n\
                      [rates.unknown]\nregister = \"5/s burst 10\"\n\
                      [rates.prefix]\nregister = \"100/s burst 300\"\n";

/// What a limit lets pass in this time, at most: two ticks of 10 ms are what the kernel's clock may be coarse by.
pub(crate) fn at_most((burst, rate): (u64, u64), took: Duration) -> u64 {
    burst + ((took + Duration::from_millis(20)).as_secs_f64() * rate as f64).ceil() as u64 + 1
}

/// Packets dropped by limits, and which limits those were.
fn limited(site: &Site) -> [u64; 6] {
    let maps = site.maps();
    [
        Reason::RateRegister,
        Reason::RatePrefix,
        Reason::RateGlobal,
        Reason::RateSource,
        Reason::RateInvite,
        Reason::RateOptions,
    ]
    .map(|reason| maps.reason(reason))
}

/// Two phones, registered and verified.
fn pair(site: &Site) -> [Phone; 2] {
    let mut phones = [site.phone("a", PHONES[0]), site.phone("b", PHONES[1])];
    phones.iter_mut().for_each(Phone::registers);
    wait_until("both are verified", || site.verified() == 2);
    phones
}

/// Floods from `sources` in attack mode while two verified phones register and call. Gives what the limits dropped.
fn flooded(sources: impl Fn(u64) -> Ipv4Addr) -> [u64; 6] {
    let site = Site::start(LIMITS);
    let [mut a, mut b] = pair(&site);
    site.tell(&["attack", "on"]);
    let frames: Vec<Vec<u8>> = (0..FLOOD)
        .map(|n| {
            let from = sources(n);
            site.frame(from, &request("REGISTER", from.into(), &format!("flood{n}")))
        })
        .collect();
    let (begin, called) = (Instant::now(), AtomicBool::new(false));
    let sent = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut times = 0;
            while times == 0 || !called.load(Relaxed) && times < TIMES {
                site.send(&frames);
                times += 1;
            }
            times * FLOOD
        });
        for _ in 0..ROUNDS {
            // Each panics if a request is not answered, however often it is sent.
            a.registers();
            b.registers();
            a.calls(&mut b);
            b.calls(&mut a);
        }
        called.store(true, Relaxed);
        flood.join().unwrap()
    });
    let took = begin.elapsed();
    // and afterwards
    a.registers();
    a.calls(&mut b);
    site.balances();
    let limited = limited(&site);
    let dropped: u64 = limited.iter().sum();
    let survivors = sent - dropped;
    let bound = at_most(GLOBAL, took);
    eprintln!("{ROUNDS} rounds of calls in {took:?}; {survivors} of {sent} got through (at most {bound}); {limited:?}");
    assert!(survivors <= bound, "{survivors} got through, {bound} may in {took:?}");
    assert!(survivors >= GLOBAL.0, "not even the burst got through: {survivors}");
    wait_until("what survived has arrived", || site.seen_calls("flood") == survivors);
    assert_eq!(site.verified(), 2, "only the phones");
    limited
}

#[test]
fn a_flood_of_registers_from_200_sources_costs_verified_phones_nothing() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    // 50 in each of four /24s.
    let [register, prefix, global, others @ ..] =
        flooded(|n| Ipv4Addr::new(100, 64, (n / 50 % 4) as u8, (n % 50) as u8 + 1));
    assert!(register > 0 && prefix > 0 && global > 0, "{register} {prefix} {global}");
    assert_eq!(others, [0; 3]);
}

#[test]
fn a_flood_of_registers_from_random_sources_costs_verified_phones_nothing() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    // Between 20.0.0.0 and 119.255.255.255, all different.
    let [_, _, global, others @ ..] = flooded(|n| {
        let [_, b, c, d] = (n as u32).wrapping_mul(0x9e37_79b1).to_be_bytes();
        Ipv4Addr::new(20 + (n % 100) as u8, b, c, d)
    });
    assert!(global > FLOOD * 9 / 10, "{global}");
    assert_eq!(others, [0; 3]);
}

#[test]
fn ten_thousand_forgeries_in_a_phones_name_do_not_keep_it_from_calling() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("");
    let [mut a, mut b] = pair(&site);
    let until = site.maps().verified_until(PHONES[0]);
    let frames: Vec<Vec<u8>> = (0..10_000)
        .flat_map(|n| ["REGISTER", "OPTIONS"].map(|method| (n, method)))
        .map(|(n, method)| site.frame(PHONES[0], &request(method, IpAddr::V4(PHONES[0]), &format!("forged{n}"))))
        .collect();
    for part in frames.chunks(frames.len() / ROUNDS as usize) {
        std::thread::scope(|scope| {
            scope.spawn(|| site.send(part));
            a.calls(&mut b);
            b.calls(&mut a);
        });
    }
    a.calls(&mut b);
    b.calls(&mut a);
    eprintln!("limits dropped {:?}", limited(&site));
    assert_eq!(site.json(&["list"]), json!({ "rules": [] }), "somebody is blocked");
    assert_eq!(site.maps().reason(Reason::Blocked), 0);
    assert!(site.maps().verified_until(PHONES[0]) >= until, "it is verified no more");
    assert_eq!(site.verified(), 2);
    site.balances();
    // Its registration is as it was, once its own limit has room again.
    a.registers();
}
