use std::net::UdpSocket;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use vos_bench::{Program, patient};
use vos_common::reason::Reason;

use super::site::{PATIENCE, PHONE, SERVER, Site, until, within};

/// No limits: what is measured here is something else.
const UNLIMITED: &str = "[rules]\nrate_register = \"off\"\nrate_source = \"off\"\nrate_prefix = \"off\"\n";

/// A site whose engine reads a file.
struct Configured {
    engine: Program,
    phone: UdpSocket,
    file: PathBuf,
    site: Site,
}

impl Configured {
    fn start(text: &str) -> Self {
        let site = Site::new();
        let file = site.path("vos.toml");
        std::fs::write(&file, patient(text)).unwrap();
        let engine = site.start(&format!("--config {}", file.display()));
        let phone = site.client.enter(|| UdpSocket::bind((PHONE, 5062))).unwrap().unwrap();
        Self { engine, phone, file, site }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, patient(text)).unwrap();
    }

    fn reload(&self, text: &str) -> String {
        self.write(text);
        self.site.tool("reload")
    }

    fn send(&self, method: &str, agent: &str) {
        let request = format!(
            "{method} sip:192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {PHONE}:5062;branch=z9hG4bKreload\r\n\
             From: <sip:a@192.0.2.1>;tag=1\r\nTo: <sip:a@192.0.2.1>\r\nCall-ID: reload\r\nCSeq: 1 {method}\r\n\
             User-Agent: {agent}\r\nContent-Length: 0\r\n\r\n"
        );
        self.phone.send_to(request.as_bytes(), SERVER).unwrap();
    }

    /// Sends a request where nothing else is sent, and says under which reason it was counted.
    #[track_caller]
    fn fate(&self, method: &str, agent: &str) -> Reason {
        // not_ours is whatever else is on the wire: neighbour discovery, ARP
        let counted = || Reason::ALL.iter().copied().filter(|reason| reason.in_kernel() && *reason != Reason::NotOurs);
        let before: Vec<(Reason, u64)> = counted().map(|reason| (reason, self.site.reason(reason))).collect();
        self.send(method, agent);
        within(PATIENCE, "the request is counted", || {
            before.iter().find(|(reason, count)| self.site.reason(*reason) > *count).map(|(reason, _)| *reason)
        })
    }
}

#[test]
fn a_reload_under_load_loses_no_packet_and_each_change_is_in_force_at_once() {
    let configured = Configured::start(UNLIMITED);
    let Configured { site, engine, .. } = &configured;
    let responder = site.responder();
    let load = site.load(PHONE, |load| (load.rate, load.seconds, load.linger) = (2_000, 4.0, 2.0));
    let survived = || site.reason(Reason::Redirected) + site.reason(Reason::Kernel);
    let mut round = 0;
    while !load.is_done() {
        let before = survived();
        until("packets flow, or all have", || survived() > before + 200 || load.is_done());
        let stealth = ["off", "options", "requests"][round % 3];
        let redirect = ["all", "needed", "none"][round % 3];
        configured.write(&format!(
            "[relay]\nredirect = \"{redirect}\"\n[xdp]\nstealth = \"{stealth}\"\nsip_ports = [5060, {}]\n\
             [scanners]\npatterns = [\"tool number {:02}\"]\n{UNLIMITED}",
            5_070 + round % 10,
            round % 100
        ));
        if round % 2 == 0 {
            engine.signal(Signal::SIGHUP).unwrap();
            until("the reload is logged", || engine.log().matches("configuration reloaded").count() == round + 1);
        } else {
            assert!(site.tool("reload").contains("scanners.patterns"));
        }
        // The signature before is gone and the new one is there: one flow, so the first is judged by the time the
        // second is counted.
        let before = site.reason(Reason::Scanner);
        configured.send("REGISTER", &format!("tool number {:02}", (round + 99) % 100));
        configured.send("REGISTER", &format!("a Tool Number {:02} b", round % 100));
        until("the new signature is in force", || site.reason(Reason::Scanner) > before);
        assert_eq!(site.reason(Reason::Scanner), before + 1, "round {round}");
        round += 1;
    }
    let report = load.end();
    assert!(round >= 5 && report.sent == 8_000, "{round} rounds, {report:?}");
    let lost = (report.lost, report.send_errors, report.answered);
    assert_eq!(lost, (0, 0, report.sent), "{report:?}\n{:#}\n{:?}", site.stats(), responder.stats());
    drop(responder);
}

#[test]
fn what_is_reloaded_decides_what_is_dropped_and_what_goes_to_the_engine() {
    let configured = Configured::start("");
    let site = &configured.site;
    assert_eq!(configured.fate("OPTIONS", "x"), Reason::Stealth);
    assert_eq!(configured.fate("INVITE", "x"), Reason::Redirected);
    assert_eq!(configured.fate("REGISTER", "Friendly-Scanner"), Reason::Scanner);
    configured.reload("profile = \"internet-edge\"\n[scanners]\npatterns = []\n");
    assert_eq!(configured.fate("INVITE", "x"), Reason::Stealth);
    assert_eq!(configured.fate("REGISTER", "friendly-scanner"), Reason::Redirected);
    let idle = "[registration]\nsuspend = false\nwatch = false\n[rules]\nslowed = \"off\"\n";
    configured.reload(&format!("[relay]\nredirect = \"needed\"\n{idle}"));
    assert_eq!(configured.fate("REGISTER", "x"), Reason::Kernel);
    assert_eq!(configured.fate("ACK", "x"), Reason::Redirected);
    configured.reload("[xdp]\nmode = \"closed\"\n");
    assert_eq!(configured.fate("REGISTER", "x"), Reason::Closed);
    site.tool(&format!("allow {PHONE}"));
    assert_eq!(configured.fate("REGISTER", "x"), Reason::Redirected);
    site.tool(&format!("unallow {PHONE}"));
    // The clock of REGISTERs may still be some ms ahead, by those that came before.
    configured.reload("[rates.unknown]\ninvite = \"1/h burst 2\"\n");
    let fates = [0; 3].map(|_| configured.fate("INVITE", "x"));
    assert_eq!(fates, [Reason::Redirected, Reason::Redirected, Reason::RateInvite]);
}

#[test]
fn an_invalid_file_is_named_in_answer_and_log_and_changes_nothing() {
    let configured = Configured::start("[xdp]\nstealth = \"off\"\n");
    let Configured { site, engine, .. } = &configured;
    configured.write("[xdp]\nstealth = \"options\"\nmode = \"shut\"\n");
    let before = site.tool("status --json");
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| site.tool("reload"))).is_err();
    assert!(answer, "vosctl did not fail");
    let line = "vos.toml:3: `xdp.mode` takes \"open\"";
    assert!(engine.log().contains(line), "{}", engine.log());
    engine.signal(Signal::SIGHUP).unwrap();
    until("the signal's reload is refused, too", || engine.log().matches(line).count() == 2);
    assert_eq!(site.tool("status --json"), before);
    assert_eq!(configured.fate("OPTIONS", "x"), Reason::Redirected);
    // what only a start can change is named, and the rest applies
    let said = configured.reload("[xsk]\nring = 1024\n[xdp]\nstealth = \"options\"\n");
    assert!(
        said.contains("xdp.stealth in force now") && said.contains("restart of vos-engine only: xsk.ring"),
        "{said}"
    );
    assert_eq!(configured.fate("OPTIONS", "x"), Reason::Stealth);
}

#[test]
fn rules_and_attack_mode_are_switched_at_run_time() {
    let configured = Configured::start("[rates]\nglobal = \"1/h burst 1\"\n");
    let site = &configured.site;
    let said = site.tool("rule stealth monitor");
    assert!(said.contains("stealth: monitor, until the next reload or restart"), "{said}");
    assert_eq!(configured.fate("OPTIONS", "x"), Reason::Redirected);
    assert!(site.stats()["would_drop"]["stealth"].as_u64() > Some(0));
    assert!(site.tool("status").contains("switched     rules.stealth"));
    site.tool("attack on --ttl 10m");
    let status = site.tool("status");
    assert!(status.contains("attack mode  on, 9m 5") || status.contains("attack mode  on, 10m"), "{status}");
    let fates = [0; 2].map(|_| configured.fate("REGISTER", "x"));
    assert_eq!(fates, [Reason::Redirected, Reason::RateGlobal]);
    // a reload ends the switch, not attack mode
    assert!(site.tool("reload").contains("rules.stealth"));
    assert_eq!(configured.fate("OPTIONS", "x"), Reason::Stealth);
    assert_eq!(configured.fate("REGISTER", "x"), Reason::RateGlobal);
    site.tool("attack off");
    assert_eq!(configured.fate("REGISTER", "x"), Reason::Redirected);
}
