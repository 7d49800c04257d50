use std::collections::HashSet;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::Signal;
use vos_bench::Program;
use vos_bench::process::output;
use vos_common::reason::Reason;
use vos_engine::pcap;

use crate::frames::request;
use crate::registers::at_most;
use crate::site::{PHONES, Site, wait_until};

#[test]
fn a_scan_is_captured_in_part_and_nothing_else_is() {
    if !vos_bench::ready(&["kamailio", "tcpdump"]) {
        return;
    }
    // The burst puts the server behind: what is given up then is not what this is about.
    let site = Site::start("[relay]\npriority = false\n");
    let (file, scanner) = (site.path("drops.pcap"), std::net::Ipv4Addr::new(100, 64, 9, 9));
    let mut command = site.command(&["capture", "-w", file.to_str().unwrap()]);
    let log = site.path("capture.log");
    let mut capture = Program::start("vosctl capture", command.stdin(Stdio::null()), Some(&log)).unwrap();
    wait_until("the capture has begun", || file.metadata().is_ok_and(|file| file.len() >= 24));
    let begin = Instant::now();
    let options = |n: usize| site.frame(scanner, &request("OPTIONS", scanner.into(), &format!("scan{n}")));
    let scans: Vec<Vec<u8>> = (0..2_000).map(options).collect();
    // Among them what passes, from the same address.
    let passes = |n: usize| site.frame(scanner, &request("REGISTER", scanner.into(), &format!("pass{n}")));
    let sent: Vec<Vec<u8>> =
        (0..2_000).flat_map(|n| [scans[n].clone(), passes(n)].into_iter().take(1 + n % 2)).collect();
    site.send(&sent);
    let took = begin.elapsed();
    assert_eq!(site.maps().reason(Reason::Stealth), 2_000);
    // The ring is read every 20 ms: the last of them is there once a later one is.
    let later = std::net::Ipv4Addr::new(100, 64, 9, 10);
    let garbage = site.frame(later, "this is no SIP, but long enough for it");
    site.send(std::slice::from_ref(&garbage));
    wait_until("the later one is captured", || pcap::read(&file).0.iter().any(|packet| packet.frame == garbage));
    capture.signal(Signal::SIGINT).unwrap();
    wait_until("the capture ends", || capture.ended().unwrap().is_some());
    let (packets, error) = pcap::read(&file);
    assert!(error.is_none(), "{error:?}");
    let dropped: HashSet<&Vec<u8>> = scans.iter().collect();
    let captured: Vec<&Vec<u8>> = packets.iter().map(|packet| &packet.frame).filter(|it| **it != garbage).collect();
    assert!(captured.iter().all(|frame| dropped.contains(frame)), "something is captured that was not dropped");
    assert_eq!(captured.iter().collect::<HashSet<_>>().len(), captured.len(), "something is captured twice");
    // 10 a second, 20 at once, on each CPU that has judged some: the burst of at least one, the bound of all.
    let cpus = std::thread::available_parallelism().unwrap().get() as u64;
    let bound = cpus * at_most((20, 10), took);
    let count = captured.len() as u64;
    eprintln!("{count} of 2000 captured in {took:?}, at most {bound}");
    assert!((20..=bound).contains(&count), "{count} captured, at most {bound} may be");
    let dumped = output(Command::new("tcpdump").args(["-Z", "root", "-nr"]).arg(&file)).unwrap();
    assert_eq!(dumped.lines().filter(|line| line.contains("SIP: OPTIONS sip:e.com SIP/2.0")).count(), captured.len());
    site.balances();
}

#[test]
fn who_asks_the_bare_address_learns_nothing_and_who_knows_the_domain_registers() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("[xdp]\ndomains = [\"e.com\"]\n");
    let mut stranger = site.phone("a", PHONES[0]);
    let foreign = [
        stranger.request("REGISTER", "sip:192.0.2.1", "a"),
        stranger.request("REGISTER", "sip:other.example", "a"),
        stranger
            .request("INVITE", "sip:echo@e.com", "echo")
            .replace("To: <sip:echo@e.com>", "To: <sip:echo@192.0.2.1>"),
        stranger.request("MESSAGE", "sip:x@e.com", "x").replace("To: <sip:x@e.com>", "To: <sip:x@other.example>"),
    ];
    for request in &foreign {
        stranger.send(request);
    }
    wait_until("all are swallowed", || site.dropped_by_workers("foreign_domain") == foreign.len() as u64);
    wait_until("what the workers swallow is shown", || {
        let shown = site.tell(&["events", "--reason", "foreign_domain"]).stdout;
        String::from_utf8_lossy(&shown).lines().count() == foreign.len()
    });
    // The next datagram that comes is the challenge of one that asks for our domain.
    let register = stranger.request("REGISTER", "sip:e.com", "a");
    stranger.send(&register);
    let mut reply = None;
    wait_until("the domain's name is answered", || {
        reply = stranger.receive();
        reply.is_some()
    });
    let (reply, call) = (reply.unwrap(), register.lines().find(|line| line.starts_with("Call-ID")).unwrap());
    assert!(reply.starts_with("SIP/2.0 401 ") && reply.contains(call), "{reply}");
    let methods: Vec<String> = site.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["REGISTER"], "Kamailio has seen what is foreign");
    // A phone that knows the domain registers, and may then ask for whatever it likes.
    stranger.registers();
    wait_until("it is verified", || site.verified() == 1);
    let (status, reply) = stranger.asks(&foreign[0], None);
    assert_eq!(status, 401, "{reply}");
    assert_eq!(site.dropped_by_workers("foreign_domain"), foreign.len() as u64);
    site.balances();
}
