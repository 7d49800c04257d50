use lapin::BasicProperties;
use lapin::types::FieldTable;
use vos_bench::NetNs;

use crate::broker::Broker;
use crate::site;

#[test]
fn a_broker_of_our_own_keeps_what_it_confirmed() {
    if !site::ready(&["rabbitmq-server", "epmd"]) {
        return;
    }
    let ns = NetNs::new("kbroker").unwrap();
    let mut broker = Broker::start(&ns, "127.0.0.1");
    assert_eq!(broker.depth("kept"), None);
    broker.declare("kept", FieldTable::default());
    let properties = BasicProperties::default().with_app_id("test".into());
    broker.publish_with("kept", &[b"one", b"two"], &properties);
    broker.kill();
    broker.restart();
    assert_eq!(broker.depth("kept"), Some(2));
    let first = broker.get("kept").expect("two are there");
    assert_eq!(
        (first.body.as_slice(), first.properties.app_id().as_ref().map(|id| id.as_str())),
        (&b"one"[..], Some("test"))
    );
    assert!(broker.ctl(&["list_queues", "-q"]).contains("kept\t1"));
    let pids =
        || vos_bench::process::output(std::process::Command::new("ip").args(["netns", "pids", ns.name()])).unwrap();
    assert!(!pids().trim().is_empty());
    drop(broker);
    site::wait_until("nothing of it runs", || pids().trim().is_empty());
}
