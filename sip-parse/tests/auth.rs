//! Credentials and challenges (RFC 3261 §20.7, §20.27, §20.28, §20.44, §22.4).

mod common;

use common::{BOTH, read, text, with};
use sip_parse::{Auth, Error, Mode, Name};

/// The four headers that hold one of these.
const NAMES: [Name; 4] =
    [Name::Authorization, Name::ProxyAuthorization, Name::WwwAuthenticate, Name::ProxyAuthenticate];

/// What `question` is answered by this value, whichever header holds it.
#[track_caller]
fn ask(value: &str, mode: Mode, question: fn(Auth<'_>) -> String) -> Option<String> {
    let [answer, others @ ..] = NAMES.map(|name| {
        read(with(name.as_str(), value), mode, |message| {
            let mut auths = match name {
                Name::Authorization => message.authorizations(),
                Name::ProxyAuthorization => message.proxy_authorizations(),
                Name::WwwAuthenticate => message.www_authenticates(),
                _ => message.proxy_authenticates(),
            };
            let auth = auths.next().unwrap();
            assert!(auths.next().is_none());
            assert!(auth.is_ok() || auth.as_ref().err() == Some(&Error::Malformed(name)));
            auth.ok().map(question)
        })
        .unwrap()
    });
    assert!(others.iter().all(|other| *other == answer));
    answer
}

fn params(auth: Auth<'_>) -> String {
    let params = auth.params().map(|param| format!("{}={}", text(param.name), text(param.value.unwrap())));
    let params: Vec<_> = params.collect();
    format!("{} {}", text(auth.scheme), params.join(" "))
}

#[track_caller]
fn check(value: &str, strict: Option<&str>, lenient: Option<&str>) {
    for (mode, expected) in [(Mode::Strict, strict), (Mode::Lenient, lenient)] {
        assert_eq!(ask(value, mode, params).as_deref(), expected, "{mode:?}: {value:?}");
    }
}

#[track_caller]
fn both(value: &str, expected: &str) {
    check(value, Some(expected), Some(expected));
}

/// RFC 2617 §3.5, as §22.4 changes it
#[test]
fn credentials_are_read_by_name() {
    let value = "Digest username=\"bob\", realm=\"biloxi.com\",\r\n \
        nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\",\r\n uri=\"sip:bob@biloxi.com\",\r\n qop=auth,\r\n \
        nc=00000001,\r\n cnonce=\"0a4f113b\",\r\n response=\"6629fae49393a05397450978507c4ef1\",\r\n \
        opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    for mode in BOTH {
        let answer = ask(value, mode, |auth| {
            assert!(auth.is_digest());
            assert_eq!((auth.nonce_count(), auth.is_stale()), (Some(1), false));
            assert_eq!(auth.get(b"QOP"), Some(&b"auth"[..]));
            assert_eq!(auth.get(b"algorithm"), None);
            let all = [auth.username(), auth.realm(), auth.nonce(), auth.uri(), auth.response()];
            all.map(|value| text(value.unwrap())).join(" ")
        });
        let expected = "bob biloxi.com dcd98b7102dd2f0e8b11d0f600bfb0c093 sip:bob@biloxi.com \
            6629fae49393a05397450978507c4ef1";
        assert_eq!(answer.as_deref(), Some(expected), "{mode:?}");
    }
}

/// §20.27, the example; `stale = "stale" EQUAL ( "true" / "false" )` in any case (§25.1)
#[test]
fn a_challenge_is_read_by_name() {
    let value = |stale| {
        format!(
            "Digest realm=\"atlanta.com\",\r\n domain=\"sip:ss1.carrier.com\", qop=\"auth\",\r\n \
             nonce=\"f84f1cec41e6cbe5aea9c8e88d359\",\r\n opaque=\"\", stale={stale}, algorithm=MD5"
        )
    };
    for (stale, expected) in [("FALSE", "false"), ("true", "true"), ("True", "true")] {
        for mode in BOTH {
            let answer = ask(&value(stale), mode, |auth| {
                assert_eq!((auth.realm(), auth.get(b"opaque")), (Some(&b"atlanta.com"[..]), Some(&b""[..])));
                assert_eq!((auth.username(), auth.nonce_count()), (None, None));
                auth.is_stale().to_string()
            });
            assert_eq!(answer.as_deref(), Some(expected));
        }
    }
}

/// `nc-value = 8LHEX` (§25.1)
#[test]
fn a_nonce_count_is_hexadecimal() {
    let count = |value: &str, mode| ask(value, mode, |auth| format!("{:?}", auth.nonce_count()));
    assert_eq!(count("Digest nc=0000001f", Mode::Strict).as_deref(), Some("Some(31)"));
    assert_eq!(count("Digest nc=ffffffff", Mode::Lenient).as_deref(), Some("Some(4294967295)"));
    for value in ["Digest nc=1f", "Digest nc=00000000g", "Digest nc=0000000g", "Digest nc=0000001F", "Digest nc=\"\""] {
        assert_eq!(count(value, Mode::Strict), None, "{value}");
    }
    assert_eq!(count("Digest nc=1f", Mode::Lenient).as_deref(), Some("Some(31)"));
    assert_eq!(count("Digest nc=100000000", Mode::Lenient).as_deref(), Some("None"));
    assert_eq!(count("Digest nc=x", Mode::Lenient).as_deref(), Some("None"));
    assert_eq!(count("Digest nc=+1f", Mode::Lenient).as_deref(), Some("None"));
}

/// §25.1 COMMA, EQUAL, quoted-string
#[test]
fn parameters_are_parted_by_commas_that_are_not_quoted() {
    both("Digest a=\"b, c=d\",e=f", "Digest a=b, c=d e=f");
    both("Digest\ta = \"b\" ,\r\n c = d", "Digest a=b c=d");
    both("Digest a=\"\\\"b\\\\\",c=d", "Digest a=\\\\\\\"b\\\\\\\\ c=d");
    both("dIGEST USERNAME=\"u\"", "dIGEST USERNAME=u");
    both("Digest realm=\"\"", "Digest realm=");
}

/// §7.3.1: several lines are several, and one line is one: they must not be combined.
#[test]
fn a_comma_never_parts_two_credentials() {
    check("Digest a=b, Digest c=d", None, Some("Digest a=b"));
    check("Digest a=b, Basic abc=", None, Some("Digest a=b"));
    for mode in BOTH {
        let lines = "Digest realm=\"a\"\r\nAuthorization: Digest realm=\"b\",x=y\r\nX: y\r\nauthorization: Basic abc=";
        read(with("Authorization", lines), mode, |message| {
            let realms: Vec<_> = message.authorizations().map(|auth| auth.map(|auth| auth.realm())).collect();
            assert_eq!(realms, [Ok(Some(&b"a"[..])), Ok(Some(b"b")), Ok(None)]);
            assert_eq!(message.proxy_authorizations().count(), 0);
        })
        .unwrap();
    }
}

#[test]
fn of_two_parameters_the_last_counts_as_for_the_servers() {
    let username = |auth: Auth<'_>| text(auth.username().unwrap());
    assert_eq!(ask("Digest username=\"x\",username=\"u\"", Mode::Lenient, username).as_deref(), Some("u"));
}

/// §25.1: `nonce-value`, `username-value`, `realm-value` are quoted; servers do not mind.
#[test]
fn servers_need_no_quotes() {
    let username = |auth: Auth<'_>| text(auth.username().unwrap());
    assert_eq!(ask("Digest username=u,realm=r", Mode::Lenient, username).as_deref(), Some("u"));
    assert_eq!(ask("Digest response=xyz,username=u@h", Mode::Lenient, username).as_deref(), Some("u@h"));
}

/// `other-response = auth-scheme LWS auth-param *(COMMA auth-param)` (§25.1), RFC 8898
#[test]
fn other_schemes_are_known_by_name() {
    both("NoOneKnowsThisScheme opaque-data=here", "NoOneKnowsThisScheme opaque-data=here");
    for mode in BOTH {
        let rest = |auth: Auth<'_>| format!("{} {} {}", auth.is_digest(), text(auth.scheme), text(auth.rest()));
        assert_eq!(ask("Bearer mF_9.B5f-4.1JqM==", mode, rest).as_deref(), Some("false Bearer mF_9.B5f-4.1JqM=="));
    }
}

/// Servers read on until something is wrong, and authenticate with what they have.
#[test]
fn what_stands_before_a_flaw_counts_for_servers() {
    for value in [
        "Digest username=\"u\",,realm=\"r\"",
        "Digest username=\"u\";realm=\"r\"",
        "Digest username=\"u\" realm=\"r\"",
        "Digest username=\"u\",x,realm=\"r\"",
    ] {
        check(value, None, Some("Digest username=u"));
    }
}

/// An empty first parameter costs servers the next.
#[test]
fn what_stands_behind_a_leading_comma_counts_for_servers() {
    check("Digest ,username=\"u\",realm=\"r\"", None, Some("Digest realm=r"));
}

/// An open quote is closed by the next one.
#[test]
fn an_open_quote_swallows_a_parameter_for_servers() {
    check("Digest username=\"u,realm=\"r\"", None, Some("Digest username=u,realm="));
}

#[test]
fn other_values_are_refused() {
    for value in
        ["", "Digest", "Basic", "Digest username=\"u\",", "username=\"u\"", "Digest,a=b,c=d", "Dig(est a=b", "="]
    {
        check(value, None, None);
    }
    let refused = [
        "Digest username",
        "Digest username=\"u",
        "Digest ,username=\"u\"",
        "Digest =\"u\"",
        "Digest \"u\"",
        "Digest username=\"u\"x",
        // `auth-param = auth-param-name EQUAL ( token / quoted-string )`
        "Digest nc=\"0000000G\"",
        "Digest response=\"ABCDEF\"",
        "Bearer a b",
        "Bearer a;b",
        "Bearer =a",
        "Bearer ==",
        "Digest a=",
        "Digest a=[::1]",
        "Digest a=b@c",
    ];
    for value in refused {
        assert_eq!(ask(value, Mode::Strict, params), None, "{value:?}");
    }
}
