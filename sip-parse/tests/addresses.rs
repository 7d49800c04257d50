//! `From`, `To`, `Contact`, `Route`: a display name, a URI, parameters (RFC 3261 §20.10, §20.20,
//! §20.34, §20.39).

mod common;

use common::{BOTH, read, with};
use sip_parse::{Contact, Error, Mode, Name, NameAddr, Uri};

/// What a [`NameAddr`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Address<'a> {
    display: Option<&'a str>,
    uri: &'a str,
    tag: Option<&'a str>,
}

const PLAIN: Address<'_> = Address { display: None, uri: "sip:b@c", tag: None };

fn address(found: NameAddr<'_>) -> Address<'_> {
    let text = |bytes| str::from_utf8(bytes).unwrap();
    Address { display: found.display.map(text), uri: text(found.addr_spec), tag: found.tag.map(text) }
}

/// The same value must be read alike in `From` and in `To`.
#[track_caller]
fn check(value: &str, mode: Mode, expected: Option<Address<'_>>) {
    for name in [Name::From, Name::To] {
        read(with(name.as_str(), value), mode, |message| {
            let found = if name == Name::From { message.from() } else { message.to() };
            assert_eq!(found.map(address), expected.ok_or(Error::Malformed(name)), "{mode:?}: {name}: {value:?}");
            assert_eq!(message.validate().is_ok(), expected.is_some(), "{mode:?}: {name}: {value:?}");
        })
        .unwrap();
    }
}

#[track_caller]
fn both(value: &str, expected: Address<'_>) {
    BOTH.into_iter().for_each(|mode| check(value, mode, Some(expected)));
}

#[track_caller]
fn lenient(value: &str, expected: Address<'_>) {
    check(value, Mode::Strict, None);
    check(value, Mode::Lenient, Some(expected));
}

#[test]
fn a_uri_may_stand_alone() {
    both("sip:b@c", PLAIN);
    both("<sip:b@c>", PLAIN);
}

/// `display-name = *(token LWS)/ quoted-string` (§25.1); no LWS is needed before the bracket (§20.10).
#[test]
fn a_display_name_may_be_tokens() {
    let expected = Address { display: Some("Bob"), tag: Some("1"), ..PLAIN };
    both("Bob<sip:b@c>;tag=1", expected);
    both("Bob B. %Example!  <sip:b@c> ; tag = 1", Address { display: Some("Bob B. %Example!"), ..expected });
}

/// §25.1 quoted-string: escapes stay as they are, and nothing in it means anything.
#[test]
fn a_quoted_display_name_may_hold_anything() {
    both(
        r#""a\\\" <sip:x@y>;tag=no, b" <sip:b@c>"#,
        Address { display: Some(r#"a\\\" <sip:x@y>;tag=no, b"#), ..PLAIN },
    );
    both(r#"""<sip:b@c>"#, Address { display: Some(""), ..PLAIN });
    both("\"\u{e9}\" <sip:b@c>", Address { display: Some("\u{e9}"), ..PLAIN });
    both("\"\\\0\" <sip:b@c>", Address { display: Some("\\\0"), ..PLAIN });
}

/// §20.10: what is inside the brackets is the URI's.
#[test]
fn in_brackets_parameters_are_the_uris() {
    let expected = Address { uri: "sip:b@c;tag=uri?x=%3E", ..PLAIN };
    both("<sip:b@c;tag=uri?x=%3E>", expected);
    both("<sip:b@c;tag=uri?x=%3E>;tag=header", Address { tag: Some("header"), ..expected });
    both("<sip:b,c;d=e@c>", Address { uri: "sip:b,c;d=e@c", ..PLAIN });
}

/// §20.10: without brackets all parameters are the header's.
#[test]
fn without_brackets_parameters_are_the_headers() {
    both("sip:b@c;user=phone;tag=1", Address { tag: Some("1"), ..PLAIN });
    both("sip:b@c ;tag=1", Address { tag: Some("1"), ..PLAIN });
}

/// §20.10: a URI with a comma or a question mark must stand in brackets; to servers it is one anyway.
#[test]
fn what_needs_brackets_may_lack_them_for_servers() {
    lenient("sip:b@c?x=y;tag=1", Address { uri: "sip:b@c?x=y", tag: Some("1"), ..PLAIN });
    lenient("sip:a,b@c;tag=1", Address { uri: "sip:a,b@c", tag: Some("1"), ..PLAIN });
}

/// §19.3: the tag is a parameter of the header, by that name only.
#[test]
fn a_tag_is_the_headers() {
    let expected = Address { display: Some(";tag=1"), tag: Some("3"), ..PLAIN };
    both(r#"";tag=1" <sip:b@c>;x=";tag=2";TAG=3"#, expected);
    both("<sip:b@c>;ftag=1;tagg=2", PLAIN);
    both("<sip:b@c>;x;tag=1;y=z", Address { tag: Some("1"), ..PLAIN });
}

#[test]
fn of_two_tags_the_last_counts_as_for_the_servers() {
    check("<sip:b@c>;tag=1;tag=2", Mode::Lenient, Some(Address { tag: Some("2"), ..PLAIN }));
    check("<sip:b@c>;tag=1;tag", Mode::Lenient, Some(PLAIN));
}

/// Kamailio reads these as no tag or an odd one, OpenSIPS refuses some.
#[test]
fn a_tag_is_what_servers_read() {
    for value in ["<sip:b@c>;tag", "<sip:b@c>;tag=", "<sip:b@c>;tag=;x=y", "<sip:b@c>;tag=\"\""] {
        check(value, Mode::Lenient, Some(PLAIN));
    }
    check("<sip:b@c>;tag=\"f\"", Mode::Lenient, Some(Address { tag: Some("f"), ..PLAIN }));
    lenient("<sip:b@c>;tag=f@{}/:?<>\u{e9}", Address { tag: Some("f@{}/:?<>\u{e9}"), ..PLAIN });
    lenient("<sip:b@c>;tag=f,g", Address { tag: Some("f,g"), ..PLAIN });
    lenient("<sip:b@c>;x=;tag=f", Address { tag: Some("f"), ..PLAIN });
}

/// §7.3.1, §25.1 SEMI, EQUAL, LAQUOT
#[test]
fn it_may_be_folded_anywhere_between_its_parts() {
    let expected = Address { display: Some("Bob"), tag: Some("1"), ..PLAIN };
    both("\"Bob\"\r\n <sip:b@c>\r\n\t;\r\n tag\r\n =\r\n 1", expected);
    both("Bob\r\n <sip:b@c>;tag=1", expected);
}

/// What both servers read, or one of them.
#[test]
fn lenient_mode_reads_what_servers_read() {
    lenient("< sip:b@c\t>", PLAIN);
    for display in ["Bell, A", "a@b:(c){d}", "\u{e9}", "(comment)"] {
        lenient(&format!("{display} <sip:b@c>"), Address { display: Some(display), ..PLAIN });
    }
    lenient("Alice", Address { uri: "Alice", ..PLAIN });
    lenient("<b@c>", Address { uri: "b@c", ..PLAIN });
    lenient("<sip:{b}@c>", Address { uri: "sip:{b}@c", ..PLAIN });
    lenient("*", Address { uri: "*", ..PLAIN });
}

#[test]
fn other_values_are_refused() {
    let refused = [
        "",
        "<>",
        "< >",
        "\"Bob\"",
        "\"Bob\" sip:b@c",
        "\"Bob <sip:b@c>",
        "\"Bob\\",
        "\"Bob\\\" <sip:b@c>",
        "\"Bob\" B <sip:b@c>",
        "Bob \"B\" <sip:b@c>",
        "Bob\\ <sip:b@c>",
        "Bob; <sip:b@c>",
        "B\0b <sip:b@c>",
        "\"B\0b\" <sip:b@c>",
        "<sip:b@c",
        "<sip:b @c>",
        "<sip:b\r\n @c>",
        "<sip:b\0@c>",
        "<sip:\"b\"@c>",
        "<<sip:b@c>>",
        "<sip:<b@c>",
        "sip:b@c>",
        "sip:b @c",
        "<sip:b@c> x",
        "<sip:b@c>x;tag=1",
        "<sip:b@c>(comment)",
        "<sip:b@c><sip:d@e>",
        "<sip:b@c>, <sip:d@e>",
        "<sip:b@c>;",
        "<sip:b@c>;;tag=1",
        "<sip:b@c>; ;tag=1",
        "<sip:b@c>;=x",
        "<sip:b@c>;tag=1 2",
        "<sip:b@c>;tag=1;",
        "<sip:b@c>;tag=1 (comment)",
        "<sip:b@c>;tag=1\x002",
        "<sip:b@c>;tag=\"1",
        "<sip:b@c>;tag=1\"2",
        "<sip:b@c>;tag=1\"2\"",
    ];
    for value in refused {
        BOTH.into_iter().for_each(|mode| check(value, mode, None));
    }
}

#[test]
fn its_parameters_are_listed() {
    for mode in BOTH {
        read(with("To", "<sip:b@c;u> ; a;b = \"c;\\\"d\";A=[::1]"), mode, |message| {
            let params = message.to().unwrap().params;
            let listed: Vec<_> = params.map(|param| (param.name, param.value)).collect();
            assert_eq!(listed, [(&b"a"[..], None), (b"b", Some(&b"c;\\\"d"[..])), (b"A", Some(b"[::1]"))]);
            assert_eq!(params.get(b"A"), Some(Some(&b"[::1]"[..])));
            assert_eq!(params.get(b"u"), None);
            assert_eq!(params.as_bytes(), b"; a;b = \"c;\\\"d\";A=[::1]");
        })
        .unwrap();
    }
}

#[test]
fn its_uri_is_taken_apart_when_asked_for() {
    for mode in BOTH {
        read(with("To", "Bob <sip:bob:pw@example.com:5070;lr?x=y>"), mode, |message| {
            let Ok(Uri::Sip(uri)) = message.to().unwrap().uri() else { panic!() };
            assert_eq!((uri.user, uri.port, uri.headers), (Some(&b"bob"[..]), Some(5070), Some(&b"x=y"[..])));
        })
        .unwrap();
    }
    let uri = read(with("To", "Alice"), Mode::Lenient, |message| message.to().unwrap().uri().map(drop));
    assert_eq!(uri, Ok(Err(Error::Uri)));
}

/// `route-param = name-addr *( SEMI rr-param )`: only a name-addr (§25.1).
#[test]
fn a_route_has_brackets() {
    for mode in BOTH {
        for name in ["Route", "Record-Route"] {
            let routes = |value| {
                read(with(name, value), mode, |message| {
                    let mut routes = if name == "Route" { message.routes() } else { message.record_routes() };
                    routes.next().unwrap().map(|route| (route.addr_spec.to_vec(), route.params.as_bytes().to_vec()))
                })
                .unwrap()
            };
            assert_eq!(routes("P1 <sip:p;lr>;x=y"), Ok((b"sip:p;lr".to_vec(), b";x=y".to_vec())));
            let bare = routes("sip:p;lr");
            match mode {
                Mode::Strict => assert_eq!(bare, Err(Error::Malformed(Name::of(name.as_bytes())))),
                Mode::Lenient => assert_eq!(bare, Ok((b"sip:p".to_vec(), b";lr".to_vec()))),
            }
        }
    }
}

/// §20.10 `expires`, §10.2.2 `*`
#[test]
fn a_contact_has_a_lifetime() {
    let contact = |value: &str, mode| {
        read(with("Contact", value), mode, |message| match message.contacts().next().unwrap()? {
            Contact::Star => Ok("*".to_owned()),
            Contact::Address { address, expires } => {
                Ok(format!("{} for {expires:?}", str::from_utf8(address.addr_spec).unwrap()))
            }
        })
        .unwrap()
    };
    let malformed = Err(Error::Malformed(Name::Contact));
    for (value, strict, lenient) in [
        ("*", Ok("*"), Ok("*")),
        ("<sip:a@b>;expires=3600;q=0.5", Ok("sip:a@b for Some(3600)"), Ok("sip:a@b for Some(3600)")),
        ("sip:a@b;EXPIRES=0", Ok("sip:a@b for Some(0)"), Ok("sip:a@b for Some(0)")),
        ("<sip:a@b;expires=1>;q=1.000", Ok("sip:a@b;expires=1 for None"), Ok("sip:a@b;expires=1 for None")),
        ("<sip:a@b>;expires=x", malformed, Ok("sip:a@b for None")),
        ("<sip:a@b>;expires", malformed, Ok("sip:a@b for None")),
        ("<sip:a@b>;q=1.5", malformed, Ok("sip:a@b for None")),
        ("<sip:a@b>;q", malformed, Ok("sip:a@b for None")),
        ("<sip:a@b>;q=\"0.5\"", malformed, Ok("sip:a@b for None")),
        ("<sip:a@b>;expires=\"5\"", malformed, Ok("sip:a@b for Some(5)")),
        ("<sip:a@b>;expires=4;expires=5", Ok("sip:a@b for Some(5)"), Ok("sip:a@b for Some(5)")),
        ("sip:a@b?x=y", malformed, Ok("sip:a@b?x=y for None")),
        ("*;q=1", malformed, malformed),
        ("<sip:a@b", malformed, malformed),
        ("\"a <sip:a@b>", malformed, malformed),
        ("<>", malformed, malformed),
        ("", malformed, malformed),
    ] {
        for (mode, expected) in [(Mode::Strict, strict), (Mode::Lenient, lenient)] {
            let found = contact(value, mode);
            assert_eq!(found.as_deref(), expected.as_ref().map(|text| *text), "{mode:?}: {value:?}");
        }
    }
}
