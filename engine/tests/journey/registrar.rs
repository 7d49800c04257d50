//! A small telephone system: Kamailio as registrar and proxy of two users, and sipp as their phones.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use nix::sys::signal::Signal;
use vos_bench::Program;
use vos_bench::process::output;

use crate::site::{CALLER, OTHER, PATIENCE, SERVER4, SERVER6, Script, Site, wait_until};

/// The domain that its phones are configured with.
pub(crate) const DOMAIN: &str = "pbx.example";
/// A user's name, which scanners look for; the other's is 1001.
pub(crate) const USER: &str = "1000";
/// Both users' password.
pub(crate) const PASSWORD: &str = "secret";

/// What a scanner hopes for: it tells users that are there from those that are not, by every method.
pub(crate) const REGISTRAR: Script = Script {
    modules: &["pv", "xlog", "sl", "textops", "tm", "rr", "siputils", "auth", "usrloc", "registrar"],
    routes: &[
        r#"
  if (has_totag()) {
    loose_route();
    t_relay();
    exit;
  }
  if (is_method("ACK")) exit;
  if (is_method("OPTIONS")) {
    append_to_reply("Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n");
    if ($rU == $null || $rU == "1000" || $rU == "1001") sl_send_reply("200", "OK");
    else sl_send_reply("404", "Not Found");
    exit;
  }
  if ($fU != "1000" && $fU != "1001") {
    sl_send_reply("404", "Not Found");
    exit;
  }
  if (is_method("REGISTER")) {
    if (!pv_www_authenticate("$fd", "secret", "0")) www_challenge("$fd", "1");
    else save("location");
    exit;
  }
"#,
        CALLS_A_USER,
        "  t_relay();\n",
    ],
};

/// Who proves to be a user may call one who has registered: what goes on behind this is such a call.
pub(crate) const CALLS_A_USER: &str = r#"
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
  # whichever domain it is asked under
  $rd = "pbx.example";
  if (!lookup("location")) {
    sl_send_reply("480", "Temporarily Unavailable");
    exit;
  }
"#;

const REGISTERS: &str = include_str!("sipp/register.xml");
const CALLS: &str = include_str!("sipp/call.xml");
/// sipp's own answers have no Record-Route (RFC 3261 §12.1.1), so what follows would go past every proxy.
const ANSWERS: &str = include_str!("sipp/answer.xml");

/// Two phones that are registered. One registers again and calls the other, five times a second, until it is told to
/// stop; nobody has allowed them.
pub(crate) struct Phones<'a> {
    site: &'a Site,
    callee: Program,
    caller: Program,
}

impl<'a> Phones<'a> {
    /// Registers both, waits until their addresses are verified, and begins to call.
    #[track_caller]
    pub(crate) fn start(site: &'a Site) -> Self {
        register(site, CALLER, 5062, USER);
        register(site, OTHER, 5070, "1001");
        let verified = || site.stats().0["verified"]["sources"].as_u64();
        wait_until("both phones are verified", PATIENCE, || verified() == Some(2));
        let callee = called(site, OTHER, 5070);
        let mut caller = calling(site, CALLER, 5062);
        caller.args(["-r", "5", "-trace_err"]);
        let caller = Program::start("sipp, calling", &mut caller, Some(&site.path("caller.log"))).unwrap();
        let mut phones = Self { site, callee, caller };
        phones.call();
        phones
    }

    fn made(&self) -> usize {
        let from = IpAddr::V4(CALLER);
        self.site.seen().iter().filter(|seen| seen.method == "BYE" && seen.source.ip() == from).count()
    }

    /// A call that begins now and comes to its end: two more BYEs, for one may belong to a call that was under way.
    #[track_caller]
    pub(crate) fn call(&mut self) {
        let before = self.made();
        wait_until("the phones go on calling", PATIENCE, || {
            let ended = self.caller.ended().unwrap();
            assert!(ended.is_none(), "the calling phone ended: {ended:?}\n{}", self.caller.log_tail(40));
            self.made() >= before + 2
        });
    }

    /// Lets the calls that are under way come to their end. Not one may have failed.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.caller.signal(Signal::SIGUSR1).unwrap();
        let mut ended = None;
        wait_until("the last call ends", PATIENCE, || {
            ended = self.caller.ended().unwrap();
            ended.is_some()
        });
        // 0: all calls succeeded, and there were some
        assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", self.caller.log_tail(60));
        assert!(self.callee.ended().unwrap().is_none(), "the called phone ended:\n{}", self.callee.log_tail(20));
    }
}

/// Registers this user.
#[track_caller]
pub(crate) fn register(site: &Site, from: impl Into<IpAddr>, port: u16, user: &str) {
    let mut phone = sipp(site, from.into(), port);
    phone
        .arg("-sf")
        .arg(scenario(site, "register.xml", REGISTERS))
        .args(["-s", user, "-au", user, "-ap", PASSWORD, "-m", "1"]);
    output(phone.args(["-timeout", "30s", "-timeout_error"])).unwrap();
}

/// A phone that takes calls.
#[track_caller]
pub(crate) fn called(site: &Site, from: impl Into<IpAddr>, port: u16) -> Program {
    let mut phone = sipp(site, from.into(), port);
    phone.arg("-sf").arg(scenario(site, "answer.xml", ANSWERS));
    let phone = Program::start("sipp, called", &mut phone, Some(&site.path("callee.log"))).unwrap();
    let filter = format!("sport = {port}");
    wait_until("the called phone listens", PATIENCE, || {
        let sockets = output(site.caller.command("ss").args(["-Hlun", &filter])).unwrap();
        sockets.lines().count() > 0
    });
    phone
}

/// One that calls the other user, to be told how often. Exit code 0: all calls succeeded, and there were some.
pub(crate) fn calling(site: &Site, from: impl Into<IpAddr>, port: u16) -> Command {
    let mut phone = sipp(site, from.into(), port);
    phone.arg("-sf").arg(scenario(site, "call.xml", CALLS));
    phone
}

/// sipp at this address, to the server; in this test's directory, where it leaves what it has to say.
fn sipp(site: &Site, from: IpAddr, port: u16) -> Command {
    let server = SocketAddr::new(if from.is_ipv4() { SERVER4 } else { SERVER6 }, 5060).to_string();
    let mut sipp = site.caller.command("sipp");
    sipp.args(["-i", &from.to_string(), "-p", &port.to_string(), "-nostdin", &server]);
    sipp.current_dir(site.path(""));
    sipp
}

fn scenario(site: &Site, name: &str, text: &str) -> std::path::PathBuf {
    let file = site.path(name);
    std::fs::write(&file, text).unwrap();
    file
}
