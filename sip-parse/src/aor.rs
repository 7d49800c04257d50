use core::fmt::{self, Write};
use core::hash::{Hash, Hasher};
use core::net::IpAddr;

use crate::class::{PARAM, URIC, USER};
use crate::equivalence::{canonical_nss, digits, unescaped};
use crate::{Host, Uri};

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
                    && are_one_host(one.host, another.host)
                    && one.port == another.port
            }
            // A local number is another one in another context (RFC 3966 §5.1.5).
            (Uri::Tel(one), Uri::Tel(another)) => {
                escaped(digits(one.number)).eq(escaped(digits(another.number)))
                    && escaped_param(one.context()).eq(escaped_param(another.context()))
            }
            (Uri::Urn { nid, nss }, Uri::Urn { nid: other_nid, nss: other_nss }) => {
                escaped(lower(nid)).eq(escaped(lower(other_nid)))
                    && escaped(canonical_nss(nid, nss)).eq(escaped(canonical_nss(other_nid, other_nss)))
            }
            (Uri::Other { scheme, rest }, Uri::Other { scheme: other_scheme, rest: other_rest }) => {
                lower(scheme).eq(lower(other_scheme))
                    && escaped(rest.iter().copied()).eq(escaped(other_rest.iter().copied()))
            }
            _ => false,
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
                match uri.host.ip() {
                    Some(ip) => ip.hash(state),
                    None => name(uri.host).for_each(|byte| state.write_u8(byte)),
                }
                (uri.secure, uri.port).hash(state);
            }
            Uri::Tel(uri) => escaped(digits(uri.number)).for_each(|byte| state.write_u8(byte)),
            Uri::Urn { nid, nss } => escaped(canonical_nss(nid, nss)).for_each(|byte| state.write_u8(byte)),
            Uri::Other { rest, .. } => escaped(rest.iter().copied()).for_each(|byte| state.write_u8(byte)),
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
                    put(f, bytes(Some(user)).flat_map(|byte| escape(byte, USER.has(byte))))?;
                    f.write_str("@")?;
                }
                match uri.host.ip() {
                    Some(IpAddr::V4(ip)) => write!(f, "{ip}")?,
                    Some(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
                    None => put(f, name(uri.host))?,
                }
                uri.port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Uri::Tel(uri) => {
                f.write_str("tel:")?;
                put(f, escaped(digits(uri.number)))?;
                if uri.context().next().is_some() {
                    f.write_str(";phone-context=")?;
                }
                put(f, escaped_param(uri.context()))
            }
            Uri::Urn { nid, nss } => {
                f.write_str("urn:")?;
                put(f, escaped(lower(nid)))?;
                f.write_str(":")?;
                put(f, escaped(canonical_nss(nid, nss)))
            }
            Uri::Other { scheme, rest } => {
                put(f, lower(scheme))?;
                f.write_str(":")?;
                put(f, escaped(rest.iter().copied()))
            }
        }
    }
}

/// Bytes that are ASCII.
fn put(f: &mut fmt::Formatter<'_>, bytes: impl Iterator<Item = u8>) -> fmt::Result {
    bytes.map(char::from).try_for_each(|char| f.write_char(char))
}

/// What may not stand in a URI is escaped; what is escaped already stays so.
fn escaped(bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    bytes.flat_map(|byte| escape(byte, byte == b'%' || URIC.has(byte)))
}

/// The same for what has been unescaped, and is to be the value of a parameter.
fn escaped_param(bytes: impl Iterator<Item = u8>) -> impl Iterator<Item = u8> {
    bytes.flat_map(|byte| escape(byte, PARAM.has(byte)))
}

fn escape(byte: u8, stays: bool) -> impl Iterator<Item = u8> {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
    let (bytes, length) = if stays { ([byte, 0, 0], 1) } else { ([b'%', digit(byte >> 4), digit(byte & 15)], 3) };
    bytes.into_iter().take(length)
}

fn are_one_host(one: Host<'_>, another: Host<'_>) -> bool {
    match (one.ip(), another.ip()) {
        (None, None) => name(one).eq(name(another)),
        (one, another) => one == another,
    }
}

/// The name of a host: without case.
fn name(host: Host<'_>) -> impl Iterator<Item = u8> {
    escaped(lower(host.as_bytes()))
}

/// What a text with escapes stands for; the absent one is the empty one.
fn bytes(text: Option<&[u8]>) -> impl Iterator<Item = u8> + '_ {
    unescaped(text.unwrap_or_default()).map(|(byte, _)| byte)
}

fn lower(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    text.iter().map(u8::to_ascii_lowercase)
}
