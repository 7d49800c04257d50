use core::fmt;
use core::hash::{Hash, Hasher};

use crate::Uri;
use crate::class::{URIC, USER};
use crate::uri::{canonical_nss, digits, unescaped};

/// An address-of-record in canonical form: what a registrar keys its bindings by, and policy its
/// memory (RFC 3261 §10.3 step 5).
///
/// Of a `sip` or `sips` URI it keeps scheme, user, host and port: parameters, headers and password
/// do not count, escapes stand for what they mean, names of hosts have no case. It compares, hashes
/// and prints in that form without ever building it.
#[derive(Clone, Copy, Debug)]
pub struct Aor<'a>(pub(crate) Uri<'a>);

impl PartialEq<Aor<'_>> for Aor<'_> {
    fn eq(&self, other: &Aor<'_>) -> bool {
        match (self.0, other.0) {
            (Uri::Sip(one), Uri::Sip(another)) => {
                one.secure == another.secure
                    && bytes(one.user).eq(bytes(another.user))
                    && one.host == another.host
                    && one.port == another.port
            }
            // A local number is another one in another context (RFC 3966 §5.1.5).
            (Uri::Tel(one), Uri::Tel(another)) => {
                digits(one.number).eq(digits(another.number)) && one.context().eq(another.context())
            }
            (one, another) => one.is_equivalent(another),
        }
    }
}

impl Eq for Aor<'_> {}

impl Hash for Aor<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0 {
            Uri::Sip(uri) => {
                bytes(uri.user).for_each(|byte| state.write_u8(byte));
                // No byte of a name: where the user ends is part of what is hashed.
                state.write_u16(u16::MAX);
                (uri.host, uri.secure, uri.port).hash(state);
            }
            Uri::Tel(uri) => digits(uri.number).for_each(|byte| state.write_u8(byte)),
            Uri::Urn { nid, nss } => canonical_nss(nid, nss).for_each(|byte| state.write_u8(byte)),
            Uri::Other { rest, .. } => rest.hash(state),
        }
    }
}

/// As a URI: what may not stand in one is escaped.
impl fmt::Display for Aor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Uri::Sip(uri) => {
                f.write_str(if uri.secure { "sips:" } else { "sip:" })?;
                if let Some(user) = uri.user {
                    write!(f, "{}@", Escaped(user))?;
                }
                match uri.host.ip() {
                    Some(core::net::IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
                    Some(ip) => write!(f, "{ip}")?,
                    None => write!(f, "{}", Lower(uri.host.as_bytes()))?,
                }
                uri.port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Uri::Tel(uri) => {
                f.write_str("tel:")?;
                digits(uri.number).try_for_each(|byte| write_uric(f, byte))?;
                if uri.context().next().is_some() {
                    f.write_str(";phone-context=")?;
                }
                uri.context().try_for_each(|byte| write_uric(f, byte))
            }
            Uri::Urn { nid, nss } => {
                write!(f, "urn:{}:", Lower(nid))?;
                canonical_nss(nid, nss).try_for_each(|byte| write_uric(f, byte))
            }
            Uri::Other { scheme, rest } => {
                write!(f, "{}:", Lower(scheme))?;
                rest.iter().try_for_each(|&byte| write_uric(f, byte))
            }
        }
    }
}

/// Without escapes, and written with those it needs.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unescaped(self.0).try_for_each(|(byte, _)| write_byte(f, byte, USER.has(byte)))
    }
}

/// What is escaped already stays so; what may not stand in a URI is escaped.
fn write_uric(f: &mut fmt::Formatter<'_>, byte: u8) -> fmt::Result {
    write_byte(f, byte, byte == b'%' || URIC.has(byte))
}

fn write_byte(f: &mut fmt::Formatter<'_>, byte: u8, as_it_is: bool) -> fmt::Result {
    if as_it_is { write!(f, "{}", char::from(byte)) } else { write!(f, "%{byte:02X}") }
}

struct Lower<'a>(&'a [u8]);

impl fmt::Display for Lower<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lower(Some(self.0)).try_for_each(|byte| write_uric(f, byte))
    }
}

/// What a text with escapes stands for; the absent one is the empty one.
fn bytes(text: Option<&[u8]>) -> impl Iterator<Item = u8> + '_ {
    unescaped(text.unwrap_or_default()).map(|(byte, _)| byte)
}

fn lower(text: Option<&[u8]>) -> impl Iterator<Item = u8> + '_ {
    text.unwrap_or_default().iter().map(u8::to_ascii_lowercase)
}
