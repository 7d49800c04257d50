//! Every guard rail, with and without insisting; and what is so already.

use super::*;
use crate::control::guard::Widest;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Who {
    Operator,
    Insisting,
    Feed,
    /// A feed that says `force`: nobody stands behind it who could mean it.
    InsistingFeed,
}

const EVERYBODY: [Who; 4] = [Who::Operator, Who::Insisting, Who::Feed, Who::InsistingFeed];

impl Who {
    fn by(self) -> By {
        let operator = Some("198.51.100.7".parse().expect("an address"));
        let feed = By::feed(Origin::Amqp, "vos.block");
        match self {
            Self::Operator => By { operator, ..root() },
            Self::Insisting => By { operator, ..insisting() },
            Self::Feed => feed,
            Self::InsistingFeed => By { force: true, ..feed },
        }
    }
}

fn word(result: &Result<Done, Refusal>) -> &'static str {
    match result {
        Ok(Done::Made { .. }) => "made",
        Ok(Done::Already(_)) => "already",
        Ok(Done::Removed { .. }) => "removed",
        Err(Refusal::Guarded { .. }) => "guarded",
        Err(Refusal::Trusted { .. }) => "trusted",
        Err(Refusal::Allowed { .. }) => "allowed",
        Err(Refusal::TooWide { .. }) => "too wide",
        Err(Refusal::NotForFeeds { .. }) => "not for feeds",
        Err(Refusal::NoSuchRule { .. }) => "no such rule",
        Err(other) => panic!("{other}"),
    }
}

/// A control plane with somebody to guard, to trust and to allow.
fn guarded(bench: &Bench) -> Control {
    let control = bench.open();
    control.set_guarded(vec![
        (net("192.0.2.1"), "an address of this host".to_owned()),
        (net("192.0.2.254"), "the default gateway".to_owned()),
        (net("192.0.2.53"), "a resolver of this host".to_owned()),
        (net("2001:db8::1"), "an address of this host".to_owned()),
    ]);
    control.set_widest(Widest { v4: 8, v6: 32, feed_v4: 19 });
    done(&control, vec![put("203.0.113.0/28", Kind::Trust), put("203.0.113.16/28", Kind::Allow)]);
    control
}

#[test]
fn each_rail_holds_for_each_who_asks_and_gives_way_to_an_operator_who_insists() {
    // what is blocked, and what comes of it for an operator, one who insists, and a feed
    let rails = [
        ("192.0.2.1", "guarded", "made", "guarded"),
        ("192.0.2.254", "guarded", "made", "guarded"),
        ("192.0.2.53", "guarded", "made", "guarded"),
        ("192.0.2.0/25", "guarded", "made", "guarded"),
        ("2001:db8::1", "guarded", "made", "guarded"),
        ("2001:db8::/64", "guarded", "made", "guarded"),
        ("192.0.2.2", "made", "made", "made"),
        // where the operator's session comes from: of no concern to a feed, which has none
        ("198.51.100.7", "guarded", "made", "made"),
        ("198.51.100.0/29", "guarded", "made", "made"),
        ("203.0.113.1", "trusted", "made", "trusted"),
        ("203.0.113.0/28", "trusted", "made", "trusted"),
        ("203.0.113.17", "allowed", "made", "allowed"),
        ("203.0.113.16/28", "allowed", "made", "allowed"),
        // around a trust and an allow it does something beside them
        ("203.0.113.0/24", "made", "made", "made"),
        ("11.0.0.0/8", "made", "made", "too wide"),
        ("12.0.0.0/7", "too wide", "made", "too wide"),
        ("14.0.0.0/18", "made", "made", "too wide"),
        ("14.0.32.0/19", "made", "made", "made"),
        ("2001:db9::/32", "made", "made", "made"),
        ("2a00::/31", "too wide", "made", "too wide"),
    ];
    for (source, operator, insists, feed) in rails {
        for (who, expected) in EVERYBODY.into_iter().zip([operator, insists, feed, feed]) {
            let bench = Bench::new();
            let control = guarded(&bench);
            let result = control.ask(&who.by(), block(source));
            assert_eq!(word(&result), expected, "{who:?} blocks {source}");
            let there = listed(&control).iter().any(|decision| decision.key() == (net(source), Kind::Block));
            assert_eq!(there, result.is_ok(), "{who:?} {source}: what is refused is not there");
        }
    }
}

#[test]
fn feeds_neither_allow_nor_trust_and_operators_may_but_not_everybody() {
    for kind in [Kind::Allow, Kind::Trust] {
        for (who, one, all) in [
            (Who::Operator, "made", "too wide"),
            (Who::Insisting, "made", "made"),
            (Who::Feed, "not for feeds", "not for feeds"),
            (Who::InsistingFeed, "not for feeds", "not for feeds"),
        ] {
            let bench = Bench::new();
            let control = guarded(&bench);
            assert_eq!(word(&control.ask(&who.by(), put("192.0.2.1", kind))), one, "{who:?} {kind}");
            assert_eq!(word(&control.ask(&who.by(), put("0.0.0.0/0", kind))), all, "{who:?} {kind}");
            let back = Ask::Remove { net: net("203.0.113.0/28"), kind: Kind::Trust };
            let taken_back = word(&control.ask(&who.by(), back));
            assert_eq!(taken_back == "removed", [Who::Operator, Who::Insisting].contains(&who), "{who:?}");
        }
    }
}

#[test]
fn whoever_refuses_says_how_to_insist_or_what_to_do() {
    let bench = Bench::new();
    let control = guarded(&bench);
    let said = |who: Who, ask| control.ask(&who.by(), ask).expect_err("refused").to_string();
    assert_eq!(
        said(Who::Operator, block("198.51.100.0/24")),
        "blocking 198.51.100.0/24 would block 198.51.100.7, where your own session comes from: name a smaller prefix, or insist with --force"
    );
    assert_eq!(
        said(Who::Feed, block("14.0.0.0/9")),
        "14.0.0.0/9 is wider than /19: name smaller prefixes, or insist with --force (control.widest_feed_v4 in vos.toml is the limit)"
    );
    assert_eq!(
        said(Who::Operator, block("203.0.113.17")),
        "203.0.113.17 is allowed by 203.0.113.16/28: `vosctl unallow 203.0.113.16/28` first, or insist with --force on a block that outranks it"
    );
    assert_eq!(
        said(Who::Feed, put("198.51.100.9", Kind::Trust)),
        "a feed may block and unblock, not trust: use vosctl for 198.51.100.9"
    );
}

#[test]
fn an_operator_has_it_as_asked_and_a_feed_never_shortens() {
    let ends = [End::Never, End::After(60), End::After(3_600)];
    let reasons = ["", "why"];
    for (first, then) in ends.iter().flat_map(|first| ends.map(|then| (*first, then))) {
        for reason in reasons {
            let ask = |end, reason: &str| Ask::block(net("10.0.0.1"), end, reason);
            let seconds = |end| match end {
                End::After(seconds) => seconds,
                _ => u64::MAX,
            };
            for who in [Who::Operator, Who::Feed] {
                let bench = Bench::new();
                let control = bench.open();
                control.ask(&root(), ask(first, "")).expect("room");
                let result = control.ask(&who.by(), ask(then, reason));
                let settled = match who {
                    Who::Operator => first == then && reason.is_empty(),
                    _ => seconds(first) >= seconds(then),
                };
                assert_eq!(word(&result), if settled { "already" } else { "made" }, "{who:?} {first:?} {then:?}");
                let lasts = if settled { first } else { then };
                let until = listed(&control)[0].until;
                assert_eq!(until, Some(seconds(lasts)).filter(|s| *s < u64::MAX).map(|s| bench.now() + s));
            }
        }
    }
}

#[test]
fn a_feed_takes_blocks_back_and_may_again_what_has_ended() {
    let bench = Bench::new();
    let control = bench.open();
    let feed = Who::Feed.by();
    control.ask(&feed, Ask::block(net("10.0.0.1"), End::After(10), "")).expect("room");
    assert_eq!(word(&control.ask(&feed, unblock("10.0.0.1"))), "removed");
    assert_eq!(word(&control.ask(&feed, unblock("10.0.0.1"))), "no such rule");
    control.ask(&feed, Ask::block(net("10.0.0.1"), End::After(10), "")).expect("room");
    bench.wait(10);
    assert_eq!(word(&control.ask(&feed, Ask::block(net("10.0.0.1"), End::After(5), ""))), "made", "it has ended");
}
