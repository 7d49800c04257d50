//! A Kamailio that tells what it reads.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::reading::{FIELDS, Reading};

/// How long it may think about a message, or about starting; it needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// One server on a loopback port of its own.
pub(crate) struct Kamailio {
    process: Child,
    socket: UdpSocket,
    told: Receiver<Told>,
    /// Marks the lines of the log that the script wrote: no message can know it.
    secret: String,
    asked: u32,
}

/// What Kamailio does with a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Its script never sees it.
    Drops,
    /// Its script sees it, but not all of the headers, or not who it is from or for.
    Stumbles,
    /// All of it is read.
    Reads(Reading),
}

enum Told {
    Ready,
    Read(Reading),
    /// The log it left.
    Ended(String),
}

impl Kamailio {
    /// Starts one, or nothing if there is none on this machine. With `VOS_REQUIRE_ALL=1` that is a failure.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = find_program() else {
            let missing = "no kamailio in PATH or /usr/sbin";
            assert!(env::var_os("VOS_REQUIRE_ALL").is_none_or(|all| all != "1"), "{missing}");
            eprintln!("skipped: {missing}");
            return None;
        };
        let secret = format!("told-{:016x}", RandomState::new().build_hasher().finish());
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free_port();
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut process = Command::new(program)
            .args(["-f", "-", "-DD", "-E", "-M", "32", "-Y", env!("CARGO_TARGET_TMPDIR")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(script(port, &secret).as_bytes()).unwrap();
        let (tell, told) = channel();
        let (log, mark) = (process.stderr.take().unwrap(), secret.clone());
        thread::spawn(move || listen(log, &mark, &tell));
        let kamailio = Self { process, socket, told, secret, asked: 0 };
        kamailio.await_start();
        Some(kamailio)
    }

    /// Sends a datagram and tells what became of it.
    pub(crate) fn ask(&mut self, datagram: &[u8]) -> Verdict {
        self.asked += 1;
        let end = format!("{}-{}", self.secret, self.asked);
        self.socket.send(datagram).unwrap();
        self.socket.send(probe(&end).as_bytes()).unwrap();
        let mut verdict = Verdict::Drops;
        loop {
            let reading = self.next_reading();
            if reading.get("call-id") == end {
                return verdict;
            }
            assert_eq!(verdict, Verdict::Drops, "one datagram, two messages");
            verdict = if reading.is_whole() { Verdict::Reads(reading) } else { Verdict::Stumbles };
        }
    }

    fn await_start(&self) {
        match self.told.recv_timeout(PATIENCE) {
            Ok(Told::Ready) => {}
            Ok(Told::Ended(log)) => panic!("kamailio did not start:\n{log}"),
            Ok(Told::Read(reading)) => panic!("{reading:?} before the start"),
            Err(e) => panic!("kamailio is not ready: {e}"),
        }
    }

    fn next_reading(&self) -> Reading {
        match self.told.recv_timeout(PATIENCE) {
            Ok(Told::Read(reading)) => reading,
            Ok(Told::Ready) => panic!("kamailio started twice"),
            Ok(Told::Ended(log)) => panic!("kamailio ended:\n{log}"),
            Err(e) => panic!("kamailio says nothing: {e}"),
        }
    }
}

impl Drop for Kamailio {
    /// Asked to end, it takes its workers with it; killed, it would leave them.
    fn drop(&mut self) {
        let asked = Command::new("sh").args(["-c", "kill $0", &self.process.id().to_string()]).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Passes on what the script says, until the log ends.
fn listen(log: ChildStderr, secret: &str, tell: &Sender<Told>) {
    let mut rest = String::new();
    let mut reading = Reading::default();
    for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let told = match line.split_once(&format!("{secret} ")) {
            None => {
                rest.push_str(&line);
                rest.push('\n');
                continue;
            }
            Some((_, "ready")) => Told::Ready,
            Some((_, "end")) => Told::Read(std::mem::take(&mut reading)),
            Some((_, fact)) => {
                reading.note(fact);
                continue;
            }
        };
        if tell.send(told).is_err() {
            return;
        }
    }
    let _ = tell.send(Told::Ended(rest));
}

/// Logs each field and each header in hexadecimal, and ends there: nothing is forwarded.
fn script(port: u16, secret: &str) -> String {
    let say = |what: &str| format!("xlog(\"L_ERR\", \"{secret} {what}\\n\");\n");
    let fields: String = FIELDS
        .iter()
        .map(|field| say(&format!("{} $({}{{s.encode.hexa}})", field.name, &field.variable[1..])))
        .collect();
    let header = say("header $(hfitname(each){s.encode.hexa}) $(hfitbody(each){s.encode.hexa})");
    let tell = format!(
        "{fields}if (hf_iterator_start(\"each\")) {{\n{}while (hf_iterator_next(\"each\")) {{\n{header}}}\n}}\n{}",
        say("whole"),
        say("end"),
    );
    let ready = say("ready");
    format!(
        r#"#!KAMAILIO
debug=-1
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
dns=no
rev_dns=no
max_while_loops=1000
pv_buffer_size=131072
listen=udp:127.0.0.1:{port}
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "textopsx.so"
modparam("xlog", "buf_size", 131072)
event_route[core:worker-one-init] {{ {ready} }}
request_route {{ {tell} exit; }}
reply_route {{ {tell} drop; }}
"#
    )
}

/// A message that is read for sure: what was sent before it has been dealt with.
fn probe(call_id: &str) -> String {
    format!(
        "OPTIONS sip:probe SIP/2.0\r\nVia: SIP/2.0/UDP probe\r\nFrom: <sip:probe>\r\nTo: <sip:probe>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n\r\n"
    )
}

fn find_program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    folders.map(|folder| folder.join("kamailio")).find(|program| program.is_file())
}

fn free_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
