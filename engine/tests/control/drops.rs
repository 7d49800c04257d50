//! What a block is worth: the packet of a blocked source is dropped at the NIC, of whichever family, after whatever end of
//! the engine.

use crate::site::{self, Hub, Node};

#[test]
fn a_block_is_a_drop_and_outlives_the_engine() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    for source in ["203.0.113.7", "2001:db8:bad::7"] {
        assert!(!node.is_dropped(source));
        node.told(&["block", source, "--reason", "test"]);
        assert!(node.is_dropped(source));
    }
    let blocked = |node: &Node| node.json(&["list", "block"])["rules"].as_array().unwrap().len();
    assert_eq!(blocked(&node), 2);

    node.kill();
    assert!(node.is_dropped("203.0.113.7"), "the filter stays when the engine dies");
    node.restart();
    assert!(node.is_dropped("203.0.113.7") && node.is_dropped("2001:db8:bad::7"));
    assert_eq!(blocked(&node), 2);

    node.told(&["unblock", "203.0.113.7"]);
    assert!(!node.is_dropped("203.0.113.7"));
    assert_eq!(node.vosctl(&["unblock", "203.0.113.7"]).status.code(), Some(4));
    node.reconfigure("[control]\nwidest_v4 = 24\n");
    // services look at the configuration every second
    site::wait_until("the new limit holds", || {
        let refused = node.vosctl(&["block", "203.0.112.0/23"]).status.code() == Some(1);
        assert!(!node.log().contains("ERROR"), "{}", node.log());
        refused
    });
    node.stop();
    assert_eq!(node.vosctl(&["list"]).status.code(), Some(3), "nobody is there");
}

#[test]
fn a_node_reaches_the_hub_unless_it_is_cut_off() {
    if !vos_bench::ready(&["ping"]) {
        return;
    }
    let hub = Hub::new();
    let nodes = [Node::on(&hub), Node::on(&hub)];
    let reaches = |node: &Node| {
        let ping = node.server.command("ping").args(["-c1", "-W1", Hub::ADDRESS]).output().unwrap();
        ping.status.success()
    };
    site::wait_until("both reach the hub", || nodes.iter().all(reaches));
    hub.cut(&nodes[0]);
    assert!(!reaches(&nodes[0]) && reaches(&nodes[1]));
    hub.join(&nodes[0]);
    site::wait_until("it reaches the hub again", || reaches(&nodes[0]));
}
