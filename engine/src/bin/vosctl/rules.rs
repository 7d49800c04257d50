//! `vosctl block`, `allow`, `trust` and their ways back.

use clap::Args;
use ipnet::IpNet;
use vos_engine::control::address;
use vos_engine::control::client::Client;
use vos_engine::control::decision::Kind;
use vos_engine::control::terminal::printable;
use vos_engine::control::wire::{Made, NewRule, OldRule, Removed, Rule};

use crate::Cli;
use crate::answer::{Answers, Failure, bare, span};
use crate::session::ssh_connection;
use crate::time::{self, Ttl};

#[derive(Args, Debug)]
pub(crate) struct NewRules {
    /// Addresses or CIDRs of either family.
    #[arg(required = true, value_name = "ADDRESS", value_parser = address::parse)]
    nets: Vec<IpNet>,
    /// How long: 90s, 15m, 2h, 7d, forever; for good if left out.
    #[arg(long, value_name = "TIME", value_parser = time::ttl)]
    ttl: Option<Ttl>,
    /// Until when, in UTC: 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time::until, conflicts_with = "ttl")]
    until: Option<u64>,
    /// Why, for whoever reads the list later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Even if it blocks this host, its gateway, its resolvers or your own session, is wider than anybody means, or has to
    /// wait for a trust to go.
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct OldRules {
    /// Addresses or CIDRs, as `vosctl list` shows them.
    #[arg(required = true, value_name = "ADDRESS", value_parser = address::parse)]
    nets: Vec<IpNet>,
}

pub(crate) async fn make(client: &Client, cli: &Cli, kind: Kind, rules: &NewRules) -> Result<u8, Failure> {
    let ssh_connection = ssh_connection(cli, kind == Kind::Block);
    let mut answers = Answers::new(cli.json);
    for net in &rules.nets {
        let rule = NewRule {
            net: net.to_string(),
            kind,
            ttl_s: rules.ttl.and_then(Ttl::seconds),
            until: rules.until,
            reason: rules.reason.clone(),
            force: rules.force,
            ssh_connection: ssh_connection.clone(),
        };
        answers.take(client.decide(&rule).await, made_line)?;
    }
    answers.finish()
}

pub(crate) async fn take_back(client: &Client, cli: &Cli, kind: Kind, rules: &OldRules) -> Result<u8, Failure> {
    let mut answers = Answers::new(cli.json);
    for net in &rules.nets {
        answers.take(client.remove(&OldRule { net: net.to_string(), kind }).await, removed_line)?;
    }
    answers.finish()
}

fn made_line(Made { rule, replaced, now, set }: &Made) -> String {
    let Rule { net, kind, left_s, .. } = rule;
    let left = |left: Option<u64>| left.map_or_else(|| "for good".to_owned(), |left| format!("for {}", span(left)));
    let (is, net, term) = (kind.participle(), bare(net), left(*left_s));
    let still = now.as_ref().map(|now| still(rule.kind, now)).unwrap_or_default();
    let Some(set) = set else {
        return format!("{net} is {is} already, {term}: nothing was changed{still}");
    };
    let instead = match replaced {
        Some(Rule { left_s: None, .. }) => ", in place of the rule for good".to_owned(),
        Some(Rule { left_s: Some(left), .. }) => format!(", in place of the rule with {} left", span(*left)),
        None => String::new(),
    };
    format!("{is} {net} {term}{instead}{still}  (undo {set})")
}

/// What applies all the same, and how it is taken back; not so a trust over an allow, which lets pass as well.
fn still(made: Kind, now: &Rule) -> String {
    let Rule { net, kind, .. } = now;
    let told = format!("; still {} by a {kind} of {}", kind.participle(), printable(net));
    match (made, kind) {
        (Kind::Allow, Kind::Trust) => told,
        _ => format!("{told}: vosctl {} {}", kind.undo(), bare(net)),
    }
}

fn removed_line(Removed { removed, now, set }: &Removed) -> String {
    let Rule { net, kind, .. } = removed;
    let then = match now {
        Some(now) => format!("; it is {} by {} now", now.kind.participle(), bare(&now.net)),
        None => String::new(),
    };
    let undo = set.map(|set| format!("  (undo {set})")).unwrap_or_default();
    format!("no longer {}: {}{then}{undo}", kind.participle(), bare(net))
}

#[cfg(test)]
mod tests {
    use vos_engine::control::decision::Origin;

    use super::*;

    fn rule(net: &str, left_s: Option<u64>) -> Rule {
        Rule {
            net: net.into(),
            kind: Kind::Block,
            until: left_s.map(|left| left + 1_000),
            left_s,
            reason: String::new(),
            origin: Origin::Cli,
            who: "root".into(),
            node: String::new(),
            made: 1_000,
            held: None,
        }
    }

    #[test]
    fn each_change_tells_its_term_and_the_number_that_undoes_it() {
        let line = |left, replaced: Option<Rule>, set| {
            made_line(&Made { rule: rule("203.0.113.7/32", left), replaced, now: None, set })
        };
        assert_eq!(line(Some(3_600), None, Some(42)), "blocked 203.0.113.7 for 1h  (undo 42)");
        assert_eq!(
            line(None, Some(rule("203.0.113.7/32", Some(60))), Some(43)),
            "blocked 203.0.113.7 for good, in place of the rule with 1m left  (undo 43)"
        );
        let same = rule("203.0.113.7/32", None);
        assert_eq!(line(None, Some(same), None), "203.0.113.7 is blocked already, for good: nothing was changed");
    }

    #[test]
    fn what_outranks_a_change_is_told_with_the_way_to_take_it_back() {
        let line = |kind, now, net, set| {
            let made = Rule { kind, ..rule("203.0.113.7/32", None) };
            made_line(&Made { rule: made, replaced: None, now: Some(Rule { kind: now, ..rule(net, None) }), set })
        };
        assert_eq!(
            line(Kind::Allow, Kind::Block, "203.0.113.7/32", Some(7)),
            "allowed 203.0.113.7 for good; still blocked by a block of 203.0.113.7/32: vosctl unblock 203.0.113.7  (undo 7)"
        );
        assert_eq!(
            line(Kind::Block, Kind::Trust, "203.0.113.0/24", None),
            "203.0.113.7 is blocked already, for good: nothing was changed; \
             still trusted by a trust of 203.0.113.0/24: vosctl untrust 203.0.113.0/24"
        );
        assert_eq!(
            line(Kind::Allow, Kind::Trust, "203.0.113.0/24", Some(8)),
            "allowed 203.0.113.7 for good; still trusted by a trust of 203.0.113.0/24  (undo 8)"
        );
    }

    #[test]
    fn what_is_taken_back_tells_what_applies_now() {
        let wider = Rule { kind: Kind::Trust, ..rule("203.0.113.0/24", None) };
        let removed = Removed { removed: rule("203.0.113.7/32", None), now: Some(wider), set: Some(7) };
        assert_eq!(
            removed_line(&removed),
            "no longer blocked: 203.0.113.7; it is trusted by 203.0.113.0/24 now  (undo 7)"
        );
        let removed = Removed { now: None, set: None, ..removed };
        assert_eq!(removed_line(&removed), "no longer blocked: 203.0.113.7");
    }
}
