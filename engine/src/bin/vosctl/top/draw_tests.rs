use std::time::{Duration, Instant};

use serde_json::json;
use vos_engine::config::{Admission, Config, Fallback, Mode, Profile, Redirect, Stealth};
use vos_engine::feed::View;
use vos_engine::live::wire::Status;

use super::super::Look;
use super::*;

const USUAL: Size = Size { width: 80, height: 24 };

fn status() -> Status {
    Status {
        mode: Mode::Relay,
        profile: Profile::Default,
        admission: Admission::Open,
        stealth: Stealth::Options,
        domains: Vec::new(),
        rules: std::collections::BTreeMap::new(),
        switched: Vec::new(),
        hardened: Vec::new(),
        redirect: Redirect::All,
        redirected: Vec::new(),
        relay: "local".into(),
        fallback: Fallback::Local,
        peers: None,
        softswitch: None,
        attack_left_s: Some(893),
        signatures: 22,
        rates: Config::default().rates,
    }
}

fn feed(name: &str, state: State, error: &str) -> View {
    let (name, error) = (name.to_owned(), error.to_owned());
    View { name, state, error, read: 9, applied: 7, already: 1, refused: 0, bad: 1 }
}

/// Two looks two seconds apart, some samples and two decisions.
fn model() -> Model {
    let mut model = Model::new(std::path::Path::new("/run/vos/eth0.sock"));
    let begin = Instant::now();
    for (seconds, times) in [(0, 1), (2, 3)] {
        let stats = json!({
            "mode": "relay", "xdp": "native", "bind": "zerocopy", "relay": "local", "judged": 1_000 * times,
            "reasons": { "stealth": 400 * times, "blocked": 100 * times, "redirected": 300 * times, "kernel": 200 * times },
            "would_drop": { "scanner": 2 * times },
            "softswitch": "dead", "verified": { "sources": 1_234 }, "pressure": { "now": true },
            "workers": [
                { "queue": 0, "live": true, "received": 200 * times, "relayed": 150 * times, "waiting": 12,
                  "answered": { "answered": 30 * times }, "dropped": { "foreign_domain": 20 * times } },
                { "queue": 1, "live": false },
            ],
        });
        let feeds = vec![feed("file /a", State::Up, ""), feed("amqp vos.block", State::Down, "refused\u{1b}[2J")];
        model.look(Look { at: begin + Duration::from_secs(seconds), stats, status: status(), feeds });
    }
    for (source, samples) in [("203.0.113.7", 3), ("2001:db8::7", 5), ("evil\u{1b}[2J", 1)] {
        for _ in 0..samples {
            model.told(json!({ "time": 1.0, "kind": "drop", "reason": "stealth", "queue": 0, "source": source,
                "destination": "192.0.2.1", "length": 40 }));
        }
    }
    model.told(json!({ "time": 3_661.0, "kind": "rule", "change": "made", "net": "203.0.113.7/32", "rule": "block",
        "origin": "amqp", "reason": "pike\u{9b}2J" }));
    model
        .told(json!({ "time": 3_662.5, "kind": "rule", "change": "ended", "net": "198.51.100.0/24", "rule": "allow" }));
    model.told(json!({ "time": 3_663.0, "kind": "of a newer engine" }));
    model.time = 1_700_000_000;
    model
}

#[test]
fn everything_fits_eighty_by_twenty_four() {
    let shown = text(&model(), USUAL).expect("it cannot fail");
    let expected = "\
eth0  mode relay  xdp native  bind zerocopy  relay local  2023-11-14T22:13:20Z
judged 1000/s  dropped 520/s  to the engine 300/s  to the kernel 200/s
softswitch DEAD  is behind  attack mode on, 14m 53s left  verified 1234 sources
DROPPED          /s   TOTAL─────────────QUEUE    IN/s RELAY/s  ANSW/s  DROP/s───
stealth              400     800 ███████    0     200     150      30      20 12
blocked              100     200 ██         1  off: takes the kernel's path
foreign_domain        20      40
(scanner)              2       4




TOP DROPPED SOURCES (samples)───────────LATEST DECISIONS────────────────────────
       5  2001:db8::7                   01:01:02 allowed till now 198.51.100.0/2
       3  203.0.113.7                   01:01:01 blocked 203.0.113.7  amqp: pike
       1  evil\\u{1b}[2J




FEEDS───────────────────────────────────────────────────────────────────────────
amqp vos.block: down, 7 applied, 1 bad; refused\\u{1b}[2J
file /a: up, 7 applied, 1 bad
q quit  p pause  r reset totals
";
    assert_eq!(shown, expected, "\n{shown}");
}

#[test]
fn no_size_is_too_small_and_nothing_is_obeyed() {
    let model = model();
    for (width, height) in [(0, 0), (1, 1), (10, 3), (40, 10), (79, 23), (200, 60)] {
        let shown = text(&model, Size { width, height }).expect("it cannot fail");
        let hostile = |c: char| c.is_control() && c != '\n';
        assert!(!shown.contains(hostile), "{width}x{height}:\n{shown}");
    }
}

#[test]
fn totals_begin_anew_and_a_picture_stands_still() {
    let mut model = model();
    assert!(text(&model.paused(), USUAL).expect("it cannot fail").contains("reset totals  PAUSED"));
    model.reset();
    let shown = text(&model, USUAL).expect("it cannot fail");
    assert!(shown.contains("nothing was dropped") && !shown.contains("203.0.113.7   "), "{shown}");
    assert!(shown.contains("blocked 203.0.113.7"), "decisions stay:\n{shown}");
}

#[test]
fn of_many_sources_the_frequent_are_kept() {
    let mut model = Model::new(std::path::Path::new("x"));
    let drop = |source: String| {
        json!({ "time": 1.0, "kind": "drop", "reason": "stealth", "queue": 0, "source": source,
        "destination": "192.0.2.1", "length": 40 })
    };
    for n in 0..5_000 {
        model.told(drop(format!("made-up-{n}")));
        model.told(drop("203.0.113.7".to_owned()));
    }
    let sources = model.sources();
    assert_eq!((sources[0], sources.len()), (("203.0.113.7", 5_000), 1_024));
}

#[test]
fn numbers_keep_their_column() {
    for (number, shown) in [
        (0.0, "0"),
        (0.5, "0.5"),
        (5.0, "5"),
        (12.4, "12"),
        (99_999.0, "99999"),
        (123_456.0, "123k"),
        (2.5e7, "25M"),
        (1e10, "10G"),
    ] {
        assert_eq!(human(number), shown);
    }
}
