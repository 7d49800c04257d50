//! Profiles.

use super::*;

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
