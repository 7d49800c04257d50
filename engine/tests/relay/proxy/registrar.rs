use std::net::SocketAddr;

use vos_bench::Program;
use vos_bench::process::output;

use super::site::{self, CALLERS, before, is, strays, wait_until};
use super::softswitch::Shim;
use crate::phones::{CALLS_A_USER, REGISTRAR, called, calling, register};
use crate::site::Script;
use crate::site::server::Kamailio;

/// Registrar and proxy of two users. It answers where requests come from, and sends the requests that it forwards
/// through the relay: both must be said to any softswitch behind one.
const THROUGH_THE_RELAY: Script = Script {
    modules: REGISTRAR.modules,
    routes: &[
        r#"
  force_rport();
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
"#,
        CALLS_A_USER,
        "  $du = \"sip:127.0.0.1:15070\";\n  t_relay();\n",
    ],
};

#[test]
fn phones_register_with_kamailio_and_call_each_other() {
    if !vos_bench::ready(&["kamailio", "sipp"]) {
        return;
    }
    const MADE: usize = 30;
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let site = site::start(&before(address(15_060)));
    let _shim = Shim::start(&site.server, address(15_060), address(15_070), address(5_080));
    // On the server's loopback: nothing but the shim reaches it.
    let listen = vec![address(5_080)];
    let kamailio = Kamailio { name: "shimmed", listen, children: 2, script: THROUGH_THE_RELAY };
    let kamailio = kamailio.start(&site.server, &site.path(""));
    wait_until("Kamailio is asked twice", || kamailio.log().matches("SEEN OPTIONS").count() > 1);
    is(&site, "127.0.0.1:15060", "alive");
    // IPv4 calls IPv4, IPv6 calls IPv6; what Kamailio itself speaks makes no difference.
    for (caller, callee) in [(0, 1), (2, 3)] {
        register(&site, CALLERS[callee], 5070, "1001");
        let mut called = called(&site, CALLERS[callee], 5070);
        let mut calls = calling(&site, CALLERS[caller], 5062);
        calls.args(["-timeout", "30s", "-timeout_error", "-m", &MADE.to_string(), "-r", "20"]);
        output(&mut calls).unwrap_or_else(|error| {
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

/// OpenSIPS reads the line itself. `VOS_OPENSIPS=PATH` names one of 4.0 or later, `VOS_OPENSIPS_MODULES=DIR` its modules: no
/// Debian has it.
#[test]
fn phones_register_with_opensips_and_call_each_other() {
    let Some(program) = std::env::var_os("VOS_OPENSIPS") else {
        eprintln!("SKIPPED: VOS_OPENSIPS names no OpenSIPS");
        return;
    };
    if !vos_bench::ready(&["sipp"]) {
        return;
    }
    const MADE: usize = 30;
    let config = before(SocketAddr::from(([127, 0, 0, 1], 15_060)));
    let site = site::start(&config.replace("[health]", "bind = \"127.0.0.1:15070\"\n[health]"));
    let mut script = include_str!("../../../../configs/opensips/proxy-protocol.cfg").to_owned();
    for (shipped, here) in [("10.0.0.2:5060", "127.0.0.1:15060"), ("10.0.0.1:15060", "127.0.0.1:15070")] {
        assert!(script.contains(shipped), "{shipped}");
        script = script.replace(shipped, here);
    }
    if let Ok(modules) = std::env::var("VOS_OPENSIPS_MODULES") {
        script = script.replace("/usr/lib/x86_64-linux-gnu/opensips/modules/", &format!("{modules}/"));
    }
    let file = site.path("opensips.cfg");
    std::fs::write(&file, script).unwrap();
    let mut command = site.server.command(program);
    command.args(["-F", "-m", "64", "-M", "4", "-f"]).arg(&file).arg("-P").arg(site.path("opensips.pid"));
    let mut opensips = Program::start("opensips", &mut command, Some(&site.path("opensips.log"))).unwrap();
    wait_until("OpenSIPS listens", || {
        assert!(opensips.ended().unwrap().is_none(), "{}", opensips.log());
        !output(site.server.command("ss").args(["-Hlun", "sport = 15060"])).unwrap().is_empty()
    });
    is(&site, "127.0.0.1:15060", "alive");
    register(&site, CALLERS[1], 5070, "1001");
    let mut called = called(&site, CALLERS[1], 5070);
    let mut calls = calling(&site, CALLERS[0], 5062);
    calls.args(["-timeout", "30s", "-timeout_error", "-m", &MADE.to_string(), "-r", "20"]);
    output(&mut calls).unwrap_or_else(|error| panic!("{error}\nOpenSIPS:\n{}", opensips.log_tail(40)));
    assert!(called.ended().unwrap().is_none());
    called.end().unwrap();
    assert_eq!(["unasked", "nowhere", "stranger"].map(|word| strays(&site, word)), [0; 3]);
}
