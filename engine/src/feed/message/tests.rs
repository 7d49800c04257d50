use proptest::prelude::*;

use super::*;

const HOUR: End = End::After(3_600);

fn block(net: &str, end: End, reason: &str) -> Ask {
    Ask::block(net.parse().expect(net), end, reason)
}

fn unblock(net: &str) -> Ask {
    Ask::Remove { net: net.parse().expect(net), kind: Kind::Block }
}

#[test]
fn each_form_is_read() {
    let plain = || vec![block("203.0.113.7/32", HOUR, "")];
    let pike = || vec![block("203.0.113.7/32", HOUR, "pike")];
    for (message, asks) in [
        ("203.0.113.7", plain()),
        (" \t203.0.113.7 \r\n", plain()),
        ("2001:db8::/48", vec![block("2001:db8::/48", HOUR, "")]),
        ("203.0.113.7\n\n  198.51.100.0/24\r\n", [plain(), vec![block("198.51.100.0/24", HOUR, "")]].concat()),
        ("\"203.0.113.7\"", plain()),
        (r#"{"ip":"203.0.113.7"}"#, plain()),
        (r#"{"ip":" 203.0.113.7 "}"#, plain()),
        (r#"{"ip":"203.0.113.7","ttl":null,"reason":null}"#, plain()),
        (
            r#"{"action":"block","ip":"203.0.113.7","ttl":900,"reason":"scanner"}"#,
            vec![block("203.0.113.7/32", End::After(900), "scanner")],
        ),
        (r#"{"ip":"203.0.113.7","ttl":"15m"}"#, vec![block("203.0.113.7/32", End::After(900), "")]),
        (r#"{"ip":"203.0.113.7","ttl":"900"}"#, vec![block("203.0.113.7/32", End::After(900), "")]),
        (r#"{"ip":"203.0.113.7","ttl":"forever"}"#, vec![block("203.0.113.7/32", End::Never, "")]),
        (r#"{"action":"unblock","ip":"203.0.113.7","reason":"a mistake"}"#, vec![unblock("203.0.113.7/32")]),
        // evi/evi_transport.c prints it unformatted, cJSON_PrintUnformatted
        (r#"{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"203.0.113.7"}}"#, pike()),
        (r#"{"id":7,"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"203.0.113.7","hits":31}}"#, pike()),
        (r#"{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":["203.0.113.7"]}"#, pike()),
        // OpenSIPS prints IPv6 without shortening it
        (
            r#"{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"2001:db8:0:0:0:0:0:7"}}"#,
            vec![block("2001:db8::7/128", HOUR, "pike")],
        ),
        // OpenSIPS 4.1.0-dev, as it came from event_rabbitmq and from event_datagram
        (
            r#"{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"192.0.2.10"}}"#,
            vec![block("192.0.2.10/32", HOUR, "pike")],
        ),
        (
            r#"{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"2001:DB8:0:0:0:0:0:10"}}"#,
            vec![block("2001:db8::10/128", HOUR, "pike")],
        ),
        // OpenSIPS 4.1.0-dev, raised by configs/opensips/pike-datagram.cfg: the last that was added stands first
        (
            r#"{"jsonrpc":"2.0","method":"E_VOS_BLOCK","params":{"reason":"toll fraud","ttl":"5m","ip":"2001:DB8:0:0:0:0:0:10"}}"#,
            vec![block("2001:db8::10/128", End::After(300), "toll fraud")],
        ),
        // OpenSIPS 4.1.0-dev, by rabbitmq_publish() of configs/opensips/script-publish.cfg
        (
            r#"{"action":"block","ip":"192.0.2.10","ttl":"5m","reason":"toll fraud"}"#,
            vec![block("192.0.2.10/32", End::After(300), "toll fraud")],
        ),
        // datagram_build_params() of OpenSIPS 2.x
        ("E_PIKE_BLOCKED\nip::203.0.113.7\n\n", pike()),
        ("E_PIKE_BLOCKED\nip::2001:db8::7\n\n", vec![block("2001:db8::7/128", HOUR, "pike")]),
        (
            r#"{"jsonrpc":"2.0","method":"E_VOS_BLOCK","params":{"ip":"203.0.113.7","ttl":60,"reason":"INVITE to 900"}}"#,
            vec![block("203.0.113.7/32", End::After(60), "INVITE to 900")],
        ),
        (
            r#"{"jsonrpc":"2.0","method":"E_VOS_UNBLOCK","params":{"ip":"203.0.113.7"}}"#,
            vec![unblock("203.0.113.7/32")],
        ),
        ("E_VOS_BLOCK\nip::203.0.113.7\nttl::60\n\n", vec![block("203.0.113.7/32", End::After(60), "")]),
        (
            r#"["203.0.113.7", {"action":"unblock","ip":"198.51.100.0/24"}, {"method":"E_PIKE_BLOCKED","params":["192.0.2.9"]}]"#,
            vec![block("203.0.113.7/32", HOUR, ""), unblock("198.51.100.0/24"), block("192.0.2.9/32", HOUR, "pike")],
        ),
    ] {
        assert_eq!(read(message.as_bytes(), HOUR), Ok(asks), "{message}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_what_was_expected() {
    let long = "1".repeat(500);
    for (message, said) in [
        ("", "the message is empty: expected an address"),
        (" \r\n", "the message is empty"),
        ("[]", "the message is empty"),
        ("999.1.1.1", "part 1, `999`, is not a number from 0 to 255"),
        ("203.0.113.7/24", "host bits set"),
        ("sip.example.net", "write the address itself"),
        ("203.0.113.7 203.0.113.8", "write the address without it"),
        ("203.0.113.7\nnonsense", "`nonsense` is not an address"),
        (&long, "is longer than any address"),
        ("{", "EOF"),
        (r#"{"ip":"203.0.113.7"} {"ip":"203.0.113.8"}"#, "trailing characters"),
        (r#"{"ip":"203.0.113.7","tll":60}"#, "unknown field `tll`, expected one of `ip`"),
        (r#"{"ip":"203.0.113.7","ip":"203.0.113.8"}"#, "duplicate field `ip`"),
        (r#"{"ip":7}"#, "invalid type: integer `7`, expected a string"),
        ("{}", "there is no `ip`: expected such as {\"ip\":\"203.0.113.7\"}"),
        (r#"{"ip":""}"#, "the address is empty"),
        (r#"{"action":"allow","ip":"203.0.113.7"}"#, "a feed may block and unblock, not `allow`: use vosctl"),
        (r#"{"action":"trust","ip":"203.0.113.7"}"#, "not `trust`"),
        (r#"{"action":"BLOCK","ip":"203.0.113.7"}"#, "not `BLOCK`"),
        (r#"{"ip":"203.0.113.7","ttl":0}"#, "`0` is no time to live: expected seconds from 1"),
        (r#"{"ip":"203.0.113.7","ttl":-5}"#, "`-5` is no time to live"),
        (r#"{"ip":"203.0.113.7","ttl":1.5}"#, "`1.5` is no time to live"),
        (r#"{"ip":"203.0.113.7","ttl":"1500ms"}"#, "`1500ms` is no time to live"),
        (r#"{"ip":"203.0.113.7","ttl":"soon"}"#, "`soon` is no time to live"),
        (r#"{"ip":"203.0.113.7","ttl":18446744073709551615}"#, "is no time to live"),
        (r#"{"ip":"203.0.113.7","ttl":[]}"#, "expected seconds, or a time"),
        (r#"{"action":"unblock","ip":"203.0.113.7","ttl":60}"#, "an unblock has no ttl"),
        (r#"{"method":"E_PIKE_BLOCKED"}"#, "there is no `ip`"),
        (r#"{"method":"E_PIKE_BLOCKED","params":[]}"#, "there is no `ip`"),
        (r#"{"method":"E_PIKE_BLOCKED","params":"203.0.113.7"}"#, "expected an event's params"),
        (r#"{"method":"E_PIKE_BLOCKED","params":{"ip":"203.0.113.7","ip":"203.0.113.8"}}"#, "duplicate field `ip`"),
        (r#"{"method":"E_PIKE_BLOCKED","params":{"ip":"203.0.113.7"},"ttl":60}"#, "`ttl` belongs to an event's params"),
        (r#"{"jsonrpc":"2.0","ip":"203.0.113.7"}"#, "`params` belongs to"),
        (r#"{"method":"E_UL_AOR_INSERT","params":{"aor":"1"}}"#, "the event `E_UL_AOR_INSERT` asks for nothing"),
        ("E_PIKE_BLOCKED", "there is no `ip`"),
        ("E_CORE_PKG_THRESHOLD\nusage::90\n", "the event `E_CORE_PKG_THRESHOLD` asks for nothing"),
        (r#"[["203.0.113.7"]]"#, "invalid type: sequence, expected an address"),
        (r#"["203.0.113.7", 7]"#, "invalid type: integer `7`, expected an address"),
        (r#"["203.0.113.7", "nonsense"]"#, "`nonsense` is not an address"),
    ] {
        let error = read(message.as_bytes(), HOUR).expect_err(message).to_string();
        assert!(error.contains(said), "{message}: {error}");
        assert!(error.len() < 400, "{message}: {error}");
    }
    assert_eq!(read(b"\xff\xfe", HOUR), Err(MessageError::NotText));
}

#[test]
fn limits_are_limits() {
    let lines = |count| vec!["203.0.113.7"; count].join("\n");
    let array = |count| format!("[{}]", vec!["\"203.0.113.7\""; count].join(","));
    for (most, more) in [(lines(ENTRIES_MAX), lines(ENTRIES_MAX + 1)), (array(ENTRIES_MAX), array(ENTRIES_MAX + 2))] {
        assert_eq!(read(most.as_bytes(), HOUR).map(|asks| asks.len()), Ok(ENTRIES_MAX));
        assert_eq!(read(more.as_bytes(), HOUR), Err(MessageError::TooMany));
    }
    let spaces = " ".repeat(MESSAGE_MAX);
    assert_eq!(read(spaces.as_bytes(), HOUR), Err(MessageError::Empty));
    assert_eq!(read(format!("{spaces} ").as_bytes(), HOUR), Err(MessageError::TooLong(MESSAGE_MAX + 1)));
    // serde_json's own limit, or a deep message would end the stack
    let deep = format!("{{\"params\":{}", "[".repeat(100_000));
    assert!(matches!(read(deep.as_bytes(), HOUR), Err(MessageError::Json(_))));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any_answer_is_fine = read(&bytes, HOUR);
    }

    /// What looks like a message, with anything where a value is.
    #[test]
    fn no_near_miss_panics(
        form in prop::sample::select(vec![
            "V", "{\"ip\":V}", "{\"ip\":\"V\"}", "{\"ip\":\"203.0.113.7\",\"ttl\":V}", "[V,V]",
            "{\"ip\":\"203.0.113.7\",\"ttl\":\"V\",\"reason\":\"V\"}", "{\"method\":\"E_PIKE_BLOCKED\",\"params\":V}",
            "E_PIKE_BLOCKED\nip::V\n", "E_V\nV::V\n",
        ]),
        value in "[\\PC\n\"]{0,40}",
    ) {
        let asks = read(form.replace('V', &value).as_bytes(), HOUR);
        if let Err(error) = &asks {
            prop_assert!(error.to_string().len() < 1_000, "{error}");
        }
    }

    /// Whatever is asked for is about a prefix without host bits, for a time that is one.
    #[test]
    fn what_is_read_is_sound(address: std::net::Ipv4Addr, length in 0u8..=32, ttl in prop::option::of(any::<u64>())) {
        let ttl = ttl.map_or(String::new(), |ttl| format!(",\"ttl\":{ttl}"));
        let asks = read(format!("{{\"ip\":\"{address}/{length}\"{ttl}}}").as_bytes(), HOUR);
        for ask in asks.into_iter().flatten() {
            let (net, kind) = ask.key();
            prop_assert_eq!((net, kind), (net.trunc(), Kind::Block));
            let sound = matches!(ask, Ask::Put { end: End::After(1..=MAX_TTL), .. });
            prop_assert!(sound);
        }
    }
}
