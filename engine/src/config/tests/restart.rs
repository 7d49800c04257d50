//! What a reload takes up, and what it does not.

use super::*;

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
            verify_every: Duration::from_secs(1),
            confine: false,
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
        page: Page { listen: Some("127.0.0.1:9960".parse().expect("an address")) },
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
