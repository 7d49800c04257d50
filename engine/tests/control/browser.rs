//! docs/page.md: the page, in headless Chromium driven by WebDriver (W3C WebDriver 2), served by a real engine that drops real packets.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use vos_bench::Program;
use vos_common::reason::Reason;

use crate::site::{Node, PATIENCE, wait_until};

const DOC: &str = include_str!("../../../docs/page.md");
/// Where the page is, in the node's namespace.
const PAGE: &str = "127.0.0.1:9960";
/// Where the driver listens there.
const DRIVER: &str = "127.0.0.1:9515";
/// A site of others whose name is this host's loopback now.
const REBOUND: &str = "rebound.example";
/// What a page that takes text for markup would run.
const MARKUP: &str = "<img src=x onerror=window.taken=1>";
/// By this key a driver names elements (WebDriver §12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser on the node's host. Ended when dropped.
struct Browser<'a> {
    node: &'a Node,
    session: String,
    _driver: Program,
}

/// One request to the driver; the value of its answer, or what it says is wrong.
fn drive(node: &Node, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let address: SocketAddr = DRIVER.parse().unwrap();
    let talk = || -> io::Result<(String, Vec<u8>)> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {DRIVER}\r\nContent-Type: application/json\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())?;
        // it leaves the connection open, whatever it is asked for
        let (mut stream, mut head, mut line) = (BufReader::new(stream), String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            head += &line.to_ascii_lowercase();
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap_or_default();
        let mut body = vec![0; length.trim().parse().map_err(io::Error::other)?];
        stream.read_exact(&mut body)?;
        Ok((head, body))
    };
    let (head, body) = node.server.enter(talk).unwrap().map_err(|error| error.to_string())?;
    let body: Value = serde_json::from_slice(&body).map_err(|error| format!("{error}: {head}"))?;
    if head.starts_with("http/1.1 200 ") { Ok(body["value"].clone()) } else { Err(body["value"].to_string()) }
}

impl<'a> Browser<'a> {
    #[track_caller]
    fn start(node: &'a Node) -> Self {
        let port = DRIVER.rsplit(':').next().unwrap();
        let mut command = node.server.command("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", node.path("home"));
        let driver = Program::start("chromedriver", &mut command, Some(&node.path("chromedriver.log"))).unwrap();
        wait_until("chromedriver is ready", || {
            drive(node, "GET", "/status", &Value::Null).is_ok_and(|status| status["ready"] == true)
        });
        let folder = format!("--user-data-dir={}", node.path("chromium").display());
        let resolver = format!("--host-resolver-rules=MAP {REBOUND} 127.0.0.1");
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            &folder,
            &resolver,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": args },
        } } });
        let session =
            drive(node, "POST", "/session", &wanted).unwrap_or_else(|error| panic!("{error}\n{}", driver.log()));
        Self { node, session: session["sessionId"].as_str().unwrap().to_owned(), _driver: driver }
    }

    #[track_caller]
    fn post(&self, path: &str, body: &Value) -> Value {
        drive(self.node, "POST", &format!("/session/{}/{path}", self.session), body)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// What this script returns, in the page.
    #[track_caller]
    fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of what is there under this id, whether or not it is in view.
    #[track_caller]
    fn text(&self, id: &str) -> String {
        self.run(&format!("return document.getElementById('{id}').textContent")).as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// A click as a mouse does it: at the middle of the element, which nothing may cover (WebDriver §12.5.1).
    #[track_caller]
    fn click(&self, selector: &str) {
        self.post(&format!("element/{}/click", self.element(selector)), &json!({}));
    }

    #[track_caller]
    fn write(&self, selector: &str, text: &str) {
        self.post(&format!("element/{}/value", self.element(selector)), &json!({ "text": text }));
    }

    /// The screen of something this wide and high, in CSS pixels.
    #[track_caller]
    fn screen(&self, width: u32, height: u32, dark: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        for (cmd, params) in [
            ("Emulation.setDeviceMetricsOverride", metrics),
            ("Emulation.setEmulatedMedia", json!({ "features": scheme })),
        ] {
            self.post("goog/cdp/execute", &json!({ "cmd": cmd, "params": params }));
        }
    }

    /// A picture for whoever would rather look, in the build's directory for temporary files.
    #[track_caller]
    fn picture(&self, name: &str) {
        let taken = drive(self.node, "GET", &format!("/session/{}/screenshot", self.session), &Value::Null).unwrap();
        let picture = BASE64.decode(taken.as_str().unwrap()).unwrap();
        fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), picture).unwrap();
    }

    /// What the browser complains of, since it was asked last.
    #[track_caller]
    fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": "browser" }));
        log.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // the driver ends the browser with the session
        if let Err(error) = drive(self.node, "DELETE", &format!("/session/{}", self.session), &Value::Null) {
            eprintln!("{error}");
        }
    }
}

/// A request whose first line and User-Agent are markup.
fn attack(call: u32) -> Vec<u8> {
    format!(
        "OPTIONS sip:{MARKUP}@e.com SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.7;branch=z9hG4bK{call}\r\n\
         From: <sip:1@e.com>;tag=1\r\nTo: <sip:2@e.com>\r\nCall-ID: {call}\r\nCSeq: 1 OPTIONS\r\n\
         User-Agent: {MARKUP}\u{1b}[31m\u{202e}\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// What stands in the documentation's blocks of this language, for this node: its files instead of those of a host, whose
/// group `vos` is made by the package.
fn documented(language: &str, node: &Node) -> String {
    let fence = format!("```{language}\n");
    let blocks = DOC.split(&fence).skip(1).filter_map(|block| block.split("```").next());
    let all: String = blocks.collect();
    assert!(!all.is_empty(), "docs/page.md has nothing in {language}");
    all.replace("/etc/vos/", &format!("{}/", node.path("").display()))
}

/// Does what the documentation says for a token; gives the token.
#[track_caller]
fn make_token(node: &Node) -> String {
    let done = Command::new("bash").args(["-ec", &documented("sh", node)]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read_to_string(node.path("token")).unwrap().trim_end().to_owned()
}

#[test]
fn it_shows_what_the_engine_does_and_undoes_what_is_clicked() {
    if !vos_bench::ready(&["chromium", "chromedriver", "openssl"]) {
        return;
    }
    let mut node = Node::alone();
    node.mode = "relay";
    let token = make_token(&node);
    node.start(&documented("toml", &node));
    node.told(&["allow", "198.51.100.0/24", "--reason", "office"]);
    let browser = Browser::start(&node);
    browser.open(&format!("http://{PAGE}/"));
    wait_until("it says whose page it is", || browser.text("name").contains(&node.iface));
    assert!(browser.text("facts").contains("mode relay"), "{}", browser.text("facts"));
    assert!(browser.text("state").contains("No attack") && browser.text("why").contains("attack mode off"));
    wait_until("the queue is live", || browser.text("queues").starts_with("0 live"));
    assert!(
        browser.text("decisions").contains("allowed 198.51.100.0/24") && browser.text("decisions").contains("office")
    );

    // texts of others stay texts
    let reason = format!("{MARKUP}</li>\u{202e}");
    let block = node.told(&["block", "203.0.113.7", "--ttl", "1h", "--reason", &reason]);
    wait_until("the decision is shown", || browser.text("decisions").contains("blocked 203.0.113.7"));
    let decision = browser.text("decisions");
    let shown = format!("because: {MARKUP}</li>\\u{{202e}}");
    assert!(decision.contains(&shown) && decision.contains("by cli") && decision.contains("until "), "{decision}");
    let source = "203.0.113.7".parse().unwrap();
    (0..20).for_each(|call| node.send(source, &attack(call)));
    wait_until("what was dropped is shown", || browser.text("drops").contains(MARKUP));
    let sample = browser.text("drops");
    assert!(sample.contains("blocked") && sample.contains("203.0.113.7:5061 to 192.0.2.1:5060"), "{sample}");
    assert!(!sample.contains(['\u{1b}', '\u{202e}']), "{sample:?}");
    assert!(browser.text("sources").starts_with("203.0.113.7"), "{}", browser.text("sources"));
    let strange = "return [window.taken, document.querySelectorAll('img, iframe, object, embed, link, a').length]";
    assert_eq!(browser.run(strange), json!([null, 0]));

    // figures, against the kernel's own
    let row = "const rows = [...document.querySelectorAll('#reasons tr')]; \
               const row = rows.find(row => row.cells[0].textContent === 'blocked'); \
               return row ? [...row.cells].slice(1, 3).map(cell => cell.textContent) : []";
    wait_until("as many are dropped as the kernel says", || {
        browser.run(row)[1] == json!(node.counted(Reason::Blocked).to_string())
    });
    let mut call = 100;
    wait_until("while they come, there is a rate, and a bar for it", || {
        node.send(source, &attack(call));
        call += 1;
        let rate = browser.run(row)[0].as_str().is_some_and(|rate| rate.parse::<f64>().is_ok_and(|rate| rate > 0.0));
        rate && browser.run("return document.querySelector('#reasons i').getBoundingClientRect().width > 10") == true
    });
    let tier = |name: &str| {
        let find = format!(
            "[...document.querySelectorAll('#tiers div')].find(one => one.firstChild.textContent === '{name}')"
        );
        browser.run(&format!("return {find}.lastChild.textContent"))
    };
    assert_eq!([tier("blocked"), tier("allowed"), tier("trusted")], [json!("1"), json!("1"), json!("0")]);

    // fits a phone, in either light, and asks nobody else
    for (width, height, dark) in [(360, 740, true), (1280, 900, false)] {
        browser.screen(width, height, dark);
        wait_until("it fits", || {
            browser.run("return document.documentElement.scrollWidth <= window.innerWidth") == true
        });
        assert_eq!(browser.run("return window.innerWidth"), json!(width));
        let back = browser.run("return getComputedStyle(document.body).backgroundColor");
        assert_eq!(back == json!("rgb(21, 21, 21)"), dark, "{back}");
        browser.picture(&format!("page-{width}.png"));
    }
    let outside = "const all = performance.getEntriesByType('resource').map(one => new URL(one.name).origin); \
                   return all.filter(origin => origin !== location.origin).length";
    let outside = browser.run(outside);
    assert_eq!(outside, json!(0));
    assert_eq!(browser.complaints(), Vec::<String>::new(), "its own policy lets it do all that it does");

    // an undo, by a click, with the token only
    let number = block.trim_end().trim_end_matches(')').rsplit(' ').next().unwrap();
    browser.click(&format!("button[data-number=\"{number}\"]"));
    assert!(
        browser.text("question").starts_with(&format!("Undo {number}: block 203.0.113.7")),
        "{}",
        browser.text("question")
    );
    assert_eq!(browser.run("return [document.getElementById('ask').open, window.taken]"), json!([true, null]));
    browser.picture("page-undo.png");
    browser.click("#go");
    assert!(browser.text("outcome").contains("Type the token"));
    browser.write("#token", "0123456789abcdee");
    browser.click("#go");
    wait_until("the wrong token is refused", || browser.text("outcome").contains("not the token"));
    assert!(node.is_dropped("203.0.113.7"));
    browser.write("#token", &token);
    browser.click("#go");
    wait_until("it is undone", || browser.text("outcome").contains(&format!("Undone {number}: 1 of 1 changes")));
    assert!(!node.is_dropped("203.0.113.7"));
    let last = node.json(&["history"])["sets"].as_array().unwrap().last().cloned().unwrap();
    assert_eq!((&last["undoes"].to_string()[..], &last["who"]), (number, &json!("page")));
    browser.click("#close");
    wait_until("the change is marked", || browser.text("changes").contains("undone by"));
    assert!(browser.text("decisions").contains("no longer blocked 203.0.113.7"));
    let kept = "return [localStorage.length, sessionStorage.length, document.cookie, location.href, \
                document.getElementById('token').value, document.documentElement.outerHTML.includes(arguments[0])]";
    let kept = browser.post("execute/sync", &json!({ "script": kept, "args": [token] }));
    assert_eq!(kept, json!([0, 0, "", format!("http://{PAGE}/"), "", false]));

    // an engine that does not answer is told, with what holds all the same
    node.halt(true);
    wait_until("its silence is told", || browser.run("return document.getElementById('silence').hidden") == false);
    assert!(
        browser.text("silence").contains("the filter that is loaded stays in force"),
        "{}",
        browser.text("silence")
    );
    node.halt(false);
    wait_until("it answers again", || browser.run("return document.getElementById('silence').hidden") == true);

    // a site that has become this host by name gets nothing, nor does its link lead here
    browser.open(&format!("http://{REBOUND}:9960/"));
    let body = || browser.run("return document.body.textContent").to_string();
    wait_until("no other name is served", || body().contains("bad_host"));
    browser.run(&format!("location.href = 'http://{PAGE}/v1/stats'"));
    wait_until("no link of others is followed", || body().contains("other_origin"));
    assert!(!body().contains("judged"), "{}", body());
    drop(browser);
    node.stop();
}

/// Status of the answer to `GET /`, asked in the node's namespace; `None`: nobody answers.
fn status(node: &Node) -> Option<u16> {
    let address: SocketAddr = PAGE.parse().unwrap();
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {PAGE}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    node.server.enter(ask).unwrap().ok()?.split(' ').nth(1)?.parse().ok()
}

#[test]
fn it_is_there_when_the_configuration_says_so_and_the_engine_goes_on_without_it() {
    if !vos_bench::ready(&["openssl"]) {
        return;
    }
    let mut node = Node::alone();
    make_token(&node);
    node.start("");
    assert_eq!(status(&node), None, "nothing listens that nobody asked for");

    // another engine has the port
    let other = node.server.enter(|| TcpListener::bind(PAGE)).unwrap().unwrap();
    node.reconfigure(&documented("toml", &node));
    wait_until("the log says who is in the way", || node.log().contains("the page cannot listen at 127.0.0.1:9960"));
    assert!(node.log().contains("engines on one host need a port each"), "{}", node.log());
    node.told(&["block", "203.0.113.7"]);
    assert!(node.is_dropped("203.0.113.7"));
    drop(other);
    wait_until("it is served as soon as the port is free", || status(&node) == Some(200));

    fs::write(node.path("vos.toml"), "[page]\nlisten = \"192.0.2.1:9960\"\n").unwrap();
    let output = node.vosctl(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let way = "ssh -L 9960:127.0.0.1:9960 HOST";
    assert!(output.status.code() == Some(1) && said.contains("page.listen") && said.contains(way), "{said}");
    assert_eq!(status(&node), Some(200), "what is refused changes nothing");
    node.reconfigure("");
    wait_until("nothing listens", || status(&node).is_none());
    node.stop();
}
