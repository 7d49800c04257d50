//! Replies written by the rules of RFC 3261 §8.2.6, §18.2 and RFC 3581.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use crate::message::Request;
use crate::request::{host, sdp};

const ALLOW: &str = "Allow: INVITE, ACK, BYE, OPTIONS, REGISTER, CANCEL\r\n";
/// Methods of other RFCs: known, but not served here (405, RFC 3261 §8.2.1). All others are unknown (501).
const NOT_SERVED: [&str; 8] = ["SUBSCRIBE", "NOTIFY", "MESSAGE", "INFO", "PRACK", "UPDATE", "REFER", "PUBLISH"];
/// How long a binding lasts if the phone does not say (RFC 3261 §10.2.1.1 leaves it to the registrar).
const EXPIRES: u32 = 3600;

/// The answer to a request: what to send, one datagram after the other, and where to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) to: SocketAddr,
    pub(crate) datagrams: Vec<Vec<u8>>,
}

/// Answers a request that came from `source` to `local`. `None`: it lacks what every reply needs.
///
/// ```text
/// REGISTER 200   INVITE 180, 200   ACK nothing   BYE 200   OPTIONS 200   CANCEL 481 (its INVITE has its 200)
/// ```
pub(crate) fn answer(request: &Request<'_>, source: SocketAddr, local: SocketAddr) -> Option<Answer> {
    let via = TopVia::read(request.value("Via")?)?;
    let to = SocketAddr::new(source.ip(), via.reply_port(source));
    let basis = Basis::of(request, &via, source)?;
    let contact = format!("Contact: <sip:{}:{}>\r\n", host(local.ip().to_canonical()), local.port());
    let datagrams = match request.method.to_ascii_uppercase().as_slice() {
        b"ACK" => Vec::new(),
        b"INVITE" => {
            let dialog = format!("{}{contact}", basis.record_routes(request));
            let body = sdp(local.ip().to_canonical());
            let answered = format!("{dialog}{ALLOW}Content-Type: application/sdp\r\n");
            vec![basis.write("180 Ringing", &dialog, ""), basis.write("200 OK", &answered, &body)]
        }
        b"REGISTER" => vec![basis.write("200 OK", &bindings(request), "")],
        b"OPTIONS" => vec![basis.write("200 OK", &format!("{contact}{ALLOW}Accept: application/sdp\r\n"), "")],
        b"BYE" => vec![basis.write("200 OK", "", "")],
        b"CANCEL" => vec![basis.write("481 Call/Transaction Does Not Exist", "", "")],
        other if NOT_SERVED.iter().any(|method| method.as_bytes() == other) => {
            vec![basis.write("405 Method Not Allowed", ALLOW, "")]
        }
        _ => vec![basis.write("501 Not Implemented", "", "")],
    };
    Some(Answer { to, datagrams })
}

/// What every reply to one request has in common: the lines copied from it.
struct Basis(Vec<u8>);

impl Basis {
    fn of(request: &Request<'_>, top: &TopVia<'_>, source: SocketAddr) -> Option<Self> {
        let mut lines = Vec::with_capacity(512);
        let mut vias = request.headers.iter().filter(|header| header.is("Via"));
        vias.next()?;
        put(&mut lines, "Via", &top.stamped(source));
        vias.for_each(|via| put(&mut lines, "Via", via.value));
        put(&mut lines, "From", request.value("From")?);
        put(&mut lines, "To", &with_tag(request)?);
        put(&mut lines, "Call-ID", request.value("Call-ID")?);
        put(&mut lines, "CSeq", request.value("CSeq")?);
        Some(Self(lines))
    }

    fn write(&self, status: &str, more: &str, body: &str) -> Vec<u8> {
        let mut reply = Vec::with_capacity(self.0.len() + more.len() + body.len() + 96);
        let _ = write!(reply, "SIP/2.0 {status}\r\n");
        reply.extend_from_slice(&self.0);
        let _ = write!(reply, "{more}Server: vos-bench\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        reply
    }

    /// Those of the request, in order (RFC 3261 §12.1.1).
    fn record_routes(&self, request: &Request<'_>) -> String {
        let routes = request.headers.iter().filter(|header| header.is("Record-Route"));
        routes.map(|route| format!("Record-Route: {}\r\n", String::from_utf8_lossy(route.value))).collect()
    }
}

fn put(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    lines.extend_from_slice(name.as_bytes());
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}

/// To, with our tag if it has none (RFC 3261 §8.2.6.2). The tag follows from Call-ID and From, so that a
/// retransmitted request gets the same one without anything being remembered.
fn with_tag(request: &Request<'_>) -> Option<Vec<u8>> {
    let mut to = request.value("To")?.to_vec();
    // Parameters of the field come after the URI's `>`; without one everything after the first `;` is theirs (§20.10).
    let params = to.iter().rposition(|&byte| byte == b'>').map_or(&to[..], |end| &to[end..]);
    if !params.split(|&byte| byte == b';').skip(1).any(|param| split_param(param).0.eq_ignore_ascii_case(b"tag")) {
        let seed = [request.value("Call-ID")?, request.value("From")?].concat();
        let _ = write!(to, ";tag={:016x}", fnv(&seed));
    }
    Some(to)
}

/// FNV-1a: spreads well enough for tags and needs no state.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The bindings that a REGISTER leaves: its own, for as long as it asked; none after a removal.
fn bindings(request: &Request<'_>) -> String {
    let asked = request.value("Expires").and_then(number).unwrap_or(EXPIRES);
    let mut lines = String::new();
    for contact in request.headers.iter().filter(|header| header.is("Contact") && header.value != b"*") {
        let text = String::from_utf8_lossy(contact.value);
        // Its own `expires` outranks the field (§10.2.1.1). More than one contact in a line would want splitting; no
        // phone here sends that.
        let (uri, params) = text.split_once('>').unwrap_or((&text, ""));
        let own = params.split(';').find_map(|param| {
            let (name, value) = split_param(param.as_bytes());
            if name.eq_ignore_ascii_case(b"expires") { number(value?) } else { None }
        });
        let expires = own.unwrap_or(asked);
        if expires > 0 {
            let close = if text.contains('>') { ">" } else { "" };
            lines.push_str(&format!("Contact: {uri}{close};expires={expires}\r\n"));
        }
    }
    lines
}

fn number(value: &[u8]) -> Option<u32> {
    std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

/// `name=value` or `name` of a parameter.
fn split_param(param: &[u8]) -> (&[u8], Option<&[u8]>) {
    match param.iter().position(|&byte| byte == b'=') {
        Some(at) => (param[..at].trim_ascii(), Some(param[at + 1..].trim_ascii())),
        None => (param.trim_ascii(), None),
    }
}

/// The topmost Via value, which says where the reply goes, and what follows it in the same line.
struct TopVia<'a> {
    /// `SIP/2.0/UDP host:port`
    sent_by: &'a [u8],
    params: Vec<&'a [u8]>,
    host: &'a [u8],
    port: Option<u16>,
    /// Further values, from the comma on.
    rest: &'a [u8],
}

impl<'a> TopVia<'a> {
    fn read(line: &'a [u8]) -> Option<Self> {
        let end = line.iter().position(|&byte| byte == b',').unwrap_or(line.len());
        let mut parts = line[..end].split(|&byte| byte == b';');
        let sent_by = parts.next()?.trim_ascii();
        let place = sent_by[sent_by.iter().rposition(u8::is_ascii_whitespace)?..].trim_ascii();
        let bracket = place.iter().rposition(|&byte| byte == b']').map_or(0, |at| at + 1);
        let colon = place[bracket..].iter().position(|&byte| byte == b':').map(|at| bracket + at);
        let port = colon.and_then(|at| std::str::from_utf8(&place[at + 1..]).ok()?.parse().ok());
        let host = &place[..colon.unwrap_or(place.len())];
        Some(Self { sent_by, params: parts.collect(), host, port, rest: &line[end..] })
    }

    /// An empty `rport` asks for the reply to go where the request came from (RFC 3581 §4).
    fn asks_rport(param: &[u8]) -> bool {
        let (name, value) = split_param(param);
        name.eq_ignore_ascii_case(b"rport") && value.is_none_or(<[u8]>::is_empty)
    }

    fn reply_port(&self, source: SocketAddr) -> u16 {
        let asked = self.params.iter().any(|param| Self::asks_rport(param));
        if asked { source.port() } else { self.port.unwrap_or(5060) }
    }

    /// The value as the reply has it: `rport` filled in, `received` where sent-by is a name or another address
    /// (RFC 3261 §18.2.1) and always beside `rport` (RFC 3581 §4). A `received` of the sender's own making is not
    /// copied.
    fn stamped(&self, source: SocketAddr) -> Vec<u8> {
        let address = source.ip().to_canonical();
        let mut value = self.sent_by.to_vec();
        let mut received = self.address() != Some(address);
        for param in &self.params {
            if Self::asks_rport(param) {
                received = true;
                let _ = write!(value, ";rport={}", source.port());
            } else if !split_param(param).0.eq_ignore_ascii_case(b"received") {
                value.push(b';');
                value.extend_from_slice(param);
            }
        }
        if received {
            let _ = write!(value, ";received={address}");
        }
        value.extend_from_slice(self.rest);
        value
    }

    fn address(&self) -> Option<IpAddr> {
        let text = std::str::from_utf8(self.host).ok()?;
        text.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Datagram, read};

    fn answer_to(text: &str, source: &str) -> Option<Answer> {
        let Datagram::Request(request) = read(text.as_bytes()) else { panic!("not a request: {text}") };
        answer(&request, source.parse().unwrap(), "192.0.2.1:5060".parse().unwrap())
    }

    fn replies_to(text: &str, source: &str) -> (SocketAddr, Vec<String>) {
        let answer = answer_to(text, source).expect("an answer");
        (answer.to, answer.datagrams.into_iter().map(|reply| String::from_utf8(reply).unwrap()).collect())
    }

    /// RFC 3581 §5: the request through a NAT, and the response that the RFC shows for it, less what is ours to choose
    /// (the To-tag there is missing, and we say who we are).
    #[test]
    fn options_through_a_nat_is_answered_as_rfc_3581_shows() {
        let request = "OPTIONS sip:user@example.com SIP/2.0\r\n\
             Via: SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff\r\n\
             From: <sip:alice@example.com>;tag=1928301774\r\n\
             To: sip:user@example.com\r\n\
             Call-ID: a84b4c76e66710\r\n\
             CSeq: 63104 OPTIONS\r\n\
             Max-Forwards: 70\r\n\
             \r\n";
        let (to, replies) = replies_to(request, "192.0.2.77:9988");
        assert_eq!(to, "192.0.2.77:9988".parse().unwrap());
        let tag = fnv(b"a84b4c76e66710<sip:alice@example.com>;tag=1928301774");
        let expected = format!(
            "SIP/2.0 200 OK\r\n\
             Via: SIP/2.0/UDP 10.1.1.1:4540;rport=9988;branch=z9hG4bKkjshdyff;received=192.0.2.77\r\n\
             From: <sip:alice@example.com>;tag=1928301774\r\n\
             To: sip:user@example.com;tag={tag:016x}\r\n\
             Call-ID: a84b4c76e66710\r\n\
             CSeq: 63104 OPTIONS\r\n\
             Contact: <sip:192.0.2.1:5060>\r\n\
             Allow: INVITE, ACK, BYE, OPTIONS, REGISTER, CANCEL\r\n\
             Accept: application/sdp\r\n\
             Server: vos-bench\r\n\
             Content-Length: 0\r\n\
             \r\n"
        );
        assert_eq!(replies, [expected]);
    }

    /// RFC 3261 §24.2, message F2 to F4 through two proxies: all Vias come back in order.
    #[test]
    fn invite_through_two_proxies_gets_180_and_200_of_one_dialog() {
        let request = "INVITE sip:bob@192.0.2.4 SIP/2.0\r\n\
             Via: SIP/2.0/UDP server10.biloxi.com;branch=z9hG4bK4b43c2ff8.1\r\n\
             Via: SIP/2.0/UDP bigbox3.site3.atlanta.com;branch=z9hG4bK77ef4c2312983.1;received=192.0.2.2\r\n\
             v: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8;received=192.0.2.1\r\n\
             Record-Route: <sip:server10.biloxi.com;lr>\r\n\
             Max-Forwards: 68\r\n\
             To: Bob <sip:bob@biloxi.com>\r\n\
             From: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n\
             Call-ID: a84b4c76e66710\r\n\
             CSeq: 314159 INVITE\r\n\
             Contact: <sip:alice@pc33.atlanta.com>\r\n\
             Content-Length: 0\r\n\
             \r\n";
        let (to, replies) = replies_to(request, "192.0.2.3:5060");
        assert_eq!(to, "192.0.2.3:5060".parse().unwrap());
        let [ringing, ok] = &replies[..] else { panic!("{replies:?}") };
        let vias = "Via: SIP/2.0/UDP server10.biloxi.com;branch=z9hG4bK4b43c2ff8.1;received=192.0.2.3\r\n\
             Via: SIP/2.0/UDP bigbox3.site3.atlanta.com;branch=z9hG4bK77ef4c2312983.1;received=192.0.2.2\r\n\
             Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8;received=192.0.2.1\r\n";
        assert!(ringing.starts_with(&format!("SIP/2.0 180 Ringing\r\n{vias}")), "{ringing}");
        assert!(ok.starts_with(&format!("SIP/2.0 200 OK\r\n{vias}")), "{ok}");
        let to_of = |reply: &str| reply.lines().find(|line| line.starts_with("To: ")).unwrap().to_owned();
        assert_eq!(to_of(ringing), to_of(ok));
        assert!(to_of(ok).starts_with("To: Bob <sip:bob@biloxi.com>;tag="));
        assert!(ok.contains("Record-Route: <sip:server10.biloxi.com;lr>\r\n"));
        let (head, body) = ok.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())) && body.starts_with("v=0\r\n"));
    }

    fn minimal(method: &str, via: &str, to: &str, more: &str) -> String {
        format!(
            "{method} sip:x SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@x>;tag=1\r\nTo: {to}\r\n\
             Call-ID: c\r\nCSeq: 1 {method}\r\n{more}\r\n"
        )
    }

    #[test]
    fn replies_go_where_the_via_says() {
        let cases = [
            ("SIP/2.0/UDP 192.0.2.9:6000;branch=z", 6000, "SIP/2.0/UDP 192.0.2.9:6000;branch=z"),
            ("SIP/2.0/UDP 192.0.2.9;branch=z", 5060, "SIP/2.0/UDP 192.0.2.9;branch=z"),
            ("SIP/2.0/UDP pc;rport;branch=z", 4000, "SIP/2.0/UDP pc;rport=4000;branch=z;received=192.0.2.9"),
            ("SIP/2.0/UDP pc:7000;received=1.2.3.4", 7000, "SIP/2.0/UDP pc:7000;received=192.0.2.9"),
            (
                "SIP/2.0/UDP pc;rport, SIP/2.0/UDP b",
                4000,
                "SIP/2.0/UDP pc;rport=4000;received=192.0.2.9, SIP/2.0/UDP b",
            ),
        ];
        for (via, port, stamped) in cases {
            let (to, replies) = replies_to(&minimal("BYE", via, "<sip:b@x>;tag=2", ""), "192.0.2.9:4000");
            assert_eq!(to.port(), port, "{via}");
            assert_eq!(replies[0].lines().nth(1).unwrap(), format!("Via: {stamped}"));
        }
    }

    #[test]
    fn ipv6_has_brackets_in_the_via_and_none_in_received() {
        let via = "SIP/2.0/UDP [2001:db8::9]:6000;branch=z;rport";
        let (to, replies) = replies_to(&minimal("OPTIONS", via, "<sip:b@x>", ""), "[2001:db8::9]:6000");
        assert_eq!(to, "[2001:db8::9]:6000".parse().unwrap());
        assert!(replies[0].contains("[2001:db8::9]:6000;branch=z;rport=6000;received=2001:db8::9\r\n"));
    }

    #[test]
    fn a_tag_is_added_only_where_there_is_none() {
        for (to, has_one) in [
            ("<sip:b@x>;tag=2", true),
            ("<sip:b@x>;TAG = 2", true),
            ("<sip:b@x;tag=uri>", false),
            ("sip:b@x;tag=2", true),
            ("\"tag\" <sip:b@x>", false),
        ] {
            let (_, replies) = replies_to(&minimal("BYE", "SIP/2.0/UDP h", to, ""), "192.0.2.9:1");
            assert_eq!(replies[0].contains(&format!("To: {to}\r\n")), has_one, "{to}");
        }
    }

    #[test]
    fn a_registration_says_how_long_it_lasts() {
        for (more, expected) in [
            ("Contact: <sip:a@h>\r\nExpires: 60\r\n", "Contact: <sip:a@h>;expires=60\r\n"),
            ("m: <sip:a@h>;expires=120\r\nExpires: 60\r\n", "Contact: <sip:a@h>;expires=120\r\n"),
            ("Contact: <sip:a@h>\r\n", "Contact: <sip:a@h>;expires=3600\r\n"),
            ("Contact: *\r\nExpires: 0\r\n", ""),
            ("Contact: <sip:a@h>;expires=0\r\n", ""),
        ] {
            let (_, replies) = replies_to(&minimal("REGISTER", "SIP/2.0/UDP h", "<sip:a@x>", more), "192.0.2.9:1");
            let contact: String =
                replies[0].split_inclusive("\r\n").filter(|line| line.starts_with("Contact")).collect();
            assert_eq!(contact, expected);
        }
    }

    #[test]
    fn other_methods_are_refused_and_ack_is_never_answered() {
        for (method, status) in [("MESSAGE", "405"), ("FOO", "501"), ("CANCEL", "481"), ("options", "200")] {
            let (_, replies) = replies_to(&minimal(method, "SIP/2.0/UDP h", "<sip:a@x>", ""), "192.0.2.9:1");
            assert!(replies[0].starts_with(&format!("SIP/2.0 {status} ")), "{method}");
        }
        assert_eq!(replies_to(&minimal("ACK", "SIP/2.0/UDP h", "<sip:a@x>", ""), "192.0.2.9:1").1.len(), 0);
    }

    #[test]
    fn nothing_is_made_up_where_a_mandatory_field_is_missing() {
        assert_eq!(answer_to("OPTIONS sip:x SIP/2.0\r\nFrom: a\r\n\r\n", "192.0.2.9:1"), None);
        assert_eq!(answer_to("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: a\r\n\r\n", "192.0.2.9:1"), None);
    }
}
