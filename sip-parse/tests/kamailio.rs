//! What Kamailio reads in a message is what this crate reads in it in `Mode::Lenient`: a shield
//! that reads something else can be talked past.

mod corpus;

#[path = "kamailio/cases/mod.rs"]
mod cases;
#[path = "kamailio/reading.rs"]
mod reading;
#[path = "kamailio/server.rs"]
mod server;

use cases::{Case, Changes, PLAIN};
use reading::Reading;
use server::{Kamailio, Verdict};
use sip_parse::Error;

#[test]
fn every_deviation_is_read_or_refused_as_listed() {
    let Some(mut kamailio) = Kamailio::start() else { return };
    let plain = Reading::ours(PLAIN.as_bytes()).unwrap();
    let mut surprises = Vec::new();
    for case in cases::all() {
        let (ours, theirs) = (Reading::ours(&case.message), kamailio.ask(&case.message));
        let found = ours_unlike(&case, &plain, &ours).into_iter().chain(theirs_unlike(&case, &plain, &theirs));
        let found = found.chain(headers_unlike(&ours, &theirs));
        surprises.extend(found.map(|what| format!("{}, {} ({}): {what}", case.part, case.name, case.section)));
    }
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}

/// What Kamailio refuses of the corpus and we read, and what it does not like.
const ONLY_WE_READ: &[(&str, &str)] = &[
    ("esc02", "a header's name has a percent sign"),
    ("intmeth", "a header's name has an exclamation mark"),
    ("multi01", "headers that may be there once are there twice"),
    ("novelsc", "the scheme of the Request-URI"),
    ("unkscm", "the scheme of the Request-URI"),
    ("wsinv", "CSeq is folded between number and method"),
];

/// What we refuse of the corpus and Kamailio reads, and why.
const ONLY_KAMAILIO_READS: &[(&str, Error)] = &[("scalar02", Error::Malformed(sip_parse::Name::CSeq))];

/// Samples that are longer than their Content-Length says: to Kamailio the body ends with the datagram.
const LONGER_FOR_KAMAILIO: &[&str] = &["dblreq", "ipv4-mapped-ipv6", "ipv6-in-sdp", "mult-ip-in-sdp"];

#[test]
fn what_both_accept_of_the_corpus_they_read_alike() {
    let Some(mut kamailio) = Kamailio::start() else { return };
    for corpus::Sample { name, bytes } in corpus::all() {
        let only_we = ONLY_WE_READ.iter().any(|(sample, _)| *sample == name);
        let why_not = ONLY_KAMAILIO_READS.iter().find(|(sample, _)| *sample == name).map(|&(_, why)| why);
        match (Reading::ours(&bytes), kamailio.ask(&bytes)) {
            (Ok(ours), Verdict::Reads(mut theirs)) => {
                if LONGER_FOR_KAMAILIO.contains(&name.as_str()) {
                    theirs.cut_body(ours.get("body").len());
                }
                assert_eq!(ours, theirs, "{name}");
            }
            (Ok(_), Verdict::Drops | Verdict::Stumbles) => assert!(only_we, "{name}: Kamailio refuses it"),
            (Err(error), Verdict::Reads(_)) => assert_eq!(Some(error), why_not, "{name}"),
            (Err(_), Verdict::Drops | Verdict::Stumbles) => {
                assert!(!only_we && why_not.is_none(), "{name}: both refuse it");
            }
        }
    }
}

/// What parts and closes things.
#[rustfmt::skip]
const PIECES: &[&str] = &[
    "\r\n ", "\n", "\r\n\r\n", " ", "\t", "\"", ",", ";", ":", "<", ">", "=", "@", "?", "\\", "(", "/", "[", "]", "%",
    ";tag=x", ";branch=x", ", SIP/2.0/UDP x", "\r\nt: <sip:x@y>;tag=z", "\r\nl: 3",
];

#[test]
fn a_piece_more_anywhere_is_read_alike_if_both_accept_it() {
    let Some(mut kamailio) = Kamailio::start() else { return };
    let mut wrong = Vec::new();
    for (at, piece) in (0..=PLAIN.len()).flat_map(|at| PIECES.iter().map(move |piece| (at, piece))) {
        let message = [&PLAIN[..at], piece, &PLAIN[at..]].concat();
        let read = (Reading::ours(message.as_bytes()), kamailio.ask(message.as_bytes()));
        let (Ok(ours), Verdict::Reads(theirs)) = read else { continue };
        let unlike = ours.fields.iter().filter(|(name, value)| !is_alike(name, value, theirs.get(name)));
        wrong.extend(unlike.map(|(name, value)| format!("{name} {value:?}, {:?} in {message:?}", theirs.get(name))));
        if ours.headers != theirs.headers {
            wrong.push(format!("headers {:?}, {:?} in {message:?}", ours.headers, theirs.headers));
        }
    }
    assert!(wrong.is_empty(), "{} differ, here and in Kamailio:\n{}", wrong.len(), wrong.join("\n"));
}

/// What `every_deviation_is_read_or_refused_as_listed` lists as read apart counts as alike.
fn is_alike(field: &str, ours: &str, theirs: &str) -> bool {
    match field.rsplit_once('.').unwrap_or(("", field)).1 {
        "body" => theirs.starts_with(ours),
        "tag" => ours.trim_start_matches(',') == theirs,
        "rport" | "user" | "host" | "contact" => ours == theirs || ours.is_empty() || theirs.is_empty(),
        _ => ours == theirs,
    }
}

fn ours_unlike(case: &Case, plain: &Reading, ours: &Result<Reading, Error>) -> Vec<String> {
    match (ours, case.outcome.ours()) {
        (Ok(reading), Ok(changes)) => unlike("we", case, plain, changes, reading),
        (Err(error), Err(expected)) if *error == expected => Vec::new(),
        (Err(error), expected) => vec![format!("we refuse it, {error:?}: expected {expected:?}")],
        (Ok(_), Err(expected)) => vec![format!("we read it: expected {expected:?}")],
    }
}

fn theirs_unlike(case: &Case, plain: &Reading, theirs: &Verdict) -> Vec<String> {
    match (theirs, case.outcome.theirs()) {
        (Verdict::Reads(reading), Some(changes)) => unlike("Kamailio", case, plain, changes, reading),
        (Verdict::Drops | Verdict::Stumbles, None) => Vec::new(),
        (Verdict::Reads(_), None) => vec!["Kamailio reads it".to_owned()],
        (Verdict::Drops | Verdict::Stumbles, Some(_)) => vec![format!("Kamailio does not read it: {theirs:?}")],
    }
}

fn unlike(who: &str, case: &Case, plain: &Reading, changes: Changes, reading: &Reading) -> Vec<String> {
    let expected = case.expected(plain, changes).into_iter();
    let wrong = expected.filter(|(name, value)| reading.get(name) != value);
    wrong.map(|(name, value)| format!("{who} read {name} as {:?}: expected {value:?}", reading.get(&name))).collect()
}

/// Fields may differ as listed, headers never.
fn headers_unlike(ours: &Result<Reading, Error>, theirs: &Verdict) -> Option<String> {
    let (Ok(ours), Verdict::Reads(theirs)) = (ours, theirs) else { return None };
    let (ours, theirs) = (&ours.headers, &theirs.headers);
    (ours != theirs).then(|| format!("we have the headers {ours:?}, Kamailio {theirs:?}"))
}
