//! nftables by its JSON (`libnftables-json(5)`), iptables by its save format (`iptables-save(8)`): as far as SIP is
//! concerned. A rule that is not understood is kept with what is understood of it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::output;

/// Most bytes taken of a program's answer: 100,000 rules have some 30 MiB as JSON.
const ANSWER_MAX: u64 = 64 << 20;
/// Longest rule shown, characters.
const SHOWN_MAX: usize = 160;

/// Where in the kernel's path a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// Before anything is known of a packet: ingress, prerouting.
    Before,
    /// On the way to this host's sockets.
    Input,
    /// What this host sends comes by first of all.
    Output,
    /// Elsewhere: what is for this host and arrives does not come by.
    Elsewhere,
    /// In no hook; other chains may jump there.
    Called,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Notrack,
    /// Gives it another destination.
    Redirect,
    Other,
}

/// A chain that drops what none of its rules accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    /// `inet filter input`
    pub(super) place: String,
    pub(super) hook: Hook,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// `inet filter input`
    pub(super) place: String,
    pub(super) hook: Hook,
    /// The rule itself, shortened.
    pub(super) text: String,
    /// UDP destination ports that it names; empty: none.
    pub(super) ports: Vec<(u16, u16)>,
    /// UDP source ports that it names.
    pub(super) from: Vec<(u16, u16)>,
    /// Does it look at more than protocol and ports?
    pub(super) narrow: bool,
    /// The chains that it jumps to: `inet filter sip`.
    pub(super) calls: Vec<String>,
    /// Does it name another protocol than UDP, or negate?
    pub(super) other: bool,
    pub(super) verdict: Verdict,
    /// Does it count or limit?
    pub(super) limits: bool,
    /// Does it want connections tracked?
    pub(super) tracks: bool,
    /// Does it translate addresses, or stand in a chain that does?
    pub(super) translates: bool,
}

impl Rule {
    /// Does it name this UDP port?
    pub(super) fn names(&self, port: u16) -> bool {
        !self.other && self.ports.iter().any(|(from, to)| (*from..=*to).contains(&port))
    }

    /// Does it name this UDP port as one that packets come from?
    pub(super) fn names_source(&self, port: u16) -> bool {
        !self.other && self.from.iter().any(|(from, to)| (*from..=*to).contains(&port))
    }

    /// Is it about UDP to whatever port?
    pub(super) const fn names_none(&self) -> bool {
        !self.other && self.ports.is_empty()
    }
}

/// All rules of this network namespace, as far as they could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Has nft answered, or the one program that knows iptables' own tables?
    pub(super) told: bool,
    pub(super) closed: Vec<Closed>,
    pub(super) rules: Vec<Rule>,
}

pub(super) fn gather() -> Rules {
    let mut rules = Rules::default();
    let (mut by_nft, mut read) = (false, HashSet::new());
    for (program, family) in [
        ("iptables-save", "ip"),
        ("ip6tables-save", "ip6"),
        ("iptables-legacy-save", "ip"),
        ("ip6tables-legacy-save", "ip6"),
    ] {
        let Some(text) = output(program, &[], ANSWER_MAX) else { continue };
        let on_nft = text.contains("(nf_tables)");
        by_nft |= on_nft;
        let legacy = program.contains("legacy");
        rules.told |= legacy || !by_nft;
        let already = legacy && !by_nft && rules.rules.iter().any(|rule| rule.place.starts_with(&format!("{family} ")));
        if !already {
            let begin = rules.rules.len();
            rules.read_iptables(&text, family);
            if on_nft {
                read.extend(rules.rules[begin..].iter().map(|rule| rule.place.clone()));
            }
        }
    }
    if let Some(json) = output("nft", &["-j", "list", "ruleset"], ANSWER_MAX)
        && let Ok(json) = serde_json::from_str(&json)
    {
        rules.told = true;
        rules.read_nft(&json, &read);
    }
    rules
}

impl Rules {
    /// Those of these UDP ports that a chain, with the chains that it calls, accepts by no rule that names them.
    pub(super) fn not_accepted(&self, place: &str, ports: &[u16]) -> Vec<u16> {
        let mut chains: HashMap<&str, Vec<&Rule>> = HashMap::new();
        self.rules.iter().for_each(|rule| chains.entry(&rule.place).or_default().push(rule));
        let accepts = |port: u16| {
            let (mut seen, mut left) = (HashSet::new(), vec![(place, false)]);
            while let Some((place, named)) = left.pop() {
                if !seen.insert((place, named)) {
                    continue;
                }
                let fits = |rule: &&&Rule| rule.names(port) || rule.names_none();
                for rule in chains.get(place).into_iter().flatten().filter(fits) {
                    let named = named || rule.names(port);
                    if named && rule.verdict == Verdict::Accept {
                        return true;
                    }
                    left.extend(rule.calls.iter().map(|chain| (chain.as_str(), named)));
                }
            }
            false
        };
        ports.iter().copied().filter(|port| !accepts(*port)).collect()
    }

    /// Reads what `nft -j list ruleset` prints, but for chains such as `ip filter INPUT` whose rules have been read already.
    /// In the tables of iptables that is not all: chains of nft's own there are not printed by `iptables-save`.
    fn read_nft(&mut self, json: &Value, but: &HashSet<String>) {
        let objects = json["nftables"].as_array().map_or(&[][..], Vec::as_slice);
        let word = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let place = |object: &Value, chain: &str| {
            format!("{} {} {}", word(object, "family"), word(object, "table"), word(object, chain))
        };
        let mut hooks = HashMap::new();
        let mut sets = HashMap::new();
        let mut translating = HashSet::new();
        for object in objects {
            if let Some(chain) = object.get("chain") {
                let hook = match word(chain, "hook").as_str() {
                    "input" => Hook::Input,
                    "output" => Hook::Output,
                    "prerouting" | "ingress" => Hook::Before,
                    "" => Hook::Called,
                    _ => Hook::Elsewhere,
                };
                let place = place(chain, "name");
                if word(chain, "policy") == "drop" {
                    self.close(Closed { place: place.clone(), hook });
                }
                if word(chain, "type") == "nat" {
                    translating.insert(place.clone());
                }
                hooks.insert(place, hook);
            } else if let Some(set) = object.get("set") {
                sets.insert(place(set, "name"), ports(&set["elem"]));
            }
        }
        let rules = objects.iter().filter_map(|object| object.get("rule"));
        for rule in rules.filter(|rule| !but.contains(&place(rule, "chain"))) {
            let place = place(rule, "chain");
            let table = format!("{} {}", word(rule, "family"), word(rule, "table"));
            let hook = hooks.get(&place).copied().unwrap_or(Hook::Called);
            let translates = translating.contains(&place);
            let mut read = Rule { hook, translates, ..Rule::empty(place) };
            for expression in rule["expr"].as_array().map_or(&[][..], Vec::as_slice) {
                read.read_expression(expression, &table, &sets);
            }
            read.text = read.text.trim().chars().take(SHOWN_MAX).collect();
            self.rules.push(read);
        }
    }

    /// Two programs may tell of the same chain.
    fn close(&mut self, chain: Closed) {
        if !self.closed.contains(&chain) {
            self.closed.push(chain);
        }
    }

    /// Reads what `iptables-save` prints.
    pub(super) fn read_iptables(&mut self, text: &str, family: &str) {
        let mut table = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = name.trim();
            } else if let Some(chain) = line.strip_prefix(':') {
                let mut words = chain.split_whitespace();
                if let (Some(name), Some("DROP")) = (words.next(), words.next()) {
                    self.close(Closed { place: format!("{family} {table} {name}"), hook: builtin(name) });
                }
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let (chain, rest) = rule.split_once(' ').unwrap_or((rule, ""));
                let mut read = Rule { hook: builtin(chain), ..Rule::empty(format!("{family} {table} {chain}")) };
                (read.tracks, read.translates) = (table == "nat", table == "nat");
                read.read_words(rest);
                self.rules.push(read);
            }
        }
    }
}

fn builtin(chain: &str) -> Hook {
    match chain {
        "INPUT" => Hook::Input,
        "PREROUTING" => Hook::Before,
        "OUTPUT" => Hook::Output,
        "FORWARD" | "POSTROUTING" => Hook::Elsewhere,
        _ => Hook::Called,
    }
}

/// A port by its number or its name in `/etc/services`.
fn port(word: &str) -> Option<u16> {
    match word {
        "sip" => Some(5060),
        "sip-tls" => Some(5061),
        number => number.parse().ok(),
    }
}

/// The ports of `5060`, `{"range": [5060, 5070]}`, `{"set": […]}` and lists of these.
fn ports(value: &Value) -> Vec<(u16, u16)> {
    let one = |value: &Value| match value {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(word) => port(word),
        _ => None,
    };
    if let Some(port) = one(value) {
        return vec![(port, port)];
    }
    if let Some([from, to]) = value["range"].as_array().map(Vec::as_slice) {
        return one(from).zip(one(to)).into_iter().collect();
    }
    let list = value.as_array().or_else(|| value["set"].as_array());
    // an element with a timeout or a comment is an object of its own; sets lie two deep at most
    let element = |element: &Value| match element.get("elem") {
        Some(inner) => plain(&inner["val"]),
        None => plain(element),
    };
    fn plain(value: &Value) -> Vec<(u16, u16)> {
        if value.is_array() || value.get("set").is_some() { Vec::new() } else { ports(value) }
    }
    list.map_or_else(Vec::new, |list| list.iter().flat_map(element).collect())
}

impl Rule {
    const fn empty(place: String) -> Self {
        Self {
            place,
            hook: Hook::Called,
            text: String::new(),
            ports: Vec::new(),
            from: Vec::new(),
            narrow: false,
            calls: Vec::new(),
            other: false,
            verdict: Verdict::Other,
            limits: false,
            tracks: false,
            translates: false,
        }
    }

    /// One expression of nftables.
    fn read_expression(&mut self, expression: &Value, table: &str, sets: &HashMap<String, Vec<(u16, u16)>>) {
        let Some((name, body)) = expression.as_object().and_then(|object| object.iter().next()) else {
            // `notrack` and some others are words
            if let Some(word) = expression.as_str() {
                self.note(word);
                if word == "notrack" {
                    self.verdict = Verdict::Notrack;
                }
            }
            return;
        };
        match name.as_str() {
            "match" => self.read_match(body, table, sets),
            "accept" => (self.verdict, ()) = (Verdict::Accept, self.note(name)),
            "drop" | "reject" => (self.verdict, ()) = (Verdict::Drop, self.note(name)),
            "notrack" => (self.verdict, ()) = (Verdict::Notrack, self.note(name)),
            "jump" | "goto" => {
                let chain = body["target"].as_str().unwrap_or_default();
                self.note(&format!("{name} {chain}"));
                self.call(chain);
            }
            "limit" if body["rate"].is_number() => {
                self.limits = true;
                let over = if body["inv"].as_bool() == Some(true) { "over " } else { "" };
                self.note(&format!("limit rate {over}{}/{}", body["rate"], body["per"].as_str().unwrap_or_default()));
            }
            "limit" | "meter" | "quota" | "ct count" | "set" => {
                self.limits = true;
                self.note(name);
                self.tracks |= name == "ct count";
                // `add @meter { ip saddr limit rate over 5/second } drop`
                let statements = body["stmt"].as_array().map_or(&[][..], Vec::as_slice);
                self.limits &= name != "set" || !statements.is_empty();
            }
            "snat" | "dnat" | "masquerade" | "redirect" => {
                (self.tracks, self.translates) = (true, true);
                self.note(name);
                if matches!(name.as_str(), "dnat" | "redirect") {
                    self.verdict = Verdict::Redirect;
                }
            }
            "vmap" => {
                self.note(name);
                self.tracks |= !body["key"]["ct"].is_null();
                self.read_vmap(body);
            }
            // what iptables wrote and nft has no words for: the name of a match or a target of its own
            "xt" => {
                let name = body["name"].as_str().unwrap_or_default();
                self.note(name);
                if body["type"].as_str() == Some("target") { self.read_target(name) } else { self.read_module(name) }
            }
            "counter" | "comment" | "log" => {}
            name => {
                self.note(name);
                self.tracks |= name.starts_with("ct");
            }
        }
    }

    fn read_match(&mut self, body: &Value, table: &str, sets: &HashMap<String, Vec<(u16, u16)>>) {
        let (left, right) = (&body["left"], &body["right"]);
        self.tracks |= !left["ct"].is_null();
        let payload = &left["payload"];
        let (protocol, field) = (payload["protocol"].as_str().unwrap_or_default(), payload["field"].as_str());
        let negated = body["op"].as_str() == Some("!=");
        let by_port = matches!(protocol, "udp" | "th") && matches!(field, Some("dport" | "sport"));
        if by_port {
            let ports = match right.as_str().and_then(|name| name.strip_prefix('@')) {
                Some(name) => sets.get(&format!("{table} {name}")).cloned().unwrap_or_default(),
                None => ports(right),
            };
            *(if field == Some("sport") { &mut self.from } else { &mut self.ports }) = ports;
            self.other |= negated;
        }
        self.other |= matches!(protocol, "tcp" | "sctp" | "icmp" | "icmpv6");
        let is_protocol = left["meta"]["key"].as_str() == Some("l4proto")
            || matches!((protocol, field), ("ip", Some("protocol")) | ("ip6", Some("nexthdr")));
        if is_protocol && let Some(word) = right.as_str() {
            self.other |= (word == "udp") == negated;
        }
        self.narrow |= !by_port && !is_protocol;
        let left = match (left["payload"].is_object(), left.as_object().and_then(|left| left.iter().next())) {
            (true, _) => format!("{protocol} {}", field.unwrap_or_default()),
            (false, Some((what, key))) => format!("{what} {}", key["key"].as_str().unwrap_or_default()),
            (false, None) => left.to_string(),
        };
        let right = right.as_str().map_or_else(|| right.to_string(), str::to_owned);
        self.note(&format!("{left} {}{right}", if negated { "!= " } else { "" }));
    }

    /// `udp dport vmap { 5060 : drop }`, `iifname vmap { eth0 : jump outside }`. Of ports those that it drops; where it drops
    /// none, those that it accepts or has a chain for.
    fn read_vmap(&mut self, body: &Value) {
        let key = &body["key"]["payload"];
        let by_port = matches!(key["protocol"].as_str(), Some("udp" | "th")) && key["field"].as_str() == Some("dport");
        let entries = body["data"]["set"].as_array().map_or(&[][..], Vec::as_slice);
        let entries = entries.iter().filter_map(|entry| match entry.as_array().map(Vec::as_slice) {
            Some([key, verdict]) => Some((key, verdict)),
            _ => None,
        });
        let is_drop = |verdict: &Value| verdict.get("drop").is_some() || verdict.get("reject").is_some();
        let drops = by_port && entries.clone().any(|(_, verdict)| is_drop(verdict));
        for (key, verdict) in entries {
            let chain = ["jump", "goto"].iter().find_map(|word| verdict[word]["target"].as_str());
            chain.into_iter().for_each(|chain| self.call(chain));
            let accepts = verdict.get("accept").is_some();
            if by_port && (if drops { is_drop(verdict) } else { accepts || chain.is_some() }) {
                self.ports.extend(ports(key));
                self.verdict = match (drops, accepts) {
                    (true, _) => Verdict::Drop,
                    (false, true) => Verdict::Accept,
                    (false, false) => self.verdict,
                };
            }
        }
    }

    /// It jumps to a chain of its table.
    fn call(&mut self, chain: &str) {
        let table = self.place.rsplit_once(' ').map_or("", |(table, _)| table);
        self.calls.push(format!("{table} {chain}"));
    }

    fn note(&mut self, words: &str) {
        if self.text.len() < 4 * SHOWN_MAX {
            self.text.push(' ');
            self.text.push_str(words);
        }
    }

    /// A rule of iptables, behind the name of its chain.
    fn read_words(&mut self, rest: &str) {
        self.text = rest.chars().take(SHOWN_MAX).collect();
        let mut words = rest.split_whitespace().peekable();
        let mut negated = false;
        while let Some(word) = words.next() {
            let value = words.peek().copied().unwrap_or_default();
            match word {
                "-p" => self.other |= (matches!(value, "udp" | "17")) == negated,
                "--dport" | "--dports" | "--sport" | "--sports" | "--ports" => {
                    self.other |= negated;
                    let ports = value.split(',').filter_map(|range| {
                        let (from, to) = range.split_once(':').unwrap_or((range, range));
                        port(from).zip(port(to))
                    });
                    (if word.starts_with("--s") { &mut self.from } else { &mut self.ports }).extend(ports);
                }
                "-s" | "-d" | "-i" | "-o" | "-f" => self.narrow = true,
                "-m" => self.read_module(value),
                "-j" | "-g" => self.read_target(value),
                "--notrack" => self.verdict = Verdict::Notrack,
                _ => {}
            }
            negated = word == "!";
        }
    }

    /// A match of iptables.
    fn read_module(&mut self, name: &str) {
        self.limits |= matches!(name, "limit" | "hashlimit" | "recent" | "connlimit" | "quota");
        self.tracks |= matches!(name, "conntrack" | "state" | "connlimit" | "connmark" | "helper");
        self.narrow |= !matches!(name, "udp" | "multiport" | "comment");
    }

    /// A target of iptables.
    fn read_target(&mut self, name: &str) {
        match name {
            "DROP" | "REJECT" | "TARPIT" => self.verdict = Verdict::Drop,
            "ACCEPT" => self.verdict = Verdict::Accept,
            "NOTRACK" => self.verdict = Verdict::Notrack,
            "DNAT" | "REDIRECT" => (self.verdict, self.tracks, self.translates) = (Verdict::Redirect, true, true),
            "SNAT" | "MASQUERADE" | "NETMAP" => (self.tracks, self.translates) = (true, true),
            "CONNMARK" => self.tracks = true,
            // a chain, or a target that does something else
            chain => self.call(chain),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
