//! The first line: what is a request, what a response, and what is neither (RFC 3261 §7.1, §7.2).

mod common;

use common::{BOTH, expect, read, text, verdict, with_start_line};
use sip_parse::Error::{self, Method as BadMethod, RequestUri, StartLine as NoStartLine, StatusLine, Version};
use sip_parse::{Method, Mode, StartLine};

/// What the line says, if all is right with the message.
fn start_line(line: &str, mode: Mode) -> Result<String, Error> {
    let datagram = with_start_line(line);
    verdict(&datagram, mode)?;
    read(&datagram, mode, |message| match message.start_line() {
        StartLine::Request { method, uri } => format!("{method} to {}", text(uri)),
        StartLine::Response { code, reason } => format!("{code} for {}", text(reason)),
    })
}

/// A line, and what it is in strict and in lenient mode.
type Row = (&'static str, Result<&'static str, Error>, Result<&'static str, Error>);

#[track_caller]
fn check(rows: &[Row]) {
    expect(rows.iter().flat_map(|&(line, strict, lenient)| {
        [(Mode::Strict, strict), (Mode::Lenient, lenient)].map(|(mode, expected)| {
            (format!("{mode:?}: {line:?}"), start_line(line, mode), expected.map(str::to_owned))
        })
    }));
}

/// `Request-Line = Method SP Request-URI SP SIP-Version CRLF` (§25.1)
#[test]
fn a_request_line_has_three_parts_and_two_spaces() {
    check(&[
        ("INVITE sip:b@c SIP/2.0", Ok("INVITE to sip:b@c"), Ok("INVITE to sip:b@c")),
        ("INVITE sip:b@c  SIP/2.0", Err(NoStartLine), Ok("INVITE to sip:b@c")),
        ("INVITE sip:b@c\tSIP/2.0", Err(NoStartLine), Ok("INVITE to sip:b@c")),
        ("INVITE sip:b@c \t SIP/2.0", Err(NoStartLine), Ok("INVITE to sip:b@c")),
        ("INVITE sip:b@c SIP/2.0 ", Err(NoStartLine), Ok("INVITE to sip:b@c")),
        ("INVITE sip:b@c SIP/2.0 \t", Err(NoStartLine), Ok("INVITE to sip:b@c")),
        ("INVITE sip:b@c SIP/2.0 x", Err(Version), Err(Version)),
        ("INVITE sip:b@c \x0cSIP/2.0", Err(NoStartLine), Err(NoStartLine)),
        ("INVITE  sip:b@c SIP/2.0", Err(RequestUri), Err(RequestUri)),
        ("INVITE\tsip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
        ("INVITE sip:b c SIP/2.0", Err(NoStartLine), Err(NoStartLine)),
        ("INVITE sip:b@c", Err(NoStartLine), Err(NoStartLine)),
        ("INVITE sip:b@c\r\n SIP/2.0", Err(NoStartLine), Err(NoStartLine)),
        ("INVITE", Err(NoStartLine), Err(NoStartLine)),
    ]);
}

/// `SIP-Version = "SIP" "/" 1*DIGIT "." 1*DIGIT`, in any case (§7.1); 2.0 is the one there is.
#[test]
fn the_version_is_2_0() {
    check(&[
        ("BYE sip:b@c sip/2.0", Ok("BYE to sip:b@c"), Ok("BYE to sip:b@c")),
        ("BYE sip:b@c sIP/2.0", Ok("BYE to sip:b@c"), Ok("BYE to sip:b@c")),
        ("BYE sip:b@c SIP/3.0", Err(Version), Err(Version)),
        ("BYE sip:b@c SIP/7.0", Err(Version), Err(Version)),
        ("BYE sip:b@c SIP/2.01", Err(Version), Err(Version)),
        ("BYE sip:b@c SIP/2.00", Err(Version), Err(Version)),
        ("BYE sip:b@c SIP/02.0", Err(Version), Err(Version)),
        ("BYE sip:b@c SIP/2.0x", Err(Version), Err(Version)),
        ("BYE sip:b@c HTTP/1.1", Err(NoStartLine), Err(NoStartLine)),
        ("BYE sip:b@c SIP", Err(NoStartLine), Err(NoStartLine)),
        ("SIP/3.0 200 OK", Err(Version), Err(Version)),
        ("SIP/2.00 200 OK", Err(Version), Err(Version)),
    ]);
}

/// `Method = … / extension-method`, `extension-method = token`; methods are case-sensitive (§7.1),
/// servers take those they know in any case.
#[test]
fn a_method_is_a_token() {
    check(&[
        ("NEW-.!%*_+`'~m sip:b@c SIP/2.0", Ok("NEW-.!%*_+`\\'~m to sip:b@c"), Ok("NEW-.!%*_+`\\'~m to sip:b@c")),
        ("invite sip:b@c SIP/2.0", Ok("invite to sip:b@c"), Ok("INVITE to sip:b@c")),
        ("INV(TE sip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
        ("IN@VITE sip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
        ("IN\0VITE sip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
        ("\u{e9} sip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
        (" INVITE sip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
        ("\tINVITE sip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
        ("\0INVITE sip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
        ("\u{feff}INVITE sip:b@c SIP/2.0", Err(BadMethod), Err(BadMethod)),
    ]);
}

/// `Request-URI = SIP-URI / SIPS-URI / absoluteURI` (§25.1), never in brackets (§7.1), never with
/// headers (§19.1.1, table 1).
#[test]
fn a_request_uri_is_a_uri() {
    check(&[
        ("ACK sips:h SIP/2.0", Ok("ACK to sips:h"), Ok("ACK to sips:h")),
        ("ACK tel:+1-2 SIP/2.0", Ok("ACK to tel:+1-2"), Ok("ACK to tel:+1-2")),
        ("ACK urn:service:sos SIP/2.0", Ok("ACK to urn:service:sos"), Ok("ACK to urn:service:sos")),
        ("ACK soap.beep://h:80 SIP/2.0", Ok("ACK to soap.beep://h:80"), Ok("ACK to soap.beep://h:80")),
        ("ACK sip:b@c?x=y SIP/2.0", Err(RequestUri), Ok("ACK to sip:b@c?x=y")),
        ("ACK sip:{b}@c SIP/2.0", Err(RequestUri), Ok("ACK to sip:{b}@c")),
        ("ACK <sip:b@c> SIP/2.0", Err(RequestUri), Err(RequestUri)),
        ("ACK * SIP/2.0", Err(RequestUri), Err(RequestUri)),
        ("ACK b@c SIP/2.0", Err(RequestUri), Err(RequestUri)),
        ("ACK sip: SIP/2.0", Err(RequestUri), Err(RequestUri)),
        ("ACK sip:b@ SIP/2.0", Err(RequestUri), Err(RequestUri)),
        ("ACK sip:b@c@d SIP/2.0", Err(RequestUri), Err(RequestUri)),
        ("ACK sip:b\0@c SIP/2.0", Err(RequestUri), Err(RequestUri)),
        ("ACK  SIP/2.0", Err(RequestUri), Err(RequestUri)),
    ]);
}

/// `Status-Line = SIP-Version SP Status-Code SP Reason-Phrase CRLF`, 100 to 699 (§7.2)
#[test]
fn a_status_line_has_three_digits_and_perhaps_a_reason() {
    check(&[
        ("SIP/2.0 486 Busy Here", Ok("486 for Busy Here"), Ok("486 for Busy Here")),
        ("sip/2.0 200 ok", Ok("200 for ok"), Ok("200 for ok")),
        ("SIP/2.0 100 ", Ok("100 for "), Ok("100 for ")),
        ("SIP/2.0 699 x", Ok("699 for x"), Ok("699 for x")),
        ("SIP/2.0 099 x", Err(StatusLine), Ok("99 for x")),
        ("SIP/2.0 700 x", Err(StatusLine), Ok("700 for x")),
        ("SIP/2.0 200\tOK", Err(StatusLine), Ok("200 for OK")),
        ("SIP/2.0 200", Err(StatusLine), Err(StatusLine)),
        ("SIP/2.0  200 OK", Err(StatusLine), Err(StatusLine)),
        ("SIP/2.0 20 OK", Err(StatusLine), Err(StatusLine)),
        ("SIP/2.0 2000 OK", Err(StatusLine), Err(StatusLine)),
        ("SIP/2.0 2x0 OK", Err(StatusLine), Err(StatusLine)),
        ("SIP/2.0 4294967496 OK", Err(StatusLine), Err(StatusLine)),
    ]);
}

/// `Reason-Phrase = *(reserved / unreserved / escaped / UTF8-NONASCII / UTF8-CONT / SP / HTAB)` (§25.1)
#[test]
fn a_reason_is_text() {
    check(&[
        ("SIP/2.0 200 = 2**3 * 5**2 (\u{43d}\u{43e})", OK_RUSSIAN, OK_RUSSIAN),
        ("SIP/2.0 200 100%25\tsure", Ok("200 for 100%25\\tsure"), Ok("200 for 100%25\\tsure")),
        ("SIP/2.0 200 100%", Err(StatusLine), Ok("200 for 100%")),
        ("SIP/2.0 200 <OK>", Err(StatusLine), Ok("200 for <OK>")),
        ("SIP/2.0 200 \"OK\"", Err(StatusLine), Ok("200 for \\\"OK\\\"")),
        ("SIP/2.0 200 O\0K", Err(StatusLine), Ok("200 for O\\x00K")),
        ("SIP/2.0 200 O\x7fK", Err(StatusLine), Ok("200 for O\\x7fK")),
    ]);
}

const OK_RUSSIAN: Result<&str, Error> = Ok("200 for = 2**3 * 5**2 (\\xd0\\xbd\\xd0\\xbe)");

/// SIP is UTF-8 (§7); servers do not look.
#[test]
fn a_reason_is_utf_8_in_strict_mode() {
    for reason in [&b"\xe9"[..], b"\xff", b"\xd0", b"\xc0\xaf"] {
        let mut datagram = b"SIP/2.0 200 ".to_vec();
        datagram.extend(reason);
        datagram.extend(&with_start_line("SIP/2.0 200 ").as_bytes()[12..]);
        assert_eq!(verdict(&datagram, Mode::Strict), Err(StatusLine), "{}", text(reason));
        assert_eq!(verdict(&datagram, Mode::Lenient), Ok(()), "{}", text(reason));
    }
}

#[test]
fn every_method_is_known_by_the_name_it_prints() {
    let methods = [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Options,
        Method::Register,
        Method::Prack,
        Method::Subscribe,
        Method::Notify,
        Method::Publish,
        Method::Info,
        Method::Refer,
        Method::Message,
        Method::Update,
    ];
    for method in methods {
        let name = method.to_string();
        let lower = name.to_ascii_lowercase();
        for mode in BOTH {
            assert_eq!(Method::of(name.as_bytes(), mode), method);
        }
        assert_eq!(Method::of(lower.as_bytes(), Mode::Strict), Method::Other(lower.as_bytes()));
        assert_eq!(Method::of(lower.as_bytes(), Mode::Lenient), method);
    }
}

#[test]
fn a_method_that_only_resembles_another_is_other() {
    for name in ["INVIT", "INVITEE", "INVITF", "ACKS", "B", "", "REGISTERREGISTERX", "INVITE\0", "OPTION\x13", "\x01CK"]
    {
        for mode in BOTH {
            assert_eq!(Method::of(name.as_bytes(), mode), Method::Other(name.as_bytes()), "{name:?}");
        }
    }
}
