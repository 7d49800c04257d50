use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use serde_json::Value;

use crate::site::{self, CALLER, PATIENCE, SERVER4, Script, Site, Stats, request, server_of, wait_until};

/// RFC 3261 §17.1.2.2, s.
const T2: u64 = 4;

/// Answers REGISTER, says of an INVITE only that it rings, and of a MESSAGE nothing.
const LAZY: Script = Script {
    modules: &["pv", "xlog", "sl", "textops"],
    routes: &["if (is_method(\"REGISTER\")) sl_send_reply(\"200\", \"OK\");\n  \
             if (is_method(\"INVITE\")) sl_send_reply(\"180\", \"Ringing\");\n"],
};

fn sum(stats: &Stats, table: &str, name: &str) -> u64 {
    let workers = stats.0["workers"].as_array().expect("workers");
    workers.iter().map(|worker| worker[table][name].as_u64().expect("a counter")).sum()
}

/// Sends a request of this Call-ID, the same each time, to the server.
fn send(phone: &UdpSocket, method: &str, call: &str) {
    let text = request(method, phone.local_addr().unwrap(), call);
    phone.send_to(text.as_bytes(), server_of(phone)).unwrap();
}

#[test]
fn copies_are_kept_back_until_there_is_an_answer() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().server(LAZY).config("[relay]\nshield = true\n").start();
    let phone = site.phone(CALLER);
    let began = Instant::now();
    const COPIES: usize = 10;
    for _ in 0..COPIES {
        for method in ["MESSAGE", "ACK", "CANCEL"] {
            send(&phone, method, &format!("mute-{method}"));
        }
    }
    site.afterwards("mute");
    let passed = || site.seen_calls("mute-MESSAGE");
    let may_pass = || 1 + (began.elapsed().as_secs() / T2) as usize;
    let (seen, kept_back) = (passed(), sum(&site.stats(), "taken", "retransmission"));
    assert!((1..=may_pass()).contains(&seen), "{seen} copies of a MESSAGE that is not answered");
    assert_eq!(kept_back as usize, COPIES - seen);
    assert_eq!([site.seen_calls("mute-ACK"), site.seen_calls("mute-CANCEL")], [COPIES; 2]);

    // A final answer or a provisional one, it is the egress program that sees it. One copy in T2 would take longer.
    let enough = 1 + (PATIENCE.as_secs() / T2) as usize + 2;
    for method in ["REGISTER", "INVITE"] {
        let call = format!("answered-{method}");
        wait_until(&format!("copies of {method} pass"), PATIENCE, || {
            send(&phone, method, &call);
            site.seen_calls(&call) >= enough
        });
    }
    assert!(passed() <= may_pass(), "nobody has answered the MESSAGE");

    // Switched off while packets flow.
    site.reconfigure("[relay]\nshield = false\n");
    let (before, kept_back) = (passed(), sum(&site.stats(), "taken", "retransmission"));
    (0..COPIES).for_each(|_| send(&phone, "MESSAGE", "mute-MESSAGE"));
    site.afterwards("off");
    assert_eq!(passed() - before, COPIES);
    assert_eq!(sum(&site.stats(), "taken", "retransmission"), kept_back);
}

/// A request of a dialog that is there.
fn in_dialog(phone: &UdpSocket, method: &str, call: &str) {
    let text =
        request(method, phone.local_addr().unwrap(), call).replacen("To: <sip:2@e.com>", "To: <sip:2@e.com>;tag=2", 1);
    assert!(text.contains(";tag=2"));
    phone.send_to(text.as_bytes(), server_of(phone)).unwrap();
}

fn pressed(site: &Site) -> bool {
    let pressure = &site.stats().0["pressure"];
    let at = format!("{SERVER4}:5060");
    let sockets = pressure["sockets"].as_array().map_or(&[][..], Vec::as_slice);
    sockets.iter().any(|socket| socket["local"] == at.as_str() && socket["pressed"] == true)
}

/// Distinct REGISTERs until Kamailio's socket is behind.
fn fill(site: &Site, phone: &UdpSocket, name: &str) {
    let mut next = 0;
    wait_until("the socket is behind", PATIENCE, || {
        for _ in 0..20 {
            send(phone, "REGISTER", &format!("{name}-{next}"));
            next += 1;
        }
        pressed(site)
    });
}

#[test]
fn while_the_softswitch_stands_still_calls_that_are_there_go_first() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().start();
    let phone = site.phone(CALLER);
    site.freeze(true);
    fill(&site, &phone, "fill");
    let before = site.stats();
    const NEW: u64 = 50;
    const FORGED: u64 = 20;
    const THERE: usize = 5;
    // So far it may be anybody who says that a call is there.
    (0..FORGED).for_each(|number| in_dialog(&phone, "BYE", &format!("forged-{number}")));
    let unknown = || sum(&site.stats(), "given_up", "unknown") - sum(&before, "given_up", "unknown");
    wait_until("what is anybody's is given up", PATIENCE, || unknown() == FORGED);
    site.told(&["allow", &CALLER.to_string()]);
    for number in 0..NEW {
        send(&phone, "REGISTER", &format!("new-register-{number}"));
        send(&phone, "INVITE", &format!("new-invite-{number}"));
    }
    for number in 0..THERE {
        in_dialog(&phone, "BYE", &format!("there-bye-{number}"));
        in_dialog(&phone, "INVITE", &format!("there-invite-{number}"));
        send(&phone, "ACK", &format!("there-ack-{number}"));
        let emergency = request("INVITE", phone.local_addr().unwrap(), &format!("there-emergency-{number}"));
        let emergency = emergency.replacen("sip:2@e.com", "sip:+1-12@e.com", 1);
        phone.send_to(emergency.as_bytes(), server_of(&phone)).unwrap();
    }
    site.counted(&before, "redirected", FORGED + 2 * NEW + 4 * THERE as u64);
    let more = |stats: &Stats, class| sum(stats, "given_up", class) - sum(&before, "given_up", class);
    wait_until("what is new is given up", PATIENCE, || more(&site.stats(), "invite") == NEW);
    let now = site.stats();
    assert_eq!((more(&now, "register"), more(&now, "invite")), (NEW, NEW), "{}", now.0);
    assert_eq!(more(&now, "in_dialog") + more(&now, "emergency") + more(&now, "other") + more(&now, "response"), 0);
    assert_eq!(now.0["pressure"]["now"], true);

    site.freeze(false);
    wait_until("what was there has arrived", PATIENCE, || site.seen_calls("there-") == 4 * THERE);
    assert_eq!((site.seen_calls("new-"), site.seen_calls("forged-"), unknown()), (0, 0, FORGED));
    wait_until("it has caught up", PATIENCE, || site.stats().0["pressure"]["now"] == false);
    assert_eq!(site.asks(&site.phone(CALLER), "REGISTER", "welcome"), 200);
    let events = site.vosctl(&["events", "--json"]).stdout;
    let events = String::from_utf8(events).unwrap();
    let told = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let told: Vec<_> = told.filter(|event| event["kind"] == "pressure").collect();
    assert_eq!(told.len(), 2, "{events}");
    assert_eq!((&told[0]["begins"], &told[1]["begins"]), (&true.into(), &false.into()));
    assert!(told[1]["given_up"].as_u64() >= Some(2 * NEW), "{events}");
}

#[test]
fn without_priority_what_comes_last_is_lost_whatever_it_is() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::builder().config("[relay]\npriority = false\n").start();
    let phone = site.phone(CALLER);
    site.freeze(true);
    // More than any socket's buffer holds.
    let before = site.stats();
    const MANY: u64 = 1_500;
    (0..MANY).for_each(|number| send(&phone, "REGISTER", &format!("fill-{number}")));
    site.counted(&before, "redirected", MANY);
    (0..5).for_each(|number| in_dialog(&phone, "BYE", &format!("there-{number}")));
    site.counted(&before, "redirected", MANY + 5);
    wait_until("all is relayed", PATIENCE, || {
        site.stats().workers("relayed").iter().sum::<u64>() == before.workers("relayed").iter().sum::<u64>() + MANY + 5
    });
    assert_eq!(sum(&site.stats(), "given_up", "register"), 0);
    site.freeze(false);
    // One that finds room comes behind all that did.
    wait_until("its socket has room again", PATIENCE, || {
        send(&phone, "REGISTER", "thaw");
        site.seen_calls("thaw") > 0
    });
    assert!(site.seen_calls("fill-") < MANY as usize, "the socket was not full");
    assert_eq!(site.seen_calls("there-"), 0);
}

#[test]
fn what_a_slow_consumer_has_no_room_for_waits_by_what_it_is_worth() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    const WAITING: u64 = 512 / 8;
    const MANY: u64 = 200;
    const THERE: u64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sip.sock");
    let consumer = UnixDatagram::bind(&path).unwrap();
    consumer.set_nonblocking(true).unwrap();
    let path = path.display();
    let config = format!("[relay]\nto = \"unix:{path}\"\n[xsk]\nframes = 512\nring = 256\n");
    let site = Site::builder().config(&config).start();
    let phone = site.phone(CALLER);
    site.told(&["allow", &CALLER.to_string()]);
    let (before, waiting) = (site.stats(), || site.stats().workers("waiting").iter().sum::<u64>());
    (0..MANY).for_each(|number| send(&phone, "REGISTER", &format!("register-{number}-")));
    site.counted(&before, "redirected", MANY);
    wait_until("all that may wait do", PATIENCE, || waiting() == WAITING);
    (0..THERE).for_each(|number| in_dialog(&phone, "BYE", &format!("bye-{number}-")));
    site.counted(&before, "redirected", MANY + THERE);
    let mut arrived = Vec::new();
    wait_until("nothing waits any more", PATIENCE, || {
        // Asked before the last is read: what waited until then is with the consumer.
        let over = waiting() == 0 && site.stats().workers("held") == [0; site::QUEUES as usize];
        let mut datagram = [0; 2_048];
        while let Ok(length) = consumer.recv(&mut datagram) {
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            arrived.push(text.split_once("Call-ID: ").expect("a request").1.split("\r\n").next().unwrap().to_owned());
        }
        over
    });
    // What was in its queue, then calls that are there, then the newest of the others, in order.
    let first = arrived.iter().position(|call| call.starts_with("bye")).expect("a BYE");
    let mut expected: Vec<_> = (0..first as u64).map(|number| format!("register-{number}-")).collect();
    expected.extend((0..THERE).map(|number| format!("bye-{number}-")));
    expected.extend((MANY - WAITING + THERE..MANY).map(|number| format!("register-{number}-")));
    assert_eq!(arrived, expected);
    let now = site.stats();
    assert_eq!(sum(&now, "given_up", "register"), MANY - (WAITING - THERE) - first as u64);
    assert_eq!(sum(&now, "given_up", "register"), sum(&now, "dropped", "given_up"));
    assert_eq!(now.workers("relayed").iter().sum::<u64>(), arrived.len() as u64);
}
