use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use vos_common::reason::Reason;

use crate::frames::request;
use crate::phone::{PASSWORD, Phone, with_credentials};
use crate::site::{PHONES, SERVER4, Site, wait_until};

/// Phones behind one address.
const NEIGHBOURS: usize = 500;
/// SIPVicious is to get as far as its guesses.
const UNSIGNED: &str = "[rules]\nscanner = \"off\"\n";
/// One wrong password more than is forgiven.
const RETRY: u64 = 6;

/// Who is suspended, as `vosctl` shows it.
fn suspended(site: &Site) -> Vec<Value> {
    site.json(&["suspensions", "list"])["suspensions"].as_array().expect("a list").clone()
}

/// What was refused of REGISTERs, by what it proved.
fn refusals(site: &Site) -> (u64, u64) {
    let counted = &site.stats()["suspensions"];
    (counted["failures"].as_u64().unwrap(), counted["unproven"].as_u64().unwrap())
}

/// svcrack from this address with such a list of passwords; what it has said, and which of them Kamailio refused.
fn svcrack(site: &Site, from: IpAddr, user: &str, passwords: &[String]) -> String {
    let list = site.path("passwords");
    std::fs::write(&list, passwords.join("\n")).unwrap();
    let mut command = site.outside.command("svcrack");
    site.outside.ip(&format!("route replace {SERVER4}/32 dev {} src {from}", site.lan)).unwrap();
    command.args(["-v", "-v", "-u", user, "-t", "0.01", "--maximumtime", "3", "-x"]).arg(from.to_string());
    command.arg("-d").arg(&list);
    command.arg(SERVER4.to_string()).env("HOME", site.path(""));
    let output = command.output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Wrong ones, and the right one in this place, counted from 1.
fn passwords(place: usize, of: usize) -> Vec<String> {
    (1..=of).map(|n| if n == place { PASSWORD.to_owned() } else { format!("wrong{n}") }).collect()
}

/// Guesses wrong until it is suspended. Of one second Kamailio has one nonce: what others have had does not count.
#[track_caller]
fn guess(site: &Site, phone: &mut Phone, user: &str) {
    let (before, (failures, _)) = (suspended(site).len(), refusals(site));
    let seen = |(failures, unproven): (u64, u64)| failures + unproven;
    while refusals(site).0 < failures + RETRY {
        let known = seen(refusals(site));
        assert_eq!(phone.tries("wrong"), 401);
        wait_until("the refusal is seen", || seen(refusals(site)) > known);
    }
    wait_until(&format!("{user} is suspended"), || suspended(site).len() > before);
}

#[test]
fn five_hundred_neighbours_register_twice_and_a_guesser_among_them_is_suspended_alone() {
    if !vos_bench::ready(&["kamailio", "svcrack"]) {
        return;
    }
    let site = Site::start(UNSIGNED);
    let here = IpAddr::V4(PHONES[0]);
    let mut neighbours: Vec<Phone> = (0..NEIGHBOURS).map(|n| site.phone(&format!("n{n}"), here)).collect();
    let mut all_register = |while_so: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            for part in neighbours.chunks_mut(NEIGHBOURS / 10) {
                scope.spawn(|| part.iter_mut().for_each(Phone::registers));
            }
            while_so();
        });
    };
    all_register(&|| {});
    assert_eq!(suspended(&site), Vec::<Value>::new());
    // The outage is over, and all of them come again; this time among a guesser.
    all_register(&|| {
        let said = svcrack(&site, here, "victim", &passwords(50, 60));
        assert!(!said.contains(PASSWORD), "{said}");
    });
    wait_until("the guesser is suspended", || suspended(&site).len() == 1);
    let [one] = &suspended(&site)[..] else { panic!("one is suspended") };
    assert_eq!((&one["user"], &one["address"]), (&json!("victim@e.com"), &json!(PHONES[0])));
    assert_eq!(one["failures"], RETRY);
    assert!(site.dropped_by_workers("suspended") > 0);
    let events = String::from_utf8(site.tell(&["events"]).stdout).unwrap();
    assert!(events.contains(&format!("victim@e.com at {} is suspended until", PHONES[0])), "{events}");
    // Its neighbours are unharmed, and so is the user elsewhere.
    all_register(&|| {});
    site.phone("victim", PHONES[1]).registers();
    assert_eq!(suspended(&site).len(), 1);
    site.balances();
}

#[test]
fn the_right_password_in_the_fifth_place_is_found_and_in_the_fiftieth_never() {
    if !vos_bench::ready(&["kamailio", "svcrack"]) {
        return;
    }
    let site = Site::start(UNSIGNED);
    let said = svcrack(&site, PHONES[0].into(), "lucky", &passwords(5, 60));
    assert!(said.contains(PASSWORD), "{said}");
    // It has more under way by then.
    site.tell(&["suspensions", "lift", "--all"]);
    let said = svcrack(&site, PHONES[1].into(), "victim", &passwords(50, 60));
    assert!(!said.contains(PASSWORD), "{said}");
    wait_until("the guesser is suspended", || suspended(&site).iter().any(|one| one["user"] == "victim@e.com"));
}

#[test]
fn a_suspension_ends_by_time_and_by_word_and_outlives_the_engine() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let mut site = Site::start("[registration]\nanswer = \"403\"\n");
    let mut phone = site.phone("100", PHONES[0]);
    guess(&site, &mut phone, "100");
    // The right password is too late, and the answer says so.
    let register = phone.register();
    let (status, reply) = phone.asks(&register, None);
    assert_eq!(status, 403, "{reply}");
    assert!(reply.contains("rport=") && !reply.contains("Retry-After"), "{reply}");
    let before = site.seen_calls("100-");
    site.stop_engine();
    site.start_engine();
    assert_eq!(suspended(&site).len(), 1, "it is forgotten");
    assert_eq!(phone.asks(&register, None).0, 403);
    assert_eq!(site.seen_calls("100-"), before, "Kamailio has seen it");
    // Killed, once it is on disk.
    let mut other = site.phone("200", PHONES[1]);
    guess(&site, &mut other, "200");
    let file = site.path("state").join(format!("{}.suspensions.json", site.iface));
    wait_until("it is written down", || std::fs::read_to_string(&file).is_ok_and(|text| text.contains("200@e.com")));
    site.kill_engine();
    site.start_engine();
    assert_eq!(suspended(&site).len(), 2);
    let told = String::from_utf8(site.tell(&["suspensions", "lift", "200"]).stdout).unwrap();
    assert_eq!(told, format!("suspended no more: 200@e.com at {}\n", PHONES[1]));
    other.registers();
    assert_eq!(site.command(&["suspensions", "lift", "200"]).output().unwrap().status.code(), Some(4));
    // What an operator has ended stays so, even over a kill at once.
    site.tell(&["suspensions", "lift", "--all"]);
    site.kill_engine();
    site.start_engine();
    assert_eq!(suspended(&site), Vec::<Value>::new());
    phone.registers();
    // And by time.
    site.reload(&format!("[registration]\nsuspend_time = \"2s\"\nsuspend_time_max = \"2s\"\n{}", site.records_key()));
    wait_until("records are on", || site.stats()["records"]["on"] == true);
    guess(&site, &mut phone, "100");
    let register = phone.register();
    phone.send(&register);
    wait_until("it is refused", || site.dropped_by_workers("suspended") > 0);
    wait_until("its time is over", || suspended(&site).is_empty());
    phone.registers();
    let events = String::from_utf8(site.tell(&["events"]).stdout).unwrap();
    assert!(events.contains("100@e.com at 198.51.100.20 is suspended no more: its time is over"), "{events}");
    wait_until("it is written down", || !site.records().is_empty());
    let records = site.records();
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((&record["kind"], &record["user"]), (&json!("suspension"), &json!("100@e.com")));
    assert_eq!((&record["refusals"], &record["seconds"]), (&json!(6), &json!(2)));
    site.balances();
}

#[test]
fn an_address_is_blocked_in_the_kernel_and_a_user_is_suspended_everywhere() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("[registration]\nidentity = \"ip\"\n");
    let mut phone = site.phone("100", PHONES[0]);
    guess(&site, &mut phone, "100");
    wait_until("the address is blocked", || site.json(&["list", "block"])["rules"].as_array().unwrap().len() == 1);
    let block = &site.json(&["list", "block"])["rules"][0];
    assert_eq!((&block["origin"], &block["who"]), (&json!("detector"), &json!("registration")));
    let before = site.maps().reason(Reason::Blocked);
    let mut neighbour = site.phone("neighbour", PHONES[0]);
    let options = neighbour.request("OPTIONS", "sip:e.com", "x");
    neighbour.send(&options);
    wait_until("all of it is dropped in XDP", || site.maps().reason(Reason::Blocked) == before + 1);
    site.tell(&["suspensions", "lift", &PHONES[0].to_string()]);
    assert_eq!(site.json(&["list"])["rules"], json!([]));
    neighbour.registers();
    // Trusted, it never is.
    site.tell(&["trust", &PHONES[0].to_string()]);
    for n in 0..3 * RETRY {
        assert_eq!(phone.tries(&format!("wrong{n}")), 401);
    }
    assert_eq!((suspended(&site), site.json(&["list", "block"])["rules"].clone()), (Vec::new(), json!([])));
    site.reload("[registration]\nidentity = \"user\"\n");
    let mut guesser = site.phone("200", PHONES[1]);
    guess(&site, &mut guesser, "200");
    let mut owner = site.phone("200", PHONES[2]);
    let register = owner.register();
    owner.send(&register);
    wait_until("its owner is locked out", || site.dropped_by_workers("suspended") == 1);
    site.phone("201", PHONES[2]).registers();
    site.balances();
}

#[test]
fn ten_thousand_refusals_in_a_phones_name_count_for_nothing() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("");
    let victim = PHONES[0];
    let mut phone = site.phone("100", victim);
    phone.registers();
    let mut attacker = site.phone("100", PHONES[1]);
    // With nonces that went to the attacker; within the same second the same went to the phone, which is asked in its name.
    for round in 0..20 {
        let in_its_name = |call: &str| site.frame(victim, &request("REGISTER", victim.into(), call));
        site.send(&[in_its_name(&format!("ask{round}"))]);
        let register = attacker.register();
        let (_, reply) = attacker.asks(&register, None);
        let forged = |n: usize| {
            let asked = request("REGISTER", victim.into(), &format!("forged{round}x{n}"));
            site.frame(victim, &with_credentials("100", &format!("wrong{n}"), &asked, &reply))
        };
        site.send(&(0..500).map(forged).collect::<Vec<_>>());
    }
    site.arrives("forged19x0");
    wait_until("they are refused", || refusals(&site).1 > 1_000);
    assert_eq!((refusals(&site).0, suspended(&site)), (0, Vec::new()));
    phone.registers();
    // The control: its own guesses count.
    wait_until("another second, another nonce", || {
        std::thread::sleep(Duration::from_millis(100));
        phone.tries("wrong");
        refusals(&site).0 > 0
    });
}
