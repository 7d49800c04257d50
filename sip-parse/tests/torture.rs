//! The torture messages of RFC 4475 and RFC 5118: which are read, which are refused, and why.

mod corpus;

use sip_parse::{Error, Index, Name};

/// Indexes a message and decodes the five headers that every message has.
fn read_core(bytes: &[u8]) -> Result<(), Error> {
    let mut index: Index = Index::new();
    let message = index.parse(bytes)?;
    message.top_via()?;
    message.from()?;
    message.to()?;
    message.call_id()?;
    message.cseq()?;
    Ok(())
}

/// What RFC 4475 wants refused and this crate refuses.
const REFUSED: &[(&str, Error)] = &[
    ("badaspec", Error::Address(Name::To)),
    ("badinv01", Error::Via),
    ("badvers", Error::Version),
    ("bigcode", Error::StatusLine),
    ("clerr", Error::BodyCut),
    ("baddn", Error::NoEmptyLine),
    ("insuf", Error::Missing(Name::From)),
    ("ltgtruri", Error::RequestUri),
    ("lwsruri", Error::RequestUri),
    ("lwsstart", Error::RequestUri),
    ("mcl01", Error::ContentLengthConflict),
    ("ncl", Error::ContentLength),
    ("quotbal", Error::Address(Name::To)),
    ("scalar02", Error::CSeq),
    ("scalarlg", Error::CSeq),
    ("trws", Error::StartLine),
];

/// What RFC 4475 wants refused for a reason that this crate does not look at.
const NOT_JUDGED: &[(&str, &str)] = &[
    ("baddate", "Date is not decoded"),
    ("escruri", "the parts of a URI are not decoded"),
    ("mismatch01", "CSeq is not compared with the start line"),
    ("mismatch02", "CSeq is not compared with the start line"),
    ("multi01", "the first of several headers counts, as for the servers"),
    ("regbadct", "Contact is not decoded"),
];

#[test]
fn every_row_of_rfc_4475_is_read_or_refused_as_listed() {
    let samples = corpus::samples("rfc4475", "dat");
    for row in corpus::table("rfc4475/INDEX.tsv") {
        let (name, verdict) = (&row[0], &row[4]);
        let sample = samples.iter().find(|sample| sample.name == *name).unwrap();
        let expected = REFUSED.iter().find(|(refused, _)| refused == name).map(|&(_, why)| why);
        let judged = !NOT_JUDGED.iter().any(|(passed, _)| passed == name);
        assert_eq!(read_core(&sample.bytes).err(), expected, "{name}");
        assert_eq!(verdict.starts_with("reject"), expected.is_some() || !judged, "{name}");
    }
}

#[test]
fn a_comma_in_a_bare_display_name_is_refused() {
    for sample in corpus::samples("rfc4475-extra", "dat") {
        assert_eq!(read_core(&sample.bytes), Err(Error::Address(Name::From)), "{}", sample.name);
    }
}

/// `ipv6-bad` has an address without brackets in its Request-URI: URIs are not taken apart.
#[test]
fn every_message_of_rfc_5118_is_read() {
    for sample in corpus::samples("rfc5118", "dat") {
        assert_eq!(read_core(&sample.bytes), Ok(()), "{}", sample.name);
    }
}

#[test]
fn line_ends_without_cr_change_nothing() {
    for sample in corpus::samples("rfc5118/rfc-archive-lf", "dat") {
        assert!(!sample.bytes.contains(&b'\r'), "{}", sample.name);
        let expected = match sample.name.as_str() {
            "mult-ip-in-sdp" => Err(Error::BodyCut), // its length counts the CRs that are gone
            _ => Ok(()),
        };
        assert_eq!(read_core(&sample.bytes), expected, "{}", sample.name);
    }
}
