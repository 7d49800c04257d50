//! Messages captured from real programs, and what another parser reads in all of the corpus.

mod common;
mod corpus;

use common::{BOTH, read, text, verdict};
use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};
use sip_parse::{Message, Mode, Name, StartLine};

#[test]
fn every_captured_message_is_read() {
    let captured = corpus::samples("real", "sip");
    let timed = corpus::samples("bench", "sip");
    for sample in captured.iter().chain(&timed) {
        let name = &sample.name;
        for mode in BOTH {
            assert_eq!(verdict(&sample.bytes, mode), Ok(()), "{mode:?}: {name}");
            read(&sample.bytes, mode, |message| {
                let core = message.core().unwrap();
                assert!(core.via.branch.unwrap().starts_with(b"z9hG4bK"), "{name}");
                assert!([core.from, core.to].iter().all(|address| address.uri().is_ok()), "{name}");
                assert!(message.contacts().all(|contact| contact.is_ok()), "{name}");
                assert!(message.routes().chain(message.record_routes()).all(|route| route.is_ok()), "{name}");
                assert!(message.allow().chain(message.supported()).all(|token| token.is_ok()), "{name}");
            })
            .unwrap();
        }
    }
    assert!(captured.is_empty() || (captured.len(), timed.len()) == (33, 5));
}

#[test]
fn the_number_of_vias_in_a_file_name_is_the_number_of_vias() {
    for sample in corpus::samples("real", "sip") {
        let vias = read(&sample.bytes, Mode::Strict, |message| message.lines(Name::Via).count()).unwrap();
        assert!(sample.name.contains(&format!("-{vias}via")), "{}: {vias}", sample.name);
    }
}

#[test]
fn a_captured_registration_carries_credentials() {
    let samples = corpus::samples("real", "sip");
    let with_auth: Vec<_> = samples.iter().filter(|sample| sample.name.ends_with("-auth")).collect();
    for sample in &with_auth {
        for mode in BOTH {
            read(&sample.bytes, mode, |message| {
                let auth = message.authorizations().next().unwrap().unwrap();
                assert_eq!((auth.username(), auth.realm()), (Some(&b"alice"[..]), Some(&b"127.0.0.1"[..])));
                assert_eq!((auth.nonce_count(), auth.get(b"qop")), (Some(1), Some(&b"auth"[..])));
                assert_eq!(auth.response(), Some(&b"a38a8991587b5525f95f57fee49f2820"[..]));
            })
            .unwrap();
        }
    }
    assert_eq!(with_auth.len(), usize::from(!samples.is_empty()));
}

/// What rsip reads where we do: each value it can give, by name. It cannot give those of some messages
/// that RFC 4475 calls valid (folds, escapes in users, methods of its own) nor IPv6 addresses.
fn by_rsip(theirs: &rsip::SipMessage) -> Vec<(&'static str, String)> {
    let tags = |params: &[rsip::Param]| {
        let mut tags = params.iter().filter_map(|param| match param {
            rsip::Param::Tag(tag) => Some(tag.to_string()),
            _ => None,
        });
        // One scanner sends two: rsip calls the first the tag, the servers and we the last.
        tags.next_back().unwrap_or_default()
    };
    let mut values = Vec::new();
    match theirs {
        rsip::SipMessage::Request(request) => {
            values.push(("method", request.method.to_string()));
            // It writes `transport=udp` back as `transport=UDP`.
            values.push(("uri", request.uri.to_string().to_ascii_lowercase()));
        }
        rsip::SipMessage::Response(response) => values.push(("code", response.status_code.code().to_string())),
    }
    let from = theirs.from_header().and_then(ToTypedHeader::typed);
    values.extend(from.map(|from| ("from tag", tags(&from.params))));
    let to = theirs.to_header().and_then(ToTypedHeader::typed);
    values.extend(to.map(|to| ("to tag", tags(&to.params))));
    // It does not know the name in all cases: "Call-Id" of `dblreq` is another header to it.
    values.extend(theirs.call_id_header().map(|call_id| ("call-id", call_id.value().to_owned())));
    let cseq = theirs.cseq_header().and_then(ToTypedHeader::typed);
    values.extend(cseq.map(|cseq| ("cseq", format!("{} {}", cseq.seq, cseq.method))));
    values
}

fn by_us(name: &str, message: Message<'_>) -> String {
    let core = message.core().unwrap();
    match (name, message.start_line()) {
        ("method", StartLine::Request { method, .. }) => method.to_string(),
        ("uri", StartLine::Request { uri, .. }) => text(uri).to_ascii_lowercase(),
        ("code", StartLine::Response { code, .. }) => code.to_string(),
        ("from tag", _) => text(core.from.tag.unwrap_or_default()),
        ("to tag", _) => text(core.to.tag.unwrap_or_default()),
        ("call-id", _) => text(core.call_id),
        ("cseq", _) => format!("{} {}", core.cseq.number, core.cseq.method),
        _ => panic!("{name} is not to be had of a message of the other kind"),
    }
}

#[test]
fn rsip_reads_the_same() {
    let samples = corpus::all();
    for mode in BOTH {
        let (mut messages, mut values) = (0, 0);
        for sample in &samples {
            if verdict(&sample.bytes, mode).is_err() {
                continue;
            }
            let Ok(theirs) = rsip::SipMessage::try_from(sample.bytes.as_slice()) else { continue };
            for (name, theirs) in by_rsip(&theirs) {
                let ours = read(&sample.bytes, mode, |message| by_us(name, message)).unwrap();
                assert_eq!(ours, theirs, "{mode:?}: {}: {name}", sample.name);
                values += 1;
            }
            messages += 1;
        }
        let least = if mode == Mode::Strict { (60, 347) } else { (68, 390) };
        assert!(samples.is_empty() || (messages, values) >= least, "{mode:?}: {messages} messages, {values} values");
    }
}
