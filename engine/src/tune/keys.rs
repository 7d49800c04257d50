//! Every key of a profile, in the order of its sections: what it takes, and what it does.

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One line.
    Text,
    /// `4-7,9`
    Cores,
    /// `true` or `false`.
    Switch,
    /// A number in a range, or `{ at_least = N }`, `{ at_most = N }`.
    Number(u64, u64),
    /// That, or one of these words.
    NumberOr(u64, u64, &'static [&'static str]),
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of these words, or cores.
    CoresOr(&'static [&'static str]),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// With its section.
    pub name: &'static str,
    /// Unit and range.
    pub takes: &'static str,
    /// What it does.
    pub what: &'static str,
    pub(super) kind: Kind,
}

const fn key(name: &'static str, kind: Kind, takes: &'static str, what: &'static str) -> Key {
    Key { name, takes, what, kind }
}

const INT: u64 = i32::MAX as u64;

/// All of them.
pub const KEYS: &[Key] = &[
    key("summary", Kind::Text, "one line", "what `vosctl tune --list` says of the profile"),
    key("cores.engine", Kind::Cores, "cores such as 4-7", "cores that are the engine's alone; they must be there"),
    key(
        "interface.channels",
        Kind::NumberOr(1, 1_024, &["engine", "cores", "max"]),
        "1 to 1024 queues; engine: one a core of cores.engine; cores: one a physical core; max: all the card has",
        "queues of the card (ethtool -L), never more than it has, nor by a word more than its driver takes native XDP with \
         (ena: half of them); resets the card",
    ),
    key(
        "interface.rx_ring",
        Kind::NumberOr(1, 1 << 20, &["max"]),
        "1 to 1048576 descriptors, or max: the largest power of two that the card has (less one where \
         that is all), and no fewer than there are",
        "length of the RX rings (ethtool -G), never more than the card has; resets the card",
    ),
    key(
        "interface.tx_ring",
        Kind::NumberOr(1, 1 << 20, &["max"]),
        "1 to 1048576 descriptors, or max",
        "the same of the TX rings",
    ),
    key("interface.lro", Kind::Switch, "true or false", "joining TCP segments in the card (ethtool -K lro)"),
    key("interface.gro_hw", Kind::Switch, "true or false", "the same by GRO's rules (ethtool -K rx-gro-hw)"),
    key("interface.rx_vlan", Kind::Switch, "true or false", "taking VLAN tags out of frames (ethtool -K rxvlan)"),
    key("interface.adaptive_rx", Kind::Switch, "true or false", "the driver chooses rx_usecs (ethtool -C adaptive-rx)"),
    key(
        "interface.rx_usecs",
        Kind::Number(0, 10_000),
        "0 to 10000 microseconds",
        "the card interrupts so long after a packet (ethtool -C rx-usecs)",
    ),
    key(
        "interface.napi_defer_hard_irqs",
        Kind::Number(0, INT),
        "0 to 2147483647 polls",
        "empty polls before interrupts are switched on again; needs gro_flush_timeout",
    ),
    key(
        "interface.gro_flush_timeout",
        Kind::Number(0, 1_000_000_000),
        "0 to 1000000000 nanoseconds",
        "when the driver is polled again while interrupts are deferred",
    ),
    key(
        "steering.sip",
        Kind::Word(&["spread", "own-queue"]),
        "spread or own-queue",
        "spread: RSS takes every queue in turn. own-queue: UDP to xdp.sip_ports goes to queue 0 (ntuple rules), all else \
         to the others; where the card has no rules or one queue, as spread",
    ),
    key(
        "steering.udp_hash",
        Kind::Word(&["addresses", "addresses-and-ports"]),
        "addresses or addresses-and-ports",
        "by what RSS chooses the queue for UDP (ethtool -N rx-flow-hash)",
    ),
    key(
        "irq.cores",
        Kind::CoresOr(&["workers", "others", "all"]),
        "cores such as 0-3; workers: worker.cores of vos.toml; all: one of each physical core, then their siblings; others: \
         the same without the engine's and their siblings",
        "the first core takes the interrupt of queue 0, the second that of queue 1, and so on in turn",
    ),
    key(
        "cpu.governor",
        Kind::Text,
        "a word of scaling_available_governors, such as performance",
        "who chooses the cores' clock (cpufreq)",
    ),
    key(
        "sysctl.net.core.busy_poll",
        Kind::Number(0, 1_000),
        "0 to 1000 microseconds",
        "poll() and select() look at the card's queue so long before they sleep",
    ),
    key("sysctl.net.core.busy_read", Kind::Number(0, 1_000), "0 to 1000 microseconds", "the same of blocking reads"),
    key(
        "sysctl.net.core.rmem_max",
        Kind::Number(2_304, INT),
        "2304 to 2147483647 bytes",
        "the largest receive buffer that a program may ask for (SO_RCVBUF)",
    ),
    key(
        "sysctl.net.core.rmem_default",
        Kind::Number(2_304, INT),
        "2304 to 2147483647 bytes",
        "the receive buffer of a socket that does not ask",
    ),
    key("sysctl.net.core.wmem_max", Kind::Number(4_608, INT), "4608 to 2147483647 bytes", "the largest send buffer"),
    key(
        "sysctl.net.core.netdev_max_backlog",
        Kind::Number(1, INT),
        "1 to 2147483647 packets",
        "packets that wait for a CPU's softirq: those of the TAP come this way",
    ),
    key(
        "sysctl.net.core.netdev_budget",
        Kind::Number(1, 100_000),
        "1 to 100000 packets",
        "packets that one softirq takes before others have their turn",
    ),
    key(
        "sysctl.net.core.netdev_budget_usecs",
        Kind::Number(1, 1_000_000),
        "1 to 1000000 microseconds",
        "how long it may take",
    ),
    key(
        "sysctl.net.netfilter.nf_conntrack_max",
        Kind::Number(1, INT),
        "1 to 2147483647 flows",
        "flows that conntrack remembers; when it is full, new ones are dropped. About 300 bytes each",
    ),
    key(
        "sysctl.net.netfilter.nf_conntrack_udp_timeout",
        Kind::Number(1, 86_400),
        "1 to 86400 seconds",
        "how long it remembers UDP that nobody has answered",
    ),
    key(
        "sysctl.net.netfilter.nf_conntrack_udp_timeout_stream",
        Kind::Number(1, 86_400),
        "1 to 86400 seconds",
        "how long UDP that goes both ways",
    ),
];

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Is this a section, with keys or sections in it?
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// The key meant most probably, as a hint behind "there is no key".
pub(super) fn nearest(name: &str) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let section = |name: &str| name.rsplit_once('.').map(|(section, _)| section.to_owned());
    // A key of the same section wins over its namesake in another.
    let score = |known: &str| {
        let far = if section(known) == section(name) { 0.0 } else { 0.05 };
        strsim::jaro_winkler(&last(known), &last(name)) - far
    };
    match KEYS.iter().map(|key| (score(key.name), key.name)).max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, known)) if score > 0.75 => format!(": did you mean `{known}`?"),
        _ => "; `vosctl tune --help` lists them all".to_owned(),
    }
}

/// All keys for people, a paragraph each.
pub fn help() -> String {
    let lines =
        KEYS.iter().map(|Key { name, takes, what, .. }| format!("  {name}\n      {what}.\n      Takes {takes}.\n"));
    format!(
        "Keys of a profile (TOML). A number is set as it is; {{ at_least = N }} raises a lower value and leaves a higher \
         one, {{ at_most = N }} lowers a higher one.\n{}",
        lines.collect::<String>()
    )
}
