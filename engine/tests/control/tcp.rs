//! The API over TCP: only where the configuration says so, and as it says now.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;

use crate::site::{self, Node, wait_until};

const ADDRESS: &str = "192.0.2.1:9060";

/// What the API answers to whoever asks from the sender's host with this token; `None`: nobody answers.
fn ask(node: &Node, token: &str) -> Option<String> {
    let address: SocketAddr = ADDRESS.parse().unwrap();
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, site::PATIENCE)?;
        stream.set_read_timeout(Some(site::PATIENCE))?;
        let head = "GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        write!(stream, "{head}Authorization: Bearer {token}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    node.sender.enter(ask).unwrap().ok().filter(|answer| !answer.is_empty())
}

fn status(node: &Node, token: &str) -> Option<u16> {
    ask(node, token)?.split(' ').nth(1)?.parse().ok()
}

fn listens(node: &Node) -> bool {
    let sockets = node.server.command("ss").args(["-Hltn"]).output().unwrap();
    String::from_utf8_lossy(&sockets.stdout).lines().count() > 0
}

fn config(node: &Node, allow: &str) -> String {
    let token = node.path("token");
    format!("[api]\nlisten = \"{ADDRESS}\"\ntoken_file = {token:?}\nallow = [\"{allow}\"]\n")
}

/// The engine does not take this `vos.toml`, and says why.
#[track_caller]
fn refused(node: &Node, config: &str, why: &str) {
    fs::write(node.path("vos.toml"), config).unwrap();
    let output = node.vosctl(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("api.token_file") && said.contains(why), "{said}");
}

#[test]
fn it_is_served_where_the_configuration_says_and_as_it_says_now() {
    if !vos_bench::ready(&["ss"]) {
        return;
    }
    let (first, second) = ("0123456789abcdef", "fedcba9876543210");
    let mut node = Node::alone();
    node.start("");
    assert!(!listens(&node), "nothing listens that nobody asked for");
    let token = node.path("token");
    fs::write(&token, first).unwrap();
    fs::set_permissions(&token, Permissions::from_mode(0o604)).unwrap();
    refused(&node, &config(&node, "192.0.2.10/32"), "chmod 640");
    assert!(!listens(&node), "a token that everybody can read");

    fs::set_permissions(&token, Permissions::from_mode(0o640)).unwrap();
    node.reconfigure(&config(&node, "192.0.2.10/32"));
    wait_until("it is served", || status(&node, first) == Some(200));
    assert_eq!(status(&node, second), Some(401));
    assert!(node.log().contains("192.0.2.10 shows a wrong token"), "{}", node.log());

    fs::write(node.path("new"), second).unwrap();
    fs::set_permissions(node.path("new"), Permissions::from_mode(0o600)).unwrap();
    fs::rename(node.path("new"), &token).unwrap();
    wait_until("the new token holds", || status(&node, second) == Some(200));
    assert_eq!(status(&node, first), Some(401), "the old one does not");

    // what is refused changes nothing: neither the token nor who may ask
    let missing = config(&node, "192.0.2.11/32").replace("/token", "/missing");
    refused(&node, &missing, "No such file");
    assert_eq!(status(&node, second), Some(200));
    // a token that is spoilt while it is in use
    fs::set_permissions(&token, Permissions::from_mode(0o604)).unwrap();
    wait_until("nothing is served by it", || node.log().contains("chmod 640") && !listens(&node));
    fs::set_permissions(&token, Permissions::from_mode(0o640)).unwrap();
    wait_until("it is served again", || status(&node, second) == Some(200));
    node.reconfigure(&config(&node, "192.0.2.11/32"));
    wait_until("who is not named any more gets no answer", || status(&node, second).is_none());
    assert!(listens(&node));
    node.reconfigure("");
    wait_until("nothing listens", || !listens(&node));
    node.stop();
}
