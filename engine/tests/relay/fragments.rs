//! A datagram in fragments is one datagram to whoever takes it.

use std::net::IpAddr;

use crate::consumer::{CALLERS, Place, consumed, none_finds_it, of_workers, registers};
use crate::site::{CALLER, PATIENCE, Site, request_of, wait_until};

/// Bytes of a request that fits two fragments of either family.
const SIZE: usize = 2_880;
/// Bytes of the first above IP.
const FIRST: usize = 1_448;

fn request(from: IpAddr, call: &str) -> String {
    request_of(SIZE, "INVITE", (from, 5061).into(), call)
}

/// A request as its sender's host would cut it.
fn pieces(site: &Site, from: IpAddr, call: &str, id: u32) -> [Vec<u8>; 2] {
    site.fragments(from, request(from, call).as_bytes(), FIRST, id)
}

#[test]
fn a_request_in_two_fragments_arrives_as_one_in_whichever_order() {
    let Some((_place, site, consumer)) = consumed() else { return };
    for (number, (from, server)) in (0..).zip(CALLERS) {
        for reversed in [false, true] {
            let call = format!("cut-{number}-{reversed}");
            let mut frames = pieces(&site, from, &call, 40 + number * 2 + u32::from(reversed));
            if reversed {
                frames.reverse();
            }
            site.send(&frames);
            let got = consumer.next();
            assert_eq!((got.source, got.destination), ((from, 5061).into(), (server, 5060).into()));
            assert!(got.payload == request(from, &call).as_bytes(), "{}", String::from_utf8_lossy(&got.payload));
        }
    }
    wait_until("the other fragments are counted", PATIENCE, || of_workers(&site, "taken", "in_fragments") == 4);
}

#[test]
fn a_phones_own_kernel_cuts_and_the_consumer_gets_it_whole() {
    let Some((_place, site, consumer)) = consumed() else { return };
    // An odd length, and three pieces.
    for (from, server) in CALLERS {
        let phone = site.phone(from);
        let request = request_of(3_001, "INVITE", phone.local_addr().unwrap(), "by-the-kernel");
        phone.send_to(request.as_bytes(), (server, 5060)).unwrap();
        let got = consumer.next();
        assert_eq!(got.source, phone.local_addr().unwrap());
        assert!(got.payload == request.as_bytes(), "{}", String::from_utf8_lossy(&got.payload));
    }
}

#[test]
fn a_wrong_checksum_of_the_whole_is_refused() {
    let Some((_place, site, consumer)) = consumed() else { return };
    for (number, (from, _)) in (0..).zip(CALLERS) {
        let mut frames = pieces(&site, from, "spoilt", 60 + number);
        // IPv4: a checksum where none was; IPv6: another byte in the last piece.
        match from {
            IpAddr::V4(_) => frames[0][14 + 20 + 6] = 0x55,
            IpAddr::V6(_) => *frames[1].last_mut().unwrap() ^= 0x20,
        }
        site.send(&frames);
        wait_until("it is refused", PATIENCE, || of_workers(&site, "dropped", "udp_checksum") == u64::from(number) + 1);
    }
    // What comes next is not it.
    let phone = registers(&site, CALLER, "next");
    assert_eq!(consumer.next().source, phone.local_addr().unwrap());
}

#[test]
fn while_nobody_is_there_the_whole_reaches_the_softswitch_on_this_host() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let place = Place::datagrams();
    let site = place.site("local").start();
    none_finds_it(&site);
    for (from, server) in CALLERS {
        let phone = site.phone(from);
        let call = format!("home-{}", from.is_ipv6());
        let request = request_of(3_000, "INVITE", phone.local_addr().unwrap(), &call);
        phone.send_to(request.as_bytes(), (server, 5060)).unwrap();
        site.arrives(&call);
        let mut reply = [0; 4_096];
        let (_, answerer) = phone.recv_from(&mut reply).expect("an answer");
        assert_eq!(answerer, (server, 5060).into());
    }
}
