use proptest::prelude::*;

/// Compiled once: a pattern in quotes would be for every text.
fn text(pattern: &str) -> impl Strategy<Value = String> + use<> {
    proptest::string::string_regex(pattern).unwrap()
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => text("[a-z][a-z0-9]{0,10}(-[a-z0-9]{1,6})?\\.(example|invalid|test)"),
        2 => text("(sip|voip|pbx|trunk|edge|phone|client|scan|server|friendly)[0-9]?\\.[a-z]{2,8}\\.example"),
        2 => text("(192\\.0\\.2|198\\.51\\.100)\\.[1-9]"),
        1 => text("\\[2001:db8::[1-9a-f]{1,4}\\]"),
        1 => Just("localhost".to_owned()),
    ]
}

fn user() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => text("[a-z]{1,10}"),
        3 => text("\\+?[0-9]{3,15}"),
        1 => text("[a-zA-Z0-9_.!~*'()-]{1,20}"),
        1 => text("[a-z]{1,4}%[2-7][0-9A-F][a-z]{0,4}"),
        1 => text("[a-z]{1,6};[a-z]{1,4}=[0-9]{1,3}"),
    ]
}

fn uri() -> impl Strategy<Value = String> {
    let port = prop_oneof![3 => Just(String::new()), 1 => text(":[1-9][0-9]{3}")];
    let parameters = prop_oneof![3 => Just(String::new()), 1 => text("(;transport=(udp|tcp)|;lr|;user=phone|;[a-z]{2,9}=[a-z0-9.-]{1,9}){1,3}")];
    let sip = (text("sips?:"), prop::option::weighted(0.8, user()), host(), port, parameters).prop_map(
        |(scheme, user, host, port, rest)| {
            let user = user.map_or_else(String::new, |user| user + "@");
            scheme + &user + &host + &port + &rest
        },
    );
    prop_oneof![8 => sip, 1 => text("tel:\\+[0-9]{5,14}"), 1 => text("tel:\\+[0-9]{5,14};rn=\\+[0-9]{5,9};npdi")]
}

fn display() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just(String::new()),
        1 => text("[A-Z][a-z]{1,8} [A-Z][a-z]{1,8} "),
        1 => text("\"[ !#-\\[\\]-~]{0,30}\" ?"),
        1 => text("\"(Vertrieb|\u{41e}\u{442}\u{434}\u{435}\u{43b}|O'Hara|friendly sip caller|the scan room) ?[0-9]{0,3}\" "),
    ]
}

fn address() -> impl Strategy<Value = String> {
    (display(), uri()).prop_map(|(display, uri)| format!("{display}<{uri}>"))
}

fn agent() -> impl Strategy<Value = String> {
    prop_oneof![
        text(
            "(Yealink SIP-T[0-9]{2}[GSU]|Grandstream GXP[0-9]{4}|snom[0-9]{3}|PolycomVVX-VVX_[0-9]{3}-UA|Cisco-CP[0-9]{4}G)[/ ][0-9.]{3,12}"
        ),
        "(OpenSIPS|kamailio) \\([0-9]\\.[0-9]\\.[0-9] \\(x86_64/linux\\)\\)",
        text(
            "(Asterisk PBX|FPBX-[0-9]{2}|FreeSWITCH-mod_sofia/|baresip v|Linphone/|MicroSIP/|Zoiper v|Z |3CXPhone |Ozeki VoIP SIP SDK v|sipp |SIPp/v|pjsua v|Twinkle/|VOS3000 V)[0-9.]{1,8}"
        ),
        text("[!-'*-+.0-9A-Z^-z|~-]{1,20}"),
    ]
}

/// A header: its name, its compact form if it has one, and a value.
fn header() -> impl Strategy<Value = (&'static str, &'static str, String)> {
    let named = |name: &'static str, compact: &'static str| move |value: String| (name, compact, value);
    prop_oneof![
        address().prop_map(named("Contact", "m")),
        agent().prop_map(named("User-Agent", "User-Agent")),
        text("[ !-~]{0,60}").prop_map(|text| ("Subject", "s", text.trim().to_owned())),
        uri().prop_map(|uri| ("Route", "Route", format!("<{uri}>"))),
        uri().prop_map(|uri| ("Record-Route", "Record-Route", format!("<{uri}>"))),
        Just(("Supported", "k", "replaces, timer, path, outbound, 100rel".to_owned())),
        Just(("Allow", "Allow", "INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY, MESSAGE, SUBSCRIBE, INFO".to_owned())),
        text("[1-9][0-9]{0,5}").prop_map(named("Expires", "Expires")),
        (user(), host(), text("[0-9a-f]{32}")).prop_map(|(user, host, hex)| {
            let user = user.replace('\\', "");
            let value = format!("Digest username=\"{user}\",realm=\"{host}\",nonce=\"{hex}\",uri=\"sip:{host}\",response=\"{hex}\",algorithm=MD5");
            ("Authorization", "Authorization", value)
        }),
        address().prop_map(named("P-Asserted-Identity", "P-Asserted-Identity")),
        text("[ !-~]{0,40}").prop_map(|text| ("X-Site", "X-Site", text.trim().to_owned())),
        Just(("Date", "Date", "Sat, 13 Nov 2010 23:29:00 GMT".to_owned())),
        Just(("Session-Expires", "x", "1800;refresher=uac".to_owned())),
    ]
}

/// How lines are written: compact, in another case, with blanks, folded (RFC 3261 §7.3.1).
#[derive(Clone, Copy, Debug)]
struct Manner {
    compact: bool,
    case: u8,
    colon: &'static str,
    folded: bool,
}

fn manner() -> impl Strategy<Value = Manner> {
    let colons = prop::sample::select(&[": ", ":", " : ", "\t:\t", ":  ", ":\r\n "][..]);
    (prop::bool::weighted(0.3), 0u8..6, colons, prop::bool::weighted(0.1))
        .prop_map(|(compact, case, colon, folded)| Manner { compact, case, colon, folded })
}

impl Manner {
    fn line(self, name: &str, compact: &str, value: &str) -> String {
        let name = if self.compact { compact } else { name };
        let name = match self.case {
            0 => name.to_lowercase(),
            1 => name.to_uppercase(),
            _ => name.to_owned(),
        };
        // Only where the grammar has white space: behind a comma.
        let value = if self.folded { value.replace(", ", ",\r\n  ") } else { value.to_owned() };
        format!("{name}{}{value}\r\n", self.colon)
    }
}

const METHODS: [&str; 15] = [
    "REGISTER",
    "INVITE",
    "OPTIONS",
    "ACK",
    "BYE",
    "CANCEL",
    "PRACK",
    "UPDATE",
    "SUBSCRIBE",
    "NOTIFY",
    "MESSAGE",
    "PUBLISH",
    "REFER",
    "INFO",
    "x-Method_1.2",
];

fn body() -> impl Strategy<Value = (&'static str, String)> {
    let session = (host(), text("[a-zA-Z0-9 -]{1,20}"), text("[1-9][0-9]{3}")).prop_map(|(_, name, port)| {
        let name = name.trim().to_owned() + "-";
        let text = format!(
            "v=0\r\no={} 1 1 IN IP4 192.0.2.4\r\ns={name}\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n",
            name.replace(' ', "")
        );
        ("application/sdp", text)
    });
    prop_oneof![2 => Just(("", String::new())), 2 => session, 1 => text("[ -~\r\n]{0,200}").prop_map(|text| ("text/plain", text))]
}

/// A valid message: its method (of a response none) and its bytes.
pub(crate) fn message() -> impl Strategy<Value = (Option<&'static str>, String)> {
    let first =
        (prop::option::weighted(0.85, prop::sample::select(&METHODS[..])), uri(), 100u16..700, text("[ !-~]{0,30}"));
    let core = (
        host(),
        text("[a-z0-9]{1,20}"),
        address(),
        address(),
        text("[a-zA-Z0-9.!%*_+`'~()<>:/{}?-]{1,30}"),
        any::<u32>(),
    );
    let rest = prop::collection::vec((header(), manner()), 0..6);
    (first, core, rest, prop::collection::vec(manner(), 8), body(), any::<prop::sample::Index>(), text("(\r\n){0,2}"))
        .prop_map(
            |(
                (method, uri, code, reason),
                (via, branch, from, to, id, number),
                rest,
                manners,
                (kind, body),
                turn,
                front,
            )| {
                let of = method.unwrap_or("INVITE");
                let mut lines = vec![
                    manners[0].line("Via", "v", &format!("SIP/2.0/UDP {via};rport;branch=z9hG4bK{branch}")),
                    manners[1].line("From", "f", &format!("{from};tag={branch}")),
                    manners[2].line("To", "t", &to),
                    manners[3].line("Call-ID", "i", &id),
                    manners[4].line("CSeq", "CSeq", &format!("{} {of}", number >> 1)),
                    manners[5].line("Max-Forwards", "Max-Forwards", "70"),
                    manners[6].line("Content-Length", "l", &body.len().to_string()),
                ];
                if !kind.is_empty() {
                    lines.push(manners[7].line("Content-Type", "c", kind));
                }
                let mut seen = Vec::new();
                for ((name, compact, value), manner) in rest {
                    // Each once: a list could be there twice, others could not.
                    if !seen.contains(&name) {
                        seen.push(name);
                        lines.push(manner.line(name, compact, &value));
                    }
                }
                let turn = turn.index(lines.len());
                lines.rotate_left(turn);
                let first = match method {
                    Some(method) => format!("{method} {uri} SIP/2.0"),
                    None => format!("SIP/2.0 {code} {}", reason.trim()),
                };
                (method, format!("{front}{first}\r\n{}\r\n{body}", lines.concat()))
            },
        )
}
