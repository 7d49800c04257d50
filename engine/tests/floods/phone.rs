use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sip_parse::{Index, Mode, StartLine};
use vos_bench::digest;

use crate::site::{DOMAIN, PATIENCE, Site, server_of};

/// The first wait before a request is sent again (RFC 3261 §17.1.1.1).
const T1: Duration = Duration::from_millis(500);

/// A phone with a socket of its own. It registers and calls by digest (RFC 8760's MD5), sends again what is not
/// answered, and answers whoever calls it.
pub(crate) struct Phone {
    socket: UdpSocket,
    user: String,
    local: SocketAddr,
    requests: u32,
    /// ACKs that came to it.
    acks: u32,
}

/// A call that is there, as its caller knows it.
#[derive(Debug)]
pub(crate) struct Call {
    invite: String,
    reply: String,
}

impl Phone {
    pub(crate) fn open(site: &Site, user: &str, address: IpAddr) -> Self {
        let socket = site.outside.enter(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let local = socket.local_addr().unwrap();
        Self { socket, user: user.to_owned(), local, requests: 0, acks: 0 }
    }

    /// Registers: challenged, and then accepted.
    #[track_caller]
    pub(crate) fn registers(&mut self) {
        assert_eq!(self.tries(PASSWORD), 200);
    }

    /// Tries to register with this password: challenged, and then answered so.
    #[track_caller]
    pub(crate) fn tries(&mut self, password: &str) -> u16 {
        let request = self.register();
        let (status, reply) = self.asks(&request, None);
        assert_eq!(status, 401, "{reply}");
        self.asks(&with_credentials(&self.user, password, &request, &reply), None).0
    }

    /// A REGISTER, not yet with credentials.
    pub(crate) fn register(&mut self) -> String {
        let (uri, contact) = (format!("sip:{DOMAIN}"), self.contact());
        let request = self.request("REGISTER", &uri, &self.user.clone());
        request.replacen("Content-Length", &format!("{contact}Expires: 600\r\nContent-Length"), 1)
    }

    /// Calls `callee`: challenged, answered, acknowledged, ended.
    #[track_caller]
    pub(crate) fn calls(&mut self, callee: &mut Self) {
        let call = self.dials(callee);
        self.asks_within(&call, "BYE", callee);
    }

    /// Calls `callee`: challenged, answered, acknowledged.
    #[track_caller]
    pub(crate) fn dials(&mut self, callee: &mut Self) -> Call {
        let uri = format!("sip:{}@{DOMAIN}", callee.user);
        let invite = self.request("INVITE", &uri, &callee.user.clone());
        let invite = invite.replacen("Content-Length", &format!("{}Content-Length", self.contact()), 1);
        let (status, reply) = self.asks(&invite, Some(callee));
        assert_eq!(status, 407, "{reply}");
        self.send(&ack(&invite, &reply));
        let invite = with_credentials(&self.user, PASSWORD, &invite, &reply);
        let (status, reply) = self.asks(&invite, Some(callee));
        assert_eq!(status, 200, "{reply}");
        let (acked, ack) = (callee.acks, in_dialog("ACK", &invite, &reply));
        let (end, mut again) = (Instant::now() + PATIENCE, Instant::now());
        while callee.acks == acked {
            assert!(Instant::now() < end, "the ACK does not arrive");
            if Instant::now() >= again {
                self.send(&ack);
                again += T1;
            }
            callee.answers();
        }
        Call { invite, reply }
    }

    /// Asks for something within a call, which is granted.
    #[track_caller]
    pub(crate) fn asks_within(&mut self, call: &Call, method: &str, callee: &mut Self) {
        let (status, reply) = self.asks(&in_dialog(method, &call.invite, &call.reply), Some(callee));
        assert_eq!(status, 200, "{reply}");
    }

    /// Ends a call that `caller` has made to this phone.
    #[track_caller]
    pub(crate) fn hangs_up(&mut self, Call { reply, .. }: &Call, caller: &mut Self) {
        self.requests += 1;
        let Self { local, requests, .. } = self;
        let (target, from, to, call) =
            (caller.local, field(reply, "To"), field(reply, "From"), field(reply, "Call-ID"));
        let routes: String =
            lines(reply, "Record-Route").map(|line| format!("{}\r\n", &line["Record-".len()..])).collect();
        let bye = format!(
            "BYE sip:{}@{target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKbye{requests};rport\r\n{routes}\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: 1 BYE\r\n\
             Content-Length: 0\r\n\r\n",
            caller.user
        );
        let (status, reply) = self.asks(&bye, Some(caller));
        assert_eq!(status, 200, "{reply}");
    }

    /// Calls `user`, and acknowledges what it gets, which is no challenge and no success.
    #[track_caller]
    pub(crate) fn is_refused_by(&mut self, user: &str) -> u16 {
        let invite = self.request("INVITE", &format!("sip:{user}@{DOMAIN}"), user);
        let invite = invite.replacen("Content-Length", "User-Agent: A phone\r\nContent-Length", 1);
        let (status, reply) = self.asks(&invite, None);
        self.send(&ack(&invite, &reply));
        status
    }

    /// Calls a user that is not there, with credentials; acknowledges what it gets.
    #[track_caller]
    pub(crate) fn misses(&mut self, user: &str) -> u16 {
        let invite = self.request("INVITE", &format!("sip:{user}@{DOMAIN}"), user);
        let (status, reply) = self.asks(&invite, None);
        assert_eq!(status, 407, "{reply}");
        self.send(&ack(&invite, &reply));
        let invite = with_credentials(&self.user, PASSWORD, &invite, &reply);
        let (status, reply) = self.asks(&invite, None);
        self.send(&ack(&invite, &reply).replacen("2 INVITE", "2 ACK", 1));
        status
    }

    /// The port that it sends from.
    pub(crate) fn port(&self) -> u16 {
        self.local.port()
    }

    /// Calls the server itself, which answers unasked for a password. The ACK is the caller's to send: this is it.
    #[track_caller]
    pub(crate) fn reaches_echo(&mut self) -> String {
        let invite = self.request("INVITE", &format!("sip:echo@{DOMAIN}"), "echo");
        let (status, reply) = self.asks(&invite, None);
        assert_eq!(status, 200, "{reply}");
        in_dialog("ACK", &invite, &reply)
    }

    /// A request outside a dialog, a Call-ID of its own.
    pub(crate) fn request(&mut self, method: &str, uri: &str, to: &str) -> String {
        self.requests += 1;
        let Self { user, local, requests, .. } = self;
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{user}{requests}x1;rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag={user}{requests}\r\nTo: <sip:{to}@{DOMAIN}>\r\n\
             Call-ID: {user}-{requests}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// Sends a datagram to the server.
    pub(crate) fn send(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), server_of(self.local.ip())).unwrap();
    }

    /// Sends a request until its final reply is there: status and text of that. A callee answers meanwhile.
    #[track_caller]
    pub(crate) fn asks(&self, request: &str, mut callee: Option<&mut Self>) -> (u16, String) {
        let (call, cseq) = (field(request, "Call-ID"), field(request, "CSeq"));
        let end = Instant::now() + PATIENCE;
        let (mut again, mut interval) = (Instant::now(), T1);
        while Instant::now() < end {
            if Instant::now() >= again {
                self.send(request);
                again = Instant::now() + interval;
                interval *= 2;
            }
            if let Some(callee) = &mut callee {
                callee.answers();
            }
            let Some(reply) = self.receive() else { continue };
            let status = status(&reply);
            if field(&reply, "Call-ID") == call && field(&reply, "CSeq") == cseq && status.is_some_and(|it| it >= 200) {
                return (status.unwrap(), reply);
            }
        }
        panic!("{} is not answered:\n{request}", self.user);
    }

    /// The next datagram, if one comes at once.
    pub(crate) fn receive(&self) -> Option<String> {
        let mut bytes = [0; 65_536];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    /// The next datagram and where it comes from, if one comes at once.
    pub(crate) fn receive_from(&self) -> Option<(String, SocketAddr)> {
        let mut bytes = [0; 65_536];
        let (length, from) = self.socket.recv_from(&mut bytes).ok()?;
        Some((String::from_utf8_lossy(&bytes[..length]).into_owned(), from))
    }

    /// Answers a request that has come, if one has: the phone is picked up at once.
    pub(crate) fn answers(&mut self) {
        let Some(request) = self.receive().filter(|text| status(text).is_none()) else { return };
        if request.starts_with("ACK ") {
            self.acks += 1;
            return;
        }
        let copied = |name: &str| -> String { lines(&request, name).map(|line| format!("{line}\r\n")).collect() };
        let to = copied("To").trim_end().to_owned();
        let to = if to.contains(";tag=") { to } else { format!("{to};tag={}", self.user) };
        let [via, route, from, call, cseq] = ["Via", "Record-Route", "From", "Call-ID", "CSeq"].map(copied);
        let contact = self.contact();
        self.send(&format!(
            "SIP/2.0 200 OK\r\n{via}{route}{from}{to}\r\n{call}{cseq}{contact}Content-Length: 0\r\n\r\n"
        ));
    }

    pub(crate) fn contact(&self) -> String {
        format!("Contact: <sip:{}@{}>\r\n", self.user, self.local)
    }
}

/// The password of everybody.
pub(crate) const PASSWORD: &str = "secret";

/// The same request once more, with the answer to the challenge in `reply`.
pub(crate) fn with_credentials(user: &str, password: &str, request: &str, reply: &str) -> String {
    let mut words = request.split(' ');
    let (method, uri) = (words.next().unwrap(), words.next().unwrap());
    let mut index: Index = Index::new();
    let challenge = index.parse(reply.as_bytes(), Mode::Lenient).expect("SIP");
    let line = digest::answer(&challenge, method, uri, user, password).expect("a challenge");
    let again = request.replacen("x1;rport", "x2;rport", 1).replacen("CSeq: 1 ", "CSeq: 2 ", 1);
    again.replacen("Content-Length", &format!("{line}Content-Length"), 1)
}

/// The status of a response.
pub(crate) fn status(text: &str) -> Option<u16> {
    let mut index: Index = Index::new();
    match index.parse(text.as_bytes(), Mode::Lenient).ok()?.start_line() {
        StartLine::Response { code, .. } => Some(code),
        StartLine::Request { .. } => None,
    }
}

/// The lines of a field; Kamailio writes names in full.
fn lines<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter(move |line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))
}

/// The value of a field that stands once.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> &'a str {
    lines(text, name).next().map_or("", |line| line[name.len() + 1..].trim())
}

/// The ACK of a refusal: of the same transaction (RFC 3261 §17.1.1.3).
pub(crate) fn ack(invite: &str, reply: &str) -> String {
    let ack = invite.replacen("INVITE ", "ACK ", 1).replacen("1 INVITE", "1 ACK", 1);
    ack.replacen(lines(invite, "To").next().unwrap(), lines(reply, "To").next().unwrap(), 1)
}

/// A request in the dialog that `reply` has made (RFC 3261 §12.2.1.1).
fn in_dialog(method: &str, invite: &str, reply: &str) -> String {
    let target = field(reply, "Contact").trim_start_matches('<').split('>').next().unwrap();
    let routes: Vec<&str> = lines(reply, "Record-Route").map(|line| &line["Record-".len()..]).collect();
    let routes: String = routes.iter().rev().map(|line| format!("{line}\r\n")).collect();
    let number: u32 = field(reply, "CSeq").split(' ').next().unwrap().parse().unwrap();
    let number = if method == "ACK" { number } else { number + 1 };
    let via = lines(invite, "Via").next().unwrap().replacen(";branch=z9hG4bK", &format!(";branch=z9hG4bK{method}"), 1);
    let [from, to, call] = ["From", "To", "Call-ID"].map(|name| lines(reply, name).next().unwrap());
    format!(
        "{method} {target} SIP/2.0\r\n{via}\r\n{routes}Max-Forwards: 70\r\n{from}\r\n{to}\r\n{call}\r\n\
         CSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}
