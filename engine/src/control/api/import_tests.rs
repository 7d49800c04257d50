//! Lists, taken through the API.

use tokio::io::AsyncWriteExt;

use super::*;
use crate::control::api::import::LISTS_MAX;
use crate::control::wire::{Import, Imported, Remembered, Undo};

async fn import(server: &Server, import: &Import, list: &str) -> Imported {
    server.client.import(import, list.into()).await.expect("served")
}

fn named(name: &str) -> Import {
    Import { name: Some(name.into()), ..Import::default() }
}

fn told(report: &Imported) -> Vec<(u64, bool)> {
    report.untaken.iter().map(|untaken| (untaken.line, untaken.refused)).collect()
}

const LIST: &str = "\
# honeypot
203.0.113.7 ttl=1h reason=scans
203.0.113.8 until=1970-01-01T02:00:00Z
2001:db8::/48 kind=trust

2001:db8::7
999.1.1.1
203.0.113.9 until=1970-01-01T01:00:00Z
203.0.113.8
192.0.2.0/24 # this host
";

#[tokio::test]
async fn good_lines_are_taken_and_the_others_named_and_all_of_it_is_undone() {
    let server = Server::start().await;
    server.control.set_guarded(vec![("192.0.2.1/32".parse().expect("a net"), "this host".into())]);
    let report = import(&server, &named("a.txt"), LIST).await;
    let counts = (report.lines, report.made, report.ended, report.repeated, report.refused, report.bad);
    assert_eq!(counts, (8, 3, 1, 1, 2, 1));
    assert_eq!(told(&report), [(6, true), (7, false), (10, true)]);
    assert!(report.untaken[0].error.contains("trusted by 2001:db8::/48"), "its own trust: {:?}", report.untaken);
    assert!(report.untaken[1].error.contains("255"), "{:?}", report.untaken);
    let kinds = |sources: [&str; 4]| sources.map(|source| server.kind(source));
    let sources = ["203.0.113.7", "203.0.113.8", "2001:db8::1", "192.0.2.2"];
    let (none, blocked) = (RuleKind::None as u32, RuleKind::Blocked as u32);
    assert_eq!(kinds(sources), [blocked, blocked, RuleKind::Trusted as u32, none]);
    let rules =
        server.client.list(&Listing { kind: Some(Kind::Block), ..Listing::default() }).await.expect("served").rules;
    let rules: Vec<_> = rules.iter().map(|rule| (rule.net.as_str(), rule.until, rule.reason.as_str())).collect();
    let expected = [("203.0.113.7/32", Some(8_600), "scans"), ("203.0.113.8/32", None, "")];
    assert_eq!(rules, expected, "of two lines about one, the last counts");

    let again = import(&server, &named("a.txt"), LIST).await;
    assert_eq!((again.made, again.replaced, again.already, again.set), (0, 0, 3, None));
    let history = server.client.history(&Remembered::default()).await.expect("served").sets;
    let sets: Vec<_> = history.iter().map(|set| (set.what.as_str(), set.count, Some(set.number))).collect();
    assert_eq!(sets, [("import a.txt", 3, report.set)]);
    let undone = server.client.undo(&Undo::default()).await.expect("there");
    assert_eq!((undone.restored, undone.left_count), (3, 0));
    assert_eq!(kinds(sources), [none; 4]);
}

#[tokio::test]
async fn strict_and_dry_imports_change_nothing_and_say_what_would_be() {
    let server = Server::start().await;
    server.post(json!({ "net": "203.0.113.7", "kind": "block" })).await.expect("room");
    server.post(json!({ "net": "198.51.100.0/24", "kind": "allow" })).await.expect("room");
    let list = "203.0.113.7 ttl=1h\n203.0.113.8\n198.51.100.7\n10.0.0.0/8 kind=allow\n10.0.0.7\nx\n10.0.0.0/9 kind=trust\n10.0.0.9\n";
    let foreseen = import(&server, &Import { dry_run: true, ..named("b") }, list).await;
    assert!(foreseen.dry_run && foreseen.set.is_none());
    assert_eq!((foreseen.made, foreseen.replaced, foreseen.refused, foreseen.bad), (3, 1, 3, 1));
    assert_eq!(told(&foreseen), [(3, true), (5, true), (6, false), (8, true)]);
    let strict = import(&server, &Import { strict: true, ..named("b") }, list).await;
    assert_eq!(strict, foreseen, "nothing was changed for the one bad line");
    assert_eq!(server.kind("203.0.113.8"), RuleKind::None as u32);
    // and it comes as it was foreseen
    let done = import(&server, &named("b"), list).await;
    assert_eq!(Imported { dry_run: true, set: None, ..done.clone() }, foreseen);
    assert!(done.set.is_some());
    assert_eq!(server.kind("203.0.113.8"), RuleKind::Blocked as u32);
    let good = import(&server, &Import { strict: true, ..named("c") }, "203.0.113.9\n").await;
    assert_eq!((good.made, good.dry_run, good.set.is_some()), (1, false, true));
}

#[tokio::test]
async fn what_lines_do_not_say_the_request_says() {
    let server = Server::start().await;
    let own = Some("203.0.113.7 4022 192.0.2.1 22".to_owned());
    let defaults = Import { ttl_s: Some(60), reason: Some("night".into()), ssh_connection: own, ..named("d") };
    let list = "203.0.113.7\n203.0.113.8 ttl=forever reason=day\n203.0.113.9\n";
    let report = import(&server, &defaults, list).await;
    assert_eq!((report.made, told(&report)), (2, vec![(1, true)]), "nobody blocks their own session by mistake");
    let report = import(&server, &Import { force: true, ..defaults }, list).await;
    assert_eq!((report.made, report.already), (1, 2));
    let rules = server.client.list(&Listing::default()).await.expect("served").rules;
    let rules: Vec<_> = rules.iter().map(|rule| (rule.left_s, rule.reason.as_str())).collect();
    assert_eq!(rules, [(Some(60), "night"), (None, "day"), (Some(60), "night")]);
}

#[tokio::test]
async fn what_is_no_import_is_refused_with_the_fix() {
    let server = Server::start().await;
    let refused = async |query: &str| server.call(Method::POST, &format!("/v1/import?{query}"), Value::Null).await;
    for query in ["strict=1", "ttl_s=-1", "file=x", "dry_run"] {
        assert_eq!(refused(query).await, code(400, "bad_request"), "{query}");
    }
    assert_eq!(refused("ttl_s=0").await, code(400, "bad_ttl"));
    let huge = vec![b'\n'; crate::feed::lines::FILE_MAX as usize + 1];
    let error = server.client.import(&Import::default(), huge).await.expect_err("too large");
    assert!(error.to_string().contains("64 MiB: split it"), "{error}");
    let nothing = import(&server, &Import::default(), "").await;
    assert_eq!(nothing, Imported::default());
    let report = import(&server, &Import::default(), &"x\n".repeat(1_500)).await;
    assert_eq!((report.bad, report.untaken.len()), (1_500, 1_000));
}

/// As long as anything may take: this machine may be busy. Shorter than a slow list is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that has begun to send a list, and never ends.
async fn slow(server: &Server) -> tokio::net::UnixStream {
    let mut stream = tokio::net::UnixStream::connect(server.client.path()).await.expect("served");
    let begun = b"POST /v1/import HTTP/1.1\r\nHost: vos\r\nContent-Length: 100\r\n\r\n203.0.113.7\n";
    stream.write_all(begun).await.expect("taken");
    stream
}

#[tokio::test]
async fn who_sends_slowly_keeps_nobody_waiting_and_too_many_are_told() {
    let server = Server::start().await;
    let once = || async {
        let once = server.call(Method::POST, "/v1/import?name=x", Value::Null);
        tokio::time::timeout(PATIENCE, once).await.expect("no waiting for those who are slow")
    };
    let mut slow_ones = Vec::new();
    for _ in 1..LISTS_MAX {
        slow_ones.push(slow(&server).await);
        // `null`, a line that makes no sense
        assert_eq!(once().await.expect("there is a place left")["bad"], 1);
    }
    slow_ones.push(slow(&server).await);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // the last may not have been read yet
    while once().await != code(409, "busy") {
        assert!(tokio::time::Instant::now() < deadline, "all places are taken");
    }
    drop(slow_ones.pop());
    while once().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "a place that is given up is free");
    }
    assert!(server.control.list(&Filter::default()).is_empty(), "what did not arrive whole is not taken");
}

#[tokio::test]
async fn a_long_list_is_one_change() {
    let server = Server::start().await;
    let list: String = (0..5_000_u32).map(|n| format!("{}\n", std::net::Ipv4Addr::from(0x0a00_0000 + n))).collect();
    let report = import(&server, &named("long"), &list).await;
    assert_eq!((report.made, report.set), (5_000, Some(1)));
    let history = server.client.history(&Remembered::default()).await.expect("served").sets;
    assert_eq!(history.iter().map(|set| set.count).collect::<Vec<_>>(), [5_000]);
    assert_eq!(import(&server, &named("long"), &list).await.already, 5_000);
    let undone = server.client.undo(&Undo::default()).await.expect("there");
    assert_eq!((undone.restored, server.control.list(&Filter::default()).len()), (5_000, 0));
}
