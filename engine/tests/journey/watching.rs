//! Who watches sees what was dropped, packet for packet, and is told why.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use vos_bench::process::output;
use vos_engine::pcap;

use crate::site::{CALLER, FAR, PATIENCE, Site, wait_until};

/// In 203.0.113.0/24.
const BAD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

/// A `vosctl` that goes on; ended with the test.
struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _nobody_is_told = self.0.wait();
    }
}

impl Watching {
    #[track_caller]
    fn start(site: &Site, words: &[&str], log: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vosctl"));
        command.args(["--iface", &site.iface, "--run-dir"]).arg(site.path("run")).args(words);
        let log = std::fs::File::create(log).unwrap();
        Self(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    #[track_caller]
    fn ends(&mut self, what: &str) -> Option<i32> {
        let mut code = None;
        wait_until(what, PATIENCE, || {
            code = self.0.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |file| file.len())
}

fn frames(path: &Path) -> Vec<Vec<u8>> {
    let (packets, error) = pcap::read(path);
    assert!(error.is_none(), "{error:?}");
    packets.into_iter().map(|packet| packet.frame).collect()
}

#[test]
fn a_capture_holds_what_was_dropped_and_nothing_else() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    let site = Site::builder().start();
    site.told(&["block", "203.0.113.0/24", "--reason", "guessing"]);
    let (counted, ended) = (site.path("counted.pcap"), site.path("ended.pcap"));
    let words = ["capture", "-w", counted.to_str().unwrap(), "--reason", "stealth", "--count", "2"];
    let mut two = Watching::start(&site, &words, &site.path("two.log"));
    let mut all = Watching::start(&site, &["capture", "-w", ended.to_str().unwrap()], &site.path("all.log"));
    wait_until("both captures have begun", PATIENCE, || size(&counted) == 24 && size(&ended) == 24);
    let scan = |n: u32| site.sip_frame(FAR, "OPTIONS", &format!("scan{n}")).build();
    let blocked = site.sip_frame(BAD, "INVITE", "blocked").build();
    let passes = site.sip_frame(CALLER, "REGISTER", "passes").build();
    let sent = [scan(1), blocked.clone(), passes, scan(2)];
    site.send(&sent);
    site.arrives("passes");
    assert_eq!(two.ends("two packets are captured"), Some(0));
    assert_eq!(frames(&counted), [scan(1), scan(2)]);
    wait_until("three packets are captured", PATIENCE, || pcap::read(&ended).0.len() >= 3);
    kill(Pid::from_raw(all.0.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(all.ends("the interrupted capture ends"), Some(0));
    // The wire spreads them over queues, and so over CPUs: their order is not that in which they were sent.
    let mut got = frames(&ended);
    let mut expected = vec![scan(1), blocked, scan(2)];
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    let dumped = output(Command::new("tcpdump").args(["-Z", "root", "-nr"]).arg(&counted)).unwrap();
    assert_eq!(dumped.lines().filter(|line| line.contains("SIP: OPTIONS sip:2@e.com SIP/2.0")).count(), 2, "{dumped}");
}

#[test]
fn events_tell_who_was_dropped_and_end_with_the_engine() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let mut site = Site::builder().start();
    let log = site.path("events.log");
    let mut follower = Watching::start(&site, &["events", "-f", "--json"], &log);
    let payload = b"OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 1.1.1.1;branch=z9hG4bK1\r\n\
        From: <sip:1@x>;tag=1\r\nTo: <sip:1@x>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nUser-Agent: friendly-scanner\r\n\r\n";
    let scan = site.sip_frame_of(FAR.into(), payload).build();
    // Sent until the follower is there to see it.
    wait_until("the follower sees the scan", PATIENCE, || {
        site.send(std::slice::from_ref(&scan));
        std::fs::read_to_string(&log).unwrap().contains("friendly-scanner")
    });
    let text = std::fs::read_to_string(&log).unwrap();
    let event: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let told = ["kind", "reason", "source", "destination", "start_line", "user_agent"].map(|key| event[key].as_str());
    let expected =
        ["drop", "stealth", "198.51.100.20", "192.0.2.1", "OPTIONS sip:100@192.0.2.1 SIP/2.0", "friendly-scanner"];
    assert_eq!(told, expected.map(Some));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let time = event["time"].as_f64().unwrap();
    assert!((now - 60.0..now + 1.0).contains(&time), "{time} is not {now}");
    let port = u16::from_be_bytes([scan[34], scan[35]]);
    assert_eq!((&event["source_port"], &event["length"]), (&port.into(), &scan.len().into()));

    site.told(&["block", "203.0.113.0/24", "--reason", "guessing"]);
    let recent = String::from_utf8(site.vosctl(&["events"]).stdout).unwrap();
    assert!(recent.contains("  stealth           198.51.100.20:"), "{recent}");
    // Not the last of all: a scan may be read from the kernel behind it.
    assert!(recent.contains("  rule              203.0.113.0/24 is blocked, cli root, guessing"), "{recent}");
    let only = String::from_utf8(site.vosctl(&["events", "--reason", "blocked"]).stdout).unwrap();
    assert_eq!(only, "");

    site.stop();
    assert_eq!(follower.ends("the follower ends with the engine"), Some(3));
}

#[test]
fn the_filter_in_force_explains_a_packet_without_counting_it() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    site.told(&["block", "203.0.113.0/24", "--ttl", "1h", "--reason", "guessing"]);
    let file = site.path("why.pcap");
    let mut writer = pcap::Writer::new(std::fs::File::create(&file).unwrap()).unwrap();
    for (from, method) in [(BAD, "INVITE"), (FAR, "OPTIONS"), (CALLER, "INVITE")] {
        let frame = site.sip_frame(from, method, "why").build();
        writer.write(std::time::Duration::from_secs(1_700_000_000), &frame, frame.len() as u32).unwrap();
    }
    let before = site.stats();
    let done = site.vosctl(&["explain", "--kernel", &site.iface, file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    for part in [
        "  drop  blocked: 203.0.113.0/24 is blocked until ",
        ", cli root, guessing\n",
        "  drop  stealth: unknown sources get no answer to OPTIONS (xdp.stealth)\n",
        "  engine  redirected: of an unknown source, survived every rule: to the engine\n",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    assert!(!said.contains("kernel says"), "{said}");
    for reason in ["blocked", "stealth", "redirected"] {
        assert_eq!(site.stats().reason(reason), before.reason(reason), "asking was counted as {reason}");
    }
}
