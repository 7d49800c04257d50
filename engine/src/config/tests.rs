//! `configs/vos.toml` is the documentation of [`Config`], and the errors lead to the right line.

/// Profiles.
mod profiles;
/// What a reload takes up, and what it does not.
mod restart;

use std::time::Duration;

use super::keys::takes;
use super::*;

const FILE: &str = include_str!("../../../configs/vos.toml");

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("vos.toml"))
}

/// A file on disk, read as the engine reads it.
fn read(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("vos.toml");
    std::fs::write(&file, text).expect("written");
    Config::read(Some(&file), |config| config.iface = "eth0".into())
}

fn sound() -> Config {
    Config { iface: "eth0".into(), ..Config::default() }
}

/// The file with the `#` of every `#key = value` taken away.
fn uncommented() -> String {
    let is_key = |line: &str| {
        let name = line.strip_prefix('#').and_then(|line| line.split_once(" = ")).map(|(name, _)| name);
        name.is_some_and(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
    };
    // a list over several lines, indented behind its `#`
    let goes_on = |line: &str| line.starts_with("#    \"") || line == "#]";
    let line = |line: &'static str| if is_key(line) || goes_on(line) { &line[1..] } else { line };
    FILE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_holds_every_key_with_its_default() {
    let config = parse(&uncommented()).expect("the example parses");
    assert_eq!(config, sound());
    config.validate().expect("the defaults are sound");
    assert_eq!(parse(FILE).expect("as it is, too"), sound());
    let table = uncommented().parse::<toml::Table>().expect("TOML");
    let mut keys = keys_of(&table);
    let mut documented: Vec<String> = keys::all().map(|(key, _)| key.to_owned()).collect();
    let mut serialised = keys_of(&toml::Table::try_from(Config::default()).expect("a table"));
    keys.sort_unstable();
    documented.sort_unstable();
    serialised.sort_unstable();
    assert_eq!(keys, documented);
    assert_eq!(serialised, documented);
}

fn keys_of(table: &toml::Table) -> Vec<String> {
    let keys = table.iter().flat_map(|(key, value)| match value {
        toml::Value::Table(inner) => keys_of(inner).iter().map(|name| format!("{key}.{name}")).collect(),
        _ => vec![key.clone()],
    });
    keys.collect()
}

#[test]
fn the_example_states_every_range_as_it_is_checked() {
    let text = FILE.replace("\n# ", " ");
    for (key, takes) in keys::all() {
        let takes = takes.split(", such as").next().unwrap_or_default();
        assert!(text.contains(takes), "configs/vos.toml does not say of {key}: {takes}");
    }
}

#[test]
fn an_empty_file_is_the_defaults_and_no_file_too() {
    assert_eq!(parse("").expect("empty"), Config::default());
    assert_eq!(Config::read(None, |config| config.iface = "eth0".into()).expect("none"), sound());
    let error = Config::read(Some(Path::new("/nonexistent/vos.toml")), |_| {}).expect_err("no such file").to_string();
    assert!(error.contains("/nonexistent/vos.toml") && error.contains("--config"), "{error}");
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest() {
    for (text, place, hint) in [
        ("iface = \"eth0\"\nquues = 4\n", "vos.toml:2: there is no key `quues`", "did you mean `queues`, at the top"),
        ("[xsk]\nframe = 4096\n", "vos.toml:2: there is no key `xsk.frame`", "did you mean `frames` in [xsk]?"),
        ("\n\nsip_ports = [5060]\n", "vos.toml:3: there is no key `sip_ports`", "did you mean `sip_ports` in [xdp]?"),
        ("[xdpp]\nattach = \"auto\"\n", "vos.toml:1: there is no key `xdpp`", "did you mean [xdp]?"),
        ("[relay]\n\nheartbeat = 5\n", "vos.toml:3:", "did you mean `heartbeat_ms` in [relay]?"),
        (
            "[rules]\nscaner = \"off\"\n",
            "vos.toml:2: there is no key `rules.scaner`",
            "did you mean `scanner` in [rules]?",
        ),
        ("[rules]\nclosed = \"off\"\n", "vos.toml:2: there is no key `rules.closed`", ""),
        ("[rates]\nregister = \"5/s burst 10\"\n", "vos.toml:2:", "did you mean `register` in [rates."),
        (
            "[rates.unknwn]\nall = \"none\"\n",
            "vos.toml:1: there is no key `rates.unknwn`",
            "did you mean [rates.unknown]?",
        ),
        ("[xdp]\ndomain = []\n", "vos.toml:2:", "did you mean `domains` in [xdp]?"),
        ("[worker]\nzzzz = 5\n", "vos.toml:2: there is no key `worker.zzzz`", "configs/vos.toml lists them all"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(matches!(error, ConfigError::UnknownKey { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(place) && error.contains(hint), "{error}");
    }
}

#[test]
fn a_wrong_value_is_answered_with_what_the_key_takes() {
    for (text, parts) in [
        ("mode = \"fast\"", ["vos.toml:1: `mode` takes \"relay\", \"filter\" or \"monitor\"", "`fast`"]),
        ("\nqueues = -1", ["vos.toml:2: `queues` takes 0 (all the interface has) to 256", "-1"]),
        ("queues = \"4\"", ["`queues` takes 0", "string"]),
        ("[xsk]\nbind = \"zero-copy\"", ["vos.toml:2: `xsk.bind` takes \"auto\"", "zero-copy"]),
        ("[xdp]\nsip_ports = [5060,\n 70000]", ["vos.toml:3: `xdp.sip_ports` takes 1 to 16", "70000"]),
        ("[xdp]\nprotect = [\"10.0.0.0/8\"]", ["`xdp.protect` takes up to 128 addresses", "IP address"]),
        ("[worker]\ncores = \"7-4\"", ["vos.toml:2: `worker.cores` takes cores and ranges", "runs backwards"]),
        ("[iface]\nx = 1", ["vos.toml:2: there is no key `iface.x`", ""]),
        ("xdp = 1", ["vos.toml:1:", "invalid type"]),
        ("mode = relay", ["vos.toml:1:", ""]),
        ("profile = \"edge\"", ["vos.toml:1: `profile` takes \"default\", \"internet-edge\"", "no profile `edge`"]),
        ("profile = \"edge.toml\"", ["`profile` takes", "no absolute path"]),
        ("[xdp]\nmode = \"shut\"", ["vos.toml:2: `xdp.mode` takes \"open\", \"monitor\" or \"closed\"", "shut"]),
        ("[xdp]\nstealth = \"all\"", ["vos.toml:2: `xdp.stealth` takes \"off\", \"options\"", "all"]),
        ("[xdp]\nstealth = 1", ["vos.toml:2: `xdp.stealth` takes", "integer"]),
        ("[xdp]\ndomains = \"example.com\"", ["vos.toml:2: `xdp.domains` takes up to 1000", "string"]),
        (
            "[rules]\n\nscanner = \"on\"",
            ["vos.toml:3: `rules.scanner` takes \"enforce\", \"monitor\" or \"off\"", "`on`"],
        ),
        ("[rules]\nscanner = true", ["vos.toml:2: `rules.scanner` takes", "string"]),
        ("rules = 5", ["vos.toml:1:", "invalid type"]),
        ("[scanners]\npatterns = [\"friendly-scanner\",\n 7]", ["vos.toml:3: `scanners.patterns` takes", "integer"]),
        ("[rates]\nglobal = \"lots\"", ["vos.toml:2: `rates.global` takes a limit", "`lots` is no limit"]),
        ("[rates.unknown]\nregister = 5", ["vos.toml:2: `rates.unknown.register` takes a limit", "integer"]),
        ("rates.prefix = { all = \"5/s\" }", ["vos.toml:1: `rates.prefix.all` takes a limit", "at once is missing"]),
        ("[rates]\nverified_for = \"2 fortnights\"", ["vos.toml:2: `rates.verified_for` takes a time", "is no time"]),
        (
            "[relay]\nredirect = \"some\"",
            ["vos.toml:2: `relay.redirect` takes \"all\", \"needed\" or \"none\"", "some"],
        ),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

fn places(of: &[&str]) -> Vec<std::net::SocketAddr> {
    of.iter().map(|place| place.parse().expect(place)).collect()
}

#[test]
fn a_value_out_of_range_is_named_with_the_range() {
    type Spoil = fn(&mut Config);
    let spoils: [(&str, Spoil); 60] = [
        ("iface", |c| c.iface.clear()),
        ("iface", |c| c.iface = "a/b".into()),
        ("iface", |c| c.iface = "sixteen-bytes-xx".into()),
        ("queues", |c| c.queues = 257),
        ("xdp.sip_ports", |c| c.xdp.sip_ports.clear()),
        ("xdp.sip_ports", |c| c.xdp.sip_ports = vec![0]),
        ("xdp.sip_ports", |c| c.xdp.sip_ports = vec![5060, 5060]),
        ("xdp.sip_ports", |c| c.xdp.sip_ports = (1..=17).collect()),
        ("xdp.protect", |c| {
            c.xdp.protect = vec!["0.0.0.0".parse().expect("an address")];
        }),
        ("xdp.protect", |c| {
            c.xdp.protect = vec!["::ffff:192.0.2.1".parse().expect("an address")];
        }),
        ("xdp.domains", |c| c.xdp.domains = vec!["a b".into()]),
        ("xdp.domains", |c| c.xdp.domains = vec!["Example.com".into()]),
        ("xdp.domains", |c| c.xdp.domains = vec!["example.com".into(); 2]),
        ("xdp.domains", |c| c.xdp.domains = (0..1_001).map(|n| format!("d{n}.example")).collect()),
        ("scanners.patterns", |c| c.scanners.patterns = vec!["sipcli".into()]),
        ("scanners.patterns", |c| c.scanners.patterns = vec!["x".repeat(33)]),
        ("scanners.patterns", |c| c.scanners.patterns = vec!["sch\u{f6}nheit".into()]),
        ("scanners.patterns", |c| c.scanners.patterns = vec!["sipvicious".into(), "SIPVicious".into()]),
        ("scanners.patterns", |c| c.scanners.patterns = (0..64).map(|n| format!("pattern {n:03}")).collect()),
        ("rates.verified_for", |c| c.rates.verified_for = Duration::from_secs(59)),
        ("rates.verified_for", |c| c.rates.verified_for = Duration::from_secs(31 * 86_400)),
        ("rates.verified_for", |c| c.rates.verified_for = Duration::from_millis(90_500)),
        ("xsk.frames", |c| c.xsk.frames = 5_000),
        ("xsk.frames", |c| c.xsk.frames = 2_048),
        ("xsk.frames", |c| c.xsk.frames = 1 << 17),
        ("xsk.ring", |c| c.xsk.ring = 100),
        ("xsk.ring", |c| c.xsk.ring = 32),
        ("xsk.batch", |c| c.xsk.batch = 0),
        ("xsk.batch", |c| (c.xsk.ring, c.xsk.batch) = (64, 65)),
        ("worker.busy_poll_us", |c| c.worker.busy_poll_us = 0),
        ("worker.busy_poll_budget", |c| c.worker.busy_poll_budget = 513),
        ("worker.spin_us", |c| c.worker.spin_us = 1_001),
        ("worker.cores", |c| {
            (c.queues, c.worker.cores) = (4, "0-2".parse().expect("a list"));
        }),
        ("relay.heartbeat_ms", |c| c.relay.heartbeat_ms = 9),
        ("relay.heartbeat_timeout_ms", |c| c.relay.heartbeat_timeout_ms = 299),
        ("relay.heartbeat_timeout_ms", |c| c.relay.heartbeat_timeout_ms = 10_001),
        ("egress.ifaces", |c| c.egress.ifaces = vec![String::new()]),
        ("egress.ifaces", |c| c.egress.ifaces = vec!["eth0".into(); 17]),
        ("control.run_dir", |c| c.control.run_dir = "run".into()),
        ("control.state_dir", |c| c.control.state_dir = PathBuf::new()),
        ("honeypot.listen", |c| c.honeypot.listen = places(&["0.0.0.0:5060"])),
        ("honeypot.listen", |c| c.honeypot.listen = places(&["192.0.2.9:0"])),
        ("honeypot.listen", |c| c.honeypot.listen = places(&["192.0.2.9:5060", "192.0.2.9:5060"])),
        ("honeypot.listen", |c| (c.honeypot.ports, c.honeypot.listen) = (vec![5062], places(&["192.0.2.9:5062"]))),
        ("honeypot.listen", |c| {
            c.relay.to = "unix:/run/peer.sock".parse().expect("a peer");
            c.honeypot.listen = places(&["192.0.2.9:5060"]);
        }),
        ("page.listen", |c| c.page.listen = Some("192.0.2.1:9960".parse().expect("an address"))),
        ("page.listen", |c| c.page.listen = Some("127.0.0.1:0".parse().expect("an address"))),
        ("page.listen", |c| {
            c.page.listen = Some("127.0.0.1:9960".parse().expect("an address"));
            c.api.listen = c.page.listen;
            (c.api.token_file, c.api.allow) = ("/t".into(), vec!["127.0.0.1/32".parse().expect("a net")]);
        }),
        ("api.token_file", |c| {
            c.page.listen = Some("[::1]:9960".parse().expect("an address"));
            c.api.token_file = "token".into();
        }),
        ("records.file", |c| c.records.file = "records.jsonl".into()),
        ("records.file", |c| c.records.file = "/var/lib/vos/".into()),
        ("records.max_mib", |c| c.records.max_mib = 0),
        ("records.max_mib", |c| c.records.max_mib = 102_401),
        ("records.keep", |c| c.records.keep = 101),
        ("records.illegal_calls", |c| c.records.illegal_calls = vec![200]),
        ("records.illegal_calls", |c| c.records.illegal_calls = vec![403, 403]),
        ("records.illegal_calls", |c| c.records.illegal_calls = (400..417).collect()),
        ("records.exchange", |c| c.records.exchange = "a b".into()),
        ("records.exchange", |c| (c.records.exchange, c.amqp.url) = ("vos.records".into(), "amqp://broker".into())),
        ("records.exchange", |c| (c.records.exchange, c.records.file) = ("vos.records".into(), "/r".into())),
    ];
    for (key, spoil) in spoils {
        let mut config = sound();
        spoil(&mut config);
        let error = config.validate().expect_err(key).to_string();
        assert!(error.starts_with(&format!("`{key}` takes {}: ", takes(key).expect("documented"))), "{error}");
    }
}

#[test]
fn lists_of_cores_are_read_and_written() {
    for (text, cores, canonical) in [
        ("", vec![], ""),
        ("4-7", vec![4, 5, 6, 7], "4-7"),
        ("4,6", vec![4, 6], "4,6"),
        (" 4 - 6 , 9,10", vec![4, 5, 6, 9, 10], "4-6,9-10"),
        ("3,1,2", vec![3, 1, 2], "3,1-2"),
    ] {
        let list: CoreList = text.parse().expect(text);
        assert_eq!(list.cores(), cores);
        assert_eq!(list.to_string(), canonical);
    }
    for text in ["a", "1-", "-1", "1,,2", "2-1", "1,1", "1-3,2", "9999", "+1", "0x1", "1;2"] {
        let error = text.parse::<CoreList>().expect_err(text).to_string();
        assert!(error.contains(text) && error.contains("4-7"), "{error}");
    }
}

#[test]
fn a_value_out_of_range_is_named_with_its_line_unless_a_flag_gave_it() {
    let error = read("[xsk]\n\nring = 100\n").expect_err("no power of two").to_string();
    assert!(error.contains("vos.toml:3: `xsk.ring` takes a power of two"), "{error}");
    let error = read("[scanners]\npatterns = [\n \"smap\"]").expect_err("too short").to_string();
    assert!(
        error.contains("vos.toml:2: `scanners.patterns` takes") && error.contains("\"smap\": a pattern"),
        "{error}"
    );
    let error = read("[xdp]\ndomains = [\"a.example\", \"A.Example.\"]").expect_err("twice").to_string();
    assert!(error.contains("vos.toml:2: `xdp.domains`") && error.contains("a.example is there twice"), "{error}");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("vos.toml");
    std::fs::write(&file, "iface = \"eth0\"\nqueues = 4\n").expect("written");
    let error = Config::read(Some(&file), |config| config.queues = 999).expect_err("too many").to_string();
    assert!(error.starts_with("`queues` takes 0 (all"), "{error}");
}

#[test]
fn stealth_is_read_as_it_was_written_before_there_were_words_for_it() {
    for (written, stealth) in [
        ("true", Stealth::Options),
        ("false", Stealth::Off),
        ("\"off\"", Stealth::Off),
        ("\"options\"", Stealth::Options),
        ("\"requests\"", Stealth::Requests),
    ] {
        assert_eq!(parse(&format!("[xdp]\nstealth = {written}")).expect(written).xdp.stealth, stealth);
    }
}

#[test]
fn domains_are_kept_in_the_form_in_which_they_are_compared() {
    let config = read("[xdp]\ndomains = [\"SIP.Example.com.\", \"[2001:DB8::1]\", \"192.0.2.1\"]").expect("sound");
    assert_eq!(config.xdp.domains, ["sip.example.com", "2001:db8::1", "192.0.2.1"]);
}
