//! The grammar of the headers that nobody asks for by value (RFC 3261 §25.1): strict mode checks it.
//!
//! Each function reads what it names; whether something is left behind it is the caller's business.

use crate::class::{DIGIT, LWS, TEXT, TOKEN, WORD};
use crate::contact::is_qvalue;
use crate::reader::{Reader, decimal, is_utf8};
use crate::uri::absolute_uri;
use crate::{Auth, CSeq, Contact, Host, Name, NameAddr, Params, Via};

/// Whether `value` is one of a header called `name`.
#[inline(always)]
pub(crate) fn is_value(name: Name, mut reader: Reader<'_>) -> bool {
    let reader = &mut reader;
    let is_read = match name {
        Name::Via => list(reader, |r| Via::read(r).is_some()),
        Name::From | Name::To | Name::ReplyTo | Name::ReferTo => NameAddr::read(reader).is_some(),
        Name::Route | Name::RecordRoute => list(reader, |r| NameAddr::read_bracketed(r).is_some()),
        Name::Contact => star(reader) || list(reader, |r| matches!(Contact::read(r), Some(Contact::Address { .. }))),
        Name::CallId => call_id(reader).is_some(),
        Name::CSeq => CSeq::read(reader).is_some(),
        Name::MaxForwards => max_forwards(reader).is_some(),
        Name::ContentLength | Name::Expires | Name::MinExpires => number(reader).is_some(),
        Name::Authorization | Name::ProxyAuthorization | Name::WwwAuthenticate | Name::ProxyAuthenticate => {
            Auth::read(reader).is_some()
        }
        Name::AuthenticationInfo => list(reader, |r| r.param().is_some_and(|param| param.value.is_some())),
        Name::Allow | Name::Supported => optional(reader, tokens),
        Name::Require | Name::ProxyRequire | Name::Unsupported | Name::ContentEncoding => tokens(reader),
        Name::ContentLanguage => list(reader, language_tag),
        Name::InReplyTo => list(reader, |r| call_id(r).is_some()),
        Name::ContentType => media_type(reader).is_some() && media_params(reader),
        Name::Accept => optional(reader, |r| list(r, |r| media_type(r).is_some() && params_with_q(r))),
        Name::AcceptEncoding => optional(reader, |r| list(r, |r| token(r) && params_with_q(r))),
        Name::AcceptLanguage => optional(reader, |r| list(r, |r| (r.eat(b'*') || language_tag(r)) && params_with_q(r))),
        Name::AlertInfo | Name::CallInfo | Name::ErrorInfo => list(reader, |r| angle_uri(r) && params(r)),
        Name::ContentDisposition => token(reader) && params(reader),
        Name::Event => event_type(reader) && params(reader),
        Name::Priority => token(reader),
        Name::Server | Name::UserAgent => is_utf8(reader.rest()) && products(reader),
        Name::MimeVersion => digits(reader) && reader.eat(b'.') && digits(reader),
        Name::RetryAfter => {
            is_utf8(reader.rest()) && number(reader).is_some() && retry_reason(reader) && params(reader)
        }
        Name::Date => date(reader),
        Name::Timestamp => seconds(reader) && optional_delay(reader),
        Name::Warning => list(reader, warning),
        Name::Subject | Name::Organization => is_utf8(reader.take(TEXT)),
        Name::Other => is_text(reader.take(TEXT)),
    };
    reader.skip_lws();
    is_read && reader.is_at_end()
}

/// `*( TEXT-UTF8char / UTF8-CONT / LWS )`: bytes that continue a character may stand alone.
fn is_text(text: &[u8]) -> bool {
    text.is_ascii() || text.utf8_chunks().all(|chunk| chunk.invalid().iter().all(|byte| matches!(byte, 0x80..0xc0)))
}

/// `item *( COMMA item )`
#[inline]
fn list(reader: &mut Reader<'_>, mut item: impl FnMut(&mut Reader<'_>) -> bool) -> bool {
    loop {
        if !item(reader) {
            return false;
        }
        if !reader.eat_separator(b',') {
            return true;
        }
    }
}

/// `token *( COMMA token )`
fn tokens(reader: &mut Reader<'_>) -> bool {
    let mut own = *reader; // in registers: these lists are long
    loop {
        if own.take(TOKEN).is_empty() {
            return false;
        }
        if !own.eat_separator(b',') {
            *reader = own;
            return true;
        }
    }
}

/// `[ item ]`
fn optional(reader: &mut Reader<'_>, item: impl FnOnce(&mut Reader<'_>) -> bool) -> bool {
    reader.is_at_end() || item(reader)
}

fn star(reader: &mut Reader<'_>) -> bool {
    reader.rest() == b"*" && reader.eat(b'*')
}

fn token(reader: &mut Reader<'_>) -> bool {
    reader.take_some(TOKEN).is_some()
}

fn digits(reader: &mut Reader<'_>) -> bool {
    reader.take_some(DIGIT).is_some()
}

/// `delta-seconds`, and other numbers of 32 bits
pub(crate) fn number(reader: &mut Reader<'_>) -> Option<u32> {
    reader.take_decimal()
}

/// 0 to 255 (§20.22); servers read what fits.
pub(crate) fn max_forwards(reader: &mut Reader<'_>) -> Option<u32> {
    number(reader).filter(|&hops| hops <= 255 || !reader.is_strict())
}

/// `callid = word [ "@" word ]`
pub(crate) fn call_id<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let before = *reader;
    reader.take_some(WORD)?;
    if reader.eat(b'@') {
        reader.take_some(WORD)?;
    }
    Some(reader.since(&before))
}

/// `m-type SLASH m-subtype`; `*` is a token.
pub(crate) fn media_type<'a>(reader: &mut Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    let kind = reader.take_some(TOKEN)?;
    if !reader.eat_separator(b'/') {
        return None;
    }
    Some((kind, reader.take_some(TOKEN)?))
}

fn params(reader: &mut Reader<'_>) -> bool {
    Params::skip(reader).is_some()
}

/// `*( SEMI m-parameter )`: each has a value, a token or a quoted string
fn media_params(reader: &mut Reader<'_>) -> bool {
    Params::read(reader, |param| (param.is_quoted || param.is_token()).then_some(())).is_some()
}

/// `language-tag = 1*8ALPHA *( "-" 1*8ALPHA )`
fn language_tag(reader: &mut Reader<'_>) -> bool {
    let is_subtag = |text: &[u8]| matches!(text.len(), 1..=8) && text.iter().all(u8::is_ascii_alphabetic);
    reader.take(TOKEN).split(|&byte| byte == b'-').all(is_subtag)
}

/// `event-type = event-package *( "." event-template )`, tokens without dots (RFC 6665 §8.2.1)
fn event_type(reader: &mut Reader<'_>) -> bool {
    reader.take(TOKEN).split(|&byte| byte == b'.').all(|part| !part.is_empty())
}

/// `*( SEMI accept-param )`
fn params_with_q(reader: &mut Reader<'_>) -> bool {
    let each = |param: crate::Param<'_>| {
        let is_q = param.name.eq_ignore_ascii_case(b"q");
        let is_right = !is_q || !param.is_quoted && param.value.is_some_and(is_qvalue);
        is_right.then_some(())
    };
    Params::read(reader, each).is_some()
}

/// `LAQUOT absoluteURI RAQUOT`
fn angle_uri(reader: &mut Reader<'_>) -> bool {
    reader.eat(b'<') && reader.take_until(b'>').is_some_and(|uri| absolute_uri(uri, reader.mode).is_some())
}

/// `server-val *( LWS server-val )`, `server-val = product / comment`
fn products(reader: &mut Reader<'_>) -> bool {
    loop {
        let is_one = if reader.peek() == Some(b'(') {
            reader.take_comment().is_some()
        } else {
            token(reader) && (reader.after_lws() != Some(b'/') || reader.eat_separator(b'/') && token(reader))
        };
        if !is_one {
            return false;
        }
        let is_parted = reader.eat_lws();
        if reader.is_at_end() || !is_parted {
            return true;
        }
    }
}

/// `[ comment ]`
fn retry_reason(reader: &mut Reader<'_>) -> bool {
    reader.skip_lws();
    reader.peek() != Some(b'(') || reader.take_comment().is_some()
}

/// `1*DIGIT [ "." *DIGIT ]`
fn seconds(reader: &mut Reader<'_>) -> bool {
    let is_read = digits(reader);
    if reader.eat(b'.') {
        reader.take(DIGIT);
    }
    is_read
}

/// `[ LWS delay ]`, `delay = *DIGIT [ "." *DIGIT ]`
fn optional_delay(reader: &mut Reader<'_>) -> bool {
    if !reader.take(LWS).is_empty() {
        reader.take(DIGIT);
        if reader.eat(b'.') {
            reader.take(DIGIT);
        }
    }
    true
}

/// `warn-code SP warn-agent SP warn-text`
fn warning(reader: &mut Reader<'_>) -> bool {
    let code = reader.take(DIGIT);
    let is_agent = |reader: &mut Reader<'_>| {
        let mut host = *reader;
        if Host::read_with_port(&mut host, false).is_some() && host.peek() == Some(b' ') {
            *reader = host;
            return true;
        }
        token(reader)
    };
    let is_headed = code.len() == 3 && reader.eat(b' ') && is_agent(reader) && reader.eat(b' ');
    reader.skip_lws();
    is_headed && reader.take_quoted().is_some()
}

/// `rfc1123-date = wkday "," SP 2DIGIT SP month SP 4DIGIT SP 2DIGIT ":" 2DIGIT ":" 2DIGIT SP "GMT"`
/// (§20.17). Whether the day was a Monday is not asked.
fn date(reader: &mut Reader<'_>) -> bool {
    const WEEKDAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let is_one_of = |reader: &mut Reader<'_>, words: &[&[u8]]| words.contains(&reader.take(TOKEN));
    let is_number = |reader: &mut Reader<'_>, length: usize, max: u32| {
        let digits = reader.take(DIGIT);
        digits.len() == length && decimal(digits).is_some_and(|number| number <= max)
    };
    is_one_of(reader, &WEEKDAYS)
        && reader.eat(b',')
        && reader.eat(b' ')
        && is_number(reader, 2, 31)
        && reader.eat(b' ')
        && is_one_of(reader, &MONTHS)
        && reader.eat(b' ')
        && is_number(reader, 4, 9999)
        && reader.eat(b' ')
        && is_number(reader, 2, 23)
        && reader.eat(b':')
        && is_number(reader, 2, 59)
        && reader.eat(b':')
        && is_number(reader, 2, 59)
        && reader.eat(b' ')
        && reader.take(TOKEN) == b"GMT"
}
