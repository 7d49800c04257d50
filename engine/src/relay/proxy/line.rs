//! The PROXY protocol's line, version 1, as OpenSIPS 4.0 reads it over UDP: in front of each datagram.
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt> §2.1

use std::net::SocketAddr;

/// The longest line, bytes: two IPv6 addresses written out (§2.1; OpenSIPS takes no more).
const LINE_MAX: usize = 104;
/// The longest line of those that say `UNKNOWN` (§2.1).
const UNKNOWN_MAX: usize = 107;
const BEGIN: &[u8] = b"PROXY ";

/// A line, written without allocation.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    bytes: [u8; LINE_MAX],
    length: usize,
}

impl Line {
    /// Of a datagram `from` a caller `to` this host. The protocol has no word for UDP; everybody writes TCP. `UNKNOWN`
    /// if the two are of different families.
    pub fn new(from: &SocketAddr, to: &SocketAddr) -> Self {
        use std::io::Write as _;
        let mut line = Self { bytes: [0; LINE_MAX], length: 0 };
        let mut room = &mut line.bytes[..];
        let written = match (from, to) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                write!(room, "PROXY TCP4 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
            }
            (SocketAddr::V6(from), SocketAddr::V6(to)) => {
                write!(room, "PROXY TCP6 {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port())
            }
            _ => write!(room, "PROXY UNKNOWN\r\n"),
        };
        debug_assert!(written.is_ok(), "the longest line fits");
        let left = room.len();
        line.length = LINE_MAX - left;
        line
    }

    /// The line, its end included.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Bytes of the line that `datagram` begins with; 0: none. What it says is not looked at: a softswitch with
/// `send_proxy_protocol` names there whoever sent the message that it relays, never whom the message is for.
pub fn line_of(datagram: &[u8]) -> usize {
    if !datagram.starts_with(BEGIN) {
        return 0;
    }
    let head = &datagram[..datagram.len().min(UNKNOWN_MAX)];
    head.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(from: &str, to: &str) -> String {
        let line = Line::new(&from.parse().expect("an address"), &to.parse().expect("an address"));
        String::from_utf8(line.as_bytes().to_vec()).expect("ASCII")
    }

    #[test]
    fn as_the_specification_writes_it() {
        // §2.1, its own example with other addresses
        let v4 = line("203.0.113.5:56324", "192.0.2.1:5060");
        assert_eq!(v4, "PROXY TCP4 203.0.113.5 192.0.2.1 56324 5060\r\n");
        let v6 = line("[2001:db8::10]:65535", "[2001:db8::1]:5060");
        assert_eq!(v6, "PROXY TCP6 2001:db8::10 2001:db8::1 65535 5060\r\n");
        assert_eq!(line("203.0.113.5:1", "[2001:db8::1]:5060"), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn the_longest_fits() {
        let v4 = line("255.255.255.255:65535", "255.255.255.255:65535");
        assert_eq!(v4.len(), 56);
        let all = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        assert_eq!(line(all, all).len(), LINE_MAX);
    }

    #[test]
    fn a_line_is_taken_off_and_nothing_else() {
        for line in [&b"PROXY TCP4 203.0.113.5 192.0.2.1 56324 5060\r\n"[..], b"PROXY UNKNOWN\r\n"] {
            assert_eq!(line_of(&[line, b"SIP/2.0 200 OK\r\n\r\n"].concat()), line.len());
        }
        for other in [&b""[..], b"SIP/2.0 200 OK\r\n\r\n", b"PROXY ", b"PROXY TCP4", b"proxy UNKNOWN\r\n"] {
            assert_eq!(line_of(other), 0);
        }
        // as long as the protocol lets a line be, and no longer
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 91], b"\r\n"].concat();
        assert_eq!((long.len(), line_of(&long)), (107, 107));
        let longer = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat();
        assert_eq!(line_of(&longer), 0);
    }
}
