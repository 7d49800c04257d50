//! Budgets of gateways: trusted sources with limits of their own (issue 7). As in `rates`, limits are small bursts and
//! time stands still.

use std::format;

use super::rates::{Row, limit, of, times};
use super::{
    ALLOWED_V4, CALLER_V4, GATEWAY_LARGE_V4, GATEWAY_LARGE_V6, GATEWAY_V4, GATEWAY_V6, Packet, SURVIVES,
    TRUSTED_IN_BLOCK, TRUSTED_V4, Table, VERIFIED_V4, dropped, passed, request,
};
use crate::reason::Reason;
use crate::state::{BUDGETS, Config};

pub(super) fn add(t: &mut Table) {
    t.under(in_force, |t| {
        kinds(t);
        apart(t);
        others(t);
    });
    not_in_force(t);
    monitored(t);
}

const fn in_force(config: &mut Config, _: u64) {
    config.flags |= BUDGETS;
}

fn kinds(t: &mut Table) {
    use Reason::{RateInvite, RateOptions, RateRegister, RateSource};
    let why =
        "issue 7: a gateway's CIDRs are trusted, with an XDP budget derived from its CPS; the longest prefix holds";
    let small = Packet::v4(GATEWAY_V4);
    let rows: [Row; 4] = [
        (
            "a gateway's /24",
            small.clone(),
            [
                ("REGISTER", 2, RateRegister),
                ("INVITE", 4, RateInvite),
                ("OPTIONS", 3, RateOptions),
                ("BYE", 9, RateSource),
            ],
        ),
        (
            "a /26 in a gateway's /24",
            Packet::v4(GATEWAY_LARGE_V4),
            // no limit of its own for REGISTER: that for all holds
            [
                ("REGISTER", 50, RateSource),
                ("INVITE", 30, RateInvite),
                ("OPTIONS", 25, RateOptions),
                ("BYE", 50, RateSource),
            ],
        ),
        (
            "a gateway's /48",
            Packet::v6(GATEWAY_V6),
            [
                ("REGISTER", 3, RateRegister),
                ("INVITE", 5, RateInvite),
                ("OPTIONS", 2, RateOptions),
                ("BYE", 7, RateSource),
            ],
        ),
        (
            "a /64 in a gateway's /48",
            Packet::v6(GATEWAY_LARGE_V6),
            [
                ("REGISTER", 45, RateRegister),
                ("INVITE", 35, RateInvite),
                ("OPTIONS", 60, RateSource),
                ("BYE", 60, RateSource),
            ],
        ),
    ];
    for (who, source, kinds) in rows {
        for (method, n, reason) in kinds {
            limit(t, &format!("{method}s of {who}"), why, n, &of(source.clone(), method), SURVIVES, reason);
        }
    }
    for (net, last, n) in
        [("first", 64, 30), ("last", 127, 30), ("one before the first", 63, 4), ("one after the last", 128, 4)]
    {
        let [a, b, c, _] = GATEWAY_LARGE_V4;
        let invite = of(Packet::v4([a, b, c, last]), "INVITE");
        limit(t, &format!("INVITEs of the /26's {net} address"), why, n, &invite, SURVIVES, RateInvite);
    }
    let syn = small.clone().tcp(5060, 2, b"");
    limit(t, "TCP SYNs of a gateway", "its budget is for all it sends", 9, &syn, passed(Reason::OtherL4), RateSource);
    let first = small.sip(&request("INVITE")).udp_length(900).fragment(0, true, 7);
    limit(t, "INVITEs of a gateway in fragments", "a first fragment is counted", 4, &first, SURVIVES, RateInvite);
}

fn apart(t: &mut Table) {
    let [a, b, c, d] = GATEWAY_V4;
    let (invite, neighbour) = (of(Packet::v4(GATEWAY_V4), "INVITE"), of(Packet::v4([a, b, c, d + 1]), "INVITE"));
    let why = "clocks stay per source address: each host of a gateway has the budget";
    t.after("INVITE of a gateway's other host", why, &times(30, &invite), &neighbour, SURVIVES);
    let why = "an IPv6 source is a /64, with budgets as without";
    let mut beside = GATEWAY_V6;
    beside[15] += 1;
    let (invite, beside) = (of(Packet::v6(GATEWAY_V6), "INVITE"), of(Packet::v6(beside), "INVITE"));
    t.after(
        "INVITE of another address of a gateway's /64",
        why,
        &times(5, &invite),
        &beside,
        dropped(Reason::RateInvite),
    );
    let why = "what one kind is refused for does not use up what the others share";
    let (invite, bye) = (of(Packet::v4(GATEWAY_V4), "INVITE"), of(Packet::v4(GATEWAY_V4), "BYE"));
    t.after("BYE of a gateway that sends too many INVITEs", why, &times(30, &invite), &bye, SURVIVES);
}

fn others(t: &mut Table) {
    use Reason::{RateInvite, RateSource};
    let why = "a budget is for its own prefix, and for trusted sources: nobody else notices that there is one";
    for (who, source, n, reason) in [
        ("a trusted source without a budget", TRUSTED_V4, 40, RateSource),
        ("one trusted inside a block", TRUSTED_IN_BLOCK, 40, RateSource),
        ("a verified source in a budget's prefix", VERIFIED_V4, 6, RateInvite),
        ("an allowed source in a budget's prefix", ALLOWED_V4, 6, RateInvite),
        ("an unknown source in a budget's prefix", CALLER_V4, 4, RateInvite),
    ] {
        let invite = of(Packet::v4(source), "INVITE");
        limit(t, &format!("with budgets, INVITEs of {who}"), why, n, &invite, SURVIVES, reason);
    }
}

fn not_in_force(t: &mut Table) {
    let why = "without the flag the map is not asked: a gateway is a trusted source as any other";
    for (who, source) in [("a gateway", Packet::v4(GATEWAY_V4)), ("an IPv6 gateway", Packet::v6(GATEWAY_V6))] {
        let invite = of(source, "INVITE");
        limit(t, &format!("without the flag, INVITEs of {who}"), why, 40, &invite, SURVIVES, Reason::RateSource);
    }
    let invite = of(Packet::v4(GATEWAY_V4), "INVITE");
    let why = "issue 4: each rule can be switched off";
    t.under(
        |config, now| {
            in_force(config, now);
            config.enforce &= !Reason::RateInvite.bit();
        },
        |t| {
            limit(t, "INVITEs of a gateway, rate_invite off", why, 9, &invite, SURVIVES, Reason::RateSource);
        },
    );
}

fn monitored(t: &mut Table) {
    t.under(
        |config, now| {
            in_force(config, now);
            let rules = Reason::RateInvite.bit() | Reason::RateSource.bit();
            (config.enforce, config.monitor) = (config.enforce & !rules, config.monitor | rules);
        },
        |t| {
            let invite = of(Packet::v4(GATEWAY_V4), "INVITE");
            let why = "a monitored rule counts what it would have dropped";
            t.after("a fifth INVITE of a gateway, watched", why, &times(4, &invite), &invite, SURVIVES);
            t.cases.last_mut().expect("was just added").would = Some(Reason::RateInvite);
        },
    );
}
