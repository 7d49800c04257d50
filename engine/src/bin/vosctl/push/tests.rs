use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use clap::Parser;
use serde_json::json;

use super::*;
use crate::cluster::ClusterCommand;

fn args(words: &[&str]) -> Result<(Cli, PushArgs), clap::Error> {
    let words = ["vosctl", "cluster", "push"].iter().chain(words);
    let mut cli = Cli::try_parse_from(words)?;
    let command = std::mem::replace(&mut cli.verb, crate::Verb::Asking(crate::Command::Feeds));
    match command {
        crate::Verb::Asking(crate::Command::Cluster { command: ClusterCommand::Push(args) }) => Ok((cli, args)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_host_and_no_command_is_is_refused_with_the_fix() {
    for (words, fix) in [
        (vec!["f", "--", "-oProxyCommand=x"], "does not begin with -"),
        (vec!["f", ""], "write a host"),
        (vec!["f", "a b"], "a word of its own"),
        (vec!["f", "a", "--ssh", "ssh 'x"], "every quote closed"),
        (vec!["f", "a", "--ssh", ""], "no command"),
        (vec!["f", "a", "--jobs", "0"], "1..=256"),
        (vec!["f", "a", "--retries", "11"], "0..=10"),
        (vec!["f"], "HOST"),
    ] {
        let error = args(&words).expect_err("refused").to_string();
        assert!(error.contains(fix), "{words:?}: {error}");
    }
    let (_, push) = args(&["f", "root@a", "ssh://b:2222", "--ssh", "ssh -i 'my key'"]).expect("taken");
    assert_eq!((push.ssh.0.join("|").as_str(), push.hosts.len(), push.jobs), ("ssh|-i|my key", 2, 16));
}

#[test]
fn a_time_to_live_counts_from_when_the_file_was_written() {
    let (_, push) = args(&["f", "a", "--ttl", "1h", "--reason", "partner"]).expect("taken");
    let list = "# list\n192.0.2.1 ttl=90s\n\n192.0.2.2 reason=\"own\"\n1.2.3\n192.0.2.3 ttl=forever kind=trust\n\
                192.0.2.4 until=2027-01-01T00:00:00Z";
    let sent = rewritten(list.as_bytes(), &push, 1_000_000_000);
    assert_eq!(sent.bad, 1);
    assert_eq!(
        String::from_utf8(sent.bytes).expect("text"),
        "\n192.0.2.1 until=2001-09-09T01:48:10Z reason=\"partner\"\n\n192.0.2.2 until=2001-09-09T02:46:40Z reason=\"own\"\n\n\
         192.0.2.3 kind=trust ttl=forever reason=\"partner\"\n192.0.2.4 until=2027-01-01T00:00:00Z reason=\"partner\"\n"
    );
}

#[test]
fn the_other_hosts_shell_reads_what_is_meant() {
    let (mut cli, push) = args(&["f", "a", "--remote", "sudo vosctl", "--strict"]).expect("taken");
    assert_eq!(remote(&cli, &push).as_deref(), Some("sudo vosctl --json import --strict -"));
    cli.iface = Some("e'; reboot".to_owned());
    let command = remote(&cli, &push).expect("sent");
    let words = shlex::split(&command).expect("words");
    assert_eq!(words, ["sudo", "vosctl", "--iface", "e'; reboot", "--json", "import", "--strict", "-"]);
}

#[test]
fn each_host_has_a_line_that_says_what_came_of_it() {
    let ended = |code: i32, stdout: &str, stderr: &str| {
        let status = ExitStatus::from_raw(code << 8);
        Ok(Output { status, stdout: stdout.into(), stderr: stderr.into() })
    };
    let report = json!({ "made": 3, "already": 120, "refused": 0, "set": 7 }).to_string();
    let refused = json!({ "made": 0, "refused": 1, "bad": 0, "dry_run": true,
                          "untaken": [{ "line": 4, "error": "too wide", "refused": true }] });
    for (output, tries, ok, said) in [
        (ended(0, &report, ""), 1, true, "a: 3 new, 120 in force already  (undo 7)"),
        (ended(0, &report, ""), 2, true, "a: 3 new, 120 in force already  (undo 7)  (2 tries)"),
        (ended(1, &refused.to_string(), ""), 1, false, "a: nothing was changed: 0 new, 1 refused"),
        (ended(255, "", "x\nssh: connection refused\n\n"), 3, false, "a: failed: ssh: connection refused  (3 tries)"),
        (ended(3, "", "{\"error\":\"no engine\",\"code\":\"unreachable\"}\n"), 1, false, "a: failed: no engine"),
        (ended(127, "", "sh: vosctl: not found"), 1, false, "a: failed: sh: vosctl: not found; where vosctl is"),
        (ended(0, "Welcome!", ""), 1, false, "a: failed: what answered is no `vosctl import`"),
        (ended(9, "", ""), 1, false, "a: failed: ended with exit status: 9"),
        (Err(io::Error::other("ssh: no such file")), 1, false, "a: failed: ssh: no such file"),
    ] {
        let pushed = judged("a", tries, output);
        assert_eq!(pushed.ok, ok, "{pushed:?}");
        assert!(line(&pushed).starts_with(said), "{} is not {said}", line(&pushed));
    }
    assert_eq!(untaken(&judged("a", 1, ended(1, &refused.to_string(), ""))), ["a: line 4: too wide"]);
}
