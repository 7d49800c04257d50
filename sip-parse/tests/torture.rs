//! The torture messages of RFC 4475 and RFC 5118: which are read, which are refused, and why.

mod common;
mod corpus;

use common::{BOTH, verdict};
use sip_parse::{Error, Mode, Name};

/// What RFC 4475 wants refused: its section, why strict mode refuses it, and why lenient mode does or
/// what servers do with it instead.
const REFUSED: [(&str, &str, Error, Result<&str, Error>); 22] = [
    ("badinv01", "3.1.2.1", Error::Malformed(Name::Via), Err(Error::Malformed(Name::Via))),
    ("clerr", "3.1.2.2", Error::BodyCut, Ok("the body is what there is of it")),
    ("ncl", "3.1.2.3", Error::Malformed(Name::ContentLength), Err(Error::Malformed(Name::ContentLength))),
    ("scalar02", "3.1.2.4", Error::Malformed(Name::CSeq), Err(Error::Malformed(Name::CSeq))),
    ("scalarlg", "3.1.2.5", Error::Malformed(Name::CSeq), Err(Error::Malformed(Name::CSeq))),
    ("quotbal", "3.1.2.6", Error::Malformed(Name::To), Err(Error::Malformed(Name::To))),
    ("ltgtruri", "3.1.2.7", Error::RequestUri, Err(Error::RequestUri)),
    ("lwsruri", "3.1.2.8", Error::StartLine, Err(Error::StartLine)),
    ("lwsstart", "3.1.2.9", Error::RequestUri, Err(Error::RequestUri)),
    ("trws", "3.1.2.10", Error::StartLine, Ok("blanks behind the version are passed over")),
    ("escruri", "3.1.2.11", Error::RequestUri, Ok("headers of a Request-URI are passed over")),
    ("baddate", "3.1.2.12", Error::Malformed(Name::Date), Ok("Date is not read")),
    ("regbadct", "3.1.2.13", Error::Malformed(Name::Contact), Ok("a URI without brackets may hold a question mark")),
    ("badaspec", "3.1.2.14", Error::Malformed(Name::To), Ok("white space inside the brackets is passed over")),
    ("baddn", "3.1.2.15", Error::NoEmptyLine, Ok("a bare display name may hold a comma")),
    ("badvers", "3.1.2.16", Error::Version, Err(Error::Version)),
    ("mismatch01", "3.1.2.17", Error::MethodMismatch, Ok("CSeq is not compared with the start line")),
    ("mismatch02", "3.1.2.18", Error::MethodMismatch, Ok("CSeq is not compared with the start line")),
    ("bigcode", "3.1.2.19", Error::StatusLine, Err(Error::StatusLine)),
    ("insuf", "3.3.1", Error::Missing(Name::From), Err(Error::Missing(Name::From))),
    ("multi01", "3.3.8", Error::Repeated(Name::CSeq), Ok("the first counts")),
    ("mcl01", "3.3.9", Error::Repeated(Name::ContentLength), Err(Error::ContentLengthConflict)),
];

#[test]
fn every_message_of_rfc_4475_is_read_or_refused_as_it_says() {
    let samples = corpus::samples("rfc4475", "dat");
    let table = corpus::table("rfc4475/INDEX.tsv");
    let (mut accepted, mut refused) = (0, 0);
    for row in &table {
        let (name, section, wanted) = (&row[0], &row[1], &row[4]);
        let sample = samples.iter().find(|sample| sample.name == *name).unwrap();
        let found = BOTH.map(|mode| verdict(&sample.bytes, mode));
        if wanted == "accept" {
            assert_eq!(found, [Ok(()); 2], "{name} ({section})");
            accepted += 1;
        } else {
            assert!(wanted.starts_with("reject"), "{name}: {wanted}");
            let row = REFUSED.iter().find(|(refused, ..)| refused == name);
            let (_, where_, strict, lenient) = row.unwrap_or_else(|| panic!("{name} is not listed"));
            assert_eq!(section, where_, "{name}");
            assert_eq!(found, [Err(*strict), lenient.map(|_| ())], "{name} ({section})");
            refused += 1;
        }
    }
    if !table.is_empty() {
        assert_eq!((accepted, refused, samples.len()), (27, REFUSED.len(), 49));
    }
}

/// The one in the archive of the RFC lacks the empty line; here it is whole.
#[test]
fn a_comma_in_a_bare_display_name_is_refused_in_strict_mode() {
    for sample in corpus::samples("rfc4475-extra", "dat") {
        assert_eq!(verdict(&sample.bytes, Mode::Strict), Err(Error::Malformed(Name::From)), "{}", sample.name);
        assert_eq!(verdict(&sample.bytes, Mode::Lenient), Ok(()), "{}", sample.name);
    }
}

/// RFC 5118 §4: only `ipv6-bad` has an address without brackets in its Request-URI.
#[test]
fn every_message_of_rfc_5118_but_one_is_read() {
    let samples = corpus::samples("rfc5118", "dat");
    for sample in &samples {
        let expected = if sample.name == "ipv6-bad" { Err(Error::RequestUri) } else { Ok(()) };
        assert_eq!(BOTH.map(|mode| verdict(&sample.bytes, mode)), [expected; 2], "{}", sample.name);
    }
    assert!(samples.is_empty() || samples.len() == 12);
}

#[test]
fn line_ends_without_cr_change_nothing_for_servers() {
    let samples = corpus::samples("rfc5118/rfc-archive-lf", "dat");
    for sample in &samples {
        assert!(!sample.bytes.contains(&b'\r'), "{}", sample.name);
        let lenient = if sample.name == "ipv6-bad" { Err(Error::RequestUri) } else { Ok(()) };
        assert_eq!(verdict(&sample.bytes, Mode::Strict), Err(Error::LineEnd), "{}", sample.name);
        assert_eq!(verdict(&sample.bytes, Mode::Lenient), lenient, "{}", sample.name);
    }
    assert!(samples.is_empty() || samples.len() == 9);
}
