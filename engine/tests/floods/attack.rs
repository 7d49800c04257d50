use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::frames::request;
use crate::phone::{Call, Phone};
use crate::site::{DOMAIN, PHONES, Site, wait_until};

/// Phones of the site, and how many of them are in a call, by twos.
const SITE: usize = 200;
const CALLS: usize = 20;

/// Limits that this machine's floods are beyond of, and times that a test waits for. Calm is longer than a machine stands
/// still.
const CONFIG: &str = "[attack]\nrequests = 200\ndrops = 100\nnew_sources = 100\nregistrations = 0\ntrip = \"2s\"\n\
                      calm = \"3s\"\nrecover = \"2s\"\nhook_every = \"1s\"\n";

impl Site {
    fn attack(&self) -> Value {
        self.json(&["attack", "show"])
    }

    #[track_caller]
    fn becomes(&self, state: &str) {
        wait_until(&format!("it is {state}"), || self.attack()["state"] == state);
    }

    /// What has become of it so far, as `vosctl events` tells it.
    fn told_of_attacks(&self) -> Vec<Value> {
        let told = String::from_utf8(self.tell(&["events", "--json"]).stdout).unwrap();
        let events = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["kind"] == "attack").collect()
    }

    /// A scan, REGISTERs of 200 sources, INVITEs that are refused, and all of it from anywhere.
    fn mixed_flood(&self) -> Vec<Vec<u8>> {
        let anywhere = |n: u32| {
            let [_, b, c, d] = n.wrapping_mul(0x9e37_79b1).to_be_bytes();
            Ipv4Addr::new(20 + (n % 100) as u8, b, c, d)
        };
        let frame = |n: u32| match n % 4 {
            0 => {
                let scan = request("OPTIONS", anywhere(n).into(), &format!("scan{n}"));
                self.frame(
                    anywhere(n),
                    &scan.replacen("Content-Length", "User-Agent: friendly-scanner\r\nContent-Length", 1),
                )
            }
            1 => {
                let from = Ipv4Addr::new(100, 64, (n / 50 % 4) as u8, (n % 50) as u8 + 1);
                self.frame(from, &request("REGISTER", from.into(), &format!("flood{n}")))
            }
            2 => self.frame(anywhere(n), &request("REGISTER", anywhere(n).into(), &format!("spoofed{n}"))),
            _ => {
                let invite = request("INVITE", anywhere(n).into(), &format!("fraud{n}"));
                self.frame(anywhere(n), &invite.replace(&format!("sip:{DOMAIN} "), &format!("sip:forbidden@{DOMAIN} ")))
            }
        };
        (0..8_000).map(frame).collect()
    }
}

/// MySQL's client, of which the hook wants two statements: it writes down what it is asked, and keeps one value.
fn mysql(site: &Site) -> String {
    let (client, value, log) = (site.path("mysql"), site.path("value"), site.path("statements"));
    std::fs::write(&value, "1\n").unwrap();
    let script = format!(
        "#!/bin/sh\nfor last; do before=$sql; sql=$database; database=$last; done\n\
         echo \"$database: $sql\" >>{log}\ncase $sql in\nSELECT*) cat {value} ;;\n\
         UPDATE*) echo \"$sql\" | sed \"s/.* = '\\([0-9]*\\)' WHERE.*/\\1/\" >{value} ;;\nesac\n",
        value = value.display(),
        log = log.display()
    );
    executable(&client, &script);
    client.display().to_string()
}

fn executable(file: &Path, script: &str) {
    std::fs::write(file, script).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_attack_on_a_running_site_is_found_endured_and_over() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = Site::start("");
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/hooks/vos3000-zero-duration");
    let conf = format!(
        "MYSQL='{} --user=x'\nTABLE=parameter\nNAME_COLUMN=name\nVALUE_COLUMN=value\nSAVED={}\n",
        mysql(&site),
        site.path("saved").display()
    );
    std::fs::write(site.path("vos3000.conf"), conf).unwrap();
    let hooked = format!("hook = [\"{}\", \"{}\"]\n", hook.display(), site.path("vos3000.conf").display());
    site.reload(&format!("{CONFIG}{hooked}{}", site.records_key()));
    wait_until("records are on", || site.stats()["records"]["on"] == true);
    // A site in peace.
    let mut phones: Vec<Phone> = (0..SITE).map(|n| site.phone(&format!("p{n}"), PHONES[n % PHONES.len()])).collect();
    phones.iter_mut().for_each(Phone::registers);
    let calls: Vec<Call> = phones
        .chunks_mut(2)
        .take(CALLS)
        .map(|pair| {
            let [a, b] = pair else { panic!("two phones") };
            a.dials(b)
        })
        .collect();
    let mut stranger = site.phone("x", PHONES[0]);
    assert_eq!(site.attack()["state"], "normal");
    // The storm.
    let flood = site.mixed_flood();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            while !over.load(Relaxed) {
                site.send(&flood);
            }
        });
        site.becomes("attack");
        let status = site.json(&["status"]);
        assert_eq!(status["hardened"], json!(["registration.retry", "registration.suspend_time"]));
        assert!(status["attack_left_s"].as_u64().is_some_and(|left| (1..=60).contains(&left)), "{status}");
        wait_until("calls are gathered", || site.stats()["records"]["summarised"].as_u64() > Some(50));
        let single = |site: &Site| site.stats()["records"]["written"]["zero_duration"].as_u64().unwrap();
        let before = (single(&site), site.stats()["records"]["summarised"].as_u64().unwrap());
        // Each panics if it is not answered, however often it asks.
        phones.iter_mut().for_each(Phone::registers);
        for (pair, call) in phones.chunks_mut(2).zip(&calls) {
            let [a, b] = pair else { panic!("two phones") };
            a.asks_within(call, "INFO", b);
        }
        wait_until("more calls are gathered", || {
            site.stats()["records"]["summarised"].as_u64().unwrap() > before.1 + 50
        });
        assert_eq!(single(&site), before.0, "no line for a single call");
        over.store(true, Relaxed);
        storm.join().unwrap();
    });
    assert_eq!(site.attack()["attacks"], 1);
    // What it was is told while it is still there.
    wait_until("VOS3000 writes no records", || std::fs::read_to_string(site.path("value")).unwrap() == "0\n");
    site.becomes("normal");
    let status = site.json(&["status"]);
    assert_eq!((&status["hardened"], &status["attack_left_s"]), (&json!([]), &Value::Null));
    for (pair, call) in phones.chunks_mut(2).zip(&calls) {
        let [a, b] = pair else { panic!("two phones") };
        a.asks_within(call, "BYE", b);
    }
    // Newcomers are welcome again, and what they do is written down one by one.
    wait_until("records are single again", || {
        assert_eq!(stranger.is_refused_by("forbidden"), 403);
        site.records().last().is_some_and(|record| record["kind"] == "zero_duration")
    });
    let told = site.told_of_attacks();
    let states: Vec<&str> = told.iter().map(|event| event["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["attack", "recovering", "normal"]);
    let evidence = told[0]["evidence"].as_array().unwrap();
    assert!(evidence.iter().all(|it| it["value"].as_f64() > it["limit"].as_f64()), "{evidence:?}");
    assert!(evidence.iter().any(|it| it["signal"] == "new_sources"), "{evidence:?}");
    let records = site.records();
    let of_attack: Vec<&Value> = records.iter().filter(|record| record["kind"] == "attack").collect();
    let recorded: Vec<&str> = of_attack.iter().map(|record| record["state"].as_str().unwrap()).collect();
    assert_eq!(recorded, states);
    assert!(records.iter().any(|record| record["kind"] == "summary"));
    let size = std::fs::metadata(site.path("records.jsonl")).unwrap().len();
    assert!(size < 8 << 20, "{size} bytes");
    wait_until("the hook has heard of the end", || std::fs::read_to_string(site.path("value")).unwrap() == "1\n");
    let statements = std::fs::read_to_string(site.path("statements")).unwrap();
    let name = "WHERE name = 'SERVER_BILLING_RECORD_ZERO_HOLD_TIME'";
    let expected = [
        format!("vos3000: SELECT value FROM parameter {name}"),
        format!("vos3000: UPDATE parameter SET value = '0' {name}"),
        format!("vos3000: UPDATE parameter SET value = '1' {name}"),
    ];
    assert_eq!(statements.lines().collect::<Vec<_>>(), expected);
    site.balances();
}

#[test]
fn a_restart_in_an_attack_forgets_neither_it_nor_what_is_usual() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let mut site = Site::start(&CONFIG.replace("calm = \"3s\"", "calm = \"1h\""));
    let flood = site.mixed_flood();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let storm = scope.spawn(|| {
            while !over.load(Relaxed) {
                site.send(&flood);
            }
        });
        site.becomes("attack");
        over.store(true, Relaxed);
        storm.join().unwrap();
    });
    let since = site.attack()["since"].clone();
    site.kill_engine();
    site.start_engine();
    wait_until("it is seen again", || site.attack()["since"] == since);
    assert_eq!(site.attack()["state"], "attack");
    wait_until("attack mode is on", || !site.json(&["status"])["attack_left_s"].is_null());
    // An operator outranks it.
    site.tell(&["attack", "off"]);
    site.becomes("recovering");
    assert!(site.told_of_attacks().last().is_some_and(|event| event["overruled"] == true));
    site.becomes("normal");
}
