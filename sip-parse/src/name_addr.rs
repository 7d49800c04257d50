use crate::reader::{DISPLAY, Reader, is_uri, trim_end};

/// The value of `From` or `To`: a name-addr or an addr-spec, and the tag (RFC 3261 §20.10, §20.20,
/// §20.39).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name without its quotes, escapes as they are; `None` if there is none.
    pub display: Option<&'a [u8]>,
    /// The URI with its own parameters; nothing in it is decoded.
    pub uri: &'a [u8],
    /// The `tag` of the header, never one of the URI (§19.3).
    pub tag: Option<&'a [u8]>,
}

impl<'a> NameAddr<'a> {
    /// Reads a whole header value; `None` if it is malformed.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(value);
        let (display, uri) = address(&mut reader)?;
        let mut tag = None;
        reader.params(|param| {
            if param.name.eq_ignore_ascii_case(b"tag") {
                tag = Some(param.value?);
            }
            Some(())
        })?;
        reader.peek().is_none().then_some(Self { display, uri, tag })
    }
}

/// `[ display-name ] LAQUOT URI RAQUOT`, or a URI without brackets: what follows its first `;` is
/// then the header's (§20.10).
fn address<'a>(reader: &mut Reader<'a>) -> Option<(Option<&'a [u8]>, &'a [u8])> {
    if reader.eat(b'"') {
        let display = reader.take_quoted()?;
        reader.skip_lws();
        return Some((Some(display), bracketed_uri(reader)?));
    }
    let text = trim_end(reader.take(DISPLAY));
    if reader.peek() == Some(b'<') {
        Some(((!text.is_empty()).then_some(text), bracketed_uri(reader)?))
    } else {
        is_uri(text).then_some((None, text))
    }
}

fn bracketed_uri<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    if !reader.eat(b'<') {
        return None;
    }
    reader.take_until(b'>').filter(|uri| is_uri(uri))
}
