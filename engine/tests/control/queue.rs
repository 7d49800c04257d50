use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use lapin::BasicProperties;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;
use vos_bench::process::output;

use crate::broker::{self, Broker};
use crate::site::{Hub, Node, wait_until};

const QUEUE: &str = "vos.block";
const DEAD: &str = "vos.block.dead";

/// Programs that a broker is made of.
const BROKER: [&str; 2] = ["rabbitmq-server", "epmd"];

/// `vos.toml` with this broker and more keys of `[amqp]`.
fn config(url: &str, more: &str) -> String {
    format!("[amqp]\nurl = \"{url}\"\n{more}\n")
}

/// The queue's feed as `vosctl feeds` shows it.
fn feed(node: &Node) -> Value {
    node.feed("amqp ")
}

/// Waits until the queue is read.
#[track_caller]
fn wait_until_read(node: &Node) {
    wait_until("the queue is read", || feed(node)["state"] == "up");
}

/// What OpenSIPS sends of this address (evi/evi_transport.c).
fn pike(address: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"E_PIKE_BLOCKED","params":{{"ip":"{address}"}}}}"#)
}

#[test]
fn a_broker_of_our_own_keeps_what_it_confirmed() {
    if !vos_bench::ready(&BROKER) {
        return;
    }
    let hub = Hub::new();
    let mut broker = Broker::start(&hub.ns, Hub::ADDRESS);
    assert_eq!(broker.depth("kept"), None);
    broker.declare("kept", FieldTable::default());
    let properties = BasicProperties::default().with_app_id("test".into());
    broker.publish_with("kept", &[b"one", b"two"], &properties);
    broker.kill("kept");
    broker.restart();
    assert_eq!(broker.depth("kept"), Some(2));
    let first = broker.get("kept").expect("two are there");
    assert_eq!(first.body, b"one");
    assert_eq!(first.properties.app_id().as_ref().map(lapin::types::ShortString::as_str), Some("test"));
    assert!(broker.ctl(&["list_queues", "-q"]).contains("kept\t1"));
    let running = || output(Command::new("ip").args(["netns", "pids", hub.ns.name()])).unwrap();
    assert!(!running().trim().is_empty());
    drop(broker);
    wait_until("nothing of it runs", || running().trim().is_empty());
}

/// From the message to the drop, each form, what is no good, and queues that somebody else has made.
#[test]
fn messages_become_drops_or_dead_letters() {
    if !vos_bench::ready(&BROKER) {
        return;
    }
    let hub = Hub::new();
    let broker = Broker::start(&hub.ns, Hub::ADDRESS);
    let mut node = Node::on(&hub);
    let disk = SmallDisk::at(node.path("state"));
    node.start(&config(&broker.url(), ""));
    wait_until_read(&node);

    assert!(!node.is_dropped("203.0.113.99"));
    broker.publish(QUEUE, &[pike("203.0.113.99").as_bytes()]);
    wait_until("OpenSIPS' event is a drop", || node.is_dropped("203.0.113.99"));
    own_exchange(&broker, &node);
    each_form(&broker, &node);
    bad_messages(&broker, &node);
    unreadable_message(&broker, &node, QUEUE, 40);
    wait_until("the broker has put it aside", || broker.depth(DEAD) == Some(1));
    // whoever takes it off there could not read it either
    broker.ctl(&["purge_queue", DEAD]);
    latency(&broker, &node);
    full_disk(&broker, &node, &disk);

    // sites of the original have a queue of another name and with arguments
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1_000));
    broker.declare("blocklist", arguments);
    broker.publish("blocklist", &[b"198.51.100.77"]);
    node.reconfigure(&config(&broker.url(), "queue = \"blocklist\"\nttl = \"5m\""));
    wait_until("the other queue is read", || node.is_dropped("198.51.100.77"));
    let ends = node.json(&["list", "--covering", "198.51.100.77"]);
    assert!(ends.to_string().contains("blocklist"), "{ends}");
    unreadable_message(&broker, &node, "blocklist", 80);
    assert!(node.log().contains("are no UTF-8 is taken off queue blocklist"), "{}", node.log());
    broker.publish(QUEUE, &[b"198.51.100.78"]);
    wait_until("the first queue is left alone", || broker.depth(QUEUE) == Some(1));
    assert!(!node.is_dropped("198.51.100.78"));
    assert_eq!(feed(&node)["name"], "amqp blocklist", "and no longer shown");
    node.stop();
}

/// The queue as the engine makes it, which ended before the exchange was there.
fn half_made(broker: &Broker<'_>) {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut arguments = FieldTable::default();
    for (name, value) in [
        ("x-queue-type", text("quorum")),
        ("x-single-active-consumer", AMQPValue::Boolean(true)),
        ("x-delivery-limit", AMQPValue::LongInt(20)),
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(DEAD)),
    ] {
        arguments.insert(name.into(), value);
    }
    broker.declare(QUEUE, arguments);
}

/// Where something is in the way of the exchange, that is told and the queue is read; once it is out of the way, messages
/// come by the exchange, whoever made the queue.
#[test]
fn the_exchange_is_seen_to_in_each_session() {
    if !vos_bench::ready(&BROKER) {
        return;
    }
    let hub = Hub::new();
    let broker = Broker::start(&hub.ns, Hub::ADDRESS);
    half_made(&broker);
    broker.on_channel(async |channel| {
        let (kind, options) = (ExchangeKind::Topic, ExchangeDeclareOptions::default());
        channel.exchange_declare(QUEUE.into(), kind, options, FieldTable::default()).await.unwrap();
    });
    let mut node = Node::on(&hub);
    node.start(&config(&broker.url(), ""));
    wait_until_read(&node);
    let error = feed(&node)["error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("making exchange vos.block"), "{error}");
    assert!(node.log().contains("nothing comes by the exchange of its name"), "{}", node.log());
    broker.publish(QUEUE, &[b"198.51.100.1"]);
    wait_until("the queue is read all the same", || node.is_dropped("198.51.100.1"));

    broker.on_channel(async |channel| {
        channel.exchange_delete(QUEUE.into(), ExchangeDeleteOptions::default()).await.unwrap();
    });
    broker.ctl(&["close_all_connections", "test"]);
    let bindings = || broker.ctl(&["list_bindings", "-q", "source_name", "destination_name"]);
    wait_until("it is bound", || bindings().lines().any(|line| line == format!("{QUEUE}\t{QUEUE}")));
    own_exchange(&broker, &node);
    let limits = broker.ctl(&["list_queues", "-q", "name", "arguments"]);
    let dead = limits.lines().find(|line| line.starts_with(DEAD)).unwrap_or_default();
    assert!(dead.contains("x-max-length-bytes") && dead.contains("67108864"), "{limits}");
    node.stop();
}

/// Who may write to the exchange that comes with the queue, and to nothing else, can block.
fn own_exchange(broker: &Broker<'_>, node: &Node) {
    broker.ctl(&["add_user", "opensips", "secret"]);
    broker.ctl(&["set_permissions", "opensips", "^$", r"^vos\.block$", "^$"]);
    let publish = |exchange: &str, body: &str| {
        broker.on_channel_as("opensips:secret", async |channel| {
            let properties = BasicProperties::default();
            broker::publish_to(&channel, exchange, QUEUE, body.as_bytes(), &properties).await
        })
    };
    assert!(publish("vos.block", "198.51.100.90").unwrap());
    wait_until("it is dropped", || node.is_dropped("198.51.100.90"));
    assert!(publish("", "198.51.100.91").unwrap_err().to_string().contains("ACCESS"));
}

fn each_form(broker: &Broker<'_>, node: &Node) {
    for (message, source) in [
        ("198.51.100.1", "198.51.100.1"),
        (" 198.51.100.2\r\n", "198.51.100.2"),
        ("198.51.100.16/28\n2001:db8:bad::7\n", "2001:db8:bad::7"),
        (r#"{"ip":"198.51.100.3"}"#, "198.51.100.3"),
        (r#"{"action":"block","ip":"198.51.100.4","ttl":900,"reason":"scanner"}"#, "198.51.100.4"),
        (r#"{"ip":"198.51.100.5","ttl":"forever"}"#, "198.51.100.5"),
        ("E_PIKE_BLOCKED\nip::198.51.100.6\n\n", "198.51.100.6"),
        (r#"["198.51.100.7", {"ip":"198.51.100.8"}]"#, "198.51.100.8"),
    ] {
        assert!(!node.is_dropped(source), "{message}");
        broker.publish(QUEUE, &[message.as_bytes()]);
        wait_until(message, || node.is_dropped(source));
    }
    assert!(node.is_dropped("198.51.100.20") && node.is_dropped("198.51.100.7"));
    broker.publish(QUEUE, &[br#"{"action":"unblock","ip":"198.51.100.4"}"#]);
    wait_until("it is unblocked", || !node.is_dropped("198.51.100.4"));
    // the same again changes nothing
    let before = feed(node);
    broker
        .publish(QUEUE, &[br#"{"action":"unblock","ip":"198.51.100.4"}"#, br#"{"ip":"198.51.100.5","ttl":"forever"}"#]);
    wait_until("it is as it was", || feed(node)["already"].as_u64() == before["already"].as_u64().map(|n| n + 2));
    assert_eq!(feed(node)["applied"], before["applied"]);
    assert_eq!(broker.depth(DEAD), Some(0));
}

/// Each is kept with the reason, and what comes after it is done.
fn bad_messages(broker: &Broker<'_>, node: &Node) {
    node.told(&["trust", "198.51.100.200"]);
    let before = feed(node);
    let table = [
        ("nonsense", "is not an address"),
        ("", "the message is empty"),
        ("\u{0}\u{1}", "is not an address"),
        ("999.1.1.1", "not a number from 0 to 255"),
        (r#"{"ip":"198.51.100.30","tll":5}"#, "unknown field `tll`"),
        (r#"{"action":"trust","ip":"198.51.100.30"}"#, "a feed may block and unblock, not `trust`"),
        (r#"{"jsonrpc":"2.0","method":"E_UL_AOR_INSERT","params":{"aor":"1"}}"#, "asks for nothing"),
        ("192.0.2.1", "an address of this host"),
        ("0.0.0.0/0", "wider than /19"),
        ("198.51.100.200", "is trusted"),
        ("198.51.100.31\n198.51.100.200\n", "is trusted"),
    ];
    let bodies: Vec<&[u8]> = table.iter().map(|(body, _)| body.as_bytes()).collect();
    let mut headers = FieldTable::default();
    headers.insert("tenant".into(), AMQPValue::LongString("7".into()));
    headers.insert("CC".into(), AMQPValue::FieldArray(vec![AMQPValue::LongString("elsewhere".into())].into()));
    let properties = BasicProperties::default().with_headers(headers).with_message_id("m".into());
    let properties = properties.with_user_id("guest".into()).with_expiration("60000".into());
    broker.publish_with(QUEUE, &bodies, &properties);
    broker.publish(QUEUE, &[b"\xff\xfe", b"198.51.100.32"]);
    wait_until("what comes after them is done", || node.is_dropped("198.51.100.32"));
    assert!(node.is_dropped("198.51.100.31"), "the good one of two");
    for (body, why) in table {
        let letter = broker.get(DEAD).unwrap_or_else(|| panic!("no dead letter of {body:?}"));
        assert_eq!(letter.body, body.as_bytes());
        let reason = letter.header("x-vos-reason").unwrap_or_default();
        assert!(reason.contains(why), "{body:?}: {reason}");
        assert_eq!(letter.header("tenant").as_deref(), Some("7"));
        assert_eq!(letter.properties.message_id().as_ref().map(lapin::types::ShortString::as_str), Some("m"));
        assert_eq!(*letter.properties.delivery_mode(), Some(2));
    }
    let letter = broker.get(DEAD).expect("the last of them");
    assert_eq!((letter.body.as_slice(), broker.get(DEAD)), (&b"\xff\xfe"[..], None));
    let after = feed(node);
    let more = |name: &str| after[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    assert_eq!((more("read"), more("bad"), more("refused"), more("applied")), (13, 8, 4, 2), "{after}");
    assert!(node.log().contains("bad messages, the last of them"), "{}", node.log());
}

/// A property that is no UTF-8 ends the client's connection. Only what cannot be read is lost.
fn unreadable_message(broker: &Broker<'_>, node: &Node, queue: &str, first: u8) {
    let before = feed(node);
    let publish = |app_id: &str, body: &str| {
        let properties = format!(
            "{{'P_basic',undefined,undefined,undefined,2,undefined,undefined,undefined,undefined,undefined,undefined,undefined,undefined,<<{app_id}>>,undefined}}"
        );
        let exchange = "rabbit_misc:r(<<\"/\">>, exchange, <<>>)";
        format!("rabbit_basic:publish({exchange}, <<\"{queue}\">>, {properties}, <<\"{body}\">>)")
    };
    let source = |n: u8| format!("198.51.100.{}", first + n);
    let good = |n: u8| publish("\"test\"", &source(n));
    let all = [good(1), good(2), publish("255,254", &source(3)), good(4), good(5)].join(", ");
    broker.ctl(&["eval", &format!("{all}.")]);
    for n in [1, 2, 4, 5] {
        wait_until("what can be read is done", || node.is_dropped(&source(n)));
    }
    wait_until("the queue is read on", || feed(node)["state"] == "up" && broker.depth(queue) == Some(0));
    // what was done and not acknowledged when the connection ended comes again
    let applied = |feed: &Value| feed["applied"].as_u64().unwrap();
    let more = applied(&feed(node)) - applied(&before);
    assert!((4..=8).contains(&more), "{more}");
    assert!(!node.is_dropped(&source(3)));
}

/// A file system of 16 MB, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: PathBuf) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some("size=16m")).unwrap();
        Self(path)
    }

    /// Leaves no byte free; gives the file that takes them.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

/// What cannot be kept is not acknowledged, and is done when there is room.
fn full_disk(broker: &Broker<'_>, node: &Node, disk: &SmallDisk) {
    let filler = disk.fill();
    let many: Vec<String> = (0..10_000).map(|n| format!("10.{}.{}.1", n >> 8, n & 255)).collect();
    broker.publish(QUEUE, &[many.join("\n").as_bytes(), b"198.51.100.99"]);
    let says_so = |feed: &Value| feed["error"].as_str().is_some_and(|error| error.contains("cannot be written"));
    wait_until("the full disk is named", || says_so(&feed(node)));
    assert!(!node.is_dropped("10.3.3.1"));
    std::fs::remove_file(filler).unwrap();
    wait_until("there is room again", || node.is_dropped("198.51.100.99"));
    assert!(node.is_dropped("10.0.0.1") && node.is_dropped("10.39.15.1"));
    wait_until("and nothing is wrong any more", || feed(node)["error"].is_null());
    assert_eq!(broker.depth(DEAD), Some(0));
}

/// How long it takes from just before it is published until a packet is dropped. For the note; nothing depends on it.
fn latency(broker: &Broker<'_>, node: &Node) {
    let (publish, wanted) = mpsc::channel::<String>();
    let (began, times) = mpsc::channel();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        scope.spawn(|| {
            broker.on_channel(async |channel| {
                for source in wanted {
                    began.send(Instant::now()).unwrap();
                    let body = pike(&source);
                    broker::publish(&channel, QUEUE, body.as_bytes(), &BasicProperties::default()).await.unwrap();
                }
            });
        });
        // gone whatever happens, or the thread would wait for more
        let publish = publish;
        let one = |n: u8| {
            let source = format!("203.0.113.{n}");
            publish.send(source.clone()).unwrap();
            let began = times.recv().unwrap();
            wait_until("it is dropped", || node.is_dropped(&source));
            began.elapsed()
        };
        (1..=20).map(one).collect()
    });
    times.sort();
    println!(
        "from publishing to the drop: {:?} at best, {:?} in the middle, {:?} at worst",
        times[0], times[10], times[19]
    );
}

/// Publishes an address each millisecond, and remembers what the broker has confirmed.
fn publish_all(url: &str, stop: &AtomicBool, confirmed: &Mutex<Vec<String>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut number = 0u32;
        while !stop.load(Relaxed) {
            // the broker is away now and then; what was not confirmed then is not counted on
            let _until_it_is_away = publish_some(url, stop, &mut number, confirmed).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

async fn publish_some(
    url: &str,
    stop: &AtomicBool,
    number: &mut u32,
    confirmed: &Mutex<Vec<String>>,
) -> lapin::Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let properties = BasicProperties::default().with_delivery_mode(2);
    let mut each = tokio::time::interval(Duration::from_millis(20));
    while !stop.load(Relaxed) {
        each.tick().await;
        let sources: Vec<String> =
            (0..20).map(|n| format!("10.{}.{}.{n}", *number >> 8 & 255, *number & 255)).collect();
        *number += 1;
        let bodies = sources.iter().map(|source| pike(source)).collect::<Vec<_>>();
        let sent = bodies.iter().map(|body| broker::publish(&channel, QUEUE, body.as_bytes(), &properties));
        let sent = futures_util::future::join_all(sent).await;
        for (source, kept) in sources.into_iter().zip(sent) {
            if kept? {
                confirmed.lock().unwrap().push(source);
            }
        }
    }
    Ok(())
}

/// Broker and engine are killed under load; each message that the broker has confirmed ends in force.
#[test]
fn what_the_broker_confirmed_is_in_force_whoever_is_killed() {
    if !vos_bench::ready(&BROKER) {
        return;
    }
    let hub = Hub::new();
    let mut broker = Broker::start(&hub.ns, Hub::ADDRESS);
    let mut node = Node::on(&hub);
    node.start(&config(&broker.url(), "ttl = \"1day\""));
    wait_until_read(&node);
    let (stop, confirmed, url) = (AtomicBool::new(false), Mutex::new(Vec::new()), broker.url());
    let count = || confirmed.lock().unwrap().len();
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| hub.ns.enter(|| publish_all(&url, &stop, &confirmed)).unwrap());
        let stop = StopAtEnd(&stop);
        let more = |what: &str| {
            let before = count();
            wait_until(what, || count() >= before + 1_000 || publisher.is_finished());
        };
        more("the first are confirmed");
        broker.kill(QUEUE);
        broker.restart();
        more("it goes on with the broker that is back");
        node.kill();
        more("the engine is away");
        node.restart();
        more("it goes on with the engine that is back");
        broker.kill(QUEUE);
        broker.restart();
        more("it goes on once more");
        drop(stop);
    });
    wait_until("the queue is empty", || broker.depth(QUEUE) == Some(0) && feed(&node)["state"] == "up");
    let confirmed = confirmed.into_inner().unwrap();
    let missing = || {
        let listed = node.json(&["list", "block"])["rules"].to_string();
        confirmed.iter().filter(|source| !listed.contains(&format!("\"{source}/32\""))).count()
    };
    // the last of them may be under way
    wait_until("all that was confirmed is listed", || missing() == 0);
    for source in confirmed.iter().step_by(confirmed.len() / 20) {
        assert!(node.is_dropped(source), "{source}");
    }
    println!("{} confirmed, all in force", confirmed.len());
    assert_eq!(broker.depth(DEAD), Some(0));
    node.stop();
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A certificate for the hub's address, signed by an authority of its own: `NAME.ca`, `NAME.crt`, `NAME.key`.
fn authority(dir: &Path, name: &str) {
    let openssl =
        |words: &str| output(Command::new("openssl").current_dir(dir).args(words.split_whitespace())).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {key} -keyout {name}.cakey -out {name}.ca -days 2 -subj /CN=test-{name}"));
    openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN=broker"));
    std::fs::write(dir.join("names"), format!("subjectAltName=IP:{}", Hub::ADDRESS)).unwrap();
    openssl(&format!(
        "x509 -req -in {name}.csr -CA {name}.ca -CAkey {name}.cakey -CAcreateserial -days 2 -extfile names -out {name}.crt"
    ));
}

#[test]
fn tls_believes_its_authority_alone_and_a_bad_password_is_named() {
    if !vos_bench::ready(&[&BROKER[..], &["openssl"]].concat()) {
        return;
    }
    let (hub, dir) = (Hub::new(), tempfile::tempdir().unwrap());
    for name in ["ours", "theirs"] {
        authority(dir.path(), name);
    }
    let file = |name: &str| dir.path().join(name);
    let broker = Broker::start_tls(&hub.ns, Hub::ADDRESS, file("ours.crt"), file("ours.key"));
    let mut node = Node::on(&hub);
    let secret = file("password");
    std::fs::write(&secret, "wrong-secret\n").unwrap();
    let keys = |ca: &str| format!("ca_file = \"{}\"\npassword_file = \"{}\"", file(ca).display(), secret.display());
    let url = |port: u16| format!("amqps://guest@{}:{port}", Hub::ADDRESS);
    let says = |node: &Node, what: &str| {
        wait_until(what, || {
            let feed = feed(node);
            let error = feed["error"].as_str().unwrap_or_default().to_owned();
            assert!(!error.contains("secret") && feed["state"] != "up", "{feed}");
            error.contains(what)
        });
    };
    node.start(&config(&url(5671), &keys("theirs.ca")));
    says(&node, "its certificate is signed by none of those in");
    node.reconfigure(&config(&url(5671), ""));
    says(&node, "signed by none of this system's: write amqp.ca_file");
    node.reconfigure(&config(&url(5672), &keys("ours.ca")));
    says(&node, "is that its port for TLS, 5671 as a rule?");
    node.reconfigure(&config(&url(5671), &keys("ours.ca")));
    says(&node, "refuses user \"guest\" with this password: correct amqp.url or amqp.password_file");
    node.reconfigure(&config(&format!("amqp://guest:guest@{}:5672/voice", Hub::ADDRESS), ""));
    says(&node, "no virtual host \"voice\" for user \"guest\"");
    node.reconfigure(&config(&format!("amqp://guest:guest@{}:5671", Hub::ADDRESS), ""));
    says(&node, "is that its port for AMQP");
    node.reconfigure(&config(&url(5671), &keys("ours.ca")));
    // the file is read anew with each try
    std::fs::write(&secret, "guest\n").unwrap();
    wait_until_read(&node);
    broker.publish(QUEUE, &[b"203.0.113.7"]);
    wait_until("it is dropped", || node.is_dropped("203.0.113.7"));
    assert!(!node.log().contains("secret"), "{}", node.log());
    assert!(broker.ctl(&["list_connections", "-q", "ssl", "client_properties"]).contains("vos-engine kn"));
    node.stop();
}
