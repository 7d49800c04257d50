use serde_json::Value;

use crate::site::{DOMAIN, PHONES, Site, wait_until};

/// A site that writes records into this file of its own.
fn start(more: &str) -> Site {
    let site = Site::start("");
    site.records_on(more);
    site
}

impl Site {
    /// Writes them from now on, with these keys.
    #[track_caller]
    fn records_on(&self, more: &str) {
        self.reload(&format!("{}{more}", self.records_key()));
        wait_until("records are on", || self.stats()["records"]["on"] == true);
    }

    /// Waits until so many lines are there, and gives them.
    #[track_caller]
    fn recorded(&self, count: usize) -> Vec<Value> {
        wait_until(&format!("{count} records are written: {:?}", self.records()), || self.records().len() >= count);
        let records = self.records();
        assert_eq!(records.len(), count, "{records:?}");
        records
    }
}

/// How many of each kind.
fn kinds(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["kind"].as_str().expect("a kind")).collect()
}

#[test]
fn calls_that_are_refused_are_written_down_with_their_cause_and_others_are_not() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let site = start("");
    let mut stranger = site.phone("x", PHONES[0]);
    assert_eq!(stranger.is_refused_by("forbidden"), 403);
    let records = site.recorded(2);
    assert_eq!(kinds(&records), ["illegal_call", "zero_duration"]);
    for record in &records {
        let expected = [
            ("source", PHONES[0].to_string()),
            ("from", format!("sip:x@{DOMAIN}")),
            ("to", format!("sip:forbidden@{DOMAIN}")),
            ("request_uri", format!("sip:forbidden@{DOMAIN}")),
            ("call_id", "x-1".to_owned()),
            ("user_agent", "A phone".to_owned()),
            ("reason_phrase", "Not for you".to_owned()),
            ("reason", "Q.850;cause=21;text=\"not for you\"".to_owned()),
        ];
        for (field, value) in expected {
            assert_eq!(record[field], value, "{field} of {record}");
        }
        assert_eq!((&record["status"], &record["known"]), (&403.into(), &false.into()));
        assert_eq!(record["source_port"], stranger.port());
        assert!(record["seconds"].as_f64().is_some_and(|seconds| (0.0..20.0).contains(&seconds)), "{record}");
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(
            record["time"].as_f64().is_some_and(|time| (since_1970 - 30.0..=since_1970).contains(&time)),
            "{record}"
        );
    }
    // Phones that have proven themselves: one call that is answered, with a challenge in front, and one to nobody.
    let (mut caller, mut callee) = (site.phone("a", PHONES[1]), site.phone("b", PHONES[2]));
    caller.registers();
    callee.registers();
    caller.calls(&mut callee);
    caller.calls(&mut callee);
    assert_eq!(caller.misses("nobody"), 404);
    let records = site.recorded(3);
    assert_eq!((&records[2]["kind"], &records[2]["status"]), (&"zero_duration".into(), &404.into()));
    assert_eq!((&records[2]["known"], &records[2]["source"]), (&true.into(), &PHONES[1].to_string().into()));
    let counted = site.stats()["records"].clone();
    assert_eq!((&counted["written"]["zero_duration"], &counted["written"]["illegal_call"]), (&2.into(), &1.into()));
    assert!(counted["lost"].as_object().unwrap().values().all(|lost| *lost == 0), "{counted}");
    // Switched off while it runs.
    site.reload("");
    assert_eq!(stranger.is_refused_by("forbidden"), 403);
    site.records_on("zero_duration = \"off\"\n");
    wait_until("records are on again", || {
        assert_eq!(stranger.is_refused_by("forbidden"), 403);
        site.records().len() > 3
    });
    let records = site.records();
    assert!(kinds(&records[3..]).iter().all(|kind| *kind == "illegal_call"), "{records:?}");
    site.balances();
}

#[test]
fn in_attack_mode_there_are_summaries_and_single_lines_again_afterwards() {
    if !vos_bench::ready(&["kamailio"]) {
        return;
    }
    let mut site = start("");
    let mut stranger = site.phone("x", PHONES[0]);
    site.tell(&["attack", "on", "--ttl", "10m"]);
    for _ in 0..5 {
        assert_eq!(stranger.is_refused_by("forbidden"), 403);
    }
    wait_until("five calls are gathered", || site.stats()["records"]["summarised"] == 10);
    assert!(site.records().is_empty());
    site.tell(&["attack", "off"]);
    let records = site.recorded(1);
    assert_eq!((&records[0]["kind"], &records[0]["count"]), (&"summary".into(), &10.into()));
    assert_eq!(
        records[0]["counts"],
        serde_json::json!({ "illegal_call": { "403": 5 }, "zero_duration": { "403": 5 } })
    );
    assert_eq!(records[0]["source"], PHONES[0].to_string());
    assert_eq!(records[0]["called"], serde_json::json!([format!("sip:forbidden@{DOMAIN}")]));
    assert_eq!(stranger.is_refused_by("forbidden"), 403);
    assert_eq!(kinds(&site.recorded(3)[1..]), ["illegal_call", "zero_duration"]);
    // A stop loses nothing of what was gathered, and after a crash in mid-line it goes on.
    site.tell(&["attack", "on", "--ttl", "10m"]);
    assert_eq!(stranger.is_refused_by("forbidden"), 403);
    wait_until("it is gathered", || site.stats()["records"]["summarised"] == 12);
    site.stop_engine();
    assert_eq!(site.records()[3]["kind"], "summary");
    let file = site.path("records.jsonl");
    let torn = std::fs::read_to_string(&file).unwrap() + "{\"time\":17";
    std::fs::write(&file, torn).unwrap();
    site.start_engine();
    site.tell(&["attack", "off"]);
    assert_eq!(stranger.is_refused_by("forbidden"), 403);
    let whole = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    wait_until("it goes on behind the half line", || whole().len() == 6);
    assert_eq!(kinds(&whole()[4..]), ["illegal_call", "zero_duration"]);
}
