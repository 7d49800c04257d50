use super::Severity::{Error, Note, Warning};
use super::ruleset::{Hook, Rule, Rules, Verdict};
use super::{Finding, number, sysctl};

/// From how full a table on, in percent: a flood of some seconds fills the rest.
const WARN_PERCENT: u64 = 70;
/// From here on new connections are refused at the next burst.
const FULL_PERCENT: u64 = 95;

/// The kernel's table of connections, of this network namespace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    /// Entries; `None`: the kernel tracks no connections at all.
    pub(super) count: Option<u64>,
    /// Most entries; 0: no limit.
    pub(super) max: Option<u64>,
}

pub(super) fn gather() -> Facts {
    Facts {
        count: number("/proc/sys/net/netfilter/nf_conntrack_count"),
        max: number("/proc/sys/net/netfilter/nf_conntrack_max"),
    }
}

pub(super) fn judge(facts: &Facts, rules: &Rules, ports: &[u16]) -> Vec<Finding> {
    const CHECK: &str = "conntrack";
    const WHY: &str =
        "a full table drops the first packet of every new connection, SIP and RTP alike (`nf_conntrack: table full`)";
    let Some(count) = facts.count else { return vec![Finding::ok(CHECK, "no connections are tracked")] };
    let tracks = count > 0 || rules.rules.iter().any(|rule| rule.tracks);
    if !tracks {
        return vec![Finding::ok(CHECK, "no rule wants connections tracked")];
    }
    let max = facts.max.unwrap_or(0);
    let percent = count.saturating_mul(100).checked_div(max).unwrap_or(0);
    let what = match max {
        0 => format!("{count} connections are tracked, without a limit"),
        max => format!("{count} of {max} connections are tracked ({percent} %)"),
    };
    let larger = || sysctl("net.netfilter.nf_conntrack_max", max.saturating_mul(4));
    vec![if percent >= FULL_PERCENT {
        Finding::new(CHECK, Error, what, WHY, larger())
    } else if percent >= WARN_PERCENT {
        Finding::new(CHECK, Warning, what, WHY, larger())
    } else if is_spared(rules, ports) {
        Finding::ok(CHECK, format!("{what}; SIP is not among them"))
    } else if let Some(rule) = translator(rules, ports) {
        Finding::ok(CHECK, format!("{what}; SIP has to be among them for `{}` in {}", rule.text, rule.place))
    } else {
        Finding::new(
            CHECK,
            Note,
            format!("{what}; SIP over UDP is not spared"),
            "each source of a flood that survives takes an entry, and each packet a look into the table; what is not tracked is \
             not translated either (NAT), and rules that accept `established` have to accept it by its port",
            notrack(ports),
        )
    }]
}

/// Are packets to these ports and from them kept out of the table, whatever else they are?
fn is_spared(rules: &Rules, ports: &[u16]) -> bool {
    let spares = |rule: &Rule, port| match rule.hook {
        Hook::Before => rule.names(port) && rule.from.is_empty(),
        Hook::Output => rule.names_source(port) && rule.ports.is_empty(),
        _ => false,
    };
    let all: Vec<&Rule> =
        rules.rules.iter().filter(|rule| rule.verdict == Verdict::Notrack && !rule.narrow && !rule.limits).collect();
    [Hook::Before, Hook::Output]
        .iter()
        .all(|hook| ports.iter().all(|port| all.iter().any(|rule| rule.hook == *hook && spares(rule, *port))))
}

/// A rule that translates what goes to these ports or comes from them: it needs the table.
fn translator<'a>(rules: &'a Rules, ports: &[u16]) -> Option<&'a Rule> {
    rules.rules.iter().filter(|rule| rule.translates).find(|rule| {
        let redirects_all = rule.verdict == Verdict::Redirect && rule.names_none();
        redirects_all || ports.iter().any(|port| rule.names(*port) || rule.names_source(*port))
    })
}

/// Rules that keep SIP out of the table, both ways.
fn notrack(ports: &[u16]) -> String {
    let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!(
        "nft 'table inet vos_notrack {{ \
         chain prerouting {{ type filter hook prerouting priority raw; udp dport {{ {ports} }} notrack; }}; \
         chain output {{ type filter hook output priority raw; udp sport {{ {ports} }} notrack; }}; }}'"
    )
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::ruleset::tests::{IPTABLES, NFT, iptables, nft};
    use super::super::tests::of;
    use super::*;

    fn judged(count: Option<u64>, rules: &Rules) -> Finding {
        let facts = Facts { count, max: Some(262_144) };
        of(&judge(&facts, rules, &[5060]), "conntrack").clone()
    }

    #[test]
    fn where_nothing_is_tracked_all_is_well() {
        assert_eq!(judged(None, &nft(NFT)).severity, Severity::Ok);
        assert_eq!(judged(Some(0), &Rules::default()).severity, Severity::Ok);
    }

    #[test]
    fn tracked_sip_is_a_note_with_a_rule_that_spares_it() {
        for finding in [judged(Some(0), &nft(NFT)), judged(Some(40), &Rules::default())] {
            assert_eq!(finding.severity, Note, "{finding:?}");
            assert!(
                finding.fix.starts_with("nft '") && finding.fix.contains("udp dport { 5060 } notrack"),
                "{finding:?}"
            );
        }
        let spared = judged(Some(40), &iptables(IPTABLES));
        assert!(spared.severity == Severity::Ok && spared.what.contains("SIP is not among them"), "{spared:?}");
        let facts = Facts { count: Some(40), max: Some(262_144) };
        let findings = judge(&facts, &iptables(IPTABLES), &[5060, 5080]);
        assert!(of(&findings, "conntrack").fix.contains("{ 5060, 5080 }"), "5080 is not spared: {findings:?}");
    }

    #[test]
    fn sip_is_spared_by_rules_for_all_of_it_in_both_directions() {
        const TO: &str = "-A PREROUTING -p udp -m udp --dport 5060 -j CT --notrack\n";
        const FROM: &str = "-A OUTPUT -p udp -m multiport --sports 5060,5080 -j NOTRACK\n";
        let with = |rules: &str| judged(Some(40), &iptables(&format!("*raw\n{rules}COMMIT\n"))).severity;
        assert_eq!(with(&format!("{TO}{FROM}")), Severity::Ok);
        assert_eq!([with(TO), with(FROM)], [Note, Note], "one direction");
        for match_ in ["-s 192.0.2.7/32", "! -i eth1", "-m set --match-set carriers src", "-m limit --limit 5/sec"] {
            let narrow = TO.replace("-p udp", &format!("{match_} -p udp"));
            assert_eq!(with(&format!("{narrow}{FROM}")), Note, "{match_}");
        }
        let json = |saddr: &str| {
            format!(
                r#"{{"nftables": [
                {{"chain": {{"family": "inet", "table": "n", "name": "in", "type": "filter", "hook": "prerouting", "prio": -300}}}},
                {{"chain": {{"family": "inet", "table": "n", "name": "out", "type": "filter", "hook": "output", "prio": -300}}}},
                {{"rule": {{"family": "inet", "table": "n", "chain": "in", "expr": [{saddr} {{"match": {{"op": "==", "left": {{"payload": {{"protocol": "udp", "field": "dport"}}}}, "right": 5060}}}}, {{"notrack": null}}]}}}},
                {{"rule": {{"family": "inet", "table": "n", "chain": "out", "expr": [{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "udp", "field": "sport"}}}}, "right": 5060}}}}, {{"notrack": null}}]}}}}]}}"#
            )
        };
        assert_eq!(judged(Some(40), &nft(&json(""))).severity, Severity::Ok);
        let saddr = r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "192.0.2.7"}},"#;
        assert_eq!(judged(Some(40), &nft(&json(saddr))).severity, Note);
    }

    #[test]
    fn what_is_translated_has_to_be_tracked() {
        let with = |rule: &str| judged(Some(40), &iptables(&format!("*nat\n{rule}\nCOMMIT\n")));
        for rule in [
            "-A PREROUTING -p udp -m udp --dport 5060 -j DNAT --to-destination 192.0.2.7:5080",
            "-A DOCKER ! -i br0 -p udp -m udp --dport 5060 -j DNAT --to-destination 172.18.0.2:5060",
            "-A PREROUTING -d 198.51.100.1/32 -j DNAT --to-destination 192.0.2.7",
            "-A POSTROUTING -p udp -m udp --sport 5060 -j MASQUERADE",
            "-A PREROUTING -p udp -m udp --dport 5000:5100 -j sip",
        ] {
            let finding = with(rule);
            assert!(finding.severity == Severity::Ok && finding.what.contains("has to be among them"), "{finding:?}");
        }
        for rule in [
            "-A PREROUTING -p tcp -m tcp --dport 5060 -j DNAT --to-destination 192.0.2.7",
            "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        ] {
            assert!(with(rule).fix.contains("notrack"), "{rule}");
        }
        let native = nft(r#"{"nftables": [{"rule": {"family": "ip", "table": "t", "chain": "in", "expr": [
            {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 5060}}, {"redirect": {"port": 5080}}]}}]}"#);
        assert_eq!(judged(Some(40), &native).severity, Severity::Ok);
    }

    #[test]
    fn a_table_that_fills_up_is_a_warning_and_a_full_one_an_error() {
        let none = Rules::default();
        // 70 % and 95 % of 262,144, rounded up
        for (count, severity) in
            [(183_500, Note), (183_501, Warning), (249_036, Warning), (249_037, Error), (u64::MAX, Error)]
        {
            assert_eq!(judged(Some(count), &none).severity, severity, "{count}");
        }
        let spared = judged(Some(250_000), &iptables(IPTABLES));
        for finding in [spared, judged(Some(200_000), &none)] {
            assert!(finding.fix.starts_with("sysctl -w net.netfilter.nf_conntrack_max=1048576  # "), "{finding:?}");
        }
        let facts = Facts { count: Some(5), max: Some(0) };
        assert!(of(&judge(&facts, &none, &[5060]), "conntrack").what.contains("without a limit"));
    }
}
