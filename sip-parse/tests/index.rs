//! What a message is, where its headers are, and where its body ends.

use sip_parse::{Error, Index, MAX_DATAGRAM, Message, Method, Name, StartLine};

/// Asks `question` of the message in `datagram`.
fn read<T>(datagram: &[u8], question: impl FnOnce(Message<'_>) -> T) -> Result<T, Error> {
    let mut index: Index = Index::new();
    index.parse(datagram).map(question)
}

/// Whether the message in `datagram` is read.
fn verdict(datagram: &[u8]) -> Result<(), Error> {
    read(datagram, |_| ())
}

/// The verdict on a message with this first line.
fn start_line(line: &str) -> Result<String, Error> {
    let datagram = format!("{line}\r\nX: y\r\n\r\n");
    read(datagram.as_bytes(), |message| match message.start_line() {
        StartLine::Request { method, uri } => format!("{method} to {}", uri.escape_ascii()),
        StartLine::Response { code, reason } => format!("{code} for {}", reason.escape_ascii()),
    })
}

/// The headers of a request, each as `Name written=value`.
fn headers(lines: &str) -> Result<Vec<String>, Error> {
    read(format!("INVITE sip:a@b SIP/2.0\r\n{lines}\r\n").as_bytes(), |message| {
        message
            .headers()
            .map(|header| {
                let (written, value) = (header.written.escape_ascii(), header.value.escape_ascii());
                format!("{} {written}={value}", header.name)
            })
            .collect()
    })
}

/// The body of a message with these header lines and `rest` after its empty line.
fn body(lines: &str, rest: &str) -> Result<String, Error> {
    read(format!("INVITE sip:a@b SIP/2.0\r\n{lines}\r\n{rest}").as_bytes(), |message| {
        String::from_utf8(message.body().to_vec()).unwrap()
    })
}

mod start_lines {
    use super::*;

    #[test]
    fn a_request_has_a_method_and_a_uri() {
        assert_eq!(start_line("INVITE sip:b@c SIP/2.0").unwrap(), "INVITE to sip:b@c");
        assert_eq!(start_line("NEW%2b tel:+1 SIP/2.0").unwrap(), "NEW%2b to tel:+1");
    }

    #[test]
    fn a_response_has_a_code_and_perhaps_a_reason() {
        assert_eq!(start_line("SIP/2.0 486 Busy Here").unwrap(), "486 for Busy Here");
        assert_eq!(start_line("SIP/2.0 100 ").unwrap(), "100 for ");
    }

    #[test]
    fn methods_and_the_version_are_known_in_any_case() {
        assert_eq!(start_line("options sip:b@c sip/2.0").unwrap(), "OPTIONS to sip:b@c");
        assert_eq!(start_line("sIp/2.0 200 ok").unwrap(), "200 for ok");
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
            Method::Other(b"KDMQ"),
        ];
        for method in methods {
            assert_eq!(Method::of(method.as_bytes()), method);
            let lower = method.as_bytes().to_ascii_lowercase();
            let is_other = matches!(method, Method::Other(_));
            assert_eq!(Method::of(&lower) == method, !is_other);
        }
    }

    #[test]
    fn other_first_lines_are_refused_by_name() {
        let refused = [
            ("", Error::StartLine), // an empty line is skipped, and `X: y` is no start line
            ("INVITE", Error::StartLine),
            ("INVITE sip:b@c", Error::StartLine),
            ("INVITE sip:b@c HTTP/1.1", Error::StartLine),
            ("INVITE sip:b@c SIP/2.0 ", Error::StartLine),
            ("INVITE sip:b@c SIP/2.01", Error::Version),
            ("INVITE sip:b@c SIP/3.0", Error::Version),
            ("SIP/3.0 200 OK", Error::Version),
            ("INV(TE sip:b@c SIP/2.0", Error::Method),
            (" INVITE sip:b@c SIP/2.0", Error::Method),
            ("INVITE  sip:b@c SIP/2.0", Error::RequestUri),
            ("INVITE sip:b c SIP/2.0", Error::RequestUri),
            ("INVITE sip:b\tc SIP/2.0", Error::RequestUri),
            ("INVITE <sip:b@c> SIP/2.0", Error::RequestUri),
            ("SIP/2.0 20 OK", Error::StatusLine),
            ("SIP/2.0 2000 OK", Error::StatusLine),
            ("SIP/2.0 2x0 OK", Error::StatusLine),
            ("SIP/2.0 200", Error::StatusLine),
        ];
        for (line, error) in refused {
            let expected = if line.is_empty() { Error::StartLine } else { error };
            assert_eq!(start_line(line), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn line_ends_before_it_are_skipped() {
        assert_eq!(start_line("\r\n\n\r\n\r\nBYE sip:b@c SIP/2.0").unwrap(), "BYE to sip:b@c");
    }

    #[test]
    fn a_keep_alive_is_empty() {
        for keep_alive in [&b""[..], b"\r\n", b"\r\n\r\n"] {
            assert_eq!(verdict(keep_alive), Err(Error::Empty));
        }
    }
}

mod header_lines {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_in_compact_form() {
        let lines = "Via: 1\r\nv: 2\r\nV: 3\r\nCALL-ID: 4\r\ni: 5\r\nProxy-AuthorizatioN: 6\r\n";
        let found = headers(lines).unwrap();
        assert_eq!(
            found,
            [
                "Via Via=1",
                "Via v=2",
                "Via V=3",
                "Call-ID CALL-ID=4",
                "Call-ID i=5",
                "Proxy-Authorization Proxy-AuthorizatioN=6",
            ]
        );
    }

    #[test]
    fn every_known_name_is_found_by_what_it_prints() {
        let names = [
            Name::Via,
            Name::From,
            Name::To,
            Name::CallId,
            Name::CSeq,
            Name::Contact,
            Name::MaxForwards,
            Name::ContentType,
            Name::UserAgent,
            Name::Server,
            Name::Route,
            Name::RecordRoute,
            Name::Expires,
            Name::Authorization,
            Name::ProxyAuthorization,
            Name::WwwAuthenticate,
            Name::ProxyAuthenticate,
            Name::Allow,
            Name::Supported,
            Name::Require,
            Name::Subject,
            Name::Event,
            Name::ReferTo,
        ];
        for name in names {
            assert_eq!(headers(&format!("{name}:1\r\n")).unwrap(), [format!("{name} {name}=1")]);
        }
        assert_eq!(headers("Content-Length:0\r\n").unwrap(), ["Content-Length Content-Length=0"]);
    }

    #[test]
    fn compact_forms_are_those_of_the_registry() {
        let compact = [
            ("c", "Content-Type"),
            ("f", "From"),
            ("i", "Call-ID"),
            ("k", "Supported"),
            ("m", "Contact"),
            ("o", "Event"),
            ("r", "Refer-To"),
            ("s", "Subject"),
            ("t", "To"),
            ("v", "Via"),
            ("x", "Other"),
        ];
        for (letter, name) in compact {
            assert_eq!(headers(&format!("{letter}: 1\r\n")).unwrap(), [format!("{name} {letter}=1")]);
        }
        assert_eq!(headers("l: 0\r\n").unwrap(), ["Content-Length l=0"]);
    }

    #[test]
    fn a_name_that_only_resembles_another_is_other() {
        for name in ["Vib", "Viaa", "Vi", "Froma", "Call.ID", "Call-IE", "Max-Forwardz"] {
            assert_eq!(headers(&format!("{name}: 1\r\n")).unwrap(), [format!("Other {name}=1")]);
        }
        // The ends of Proxy-Authenticate, but not its middle.
        let lines = "Proxy-Au__nticate: 1\r\nProxy-Auxxenticate: 1\r\n";
        assert_eq!(headers(lines).unwrap(), ["Other Proxy-Au__nticate=1", "Other Proxy-Auxxenticate=1"]);
        assert_eq!(headers("Call\rID: 1\r\n"), Err(Error::HeaderName));
    }

    #[test]
    fn white_space_around_the_colon_is_nobodys() {
        assert_eq!(headers("To \t :\t sip:b@c \t\r\n").unwrap(), ["To To=sip:b@c"]);
    }

    #[test]
    fn a_value_may_be_empty() {
        let found = headers("Supported:\r\nSubject:  \r\ns :\r\n\t\r\nX:y\r\n").unwrap();
        assert_eq!(found, ["Supported Supported=", "Subject Subject=", "Subject s=", "Other X=y"]);
    }

    #[test]
    fn a_folded_value_spans_its_folds() {
        let lines = "Subject: I know\r\n  you're there,\r\n\tpick up\r\nTo:\r\n sip:b@c\r\n";
        let found = headers(lines).unwrap();
        assert_eq!(found, [r"Subject Subject=I know\r\n  you\'re there,\r\n\tpick up", "To To=sip:b@c"]);
    }

    #[test]
    fn lines_may_end_in_lf() {
        let datagram = b"INVITE sip:a@b SIP/2.0\nTo: sip:b@c\n ;tag=x\ni: 1\nl: 4\n\nbody";
        let tag = |message: Message<'_>| message.to().unwrap().tag.unwrap().to_vec();
        assert_eq!(read(datagram, tag).unwrap(), b"x");
        assert_eq!(read(datagram, |message| message.body().to_vec()).unwrap(), b"body");
    }

    #[test]
    fn a_line_that_is_no_header_is_refused() {
        for line in ["no colon", ": no name", "two words: 1", " : fold of nothing", "a\0b: 1", "é: 1"] {
            assert_eq!(headers(&format!("{line}\r\nX: y\r\n")), Err(Error::HeaderName), "{line:?}");
        }
    }

    #[test]
    fn without_the_empty_line_a_message_is_not_whole() {
        let whole = b"INVITE sip:a@b SIP/2.0\r\nTo: sip:b@c\r\n\r\n";
        for end in 24..whole.len() {
            assert_eq!(verdict(&whole[..end]), Err(Error::NoEmptyLine), "{end}");
        }
        assert_eq!(verdict(whole), Ok(()));
        assert_eq!(verdict(&whole[..22]), Err(Error::StartLine));
    }

    #[test]
    fn the_first_of_several_counts() {
        let lines = "i: 1\r\nCall-ID: 2\r\n";
        let datagram = format!("INVITE sip:a@b SIP/2.0\r\n{lines}\r\n");
        let call_id = |message: Message<'_>| message.call_id().map(<[u8]>::to_vec);
        assert_eq!(read(datagram.as_bytes(), call_id).unwrap().unwrap(), b"1");
    }

    #[test]
    fn what_is_missing_is_named() {
        let question = |message: Message<'_>| {
            assert_eq!(message.top_via().err(), Some(Error::Missing(Name::Via)));
            assert_eq!(message.from().err(), Some(Error::Missing(Name::From)));
            assert_eq!(message.to().err(), Some(Error::Missing(Name::To)));
            assert_eq!(message.call_id().err(), Some(Error::CallId));
            assert_eq!(message.cseq().err(), Some(Error::Missing(Name::CSeq)));
            assert_eq!(message.header(Name::Contact), None);
        };
        read(b"INVITE sip:a@b SIP/2.0\r\nCall-ID:\r\n\r\n", question).unwrap();
        assert_eq!(Error::Missing(Name::CSeq).to_string(), "no CSeq");
    }
}

mod limits {
    use super::*;

    #[test]
    fn a_full_table_is_an_error() {
        let mut index = Index::<3>::default();
        let with = |count| format!("BYE sip:a@b SIP/2.0\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert_eq!(index.parse(with(3).as_bytes()).unwrap().headers().len(), 3);
        assert_eq!(index.parse(with(4).as_bytes()).err(), Some(Error::TooManyHeaders));
        assert_eq!(index.parse(with(2).as_bytes()).unwrap().headers().len(), 2);
    }

    #[test]
    fn nothing_of_the_packet_before_is_left() {
        let mut index: Index = Index::new();
        let before = index.parse(b"BYE sip:a@b SIP/2.0\r\nTo: sip:b@c\r\n\r\n").unwrap();
        assert!(before.to().is_ok());
        let after = index.parse(b"BYE sip:a@b SIP/2.0\r\ni: 1\r\n\r\n").unwrap();
        assert_eq!(after.to(), Err(Error::Missing(Name::To)));
    }

    #[test]
    fn the_longest_datagram_is_read_to_its_end() {
        let mut datagram = b"BYE sip:a@b SIP/2.0\r\nX: ".to_vec();
        datagram.resize(MAX_DATAGRAM - 8, b'x');
        datagram.extend(b"\r\ni:z\n\r\n");
        assert_eq!(datagram.len(), MAX_DATAGRAM);
        let call_id = |message: Message<'_>| message.call_id().map(<[u8]>::to_vec);
        assert_eq!(read(&datagram, call_id).unwrap().unwrap(), b"z");
        datagram.push(b'!');
        assert_eq!(verdict(&datagram), Err(Error::TooLong));
    }
}

mod bodies {
    use super::*;

    #[test]
    fn without_content_length_the_body_is_the_rest() {
        assert_eq!(body("", "v=0\r\n\r\ns=-").unwrap(), "v=0\r\n\r\ns=-");
        assert_eq!(body("", "").unwrap(), "");
    }

    #[test]
    fn what_follows_the_body_is_ignored() {
        assert_eq!(body("Content-Length: 4\r\n", "bodyBYE sip:").unwrap(), "body");
        assert_eq!(body("l:0\r\n", "BYE sip:").unwrap(), "");
    }

    #[test]
    fn a_body_that_is_cut_is_refused() {
        assert_eq!(body("l: 5\r\n", "body"), Err(Error::BodyCut));
        assert_eq!(body("l: 4294967295\r\n", "body"), Err(Error::BodyCut));
    }

    #[test]
    fn content_length_is_a_number() {
        for value in ["", "-1", "+4", "4 4", "4;x", "0x4", "4294967296", "99999999999999999999"] {
            let lines = format!("Content-Length: {value}\r\n");
            assert_eq!(body(&lines, "body"), Err(Error::ContentLength), "{value:?}");
        }
        assert_eq!(body("Content-Length:\r\n 0004\r\n", "body").unwrap(), "body");
    }

    #[test]
    fn two_lengths_must_agree() {
        assert_eq!(body("l: 4\r\nContent-Length: 04\r\n", "body").unwrap(), "body");
        let conflict = Err(Error::ContentLengthConflict);
        assert_eq!(body("l: 4\r\nContent-Length: 3\r\n", "body"), conflict);
    }
}
