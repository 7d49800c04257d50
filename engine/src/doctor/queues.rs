use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Severity::{Error, Note, Warning};
use super::{Finding, device, listed, read};
use crate::config::{Config, CoreList, Mode, Wait};
use crate::ethtool::{self, Ethtool, Rules, Udp};
use crate::netlink::{Link, xdp_features};
use crate::xdp::Presence;

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
    /// Queues among which RSS chooses; `None`: not told.
    pub(super) rss_queues: Option<u32>,
    /// Rules for flows in the card; `None`: the driver has none.
    pub(super) rules: Option<Rules>,
    /// Queues with an AF_XDP socket; empty where there is none, or the kernel does not tell (before 6.15).
    pub(super) bound: Vec<u32>,
}

pub(super) fn gather(link: &Link) -> Facts {
    let cores = |file: &str| {
        let text = read(&format!("/sys/devices/system/cpu/{file}"), 64 * 1024).unwrap_or_default();
        text.trim().parse::<CoreList>().map(|list| list.cores().to_vec()).unwrap_or_default()
    };
    let ethtool = Ethtool::open(&link.name).ok();
    let ask = || ethtool.as_ref();
    let fields = ask().and_then(|ethtool| ethtool.hash_fields(Udp::V4).ok());
    Facts {
        online: cores("online"),
        isolated: cores("isolated"),
        table: ask().and_then(|ethtool| ethtool.rss_table().ok()).filter(|table| !table.is_empty()),
        by_ports: fields
            .filter(|fields| *fields != 0)
            .map(|fields| fields & ethtool::HASH_ADDRESSES_AND_PORTS == ethtool::HASH_ADDRESSES_AND_PORTS),
        rss_queues: ask().and_then(|ethtool| ethtool.rss_queues().ok()).filter(|queues| *queues > 0),
        rules: ask().and_then(|ethtool| ethtool.rules().ok()),
        bound: xdp_features::bound_queues(link.index).unwrap_or_default(),
    }
}

pub(super) fn judge(facts: &Facts, device: &device::Facts, config: &Config) -> Vec<Finding> {
    let mut findings = vec![judge_queues(facts, device, config)];
    if config.mode == Mode::Relay {
        findings.push(judge_cores(facts, device, config));
    }
    findings.extend(judge_table(facts, device, config));
    findings.extend(judge_hash(facts, device));
    findings.extend(judge_rules(facts, device, config));
    findings
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
            device.with_queues(config, asked),
        );
    }
    // it was given queues since the engine's start; old kernels name no sockets
    if matches!(device.xdp, Presence::Ours(_)) && !facts.bound.is_empty() && facts.bound.len() < has as usize {
        return Finding::new(
            CHECK,
            Warning,
            format!("{name} has {has} RX queues, and the engine a socket on {}", listed(&facts.bound)),
            "what arrives by the others has no worker and takes the kernel's path; a start takes all queues",
            format!("systemctl restart vos-engine@{name}"),
        );
    }
    let most = device.channels.map_or(0, |channels| channels.max_combined.max(channels.max_rx));
    if has > cores && cores > 0 {
        return Finding::new(
            CHECK,
            Warning,
            format!("{name} has {has} RX queues, and this host {cores} cores"),
            "several workers share a core and wake each other out of its cache",
            device.with_queues(config, cores),
        );
    }
    if asked == 0 && has < cores && most > has {
        let better = cores.min(most);
        return Finding::new(
            CHECK,
            Note,
            format!("{name} uses {has} of {most} RX queues, and this host has {cores} cores"),
            "a flood is judged on as many cores as there are queues; leave some to the softswitch",
            device.with_queues(config, better),
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
            device.with_queues(config, (facts.online.len() as u32 / 2).max(1)),
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

impl Facts {
    /// The queues to which rules send SIP.
    fn sip_queues(&self, config: &Config) -> Vec<u32> {
        let ports = self.rules.iter().flat_map(|rules| &rules.rules).filter_map(|rule| rule.port);
        let sip = ports.filter(|rule| config.xdp.sip_ports.contains(&rule.port));
        sip.map(|rule| rule.queue).collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// The queues that SIP has for itself, as `vosctl tune low-latency` has it: RSS takes all others, and none of them.
    fn own_queues(&self, queues: u32, config: &Config) -> Option<Vec<u32>> {
        let (table, own) = (self.table.as_ref()?, self.sip_queues(config));
        let there = own.iter().all(|queue| *queue < queues);
        let apart = (0..queues).all(|queue| own.contains(&queue) != table.contains(&queue));
        (there && apart && !own.is_empty()).then_some(own)
    }
}

fn judge_table(facts: &Facts, device: &device::Facts, config: &Config) -> Option<Finding> {
    const CHECK: &str = "rss";
    let table = facts.table.as_ref()?;
    let (has, name) = (device.rx_queues(), &device.device.link.name);
    // ixgbe has up to 63 queues, and chooses among 16
    let queues = facts.rss_queues.map_or(has, |reach| reach.min(has));
    let own = facts.own_queues(queues, config).unwrap_or_default();
    let wanted = queues - own.len() as u32;
    let mut slots: BTreeMap<u32, usize> = BTreeMap::new();
    table.iter().for_each(|queue| *slots.entry(*queue).or_default() += 1);
    let (used, most) = (slots.len() as u32, slots.values().copied().max().unwrap_or(0));
    let share = table.len().div_ceil(wanted.max(1) as usize);
    let even = match own.contains(&0) {
        true => format!("ethtool -X {name} start {} equal {wanted}", own.len()),
        false => format!("ethtool -X {name} equal {wanted}"),
    };
    Some(if used < wanted {
        Finding::new(
            CHECK,
            Warning,
            format!("RSS uses {used} of {wanted} queues"),
            "the others are idle, and a flood is judged on fewer cores than there could be",
            even,
        )
    } else if most > 2 * share {
        Finding::new(
            CHECK,
            Warning,
            format!("one queue has {most} of RSS' {} slots; {share} would be its share", table.len()),
            "the core of that queue is full while others are idle",
            even,
        )
    } else if queues < has {
        Finding::new(
            CHECK,
            Note,
            format!("{name} has {has} RX queues, and RSS chooses among {queues} of them"),
            "the others are idle, and their sockets and workers take memory",
            device.with_queues(config, queues),
        )
    } else if own.is_empty() {
        Finding::ok(CHECK, format!("RSS spreads over all {queues} queues"))
    } else {
        Finding::ok(CHECK, format!("RSS spreads over {wanted} queues, and SIP has queue {} of its own", listed(&own)))
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
    let to = facts.sip_queues(config);
    let reach = facts.rss_queues.unwrap_or(u32::MAX).min(device.rx_queues());
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
    } else if facts.own_queues(reach, config).is_some() {
        Finding::ok(CHECK, format!("SIP has queue {} of its own", listed(&to)))
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
    use crate::netlink::Attached;

    /// Eight cores, for a card with eight queues.
    fn facts() -> Facts {
        Facts {
            online: (0..8).collect(),
            isolated: Vec::new(),
            table: Some(ethtool::even_table(128, 0, 8)),
            by_ports: Some(true),
            rss_queues: Some(8),
            bound: Vec::new(),
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
        let eight = Config { queues: 8, ..Config::default() };
        assert_eq!(of(&judged(&facts(), &eight), "queues").severity, Severity::Ok);
        let two = Facts { online: vec![0, 1], ..facts() };
        let fix = "ethtool -L eth0 combined 2  # and queues = 2 in vos.toml";
        assert_eq!(of(&judged(&two, &eight), "queues").fix, fix, "or the engine does not start");
    }

    #[test]
    fn queues_that_came_since_the_engines_start_have_no_worker() {
        let with = |bound: &[u32], xdp| {
            let facts = Facts { bound: bound.to_vec(), ..facts() };
            let device = device::Facts { xdp, ..device::tests::card() };
            of(&judge(&facts, &device, &Config::default()), "queues").clone()
        };
        let ours = || Presence::Ours(Attached { id: 1, native: true });
        let finding = with(&[0, 1, 2, 3], ours());
        assert_eq!((finding.severity, finding.fix.as_str()), (Warning, "systemctl restart vos-engine@eth0"));
        assert!(finding.what.contains("8 RX queues, and the engine a socket on 0, 1, 2 and 3"), "{finding:?}");
        for well in [with(&[0, 1, 2, 3, 4, 5, 6, 7], ours()), with(&[], ours()), with(&[0], Presence::Free)] {
            assert_eq!(well.severity, Severity::Ok, "{well:?}");
        }
        let device = device::Facts { xdp: ours(), ..device::tests::card() };
        let two = Facts { online: vec![0, 1], ..facts() };
        let fix = |config| of(&judge(&two, &device, &config), "queues").fix.clone();
        let fewer = "systemctl stop vos-engine@eth0 && ethtool -L eth0 combined 2";
        assert_eq!(fix(Config::default()), format!("{fewer}; systemctl start vos-engine@eth0"));
        let eight = Config { queues: 8, ..Config::default() };
        let by_hand = "# queues = 2 in vos.toml first, then: ";
        assert_eq!(fix(eight), format!("{by_hand}{fewer}; systemctl start vos-engine@eth0"));
        let unload = "systemctl stop vos-engine@eth0 && vos-engine unload --iface eth0 && ethtool -L eth0 combined 2";
        for driver in ["virtio_net", "veth"] {
            let device = device::Facts { driver: driver.to_owned(), ..device.clone() };
            let findings = judge(&two, &device, &Config::default());
            assert_eq!(of(&findings, "queues").fix, format!("{unload}; systemctl start vos-engine@eth0"));
        }
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
    fn sip_may_have_a_queue_of_its_own() {
        let port = |udp, queue| Rule { id: 1, port: Some(PortRule { udp, port: 5060, queue }) };
        let rules = |queue| Some(Rules { rules: vec![port(Udp::V4, queue), port(Udp::V6, queue)] });
        // what `vosctl tune low-latency` makes
        let tuned = Facts { table: Some(ethtool::even_table(128, 1, 7)), rules: rules(0), ..facts() };
        let findings = judged(&tuned, &Config::default());
        for check in ["rss", "steering"] {
            let finding = of(&findings, check);
            assert!(
                finding.severity == Severity::Ok && finding.what.contains("SIP has queue 0 of its own"),
                "{finding:?}"
            );
        }
        let mut table = ethtool::even_table(128, 1, 7);
        table[..60].fill(1);
        let findings = judged(&Facts { table: Some(table), ..tuned.clone() }, &Config::default());
        assert_eq!(of(&findings, "rss").fix, "ethtool -X eth0 start 1 equal 7");
        // it had more queues once
        let gone = Facts { table: Some(ethtool::even_table(128, 0, 8)), rules: rules(8), ..tuned.clone() };
        let findings = judged(&gone, &Config::default());
        assert_eq!(of(&findings, "rss").what, "RSS spreads over all 8 queues");
        assert_eq!(of(&findings, "steering").severity, Error);
        let idle = Facts { table: Some(ethtool::even_table(128, 2, 6)), ..tuned.clone() };
        let shared = Facts { rules: rules(1), ..tuned.clone() };
        for (facts, steering) in [(idle, Note), (shared, Note)] {
            let findings = judged(&facts, &Config::default());
            assert_eq!((of(&findings, "rss").severity, of(&findings, "steering").severity), (Warning, steering));
        }
    }

    #[test]
    fn rss_need_not_reach_all_queues() {
        // ixgbe: 63 queues
        let channels = Some(Channels { combined: 63, max_combined: 63, ..Channels::default() });
        let card = device::Facts { channels, ..device::tests::card() };
        let all = Facts {
            online: (0..64).collect(),
            rss_queues: Some(16),
            table: Some(ethtool::even_table(128, 0, 16)),
            ..facts()
        };
        let findings = judge(&all, &card, &Config::default());
        let finding = of(&findings, "rss");
        assert_eq!((finding.severity, finding.fix.as_str()), (Note, "ethtool -L eth0 combined 16"));
        let half = Facts { table: Some(ethtool::even_table(128, 0, 8)), ..all };
        let findings = judge(&half, &card, &Config::default());
        let finding = of(&findings, "rss");
        assert_eq!((finding.severity, finding.fix.as_str()), (Warning, "ethtool -X eth0 equal 16"));
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
