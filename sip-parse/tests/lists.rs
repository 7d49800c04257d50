//! Lists: values parted by commas, in one line or over several (RFC 3261 §7.3.1).

mod common;

use common::{BOTH, read, text, with_lines};
use sip_parse::{Contact, Error, Message, Mode, Name};

/// What a list holds, refusals as `!`.
fn list(lines: &str, mode: Mode, values: fn(&Message<'_>) -> Vec<Result<String, Error>>) -> String {
    let found = read(with_lines(lines), mode, |message| values(&message)).unwrap();
    found.into_iter().map(|value| value.unwrap_or_else(|_| "!".into())).collect::<Vec<_>>().join(" ")
}

fn routes(message: &Message<'_>) -> Vec<Result<String, Error>> {
    message.routes().map(|route| route.map(|route| text(route.addr_spec))).collect()
}

fn contacts(message: &Message<'_>) -> Vec<Result<String, Error>> {
    let written = |contact| match contact {
        Contact::Star => "*".into(),
        Contact::Address { address, .. } => text(address.addr_spec),
    };
    message.contacts().map(|contact| contact.map(written)).collect()
}

fn supported(message: &Message<'_>) -> Vec<Result<String, Error>> {
    message.supported().map(|token| token.map(text)).collect()
}

/// §7.3.1: the three groups of lines that the RFC calls equivalent, and the three that are not
#[test]
fn lines_and_commas_mean_the_same() {
    let (alice, bob, carol) = ("<sip:alice@atlanta.com>", "<sip:bob@biloxi.com>", "<sip:carol@chicago.com>");
    let all = "sip:alice@atlanta.com sip:bob@biloxi.com sip:carol@chicago.com";
    for (lines, expected) in [
        (format!("Route: {alice}\r\nSubject: Lunch\r\nRoute: {bob}\r\nRoute: {carol}\r\n"), all),
        (format!("Route: {alice}, {bob}\r\nRoute: {carol}\r\nSubject: Lunch\r\n"), all),
        (format!("Subject: Lunch\r\nRoute: {alice}, {bob},\r\n       {carol}\r\n"), all),
        (
            format!("Route: {bob}\r\nRoute: {alice}\r\nRoute: {carol}\r\n"),
            "sip:bob@biloxi.com sip:alice@atlanta.com sip:carol@chicago.com",
        ),
        (
            format!("Route: {alice},{carol},\r\n       {bob}\r\n"),
            "sip:alice@atlanta.com sip:carol@chicago.com sip:bob@biloxi.com",
        ),
    ] {
        for mode in BOTH {
            assert_eq!(list(&lines, mode, routes), expected, "{mode:?}");
        }
    }
}

/// Values as they are in strict mode, and in lenient mode.
#[track_caller]
fn check(values: fn(&Message<'_>) -> Vec<Result<String, Error>>, lines: &str, strict: &str, lenient: &str) {
    assert_eq!(list(lines, Mode::Strict, values), strict, "strict: {lines:?}");
    assert_eq!(list(lines, Mode::Lenient, values), lenient, "lenient: {lines:?}");
}

/// §20.10: what parts two contacts, and what only looks like it
#[test]
fn a_comma_in_quotes_or_brackets_parts_nothing() {
    let line = "m: \"Watson, T.\" <sip:a,b@c>;q=0.7;x=\"y,z\" , <sip:d@e>\r\n";
    check(contacts, line, "sip:a,b@c sip:d@e", "sip:a,b@c sip:d@e");
}

/// An empty value is nobody's; servers pass over it, but not at the end.
#[test]
fn an_empty_value_is_refused_or_passed_over() {
    check(contacts, "m: <sip:a@b>,,<sip:c@d>\r\n", "sip:a@b !", "sip:a@b sip:c@d");
    check(contacts, "m: ,<sip:a@b>\r\n", "!", "sip:a@b");
    check(contacts, "m: <sip:a@b>,\r\n", "sip:a@b !", "sip:a@b !");
    check(contacts, "m: <sip:a@b>, ,\r\n", "sip:a@b !", "sip:a@b !");
    check(contacts, "m:\r\n", "!", "!");
}

/// Where a malformed value ends is not known: what else its line holds is passed over.
#[test]
fn a_malformed_value_ends_its_line_only() {
    check(routes, "Route: <sip:a>, <b, <sip:c>\r\nRoute: <sip:d>\r\n", "sip:a ! sip:d", "sip:a ! sip:d");
    check(routes, "Route: <sip:a> x, <sip:c>\r\nRoute: <sip:d>\r\n", "! sip:d", "! sip:d");
}

/// `Contact = … ( STAR / (contact-param *(COMMA contact-param)))` (§25.1): alone
#[test]
fn all_bindings_is_no_member_of_a_list() {
    check(contacts, "m: *\r\n", "*", "*");
    for line in ["m: *, <sip:a@b>\r\n", "m: *;q=1, <sip:a@b>\r\n", "m: *x\r\n"] {
        for mode in BOTH {
            assert!(list(line, mode, contacts).contains('!'), "{mode:?}: {line:?}");
        }
    }
}

/// `[option-tag *(COMMA option-tag)]` (§25.1)
#[test]
fn tokens_are_listed() {
    check(
        supported,
        "k: 100rel , timer,\r\n replaces\r\nSupported: x\r\n",
        "100rel timer replaces x",
        "100rel timer replaces x",
    );
    check(supported, "k: a b\r\n", "!", "!");
    check(supported, "k: a;b\r\n", "!", "!");
    for mode in BOTH {
        read(with_lines("Allow: INVITE,ACK\r\nRequire: 100rel\r\nRequire: timer\r\n"), mode, |message| {
            assert_eq!(message.allow().collect::<Result<Vec<_>, _>>(), Ok(vec![&b"INVITE"[..], b"ACK"]));
            assert_eq!(message.require().collect::<Result<Vec<_>, _>>(), Ok(vec![&b"100rel"[..], b"timer"]));
            assert_eq!(message.supported().count(), 0);
        })
        .unwrap();
    }
}

/// §20.37, §20.5: an empty one says that there are none.
#[test]
fn an_empty_list_has_no_values() {
    for mode in BOTH {
        for name in ["Supported", "Allow"] {
            let count = read(with_lines(&format!("{name}:\r\n")), mode, |message| {
                let values = if name == "Allow" { message.allow() } else { message.supported() };
                values.map(|value| value.map(drop)).collect::<Vec<_>>()
            });
            assert_eq!(count, Ok(vec![]), "{mode:?}: {name}");
        }
    }
}

#[test]
fn a_list_that_has_ended_has_ended() {
    for mode in BOTH {
        read(with_lines("Require: a, b\r\nX: y\r\nRequire: (\r\n"), mode, |message| {
            let mut values = message.require();
            let found: Vec<_> = values.by_ref().collect();
            assert_eq!(found, [Ok(&b"a"[..]), Ok(b"b"), Err(Error::Malformed(Name::Require))]);
            assert_eq!((values.next(), values.next()), (None, None));
        })
        .unwrap();
    }
}
