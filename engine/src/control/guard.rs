//! What nobody may do by mistake: lock themselves out, or everybody.

use ipnet::IpNet;

use crate::control::ask::{Ask, By, MAX_REASON, Refusal};
use crate::control::decision::Kind;
use crate::control::rules::RuleBook;

/// The shortest prefixes that are taken without insisting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widest {
    /// Of IPv4, for operators.
    pub v4: u8,
    /// Of IPv6, for operators and feeds.
    pub v6: u8,
    /// Of IPv4, for feeds, which cannot insist.
    pub feed_v4: u8,
}

impl Default for Widest {
    fn default() -> Self {
        Self { v4: 8, v6: 32, feed_v4: 19 }
    }
}

/// Whom no block may hit, and what else wants to be meant.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// This host's addresses, its gateway, its resolvers.
    pub(crate) listed: Vec<(IpNet, String)>,
    pub(crate) widest: Widest,
}

impl Guard {
    /// May `by` have this at `now`, ns of `CLOCK_MONOTONIC`?
    pub(crate) fn check(&self, ask: &Ask, by: &By, book: &RuleBook, now: u64) -> Result<(), Refusal> {
        let (net, kind) = ask.key();
        if !by.origin.may_admit() && kind != Kind::Block {
            return Err(Refusal::NotForFeeds { net, kind });
        }
        let Ask::Put { reason, .. } = ask else { return Ok(()) };
        if reason.len() > MAX_REASON {
            return Err(Refusal::Reason { length: reason.len() });
        }
        if by.insists() {
            return Ok(());
        }
        self.check_width(net, by)?;
        if kind == Kind::Block {
            let operator = by.operator.map(|address| (IpNet::from(address), "where your own session comes from"));
            if let Some((guarded, why)) = operator.filter(|(own, _)| touch(net, *own)).or_else(|| self.hits(net)) {
                return Err(Refusal::Guarded { net, guarded, why: why.to_owned() });
            }
            match book.covering(&net, now) {
                // looks like a success and does nothing; one around a trust does something beside it
                Some(applies) if applies.kind == Kind::Trust => return Err(Refusal::Trusted { net, by: applies.net }),
                Some(applies) if applies.kind == Kind::Allow => return Err(Refusal::Allowed { net, by: applies.net }),
                _ => {}
            }
        }
        Ok(())
    }

    /// The guarded address that a block of `net` would hit, and what it is.
    pub(crate) fn hits(&self, net: IpNet) -> Option<(IpNet, &str)> {
        let hit = self.listed.iter().find(|(guarded, _)| touch(net, *guarded));
        hit.map(|(guarded, why)| (*guarded, why.as_str()))
    }

    fn check_width(&self, net: IpNet, by: &By) -> Result<(), Refusal> {
        let (widest, key) = match (net, by.origin.may_admit()) {
            (IpNet::V4(_), true) => (self.widest.v4, "control.widest_v4"),
            (IpNet::V4(_), false) => (self.widest.feed_v4.max(self.widest.v4), "control.widest_feed_v4"),
            (IpNet::V6(_), _) => (self.widest.v6, "control.widest_v6"),
        };
        if net.prefix_len() < widest { Err(Refusal::TooWide { net, widest, key }) } else { Ok(()) }
    }
}

fn touch(net: IpNet, guarded: IpNet) -> bool {
    net.contains(&guarded) || guarded.contains(&net)
}
