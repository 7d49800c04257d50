use crate::programs;

/// What stands in the way of raw injection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No rule mentions the SIP ports or `lo`.
    Clear,
    /// A rule does; it would be gone around, or would lose everything.
    Rule(String),
    /// Rules cannot be read.
    Unknown(String),
}

/// Looks through the rules of this network namespace for the SIP ports and `lo`.
pub fn inspect(sip_ports: &[u16]) -> Verdict {
    let mut readable = false;
    // iptables-save shows legacy tables, which nft does not; nft shows what iptables-nft wrote.
    for (program, arguments) in
        [("nft", &["list", "ruleset"][..]), ("iptables-legacy-save", &[]), ("ip6tables-legacy-save", &[])]
    {
        let Ok(output) = programs::command(program).args(arguments).output() else { continue };
        readable |= output.status.success();
        let rules = String::from_utf8_lossy(&output.stdout);
        if let Some(rule) = rules.lines().find(|line| mentions(line, sip_ports)) {
            return Verdict::Rule(rule.trim().to_owned());
        }
    }
    if readable { Verdict::Clear } else { Verdict::Unknown("neither nft nor iptables can be run".to_owned()) }
}

fn mentions(rule: &str, sip_ports: &[u16]) -> bool {
    let port = |text: &str| if text == "sip" { Some(5060) } else { text.parse::<u16>().ok() };
    rule.split(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '}' | '"' | '=')).any(|word| {
        let (from, to) = word.split_once(['-', ':']).unwrap_or((word, word));
        let in_range = |range: (Option<u16>, Option<u16>)| match range {
            (Some(from), Some(to)) => sip_ports.iter().any(|port| (from..=to).contains(port)),
            _ => false,
        };
        word == "lo" || in_range((port(from), port(to)))
    })
}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn rules_about_sip_ports_and_lo_are_found() {
        for rule in [
            "-A INPUT -i lo -j ACCEPT",
            "iifname \"lo\" accept",
            "-A INPUT -p udp -m udp --dport 5060 -j DROP",
            "udp dport 5060 ip saddr 192.0.2.1 accept",
            "udp dport { 53, 5060 } accept",
            "udp dport 5000-5100 drop",
            "-A INPUT -p udp -m udp --dport 5000:5100 -j DROP",
            "udp dport sip accept",
        ] {
            assert!(mentions(rule, &[5060]), "{rule}");
        }
        for rule in
            ["udp dport 53 accept", "tcp dport 22 accept", "iifname \"eth0\" accept", "-A INPUT -i lo0 -j ACCEPT"]
        {
            assert!(!mentions(rule, &[5060]), "{rule}");
        }
    }
}
