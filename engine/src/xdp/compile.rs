use vos_common::rate::Tier;
use vos_common::reason::Reason;
use vos_common::state::{BUDGETS, BYES, Config as KernelConfig, PROVISIONAL};

use crate::config::{Auth, Config, RuleMode, redirect};

/// A configuration as the kernel holds it. `tick`: the length of the kernel's tick, ns. `before` is what is in force,
/// and gives what no configuration says: clock, interface, seed, attack mode, which signatures, whether there are IPv6
/// rules.
pub fn compile(config: &Config, tick: u64, before: KernelConfig) -> KernelConfig {
    let mut rules = config.rules_in_force();
    if config.scanners.patterns.is_empty() {
        // Nothing to find is not worth looking for: a scan costs more than all other rules.
        rules.set(Reason::Scanner, RuleMode::Off);
    }
    let rates = &config.rates;
    let flags = [
        // A call that rings is told from one that nobody answers.
        (PROVISIONAL, config.relay.shield || !config.gateway.is_empty()),
        (BUDGETS, config.gateway.iter().any(|gateway| gateway.auth == Auth::Ip)),
        // A call ends by either side's BYE: who counts a gateway's calls must see both.
        (BYES, !config.gateway.is_empty()),
    ];
    let flags = flags.iter().fold(before.flags, |word, (flag, set)| if *set { word | flag } else { word & !flag });
    KernelConfig {
        flags,
        heartbeat_timeout: u64::from(config.relay.heartbeat_timeout_ms) * 1_000_000,
        enforce: rules.enforce,
        monitor: rules.monitor,
        silent: config.xdp.stealth.silent(),
        redirect: redirect::mask(config),
        limits: Tier::ALL.map(|tier| rates.tier(tier).compile(tick)),
        prefix: rates.prefix.compile(tick),
        global: rates.global.limit(tick),
        sample: rates.samples.limit(tick),
        ..before
    }
}

#[cfg(test)]
mod tests {
    use vos_common::rate::{Kind, Limit};
    use vos_common::sip::Class;
    use vos_common::state::{Clock, V6_RULES};

    use super::*;
    use crate::config::{Admission, Gateway, Mode, Stealth};

    const TICK: u64 = 4_000_000;

    fn before() -> KernelConfig {
        KernelConfig {
            clock: Clock { jiffies: 1, monotonic: 2, tick: TICK },
            mac: 3,
            chunk: 4,
            ifindex: 5,
            seed: 6,
            flags: V6_RULES,
            attack_until: 7,
            signatures: 1,
            ..KernelConfig::default()
        }
    }

    fn compiled(spoil: impl FnOnce(&mut Config)) -> KernelConfig {
        let mut config = Config::default();
        spoil(&mut config);
        compile(&config, TICK, before())
    }

    #[test]
    fn what_no_configuration_says_stays_as_it_is() {
        let was = before();
        let now = compiled(|_| {});
        let KernelConfig { clock, mac, chunk, ifindex, seed, flags, attack_until, signatures, .. } = now;
        assert_eq!((clock, mac, chunk, ifindex, seed), (was.clock, was.mac, was.chunk, was.ifindex, was.seed));
        assert_eq!((flags, attack_until, signatures), (was.flags, was.attack_until, was.signatures));
        // and what it does say does not depend on what was
        assert_eq!(compile(&Config::default(), TICK, now), now);
        assert_eq!(
            KernelConfig {
                clock,
                mac,
                chunk,
                ifindex,
                seed,
                flags,
                attack_until,
                signatures,
                ..compile(&Config::default(), TICK, KernelConfig::default())
            },
            now
        );
    }

    #[test]
    fn rules_are_where_the_kernel_looks_for_them() {
        let plain = compiled(|_| {});
        assert_eq!(plain.enforce & plain.monitor, 0);
        assert_ne!(plain.enforce & Reason::Blocked.bit(), 0);
        assert_eq!((plain.enforce | plain.monitor) & (Reason::Closed.bit() | Reason::UnknownMethod.bit()), 0);
        // nothing that is no rule
        let all: u64 = crate::config::Rules::all().map(Reason::bit).sum();
        assert_eq!(plain.enforce & !all, 0);
        for (admission, enforced, monitored) in
            [(Admission::Open, false, false), (Admission::Monitor, false, true), (Admission::Closed, true, false)]
        {
            let config = compiled(|config| config.xdp.mode = admission);
            assert_eq!(config.enforce & Reason::Closed.bit() != 0, enforced);
            assert_eq!(config.monitor & Reason::Closed.bit() != 0, monitored);
        }
        let watching = compiled(|config| (config.mode, config.xdp.mode) = (Mode::Monitor, Admission::Closed));
        assert_eq!((watching.enforce, watching.monitor), (0, plain.enforce | Reason::Closed.bit()));
        let blind = compiled(|config| config.scanners.patterns.clear());
        assert_eq!((blind.enforce | blind.monitor) & Reason::Scanner.bit(), 0);
    }

    #[test]
    fn gateways_have_budgets_and_their_calls_are_seen_to_end() {
        let gateway = |auth| Gateway { name: "a".into(), auth, ..Gateway::default() };
        for (gateways, flags) in [
            (vec![], 0),
            (vec![gateway(Auth::Ip)], BUDGETS | BYES | PROVISIONAL),
            (vec![gateway(Auth::IpPort), gateway(Auth::Password)], BYES | PROVISIONAL),
            (vec![gateway(Auth::Password), gateway(Auth::Ip)], BUDGETS | BYES | PROVISIONAL),
        ] {
            let with = compiled(|config| config.gateway = gateways);
            assert_eq!(with.flags, V6_RULES | flags);
            assert_eq!(compile(&Config::default(), TICK, with).flags, V6_RULES, "off again");
        }
    }

    #[test]
    fn stealth_limits_and_heartbeats_are_where_the_kernel_looks_for_them() {
        let plain = compiled(|_| {});
        assert_eq!(plain.silent, Class::Options.bit());
        assert_eq!(compiled(|config| config.xdp.stealth = Stealth::Off).silent, 0);
        assert_eq!(plain.heartbeat_timeout, 500_000_000);
        assert_eq!(plain.redirect, u64::from(u32::MAX));
        let shielded = compiled(|config| config.relay.shield = true);
        assert_eq!((plain.flags, shielded.flags), (V6_RULES, V6_RULES | PROVISIONAL));
        assert_eq!(compile(&Config::default(), TICK, shielded).flags, V6_RULES, "off again");
        let set = compiled(|config| {
            config.rates.unknown.register = "5/s burst 10".parse().expect("a limit");
            config.rates.verified.invite = "6/s burst 11".parse().expect("a limit");
            config.rates.trusted.all = "none".parse().expect("a limit");
            config.rates.prefix.options = "7/s burst 12".parse().expect("a limit");
            config.rates.global = "8/s burst 13".parse().expect("a limit");
            config.rates.samples = "9/s burst 14".parse().expect("a limit");
        });
        let limit = |tier: Tier, kind: Kind| set.limits[tier as usize][kind as usize];
        assert_eq!(limit(Tier::Unknown, Kind::Register), Limit::per_second(5, 10, TICK));
        assert_eq!(limit(Tier::Verified, Kind::Invite), Limit::per_second(6, 11, TICK));
        assert_eq!(limit(Tier::Trusted, Kind::All), Limit::NONE);
        assert_eq!(set.prefix[Kind::Options as usize], Limit::per_second(7, 12, TICK));
        assert_eq!(set.global, Limit::per_second(8, 13, TICK));
        assert_eq!(set.sample, Limit::per_second(9, 14, TICK));
    }
}
