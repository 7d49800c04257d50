use crate::aor::Aor;
use crate::class::{HNV, PARAM, PASSWORD, URI, URIC, USER};
use crate::equivalence::{digits, is_equal_ignoring_case};
use crate::host::Host;
use crate::reader::{Reader, find};
use crate::{Error, Mode, Result};

/// A URI (RFC 3261 §19.1, §25.1 `addr-spec`). Nothing in it is unescaped.
#[derive(Clone, Copy, Debug)]
pub enum Uri<'a> {
    /// `sip:` and `sips:`
    Sip(SipUri<'a>),
    /// `tel:` (RFC 3966)
    Tel(TelUri<'a>),
    /// `urn:` (RFC 8141), such as `urn:service:sos` (RFC 5031)
    Urn {
        /// Which names these are: `service`. Compares without case.
        nid: &'a [u8],
        /// The name: `sos.fire`.
        nss: &'a [u8],
    },
    /// A URI of any other scheme, which servers answer with 416.
    Other {
        /// Compares without case.
        scheme: &'a [u8],
        /// What follows the colon.
        rest: &'a [u8],
    },
}

/// `sip:user:password@host:port;uri-parameters?headers` (RFC 3261 §19.1.1)
#[derive(Clone, Copy, Debug)]
pub struct SipUri<'a> {
    /// `sips`: over TLS all the way.
    pub secure: bool,
    /// What stands before the `@`, without the password.
    pub user: Option<&'a [u8]>,
    /// What stands between the first colon and the `@`.
    pub password: Option<&'a [u8]>,
    /// The domain or the address.
    pub host: Host<'a>,
    /// The port if it was written; 0 to 65535.
    pub port: Option<u16>,
    /// What stands between the first semicolon behind the host and the question mark.
    pub params: UriParams<'a>,
    /// What follows the question mark (§19.1.1 `headers`).
    pub headers: Option<&'a [u8]>,
}

/// `tel:number;parameters` (RFC 3966)
#[derive(Clone, Copy, Debug)]
pub struct TelUri<'a> {
    /// With its visual separators.
    pub number: &'a [u8],
    /// `phone-context`, `ext`, `isub`, …
    pub params: UriParams<'a>,
}

/// `;name=value` of a URI, in the order they were written (RFC 3261 §19.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UriParams<'a>(&'a [u8]);

impl<'a> Uri<'a> {
    /// Reads a URI that is all of `bytes`.
    ///
    /// The user ends at the first `@`, the password begins at the first `:` before it: both
    /// grammars agree on that. [`Mode::Strict`] then looks at every character (§25.1), lenient only
    /// at the host, the port, and for what no URI holds: white space, control characters, quotes,
    /// angle brackets.
    ///
    /// # Errors
    ///
    /// [`Error::Uri`]
    pub fn parse(bytes: &'a [u8], mode: Mode) -> Result<Self> {
        Self::read(bytes, mode).ok_or(Error::Uri)
    }

    fn read(bytes: &'a [u8], mode: Mode) -> Option<Self> {
        let Some((secure, rest)) = sip_scheme(bytes) else {
            return Self::read_other(bytes, mode);
        };
        if !mode.is_strict() {
            return SipUri::read(rest, secure).map(Self::Sip);
        }
        let mut reader = Reader::new(rest, mode);
        let uri = SipUri::read_strict(&mut reader, secure)?;
        reader.is_at_end().then_some(Self::Sip(uri))
    }

    /// Steps over the URI that comes next up to its `>`, by the grammar.
    #[inline(always)]
    pub(crate) fn take_bracketed(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
        let before = *reader;
        let Some((secure, rest)) = sip_scheme(reader.rest()) else {
            return reader.take_until(b'>').filter(|uri| Self::read_other(uri, Mode::Strict).is_some());
        };
        reader.take_bytes(before.rest().len() - rest.len());
        SipUri::read_strict(reader, secure)?;
        let uri = reader.since(&before);
        reader.eat(b'>').then_some(uri)
    }

    /// Reads a URI that is neither `sip` nor `sips`.
    fn read_other(bytes: &'a [u8], mode: Mode) -> Option<Self> {
        let (scheme, rest) = absolute_uri(bytes, mode)?;
        if is(scheme, b"tel") {
            return Some(TelUri::read(rest)).filter(|uri| digits(uri.number).next().is_some()).map(Self::Tel);
        }
        Some(match split(rest, b':') {
            (nid, Some(nss)) if is(scheme, b"urn") => Self::Urn { nid, nss },
            _ => Self::Other { scheme, rest },
        })
    }

    /// A Request-URI has no headers (§19.1.1, table 1).
    pub(crate) fn may_be_requested(self) -> bool {
        !matches!(self, Self::Sip(SipUri { headers: Some(_), .. }))
    }

    /// Who this is: the address-of-record that a registrar knows it by.
    pub fn aor(self) -> Aor<'a> {
        Aor(self)
    }
}

impl<'a> SipUri<'a> {
    /// Reads what follows `sip:` as servers do.
    fn read(text: &'a [u8], secure: bool) -> Option<Self> {
        let (user, password, hostport) = match split(text, b'@') {
            (userinfo, Some(hostport)) => {
                let (user, password) = split(userinfo, b':');
                (Some(user), password, hostport)
            }
            _ => (None, None, text),
        };
        let mut reader = Reader::new(hostport, Mode::Lenient);
        let (host, port) = Host::read_with_port(&mut reader, false)?;
        let (params, headers) = split(reader.rest(), b'?');
        let is_uri = URI.spans(text)
            && user.is_none_or(|user| !user.is_empty())
            && find(b'@', reader.rest()).is_none()
            && matches!(params, [] | [b';', ..]);
        is_uri.then_some(Self { secure, user, password, host, port, params: UriParams(params), headers })
    }

    /// Reads what comes next by the grammar: `[ userinfo ] hostport uri-parameters [ headers ]`.
    fn read_strict(reader: &mut Reader<'a>, secure: bool) -> Option<Self> {
        let (user, password) = match userinfo(reader) {
            Some((user, password)) => (Some(user), password),
            None => (None, None),
        };
        let (host, port) = Host::read_with_port(reader, false)?;
        let params = UriParams(reader.take_bytes(uri_parameters(reader.rest())?));
        let headers = if reader.eat(b'?') { Some(reader.take_bytes(headers(reader.rest())?)) } else { None };
        Some(Self { secure, user, password, host, port, params, headers })
    }
}

impl<'a> TelUri<'a> {
    fn read(text: &'a [u8]) -> Self {
        let number = find(b';', text).map_or(text, |at| &text[..at]);
        Self { number, params: UriParams(&text[number.len()..]) }
    }
}

impl<'a> UriParams<'a> {
    /// As they were written, from the first semicolon on.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The value of the parameter called `name`: of several the last, as the servers read it.
    /// `Some(None)` if it is there without one.
    pub fn get(self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        self.into_iter().filter(|&(found, _)| is_equal_ignoring_case(found, name)).last().map(|(_, value)| value)
    }
}

impl<'a> IntoIterator for UriParams<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = UriParamIter<'a>;

    fn into_iter(self) -> UriParamIter<'a> {
        UriParamIter(self.0)
    }
}

/// The names and values of [`UriParams`].
#[derive(Clone, Debug)]
pub struct UriParamIter<'a>(&'a [u8]);

impl<'a> Iterator for UriParamIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.strip_prefix(b";")?;
        let end = find(b';', text).unwrap_or(text.len());
        self.0 = &text[end..];
        Some(split(&text[..end], b'='))
    }
}

/// `sip:` or `sips:`, and what follows it.
fn sip_scheme(bytes: &[u8]) -> Option<(bool, &[u8])> {
    match bytes {
        [b's' | b'S', b'i' | b'I', b'p' | b'P', b':', rest @ ..] => Some((false, rest)),
        [b's' | b'S', b'i' | b'I', b'p' | b'P', b's' | b'S', b':', rest @ ..] => Some((true, rest)),
        _ => None,
    }
}

/// `userinfo = user [ ":" password ] "@"`; if it is something else, nothing is read.
fn userinfo<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let mut own = *reader;
    let user = own.take_bytes(USER.run_escaped(own.rest()));
    let password = own.eat(b':').then(|| own.take_bytes(PASSWORD.run_escaped(own.rest())));
    (!user.is_empty() && own.eat(b'@')).then_some(())?;
    *reader = own;
    Some((user, password))
}

/// The length of `*( ";" pname [ "=" pvalue ] )`.
fn uri_parameters(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    while let [b';', param @ ..] = rest {
        let name = PARAM.run_escaped(param);
        rest = &param[name..];
        let mut value = 1;
        if let [b'=', text @ ..] = rest {
            value = PARAM.run_escaped(text);
            rest = &text[value..];
        }
        if name == 0 || value == 0 {
            return None;
        }
    }
    Some(text.len() - rest.len())
}

/// The length of `header *( "&" header )`, `header = hname "=" hvalue`.
fn headers(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    loop {
        let name = HNV.run_escaped(rest);
        let [b'=', value @ ..] = &rest[name..] else { return None };
        rest = &value[HNV.run_escaped(value)..];
        match rest {
            _ if name == 0 => return None,
            [b'&', next @ ..] => rest = next,
            _ => return Some(text.len() - rest.len()),
        }
    }
}

/// What stands before and after the first `separator`.
pub(crate) fn split(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match find(separator, text) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// `absoluteURI = scheme ":" ( hier-part / opaque-part )`: the scheme, and what follows it.
pub(crate) fn absolute_uri(text: &[u8], mode: Mode) -> Option<(&[u8], &[u8])> {
    let (scheme, rest) = split(text, b':');
    let rest = rest.filter(|rest| !rest.is_empty())?;
    let is_uric = if mode.is_strict() { URIC.spans_escaped(rest) } else { URI.spans(rest) };
    (is_scheme(scheme) && is_uric).then_some((scheme, rest))
}

/// `scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )`
fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// Without case.
pub(crate) fn is(one: &[u8], another: &[u8]) -> bool {
    one.eq_ignore_ascii_case(another)
}
