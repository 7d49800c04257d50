use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vos_common::reason::Reason;

use crate::frames::request;
use crate::site::{Site, wait_until};

/// Senders, one after the other; each of its own /24 or /48.
fn sender(n: u32, v6: bool) -> IpAddr {
    match v6 {
        true => Ipv6Addr::from(0x2001_0db8_1000_0000_0000_0000_0000_0001 + (u128::from(n) << 80)).into(),
        false => Ipv4Addr::from(0x6440_0001 + (n << 8)).into(),
    }
}

/// A request with a header line in the middle and a body: behind any cut as much as a frame holds, at most.
fn long(method: &str, from: IpAddr, call: &str, line: &str) -> String {
    let filling: String = (0..8).map(|n| format!("X-Fill-{n}: {}\r\n", "f".repeat(60))).collect();
    let body = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=call\r\nt=0 0\r\n{}", "a=fmtp:0 x\r\n".repeat(25));
    let text = request(method, from, call).replacen("Contact", &format!("{filling}{line}Contact"), 1);
    text.replacen("Content-Length: 0", &format!("Content-Type: application/sdp\r\nContent-Length: {}", body.len()), 1)
        + &body
}

/// Every way to send a datagram in two or three fragments: in order, reversed, each of them twice, all of them twice.
/// `first` is where the first of them ends.
fn ways(site: &Site, from: IpAddr, payload: &str, first: usize, id: u32) -> Vec<Vec<Vec<u8>>> {
    let cuts: [&[usize]; 2] = [&[first], &[first, first + 400]];
    let mut ways = Vec::new();
    for (n, cuts) in (0..).zip(cuts) {
        let pieces = |way: u32| site.fragments(from, payload, cuts, id + 10 * n + way);
        ways.push(pieces(0));
        ways.push(pieces(1).into_iter().rev().collect());
        ways.push(pieces(2).into_iter().flat_map(|piece| [piece.clone(), piece]).collect());
        ways.push([pieces(3), pieces(3)].concat());
    }
    ways
}

/// Ways that [`ways`] gives.
const WAYS: u32 = 8;
/// First fragments among them: two of four ways send each twice.
const FIRSTS: u64 = 12;

/// A site of its own for each family: what XDP drops the heads of stays in the engine's view for five seconds, and that
/// holds 32 datagrams without a head ([`vos_engine::reassembly::HEADLESS`]).
fn judged_in_pieces(v6: bool) {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let (site, mut senders) = (Site::start(""), 0);
    let mut send = |name: &str, method: &str, line: &str, first: usize| {
        for way in 0..WAYS {
            senders += 1;
            let from = sender(senders, v6);
            let payload = long(method, from, &format!("{name}{way}-"), line);
            site.send(&ways(&site, from, &payload, first, 100)[way as usize]);
        }
    };
    // Behind the start line: XDP knows what it is from the first of them.
    send("options", "OPTIONS", "", 64);
    assert_eq!(site.maps().reason(Reason::Stealth), FIRSTS, "first fragments of OPTIONS");
    // In front of the name: only the whole gives it away.
    send("scanner", "INVITE", "User-Agent: friendly-scanner\r\n", 400);
    wait_until("the worker finds the scanners", || site.dropped_by_workers("scanner") >= u64::from(WAYS));
    // Within the start line: that alone is refused. Where it is not, the whole is looked at.
    send("headless", "OPTIONS", "", 16);
    assert_eq!(site.maps().reason(Reason::FragmentHead), FIRSTS);
    site.tell(&["rule", "fragment_head", "off"]);
    send("unseen", "OPTIONS", "", 16);
    wait_until("the worker finds OPTIONS", || site.dropped_by_workers("stealth") >= u64::from(WAYS));
    site.tell(&["rule", "fragment_head", "enforce"]);
    send("good", "INVITE", "User-Agent: A decent phone\r\n", 400);
    for way in 0..WAYS {
        wait_until(&format!("good{way} arrives"), || site.seen_calls(&format!("good{way}-")) > 0);
    }
    site.balances();
    let arrived: Vec<String> = site.seen().into_iter().map(|seen| seen.call).collect();
    assert!(arrived.iter().all(|call| call.starts_with("good")), "{arrived:?}");
    assert_eq!(arrived.len() as u32, WAYS, "each arrives once: {arrived:?}");
}

#[test]
fn what_is_cut_into_pieces_over_ipv4_meets_the_same_rules_as_what_is_whole() {
    judged_in_pieces(false);
}

#[test]
fn what_is_cut_into_pieces_over_ipv6_meets_the_same_rules_as_what_is_whole() {
    judged_in_pieces(true);
}

#[test]
fn a_flood_of_fragments_does_not_hide_anything_among_them() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("[rules]\nfragment_head = \"off\"\n");
    // Heads of datagrams that never end, from as many sources.
    let head = |n: u32| {
        let from = sender(n, false);
        site.fragments(from, &long("INVITE", from, &format!("endless{n}"), ""), &[400], 1).swap_remove(0)
    };
    site.send(&(0..500).map(head).collect::<Vec<_>>());
    wait_until("there is no more room", || site.dropped_by_workers("fragment_overflow") > 0);
    // Whatever is not followed is not let through in part, either.
    for n in 1_000..1_040 {
        let from = sender(n, false);
        let scanner = long("INVITE", from, &format!("bad-scanner{n}"), "User-Agent: friendly-scanner\r\n");
        let options = long("OPTIONS", from, &format!("bad-options{n}"), "");
        let (scanner, options) = (site.fragments(from, &scanner, &[400], 2), site.fragments(from, &options, &[16], 3));
        site.send(&scanner);
        site.send(&options.into_iter().rev().collect::<Vec<_>>());
    }
    // Who is known needs no room.
    let known = sender(3_000, false);
    site.tell(&["allow", &known.to_string()]);
    site.send(&site.fragments(known, &long("INVITE", known, "known", ""), &[400, 800], 4));
    site.arrives("known");
    site.balances();
    // What is whole passes as ever, by every queue.
    for n in 2_000..2_020 {
        let from = sender(n, false);
        site.send(&[site.frame(from, &request("INVITE", from, &format!("whole{n}")))]);
    }
    wait_until("what is whole arrives", || site.seen_calls("whole") == 20);
    assert_eq!(site.seen_calls("bad"), 0, "{:?}", site.seen());
    assert_eq!(site.seen_calls("endless"), 0);
}
