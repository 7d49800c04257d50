//! Every key of the configuration with what it takes: one text for errors of type and of range.

use std::sync::LazyLock;

use super::Rules;

/// Keys that are written out one by one.
const FIXED: [(&str, &str); 127] = [
    ("iface", "the name of a network interface, such as \"eth0\""),
    ("queues", "0 (all the interface has) to 256"),
    ("mode", "\"relay\", \"filter\" or \"monitor\""),
    ("profile", "\"default\", \"internet-edge\", \"vos3000\" or the absolute path of a file"),
    ("xdp.attach", "\"auto\", \"native\" or \"generic\""),
    ("xdp.sip_ports", "1 to 16 different ports from 1 to 65535, such as [5060]"),
    ("xdp.protect", "up to 128 addresses without prefix length, such as [\"203.0.113.7\", \"2001:db8::1\"]"),
    ("xdp.mode", "\"open\", \"monitor\" or \"closed\""),
    ("xdp.stealth", "\"off\", \"options\" or \"requests\""),
    ("xdp.domains", "up to 1000 different host names or addresses, such as [\"example.com\", \"203.0.113.7\"]"),
    (
        "scanners.patterns",
        "up to 63 different texts of 7 to 32 printable ASCII characters, such as [\"friendly-scanner\"]",
    ),
    ("rates.global", RATE),
    ("rates.samples", RATE),
    ("rates.verified_for", "a time from 1min to 30days, such as \"2h\""),
    ("rates.parallel", "1 to 64 (transactions)"),
    ("xsk.bind", "\"auto\", \"zerocopy\" or \"copy\""),
    ("xsk.frames", "a power of two from 256 to 65536, at least twice xsk.ring"),
    ("xsk.ring", "a power of two from 64 to 32768"),
    ("xsk.batch", "1 to 512, at most xsk.ring"),
    ("worker.cores", "cores and ranges, each once, such as \"4-7\" or \"4,6\", or \"\" for none"),
    ("worker.wait", "\"sleep\" or \"busy\""),
    ("worker.busy_poll_us", "1 to 1000 (microseconds)"),
    ("worker.busy_poll_budget", "1 to 512 (packets)"),
    ("worker.spin_us", "0 to 1000 (microseconds)"),
    ("relay.redirect", "\"all\", \"needed\" or \"none\""),
    (
        "relay.to",
        "\"local\", \"unix:/PATH\", \"unix-seqpacket:/PATH\", \"proxy:HOST:PORT\" or \"proxy\" (to all of [[backend]])",
    ),
    ("relay.fallback", "\"local\" or \"drop\""),
    ("relay.bind", "an address and a port, such as \"10.0.0.1:15060\", or \"\" for any"),
    ("relay.inject", "\"auto\", \"reentry\" or \"raw\""),
    ("relay.accept_firewall_bypass", "true or false"),
    ("relay.priority", "true or false"),
    ("relay.shield", "true or false"),
    ("relay.emergency", "up to 64 numbers of digits, such as [\"112\", \"911\"]"),
    ("relay.heartbeat_ms", "10 to 1000 (milliseconds)"),
    ("relay.heartbeat_timeout_ms", "30 to 10000 (milliseconds), at least three times relay.heartbeat_ms"),
    (
        "backend",
        "up to 64 tables with different name and address (and drain), such as name = \"a\", address = \"10.0.0.2:5060\"",
    ),
    (
        "gateway",
        "up to 256 tables with different name, from (and auth, port), and tier or cps and max_calls (and burst, max_duration), \
         such as name = \"a\", from = [\"198.51.100.0/28\"], tier = \"small\"",
    ),
    ("answer.keep_alives", "true or false"),
    ("answer.options", "true or false"),
    ("answer.options_pass_every", "0 (none) to 1000000"),
    ("answer.refuse_calls", "true or false"),
    ("registration.suspend", "true or false"),
    ("registration.retry", "1 to 1000"),
    ("registration.suspend_time", "a time from 1s to 7days, such as \"180s\""),
    ("registration.suspend_time_max", "a time from registration.suspend_time to 7days, such as \"1h\""),
    ("registration.identity", "\"ip+user\", \"ip\" or \"user\""),
    ("registration.refusals", "1 to 16 different statuses from 400 to 699, such as [401, 403, 407]"),
    ("registration.answer", "\"none\" or \"403\""),
    ("registration.watch", "true or false"),
    ("registration.moves_max", "0 (never) to 1000"),
    ("registration.contacts_max", "1 to 1000"),
    ("registration.contact_bytes_max", "200 to 65535"),
    ("attack.detect", "true or false"),
    ("attack.factor", "2 to 100 (times)"),
    ("attack.requests", FLOOR),
    ("attack.drops", FLOOR),
    ("attack.new_sources", FLOOR),
    ("attack.registrations", FLOOR),
    ("attack.failures", "0 (not looked at) to 100 (percent)"),
    ("attack.trip", "a time from 1s to 1min, such as \"3s\""),
    ("attack.calm", UP_TO_A_DAY),
    ("attack.recover", UP_TO_A_DAY),
    ("attack.retry", "1 to 1000"),
    ("attack.suspend_time", UP_TO_A_DAY),
    ("attack.profile", "\"\", \"default\", \"internet-edge\", \"vos3000\" or the absolute path of a file"),
    (
        "attack.hook",
        "up to 16 words, of which the first is the absolute path of a program, such as [\"/usr/local/sbin/attack\"], or []",
    ),
    ("attack.hook_timeout", "a time from 1s to 5min, such as \"10s\""),
    ("attack.hook_every", UP_TO_A_DAY),
    ("enumeration.not_found", "2 to 100000"),
    ("enumeration.within", "a time from 1s to 1day, such as \"10min\""),
    ("enumeration.statuses", "1 to 16 different statuses from 400 to 699, such as [404, 604]"),
    ("enumeration.slow_for", "a time from 1s to 1day, such as \"10min\""),
    ("enumeration.slow_to", "a limit such as \"1/s burst 5\""),
    ("blacklist.block", "true or false"),
    ("blacklist.limit", "1 to 1000000 (points)"),
    ("blacklist.half_life", "a time from 1s to 1day, such as \"10min\""),
    ("blacklist.ttl", "a time from 1s to 30days, such as \"15min\""),
    ("blacklist.ttl_max", "a time from blacklist.ttl to 30days, such as \"7days\""),
    ("blacklist.forget", "a time from 1min to 365days, such as \"7days\""),
    ("blacklist.weights.refused_credentials", POINTS),
    ("blacklist.weights.suspension", POINTS),
    ("blacklist.weights.forbidden_call", POINTS),
    ("blacklist.weights.not_found", POINTS),
    ("blacklist.weights.scanner", POINTS),
    ("blacklist.weights.malformed", POINTS),
    ("blacklist.weights.stealth", POINTS),
    ("blacklist.weights.never_answered", POINTS),
    ("online.interval", "\"0s\" (nobody is asked) or a time from 1s to 1h, such as \"60s\""),
    ("online.misses", "1 to 100"),
    ("online.rate", RATE),
    ("health.interval", "a time from 100ms to 1min, such as \"1s\""),
    ("health.failures", "1 to 100"),
    (
        "health.target",
        "an address and a port, such as \"192.0.2.1:5060\", or \"\" for the SIP port at the interface's addresses",
    ),
    ("egress.ifaces", "up to 16 names of network interfaces, such as [\"eth0\", \"eth1\"], or [] for the one of iface"),
    ("control.run_dir", "an absolute path"),
    ("control.state_dir", "an absolute path"),
    ("control.socket_group", "the name of a group, or \"\" for vos where there is such a group, else the engine's own"),
    ("control.widest_v4", "a prefix length from 0 to 32"),
    ("control.widest_v6", "a prefix length from 0 to 128"),
    ("control.widest_feed_v4", "a prefix length from 0 to 32"),
    ("control.confine", "true or false"),
    ("control.verify_every", "\"0s\" (only by vosctl verify) or a time from 1s to 1day, such as \"15min\""),
    (
        "file_feed",
        "up to 64 tables with different path (and ttl, reason, strict), such as path = \"/etc/vos/honeypot.list\"",
    ),
    (
        "datagram_feed.listen",
        "\"unix:/PATH\" (at most 80 bytes), an address and a port, such as \"127.0.0.1:5061\", or \"\"",
    ),
    ("datagram_feed.ttl", TTL),
    ("amqp.url", "\"amqp://USER:PASSWORD@HOST:PORT/VHOST\", \"amqps://...\" or \"\""),
    ("amqp.password_file", "the absolute path of a file that holds the password, or \"\""),
    ("amqp.ca_file", "the absolute path of a file of certificates in PEM, or \"\""),
    ("amqp.queue", "up to 64 letters, digits, -, _ and ., such as \"vos.block\", or \"\""),
    ("amqp.dead_letter", "up to 64 letters, digits, -, _ and ., other than amqp.queue"),
    ("amqp.ttl", TTL),
    ("cluster.node", "up to 64 letters, digits, -, _ and ., or \"\" for the host's name"),
    ("cluster.log", "up to 64 letters, digits, -, _ and ., such as \"vos.decisions\", or \"\"; not without amqp.url"),
    ("api.listen", "an address and a port, such as \"10.0.0.1:8080\", or \"\""),
    ("api.token_file", "the absolute path of a file that holds the token"),
    (
        "api.allow",
        "up to 64 addresses with prefix length, such as [\"10.0.0.0/24\"]; at least one where api.listen is set",
    ),
    ("page.listen", "a loopback address and a port, such as \"127.0.0.1:9960\", or \"\""),
    ("honeypot.ports", "up to 64 different ports from 1 to 65535 that are no SIP ports, such as [5062]"),
    ("honeypot.addresses", "up to 64 different addresses without prefix length, or [] for all of this host's"),
    (
        "honeypot.listen",
        "up to 64 different addresses and ports, such as [\"198.51.100.7:5060\"]; no SIP port where relay.to is not local",
    ),
    ("honeypot.ttl", TTL),
    ("records.file", "an absolute path, such as \"/var/lib/vos/records.jsonl\", or \"\""),
    ("records.max_mib", "1 to 102400 (MiB)"),
    ("records.keep", "0 to 100"),
    ("records.zero_duration", "\"auto\", \"on\" or \"off\""),
    ("records.illegal_calls", "up to 16 different statuses from 300 to 699, such as [401, 403, 407]"),
    (
        "records.exchange",
        "up to 64 letters, digits, -, _ and ., such as \"vos.records\", or \"\"; not without records.file and amqp.url",
    ),
];

const FLOOR: &str = "0 (not looked at) to 100000000 (a second)";
const UP_TO_A_DAY: &str = "a time from 1s to 1day, such as \"10min\"";
const TTL: &str = "a time from 1s to 100years, such as \"1h\"";
const POINTS: &str = "0 (none) to 1000000 (points)";
const RULE: &str = "\"enforce\", \"monitor\" or \"off\"";
const RATE: &str = "a limit such as \"5/s burst 10\" or \"20/min burst 20\", or \"none\"";

/// Whose limits there are, and of what.
const LIMITS: ([&str; 4], [&str; 4]) =
    (["unknown", "verified", "trusted", "prefix"], ["all", "register", "invite", "options"]);

/// [`Config`](super::Config)'s keys are exactly these, by a test.
static TAKES: LazyLock<Vec<(String, &'static str)>> = LazyLock::new(|| {
    let fixed = FIXED.iter().map(|(key, takes)| ((*key).to_owned(), *takes));
    let rules = Rules::keys().map(|rule| (format!("rules.{}", rule.label()), RULE));
    let (whose, what) = LIMITS;
    let limits = whose.into_iter().flat_map(|whose| what.map(|what| (format!("rates.{whose}.{what}"), RATE)));
    fixed.chain(rules).chain(limits).collect()
});

/// Every key with its table, and what it takes.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    TAKES.iter().map(|(key, takes)| (key.as_str(), *takes))
}

/// What this key takes; `None`: there is no such key.
pub(super) fn takes(key: &str) -> Option<&'static str> {
    all().find(|(known, _)| *known == key).map(|(_, takes)| takes)
}

/// Is this a table, with keys or tables in it?
pub(super) fn is_table(name: &str) -> bool {
    tables().any(|table| table == name)
}

/// Every table, some of them several times.
fn tables() -> impl Iterator<Item = &'static str> {
    all().flat_map(|(key, _)| key.match_indices('.').map(|(at, _)| &key[..at]))
}

/// The key or table meant most probably: the same word in another table, or the least misspelt.
pub(super) fn nearest(key: &str) -> String {
    let split =
        |name: &str| name.rsplit_once('.').map_or((String::new(), name.to_owned()), |(a, b)| (a.into(), b.into()));
    let (table, last) = split(key);
    // A key of the same table wins over its namesake in another.
    let score = |known: &str| {
        let (its_table, its_last) = split(known);
        strsim::jaro_winkler(&its_last, &last) - if its_table == table { 0.0 } else { 0.05 }
    };
    let known = all().map(|(key, _)| key).chain(tables().filter(|_| table.is_empty() || table == "rates"));
    match known.map(|known| (score(known), known)).max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, known)) if score > 0.75 => match known.rsplit_once('.') {
            _ if is_table(known) => format!(": did you mean [{known}]?"),
            Some((table, name)) => format!(": did you mean `{name}` in [{table}]?"),
            None => format!(": did you mean `{known}`, at the top of the file?"),
        },
        _ => "; configs/vos.toml lists them all".to_owned(),
    }
}
