//! `vosctl list`: what is in force, and why.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use ipnet::IpNet;
use serde_json::json;
use vos_engine::control::address;
use vos_engine::control::client::Client;
use vos_engine::control::decision::{Kind, Origin};
use vos_engine::control::terminal::{printable, printable_json};
use vos_engine::control::wire::{Listing, Rule, Rules};

use crate::answer::{Failure, Table, bare, short_span};
use crate::{Cli, time};

#[derive(Args, Debug, Default)]
pub(crate) struct ListArgs {
    /// Only these: trust, block or allow.
    #[arg(value_name = "KIND", conflicts_with = "kind")]
    only: Option<Kind>,
    /// The same.
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Only what covers this address or CIDR, and which of it applies.
    #[arg(long, value_name = "ADDRESS", value_parser = address::parse)]
    covering: Option<IpNet>,
    /// Only what came through this door: cli, api, file, amqp, datagram, detector, config; cluster is what another node made.
    #[arg(long, value_parser = origin)]
    origin: Option<String>,
    /// Only what was made in the last 1h, 7d.
    #[arg(long, value_name = "TIME", value_parser = time::span)]
    newer: Option<Duration>,
    /// Only what was made longer ago than that.
    #[arg(long, value_name = "TIME", value_parser = time::span)]
    older: Option<Duration>,
    /// Only so many, the first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

fn origin(word: &str) -> Result<String, String> {
    match word == "cluster" || word.parse::<Origin>().is_ok() {
        true => Ok(word.to_owned()),
        false => Err("write cli, api, file, amqp, datagram, detector, config or cluster".to_owned()),
    }
}

impl ListArgs {
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.only.or(self.kind)
    }

    fn listing(&self, now: u64) -> Listing {
        Listing {
            kind: self.kind(),
            covering: self.covering.map(|net| net.to_string()),
            origin: self.origin.clone(),
            since: self.newer.map(|newer| now.saturating_sub(newer.as_secs())),
            before: self.older.map(|older| now.saturating_sub(older.as_secs())),
            ..Listing::default()
        }
    }
}

/// The unix second.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A list, a page at a time: as much memory for a million as for ten thousand.
pub(crate) struct Pages<'a> {
    client: &'a Client,
    listing: Listing,
    /// How many may come still.
    left: u64,
    ended: bool,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(client: &'a Client, listing: Listing, limit: Option<u64>) -> Self {
        Self { client, listing, left: limit.unwrap_or(u64::MAX), ended: false }
    }

    /// The next page, cut to what may come still.
    pub(crate) async fn next(&mut self) -> Result<Option<Rules>, Failure> {
        if self.ended || self.left == 0 {
            return Ok(None);
        }
        let mut page = self.client.list(&self.listing).await?;
        page.rules.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= page.rules.len() as u64;
        self.listing.after = page.next.take();
        self.ended = self.listing.after.is_none();
        Ok(Some(page))
    }

    /// Did the limit keep some from coming?
    fn is_cut(&self) -> bool {
        !self.ended
    }
}

pub(crate) async fn run(client: &Client, cli: &Cli, args: &ListArgs) -> Result<u8, Failure> {
    let now = now();
    let mut pages = Pages::new(client, args.listing(now), args.limit);
    if cli.json {
        return json(pages).await;
    }
    let mut lines = Lines { table: Table::new(), now, this_node: String::new() };
    let (mut shown, mut applies) = (0, None);
    while let Some(page) = pages.next().await? {
        let head = shown == 0 && !page.rules.is_empty();
        shown += page.rules.len();
        lines.this_node = page.this_node;
        applies = page.applies;
        io::stdout().lock().write_all(lines.of(&page.rules, head).as_bytes())?;
    }
    if let Some(net) = args.covering {
        writeln!(io::stdout(), "{}", applies_line(net, applies.as_ref()))?;
    } else if shown == 0 {
        writeln!(io::stdout(), "no rules")?;
    }
    if pages.is_cut() {
        eprintln!("vosctl: the first {shown}; there may be more");
    }
    Ok(0)
}

/// One object, written as it comes, a rule a line.
pub(crate) async fn json(mut pages: Pages<'_>) -> Result<u8, Failure> {
    let mut out = io::BufWriter::new(io::stdout());
    let (mut first, mut applies) = (true, None);
    write!(out, "{{\n  \"rules\": [")?;
    while let Some(page) = pages.next().await? {
        for rule in &page.rules {
            let rule = serde_json::to_string(rule).map_err(io::Error::from)?;
            write!(out, "{}\n    {}", if first { "" } else { "," }, printable_json(&rule))?;
            first = false;
        }
        applies = page.applies;
    }
    let applies = applies.map(|applies| format!(",\n  \"applies\": {}", json!(applies))).unwrap_or_default();
    writeln!(out, "{}]{}\n}}", if first { "" } else { "\n  " }, printable_json(&applies))?;
    Ok(out.flush().map(|()| 0)?)
}

fn applies_line(net: IpNet, applies: Option<&Rule>) -> String {
    let net = address::show(net);
    match applies {
        Some(rule) if bare(&rule.net) == net => format!("{net} is {}", rule.kind.participle()),
        Some(rule) => format!("{net} is {} by {}", rule.kind.participle(), bare(&rule.net)),
        None => format!("no rule applies to {net}"),
    }
}

struct Lines {
    table: Table<7>,
    now: u64,
    this_node: String,
}

impl Lines {
    fn of(&mut self, rules: &[Rule], head: bool) -> String {
        let head = head.then(|| ["ADDRESS", "RULE", "LEFT", "MADE", "ORIGIN", "WHO", "REASON"].map(str::to_owned));
        let rows: Vec<_> = head.into_iter().chain(rules.iter().map(|rule| self.row(rule))).collect();
        self.table.lines(&rows)
    }

    fn row(&self, rule: &Rule) -> [String; 7] {
        let Rule { net, kind, left_s, made, node, .. } = rule;
        let left = left_s.map_or_else(|| "for good".to_owned(), short_span);
        let ago = format!("{} ago", short_span(self.now.saturating_sub(*made)));
        let origin = match *node == self.this_node || node.is_empty() {
            true => rule.origin.to_string(),
            false => format!("{}@{}", rule.origin, printable(node)),
        };
        let held = rule.held.as_ref().map(|why| format!("NOT IN FORCE HERE: {why}"));
        let why: Vec<&str> =
            held.iter().chain(Some(&rule.reason).filter(|text| !text.is_empty())).map(String::as_str).collect();
        let [who, why] = [&rule.who, &why.join("; ")].map(|text| printable(text).into_owned());
        [bare(net), kind.word().to_owned(), left, ago, origin, who, why]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(net: &str) -> Rule {
        Rule {
            net: net.into(),
            kind: Kind::Block,
            until: None,
            left_s: None,
            reason: String::new(),
            origin: Origin::Cli,
            who: "root".into(),
            node: String::new(),
            made: 1_000,
            held: None,
        }
    }

    #[test]
    fn a_rule_is_a_row_that_no_terminal_obeys() {
        let mut lines = Lines { table: Table::new(), now: 4_660, this_node: "a".into() };
        let far = Rule {
            node: "b".into(),
            origin: Origin::Amqp,
            who: "queue\u{1b}[2J".into(),
            reason: "scans".into(),
            held: Some("an address of this host".into()),
            left_s: Some(90_061),
            ..rule("2001:db8::/32")
        };
        let near = Rule { node: "a".into(), ..rule("203.0.113.7/32") };
        assert_eq!(
            lines.of(&[near, far], true),
            "ADDRESS        RULE   LEFT      MADE       ORIGIN  WHO             REASON\n\
             203.0.113.7    block  for good  1h 1m ago  cli     root\n\
             2001:db8::/32  block  1day 1h   1h 1m ago  amqp@b  queue\\u{1b}[2J  NOT IN FORCE HERE: an address of this host; scans\n"
        );
        assert_eq!(lines.of(&[rule("10.0.0.1/32")], false).lines().count(), 1);
    }

    #[test]
    fn what_applies_is_said() {
        let net = |text: &str| address::parse(text).expect(text);
        let wider = rule("203.0.113.0/24");
        assert_eq!(applies_line(net("203.0.113.7"), Some(&wider)), "203.0.113.7 is blocked by 203.0.113.0/24");
        assert_eq!(applies_line(net("203.0.113.0/24"), Some(&wider)), "203.0.113.0/24 is blocked");
        assert_eq!(applies_line(net("203.0.113.7"), None), "no rule applies to 203.0.113.7");
    }

    #[test]
    fn ages_are_unix_seconds_to_the_engine() {
        let hour = Some(Duration::from_secs(3_600));
        let args = ListArgs { newer: hour, ..ListArgs::default() };
        assert_eq!(args.listing(10_000), Listing { since: Some(6_400), ..Listing::default() });
        let args = ListArgs { older: hour, only: Some(Kind::Trust), ..ListArgs::default() };
        assert_eq!(
            args.listing(10_000),
            Listing { before: Some(6_400), kind: Some(Kind::Trust), ..Listing::default() }
        );
    }
}
