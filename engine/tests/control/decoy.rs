//! Decoys: real scanners, and those who use others' names.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::site::{self, Node, SERVER4, SERVER6, wait_until};

const PORT: u16 = 5062;
const CONFIG: &str = "[honeypot]\nports = [5062]\nttl = \"1h\"\n";
/// Who scans.
const SCANNER: &str = "192.0.2.10";

/// A node with a decoy that listens.
fn node(config: &str) -> Node {
    let mut node = Node::alone();
    node.start(config);
    wait_until("the decoy listens", || feed(&node)["state"] == "up");
    node
}

/// What is told of the decoy among feeds.
#[track_caller]
fn feed(node: &Node) -> Value {
    node.feed("decoy :5062")
}

/// What is told of requests to the decoy.
#[track_caller]
fn told(node: &Node) -> Vec<Value> {
    let printed = node.told(&["events", "--json"]);
    let events = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["kind"] == "decoy").collect()
}

/// Who is blocked, and by whom.
fn blocked(node: &Node) -> Vec<(String, String, String)> {
    let rules = node.json(&["list", "block"])["rules"].as_array().cloned().unwrap_or_default();
    let word = |rule: &Value, name: &str| rule[name].as_str().unwrap_or_default().to_owned();
    rules.iter().map(|rule| (word(rule, "net"), word(rule, "origin"), word(rule, "who"))).collect()
}

/// Debian's package `sipvicious`, run to its end by the scanner.
fn scan(node: &Node, words: &str) -> String {
    let mut words = words.split(' ');
    let mut command: Command = node.sender.command(words.next().unwrap_or_default());
    let home = node.path("home");
    std::fs::create_dir_all(&home).unwrap();
    let done = command.args(words).env("HOME", &home).current_dir(&home).output().unwrap();
    [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
}

/// A socket in the name of `source`, whom only the scanner's own addresses reach back.
fn socket(node: &Node, source: &str) -> UdpSocket {
    let to = if source.contains(':') { IpAddr::V6(SERVER6) } else { IpAddr::V4(SERVER4) };
    socket_to(node, source, SocketAddr::new(to, PORT))
}

fn socket_to(node: &Node, source: &str, to: SocketAddr) -> UdpSocket {
    let source: IpAddr = source.parse().unwrap();
    let open = || -> std::io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address((source, 0).into()), Type::DGRAM, None)?;
        if source.is_ipv4() {
            socket.set_ip_transparent_v4(true)?;
        }
        socket.bind(&SocketAddr::new(source, 5_061).into())?;
        socket.connect(&to.into())?;
        socket.set_read_timeout(Some(site::PATIENCE))?;
        Ok(socket.into())
    };
    let mut opened = None;
    // A program that another test is just starting may still have the last one of this name.
    wait_until("the port is free", || {
        opened = node.sender.enter(open).unwrap().ok();
        opened.is_some()
    });
    opened.unwrap()
}

fn request(method: &str, nonce: Option<&str>) -> String {
    let shown = nonce.map(|nonce| {
        format!(
            "Authorization: Digest username=\"1\",realm=\"sip\",nonce=\"{nonce}\",uri=\"sip:192.0.2.1\",\
             response=\"0123456789abcdef0123456789abcdef\"\r\n"
        )
    });
    format!(
        "{method} sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP x:5061;branch=z9hG4bK1;rport\r\nFrom: <sip:1@x>;tag=1\r\n\
         To: <sip:1@x>\r\nCall-ID: 1@x\r\nCSeq: 1 {method}\r\n{}Content-Length: 0\r\n\r\n",
        shown.unwrap_or_default()
    )
}

/// The nonce with which a REGISTER through `socket` is challenged.
#[track_caller]
fn challenged(socket: &UdpSocket) -> String {
    socket.send(request("REGISTER", None).as_bytes()).unwrap();
    let mut answer = [0; 2_048];
    let length = socket.recv(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    assert!(answer.starts_with("SIP/2.0 401 "), "{answer}");
    answer.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[test]
fn who_tries_passwords_is_dropped_at_the_nic_who_only_looks_is_told() {
    if !vos_bench::ready(&["svmap", "svcrack"]) {
        return;
    }
    let node = node(CONFIG);
    let found = scan(&node, "svmap -p 5062 192.0.2.1");
    assert!(found.contains("192.0.2.1:5062"), "it believes that a server is there: {found}");
    wait_until("the scan is told", || !told(&node).is_empty());
    let event = told(&node).swap_remove(0);
    assert_eq!(
        (&event["source"], &event["method"], &event["caught"]),
        (&SCANNER.into(), &"OPTIONS".into(), &false.into())
    );
    assert!(event["user_agent"].as_str().is_some_and(|agent| agent.contains("friendly-scanner")), "{event}");
    assert!(blocked(&node).is_empty() && !node.is_dropped(SCANNER), "who never answers may be spoofed");

    let said = scan(&node, "svcrack -u 100 -r 1-20 -p 5062 192.0.2.1");
    wait_until(&format!("the cracker is blocked: {said}"), || {
        blocked(&node) == [(format!("{SCANNER}/32"), "detector".to_owned(), "decoy :5062".to_owned())]
    });
    assert!(node.is_dropped(SCANNER));
    assert!(told(&node).iter().any(|event| event["caught"] == true));
    assert_eq!(feed(&node)["applied"], 1);
    // and the decoy is silent to it
    let socket = socket(&node, SCANNER);
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let read = feed(&node)["read"].as_u64();
    socket.send(request("REGISTER", None).as_bytes()).unwrap();
    wait_until("it is read", || feed(&node)["read"].as_u64() > read);
    assert!(socket.recv(&mut [0; 100]).is_err(), "an answer to who is blocked");
}

#[test]
fn nobody_is_blocked_in_whose_name_others_speak() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let node = node(CONFIG);
    let nonce = challenged(&socket(&node, SCANNER));
    // what is read by one does not catch another
    for source in ["203.0.113.9", "198.51.100.9", "2001:db8:bad::9"] {
        let socket = socket(&node, source);
        for shown in [Some(&*nonce), Some("0123456789abcdef0123456789abcdef01234567"), None] {
            for method in ["REGISTER", "INVITE", "OPTIONS", "ACK", "CANCEL"] {
                socket.send(request(method, shown).as_bytes()).unwrap();
            }
        }
    }
    for n in 0..2_000 {
        let socket = socket(&node, &format!("198.18.{}.{}", n / 200 + 1, n % 200 + 1));
        socket.send(request("REGISTER", Some(&nonce)).as_bytes()).unwrap();
    }
    wait_until("all that the kernel had room for is read", || {
        let read = feed(&node)["read"].as_u64();
        std::thread::sleep(Duration::from_millis(200));
        read > Some(100) && feed(&node)["read"].as_u64() == read
    });
    assert_eq!(blocked(&node), []);
    assert_eq!((&feed(&node)["applied"], &feed(&node)["refused"]), (&0.into(), &0.into()));
    // it still works
    let own = socket(&node, SCANNER);
    own.send(request("REGISTER", Some(&challenged(&own))).as_bytes()).unwrap();
    wait_until("the one that answers is blocked", || blocked(&node).len() == 1);
}

#[test]
fn over_ipv6_too_and_not_whom_the_guard_protects() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let node = node(CONFIG);
    node.told(&["allow", "2001:db8::10"]);
    let own = socket(&node, "2001:db8::10");
    own.send(request("REGISTER", Some(&challenged(&own))).as_bytes()).unwrap();
    wait_until("the guard refuses", || feed(&node)["refused"] == 1);
    assert_eq!(blocked(&node), []);
    node.told(&["unallow", "2001:db8::10"]);
    // once in ten seconds it is tried
    wait_until("it is blocked", || {
        own.send(request("REGISTER", Some(&challenged(&own))).as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        !blocked(&node).is_empty()
    });
    // its port is asked from
    drop(own);
    assert!(node.is_dropped("2001:db8::10"));
}

#[test]
fn decoys_follow_the_configuration() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let node = node(CONFIG);
    node.reconfigure("[honeypot]\nports = [5063]\n");
    wait_until("the one is gone, another is there", || {
        let feeds = node.told(&["feeds", "--json"]);
        !feeds.contains("decoy :5062") && feeds.contains("decoy :5063")
    });
    node.reconfigure("[honeypot]\nports = [5062]\naddresses = [\"192.0.2.99\"]\n");
    wait_until("the decoy listens again", || feed(&node)["state"] == "up");
    let socket = socket(&node, SCANNER);
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.send(request("REGISTER", None).as_bytes()).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "192.0.2.1 is no decoy any more");
    node.server.ip(&format!("addr add 192.0.2.99/24 dev {}", node.iface)).unwrap();
    let other = SocketAddr::new("192.0.2.99".parse().unwrap(), PORT);
    let (mut answer, mut from) = ([0; 2_048], None);
    wait_until("the address that has come is one", || {
        let socket = node.sender.enter(|| UdpSocket::bind("192.0.2.10:0")).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        socket.send_to(request("REGISTER", None).as_bytes(), other).unwrap();
        from = socket.recv_from(&mut answer).ok().map(|(_, from)| from);
        from.is_some()
    });
    assert_eq!(from, Some(other), "the answer is from the address that was asked");
}

#[test]
fn an_address_that_nobody_uses_is_a_decoy_at_a_sip_port() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut node = Node::alone();
    node.server.ip(&format!("addr add 192.0.2.99/24 dev {}", node.iface)).unwrap();
    // the softswitch of the site has 5060 at all addresses
    let listen = "listen = [\"192.0.2.99:5070\", \"192.0.2.99:5060\"]";
    node.start(&format!("[xdp]\nsip_ports = [5060, 5070]\n[honeypot]\n{listen}\n"));
    wait_until("the decoy listens", || node.feed("decoy 192.0.2.99:5070")["state"] == "up");
    wait_until("what the softswitch has stays its own", || node.feed("decoy 192.0.2.99:5060")["state"] == "down");
    let error = node.feed("decoy 192.0.2.99:5060")["error"].to_string();
    assert!(error.contains("have who has the port at all addresses name theirs"), "{error}");
    assert!(!node.is_dropped(SCANNER));

    let beside = socket_to(&node, SCANNER, SocketAddr::new(SERVER4.into(), 5_070));
    beside.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    beside.send(request("REGISTER", None).as_bytes()).unwrap();
    assert!(beside.recv(&mut [0; 100]).is_err(), "192.0.2.1 is no decoy");
    drop(beside);
    // only the address that was asked is heard
    let decoy = socket_to(&node, SCANNER, "192.0.2.99:5070".parse().unwrap());
    let nonce = challenged(&decoy);
    assert_eq!(blocked(&node), []);
    decoy.send(request("REGISTER", Some(&nonce)).as_bytes()).unwrap();
    wait_until("who answers is blocked", || {
        blocked(&node) == [(format!("{SCANNER}/32"), "detector".to_owned(), "decoy 192.0.2.99:5070".to_owned())]
    });
    drop(decoy);
    assert!(node.is_dropped(SCANNER));
}
