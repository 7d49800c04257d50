//! `CSeq`, `Call-ID`, what is missing, `Contact`, `Authorization`.

use sip_parse::{Error, Name};

use super::Outcome::{self, Apart, Both, Neither, Stricter, Wider};
use super::{Case, Changes, Row, table, with, with_more, with_value};

pub(super) fn cases() -> impl Iterator<Item = Case> {
    [
        table("CSeq", CSEQS, |value| with_value("CSeq", value)),
        table("Call-ID", CALL_IDS, |value| with_value("Call-ID", value)),
        table("missing", MISSING, |line| with(line, "")),
        table("missing in a response", MISSING_IN_A_RESPONSE, |line| {
            with(line, "").replace("INVITE sip:u@h.com SIP/2.0\r\n", "SIP/2.0 200 OK\r\n")
        }),
        table("Contact", CONTACTS, |value| with_more(&format!("Contact: {value}\r\n"))),
        table("Authorization", CREDENTIALS, |value| with_more(&format!("Authorization: {value}\r\n"))),
    ]
    .into_iter()
    .flatten()
}

const REFUSED: Outcome = Neither(CSEQ);
const CSEQ: Error = Error::Malformed(Name::CSeq);

#[rustfmt::skip]
const CSEQS: &[Row] = &[
    ("leading zeros", "20.16", "0007 INVITE", Both(&[])),
    ("beyond 31 bits", "8.1.1.5", "2147483648 INVITE", Both(&[("cseq.number", "2147483648")])),
    ("the last of 32 bits", "8.1.1.5", "4294967295 INVITE", Both(&[("cseq.number", "4294967295")])),
    ("beyond 32 bits", "8.1.1.5", "4294967296 INVITE", Stricter(CSEQ, &[("cseq.number", "4294967296")])),
    ("letters", "20.16", "x7 INVITE", Stricter(CSEQ, &[("cseq.number", "x7")])),
    ("negative", "20.16", "-7 INVITE", Stricter(CSEQ, &[("cseq.number", "-7")])),
    ("tabs and spaces", "25.1 LWS", "7 \t INVITE \t", Both(&[])),
    ("no space", "20.16", "7INVITE", REFUSED),
    ("folded", "7.3.1", "7\r\n INVITE", Wider(&[])),
    ("no method", "20.16", "7", REFUSED),
    ("no number", "20.16", "INVITE", REFUSED),
    ("empty", "20.16", "", REFUSED),
    ("a word behind it", "20.16", "7 INVITE x", REFUSED),
    ("a comment behind it", "20.16", "7 INVITE(x)", Stricter(CSEQ, &[("cseq.method", "INVITE(X)")])),
    ("a method in lower case", "7.1", "7 invite", Both(&[])),
    ("another method", "8.1.1.5", "7 BYE", Both(&[("cseq.method", "BYE")])),
    ("CR alone", "7", "7 INVITE\rX-A: z", Neither(Error::LineEnd)),
];

#[rustfmt::skip]
const CALL_IDS: &[Row] = &[
    ("white space in it", "25.1 callid", "a b", Both(&[("call-id", "a b")])),
    ("folded", "25.1 callid", "a\r\n b", Both(&[("call-id", "a\\r\\n b")])),
    ("any characters", "25.1 callid", "a,;|^\u{e9}@@", Both(&[("call-id", "a,;|^\\xe9@@")])),
    ("NULs at the end", "25.1 callid", "a\0\0", Stricter(Error::Malformed(Name::CallId), &[("call-id", "a")])),
    ("a NUL", "25.1 callid", "a\0b", Both(&[("call-id", "a\\x00b")])),
    ("empty", "25.1 callid", "", Both(&[("call-id", "")])),
];

const MISSING: &[Row] = &[
    ("Via", "8.1.1", "Via: SIP/2.0/UDP v.com:5070;branch=z9hG4bK1\r\n", Neither(Error::Missing(Name::Via))),
    ("From", "8.1.1", "From: \"A\" <sip:a@b.com>;tag=f\r\n", Neither(Error::Missing(Name::From))),
    ("To", "8.1.1", "To: \"A\" <sip:a@b.com>;tag=f\r\n", Neither(Error::Missing(Name::To))),
    ("Call-ID", "8.1.1", "Call-ID: i\r\n", Neither(Error::Missing(Name::CallId))),
    ("CSeq", "8.1.1", "CSeq: 7 INVITE\r\n", Neither(Error::Missing(Name::CSeq))),
    ("Max-Forwards", "8.1.1", "Max-Forwards: 70\r\n", Both(&[])),
];

const MISSING_IN_A_RESPONSE: &[Row] = &[
    ("Via", "8.1.1", "Via: SIP/2.0/UDP v.com:5070;branch=z9hG4bK1\r\n", Neither(Error::Missing(Name::Via))),
    ("To", "8.1.1", "To: \"A\" <sip:a@b.com>;tag=f\r\n", Neither(Error::Missing(Name::To))),
    ("CSeq", "8.1.1", "CSeq: 7 INVITE\r\n", Neither(Error::Missing(Name::CSeq))),
];

const UNREADABLE: Outcome = Both(&[]);
const X: Changes = &[("contact", "sip:x@y.com")];

#[rustfmt::skip]
const CONTACTS: &[Row] = &[
    ("plain", "20.10", "<sip:x@y.com>;expires=5", Both(X)),
    ("no brackets", "20.10", "sip:x@y.com;expires=5", Both(X)),
    ("no brackets, a question mark", "20.10", "sip:x@y.com?x=y", Both(&[("contact", "sip:x@y.com?x=y")])),
    ("no brackets, a comma", "20.10", "sip:w,x@y.com", Apart(&[("contact", "x@y.com")], &[])),
    ("nothing at the start of the list", "25.1", ", <sip:x@y.com>", Both(X)),
    ("nothing in the middle of the list", "25.1", "<sip:w@y.com>,,<sip:x@y.com>", Both(X)),
    ("nothing at the end of the list", "25.1", "<sip:x@y.com>,", UNREADABLE),
    ("a list over two lines", "7.3.1", "<sip:w@y.com>,\r\n <sip:x@y.com>", Both(X)),
    ("white space inside the brackets", "25.1", "< sip:x@y.com >", Both(X)),
    ("a quoted name", "25.1", "\"w, <y>\" <sip:x@y.com>", Both(X)),
    ("a quote that does not end", "25.1", "\"w <sip:x@y.com>", UNREADABLE),
    ("brackets that do not end", "25.1", "<sip:x@y.com", UNREADABLE),
    ("nothing between the brackets", "25.1", "<>", UNREADABLE),
    ("letters behind the brackets", "25.1", "<sip:x@y.com>w", Apart(&[], &[("contact", "<sip:x@y.com>w")])),
    ("no parameter", "25.1", "<sip:x@y.com>;;q=1", Apart(&[], X)),
    ("an empty parameter", "25.1", "<sip:x@y.com>;x=", Both(X)),
    ("empty", "25.1", "", UNREADABLE),
    ("all", "10.2.2", "*", Both(&[])),
];

const U: Changes = &[("username", "u"), ("realm", "r")];

#[rustfmt::skip]
const CREDENTIALS: &[Row] = &[
    ("plain", "22.4", "Digest username=\"u\", realm=\"r\"", Both(U)),
    ("upper and lower case", "7.3.1", "dIGEST USERNAME=\"u\", REALM=\"r\"", Both(U)),
    ("no quotes", "25.1 quoted-string", "Digest username=u,realm=r", Both(U)),
    ("white space everywhere", "25.1", "Digest\tusername = \"u\" ,\r\n realm = \"r\"", Both(U)),
    ("parameters twice", "7.3.1", "Digest username=\"x\",realm=\"x\",username=\"u\",realm=\"r\"", Both(U)),
    ("an unknown parameter", "25.1 auth-param", "Digest username=\"u\",x=y,realm=\"r\"", Both(U)),
    ("nothing in the middle of the list", "25.1", "Digest username=\"u\",,realm=\"r\"", Both(&[("username", "u")])),
    ("a semicolon between parameters", "25.1", "Digest username=\"u\";realm=\"r\"", Both(&[("username", "u")])),
    ("a space between parameters", "25.1", "Digest username=\"u\" realm=\"r\"", Both(&[("username", "u")])),
    ("a parameter without a value", "25.1 auth-param", "Digest username=\"u\",x,realm=\"r\"", Both(&[("username", "u")])),
    ("nothing at the start of the list", "25.1", "Digest ,username=\"u\",realm=\"r\"", Both(&[("realm", "r")])),
    ("nothing at the end of the list", "25.1", "Digest username=\"u\",realm=\"r\",", Both(&[])),
    ("an escaped quote", "25.1 quoted-pair", "Digest username=\"u\\\"x\",realm=\"r\"", Apart(&[("username", "u\\\\\\\"x"), ("realm", "r")], &[("username", "u\\\\"), ("realm", "r")])),
    ("a quote that does not end", "25.1 quoted-string", "Digest username=\"u,realm=\"r\"", Both(&[("username", "u,realm=")])),
    ("another scheme", "22.4", "Basic abc=", Both(&[])),
    ("no parameters", "25.1", "Digest", Both(&[])),
];
