//! Requests written: whole ones for calls, templates with patched numbers for load.

use std::net::{IpAddr, SocketAddr};

use sip_parse::{Message, StartLine};

use crate::digest;

/// Digits of a patched number.
pub(crate) const DIGITS: usize = 10;
/// Where a template has the number of the message; no SIP text holds it by itself.
pub(crate) const HOLE: &str = "##########";
/// Every branch begins so (RFC 3261 §8.1.1.7).
pub(crate) const COOKIE: &str = "z9hG4bK";

/// A short word that differs from run to run, so that replies to an earlier run are not taken for ours.
pub(crate) fn run_word() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:08x}", (now.as_nanos() as u32) ^ std::process::id().rotate_left(16))
}

/// An address as a URI or a Via has it: IPv6 in brackets.
pub(crate) fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// The parts of a request that differ between methods and places in a dialog.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a str,
    /// What follows the cookie in the branch.
    pub(crate) branch: &'a str,
    /// Where the socket is, for Via and Contact.
    pub(crate) local: SocketAddr,
    pub(crate) user: &'a str,
    /// `<sip:…>;tag=…`
    pub(crate) from: &'a str,
    /// `<sip:…>`, with the tag once there is one.
    pub(crate) to: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
    /// Further header lines, each with its CRLF.
    pub(crate) more: &'a str,
    /// An SDP offer, or nothing.
    pub(crate) body: &'a str,
}

impl Request<'_> {
    pub(crate) fn text(&self) -> String {
        let Self { method, uri, branch, local, user, from, to, call_id, cseq, more, body } = self;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let length = body.len();
        let local = format!("{}:{}", host(local.ip()), local.port());
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch={COOKIE}{branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: {from}\r\n\
             To: {to}\r\n\
             Call-ID: {call_id}\r\n\
             CSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{local}>\r\n\
             User-Agent: vos-bench\r\n\
             {more}{kind}Content-Length: {length}\r\n\
             \r\n\
             {body}"
        )
    }
}

/// The SDP of a phone that wants to speak G.711.
pub(crate) fn sdp(address: IpAddr) -> String {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- 1 1 IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

/// A message with holes for its number: sending is a copy and a few digits.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    holes: Vec<usize>,
}

impl Template {
    /// A request outside dialogs from `local` to the server `to`; branch, tag and Call-ID carry the number.
    pub(crate) fn request(method: &str, run: &str, user: &str, local: SocketAddr, to: SocketAddr) -> Self {
        let server = if to.port() == 5060 { host(to.ip()) } else { format!("{}:{}", host(to.ip()), to.port()) };
        let (uri, callee) = match method {
            "INVITE" => (format!("sip:service@{server}"), "service"),
            _ => (format!("sip:{server}"), user),
        };
        let (more, body) = match method {
            "INVITE" => ("", sdp(local.ip())),
            "REGISTER" => ("Expires: 3600\r\n", String::new()),
            _ => ("Accept: application/sdp\r\n", String::new()),
        };
        let text = Request {
            method,
            uri: &uri,
            branch: &format!("{run}{HOLE}"),
            local,
            user,
            from: &format!("<sip:{user}@{server}>;tag={run}{HOLE}"),
            to: &format!("<sip:{callee}@{server}>"),
            call_id: &format!("{run}{HOLE}@{}", host(local.ip())),
            cseq: 1,
            more,
            body: &body,
        };
        Self::from_text(&text.text())
    }

    /// Text that no SIP server takes for SIP: another protocol, a start line without a version, binary noise.
    pub(crate) fn garbage(which: usize) -> Self {
        match which % 3 {
            0 => Self::from_text(&format!("GET /{HOLE} HTTP/1.1\r\nHost: sip.example\r\n\r\n")),
            1 => Self::from_text(&format!("INVITE sip:{HOLE}@sip.example\r\nVia: broken\r\n\r\n")),
            _ => Self { bytes: (0..96u8).map(|i| i.wrapping_mul(37) | 0x80).collect(), holes: Vec::new() },
        }
    }

    fn from_text(text: &str) -> Self {
        let holes = text.match_indices(HOLE).map(|(at, _)| at).collect();
        Self { bytes: text.as_bytes().to_vec(), holes }
    }

    /// Puts credentials in that answer the challenge of this reply; `false`: it has none that can be answered.
    pub(crate) fn meet(&mut self, reply: &Message<'_>, user: &str, password: &str) -> bool {
        let text = String::from_utf8_lossy(&self.bytes);
        let mut words = text.split(' ');
        let (Some(method), Some(uri)) = (words.next(), words.next()) else { return false };
        let Some(line) = digest::answer(reply, method, uri, user, password) else { return false };
        let (Some(cseq), Some(at)) = (text.find("CSeq: 1 "), text.find("Content-Length: ")) else { return false };
        self.bytes[cseq + "CSeq: ".len()] = b'2';
        self.bytes.splice(at..at, line.bytes());
        self.holes.iter_mut().filter(|hole| **hole > at).for_each(|hole| *hole += line.len());
        true
    }

    /// It as it is, for whoever fills in numbers by itself.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Fills in the number; what comes back is valid until the next call.
    pub(crate) fn numbered(&mut self, number: u64) -> &[u8] {
        let digits = digits(number);
        for &hole in &self.holes {
            self.bytes[hole..hole + DIGITS].copy_from_slice(&digits);
        }
        &self.bytes
    }

    /// The same with another number in the branch, which stands first: another transaction of the same Call-ID.
    pub(crate) fn numbered_apart(&mut self, number: u64, branch: u64) -> &[u8] {
        self.numbered(number);
        if let Some(&hole) = self.holes.first() {
            self.bytes[hole..hole + DIGITS].copy_from_slice(&digits(branch));
        }
        &self.bytes
    }
}

/// The last digits of a number, as many as a hole has.
pub(crate) fn digits(number: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// The status of a reply, and what follows the word of this run in the branch of its topmost Via; `None` if it replies
/// to no request of this run.
pub(crate) fn reply_to<'a>(message: &Message<'a>, run: &str) -> Option<(u16, &'a str)> {
    let StartLine::Response { code, .. } = message.start_line() else { return None };
    let branch = std::str::from_utf8(message.top_via().ok()?.branch?).ok()?;
    Some((code, branch.strip_prefix(COOKIE)?.strip_prefix(run)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_parse::{Index, Mode, Reply};

    #[test]
    fn the_number_goes_in_and_comes_back() {
        let mut template = Template::request(
            "OPTIONS",
            "0badcafe",
            "u1",
            "[2001:db8::7]:40001".parse().unwrap(),
            "[2001:db8::1]:5060".parse().unwrap(),
        );
        for number in [0, 7, 1_234_567_890] {
            let (mut index, mut reply): (Index, _) = (Index::new(), [0; 1500]);
            let request = index.parse(template.numbered(number), Mode::Strict).unwrap();
            assert_eq!(reply_to(&request, "0badcafe"), None, "no reply");
            let length = Reply::new(486, "Busy Here").to_tag(b"t").write(&request, &mut reply).unwrap();
            let reply = index.parse(&reply[..length], Mode::Strict).unwrap();
            assert_eq!(reply_to(&reply, "0badcafe"), Some((486, &*format!("{number:010}"))));
            assert_eq!(reply_to(&reply, "0badcaff"), None);
        }
    }

    #[test]
    fn every_template_is_what_it_claims() {
        let (local, to): (SocketAddr, _) = ("192.0.2.9:40000".parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
        let mut index: Index = Index::new();
        for (method, body) in [("OPTIONS", ""), ("REGISTER", ""), ("INVITE", &sdp(local.ip()))] {
            let mut template = Template::request(method, "00000000", "u", local, to);
            let message = index.parse(template.numbered(1), Mode::Strict).unwrap();
            assert_eq!(message.validate().unwrap().cseq.method.as_bytes(), method.as_bytes());
            assert_eq!(message.body(), body.as_bytes(), "{method}");
        }
        for which in 0..3 {
            assert!(index.parse(Template::garbage(which).numbered(1), Mode::Lenient).is_err(), "garbage {which}");
        }
    }
}
