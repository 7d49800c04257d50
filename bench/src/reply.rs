//! What the responder answers, method by method. The rules of replying (RFC 3261 §8.2.6, §18.2, RFC 3581) are
//! [`Reply`]'s.

use std::net::SocketAddr;

use sip_parse::{Contact, Message, Method, Name, Reply, Rport, StartLine};

use crate::request::{host, sdp};

const ALLOW: (&str, &str) = ("Allow", "INVITE, ACK, BYE, OPTIONS, REGISTER, CANCEL");
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
pub(crate) fn answer(request: &Message<'_>, source: SocketAddr, local: SocketAddr) -> Option<Answer> {
    let StartLine::Request { method, .. } = request.start_line() else { return None };
    let core = request.core().ok()?;
    let asks_rport = core.via.rport != Rport::Absent;
    let port = if asks_rport { source.port() } else { core.via.port.unwrap_or(5060) };
    // The tag follows from Call-ID and From, so that a retransmitted request gets the same one without anything being
    // remembered.
    let tag = format!("{:016x}", fnv(&[core.call_id, request.header(Name::From)?].concat()));
    let reply = |code, reason, headers: &[(&str, &str)], body: &str| {
        let headers = [headers, &[("Server", "vos-bench")]].concat();
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        write(Reply::new(code, reason).to_tag(tag.as_bytes()).source(source).headers(&headers), &headers, body, request)
    };
    let contact = format!("<sip:{}:{}>", host(local.ip().to_canonical()), local.port());
    let contact = ("Contact", contact.as_str());
    let datagrams = match method {
        Method::Ack => Vec::new(),
        Method::Invite => {
            let routes: Vec<_> = request.lines(Name::RecordRoute).map(on_one_line).collect();
            let mut dialog = named("Record-Route", &routes); // in order (RFC 3261 §12.1.1)
            dialog.push(contact);
            let ringing = reply(180, "Ringing", &dialog, "")?;
            dialog.extend([ALLOW, ("Content-Type", "application/sdp")]);
            vec![ringing, reply(200, "OK", &dialog, &sdp(local.ip().to_canonical()))?]
        }
        Method::Register => vec![reply(200, "OK", &named("Contact", &bindings(request)), "")?],
        Method::Options => vec![reply(200, "OK", &[contact, ALLOW, ("Accept", "application/sdp")], "")?],
        Method::Bye => vec![reply(200, "OK", &[], "")?],
        Method::Cancel => vec![reply(481, "Call/Transaction Does Not Exist", &[], "")?],
        Method::Other(_) => vec![reply(501, "Not Implemented", &[], "")?],
        // Of other RFCs: known, but not served here (RFC 3261 §8.2.1).
        _ => vec![reply(405, "Method Not Allowed", &[ALLOW], "")?],
    };
    Some(Answer { to: SocketAddr::new(source.ip(), port), datagrams })
}

fn write(reply: Reply<'_>, headers: &[(&str, &str)], body: &str, request: &Message<'_>) -> Option<Vec<u8>> {
    /// More than the reply's own words and what the long names of 128 headers add to their compact ones.
    const WORDS: usize = 1024;
    let added: usize = headers.iter().map(|(name, value)| name.len() + value.len() + ": \r\n".len()).sum();
    let mut datagram = vec![0; request.datagram().len() + added + WORDS];
    let length = reply.write(request, &mut datagram).ok()?;
    datagram.truncate(length);
    if !body.is_empty() {
        // A `Reply` has none and ends in saying so.
        datagram.truncate(length - "0\r\n\r\n".len());
        datagram.extend_from_slice(format!("{}\r\n\r\n{body}", body.len()).as_bytes());
    }
    Some(datagram)
}

fn named<'a>(name: &'a str, values: &'a [String]) -> Vec<(&'a str, &'a str)> {
    values.iter().map(|value| (name, value.as_str())).collect()
}

/// A header value without its folds.
fn on_one_line(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace(|c: char| c.is_ascii_control(), " ")
}

/// FNV-1a: spreads well enough for tags and needs no state.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The bindings that a REGISTER leaves: its own, for as long as it asked; none after a removal. The `expires` of a
/// Contact outranks the header (RFC 3261 §10.2.1.1).
fn bindings(request: &Message<'_>) -> Vec<String> {
    let asked = request.expires().ok().flatten().unwrap_or(EXPIRES);
    let binding = |contact| match contact {
        Ok(Contact::Address { address, expires }) => Some((address.addr_spec, expires.unwrap_or(asked))),
        Ok(Contact::Star) | Err(_) => None,
    };
    let lasting = request.contacts().filter_map(binding).filter(|&(_, expires)| expires > 0);
    lasting.map(|(uri, expires)| format!("<{}>;expires={expires}", String::from_utf8_lossy(uri))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_parse::{Index, Mode};

    fn answer_to(text: &str, source: &str) -> Option<Answer> {
        let mut index: Index = Index::new();
        let request = index.parse(text.as_bytes(), Mode::Lenient).unwrap();
        answer(&request, source.parse().unwrap(), "192.0.2.1:5060".parse().unwrap())
    }

    fn replies_to(text: &str, source: &str) -> (SocketAddr, Vec<String>) {
        let answer = answer_to(text, source).expect("an answer");
        for reply in &answer.datagrams {
            let mut index: Index = Index::new();
            index.parse(reply, Mode::Strict).and_then(|reply| reply.validate().map(drop)).unwrap();
        }
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
             Via: SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bKkjshdyff;received=192.0.2.77;rport=9988\r\n\
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
             Record-Route: <sip:server10.biloxi.com;lr>,\r\n\x20<sip:bigbox3.site3.atlanta.com;lr>\r\n\
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
        assert!(ok.contains("Record-Route: <sip:server10.biloxi.com;lr>,   <sip:bigbox3.site3.atlanta.com;lr>\r\n"));
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
            ("SIP/2.0/UDP pc;rport;branch=z", 4000, "SIP/2.0/UDP pc;branch=z;received=192.0.2.9;rport=4000"),
            ("SIP/2.0/UDP pc:7000;received=1.2.3.4", 7000, "SIP/2.0/UDP pc:7000;received=192.0.2.9"),
            (
                "SIP/2.0/UDP pc;rport, SIP/2.0/UDP b",
                4000,
                "SIP/2.0/UDP pc;received=192.0.2.9;rport=4000, SIP/2.0/UDP b",
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
        assert!(replies[0].contains("[2001:db8::9]:6000;branch=z;received=2001:db8::9;rport=6000\r\n"));
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
            (
                "m: A <sip:a@h>;q=1, sip:b@h;expires=7\r\n",
                "Contact: <sip:a@h>;expires=3600\r\nContact: <sip:b@h>;expires=7\r\n",
            ),
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
