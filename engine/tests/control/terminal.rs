//! `vosctl top` on a terminal: it shows, obeys its keys, and leaves the terminal as it was.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::site::{Node, wait_until};

/// A terminal of 80 by 24 that `script` makes, and what was written to it.
struct Pty {
    script: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Says how the terminal is set, the pid of `vosctl`, its exit code, and how the terminal is set then.
    fn run(vosctl: &Command) -> Self {
        let words = std::iter::once(vosctl.get_program()).chain(vosctl.get_args());
        let words: Vec<_> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
        let line = format!(
            "stty rows 24 cols 80; echo before $(stty -g).; sh -c 'echo pid $$.; exec \"$0\" \"$@\"' {}; echo code $?.; \
             echo after $(stty -g).",
            words.join(" ")
        );
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm").env_remove("SSH_CONNECTION");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut output) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let to = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                to.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        Self { script, keys, shown }
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// The word behind the last `name`, up to the full stop.
    fn said(&self, name: &str) -> Option<String> {
        let shown = self.shown();
        let (_, behind) = shown.rsplit_once(&format!("{name} "))?;
        behind.split_once('.').map(|(word, _)| word.to_owned())
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// It has ended with this code, and the terminal is as it was.
    #[track_caller]
    fn ended(mut self, code: &str) {
        wait_until("the terminal is given back", || self.said("after").is_some());
        let shown = self.shown();
        assert_eq!(self.said("code").as_deref(), Some(code), "{shown:?}");
        assert_eq!(self.said("before"), self.said("after"), "{shown:?}");
        let last = |sequence: &str| shown.rfind(sequence);
        assert!(last("\u{1b}[?1049h").is_some() && last("\u{1b}[?1049l") > last("\u{1b}[?1049h"), "{shown:?}");
        assert!(last("\u{1b}[?25h") > last("\u{1b}[?25l"), "the cursor is seen again: {shown:?}");
        drop(self.keys);
        self.script.wait().unwrap();
    }
}

#[test]
fn top_shows_what_happens_and_leaves_the_terminal_as_it_was() {
    if !vos_bench::ready(&["script", "stty"]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    node.told(&["block", "203.0.113.7", "--reason", "evil\u{1b}[2Jreason"]);
    assert!(node.is_dropped("203.0.113.7"));
    let once = node.told(&["top", "--once"]);
    assert!(once.lines().count() == 24 && once.lines().all(|line| line.chars().count() <= 80), "{once}");
    for part in [&node.iface, "judged", "TOP DROPPED SOURCES", "203.0.113.7", "blocked 203.0.113.7", "filter"] {
        assert!(once.contains(part), "{part} of\n{once}");
    }
    assert!(!once.contains('\u{1b}'), "{once:?}");

    let mut top = Pty::run(&node.command(&["top"]));
    wait_until("the first picture", || top.shown().contains("LATEST DECISIONS"));
    // what happens while it runs is seen; no letter of it stands there already, so that all of them are written
    node.told(&["unblock", "203.0.113.7"]);
    wait_until("the decision", || top.shown().contains("no longer"));
    top.press("p");
    wait_until("it stands still", || top.shown().contains("PAUSED"));
    top.press("prq");
    top.ended("0");

    let mut top = Pty::run(&node.command(&["top"]));
    wait_until("the first picture", || top.shown().contains("LATEST DECISIONS"));
    top.press("\u{3}");
    top.ended("0");

    let top = Pty::run(&node.command(&["top"]));
    wait_until("the first picture", || top.shown().contains("LATEST DECISIONS"));
    let pid: i32 = top.said("pid").unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    top.ended("0");

    let top = Pty::run(&node.command(&["top"]));
    wait_until("the first picture", || top.shown().contains("LATEST DECISIONS"));
    node.stop();
    top.ended("3");
}

/// Between `vosctl` and the engine: the request after the one for what was waits until `meanwhile` has happened. Ends with
/// the first that asks nothing.
fn between(listener: &UnixListener, engine: &Path, mut meanwhile: impl FnMut()) -> io::Result<()> {
    let mut told = false;
    for asking in listener.incoming() {
        let mut asking = asking?;
        let (mut request, mut first) = (BufReader::new(asking.try_clone()?), String::new());
        if request.read_line(&mut first)? == 0 {
            break;
        }
        if std::mem::replace(&mut told, first.starts_with("GET /v1/events/recent")) {
            meanwhile();
        }
        let mut engine = UnixStream::connect(engine)?;
        engine.write_all(first.as_bytes())?;
        let mut answers = engine.try_clone()?;
        std::thread::spawn(move || io::copy(&mut request, &mut engine).map(|_| engine.shutdown(Shutdown::Both)));
        std::thread::spawn(move || io::copy(&mut answers, &mut asking).map(|_| asking.shutdown(Shutdown::Both)));
    }
    Ok(())
}

#[test]
fn top_misses_nothing_between_what_was_and_what_happens() {
    if !vos_bench::ready(&["script", "stty"]) {
        return;
    }
    let mut node = Node::alone();
    node.start("");
    node.told(&["block", "203.0.113.7"]);
    let (directory, name) = (tempfile::tempdir().unwrap(), format!("{}.sock", node.iface));
    let (socket, engine) = (directory.path().join(&name), node.path("run").join(&name));
    let (listener, mut unblock) = (UnixListener::bind(&socket).unwrap(), node.command(&["unblock", "203.0.113.7"]));
    let between =
        std::thread::spawn(move || between(&listener, &engine, || assert!(unblock.output().unwrap().status.success())));
    let mut command = Command::new(env!("CARGO_BIN_EXE_vosctl"));
    command.args(["--iface", &node.iface, "--run-dir"]).arg(directory.path()).arg("top");
    let mut top = Pty::run(&command);
    wait_until("the decision", || top.shown().contains("no longer"));
    top.press("q");
    top.ended("0");
    drop(UnixStream::connect(&socket).unwrap());
    between.join().unwrap().unwrap();
}
