//! What the kernel would have kept out is kept out where packets go past it.

use std::net::Ipv4Addr;

use crate::consumer::{CALLERS, Consumer, Place, consumed, of_workers, registers};
use crate::site::{CALLER, CALLER6, PATIENCE, wait_until};

/// In the subnet of the server's second interface.
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 77);

#[test]
fn the_reverse_path_filter_keeps_its_say() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let second = "ip link add back0 type veth peer name back1 && ip addr add 10.99.0.1/24 dev back0 && \
                  ip link set back0 up && ip link set back1 up";
    let place = Place::datagrams();
    let site = place.site("drop").prepare(second).start();
    let consumer = Consumer::listen(&site, &place);
    let strict = |value: &str| {
        site.server.sysctl("net.ipv4.conf.all.rp_filter", value).unwrap();
        site.server.sysctl(&format!("net.ipv4.conf.{}.rp_filter", site.iface), value).unwrap();
    };
    strict("1");
    site.send(&[site.sip_frame(BEHIND, "REGISTER", "wrong-way").build()]);
    wait_until("it is refused", PATIENCE, || of_workers(&site, "dropped", "reverse_path") == 1);
    // The control: who is where he says; and with the filter off, the same packet arrives, once the kernel's last answer
    // is forgotten.
    site.send(&[site.sip_frame(CALLER, "REGISTER", "right-way").build()]);
    assert_eq!(consumer.next().source, (CALLER, 5061).into());
    strict("0");
    let mut refused = 1;
    wait_until("it arrives", PATIENCE, || {
        site.send(&[site.sip_frame(BEHIND, "REGISTER", "any-way").build()]);
        let mut now = of_workers(&site, "dropped", "reverse_path");
        let sent = || site.stats().workers("relayed").iter().sum::<u64>();
        wait_until("it is decided on", PATIENCE, || {
            now = of_workers(&site, "dropped", "reverse_path");
            now > refused || sent() >= 2
        });
        let arrived = now == refused;
        refused = now;
        arrived
    });
    assert_eq!(consumer.next().source, (BEHIND, 5061).into());
}

#[test]
fn wrong_checksums_are_refused_and_none_at_all_is_none() {
    let Some((_place, site, consumer)) = consumed() else { return };
    // IPv4 without a checksum is right (RFC 768).
    site.send(&[site.sip_frame(CALLER, "REGISTER", "none").build()]);
    assert_eq!(consumer.next().source, (CALLER, 5061).into());
    let mut wrong4 = site.sip_frame(CALLER, "REGISTER", "wrong-4").build();
    wrong4[14 + 20 + 6] = 0x55;
    let mut wrong6 = site.sip_frame(CALLER6, "REGISTER", "wrong-6").build();
    *wrong6.last_mut().unwrap() ^= 0x20;
    let mut header = site.sip_frame(CALLER, "REGISTER", "header").build();
    // The identification is in nobody's checksum but the header's.
    header[14 + 4] ^= 0x20;
    site.send(&[wrong4, wrong6, header]);
    wait_until("they are refused", PATIENCE, || {
        of_workers(&site, "dropped", "udp_checksum") == 2 && of_workers(&site, "dropped", "header_checksum") == 1
    });
    for (from, _) in CALLERS {
        let phone = registers(&site, from, "right");
        assert_eq!(consumer.next().source, phone.local_addr().unwrap());
    }
}
