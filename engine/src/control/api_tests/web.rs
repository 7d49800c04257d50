//! The page: who may ask, for what, and what an answer says to a browser. Byte by byte, as over TCP.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config;
use crate::control::web;

const TOKEN: &str = "0123456789abcdef";
/// As long as anything may take: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Page {
    server: Server,
    address: SocketAddr,
    _directory: TempDir,
    token_file: PathBuf,
    served: JoinHandle<()>,
}

impl Page {
    /// With a token.
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let token_file = directory.path().join("token");
        fs::write(&token_file, TOKEN).expect("written");
        fs::set_permissions(&token_file, Permissions::from_mode(0o600)).expect("own file");
        Self::start_with(directory, token_file).await
    }

    async fn start_with(directory: TempDir, token_file: PathBuf) -> Self {
        let server = Server::start_with(&format!("[api]\ntoken_file = {token_file:?}\n")).await;
        let address = {
            let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            free.local_addr().expect("bound")
        };
        let page = config::Page { listen: Some(address) };
        let engine = Arc::clone(&server.engine) as Arc<dyn Engine>;
        let router = web::router(Arc::clone(&server.control), engine, Handle::current());
        let engine = Arc::clone(&server.engine);
        let served = tokio::spawn(web::serve(page, token_file.clone(), router, Handle::current(), async move {
            engine.events.closed().await;
        }));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "nobody listens");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { server, address, _directory: directory, token_file, served }
    }

    /// Head and body of the answer to this request.
    async fn say(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.expect("an end").expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
        (head.to_owned(), body.to_owned())
    }

    /// Status and code of the answer to `line`, with the page's Host and these header lines.
    async fn told(&self, line: &str, headers: &str, body: &str) -> (u16, String) {
        let (host, length) = (self.address, body.len());
        let request = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        answer(&self.say(&request).await)
    }

    async fn about(&self) -> Value {
        let request = format!("GET /v1/page HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        serde_json::from_str(&self.say(&request).await.1).expect("JSON")
    }

    async fn undo(&self, headers: &str, number: u64) -> (u16, String) {
        self.told("POST /v1/undo", headers, &json!({ "number": number }).to_string()).await
    }
}

/// Status, and the code of what is refused.
fn answer((head, body): &(String, String)) -> (u16, String) {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

const BEARER: &str = "Authorization: Bearer 0123456789abcdef\r\n";

#[tokio::test]
async fn it_is_one_document_that_may_run_its_own_script_and_nothing_else() {
    let page = Page::start().await;
    let (head, body) =
        page.say(&format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", page.address)).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/html; charset=utf-8"), "{head}");
    let policy = head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).expect("a policy");
    for (name, directive) in [("script", "script-src"), ("style", "style-src")] {
        let elements: Vec<&str> = body.split(&format!("<{name}")).skip(1).collect();
        assert_eq!(elements.len(), 1, "all of it stands in one {name}");
        let inner =
            elements[0].strip_prefix('>').and_then(|rest| rest.split(&format!("</{name}>")).next()).expect("no src");
        let hash = BASE64.encode(Sha256::digest(inner));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}';")), "{policy}");
    }
    for says in ["default-src 'none'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(says) && !policy.contains("unsafe"), "{policy}");
    }
    // nothing from outside, and no text that is taken for markup
    for never in ["src=", "href=", "url(", "://", "innerHTML", "outerHTML", "insertAdjacent", "document.write"] {
        assert!(!body.contains(never), "{never}");
    }
    // the token is nowhere when the page is gone
    for never in ["localStorage", "sessionStorage", "indexedDB", "cookie", "pushState"] {
        assert!(!body.contains(never), "{never}");
    }
    // and the same headers with every answer, refusals included
    for path in ["/v1/stats", "/nowhere", "/v1/events?frames=1"] {
        let (head, _) =
            page.say(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", page.address)).await;
        for says in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(says), "{path}: {head}");
        }
        assert!(!head.contains("access-control-"), "no other page may read it: {head}");
    }
}

#[tokio::test]
async fn it_is_there_under_names_of_loopback_only() {
    let page = Page::start().await;
    let port = page.address.port();
    let get = |host: &str| format!("GET /v1/stats HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
    for host in ["127.0.0.1", "localhost", "LocalHost", "[::1]", "127.8.9.1"] {
        for port in [port, 4_711] {
            let request = get(&format!("Host: {host}:{port}\r\n"));
            assert_eq!(answer(&page.say(&request).await), is(200, ""), "{host}:{port}");
        }
    }
    for host in [
        "",
        "Host:\r\n",
        "Host: attacker.example\r\n",
        "Host: attacker.example:9960\r\n",
        "Host: 127.0.0.1.attacker.example\r\n",
        "Host: localhost.attacker.example\r\n",
        "Host: localhost@attacker.example\r\n",
        "Host: attacker.example@127.0.0.1\r\n",
        "Host: 192.0.2.1\r\n",
        "Host: 0.0.0.0\r\n",
        "Host: [::]\r\n",
        "Host: 127.0.0.1\r\nHost: attacker.example\r\n",
    ] {
        assert_eq!(answer(&page.say(&get(host)).await), is(421, "bad_host"), "{host}");
    }
    let request =
        format!("GET http://attacker.example/v1/stats HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    assert_eq!(answer(&page.say(&request).await), is(421, "bad_host"));
}

#[tokio::test]
async fn no_other_page_may_ask_not_even_with_the_token() {
    let page = Page::start().await;
    let made = page.server.post(json!({ "net": "203.0.113.7", "kind": "block" })).await.expect("room");
    let number = made["set"].as_u64().expect("a number");
    let own = format!("Origin: http://{}\r\n", page.address);
    for headers in ["", own.as_str(), "Sec-Fetch-Site: same-origin\r\n", "Sec-Fetch-Site: none\r\n"] {
        for path in ["/", "/v1/stats", "/v1/page"] {
            assert_eq!(page.told(&format!("GET {path}"), headers, "").await.0, 200, "{headers}{path}");
        }
    }
    let other_port = "Origin: http://127.0.0.1:1\r\n".to_owned();
    let with_tls = own.replace("http:", "https:");
    let others = [
        "Origin: null\r\n",
        "Origin: http://attacker.example\r\n",
        &other_port,
        &with_tls,
        "Origin:\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Sec-Fetch-Site: none\r\nOrigin: http://localhost.attacker.example\r\n",
        &format!("{own}Origin: http://attacker.example\r\n"),
    ];
    for headers in others {
        for path in ["/", "/v1/stats", "/v1/events"] {
            assert_eq!(
                page.told(&format!("GET {path}"), headers, "").await,
                is(403, "other_origin"),
                "{headers}{path}"
            );
        }
        assert_eq!(page.undo(&format!("{headers}{BEARER}"), number).await, is(403, "other_origin"), "{headers}");
        let asked = format!("{headers}Access-Control-Request-Method: POST\r\n");
        assert_eq!(page.told("OPTIONS /v1/undo", &asked, "").await, is(403, "other_origin"), "{headers}");
    }
    assert_eq!(page.server.kind("203.0.113.7"), RuleKind::Blocked as u32);
}

#[tokio::test]
async fn it_shows_and_changes_nothing_but_by_an_undo() {
    let page = Page::start().await;
    for path in ["stats", "feeds", "status", "attack", "history?limit=3", "events/recent", "page"] {
        assert_eq!(page.told(&format!("GET /v1/{path}"), "", "").await, is(200, ""), "{path}");
    }
    // what the socket serves and the page does not show
    for path in ["rules", "cluster", "registrations", "suspensions", "gateways", "openapi.json"] {
        assert_eq!(page.told(&format!("GET /v1/{path}"), BEARER, "").await, is(404, "no_such_path"), "{path}");
    }
    assert_eq!(page.told("GET /metrics", BEARER, "").await, is(404, "no_such_path"));
    for query in ["events?frames=1", "events/recent?frames=1", "events/recent?reason=stealth&frames=1"] {
        assert_eq!(page.told(&format!("GET /v1/{query}"), BEARER, "").await, is(403, "not_here"), "{query}");
    }
    let block = json!({ "net": "203.0.113.7", "kind": "block" }).to_string();
    for (line, body) in [
        ("POST /v1/rules", block.as_str()),
        ("DELETE /v1/rules", &block),
        ("PUT /v1/attack", "{}"),
        ("DELETE /v1/attack", ""),
        ("PUT /v1/rule-modes", r#"{"rule":"all","mode":"off"}"#),
        ("POST /v1/reload", ""),
        ("POST /v1/import", "203.0.113.7"),
        ("DELETE /v1/history", ""),
        ("PATCH /v1/undo", "{}"),
    ] {
        assert_eq!(page.told(line, "", body).await, is(401, "unauthorized"), "{line}");
        let (status, code) = page.told(line, BEARER, body).await;
        let refused = (status == 404 && code == "no_such_path") || (status == 405 && code == "bad_method");
        assert!(refused, "{line}: {status} {code}");
    }
    assert!(page.server.control.list(&Filter::default()).is_empty());
    assert_eq!(page.server.client.status().await.expect("served").attack_left_s, None);
    // where one would look for it is said
    assert_eq!(page.told("GET /v1/undo", "", "").await, is(405, "bad_method"));
}

#[tokio::test]
async fn an_undo_takes_the_token_that_is_in_the_file_now() {
    let page = Page::start().await;
    let made = page.server.post(json!({ "net": "203.0.113.7", "kind": "block" })).await.expect("room");
    let number = made["set"].as_u64().expect("a number");
    for (headers, wrong) in
        [("", false), ("Authorization: Bearer 0123456789abcdee\r\n", true), ("Authorization: Basic eA==\r\n", false)]
    {
        assert_eq!(page.undo(headers, number).await, is(401, "unauthorized"), "{wrong}");
    }
    assert_eq!(page.server.kind("203.0.113.7"), RuleKind::Blocked as u32);
    assert_eq!(page.undo(BEARER, 4_711).await, is(404, "no_such_change"));
    assert_eq!(page.undo(BEARER, number).await, is(200, ""));
    assert_eq!(page.server.kind("203.0.113.7"), RuleKind::None as u32);
    assert_eq!(page.undo(BEARER, number).await, is(409, "undone"));
    let last = page.server.control.history().pop().expect("the undo");
    assert_eq!((last.undoes, &*last.who, last.origin.word()), (Some(number), "page", "api"));

    fs::write(&page.token_file, "fedcba9876543210").expect("written");
    assert_eq!(page.undo(BEARER, last.number).await, is(401, "unauthorized"), "the token before");
    fs::set_permissions(&page.token_file, Permissions::from_mode(0o604)).expect("own file");
    let new = "Authorization: Bearer fedcba9876543210\r\n";
    assert_eq!(page.undo(new, last.number).await, is(403, "bad_token_file"), "everybody can read it");
    fs::set_permissions(&page.token_file, Permissions::from_mode(0o640)).expect("own file");
    assert_eq!(page.undo(new, last.number).await, is(200, ""));
    assert_eq!(page.server.kind("203.0.113.7"), RuleKind::Blocked as u32, "the undo is undone");
}

#[tokio::test]
async fn without_a_token_nobody_undoes_and_the_page_knows() {
    let page = Page::start_with(tempfile::tempdir().expect("a directory"), PathBuf::new()).await;
    let made = page.server.post(json!({ "net": "203.0.113.7", "kind": "block" })).await.expect("room");
    let number = made["set"].as_u64().expect("a number");
    for headers in ["", "Authorization: Bearer \r\n", BEARER] {
        assert_eq!(page.undo(headers, number).await, is(403, "no_token_file"));
    }
    assert_eq!(page.server.kind("203.0.113.7"), RuleKind::Blocked as u32);
    assert_eq!(page.about().await["token"], json!(false));
    let with = Page::start().await.about().await;
    assert_eq!((&with["token"], with["iface"].as_str()), (&json!(true), Some("eth0")));
}

#[tokio::test]
async fn what_is_followed_ends_with_the_engine() {
    let mut page = Page::start().await;
    let mut stream = TcpStream::connect(page.address).await.expect("it listens");
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: {}\r\n\r\n", page.address);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let (mut text, mut buffer) = (String::new(), [0; 4_096]);
    while !text.contains("\r\n\r\n") {
        let got = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").expect("no error");
        assert!(got > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..got]).expect("text"));
    }
    assert!(text.contains("text/event-stream"), "{text}");
    drop(page.server.stop.take());
    text.clear();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("an end").expect("text");
    assert!(text.ends_with("0\r\n\r\n"), "{text}");
    tokio::time::timeout(PATIENCE, page.served).await.expect("an end").expect("no panic");
}
