//! Session descriptions: what a session is called, and where media goes (RFC 8866).

mod common;
mod corpus;

use common::text;
use sip_parse::{Error, Index, Mode, Sdp};

/// RFC 8866 §5, the example
const EXAMPLE: &str = "v=0\r\n\
    o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\n\
    s=Call to John Smith\r\n\
    i=SDP Offer #1\r\n\
    u=http://www.jdoe.example.com/home.html\r\n\
    e=Jane Doe <jane@jdoe.example.com>\r\n\
    p=+1 617 555-6011\r\n\
    c=IN IP4 198.51.100.1\r\n\
    t=0 0\r\n\
    m=audio 49170 RTP/AVP 0\r\n\
    m=audio 49180 RTP/AVP 0\r\n\
    m=video 51372 RTP/AVP 99\r\n\
    c=IN IP6 2001:db8::2\r\n\
    a=rtpmap:99 h263-1998/90000\r\n";

/// Each media description as `kind port protocol formats address`, refusals as `!`.
fn media(body: &str) -> Vec<String> {
    let media = Sdp::new(body.as_bytes()).unwrap().media().map(|media| {
        let media = media.map_err(|error| assert_eq!(error, Error::Sdp)).ok()?;
        let address = media.connection.map_or("-".into(), |connection| text(connection.address));
        Some(format!("{} {} {} {} {address}", text(media.kind), media.port, text(media.protocol), text(media.formats)))
    });
    media.map(|media| media.unwrap_or_else(|| "!".into())).collect()
}

/// The address of the session, or why there is none.
fn connection(lines: &str) -> Result<Option<String>, Error> {
    let body = format!("v=0\r\n{lines}");
    let connection = Sdp::new(body.as_bytes())?.connection()?;
    Ok(connection.map(|connection| format!("{} {:?}", text(connection.address), connection.ip())))
}

#[test]
fn the_example_is_read() {
    let sdp = Sdp::new(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(sdp.name(), Some(&b"Call to John Smith"[..]));
    assert_eq!(sdp.connection().unwrap().unwrap().address, b"198.51.100.1");
    assert_eq!(
        media(EXAMPLE),
        ["audio 49170 RTP/AVP 0 -", "audio 49180 RTP/AVP 0 -", "video 51372 RTP/AVP 99 2001:db8::2"]
    );
    assert_eq!(sdp.lines().count(), 14);
    assert_eq!(sdp.lines().last(), Some((b'a', &b"rtpmap:99 h263-1998/90000"[..])));
}

/// §5: lines end in CRLF, and "parsers SHOULD be tolerant and also accept records terminated with a
/// single newline character"; the last may have no end.
#[test]
fn lines_may_end_in_lf() {
    assert_eq!(media(&EXAMPLE.replace("\r\n", "\n")), media(EXAMPLE));
    assert_eq!(media(EXAMPLE.strip_suffix("\r\n").unwrap()), media(EXAMPLE));
    assert_eq!(media("v=0\nm=a 1 b c"), ["a 1 b c -"]);
}

/// §5.1: the version is 0, and comes first.
#[test]
fn a_description_begins_with_its_version() {
    for body in [
        "",
        "v=1\r\n",
        "v=00\r\n",
        "v=\r\n",
        "s=-\r\nv=0\r\n",
        "o=x\r\n",
        "--boundary\r\n",
        "\r\nv=0\r\n",
        "x\r\nv=0\r\n",
        "v=0\r",
        "v=0 \r\n",
        "V=0\r\n",
        "v =0\r\n",
    ] {
        assert_eq!(Sdp::new(body.as_bytes()).err(), Some(Error::Sdp), "{body:?}");
    }
    assert!(Sdp::new(b"v=0").is_ok());
}

/// §5.3
#[test]
fn a_session_may_have_a_name() {
    for (lines, expected) in [("s=-\r\n", Some("-")), ("s=\r\n", Some("")), ("s=a\r\ns=b\r\n", Some("a")), ("", None)] {
        let body = format!("v=0\r\n{lines}");
        assert_eq!(Sdp::new(body.as_bytes()).unwrap().name().map(text).as_deref(), expected);
    }
}

/// §5.7: `c=` of the session stands before the first `m=`; an address may have a lifetime and a count.
#[test]
fn a_session_has_an_address() {
    let written = |address: &str, ip: &str| Ok(Some(format!("{address} {ip}")));
    assert_eq!(connection("c=IN IP4 192.0.2.1\r\n"), written("192.0.2.1", "Some(192.0.2.1)"));
    assert_eq!(connection("c=IN IP4 233.252.0.1/127/3\r\n"), written("233.252.0.1", "Some(233.252.0.1)"));
    assert_eq!(connection("c=IN IP6 ff00::db8:0:101/3\r\n"), written("ff00::db8:0:101", "Some(ff00::db8:0:101)"));
    assert_eq!(connection("c=IN IP4 media.example.com\r\n"), written("media.example.com", "None"));
    assert_eq!(connection("c=IN IP4 999.0.0.1\r\n"), written("999.0.0.1", "None"));
    assert_eq!(connection("t=0 0\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n"), Ok(None));
    assert_eq!(connection(""), Ok(None));
    for refused in [
        "c=\r\n",
        "c=IN\r\n",
        "c=IN IP4\r\n",
        "c=IN IP4 \r\n",
        "c=IN IP5 x\r\n",
        "c=ATM IP4 x\r\n",
        "c=IN IP4 /127\r\n",
    ] {
        assert_eq!(connection(refused), Err(Error::Sdp), "{refused:?}");
    }
}

/// §5.14: `m=<media> <port>[/<number of ports>] <proto> <fmt> …`
#[test]
fn media_has_a_port() {
    let one = |line: &str| media(&format!("v=0\r\n{line}\r\n")).join("|");
    assert_eq!(one("m=audio 49170/2 RTP/AVP 0 8 101"), "audio 49170 RTP/AVP 0 8 101 -");
    assert_eq!(one("m=image 0 udptl t38"), "image 0 udptl t38 -");
    assert_eq!(one("m=audio 65535 RTP/SAVP 0"), "audio 65535 RTP/SAVP 0 -");
    for refused in [
        "m=",
        "m=audio",
        "m=audio 1",
        "m=audio 1 RTP/AVP",
        "m=audio x RTP/AVP 0",
        "m=audio 65536 RTP/AVP 0",
        "m=audio -1 RTP/AVP 0",
        "m=audio  1 RTP/AVP 0",
        "m= 1 RTP/AVP 0",
        "m=audio /2 RTP/AVP 0",
    ] {
        assert_eq!(one(refused), "!", "{refused:?}");
    }
}

/// §5.7: its own address counts for each, and a malformed one makes it malformed.
#[test]
fn media_has_its_own_address() {
    let body = "v=0\r\nc=IN IP4 192.0.2.1\r\n\
        m=a 1 p f\r\nb=x\r\nc=IN IP4 192.0.2.2\r\nc=IN IP4 192.0.2.9\r\n\
        m=b 2 p f\r\n\
        m=c 3 p f\r\nc=x\r\n\
        m=d 4 p f\r\nc=IN IP6 ::1\r\n";
    assert_eq!(media(body), ["a 1 p f 192.0.2.2", "b 2 p f -", "!", "d 4 p f ::1"]);
}

#[test]
fn what_is_no_line_is_passed_over() {
    let sdp = Sdp::new(b"v=0\r\n\r\nx\r\n=\r\nab=c\r\n s=d\r\ns=e=f\r\n").unwrap();
    assert_eq!(sdp.lines().collect::<Vec<_>>(), [(b'v', &b"0"[..]), (b's', b"e=f")]);
}

/// RFC 5118 §4.6 (IPv6), §4.8 (both), and what a phone sends
#[test]
fn the_corpus_is_read() {
    let of = |folder, ending, name: &str| {
        let sample = corpus::samples(folder, ending).into_iter().find(|sample| sample.name == name)?;
        let mut index: Index = Index::new();
        Some(media(str::from_utf8(index.parse(&sample.bytes, Mode::Lenient).unwrap().body()).unwrap()).join("|"))
    };
    for (folder, ending, name, expected) in SESSIONS {
        let Some(found) = of(folder, ending, name) else { continue };
        assert_eq!(found, *expected, "{name}");
    }
}

/// A sample, and its media.
const SESSIONS: &[(&str, &str, &str, &str)] = &[
    ("rfc5118", "dat", "ipv6-in-sdp", "audio 6000 RTP/AVP 2 -|video 6024 RTP/AVP 107 -"),
    ("rfc5118", "dat", "mult-ip-in-sdp", "audio 22334 RTP/AVP 0 192.0.2.1|video 6024 RTP/AVP 107 2001:db8::1"),
    ("bench", "sip", "invite", "audio 15088 RTP/AVP 0 8 101 -"),
];
