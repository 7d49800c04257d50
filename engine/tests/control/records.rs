use lapin::options::{ExchangeDeclareOptions, QueueBindOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, ExchangeKind};
use serde_json::Value;

use crate::broker::{Broker, Message};
use crate::site::{Hub, Node, wait_until};

const EXCHANGE: &str = "vos.records";
/// A queue of whoever wants records.
const QUEUE: &str = "billing";

/// A call that the softswitch refuses.
fn refusal(call: &str) -> String {
    format!(
        "SIP/2.0 486 Busy Here\r\nVia: SIP/2.0/UDP 192.0.2.10:5061;branch=z9hG4bK{call}\r\n\
         From: <sip:1@e.com>;tag=1\r\nTo: <sip:2@e.com>;tag=2\r\nCall-ID: {call}\r\nCSeq: 1 INVITE\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

fn lines(node: &Node) -> Vec<String> {
    let text = std::fs::read_to_string(node.path("records.jsonl")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// The oldest message in the queue, once there is one.
#[track_caller]
fn next(broker: &Broker<'_>) -> Message {
    let mut got = None;
    wait_until("a record is at the broker", || {
        got = broker.get(QUEUE);
        got.is_some()
    });
    got.unwrap()
}

#[test]
fn what_is_written_down_is_at_the_exchange_too_and_waits_for_a_broker_that_is_away() {
    if !vos_bench::ready(&["rabbitmq-server", "epmd"]) {
        return;
    }
    let hub = Hub::new();
    let mut broker = Broker::start(&hub.ns, Hub::ADDRESS);
    let mut node = Node::on(&hub);
    let file = node.path("records.jsonl").display().to_string();
    let config = format!(
        "[amqp]\nurl = \"{}\"\nqueue = \"\"\n[records]\nfile = \"{file}\"\nexchange = \"{EXCHANGE}\"\n",
        broker.url()
    );
    node.start(&config);
    wait_until("the exchange is made", || node.log().contains("published to exchange vos.records"));
    broker.declare(QUEUE, FieldTable::default());
    broker.on_channel(async |channel| {
        // it is there, of this type, and outlives the broker
        let options = ExchangeDeclareOptions { passive: true, durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
        let (queue, exchange, key) = (QUEUE.into(), EXCHANGE.into(), "record.zero_duration".into());
        channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await.unwrap();
    });
    node.answer(refusal("call-1").as_bytes());
    let message = next(&broker);
    assert_eq!(lines(&node), [String::from_utf8(message.body.clone()).unwrap()]);
    let record: Value = serde_json::from_slice(&message.body).unwrap();
    for (field, value) in
        [("kind", "zero_duration"), ("source", "192.0.2.10"), ("call_id", "call-1"), ("to", "sip:2@e.com")]
    {
        assert_eq!(record[field], value, "{record}");
    }
    assert_eq!((&record["status"], &record["source_port"]), (&486.into(), &5061.into()));
    let kind = |properties: &BasicProperties| properties.content_type().as_ref().map(ToString::to_string);
    assert_eq!(
        (kind(&message.properties), message.properties.delivery_mode()),
        (Some("application/json".to_owned()), &Some(2))
    );

    // The broker is away: the file has it at once, the queue when the broker is back.
    broker.kill(QUEUE);
    wait_until("the engine has noticed", || node.log().contains("it is tried again"));
    node.answer(refusal("call-2").as_bytes());
    wait_until("it is in the file", || lines(&node).len() == 2);
    broker.restart();
    // A broker that was killed may give a message twice, and so may the engine.
    let mut message = next(&broker);
    while message.body == lines(&node)[0].as_bytes() {
        message = next(&broker);
    }
    assert_eq!(String::from_utf8(message.body).unwrap(), lines(&node)[1]);
    let counts = node.json(&["stats"])["records"].clone();
    assert_eq!((&counts["written"]["zero_duration"], &counts["lost"]["broker"]), (&2.into(), &0.into()), "{counts}");

    // A reload without the exchange.
    node.reconfigure(&format!("[records]\nfile = \"{file}\"\n"));
    node.answer(refusal("call-3").as_bytes());
    wait_until("it is in the file", || lines(&node).len() == 3);
    assert_eq!(broker.depth(QUEUE), Some(0));
    node.stop();
}
