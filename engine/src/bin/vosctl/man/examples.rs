/// What is done with each command: the command line behind `vosctl`, and what it is for. Tests take them all.
pub(super) const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "block",
        &[
            ("block 203.0.113.7 --ttl 1h --reason \"guessing passwords\"", "One address, for an hour."),
            ("block 203.0.113.0/24 2001:db8:bad::/48 --until 2127-01-01T00:00:00Z", "Two networks, to a certain day."),
        ],
    ),
    ("unblock", &[("unblock 203.0.113.7", "Take the block back; what covers the address applies again.")]),
    ("allow", &[("allow 198.51.100.7 --reason carrier", "Let a carrier's OPTIONS through.")]),
    ("unallow", &[("unallow 198.51.100.7", "Take that back.")]),
    ("trust", &[("trust 198.51.100.0/28 --reason trunks", "No block touches these, however specific it is.")]),
    ("untrust", &[("untrust 198.51.100.0/28", "Take that back.")]),
    (
        "list",
        &[
            ("list --covering 203.0.113.7", "Why is this address dropped, and by whom?"),
            ("list --origin amqp --newer 1h", "What the queue has decided in the last hour."),
            ("list block --json", "All blocks, for a program."),
        ],
    ),
    ("history", &[("history --limit 5", "The last five changes.")]),
    (
        "undo",
        &[("undo", "Take back the last change."), ("undo 42 --force", "Take back change 42, whatever the guard says.")],
    ),
    (
        "import",
        &[
            ("import honeypot.txt --ttl 7d --reason honeypot --dry-run", "What would change?"),
            ("import - --strict", "From a pipe; one bad line, and nothing is changed."),
        ],
    ),
    ("export", &[("export --kind block", "All blocks as a list that import takes.")]),
    ("verify", &[("verify --repair", "Does the kernel hold what it should? If not, have it so.")]),
    ("feeds", &[("feeds", "Which files and queues are there, and what came of them?")]),
    ("status", &[("status", "What is in force?")]),
    ("reload", &[("reload", "After a change of vos.toml.")]),
    ("rule", &[("rule scanner monitor", "Only count what this rule would drop, until the next reload.")]),
    ("attack", &[("attack on --ttl 15m", "All unknown sources share one budget.")]),
    (
        "attack-show",
        &[
            ("attack show", "Is it an attack, what is seen, what is usual, and from when on it is too much?"),
            ("attack show --json", "For a script: state is normal, attack or recovering."),
        ],
    ),
    ("attack-on", &[("attack on --ttl 15m", "All unknown sources share one budget, for a quarter of an hour.")]),
    ("attack-off", &[("attack off", "Back to normal.")]),
    ("gateways", &[("gateways", "What each trunk may, what it does now, and how many of its calls were refused.")]),
    ("suspensions", &[("suspensions list", "Who has guessed passwords, and is heard no more for how long?")]),
    ("suspensions-list", &[("suspensions list --json", "The same, for a program.")]),
    (
        "suspensions-lift",
        &[
            ("suspensions lift 100@example.com", "This account may try again, wherever it was suspended."),
            ("suspensions lift 203.0.113.7", "All who were suspended at this address may."),
        ],
    ),
    ("slowed", &[("slowed list", "Who asks for what is not there, and may send but a little?")]),
    ("slowed-list", &[("slowed list --json", "The same, for a program.")]),
    ("slowed-lift", &[("slowed lift 203.0.113.7", "This address is slowed no longer.")]),
    (
        "registrations",
        &[
            ("registrations 100@example.com", "From where is this account registered?"),
            ("registrations --offline", "Who is registered and does not answer?"),
        ],
    ),
    ("backend", &[("backend drain b", "No new calls for one of the softswitches.")]),
    ("cluster", &[("cluster status", "Do all nodes hold the same?")]),
    ("cluster-forget", &[("cluster forget edge-2", "It is gone for good.")]),
    ("cluster-status", &[("cluster status", "Do all nodes hold the same?")]),
    (
        "cluster-push",
        &[("cluster push honeypot.txt sip1.example.net sip2.example.net --ttl 7d", "One list for many hosts, by ssh.")],
    ),
    (
        "tune",
        &[
            ("tune --list", "Which profiles are there?"),
            ("tune low-latency --iface eth0 --dry-run", "Which commands would that be?"),
            ("tune low-latency --iface eth0", "Have them done; what was there is kept."),
            ("tune --iface eth0", "Is everything as the profile wants it still?"),
            ("tune --revert --iface eth0", "Back as it was."),
        ],
    ),
    ("stats", &[("stats --watch 5", "The counters, every five seconds.")]),
    ("top", &[("top", "Look on; q ends it."), ("top --once", "One frame, for a report.")]),
    ("suggest-allow", &[("suggest-allow", "Who may have to be allowed before stealth is enforced?")]),
    ("events", &[("events -f --reason scanner", "Packets that this rule drops, from now on.")]),
    ("capture", &[("capture -w drops.pcap --reason stealth --duration 10m", "For Wireshark.")]),
    (
        "doctor",
        &[
            ("doctor eth0", "What keeps the engine from starting, protecting or being fast here?"),
            ("doctor eth0 --config new.toml --json", "For a script, and for a configuration that is not in force."),
        ],
    ),
    (
        "explain",
        &[("explain --config new.toml calls.pcapng", "What another configuration would do with this traffic.")],
    ),
    (
        "completions",
        &[("completions bash", "To be put where bash-completion looks, such as /etc/bash_completion.d/vosctl.")],
    ),
    ("man", &[("man --dir /usr/local/share/man/man8", "Install the manual pages.")]),
];
