//! Trunks that call more than they may: what is refused never reaches the softswitch, what is there goes on.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::phone::{PASSWORD, ack, field, status, with_credentials};
use crate::site::{PHONES, Site, wait_until};

/// The trunk, and whom it calls.
const TRUNK: std::net::Ipv4Addr = PHONES[0];
const CALLEE: std::net::Ipv4Addr = PHONES[1];

fn gateway(limits: &str) -> String {
    format!("[[gateway]]\nname = \"carrier-a\"\nfrom = [\"{TRUNK}\"]\n{limits}\n")
}

/// What `vosctl gateways` says of the trunk.
fn shown(site: &Site) -> Value {
    site.json(&["gateways"])["gateways"][0].clone()
}

fn calls(site: &Site) -> u64 {
    shown(site)["calls"].as_u64().expect("calls")
}

#[test]
fn a_trunk_gets_as_many_calls_a_second_as_it_may() {
    const OFFERED: usize = 60;
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("");
    site.reload(&(site.records_key() + &gateway("cps = 2\nburst = 6\nmax_calls = 1000")));
    let listed = || site.json(&["list", "trust"])["rules"].to_string();
    wait_until("the trunk is trusted", || listed().contains(&TRUNK.to_string()) && listed().contains("\"config\""));
    wait_until("records are on", || site.stats()["records"]["on"] == true);
    let (mut trunk, mut callee) = (site.phone("trunk", TRUNK), site.phone("callee", CALLEE));
    callee.registers();
    // a call that is there goes on, whatever comes
    let call = trunk.dials(&mut callee);
    let begun = Instant::now();
    let invites: Vec<String> = (0..OFFERED)
        .map(|n| trunk.request("INVITE", "sip:echo@e.com", "echo").replace("trunk-", &format!("c{n}-")))
        .collect();
    for invite in &invites {
        trunk.send(invite);
        // each of them twice: a copy is no call
        trunk.send(invite);
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut answers: HashMap<String, (u16, String)> = HashMap::new();
    wait_until("all are answered", || {
        while let Some(reply) = trunk.receive() {
            if let Some(status) = status(&reply).filter(|status| *status >= 200) {
                answers.insert(field(&reply, "Call-ID").to_owned(), (status, reply));
            }
        }
        invites.iter().all(|invite| answers.contains_key(field(invite, "Call-ID")))
    });
    let may = |elapsed: Duration| 6 + (2.0 * elapsed.as_secs_f64()).ceil() as usize;
    let refused: Vec<_> = invites.iter().filter(|invite| answers[field(invite, "Call-ID")].0 == 503).collect();
    let passed = OFFERED - refused.len();
    // one place of the burst had the call that is there
    assert!((5..=may(begun.elapsed())).contains(&passed), "{passed} of {OFFERED} in {:?}", begun.elapsed());
    let written =
        || site.records().into_iter().filter(|record| record["kind"] == "gateway_refusal").collect::<Vec<_>>();
    wait_until("each refused call is written down once", || written().len() == refused.len());
    let record = &written()[0];
    assert_eq!(
        (&record["gateway"], &record["limit"], &record["status"]),
        (&"carrier-a".into(), &"cps".into(), &503.into())
    );
    for invite in &refused {
        let (_, reply) = &answers[field(invite, "Call-ID")];
        assert!(!reply.contains("Retry-After"), "{reply}");
        trunk.send(&ack(invite, reply));
    }
    let (status, reply) = trunk.asks(&refused[0].replace("INVITE", "CANCEL"), None);
    assert_eq!((status, field(&reply, "CSeq")), (200, "1 CANCEL"), "{reply}");
    // an emergency call, and what is within the call that is there
    let help = trunk.request("INVITE", "sip:112@e.com", "112");
    let (status, reply) = trunk.asks(&help, None);
    assert_eq!(status, 407, "{reply}");
    trunk.asks_within(&call, "INVITE", &mut callee);
    trunk.asks_within(&call, "BYE", &mut callee);
    site.arrives(field(&help, "Call-ID"));
    let seen: HashSet<String> = site.seen().into_iter().map(|seen| seen.call).collect();
    for invite in &invites {
        let call = field(invite, "Call-ID");
        assert_eq!(seen.contains(call), answers[call].0 != 503, "{call}");
    }
    let shown = shown(&site);
    assert_eq!(shown["over_cps"], refused.len(), "{shown}");
    wait_until("it is told", || {
        let events = String::from_utf8(site.tell(&["events"]).stdout).expect("text");
        events.contains("carrier-a: calls beyond gateway_cps")
    });
    assert!(site.tell(&["stats"]).stdout.windows(7).any(|word| word == b"refused"));
    site.balances();
}

#[test]
fn a_trunk_has_as_many_calls_at_a_time_as_it_may() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let limits = "cps = 1000\nmax_calls = 2";
    let site = Site::start(&gateway(limits));
    let (mut trunk, mut callee) = (site.phone("trunk", TRUNK), site.phone("callee", CALLEE));
    callee.registers();
    let refused = |trunk: &mut crate::phone::Phone| {
        let invite = trunk.request("INVITE", "sip:callee@e.com", "callee");
        let (status, reply) = trunk.asks(&invite, None);
        trunk.send(&ack(&invite, &reply));
        status == 503
    };
    let (first, second) = (trunk.dials(&mut callee), trunk.dials(&mut callee));
    assert!(calls(&site) == 2 && refused(&mut trunk));
    // a reload that lowers the limits takes the calls along
    site.reload(&gateway("cps = 1000\nmax_calls = 1"));
    trunk.asks_within(&first, "BYE", &mut callee);
    wait_until("one has ended", || calls(&site) == 1);
    assert!(refused(&mut trunk));
    site.reload(&gateway(limits));
    // one that was challenged has a place, and gives it back when nobody takes it
    let nobody = trunk.request("INVITE", "sip:nobody@e.com", "nobody");
    let (status, challenge) = trunk.asks(&nobody, None);
    assert_eq!(status, 407, "{challenge}");
    trunk.send(&ack(&nobody, &challenge));
    assert!(calls(&site) == 2 && refused(&mut trunk));
    let (status, reply) = trunk.asks(&with_credentials("trunk", PASSWORD, &nobody, &challenge), None);
    assert_eq!(status, 404, "{reply}");
    wait_until("nobody has taken it", || calls(&site) == 1);
    trunk.asks_within(&second, "BYE", &mut callee);
    wait_until("the second has ended", || calls(&site) == 0);
    trunk.calls(&mut callee);
    wait_until("the third has ended", || calls(&site) == 0);
    // whoever was called hangs up as well
    let fourth = trunk.dials(&mut callee);
    assert_eq!(calls(&site), 1);
    callee.hangs_up(&fourth, &mut trunk);
    wait_until("the fourth has ended", || calls(&site) == 0);
    assert_eq!((shown(&site)["over_calls"].as_u64(), shown(&site)["over_cps"].as_u64()), (Some(3), Some(0)));
    // A call whose BYE is lost: it is told, and counts no more.
    site.reload(&gateway("cps = 1000\nmax_calls = 2\nmax_duration = \"1s\""));
    trunk.dials(&mut callee);
    wait_until("it lasts too long", || shown(&site)["long_calls"] == 1 && calls(&site) == 0);
    let events = String::from_utf8(site.tell(&["events"]).stdout).expect("text");
    assert!(events.contains("carrier-a: a call lasts longer than 1 s, from 198.51.100.20, Call-ID trunk-"), "{events}");
    // no trunk any more: its address is not trusted any longer
    site.reload("");
    wait_until("its address is taken back", || {
        !String::from_utf8_lossy(&site.tell(&["list"]).stdout).contains(&TRUNK.to_string())
    });
    assert!(shown(&site).is_null() && !refused(&mut trunk));
    site.balances();
}
