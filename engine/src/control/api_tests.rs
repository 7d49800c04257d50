//! The API end to end: the real client, a real socket, a real store, and a kernel that is a fake.

use std::path::PathBuf;

use hyper::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use vos_common::rule::RuleKind;

use super::*;
use crate::control::client::{Client, ClientError};
use crate::control::clock::Clock;
use crate::control::decide::Filter;
use crate::control::decision::Kind;
use crate::control::fake_kernel::FakeKernel;
use crate::control::socket::{self, Socket};
use crate::control::wire::{Listing, OldRule};
use crate::events::{SoftswitchState, Wanted};
use crate::live::fake::Site;
use crate::live::wire::Drain;

/// What it says of itself.
#[path = "api_tests/described.rs"]
mod described;
/// What is no request, and what is nearly one.
#[path = "api_tests/noise.rs"]
mod noise;
/// The same over TCP.
#[path = "api_tests/tcp.rs"]
mod tcp;
/// The page for who would rather look.
#[path = "api_tests/web.rs"]
mod web_page;

struct Fake {
    site: Site,
    events: Arc<Events>,
}

impl Measured for Fake {
    fn measure(&self, page: &mut metrics::Page<'_>) -> std::fmt::Result {
        page.counter("vos_judged", "Packets", 7)
    }
}

impl Engine for Fake {
    fn backends(&self) -> Vec<Backend> {
        let view = |backend: &crate::config::Backend| Backend {
            name: backend.name.clone(),
            address: backend.address,
            state: SoftswitchState::Alive,
            drain: backend.drain,
            sent: 1,
            received: 2,
        };
        self.site.live.in_force().config.backend.iter().map(view).collect()
    }

    fn live(&self) -> &Live {
        &self.site.live
    }

    fn relaying(&self) -> bool {
        true
    }

    fn stats(&self) -> Value {
        json!({ "mode": "relay", "judged": 7 })
    }

    fn suggest_allow(&self) -> Value {
        json!({ "candidates": [] })
    }

    fn events(&self) -> &Events {
        &self.events
    }
}

struct Server {
    directory: TempDir,
    kernel: FakeKernel,
    client: Client,
    control: Arc<Control>,
    engine: Arc<Fake>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<io::Result<()>>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// With this text in the configuration file.
    async fn start_with(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let kernel = FakeKernel::default();
        let store = directory.path().join("state/eth0.redb");
        let control = Control::open(&store, Box::new(kernel.clone()), None, || Clock::at(5_000_000_000_000, 1_000));
        let control = Arc::new(control.expect("a sound store"));
        let Socket { listener, file } = socket::bind(directory.path(), "eth0", "").expect("free");
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
            drop(file);
        };
        let events = Arc::new(Events::default());
        control.tell(Arc::clone(&events));
        let engine = Arc::new(Fake { site: Site::start(text), events });
        let served = tokio::spawn(serve(
            listener,
            Arc::clone(&control),
            Arc::clone(&engine) as Arc<dyn Engine>,
            Handle::current(),
            stopped,
        ));
        let client = Client::new(Self::path(&directory));
        Self { directory, kernel, client, control, engine, stop: Some(stop), served }
    }

    fn path(directory: &TempDir) -> PathBuf {
        socket::path(directory.path(), "eth0")
    }

    async fn call(&self, method: Method, target: &str, body: Value) -> Result<Value, (u16, String)> {
        match self.client.call(method, target, Some(&body)).await {
            Ok(value) => Ok(value),
            Err(ClientError::Refused { status, failure }) => Err((status, failure.code)),
            Err(error) => panic!("{error}"),
        }
    }

    async fn post(&self, body: Value) -> Result<Value, (u16, String)> {
        self.call(Method::POST, "/v1/rules", body).await
    }

    fn kind(&self, source: &str) -> u32 {
        self.kernel.lookup(source.parse().expect(source), 1_000)
    }
}

fn code<T>(status: u16, code: &str) -> Result<T, (u16, String)> {
    Err((status, code.to_owned()))
}

#[tokio::test]
async fn a_rule_is_made_listed_and_taken_back() {
    let server = Server::start().await;
    let made = server.post(json!({ "net": "203.0.113.0/24", "kind": "block", "ttl_s": 60, "reason": "scan" })).await;
    let made = made.expect("room");
    assert_eq!(made["rule"]["until"], 5_060);
    assert_eq!(made["replaced"], Value::Null);
    assert_eq!(made["rule"]["origin"], "cli", "the client is vosctl's");
    assert!(made["rule"]["who"].as_str().is_some_and(|who| !who.is_empty()) && made["set"] == 1, "{made}");
    assert_eq!(server.kind("203.0.113.7"), RuleKind::Blocked as u32);
    server.post(json!({ "net": "2001:db8::1", "kind": "allow" })).await.expect("room");
    let listed = server.client.list(&Listing::default()).await.expect("served").rules;
    let listed: Vec<_> = listed.iter().map(|rule| (rule.net.as_str(), rule.kind, rule.left_s)).collect();
    assert_eq!(listed, [("203.0.113.0/24", Kind::Block, Some(60)), ("2001:db8::1/128", Kind::Allow, None)]);
    assert_eq!(
        server
            .client
            .list(&Listing { kind: Some(Kind::Allow), ..Listing::default() })
            .await
            .expect("served")
            .rules
            .len(),
        1
    );
    let old = json!({ "net": "203.0.113.0/24", "kind": "block" });
    let removed = server.call(Method::DELETE, "/v1/rules", old).await.expect("it is there");
    assert_eq!((&removed["removed"]["reason"], &removed["now"]), (&json!("scan"), &Value::Null));
    assert_eq!(server.kind("203.0.113.7"), RuleKind::None as u32);
    server.post(json!({ "net": "203.0.113.0/24", "kind": "trust", "ttl_s": 60 })).await.expect("room");
    assert_eq!(server.kind("203.0.113.7"), RuleKind::Trusted as u32);
    let trusts =
        server.client.list(&Listing { kind: Some(Kind::Trust), ..Listing::default() }).await.expect("served").rules;
    assert_eq!(trusts.iter().map(|rule| rule.net.as_str()).collect::<Vec<_>>(), ["203.0.113.0/24"]);
    let old = json!({ "net": "203.0.113.0/24", "kind": "trust" });
    server.call(Method::DELETE, "/v1/rules", old).await.expect("it is there");
    let target = "/v1/rules?net=2001:db8::1%2F128&kind=allow";
    server.call(Method::DELETE, target, Value::Null).await.expect("by query as well");
    assert!(server.control.list(&Filter::default()).is_empty());
}

#[tokio::test]
async fn what_outranks_a_rule_is_told_with_it() {
    let server = Server::start().await;
    let made = server.post(json!({ "net": "198.51.100.7", "kind": "block" })).await.expect("room");
    assert!(made.get("now").is_none(), "{made}");
    for already in [false, true] {
        let made = server.post(json!({ "net": "198.51.100.7", "kind": "allow" })).await.expect("room");
        assert_eq!((&made["now"]["net"], &made["now"]["kind"]), (&json!("198.51.100.7/32"), &json!("block")));
        assert_eq!(made.get("set").is_none(), already, "{made}");
        assert_eq!(server.kind("198.51.100.7"), RuleKind::Blocked as u32, "as the answer says");
    }
    // a wider block does not reach an exception
    server.post(json!({ "net": "203.0.113.0/24", "kind": "block" })).await.expect("room");
    let made = server.post(json!({ "net": "203.0.113.7", "kind": "allow" })).await.expect("room");
    assert!(made.get("now").is_none() && server.kind("203.0.113.7") == RuleKind::Allowed as u32, "{made}");
    server.post(json!({ "net": "198.51.100.0/24", "kind": "trust" })).await.expect("room");
    let made = server.post(json!({ "net": "198.51.100.8", "kind": "block", "force": true })).await.expect("insisted");
    assert_eq!((&made["now"]["net"], &made["now"]["kind"]), (&json!("198.51.100.0/24"), &json!("trust")));
    assert_eq!(server.kind("198.51.100.8"), RuleKind::Trusted as u32, "as the answer says");
}

#[tokio::test]
async fn every_refusal_has_its_status_and_code() {
    let server = Server::start().await;
    server.control.set_guarded(vec![("192.0.2.1/32".parse().expect("a net"), "this host".into())]);
    let block = |net: &str| json!({ "net": net, "kind": "block" });
    assert_eq!(server.post(block("999.1.1.1")).await, code(400, "bad_address"));
    assert_eq!(server.post(json!({ "net": "10.0.0.1", "kind": "blok" })).await, code(400, "bad_request"));
    assert_eq!(server.post(json!({ "net": "10.0.0.1", "kind": "block", "ttl": 5 })).await, code(400, "bad_request"));
    assert_eq!(server.post(json!([])).await, code(400, "bad_request"));
    assert_eq!(server.post(json!(["10.0.0.1", "block"])).await, code(400, "bad_request"), "fields have names");
    assert_eq!(server.post(json!({ "net": "10.0.0.1", "kind": "block", "ttl_s": 0 })).await, code(400, "bad_ttl"));
    assert_eq!(server.post(json!({ "net": "10.0.0.1", "kind": "block", "ttl_s": -1 })).await, code(400, "bad_request"));
    let long = json!({ "net": "10.0.0.1", "kind": "block", "reason": "x".repeat(300) });
    assert_eq!(server.post(long).await, code(400, "bad_reason"));
    let huge = json!({ "net": "10.0.0.1", "kind": "block", "reason": "x".repeat(MAX_BODY) });
    assert_eq!(server.post(huge).await, code(413, "too_large"));
    assert_eq!(server.post(block("192.0.2.0/24")).await, code(409, "guarded"));
    let own = json!({ "net": "10.0.0.1", "kind": "block", "ssh_connection": "10.0.0.1 4022 192.0.2.1 22" });
    assert_eq!(server.post(own.clone()).await, code(409, "guarded"));
    assert_eq!(server.call(Method::DELETE, "/v1/rules", block("10.0.0.1")).await, code(404, "no_such_rule"));
    assert_eq!(server.call(Method::DELETE, "/v1/rules?kind=block", Value::Null).await, code(400, "bad_request"));
    let query = "/v1/rules?kind=block&net=10.0.0.1";
    assert_eq!(server.call(Method::DELETE, query, block("10.0.0.2")).await, code(400, "bad_request"));
    assert_eq!(server.call(Method::DELETE, query, json!({ "kind": "blok" })).await, code(400, "bad_request"));
    assert_eq!(server.call(Method::GET, "/v1/rules?kind=x", Value::Null).await, code(400, "bad_request"));
    assert_eq!(server.call(Method::GET, "/v1/rules?limit=0", Value::Null).await, code(400, "bad_request"));
    assert_eq!(server.call(Method::GET, "/v2", Value::Null).await, code(404, "no_such_path"));
    assert_eq!(server.call(Method::PUT, "/v1/rules", Value::Null).await, code(405, "bad_method"));
    server.kernel.maps().capacity = Some(0);
    assert_eq!(server.post(block("10.0.0.1")).await, code(507, "map_full"));
    server.kernel.maps().writes_left = Some(0);
    assert_eq!(server.post(block("10.0.0.1")).await, code(500, "maps"));
    assert!(server.control.list(&Filter::default()).is_empty());
    server.kernel.maps().writes_left = None;
    server.kernel.maps().capacity = None;
    server.post(block("10.0.0.0/8")).await.expect("room");
    assert_eq!(server.call(Method::DELETE, "/v1/rules", block("10.0.0.1")).await, code(404, "covered"));
    let mut insisting = own;
    insisting["force"] = json!(true);
    server.post(insisting).await.expect("insisted");
    server.post(json!({ "net": "10.1.0.0/16", "kind": "trust" })).await.expect("room");
    assert_eq!(server.post(block("10.1.2.3")).await, code(409, "trusted"));
    let mut insisting = block("10.1.2.3");
    insisting["force"] = json!(true);
    server.post(insisting).await.expect("insisted");
}

#[tokio::test]
async fn what_differs_in_the_kernel_is_told_and_put_right() {
    let server = Server::start().await;
    server.post(json!({ "net": "203.0.113.0/24", "kind": "block" })).await.expect("room");
    server.kernel.maps().entries.clear();
    let verify = |body| server.call(Method::POST, "/v1/verify", body);
    assert_eq!(verify(json!({ "repairs": true })).await, code(400, "bad_request"));
    let found = verify(json!({})).await.expect("readable");
    assert_eq!((&found["missing"], &found["repaired"]), (&json!(1), &json!(false)));
    assert_eq!(verify(json!({ "repair": true })).await.expect("readable")["missing"], 1);
    assert_eq!(server.kind("203.0.113.7"), RuleKind::Blocked as u32);
    assert_eq!(verify(Value::Null).await.expect("readable")["missing"], 0);
    assert_eq!(verify(json!({})).await.expect("readable")["missing"], 0);
}

#[tokio::test]
async fn counters_are_handed_through() {
    let server = Server::start().await;
    assert_eq!(server.client.stats().await.expect("served")["judged"], 7);
    assert_eq!(server.client.suggest_allow().await.expect("served")["candidates"], json!([]));
}

#[tokio::test]
async fn rules_are_switched_attack_mode_too_and_a_reload_ends_the_switches() {
    let server = Server::start().await;
    let put = |target: &'static str, body: Value| server.call(Method::PUT, target, body);
    let switched = put("/v1/rule-modes", json!({ "rule": "scanner", "mode": "monitor" })).await.expect("a rule");
    assert_eq!(switched, json!({ "asked": "monitor", "rules": { "scanner": "monitor" } }));
    assert_eq!(put("/v1/attack", json!({ "ttl_s": 60 })).await, Ok(json!({ "left_s": 60 })));
    let status = server.call(Method::GET, "/v1/status", Value::Null).await.expect("served");
    assert_eq!((&status["switched"], &status["attack_left_s"]), (&json!(["rules.scanner"]), &json!(60)));
    assert_eq!((&status["rules"]["scanner"], &status["profile"]), (&json!("monitor"), &json!("default")));
    assert_eq!(server.call(Method::DELETE, "/v1/attack", Value::Null).await, Ok(json!({ "left_s": null })));
    assert_eq!(put("/v1/attack", json!({})).await, Ok(json!({ "left_s": 900 })));
    server.engine.site.write("queues = 2\n");
    let reloaded = server.call(Method::POST, "/v1/reload", Value::Null).await.expect("sound");
    assert_eq!(reloaded, json!({ "changed": ["rules.scanner"], "restart": ["queues"] }));
    let status = server.client.status().await.expect("served");
    assert_eq!((status.switched.len(), status.attack_left_s), (0, Some(900)));
}

#[tokio::test]
async fn a_backend_is_drained_until_the_next_reload() {
    let server = Server::start().await;
    let file = "[relay]\nto = \"proxy\"\n[[backend]]\nname = \"a\"\naddress = \"192.0.2.7:5060\"\n";
    let none = server.client.drain(&Drain { name: "a".into(), drain: true }).await;
    assert!(matches!(&none, Err(ClientError::Refused { status: 404, failure }) if failure.code == "no_such_backend"));
    server.engine.site.write(&file.replace("[relay]\nto = \"proxy\"\n", ""));
    assert!(server.client.reload().await.is_err(), "nobody asks it: relay.to is local");
    let server = Server::start_with(file).await;
    let drained = server.client.drain(&Drain { name: "a".into(), drain: true }).await.expect("there");
    assert!(drained.backends[0].drain && drained.backends[0].name == "a");
    let put = |body| server.call(Method::PUT, "/v1/backends", body);
    assert_eq!(put(json!({ "name": "b", "drain": true })).await, code(404, "no_such_backend"));
    assert_eq!(put(json!({ "name": "a" })).await, code(400, "bad_request"));
    assert_eq!(server.client.status().await.expect("served").switched, ["backend"]);
    server.client.reload().await.expect("sound");
    assert!(!server.client.backends().await.expect("served").backends[0].drain);
}

#[tokio::test]
async fn every_refusal_of_a_switch_has_its_status_and_code() {
    let server = Server::start().await;
    let put = |target: &'static str, body: Value| server.call(Method::PUT, target, body);
    assert_eq!(put("/v1/rule-modes", json!({ "rule": "scaner", "mode": "off" })).await, code(400, "bad_rule"));
    assert_eq!(put("/v1/rule-modes", json!({ "rule": "scanner", "mode": "on" })).await, code(400, "bad_request"));
    assert_eq!(put("/v1/attack", json!({ "ttl_s": 0 })).await, code(400, "bad_ttl"));
    assert_eq!(put("/v1/attack", json!({ "ttl_s": u64::MAX })).await, code(400, "bad_ttl"));
    assert_eq!(put("/v1/attack", json!({ "ttl": 60 })).await, code(400, "bad_request"));
    assert_eq!(put("/v1/attack", json!([])).await, code(400, "bad_request"));
    assert_eq!(server.call(Method::GET, "/v1/reload", Value::Null).await, code(405, "bad_method"));
    server.engine.site.write("[xdp]\nmode = \"shut\"\n");
    let error = server.client.reload().await.expect_err("no such mode").to_string();
    assert!(error.contains("vos.toml:2: `xdp.mode`"), "{error}");
    assert_eq!(server.call(Method::POST, "/v1/reload", Value::Null).await, code(400, "bad_config"));
    server.engine.site.kernel.break_down();
    assert_eq!(put("/v1/rule-modes", json!({ "rule": "all", "mode": "off" })).await, code(500, "maps"));
    assert_eq!(put("/v1/attack", json!({})).await, code(500, "maps"));
}

#[tokio::test]
async fn a_stop_is_orderly_and_a_client_is_told_that_nobody_is_there() {
    let mut server = Server::start().await;
    server.client.stats().await.expect("served");
    // a client that never finishes does not hold up the stop for good
    let _idle = tokio::net::UnixStream::connect(server.client.path()).await.expect("served");
    server.stop.take().map(|stop| stop.send(()));
    server.served.await.expect("no panic").expect("no error");
    assert!(!Server::path(&server.directory).exists());
    let error = server.client.stats().await.expect_err("nobody is there").to_string();
    assert!(error.contains("eth0.sock") && error.contains("is vos-engine running?"), "{error}");
}

#[tokio::test]
async fn many_at_once_all_count() {
    let server = Arc::new(Server::start().await);
    let posts = (0..50).map(|i| {
        let server = Arc::clone(&server);
        tokio::spawn(async move { server.post(json!({ "net": format!("10.0.0.{i}"), "kind": "block" })).await })
    });
    for post in posts.collect::<Vec<_>>() {
        post.await.expect("no panic").expect("room");
    }
    assert_eq!(server.control.list(&Filter::default()).len(), 50);
}

#[tokio::test]
async fn rules_that_come_and_go_are_events_for_whoever_follows() {
    let server = Server::start().await;
    let mut following = server.client.follow(&Wanted::default()).await.expect("a stream");
    server.post(json!({ "net": "203.0.113.0/24", "kind": "block", "reason": "a\u{1b}b" })).await.expect("made");
    let made = following.next().await.expect("news").expect("not the end");
    assert_eq!((&made["kind"], &made["change"], &made["rule"]), (&json!("rule"), &json!("made"), &json!("block")));
    assert_eq!((&made["net"], &made["reason"]), (&json!("203.0.113.0/24"), &json!("a\u{1b}b")));
    let gone = OldRule { net: "203.0.113.0/24".into(), kind: Kind::Block };
    server.client.remove(&gone).await.expect("removed");
    assert_eq!(following.next().await.expect("news").expect("not the end")["change"], json!("taken_back"));
    assert_eq!(server.client.recent(&Wanted::default()).await.expect("an answer").events.len(), 2);
    let blocked = Wanted { reason: Some("blocked".into()), frames: true };
    assert_eq!(server.client.recent(&blocked).await.expect("an answer").events.len(), 0);
}

#[tokio::test]
async fn a_stop_ends_streams_at_once() {
    let mut server = Server::start().await;
    let mut following = server.client.follow(&Wanted::default()).await.expect("a stream");
    let started = std::time::Instant::now();
    drop(server.stop.take());
    assert_eq!(following.next().await.expect("a whole stream"), None);
    server.served.await.expect("no panic").expect("a clean end");
    assert!(started.elapsed() < GRACE, "the stop waited for the stream");
}

#[tokio::test]
async fn a_reason_that_is_none_is_refused_with_those_that_are() {
    let server = Server::start().await;
    let refused = server.call(Method::GET, "/v1/events?reason=nonsense", json!(null)).await;
    assert_eq!(refused, code(400, "no_such_reason"));
    for query in ["frames=2", "frames=", "colour=red"] {
        let refused = server.call(Method::GET, &format!("/v1/events/recent?{query}"), json!(null)).await;
        assert_eq!(refused, code(400, "bad_request"), "{query}");
    }
    let wanted = Wanted { reason: Some("stealth".into()), frames: true };
    assert!(server.client.recent(&wanted).await.expect("an answer").events.is_empty());
}

#[path = "api/import_tests.rs"]
mod import;
#[path = "api/list_tests.rs"]
mod list;
