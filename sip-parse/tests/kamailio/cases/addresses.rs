//! `From` and `To`, which one grammar describes.

use sip_parse::{Error, Name};

use super::Outcome::{self, Apart, Both, Neither, Stricter, Wider};
use super::{Case, Row, table, with_value};

pub(super) fn cases() -> impl Iterator<Item = Case> {
    let from = [EITHER, FROM].into_iter().flat_map(|rows| table("From", rows, |value| with_value("From", value)));
    let to = [EITHER, TO].into_iter().flat_map(|rows| table("To", rows, |value| with_value("To", value)));
    from.chain(to.map(|case| Case { outcome: of_to(case.outcome), ..case }))
}

const REFUSED: Outcome = Neither(MALFORMED);
const MALFORMED: Error = Error::Malformed(Name::From);

/// What is said of `From` below, said of `To`.
fn of_to(outcome: Outcome) -> Outcome {
    match outcome {
        Neither(MALFORMED) => Neither(Error::Malformed(Name::To)),
        Stricter(MALFORMED, changes) => Stricter(Error::Malformed(Name::To), changes),
        other => other,
    }
}

/// `From` is read like `To`.
#[rustfmt::skip]
const EITHER: &[Row] = &[
    ("no display name", "20.20", "<sip:a@b.com>;tag=f", Both(&[("display", "")])),
    ("white space inside the brackets", "25.1 name-addr", "< sip:a@b.com	>;tag=f", Both(&[("display", "")])),
    ("white space within the URI", "25.1 addr-spec", "<sip:a b@b.com>;tag=f", REFUSED),
    ("a fold inside the brackets", "25.1 addr-spec", "<sip:a\r\n @b.com>;tag=f", REFUSED),
    ("a fold between the parts", "7.3.1", "\"A\"\r\n <sip:a@b.com>\r\n ;\r\n tag\r\n =\r\n f", Both(&[])),
    ("a fold in a quoted name", "25.1 quoted-string", "\"A\r\n B\" <sip:a@b.com>;tag=f", Wider(&[("display", "A\\r\\n B")])),
    ("delimiters in a quoted name", "25.1 quoted-string", "\"<;,>\" <sip:a@b.com>;tag=f", Both(&[("display", "<;,>")])),
    ("an escaped quote in a quoted name", "25.1 quoted-pair", "\"x\\\"<sip:x@y.com>\" <sip:a@b.com>;tag=f", Both(&[("display", "x\\\\\\\"<sip:x@y.com>")])),
    ("a quote that does not end", "25.1 quoted-string", "\"A <sip:a@b.com>;tag=f", REFUSED),
    ("an escape that hides the end of a quote", "25.1 quoted-pair", "\"A\\\" <sip:a@b.com>;tag=f", REFUSED),
    ("words behind a quoted name", "25.1 display-name", "\"A\" B <sip:a@b.com>;tag=f", REFUSED),
    ("a quote behind a word", "25.1 display-name", "A\"B\" <sip:a@b.com>;tag=f", REFUSED),
    ("a bare name with a comma", "25.1 display-name", "Bell, A <sip:a@b.com>;tag=f", Both(&[("display", "Bell, A")])),
    ("a bare name of any characters", "25.1 display-name", "a@b:(c){d} <sip:a@b.com>;tag=f", Both(&[("display", "a@b:(c){d}")])),
    ("a bare name that is not UTF-8", "25.1 display-name", "\u{e9} <sip:a@b.com>;tag=f", Both(&[("display", "\\xe9")])),
    ("a bare name with a backslash", "25.1 display-name", "a\\b <sip:a@b.com>;tag=f", REFUSED),
    ("a bare name with a semicolon", "25.1 display-name", "A;B <sip:a@b.com>;tag=f", REFUSED),
    ("no space behind the name", "25.1 name-addr", "A<sip:a@b.com>;tag=f", Both(&[("display", "A")])),
    ("no brackets", "20.10", "sip:a@b.com;user=phone;tag=f", Both(&[("display", "")])),
    ("no brackets, white space", "20.10", "sip:a@b.com ;tag=f", Both(&[("display", "")])),
    ("no brackets, a question mark", "20.10", "sip:a@b.com?x=y;tag=f", Both(&[("display", ""), ("uri", "sip:a@b.com?x=y")])),
    ("no brackets, a comma", "20.10", "sip:a,c@b.com;tag=f", Both(&[("display", ""), ("uri", "sip:a,c@b.com"), ("user", "a,c")])),
    ("a tag inside the brackets", "19.3", "<sip:a@b.com;tag=f>", Both(&[("display", ""), ("uri", "sip:a@b.com;tag=f"), ("tag", "")])),
    ("nothing behind the brackets", "19.3", "<sip:a@b.com>", Both(&[("display", ""), ("tag", "")])),
    ("letters behind the brackets", "25.1", "<sip:a@b.com>x;tag=f", REFUSED),
    ("a comment behind the brackets", "25.1", "<sip:a@b.com>(x);tag=f", REFUSED),
    ("a second URI", "25.1", "<sip:a@b.com><sip:x@y.com>;tag=f", REFUSED),
    ("a list", "20.20", "<sip:a@b.com>, <sip:x@y.com>;tag=f", REFUSED),
    ("brackets that do not end", "25.1", "<sip:a@b.com;tag=f", REFUSED),
    ("nothing between the brackets", "25.1", "<>;tag=f", REFUSED),
    ("brackets in brackets", "25.1", "<<sip:a@b.com>>;tag=f", REFUSED),
    ("a quote in the URI", "25.1", "<sip:\"a\"@b.com>;tag=f", REFUSED),
    ("empty", "25.1", "", REFUSED),
    ("white space around the equals sign", "25.1", "<sip:a@b.com> ; tag = f ", Both(&[("display", "")])),
    ("TAG", "7.3.1", "<sip:a@b.com>;TAG=f", Both(&[("display", "")])),
    ("a tag of any characters", "25.1 token", "<sip:a@b.com>;tag=f@{}/:?\u{e9}", Both(&[("display", ""), ("tag", "f@{}/:?\\xe9")])),
    ("a tag in quotes", "25.1 tag-param", "<sip:a@b.com>;tag=\"f\"", Both(&[("display", "")])),
    ("an empty tag in quotes", "25.1 tag-param", "<sip:a@b.com>;tag=\"\"", Both(&[("display", ""), ("tag", "")])),
    ("an escape in a quoted tag", "25.1 tag-param", "<sip:a@b.com>;tag=\"f\\\"\"", Wider(&[("display", ""), ("tag", "f\\\\\\\"")])),
    ("an empty tag", "25.1 tag-param", "<sip:a@b.com>;tag=", Both(&[("display", ""), ("tag", "")])),
    ("an empty tag before another parameter", "25.1 tag-param", "<sip:a@b.com>;tag=;x", Both(&[("display", ""), ("tag", "")])),
    ("a tag without a value", "25.1 tag-param", "<sip:a@b.com>;tag", Both(&[("display", ""), ("tag", "")])),
    ("two tags", "7.3.1", "<sip:a@b.com>;tag=x;tag=f", Both(&[("display", "")])),
    ("two tags, the last without a value", "7.3.1", "<sip:a@b.com>;tag=x;tag", Both(&[("display", ""), ("tag", "")])),
    ("a comma in the tag", "25.1 token", "<sip:a@b.com>;tag=f,g", Both(&[("display", ""), ("tag", "f,g")])),
    ("a comma before the tag", "25.1 token", "<sip:a@b.com>;tag=,f", Apart(&[("display", ""), ("tag", ",f")], &[("display", "")])),
    ("a list behind the tag", "20.20", "<sip:a@b.com>;tag=x,<sip:x@y.com>;tag=f", Both(&[("display", "")])),
    ("a comma in another parameter", "25.1 token", "<sip:a@b.com>;x=y,z;tag=f", Wider(&[("display", "")])),
    ("a space in the tag", "25.1 token", "<sip:a@b.com>;tag=f g", REFUSED),
    ("an equals sign in the tag", "25.1 token", "<sip:a@b.com>;tag=f=g", Wider(&[("display", ""), ("tag", "f=g")])),
    ("a comment behind the tag", "25.1", "<sip:a@b.com>;tag=f (x)", REFUSED),
    ("parameters without values", "25.1", "<sip:a@b.com>;x;y=;tag=f", Both(&[("display", "")])),
    ("a tag in a quoted parameter", "25.1", "<sip:a@b.com>;x=\";tag=x\";tag=f", Both(&[("display", "")])),
    ("no parameter", "25.1", "<sip:a@b.com>;;tag=f", REFUSED),
    ("no last parameter", "25.1", "<sip:a@b.com>;tag=f;", REFUSED),
    ("no name of a parameter", "25.1", "<sip:a@b.com>;=x;tag=f", REFUSED),
    ("a tel URI", "19.1.6", "<tel:+123>;tag=f", Both(&[("display", ""), ("uri", "tel:+123"), ("user", "+123"), ("host", "")])),
    ("a URI of another scheme", "19.1.1", "<http://b.com>;tag=f", Both(&[("display", ""), ("uri", "http://b.com"), ("user", ""), ("host", "")])),
    ("a word for a URI", "19.1.1", "Alice", Both(&[("display", ""), ("uri", "Alice"), ("user", ""), ("host", ""), ("tag", "")])),
    ("a URI without a scheme", "19.1.1", "<a@b.com>;tag=f", Both(&[("display", ""), ("uri", "a@b.com"), ("user", ""), ("host", "")])),
    ("a NUL in the URI", "25.1", "<sip:a\0@b.com>;tag=f", REFUSED),
];

/// Kamailio looks for the end of the line first.
#[rustfmt::skip]
const FROM: &[Row] = &[
    ("a NUL in the tag", "25.1 token", "<sip:a@b.com>;tag=f\0g", Stricter(MALFORMED, &[("display", "")])),
    ("a NUL in the name", "25.1", "A\0B <sip:a@b.com>;tag=f", Stricter(MALFORMED, &[("display", ""), ("uri", "A"), ("user", ""), ("host", ""), ("tag", "")])),
    ("CR alone ends what is read", "7", "\"A\" <sip:a@b.com>;tag=f\rX-A: z", Stricter(Error::LineEnd, &[])),
    ("CR and a space", "7.3.1", "\"A\" <sip:a@b.com>\r ;tag=f", Stricter(Error::LineEnd, &[])),
];

/// Kamailio looks for the end of the line while it reads what is in it.
#[rustfmt::skip]
const TO: &[Row] = &[
    ("a NUL in the tag", "25.1 token", "<sip:a@b.com>;tag=f\0g", REFUSED),
    ("a NUL in the name", "25.1", "A\0B <sip:a@b.com>;tag=f", REFUSED),
    ("CR alone ends the header", "7", "\"A\" <sip:a@b.com>;tag=f\rX-A: z", Stricter(Error::LineEnd, &[("X-A", "z")])),
    ("CR and a space are a fold", "7.3.1", "\"A\" <sip:a@b.com>\r ;tag=f", Stricter(Error::LineEnd, &[])),
    ("two CRs end the headers", "7", "\"A\" <sip:a@b.com>;tag=f\r", Neither(Error::LineEnd)),
];
