//! `configs/vos.toml` is the documentation of [`Config`], and the errors lead to the right line.

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
    let spoils: [(&str, Spoil); 56] = [
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

#[test]
fn the_default_profile_is_the_defaults_and_names_every_rule() {
    let defaults = parse("profile = \"default\"").expect("compiled in");
    assert_eq!(defaults, Config::default());
    for rule in Rules::all() {
        let off = matches!(rule, Reason::UnknownMethod | Reason::Closed | Reason::Parallel);
        let expected = if off { RuleMode::Off } else { RuleMode::Enforce };
        assert_eq!(defaults.rules_in_force().mode(rule), expected, "{rule:?}");
    }
}

fn of_profile(profile: &str) -> Config {
    let config = read(&format!("profile = \"{profile}\"")).expect(profile);
    assert_eq!(config.profile.to_string(), profile);
    config
}

/// Each profile says what it changes, and changes nothing else.
#[test]
fn profiles_differ_from_the_default_in_what_they_say() {
    let default = of_profile("default");
    for profile in Profile::BUILT_IN {
        let text = profile.text().expect("compiled in").0;
        let said = keys_of(&text.parse::<toml::Table>().expect("TOML"));
        let different = default.difference(&of_profile(&profile.to_string()));
        for key in different.iter().filter(|key| *key != "profile") {
            assert!(said.contains(key), "{profile} does not say {key}");
        }
        let same = said.iter().filter(|key| !different.contains(key)).count();
        match profile {
            Profile::Default => assert!(different.is_empty()),
            // it says "options" to be read beside the guides
            Profile::Vos3000 => assert_eq!(same, 1, "{said:?} {different:?}"),
            _ => assert_eq!(same, 0, "{said:?} {different:?}"),
        }
        // comments stand over the values: what is said without a reason is not said
        assert!(text.lines().filter(|line| line.starts_with('#')).count() >= said.len() / 2);
    }
}

#[test]
fn profiles_are_what_the_documentation_says_of_them() {
    let edge = of_profile("internet-edge");
    assert_eq!((edge.xdp.stealth, edge.rules.mode(Reason::UnknownMethod)), (Stealth::Requests, RuleMode::Enforce));
    let vos = of_profile("vos3000").rates.unknown;
    let said = [vos.register, vos.all, vos.options].map(|rate| rate.to_string());
    assert_eq!(said, ["5/s burst 10", "20/s burst 50", "20/min burst 20"]);
    for profile in Profile::BUILT_IN {
        let rates = of_profile(&profile.to_string()).rates;
        // who has shown more may send more, of everything
        let [unknown, verified, trusted] =
            [rates.unknown, rates.verified, rates.trusted].map(|limits| limits.compile(0));
        for kind in 0..unknown.len() {
            let order = [unknown[kind], verified[kind], trusted[kind]];
            assert!(order.is_sorted_by(|less, more| less.every > more.every), "{profile}: {order:?}");
            let bursts = order.map(|limit| limit.ahead / limit.every);
            assert!(bursts.is_sorted(), "{profile}: {bursts:?}");
        }
        // and a prefix holds more than one source
        let prefix = rates.prefix.compile(0);
        assert!(unknown.iter().zip(prefix).all(|(one, all)| all.every < one.every), "{profile}");
    }
}

/// The sites for which the default profile was worked out, sent through its limits one by one.
#[test]
fn the_default_profile_hurts_no_ordinary_site() {
    let rates = Config::default().rates;
    let refused = |limit: vos_common::rate::Limit, times: &[u64]| {
        let mut clock = 0;
        times.iter().filter(|at| limit.claim(clock, 1_000_000_000 + **at).map(|next| clock = next).is_none()).count()
    };
    const MS: u64 = 1_000_000;
    let unknown = rates.unknown.compile(0);
    let [all, register, invite, options] = unknown;
    // 500 phones behind one NAT register within a second, answer the challenge, and send everything twice
    let phones: Vec<u64> = (0..2_000).map(|n| n / 4 * 2 * MS).collect();
    assert_eq!((refused(register, &phones), refused(all, &phones)), (0, 0));
    // a minute of 200 calls a second: INVITE, and again with credentials; eight packets a call
    let calls = |per_call: u64| (0..200 * 60 * per_call).map(|n| n / per_call * 5 * MS).collect::<Vec<u64>>();
    assert_eq!((refused(invite, &calls(2)), refused(all, &calls(8))), (0, 0));
    // all of them within the prefix' limits, twice
    let [all, register, invite, _] = rates.prefix.compile(0);
    assert_eq!((refused(invite, &calls(4)), refused(all, &calls(16)), refused(register, &phones)), (0, 0, 0));
    // 500 that ping every 30 seconds
    assert_eq!(refused(options, &(0..10_000).map(|n| n * 60 * MS).collect::<Vec<u64>>()), 0);
    // and a flood is no site: the limits do hold
    let flood: Vec<u64> = (0..100_000).map(|n| n * MS / 10).collect();
    assert!(refused(unknown[1], &flood) > 95_000);
}

#[test]
fn a_profile_of_ones_own_lies_over_the_default_and_under_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("own.toml");
    let with = |profile: &str, rest: &str| {
        std::fs::write(&file, profile).expect("written");
        parse(&format!("profile = {:?}\n{rest}", file.display().to_string()))
    };
    let profile = "[xdp]\nstealth = \"off\"\n[rates.unknown]\nall = \"7/s burst 8\"\nregister = \"none\"\n";
    let config = with(profile, "[rates.unknown]\nall = \"9/s burst 9\"\n").expect("sound");
    assert_eq!(config.xdp.stealth, Stealth::Off);
    assert_eq!(config.rates.unknown.all.to_string(), "9/s burst 9");
    assert_eq!(config.rates.unknown.register, Rate::None);
    assert_eq!(config.rates.unknown.invite, Config::default().rates.unknown.invite);
    for (profile, parts) in [
        ("[rates.unknown]\n\nall = \"7/s\"\n", ["own.toml:3: `rates.unknown.all`", "at once is missing"]),
        ("[rules]\nscaner = \"off\"\n", ["own.toml:2: there is no key `rules.scaner`", "scanner"]),
        ("[xdp]\nattach = \"native\"\n", ["own.toml:2: a profile holds", "`xdp.attach` belongs into vos.toml"]),
        ("iface = \"eth0\"\n", ["own.toml:1: a profile holds", "`iface`"]),
        ("[scanners]\npatterns = [\"smap\"]\n", ["own.toml:2: `scanners.patterns`", "with its field"]),
        ("rates = [\n", ["own.toml:", ""]),
    ] {
        let error = with(profile, "").expect_err(profile).to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
    std::fs::remove_file(&file).expect("there");
    let error = parse(&format!("profile = {:?}", file.display().to_string())).expect_err("gone").to_string();
    assert!(error.contains("own.toml") && error.contains("internet-edge"), "{error}");
}

/// The comments say which keys hold from the next start on: those and no others stay as they are in a reload.
#[test]
fn what_needs_a_restart_is_documented() {
    let mut config = sound();
    let spoilt = Config {
        iface: "eth1".into(),
        queues: 2,
        mode: Mode::Filter,
        profile: Profile::Vos3000,
        xdp: Xdp {
            attach: Attach::Native,
            sip_ports: vec![5070],
            protect: vec!["192.0.2.1".parse().expect("an address")],
            mode: Admission::Closed,
            stealth: Stealth::Off,
            domains: vec!["example.com".into()],
        },
        rules: Rules::default(),
        scanners: Scanners { patterns: Vec::new() },
        rates: Rates {
            global: Rate::None,
            samples: Rate::None,
            verified_for: Duration::from_secs(60),
            parallel: 1,
            unknown: NONE,
            verified: NONE,
            trusted: NONE,
            prefix: NONE,
        },
        xsk: Xsk { bind: Bind::Copy, frames: 8_192, ring: 1_024, batch: 32 },
        worker: Worker {
            cores: "1".parse().expect("a core"),
            wait: Wait::Busy,
            busy_poll_us: 1,
            busy_poll_budget: 1,
            spin_us: 1,
        },
        relay: Relay {
            redirect: Redirect::None,
            to: RelayTo::Proxy(None),
            fallback: Fallback::Drop,
            bind: Some("127.0.0.1:15060".parse().expect("an address")),
            inject: Inject::Raw,
            accept_firewall_bypass: true,
            priority: false,
            shield: true,
            emergency: Vec::new(),
            heartbeat_ms: 10,
            heartbeat_timeout_ms: 1_000,
        },
        backend: vec![Backend {
            name: "a".into(),
            address: "10.0.0.2:5060".parse().expect("an address"),
            drain: false,
        }],
        gateway: vec![Gateway { name: "a".into(), ..Gateway::default() }],
        answer: Answer { keep_alives: false, options: true, options_pass_every: 1, refuse_calls: true },
        registration: Registration {
            suspend: false,
            retry: 3,
            suspend_time: Duration::from_secs(600),
            suspend_time_max: Duration::from_secs(7_200),
            identity: Identity::User,
            refusals: vec![403],
            answer: SuspendedAnswer::Forbidden,
            watch: false,
            moves_max: 1,
            contacts_max: 1,
            contact_bytes_max: 200,
        },
        attack: Attack {
            detect: false,
            factor: 2,
            requests: 0,
            drops: 0,
            new_sources: 0,
            registrations: 0,
            failures: 0,
            trip: Duration::from_secs(1),
            calm: Duration::from_secs(1),
            recover: Duration::from_secs(1),
            retry: 1,
            suspend_time: Duration::from_secs(1),
            profile: Some(Profile::Vos3000),
            hook: vec!["/bin/true".into()],
            hook_timeout: Duration::from_secs(1),
            hook_every: Duration::from_secs(1),
            ..Attack::default()
        },
        enumeration: Enumeration {
            not_found: 2,
            within: Duration::from_secs(1),
            statuses: vec![404],
            slow_for: Duration::from_secs(1),
            slow_to: Rate::per_second(9, 9),
        },
        blacklist: Blacklist {
            block: false,
            limit: 1,
            half_life: Duration::from_secs(1),
            ttl: Duration::from_secs(1),
            ttl_max: Duration::from_secs(1),
            forget: Duration::from_secs(60),
            weights: Weights {
                refused_credentials: 0,
                suspension: 0,
                forbidden_call: 0,
                not_found: 0,
                scanner: 0,
                malformed: 0,
                stealth: 0,
                never_answered: 0,
            },
        },
        online: Online { interval: Duration::from_secs(60), misses: 1, rate: Rate::None },
        health: Health {
            interval: Duration::from_secs(2),
            failures: 1,
            target: Some("192.0.2.1:5060".parse().expect("an address")),
        },
        egress: Egress { ifaces: vec!["eth1".into()] },
        control: ControlPlane {
            run_dir: "/a".into(),
            state_dir: "/b".into(),
            socket_group: "sip".into(),
            widest_v4: 9,
            widest_v6: 33,
            widest_feed_v4: 20,
        },
        file_feed: vec![FileFeed { path: "/a".into(), ttl: None, reason: String::new(), strict: true }],
        datagram_feed: DatagramFeed {
            listen: Some(Listen::Unix("/run/vos/events".into())),
            ttl: Duration::from_secs(1),
        },
        amqp: Amqp {
            url: "amqps://broker".into(),
            password_file: "/p".into(),
            ca_file: "/c".into(),
            queue: "blocklist".into(),
            dead_letter: "dead".into(),
            ttl: Duration::from_secs(1),
        },
        cluster: Cluster { node: "a".into(), log: "b".into() },
        api: Api {
            listen: Some("127.0.0.1:8080".parse().expect("an address")),
            token_file: "/t".into(),
            allow: vec!["10.0.0.0/8".parse().expect("a net")],
        },
        honeypot: Honeypot {
            ports: vec![5062],
            addresses: vec!["192.0.2.9".parse().expect("an address")],
            listen: vec!["192.0.2.9:5060".parse().expect("a place")],
            ttl: Duration::from_secs(1),
        },
        records: Records {
            file: "/r".into(),
            max_mib: 1,
            keep: 0,
            zero_duration: ZeroDuration::Off,
            illegal_calls: vec![404],
            exchange: "vos.records".into(),
        },
    };
    const NONE: Limits = Limits { all: Rate::None, register: Rate::None, invite: Rate::None, options: Rate::None };
    // these are off by default
    config.rules.set(Reason::UnknownMethod, RuleMode::Monitor);
    config.rules.set(Reason::Parallel, RuleMode::Monitor);
    let mut every: Vec<String> = keys::all().map(|(key, _)| key.to_owned()).collect();
    every.sort();
    assert_eq!(config.difference(&spoilt), every);
    let restart = config.reloaded(&spoilt).difference(&spoilt);
    assert_eq!(restart, documented_as_restart());
    assert!(restart.contains(&"xsk.ring".to_owned()) && !restart.contains(&"xdp.sip_ports".to_owned()));
    assert_eq!(config.reloaded(&config), config);
}

/// The keys of `vos.toml` over which, or over whose table, a paragraph begins with `(restart)`.
fn documented_as_restart() -> Vec<String> {
    let (mut table, mut in_table, mut paragraph, mut keys) = (String::new(), false, "", Vec::new());
    for line in FILE.lines() {
        let key = line.trim_start_matches('#').split_once(" = ").map(|(key, _)| key);
        let key = key.filter(|key| keys::takes(&format!("{table}{key}")).is_some());
        if let Some(name) = line.strip_prefix('[') {
            in_table = paragraph.starts_with("# (restart)");
            (table, paragraph) = (format!("{}.", name.trim_end_matches(']')), "");
        } else if let Some(key) = key {
            if in_table || paragraph.starts_with("# (restart)") {
                keys.push(format!("{table}{key}"));
            }
        } else if line.is_empty() {
            paragraph = "";
        } else if paragraph.is_empty() {
            paragraph = line;
        }
    }
    keys.sort();
    keys
}
