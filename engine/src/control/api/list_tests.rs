//! Lists, history and undo, through the API.

use super::*;
use crate::control::wire::{Remembered, Undo};

#[tokio::test]
async fn a_list_comes_in_pages_and_filtered() {
    let server = Server::start().await;
    for (net, kind) in [("203.0.113.0/24", "block"), ("203.0.113.7", "allow"), ("2001:db8::/48", "trust")] {
        server.post(json!({ "net": net, "kind": kind })).await.expect("room");
    }
    let get = async |query: &str| server.call(Method::GET, &format!("/v1/rules{query}"), Value::Null).await;
    let nets = |answer: &Value| {
        let rules = answer["rules"].as_array().expect("a list").iter();
        rules.map(|rule| rule["net"].as_str().expect("a net").to_owned()).collect::<Vec<_>>()
    };
    let first = get("?limit=2").await.expect("served");
    assert_eq!(
        (nets(&first), &first["next"]),
        (vec!["203.0.113.0/24".into(), "203.0.113.7/32".into()], &json!("203.0.113.7/32,allow"))
    );
    let rest = get("?limit=2&after=203.0.113.7/32,allow").await.expect("served");
    assert_eq!((nets(&rest), &rest["next"]), (vec!["2001:db8::/48".into()], &Value::Null));
    let covering = get("?covering=203.0.113.7").await.expect("served");
    assert_eq!((nets(&covering).len(), &covering["applies"]["kind"]), (2, &json!("allow")));
    for (query, found) in [
        ("?origin=cli", 3),
        ("?origin=file", 0),
        ("?origin=cluster", 0),
        ("?since=5000", 3),
        ("?before=5000", 0),
        ("?node=b", 0),
    ] {
        assert_eq!(nets(&get(query).await.expect(query)).len(), found, "{query}");
    }
    for query in [
        "?kind=x",
        "?limit=0",
        "?limit=10001",
        "?limit=x",
        "?origin=x",
        "?since=-1",
        "?after=x",
        "?after=x,block",
        "?only=x",
    ] {
        let refused = server.client.call::<Value>(Method::GET, &format!("/v1/rules{query}"), None::<&()>).await;
        let error = refused.expect_err(query).to_string();
        assert!(error.contains("the parameters are kind (trust, block or allow), covering"), "{query}: {error}");
    }
    assert_eq!(get("?covering=999.1.1.1").await, code(400, "bad_address"));
}

#[tokio::test]
async fn what_was_done_is_remembered_and_undone() {
    let server = Server::start().await;
    let made = server.post(json!({ "net": "203.0.113.7", "kind": "block" })).await.expect("room");
    assert_eq!(made["set"], 1);
    server.post(json!({ "net": "203.0.113.8", "kind": "block" })).await.expect("room");
    let same = server.post(json!({ "net": "203.0.113.8", "kind": "block" })).await.expect("room");
    assert_eq!(same["set"], Value::Null, "nothing changed");
    let history = server.client.history(&Remembered::default()).await.expect("served").sets;
    let told: Vec<_> = history.iter().map(|set| (set.number, set.what.as_str(), set.count)).collect();
    assert_eq!(told, [(1, "block 203.0.113.7", 1), (2, "block 203.0.113.8", 1)]);
    let last = server.client.history(&Remembered { limit: Some(1) }).await.expect("served").sets;
    assert_eq!(last, history[1..]);

    let undone = server.client.undo(&Undo { number: Some(1), ..Undo::default() }).await.expect("there");
    assert_eq!((undone.set.number, undone.by, undone.restored, undone.left_count), (1, Some(3), 1, 0));
    assert_eq!(
        (server.kind("203.0.113.7"), server.kind("203.0.113.8")),
        (RuleKind::None as u32, RuleKind::Blocked as u32)
    );
    let undo = async |body: Value| server.call(Method::POST, "/v1/undo", body).await;
    assert_eq!(undo(json!({ "number": 1 })).await, code(409, "undone"));
    assert_eq!(undo(json!({ "number": 99 })).await, code(404, "no_such_change"));
    assert_eq!(undo(json!({ "id": 1 })).await, code(400, "bad_request"));
    // the last that is open
    assert_eq!(undo(json!({})).await.expect("there")["set"]["number"], 2);
    assert_eq!(undo(json!({})).await, code(404, "no_such_change"));
    // an undo is undone
    assert_eq!(undo(json!({ "number": 3 })).await.expect("there")["restored"], 1);
    assert_eq!(server.kind("203.0.113.7"), RuleKind::Blocked as u32);
}

#[tokio::test]
async fn an_undo_obeys_the_guard_and_says_what_it_left() {
    let server = Server::start().await;
    server.post(json!({ "net": "203.0.113.7", "kind": "block" })).await.expect("room");
    let old = json!({ "net": "203.0.113.7", "kind": "block" });
    server.call(Method::DELETE, "/v1/rules", old).await.expect("there");
    let own = Undo { ssh_connection: Some("203.0.113.7 4022 192.0.2.1 22".into()), ..Undo::default() };
    let undone = server.client.undo(&own).await.expect("there");
    assert_eq!((undone.by, undone.restored, undone.left_count), (None, 0, 1));
    assert!(undone.left[0].why.contains("your own session"), "{:?}", undone.left);
    assert_eq!(server.kind("203.0.113.7"), RuleKind::None as u32);
    let undone = server.client.undo(&Undo { force: true, ..own }).await.expect("there");
    assert_eq!((undone.restored, undone.left_count), (1, 0));
    assert_eq!(server.kind("203.0.113.7"), RuleKind::Blocked as u32);
}
