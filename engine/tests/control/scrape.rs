//! What Prometheus reads, by its own project's parser.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::Value;
use vos_common::reason::Reason;

use crate::site::{Node, wait_until};

/// Debian's package `python3-prometheus-client`, by the Python that has it.
const PYTHON: &str = "/usr/bin/python3";
const PARSE: &str = "import sys, json
from prometheus_client.FORMATparser import text_string_to_metric_families as parse
families = list(parse(sys.stdin.read()))
for f in families:
    assert f.documentation and f.type != 'unknown', f
json.dump([[s.name, s.labels, s.value] for f in families for s in f.samples], sys.stdout)";

/// A value for each name and its labels.
type Page = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// What a scraper of OpenMetrics names, and one that knows none.
const ACCEPT: [(&str, &str); 2] = [("application/openmetrics-text; version=1.0.0", "openmetrics."), ("*/*", "")];

/// The page on the node's socket for who accepts this.
#[track_caller]
pub(crate) fn get(node: &Node, accept: &str) -> String {
    let mut stream = UnixStream::connect(node.path(&format!("run/{}.sock", node.iface))).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(!head.to_ascii_lowercase().contains("chunked"), "{head}");
    body.to_owned()
}

#[track_caller]
fn scrape(node: &Node) -> Page {
    let [open, plain] = ACCEPT.map(|(accept, parser)| parse(&get(node, accept), parser));
    assert!(open.keys().eq(plain.keys()), "{open:#?} {plain:#?}");
    open
}

#[track_caller]
fn parse(page: &str, parser: &str) -> Page {
    let mut python = Command::new(PYTHON);
    python.args(["-c", &PARSE.replace("FORMAT", parser)]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let done = python.wait_with_output().unwrap();
    assert!(done.status.success(), "the {parser}parser refuses:\n{page}");
    let samples: Vec<(String, BTreeMap<String, String>, f64)> = serde_json::from_slice(&done.stdout).unwrap();
    let count = samples.len();
    let page: Page = samples.into_iter().map(|(name, labels, value)| ((name, labels), value)).collect();
    assert_eq!(page.len(), count, "a value is there twice");
    page
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, word)| ((*name).to_owned(), (*word).to_owned())).collect()
}

#[track_caller]
fn value(page: &Page, name: &str, pairs: &[(&str, &str)]) -> f64 {
    *page.get(&(name.to_owned(), labels(pairs))).unwrap_or_else(|| panic!("no {name} {pairs:?} in {page:#?}"))
}

fn sum(page: &Page, name: &str) -> f64 {
    page.iter().filter(|((sample, _), _)| sample == name).map(|(_, value)| value).sum()
}

fn has_python() -> bool {
    let there = Command::new(PYTHON).args(["-c", "import prometheus_client"]).output();
    let there = there.is_ok_and(|output| output.status.success());
    there || vos_bench::ready::skipped("python3-prometheus-client")
}

/// What has been sent to the node's interface so far, as the other end of its wire counts.
fn sent(node: &Node) -> u64 {
    let read = || fs::read_to_string("/sys/class/net/lan/statistics/tx_packets");
    // sysfs shows the namespace of whoever mounted it
    let output = node.sender.command("ip").args(["-j", "-s", "link", "show", "dev", "lan"]).output().unwrap();
    let link: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{:?}", read()));
    link[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
}

#[test]
fn the_page_is_sound_and_every_packet_stands_on_it_once() {
    if !vos_bench::ready(&["ip"]) || !has_python() {
        return;
    }
    let mut node = Node::alone();
    // nobody is there who would know more of the log
    node.start("[amqp]\nurl = \"amqp://127.0.0.1:9\"\nqueue = \"\"\n[cluster]\nlog = \"vos.decisions\"\n");
    // what came before the program was there it has not judged
    let mut before = None;
    wait_until("a moment of silence", || {
        let first = sent(&node);
        let judged = sum(&scrape(&node), "vos_packets_total");
        before = (sent(&node) == first).then_some((first, judged));
        before.is_some()
    });
    let (sent_before, judged_before) = before.unwrap();
    let start = scrape(&node);
    node.told(&["block", "203.0.113.0/24", "--reason", "a\u{1b}[2J\"b"]);
    for n in 1..=20 {
        assert!(node.is_dropped(&format!("203.0.113.{n}")));
        assert!(!node.is_dropped(&format!("198.51.100.{n}")));
    }
    let mut page = Page::new();
    wait_until("what the wire has carried is what was judged", || {
        page = scrape(&node);
        sum(&page, "vos_packets_total") - judged_before == (sent(&node) - sent_before) as f64
    });
    let blocked = [("reason", "blocked"), ("verdict", "drop")];
    assert_eq!(value(&page, "vos_packets_total", &blocked) - value(&start, "vos_packets_total", &blocked), 20.0);
    let passed = [("reason", "kernel"), ("verdict", "pass")];
    assert_eq!(value(&page, "vos_packets_total", &passed) - value(&start, "vos_packets_total", &passed), 20.0);
    for reason in Reason::ALL.iter().filter(|reason| reason.in_kernel()) {
        let count =
            page.keys().filter(|(name, labels)| name == "vos_packets_total" && labels["reason"] == reason.label());
        assert_eq!(count.count(), 1, "{}", reason.label());
    }
    assert_eq!(value(&page, "vos_decisions", &[("kind", "block"), ("origin", "cli")]), 1.0);
    assert!(value(&page, "vos_store_commits_total", &[]) >= 1.0);
    assert!(value(&page, "vos_store_size_bytes", &[]) > 1_000.0);
    assert_eq!(value(&page, "vos_projection_failures_total", &[]), 0.0);
    assert_eq!(value(&page, "vos_cluster_caught_up", &[]), 0.0);
    assert_eq!(value(&page, "vos_cluster_outbox_entries", &[]), 1.0);
    assert_eq!(sum(&page, "vos_cluster_behind_messages"), 0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let started = value(&page, "process_start_time_seconds", &[]);
    assert!(started > now - 600.0 && started <= now, "{started} at {now}");
    assert_eq!(value(&page, "vos_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    for (name, labels) in page.keys() {
        assert!(name.starts_with("vos_") || name.starts_with("process_"), "{name}");
        let address = labels.values().find(|word| word.parse::<std::net::IpAddr>().is_ok());
        assert_eq!(address, None, "{name}");
    }
}
