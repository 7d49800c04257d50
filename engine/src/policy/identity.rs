//! Whom a REGISTER is about: the account of its credentials (RFC 2617 §3.2.2), and the address-of-record that is to be
//! registered (RFC 3261 §10.3).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use sip_parse::{Auth, Host, Message, Name as HeaderName, SipUri, Uri};
use vos_common::rule::Addr;

use super::Secret;
use crate::xdp::ip;

/// Bytes of a name that count. Longer ones are one with whatever begins alike: at one address that is nobody else.
pub const NAME_MAX: usize = 64;
/// Credentials of one REGISTER, at most. Phones send one for each realm that has challenged them; more would hide the one
/// that is meant from whoever counts refusals.
pub const CREDENTIALS_MAX: usize = 8;

/// `user@domain`: an account, or an address-of-record without its scheme and port. The domain is in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    length: u8,
    bytes: [u8; NAME_MAX],
}

impl Name {
    const EMPTY: Self = Self { length: 0, bytes: [0; NAME_MAX] };

    /// The account in credentials: `username`, and the realm where that has no domain.
    pub(super) fn of_account(shown: &Shown<'_>) -> Option<Self> {
        let username = shown.username?;
        let mut name = Self::EMPTY;
        name.push(username.iter().copied());
        if !username.contains(&b'@') {
            name.push(b"@".iter().copied());
            name.push(shown.realm.unwrap_or_default().iter().map(u8::to_ascii_lowercase));
        }
        Some(name)
    }

    /// The address-of-record in To.
    pub fn of_aor(message: &Message<'_>) -> Option<Self> {
        use fmt::Write as _;
        let mut name = Self::EMPTY;
        match message.to().ok()?.uri().ok()? {
            // Nearly all: nothing in it can be written in two ways but the case of the domain.
            Uri::Sip(SipUri { user: Some(user), host, .. }) if is_plain(user) && is_plain_name(host) => {
                name.push(user.iter().copied().chain([b'@']));
                name.push(host.as_bytes().iter().map(u8::to_ascii_lowercase));
            }
            // Whoever writes sips: or a port means the same account.
            Uri::Sip(mut sip) => {
                (sip.secure, sip.port) = (false, None);
                let mut behind = Behind { skipped: "sip:".len(), name: &mut name };
                write!(behind, "{}", Uri::Sip(sip).aor()).ok()?;
            }
            other => write!(Behind { skipped: 0, name: &mut name }, "{}", other.aor()).ok()?,
        }
        Some(name)
    }

    /// The bytes of a name, as they were written down.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let mut name = Self::EMPTY;
        name.push(bytes.iter().copied());
        name
    }

    /// Its bytes: whatever somebody has sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length).min(NAME_MAX)]
    }

    fn push(&mut self, bytes: impl Iterator<Item = u8>) {
        for byte in bytes {
            let Some(place) = self.bytes.get_mut(usize::from(self.length)) else { return };
            *place = byte;
            self.length += 1;
        }
    }
}

impl fmt::Display for Name {
    /// What is no UTF-8 is replaced; nothing is made harmless.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Writes what is behind the first bytes.
struct Behind<'a> {
    skipped: usize,
    name: &'a mut Name,
}

impl fmt::Write for Behind<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let skip = self.skipped.min(text.len());
        self.skipped -= skip;
        self.name.push(text.bytes().skip(skip));
        Ok(())
    }
}

/// Whose address it is: an IPv4 address, or an IPv6 /64, since whoever has one of its addresses has them all.
pub(crate) fn holder(src: &Addr) -> Addr {
    if src.is_v4() { *src } else { Addr { lo: 0, ..*src } }
}

/// The same as a prefix.
pub(crate) fn net_of(holder: &Addr) -> IpNet {
    let ip = ip(*holder);
    let length = if ip.is_ipv4() { 32 } else { 64 };
    IpNet::new_assert(ip, length)
}

/// The holder of an address or prefix as it is written.
pub(crate) fn holder_of(net: &IpNet) -> Addr {
    match net.addr() {
        IpAddr::V4(v4) => Addr::v4(v4.octets()),
        IpAddr::V6(v6) => holder(&Addr::from_bytes(v6.octets())),
    }
}

/// A REGISTER that shows credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where it came from.
    pub source: Addr,
    /// [`Secret::transaction`] of it.
    pub transaction: u64,
    /// Its place among the credentials of the REGISTER.
    pub place: u8,
    /// [`Secret::nonce`] of the challenge that is answered.
    pub nonce: u64,
    /// Tells guesses apart that are made in one transaction: a hash of the proof of the password.
    pub guess: u64,
    /// For which account.
    pub account: Name,
    /// For which address-of-record.
    pub aor: Name,
}

impl Attempt {
    /// What the REGISTER `message` shows, up to [`CREDENTIALS_MAX`] of it; [`Secret::transaction`] is that of it.
    pub fn all_of<'a>(
        message: &Message<'a>,
        source: &Addr,
        secret: &Secret,
        transaction: u64,
    ) -> impl Iterator<Item = Self> + use<'a> {
        let (source, secret) = (*source, secret.clone());
        let mut all = (0u8..).zip(credentials(message)).take(CREDENTIALS_MAX).peekable();
        let aor = all.peek().and_then(|_| Name::of_aor(message));
        all.filter_map(move |(place, shown)| {
            let aor = aor?;
            let (nonce, guess) = (secret.nonce(shown.nonce?), secret.nonce(shown.response?));
            Some(Self { source, transaction, place, nonce, guess, account: Name::of_account(&shown)?, aor })
        })
    }
}

/// Are there more credentials in a REGISTER than are looked at?
pub(crate) fn hides(message: &Message<'_>) -> bool {
    lines(message).take(CREDENTIALS_MAX + 1).count() > CREDENTIALS_MAX
}

/// Are there any, of whatever kind?
pub(crate) fn shows(message: &Message<'_>) -> bool {
    lines(message).next().is_some()
}

fn lines<'a>(message: &Message<'a>) -> impl Iterator<Item = &'a [u8]> {
    message.lines(HeaderName::Authorization).chain(message.lines(HeaderName::ProxyAuthorization))
}

/// What digest credentials say, of what matters here (RFC 2617 §3.2.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown<'a> {
    username: Option<&'a [u8]>,
    realm: Option<&'a [u8]>,
    nonce: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
}

impl<'a> Shown<'a> {
    /// Of several parameters of a name the last, as servers read it.
    fn of(credentials: &Auth<'a>) -> Self {
        let mut shown = Self::default();
        for param in credentials.params() {
            let place = match param.name {
                name if name.eq_ignore_ascii_case(b"username") => &mut shown.username,
                name if name.eq_ignore_ascii_case(b"realm") => &mut shown.realm,
                name if name.eq_ignore_ascii_case(b"nonce") => &mut shown.nonce,
                name if name.eq_ignore_ascii_case(b"response") => &mut shown.response,
                _ => continue,
            };
            *place = param.value;
        }
        shown
    }
}

/// The digest credentials of a request, for whoever asked.
pub(super) fn credentials<'a>(message: &Message<'a>) -> impl Iterator<Item = Shown<'a>> + use<'a> {
    let all = message.authorizations().chain(message.proxy_authorizations());
    all.filter_map(Result::ok).filter(Auth::is_digest).map(|auth| Shown::of(&auth))
}

/// Has it one form?
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte))
}

fn is_plain_name(host: Host<'_>) -> bool {
    is_plain(host.as_bytes()) && host.ip().is_none()
}

#[cfg(test)]
mod tests {
    use sip_parse::{Index, Mode};

    use super::*;

    fn told<T>(to: &str, headers: &str, ask: impl FnOnce(&Message<'_>) -> T) -> T {
        let text = format!(
            "REGISTER sip:e.com SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:1@x>;tag=1\r\nTo: {to}\r\n\
             Call-ID: 1\r\nCSeq: 1 REGISTER\r\n{headers}\r\n"
        );
        let mut index: Index = Index::new();
        ask(&index.parse(text.as_bytes(), Mode::Lenient).expect("the test's own message parses"))
    }

    #[test]
    fn one_address_of_record_has_one_name_however_it_is_written() {
        for to in ["<sip:100@e.com>", "sips:1%300@E.COM:5061;tag=1", "\"x\" <sip:100:pw@e.com;user=phone?a=b>"] {
            told(to, "", |message| {
                assert_eq!(Name::of_aor(message).expect("a name").as_bytes(), b"100@e.com", "{to}");
            });
        }
        told("<tel:+1-555>", "", |message| {
            assert_eq!(Name::of_aor(message).expect("a name").to_string(), "tel:+1555");
        });
        assert_eq!(told("<sip:100@", "", Name::of_aor), None);
        let long = format!("<sip:{}@e.com>", "x".repeat(200));
        told(&long, "", |message| assert_eq!(Name::of_aor(message).expect("a name").as_bytes(), [b'x'; NAME_MAX]));
    }

    #[test]
    fn an_account_is_its_user_and_its_realm() {
        let shown = |text: &str| {
            told("<sip:1@x>", &format!("Authorization: Digest {text}, nonce=\"n\", response=\"r\"\r\n"), |message| {
                credentials(message).next().and_then(|shown| Name::of_account(&shown)).map(|name| name.to_string())
            })
        };
        assert_eq!(shown("username=\"100\", realm=\"E.com\"").as_deref(), Some("100@e.com"));
        assert_eq!(shown("username=\"100@a.org\", realm=\"e.com\"").as_deref(), Some("100@a.org"));
        assert_eq!(shown("username=\"100\"").as_deref(), Some("100@"));
        assert_eq!(shown("realm=\"e.com\""), None);
    }

    #[test]
    fn an_attempt_is_told_for_each_credentials_up_to_the_limit() {
        let one = |n: usize| {
            format!("Authorization: Digest username=\"{n}\", realm=\"r\", nonce=\"n{n}\", response=\"{n}\"\r\n")
        };
        let headers: String = (0..9).map(one).collect::<String>() + "Proxy-Authorization: Basic abc\r\n";
        let (secret, source) = (Secret::default(), Addr::v4([192, 0, 2, 7]));
        let attempts =
            told("<sip:1@x>", &headers, |message| Attempt::all_of(message, &source, &secret, 7).collect::<Vec<_>>());
        let accounts: Vec<String> = attempts.iter().map(|attempt| attempt.account.to_string()).collect();
        assert_eq!(accounts, ["0@r", "1@r", "2@r", "3@r", "4@r", "5@r", "6@r", "7@r"]);
        assert!(told("<sip:1@x>", &headers, hides));
        assert!(!told("<sip:1@x>", &(0..8).map(one).collect::<String>(), hides));
        let seven: String = (0..7).map(one).collect();
        assert!(!told("<sip:1@x>", &(seven.clone() + "Proxy-Authorization: Basic abc\r\n"), hides));
        assert!(told("<sip:1@x>", &(seven + &"Proxy-Authorization: Basic abc\r\n".repeat(2)), hides));
        let [first, second, ..] = &attempts[..] else { panic!("{attempts:?}") };
        assert!(first.nonce != second.nonce && first.guess != second.guess && first.transaction == second.transaction);
        assert_eq!((first.nonce, first.aor.as_bytes(), first.source), (secret.nonce(b"n0"), &b"1@x"[..], source));
        let none = "Authorization: Basic abc\r\nAuthorization: Digest username=\"1\", nonce=\"n\"\r\n";
        assert_eq!(told("<sip:1@x>", none, |message| Attempt::all_of(message, &source, &secret, 7).count()), 0);
    }

    #[test]
    fn an_ipv6_address_is_its_64() {
        let address =
            Addr::from_bytes("2001:db8:1:2:3:4:5:6".parse::<std::net::Ipv6Addr>().expect("it is one").octets());
        let net = net_of(&holder(&address));
        assert_eq!(net.to_string(), "2001:db8:1:2::/64");
        assert_eq!(holder_of(&net), holder(&address));
        let v4 = Addr::v4([192, 0, 2, 1]);
        assert_eq!((net_of(&holder(&v4)).to_string(), holder_of(&net_of(&v4))), ("192.0.2.1/32".to_owned(), v4));
    }
}
