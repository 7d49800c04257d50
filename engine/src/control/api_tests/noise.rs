//! Noise at the socket: bytes by chance, and requests spoilt by chance. Whatever comes, nothing panics, no fault is found
//! inside, and whoever comes next is served.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;

/// How many are sent.
const NOISES: usize = 4_000;
/// Of these so many at once.
const AT_ONCE: usize = 40;
/// How long the server may say nothing until it is told that nothing more comes. It decides only how much is said: longer,
/// and the test takes longer.
const SILENCE: Duration = Duration::from_millis(20);
/// As long as anything may take: this machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Threads of the server are called so.
const NAME: &str = "noise";

/// What every way into the API takes; `{}` is the rest of its header.
const SOUND: [(&str, &str); 26] = [
    ("GET /v1/rules?kind=block&limit=3&after=10.0.0.0%2F8,block {}", ""),
    ("GET /v1/rules?covering=203.0.113.7&origin=cli&since=1&before=9999999999 {}", ""),
    ("POST /v1/rules {}", r#"{"net":"203.0.113.0/24","kind":"block","ttl_s":3600,"reason":"a\u001b\"b","force":true}"#),
    (
        "POST /v1/rules {}",
        r#"{"net":"2001:db8::/48","kind":"allow","until":4102444800,"ssh_connection":"::1 1 ::1 22"}"#,
    ),
    ("POST /v1/rules {}", r#"{"net":"198.51.100.7","kind":"trust"}"#),
    ("DELETE /v1/rules {}", r#"{"net":"203.0.113.0/24","kind":"block"}"#),
    ("DELETE /v1/rules?net=2001:db8::%2F48&kind=allow {}", ""),
    ("GET /v1/history?limit=5 {}", ""),
    ("POST /v1/undo {}", r#"{"number":1,"force":true}"#),
    (
        "POST /v1/import?name=x&ttl_s=60&reason=r&strict=true&dry_run=false&force=true {}",
        "10.0.0.1 ttl=1h\n# x\n999.1.1.1\n::1\n",
    ),
    ("POST /v1/import {}", "203.0.113.7 until=2127-01-01T00:00:00Z kind=allow reason=a # b\n10.0.0.0/8\n"),
    ("POST /v1/verify {}", r#"{"repair":true}"#),
    ("GET /v1/stats {}", ""),
    ("GET /v1/suggest-allow {}", ""),
    ("GET /metrics {}", ""),
    ("GET /v1/feeds {}", ""),
    ("DELETE /v1/cluster {}", r#"{"node":"a"}"#),
    ("GET /v1/events?reason=stealth&frames=1 {}", ""),
    ("GET /v1/events/recent?reason=scanner {}", ""),
    ("POST /v1/reload {}", ""),
    ("PUT /v1/rule-modes {}", r#"{"rule":"scanner","mode":"monitor"}"#),
    ("PUT /v1/backends {}", r#"{"name":"a","drain":true}"#),
    ("GET /v1/gateways {}", ""),
    ("GET /v1/attack {}", ""),
    ("PUT /v1/attack {}", r#"{"ttl_s":60}"#),
    ("GET /v1/openapi.json {}", ""),
];

/// Chance with a seed: what fails once fails again.
struct Chance(TestRng);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0.next_u64() as usize % end.max(1)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A request as it should be, in one of the forms that HTTP/1.1 has.
    fn request(&mut self) -> Vec<u8> {
        let (line, body) = SOUND[self.below(SOUND.len())];
        let head = "HTTP/1.1\r\nHost: vos\r\nUser-Agent: vosctl/1\r\nContent-Type: application/json\r\n";
        let (length, body) = match self.below(4) {
            0 if !body.is_empty() => {
                let (first, second) = body.split_at(body.len() / 2);
                let chunks = format!("{:x}\r\n{first}\r\n{:x};x=y\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
                ("Transfer-Encoding: chunked".to_owned(), chunks)
            }
            _ => (format!("Content-Length: {}", body.len()), body.to_owned()),
        };
        format!("{}{body}", line.replace("{}", &format!("{head}{length}\r\n\r\n"))).into_bytes()
    }

    /// Such a request with some of it spoilt.
    fn spoilt(&mut self) -> Vec<u8> {
        let mut bytes = self.request();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            let to = (at + 1 + self.below(12)).min(bytes.len());
            match self.below(10) {
                0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (at % 8)),
                1 => bytes.truncate(at),
                2 => drop(bytes.drain(at..to)),
                3 => drop(bytes.splice(at..to, self.bytes(to - at))),
                // the same again: a header, a key, a chunk
                4 => drop(bytes.splice(at..at, bytes[at..].to_vec())),
                5 => drop(bytes.splice(at..at, vec![b'9'; self.below(40)])),
                6 => {
                    let long = vec![b'x'; self.below(64 * 1024)];
                    insert(&mut bytes, b"HTTP/1.1\r\n", &[b"X-Long: ", &long[..], b"\r\n"].concat());
                }
                7 => insert(&mut bytes, b"Content-Length: ", b"1"),
                8 => insert(&mut bytes, b"\r\n\r\n", b"fffffffffffffffff\r\n"),
                _ => {
                    let words: [&[u8]; 8] = [
                        b"null",
                        b"-1",
                        b"[[[[[[",
                        b"1e999",
                        b"\"\\ud800\"",
                        b"%00",
                        b"18446744073709551616",
                        b"{\"a\":",
                    ];
                    let word = words[self.below(words.len())];
                    drop(bytes.splice(at..to, word.iter().copied()));
                }
            }
        }
        bytes
    }

    fn noise(&mut self) -> Vec<u8> {
        match self.below(4) {
            0 => {
                let length = self.below(2_000);
                self.bytes(length)
            }
            // what comes on one connection one behind the other
            1 => [self.request(), self.spoilt(), self.request()].concat(),
            _ => self.spoilt(),
        }
    }
}

/// Writes it behind the first of these, if there is one.
fn insert(bytes: &mut Vec<u8>, behind: &[u8], what: &[u8]) {
    if let Some(at) = bytes.windows(behind.len()).position(|window| window == behind) {
        let at = at + behind.len();
        bytes.splice(at..at, what.iter().copied());
    }
}

/// Sends it; all that comes back until the server hangs up.
async fn answers(path: PathBuf, noise: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = UnixStream::connect(path).await.expect("somebody listens").into_split();
    let (mut said, mut buffer, mut sent, mut is_sent) = (Vec::new(), vec![0; 64 * 1024], None, false);
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut send = std::pin::pin!(async move {
        // who is hung up on in the middle is heard no more
        let _hung_up = writer.write_all(&noise).await;
        writer
    });
    loop {
        tokio::select! {
            writer = &mut send, if !is_sent => (sent, is_sent) = (Some(writer), true),
            read = reader.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return said,
                Ok(length) => said.extend(&buffer[..length]),
            },
            // nothing more comes: without the writer that is told
            () = tokio::time::sleep(SILENCE), if is_sent => if sent.take().is_none() && is_stream(&said) {
                return said;
            },
            () = tokio::time::sleep_until(end) => panic!("the server neither answers nor hangs up"),
        }
    }
}

/// Has a stream of events begun? It goes on until the reader is gone, too.
fn is_stream(said: &[u8]) -> bool {
    let kind = b"text/event-stream";
    said.windows(kind.len()).any(|window| window == kind)
}

/// The statuses of these answers. Each must be whole but the last, in whose middle the server may have hung up.
fn statuses(mut said: &[u8], noise: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !said.is_empty() {
        let shown = || format!("{} to {}", String::from_utf8_lossy(said), String::from_utf8_lossy(noise));
        let Some(end) = said.windows(4).position(|window| window == b"\r\n\r\n") else { return statuses };
        let head = std::str::from_utf8(&said[..end]).unwrap_or_else(|_| panic!("{}", shown())).to_ascii_lowercase();
        let (first, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
        let status = first.strip_prefix("http/1.1 ").or(first.strip_prefix("http/1.0 ")).and_then(|rest| rest.get(..3));
        let status: u16 = status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{}", shown()));
        said = &said[end + 4..];
        // what asks whether to go on is no answer
        if status == 100 {
            continue;
        }
        statuses.push(status);
        let length = fields.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        match length {
            Some(length) if length <= said.len() => said = &said[length..],
            // cut off, or a stream of events, which has no end
            _ => return statuses,
        }
    }
    statuses
}

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

/// How many threads of this test's server have panicked; those of other tests do not count.
fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let (count, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        if OURS.get() || thread::current().name() == Some(NAME) {
            count.fetch_add(1, Relaxed);
        }
        before(info);
    }));
    panics
}

#[test]
fn whatever_is_sent_nothing_panics_and_the_next_is_served() {
    OURS.set(true);
    let panics = count_panics();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name(NAME).build();
    runtime.expect("a runtime").block_on(async {
        let server = Server::start().await;
        let path = Server::path(&server.directory);
        let mut chance = Chance(TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let mut seen = BTreeMap::<u16, usize>::new();
        for _ in 0..NOISES / AT_ONCE {
            let noises: Vec<_> = (0..AT_ONCE).map(|_| chance.noise()).collect();
            let asking: Vec<_> =
                noises.iter().map(|noise| tokio::spawn(answers(path.clone(), noise.clone()))).collect();
            for (said, noise) in asking.into_iter().zip(&noises) {
                let said = said.await.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(noise)));
                for status in statuses(&said, noise) {
                    let shown = [&said, noise].map(|text| String::from_utf8_lossy(text));
                    assert!((200..500).contains(&status), "{shown:?}");
                    *seen.entry(status).or_default() += 1;
                }
            }
            let panics = panics.load(Relaxed);
            assert_eq!(
                panics,
                0,
                "one of {:?}",
                noises.iter().map(|noise| String::from_utf8_lossy(noise)).collect::<Vec<_>>()
            );
            server.client.stats().await.expect("a sound request is answered");
        }
        // the noise was near enough to what is served
        for status in [200, 400, 404, 405, 409] {
            assert!(seen.contains_key(&status), "{seen:?}");
        }
        server.post(json!({ "net": "192.0.2.99", "kind": "block", "force": true })).await.expect("room");
        assert!(!server.served.is_finished());
        let found = server.control.verify(false).expect("readable");
        assert_eq!((found.in_kernel(), found.on_disk()), (0, 0), "{found:?}");
        println!("answers to {NOISES} noises, by status: {seen:?}");
    });
}
