use std::io;

use super::Severity::{Error, Note, Warning};
use super::{Finding, Told, listed};
use crate::config::{Attach, Bind, Config, Inject, Mode, RelayTo};
use crate::ethtool::{self, Channels, Ethtool};
use crate::netlink::xdp_features::{self, XdpFeatures};
use crate::netlink::{Attached, Device, Netlink};
use crate::xdp::{Presence, presence};
use crate::xsk::chunk_for;

/// The longest IP packet for which a driver with pages of 4,096 bytes takes native XDP: a page less 256 bytes of headroom,
/// 320 behind the packet (`struct skb_shared_info`), Ethernet header and two VLAN tags. Drivers differ by some bytes.
const NATIVE_MTU_MAX: u32 = 4_096 - 256 - 320 - 22;

/// The interface, its neighbours in the stack, and what its driver can do.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) device: Device,
    /// All interfaces of this network namespace.
    pub(super) all: Vec<Device>,
    /// What the driver says of XDP; `None`: this kernel does not tell.
    pub(super) features: Told<Option<XdpFeatures>>,
    /// The driver's name; empty where there is none.
    pub(super) driver: String,
    pub(super) lro: bool,
    pub(super) gro_hw: bool,
    pub(super) rx_vlan: bool,
    pub(super) channels: Option<Channels>,
    pub(super) xdp: Presence,
    /// AF_XDP sockets on it, where no engine's program is on it.
    pub(super) rivals: Vec<String>,
    /// Who asks: others than root are not told whose a program is.
    pub(super) root: bool,
}

pub(super) fn gather(iface: &str) -> io::Result<Facts> {
    let mut netlink = Netlink::open()?;
    let device = netlink.device(iface)?;
    let ethtool = Ethtool::open(iface)?;
    let features = ethtool.features().unwrap_or_default();
    let on = |name: &str| features.iter().any(|feature| feature.name == name && feature.on);
    let xdp = presence(&device.link);
    Ok(Facts {
        all: netlink.devices()?,
        features: xdp_features::ask(device.link.index).map_err(|error| error.to_string()),
        driver: ethtool.driver().unwrap_or_default(),
        lro: on(ethtool::LRO),
        gro_hw: on(ethtool::GRO_HW),
        rx_vlan: on(ethtool::RX_VLAN),
        channels: ethtool.channels().ok(),
        rivals: if matches!(xdp, Presence::Ours(_)) { Vec::new() } else { rivals(&device) },
        root: nix::unistd::geteuid().is_root(),
        xdp,
        device,
    })
}

/// The queues with AF_XDP sockets, and whose they are. New kernels tell of the queues, those with `xdp_diag` of the users.
fn rivals(device: &Device) -> Vec<String> {
    let told = super::output("ss", &["--xdp", "-a", "-p", "-n", "-H"], 1 << 20).unwrap_or_default();
    let of_users: Vec<String> = told.lines().filter_map(|line| rival(line, &device.link.name)).collect();
    if !of_users.is_empty() {
        return of_users;
    }
    let bound = xdp_features::bound_queues(device.link.index).unwrap_or_default();
    bound.iter().map(|queue| format!("queue {queue} of an unknown process")).collect()
}

/// `queue 3, users:(("suricata",pid=812,fd=9))` of a line of `ss --xdp`.
fn rival(line: &str, iface: &str) -> Option<String> {
    let queue = line.split_whitespace().find_map(|word| word.strip_prefix(iface)?.strip_prefix(":q"))?;
    let users = line.split_once("users:").map_or("of an unknown process", |(_, users)| users.trim());
    Some(format!("queue {queue} {users}"))
}

impl Facts {
    /// What made it; empty for a card.
    fn kind(&self) -> &str {
        self.device.kind.as_deref().unwrap_or_default()
    }

    /// Would native XDP be tried with success, as far as is known?
    pub(super) fn native(&self) -> bool {
        match &self.features {
            Ok(Some(features)) => features.native() && features.redirect(),
            // what drivers of these kinds have had long before kernels told
            _ => match &self.device.bond {
                Some(bond) => bond.native,
                None => matches!(self.kind(), "" | "veth" | "tun" | "bond"),
            },
        }
    }

    /// Would the program run in the driver? `None`: this kernel does not tell, and no engine has tried.
    pub(super) fn runs_natively(&self, attach: Attach) -> Option<bool> {
        let told = matches!(self.features, Ok(Some(_))) || self.device.kind.is_some();
        match (&self.xdp, attach) {
            (_, Attach::Generic) => Some(false),
            // it does, or the engine does not start
            (_, Attach::Native) => Some(true),
            // a start keeps what is there
            (Presence::Ours(attached), Attach::Auto) => Some(attached.native),
            _ if self.device.link.mtu > NATIVE_MTU_MAX || self.queue_pairs_max().is_some() => Some(false),
            _ => told.then(|| self.native()),
        }
    }

    /// How many queues the driver takes native XDP with at most ([`Channels::native_xdp_max`]), where it has more in use.
    fn queue_pairs_max(&self) -> Option<u32> {
        let channels = self.channels?;
        let most = channels.native_xdp_max(&self.driver);
        (channels.combined > most).then_some(most)
    }

    /// Does a bridge take its frames away?
    pub(super) fn is_bridged(&self) -> bool {
        self.master().is_some_and(|master| master.kind.as_deref() == Some("bridge"))
    }

    /// RX queues in use.
    pub(super) fn rx_queues(&self) -> u32 {
        let told = self.channels.map_or(0, |channels| channels.rx.saturating_add(channels.combined));
        if told > 0 { told } else { self.device.link.rx_queues.max(1) }
    }

    /// Has the card use so many queues, and all that goes with it.
    pub(super) fn with_queues(&self, config: &Config, queues: u32) -> String {
        let name = &self.device.link.name;
        // what a driver with queues apart calls them
        let apart = self.channels.is_some_and(|channels| channels.combined == 0 && channels.rx > 0);
        let count = if apart { format!("rx {queues} tx {queues}") } else { format!("combined {queues}") };
        let edit = (config.queues != 0 && config.queues != queues).then(|| format!("queues = {queues} in vos.toml"));
        self.without_engine(config, Some(&format!("ethtool -L {name} {count}")), edit)
    }

    /// A command during which no engine runs: queues with its sockets cannot be taken away (`ethnl_set_channels()`), some
    /// drivers change none beneath its program, and a start leaves that where it is. `edit`: what is to be written first.
    fn without_engine(&self, config: &Config, command: Option<&str>, edit: Option<String>) -> String {
        let command = command.map(str::to_owned);
        let Presence::Ours(attached) = &self.xdp else {
            let by_hand = edit.map(|edit| format!("and {edit}"));
            return [command, by_hand].into_iter().flatten().collect::<Vec<_>>().join("  # ");
        };
        let name = &self.device.link.name;
        // virtnet_set_channels(), veth_set_channels()
        let is_in_the_way = attached.native && matches!(&*self.driver, "virtio_net" | "veth");
        let unload =
            (is_in_the_way || self.could_be_native(config)).then(|| format!("vos-engine unload --iface {name}"));
        let steps = [Some(format!("systemctl stop vos-engine@{name}")), unload, command];
        let steps = steps.into_iter().flatten().collect::<Vec<_>>().join(" && ");
        // Pasted as it is, nothing is done by halves.
        let first = edit.map_or_else(String::new, |edit| format!("# {edit} first, then: "));
        // also where one is refused
        format!("{first}{steps}; systemctl start vos-engine@{name}")
    }

    /// Is it an engine's program that runs behind a driver which would, or may, take it?
    fn could_be_native(&self, config: &Config) -> bool {
        let generic = matches!(self.xdp, Presence::Ours(Attached { native: false, .. }));
        generic && config.xdp.attach == Attach::Auto && (self.native() || self.queue_pairs_max().is_some())
    }

    fn named(&self, index: u32) -> Option<&Device> {
        self.all.iter().find(|device| device.link.index == index)
    }

    fn master(&self) -> Option<&Device> {
        self.named(self.device.port_of?)
    }

    fn ports(&self) -> Vec<&str> {
        let index = self.device.link.index;
        self.all.iter().filter(|port| port.port_of == Some(index)).map(|port| port.link.name.as_str()).collect()
    }

    /// VLAN devices on it.
    fn vlans(&self) -> Vec<&Device> {
        let here = |device: &&Device| device.on == Some(self.device.link.index) && !device.elsewhere;
        self.all.iter().filter(|device| device.kind.as_deref() == Some("vlan")).filter(here).collect()
    }
}

pub(super) fn judge(facts: &Facts, config: &Config) -> Vec<Finding> {
    let mut findings = vec![judge_up(facts), judge_kind(facts, config)];
    findings.extend(judge_master(facts, config));
    findings.push(judge_native(facts, config));
    if config.mode == Mode::Relay {
        findings.push(judge_zero_copy(facts, config));
    }
    findings.push(judge_foreign(facts));
    findings.extend(judge_rivals(facts, config));
    findings.push(judge_mtu(facts, config));
    findings.push(judge_joining(facts, "lro", "LRO", facts.lro, "lro"));
    findings.push(judge_joining(facts, "gro-hw", "GRO-HW", facts.gro_hw, "rx-gro-hw"));
    findings.push(judge_rx_vlan(facts, config));
    findings
}

fn judge_up(facts: &Facts) -> Finding {
    const CHECK: &str = "interface";
    let link = &facts.device.link;
    let driver = if facts.driver.is_empty() { String::new() } else { format!(", driver {}", facts.driver) };
    match link.up {
        true => Finding::ok(CHECK, format!("{} is up{driver}", link.name)),
        false => Finding::new(
            CHECK,
            Warning,
            format!("{} is down{driver}", link.name),
            "nothing arrives on it",
            format!("ip link set dev {} up", link.name),
        ),
    }
}

/// What it is, and whether the engine belongs there.
fn judge_kind(facts: &Facts, config: &Config) -> Finding {
    const CHECK: &str = "device";
    let (name, kind) = (&facts.device.link.name, facts.kind());
    let found = |severity, what: String, why: &str, fix: String| Finding::new(CHECK, severity, what, why, fix);
    if name == "lo" {
        return found(
            Warning,
            "lo is the loopback interface".to_owned(),
            "AF_XDP does not work reliably on it, and what comes from outside does not pass it",
            "ip -br link".to_owned(),
        );
    }
    if !facts.device.ethernet {
        let kind = if kind.is_empty() { "interface" } else { kind };
        return found(
            Error,
            format!("{name} is a {kind} without Ethernet headers"),
            "the program reads Ethernet frames: here it would see none, and pass everything",
            "ip -br link".to_owned(),
        );
    }
    let below = facts.device.on.filter(|_| !facts.device.elsewhere).and_then(|index| facts.named(index));
    let engine_on = |device: Option<&str>| device.map_or(String::new(), |name| format!("vos-engine --iface {name}"));
    match kind {
        "" => Finding::ok(CHECK, format!("{name} is a network card, or a driver's own device")),
        "veth" => Finding::ok(CHECK, format!("{name} is a veth: native XDP, copies into AF_XDP")),
        "tun" => Finding::ok(CHECK, format!("{name} is a TAP: native XDP, copies into AF_XDP")),
        "bond" => judge_bond(facts, config),
        "vlan" => {
            let tag = facts.device.tag.map_or(String::new(), |tag| format!(" {tag}"));
            found(
                Warning,
                format!("{name} is VLAN{tag}{}", below.map_or(String::new(), |card| format!(" on {}", card.link.name))),
                "a VLAN device has generic XDP only, behind everything that a card's driver would have been spared; the engine \
                 reads through up to two tags on the card itself",
                engine_on(below.map(|card| card.link.name.as_str())),
            )
        }
        "bridge" => {
            let ports = facts.ports();
            found(
                Warning,
                format!(
                    "{name} is a bridge of {}",
                    if ports.is_empty() { "no ports".to_owned() } else { listed(&ports) }
                ),
                "a bridge has generic XDP only, and sees what its ports have let through; an engine on the port that SIP \
                 arrives by drops at the card",
                engine_on(ports.first().copied()),
            )
        }
        "macvlan" | "ipvlan" | "macvtap" | "ipvtap" => found(
            Warning,
            format!("{name} is a {kind}{}", below.map_or(String::new(), |card| format!(" on {}", card.link.name))),
            "it has generic XDP only; on the card below the program runs in the driver, for all that stands on it",
            engine_on(below.map(|card| card.link.name.as_str())),
        ),
        kind => found(
            Note,
            format!("{name} is a {kind}"),
            "the engine has not been tried on one; expect generic XDP, behind what a card's driver would have been spared",
            "ip -br link".to_owned(),
        ),
    }
}

fn judge_bond(facts: &Facts, config: &Config) -> Finding {
    const CHECK: &str = "device";
    let (name, ports) = (&facts.device.link.name, facts.ports());
    let mode = facts.device.bond.as_ref().map_or("unknown", |bond| bond.mode.as_str());
    let what = format!(
        "{name} is a bond ({mode}) of {}",
        if ports.is_empty() { "no ports".to_owned() } else { listed(&ports) }
    );
    let each: Vec<String> = ports.iter().map(|port| format!("vos-engine --iface {port} &")).collect();
    let native = facts.native() && config.xdp.attach != Attach::Generic;
    match (native, config.mode) {
        // xsk_rcv_check() compares the socket's device with that of the ring the packet came from, which is the port's
        (true, Mode::Relay) => Finding::new(
            CHECK,
            Error,
            what,
            "native XDP on a bond runs in its ports, and an AF_XDP socket takes only what came by its own device: survivors \
             would be lost; run an engine on each port",
            each.join(" "),
        ),
        (true, _) => Finding::ok(CHECK, format!("{what}; native XDP runs in its ports")),
        (false, _) => Finding::new(
            CHECK,
            Warning,
            what,
            "a bond of this mode has generic XDP only; on its ports the program runs in the driver",
            each.join(" "),
        ),
    }
}

/// Of what it is a port.
fn judge_master(facts: &Facts, config: &Config) -> Option<Finding> {
    const CHECK: &str = "port";
    let master = facts.master()?;
    let (name, of) = (&facts.device.link.name, &master.link.name);
    match master.kind.as_deref() {
        Some("bridge") if config.mode != Mode::Relay || config.relay.to != RelayTo::Local => Some(Finding::ok(
            CHECK,
            format!("{name} is a port of bridge {of}; the program judges before the bridge does"),
        )),
        Some("bridge") if config.relay.inject == Inject::Reentry => Some(Finding::new(
            CHECK,
            Error,
            format!("{name} is a port of bridge {of}, and relay.inject = \"reentry\""),
            "the bridge takes frames away before re-entry sees them: no worker would count as alive, and survivors take the \
             kernel's path",
            format!("vos-engine --iface {name} --inject raw"),
        )),
        Some("bridge") => Some(Finding::new(
            CHECK,
            Note,
            format!("{name} is a port of bridge {of}"),
            "survivors go by a raw socket here, around the firewall: re-entry does not work on a bridge's ports",
            String::new(),
        )),
        Some("bond" | "team") => {
            let mates = facts.all.iter().filter(|device| device.port_of == Some(master.link.index));
            let mates: Vec<&str> = mates.map(|device| device.link.name.as_str()).filter(|mate| mate != name).collect();
            let each: Vec<String> = mates.iter().map(|mate| format!("vos-engine --iface {mate} &")).collect();
            Some(match mates.is_empty() {
                true => Finding::ok(CHECK, format!("{name} is the only port of {of}")),
                false => Finding::new(
                    CHECK,
                    Note,
                    format!("{name} is a port of {of}, beside {}", listed(&mates)),
                    "what arrives by the other ports is not seen here: each wants an engine of its own",
                    each.join(" "),
                ),
            })
        }
        _ => None,
    }
}

fn judge_native(facts: &Facts, config: &Config) -> Finding {
    const CHECK: &str = "native-xdp";
    let name = &facts.device.link.name;
    if config.xdp.attach == Attach::Generic {
        return Finding::new(
            CHECK,
            Note,
            "xdp.attach = \"generic\": the program runs behind the driver",
            "each dropped packet has cost a buffer by then; native costs a third or less, where the driver has it",
            format!("vos-engine --iface {name} --xdp auto"),
        );
    }
    let severity = if config.xdp.attach == Attach::Native { Error } else { Warning };
    if let Some(refused) = judge_queue_pairs(facts, config, severity) {
        return refused;
    }
    match &facts.features {
        Ok(Some(_)) if facts.device.link.mtu <= NATIVE_MTU_MAX && facts.could_be_native(config) => Finding::new(
            CHECK,
            Note,
            format!("the driver of {name} has native XDP, and the engine's program runs behind it"),
            "each dropped packet has cost a buffer by then. A start leaves the program where it is; has the log of its first \
             start `the driver refuses native`, it will again",
            facts.without_engine(config, None, None),
        ),
        Ok(Some(features)) if features.native() && features.redirect() => {
            Finding::ok(CHECK, format!("the driver of {name} has native XDP and redirects"))
        }
        Ok(Some(features)) => {
            let lacks = if features.native() { "cannot redirect to AF_XDP sockets" } else { "has no native XDP" };
            Finding::new(
                CHECK,
                severity,
                format!("the driver of {name} {lacks}"),
                "generic XDP runs behind the driver: each dropped packet has cost a buffer by then, and survivors of a relay \
                 go by a raw socket, around the firewall",
                if severity == Error { format!("vos-engine --iface {name} --xdp auto") } else { String::new() },
            )
        }
        Ok(None) => Finding::new(
            CHECK,
            Note,
            format!("not told by this kernel: whether the driver of {name} has native XDP (told since 6.3)"),
            "the engine tries it and says in its first line what it got",
            format!("vos-engine --iface {name} --mode monitor --unload-on-exit"),
        ),
        Err(error) => Finding::unknown(CHECK, "what the driver can do", error, name),
    }
}

/// More queues than those with which the driver takes native XDP ([`Channels::native_xdp_max`]). Older drivers tell of native
/// XDP all the same and refuse it when it is tried, newer ones do not tell of it then.
fn judge_queue_pairs(facts: &Facts, config: &Config, severity: super::Severity) -> Option<Finding> {
    let (most, channels) = facts.queue_pairs_max().zip(facts.channels)?;
    let name = &facts.device.link.name;
    let told = matches!(&facts.features, Ok(Some(features)) if features.native());
    Some(Finding::new(
        "native-xdp",
        if told { Note } else { severity },
        format!(
            "{name} uses {} of {} queues, and {} {} native XDP with {most} at most",
            channels.combined,
            channels.max_combined,
            facts.driver,
            if told { "may take" } else { "takes" }
        ),
        "the driver keeps a sending queue for each; with more it refuses, and generic XDP takes its place",
        facts.with_queues(config, most),
    ))
}

fn judge_zero_copy(facts: &Facts, config: &Config) -> Finding {
    const CHECK: &str = "zero-copy";
    let name = &facts.device.link.name;
    let wanted = config.xsk.bind == Bind::Zerocopy;
    match &facts.features {
        _ if config.xsk.bind == Bind::Copy => Finding::ok(CHECK, "xsk.bind = \"copy\": zero-copy is not asked for"),
        Ok(Some(features)) if features.zero_copy() => {
            Finding::ok(CHECK, format!("the driver of {name} has zero-copy; the last word has the bind of each queue"))
        }
        Ok(Some(_)) => Finding::new(
            CHECK,
            if wanted { Error } else { Note },
            format!("the driver of {name} has no zero-copy"),
            "the kernel copies each survivor into the ring; what is dropped costs the same either way",
            if wanted { format!("vos-engine --iface {name} --bind auto") } else { String::new() },
        ),
        Ok(None) => Finding::new(
            CHECK,
            Note,
            format!("not told by this kernel: whether the driver of {name} has zero-copy (told since 6.3)"),
            "the engine tries it and says in its first line what it got",
            format!("vos-engine --iface {name} --unload-on-exit"),
        ),
        Err(error) => Finding::unknown(CHECK, "what the driver can do", error, name),
    }
}

fn judge_foreign(facts: &Facts) -> Finding {
    const CHECK: &str = "other-xdp";
    let name = &facts.device.link.name;
    let word = |attached: &Attached| if attached.native { "native" } else { "generic" };
    match &facts.xdp {
        Presence::Free => Finding::ok(CHECK, format!("no XDP program is on {name}")),
        Presence::Ours(attached) => Finding::ok(
            CHECK,
            format!("the XDP program on {name} is an engine's ({}, id {})", word(attached), attached.id),
        ),
        Presence::Foreign { attached, program, .. } if !facts.root => Finding::new(
            CHECK,
            Note,
            format!("{name} has an XDP program: {program} ({}, id {})", word(attached), attached.id),
            "there is one place; without root's rights it cannot be told whether an engine's program has it",
            format!("sudo vosctl doctor {name}"),
        ),
        Presence::Foreign { attached, program, link } => Finding::new(
            CHECK,
            Error,
            format!("{name} has an XDP program already: {program} ({}, id {})", word(attached), attached.id),
            "there is one place: the engine does not start beside it, unless told to --replace it",
            match (link, attached.native) {
                (true, _) => "bpftool link show  # then stop the process that holds it".to_owned(),
                (false, true) => format!("ip link set dev {name} xdpdrv off"),
                (false, false) => format!("ip link set dev {name} xdpgeneric off"),
            },
        ),
        Presence::Elsewhere(dir) => Finding::new(
            CHECK,
            Error,
            format!("{dir} holds the programs of another interface named {name}, in another network namespace"),
            "pins go by the interface's name, and the engine does not start beside them",
            format!("vos-engine unload --iface {name}  # in that network namespace"),
        ),
    }
}

fn judge_rivals(facts: &Facts, config: &Config) -> Option<Finding> {
    const CHECK: &str = "other-af-xdp";
    let name = &facts.device.link.name;
    let what = format!("AF_XDP sockets are on {name} already: {}", facts.rivals.join(", "));
    (!facts.rivals.is_empty() && config.mode == Mode::Relay).then(|| match facts.xdp {
        Presence::Foreign { .. } if !facts.root => Finding::new(
            CHECK,
            Note,
            what,
            "a queue has room for one; without root's rights it cannot be told whether they are an engine's",
            format!("sudo vosctl doctor {name}"),
        ),
        _ => Finding::new(
            CHECK,
            Error,
            what,
            "a queue has room for one: binding fails with EBUSY",
            "ss --xdp -a -p; bpftool prog show",
        ),
    })
}

fn judge_mtu(facts: &Facts, config: &Config) -> Finding {
    const CHECK: &str = "mtu";
    let (name, mtu) = (&facts.device.link.name, facts.device.link.mtu);
    let (chunk, longest) = chunk_for(mtu);
    if mtu > NATIVE_MTU_MAX {
        let (severity, what) = match config.xdp.attach {
            Attach::Native => (Error, "the engine does not start"),
            _ => (Warning, "generic XDP takes its place"),
        };
        return Finding::new(
            CHECK,
            severity,
            format!("an MTU of {mtu} does not fit a page"),
            format!(
                "drivers refuse native XDP from about {NATIVE_MTU_MAX} on, and {what}; SIP over UDP needs no more than 1500"
            ),
            facts.without_engine(config, Some(&format!("ip link set dev {name} mtu 1500")), None),
        );
    }
    match chunk {
        2_048 => Finding::ok(CHECK, format!("an MTU of {mtu} fits frames of 2,048 bytes")),
        _ => Finding::new(
            CHECK,
            Note,
            format!("an MTU of {mtu} wants frames of {chunk} bytes, for packets up to {longest}"),
            "UMEM takes twice the memory, and twice the cache",
            format!("ip link set dev {name} mtu 1500"),
        ),
    }
}

/// Segments that the card joins.
fn judge_joining(facts: &Facts, check: &'static str, offload: &str, on: bool, switch: &str) -> Finding {
    let name = &facts.device.link.name;
    match on {
        false => Finding::ok(check, format!("{offload} is off")),
        true => Finding::new(
            check,
            Warning,
            format!("{offload} is on"),
            "the card joins TCP segments into what fits no XDP frame: drivers refuse native XDP, or switch it off by themselves \
             and reset their queues at a start",
            format!("ethtool -K {name} {switch} off"),
        ),
    }
}

fn judge_rx_vlan(facts: &Facts, config: &Config) -> Finding {
    const CHECK: &str = "rx-vlan";
    let (name, vlans) = (&facts.device.link.name, facts.vlans());
    let names: Vec<&str> = vlans.iter().map(|vlan| vlan.link.name.as_str()).collect();
    match (facts.rx_vlan, vlans.is_empty()) {
        (false, _) => Finding::ok(CHECK, "the card leaves VLAN tags in frames"),
        (true, true) => Finding::ok(CHECK, format!("the card takes VLAN tags out of frames, and no VLAN is on {name}")),
        (true, false) => Finding::new(
            CHECK,
            if config.mode == Mode::Relay { Error } else { Warning },
            format!(
                "the card takes VLAN tags out of frames, and {} {} on {name}",
                listed(&names),
                if names.len() == 1 { "is" } else { "are" }
            ),
            match config.mode {
                Mode::Relay => "relayed packets lose their tag and never reach those devices: SIP over them is lost",
                _ => "the program does not see which VLAN a packet is of",
            },
            format!("ethtool -K {name} rxvlan off"),
        ),
    }
}

#[cfg(test)]
pub(super) mod tests;
