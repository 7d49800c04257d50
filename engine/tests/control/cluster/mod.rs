/// Nodes that come later, and logs that are not what they were.
mod later;
/// What a cluster of three goes through.
mod three;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scrape;
use crate::site::{Node, PATIENCE};

/// The log of every cluster here.
const LOG: &str = "vos.decisions";

/// A node's `vos.toml`.
fn config(url: &str, name: &str) -> String {
    format!("[amqp]\nurl = \"{url}\"\n[cluster]\nnode = \"{name}\"\nlog = \"{LOG}\"\n")
}

fn ready() -> bool {
    vos_bench::ready(&["rabbitmq-server"])
}

/// Waits until `vosctl cluster status` says on each of these nodes that they, and no others, agree; and looks whether they
/// do, by what each lists.
#[track_caller]
fn agree(nodes: &[&Node]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let all: Vec<Value> = nodes.iter().map(|node| node.json(&["cluster", "status"])).collect();
        let counts = |status: &Value| status["nodes"].as_array().map(Vec::len);
        let agree = all.iter().all(|status| status["agree"] == true && counts(status) == Some(nodes.len()));
        // Each time anew: on a machine that stands still a node may answer too late to be asked.
        if agree && nodes[0].vosctl(&["cluster", "status"]).status.code() == Some(0) {
            break;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {} nodes agree: {all:#?}", nodes.len());
        std::thread::sleep(Duration::from_millis(20));
    }
    let first = shared(nodes[0]);
    for node in &nodes[1..] {
        let other = shared(node);
        let differ: Vec<_> = first.symmetric_difference(&other).take(5).collect();
        assert!(differ.is_empty(), "{differ:?}");
    }
}

/// What a node lists of what all share: whom, what, until when, by whom and where decided, held back or not.
fn shared(node: &Node) -> BTreeSet<String> {
    let rules = node.json(&["list"]);
    let rules = rules["rules"].as_array().expect("rules").iter();
    rules
        .map(|rule| {
            ["net", "kind", "until", "reason", "who", "made", "node"].map(|key| rule[key].to_string()).join(" ")
        })
        .collect()
}

/// What a node's page of metrics says of this; `None`: nothing.
fn figure(node: &Node, name: &str) -> Option<f64> {
    let page = scrape::get(node, "*/*");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap_or_else(|_| panic!("{name} {value}")))
}

/// The addresses that a node lists as blocked.
fn blocked(node: &Node) -> BTreeSet<String> {
    let rules = node.json(&["list", "block"]);
    let net = |rule: &Value| rule["net"].as_str().expect("a net").to_owned();
    rules["rules"].as_array().expect("rules").iter().map(net).collect()
}
