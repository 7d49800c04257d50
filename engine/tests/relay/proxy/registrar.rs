use std::net::SocketAddr;
use std::process::Command;

use vos_bench::Program;
use vos_bench::process::output;

use super::site::{self, CALLERS, Site, before, is, strays, wait_until};
use super::softswitch::Shim;

const REGISTERS: &str = include_str!("../../journey/sipp/register.xml");
const CALLS: &str = include_str!("../../journey/sipp/call.xml");
const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

/// Registrar and proxy of two users. It answers where requests come from, and sends the requests that it forwards
/// through the relay: both must be said to any softswitch behind one.
const ROUTES: &str = r#"
request_route {
  force_rport();
  xlog("L_NOTICE", "SEEN $rm $ci \n");
  if (has_totag()) {
    loose_route();
    $du = "sip:127.0.0.1:15070";
    t_relay();
    exit;
  }
  if (is_method("ACK")) exit;
  if (is_method("REGISTER")) {
    if (!pv_www_authenticate("$fd", "secret", "0")) www_challenge("$fd", "1");
    # one contact a user, for $du is of the first branch only
    else save("location", "0x04");
    exit;
  }
  if (!is_method("INVITE")) {
    sl_send_reply("405", "Method Not Allowed");
    exit;
  }
  if (!pv_proxy_authenticate("$fd", "secret", "0")) {
    proxy_challenge("$fd", "1");
    exit;
  }
  consume_credentials();
  record_route();
  $rd = "pbx.example";
  if (!lookup("location")) {
    sl_send_reply("480", "Temporarily Unavailable");
    exit;
  }
  $du = "sip:127.0.0.1:15070";
  t_relay();
}
"#;

/// Kamailio on the server's loopback: nothing but the shim reaches it.
fn kamailio(site: &Site) -> Program {
    let modules = ["pv", "xlog", "sl", "textops", "tm", "rr", "siputils", "auth", "usrloc", "registrar"];
    let modules: String = modules.iter().map(|module| format!("loadmodule \"{module}.so\"\n")).collect();
    let config = format!(
        "#!KAMAILIO\ndebug=1\nlog_stderror=yes\nchildren=2\ndisable_tcp=yes\nauto_aliases=no\ndns=no\nrev_dns=no\n\
         listen=udp:127.0.0.1:5080\nmpath=\"{MODULES}/\"\n{modules}{ROUTES}"
    );
    let (file, run) = (site.path("shimmed.cfg"), site.path("shimmed"));
    std::fs::write(&file, config).unwrap();
    std::fs::create_dir_all(&run).unwrap();
    let mut command = site.server.command("kamailio");
    command.args(["-DD", "-E", "-m", "32", "-M", "4", "-f"]).arg(&file).arg("-Y").arg(&run);
    command.arg("-P").arg(run.join("pid"));
    let mut program = Program::start("kamailio", &mut command, Some(&site.path("shimmed.log"))).unwrap();
    wait_until("Kamailio listens", || {
        assert!(program.ended().unwrap().is_none(), "Kamailio ended:\n{}", program.log_tail(20));
        let sockets = output(site.server.command("ss").args(["-Hlun", "sport = 5080"])).unwrap();
        sockets.lines().count() > 0
    });
    program
}

/// sipp at this port of the callers' host, with this scenario or a built-in one.
fn sipp(site: &Site, caller: usize, port: &str, scenario: Option<(&str, &str)>) -> Command {
    let (from, to) = (CALLERS[caller], if caller < 2 { "192.0.2.1:5060" } else { "[2001:db8::1]:5060" });
    let mut sipp = site.caller.command("sipp");
    sipp.args(["-i", &from.to_string(), "-p", port, "-nostdin", "-timeout", "30s", "-timeout_error", to]);
    sipp.current_dir(site.path(""));
    if let Some((name, text)) = scenario {
        std::fs::write(site.path(name), text).unwrap();
        sipp.arg("-sf").arg(site.path(name));
    }
    sipp
}

#[test]
fn phones_register_with_kamailio_and_call_each_other() {
    if !site::ready(&["kamailio", "sipp"]) {
        return;
    }
    const MADE: usize = 30;
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let site = site::start(&before(address(15_060)));
    let _shim = Shim::start(&site.server, address(15_060), address(15_070), address(5_080));
    let kamailio = kamailio(&site);
    wait_until("Kamailio is asked twice", || kamailio.log().matches("SEEN OPTIONS").count() > 1);
    is(&site, "127.0.0.1:15060", "alive");
    // IPv4 calls IPv4, IPv6 calls IPv6; what Kamailio itself speaks makes no difference.
    for (caller, callee) in [(0, 1), (2, 3)] {
        let mut registers = sipp(&site, callee, "5070", Some(("register.xml", REGISTERS)));
        output(registers.args(["-s", "1001", "-au", "1001", "-ap", "secret", "-m", "1"])).unwrap();
        let mut called = sipp(&site, callee, "5070", None);
        let mut called = Program::start("sipp, called", called.args(["-sn", "uas"]), None).unwrap();
        wait_until("the called phone listens", || {
            let sockets = output(site.caller.command("ss").args(["-Hlun", "sport = 5070"])).unwrap();
            sockets.lines().count() > 0
        });
        // exit code 0: all calls succeeded
        let mut calls = sipp(&site, caller, "5062", Some(("call.xml", CALLS)));
        output(calls.args(["-m", &MADE.to_string(), "-r", "20"])).unwrap_or_else(|error| {
            panic!("{error}\nKamailio:\n{}", kamailio.log_tail(40));
        });
        assert!(called.ended().unwrap().is_none());
        called.end().unwrap();
    }
    let seen = kamailio.log();
    let count = |method: &str| seen.lines().filter(|line| line.contains(&format!("SEEN {method} "))).count();
    assert!(count("BYE") >= 2 * MADE && count("INVITE") >= 4 * MADE, "{seen}");
    assert_eq!(["unasked", "nowhere", "stranger"].map(|word| strays(&site, word)), [0; 3]);
}
