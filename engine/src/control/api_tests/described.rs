//! What the API says of itself, against what it does.

use super::*;
use crate::control::wire::Failure;

/// Does `value` have the form that `schema` asks for? As much of JSON Schema 2020-12 as the description uses; a word of
/// it that is not known here is a failure.
fn check(api: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(words) = schema.as_object() else { return Err(format!("{at}: no schema: {schema}")) };
    let wrong = |what: &str| Err(format!("{at}: {value} {what}: {schema}"));
    for (word, asked) in words {
        match word.as_str() {
            "$ref" => {
                let name =
                    asked.as_str().and_then(|text| text.strip_prefix("#/components/schemas/")).expect("a local name");
                let found = &api["components"]["schemas"][name];
                check(api, found, value, &format!("{at}({name})"))?;
            }
            "type" => {
                let types: Vec<&str> = match asked {
                    Value::String(one) => vec![one],
                    several => several.as_array().expect("types").iter().filter_map(Value::as_str).collect(),
                };
                let is = |kind: &&str| match *kind {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("{other}"),
                };
                if !types.iter().any(is) {
                    return wrong("is of another type");
                }
            }
            "enum" if !asked.as_array().expect("words").contains(value) => return wrong("is none of these"),
            "required" => {
                let names = asked.as_array().expect("names").iter().filter_map(Value::as_str);
                if let Some(missing) = value.as_object().and_then(|v| names.into_iter().find(|n| !v.contains_key(*n))) {
                    return wrong(&format!("lacks {missing}"));
                }
            }
            "properties" => {
                for (name, schema) in asked.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(api, schema, value, &format!("{at}.{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                let known = words.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    let is_known = known.is_some_and(|known| known.contains_key(name));
                    match asked {
                        Value::Bool(false) if !is_known => return wrong(&format!("has {name}")),
                        Value::Object(_) if !is_known => check(api, asked, value, &format!("{at}.{name}"))?,
                        _ => {}
                    }
                }
            }
            "items" if asked.is_object() => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(api, asked, item, &format!("{at}[{n}]"))?;
                }
            }
            "allOf" => asked.as_array().expect("schemas").iter().try_for_each(|one| check(api, one, value, at))?,
            "oneOf" | "anyOf" => {
                let fits = asked.as_array().expect("schemas").iter().filter(|one| check(api, one, value, at).is_ok());
                let fits = fits.count();
                if fits == 0 || (word == "oneOf" && fits > 1) {
                    return wrong(&format!("fits {fits}"));
                }
            }
            "minimum" if value.is_number() && value.as_f64() < asked.as_f64() => return wrong("is too small"),
            "maximum" if value.is_number() && value.as_f64() > asked.as_f64() => return wrong("is too large"),
            "description" | "format" | "enum" | "minimum" | "maximum" | "propertyNames" | "prefixItems" | "items"
            | "default" | "discriminator" => {}
            other => panic!("{at}: {other} is not looked at here"),
        }
    }
    Ok(())
}

/// The schema of a body.
fn body<'a>(holder: &'a Value, kind: &str) -> &'a Value {
    &holder["content"][kind]["schema"]
}

async fn described(server: &Server) -> Value {
    server.call(Method::GET, "/v1/openapi.json", Value::Null).await.expect("served")
}

#[tokio::test]
async fn every_route_is_described_and_everything_described_is_served() {
    let server = Server::start().await;
    let api = described(&server).await;
    assert_eq!(api["openapi"].as_str().map(|version| &version[..4]), Some("3.1."));
    let paths = api["paths"].as_object().expect("paths");
    let refused = server.client.call::<Value>(Method::GET, "/nowhere", None::<&()>).await.expect_err("no such path");
    for (path, item) in paths {
        assert!(refused.to_string().contains(path.as_str()), "{path} is not named by {refused}");
        for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
            let is_described = item.get(method.as_str().to_lowercase()).is_some();
            // a body that is no JSON: nothing is done, and a path that takes the method says so
            let answer = status(&server, &method, path).await;
            assert_eq!(answer != 405, is_described, "{method} {path}: {answer}");
            // there is no cluster
            assert_eq!(answer == 404, is_described && path == "/v1/cluster", "{method} {path}");
            if is_described {
                let told = &item[method.as_str().to_lowercase()]["responses"][answer.to_string()];
                assert!(told.is_object(), "{method} {path}: {answer} is not described");
            }
        }
    }
    let operations = paths.values().flat_map(|item| item.as_object().expect("methods").values());
    let mut names: Vec<&str> = operations.filter_map(|operation| operation["operationId"].as_str()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "an operationId is there twice");
}

/// A counter may be larger than any signed number, and is taken so.
#[tokio::test]
async fn numbers_are_described_as_large_as_they_are_taken() {
    let server = Server::start().await;
    let api = described(&server).await;
    assert_eq!(api["components"]["schemas"]["Rule"]["properties"]["made"]["format"], "uint64");
    server.call(Method::GET, &format!("/v1/rules?since={}", u64::MAX), Value::Null).await.expect("none so late");
}

/// The status of an answer to this, with a body that is no JSON. The body is not read: events have no end.
async fn status(server: &Server, method: &Method, path: &str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::UnixStream::connect(server.client.path()).await.expect("served");
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.expect("an answer");
    std::str::from_utf8(&line[9..]).expect("digits").parse().expect("a status")
}

#[tokio::test]
async fn what_is_asked_and_answered_has_the_form_that_is_described() {
    let proxy = "[relay]\nto = \"proxy\"\n[[backend]]\nname = \"a\"\naddress = \"192.0.2.7:5060\"\n";
    let server = Server::start_with(proxy).await;
    let api = described(&server).await;
    let table = [
        (Method::POST, "/v1/rules", json!({ "net": "203.0.113.0/24", "kind": "block", "ttl_s": 60, "reason": "scan" })),
        (Method::POST, "/v1/rules", json!({ "net": "203.0.113.0/24", "kind": "block" })),
        (Method::GET, "/v1/rules?covering=203.0.113.7&limit=1", Value::Null),
        (Method::GET, "/v1/history?limit=5", Value::Null),
        (Method::POST, "/v1/undo", json!({ "force": true })),
        (Method::DELETE, "/v1/rules", json!({ "net": "203.0.113.0/24", "kind": "block" })),
        (Method::GET, "/v1/stats", Value::Null),
        (Method::GET, "/v1/suggest-allow", Value::Null),
        (Method::GET, "/v1/feeds", Value::Null),
        (Method::GET, "/v1/events/recent?frames=1", Value::Null),
        (Method::GET, "/v1/status", Value::Null),
        (Method::POST, "/v1/reload", Value::Null),
        (Method::PUT, "/v1/rule-modes", json!({ "rule": "scanner", "mode": "monitor" })),
        (Method::GET, "/v1/backends", Value::Null),
        (Method::GET, "/v1/gateways", Value::Null),
        (Method::GET, "/v1/registrations?whom=100&offline=true&limit=5", Value::Null),
        (Method::PUT, "/v1/backends", json!({ "name": "a", "drain": true })),
        (Method::GET, "/v1/attack", Value::Null),
        (Method::PUT, "/v1/attack", json!({ "ttl_s": 60 })),
        (Method::DELETE, "/v1/attack", Value::Null),
        (Method::GET, "/v1/openapi.json", Value::Null),
    ];
    for (method, target, asked) in table {
        let path = target.split('?').next().unwrap_or(target);
        let operation = &api["paths"][path][method.as_str().to_lowercase()];
        let form = body(&operation["requestBody"], "application/json");
        if !form.is_null() {
            check(&api, form, &asked, &format!("{method} {path}")).expect("a body as described");
            let mut strange = asked.clone();
            strange["strange"] = json!(1);
            assert!(check(&api, form, &strange, path).is_err(), "{method} {path}: unknown keys are refused");
            let refused = server.call(method.clone(), target, strange).await;
            assert_eq!(refused.map_err(|(status, _)| status), Err(400), "{method} {path}");
        }
        let answer = server.call(method.clone(), target, asked).await.expect(target);
        let form = body(&operation["responses"]["200"], "application/json");
        check(&api, form, &answer, &format!("answer to {method} {path}")).expect("an answer as described");
    }
    let failure = serde_json::to_value(Failure { error: "e".into(), code: "c".into() }).expect("JSON");
    let refused = body(&api["paths"]["/v1/rules"]["post"]["responses"]["400"], "application/json");
    check(&api, refused, &failure, "failure").expect("a failure as described");
}

#[tokio::test]
async fn the_page_of_metrics_says_what_was_decided() {
    let server = Server::start().await;
    server.post(json!({ "net": "203.0.113.0/24", "kind": "block" })).await.expect("room");
    server.post(json!({ "net": "198.51.100.7", "kind": "allow" })).await.expect("room");
    let page = || metrics::text(vec![Arc::clone(&server.control) as Arc<dyn Measured>], Format::Open).expect("room");
    assert!(page().contains("vos_decisions{kind=\"block\",origin=\"cli\"} 1.0\n"), "{}", page());
    assert!(page().contains("vos_decisions{kind=\"allow\",origin=\"cli\"} 1.0\n"), "{}", page());
    assert!(page().contains("vos_decisions{kind=\"block\",origin=\"amqp\"} 0.0\n"), "{}", page());
    assert!(page().contains("vos_projection_failures_total 0\n"), "{}", page());
    let old = json!({ "net": "203.0.113.0/24", "kind": "block" });
    server.call(Method::DELETE, "/v1/rules", old).await.expect("it is there");
    assert!(page().contains("vos_decisions{kind=\"block\",origin=\"cli\"} 0.0\n"), "{}", page());
    server.kernel.maps().writes_left = Some(0);
    server.post(json!({ "net": "203.0.113.0/24", "kind": "block" })).await.expect_err("the kernel refuses");
    assert!(!page().contains("vos_projection_failures_total 0\n"), "{}", page());
}
