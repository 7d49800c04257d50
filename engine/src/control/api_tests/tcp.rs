//! Over TCP, byte by byte: what is sent and read here no HTTP library has written.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::*;
use crate::config;
use crate::control::connections::CONNECTIONS_PER_ADDRESS;
use crate::control::tcp::serve as serve_tcp;
use crate::events::{BEHIND_MAX, Event, Pressure, What};

const TOKEN: &str = "0123456789abcdef";
/// As long as anything may take: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Tcp {
    server: Server,
    address: SocketAddr,
    served: JoinHandle<()>,
}

impl Tcp {
    /// Lets only 127.0.0.1 and 127.0.0.3 in.
    async fn start() -> Self {
        let server = Server::start().await;
        let token_file = server.directory.path().join("token");
        fs::write(&token_file, TOKEN).expect("written");
        fs::set_permissions(&token_file, Permissions::from_mode(0o600)).expect("own file");
        // a port that is free now
        let address = {
            let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            free.local_addr().expect("bound")
        };
        let allow = ["127.0.0.1/32", "127.0.0.3/32"].map(|net| net.parse().expect("a net")).to_vec();
        let api = config::Api { listen: Some(address), token_file, allow };
        let router =
            router(Arc::clone(&server.control), Arc::clone(&server.engine) as Arc<dyn Engine>, Handle::current());
        let engine = Arc::clone(&server.engine);
        let served =
            tokio::spawn(serve_tcp(api, router, Handle::current(), async move { engine.events.closed().await }));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "nobody listens");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { server, address, served }
    }

    async fn connect_from(&self, last: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("loopback");
        socket.connect(self.address).await.expect("it listens")
    }

    /// Sends this from 127.0.0.1; all that comes back until the connection is closed.
    async fn say(&self, text: &str) -> String {
        let mut stream = self.connect_from(1).await;
        stream.write_all(text.as_bytes()).await.expect("sent");
        read_all(&mut stream).await
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // who is cut off may be reset
    let _reset = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("an end");
    String::from_utf8(text).expect("text")
}

/// Reads until this has come.
async fn read_until(stream: &mut TcpStream, what: &str) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4_096]);
    while !text.contains(what) {
        let got = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").expect("no error");
        assert!(got > 0, "{what} never came: {text}");
        text.push_str(std::str::from_utf8(&buffer[..got]).expect("text"));
    }
    text
}

fn get(path: &str, header: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: vos\r\n{header}Connection: close\r\n\r\n")
}

fn with_token(path: &str) -> String {
    get(path, &format!("Authorization: Bearer {TOKEN}\r\n"))
}

#[tokio::test]
async fn only_who_shows_the_token_is_heard() {
    let tcp = Tcp::start().await;
    let long = "x".repeat(2_000);
    let wrong = [
        (String::new(), false),
        ("Authorization: Basic MDEyMzQ1Njc4OWFiY2RlZg==\r\n".to_owned(), false),
        ("Authorization: Bearer\r\n".to_owned(), false),
        ("Authorization: Bearer \r\n".to_owned(), false),
        ("Authorization: Bearer 0123456789abcdeg\r\n".to_owned(), true),
        ("Authorization: Bearer 0123456789abcde\r\n".to_owned(), true),
        (format!("Authorization: Bearer {TOKEN}0\r\n"), true),
        (format!("Authorization: Bearer {long}\r\n"), true),
        (format!("X-Authorization: Bearer {TOKEN}\r\n"), false),
    ];
    for (header, shown) in wrong {
        for path in ["/v1/stats", "/metrics", "/v1/events", "/nowhere"] {
            let answer = tcp.say(&get(path, &header)).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{header}{path}: {answer}");
            let answer = answer.to_ascii_lowercase();
            assert!(answer.contains("www-authenticate: bearer realm=\"vos\""), "{answer}");
            assert_eq!(answer.contains("invalid_token"), shown, "{header}{path}");
            assert!(answer.contains("\"code\":\"unauthorized\"") && !answer.contains(TOKEN), "{answer}");
        }
    }
    for header in [format!("Authorization: Bearer {TOKEN}\r\n"), format!("authorization: bEARER {TOKEN} \r\n")] {
        let answer = tcp.say(&get("/v1/stats", &header)).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"judged\":7"), "{answer}");
    }
    for (accept, given) in [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "Accept: text/plain\r\nAccept: application/openmetrics-text;version=1.0.0\r\n",
            "application/openmetrics-text",
        ),
    ] {
        let page = tcp.say(&get("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n{accept}"))).await;
        assert!(page.contains(given) && page.contains("vos_judged_total 7\n"), "{accept}{page}");
    }
}

#[tokio::test]
async fn who_is_not_named_gets_no_answer_at_all() {
    let tcp = Tcp::start().await;
    let mut stranger = tcp.connect_from(2).await;
    let _may_be_closed_already = stranger.write_all(with_token("/v1/stats").as_bytes()).await;
    assert_eq!(read_all(&mut stranger).await, "");
    assert!(tcp.say(&with_token("/v1/stats")).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_decision_says_from_where_it_came_whatever_the_program_calls_itself() {
    let tcp = Tcp::start().await;
    let post = |body: &str| {
        let length = body.len();
        format!(
            "POST /v1/rules HTTP/1.1\r\nHost: vos\r\nAuthorization: Bearer {TOKEN}\r\nUser-Agent: vosctl/9\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    };
    let answer = tcp.say(&post(r#"{"net":"203.0.113.7","kind":"block"}"#)).await;
    assert!(answer.contains("\"origin\":\"api\"") && answer.contains("\"who\":\"TCP 127.0.0.1\""), "{answer}");
    let answer = tcp.say(&post(r#"{"net":"127.0.0.0/24","kind":"block"}"#)).await;
    assert!(answer.starts_with("HTTP/1.1 409 ") && answer.contains("your own session"), "{answer}");
}

#[tokio::test]
async fn those_that_say_nothing_hold_up_nobody_else() {
    let tcp = Tcp::start().await;
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS_PER_ADDRESS {
        let mut stream = tcp.connect_from(3).await;
        stream.write_all(b"GET /v1/stats HTTP/1.1\r\nX-Slow").await.expect("taken");
        slow.push(stream);
    }
    let mut one_more = tcp.connect_from(3).await;
    assert_eq!(read_all(&mut one_more).await, "", "their address has no place left");
    assert!(tcp.say(&with_token("/v1/stats")).await.starts_with("HTTP/1.1 200 "), "others have");
    drop(slow.pop());
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut again = tcp.connect_from(3).await;
        let _may_be_closed_already = again.write_all(with_token("/v1/stats").as_bytes()).await;
        if read_all(&mut again).await.starts_with("HTTP/1.1 200 ") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "a place that is given up is free");
    }
}

#[tokio::test]
async fn a_header_or_a_body_too_large_is_refused() {
    let tcp = Tcp::start().await;
    let header = format!("Authorization: Bearer {TOKEN}\r\nX-Fill: {}\r\n", "x".repeat(32 * 1024));
    let answer = tcp.say(&get("/v1/stats", &header)).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let body = "x".repeat(MAX_BODY + 1);
    let request = format!(
        "POST /v1/rules HTTP/1.1\r\nHost: vos\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    assert!(tcp.say(&request).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn events_come_as_they_happen_and_end_with_the_engine() {
    let mut tcp = Tcp::start().await;
    let mut stream = tcp.connect_from(1).await;
    stream.write_all(with_token("/v1/events").as_bytes()).await.expect("sent");
    let head = read_until(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: text/event-stream"), "{head}");
    let change = Pressure { begins: true, socket: None, seconds: None, given_up: None };
    tcp.server.engine.events.publish(Event::at(1_500_000_000, What::Pressure(change)));
    let told = read_until(&mut stream, "\n\n").await;
    assert!(told.contains("data: {\"time\":1.5,\"kind\":\"pressure\",\"begins\":true}\n\n"), "{told}");
    drop(tcp.server.stop.take());
    // the last chunk says that nothing is missing (RFC 9112 §7.1)
    assert!(read_all(&mut stream).await.ends_with("0\r\n\r\n"));
    tokio::time::timeout(PATIENCE, tcp.served).await.expect("an end").expect("no panic");
    assert!(TcpStream::connect(tcp.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn who_reads_too_slowly_is_told_how_many_are_lost() {
    let tcp = Tcp::start().await;
    let mut stream = tcp.connect_from(1).await;
    stream.write_all(with_token("/v1/events").as_bytes()).await.expect("sent");
    read_until(&mut stream, "\r\n\r\n").await;
    // nobody else runs meanwhile: it is as if the client took nothing
    for _ in 0..2 * BEHIND_MAX {
        let change = Pressure { begins: true, socket: None, seconds: None, given_up: None };
        tcp.server.engine.events.publish(Event::at(0, What::Pressure(change)));
    }
    read_until(&mut stream, &format!("\"kind\":\"lost\",\"events\":{BEHIND_MAX}}}")).await;
}

#[tokio::test]
async fn a_token_that_is_no_good_is_not_served() {
    let server = Server::start().await;
    let token_file = server.directory.path().join("token");
    fs::write(&token_file, TOKEN).expect("written");
    fs::set_permissions(&token_file, Permissions::from_mode(0o644)).expect("own file");
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("bound");
    let api = config::Api { listen: Some(free), token_file, allow: vec!["0.0.0.0/0".parse().expect("a net")] };
    let router = router(Arc::clone(&server.control), Arc::clone(&server.engine) as Arc<dyn Engine>, Handle::current());
    let served = serve_tcp(api, router, Handle::current(), std::future::pending());
    tokio::time::timeout(PATIENCE, served).await.expect("it ends at once");
    assert!(TcpStream::connect(free).await.is_err());
}
