//! No false drop: what Kamailio, sipp and baresip have said to each other is recorded, and none of it would be dropped
//! if it came from sources that nobody knows.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vos_bench::Program;
use vos_bench::process::output;

use crate::registrar::{DOMAIN, PASSWORD, Phones, REGISTRAR, USER};
use crate::site::{CALLER, OTHER, PATIENCE, SERVER4, Site, wait_until};

/// Debian's package `baresip-core`; elsewhere it looks for its modules by itself.
const MODULES: &str = "/usr/lib/baresip/modules";

/// A phone of baresip's with this user, whose sound comes from nowhere.
struct Baresip<'a> {
    site: &'a Site,
    dir: PathBuf,
    program: Option<Program>,
}

impl<'a> Baresip<'a> {
    fn new(site: &'a Site, at: Ipv4Addr, user: &str, answers: &str) -> Self {
        let dir = site.path(&format!("baresip{user}"));
        fs::create_dir_all(&dir).unwrap();
        let config = format!(
            "sip_listen {at}:5080\naudio_player aubridge,x\naudio_source aubridge,x\naudio_alert aubridge,x\n\
             module_path {MODULES}\nmodule stdio.so\nmodule g711.so\nmodule aubridge.so\nmodule_tmp uuid.so\n\
             module_tmp account.so\nmodule_app menu.so\n"
        );
        let account = format!(
            "<sip:{user}@{DOMAIN};transport=udp>;auth_user={user};auth_pass={PASSWORD};\
             outbound=\"sip:{SERVER4}\";regint=60;answermode={answers}\n"
        );
        for (file, text) in [("config", config.as_str()), ("accounts", account.as_str()), ("contacts", "")] {
            fs::write(dir.join(file), text).unwrap();
        }
        Self { site, dir, program: None }
    }

    /// Starts it with these words, and waits until it has said `done`.
    #[track_caller]
    fn until(&mut self, words: &[&str], done: &str) {
        let mut command = self.site.caller.command("baresip");
        command.arg("-f").arg(&self.dir).args(words);
        let log = self.dir.with_extension("log");
        let program = self.program.insert(Program::start("baresip", &mut command, Some(&log)).unwrap());
        wait_until(&format!("baresip says \"{done}\""), PATIENCE, || {
            assert!(program.ended().unwrap().is_none(), "baresip ended:\n{}", program.log_tail(30));
            program.log().contains(done)
        });
    }

    /// Hangs up, takes back its registration, and ends.
    #[track_caller]
    fn end(mut self) {
        let status = self.program.take().expect("it runs").end().unwrap();
        assert!(status.is_some(), "baresip had to be killed");
    }
}

/// The packets as `vosctl explain --json` shows them, each from a source that nobody knows.
fn explained(site: &Site, file: &Path) -> Vec<Value> {
    let config = site.path("explain.toml");
    // The phones' ports, too: so what the server says to them is judged as well.
    fs::write(&config, "[xdp]\nsip_ports = [5060, 5062, 5070, 5080]\n").unwrap();
    let words = ["explain", "--json", "--config", config.to_str().unwrap(), file.to_str().unwrap()];
    let done = site.vosctl(&words);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let lines = String::from_utf8(done.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["packet"].is_u64()).collect()
}

#[test]
fn no_packet_of_a_recorded_session_would_be_dropped() {
    if !vos_bench::ready(&["kamailio", "sipp", "baresip", "sipsak", "tcpdump"]) {
        return;
    }
    let site = Site::builder().server(REGISTRAR).start();
    let file = site.path("session.pcap");
    let mut recorder = site.record(&file);

    let mut phones = Phones::start(&site);
    phones.call();
    phones.end();
    let mut called = Baresip::new(&site, OTHER, "1001", "auto");
    called.until(&[], "200 OK");
    let mut caller = Baresip::new(&site, CALLER, USER, "manual");
    caller.until(&["-e", &format!("/dial sip:1001@{DOMAIN}")], "Call established");
    caller.end();
    called.end();
    // The control: what is dropped from a source that nobody knows.
    output(site.caller.command("sipsak").args(["-s", &format!("sip:{SERVER4}")])).unwrap();
    recorder.end().unwrap();

    let packets = explained(&site, &file);
    let (mut reasons, mut options) = (BTreeMap::<&str, usize>::new(), 0);
    for packet in &packets {
        let reason = packet["reason"].as_str().unwrap();
        *reasons.entry(reason).or_default() += 1;
        if packet["verdict"] == "drop" {
            assert_eq!(reason, "stealth", "{packet}");
            assert!(packet["because"].as_str().unwrap().contains("OPTIONS"), "{packet}");
            options += 1;
        }
    }
    println!("{} packets: {reasons:?}", packets.len());
    assert_eq!(options, 1, "{reasons:?}");
    // All of it is there: each request that the server has seen, and for each something that it sent.
    let (requests, survived) = (site.seen().len(), reasons["redirected"]);
    assert!(requests > 20 && survived >= 2 * (requests - options), "{requests} requests, {reasons:?}");
}
