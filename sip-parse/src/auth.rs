use crate::class::{LWS, TOKEN};
use crate::params::Param;
use crate::reader::Reader;

/// Credentials or a challenge: one whole `Authorization`, `Proxy-Authorization`, `WWW-Authenticate`
/// or `Proxy-Authenticate` (RFC 3261 §20.7, §20.27, §20.28, §20.44). Their commas part parameters,
/// not values (§7.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Auth<'a> {
    /// `Digest` as a rule; compares without case.
    pub scheme: &'a [u8],
    /// The parameters, or the token of a scheme such as `Bearer` that has none (RFC 8898).
    rest: Reader<'a>,
}

impl<'a> Auth<'a> {
    /// Whether this is the scheme of §22.4, which the accessors below are about.
    pub fn is_digest(&self) -> bool {
        self.scheme.eq_ignore_ascii_case(b"Digest")
    }

    /// The parameter called `name`, without its quotes, escapes as they are: of several the last, as
    /// the servers read it.
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.params().filter(|param| param.name.eq_ignore_ascii_case(name)).last()?.value
    }

    /// All parameters, in the order they were written.
    pub fn params(&self) -> AuthParams<'a> {
        let has_some = self.is_digest() || has_params(self.rest.rest());
        let rest = if has_some { self.rest } else { Reader::new(&[], self.rest.mode) };
        let mut params = AuthParams { rest, ends_in_comma: false };
        // For servers a comma in front hides the parameter behind it.
        if params.rest.eat_separator(b',') {
            params.next();
        }
        params
    }

    /// What follows the scheme, as it was written.
    pub fn rest(&self) -> &'a [u8] {
        self.rest.rest()
    }

    /// Who claims to call (RFC 2617 §3.2.2).
    pub fn username(&self) -> Option<&'a [u8]> {
        self.get(b"username")
    }

    /// The protection space (RFC 2617 §3.2.1).
    pub fn realm(&self) -> Option<&'a [u8]> {
        self.get(b"realm")
    }

    /// The server's challenge, sent back in credentials (RFC 2617 §3.2.1).
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.get(b"nonce")
    }

    /// The Request-URI the credentials are for (RFC 2617 §3.2.2).
    pub fn uri(&self) -> Option<&'a [u8]> {
        self.get(b"uri")
    }

    /// The proof of the password (RFC 2617 §3.2.2).
    pub fn response(&self) -> Option<&'a [u8]> {
        self.get(b"response")
    }

    /// How often this nonce was used, counting this time (RFC 2617 §3.2.2).
    pub fn nonce_count(&self) -> Option<u32> {
        let hex = self.get(b"nc").filter(|text| text.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(core::str::from_utf8(hex).ok()?, 16).ok()
    }

    /// Whether a challenge says that only the nonce was too old (RFC 2617 §3.2.1).
    pub fn is_stale(&self) -> bool {
        self.get(b"stale").is_some_and(|stale| stale.eq_ignore_ascii_case(b"true"))
    }

    /// Reads a whole header value.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let scheme = reader.take_some(TOKEN)?;
        let is_parted = reader.eat_lws();
        let auth = Self { scheme, rest: *reader };
        let is_whole = if auth.is_digest() || has_params(reader.rest()) {
            is_parted && if reader.is_strict() { auth.is_strict() } else { auth.has_some() }
        } else {
            is_parted && if reader.is_strict() { is_token68(reader.rest()) } else { !reader.is_at_end() }
        };
        *reader = Reader::new(&[], reader.mode);
        is_whole.then_some(auth)
    }

    /// There is a parameter, and no comma behind the last one: servers refuse that.
    fn has_some(&self) -> bool {
        let mut params = self.params();
        params.by_ref().last().is_some() && !params.ends_in_comma
    }

    /// Every parameter is well formed, and of `Digest` some are what they have to be: `nc-value =
    /// 8LHEX`, a `response` of hexadecimal digits, `stale` true or false (§25.1).
    fn is_strict(&self) -> bool {
        let is_lhex =
            |text: &[u8]| !text.is_empty() && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_bool = |text: &[u8]| text.eq_ignore_ascii_case(b"true") || text.eq_ignore_ascii_case(b"false");
        let is_digest_right = || {
            self.get(b"nc").is_none_or(|nc| nc.len() == 8 && is_lhex(nc))
                && self.get(b"response").is_none_or(is_lhex)
                && self.get(b"stale").is_none_or(is_bool)
        };
        AuthParams { rest: self.rest, ends_in_comma: false }.are_well_formed()
            && (!self.is_digest() || is_digest_right())
    }
}

/// `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`: what stands in the place of
/// parameters in schemes such as `Bearer` (RFC 9110 §11.2, RFC 8898 §2).
fn is_token68(text: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    let length = text.iter().take_while(|byte| is_part(byte)).count();
    length > 0 && text[length..].iter().all(|&byte| byte == b'=')
}

/// `auth-param = token EQUAL …` begins here; a `token68` may end in `=` but has nothing behind it.
fn has_params(text: &[u8]) -> bool {
    let name = TOKEN.run(text);
    let rest = &text[name..];
    let equal = &rest[LWS.run(rest)..];
    name > 0 && matches!(equal, [b'=', next, ..] if *next != b'=')
}

/// The parameters of [`Auth`], parted by commas.
#[derive(Clone, Debug)]
#[must_use]
pub struct AuthParams<'a> {
    rest: Reader<'a>,
    ends_in_comma: bool,
}

impl AuthParams<'_> {
    fn are_well_formed(mut self) -> bool {
        loop {
            let has_value = self.rest.param().is_some_and(|param| param.is_quoted || param.is_token());
            if !has_value {
                return false;
            }
            if !self.rest.eat_separator(b',') {
                return self.rest.is_at_end();
            }
        }
    }
}

/// Stops at the first flaw, as the servers do: what stands before it counts for them.
impl<'a> Iterator for AuthParams<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        let param = self.rest.param().filter(|param| param.value.is_some());
        let has_comma = param.is_some() && self.rest.eat_separator(b',');
        self.ends_in_comma |= has_comma && self.rest.is_at_end();
        if !has_comma {
            self.rest = Reader::new(&[], self.rest.mode);
        }
        param
    }
}
