//! The PROXY protocol, version 2 (HAProxy's `proxy-protocol.txt`, §2.2), around UDP datagrams: who sends to whom, as the
//! wire has it.

use std::ops::Range;

use vos_common::rule::Addr;

use crate::transmit::End;

/// Longest header that is written: the fixed part, two IPv6 addresses, two ports.
pub const HEADER_MAX: usize = FIXED + V6;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes that every header has: signature, version and command, family and protocol, length of the rest.
const FIXED: usize = 16;
/// Version 2, command LOCAL: nobody's packet.
const LOCAL: u8 = 0x20;
/// Version 2, command PROXY.
const PROXY: u8 = 0x21;
/// `AF_INET`, `DGRAM`, and the bytes of its addresses and ports.
const UDP4: u8 = 0x12;
const V4: usize = 2 * 4 + 2 * 2;
/// `AF_INET6`, `DGRAM`, and the bytes of its addresses and ports.
const UDP6: u8 = 0x22;
const V6: usize = 2 * 16 + 2 * 2;

/// Writes the header of a datagram from `source` to `destination`; its length.
pub fn write(header: &mut [u8; HEADER_MAX], source: &End, destination: &End) -> usize {
    let v4 = source.addr.is_v4() && destination.addr.is_v4();
    let (family, addresses, skip) = if v4 { (UDP4, V4, 12) } else { (UDP6, V6, 0) };
    header[..12].copy_from_slice(&SIGNATURE);
    header[12] = PROXY;
    header[13] = family;
    header[14..FIXED].copy_from_slice(&(addresses as u16).to_be_bytes());
    let mut at = FIXED;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    // An IPv4 address is the tail of the IPv6 address that it is mapped to.
    put(&source.addr.to_bytes()[skip..]);
    put(&destination.addr.to_bytes()[skip..]);
    put(&source.port.to_be_bytes());
    put(&destination.port.to_be_bytes());
    at
}

/// A datagram with a header in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Somebody's packet.
    Datagram {
        /// Who sends it on the wire, or is to get it as an answer.
        source: End,
        /// This host's end.
        destination: End,
        /// Where what UDP carries stands.
        payload: Range<usize>,
    },
    /// The sender's own business.
    Local,
}

/// Reads a header and what follows. `None`: it is no header of version 2, or one of something else than UDP over IPv4 or
/// IPv6. Type-length-values are skipped.
pub fn read(message: &[u8]) -> Option<Message> {
    let (fixed, rest) = message.split_first_chunk::<FIXED>()?;
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let addresses = rest.get(..length).filter(|_| fixed[..12] == SIGNATURE)?;
    let (source, destination) = match (fixed[12], fixed[13]) {
        // Whatever its family says is to be ignored.
        (LOCAL, _) => return Some(Message::Local),
        (PROXY, UDP4) => {
            let [a, b, c, d, e, f, g, h, ports @ ..] = *addresses.first_chunk::<V4>()?;
            ends(Addr::v4([a, b, c, d]), Addr::v4([e, f, g, h]), ports)
        }
        (PROXY, UDP6) => {
            let (source, rest) = addresses.split_first_chunk()?;
            let (destination, rest) = rest.split_first_chunk()?;
            ends(Addr::from_bytes(*source), Addr::from_bytes(*destination), *rest.first_chunk()?)
        }
        _ => return None,
    };
    // Mapped addresses make IPv4 of an IPv6 header; they must do so of both ends.
    let sound = source.addr.is_v4() == destination.addr.is_v4() && source.port != 0 && destination.port != 0;
    sound.then_some(Message::Datagram { source, destination, payload: FIXED + length..message.len() })
}

fn ends(source: Addr, destination: Addr, [a, b, c, d]: [u8; 4]) -> (End, End) {
    let (from, to) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    (End { addr: source, port: from }, End { addr: destination, port: to })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use ppp::v2::{Addresses, Builder, Command, Header, Protocol, Type, Version};
    use proptest::prelude::*;

    use super::*;

    fn end(of: SocketAddr) -> End {
        End { addr: crate::xdp::addr(of.ip()), port: of.port() }
    }

    /// The header as another implementation writes it.
    fn theirs(command: Command, protocol: Protocol, source: SocketAddr, destination: SocketAddr) -> Builder {
        Builder::with_addresses(Version::Two | command, protocol, (source, destination))
    }

    fn pairs() -> [(SocketAddr, SocketAddr); 3] {
        [
            ("203.0.113.7:5062", "192.0.2.1:5060"),
            ("255.255.255.255:65535", "0.0.0.1:1"),
            ("[2001:db8:bad:7::1]:49152", "[2001:db8::1]:5080"),
        ]
        .map(|(source, destination)| (source.parse().unwrap(), destination.parse().unwrap()))
    }

    #[test]
    fn what_is_written_is_what_another_implementation_writes_and_reads() {
        for (source, destination) in pairs() {
            let mut header = [0; HEADER_MAX];
            let length = write(&mut header, &end(source), &end(destination));
            let expected = theirs(Command::Proxy, Protocol::Datagram, source, destination).build().unwrap();
            assert_eq!(header[..length], expected, "{source} {destination}");
            let read = Header::try_from(&header[..length]).unwrap();
            assert_eq!((read.protocol, read.addresses), (Protocol::Datagram, Addresses::from((source, destination))));
        }
    }

    #[test]
    fn the_bytes_of_the_specification() {
        let mut header = [0; HEADER_MAX];
        let (source, destination) = pairs()[0];
        assert_eq!(write(&mut header, &end(source), &end(destination)), 28);
        let specified = [
            0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x12, 0, 12, 203, 0, 113, 7,
            192, 0, 2, 1, 0x13, 0xc6, 0x13, 0xc4,
        ];
        assert_eq!(header[..28], specified);
    }

    #[test]
    fn what_another_implementation_writes_is_read_with_whatever_it_adds() {
        for (source, destination) in pairs() {
            for values in [0, 1, 3] {
                let mut builder = theirs(Command::Proxy, Protocol::Datagram, source, destination);
                for _ in 0..values {
                    builder = builder.write_tlv(Type::UniqueId, &[7; 20]).unwrap();
                }
                let header = builder.build().unwrap();
                let message = [&header[..], b"OPTIONS"].concat();
                let expected = Message::Datagram {
                    source: end(source),
                    destination: end(destination),
                    payload: header.len()..header.len() + 7,
                };
                assert_eq!(read(&message), Some(expected));
                for cut in 0..header.len() {
                    assert_eq!(read(&message[..cut]), None, "{cut} bytes of {}", header.len());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_as_another_implementation_reads_it(
            fixed in (0x20..0x23u8, 0..0x34u8, 0..60u16), rest in proptest::collection::vec(any::<u8>(), 0..80)
        ) {
            let (command, family, length) = fixed;
            let message = [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), &rest].concat();
            let theirs = Header::try_from(&message[..]);
            match read(&message) {
                Some(Message::Datagram { source, destination, payload }) => {
                    let header = theirs.unwrap();
                    prop_assert_eq!((header.command, header.protocol), (Command::Proxy, Protocol::Datagram));
                    let (from, to): (SocketAddr, SocketAddr) = match header.addresses {
                        Addresses::IPv4(a) => {
                            ((a.source_address, a.source_port).into(), (a.destination_address, a.destination_port).into())
                        }
                        Addresses::IPv6(a) => {
                            ((a.source_address, a.source_port).into(), (a.destination_address, a.destination_port).into())
                        }
                        other => panic!("{other:?}"),
                    };
                    prop_assert_eq!((source, destination), (end(from), end(to)));
                    prop_assert_eq!(payload, header.len()..message.len());
                }
                Some(Message::Local) => prop_assert_eq!(command, LOCAL),
                // Theirs takes what is no UDP, port 0, and ends of two families where one is mapped.
                None => if let Ok(header) = theirs {
                    let sound = match header.addresses {
                        _ if header.protocol != Protocol::Datagram => false,
                        Addresses::IPv4(a) => a.source_port > 0 && a.destination_port > 0,
                        Addresses::IPv6(a) => {
                            let [from, to] = [a.source_address, a.destination_address].map(|ip| ip.to_ipv4_mapped());
                            a.source_port > 0 && a.destination_port > 0 && from.is_some() == to.is_some()
                        }
                        _ => false,
                    };
                    prop_assert!(!sound, "{:?}", header);
                }
            }
        }
    }

    #[test]
    fn what_is_not_udp_or_not_a_header_is_refused() {
        let [(source, destination), _, (source6, _)] = pairs();
        let tcp = theirs(Command::Proxy, Protocol::Stream, source, destination).build().unwrap();
        assert_eq!(read(&tcp), None);
        let local = theirs(Command::Local, Protocol::Stream, source, destination).build().unwrap();
        assert_eq!(read(&local), Some(Message::Local));
        assert_eq!(read(b"OPTIONS sip:e.com SIP/2.0\r\n\r\n"), None);
        assert_eq!(read(b"PROXY UDP4 203.0.113.7 192.0.2.1 5062 5060\r\n"), None);
        let right = theirs(Command::Proxy, Protocol::Datagram, source, destination).build().unwrap();
        let spoilt = |at: usize, byte: u8| {
            let mut header = right.clone();
            header[at] = byte;
            read(&header)
        };
        assert!(spoilt(0, 0x0d).is_some());
        // signature; version; command; family; protocol; a length that is less than the addresses, or more than there is
        for (at, byte) in [(5, 0x0b), (12, 0x11), (12, 0x22), (13, 0x02), (13, 0x32), (13, 0x10), (15, 11), (15, 13)] {
            assert_eq!(spoilt(at, byte), None, "{byte:#x} at {at}");
        }
        let nowhere = theirs(Command::Proxy, Protocol::Datagram, source, "192.0.2.1:0".parse().unwrap());
        assert_eq!(read(&nowhere.build().unwrap()), None);
        let mixed = theirs(Command::Proxy, Protocol::Datagram, source6, "[::ffff:192.0.2.1]:5060".parse().unwrap());
        assert_eq!(read(&mixed.build().unwrap()), None);
    }
}
