use lapin::types::{AMQPValue, FieldTable};

use super::{LOG, agree, config, ready};
use crate::broker::Broker;
use crate::site::{Hub, Node, wait_until};

fn node(hub: &Hub, url: &str, name: &str) -> Node {
    let mut node = Node::on(hub);
    node.start(&config(url, name));
    node
}

/// A stream of which the broker keeps only some kilobytes.
fn short_log(broker: &Broker<'_>) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(200_000));
    arguments.insert("x-stream-max-segment-size-bytes".into(), AMQPValue::LongLongInt(100_000));
    broker.declare(LOG, arguments);
}

#[test]
fn nodes_that_come_later_agree() {
    if !ready() {
        return;
    }
    let hub = Hub::new();
    let broker = Broker::start(&hub.ns, Hub::ADDRESS);
    short_log(&broker);
    let a = node(&hub, &broker.url(), "a");
    let b = node(&hub, &broker.url(), "b");
    a.told(&["block", "203.0.113.1", "--reason", "old"]);
    b.told(&["trust", "198.51.100.1"]);
    a.told(&["block", "203.0.113.9"]);
    a.told(&["unblock", "203.0.113.9"]);
    agree(&[&a, &b]);

    // the whole log is there
    let c = node(&hub, &broker.url(), "c");
    agree(&[&a, &b, &c]);
    assert!(c.is_dropped("203.0.113.1") && !c.is_dropped("203.0.113.9"));

    // the beginning is gone, and with it the old entries: only a snapshot tells of them
    let filling = vec![b'x'; 2_000];
    let read = |node: &Node| node.feed("cluster vos.decisions")["read"].as_u64().expect("the log's feed");
    // what comes behind the snapshot pushes that out as well
    for _ in (0..210).take_while(|_| !a.log().contains("writing a snapshot")) {
        let before = [&a, &b, &c].map(read);
        broker.publish(LOG, &vec![&filling[..]; 50]);
        // nobody writes faster than nodes read for long, and this log keeps only the last hundred
        wait_until("it is read", || [&a, &b, &c].map(read).iter().zip(before).all(|(now, before)| *now >= before + 50));
    }
    wait_until("a snapshot is written", || a.log().contains("writing a snapshot"));
    let d = node(&hub, &broker.url(), "d");
    agree(&[&a, &b, &c, &d]);
    assert!(d.log().contains("took a snapshot"), "{}", d.log());
    assert!(d.is_dropped("203.0.113.1") && !d.is_dropped("203.0.113.9"));
    let others = [&b, &c].iter().filter(|node| node.log().contains("writing a snapshot")).count();
    assert_eq!(others, 0, "one node writes it");

    one_that_is_gone_is_forgotten([&a, &b, &c], d);
    a_name_is_one_nodes(&hub, &broker, &a);
}

fn one_that_is_gone_is_forgotten(others: [&Node; 3], mut d: Node) {
    let refused = others[0].vosctl(&["cluster", "forget", "d"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("the node d is there"), "{said}");
    d.kill();
    assert!(!others[1].vosctl(&["cluster", "forget", "e"]).status.success(), "there never was one");
    others[1].told(&["cluster", "forget", "d"]);
    agree(&others);
    // it was only away
    d.restart();
    agree(&[others[0], others[1], others[2], &d]);
    d.kill();
    others[2].told(&["cluster", "forget", "d"]);
    agree(&others);
}

fn a_name_is_one_nodes(hub: &Hub, broker: &Broker<'_>, a: &Node) {
    let twin = node(hub, &broker.url(), "a");
    for node in [a, &twin] {
        wait_until("both complain", || node.log().contains("another engine calls itself a as well"));
    }
    // what has just started may not hear the first question
    wait_until("the status shows two of one name", || a.json(&["cluster", "status"])["agree"] == false);
}

/// Everything at the broker is lost; what nodes held is not.
#[test]
fn a_log_that_is_made_anew_is_filled_again() {
    if !ready() {
        return;
    }
    let hub = Hub::new();
    let broker = Broker::start(&hub.ns, Hub::ADDRESS);
    // what vos.toml says that nodes need is all that they have
    broker.ctl(&["add_user", "vos-node", "secret"]);
    broker.ctl(&["set_permissions", "vos-node", r"^vos\.", r"^(vos\.|amq\.default$)", r"^vos\."]);
    let url = broker.url().replace("guest:guest", "vos-node:secret");
    let mut a = node(&hub, &url, "a");
    let b = node(&hub, &url, "b");
    for host in 1..20 {
        a.told(&["block", &format!("203.0.113.{host}")]);
    }
    agree(&[&a, &b]);
    a.kill();
    b.told(&["unblock", "203.0.113.1"]);
    delete(&broker);
    wait_until("b has seen it", || b.log().contains("the log is another"));
    // more than the one before had
    for host in 100..160 {
        b.told(&["block", &format!("203.0.113.{host}")]);
    }
    a.restart();
    agree(&[&a, &b]);
    assert!(a.log().contains("the log is another"), "{}", a.log());
    let c = node(&hub, &url, "c");
    agree(&[&a, &b, &c]);
    for node in [&a, &b, &c] {
        assert!(node.is_dropped("203.0.113.2") && node.is_dropped("203.0.113.100"));
        assert!(!node.is_dropped("203.0.113.1"));
    }
    // while they are connected and at rest
    delete(&broker);
    c.told(&["block", "203.0.113.200"]);
    agree(&[&a, &b, &c]);
    assert!(a.is_dropped("203.0.113.200") && a.is_dropped("203.0.113.2"));
}

fn delete(broker: &Broker<'_>) {
    broker.on_channel(async |channel| {
        channel.queue_delete(LOG.into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    });
}
