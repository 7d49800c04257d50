use serde_json::{Value, json};

use crate::phone::{PASSWORD, Phone, field, with_credentials};
use crate::site::{PHONES, Site, wait_until};

/// Who is registered, as `vosctl` shows it.
fn registered(site: &Site) -> Vec<Value> {
    site.json(&["registrations"])["registrations"].as_array().expect("a list").clone()
}

/// The events of registrations so far: what has changed, of whom, from and to where.
fn moves(site: &Site) -> Vec<[String; 4]> {
    let lines = String::from_utf8(site.tell(&["events", "--json"]).stdout).unwrap();
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    events
        .filter(|event| event["kind"] == "registration")
        .map(|event| ["change", "aor", "from", "to"].map(|key| word(&event, key)))
        .collect()
}

/// Registers with this in the place of its Contact line.
#[track_caller]
fn registers_as(phone: &mut Phone, user: &str, contact: &str) -> u16 {
    let register = phone.register().replacen(&phone.contact(), contact, 1);
    let (status, reply) = phone.asks(&register, None);
    assert_eq!(status, 401, "{reply}");
    phone.asks(&with_credentials(user, PASSWORD, &register, &reply), None).0
}

#[test]
fn who_registers_from_elsewhere_is_told_once() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("[registration]\nmoves_max = 3\n");
    let [here, there] = [PHONES[0], PHONES[1]];
    let (mut phone, mut second) = (site.phone("100", here), site.phone("100", there));
    phone.registers();
    wait_until("it is seen", || registered(&site).len() == 1);
    let shown = &registered(&site)[0];
    assert_eq!((&shown["aor"], &shown["address"]), (&json!("100@e.com"), &json!(here)));
    assert_eq!((&shown["port"], &shown["state"]), (&json!(phone.port()), &json!("unknown")));
    let left = shown["expires_s"].as_u64().unwrap();
    assert!((500..=600).contains(&left), "{left}");
    // A second phone of the same user: Kamailio keeps both.
    for _ in 0..3 {
        second.registers();
        phone.registers();
    }
    wait_until("both are seen", || registered(&site).len() == 2);
    let event = |change: &str, aor: &str, from: std::net::Ipv4Addr, to: std::net::Ipv4Addr| {
        [change.to_owned(), aor.to_owned(), from.to_string(), to.to_string()]
    };
    let mut expected = vec![event("added", "100@e.com", here, there)];
    wait_until("it is told", || moves(&site).len() == expected.len());
    // One behind NATs, whose Contact is the same wherever it is: it takes its own place.
    let contact = "Contact: <sip:200@10.0.0.5:5060>\r\n";
    let mut places = [site.phone("200", here), site.phone("200", there)];
    for (turn, change) in [None, Some("moved"), Some("moved"), Some("contended")].into_iter().enumerate() {
        let (from, to) = if turn % 2 == 1 { (here, there) } else { (there, here) };
        for _ in 0..2 {
            assert_eq!(registers_as(&mut places[turn % 2], "200", contact), 200);
        }
        expected.extend(change.map(|change| event(change, "200@e.com", from, to)));
        wait_until("it is told", || moves(&site).len() >= expected.len());
        assert_eq!(moves(&site), expected);
    }
    assert_eq!(registered(&site).len(), 3);
    // Who goes is gone, and nobody has lost anything.
    let register = phone.register().replacen("Expires: 600", "Expires: 0", 1);
    let (_, reply) = phone.asks(&register, None);
    assert_eq!(phone.asks(&with_credentials("100", PASSWORD, &register, &reply), None).0, 200);
    wait_until("it is gone", || registered(&site).len() == 2);
    let one = site.json(&["registrations", "100"])["registrations"].clone();
    assert_eq!((one.as_array().unwrap().len(), &one[0]["address"]), (1, &json!(there)));
    assert_eq!(moves(&site), expected);
    let counted = &site.stats()["registrations"];
    assert_eq!((&counted["bindings"], &counted["moved"], &counted["added"]), (&json!(2), &json!(3), &json!(1)));
    let events = String::from_utf8(site.tell(&["events"]).stdout).unwrap();
    assert!(events.contains(&format!("200@e.com is contended for: {there} now, {here} before, 3 times")), "{events}");
    site.balances();
}

#[test]
fn a_register_with_more_contacts_than_any_phone_has_never_arrives() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("");
    let mut phone = site.phone("100", PHONES[0]);
    let contacts = |count: usize| {
        let values: Vec<_> = (0..count).map(|n| format!("<sip:1{n}@{}>", PHONES[0])).collect();
        format!("Contact: {}\r\n", values.join(","))
    };
    assert_eq!(registers_as(&mut phone, "100", &contacts(10)), 200);
    assert_eq!(site.dropped_by_workers("contacts"), 0);
    let absurd = phone.register().replacen(&phone.contact(), &contacts(25), 1);
    phone.send(&absurd);
    wait_until("it is dropped", || site.dropped_by_workers("contacts") == 1);
    assert_eq!(registers_as(&mut phone, "100", &contacts(10)), 200);
    let is_seen = |register: &str| site.seen_calls(field(register, "Call-ID")) > 0;
    assert!(!is_seen(&absurd) && site.dropped_by_workers("contacts") == 1);
    let events = String::from_utf8(site.tell(&["events", "--reason", "contacts"]).stdout).unwrap();
    assert_eq!(events.lines().count(), 1, "{events}");
    // Whoever is trusted registers for many.
    site.tell(&["trust", &PHONES[0].to_string()]);
    assert_eq!(phone.asks(&absurd, None).0, 401);
    site.balances();
}
