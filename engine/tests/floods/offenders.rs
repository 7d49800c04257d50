use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use serde_json::{Value, json};
use vos_common::reason::Reason;

use crate::frames::request;
use crate::phone::{PASSWORD, field, status, with_credentials};
use crate::registers::at_most;
use crate::site::{DOMAIN, PHONES, SERVER4, Site, wait_until};

/// SIPVicious is to get as far as the engine, all of it.
const UNLIMITED: &str = "[rules]\nscanner = \"off\"\nrate_register = \"off\"\nrate_invite = \"off\"\nrate_source = \"off\"\n\
                         rate_prefix = \"off\"\n";
/// What slowed sources may send: at once, and a second.
const SLOW_TO: (u64, u64) = (5, 1);
/// Answers that something is not there after which a source is slowed.
const NOT_FOUND: u64 = 20;
/// Requests of a scan.
const SCAN: u64 = 10_000;

/// svwar over ten thousand extensions from this address, as fast as it can.
fn svwar(site: &Site, from: IpAddr, method: &str) -> String {
    site.outside.ip(&format!("route replace {SERVER4}/32 dev {} src {from}", site.lan)).unwrap();
    let mut command = site.outside.command("svwar");
    command.args(["-v", "-e", "70000-79999", "-t", "0.0005", "--maximumtime", "5", "-m", method, "-x"]);
    let output = command.arg(from.to_string()).arg(SERVER4.to_string()).env("HOME", site.path("")).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What Kamailio has seen of this source.
fn seen(site: &Site, from: IpAddr) -> u64 {
    site.seen().iter().filter(|seen| seen.source == from).count() as u64
}

/// The events of a kind that were told of this source.
fn told(site: &Site, kind: &str, source: IpAddr) -> Vec<Value> {
    let text = String::from_utf8(site.tell(&["events", "--json"]).stdout).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["kind"] == kind && event["source"] == source.to_string()).collect()
}

/// Frames in this address' name, each for a number that is not there.
fn wrong_numbers(site: &Site, method: &str, from: Ipv4Addr, count: u64) -> Vec<Vec<u8>> {
    let wrong = |n: u64| {
        let asked = request(method, from.into(), &format!("{method}{n}"));
        site.frame(from, &asked.replace("To: <sip:100@", &format!("To: <sip:{}@", 80_000 + n)))
    };
    (0..count).map(wrong).collect()
}

#[test]
fn svwar_is_slowed_and_what_it_has_learnt_until_then_is_told() {
    if !vos_bench::ready(&["kamailio", "svwar"]) {
        return;
    }
    let site = Site::start(UNLIMITED);
    for (method, from) in [("REGISTER", PHONES[0]), ("INVITE", PHONES[1])] {
        let (source, dropped) = (IpAddr::V4(from), site.dropped_by_workers("slowed"));
        let said = svwar(&site, source, method);
        let (relayed, slowed) = (seen(&site, source), site.dropped_by_workers("slowed") - dropped);
        eprintln!("{method}: Kamailio has seen {relayed} of {}, {slowed} were dropped", relayed + slowed);
        // Those on their way while twenty answers are counted, 20 ms apart, are not known beforehand.
        assert!((NOT_FOUND..SCAN / 5).contains(&relayed) && relayed + slowed > SCAN, "{said}");
        let [event] = &told(&site, "enumeration", source)[..] else { panic!("it is told once") };
        assert_eq!((&event["answers"], &event["slowed"]), (&json!(NOT_FOUND), &json!(true)), "{event}");
        assert_eq!(event["found"], json!(["70005@192.0.2.1"]), "{event}");
        assert_eq!(event["asked"].as_array().map(Vec::len), Some(4), "{event}");
        let listed = site.json(&["slowed", "list"])["slowed"].clone();
        assert!(listed.as_array().unwrap().iter().any(|one| one["address"] == source.to_string()), "{listed}");
        // From now on it is exact, whatever it sends.
        let begin = Instant::now();
        site.send(&wrong_numbers(&site, method, from, 1_000));
        let goal = slowed + dropped + 1_000 - at_most(SLOW_TO, begin.elapsed());
        wait_until("the workers have seen them", || site.dropped_by_workers("slowed") >= goal);
        assert!(seen(&site, source) <= relayed + at_most(SLOW_TO, begin.elapsed()));
    }
    let events = String::from_utf8(site.tell(&["events"]).stdout).unwrap();
    assert!(events.contains("198.51.100.20 is slowed: 20 times in"), "{events}");
    // A phone that registers from there is no stranger any more, and an operator may end it as well.
    site.tell(&["slowed", "lift", &PHONES[1].to_string()]);
    assert_eq!(site.command(&["slowed", "lift", &PHONES[1].to_string()]).output().unwrap().status.code(), Some(4));
    site.phone("100", PHONES[1]).registers();
    let mut phone = site.phone("101", PHONES[0]);
    phone.registers();
    (0..20).for_each(|_| phone.registers());
    site.balances();
}

#[test]
fn a_phone_calls_on_while_ten_thousand_wrong_numbers_are_dialled_in_its_name() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("[rates.verified]\nall = \"none\"\ninvite = \"none\"\n");
    let (mut phone, mut callee) = (site.phone("100", PHONES[0]), site.phone("callee", PHONES[1]));
    phone.registers();
    callee.registers();
    wait_until("both are verified", || site.verified() == 2);
    for part in wrong_numbers(&site, "INVITE", PHONES[0], SCAN).chunks(1_000) {
        site.send(part);
        phone.calls(&mut callee);
    }
    wait_until("they were answered", || site.stats()["blacklist"]["offences"]["not_found"].as_u64() > Some(1_000));
    phone.registers();
    assert_eq!(site.json(&["slowed", "list"])["slowed"], json!([]));
    assert_eq!(site.json(&["list", "block"])["rules"], json!([]));
    assert_eq!((site.dropped_by_workers("slowed"), told(&site, "enumeration", PHONES[0].into())), (0, Vec::new()));
    // The control: in a stranger's name they slow it, and block nobody.
    site.send(&wrong_numbers(&site, "INVITE", PHONES[2], 1_000));
    wait_until("the stranger is slowed", || site.json(&["slowed", "list"])["slowed"].as_array().unwrap().len() == 1);
    assert_eq!(site.json(&["list", "block"])["rules"], json!([]));
    site.balances();
}

/// Blocks that are in force.
fn blocks(site: &Site) -> Vec<Value> {
    site.json(&["list", "block"])["rules"].as_array().unwrap().clone()
}

/// One wrong password for each of so many accounts, until the address is blocked; how many were tried.
fn spray(site: &Site, from: Ipv4Addr, accounts: usize) -> usize {
    let answered = |phone: &crate::phone::Phone| {
        let mut reply = None;
        wait_until("it is answered, or blocked", || {
            reply = phone.receive().filter(|reply| status(reply).is_some());
            reply.is_some() || !blocks(site).is_empty()
        });
        reply
    };
    for n in 0..accounts {
        let mut phone = site.phone(&format!("account{n}"), from);
        let register = phone.register();
        phone.send(&register);
        let Some(challenge) = answered(&phone) else { return n };
        phone.send(&with_credentials(&format!("account{n}"), "wrong", &register, &challenge));
        if answered(&phone).is_none() || !blocks(site).is_empty() {
            return n + 1;
        }
    }
    accounts
}

#[test]
fn who_tries_one_password_on_many_accounts_is_blocked_and_the_next_time_for_longer() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("[blacklist]\nttl = \"3s\"\nttl_max = \"1h\"\n");
    let from = PHONES[2];
    // one ends, so that the next is a relapse
    for (seconds, ended) in [(3, true), (12, false)] {
        // at the tenth refusal, and as many as were on their way while it was blocked
        let tried = spray(&site, from, 200);
        assert!((10..50).contains(&tried), "{tried} accounts were tried");
        let [block] = &blocks(&site)[..] else { panic!("it is blocked") };
        assert_eq!((&block["origin"], &block["who"]), (&json!("detector"), &json!("blacklist")));
        assert!(block["reason"].as_str().unwrap().starts_with("points: refused_credentials "), "{block}");
        wait_until("it is told", || {
            told(&site, "offender", from.into()).last().is_some_and(|it| it["seconds"] == seconds)
        });
        let before = site.maps().reason(Reason::Blocked);
        site.send(&[site.frame(from, &request("REGISTER", from.into(), "blocked"))]);
        assert_eq!(site.maps().reason(Reason::Blocked), before + 1);
        if ended {
            wait_until("its time is over", || blocks(&site).is_empty());
        }
    }
    // What an operator has ended stays so, as long as there are no new points.
    site.tell(&["unblock", &from.to_string()]);
    assert_eq!(spray(&site, from, 8), 8);
    assert_eq!(blocks(&site), Vec::<Value>::new());
    site.phone("100", from).registers();
    site.balances();
}

#[test]
fn a_phone_with_a_password_behind_the_same_address_raises_the_limit_tenfold() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("");
    let from = PHONES[3];
    let mut phone = site.phone("100", from);
    phone.registers();
    wait_until("it is verified", || site.verified() == 1);
    let tried = spray(&site, from, 200);
    assert!((100..150).contains(&tried), "{tried} accounts were tried");
    wait_until("it is told", || !told(&site, "offender", from.into()).is_empty());
    assert_eq!(told(&site, "offender", from.into())[0]["limit"], 1_000);
    // Trusted, it never is.
    site.tell(&["unblock", &from.to_string()]);
    site.tell(&["trust", &from.to_string()]);
    assert_eq!(spray(&site, from, 150), 150);
    phone.registers();
    site.balances();
}

#[test]
fn a_stranger_has_as_many_calls_ringing_as_he_may() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("[rates]\nparallel = 2\n[rules]\nparallel = \"enforce\"\n");
    let (mut callee, mut caller) = (site.phone("b", PHONES[1]), site.phone("a", PHONES[2]));
    callee.registers();
    let dropped = || site.dropped_by_workers("parallel");
    // Two that ring on and on: challenged, and then with credentials. The engine may hear of the challenge after the caller
    // has: so the caller sends again, as phones do.
    let mut rings: Vec<String> = Vec::new();
    for number in 1..=2 {
        let invite = caller.request("INVITE", &format!("sip:b@{DOMAIN}"), "b");
        let (status, reply) = caller.asks(&invite, None);
        assert_eq!(status, 407, "{reply}");
        let invite = with_credentials("a", PASSWORD, &invite, &reply);
        wait_until("it rings", || {
            caller.send(&invite);
            let is_new = |text: &String| rings.iter().all(|old| field(old, "Call-ID") != field(text, "Call-ID"));
            rings.extend(callee.receive().filter(|text| text.starts_with("INVITE ")).filter(is_new));
            rings.len() == number
        });
    }
    let before = dropped();
    let third = caller.request("INVITE", &format!("sip:b@{DOMAIN}"), "b");
    caller.send(&third);
    wait_until("the third is dropped", || dropped() == before + 1);
    assert_eq!(site.seen_calls(field(&third, "Call-ID")), 0);
    // His other requests pass, and other strangers' calls.
    assert_eq!(site.phone("c", PHONES[3]).is_refused_by("forbidden"), 403);
    // One is busy: there is room.
    let busy: String = rings[0]
        .lines()
        .filter(|line| ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)))
        .map(|line| if line.starts_with("To:") { format!("{line};tag=b\r\n") } else { format!("{line}\r\n") })
        .collect();
    callee.send(&format!("SIP/2.0 486 Busy Here\r\n{busy}Content-Length: 0\r\n\r\n"));
    let (status, reply) = caller.asks(&third, None);
    assert_eq!(status, 407, "{reply}");
    site.balances();
}
