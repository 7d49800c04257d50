use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Result<Line, String> {
    let lines: Vec<_> = read(text.as_bytes(), Takes::Every).collect();
    assert_eq!(lines.len(), 1, "{text:?}: {lines:?}");
    lines.into_iter().next().expect("one").map_err(|bad| bad.what)
}

/// Net, kind, end and reason as they print.
fn told(line: &Line) -> (String, &str, Option<End>, Option<&str>) {
    (show(line.net), line.kind.word(), line.end, line.reason.as_deref())
}

#[test]
fn a_list_is_read_line_by_line() {
    let list = "\u{feff}# honeypot, last night\r\n203.0.113.7\r\n\r\n  \t\n198.51.100.0/24\tttl=7d  # a net\n\
                192.0.2.1 #\n2001:db8::/48 reason=scans # and more\n   # the end\n192.0.2.2";
    let lines: Result<Vec<Line>, BadLine> = read(list.as_bytes(), Takes::Blocks).collect();
    let lines = lines.expect("all are good");
    let told: Vec<_> = lines.iter().map(|line| (line.number, told(line))).collect();
    assert_eq!(
        told,
        [
            (2, ("203.0.113.7".to_owned(), "block", None, None)),
            (5, ("198.51.100.0/24".to_owned(), "block", Some(End::After(604_800)), None)),
            (6, ("192.0.2.1".to_owned(), "block", None, None)),
            (7, ("2001:db8::/48".to_owned(), "block", None, Some("scans"))),
            (9, ("192.0.2.2".to_owned(), "block", None, None)),
        ]
    );
    assert_eq!(read(b"", Takes::Blocks).count() + read(b"\n\n#\xff\n", Takes::Blocks).count(), 0);
}

#[test]
fn every_field_is_read() {
    for (fields, kind, end, reason) in [
        ("ttl=90s", "block", Some(End::After(90)), None),
        ("ttl=15m", "block", Some(End::After(900)), None),
        ("ttl=2h", "block", Some(End::After(7_200)), None),
        ("ttl=forever", "block", Some(End::Never), None),
        ("until=2027-01-01T00:00:00Z", "block", Some(End::At(1_798_761_600)), None),
        ("kind=trust", "trust", None, None),
        ("reason=calls  at night, #1 of all", "block", None, Some("calls  at night,")),
        ("reason=case#4", "block", None, Some("case#4")),
        ("reason=", "block", None, Some("")),
        ("reason=to the end ttl=5s", "block", None, Some("to the end ttl=5s")),
        (r#"reason="a # in it" ttl=1s # c"#, "block", Some(End::After(1)), Some("a # in it")),
        (r#"reason="\"x\"\n\u00fc""#, "block", None, Some("\"x\"\n\u{fc}")),
        ("kind=allow ttl=1s reason=all of it\r", "allow", Some(End::After(1)), Some("all of it")),
    ] {
        let line = one(&format!("192.0.2.1 {fields}")).expect(fields);
        assert_eq!(told(&line), ("192.0.2.1".to_owned(), kind, end, reason), "{fields}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_the_fix() {
    for (text, parts) in [
        ("999.1.1.1", ["part 1, `999`", "correct that part"]),
        ("10.0.0.1/24", ["host bits set", "did you mean 10.0.0.0/24"]),
        ("1.2.3.4,scanner", ["one address or CIDR a line", "no commas"]),
        ("\"1.2.3.4\"", ["one address or CIDR a line", "quotes"]),
        ("1.2.3.4;", ["one address or CIDR a line", "semicolons"]),
        ("1.2.3.4#scanner", ["a blank before the #", "1.2.3.4#scanner"]),
        ("1.2.3.4-1.2.3.9", ["is a range", "write it as CIDRs"]),
        ("ttl=5s 1.2.3.4", ["`ttl=5s`", "one address or CIDR a line"]),
        ("scanner.example.com", ["not an address", "write the address itself"]),
        ("1.2.3.4 5.6.7.8", ["`5.6.7.8`", "behind the address go ttl="]),
        ("1.2.3.4 seen yesterday", ["`seen`", "a comment behind #"]),
        ("1.2.3.4 tll=5s", ["`tll=5s`", "did you mean ttl=...?"]),
        ("1.2.3.4 TTL=5s", ["`TTL=5s`", "did you mean ttl=...?"]),
        ("1.2.3.4 Reason: scans", ["`Reason:`", "did you mean reason=...?"]),
        ("1.2.3.4 ttl=0s", ["ttl=`0s`", "90s, 15m, 2h, 7d or forever"]),
        ("1.2.3.4 ttl=1500ms", ["ttl=`1500ms`", "1 s to 100 years"]),
        ("1.2.3.4 ttl=101years", ["ttl=`101years`", "1 s to 100 years"]),
        ("1.2.3.4 ttl=3600", ["ttl=`3600`", "write 90s"]),
        ("1.2.3.4 ttl=-1h", ["ttl=`-1h`", "write 90s"]),
        ("1.2.3.4 ttl=", ["ttl=``", "write 90s"]),
        ("1.2.3.4 ttl=2h ttl=3h", ["more than one ttl= or until=", "leave one"]),
        ("1.2.3.4 ttl=2h until=2027-01-01T00:00:00Z", ["more than one ttl= or until=", "leave one"]),
        ("1.2.3.4 until=tomorrow", ["until=`tomorrow`", "RFC 3339"]),
        ("1.2.3.4 until=2027-01-01", ["until=`2027-01-01`", "2027-01-01T00:00:00Z"]),
        ("1.2.3.4 kind=drop", ["kind=`drop`", "kind=block, kind=allow or kind=trust"]),
        ("1.2.3.4 kind=block kind=block", ["more than one kind=", "leave one"]),
        ("1.2.3.4 reason=\"open", ["has no end", "reason="]),
        ("1.2.3.4 reason=\"a\\q\"", ["a \\ in it", "JSON"]),
        ("1.2.3.4 reason=\"a\"b", ["a blank behind the closing quote", "reason="]),
        ("1.2.3.4 reason=\"a\" reason=b", ["more than one reason=", "leave one"]),
    ] {
        let what = one(text).expect_err(text);
        assert!(parts.iter().all(|part| what.contains(part)), "{text}: {what}");
    }
    let long = one(&format!("192.0.2.1 reason={}", "x".repeat(MAX_REASON + 1))).expect_err("too long");
    assert!(long.contains("257 bytes") && long.contains("shorten"), "{long}");
    let longer = one(&format!("192.0.2.1 {}", "x".repeat(LINE_MAX))).expect_err("too long");
    assert!(longer.contains("more than 2048"), "{longer}");
    // the longest reason there is, in its longest form
    let escaped = format!("{}/128 kind=allow until=2027-01-01T00:00:00Z reason=\"{}\"", "2001:db8:".repeat(4), "");
    assert!(escaped.len() + MAX_REASON * "\\u0000".len() <= LINE_MAX);
}

#[test]
fn a_bad_line_is_told_by_number_and_the_next_is_read() {
    let list = b"192.0.2.1\n\n1.2.3\n192.0.2.2 kind=allow\n\xff\xff\n192.0.2.3 reason=\xfcber\n192.0.2.4 # \xfc\n";
    let lines: Vec<_> = read(list, Takes::Blocks).collect();
    let numbers = |good: bool| {
        let number = |line: &Result<Line, BadLine>| line.as_ref().map_or_else(|bad| bad.number, |line| line.number);
        lines.iter().filter(|line| line.is_ok() == good).map(number).collect::<Vec<_>>()
    };
    assert_eq!((numbers(true), numbers(false)), (vec![1, 6, 7], vec![3, 4, 5]));
    let refused = lines[2].as_ref().expect_err("a feed").to_string();
    assert!(refused.starts_with("line 4: a feed may only block, not allow"), "{refused}");
    assert_eq!(lines[4].as_ref().map(|line| line.reason.as_deref()), Ok(Some("\u{fffd}ber")));
}

#[test]
fn a_file_of_another_encoding_is_named_as_such() {
    let utf16: Vec<u8> = "\u{feff}192.0.2.1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lines: Vec<_> = read(&utf16, Takes::Blocks).collect();
    assert!(matches!(&lines[..], [Err(BadLine { number: 1, what })] if what.contains("save it as UTF-8")), "{lines:?}");
}

#[test]
fn the_limits_hold() {
    let list = format!("{}192.0.2.2\n192.0.2.3\n", "192.0.2.1\n#\n".repeat(LINES_MAX));
    let (mut good, mut bad) = (0, Vec::new());
    for line in read(list.as_bytes(), Takes::Blocks) {
        line.map_or_else(|line| bad.push(line), |_| good += 1);
    }
    let [last] = &bad[..] else { panic!("{} bad lines", bad.len()) };
    assert_eq!(good, LINES_MAX);
    assert!(last.number == 2 * LINES_MAX + 1 && last.what.contains("split the file"), "{last}");
    assert_eq!(bytes_of(io::repeat(b'#').take(FILE_MAX)).expect("fits").len() as u64, FILE_MAX);
    assert!(matches!(bytes_of(io::repeat(b'#')), Err(Unreadable::TooLarge)));
}

proptest! {
    #[test]
    fn no_bytes_are_a_panic_and_what_is_read_is_written_as_the_same(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        again(&bytes)?;
    }

    #[test]
    fn nor_are_words_of_the_format(words in prop::collection::vec(prop::sample::select(WORDS.as_slice()), 0..60)) {
        again(words.concat().as_bytes())?;
    }

    #[test]
    fn what_is_said_in_any_order_is_read(
        v6: bool, bits: u128, reason in "\\PC{0,60}", ttl in 1..=MAX_TTL, swapped: bool, blank in "[ \t]{1,3}"
    ) {
        let address = if v6 { IpAddr::V6((bits | 1 << 127).into()) } else { IpAddr::V4((bits as u32).into()) };
        let reason_field = format!("reason={}", serde_json::to_string(&reason).expect("text"));
        let mut fields = [format!("ttl={ttl}s"), reason_field];
        if swapped { fields.swap(0, 1) }
        let line = one(&format!("{address}{blank}{}", fields.join(&blank))).map_err(TestCaseError::fail)?;
        prop_assert_eq!(line.net, IpNet::from(address));
        prop_assert_eq!(line.end, Some(End::After(ttl)));
        prop_assert_eq!(line.reason.as_deref(), Some(reason.as_str()));
    }
}

const WORDS: [&str; 16] = [
    "192.0.2.1",
    "2001:db8::/32",
    " ",
    "\t",
    "\n",
    "\r\n",
    "ttl=",
    "forever",
    "1h",
    "until=2027-01-01T00:00:00Z",
    "reason=",
    "\"",
    "\\",
    "#",
    "kind=allow",
    "\u{fc}",
];

/// The numbers ascend, and each good line is written as itself.
fn again(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut before = 0;
    for line in read(bytes, Takes::Every) {
        let number = line.as_ref().map_or_else(|bad| bad.number, |line| line.number);
        prop_assert!(number > before && number <= bytes.split(|byte| *byte == b'\n').count());
        before = number;
        if let Ok(line) = line {
            prop_assert_eq!(line.net, line.net.trunc());
            prop_assert_eq!(one(&line.to_string()), Ok(Line { number: 1, ..line }));
        }
    }
    Ok(())
}
