use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use vos_engine::control::client::Client;
use vos_engine::control::decision::Kind;
use vos_engine::control::wire::NewRule;

use super::{agree, blocked, config, figure, ready, shared};
use crate::broker::Broker;
use crate::site::{Hub, Node, wait_until};

/// How many decisions a second are made while the broker is killed.
const RATE: u32 = 1_000;
/// For how long.
const SECONDS: u32 = 5;
/// Who is made to wait for the disk at once.
const TOGETHER: usize = 48;

/// One broker and three nodes go through it all: a broker takes seconds to start.
#[test]
fn three_nodes_agree_whatever_happens() {
    if !ready() {
        return;
    }
    let hub = Hub::new();
    let mut broker = Broker::start(&hub.ns, Hub::ADDRESS);
    let mut nodes = ["a", "b", "c"].map(|name| {
        let mut node = Node::on(&hub);
        node.start(&config(&broker.url(), name));
        node
    });
    agree(&nodes.each_ref());
    what_one_decides_holds_on_all(&broker, &nodes);
    a_guard_keeps_what_it_must_and_all_agree_still(&nodes);
    what_is_no_entry_is_passed_over(&broker, &nodes);
    one_that_was_cut_off_undoes_nothing(&hub, &nodes);
    one_that_dies_has_what_it_missed(&mut nodes);
    a_broker_that_dies_loses_nothing(&mut broker, &nodes);
}

fn what_one_decides_holds_on_all(broker: &Broker<'_>, nodes: &[Node; 3]) {
    let mut slowest = Duration::ZERO;
    for (from, source) in [(0, "203.0.113.1"), (1, "203.0.113.2"), (2, "2001:db8:bad::1")] {
        nodes[from].told(&["block", source]);
        let told = Instant::now();
        wait_until("it is dropped everywhere", || nodes.iter().all(|node| node.is_dropped(source)));
        slowest = slowest.max(told.elapsed());
    }
    eprintln!("from the answer to vosctl block to a drop at three NICs: {slowest:?} at most");
    let event = br#"{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{"ip":"203.0.113.99"}}"#;
    broker.publish("vos.block", &[event]);
    let told = Instant::now();
    wait_until("OpenSIPS' event is a drop everywhere", || nodes.iter().all(|node| node.is_dropped("203.0.113.99")));
    eprintln!("from the broker's confirmation of OpenSIPS' event to a drop at three NICs: {:?}", told.elapsed());
    nodes[0].told(&["block", "198.51.100.0/24", "--ttl", "1h", "--reason", "why"]);
    nodes[1].told(&["allow", "198.51.100.7"]);
    nodes[2].told(&["trust", "203.0.113.2"]);
    for node in nodes {
        wait_until("allow and trust hold", || !node.is_dropped("198.51.100.7") && !node.is_dropped("203.0.113.2"));
        wait_until("and the block around", || node.is_dropped("198.51.100.8"));
    }
    nodes[1].told(&["unblock", "203.0.113.1"]);
    nodes[0].told(&["untrust", "203.0.113.2"]);
    for node in nodes {
        wait_until("what was taken back is", || !node.is_dropped("203.0.113.1") && node.is_dropped("203.0.113.2"));
    }
    agree(&nodes.each_ref());
    assert_eq!(shared(&nodes[0]).len(), 5);
    for node in nodes {
        let lag = || (figure(node, "vos_cluster_caught_up"), figure(node, "vos_cluster_behind_messages"));
        wait_until("its metrics say that it has read all", || lag() == (Some(1.0), Some(0.0)));
    }
}

fn a_guard_keeps_what_it_must_and_all_agree_still(nodes: &[Node; 3]) {
    let [a, b, c] = nodes;
    b.server.ip(&format!("route add default via 192.0.2.77 dev {}", b.iface)).unwrap();
    wait_until("b knows its gateway", || {
        let refused = b.vosctl(&["block", "192.0.2.77"]);
        if refused.status.success() {
            b.told(&["unblock", "192.0.2.77"]);
        }
        !refused.status.success()
    });
    a.told(&["block", "192.0.2.77", "--reason", "an attacker, there"]);
    wait_until("dropped at a and c", || a.is_dropped("192.0.2.77") && c.is_dropped("192.0.2.77"));
    agree(&nodes.each_ref());
    assert!(!b.is_dropped("192.0.2.77"), "b's gateway is not blocked");
    let held = |node: &Node| {
        let status = node.json(&["cluster", "status"]);
        let nodes = status["nodes"].as_array().expect("nodes").iter();
        nodes.map(|node| node["holds"]["held"].as_u64().expect("held")).collect::<Vec<_>>()
    };
    assert_eq!(held(a), [0, 1, 0]);
    let listed = b.json(&["list", "block"])["rules"].as_array().expect("rules").clone();
    let why = listed.iter().find(|rule| rule["net"] == "192.0.2.77/32").map(|rule| rule["held"].to_string());
    assert!(why.as_ref().is_some_and(|why| why.contains("gateway")), "{why:?}");

    // no gateway any more, no reason to hold it back
    b.server.ip("route del default").unwrap();
    wait_until("dropped at b", || b.is_dropped("192.0.2.77"));
    assert_eq!(held(c), [0, 0, 0]);
    a.told(&["unblock", "192.0.2.77"]);
    agree(&nodes.each_ref());
}

/// Whoever may write to the log may allow and trust; the broker vouches for the nodes' user alone.
fn what_is_no_entry_is_passed_over(broker: &Broker<'_>, nodes: &[Node; 3]) {
    let forged = r#"{"v":1,"node":"a","run":1,"entry":{"node":"a","sequence":9999999999999,"changes":
        [{"net":"203.0.113.66/32","kind":"trust","made":120000000000000000}]}}"#;
    let bodies: [&[u8]; 4] = [forged.as_bytes(), b"junk", b"", &[0xff; 1_000]];
    broker.publish(super::LOG, &bodies);
    let signed = lapin::BasicProperties::default().with_user_id("guest".into());
    broker.publish_with(super::LOG, &[br#"{"v":99,"news":[]}"#, b"{}"], &signed);
    nodes[0].told(&["block", "203.0.113.66"]);
    for node in nodes {
        wait_until("the log is read on", || node.is_dropped("203.0.113.66"));
        assert_eq!(node.feed("cluster vos.decisions")["bad"], 6, "{}", node.log());
    }
    nodes[1].told(&["unblock", "203.0.113.66"]);
    agree(&nodes.each_ref());
}

fn one_that_was_cut_off_undoes_nothing(hub: &Hub, nodes: &[Node; 3]) {
    let [a, b, c] = nodes;
    a.told(&["block", "203.0.113.30", "--reason", "before"]);
    a.told(&["block", "203.0.113.31"]);
    agree(&nodes.each_ref());
    hub.cut(c);
    // about the same: first there, then here, and the other way round
    c.told(&["unblock", "203.0.113.30"]);
    c.told(&["block", "203.0.113.33", "--reason", "by c"]);
    a.told(&["block", "203.0.113.30", "--ttl", "2h", "--reason", "after"]);
    b.told(&["block", "203.0.113.32", "--reason", "by b"]);
    a.told(&["block", "203.0.113.34", "--reason", "by a, first"]);
    b.told(&["unblock", "203.0.113.31"]);
    c.told(&["block", "203.0.113.34", "--reason", "by c, last"]);
    wait_until("a has b's", || a.is_dropped("203.0.113.32") && !a.is_dropped("203.0.113.31"));
    assert!(!c.is_dropped("203.0.113.32") && c.is_dropped("203.0.113.33"), "c goes on alone");
    assert!(!c.is_dropped("203.0.113.30") && c.is_dropped("203.0.113.31"), "with what it has");
    let status = c.json(&["cluster", "status"]);
    assert_ne!(status["agree"], true, "{status}");
    hub.join(c);
    agree(&nodes.each_ref());
    for node in nodes {
        let dropped = ["30", "31", "32", "33", "34"].map(|host| node.is_dropped(&format!("203.0.113.{host}")));
        assert_eq!(dropped, [true, false, true, true, true], "the newest holds");
        let listed = node.json(&["list", "block"])["rules"].as_array().expect("rules").clone();
        let reason = |net: &str| listed.iter().find(|rule| rule["net"] == net).map(|rule| rule["reason"].clone());
        assert_eq!(reason("203.0.113.30/32"), Some("after".into()));
        assert_eq!(reason("203.0.113.34/32"), Some("by c, last".into()));
    }
}

fn one_that_dies_has_what_it_missed(nodes: &mut [Node; 3]) {
    nodes[1].told(&["block", "203.0.113.40"]);
    nodes[1].kill();
    nodes[0].told(&["block", "203.0.113.41"]);
    nodes[2].told(&["unblock", "203.0.113.32"]);
    let silent = nodes[0].vosctl(&["cluster", "status"]);
    assert_eq!(silent.status.code(), Some(1), "a node is silent");
    assert!(String::from_utf8_lossy(&silent.stdout).contains("silent"));
    nodes[1].restart();
    agree(&nodes.each_ref());
    for node in &*nodes {
        assert!(node.is_dropped("203.0.113.40") && node.is_dropped("203.0.113.41"));
        assert!(!node.is_dropped("203.0.113.32"));
    }
}

fn a_broker_that_dies_loses_nothing(broker: &mut Broker<'_>, nodes: &[Node; 3]) {
    let sockets = nodes.each_ref().map(|node| node.path("run").join(format!("{}.sock", node.iface)));
    let decided = std::thread::spawn(move || decide_on_and_on(&sockets));
    // some are in the log, some are on their way
    wait_until("they come", || blocked(&nodes[0]).len() > (RATE * SECONDS / 4) as usize);
    broker.kill(super::LOG);
    let before = blocked(&nodes[0]).len();
    wait_until("they come all the same", || blocked(&nodes[0]).len() > before + RATE as usize / 4);
    wait_until("metrics say that the log is away", || figure(&nodes[0], "vos_cluster_caught_up") == Some(0.0));
    broker.restart();
    let (acknowledged, refused, rate) = decided.join().expect("decided");
    eprintln!("{} decisions acknowledged, {rate:.0}/s; the broker was killed meanwhile", acknowledged.len());
    assert_eq!((acknowledged.len(), refused), ((RATE * SECONDS) as usize, 0));
    agree(&nodes.each_ref());
    for node in nodes {
        let there = blocked(node);
        assert_eq!(acknowledged.difference(&there).count(), 0, "an acknowledged decision is lost");
        for net in acknowledged.iter().step_by(997) {
            assert!(node.is_dropped(net.trim_end_matches("/32")), "{net}");
        }
    }
}

/// Blocks that were acknowledged, how many were not, and how many a second it were.
fn decide_on_and_on(sockets: &[PathBuf; 3]) -> (BTreeSet<String>, usize, f64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let begin = Instant::now();
    let numbers = std::sync::atomic::AtomicU32::new(0);
    let worker = async |_| {
        let (mut done, mut refused) = (Vec::new(), 0);
        loop {
            let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number >= RATE * SECONDS {
                return (done, refused);
            }
            tokio::time::sleep_until((begin + Duration::from_secs(1) * number / RATE).into()).await;
            let net = format!("198.18.{}.{}/32", 64 + number / 256, number % 256);
            match Client::new(&sockets[number as usize % 3]).decide(&block(&net)).await {
                Ok(_) => done.push(net),
                Err(error) => {
                    eprintln!("{error}");
                    refused += 1;
                }
            }
        }
    };
    let all = runtime.block_on(futures_util::future::join_all((0..TOGETHER).map(worker)));
    let rate = f64::from(RATE * SECONDS) / begin.elapsed().as_secs_f64();
    let refused = all.iter().map(|(_, refused)| refused).sum();
    (all.into_iter().flat_map(|(done, _)| done).collect(), refused, rate)
}

fn block(net: &str) -> NewRule {
    let (net, reason) = (net.to_owned(), Some("load".to_owned()));
    NewRule { net, kind: Kind::Block, ttl_s: None, until: None, reason, force: false, ssh_connection: None }
}
