use crate::reader::find;
use crate::{Mode, StartLine};

/// What a datagram on a SIP port is, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A SIP request, going by its first line.
    Request,
    /// A SIP response, going by its first line.
    Response,
    /// CRLFCRLF, or other line ends and nothing else: a keep-alive that wants a
    /// [`Pong`](Self::Pong) over TCP, and nothing over UDP (RFC 5626 §3.5.1).
    Ping,
    /// CRLF: the answer to a ping, or a keep-alive that wants nothing (RFC 5626 §3.5.1).
    Pong,
    /// NULs only: a keep-alive of many phones.
    Nul,
    /// `jaK`: a keep-alive of some phones.
    Jak,
    /// No bytes at all: a keep-alive too.
    Empty,
    /// A STUN message (RFC 8489 §5).
    Stun,
    /// The first message of TLS, or of DTLS (RFC 8446 §4.1.2, RFC 9147 §5.3).
    TlsHello,
    /// An opening handshake of WebSocket (RFC 6455 §4.1, RFC 7118).
    WebSocket,
    /// Anything else.
    Garbage,
}

/// Says what a datagram is. What [`Request`](Kind::Request) and [`Response`](Kind::Response) hold
/// behind their first line is not looked at.
pub fn classify(datagram: &[u8]) -> Kind {
    match datagram {
        [] => Kind::Empty,
        b"\r\n" => Kind::Pong,
        _ if datagram.iter().all(|byte| b"\r\n".contains(byte)) => Kind::Ping,
        b"jaK" => Kind::Jak,
        [0, ..] if datagram.iter().all(|&byte| byte == 0) => Kind::Nul,
        [0..=3, ..] if is_stun(datagram) => Kind::Stun,
        [22, ..] if is_tls_hello(datagram) => Kind::TlsHello,
        _ => by_first_line(datagram),
    }
}

fn by_first_line(datagram: &[u8]) -> Kind {
    let start = datagram.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(datagram.len());
    let text = &datagram[start..];
    let line = find(b'\n', text).map_or(text, |end| &text[..end]);
    match StartLine::parse(line.strip_suffix(b"\r").unwrap_or(line), Mode::Lenient) {
        _ if line.len() == text.len() => Kind::Garbage, // it has no end
        Ok(StartLine::Request { .. }) => Kind::Request,
        Ok(StartLine::Response { .. }) => Kind::Response,
        Err(_) if line.starts_with(b"GET /") && line.ends_with(b" HTTP/1.1\r") => Kind::WebSocket,
        Err(_) => Kind::Garbage,
    }
}

/// Two zero bits, a length in words, the magic cookie (RFC 8489 §5).
fn is_stun(datagram: &[u8]) -> bool {
    const HEADER: usize = 20;
    match datagram {
        [_, _, high, low, 0x21, 0x12, 0xa4, 0x42, ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            length.is_multiple_of(4) && datagram.len() == HEADER + length
        }
        _ => false,
    }
}

/// A handshake record that begins with a ClientHello: version 3.x of TLS, 254.x of DTLS, which has
/// an epoch and a sequence number in front.
fn is_tls_hello(datagram: &[u8]) -> bool {
    matches!(datagram, [22, 3, _, _, _, 1, ..]) || matches!(datagram, [22, 254, _, _, _, _, _, _, _, _, _, _, _, 1, ..])
}
