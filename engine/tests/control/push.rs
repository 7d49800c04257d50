//! `vosctl cluster push` through real sshd, each on a host of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use vos_bench::Program;
use vos_bench::process::output;

use crate::site::{Hub, Node, wait_until};

const PORT: u16 = 2222;

/// A hub from which lists are pushed, and nodes with an engine and an sshd each.
pub(crate) struct Fleet {
    hub: Hub,
    nodes: Vec<Node>,
    daemons: Vec<Option<Program>>,
    dir: TempDir,
}

impl Fleet {
    pub(crate) fn new(nodes: usize) -> Self {
        let (hub, dir) = (Hub::new(), tempfile::tempdir().unwrap());
        // sshd insists on it
        fs::create_dir_all("/run/sshd").unwrap();
        let mut fleet = Self { hub, nodes: Vec::new(), daemons: Vec::new(), dir };
        fleet.keygen("user");
        // what is run there: it knows its engine by what its sshd tells
        let script = format!("#!/bin/sh\nexec {} --run-dir \"$VOS_RUN\" \"$@\"\n", env!("CARGO_BIN_EXE_vosctl"));
        fs::write(fleet.path("vosctl"), script).unwrap();
        fs::set_permissions(fleet.path("vosctl"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut known = String::new();
        for number in 0..nodes {
            let mut node = Node::on(&fleet.hub);
            node.start("");
            fleet.keygen(&format!("host{number}"));
            let key = fs::read_to_string(fleet.path(&format!("host{number}.pub"))).unwrap();
            known += &format!("[{}]:{PORT} {key}", address(&node));
            fleet.nodes.push(node);
            fleet.daemons.push(None);
        }
        fs::write(fleet.path("known"), known).unwrap();
        fleet
    }

    /// A file of the hub's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keygen(&self, name: &str) {
        output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.path(name))).unwrap();
    }

    /// Starts the sshd of a node, with nothing of the system's.
    pub(crate) fn serve(&mut self, number: usize) {
        let (node, at) = (&self.nodes[number], address(&self.nodes[number]));
        let (key, users, log) = (self.path(&format!("host{number}")), self.path("user.pub"), self.path("sshd.log"));
        let config = format!(
            "Port {PORT}\nListenAddress {at}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nSetEnv VOS_RUN={}\n",
            key.display(),
            users.display(),
            node.path("run").display(),
        );
        let file = self.path(&format!("sshd{number}"));
        fs::write(&file, config).unwrap();
        let mut command = node.server.command("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(&file);
        let log = log.with_extension(number.to_string());
        let sshd = self.daemons[number].insert(Program::start("sshd", &mut command, Some(&log)).unwrap());
        wait_until("sshd listens", || {
            assert!(sshd.ended().unwrap().is_none(), "sshd ended:\n{}", sshd.log());
            sshd.log().contains("Server listening")
        });
    }

    /// Pushes to all nodes from the hub.
    fn push(&self, list: &Path, words: &[&str]) -> Output {
        self.push_to(&self.path("vosctl"), list, words)
    }

    fn push_to(&self, remote: &Path, list: &Path, words: &[&str]) -> Output {
        let ssh = format!(
            "ssh -F none -p {PORT} -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile={} \
             -o GlobalKnownHostsFile=none",
            self.path("user").display(),
            self.path("known").display(),
        );
        let mut command = self.hub.ns.command(env!("CARGO_BIN_EXE_vosctl"));
        command.args(["cluster", "push", "--ssh", &ssh, "--retries", "1", "--remote"]).arg(remote);
        command.args(words).arg(list).args(self.nodes.iter().map(|node| format!("root@{}", address(node))));
        command.output().unwrap()
    }

    /// Has the hub's ssh know the nodes by these names; gives the file in which they stand.
    pub(crate) fn configure(&self, names: &[&str]) -> PathBuf {
        let (key, known, file) = (self.path("user"), self.path("known"), self.path("ssh_config"));
        let (key, known) = (key.display(), known.display());
        let host = |(name, node): (&&str, &Node)| {
            format!(
                "Host {name}\nHostName {}\nPort {PORT}\nUser root\nIdentityFile {key}\nIdentitiesOnly yes\n\
                 StrictHostKeyChecking yes\nUserKnownHostsFile {known}\nGlobalKnownHostsFile none\n",
                address(node)
            )
        };
        fs::write(&file, names.iter().zip(&self.nodes).map(host).collect::<String>()).unwrap();
        file
    }

    /// `vosctl cluster push` with these words on the hub, with the names of [`Fleet::configure`]; not yet started.
    pub(crate) fn by_names(&self, names: &Path, words: &[&str]) -> Command {
        let mut command = self.hub.ns.command(env!("CARGO_BIN_EXE_vosctl"));
        let ssh = format!("ssh -F {}", names.display());
        command.args(["cluster", "push", "--ssh", &ssh, "--remote"]).arg(self.path("vosctl"));
        command.args(words).current_dir(self.dir.path());
        command
    }

    fn log(&self) -> String {
        self.daemons.iter().flatten().map(Program::log).collect()
    }
}

/// Where the hub reaches it.
fn address(node: &Node) -> String {
    let told = node.server.ip("-4 -o addr show dev hub").unwrap();
    let address = told.split_whitespace().skip_while(|word| *word != "inet").nth(1).expect("an address");
    address.split('/').next().unwrap_or_default().to_owned()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// Prefix and end of every block.
fn blocks(node: &Node) -> Vec<(String, Value)> {
    let rules = node.json(&["list", "block"]);
    let rule = |rule: &Value| (rule["net"].as_str().unwrap().to_owned(), rule["until"].clone());
    rules["rules"].as_array().unwrap().iter().map(rule).collect()
}

fn changes(node: &Node) -> usize {
    let history = node.json(&["history"]);
    history["sets"].as_array().or(history.as_array()).unwrap().len()
}

#[test]
fn a_list_reaches_every_host_that_is_there_and_says_which_is_not() {
    if !vos_bench::ready(&["ssh", "sshd", "ssh-keygen"]) {
        return;
    }
    let mut fleet = Fleet::new(3);
    fleet.serve(0);
    fleet.serve(1);
    let list = fleet.path("list.txt");
    fs::write(&list, "# a partner's list\n203.0.113.7 ttl=7d reason=scans\n198.51.100.0/24\n").unwrap();

    let first = fleet.push(&list, &[]);
    let told = lines(&first).join("\n");
    assert_eq!(first.status.code(), Some(1), "{told}\n{}\n{}", String::from_utf8_lossy(&first.stderr), fleet.log());
    for (number, said) in [(0, "2 new  (undo 1)"), (1, "2 new  (undo 1)"), (2, "failed: ")] {
        let line = format!("root@{}: {said}", address(&fleet.nodes[number]));
        assert!(told.contains(&line), "{line} is not in\n{told}\n{}", fleet.log());
    }
    assert!(told.contains("(2 tries)") && lines(&first).len() == 3, "{told}");
    let before: Vec<_> = fleet.nodes.iter().map(blocks).collect();
    assert_eq!((before[0].len(), &before[0], before[2].len()), (2, &before[1], 0));
    assert!(fleet.nodes[1].is_dropped("203.0.113.7") && !fleet.nodes[2].is_dropped("203.0.113.7"));

    // again, and the third is there by now: nothing is new but there
    fleet.serve(2);
    let second = fleet.push(&list, &["--json"]);
    let told: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!((second.status.code(), &told["failed"], &told["bad"]), (Some(0), &0.into(), &0.into()), "{told:#}");
    let report = |key: &str| -> Vec<u64> {
        told["hosts"].as_array().unwrap().iter().map(|host| host["report"][key].as_u64().unwrap()).collect()
    };
    assert_eq!((report("made"), report("already")), (vec![0, 0, 2], vec![2, 2, 0]));
    for node in &fleet.nodes {
        assert_eq!((blocks(node), changes(node)), (before[0].clone(), 1), "the same end everywhere, and one change");
        assert!(node.is_dropped("198.51.100.9"));
    }

    // what a host refuses is told with its line, and is a failure
    fs::write(&list, "203.0.113.7 ttl=7d reason=scans\n\n192.0.2.1\n").unwrap();
    let refused = fleet.push(&list, &[]);
    let told = [refused.stdout, refused.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert_eq!((refused.status.code(), told.matches("line 3: blocking 192.0.2.1").count()), (Some(1), 3), "{told}");

    // a command that is not there
    let missing = fleet.push_to(Path::new("/nonexistent/vosctl"), &list, &[]);
    let told = lines(&missing).join("\n");
    assert_eq!((missing.status.code(), told.matches("says --remote").count()), (Some(1), 3), "{told}");
}
