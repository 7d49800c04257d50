//! Messages captured from real programs, and what another parser reads in them.

mod corpus;

use rsip::prelude::*;
use sip_parse::{Index, Name, StartLine};

#[test]
fn every_captured_message_is_read() {
    for sample in corpus::samples("real", "sip") {
        let mut index: Index = Index::new();
        let message = index.parse(&sample.bytes).unwrap_or_else(|e| panic!("{}: {e}", sample.name));
        let name = &sample.name;
        assert!(message.top_via().unwrap().branch.unwrap().starts_with(b"z9hG4bK"), "{name}");
        assert!(message.from().unwrap().uri.starts_with(b"sip:"), "{name}");
        assert!(message.to().unwrap().uri.starts_with(b"sip:"), "{name}");
        assert!(!message.call_id().unwrap().is_empty(), "{name}");
        let cseq = message.cseq().unwrap();
        if let StartLine::Request { method, .. } = message.start_line() {
            assert_eq!(cseq.method, method, "{name}");
        }
    }
}

#[test]
fn the_number_of_vias_in_a_file_name_is_the_number_of_vias() {
    for sample in corpus::samples("real", "sip") {
        let mut index: Index = Index::new();
        let message = index.parse(&sample.bytes).unwrap();
        let vias = message.headers().filter(|header| header.name == Name::Via).count();
        assert!(sample.name.contains(&format!("-{vias}via")), "{}: {vias}", sample.name);
    }
}

#[test]
fn rsip_reads_the_same() {
    let samples = corpus::samples("real", "sip");
    let mut compared = 0;
    for sample in &samples {
        let Ok(theirs) = rsip::SipMessage::try_from(sample.bytes.as_slice()) else {
            continue;
        };
        let mut index: Index = Index::new();
        let ours = index.parse(&sample.bytes).unwrap();
        let name = &sample.name;

        match (ours.start_line(), &theirs) {
            (StartLine::Request { method, uri }, rsip::SipMessage::Request(request)) => {
                assert_eq!(method.as_bytes(), request.method.to_string().as_bytes(), "{name}");
                // rsip writes `transport=udp` back as `transport=UDP`.
                let theirs = request.uri.to_string();
                assert!(uri.eq_ignore_ascii_case(theirs.as_bytes()), "{name}: {theirs}");
            }
            (StartLine::Response { code, .. }, rsip::SipMessage::Response(response)) => {
                assert_eq!(code, response.status_code.code(), "{name}");
            }
            _ => panic!("{name}: a request for one is a response for the other"),
        }

        let call_id = theirs.call_id_header().unwrap().value();
        assert_eq!(ours.call_id().unwrap(), call_id.as_bytes(), "{name}");

        let cseq = theirs.cseq_header().unwrap().typed().unwrap();
        assert_eq!(ours.cseq().unwrap().number, cseq.seq, "{name}");
        let method = cseq.method.to_string();
        assert_eq!(ours.cseq().unwrap().method.as_bytes(), method.as_bytes(), "{name}");

        let via = theirs.via_header().unwrap().typed().unwrap();
        let branch = via.branch().map(ToString::to_string);
        assert_eq!(ours.top_via().unwrap().branch, branch.as_deref().map(str::as_bytes), "{name}");

        let to = theirs.to_header().unwrap().typed().unwrap();
        let tag = to.tag().map(ToString::to_string);
        assert_eq!(ours.to().unwrap().tag, tag.as_deref().map(str::as_bytes), "{name}");

        // One scanner sends two tags: rsip believes the first, the servers and we the last.
        let from = theirs.from_header().unwrap().typed().unwrap();
        let mut tags = from.params.iter().filter_map(|param| match param {
            rsip::Param::Tag(tag) => Some(tag.to_string()),
            _ => None,
        });
        assert_eq!(ours.from().unwrap().tag, tags.next_back().as_deref().map(str::as_bytes), "{name}");
        compared += 1;
    }
    assert_eq!(compared, samples.len(), "rsip refused some");
}
