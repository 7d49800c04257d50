use crate::class::{DISPLAY, LONE_DISPLAY, LWS, TOKEN, URI};
use crate::reader::{Reader, trim_end};
use crate::{Mode, Params, Result, Uri, key};

const TAG: u128 = key::of(b"tag");

/// A name-addr or addr-spec with its parameters: `From`, `To`, a `Contact`, a `Route`
/// (RFC 3261 §20.10, §20.20, §20.30, §20.34, §20.39).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name without its quotes, escapes as they are; `None` if there is none.
    pub display: Option<&'a [u8]>,
    /// The URI as it was written, with its own parameters: [`uri`](Self::uri) decodes it.
    pub addr_spec: &'a [u8],
    /// The `tag` of the header, never one of the URI (§19.3); of several the last, as the servers
    /// read it. `None` if there is none or it is empty.
    pub tag: Option<&'a [u8]>,
    /// The parameters of the header, never those of the URI (§20.10).
    pub params: Params<'a>,
    is_bracketed: bool,
}

impl<'a> NameAddr<'a> {
    /// The URI.
    ///
    /// # Errors
    ///
    /// [`Error::Uri`](crate::Error::Uri)
    pub fn uri(&self) -> Result<Uri<'a>> {
        Uri::parse(self.addr_spec, self.params.mode())
    }

    /// Reads the address that comes next and the parameters behind it.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let display = display_name(reader)?;
        let is_bracketed = reader.eat(b'<');
        let addr_spec = if is_bracketed { bracketed_uri(reader)? } else { bare_uri(reader)? };
        let mut tag = None;
        let params = Params::read(reader, |param| {
            if key::lower(key::of(param.name)) == TAG {
                tag = param.value.filter(|tag| !tag.is_empty());
            }
            Some(())
        })?;
        Some(Self { display, addr_spec, tag, params, is_bracketed })
    }

    /// The same, with the brackets that `Route` wants.
    pub(crate) fn read_bracketed(reader: &mut Reader<'a>) -> Option<Self> {
        let may_be_bare = !reader.is_strict();
        Self::read(reader).filter(|address| address.is_bracketed || may_be_bare)
    }
}

/// `*( token LWS ) / quoted-string`, if a `<` follows: else what comes next is a URI. `None` if it is
/// malformed.
fn display_name<'a>(reader: &mut Reader<'a>) -> Option<Option<&'a [u8]>> {
    match reader.peek() {
        Some(b'<') => Some(None),
        Some(b'"') => {
            let name = reader.take_quoted()?;
            reader.skip_lws();
            (reader.peek() == Some(b'<')).then_some(Some(name))
        }
        _ => {
            let before = *reader;
            let name = trim_end(reader.take(reader.class(DISPLAY, LONE_DISPLAY)));
            if reader.peek() != Some(b'<') {
                *reader = before;
                return Some(None);
            }
            let is_display = !reader.is_strict() || name.iter().all(|&byte| TOKEN.has(byte) || LWS.has(byte));
            is_display.then_some(Some(name))
        }
    }
}

/// What comes before `>`. Strict: a URI of which every character is looked at. Lenient: what holds
/// nothing that ends a URI, which is as far as servers look before they need it; they pass over white
/// space at both ends.
fn bracketed_uri<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    if reader.is_strict() {
        return Uri::take_bracketed(reader);
    }
    let uri = reader.take_until(b'>')?;
    Some(trim_end(&uri[LWS.run(uri)..])).filter(|uri| URI.spans(uri))
}

/// A URI without brackets: what follows its first `;` is the header's. One that holds a comma, a
/// question mark or a semicolon must stand in brackets (§20.10).
fn bare_uri<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let uri = trim_end(reader.take(reader.class(DISPLAY, LONE_DISPLAY)));
    let is_uri = match reader.mode {
        Mode::Strict => !uri.contains(&b'?') && Uri::parse(uri, Mode::Strict).is_ok(),
        Mode::Lenient => URI.spans(uri),
    };
    is_uri.then_some(uri)
}
