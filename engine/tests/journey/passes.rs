//! What is no SIP over UDP passes untouched, and what is unusual about SIP is no reason to drop it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::site::{CALLER, CALLER6, PATIENCE, SERVER4, SERVER6, Site, dumped, request, request_of, wait_until};

const FAMILIES: [(IpAddr, IpAddr); 2] = [(IpAddr::V4(CALLER), SERVER4), (IpAddr::V6(CALLER6), SERVER6)];

#[test]
fn tcp_to_the_sip_port_passes() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    for (from, server) in FAMILIES {
        let address = SocketAddr::new(server, 5060);
        let before = site.stats();
        let listener = site.server.enter(|| TcpListener::bind(address)).unwrap().unwrap();
        let echo = std::thread::spawn(move || -> std::io::Result<SocketAddr> {
            let (mut stream, peer) = listener.accept()?;
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes)?;
            stream.write_all(&bytes[..length])?;
            Ok(peer)
        });
        let connect = || TcpStream::connect_timeout(&address, PATIENCE);
        let mut stream = site.caller.enter(connect).unwrap().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = request("OPTIONS", stream.local_addr().unwrap(), "tcp");
        stream.write_all(sent.as_bytes()).unwrap();
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, sent.as_bytes());
        assert_eq!(echo.join().unwrap().unwrap(), stream.local_addr().unwrap());
        let after = site.stats();
        assert!(after.reason("other_l4") >= before.reason("other_l4") + 3, "SYN, ACK, data: {}", after.0);
        assert_eq!(after.reason("redirected"), before.reason("redirected"));
        // A blocked source gets no connection: the source rules hold for TCP, too.
        site.told(&["block", &from.to_string()]);
        let _listener = site.server.enter(|| TcpListener::bind(address)).map_or_else(|_| None, Result::ok);
        let connect = || TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300));
        let refused = site.caller.enter(connect).unwrap().unwrap_err();
        assert!(matches!(refused.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock), "{refused}");
        assert!(site.stats().reason("blocked") > before.reason("blocked"));
        site.told(&["unblock", &from.to_string()]);
    }
}

/// An echo request to the server; the reply must come.
fn pings(site: &Site, from: IpAddr, server: IpAddr) {
    // type, code, checksum, identifier, number, data; the kernel fills in ICMPv6's checksum
    let (domain, protocol, request, reply) = match from {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, *b"\x08\0\x77\xff\x40\0\x40\0", *b"\0\0\x7f\xff\x40\0\x40\0"),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, *b"\x80\0\0\0\x40\0\x40\0", *b"\x81\0\0\0\x40\0\x40\0"),
    };
    let socket = site.caller.enter(|| Socket::new(domain, Type::RAW, Some(protocol))).unwrap().unwrap();
    socket.bind(&SockAddr::from(SocketAddr::new(from, 0))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&request, &SockAddr::from(SocketAddr::new(server, 0))).unwrap();
    loop {
        let mut got = [0; 256];
        let length = (&socket).read(&mut got).expect("an echo reply");
        // IPv4 comes with its header
        let icmp = &got[if from.is_ipv4() { 20 } else { 0 }..length];
        if icmp.len() == reply.len() && icmp[0] == reply[0] && icmp[4..] == reply[4..] {
            return;
        }
    }
}

#[test]
fn sctp_icmp_and_other_ports_pass() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    let site = Site::builder().start();
    for (from, server) in FAMILIES {
        // SCTP: an INIT chunk's head; nobody listens, so what shows that it passed is tcpdump.
        let tcpdump = site.tcpdump(&format!("sctp and src host {from}"));
        let before = site.stats();
        let sctp = [&[0x30, 0x39, 0x13, 0xc4, 0, 0, 0, 0, 0, 0, 0, 0][..], &[1, 0, 0, 20], &[0; 16]].concat();
        site.send(&[site.frame(from).raw(132, &sctp).build()]);
        site.counted(&before, "other_l4", 1);
        wait_until("tcpdump sees SCTP", PATIENCE, || dumped(&tcpdump) == 1);

        pings(&site, from, server);

        // Neither OPTIONS nor what is no SIP is of interest on another port.
        let other = SocketAddr::new(server, 5070);
        let listener = site.server.enter(|| UdpSocket::bind(other)).unwrap().unwrap();
        listener.set_read_timeout(Some(PATIENCE)).unwrap();
        let phone = site.phone(from);
        for payload in
            [request("OPTIONS", phone.local_addr().unwrap(), "other").into_bytes(), b"no SIP at all".to_vec()]
        {
            phone.send_to(&payload, other).unwrap();
            let mut got = [0; 2048];
            let (length, source) = listener.recv_from(&mut got).expect("the datagram passes");
            assert_eq!((&got[..length], source), (&payload[..], phone.local_addr().unwrap()));
        }
        let after = site.stats();
        for reason in ["redirected", "kernel", "stealth", "malformed", "blocked"] {
            assert_eq!(after.reason(reason), before.reason(reason), "{reason}");
        }
    }
}

#[test]
fn a_long_request_uri_and_a_request_in_fragments_are_answered() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    let site = Site::builder().start();
    for (from, _) in FAMILIES {
        let phone = site.phone(from);
        let local = phone.local_addr().unwrap();
        let family = from.is_ipv6();

        let before = site.stats();
        let long = format!("sip:{}@e.com", "u".repeat(200 - "sip:@e.com".len()));
        let invite = request("INVITE", local, &format!("long-{family}")).replacen("sip:2@e.com", &long, 1);
        assert!(invite.starts_with(&format!("INVITE {long} SIP/2.0\r\n")) && long.len() == 200);
        assert_eq!(site.exchange(&phone, invite.as_bytes()), 200);
        site.counted(&before, "redirected", 1);

        let tcpdump = site.tcpdump(&format!("src host {from} and (ip[6:2] & 0x3fff != 0 or ip6[6] == 44)"));
        let call = format!("two-{family}");
        assert_eq!(site.exchange(&phone, request_of(2048, "INVITE", local, &call).as_bytes()), 200);
        let seen = site.seen().into_iter().find(|seen| seen.call == call).expect("in Kamailio's log");
        assert_eq!(seen.source, local);
        site.counted(&before, "redirected", 3);
        // The control: it did come in two pieces.
        wait_until("tcpdump sees two fragments", PATIENCE, || dumped(&tcpdump) == 2);
    }
}
