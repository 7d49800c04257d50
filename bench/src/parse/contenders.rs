use std::hint::black_box;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
use sip_parse::{Index, Mode};

/// What this program can parse with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Contender {
    /// sip-parse, lenient: where everything is; start line, names and Content-Length judged
    Index,
    /// sip-parse, lenient: that, and Request-URI, top Via, From, To, Call-ID, CSeq decoded
    CoreLenient,
    /// sip-parse, strict: the same, and every known header held against its grammar
    CoreStrict,
    /// sip-parse, lenient: index, start line, top Via, Call-ID, CSeq
    Lazy,
    /// httparse on the HTTP twin, with a new array of 64 headers for each message, as its documentation has it
    Httparse,
    /// The same with an array that is not initialised
    HttparseUninit,
    /// rsip, the message
    RsipFull,
    /// rsip, that and typed Via, From, To, Call-ID, CSeq (it decodes the URI with the message)
    RsipCore,
}

/// The parsers, and what they keep from message to message.
#[derive(Default)]
pub(super) struct Parsers {
    index: Index,
}

/// Calls between two looks at the clock: 30 ns of looking are under 1 % of 100 of the shortest calls; many more, and
/// an interrupt falls into every lot. The same as in peer.h.
const CALLS: u32 = 100;

/// httparse's documentation has 16 or 64; the longest message with a twin has 15 headers.
const HTTP_HEADERS: usize = 64;

impl Contender {
    pub(super) fn name(self) -> String {
        self.to_possible_value().expect("none is skipped").get_name().to_owned()
    }

    /// Is this one for HTTP twins?
    pub(super) fn is_http(self) -> bool {
        matches!(self, Self::Httparse | Self::HttparseUninit)
    }
}

impl Parsers {
    /// The fastest time of a call, ns, looked for as long as `turn`; `None` if the message is refused.
    pub(super) fn fastest(&mut self, contender: Contender, message: &[u8], turn: Duration) -> Option<f64> {
        if !self.repeat(contender, message, 1) {
            return None;
        }
        let start = Instant::now();
        let (mut from, mut fastest) = (start, Duration::MAX);
        loop {
            self.repeat(contender, message, CALLS);
            let now = Instant::now();
            fastest = fastest.min(now - from);
            from = now;
            if now - start >= turn {
                return Some(fastest.as_nanos() as f64 / f64::from(CALLS));
            }
        }
    }

    /// Parses so many times; `false` if the message was refused.
    pub(super) fn repeat(&mut self, contender: Contender, message: &[u8], calls: u32) -> bool {
        let index = &mut self.index;
        match contender {
            Contender::Index => repeat(message, calls, |message| indexed(index, message).is_ok()),
            Contender::CoreLenient => repeat(message, calls, |message| core_lenient(index, message).is_ok()),
            Contender::CoreStrict => repeat(message, calls, |message| core_strict(index, message).is_ok()),
            Contender::Lazy => repeat(message, calls, |message| lazy(index, message).is_ok()),
            Contender::Httparse => repeat(message, calls, httparse),
            Contender::HttparseUninit => repeat(message, calls, httparse_uninit),
            Contender::RsipFull => repeat(message, calls, |message| rsip_full(message).is_ok()),
            Contender::RsipCore => repeat(message, calls, |message| rsip_core(message).is_ok()),
        }
    }
}

/// The compiler neither knows what is parsed nor that it is the same as before.
fn repeat(message: &[u8], calls: u32, mut parse: impl FnMut(&[u8]) -> bool) -> bool {
    (0..calls).all(|_| parse(black_box(message)))
}

fn indexed(index: &mut Index, message: &[u8]) -> sip_parse::Result<()> {
    black_box(&index.parse(message, Mode::Lenient)?);
    Ok(())
}

fn core_lenient(index: &mut Index, message: &[u8]) -> sip_parse::Result<()> {
    black_box(&index.parse(message, Mode::Lenient)?.core()?);
    Ok(())
}

fn core_strict(index: &mut Index, message: &[u8]) -> sip_parse::Result<()> {
    black_box(&index.parse(message, Mode::Strict)?.validate()?);
    Ok(())
}

fn lazy(index: &mut Index, message: &[u8]) -> sip_parse::Result<()> {
    let message = index.parse(message, Mode::Lenient)?;
    black_box(&(message.start_line(), message.top_via()?, message.call_id()?, message.cseq()?));
    Ok(())
}

fn httparse(message: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS];
    let status = if is_response(message) {
        let mut response = httparse::Response::new(&mut headers);
        let status = response.parse(message);
        black_box(&response);
        status
    } else {
        let mut request = httparse::Request::new(&mut headers);
        let status = request.parse(message);
        black_box(&request);
        status
    };
    matches!(status, Ok(httparse::Status::Complete(_)))
}

fn httparse_uninit(message: &[u8]) -> bool {
    let mut headers = [const { std::mem::MaybeUninit::uninit() }; HTTP_HEADERS];
    let config = httparse::ParserConfig::default();
    let status = if is_response(message) {
        let mut response = httparse::Response::new(&mut []);
        let status = config.parse_response_with_uninit_headers(&mut response, message, &mut headers);
        black_box(&response);
        status
    } else {
        let mut request = httparse::Request::new(&mut []);
        let status = config.parse_request_with_uninit_headers(&mut request, message, &mut headers);
        black_box(&request);
        status
    };
    matches!(status, Ok(httparse::Status::Complete(_)))
}

fn is_response(message: &[u8]) -> bool {
    message.starts_with(b"HTTP/")
}

fn rsip_full(message: &[u8]) -> Result<(), rsip::Error> {
    black_box(&rsip::SipMessage::try_from(message)?);
    Ok(())
}

fn rsip_core(message: &[u8]) -> Result<(), rsip::Error> {
    let message = rsip::SipMessage::try_from(message)?;
    black_box(&(
        message.via_header()?.typed()?,
        message.from_header()?.typed()?,
        message.to_header()?.typed()?,
        message.call_id_header()?.value(),
        message.cseq_header()?.typed()?,
    ));
    black_box(&message);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIP: &[u8] = b"OPTIONS sip:carol@example.com SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bKhjhs8ass877\r\n\
        Max-Forwards: 70\r\n\
        From: Alice <sip:alice@example.org>;tag=1928301774\r\n\
        To: <sip:carol@example.com>\r\n\
        Call-ID: a84b4c76e66710\r\n\
        CSeq: 63104 OPTIONS\r\n\
        Contact: <sip:alice@192.0.2.1:5062>\r\n\
        \r\n";
    const HTTP: [&[u8]; 2] =
        [b"OPTIONS /carol HTTP/1.1\r\nHost: example.com\r\n\r\n", b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"];

    #[test]
    fn everyone_takes_a_message_of_its_kind_and_nobody_takes_rubbish() {
        let mut parsers = Parsers::default();
        for &contender in Contender::value_variants() {
            let messages = if contender.is_http() { &HTTP[..] } else { &[SIP] };
            for message in messages {
                assert!(parsers.repeat(contender, message, 3), "{contender:?}");
            }
            assert!(parsers.fastest(contender, messages[0], Duration::ZERO).is_some_and(|time| time > 0.0));
            for rubbish in [&b"rubbish"[..], b"", b"OPTIONS sip:carol@example.com SIP/2.0\r\nVia\r\n\r\n"] {
                assert_eq!(parsers.fastest(contender, rubbish, Duration::ZERO), None, "{contender:?}");
            }
        }
    }
}
