//! The files of configs/kamailio and configs/opensips: each is taken by the program that it is for, and whom Kamailio's pike
//! finds is dropped by the engine, with the `vos.toml` and the permissions that the files' heads name.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use vos_bench::{NetNs, Program};
use vos_common::reason::Reason;

use crate::broker::Broker;
use crate::site::{Hub, Node, SERVER4, wait_until};

/// Whom pike finds.
const FLOODER: &str = "203.0.113.77";

/// The files for this softswitch, by name.
fn files(softswitch: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(softswitch);
    let mut files: Vec<_> = fs::read_dir(folder).expect("configs").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

/// A file of configs/, and what its head says.
struct File {
    text: String,
}

impl File {
    #[track_caller]
    fn of(softswitch: &str, name: &str) -> Self {
        let path = files(softswitch).into_iter().find(|path| path.ends_with(name));
        Self { text: fs::read_to_string(path.expect("it is there")).expect("UTF-8") }
    }

    /// `vos.toml`, as the head has it behind that word.
    #[track_caller]
    fn toml(&self) -> String {
        let lines = self.text.lines().skip_while(|line| !line.starts_with("#   vos.toml:"));
        let lines = lines.map(|line| line.replacen("#   vos.toml:", "#            ", 1));
        let lines: Vec<_> =
            lines.map_while(|line| line.strip_prefix("#             ").map(|rest| rest.trim().to_owned())).collect();
        assert!(lines.len() >= 2, "no vos.toml in the head");
        lines.join("\n")
    }

    /// The words of each `rabbitmqctl` of the head.
    fn at_the_broker(&self) -> Vec<Vec<String>> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("#   rabbitmqctl "));
        lines.map(|line| shlex::split(line).expect("words")).collect()
    }
}

#[test]
fn kamailio_takes_its_files() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let files = files("kamailio");
    assert!(files.len() >= 3, "{files:?}");
    // a file has the address of a server's: names are looked up while it is read
    let node = Node::alone();
    for file in files {
        let done = node.server.command("kamailio").arg("-c").arg("-f").arg(&file).output().unwrap();
        assert!(done.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&done.stderr));
    }
}

/// `VOS_OPENSIPS=PATH` names an OpenSIPS of 4.0 or later, `VOS_OPENSIPS_MODULES=DIR` its modules: Debian has none.
#[test]
fn opensips_takes_its_files() {
    let Some(program) = std::env::var_os("VOS_OPENSIPS") else {
        eprintln!("SKIPPED: VOS_OPENSIPS names no OpenSIPS");
        return;
    };
    let usual = "/usr/lib/x86_64-linux-gnu/opensips/modules/";
    let modules = std::env::var("VOS_OPENSIPS_MODULES").unwrap_or_else(|_| usual.to_owned());
    let dir = tempfile::tempdir().unwrap();
    let files = files("opensips");
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(usual), "{}", file.display());
        let here = dir.path().join(file.file_name().unwrap());
        fs::write(&here, text.replace(usual, &format!("{modules}/"))).unwrap();
        let done = Command::new(&program).arg("-C").arg("-f").arg(&here).output().unwrap();
        assert!(done.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&done.stderr));
    }
}

/// Kamailio with this file; it listens when this is done.
#[track_caller]
fn kamailio(server: &NetNs, dir: &Path, config: &str) -> Program {
    let file = dir.join("kamailio.cfg");
    fs::write(&file, config).unwrap();
    let mut command = server.command("kamailio");
    command
        .args(["-DD", "-E", "-m", "64", "-M", "4", "-f"])
        .arg(&file)
        .arg("-Y")
        .arg(dir)
        .arg("-P")
        .arg(dir.join("pid"));
    let mut kamailio = Program::start("kamailio", &mut command, Some(&dir.join("kamailio.log"))).unwrap();
    wait_until("Kamailio listens", || {
        assert!(kamailio.ended().unwrap().is_none(), "Kamailio ended:\n{}", kamailio.log_tail(20));
        let sockets = vos_bench::process::output(server.command("ss").args(["-Hlun", "sport = 5060"])).unwrap();
        !sockets.trim().is_empty()
    });
    kamailio
}

/// Floods until the flooder is blocked by this feed's word; then what comes from it is dropped, and others are not blocked.
#[track_caller]
fn is_blocked_for_flooding(node: &Node, kamailio: &Program, origin: &str) {
    let flooder: IpAddr = FLOODER.parse().unwrap();
    let mut sent = 0_u32;
    wait_until("the flooder is blocked", || {
        for _ in 0..40 {
            sent += 1;
            node.send(flooder, &request(flooder, sent));
        }
        let rules = node.json(&["list", "block"]);
        let rules = rules["rules"].as_array().unwrap_or_else(|| panic!("{rules}"));
        assert!(sent < 20_000, "{rules:?}\n{}\nKamailio:\n{}", node.log(), kamailio.log_tail(40));
        !rules.is_empty()
    });
    let rules = node.json(&["list", "block"]);
    assert_eq!(rules["rules"].as_array().map(Vec::len), Some(1), "{rules}");
    let rule = &rules["rules"][0];
    assert_eq!((rule["net"].as_str(), rule["reason"].as_str()), (Some("203.0.113.77/32"), Some("pike")), "{rule}");
    assert_eq!(rule["origin"], origin, "{rule}");
    assert!(!rule["until"].is_null(), "the ttl of vos.toml: {rule}");
    let before = node.counted(Reason::Blocked);
    node.send(flooder, &request(flooder, 0));
    wait_until("it is dropped", || node.counted(Reason::Blocked) > before);
}

/// A request that no rule drops, of a call of its own.
fn request(source: IpAddr, number: u32) -> Vec<u8> {
    format!(
        "BYE sip:2@{SERVER4} SIP/2.0\r\nVia: SIP/2.0/UDP {source}:5061;branch=z9hG4bKf{number}\r\nFrom: <sip:1@e.com>;tag=1\r\n\
         To: <sip:2@e.com>;tag=2\r\nCall-ID: flood-{number}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn whom_kamailios_pike_finds_is_dropped_without_a_broker() {
    if !vos_bench::ready(&["kamailio", "ss"]) {
        return;
    }
    let file = File::of("kamailio", "pike-datagram.cfg");
    let mut node = Node::alone();
    node.hang_up();
    node.start(&file.toml());
    let kamailio = kamailio(&node.server, &node.path(""), &file.text);
    is_blocked_for_flooding(&node, &kamailio, "datagram");
    node.stop();
}

#[test]
fn whom_kamailios_pike_finds_is_dropped_by_way_of_rabbitmq() {
    let module = "/usr/lib/x86_64-linux-gnu/kamailio/modules/rabbitmq.so";
    if !vos_bench::ready(&["kamailio", "ss", "rabbitmq-server", "epmd"]) {
        return;
    }
    if !Path::new(module).is_file() {
        vos_bench::ready::skipped("kamailio-rabbitmq-modules");
        return;
    }
    let file = File::of("kamailio", "pike-rabbitmq.cfg");
    let hub = Hub::new();
    let broker = Broker::start(&hub.ns, Hub::ADDRESS);
    let users = file.at_the_broker();
    assert_eq!(users.len(), 4, "{users:?}");
    for words in users {
        broker.ctl(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut node = Node::on(&hub);
    node.hang_up();
    let password = node.path("amqp.password");
    fs::write(&password, "hidden\n").unwrap();
    let toml = file.toml().replace("192.0.2.5", Hub::ADDRESS);
    node.start(&toml.replace("/etc/vos/amqp.password", &password.display().to_string()));
    wait_until("the queue is read", || node.feed("amqp ")["state"] == "up");
    let kamailio = kamailio(&node.server, &node.path(""), &file.text.replace("192.0.2.5", Hub::ADDRESS));
    is_blocked_for_flooding(&node, &kamailio, "amqp");
    node.stop();
}
