//! Who looks for SIP servers finds none; who may ask is answered.

use std::net::IpAddr;
use std::time::Duration;

use vos_bench::process::output;

use crate::site::{self, CALLER, CALLER6, Site, request, server_of};

/// What svmap prints about the server's address.
fn svmap(site: &Site) -> String {
    let mut svmap = site.caller.command("svmap");
    // It keeps its sessions at home.
    svmap.args(["-p5060", "192.0.2.1"]).env("HOME", site.path(""));
    let text = output(&mut svmap).unwrap();
    text.lines().filter(|line| line.contains("192.0.2.1:5060")).collect()
}

#[test]
fn svmap_finds_nothing_unless_its_address_is_allowed() {
    if !vos_bench::ready(&["kamailio", "svmap"]) {
        return;
    }
    let site = Site::builder().start();
    let before = site.stats();
    assert_eq!(svmap(&site), "", "svmap has found the server");
    assert!(site.stats().reason("stealth") > before.reason("stealth"), "svmap has sent nothing");
    site.afterwards("svmap");
    assert!(site.seen().iter().all(|seen| seen.method != "OPTIONS"), "{:?}", site.seen());
    // The control: allowed, it finds it.
    site.told(&["allow", &CALLER.to_string()]);
    assert_ne!(svmap(&site), "", "svmap does not find what it may find");
}

#[test]
fn options_in_disguise_find_nothing_either() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    let prefixes = ["", "\r\n", "\r\n\r\n"];
    let methods = ["OPTIONS", "options", "oPtIoNs"];
    for from in [IpAddr::V4(CALLER), IpAddr::V6(CALLER6)] {
        let phone = site.phone(from);
        let datagrams = |tag: &str| -> Vec<Vec<u8>> {
            let one = |method: &&str, prefix: &&str| {
                let call = format!("{tag}-{method}-{}-{}", prefix.len(), from.is_ipv6());
                format!("{prefix}{}", request(method, phone.local_addr().unwrap(), &call)).into_bytes()
            };
            methods.iter().flat_map(|method| prefixes.iter().map(move |prefix| one(method, prefix))).collect()
        };
        let before = site.stats();
        let hidden = datagrams("hidden");
        for datagram in &hidden {
            phone.send_to(datagram, server_of(&phone)).unwrap();
        }
        site.counted(&before, "stealth", hidden.len() as u64);
        site.afterwards("hidden");
        assert_eq!(site.seen_calls("hidden"), 0);
        phone.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!(phone.recv(&mut [0; 2048]).is_err(), "an answer came");
        // The control: allowed, each of them is answered by Kamailio.
        phone.set_read_timeout(Some(site::PATIENCE)).unwrap();
        site.told(&["allow", &from.to_string()]);
        for datagram in datagrams("open") {
            site.exchange(&phone, &datagram);
        }
        site.told(&["unallow", &from.to_string()]);
        let before = site.stats();
        phone.send_to(&datagrams("shut")[0], server_of(&phone)).unwrap();
        site.counted(&before, "stealth", 1);
    }
    assert_eq!(site.seen_calls("shut"), 0);
}
