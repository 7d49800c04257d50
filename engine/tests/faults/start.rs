use std::process::Command;
use std::time::Duration;

use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, EbpfLoader};
use nix::sys::signal::Signal;
use vos_bench::Program;
use vos_bench::process::output;
use vos_common::reason::Reason;
use vos_engine::config::{Bind, Xsk};
use vos_engine::xdp::OBJECT;
use vos_engine::xsk::Queue;

use super::site::{BAD, BAD_NET, PHONE, Site, assert_all_succeeded, kill, until};

const FOREIGN: &str = "__attribute__((section(\"xdp\"), used)) int other_filter(void *c) { return 2; }\n\
                       char _license[] __attribute__((section(\"license\"), used)) = \"GPL\";\n";

/// The id of the XDP program on the interface.
fn program(site: &Site) -> Option<u64> {
    let links = site.server.ip(&format!("-j link show dev {}", site.iface)).unwrap();
    let links: serde_json::Value = serde_json::from_str(&links).unwrap();
    links[0]["xdp"]["prog"]["id"].as_u64()
}

#[test]
fn a_foreign_program_is_named_and_left_alone_unless_it_is_to_be_replaced() {
    if !vos_bench::ready(&["clang"]) {
        return;
    }
    let site = Site::new();
    let (source, object) = (site.path("foreign.c"), site.path("foreign.o"));
    std::fs::write(&source, FOREIGN).unwrap();
    output(Command::new("clang").args(["-O2", "-g", "-target", "bpf", "-c"]).arg(&source).arg("-o").arg(&object))
        .unwrap();
    let mut attach = site.server.command("ip");
    attach.args(["link", "set", "dev", &site.iface, "xdp", "obj"]).arg(&object).args(["sec", "xdp"]);
    output(&mut attach).unwrap();
    let foreign = program(&site).expect("the foreign program is attached");

    let said = site.refused("");
    assert!(said.contains("other_filter") && said.contains("--replace"), "{said}");
    assert_eq!(program(&site), Some(foreign), "it was not left alone");
    assert!(!site.pins().exists(), "pins are left");

    let _engine = site.start("--replace");
    assert!(program(&site).is_some_and(|id| id != foreign));
    let responder = site.responder();
    assert_all_succeeded(&site.calls(PHONE, 20, 50).end());
    drop(responder);
}

#[test]
fn a_start_that_is_stopped_and_continued_over_and_over_succeeds() {
    let site = Site::new();
    let engine = site.begin("");
    // At first often enough to meet the verifier at its work, then so seldom that it ends, on any machine.
    let mut pause = Duration::from_millis(300);
    until("the engine is ready", || {
        std::thread::sleep(pause);
        pause += pause / 8;
        engine.signal(Signal::SIGSTOP).unwrap();
        engine.signal(Signal::SIGCONT).unwrap();
        [": ready", "ERROR"].iter().any(|word| engine.log().contains(word))
    });
    assert!(engine.log().contains(": ready"), "{}", engine.log());
}

#[test]
fn a_foreign_program_on_a_link_of_another_process_stays_and_the_reason_is_said() {
    let site = Site::new();
    let index = site.index();
    let mut ebpf: Ebpf = EbpfLoader::new().load(OBJECT).unwrap();
    let filter: &mut Xdp = ebpf.program_mut("vos_xdp").unwrap().try_into().unwrap();
    filter.load().unwrap();
    site.server.enter(|| filter.attach_to_if_index(index, XdpMode::Driver).map(drop)).unwrap().unwrap();
    let foreign = program(&site).unwrap();
    let said = site.refused("");
    assert!(said.contains("--replace"), "{said}");
    let said = site.refused_now("--replace");
    assert!(said.contains("a BPF link holds it: stop its owner"), "{said}");
    assert_eq!(program(&site), Some(foreign));
}

#[test]
fn a_start_that_cannot_be_names_the_fix_and_leaves_the_interface_clean() {
    let site = Site::new();
    let said = site.refused("--queues 2");
    assert!(said.contains(&format!("ethtool -L {} combined 2", site.iface)), "{said}");
    let said = site.refused("--bind zerocopy");
    assert!(said.contains("refuses zero-copy") && said.contains("--bind copy"), "{said}");
    site.assert_clean();
    let said = site.refused("--inject reentry --xdp generic");
    assert!(said.contains("--inject raw or auto"), "{said}");
    site.assert_clean();

    let mut nowhere = site.server.command(env!("CARGO_BIN_EXE_vos-engine"));
    nowhere.args(["--iface", "nowhere0", "--run-dir"]).arg(site.path("run")).arg("--state-dir").arg(site.path("state"));
    let said = nowhere.output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success() && text.contains("no interface nowhere0") && text.contains("ip -br link"), "{text}");
}

#[test]
fn a_failed_start_leaves_the_filter_that_was_there_before() {
    let site = Site::new();
    let mut engine = site.start("");
    site.tool(&format!("block {BAD_NET}"));
    engine.end().unwrap();
    assert!(site.attached().is_some());
    // a configuration that would drop nothing
    let config = site.path("lax.toml");
    std::fs::write(&config, "[xdp]\nsip_ports = [5070]\n").unwrap();
    let said = site.refused(&format!("--bind zerocopy --config {}", config.display()));
    assert!(said.contains("refuses zero-copy"), "{said}");
    assert!(site.attached().is_some(), "the filter was taken off");
    assert!(site.pins().join("xdp_link").exists());
    let responder = site.responder();
    assert!(!site.reaches(BAD, &responder), "the refused start has put its configuration in force");
}

#[test]
fn where_the_driver_refuses_native_xdp_native_is_an_error_and_auto_falls_back_with_the_reason() {
    let site = Site::new();
    site.server.ip(&format!("link set {} mtu 9000", site.iface)).unwrap();
    site.client.ip(&format!("link set {} mtu 9000", site.lan)).unwrap();
    let said = site.refused("--xdp native");
    assert!(said.contains("refuses native XDP") && said.contains("mtu 1500"), "{said}");
    site.assert_clean();
    let engine = site.start("--xdp auto");
    assert!(engine.log().contains("generic XDP (the driver refuses native"), "{}", engine.log());
    assert_eq!(site.attached().as_deref(), Some("xdpgeneric"));
    let responder = site.responder();
    assert_all_succeeded(&site.calls(PHONE, 20, 50).end());
    drop(responder);
}

#[test]
fn a_second_engine_on_the_same_interface_is_refused_and_the_first_goes_on() {
    let site = Site::new();
    let _engine = site.start("");
    let said = site.refused_now("");
    assert!(said.contains("another vos-engine serves"), "{said}");
    let responder = site.responder();
    assert_all_succeeded(&site.calls(PHONE, 20, 50).end());
    assert_eq!(site.live(), 4);
    drop(responder);
}

#[test]
fn a_second_engine_with_directories_of_its_own_is_refused_and_the_first_keeps_traffic_and_rules() {
    let site = Site::new();
    let _engine = site.start("");
    let responder = site.responder();
    site.tool(&format!("block {BAD_NET}"));
    let mut second = site.server.command(env!("CARGO_BIN_EXE_vos-engine"));
    second.args(["--iface", &site.iface, "--run-dir"]).arg(site.path("run2"));
    second.arg("--state-dir").arg(site.path("state2"));
    let said = second.output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success(), "{text}");
    let redirected = site.reason(Reason::Redirected);
    assert_all_succeeded(&site.calls(PHONE, 20, 50).end());
    assert!(site.reason(Reason::Redirected) >= redirected + 80, "the first engine gets no packets any more: {text}");
    assert!(!site.reaches(BAD, &responder), "the first engine's rules are not in force any more: {text}");
}

/// No test: a process of its own that holds queue 1 until it is killed. In the test's process it would not do, because
/// libxdp's sockets are not close-on-exec, and each engine that a test starts would hold the queue, too.
#[test]
#[ignore = "started by the test below"]
fn holds_a_queue() {
    let Ok(iface) = std::env::var("VOS_HOLD") else { return };
    let config = Xsk { bind: Bind::Copy, ..Xsk::default() };
    let _held = Queue::bind(&iface, 1, 2_048, &config).unwrap();
    println!("holding");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_queue_held_by_another_socket_is_tried_again_and_then_explained() {
    let site = Site::new();
    let mut holder = site.server.command(std::env::current_exe().unwrap());
    holder.args(["--exact", "start::holds_a_queue", "--ignored", "--nocapture"]).env("VOS_HOLD", &site.iface);
    let mut holder = Program::start("holder", &mut holder, Some(&site.path("holder.log"))).unwrap();
    until("the queue is held", || holder.log().contains("holding"));
    let said = site.refused_now("");
    assert!(said.contains("queue 1 of") && said.contains("held by another AF_XDP socket"), "{said}");
    let rival = format!("pid={}", holder.id());
    let sockets = output(site.server.command("ss").args(["--xdp", "-a", "-p", "-n"])).unwrap_or_default();
    // Where the kernel has no CONFIG_XDP_SOCKETS_DIAG, ss knows nothing, either.
    assert!(said.contains(&rival) || !sockets.contains(&rival), "not named: {said}\n{sockets}");
    site.assert_clean();

    let mut engine = site.begin("");
    until("the engine has come to the queues", || site.pins().join("xdp_link").exists());
    // Time itself is what is tested: the queue is busy for a while, as a closing socket keeps it.
    std::thread::sleep(Duration::from_millis(700));
    assert!(engine.ended().unwrap().is_none(), "gave up at once: {}", engine.log());
    kill(&mut holder);
    until("the engine is ready", || {
        let ended = engine.ended().unwrap();
        assert!(ended.is_none(), "the engine ended: {ended:?}\n{}", engine.log());
        engine.log().contains(": ready")
    });
}
