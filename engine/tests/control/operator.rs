//! What an operator does by `vosctl`, on an engine that runs: block, see why, undo, import, export.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use vos_common::reason::Reason;

use crate::site::{Node, wait_until};

/// The number by which a change is undone, as its command printed it.
#[track_caller]
fn number(told: &str) -> String {
    let (_, number) = told.rsplit_once("(undo ").unwrap_or_else(|| panic!("no number in {told}"));
    number.trim_end().trim_end_matches(')').to_owned()
}

fn rules(node: &Node) -> Vec<(String, String, Option<u64>, String)> {
    let listed = node.json(&["list"]);
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
    let rules = listed["rules"].as_array().unwrap().iter();
    rules.map(|rule| (text(rule, "net"), text(rule, "kind"), rule["until"].as_u64(), text(rule, "reason"))).collect()
}

#[test]
fn a_block_is_made_seen_and_undone() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    let made = node.told(&["block", "203.0.113.0/24", "--ttl", "1h", "--reason", "scans"]);
    assert!(made.starts_with("blocked 203.0.113.0/24 for 1h  (undo "), "{made}");
    node.told(&["allow", "203.0.113.9", "--until", "2127-01-01T00:00:00Z"]);
    assert!(node.is_dropped("203.0.113.7"));

    let why = node.told(&["list", "--covering", "203.0.113.7"]);
    assert!(
        why.contains("scans") && why.contains("cli") && why.ends_with("203.0.113.7 is blocked by 203.0.113.0/24\n"),
        "{why}"
    );
    let why = node.told(&["list", "--covering", "203.0.113.9"]);
    assert!(why.lines().count() == 4 && why.ends_with("203.0.113.9 is allowed\n"), "{why}");
    for (filter, found) in [
        (&["--kind", "allow"][..], 1),
        (&["--origin", "cli", "--newer", "1h"], 2),
        (&["--origin", "amqp"], 0),
        (&["--older", "1h"], 0),
        (&["--limit", "1"], 1),
    ] {
        let listed = node.json(&[&["list"], filter].concat());
        assert_eq!(listed["rules"].as_array().unwrap().len(), found, "{filter:?}");
    }
    let history = node.told(&["history"]);
    assert!(history.contains("block 203.0.113.0/24") && history.contains("allow 203.0.113.9"), "{history}");

    let undone = node.told(&["undo", &number(&made)]);
    assert!(!node.is_dropped("203.0.113.7"));
    node.told(&["undo", &number(&undone)]);
    assert!(node.is_dropped("203.0.113.7"), "an undo is undone as well");

    // what somebody has decided anew since stays
    let block = node.told(&["block", "198.51.100.7"]);
    node.told(&["block", "198.51.100.7", "--reason", "again"]);
    let output = node.vosctl(&["undo", &number(&block)]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("left as it is: block 198.51.100.7: 198.51.100.7 has been blocked anew since"), "{said}");
    assert!(node.is_dropped("198.51.100.7"));
    let again = node.told(&["block", "198.51.100.7", "--reason", "again"]);
    assert_eq!(again, "198.51.100.7 is blocked already, for good: nothing was changed\n");
}

/// Says how long it takes from the start of `vosctl block` to the first packet that is dropped for it. Only the order is
/// looked at: what vosctl has acknowledged is dropped.
#[test]
fn a_block_is_in_force_when_vosctl_has_said_so() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    let sources: Vec<String> = (1..=30).map(|n| format!("203.0.113.{n}")).collect();
    assert!(sources.iter().all(|source| !node.is_dropped(source)));
    let mut times: Vec<Duration> = sources.iter().map(|source| time_to_drop(&node, source)).collect();
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    let (count, p50, p99, longest) = (times.len(), at(50), at(99), at(100));
    println!("vosctl block to the first drop: {count} blocks, p50 {p50:?}, p99 {p99:?}, longest {longest:?}");
    assert!(sources.iter().all(|source| node.is_dropped(source)));
    node.stop();
}

/// From the start of `vosctl block` to the first packet that is dropped, which is sent all the while.
#[track_caller]
fn time_to_drop(node: &Node, source: &str) -> Duration {
    let packet = format!(
        "BYE sip:2@e.com SIP/2.0\r\nVia: SIP/2.0/UDP {source}:5061;branch=z9hG4bKtimed\r\nFrom: <sip:1@e.com>;tag=1\r\n\
         To: <sip:2@e.com>;tag=2\r\nCall-ID: timed\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    );
    let (address, before) = (source.parse().unwrap(), node.counted(Reason::Blocked));
    let mut command = node.command(&["block", source]);
    let from = Instant::now();
    let mut vosctl = command.stdout(Stdio::null()).spawn().unwrap();
    let is_dropped = || node.counted(Reason::Blocked) > before;
    while !is_dropped() && vosctl.try_wait().unwrap().is_none() {
        node.send(address, packet.as_bytes());
    }
    if !is_dropped() {
        // acknowledged: this one is dropped, though it may take a moment until it is looked at
        node.send(address, packet.as_bytes());
        wait_until("what vosctl has acknowledged is dropped", is_dropped);
    }
    let took = from.elapsed();
    assert!(vosctl.wait().unwrap().success());
    took
}

#[test]
fn what_outranks_an_allow_is_said() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    node.told(&["block", "198.51.100.7"]);
    let allowed = node.told(&["allow", "198.51.100.7"]);
    let says =
        "allowed 198.51.100.7 for good; still blocked by a block of 198.51.100.7/32: vosctl unblock 198.51.100.7";
    assert!(allowed.starts_with(says) && node.is_dropped("198.51.100.7"), "{allowed}");
    assert_eq!(node.json(&["allow", "198.51.100.7"])["done"][0]["now"]["kind"], "block");
    node.told(&["unblock", "198.51.100.7"]);
    assert!(!node.is_dropped("198.51.100.7"));
    node.stop();
}

#[test]
fn a_list_is_imported_once_undone_and_comes_back_as_it_was_exported() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    let file = node.path("list.txt");
    let file = file.to_str().unwrap();
    fs::write(
        file,
        "# honeypot\n203.0.113.7 until=2127-01-01T00:00:00Z reason=scans, and \"more\"\n203.0.113.0/24 kind=allow\n\
         2001:db8:bad::/48\n999.1.1.1\n192.0.2.1 # this host\n198.51.100.0/24 ttl=forever kind=trust\n",
    )
    .unwrap();
    let strict = node.vosctl(&["import", file, "--strict"]);
    assert_eq!((strict.status.code(), rules(&node).len()), (Some(1), 0));
    let dry = node.vosctl(&["import", file, "--dry-run"]);
    let said = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(said.contains("would be: 3 new, 2 refused, 1 bad") && rules(&node).is_empty(), "{said}");

    let output = node.vosctl(&["import", file]);
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "two lines are refused, one is bad: {said}");
    for line in ["line 2: refused: 203.0.113.7 is allowed by 203.0.113.0/24", "line 5: ", "line 6: refused: "] {
        assert!(said.contains(line), "{line} of {said}");
    }
    assert_eq!(rules(&node).len(), 3);
    assert!(node.is_dropped("2001:db8:bad::7") && !node.is_dropped("203.0.113.7"));
    let again = node.vosctl(&["import", file]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing was changed: 0 new, 3 in force already"));

    let insisted =
        node.told(&["block", "203.0.113.7", "--force", "--until", "2127-01-01T00:00:00Z", "--reason", "a # b\u{9b}"]);
    let (before, export) = (rules(&node), node.told(&["export"]));
    assert_eq!(before.len(), 4);
    for change in [number(&insisted), number(&told)] {
        node.told(&["undo", &change]);
    }
    assert!(rules(&node).is_empty() && !node.is_dropped("2001:db8:bad::7"));
    fs::write(file, &export).unwrap();
    node.told(&["import", file, "--force"]);
    assert_eq!(rules(&node), before, "as it was exported:\n{export}");
    assert!(node.is_dropped("203.0.113.7"));
    assert!(node.told(&["import", file, "--force"]).contains("nothing was changed: 0 new, 4 in force already"));
}

#[test]
fn a_long_list_needs_no_more_memory_than_a_page() {
    if !vos_bench::ready(&[]) {
        return;
    }
    const LINES: u32 = 50_000;
    let mut node = Node::alone();
    node.start("");
    let file = node.path("long.txt");
    let lines = (0..LINES).map(|n| format!("{} reason=one of many\n", std::net::Ipv4Addr::from(0x0a00_0000 + n)));
    fs::write(&file, lines.collect::<String>()).unwrap();
    let told = node.told(&["import", file.to_str().unwrap()]);
    assert!(told.contains("50000 new"), "{told}");
    assert_eq!(node.told(&["export"]).lines().count(), LINES as usize);
    let listed = node.json(&["list"]);
    let listed = listed["rules"].as_array().unwrap();
    let mut nets: Vec<_> = listed.iter().map(|rule| rule["net"].as_str().unwrap()).collect();
    nets.dedup();
    assert_eq!((nets.len(), nets[0], nets[49_999]), (LINES as usize, "10.0.0.0/32", "10.0.195.79/32"));
    let page = node.vosctl(&["list", "--limit", "3"]);
    assert_eq!(String::from_utf8_lossy(&page.stdout).lines().count(), 4);
    assert!(String::from_utf8_lossy(&page.stderr).contains("there may be more"));
    node.told(&["undo"]);
    assert_eq!(node.told(&["list"]), "no rules\n");
}

#[test]
fn exit_codes_are_those_of_the_manual() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    node.told(&["trust", "198.51.100.0/24"]);
    for (words, code, says) in [
        (&["block", "203.0.113.7"][..], 0, ""),
        (&["block", "203.0.113.7"], 0, ""),
        (&["block", "192.0.2.1"], 1, "guarded"),
        (&["block", "0.0.0.0/1"], 1, "too_wide"),
        (&["block", "198.51.100.7"], 1, "trusted"),
        (&["block", "198.51.100.7", "--force"], 0, ""),
        (&["block", "203.0.113.8", "--reason", &"x".repeat(257)], 1, "bad_reason"),
        (&["unblock", "203.0.113.9"], 4, "no_such_rule"),
        (&["untrust", "198.51.100.7"], 4, "covered"),
        (&["unblock", "203.0.113.7", "203.0.113.9", "192.0.2.77"], 4, "no_such_rule"),
        (&["undo", "4711"], 4, "no_such_change"),
        (&["backend", "drain", "b"], 4, "no_such_backend"),
        (&["import", "/nowhere"], 1, "failed"),
        (&["top"], 2, "usage"),
        (&["list", "--run-dir", "/nowhere"], 3, "unreachable"),
        (&["stats"], 0, ""),
        (&["status"], 0, ""),
        (&["feeds"], 0, ""),
        (&["export"], 0, ""),
        (&["suggest-allow"], 0, ""),
        (&["rule", "scanner", "monitor"], 0, ""),
        (&["reload"], 0, ""),
    ] {
        let output = node.vosctl(&[words, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        for line in errors.lines() {
            let error: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{words:?}: {line}"));
            assert_eq!(error["code"], says, "{words:?}: {line}");
        }
        assert_eq!(errors.is_empty(), says.is_empty(), "{words:?}");
        if code == 0 {
            serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }
    node.stop();
    let output = node.vosctl(&["list", "--json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((output.status.code(), &error["code"]), (Some(3), &Value::from("unreachable")));
}
