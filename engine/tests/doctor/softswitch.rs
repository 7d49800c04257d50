use std::fmt::Write as _;

use nix::sys::socket::{setsockopt, sockopt};
use vos_bench::Program;
use vos_bench::process::output;

use super::host::{Host, until};

/// Kamailio with these lines in its configuration; it listens when this is done.
fn kamailio(host: &Host, lines: &str) -> Program {
    let (file, run) = (host.path("kamailio.cfg"), host.path("kamailio"));
    std::fs::create_dir_all(&run).unwrap();
    let mut config =
        "#!KAMAILIO\ndebug=0\nlog_stderror=yes\ndisable_tcp=yes\nauto_aliases=no\ndns=no\nrev_dns=no\n".to_owned();
    write!(config, "listen=udp:192.0.2.1:5060\n{lines}\nrequest_route {{ exit; }}\n").unwrap();
    std::fs::write(&file, config).unwrap();
    let mut command = host.ns.command("kamailio");
    command
        .args(["-DD", "-E", "-m", "32", "-M", "4", "-f"])
        .arg(&file)
        .arg("-Y")
        .arg(&run)
        .arg("-P")
        .arg(run.join("pid"));
    let mut program = Program::start("kamailio", &mut command, Some(&host.path("kamailio.log"))).unwrap();
    until("Kamailio listens", || {
        assert!(program.ended().unwrap().is_none(), "Kamailio ended: {}", program.log_tail(20));
        !output(host.ns.command("ss").args(["-Hlun", "sport = 5060"])).unwrap().trim().is_empty()
    });
    program
}

#[test]
fn a_kamailio_with_a_small_buffer_and_one_worker_is_told_its_keys() {
    if !vos_bench::ready(&["kamailio", "ss"]) {
        return;
    }
    let host = Host::new();
    let nobody = host.said();
    assert_eq!(nobody.severity("softswitch"), "warning");
    let mut program = kamailio(&host, "children=1\nmaxbuffer=65536");
    until("its worker waits", || host.said().what("workers").starts_with("1 of "));
    let said = host.said();
    assert!(said.what("softswitch").contains("kamailio listens at 192.0.2.1:5060"), "{:#}", said.json);
    assert_eq!(said.severity("receive-buffer"), "warning");
    assert!(said.fix("receive-buffer").contains("maxbuffer=4194304 in kamailio.cfg"), "{}", said.fix("receive-buffer"));
    // ss prints the same number: skmem:(r0,rb…
    let ss = output(host.ns.command("ss").args(["-Hlunm", "sport = 5060"])).unwrap();
    let buffer: u64 = ss.split(",rb").nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap();
    assert!(
        said.what("receive-buffer").contains(&format!("{} KiB", buffer >> 10)),
        "{ss}: {}",
        said.what("receive-buffer")
    );
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(said.severity("workers"), if cores > 1 { "note" } else { "ok" });
    program.end().unwrap();
    drop(program);
    let _program = kamailio(&host, &format!("children={}", cores + 1));
    until("its workers wait", || host.said().what("workers").starts_with(&format!("{} of ", cores + 1)));
    assert_eq!(host.said().severity("workers"), "ok");
}

#[test]
fn a_socket_with_room_is_well_until_it_has_lost_something() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let host = Host::new();
    let socket = host.ns.enter(|| std::net::UdpSocket::bind("192.0.2.1:5060").unwrap()).unwrap();
    setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20)).unwrap();
    let said = host.said();
    for check in ["softswitch", "receive-buffer", "receive-losses"] {
        assert_eq!(said.severity(check), "ok", "{:#}", said.of(check));
    }
    assert!(said.what("receive-buffer").contains("8192 KiB"), "{}", said.what("receive-buffer"));
    setsockopt(&socket, sockopt::RcvBufForce, &4_096).unwrap();
    let sender = host.ns.enter(|| std::net::UdpSocket::bind("192.0.2.1:0").unwrap()).unwrap();
    for _ in 0..100 {
        sender.send_to(&[0; 500], "192.0.2.1:5060").unwrap();
    }
    let said = host.said();
    assert_eq!((said.severity("receive-buffer"), said.severity("receive-losses")), ("warning", "warning"));
    let lost: u32 = said.what("receive-losses").split(' ').next().unwrap().parse().unwrap();
    socket.set_nonblocking(true).unwrap();
    let read = (0..).take_while(|_| socket.recv(&mut [0; 600]).is_ok()).count();
    assert_eq!(lost as usize + read, 100);
}
