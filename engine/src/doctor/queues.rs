use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Severity::{Error, Note, Warning};
use super::{Finding, device, listed, read};
use crate::config::{Config, CoreList, Mode, Wait};
use crate::ethtool::{self, Ethtool, Rules, Udp};

/// Queues, how packets come to them, and the cores that are there for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Cores in use (`/sys/devices/system/cpu/online`).
    pub(super) online: Vec<usize>,
    /// Cores that the scheduler leaves alone (`isolcpus`).
    pub(super) isolated: Vec<usize>,
    /// RSS' table; `None`: the driver has none.
    pub(super) table: Option<Vec<u32>>,
    /// Does RSS look at the ports of UDP over IPv4? `None`: not told.
    pub(super) by_ports: Option<bool>,
    /// Rules for flows in the card; `None`: the driver has none.
    pub(super) rules: Option<Rules>,
}

pub(super) fn gather(iface: &str) -> Facts {
    let cores = |file: &str| {
        let text = read(&format!("/sys/devices/system/cpu/{file}"), 64 * 1024).unwrap_or_default();
        text.trim().parse::<CoreList>().map(|list| list.cores().to_vec()).unwrap_or_default()
    };
    let ethtool = Ethtool::open(iface).ok();
    let ask = || ethtool.as_ref();
    let fields = ask().and_then(|ethtool| ethtool.hash_fields(Udp::V4).ok());
    Facts {
        online: cores("online"),
        isolated: cores("isolated"),
        table: ask().and_then(|ethtool| ethtool.rss_table().ok()).filter(|table| !table.is_empty()),
        by_ports: fields
            .filter(|fields| *fields != 0)
            .map(|fields| fields & ethtool::HASH_ADDRESSES_AND_PORTS == ethtool::HASH_ADDRESSES_AND_PORTS),
        rules: ask().and_then(|ethtool| ethtool.rules().ok()),
    }
}

pub(super) fn judge(facts: &Facts, device: &device::Facts, config: &Config) -> Vec<Finding> {
    let mut findings = vec![judge_queues(facts, device, config)];
    if config.mode == Mode::Relay {
        findings.push(judge_cores(facts, device, config));
    }
    findings.extend(judge_table(facts, device));
    findings.extend(judge_hash(facts, device));
    findings.extend(judge_rules(facts, device, config));
    findings
}

/// `combined N`, or what a driver with queues apart calls it.
fn channels(device: &device::Facts, queues: u32) -> String {
    let apart = device.channels.is_some_and(|channels| channels.combined == 0 && channels.rx > 0);
    let name = &device.device.link.name;
    if apart {
        format!("ethtool -L {name} rx {queues} tx {queues}")
    } else {
        format!("ethtool -L {name} combined {queues}")
    }
}

fn judge_queues(facts: &Facts, device: &device::Facts, config: &Config) -> Finding {
    const CHECK: &str = "queues";
    let (has, asked, cores) = (device.rx_queues(), config.queues, facts.online.len() as u32);
    let name = &device.device.link.name;
    if config.mode == Mode::Relay && asked != 0 && asked != has {
        return Finding::new(
            CHECK,
            Error,
            format!("{name} has {has} RX queues, and queues = {asked}"),
            "every queue wants a socket, or what arrives by the others is not seen: the engine does not start",
            channels(device, asked),
        );
    }
    let most = device.channels.map_or(0, |channels| channels.max_combined.max(channels.max_rx));
    if has > cores && cores > 0 {
        return Finding::new(
            CHECK,
            Warning,
            format!("{name} has {has} RX queues, and this host {cores} cores"),
            "several workers share a core and wake each other out of its cache",
            channels(device, cores),
        );
    }
    if asked == 0 && has < cores && most > has {
        let better = cores.min(most);
        return Finding::new(
            CHECK,
            Note,
            format!("{name} uses {has} of {most} RX queues, and this host has {cores} cores"),
            "a flood is judged on as many cores as there are queues; leave some to the softswitch",
            channels(device, better),
        );
    }
    Finding::ok(CHECK, format!("{name} has {has} RX queues, and this host {cores} cores"))
}

fn judge_cores(facts: &Facts, device: &device::Facts, config: &Config) -> Finding {
    const CHECK: &str = "cores";
    let cores = config.worker.cores.cores();
    let queues = device.rx_queues() as usize;
    let file = "edit worker.cores in vos.toml";
    let absent: Vec<usize> = cores.iter().copied().filter(|core| !facts.online.contains(core)).collect();
    if !absent.is_empty() && !facts.online.is_empty() {
        return Finding::new(
            CHECK,
            Warning,
            format!(
                "worker.cores names {}, which {} not online",
                listed(&absent),
                if absent.len() == 1 { "is" } else { "are" }
            ),
            "their workers run wherever the scheduler likes",
            format!("lscpu -e=CPU,NODE,ONLINE  # then {file}"),
        );
    }
    if config.worker.wait == Wait::Busy && !facts.online.is_empty() && queues >= facts.online.len() {
        return Finding::new(
            CHECK,
            Warning,
            format!("worker.wait = \"busy\" with {queues} queues on {} cores", facts.online.len()),
            "each worker takes a core for itself, and nothing is left for the softswitch",
            channels(device, (facts.online.len() as u32 / 2).max(1)),
        );
    }
    if !cores.is_empty() && cores.len() < queues {
        return Finding::new(
            CHECK,
            Note,
            format!("worker.cores names {} cores for {queues} queues", cores.len()),
            "workers without a core of their own run wherever the scheduler likes",
            format!("lscpu -e=CPU,NODE,ONLINE  # then {file}"),
        );
    }
    let outside: Vec<usize> = cores.iter().copied().filter(|core| !facts.isolated.contains(core)).collect();
    if !facts.isolated.is_empty() && (cores.is_empty() || !outside.is_empty()) {
        let isolated = ranges(&facts.isolated);
        let where_they_are = match cores.is_empty() {
            true => "workers are not pinned".to_owned(),
            false => format!("workers are pinned to {}, too", listed(&outside)),
        };
        return Finding::new(
            CHECK,
            Note,
            format!("cores {isolated} are isolated, and {where_they_are}"),
            "isolated cores stay idle unless something is pinned to them",
            format!("vos-engine --iface {} --cores {isolated}", device.device.link.name),
        );
    }
    match cores.is_empty() {
        true => {
            Finding::ok(CHECK, "workers are not pinned: each follows its queue's interrupt, as the scheduler sees fit")
        }
        false => Finding::ok(CHECK, format!("workers are pinned to {}", config.worker.cores)),
    }
}

/// `4-7,9`
fn ranges(cores: &[usize]) -> String {
    let words: Vec<String> = cores.iter().map(ToString::to_string).collect();
    words.join(",").parse::<CoreList>().map_or_else(|_| words.join(","), |list| list.to_string())
}

fn judge_table(facts: &Facts, device: &device::Facts) -> Option<Finding> {
    const CHECK: &str = "rss";
    let table = facts.table.as_ref()?;
    let (queues, name) = (device.rx_queues(), &device.device.link.name);
    let mut slots: BTreeMap<u32, usize> = BTreeMap::new();
    table.iter().for_each(|queue| *slots.entry(*queue).or_default() += 1);
    let (used, most) = (slots.len() as u32, slots.values().copied().max().unwrap_or(0));
    let share = table.len().div_ceil(queues.max(1) as usize);
    Some(if used < queues {
        Finding::new(
            CHECK,
            Warning,
            format!("RSS uses {used} of {queues} queues"),
            "the others are idle, and a flood is judged on fewer cores than there could be",
            format!("ethtool -X {name} equal {queues}"),
        )
    } else if most > 2 * share {
        Finding::new(
            CHECK,
            Warning,
            format!("one queue has {most} of RSS' {} slots; {share} would be its share", table.len()),
            "the core of that queue is full while others are idle",
            format!("ethtool -X {name} equal {queues}"),
        )
    } else {
        Finding::ok(CHECK, format!("RSS spreads over all {queues} queues"))
    })
}

fn judge_hash(facts: &Facts, device: &device::Facts) -> Option<Finding> {
    const CHECK: &str = "rss-hash";
    let (by_ports, name) = (facts.by_ports?, &device.device.link.name);
    (device.rx_queues() > 1).then(|| match by_ports {
        true => Finding::ok(CHECK, "RSS looks at the ports of UDP"),
        false => Finding::new(
            CHECK,
            Note,
            "RSS looks at the addresses of UDP, not at its ports",
            "all that one carrier or NAT sends goes to one queue; with ports, fragments go apart, which the engine minds not",
            format!("ethtool -N {name} rx-flow-hash udp4 sdfn && ethtool -N {name} rx-flow-hash udp6 sdfn"),
        ),
    })
}

fn judge_rules(facts: &Facts, device: &device::Facts, config: &Config) -> Option<Finding> {
    const CHECK: &str = "steering";
    let (rules, name) = (&facts.rules.as_ref()?.rules, &device.device.link.name);
    let sip = |rule: &&ethtool::Rule| rule.port.is_some_and(|port| config.xdp.sip_ports.contains(&port.port));
    let to: BTreeSet<u32> = rules.iter().filter(sip).filter_map(|rule| rule.port).map(|port| port.queue).collect();
    let to: Vec<u32> = to.into_iter().collect();
    let others = rules.iter().filter(|rule| rule.port.is_none()).count();
    let out_of_reach = to.iter().any(|queue| *queue >= device.rx_queues());
    Some(if out_of_reach {
        Finding::new(
            CHECK,
            Error,
            format!("rules in {name} send SIP to queue {}, and it has {}", listed(&to), device.rx_queues()),
            "what goes to a queue without a socket is not seen by a worker, or is lost",
            format!("ethtool -n {name}  # then ethtool -N {name} delete ID"),
        )
    } else if !to.is_empty() && device.rx_queues() > 1 {
        let one = to.len() == 1;
        Finding::new(
            CHECK,
            Note,
            format!("rules in {name} send SIP to {} {}", if one { "queue" } else { "queues" }, listed(&to)),
            "one core judges it all: RTP keeps away from that core, and a flood of SIP meets one core only",
            format!("ethtool -n {name}  # then ethtool -N {name} delete ID"),
        )
    } else if others > 0 {
        Finding::new(
            CHECK,
            Note,
            format!("{name} has {others} rules for flows that are not for a UDP port alone"),
            "one that drops SIP, or sends it where no worker is, would not be seen here",
            format!("ethtool -n {name}"),
        )
    } else {
        Finding::ok(CHECK, format!("no rule in {name} sends SIP elsewhere"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::super::tests::of;
    use super::*;
    use crate::ethtool::{Channels, PortRule, Rule};

    /// Eight cores, for a card with eight queues.
    fn facts() -> Facts {
        Facts {
            online: (0..8).collect(),
            isolated: Vec::new(),
            table: Some(ethtool::even_table(128, 0, 8)),
            by_ports: Some(true),
            rules: Some(Rules::default()),
        }
    }

    fn judged(facts: &Facts, config: &Config) -> Vec<Finding> {
        judge(facts, &device::tests::card(), config)
    }

    #[test]
    fn a_queue_a_core_is_well() {
        let findings = judged(&facts(), &Config::default());
        assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
        assert_eq!(findings.len(), 5);
    }

    #[test]
    fn queues_are_as_many_as_are_asked_for() {
        let config = Config { queues: 4, ..Config::default() };
        let findings = judged(&facts(), &config);
        assert_eq!(of(&findings, "queues").severity, Error);
        assert_eq!(of(&findings, "queues").fix, "ethtool -L eth0 combined 4");
        let filter = Config { mode: Mode::Filter, ..config };
        assert_eq!(of(&judged(&facts(), &filter), "queues").severity, Severity::Ok, "no worker, no socket");
        assert_eq!(of(&judged(&facts(), &Config { queues: 8, ..Config::default() }), "queues").severity, Severity::Ok);
    }

    #[test]
    fn queues_and_cores_are_compared() {
        let two = Facts { online: vec![0, 1], ..facts() };
        let findings = judged(&two, &Config::default());
        assert_eq!(of(&findings, "queues").severity, Warning);
        assert_eq!(of(&findings, "queues").fix, "ethtool -L eth0 combined 2");
        let mut card = device::tests::card();
        card.channels = Some(Channels { rx: 1, tx: 1, max_rx: 4, max_tx: 4, ..Channels::default() });
        let findings = judge(&facts(), &card, &Config::default());
        assert_eq!(of(&findings, "queues").severity, Note);
        assert_eq!(of(&findings, "queues").fix, "ethtool -L eth0 rx 4 tx 4");
        let one = Config { queues: 1, ..Config::default() };
        assert_eq!(of(&judge(&facts(), &card, &one), "queues").severity, Severity::Ok, "as asked for");
        card.channels = Some(Channels { combined: 4, max_combined: 4, ..Channels::default() });
        assert_eq!(of(&judge(&facts(), &card, &Config::default()), "queues").severity, Severity::Ok, "it has no more");
    }

    #[test]
    fn workers_are_pinned_where_there_are_cores() {
        let with = |cores: &str, facts: &Facts| {
            let mut config = Config::default();
            config.worker.cores = cores.parse().expect("cores");
            of(&judged(facts, &config), "cores").clone()
        };
        assert_eq!(with("0-7", &facts()).severity, Severity::Ok);
        let absent = with("0-7,9", &facts());
        assert!(absent.severity == Warning && absent.what.contains("names 9, which is not online"), "{absent:?}");
        assert_eq!(with("4-7", &facts()).severity, Note, "four cores for eight queues");
        let isolated = Facts { isolated: vec![4, 5, 6, 7], ..facts() };
        let finding = with("", &isolated);
        assert_eq!((finding.severity, finding.fix.as_str()), (Note, "vos-engine --iface eth0 --cores 4-7"));
        assert_eq!(with("0-7", &isolated).severity, Note);
        let all = Facts { isolated: (0..8).collect(), ..facts() };
        assert_eq!(with("0-7", &all).severity, Severity::Ok);
    }

    #[test]
    fn busy_workers_must_leave_a_core() {
        let mut config = Config::default();
        config.worker.wait = Wait::Busy;
        let findings = judged(&facts(), &config);
        assert_eq!(of(&findings, "cores").severity, Warning);
        assert_eq!(of(&findings, "cores").fix, "ethtool -L eth0 combined 4");
        let many = Facts { online: (0..16).collect(), ..facts() };
        assert_eq!(of(&judged(&many, &config), "cores").severity, Severity::Ok);
    }

    #[test]
    fn rss_must_use_all_queues_and_evenly() {
        let with =
            |table: Vec<u32>| of(&judged(&Facts { table: Some(table), ..facts() }, &Config::default()), "rss").clone();
        let half = with(ethtool::even_table(128, 0, 4));
        assert_eq!((half.severity, half.fix.as_str()), (Warning, "ethtool -X eth0 equal 8"));
        assert!(half.what.contains("4 of 8"), "{half:?}");
        let mut lopsided = ethtool::even_table(128, 0, 8);
        lopsided[..40].fill(0);
        assert_eq!(with(lopsided).severity, Warning);
        assert_eq!(with(ethtool::even_table(100, 0, 8)).severity, Severity::Ok, "12 or 13 each");
        let none = judged(&Facts { table: None, ..facts() }, &Config::default());
        assert!(none.iter().all(|finding| finding.check != "rss"), "a driver that has no table");
    }

    #[test]
    fn rss_by_addresses_alone_is_a_note() {
        let findings = judged(&Facts { by_ports: Some(false), ..facts() }, &Config::default());
        let finding = of(&findings, "rss-hash");
        assert!(finding.severity == Note && finding.fix.contains("udp4 sdfn"), "{finding:?}");
    }

    #[test]
    fn rules_that_steer_sip_are_seen() {
        let port = |port, queue| Rule { id: 1, port: Some(PortRule { udp: Udp::V4, port, queue }) };
        let with = |rules: Vec<Rule>| {
            of(&judged(&Facts { rules: Some(Rules { rules }), ..facts() }, &Config::default()), "steering").clone()
        };
        let steered = with(vec![port(5060, 3)]);
        assert!(steered.severity == Note && steered.what.contains("queue 3"), "{steered:?}");
        assert_eq!(with(vec![port(5060, 8)]).severity, Error, "there is no such queue");
        assert_eq!(with(vec![port(53, 3)]).severity, Severity::Ok);
        let other = with(vec![Rule { id: 7, port: None }]);
        assert!(other.severity == Note && other.what.contains("1 rules"), "{other:?}");
    }
}
