//! What `vosctl` refuses by itself: every bad word of every command, told with the fix, and nobody is asked.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use serde_json::Value;

/// `vosctl` beside a socket on which nobody may knock.
struct Tool {
    dir: tempfile::TempDir,
    engine: UnixListener,
}

impl Tool {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = UnixListener::bind(dir.path().join("eth0.sock")).unwrap();
        engine.set_nonblocking(true).unwrap();
        Self { dir, engine }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vosctl"));
        command.env_remove("SSH_CONNECTION").arg("--run-dir").arg(self.dir.path()).args(words).output().unwrap()
    }

    #[track_caller]
    fn refused(&self, words: &[&str], fix: &str) {
        let output = self.run(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(fix) && output.stdout.is_empty(), "{words:?}: no `{fix}` in {said}");
        let output = self.run(&[words, &["--json"]].concat());
        let error: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        assert_eq!((output.status.code(), &error["code"]), (Some(2), &Value::from("usage")), "{words:?}");
        assert!(error["error"].as_str().unwrap().contains(fix), "{words:?}: {error}");
        let nobody = self.engine.accept().map(|_| ()).map_err(|error| error.kind());
        assert_eq!(nobody, Err(ErrorKind::WouldBlock), "{words:?}: somebody was asked");
    }
}

#[test]
fn every_bad_word_is_refused_with_the_fix_and_nobody_is_asked() {
    let tool = Tool::new();
    for verb in ["block", "allow", "trust", "unblock", "unallow", "untrust"] {
        for (address, fix) in [
            ("999.1.1.1", "0 to 255"),
            ("010.1.1.1", "octal"),
            ("203.0.113", "in full"),
            ("203.0.113.7/33", "0 to 32"),
            ("203.0.113.7/24", "203.0.113.0/24"),
            ("203.0.113.7:5060", "the bare address"),
            ("[2001:db8::1]", "the bare address"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("fe80::1%eth0", "without"),
            ("2001:db8:::1", "2001:db8::1"),
            ("pbx.example.com", "names are not looked up"),
            ("203.0.113.7 ", "blank"),
            ("", "203.0.113.7"),
        ] {
            tool.refused(&[verb, address], fix);
        }
        tool.refused(&[verb], "<ADDRESS>...");
        tool.refused(&[verb, "203.0.113.7", "--tll", "1h"], "unexpected argument '--tll'");
        // one bad address, and the good ones are not sent either
        tool.refused(&[verb, "203.0.113.7", "999.1.1.1"], "0 to 255");
    }
    let (ttl, until) = ("90s, 15m, 2h, 7d or forever", "2027-01-01T00:00:00Z");
    for (words, fix) in [
        (&["block", "203.0.113.7", "--ttl", "soon"][..], ttl),
        (&["block", "203.0.113.7", "--ttl", "90"], ttl),
        (&["block", "203.0.113.7", "--ttl=-1h"], ttl),
        (&["block", "203.0.113.7", "--ttl", "0s"], ttl),
        (&["block", "203.0.113.7", "--ttl", "200years"], "forever"),
        (&["allow", "203.0.113.7", "--until", "tomorrow"], until),
        (&["allow", "203.0.113.7", "--until", "2020-01-01T00:00:00Z"], "to come"),
        (&["trust", "203.0.113.7", "--until", "2127-01-01T00:00:00Z", "--ttl", "1h"], "cannot be used with"),
        (&["list", "blok"], "trust, block or allow"),
        (&["list", "block", "--kind", "allow"], "cannot be used with"),
        (&["list", "--origin", "mail"], "detector, config or cluster"),
        (&["list", "--covering", "pbx"], "write the address itself"),
        (&["list", "--newer", "forever"], "90s, 15m, 2h or 7d"),
        (&["list", "--older", "x"], "90s, 15m, 2h or 7d"),
        (&["list", "--limit", "0"], "0 is not in 1.."),
        (&["history", "--limit", "501"], "501 is not in 1..=500"),
        (&["undo", "last"], "invalid digit"),
        (&["undo", "1", "2"], "unexpected argument '2'"),
        (&["import"], "<FILE>"),
        (&["import", "x", "--ttl", "x"], ttl),
        (&["export", "--kind", "x"], "trust, block or allow"),
        (&["stats", "--watch", "0"], "0 is not in 1..=3600"),
        (&["top", "--interval", "61"], "61 is not in 1..=60"),
        (&["rule", "scaner", "off"], "foreign_domain"),
        (&["rule", "scanner", "on"], "enforce"),
        (&["attack", "on", "--ttl", "forever"], "90s, 15m, 2h or 7d"),
        (&["attack"], "on"),
        (&["backend", "drain"], "<NAME>"),
        (&["events", "--reason", "nonsense"], "stealth"),
        (&["capture"], "--write <FILE>"),
        (&["capture", "-w", "x", "--count", "0"], "0 is not in 1.."),
        (&["capture", "-w", "x", "--duration", "x"], "x"),
        (&["explain"], "<FILE>..."),
        (&["explain", "x", "--config", "y", "--kernel", "eth0"], "cannot be used with"),
        (&["completions", "csh"], "bash, zsh, fish"),
        (&["man", "--dir"], "<DIR>"),
        (&["feeds", "x"], "unexpected argument 'x'"),
        (&["gateways", "x"], "unexpected argument 'x'"),
        (&["blok", "203.0.113.7"], "'block'"),
        (&[], "Usage"),
    ] {
        tool.refused(words, fix);
    }
    // a terminal is wanted, and not there
    tool.refused(&["top"], "vosctl stats --json --watch");
}

#[test]
fn who_blocks_where_ssh_cannot_be_seen_is_told_so() {
    if !vos_bench::ready(&[]) {
        return;
    }
    const NOBODY: u32 = 65_534;
    let tool = Tool::new();
    let own = tool.dir.path().join("vosctl");
    fs::copy(env!("CARGO_BIN_EXE_vosctl"), &own).unwrap();
    for path in [tool.dir.path(), &own] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let ssh = Some("203.0.113.9 4022 192.0.2.1 22");
    for (words, session, is_told) in [
        (&["block", "203.0.113.7"][..], None, true),
        (&["undo"], None, true),
        (&["block", "203.0.113.7"], ssh, false),
        (&["block", "203.0.113.7", "--json"], None, false),
        (&["allow", "203.0.113.7"], None, false),
        (&["unblock", "203.0.113.7"], None, false),
    ] {
        let mut command = Command::new(&own);
        // whoever called it is root, and keeps what it has from others
        command.uid(NOBODY).gid(NOBODY).current_dir("/").env_remove("SSH_CONNECTION");
        command.envs(session.map(|session| ("SSH_CONNECTION", session)));
        let output = command.arg("--run-dir").arg(tool.dir.path()).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "the socket is not theirs: {said}");
        assert_eq!(said.contains("whether you came by ssh cannot be seen"), is_told, "{words:?}: {said}");
        assert!(output.stdout.is_empty() && said.lines().count() == 1 + usize::from(is_told), "{words:?}: {said}");
    }
}

#[test]
fn help_and_version_are_no_errors() {
    let tool = Tool::new();
    for words in [&["--help"][..], &["--version"], &["block", "--help"], &["help", "undo"], &["--json", "--help"]] {
        let output = tool.run(words);
        assert!(output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(), "{words:?}");
    }
}

/// What bash offers behind these words.
fn completed(script: &str, words: &[&str]) -> String {
    let list: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let program = format!(
        "source <(cat); COMP_WORDS=({}); COMP_CWORD={}; _vosctl vosctl '{}' '{}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        list.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let mut bash = Command::new("bash");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script).unwrap();
    let output = bash.args(["-c", &program]).stdin(std::fs::File::open(file.path()).unwrap()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn shells_complete_commands_and_flags() {
    let tool = Tool::new();
    let script = |shell: &str| {
        let output = tool.run(&["completions", shell]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let bash = script("bash");
    assert_eq!(completed(&bash, &["vosctl", "unbl"]), "unblock\n");
    assert!(completed(&bash, &["vosctl", "block", "--"]).contains("--ttl"));
    assert_eq!(completed(&bash, &["vosctl", "completions", "z"]), "zsh\n");
    assert!(script("zsh").starts_with("#compdef vosctl") && script("fish").contains("complete -c vosctl"));
    for (shell, script) in [("zsh", script("zsh")), ("fish", script("fish"))] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        // where the shell is there, it reads it without a word
        if let Ok(output) = Command::new(shell).arg("-n").arg(file.path()).output() {
            assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
