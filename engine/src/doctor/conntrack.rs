use super::Severity::{Error, Note, Warning};
use super::ruleset::{Hook, Rules, Verdict};
use super::{Finding, number};

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
    let spared = ports.iter().all(|port| {
        let spares = |rule: &super::ruleset::Rule| {
            rule.verdict == Verdict::Notrack && rule.hook == Hook::Before && rule.names(*port)
        };
        rules.rules.iter().any(spares)
    });
    let mut what = format!("{count} of {max} connections are tracked ({percent} %)");
    if max == 0 {
        what = format!("{count} connections are tracked, without a limit");
    }
    let fix = |severity| match (spared, severity) {
        (false, _) => notrack(ports),
        (true, Note) => String::new(),
        (true, _) => format!("sysctl -w net.netfilter.nf_conntrack_max={}", max.saturating_mul(4)),
    };
    vec![if percent >= FULL_PERCENT {
        Finding::new(CHECK, Error, what, WHY, fix(Error))
    } else if percent >= WARN_PERCENT {
        Finding::new(CHECK, Warning, what, WHY, fix(Warning))
    } else if spared {
        Finding::ok(CHECK, format!("{what}; SIP is not among them"))
    } else {
        Finding::new(
            CHECK,
            Note,
            format!("{what}; SIP over UDP is not spared"),
            "each source of a flood that survives takes an entry, and each packet a look into the table; what is not tracked is \
             not translated either (NAT), and rules that accept `established` have to accept it by its port",
            fix(Note),
        )
    }]
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
    fn a_table_that_fills_up_is_a_warning_and_a_full_one_an_error() {
        let none = Rules::default();
        // 70 % and 95 % of 262,144, rounded up
        for (count, severity) in
            [(183_500, Note), (183_501, Warning), (249_036, Warning), (249_037, Error), (u64::MAX, Error)]
        {
            assert_eq!(judged(Some(count), &none).severity, severity, "{count}");
        }
        let spared = judged(Some(250_000), &iptables(IPTABLES));
        assert_eq!(spared.fix, "sysctl -w net.netfilter.nf_conntrack_max=1048576");
        let facts = Facts { count: Some(5), max: Some(0) };
        assert!(of(&judge(&facts, &none, &[5060]), "conntrack").what.contains("without a limit"));
    }
}
