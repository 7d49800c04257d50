//! Is it ours? Ethernet, VLAN, IP, ports, addresses.

use std::format;
use std::vec::Vec;

use super::{BEHIND_V4, CALLER_V4, MAC, OWN_V4, OWN_V6, Packet, SURVIVES, Table, caller, caller6, dropped, passed};
use super::{request, v6};
use crate::reason::Reason;

pub(super) fn add(t: &mut Table) {
    destinations(t);
    protocols(t);
    tags_and_headers(t);
    martians(t);
    frames(t);
}

fn destinations(t: &mut Table) {
    let (invite, options) = (request("INVITE"), request("OPTIONS"));
    let not_ours = passed(Reason::NotOurs);
    t.add("INVITE over IPv4", "what all of this is for", &caller().sip(&invite), SURVIVES);
    t.add("INVITE over IPv6", "RFC 3261 §18: both families", &caller6().sip(&invite), SURVIVES);
    t.add("the other SIP port", "xdp.sip_ports is a list", &caller().udp(5080, &invite), SURVIVES);
    t.add(
        "OPTIONS to the other SIP port",
        "judged as on the first",
        &caller().udp(5080, &options),
        dropped(Reason::Stealth),
    );
    for port in [5059, 5061, 4000, 53, 0, 65_535, 5060u16.swap_bytes()] {
        let why = "only SIP ports are judged: DNS and RTP are nobody's business";
        t.add(&format!("OPTIONS to port {port}"), why, &caller().udp(port, &options), not_ours);
        t.add(&format!("OPTIONS to port {port} over IPv6"), why, &caller6().udp(port, &options), not_ours);
    }
    let elsewhere = "only protected destinations are judged";
    t.add("to somebody else", elsewhere, &caller().to(&[192, 0, 2, 77]).sip(&options), not_ours);
    let other = v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2]);
    t.add("to somebody else over IPv6", elsewhere, &caller6().to(&other).sip(&options), not_ours);
    t.add("to the network's broadcast address", elsewhere, &caller().to(&[192, 0, 2, 255]).sip(&options), not_ours);
    let behind = caller().to(&BEHIND_V4);
    let why = "DESIGN §2.8: only packets to this host's own addresses are redirected";
    t.add("INVITE to a protected host behind", why, &behind.clone().sip(&invite), passed(Reason::Kernel));
    let why = "xdp.protect: filtered as this host is";
    t.add("OPTIONS to a protected host behind", why, &behind.sip(&options), dropped(Reason::Stealth));
    let why = "the kernel does not take what is for another host: PACKET_OTHERHOST";
    t.add("another MAC address", why, &caller().mac([2, 0, 0, 0, 0, 9]).sip(&options), not_ours);
    let broadcast = caller().mac([0xff; 6]);
    let why = "Linux delivers a unicast packet in a broadcast frame to the socket: a way past a filter that does not";
    t.add("OPTIONS in a broadcast frame", why, &broadcast.clone().sip(&options), dropped(Reason::Stealth));
    t.add(
        "OPTIONS in a multicast frame",
        why,
        &caller().mac([1, 0, 0x5e, 0, 0, 1]).sip(&options),
        dropped(Reason::Stealth),
    );
    let why = "re-entry is for frames to our own MAC address";
    t.add("INVITE in a broadcast frame", why, &broadcast.sip(&invite), passed(Reason::Kernel));
}

fn protocols(t: &mut Table) {
    let not_ours = passed(Reason::NotOurs);
    let why = "the protocol is checked before ports are read";
    t.add("ping", why, &caller().raw(1, &[8, 0, 0, 0, 0, 0, 0x13, 0xc4]), not_ours);
    t.add("ping over IPv6", why, &caller6().raw(58, &[128, 0, 0, 0, 0, 0, 0x13, 0xc4]), not_ours);
    t.add("GRE", why, &caller().raw(47, &[0, 0, 0x13, 0xc4, 0, 0, 0, 0]), not_ours);
    t.add("UDP-Lite to 5060", "RFC 3828 has its own sockets", &caller().sip(&request("OPTIONS")).proto(136), not_ours);
    t.add("no next header", "RFC 8200 §4.7", &caller6().raw(59, &[0x13, 0xc4, 0x13, 0xc4, 0, 0, 0, 0]), not_ours);
    t.add("TCP to 5060", "TCP gets the source rules only", &caller().tcp(5060, 2, b""), passed(Reason::OtherL4));
    t.add(
        "TCP to 5060 over IPv6",
        "TCP gets the source rules only",
        &caller6().tcp(5060, 2, b""),
        passed(Reason::OtherL4),
    );
    t.add("TCP to 80", "not a SIP port", &caller().tcp(80, 2, b""), not_ours);
    let options = request("OPTIONS");
    let why = "no datagram: the kernel puts the stream together";
    t.add("OPTIONS over TCP", why, &caller().tcp(5060, 0x18, &options), passed(Reason::OtherL4));
    t.add("SCTP to 5060", "RFC 4168: SIP runs over SCTP", &caller().sctp(5060), passed(Reason::OtherL4));
    t.add("SCTP to 5061", "not a SIP port here", &caller().sctp(5061), not_ours);
}

fn tags_and_headers(t: &mut Table) {
    let invite = request("INVITE");
    t.add("one VLAN tag", "IEEE 802.1Q", &caller().vlan(0x8100, 0x2064).sip(&invite), SURVIVES);
    t.add("a priority tag", "IEEE 802.1Q: VLAN 0", &caller().vlan(0x8100, 0xe000).sip(&invite), SURVIVES);
    let twice = caller().vlan(0x88a8, 5).vlan(0x8100, 6);
    t.add("two VLAN tags", "IEEE 802.1ad", &twice.clone().sip(&invite), SURVIVES);
    let why = "up to two are read; the kernel has no device for three";
    t.add("three VLAN tags", why, &twice.vlan(0x8100, 7).sip(&invite), passed(Reason::NotOurs));
    let alert = caller().options(&[0x94, 4, 0, 0]);
    t.add("an IPv4 option", "RFC 2113: IHL over 5", &alert.sip(&invite), SURVIVES);
    t.add("40 bytes of IPv4 options", "RFC 791 §3.1: IHL 15", &caller().options(&[1; 40]).sip(&invite), SURVIVES);
    let mut chain = caller6();
    for n in 1..=8 {
        chain = chain.extension(60, &[0, 1, 4, 0, 0, 0, 0]);
        let expect = if n <= 6 { SURVIVES } else { dropped(Reason::TooDeep) };
        let why = "RFC 8504 §5.3: a host may limit the number of headers; nobody hides behind more";
        t.add(&format!("{n} IPv6 extension headers"), why, &chain.clone().sip(&invite), expect);
    }
    let why = "an attempt to hide OPTIONS behind headers";
    t.add("OPTIONS behind 7 extension headers", why, &chain.sip(&request("OPTIONS")), dropped(Reason::TooDeep));
    let long = [&[120u8][..], &[0; 120 * 8 + 6]].concat();
    let far = caller6().extension(60, &long);
    let why = "RFC 8504 §5.3: a host may limit their length";
    t.add("an extension header of 968 bytes", why, &far.sip(&request("OPTIONS")), dropped(Reason::TooDeep));
    let hop = caller6().extension(0, &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    t.add("hop-by-hop header of 16 bytes", "RFC 8200 §4.3", &hop.sip(&invite), SURVIVES);
    let routing = caller6().extension(43, &[0, 4, 0, 0, 0, 0, 0]);
    t.add("a routing header at its end", "RFC 8200 §4.4", &routing.sip(&invite), SURVIVES);
    // 4 + 2 words of 4 bytes
    let authentication: Vec<u8> = [&[4u8, 0, 0, 0, 0, 1, 0][..], &[0; 16]].concat();
    let ah = caller6().extension(51, &authentication);
    t.add("authentication header", "RFC 4302 §2.2: counts in words of four", &ah.clone().sip(&invite), SURVIVES);
    t.add(
        "OPTIONS behind an authentication header",
        "RFC 4302 §2.2",
        &ah.sip(&request("OPTIONS")),
        dropped(Reason::Stealth),
    );
}

fn martians(t: &mut Table) {
    let options = request("OPTIONS");
    let refused = "the kernel refuses it (ip_route_input_slow)";
    for (name, src) in [
        ("source 127.0.0.1", [127, 0, 0, 1]),
        ("source 0.0.0.0", [0, 0, 0, 0]),
        ("multicast source", [224, 0, 0, 1]),
        ("the last multicast source", [239, 255, 255, 255]),
        ("broadcast source", [255, 255, 255, 255]),
        ("own IPv4 source", OWN_V4),
    ] {
        t.add(name, refused, &Packet::v4(src).sip(&options), passed(Reason::Martian));
    }
    for (name, src) in [
        ("source ::1", v6([0, 0, 0, 0, 0, 0, 0, 1])),
        ("multicast IPv6 source", v6([0xff02, 0, 0, 0, 0, 0, 0, 1])),
        ("link-local source", v6([0xfe80, 0, 0, 0, 0, 0, 0, 5])),
        ("the last link-local source", v6([0xfebf, 0, 0, 0, 0, 0, 0, 5])),
    ] {
        t.add(
            name,
            "the kernel refuses or handles it (ip6_rcv_core)",
            &Packet::v6(src).sip(&options),
            passed(Reason::Martian),
        );
    }
    let taken = "the kernel takes it, so it is judged";
    for src in [[240, 1, 2, 3], [126, 255, 255, 255], [128, 0, 0, 1], [223, 255, 255, 255], [10, 1, 2, 3], [1, 0, 0, 0]]
    {
        let [a, b, c, d] = src;
        t.add(
            &format!("OPTIONS from {a}.{b}.{c}.{d}"),
            taken,
            &Packet::v4(src).sip(&options),
            dropped(Reason::Stealth),
        );
    }
    t.add("INVITE from 240.1.2.3", taken, &Packet::v4([240, 1, 2, 3]).sip(&request("INVITE")), SURVIVES);
    for (name, src) in [
        ("OPTIONS from ::2", v6([0, 0, 0, 0, 0, 0, 0, 2])),
        ("OPTIONS from ::", [0; 16]),
        ("OPTIONS from a unique local address", v6([0xfd00, 0, 0, 0, 0, 0, 0, 2])),
        ("OPTIONS from fec0::", v6([0xfec0, 0, 0, 0, 0, 0, 0, 1])),
    ] {
        t.add(name, taken, &Packet::v6(src).sip(&options), dropped(Reason::Stealth));
    }
    let own = "an IPv6 packet in our own name is delivered by Linux: its answer would come to ourselves";
    t.add("own IPv6 source", own, &Packet::v6(OWN_V6).sip(&request("INVITE")), dropped(Reason::OwnSource));
    t.add(
        "own IPv6 source, a response",
        own,
        &Packet::v6(OWN_V6).sip(b"SIP/2.0 200 OK\r\n\r\n"),
        dropped(Reason::OwnSource),
    );
    let mapped = v6([0, 0, 0, 0, 0, 0xffff, 0xc633, 0x6407]);
    let why = "RFC 4942 §2.2: refused by the kernel; taken for IPv4 it would borrow an allowed address";
    t.add("mapped IPv4 in IPv6", why, &Packet::v6(mapped).sip(&options), passed(Reason::NotOurs));
    let to = v6([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0201]);
    t.add(
        "to a mapped IPv4 address in IPv6",
        "RFC 4942 §2.2",
        &caller6().to(&to).sip(&options),
        passed(Reason::NotOurs),
    );
}

fn frames(t: &mut Table) {
    let not_ours = passed(Reason::NotOurs);
    let ethernet = |kind: [u8; 2], rest: &[u8]| [&MAC[..], &[2, 0, 0, 0, 0, 2], &kind, rest].concat();
    let ip = caller().sip(&request("OPTIONS")).build().split_off(14);
    let with = |at: usize, byte: u8| {
        let mut ip = ip.clone();
        ip[at] = byte;
        ip
    };
    for (name, why, frame) in [
        ("ARP", "no IP", ethernet([8, 6], &[0; 46])),
        ("IPv4 in the frame of another protocol", "no IP", ethernet([8, 0x47], &ip)),
        ("a frame of 14 bytes", "nothing to read", ethernet([8, 0], &[])),
        ("a VLAN tag and nothing", "nothing to read", ethernet([0x81, 0], &[0, 7])),
        ("an IPv4 header cut short", "the kernel drops it", ethernet([8, 0], &ip[..19])),
        ("IPv4 of version 5", "RFC 791 §3.1; the kernel drops it", ethernet([8, 0], &with(0, 0x55))),
        ("IPv4 with IHL 4", "RFC 791 §3.1; the kernel drops it", ethernet([8, 0], &with(0, 0x44))),
        ("IPv6 in an IPv4 frame", "the kernel drops it", ethernet([8, 0], &with(0, 0x60))),
        ("IPv4 in an IPv6 frame", "the kernel drops it", ethernet([0x86, 0xdd], &ip)),
        ("IPv4 that ends before its ports", "no ports to read", ethernet([8, 0], &ip[..22])),
    ] {
        t.add(name, why, &Packet::v4(CALLER_V4).frame(&frame), not_ours);
    }
}
