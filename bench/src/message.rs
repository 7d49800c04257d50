//! Datagrams read: request, response, keep-alive or garbage.
//!
//! Just enough of RFC 3261 to answer and to follow a call: header lines are kept as they are, folds included, and
//! copied whole.

/// What a datagram is.
#[derive(Debug)]
pub(crate) enum Datagram<'a> {
    /// Nothing, NULs, line ends: sent to keep a NAT open.
    KeepAlive,
    Request(Request<'a>),
    Response(Response<'a>),
    Garbage,
}

#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) headers: Vec<Header<'a>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "answers do not depend on the offer"))]
    pub(crate) body: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) headers: Vec<Header<'a>>,
}

/// One header field; the value has no white space around it and may contain folds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    name: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// The compact forms (RFC 3261 §7.3.3) of the fields that matter here.
const COMPACT: [(&str, u8); 6] =
    [("Via", b'v'), ("From", b'f'), ("To", b't'), ("Call-ID", b'i'), ("Contact", b'm'), ("Content-Length", b'l')];

impl Header<'_> {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
            || matches!(self.name, [letter] if COMPACT.contains(&(name, letter.to_ascii_lowercase())))
    }
}

impl<'a> Request<'a> {
    pub(crate) fn value(&self, name: &str) -> Option<&'a [u8]> {
        first(&self.headers, name)
    }
}

impl<'a> Response<'a> {
    pub(crate) fn value(&self, name: &str) -> Option<&'a [u8]> {
        first(&self.headers, name)
    }
}

fn first<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.is(name)).map(|header| header.value)
}

/// Reads a datagram. Line ends in front are skipped, as servers do (RFC 3261 §7.5).
pub(crate) fn read(datagram: &[u8]) -> Datagram<'_> {
    if datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Datagram::KeepAlive;
    }
    read_message(datagram.trim_ascii_start()).unwrap_or(Datagram::Garbage)
}

fn read_message(text: &[u8]) -> Option<Datagram<'_>> {
    let (start, mut rest) = line(text)?;
    let mut headers = Vec::with_capacity(16);
    while let Some((mut field, mut after)) = line(rest) {
        if field.is_empty() {
            return message(start, headers, after);
        }
        while matches!(after.first(), Some(b' ' | b'\t')) {
            let (_, next) = line(after)?;
            field = &rest[..rest.len() - next.len()];
            after = next;
        }
        let colon = field.iter().position(|&byte| byte == b':')?;
        headers.push(Header { name: field[..colon].trim_ascii(), value: field[colon + 1..].trim_ascii() });
        rest = after;
    }
    None
}

fn message<'a>(start: &'a [u8], headers: Vec<Header<'a>>, body: &'a [u8]) -> Option<Datagram<'a>> {
    let mut words = start.splitn(3, |&byte| byte == b' ');
    let (one, two, three) = (words.next()?, words.next()?, words.next()?);
    if one.eq_ignore_ascii_case(b"SIP/2.0") {
        let status = std::str::from_utf8(two).ok()?.parse().ok()?;
        return Some(Datagram::Response(Response { status, headers }));
    }
    let is_request = three.eq_ignore_ascii_case(b"SIP/2.0") && !one.is_empty() && !two.is_empty();
    is_request.then_some(Datagram::Request(Request { method: one, headers, body }))
}

/// The first line without its end, and what follows it.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == b'\n')?;
    Some((text[..end].strip_suffix(b"\r").unwrap_or(&text[..end]), &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_long_and_compact_names_in_any_case() {
        let text = b"\r\nOPTIONS sip:a SIP/2.0\r\nv: SIP/2.0/UDP h\r\nFROM:<sip:a>\r\nSubject: one\r\n two\r\n\r\nbody";
        let Datagram::Request(request) = read(text) else { panic!() };
        assert_eq!(request.method, b"OPTIONS");
        assert_eq!(request.value("Via"), Some(&b"SIP/2.0/UDP h"[..]));
        assert_eq!(request.value("From"), Some(&b"<sip:a>"[..]));
        assert_eq!(request.value("Subject"), Some(&b"one\r\n two"[..]));
        assert_eq!(request.value("To"), None);
        assert_eq!(request.body, b"body");
    }

    #[test]
    fn a_response_has_its_status() {
        let Datagram::Response(response) = read(b"SIP/2.0 180 Ringing\r\nTo: x\r\n\r\n") else { panic!() };
        assert_eq!((response.status, response.value("To")), (180, Some(&b"x"[..])));
    }

    #[test]
    fn keep_alives_are_not_garbage_and_garbage_is() {
        for datagram in [&b""[..], b"\0", b"\r\n\r\n"] {
            assert!(matches!(read(datagram), Datagram::KeepAlive));
        }
        let garbage: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff\xfe\xfd",
            b"OPTIONS sip:a SIP/2.0\r\nVia: x\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nno colon\r\n\r\n",
            b"OPTIONS  SIP/2.0\r\n\r\n",
        ];
        for datagram in garbage {
            assert!(matches!(read(datagram), Datagram::Garbage), "{:?}", String::from_utf8_lossy(datagram));
        }
    }
}
