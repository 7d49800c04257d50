use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::phone::{Phone, field};
use crate::site::{PHONES, SERVER4, Site, wait_until};

/// How this user's phone is, as `vosctl` shows it.
fn state(site: &Site, user: &str) -> Value {
    site.json(&["registrations", user])["registrations"][0]["state"].clone()
}

/// What workers have taken as answers to the engine's own OPTIONS.
fn taken(site: &Site) -> u64 {
    let stats = site.stats();
    let workers = stats["workers"].as_array().unwrap();
    workers.iter().map(|worker| worker["taken"]["online_reply"].as_u64().unwrap_or(0)).sum()
}

/// The next OPTIONS that comes to a phone.
#[track_caller]
fn asked(phone: &Phone) -> (String, SocketAddr) {
    let mut got = None;
    wait_until("it is asked", || {
        got = phone.receive_from().filter(|(text, _)| text.starts_with("OPTIONS "));
        got.is_some()
    });
    got.expect("it was asked")
}

/// The answer to a request, with this status.
fn answer(request: &str, status: &str) -> String {
    let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines = request.lines().filter(|line| kept.iter().any(|name| line.starts_with(&format!("{name}:"))));
    format!("SIP/2.0 {status}\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.collect::<Vec<_>>().join("\r\n"))
}

#[test]
fn who_answers_is_online_and_the_softswitch_hears_nothing_of_it() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    const ONLINE: &str = "[online]\ninterval = \"1s\"\nmisses = 2\n[relay]\nredirect = \"needed\"\n";
    let site = Site::start("[relay]\nredirect = \"needed\"\n");
    let (mut phone, mut silent) = (site.phone("100", PHONES[0]), site.phone("200", PHONES[1]));
    let mut trunk = site.phone("trunk", PHONES[2]);
    phone.registers();
    silent.registers();
    wait_until("they are seen", || state(&site, "100") == "unknown" && state(&site, "200") == "unknown");
    let gateway = format!(
        "[[gateway]]\nname = \"carrier-a\"\nfrom = [\"{}\"]\nauth = \"ip+port\"\nport = {}\ntier = \"small\"\n",
        PHONES[2],
        trunk.port()
    );
    // A reload switches it on.
    site.reload(&format!("{ONLINE}{gateway}"));
    let (question, from) = asked(&phone);
    assert_eq!(from, SocketAddr::new(SERVER4, 5060), "it does not come from where the phone registered");
    assert!(question.starts_with(&format!("OPTIONS sip:{}:{} SIP/2.0\r\n", PHONES[0], phone.port())), "{question}");
    let gateway = || site.json(&["gateways"])["gateways"][0].clone();
    let mut answering = |silent_too: bool, silent: &mut Phone| {
        phone.answers();
        trunk.answers();
        if silent_too {
            silent.answers();
        }
    };
    wait_until("one is online, and the other is silent", || {
        answering(false, &mut silent);
        state(&site, "100") == "online" && state(&site, "200") == "silent" && gateway()["online"] == 1
    });
    assert_eq!(gateway()["asked"], 1);
    let offline = site.json(&["registrations", "--offline"]);
    assert_eq!((&offline["total"], &offline["registrations"][0]["aor"]), (&json!(1), &json!("200@e.com")));
    wait_until("it begins to answer", || {
        answering(true, &mut silent);
        state(&site, "200") == "online"
    });
    assert!(taken(&site) > 0);
    // Any response counts as a sign of life: the trunk says that it knows of no such thing.
    wait_until("all fall silent", || {
        state(&site, "100") == "offline" && state(&site, "200") == "offline" && gateway()["online"] == 0
    });
    let late = asked(&silent).0;
    silent.send(&answer(&late, "404 Not Found"));
    wait_until("it is online", || state(&site, "200") == "online");
    assert_eq!(site.heard(), Vec::<String>::new(), "Kamailio has heard of it");
    // What does not answer a question that went there goes on, as any response does.
    let (question, _) = asked(&silent);
    let elsewhere = site.phone("300", PHONES[3]);
    elsewhere.send(&answer(&question, "200 OK"));
    let call = field(&question, "Call-ID").to_owned();
    wait_until("what comes from elsewhere goes on", || site.heard().contains(&call));
    let branch = question.split("branch=").nth(1).and_then(|rest| rest.split(';').next()).expect("a branch");
    let forged = answer(&question, "200 OK").replace(branch, &format!("z9hG4bKvosfp{}", "0".repeat(40)));
    elsewhere.send(&forged.replace(&call, "forged"));
    wait_until("what is forged goes on", || site.heard().contains(&"forged".to_owned()));
    assert_eq!(site.heard().len(), 2);
    let events = String::from_utf8(site.tell(&["events"]).stdout).unwrap();
    let (phone_at, silent_at) = (format!("{}:{}", PHONES[0], phone.port()), format!("{}:{}", PHONES[1], silent.port()));
    for line in [
        format!("{silent_at} has never answered, as 1 at its address"),
        format!("{silent_at} is online"),
        format!("{phone_at} is offline"),
    ] {
        assert!(events.contains(&line), "{line} is missing:\n{events}");
    }
    // And switches it off: what was asked until then has its answer.
    site.reload("");
    wait_until("nobody is asked any more", || state(&site, "100") == "unknown");
    while phone.receive().is_some() {}
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    assert_eq!(phone.receive(), None);
    site.balances();
}
