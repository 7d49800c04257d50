use std::collections::BTreeSet;

use super::Severity::{Error, Note, Warning};
use super::ruleset::{Closed, Hook, Rule, Rules, Verdict};
use super::{Finding, Way, listed};
use crate::config::{Config, Inject, RelayTo};
use crate::relay::FirewallVerdict;

/// Most rules named in one finding.
const SHOWN: usize = 3;

pub(super) fn judge(
    rules: &Rules,
    inspected: &FirewallVerdict,
    config: &Config,
    way: Way,
    iface: &str,
) -> Vec<Finding> {
    let mut findings = vec![judge_rules(rules, config, way, iface)];
    findings.extend(judge_closed(rules, &config.xdp.sip_ports, way));
    findings.extend(judge_bypass(inspected, config, way, iface));
    findings
}

/// Rules in the way of SIP.
fn sip_drops<'a>(rules: &'a Rules, ports: &[u16]) -> Vec<&'a Rule> {
    let in_the_way = |rule: &&Rule| {
        !matches!(rule.hook, Hook::Output | Hook::Elsewhere)
            && (rule.verdict == Verdict::Drop || rule.limits)
            && ports.iter().any(|port| rule.names(*port))
    };
    rules.rules.iter().filter(in_the_way).collect()
}

fn shown(rules: &[&Rule]) -> String {
    let mut words: Vec<String> =
        rules.iter().take(SHOWN).map(|rule| format!("`{}` in {}", rule.text, rule.place)).collect();
    if rules.len() > SHOWN {
        words.push(format!("{} more", rules.len() - SHOWN));
    }
    words.join("; ")
}

fn judge_rules(rules: &Rules, config: &Config, way: Way, iface: &str) -> Finding {
    const CHECK: &str = "firewall";
    let drops = sip_drops(rules, &config.xdp.sip_ports);
    if drops.is_empty() && !rules.told {
        return Finding::unknown(CHECK, "firewall rules", "neither nft nor iptables-save tells them", iface);
    }
    if drops.is_empty() {
        return Finding::ok(
            CHECK,
            format!("of {} firewall rules none drops or limits SIP by its port", rules.rules.len()),
        );
    }
    let what = match drops.len() {
        1 => format!("a firewall rule drops or limits SIP: {}", shown(&drops)),
        count => format!("{count} firewall rules drop or limit SIP: {}", shown(&drops)),
    };
    match way {
        Way::Raw | Way::Peer => Finding::new(
            CHECK,
            Warning,
            what,
            "what the engine relays goes around the firewall: these rules no longer hold for it, and what they kept out gets in \
             unless the engine keeps it out, too",
            "nft -a list ruleset",
        ),
        Way::Untried => Finding::new(
            CHECK,
            Note,
            what,
            "if the driver does not take native XDP, what the engine relays goes around the firewall, and these rules no longer \
             hold for it; else what they drop never reaches the softswitch, as before",
            "nft -a list ruleset",
        ),
        Way::Reentry | Way::Kernel => Finding::new(
            CHECK,
            Note,
            what,
            "survivors of the engine pass the firewall as before: what these rules drop never reaches the softswitch, and is not \
             counted by the engine",
            "nft -a list ruleset",
        ),
    }
}

/// Chains that drop by default, and accept no SIP by its port.
fn judge_closed(rules: &Rules, ports: &[u16], way: Way) -> Option<Finding> {
    const CHECK: &str = "firewall-policy";
    let on_the_way =
        |chain: &&Closed| matches!(chain.hook, Hook::Input | Hook::Before) && !chain.place.starts_with("arp ");
    let closed: Vec<&Closed> = rules.closed.iter().filter(on_the_way).collect();
    let missing = |chain: &&Closed| (chain.place.clone(), rules.not_accepted(&chain.place, ports));
    let missing: Vec<_> = closed.iter().map(missing).filter(|(_, ports)| !ports.is_empty()).collect();
    let drops = |places: &[&str]| {
        let (drop, they) = if places.len() == 1 { ("drops", "it does") } else { ("drop", "they do") };
        format!("{} {drop} what {they} not accept", listed(places))
    };
    if closed.is_empty() {
        return None;
    }
    if missing.is_empty() {
        let places: Vec<&str> = closed.iter().map(|chain| chain.place.as_str()).collect();
        return Some(Finding::ok(CHECK, format!("{}, and SIP is accepted by a rule", drops(&places))));
    }
    let places: Vec<&str> = missing.iter().map(|(place, _)| place.as_str()).collect();
    let absent: BTreeSet<u16> = missing.iter().flat_map(|(_, ports)| ports).copied().collect();
    let absent: Vec<u16> = absent.into_iter().collect();
    let fix: Vec<String> = missing.iter().map(|(place, ports)| accept(place, ports)).collect();
    Some(Finding::new(
        CHECK,
        Note,
        format!("{}, and no rule there accepts UDP {} by its port", drops(&places), listed(&absent)),
        match way {
            Way::Raw | Way::Peer | Way::Untried => {
                "what the engine relays by a raw socket or to a peer goes around it; what takes the kernel's path, as when the engine is stopped, is dropped \
                 unless its source is accepted"
            }
            Way::Reentry | Way::Kernel => {
                "calls reach the softswitch only from sources that are accepted as such; if that is meant, all is well"
            }
        },
        fix.join(" && "),
    ))
}

/// Has a chain accept these UDP ports.
fn accept(place: &str, ports: &[u16]) -> String {
    let numbers = |between| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(between);
    let program = match place.split(' ').collect::<Vec<_>>()[..] {
        ["ip", table, chain] if is_builtin(chain) => Some(("iptables", table, chain)),
        ["ip6", table, chain] if is_builtin(chain) => Some(("ip6tables", table, chain)),
        _ => None,
    };
    match (program, ports) {
        (Some((program, table, chain)), ports) => {
            let table = if table == "filter" { String::new() } else { format!("-t {table} ") };
            let port = if ports.len() == 1 { "--dport" } else { "-m multiport --dports" };
            format!("{program} {table}-I {chain} -p udp {port} {} -j ACCEPT", numbers(","))
        }
        (None, [port]) => format!("nft insert rule {place} udp dport {port} accept"),
        (None, _) => format!("nft 'insert rule {place} udp dport {{ {} }} accept'", numbers(", ")),
    }
}

/// Is it one of iptables' own chains?
fn is_builtin(chain: &str) -> bool {
    matches!(chain, "INPUT" | "PREROUTING")
}

/// What a start says of relays that go around the firewall.
fn judge_bypass(inspected: &FirewallVerdict, config: &Config, way: Way, iface: &str) -> Option<Finding> {
    const CHECK: &str = "firewall-bypass";
    if !matches!(way, Way::Raw | Way::Peer | Way::Untried) {
        return (way == Way::Reentry)
            .then(|| Finding::ok(CHECK, "survivors re-enter the interface, and the firewall sees them as before"));
    }
    let obstacle = match inspected {
        FirewallVerdict::Clear => {
            let go = if way == Way::Untried { "may go" } else { "go" };
            return Some(Finding::ok(
                CHECK,
                format!("survivors {go} around the firewall, and none of its rules is about SIP or lo"),
            ));
        }
        FirewallVerdict::Rule(rule) => format!("a rule is about SIP or lo: {rule}"),
        FirewallVerdict::Unknown(why) => format!("its rules cannot be read ({why})"),
    };
    if way == Way::Untried {
        return Some(Finding::new(
            CHECK,
            Note,
            format!("survivors may go around the firewall, and {obstacle}"),
            "it depends on whether the driver takes native XDP: if so they re-enter the interface; if not the engine does not \
             relay, unless relay.accept_firewall_bypass = true",
            format!("vos-engine --iface {iface} --mode monitor --unload-on-exit  # its first line says what it got"),
        ));
    }
    let accepted = config.relay.accept_firewall_bypass;
    let falls_back = config.relay.to == RelayTo::Local && config.relay.inject == Inject::Auto;
    let (severity, why) = match (accepted, falls_back) {
        (true, _) => (
            Note,
            "relay.accept_firewall_bypass = true: what such rules keep out has to be kept out by the engine's own",
        ),
        (false, true) => {
            (Warning, "the engine does not relay then: survivors take the kernel's path, as with mode = \"filter\"")
        }
        (false, false) => {
            (Error, "the engine does not start, unless relay.accept_firewall_bypass = true says that it is meant")
        }
    };
    let fix = match (accepted, inspected) {
        (true, _) => String::new(),
        (false, FirewallVerdict::Unknown(_)) => "apt install -y nftables".to_owned(),
        (false, _) if config.relay.to == RelayTo::Local => format!("vos-engine --iface {iface} --mode filter"),
        (false, _) => "nft -a list ruleset".to_owned(),
    };
    Some(Finding::new(CHECK, severity, format!("survivors go around the firewall, and {obstacle}"), why, fix))
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::ruleset::tests::{IPTABLES, NFT, iptables, nft};
    use super::super::tests::of;
    use super::*;

    fn clear() -> Rules {
        Rules { told: true, ..Rules::default() }
    }

    fn judged(rules: &Rules, way: Way) -> Vec<Finding> {
        judge(rules, &FirewallVerdict::Clear, &Config::default(), way, "eth0")
    }

    #[test]
    fn rules_that_drop_sip_matter_where_survivors_go_around_them() {
        for rules in [nft(NFT), iptables(IPTABLES)] {
            for (way, severity) in [
                (Way::Reentry, Note),
                (Way::Kernel, Note),
                (Way::Untried, Note),
                (Way::Raw, Warning),
                (Way::Peer, Warning),
            ] {
                let findings = judged(&rules, way);
                let finding = of(&findings, "firewall");
                assert_eq!(finding.severity, severity, "{way:?}");
                assert!(finding.what.contains("filter"), "{finding:?}");
            }
        }
        assert!(judged(&clear(), Way::Raw).iter().all(|finding| finding.severity == Severity::Ok));
        let findings = judged(&nft(NFT), Way::Reentry);
        assert!(
            of(&findings, "firewall")
                .what
                .contains("`udp dport @sip limit rate over 20/second drop` in inet filter input"),
            "{findings:?}"
        );
    }

    #[test]
    fn ports_are_the_configured_ones() {
        let mut config = Config::default();
        config.xdp.sip_ports = vec![6060];
        let findings = judge(&iptables(IPTABLES), &FirewallVerdict::Clear, &config, Way::Raw, "eth0");
        assert_eq!(of(&findings, "firewall").severity, Severity::Ok);
    }

    #[test]
    fn rules_that_nobody_tells_are_a_note() {
        let findings = judged(&Rules::default(), Way::Raw);
        assert!(of(&findings, "firewall").severity == Note && of(&findings, "firewall").what.contains("not checked"));
        let some = Rules { told: false, ..iptables(IPTABLES) };
        assert_eq!(of(&judged(&some, Way::Raw), "firewall").severity, Warning, "what is known counts");
    }

    #[test]
    fn a_closed_chain_has_to_accept_sip() {
        assert_eq!(of(&judged(&nft(NFT), Way::Reentry), "firewall-policy").severity, Severity::Ok);
        let mut closed = nft(NFT);
        closed.rules.clear();
        let findings = judged(&closed, Way::Reentry);
        let finding = of(&findings, "firewall-policy");
        assert_eq!(
            (finding.severity, finding.fix.as_str()),
            (Note, "nft insert rule inet filter input udp dport 5060 accept")
        );
        let mut closed = iptables(IPTABLES);
        closed.rules.clear();
        let findings = judged(&closed, Way::Raw);
        assert_eq!(of(&findings, "firewall-policy").fix, "iptables -I INPUT -p udp --dport 5060 -j ACCEPT");
        assert!(judged(&clear(), Way::Raw).iter().all(|finding| finding.check != "firewall-policy"));
    }

    fn closed(rules: &Rules, ports: &[u16]) -> Finding {
        judge_closed(rules, ports, Way::Reentry).expect("a closed chain")
    }

    #[test]
    fn only_a_rule_on_the_way_that_accepts_every_port_counts() {
        let with = |rules: &str, ports: &[u16]| {
            closed(&iptables(&format!("*filter\n:INPUT DROP\n:FORWARD DROP\n:SIP -\n{rules}\nCOMMIT\n")), ports).fix
        };
        let open = "iptables -I INPUT -p udp --dport 5060 -j ACCEPT";
        for (rules, fix) in [
            ("-A INPUT -p udp --dport 5060 -j ACCEPT", ""),
            ("-A INPUT -p udp -m multiport --dports 5060,5080 -j ACCEPT", ""),
            ("-A INPUT -j SIP\n-A SIP -p udp --dport 5060 -j ACCEPT", ""),
            ("-A INPUT -p udp --dport 5060 -j SIP\n-A SIP -s 192.0.2.0/24 -j ACCEPT", ""),
            ("-A FORWARD -p udp --dport 5060 -j ACCEPT", open),
            ("-A SIP -p udp --dport 5060 -j ACCEPT", open),
            ("-A INPUT -p tcp --dport 5060 -j SIP\n-A SIP -j ACCEPT", open),
            ("-A INPUT -p udp --dport 5060 -j CT --notrack", open),
            ("-A INPUT -p udp --dport 5060 -j LOG", open),
            ("-A INPUT -i lo -j ACCEPT\n-A INPUT -j SIP\n-A SIP -j INPUT", open),
        ] {
            assert_eq!(with(rules, &[5060]), fix, "{rules}");
        }
        let some = with("-A INPUT -p udp --dport 5060 -j ACCEPT", &[5060, 5080, 5090]);
        assert_eq!(some, "iptables -I INPUT -p udp -m multiport --dports 5080,5090 -j ACCEPT");
        let mut native = nft(NFT);
        assert_eq!(closed(&native, &[5060, 5070]).severity, Severity::Ok);
        let finding = closed(&native, &[5060, 5080, 5090]);
        assert_eq!(finding.fix, "nft 'insert rule inet filter input udp dport { 5080, 5090 } accept'");
        native.rules.iter_mut().for_each(|rule| rule.hook = Hook::Before);
        native.rules.retain(|rule| rule.verdict != Verdict::Accept);
        assert_eq!(closed(&native, &[5060]).severity, Note);
    }

    #[test]
    fn every_closed_chain_is_judged() {
        let mut rules = iptables("*filter\n:INPUT DROP\n-A INPUT -p udp --dport 5060 -j ACCEPT\n");
        rules.read_iptables("*raw\n:PREROUTING DROP\n*filter\n:INPUT DROP\n", "ip6");
        let finding = closed(&rules, &[5060]);
        assert_eq!(
            finding.what,
            "ip6 raw PREROUTING and ip6 filter INPUT drop what they do not accept, and no rule there accepts UDP 5060 by its port"
        );
        assert_eq!(
            finding.fix,
            "ip6tables -t raw -I PREROUTING -p udp --dport 5060 -j ACCEPT && ip6tables -I INPUT -p udp --dport 5060 -j ACCEPT"
        );
    }

    #[test]
    fn what_a_start_would_refuse_is_an_error_here() {
        let rule = FirewallVerdict::Rule("iifname \"lo\" accept".to_owned());
        let with = |inject, to: &str, accept, inspected: &FirewallVerdict| {
            let mut config = Config::default();
            (config.relay.inject, config.relay.accept_firewall_bypass) = (inject, accept);
            config.relay.to = to.parse().expect("a way");
            let way = if config.relay.to == RelayTo::Local { Way::Raw } else { Way::Peer };
            of(&judge(&clear(), inspected, &config, way, "eth0"), "firewall-bypass").severity
        };
        assert_eq!(with(Inject::Raw, "local", false, &rule), Error);
        assert_eq!(with(Inject::Auto, "local", false, &rule), Warning);
        assert_eq!(with(Inject::Auto, "proxy", false, &rule), Error);
        assert_eq!(with(Inject::Auto, "unix:/run/sip", false, &FirewallVerdict::Unknown("no nft".to_owned())), Error);
        assert_eq!(with(Inject::Raw, "local", true, &rule), Note);
        assert_eq!(with(Inject::Raw, "local", false, &FirewallVerdict::Clear), Severity::Ok);
        let untried = judge(&clear(), &rule, &Config::default(), Way::Untried, "eth0");
        let finding = of(&untried, "firewall-bypass");
        assert!(finding.severity == Note && finding.why.contains("depends on whether the driver"), "{finding:?}");
        let untried = judge(&clear(), &FirewallVerdict::Clear, &Config::default(), Way::Untried, "eth0");
        assert_eq!(of(&untried, "firewall-bypass").severity, Severity::Ok);
        let findings = judge(&clear(), &rule, &Config::default(), Way::Reentry, "eth0");
        assert_eq!(of(&findings, "firewall-bypass").severity, Severity::Ok);
    }
}
