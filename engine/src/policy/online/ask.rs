use std::net::SocketAddr;

use sip_parse::Message;
use vos_common::rule::Addr;

use super::super::Secret;
use crate::datagram::End;
use crate::xdp::ip;

/// How the branch of a question begins: RFC 3261's cookie (§8.1.1.7), and the engine's.
const COOKIE: &[u8] = b"z9hG4bKvosfp";
/// Digits behind it: who is asked, the question's number, the proof that it is ours.
pub(super) const DIGITS: usize = 16 + 8 + 16;

/// A question, to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// [`Secret::end`] of who is asked.
    pub key: u64,
    /// How many it has been asked, this one included.
    pub number: u32,
    /// Who is asked.
    pub to: End,
    /// From where; `None`: whatever address of this host's the way there begins at.
    pub from: Option<End>,
}

impl Ask {
    /// The OPTIONS. Its Request-URI has no user: any answer will do (RFC 3261 §11).
    pub fn text(&self, from: &End, secret: &Secret) -> Vec<u8> {
        let [from, to] = [from, &self.to].map(|end| SocketAddr::new(ip(end.addr), end.port));
        let Self { key, number, .. } = self;
        let (cookie, proof) = (String::from_utf8_lossy(COOKIE), secret.ask(*key, *number, &self.to.addr));
        format!(
            "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch={cookie}{key:016x}{number:08x}{proof:016x};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{from}>;tag={key:016x}\r\nTo: <sip:{to}>\r\n\
             Call-ID: {proof:016x}\r\nCSeq: {cseq} OPTIONS\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n",
            cseq = number & 0x7fff_ffff,
        )
        .into_bytes()
    }
}

/// Somebody has answered a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// [`Secret::end`] of who was asked.
    pub key: u64,
}

impl Heard {
    /// Of a response from `src`; `None`: it answers no question that went there. The branch says so, which nobody can make who
    /// does not know the secret, and nobody has read to whom it did not go.
    pub fn of(message: &Message<'_>, src: &Addr, secret: &Secret) -> Option<Self> {
        let digits = message.top_via().ok()?.branch?.strip_prefix(COOKIE)?;
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == DIGITS)?;
        let (key, number) = (u64::from_str_radix(digits.get(..16)?, 16), u32::from_str_radix(digits.get(16..24)?, 16));
        let (key, proof) = (key.ok()?, u64::from_str_radix(digits.get(24..)?, 16).ok()?);
        (secret.ask(key, number.ok()?, src) == proof).then_some(Self { key })
    }
}
