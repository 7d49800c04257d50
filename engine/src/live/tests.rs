//! Reload and run-time switches over a file on disk and a kernel that is a fake.

use super::fake::{NOW, Site};
use super::*;
use crate::config::{Admission, Stealth};

fn words(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

#[test]
fn a_valid_file_is_applied_and_says_what_changed_and_what_waits() {
    let site = Site::start("");
    let before = site.kernel.config();
    site.write(
        "queues = 4\nprofile = \"vos3000\"\n[xdp]\nmode = \"closed\"\nprotect = [\"198.51.100.9\"]\n\
         domains = [\"Example.com\"]\n[rules]\nscanner = \"monitor\"\n[relay]\nredirect = \"needed\"\nheartbeat_ms = 50\n",
    );
    let Reloaded { changed, restart } = site.live.reload().expect("sound");
    for key in
        ["profile", "xdp.mode", "xdp.protect", "xdp.domains", "rules.scanner", "relay.redirect", "rates.unknown.all"]
    {
        assert!(changed.contains(&key.to_owned()), "{key} of {changed:?}");
    }
    assert_eq!(words(&restart), ["queues", "relay.heartbeat_ms"]);
    let after = site.kernel.config();
    assert_eq!(after.enforce & Reason::Closed.bit(), Reason::Closed.bit());
    assert_eq!(after.monitor, Reason::Scanner.bit());
    assert_ne!((after.limits, after.redirect), (before.limits, before.redirect));
    assert_eq!((after.seed, after.clock), (before.seed, before.clock));
    assert_ne!(after.signatures, before.signatures, "the other of the two values is in force");
    assert_eq!(site.kernel.homes(), ["192.0.2.1", "198.51.100.9"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
    // what workers see
    let in_force = site.live.in_force();
    assert_eq!(in_force.config.xdp.domains, ["example.com"]);
    assert_eq!((in_force.config.queues, in_force.config.relay.heartbeat_ms), (0, 100));
    assert_eq!(in_force.rules.mode(Reason::Closed), RuleMode::Enforce);
    assert_eq!(in_force.kernel, after);
    // what waits is named each time, until the start
    let again = site.live.reload().expect("sound");
    assert_eq!((again.changed.len(), words(&again.restart)), (0, vec!["queues", "relay.heartbeat_ms"]));
}

#[test]
fn an_invalid_file_changes_nothing_and_is_named_with_its_line() {
    let site = Site::start("[xdp]\nstealth = \"off\"\n");
    let before = (site.kernel.config(), site.kernel.homes());
    for (text, part) in [
        ("[xdp]\nstealth = \"requests\"\nsip_ports = [0]\n", "vos.toml:3: `xdp.sip_ports`"),
        ("[xdp]\nmode = \"closed\"\n[rules]\nscanner = \"maybe\"\n", "vos.toml:4: `rules.scanner`"),
        ("[xdp]\nmode = \"closed\"\n[rules]\nscaner = \"off\"\n", "vos.toml:4: there is no key `rules.scaner`"),
        ("[rates.unknown]\nall = \"many\"\n", "vos.toml:2: `rates.unknown.all`"),
        ("[scanners]\n\npatterns = [\"smap\"]\n", "vos.toml:3: `scanners.patterns`"),
        ("profile = \"/nonexistent.toml\"\n", "/nonexistent.toml"),
        ("[xdp\n", "vos.toml:1"),
    ] {
        site.write(text);
        let error = site.live.reload().expect_err(text).to_string();
        assert!(error.contains(part) && error.ends_with("nothing has changed"), "{error}");
        assert_eq!((site.kernel.config(), site.kernel.homes()), before);
        assert_eq!(site.live.in_force().config.xdp.stealth, Stealth::Off);
    }
    // and where the kernel refuses
    site.write("[xdp]\nstealth = \"requests\"\n");
    site.kernel.break_down();
    assert!(matches!(site.live.reload(), Err(ChangeError::Kernel(_))));
    assert_eq!(site.live.in_force().config.xdp.stealth, Stealth::Off);
    assert!(site.live.status(true).switched.is_empty());
}

#[test]
fn a_file_that_is_sound_only_after_a_restart_changes_nothing() {
    let site = Site::start("[relay]\nto = \"unix:/run/sip\"\n");
    let before = site.kernel.config();
    site.write("[relay]\nto = \"local\"\nredirect = \"needed\"\n[xdp]\nstealth = \"off\"\n");
    let error = site.live.reload().expect_err("unix needs all").to_string();
    for part in ["relay.redirect", "relay.to", "restart the engine", "nothing has changed"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(site.kernel.config(), before);
    assert_eq!(site.live.in_force().config.relay.redirect, crate::config::Redirect::All);
    // The other way round the same keys are fine.
    site.write("[relay]\nto = \"local\"\n[xdp]\nstealth = \"off\"\n");
    assert_eq!(words(&site.live.reload().expect("sound").restart), ["relay.to"]);
}

/// Names are looked up while the file is read, which may take as long as a resolver waits.
#[test]
fn while_the_file_is_read_all_else_goes_on() {
    let (begun, begins) = crossbeam_channel::bounded(1);
    let (go, goes) = crossbeam_channel::bounded::<()>(1);
    let config = Config { iface: "eth0".into(), ..Config::default() };
    let (kernel, read) = (super::fake::FakeKernel::holding(&config), config.clone());
    let reader = move || {
        begun.send(()).map_err(|error| error.to_string())?;
        goes.recv().map_err(|error| error.to_string())?;
        Ok(read.clone())
    };
    let live = Live::new(&config, Vec::new(), Box::new(kernel), Box::new(reader), || Clock::at(1, NOW));
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| live.reload());
        begins.recv().expect("the file is being read");
        live.switch("scanner", RuleMode::Monitor).expect("a rule");
        live.follow_own(Vec::new()).expect("room");
        assert_eq!(words(&live.status(true).switched), ["rules.scanner"]);
        go.send(()).expect("it waits");
        let reloaded = reload.join().expect("no panic").expect("sound");
        assert_eq!(words(&reloaded.changed), ["rules.scanner"]);
    });
}

#[test]
fn a_switch_holds_until_the_next_reload() {
    let site = Site::start("");
    let switched = site.live.switch("scanner", RuleMode::Monitor).expect("a rule");
    assert_eq!(switched.rules["scanner"], RuleMode::Monitor);
    assert_eq!(site.kernel.config().monitor, Reason::Scanner.bit());
    assert_eq!(site.kernel.config().enforce & Reason::Scanner.bit(), 0);
    assert_eq!(words(&site.live.status(true).switched), ["rules.scanner"]);
    // one does not undo the other
    site.live.switch("stealth", RuleMode::Off).expect("a rule");
    assert_eq!(words(&site.live.status(true).switched), ["rules.scanner", "rules.stealth"]);
    // closed has its own key, and is what that says
    site.live.switch("closed", RuleMode::Monitor).expect("a rule");
    assert_eq!(site.live.in_force().config.xdp.mode, Admission::Monitor);
    assert_eq!(site.kernel.config().monitor, Reason::Scanner.bit() | Reason::Closed.bit());
    let reloaded = site.live.reload().expect("sound");
    assert_eq!(words(&reloaded.changed), ["rules.scanner", "rules.stealth", "xdp.mode"]);
    assert_eq!((site.kernel.config().monitor, site.live.status(true).switched.len()), (0, 0));
    let error = site.live.switch("scaner", RuleMode::Off).expect_err("no rule").to_string();
    assert!(error.contains("scaner") && error.contains("foreign_domain"), "{error}");
    assert!(site.live.switch("kernel", RuleMode::Off).is_err(), "a reason, but no rule");
}

#[test]
fn all_rules_can_be_watched_at_once_and_none_shuts_everybody_out() {
    let site = Site::start("");
    site.live.switch("all", RuleMode::Monitor).expect("all");
    let kernel = site.kernel.config();
    assert_eq!((kernel.enforce, kernel.monitor), (0, Rules::keys().map(Reason::bit).sum()));
    site.live.switch("all", RuleMode::Enforce).expect("all");
    assert_eq!(site.kernel.config().enforce & Reason::Closed.bit(), 0);
}

#[test]
fn in_monitor_mode_no_switch_enforces_and_the_answer_says_so() {
    let site = Site::start("mode = \"monitor\"\n");
    let switched = site.live.switch("unknown_method", RuleMode::Enforce).expect("a rule");
    assert_eq!((switched.asked, switched.rules["unknown_method"]), (RuleMode::Enforce, RuleMode::Monitor));
    assert_eq!(site.kernel.config().enforce, 0);
}

#[test]
fn attack_mode_ends_by_itself_and_outlives_a_reload() {
    let site = Site::start("");
    assert_eq!(site.live.status(true).attack_left_s, None);
    assert_eq!(site.live.attack(Some(ATTACK_DEFAULT)).expect("on"), Some(900));
    assert_eq!(site.kernel.config().attack_until, NOW + 900_000_000_000);
    assert_eq!(site.live.in_force().kernel.attack_until, NOW + 900_000_000_000);
    site.live.reload().expect("sound");
    assert_eq!(site.live.status(true).attack_left_s, Some(900));
    assert_eq!(site.live.attack(None).expect("off"), None);
    assert_eq!(site.kernel.config().attack_until, 0);
    for ttl in [Duration::ZERO, ATTACK_MAX + Duration::from_secs(1)] {
        assert!(matches!(site.live.attack(Some(ttl)), Err(ChangeError::Ttl)));
    }
}

#[test]
fn status_says_what_goes_to_the_engine() {
    let site = Site::start("[relay]\nredirect = \"needed\"\n[xdp]\ndomains = [\"a.example\"]\n");
    assert_eq!(site.live.status(true).redirected.len(), 6);
    assert!(site.live.status(false).redirected.is_empty(), "no worker, nothing goes anywhere");
    assert_eq!(site.live.status(true).signatures, Config::default().scanners.patterns.len());
    site.live.switch("foreign_domain", RuleMode::Off).expect("a rule");
    assert_eq!(site.live.status(true).redirected.len(), 5);
    site.live.switch("slowed", RuleMode::Off).expect("a rule");
    assert_eq!(site.live.status(true).redirected.len(), 4);
}

#[test]
fn own_addresses_are_followed_beside_those_protected() {
    let site = Site::start("[xdp]\nprotect = [\"198.51.100.9\"]\n");
    site.live.follow_own(vec![[192, 0, 2, 2].into()]).expect("room");
    let homes = ["192.0.2.2", "198.51.100.9"].map(|ip| ip.parse::<IpAddr>().expect("an address"));
    assert_eq!(site.kernel.homes(), homes);
    site.live.reload().expect("sound");
    assert_eq!(site.kernel.homes(), homes);
}
