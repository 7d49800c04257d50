//! One phone's registration and call, as a pure state machine with RFC 3261's timers.
//!
//! ```text
//! REGISTER ── 2xx ─▶ INVITE ── 2xx ─▶ ACK, hold ─▶ BYE ── 2xx ─▶ succeeded
//!     │          once each: a challenge, answered if there is a password
//!     └─ other final reply (an INVITE's gets its ACK), or 64 × T1 without one ─▶ failed
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use sip_parse::{Contact, Message, Method, Name};

use crate::digest;
use crate::request::{Request, host, sdp};

/// The round-trip estimate from which all timers follow (RFC 3261 §17.1.1.1).
pub(crate) const T1: Duration = Duration::from_millis(500);
/// The longest time between two sendings of a request other than INVITE (§17.1.2.1).
pub(crate) const T2: Duration = Duration::from_secs(4);

/// What happens in a call, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Register,
    Invite,
    /// Connected; the BYE follows when the timer fires.
    Hold,
    Bye,
    Succeeded,
    Failed,
}

impl Step {
    fn method(self) -> &'static str {
        match self {
            Self::Register => "REGISTER",
            Self::Invite => "INVITE",
            _ => "BYE",
        }
    }
}

/// A datagram to send now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) method: &'static str,
    pub(crate) text: String,
    pub(crate) again: bool,
}

/// Times that do not differ between calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) hold: Duration,
    /// Timers B and F: 64 × T1 by the RFC.
    pub(crate) give_up: Duration,
}

#[derive(Debug)]
pub(crate) struct Call {
    /// Differs between calls and between runs; the Call-IDs and branches are made of it.
    word: String,
    user: String,
    local: SocketAddr,
    server: String,
    timing: Timing,
    password: Option<String>,
    step: Step,
    /// Of the request of this step.
    cseq: u32,
    /// The line that answers this step's challenge.
    credentials: String,
    /// The request that is waiting for its final reply.
    request: String,
    /// The ACK of the 2xx, for when that comes again.
    ack: String,
    /// To with the other side's tag, and its Contact: known once connected.
    remote: Option<(String, String)>,
    began: Duration,
    interval: Duration,
    provisional: bool,
    /// When something is to be done if nothing comes; never once the call is over.
    timer: Option<Duration>,
    invited: Duration,
    /// There was a 2xx to the REGISTER.
    pub(crate) registered: bool,
    /// From the INVITE to its 2xx.
    pub(crate) setup: Option<Duration>,
    pub(crate) failure: String,
    /// Its end has been counted.
    pub(crate) closed: bool,
}

impl Call {
    pub(crate) fn new(
        word: String,
        user: String,
        password: Option<String>,
        (local, to): (SocketAddr, SocketAddr),
        timing: Timing,
    ) -> Self {
        let server = if to.port() == 5060 { host(to.ip()) } else { format!("{}:{}", host(to.ip()), to.port()) };
        Self {
            word,
            user,
            local,
            server,
            timing,
            password,
            step: Step::Register,
            cseq: 1,
            credentials: String::new(),
            request: String::new(),
            ack: String::new(),
            remote: None,
            began: Duration::ZERO,
            interval: T1,
            provisional: false,
            timer: None,
            invited: Duration::ZERO,
            registered: false,
            setup: None,
            failure: String::new(),
            closed: false,
        }
    }

    pub(crate) fn step(&self) -> Step {
        self.step
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.step, Step::Succeeded | Step::Failed)
    }

    pub(crate) fn timer(&self) -> Option<Duration> {
        self.timer
    }

    /// Sends the REGISTER.
    pub(crate) fn begin(&mut self, now: Duration) -> Send {
        self.enter(Step::Register, now)
    }

    /// What a reply leads to.
    pub(crate) fn on_reply(&mut self, status: u16, reply: &Message<'_>, now: Duration) -> Vec<Send> {
        let Ok(cseq) = reply.cseq() else { return Vec::new() };
        if cseq.method == Method::Invite && (200..300).contains(&status) && !self.ack.is_empty() {
            // Our ACK was lost (§13.2.2.4).
            return vec![Send { method: "ACK", text: self.ack.clone(), again: true }];
        }
        let waiting = matches!(self.step, Step::Register | Step::Invite | Step::Bye);
        if !waiting || cseq.method.as_bytes() != self.step.method().as_bytes() || cseq.number != self.cseq {
            return Vec::new();
        }
        match (self.step, status) {
            (_, ..200) => {
                self.provisional = true;
                self.rearm(now);
                Vec::new()
            }
            (Step::Register, 200..300) => {
                self.registered = true;
                vec![self.enter(Step::Invite, now)]
            }
            (Step::Invite, 200..300) => self.connected(reply, now).into_iter().collect(),
            (Step::Bye, 200..300) => {
                self.finish(Step::Succeeded);
                Vec::new()
            }
            (step, status) => {
                let ack = (step == Step::Invite).then(|| self.refusal_ack(reply)).flatten();
                let again = matches!(status, 401 | 407).then(|| self.met(reply, now)).flatten();
                if again.is_none() {
                    self.fail(&format!("{} {status}", step.method()));
                }
                ack.into_iter().chain(again).collect()
            }
        }
    }

    /// The same request with credentials, once (§22.2).
    fn met(&mut self, reply: &Message<'_>, now: Duration) -> Option<Send> {
        let (method, password) = (self.step.method(), self.password.as_ref()?);
        if method == "BYE" || !self.credentials.is_empty() {
            return None;
        }
        self.credentials = digest::answer(reply, method, &self.uri(method), &self.user, password)?;
        self.cseq += 1;
        Some(self.ask(now))
    }

    /// What the passing of time leads to.
    pub(crate) fn on_timer(&mut self, now: Duration) -> Option<Send> {
        if self.step == Step::Hold {
            return Some(self.enter(Step::Bye, now));
        }
        if now >= self.began + self.timing.give_up {
            self.fail(&format!("{} timed out", self.step.method()));
            return None;
        }
        self.interval = match self.step {
            Step::Invite => self.interval * 2,
            _ if self.provisional => T2,
            _ => (self.interval * 2).min(T2),
        };
        self.rearm(now);
        // An INVITE that has a provisional reply is not repeated (§17.1.1.2); the timer then is only the last one.
        let repeat = !(self.step == Step::Invite && self.provisional);
        repeat.then(|| Send { method: self.step.method(), text: self.request.clone(), again: true })
    }

    fn enter(&mut self, step: Step, now: Duration) -> Send {
        // REGISTER and INVITE begin a Call-ID of their own; the BYE follows its INVITE.
        self.cseq = if step == Step::Bye { self.cseq + 1 } else { 1 };
        self.credentials.clear();
        self.step = step;
        if step == Step::Invite {
            self.invited = now;
        }
        self.ask(now)
    }

    /// The request of this step, in a transaction of its own.
    fn ask(&mut self, now: Duration) -> Send {
        (self.began, self.interval, self.provisional) = (now, T1, false);
        let method = self.step.method();
        self.request = self.write(method, &self.branch());
        self.rearm(now);
        Send { method, text: self.request.clone(), again: false }
    }

    fn branch(&self) -> String {
        format!("{}{}{}", self.word, self.step.method(), self.cseq)
    }

    fn rearm(&mut self, now: Duration) {
        let last = self.began + self.timing.give_up;
        let only_last = self.step == Step::Invite && self.provisional;
        self.timer = Some(if only_last { last } else { last.min(now + self.interval) });
    }

    fn connected(&mut self, reply: &Message<'_>, now: Duration) -> Option<Send> {
        let Some(Ok(Contact::Address { address, .. })) = reply.contacts().next() else { return None };
        self.remote = Some((text(reply.header(Name::To)?), text(address.addr_spec)));
        self.setup = Some(now.saturating_sub(self.invited));
        self.step = Step::Hold;
        self.timer = Some(now + self.timing.hold);
        self.ack = self.write("ACK", &format!("{}ACK", self.word));
        Some(Send { method: "ACK", text: self.ack.clone(), again: false })
    }

    /// The ACK of a refusal belongs to the INVITE's transaction: its branch, its Request-URI (§17.1.1.3).
    fn refusal_ack(&mut self, reply: &Message<'_>) -> Option<Send> {
        let uri = self.uri("INVITE");
        let text = self.write_to("ACK", &self.branch(), &uri, &text(reply.header(Name::To)?));
        Some(Send { method: "ACK", text, again: false })
    }

    fn fail(&mut self, why: &str) {
        why.clone_into(&mut self.failure);
        self.finish(Step::Failed);
    }

    fn finish(&mut self, step: Step) {
        self.step = step;
        self.timer = None;
    }

    fn uri(&self, method: &str) -> String {
        match method {
            "REGISTER" => format!("sip:{}", self.server),
            _ => format!("sip:service@{}", self.server),
        }
    }

    fn write(&self, method: &'static str, branch: &str) -> String {
        let callee = if method == "REGISTER" { &self.user } else { "service" };
        let (to, uri) = match &self.remote {
            Some((to, uri)) => (to.clone(), uri.clone()),
            None => (format!("<sip:{callee}@{}>", self.server), self.uri(method)),
        };
        self.write_to(method, branch, &uri, &to)
    }

    fn write_to(&self, method: &'static str, branch: &str, uri: &str, to: &str) -> String {
        let body = if method == "INVITE" { sdp(self.local.ip()) } else { String::new() };
        let registering = method == "REGISTER";
        Request {
            method,
            uri,
            branch,
            local: self.local,
            user: &self.user,
            from: &format!("<sip:{}@{}>;tag={}", self.user, self.server, self.word),
            to,
            call_id: &format!("{}{}", self.word, if registering { "r" } else { "c" }),
            cseq: self.cseq,
            more: &format!(
                "{}{}",
                if registering { "Expires: 3600\r\n" } else { "" },
                if method == "ACK" { "" } else { &self.credentials }
            ),
            body: &body,
        }
        .text()
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::answer;
    use crate::request::reply_to;
    use sip_parse::{Index, Mode};

    const TIMING: Timing = Timing { hold: Duration::from_secs(3), give_up: Duration::from_secs(32) };

    fn call() -> Call {
        let (local, to) = ("192.0.2.9:40000".parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
        Call::new("w0rd".to_owned(), "alice".to_owned(), Some("secret".to_owned()), (local, to), TIMING)
    }

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// What the responder answers to this.
    fn replies(sent: &Send) -> Vec<String> {
        let mut index: Index = Index::new();
        let request = index.parse(sent.text.as_bytes(), Mode::Strict).unwrap();
        let (source, local) = ("192.0.2.9:40000".parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
        let answer = answer(&request, source, local).unwrap();
        answer.datagrams.into_iter().map(|reply| String::from_utf8(reply).unwrap()).collect()
    }

    fn give(call: &mut Call, reply: &str, now: Duration) -> Option<Send> {
        let sends = give_all(call, reply, now);
        assert!(sends.len() < 2, "{sends:?}");
        sends.into_iter().next()
    }

    fn give_all(call: &mut Call, reply: &str, now: Duration) -> Vec<Send> {
        let mut index: Index = Index::new();
        let reply = index.parse(reply.as_bytes(), Mode::Strict).unwrap();
        let (status, _) = reply_to(&reply, "w0rd").unwrap();
        call.on_reply(status, &reply, now)
    }

    fn connect(call: &mut Call) -> (Send, Send) {
        let register = call.begin(secs(0.0));
        let invite = give(call, &replies(&register)[0], secs(0.1)).unwrap();
        let [ringing, ok] = &replies(&invite)[..] else { panic!() };
        assert_eq!(give(call, ringing, secs(0.2)), None);
        let ack = give(call, ok, secs(0.3)).unwrap();
        (invite, ack)
    }

    #[test]
    fn a_call_goes_its_way() {
        let mut call = call();
        let (invite, ack) = connect(&mut call);
        assert_eq!((invite.method, ack.method), ("INVITE", "ACK"));
        assert!(ack.text.starts_with("ACK sip:192.0.2.1:5060 SIP/2.0\r\n"), "to the Contact: {}", ack.text);
        assert!(ack.text.contains("CSeq: 1 ACK\r\n") && ack.text.contains(";tag="));
        assert_eq!(call.setup, Some(secs(0.3) - secs(0.1)));

        assert_eq!(call.timer(), Some(secs(3.3)), "the hold time");
        let bye = call.on_timer(secs(3.3)).unwrap();
        assert!(bye.text.contains("CSeq: 2 BYE\r\n"));
        assert_eq!(give(&mut call, &replies(&bye)[0], secs(3.4)), None);
        assert_eq!((call.step(), call.timer()), (Step::Succeeded, None));
    }

    /// §17.1.2.2: E fires at T1, doubles up to T2, F ends it at 64 × T1.
    #[test]
    fn a_register_is_repeated_at_doubling_intervals_up_to_t2() {
        let mut call = call();
        call.begin(secs(0.0));
        let mut times = Vec::new();
        while let Some(at) = call.timer() {
            if call.on_timer(at).is_some_and(|send| send.again) {
                times.push(at.as_secs_f64());
            }
        }
        assert_eq!(times, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]);
        assert_eq!((call.step(), call.failure.as_str()), (Step::Failed, "REGISTER timed out"));
    }

    /// §17.1.1.2: A doubles without limit, B ends it at 64 × T1: seven sendings.
    #[test]
    fn an_invite_is_repeated_until_a_provisional_reply_comes() {
        let mut call = call();
        let register = call.begin(secs(0.0));
        let invite = give(&mut call, &replies(&register)[0], secs(0.0)).unwrap();
        assert_eq!(call.timer(), Some(secs(0.5)));
        assert_eq!(call.on_timer(secs(0.5)).map(|send| send.text), Some(invite.text.clone()));
        assert_eq!(call.timer(), Some(secs(1.5)));
        assert_eq!(give(&mut call, &replies(&invite)[0], secs(1.0)), None);
        assert_eq!(call.timer(), Some(secs(32.0)), "ringing: only the end is awaited");
        assert_eq!(call.on_timer(secs(32.0)), None);
        assert_eq!(call.failure, "INVITE timed out");
    }

    #[test]
    fn a_repeated_200_gets_the_same_ack_again() {
        let mut call = call();
        let (invite, ack) = connect(&mut call);
        let again = give(&mut call, &replies(&invite)[1], secs(0.8)).unwrap();
        assert_eq!((again.text, again.again), (ack.text, true));
        assert_eq!(call.step(), Step::Hold);
    }

    #[test]
    fn a_refused_invite_is_acknowledged_in_its_own_transaction() {
        let mut call = call();
        let register = call.begin(secs(0.0));
        let invite = give(&mut call, &replies(&register)[0], secs(0.0)).unwrap();
        let refusal = replies(&invite)[1].replacen("200 OK", "486 Busy Here", 1);
        let ack = give(&mut call, &refusal, secs(0.1)).unwrap();
        assert!(
            ack.text.starts_with("ACK sip:service@192.0.2.1 SIP/2.0\r\n") && ack.text.contains("z9hG4bKw0rdINVITE1")
        );
        assert_eq!((call.step(), call.failure.as_str()), (Step::Failed, "INVITE 486"));
    }

    #[test]
    fn a_challenge_is_answered_once_in_a_transaction_of_its_own() {
        const CHALLENGE: &str = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"e.com\", nonce=\"1\"";
        let challenged = |sent: &Send| replies(sent).last().unwrap().replacen("200 OK", CHALLENGE, 1);
        let mut call = call();
        let register = call.begin(secs(0.0));
        let again = give(&mut call, &challenged(&register), secs(0.1)).unwrap();
        assert!(again.text.contains("CSeq: 2 REGISTER\r\n") && again.text.contains("z9hG4bKw0rdREGISTER2;"));
        assert!(again.text.contains("\r\nAuthorization: Digest username=\"alice\", realm=\"e.com\", nonce=\"1\""));
        assert_eq!(give(&mut call, &challenged(&register), secs(0.2)), None, "the answer to the first one, again");

        let invite = give(&mut call, &replies(&again)[0], secs(0.3)).unwrap();
        let [ack, again] = &give_all(&mut call, &challenged(&invite), secs(0.4))[..] else { panic!() };
        assert!(ack.text.contains("CSeq: 1 ACK\r\n") && ack.text.contains("z9hG4bKw0rdINVITE1;"), "{}", ack.text);
        assert!(again.text.contains("CSeq: 2 INVITE\r\n") && !ack.text.contains("Authorization"));
        let ack = give(&mut call, &replies(again)[1], secs(0.5)).unwrap();
        assert!(ack.text.contains("CSeq: 2 ACK\r\n") && !ack.text.contains("Authorization"));
        let bye = call.on_timer(secs(3.5)).unwrap();
        assert!(bye.text.contains("CSeq: 3 BYE\r\n") && !bye.text.contains("Authorization"));
    }

    #[test]
    fn a_password_that_is_refused_is_not_tried_again() {
        const CHALLENGE: &str = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"e.com\", nonce=\"1\"";
        let mut call = call();
        let register = call.begin(secs(0.0));
        let again = give(&mut call, &replies(&register)[0].replacen("200 OK", CHALLENGE, 1), secs(0.1)).unwrap();
        assert_eq!(give(&mut call, &replies(&again)[0].replacen("200 OK", CHALLENGE, 1), secs(0.2)), None);
        assert_eq!((call.step(), call.failure.as_str()), (Step::Failed, "REGISTER 401"));
    }
}
