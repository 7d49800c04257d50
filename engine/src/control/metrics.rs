//! What the control plane shows on the page of metrics: decisions, store, feeds, cluster.

use std::fmt;

use prometheus_client::registry::Unit;

use crate::cluster::Progress;
use crate::control::decide::Control;
use crate::control::decision::{Kind, Origin};
use crate::control::figures::{Compared, Figures};
use crate::feed::{State, View};
use crate::metrics::{Measured, Page};

impl Measured for Control {
    fn measure(&self, page: &mut Page<'_>) -> fmt::Result {
        let Figures { decisions, held, graves, outbox, next, commits, size, refused_writes, compared } = self.figures();
        let by_kind_and_origin = Kind::ALL.into_iter().flat_map(|kind| Origin::ALL.map(|origin| (kind, origin)));
        let decisions = by_kind_and_origin.map(|(kind, origin)| {
            let count = decisions[kind as usize][origin as usize];
            ([("kind", kind.word()), ("origin", origin.word())], count as f64)
        });
        page.gauges(
            "vos_decisions",
            "Decisions in force, by what they say and through which door they came",
            None,
            decisions,
        )?;
        page.gauge(
            "vos_decisions_held_back",
            "Decisions of other nodes that this one's guard holds back",
            None,
            held as f64,
        )?;
        let (done, failed) = commits;
        page.counter("vos_store_commits", "Transactions that reached the disk", done)?;
        page.counter(
            "vos_store_commit_failures",
            "Transactions that did not reach the disk: nothing of them counts",
            failed,
        )?;
        page.gauge("vos_store_size", "The file of the store", Some(Unit::Bytes), size as f64)?;
        let help =
            "Writes to its maps of rules that the kernel refused: what is in force may differ from what is decided";
        page.counter("vos_projection_failures", help, refused_writes)?;
        let differences = compared.into_iter().flat_map(|Compared { in_kernel, on_disk, .. }| {
            [([("side", "kernel")], in_kernel as f64), ([("side", "disk")], on_disk as f64)]
        });
        let help = "What differed from the decisions when it was last compared, and was not repaired, by where";
        page.gauges("vos_verify_differences", help, None, differences)?;
        let when = compared.map(|compared| ([], compared.wall_ns as f64 / 1e9));
        let help = "When disk, decisions and the kernel's maps were last compared, unix time";
        page.gauges("vos_verify_time", help, Unit::Seconds, when)?;
        page.gauge(
            "vos_cluster_outbox_entries",
            "Entries that the cluster's log has not got yet",
            None,
            outbox as f64,
        )?;
        let help = "Decisions that are gone, remembered so that late entries of the log do not bring them back";
        page.gauge("vos_cluster_graves", help, None, graves as f64)?;
        let next = next.map(|next| ([], next as f64));
        page.gauges("vos_cluster_next_offset", "The offset after all that was read of the cluster's log", None, next)
    }
}

/// How far this node has come with its cluster's log; nothing where there is no cluster.
pub(crate) fn measure_cluster(progress: Option<Progress>, page: &mut Page<'_>) -> fmt::Result {
    let caught_up = progress.map(|progress| ([], f64::from(u8::from(progress.caught_up))));
    let help =
        "Is all that was in the cluster's log when this node came in force? 1: yes; 0 without a connection as well";
    page.gauges("vos_cluster_caught_up", help, None, caught_up)?;
    let behind = progress.and_then(|progress| progress.behind).map(|behind| ([], behind as f64));
    let help =
        "Messages of the cluster's log, up to the newest of which this node has heard, that it has not taken in yet";
    page.gauges("vos_cluster_behind_messages", help, None, behind)
}

/// The feeds, by name.
pub(crate) fn measure_feeds(feeds: &[View], page: &mut Page<'_>) -> fmt::Result {
    let up = feeds.iter().map(|feed| ([("feed", &*feed.name)], f64::from(u8::from(feed.state == State::Up))));
    page.gauges("vos_feed_up", "Is the feed there? 1: it is read", None, up)?;
    let read = feeds.iter().map(|feed| ([("feed", &*feed.name)], feed.read));
    page.counters("vos_feed_read", "Messages, lines or datagrams that were read", read)?;
    let outcomes = |feed: &View| {
        [("applied", feed.applied), ("already", feed.already), ("refused", feed.refused), ("bad", feed.bad)]
    };
    let wishes = feeds
        .iter()
        .flat_map(|feed| outcomes(feed).map(|(outcome, count)| ([("feed", &*feed.name), ("outcome", outcome)], count)));
    let help = "What feeds wished for, by what came of it: applied, already in force, refused by the guard, or bad";
    page.counters("vos_feed_wishes", help, wishes)
}
