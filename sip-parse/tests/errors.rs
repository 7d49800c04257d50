//! What a refusal says of itself, and of the rule that was broken.

use sip_parse::{Error, Name};

#[test]
fn every_error_names_its_rule() {
    let errors = [
        (Error::Empty, "nothing but line ends", "RFC 5626 §3.5.1"),
        (Error::TooLong, "longer than a UDP datagram can be", "RFC 3261 §18.1.1"),
        (Error::StartLine, "start line is not METHOD SP URI SP SIP/2.0", "RFC 3261 §7.1"),
        (Error::Version, "version is not SIP/2.0", "RFC 3261 §7.1"),
        (Error::Method, "method is not a token", "RFC 3261 §7.1"),
        (Error::RequestUri, "Request-URI is malformed", "RFC 3261 §7.1, §19.1.1"),
        (Error::StatusLine, "status line is not SIP/2.0 SP 3DIGIT SP reason", "RFC 3261 §7.2"),
        (Error::HeaderName, "a header line is not name: value", "RFC 3261 §7.3.1"),
        (Error::LineEnd, "a line does not end in CRLF", "RFC 3261 §7"),
        (Error::TooManyHeaders, "more headers than the index holds", "RFC 3261 §7.3.1"),
        (Error::NoEmptyLine, "no empty line after the headers", "RFC 3261 §7"),
        (Error::ContentLengthConflict, "two values of Content-Length", "RFC 3261 §20.14"),
        (Error::BodyCut, "Content-Length is larger than the datagram", "RFC 3261 §18.3"),
        (Error::Missing(Name::CSeq), "no CSeq", "RFC 3261 §8.1.1"),
        (Error::Repeated(Name::From), "From twice", "RFC 3261 §7.3.1"),
        (Error::Malformed(Name::Via), "Via is malformed", "RFC 3261 §20.42"),
        (Error::Malformed(Name::Event), "Event is malformed", "RFC 6665 §8.2.1"),
        (Error::Malformed(Name::ReferTo), "Refer-To is malformed", "RFC 3515 §2.1"),
        (Error::ControlCharacter, "a header holds a control character", "RFC 3261 §25.1"),
        (Error::MethodMismatch, "CSeq names another method", "RFC 3261 §8.1.1.5"),
        (Error::Uri, "not a URI", "RFC 3261 §19.1.1"),
        (Error::NotARequest, "a response has no Request-URI", "RFC 3261 §7.1"),
        (Error::Sdp, "not a session description", "RFC 8866 §5"),
    ];
    for (error, what, section) in errors {
        assert_eq!((error.to_string().as_str(), error.section()), (what, section));
    }
}
