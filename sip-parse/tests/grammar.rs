//! The grammar of RFC 3261 §25.1, header by header: values that strict mode accepts, and values it
//! refuses. What it accepts lenient mode accepts too.

mod common;

use common::{BOTH, expect, verdict, with, with_lines};
use sip_parse::{Error, Mode, Name};

/// A header of §20 (or of the RFC that is named), its production, and values.
struct Rule {
    name: Name,
    section: &'static str,
    production: &'static str,
    accepted: &'static [&'static str],
    refused: &'static [&'static str],
}

const fn rule(
    name: Name,
    section: &'static str,
    production: &'static str,
    accepted: &'static [&'static str],
    refused: &'static [&'static str],
) -> Rule {
    Rule { name, section, production, accepted, refused }
}

impl Rule {
    fn shown(&self, value: &str) -> String {
        format!("{}: {value:?} ({}: {})", self.name, self.section, self.production)
    }
}

#[rustfmt::skip]
const RULES: &[Rule] = &[
    rule(Name::Accept, "RFC 3261 §20.1", "[ accept-range *(COMMA accept-range) ]", &[
        "application/sdp;level=1, application/x-private, text/html",
        "",
        "*/*",
        "text/*;q=0.5",
        "text/html;level=1;q=1.000",
        "text / html ; q = 0",
        "a/b;x=\"q;,\\\"\"",
        "a/b;q=0.",
        "a/b;q=1.",
        "a/b;q=0.5;extension",
        "application/sdp,\r\n text/html",
    ], &[
        "text", "text/", "/html", "text html", "text/html,", ",text/html", "text/html,,a/b", "text/html;", "text/html;;q=1",
        "text/html;q", "text/html;q=", "text/html;q=2", "text/html;q=1.1", "text/html;q=1.001", "text/html;q=1.0000", "text/html;q=0.1234",
        "text/html;q=-1", "text/html;q=\"0.5\"", "text/html;q=.5", "text/html;x=\"open", "te(xt/html",
    ]),
    rule(Name::AcceptEncoding, "RFC 3261 §20.2", "[ encoding *(COMMA encoding) ]", &[
        "gzip", "", "*", "gzip;q=1.0, identity; q=0.5, *;q=0", "x-y , z",
    ], &[
        "gzip,", ",gzip", "gzip;", "gzip;q=x", "gzip;q=1.5", "gz ip", "gzip/1", "gz@ip",
    ]),
    rule(Name::AcceptLanguage, "RFC 3261 §20.3", "( 1*8ALPHA *( \"-\" 1*8ALPHA ) ) / \"*\"", &[
        "da, en-gb;q=0.8, en;q=0.7", "", "*", "zh-hans-cn", "abcdefgh-x", "*;q=0.1",
    ], &[
        "en,", ",en", "en gb", "en;q=2", "en;", "en@gb", "en_gb", "en-", "-en", "en--gb", "abcdefghi", "en1", "en.us", "**",
    ]),
    rule(Name::AlertInfo, "RFC 3261 §20.4", "LAQUOT absoluteURI RAQUOT *( SEMI generic-param )", INFORMATION, NO_INFORMATION),
    rule(Name::Allow, "RFC 3261 §20.5", "[Method *(COMMA Method)]", &[
        "INVITE, ACK, OPTIONS, CANCEL, BYE", "", "NEW-.!%*_+`'~METHOD", "INVITE\r\n ,\r\n ACK",
    ], NO_TOKENS),
    rule(Name::AuthenticationInfo, "RFC 3261 §20.6", "ainfo *(COMMA ainfo)", &[
        "nextnonce=\"47364c23432d2e131a5fb210812c\"",
        "qop=auth, rspauth=\"0123456789abcdef\", cnonce=\"x,y\", nc=00000001",
        "NextNonce = \"\"",
    ], &[
        "", "nextnonce", "nextnonce=", "nextnonce=\"a", "nextnonce=\"a\",", "nextnonce=\"a\" nc=00000001", "\"a\"",
        "Digest nextnonce=\"a\"",
    ]),
    rule(Name::Authorization, "RFC 3261 §20.7", "(\"Digest\" LWS digest-response) / other-response", &[
        "Digest username=\"Alice\", realm=\"atlanta.com\",\r\n nonce=\"84a4cc6f3082121f32b42a2187831a9e\",\r\n response=\"7587245234b3434cc3412213e5f113a5432\"",
        "Digest username=\"a\",realm=\"b\",nonce=\"c\",uri=\"sip:d\",response=\"0123456789abcdef0123456789abcdef\",algorithm=MD5,cnonce=\"e\",opaque=\"f\",qop=auth,nc=0000000a,x=y",
        "digest\r\n username = \"a\\\"b, c=d\"",
        "NoOneKnowsThisScheme opaque-data=here",
        "Digest realm=\"[a]\",nonce=\"\"",
    ], &[
        "", "Digest", "Digest username", "Digest username=", "Digest username=\"a", "Digest username=\"a\",",
        "Digest ,username=\"a\"", "Digest username=\"a\",,realm=\"b\"", "Digest username=\"a\" realm=\"b\"",
        "Digest username=\"a\";realm=\"b\"", "username=\"a\"", "Digest username=\"Alice\", Digest username=\"Bob\"",
        "Digest nc=1", "Digest nc=0000000g", "Digest response=\"xyz\"", "Digest \"a\"", "Di(gest a=b",
    ]),
    rule(Name::CallId, "RFC 3261 §20.8", "word [ \"@\" word ]", &[
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6@biloxi.com", "a", "a@b", "-.!%*_+`'~()<>:\\\"/[]?{}@-.!%*_+`'~()<>:\\\"/[]?{}",
    ], &[
        "", "@", "a@", "@a", "a@b@c", "a b", "a\r\n b", "a,b", "a;b", "a=b", "\u{e9}", "a\u{7f}", "a|b", "a^b",
    ]),
    rule(Name::CallInfo, "RFC 3261 §20.9", "LAQUOT absoluteURI RAQUOT *( SEMI info-param)", INFORMATION, NO_INFORMATION),
    rule(Name::Contact, "RFC 3261 §20.10", "STAR / (contact-param *(COMMA contact-param))", &[
        "\"Mr. Watson\" <sip:watson@worcester.bell-telephone.com>\r\n ;q=0.7; expires=3600,\r\n \"Mr. Watson\" <mailto:watson@bell-telephone.com> ;q=0.1",
        "<sips:bob@192.0.2.4>;expires=60",
        "*",
        "sip:a@b;expires=5",
        "<sip:a@b?Route=%3Csip:c%3E>",
        "\"\" <sip:a@b>",
        "Bob<sip:a@b>",
        "sip:a@b, <sips:c@d>;q=1",
        "<sip:a@b>;ExPiReS=3600;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"",
    ], &[
        "", "*;q=1", "*, <sip:a@b>", "<sip:a@b>, *", "**", "sip:a@b?x=y", "sip:a,b@c", "<sip:a@b>;q=1.5", "<sip:a@b>;q",
        "<sip:a@b>;expires=x", "<sip:a@b>;expires=-1", "<sip:a@b>;expires=\"5\"", "<sip:a@b>;q=\"0.5\"", "<sip:a@b>;expires", "<sip:a@b>,", ",<sip:a@b>", "<sip:a@b>,,<sip:c@d>",
        "<sip:a@b", "< sip:a@b>", "Bob, B <sip:a@b>", "alice", "<>", "<sip:a@b> x",
    ]),
    rule(Name::ContentDisposition, "RFC 3261 §20.11", "disp-type *( SEMI disp-param )", &[
        "session", "session;handling=optional", "Session;HANDLING=OPTIONAL", "render ; handling = required;x=\"a;b\"", "x-mine;y",
    ], &[
        "", "session;", "session handling", "session;handling=", "a/b", "session,render", ";handling=optional",
    ]),
    rule(Name::ContentEncoding, "RFC 3261 §20.12", "content-coding *(COMMA content-coding)", &["gzip", "tar", "gzip, tar"], NO_TOKENS),
    rule(Name::ContentLanguage, "RFC 3261 §20.13", "language-tag = 1*8ALPHA *( \"-\" 1*8ALPHA )", &[
        "fr", "en-gb, da", "i-navajo", "abcdefgh-abcdefgh-x",
    ], &[
        "", "fr,", ",fr", "fr da", "fr;q=1", "*", "en_gb", "en-", "-en", "abcdefghi", "en1",
    ]),
    rule(Name::ContentLength, "RFC 3261 §20.14", "1*DIGIT", &["0", "000", "\r\n 0"], &[
        "", "-1", "+0", "0x0", "0 0", "0;x", "0,0", "x", "4294967296", "\u{660}",
    ]),
    rule(Name::ContentType, "RFC 3261 §20.15", "m-type SLASH m-subtype *(SEMI m-parameter)", &[
        "application/sdp", "text/html; charset=ISO-8859-4", "multipart/mixed;boundary=\"a; b\"", "multipart/mixed;boundary=\"[a]\"", "message / sip", "x-a/x-b;c=d;e=f",
    ], &[
        "", "text", "text/", "/html", "text html", "text/html;", "text/html;charset=", "text/html, text/plain", "text/html/x",
        "text/html;charset", "text/html;charset=[::1]",
    ]),
    rule(Name::CSeq, "RFC 3261 §20.16", "1*DIGIT LWS Method", &[
        "4711 INVITE", "0 INVITE", "2147483647 INVITE", "0009\r\n INVITE", "1 \t INVITE",
    ], &[
        "", "1", "INVITE", "1INVITE", "-1 INVITE", "2147483648 INVITE", "4294967296 INVITE", "1 INVITE x", "1 IN;VITE", "1,INVITE",
        "0x1 INVITE", "1.0 INVITE",
    ]),
    rule(Name::Date, "RFC 3261 §20.17", "wkday \",\" SP date1 SP time SP \"GMT\"", &[
        "Sat, 13 Nov 2010 23:29:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 31 Dec 9999 23:59:59 GMT",
    ], &[
        "", "Sat, 13 Nov 2010 23:29:00 EST", "Sat, 13 Nov 2010 23:29:00 +0000", "Sat, 13 Nov 2010 23:29:00", "sat, 13 Nov 2010 23:29:00 GMT",
        "Sat, 13 nov 2010 23:29:00 GMT", "Sat, 13 Nov 2010 23:29:00 gmt", "Saturday, 13 Nov 2010 23:29:00 GMT", "Sat 13 Nov 2010 23:29:00 GMT",
        "Sat, 3 Nov 2010 23:29:00 GMT", "Sat, 13 November 2010 23:29:00 GMT", "Sat, 13 Nov 10 23:29:00 GMT", "Sat, 13 Nov 2010 24:00:00 GMT",
        "Sat, 13 Nov 2010 23:60:00 GMT", "Sat, 13 Nov 2010 23:59:60 GMT", "Sat, 13 Nov 2010 23:29 GMT", "Sat,13 Nov 2010 23:29:00 GMT",
        "Sat,  13 Nov 2010 23:29:00 GMT", "Sat, 13 Nov 2010 23:29:00 GMT x", "13 Nov 2010 23:29:00 GMT", "Sat, 13-Nov-2010 23:29:00 GMT",
        "1289690940",
    ]),
    rule(Name::ErrorInfo, "RFC 3261 §20.18", "LAQUOT absoluteURI RAQUOT *( SEMI generic-param )", INFORMATION, NO_INFORMATION),
    rule(Name::Expires, "RFC 3261 §20.19", "delta-seconds", SECONDS, NO_SECONDS),
    rule(Name::From, "RFC 3261 §20.20", "( name-addr / addr-spec ) *( SEMI from-param )", ADDRESSES, NO_ADDRESSES),
    rule(Name::InReplyTo, "RFC 3261 §20.21", "callid *(COMMA callid)", &[
        "70710@saturn.bell-tel.com, 17320@saturn.bell-tel.com", "a", "a,b@c",
    ], &["", "a@b,", ",a", "a,,b", "a b", "a@", "@a", "a@b@c"]),
    rule(Name::MaxForwards, "RFC 3261 §20.22", "1*DIGIT", &["6", "0", "255", "070"], &[
        "", "256", "-1", "70;x", "7 0", "0x7", "4294967366", "18446744073709551686",
    ]),
    rule(Name::MinExpires, "RFC 3261 §20.23", "delta-seconds", SECONDS, NO_SECONDS),
    rule(Name::MimeVersion, "RFC 3261 §20.24", "1*DIGIT \".\" 1*DIGIT", &["1.0", "10.12"], &[
        "", "1", "1.", ".0", "1.0.0", "1 .0", "1. 0", "a.b", "1.0 (comment)", "-1.0",
    ]),
    rule(Name::Organization, "RFC 3261 §20.25", "[TEXT-UTF8-TRIM]", TEXTS, NO_TEXTS),
    rule(Name::Priority, "RFC 3261 §20.26", "priority-value", &["emergency", "urgent", "normal", "non-urgent", "x-mine"], NO_TOKEN),
    rule(Name::ProxyAuthenticate, "RFC 3261 §20.27", "(\"Digest\" LWS digest-cln *(COMMA digest-cln)) / other-challenge", CHALLENGES, NO_CHALLENGES),
    rule(Name::ProxyAuthorization, "RFC 3261 §20.28", "credentials", &[
        "Digest username=\"Alice\", realm=\"atlanta.com\",\r\n nonce=\"c60f3082ee1212b402a21831ae\",\r\n response=\"245f23415f11432b3434341c022\"",
    ], &["", "Digest", "Digest username", "Digest username=\"a\",", "Digest username=\"a\";realm=\"b\""]),
    rule(Name::ProxyRequire, "RFC 3261 §20.29", "option-tag *(COMMA option-tag)", &["foo", "foo, bar"], NO_TOKENS),
    rule(Name::RecordRoute, "RFC 3261 §20.30", "rec-route *(COMMA rec-route)", ROUTES, NO_ROUTES),
    rule(Name::ReplyTo, "RFC 3261 §20.31", "( name-addr / addr-spec ) *( SEMI rplyto-param )", ADDRESSES, NO_ADDRESSES),
    rule(Name::Require, "RFC 3261 §20.32", "option-tag *(COMMA option-tag)", &["100rel", "a, b"], NO_TOKENS),
    rule(Name::RetryAfter, "RFC 3261 §20.33", "delta-seconds [ comment ] *( SEMI retry-param )", &[
        "18000;duration=3600", "120 (I'm in a meeting)", "5(x)", "5 (a (nested) \\) comment \u{e9}) ; x = y", "5\r\n (c)", "4294967295",
    ], &[
        "", "x", "-5", "(soon)", "4294967296", "120 I'm in a meeting", "120 (open", "120 (open (nested)", "120 closed)", "5;", "5 (a);",
        "5 (a) (b)", "5 (\u{1})", "5 (a\\", "5 ;x=", "Sat, 13 Nov 2010 23:29:00 GMT",
    ]),
    rule(Name::Route, "RFC 3261 §20.34", "route-param *(COMMA route-param)", ROUTES, NO_ROUTES),
    rule(Name::Server, "RFC 3261 §20.35", "server-val *(LWS server-val)", PRODUCTS, NO_PRODUCTS),
    rule(Name::Subject, "RFC 3261 §20.36", "[TEXT-UTF8-TRIM]", TEXTS, NO_TEXTS),
    rule(Name::Supported, "RFC 3261 §20.37", "[option-tag *(COMMA option-tag)]", &["100rel", "", "a, b"], NO_TOKENS),
    rule(Name::Timestamp, "RFC 3261 §20.38", "1*(DIGIT) [ \".\" *(DIGIT) ] [ LWS delay ]", &[
        "54", "54.", "54.5", "54 0.1", "54 .5", "54.5 12", "54\r\n 1.",
    ], &[
        "", ".5", "a", "-54", "54,5", "54.5.5", "54 a", "54 1 2", "54;x",
    ]),
    rule(Name::To, "RFC 3261 §20.39", "( name-addr / addr-spec ) *( SEMI to-param )", ADDRESSES, NO_ADDRESSES),
    rule(Name::Unsupported, "RFC 3261 §20.40", "option-tag *(COMMA option-tag)", &["foo", "foo,bar"], NO_TOKENS),
    rule(Name::UserAgent, "RFC 3261 §20.41", "server-val *(LWS server-val)", PRODUCTS, NO_PRODUCTS),
    rule(Name::Via, "RFC 3261 §20.42", "via-parm *(COMMA via-parm)", &[
        "SIP/2.0/UDP erlang.bell-telephone.com:5060;branch=z9hG4bK87asdks7",
        "SIP/2.0/UDP 192.0.2.1:5060 ;received=192.0.2.207\r\n     ;branch=z9hG4bK77asjd",
        "SIP / 2.0 / UDP first.example.com: 4000;ttl=16\r\n ;maddr=224.2.0.1 ;branch=z9hG4bKa7c6a8dlze.1",
        "sip/2.0/new-transport h",
        "SIP/2.0/TCP [2001:db8::1] : 5060;received=2001:db8::2;maddr=[ff02::1];ttl=255;rport=5;x;y=\"a,b;c\";z=[::1]",
        "SIP/2.0/UDP a, SIP/2.0/UDP b;branch=x\r\n , SIP/2.0/UDP c",
        "SIP/2.0/UDP a.b-c.1d.e.",
        "SIP/2.0/ UDP h",
    ], &[
        "", "SIP/2.0/UDP", "SIP/2.0 UDP h", "SIP/2.0/ h", "/2.0/UDP h", "SIP/3.0/UDP h", "HTTP/1.1/TCP h", "SIP/2.0/UDPh",
        "SIP/2.0/UDP[::1]", "SIP/2.0/U(P h", "SIP/2.0/UDP h i", "SIP/2.0/UDP h:", "SIP/2.0/UDP h:x", "SIP/2.0/UDP h;", "SIP/2.0/UDP h;;x",
        "SIP/2.0/UDP h;=x", "SIP/2.0/UDP h;x=", "SIP/2.0/UDP h;x=a@b", "SIP/2.0/UDP h;x=\"open", "SIP/2.0/UDP h;branch", "SIP/2.0/UDP h;branch=",
        "SIP/2.0/UDP h;branch=1 2", "SIP/2.0/UDP h;branch=\"1\"", "SIP/2.0/UDP h;ttl=\"1\"", "SIP/2.0/UDP h;received", "SIP/2.0/UDP h;received=example.com", "SIP/2.0/UDP h;received=1.2.3",
        "SIP/2.0/UDP h;ttl", "SIP/2.0/UDP h;ttl=256", "SIP/2.0/UDP h;ttl=x", "SIP/2.0/UDP h;maddr", "SIP/2.0/UDP h;rport=",
        "SIP/2.0/UDP h;rport=x", "SIP/2.0/UDP [::1", "SIP/2.0/UDP []", "SIP/2.0/UDP [host]", "SIP/2.0/UDP 2001:db8::1", "SIP/2.0/UDP h_x",
        "SIP/2.0/UDP -h", "SIP/2.0/UDP h-", "SIP/2.0/UDP h..x", "SIP/2.0/UDP .h", "SIP/2.0/UDP 1.2.3", "SIP/2.0/UDP h.1",
        "SIP/2.0/UDP h (comment)", ",SIP/2.0/UDP h", "SIP/2.0/UDP h,", "SIP/2.0/UDP h,,SIP/2.0/UDP i", "SIP/2.0/UDP h, i",
    ]),
    rule(Name::Warning, "RFC 3261 §20.43", "warn-code SP warn-agent SP warn-text", &[
        "307 isi.edu \"Session parameter 'foo' not understood\"",
        "301 isi.edu \"Incompatible network address type 'E.164'\"",
        "370 devnull \"Choose a bigger pipe\", 399 192.0.2.1:5060 \"\"",
        "399 [2001:db8::1]:5060 \"a \\\"b\\\" \u{e9}\"",
        "399 !pseudonym_ \"x\"",
        "399 h  \"quoted-string begins with SWS\"",
        "399 h \r\n \"folded\"",
    ], &[
        "", "1812 overture \"In Progress\"", "39 h \"x\"", "x h \"x\"", "399 h", "399 h x", "399  h \"x\"", "399 \"x\"", "399 h\"x\"", "399 h \"open",
        "399 h \"x\",", "399 h \"x\" y", "399 h;x \"x\"", "399 h: \"x\"", "399 a b \"x\"",
    ]),
    rule(Name::WwwAuthenticate, "RFC 3261 §20.44", "challenge", CHALLENGES, NO_CHALLENGES),
    rule(Name::Event, "RFC 6665 §8.2.1", "token-nodot *( \".\" token-nodot ) *( SEMI event-param )", &[
        "presence", "presence.winfo", "message-summary ; id = 7", "dialog;call-id=\"a@b\";x",
    ], &[
        "", "presence;", "presence id", "presence,dialog", "presence/x", ";id=7", "presence;id=", ".winfo", "presence.", "a..b",
    ]),
    rule(Name::ReferTo, "RFC 3515 §2.1", "( name-addr / addr-spec ) * (SEMI generic-param)", REFERENCES, NO_ADDRESSES),
];

const TEXTS: &[&str] = &[
    "Need more boxes",
    "",
    "Boxes by Bob",
    "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}",
    "a\r\n b\tc",
    "a ,;\"<(\\=@ b",
    "\u{10ffff}",
];
const NO_TEXTS: &[&str] = &["a\0b", "a\u{1}b", "a\u{7f}b", "a\u{b}b"];

const NO_TOKEN: &[&str] = &["", "a b", "a,b", "a;b", "a/b", "\"a\"", "a@b", "\u{e9}"];
/// Some lists may be empty: that is said with what each accepts.
const NO_TOKENS: &[&str] = &["a b", "a,", ",a", "a,,b", "a;b", "a/b", "\"a\"", "a@b", "\u{e9}", ","];

const SECONDS: &[&str] = &["5", "0", "60", "4294967295", "007"];
const NO_SECONDS: &[&str] = &["", "-1", "+1", "4294967296", "1.5", "1 2", "5;x", "x", "Sat, 13 Nov 2010 23:29:00 GMT"];

const INFORMATION: &[&str] = &[
    "<http://www.example.com/sounds/moo.wav>",
    "<http://wwww.example.com/alice/photo.jpg> ;purpose=icon,\r\n <http://www.example.com/alice/> ;purpose=info",
    "<sip:not-in-service-recording@atlanta.com>",
    "<http://[2001:db8::1]:80/a;b/%20?c=d&e=f>;x=\"y,z\"",
    "<cid:1@example.com>;x",
    "<urn:alert:service:call-waiting>",
];
const NO_INFORMATION: &[&str] = &[
    "",
    "http://h/a",
    "<>",
    "<moo.wav>",
    "<http://h/a b>",
    "<http://h/%zz>",
    "<http://h/\u{e9}>",
    "<http://h/\"a\">",
    "<http://h",
    "http://h>",
    "<http://h> x",
    "<http://h>;",
    "<http://h>;x=",
    "<http://h>,",
    ",<http://h>",
    "\"x\" <http://h>",
    "< http://h>",
    "<:x>",
    "<1a:b>",
    "<a b:c>",
    "<http:>",
];

const ADDRESSES: &[&str] = &[
    "\"A. G. Bell\" <sip:agb@bell-telephone.com> ;tag=a48s",
    "sip:+12125551212@server.phone2net.com;tag=887s",
    "Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8",
    "The Operator <sip:operator@cs.columbia.edu>;tag=287447",
    "sip:+12125551212@server.phone2net.com",
    "Bob <sip:bob@biloxi.com>",
    "caller<sip:caller@example.com>",
    "<tel:+1-201-555-0123>",
    "<urn:service:sos>",
    "<http://example.com/a?b=c>",
    "\"\\\"\\\\\u{e9}\" <sip:a@b>",
    "<sip:a,b;c=d:p@e;x=y?h=v>;p=\"q;r,s\"",
    "<sip:a@[2001:db8::1]:5060>;x=[::1];y=192.0.2.1",
    "\"a\r\n b\"\r\n <sip:a@b>\r\n ;x\r\n =\r\n y",
    "-.!%*_+`'~ <sip:a@b>",
    "<sip:a@b>;received=example.com;branch=\"q\"",
];
const NO_ADDRESSES: &[&str] = &[
    "",
    "<>",
    "*",
    "alice",
    "<alice>",
    "<sip:>",
    "sip:a@b?x=y",
    "sip:a,b@c",
    "\"Bob",
    "\"Bob\"",
    "\"Bob\" x <sip:a@b>",
    "\"B\"\"b\" <sip:a@b>",
    "\"B\u{1}b\" <sip:a@b>",
    "\"Bob\\\u{e9}\" <sip:a@b>",
    "Bob \"B\" <sip:a@b>",
    "Bell, Alexander <sip:a@b>",
    "Bob@home <sip:a@b>",
    "(Bob) <sip:a@b>",
    "\u{e9} <sip:a@b>",
    "< sip:a@b>",
    "<sip:a@b >",
    "<sip:a b@c>",
    "<<sip:a@b>>",
    "<sip:a@b",
    "sip:a@b>",
    "<sip:a@b>;",
    "<sip:a@b>;;x",
    "<sip:a@b>;x=",
    "<sip:a@b>;=x",
    "<sip:a@b>;x=\"y",
    "<sip:a@b>;x=y z",
    "<sip:a@b>;x=y@z",
    "<sip:a@b>;x=\"y\"z",
    "<sip:a@b>;received=::1",
    "<sip:a@b> x",
    "<sip:a@b>, <sip:c@d>",
    "<sip:{a}@b>",
    "<sip:a@b_c>",
    "<sip:%zz@b>",
    "<sip:a@b;x=>",
    "<sip:a@b?x>",
];

const REFERENCES: &[&str] = &[
    "sip:alice@atlanta.example.com",
    "<sip:bob@biloxi.example.net?Accept-Contact=sip:bobsdesk.biloxi.example.net&Call-ID%3D55432%40alicepc.atlanta.example.com=>",
    "<sip:dave@denver.example.org?Replaces=12345%40192.168.118.3%3Bto-tag%3D12345%3Bfrom-tag%3D5FFE-3994>",
    "<sip:carol@cleveland.example.org;method=SUBSCRIBE>",
    "<http://www.ietf.org>",
    "Carol <sip:c@d>;x=y",
];

const ROUTES: &[&str] = &[
    "<sip:server10.biloxi.com;lr>,\r\n <sip:bigbox3.site3.atlanta.com;lr>",
    "Bob <sip:a@b;lr>;x=y",
    "\"B, b\" <sips:h>, <sip:i>",
];
const NO_ROUTES: &[&str] = &[
    "",
    "*",
    "sip:a@b",
    "sip:a@b;lr",
    "<sip:a@b>,",
    ",<sip:a@b>",
    "<sip:a@b>,,<sip:c@d>",
    "<sip:a@b>;;x",
    "<sip:a@b",
    "<>",
    "<a>",
];

const PRODUCTS: &[&str] = &[
    "HomeServer v2",
    "Softphone Beta1.5",
    "a/1.0 (x; y) b/2",
    "(only a comment)",
    "a / 1",
    "a/1\r\n (nested (comment) \\( \u{e9})",
    "()",
];
const NO_PRODUCTS: &[&str] = &[
    "",
    "a/",
    "/1",
    "a;b",
    "a,b",
    "a@b",
    "\"quoted\"",
    "a \"quoted\"",
    "(open",
    "(open (nested)",
    "closed)",
    "(\u{1})",
    "(a\\",
    "a/1/2",
    "\u{e9}",
    "a(b)",
    "(a)b",
];

const CHALLENGES: &[&str] = &[
    "Digest realm=\"atlanta.com\",\r\n domain=\"sip:ss1.carrier.com\", qop=\"auth\",\r\n nonce=\"f84f1cec41e6cbe5aea9c8e88d359\",\r\n opaque=\"\", stale=FALSE, algorithm=MD5",
    "Digest realm=\"a\",qop=\"auth,auth-int\",stale=true,x=y",
    "New-Scheme a=b , c=\"d\"",
];
const NO_CHALLENGES: &[&str] = &[
    "",
    "Digest",
    "Digest realm",
    "Digest realm=",
    "Digest realm=\"a",
    "Digest realm=\"a\",",
    "Digest realm=\"a\" nonce=\"b\"",
    "Digest realm=\"a\";nonce=\"b\"",
    "Digest realm=\"a\", Digest realm=\"b\"",
    "Digest stale=maybe",
    "realm=\"a\"",
];

/// §20 has 44 headers; Event and Refer-To came after.
#[test]
fn every_header_has_its_rule() {
    assert_eq!(RULES.len(), 44 + 2);
    for (i, rule) in RULES.iter().enumerate() {
        assert_eq!(rule.name.section(), rule.section, "{}", rule.name);
        assert_eq!(Name::of(rule.name.as_str().as_bytes()), rule.name);
        assert!(RULES[..i].iter().all(|before| before.name != rule.name), "{} is there twice", rule.name);
        assert!(!rule.accepted.is_empty() && !rule.refused.is_empty());
    }
}

#[test]
fn what_the_grammar_allows_is_accepted() {
    expect(RULES.iter().flat_map(|rule| {
        rule.accepted.iter().flat_map(|value| {
            BOTH.map(|mode| {
                (format!("{mode:?}: {}", rule.shown(value)), verdict(with(rule.name.as_str(), value), mode), Ok(()))
            })
        })
    }));
}

#[test]
fn what_the_grammar_does_not_allow_is_refused() {
    expect(RULES.iter().flat_map(|rule| {
        rule.refused.iter().map(|value| {
            let verdict = verdict(with(rule.name.as_str(), value), Mode::Strict);
            (rule.shown(value), verdict, Err(Error::Malformed(rule.name)))
        })
    }));
}

const ALPHANUM: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
/// `unreserved` but for letters and digits
const MARK: &str = "-_.!~*'()";
const TOKEN: &str = "-.!%*_+`'~";
const PRINTABLE: &str = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\t";

/// What may stand in place of the `#`, besides letters and digits: a production, a header, a value,
/// the characters of some sets, more of them, and those among all these that may not. What begins the
/// next part counts too, such as the `;` behind a host.
#[allow(clippy::type_complexity, reason = "a table")]
#[rustfmt::skip]
const CHARACTERS: &[(&str, &str, &str, &[&str], &str, &str)] = &[
    ("token", "Priority", "a#z", &[TOKEN], "", ""),
    ("generic-param", "To", "<sip:a@b>;x=a#z", &[TOKEN], ";", ""),
    ("word", "Call-ID", "a#z", &[TOKEN], "()<>:\\\"/[]?{}@", ""),
    ("qdtext", "To", "\"a#z\" <sip:a@b>", &[PRINTABLE], "", "\""),
    ("quoted-pair", "To", "\"a\\#z\" <sip:a@b>", &[PRINTABLE, CONTROLS], "", ""),
    ("ctext", "User-Agent", "(a#z)", &[PRINTABLE], "", "()"),
    ("TEXT-UTF8char", "Subject", "a#z", &[PRINTABLE], "", ""),
    ("display-name", "To", "a#z <sip:a@b>", &[TOKEN], " \t", ""),
    ("user", "To", "<sip:a#z@h>", &[MARK], "&=+$,;?/:", ""),
    ("password", "To", "<sip:a:a#z@h>", &[MARK], "&=+$,", ""),
    ("hostname", "To", "<sip:a#z.com>", &["-."], ";@", ""),
    ("IPv6address", "To", "<sip:[::#1]>", &[], "", "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ"),
    ("pname", "To", "<sip:h;a#z>", &[MARK], "[]/:&+$=;@", ""),
    ("pvalue", "To", "<sip:h;x=a#z>", &[MARK], "[]/:&+$;@", ""),
    ("hname", "To", "<sip:h?a#z=>", &[MARK], "[]/?:+$", ""),
    ("hvalue", "To", "<sip:h?x=a#z>", &[MARK], "[]/?:+$@", ""),
    ("uric", "To", "<x:a#z>", &[MARK], ";/?:@&=+$,[]", ""),
    ("uric", "Call-Info", "<x:a#z>", &[MARK], ";/?:@&=+$,[]", ""),
    ("scheme", "To", "<a#z:x>", &["+-."], ":", ""),
];

/// All but CR and LF
const CONTROLS: &str = "\0\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\
    \x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f";

#[test]
fn every_part_is_made_of_its_characters() {
    let rows = CHARACTERS.iter().flat_map(|&(production, name, value, sets, more, but)| {
        (0..=u8::MAX).map(move |byte| {
            let datagram: Vec<u8> = with(name, value).bytes().map(|old| if old == b'#' { byte } else { old }).collect();
            let is_among = |set: &str| set.bytes().any(|member| member == byte);
            let expected =
                (is_among(ALPHANUM) || sets.iter().any(|set| is_among(set)) || is_among(more)) && !is_among(but);
            let shown = format!("{production} ({name}: {value}): {}", byte.escape_ascii());
            (shown, verdict(datagram, Mode::Strict).is_ok(), expected)
        })
    });
    expect(rows);
}

/// `UTF8-NONASCII` (§25.1): a lead byte and what belongs to it
#[test]
fn text_is_utf_8() {
    for name in [Name::Subject, Name::Organization] {
        for bad in [&b"\xe9"[..], b"\xff", b"a\xd0b", b"\xfe\x80"] {
            let start = with_lines(&format!("{name}: "));
            let datagram = [start.strip_suffix("\r\n").unwrap().as_bytes(), bad, b"\r\n\r\n"].concat();
            assert_eq!(verdict(&datagram, Mode::Strict), Err(Error::Malformed(name)), "{name}: {}", common::text(bad));
            assert_eq!(verdict(&datagram, Mode::Lenient), Ok(()), "{name}: {}", common::text(bad));
        }
    }
}

/// `header-value = *(TEXT-UTF8char / UTF8-CONT / LWS)` (§25.1): what continues a character may stand alone.
#[test]
fn an_unknown_header_holds_text_that_may_begin_in_the_middle_of_a_character() {
    for (bytes, expected) in [
        (&b"a\x80b"[..], Ok(())),
        (b"\xbf\xbf", Ok(())),
        (b"a\xe9b", Err(Error::ControlCharacter)),
        (b"\xff", Err(Error::ControlCharacter)),
    ] {
        let start = with_lines("X: ");
        let datagram = [start.strip_suffix("\r\n").unwrap().as_bytes(), bytes, b"\r\n\r\n"].concat();
        assert_eq!(verdict(&datagram, Mode::Strict), expected, "{}", common::text(bytes));
        assert_eq!(verdict(&datagram, Mode::Lenient), Ok(()), "{}", common::text(bytes));
    }
}

/// `extension-header = header-name HCOLON header-value`, `*(TEXT-UTF8char / UTF8-CONT / LWS)` (§25.1)
#[test]
fn an_unknown_header_holds_text() {
    for value in ["", "a;,\"<(\\ b", "\u{e9}", "a\r\n b"] {
        assert_eq!(verdict(with("X", value), Mode::Strict), Ok(()), "{value:?}");
    }
    for value in ["a\0b", "\u{1}", "\u{7f}", "a\u{8}"] {
        assert_eq!(verdict(with("X", value), Mode::Strict), Err(Error::ControlCharacter), "{value:?}");
        assert_eq!(verdict(with("X", value), Mode::Lenient), Ok(()), "{value:?}");
    }
}

/// Those whose "entire field-value … is defined as a comma-separated list", and the four exceptions
/// (§7.3.1)
const MAY_REPEAT: [Name; 24] = [
    Name::Accept,
    Name::AcceptEncoding,
    Name::AcceptLanguage,
    Name::AlertInfo,
    Name::Allow,
    Name::AuthenticationInfo,
    Name::Authorization,
    Name::CallInfo,
    Name::Contact,
    Name::ContentEncoding,
    Name::ContentLanguage,
    Name::ErrorInfo,
    Name::InReplyTo,
    Name::ProxyAuthenticate,
    Name::ProxyAuthorization,
    Name::ProxyRequire,
    Name::RecordRoute,
    Name::Require,
    Name::Route,
    Name::Supported,
    Name::Unsupported,
    Name::Via,
    Name::Warning,
    Name::WwwAuthenticate,
];

#[test]
fn only_lists_and_credentials_may_be_there_twice() {
    for Rule { name, accepted, .. } in RULES {
        let value = accepted[0];
        let twice = with(name.as_str(), &format!("{value}\r\nX: y\r\n{name}: {value}"));
        let expected = if MAY_REPEAT.contains(name) { Ok(()) } else { Err(Error::Repeated(*name)) };
        assert_eq!(verdict(&twice, Mode::Strict), expected, "{name}");
        assert_eq!(verdict(&twice, Mode::Lenient), Ok(()), "{name}");
    }
}

/// §8.1.1: what every request has; `Max-Forwards` too, but §16.6 says what to do without.
#[test]
fn some_headers_must_be_there() {
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
        for mode in BOTH {
            assert_eq!(verdict(common::without(name.as_str()), mode), Err(Error::Missing(name)), "{mode:?}");
        }
    }
    assert_eq!(verdict(common::without("Max-Forwards"), Mode::Strict), Ok(()));
}
